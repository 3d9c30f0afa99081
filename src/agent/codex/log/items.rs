//! The items of a conversation: words, reasoning, calls and their answers.

use std::io;

use serde_json::json;
use serde_json::value::RawValue;

use super::thread::Thread;
use crate::atif::draft::{At, Draft};
use crate::atif::fields::{self, Fields};
use crate::atif::raw::{Extra, Json};
use crate::atif::step::{Content, ObservationResult, Step, ToolCall};

/// What an item holds beside its arguments.
const FRAME: &[&str] =
    &["type", "id", "call_id", "status", "name", "internal_chat_message_metadata_passthrough", "metadata"];

impl Thread<'_> {
    pub fn item(
        &mut self,
        record: &Fields<'_>,
        item: &Fields<'_>,
        draft: &mut Draft<'_>,
        time: Option<&str>,
        source: &str,
    ) -> io::Result<()> {
        let kind = item.text("type").unwrap_or_default();
        let metadata = record.object("metadata");
        let sampled = metadata.and_then(|metadata| metadata.count("sampled_through_sequence"));
        match &*kind {
            "message" if !item.is("role", "assistant") => self.said(item, draft, time, source),
            "agent_message" => self.letter(item, draft, time, source),
            "message" => {
                let words = content(item.get("content"), draft)?;
                let at = self.model(draft, time, source, sampled)?;
                if let Some(step) = draft.step(at) {
                    step.message.append(words);
                    step.extra.take("phase", item.get("phase"));
                }
                Ok(())
            }
            "reasoning" => {
                let at = self.model(draft, time, source, sampled)?;
                if let Some(step) = draft.step(at) {
                    think(item, step);
                }
                Ok(())
            }
            output if output.ends_with("_output") => self.output(item, draft, time),
            call if call.ends_with("_call") => {
                let at = self.model(draft, time, source, sampled)?;
                self.call(item, call, draft, at)
            }
            // A copy of the project, and a summary that only the vendor can read: `compacted` tells of it.
            "ghost_snapshot" | "compaction" | "compaction_summary" | "context_compaction" => Ok(()),
            unknown => {
                draft.report.unknown(&format!("item {unknown}"));
                draft.unread(self.track, item.iter());
                Ok(())
            }
        }
    }

    /// Returns the step of the call of the model to which the next item belongs.
    fn model(
        &mut self,
        draft: &mut Draft<'_>,
        time: Option<&str>,
        source: &str,
        sampled: Option<u64>,
    ) -> io::Result<At> {
        let is_other = match (sampled, self.sampled) {
            (Some(one), Some(other)) => one != other,
            _ => self.answered && self.counter.answers_end(),
        };
        let open = self.open.filter(|at| !is_other && draft.step(*at).is_some());
        if let Some(at) = open {
            return Ok(at);
        }
        let mut step = Step::agent(time);
        step.model_name.clone_from(&self.model);
        step.reasoning_effort.clone_from(&self.effort);
        step.extra.put("src", source);
        if let Some(turn) = &self.turn {
            step.extra.put("turn_id", turn.clone());
        }
        if self.is_copied {
            // It was counted where it was made.
            (step.is_copied_context, step.llm_call_count) = (true, None);
        }
        let at = draft.push(self.track, step)?;
        if !self.is_copied {
            self.counter.begin(at, draft);
        }
        (self.open, self.answered, self.sampled) = (Some(at), false, sampled);
        Ok(at)
    }

    /// What a user says, and what the program says to the model in a user's or its own name.
    fn said(
        &mut self,
        item: &Fields<'_>,
        draft: &mut Draft<'_>,
        time: Option<&str>,
        source: &str,
    ) -> io::Result<()> {
        let words = content(item.get("content"), draft)?;
        let mut step =
            if item.is("role", "user") { Step::user(time, words) } else { Step::system(time, words) };
        step.extra.put("src", source);
        if let Some(kinds) = item.object("internal_chat_message_metadata_passthrough") {
            step.extra.take("content_item_kinds", kinds.get("content_item_kinds"));
        }
        self.say(step, draft)
    }

    /// What one agent says to another.
    pub fn letter(
        &mut self,
        letter: &Fields<'_>,
        draft: &mut Draft<'_>,
        time: Option<&str>,
        source: &str,
    ) -> io::Result<()> {
        let words = content(letter.get("content"), draft)?;
        let mut step = Step::user(time, words);
        step.extra.put("src", source);
        for key in ["author", "recipient", "other_recipients"] {
            step.extra.take(key, letter.get(key));
        }
        self.say(step, draft)
    }

    fn call(&mut self, item: &Fields<'_>, kind: &str, draft: &mut Draft<'_>, at: At) -> io::Result<()> {
        let id = item.text("call_id").or_else(|| item.text("id")).unwrap_or_default();
        let name = item.word("name");
        let name = name.as_deref().unwrap_or(kind);
        let arguments = match kind {
            "function_call" => Json::arguments(item.get("arguments")),
            // Words in a language of the tool's own, whatever they look like.
            "custom_tool_call" => Json::value(&json!({ "input": item.text("input").unwrap_or_default() })),
            _ => arguments(item),
        };
        let mut call = ToolCall::new(&id, name, arguments);
        call.extra.take("namespace", item.get("namespace"));
        let status = item.get("status").filter(|status| status.get() != "\"completed\"");
        call.extra.take("status", status);
        // What the vendor's own servers do has no answer in the log, but for pictures.
        let is_answered = item.has("call_id");
        let picture = item.word("result").filter(|_| kind == "image_generation_call");
        if let Some(data) = picture {
            draft.call(at, call)?;
            let mut made = Content::default();
            if let Some(part) = draft.picture(media_type(&data), &data)? {
                made.add_part(part);
            }
            self.answered = true;
            return draft.answer(self.track, &id, ObservationResult::new(made), None).map(|_| ());
        }
        if is_answered {
            draft.call(at, call)?;
        } else if let Some(step) = draft.step(at) {
            step.tool_calls.push(call);
        }
        Ok(())
    }

    fn output(&mut self, item: &Fields<'_>, draft: &mut Draft<'_>, time: Option<&str>) -> io::Result<()> {
        let id = item.text("call_id").unwrap_or_default();
        let raw = item.get("output").or_else(|| item.get("tools"));
        let mut result = answer(raw, draft)?;
        let told = match &result.content {
            Some(Content::Text(text)) => told_exit(text),
            _ => None,
        };
        if let Some(code) = told {
            result.extra.put("exit_code", code);
        }
        let fact = self.facts.remove(&*id);
        let is_known = fact.is_some() || told.is_some();
        result.extra.append(fact.unwrap_or_default());
        if has_failed(&result.extra) {
            result = result.failed();
        }
        if let Some(time) = time {
            result.extra.put("timestamp", time);
        }
        let threads = self.spawned.remove(&*id);
        let at = draft.answer(self.track, &id, result, time)?;
        self.answered = true;
        if !is_known {
            self.runs_on(&id, at);
        }
        for thread in threads.or_else(|| Some(vec![spawned(item)?])).unwrap_or_default() {
            let has_log = || {
                let end = format!("{thread}.jsonl");
                self.logs.files().iter().any(|file| file.path.as_str().ends_with(&end))
            };
            if draft.find_sub(&thread).is_some() || has_log() {
                draft.sub(self.track, &thread);
                draft.refer(at, &id, &thread);
            }
        }
        Ok(())
    }
}

