//! Parts of the kernel that no command of a session needs.

use crate::Attempt;
use crate::sys::{self, Answer, Child, at, at_mut, call, judge, nr};

pub const TABLE: &[(&str, Attempt)] = &[
    ("nnp", |_| match call(nr::PRCTL, &[39]) {
        Ok(1) => Answer::blocked("no_new_privs is set"),
        other => Answer::reachable(format!("no_new_privs: {other:?}")),
    }),
    ("seccomp-mode", |_| status("Seccomp", |value| value == "2")),
    ("caps", |_| {
        let names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        let set: Vec<String> = names
            .iter()
            .filter(|name| !zero(&field(name)))
            .map(|name| format!("{name} {}", field(name)))
            .collect();
        if set.is_empty() { Answer::blocked("none") } else { Answer::reachable(set.join(", ")) }
    }),
    ("io-uring", |_| judge(call(sys::IO_URING_SETUP, &[1, at(&[0_u64; 16])]))),
    ("keyctl", |_| judge(call(nr::KEYCTL, &[0, -3, 0]))),
    ("add-key", |_| {
        // Into the keyring of this process, which ends with it.
        let (kind, name, value) = (sys::text("user"), sys::text("pier-probe"), b"x");
        judge(call(nr::ADD_KEY, &[kind.as_ptr() as _, name.as_ptr() as _, value.as_ptr() as _, 1, -2]))
    }),
    ("request-key", |_| {
        let (kind, name) = (sys::text("user"), sys::text("pier-no-such-key"));
        judge(call(nr::REQUEST_KEY, &[kind.as_ptr() as _, name.as_ptr() as _, 0, 0]))
    }),
    ("bpf", |_| {
        // BPF_MAP_CREATE of an array of one.
        let attribute: [u32; 18] = [2, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        judge(call(nr::BPF, &[0, at(&attribute), 72]))
    }),
    ("perf", |_| {
        // A software clock of this process, without the kernel's part.
        let mut attribute = [0_u32; 32];
        attribute[0] = 1;
        attribute[1] = 128;
        attribute[10] = 0b110_0000;
        judge(call(nr::PERF_EVENT_OPEN, &[at(&attribute), 0, -1, -1, 0]))
    }),
    ("uffd", |_| judge(call(nr::USERFAULTFD, &[1]))),
    ("init-module", |_| judge(call(nr::INIT_MODULE, &[0, 0, at(&0_u8)]))),
    ("finit-module", |_| judge(call(nr::FINIT_MODULE, &[-1, at(&0_u8), 0]))),
    ("delete-module", |_| judge(call(nr::DELETE_MODULE, &[sys::text("pier_no_such").as_ptr() as _, 0o4000]))),
    ("kexec", |_| judge(call(nr::KEXEC_LOAD, &[0, 0, 0, 0xdead_0000]))),
    ("kexec-file", |_| judge(call(nr::KEXEC_FILE_LOAD, &[-1, -1, 0, 0, 0xdead]))),
    ("reboot", |_| judge(call(nr::REBOOT, &[1, 2, 3, 0]))),
    ("syslog", |_| judge(call(nr::SYSLOG, &[3, at_mut(&mut [0_u8; 64]), 64]))),
    ("kcmp", |_| {
        // SAFETY: has no preconditions.
        let own = i64::from(unsafe { sys::getpid() });
        judge(call(nr::KCMP, &[own, own, 0, 0, 0]))
    }),
    ("quotactl", |_| {
        judge(call(nr::QUOTACTL, &[0x80_0007_00, sys::text("/pier-no-such").as_ptr() as _, 0, 0]))
    }),
    ("quotactl-fd", |_| judge(call(sys::QUOTACTL_FD, &[-1, 0x80_0007_00, 0, 0]))),
    ("swapon", |_| judge(call(nr::SWAPON, &[sys::text("/pier-no-such").as_ptr() as _, 0]))),
    ("swapoff", |_| judge(call(nr::SWAPOFF, &[sys::text("/pier-no-such").as_ptr() as _]))),
    ("acct", |_| judge(call(nr::ACCT, &[sys::text("/pier-no-such").as_ptr() as _]))),
    ("nfsservctl", |_| judge(call(nr::NFSSERVCTL, &[0, 0, 0]))),
    ("lookup-dcookie", |_| judge(call(nr::LOOKUP_DCOOKIE, &[0, 0, 0]))),
    ("vhangup", |_| {
        // Without a controlling terminal there is none to hang up.
        let child = sys::in_child(|| {
            // SAFETY: has no preconditions.
            unsafe { sys::setsid() };
            call(nr::VHANGUP, &[]).err().unwrap_or(0)
        });
        child_judge(child)
    }),
    ("adjtimex", |_| adjust(&|buffer| call(nr::ADJTIMEX, &[buffer]))),
    ("clock-adjtime", |_| adjust(&|buffer| call(nr::CLOCK_ADJTIME, &[0, buffer]))),
    // A negative number of nanoseconds; the filter has to refuse before the kernel looks at it.
    ("clock-settime", |_| judge(call(nr::CLOCK_SETTIME, &[0, at(&[0_i64, -1])]))),
    ("sethostname", |_| judge_same_name()),
    ("iopl", |_| x86::iopl()),
    ("ioperm", |_| x86::ioperm()),
    ("modify-ldt", |_| x86::modify_ldt()),
    ("int80", |_| x86::int80()),
    ("x32", |_| x86::x32()),
    // READ_IMPLIES_EXEC makes every mapping executable.
    ("personality", |_| judge(call(nr::PERSONALITY, &[0x040_0000]))),
    ("personality-no-randomize", |_| judge(call(nr::PERSONALITY, &[0x004_0000]))),
    ("handle", |args| {
        let path = sys::text(args.first().map_or("/usr", String::as_str));
        // struct file_handle: bytes, type, 128 bytes of handle.
        let mut handle = [0_u32; 34];
        handle[0] = 128;
        let mut mount = 0_i32;
        let arguments = [sys::AT_FDCWD, path.as_ptr() as i64, at_mut(&mut handle), at_mut(&mut mount), 0];
        judge(call(nr::NAME_TO_HANDLE_AT, &arguments))
    }),
    ("open-by-handle", |_| {
        let root = std::fs::File::open("/").unwrap();
        let descriptor = i64::from(std::os::fd::AsRawFd::as_raw_fd(&root));
        let mut handle = [0_u32; 34];
        handle[0] = 8;
        handle[1] = 1;
        handle[2] = 2;
        judge(call(nr::OPEN_BY_HANDLE_AT, &[descriptor, at(&handle), 0]))
    }),
];

fn field(name: &str) -> String {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or("?").trim().to_owned()
}

fn zero(value: &str) -> bool {
    u64::from_str_radix(value, 16) == Ok(0)
}

fn status(name: &str, good: fn(&str) -> bool) -> Answer {
    let value = field(name);
    let text = format!("{name} {value}");
    if good(&value) { Answer::blocked(text) } else { Answer::reachable(text) }
}

/// Sets the frequency of the clock to what it is.
fn adjust(act: &dyn Fn(i64) -> sys::Done) -> Answer {
    // struct timex: modes, then offset and frequency as 64 bits.
    let mut timex = [0_u64; 32];
    if let Err(error) = act(at_mut(&mut timex)) {
        return sys::judge(Err(error));
    }
    timex[0] = 2;
    judge(act(at_mut(&mut timex)))
}

/// Sets the host name to what it is.
fn judge_same_name() -> Answer {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim_end();
    judge(call(nr::SETHOSTNAME, &[name.as_ptr() as _, name.len() as i64]))
}

/// An attempt whose child exits with the number of its error.
pub fn child_judge(child: Child) -> Answer {
    match child {
        Child::Killed(31) => Answer::blocked("killed by SIGSYS"),
        Child::Killed(signal) => Answer::blocked(format!("killed by signal {signal}")),
        Child::Exited(0) => judge(Ok(0)),
        Child::Exited(error) => judge(Err(error)),
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::child_judge;
    use crate::sys::{Answer, Child, at_mut, call, in_child, judge};
    use std::arch::asm;

    pub fn iopl() -> Answer {
        judge(call(172, &[3]))
    }

    pub fn ioperm() -> Answer {
        judge(call(173, &[0x80, 1, 1]))
    }

    pub fn modify_ldt() -> Answer {
        judge(call(154, &[0, at_mut(&mut [0_u8; 16]), 16]))
    }

    /// `getpid` by the way in of 32-bit programs.
    pub fn int80() -> Answer {
        foreign(in_child(|| {
            let result: i64;
            // SAFETY: a call that takes no arguments; the kernel keeps or names what it changes.
            unsafe {
                asm!("int 0x80", inlateout("rax") 20_i64 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
            }
            // SAFETY: has no preconditions.
            let own = i64::from(unsafe { crate::sys::getpid() });
            if result == own { 0 } else { i32::try_from(-result).unwrap_or(255) & 0xff }
        }))
    }

    /// `getpid` with the bit of the x32 numbers.
    pub fn x32() -> Answer {
        foreign(in_child(|| call(39 | 0x4000_0000, &[]).err().unwrap_or(0)))
    }

    fn foreign(child: Child) -> Answer {
        match child {
            // The kernel has no such way in, or says so.
            Child::Exited(38) => Answer::blocked("ENOSYS"),
            child => child_judge(child),
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod x86 {
    use crate::sys::Answer;

    pub fn iopl() -> Answer {
        Answer::blocked("ENOSYS")
    }
    pub use {iopl as ioperm, iopl as modify_ldt, iopl as int80, iopl as x32};
}
