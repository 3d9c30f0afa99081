//! Sessions of Cline: a file of messages each (`SESSION.messages.json`), that of tasks of older releases
//! (`api_conversation_history.json`), and the events that a headless run prints.

use std::io;

use camino::Utf8Path;
use serde_json::value::RawValue;

use super::blocks;
use crate::agent::log::{self, Converter, Logs, whole};
use crate::atif::draft::{At, Draft, MAIN, Track};
use crate::atif::fields::{self, Fields};
use crate::atif::raw::Json;
use crate::atif::report::Run;
use crate::atif::step::{ObservationResult, Step, ToolCall};
use crate::atif::time;

pub struct Log;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Session,
    Task,
    /// What a session says of itself.
    Manifest,
    Printed,
}

fn kind(path: &Utf8Path, head: &str) -> Option<Kind> {
    let name = path.file_name().unwrap_or_default();
    let start = head.trim_start();
    let has = |word: &str| head.contains(word);
    if name == "api_conversation_history.json" && start.starts_with('[') {
        return Some(Kind::Task);
    }
    if name.ends_with(".messages.json") && start.starts_with('{') && has("\"messages\"") {
        return Some(Kind::Session);
    }
    if path.extension() == Some("json")
        && start.starts_with('{')
        && has("\"messages_path\"")
        && has("\"session_id\"")
    {
        return Some(Kind::Manifest);
    }
    let is_event = |line: &str| {
        Fields::parse(line).is_ok_and(|event| {
            event.is("type", "agent_event") && event.has("event")
                || event.is("type", "run_result") && event.has("finishReason")
        })
    };
    let is_printed = head.lines().filter(|line| line.starts_with('{')).take(32).any(is_event);
    (is_printed || matches!(name, "cline.txt" | "cline-cli.txt")).then_some(Kind::Printed)
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        kind(path, head).is_some()
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let files = log::by_kind(logs, kind);
        let has_own = files.iter().any(|(kind, _)| matches!(kind, Kind::Session | Kind::Task));
        let mut reader = Reader::default();
        for (kind, index) in files {
            let path = &logs.files()[index].path;
            match kind {
                Kind::Session => reader.session(logs, index, draft)?,
                Kind::Task => {
                    if let Some(text) = whole::text(logs, index, draft) {
                        let messages = list(&text, path, draft);
                        let name = path.parent().and_then(Utf8Path::file_name).map(str::to_owned);
                        let head = draft.head(MAIN);
                        head.session = head.session.take().or(name);
                        reader.messages(&messages, MAIN, draft, path.as_str())?;
                    }
                }
                Kind::Manifest => {
                    if let Some(text) = whole::text(logs, index, draft)
                        && let Ok(manifest) = Fields::parse(&text)
                    {
                        reader.manifest(&manifest, draft, path.as_str())?;
                    }
                }
                Kind::Printed => log::each_printed(logs, index, draft, |draft, event, line| {
                    reader.event(event, has_own, draft, &format!("{path}:{line}"))
                })?,
            }
        }
        draft.report.run = match (reader.run.take(), reader.ended) {
            (Some(run), _) => run,
            (None, Some(true)) => Run::Finished,
            (None, Some(false)) if draft.steps(MAIN) > 0 => Run::Interrupted,
            _ => Run::Unknown,
        };
        Ok(())
    }
}

/// Returns the elements of an array that may break off.
fn list<'a>(text: &'a str, path: &Utf8Path, draft: &mut Draft<'_>) -> Vec<&'a RawValue> {
    match serde_json::from_str::<Vec<&'a RawValue>>(text) {
        Ok(list) => list,
        Err(error) => {
            let at = Some((path.as_str(), error.line() as u64));
            draft.report.partial("unreadable-file", format!("it is no list of messages: {error}"), at);
            Vec::new()
        }
    }
}

#[derive(Default)]
struct Reader {
    run: Option<Run>,
    /// Whether the last message was an answer without calls.
    ended: Option<bool>,
    /// What was said in the place of the last answer.
    failed: Option<String>,
    /// The step that is printed.
    printed: Option<At>,
}

