//! What `--output-format stream-json` prints.

use std::io;

use super::messages::Reader;
use super::session::hash;
use crate::agent::log;
use crate::atif::draft::{At, Draft, MAIN};
use crate::atif::fields::Fields;
use crate::atif::raw::Json;
use crate::atif::report::Run;
use crate::atif::step::{Content, ObservationResult, Step, ToolCall};

/// Reads the stream: all of it where there is no session; otherwise how it ended, and the calls that nobody answered, which are not
/// in a session.
pub fn read(
    reader: &mut Reader<'_>,
    index: usize,
    draft: &mut Draft<'_>,
    whole: bool,
) -> io::Result<Option<Run>> {
    let logs = reader.logs;
    let name = &logs.files()[index].path;
    let mut stream = Stream { whole, run: None, open: None, answered: false };
    log::each_printed(logs, index, draft, |draft, record, line| {
        stream.record(record, reader, draft, &format!("{name}:{line}"))
    })?;
    Ok(stream.run)
}

struct Stream {
    whole: bool,
    run: Option<Run>,
    open: Option<At>,
    answered: bool,
}

impl Stream {
    fn record(
        &mut self,
        record: &Fields<'_>,
        reader: &mut Reader<'_>,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        let kind = record.text("type").unwrap_or_default();
        let time = record.text("timestamp");
        let time = time.as_deref();
        match &*kind {
            "init" => {
                self.run = Some(Run::Interrupted);
                let head = draft.head(MAIN);
                let word = |key: &str| record.owned(key);
                head.session = head.session.take().or_else(|| word("session_id"));
                head.model = head.model.take().or_else(|| word("model"));
            }
            "result" => self.result(record, draft, time, source)?,
            "tool_use" if self.whole || !reader.calls.contains(&hash(&id(record))) => {
                let at = match reader.answer.filter(|at| !self.whole && draft.step(*at).is_some()) {
                    Some(at) => at,
                    None => self.model(draft, time, source)?,
                };
                let name = record.text("tool_name").unwrap_or_default();
                let mut call = ToolCall::new(&id(record), &name, Json::arguments(record.get("parameters")));
                if !self.whole {
                    call.extra.put("src", source);
                }
                reader.call(call, draft, at)?;
            }
            "tool_result" if draft.waiting(MAIN, &id(record)).is_some() => {
                let text = |key: &str| record.text(key).map(std::borrow::Cow::into_owned);
                let error = record.object("error");
                let error = error.as_ref().and_then(|error| error.text("message"));
                let said = text("output").or(error.map(std::borrow::Cow::into_owned));
                let mut result = ObservationResult::new(said.unwrap_or_default());
                if record.is("status", "error") {
                    result = result.failed();
                }
                draft.answer(MAIN, &id(record), result, time)?;
                self.answered = true;
            }
            "message" | "error" if self.whole => self.said(record, &kind, draft, time, source)?,
            "message" | "error" | "tool_use" | "tool_result" => {}
            unknown if self.whole => {
                draft.report.unknown(unknown);
                draft.unread(MAIN, record.iter());
            }
            _ => {}
        }
        if self.whole {
            draft.report.count(&kind);
        }
        Ok(())
    }

    fn result(
        &mut self,
        record: &Fields<'_>,
        draft: &mut Draft<'_>,
        time: Option<&str>,
        source: &str,
    ) -> io::Result<()> {
        let stats = record.object("stats").unwrap_or_default();
        for key in ["duration_ms", "tool_calls"] {
            draft.head(MAIN).totals.take(key, stats.get(key));
        }
        if self.whole {
            draft.head(MAIN).totals.take("stats", record.get("stats"));
        }
        if record.is("status", "success") {
            self.run = Some(Run::Finished);
            return Ok(());
        }
        let error = record.object("error");
        let said = error.as_ref().and_then(|error| error.word("message"));
        let said = said.map_or_else(|| "no reason is given".to_owned(), std::borrow::Cow::into_owned);
        let mut step = Step::failure(time, said.clone());
        step.extra.put("src", source);
        step.extra.take("error", record.get("error"));
        self.run = Some(Run::Failed(said));
        draft.push(MAIN, step).map(|_| ())
    }

    /// What the model said since tools answered is one step; how many calls of the model it was is not said.
    fn model(&mut self, draft: &mut Draft<'_>, time: Option<&str>, source: &str) -> io::Result<At> {
        if let Some(at) = self.open.filter(|at| !self.answered && draft.step(*at).is_some()) {
            return Ok(at);
        }
        let mut step = Step { llm_call_count: None, ..Step::agent(time) };
        step.extra.put("src", source);
        let at = draft.push(MAIN, step)?;
        (self.open, self.answered) = (Some(at), false);
        Ok(at)
    }

    fn said(
        &mut self,
        record: &Fields<'_>,
        kind: &str,
        draft: &mut Draft<'_>,
        time: Option<&str>,
        source: &str,
    ) -> io::Result<()> {
        let text = record.text("content").or_else(|| record.text("message")).unwrap_or_default();
        if kind == "message" && record.is("role", "assistant") {
            let at = self.model(draft, time, source)?;
            // A piece of a text goes on where the last one ended.
            match draft.step(at).map(|step| &mut step.message) {
                Some(Content::Text(known)) => known.push_str(&text),
                Some(parts) => parts.add(&text),
                None => {}
            }
            return Ok(());
        }
        self.open = None;
        let text = text.into_owned();
        let mut step = if kind == "message" { Step::user(time, text) } else { Step::system(time, text) };
        step.extra.put("src", source);
        if kind == "error" {
            step.extra.put("subtype", "error");
            step.extra.take("severity", record.get("severity"));
        }
        draft.push(MAIN, step).map(|_| ())
    }
}

fn id(record: &Fields<'_>) -> String {
    record.text("tool_id").unwrap_or_default().into_owned()
}
