//! Files: bounded reads, writes that are whole or not there, digests.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use sha2::{Digest as _, Sha256};

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// `FileTooLarge` for a longer one; whatever the system says otherwise.
pub fn read_bounded(path: &Utf8Path, most: u64) -> io::Result<Vec<u8>> {
    // Files below `/proc` do not tell their length, and without room they are read in very small parts.
    take(fs_err::File::open(path)?, most, 8 * 1024)
}

/// Reads to the end; `expected` bytes save growing step by step.
fn take(file: impl io::Read, most: u64, expected: u64) -> io::Result<Vec<u8>> {
    let room = usize::try_from(expected.min(most)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(room + 1);
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most} bytes")));
    }
    Ok(bytes)
}

/// Reads an open file from its beginning, of at most `most` bytes, wherever somebody else has read it to.
pub fn read_at_most(file: &File, most: u64) -> io::Result<Vec<u8>> {
    use std::io::Seek as _;
    let mut file = file;
    file.rewind()?;
    take(file, most, file.metadata()?.len())
}

/// Opens a path none of whose parts is a symbolic link, so that nobody can have pointed it elsewhere.
///
/// # Errors
/// `ELOOP` becomes a sentence that names the reason.
pub fn open_without_links(path: &Utf8Path) -> io::Result<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, path.as_std_path(), how) {
        Ok(fd) => Ok(fd.into()),
        Err(Errno::ELOOP) => {
            Err(io::Error::other("it is or leads through a symbolic link, which can be pointed elsewhere"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads a plain file of at most `most` bytes, no part of whose path is a symbolic link.
pub fn read_without_links(path: &Utf8Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open_without_links(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    take(file, most, meta.len())
}

/// Writes a file whole or not at all: temporary name, sync, rename. Parents are made with mode 0700.
///
/// # Errors
/// Where there is a device or a pipe, which would be gone for everybody.
pub fn write_atomic(path: &Utf8Path, content: &[u8], mode: u32) -> io::Result<()> {
    write_atomic_by(path, mode, |out| out.write_all(content))
}

fn write_atomic_by(
    path: &Utf8Path,
    mode: u32,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    let is_other = |meta: std::fs::Metadata| {
        let kind = meta.file_type();
        kind.is_char_device() || kind.is_block_device() || kind.is_fifo()
    };
    if path.symlink_metadata().is_ok_and(is_other) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a device or a pipe"));
    }
    let parent = path.parent().ok_or_else(|| io::Error::other("a file needs a directory"))?;
    create_private(parent)?;
    let mut file = tempfile::Builder::new().prefix(".pier-").tempfile_in(parent)?;
    write(&mut file)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Writes what a person wants at a path: a whole file, or into the device or pipe that is there.
pub fn write_output(path: &Utf8Path, content: &[u8], mode: u32) -> io::Result<()> {
    write_output_by(path, mode, |out| out.write_all(content))
}

/// The same for what is written a part at a time.
pub fn write_output_by(
    path: &Utf8Path,
    mode: u32,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    match Output::at(path)? {
        Output::File => write_atomic_by(path, mode, write),
        Output::Stream(mut stream) => write(&mut stream),
    }
}

/// Where a person wants something written.
pub enum Output {
    /// A file, which is there or not; a link to one is replaced, not followed.
    File,
    /// A device, a pipe, or a link to one, which takes what comes: to replace it would take it away from everybody.
    Stream(File),
}

impl Output {
    /// # Errors
    /// For a directory, and what cannot be opened.
    pub fn at(path: &Utf8Path) -> io::Result<Self> {
        match path.metadata() {
            Ok(meta) if meta.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(meta) if !meta.is_file() => Ok(Output::Stream(File::options().write(true).open(path)?)),
            Ok(_) => Ok(Output::File),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Output::File),
            Err(error) => Err(error),
        }
    }
}

/// Opens whatever is at a path, for its metadata and its place alone.
pub fn open_place(path: &Utf8Path) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    Ok(openat(AT_FDCWD, path.as_std_path(), flags, Mode::empty())?.into())
}

/// Returns the absolute path without links of what is opened, as the kernel has it; `path` is what it was opened by.
///
/// To ask for each part of a path whether it is a link, as `canonicalize` does, takes three times as long.
pub fn place_of(open: &File, path: &Utf8Path) -> io::Result<Utf8PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let found = Utf8PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd())).read_link_utf8();
    // What was removed meanwhile, or is in another mount namespace, has a path that leads elsewhere.
    let same = |found: &Utf8PathBuf| {
        let key = |meta: &std::fs::Metadata| (meta.dev(), meta.ino());
        let there = if found.is_absolute() { found.symlink_metadata().ok() } else { None };
        there.zip(open.metadata().ok()).is_some_and(|(there, open)| key(&there) == key(&open))
    };
    match found {
        Ok(found) if same(&found) => Ok(found),
        _ => path.canonicalize_utf8(),
    }
}

