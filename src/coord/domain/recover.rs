//! Takes the place of a process that was killed while it held a clone, and keeps what the next one needs for that.

use std::time::{Duration, Instant, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};

use super::leftover::{self, Doing, Mark};
use super::{Domain, Error, LOCK};
use crate::backend::git::shared::Call;
use crate::backend::git::{self, Answer};
use crate::sys::failpoint;
use crate::util::fs::read_bounded;

/// How long somebody's git may take that is at work in the clone.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A lock at the remote that is older is nobody's who pushes.
const STALE: Duration = Duration::from_secs(5);

const REBASE: &str = "rebase-merge";

impl Domain<'_> {
    /// Returns what was removed that a killed git had left.
    pub fn cleared(&self) -> Vec<Utf8PathBuf> {
        self.cleared.borrow().clone()
    }

    /// Says whether whoever held the clone before was killed.
    pub fn takes_over(&self) -> bool {
        self.killed.is_some()
    }

    /// Runs git in the clone; the lock says since when.
    pub(super) fn ask(&self, call: Call<'_>) -> Result<Answer, Error> {
        self.during(|| self.shared.ask(call)).map_err(Error::Git)
    }

    pub(super) fn fetch(&self) -> Result<Answer, git::Error> {
        self.during(|| self.shared.fetch())
    }

    pub(super) fn push(&self, commit: &str, branch: &str) -> Result<Answer, Error> {
        self.during(|| self.shared.push(commit, branch, &[])).map_err(Error::Git)
    }

    /// Puts what is committed here behind what the remote has; where that does not go, it is as before.
    pub(super) fn rebase(&self, upstream: &str) -> Result<Answer, Error> {
        let words = ["-c", "rebase.backend=merge", "rebase", "--quiet", "--autostash", upstream];
        Mark::write(&self.lock, Doing::Rebase).map_err(Error::Lock)?;
        let answer =
            self.author(|author| self.ask(Call { words: &words, author: Some(author), ..Call::default() }))?;
        failpoint::pass("coord.rebased");
        if answer.code != Some(0) {
            self.abandon()?;
        }
        Mark::write(&self.lock, Doing::Anything).map_err(Error::Lock)?;
        Ok(answer)
    }

    fn during(&self, call: impl FnOnce() -> Result<Answer, git::Error>) -> Result<Answer, git::Error> {
        if let Err(error) = Mark::touch(&self.lock) {
            // Nothing but what a killed git leaves is not told for sure then.
            tracing::debug!(%error, "the lock does not say when git began");
        }
        let began = leftover::now();
        let answer = call();
        if !matches!(&answer, Ok(answer) if answer.code == Some(0)) {
            leftover::remove_packs(&self.directory(), &self.store.root, began);
        }
        let was_killed = match &answer {
            Ok(answer) => answer.code.is_none(),
            Err(error) => matches!(error, git::Error::TooSlow { .. }),
        };
        if was_killed && let Some(mark) = Mark::read(&self.lock) {
            let left = leftover::locks(&self.directory(), LOCK);
            match leftover::clear(&self.directory(), &self.store.root, &left, &mark) {
                Ok(cleared) => self.cleared.borrow_mut().extend(cleared),
                Err(why) => tracing::debug!(why, "locks of git stay"),
            }
        }
        answer
    }

    fn directory(&self) -> Utf8PathBuf {
        self.store.root.join(".git")
    }

    pub(super) fn is_there(&self, name: &str) -> bool {
        std::fs::symlink_metadata(self.directory().join(name)).is_ok()
    }

    /// Waits for a git that is at work in the clone, removes what a killed one has left, and takes its rebase back.
    pub(super) fn recover(&self) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        let directory = self.directory();
        loop {
            let found = leftover::locks(&directory, LOCK);
            let Some(first) = found.first() else { break };
            let mut why = "whose git made it cannot be told".to_owned();
            let mut path = directory.join(&first.path);
            if let Some(mark) = &self.killed {
                match leftover::clear(&directory, &self.store.root, &found, mark) {
                    Ok(cleared) => {
                        let mut left = found.iter().map(|lock| directory.join(&lock.path));
                        let left = left.find(|path| !cleared.contains(path));
                        self.cleared.borrow_mut().extend(cleared);
                        match left {
                            Some(left) => path = left,
                            None => break,
                        }
                    }
                    Err(reason) => why = reason,
                }
            }
            if Instant::now() >= end {
                return Err(Error::Locked { path, why });
            }
            std::thread::sleep(LOOK);
        }
        let was_rebase = self.killed.is_some_and(|mark| mark.doing == Doing::Rebase) && self.is_there(REBASE);
        // Whoever is killed here leaves it to the next one as well.
        let doing = if was_rebase { Doing::Rebase } else { Doing::Anything };
        Mark::write(&self.lock, doing).map_err(Error::Lock)?;
        if was_rebase {
            self.cleared.borrow_mut().push(directory.join(REBASE));
            self.abandon()?;
            Mark::write(&self.lock, Doing::Anything).map_err(Error::Lock)?;
        }
        Ok(())
    }

    /// Leads back out of a rebase of pier's own, as far as that came.
    fn abandon(&self) -> Result<(), Error> {
        if !self.is_there(REBASE) {
            return Ok(());
        }
        let ask = |words: &[&str]| {
            self.author(|author| self.ask(Call { words, author: Some(author), ..Call::default() }))
        };
        if ask(&["rebase", "--abort"])?.code == Some(0) {
            return Ok(());
        }
        // It had not written down yet what to go back to, so the branch is where it was. Changes that nobody has committed may be
        // put aside already: they come back, or stay among what `git stash list` has.
        let state = self.directory().join(REBASE);
        let aside = read_bounded(&state.join("autostash"), 256).unwrap_or_default();
        let aside = String::from_utf8_lossy(&aside).trim().to_owned();
        let is_commit = [40, 64].contains(&aside.len()) && aside.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_commit && ask(&["stash", "apply", "--quiet", &aside])?.code != Some(0) {
            ask(&["stash", "store", "--message", "pier coord", &aside])?;
        }
        std::fs::remove_dir_all(&state).map_err(|source| Error::Write { path: state, source })
    }

    /// Looks at the lock that a push has met. Of a remote on this host, one that is old and provably a killed git's is
    /// removed, and any other old one is an error; what a server has is waited for.
    pub(super) fn meet(&self, path: &str, tries: u32) -> Result<(), Error> {
        tracing::debug!(path, tries, "a lock at the remote");
        let Some(remote) = self.shared.local() else { return Ok(()) };
        let now = SystemTime::now();
        let mut found = leftover::locks(remote, "");
        found.retain(|lock| now.duration_since(lock.made).is_ok_and(|age| age >= STALE));
        let Some(first) = found.first() else { return Ok(()) };
        let at = |path: &Utf8Path| remote.join(path);
        let why = match &self.killed {
            None => "whose git made it cannot be told".to_owned(),
            Some(mark) => match leftover::clear(remote, remote, &found, mark) {
                Ok(cleared) if !cleared.is_empty() => {
                    self.cleared.borrow_mut().extend(cleared);
                    return Ok(());
                }
                Ok(_) => "whose git made it cannot be told".to_owned(),
                Err(why) => why,
            },
        };
        Err(Error::Locked { path: at(&first.path), why })
    }
}

impl Drop for Domain<'_> {
    fn drop(&mut self) {
        if let Err(error) = Mark::erase(&self.lock) {
            tracing::debug!(%error, "the next one looks for what a killed git may have left");
        }
    }
}
