//! Where the logs of an agent lie in a trial: where readers of an older tool look for them, as far as they know the agent.

use camino::{Utf8Path, Utf8PathBuf};

/// What Harbor's reader of Gemini CLI looks for.
const OF_GEMINI: &str = "gemini-cli.trajectory";

/// Returns the place of one log, which is relative to the agent's home.
pub fn of_log(agent: &str, path: &Utf8Path) -> Utf8PathBuf {
    let known = match agent {
        "claude-code" => path.strip_prefix(".claude").ok(),
        "codex" => path.strip_prefix(".codex/sessions").ok(),
        // Those of agents that it asked have other names.
        "gemini-cli" if path.file_name().is_some_and(|name| name.starts_with("session-")) => {
            return Utf8PathBuf::from(format!("{OF_GEMINI}.{}", path.extension().unwrap_or("json")));
        }
        _ => None,
    };
    match known {
        Some(below) => Utf8Path::new("sessions").join(below),
        None => Utf8Path::new("logs").join(path.as_str().trim_start_matches('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_lie_where_they_are_looked_for() {
        for (agent, path, expected) in [
            ("claude-code", ".claude/projects/-app/1.jsonl", "sessions/projects/-app/1.jsonl"),
            ("codex", ".codex/sessions/2026/01/02/rollout-1.jsonl", "sessions/2026/01/02/rollout-1.jsonl"),
            ("gemini-cli", ".gemini/tmp/x/chats/session-1.json", "gemini-cli.trajectory.json"),
            ("gemini-cli", ".gemini/tmp/x/chats/s/a.jsonl", "logs/gemini/tmp/x/chats/s/a.jsonl"),
            ("pi", ".pi/agent/sessions/x/1.jsonl", "logs/pi/agent/sessions/x/1.jsonl"),
        ] {
            assert_eq!(of_log(agent, path.into()), expected);
        }
    }
}
