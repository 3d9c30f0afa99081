//! The sessions of Kimi CLI: a file of events (`wire.jsonl`), beside it the messages that the model gets (`context.jsonl`), and what a
//! headless run prints.

use std::collections::HashSet;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::agent::chat::{self, Beside};
use crate::agent::log::{self, Converter, Logs};
use crate::atif::draft::{At, Draft, MAIN, Track};
use crate::atif::fields::{self, Fields};
use crate::atif::lines::{Line, Lines};
use crate::atif::raw::{Extra, Json};
use crate::atif::report::Run;
use crate::atif::step::{Content, ObservationResult, Step, Usage};
use crate::atif::time;

pub struct Log;

/// What a file is, from the best to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Wire,
    Context,
    Printed,
}

/// Events of a session, as far as they tell whose they are.
const EVENTS: &[&str] = &["TurnBegin", "StepBegin", "ContentPart", "ToolCall", "ToolResult", "StatusUpdate"];

fn kind(path: &Utf8Path, head: &str) -> Option<Kind> {
    let is_event = |event: Option<Fields<'_>>| {
        event.is_some_and(|event| {
            event.has("payload") && event.text("type").is_some_and(|kind| EVENTS.contains(&&*kind))
        })
    };
    for line in head.lines().filter(|line| line.starts_with('{')).take(16) {
        let Ok(record) = Fields::parse(line) else { continue };
        if record.has("timestamp") && is_event(record.object("message")) {
            return Some(Kind::Wire);
        }
        if record.has("jsonrpc") && is_event(record.object("params")) {
            return Some(Kind::Printed);
        }
        let role = record.text("role").unwrap_or_default();
        if matches!(&*role, "_system_prompt" | "_checkpoint" | "_usage") {
            return Some(Kind::Context);
        }
    }
    match path.file_name() {
        Some("kimi-cli.txt") => Some(Kind::Printed),
        _ => None,
    }
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        kind(path, head).is_some()
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let mut files: Vec<(String, Kind, usize)> = Vec::new();
        for index in 0..logs.files().len() {
            let head = logs.head(index);
            if let Some(kind) = kind(&logs.files()[index].path, &head) {
                files.push((first_time(&head), kind, index));
            }
        }
        // A session's events say all that its messages say, but for the prompt of the system; older messages of it have other names.
        let wired: HashSet<&Utf8Path> = files
            .iter()
            .filter(|(_, kind, _)| *kind == Kind::Wire)
            .filter_map(|(_, _, index)| logs.files()[*index].path.parent())
            .collect();
        let best = files.iter().map(|(_, kind, _)| *kind).min();
        let mut reader = Reader::new(logs);
        files.sort();
        for (_, kind, index) in files {
            let path = &logs.files()[index].path;
            let directory = path.parent().unwrap_or(Utf8Path::new(""));
            let is_said_elsewhere = match kind {
                Kind::Wire => false,
                Kind::Context => wired.contains(directory),
                Kind::Printed => best != Some(Kind::Printed),
            };
            let sub = of_subagent(directory).filter(|(session, _)| wired.contains(session));
            let track = match sub {
                // The one that asked has its events as well.
                Some((_, id)) if reader.told.contains(id) => continue,
                Some((_, id)) if !is_said_elsewhere => draft.sub(MAIN, id),
                _ => MAIN,
            };
            if !is_said_elsewhere {
                reader.begin(path, kind, track, draft)?;
            }
            let read = |draft: &mut Draft<'_>, record: &Fields<'_>, line: u64| {
                if is_said_elsewhere {
                    reader.outcome(record);
                    return Ok(());
                }
                reader.record(record, draft, &format!("{path}:{line}"))
            };
            if kind == Kind::Printed {
                log::each_printed(logs, index, draft, read)?;
            } else if !is_said_elsewhere {
                log::each_record(logs, index, draft, read)?;
            }
        }
        draft.report.run = match (reader.run.take(), reader.failure.take()) {
            (Some(run), _) => run,
            (None, _) if draft.steps(MAIN) == 0 => Run::Unknown,
            (None, Some(reason)) => Run::Failed(reason),
            (None, None) => match reader.ended {
                Some(true) => Run::Finished,
                Some(false) => Run::Interrupted,
                None => Run::Unknown,
            },
        };
        Ok(())
    }
}

