//! What becomes of one event or message: a step, a part of one, or the answer to a call.

use std::io;

use crate::agent::chat::{self, Beside};
use crate::atif::draft::{At, Draft, Track};
use crate::atif::fields::{self, Fields};
use crate::atif::raw::{Extra, Json};
use crate::atif::step::{ObservationResult, Step};

pub fn system_prompt(track: Track, said: &str, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
    let mut step = Step::system(None, said);
    step.extra.put("src", source);
    draft.push(track, step).map(|_| ())
}

/// Puts an answer to its call.
pub fn result(
    track: Track,
    payload: &Fields<'_>,
    draft: &mut Draft<'_>,
    beside: Beside<'_>,
) -> io::Result<At> {
    let id = payload.text("tool_call_id").unwrap_or_default();
    let said = payload.object("return_value").or_else(|| payload.object("result")).unwrap_or_default();
    let mut result = ObservationResult::new(chat::content(draft, said.get("output"))?);
    // What the model reads beside the output.
    for key in ["message", "brief", "extras"] {
        result.extra.take(key, said.get(key).filter(|value| value.get() != "\"\""));
    }
    if let Some(time) = beside.time {
        result.extra.put("timestamp", time);
    }
    if said.truth("is_error") {
        result = result.failed();
    }
    let at = draft.answer(track, &id, result, beside.time)?;
    if draft.find_sub(&id).is_some() {
        draft.refer(at, &id, &id);
    }
    Ok(at)
}

/// Adds a part of what the model said.
pub fn part_of(part: &Fields<'_>, at: At, goes_on: bool, draft: &mut Draft<'_>) -> io::Result<()> {
    let url = ["image_url", "audio_url", "video_url"]
        .iter()
        .find_map(|key| part.object(key).and_then(|inner| inner.owned("url")));
    let picture = match url {
        Some(url) => draft.picture_of_url(&url)?,
        None => None,
    };
    let Some(step) = draft.step(at) else { return Ok(()) };
    match (&*part.text("type").unwrap_or_default(), picture) {
        ("text", _) if goes_on && step.tool_calls.is_empty() => {
            step.message.go_on(&part.text("text").unwrap_or_default());
        }
        ("text", _) => step.message.add(&part.text("text").unwrap_or_default()),
        ("think", _) if goes_on => step.think_on(&part.text("think").unwrap_or_default()),
        ("think", _) => step.think(&part.text("think").unwrap_or_default()),
        (_, Some(picture)) => step.message.add_part(picture),
        (_, None) => {
            let mut other = Extra::default();
            for (key, value) in part.iter() {
                other.set(key, Json::of(value));
            }
            step.extra.nest("part", &other);
        }
    }
    Ok(())
}

/// Adds what the program itself says.
pub fn aside(
    track: Track,
    kind: &str,
    payload: &Fields<'_>,
    draft: &mut Draft<'_>,
    beside: Beside<'_>,
) -> io::Result<()> {
    let keys = ["body", "content", "question", "response", "error", "error_type"];
    let said = keys.iter().find_map(|key| payload.get(key)).and_then(fields::text).unwrap_or_default();
    let mut step = Step::system(beside.time, said.as_ref());
    step.extra.put("src", beside.source);
    step.extra.put("kind", kind);
    for (key, value) in payload.iter() {
        step.extra.take(key, Some(value));
    }
    draft.push(track, step).map(|_| ())
}
