//! Sessions of Hermes Agent: its database (`state.db`), and the lines and files that it exports.

use std::collections::HashMap;
use std::io;

use camino::Utf8Path;
use serde_json::value::RawValue;

use crate::agent::chat::{self, Beside};
use crate::agent::log::{self, Converter, Logs, named, whole};
use crate::atif::draft::{Draft, MAIN, Track};
use crate::atif::fields::{Fields, Odd};
use crate::atif::report::Run;
use crate::atif::step::Usage;
use crate::atif::time;

pub struct Log;

/// What a file is, from the best to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Database,
    /// A session a line.
    Lines,
    /// One session.
    File,
}

fn kind(path: &Utf8Path, head: &str) -> Option<Kind> {
    let has = |word: &str| head.contains(word);
    if head.starts_with(named::MAGIC) {
        // Its list of tables is long, and may be on later pages, or in the write-ahead log alone.
        let is_own = has("billing_provider") && has("parent_session_id");
        return (is_own || path.file_name() == Some("state.db")).then_some(Kind::Database);
    }
    if !head.trim_start().starts_with('{') || !has("\"messages\"") {
        return None;
    }
    let is_export = has("\"started_at\"") && has("\"source\"") && has("\"system_prompt\"");
    let is_file = has("\"session_start\"") && has("\"session_id\"") && has("\"platform\"");
    let lines = path.extension() == Some("jsonl");
    match (is_export, is_file) {
        (true, _) => Some(if lines { Kind::Lines } else { Kind::File }),
        (_, true) => Some(Kind::File),
        _ => (path.file_name() == Some("hermes-session.jsonl")).then_some(Kind::Lines),
    }
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        kind(path, head).is_some()
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let files = log::by_kind(logs, kind);
        let best = files.first().map(|(kind, _)| *kind);
        let mut reader = Reader::default();
        // What is exported is in the database as well.
        for (kind, index) in files.into_iter().filter(|(kind, _)| Some(*kind) == best) {
            let name = logs.files()[index].path.as_str();
            match kind {
                Kind::Database => reader.database(logs, index, draft)?,
                Kind::Lines => log::each_record(logs, index, draft, |draft, record, line| {
                    let source = format!("{name}:{line}");
                    if !record.has("messages") {
                        return reader.message(record, MAIN, draft, &source);
                    }
                    reader.session(record, &record.list("messages"), draft, &source)
                })?,
                Kind::File => {
                    whole::each_element(logs, index, "messages", draft, |draft, session, messages| {
                        reader.session(session, messages, draft, name)
                    })?;
                }
            }
        }
        draft.report.run = match (reader.failed.take(), reader.ended) {
            (Some(reason), _) => Run::Failed(reason),
            (None, Some(true)) => Run::Finished,
            (None, Some(false)) => Run::Interrupted,
            (None, None) => Run::Unknown,
        };
        Ok(())
    }
}

#[derive(Default)]
struct Reader {
    /// Whether the last message was an answer without calls.
    ended: Option<bool>,
    failed: Option<String>,
}

