//! The Cline CLI: its sessions are those of runs of 3.0.65, its command line is what it says of it. Tasks of older releases are written
//! after their published form, and untested on a live log.

use serde_json::{Value, json};

use super::log::Converter;
use super::service;
use super::tuning::{COUNT, Tunable, Way};
use super::{
    Agent, Copy, GeneratedFile, How, Install, McpSetup, Npm, Places, Request, Role, Scripts, Server, Shape,
    Takes, Verdict,
};
use super::{has_flag, mcp};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};

mod blocks;
mod log;

pub struct Cline;

const HOME: &str = "~/.cline";

/// The list of servers.
const SERVERS: &str = ".cline/data/settings/cline_mcp_settings.json";

/// Its commands, which take options of their own.
const COMMANDS: &[&str] = &[
    "auth",
    "config",
    "connect",
    "dashboard",
    "doctor",
    "h",
    "history",
    "hook",
    "hub",
    "kanban",
    "mcp",
    "plugin",
    "schedule",
    "skill",
    "update",
    "version",
];

impl Agent for Cline {
    fn name(&self) -> &'static str {
        "cline"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["cline"]
    }

    fn install(&self) -> Install {
        // The native program is a package of its own, for each kind of machine.
        Install::Npm(Npm { package: "cline", bin: "cline", minimum_node: 20, scripts: Scripts::Skipped })
    }

    /// A prompt is a word of its own: one with a space is no option and no name.
    fn is_headless(&self, words: &[String]) -> bool {
        let is_prompt = |word: &String| !word.starts_with('-') && word.contains(' ');
        let is_command = words.first().is_some_and(|word| COMMANDS.contains(&word.as_str()));
        !is_command
            && !has_flag(words, &["-i", "--tui"])
            && (has_flag(words, &["--json"]) || words.iter().any(is_prompt))
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        if request.extra.first().is_some_and(|word| COMMANDS.contains(&word.as_str())) {
            return request.extra.to_vec();
        }
        let mut args: Vec<String> = Vec::new();
        let given = [request.args, request.extra].concat();
        let prompt = request.mode.prompt();
        if request.mode.tells_events() && !has_flag(&given, &["--json"]) {
            args.push("--json".to_owned());
        }
        if prompt.is_some() && !request.mode.is_headless() && !has_flag(&given, &["-i", "--tui"]) {
            args.push("--tui".to_owned());
        }
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["-m", "--model"])) {
            let (provider, name) =
                model.split_once('/').map_or((None, model), |(one, rest)| (Some(one), rest));
            // What it calls them.
            let provider = provider.map(|name| if name == "google" { "gemini" } else { name });
            args.extend(
                provider
                    .filter(|_| !has_flag(&given, &["-P", "--provider"]))
                    .map(|name| format!("--provider={name}")),
            );
            args.push(format!("--model={name}"));
        }
        if let Some(thinking) = request.role.and_then(|role| role.thinking)
            && !has_flag(&given, &["--thinking"])
        {
            let level = match thinking {
                "off" => "none",
                "minimal" => "low",
                level => level,
            };
            args.push(format!("--thinking={level}"));
        }
        args.extend(given);
        args.extend(prompt.into_iter().flat_map(|prompt| ["--".to_owned(), prompt.to_owned()]));
        args
    }

    fn takes(&self) -> Takes {
        Takes { model: true, thinking: true, ..Takes::default() }
    }

    fn chooses_tools(&self) -> bool {
        false
    }

    fn tunables(&self) -> &'static [Tunable] {
        &[
            Tunable {
                name: "compaction",
                kind: Type::OneOf(&["agentic", "basic", "off"]),
                way: Way::Flag("--compaction"),
                doc: "How a conversation that grows too long is made shorter.",
            },
            Tunable {
                name: "max_mistakes",
                kind: COUNT,
                way: Way::Flag("--retries"),
                doc: "The mistakes in a row after which it ends.",
            },
            Tunable {
                name: "plan",
                kind: Type::Bool,
                way: Way::Switch("--plan"),
                doc: "Whether it plans and changes nothing.",
            },
            Tunable {
                name: "reasoning_effort",
                kind: Type::OneOf(&["none", "low", "medium", "high", "xhigh"]),
                way: Way::Flag("--thinking"),
                doc: "How much the model thinks.",
            },
            Tunable {
                name: "system_prompt",
                kind: Type::Text,
                way: Way::Flag("--system"),
                doc: "Text in the place of its instructions.",
            },
            Tunable {
                name: "timeout_sec",
                kind: COUNT,
                way: Way::Flag("--timeout"),
                doc: "The seconds after which a run ends.",
            },
        ]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_BASE_URL",
            "AWS_ACCESS_KEY_ID",
            "AWS_REGION",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "CEREBRAS_API_KEY",
            "CLINE_API_BASE_URL",
            "CLINE_API_KEY",
            "CLINE_MODEL",
            "CLINE_PROVIDER",
            "DEEPSEEK_API_KEY",
            "GEMINI_API_KEY",
            "GROQ_API_KEY",
            "MISTRAL_API_KEY",
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "OPENROUTER_API_KEY",
            "XAI_API_KEY",
        ]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths, and a mark of a session around this one.
        &[
            "CLINE_BIN_PATH",
            "CLINE_DATA_DIR",
            "CLINE_DIR",
            "CLINE_HUB_ADDRESS",
            "CLINE_MCP_SETTINGS_PATH",
            "CLINE_PROVIDER_SETTINGS_PATH",
            "CLINE_SESSION_DATA_DIR",
            "CLINE_WRAPPER_PATH",
        ]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        match kind {
            // Keys of providers are in it.
            ImportKind::Auth => vec![
                copy("data/settings/providers.json", Shape::File, Some(0o600)),
                copy("data/secrets.json", Shape::File, Some(0o600)),
            ],
            ImportKind::Settings => vec![
                copy("data/globalState.json", Shape::File, None),
                copy("data/settings/global-settings.json", Shape::File, None),
            ],
            ImportKind::Skills => vec![copy("skills", Shape::Tree, None)],
            ImportKind::Prompts => {
                vec![copy("rules", Shape::Tree, None), copy("workflows", Shape::Tree, None)]
            }
            ImportKind::Extensions => vec![copy("plugins", Shape::Tree, None)],
            // They are of all projects.
            ImportKind::Sessions | ImportKind::Roles => Vec::new(),
        }
    }

    fn hosts(&self, model: Option<&str>) -> Vec<&str> {
        match service::of_model(model) {
            Some(host) => vec![host],
            None => vec!["api.cline.bot", "app.cline.bot"],
        }
    }

    fn base_urls(&self) -> &'static [&'static str] {
        &["ANTHROPIC_BASE_URL", "CLINE_API_BASE_URL", "OPENAI_BASE_URL"]
    }

    fn replaces(&self, name: &str) -> Option<&'static str> {
        match name {
            "ANTHROPIC_BASE_URL" => Some("api.anthropic.com"),
            "CLINE_API_BASE_URL" => Some("api.cline.bot"),
            "OPENAI_BASE_URL" => Some("api.openai.com"),
            _ => None,
        }
    }

    fn mcp(&self, servers: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        // Without servers, it takes away earlier ones.
        McpSetup::File(GeneratedFile {
            path: SERVERS.to_owned(),
            content: format!("{}\n", mcp::given(servers)),
        })
    }

    fn registers(&self, servers: &[Server<'_>], now: Option<&str>) -> Option<GeneratedFile> {
        let content = mcp::beside(servers, now, |how| match how {
            How::Command { command, args } => json!({ "command": command, "args": args }),
            How::Http(url) => json!({ "url": url, "type": "streamableHttp" }),
            How::Sse(url) => json!({ "url": url, "type": "sse" }),
        });
        Some(GeneratedFile { path: SERVERS.to_owned(), content })
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".cline/skills")
    }

    fn logs(&self) -> Vec<&str> {
        vec![".cline/data/sessions/*/*.json", ".cline/data/tasks/*/api_conversation_history.json"]
    }

    fn converter(&self) -> Option<&'static dyn Converter> {
        Some(&log::Log)
    }

    /// Reads the last of the events: a run that came to its end tells how.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        let mut verdict = Verdict::Unknown;
        for event in stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let failed = |reason: Option<&str>| Verdict::Failed {
                reason: reason.unwrap_or("no reason is given").to_owned(),
            };
            match event["type"].as_str() {
                Some("error") => verdict = failed(event["message"].as_str()),
                Some("run_aborted") => verdict = failed(event["message"].as_str().or(Some("aborted"))),
                Some("run_result") if verdict == Verdict::Unknown => {
                    let reason = event["finishReason"].as_str();
                    verdict = if reason == Some("completed") {
                        Verdict::Finished
                    } else {
                        failed(event["text"].as_str().filter(|text| !text.is_empty()).or(reason))
                    };
                }
                _ => {}
            }
        }
        match verdict {
            Verdict::Finished if exit != 0 => Verdict::Failed { reason: format!("exit code {exit}") },
            verdict => verdict,
        }
    }

    fn cost(&self, stdout: &str) -> Option<f64> {
        super::sum(stdout, |event| {
            (event["type"] == "run_result").then(|| {
                let of = |key: &str| event[key]["totalCost"].as_f64();
                of("aggregateUsage").or_else(|| of("usage"))
            })?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn command_lines() {
        let model = Some("google/gemini-3-pro");
        let auth = words(&["auth"]);
        let own = words(&["--json", "-m", "x", "do it"]);
        let headless = Mode::Headless { prompt: Some("--help me") };
        let low = Role { instructions: "", file: "", thinking: Some("minimal"), tools: None };
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (Request { model, extra: &auth, ..Request::default() }, &["auth"]),
            (
                Request { mode: Mode::Opened { prompt: "-x" }, model, ..Request::default() },
                &["--tui", "--provider=gemini", "--model=gemini-3-pro", "--", "-x"],
            ),
            (
                Request { mode: headless, role: Some(&low), ..Request::default() },
                &["--json", "--thinking=low", "--", "--help me"],
            ),
            (Request { mode: Mode::Text { prompt: "do it" }, ..Request::default() }, &["--", "do it"]),
            (
                Request { mode: Mode::Headless { prompt: None }, model, extra: &own, ..Request::default() },
                &["--json", "-m", "x", "do it"],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(Cline.command(&request), words(expected), "{request:?}");
        }
        assert!(Cline.is_headless(&own) && Cline.is_headless(&words(&["fix it"])));
        assert!(!Cline.is_headless(&auth) && !Cline.is_headless(&words(&["--tui", "fix it"])));
    }

    #[test]
    fn the_result_decides() {
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        let done = r#"{"type":"run_result","finishReason":"completed","usage":{"totalCost":0.25}}"#;
        assert_eq!(Cline.verdict(0, &format!("words\n{done}\n")), Verdict::Finished);
        assert_eq!(Cline.cost(done), Some(0.25));
        assert_eq!(Cline.verdict(137, done), failed("exit code 137"));
        let ended = r#"{"type":"run_result","finishReason":"error"}"#;
        assert_eq!(
            Cline.verdict(0, &format!("{{\"type\":\"error\",\"message\":\"401\"}}\n{ended}\n")),
            failed("401")
        );
        assert_eq!(Cline.verdict(1, ended), failed("error"));
        assert_eq!(Cline.verdict(1, "no key"), Verdict::Unknown);
    }
}
