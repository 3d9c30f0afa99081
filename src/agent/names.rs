//! The agents that trials may be of, whether pier runs them or not.

/// The names that trials may have: those of Harbor, newer ones included.
const NAMES: &[&str] = &[
    "acp",
    "aider",
    "antigravity-cli",
    "antigravity-sdk",
    "claude-code",
    "cline",
    "cline-cli",
    "code-puppy",
    "codex",
    "computer-1",
    "copilot-cli",
    "cortex-code",
    "cursor-cli",
    "deerflow",
    "devin",
    "dspy-rlm",
    "eve",
    "fabric",
    "fx",
    "fx-dev",
    "gemini-cli",
    "goose",
    "grok-build",
    "hermes",
    "junie",
    "kimi-cli",
    "kimi-code",
    "langgraph",
    "mcode",
    "mimo",
    "mini-swe-agent",
    "muse-code",
    "nemo-agent",
    "nop",
    "openclaw",
    "opencode",
    "openhands",
    "openhands-sdk",
    "oracle",
    "pi",
    "qwen-coder",
    "rovodev-cli",
    "strands",
    "swe-agent",
    "terminus",
    "terminus-1",
    "terminus-2",
    "trae-agent",
    "vibe",
];

/// Says whether a trial may be of an agent of this name.
pub fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Returns the known name that is meant, or spelled most like this one.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    /// What people call it, where that is not spelled alike.
    const ALIASES: &[(&str, &str)] = &[
        ("aider-chat", "aider"),
        ("claude", "claude-code"),
        ("antigravity", "antigravity-sdk"),
        ("cline-cli", "cline"),
        ("copilot", "copilot-cli"),
        ("cursor", "cursor-cli"),
        ("cursor-agent", "cursor-cli"),
        ("gemini", "gemini-cli"),
        ("mini", "mini-swe-agent"),
        ("hermes-agent", "hermes"),
        ("kimi", "kimi-cli"),
        ("openai-codex", "codex"),
        ("opencode-ai", "opencode"),
        ("openhands-cli", "openhands"),
        ("pi-coding-agent", "pi"),
        ("qwen", "qwen-coder"),
        ("qwen-code", "qwen-coder"),
    ];
    if super::of_trial(name).is_some() {
        return None;
    }
    if let Some((_, known)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Some(known);
    }
    super::ALL
        .iter()
        .map(|agent| (strsim::jaro_winkler(agent.name(), name), agent.name()))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

/// Says what is wrong with a name that [`super::find`] does not find.
pub(super) fn unknown(name: &str) -> String {
    match super::of_trial(name) {
        Some(agent) => agent.refusal(),
        None => format!(
            "cannot find the agent `{name}`: pier knows {}, and a custom one needs a `run` line",
            super::known()
        ),
    }
}