/// Says whether a call failed, by what is known of its end.
pub fn has_failed(known: &Extra) -> bool {
    let says = |key: &str, no: &[&str]| known.get(key).is_some_and(|value| no.contains(&value.get()));
    known.get("exit_code").is_some_and(|code| code.get() != "0")
        || says("success", &["false"])
        || says("status", &["\"failed\"", "\"declined\""])
}

/// The thread that an answer names as new.
fn spawned(item: &Fields<'_>) -> Option<String> {
    let output = item.text("output")?;
    Fields::parse(&output).ok()?.owned("agent_id").filter(|id| id.len() == 36)
}

/// Adds the readable parts of reasoning, and counts those that only the vendor can read.
fn think(item: &Fields<'_>, step: &mut Step) {
    let mut is_readable = false;
    for key in ["summary", "content"] {
        let parts = item.objects(key);
        let texts: Vec<String> = parts.iter().filter_map(|part| part.owned("text")).collect();
        is_readable |= !texts.is_empty();
        step.think(&texts.join("\n"));
    }
    if !is_readable && item.has("encrypted_content") {
        let before = step.extra.get("encrypted_reasoning");
        let before = before.and_then(|count| count.get().parse().ok()).unwrap_or(0_u64);
        step.extra.put("encrypted_reasoning", before + 1);
    }
}

