//! Events of the Antigravity SDK, one a line: steps, each of which is written again whenever something of it is new, and what tools
//! returned. One call of the model is several of those steps, up to the one that has its tokens. They have no times.

use std::collections::VecDeque;
use std::io;

use camino::Utf8Path;
use serde_json::value::RawValue;

use crate::agent::log::{self, Converter, Logs};
use crate::atif::draft::{At, Draft, MAIN};
use crate::atif::fields::{Fields, Odd};
use crate::atif::raw::Json;
use crate::atif::report::Run;
use crate::atif::step::{Content, ObservationResult, Source, Step, ToolCall, Usage};

pub struct Log;

/// How many steps of a document may still change.
const MOST_OPEN: usize = 64;

fn is_log(path: &Utf8Path, head: &str) -> bool {
    let is_event = |line: &str| {
        let Ok(event) = Fields::parse(line) else { return false };
        let value = event.object("value").unwrap_or_default();
        event.is("kind", "step") && value.has("step_index")
            || event.is("kind", "tool_result") && value.has("name")
    };
    path.file_name() == Some("antigravity-sdk-events.jsonl")
        || path.extension() == Some("jsonl") && head.lines().take(20).any(is_event)
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        is_log(path, head)
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let mut reader = Reader::default();
        for index in log::chosen(logs, is_log) {
            let name = &logs.files()[index].path;
            log::each_record(logs, index, draft, |draft, event, line| {
                let Some(value) = event.object("value") else {
                    draft.report.partial("no-value", "an event has no value", Some((name.as_str(), line)));
                    return Ok(());
                };
                let kind = event.text("kind").unwrap_or_default();
                draft.report.count(&kind);
                match &*kind {
                    "step" => reader.step(&value, draft, &format!("{name}:{line}")),
                    "tool_result" => reader.result(&value, draft),
                    unknown => {
                        draft.report.unknown(unknown);
                        draft.unread(MAIN, event.iter());
                        Ok(())
                    }
                }
            })?;
            reader.end(draft)?;
        }
        draft.report.run = match reader.failure {
            Some(reason) => Run::Failed(reason),
            None if reader.is_complete => Run::Finished,
            None if draft.steps(MAIN) == 0 => Run::Unknown,
            None => Run::Interrupted,
        };
        Ok(())
    }
}

#[derive(Default)]
struct Reader {
    /// The newest last.
    groups: VecDeque<Group>,
    /// The last one has no tokens yet.
    is_open: bool,
    calls: Vec<Call>,
    is_complete: bool,
    failure: Option<String>,
}

/// A step of the document, and the steps of the SDK of which it is made.
struct Group {
    at: At,
    pieces: Vec<Piece>,
}

#[derive(Default)]
struct Piece {
    key: String,
    content: String,
    thoughts: String,
}

/// A call that is not answered, or whose answer is only seen in its step.
struct Call {
    at: At,
    id: String,
    /// Tells it from others where it has no id.
    key: String,
    name: String,
    server: Option<String>,
    output: Option<Json>,
}

impl Reader {
    fn step(&mut self, value: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        let key = value.owned("id").unwrap_or_else(|| {
            let raw = |key: &str| value.get(key).map_or("", RawValue::get);
            format!("{}:{}:{}", raw("step_index"), raw("type"), raw("source"))
        });
        let calls = value.objects("tool_calls");
        let usage = value.object("usage_metadata");
        let is_models = value.is("source", "MODEL")
            || !calls.is_empty()
            || value.word("thinking").is_some()
            || value.truth("is_complete_response")
            || usage.is_some();
        let known = self.groups.iter().position(|group| group.pieces.iter().any(|piece| piece.key == key));
        let place = match known {
            Some(place) => place,
            None if is_models && self.is_open => {
                let last = self.groups.len() - 1;
                self.groups[last].pieces.push(Piece { key: key.clone(), ..Piece::default() });
                last
            }
            // It says nothing yet.
            None if !is_models && value.word("content").is_none() => return Ok(()),
            None => self.begin(value, draft, source, &key, is_models)?,
        };
        let at = self.groups[place].at;
        if let Some(piece) = self.groups[place].pieces.iter_mut().find(|piece| piece.key == key) {
            // Each is all that was said until now; nothing takes nothing away.
            for (text, now) in [(&mut piece.content, "content"), (&mut piece.thoughts, "thinking")] {
                if let Some(now) = value.word(now) {
                    *text = now.into_owned();
                }
            }
        }
        self.write(place, value, draft);
        for (number, call) in calls.iter().enumerate() {
            self.call(call, &format!("{key}:{number}"), at, draft)?;
        }
        if is_models {
            self.is_complete = value.truth("is_complete_response");
        }
        if let Some(usage) = usage {
            if let Some(step) = draft.step(at) {
                take_usage(step, &usage);
            }
            // Of an earlier call of the model it may come again.
            self.is_open &= place + 1 != self.groups.len();
        }
        Ok(())
    }

    fn begin(
        &mut self,
        value: &Fields<'_>,
        draft: &mut Draft<'_>,
        source: &str,
        key: &str,
        is_models: bool,
    ) -> io::Result<usize> {
        let mut step = match (is_models, value.is("source", "USER")) {
            (true, _) => Step::agent(None),
            (false, true) => Step::user(None, ""),
            (false, false) => Step::system(None, ""),
        };
        if is_models {
            step.model_name.clone_from(&draft.about.model);
        }
        step.extra.put("src", source);
        let at = draft.push(MAIN, step)?;
        let group = Group { at, pieces: vec![Piece { key: key.to_owned(), ..Piece::default() }] };
        if is_models || !self.is_open {
            self.groups.push_back(group);
        } else {
            // The call of the model goes on behind it.
            self.groups.insert(self.groups.len() - 1, group);
        }
        self.is_open |= is_models;
        if self.groups.len() > MOST_OPEN {
            self.groups.pop_front();
        }
        Ok(self.groups.iter().position(|group| group.at == at).unwrap_or_default())
    }

