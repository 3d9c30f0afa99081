//! New namespaces, namespaces of others, and mounts.

use crate::Attempt;
use crate::kernel::child_judge;
use crate::sys::{self, Answer, at, call, in_child, judge, nr};

const NEW: &[(&str, i64)] = &[
    ("user", 0x1000_0000),
    ("mount", 0x0002_0000),
    ("pid", 0x2000_0000),
    ("net", 0x4000_0000),
    ("ipc", 0x0800_0000),
    ("uts", 0x0400_0000),
    ("cgroup", 0x0200_0000),
    ("time", 0x80),
];

pub const TABLE: &[(&str, Attempt)] = &[
    ("unshare", |args| {
        let flag = flag(args);
        child_judge(in_child(|| call(nr::UNSHARE, &[flag]).err().unwrap_or(0)))
    }),
    ("clone", |args| {
        let flag = flag(args);
        child_judge(in_child(|| match call(nr::CLONE, &[flag | 17, 0, 0, 0, 0]) {
            // SAFETY: the copy ends at once.
            Ok(0) => unsafe { sys::_exit(0) },
            other => other.err().unwrap_or(0),
        }))
    }),
    ("clone3", |args| {
        let flag = flag(args);
        child_judge(in_child(|| {
            let arguments: [u64; 11] = [flag.cast_unsigned(), 0, 0, 0, 17, 0, 0, 0, 0, 0, 0];
            match call(sys::CLONE3, &[at(&arguments), 88]) {
                // SAFETY: the copy ends at once.
                Ok(0) => unsafe { sys::_exit(0) },
                other => other.err().unwrap_or(0),
            }
        }))
    }),
    ("setns", |args| {
        let path = args.first().map_or("/proc/1/ns/net", String::as_str);
        match std::fs::File::open(path) {
            Ok(file) => judge(call(nr::SETNS, &[i64::from(std::os::fd::AsRawFd::as_raw_fd(&file)), 0])),
            Err(error) => Answer::blocked(format!("cannot open it: {error}")),
        }
    }),
    ("mount", |_| {
        let (kind, at) = (sys::text("tmpfs"), sys::text("/tmp"));
        judge(call(nr::MOUNT, &[kind.as_ptr() as _, at.as_ptr() as _, kind.as_ptr() as _, 0, 0]))
    }),
    // A mount moved or bound elsewhere is one that nobody protects.
    ("mount-bind", |args| {
        let (from, to) = (sys::text(&args[0]), sys::text(&args[1]));
        judge(call(nr::MOUNT, &[from.as_ptr() as _, to.as_ptr() as _, 0, 0x1000, 0]))
    }),
    ("mount-move", |args| {
        let (from, to) = (sys::text(&args[0]), sys::text(&args[1]));
        judge(call(nr::MOUNT, &[from.as_ptr() as _, to.as_ptr() as _, 0, 0x2000, 0]))
    }),
    ("remount-rw", |args| {
        let at = sys::text(&args[0]);
        judge(call(nr::MOUNT, &[0, at.as_ptr() as _, 0, 0x1020, 0]))
    }),
    ("umount", |args| judge(call(nr::UMOUNT2, &[sys::text(&args[0]).as_ptr() as _, 2]))),
    ("open-tree", |_| judge(call(sys::OPEN_TREE, &[sys::AT_FDCWD, sys::text("/usr").as_ptr() as _, 1]))),
    ("move-mount", |_| {
        let (from, to) = (sys::text("/usr"), sys::text("/tmp"));
        judge(call(sys::MOVE_MOUNT, &[sys::AT_FDCWD, from.as_ptr() as _, sys::AT_FDCWD, to.as_ptr() as _, 0]))
    }),
    ("fsopen", |_| judge(call(sys::FSOPEN, &[sys::text("tmpfs").as_ptr() as _, 0]))),
    ("fspick", |_| judge(call(sys::FSPICK, &[sys::AT_FDCWD, sys::text("/tmp").as_ptr() as _, 0]))),
    ("mount-setattr", |args| {
        // MOUNT_ATTR_RDONLY cleared.
        let attribute: [u64; 4] = [0, 1, 0, 0];
        let path = sys::text(&args[0]);
        judge(call(sys::MOUNT_SETATTR, &[sys::AT_FDCWD, path.as_ptr() as _, 0, at(&attribute), 32]))
    }),
    // The same place twice is refused for being that, after the check of the privilege.
    ("pivot-root", |_| {
        let root = sys::text("/");
        judge(call(nr::PIVOT_ROOT, &[root.as_ptr() as _, root.as_ptr() as _]))
    }),
    ("chroot", |_| judge(call(nr::CHROOT, &[sys::text(".").as_ptr() as _]))),
];

fn flag(args: &[String]) -> i64 {
    let find = |word: &String| NEW.iter().find(|(name, _)| name == word).map_or(0, |(_, flag)| *flag);
    args.iter().map(find).fold(0, |all, flag| all | flag)
}
