//! What sessions do for each other, because to make and to remove directories takes longer than much else that a short
//! session does. While bubblewrap starts, a session makes directories for the next one, which no sandbox sees before
//! their own session. At its end it leaves its own, if nothing was added to them, to be removed when a session has time.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg};

use super::place::FILE;
use crate::sys::directory::rename_new;
use crate::util::fs::{create_private, remove_tree};

/// The place of the directories that are made, below the state directory.
const SPARE: &str = "spare";

/// Where they are made, below the directory of the session that makes them and goes with it.
const MADE: &str = "next";

/// Where what stands in their place goes.
const UNUSABLE: &str = "unusable";

/// The place of what sessions have left, below the state directory, and below that of the session that removes it.
const GONE: &str = "gone";

/// The most that a session leaves, in bytes of files.
const MOST_LEFT: u64 = 16 * 1024 * 1024;

/// The most sessions that have left something; the one after them removes all of it.
const MOST_GONE: usize = 16;

/// How long a command runs before there is time for what others have left.
const IDLE: Duration = Duration::from_millis(500);

/// What a session does once it has time.
pub struct Later {
    state: Utf8PathBuf,
    session: Utf8PathBuf,
    from: Instant,
}

impl Later {
    pub fn new(state: &Utf8Path, session: &Utf8Path) -> Self {
        Later { state: state.to_owned(), session: session.to_owned(), from: Instant::now() + IDLE }
    }

    pub fn is_due(&self) -> bool {
        self.from <= Instant::now()
    }

    pub fn run(self) {
        if let Err(error) = clear(&self.state, &self.session) {
            tracing::warn!(%error, "what other sessions left is not removed");
        }
    }
}

/// What is made, parents first: as much as a private git directory always has.
pub const SKELETON: [&str; 6] =
    ["git", "git/hooks", "git/info", "git/objects", "git/objects/info", "git/refs"];

/// What else pier makes in the directory of a session that is left. What a command has added to it is removed with all
/// else at once: it may be large, or meant to be gone.
const FILES: [&str; 10] = [
    FILE,
    "control",
    "shadow",
    "git/HEAD",
    "git/ORIG_HEAD",
    "git/config",
    "git/index",
    "git/info/exclude",
    "git/objects/info/alternates",
    "git/packed-refs",
];

/// Moves the spare directories to `path`, where nothing is, and returns their locked file; `None` where there are none.
///
/// They are locked before they have a name that anybody clears away.
pub fn take(state: &Utf8Path, path: &Utf8Path) -> Option<Flock<File>> {
    let spare = state.join(SPARE);
    let file = OpenOptions::new().read(true).write(true).open(spare.join(FILE)).ok()?;
    let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
    rename(&spare, path).is_ok().then_some(file)
}

