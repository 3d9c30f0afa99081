//! Trajectories of mini-swe-agent, in both styles, and what it prints.

use serde_json::json;

use super::super::{convert, fixtures};
use super::{differences, of};

#[test]
fn a_trajectory_becomes_what_the_older_program_made_of_it() {
    let converted = of("mini-swe-agent/chat_basic");
    differences::are_listed("mini-swe-agent", &["chat_basic"]);
    assert_eq!(converted.said["agent"], "mini-swe-agent");
    assert_eq!(converted.said["run"]["outcome"], "finished");
}

#[test]
fn times_are_those_of_the_messages_and_costs_those_that_are_written_down() {
    let document = of("mini-swe-agent/chat_basic").document;
    let steps = document["steps"].as_array().unwrap();
    assert!(steps[0]["timestamp"].is_null() && steps[1]["timestamp"].is_null());
    assert_eq!(steps[2]["timestamp"], "1970-01-01T00:16:40.500000Z");
    let result = &steps[2]["observation"]["results"][0];
    assert_eq!(result["source_call_id"], "c1");
    assert_eq!(result["extra"]["timestamp"], "1970-01-01T00:16:42.000000Z");
    assert_eq!(steps[3]["tool_calls"][0]["arguments"], json!({ "input": "echo notjson" }));
    assert_eq!(document["final_metrics"]["total_cost_usd"], 0.03);
    assert_eq!(document["final_metrics"]["extra"]["cost_source"], "agent");
    assert_eq!(document["final_metrics"]["extra"]["api_calls"], 2);
}

#[test]
fn responses_models_without_tools_and_pictures_are_read() {
    let place = tempfile::tempdir().unwrap();
    let document = json!({
        "info": { "mini_version": "2.4.6", "exit_status": "LimitsExceeded", "model_stats": { "instance_cost": 0.5 },
            "config": { "model": { "model_name": "openai/gpt-5", "model_kwargs": { "reasoning_effort": "high" } } } },
        "messages": [
            { "role": "system", "content": [{ "type": "text", "text": "sys" }] },
            { "role": "user", "content": [{ "type": "text", "text": "Look" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } }] },
            { "object": "response", "id": "r1", "created_at": 1_767_323_045, "completed_at": 1_767_323_046.5,
                "usage": { "input_tokens": 100, "input_tokens_details": { "cached_tokens": 40 }, "output_tokens": 9,
                    "output_tokens_details": { "reasoning_tokens": 4 } },
                "output": [
                    { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "I think." }] },
                    { "type": "message", "content": [{ "type": "output_text", "text": "I look." }] },
                    { "type": "function_call", "call_id": "c1", "name": "bash", "arguments": "{\"command\":\"ls\"}" } ],
                "extra": { "cost": 0.25, "timestamp": 1_767_323_047.0 } },
            { "type": "function_call_output", "call_id": "c1", "output": "a", "extra": { "returncode": 1,
                "raw_output": "all of a", "exception_info": "timed out", "timestamp": 1_767_323_048.0 } },
            null,
            { "role": "assistant", "content": "```bash\nls\n```", "extra": { "actions": [{ "command": "ls" }] } },
            { "role": "user", "content": "<output>b</output>", "extra": { "returncode": 0, "raw_output": "b" } },
            { "role": "assistant", "content": 7, "tool_calls": "none", "extra": [] },
            { "role": "odd", "content": "?" },
            { "role": "exit", "content": "Enough.", "extra": { "exit_status": "LimitsExceeded" } },
        ],
        "trajectory_format": "mini-swe-agent-1.1",
    });
    fs_err::write(place.path().join("x.traj.json"), document.to_string()).unwrap();
    let converted = convert(place.path(), &[]);
    assert_eq!(converted.said["run"], json!({ "outcome": "failed", "reason": "Enough." }));
    assert_eq!(converted.said["unknown"], json!({ "odd": 1 }));
    assert_eq!(converted.said["status"], "partial");
    let steps = converted.document["steps"].as_array().unwrap();
    let picture = steps[1]["message"][1]["source"]["path"].as_str().unwrap();
    assert!(converted.place.path().join(picture).is_file());
    let answer = &steps[2];
    assert_eq!(answer["timestamp"], "2026-01-02T03:04:06.500000Z");
    assert_eq!((&answer["message"], &answer["reasoning_content"]), (&json!("I look."), &json!("I think.")));
    assert_eq!(answer["reasoning_effort"], "high");
    assert_eq!(answer["tool_calls"][0]["arguments"], json!({ "command": "ls" }));
    assert_eq!(answer["metrics"]["prompt_tokens"], 100);
    assert_eq!(answer["metrics"]["cached_tokens"], 40);
    assert_eq!(answer["metrics"]["cost_usd"], 0.25);
    let result = &answer["observation"]["results"][0];
    assert_eq!(result["extra"]["is_error"], true);
    assert_eq!(result["extra"]["raw_output"], "all of a");
    assert_eq!(steps[3]["tool_calls"][0]["function_name"], "bash");
    assert_eq!(steps[3]["observation"]["results"][0]["content"], "<output>b</output>");
    assert!(steps[3]["observation"]["results"][0]["extra"]["raw_output"].is_null());
    assert_eq!(steps[4]["message"], "7");
    assert_eq!(steps[5]["message"], "Enough.");
    assert_eq!(steps.len(), 6);
}

#[test]
fn what_is_printed_is_enough() {
    let place = tempfile::tempdir().unwrap();
    let logs = fixtures().join("agent-logs/mini");
    fs_err::copy(logs.join("multi/stdout.txt"), place.path().join("mini-swe-agent.txt")).unwrap();
    let alone = convert(place.path(), &[]);
    assert_eq!(alone.said["run"]["outcome"], "finished");
    let whole = convert(&logs.join("multi"), &[]);
    let (one, other) =
        (alone.document["steps"].as_array().unwrap(), whole.document["steps"].as_array().unwrap());
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other).skip(2) {
        assert_eq!(one["message"], other["message"]);
        let commands = |step: &serde_json::Value| {
            let calls = step["tool_calls"].as_array().unwrap().iter();
            calls.map(|call| call["arguments"]["command"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(commands(one), commands(other));
        let answers = |step: &serde_json::Value| step["observation"]["results"].as_array().map(Vec::len);
        assert_eq!(answers(one), answers(other));
    }
    fs_err::copy(logs.join("err401/stdout.txt"), place.path().join("mini-swe-agent.txt")).unwrap();
    let failed = convert(place.path(), &[]);
    assert_eq!(failed.said["run"]["outcome"], "failed");
    assert!(failed.said["run"]["reason"].as_str().unwrap().contains("mock 401"), "{}", failed.said);
}
