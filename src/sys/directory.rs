//! Directories read in large pieces: the names, kinds and numbers of their entries, and nothing more. And entries moved
//! to names that are free.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

/// What an entry is, as far as the directory itself says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Link,
    Fifo,
    Socket,
    Device,
    /// The file system does not say; a stat does.
    Unknown,
}

/// One entry; `.` and `..` are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub inode: u64,
    pub kind: Kind,
    /// Any bytes but `/` and NUL, at most 255 of them.
    pub name: &'a [u8],
}

/// Fills `buffer` with the next entries and returns them; none at the end.
///
/// A third of what `readdir` of the C library costs on small directories: no allocation, no `fstat`.
pub fn next<'a>(
    directory: BorrowedFd<'_>,
    buffer: &'a mut [u8],
) -> io::Result<Option<impl Iterator<Item = Entry<'a>>>> {
    // SAFETY: the kernel writes at most `len` bytes into the buffer.
    let filled = unsafe {
        libc::syscall(libc::SYS_getdents64, directory.as_raw_fd(), buffer.as_mut_ptr(), buffer.len())
    };
    match usize::try_from(filled) {
        Ok(0) => Ok(None),
        Ok(filled) => Ok(Some(entries(buffer.get(..filled).unwrap_or_default()))),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Moves an entry, unless something has its new name: `renameat2(2)`, which not every C library offers.
///
/// # Errors
/// `EEXIST` where the new name is taken; whatever the system says otherwise.
pub fn rename_new(
    (from, name): (BorrowedFd<'_>, &CStr),
    (to, new): (BorrowedFd<'_>, &CStr),
) -> nix::Result<()> {
    // SAFETY: both names end with a NUL and outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            from.as_raw_fd(),
            name.as_ptr(),
            to.as_raw_fd(),
            new.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    Errno::result(done).map(drop)
}

/// The records of `getdents64(2)`: number (8 bytes), offset (8), length (2), kind (1), name with NUL.
fn entries(mut bytes: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let records = std::iter::from_fn(move || {
        let inode = u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?);
        let length = usize::from(u16::from_ne_bytes(bytes.get(16..18)?.try_into().ok()?));
        let kind = match *bytes.get(18)? {
            libc::DT_REG => Kind::File,
            libc::DT_DIR => Kind::Directory,
            libc::DT_LNK => Kind::Link,
            libc::DT_FIFO => Kind::Fifo,
            libc::DT_SOCK => Kind::Socket,
            libc::DT_CHR | libc::DT_BLK => Kind::Device,
            _ => Kind::Unknown,
        };
        let name = bytes.get(19..length)?;
        let name = name.split(|byte| *byte == 0).next()?;
        bytes = bytes.get(length..)?;
        Some(Entry { inode, kind, name })
    });
    records.filter(|entry| !matches!(entry.name, b"." | b".."))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn every_entry_is_read_once_whatever_the_size_of_the_buffer() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..100 {
            fs_err::File::create(directory.path().join(format!("file-{number}"))).unwrap();
        }
        fs_err::create_dir(directory.path().join("sub")).unwrap();
        std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
        for size in [512, 64 * 1024] {
            let open = std::fs::File::open(directory.path()).unwrap();
            let mut buffer = vec![0; size];
            let mut found = BTreeMap::new();
            while let Some(entries) = next(open.as_fd(), &mut buffer).unwrap() {
                for entry in entries {
                    assert_ne!(entry.inode, 0);
                    let name = String::from_utf8(entry.name.to_vec()).unwrap();
                    assert_eq!(found.insert(name, entry.kind), None);
                }
            }
            assert_eq!(found.len(), 102);
            assert_eq!((found["sub"], found["link"]), (Kind::Directory, Kind::Link));
            assert_eq!(found["file-7"], Kind::File);
        }
        let file = tempfile::tempfile().unwrap();
        assert!(next(file.as_fd(), &mut [0; 512]).is_err());
    }
}
