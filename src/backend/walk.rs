//! Every file below a directory, and whose it is, where others may change what is there meanwhile.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

use camino::Utf8Path;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Gid, Uid, fchownat};

/// The most files that are looked at, and how deep.
const MOST_FILES: usize = 2_000_000;
const MOST_DEPTH: usize = 400;

/// A directory, a name in it, and what that is.
pub type Visit<'a> = &'a mut dyn FnMut(&OwnedFd, &CStr, &FileStat) -> io::Result<()>;

/// Visits everything below a directory that is on the same file system. Each step is made from the directory before, so that no
/// link leads elsewhere, whoever puts one there meanwhile.
pub fn walk(top: &Utf8Path, visit: Visit<'_>) -> io::Result<()> {
    let top = match nix::fcntl::open(top.as_std_path(), DIRECTORY, Mode::empty()) {
        // A single file that is mounted is nobody's to make.
        Err(Errno::ENOTDIR | Errno::ENOENT) => return Ok(()),
        top => top?,
    };
    let device = fstat(&top)?.st_dev;
    descend(&top, device, 0, &mut 0, visit)
}

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn descend(
    directory: &OwnedFd,
    device: u64,
    depth: usize,
    count: &mut usize,
    visit: Visit<'_>,
) -> io::Result<()> {
    for entry in Dir::from_fd(directory.try_clone()?)?.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        // It has just gone.
        let Ok(meta) = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
        if meta.st_dev != device {
            continue;
        }
        *count += 1;
        if *count > MOST_FILES {
            return Err(io::Error::other("there are too many files"));
        }
        visit(directory, name, &meta)?;
        if meta.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() && depth < MOST_DEPTH {
            // Another thing may be there by now.
            let Ok(below) = openat(directory, name, DIRECTORY, Mode::empty()) else { continue };
            if fstat(&below)?.st_dev == device {
                descend(&below, device, depth + 1, count, visit)?;
            }
        }
    }
    Ok(())
}

/// Gives what is at a name to somebody; a link itself, and not what it leads to.
pub fn hand_over(directory: &OwnedFd, name: &CStr, (uid, gid): (u32, u32)) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    match fchownat(directory, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_follows_no_link() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap();
        fs_err::create_dir_all(base.join("in/deep")).unwrap();
        fs_err::create_dir(base.join("out")).unwrap();
        fs_err::write(base.join("out/file"), "").unwrap();
        std::os::unix::fs::symlink(base.join("out"), base.join("in/link")).unwrap();
        let mut seen = Vec::new();
        walk(&base.join("in"), &mut |_, name, _| {
            seen.push(name.to_str().unwrap().to_owned());
            Ok(())
        })
        .unwrap();
        seen.sort();
        assert_eq!(seen, ["deep", "link"]);
    }
}
