//! Messages of the two styles in which models are spoken to: a conversation, and responses.

use std::io;

use serde_json::value::RawValue;

use crate::atif::draft::{Draft, MAIN};
use crate::atif::fields::{self, Fields, Odd};
use crate::atif::raw::Json;
use crate::atif::step::{Content, ObservationResult, Step, ToolCall, Usage};
use crate::atif::time::{is_iso, of_seconds};

/// The only tool that it has.
pub const TOOL: &str = "bash";

/// What a command is said to have returned that was not run, because it is the word by which a run ends.
const NOT_RUN: &str = "action was not executed";

/// Returns the time that a message has, which is not that of what came of it.
pub fn time(message: &Fields<'_>) -> Option<String> {
    let extra = message.object("extra").unwrap_or_default();
    let of = |fields: &Fields<'_>, key: &str| {
        let text = fields.owned(key).filter(|text| is_iso(text));
        text.or_else(|| of_seconds(fields.float(key).filter(|seconds| *seconds > 0.0)?))
    };
    ["completed_at", "timestamp", "created_at"]
        .into_iter()
        .find_map(|key| of(message, key))
        .or_else(|| of(&extra, "timestamp"))
}

/// Texts and pictures, as models are sent them.
pub fn content(raw: Option<&RawValue>, draft: &mut Draft<'_>) -> io::Result<Content> {
    let Some(raw) = raw else { return Ok(Content::default()) };
    if let Some(text) = fields::text(raw) {
        return Ok(text.into_owned().into());
    }
    let mut said = Content::default();
    let parts = fields::list(raw);
    if parts.is_empty() && raw.get() != "[]" {
        said.add(raw.get());
    }
    for raw in parts {
        let part = Fields::of(raw).unwrap_or_default();
        let url = part.object("image_url").and_then(|image| image.owned("url"));
        let url = url.or_else(|| part.owned("image_url"));
        match (part.text("text"), url) {
            (Some(text), _) => said.add(&text),
            (None, Some(url)) => match draft.picture_of_url(&url)? {
                Some(picture) => said.add_part(picture),
                None => said.add(raw.get()),
            },
            (None, None) => said.add(raw.get()),
        }
    }
    Ok(said)
}

fn answer(message: &Fields<'_>, draft: &mut Draft<'_>) -> Step {
    let mut step = Step::agent(time(message).as_deref());
    let head = draft.head(MAIN);
    step.model_name.clone_from(&head.model);
    let config = head.agent.get("model_config").and_then(|config| Fields::parse(config.get()).ok());
    let asked = config.and_then(|config| config.object("model_kwargs"));
    step.reasoning_effort = asked.and_then(|asked| {
        asked.owned("reasoning_effort").or_else(|| asked.object("reasoning")?.owned("effort"))
    });
    step
}

/// An answer in the style of a conversation.
pub fn assistant(message: &Fields<'_>, draft: &mut Draft<'_>) -> io::Result<()> {
    let mut step = answer(message, draft);
    step.message = content(message.get("content"), draft)?;
    let thoughts = message.owned("reasoning_content").or_else(|| message.owned("reasoning"));
    match thoughts {
        Some(text) => step.think(&text),
        None => {
            for block in message.objects("thinking_blocks") {
                step.think(&block.text("thinking").unwrap_or_default());
            }
        }
    }
    let extra = message.object("extra").unwrap_or_default();
    let response = extra.object("response").unwrap_or_default();
    step.model_name = step.model_name.or_else(|| response.owned("model"));
    step.extra.take("response_id", response.get("id"));
    if let Some(choice) = response.objects("choices").first() {
        step.extra.take("finish_reason", choice.get("finish_reason"));
    }
    take_usage(&mut step, &response.object("usage").unwrap_or_default(), &extra);
    let at = draft.push(MAIN, step)?;
    let calls = message.objects("tool_calls");
    for call in &calls {
        let function = call.object("function").unwrap_or_default();
        let (id, name) = (call.text("id").unwrap_or_default(), function.text("name").unwrap_or_default());
        draft.call(at, ToolCall::new(&id, &name, Json::arguments(function.get("arguments"))))?;
    }
    if calls.is_empty() {
        // Models without tools write their commands into the text: the program says which it took.
        for action in extra.objects("actions") {
            let Some(command) = action.get("command") else { continue };
            let id = action.text("tool_call_id").unwrap_or_default();
            let arguments = Json::value(&serde_json::json!({ "command": command }));
            draft.call(at, ToolCall::new(&id, TOOL, arguments))?;
        }
    }
    Ok(())
}

