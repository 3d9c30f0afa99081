//! Sessions of the GitHub Copilot CLI: one file of events each (`events.jsonl`), and the same events with more of them as a headless run
//! prints them.

use std::collections::HashMap;
use std::io;

use camino::Utf8Path;

use crate::agent::log::{self, Converter, Logs};
use crate::atif::draft::{At, Draft, MAIN, Track};
use crate::atif::fields::{Fields, Odd};
use crate::atif::raw::{Extra, Json};
use crate::atif::report::Run;
use crate::atif::step::{Content, ObservationResult, Step, ToolCall, Usage};

pub struct Log;

/// How much of answers in pieces is kept until they are said as a whole, in bytes.
const MOST_PIECES: usize = 4 << 20;

/// Events by which a log is known.
const KNOWN: &[&str] =
    &["session.start", "session.resume", "user.message", "assistant.message", "assistant.turn_start"];

/// How events begin that say nothing of the conversation.
const BESIDE: &[&str] = &[
    "assistant.",
    "auto_mode_switch.",
    "capabilities.",
    "command",
    "elicitation.",
    "exit_plan_mode.",
    "external_tool.",
    "factory.",
    "hook.",
    "mcp",
    "model.call_finished",
    "pending_messages.",
    "permission.",
    "sampling.",
    "session.",
    "session_limits_exhausted.",
    "skill.",
    "subagent.",
    "tool.",
    "tool_search.",
    "ui.",
    "user_input.",
];

fn is_log(path: &Utf8Path, head: &str) -> bool {
    let is_own = |line: &str| {
        Fields::parse(line).is_ok_and(|event| {
            event.has("data")
                && event.has("id")
                && event.has("timestamp")
                && event.text("type").is_some_and(|kind| KNOWN.contains(&&*kind))
        })
    };
    matches!(path.file_name(), Some("copilot-cli.txt" | "copilot-cli.jsonl"))
        || head.lines().filter(|line| line.starts_with('{')).take(32).any(is_own)
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        is_log(path, head)
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let mut files: Vec<(bool, Option<String>, usize)> = log::chosen(logs, is_log)
            .map(|index| {
                let first =
                    logs.head(index).lines().find_map(|line| Fields::parse(line).ok()?.owned("timestamp"));
                (logs.files()[index].path.file_name() != Some("events.jsonl"), first, index)
            })
            .collect();
        // Its own files first, the oldest session before the others.
        files.sort();
        let has_own = files.first().is_some_and(|(is_printed, _, _)| !is_printed);
        let mut reader = Reader::default();
        for (is_printed, _, index) in files {
            let path = &logs.files()[index].path;
            reader.beside = is_printed && has_own;
            let read = |draft: &mut Draft<'_>, event: &Fields<'_>, line: u64| {
                reader.event(event, draft, &format!("{path}:{line}"))
            };
            if is_printed {
                log::each_printed(logs, index, draft, read)?;
            } else {
                draft.compacted(MAIN, 0);
                log::each_record(logs, index, draft, read)?;
            }
        }
        reader.leftover(draft)?;
        draft.report.run = match reader.run.take() {
            Some(run) => run,
            None if reader.is_open => Run::Interrupted,
            None if draft.steps(MAIN) > 0 => Run::Finished,
            None => Run::Unknown,
        };
        Ok(())
    }
}

#[derive(Default)]
struct Reader {
    /// The conversation is read elsewhere, and here only what that lacks.
    beside: bool,
    /// What the next answer was thought before.
    thought: Option<String>,
    /// Answers in pieces, by their ids.
    pieces: Vec<(String, String)>,
    pieces_bytes: usize,
    /// The steps of calls of the model, by their ids, and the last one of each conversation.
    calls: HashMap<String, At>,
    last: HashMap<Track, At>,
    /// Tokens of calls of the model whose answers are not told yet.
    used: HashMap<String, (Usage, Extra)>,
    /// The calls by which sub-agents were asked, by the ids of those.
    agents: HashMap<String, String>,
    model: Option<String>,
    effort: Option<String>,
    /// A turn has begun, and not ended.
    is_open: bool,
    run: Option<Run>,
}

