//! Who could have written what is about to run.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use camino::Utf8Path;

use super::Error;

const WORLD_WRITABLE: u32 = 0o002;
const STICKY: u32 = 0o1000;

pub fn is_executable(path: &Utf8Path) -> bool {
    path.metadata().is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
}

/// Refuses a canonical path that somebody else could replace: it, and every directory above it, belongs to root
/// or `uid` and is not writable by all. A sticky directory such as `/tmp` keeps what is in it to its owner.
pub fn place(path: &Utf8Path, uid: u32) -> Result<(), Error> {
    path.ancestors().try_for_each(|part| {
        let found = fs_err::metadata(part).map_err(|source| Error::Read { path: part.to_owned(), source })?;
        check(part, &found, uid)
    })
}

/// Refuses a launcher whose links somebody else could point elsewhere: each link on the way, and the directory
/// it is in.
pub fn links(entry: &Utf8Path, uid: u32) -> Result<(), Error> {
    let mut path = entry.to_owned();
    // The kernel's own bound on links in one path.
    for _ in 0..40 {
        let Some(parent) = path.parent() else { return Ok(()) };
        let directory = super::canonical(parent)?;
        place(&directory, uid)?;
        let found =
            fs_err::symlink_metadata(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        if !found.is_symlink() {
            return check(&path, &found, uid);
        }
        owner(&path, &found, uid)?;
        let target = path.read_link_utf8().map_err(|source| Error::Read { path: path.clone(), source })?;
        path = directory.join(target);
    }
    Err(Error::TooManyHops { path })
}

fn check(path: &Utf8Path, found: &std::fs::Metadata, uid: u32) -> Result<(), Error> {
    owner(path, found, uid)?;
    let mode = found.permissions().mode();
    if mode & WORLD_WRITABLE != 0 && !(found.is_dir() && mode & STICKY != 0) {
        return Err(Error::WorldWritable { path: path.to_owned() });
    }
    Ok(())
}

fn owner(path: &Utf8Path, found: &std::fs::Metadata, uid: u32) -> Result<(), Error> {
    match found.uid() {
        0 => Ok(()),
        owner if owner == uid => Ok(()),
        owner => Err(Error::ForeignOwner { path: path.to_owned(), owner, uid }),
    }
}
