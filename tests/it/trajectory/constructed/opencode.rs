//! Streams of opencode, exports and directories of its sessions.

use serde_json::{Value, json};

use super::super::{convert, fixtures};
use super::{differences, of, reference};

fn basic() -> super::Converted {
    convert(&fixtures().join("trajectories/opencode/basic/agent"), &["--model", "anthropic/claude-opus-4-7"])
}

#[test]
fn a_stream_becomes_what_the_older_program_made_of_it() {
    let converted = basic();
    let documents = [("basic", converted.document, reference("opencode/basic"))];
    differences::of_documents_are_listed("opencode", &documents);
    assert_eq!(converted.said["agent"], "opencode");
    assert_eq!(of("opencode/basic").said["run"], json!({ "outcome": "failed", "reason": "overloaded" }));
}

#[test]
fn errors_of_tools_unfinished_spans_and_errors_of_the_model_are_kept() {
    let document = basic().document;
    let failed = &document["steps"][0]["observation"]["results"][1];
    assert_eq!(failed["source_call_id"], "call_b");
    assert_eq!(failed["content"], "File not found");
    assert_eq!(failed["extra"]["is_error"], true);
    assert_eq!(document["steps"][2]["message"], "this unfinished turn is lost");
    assert_eq!(document["steps"][2]["llm_call_count"], 1);
    assert_eq!(document["steps"][3]["source"], "system");
    assert_eq!(document["steps"][3]["message"], "overloaded");
    assert_eq!(document["steps"][3]["extra"]["error"]["name"], "APIError");
    assert_eq!(document["final_metrics"]["extra"]["cost_source"], "agent");
}

/// A directory of sessions: one that asked another one, was made shorter, and was shown a picture.
fn storage() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let write = |path: &str, value: &Value| {
        let path = place.path().join("storage").join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, serde_json::to_string_pretty(value).unwrap()).unwrap();
    };
    let session = |id: &str, parent: Value, created: u64| {
        json!({ "id": id, "parentID": parent, "projectID": "p", "directory": "/w", "version": "1.0.1",
            "title": "T", "time": { "created": created, "updated": 9 } })
    };
    write("session/p/ses_a.json", &session("ses_a", Value::Null, 1_767_323_045_000));
    write("session/p/ses_b.json", &session("ses_b", json!("ses_a"), 1_767_323_046_000));
    let user = |session: &str, id: &str| {
        json!({ "id": id, "sessionID": session, "role": "user", "time": { "created": 1_767_323_045_001_u64 },
            "model": { "providerID": "anthropic", "modelID": "claude-opus-4-7", "variant": "high" } })
    };
    let answer = |session: &str, id: &str, finish: &str| {
        json!({ "id": id, "sessionID": session, "role": "assistant", "finish": finish, "modelID": "claude-opus-4-7",
            "providerID": "anthropic", "cost": 0.5,
            "time": { "created": 1_767_323_045_002_u64, "completed": 1_767_323_045_900_u64 } })
    };
    let part = |message: &str, id: &str, mut value: Value| {
        value["id"] = json!(id);
        value["messageID"] = json!(message);
        value["sessionID"] = json!("s");
        write(&format!("part/{message}/{id}.json"), &value);
    };
    write("message/ses_a/msg_1.json", &user("ses_a", "msg_1"));
    part("msg_1", "prt_1", json!({ "type": "text", "text": "Ask somebody" }));
    let url = "data:image/png;base64,iVBORw0KGgo=";
    part("msg_1", "prt_2", json!({ "type": "file", "mime": "image/png", "url": url }));
    part("msg_1", "prt_3", json!({ "type": "file", "mime": "text/plain", "url": "file:///w/a.txt" }));
    write("message/ses_a/msg_2.json", &answer("ses_a", "msg_2", "tool-calls"));
    part("msg_2", "prt_4", json!({ "type": "step-start" }));
    part("msg_2", "prt_5", json!({ "type": "reasoning", "text": "I will ask." }));
    part(
        "msg_2",
        "prt_6",
        json!({ "type": "tool", "tool": "task", "callID": "c1", "state": {
            "status": "completed", "input": { "subagent_type": "explore", "prompt": "Look" }, "output": "Looked.",
            "title": "Look", "metadata": { "sessionId": "ses_b" }, "time": { "start": 1_767_323_045_100_u64,
            "end": 1_767_323_045_200_u64 } } }),
    );
    let tokens = json!({ "input": 10, "output": 5, "reasoning": 2, "cache": { "read": 100, "write": 7 } });
    part(
        "msg_2",
        "prt_7",
        json!({ "type": "step-finish", "reason": "tool-calls", "cost": 0.25, "tokens": tokens }),
    );
    // A second call of the model in the same message, as older versions have it.
    part("msg_2", "prt_8", json!({ "type": "step-start" }));
    part(
        "msg_2",
        "prt_9",
        json!({ "type": "tool", "tool": "bash", "callID": "c2", "state": {
            "status": "pending", "input": {}, "raw": "{\"command\":\"ls\"}" } }),
    );
    write("message/ses_a/msg_3.json", &user("ses_a", "msg_3"));
    part("msg_3", "prt_a", json!({ "type": "compaction", "auto": true }));
    write("message/ses_a/msg_4.json", &answer("ses_a", "msg_4", "stop"));
    part(
        "msg_4",
        "prt_b",
        json!({ "type": "retry", "attempt": 1, "error": { "name": "APIError",
        "data": { "message": "overloaded" } }, "time": { "created": 1_767_323_045_300_u64 } }),
    );
    part("msg_4", "prt_c", json!({ "type": "text", "text": "Shorter." }));
    write("message/ses_b/msg_5.json", &user("ses_b", "msg_5"));
    part("msg_5", "prt_d", json!({ "type": "text", "text": "Look" }));
    write("message/ses_b/msg_6.json", &answer("ses_b", "msg_6", "stop"));
    part("msg_6", "prt_e", json!({ "type": "text", "text": "I looked." }));
    place
}

