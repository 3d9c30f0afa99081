//! The blocks of which messages of Pi are made.

use std::io;

use serde_json::value::RawValue;

use crate::atif::draft::{At, Draft, MAIN};
use crate::atif::fields::{self, Fields, Odd};
use crate::atif::raw::{Extra, Json};
use crate::atif::step::{Content, Step, ToolCall, Usage};

/// The blocks of a model's answer, which belong to a step that was just made.
pub fn answer(message: &Fields<'_>, draft: &mut Draft<'_>, at: At) -> io::Result<()> {
    if let Some(text) = message.word("content")
        && let Some(step) = draft.step(at)
    {
        step.message.add(&text);
    }
    for block in message.objects("content") {
        let kind = block.text("type").unwrap_or_default();
        if kind == "toolCall" {
            let id = block.text("id").unwrap_or_default();
            let name = block.text("name").unwrap_or_default();
            draft.call(at, ToolCall::new(&id, &name, Json::arguments(block.get("arguments"))))?;
            continue;
        }
        if kind == "image" {
            if let Some(part) = picture(&block, draft)?
                && let Some(step) = draft.step(at)
            {
                step.message.add_part(part);
            }
            continue;
        }
        let Some(step) = draft.step(at) else { continue };
        match &*kind {
            "text" => step.message.add(&block.text("text").unwrap_or_default()),
            // The words are a stand-in for a cipher.
            "thinking" if block.truth("redacted") => {
                let before = step.extra.get("redacted_thinking");
                let before = before.and_then(|count| count.get().parse().ok()).unwrap_or(0_u64);
                step.extra.put("redacted_thinking", before + 1);
            }
            "thinking" => step.think(&block.text("thinking").unwrap_or_default()),
            unknown => {
                draft.report.unknown(&format!("block {unknown}"));
                draft.unread(MAIN, block.iter());
            }
        }
    }
    Ok(())
}

/// A text, or a list of texts and pictures; what is neither is taken over as its text.
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

fn picture(block: &Fields<'_>, draft: &mut Draft<'_>) -> io::Result<Option<crate::atif::step::Part>> {
    match (block.text("mimeType"), block.text("data")) {
        (Some(media_type), Some(data)) => draft.picture(&media_type, &data),
        _ => Ok(None),
    }
}

/// Takes the tokens of an answer, and returns them.
pub fn usage(step: &mut Step, native: &Fields<'_>) -> Usage {
    let usage = tokens(native);
    step.usage = Some(usage);
    let extra = &mut step.metrics.get_or_insert_default().extra;
    for (key, value) in native.iter() {
        extra.take(key, Some(value));
    }
    usage
}

pub fn tokens(native: &Fields<'_>) -> Usage {
    let odd = Odd::default();
    let count = |key: &'static str| native.tokens(key, &odd).unwrap_or(0);
    let cost = native.object("cost").and_then(|cost| cost.float("total"));
    Usage {
        input: count("input"),
        cache_read: count("cacheRead"),
        cache_write: count("cacheWrite"),
        output: count("output"),
        // Pi writes 0 for a model whose prices it does not know.
        cost: cost.filter(|cost| *cost > 0.0),
        odd: odd.name(),
    }
}

/// Returns what a tool said to the program, without what the model was told as well.
pub fn beside(details: &Fields<'_>, content: Option<&Content>) -> Extra {
    let whole = match content {
        Some(Content::Text(text)) => text.trim(),
        _ => "",
    };
    let mut kept = Extra::default();
    let mut same = Vec::new();
    for (key, value) in details.iter() {
        let text = fields::text(value);
        if text.is_some_and(|text| text.len() > 32 && text.trim() == whole) {
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