    /// Writes what all pieces of a step say by now.
    fn write(&mut self, place: usize, value: &Fields<'_>, draft: &mut Draft<'_>) {
        let group = &self.groups[place];
        let Some(step) = draft.step(group.at) else {
            draft.report.partial("late-piece", "something of a step came long after it", None);
            return;
        };
        step.message = Content::default();
        step.reasoning_content = None;
        for piece in &group.pieces {
            step.message.add(&piece.content);
            if step.source == Source::Agent {
                step.think(&piece.thoughts);
            }
        }
        let kinds = step.extra.get("types").and_then(|kinds| serde_json::from_str(kinds.get()).ok());
        let mut kinds: Vec<String> = kinds.unwrap_or_default();
        if let Some(kind) = value.owned("type").filter(|kind| !kinds.contains(kind)) {
            kinds.push(kind);
            step.extra.put("types", kinds);
        }
        for key in ["error", "error_message"] {
            step.extra.take(key, value.get(key));
            let said = value.owned(key).or_else(|| value.object(key)?.owned("message"));
            self.failure = said.or_else(|| self.failure.take());
        }
        if value.is("status", "DONE") && !value.has("error") && !value.has("error_message") {
            self.failure = None;
        }
    }

    fn call(&mut self, call: &Fields<'_>, key: &str, at: At, draft: &mut Draft<'_>) -> io::Result<()> {
        let (id, name) = (call.owned("id").unwrap_or_default(), call.owned("name").unwrap_or_default());
        let server = call.owned("server_name");
        let arguments = Json::arguments(call.get("args"));
        let output = call.get("output").map(Json::of);
        let is_same = |known: &Call| if id.is_empty() { known.key == key } else { known.id == id };
        if let Some(known) = self.calls.iter_mut().find(|known| is_same(known)) {
            known.output = output.or_else(|| known.output.take());
            if let Some(step) = draft.step(known.at)
                && let Some(call) = step.tool_calls.iter_mut().find(|call| call.tool_call_id == id)
                && arguments.get().len() > 2
            {
                call.arguments = arguments;
            }
            return Ok(());
        }
        let is_there =
            |step: &mut Step| step.tool_calls.iter().any(|call| !id.is_empty() && call.tool_call_id == id);
        if draft.step(at).is_some_and(is_there) {
            // It is answered already.
            return Ok(());
        }
        let shown = server.as_ref().map_or_else(|| name.clone(), |server| format!("mcp_{server}_{name}"));
        let at = draft.call(at, ToolCall::new(&id, &shown, arguments))?;
        self.calls.push(Call { at, id, key: key.to_owned(), name, server, output });
        Ok(())
    }

    fn result(&mut self, value: &Fields<'_>, draft: &mut Draft<'_>) -> io::Result<()> {
        let (id, name, server) = (value.owned("id"), value.owned("name"), value.owned("server_name"));
        let place = if let Some(id) = &id {
            self.calls.iter().position(|call| call.id == *id)
        } else {
            let mut same = (0..self.calls.len()).filter(|place| {
                let call = &self.calls[*place];
                Some(&call.name) == name.as_ref() && call.server == server
            });
            // Of several, nobody knows which.
            same.next().filter(|_| same.next().is_none())
        };
        let error = value.get("error");
        let said = error.or_else(|| value.get("result")).map(Json::of);
        let call = place.map(|place| self.calls.remove(place));
        let id = call.as_ref().map(|call| call.id.clone()).or(id).unwrap_or_default();
        answer(draft, call.map(|call| call.at), &id, said, error.is_some())
    }

    /// Takes answers that were only seen in their steps.
    fn end(&mut self, draft: &mut Draft<'_>) -> io::Result<()> {
        for call in std::mem::take(&mut self.calls) {
            if let Some(output) = call.output {
                answer(draft, Some(call.at), &call.id, Some(output), false)?;
            }
        }
        Ok(())
    }
}

fn answer(
    draft: &mut Draft<'_>,
    at: Option<At>,
    id: &str,
    said: Option<Json>,
    failed: bool,
) -> io::Result<()> {
    let text =
        said.map(|said| serde_json::from_str::<String>(said.get()).unwrap_or_else(|_| said.get().to_owned()));
    let mut result = ObservationResult::new(text.unwrap_or_default());
    if failed {
        result = result.failed();
    }
    match at.filter(|_| id.is_empty()).and_then(|at| draft.step(at)) {
        Some(step) => {
            step.observe(result);
            Ok(())
        }
        None => draft.answer(MAIN, id, result, None).map(|_| ()),
    }
}

/// Takes the tokens of a call: those from the cache are in the prompt, thoughts are beside the answer.
fn take_usage(step: &mut Step, usage: &Fields<'_>) {
    let odd = Odd::default();
    let count = |key: &'static str| usage.tokens(key, &odd).unwrap_or(0);
    let cached = count("cached_content_token_count");
    step.usage = Some(Usage {
        input: count("prompt_token_count").saturating_sub(cached),
        cache_read: cached,
        cache_write: 0,
        output: count("candidates_token_count").saturating_add(count("thoughts_token_count")),
        cost: None,
        odd: odd.name(),
    });
    let known = ["prompt_token_count", "candidates_token_count", "cached_content_token_count"];
    let extra = &mut step.metrics.get_or_insert_default().extra;
    for (key, value) in usage.iter().filter(|(key, _)| !known.contains(key)) {
        extra.take(key, Some(value));
    }
}
