//! Runs the host's git on repositories of the host: a verified program, a cleared environment, a time limit.
//!
//! Nothing that a repository's configuration can name is run: no hooks, no file system monitor, no maintenance.
//! It never runs in a directory that a sandbox could write; what that has to offer is fetched.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use thiserror::Error;

use super::bwrap::program::verify;
use crate::plan::INIT;
use crate::sys::process;

pub mod remote;
pub mod shared;

/// Where distributions put it.
const PLACES: &[&str] = &["/usr/bin/git", "/usr/local/bin/git", "/run/current-system/sw/bin/git", "/bin/git"];

/// How long a call may take that reads the whole history.
const LONG: Duration = Duration::from_mins(30);

/// After this time somebody who waits should hear why.
const SLOW: Duration = Duration::from_secs(1);

/// How long one call may take.
const TIME: Duration = Duration::from_mins(2);

/// The most that is kept of an answer, in bytes.
const MOST_ANSWER: u64 = 64 * 1024 * 1024;

/// The most that is kept of complaints, in bytes.
const MOST_COMPLAINT: u64 = 8 * 1024;

/// Settings of every call, above those of the repository.
const SETTINGS: &[&str] = &[
    "core.alternateRefsCommand=true",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.pager=cat",
    "core.editor=false",
    "core.askPass=",
    "credential.helper=",
    "commit.gpgSign=false",
    "fetch.fsckObjects=true",
    "fetch.recurseSubmodules=false",
    "fetch.writeCommitGraph=false",
    "gc.auto=0",
    "log.showSignature=false",
    "maintenance.auto=false",
    "merge.verifySignatures=false",
    "protocol.allow=never",
    "protocol.file.allow=always",
    "submodule.recurse=false",
];

