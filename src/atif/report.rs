//! What became of a conversion, and of the run that it is about.

use std::collections::BTreeMap;

use serde::Serialize;

/// Whether all of a log is in its document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Complete,
    /// Something of it could not be read, or it ends in the middle of something.
    Partial,
    /// There is no document.
    Failed,
}

/// How a run ended, by what its log says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "lowercase")]
pub enum Run {
    /// The agent came to an end of its own.
    Finished,
    /// It gave up, in its own words.
    Failed(String),
    /// The log ends before the agent did.
    Interrupted,
    /// It goes on.
    Running,
    #[default]
    Unknown,
}

/// Why a conversion is not complete, or what a reader of its document should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// A word for programs, such as `unreadable-line`.
    pub code: &'static str,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// The most reasons of one code that are written out; all are counted.
const MOST_OF_ONE: usize = 10;

/// The most conversations of a database that are named, and the longest name, in bytes.
const MOST_CONVERSATIONS: usize = 1_000;
const LONGEST_NAME: usize = 200;

/// The most names of records that are counted one by one.
const MOST_NAMES: usize = 200;

/// Collected while logs are read.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub status: Status,
    pub run: Run,
    pub reasons: Vec<Reason>,
    /// How many of each code there were.
    pub counts: BTreeMap<&'static str, u64>,
    /// How many records of each type were read.
    pub records: BTreeMap<String, u64>,
    /// Those of types that the reader does not know.
    pub unknown: BTreeMap<String, u64>,
    /// Of a database with those of many runs, the conversations that were read.
    #[serde(skip)]
    pub conversations: Vec<String>,
}

impl Report {
    /// Says that something is missing.
    pub fn partial(&mut self, code: &'static str, text: impl Into<String>, at: Option<(&str, u64)>) {
        self.status = self.status.max_of(Status::Partial);
        self.note(code, text, at);
    }

    /// Says something that takes nothing away.
    pub fn note(&mut self, code: &'static str, text: impl Into<String>, at: Option<(&str, u64)>) {
        let count = self.counts.entry(code).or_default();
        *count += 1;
        if *count <= MOST_OF_ONE as u64 {
            let (file, line) = at.unzip();
            self.reasons.push(Reason { code, text: text.into(), file: file.map(str::to_owned), line });
        }
    }

    /// Names a conversation of a database that was read.
    pub fn conversation(&mut self, id: &str) {
        let is_new = || !self.conversations.iter().any(|known| known == id);
        if id.len() <= LONGEST_NAME && self.conversations.len() < MOST_CONVERSATIONS && is_new() {
            self.conversations.push(id.to_owned());
        }
    }

    /// Counts a record that was read.
    pub fn count(&mut self, kind: &str) {
        add(&mut self.records, kind);
    }

    /// Counts a record of a type that the reader does not know.
    pub fn unknown(&mut self, kind: &str) {
        add(&mut self.unknown, kind);
    }
}

impl Status {
    fn max_of(self, other: Status) -> Status {
        if (self as u8) < (other as u8) { other } else { self }
    }
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count += 1;
    } else if counts.len() < MOST_NAMES {
        counts.insert(name.chars().take(100).collect(), 1);
    } else {
        *counts.entry("…".to_owned()).or_default() += 1;
    }
}
