//! A prefix as an open directory: everything below is reached one component at a time, and no link is followed.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, symlinkat, unlinkat};

use super::decide::Found;
use super::manifest::{Place, Temporary};
use crate::util::fs::sha256_of;

const DIRECTORY: OFlag =
    OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_PATH);

/// Mode of the directories that are made; the caller's umask applies.
const DIRECTORY_MODE: u32 = 0o755;

pub struct Tree {
    top: OwnedFd,
}

/// Where the way to a path ends.
enum Way {
    Here(OwnedFd),
    Nothing,
    Link(Utf8PathBuf),
    File(Utf8PathBuf),
}

impl Tree {
    /// Opens a prefix. Links in the prefix itself are the caller's own words and followed.
    pub fn open(prefix: &Utf8Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Tree { top: nix::fcntl::open(prefix.as_std_path(), flags, Mode::empty())? })
    }

    /// Opens a prefix, made with its missing parents where there is none; says whether it was made.
    pub fn open_or_make(prefix: &Utf8Path) -> io::Result<(Self, bool)> {
        match Self::open(prefix) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(prefix)?;
                Ok((Self::open(prefix)?, true))
            }
            opened => Ok((opened?, false)),
        }
    }

    /// Says whether a prefix that is not there could be made, by the nearest directory above that is; the error has it.
    pub fn can_make(prefix: &Utf8Path) -> Result<(), (Utf8PathBuf, io::Error)> {
        let flags = AccessFlags::W_OK | AccessFlags::X_OK;
        for above in prefix.ancestors().skip(1) {
            match faccessat(AT_FDCWD, above.as_std_path(), flags, AtFlags::AT_EACCESS) {
                Err(Errno::ENOENT) => {}
                found => return found.map_err(|error| (above.to_owned(), error.into())),
            }
        }
        Ok(())
    }

    /// Keeps others from changing this prefix at the same time; `None` where one does.
    pub fn lock(&self) -> io::Result<Option<Flock<File>>> {
        match Flock::lock(File::from(self.top.try_clone()?), FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }

    fn way(&self, directory: &Utf8Path) -> io::Result<Way> {
        let mut at = self.top.try_clone()?;
        let mut path = Utf8PathBuf::new();
        for name in directory.components().map(|part| part.as_str()) {
            path.push(name);
            at = match openat(&at, name, DIRECTORY, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::ENOENT) => return Ok(Way::Nothing),
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    let link = readlinkat(&at, name).is_ok();
                    return Ok(if link { Way::Link(path) } else { Way::File(path) });
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Way::Here(at))
    }

    /// Opens the directory of a place, which is there.
    fn parent(&self, place: &Place) -> io::Result<OwnedFd> {
        match self.way(parent_of(place))? {
            Way::Here(directory) => Ok(directory),
            Way::Nothing => Err(Errno::ENOENT.into()),
            Way::Link(_) => Err(Errno::ELOOP.into()),
            Way::File(_) => Err(Errno::ENOTDIR.into()),
        }
    }

    /// Looks at a place. A file of more than `most` bytes is not read: it may be endless.
    pub fn look(&self, place: &Place, most: u64) -> io::Result<Found> {
        let parent = match self.way(parent_of(place))? {
            Way::Here(directory) => directory,
            Way::Nothing => return Ok(Found::Nothing),
            Way::Link(path) => return Ok(Found::BehindLink(path)),
            Way::File(path) => return Ok(Found::BehindFile(path)),
        };
        let status = match fstatat(&parent, place.name(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(Found::Nothing),
            status => status?,
        };
        match SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG if u64::try_from(status.st_size).is_ok_and(|size| size <= most) => {
                let digest = sha256_of(open(&parent, place)?.take(most + 1))?;
                Ok(Found::File(Some(digest.try_into().map_err(io::Error::other)?)))
            }
            SFlag::S_IFREG => Ok(Found::File(None)),
            SFlag::S_IFLNK => {
                let target = readlinkat(&parent, place.name())?;
                Ok(Found::Link(target.into_string().ok().map(Into::into)))
            }
            _ => Ok(Found::Other),
        }
    }

    /// Returns the permissions of what is at a place.
    pub fn mode(&self, place: &Place) -> io::Result<u32> {
        let status = fstatat(&self.parent(place)?, place.name(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        Ok(status.st_mode & 0o7777)
    }

    /// Reads a plain file of at most `most` bytes; `None` where there is nothing.
    pub fn read(&self, place: &Place, most: u64) -> io::Result<Option<Vec<u8>>> {
        let parent = match self.way(parent_of(place))? {
            Way::Here(directory) => directory,
            Way::Nothing => return Ok(None),
            Way::Link(path) => return Err(io::Error::other(format!("`{path}` is a symbolic link"))),
            Way::File(path) => return Err(io::Error::other(format!("`{path}` is no directory"))),
        };
        let file = match open(&parent, place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is larger than {most} bytes"),
            ));
        }
        Ok(Some(bytes))
    }

    /// Says whether entries can be made in a directory of the prefix; of one that is not there, in the nearest above.
    pub fn can_write(&self, directory: &Utf8Path) -> io::Result<()> {
        let nearest = directory.ancestors().find_map(|path| match self.way(path) {
            Ok(Way::Here(found)) => Some(found),
            _ => None,
        });
        let flags = AccessFlags::W_OK | AccessFlags::X_OK;
        let at = nearest.as_ref().unwrap_or(&self.top);
        // An empty path would need `AT_EMPTY_PATH`, which not every kernel's call takes.
        Ok(faccessat(at, ".", flags, AtFlags::AT_EACCESS)?)
    }

    /// Makes the directories above a place; returns those that were not there.
    pub fn make_directories(&self, place: &Place) -> io::Result<Vec<Place>> {
        let mut made = Vec::new();
        for directory in place.directories() {
            let parent = self.parent(&directory)?;
            match mkdirat(&parent, directory.name(), Mode::from_bits_truncate(DIRECTORY_MODE)) {
                Ok(()) => made.push(directory),
                Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(made)
    }

    /// Writes a file whole or not at all: temporary name, sync, rename. What has the name is replaced, never followed.
    pub fn write(&self, place: &Place, content: &[u8], mode: u32, temporary: &Temporary) -> io::Result<()> {
        self.put(place, temporary, |parent, temporary| {
            let flags =
                OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let mut file = File::from(openat(parent, temporary, flags, Mode::from_bits_truncate(0o600))?);
            file.write_all(content)?;
            fchmod(&file, Mode::from_bits_truncate(mode))?;
            file.sync_all()
        })
    }

    /// Makes a symbolic link in the place of what has the name.
    pub fn link(&self, place: &Place, target: &Utf8Path, temporary: &Temporary) -> io::Result<()> {
        self.put(place, temporary, |parent, temporary| {
            Ok(symlinkat(target.as_std_path(), parent, temporary)?)
        })
    }

    fn put(
        &self,
        place: &Place,
        temporary: &Temporary,
        make: impl FnOnce(&OwnedFd, &str) -> io::Result<()>,
    ) -> io::Result<()> {
        let parent = self.parent(place)?;
        let unfinished = temporary.name();
        // There is one only after a pier was killed here.
        let _absent = unlinkat(&parent, unfinished, UnlinkatFlags::NoRemoveDir);
        let put = make(&parent, unfinished)
            .and_then(|()| Ok(renameat(&parent, unfinished, &parent, place.name())?));
        if put.is_err() {
            let _kept = unlinkat(&parent, unfinished, UnlinkatFlags::NoRemoveDir);
        }
        put
    }

    /// Removes a file or a link; one that is gone is fine.
    pub fn remove(&self, place: &Place) -> io::Result<()> {
        self.unlink(place, place.name())
    }

    /// Removes what a killed pier left beside a place.
    pub fn clear_beside(&self, place: &Place, temporary: &Temporary) -> io::Result<()> {
        self.unlink(place, temporary.name())
    }

    fn unlink(&self, beside: &Place, name: &str) -> io::Result<()> {
        let Way::Here(parent) = self.way(parent_of(beside))? else { return Ok(()) };
        match unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a directory if it is empty; says whether it did.
    pub fn remove_empty(&self, place: &Place) -> io::Result<bool> {
        let Way::Here(parent) = self.way(parent_of(place))? else { return Ok(false) };
        match unlinkat(&parent, place.name(), UnlinkatFlags::RemoveDir) {
            Ok(()) => Ok(true),
            // Something else is in it, or it is none of ours any more.
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn parent_of(place: &Place) -> &Utf8Path {
    place.path().parent().unwrap_or(Utf8Path::new(""))
}

fn open(parent: &OwnedFd, place: &Place) -> io::Result<File> {
    // A pipe would wait for its other end.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = File::from(openat(parent, place.name(), flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    Ok(file)
}
