//! Messages as the chat API of `OpenAI` has them, which several agents keep.

use std::io;

use serde_json::value::RawValue;

use crate::atif::draft::{At, Draft, Track};
use crate::atif::fields::{self, Fields};
use crate::atif::raw::Json;
use crate::atif::step::{Content, ObservationResult, Step, ToolCall};

/// What a message is beside itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    pub time: Option<&'a str>,
    /// Where it is in the log.
    pub source: &'a str,
}

/// Adds a message as a step, or as the answer of a tool; `None` where its role is unknown.
pub fn message(
    draft: &mut Draft<'_>,
    track: Track,
    fields: &Fields<'_>,
    beside: Beside<'_>,
) -> io::Result<Option<At>> {
    let said = content(draft, fields.get("content"))?;
    let mut step = match &*fields.text("role").unwrap_or_default() {
        "system" | "developer" => Step::system(beside.time, said),
        "user" => Step::user(beside.time, said),
        "assistant" => Step { message: said, ..Step::agent(beside.time) },
        "tool" => {
            let mut result = ObservationResult::new(said);
            if let Some(time) = beside.time {
                result.extra.put("timestamp", time);
            }
            let id = fields.text("tool_call_id").unwrap_or_default();
            return draft.answer(track, &id, result, beside.time).map(Some);
        }
        _ => return Ok(None),
    };
    step.extra.put("src", beside.source);
    let reasoning = ["reasoning_content", "reasoning", "thinking"];
    if let Some(thought) = reasoning.iter().find_map(|key| fields.get(key)) {
        step.think(&thinking(thought));
    }
    let at = draft.push(track, step)?;
    for call in fields.objects("tool_calls") {
        draft.call(at, tool_call(&call))?;
    }
    Ok(Some(at))
}

/// Reads a thought: a text, or an object that has one.
pub fn thinking(raw: &RawValue) -> String {
    if let Some(text) = fields::text(raw) {
        return text.into_owned();
    }
    let inner = Fields::of(raw).unwrap_or_default();
    ["thinking", "text", "content"].iter().find_map(|key| inner.owned(key)).unwrap_or_default()
}

/// Reads a call, whose name and arguments may be in a `function`.
pub fn tool_call(fields: &Fields<'_>) -> ToolCall {
    let inner = fields.object("function");
    let of = inner.as_ref().unwrap_or(fields);
    let id = fields.text("id").unwrap_or_default();
    ToolCall::new(&id, &of.text("name").unwrap_or_default(), Json::arguments(of.get("arguments")))
}

/// Reads a text, or texts and pictures; of other parts the words are kept.
pub fn content(draft: &mut Draft<'_>, raw: Option<&RawValue>) -> io::Result<Content> {
    let Some(raw) = raw else { return Ok(Content::default()) };
    if let Some(text) = fields::text(raw) {
        return Ok(text.as_ref().into());
    }
    let mut content = Content::default();
    if !raw.get().starts_with('[') {
        content.add(Json::of(raw).get());
        return Ok(content);
    }
    for part in fields::list(raw) {
        if let Some(text) = fields::text(part) {
            content.add(&text);
            continue;
        }
        let fields = Fields::of(part).unwrap_or_default();
        let url = fields
            .object("image_url")
            .and_then(|image| image.owned("url"))
            .or_else(|| fields.owned("image_url"));
        if let Some(text) = fields.text("text") {
            content.add(&text);
        } else if let Some(url) = url {
            if let Some(picture) = draft.picture_of_url(&url)? {
                content.add_part(picture);
            }
        } else {
            content.add(Json::of(part).get());
        }
    }
    Ok(content)
}
