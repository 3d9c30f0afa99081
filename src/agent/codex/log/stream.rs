//! What `exec --json` prints: items without times, of which nothing says where one call of the model ends.

use std::io;

use crate::agent::log::{self, Logs};
use crate::atif::draft::{At, Draft, MAIN};
use crate::atif::fields::{self, Fields};
use crate::atif::raw::{Extra, Json};
use crate::atif::report::Run;
use crate::atif::step::{ObservationResult, Step, ToolCall};

/// What an item holds beside the arguments of a call.
const FRAME: &[&str] = &[
    "id",
    "type",
    "status",
    "tool",
    "server",
    "aggregated_output",
    "exit_code",
    "result",
    "error",
    "agents_states",
];

/// Reads the stream: all of it where there is no session, how it ended otherwise.
pub fn read(logs: &dyn Logs, index: usize, draft: &mut Draft<'_>, whole: bool) -> io::Result<Option<Run>> {
    let name = &logs.files()[index].path;
    let mut stream = Stream { run: None, open: None, answered: false };
    log::each_printed(logs, index, draft, |draft, record, line| {
        stream.record(record, draft, whole, &format!("{name}:{line}"))
    })?;
    Ok(stream.run)
}

struct Stream {
    run: Option<Run>,
    open: Option<At>,
    answered: bool,
}

impl Stream {
    fn record(
        &mut self,
        record: &Fields<'_>,
        draft: &mut Draft<'_>,
        whole: bool,
        source: &str,
    ) -> io::Result<()> {
        let kind = record.text("type").unwrap_or_default();
        let error = record.object("error");
        match &*kind {
            "turn.started" => self.run = Some(Run::Interrupted),
            "turn.completed" => self.run = Some(Run::Finished),
            "turn.failed" => {
                let said = error.as_ref().and_then(|error| error.owned("message"));
                let said = said.unwrap_or_else(|| "no reason is given".to_owned());
                self.run = Some(Run::Failed(said));
            }
            _ => {}
        }
        if !whole {
            return Ok(());
        }
        draft.report.count(&kind);
        match (&*kind, &self.run) {
            ("thread.started", _) => draft.head(MAIN).session = record.owned("thread_id"),
            ("turn.completed", _) => {
                self.open = None;
                // Of all calls of the turn together.
                draft.head(MAIN).totals.take("turn_usage", record.get("usage"));
            }
            ("turn.failed", Some(Run::Failed(said))) => {
                let step = Step::failure(None, said.clone());
                self.say(step, source, draft)?;
            }
            ("error", _) => {
                let mut step = Step::system(None, record.text("message").unwrap_or_default().into_owned());
                step.extra.put("subtype", "error");
                self.say(step, source, draft)?;
            }
            ("item.started" | "item.updated" | "item.completed", _) => {
                if let Some(item) = record.object("item") {
                    self.item(&item, kind == "item.completed", draft, source)?;
                }
            }
            ("turn.started", _) => self.open = None,
            (unknown, _) => {
                draft.report.unknown(unknown);
                draft.unread(MAIN, record.iter());
            }
        }
        Ok(())
    }

    fn say(&mut self, mut step: Step, source: &str, draft: &mut Draft<'_>) -> io::Result<()> {
        self.open = None;
        step.extra.put("src", source);
        draft.push(MAIN, step).map(|_| ())
    }

    /// What the model said since tools answered is one step.
    fn model(&mut self, source: &str, draft: &mut Draft<'_>) -> io::Result<At> {
        if let Some(at) = self.open.filter(|at| !self.answered && draft.step(*at).is_some()) {
            return Ok(at);
        }
        let mut step = Step { llm_call_count: None, ..Step::agent(None) };
        step.extra.put("src", source);
        let at = draft.push(MAIN, step)?;
        (self.open, self.answered) = (Some(at), false);
        Ok(at)
    }

    fn item(&mut self, item: &Fields<'_>, done: bool, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        let kind = item.text("type").unwrap_or_default();
        match &*kind {
            "error" => {
                let mut step = Step::system(None, item.text("message").unwrap_or_default().into_owned());
                step.extra.put("subtype", "error");
                self.say(step, source, draft)
            }
            "agent_message" | "reasoning" if done => {
                let at = self.model(source, draft)?;
                let text = item.text("text").unwrap_or_default();
                if let Some(step) = draft.step(at) {
                    if kind == "reasoning" {
                        step.think(&text);
                    } else {
                        step.message.add(&text);
                    }
                }
                Ok(())
            }
            "agent_message" | "reasoning" => Ok(()),
            _ => self.tool(item, &kind, done, draft, source),
        }
    }

    /// A call, when it begins or when it is first heard of; its answer, when it ends.
    fn tool(
        &mut self,
        item: &Fields<'_>,
        kind: &str,
        done: bool,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        let id = item.text("id").unwrap_or_default();
        if draft.waiting(MAIN, &id).is_none() {
            let at = self.model(source, draft)?;
            let mut arguments = Extra::default();
            for (key, value) in item.iter().filter(|(key, _)| !FRAME.contains(key)) {
                arguments.take(key, Some(value));
            }
            let raw = serde_json::value::to_raw_value(&arguments);
            let arguments = match item.get("arguments") {
                Some(own) => Json::arguments(Some(own)),
                None => raw.map_or_else(|_| Json::arguments(None), |raw| Json::of(&raw)),
            };
            let mut call = ToolCall::new(&id, item.word("tool").as_deref().unwrap_or(kind), arguments);
            call.extra.take("server", item.get("server"));
            draft.call(at, call)?;
        }
        if !done {
            return Ok(());
        }
        let said =
            ["aggregated_output", "result", "error", "agents_states"].iter().find_map(|key| item.get(key));
        let words = said.map(|said| fields::text(said).map_or_else(|| said.get().to_owned(), Into::into));
        let mut result = words.map_or_else(ObservationResult::default, ObservationResult::new);
        result.extra.take("exit_code", item.get("exit_code"));
        let exit = item.get("exit_code").is_some_and(|code| code.get() != "0");
        if exit || item.is("status", "failed") || item.is("status", "declined") {
            result = result.failed();
        }
        draft.answer(MAIN, &id, result, None)?;
        self.answered = true;
        Ok(())
    }
}
