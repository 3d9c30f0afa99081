//! An archive of files inside a sandbox, made by pier there: called as `/.pier/init __pack PATH …`.
//!
//! Plain files and directories that can be read are in it, below `it`; what cannot be is named by a last entry, `left`. An agent
//! may write there meanwhile: no link is followed but one that the path itself names, and an entry has the size that its file had
//! when it was opened.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;

use camino::Utf8Path;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use tar::{Builder, EntryType, Header};

use crate::util::left_out::LeftOut;

/// What the program is called with before the path.
pub const WORD: &str = "__pack";

/// Where the files are in the archive, and where it says what is not there.
const FILES: &str = "it";
const LEFT: &str = "left";

/// Bounds of one archive: entries, how deep they are, and bytes, with room for what an archive has besides.
const MOST_ENTRIES: usize = 50_000;
const MOST_DEPTH: usize = 64;
const MOST_BYTES: u64 = (4 << 30) - (256 << 20);

/// The most that the last entry holds, in bytes.
const MOST_LEFT: u64 = 256 << 10;

/// Prints the archive of the tree at a path.
pub fn main(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let output = || io::BufWriter::new(io::stdout().lock());
    let packed = words
        .next()
        .ok_or(io::ErrorKind::InvalidInput.into())
        .and_then(|path| pack(Path::new(&path), MOST_BYTES, output()));
    match packed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::NotFound => ExitCode::from(2),
        Err(_) => ExitCode::FAILURE,
    }
}

/// # Errors
/// The path itself cannot be read, or the archive not be written.
fn pack(path: &Path, bytes: u64, output: impl Write) -> io::Result<()> {
    let opened = File::open(path)?;
    let mut packing =
        Packing { archive: Builder::new(output), entries: MOST_ENTRIES, bytes, left: LeftOut::default() };
    let top = Utf8Path::new("");
    if opened.metadata()?.is_dir() {
        packing.directory(opened.into(), top, 0)?;
    } else {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
        packing.entry(opened, Utf8Path::new(name), 0)?;
    }
    packing.finish()
}

struct Packing<W: Write> {
    archive: Builder<W>,
    /// How much more there may be.
    entries: usize,
    bytes: u64,
    left: LeftOut,
}

impl<W: Write> Packing<W> {
    /// Adds a directory; `below` is its path in the tree.
    fn directory(&mut self, opened: OwnedFd, below: &Utf8Path, depth: usize) -> io::Result<()> {
        let mut header = header(EntryType::Directory, 0o755, 0);
        self.archive.append_data(&mut header, Utf8Path::new(FILES).join(below), io::empty())?;
        let again = opened.try_clone()?;
        let mut entries = match Dir::from_fd(opened) {
            Ok(entries) => entries,
            Err(error) => {
                self.left.add(below, &error.desc());
                return Ok(());
            }
        };
        for entry in entries.iter() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.left.add(below, &error.desc());
                    return Ok(());
                }
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = below.join(&*name.to_string_lossy());
            let Some(left) = self.entries.checked_sub(1) else {
                // None that comes after it is looked at: there may be any number.
                self.left.add(&path, &format_args!("more than {MOST_ENTRIES} files"));
                return Ok(());
            };
            self.entries = left;
            if name.to_str().is_err() {
                self.left.add(&path, &"its name is not UTF-8");
                continue;
            }
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            match openat(&again, name, flags, Mode::empty()) {
                Ok(opened) => self.entry(opened.into(), &path, depth)?,
                // A link, a socket, or gone meanwhile.
                Err(Errno::ELOOP | Errno::ENXIO | Errno::ENOENT) => {}
                Err(error) => self.left.add(&path, &error.desc()),
            }
        }
        Ok(())
    }

    fn entry(&mut self, opened: File, path: &Utf8Path, depth: usize) -> io::Result<()> {
        let meta = opened.metadata()?;
        if meta.is_dir() && depth == MOST_DEPTH {
            self.left.add(path, &format_args!("more than {MOST_DEPTH} directories deep"));
            return Ok(());
        }
        if meta.is_dir() {
            return self.directory(opened.into(), path, depth + 1);
        }
        if !meta.is_file() {
            return Ok(());
        }
        // Holes count: whoever reads the archive reads them.
        let Some(bytes) = self.bytes.checked_sub(meta.len()) else {
            self.left.add(path, &"too large with what came before it");
            return Ok(());
        };
        self.bytes = bytes;
        // Whoever gets it can read it.
        let mut header = header(EntryType::Regular, meta.mode() & 0o755 | 0o400, meta.mtime());
        header.set_size(meta.len());
        let mut content = Exactly { file: opened, left: meta.len(), failed: None };
        self.archive.append_data(&mut header, Utf8Path::new(FILES).join(path), &mut content)?;
        if let Some(error) = content.failed {
            self.left.add(path, &format_args!("only a part of it: {error}"));
        }
        Ok(())
    }

    /// Says what is not there, and ends the archive.
    fn finish(mut self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.left)?;
        let mut header = header(EntryType::Regular, 0o600, 0);
        header.set_size(text.len() as u64);
        self.archive.append_data(&mut header, LEFT, text.as_slice())?;
        self.archive.into_inner()?.flush()
    }
}

