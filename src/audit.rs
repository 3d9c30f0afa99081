//! What happened in a session, as lines that are only ever added: one file a session, each line bound to the one
//! before it by a SHA-256.
//!
//! A line is one JSON object. Its `hash` is its last member and is computed over the bytes of the line without that
//! member, so that nobody has to agree on a canonical form of JSON; `previous` is the hash of the line before. The
//! chain shows that a line was changed, removed or put in between. It does not show that a whole file was replaced
//! by somebody who can write the user's own directories, who is outside of every sandbox.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use nix::libc::{O_CLOEXEC, O_NOFOLLOW};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::util::fs::{create_private, sha256};

pub mod read;

/// `previous` of the first line.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The most that one line holds, in bytes.
const MOST_LINE: usize = 16 * 1024 * 1024;

/// The most entries that one line lists; more are cut off and counted.
const MOST_ENTRIES: usize = 2000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type", deny_unknown_fields)]
pub enum Event {
    /// A sandbox is being set up. Always the first line.
    Start {
        project: Utf8PathBuf,
        /// SHA-256 of the plan as JSON.
        plan: String,
        agent: Option<String>,
        /// The first word of the command; the others may hold secrets, so they are only counted.
        command: String,
        arguments: usize,
    },
    /// Containment stands, proven by the init, and the command is about to run.
    Walls { walls: Vec<String> },
    /// The grants of the project that were in force.
    Approval { digest: String, grants: Vec<String> },
    /// A connection that the sandbox has tried, once it was over.
    Connection(Connection),
    /// Something that the sandbox asked for and did not get.
    Denial { what: String },
    /// What the exit gate found.
    Gate {
        findings: Vec<Finding>,
        /// How many more there were than are listed.
        omitted: usize,
    },
    /// References that came out of the sandbox's repository.
    GitImport {
        references: Vec<String>,
        /// As with findings.
        omitted: usize,
        result: String,
    },
    /// A limit that was reached.
    Limit { what: String },
    /// A signal that ended, or was to end, the command.
    Signal { signal: i32, from: String },
    /// Always the last line.
    End { how: How, code: u8, seconds: f64 },
}

/// A connection, as the gateway has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The name that it was for; `None` where nothing told.
    pub name: Option<String>,
    /// The address that was dialled inside, and the one that was connected to.
    pub dialled: IpAddr,
    pub address: Option<IpAddr>,
    pub port: u16,
    /// The name in the TLS handshake.
    pub server_name: Option<String>,
    pub allowed: bool,
    /// The line that decided.
    pub rule: Option<String>,
    /// Why it was refused, or how it broke.
    pub reason: Option<String>,
    /// The line of `network allowlist` that would allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Names of the secrets that were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// What models have answered on it, where pier ends its TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Answers>,
    /// Bytes to the server and from it.
    pub up: u64,
    pub down: u64,
    pub milliseconds: u64,
    /// It was open when this was written; another line follows at its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// Which one of its session, from 1 on: lines about the same connection have the same number; 0 for requests.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub number: u64,
    /// How many more like this there were; 0 for a single one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub times: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Requests for answers of models, and what these say of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    pub requests: u64,
    /// Those that the service did not refuse.
    pub answered: u64,
    /// Answers that say nothing of tokens, or cannot be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unread: u64,
    /// All that was read, from a cache or not.
    pub prompt_tokens: u64,
    /// All that was written, thoughts included.
    pub completion_tokens: u64,
}

impl std::ops::AddAssign for Answers {
    fn add_assign(&mut self, other: Answers) {
        for (sum, number) in [
            (&mut self.requests, other.requests),
            (&mut self.answered, other.answered),
            (&mut self.unread, other.unread),
            (&mut self.prompt_tokens, other.prompt_tokens),
            (&mut self.completion_tokens, other.completion_tokens),
        ] {
            *sum = sum.saturating_add(number);
        }
    }
}

/// One file that a later innocent command of the host would execute or obey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    pub path: String,
    pub kind: String,
    pub what: String,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The command ended.
    Ended,
    /// The wall clock ran out.
    TimeLimit,
    /// Somebody ended the session: `pier stop`, a second signal, a terminal that went away.
    Stopped,
    /// The sandbox went away under the command.
    Lost,
    /// The command did not start.
    Refused,
}

