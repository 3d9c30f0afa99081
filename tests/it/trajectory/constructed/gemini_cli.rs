//! Sessions of Gemini CLI.

use std::path::Path;

use serde_json::{Value, json};

use super::super::{convert, fixtures};
use super::{Converted, differences, of};

#[test]
fn what_differs_from_the_reference_is_listed() {
    differences::are_listed("gemini-cli", &["json_basic", "jsonl_rewind"]);
}

#[test]
fn errors_pictures_and_compactions_are_there() {
    let converted = of("gemini-cli/json_basic");
    let steps = &converted.document["steps"];
    let results = &steps[1]["observation"]["results"];
    assert_eq!((&results[2]["content"], &results[2]["extra"]["is_error"]), (&json!("denied"), &json!(true)));
    let picture = results[1]["content"][1]["source"]["path"].as_str().unwrap();
    assert!(converted.place.path().join(picture).is_file(), "{picture}");
    assert_eq!(steps[2]["message"], "some info");
    assert_eq!((&steps[2]["source"], &steps[2]["extra"]["subtype"]), (&json!("system"), &json!("info")));
    assert_eq!(steps[3]["extra"]["subtype"], "compression");
    assert_eq!(steps[4]["message"], "[API Error: quota]");
    assert_eq!(steps[4]["llm_call_count"], 0);
    assert_eq!(converted.document["final_metrics"]["extra"]["summarization_count"], 1);
}

/// A session of these records.
fn session(records: &[Value]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let head = json!({ "sessionId": "s", "projectHash": "h", "startTime": "2026-01-02T03:04:00.000Z" });
    write(&place.path().join("tmp/p/chats/session-1.jsonl"), &head, records);
    place
}

fn write(path: &Path, head: &Value, records: &[Value]) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    let lines: Vec<String> = [head].into_iter().chain(records).map(Value::to_string).collect();
    fs_err::write(path, lines.join("\n") + "\n").unwrap();
}

fn message(id: &str, kind: &str, text: &str) -> Value {
    json!({ "id": id, "timestamp": "2026-01-02T03:04:05.000Z", "type": kind, "content": text })
}

#[test]
fn a_session_whose_first_lines_were_removed_is_read_from_there_on() {
    let place = tempfile::tempdir().unwrap();
    let set = json!({ "$set": { "lastUpdated": "2026-01-02T03:04:05.000Z" } });
    let rest = [set.clone(), message("b", "gemini", "done"), set];
    write(&place.path().join("tmp/p/chats/session-1.jsonl"), &message("a", "user", "do it"), &rest);
    let converted = convert(place.path(), &[]);
    assert_eq!(said(&converted), ["do it", "done"]);
    assert_eq!(
        (&converted.said["status"], &converted.said["counts"]["no-beginning"]),
        (&json!("partial"), &json!(1)),
        "{}",
        converted.said
    );
}

fn said(converted: &Converted) -> Vec<&str> {
    let steps = converted.document["steps"].as_array().unwrap();
    steps.iter().map(|step| step["message"].as_str().unwrap()).collect()
}

#[test]
fn what_was_taken_back_is_counted_and_is_no_step() {
    let converted = of("gemini-cli/jsonl_rewind");
    assert_eq!(converted.said["counts"]["rewound"], 1);
    assert!(!converted.document["steps"].to_string().contains("oops"));
    assert_eq!(converted.said["reasons"][0]["text"], "the user took 1 messages back, which are no steps");
    // The same words may be said again, under the same name, and long after their steps would have been put down.
    let mut records = vec![message("a", "user", "first")];
    records.extend((0..100).map(|number| message(&format!("g{number}"), "gemini", "gone")));
    records.push(json!({ "$rewindTo": "g0" }));
    records.push(message("g1", "gemini", "second"));
    records.push(json!({ "$rewindTo": "g1" }));
    records.push(message("g1", "gemini", "third"));
    let place = session(&records);
    let converted = convert(place.path(), &[]);
    assert_eq!(said(&converted), ["first", "third"]);
    assert_eq!(converted.said["counts"]["rewound"], 2);
    // A name that nobody has takes everything back.
    records.push(json!({ "$rewindTo": "nobody" }));
    records.push(message("z", "user", "anew"));
    assert_eq!(said(&convert(session(&records).path(), &[])), ["anew"]);
}

