//! Raw calls, their errors, and what they mean.

use std::ffi::{CString, c_int, c_long};

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    pub fn fork() -> c_int;
    pub fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    pub fn _exit(code: c_int) -> !;
    pub fn setsid() -> c_int;
    pub fn kill(pid: c_int, signal: c_int) -> c_int;
    pub fn signal(signal: c_int, handler: usize) -> usize;
    pub fn alarm(seconds: u32) -> u32;
    pub fn getpid() -> c_int;
    pub fn close(fd: c_int) -> c_int;
}

pub const EPERM: i32 = 1;
pub const ENOENT: i32 = 2;
pub const EACCES: i32 = 13;
pub const ENOTTY: i32 = 25;
pub const ENOSPC: i32 = 28;
pub const EROFS: i32 = 30;
pub const ENOSYS: i32 = 38;
pub const EAFNOSUPPORT: i32 = 97;

/// What an attempt found.
pub enum Answer {
    Blocked(String),
    Reachable(String),
    Unknown(String),
}

impl Answer {
    pub fn blocked(text: impl Into<String>) -> Self {
        Answer::Blocked(text.into())
    }

    pub fn reachable(text: impl Into<String>) -> Self {
        Answer::Reachable(text.into())
    }

    pub fn unknown(text: impl Into<String>) -> Self {
        Answer::Unknown(text.into())
    }
}

/// The result of a call: its value, or the number of its error.
pub type Done = Result<c_long, i32>;