fn header(kind: EntryType, mode: u32, modified: i64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(modified.try_into().unwrap_or(0));
    header.set_size(0);
    header
}

/// As many bytes of a file as its entry is said to have, whoever writes to it meanwhile: zeros where it has fewer by now, or
/// cannot be read.
struct Exactly {
    file: File,
    left: u64,
    failed: Option<io::Error>,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(room) = buffer.get_mut(..most).filter(|room| !room.is_empty()) else { return Ok(0) };
        let count = match self.failed.is_none().then(|| self.file.read(room)) {
            Some(Ok(0)) => {
                self.failed = Some(io::Error::other("it became shorter while it was read"));
                0
            }
            Some(Ok(count)) => count,
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Some(Err(error)) => {
                self.failed = Some(error);
                0
            }
            None => 0,
        };
        let count = if count == 0 {
            room.fill(0);
            room.len()
        } else {
            count
        };
        self.left -= count as u64;
        Ok(count)
    }
}

/// Returns what an archive says is not in it; one of an older pier says nothing.
pub fn left_out(archive: &mut File) -> io::Result<LeftOut> {
    archive.seek(SeekFrom::Start(0))?;
    let mut found = LeftOut::default();
    for entry in tar::Archive::new(&mut *archive).entries_with_seek()? {
        let entry = entry?;
        if entry.path_bytes().as_ref() == LEFT.as_bytes() {
            let mut text = Vec::new();
            entry.take(MOST_LEFT).read_to_end(&mut text)?;
            found = serde_json::from_slice(&text)?;
        }
    }
    archive.seek(SeekFrom::Start(0))?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::PermissionsExt as _;

    use camino::Utf8PathBuf;

    use super::*;

    fn packed(path: &Utf8Path, bytes: u64) -> (Vec<(String, String)>, String) {
        let mut file = tempfile::tempfile().unwrap();
        pack(path.as_std_path(), bytes, &mut file).unwrap();
        let left = left_out(&mut file).unwrap().to_string();
        let mut found = Vec::new();
        for entry in tar::Archive::new(&mut file).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            if entry.header().entry_type().is_file() && name != LEFT {
                found.push((name, text));
            }
        }
        found.sort();
        (found, left)
    }

    #[test]
    fn what_cannot_be_read_is_left_behind_and_named() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8PathBuf::from_path_buf(base.path().to_owned()).unwrap();
        fs_err::create_dir_all(base.join("deep/er")).unwrap();
        fs_err::write(base.join("deep/er/log"), "kept").unwrap();
        fs_err::write(base.join("large"), "x".repeat(100)).unwrap();
        fs_err::create_dir_all(base.join("d/".repeat(MOST_DEPTH + 1))).unwrap();
        fs_err::write(base.as_std_path().join(std::ffi::OsStr::from_bytes(b"odd\xe9")), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", base.join("link")).unwrap();
        nix::unistd::mkfifo(base.join("pipe").as_std_path(), Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(base.join("socket")).unwrap();
        fs_err::create_dir(base.join("closed")).unwrap();
        fs_err::write(base.join("secret"), "").unwrap();
        for name in ["secret", "closed"] {
            fs_err::set_permissions(base.join(name), std::fs::Permissions::from_mode(0o000)).unwrap();
        }
        let (found, left) = packed(&base, 50);
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert!(found.contains(&pair("it/deep/er/log", "kept")), "{found:?}");
        assert!(!found.iter().any(|(name, _)| ["it/link", "it/pipe", "it/large"].contains(&name.as_str())));
        assert!(left.contains("`large` (too large with what came before it)"), "{left}");
        assert!(left.contains("its name is not UTF-8") && left.contains("directories deep"), "{left}");
        if !nix::unistd::geteuid().is_root() {
            assert!(left.contains("`secret` (Permission denied)"), "{left}");
            assert!(left.contains("`closed` (Permission denied)"), "{left}");
        }
        fs_err::set_permissions(base.join("closed"), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(packed(&base.join("deep/er/log"), 50), (vec![pair("it/log", "kept")], String::new()));
        let absent = pack(base.join("absent").as_std_path(), 50, io::sink()).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_log_that_is_written_meanwhile_has_the_size_that_it_had() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let exactly = |left| {
            let mut file = file.try_clone().unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            let mut content = Exactly { file, left, failed: None };
            let mut text = Vec::new();
            content.read_to_end(&mut text).unwrap();
            (text, content.failed.map(|error| error.to_string()))
        };
        assert_eq!(exactly(4), (b"0123".to_vec(), None));
        let (text, failed) = exactly(12);
        assert_eq!(text, b"0123456789\0\0");
        assert!(failed.unwrap().contains("shorter"));
    }
}
