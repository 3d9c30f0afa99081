//! Directories that one session makes for the next, while its command runs and nobody waits: to make them takes longer
//! than much else that a short session does. No sandbox sees them before their own session.

use std::io;

use camino::Utf8Path;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::util::fs::create_private;

/// The place of the directories, below the state directory.
const SPARE: &str = "spare";

/// Where they are made, below the directory of the session that makes them and goes with it.
const MADE: &str = "next";

/// What is made, parents first: as much as a private git directory always has.
pub const SKELETON: [&str; 6] =
    ["git", "git/hooks", "git/info", "git/objects", "git/objects/info", "git/refs"];

/// Moves the spare directories to `path`, where nothing is; says whether there were any.
pub fn take(state: &Utf8Path, path: &Utf8Path) -> bool {
    rename(&state.join(SPARE), path).is_ok()
}

/// Makes directories for the next session, unless there are some.
pub fn make(state: &Utf8Path, session: &Utf8Path) -> io::Result<()> {
    if state.join(SPARE).symlink_metadata().is_ok() {
        return Ok(());
    }
    let made = session.join(MADE);
    create_private(&made)?;
    for name in SKELETON {
        create_private(&made.join(name))?;
    }
    match rename(&made, &state.join(SPARE)) {
        // Another session was faster; these go with this one.
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn rename(from: &Utf8Path, to: &Utf8Path) -> nix::Result<()> {
    let (from, to) = (from.as_std_path(), to.as_std_path());
    renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::place::Place;

    #[test]
    fn what_one_session_makes_the_next_one_has() {
        let state = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(state.path()).unwrap();
        let place = Place::make(state).unwrap();
        assert!(!place.path.join("git").exists());
        for _ in 0..2 {
            make(state, &place.path).unwrap();
            assert!(state.join("spare/git/objects/info").is_dir() && !place.path.join(MADE).exists());
        }
        let (next, other) = (Place::make(state).unwrap(), Place::make(state).unwrap());
        assert!(next.path.join("git/refs").is_dir() && !other.path.join("git").exists());
        assert!(!state.join(SPARE).exists());
    }
}