impl Reader {
    fn event(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        let kind = event.text("type").unwrap_or_default();
        let data = event.object("data").unwrap_or_default();
        let time = event.owned("timestamp");
        let time = time.as_deref();
        if self.beside && !matches!(&*kind, "assistant.usage" | "result" | "session.error") {
            return Ok(());
        }
        draft.report.count(&kind);
        if kind == "subagent.started" {
            self.subagent(event, &data, draft);
            return Ok(());
        }
        let track = self.track(event, &data, draft);
        match &*kind {
            "session.start" | "session.resume" => self.start(&data, draft),
            "session.model_change" => {
                self.model = data.owned("newModel").or(self.model.take());
                self.effort = data.owned("reasoningEffort").or(self.effort.take());
            }
            "session.error" => return self.error(&data, track, time, draft, source),
            "session.compaction_complete" => return compaction(&data, track, time, draft, source),
            "session.shutdown" => self.shutdown(&data, draft),
            "user.message" => return self.user(&data, track, time, draft, source),
            "system.message" | "system.notification" => {
                let mut step = Step::system(time, data.text("content").unwrap_or_default().as_ref());
                step.extra.put("src", source);
                step.extra.take("kind", data.get("kind"));
                return draft.push(track, step).map(|_| ());
            }
            "model.call_failure" => {
                let mut step = Step::system(time, data.text("errorMessage").unwrap_or_default().as_ref());
                step.extra.put("src", source);
                step.extra.put("api_error", true);
                for key in ["statusCode", "errorType", "errorCode", "apiCallId"] {
                    step.extra.take(key, data.get(key));
                }
                return draft.push(track, step).map(|_| ());
            }
            "assistant.turn_start" => self.is_open = true,
            "assistant.turn_end" => self.is_open = track != MAIN && self.is_open,
            "assistant.reasoning" => self.thought = data.owned("content"),
            "assistant.message_delta" => self.piece(&data),
            "assistant.message" => return self.answer(&data, track, time, draft, source),
            "assistant.usage" => self.usage(&data, track, draft),
            // Its own files have it before the answer.
            "session.usage_record" => {
                let usage = data.object("usage").unwrap_or_default();
                if let Some(call) = usage.owned("apiCallId") {
                    self.used.insert(call, (tokens(&usage), native(&usage)));
                }
            }
            "tool.execution_start" => return call(&data, track, time, draft, source),
            "tool.execution_complete" => return result(&data, track, time, draft),
            "abort" => {
                self.is_open = false;
                self.run = Some(Run::Interrupted);
            }
            "result" => self.ended(event, draft),
            other if BESIDE.iter().any(|known| other.starts_with(known)) => {}
            unknown => {
                draft.report.unknown(unknown);
                draft.unread(track, event.iter());
            }
        }
        Ok(())
    }

    /// Notes by which call a sub-agent was asked.
    fn subagent(&mut self, event: &Fields<'_>, data: &Fields<'_>, draft: &mut Draft<'_>) {
        let Some(call) = data.owned("toolCallId") else { return };
        if let Some(id) = event.owned("agentId") {
            self.agents.insert(id, call.clone());
        }
        let track = draft.sub(MAIN, &call);
        draft.name(track, &data.text("agentName").unwrap_or_default());
    }

    /// Returns the conversation of an event: that of the call by which a sub-agent was asked, where it is one's.
    fn track(&self, event: &Fields<'_>, data: &Fields<'_>, draft: &mut Draft<'_>) -> Track {
        let agent = event.owned("agentId").map(|id| self.agents.get(&id).cloned().unwrap_or(id));
        match data.owned("parentToolCallId").or(agent) {
            Some(id) => draft.sub(MAIN, &id),
            None => MAIN,
        }
    }

    fn start(&mut self, data: &Fields<'_>, draft: &mut Draft<'_>) {
        self.model = data.owned("selectedModel").or(self.model.take());
        self.effort = data.owned("reasoningEffort").or(self.effort.take());
        let head = draft.head(MAIN);
        head.session = head.session.take().or_else(|| data.owned("sessionId"));
        head.version = head.version.take().or_else(|| data.owned("copilotVersion"));
        head.model = head.model.take().or_else(|| data.owned("selectedModel"));
        head.agent.take("producer", data.get("producer"));
        head.agent.take("context", data.get("context"));
    }

    fn user(
        &mut self,
        data: &Fields<'_>,
        track: Track,
        time: Option<&str>,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        let mut step = Step::user(time, data.text("content").unwrap_or_default().as_ref());
        step.extra.put("src", source);
        for (key, name) in
            [("transformedContent", "transformed_content"), ("agentMode", "agent_mode"), ("source", "source")]
        {
            step.extra.take(name, data.get(key));
        }
        if !data.list("attachments").is_empty() {
            step.extra.take("attachments", data.get("attachments"));
        }
        if track == MAIN {
            (self.is_open, self.run) = (true, None);
        }
        draft.push(track, step).map(|_| ())
    }

