//! What a headless run of the Cursor CLI prints: its sessions are in a database.

use std::io;

use camino::Utf8Path;

use crate::agent::log::{self, Converter, Logs};
use crate::atif::draft::{At, Draft, MAIN};
use crate::atif::fields::{self, Fields, Odd};
use crate::atif::raw::Json;
use crate::atif::report::Run;
use crate::atif::step::{ObservationResult, Step, ToolCall, Usage};
use crate::atif::time;

pub struct Log;

/// Words under which a tool says that it did not do what it was asked.
const FAILURES: &[&str] = &["error", "failure", "permissionDenied", "rejected", "spawnError", "timeout"];

/// How much is kept of what is printed beside the stream, in bytes.
const MOST_BESIDE: usize = 64 << 10;

fn is_log(path: &Utf8Path, head: &str) -> bool {
    let is_own = |line: &str| {
        let Ok(event) = Fields::parse(line) else { return false };
        match &*event.text("type").unwrap_or_default() {
            // Others name their tools there.
            "system" => event.is("subtype", "init") && event.has("apiKeySource") && !event.has("tools"),
            "tool_call" => event.has("call_id") && event.has("tool_call"),
            "thinking" => {
                event.has("session_id") && (event.is("subtype", "delta") || event.is("subtype", "completed"))
            }
            _ => false,
        }
    };
    path.file_name() == Some("cursor-cli.txt")
        || head.lines().filter(|line| line.starts_with('{')).any(is_own)
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        is_log(path, head)
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let mut reader = Reader::default();
        for index in log::chosen(logs, is_log) {
            let name = &logs.files()[index].path;
            log::each_line(logs, index, draft, |draft, text, line, last| {
                match Fields::parse(text) {
                    Ok(event) => reader.event(&event, draft, &format!("{name}:{line}"))?,
                    Err(_) if !text.starts_with('{') => reader.beside(text),
                    Err(_) => {
                        let code = if last { "truncated-line" } else { "unreadable-line" };
                        draft.report.partial(
                            code,
                            "it is no event of the stream",
                            Some((name.as_str(), line)),
                        );
                    }
                }
                Ok(())
            })?;
            reader.leftover(draft)?;
        }
        if !reader.printed.is_empty() {
            draft.head(MAIN).extra.put("printed", reader.printed.join("\n"));
        }
        draft.report.run = reader.outcome(draft);
        Ok(())
    }
}

#[derive(Default)]
struct Reader {
    /// What the model thought since its last word.
    thoughts: String,
    thoughts_time: Option<String>,
    /// The step that is read, where its call of the model has no name.
    nameless: Option<At>,
    /// What was said in pieces since it was last said as a whole.
    pieces: Option<(At, String)>,
    result: Option<Run>,
    /// Lines that are no events.
    printed: Vec<String>,
    printed_bytes: usize,
    /// The last line was one of those.
    ends_beside: bool,
}

impl Reader {
    fn beside(&mut self, text: &str) {
        self.ends_beside = true;
        self.printed_bytes += text.len();
        if self.printed_bytes <= MOST_BESIDE {
            self.printed.push(text.to_owned());
        }
    }

    fn outcome(&mut self, draft: &Draft<'_>) -> Run {
        if let Some(run) = self.result.take() {
            return run;
        }
        // A run that fails prints why, and no result.
        let said =
            self.printed.last().filter(|said| self.ends_beside && said.to_lowercase().contains("error"));
        match said {
            Some(said) => Run::Failed(said.clone()),
            None if draft.steps(MAIN) == 0 => Run::Unknown,
            None => Run::Interrupted,
        }
    }

    fn event(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        self.ends_beside = false;
        let kind = event.text("type").unwrap_or_default();
        draft.report.count(&kind);
        let head = draft.head(MAIN);
        head.session = head.session.take().or_else(|| event.owned("session_id"));
        match &*kind {
            "system" => take_head(event, draft),
            "user" => return self.user(event, draft, source),
            "assistant" => return self.assistant(event, draft, source),
            "thinking" => {
                self.thoughts.push_str(&event.text("text").unwrap_or_default());
                self.thoughts_time = self.thoughts_time.take().or_else(|| when(event));
            }
            "tool_call" => return self.tool_call(event, draft, source),
            "interaction_query" => query(event, draft),
            "result" => self.result(event, draft),
            unknown => {
                draft.report.unknown(unknown);
                draft.unread(MAIN, event.iter());
            }
        }
        Ok(())
    }

