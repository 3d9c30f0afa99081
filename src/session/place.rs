//! A session's own directory on the host: its name, and the lock that says it lives.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::{Flock, FlockArg};

use super::shadow::RECORD;
use super::spare;
use crate::util::fs::{create_private, remove_tree, write_atomic};

/// Names a session on this machine: eight letters and digits that are hard to confuse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(String);

/// Without `i`, `l`, `o`, `u`, 0 and 1.
const LETTERS: &[u8; 30] = b"abcdefghjkmnpqrstvwxyz23456789";
const LENGTH: usize = 8;

impl Id {
    /// A name from the kernel's random numbers.
    fn random() -> io::Result<Self> {
        let mut bytes = [0; LENGTH];
        crate::sys::process::random(&mut bytes)?;
        Ok(Id(bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()))
    }

    /// Takes a name that somebody typed or that a directory has; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == LENGTH && text.bytes().all(|byte| LETTERS.contains(&byte));
        valid.then(|| Id(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

/// The file in a session's directory that is locked for as long as its supervisor lives, however it ends. It says what
/// the session runs.
pub const FILE: &str = "session.json";

/// The file that keeps a session's directory for the user: something in it could not be brought out. It says why.
pub const KEPT: &str = "kept";

/// `STATE/sessions/ID`, mode 0700; removed with all that is in it when this is dropped, unless it is kept.
pub struct Place {
    pub id: Id,
    pub path: Utf8PathBuf,
    /// Held to the end; the kernel lets go of it when the process is killed.
    alive: Flock<File>,
    /// It outlives this value.
    kept: bool,
}

/// Where the directories of all sessions are.
pub fn all(state: &Utf8Path) -> Utf8PathBuf {
    state.join("sessions")
}

/// Says whether a session's supervisor lives: its lock is held. A process id alone may be another program's.
pub fn lives(state: &Utf8Path, session: &str) -> bool {
    let Ok(file) = File::open(all(state).join(session).join(FILE)) else { return false };
    Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
}

impl Place {
    /// Makes a directory that no other session has.
    pub fn make(state: &Utf8Path) -> io::Result<Self> {
        let sessions = all(state);
        create_private(&sessions)?;
        loop {
            let id = Id::random()?;
            let path = sessions.join(id.as_str());
            let alive = if let Some(alive) = spare::take(state, &path) {
                alive
            } else {
                match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(error),
                }
                let new = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path.join(FILE))?;
                // Waits for one that only asks whether this session lives.
                Flock::lock(new, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?
            };
            // Whoever clears dead sessions may have been faster than the lock.
            if is_at(&alive, &path) {
                return Ok(Place { id, path, alive, kept: false });
            }
        }
    }
}

impl Place {
    /// Takes over the directory of a session that has ended; `None` while its supervisor lives.
    ///
    /// It stays where it is unless it is removed by [`Place::discard`].
    pub fn adopt(state: &Utf8Path, id: &Id) -> io::Result<Option<Self>> {
        let path = all(state).join(id.as_str());
        let file = fs_err::File::open(path.join(FILE))?.into_parts().0;
        Ok(match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(alive) => Some(Place { id: id.clone(), path, alive, kept: true }),
            Err(_) => None,
        })
    }

    /// Writes the file that says what the session runs. Whoever reads half of it takes it for one that is not up yet.
    pub fn describe(&self, text: &[u8]) -> io::Result<()> {
        self.alive.write_all_at(text, 0)
    }

    /// Ends the use of the directory: it is removed, by the next session where that may be.
    pub fn retire(mut self, state: &Utf8Path, later: bool) {
        self.kept = later && spare::leave(state, &self.path);
    }

    /// Leaves the directory where it is: something in it is still wanted, and `why` says what.
    pub fn keep(mut self, why: &str) {
        self.kept = true;
        if let Err(error) = write_atomic(&self.path.join(KEPT), why.as_bytes(), 0o600) {
            tracing::warn!(path = %self.path, %error, "the directory of the session is not marked as kept");
        }
    }

    /// Removes the directory with all that is in it.
    pub fn discard(mut self) {
        self.kept = false;
    }
}

/// Says whether an open file is still the lock of that directory.
pub(super) fn is_at(alive: &File, directory: &Utf8Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let key = |meta: &std::fs::Metadata| (meta.dev(), meta.ino());
    match (alive.metadata(), directory.join(FILE).symlink_metadata()) {
        (Ok(open), Ok(there)) => key(&open) == key(&there),
        _ => false,
    }
}

/// Removes the directory of a session. What says that commits of its are waiting goes first: a half that is left by a
/// kill must not look like one that is wanted.
pub(super) fn remove(path: &Utf8Path) -> io::Result<()> {
    match std::fs::remove_file(path.join(RECORD)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => remove_tree(path),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = remove(&self.path) {
            tracing::warn!(path = %self.path, %error, "the directory of the session was not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_place_is_private_locked_and_gone_afterwards() {
        let state = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(state.path()).unwrap();
        let (one, other) = (Place::make(state).unwrap(), Place::make(state).unwrap());
        assert_ne!(one.id, other.id);
        assert_eq!(one.path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let file = File::open(one.path.join(FILE)).unwrap();
        let Err((file, _)) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { panic!("not locked") };
        let path = one.path.clone();
        drop(one);
        assert!(!path.exists() && other.path.exists());
        Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
    }
}
