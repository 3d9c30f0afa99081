//! Terminals: a pty pair for the sandbox, raw mode of the real one, its size.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};

use nix::fcntl::OFlag;
use nix::libc;
use nix::pty::{Winsize, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// Returns a pty pair of the `/dev/pts` that this process sees, so that the slave has a name there.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = posix_openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = nix::fcntl::open(ptsname_r(&master)?.as_str(), flags, Mode::empty())?;
    // SAFETY: `into_raw_fd` gives the descriptor up, so that nobody else closes it.
    let master = unsafe { OwnedFd::from_raw_fd(master.into_raw_fd()) };
    Ok((master, slave))
}

/// Gives a pty the modes and the size of another terminal.
pub fn imitate(pty: &impl AsFd, like: &impl AsFd) -> io::Result<()> {
    tcsetattr(pty, SetArg::TCSANOW, &tcgetattr(like)?)?;
    resize(pty, size(like)?)
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

/// Returns the size of the terminal that a standard stream of this process is, or `otherwise`, rows first.
pub fn any_size(otherwise: (u16, u16)) -> Winsize {
    let usual = Winsize { ws_row: otherwise.0, ws_col: otherwise.1, ws_xpixel: 0, ws_ypixel: 0 };
    let streams = [0, 1, 2].into_iter().filter_map(|number| super::fd::standard(number).ok());
    let sizes = streams.filter_map(|stream| size(&stream).ok());
    sizes.into_iter().find(|size| size.ws_row > 0 && size.ws_col > 0).unwrap_or(usual)
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
