//! Claude Code, checked against 2.1.197.
//!
//! The login is `~/.claude/.credentials.json` and nothing else. `~/.claude.json` is never imported: it holds the
//! paths and histories of every project on the host and the settings of every MCP server, keys included. The one
//! thing in it that the first start needs is seeded. With an API key nothing of the host is needed.

mod log;

use serde_json::json;

use super::service::Settings;
use super::tuning::{COUNT, COUNT_OR_NONE, Tunable, Way};
use super::{
    Agent, Copy, GeneratedFile, How, Install, McpSetup, Npm, Places, Request, Role, Scripts, Server, Shape,
    Takes, Verdict,
};
use super::{below, has_flag, taken};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};

pub struct ClaudeCode;

const HOME: &str = "~/.claude";

const BASE_URLS: &[&str] = &[
    "ANTHROPIC_AWS_BASE_URL",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_BEDROCK_BASE_URL",
    "ANTHROPIC_FOUNDRY_BASE_URL",
    "ANTHROPIC_VERTEX_BASE_URL",
];

/// pier's tool names and those of Claude Code; a name that is not here is passed as it is.
const TOOLS: &[(&str, &str)] = &[
    ("bash", "Bash"),
    ("edit", "Edit"),
    ("find", "Glob"),
    ("grep", "Grep"),
    ("ls", "Glob"),
    ("read", "Read"),
    ("write", "Write"),
];

