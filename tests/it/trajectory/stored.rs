//! Every stored run of a real agent: how it ended, and that nothing of its log is lost.

use std::path::Path;

use super::{all_calls, all_texts, convert, fixtures, native};

/// A run: its directory, the agent, the status of the conversion, how the run ended, and how many answers of the model it has.
type Row = (&'static str, &'static str, &'static str, &'static str, usize);

/// Written by hand, from what the runs were told to do and `meta.json`.
const RUNS: &[Row] = &[
    ("claude/hello", "claude-code", "complete", "finished", 2),
    ("claude/multi", "claude-code", "complete", "finished", 5),
    ("claude/big", "claude-code", "complete", "finished", 3),
    ("claude/err401", "claude-code", "complete", "failed", 0),
    ("claude/err500", "claude-code", "complete", "failed", 0),
    ("claude/hang-killed", "claude-code", "partial", "interrupted", 0),
    ("claude/late-killed", "claude-code", "partial", "interrupted", 4),
    // It was too quick to be killed.
    ("claude/slow-killed", "claude-code", "complete", "finished", 2),
    ("claude-old/multi", "claude-code", "complete", "finished", 5),
    ("codex/hello", "codex", "complete", "finished", 2),
    ("codex/multi", "codex", "complete", "finished", 5),
    ("codex/big", "codex", "complete", "finished", 3),
    ("codex/err401", "codex", "complete", "failed", 0),
    ("codex/err500", "codex", "complete", "failed", 0),
    ("codex/hang-killed", "codex", "partial", "interrupted", 0),
    // It waits ten seconds for a command at most, and was done before anybody killed it.
    ("codex/late-killed", "codex", "complete", "finished", 5),
    ("codex/slow-killed", "codex", "complete", "finished", 2),
    // Three of the agent that was asked, two of the one that it asked.
    ("codex/spawned", "codex", "complete", "finished", 5),
    ("copilot/hello", "copilot-cli", "complete", "finished", 2),
    ("copilot/multi", "copilot-cli", "complete", "finished", 5),
    ("copilot/err401", "copilot-cli", "complete", "failed", 0),
    ("copilot/hang-killed", "copilot-cli", "partial", "interrupted", 0),
    ("copilot/late-killed", "copilot-cli", "partial", "interrupted", 4),
    // The server knew none of its tools.
    ("cline/hello", "cline", "complete", "finished", 1),
    ("cline/multi", "cline", "complete", "finished", 5),
    ("cline/err401", "cline", "complete", "failed", 0),
    ("cline/hang-killed", "cline", "partial", "interrupted", 0),
    ("cline/late-killed", "cline", "partial", "interrupted", 4),
    ("gemini/hello", "gemini-cli", "complete", "finished", 2),
    ("gemini/multi", "gemini-cli", "complete", "finished", 5),
    ("gemini/big", "gemini-cli", "complete", "finished", 3),
    ("gemini/err401", "gemini-cli", "complete", "failed", 0),
    // It tried again until it was killed.
    ("gemini/err500", "gemini-cli", "partial", "interrupted", 0),
    ("gemini/hang-killed", "gemini-cli", "partial", "interrupted", 0),
    ("gemini/late-killed", "gemini-cli", "partial", "interrupted", 4),
    ("gemini/slow-killed", "gemini-cli", "partial", "interrupted", 1),
    ("qwen/multi", "qwen-coder", "complete", "finished", 5),
    ("qwen/big", "qwen-coder", "complete", "finished", 3),
    ("qwen/err401", "qwen-coder", "complete", "failed", 0),
    ("qwen/hang-killed", "qwen-coder", "partial", "interrupted", 0),
    ("qwen-old/multi", "qwen-coder", "complete", "finished", 5),
    // Three of the agent that was asked, two of the one that it asked.
    ("qwen/subagent", "qwen-coder", "complete", "finished", 5),
    ("kimi/hello", "kimi-cli", "complete", "finished", 2),
    ("kimi/multi", "kimi-cli", "complete", "finished", 5),
    ("kimi/big", "kimi-cli", "complete", "finished", 3),
    ("kimi/err401", "kimi-cli", "complete", "failed", 0),
    // It asked three times.
    ("kimi/err500", "kimi-cli", "complete", "failed", 0),
    ("kimi/hang-killed", "kimi-cli", "partial", "interrupted", 0),
    ("kimi/late-killed", "kimi-cli", "partial", "interrupted", 4),
    // It was told to stop after two steps, and did.
    ("kimi/most-steps", "kimi-cli", "partial", "interrupted", 2),
    // Three of the agent that was asked, six of the one that it asked and did not wait for.
    ("kimi/background", "kimi-cli", "complete", "finished", 9),
    // Two of the agent that was asked, six of the one that it asked.
    ("kimi/spawned", "kimi-cli", "complete", "finished", 8),
    ("mini/hello", "mini-swe-agent", "complete", "finished", 2),
    ("mini/multi", "mini-swe-agent", "complete", "finished", 5),
    ("mini/big", "mini-swe-agent", "complete", "finished", 3),
    ("mini/err401", "mini-swe-agent", "complete", "failed", 0),
    // It was killed while it asked again and again.
    ("mini/err500", "mini-swe-agent", "partial", "interrupted", 0),
    ("mini/hang-killed", "mini-swe-agent", "partial", "interrupted", 0),
    ("mini/late-killed", "mini-swe-agent", "partial", "interrupted", 4),
    ("mini/slow-killed", "mini-swe-agent", "partial", "interrupted", 1),
    ("opencode/hello", "opencode", "complete", "finished", 2),
    ("opencode/multi", "opencode", "complete", "finished", 5),
    ("opencode/big", "opencode", "complete", "finished", 3),
    ("opencode/err401", "opencode", "complete", "failed", 0),
    ("opencode/late-killed", "opencode", "partial", "interrupted", 4),
    ("opencode/slow-killed", "opencode", "partial", "interrupted", 1),
    ("opencode-anthropic/multi", "opencode", "complete", "finished", 5),
    ("opencode-openai/multi", "opencode", "complete", "finished", 5),
    ("opencode-db/hello", "opencode", "complete", "finished", 2),
    ("opencode-db/late-killed", "opencode", "partial", "interrupted", 4),
    ("pi/hello", "pi", "complete", "finished", 2),
    ("pi/multi", "pi", "complete", "finished", 5),
    ("pi/big", "pi", "complete", "finished", 3),
    ("pi/err401", "pi", "complete", "failed", 0),
    ("pi/err500", "pi", "complete", "failed", 0),
    ("pi/hang-killed", "pi", "partial", "interrupted", 0),
    ("pi/late-killed", "pi", "partial", "interrupted", 4),
    ("pi/slow-killed", "pi", "partial", "interrupted", 1),
    ("pi-anthropic-messages/multi", "pi", "complete", "finished", 5),
    ("pi-google-generative-ai/multi", "pi", "complete", "finished", 5),
    ("pi-openai-responses/multi", "pi", "complete", "finished", 5),
    ("openhands/hello", "openhands", "complete", "finished", 2),
    ("openhands/multi", "openhands", "complete", "finished", 5),
    ("openhands/big", "openhands", "complete", "finished", 3),
    ("openhands/late-killed", "openhands", "partial", "interrupted", 4),
    // The second request was for the words of a commit, which aider's log has not.
    ("aider/hello", "aider", "complete", "finished", 1),
    ("aider/err401", "aider", "complete", "failed", 0),
    // It was killed while it waited to ask again.
    ("aider/err500", "aider", "partial", "interrupted", 0),
    ("aider/hang-killed", "aider", "partial", "interrupted", 0),
];