/// An answer in the style of responses: a list of what the model made.
pub fn response(message: &Fields<'_>, draft: &mut Draft<'_>) -> io::Result<()> {
    let mut step = answer(message, draft);
    step.model_name = step.model_name.or_else(|| message.owned("model"));
    step.extra.take("response_id", message.get("id"));
    let extra = message.object("extra").unwrap_or_default();
    take_usage(&mut step, &message.object("usage").unwrap_or_default(), &extra);
    let mut calls = Vec::new();
    for item in message.objects("output") {
        match &*item.text("type").unwrap_or_default() {
            "message" => {
                for part in item.objects("content") {
                    let text = part.text("text").or_else(|| part.text("refusal"));
                    step.message.add(&text.unwrap_or_default());
                }
            }
            "reasoning" => {
                for part in item.objects("summary").iter().chain(&item.objects("content")) {
                    step.think(&part.text("text").unwrap_or_default());
                }
            }
            "function_call" => {
                let id = item.word("call_id").or_else(|| item.word("id")).unwrap_or_default();
                let name = item.text("name").unwrap_or_default();
                calls.push(ToolCall::new(&id, &name, Json::arguments(item.get("arguments"))));
            }
            unknown => {
                draft.report.unknown(&format!("output {unknown}"));
                draft.unread(MAIN, item.iter());
            }
        }
    }
    let at = draft.push(MAIN, step)?;
    calls.into_iter().try_for_each(|call| draft.call(at, call).map(|_| ()))
}

/// What a command printed, as the model reads it; beside it, what the program knows of it.
pub fn tool(message: &Fields<'_>, id: &str, said: &str, draft: &mut Draft<'_>) -> io::Result<()> {
    let id = message.text(id).unwrap_or_default();
    let time = time(message);
    let mut result = ObservationResult::new(content(message.get(said), draft)?);
    let extra = message.object("extra").unwrap_or_default();
    let exception = extra.word("exception_info");
    if exception.as_deref().is_some_and(|exception| exception != NOT_RUN) {
        result = result.failed();
    }
    if let Some(time) = &time {
        result.extra.put("timestamp", time.as_str());
    }
    for (key, value) in extra.iter() {
        let is_said = key == "raw_output" && is_in(value, result.content.as_ref());
        if key != "timestamp" && value.get() != "\"\"" && !is_said {
            result.extra.take(key, Some(value));
        }
    }
    // What has no name of a call belongs to the step before it.
    let last = draft.last(MAIN).filter(|_| id.is_empty()).and_then(|at| draft.step(at));
    if let Some(step) = last {
        step.observe(result);
        return Ok(());
    }
    draft.answer(MAIN, &id, result, time.as_deref()).map(|_| ())
}

/// Says whether all that a command printed is in what the model reads, as it is or in a string of JSON.
fn is_in(raw: &RawValue, content: Option<&Content>) -> bool {
    let Some(Content::Text(content)) = content else { return false };
    let Some(text) = fields::text(raw) else { return false };
    content.contains(&*text) || content.contains(raw.get().trim_matches('"'))
}

/// Takes the numbers of an answer: what was read from the cache or written to it is in those of the prompt.
fn take_usage(step: &mut Step, usage: &Fields<'_>, extra: &Fields<'_>) {
    let odd = Odd::default();
    let first = |keys: [&'static str; 2]| keys.into_iter().find_map(|key| usage.tokens(key, &odd));
    let (prompt, output) =
        (first(["prompt_tokens", "input_tokens"]), first(["completion_tokens", "output_tokens"]));
    if prompt.unwrap_or(0) == 0 && output.unwrap_or(0) == 0 && odd.name().is_none() {
        return;
    }
    let details = usage.object("prompt_tokens_details").or_else(|| usage.object("input_tokens_details"));
    let cached = details.and_then(|details| details.tokens("cached_tokens", &odd));
    let read = cached.or_else(|| usage.tokens("cache_read_input_tokens", &odd)).unwrap_or(0);
    let write = usage.tokens("cache_creation_input_tokens", &odd).unwrap_or(0);
    let costs = usage.object("cost_details").unwrap_or_default();
    let cost = [extra.float("cost"), usage.float("cost"), costs.float("upstream_inference_cost")];
    step.usage = Some(Usage {
        input: prompt.unwrap_or(0).saturating_sub(read).saturating_sub(write),
        cache_read: read,
        cache_write: write,
        output: output.unwrap_or(0),
        cost: cost.into_iter().flatten().find(|cost| *cost > 0.0),
        odd: odd.name(),
    });
    let known = ["prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"];
    let kept = &mut step.metrics.get_or_insert_default().extra;
    for (key, value) in usage.iter().filter(|(key, _)| !known.contains(key)) {
        kept.take(key, Some(value));
    }
}
