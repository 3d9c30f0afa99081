//! Anthropic Messages.

use serde_json::{Value, json};

use super::answer::{Answer, event};
use super::script::{Call, FINAL_TEXT, Script, Tool, new_id, pieces, step_text};

pub fn answer(body: &Value, script: &Script) -> Answer {
    let tools = tools(body);
    let turn = finished_turns(body);
    let calls = script.calls(&tools, turn);
    let stop = if calls.is_empty() { "end_turn" } else { "tool_use" };

    let mut blocks = Vec::new();
    if matches!(body["thinking"]["type"].as_str(), Some("enabled" | "adaptive")) {
        blocks.push(json!({ "type": "thinking", "thinking": "A file is wanted.", "signature": "c2NyaXB0" }));
    }
    if calls.is_empty() {
        // Side calls, such as the one for a title, come without tools and parse JSON.
        let side_call = turn == 0 && tools.is_empty();
        let text = if side_call { r#"{"title": "Write hello.txt"}"# } else { FINAL_TEXT };
        blocks.push(json!({ "type": "text", "text": text }));
    } else {
        blocks.push(json!({ "type": "text", "text": step_text(turn) }));
        blocks.extend(calls.iter().map(tool_use));
    }

    let mut message = json!({
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {
            "input_tokens": 1200,
            "output_tokens": 1,
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 700,
        },
    });
    if body["stream"] == true {
        return Answer::Events(events(&message, &blocks, stop));
    }
    message["usage"]["output_tokens"] = json!(40);
    message["stop_reason"] = json!(stop);
    message["content"] = Value::Array(blocks);
    Answer::json(message)
}

fn tools(body: &Value) -> Vec<Tool> {
    let offered = body["tools"].as_array().into_iter().flatten();
    offered
        .filter_map(|tool| {
            Some(Tool { name: tool["name"].as_str()?.to_owned(), schema: tool["input_schema"].clone() })
        })
        .collect()
}

/// One message carries all results of a turn.
fn finished_turns(body: &Value) -> usize {
    let is_result = |block: &Value| block["type"] == "tool_result";
    let messages = body["messages"].as_array().into_iter().flatten();
    messages
        .filter(|message| message["content"].as_array().is_some_and(|blocks| blocks.iter().any(is_result)))
        .count()
}

fn tool_use(call: &Call) -> Value {
    json!({ "type": "tool_use", "id": new_id("toolu_"), "name": call.name, "input": call.arguments })
}

fn events(message: &Value, blocks: &[Value], stop: &str) -> Vec<String> {
    let mut events = Vec::new();
    let mut emit = |data: Value| events.push(event(data["type"].as_str().unwrap_or_default(), &data));

    emit(json!({ "type": "message_start", "message": message }));
    for (index, block) in blocks.iter().enumerate() {
        let (empty, deltas) = opened(block);
        emit(json!({ "type": "content_block_start", "index": index, "content_block": empty }));
        for delta in deltas {
            emit(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
        }
        emit(json!({ "type": "content_block_stop", "index": index }));
    }
    emit(json!({
        "type": "message_delta",
        "delta": { "stop_reason": stop, "stop_sequence": null },
        "usage": { "output_tokens": 40 },
    }));
    emit(json!({ "type": "message_stop" }));
    events
}

/// A block as it starts, and the deltas that fill it.
fn opened(block: &Value) -> (Value, Vec<Value>) {
    let mut empty = block.clone();
    let text = |field: &str| block[field].as_str().unwrap_or_default().to_owned();
    let deltas = match block["type"].as_str() {
        Some("text") => {
            empty["text"] = json!("");
            let delta = |piece| json!({ "type": "text_delta", "text": piece });
            pieces(&text("text")).into_iter().map(delta).collect()
        }
        Some("thinking") => {
            empty["thinking"] = json!("");
            empty["signature"] = json!("");
            vec![
                json!({ "type": "thinking_delta", "thinking": text("thinking") }),
                json!({ "type": "signature_delta", "signature": text("signature") }),
            ]
        }
        _ => {
            empty["input"] = json!({});
            let delta = |piece| json!({ "type": "input_json_delta", "partial_json": piece });
            pieces(&block["input"].to_string()).into_iter().map(delta).collect()
        }
    };
    (empty, deltas)
}
