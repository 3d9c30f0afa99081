//! Logs of goose in each of their forms, written after its published source.

use serde_json::{Value, json};

use super::super::{all_calls, convert};
use super::of;

#[test]
fn a_database_becomes_a_trajectory() {
    let converted = of("goose/database");
    let (said, document) = (&converted.said, &converted.document);
    assert_eq!((&said["agent"], &said["status"]), (&"goose".into(), &"complete".into()));
    assert_eq!(said["run"]["outcome"], "finished");
    assert_eq!(
        (&document["session_id"], &document["agent"]["model_name"]),
        (&"20260102_1".into(), &"claude-sonnet-4-5".into())
    );
    let steps = document["steps"].as_array().unwrap();
    let sources: Vec<&str> = steps.iter().map(|step| step["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["user", "agent", "system", "agent"]);
    assert_eq!(steps[0]["timestamp"], "2026-01-02T03:04:05.000000Z");
    assert_eq!(steps[0]["message"][1]["source"]["media_type"], "image/png");
    let first = &steps[1];
    assert_eq!(
        (&first["message"], &first["reasoning_content"]),
        (&"Let me look.".into(), &"Look first.".into())
    );
    assert_eq!(first["model_name"], "claude-sonnet-4-5-20250929");
    assert_eq!(first["tool_calls"][0]["arguments"], json!({ "command": "ls" }));
    assert_eq!(first["tool_calls"][1]["extra"]["error"], "arguments are no JSON");
    let results = first["observation"]["results"].as_array().unwrap();
    assert_eq!(results[0]["content"], "no such file");
    assert!(results.iter().all(|result| result["extra"]["is_error"] == true));
    // What a cache had is within what was read.
    let metrics = &first["metrics"];
    assert_eq!(
        (&metrics["prompt_tokens"], &metrics["cached_tokens"], &metrics["cost_usd"]),
        (&100.into(), &60.into(), &json!(0.01))
    );
    assert_eq!((&steps[2]["message"], &steps[3]["message"]), (&"Made shorter".into(), &"Done.".into()));
    assert_eq!(document["final_metrics"]["extra"]["summarization_count"], 1);
    assert_eq!(document["final_metrics"]["total_cost_usd"], 0.02);
    let sub = &document["subagent_trajectories"][0];
    assert_eq!(
        (&sub["trajectory_id"], &sub["steps"][1]["message"]),
        (&"20260102_2".into(), &"Nothing there.".into())
    );
}

#[test]
fn the_lines_of_an_older_release_tell_what_went_wrong() {
    let converted = of("goose/lines");
    assert_eq!(converted.said["run"], json!({ "outcome": "failed", "reason": "Authentication error: 401." }));
    let steps = converted.document["steps"].as_array().unwrap();
    assert_eq!(steps[1]["observation"]["results"][0]["content"], "a");
    assert_eq!((&steps[2]["llm_call_count"], &steps[2]["extra"]["api_error"]), (&0.into(), &true.into()));
    assert_eq!(converted.document["final_metrics"]["total_prompt_tokens"], 210);
}

#[test]
fn what_is_printed_in_pieces_is_there_once() {
    let converted = of("goose/stream");
    assert_eq!(converted.said["run"]["outcome"], "finished");
    let steps = converted.document["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2);
    assert_eq!(
        (&steps[0]["message"], &steps[0]["reasoning_content"]),
        (&"Let me look.".into(), &"Look first.".into())
    );
    assert_eq!(all_calls(&converted.document), ["developer__shell"]);
    let totals = &converted.document["final_metrics"];
    assert_eq!((&totals["total_prompt_tokens"], &totals["total_cached_tokens"]), (&210.into(), &60.into()));
    assert_eq!((&totals["total_cost_usd"], &totals["extra"]["total_tokens"]), (&json!(0.02), &232.into()));
}

#[test]
fn a_session_that_was_exported_is_read_and_one_that_breaks_off_as_far_as_it_goes() {
    let place = tempfile::tempdir().unwrap();
    let part = |kind: &str, more: Value| {
        let mut part = json!({ "type": kind });
        part.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        part
    };
    let text = |text: &str| part("text", json!({ "text": text }));
    let exported = json!({
        "id": "s1", "name": "Fix", "working_dir": "/app", "model_config": { "model_name": "m" },
        "accumulated_input_tokens": 5, "accumulated_output_tokens": 1,
        "conversation": [
            { "id": "u1", "role": "user", "created": 1_767_323_045, "content": [text("Hi")] },
            { "id": "m1", "role": "assistant", "created": 1_767_323_046, "content": [
                part("toolRequest", json!({ "id": "c1", "toolCall": { "status": "success", "value": { "name": "x", "arguments": {} } } })),
                part("newKind", json!({ "a": 1 })),
            ] },
        ],
    });
    let file = place.path().join("session.json");
    fs_err::write(&file, exported.to_string()).unwrap();
    let converted = convert(place.path(), &[]);
    assert_eq!(
        (&converted.said["agent"], &converted.said["run"]["outcome"]),
        (&"goose".into(), &"interrupted".into())
    );
    assert_eq!(converted.document["steps"][1]["message"], "{\"a\":1,\"type\":\"newKind\"}");
    let cut = exported.to_string();
    fs_err::write(&file, &cut[..cut.find("\"toolRequest\"").unwrap() + 20]).unwrap();
    let converted = convert(place.path(), &[]);
    assert_eq!(converted.said["counts"]["truncated-file"], 1);
    assert_eq!(converted.document["steps"][0]["message"], "Hi");
}