    fn user(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        self.leftover(draft)?;
        (self.nameless, self.pieces) = (None, None);
        let mut step = Step::user(when(event).as_deref(), "");
        for text in texts(event) {
            step.message.add(&text);
        }
        step.extra.put("src", source);
        draft.push(MAIN, step).map(|_| ())
    }

    /// Returns the step of a call of the model, by its name.
    fn step(
        &mut self,
        event: &Fields<'_>,
        draft: &mut Draft<'_>,
        source: &str,
        goes_on: bool,
    ) -> io::Result<At> {
        let new = |about: &Option<String>| {
            let mut step = Step::agent(when(event).as_deref());
            step.model_name.clone_from(about);
            step.extra.put("src", source);
            step
        };
        let model = draft.head(MAIN).model.clone();
        let goes_on = self.nameless.filter(|_| goes_on && self.thoughts.trim().is_empty());
        let at = if let Some(id) = event.word("model_call_id") {
            self.nameless = None;
            draft.keyed(MAIN, &id, || new(&model))?
        } else if let Some(at) = goes_on {
            at
        } else {
            let at = draft.push(MAIN, new(&model))?;
            self.nameless = Some(at);
            at
        };
        self.thoughts_time = None;
        if let Some(step) = draft.step(at) {
            step.think(std::mem::take(&mut self.thoughts).trim());
        }
        Ok(at)
    }

    fn assistant(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        let texts = texts(event);
        let is_piece = event.has("timestamp_ms") && !event.has("model_call_id");
        let whole = texts.concat();
        if is_piece {
            let known = self.pieces.take().filter(|_| self.thoughts.is_empty());
            let (at, said) = match known {
                Some((at, said)) => (at, said + &whole),
                None => (self.step(event, draft, source, false)?, whole),
            };
            if let Some(step) = draft.step(at) {
                step.message = said.as_str().into();
            }
            self.pieces = Some((at, said));
            return Ok(());
        }
        // What was said in pieces is said again as a whole.
        if let Some((at, said)) = self.pieces.take()
            && said == whole
        {
            self.nameless = Some(at);
            return Ok(());
        }
        let at = self.step(event, draft, source, false)?;
        if let Some(step) = draft.step(at) {
            for text in texts {
                step.message.add(&text);
            }
        }
        Ok(())
    }

    fn tool_call(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        self.pieces = None;
        let id = event.text("call_id").unwrap_or_default();
        let is_end = event.is("subtype", "completed");
        let mut beside = Vec::new();
        for (name, value) in event.object("tool_call").unwrap_or_default().iter() {
            let Some(call) = Fields::of(value) else {
                beside.push((name.to_owned(), Json::of(value)));
                continue;
            };
            // Tools without a name of their own in this format.
            let is_other = name == "function" && call.has("name");
            let name = if is_other { call.text("name").unwrap_or_default() } else { name.into() };
            let arguments = Json::arguments(call.get("args").or_else(|| call.get("arguments")));
            let known = draft.waiting(MAIN, &id).filter(|_| !id.is_empty());
            let at = if let Some(at) = known {
                // What was said at the beginning may not have been all.
                if let Some(step) = draft.step(at)
                    && let Some(call) = step.tool_calls.iter_mut().find(|call| call.tool_call_id == *id)
                    && call.function_name == name
                    && arguments.get().len() > 2
                {
                    call.arguments = arguments;
                }
                at
            } else {
                let at = self.step(event, draft, source, true)?;
                draft.call(at, ToolCall::new(&id, &name, arguments))?
            };
            if is_end {
                self.answer(&id, &call, event, draft, at)?;
            }
            if let Some(step) = draft.step(at) {
                for (key, value) in beside.drain(..) {
                    if let Some(call) = step.tool_calls.iter_mut().find(|call| call.tool_call_id == *id) {
                        call.extra.set(&key, value);
                    }
                }
            }
        }
        Ok(())
    }