/// Returns the directory of the session and the id of an agent that was asked in it, where this is that agent's directory.
fn of_subagent(directory: &Utf8Path) -> Option<(&Utf8Path, &str)> {
    let parent = directory.parent().filter(|parent| parent.file_name() == Some("subagents"))?;
    Some((parent.parent()?, directory.file_name()?))
}

/// The first time in a text, for the order of sessions.
fn first_time(head: &str) -> String {
    let said = head.lines().find_map(|line| Fields::parse(line).ok()?.float("timestamp"));
    said.and_then(time::of_seconds).unwrap_or_default()
}

struct Reader<'a> {
    logs: &'a dyn Logs,
    /// Where the file is that is read.
    directory: Utf8PathBuf,
    /// Whose file it is.
    track: Track,
    /// Agents that were asked and whose events were in the file of the one that asked.
    told: HashSet<String>,
    /// The step of each conversation that is read.
    steps: Vec<(Track, At)>,
    /// Steps that began and have no answer of the model yet, with their times and places.
    begun: Vec<(Track, Option<String>, String)>,
    /// The arguments of the last call, which come in pieces.
    arguments: Option<(Track, String)>,
    /// Whether the last step asks for a tool, so that another has to follow.
    asks: bool,
    /// Whether the last turn came to its end; `None` where the log cannot tell.
    ended: Option<bool>,
    /// Why the last step was tried again.
    retry: Option<String>,
    /// Why the last turn has no answer.
    failure: Option<String>,
    run: Option<Run>,
}

impl<'a> Reader<'a> {
    fn new(logs: &'a dyn Logs) -> Self {
        Reader {
            logs,
            directory: Utf8PathBuf::new(),
            track: MAIN,
            told: HashSet::new(),
            steps: Vec::new(),
            begun: Vec::new(),
            arguments: None,
            asks: false,
            ended: None,
            retry: None,
            failure: None,
            run: None,
        }
    }

    fn begin(&mut self, path: &Utf8Path, kind: Kind, track: Track, draft: &mut Draft<'_>) -> io::Result<()> {
        self.track = track;
        path.parent().unwrap_or(Utf8Path::new("")).clone_into(&mut self.directory);
        self.steps.clear();
        self.begun.clear();
        self.arguments = None;
        if kind != Kind::Printed && track == MAIN {
            let head = draft.head(MAIN);
            head.session = head.session.take().or_else(|| self.directory.file_name().map(str::to_owned));
        }
        if kind == Kind::Wire {
            draft.compacted(track, 0);
            let directory = self.directory.clone();
            self.prompt(&directory, track, draft)?;
        }
        Ok(())
    }

    /// Adds the prompt of the system, which only the messages beside the events have, as the first of them.
    fn prompt(&self, directory: &Utf8Path, track: Track, draft: &mut Draft<'_>) -> io::Result<()> {
        let path = directory.join("context.jsonl");
        let Some(index) = self.logs.files().iter().position(|file| file.path == path) else { return Ok(()) };
        // A file that cannot be read is missed by nobody: its messages are events.
        let Ok(file) = self.logs.open(index) else { return Ok(()) };
        let mut lines = Lines::new(file);
        let Ok(Some(Line::Text { text, .. })) = lines.next() else { return Ok(()) };
        match Fields::parse(&text) {
            Ok(first) if first.is("role", "_system_prompt") => {
                system_prompt(track, &first, draft, &format!("{path}:1"))
            }
            _ => Ok(()),
        }
    }

    fn record(&mut self, record: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        let time = record.float("timestamp").and_then(time::of_seconds);
        let beside = Beside { time: time.as_deref(), source };
        if let Some(event) = record.object("message").or_else(|| record.object("params")) {
            return self.event(&event, self.track, draft, beside);
        }
        if record.has("jsonrpc") {
            self.outcome(record);
            return Ok(());
        }
        if let Some(role) = record.text("role") {
            draft.report.count(&role);
            return self.message(record, &role, self.track, draft, beside);
        }
        if let Some(version) = record.get("protocol_version") {
            draft.head(self.track).agent.take("protocol_version", Some(version));
            return Ok(());
        }
        draft.report.unknown(&record.text("type").unwrap_or_default());
        draft.unread(self.track, record.iter());
        Ok(())
    }

