//! `pier trajectory show`, `stats`, `diff`, `search` and `export`.

use std::path::Path;

use serde_json::{Value, json};

use super::{fixtures, trajectory};

/// A directory with the trajectories of some runs of claude-code.
fn directory() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for (name, logs) in [
        ("hello", "agent-logs/claude/hello"),
        ("multi", "agent-logs/claude/multi"),
        ("failed", "agent-logs/claude/err401"),
        ("sub", "trajectories/claude-code/sidechain/agent"),
    ] {
        let to = place.path().join(name);
        fs_err::create_dir(&to).unwrap();
        let file = to.join("trajectory.json");
        let logs = fixtures().join(logs);
        let (code, _, errors) =
            trajectory(&["convert", logs.to_str().unwrap(), "-o", file.to_str().unwrap()]);
        assert_eq!(code, 0, "{errors}");
    }
    place
}

fn said(code: i32, words: &[&str]) -> String {
    let (ended, said, errors) = trajectory(words);
    assert_eq!(ended, code, "{words:?}: {errors}");
    said
}

fn json_of(words: &[&str]) -> Value {
    serde_json::from_str(&said(0, words)).unwrap()
}

fn path(place: &Path, name: &str) -> String {
    place.join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_trajectory_is_shown_as_a_conversation() {
    let place = directory();
    let multi = path(place.path(), "multi");
    let shown = said(0, &["show", &multi]);
    assert!(shown.starts_with("claude-code 2.1.329 · claude-sonnet-4-5 · "), "{shown}");
    assert!(shown.contains("finished") && shown.contains("#1 user\n  Create hello.txt"), "{shown}");
    assert!(shown.contains("▸ Bash ls -la && pwd\n") && shown.contains("… thought 22 characters"), "{shown}");
    assert!(!shown.contains("The user wants a file.") && !shown.contains('\u{1b}'), "{shown}");
    assert!(said(0, &["show", &multi, "--reasoning"]).contains("The user wants a file."));
    let errors = said(0, &["show", &multi, "--only", "errors"]);
    assert!(errors.contains("does-not-exist") && !errors.contains("#1 user"), "{errors}");
    let steps = said(0, &["show", &multi, "--steps", "1", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&steps).unwrap()["step_id"], 1);
    assert!(said(0, &["show", &path(place.path(), "failed")]).contains("\n401 mock 401\n"));
    assert!(said(0, &["show", &path(place.path(), "sub")]).contains("→ sub-agent a1"));
    // Which of several is not guessed.
    let (code, _, errors) = trajectory(&["show", place.path().to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(errors.contains("there are 4 trajectories"), "{errors}");
}

#[test]
fn what_a_trajectory_says_cannot_change_the_terminal() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("trajectory.json");
    let hostile = "a\u{1b}[2J\u{7}\u{202e}b";
    let call =
        json!({ "tool_call_id": hostile, "function_name": hostile, "arguments": { "command": hostile } });
    let document = json!({
        "schema_version": "ATIF-v1.7", "session_id": hostile, "agent": { "name": hostile, "version": hostile },
        "steps": [{
            "step_id": 1, "source": "agent", "message": hostile, "reasoning_content": hostile, "model_name": hostile,
            "tool_calls": [call],
            "observation": { "results": [{ "source_call_id": hostile, "content": hostile }] },
        }],
        "extra": { "run": { "outcome": hostile, "reason": hostile } },
    });
    fs_err::write(&file, document.to_string()).unwrap();
    let file = file.to_str().unwrap();
    for words in [
        &["show", file, "--reasoning", "--full"][..],
        &["show", file, "--json"],
        &["stats", file],
        &["stats", file, "--json"],
        &["search", file, "-t", "b"],
        &["search", file, "-t", "b", "--json"],
        &["diff", file, file],
        &["validate", file],
        &["export", file],
        &["export", file, "--format", "otel"],
    ] {
        let said = said(0, words);
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{words:?}: {said:?}");
    }
}

#[test]
fn numbers_of_many_are_added_up() {
    let place = directory();
    let all = place.path().to_str().unwrap();
    let rows = json_of(&["stats", all, "--json"]);
    assert_eq!(rows.as_array().unwrap().len(), 4);
    let multi = &rows[2];
    assert_eq!((&multi["calls"], &multi["errors"], &multi["unanswered"]), (&json!(5), &json!(2), &json!(0)));
    assert_eq!(multi["tools"], json!({ "Bash": 5 }));
    assert_eq!(rows[0]["outcome"], "failed");
    assert_eq!(rows[3]["subagents"], 2);
    let lines = said(0, &["stats", all]);
    assert!(lines.lines().last().unwrap().starts_with("all 4: "), "{lines}");
    // One that is broken is said, and the others are counted.
    let broken = place.path().join("broken");
    fs_err::create_dir(&broken).unwrap();
    fs_err::write(broken.join("trajectory.json"), "{").unwrap();
    let (code, lines, errors) = trajectory(&["stats", all]);
    assert_eq!(code, 1);
    assert!(lines.contains("all 4: ") && errors.contains("broken/trajectory.json"), "{errors}");
}

#[test]
fn one_of_something_is_said_as_one() {
    let place = directory();
    let file = place.path().join("hello/trajectory.json");
    let mut document: Value = serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap();
    document["steps"].as_array_mut().unwrap().truncate(1);
    fs_err::write(&file, document.to_string()).unwrap();
    let hello = file.to_str().unwrap();
    let shown = said(0, &["show", hello]);
    assert!(shown.contains("\n1 step, "), "{shown}");
    let line = said(0, &["stats", hello]);
    assert!(line.contains("1 step, 0 of the agent, 0 calls ("), "{line}");
}

#[test]
fn two_runs_are_compared_by_what_they_did() {
    let place = directory();
    let (hello, multi) = (path(place.path(), "hello"), path(place.path(), "multi"));
    let lines = said(1, &["diff", &hello, &multi]);
    assert!(lines.contains("+         3  Bash ls -la && pwd\n"), "{lines}");
    assert!(lines.contains("=    3    7  Bash printf"), "{lines}");
    said(0, &["diff", &hello, &hello]);
    let (_, json, _) = trajectory(&["diff", &hello, &multi, "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["diverges_at"], json!([null, 3]));
}

#[test]
fn steps_are_found_by_text_tool_failure_and_cost() {
    let place = directory();
    let all = place.path().to_str().unwrap();
    let files = |words: &[&str]| -> Vec<String> {
        let mut every = vec!["search", all, "--json"];
        every.extend(words);
        let found = json_of(&every);
        let name = |found: &Value| {
            Path::new(found["file"].as_str().unwrap())
                .parent()
                .unwrap()
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        found.as_array().unwrap().iter().map(name).collect()
    };
    assert_eq!(files(&["-t", "does-not-exist.txt", "--place", "call"]), ["multi"]);
    assert_eq!(files(&["-t", "Delegate"]), ["sub"]);
    assert_eq!(files(&["-t", "delegate"]), ["sub"]);
    said(1, &["search", all, "-t", "LOOKED"]);
    assert_eq!(files(&["--tool", "Task"]), ["sub"]);
    assert_eq!(files(&["--error"]), ["failed", "multi"]);
    assert_eq!(files(&["--min-cost", "0.02"]), ["multi"]);
    assert_eq!(files(&["--max-cost", "0.02"]), ["hello"]);
    let lines = said(0, &["search", all, "-t", "looked."]);
    assert!(lines.contains("subagent_trajectories[0] #2: Looked."), "{lines}");
    said(1, &["search", all, "-t", "nowhere in there"]);
    let (code, _, errors) = trajectory(&["search", all]);
    assert_eq!(code, 2);
    assert_eq!(errors.lines().next(), Some("trajectory::search"));
}

#[test]
fn exports_are_for_training_and_for_readers_of_traces() {
    let place = directory();
    let sub = path(place.path(), "sub");
    let lines = said(0, &["export", &sub]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    let roles: Vec<&str> = lines[0]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "assistant", "tool", "assistant"]);
    let call = &lines[0]["messages"][1]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "Task");
    assert!(call["function"]["arguments"].as_str().unwrap().contains("look around"));
    // What another trajectory has already is no training data, and what a program says is none of a model's.
    let file = place.path().join("sub/trajectory.json");
    let mut document: Value = serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap();
    document["steps"][1]["is_copied_context"] = true.into();
    document["steps"][2]["llm_call_count"] = 0.into();
    document["steps"][2].as_object_mut().unwrap().remove("metrics");
    fs_err::write(&file, document.to_string()).unwrap();
    let left = said(0, &["export", &sub]);
    let left: Value = serde_json::from_str(left.lines().next().unwrap()).unwrap();
    assert_eq!(left["messages"], json!([{ "role": "user", "content": "Delegate" }]));
    // Secrets are taken out.
    document["steps"][0]["message"] = format!("my key is {}{}", "sk-ant-", "a1B2c3D4".repeat(6)).into();
    fs_err::write(&file, document.to_string()).unwrap();
    assert!(!said(0, &["export", &sub]).contains("a1B2c3D4a1B2"));
    assert!(said(0, &["export", &sub, "--unredacted"]).contains("a1B2c3D4a1B2"));
    let out = path(place.path(), "spans.json");
    said(0, &["export", &path(place.path(), "multi"), "--format", "otel", "-o", &out]);
    let spans: Value = serde_json::from_slice(&fs_err::read(&out).unwrap()).unwrap();
    let spans = spans["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["invoke_agent claude-code", "chat claude-sonnet-4-5", "execute_tool Bash"]);
    assert_eq!(names.len(), 1 + 5 + 5);
    let mut ids: Vec<&str> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), names.len());
    for span in spans {
        let time = |key: &str| span[key].as_str().unwrap().parse::<u128>().unwrap();
        assert!(
            time("startTimeUnixNano") > 0 && time("endTimeUnixNano") >= time("startTimeUnixNano"),
            "{span}"
        );
        assert_eq!(span["traceId"].as_str().unwrap().len(), 32);
    }
    let failed: Vec<&Value> = spans.iter().filter(|span| span["status"]["code"] == 2).collect();
    assert_eq!(failed.len(), 2);
}
