//! Sessions of Gemini CLI: one object of an older version, one record a line of a newer, and the stream that a headless run prints.

use std::io;

use camino::Utf8Path;

use crate::agent::log::{self, Converter, Logs};
use crate::atif::draft::{Draft, MAIN};
use crate::atif::report::Run;

pub mod messages;
mod session;
mod stream;

pub struct Log;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Session,
    /// Of an agent that the agent asked.
    Subagent,
    /// What a headless run printed.
    Stream,
}

fn kind(path: &Utf8Path, head: &str) -> Option<Kind> {
    let has = |key: &str| head.contains(&format!("\"{key}\""));
    let is = |key: &str, word: &str| {
        [": ", ":"].iter().any(|between| head.contains(&format!("\"{key}\"{between}\"{word}\"")))
    };
    let is_json = matches!(path.extension(), Some("json" | "jsonl"));
    if is_json && has("sessionId") && has("projectHash") && has("startTime") && !is("type", "qwen") {
        return Some(if is("kind", "subagent") { Kind::Subagent } else { Kind::Session });
    }
    if lacks_beginning(path, head) {
        return Some(Kind::Session);
    }
    let first = head.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    let is_stream = is("type", "init") && first.contains("\"session_id\"") && first.contains("\"model\"");
    let is_stream = is_stream && !first.contains("\"subtype\"");
    (is_stream || path.file_name() == Some("gemini-cli.txt")).then_some(Kind::Stream)
}

/// Says whether it is a session without its first line. Another Gemini CLI that begins in the same home removes a log that has nothing
/// else yet, and whoever writes it goes on in a new file.
fn lacks_beginning(path: &Utf8Path, head: &str) -> bool {
    let is_session = path.extension() == Some("jsonl")
        && path.file_name().is_some_and(|name| name.starts_with("session-"));
    let is_record = |line: &str| {
        let has = |key: &str| line.contains(&format!("\"{key}\":"));
        line.starts_with("{\"$set\":") || has("id") && has("timestamp") && has("type") && has("content")
    };
    is_session
        && !head.contains("\"startTime\"")
        && head.contains("\n{\"$set\":{\"lastUpdated\":")
        && head.lines().next().is_some_and(is_record)
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        kind(path, head).is_some()
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let of = |wanted| {
            let chosen = log::chosen(logs, move |path, head| kind(path, head) == Some(wanted));
            let mut files: Vec<usize> = chosen.collect();
            // One after the other, however they are called.
            files.sort_by_cached_key(|index| start_time(&logs.head(*index)));
            files
        };
        let sessions = of(Kind::Session);
        let mut reader = messages::Reader::new(logs);
        if !sessions.is_empty() {
            draft.compacted(MAIN, 0);
        }
        for index in &sessions {
            let path = &logs.files()[*index].path;
            if lacks_beginning(path, &logs.head(*index)) {
                let text = "its first lines are gone: a session that begins at the same time in one home removes them";
                draft.report.partial("no-beginning", text, Some((path.as_str(), 1)));
            }
            reader.file(*index, draft, false)?;
        }
        let outcome = reader.outcome();
        for index in of(Kind::Subagent) {
            reader.file(index, draft, true)?;
        }
        let mut run = None;
        for index in of(Kind::Stream) {
            run = stream::read(&mut reader, index, draft, sessions.is_empty())?.or(run);
        }
        draft.report.run = match (outcome, run) {
            (Run::Failed(reason), None | Some(Run::Interrupted)) => Run::Failed(reason),
            (outcome, run) => run.unwrap_or(outcome),
        };
        Ok(())
    }
}

/// Returns when a session began, by its first bytes.
fn start_time(head: &str) -> Option<String> {
    let rest = head.split_once("\"startTime\"")?.1.trim_start_matches([':', ' ']);
    Some(rest.strip_prefix('"')?.split_once('"')?.0.to_owned())
}
