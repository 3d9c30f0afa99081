//! Dead sessions: what a killed supervisor, or a power cut, left below the state directory.

use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};

use super::asked::Asked;
use super::attribution;
use super::beneath::Beneath;
use super::place::{FILE, Id, KEPT, all, is_at, remove};
use super::registry::{self, Session};
use super::runs::{self, End, How};
use super::{asked, shadow};
use crate::audit::Answers;
use crate::backend::docker::launch;
use crate::util::fs::read_without_links;

/// A directory without a lock belongs to a session that is being made, or was killed at that moment.
const YOUNG: Duration = Duration::from_mins(1);

/// The most that is read of the reason why a directory is kept, in bytes.
const MOST_REASON: u64 = 4096;

/// What runs in a sandbox has ended at the latest this long after its supervisor.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// A dead session.
#[derive(Debug)]
pub struct Dead {
    pub session: String,
    pub path: Utf8PathBuf,
    pub fate: Fate,
}

#[derive(Debug)]
pub enum Fate {
    Cleared,
    /// Its directory holds something for the user; says what.
    Kept(String),
    /// What its agent did could not be kept; says why. Whoever clears next tries again.
    Waits(String),
    Failed(io::Error),
}

/// Removes the directories of dead sessions: at most `most` of those that had no agent, and all of which it is to be kept what their
/// agents did, so that whoever comes next is not taken for one of them; `slow` is called where that takes its time. Those that are kept
/// are only listed.
pub fn clear(state: &Utf8Path, most: usize, slow: &dyn Fn()) -> Vec<Dead> {
    let mut found = Vec::new();
    // Without the directory there is no session.
    let Ok(entries) = all(state).read_dir_utf8() else { return found };
    let mut cleared = 0;
    for entry in entries.flatten() {
        let (session, path) = (entry.file_name().to_owned(), entry.path().to_owned());
        if Id::parse(&session).is_none() || cleared >= most && !asked::is_open(&path) {
            continue;
        }
        let Some(fate) = bury(state, &path, slow) else { continue };
        cleared += usize::from(!matches!(fate, Fate::Kept(_) | Fate::Waits(_)));
        found.push(Dead { session, path, fate });
    }
    found
}

/// Removes one directory if its session is dead.
fn bury(state: &Utf8Path, path: &Utf8Path, slow: &dyn Fn()) -> Option<Fate> {
    let _locked = match File::open(path.join(FILE)) {
        Ok(file) => {
            let locked = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
            Some(is_at(&locked, path).then_some(locked)?)
        }
        Err(_) if is_young(path) => return None,
        Err(_) => None,
    };
    if asked::is_open(path) {
        if let Some(session) = registry::load(path)
            && let Err(error) = gather(state, &session.killed(state), slow)
        {
            return Some(Fate::Waits(error.to_string()));
        }
        asked::forget(path);
    }
    if path.join(KEPT).symlink_metadata().is_ok() {
        let why = read_without_links(&path.join(KEPT), MOST_REASON).unwrap_or_default();
        return Some(Fate::Kept(String::from_utf8_lossy(&why).trim().to_owned()));
    }
    match shadow::holds_work(path) {
        Ok(false) => {}
        Ok(true) => {
            return Some(Fate::Kept(
                "commits that are not in the repository; `pier merge` takes them".into(),
            ));
        }
        Err(error) => return Some(Fate::Kept(format!("its commits cannot be read: {error}"))),
    }
    launch::sweep(path);
    for group in registry::load(path).map(|session| session.groups).unwrap_or_default() {
        // Empty once its processes are gone; the next start of the machine has none of them.
        let _gone = std::fs::remove_dir(group);
    }
    Some(match remove(path) {
        Ok(()) => Fate::Cleared,
        Err(error) => Fate::Failed(error),
    })
}

/// Keeps what the agent of a session did whose supervisor was killed before it could. Where its logs are at fault, the session goes
/// without: nobody can mend that.
///
/// # Errors
/// Where there is no place for it.
fn gather(state: &Utf8Path, session: &Session, slow: &dyn Fn()) -> Result<(), runs::Failed> {
    let Some(home) = &session.home else { return Ok(()) };
    let asked = Asked::of_session(state, session);
    // What ends with its supervisor may still write.
    let may_write = || session.over.is_none_or(|over| Timestamp::now() < over);
    if let Some(rest) = runs::quiet_for(session).and_then(|quiet| ENDS_WITHIN.checked_sub(quiet))
        && may_write()
    {
        std::thread::sleep(rest);
    }
    let record = session.record.as_deref();
    let end = End { code: 128 + 9, how: How::Killed, answers: Answers::default() };
    let kept = runs::keep(session, state, end, &asked, record.and_then(Utf8Path::file_name), slow);
    match kept.run {
        Some(Err(error)) if error.is_ours() => return Err(error),
        Some(Err(error)) => {
            tracing::warn!(session = session.id, %error, "there is no trajectory of a killed session");
        }
        Some(Ok(_)) | None => {}
    }
    let (Some(record), Some(agent)) = (record, &session.agent) else { return Ok(()) };
    let copied = || -> io::Result<()> {
        let root = Beneath::open(&session.project)?;
        root.existing(record)?;
        attribution::copy(home, agent, &kept.own, &root, record)
    };
    if let Err(error) = copied() {
        tracing::warn!(session = session.id, %error, "not all logs of a killed session are in its record");
    }
    Ok(())
}

fn is_young(path: &Utf8Path) -> bool {
    let changed = path.symlink_metadata().and_then(|meta| meta.modified());
    // A directory that has just gone, or that comes from the future, is left alone.
    !changed.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > YOUNG))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::place::Place;
    use crate::util::fs::write_atomic;

    /// A directory as a killed session leaves it.
    fn dead(state: &Utf8Path, session: &str) -> Utf8PathBuf {
        let path = all(state).join(session);
        write_atomic(&path.join("home/file"), b"", 0o600).unwrap();
        write_atomic(&path.join(FILE), b"", 0o600).unwrap();
        path
    }

    #[test]
    fn only_what_is_dead_is_cleared_and_only_so_many() {
        let directory = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(directory.path()).unwrap();
        assert!(clear(state, 9, &|| {}).is_empty());
        let live = Place::make(state).unwrap();
        let (kept, foreign) = (dead(state, "kkkkkkkk"), dead(state, "not-a-session"));
        write_atomic(&kept.join(KEPT), b"its commits\n", 0o600).unwrap();
        for session in ["aaaaaaaa", "bbbbbbbb", "cccccccc"] {
            dead(state, session);
        }
        // One that is being made.
        std::fs::create_dir(all(state).join("yyyyyyyy")).unwrap();
        let count =
            |found: &[Dead], wanted: fn(&Fate) -> bool| found.iter().filter(|one| wanted(&one.fate)).count();
        assert_eq!(count(&clear(state, 2, &|| {}), |fate| matches!(fate, Fate::Cleared)), 2);
        let rest = clear(state, 9, &|| {});
        assert_eq!(count(&rest, |fate| matches!(fate, Fate::Cleared)), 1);
        assert_eq!(count(&rest, |fate| matches!(fate, Fate::Kept(why) if why == "its commits")), 1);
        let left = [&live.path, &kept, &foreign, &all(state).join("yyyyyyyy")];
        assert!(left.iter().all(|path| path.exists()));
        assert_eq!(std::fs::read_dir(all(state)).unwrap().count(), left.len());
    }
}