impl Reader {
    fn session(
        &mut self,
        session: &Fields<'_>,
        messages: &[&RawValue],
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        // One that goes on where another was made shorter has a parent, too: it is no other agent's.
        let id = session.owned("id").or_else(|| session.owned("session_id")).unwrap_or_default();
        let is_sub = session.has("parent_session_id")
            && matches!(&*session.text("source").unwrap_or_default(), "subagent" | "tool");
        let track = if is_sub { draft.sub(MAIN, &id) } else { MAIN };
        draft.compacted(MAIN, u64::from(session.has("parent_session_id") && !is_sub));
        let head = draft.head(track);
        head.session = head.session.take().or(Some(id).filter(|id| !id.is_empty()));
        head.model = head.model.take().or_else(|| session.owned("model"));
        for key in
            ["source", "platform", "cwd", "git_branch", "title", "billing_provider", "system_prompt", "tools"]
        {
            head.agent.take(key, session.get(key));
        }
        for message in messages {
            if let Some(message) = Fields::of(message) {
                self.message(&message, track, draft, source)?;
            } else {
                draft.report.partial("unreadable-message", "a message is no object", Some((source, 0)));
            }
        }
        let odd = Odd::default();
        let count = |key: &'static str| session.tokens(key, &odd).unwrap_or(0);
        draft.total(Usage {
            input: count("input_tokens"),
            cache_read: count("cache_read_tokens"),
            cache_write: count("cache_write_tokens"),
            output: count("output_tokens"),
            cost: None,
            odd: odd.name(),
        });
        if let Some(cost) = session.float("actual_cost_usd").filter(|cost| *cost > 0.0) {
            draft.cost = Some(draft.cost.unwrap_or(0.0) + cost);
        }
        let totals = &mut draft.head(track).totals;
        for key in ["estimated_cost_usd", "api_call_count", "reasoning_tokens", "end_reason"] {
            totals.take(key, session.get(key));
        }
        if !is_sub && session.text("end_reason").is_some_and(|reason| reason.contains("error")) {
            self.failed = session.owned("end_reason");
        }
        Ok(())
    }

    fn message(
        &mut self,
        message: &Fields<'_>,
        track: Track,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        let role = message.text("role").unwrap_or_default();
        draft.report.count(&role);
        let time =
            message.float("timestamp").and_then(time::of_seconds).or_else(|| message.owned("timestamp"));
        let beside = Beside { time: time.as_deref(), source };
        let Some(at) = chat::message(draft, track, message, beside)? else {
            // What was added for people who look at it, or of a later release.
            draft.report.unknown(&role);
            draft.unread(track, message.iter());
            return Ok(());
        };
        if let Some(step) = draft.step(at).filter(|_| role == "assistant") {
            for key in ["finish_reason", "codex_reasoning_items"] {
                step.extra.take(key, message.get(key));
            }
            if message.get("active").is_some_and(|active| active.get() == "0") {
                step.extra.put("rewound", true);
            }
        }
        if track == MAIN {
            self.ended = Some(role == "assistant" && message.list("tool_calls").is_empty());
        }
        Ok(())
    }

    /// Reads the sessions of a database, the oldest first.
    fn database(&mut self, logs: &dyn Logs, index: usize, draft: &mut Draft<'_>) -> io::Result<()> {
        let path = &logs.files()[index].path;
        let Some(database) = named::open(logs, index, draft) else { return Ok(()) };
        let (mut sessions, mut messages) = (Vec::new(), Vec::new());
        let mut whole = database.rows("sessions", |row| sessions.push(row));
        whole &= database.rows("messages", |row| messages.push(row));
        if !whole {
            let text = "not all of the database can be read";
            draft.report.partial("unreadable-file", text, Some((path.as_str(), 0)));
        }
        let started = |row: &named::Row| row.real("started_at").unwrap_or(0.0);
        sessions.sort_by(|one, other| started(one).total_cmp(&started(other)));
        let parents: HashMap<&str, &str> = sessions
            .iter()
            .filter_map(|session| Some((session.text("id")?, session.text("parent_session_id")?)))
            .collect();
        for session in &sessions {
            let id = session.text("id").unwrap_or_default();
            let root = log::root_of(id, |id| parents.get(id).copied());
            if !logs.takes(root) {
                continue;
            }
            let of_it = messages.iter().filter(|message| message.text("session_id") == Some(id));
            let is_recent = |message: &named::Row| message.is_since("timestamp", logs.since());
            if logs.since().is_some() && !of_it.clone().any(is_recent) {
                continue;
            }
            draft.report.conversation(root);
            let texts: Vec<String> =
                of_it.map(|message| message.to_json(&["tool_calls", "reasoning_details"])).collect();
            let list: Vec<&RawValue> =
                texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
            let text = session.to_json(&[]);
            if let Ok(session) = Fields::parse(&text) {
                self.session(&session, &list, draft, &format!("{path}:{id}"))?;
            }
        }
        Ok(())
    }
}