    fn answer(
        &mut self,
        id: &str,
        call: &Fields<'_>,
        event: &Fields<'_>,
        draft: &mut Draft<'_>,
        at: At,
    ) -> io::Result<()> {
        let Some(raw) = call.get("result") else { return Ok(()) };
        let said =
            fields::text(raw).map_or_else(|| Json::of(raw).get().to_owned(), std::borrow::Cow::into_owned);
        let mut result = ObservationResult::new(said);
        let keys = Fields::of(raw).unwrap_or_default();
        if FAILURES.iter().any(|key| keys.has(key)) && !keys.has("success") {
            result = result.failed();
        }
        if let Some(time) = when(event) {
            result.extra.put("timestamp", time);
        }
        // What comes now is another call of the model.
        self.nameless = self.nameless.filter(|known| *known != at);
        if id.is_empty() {
            if let Some(step) = draft.step(at) {
                step.observe(result);
            }
            return Ok(());
        }
        draft.answer(MAIN, id, result, when(event).as_deref()).map(|_| ())
    }

    /// Thoughts to which no word came.
    fn leftover(&mut self, draft: &mut Draft<'_>) -> io::Result<()> {
        let thoughts = std::mem::take(&mut self.thoughts);
        let time = self.thoughts_time.take();
        if thoughts.trim().is_empty() {
            return Ok(());
        }
        let mut step = Step::agent(time.as_deref());
        step.model_name.clone_from(&draft.head(MAIN).model);
        step.think(thoughts.trim());
        draft.push(MAIN, step).map(|_| ())
    }

    fn result(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>) {
        let failed =
            event.truth("is_error") || event.text("subtype").is_some_and(|subtype| subtype != "success");
        self.result = Some(if failed {
            let said = event.word("result").or_else(|| event.word("subtype"));
            Run::Failed(said.map_or_else(|| "no reason is given".to_owned(), std::borrow::Cow::into_owned))
        } else {
            Run::Finished
        });
        let usage = event.object("usage").unwrap_or_default();
        let odd = Odd::default();
        let count = |key: &'static str| usage.tokens(key, &odd).unwrap_or(0);
        draft.total(Usage {
            input: count("inputTokens"),
            cache_read: count("cacheReadTokens"),
            cache_write: count("cacheWriteTokens"),
            output: count("outputTokens"),
            cost: None,
            odd: odd.name(),
        });
        if let Some(cost) = usage.float("totalCost").or_else(|| usage.float("cost")) {
            draft.cost = Some(draft.cost.unwrap_or(0.0) + cost);
        }
        let totals = &mut draft.head(MAIN).totals;
        for (key, name) in [
            ("duration_ms", "duration_ms"),
            ("duration_api_ms", "duration_api_ms"),
            ("request_id", "request_id"),
            ("usage", "usage_totals"),
        ] {
            totals.take(name, event.get(key));
        }
    }
}

/// Keeps what the program was asked to allow, beside the step before it.
fn query(event: &Fields<'_>, draft: &mut Draft<'_>) {
    let Some(step) = draft.last(MAIN).and_then(|at| draft.step(at)) else { return };
    let known = step.extra.get("interaction_queries");
    let mut queries: Vec<serde_json::Value> =
        known.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
    let mut query = serde_json::Map::new();
    for key in ["subtype", "query_type", "query", "response"] {
        if let Some(value) = event.get(key).and_then(|value| serde_json::from_str(value.get()).ok()) {
            query.insert(key.to_owned(), value);
        }
    }
    queries.push(query.into());
    step.extra.put("interaction_queries", queries);
}

fn take_head(event: &Fields<'_>, draft: &mut Draft<'_>) {
    let asked = draft.about.model.clone();
    let head = draft.head(MAIN);
    // The log has the name that people read.
    head.model = head.model.take().or(asked).or_else(|| event.owned("model"));
    for (key, name) in
        [("cwd", "cwd"), ("permissionMode", "permission_mode"), ("apiKeySource", "api_key_source")]
    {
        head.agent.take(name, event.get(key));
    }
    head.agent.take("model_shown", event.get("model"));
}

fn texts(event: &Fields<'_>) -> Vec<String> {
    let message = event.object("message").unwrap_or_default();
    if let Some(text) = message.text("content") {
        return vec![text.into_owned()];
    }
    message.objects("content").iter().filter_map(|part| part.owned("text")).collect()
}

fn when(event: &Fields<'_>) -> Option<String> {
    time::of_millis(i64::try_from(event.count("timestamp_ms")?).ok()?)
}