/// Returns the absolute path without links of what is there.
pub fn canonical(path: &Utf8Path) -> io::Result<Utf8PathBuf> {
    place_of(&open_place(path)?, path)
}

/// Makes a directory and its missing parents, each with mode 0700.
pub fn create_private(path: &Utf8Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot make the directory `{path}`: {error}")))
}

/// Removes a directory with all that is in it, whatever a sandbox made of it: directories without permissions, and
/// trees deeper than a process may have open files. No link is followed.
pub fn remove_tree(path: &Utf8Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => flatten(path),
    }
}

/// Removes a tree by moving each directory that holds something up to the top, so that nothing is ever deep.
fn flatten(path: &Utf8Path) -> io::Result<()> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = |at: BorrowedFd<'_>, name: &CStr| -> nix::Result<OwnedFd> {
        // By a descriptor that needs no permission: the mode of a link's target is not changed.
        let held = openat(at, name, flags | OFlag::O_PATH, Mode::empty())?;
        let own = format!("/proc/self/fd/{}", held.as_raw_fd());
        fchmodat(AT_FDCWD, own.as_str(), Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
        openat(&held, c".", flags, Mode::empty())
    };
    let name = std::ffi::CString::new(path.as_str()).map_err(io::Error::from)?;
    let top = open(AT_FDCWD, &name)?;
    let mut moved = 0_u64;
    let mut pending = vec![c".".to_owned()];
    while let Some(name) = pending.pop() {
        let directory = open(top.as_fd(), &name)?;
        // Read whole before it is changed.
        let names: Vec<std::ffi::CString> = Dir::from_fd(directory.try_clone()?)?
            .iter()
            .map(|entry| Ok(entry?.file_name().to_owned()))
            .collect::<nix::Result<_>>()?;
        for entry in names.iter().filter(|entry| !matches!(entry.to_bytes(), b"." | b"..")) {
            match unlinkat(&directory, entry.as_c_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => continue,
                Err(Errno::EISDIR | Errno::EPERM) => {}
                Err(error) => return Err(error.into()),
            }
            if unlinkat(&directory, entry.as_c_str(), UnlinkatFlags::RemoveDir).is_ok() {
                continue;
            }
            // Moving a directory elsewhere writes its own `..`, so it needs its permissions first.
            drop(open(directory.as_fd(), entry)?);
            let new = loop {
                moved += 1;
                let new = std::ffi::CString::new(format!(".gone-{moved}")).map_err(io::Error::from)?;
                match fstatat(&top, new.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Err(Errno::ENOENT) => break new,
                    found => found?,
                };
            };
            renameat(&directory, entry.as_c_str(), &top, new.as_c_str())?;
            pending.push(new);
        }
        if name.as_c_str() != c"." {
            unlinkat(&top, name.as_c_str(), UnlinkatFlags::RemoveDir)?;
        }
    }
    std::fs::remove_dir(path)
}

