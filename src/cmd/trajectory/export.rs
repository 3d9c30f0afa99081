//! `pier trajectory export`: for training, and for tools that read traces.

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::kept;
use super::read::{Document, Trajectory, content, list, results};
use super::spans;
use super::spool::Spool;
use crate::atif::walk::Reader;
use crate::cmd::Outcome;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::ui;
use crate::util::fs::write_output_by;
use crate::util::redact::Scrubber;
use crate::util::text::{counted, escape};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier trajectory export jobs/today > messages.jsonl\n  pier trajectory export trial --format otel -o spans.json\n  pier trajectory export trial --unredacted"
)]
pub struct Export {
    /// Trajectories, directories with some, or names of sessions.
    paths: Vec<Utf8PathBuf>,
    /// The form.
    #[arg(short, long, value_enum, default_value = "jsonl", value_name = "FORM")]
    format: Form,
    /// Where it goes; the standard output otherwise.
    #[arg(short, long, value_name = "FILE")]
    output: Option<Utf8PathBuf>,
    /// Leave secrets in it. Without it, values of variables that may hold one, and what looks like a key, are taken out.
    #[arg(long)]
    unredacted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A conversation a line, as messages of `OpenAI`'s API, for training: what was copied from an earlier one is left out.
    Jsonl,
    /// Spans of `OpenTelemetry`, by its conventions for generative models, in the JSON of its protocol.
    Otel,
}

pub fn run(args: &Export) -> Outcome {
    let failed = |error| {
        let place = args.output.as_ref().map_or("the output", |path| path.as_str());
        let message = format!("cannot write `{}`: {error}", escape(place));
        Failure::new(Exit::Failed, "trajectory::write", message)
            .help("check the space and the permissions there")
    };
    let scrubber = if args.unredacted {
        None
    } else {
        let environment = Environment::of_process()?;
        let variables = environment.names().filter_map(|name| Some((name, environment.get(name)?)));
        Some(Scrubber::of(variables))
    };
    let mut spool = Spool::new(scrubber).map_err(failed)?;
    let found = kept::all(&args.paths)?;
    for path in &found.files {
        let trajectory = Trajectory::open(path)?;
        match args.format {
            Form::Jsonl => {
                trajectory.walk(path, &mut Conversations { spool: &mut spool, open: Vec::new() })?;
            }
            Form::Otel => spans::of(path, &trajectory, &mut spool)?,
        }
    }
    if spool.secrets > 0 {
        ui::say(&format!("{} taken out", counted(spool.secrets, "secret was", "secrets were")));
    }
    match &args.output {
        None => ui::write_all(|out| spool.finish(out)),
        Some(path) => write_output_by(path, 0o600, |out| spool.finish(out)),
    }
    .map_err(failed)?;
    Ok(Exit::Done)
}

/// Writes a line for a conversation, and one for each of its sub-agents.
struct Conversations<'a> {
    spool: &'a mut Spool,
    open: Vec<Conversation>,
}

struct Conversation {
    /// Its number in the spool.
    text: usize,
    messages: usize,
    fields: Map<String, Value>,
}

impl Reader for Conversations<'_> {
    fn begin(&mut self, _: &str) {
        let text = self.spool.begin();
        self.spool.put(text, "{\"messages\":[");
        self.open.push(Conversation { text, messages: 0, fields: Map::new() });
    }

    fn step(&mut self, _: usize, step: Value) {
        let Some(open) = self.open.last_mut() else { return };
        if step.get("is_copied_context").and_then(Value::as_bool) == Some(true) {
            return;
        }
        let mut messages = Vec::new();
        add(&step, &mut messages);
        for message in messages {
            let comma = if open.messages > 0 { "," } else { "" };
            open.messages += 1;
            self.spool.put(open.text, &format!("{comma}{message}"));
        }
    }

    fn field(&mut self, key: &str, value: Value) {
        if let Some(open) = self.open.last_mut() {
            open.fields.insert(key.to_owned(), value);
        }
    }

    fn end(&mut self) {
        let Some(Conversation { text, fields, .. }) = self.open.pop() else { return };
        let document = Document { fields, ..Document::default() };
        let mut line = Map::new();
        if let Some(tools) = document.fields.get("agent").and_then(|agent| agent.get("tool_definitions")) {
            line.insert("tools".to_owned(), tools.clone());
        }
        let field = |path: &[&str]| document.text(path).map(str::to_owned);
        line.insert(
            "metadata".to_owned(),
            json!({
                "session_id": field(&["session_id"]),
                "trajectory_id": field(&["trajectory_id"]),
                "agent": field(&["agent", "name"]),
                "version": field(&["agent", "version"]),
                "model": field(&["agent", "model_name"]),
                "outcome": field(&["extra", "run", "outcome"]),
            }),
        );
        let rest = Value::Object(line).to_string();
        self.spool.put(text, &format!("],{}\n", &rest[1..]));
    }
}

/// Adds the messages that a step is.
fn add(step: &Value, messages: &mut Vec<Value>) {
    let source = step.get("source").and_then(Value::as_str).unwrap_or("system");
    let said = content(step.get("message").unwrap_or(&Value::Null));
    // What a program says in the place of a model is nothing to learn from.
    let is_model = step.get("llm_call_count").and_then(Value::as_u64) != Some(0);
    let calls = list(step, "tool_calls");
    if source == "agent" && is_model {
        let mut message = Map::new();
        message.insert("role".to_owned(), "assistant".into());
        message.insert("content".to_owned(), said.into());
        if let Some(reasoning) = step.get("reasoning_content").and_then(Value::as_str) {
            message.insert("reasoning_content".to_owned(), reasoning.into());
        }
        if !calls.is_empty() {
            let call = |call: &Value| {
                let arguments = call.get("arguments").map(Value::to_string).unwrap_or_default();
                json!({
                    "id": call.get("tool_call_id"),
                    "type": "function",
                    "function": { "name": call.get("function_name"), "arguments": arguments },
                })
            };
            message.insert("tool_calls".to_owned(), calls.iter().map(call).collect());
        }
        messages.push(message.into());
    } else if source != "agent" && !said.is_empty() {
        messages.push(json!({ "role": source, "content": said }));
    }
    for result in results(step) {
        let said = content(result.get("content").unwrap_or(&Value::Null));
        match result.get("source_call_id").and_then(Value::as_str) {
            Some(id) => messages.push(json!({ "role": "tool", "tool_call_id": id, "content": said })),
            None if !said.is_empty() => messages.push(json!({ "role": "user", "content": said })),
            None => {}
        }
    }
}