/// Makes a call with up to six arguments.
pub fn call(number: c_long, args: &[c_long]) -> Done {
    let arg = |index: usize| args.get(index).copied().unwrap_or(0);
    // SAFETY: the callers give each call what it asks for, or values that it refuses.
    let value = unsafe { syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    if value == -1 { Err(last()) } else { Ok(value) }
}

pub fn last() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// A refusal of the privilege is a wall; every other error means that the call was looked at.
pub fn judge(done: Done) -> Answer {
    match done {
        Err(error @ (EPERM | EACCES | EROFS | ENOSYS | EAFNOSUPPORT | ENOSPC)) => {
            Answer::blocked(name(error))
        }
        Err(error) => Answer::reachable(format!("looked at: {}", name(error))),
        Ok(value) => Answer::reachable(format!("worked: {value}")),
    }
}

/// Like [`judge`], where every error is a wall.
pub fn judge_success(done: Done) -> Answer {
    match done {
        Err(error) => Answer::blocked(name(error)),
        Ok(_) => Answer::reachable("worked"),
    }
}

pub fn name(error: i32) -> String {
    let known = [
        (EPERM, "EPERM"),
        (ENOENT, "ENOENT"),
        (3, "ESRCH"),
        (9, "EBADF"),
        (11, "EAGAIN"),
        (12, "ENOMEM"),
        (EACCES, "EACCES"),
        (14, "EFAULT"),
        (16, "EBUSY"),
        (17, "EEXIST"),
        (18, "EXDEV"),
        (20, "ENOTDIR"),
        (22, "EINVAL"),
        (ENOTTY, "ENOTTY"),
        (ENOSPC, "ENOSPC"),
        (EROFS, "EROFS"),
        (ENOSYS, "ENOSYS"),
        (40, "ELOOP"),
        (95, "EOPNOTSUPP"),
        (EAFNOSUPPORT, "EAFNOSUPPORT"),
        (111, "ECONNREFUSED"),
    ];
    known
        .iter()
        .find(|(number, _)| *number == error)
        .map_or(format!("errno {error}"), |(_, name)| (*name).into())
}

pub fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

pub fn at<T>(value: &T) -> c_long {
    std::ptr::from_ref(value) as c_long
}

pub fn at_mut<T>(value: &mut T) -> c_long {
    std::ptr::from_mut(value) as c_long
}

/// How a forked attempt ended.
pub enum Child {
    Exited(i32),
    Killed(i32),
}

/// Runs an attempt in a process of its own, which may be killed for it.
pub fn in_child(attempt: impl FnOnce() -> i32) -> Child {
    // SAFETY: the program has one thread.
    unsafe {
        let pid = fork();
        if pid == 0 {
            alarm(5);
            let code = attempt();
            _exit(code);
        }
        let mut status = 0;
        waitpid(pid, &raw mut status, 0);
        if status & 0x7f == 0 { Child::Exited((status >> 8) & 0xff) } else { Child::Killed(status & 0x7f) }
    }
}

/// Numbers of calls. Those from 424 on are the same everywhere.
#[cfg(target_arch = "x86_64")]
pub mod nr {
    pub const IOCTL: i64 = 16;
    pub const OPENAT: i64 = 257;
    pub const LINKAT: i64 = 265;
    pub const FCHMODAT: i64 = 268;
    pub const FCHMODAT2: i64 = 452;
    pub const SHMGET: i64 = 29;
    pub const SOCKET: i64 = 41;
    pub const CONNECT: i64 = 42;
    pub const SENDTO: i64 = 44;
    pub const CLONE: i64 = 56;
    pub const SEMGET: i64 = 64;
    pub const MSGGET: i64 = 68;
    pub const SHMCTL: i64 = 31;
    pub const MSGCTL: i64 = 71;
    pub const SEMCTL: i64 = 66;
    pub const PTRACE: i64 = 101;
    pub const SYSLOG: i64 = 103;
    pub const PERSONALITY: i64 = 135;
    pub const VHANGUP: i64 = 153;
    pub const PIVOT_ROOT: i64 = 155;
    pub const PRCTL: i64 = 157;
    pub const ADJTIMEX: i64 = 159;
    pub const CHROOT: i64 = 161;
    pub const ACCT: i64 = 163;
    pub const MOUNT: i64 = 165;
    pub const UMOUNT2: i64 = 166;
    pub const SWAPON: i64 = 167;
    pub const SWAPOFF: i64 = 168;
    pub const REBOOT: i64 = 169;
    pub const SETHOSTNAME: i64 = 170;
    pub const DELETE_MODULE: i64 = 176;
    pub const INIT_MODULE: i64 = 175;
    pub const QUOTACTL: i64 = 179;
    pub const NFSSERVCTL: i64 = 180;
    pub const CLOCK_SETTIME: i64 = 227;
    pub const LOOKUP_DCOOKIE: i64 = 212;
    pub const MQ_OPEN: i64 = 240;
    pub const KEXEC_LOAD: i64 = 246;
    pub const ADD_KEY: i64 = 248;
    pub const REQUEST_KEY: i64 = 249;
    pub const KEYCTL: i64 = 250;
    pub const MKNODAT: i64 = 259;
    pub const UNSHARE: i64 = 272;
    pub const PERF_EVENT_OPEN: i64 = 298;
    pub const NAME_TO_HANDLE_AT: i64 = 303;
    pub const OPEN_BY_HANDLE_AT: i64 = 304;
    pub const CLOCK_ADJTIME: i64 = 305;
    pub const SETNS: i64 = 308;
    pub const PROCESS_VM_READV: i64 = 310;
    pub const KCMP: i64 = 312;
    pub const FINIT_MODULE: i64 = 313;
    pub const MEMFD_CREATE: i64 = 319;
    pub const KEXEC_FILE_LOAD: i64 = 320;
    pub const BPF: i64 = 321;
    pub const EXECVEAT: i64 = 322;
    pub const USERFAULTFD: i64 = 323;
}

#[cfg(target_arch = "aarch64")]
pub mod nr {
    pub const IOCTL: i64 = 29;
    pub const OPENAT: i64 = 56;
    pub const LINKAT: i64 = 37;
    pub const FCHMODAT: i64 = 53;
    pub const FCHMODAT2: i64 = 452;
    pub const SHMGET: i64 = 194;
    pub const SOCKET: i64 = 198;
    pub const CONNECT: i64 = 203;
    pub const SENDTO: i64 = 206;
    pub const CLONE: i64 = 220;
    pub const SEMGET: i64 = 190;
    pub const MSGGET: i64 = 186;
    pub const SHMCTL: i64 = 195;
    pub const MSGCTL: i64 = 187;
    pub const SEMCTL: i64 = 191;
    pub const PTRACE: i64 = 117;
    pub const SYSLOG: i64 = 116;
    pub const PERSONALITY: i64 = 92;
    pub const VHANGUP: i64 = 58;
    pub const PIVOT_ROOT: i64 = 41;
    pub const PRCTL: i64 = 167;
    pub const ADJTIMEX: i64 = 171;
    pub const CHROOT: i64 = 51;
    pub const ACCT: i64 = 89;
    pub const MOUNT: i64 = 40;
    pub const UMOUNT2: i64 = 39;
    pub const SWAPON: i64 = 224;
    pub const SWAPOFF: i64 = 225;
    pub const REBOOT: i64 = 142;
    pub const SETHOSTNAME: i64 = 161;
    pub const DELETE_MODULE: i64 = 106;
    pub const INIT_MODULE: i64 = 105;
    pub const QUOTACTL: i64 = 60;
    pub const NFSSERVCTL: i64 = 42;
    pub const CLOCK_SETTIME: i64 = 112;
    pub const LOOKUP_DCOOKIE: i64 = 18;
    pub const MQ_OPEN: i64 = 180;
    pub const KEXEC_LOAD: i64 = 104;
    pub const ADD_KEY: i64 = 217;
    pub const REQUEST_KEY: i64 = 218;
    pub const KEYCTL: i64 = 219;
    pub const MKNODAT: i64 = 33;
    pub const UNSHARE: i64 = 97;
    pub const PERF_EVENT_OPEN: i64 = 241;
    pub const NAME_TO_HANDLE_AT: i64 = 264;
    pub const OPEN_BY_HANDLE_AT: i64 = 265;
    pub const CLOCK_ADJTIME: i64 = 266;
    pub const SETNS: i64 = 268;
    pub const PROCESS_VM_READV: i64 = 270;
    pub const KCMP: i64 = 272;
    pub const FINIT_MODULE: i64 = 273;
    pub const MEMFD_CREATE: i64 = 279;
    pub const KEXEC_FILE_LOAD: i64 = 294;
    pub const BPF: i64 = 280;
    pub const EXECVEAT: i64 = 281;
    pub const USERFAULTFD: i64 = 282;
}

pub const IO_URING_SETUP: i64 = 425;
pub const OPEN_TREE: i64 = 428;
pub const MOVE_MOUNT: i64 = 429;
pub const FSOPEN: i64 = 430;
pub const FSPICK: i64 = 433;
pub const PIDFD_OPEN: i64 = 434;
pub const CLONE3: i64 = 435;
pub const OPENAT2: i64 = 437;
pub const PIDFD_GETFD: i64 = 438;
pub const MOUNT_SETATTR: i64 = 442;
pub const QUOTACTL_FD: i64 = 443;

pub const AT_FDCWD: c_long = -100;