    fn piece(&mut self, data: &Fields<'_>) {
        let (Some(id), Some(text)) = (data.owned("messageId"), data.text("deltaContent")) else { return };
        self.pieces_bytes += text.len();
        if self.pieces_bytes > MOST_PIECES {
            return;
        }
        match self.pieces.iter_mut().find(|(known, _)| *known == id) {
            Some((_, said)) => said.push_str(&text),
            None => self.pieces.push((id, text.into_owned())),
        }
    }

    fn answer(
        &mut self,
        data: &Fields<'_>,
        track: Track,
        time: Option<&str>,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        if let Some(id) = data.text("messageId") {
            self.pieces.retain(|(known, _)| *known != id);
        }
        let call = data.owned("apiCallId").or_else(|| data.owned("requestId"));
        let new = || {
            let mut step = Step::agent(time);
            step.model_name = data.owned("model").or_else(|| self.model.clone());
            step.reasoning_effort.clone_from(&self.effort);
            step.extra.put("src", source);
            step
        };
        let at = match &call {
            Some(call) => draft.keyed(track, call, new)?,
            None => draft.push(track, new())?,
        };
        self.last.insert(track, at);
        let used = call.as_ref().and_then(|call| self.used.remove(call));
        self.calls.extend(call.map(|call| (call, at)));
        let thought = data.owned("reasoningText").or(self.thought.take());
        self.thought = None;
        if let Some(step) = draft.step(at) {
            step.think(&thought.unwrap_or_default());
            step.message.add(&data.text("content").unwrap_or_default());
            step.extra.take("phase", data.get("phase"));
            // What else is known of its tokens comes later, or not at all.
            if let Some(output) = data.count("outputTokens") {
                step.metrics.get_or_insert_default().extra.put("output_tokens", output);
            }
            if let Some((usage, native)) = used {
                step.usage = Some(usage);
                step.metrics.get_or_insert_default().extra.append(native);
            }
        }
        for request in data.objects("toolRequests") {
            let id = request.text("toolCallId").unwrap_or_default();
            let name = request.text("name").unwrap_or_default();
            let mut call = ToolCall::new(&id, &name, Json::arguments(request.get("arguments")));
            for (key, name) in [("intentionSummary", "intention"), ("mcpServerName", "mcp_server")] {
                call.extra.take(name, request.get(key));
            }
            draft.call(at, call)?;
        }
        Ok(())
    }

    fn usage(&mut self, data: &Fields<'_>, track: Track, draft: &mut Draft<'_>) {
        let named = data.owned("apiCallId").and_then(|call| self.calls.get(&call).copied());
        let at = named.or_else(|| self.last.get(&track).copied());
        let Some(step) = at.and_then(|at| draft.step(at)) else { return };
        step.usage = Some(tokens(data));
        step.model_name = step.model_name.take().or_else(|| data.owned("model"));
        step.metrics.get_or_insert_default().extra.append(native(data));
    }

    fn error(
        &mut self,
        data: &Fields<'_>,
        track: Track,
        time: Option<&str>,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        let said = data.text("message").unwrap_or_default();
        if track == MAIN {
            let reason =
                if said.is_empty() { data.text("errorType").unwrap_or_default() } else { said.clone() };
            self.run = Some(Run::Failed(reason.into_owned()));
        }
        if self.beside {
            return Ok(());
        }
        let mut step = Step::failure(time, said.as_ref());
        step.extra.put("src", source);
        for (key, name) in
            [("errorType", "error_type"), ("statusCode", "status_code"), ("errorCode", "error_code")]
        {
            step.extra.take(name, data.get(key));
        }
        draft.push(track, step).map(|_| ())
    }

    fn shutdown(&mut self, data: &Fields<'_>, draft: &mut Draft<'_>) {
        if let Some(reason) = data.owned("errorReason") {
            self.run = Some(Run::Failed(reason));
        }
        for (_, model) in data.object("modelMetrics").unwrap_or_default().iter() {
            let usage = Fields::of(model).and_then(|model| model.object("usage"));
            draft.total(tokens(&usage.unwrap_or_default()));
        }
        let totals = &mut draft.head(MAIN).totals;
        for (key, name) in [
            ("modelMetrics", "model_metrics"),
            ("codeChanges", "code_changes"),
            ("totalApiDurationMs", "total_api_duration_ms"),
            ("totalNanoAiu", "total_nano_aiu"),
        ] {
            totals.take(name, data.get(key));
        }
    }

    /// Reads the last word of a headless run.
    fn ended(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>) {
        let head = draft.head(MAIN);
        head.session = head.session.take().or_else(|| event.owned("sessionId"));
        head.totals.take("result_usage", event.get("usage"));
        let code = event.count("exitCode");
        match (&self.run, code) {
            (None, Some(0)) => self.run = Some(Run::Finished),
            (None, Some(code)) => self.run = Some(Run::Failed(format!("exit code {code}"))),
            _ => {}
        }
    }

