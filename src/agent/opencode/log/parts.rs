//! Messages, and the parts of which they are made: a step for each call of the model, which begins with `step-start`.

use std::io;

use super::{Last, Reader};
use crate::atif::draft::{At, Draft, MAIN, Track};
use crate::atif::fields::{Fields, Odd};
use crate::atif::raw::{Extra, Json};
use crate::atif::step::{Content, ObservationResult, Step, ToolCall, Usage};
use crate::atif::time;

/// Who speaks in a session, as far as it is known yet.
#[derive(Clone, Debug)]
pub struct Speaker {
    pub track: Track,
    pub session: Option<String>,
    /// How much the model is to think.
    pub effort: Option<String>,
    pub model: Option<String>,
}

/// Returns the name of a model as people write it, `provider/name`.
pub fn model(fields: &Fields<'_>, key: &str) -> Option<String> {
    let name = fields.word(key)?;
    Some(match fields.word("providerID") {
        Some(provider) => format!("{provider}/{name}"),
        None => name.into_owned(),
    })
}

pub fn variant(fields: &Fields<'_>) -> Option<String> {
    fields.owned("variant").filter(|variant| variant != "default")
}

/// Returns a time in milliseconds as the format has it.
pub fn millis(fields: &Fields<'_>, key: &str) -> Option<String> {
    time::of_millis(i64::try_from(fields.count(key)?).ok()?)
}

/// The words of an error.
pub fn reason(error: &Fields<'_>) -> String {
    let data = error.object("data").unwrap_or_default();
    let said = data.word("message").or_else(|| error.word("message")).or_else(|| error.word("name"));
    said.map_or_else(|| "no reason is given".to_owned(), std::borrow::Cow::into_owned)
}

