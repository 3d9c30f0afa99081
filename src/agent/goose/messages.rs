//! Messages of goose, which are the same in each form of its logs.

use std::io;

use serde_json::value::RawValue;

use crate::atif::draft::{At, Draft, Track};
use crate::atif::fields::{self, Fields, Odd};
use crate::atif::raw::Json;
use crate::atif::step::{Content, ObservationResult, Step, ToolCall, Usage};
use crate::atif::time;

/// How it begins what it says in the place of a model that did not answer.
pub const FAILED: &str = "Ran into this error: ";

#[derive(Default)]
pub struct Messages {
    /// The step that is read, where its message has no id.
    nameless: Option<At>,
    /// What went wrong last.
    pub failed: Option<String>,
    /// Whether the last message was an answer without calls.
    ended: Option<bool>,
}

impl Messages {
    /// Says that another session begins.
    pub fn begin(&mut self) {
        self.nameless = None;
    }

    /// Says how the run ended, where only messages tell it.
    pub fn outcome(&self, draft: &Draft<'_>) -> crate::atif::report::Run {
        use crate::atif::report::Run;
        match (&self.failed, self.ended) {
            (Some(reason), _) => Run::Failed(reason.clone()),
            (None, Some(true)) => Run::Finished,
            (None, Some(false)) if draft.steps(crate::atif::draft::MAIN) > 0 => Run::Interrupted,
            (None, _) => Run::Unknown,
        }
    }

    /// Adds what the program says of a failure.
    pub fn failure(&mut self, said: &str, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        self.nameless = None;
        let mut step = Step::failure(None, said);
        step.extra.put("src", source);
        draft.push(crate::atif::draft::MAIN, step).map(|_| ())
    }

    /// Adds a message, or more of one.
    pub fn add(
        &mut self,
        message: &Fields<'_>,
        track: Track,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        let time = message.float("created").and_then(time::of_seconds);
        let role = message.text("role").unwrap_or_default().to_lowercase();
        let parts = message.objects("content");
        if role == "assistant" {
            return self.answer(message, &parts, (track, time.as_deref()), draft, source);
        }
        let mut said = Content::default();
        for part in &parts {
            match &*part.text("type").unwrap_or_default() {
                "toolResponse" => result(part, track, time.as_deref(), draft)?,
                _ => add(part, &mut said, draft)?,
            }
        }
        self.nameless = None;
        self.ended = Some(false);
        if said.is_empty() {
            return Ok(());
        }
        let mut step = if role == "user" {
            Step::user(time.as_deref(), said)
        } else {
            Step::system(time.as_deref(), said)
        };
        step.extra.put("src", source);
        step.extra.take("metadata", message.get("metadata"));
        self.failed = None;
        draft.push(track, step).map(|_| ())
    }

    fn answer(
        &mut self,
        message: &Fields<'_>,
        parts: &[Fields<'_>],
        (track, time): (Track, Option<&str>),
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        // What it says itself.
        if let [part] = parts
            && let Some(said) = part.text("text").filter(|said| said.starts_with(FAILED))
        {
            self.failed = Some(said.trim_start_matches(FAILED).lines().next().unwrap_or_default().to_owned());
            let mut step = Step::failure(time, said.as_ref());
            step.extra.put("src", source);
            return draft.push(track, step).map(|_| ());
        }
        let compacts = |part: &Fields<'_>| {
            part.is("type", "conversationCompacted") || part.is("type", "summarizationRequested")
        };
        if !parts.is_empty() && parts.iter().all(compacts) {
            draft.compacted(track, 1);
            let said = parts.first().and_then(|part| part.owned("msg")).unwrap_or_default();
            let mut step = Step::system(time, said);
            step.extra.put("src", source);
            return draft.push(track, step).map(|_| ());
        }
        let new = || {
            let mut step = Step::agent(time);
            step.extra.put("src", source);
            step
        };
        let metadata = message.object("metadata").unwrap_or_default();
        let at = match message.word("id") {
            Some(id) => draft.keyed(track, &id, new)?,
            None => draft.push(track, new())?,
        };
        let goes_on = message.has("id");
        for part in parts {
            part_of(part, at, goes_on, draft)?;
        }
        if let Some(step) = draft.step(at) {
            let inference = metadata.object("inference").unwrap_or_default();
            let model = inference.owned("resolvedModel").or_else(|| inference.owned("requestedModel"));
            step.model_name = step.model_name.take().or(model);
            if let Some(said) = metadata.object("usage") {
                step.usage = usage(&said).or(step.usage);
                step.metrics.get_or_insert_default().extra.take("usage", metadata.get("usage"));
            }
        }
        self.failed = None;
        self.ended = Some(draft.step(at).is_none_or(|step| step.tool_calls.is_empty()));
        Ok(())
    }
}