    /// Reads the answer to a prompt that was given to the program.
    fn outcome(&mut self, record: &Fields<'_>) {
        let said = record.object("result").and_then(|result| result.owned("status"));
        match said.as_deref() {
            Some("finished") => self.run = Some(Run::Finished),
            Some("cancelled") => self.run = Some(Run::Interrupted),
            Some(other) => self.run = Some(Run::Failed(other.to_owned())),
            None => {}
        }
        if let Some(error) = record.object("error") {
            let reason = error.owned("message").unwrap_or_else(|| "no reason is given".to_owned());
            self.run = Some(Run::Failed(reason));
        }
    }

    /// Reads one of the messages that the model gets, or of those that are printed.
    fn message(
        &mut self,
        record: &Fields<'_>,
        role: &str,
        track: Track,
        draft: &mut Draft<'_>,
        beside: Beside<'_>,
    ) -> io::Result<()> {
        match role {
            "_checkpoint" | "_usage" => return Ok(()),
            "_system_prompt" => return system_prompt(track, record, draft, beside.source),
            "assistant" => {}
            _ => {
                if chat::message(draft, track, record, beside)?.is_none() {
                    draft.report.unknown(role);
                    draft.unread(track, record.iter());
                }
                return Ok(());
            }
        }
        let at = self.step(track, draft, beside)?;
        if let (Some(text), Some(step)) = (record.text("content"), draft.step(at)) {
            step.message.add(&text);
        }
        for part in record.objects("content") {
            part_of(&part, at, false, draft)?;
        }
        for call in record.objects("tool_calls") {
            draft.call(at, chat::tool_call(&call))?;
        }
        Ok(())
    }

    /// Says that the model is asked. There is a step where it answers.
    fn ask(&mut self, track: Track, beside: Beside<'_>) {
        self.steps.retain(|(known, _)| *known != track);
        self.begun.retain(|(known, ..)| *known != track);
        self.begun.push((track, beside.time.map(str::to_owned), beside.source.to_owned()));
    }

    /// Begins a step.
    fn step(&mut self, track: Track, draft: &mut Draft<'_>, beside: Beside<'_>) -> io::Result<At> {
        let mut step = Step::agent(beside.time);
        step.extra.put("src", beside.source);
        let at = draft.push(track, step)?;
        self.steps.retain(|(known, _)| *known != track);
        self.steps.push((track, at));
        self.arguments = None;
        Ok(at)
    }

    /// Returns the step that is read; a new one where none is.
    fn current(&mut self, track: Track, draft: &mut Draft<'_>, beside: Beside<'_>) -> io::Result<At> {
        match self.steps.iter().find(|(known, _)| *known == track) {
            Some((_, at)) => Ok(*at),
            None => match self.begun.iter().position(|(known, ..)| *known == track) {
                Some(place) => {
                    let (_, time, source) = self.begun.swap_remove(place);
                    self.step(track, draft, Beside { time: time.as_deref(), source: &source })
                }
                None => self.step(track, draft, beside),
            },
        }
    }