impl Reader {
    fn session(&mut self, logs: &dyn Logs, index: usize, draft: &mut Draft<'_>) -> io::Result<()> {
        let path = &logs.files()[index].path;
        let id = path.file_name().and_then(|name| name.strip_suffix(".messages.json")).unwrap_or_default();
        let parent = path.parent().and_then(Utf8Path::file_name).unwrap_or(id);
        // Those that were asked by a session are in its directory.
        let is_sub = parent != id
            && logs
                .files()
                .iter()
                .any(|file| file.path.file_name() == Some(format!("{parent}.messages.json").as_str()));
        let track = if is_sub { draft.sub(MAIN, id) } else { MAIN };
        whole::each_element(logs, index, "messages", draft, |draft, document, messages| {
            let head = draft.head(track);
            head.session =
                head.session.take().or_else(|| document.owned("sessionId")).or_else(|| Some(id.to_owned()));
            let origin = document.object("origin").unwrap_or_default();
            head.version = head.version.take().or_else(|| origin.owned("version"));
            head.agent.take(
                "system_prompt",
                document.get("systemPrompt").or_else(|| document.get("system_prompt")),
            );
            self.messages(messages, track, draft, path.as_str())
        })
    }

    fn messages(
        &mut self,
        messages: &[&RawValue],
        track: Track,
        draft: &mut Draft<'_>,
        path: &str,
    ) -> io::Result<()> {
        for message in messages {
            let Some(message) = Fields::of(message) else {
                draft.report.partial("unreadable-message", "a message is no object", Some((path, 0)));
                continue;
            };
            draft.report.count(&message.text("role").unwrap_or_default());
            if let Some(said) = failure(&message) {
                let mut step = Step::failure(when(&message).as_deref(), said.as_str());
                step.extra.put("src", path);
                draft.push(track, step)?;
                if track == MAIN {
                    self.failed = Some(said);
                }
                continue;
            }
            let calls = blocks::message(&message, track, draft, path)?;
            if track == MAIN {
                self.failed = None;
                self.ended = Some(calls == Some(0));
            }
        }
        Ok(())
    }

    fn manifest(&mut self, manifest: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        let head = draft.head(MAIN);
        head.model = head.model.take().or_else(|| manifest.owned("model"));
        for key in ["provider", "cwd", "source", "started_at", "ended_at", "exit_code"] {
            head.agent.take(key, manifest.get(key));
        }
        let reason = self.failed.take().unwrap_or_else(|| "the session is marked as failed".to_owned());
        match &*manifest.text("status").unwrap_or_default() {
            "completed" => self.run = Some(Run::Finished),
            "failed" => self.run = Some(Run::Failed(reason)),
            "cancelled" | "running" => self.run = Some(Run::Interrupted),
            _ => {}
        }
        // Messages are kept when an answer has come: before that, only this has what the user said.
        if let Some(prompt) = manifest.owned("prompt").filter(|_| draft.steps(MAIN) == 0) {
            let mut step = Step::user(manifest.owned("started_at").as_deref(), prompt);
            step.extra.put("src", source);
            draft.push(MAIN, step)?;
        }
        Ok(())
    }

    /// Reads an event that was printed; `beside` says that the conversation itself is read elsewhere.
    fn event(
        &mut self,
        event: &Fields<'_>,
        beside: bool,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        let kind = event.text("type").unwrap_or_default();
        draft.report.count(&kind);
        match &*kind {
            "run_result" => self.result(event, draft),
            "run_aborted" | "run_abort_requested" => self.run = Some(Run::Interrupted),
            "error" => {
                let said = event.owned("message").or_else(|| event.owned("error"));
                let said = said.unwrap_or_else(|| "no reason is given".to_owned());
                self.run = Some(Run::Failed(said.clone()));
                if !beside {
                    let mut step = Step::failure(event.owned("ts").as_deref(), said);
                    step.extra.put("src", source);
                    draft.push(MAIN, step)?;
                }
            }
            "agent_event" if !beside => {
                let inner = event.object("event").unwrap_or_default();
                return self.agent(&inner, event.owned("ts").as_deref(), draft, source);
            }
            _ => {}
        }
        Ok(())
    }