/// Adds a part of an answer.
fn part_of(part: &Fields<'_>, at: At, goes_on: bool, draft: &mut Draft<'_>) -> io::Result<()> {
    match &*part.text("type").unwrap_or_default() {
        "thinking" => {
            let thought = part.word("thinking").or_else(|| part.word("text")).unwrap_or_default();
            if let Some(step) = draft.step(at) {
                if goes_on { step.think_on(&thought) } else { step.think(&thought) }
            }
        }
        "redactedThinking" => {
            if let Some(step) = draft.step(at) {
                let known = step.extra.get("redacted_thinking").and_then(|count| count.get().parse().ok());
                step.extra.put("redacted_thinking", known.unwrap_or(0_u64) + 1);
            }
        }
        "toolRequest" | "frontendToolRequest" => return request(part, at, draft),
        "toolResponse" => return result(part, at.track(), None, draft),
        "text" if goes_on => {
            if let Some(step) = draft.step(at) {
                step.message.go_on(&part.text("text").unwrap_or_default());
            }
        }
        _ => {
            let mut said = Content::default();
            add(part, &mut said, draft)?;
            if let Some(step) = draft.step(at) {
                step.message.append(said);
            }
        }
    }
    Ok(())
}

/// Adds a part that is no call and no answer.
fn add(part: &Fields<'_>, to: &mut Content, draft: &mut Draft<'_>) -> io::Result<()> {
    match &*part.text("type").unwrap_or_default() {
        "text" => to.add(&part.text("text").unwrap_or_default()),
        "image" => {
            let kind = part.text("mimeType").or_else(|| part.text("mime_type")).unwrap_or_default();
            if let Some(picture) = draft.picture(&kind, &part.text("data").unwrap_or_default())? {
                to.add_part(picture);
            }
        }
        _ => {
            let said = ["msg", "text", "prompt"].iter().find_map(|key| part.owned(key));
            let whole = || {
                let fields = part.iter().map(|(key, value)| (key.to_owned(), Json::of(value)));
                serde_json::to_string(&fields.collect::<std::collections::BTreeMap<_, _>>())
                    .unwrap_or_default()
            };
            to.add(&said.unwrap_or_else(whole));
        }
    }
    Ok(())
}

fn request(part: &Fields<'_>, at: At, draft: &mut Draft<'_>) -> io::Result<()> {
    let said = part.object("toolCall").unwrap_or_default();
    // Older releases have it without a status.
    let value = said.object("value").or_else(|| said.object("Ok")).unwrap_or_else(|| said.clone());
    let id = part.text("id").unwrap_or_default();
    let name = value.text("name").unwrap_or_default();
    let mut call = ToolCall::new(&id, &name, Json::arguments(value.get("arguments")));
    call.extra.take("error", said.get("error").or_else(|| said.get("Err")));
    draft.call(at, call).map(|_| ())
}

fn result(part: &Fields<'_>, track: Track, time: Option<&str>, draft: &mut Draft<'_>) -> io::Result<()> {
    let said = part.object("toolResult").or_else(|| part.object("tool_result")).unwrap_or_default();
    let value = said.get("value").or_else(|| said.get("Ok"));
    let inner = value.and_then(Fields::of).unwrap_or_default();
    let error = said.get("error").or_else(|| said.get("Err"));
    let list: Option<&RawValue> = inner.get("content").or(value);
    let mut content = Content::default();
    for part in list.map(fields::list).unwrap_or_default() {
        add(&Fields::of(part).unwrap_or_default(), &mut content, draft)?;
    }
    if let Some(error) = error {
        content.add(&fields::text(error).unwrap_or_else(|| error.get().into()));
    }
    let mut result = ObservationResult::new(content);
    result.extra.take("structured_content", inner.get("structuredContent"));
    if let Some(time) = time {
        result.extra.put("timestamp", time);
    }
    if error.is_some() || said.is("status", "error") || inner.truth("isError") {
        result = result.failed();
    }
    draft.answer(track, &part.text("id").unwrap_or_default(), result, time).map(|_| ())
}

/// Reads tokens: what is read from a cache and for it is within what is read.
pub fn usage(fields: &Fields<'_>) -> Option<Usage> {
    let odd = Odd::default();
    let count = |names: [&'static str; 3]| names.into_iter().find_map(|name| fields.tokens(name, &odd));
    let input = count(["input_tokens", "inputTokens", "prompt_tokens"]);
    let output = count(["output_tokens", "outputTokens", "completion_tokens"]);
    if input.is_none() && output.is_none() && odd.name().is_none() {
        return None;
    }
    let cache_read = count(["cache_read_input_tokens", "cacheReadTokens", "cache_read_tokens"]).unwrap_or(0);
    let cache_write =
        count(["cache_write_input_tokens", "cacheWriteTokens", "cache_write_tokens"]).unwrap_or(0);
    let input = input.unwrap_or(0).saturating_sub(cache_read).saturating_sub(cache_write);
    let cost = fields.float("cost").filter(|cost| *cost >= 0.0);
    Some(Usage { input, cache_read, cache_write, output: output.unwrap_or(0), cost, odd: odd.name() })
}
