//! A trajectory as spans of OpenTelemetry, by its semantic conventions for generative models.

use camino::Utf8Path;
use serde_json::{Value, json};

use super::read::{Document, Trajectory, content, is_error, list, nanos, results};
use super::spool::Spool;
use crate::atif::walk::Reader;
use crate::diag::Failure;
use crate::util::fs::sha256;

/// Writes one export request of the protocol, in its JSON.
pub fn of(path: &Utf8Path, trajectory: &Trajectory, spool: &mut Spool) -> Result<(), Failure> {
    let document = Document::load(path, trajectory)?;
    let session = document.text(&["session_id"]).unwrap_or_default();
    let name = document.text(&["agent", "name"]).unwrap_or("unknown");
    let first = document.first.as_deref().unwrap_or_default();
    let trace = sha256(format!("{session}\n{name}\n{first}").as_bytes())[..32].to_owned();
    let version = document.text(&["agent", "version"]).unwrap_or("unknown");
    let resource = [("service.name", text(name)), ("service.version", text(version))];
    let around = json!({
        "resourceSpans": [{
            "resource": { "attributes": attributes(&resource) },
            "scopeSpans": [{
                "scope": { "name": "pier", "version": env!("CARGO_PKG_VERSION") },
                "spans": [],
            }],
        }],
    });
    let around = around.to_string();
    let (before, behind) = around.split_at(around.len() - BEHIND.len());
    let mut all = Vec::new();
    agents(&document, &trace, "", "", &mut all);
    let begin = spool.begin();
    spool.put(begin, before);
    let mut spans = Spans { trace: &trace, all, begun: 0, open: Vec::new(), spool };
    trajectory.walk(path, &mut spans)?;
    let end = spool.begin();
    spool.put(end, &format!("{behind}\n"));
    Ok(())
}

/// What stands behind the spans of a request.
const BEHIND: &str = "]}]}]}";

fn text(text: &str) -> Value {
    json!({ "stringValue": text })
}

fn int(number: &Value) -> Value {
    // 64 bits are a text in this JSON.
    json!({ "intValue": number.to_string() })
}

fn attributes(known: &[(&str, Value)]) -> Value {
    known.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

/// The provider, by the names of the conventions.
fn provider(model: &str) -> Option<&'static str> {
    const KNOWN: &[(&str, &str)] = &[
        ("claude", "anthropic"),
        ("anthropic", "anthropic"),
        ("gpt", "openai"),
        ("openai", "openai"),
        ("o1", "openai"),
        ("o3", "openai"),
        ("o4", "openai"),
        ("gemini", "gcp.gemini"),
        ("google", "gcp.gemini"),
        ("deepseek", "deepseek"),
        ("grok", "x_ai"),
        ("xai", "x_ai"),
        ("mistral", "mistral_ai"),
        ("groq", "groq"),
    ];
    KNOWN.iter().find(|(begin, _)| model.starts_with(begin)).map(|(_, name)| *name)
}

struct Span<'a> {
    id: String,
    parent: &'a str,
    name: String,
    kind: u8,
    from: i128,
    to: i128,
    attributes: Vec<(&'a str, Value)>,
    failed: bool,
}

impl Span<'_> {
    fn json(&self, trace: &str) -> Value {
        json!({
            "traceId": trace,
            "spanId": self.id,
            "parentSpanId": self.parent,
            "name": self.name,
            "kind": self.kind,
            "startTimeUnixNano": self.from.to_string(),
            "endTimeUnixNano": self.to.max(self.from).to_string(),
            "attributes": attributes(&self.attributes),
            "status": { "code": if self.failed { 2 } else { 0 } },
        })
    }
}

/// A conversation, with what its spans are named by.
struct Agent<'a> {
    document: &'a Document,
    /// Tells two conversations of one trace apart.
    place: String,
    own: String,
    parent: String,
}

/// Returns the span of something in a conversation.
fn id(trace: &str, place: &str, what: &str) -> String {
    sha256(format!("{trace}/{place}/{what}").as_bytes())[..16].to_owned()
}

/// Lists conversations in the order in which they begin.
fn agents<'a>(document: &'a Document, trace: &str, parent: &str, place: &str, all: &mut Vec<Agent<'a>>) {
    let own = id(trace, place, "agent");
    all.push(Agent { document, place: place.to_owned(), own: own.clone(), parent: parent.to_owned() });
    for (number, sub) in document.subagents.iter().enumerate() {
        agents(sub, trace, &own, &format!("{place}/{number}"), all);
    }
}

/// Writes spans while the steps are read.
struct Spans<'a, 'b> {
    trace: &'a str,
    all: Vec<Agent<'a>>,
    /// How many of them have begun.
    begun: usize,
    open: Vec<Open>,
    spool: &'b mut Spool,
}

/// A conversation that is read.
struct Open {
    /// Which it is of all, and of the texts.
    agent: usize,
    text: usize,
    /// The last step, which ends where the next one begins.
    last: Option<(usize, Value)>,
}

impl Reader for Spans<'_, '_> {
    fn begin(&mut self, _: &str) {
        let text = self.spool.begin();
        self.open.push(Open { agent: self.begun, text, last: None });
        if let Some(agent) = self.all.get(self.begun) {
            let comma = if self.begun > 0 { "," } else { "" };
            self.spool.put(text, &format!("{comma}{}", of_agent(agent).json(self.trace)));
        }
        self.begun += 1;
    }

