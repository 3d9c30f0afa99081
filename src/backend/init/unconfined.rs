//! One command on this host, with no walls around it: for workspaces that were asked to have none.
//!
//! It is spoken to like the init of a workspace. Whoever leaves takes the command along, as far as it is still in its
//! process group.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::serve::{GRACE, Guest};
use crate::backend::protocol::Walls;
use crate::sys::process;

/// Serves one guest until it leaves.
pub fn serve(socket: OwnedFd, environment: &[(OsString, OsString)]) -> io::Result<u8> {
    let mut handled = SigSet::empty();
    handled.add(Signal::SIGCHLD);
    process::block_signals(&handled)?;
    let signals = SignalFd::with_flags(&handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut guest = Guest::new(socket);
    let walls = Walls { landlock: None, seccomp: false };
    loop {
        while let Some((pid, how)) = process::reap() {
            if guest.runs(pid) {
                guest.ended(how);
            }
        }
        let flags = PollFlags::POLLIN;
        let mut polled = [PollFd::new(signals.as_fd(), flags), PollFd::new(guest.socket().as_fd(), flags)];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [ended, said] = polled.map(|one| one.any().unwrap_or(true));
        if ended {
            while signals.read_signal()?.is_some() {}
        }
        if said && !guest.hear(walls, environment) {
            break;
        }
    }
    if let Some(leader) = guest.leave() {
        let until = Instant::now() + GRACE;
        while Instant::now() < until && process::has_children() {
            while process::reap().is_some() {}
            std::thread::sleep(Duration::from_millis(5));
        }
        process::signal_group(leader, Signal::SIGKILL as i32);
    }
    Ok(0)
}
