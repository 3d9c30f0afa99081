//! Sessions of Claude Code: files of one record a line, one of them for each block of a model's answer, and the stream that a
//! headless run prints.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;

use camino::Utf8Path;
use serde_json::value::RawValue;

use crate::agent::genai;
use crate::agent::log::{self, Converter, Logs};
use crate::atif::draft::{At, Draft, MAIN, Track};
use crate::atif::fields::{self, Fields};
use crate::atif::report::Run;
use crate::atif::step::{Content, ObservationResult, Step};

use blocks::{beside, block, content, keep, part, rendered, take_usage, texts};

mod blocks;

pub struct Log;

/// Records that say how the program works, and nothing of the conversation.
const PLUMBING: &[&str] = &[
    "api-request",
    "api-request-blob",
    "api-request-shape",
    "atis-latch",
    "cost-state",
    "custom-title",
    "file-history-snapshot",
    "last-prompt",
    "permission-mode",
    "progress",
    "queue-operation",
    "rate_limit_event",
    "stream_event",
    "tools-used",
];

/// How many texts are one step.
const MOST_ATTACHED: usize = 64;

/// The tools that ask another agent.
const DELEGATES: &[&str] = &["Task", "Agent"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Session,
    /// Of an agent that the agent asked.
    Subagent,
    /// What a headless run printed.
    Stream,
}

fn kind(path: &Utf8Path, head: &str) -> Option<Kind> {
    let first = head.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    let has = |key: &str| head.contains(&format!("\"{key}\""));
    if path.extension() == Some("jsonl")
        && has("sessionId")
        && has("type")
        && !has("projectHash")
        && !has("copilotVersion")
        && !genai::has_messages(head)
    {
        let is_sub = path.components().any(|part| part.as_str() == "subagents");
        return Some(if is_sub { Kind::Subagent } else { Kind::Session });
    }
    let is_stream = (first.contains("\"subtype\"")
        || first.contains("\"parent_tool_use_id\"")
        || first.contains("\"total_cost_usd\""))
        && (has("session_id") || has("total_cost_usd"))
        // Another program's first words are like these, without its tools.
        && (!has("apiKeySource") || has("tools"))
        && !has("qwen_code_version")
        && !has("tool_call");
    (is_stream || path.file_name() == Some("claude-code.txt")).then_some(Kind::Stream)
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        kind(path, head).is_some()
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let of = |wanted| log::chosen(logs, move |path, head| kind(path, head) == Some(wanted));
        let mut sessions: Vec<usize> = of(Kind::Session).collect();
        // One after the other, however they are called.
        sessions.sort_by_cached_key(|index| first_time(&logs.head(*index)));
        let mut reader =
            Reader { logs, seen: HashSet::new(), last: Last::Nothing, attached: None, result: None };
        draft.compacted(MAIN, 0);
        for index in &sessions {
            reader.file(*index, draft, None)?;
        }
        for index in of(Kind::Subagent) {
            let name = logs.files()[index].path.file_stem().unwrap_or_default();
            let id = name.strip_prefix("agent-").unwrap_or(name).to_owned();
            reader.file(index, draft, Some(&id))?;
        }
        for index in of(Kind::Stream) {
            reader.stream(index, draft, sessions.is_empty())?;
        }
        draft.report.run = reader.outcome();
        Ok(())
    }
}

/// Returns the first time in the first records of a file.
fn first_time(head: &str) -> Option<String> {
    head.lines().find_map(|line| Some(Fields::parse(line).ok()?.text("timestamp")?.into_owned()))
}

/// What the last record of the conversation was.
enum Last {
    Nothing,
    /// The model had nothing more to do.
    End,
    /// It wanted something, or was told something.
    Middle,
    Failure(String),
}

struct Reader<'a> {
    logs: &'a dyn Logs,
    /// What was read, for a session that goes on in another file begins there with what was said before.
    seen: HashSet<u64>,
    last: Last,
    /// The step that has the texts which the program adds to a prompt.
    attached: Option<At>,
    result: Option<Run>,
}

