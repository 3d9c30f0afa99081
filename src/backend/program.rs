//! pier's own program as containers have it that outlive its file: one copy for all workspaces, each with a link of its own.
//!
//! A copy is never written to again: a pier of another version makes another one, and what runs keeps what it has.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};

use crate::sys::process;
use crate::util::fs::{create_private, hex, sha256};

/// How the names of copies begin that are still being written.
const UNFINISHED: &str = ".tmp-";

/// How often another pier may remove a copy before it is linked to.
const TRIES: usize = 4;

/// Returns where the copies are, in pier's own state directory.
pub fn shelf(state: &Utf8Path) -> Utf8PathBuf {
    state.join("programs")
}

/// Says whether anything has a link to a copy.
pub fn is_used(copy: &Utf8Path) -> bool {
    copy.symlink_metadata().is_ok_and(|meta| meta.nlink() > 1)
}

/// Copies this program to where nothing is yet.
pub fn copy(to: &Utf8Path) -> io::Result<()> {
    let mut program = File::open("/proc/self/exe")?;
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o755).open(to)?;
    io::copy(&mut program, &mut copy)?;
    copy.set_permissions(Permissions::from_mode(0o755))
}

/// Links to the copy of this program on a shelf, which is made where it is not there, to where nothing is yet.
pub fn link(shelf: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
    create_private(shelf)?;
    let kept = shelf.join(name()?);
    for _ in 0..TRIES {
        match std::fs::hard_link(&kept, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(shelf, &kept)?,
            Ok(()) => {
                clear(shelf, &kept);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            // A file system without links, or too many of them.
            Err(error) => {
                tracing::debug!(%error, %kept, "copied instead");
                break;
            }
        }
    }
    copy(to)
}

/// The name of the copy of this program: it says of which file it is, and of which state of that.
fn name() -> io::Result<String> {
    let meta = File::open("/proc/self/exe")?.metadata()?;
    let text = format!(
        "{} {} {} {}.{} {}.{}",
        meta.dev(),
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec()
    );
    Ok(format!("{:.32}", sha256(text.as_bytes())))
}

fn make(shelf: &Utf8Path, kept: &Utf8Path) -> io::Result<()> {
    let mut random = [0; 8];
    process::random(&mut random)?;
    let unfinished = shelf.join(format!("{UNFINISHED}{}", hex(&random)));
    let made = copy(&unfinished).and_then(|()| std::fs::rename(&unfinished, kept));
    made.inspect_err(|_| {
        let _gone = std::fs::remove_file(&unfinished);
    })
}

/// Removes the finished copies of other versions that nothing has any more.
fn clear(shelf: &Utf8Path, own: &Utf8Path) {
    for entry in shelf.read_dir_utf8().into_iter().flatten().flatten() {
        let (path, is_finished) = (entry.path(), !entry.file_name().starts_with(UNFINISHED));
        if path == own || !is_finished || is_used(path) {
            continue;
        }
        if let Err(error) = std::fs::remove_file(path) {
            tracing::debug!(%error, %path, "stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_links_are_one_copy_and_those_of_nobody_go() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap();
        let shelf = shelf(base);
        create_private(&shelf).unwrap();
        for name in ["of-nobody", "of-a-workspace"] {
            fs_err::write(shelf.join(name), "another version").unwrap();
        }
        fs_err::hard_link(shelf.join("of-a-workspace"), base.join("init-0")).unwrap();
        for to in ["init-1", "init-2"] {
            link(&shelf, &base.join(to)).unwrap();
        }
        let inode = |path: Utf8PathBuf| path.metadata().unwrap().ino();
        assert_eq!(inode(base.join("init-1")), inode(base.join("init-2")));
        assert_eq!(base.join("init-1").metadata().unwrap().mode() & 0o777, 0o755);
        let length = File::open("/proc/self/exe").unwrap().metadata().unwrap().len();
        assert_eq!(base.join("init-2").metadata().unwrap().len(), length);
        assert!(link(&shelf, &base.join("init-1")).is_err(), "nothing is written over");
        assert!(!shelf.join("of-nobody").exists() && shelf.join("of-a-workspace").exists());
        let kept = shelf.join(name().unwrap());
        assert!(is_used(&kept));
        for to in ["init-1", "init-2"] {
            fs_err::remove_file(base.join(to)).unwrap();
        }
        assert!(!is_used(&kept));
    }
}