#[test]
fn a_history_that_was_summed_up_loses_nothing() {
    let summary = message("sum", "user", "<state_snapshot>");
    let place = session(&[
        message("a", "user", "first"),
        message("b", "gemini", "one"),
        message("c", "user", "second"),
        message("d", "gemini", "two"),
        json!({ "$set": { "messages": [summary, message("d", "gemini", "masked")] } }),
        message("e", "user", "third"),
    ]);
    let converted = convert(place.path(), &[]);
    assert_eq!(said(&converted), ["first", "one", "second", "two", "<state_snapshot>", "third"]);
    assert_eq!(converted.document["steps"][4]["extra"]["is_compact_summary"], true);
    assert_eq!(converted.document["final_metrics"]["extra"]["summarization_count"], 1);
    assert_eq!(converted.said["run"]["outcome"], "interrupted");
}

#[test]
fn agents_that_were_asked_are_subagents() {
    let call = json!({
        "id": "t1", "name": "invoke_agent", "args": { "prompt": "look" }, "status": "success", "agentId": "sub-1",
        "result": [{ "functionResponse": { "id": "t1", "name": "invoke_agent", "response": { "output": "seen" } } }],
    });
    let mut answer = message("b", "gemini", "asking");
    answer["toolCalls"] = json!([call]);
    let place = session(&[message("a", "user", "ask"), answer]);
    let head = json!({
        "sessionId": "sub-1", "projectHash": "h", "startTime": "2026-01-02T03:04:01.000Z", "kind": "subagent",
    });
    let records = [message("x", "user", "look"), message("y", "gemini", "seen")];
    write(&place.path().join("tmp/p/chats/s/sub-1.jsonl"), &head, &records);
    let document = convert(place.path(), &[]).document;
    assert_eq!(document["subagent_trajectories"][0]["trajectory_id"], "sub-1");
    assert_eq!(document["subagent_trajectories"][0]["steps"][1]["message"], "seen");
    let result = &document["steps"][1]["observation"]["results"][0];
    assert_eq!(result["subagent_trajectory_ref"], json!([{ "trajectory_id": "sub-1" }]));
}

#[test]
fn the_whole_of_a_long_output_is_named() {
    let document = convert(&fixtures().join("agent-logs/gemini/big"), &[]).document;
    let full = &document["steps"][2]["observation"]["results"][0]["extra"]["full_output"];
    assert!(full["path"].as_str().unwrap().ends_with("/run_shell_command__437465e5.txt"), "{full}");
    assert_eq!(full["bytes"], 108_968);
}

#[test]
fn a_call_that_nobody_answered_is_taken_from_what_was_printed() {
    let document = convert(&fixtures().join("agent-logs/gemini/late-killed"), &[]).document;
    let last = document["steps"].as_array().unwrap().last().unwrap();
    assert_eq!(last["message"], "Step 4: I will run a command.");
    assert_eq!(last["tool_calls"][0]["arguments"]["command"], "until [ -e /nonexistent ]; do sleep 1; done");
    assert!(last["observation"].is_null());
}

#[test]
fn the_stream_is_read_where_there_is_no_session() {
    let place = tempfile::tempdir().unwrap();
    let stored = fixtures().join("agent-logs/gemini/multi");
    fs_err::copy(stored.join("stdout.jsonl"), place.path().join("stdout.jsonl")).unwrap();
    let converted = convert(place.path(), &[]);
    assert_eq!(converted.said["agent"], "gemini-cli");
    assert_eq!(converted.said["run"]["outcome"], "finished");
    let whole = convert(&stored, &[]);
    assert_eq!(super::super::all_calls(&converted.document), super::super::all_calls(&whole.document));
    // It leaves out what the program says to the model before the prompt.
    assert_eq!(said(&converted), said(&whole)[1..]);
}

#[test]
fn broken_messages_cost_themselves() {
    let mut answer = message("b", "gemini", "yes");
    answer["tokens"] = json!({ "input": "many", "output": 3, "cached": null });
    answer["thoughts"] = json!([null, 3, { "subject": null, "description": "why" }]);
    answer["toolCalls"] = json!([null, { "id": "t", "name": "x", "args": null, "status": "cancelled" }]);
    let place = session(&[
        json!({ "$set": null }),
        json!({ "$set": { "messages": [null, 3, message("a", "user", "go")] } }),
        answer,
        json!({ "id": "c", "type": "unheard_of", "content": "kept" }),
        json!({ "words": "kept, too" }),
    ]);
    let converted = convert(place.path(), &[]);
    assert_eq!(said(&converted), ["go", "yes"]);
    let step = &converted.document["steps"][1];
    assert_eq!(step["reasoning_content"], "why");
    assert_eq!(step["metrics"]["completion_tokens"], 3);
    assert_eq!(step["observation"]["results"][0]["extra"]["is_error"], true);
    assert_eq!(converted.said["unknown"], json!({ "message unheard_of": 1, "record": 2 }));
    assert_eq!(converted.said["counts"]["unreadable-message"], 2);
}