/// One line, as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub seq: u64,
    pub time: Timestamp,
    pub session: String,
    pub event: Event,
    pub previous: String,
    pub hash: String,
}

/// One line before it has its hash.
#[derive(Serialize)]
struct Unsealed<'a> {
    seq: u64,
    time: Timestamp,
    session: &'a str,
    event: &'a Event,
    previous: &'a str,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot write the audit file `{path}`: {source}")]
    Write { path: Utf8PathBuf, source: io::Error },
    #[error("cannot read the audit files below `{path}`: {source}")]
    Read { path: Utf8PathBuf, source: io::Error },
}

/// Where the files of all sessions are.
pub fn all(state: &Utf8Path) -> Utf8PathBuf {
    state.join("audit")
}

/// The file of one session, open for as long as it runs.
pub struct Log {
    file: File,
    path: Utf8PathBuf,
    session: String,
    seq: u64,
    previous: String,
    /// A line was not written whole: whatever followed would be taken for the rest of it.
    broken: bool,
}

impl Log {
    /// Makes the file, mode 0600 in a directory of mode 0700, and writes its first line.
    pub fn start(state: &Utf8Path, session: &str, event: &Event) -> Result<Self, Error> {
        let directory = all(state);
        let now = Timestamp::now();
        let path = directory.join(format!("{}-{session}.jsonl", now.strftime("%Y%m%dT%H%M%S%.6fZ")));
        let failed = |source| Error::Write { path: path.clone(), source };
        create_private(&directory).map_err(failed)?;
        let mut options = std::fs::OpenOptions::new();
        options.append(true).create_new(true).mode(0o600).custom_flags(O_NOFOLLOW | O_CLOEXEC);
        let file = options.open(&path).map_err(failed)?;
        let (session, previous) = (session.to_owned(), NOTHING.to_owned());
        let mut log = Log { file, path, session, seq: 0, previous, broken: false };
        log.append(event)?;
        Ok(log)
    }

    /// Adds one line by one `write`. It survives the end of pier, whatever that is; a power cut may take the newest
    /// lines with it, because waiting for the disk takes as long as all the rest of a short session.
    pub fn append(&mut self, event: &Event) -> Result<(), Error> {
        let failed = |source| Error::Write { path: self.path.clone(), source };
        if self.broken {
            return Err(failed(io::Error::other("a line before it was not written whole")));
        }
        let (line, hash) = seal(self.seq, Timestamp::now(), &self.session, &bounded(event), &self.previous)
            .map_err(|error| failed(error.into()))?;
        if line.len() > MOST_LINE {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "the line is too long")));
        }
        self.broken = true;
        self.file.write_all(&line).map_err(failed)?;
        self.broken = false;
        self.seq += 1;
        self.previous = hash;
        Ok(())
    }
}

/// Returns a line with its newline, and its hash.
fn seal(
    seq: u64,
    time: Timestamp,
    session: &str,
    event: &Event,
    previous: &str,
) -> serde_json::Result<(Vec<u8>, String)> {
    let mut line = serde_json::to_vec(&Unsealed { seq, time, session, event, previous })?;
    let hash = sha256(&line);
    // The closing brace moves behind the hash.
    line.pop();
    line.extend_from_slice(format!(",\"hash\":\"{hash}\"}}\n").as_bytes());
    Ok((line, hash))
}

/// Cuts the lists of an event to what one line takes, and counts the rest.
fn bounded(event: &Event) -> Cow<'_, Event> {
    let mut event = Cow::Borrowed(event);
    match &*event {
        Event::Gate { findings, .. } if findings.len() > MOST_ENTRIES => {
            if let Event::Gate { findings, omitted } = event.to_mut() {
                cut(findings, omitted);
            }
        }
        Event::GitImport { references, .. } if references.len() > MOST_ENTRIES => {
            if let Event::GitImport { references, omitted, .. } = event.to_mut() {
                cut(references, omitted);
            }
        }
        _ => {}
    }
    event
}

fn cut<T>(entries: &mut Vec<T>, omitted: &mut usize) {
    *omitted += entries.len() - MOST_ENTRIES;
    entries.truncate(MOST_ENTRIES);
}

#[cfg(test)]
mod tests;