impl Reader<'_> {
    pub(super) fn message(
        &mut self,
        info: &Fields<'_>,
        parts: &[Fields<'_>],
        speaker: &mut Speaker,
        draft: &mut Draft<'_>,
    ) -> io::Result<()> {
        let role = info.text("role").unwrap_or_default();
        draft.report.count(&format!("message {role}"));
        match &*role {
            "user" => self.user(info, parts, speaker, draft),
            "assistant" => self.assistant(info, parts, speaker, draft),
            unknown => {
                draft.report.unknown(&format!("message {unknown}"));
                draft.unread(speaker.track, info.iter());
                for part in parts {
                    draft.unread(speaker.track, part.iter());
                }
                Ok(())
            }
        }
    }

    fn user(
        &mut self,
        info: &Fields<'_>,
        parts: &[Fields<'_>],
        speaker: &mut Speaker,
        draft: &mut Draft<'_>,
    ) -> io::Result<()> {
        let time = info.object("time").and_then(|time| millis(&time, "created"));
        let asked = info.object("model").unwrap_or_default();
        speaker.effort = variant(&asked).or_else(|| speaker.effort.take());
        speaker.model = model(&asked, "modelID").or_else(|| speaker.model.take());
        let mut said = Content::default();
        let (mut beside, mut compactions, mut is_synthetic) = (Vec::new(), 0, true);
        for part in parts {
            let kind = part.text("type").unwrap_or_default();
            draft.report.count(&format!("part {kind}"));
            match &*kind {
                "text" => {
                    is_synthetic &= part.truth("synthetic");
                    said.add(&part.text("text").unwrap_or_default());
                }
                "file" => {
                    if !file(part, &mut said, draft)? {
                        beside.push(rest(part));
                    }
                }
                "compaction" => {
                    compactions += 1;
                    beside.push(rest(part));
                }
                "agent" | "subtask" => beside.push(rest(part)),
                "snapshot" | "patch" => {}
                unknown => {
                    draft.report.unknown(&format!("part {unknown}"));
                    draft.unread(speaker.track, part.iter());
                }
            }
        }
        if speaker.track == MAIN {
            self.last = Last::Middle;
        }
        // A request to make the conversation shorter is the program's.
        let is_program = compactions > 0 && said.is_empty();
        if compactions > 0 {
            draft.compacted(speaker.track, compactions);
        }
        let mut step =
            if is_program { Step::system(time.as_deref(), "") } else { Step::user(time.as_deref(), said) };
        step.extra.take("message_id", info.get("id"));
        step.extra.take("system_prompt", info.get("system"));
        if is_synthetic && !step.message.is_empty() {
            step.extra.put("synthetic", true);
        }
        if !beside.is_empty() {
            step.extra.list("parts", &beside);
        }
        draft.push(speaker.track, step).map(|_| ())
    }

    fn assistant(
        &mut self,
        info: &Fields<'_>,
        parts: &[Fields<'_>],
        speaker: &mut Speaker,
        draft: &mut Draft<'_>,
    ) -> io::Result<()> {
        let track = speaker.track;
        let times = info.object("time").unwrap_or_default();
        speaker.model = model(info, "modelID").or_else(|| speaker.model.take());
        if draft.head(track).model.is_none() {
            draft.head(track).model.clone_from(&speaker.model);
        }
        let effort = variant(info).or_else(|| speaker.effort.clone());
        let (created, named) = (millis(&times, "created"), speaker.model.clone());
        let new = |time: Option<&str>| {
            let mut step = Step::agent(time);
            step.model_name.clone_from(&named);
            step.reasoning_effort.clone_from(&effort);
            step.extra.take("message_id", info.get("id"));
            step.extra.take("agent", info.get("agent").or_else(|| info.get("mode")));
            if info.truth("summary") {
                step.extra.put("is_compact_summary", true);
            }
            step
        };
        let (mut current, mut steps, mut cost, mut finish) = (None, 0, 0.0, None);
        let mut is_open = false;
        for part in parts {
            let kind = part.text("type").unwrap_or_default();
            draft.report.count(&format!("part {kind}"));
            match &*kind {
                "snapshot" | "patch" => continue,
                "retry" => {
                    let error = part.object("error").unwrap_or_default();
                    let when = part.object("time").and_then(|time| millis(&time, "created"));
                    failed(draft, track, when.as_deref(), &error, part.get("attempt").map(Json::of))?;
                    continue;
                }
                _ => {}
            }
            let at = match current {
                Some(at) if is_open && kind != "step-start" || kind == "step-finish" => at,
                _ => {
                    // Only the first call of a message was made when the message was.
                    let own = part.object("time").and_then(|time| millis(&time, "start"));
                    let first = created.as_deref().filter(|_| steps == 0);
                    steps += 1;
                    draft.push(track, new(first.or(own.as_deref())))?
                }
            };
            (current, is_open) = (Some(at), kind != "step-finish");
            if let Some(ended) = self.part(part, draft, at)? {
                cost += ended.cost;
                finish = Some(ended.reason);
            }
        }
        if steps == 1
            && let Some(step) = current.and_then(|at| draft.step(at))
            && step.usage.is_none()
        {
            // It was cut before its end, and may have numbers all the same.
            take_tokens(step, info);
        }
        let own = info.float("cost").unwrap_or(0.0);
        self.cost += if own > 0.0 { own } else { cost };
        let error = info.object("error");
        if let Some(error) = &error {
            let when = millis(&times, "completed").or(created);
            if steps == 0 {
                let mut step = Step::failure(when.as_deref(), reason(error));
                step.model_name.clone_from(&speaker.model);
                step.extra.take("message_id", info.get("id"));
                step.extra.take("error", info.get("error"));
                draft.push(track, step)?;
            } else {
                failed(draft, track, when.as_deref(), error, None)?;
            }
            self.errors.push(reason(error));
        }
        if track == MAIN {
            let finish = info.owned("finish").or(finish).unwrap_or_default();
            self.last = match error {
                Some(error) if error.is("name", "MessageAbortedError") => Last::Middle,
                Some(error) => Last::Failure(reason(&error)),
                None => ended(&finish),
            };
        }
        Ok(())
    }

    /// Adds a part to its step; returns how the call of the model ended, where this is its end.
    pub(super) fn part(&self, part: &Fields<'_>, draft: &mut Draft<'_>, at: At) -> io::Result<Option<Ended>> {
        let kind = part.text("type").unwrap_or_default();
        if kind == "tool" {
            return self.tool(part, draft, at).map(|()| None);
        }
        let Some(step) = draft.step(at) else {
            draft.report.partial("late-part", "a part came long after its step", None);
            return Ok(None);
        };
        match &*kind {
            "step-start" => {}
            "text" => step.message.add(&part.text("text").unwrap_or_default()),
            "reasoning" => step.think(&part.text("text").unwrap_or_default()),
            "file" => {
                let mut said = std::mem::take(&mut step.message);
                let is_there = file(part, &mut said, draft)?;
                if let Some(step) = draft.step(at) {
                    step.message = said;
                    if !is_there {
                        step.extra.list("parts", &[rest(part)]);
                    }
                }
            }
            "step-finish" => {
                take_tokens(step, part);
                let reason = part.owned("reason").unwrap_or_default();
                step.extra.put("finish_reason", reason.clone());
                let cost = part.float("cost").filter(|cost| *cost > 0.0);
                if let (Some(usage), Some(_)) = (&mut step.usage, cost) {
                    usage.cost = cost;
                }
                return Ok(Some(Ended { reason, cost: cost.unwrap_or(0.0) }));
            }
            unknown => {
                draft.report.unknown(&format!("part {unknown}"));
                draft.unread(MAIN, part.iter());
            }
        }
        Ok(None)
    }

    fn tool(&self, part: &Fields<'_>, draft: &mut Draft<'_>, at: At) -> io::Result<()> {
        let state = part.object("state").unwrap_or_default();
        let status = state.text("status").unwrap_or_default();
        let id = part.word("callID").or_else(|| part.word("id")).unwrap_or_default();
        let name = part.text("tool").unwrap_or_default();
        // What the model wrote until now, where it has not ended.
        let raw =
            state.word("raw").filter(|_| state.object("input").is_none_or(|input| input.iter().count() == 0));
        let arguments =
            raw.map_or_else(|| Json::arguments(state.get("input")), |raw| Json::arguments_in(&raw));
        let mut call = ToolCall::new(&id, &name, arguments);
        let times = state.object("time").unwrap_or_default();
        if let Some(time) = millis(&times, "start") {
            call.extra.put("started", time);
        }
        let metadata = state.object("metadata").unwrap_or_default();
        let content = match &*status {
            "completed" => state.text("output"),
            "error" => Some(state.text("error").unwrap_or_default()),
            // Of a version that has another word for it.
            _ => state.text("output").or_else(|| state.text("error")),
        };
        let Some(content) = content else {
            call.extra.put("status", &*status);
            call.extra.nest("metadata", &without(&metadata, ""));
            return draft.call(at, call).map(|_| ());
        };
        let at = draft.call(at, call)?;
        let beside = without(&metadata, &content);
        let mut said = Content::default();
        said.add(&content);
        let mut files = Vec::new();
        for attachment in state.objects("attachments") {
            if !file(&attachment, &mut said, draft)? {
                files.push(rest(&attachment));
            }
        }
        let mut result = ObservationResult::new(said);
        if status == "error" {
            result = result.failed();
        }
        if let Some(time) = millis(&times, "end") {
            result.extra.put("timestamp", time);
        }
        result.extra.take("title", state.get("title"));
        result.extra.nest("metadata", &beside);
        if !files.is_empty() {
            result.extra.list("attachments", &files);
        }
        let at = draft.answer(at.track(), &id, result, None)?;
        if let Some(session) = metadata.word("sessionId").filter(|session| self.known.contains(&**session)) {
            let sub = draft.sub(at.track(), &session);
            if let Some(name) = state.object("input").and_then(|input| input.owned("subagent_type")) {
                draft.name(sub, &name);
            }
            draft.refer(at, &id, &session);
        }
        Ok(())
    }
}

/// How a call of the model ended, and what it cost.
pub struct Ended {
    pub reason: String,
    pub cost: f64,
}

/// What a reason to end means for the run: after a call of a tool it goes on.
pub fn ended(reason: &str) -> Last {
    match reason {
        "" | "tool-calls" | "unknown" => Last::Middle,
        _ => Last::End,
    }
}

/// Adds what went wrong beside an answer.
pub fn failed(
    draft: &mut Draft<'_>,
    track: Track,
    time: Option<&str>,
    error: &Fields<'_>,
    attempt: Option<Json>,
) -> io::Result<()> {
    let mut step = Step::system(time, reason(error));
    let mut kept = Extra::default();
    for (key, value) in error.iter() {
        kept.take(key, Some(value));
    }
    step.extra.nest("error", &kept);
    if let Some(attempt) = attempt {
        step.extra.set("attempt", attempt);
    }
    draft.push(track, step).map(|_| ())
}

/// Takes `tokens`: what was read from the cache is not in `input`, and thoughts are not in `output` unless the total says so.
fn take_tokens(step: &mut Step, record: &Fields<'_>) {
    let Some(tokens) = record.object("tokens") else { return };
    let cache = tokens.object("cache").unwrap_or_default();
    let odd = Odd::default();
    let of = |fields: &Fields<'_>, key: &'static str| fields.tokens(key, &odd).unwrap_or(0);
    let (input, output, thoughts) = (of(&tokens, "input"), of(&tokens, "output"), of(&tokens, "reasoning"));
    let (read, write) = (of(&cache, "read"), of(&cache, "write"));
    let visible = input.saturating_add(read).saturating_add(write).saturating_add(output);
    if visible == 0 && thoughts == 0 && odd.name().is_none() {
        return;
    }
    let is_inside = thoughts > 0 && tokens.count("total") == Some(visible);
    step.usage = Some(Usage {
        input,
        cache_read: read,
        cache_write: write,
        output: if is_inside { output } else { output.saturating_add(thoughts) },
        cost: None,
        odd: odd.name(),
    });
    let extra = &mut step.metrics.get_or_insert_default().extra;
    for (key, count) in [("reasoning_tokens", thoughts), ("cache_write_tokens", write)] {
        if count > 0 {
            extra.put(key, count);
        }
    }
    extra.take("total_tokens", tokens.get("total"));
}

/// Adds a picture; says whether it was one.
fn file(part: &Fields<'_>, said: &mut Content, draft: &mut Draft<'_>) -> io::Result<bool> {
    let url = part.text("url").unwrap_or_default();
    if !part.text("mime").is_some_and(|mime| mime.starts_with("image/")) || !url.starts_with("data:") {
        return Ok(false);
    }
    let Some(picture) = draft.picture_of_url(&url)? else { return Ok(false) };
    said.add_part(picture);
    Ok(true)
}

/// A part without the names of the places it is in.
fn rest(part: &Fields<'_>) -> Extra {
    let mut kept = Extra::default();
    for (key, value) in part.iter().filter(|(key, _)| !["id", "sessionID", "messageID"].contains(key)) {
        kept.take(key, Some(value));
    }
    kept
}

/// What a tool said to the program, without what the model was told as well.
fn without(metadata: &Fields<'_>, content: &str) -> Extra {
    let mut kept = Extra::default();
    for (key, value) in metadata.iter() {
        let same = crate::atif::fields::text(value).is_some_and(|text| text.trim() == content.trim());
        if !same {
            kept.take(key, Some(value));
        }
    }
    kept
}
