//! Sessions of Kimi CLI, written after its published source.

use serde_json::{Value, json};

use super::super::{all_calls, convert};
use super::of;

const SESSION: &str = "kimi-cli/basic/agent/sessions/9a0364b9/4f1c2a7e";

#[test]
fn a_session_of_events_becomes_a_trajectory() {
    let converted = of("kimi-cli/basic");
    let (said, document) = (&converted.said, &converted.document);
    assert_eq!((&said["agent"], &said["run"]["outcome"]), (&"kimi-cli".into(), &"finished".into()));
    assert_eq!((&said["status"], &said["unknown"]), (&"partial".into(), &json!({ "Futuristic": 1 })));
    assert_eq!(said["counts"]["truncated-line"], 1);
    assert_eq!(document["session_id"], "4f1c2a7e");
    let steps = document["steps"].as_array().unwrap();
    let sources: Vec<&str> = steps.iter().map(|step| step["source"].as_str().unwrap()).collect();
    // A step is there when the model answers.
    assert_eq!(sources, ["system", "user", "agent", "system", "agent"]);
    assert_eq!(steps[0]["message"], "You are Kimi.");
    assert_eq!(steps[1]["message"][0]["text"], "Fix it.");
    assert_eq!(steps[1]["message"][1]["source"]["media_type"], "image/png");
    let first = &steps[2];
    // What comes in pieces is one text.
    assert_eq!(
        (&first["message"], &first["reasoning_content"]),
        (&"Let me look.".into(), &"Look first.".into())
    );
    assert_eq!(first["tool_calls"][0]["arguments"], json!({ "command": "ls" }));
    let results = &first["observation"]["results"];
    assert_eq!(results[0]["content"], "no such file");
    assert_eq!(results[0]["extra"]["is_error"], true);
    assert_eq!(results[0]["extra"]["message"], "Command failed with exit code: 2.");
    assert_eq!(results[1]["subagent_trajectory_ref"], json!([{ "trajectory_id": "t2" }]));
    let metrics = &first["metrics"];
    assert_eq!((&metrics["prompt_tokens"], &metrics["cached_tokens"]), (&125.into(), &30.into()));
    assert_eq!(metrics["extra"]["input_cache_creation"], 5);
    assert_eq!(steps[4]["message"], "Done.");
    assert_eq!(
        (&steps[3]["extra"]["kind"], &steps[3]["extra"]["status_code"]),
        (&"StepRetry".into(), &500.into())
    );
    let sub = &document["subagent_trajectories"][0];
    assert_eq!(
        (&sub["agent"]["extra"]["subagent"], &sub["steps"][1]["message"]),
        (&"coder".into(), &"Nothing there.".into())
    );
    assert_eq!(document["final_metrics"]["total_prompt_tokens"], 125 + 135 + 7);
    assert_eq!(document["final_metrics"]["extra"]["summarization_count"], 1);
}

/// Of an agent that works on, the one that asked it tells nothing; and what the program tells the model is no event.
#[test]
fn an_agent_in_the_background_is_that_of_its_call() {
    let converted = convert(&super::super::fixtures().join("agent-logs/kimi/background"), &[]);
    let document = &converted.document;
    let steps = document["steps"].as_array().unwrap();
    let of: Vec<&Value> = steps.iter().map(|step| &step["source"]).collect();
    // The prompt of the system; a request with its answers; then that all is done, which the program says twice, and the last answer.
    assert_eq!(of, ["system", "user", "agent", "agent", "user", "system", "system", "agent"]);
    let result = &steps[2]["observation"]["results"][0];
    let sub = &document["subagent_trajectories"][0];
    assert_eq!(result["subagent_trajectory_ref"], json!([{ "trajectory_id": sub["trajectory_id"] }]));
    assert_eq!(sub["steps"].as_array().unwrap().len(), 9);
    let told = steps[6]["message"].as_str().unwrap();
    assert!(told.starts_with("<notification id=") && told.contains("Output tail:"), "{told}");
    assert_eq!(steps[6]["extra"]["role"], "user");
}

#[test]
fn messages_and_what_is_printed_are_enough() {
    let place = tempfile::tempdir().unwrap();
    let from = super::super::fixtures().join("trajectories").join(SESSION).join("context.jsonl");
    fs_err::copy(from, place.path().join("context.jsonl")).unwrap();
    let converted = convert(place.path(), &[]);
    assert_eq!(all_calls(&converted.document), ["Shell"]);
    let steps = converted.document["steps"].as_array().unwrap();
    let texts: Vec<&Value> = steps.iter().map(|step| &step["message"]).collect();
    assert_eq!(texts, ["You are Kimi.", "Fix it.", "Let me look.", "Done."]);
    assert_eq!(steps[2]["observation"]["results"][0]["source_call_id"], "t1");
    // Harbor asks it by its protocol, and keeps what it says.
    let place = tempfile::tempdir().unwrap();
    let event = |kind: &str, payload: Value| json!({ "jsonrpc": "2.0", "method": "event", "params": { "type": kind, "payload": payload } });
    let lines = [
        event("TurnBegin", json!({ "user_input": "Hi" })),
        event("StepBegin", json!({ "n": 1 })),
        event("ContentPart", json!({ "type": "text", "text": "Hello" })),
        json!({ "jsonrpc": "2.0", "id": "1", "error": { "code": -32003, "message": "LLM is not set" } }),
    ];
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    fs_err::write(place.path().join("kimi-cli.txt"), format!("starting\n{}\n", lines.join("\n"))).unwrap();
    let converted = convert(place.path(), &[]);
    assert_eq!(converted.said["run"], json!({ "outcome": "failed", "reason": "LLM is not set" }));
    assert_eq!(converted.document["steps"][1]["message"], "Hello");
}
