//! Qwen Code, checked against 0.15.10, the last one for Node 20, and against 0.24.4.
//!
//! A fork of Gemini CLI with a home, settings and flags of its own. What pier sets goes by flags, so the settings are the user's.

use serde_json::{Value, json};

use super::log::Converter;
use super::service::{Settings, URL_KEYS};
use super::tuning::{COUNT, Tunable, Way};
use super::{
    Agent, Copy, GeneratedFile, How, Install, McpSetup, Npm, Places, Request, Role, Scripts, Server, Shape,
    Takes, Verdict,
};
use super::{has_flag, taken};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};

mod log;

pub struct QwenCoder;

const HOME: &str = "~/.qwen";

/// pier's tool names and its own.
const TOOLS: &[(&str, &str)] = &[
    ("bash", "run_shell_command"),
    ("edit", "edit"),
    ("edit", "notebook_edit"),
    ("find", "glob"),
    ("grep", "grep_search"),
    ("ls", "list_directory"),
    ("read", "read_file"),
    ("write", "write_file"),
];

impl Agent for QwenCoder {
    fn name(&self) -> &'static str {
        "qwen-coder"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["qwen"]
    }

    fn install(&self) -> Install {
        Install::Npm(Npm {
            package: "@qwen-code/qwen-code",
            bin: "qwen",
            minimum_node: 20,
            scripts: Scripts::Skipped,
        })
    }

    fn is_headless(&self, words: &[String]) -> bool {
        has_flag(words, &["--prompt", "-p"])
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let mut given = [request.args, request.extra].concat();
        if request.mode.is_headless() {
            // A prompt of the person's own is answered as the person expects: in plain text.
            if request.mode.tells_events() && !has_flag(&given, &["--output-format", "-o"]) {
                args.push("--output-format=stream-json".to_owned());
            }
            // Nobody is there to be asked, and the sandbox is the wall.
            if !has_flag(&given, &["--approval-mode", "--yolo", "-y"]) {
                args.push("--approval-mode=yolo".to_owned());
            }
        }
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["--model", "-m"])) {
            args.push(format!("--model={model}"));
        }
        if let Some(role) = request.role {
            // Two of them are an error of its own.
            let texts =
                [vec![role.instructions.to_owned()], taken(&mut given, "--append-system-prompt")].concat();
            args.push(format!("--append-system-prompt={}", texts.join("\n\n")));
            args.extend(role.closed(TOOLS).into_iter().map(|tool| format!("--exclude-tools={tool}")));
        }
        if !request.mcp.is_empty() {
            let servers: serde_json::Map<String, Value> = (request.mcp.iter())
                .map(|server| {
                    (server.name.clone(), json!({ "command": server.command, "args": server.args }))
                })
                .collect();
            args.push(format!("--mcp-config={}", json!({ "mcpServers": servers })));
        }
        args.extend(given);
        // One word: a prompt that begins with a hyphen is no option then.
        let flag = if request.mode.is_headless() { "--prompt" } else { "--prompt-interactive" };
        args.extend(request.mode.prompt().map(|prompt| format!("{flag}={prompt}")));
        args
    }

    fn takes(&self) -> Takes {
        Takes { thinking: false, ..Takes::ALL }
    }

    fn chooses_tools(&self) -> bool {
        false
    }

    fn tunables(&self) -> &'static [Tunable] {
        &[
            Tunable {
                name: "append_system_prompt",
                kind: Type::Text,
                way: Way::Flag("--append-system-prompt"),
                doc: "Text that is added to its instructions, behind those of a role.",
            },
            Tunable {
                name: "approval_mode",
                kind: Type::OneOf(&["plan", "default", "auto-edit", "yolo"]),
                way: Way::Flag("--approval-mode"),
                doc: "How it asks before it uses a tool.",
            },
            Tunable {
                name: "disallowed_tools",
                kind: Type::Text,
                way: Way::Flag("--exclude-tools"),
                doc: "Tools that it does not have, with commas between.",
            },
            Tunable {
                name: "max_output_tokens",
                kind: COUNT,
                way: Way::Variable("QWEN_CODE_MAX_OUTPUT_TOKENS"),
                doc: "The most tokens of one answer.",
            },
            Tunable {
                name: "max_tool_concurrency",
                kind: COUNT,
                way: Way::Variable("QWEN_CODE_MAX_TOOL_CONCURRENCY"),
                doc: "How many tools run at a time.",
            },
            Tunable {
                name: "max_turns",
                kind: COUNT,
                way: Way::Flag("--max-session-turns"),
                doc: "The turns after which a session ends.",
            },
            Tunable {
                name: "system_prompt",
                kind: Type::Text,
                way: Way::Flag("--system-prompt"),
                doc: "Text in the place of its instructions.",
            },
        ]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[
            // It warns of what the sandbox is for.
            ("QWEN_CODE_SUPPRESS_YOLO_WARNING", "1"),
            // Its own sandbox needs programs that are not inside.
            ("QWEN_SANDBOX", "false"),
            ("QWEN_TELEMETRY_ENABLED", "false"),
            ("QWEN_USAGE_STATISTICS_ENABLED", "false"),
        ]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "OPENAI_API_KEY",
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_BASE_URL",
            "ANTHROPIC_MODEL",
            "BAILIAN_CODING_PLAN_API_KEY",
            "BAILIAN_TOKEN_PLAN_API_KEY",
            "DASHSCOPE_API_KEY",
            "GEMINI_API_KEY",
            "GEMINI_MODEL",
            "GOOGLE_API_KEY",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_CLOUD_LOCATION",
            "GOOGLE_CLOUD_PROJECT",
            "GOOGLE_GENAI_USE_VERTEXAI",
            "GOOGLE_MODEL",
            "OPENAI_BASE_URL",
            "OPENAI_MODEL",
            "QWEN_MODEL",
        ]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths and host ports, and the marks of a session or a sandbox around this one.
        &[
            "QWEN_CODE_IDE_SERVER_PORT",
            "QWEN_CODE_IDE_WORKSPACE_PATH",
            "QWEN_CODE_LAUNCHER_PATH",
            "QWEN_CODE_LAUNCHER_PID",
            "QWEN_CODE_MCP_APPROVALS_PATH",
            "QWEN_CODE_MEMORY_BASE_DIR",
            "QWEN_CODE_PROJECT_DIR",
            "QWEN_CODE_SESSION_ID",
            "QWEN_CODE_SYSTEM_DEFAULTS_PATH",
            "QWEN_CODE_SYSTEM_SETTINGS_PATH",
            "QWEN_CODE_TRUSTED_FOLDERS_PATH",
            "QWEN_HOME",
            "QWEN_RUNTIME_DIR",
            "SANDBOX",
        ]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        let private = |name| copy(name, Shape::File, Some(0o600));
        let tree = |name| copy(name, Shape::Tree, None);
        match kind {
            // The settings say which kind of login it is, and may hold keys.
            ImportKind::Auth => ["oauth_creds.json", "settings.json"].map(private).to_vec(),
            ImportKind::Settings => ["settings.json", "keybindings.json"].map(private).to_vec(),
            ImportKind::Skills => vec![tree("skills")],
            ImportKind::Extensions => vec![tree("extensions")],
            ImportKind::Prompts => vec![copy("QWEN.md", Shape::File, None), tree("commands")],
            ImportKind::Roles => vec![tree("agents")],
            // Sub-agents' are in another directory than their session.
            ImportKind::Sessions => Vec::new(),
        }
    }

    fn hosts(&self, _: Option<&str>) -> Vec<&str> {
        // The second is for a login, whose token is renewed.
        vec!["dashscope.aliyuncs.com", "chat.qwen.ai"]
    }

    fn base_urls(&self) -> &'static [&'static str] {
        &["ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"]
    }

    fn settings(&self) -> &'static [Settings] {
        &[Settings { file: ".qwen/settings.json", keys: URL_KEYS }]
    }

    fn replaces(&self, name: &str) -> Option<&'static str> {
        (name == "OPENAI_BASE_URL").then_some("dashscope.aliyuncs.com")
    }

    fn mcp(&self, _: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        McpSetup::Arguments
    }

    fn registers(&self, servers: &[Server<'_>], now: Option<&str>) -> Option<GeneratedFile> {
        let kept = now.and_then(|now| serde_json::from_str(now).ok()).filter(Value::is_object);
        let mut file = kept.unwrap_or_else(settings);
        if !file["mcpServers"].is_object() {
            file["mcpServers"] = json!({});
        }
        for server in servers {
            file["mcpServers"][server.name] = match server.how {
                How::Command { command, args } => json!({ "command": command, "args": args }),
                How::Http(url) => json!({ "httpUrl": url }),
                How::Sse(url) => json!({ "url": url }),
            };
        }
        Some(GeneratedFile { path: ".qwen/settings.json".to_owned(), content: format!("{file}\n") })
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".qwen/skills")
    }

    fn seeds(&self) -> Vec<GeneratedFile> {
        let content = format!("{}\n", settings());
        vec![GeneratedFile { path: ".qwen/settings.json".to_owned(), content }]
    }

    fn logs(&self) -> Vec<&str> {
        vec![
            ".qwen/projects/*/chats/*.jsonl",
            ".qwen/projects/*/subagents/*/*.jsonl",
            // Of older versions.
            ".qwen/tmp/*/chats/session-*.json",
            // What was too long for the model.
            ".qwen/tmp/*/*.output",
        ]
    }

    fn converter(&self) -> Option<&'static dyn Converter> {
        Some(&log::Log)
    }

    /// Reads the `result` of `stream-json`.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        let events = stdout.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let Some(result) = events.into_iter().find(|event| event["type"] == "result") else {
            return Verdict::Unknown;
        };
        if result["is_error"] == true || result["subtype"] != "success" {
            let said = result["error"]["message"].as_str().or_else(|| result["result"].as_str());
            let reason = said.or_else(|| result["subtype"].as_str()).unwrap_or("no reason given");
            return Verdict::Failed { reason: reason.to_owned() };
        }
        if exit == 0 { Verdict::Finished } else { Verdict::Failed { reason: format!("exit code {exit}") } }
    }
}

