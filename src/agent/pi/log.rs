//! Sessions of Pi: files of one record a line, which are a tree, and the stream of `--mode json`.
//!
//! A branch that was left is read like any other: a step names the record before it (`parent_id`) where that is not the one above.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;

use camino::Utf8Path;

use crate::agent::log::{self, Converter, Logs};
use crate::atif::draft::{At, Draft, MAIN};
use crate::atif::fields::{self, Fields};
use crate::atif::report::Run;
use crate::atif::step::{Content, ObservationResult, Step, Usage};
use crate::atif::time;

use blocks::{answer, beside, content, usage};
use partial::Unfinished;

mod blocks;
mod partial;

pub struct Log;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Session,
    /// What `--mode json` printed.
    Stream,
}

/// The first events of a stream, of which a session has none.
const EVENTS: &[&str] = &["agent_start", "turn_start", "message_start", "message_end", "queue_update"];

fn kind(_: &Utf8Path, head: &str) -> Option<Kind> {
    let mut lines = head.lines().filter(|line| line.starts_with('{'));
    let first = Fields::parse(lines.next()?).ok()?;
    if first.is("type", "session") && first.has("id") && first.has("timestamp") && first.has("cwd") {
        let second = lines.next().unwrap_or_default();
        let is_event = EVENTS.iter().any(|event| begins_with_type(second, event));
        return Some(if is_event { Kind::Stream } else { Kind::Session });
    }
    // Streams of old versions have no header.
    let second = lines.next().unwrap_or_default();
    let is_stream = first.is("type", "agent_start")
        && EVENTS.iter().any(|event| begins_with_type(second, event))
        && !head.contains("\"thread_id\"");
    is_stream.then_some(Kind::Stream)
}

/// Says whether a record, which may be cut, begins with this type.
fn begins_with_type(line: &str, kind: &str) -> bool {
    let rest = line.trim_start_matches(['{', ' ']).strip_prefix("\"type\":").unwrap_or_default();
    rest.trim_start()
        .strip_prefix('"')
        .and_then(|rest| rest.strip_prefix(kind))
        .is_some_and(|rest| rest.starts_with('"'))
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        kind(path, head).is_some()
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let of = |wanted| {
            let mut files: Vec<usize> =
                log::chosen(logs, move |path, head| kind(path, head) == Some(wanted)).collect();
            // One after the other, however they are called.
            files.sort_by_cached_key(|index| {
                let head = logs.head(*index);
                head.lines().find_map(|line| Fields::parse(line).ok()?.owned("timestamp"))
            });
            files
        };
        let (sessions, streams) = (of(Kind::Session), of(Kind::Stream));
        let mut reader = Reader::default();
        draft.compacted(MAIN, 0);
        for index in &sessions {
            reader.session(logs, *index, draft)?;
        }
        for index in streams {
            reader.stream(logs, index, draft, sessions.is_empty())?;
        }
        if reader.measured > 0 && reader.unpriced == 0 {
            draft.cost = Some(reader.cost);
        }
        draft.report.run = match reader.last {
            Last::End => Run::Finished,
            Last::Failure(reason) => Run::Failed(reason),
            Last::Middle => Run::Interrupted,
            Last::Nothing => Run::Unknown,
        };
        Ok(())
    }
}

/// What the last record of the conversation was.
#[derive(Default)]
enum Last {
    #[default]
    Nothing,
    /// The model had nothing more to do.
    End,
    /// It wanted something, or was told something.
    Middle,
    Failure(String),
}

/// How many records are known by their ids, for what is said of them later.
const RECENT: usize = 64;

#[derive(Default)]
struct Reader {
    /// What was read: a session that was forked begins with the records of the other.
    seen: HashSet<u64>,
    recent: VecDeque<(String, At)>,
    /// The record before.
    before: Option<String>,
    thinking: Option<String>,
    /// The last summary, which streams say twice.
    summary: Option<u64>,
    last: Last,
    /// What Pi says that the answers cost, and of how many it does.
    cost: f64,
    measured: usize,
    unpriced: usize,
}

impl Reader {
    fn session(&mut self, logs: &dyn Logs, index: usize, draft: &mut Draft<'_>) -> io::Result<()> {
        self.before = None;
        self.thinking = None;
        let name = &logs.files()[index].path;
        log::each_record(logs, index, draft, |draft, record, line| {
            self.record(record, draft, &format!("{name}:{line}"))
        })
    }

