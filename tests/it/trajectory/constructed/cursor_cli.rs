//! Streams of the Cursor CLI.

use serde_json::{Value, json};

use super::super::{Converted, convert, fixtures};
use super::{differences, reference};

fn basic() -> Converted {
    convert(&fixtures().join("trajectories/cursor-cli/basic/agent"), &["--model", "cursor/composer-2.5"])
}

#[test]
fn a_stream_becomes_what_the_older_program_made_of_it() {
    let converted = basic();
    let documents = [("basic", converted.document, reference("cursor-cli/basic"))];
    differences::of_documents_are_listed("cursor-cli", &documents);
    assert_eq!(converted.said["agent"], "cursor-cli");
    assert_eq!(converted.said["run"]["outcome"], "finished");
    assert_eq!(converted.said["counts"]["unanswered-calls"], 1);
    let reasons = converted.said["reasons"].as_array().unwrap();
    assert!(reasons.iter().any(|reason| reason["text"] == "1 call has no answer"), "{reasons:?}");
}

#[test]
fn calls_that_were_only_started_and_errors_are_kept() {
    let document = basic().document;
    let steps = document["steps"].as_array().unwrap();
    assert_eq!(steps[2]["observation"]["results"][0]["extra"]["is_error"], true);
    assert_eq!(steps[3]["tool_calls"][0]["tool_call_id"], "tc3");
    assert_eq!(steps[3]["tool_calls"][0]["arguments"], json!({ "path": "b" }));
    assert!(steps[3]["observation"].is_null());
    assert_eq!(steps[3]["extra"]["interaction_queries"][0]["query_type"], "webFetch");
    // No step says what it cost.
    assert!(steps.iter().all(|step| step["metrics"].is_null()));
}

fn stream(events: &[Value], rest: &str) -> Converted {
    let place = tempfile::tempdir().unwrap();
    let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
    fs_err::write(place.path().join("out.txt"), format!("{}\n{rest}", lines.join("\n"))).unwrap();
    convert(place.path(), &[])
}

fn said(text: &str, more: &Value) -> Value {
    let mut event = json!({ "type": "assistant", "session_id": "s",
        "message": { "role": "assistant", "content": [{ "type": "text", "text": text }] } });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

#[test]
fn what_comes_in_pieces_is_there_once() {
    let init = json!({ "type": "system", "subtype": "init", "apiKeySource": "env", "session_id": "s", "model": "M" });
    let call = |subtype: &str, id: &str, more: Value| json!({ "type": "tool_call", "subtype": subtype, "call_id": id, "session_id": "s", "tool_call": more });
    let other = json!({ "function": { "name": "lookup", "arguments": "{\"q\":1}", "result": "found" } });
    let converted = stream(
        &[
            init,
            said("Let ", &json!({ "timestamp_ms": 1_767_323_045_000_u64 })),
            said("me.", &json!({ "timestamp_ms": 1_767_323_045_001_u64 })),
            said("Let me.", &json!({ "timestamp_ms": 1_767_323_045_002_u64, "model_call_id": "m1" })),
            call("started", "c1", json!({ "shellToolCall": { "args": { "command": "l" } } })),
            call("started", "c2", json!({ "readToolCall": { "args": { "path": "a" } } })),
            call(
                "completed",
                "c1",
                json!({ "shellToolCall": { "args": { "command": "ls" }, "result": "a" } }),
            ),
            call("completed", "c3", other),
            json!({ "type": "thinking", "subtype": "delta", "text": "so", "session_id": "s" }),
        ],
        "Error: the connection is lost\n",
    );
    assert_eq!(
        converted.said["run"],
        json!({ "outcome": "failed", "reason": "Error: the connection is lost" })
    );
    let steps = converted.document["steps"].as_array().unwrap();
    assert_eq!(steps[0]["message"], "Let me.");
    assert_eq!(steps[0]["timestamp"], "2026-01-02T03:04:05.000Z");
    assert_eq!(steps[0]["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(steps[0]["tool_calls"][0]["arguments"], json!({ "command": "ls" }));
    // Behind an answer comes another call of the model.
    assert_eq!(steps[1]["tool_calls"][0]["function_name"], "lookup");
    assert_eq!(steps[1]["tool_calls"][0]["arguments"], json!({ "q": 1 }));
    assert_eq!(steps[1]["observation"]["results"][0]["content"], "found");
    assert_eq!(steps[2]["reasoning_content"], "so");
    assert_eq!(steps.len(), 3);
    assert_eq!(converted.document["agent"]["model_name"], "M");
}

#[test]
fn a_stream_that_ends_early_was_interrupted() {
    let init =
        json!({ "type": "system", "subtype": "init", "apiKeySource": "env", "session_id": "s", "model": 7 });
    let converted =
        stream(&[init, said("One", &json!({})), json!({ "type": "new", "x": 1 })], "{\"type\":\"ass");
    assert_eq!(converted.said["run"]["outcome"], "interrupted");
    assert_eq!(converted.said["counts"]["truncated-line"], 1);
    assert_eq!(converted.said["unknown"], json!({ "new": 1 }));
    assert_eq!(converted.document["extra"]["unknown_records"][0]["x"], 1);
}