impl Agent for ClaudeCode {
    fn name(&self) -> &'static str {
        "claude-code"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["claude"]
    }

    fn install(&self) -> Install {
        Install::Npm(Npm {
            package: "@anthropic-ai/claude-code",
            bin: "claude",
            minimum_node: 18,
            scripts: Scripts::Needed,
        })
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let mut given = [request.args, request.extra].concat();
        // `--flag=value` throughout: the lists of `--tools` and `--mcp-config` would swallow words that follow.
        if request.mode.is_headless() {
            if !has_flag(&given, &["--print", "-p"]) {
                args.push("--print".to_owned());
            }
            // A prompt of the person's own is answered as the person expects: in plain text.
            if request.mode.tells_events() && !has_flag(&given, &["--output-format"]) {
                // Refused without `--verbose`.
                args.extend(["--verbose".to_owned(), "--output-format=stream-json".to_owned()]);
            }
            // Nobody is there to be asked, and the sandbox is the wall.
            if !has_flag(&given, &["--permission-mode", "--dangerously-skip-permissions"]) {
                args.push("--permission-mode=bypassPermissions".to_owned());
            }
        }
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["--model"])) {
            args.push(format!("--model={}", model.strip_prefix("anthropic/").unwrap_or(model)));
        }
        if let Some(tools) = request.tools.filter(|_| !has_flag(&given, self.tool_flags())) {
            args.push(format!("--tools={}", tool_names(tools).join(",")));
        }
        if let Some(role) = request.role {
            // It takes the last of two.
            let texts =
                [vec![role.instructions.to_owned()], taken(&mut given, "--append-system-prompt")].concat();
            args.push(format!("--append-system-prompt={}", texts.join("\n\n")));
            let level = role.thinking.and_then(effort).filter(|_| !has_flag(&given, &["--effort"]));
            args.extend(level.map(|level| format!("--effort={level}")));
        }
        if !request.mcp.is_empty() {
            args.push(format!("--mcp-config={}", mcp_config(request.mcp)));
        }
        args.extend(given);
        args.extend(
            request.mode.prompt().into_iter().flat_map(|prompt| ["--".to_owned(), prompt.to_owned()]),
        );
        args
    }

    fn tool_flags(&self) -> &'static [&'static str] {
        &["--tools"]
    }

    fn takes(&self) -> Takes {
        Takes::ALL
    }

    fn vendor(&self) -> Option<&'static str> {
        Some("anthropic")
    }

    fn tunables(&self) -> &'static [Tunable] {
        &[
            Tunable {
                name: "allowed_tools",
                kind: Type::Text,
                way: Way::Flag("--allowedTools"),
                doc: "Tools that it may call without being asked, with commas between.",
            },
            Tunable {
                name: "append_system_prompt",
                kind: Type::Text,
                way: Way::Flag("--append-system-prompt"),
                doc: "Text that is added to its instructions, behind those of a role.",
            },
            Tunable {
                name: "disallowed_tools",
                kind: Type::Text,
                way: Way::Flag("--disallowedTools"),
                doc: "Tools that it may not call, with commas between.",
            },
            Tunable {
                name: "fallback_model",
                kind: Type::Text,
                way: Way::Flag("--fallback-model"),
                doc: "The model that answers where the chosen one is overloaded.",
            },
            Tunable {
                name: "max_budget_usd",
                kind: Type::Amount,
                way: Way::Flag("--max-budget-usd"),
                doc: "US dollars after which a headless run ends.",
            },
            Tunable {
                name: "max_output_tokens",
                kind: COUNT,
                way: Way::Variable("CLAUDE_CODE_MAX_OUTPUT_TOKENS"),
                doc: "The most tokens of one answer.",
            },
            Tunable {
                name: "max_thinking_tokens",
                kind: COUNT_OR_NONE,
                way: Way::Variable("MAX_THINKING_TOKENS"),
                doc: "The most tokens of reasoning before one answer.",
            },
            Tunable {
                name: "max_turns",
                kind: COUNT,
                way: Way::Flag("--max-turns"),
                doc: "The turns after which a headless run ends.",
            },
            Tunable {
                name: "reasoning_effort",
                kind: Type::OneOf(&["low", "medium", "high", "xhigh", "max"]),
                way: Way::Flag("--effort"),
                doc: "How much the model thinks.",
            },
            Tunable {
                name: "thinking",
                kind: Type::OneOf(&["enabled", "adaptive", "disabled"]),
                way: Way::Flag("--thinking"),
                doc: "Whether the model thinks.",
            },
            Tunable {
                name: "thinking_display",
                kind: Type::OneOf(&["summarized", "omitted"]),
                way: Way::Flag("--thinking-display"),
                doc: "What is told of its reasoning.",
            },
        ]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("DISABLE_ERROR_REPORTING", "1"),
            ("DISABLE_INSTALLATION_CHECKS", "1"),
            ("DISABLE_TELEMETRY", "1"),
            // Without it `bypassPermissions` is refused to uid 0.
            ("IS_SANDBOX", "1"),
        ]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "ANTHROPIC_AWS_API_KEY",
            "ANTHROPIC_AWS_BASE_URL",
            "ANTHROPIC_AWS_WORKSPACE_ID",
            "ANTHROPIC_BASE_URL",
            "ANTHROPIC_BEDROCK_BASE_URL",
            "ANTHROPIC_BETAS",
            "ANTHROPIC_CUSTOM_HEADERS",
            "ANTHROPIC_DEFAULT_HAIKU_MODEL",
            "ANTHROPIC_DEFAULT_OPUS_MODEL",
            "ANTHROPIC_DEFAULT_SONNET_MODEL",
            "ANTHROPIC_FOUNDRY_API_KEY",
            "ANTHROPIC_FOUNDRY_BASE_URL",
            "ANTHROPIC_FOUNDRY_RESOURCE",
            "ANTHROPIC_MODEL",
            "ANTHROPIC_SMALL_FAST_MODEL",
            "ANTHROPIC_SMALL_FAST_MODEL_AWS_REGION",
            "ANTHROPIC_VERTEX_BASE_URL",
            "ANTHROPIC_VERTEX_PROJECT_ID",
            "API_TIMEOUT_MS",
            "AWS_ACCESS_KEY_ID",
            "AWS_BEARER_TOKEN_BEDROCK",
            "AWS_PROFILE",
            "AWS_REGION",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "BASH_MAX_OUTPUT_LENGTH",
            "CLAUDE_CODE_EFFORT_LEVEL",
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
            "CLAUDE_CODE_MAX_RETRIES",
            "CLAUDE_CODE_MAX_TURNS",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "CLAUDE_CODE_SKIP_BEDROCK_AUTH",
            "CLAUDE_CODE_SKIP_VERTEX_AUTH",
            "CLAUDE_CODE_SUBAGENT_MODEL",
            "CLAUDE_CODE_USE_BEDROCK",
            "CLAUDE_CODE_USE_FOUNDRY",
            "CLAUDE_CODE_USE_VERTEX",
            "CLOUD_ML_REGION",
            "DISABLE_AUTO_COMPACT",
            "DISABLE_PROMPT_CACHING",
            "MAX_MCP_OUTPUT_TOKENS",
            "MAX_THINKING_TOKENS",
            "MCP_TOOL_TIMEOUT",
        ]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths and host sockets, and marks of a session around this one.
        &[
            "ANTHROPIC_CONFIG_DIR",
            "ANTHROPIC_UNIX_SOCKET",
            "CLAUDECODE",
            "CLAUDE_CODE_ENTRYPOINT",
            "CLAUDE_CODE_SESSION_ID",
            "CLAUDE_CODE_SSE_PORT",
            "CLAUDE_CODE_TMPDIR",
            "CLAUDE_CONFIG_DIR",
        ]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, places: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        match kind {
            ImportKind::Auth => vec![copy(".credentials.json", Shape::File, Some(0o600))],
            ImportKind::Settings => vec![
                copy("settings.json", Shape::File, Some(0o600)),
                copy("keybindings.json", Shape::File, Some(0o600)),
            ],
            ImportKind::Skills => vec![copy("skills", Shape::Tree, None)],
            ImportKind::Extensions => vec![copy("plugins", Shape::Tree, None)],
            ImportKind::Prompts => vec![
                copy("CLAUDE.md", Shape::File, None),
                copy("commands", Shape::Tree, None),
                copy("output-styles", Shape::Tree, None),
            ],
            ImportKind::Roles => vec![copy("agents", Shape::Tree, None)],
            // Of this project only: the others are none of this agent's business.
            ImportKind::Sessions => vec![Copy {
                from: below(from, HOME, &format!("projects/{}", slug(places.host_cwd.as_str()))),
                to: format!(".claude/projects/{}", slug(places.inside_cwd.as_str())),
                shape: Shape::Tree,
                mode: None,
            }],
        }
    }

    fn hosts(&self, _: Option<&str>) -> Vec<&str> {
        // The second one renews the token of a login; an API key does not need it.
        vec!["api.anthropic.com", "platform.claude.com"]
    }

    fn base_urls(&self) -> &'static [&'static str] {
        BASE_URLS
    }

    fn settings(&self) -> &'static [Settings] {
        // Of its settings only `env` holds base URLs; under `url` are places of plugins.
        &[Settings { file: ".claude/settings.json", keys: BASE_URLS }]
    }

    fn replaces(&self, name: &str) -> Option<&'static str> {
        matches!(name, "ANTHROPIC_BASE_URL" | "env.ANTHROPIC_BASE_URL").then_some("api.anthropic.com")
    }

    fn mcp(&self, _: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        McpSetup::Arguments
    }

    fn registers(&self, servers: &[Server<'_>], now: Option<&str>) -> Option<GeneratedFile> {
        let fresh = || json!({ "hasCompletedOnboarding": true });
        let kept = now.and_then(|now| serde_json::from_str(now).ok()).filter(serde_json::Value::is_object);
        let mut file = kept.unwrap_or_else(fresh);
        if !file["mcpServers"].is_object() {
            file["mcpServers"] = json!({});
        }
        for server in servers {
            file["mcpServers"][server.name] = match server.how {
                How::Command { command, args } => {
                    json!({ "type": "stdio", "command": command, "args": args })
                }
                How::Http(url) => json!({ "type": "http", "url": url }),
                How::Sse(url) => json!({ "type": "sse", "url": url }),
            };
        }
        Some(GeneratedFile { path: ".claude.json".to_owned(), content: format!("{file}\n") })
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".claude/skills")
    }

    fn seeds(&self) -> Vec<GeneratedFile> {
        let content = format!("{}\n", json!({ "hasCompletedOnboarding": true }));
        vec![GeneratedFile { path: ".claude.json".to_owned(), content }]
    }

    fn logs(&self) -> Vec<&str> {
        vec![".claude/projects/*/*.jsonl", ".claude/projects/*/*/subagents/*.jsonl"]
    }

    fn converter(&self) -> Option<&'static dyn super::log::Converter> {
        Some(&log::Log)
    }

    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        // The last line of `stream-json`, or the only one of `json`. `subtype` can be `success` beside `is_error`.
        let results =
            stdout.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let Some(result) = results.into_iter().find(|value| value["type"] == "result") else {
            return Verdict::Unknown;
        };
        if result["is_error"] == true || result["subtype"] != "success" {
            let reason = ["result", "subtype"]
                .iter()
                .find_map(|key| result[key].as_str())
                .unwrap_or("no reason given");
            return Verdict::Failed { reason: reason.to_owned() };
        }
        if exit == 0 { Verdict::Finished } else { Verdict::Failed { reason: format!("exit code {exit}") } }
    }

    fn cost(&self, stdout: &str) -> Option<f64> {
        // The last result is of the whole session.
        stdout.lines().rev().find_map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            (event["type"] == "result").then(|| event["total_cost_usd"].as_f64()).flatten()
        })
    }

    fn tells_cost(&self) -> bool {
        true
    }
}

