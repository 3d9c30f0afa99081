//! What a person has said in logs, and when they begin and end: what tells whose they are.

use std::io::{BufReader, Seek as _, SeekFrom};

use jiff::Timestamp;
use serde_json::Value;

use super::{Error, Out, Request, convert};
use crate::atif::walk::{Reader, walk};

/// The most texts that are kept, and the longest, in bytes.
const MOST_TEXTS: usize = 1_000;
const LONGEST: usize = 64 << 10;

/// What logs say.
#[derive(Debug, Default)]
pub struct Said {
    /// What the user said, since the logs are asked since.
    pub asked: Vec<String>,
    /// Of the first and the last step that has a time.
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    /// Of a database, the conversations.
    pub conversations: Vec<String>,
}

/// Reads logs for that alone.
pub fn said(request: &Request<'_>) -> Result<Said, Error> {
    let failed = |error| Error::Write { path: "a temporary file".into(), error };
    let mut document = tempfile::tempfile().map_err(failed)?;
    let converted = convert(request, Out::Stream(&mut document), &|_, _| {})?;
    let mut reader = Sayings { since: request.since, ..Sayings::default() };
    if converted.summary.is_some() {
        document.seek(SeekFrom::Start(0)).map_err(failed)?;
        walk(BufReader::new(document), &mut reader).map_err(|error| failed(error.into()))?;
    }
    Ok(Said { conversations: converted.report.conversations, ..reader.said })
}

#[derive(Default)]
struct Sayings {
    since: Option<i64>,
    /// How deep the document is in which one is.
    depth: usize,
    said: Said,
}

impl Reader for Sayings {
    fn begin(&mut self, _: &str) {
        self.depth += 1;
    }

    fn end(&mut self) {
        self.depth -= 1;
    }

    fn field(&mut self, _: &str, _: Value) {}

    fn step(&mut self, _: usize, step: Value) {
        let time: Option<Timestamp> = step["timestamp"].as_str().and_then(|time| time.parse().ok());
        if let Some(time) = time {
            self.said.first = Some(self.said.first.map_or(time, |first| first.min(time)));
            self.said.last = Some(self.said.last.map_or(time, |last| last.max(time)));
        }
        let is_before = time.zip(self.since).is_some_and(|(time, since)| time.as_millisecond() < since);
        // A sub-agent is asked by the agent.
        if self.depth != 1 || step["source"] != "user" || is_before || self.said.asked.len() >= MOST_TEXTS {
            return;
        }
        let text = match &step["message"] {
            Value::String(text) => text.clone(),
            Value::Array(parts) => {
                let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
                texts.join("\n")
            }
            _ => return,
        };
        let mut end = text.len().min(LONGEST);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.said.asked.push(text[..end].to_owned());
    }
}
