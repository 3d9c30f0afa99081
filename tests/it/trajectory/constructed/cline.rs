//! Sessions and tasks of Cline, written after their published form.

use serde_json::{Value, json};

use super::super::{all_calls, convert};
use super::of;

#[test]
fn a_session_becomes_a_trajectory() {
    let converted = of("cline/basic");
    let (said, document) = (&converted.said, &converted.document);
    assert_eq!((&said["agent"], &said["status"]), (&"cline".into(), &"complete".into()));
    assert_eq!(said["run"]["outcome"], "finished");
    assert_eq!(
        (&document["session_id"], &document["agent"]["model_name"]),
        (&"s1".into(), &"claude-sonnet-4-5".into())
    );
    assert_eq!(document["agent"]["extra"]["system_prompt"], "You are Cline.");
    let steps = document["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 3);
    assert_eq!(steps[0]["message"][1]["source"]["media_type"], "image/png");
    let first = &steps[1];
    assert_eq!(first["timestamp"], "2026-01-02T03:04:06.000Z");
    assert_eq!(
        (&first["message"], &first["reasoning_content"]),
        (&"Let me look.".into(), &"Look first.".into())
    );
    let results = &first["observation"]["results"];
    assert_eq!(
        (&results[0]["content"], &results[0]["extra"]["is_error"]),
        (&"no such file".into(), &true.into())
    );
    assert_eq!(
        results[1]["content"],
        json!([
            { "type": "text", "text": "one" },
            { "type": "text", "text": "{\"query\":\"a\",\"result\":\"two\"}" },
        ])
    );
    // What a cache had is within what was read.
    let metrics = &first["metrics"];
    assert_eq!(
        (&metrics["prompt_tokens"], &metrics["cached_tokens"], &metrics["cost_usd"]),
        (&100.into(), &60.into(), &json!(0.01))
    );
    let sub = &document["subagent_trajectories"][0];
    assert_eq!(
        (&sub["trajectory_id"], &sub["steps"][1]["message"]),
        (&"a1".into(), &"Nothing there.".into())
    );
}

#[test]
fn a_task_of_an_older_release_is_read() {
    let converted = of("cline/task");
    assert_eq!(
        (&converted.said["agent"], &converted.said["run"]["outcome"]),
        (&"cline".into(), &"interrupted".into())
    );
    assert_eq!(converted.document["session_id"], "1767323045000");
    assert_eq!(all_calls(&converted.document), ["execute_command"]);
    let metrics = &converted.document["steps"][1]["metrics"];
    assert_eq!((&metrics["prompt_tokens"], &metrics["completion_tokens"]), (&100.into(), &20.into()));
}

#[test]
fn what_is_printed_is_enough() {
    let place = tempfile::tempdir().unwrap();
    let event =
        |event: Value| json!({ "ts": "2026-01-02T03:04:05.000Z", "type": "agent_event", "event": event });
    let lines = [
        event(json!({ "type": "iteration_start", "iteration": 1 })),
        event(json!({ "type": "content_end", "contentType": "reasoning", "reasoning": "Look first." })),
        event(json!({ "type": "content_end", "contentType": "text", "text": "Let me look." })),
        event(
            json!({ "type": "content_start", "contentType": "tool", "toolCallId": "c1", "toolName": "run_commands", "input": { "commands": ["ls"] } }),
        ),
        event(
            json!({ "type": "content_end", "contentType": "tool", "toolCallId": "c1", "toolName": "run_commands", "error": "no" }),
        ),
        event(json!({ "type": "usage", "inputTokens": 100, "outputTokens": 20, "cacheReadTokens": 60 })),
        event(json!({ "type": "iteration_start", "iteration": 2 })),
        json!({ "ts": "2026-01-02T03:04:06.000Z", "type": "error", "message": "401 from the provider" }),
        json!({ "ts": "2026-01-02T03:04:06.000Z", "type": "run_result", "finishReason": "error", "durationMs": 7, "model": { "id": "m" } }),
    ];
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    fs_err::write(place.path().join("out.txt"), lines.join("\n")).unwrap();
    let converted = convert(place.path(), &[]);
    assert_eq!(converted.said["run"], json!({ "outcome": "failed", "reason": "401 from the provider" }));
    let steps = converted.document["steps"].as_array().unwrap();
    assert_eq!(
        (&steps[0]["message"], &steps[0]["reasoning_content"]),
        (&"Let me look.".into(), &"Look first.".into())
    );
    assert_eq!(steps[0]["observation"]["results"][0]["extra"]["is_error"], true);
    assert_eq!(steps[0]["metrics"]["prompt_tokens"], 100);
    assert_eq!(
        (&steps[1]["llm_call_count"], &steps[1]["message"]),
        (&0.into(), &"401 from the provider".into())
    );
}
