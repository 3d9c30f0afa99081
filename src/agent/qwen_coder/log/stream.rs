//! What `--output-format stream-json` prints.

use std::collections::HashMap;
use std::io;

use crate::agent::log::{self, Logs};
use crate::atif::draft::{At, Draft, MAIN, Track};
use crate::atif::fields::{self, Fields, Odd};
use crate::atif::raw::Json;
use crate::atif::report::Run;
use crate::atif::step::{Content, ObservationResult, Step, ToolCall, Usage};

/// Reads the stream: all of it where there is no session, how it ended otherwise.
pub fn read(logs: &dyn Logs, index: usize, draft: &mut Draft<'_>, whole: bool) -> io::Result<Option<Run>> {
    let name = &logs.files()[index].path;
    let mut stream = Stream { run: None, open: HashMap::new() };
    log::each_printed(logs, index, draft, |draft, record, line| {
        stream.record(record, draft, whole, &format!("{name}:{line}"))
    })?;
    Ok(stream.run)
}

struct Stream {
    run: Option<Run>,
    /// The calls of the model that are being read: until tools answer, all that is said is of one.
    open: HashMap<Track, At>,
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
        if whole {
            draft.report.count(&kind);
        }
        let parent = record.word("parent_tool_use_id");
        match &*kind {
            "result" => return self.result(record, draft, whole, source),
            "system" if record.is("subtype", "init") => {
                self.run = Some(Run::Interrupted);
                let head = draft.head(MAIN);
                head.session = head.session.take().or_else(|| record.owned("session_id"));
                head.version = head.version.take().or_else(|| record.owned("qwen_code_version"));
                head.model = head.model.take().or_else(|| record.owned("model"));
            }
            "assistant" | "user" if whole => {
                let track = parent.map_or(MAIN, |id| draft.sub(MAIN, &id));
                let message = record.object("message").unwrap_or_default();
                if kind == "assistant" {
                    self.assistant(&message, draft, track, source)?;
                } else {
                    self.user(&message, draft, track, source)?;
                }
            }
            "assistant" | "user" | "system" | "stream_event" => {}
            unknown if whole => {
                draft.report.unknown(unknown);
                draft.unread(MAIN, record.iter());
            }
            _ => {}
        }
        Ok(())
    }

    fn result(
        &mut self,
        record: &Fields<'_>,
        draft: &mut Draft<'_>,
        whole: bool,
        source: &str,
    ) -> io::Result<()> {
        for key in ["num_turns", "duration_ms", "duration_api_ms"] {
            draft.head(MAIN).totals.take(key, record.get(key));
        }
        if !record.truth("is_error") && record.is("subtype", "success") {
            self.run = Some(Run::Finished);
            return Ok(());
        }
        let error = record.object("error");
        let said = error.as_ref().and_then(|error| error.owned("message"));
        let said = said.or_else(|| record.owned("result")).or_else(|| record.owned("subtype"));
        let said = said.unwrap_or_else(|| "no reason is given".to_owned());
        self.run = Some(Run::Failed(said.clone()));
        if whole {
            let mut step = Step::failure(None, said);
            step.extra.put("src", source);
            draft.push(MAIN, step)?;
        }
        Ok(())
    }

    fn assistant(
        &mut self,
        message: &Fields<'_>,
        draft: &mut Draft<'_>,
        track: Track,
        source: &str,
    ) -> io::Result<()> {
        let open = self.open.get(&track).copied().filter(|at| draft.step(*at).is_some());
        let at = if let Some(at) = open {
            at
        } else {
            let mut step = Step::agent(None);
            step.extra.put("src", source);
            draft.push(track, step)?
        };
        self.open.insert(track, at);
        if let Some(step) = draft.step(at) {
            step.model_name = message.owned("model").or(step.model_name.take());
            let usage = message.object("usage").unwrap_or_default();
            let odd = Odd::default();
            let count = |key: &'static str| usage.tokens(key, &odd).unwrap_or(0);
            let (read, cached) = (count("input_tokens"), count("cache_read_input_tokens"));
            // Pieces of an answer have none.
            if read > 0 || count("output_tokens") > 0 || odd.name().is_some() {
                step.usage = Some(Usage {
                    input: read.saturating_sub(cached),
                    cache_read: cached,
                    cache_write: 0,
                    output: count("output_tokens"),
                    cost: None,
                    odd: odd.name(),
                });
            }
        }
        for block in message.objects("content") {
            let word = |key: &str| block.text(key).unwrap_or_default();
            match &*word("type") {
                "tool_use" => {
                    let call = ToolCall::new(&word("id"), &word("name"), Json::arguments(block.get("input")));
                    draft.call(at, call)?;
                }
                "thinking" => {
                    if let Some(step) = draft.step(at) {
                        step.think(&word("thinking"));
                    }
                }
                _ => {
                    if let Some(step) = draft.step(at) {
                        step.message.add(&word("text"));
                    }
                }
            }
        }
        Ok(())
    }

    fn user(
        &mut self,
        message: &Fields<'_>,
        draft: &mut Draft<'_>,
        track: Track,
        source: &str,
    ) -> io::Result<()> {
        self.open.remove(&track);
        let mut said = Content::default();
        if let Some(text) = message.text("content") {
            said.add(&text);
        }
        for block in message.objects("content") {
            if !block.is("type", "tool_result") {
                said.add(&block.text("text").unwrap_or_default());
                continue;
            }
            let raw = block.get("content");
            let text = raw.map(|raw| fields::text(raw).map_or_else(|| raw.get().to_owned(), Into::into));
            let mut result = ObservationResult::new(text.unwrap_or_default());
            if block.truth("is_error") {
                result = result.failed();
            }
            draft.answer(track, &block.text("tool_use_id").unwrap_or_default(), result, None)?;
        }
        if said.is_empty() {
            return Ok(());
        }
        let mut step = Step::user(None, said);
        step.extra.put("src", source);
        draft.push(track, step).map(|_| ())
    }
}
