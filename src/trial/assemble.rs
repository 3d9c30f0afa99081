//! The directory of a trial: real copies, which can be taken elsewhere.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};

use super::{Error, failed};
use crate::record::{self, Trial};
use crate::session::beneath::Beneath;
use crate::util::fs::{open_without_links, read_without_links, remove_tree, write_atomic};
use crate::util::left_out::LeftOut;

/// Where the trials of a workspace are.
pub const TRIALS: &str = ".pier/trials";

/// The directories of a trial.
pub const AGENT: &str = "agent";
pub const VERIFIER: &str = "verifier";
pub const ARTIFACTS: &str = "artifacts";

/// In a directory that becomes a trial; locked by who makes it.
const MARK: &str = ".unfinished";

/// What the mark says, by which it is told from a file of somebody else's.
const OWN: &[u8] = b"pier makes a trial of this directory\n";

/// How long a directory without anything may be one that is being made.
const YOUNG: Duration = Duration::from_mins(1);

/// The most trials of one second.
const MOST_TRIALS: u32 = 1000;

/// A directory that becomes a trial; it goes again when nothing comes of it.
pub struct Draft {
    pub path: Utf8PathBuf,
    _mark: Flock<File>,
    made: bool,
    kept: bool,
}

impl Draft {
    /// Makes the directory of a new trial of a workspace: named by the time, and a number where two have the same.
    pub fn new(root: &Utf8Path, started: Timestamp) -> Result<Self, Error> {
        let all = root.join(TRIALS);
        Beneath::open(root).and_then(|root| root.directory(TRIALS.into())).map_err(failed(&all))?;
        sweep(&all);
        let stamp = record::stamp(started);
        for number in 1..MOST_TRIALS {
            let path = if number == 1 { all.join(&stamp) } else { all.join(format!("{stamp}-{number}")) };
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made.map_err(failed(&path))?;
                    let mark = mark(&path).map_err(failed(&path))?;
                    return Draft { path, _mark: mark, made: true, kept: false }.with_places();
                }
            }
        }
        Err(failed(&all)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Uses a directory that the caller names, which is empty or not there.
    pub fn at(path: &Utf8Path) -> Result<Self, Error> {
        let made = !path.exists();
        std::fs::create_dir_all(path).map_err(failed(path))?;
        let path = path.canonicalize_utf8().map_err(failed(path))?;
        if has_own_mark(&path) && was_killed(&path) {
            clear(&path).map_err(failed(&path))?;
        }
        if path.read_dir_utf8().map_err(failed(&path))?.next().is_some() {
            return Err(failed(&path)(io::Error::new(io::ErrorKind::AlreadyExists, "it is not empty")));
        }
        let mark = mark(&path).map_err(failed(&path))?;
        Draft { path, _mark: mark, made, kept: false }.with_places()
    }

    fn with_places(self) -> Result<Self, Error> {
        for name in [AGENT, VERIFIER, ARTIFACTS] {
            let place = self.path.join(name);
            DirBuilder::new().mode(0o700).create(&place).map_err(failed(&place))?;
        }
        Ok(self)
    }

    /// Copies a tree into one of its directories: files and directories, no links. Where it is named by a person, links lead
    /// to it.
    pub fn copy(&self, from: &Utf8Path, to: &str) -> Result<LeftOut, Error> {
        let real = match from.canonicalize_utf8() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LeftOut::default()),
            real => real.map_err(failed(from))?,
        };
        if self.path.starts_with(&real) {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "the trial itself is in there");
            return Err(failed(from)(error));
        }
        let source = Beneath::open(&real).and_then(|real| real.existing("".into()));
        self.copy_open(source.map_err(failed(from))?, from, to)
    }

    /// Copies a tree below a directory that an agent writes: no step to it is a link.
    pub fn copy_below(&self, root: &Utf8Path, from: &Utf8Path, to: &str) -> Result<LeftOut, Error> {
        let source = Beneath::open(root).and_then(|root| root.existing(from));
        match source {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LeftOut::default()),
            source => self.copy_open(source.map_err(failed(from))?, from, to),
        }
    }

    fn copy_open(&self, source: OwnedFd, from: &Utf8Path, to: &str) -> Result<LeftOut, Error> {
        let target = Beneath::open(&self.path).map_err(failed(&self.path))?;
        target.copy_readable(source, to.into()).map_err(failed(from))
    }

    /// Writes the records, and keeps the directory.
    pub fn keep(mut self, trial: &Trial) -> Result<Utf8PathBuf, Error> {
        let write = |name: &str, value| {
            let path = self.path.join(name);
            write_atomic(&path, &record::text(&value), 0o600).map_err(failed(&path))
        };
        let own = self.path.join(VERIFIER).join("reward.json");
        if own.symlink_metadata().is_err() {
            let rewards = record::rewards(trial.rewards.as_ref());
            write_atomic(&own, &record::text(&rewards), 0o600).map_err(failed(&own))?;
        }
        write(record::CONFIG, trial.config())?;
        // What has a result is a trial.
        write(record::RESULT, trial.result())?;
        self.kept = true;
        if let Err(error) = std::fs::remove_file(self.path.join(MARK)) {
            // With a result it says nothing.
            tracing::debug!(%error, path = %self.path, "the mark stays");
        }
        Ok(self.path.clone())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let removed = if self.made { remove_tree(&self.path) } else { clear(&self.path) };
        if let Err(error) = removed {
            tracing::debug!(%error, path = %self.path, "a draft stays");
        }
    }
}