    fn result(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>) {
        match &*event.text("finishReason").unwrap_or_default() {
            "completed" => self.run = Some(Run::Finished),
            "aborted" => self.run = Some(Run::Interrupted),
            reason => {
                let said = event.owned("text").unwrap_or_else(|| reason.to_owned());
                self.run = Some(match self.run.take() {
                    Some(Run::Failed(known)) => Run::Failed(known),
                    _ => Run::Failed(said),
                });
            }
        }
        let usage = event.object("aggregateUsage").or_else(|| event.object("usage")).unwrap_or_default();
        draft.total(blocks::tokens(&usage));
        if let Some(cost) = usage.float("totalCost").filter(|cost| *cost > 0.0) {
            draft.cost = Some(cost);
        }
        let head = draft.head(MAIN);
        head.model = head.model.take().or_else(|| event.object("model").and_then(|model| model.owned("id")));
        head.totals.take("duration_ms", event.get("durationMs"));
    }

    /// Reads what the agent does while it is printed.
    fn agent(
        &mut self,
        event: &Fields<'_>,
        time: Option<&str>,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        let content = event.text("contentType").unwrap_or_default();
        match (&*event.text("type").unwrap_or_default(), &*content) {
            ("iteration_start", _) => self.printed = None,
            ("content_end", "text" | "reasoning") => {
                let at = self.step(time, draft, source)?;
                let said = event.text("text").or_else(|| event.text("reasoning")).unwrap_or_default();
                if let Some(step) = draft.step(at) {
                    if content == "text" { step.message.add(&said) } else { step.think(&said) }
                }
            }
            ("content_start", "tool") => {
                let at = self.step(time, draft, source)?;
                let id = event.text("toolCallId").unwrap_or_default();
                let name = event.text("toolName").unwrap_or_default();
                draft.call(at, ToolCall::new(&id, &name, Json::arguments(event.get("input"))))?;
            }
            ("content_end", "tool") => {
                let id = event.text("toolCallId").unwrap_or_default();
                let error = event.get("error");
                let said = error.or_else(|| event.get("output"));
                let said = said.map(|raw| fields::text(raw).unwrap_or_else(|| raw.get().into()));
                let mut result = ObservationResult::new(said.unwrap_or_default().as_ref());
                if error.is_some() {
                    result = result.failed();
                }
                draft.answer(MAIN, &id, result, time)?;
            }
            ("error", _) => {
                let said = event.object("error").and_then(|error| error.owned("message"));
                let said = said.unwrap_or_else(|| "no reason is given".to_owned());
                let mut step = Step::failure(time, said.as_str());
                step.extra.put("src", source);
                step.extra.take("error_class", event.get("errorClass"));
                draft.push(MAIN, step)?;
                self.run = Some(Run::Failed(said));
            }
            ("usage", _) => {
                if let Some(step) = self.printed.and_then(|at| draft.step(at)) {
                    step.usage = Some(blocks::tokens(event));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, time: Option<&str>, draft: &mut Draft<'_>, source: &str) -> io::Result<At> {
        if let Some(at) = self.printed {
            return Ok(at);
        }
        let mut step = Step::agent(time);
        step.extra.put("src", source);
        let at = draft.push(MAIN, step)?;
        self.printed = Some(at);
        Ok(at)
    }
}

/// Returns what the program says in the place of a model that did not answer.
fn failure(message: &Fields<'_>) -> Option<String> {
    message.object("metadata").filter(|metadata| metadata.is("displayRole", "error"))?;
    let said: Vec<String> = message.objects("content").iter().filter_map(|part| part.owned("text")).collect();
    Some(said.join("\n\n"))
}

/// Returns the time of a message.
pub fn when(message: &Fields<'_>) -> Option<String> {
    time::of_millis(i64::try_from(message.count("ts")?).ok()?)
}
