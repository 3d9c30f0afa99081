//! Codex, checked against 0.169.0.
//!
//! What pier sets goes by `-c`, which wins over an imported `config.toml` and loses against the user's own `-c`.
//! `OPENAI_BASE_URL` is not among what it reads: only `openai_base_url` of its configuration counts.

use serde_json::Value;

use super::has_flag;
use super::log::Converter;
use super::service::{Settings, URL_KEYS};
use super::tuning::{Tunable, Way};
use super::{
    Agent, Copy, GeneratedFile, How, Install, McpSetup, Npm, Places, Request, Role, Scripts, Server, Shape,
    Takes, Verdict,
};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};

mod log;

pub struct Codex;

const HOME: &str = "~/.codex";

/// Who chooses one of these has said what the agent's own sandbox is.
const SANDBOX: &[&str] = &["--sandbox", "-s", "--dangerously-bypass-approvals-and-sandbox", "--yolo"];

impl Agent for Codex {
    fn name(&self) -> &'static str {
        "codex"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["codex"]
    }

    fn install(&self) -> Install {
        Install::Npm(Npm {
            package: "@openai/codex",
            bin: "codex",
            minimum_node: 16,
            // The native program is a package of its own.
            scripts: Scripts::Skipped,
        })
    }

    fn is_headless(&self, words: &[String]) -> bool {
        // `-p` is a profile.
        words.first().is_some_and(|word| word == "exec" || word == "e")
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let given = [request.args, request.extra].concat();
        let mut set = |value: String| args.extend(["-c".to_owned(), value]);
        set("analytics.enabled=false".to_owned());
        set("check_for_update_on_startup=false".to_owned());
        if !request.cwd.is_empty() {
            // Else it asks whether it may read here. JSON strings are TOML strings.
            set(format!("projects={{{}={{trust_level=\"trusted\"}}}}", Value::from(request.cwd)));
        }
        let (headless, prompt) = (request.mode.is_headless(), request.mode.prompt());
        let asked = prompt.into_iter().flat_map(|prompt| ["--".to_owned(), prompt.to_owned()]);
        if !headless && !has_flag(&given, SANDBOX) {
            // Its own sandbox cannot be made inside this one.
            set("sandbox_mode=\"danger-full-access\"".to_owned());
        }
        for server in request.mcp {
            let (command, words) = (Value::from(server.command.as_str()), Value::from(server.args.clone()));
            set(format!("mcp_servers.{}={{command={command},args={words}}}", server.name));
        }
        if let Some(role) = request.role {
            set(format!("developer_instructions={}", Value::from(role.instructions)));
            if let Some(level) = role.thinking {
                // It has a level for everything but nothing.
                let level = if level == "off" { "minimal" } else { level };
                set(format!("model_reasoning_effort={}", Value::from(level)));
            }
        }
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["--model", "-m"])) {
            args.extend(["--model".to_owned(), model.strip_prefix("openai/").unwrap_or(model).to_owned()]);
        }
        args.extend_from_slice(request.args);
        if !headless {
            args.extend_from_slice(request.extra);
            args.extend(asked);
            return args;
        }
        args.push("exec".to_owned());
        if !has_flag(&given, &["--skip-git-repo-check"]) {
            args.push("--skip-git-repo-check".to_owned());
        }
        if !has_flag(&given, SANDBOX) {
            // Nobody is there to be asked, and the sandbox is the wall.
            args.push("--dangerously-bypass-approvals-and-sandbox".to_owned());
        }
        if request.mode.tells_events() && !has_flag(&given, &["--json"]) {
            args.push("--json".to_owned());
        }
        // The user's `exec` is there already.
        args.extend_from_slice(&request.extra[usize::from(self.is_headless(request.extra))..]);
        args.extend(asked);
        args
    }

    fn takes(&self) -> Takes {
        Takes { tools: false, ..Takes::ALL }
    }

    fn vendor(&self) -> Option<&'static str> {
        Some("openai")
    }

    fn chooses_tools(&self) -> bool {
        false
    }

    fn tunables(&self) -> &'static [Tunable] {
        &[
            Tunable {
                name: "reasoning_effort",
                kind: Type::OneOf(&["none", "minimal", "low", "medium", "high", "xhigh"]),
                way: Way::Pair("-c", "model_reasoning_effort"),
                doc: "How much the model thinks.",
            },
            Tunable {
                name: "reasoning_summary",
                kind: Type::OneOf(&["auto", "concise", "detailed", "none"]),
                way: Way::Pair("-c", "model_reasoning_summary"),
                doc: "What is told of its reasoning.",
            },
            Tunable {
                name: "verbosity",
                kind: Type::OneOf(&["low", "medium", "high"]),
                way: Way::Pair("-c", "model_verbosity"),
                doc: "How much it says.",
            },
        ]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "OPENAI_API_KEY",
            "AWS_ACCESS_KEY_ID",
            "AWS_BEARER_TOKEN_BEDROCK",
            "AWS_PROFILE",
            "AWS_REGION",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "CODEX_ACCESS_TOKEN",
            "CODEX_API_KEY",
            "CODEX_OSS_BASE_URL",
            "OPENAI_ORGANIZATION",
            "OPENAI_PROJECT",
        ]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths, and marks of a session or a sandbox around this one.
        &[
            "CODEX_EXEC_SERVER_URL",
            "CODEX_HOME",
            "CODEX_INTERNAL_ORIGINATOR_OVERRIDE",
            "CODEX_SANDBOX",
            "CODEX_SANDBOX_NETWORK_DISABLED",
            "CODEX_SQLITE_HOME",
            "CODEX_THREAD_ID",
        ]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        match kind {
            ImportKind::Auth => vec![copy("auth.json", Shape::File, Some(0o600))],
            // It may hold keys.
            ImportKind::Settings => vec![copy("config.toml", Shape::File, Some(0o600))],
            ImportKind::Skills => vec![copy("skills", Shape::Tree, None)],
            ImportKind::Extensions => vec![copy("plugins", Shape::Tree, None)],
            ImportKind::Prompts => {
                vec![copy("AGENTS.md", Shape::File, None), copy("prompts", Shape::Tree, None)]
            }
            ImportKind::Roles => vec![copy("agents", Shape::Tree, None)],
            // They are kept by date: those of other projects lie beside them.
            ImportKind::Sessions => Vec::new(),
        }
    }

    fn hosts(&self, _: Option<&str>) -> Vec<&str> {
        // The second and the third are for a login with ChatGPT, whose token is renewed.
        vec!["api.openai.com", "chatgpt.com", "auth.openai.com"]
    }

    fn base_urls(&self) -> &'static [&'static str] {
        &["CODEX_OSS_BASE_URL"]
    }

    fn settings(&self) -> &'static [Settings] {
        &[Settings { file: ".codex/config.toml", keys: URL_KEYS }]
    }

    fn replaces(&self, name: &str) -> Option<&'static str> {
        (name == "openai_base_url").then_some("api.openai.com")
    }

    fn mcp(&self, _: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        McpSetup::Arguments
    }

    fn registers(&self, servers: &[Server<'_>], now: Option<&str>) -> Option<GeneratedFile> {
        let now = now.unwrap_or_default();
        let table = toml::de::DeTable::parse(now).ok();
        let known = |name: &str| {
            let servers = table.as_ref()?.get_ref().get("mcp_servers")?.get_ref().as_table()?;
            servers.get(name)
        };
        let mut content = if table.is_some() { now.to_owned() } else { String::new() };
        for server in servers.iter().filter(|server| known(server.name).is_none()) {
            // JSON strings are TOML strings.
            let lines = match server.how {
                How::Command { command, args } => {
                    format!("command = {}\nargs = {}\n", Value::from(command), Value::from(args))
                }
                How::Http(url) | How::Sse(url) => format!("url = {}\n", Value::from(url)),
            };
            content.push_str(&format!("\n[mcp_servers.{}]\n{lines}", Value::from(server.name)));
        }
        Some(GeneratedFile { path: ".codex/config.toml".to_owned(), content })
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".codex/skills")
    }

    fn logs(&self) -> Vec<&str> {
        vec![".codex/sessions/*/*/*/rollout-*.jsonl"]
    }

    fn converter(&self) -> Option<&'static dyn Converter> {
        Some(&log::Log)
    }

    /// Reads the last turn of `exec --json`. An `error` alone is also what it says before it tries again.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        let events = stdout.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ends = ["turn.completed", "turn.failed", "turn.started"];
        let last = events.into_iter().find(|event| ends.iter().any(|end| event["type"] == *end));
        match last.as_ref().and_then(|event| event["type"].as_str()) {
            Some("turn.completed") if exit == 0 => Verdict::Finished,
            Some("turn.completed") => Verdict::Failed { reason: format!("exit code {exit}") },
            Some("turn.failed") => {
                let said = last.as_ref().and_then(|event| event["error"]["message"].as_str());
                Verdict::Failed { reason: said.unwrap_or("no reason given").to_owned() }
            }
            _ => Verdict::Unknown,
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

    /// What is set in every session.
    const FIXED: [&str; 4] = ["-c", "analytics.enabled=false", "-c", "check_for_update_on_startup=false"];
    const OPEN: [&str; 2] = ["-c", "sandbox_mode=\"danger-full-access\""];
    const EXEC: [&str; 3] = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"];

    #[test]
    fn command_lines() {
        let search = words(&["--search"]);
        let resume = words(&["resume", "--last"]);
        let sandbox = words(&["--sandbox=read-only"]);
        let own = words(&["exec", "--json", "do it"]);
        let headless = Mode::Headless { prompt: Some("--help me") };
        let servers = [Mcp { name: "files".into(), command: "npx".into(), args: words(&["-y", "a \"b\""]) }];
        let table: Vec<(Request<'_>, Vec<&[&str]>)> = vec![
            (Request::default(), vec![&OPEN]),
            (
                Request {
                    cwd: "/work/it",
                    model: Some("openai/gpt-5"),
                    args: &search,
                    extra: &resume,
                    ..Request::default()
                },
                vec![
                    &["-c", r#"projects={"/work/it"={trust_level="trusted"}}"#],
                    &OPEN,
                    &["--model", "gpt-5", "--search", "resume", "--last"],
                ],
            ),
            (Request { args: &sandbox, ..Request::default() }, vec![&["--sandbox=read-only"]]),
            (
                Request { mode: headless, args: &search, ..Request::default() },
                vec![&["--search"], &EXEC, &["--json", "--", "--help me"]],
            ),
            (
                Request { mode: Mode::Headless { prompt: None }, extra: &own, ..Request::default() },
                vec![&EXEC, &["--json", "do it"]],
            ),
            (
                Request { mcp: &servers, ..Request::default() },
                vec![&OPEN, &["-c", r#"mcp_servers.files={command="npx",args=["-y","a \"b\""]}"#]],
            ),
        ];
        for (request, expected) in table {
            let expected = [&FIXED[..], &expected.concat()].concat();
            assert_eq!(Codex.command(&request), words(&expected), "{request:?}");
        }
    }

    #[test]
    fn only_its_own_command_works_without_a_person() {
        for (extra, headless) in
            [(&["exec", "do it"][..], true), (&["e"], true), (&["-p", "work"], false), (&[], false)]
        {
            assert_eq!(Codex.is_headless(&words(extra)), headless, "{extra:?}");
        }
    }

    #[test]
    fn the_last_turn_decides() {
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        let done = "{\"type\":\"turn.started\"}\nnot json\n{\"type\":\"turn.completed\",\"usage\":{}}\n";
        assert_eq!(Codex.verdict(0, done), Verdict::Finished);
        assert_eq!(Codex.verdict(137, done), failed("exit code 137"));
        let refused = "{\"type\":\"turn.failed\",\"error\":{\"message\":\"401\"}}\n";
        assert_eq!(Codex.verdict(0, &format!("{done}{refused}")), failed("401"));
        let again = "{\"type\":\"error\",\"message\":\"Reconnecting\"}\n";
        assert_eq!(Codex.verdict(0, &format!("{again}{done}")), Verdict::Finished);
        assert_eq!(Codex.verdict(0, "{\"type\":\"turn.started\"}\n"), Verdict::Unknown);
        assert_eq!(Codex.verdict(1, "plain words"), Verdict::Unknown);
    }
}