/// Returns what it calls a level; it knows none below `low`.
fn effort(level: &str) -> Option<&str> {
    match level {
        "off" | "minimal" => Some("low"),
        "low" | "medium" | "high" | "xhigh" => Some(level),
        _ => None,
    }
}

fn tool_names(tools: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for tool in tools {
        let name = TOOLS.iter().find(|(ours, _)| ours == tool).map_or(tool.as_str(), |(_, theirs)| theirs);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn mcp_config(servers: &[Mcp]) -> String {
    let servers: serde_json::Map<String, serde_json::Value> = servers
        .iter()
        .map(|server| {
            let entry = json!({ "type": "stdio", "command": server.command, "args": server.args });
            (server.name.clone(), entry)
        })
        .collect();
    json!({ "mcpServers": servers }).to_string()
}

/// Returns the directory name that stands for `cwd` below `projects`. Names of more than 200 characters get a
/// hash at their end, which is not reproduced: their sessions are not found.
fn slug(cwd: &str) -> String {
    cwd.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::super::Mode;
    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn command_lines() {
        let tools = words(&["read", "bash", "find", "ls", "WebFetch"]);
        let permission = words(&["--permission-mode", "acceptEdits"]);
        let extra = words(&["--continue"]);
        let both = words(&["--append-system-prompt=Be brief.", "--append-system-prompt", "Be quick."]);
        let own = words(&["--verbose", "--", "--append-system-prompt=x"]);
        let headless = Mode::Headless { prompt: Some("--help me") };
        let role = Role { instructions: "Be kind.", file: "/r", thinking: Some("off"), tools: None };
        let servers =
            [Mcp { name: "files".into(), command: "npx".into(), args: words(&["-y", "server-files"]) }];
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (
                Request {
                    model: Some("anthropic/claude-opus-4-7"),
                    args: &permission,
                    extra: &extra,
                    ..Request::default()
                },
                &["--model=claude-opus-4-7", "--permission-mode", "acceptEdits", "--continue"],
            ),
            (
                Request { mode: headless, tools: Some(&tools), ..Request::default() },
                &[
                    "--print",
                    "--verbose",
                    "--output-format=stream-json",
                    "--permission-mode=bypassPermissions",
                    "--tools=Read,Bash,Glob,WebFetch",
                    "--",
                    "--help me",
                ],
            ),
            (
                Request { mode: headless, args: &permission, ..Request::default() },
                &[
                    "--print",
                    "--verbose",
                    "--output-format=stream-json",
                    "--permission-mode",
                    "acceptEdits",
                    "--",
                    "--help me",
                ],
            ),
            (Request { tools: Some(&[]), ..Request::default() }, &["--tools="]),
            (
                Request { role: Some(&role), args: &both, extra: &own, ..Request::default() },
                &[
                    "--append-system-prompt=Be kind.\n\nBe brief.\n\nBe quick.",
                    "--effort=low",
                    "--verbose",
                    "--",
                    "--append-system-prompt=x",
                ],
            ),
            (
                Request { role: Some(&role), ..Request::default() },
                &["--append-system-prompt=Be kind.", "--effort=low"],
            ),
            (
                Request { mcp: &servers, ..Request::default() },
                &[concat!(
                    r#"--mcp-config={"mcpServers":{"files":{"type":"stdio","command":"npx","#,
                    r#""args":["-y","server-files"]}}}"#
                )],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(ClaudeCode.command(&request), words(expected), "{request:?}");
        }
    }

    #[test]
    fn sessions_of_this_project_land_where_the_sandbox_looks() {
        let places =
            Places { host_cwd: Utf8Path::new("/home/u/my_app.rs"), inside_cwd: Utf8Path::new("/workspace") };
        let copies = ClaudeCode.imports(ImportKind::Sessions, None, &places);
        assert_eq!(copies[0].from, "~/.claude/projects/-home-u-my-app-rs");
        assert_eq!(copies[0].to, ".claude/projects/-workspace");
        let copies = ClaudeCode.imports(ImportKind::Auth, Some("~/other/"), &places);
        assert_eq!(copies[0].from, "~/other/.credentials.json");
    }

    #[test]
    fn the_last_result_decides() {
        let line = |error: bool, subtype: &str| {
            format!(
                "{{\"type\":\"system\"}}\nnot json\n{}\n",
                json!({"type":"result","subtype":subtype,"is_error":error,"result":"text"})
            )
        };
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        assert_eq!(ClaudeCode.verdict(0, &line(false, "success")), Verdict::Finished);
        assert_eq!(ClaudeCode.verdict(0, &line(true, "success")), failed("text"));
        assert_eq!(ClaudeCode.verdict(1, &line(false, "error_max_turns")), failed("text"));
        assert_eq!(ClaudeCode.verdict(137, &line(false, "success")), failed("exit code 137"));
        assert_eq!(ClaudeCode.verdict(0, ""), Verdict::Unknown);
        assert_eq!(ClaudeCode.verdict(1, "plain words"), Verdict::Unknown);
    }
}