/// Why git did not do what it was asked.
#[derive(Debug, Error)]
pub enum Error {
    #[error("git is not installed: none of {} is there", PLACES.join(", "))]
    Missing,
    #[error("git is not in this sandbox: its image has none")]
    NotInside,
    #[error("`{path}` is not run as git: {reason}")]
    Refused { path: Utf8PathBuf, reason: &'static str },
    #[error("`{path}` is not used: {reason}")]
    Place { path: Utf8PathBuf, reason: &'static str },
    #[error("`{path}` sets `{key}`, which a sandbox may have written there")]
    Says { path: Utf8PathBuf, key: String },
    #[error("cannot run `git {command}`")]
    Run {
        command: String,
        #[source]
        error: io::Error,
    },
    #[error("`git {command}` took too long")]
    TooSlow { command: String },
    #[error("`git {command}` failed: {said}")]
    Failed { command: String, said: String },
}

/// A verified program, and the home directory for it: paths in a repository's configuration may start with `~`.
#[derive(Clone, Debug)]
pub struct Git {
    program: Utf8PathBuf,
    home: Utf8PathBuf,
}

/// What a call is about.
#[derive(Clone, Copy, Debug)]
pub struct Repository<'a> {
    pub directory: &'a Utf8Path,
    pub work_tree: Option<&'a Utf8Path>,
    /// An index in place of the repository's own.
    pub index: Option<&'a Utf8Path>,
    /// A tree whose attributes apply in place of those in the working tree; git obeys this since 2.41.
    pub attributes: Option<&'a str>,
}

/// Whose settings apply, besides the repository's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settings {
    None,
    /// Those of the user too: a name for commits, merge drivers, filters.
    User,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub struct Answer {
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Git {
    pub fn find(home: &Utf8Path) -> Result<Self, Error> {
        if let Some(program) = inside() {
            return Ok(Git { program, home: home.to_owned() });
        }
        if is_inside() {
            return Err(Error::NotInside);
        }
        let program =
            PLACES.iter().map(Utf8PathBuf::from).find(|path| path.exists()).ok_or(Error::Missing)?;
        match verify(&program) {
            Ok(_) => Ok(Git { program, home: home.to_owned() }),
            Err(reason) => Err(Error::Refused { path: program, reason }),
        }
    }

    /// Runs git and returns what it printed.
    ///
    /// # Errors
    /// Any exit code but 0 is one, with the end of what git complained about.
    pub fn run(&self, repository: Repository<'_>, words: &[&str]) -> Result<Vec<u8>, Error> {
        let answer = self.ask(repository, Settings::None, words, b"")?;
        if answer.code == Some(0) {
            return Ok(answer.stdout);
        }
        Err(failed(words, &answer))
    }

    /// Runs git and says whether its exit code was 0; 1 is the answer no.
    pub fn says_yes(&self, repository: Repository<'_>, words: &[&str]) -> Result<bool, Error> {
        let answer = self.ask(repository, Settings::None, words, b"")?;
        match answer.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(failed(words, &answer)),
        }
    }

    /// Runs git with an input and returns how it ended.
    pub fn ask(
        &self,
        repository: Repository<'_>,
        settings: Settings,
        words: &[&str],
        input: &[u8],
    ) -> Result<Answer, Error> {
        wait(self.command(repository, settings, words), words, input, TIME)
    }

    /// Runs git from a file to a file, however much that is, and calls `slow` once when it takes its time.
    pub fn carry(
        &self,
        repository: Repository<'_>,
        words: &[&str],
        files: (File, File),
        slow: &dyn Fn(),
    ) -> Result<(), Error> {
        let name = words.first().copied().unwrap_or_default();
        let failed_to_run = |error| Error::Run { command: name.to_owned(), error };
        let mut command = self.command(repository, Settings::None, words);
        command.stdin(Stdio::from(files.0)).stdout(Stdio::from(files.1));
        let mut child = command.spawn().map_err(failed_to_run)?;
        let stderr = child.stderr.take().map(|pipe| read_all(pipe, MOST_COMPLAINT));
        let mut in_time = process::ends_within(child.id(), SLOW).map_err(failed_to_run);
        if matches!(in_time, Ok(false)) {
            slow();
            in_time = process::ends_within(child.id(), LONG).map_err(failed_to_run);
        }
        if !matches!(in_time, Ok(true)) {
            // Not waited for yet, so the number is still its own.
            let _gone = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
        }
        let status = child.wait().map_err(failed_to_run)?;
        let stderr = stderr.and_then(|thread| thread.join().ok()).unwrap_or_default();
        if !in_time? {
            return Err(Error::TooSlow { command: name.to_owned() });
        }
        let answer = Answer { code: status.code(), stdout: Vec::new(), stderr };
        if answer.code == Some(0) { Ok(()) } else { Err(failed(words, &answer)) }
    }

    fn command(&self, repository: Repository<'_>, settings: Settings, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/run/current-system/sw/bin")
            .env("HOME", &self.home)
            .env("LC_ALL", "C")
            .env("GIT_DIR", repository.directory)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .current_dir(repository.work_tree.unwrap_or(repository.directory));
        if settings == Settings::None {
            command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
            // For the log of references alone.
            for (name, value) in [("NAME", "pier"), ("EMAIL", "pier@localhost")] {
                command.env(format!("GIT_COMMITTER_{name}"), value);
            }
        }
        if let Some(tree) = repository.attributes {
            command.env("GIT_ATTR_SOURCE", tree);
        }
        if let Some(tree) = repository.work_tree {
            command.env("GIT_WORK_TREE", tree);
        }
        if let Some(index) = repository.index {
            command.env("GIT_INDEX_FILE", index);
        }
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The terminal's Ctrl-C is not for it.
        command.process_group(0);
        process::end_together(&mut command);
        command
    }
}

/// Returns git as an agent finds it, where this is a command of an agent's in a sandbox of pier's.
///
/// There, root's files belong to nobody, and all that runs is the agent's anyway. On the host, only root can make a
/// program of this name.
fn inside() -> Option<Utf8PathBuf> {
    if !is_inside() {
        return None;
    }
    let path = crate::env::path();
    let named =
        path.split(':').filter(|entry| entry.starts_with('/')).map(|entry| Utf8Path::new(entry).join("git"));
    named.chain(PLACES.iter().map(Utf8PathBuf::from)).find(|path| path.is_file())
}

/// Says whether this is pier inside of a sandbox of its own.
pub fn is_inside() -> bool {
    std::env::current_exe().is_ok_and(|own| own == std::path::Path::new(INIT))
}

/// Runs a command with an input for at most so long, and returns how it ended.
fn wait(mut command: Command, words: &[&str], input: &[u8], time: Duration) -> Result<Answer, Error> {
    let name = words.first().copied().unwrap_or_default();
    let failed = |error| Error::Run { command: name.to_owned(), error };
    let mut child = command.spawn().map_err(failed)?;
    let stdout = child.stdout.take().map(|pipe| read_all(pipe, MOST_ANSWER));
    let stderr = child.stderr.take().map(|pipe| read_all(pipe, MOST_COMPLAINT));
    if let Some(mut stdin) = child.stdin.take() {
        // A git that has ended early says why itself.
        let _closed = stdin.write_all(input);
    }
    let in_time = process::ends_within(child.id(), time).map_err(failed);
    if !matches!(in_time, Ok(true)) {
        let group = Pid::from_raw(child.id().cast_signed());
        // Not waited for yet, so the number is still its own.
        let _gone = killpg(group, Signal::SIGKILL);
    }
    let status = child.wait().map_err(failed)?;
    let read = |thread: Option<thread::JoinHandle<Vec<u8>>>| {
        thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
    };
    let (stdout, stderr) = (read(stdout), read(stderr));
    if !in_time? {
        return Err(Error::TooSlow { command: name.to_owned() });
    }
    Ok(Answer { code: status.code(), stdout, stderr })
}

/// What git says where the program between it and a repository elsewhere has ended, and has said why.
const FAR: &str = "fatal: Could not read from remote repository.";

/// What ssh says in lines without a word in front.
const SSH: [&str; 4] =
    ["Permission denied (", "Host key verification failed", "Connection closed by", "Connection reset by"];

/// Returns the error of a call that was answered by another exit code than it should.
pub fn failed(words: &[&str], answer: &Answer) -> Error {
    let said = String::from_utf8_lossy(&answer.stderr);
    // Advice for people at a terminal follows the reason. That of ssh comes before git's, which then says nothing.
    let is_reason = |line: &&str| {
        let begins = ["fatal: ", "error: ", "ssh: "].iter().any(|begin| line.starts_with(begin));
        begins || SSH.iter().any(|part| line.contains(part))
    };
    let mut reasons: Vec<&str> = said.lines().map(str::trim).filter(is_reason).take(3).collect();
    if reasons == [FAR] {
        // What went before is ssh's, or of whatever is called in its place.
        let before = said.lines().map(str::trim).take_while(|line| *line != FAR);
        let before: Vec<&str> =
            before.filter(|line| !line.is_empty() && !line.starts_with("Warning: ")).collect();
        reasons.splice(0..0, before.into_iter().rev().take(2).rev());
    }
    if reasons.len() > 1 {
        reasons.retain(|line| *line != FAR);
    }
    let said = if reasons.is_empty() { said.trim().replace('\n', "; ") } else { reasons.join("; ") };
    let said = if said.is_empty() { format!("exit code {:?}", answer.code) } else { said };
    Error::Failed { command: words.first().copied().unwrap_or_default().to_owned(), said }
}

/// Reads to the end and keeps the first bytes.
fn read_all(mut from: impl Read + Send + 'static, most: u64) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        // What cannot be read any more is not there.
        let _closed = from.by_ref().take(most).read_to_end(&mut kept);
        let _closed = io::copy(&mut from, &mut io::sink());
        kept
    })
}