    fn event(
        &mut self,
        event: &Fields<'_>,
        track: Track,
        draft: &mut Draft<'_>,
        beside: Beside<'_>,
    ) -> io::Result<()> {
        let kind = event.text("type").unwrap_or_default();
        let payload = event.object("payload").unwrap_or_default();
        draft.report.count(&kind);
        match &*kind {
            "TurnBegin" | "SteerInput" => {
                self.steps.retain(|(known, _)| *known != track);
                self.begun.retain(|(known, ..)| *known != track);
                if track == MAIN {
                    (self.ended, self.asks, self.failure) = (Some(false), false, None);
                }
                let said = chat::content(draft, payload.get("user_input"))?;
                let mut step = Step::user(beside.time, said);
                step.extra.put("src", beside.source);
                draft.push(track, step)?;
            }
            // A turn that somebody stopped, or that had all its steps, ends as well.
            "TurnEnd" if track == MAIN => {
                self.ended = Some(!self.asks && !self.begun.iter().any(|(known, ..)| *known == MAIN));
            }
            "StepBegin" => {
                self.ask(track, beside);
                if track == MAIN {
                    (self.asks, self.retry) = (false, None);
                }
            }
            "StepInterrupted" => self.interrupted(track, draft, beside)?,
            "ContentPart" => {
                let at = self.current(track, draft, beside)?;
                part_of(&payload, at, true, draft)?;
            }
            "ToolCall" => {
                let at = self.current(track, draft, beside)?;
                let call = chat::tool_call(&payload);
                let said = payload.object("function").and_then(|function| function.owned("arguments"));
                self.arguments = Some((track, said.unwrap_or_default()));
                self.asks |= track == MAIN;
                draft.call(at, call)?;
            }
            "ToolCallPart" => self.more_arguments(track, &payload, draft),
            "ToolResult" => result(track, &payload, draft, beside)?,
            "StatusUpdate" => self.usage(track, &payload, draft, beside)?,
            "CompactionBegin" => draft.compacted(track, 1),
            "SubagentEvent" => return self.subagent(track, &payload, draft, beside),
            "StepRetry" => {
                aside(track, &kind, &payload, draft, beside)?;
                let words = ["error_type", "status_code"].map(|key| payload.get(key));
                let words: Vec<&str> =
                    words.iter().flatten().map(|raw| raw.get().trim_matches('"')).collect();
                if track == MAIN {
                    self.retry = Some(words.join(" "));
                }
                self.ask(track, beside);
            }
            "Notification" | "PlanDisplay" | "BtwBegin" | "BtwEnd" => {
                aside(track, &kind, &payload, draft, beside)?;
            }
            "TurnEnd"
            | "CompactionEnd"
            | "HookTriggered"
            | "HookResolved"
            | "MCPLoadingBegin"
            | "MCPLoadingEnd"
            | "ApprovalRequest"
            | "ApprovalResponse"
            | "ApprovalRequestResolved"
            | "QuestionRequest"
            | "QuestionResponse"
            | "HookRequest"
            | "ToolCallRequest" => {}
            unknown => {
                draft.report.unknown(unknown);
                draft.unread(track, event.iter());
            }
        }
        Ok(())
    }

    /// Adds to the arguments of the last call.
    fn more_arguments(&mut self, track: Track, payload: &Fields<'_>, draft: &mut Draft<'_>) {
        let Some((_, said)) = self.arguments.as_mut().filter(|(known, _)| *known == track) else { return };
        said.push_str(&payload.text("arguments_part").unwrap_or_default());
        let arguments = Json::arguments_in(said);
        let at = self.steps.iter().find(|(known, _)| *known == track).map(|(_, at)| *at);
        let step = at.and_then(|at| draft.step(at));
        if let Some(call) = step.and_then(|step| step.tool_calls.last_mut()) {
            call.arguments = arguments;
        }
    }

    /// Reads that a step has no answer, or not all of it, for the service failed: a log does not say how.
    fn interrupted(&mut self, track: Track, draft: &mut Draft<'_>, beside: Beside<'_>) -> io::Result<()> {
        let begun = self.begun.len();
        self.begun.retain(|(known, ..)| *known != track);
        if track == MAIN {
            let unsaid = || "a step was interrupted: the log does not say why".to_owned();
            self.failure = Some(self.retry.take().unwrap_or_else(unsaid));
        }
        let at = self.steps.iter().find(|(known, _)| *known == track).map(|(_, at)| *at);
        if let Some(step) = at.and_then(|at| draft.step(at)) {
            step.extra.put("interrupted", true);
        }
        if self.begun.len() == begun {
            return Ok(());
        }
        let mut step = Step::failure(beside.time, Content::default());
        step.extra.put("src", beside.source);
        step.extra.put("kind", "StepInterrupted");
        draft.push(track, step).map(|_| ())
    }

    fn usage(
        &mut self,
        track: Track,
        payload: &Fields<'_>,
        draft: &mut Draft<'_>,
        beside: Beside<'_>,
    ) -> io::Result<()> {
        let Some(said) = payload.object("token_usage") else { return Ok(()) };
        let at = self.current(track, draft, beside)?;
        let Some(step) = draft.step(at) else { return Ok(()) };
        let count = |key: &str| said.count(key).unwrap_or(0);
        step.usage = Some(Usage {
            input: count("input_other"),
            cache_read: count("input_cache_read"),
            cache_write: count("input_cache_creation"),
            output: count("output"),
            cost: None,
        });
        let metrics = step.metrics.get_or_insert_default();
        for (key, value) in said.iter() {
            metrics.extra.take(key, Some(value));
        }
        metrics.extra.take("context_tokens", payload.get("context_tokens"));
        step.extra.take("message_id", payload.get("message_id"));
        Ok(())
    }

