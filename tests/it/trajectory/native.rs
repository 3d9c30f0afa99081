//! What is in the logs of each agent, read by these tests alone: all texts, and the names of all calls.

use std::path::Path;

use serde_json::Value;

mod aider;
mod claude_code;
mod cline;
mod codex;
mod copilot_cli;
mod gemini_cli;
mod hermes;
mod kimi_cli;
mod mini_swe_agent;
mod opencode;
mod openhands;
mod pi;
mod qwen_coder;

/// What has to be in the trajectory.
#[derive(Default)]
pub struct Native {
    pub texts: Vec<String>,
    /// Sorted.
    pub calls: Vec<String>,
}

pub fn of(agent: &str, logs: &Path) -> Native {
    let mut native = match agent {
        "aider" => aider::read(logs),
        "claude-code" => claude_code::read(logs),
        "cline" => cline::read(logs),
        "codex" => codex::read(logs),
        "copilot-cli" => copilot_cli::read(logs),
        "gemini-cli" => gemini_cli::read(logs),
        "hermes" => hermes::read(logs),
        "kimi-cli" => kimi_cli::read(logs),
        "mini-swe-agent" => mini_swe_agent::read(logs),
        "opencode" => opencode::read(logs),
        "openhands" => openhands::read(logs),
        "pi" => pi::read(logs),
        "qwen-coder" => qwen_coder::read(logs),
        other => panic!("there is no reader for `{other}`"),
    };
    native.texts.retain(|text| !text.trim().is_empty());
    native.calls.sort();
    native
}

/// The files below a directory whose names end so, sorted.
pub fn files(directory: &Path, end: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs_err::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.to_str().unwrap().ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The records of a file of one a line.
fn records(path: &Path) -> Vec<Value> {
    let text = fs_err::read_to_string(path).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Adds a text, where there is one.
fn add(texts: &mut Vec<String>, value: &Value) {
    if let Some(text) = value.as_str() {
        texts.push(text.to_owned());
    }
}
