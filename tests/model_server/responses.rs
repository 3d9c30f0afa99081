//! `OpenAI` Responses.

use serde_json::{Map, Value, json};

use super::answer::{Answer, event};
use super::script::{Call, FINAL_TEXT, Script, Tool, new_id, now_seconds, pieces};

pub fn answer(body: &Value, script: &Script) -> Answer {
    let mut offered = Vec::new();
    flatten(&body["tools"], &mut offered);
    let tools: Vec<Tool> = offered.iter().filter_map(|tool| as_tool(tool)).collect();
    let calls = script.calls(&tools, finished_turns(body));

    let mut items = Vec::new();
    if calls.is_empty() {
        items.push(json!({
            "type": "message",
            "id": new_id("msg_"),
            "role": "assistant",
            "status": "completed",
            "content": [{ "type": "output_text", "text": FINAL_TEXT, "annotations": [] }],
        }));
    } else {
        items.push(json!({
            "type": "reasoning",
            "id": new_id("rs_"),
            "summary": [{ "type": "summary_text", "text": "A file is wanted." }],
            "encrypted_content": null,
        }));
        let custom =
            |call: &Call| offered.iter().any(|tool| tool["name"] == call.name && tool["type"] == "custom");
        items.extend(calls.iter().map(|call| call_item(call, custom(call))));
    }

    let started = json!({
        "id": new_id("resp_"),
        "object": "response",
        "created_at": now_seconds(),
        "status": "in_progress",
        "model": body["model"],
        "output": [],
        "usage": null,
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "metadata": {},
        "parallel_tool_calls": true,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
    });
    let mut completed = started.clone();
    completed["status"] = json!("completed");
    completed["output"] = json!(items);
    completed["usage"] = json!({
        "input_tokens": 1000,
        "input_tokens_details": { "cached_tokens": 600 },
        "output_tokens": 50,
        "output_tokens_details": { "reasoning_tokens": 20 },
        "total_tokens": 1050,
    });
    if body["stream"] == true {
        Answer::Events(events(&started, &items, &completed))
    } else {
        Answer::json(completed)
    }
}

/// Namespaces hold tools of their own.
fn flatten<'a>(tools: &'a Value, into: &mut Vec<&'a Value>) {
    for tool in tools.as_array().into_iter().flatten() {
        if tool["type"] == "namespace" {
            flatten(&tool["tools"], into);
        } else {
            into.push(tool);
        }
    }
}

/// Built-in tools have a type only.
fn as_tool(tool: &Value) -> Option<Tool> {
    let name = tool["name"].as_str().or_else(|| tool["type"].as_str())?;
    Some(Tool { name: name.to_owned(), schema: tool["parameters"].clone() })
}

/// The results of a turn's parallel calls follow one another.
fn finished_turns(body: &Value) -> usize {
    let items = body["input"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_result = |item: &Value| item["type"].as_str().is_some_and(|kind| kind.ends_with("_call_output"));
    items.chunk_by(|one, next| is_result(one) == is_result(next)).filter(|run| is_result(&run[0])).count()
}

fn call_item(call: &Call, custom: bool) -> Value {
    let call_id = new_id("call_");
    if custom {
        // A custom tool takes plain text.
        let input = call.arguments.as_object().and_then(|arguments| arguments.values().next());
        return json!({
            "type": "custom_tool_call", "id": new_id("ctc_"), "call_id": call_id,
            "name": call.name, "input": input, "status": "completed",
        });
    }
    json!({
        "type": "function_call", "id": new_id("fc_"), "call_id": call_id,
        "name": call.name, "arguments": call.arguments.to_string(), "status": "completed",
    })
}

struct Stream {
    events: Vec<String>,
}

impl Stream {
    /// Every event carries its type and its number.
    fn emit(&mut self, kind: &str, fields: Value) {
        let mut data = Map::new();
        data.insert("type".to_owned(), json!(kind));
        data.insert("sequence_number".to_owned(), json!(self.events.len()));
        if let Value::Object(fields) = fields {
            data.extend(fields);
        }
        self.events.push(event(kind, &Value::Object(data)));
    }
}

fn events(started: &Value, items: &[Value], completed: &Value) -> Vec<String> {
    let mut stream = Stream { events: Vec::new() };
    stream.emit("response.created", json!({ "response": started }));
    stream.emit("response.in_progress", json!({ "response": started }));
    for (index, item) in items.iter().enumerate() {
        match item["type"].as_str() {
            Some("message") => message(&mut stream, index, item),
            Some("function_call") => function_call(&mut stream, index, item),
            _ => stream.emit("response.output_item.added", json!({ "output_index": index, "item": item })),
        }
        stream.emit("response.output_item.done", json!({ "output_index": index, "item": item }));
    }
    stream.emit("response.completed", json!({ "response": completed }));
    stream.events
}

fn message(stream: &mut Stream, index: usize, item: &Value) {
    let mut empty = item.clone();
    empty["status"] = json!("in_progress");
    empty["content"] = json!([]);
    let part = &item["content"][0];
    let mut empty_part = part.clone();
    empty_part["text"] = json!("");
    let id = &item["id"];

    stream.emit("response.output_item.added", json!({ "output_index": index, "item": empty }));
    stream.emit(
        "response.content_part.added",
        json!({ "item_id": id, "output_index": index, "content_index": 0, "part": empty_part }),
    );
    for piece in pieces(part["text"].as_str().unwrap_or_default()) {
        stream.emit(
            "response.output_text.delta",
            json!({ "item_id": id, "output_index": index, "content_index": 0, "delta": piece }),
        );
    }
    stream.emit(
        "response.output_text.done",
        json!({ "item_id": id, "output_index": index, "content_index": 0, "text": part["text"] }),
    );
    stream.emit(
        "response.content_part.done",
        json!({ "item_id": id, "output_index": index, "content_index": 0, "part": part }),
    );
}

fn function_call(stream: &mut Stream, index: usize, item: &Value) {
    let mut empty = item.clone();
    empty["status"] = json!("in_progress");
    empty["arguments"] = json!("");
    let (id, arguments) = (&item["id"], &item["arguments"]);
    stream.emit("response.output_item.added", json!({ "output_index": index, "item": empty }));
    for piece in pieces(arguments.as_str().unwrap_or_default()) {
        stream.emit(
            "response.function_call_arguments.delta",
            json!({ "item_id": id, "output_index": index, "delta": piece }),
        );
    }
    stream.emit(
        "response.function_call_arguments.done",
        json!({ "item_id": id, "output_index": index, "arguments": arguments }),
    );
}
