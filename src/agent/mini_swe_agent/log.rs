//! Trajectories of mini-swe-agent, which it writes anew after each step, and what it prints: that has the step in which it was
//! killed, and all of a run that was killed before its first step ended.

use std::io;

use camino::Utf8Path;
use serde_json::value::RawValue;

use crate::agent::log::{self, Converter, Logs, whole};
use crate::atif::draft::{Draft, MAIN};
use crate::atif::fields::Fields;
use crate::atif::report::Run;
use crate::atif::step::Step;
use messages::{assistant, content, response, time, tool};

mod messages;
mod printed;

pub struct Log;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Trajectory,
    /// What it printed.
    Printed,
}

fn kind(path: &Utf8Path, head: &str) -> Option<Kind> {
    let has = |key: &str| head.contains(&format!("\"{key}\""));
    if path.extension() == Some("json") {
        // Its own name comes last in a file; what it says of itself comes first.
        let is_own = head.contains("\"mini-swe-agent-")
            || has("info") && has("model_stats") && has("instance_cost")
            || has("mini_version") && has("messages");
        let is_document = has("schema_version");
        return (is_own && !is_document).then_some(Kind::Trajectory);
    }
    let is_printed = path.file_name() == Some("mini-swe-agent.txt")
        || head.lines().take(200).any(|line| line.starts_with("Building agent config from specs"))
            && head.lines().any(|line| line == "System:" || line.starts_with(printed::STEP));
    is_printed.then_some(Kind::Printed)
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        kind(path, head).is_some()
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let of = |wanted| log::chosen(logs, move |path, head| kind(path, head) == Some(wanted));
        let mut run = None;
        let mut answers = 0;
        for index in of(Kind::Trajectory) {
            whole::each_element(logs, index, "messages", draft, |draft, fields, messages| {
                let name = logs.files()[index].path.as_str();
                let mut reader = Reader { answers: 0, exit: None };
                let info = fields.object("info").unwrap_or_default();
                take_head(&info, fields, draft);
                reader.messages(messages, name, draft)?;
                answers += reader.answers;
                run = Some(reader.outcome(&info, draft));
                Ok(())
            })?;
        }
        for index in of(Kind::Printed) {
            // An end that is written down needs no other words.
            if matches!(run, Some(Run::Finished | Run::Failed(_))) {
                continue;
            }
            run = Some(printed::read(logs, index, draft, answers, run.is_none())?);
        }
        draft.report.run = run.unwrap_or_default();
        Ok(())
    }
}

struct Reader {
    /// Of the model.
    answers: u64,
    /// What was said at the end.
    exit: Option<String>,
}

impl Reader {
    fn outcome(&self, info: &Fields<'_>, draft: &mut Draft<'_>) -> Run {
        let stats = info.object("model_stats").unwrap_or_default();
        // It counts nothing where it knows no price.
        draft.cost = stats.float("instance_cost").filter(|cost| *cost > 0.0).or(draft.cost);
        draft.head(MAIN).totals.take("api_calls", stats.get("api_calls"));
        match info.word("exit_status").as_deref() {
            None => Run::Interrupted,
            Some("Submitted") => Run::Finished,
            Some(status) => Run::Failed(match &self.exit {
                Some(said) => said.clone(),
                None => status.to_owned(),
            }),
        }
    }

    fn messages(&mut self, messages: &[&RawValue], name: &str, draft: &mut Draft<'_>) -> io::Result<()> {
        for (number, raw) in messages.iter().enumerate() {
            let Some(message) = Fields::of(raw) else {
                let text = format!("message {} is no object", number + 1);
                draft.report.partial("unreadable-record", text, Some((name, 0)));
                continue;
            };
            let kind =
                message.word("role").or_else(|| message.word("object")).or_else(|| message.word("type"));
            let kind = kind.unwrap_or_default();
            draft.report.count(&kind);
            match &*kind {
                "system" | "developer" => {
                    let said = content(message.get("content"), draft)?;
                    draft.push(MAIN, Step::system(time(&message).as_deref(), said))?;
                }
                "user" => self.user(&message, draft)?,
                "assistant" => {
                    self.answers += 1;
                    assistant(&message, draft)?;
                }
                "response" => {
                    self.answers += 1;
                    response(&message, draft)?;
                }
                "tool" => tool(&message, "tool_call_id", "content", draft)?,
                "function_call_output" => tool(&message, "call_id", "output", draft)?,
                "exit" => self.exit(&message, draft)?,
                unknown => {
                    draft.report.unknown(unknown);
                    draft.unread(MAIN, message.iter());
                }
            }
        }
        Ok(())
    }

    fn user(&self, message: &Fields<'_>, draft: &mut Draft<'_>) -> io::Result<()> {
        let extra = message.object("extra").unwrap_or_default();
        if extra.has("returncode") && self.answers > 0 {
            // Models without tools are told as a user what their command printed.
            return tool(message, "tool_call_id", "content", draft);
        }
        let said = content(message.get("content"), draft)?;
        let mut step = Step::user(time(message).as_deref(), said);
        for (key, value) in extra.iter().filter(|(key, _)| *key != "timestamp") {
            step.extra.take(key, Some(value));
        }
        draft.push(MAIN, step).map(|_| ())
    }

    fn exit(&mut self, message: &Fields<'_>, draft: &mut Draft<'_>) -> io::Result<()> {
        let extra = message.object("extra").unwrap_or_default();
        let said = message.word("content");
        self.exit = said.as_deref().map(str::to_owned);
        draft.head(MAIN).extra.take("exit_status", extra.get("exit_status"));
        let Some(said) = said else { return Ok(()) };
        let time = time(message);
        // It stands where the next answer would be.
        let mut step = if extra.has("exception_str") {
            Step::failure(time.as_deref(), said.into_owned())
        } else {
            Step::system(time.as_deref(), said.into_owned())
        };
        for (key, value) in extra.iter().filter(|(key, _)| *key != "timestamp") {
            // What is said again.
            let is_same =
                key == "exception_str" && Some(value.get()) == message.get("content").map(RawValue::get);
            if !is_same {
                step.extra.take(key, Some(value));
            }
        }
        draft.push(MAIN, step).map(|_| ())
    }
}

fn take_head(info: &Fields<'_>, document: &Fields<'_>, draft: &mut Draft<'_>) {
    let config = info.object("config").unwrap_or_default();
    let model = config.object("model").unwrap_or_default();
    let head = draft.head(MAIN);
    head.version = head.version.take().or_else(|| info.owned("mini_version"));
    head.model = head.model.take().or_else(|| model.owned("model_name"));
    head.agent.take("original_format", document.get("trajectory_format"));
    for (key, name) in
        [("agent", "agent_config"), ("model", "model_config"), ("environment", "environment_config")]
    {
        head.agent.take(name, config.get(key));
    }
    for key in ["agent_type", "model_type", "environment_type"] {
        head.agent.take(key, config.get(key));
    }
    let said = info.word("submission").is_some();
    head.extra.take("exit_status", info.get("exit_status").filter(|status| status.get() != "\"\""));
    head.extra.take("submission", info.get("submission").filter(|_| said));
}