/// What a first start needs, so that it asks nothing.
fn settings() -> Value {
    json!({
        "general": { "enableAutoUpdate": false },
        "privacy": { "usageStatisticsEnabled": false },
        "security": { "auth": { "selectedType": "openai" } },
    })
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
        let own = words(&["-o", "text", "--yolo"]);
        let extra = words(&["--continue"]);
        let asked = words(&["-p", "do it"]);
        let headless = Mode::Headless { prompt: Some("--help me") };
        let tools = words(&["bash", "edit", "find", "grep", "ls", "write"]);
        let role = Role {
            instructions: "Be kind.\n",
            file: "/role.md",
            thinking: Some("high"),
            tools: Some(&tools),
        };
        let kind = Role { instructions: "Be kind.", tools: None, ..role };
        let more = words(&["--append-system-prompt=Be brief.", "--continue"]);
        let servers = [Mcp { name: "files".into(), command: "npx".into(), args: words(&["-y"]) }];
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (
                Request { model: Some("qwen/qwen3-coder"), extra: &extra, ..Request::default() },
                &["--model=qwen/qwen3-coder", "--continue"],
            ),
            (
                Request { mode: headless, ..Request::default() },
                &["--output-format=stream-json", "--approval-mode=yolo", "--prompt=--help me"],
            ),
            (
                Request { mode: headless, args: &own, ..Request::default() },
                &["-o", "text", "--yolo", "--prompt=--help me"],
            ),
            (
                Request { mode: Mode::Headless { prompt: None }, extra: &asked, ..Request::default() },
                &["--approval-mode=yolo", "-p", "do it"],
            ),
            (
                Request { role: Some(&role), mcp: &servers, ..Request::default() },
                &[
                    "--append-system-prompt=Be kind.\n",
                    "--exclude-tools=read_file",
                    r#"--mcp-config={"mcpServers":{"files":{"command":"npx","args":["-y"]}}}"#,
                ],
            ),
            (
                Request { role: Some(&kind), args: &more, ..Request::default() },
                &["--append-system-prompt=Be kind.\n\nBe brief.", "--continue"],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(QwenCoder.command(&request), words(expected), "{request:?}");
        }
        assert!(QwenCoder.is_headless(&words(&["--prompt=do it"])) && !QwenCoder.is_headless(&extra));
    }

    #[test]
    fn the_result_decides() {
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        let done = "{\"type\":\"system\"}\nnot json\n{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false}\n";
        assert_eq!(QwenCoder.verdict(0, done), Verdict::Finished);
        assert_eq!(QwenCoder.verdict(137, done), failed("exit code 137"));
        let refused = r#"{"type":"result","subtype":"error_during_execution","is_error":true,"error":{"message":"401"}}"#;
        assert_eq!(QwenCoder.verdict(0, refused), failed("401"));
        assert_eq!(QwenCoder.verdict(0, "{\"type\":\"system\"}\n"), Verdict::Unknown);
        assert_eq!(QwenCoder.verdict(1, "plain words"), Verdict::Unknown);
    }

    #[test]
    fn servers_are_registered_beside_the_settings() {
        let servers = [Server { name: "web", how: How::Http("http://tools:8000/mcp") }];
        let mine = r#"{ "mine": 1, "mcpServers": { "own": { "command": "own" } } }"#;
        let file = QwenCoder.registers(&servers, Some(mine)).unwrap();
        assert_eq!(
            (file.path.as_str(), file.content.as_str()),
            (
                ".qwen/settings.json",
                concat!(
                    r#"{"mine":1,"mcpServers":{"own":{"command":"own"},"web":{"httpUrl":"http://tools:8000/mcp"}}}"#,
                    "\n"
                )
            )
        );
        assert!(QwenCoder.registers(&servers, None).unwrap().content.contains("selectedType"));
    }
}