    /// Reads a stream: all of it where there is no session; otherwise what was being said when it ended, which no session has.
    fn stream(
        &mut self,
        logs: &dyn Logs,
        index: usize,
        draft: &mut Draft<'_>,
        whole: bool,
    ) -> io::Result<()> {
        let name = &logs.files()[index].path;
        let mut unfinished = Unfinished::default();
        log::each_printed(logs, index, draft, |draft, record, line| {
            let source = format!("{name}:{line}");
            unfinished.event(record, &source);
            if whole { self.event(record, draft, &source) } else { Ok(()) }
        })?;
        if let Some(message) = unfinished.finish() {
            self.last = Last::Middle;
            if let Some(usage) = message.usage {
                self.price(usage);
            }
            unfinished_step(message, self.thinking.clone(), draft)?;
        }
        Ok(())
    }

    fn event(&mut self, record: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        let kind = record.text("type").unwrap_or_default();
        match &*kind {
            "session" => return self.record(record, draft, source),
            "entry_appended" => {
                if let Some(entry) = record.object("entry").filter(|entry| !entry.is("type", "message")) {
                    return self.record(&entry, draft, source);
                }
            }
            "message_end" => {
                if let Some(message) = record.object("message") {
                    draft.report.count("message");
                    return self.message(record, &message, draft, source);
                }
                no_message(&kind, draft, source);
            }
            "compaction_end" | "auto_compaction_end" => {
                if let Some(result) = record.object("result") {
                    draft.report.count(&kind);
                    return self.compaction(&result, draft, source);
                }
            }
            "auto_retry_start" => self.last = Last::Middle,
            "auto_retry_end" => {
                if let Some(error) = record.owned("finalError") {
                    self.last = Last::Failure(error);
                }
            }
            known if STREAMED.contains(&known) => {}
            unknown => {
                draft.report.unknown(unknown);
                draft.unread(MAIN, record.iter());
                return Ok(());
            }
        }
        draft.report.count(&kind);
        Ok(())
    }

    fn record(&mut self, record: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        let kind = record.text("type").unwrap_or_default();
        draft.report.count(&kind);
        let id = record.owned("id");
        if let Some(id) = &id
            && kind != "session"
        {
            let mut hasher = DefaultHasher::new();
            let length = record.get("message").map(|message| message.get().len());
            (id, record.text("timestamp"), length).hash(&mut hasher);
            if !self.seen.insert(hasher.finish()) {
                draft.report.note("duplicate-record", "a record is there twice, and was read once", None);
                self.before = Some(id.clone());
                return Ok(());
            }
        }
        match &*kind {
            "session" => take_header(record, draft),
            "message" => match record.object("message") {
                Some(message) => self.message(record, &message, draft, source)?,
                None => no_message(&kind, draft, source),
            },
            "custom_message" => self.other(record, record, "content", draft, source)?,
            "compaction" => self.compaction(record, draft, source)?,
            "branch_summary" => self.other(record, record, "summary", draft, source)?,
            "thinking_level_change" => self.thinking = record.owned("thinkingLevel"),
            "model_change" => {
                let head = draft.head(MAIN);
                head.model = head.model.take().or_else(|| record.owned("modelId"));
            }
            "session_info" => draft.head(MAIN).extra.take("session_name", record.get("name")),
            "context_edit" => self.context_edit(record, draft, source)?,
            // Bookmarks, and what extensions keep for themselves: no model sees them.
            "label" | "custom" => {}
            unknown => {
                draft.report.unknown(unknown);
                draft.unread(MAIN, record.iter());
            }
        }
        if kind != "session" {
            self.before = id;
        }
        Ok(())
    }