/// Returns the SHA-256 of `bytes` as 64 lower-case hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Returns the SHA-256 of all that can be read, however much it is.
pub fn sha256_of(mut from: impl io::Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(length) => hash.update(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns what pier's state directory calls a project or a workspace: 16 hex digits, which older tools compute too.
pub fn place_name(root: &Utf8Path) -> String {
    let mut digest = sha256(root.as_str().as_bytes());
    digest.truncate(16);
    digest
}

/// Returns lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_path_is_found_as_the_system_finds_it() {
        let directory = tempfile::tempdir().unwrap();
        let base = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
        fs_err::create_dir(base.join("d")).unwrap();
        fs_err::write(base.join("d/x (deleted)"), "").unwrap();
        for (to, link) in [("d", "l"), ("l/x (deleted)", "m"), ("nowhere", "n"), ("o", "o")] {
            std::os::unix::fs::symlink(to, base.join(link)).unwrap();
        }
        let bound = std::os::unix::net::UnixListener::bind(base.join("s")).unwrap();
        for name in ["", "d", "d/..", "l/x (deleted)", "l", "m", "n", "o", "s", "d/none"] {
            let path = base.join(name);
            assert_eq!(canonical(&path).ok(), path.canonicalize_utf8().ok(), "{path}");
        }
        drop(bound);
        assert!(canonical(Utf8Path::new(".")).unwrap().is_absolute());
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let base = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
        let pipe = base.join("pipe");
        nix::unistd::mkfifo(pipe.as_std_path(), Mode::S_IRWXU).unwrap();
        write_atomic(&pipe, b"x", 0o600).unwrap_err();
        write_atomic(&base.join("file"), b"x", 0o600).unwrap();
        write_atomic(&base.join("file"), b"y", 0o600).unwrap();
        for (to, link) in [("pipe", "to-pipe"), ("file", "to-file"), ("nowhere", "to-nothing")] {
            std::os::unix::fs::symlink(to, base.join(link)).unwrap();
        }
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs_err::read(pipe).unwrap())
        };
        let Output::Stream(mut stream) = Output::at(&base.join("to-pipe")).unwrap() else { panic!() };
        stream.write_all(b"through").unwrap();
        drop(stream);
        assert_eq!(reader.join().unwrap(), b"through");
        for name in ["file", "to-file", "to-nothing", "none"] {
            assert!(matches!(Output::at(&base.join(name)), Ok(Output::File)), "{name}");
        }
        assert!(Output::at(&base).is_err());
        assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
    }

    #[test]
    fn digests_are_lower_case_hex() {
        assert_eq!(place_name("/home/me/src/app".into()), "0af20a5227190839");
    }

    #[test]
    fn a_link_anywhere_in_a_path_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
        write_atomic(&path.join("real/file"), b"text", 0o600).unwrap();
        std::os::unix::fs::symlink(path.join("real"), path.join("link")).unwrap();
        assert_eq!(read_without_links(&path.join("real/file"), 9).unwrap(), b"text");
        let error = read_without_links(&path.join("link/file"), 9).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }

    #[test]
    fn any_tree_is_removed_and_nothing_behind_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let base = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
        let tree = base.join("tree");
        write_atomic(&base.join("outside/file"), b"text", 0o600).unwrap();
        write_atomic(&tree.join("a/locked/deeper/file"), b"text", 0o600).unwrap();
        write_atomic(&tree.join(".gone-1/file"), b"text", 0o600).unwrap();
        std::os::unix::fs::symlink(base.join("outside"), tree.join("a/link")).unwrap();
        let mut at =
            nix::fcntl::open(tree.as_std_path(), OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
                .unwrap();
        for _ in 0..200 {
            nix::sys::stat::mkdirat(&at, "d", Mode::S_IRWXU).unwrap();
            at = openat(&at, "d", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        }
        for name in ["a/locked/deeper", "a/locked", "a"] {
            std::fs::set_permissions(tree.join(name), std::fs::Permissions::from_mode(0o000)).unwrap();
        }
        flatten(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(read_bounded(&base.join("outside/file"), 9).unwrap(), b"text");
        assert_eq!(base.join("outside").metadata().unwrap().permissions().mode() & 0o777, 0o700);
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn a_read_stops_at_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(directory.path()).unwrap().join("file");
        write_atomic(&path, b"12345", 0o600).unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        assert_eq!(read_bounded(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