fn mark(path: &Utf8Path) -> io::Result<Flock<File>> {
    let mut file = File::options().create_new(true).write(true).open(path.join(MARK))?;
    file.write_all(OWN)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

/// Removes what a draft has made in a directory that was there.
fn clear(path: &Utf8Path) -> io::Result<()> {
    for name in [AGENT, VERIFIER, ARTIFACTS] {
        match remove_tree(&path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::remove_file(path.join(MARK))
}

/// Says whether a directory was to become a trial, and its files are pier's own.
fn has_own_mark(path: &Utf8Path) -> bool {
    read_without_links(&path.join(MARK), OWN.len() as u64).is_ok_and(|said| said == OWN)
}

/// Says whether a directory is no trial: it is being made, or who made it was killed. A trial of another tool has no result
/// of its own, as a rule, but it has files.
pub fn is_unfinished(path: &Utf8Path) -> bool {
    path.join(record::RESULT).symlink_metadata().is_err()
        && (path.join(MARK).symlink_metadata().is_ok() || holds_nothing(path, 0))
}

/// Says whether there is no file; what cannot be read may have one.
fn holds_nothing(path: &Utf8Path, depth: u32) -> bool {
    const DEEP: u32 = 8;
    let is_nothing = |entry: io::Result<camino::Utf8DirEntry>| {
        entry.is_ok_and(|entry| {
            entry.file_type().is_ok_and(|kind| kind.is_dir())
                && depth < DEEP
                && holds_nothing(entry.path(), depth + 1)
        })
    };
    path.read_dir_utf8().is_ok_and(|mut entries| entries.all(is_nothing))
}

/// Says whether nobody makes a trial of a directory any more that is none.
fn was_killed(path: &Utf8Path) -> bool {
    if !is_unfinished(path) {
        return false;
    }
    match open_without_links(&path.join(MARK)) {
        Ok(mark) => {
            // An agent can put anything there; pier's own is a plain file.
            return mark.metadata().is_ok_and(|meta| meta.is_file())
                && Flock::lock(mark, FlockArg::LockExclusiveNonblock).is_ok();
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => return false,
    }
    let age = path.metadata().and_then(|meta| meta.modified()).map(|at| at.elapsed());
    age.is_ok_and(|age| age.is_ok_and(|age| age > YOUNG))
}

/// Removes what killed calls have left among the trials.
fn sweep(all: &Utf8Path) {
    for entry in all.read_dir_utf8().into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && was_killed(entry.path())
            && let Err(error) = remove_tree(entry.path())
        {
            tracing::debug!(%error, path = %entry.path(), "what a killed call left stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_one_second_have_two_names_and_none_stays_without_a_result() {
        let base = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let (one, other) = (Draft::new(&root, at).unwrap(), Draft::new(&root, at).unwrap());
        assert_eq!(one.path.file_name(), Some("2023-11-14_22-13-20"));
        assert_eq!(other.path.file_name(), Some("2023-11-14_22-13-20-2"));
        fs_err::create_dir_all(root.join("from/deep")).unwrap();
        fs_err::write(root.join("from/deep/file"), "text").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("from/link")).unwrap();
        assert!(one.copy(&root.join("from"), "agent").unwrap().is_nothing());
        assert!(one.copy(&root.join("absent"), "agent").unwrap().is_nothing());
        assert_eq!(fs_err::read_to_string(one.path.join("agent/deep/file")).unwrap(), "text");
        assert!(!one.path.join("agent/link").exists());
        drop(one);
        let trial = Trial {
            id: [0; 16],
            task_name: String::new(),
            task: root.clone(),
            task_checksum: String::new(),
            name: String::new(),
            directory: other.path.clone(),
            agent: None,
            ran: None,
            rewards: None,
            started: at,
            finished: at,
            verified: None,
        };
        let kept = other.keep(&trial).unwrap();
        assert_eq!(fs_err::read_to_string(kept.join("verifier/reward.json")).unwrap(), "{}");
        let names: Vec<_> =
            root.join(TRIALS).read_dir_utf8().unwrap().map(|entry| entry.unwrap().into_path()).collect();
        assert_eq!(names, [kept]);
        assert!(Draft::at(&root.join("from")).is_err());
    }

    #[test]
    fn what_a_killed_call_left_is_no_trial_and_goes() {
        let base = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
        let all = root.join(TRIALS);
        let place = |name: &str| {
            fs_err::create_dir_all(all.join(name).join(AGENT)).unwrap();
            all.join(name)
        };
        // With a mark that nobody holds; of an earlier pier, which made none; of another tool; one of just now.
        let marked = place("marked");
        fs_err::write(marked.join(MARK), "").unwrap();
        fs_err::write(marked.join("agent/log"), "half of it").unwrap();
        let old = place("old");
        let long_ago = std::time::SystemTime::now() - 2 * YOUNG;
        fs_err::File::open(&old).unwrap().file().set_modified(long_ago).unwrap();
        let other = place("other");
        fs_err::write(other.join("agent/trajectory.json"), "{}").unwrap();
        let young = place("young");
        let draft = Draft::new(&root, at(0)).unwrap();
        assert!(is_unfinished(&draft.path) && is_unfinished(&young) && !is_unfinished(&other));
        assert!(!marked.exists() && !old.exists());
        let second = Draft::new(&root, at(1)).unwrap();
        assert!(draft.path.exists() && young.exists() && other.exists(), "what is being made stays");
        drop((draft, second));
        // A directory that the caller has named is used again.
        let named = root.join("named");
        fs_err::create_dir_all(named.join(VERIFIER)).unwrap();
        fs_err::write(named.join(MARK), OWN).unwrap();
        let draft = Draft::at(&named).unwrap();
        assert!(Draft::at(&named).is_err(), "it is being made");
        drop(draft);
        assert_eq!(named.read_dir_utf8().unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_a_person_names_loses_nothing_of_theirs() {
        let base = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        // An empty one may be of any age.
        let empty = root.join("empty");
        fs_err::create_dir(&empty).unwrap();
        let long_ago = std::time::SystemTime::now() - 2 * YOUNG;
        fs_err::File::open(&empty).unwrap().file().set_modified(long_ago).unwrap();
        drop(Draft::at(&empty).unwrap());
        assert_eq!(empty.read_dir_utf8().unwrap().count(), 0);
        // A file of the mark's name is no mark, and one of pier's in a trial that is whole says nothing.
        let wholes = [("theirs", "", None), ("whole", std::str::from_utf8(OWN).unwrap(), Some("{}"))];
        for (name, mark, result) in wholes {
            let named = root.join(name);
            fs_err::create_dir_all(named.join(AGENT)).unwrap();
            fs_err::write(named.join("agent/log"), "precious").unwrap();
            fs_err::write(named.join(MARK), mark).unwrap();
            if let Some(result) = result {
                fs_err::write(named.join(record::RESULT), result).unwrap();
            }
            let Err(Error::Io { source, .. }) = Draft::at(&named) else { panic!("{named} was taken") };
            assert_eq!(source.to_string(), "it is not empty");
            assert_eq!(fs_err::read_to_string(named.join("agent/log")).unwrap(), "precious");
        }
    }

    #[test]
    fn a_pipe_in_the_place_of_a_mark_is_not_waited_for() {
        let base = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        let planted = root.join(TRIALS).join("planted");
        fs_err::create_dir_all(&planted).unwrap();
        nix::unistd::mkfifo(planted.join(MARK).as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let (sent, received) = std::sync::mpsc::channel();
        let place = planted.clone();
        std::thread::spawn(move || {
            let named = Draft::at(&place).is_err();
            sent.send((named, Draft::new(&root, at).is_ok())).unwrap();
        });
        assert_eq!(received.recv_timeout(Duration::from_secs(20)), Ok((true, true)));
        assert!(planted.exists(), "it is nobody's mark");
    }
}
