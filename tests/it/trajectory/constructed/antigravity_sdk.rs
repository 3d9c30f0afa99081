//! Events of the Antigravity SDK.

use serde_json::{Value, json};

use super::super::{Converted, convert, fixtures};
use super::{differences, reference};

#[test]
fn events_become_what_the_older_program_made_of_them() {
    let logs = fixtures().join("trajectories/antigravity-sdk/basic/agent");
    let converted = convert(&logs, &["--model", "gemini-3.6-flash", "--agent-version", "0.1.9"]);
    let mut theirs = reference("antigravity-sdk/basic");
    // What it was asked is not in its log: the older program was told it.
    let prompt = theirs["steps"].as_array_mut().unwrap().remove(0);
    assert_eq!(prompt["message"], "Do it");
    for (index, step) in theirs["steps"].as_array_mut().unwrap().iter_mut().enumerate() {
        step["step_id"] = json!(index + 1);
    }
    let documents = [("basic", converted.document.clone(), theirs)];
    differences::of_documents_are_listed("antigravity-sdk", &documents);
    let steps = converted.document["steps"].as_array().unwrap();
    assert_eq!(steps[0]["message"], "Working on it");
    assert_eq!(steps[0]["reasoning_content"], "Let me think");
    assert_eq!(steps[0]["metrics"]["prompt_tokens"], 100);
    assert_eq!(steps[1]["message"], "reminder");
    let result = &steps[2]["observation"]["results"][0];
    assert_eq!((&result["content"], &result["extra"]["is_error"]), (&json!("not found"), &json!(true)));
    assert_eq!(converted.said["run"]["outcome"], "finished");
    assert_eq!(converted.said["agent"], "antigravity-sdk");
}

fn events(events: &[Value]) -> Converted {
    let place = tempfile::tempdir().unwrap();
    let lines: Vec<String> = events.iter().map(|event| format!("{event}\n")).collect();
    fs_err::write(place.path().join("events.jsonl"), lines.concat()).unwrap();
    convert(place.path(), &[])
}

fn step(id: &str, more: &Value) -> Value {
    let mut value = json!({ "id": id, "step_index": 1, "type": "PLANNER_RESPONSE", "source": "MODEL", "status": "RUNNING" });
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "kind": "step", "value": value })
}

#[test]
fn thoughts_are_counted_and_answers_that_are_only_seen_are_kept() {
    let call = |output: &Value| json!({ "tool_calls": [{ "id": "t1", "name": "run", "args": { "c": 1 }, "output": output }] });
    let nameless = json!({ "tool_calls": [{ "name": "look", "args": {} }] });
    let converted = events(&[
        step("a", &call(&Value::Null)),
        step("a", &call(&json!("seen"))),
        step("b", &nameless),
        step("b", &nameless),
        json!({ "kind": "tool_result", "value": { "name": "look", "result": { "x": [1] } } }),
        step(
            "a",
            &json!({ "usage_metadata": { "prompt_token_count": 10, "candidates_token_count": 2,
            "thoughts_token_count": 5, "total_token_count": 17 } }),
        ),
        json!({ "kind": "odd", "value": {} }),
        json!({ "kind": "step" }),
        step("c", &json!({ "content": "Half" })),
    ]);
    assert_eq!(converted.said["run"]["outcome"], "interrupted");
    assert_eq!(converted.said["unknown"], json!({ "odd": 1 }));
    assert_eq!(converted.said["counts"]["no-value"], 1);
    let steps = converted.document["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[0]["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(steps[0]["metrics"]["completion_tokens"], 7);
    assert_eq!(steps[0]["metrics"]["extra"], json!({ "thoughts_token_count": 5, "total_token_count": 17 }));
    let results = steps[0]["observation"]["results"].as_array().unwrap();
    assert_eq!(results[0]["content"], "{\"x\":[1]}");
    assert_eq!((&results[1]["source_call_id"], &results[1]["content"]), (&json!("t1"), &json!("seen")));
    assert_eq!(steps[1]["message"], "Half");
}
