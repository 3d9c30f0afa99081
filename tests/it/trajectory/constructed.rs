//! Logs that were written for what rarely happens, beside what another program made of them.

use serde_json::{Value, json};

use super::{Converted, all_texts, convert, fixtures, trajectory};

mod aider;
mod antigravity_sdk;
mod cline;
mod codex;
mod copilot_cli;
mod cursor_cli;
mod devin;
mod differences;
mod gemini_cli;
mod goose;
mod hermes;
mod kimi_cli;
mod mini_swe_agent;
mod opencode;
mod opencode_database;
mod openhands;
mod pi;
mod qwen_coder;

fn of(case: &str) -> Converted {
    convert(&fixtures().join("trajectories").join(case).join("agent"), &[])
}

fn reference(case: &str) -> Value {
    let path = fixtures().join("trajectories").join(case).join("reference.trajectory.json");
    serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
}

#[test]
fn what_the_older_program_made_of_claude_code_differs_as_listed() {
    differences::are_listed(
        "claude-code",
        &["basic", "compaction_redacted_synthetic", "interrupt_unanswered_call", "sidechain"],
    );
}

/// Converts lines of claude-code that a test has written.
fn of_lines(lines: &[Value], begin: &str) -> Converted {
    let logs = tempfile::tempdir().unwrap();
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    fs_err::write(logs.path().join("s.jsonl"), format!("{begin}{}\n", lines.join("\n"))).unwrap();
    convert(logs.path(), &[])
}

fn line(kind: &str, uuid: &str, message: &Value) -> Value {
    json!({ "type": kind, "uuid": uuid, "sessionId": "s", "timestamp": "2026-01-02T03:04:05Z", "version": "2.1.0",
        "message": message })
}

#[test]
fn the_same_id_says_something_else_and_both_are_there() {
    let said = |id: &str, text: &str| json!({ "id": id, "role": "assistant", "model": "m", "content": [{ "type": "text", "text": text }] });
    for uuid in ["u", ""] {
        let lines = [
            line("user", uuid, &json!({ "role": "user", "content": "Go" })),
            line("assistant", uuid, &said("a", "One.")),
            line("assistant", uuid, &said("b", "Two.")),
        ];
        // A mark of the order of bytes belongs to no line.
        let converted = of_lines(&lines, "\u{feff}");
        let all = all_texts(&converted.document);
        assert!(["Go", "One.", "Two."].iter().all(|text| all.contains(text)), "{uuid}: {all}");
        assert_eq!(converted.said["counts"], json!({ "ends-early": 1 }), "{}", converted.said);
    }
    let twice = line("assistant", "u", &said("a", "One."));
    let converted = of_lines(&[line("user", "v", &json!({ "content": "Go" })), twice.clone(), twice], "");
    assert_eq!(converted.said["counts"]["duplicate-record"], 1);
}

#[test]
fn what_is_of_another_type_is_kept_and_numbers_that_cannot_be_are_none() {
    let huge = |id: &str, content: Value| {
        json!({ "id": id, "role": "assistant", "model": "m", "content": content,
            "usage": { "input_tokens": u64::MAX, "output_tokens": 8_000_000_000_000_000_u64 } })
    };
    let mut lines = vec![
        line("user", "1", &json!({ "role": "user", "content": "Go" })),
        line("assistant", "2", &huge("a", json!(5))),
        line("assistant", "3", &huge("b", json!([{ "type": "text", "text": 6 }]))),
    ];
    lines.extend(
        (0..1500)
            .map(|number| line("assistant", &format!("n{number}"), &huge(&number.to_string(), json!("x")))),
    );
    // It is valid, which `convert` has looked at.
    let converted = of_lines(&lines, "");
    assert_eq!(converted.said["unknown"], json!({ "block text": 1, "message content": 1 }));
    assert_eq!(converted.document["final_metrics"]["total_completion_tokens"], i64::MAX);
}

