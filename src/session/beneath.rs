//! Writes below a directory that the sandbox can change: no step follows a link that was planted there.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use camino::{Utf8Component, Utf8Path};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::sys::process;
use crate::util::fs::hex;

pub mod copy;
pub mod mend;

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// An open directory; everything is reached from it one component at a time.
pub struct Beneath(OwnedFd);

impl Beneath {
    pub fn open(path: &Utf8Path) -> io::Result<Self> {
        Ok(Beneath(nix::fcntl::open(path.as_std_path(), DIRECTORY, Mode::empty())?))
    }

    /// Opens a directory below, made with mode 0700 where it is missing.
    pub fn directory(&self, relative: &Utf8Path) -> io::Result<Beneath> {
        let mut at = Beneath(self.0.try_clone()?);
        for component in relative.components() {
            let Utf8Component::Normal(name) = component else {
                let message = format!("`{relative}` leaves the directory");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            };
            match mkdirat(&at.0, name, Mode::from_bits_truncate(0o700)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            at = Beneath(openat(&at.0, name, DIRECTORY, Mode::empty())?);
        }
        Ok(at)
    }

    /// Opens a directory below that is there.
    pub fn existing(&self, relative: &Utf8Path) -> io::Result<OwnedFd> {
        let mut at = self.0.try_clone()?;
        for component in relative.components() {
            let Utf8Component::Normal(name) = component else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            at = openat(&at, name, DIRECTORY, Mode::empty())?;
        }
        Ok(at)
    }

    /// Makes an empty file where nothing is; refuses a link of that name.
    pub fn file(&self, relative: &Utf8Path) -> io::Result<()> {
        let (parent, name) = self.parent(relative)?;
        let flags =
            OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        openat(&parent.0, name, flags, Mode::from_bits_truncate(0o600))?;
        Ok(())
    }

    /// Makes a file where nothing is.
    pub fn create(&self, relative: &Utf8Path, mode: u32) -> io::Result<std::fs::File> {
        let (parent, name) = self.parent(relative)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(&parent.0, name, flags, Mode::from_bits_truncate(mode))?.into())
    }

    /// Says whether something is there, even a dangling link.
    pub fn has(&self, relative: &Utf8Path) -> io::Result<bool> {
        let (parent, name) = self.parent(relative)?;
        match fstatat(&parent.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces a file whole; a link of that name is replaced, never followed.
    pub fn write(&self, relative: &Utf8Path, content: &[u8], mode: u32) -> io::Result<()> {
        self.write_by(relative, mode, |mut file| file.write_all(content))
    }

    /// Replaces a file by what is written into an empty one, when that is whole.
    pub fn write_by(
        &self,
        relative: &Utf8Path,
        mode: u32,
        fill: impl FnOnce(&std::fs::File) -> io::Result<()>,
    ) -> io::Result<()> {
        let (parent, name) = self.parent(relative)?;
        let (temporary, fd) = parent.unfinished()?;
        fchmod(&fd, Mode::from_bits_truncate(mode))?;
        let written = fill(&std::fs::File::from(fd));
        let written = written.and_then(|()| Ok(renameat(&parent.0, temporary.as_str(), &parent.0, name)?));
        if written.is_err() {
            // A full disk, as a rule: what is in the way of the next try is of no use to anybody.
            let _kept = unlinkat(&parent.0, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Makes an empty file whose name nobody can have taken before.
    fn unfinished(&self) -> io::Result<(String, OwnedFd)> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        by_chance(".pier-", |name| openat(&self.0, name, flags, Mode::from_bits_truncate(0o600)))
    }

    /// Removes a file or a link, and not what it leads to; false where there was none.
    pub fn remove(&self, relative: &Utf8Path) -> io::Result<bool> {
        let (parent, name) = self.parent(relative)?;
        match unlinkat(&parent.0, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a link in the place of a file or link; what it leads to is not looked at.
    pub fn link(&self, relative: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
        let (parent, name) = self.parent(relative)?;
        match unlinkat(&parent.0, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(nix::unistd::symlinkat(to.as_std_path(), &parent.0, name)?)
    }

    fn parent<'a>(&self, relative: &'a Utf8Path) -> io::Result<(Beneath, &'a str)> {
        let name = relative.file_name().ok_or_else(|| io::Error::other("a file needs a name"))?;
        Ok((self.directory(relative.parent().unwrap_or(Utf8Path::new("")))?, name))
    }
}

/// How many names are tried: the second one only counts where somebody knows the first by chance.
const TRIES: u32 = 4;

/// Makes something by a name that begins like this and goes on by chance: whoever writes in the directory as well cannot have
/// taken it. Returns the name, and what was made.
fn by_chance<T>(prefix: &str, mut make: impl FnMut(&str) -> nix::Result<T>) -> io::Result<(String, T)> {
    for _ in 0..TRIES {
        let mut bytes = [0; 8];
        process::random(&mut bytes)?;
        let name = format!("{prefix}{}", hex(&bytes));
        match make(&name) {
            Err(Errno::EEXIST) => {}
            made => return Ok((name, made?)),
        }
    }
    Err(Errno::EEXIST.into())
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;

    fn home() -> (tempfile::TempDir, Utf8PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
        (directory, path)
    }

    #[test]
    fn a_planted_link_is_never_written_through() {
        let (_keep, path) = home();
        fs_err::create_dir(path.join("victim")).unwrap();
        fs_err::create_dir(path.join("home")).unwrap();
        std::os::unix::fs::symlink(path.join("victim"), path.join("home/.claude")).unwrap();
        std::os::unix::fs::symlink(path.join("victim/x"), path.join("home/file")).unwrap();
        let beneath = Beneath::open(&path.join("home")).unwrap();
        assert!(beneath.write(Utf8Path::new(".claude/settings.json"), b"{}", 0o600).is_err());
        beneath.write(Utf8Path::new("file"), b"text", 0o600).unwrap();
        assert!(fs_err::read_dir(path.join("victim")).unwrap().next().is_none());
        assert!(!path.join("home/file").is_symlink());
    }

    #[test]
    fn a_name_that_is_taken_keeps_nobody_from_writing() {
        let (_keep, path) = home();
        // As an agent may have done for every number that a process can have.
        fs_err::create_dir(path.join(format!(".pier-{}", std::process::id()))).unwrap();
        let beneath = Beneath::open(&path).unwrap();
        beneath.write(Utf8Path::new("file"), b"text", 0o600).unwrap();
        assert_eq!(fs_err::read_to_string(path.join("file")).unwrap(), "text");
        let files = fs_err::read_dir(&path).unwrap().flatten();
        assert_eq!(files.filter(|entry| entry.file_type().unwrap().is_file()).count(), 1, "nothing is left");
        // Only a name that is known before it is chosen could be taken, and so often it is not.
        let mut tried = std::collections::BTreeSet::new();
        let taken = by_chance("x-", |name| {
            tried.insert(name.to_owned());
            Err::<(), _>(Errno::EEXIST)
        });
        assert_eq!((taken.unwrap_err().kind(), tried.len()), (io::ErrorKind::AlreadyExists, 4));
    }

    #[test]
    fn a_path_that_climbs_out_is_refused() {
        let (_keep, path) = home();
        let beneath = Beneath::open(&path).unwrap();
        assert!(beneath.write(Utf8Path::new("../x"), b"", 0o600).is_err());
        assert!(beneath.write(Utf8Path::new("/x"), b"", 0o600).is_err());
    }
}
