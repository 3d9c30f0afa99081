//! The sessions of Kimi CLI: a file of events (`wire.jsonl`), beside it the messages that the model gets (`context.jsonl`), and what a
//! headless run prints.

use std::collections::HashSet;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::agent::chat::{self, Beside};
use crate::agent::log::{self, Converter, LogFile, Logs};
use crate::atif::draft::{At, Draft, MAIN, Track};
use crate::atif::fields::{Fields, Odd};
use crate::atif::raw::Json;
use crate::atif::report::Run;
use crate::atif::step::{Content, Step, Usage};
use crate::atif::time;

mod context;
mod parts;

use context::Context;
use parts::{aside, part_of, result, system_prompt};

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
        // A session's events say all that its messages say, but for what the program puts among these; older messages of it have other
        // names.
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
                // What came after the last answer.
                let tracks: Vec<Track> = reader.contexts.iter().map(|(track, _)| *track).collect();
                for track in tracks {
                    reader.put_in(track, draft)?;
                }
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
    /// Agents that work on, whose own files are read.
    referred: HashSet<String>,
    /// What the model got in each conversation, read as far as its answers.
    contexts: Vec<(Track, Context<'a>)>,
    /// What the events say that it was asked, and its messages do not yet.
    asked: Vec<(Track, String)>,
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
            referred: HashSet::new(),
            contexts: Vec::new(),
            asked: Vec::new(),
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
        self.contexts.clear();
        self.asked.clear();
        self.arguments = None;
        if kind != Kind::Printed && track == MAIN {
            let head = draft.head(MAIN);
            head.session = head.session.take().or_else(|| self.directory.file_name().map(str::to_owned));
        }
        if kind == Kind::Wire {
            draft.compacted(track, 0);
            let directory = self.directory.clone();
            self.beside(&directory, track, draft)?;
        }
        Ok(())
    }

    /// Opens the messages beside the events of a conversation, which begins with the prompt of the system.
    fn beside(&mut self, directory: &Utf8Path, track: Track, draft: &mut Draft<'_>) -> io::Result<()> {
        if let Some((said, source)) = context::prompt(self.logs, directory) {
            system_prompt(track, &said, draft, &source)?;
        }
        self.contexts.retain(|(known, _)| *known != track);
        self.contexts.extend(Context::open(self.logs, directory).map(|context| (track, context)));
        Ok(())
    }

    /// Adds what the program put among the messages before an answer, as for the model a user would.
    fn put_in(&mut self, track: Track, draft: &mut Draft<'_>) -> io::Result<()> {
        let Some((_, context)) = self.contexts.iter_mut().find(|(known, _)| *known == track) else {
            return Ok(());
        };
        let asked = &mut self.asked;
        context.up_to_the_answer(|message, source| {
            let words = context::words(message.get("content"));
            if let Some(place) = asked.iter().position(|(of, known)| *of == track && *known == words) {
                asked.swap_remove(place);
                return Ok(());
            }
            let said = chat::content(draft, message.get("content"))?;
            let mut step = Step::system(None, said);
            step.extra.put("src", source);
            step.extra.put("role", "user");
            draft.push(track, step).map(|_| ())
        })
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
            "_system_prompt" => {
                let said = record.text("content").unwrap_or_default();
                return system_prompt(track, &said, draft, beside.source);
            }
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
        if let Some((_, at)) = self.steps.iter().find(|(known, _)| *known == track) {
            return Ok(*at);
        }
        self.put_in(track, draft)?;
        match self.begun.iter().position(|(known, ..)| *known == track) {
            Some(place) => {
                let (_, time, source) = self.begun.swap_remove(place);
                self.step(track, draft, Beside { time: time.as_deref(), source: &source })
            }
            None => self.step(track, draft, beside),
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
                if self.contexts.iter().any(|(known, _)| *known == track) {
                    self.asked.push((track, context::words(payload.get("user_input"))));
                }
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
            "ToolResult" => {
                let at = result(track, &payload, draft, beside)?;
                self.in_background(&payload, at, draft);
            }
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

    /// Refers to an agent that works on while the one that asked goes on: no event of it is told, but its file is there.
    fn in_background(&mut self, payload: &Fields<'_>, at: At, draft: &mut Draft<'_>) {
        let Some(said) = payload.object("return_value").and_then(|said| said.owned("output")) else { return };
        let Some(agent) = said.lines().find_map(|line| line.strip_prefix("agent_id: ")) else { return };
        let is_there = |file: &LogFile| {
            let of = file.path.parent().and_then(of_subagent);
            file.path.file_name() == Some("wire.jsonl") && of == Some((&self.directory, agent))
        };
        if !self.told.contains(agent)
            && self.logs.files().iter().any(is_there)
            && self.referred.insert(agent.to_owned())
        {
            draft.refer(at, &payload.text("tool_call_id").unwrap_or_default(), agent);
        }
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
        let odd = Odd::default();
        let count = |key: &'static str| said.tokens(key, &odd).unwrap_or(0);
        step.usage = Some(Usage {
            input: count("input_other"),
            cache_read: count("input_cache_read"),
            cache_write: count("input_cache_creation"),
            output: count("output"),
            cost: None,
            odd: odd.name(),
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
            self.beside(&self.directory.join("subagents").join(agent), track, draft)?;
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
