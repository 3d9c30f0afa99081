//! Terminals: a pty pair for the sandbox, raw mode of the real one, its size.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use nix::libc;
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// Returns a pty pair with the size and modes of `like`.
pub fn pair(like: &impl AsFd) -> io::Result<(OwnedFd, OwnedFd)> {
    let modes = tcgetattr(like).ok();
    let OpenptyResult { master, slave } = openpty(&size(like).ok(), &modes)?;
    for fd in [&master, &slave] {
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    }
    Ok((master, slave))
}

/// Returns rows and columns of a terminal.
pub fn size(terminal: &impl AsFd) -> io::Result<Winsize> {
    let mut size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one `winsize` into the one we own.
    if unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(size)
}

/// Sets rows and columns; the foreground group of that terminal gets SIGWINCH.
pub fn resize(terminal: &impl AsFd, size: Winsize) -> io::Result<()> {
    // SAFETY: the kernel reads one `winsize`.
    if unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Raw mode of a terminal for as long as this lives.
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    pub fn enter(terminal: OwnedFd) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&terminal, SetArg::TCSANOW, &raw)?;
        Ok(Raw { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that has gone away needs no modes; there is nobody left to tell. TCSAFLUSH drops input
        // that was typed or answered for the sandbox, so that the caller's shell does not execute it.
        let _gone = tcsetattr(&self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}
