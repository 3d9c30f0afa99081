//! Logs that have records twice: a copy of a file that was cut, and goes on with what was there before.

use std::path::PathBuf;

use super::{convert, fixtures};

/// Where the log of a session is that was several turns long.
fn log(run: &str) -> PathBuf {
    let mut pending = vec![fixtures().join("agent-logs").join(run).join("native")];
    let mut found = Vec::new();
    while let Some(directory) = pending.pop() {
        for entry in fs_err::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "jsonl")
                && !path.to_str().unwrap().contains("usage")
            {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{run}: {found:?}");
    found.remove(0)
}

#[test]
fn what_stands_there_twice_at_the_end_was_said_once() {
    for (run, agent) in [
        ("codex/multi", "codex"),
        ("codex/err401", "codex"),
        ("claude/multi", "claude-code"),
        ("claude/err401", "claude-code"),
        ("pi/multi", "pi"),
        ("pi/err401", "pi"),
        ("gemini/multi", "gemini-cli"),
        ("qwen/multi", "qwen-coder"),
        ("qwen/err401", "qwen-coder"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let log = log(run);
        let copy = place.path().join(log.file_name().unwrap());
        let text = fs_err::read_to_string(&log).unwrap();
        let told = |text: &str| {
            fs_err::write(&copy, text).unwrap();
            let converted = convert(place.path(), &["--agent", agent]);
            let document = &converted.document;
            let told = (document["steps"].as_array().unwrap().len(), document["final_metrics"].clone());
            (converted.said["run"].clone(), told)
        };
        let once = told(&text);
        let lines: Vec<&str> = text.lines().collect();
        // The last record once more, and then those from somewhere on, up to somewhere.
        for end in 2..lines.len() {
            for begin in [1, end - 1] {
                let last = lines.last().unwrap();
                let twice = format!("{text}{last}\n{}\n", lines[begin..end].join("\n"));
                assert_eq!(told(&twice), once, "{run}: {begin}..{end}");
            }
        }
    }
}
