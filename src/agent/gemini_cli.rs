//! Gemini CLI, checked against 0.61.0.
//!
//! It starts with the kind of login that `settings.json` names, and without one only where a key alone says it: so
//! the file is part of a login, and is seeded for those who have none. Thinking and turns are of that file, which is the user's: no flag
//! and no variable sets them, and the system's own file counts only where root has written it.

use serde_json::{Value, json};

use super::has_flag;
use super::log::Converter;
use super::tuning::{Tunable, Way};
use super::{
    Agent, Copy, GeneratedFile, How, Install, McpSetup, Npm, Places, Request, Role, Scripts, Server, Shape,
    Takes, Verdict,
};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};

pub(super) mod log;

pub struct GeminiCli;

const HOME: &str = "~/.gemini";

/// An extension of pier's own, which leaves the settings to the user.
const EXTENSION: &str = ".gemini/extensions/pier/gemini-extension.json";

/// The instructions of a role, beside the manifest, which names them only where there is a role.
const ROLE: &str = "ROLE.md";

/// pier's tool names and its own.
const TOOLS: &[(&str, &str)] = &[
    ("bash", "run_shell_command"),
    ("edit", "replace"),
    ("find", "glob"),
    ("grep", "grep_search"),
    ("grep", "search_file_content"),
    ("ls", "list_directory"),
    ("read", "read_file"),
    ("read", "read_many_files"),
    ("write", "write_file"),
];

