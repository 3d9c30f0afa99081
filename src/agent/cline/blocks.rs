//! Messages of Cline: blocks as the API of Anthropic has them, with tokens and the model beside them.

use std::io;

use super::log::when;
use crate::atif::draft::{At, Draft, Track};
use crate::atif::fields::{self, Fields, Odd};
use crate::atif::raw::Json;
use crate::atif::step::{Content, ObservationResult, Step, ToolCall, Usage};

/// Adds a message; returns how many calls an answer of the model has.
pub fn message(
    message: &Fields<'_>,
    track: Track,
    draft: &mut Draft<'_>,
    source: &str,
) -> io::Result<Option<usize>> {
    let time = when(message);
    let text = message.text("content");
    let parts = message.objects("content");
    if message.is("role", "assistant") {
        let mut step = Step::agent(time.as_deref());
        step.message.add(&text.unwrap_or_default());
        step.extra.put("src", source);
        take_metrics(message, &mut step);
        let at = draft.push(track, step)?;
        let mut calls = 0;
        for part in &parts {
            calls += usize::from(answer(part, at, draft)?);
        }
        return Ok(Some(calls));
    }
    let mut said = Content::default();
    said.add(&text.unwrap_or_default());
    for part in &parts {
        if part.is("type", "tool_result") {
            result(part, track, time.as_deref(), draft)?;
        } else {
            add(part, &mut said, draft)?;
        }
    }
    if !said.is_empty() {
        let is_user = message.is("role", "user");
        let mut step =
            if is_user { Step::user(time.as_deref(), said) } else { Step::system(time.as_deref(), said) };
        step.extra.put("src", source);
        step.extra.take("metadata", message.get("metadata"));
        draft.push(track, step)?;
    }
    Ok(None)
}

fn take_metrics(message: &Fields<'_>, step: &mut Step) {
    let model = message.object("modelInfo").unwrap_or_default();
    step.model_name = model.owned("id").or_else(|| model.owned("modelId"));
    let Some(metrics) = message.object("metrics") else { return };
    // Tasks of older releases.
    let older = metrics.object("tokens");
    let mut usage = match &older {
        Some(older) => {
            let odd = Odd::default();
            let count = |key: &'static str| older.tokens(key, &odd).unwrap_or(0);
            Usage {
                input: count("prompt"),
                cache_read: count("cached"),
                output: count("completion"),
                odd: odd.name(),
                ..Usage::default()
            }
        }
        None => tokens(&metrics),
    };
    usage.cost = metrics.float("cost").filter(|cost| *cost > 0.0);
    step.usage = Some(usage);
    let extra = &mut step.metrics.get_or_insert_default().extra;
    for (key, value) in metrics.iter().filter(|(key, _)| *key != "cost") {
        extra.take(key, Some(value));
    }
}

/// Reads tokens: those of a cache are within those that were read.
pub fn tokens(metrics: &Fields<'_>) -> Usage {
    let odd = Odd::default();
    let count = |key: &'static str| metrics.tokens(key, &odd).unwrap_or(0);
    let (cache_read, cache_write) = (count("cacheReadTokens"), count("cacheWriteTokens"));
    let input = count("inputTokens").saturating_sub(cache_read.saturating_add(cache_write));
    Usage { input, cache_read, cache_write, output: count("outputTokens"), cost: None, odd: odd.name() }
}

/// Adds a part of an answer; says whether it is a call.
fn answer(part: &Fields<'_>, at: At, draft: &mut Draft<'_>) -> io::Result<bool> {
    match &*part.text("type").unwrap_or_default() {
        "thinking" | "reasoning" => {
            let thought = part.word("thinking").or_else(|| part.word("text")).unwrap_or_default();
            if let Some(step) = draft.step(at) {
                step.think(&thought);
            }
        }
        "redacted_thinking" => {
            if let Some(step) = draft.step(at) {
                let known = step.extra.get("redacted_thinking").and_then(|count| count.get().parse().ok());
                step.extra.put("redacted_thinking", known.unwrap_or(0_u64) + 1);
            }
        }
        "tool_use" => {
            let id = part.text("id").unwrap_or_default();
            let name = part.text("name").unwrap_or_default();
            draft.call(at, ToolCall::new(&id, &name, Json::arguments(part.get("input"))))?;
            return Ok(true);
        }
        _ => {
            let mut said = Content::default();
            add(part, &mut said, draft)?;
            if let Some(step) = draft.step(at) {
                step.message.append(said);
            }
        }
    }
    Ok(false)
}

fn result(part: &Fields<'_>, track: Track, time: Option<&str>, draft: &mut Draft<'_>) -> io::Result<()> {
    let mut content = Content::default();
    let said = part.get("content");
    let parts = said.map(fields::list).unwrap_or_default();
    let mut has_failed = part.truth("is_error");
    for part in &parts {
        match Fields::of(part) {
            // What became of one of several things that were asked for.
            Some(part) if part.has("query") && part.has("success") => {
                content.add(&part.text("result").unwrap_or_default());
                has_failed |= part.get("success").is_some_and(|success| success.get() == "false");
            }
            Some(part) => add(&part, &mut content, draft)?,
            None => content.add(&fields::text(part).unwrap_or_else(|| part.get().into())),
        }
    }
    if let Some(said) = said.filter(|said| !said.get().starts_with('[')) {
        content.add(&fields::text(said).unwrap_or_else(|| said.get().into()));
    }
    let mut result = ObservationResult::new(content);
    if let Some(time) = time {
        result.extra.put("timestamp", time);
    }
    if parts.iter().any(|part| Fields::of(part).is_some_and(|part| part.has("query"))) {
        result.extra.take("results", said);
    }
    if has_failed {
        result = result.failed();
    }
    draft.answer(track, &part.text("tool_use_id").unwrap_or_default(), result, time).map(|_| ())
}

/// Adds a text or a picture; of other parts the words are kept.
fn add(part: &Fields<'_>, to: &mut Content, draft: &mut Draft<'_>) -> io::Result<()> {
    let kind = part.text("type").unwrap_or_default();
    if kind == "text" {
        to.add(&part.text("text").unwrap_or_default());
        return Ok(());
    }
    if kind == "image" {
        let source = part.object("source").unwrap_or_else(|| part.clone());
        let media = ["mediaType", "media_type"].iter().find_map(|key| source.owned(key)).unwrap_or_default();
        let data = ["data", "image"].iter().find_map(|key| source.text(key)).unwrap_or_default();
        if let Some(picture) = draft.picture(&media, &data)? {
            to.add_part(picture);
        }
        return Ok(());
    }
    let fields = part.iter().map(|(key, value)| (key.to_owned(), Json::of(value)));
    let whole = serde_json::to_string(&fields.collect::<std::collections::BTreeMap<_, _>>());
    to.add(&whole.unwrap_or_default());
    Ok(())
}