#[test]
fn one_broken_line_costs_one_line() {
    let converted = of("claude-code/basic");
    let (ours, theirs) = (&converted.document, reference("claude-code/basic"));
    assert_eq!(converted.said["status"], "partial");
    assert_eq!(converted.said["reasons"][0]["code"], "unreadable-line");
    assert_eq!(converted.said["reasons"][0]["line"], 13);
    assert_eq!(ours["steps"].as_array().unwrap().len(), theirs["steps"].as_array().unwrap().len());
    for key in ["total_prompt_tokens", "total_completion_tokens", "total_cached_tokens", "total_cost_usd"] {
        assert_eq!(ours["final_metrics"][key], theirs["final_metrics"][key], "{key}");
    }
    for (ours, theirs) in ours["steps"].as_array().unwrap().iter().zip(theirs["steps"].as_array().unwrap()) {
        for key in
            ["step_id", "timestamp", "source", "model_name", "message", "reasoning_content", "tool_calls"]
        {
            assert_eq!(ours[key], theirs[key], "{key}");
        }
    }
}

#[test]
fn subagents_are_embedded_and_come_before_nothing() {
    let document = of("claude-code/sidechain").document;
    assert_eq!(document["steps"][0]["message"], "Delegate");
    assert_eq!(document["agent"]["model_name"], "claude-opus-4-7");
    let result = &document["steps"][1]["observation"]["results"][0];
    assert_eq!(result["subagent_trajectory_ref"], json!([{ "trajectory_id": "a1" }]));
    let subs = document["subagent_trajectories"].as_array().unwrap();
    assert_eq!(subs[0]["steps"][1]["message"], "Looked.");
    // In a file of its own, and nobody names it.
    assert_eq!(subs[1]["trajectory_id"], "a2");
    assert_eq!(document["final_metrics"]["total_prompt_tokens"], 27);
}

#[test]
fn what_the_reference_loses_is_there() {
    for case in [
        "claude-code/null_usage_crashes_reference",
        "claude-code/two_project_dirs_no_output",
        "claude-code/edge_interrupt_image_multitext",
    ] {
        assert!(!fixtures().join("trajectories").join(case).join("reference.trajectory.json").exists());
        assert!(of(case).document["steps"].as_array().unwrap().len() >= 2, "{case}");
    }
    let orphan = of("claude-code/edge_interrupt_image_multitext");
    assert_eq!(orphan.said["counts"]["orphan-result"], 1);
    let unanswered = of("claude-code/interrupt_unanswered_call").document;
    let agent: Vec<&Value> =
        unanswered["steps"].as_array().unwrap().iter().filter(|step| step["source"] == "agent").collect();
    // One answer of the model is one step, and its reasoning is there once.
    assert_eq!(agent[1]["tool_calls"].as_array().unwrap().len(), 2);
}

#[test]
fn compactions_ciphers_and_failed_requests_are_what_they_are() {
    let document = of("claude-code/compaction_redacted_synthetic").document;
    let steps = document["steps"].as_array().unwrap();
    assert_eq!(document["final_metrics"]["extra"]["summarization_count"], 1);
    assert_eq!(document["final_metrics"]["extra"]["compacted"], true);
    assert_eq!(document["final_metrics"]["extra"]["peak_context_tokens"], 150_000);
    assert_eq!(steps[3]["extra"]["is_compact_summary"], true);
    assert_eq!(steps[4]["message"], "Continuing.");
    assert_eq!(steps[4]["extra"]["redacted_thinking"], 1);
    assert_eq!(steps[5]["llm_call_count"], 0);
    assert_eq!(steps[5]["extra"]["api_error"], true);
    assert!(steps[5]["metrics"].is_null());
}