    /// Adds a step for a record, and keeps which it is.
    fn push(
        &mut self,
        record: &Fields<'_>,
        mut step: Step,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<At> {
        step.extra.put("src", source);
        let id = record.owned("id");
        if let Some(id) = &id {
            step.extra.put("entry_id", id.clone());
            let parent = record.owned("parentId");
            if parent.is_some() && parent != self.before {
                step.extra.take("parent_id", record.get("parentId"));
            }
        }
        let at = draft.push(MAIN, step)?;
        if let Some(id) = id {
            self.recent.push_back((id, at));
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        Ok(at)
    }

    fn message(
        &mut self,
        record: &Fields<'_>,
        message: &Fields<'_>,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        let time = when(record, message);
        let role = message.text("role").unwrap_or_default();
        match &*role {
            "assistant" => self.assistant(record, message, draft, source),
            "user" => {
                let words = content(message.get("content"), draft)?;
                self.last = Last::Middle;
                self.push(record, Step::user(time.as_deref(), words), draft, source).map(|_| ())
            }
            "toolResult" => {
                self.last = Last::Middle;
                tool_result(message, time.as_deref(), draft)
            }
            "system" => {
                let mut step = Step::system(time.as_deref(), content(message.get("content"), draft)?);
                if let Some(sections) = message.object("sections") {
                    let mut names = Vec::new();
                    for (name, value) in sections.iter() {
                        names.push(name.to_owned());
                        step.message.add(&fields::text(value).unwrap_or_default());
                    }
                    step.extra.put("sections", names);
                }
                for (key, name) in [("toolsAdded", "tools_added"), ("toolsRemoved", "tools_removed")] {
                    step.extra.take(name, message.get(key));
                }
                self.push(record, step, draft, source).map(|_| ())
            }
            "bashExecution" => {
                // A command of the user's own.
                let mut words = Content::from(message.text("command").unwrap_or_default().into_owned());
                words.add(&message.text("output").unwrap_or_default());
                let mut step = Step::user(time.as_deref(), words);
                step.extra.put("role", &*role);
                for key in ["exitCode", "cancelled", "truncated", "fullOutputPath", "excludeFromContext"] {
                    step.extra.take(key, message.get(key));
                }
                self.push(record, step, draft, source).map(|_| ())
            }
            "compactionSummary" => self.compaction(message, draft, source),
            "branchSummary" => self.other(record, message, "summary", draft, source),
            "custom" | "hookMessage" => self.other(record, message, "content", draft, source),
            unknown => {
                draft.report.unknown(&format!("message {unknown}"));
                draft.unread(MAIN, record.iter());
                Ok(())
            }
        }
    }

    fn assistant(
        &mut self,
        record: &Fields<'_>,
        message: &Fields<'_>,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        let time = when(record, message);
        let time = time.as_deref();
        let reason = message.text("stopReason").unwrap_or_default();
        let error = message.owned("errorMessage");
        let failed = matches!(&*reason, "error" | "aborted");
        let is_empty = message.list("content").is_empty() && message.word("content").is_none();
        let mut step = if failed && is_empty {
            Step::failure(time, error.clone().unwrap_or_default())
        } else {
            Step::agent(time)
        };
        step.model_name = message.owned("model");
        step.reasoning_effort.clone_from(&self.thinking);
        for (key, name) in [
            ("provider", "provider"),
            ("api", "api"),
            ("responseId", "response_id"),
            ("stopReason", "stop_reason"),
            ("rawStopReason", "raw_stop_reason"),
            ("errorMessage", "error_message"),
        ] {
            step.extra.take(name, message.get(key));
        }
        if failed {
            step.extra.put("api_error", true);
        }
        if step.llm_call_count == Some(1)
            && let Some(native) = message.object("usage")
        {
            self.price(usage(&mut step, &native));
        }
        if draft.head(MAIN).model.is_none() {
            draft.head(MAIN).model.clone_from(&step.model_name);
        }
        let at = self.push(record, step, draft, source)?;
        answer(message, draft, at)?;
        self.last = match &*reason {
            "stop" => Last::End,
            "error" | "aborted" | "length" => Last::Failure(error.unwrap_or_else(|| reason.into_owned())),
            _ => Last::Middle,
        };
        Ok(())
    }

    fn price(&mut self, usage: Usage) {
        if usage.prompt() + usage.output > 0 {
            self.measured += 1;
            self.unpriced += usize::from(usage.cost.is_none());
            self.cost += usage.cost.unwrap_or_default();
        }
    }

    /// What neither a person nor a model says: extensions, and summaries of branches.
    fn other(
        &mut self,
        record: &Fields<'_>,
        message: &Fields<'_>,
        key: &str,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        let words = content(message.get(key), draft)?;
        let mut step = Step::system(when(record, message).as_deref(), words);
        let kind = message.word("role").or_else(|| record.word("type"));
        step.extra.put("subtype", kind.unwrap_or_default().into_owned());
        for (key, name) in [
            ("customType", "custom_type"),
            ("display", "display"),
            ("details", "details"),
            ("fromId", "from_id"),
            ("fromHook", "from_hook"),
            ("usage", "usage"),
        ] {
            step.extra.take(name, message.get(key));
        }
        self.push(record, step, draft, source).map(|_| ())
    }

    fn compaction(&mut self, record: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        let mut hasher = DefaultHasher::new();
        record.text("summary").hash(&mut hasher);
        if self.summary.replace(hasher.finish()) == Some(hasher.finish()) {
            return Ok(());
        }
        draft.compacted(MAIN, 1);
        let mut step = Step::system(
            when(record, record).as_deref(),
            record.text("summary").unwrap_or_default().into_owned(),
        );
        step.extra.put("subtype", "compaction");
        for (key, name) in [
            ("tokensBefore", "tokens_before"),
            ("firstKeptEntryId", "first_kept_entry_id"),
            ("details", "details"),
            ("fromHook", "from_hook"),
            ("usage", "usage"),
        ] {
            step.extra.take(name, record.get(key));
        }
        self.push(record, step, draft, source).map(|_| ())
    }

    /// A record that is not shown to the model any more, or in other words: a failed request before it is made again.
    fn context_edit(&mut self, record: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        let target = record.text("targetId").unwrap_or_default();
        let newest = self.recent.back().is_some_and(|(id, _)| *id == target);
        if newest && matches!(self.last, Last::Failure(_)) && !record.has("replacement") {
            self.last = Last::Middle;
        }
        let at = self.recent.iter().rev().find(|(id, _)| *id == target).map(|(_, at)| *at);
        let step = at.and_then(|at| draft.step(at));
        match (step, record.get("replacement")) {
            (Some(step), None) => step.extra.put("removed_from_context", true),
            (Some(step), Some(replacement)) => step.extra.take("replaced_in_context", Some(replacement)),
            (None, replacement) => {
                let mut step = Step::system(record.text("timestamp").as_deref(), "");
                step.extra.put("subtype", "context_edit");
                step.extra.take("target_id", record.get("targetId"));
                step.extra.take("replacement", replacement);
                self.push(record, step, draft, source)?;
            }
        }
        Ok(())
    }
}

/// Events that say when something begins and ends, and nothing that others do not say.
const STREAMED: &[&str] = &[
    "agent_end",
    "agent_settled",
    "agent_start",
    "auto_compaction_start",
    "compaction_start",
    "extension_error",
    "message_start",
    "message_update",
    "queue_update",
    "session_info_changed",
    "thinking_level_changed",
    "tool_execution_end",
    "tool_execution_start",
    "tool_execution_update",
    "turn_end",
    "turn_start",
];

fn take_header(record: &Fields<'_>, draft: &mut Draft<'_>) {
    let head = draft.head(MAIN);
    head.session = head.session.take().or_else(|| record.owned("id"));
    for (key, name) in [("cwd", "cwd"), ("version", "session_format"), ("parentSession", "parent_session")] {
        if head.agent.get(name).is_none() {
            head.agent.take(name, record.get(key));
        }
    }
}

/// When a record was written; in a stream, when its message was made.
fn when(record: &Fields<'_>, message: &Fields<'_>) -> Option<String> {
    record.owned("timestamp").or_else(|| {
        let millis = message.count("timestamp")?;
        time::of_millis(i64::try_from(millis).ok()?)
    })
}

fn tool_result(message: &Fields<'_>, time: Option<&str>, draft: &mut Draft<'_>) -> io::Result<()> {
    let id = message.text("toolCallId").unwrap_or_default();
    let mut result = ObservationResult::new(content(message.get("content"), draft)?);
    if message.truth("isError") {
        result = result.failed();
    }
    if let Some(time) = time {
        result.extra.put("timestamp", time);
    }
    if let Some(details) = message.get("details") {
        match Fields::of(details) {
            Some(details) => result.extra.nest("details", &beside(&details, result.content.as_ref())),
            None => result.extra.take("details", Some(details)),
        }
    }
    draft.answer(MAIN, &id, result, time).map(|_| ())
}

fn unfinished_step(
    message: partial::Message,
    thinking: Option<String>,
    draft: &mut Draft<'_>,
) -> io::Result<()> {
    let mut step = Step::agent(message.time.as_deref());
    step.model_name = message.model;
    step.reasoning_effort = thinking;
    step.usage = message.usage.filter(|usage| usage.prompt() + usage.output > 0);
    step.extra.put("src", message.source);
    step.extra.put("unfinished", true);
    for thought in message.thoughts {
        step.think(&thought);
    }
    for text in message.texts {
        step.message.add(&text);
    }
    let at = draft.push(MAIN, step)?;
    for call in message.calls {
        draft.call(at, call)?;
    }
    Ok(())
}

fn no_message(kind: &str, draft: &mut Draft<'_>, source: &str) {
    draft.report.partial("no-message", format!("{source}: a record of type `{kind}` has no message"), None);
}
