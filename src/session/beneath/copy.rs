//! Copies of trees: plain files and directories; links and other things are left out.

use std::io;
use std::os::fd::OwnedFd;

use camino::Utf8Path;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::Beneath;
use crate::util::left_out::LeftOut;
use crate::util::sparse;

/// Bounds of one copy.
const MOST_ENTRIES: usize = 50_000;
const MOST_DEPTH: usize = 64;
const MOST_BYTES: u64 = 1 << 30;

/// The most of what an agent has written, in bytes: as much as a session that is taken out of a container.
const MOST_WRITTEN: u64 = 4 << 30;

impl Beneath {
    /// Copies the tree of an open directory, all of it or with an error.
    pub fn copy_tree(&self, from: OwnedFd, to: &Utf8Path) -> io::Result<()> {
        // What pier has no name for was never copied.
        let mut refuse = |_: &Utf8Path, error: io::Error| match error.kind() {
            io::ErrorKind::InvalidFilename => Ok(()),
            _ => Err(error),
        };
        let mut copy = Copy { entries: MOST_ENTRIES, bytes: MOST_BYTES, refuse: &mut refuse };
        copy.directory(from, &self.directory(to)?, Utf8Path::new(""), 0)
    }

    /// Copies what can be copied of a tree that an agent writes: what cannot be read, is too large or too deep is left out.
    pub fn copy_readable(&self, from: OwnedFd, to: &Utf8Path) -> io::Result<LeftOut> {
        self.copy_within(from, to, MOST_WRITTEN)
    }

    fn copy_within(&self, from: OwnedFd, to: &Utf8Path, bytes: u64) -> io::Result<LeftOut> {
        let mut left = LeftOut::default();
        let mut refuse = |path: &Utf8Path, error: io::Error| match error.kind() {
            // Without a place for the copy there is none.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem => {
                Err(error)
            }
            _ => {
                left.add(path, &error);
                Ok(())
            }
        };
        let mut copy = Copy { entries: MOST_ENTRIES, bytes, refuse: &mut refuse };
        copy.directory(from, &self.directory(to)?, Utf8Path::new(""), 0)?;
        Ok(left)
    }
}

struct Copy<'a> {
    /// How much more is copied.
    entries: usize,
    bytes: u64,
    /// Decides what becomes of the copy when an entry cannot be copied.
    refuse: &'a mut dyn FnMut(&Utf8Path, io::Error) -> io::Result<()>,
}

impl Copy<'_> {
    /// Copies a directory; `below` is its path in the tree.
    fn directory(
        &mut self,
        source: OwnedFd,
        target: &Beneath,
        below: &Utf8Path,
        depth: usize,
    ) -> io::Result<()> {
        let again = source.try_clone()?;
        for entry in Dir::from_fd(source)?.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Some(left) = self.entries.checked_sub(1) else {
                let error = io::Error::other(format!("more than {MOST_ENTRIES} files"));
                // None that comes after it is looked at: there may be any number.
                return (self.refuse)(&below.join(&*name.to_string_lossy()), error);
            };
            self.entries = left;
            let Ok(text) = name.to_str() else {
                let error = io::Error::new(io::ErrorKind::InvalidFilename, "its name is not UTF-8");
                (self.refuse)(&below.join(&*name.to_string_lossy()), error)?;
                continue;
            };
            let path = below.join(text);
            if let Err(error) = self.entry(&again, text, target, &path, depth) {
                (self.refuse)(&path, error)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        above: &OwnedFd,
        name: &str,
        target: &Beneath,
        path: &Utf8Path,
        depth: usize,
    ) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = match openat(above, name, flags, Mode::empty()) {
            Ok(opened) => opened,
            // A link, a socket, or gone meanwhile.
            Err(Errno::ELOOP | Errno::ENXIO | Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let meta = fstat(&opened)?;
        match SFlag::from_bits_truncate(meta.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFDIR if depth == MOST_DEPTH => {
                Err(io::Error::other(format!("more than {MOST_DEPTH} directories deep")))
            }
            SFlag::S_IFDIR => {
                self.directory(opened, &target.directory(Utf8Path::new(name))?, path, depth + 1)
            }
            SFlag::S_IFREG => {
                let size = u64::try_from(meta.st_size).unwrap_or(u64::MAX);
                // Holes count: whoever reads the copy reads them.
                self.bytes = self.bytes.checked_sub(size).ok_or_else(|| {
                    io::Error::new(io::ErrorKind::FileTooLarge, "too large with what came before it")
                })?;
                // Whoever gets it can read it.
                let mode = meta.st_mode & 0o755 | 0o400;
                let source = std::fs::File::from(opened);
                target.write_by(Utf8Path::new(name), mode, |file| sparse::copy(&source, file, size))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use camino::Utf8PathBuf;

    use super::*;

    struct Sides {
        _keep: tempfile::TempDir,
        base: Utf8PathBuf,
    }

    impl Sides {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let base = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
            fs_err::create_dir(base.join("from")).unwrap();
            fs_err::create_dir(base.join("home")).unwrap();
            Sides { _keep: directory, base }
        }

        fn write(&self, path: &str, text: &str, mode: u32) {
            crate::util::fs::write_atomic(&self.base.join("from").join(path), text.as_bytes(), mode).unwrap();
        }

        fn from(&self) -> OwnedFd {
            std::fs::File::open(self.base.join("from")).unwrap().into()
        }

        fn home(&self) -> Beneath {
            Beneath::open(&self.base.join("home")).unwrap()
        }

        fn copied(&self, path: &str) -> Option<String> {
            fs_err::read_to_string(self.base.join("home/to").join(path)).ok()
        }
    }

    #[test]
    fn a_tree_is_copied_without_its_links() {
        let sides = Sides::new();
        sides.write("deep/file", "text", 0o640);
        std::os::unix::fs::symlink("/etc/passwd", sides.base.join("from/link")).unwrap();
        sides.home().copy_tree(sides.from(), Utf8Path::new("to")).unwrap();
        assert_eq!(sides.copied("deep/file").unwrap(), "text");
        assert!(!sides.base.join("home/to/link").exists());
    }

    #[test]
    fn what_is_too_deep_or_too_large_or_has_no_name_is_left_out_and_named_and_the_rest_is_copied() {
        let sides = Sides::new();
        sides.write("log", "kept", 0o600);
        sides.write("large", &"x".repeat(4096), 0o600);
        let deep = "d/".repeat(70);
        sides.write(&format!("{deep}file"), "", 0o600);
        let unnamed = sides.base.join("from").as_std_path().join(std::ffi::OsStr::from_bytes(b"\xff"));
        fs_err::write(unnamed, "").unwrap();
        let left = sides.home().copy_within(sides.from(), Utf8Path::new("to"), 4000).unwrap();
        let said = left.to_string();
        for part in ["`large` (too large", "d` (more than 64 directories deep)", "UTF-8"] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(sides.copied("log").unwrap(), "kept");
        assert!(!sides.base.join("home/to/large").exists());
        assert!(sides.base.join("home/to").join("d/".repeat(64)).exists());
        // What is to be whole is an error.
        let error = sides.home().copy_tree(sides.from(), Utf8Path::new("whole")).unwrap_err();
        assert!(error.to_string().contains("directories deep"), "{error}");
    }
}