/// The arguments of a call of a kind of its own: those of its action, or whatever it has.
fn arguments(item: &Fields<'_>) -> Json {
    if item.has("arguments") {
        return Json::arguments(item.get("arguments"));
    }
    let mut arguments = Extra::default();
    let action = item.object("action");
    for (key, value) in action.as_ref().unwrap_or(item).iter() {
        match key {
            "type" if action.is_some() => arguments.take("action_type", Some(value)),
            "result" => {}
            key if action.is_none() && FRAME.contains(&key) => {}
            key => arguments.take(key, Some(value)),
        }
    }
    let raw = serde_json::value::to_raw_value(&arguments);
    raw.map_or_else(|_| Json::arguments(None), |raw| Json::of(&raw))
}

/// Reads words and pictures.
fn content(raw: Option<&RawValue>, draft: &mut Draft<'_>) -> io::Result<Content> {
    let Some(raw) = raw else { return Ok(Content::default()) };
    if let Some(text) = fields::text(raw) {
        return Ok(text.into_owned().into());
    }
    let mut words = Content::default();
    for raw in fields::list(raw) {
        let part = Fields::of(raw).unwrap_or_default();
        let url = part.word("image_url");
        match (part.text("text"), url) {
            (Some(text), _) => words.add(&text),
            (None, Some(url)) => match draft.picture_of_url(&url)? {
                Some(part) => words.add_part(part),
                None if url.starts_with("data:") => {}
                None => words.add(raw.get()),
            },
            (None, None) => words.add(raw.get()),
        }
    }
    Ok(words)
}

/// Reads what a tool returned: a text, parts, or a text in an object beside what the program knows of it.
fn answer(raw: Option<&RawValue>, draft: &mut Draft<'_>) -> io::Result<ObservationResult> {
    let Some(raw) = raw else { return Ok(ObservationResult::default()) };
    if let Some(text) = fields::text(raw) {
        let wrapped = text.starts_with('{').then(|| Fields::parse(&text).ok()).flatten();
        // Both, or it is what a tool prints.
        let parts =
            wrapped.as_ref().and_then(|fields| Some((fields.text("output")?, fields.object("metadata")?)));
        let Some((output, metadata)) = parts else { return Ok(ObservationResult::new(text.into_owned())) };
        let mut result = ObservationResult::new(output.into_owned());
        for (key, value) in metadata.iter() {
            result.extra.take(key, Some(value));
        }
        return Ok(result);
    }
    if let Some(object) = Fields::of(raw) {
        let body = object.get("content").or_else(|| object.get("body")).or_else(|| object.get("output"));
        if let Some(body) = body {
            let mut result = ObservationResult::new(content(Some(body), draft)?);
            result.extra.take("success", object.get("success"));
            return Ok(result);
        }
    }
    if raw.get().starts_with('[') {
        return Ok(ObservationResult::new(content(Some(raw), draft)?));
    }
    Ok(ObservationResult::new(raw.get()))
}

/// The exit code in the lines that Codex writes before what a command printed.
fn told_exit(text: &str) -> Option<i64> {
    let head = text.lines().take(6).take_while(|line| *line != "Output:");
    let code = head.filter_map(|line| {
        line.strip_prefix("Process exited with code ").or_else(|| line.strip_prefix("Exit code: "))
    });
    text.contains("\nOutput:").then(|| code.last()?.trim().parse().ok())?
}

/// The kind of a picture, by its first bytes.
fn media_type(base64: &str) -> &'static str {
    match base64.get(..4) {
        Some("/9j/") => "image/jpeg",
        Some("UklG") => "image/webp",
        Some("R0lG") => "image/gif",
        _ => "image/png",
    }
}