    /// Answers that were never said as a whole.
    fn leftover(&mut self, draft: &mut Draft<'_>) -> io::Result<()> {
        for (_, said) in std::mem::take(&mut self.pieces) {
            let mut step = Step { message: said.into(), ..Step::agent(None) };
            step.model_name.clone_from(&self.model);
            step.extra.put("partial", true);
            draft.push(MAIN, step)?;
            self.is_open = true;
        }
        Ok(())
    }
}

/// Notes a call that no answer of the model has: somebody else asked for it.
fn call(
    data: &Fields<'_>,
    track: Track,
    time: Option<&str>,
    draft: &mut Draft<'_>,
    source: &str,
) -> io::Result<()> {
    let id = data.text("toolCallId").unwrap_or_default();
    if draft.waiting(track, &id).is_some() {
        return Ok(());
    }
    let mut step = Step { llm_call_count: Some(0), ..Step::agent(time) };
    step.extra.put("src", source);
    let at = draft.push(track, step)?;
    let name = data.text("toolName").unwrap_or_default();
    draft.call(at, ToolCall::new(&id, &name, Json::arguments(data.get("arguments")))).map(|_| ())
}

/// Returns what is said of a call of the model, by its own names.
fn native(data: &Fields<'_>) -> Extra {
    let mut extra = Extra::default();
    for key in [
        "inputTokens",
        "outputTokens",
        "cacheReadTokens",
        "cacheWriteTokens",
        "reasoningTokens",
        "cost",
        "duration",
    ] {
        extra.take(key, data.get(key));
    }
    extra
}

/// Reads tokens: those of a cache are within those that were read.
fn tokens(data: &Fields<'_>) -> Usage {
    let odd = Odd::default();
    let count = |key: &'static str| data.tokens(key, &odd).unwrap_or(0);
    let (all, cache_read, cache_write) =
        (count("inputTokens"), count("cacheReadTokens"), count("cacheWriteTokens"));
    let input = all.checked_sub(cache_read.saturating_add(cache_write)).unwrap_or(all);
    Usage { input, cache_read, cache_write, output: count("outputTokens"), cost: None, odd: odd.name() }
}

fn result(data: &Fields<'_>, track: Track, time: Option<&str>, draft: &mut Draft<'_>) -> io::Result<()> {
    let said = data.object("result").unwrap_or_default();
    let mut content = Content::default();
    content.add(&said.text("content").unwrap_or_default());
    for picture in said.objects("binaryResultsForLlm") {
        let kind = picture.text("mimeType").unwrap_or_default();
        if let (true, Some(bytes)) = (kind.starts_with("image/"), picture.text("data"))
            && let Some(part) = draft.picture(&kind, &bytes)?
        {
            content.add_part(part);
        }
    }
    let error = data.object("error");
    if let Some(error) = &error {
        content.add(&error.text("message").unwrap_or_default());
    }
    let mut result = ObservationResult::new(content);
    if said.get("detailedContent").map(serde_json::value::RawValue::get)
        != said.get("content").map(serde_json::value::RawValue::get)
    {
        result.extra.take("detailed_content", said.get("detailedContent"));
    }
    result.extra.take("structured_content", said.get("structuredContent"));
    result.extra.take("error_code", error.as_ref().and_then(|error| error.get("code")));
    if let Some(time) = time {
        result.extra.put("timestamp", time);
    }
    if error.is_some() || data.get("success").is_some_and(|success| success.get() == "false") {
        result = result.failed();
    }
    let id = data.text("toolCallId").unwrap_or_default();
    let at = draft.answer(track, &id, result, time)?;
    if draft.find_sub(&id).is_some() {
        draft.refer(at, &id, &id);
    }
    Ok(())
}

fn compaction(
    data: &Fields<'_>,
    track: Track,
    time: Option<&str>,
    draft: &mut Draft<'_>,
    source: &str,
) -> io::Result<()> {
    let has_failed = data.get("success").is_some_and(|success| success.get() == "false");
    if !has_failed {
        draft.compacted(track, 1);
    }
    let said = data.text("summaryContent").or_else(|| data.text("error")).unwrap_or_default();
    let mut step = Step::system(time, said.as_ref());
    step.extra.put("src", source);
    step.extra.put(if has_failed { "compaction_failed" } else { "is_compact_summary" }, true);
    for (key, name) in [
        ("preCompactionTokens", "tokens_before"),
        ("postCompactionTokens", "tokens_after"),
        ("compactionTokensUsed", "tokens_used"),
    ] {
        step.extra.take(name, data.get(key));
    }
    draft.push(track, step).map(|_| ())
}