#[test]
fn the_stream_of_a_headless_run_is_enough() {
    let place = tempfile::tempdir().unwrap();
    let stream = fixtures().join("agent-logs/claude/multi/stdout.jsonl");
    fs_err::copy(&stream, place.path().join("claude-code.txt")).unwrap();
    let alone = convert(place.path(), &[]);
    assert_eq!(alone.said["run"]["outcome"], "finished");
    let whole = convert(&fixtures().join("agent-logs/claude/multi"), &[]);
    assert_eq!(super::all_calls(&alone.document), super::all_calls(&whole.document));
    assert_eq!(
        alone.document["final_metrics"]["total_cost_usd"],
        whole.document["final_metrics"]["total_cost_usd"]
    );
}

#[test]
fn what_is_no_log_is_one_error() {
    let place = tempfile::tempdir().unwrap();
    fs_err::write(place.path().join("x.jsonl"), b"\xff\x00{{{\n{\"a\":1}\n").unwrap();
    let path = place.path().to_str().unwrap();
    let (code, said, errors) = trajectory(&["convert", path]);
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(codes(&errors, "trajectory::logs"), "{errors}");
    let (code, _, errors) = trajectory(&["convert", path, "--agent", "nobody"]);
    assert_eq!(code, 2);
    assert!(codes(&errors, "trajectory::agent"), "{errors}");
    let (code, said, errors) = trajectory(&["convert", path, "--agent", "claude-code", "--json"]);
    assert_eq!(code, 1, "{errors}");
    assert!(said.contains("\"failed\""), "{said}");
    assert!(!place.path().join("trajectory.json").exists());
    let (code, _, errors) = trajectory(&["convert", "/nonexistent/x"]);
    assert_eq!(code, 1);
    assert!(codes(&errors, "trajectory::read"), "{errors}");
    let stored = fixtures().join("agent-logs/claude/hello");
    let stored = stored.to_str().unwrap();
    let (code, _, errors) = trajectory(&["convert", stored, "-o", "/nonexistent/x/y.json"]);
    assert_eq!(code, 1);
    assert!(codes(&errors, "trajectory::write"), "{errors}");
    let (code, _, errors) = trajectory(&["convert", stored, "-o", "-", "--prices", "/dev/null"]);
    assert_eq!(code, 2);
    assert!(codes(&errors, "trajectory::prices"), "{errors}");
}

/// Says whether errors have this code.
fn codes(errors: &str, code: &str) -> bool {
    errors.lines().next() == Some(code)
}

#[test]
fn links_are_not_followed_and_pictures_are_beside() {
    let place = tempfile::tempdir().unwrap();
    let secret = place.path().join("secret.jsonl");
    fs_err::write(&secret, "{\"type\":\"user\",\"sessionId\":\"s\",\"message\":{\"content\":\"secret\"}}\n")
        .unwrap();
    let logs = place.path().join("logs");
    fs_err::create_dir(&logs).unwrap();
    std::os::unix::fs::symlink(&secret, logs.join("link.jsonl")).unwrap();
    let record = json!({
        "type": "user", "sessionId": "s", "uuid": "1", "timestamp": "2026-01-02T03:04:05Z",
        "message": { "content": [
            { "type": "text", "text": "Look \\ud83d at it" },
            { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo=" } },
        ] },
    });
    // Half a letter, as programs leave it that cut a text.
    let text = record.to_string().replace("\\\\ud83d", "\\ud83d");
    fs_err::write(logs.join("s.jsonl"), format!("{text}\n{text}\n{{\"type\":\"assist")).unwrap();
    let converted = convert(&logs, &["--agent", "claude-code"]);
    assert_eq!(converted.document["steps"].as_array().unwrap().len(), 1);
    assert_eq!(converted.document["steps"][0]["message"][0]["text"], "Look \u{fffd} at it");
    let picture = converted.document["steps"][0]["message"][1]["source"]["path"].as_str().unwrap();
    assert!(converted.place.path().join(picture).is_file(), "{picture}");
    for code in ["left-out", "repaired-text", "duplicate-record", "truncated-line"] {
        assert!(converted.said["counts"][code].is_u64(), "{code}: {}", converted.said);
    }
    assert_eq!(converted.said["status"], "partial");
    assert!(!converted.document.to_string().contains("secret"));
}
