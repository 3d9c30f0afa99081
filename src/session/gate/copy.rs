//! A move between file systems: a bounded copy that follows no link, then the removal of what was copied.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use crate::sys::directory;

const MOST_ENTRIES: usize = 50_000;
const MOST_DEPTH: usize = 64;
const MOST_BYTES: u64 = 1 << 30;

const DIRECTORY: OFlag =
    OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK);

struct Budget {
    entries: usize,
    bytes: u64,
}

/// Moves an entry of `from` into `to`. Pipes, sockets and devices hold nothing and are only removed.
///
/// # Errors
/// The source is whole if the copy fails, with permissions that let its owner read it; a part of the copy may be left.
pub fn move_across(from: BorrowedFd<'_>, name: &[u8], to: BorrowedFd<'_>) -> io::Result<()> {
    copy(from, name, to, 0, &mut Budget { entries: MOST_ENTRIES, bytes: MOST_BYTES })?;
    remove(from, name, 0)
}

fn copy(
    from: BorrowedFd<'_>,
    name: &[u8],
    to: BorrowedFd<'_>,
    depth: usize,
    budget: &mut Budget,
) -> io::Result<()> {
    let too_large = || io::Error::other("it is too large to move to another file system");
    budget.entries = budget.entries.checked_sub(1).ok_or_else(too_large)?;
    let stat = fstatat(from, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o777);
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let source = match openat(from, name, flags, Mode::empty()) {
                Err(Errno::EACCES) => {
                    widen(from, name)?;
                    openat(from, name, flags, Mode::empty())?
                }
                opened => opened?,
            };
            let size = u64::try_from(fstat(&source)?.st_size).unwrap_or(u64::MAX);
            budget.bytes = budget.bytes.checked_sub(size).ok_or_else(too_large)?;
            let flags =
                OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let mut target = std::fs::File::from(openat(to, name, flags, Mode::from_bits_truncate(0o600))?);
            io::copy(&mut std::fs::File::from(source).take(size), &mut target)?;
            fchmod(&target, mode)?;
            target.sync_all()
        }
        SFlag::S_IFLNK => Ok(symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?),
        SFlag::S_IFDIR if depth >= MOST_DEPTH => Err(too_large()),
        SFlag::S_IFDIR => {
            // To read it now, and to empty it afterwards.
            widen(from, name)?;
            let source = openat(from, name, DIRECTORY, Mode::empty())?;
            mkdirat(to, name, Mode::S_IRWXU)?;
            let target = openat(to, name, DIRECTORY, Mode::empty())?;
            for name in names(&source)? {
                copy(source.as_fd(), &name, target.as_fd(), depth + 1, budget)?;
            }
            Ok(fchmod(&target, mode)?)
        }
        _ => Ok(()),
    }
}

/// Lets the owner read, write and search what is there.
fn widen(at: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let own = openat(at, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    set_mode(own.as_fd(), mode(own.as_fd())? | 0o700)
}

pub fn mode(open: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(fstat(open)?.st_mode & 0o7777)
}

/// By way of `/proc`, for `fchmod` refuses descriptors that only name a place.
pub fn set_mode(open: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", open.as_raw_fd());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn remove(from: BorrowedFd<'_>, name: &[u8], depth: usize) -> io::Result<()> {
    let stat = fstatat(from, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFDIR.bits() {
        return Ok(unlinkat(from, name, UnlinkatFlags::NoRemoveDir)?);
    }
    if depth > MOST_DEPTH {
        return Err(io::Error::other("it grew while it was moved"));
    }
    let directory = openat(from, name, DIRECTORY, Mode::empty())?;
    for name in names(&directory)? {
        remove(directory.as_fd(), &name, depth + 1)?;
    }
    Ok(unlinkat(from, name, UnlinkatFlags::RemoveDir)?)
}

/// Every name in a directory, collected before anything in it changes.
fn names(directory: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut buffer = vec![0; 16 * 1024];
    let mut names = Vec::new();
    while let Some(entries) = directory::next(directory.as_fd(), &mut buffer)? {
        names.extend(entries.map(|entry| entry.name.to_vec()));
        if names.len() > MOST_ENTRIES {
            return Err(io::Error::other("it is too large to move to another file system"));
        }
    }
    Ok(names)
}
