//! What the running kernel allows, asked without side effects on this process.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ForkResult, fork};

/// `LANDLOCK_CREATE_RULESET_VERSION` of `linux/landlock.h`.
const LANDLOCK_VERSION: u32 = 1;

/// `SECCOMP_GET_ACTION_AVAIL` of `linux/seccomp.h`.
const SECCOMP_ACTION: u32 = 2;

/// Added to the error of the second step; errors that `unshare` returns are smaller.
const SECOND: i32 = 0x80;

/// How far a process without privileges gets with a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserNamespace {
    Works,
    /// It cannot be made.
    Refused(i32),
    /// It is made and holds no power: `AppArmor` took the capabilities away.
    Powerless(i32),
}

/// Makes a user namespace, and a mount namespace in it, in a child that ends at once.
pub fn user_namespace() -> io::Result<UserNamespace> {
    // SAFETY: the child makes two system calls and ends; it neither allocates nor returns.
    match unsafe { fork() }? {
        ForkResult::Child => {
            // SAFETY: system calls without memory; `_exit` never returns.
            unsafe {
                if libc::unshare(libc::CLONE_NEWUSER) < 0 {
                    libc::_exit(Errno::last_raw() & 0x7f);
                }
                if libc::unshare(libc::CLONE_NEWNS) < 0 {
                    libc::_exit(SECOND | (Errno::last_raw() & 0x7f));
                }
                libc::_exit(0)
            }
        }
        ForkResult::Parent { child } => loop {
            return match waitpid(child, None) {
                Err(Errno::EINTR) => continue,
                Err(error) => Err(error.into()),
                Ok(WaitStatus::Exited(_, 0)) => Ok(UserNamespace::Works),
                Ok(WaitStatus::Exited(_, code)) if code >= SECOND => {
                    Ok(UserNamespace::Powerless(code - SECOND))
                }
                Ok(WaitStatus::Exited(_, code)) => Ok(UserNamespace::Refused(code)),
                // A seccomp filter that kills.
                Ok(_) => Ok(UserNamespace::Refused(libc::EPERM)),
            };
        },
    }
}

/// Returns the version of the kernel's Landlock interface, from 1.
///
/// # Errors
/// `ENOSYS`: not built in; `EOPNOTSUPP`: turned off at boot.
pub fn landlock_version() -> io::Result<u32> {
    // SAFETY: with the version flag the kernel wants a null pointer and length 0, and reads no memory.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, LANDLOCK_VERSION)
    };
    u32::try_from(version).map_err(|_| io::Error::last_os_error())
}

/// Says whether system call filters can be installed.
///
/// # Errors
/// `ENOSYS` or `EOPNOTSUPP` where they cannot.
pub fn seccomp_filters() -> io::Result<()> {
    let action: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the kernel reads the four bytes of `action`.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_ACTION, 0u32, &raw const action) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns the time that a file gets which is written now. The clock of files has steps of some milliseconds: by any other clock, it may
/// have been written before somebody looked.
pub fn time_of_files() -> SystemTime {
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map(Duration::from);
    now.ok().and_then(|now| UNIX_EPOCH.checked_add(now)).unwrap_or_else(SystemTime::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_is_not_older_than_a_look_at_its_clock() {
        let place = tempfile::tempdir().unwrap();
        for name in 0..200 {
            let before = time_of_files();
            let path = place.path().join(name.to_string());
            fs_err::write(&path, "x").unwrap();
            let meta = fs_err::metadata(path).unwrap();
            assert!(meta.modified().unwrap() >= before, "{before:?} {meta:?}");
            assert!(before <= SystemTime::now());
        }
    }
}
