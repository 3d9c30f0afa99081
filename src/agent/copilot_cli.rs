//! The GitHub Copilot CLI: its logs are those of runs of 1.0.102 with a model server of its user's, its command line and its variables
//! are what it says of them, and what those runs lack is written after the events that its vendor publishes.

use serde_json::{Value, json};

use super::log::Converter;
use super::tuning::{COUNT, Tunable, Way};
use super::{
    Agent, Copy, GeneratedFile, How, Install, McpSetup, Npm, Places, Request, Role, Scripts, Server, Shape,
    Takes, Verdict,
};
use super::{has_flag, mcp};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};

mod log;

pub struct CopilotCli;

const HOME: &str = "~/.copilot";

/// Its commands, which take options of their own.
const COMMANDS: &[&str] = &[
    "app",
    "completion",
    "config",
    "help",
    "init",
    "instruction",
    "login",
    "lsp",
    "mcp",
    "memories",
    "plugin",
    "sandbox",
    "sessions",
    "skill",
    "update",
    "version",
    "workflow",
];

impl Agent for CopilotCli {
    fn name(&self) -> &'static str {
        "copilot-cli"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["copilot"]
    }

    fn install(&self) -> Install {
        // The native program is a package of its own, for each kind of machine.
        Install::Npm(Npm {
            package: "@github/copilot",
            bin: "copilot",
            minimum_node: 20,
            scripts: Scripts::Skipped,
        })
    }

    fn is_headless(&self, words: &[String]) -> bool {
        has_flag(words, &["-p", "--prompt"])
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        if request.extra.first().is_some_and(|word| COMMANDS.contains(&word.as_str())) {
            return request.extra.to_vec();
        }
        let mut args: Vec<String> = Vec::new();
        let given = [request.args, request.extra].concat();
        let prompt = request.mode.prompt();
        if request.mode.is_headless() {
            if request.mode.tells_events() && !has_flag(&given, &["--output-format"]) {
                args.push("--output-format=json".to_owned());
            }
            // Nobody is there to be asked, and the sandbox is the wall: `--allow-all-tools` would leave places and addresses closed.
            if !has_flag(&given, &["--allow-all-tools", "--allow-all", "--yolo"]) {
                args.push("--allow-all".to_owned());
            }
        }
        if !has_flag(&given, &["--disable-client-telemetry"]) {
            args.push("--disable-client-telemetry".to_owned());
        }
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["--model"])) {
            // It serves the models of many vendors by names of its own.
            args.push(format!("--model={}", model.split_once('/').map_or(model, |(_, name)| name)));
        }
        if let Some(thinking) = request.role.and_then(|role| role.thinking)
            && !has_flag(&given, &["--reasoning-effort", "--effort"])
        {
            args.push(format!("--reasoning-effort={}", if thinking == "off" { "none" } else { thinking }));
        }
        if !request.mcp.is_empty() {
            let mut servers = mcp::given(request.mcp);
            for (_, server) in servers["mcpServers"].as_object_mut().into_iter().flatten() {
                server["type"] = json!("local");
                server["tools"] = json!(["*"]);
            }
            args.push(format!("--additional-mcp-config={servers}"));
        }
        args.extend(given);
        // One word: a prompt that begins with a hyphen is no option then.
        let flag = if request.mode.is_headless() { "--prompt" } else { "--interactive" };
        args.extend(prompt.map(|prompt| format!("{flag}={prompt}")));
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
                name: "allowed_tools",
                kind: Type::Text,
                way: Way::Flag("--available-tools"),
                doc: "The only tools that it has, with commas between.",
            },
            Tunable {
                name: "context",
                kind: Type::OneOf(&["default", "long_context"]),
                way: Way::Flag("--context"),
                doc: "The size of its context.",
            },
            Tunable {
                name: "disallowed_tools",
                kind: Type::Text,
                way: Way::Flag("--excluded-tools"),
                doc: "Tools that it does not have, with commas between.",
            },
            Tunable {
                name: "max_credits",
                kind: Type::Integer { min: 30, max: 4_294_967_295 },
                way: Way::Flag("--max-ai-credits"),
                doc: "The credits of its vendor after which a session ends.",
            },
            Tunable {
                name: "max_output_tokens",
                kind: COUNT,
                way: Way::Variable("COPILOT_PROVIDER_MAX_OUTPUT_TOKENS"),
                doc: "The most tokens of one answer of a service of one's own.",
            },
            Tunable {
                name: "max_prompt_tokens",
                kind: COUNT,
                way: Way::Variable("COPILOT_PROVIDER_MAX_PROMPT_TOKENS"),
                doc: "The most tokens that a service of one's own is sent.",
            },
            Tunable {
                name: "no_custom_instructions",
                kind: Type::Bool,
                way: Way::Switch("--no-custom-instructions"),
                doc: "Whether it leaves `AGENTS.md` and the like unread.",
            },
            Tunable {
                name: "reasoning_effort",
                kind: Type::OneOf(&["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
                way: Way::Flag("--reasoning-effort"),
                doc: "How much the model thinks.",
            },
        ]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[("COPILOT_AUTO_UPDATE", "false")]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "COPILOT_AUTO_TIER",
            "COPILOT_GH_HOST",
            "COPILOT_GITHUB_TOKEN",
            "COPILOT_MODEL",
            "COPILOT_OFFLINE",
            "COPILOT_PROVIDER_API_KEY",
            "COPILOT_PROVIDER_AZURE_API_VERSION",
            "COPILOT_PROVIDER_BASE_URL",
            "COPILOT_PROVIDER_BEARER_TOKEN",
            "COPILOT_PROVIDER_HEADERS",
            "COPILOT_PROVIDER_MAX_OUTPUT_TOKENS",
            "COPILOT_PROVIDER_MAX_PROMPT_TOKENS",
            "COPILOT_PROVIDER_MODEL_ID",
            "COPILOT_PROVIDER_TYPE",
            "COPILOT_PROVIDER_WIRE_API",
            "COPILOT_PROVIDER_WIRE_MODEL",
            "GH_HOST",
            "GH_TOKEN",
            "GITHUB_TOKEN",
        ]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths, and a command of the host.
        &[
            "COPILOT_CLI_DIST_DIR",
            "COPILOT_CUSTOM_INSTRUCTIONS_DIRS",
            "COPILOT_HOME",
            "COPILOT_PROVIDER_API_KEY_COMMAND",
        ]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        match kind {
            // The login is there where the host has no keyring; names of accounts are beside it.
            ImportKind::Auth => vec![copy("config.json", Shape::File, Some(0o600))],
            ImportKind::Settings => vec![
                copy("settings.json", Shape::File, Some(0o600)),
                copy("mcp-config.json", Shape::File, Some(0o600)),
                copy("copilot-instructions.md", Shape::File, None),
            ],
            ImportKind::Skills => vec![copy("skills", Shape::Tree, None)],
            ImportKind::Roles => vec![copy("agents", Shape::Tree, None)],
            // They are of all projects.
            ImportKind::Sessions | ImportKind::Extensions | ImportKind::Prompts => Vec::new(),
        }
    }

    /// Returns the hosts of its vendor, whatever the model is.
    fn hosts(&self, _: Option<&str>) -> Vec<&str> {
        vec![
            "api.githubcopilot.com",
            "api.individual.githubcopilot.com",
            "api.business.githubcopilot.com",
            "api.enterprise.githubcopilot.com",
            "api.github.com",
            "github.com",
        ]
    }

    fn base_urls(&self) -> &'static [&'static str] {
        &["COPILOT_PROVIDER_BASE_URL"]
    }

    fn mcp(&self, _: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        McpSetup::Arguments
    }

    fn registers(&self, servers: &[Server<'_>], now: Option<&str>) -> Option<GeneratedFile> {
        let content = mcp::beside(servers, now, |how| match how {
            How::Command { command, args } => {
                json!({ "type": "local", "command": command, "args": args, "tools": ["*"] })
            }
            How::Http(url) => json!({ "type": "http", "url": url, "tools": ["*"] }),
            How::Sse(url) => json!({ "type": "sse", "url": url, "tools": ["*"] }),
        });
        Some(GeneratedFile { path: ".copilot/mcp-config.json".to_owned(), content })
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".copilot/skills")
    }

    fn logs(&self) -> Vec<&str> {
        vec![".copilot/session-state/*/events.jsonl", ".copilot/session-state/*.jsonl"]
    }

    fn converter(&self) -> Option<&'static dyn Converter> {
        Some(&log::Log)
    }

    /// Reads the events: the last one says how it ended, and an error of the session is one.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        let mut verdict = Verdict::Unknown;
        for event in stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            match event["type"].as_str() {
                Some("session.error") => {
                    let reason = event["data"]["message"].as_str().unwrap_or("no reason is given").to_owned();
                    verdict = Verdict::Failed { reason };
                }
                Some("user.message") => verdict = Verdict::Unknown,
                Some("result") if verdict == Verdict::Unknown => match event["exitCode"].as_i64() {
                    Some(0) => verdict = Verdict::Finished,
                    Some(code) => verdict = Verdict::Failed { reason: format!("exit code {code}") },
                    None => {}
                },
                _ => {}
            }
        }
        match verdict {
            Verdict::Finished if exit != 0 => Verdict::Failed { reason: format!("exit code {exit}") },
            verdict => verdict,
        }
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
        let model = Some("anthropic/claude-sonnet-4.5");
        let login = words(&["login"]);
        let own = words(&["-p", "do it", "--yolo"]);
        let servers = [Mcp { name: "files".into(), command: "npx".into(), args: words(&["-y"]) }];
        let headless = Mode::Headless { prompt: Some("--help me") };
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &["--disable-client-telemetry"]),
            (Request { model, extra: &login, ..Request::default() }, &["login"]),
            (
                Request { mode: Mode::Opened { prompt: "-x" }, model, ..Request::default() },
                &["--disable-client-telemetry", "--model=claude-sonnet-4.5", "--interactive=-x"],
            ),
            (
                Request { mode: headless, mcp: &servers, ..Request::default() },
                &[
                    "--output-format=json",
                    "--allow-all",
                    "--disable-client-telemetry",
                    "--additional-mcp-config={\"mcpServers\":{\"files\":{\"command\":\"npx\",\"args\":[\"-y\"],\"type\":\"local\",\"tools\":[\"*\"]}}}",
                    "--prompt=--help me",
                ],
            ),
            (
                Request { mode: Mode::Headless { prompt: None }, extra: &own, ..Request::default() },
                &["--disable-client-telemetry", "-p", "do it", "--yolo"],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(CopilotCli.command(&request), words(expected), "{request:?}");
        }
        assert!(CopilotCli.is_headless(&own) && !CopilotCli.is_headless(&login));
        let off = Role { instructions: "", file: "", thinking: Some("off"), tools: None };
        let command = CopilotCli.command(&Request { role: Some(&off), ..Request::default() });
        assert!(command.contains(&"--reasoning-effort=none".to_owned()), "{command:?}");
    }

    #[test]
    fn the_events_decide() {
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        let done = r#"{"type":"result","exitCode":0}"#;
        assert_eq!(CopilotCli.verdict(0, &format!("words\n{done}\n")), Verdict::Finished);
        assert_eq!(CopilotCli.verdict(137, done), failed("exit code 137"));
        let error = r#"{"type":"session.error","data":{"message":"401 from the provider"}}"#;
        assert_eq!(CopilotCli.verdict(0, &format!("{error}\n{done}\n")), failed("401 from the provider"));
        assert_eq!(CopilotCli.verdict(1, "Error: no token"), Verdict::Unknown);
    }
}
