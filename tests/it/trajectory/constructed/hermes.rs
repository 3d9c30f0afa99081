//! Sessions of Hermes Agent, written after its published source.

use serde_json::json;

use super::super::all_calls;
use super::of;

#[test]
fn a_database_becomes_a_trajectory() {
    let converted = of("hermes/database");
    let (said, document) = (&converted.said, &converted.document);
    assert_eq!((&said["agent"], &said["status"]), (&"hermes".into(), &"complete".into()));
    assert_eq!(said["run"]["outcome"], "finished");
    assert_eq!(
        (&document["session_id"], &document["agent"]["model_name"]),
        (&"s1".into(), &"claude-sonnet-4-5".into())
    );
    assert_eq!(document["agent"]["extra"]["system_prompt"], "You are Hermes.");
    let steps = document["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 4);
    assert_eq!(steps[0]["timestamp"], "2026-01-02T03:04:05.500000Z");
    let first = &steps[1];
    assert_eq!(
        (&first["message"], &first["reasoning_content"]),
        (&"Let me look.".into(), &"Look first.".into())
    );
    assert_eq!(first["tool_calls"][0]["arguments"], json!({ "command": "ls" }));
    assert_eq!(
        first["observation"]["results"][0]["content"],
        "{\"output\": \"no such file\", \"exit_code\": 2}"
    );
    assert_eq!((&steps[2]["message"], &steps[3]["message"]), (&"What was done".into(), &"Done.".into()));
    // The second session goes on where the first was made shorter.
    assert_eq!(document["final_metrics"]["extra"]["summarization_count"], 1);
    assert_eq!(document["final_metrics"]["total_prompt_tokens"], 3 * 150);
    let sub = &document["subagent_trajectories"][0];
    assert_eq!(
        (&sub["trajectory_id"], &sub["steps"][1]["message"]),
        (&"a1".into(), &"Nothing there.".into())
    );
}

#[test]
fn a_session_that_was_exported_is_read() {
    let converted = of("hermes/export");
    assert_eq!(
        (&converted.said["agent"], &converted.said["run"]["outcome"]),
        (&"hermes".into(), &"interrupted".into())
    );
    assert_eq!(converted.said["unknown"], json!({ "session_meta": 1 }));
    assert_eq!(all_calls(&converted.document), ["terminal"]);
    assert_eq!(converted.document["final_metrics"]["total_completion_tokens"], 22);
}
