//! Files and devices: opened for writing, made, linked, given bits.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

use crate::Attempt;
use crate::sys::{self, Answer, call, judge_success, nr};

pub const TABLE: &[(&str, Attempt)] = &[
    // Opened for writing without being cut; nothing is written.
    ("open-write", |args| {
        let opened: Vec<String> = args.iter().filter(|path| open(path).is_ok()).cloned().collect();
        if opened.is_empty() { Answer::blocked("none opens") } else { Answer::reachable(opened.join(" ")) }
    }),
    ("open-read", |args| {
        let opened: Vec<&str> = args.iter().filter(|path| reads(path)).map(String::as_str).collect();
        if opened.is_empty() { Answer::blocked("none reads") } else { Answer::reachable(opened.join(" ")) }
    }),
    // Writes back what the file says.
    ("write-same", |args| {
        let written: Vec<&str> = args.iter().filter(|path| write_same(path)).map(String::as_str).collect();
        if written.is_empty() {
            Answer::blocked("none is written")
        } else {
            Answer::reachable(written.join(" "))
        }
    }),
    ("mknod-block", |args| mknod(&args[0], 0o060_600, 7 << 8)),
    ("mknod-char", |args| mknod(&args[0], 0o020_600, (1 << 8) | 3)),
    // Every way to the bit that makes a program run as its owner.
    ("setuid", |args| {
        let path = &args[0];
        let made = std::fs::File::create(path).and_then(|mut file| file.write_all(b"#!/bin/sh\n"));
        if let Err(error) = made {
            return Answer::unknown(error.to_string());
        }
        let set = |mode: u32| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
        let ways = [("chmod 4755", set(0o4755)), ("chmod 2755", set(0o2755))];
        let mut open: Vec<&str> = ways.iter().filter(|(_, done)| done.is_ok()).map(|(way, _)| *way).collect();
        open.extend(creations(path));
        if open.is_empty() { Answer::blocked("no way") } else { Answer::reachable(open.join(", ")) }
    }),
    // Out of a directory that is held open, by a kernel that is told not to care.
    ("openat2", |args| {
        let how: [u64; 3] = [0, 0, 0];
        let path = sys::text(&args[0]);
        judge_success(call(sys::OPENAT2, &[sys::AT_FDCWD, path.as_ptr() as _, sys::at(&how), 24]))
    }),
    // How many bytes a file system holds at most; reachable when that is more than the second argument.
    ("capacity", |args| {
        let most: u64 = args[1].parse().unwrap();
        let Some(size) = capacity(&args[0]) else {
            return Answer::unknown(format!("{} has no size", args[0]));
        };
        let text = format!("{} holds {} MiB", args[0], size >> 20);
        if size > 0 && size <= most { Answer::blocked(text) } else { Answer::reachable(text) }
    }),
];

/// Ways to a file that has the bit from the start; each is tried on a name of its own.
fn creations(path: &str) -> Vec<&'static str> {
    let bits = |path: &str| std::fs::metadata(path).map_or(0, |meta| meta.permissions().mode() & 0o6000);
    let name = |way: &str| format!("{path}-{way}");
    let mut open = Vec::new();
    let created = |flags: i32, mode: u32, path: &str| {
        OpenOptions::new().write(true).create(true).custom_flags(flags).mode(mode).open(path).is_ok()
    };
    if created(0, 0o4755, &name("open")) && bits(&name("open")) != 0 {
        open.push("open 4755");
    }
    if created(0o200, 0o2755, &name("group")) && bits(&name("group")) != 0 {
        open.push("open 2755");
    }
    // High bits that the kernel does not look at.
    let (at, cwd) = (name("high"), sys::AT_FDCWD);
    let _made = call(nr::OPENAT, &[cwd, sys::text(&at).as_ptr() as _, 0o102, (1 << 32) | 0o4755]);
    if bits(&at) != 0 {
        open.push("openat 4755 with high bits");
    }
    let at = name("node");
    let _made = call(nr::MKNODAT, &[cwd, sys::text(&at).as_ptr() as _, 0o104_755, 0]);
    if bits(&at) != 0 {
        open.push("mknod 4755");
    }
    // A file without a name that gets one.
    let at = name("unnamed");
    if let Ok(descriptor) = call(nr::OPENAT, &[cwd, sys::text(".").as_ptr() as _, 0o20_200_002, 0o4755]) {
        let source = sys::text(&format!("/proc/self/fd/{descriptor}"));
        let _linked =
            call(nr::LINKAT, &[cwd, source.as_ptr() as _, cwd, sys::text(&at).as_ptr() as _, 0x400]);
        if bits(&at) != 0 {
            open.push("unnamed 4755");
        }
    }
    std::fs::write(name("late"), "").unwrap();
    let late = sys::text(&name("late"));
    if call(nr::FCHMODAT2, &[cwd, late.as_ptr() as _, 0o4755, 0]).is_ok() {
        open.push("fchmodat2 4755");
    }
    if call(nr::FCHMODAT, &[cwd, late.as_ptr() as _, (1 << 32) | 0o4755]).is_ok() && bits(&name("late")) != 0
    {
        open.push("fchmodat 4755 with high bits");
    }
    open
}

fn open(path: &str) -> std::io::Result<std::fs::File> {
    // O_NONBLOCK: a pipe or a terminal must not keep the probe.
    OpenOptions::new().write(true).custom_flags(0o4000).open(path)
}

fn reads(path: &str) -> bool {
    let mut byte = [0; 1];
    let opened = OpenOptions::new().read(true).custom_flags(0o4000).open(path);
    opened.and_then(|mut file| file.read(&mut byte)).is_ok_and(|length| length > 0)
}

fn write_same(path: &str) -> bool {
    let Ok(before) = std::fs::read(path) else { return false };
    open(path).and_then(|mut file| file.rewind().and_then(|()| file.write_all(&before))).is_ok()
}

fn mknod(path: &str, mode: i64, device: i64) -> Answer {
    judge_success(call(nr::MKNODAT, &[sys::AT_FDCWD, sys::text(path).as_ptr() as _, mode, device]))
}

fn capacity(path: &str) -> Option<u64> {
    unsafe extern "C" {
        fn statfs64(path: *const std::ffi::c_char, buffer: *mut u64) -> i32;
    }
    // struct statfs: type, block size, blocks, …; 120 bytes.
    let mut buffer = [0_u64; 32];
    // SAFETY: the buffer is larger than what the call fills.
    let done = unsafe { statfs64(sys::text(path).as_ptr(), buffer.as_mut_ptr()) };
    (done == 0).then(|| buffer[1].saturating_mul(buffer[2]))
}