/// Runs that left no log: they were killed before the agent wrote one.
const NOTHING: &[&str] = &["opencode/err500", "opencode/hang-killed"];

fn logs(run: &str) -> std::path::PathBuf {
    fixtures().join("agent-logs").join(run)
}

#[test]
fn every_run_has_the_status_that_a_person_expects() {
    for (run, agent, status, outcome, answers) in RUNS {
        let converted = convert(&logs(run), &[]);
        assert_eq!(converted.said["agent"], *agent, "{run}");
        assert_eq!(converted.said["status"], *status, "{run}: {}", converted.said);
        assert_eq!(converted.said["run"]["outcome"], *outcome, "{run}: {}", converted.said);
        let steps = super::all_steps(&converted.document);
        let called = steps.iter().filter(|step| step["llm_call_count"] == 1).count();
        assert_eq!(called, *answers, "{run}");
        assert_eq!(converted.said["unknown"], serde_json::json!({}), "{run}");
        // What a step cost is known by its model and its tokens.
        for step in steps.iter().filter(|step| step["llm_call_count"] == 1) {
            // What is only printed has none.
            assert!(step["timestamp"].is_string() || step["extra"]["printed"] == true, "{run}: {step}");
        }
    }
}

#[test]
fn a_run_without_a_log_has_no_trajectory() {
    for run in NOTHING {
        let (code, _, errors) = super::trajectory(&["convert", logs(run).to_str().unwrap()]);
        assert_eq!((code, errors.lines().next()), (1, Some("trajectory::logs")), "{run}: {errors}");
    }
}

#[test]
fn every_text_and_every_call_of_a_log_is_found_again() {
    let mut found = (0, 0);
    for (run, agent, ..) in RUNS {
        let converted = convert(&logs(run), &[]);
        let native = native::of(agent, &logs(run));
        let all = all_texts(&converted.document);
        for text in &native.texts {
            assert!(all.contains(text.as_str()), "{run}: {text:?} is not in the trajectory");
        }
        assert_eq!(all_calls(&converted.document), native.calls, "{run}");
        found = (found.0 + native.texts.len(), found.1 + native.calls.len());
    }
    assert!(found.0 > 100 && found.1 > 15, "the logs were read: {found:?}");
}

#[test]
fn every_stored_run_has_a_row() {
    let mut missing = Vec::new();
    for agent in names(&fixtures().join("agent-logs")) {
        for run in names(&fixtures().join("agent-logs").join(&agent)) {
            let name = format!("{agent}/{run}");
            if !RUNS.iter().any(|row| row.0 == name) && !NOTHING.contains(&name.as_str()) {
                missing.push(name);
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}
