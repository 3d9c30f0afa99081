//! Named sockets of sessions: reached through their directory, so that the length of its path does not matter.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use camino::Utf8Path;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::socket::sockopt::{PeerCredentials, SendTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt, listen,
    setsockopt, socket, socketpair,
};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// Returns a socket that listens as `name` in a directory, mode 0600, and never blocks.
pub fn listen_in(directory: &Utf8Path, name: &str) -> io::Result<OwnedFd> {
    let (held, address) = place(directory, name)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    bind(made.as_raw_fd(), &address)?;
    fchmodat(&held, name, Mode::S_IRUSR | Mode::S_IWUSR, FchmodatFlags::FollowSymlink)?;
    listen(&made, Backlog::new(8)?)?;
    Ok(made)
}

/// How long whoever listens may have others in line: unix(7) waits without an end for a process that is stopped.
const IN_LINE: Duration = Duration::from_secs(20);

/// Connects to the socket `name` of a directory.
pub fn connect_in(directory: &Utf8Path, name: &str) -> io::Result<OwnedFd> {
    connect_within(directory, name, IN_LINE)
}

/// Connects to the socket `name` of a directory, where there is room in its line within this time.
///
/// # Errors
/// `WouldBlock` where there is none.
pub fn connect_within(directory: &Utf8Path, name: &str, time: Duration) -> io::Result<OwnedFd> {
    let (_held, address) = place(directory, name)?;
    let made = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    let milliseconds = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    setsockopt(&made, SendTimeout, &TimeVal::milliseconds(milliseconds))?;
    connect(made.as_raw_fd(), &address)?;
    // No end again.
    setsockopt(&made, SendTimeout, &TimeVal::zero())?;
    Ok(made)
}

/// Connects to the socket at a path that the caller of this program named.
pub fn connect_at(path: &std::ffi::OsStr) -> io::Result<OwnedFd> {
    let path = Utf8Path::new(path.to_str().ok_or(io::ErrorKind::InvalidInput)?);
    let (directory, name) = (path.parent(), path.file_name());
    let (Some(directory), Some(name)) = (directory, name) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    connect_in(directory, name)
}

/// An address holds 107 bytes; a directory may have any path.
fn place(directory: &Utf8Path, name: &str) -> io::Result<(OwnedFd, UnixAddr)> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let held = nix::fcntl::open(directory.as_std_path(), flags, Mode::empty())?;
    let address = UnixAddr::new(format!("/proc/self/fd/{}/{name}", held.as_raw_fd()).as_str())?;
    // Without a link at its end: what is connected to is what is there.
    match nix::sys::stat::fstatat(&held, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) if found.st_mode & nix::libc::S_IFMT == nix::libc::S_IFLNK => Err(Errno::ELOOP.into()),
        _ => Ok((held, address)),
    }
}

/// Takes one connection with the user on its other side; `None` when nobody waits.
pub fn accept(listener: &OwnedFd) -> io::Result<Option<(OwnedFd, u32)>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let raw = match accept4(listener.as_raw_fd(), flags) {
        Ok(raw) => raw,
        Err(Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // SAFETY: the kernel has just made this descriptor for us.
    let connection = unsafe { OwnedFd::from_raw_fd(raw) };
    let user = getsockopt(&connection, PeerCredentials)?.uid();
    Ok(Some((connection, user)))
}

/// Returns the user who listens at a path.
pub fn user_at(path: &Utf8Path) -> io::Result<u32> {
    let connection = std::os::unix::net::UnixStream::connect(path)?;
    Ok(getsockopt(&connection, PeerCredentials)?.uid())
}

/// Returns two connected sockets that carry bytes.
pub fn byte_sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Makes reads and writes return instead of wait.
pub fn never_block(fd: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL)?);
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Makes reads and writes wait.
pub fn block(fd: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL)?);
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd;

    #[test]
    fn a_socket_is_private_and_knows_who_calls() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        // Longer than an address.
        let path = Utf8Path::from_path(directory.path()).unwrap().join("x".repeat(120));
        std::fs::create_dir(&path).unwrap();
        let listener = listen_in(&path, "control").unwrap();
        assert_eq!(path.join("control").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(accept(&listener).unwrap().is_none());
        let caller = connect_in(&path, "control").unwrap();
        let (taken, user) = accept(&listener).unwrap().unwrap();
        assert_eq!(user, nix::unistd::geteuid().as_raw());
        fd::send(caller.as_fd(), b"hello", &[]).unwrap();
        assert_eq!(fd::receive(taken.as_fd()).unwrap().0, b"hello");
    }

    #[test]
    fn a_link_in_place_of_a_socket_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(directory.path()).unwrap();
        let _listener = listen_in(path, "real").unwrap();
        std::os::unix::fs::symlink("real", path.join("control")).unwrap();
        assert!(connect_in(path, "control").is_err());
    }
}
