//! `OpenAI` Chat Completions.

use serde_json::{Value, json};

use super::answer::{Answer, data};
use super::script::{Call, FILE_LISTING, FINAL_TEXT, Script, Tool, new_id, now_seconds, pieces, step_text};

/// mini-swe-agent ends a run when a command prints this line.
const SUBMIT: &str = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT";

pub fn answer(body: &Value, script: &Script) -> Answer {
    let tools = tools(body);
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let turn = finished_turns(messages);
    let mut calls = script.calls(&tools, turn);
    if calls.is_empty() {
        calls.extend(closing_call(&tools, messages, turn));
    }

    // aider offers no tools; its prompt explains file listings. Its other calls want plain text.
    let wants_listing = tools.is_empty() && mentions(messages, "file listing");
    let text = match calls.as_slice() {
        [] if wants_listing => FILE_LISTING.to_owned(),
        [] => FINAL_TEXT.to_owned(),
        _ => step_text(turn),
    };
    let tool_calls: Vec<Value> = calls.iter().map(tool_call).collect();
    let reason = if tool_calls.is_empty() { "stop" } else { "tool_calls" };
    let base = json!({
        "id": new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": now_seconds(),
        "model": body["model"],
    });
    let usage = json!({
        "prompt_tokens": 900,
        "completion_tokens": 30,
        "total_tokens": 930,
        "prompt_tokens_details": { "cached_tokens": 500 },
        "completion_tokens_details": { "reasoning_tokens": 10 },
    });
    if body["stream"] == true {
        return Answer::Events(events(&base, &text, &tool_calls, reason, usage));
    }

    let mut message = json!({ "role": "assistant", "content": text });
    if !tool_calls.is_empty() {
        message["tool_calls"] = Value::Array(tool_calls);
    }
    let mut whole = base;
    whole["choices"] = json!([{ "index": 0, "message": message, "finish_reason": reason, "logprobs": null }]);
    whole["usage"] = usage;
    Answer::json(whole)
}

fn tools(body: &Value) -> Vec<Tool> {
    let offered = body["tools"].as_array().into_iter().flatten();
    offered
        .map(|tool| &tool["function"])
        .filter_map(|function| {
            Some(Tool { name: function["name"].as_str()?.to_owned(), schema: function["parameters"].clone() })
        })
        .collect()
}

/// The results of a turn's parallel calls follow one another.
fn finished_turns(messages: &[Value]) -> usize {
    let is_result = |message: &Value| message["role"] == "tool";
    messages.chunk_by(|one, next| is_result(one) == is_result(next)).filter(|run| is_result(&run[0])).count()
}

/// Some agents go on until the model calls for the end.
fn closing_call(tools: &[Tool], messages: &[Value], turn: usize) -> Option<Call> {
    let offers = |name: &str| tools.iter().any(|tool| tool.name == name);
    if offers("bash") && mentions(messages.get(..2).unwrap_or(messages), SUBMIT) {
        return Some(Call {
            name: "bash".to_owned(),
            arguments: json!({ "command": format!("echo {SUBMIT}") }),
        });
    }
    // openhands
    (turn > 0 && offers("finish"))
        .then(|| Call { name: "finish".to_owned(), arguments: json!({ "message": FINAL_TEXT }) })
}

fn mentions(messages: &[Value], text: &str) -> bool {
    messages.iter().any(|message| message.to_string().contains(text))
}

fn tool_call(call: &Call) -> Value {
    json!({
        "id": new_id("call_"),
        "type": "function",
        "function": { "name": call.name, "arguments": call.arguments.to_string() },
    })
}

fn events(base: &Value, text: &str, tool_calls: &[Value], reason: &str, usage: Value) -> Vec<String> {
    let mut base = base.clone();
    base["object"] = json!("chat.completion.chunk");
    let mut events = Vec::new();
    let mut emit = |delta: Value, reason: Option<&str>| {
        let mut chunk = base.clone();
        chunk["choices"] = json!([{ "index": 0, "delta": delta, "finish_reason": reason }]);
        events.push(data(&chunk));
    };

    emit(json!({ "role": "assistant", "content": "" }), None);
    for piece in pieces(text) {
        emit(json!({ "content": piece }), None);
    }
    for (index, call) in tool_calls.iter().enumerate() {
        let mut opening = call.clone();
        opening["index"] = json!(index);
        opening["function"]["arguments"] = json!("");
        emit(json!({ "tool_calls": [opening] }), None);
        for piece in pieces(call["function"]["arguments"].as_str().unwrap_or_default()) {
            emit(json!({ "tool_calls": [{ "index": index, "function": { "arguments": piece } }] }), None);
        }
    }
    emit(json!({}), Some(reason));

    let mut last = base;
    last["choices"] = json!([]);
    last["usage"] = usage;
    events.push(data(&last));
    events.push("data: [DONE]\n\n".to_owned());
    events
}
