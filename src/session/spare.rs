//! Empty directories that one session leaves for the next: to make and remove them takes longer than all else that
//! a short session does on the disk.
//!
//! The sandbox has seen most of them, so they are handed on only when nothing inside any sandbox can still hold one
//! open: everything of the session has ended, and no other session is there. What is not exactly a directory of the
//! right owner and mode without attributes, or holds another one, is removed instead.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use camino::Utf8Path;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::place::all;
use crate::sys::directory;

/// The place of the directories, below the state directory.
const SPARE: &str = "spare";

/// The mode of each, with the bits of its kind.
const MODE: u32 = 0o040_700;

/// The most names that are removed from one directory, in bytes as the kernel gives them.
const MOST_NAMES: usize = 2048;

/// What is kept of a session's directory, parents first: as much as a private git directory always has.
pub const SKELETON: [&str; 6] =
    ["git", "git/hooks", "git/info", "git/objects", "git/objects/info", "git/refs"];

/// Moves the spare directories to `path`, where nothing is; says whether there were any.
pub fn take(state: &Utf8Path, path: &Utf8Path) -> bool {
    rename(&state.join(SPARE), path).is_ok()
}

/// Empties a session's directory and leaves it for the next session; false where it has to be removed. `gone`: nothing
/// of the session runs any more.
pub fn leave(state: &Utf8Path, path: &Utf8Path, gone: bool) -> io::Result<bool> {
    // A process of another session may have been sent an open directory of this one.
    if !gone || fs_err::read_dir(all(state))?.take(2).count() != 1 {
        return Ok(false);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let top = openat(AT_FDCWD, path.as_std_path(), flags, Mode::empty())?;
    for name in std::iter::once(".").chain(SKELETON) {
        let Ok(open) = openat(&top, name, flags, Mode::empty()) else { return Ok(false) };
        if !empty(open.as_fd(), name)? {
            return Ok(false);
        }
    }
    Ok(rename(path, &state.join(SPARE)).is_ok())
}

/// Removes everything but the directories of the skeleton; false where there is something else that stays.
fn empty(open: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    let stat = fstat(open)?;
    if stat.st_mode != MODE || stat.st_uid != geteuid().as_raw() || !directory::is_plain(open) {
        return Ok(false);
    }
    let is_kept = |entry: &[u8]| {
        SKELETON.iter().any(|kept| {
            let (parent, last) = kept.rsplit_once('/').unwrap_or((".", kept));
            parent == name && last.as_bytes() == entry
        })
    };
    let (mut first, mut more) = ([0; MOST_NAMES], [0; MOST_NAMES]);
    let entries = directory::next(open, &mut first)?;
    // Read whole before it is changed.
    if directory::next(open, &mut more)?.is_some() {
        return Ok(false);
    }
    let mut others = entries.into_iter().flatten().filter(|entry| !is_kept(entry.name));
    Ok(others.all(|entry| unlinkat(open, entry.name, UnlinkatFlags::NoRemoveDir).is_ok()))
}

fn rename(from: &Utf8Path, to: &Utf8Path) -> nix::Result<()> {
    let (from, to) = (from.as_std_path(), to.as_std_path());
    renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::session::place::Place;
    use crate::util::fs::create_private;

    /// Ends a session in whose directory `change` has done something; says whether its directories are left.
    fn left(change: impl FnOnce(&Utf8Path)) -> bool {
        let state = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(state.path()).unwrap();
        let place = Place::make(state).unwrap();
        for name in SKELETON {
            create_private(&place.path.join(name)).unwrap();
        }
        fs_err::write(place.path.join("git/HEAD"), "x").unwrap();
        let path = place.path.clone();
        change(&path);
        place.clear(state, true);
        assert!(!path.exists());
        let left = state.join(SPARE).exists();
        if left {
            let next = Place::make(state).unwrap();
            assert!(!state.join(SPARE).exists());
            let names = fs_err::read_dir(next.path.join("git")).unwrap().count();
            assert_eq!(names, 4, "nothing but directories is left");
        }
        left
    }

    #[test]
    fn what_is_empty_again_is_left() {
        assert!(left(|_| {}));
        assert!(left(|path| fs_err::write(path.join("git/refs/new"), "x").unwrap()));
        assert!(left(|path| symlink("/etc", path.join("git/link")).unwrap()));
    }

    #[test]
    fn what_is_not_exactly_as_it_was_made_is_removed() {
        assert!(!left(|path| fs_err::create_dir(path.join("git/objects/aa")).unwrap()));
        assert!(!left(|path| fs_err::create_dir(path.join("home")).unwrap()));
        assert!(!left(|path| fs_err::remove_dir(path.join("git/refs")).unwrap()));
        assert!(!left(|path| {
            fs_err::remove_dir(path.join("git/hooks")).unwrap();
            symlink("refs", path.join("git/hooks")).unwrap();
        }));
        assert!(!left(|path| {
            let open = std::fs::Permissions::from_mode(0o777);
            fs_err::set_permissions(path.join("git/refs"), open).unwrap();
        }));
        assert!(!left(|path| {
            for number in 0..MOST_NAMES / 24 {
                fs_err::write(path.join(format!("git/info/{number}")), "").unwrap();
            }
        }));
    }

    #[test]
    fn nothing_is_left_where_another_session_may_hold_it() {
        let state = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(state.path()).unwrap();
        let (one, other) = (Place::make(state).unwrap(), Place::make(state).unwrap());
        for name in SKELETON {
            create_private(&one.path.join(name)).unwrap();
            create_private(&other.path.join(name)).unwrap();
        }
        one.clear(state, true);
        assert!(!state.join(SPARE).exists());
        other.clear(state, false);
        assert!(!state.join(SPARE).exists());
    }
}
