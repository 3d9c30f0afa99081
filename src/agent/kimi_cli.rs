//! Kimi CLI, checked against 1.50.0: later releases say that it is given up for a program of another name, and do nothing else.
//!
//! Without a model of its settings it asks `KIMI_BASE_URL` for `KIMI_MODEL_NAME`, and `--model` has no say then.

use serde_json::{Value, json};

use super::log::Converter;
use super::service;
use super::tuning::{COUNT, Tunable, Way};
use super::{
    Agent, Copy, GeneratedFile, How, Install, McpSetup, Places, Pypi, Request, Role, Server, Shape, Takes,
    Verdict,
};
use super::{has_flag, mcp};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};

mod log;

pub struct KimiCli;

const HOME: &str = "~/.kimi";

impl Agent for KimiCli {
    fn name(&self) -> &'static str {
        "kimi-cli"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["kimi", "kimi-cli"]
    }

    fn install(&self) -> Install {
        Install::Pypi(Pypi {
            package: "kimi-cli",
            script: "kimi",
            with: &[],
            sources: &["ripgrepy"],
            // 3.12 from its third release on: the first ones cannot load it.
            pythons: &["3.13", "3.12"],
        })
    }

    fn is_headless(&self, words: &[String]) -> bool {
        has_flag(words, &["--print", "--quiet"])
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let given = [request.args, request.extra].concat();
        let prompt = request.mode.prompt();
        if request.mode.is_headless() {
            // It asks for no approval then: nobody is there to be asked, and the sandbox is the wall.
            if !self.is_headless(&given) {
                args.push("--print".to_owned());
            }
            if request.mode.tells_events() && !has_flag(&given, &["--output-format"]) {
                args.push("--output-format=stream-json".to_owned());
            }
        } else if prompt.is_none() && request.extra.first().is_some_and(|word| !word.starts_with('-')) {
            // Other commands refuse options that are not theirs.
            return request.extra.to_vec();
        }
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["--model", "-m"])) {
            args.push(format!("--model={model}"));
        }
        if let Some(thinking) = request.role.and_then(|role| role.thinking)
            && !has_flag(&given, &["--thinking", "--no-thinking"])
        {
            args.push(if thinking == "off" { "--no-thinking" } else { "--thinking" }.to_owned());
        }
        if !request.mcp.is_empty() {
            args.push(format!("--mcp-config={}", mcp::given(request.mcp)));
        }
        args.extend(given);
        // One word: a prompt that begins with a hyphen is no option then.
        args.extend(prompt.map(|prompt| format!("--prompt={prompt}")));
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
                name: "max_context_size",
                kind: COUNT,
                way: Way::Variable("KIMI_MODEL_MAX_CONTEXT_SIZE"),
                doc: "The tokens of the model's context, where its provider is of the kind `kimi`.",
            },
            Tunable {
                name: "max_output_tokens",
                kind: COUNT,
                way: Way::Variable("KIMI_MODEL_MAX_COMPLETION_TOKENS"),
                doc: "The most tokens of one answer, where the provider is of the kind `kimi`.",
            },
            Tunable {
                name: "max_retries",
                kind: COUNT,
                way: Way::Flag("--max-retries-per-step"),
                doc: "How often one request is tried.",
            },
            Tunable {
                name: "max_steps",
                kind: COUNT,
                way: Way::Flag("--max-steps-per-turn"),
                doc: "The steps after which a turn ends.",
            },
            Tunable {
                name: "temperature",
                kind: Type::UpTo(2),
                way: Way::Variable("KIMI_MODEL_TEMPERATURE"),
                doc: "How freely the model chooses words, where its provider is of the kind `kimi`.",
            },
            Tunable {
                name: "thinking",
                kind: Type::Bool,
                way: Way::Either("--thinking", "--no-thinking"),
                doc: "Whether the model thinks.",
            },
            Tunable {
                name: "top_p",
                kind: Type::UpTo(1),
                way: Way::Variable("KIMI_MODEL_TOP_P"),
                doc: "From which part of the likely words it chooses, where its provider is of the kind `kimi`.",
            },
        ]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[("KIMI_CLI_NO_AUTO_UPDATE", "1"), ("KIMI_DISABLE_TELEMETRY", "1")]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "KIMI_API_KEY",
            "KIMI_BASE_URL",
            "KIMI_CODE_BASE_URL",
            "KIMI_MODEL_CAPABILITIES",
            "KIMI_MODEL_MAX_COMPLETION_TOKENS",
            "KIMI_MODEL_MAX_CONTEXT_SIZE",
            "KIMI_MODEL_NAME",
            "KIMI_MODEL_TEMPERATURE",
            "KIMI_MODEL_THINKING_KEEP",
            "KIMI_MODEL_TOP_P",
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
        ]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths.
        &["KIMI_SCRIPTED_ECHO_SCRIPTS", "KIMI_SHARE_DIR"]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        match kind {
            ImportKind::Auth => vec![copy("credentials", Shape::Tree, Some(0o600))],
            // Keys may be in it.
            ImportKind::Settings => vec![copy("config.toml", Shape::File, Some(0o600))],
            ImportKind::Skills => vec![copy("skills", Shape::Tree, None)],
            // Sessions are in a directory whose name is a digest of the project's place.
            ImportKind::Sessions | ImportKind::Extensions | ImportKind::Prompts | ImportKind::Roles => {
                Vec::new()
            }
        }
    }

    fn hosts(&self, model: Option<&str>) -> Vec<&str> {
        match (model.and_then(|model| model.split_once('/')), service::of_model(model)) {
            (_, Some(host)) => vec![host],
            (Some(("moonshot" | "moonshot-ai" | "moonshot-cn", _)), None) => {
                vec!["api.moonshot.ai", "api.moonshot.cn"]
            }
            (_, None) => vec!["api.kimi.com", "auth.kimi.com"],
        }
    }

    fn base_urls(&self) -> &'static [&'static str] {
        &["KIMI_BASE_URL", "KIMI_CODE_BASE_URL", "OPENAI_BASE_URL"]
    }

    fn settings(&self) -> &'static [service::Settings] {
        &[service::Settings { file: ".kimi/config.toml", keys: &["base_url"] }]
    }

    fn replaces(&self, name: &str) -> Option<&'static str> {
        match name {
            "KIMI_BASE_URL" | "KIMI_CODE_BASE_URL" => Some("api.kimi.com"),
            "OPENAI_BASE_URL" => Some("api.openai.com"),
            _ => None,
        }
    }

    fn mcp(&self, _: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        McpSetup::Arguments
    }

    fn registers(&self, servers: &[Server<'_>], now: Option<&str>) -> Option<GeneratedFile> {
        let content = mcp::beside(servers, now, |how| match how {
            How::Command { command, args } => json!({ "command": command, "args": args }),
            How::Http(url) => json!({ "url": url, "transport": "http" }),
            How::Sse(url) => json!({ "url": url, "transport": "sse" }),
        });
        Some(GeneratedFile { path: ".kimi/mcp.json".to_owned(), content })
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".kimi/skills")
    }

    fn logs(&self) -> Vec<&str> {
        vec![
            ".kimi/sessions/*/*/wire.jsonl",
            ".kimi/sessions/*/*/context*.jsonl",
            ".kimi/sessions/*/*/subagents/*/wire.jsonl",
            ".kimi/sessions/*/*/subagents/*/context*.jsonl",
        ]
    }

    fn converter(&self) -> Option<&'static dyn Converter> {
        Some(&log::Log)
    }

    /// Reads the messages of `stream-json`: the last one is an answer where it came to its end. What went wrong is lines of text.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        let lines: Vec<&str> = stdout.lines().filter(|line| !line.trim().is_empty()).collect();
        let message = lines.last().and_then(|line| serde_json::from_str::<Value>(line).ok());
        match message {
            Some(message)
                if message["role"] == "assistant" && message["tool_calls"].is_null() && exit == 0 =>
            {
                Verdict::Finished
            }
            None if exit != 0 && !lines.is_empty() => {
                let words = lines.iter().rev().take_while(|line| !line.starts_with("{\"role\""));
                let words: Vec<&str> = words.copied().collect();
                Verdict::Failed { reason: unfolded(words.iter().rev()) }
            }
            _ if exit != 0 => Verdict::Failed { reason: format!("exit code {exit}") },
            _ => Verdict::Unknown,
        }
    }
}