impl Reader<'_> {
    fn outcome(self) -> Run {
        match (self.result, self.last) {
            (Some(run), _) => run,
            (None, Last::End) => Run::Finished,
            (None, Last::Failure(reason)) => Run::Failed(reason),
            (None, Last::Middle) => Run::Interrupted,
            (None, Last::Nothing) => Run::Unknown,
        }
    }

    fn file(&mut self, index: usize, draft: &mut Draft<'_>, sub: Option<&str>) -> io::Result<()> {
        self.attached = None;
        let logs = self.logs;
        let name = &logs.files()[index].path;
        log::each_record(logs, index, draft, |draft, record, line| {
            let id = record.text("agentId");
            let id = match (sub, record.truth("isSidechain")) {
                (Some(sub), _) => Some(id.as_deref().unwrap_or(sub)),
                (None, true) => Some(id.as_deref().unwrap_or("sidechain")),
                (None, false) => None,
            };
            let track = id.map_or(MAIN, |id| draft.sub(MAIN, id));
            self.record(record, draft, track, &format!("{name}:{line}"))
        })
    }

    /// Reads what a headless run printed: all of it where there is no session, how it ended otherwise.
    fn stream(&mut self, index: usize, draft: &mut Draft<'_>, whole: bool) -> io::Result<()> {
        let logs = self.logs;
        let name = &logs.files()[index].path;
        log::each_printed(logs, index, draft, |draft, record, line| {
            if record.is("type", "result") {
                self.result(record, draft);
            } else if record.is("subtype", "init") {
                let head = draft.head(MAIN);
                head.session = head.session.take().or(record.owned("session_id"));
                head.version = head.version.take().or(record.owned("claude_code_version"));
                head.model = head.model.take().or(record.owned("model"));
            } else if whole {
                let parent = record.text("parent_tool_use_id");
                let track = parent.as_deref().map_or(MAIN, |id| draft.sub(MAIN, id));
                self.record(record, draft, track, &format!("{name}:{line}"))?;
            }
            Ok(())
        })
    }

    fn result(&mut self, record: &Fields<'_>, draft: &mut Draft<'_>) {
        // A run that is asked again says the sum of all.
        draft.cost = record.float("total_cost_usd").or(draft.cost);
        let said = record.word("result").or_else(|| record.word("subtype"));
        let failed = record.truth("is_error") || !record.is("subtype", "success");
        self.result = Some(if failed {
            Run::Failed(said.map_or_else(|| "no reason is given".to_owned(), std::borrow::Cow::into_owned))
        } else {
            Run::Finished
        });
        let totals = &mut draft.head(MAIN).totals;
        for key in ["num_turns", "duration_ms", "duration_api_ms"] {
            totals.take(key, record.get(key));
        }
    }

    fn record(
        &mut self,
        record: &Fields<'_>,
        draft: &mut Draft<'_>,
        track: Track,
        source: &str,
    ) -> io::Result<()> {
        let kind = record.text("type").unwrap_or_default();
        draft.report.count(&kind);
        // One that says something else is another one, whatever it is called.
        if let Some(uuid) = record.text("uuid").filter(|uuid| !uuid.is_empty()) {
            let mut hasher = DefaultHasher::new();
            let said = ["message", "content"].map(|key| record.get(key).map(RawValue::get));
            (&*uuid, track, said).hash(&mut hasher);
            if !self.seen.insert(hasher.finish()) {
                draft.report.note("duplicate-record", "a record is there twice, and was read once", None);
                return Ok(());
            }
        }
        take_head(record, draft, track);
        match &*kind {
            "assistant" => self.assistant(record, draft, track, source),
            "user" => self.user(record, draft, track, source),
            "system" => self.system(record, draft, track, source),
            "attachment" => self.attachment(record, draft, track, source),
            "summary" | "ai-title" => {
                let text = record.get("summary").or_else(|| record.get("title"));
                draft.head(MAIN).extra.take(&kind.replace('-', "_"), text);
                Ok(())
            }
            known if PLUMBING.contains(&known) => Ok(()),
            unknown => {
                draft.report.unknown(unknown);
                keep(draft, track, record);
                Ok(())
            }
        }
    }

    fn assistant(
        &mut self,
        record: &Fields<'_>,
        draft: &mut Draft<'_>,
        track: Track,
        source: &str,
    ) -> io::Result<()> {
        let Some(message) = record.object("message") else {
            no_message(record, draft, source);
            return Ok(());
        };
        let time = record.text("timestamp");
        let model = message.word("model");
        if record.truth("isApiErrorMessage") || model.as_deref() == Some("<synthetic>") {
            let text = texts(&message);
            if track == MAIN {
                self.last = Last::Failure(text.clone());
            }
            let mut step = Step::failure(time.as_deref(), text);
            step.extra.put("src", source);
            step.extra.take("error", record.get("error"));
            self.attached = None;
            return draft.push(track, step).map(|_| ());
        }
        if let Some(model) = &model
            && draft.head(track).model.is_none()
        {
            draft.head(track).model = Some(model.clone().into_owned());
        }
        let id = message.word("id").or_else(|| record.word("uuid"));
        let start = || Step::agent(time.as_deref());
        let at = match id.as_deref() {
            Some(id) => draft.keyed(track, id, start)?,
            None => draft.push(track, start())?,
        };
        self.attached = None;
        if let Some(step) = draft.step(at) {
            if step.extra.is_empty() {
                step.extra.put("src", source);
                step.extra.take("message_id", message.get("id"));
                step.extra.take("request_id", record.get("requestId"));
            }
            step.model_name = model.map(std::borrow::Cow::into_owned).or(step.model_name.take());
            step.reasoning_effort = record.owned("perTurnEffort").or(step.reasoning_effort.take());
            step.extra.take("stop_reason", message.get("stop_reason"));
            if let Some(usage) = message.object("usage") {
                take_usage(step, &usage);
            }
        }
        match message.get("content") {
            Some(content) if content.get().starts_with('"') => {
                let text = fields::text(content).unwrap_or_default();
                if let Some(step) = draft.step(at) {
                    step.message.add(&text);
                }
            }
            Some(content) if !content.get().starts_with(['[', 'n']) => {
                draft.report.unknown("message content");
                keep(draft, track, &message);
            }
            _ => {
                for inner in message.objects("content") {
                    block(&inner, draft, track, at)?;
                }
            }
        }
        if track == MAIN {
            let ended = message.is("stop_reason", "end_turn") || message.is("stop_reason", "stop_sequence");
            self.last = if ended { Last::End } else { Last::Middle };
        }
        Ok(())
    }

    fn user(
        &mut self,
        record: &Fields<'_>,
        draft: &mut Draft<'_>,
        track: Track,
        source: &str,
    ) -> io::Result<()> {
        let Some(message) = record.object("message") else {
            no_message(record, draft, source);
            return Ok(());
        };
        let time = record.text("timestamp");
        let mut said = Content::default();
        match message.get("content") {
            Some(content) if content.get().starts_with('"') => {
                said = fields::text(content).unwrap_or_default().into_owned().into();
            }
            _ => {
                let structured = record.get("toolUseResult").or_else(|| record.get("tool_use_result"));
                for block in message.objects("content") {
                    if block.is("type", "tool_result") {
                        self.tool_result(&block, structured, draft, track, time.as_deref())?;
                    } else {
                        part(&block, &mut said, draft, track)?;
                    }
                }
            }
        }
        if track == MAIN {
            self.last = Last::Middle;
        }
        if said.is_empty() {
            return Ok(());
        }
        let mut step = Step::user(time.as_deref(), said);
        step.extra.put("src", source);
        for (key, name) in [("isMeta", "is_meta"), ("isCompactSummary", "is_compact_summary")] {
            if record.truth(key) {
                step.extra.put(name, true);
            }
        }
        self.attached = None;
        draft.push(track, step).map(|_| ())
    }

    fn tool_result(
        &mut self,
        block: &Fields<'_>,
        structured: Option<&RawValue>,
        draft: &mut Draft<'_>,
        track: Track,
        time: Option<&str>,
    ) -> io::Result<()> {
        let id = block.text("tool_use_id").unwrap_or_default();
        let content = content(block.get("content"), draft)?;
        let structured = structured.and_then(Fields::of);
        let mut result = ObservationResult::new(content);
        if block.truth("is_error") {
            result = result.failed();
        }
        if let Some(time) = time {
            result.extra.put("timestamp", time);
        }
        if let Some(structured) = &structured {
            let whole = match &result.content {
                Some(Content::Text(text)) => text.as_str(),
                _ => "",
            };
            result.extra.nest("tool_use_result", &beside(structured, whole));
        }
        let at = draft.answer(track, &id, result, time)?;
        let delegate = structured.as_ref().and_then(|structured| structured.word("agentId"));
        let has_log = |id: &str| {
            let name = format!("agent-{id}.jsonl");
            self.logs.files().iter().any(|file| file.path.file_name() == Some(name.as_str()))
        };
        let agent = match delegate {
            Some(agent) if draft.find_sub(&agent).is_some() || has_log(&agent) => Some(agent.into_owned()),
            // In a stream the call is the name.
            _ => draft.find_sub(&id).map(|_| id.clone().into_owned()),
        };
        if let Some(agent) = agent {
            let sub = draft.sub(track, &agent);
            let of_call = draft.step(at).and_then(|step| {
                let call = step.tool_calls.iter().find(|call| call.tool_call_id == *id)?;
                let named = DELEGATES.contains(&call.function_name.as_str());
                let arguments = named.then(|| Fields::parse(call.arguments.get()).ok())??;
                arguments.text("subagent_type").map(std::borrow::Cow::into_owned)
            });
            if let Some(name) = of_call {
                draft.name(sub, &name);
            }
            draft.refer(at, &id, &agent);
        }
        Ok(())
    }

    fn system(
        &mut self,
        record: &Fields<'_>,
        draft: &mut Draft<'_>,
        track: Track,
        source: &str,
    ) -> io::Result<()> {
        let kind = record.text("subtype").unwrap_or_default();
        if kind == "compact_boundary" {
            draft.compacted(track, 1);
        }
        let error = record.object("error");
        let said = record.owned("content").or_else(|| {
            let error = error.as_ref()?;
            error.word("formatted").or_else(|| error.word("message")).map(std::borrow::Cow::into_owned)
        });
        if kind == "api_error"
            && track == MAIN
            && let Some(said) = &said
        {
            self.last = Last::Failure(said.clone());
        }
        let Some(said) = said else { return Ok(()) };
        let mut step = Step::system(record.text("timestamp").as_deref(), said);
        step.extra.put("src", source);
        step.extra.put("subtype", &*kind);
        step.extra.take("error", record.get("error"));
        step.extra.take("compact_metadata", record.get("compactMetadata"));
        self.attached = None;
        draft.push(track, step).map(|_| ())
    }

    /// What the program adds to a prompt: one step for all that come together.
    fn attachment(
        &mut self,
        record: &Fields<'_>,
        draft: &mut Draft<'_>,
        track: Track,
        source: &str,
    ) -> io::Result<()> {
        let attachment = record.object("attachment").unwrap_or_default();
        let kind = attachment.text("type").unwrap_or_default();
        draft.report.count(&format!("attachment {kind}"));
        let time = record.text("timestamp");
        if kind == "queued_command"
            && let Some(prompt) = attachment.word("prompt")
        {
            let mut step = Step::user(time.as_deref(), prompt.into_owned());
            step.extra.put("src", source);
            step.extra.put("queued", true);
            self.attached = None;
            return draft.push(track, step).map(|_| ());
        }
        let mut texts: Vec<String> = record.objects("rendered").iter().filter_map(rendered).collect();
        if texts.is_empty() {
            let own = ["content", "text"].into_iter().find_map(|key| attachment.word(key));
            texts.extend(own.map(std::borrow::Cow::into_owned));
        }
        if texts.is_empty() {
            return Ok(());
        }
        let known = self.attached.filter(|at| draft.last(track) == Some(*at));
        let at = if let Some(at) = known {
            at
        } else {
            let mut step = Step::system(time.as_deref(), "");
            step.extra.put("src", source);
            draft.push(track, step)?
        };
        self.attached = Some(at);
        if let Some(step) = draft.step(at) {
            for text in texts {
                step.message.add(&text);
            }
            let mut kinds: Vec<String> = (step.extra.get("attachments"))
                .and_then(|list| serde_json::from_str(list.get()).ok())
                .unwrap_or_default();
            kinds.push(kind.into_owned());
            if kinds.len() >= MOST_ATTACHED {
                self.attached = None;
            }
            step.extra.put("attachments", kinds);
        }
        Ok(())
    }
}

fn take_head(record: &Fields<'_>, draft: &mut Draft<'_>, track: Track) {
    let head = draft.head(track);
    if head.session.is_none() {
        head.session = record.owned("sessionId").or_else(|| record.owned("session_id"));
    }
    if head.version.is_none() {
        head.version = record.owned("version");
    }
    for (key, name) in [("cwd", "cwds"), ("gitBranch", "git_branches")] {
        let Some(value) = record.word(key) else { continue };
        let mut known: Vec<String> =
            head.agent.get(name).and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
        if known.len() < 20 && !known.contains(&value.clone().into_owned()) {
            known.push(value.into_owned());
            head.agent.put(name, known);
        }
    }
}

fn no_message(record: &Fields<'_>, draft: &mut Draft<'_>, source: &str) {
    let kind = record.text("type").unwrap_or_default();
    draft.report.partial("no-message", format!("{source}: a record of type `{kind}` has no message"), None);
}
