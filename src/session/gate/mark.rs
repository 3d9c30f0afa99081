//! What is remembered of one entry: enough to see at the end whether it is still the same.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use serde::{Deserialize, Serialize};

use super::table::Row;
use crate::sys::directory::Kind;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    File,
    Directory,
    Link,
    Fifo,
    Socket,
    Device,
    /// A directory that nobody may list, and Git may still find by name.
    Unreadable,
    /// Not an entry: the walk ended before everything was seen.
    Unseen,
}

/// Changes with every change of a file's content, mode or place on the disk; `ctime` cannot be set by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(stat: &FileStat) -> Self {
        Stamp {
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    pub fn numbers(&self) -> [i64; 6] {
        let Stamp { inode, size, modified, changed } = self;
        [inode.cast_signed(), *size, modified.0, modified.1, changed.0, changed.1]
    }

    pub fn from_numbers([inode, size, second, nanosecond, changed, fraction]: [i64; 6]) -> Self {
        let (modified, changed) = ((second, nanosecond), (changed, fraction));
        Stamp { inode: inode.cast_unsigned(), size, modified, changed }
    }

    /// Seconds and nanoseconds of the last change.
    pub fn changed(&self) -> (i64, i64) {
        self.changed
    }
}

/// One entry that counts; equal marks mean that nothing has happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub what: What,
    pub row: Option<&'static Row>,
    /// Of things that have no content: which one it is.
    pub inode: u64,
    pub stamp: Option<Stamp>,
    /// Where a link points.
    pub target: Option<Box<[u8]>>,
    /// What a link points to, if that is a file below the root.
    pub behind: Option<Stamp>,
}

impl Mark {
    pub fn new(what: What, row: Option<&'static Row>) -> Self {
        Mark { what, row, inode: 0, stamp: None, target: None, behind: None }
    }
}

/// Looks at an entry of an open directory itself, not at what it points to.
pub fn stamp(directory: BorrowedFd<'_>, name: &[u8]) -> nix::Result<(Kind, Stamp)> {
    let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok((kind(&stat), Stamp::of(&stat)))
}

/// Looks at an open file or directory.
pub fn own_stamp(open: BorrowedFd<'_>) -> nix::Result<Stamp> {
    Ok(Stamp::of(&fstat(open)?))
}

fn kind(stat: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFLNK => Kind::Link,
        SFlag::S_IFIFO => Kind::Fifo,
        SFlag::S_IFSOCK => Kind::Socket,
        SFlag::S_IFCHR | SFlag::S_IFBLK => Kind::Device,
        _ => Kind::Unknown,
    }
}

/// Follows a path as long as it stays below `root`; opens nothing, so that a fifo or a device is not touched.
///
/// # Errors
/// `EXDEV` where it leaves.
pub fn look_behind(root: BorrowedFd<'_>, path: &[u8]) -> nix::Result<(Kind, Stamp)> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .mode(Mode::empty())
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    // The kernel gives up when something is renamed meanwhile.
    for _ in 0..8 {
        match openat2(root, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(fd) => {
                let stat = fstat(&fd)?;
                return Ok((kind(&stat), Stamp::of(&stat)));
            }
        }
    }
    Err(Errno::EAGAIN)
}
