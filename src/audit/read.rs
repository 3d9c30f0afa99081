//! Audit files back into lines: which there are, and whether a chain holds.

use std::fmt;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use super::{Error, Event, How, Line, NOTHING, all};
use crate::util::fs::{read_without_links, sha256};

/// The most that is read of one file, in bytes.
const MOST_FILE: u64 = 256 * 1024 * 1024;

/// The most files that are looked at.
const MOST_FILES: usize = 100_000;

/// One file, known by its name alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Orders the files by time: the names begin with it.
    name: String,
    pub session: String,
    pub path: Utf8PathBuf,
}

/// Returns the files of all sessions, the oldest first.
pub fn list(state: &Utf8Path) -> Result<Vec<Entry>, Error> {
    let directory = all(state);
    let failed = |source| Error::Read { path: directory.clone(), source };
    let entries = match directory.read_dir_utf8() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut found = Vec::new();
    for entry in entries.take(MOST_FILES) {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if let Some((_, session)) = name.strip_suffix(".jsonl").and_then(|stem| stem.split_once('-')) {
            found.push(Entry {
                name: name.to_owned(),
                session: session.to_owned(),
                path: entry.path().to_owned(),
            });
        }
    }
    found.sort();
    Ok(found)
}

/// Reads one file whole.
pub fn load(path: &Utf8Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let full = path.canonicalize_utf8().map_err(failed)?;
    read_without_links(&full, MOST_FILE).map_err(failed)
}

/// What one file holds, as far as its chain goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    /// The lines before the first fault.
    pub lines: Vec<Line>,
    pub fault: Option<Fault>,
}

/// Where a chain breaks; lines count from 1. What comes after it is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    pub what: Break,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    Empty,
    NoStart,
    CutOff,
    NotALine,
    Hash,
    Sequence,
    Previous,
    Session,
    AfterEnd,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Break::Empty => return out.write_str("the file is empty"),
            Break::NoStart => "the first line is not that of a start",
            Break::CutOff => "the line is cut off",
            Break::NotALine => "this is no line of an audit file",
            Break::Hash => "the line was changed: its hash is that of another text",
            Break::Sequence => "lines are missing before it, or were put in",
            Break::Previous => "the line does not belong to the one before it",
            Break::Session => "the line is of another session",
            Break::AfterEnd => "the line comes after the last one of the session",
        };
        write!(out, "line {}: {what}", self.line)
    }
}

impl Chain {
    /// Follows the chain up to its end, or to the first line that does not fit.
    pub fn follow(bytes: &[u8]) -> Self {
        let mut chain = Chain::default();
        for (number, text) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
            match chain.next(text) {
                Ok(line) => chain.lines.push(line),
                Err(what) => {
                    chain.fault = Some(Fault { line: number, what });
                    return chain;
                }
            }
        }
        if chain.lines.is_empty() {
            chain.fault = Some(Fault { line: 1, what: Break::Empty });
        }
        chain
    }

    fn next(&self, text: &[u8]) -> Result<Line, Break> {
        let text = text.strip_suffix(b"\n").ok_or(Break::CutOff)?;
        let line: Line = serde_json::from_slice(text).map_err(|_| Break::NotALine)?;
        let tail = format!(",\"hash\":\"{}\"}}", line.hash);
        let mut sealed = text.strip_suffix(tail.as_bytes()).ok_or(Break::NotALine)?.to_vec();
        sealed.push(b'}');
        let before = self.lines.last();
        let starts = matches!(line.event, Event::Start { .. });
        let right = [
            (line.hash == sha256(&sealed), Break::Hash),
            (before.is_none_or(|before| !matches!(before.event, Event::End { .. })), Break::AfterEnd),
            (line.seq == self.lines.len() as u64, Break::Sequence),
            (line.previous == before.map_or(NOTHING, |before| before.hash.as_str()), Break::Previous),
            (before.is_none_or(|before| before.session == line.session), Break::Session),
            (starts == before.is_none(), Break::NoStart),
        ];
        match right.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(what),
            None => Ok(line),
        }
    }

    pub fn session(&self) -> Option<&str> {
        self.lines.first().map(|line| line.session.as_str())
    }

    pub fn started(&self) -> Option<Timestamp> {
        self.lines.first().map(|line| line.time)
    }

    /// Returns how the session ended; `None` without a last line.
    pub fn end(&self) -> Option<(How, u8, f64)> {
        match self.lines.last()?.event {
            Event::End { how, code, seconds } => Some((how, code, seconds)),
            _ => None,
        }
    }
}
