//! Directories of pier's own that a sandbox can reach: where one was closed to its owner it is opened, and where something else
//! has its name, that is moved aside. No link is followed, and nothing is removed.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::geteuid;

use super::{Beneath, DIRECTORY, by_chance};
use crate::sys::directory::rename_new;
use crate::util::unlocked;

/// What was done, below the directory where it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mended {
    /// Its owner may use it again.
    Opened(Utf8PathBuf),
    /// What had its name has another one.
    Aside(Utf8PathBuf, Utf8PathBuf),
}

impl fmt::Display for Mended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mended::Opened(path) => {
                write!(out, "`{path}` was closed to its owner, and is open again: pier needs it")
            }
            Mended::Aside(path, to) => {
                write!(out, "something else was in the place of `{path}`, which pier needs: it is `{to}` now")
            }
        }
    }
}

impl Beneath {
    /// Opens a directory below that is pier's own, whatever was made of it; `tell` hears what was done.
    pub fn mended(&self, relative: &Utf8Path, tell: &mut dyn FnMut(&Mended)) -> io::Result<Beneath> {
        let mut at = Beneath(self.0.try_clone()?);
        let mut path = Utf8PathBuf::new();
        for component in relative.components() {
            let Utf8Component::Normal(name) = component else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            path.push(name);
            if at.look(name)?.is_some_and(|meta| kind(&meta) != SFlag::S_IFDIR) {
                at.put_aside(name, &path, tell)?;
            }
            match mkdirat(&at.0, name, Mode::from_bits_truncate(0o700)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(named(&path, error)),
            }
            let held = openat(&at.0, name, DIRECTORY.union(OFlag::O_PATH), Mode::empty());
            let held = held.map_err(|error| named(&path, error))?;
            if open(&held, &path)? {
                tell(&Mended::Opened(path.clone()));
            }
            let opened = openat(&at.0, name, DIRECTORY, Mode::empty());
            at = Beneath(opened.map_err(|error| named(&path, error))?);
        }
        Ok(at)
    }

    /// Replaces a file of pier's own whole, whatever was made of it and of the directories above.
    pub fn write_mended(
        &self,
        relative: &Utf8Path,
        content: &[u8],
        mode: u32,
        tell: &mut dyn FnMut(&Mended),
    ) -> io::Result<()> {
        let above = relative.parent().unwrap_or(Utf8Path::new(""));
        let name = relative.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let above = self.mended(above, tell)?;
        if above.look(name)?.is_some_and(|meta| kind(&meta) == SFlag::S_IFDIR) {
            above.put_aside(name, relative, tell)?;
        }
        above.write(Utf8Path::new(name), content, mode)
    }

    fn look(&self, name: &str) -> io::Result<Option<FileStat>> {
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(meta) => Ok(Some(meta)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn put_aside(&self, name: &str, path: &Utf8Path, tell: &mut dyn FnMut(&Mended)) -> io::Result<()> {
        let text = |name: &str| CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        let old = text(name)?;
        let moved = by_chance(&format!("{name}.moved-"), |other| {
            let other = text(other).map_err(|_| Errno::EINVAL)?;
            rename_new((self.0.as_fd(), &old), (self.0.as_fd(), &other))
        });
        let (other, ()) =
            moved.map_err(|error| io::Error::new(error.kind(), format!("`{path}`: {error}")))?;
        tell(&Mended::Aside(path.to_owned(), path.with_file_name(other)));
        Ok(())
    }
}

fn kind(meta: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(meta.st_mode & SFlag::S_IFMT.bits())
}

/// Says of which path a system call has spoken.
fn named(path: &Utf8Path, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("`{path}`: {error}"))
}

/// Gives the owner of a directory its use back; true where he had not all of it.
fn open(held: &OwnedFd, path: &Utf8Path) -> io::Result<bool> {
    let meta = fstat(held)?;
    let mode = Mode::from_bits_truncate(meta.st_mode);
    if mode.contains(Mode::S_IRWXU) {
        return Ok(false);
    }
    if meta.st_uid != geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("`{path}` belongs to the user {}, and is closed: remove it, or rename it", meta.st_uid),
        ));
    }
    unlocked::change(held, mode | Mode::S_IRWXU)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_is_in_the_way_is_moved_and_what_is_closed_is_opened() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap();
        let root = base.join("root");
        fs_err::create_dir_all(root.join("closed/deep")).unwrap();
        fs_err::create_dir(base.join("victim")).unwrap();
        fs_err::create_dir_all(root.join("task/file")).unwrap();
        fs_err::write(root.join("of-file"), "somebody's").unwrap();
        // Whatever was planted: nobody knows the next name.
        for number in 1..=1000 {
            fs_err::write(root.join(format!("of-file.moved-{number}")), "of before").unwrap();
        }
        symlink(base.join("victim"), root.join("of-link")).unwrap();
        for path in ["closed/deep", "closed", "task"] {
            fs_err::set_permissions(root.join(path), std::fs::Permissions::from_mode(0o000)).unwrap();
        }
        let beneath = Beneath::open(&root).unwrap();
        let mut told = Vec::new();
        let mut aside = Vec::new();
        let mut tell = |what: &Mended| match what {
            Mended::Aside(path, to) => {
                let chosen = to.as_str().strip_prefix(&format!("{path}.moved-")).unwrap();
                assert!(chosen.len() == 16 && chosen.bytes().all(|byte| byte.is_ascii_hexdigit()), "{to}");
                assert_eq!(
                    what.to_string(),
                    format!(
                        "something else was in the place of `{path}`, which pier needs: it is `{to}` now"
                    )
                );
                told.push(format!("moved {path}"));
                aside.push(to.clone());
            }
            Mended::Opened(_) => told.push(what.to_string()),
        };
        for path in ["of-file", "of-link/deep", "closed/deep", "new/deep"] {
            beneath.mended(path.into(), &mut tell).unwrap().write("x".into(), b"x", 0o600).unwrap();
        }
        beneath.write_mended("task/file".into(), b"what is to be done", 0o644, &mut tell).unwrap();
        let opened =
            |path: &str| format!("`{path}` was closed to its owner, and is open again: pier needs it");
        assert_eq!(
            told,
            [
                "moved of-file".to_owned(),
                "moved of-link".to_owned(),
                opened("closed"),
                opened("closed/deep"),
                opened("task"),
                "moved task/file".to_owned(),
            ]
        );
        assert_eq!(fs_err::read_dir(base.join("victim")).unwrap().count(), 0, "no link was followed");
        assert_eq!(fs_err::read_to_string(root.join(&aside[0])).unwrap(), "somebody's");
        assert!(root.join(&aside[1]).is_symlink() && root.join(&aside[2]).is_dir());
        assert_eq!(fs_err::read_to_string(root.join("task/file")).unwrap(), "what is to be done");
        assert!(beneath.mended("../victim".into(), &mut |_| ()).is_err());
    }
}
