//! Sessions of the GitHub Copilot CLI, written after the events that its vendor publishes.

use serde_json::{Value, json};

use super::super::{Converted, convert};
use super::of;

#[test]
fn a_session_becomes_a_trajectory_with_what_was_printed_beside_it() {
    let converted = of("copilot-cli/basic");
    let (said, document) = (&converted.said, &converted.document);
    assert_eq!((&said["agent"], &said["status"]), (&"copilot-cli".into(), &"complete".into()));
    assert_eq!(
        (&said["run"]["outcome"], &said["unknown"]),
        (&"finished".into(), &json!({ "futuristic.event": 1 }))
    );
    assert_eq!((&document["session_id"], &document["agent"]["version"]), (&"5f1c".into(), &"1.0.102".into()));
    let steps = document["steps"].as_array().unwrap();
    let sources: Vec<&str> = steps.iter().map(|step| step["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["system", "user", "agent", "system", "agent"]);
    assert_eq!(steps[1]["message"], "Fix it.");
    let first = &steps[2];
    assert_eq!(
        (&first["message"], &first["reasoning_content"]),
        (&"Let me look.".into(), &"Look first.".into())
    );
    assert_eq!(
        (&first["model_name"], &first["reasoning_effort"]),
        (&"claude-sonnet-4.5".into(), &"high".into())
    );
    assert_eq!(first["tool_calls"][0]["extra"]["intention"], "List files");
    let results = &first["observation"]["results"];
    assert_eq!(
        (&results[0]["content"], &results[0]["extra"]["is_error"]),
        (&"no such file".into(), &true.into())
    );
    assert_eq!(results[1]["content"][1]["source"]["media_type"], "image/png");
    assert_eq!(results[1]["subagent_trajectory_ref"], json!([{ "trajectory_id": "t2" }]));
    // Only what was printed says what each call read.
    let metrics = &first["metrics"];
    assert_eq!((&metrics["prompt_tokens"], &metrics["cached_tokens"]), (&100.into(), &30.into()));
    assert_eq!(metrics["extra"]["cacheWriteTokens"], 5);
    assert_eq!(steps[3]["extra"]["is_compact_summary"], true);
    assert_eq!(document["final_metrics"]["extra"]["summarization_count"], 1);
    assert_eq!(document["final_metrics"]["extra"]["code_changes"]["linesAdded"], 1);
    let sub = &document["subagent_trajectories"][0];
    assert_eq!(
        (&sub["agent"]["extra"]["subagent"], &sub["steps"][0]["message"]),
        (&"explore".into(), &"Nothing there.".into())
    );
}

#[test]
fn a_session_alone_has_the_tokens_of_its_end() {
    let place = tempfile::tempdir().unwrap();
    let from = super::super::fixtures().join("trajectories/copilot-cli/basic/agent/session-state");
    fs_err::copy(from.join("5f1c/events.jsonl"), place.path().join("events.jsonl")).unwrap();
    let document = convert(place.path(), &[]).document;
    let totals = &document["final_metrics"];
    assert_eq!((&totals["total_prompt_tokens"], &totals["total_cached_tokens"]), (&235.into(), &100.into()));
    assert_eq!(document["steps"][2]["metrics"]["extra"]["output_tokens"], 20);
}

fn stream(events: &[(&str, Value)]) -> Converted {
    let place = tempfile::tempdir().unwrap();
    let line = |(number, (kind, data)): (usize, &(&str, Value))| {
        let time = format!("2026-01-02T03:04:{number:02}.000Z");
        json!({ "type": kind, "data": data, "id": format!("e{number}"), "parentId": null, "timestamp": time })
            .to_string()
    };
    let lines: Vec<String> = events.iter().enumerate().map(line).collect();
    fs_err::write(place.path().join("out.txt"), lines.join("\n")).unwrap();
    convert(place.path(), &[])
}

#[test]
fn what_broke_off_and_what_failed_is_told() {
    let begun = ("user.message", json!({ "content": "Fix it." }));
    let turn = ("assistant.turn_start", json!({ "turnId": "0" }));
    let piece = |text: &str| ("assistant.message_delta", json!({ "messageId": "m1", "deltaContent": text }));
    let killed = stream(&[begun.clone(), turn.clone(), piece("Let "), piece("me")]);
    assert_eq!(killed.said["run"]["outcome"], "interrupted");
    assert_eq!(killed.document["steps"][1]["message"], "Let me");
    assert_eq!(killed.document["steps"][1]["extra"]["partial"], true);
    let error = (
        "session.error",
        json!({ "errorType": "authentication", "message": "401 from the provider", "statusCode": 401 }),
    );
    let failed = stream(&[begun.clone(), turn, error]);
    assert_eq!(failed.said["run"], json!({ "outcome": "failed", "reason": "401 from the provider" }));
    let step = &failed.document["steps"][1];
    assert_eq!((&step["llm_call_count"], &step["extra"]["status_code"]), (&0.into(), &401.into()));
    // A person asks for a command.
    let call = (
        "tool.execution_start",
        json!({ "toolCallId": "t", "toolName": "bash", "arguments": { "command": "ls" } }),
    );
    let result = (
        "tool.execution_complete",
        json!({ "toolCallId": "t", "success": true, "result": { "content": "a" } }),
    );
    let own = stream(&[begun, call, result]);
    let step = &own.document["steps"][1];
    assert_eq!(
        (&step["llm_call_count"], &step["observation"]["results"][0]["content"]),
        (&0.into(), &"a".into())
    );
}