impl Agent for GeminiCli {
    fn name(&self) -> &'static str {
        "gemini-cli"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["gemini"]
    }

    fn install(&self) -> Install {
        Install::Npm(Npm {
            package: "@google/gemini-cli",
            bin: "gemini",
            minimum_node: 20,
            scripts: Scripts::Skipped,
        })
    }

    fn is_headless(&self, words: &[String]) -> bool {
        has_flag(words, &["--prompt", "-p"])
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let given = [request.args, request.extra].concat();
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
            args.push(format!("--model={}", model.strip_prefix("google/").unwrap_or(model)));
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

    fn vendor(&self) -> Option<&'static str> {
        Some("google")
    }

    fn chooses_tools(&self) -> bool {
        false
    }

    fn tunables(&self) -> &'static [Tunable] {
        &[Tunable {
            name: "approval_mode",
            kind: Type::OneOf(&["default", "auto_edit", "yolo", "plan"]),
            way: Way::Flag("--approval-mode"),
            doc: "How it asks before it uses a tool.",
        }]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[
            // It asks whether the project is to be trusted, and refuses to work headless where it is not.
            ("GEMINI_CLI_TRUST_WORKSPACE", "true"),
            // Its own sandbox needs docker or podman, which are not inside.
            ("GEMINI_SANDBOX", "false"),
            ("GEMINI_TELEMETRY_ENABLED", "false"),
        ]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "GEMINI_API_KEY",
            "GEMINI_API_KEY_AUTH_MECHANISM",
            "GEMINI_CLI_CUSTOM_HEADERS",
            "GEMINI_MODEL",
            "GOOGLE_API_KEY",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_CLOUD_ACCESS_TOKEN",
            "GOOGLE_CLOUD_LOCATION",
            "GOOGLE_CLOUD_PROJECT",
            "GOOGLE_CLOUD_PROJECT_ID",
            "GOOGLE_CLOUD_QUOTA_PROJECT",
            "GOOGLE_GEMINI_BASE_URL",
            "GOOGLE_GENAI_API_VERSION",
            "GOOGLE_GENAI_USE_GCA",
            "GOOGLE_GENAI_USE_VERTEXAI",
            "GOOGLE_VERTEX_BASE_URL",
        ]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths and host ports, and the marks of a session or a sandbox around this one.
        &[
            "GEMINI_CLI",
            "GEMINI_CLI_HOME",
            "GEMINI_CLI_IDE_AUTH_TOKEN",
            "GEMINI_CLI_IDE_PID",
            "GEMINI_CLI_IDE_SERVER_PORT",
            "GEMINI_CLI_IDE_WORKSPACE_PATH",
            "GEMINI_CLI_SYSTEM_DEFAULTS_PATH",
            "GEMINI_CLI_SYSTEM_SETTINGS_PATH",
            "GEMINI_CLI_TRUSTED_FOLDERS_PATH",
            "SANDBOX",
        ]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        let private = |name| copy(name, Shape::File, Some(0o600));
        let tree = |name| copy(name, Shape::Tree, None);
        match kind {
            // `gemini-credentials.json` is encrypted with the name of the host: nobody reads it inside.
            ImportKind::Auth => {
                ["oauth_creds.json", "google_accounts.json", "settings.json"].map(private).to_vec()
            }
            ImportKind::Settings => ["settings.json", "keybindings.json"].map(private).to_vec(),
            ImportKind::Skills => vec![tree("skills")],
            ImportKind::Extensions => vec![tree("extensions")],
            ImportKind::Prompts => vec![copy("GEMINI.md", Shape::File, None), tree("commands")],
            ImportKind::Roles => vec![tree("agents")],
            // They are in a directory of a name that only its own list of projects tells.
            ImportKind::Sessions => Vec::new(),
        }
    }

    fn hosts(&self, _: Option<&str>) -> Vec<&str> {
        // The second and the third are for a login with Google, whose token is renewed.
        vec!["generativelanguage.googleapis.com", "cloudcode-pa.googleapis.com", "oauth2.googleapis.com"]
    }

    fn base_urls(&self) -> &'static [&'static str] {
        &["GOOGLE_GEMINI_BASE_URL", "GOOGLE_VERTEX_BASE_URL"]
    }

    fn replaces(&self, name: &str) -> Option<&'static str> {
        (name == "GOOGLE_GEMINI_BASE_URL").then_some("generativelanguage.googleapis.com")
    }

    fn mcp(&self, servers: &[Mcp], role: Option<&Role<'_>>) -> McpSetup {
        // An extension of pier's own leaves the settings to the user. Without servers and a role, it takes away earlier
        // ones.
        let servers: serde_json::Map<String, Value> = servers
            .iter()
            .map(|server| (server.name.clone(), json!({ "command": server.command, "args": server.args })))
            .collect();
        let mut manifest = json!({ "name": "pier", "version": "1.0.0", "mcpServers": servers });
        if let Some(role) = role {
            manifest["excludeTools"] = json!(role.closed(TOOLS));
            // It takes no file from elsewhere.
            manifest["contextFileName"] = json!(ROLE);
        }
        McpSetup::File(GeneratedFile { path: EXTENSION.to_owned(), content: format!("{manifest}\n") })
    }

    fn role_file(&self, role: &Role<'_>) -> Option<GeneratedFile> {
        let path = EXTENSION.rsplit_once('/').map_or(ROLE.to_owned(), |(place, _)| format!("{place}/{ROLE}"));
        Some(GeneratedFile { path, content: format!("{}\n", role.instructions) })
    }

    fn registers(&self, servers: &[Server<'_>], _: Option<&str>) -> Option<GeneratedFile> {
        let entry = |server: &Server<'_>| match server.how {
            How::Command { command, args } => json!({ "command": command, "args": args }),
            How::Http(url) => json!({ "httpUrl": url }),
            How::Sse(url) => json!({ "url": url }),
        };
        let servers: serde_json::Map<String, Value> =
            servers.iter().map(|server| (server.name.to_owned(), entry(server))).collect();
        let manifest = json!({ "name": "pier", "version": "1.0.0", "mcpServers": servers });
        Some(GeneratedFile { path: EXTENSION.to_owned(), content: format!("{manifest}\n") })
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".gemini/skills")
    }

    fn seeds(&self) -> Vec<GeneratedFile> {
        let settings = json!({
            "general": { "enableAutoUpdate": false, "enableAutoUpdateNotification": false },
            "ide": { "hasSeenNudge": true },
            "privacy": { "usageStatisticsEnabled": false },
            "security": { "auth": { "selectedType": "gemini-api-key" } },
        });
        vec![GeneratedFile { path: ".gemini/settings.json".to_owned(), content: format!("{settings}\n") }]
    }

    fn logs(&self) -> Vec<&str> {
        vec![
            ".gemini/tmp/*/chats/session-*.jsonl",
            ".gemini/tmp/*/chats/session-*.json",
            // Those of agents that it asked, below the name of the session.
            ".gemini/tmp/*/chats/*/*.jsonl",
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
        if result["status"] != "success" {
            let reason = result["error"]["message"].as_str().unwrap_or("no reason given");
            return Verdict::Failed { reason: reason.to_owned() };
        }
        if exit == 0 { Verdict::Finished } else { Verdict::Failed { reason: format!("exit code {exit}") } }
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
        let own = words(&["-o", "text", "--yolo"]);
        let extra = words(&["--resume", "latest"]);
        let asked = words(&["-p", "do it"]);
        let headless = Mode::Headless { prompt: Some("--help me") };
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (
                Request { model: Some("google/gemini-2.5-pro"), extra: &extra, ..Request::default() },
                &["--model=gemini-2.5-pro", "--resume", "latest"],
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
        ];
        for (request, expected) in table {
            assert_eq!(GeminiCli.command(&request), words(expected), "{request:?}");
        }
        assert!(GeminiCli.is_headless(&words(&["--prompt=do it"])) && !GeminiCli.is_headless(&extra));
    }

    #[test]
    fn servers_are_an_extension_of_their_own() {
        let servers = [Mcp { name: "files".into(), command: "npx".into(), args: words(&["-y"]) }];
        let content = |servers: &[Mcp]| match GeminiCli.mcp(servers, None) {
            McpSetup::File(file) => file.content,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            content(&servers),
            concat!(
                r#"{"name":"pier","version":"1.0.0","mcpServers":{"files":{"command":"npx","args":["-y"]}}}"#,
                "\n"
            )
        );
        assert!(content(&[]).contains(r#""mcpServers":{}"#));
    }

    #[test]
    fn the_result_decides() {
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        let done = "{\"type\":\"init\"}\nnot json\n{\"type\":\"result\",\"status\":\"success\"}\n";
        assert_eq!(GeminiCli.verdict(0, done), Verdict::Finished);
        assert_eq!(GeminiCli.verdict(137, done), failed("exit code 137"));
        let refused = r#"{"type":"result","status":"error","error":{"type":"E","message":"401"}}"#;
        assert_eq!(GeminiCli.verdict(0, refused), failed("401"));
        assert_eq!(GeminiCli.verdict(0, "{\"type\":\"init\"}\n"), Verdict::Unknown);
        assert_eq!(GeminiCli.verdict(1, "plain words"), Verdict::Unknown);
    }
}
