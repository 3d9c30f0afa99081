//! Descriptors: memory files, messages that carry descriptors, what was handed over by number.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};

/// The largest message of the control protocol, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The most descriptors that one message carries.
pub const MAX_DESCRIPTORS: usize = 8;

/// Returns an empty memory file.
pub fn memory_file(name: &std::ffi::CStr) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?.into())
}

/// Returns two connected sockets that keep message borders.
pub fn message_sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends one message with descriptors.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if message.len() > MAX_MESSAGE || descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too large for the control socket"));
    }
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &control[..0] } else { &control[..] };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(message)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives one message; an empty one means that the other side is gone.
///
/// # Errors
/// A message or its descriptors that were cut off are an error, never a part.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    // Most are short; memory for the longest one costs more than to ask.
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    let length = nix::sys::socket::recv(socket.as_raw_fd(), &mut [], flags)?;
    let mut buffer = vec![0; length.min(MAX_MESSAGE)];
    let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let received =
        recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    let cut = received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    for control in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just installed these descriptors for us; nobody else knows them.
            descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let length = received.bytes;
    if cut {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a control message was cut off"));
    }
    buffer.truncate(length);
    Ok((buffer, descriptors))
}

/// Takes over a descriptor that the parent placed at `number`.
///
/// # Errors
/// When nothing is open there.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asking for the flags of a number touches no memory.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open, was placed for this process alone, and is adopted once.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    Ok(fd)
}

/// Closes every descriptor from `first` up, except those in `keep`.
pub fn close_others(first: RawFd, keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd >= first).collect();
    keep.sort_unstable();
    let mut from = first;
    for fd in keep.into_iter().chain([RawFd::MAX]) {
        if from < fd {
            let last = if fd == RawFd::MAX { u32::MAX } else { (fd - 1).cast_unsigned() };
            // SAFETY: closes descriptors that no object of this process owns.
            if unsafe { libc::syscall(libc::SYS_close_range, from.cast_unsigned(), last, 0u32) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        from = fd.saturating_add(1);
    }
    Ok(())
}

/// Returns a duplicate of a standard stream of this process.
pub fn standard(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: duplicates a number; a closed one gives an error.
    let fd = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: freshly made above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