    fn step(&mut self, index: usize, step: Value) {
        let next = nanos(step.get("timestamp"));
        let last = self.open.last_mut().and_then(|open| open.last.replace((index, step)));
        self.write(last, next);
    }

    fn field(&mut self, _: &str, _: Value) {}

    fn end(&mut self) {
        let last = self.open.last_mut().and_then(|open| open.last.take());
        self.write(last, 0);
        self.open.pop();
    }
}

impl Spans<'_, '_> {
    /// Writes those of a step, where the next one begins then.
    fn write(&mut self, step: Option<(usize, Value)>, next: i128) {
        let Some((index, step)) = step else { return };
        let Some((open, agent)) = self.open.last().and_then(|open| Some((open, self.all.get(open.agent)?)))
        else {
            return;
        };
        for span in of_step(agent, self.trace, index, &step, next) {
            self.spool.put(open.text, &format!(",{}", span.json(self.trace)));
        }
    }
}

fn of_agent<'a>(agent: &'a Agent<'_>) -> Span<'a> {
    let document = agent.document;
    let (from, to) = document.times.unwrap_or_default();
    let name = document.text(&["agent", "name"]).unwrap_or("unknown");
    let mut about = vec![("gen_ai.operation.name", text("invoke_agent")), ("gen_ai.agent.name", text(name))];
    if let Some(session) = document.text(&["session_id"]) {
        about.push(("gen_ai.conversation.id", text(session)));
    }
    if let Some(model) = document.text(&["agent", "model_name"]) {
        about.push(("gen_ai.request.model", text(model)));
        about.extend(provider(model).map(|name| ("gen_ai.provider.name", text(name))));
    }
    Span {
        id: agent.own.clone(),
        parent: &agent.parent,
        name: format!("invoke_agent {name}"),
        kind: 1,
        from,
        to,
        attributes: about,
        failed: document.text(&["extra", "run", "outcome"]) == Some("failed"),
    }
}

/// Returns the span of an answer of the model, and those of its calls.
fn of_step<'a>(agent: &'a Agent<'_>, trace: &str, index: usize, step: &Value, next: i128) -> Vec<Span<'a>> {
    if step.get("source").and_then(Value::as_str) != Some("agent") {
        return Vec::new();
    }
    let id = |what: &str| id(trace, &agent.place, what);
    let began = nanos(step.get("timestamp"));
    let called = step.get("llm_call_count").and_then(Value::as_u64) != Some(0);
    let model = step.get("model_name").and_then(Value::as_str);
    let model = model.or(agent.document.text(&["agent", "model_name"])).unwrap_or_default();
    let mut about = vec![("gen_ai.operation.name", text("chat")), ("gen_ai.request.model", text(model))];
    about.extend(provider(model).map(|name| ("gen_ai.provider.name", text(name))));
    for (key, from) in [
        ("gen_ai.usage.input_tokens", "prompt_tokens"),
        ("gen_ai.usage.output_tokens", "completion_tokens"),
        ("gen_ai.usage.cache_read.input_tokens", "cached_tokens"),
    ] {
        let number =
            step.get("metrics").and_then(|metrics| metrics.get(from)).filter(|value| value.is_number());
        about.extend(number.map(|number| (key, int(number))));
    }
    let messages = json!([{ "role": "assistant", "parts": parts(step) }]);
    about.push(("gen_ai.output.messages", text(&messages.to_string())));
    let mut spans = vec![Span {
        id: id(&format!("step {index}")),
        parent: &agent.own,
        name: format!("chat {model}").trim_end().to_owned(),
        kind: 3,
        from: began,
        to: began,
        attributes: about,
        failed: !called,
    }];
    for (number, call) in list(step, "tool_calls").iter().enumerate() {
        let called = call.get("function_name").and_then(Value::as_str).unwrap_or_default();
        let answers =
            results(step).iter().find(|result| result.get("source_call_id") == call.get("tool_call_id"));
        let ended = answers.map_or(0, |result| nanos(result.pointer("/extra/timestamp")));
        let mut about = vec![
            ("gen_ai.operation.name", text("execute_tool")),
            ("gen_ai.tool.name", text(called)),
            (
                "gen_ai.tool.call.arguments",
                text(&call.get("arguments").map(Value::to_string).unwrap_or_default()),
            ),
        ];
        if let Some(id) = call.get("tool_call_id").and_then(Value::as_str) {
            about.push(("gen_ai.tool.call.id", text(id)));
        }
        if let Some(said) = answers.and_then(|result| result.get("content")) {
            about.push(("gen_ai.tool.call.result", text(&content(said))));
        }
        spans.push(Span {
            id: id(&format!("step {index} call {number}")),
            parent: &agent.own,
            name: format!("execute_tool {called}").trim_end().to_owned(),
            kind: 1,
            from: began,
            to: if ended > 0 { ended } else { next },
            attributes: about,
            failed: answers.is_some_and(is_error),
        });
    }
    spans
}

fn parts(step: &Value) -> Value {
    let mut parts = Vec::new();
    if let Some(reasoning) = step.get("reasoning_content").and_then(Value::as_str) {
        parts.push(json!({ "type": "reasoning", "content": reasoning }));
    }
    let said = content(step.get("message").unwrap_or(&Value::Null));
    if !said.is_empty() {
        parts.push(json!({ "type": "text", "content": said }));
    }
    for call in list(step, "tool_calls") {
        parts.push(json!({
            "type": "tool_call",
            "id": call.get("tool_call_id"),
            "name": call.get("function_name"),
            "arguments": call.get("arguments"),
        }));
    }
    Value::Array(parts)
}