/// Makes directories for the next session, unless there are some.
pub fn make(state: &Utf8Path, session: &Utf8Path) -> io::Result<()> {
    let spare = state.join(SPARE);
    if spare.join(FILE).symlink_metadata().is_ok() {
        return Ok(());
    }
    // Something that nobody can use, or that was taken just now: then there is nothing there.
    let _absent = rename(&spare, &session.join(UNUSABLE));
    let made = session.join(MADE);
    create_private(&made)?;
    for name in SKELETON {
        create_private(&made.join(name))?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(made.join(FILE))?;
    match rename(&made, &spare) {
        // Another session was faster; these go with this one.
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Leaves the directory of a session to another one; says whether it did.
pub fn leave(state: &Utf8Path, session: &Utf8Path) -> bool {
    let gone = state.join(GONE);
    if gone.read_dir().is_ok_and(|entries| entries.count() >= MOST_GONE)
        && let Err(error) = clear(state, session)
    {
        tracing::warn!(%error, "what other sessions left is not removed");
    }
    let left = || {
        let name = session.file_name().ok_or(Errno::EINVAL)?;
        match rename(session, &gone.join(name)) {
            Err(Errno::ENOENT) if create_private(&gone).is_ok() => rename(session, &gone.join(name)),
            left => left,
        }
    };
    is_as_made(session).unwrap_or(false) && left().is_ok()
}

/// Says whether a directory holds nothing but small files of pier's own.
fn is_as_made(session: &Utf8Path) -> io::Result<bool> {
    let mut room = MOST_LEFT;
    let mut pending = vec![String::new()];
    while let Some(directory) = pending.pop() {
        for entry in session.join(&directory).read_dir_utf8()? {
            let entry = entry?;
            let name = entry.file_name();
            let name = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            if SKELETON.contains(&name.as_str()) && entry.file_type()?.is_dir() {
                pending.push(name);
                continue;
            }
            let meta = entry.metadata()?;
            match room.checked_sub(meta.len()) {
                Some(less) if FILES.contains(&name.as_str()) && !meta.is_dir() => room = less,
                _ => return Ok(false),
            }
        }
    }
    Ok(true)
}

/// Removes what others have left. It first becomes a part of this one's directory, so that nobody else does.
fn clear(state: &Utf8Path, session: &Utf8Path) -> io::Result<()> {
    let gone = session.join(GONE);
    match rename(&state.join(GONE), &gone) {
        Ok(()) => remove_tree(&gone),
        Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes what sessions have left, with no session at hand.
pub fn clear_now(state: &Utf8Path) -> io::Result<()> {
    remove_tree(&state.join(GONE))
}

fn rename(from: &Utf8Path, to: &Utf8Path) -> nix::Result<()> {
    let [from, to] = [from, to].map(|path| CString::new(path.as_str()).map_err(|_| Errno::EINVAL));
    rename_new((AT_FDCWD, &from?), (AT_FDCWD, &to?))
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
        fs_err::remove_file(state.join("spare").join(FILE)).unwrap();
        make(state, &place.path).unwrap();
        assert!(state.join("spare").join(FILE).exists(), "one of another kind is replaced");
        // One that another session is just taking.
        let file = Flock::lock(File::open(state.join("spare").join(FILE)).unwrap(), FlockArg::LockExclusive);
        assert!(!Place::make(state).unwrap().path.join("git").exists());
        drop(file);
        let (next, other) = (Place::make(state).unwrap(), Place::make(state).unwrap());
        assert!(next.path.join("git/refs").is_dir() && !other.path.join("git").exists());
        assert!(!state.join(SPARE).exists());
    }

    #[test]
    fn a_directory_as_it_was_made_is_left_to_another_session_and_no_other() {
        let state = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(state.path()).unwrap();
        let gone = || fs_err::read_dir(state.join(GONE)).map_or(0, Iterator::count);
        let retired = |change: &dyn Fn(&Utf8Path)| {
            let place = Place::make(state).unwrap();
            make(state, &place.path).unwrap();
            let place = Place::make(state).unwrap();
            let path = place.path.clone();
            change(&path);
            place.retire(state, true);
            assert!(!path.exists());
            gone()
        };
        for name in ["home", "git/objects/00", "git/refs/heads", "git/hooks/pre-commit", "git/index/below"] {
            let add = |path: &Utf8Path| fs_err::create_dir_all(path.join(name)).unwrap();
            assert_eq!(retired(&add), 0, "{name} is removed at once");
        }
        for (name, length) in [("git/index", MOST_LEFT + 1), ("git/description", 1), ("secret", 0)] {
            let add =
                |path: &Utf8Path| fs_err::File::create(path.join(name)).unwrap().set_len(length).unwrap();
            assert_eq!(retired(&add), 0, "{name} is removed at once");
        }
        for count in 1..=MOST_GONE {
            assert_eq!(retired(&|path| fs_err::write(path.join("git/index"), "small").unwrap()), count);
        }
        assert_eq!(retired(&|_| {}), 1, "there is a most");
        let next = Place::make(state).unwrap();
        for _ in 0..2 {
            Later::new(state, &next.path).run();
            assert!(!state.join(GONE).exists() && !next.path.join(GONE).exists());
        }
        next.retire(state, false);
        assert_eq!(gone(), 0, "an ephemeral one is removed at once");
        assert_eq!(retired(&|_| {}), 1);
        for _ in 0..2 {
            clear_now(state).unwrap();
            assert_eq!(gone(), 0);
        }
    }
}
