//! Reads directories that a sandbox could write: one component at a time, no links, everything bounded.

use std::ffi::CString;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use camino::Utf8Path;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, unlinkat};

const READ: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC).union(OFlag::O_NOCTTY);

/// An open directory.
pub struct Directory(OwnedFd);

/// What a name in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    /// A link, a device, a socket …
    Other,
}

impl Directory {
    /// Opens a directory; the path above its last part is trusted.
    pub fn open(path: &Utf8Path) -> io::Result<Self> {
        Ok(Directory(nix::fcntl::open(path.as_std_path(), READ | OFlag::O_DIRECTORY, Mode::empty())?))
    }

    /// Opens a directory below; `None` where there is nothing of that name.
    ///
    /// # Errors
    /// A link or a file of that name.
    pub fn directory(&self, name: &str) -> io::Result<Option<Directory>> {
        match openat(&self.0, name, READ | OFlag::O_DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some(Directory(fd))),
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ELOOP | Errno::ENOTDIR) => Err(io::Error::other(format!("`{name}` is no directory"))),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a plain file of at most `most` bytes; `None` where there is nothing of that name.
    ///
    /// # Errors
    /// Anything else of that name, and a file that is larger.
    pub fn file(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let fd = match openat(&self.0, name, READ, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP | Errno::ENXIO) => {
                return Err(io::Error::other(format!("`{name}` is no plain file")));
            }
            Err(error) => return Err(error.into()),
        };
        if kind(fstat(&fd)?.st_mode) != Kind::File {
            return Err(io::Error::other(format!("`{name}` is no plain file")));
        }
        let mut bytes = Vec::new();
        std::fs::File::from(fd).take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("`{name}` is larger than {most} bytes"),
            ));
        }
        Ok(Some(bytes))
    }

    /// Returns the names of a directory with their kinds, those that are not UTF-8 as `None`.
    ///
    /// # Errors
    /// More entries than `budget` has left.
    pub fn entries(&self, budget: &mut usize) -> io::Result<Vec<(Option<String>, Kind)>> {
        let mut found = Vec::new();
        // Opened anew: a directory stream moves the position of its descriptor.
        let fd = openat(&self.0, ".", READ | OFlag::O_DIRECTORY, Mode::empty())?;
        for entry in Dir::from_fd(fd)?.iter() {
            let entry = entry?;
            let name: CString = entry.file_name().to_owned();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            *budget = budget.checked_sub(1).ok_or_else(|| io::Error::other("too many files"))?;
            let of_type = match entry.file_type() {
                Some(nix::dir::Type::File) => Kind::File,
                Some(nix::dir::Type::Directory) => Kind::Directory,
                Some(_) => Kind::Other,
                // Some file systems do not say it here.
                None => kind(fstatat(&self.0, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?.st_mode),
            };
            found.push((name.into_string().ok(), of_type));
        }
        Ok(found)
    }

    /// Gives a plain file a second name in another directory, which no sandbox can write.
    ///
    /// What it is is looked at there, so that nobody can put a link in its place in between.
    pub fn link(&self, name: &str, to: &Directory) -> io::Result<()> {
        match linkat(&self.0, name, &to.0, name, LinkatFlags::empty()) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if kind(fstatat(&to.0, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_mode) == Kind::File {
            return Ok(());
        }
        unlinkat(&to.0, name, UnlinkatFlags::NoRemoveDir)?;
        Err(io::Error::other(format!("`{name}` was changed while it was read")))
    }
}

fn kind(mode: u32) -> Kind {
    match SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Directory,
        _ => Kind::Other,
    }
}
