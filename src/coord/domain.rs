//! A clone and its remote: every change is fetched for, applied to what is there, and pushed, or it has not happened.
//!
//! The commit of a change is made beside the branch and pushed; only when the remote has taken it do the branch and the
//! files follow. Whoever loses begins again with what the winner has left. A process that is killed leaves a clone in
//! which nothing is half done: at most the remote knows more than the clone, which the next fetch brings.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;

use super::history::Actor;
use super::store::{self, Store};
use super::verdict::{Away, Verdict, verdict};
use crate::backend::git::shared::{Author, Call, Shared};
use crate::backend::git::{self, failed};
use crate::session::beneath::Beneath;
use crate::sys::failpoint;

mod follow;
mod leftover;
mod recover;
mod strict;

#[cfg(test)]
mod tests;

pub use strict::Strict;

/// How long a change is tried again that others were faster with.
const PATIENCE: Duration = Duration::from_mins(5);

/// The longest time between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// Where commits are kept that the remote has not taken yet.
const PENDING: &str = "refs/pier/pending";

/// The longest first line of a commit, in characters.
const LONGEST_SUBJECT: usize = 72;

/// What git has below `.git` of something that it was told to finish later.
const UNFINISHED: [(&str, &str); 3] =
    [("rebase-merge", "rebase"), ("rebase-apply", "rebase"), ("MERGE_HEAD", "merge")];

/// Held while a process changes a clone, below its `.git`.
const LOCK: &str = "pier-coordination.lock";

#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Git(#[from] git::Error),
    #[error(transparent)]
    Refused(#[from] super::transition::Refusal),
    #[error("the clone cannot be locked: {0}")]
    Lock(#[source] io::Error),
    #[error("`{path}` cannot be written: {source}")]
    Write { path: Utf8PathBuf, source: io::Error },
    #[error("`{path}` is no name of a file for an item")]
    Name { path: Utf8PathBuf },
    #[error("the subject has {count} characters, and commits have at most {LONGEST_SUBJECT}: {subject}")]
    Subject { subject: String, count: usize },
    #[error("the clone is on no branch")]
    Detached,
    #[error("a {what} in the clone was begun and not finished")]
    Unfinished { what: &'static str },
    #[error("`{path}`, line {line}: {why}{more}")]
    Broken { path: Utf8PathBuf, line: usize, why: String, is_conflict: bool, more: String },
    #[error("`{path}` is a symbolic link, which leads elsewhere in every clone{more}")]
    Link { path: Utf8PathBuf, more: String },
    #[error("git's lock `{path}` is in the way: {why}")]
    Locked { path: Utf8PathBuf, why: String },
    #[error(transparent)]
    Away(#[from] Away),
    #[error("the remote does not take it: {said}")]
    Declined { said: String },
    #[error("the history of the remote was rewritten: `{before}` is no longer in it")]
    Rewritten { before: String, waits: Waits },
    #[error("commits of this clone that are not pushed do not fit to those of the remote: {said}")]
    Conflict { said: String },
    #[error("the remote has it, and the clone cannot follow: {0}")]
    Behind(#[source] Box<Error>),
    #[error("{0}")]
    Repository(String),
    #[error("{0}")]
    Other(String),
}

/// What a clone has that its remote never had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// The first lines of commits, the newest first.
    pub commits: Vec<String>,
    /// How many files differ from the last of them.
    pub files: usize,
}

/// One file that is written, or removed.
#[derive(Clone, Debug)]
pub struct Write {
    pub path: Utf8PathBuf,
    /// `None` to remove it.
    pub text: Option<String>,
}

/// Where a change has to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// At the remote, or it has not happened: what only one may have.
    Exclusive,
    /// At the remote, or in this clone until that can be reached.
    Push,
    /// In this clone.
    Local,
}

/// Where it has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrived {
    Pushed,
    /// There is no remote, or nobody wants it there.
    Here,
    /// The remote was not to be reached.
    Queued(Away),
}

/// What a change is, and what it comes to.
pub struct Change<T> {
    pub subject: String,
    pub writes: Vec<Write>,
    pub value: T,
}

/// One commit of several that arrive together, or not at all.
pub struct Commit {
    pub subject: String,
    pub writes: Vec<Write>,
}

/// The commits of a change, and what it comes to.
pub type Made<T> = Result<(Vec<Commit>, T), Error>;

/// A clone with its remote, held by this process.
pub struct Domain<'a> {
    pub store: &'a Store,
    pub shared: &'a Shared<'a>,
    pub actor: &'a Actor,
    lock: Flock<File>,
    /// What whoever was killed here before has left of itself.
    killed: Option<leftover::Mark>,
    /// What was removed that their git had left.
    cleared: RefCell<Vec<Utf8PathBuf>>,
}

