//! The blocks of which answers, prompts and results of tools are made.

use std::io;

use base64::Engine as _;
use serde_json::value::RawValue;

use crate::atif::draft::{At, Draft, Track};
use crate::atif::fields::{self, Fields, Odd};
use crate::atif::raw::{Extra, Json};
use crate::atif::step::{Content, ObservationResult, Part, Step, ToolCall, Usage};

/// What stands before reasoning in the place of a cipher, where a router wrote it.
const ENVELOPE: &str = "openrouter.reasoning:";

/// A block of a model's answer.
pub fn block(block: &Fields<'_>, draft: &mut Draft<'_>, track: Track, at: At) -> io::Result<()> {
    let kind = block.text("type").unwrap_or_default();
    match &*kind {
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            let id = block.text("id").unwrap_or_default();
            let name = block.text("name").unwrap_or_default();
            let mut call = ToolCall::new(&id, &name, Json::arguments(block.get("input")));
            if kind != "tool_use" {
                call.extra.put("type", &*kind);
            }
            draft.call(at, call)?;
            return Ok(());
        }
        result if result.ends_with("_tool_result") => {
            let id = block.text("tool_use_id").unwrap_or_default();
            let result = ObservationResult::new(content(block.get("content"), draft)?);
            draft.answer(track, &id, result, None)?;
            return Ok(());
        }
        _ => {}
    }
    let Some(step) = draft.step(at) else {
        draft.report.partial("late-block", "a block came long after its step", None);
        return Ok(());
    };
    match &*kind {
        "text" if block.text("text").is_some() => step.message.add(&block.text("text").unwrap_or_default()),
        "thinking" => step.think(&block.text("thinking").unwrap_or_default()),
        "redacted_thinking" => {
            if let Some(text) = block.text("data").and_then(|data| revealed(&data)) {
                step.think(&text);
            } else {
                let before = step.extra.get("redacted_thinking");
                let before = before.and_then(|count| count.get().parse().ok()).unwrap_or(0_u64);
                step.extra.put("redacted_thinking", before + 1);
            }
        }
        unknown => {
            draft.report.unknown(&format!("block {unknown}"));
            keep(draft, track, block);
        }
    }
    Ok(())
}

/// What a tool returned, as the model reads it.
pub fn content(content: Option<&RawValue>, draft: &mut Draft<'_>) -> io::Result<Content> {
    let Some(content) = content else { return Ok(Content::default()) };
    if let Some(text) = fields::text(content) {
        return Ok(text.into_owned().into());
    }
    let blocks = fields::list(content);
    if blocks.is_empty() && content.get() != "[]" {
        return Ok(content.get().into());
    }
    let mut parts = Content::default();
    for raw in blocks {
        let block = Fields::of(raw).unwrap_or_default();
        match block.text("type").as_deref() {
            Some("text") => parts.add(&block.text("text").unwrap_or_default()),
            Some("image") => match picture(&block, draft)? {
                Some(part) => parts.add_part(part),
                None => parts.add(raw.get()),
            },
            _ => parts.add(raw.get()),
        }
    }
    Ok(parts)
}

/// A block of what a user says.
pub fn part(block: &Fields<'_>, said: &mut Content, draft: &mut Draft<'_>, track: Track) -> io::Result<()> {
    match &*block.text("type").unwrap_or_default() {
        "text" => said.add(&block.text("text").unwrap_or_default()),
        "image" => match picture(block, draft)? {
            Some(part) => said.add_part(part),
            None => keep(draft, track, block),
        },
        unknown => {
            draft.report.unknown(&format!("block {unknown}"));
            keep(draft, track, block);
        }
    }
    Ok(())
}

/// Keeps what is not known, for a person to look at.
pub fn keep(draft: &mut Draft<'_>, track: Track, record: &Fields<'_>) {
    draft.unread(track, record.iter());
}

/// The text of what was added to a prompt.
pub fn rendered(block: &Fields<'_>) -> Option<String> {
    if let Some(text) = block.word("content") {
        return Some(text.into_owned());
    }
    let parts = block.objects("content");
    let texts: Vec<String> = parts.iter().filter_map(|part| part.owned("text")).collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

pub fn texts(message: &Fields<'_>) -> String {
    if let Some(text) = message.text("content") {
        return text.into_owned();
    }
    let blocks = message.objects("content");
    let texts: Vec<String> = blocks.iter().filter_map(|block| block.owned("text")).collect();
    texts.join("\n\n")
}

pub fn picture(block: &Fields<'_>, draft: &mut Draft<'_>) -> io::Result<Option<Part>> {
    let source = block.object("source").unwrap_or_default();
    match (source.text("media_type"), source.text("data")) {
        (Some(media_type), Some(data)) => draft.picture(&media_type, &data),
        _ => Ok(None),
    }
}

/// Returns the reasoning that a router wrote in the place of a cipher.
pub fn revealed(data: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(data.strip_prefix(ENVELOPE)?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    Fields::parse(&text).ok()?.word("text").map(std::borrow::Cow::into_owned)
}

/// Takes the numbers of the last record of an answer: they grow from one to the next.
pub fn take_usage(step: &mut Step, usage: &Fields<'_>) {
    let odd = Odd::default();
    let count = |key: &'static str| usage.tokens(key, &odd).unwrap_or(0);
    step.usage = Some(Usage {
        input: count("input_tokens"),
        cache_read: count("cache_read_input_tokens"),
        cache_write: count("cache_creation_input_tokens"),
        output: count("output_tokens"),
        cost: None,
        odd: odd.name(),
    });
    let known = ["input_tokens", "cache_read_input_tokens", "output_tokens"];
    let extra = &mut step.metrics.get_or_insert_default().extra;
    for (key, value) in usage.iter().filter(|(key, _)| !known.contains(key)) {
        extra.take(key, Some(value));
    }
}

/// Returns what a tool said to the program, without what the model was told as well.
pub fn beside(structured: &Fields<'_>, content: &str) -> Extra {
    let mut kept = Extra::default();
    let mut same = Vec::new();
    for (key, value) in structured.iter() {
        let text = fields::text(value);
        if text.is_some_and(|text| text.len() > 32 && text.trim() == content.trim()) {
            same.push(key.to_owned());
        } else {
            kept.take(key, Some(value));
        }
    }
    if !same.is_empty() {
        kept.put("same_as_content", same);
    }
    kept
}