/// Puts lines together that it folded at the width of a terminal that is none.
fn unfolded<'a>(lines: impl Iterator<Item = &'a &'a str>) -> String {
    const WIDTH: usize = 80;
    let mut text = String::new();
    let mut is_full = true;
    for line in lines {
        if !is_full {
            text.push(' ');
        }
        text.push_str(line.trim_end());
        is_full = line.chars().count() == WIDTH;
    }
    text
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
        let model = Some("kimi-code/kimi-for-coding");
        let login = words(&["login"]);
        let own = words(&["--quiet", "-p", "do it"]);
        let servers = [Mcp { name: "files".into(), command: "npx".into(), args: words(&["-y"]) }];
        let headless = Mode::Headless { prompt: Some("--help me") };
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (Request { model, extra: &login, ..Request::default() }, &["login"]),
            (Request { mode: Mode::Opened { prompt: "-x" }, ..Request::default() }, &["--prompt=-x"]),
            (
                Request { mode: headless, model, mcp: &servers, ..Request::default() },
                &[
                    "--print",
                    "--output-format=stream-json",
                    "--model=kimi-code/kimi-for-coding",
                    "--mcp-config={\"mcpServers\":{\"files\":{\"command\":\"npx\",\"args\":[\"-y\"]}}}",
                    "--prompt=--help me",
                ],
            ),
            (
                Request { mode: Mode::Headless { prompt: None }, extra: &own, ..Request::default() },
                &["--quiet", "-p", "do it"],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(KimiCli.command(&request), words(expected), "{request:?}");
        }
        let off = Role { instructions: "", file: "", thinking: Some("off"), tools: None };
        assert_eq!(KimiCli.command(&Request { role: Some(&off), ..Request::default() }), ["--no-thinking"]);
        assert!(KimiCli.is_headless(&own) && !KimiCli.is_headless(&login));
    }

    #[test]
    fn the_last_message_decides() {
        let call = r#"{"role":"assistant","content":"","tool_calls":[{"id":"1"}]}"#;
        let done = r#"{"role":"assistant","content":"Done."}"#;
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        assert_eq!(KimiCli.verdict(0, &format!("{call}\n{done}\n")), Verdict::Finished);
        assert_eq!(KimiCli.verdict(0, call), Verdict::Unknown);
        assert_eq!(
            KimiCli.verdict(1, &format!("{call}\nLLM provider error: 401\n")),
            failed("LLM provider error: 401")
        );
        let folded = format!("{call}\n{}\nend\nlast\n", "x".repeat(80));
        assert_eq!(KimiCli.verdict(75, &folded), failed(&format!("{}end last", "x".repeat(80))));
        assert_eq!(KimiCli.verdict(137, call), failed("exit code 137"));
    }

    #[test]
    fn the_model_says_whose_hosts_are_needed() {
        assert_eq!(KimiCli.hosts(None), ["api.kimi.com", "auth.kimi.com"]);
        assert_eq!(KimiCli.hosts(Some("moonshot-ai/kimi-k2")), ["api.moonshot.ai", "api.moonshot.cn"]);
        assert_eq!(KimiCli.hosts(Some("openai/x")), ["api.openai.com"]);
    }
}