/// What the clone and its remote have.
struct State {
    branch: String,
    head: Option<String>,
    upstream: Option<String>,
}

impl<'a> Domain<'a> {
    /// Waits until no other process changes the clone.
    pub fn hold(store: &'a Store, shared: &'a Shared<'a>, actor: &'a Actor) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc_nofollow());
        let file = options.open(store.root.join(".git").join(LOCK)).map_err(Error::Lock)?;
        let lock =
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| Error::Lock(errno.into()))?;
        let (killed, cleared) = (leftover::Mark::read(&lock), RefCell::default());
        let domain = Domain { store, shared, actor, lock, killed, cleared };
        domain.recover()?;
        Ok(domain)
    }

    fn author<T>(&self, then: impl FnOnce(Author<'_>) -> T) -> T {
        let name = self.actor.name();
        let name: String = name.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>')).collect();
        let name = if name.trim().is_empty() { "agent".to_owned() } else { name };
        then(Author { name: name.trim(), address: &self.actor.address() })
    }

    fn run(&self, words: &[&str]) -> Result<String, Error> {
        let answer = self.ask(Call { words, ..Call::default() })?;
        if answer.code == Some(0) {
            return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
        }
        Err(failed(words, &answer).into())
    }

    /// Asks for a commit by name; `None` where there is none.
    fn commit(&self, name: &str) -> Result<Option<String>, Error> {
        let words = ["rev-parse", "--quiet", "--verify", "--end-of-options", &format!("{name}^{{commit}}")];
        let answer = self.ask(Call { words: &words, ..Call::default() })?;
        let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        Ok((answer.code == Some(0) && !text.is_empty()).then_some(text))
    }

    fn state(&self) -> Result<State, Error> {
        let words = ["symbolic-ref", "--quiet", "--short", "HEAD"];
        let answer = self.ask(Call { words: &words, ..Call::default() })?;
        // On no branch it ends with 1; what else goes wrong is something else.
        if !matches!(answer.code, Some(0 | 1)) {
            return Err(failed(&words, &answer).into());
        }
        let branch = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        if let Some((_, what)) = UNFINISHED.iter().find(|(name, _)| self.is_there(name)) {
            return Err(Error::Unfinished { what });
        }
        if branch.is_empty() {
            return Err(Error::Detached);
        }
        let (own, theirs) = (format!("refs/heads/{branch}"), format!("refs/remotes/origin/{branch}"));
        let listed = self.run(&["for-each-ref", "--format=%(refname) %(objectname)", &own, &theirs])?;
        let of = |name: &str| {
            let found = listed.lines().filter_map(|line| line.split_once(' ')).find(|line| line.0 == name);
            found.map(|(_, commit)| commit.to_owned())
        };
        Ok(State { head: of(&own), upstream: of(&theirs), branch })
    }

    fn beneath(&self) -> Result<Beneath, Error> {
        let root = &self.store.root;
        Beneath::open(root).map_err(|source| Error::Write { path: root.clone(), source })
    }

    fn commit_staged(&self, subject: &str) -> Result<(), Error> {
        let words = ["commit", "--quiet", "--no-verify", "--message", subject];
        let answer =
            self.author(|author| self.ask(Call { words: &words, author: Some(author), ..Call::default() }))?;
        if answer.code == Some(0) { Ok(()) } else { Err(failed(&["commit"], &answer).into()) }
    }

    /// Makes a change: `change` is called with what is there, again for each time that somebody else was faster.
    pub fn change<T>(
        &self,
        way: Way,
        pull: bool,
        change: &mut dyn FnMut(&Store) -> Result<Change<T>, Error>,
    ) -> Result<(T, Arrived), Error> {
        self.change_all(way, pull, &mut |store| {
            let Change { subject, writes, value } = change(store)?;
            Ok((vec![Commit { subject, writes }], value))
        })
    }

    /// Makes several changes, a commit each, which arrive together.
    pub fn change_all<T>(
        &self,
        way: Way,
        pull: bool,
        change: &mut dyn FnMut(&Store) -> Made<T>,
    ) -> Result<(T, Arrived), Error> {
        let end = end_of_patience();
        let mut tries = 0;
        loop {
            tries += 1;
            let began = Instant::now();
            let mut state = self.state()?;
            let mut offline = None;
            if pull && way != Way::Local {
                match self.integrate(&state) {
                    Ok(now) => state = now,
                    Err(Error::Away(away)) if way == Way::Push && !matches!(away, Away::Full(_)) => {
                        offline = Some(away);
                    }
                    Err(error) => return Err(error),
                }
            }
            let (mut commits, value) = change(self.store)?;
            self.strict(&mut commits)?;
            for commit in &commits {
                require_short(&commit.subject)?;
            }
            let Some(commit) = self.pending(&state, &commits)? else {
                return Ok((value, Arrived::Here));
            };
            failpoint::pass("coord.pending");
            let arrived = match offline {
                Some(away) => Arrived::Queued(away),
                None if way == Way::Local || self.shared.origin().is_none() => Arrived::Here,
                None => match verdict(&self.push(&commit, &state.branch)?) {
                    Verdict::Taken => Arrived::Pushed,
                    Verdict::Late if pull && Instant::now() < end => {
                        wait_a_little(tries, began.elapsed(), end);
                        continue;
                    }
                    Verdict::Locked(path) if pull && Instant::now() < end => {
                        self.meet(&path, tries)?;
                        wait_a_little(tries, began.elapsed(), end);
                        continue;
                    }
                    // As where the remote is not to be had: what was made is not lost.
                    Verdict::Late if pull && way == Way::Push => Arrived::Queued(Away::Busy(tries)),
                    Verdict::Late => return Err(Away::Busy(tries).into()),
                    Verdict::Locked(path) => return Err(held(path)),
                    Verdict::Declined(said) => return Err(Error::Declined { said }),
                    Verdict::Away(away) if way == Way::Push => Arrived::Queued(away),
                    Verdict::Away(away) => return Err(away.into()),
                },
            };
            failpoint::pass("coord.pushed");
            let writes: Vec<Write> = commits.into_iter().flat_map(|commit| commit.writes).collect();
            let pushed = arrived == Arrived::Pushed;
            self.follow(&state, &commit, &writes, pushed)
                .map_err(|error| if pushed { Error::Behind(Box::new(error)) } else { error })?;
            return Ok((value, arrived));
        }
    }

    /// Makes the commits of a change beside the branch, and returns the last; `None` where nothing changes.
    fn pending(&self, state: &State, commits: &[Commit]) -> Result<Option<String>, Error> {
        if commits.iter().all(|commit| commit.writes.is_empty()) {
            return Ok(None);
        }
        let mut input: Vec<u8> = Vec::new();
        let pending = format!("{PENDING}-{}", std::process::id());
        let stamp = format!("{} +0000", Timestamp::now().as_second());
        let (name, address) = self.author(|author| (author.name.to_owned(), author.address.to_owned()));
        let mut say = |text: &str| input.extend_from_slice(text.as_bytes());
        say(&format!("reset {pending}\n"));
        if let Some(head) = &state.head {
            say(&format!("from {head}\n"));
        }
        for Commit { subject, writes } in commits {
            say(&format!("\ncommit {pending}\nmark :1\n"));
            say(&format!("author {name} <{address}> {stamp}\ncommitter {name} <{address}> {stamp}\n"));
            say(&format!("data {}\n{subject}\n\n", subject.len() + 1));
            for Write { path, text } in writes {
                if path.as_str().chars().any(|c| c.is_control() || matches!(c, '"' | '\\')) {
                    return Err(Error::Name { path: path.clone() });
                }
                match text {
                    None => say(&format!("D {path}\n")),
                    Some(text) => say(&format!("M 100644 inline {path}\ndata {}\n{text}\n", text.len())),
                }
            }
        }
        // Found by its number from here on; nothing else needs the name.
        say("\nget-mark :1\n");
        if let Some(head) = &state.head {
            say(&format!("reset {pending}\nfrom {}\n\n", "0".repeat(head.len())));
        }
        say("done\n");
        let words = ["fast-import", "--quiet", "--force", "--done"];
        let answer = self.ask(Call { words: &words, input: &input, ..Call::default() })?;
        if answer.code != Some(0) {
            return Err(failed(&words, &answer).into());
        }
        let commit = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        if let Some(head) = &state.head {
            let same = ["diff-tree", "--quiet", head.as_str(), commit.as_str()];
            if self.ask(Call { words: &same, ..Call::default() })?.code == Some(0) {
                return Ok(None);
            }
        } else {
            self.run(&["update-ref", "-d", &pending])?;
        }
        Ok(Some(commit))
    }

    /// Writes files that nobody commits yet.
    pub fn write(&self, writes: &[Write]) -> Result<(), Error> {
        let beneath = self.beneath()?;
        for Write { path, text } in writes {
            let failed = |source| Error::Write { path: path.clone(), source };
            if let Some(text) = text {
                beneath.write(path, text.as_bytes(), 0o644).map_err(failed)?;
                self.open_directories(path);
                continue;
            }
            beneath.remove(path).map_err(failed)?;
            // As git does: a directory that has nothing is none.
            for above in path.ancestors().skip(1).filter(|above| !above.as_str().is_empty()) {
                if std::fs::remove_dir(self.store.root.join(above)).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Lets the files and the branch of the clone follow. In this order: whoever is killed in between leaves files that are
    /// those of the next commit, and not ones that undo it.
    fn follow(&self, state: &State, commit: &str, writes: &[Write], pushed: bool) -> Result<(), Error> {
        let text = |path: &Utf8PathBuf| self.store.text(path).ok();
        let before = writes.iter().map(|Write { path, .. }| Write { path: path.clone(), text: text(path) });
        let before: Vec<Write> = before.collect();
        let followed = self.write(writes).and_then(|()| self.advance(state, commit, writes, pushed));
        if followed.is_err() && !pushed {
            // Nothing has happened, and nobody commits half of it later. What cannot be put back either is shown by git.
            let _shown = self.write(&before);
        }
        followed
    }

    /// Lets index and branch follow the files.
    fn advance(&self, state: &State, commit: &str, writes: &[Write], pushed: bool) -> Result<(), Error> {
        failpoint::pass("coord.written");
        let paths: Vec<&str> = writes.iter().map(|write| write.path.as_str()).collect();
        let mut words = vec!["update-index", "--add", "--remove", "--"];
        words.extend(&paths);
        self.run(&words)?;
        failpoint::pass("coord.indexed");
        let mut input = format!("update refs/heads/{} {commit}", state.branch);
        if let Some(head) = &state.head {
            input.push_str(&format!(" {head}"));
        }
        input.push('\n');
        if pushed {
            input.push_str(&format!("update refs/remotes/origin/{} {commit}\n", state.branch));
        }
        let words = ["update-ref", "-m", "pier coord", "--stdin"];
        let answer = self.ask(Call { words: &words, input: input.as_bytes(), ..Call::default() })?;
        if answer.code == Some(0) { Ok(()) } else { Err(failed(&words, &answer).into()) }
    }

    /// Directories of the repository are for everybody who may read the clone.
    fn open_directories(&self, path: &Utf8Path) {
        use std::os::unix::fs::PermissionsExt as _;
        for above in path.ancestors().skip(1).filter(|above| !above.as_str().is_empty()) {
            let at = self.store.root.join(above);
            if std::fs::symlink_metadata(&at)
                .is_ok_and(|meta| meta.is_dir() && meta.permissions().mode() & 0o777 == 0o700)
            {
                let _kept = std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o755));
            }
        }
    }

    /// Commits everything that was changed in the clone; says whether there was something.
    pub fn commit_all(&self, subject: &str, add: bool, strict: Strict) -> Result<bool, Error> {
        require_short(subject)?;
        self.require_whole(add, strict)?;
        if self.state()?.head.is_some() && self.shared.origin().is_some() {
            // Items whose names others have taken meanwhile are told before anything is committed.
            let state = self.state()?;
            match self.fetched(&state) {
                Ok(upstream) => {
                    if let (Some(upstream), Some(head)) = (&upstream, &state.head)
                        && !self.is_in(upstream, head)?
                    {
                        self.rename_taken(upstream)?;
                    }
                }
                Err(Error::Away(away)) => tracing::debug!(?away, "not fetched"),
                Err(error) => return Err(error),
            }
        }
        if add {
            self.run(&["add", "--all"])?;
        }
        let words = ["diff", "--cached", "--quiet"];
        match self.ask(Call { words: &words, ..Call::default() })?.code {
            Some(0) => Ok(false),
            _ => self.commit_staged(subject).map(|()| true),
        }
    }

    /// Pushes what is committed.
    pub fn push_commits(&self) -> Result<Arrived, Error> {
        let end = end_of_patience();
        let mut tries = 0;
        loop {
            tries += 1;
            let began = Instant::now();
            if self.shared.origin().is_none() {
                return Ok(Arrived::Here);
            }
            let state = match self.integrate(&self.state()?) {
                Ok(state) => state,
                Err(Error::Away(away)) if !matches!(away, Away::Full(_)) => {
                    return Ok(Arrived::Queued(away));
                }
                Err(error) => return Err(error),
            };
            if state.head.is_none() || state.head == state.upstream {
                return Ok(Arrived::Pushed);
            }
            match verdict(&self.push("HEAD", &state.branch)?) {
                Verdict::Taken => return Ok(Arrived::Pushed),
                Verdict::Late if Instant::now() < end => wait_a_little(tries, began.elapsed(), end),
                Verdict::Locked(path) if Instant::now() < end => {
                    self.meet(&path, tries)?;
                    wait_a_little(tries, began.elapsed(), end);
                }
                Verdict::Late => return Ok(Arrived::Queued(Away::Busy(tries))),
                Verdict::Locked(path) => return Err(held(path)),
                Verdict::Declined(said) => return Err(Error::Declined { said }),
                Verdict::Away(away) => return Ok(Arrived::Queued(away)),
            }
        }
    }
}

/// A lock at the remote that does not go away.
fn held(path: String) -> Error {
    Error::Locked { path: path.into(), why: "the remote has it all the time".to_owned() }
}

fn require_short(subject: &str) -> Result<(), Error> {
    let count = subject.chars().count();
    if count > LONGEST_SUBJECT || subject.chars().any(char::is_control) {
        return Err(Error::Subject { subject: crate::util::text::escape(subject), count });
    }
    Ok(())
}

fn end_of_patience() -> Instant {
    let is_short = failpoint::reach("coord.patience").is_err();
    Instant::now() + if is_short { Duration::from_secs(1) } else { PATIENCE }
}

/// Those who lose at the same time do not come back at the same time: after up to as long as some tries take, for how long that
/// is says how many there are. The more are lost, the longer; who has lost for most of their time waits no longer than a try takes,
/// so that those who have come later do not win for ever.
fn wait_a_little(tries: u32, took: Duration, end: Instant) {
    let is_late = end.saturating_duration_since(Instant::now()) < PATIENCE / 2;
    let most = if is_late { took } else { took * tries.min(20) }.min(LONGEST_WAIT);
    std::thread::sleep(most * u32::from(any_number()) / 999);
}

/// Returns any number from 1 to 999.
pub fn any_number() -> u16 {
    use std::hash::{BuildHasher as _, RandomState};
    let any = RandomState::new().hash_one(std::process::id());
    u16::try_from(any % 999).unwrap_or(0) + 1
}

fn libc_nofollow() -> i32 {
    nix::fcntl::OFlag::O_NOFOLLOW.bits()
}