    /// Reads an event of an agent that was asked by a call.
    fn subagent(
        &mut self,
        parent: Track,
        payload: &Fields<'_>,
        draft: &mut Draft<'_>,
        beside: Beside<'_>,
    ) -> io::Result<()> {
        let keys = ["parent_tool_call_id", "task_tool_call_id", "agent_id"];
        let Some(id) = keys.iter().find_map(|key| payload.owned(key)) else {
            draft.report.unknown("SubagentEvent");
            draft.unread(parent, payload.iter());
            return Ok(());
        };
        let track = draft.sub(parent, &id);
        if let Some(agent) = payload.owned("agent_id")
            && self.told.insert(agent.clone())
        {
            self.prompt(&self.directory.join("subagents").join(agent), track, draft)?;
        }
        if let Some(name) = payload.owned("subagent_type") {
            draft.name(track, &name);
        }
        match payload.object("event") {
            // Of agents that were asked by this one, only their own are told.
            Some(event) if !event.is("type", "SubagentEvent") => self.event(&event, track, draft, beside),
            _ => Ok(()),
        }
    }
}

fn system_prompt(track: Track, record: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
    let mut step = Step::system(None, record.text("content").unwrap_or_default().as_ref());
    step.extra.put("src", source);
    draft.push(track, step).map(|_| ())
}

/// Puts an answer to its call.
fn result(track: Track, payload: &Fields<'_>, draft: &mut Draft<'_>, beside: Beside<'_>) -> io::Result<()> {
    let id = payload.text("tool_call_id").unwrap_or_default();
    let said = payload.object("return_value").or_else(|| payload.object("result")).unwrap_or_default();
    let mut result = ObservationResult::new(chat::content(draft, said.get("output"))?);
    // What the model reads beside the output.
    for key in ["message", "brief", "extras"] {
        result.extra.take(key, said.get(key).filter(|value| value.get() != "\"\""));
    }
    if let Some(time) = beside.time {
        result.extra.put("timestamp", time);
    }
    if said.truth("is_error") {
        result = result.failed();
    }
    let at = draft.answer(track, &id, result, beside.time)?;
    if draft.find_sub(&id).is_some() {
        draft.refer(at, &id, &id);
    }
    Ok(())
}

/// Adds a part of what the model said.
fn part_of(part: &Fields<'_>, at: At, goes_on: bool, draft: &mut Draft<'_>) -> io::Result<()> {
    let url = ["image_url", "audio_url", "video_url"]
        .iter()
        .find_map(|key| part.object(key).and_then(|inner| inner.owned("url")));
    let picture = match url {
        Some(url) => draft.picture_of_url(&url)?,
        None => None,
    };
    let Some(step) = draft.step(at) else { return Ok(()) };
    match (&*part.text("type").unwrap_or_default(), picture) {
        ("text", _) if goes_on && step.tool_calls.is_empty() => {
            step.message.go_on(&part.text("text").unwrap_or_default());
        }
        ("text", _) => step.message.add(&part.text("text").unwrap_or_default()),
        ("think", _) if goes_on => step.think_on(&part.text("think").unwrap_or_default()),
        ("think", _) => step.think(&part.text("think").unwrap_or_default()),
        (_, Some(picture)) => step.message.add_part(picture),
        (_, None) => {
            let mut other = Extra::default();
            for (key, value) in part.iter() {
                other.set(key, Json::of(value));
            }
            step.extra.nest("part", &other);
        }
    }
    Ok(())
}

/// Adds what the program itself says.
fn aside(
    track: Track,
    kind: &str,
    payload: &Fields<'_>,
    draft: &mut Draft<'_>,
    beside: Beside<'_>,
) -> io::Result<()> {
    let keys = ["body", "content", "question", "response", "error", "error_type"];
    let said = keys.iter().find_map(|key| payload.get(key)).and_then(fields::text).unwrap_or_default();
    let mut step = Step::system(beside.time, said.as_ref());
    step.extra.put("src", beside.source);
    step.extra.put("kind", kind);
    for (key, value) in payload.iter() {
        step.extra.take(key, Some(value));
    }
    draft.push(track, step).map(|_| ())
}