#[test]
fn the_directory_of_sessions_is_read_with_those_that_were_asked() {
    let place = storage();
    let converted = convert(place.path(), &[]);
    let document = &converted.document;
    assert_eq!(converted.said["agent"], "opencode");
    assert_eq!(converted.said["run"]["outcome"], "finished");
    assert_eq!(converted.said["unknown"], json!({}));
    assert_eq!(document["session_id"], "ses_a");
    assert_eq!(document["agent"]["version"], "1.0.1");
    assert_eq!(document["agent"]["model_name"], "anthropic/claude-opus-4-7");
    let steps = document["steps"].as_array().unwrap();
    let sources: Vec<&str> = steps.iter().map(|step| step["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["user", "agent", "agent", "system", "system", "agent"]);
    let picture = steps[0]["message"][1]["source"]["path"].as_str().unwrap();
    assert!(converted.place.path().join(picture).is_file());
    assert_eq!(steps[0]["extra"]["parts"][0]["url"], "file:///w/a.txt");
    assert_eq!(steps[1]["reasoning_content"], "I will ask.");
    assert_eq!(steps[1]["reasoning_effort"], "high");
    assert_eq!(steps[1]["metrics"]["prompt_tokens"], 117);
    assert_eq!(steps[1]["metrics"]["completion_tokens"], 7);
    assert_eq!(steps[1]["metrics"]["cost_usd"], 0.25);
    let result = &steps[1]["observation"]["results"][0];
    assert_eq!(result["subagent_trajectory_ref"], json!([{ "trajectory_id": "ses_b" }]));
    // What a model wrote until it was cut is its call.
    assert_eq!(steps[2]["tool_calls"][0]["arguments"], json!({ "command": "ls" }));
    assert!(steps[2]["observation"].is_null() && steps[2]["timestamp"].is_null());
    assert_eq!(steps[3]["extra"]["parts"][0]["type"], "compaction");
    assert_eq!(steps[4]["message"], "overloaded");
    assert_eq!(steps[4]["extra"]["attempt"], 1);
    assert_eq!(document["final_metrics"]["extra"]["summarization_count"], 1);
    assert_eq!(document["final_metrics"]["total_cost_usd"], 1.5);
    let sub = &document["subagent_trajectories"][0];
    assert_eq!(sub["trajectory_id"], "ses_b");
    assert_eq!(sub["agent"]["extra"]["subagent"], "explore");
    assert_eq!(sub["steps"][1]["message"], "I looked.");
}

#[test]
fn one_broken_file_costs_one_part_and_a_cut_export_what_is_behind() {
    let place = storage();
    fs_err::write(
        place.path().join("storage/part/msg_2/prt_5.json"),
        "{\"type\":\"reasoning\",\"messageID\":\"msg_2\",\"sessionID\":\"s\",\"te",
    )
    .unwrap();
    let converted = convert(place.path(), &[]);
    assert_eq!(converted.said["status"], "partial");
    assert_eq!(converted.document["steps"].as_array().unwrap().len(), 6);
    assert!(converted.document["steps"][1]["reasoning_content"].is_null());
    let export =
        fs_err::read_to_string(fixtures().join("agent-logs/opencode/multi/native/export.json")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let end = export.find("Step 3").unwrap();
    fs_err::write(place.path().join("x.json"), &export[..end]).unwrap();
    let converted = convert(place.path(), &[]);
    assert_eq!(converted.said["counts"]["truncated-file"], 1);
    assert_eq!(converted.document["steps"].as_array().unwrap().len(), 3);
    assert_eq!(converted.said["run"]["outcome"], "interrupted");
}

#[test]
fn a_stream_alone_tells_the_same_as_the_session() {
    let place = tempfile::tempdir().unwrap();
    fs_err::copy(fixtures().join("agent-logs/opencode/multi/stdout.jsonl"), place.path().join("out.jsonl"))
        .unwrap();
    let alone = convert(place.path(), &[]).document;
    let whole = convert(&fixtures().join("agent-logs/opencode/multi"), &[]).document;
    assert_eq!(alone["session_id"], whole["session_id"]);
    let (alone, whole) = (alone["steps"].as_array().unwrap(), whole["steps"].as_array().unwrap());
    // It does not say what the agent was asked.
    assert_eq!(alone.len() + 1, whole.len());
    for (one, other) in alone.iter().zip(&whole[1..]) {
        for key in ["message", "tool_calls", "observation", "metrics", "llm_call_count"] {
            assert_eq!(one[key], other[key], "{key}");
        }
    }
}
