//! Hermes Agent, checked against 0.19.0: its command line, its settings and its database.

use super::has_flag;
use super::log::Converter;
use super::service;
use super::tuning::{COUNT, Tunable, Way};
use super::{Agent, Copy, Install, McpSetup, Places, Pypi, Request, Role, Shape, Takes, Verdict};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};

mod log;

pub struct Hermes;

const HOME: &str = "~/.hermes";

/// What it calls providers, where that is another name; those of none of these are reached by their whole names.
const PROVIDERS: &[(&str, &str)] = &[
    ("anthropic", "anthropic"),
    ("deepseek", "deepseek"),
    ("gemini", "gemini"),
    ("google", "gemini"),
    ("openai", "openai-api"),
    ("openrouter", "openrouter"),
    ("xai", "xai"),
];

impl Agent for Hermes {
    fn name(&self) -> &'static str {
        "hermes"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["hermes"]
    }

    fn install(&self) -> Install {
        Install::Pypi(Pypi {
            package: "hermes-agent",
            script: "hermes",
            with: &[],
            sources: &[],
            pythons: &["3.12", "3.11", "3.13"],
        })
    }

    fn is_headless(&self, words: &[String]) -> bool {
        has_flag(words, &["-q", "--query", "-z", "--oneshot"])
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let given = [request.args, request.extra].concat();
        let prompt = request.mode.prompt();
        let is_chat = request.extra.first().is_some_and(|word| word == "chat");
        let is_command = request.extra.first().is_some_and(|word| !word.starts_with('-'));
        if prompt.is_none() && is_command && !is_chat {
            // Other commands refuse options that are not theirs.
            return request.extra.to_vec();
        }
        let mut args: Vec<String> = Vec::new();
        // Nobody is there to be asked, and the sandbox is the wall.
        if request.mode.is_headless() && !has_flag(&given, &["--yolo"]) {
            args.push("--yolo".to_owned());
        }
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["-m", "--model"])) {
            let known = model.split_once('/').and_then(|(provider, name)| {
                let (_, own) = PROVIDERS.iter().find(|(known, _)| *known == provider)?;
                Some((*own, name))
            });
            let provider = known.filter(|_| !has_flag(&given, &["--provider"]));
            args.extend(provider.map(|(own, _)| format!("--provider={own}")));
            args.push(format!("--model={}", known.map_or(model, |(_, name)| name)));
        }
        // That command alone has a bound of turns.
        let is_bounded = has_flag(&given, &["--max-turns"]) && !has_flag(&given, &["-z", "--oneshot"]);
        if prompt.is_some() || is_bounded || is_chat {
            args.push("chat".to_owned());
        }
        args.extend_from_slice(request.args);
        args.extend_from_slice(&request.extra[usize::from(is_chat)..]);
        if prompt.is_some() && request.mode.is_headless() && !has_flag(&given, &["-Q", "--quiet"]) {
            args.push("--quiet".to_owned());
        }
        // One word: a prompt that begins with a hyphen is no option then.
        args.extend(prompt.map(|prompt| format!("--query={prompt}")));
        args
    }

    fn takes(&self) -> Takes {
        Takes { model: true, ..Takes::default() }
    }

    fn chooses_tools(&self) -> bool {
        false
    }

    fn tunables(&self) -> &'static [Tunable] {
        &[
            Tunable {
                name: "max_output_tokens",
                kind: COUNT,
                way: Way::Variable("HERMES_MAX_TOKENS"),
                doc: "The most tokens of one answer.",
            },
            Tunable {
                name: "max_turns",
                kind: COUNT,
                way: Way::Flag("--max-turns"),
                doc: "The turns after which it has to answer.",
            },
            Tunable {
                name: "skills",
                kind: Type::Text,
                way: Way::Flag("--skills"),
                doc: "Skills that it begins with, with commas between.",
            },
            Tunable {
                name: "toolsets",
                kind: Type::Text,
                way: Way::Flag("--toolsets"),
                doc: "The sets of tools that it has, with commas between.",
            },
        ]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        // The sandbox is where commands run.
        &[("TERMINAL_ENV", "local")]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_TOKEN",
            "AZURE_FOUNDRY_API_KEY",
            "AZURE_FOUNDRY_BASE_URL",
            "CUSTOM_BASE_URL",
            "DEEPSEEK_API_KEY",
            "GEMINI_API_KEY",
            "GLM_API_KEY",
            "HERMES_INFERENCE_MODEL",
            "HERMES_INFERENCE_PROVIDER",
            "HERMES_XAI_BASE_URL",
            "KIMI_API_KEY",
            "MINIMAX_API_KEY",
            "NOUS_API_KEY",
            "NOUS_INFERENCE_BASE_URL",
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "OPENROUTER_API_KEY",
            "OPENROUTER_BASE_URL",
            "XAI_API_KEY",
            "XAI_BASE_URL",
        ]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths, and directories of a session around this one.
        &["HERMES_CA_BUNDLE", "HERMES_HOME", "HERMES_SHARED_AUTH_DIR", "MESSAGING_CWD", "TERMINAL_CWD"]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        match kind {
            ImportKind::Auth => {
                vec![copy("auth.json", Shape::File, Some(0o600)), copy(".env", Shape::File, Some(0o600))]
            }
            ImportKind::Settings => {
                vec![copy("config.yaml", Shape::File, Some(0o600)), copy("SOUL.md", Shape::File, None)]
            }
            ImportKind::Skills => vec![copy("skills", Shape::Tree, None)],
            ImportKind::Extensions => vec![copy("plugins", Shape::Tree, None)],
            // One database has them all.
            ImportKind::Sessions | ImportKind::Prompts | ImportKind::Roles => Vec::new(),
        }
    }

    fn hosts(&self, model: Option<&str>) -> Vec<&str> {
        match service::of_model(model) {
            Some(host) => vec![host],
            None => vec!["openrouter.ai", "inference-api.nousresearch.com", "portal.nousresearch.com"],
        }
    }

    fn base_urls(&self) -> &'static [&'static str] {
        &[
            "AZURE_FOUNDRY_BASE_URL",
            "CUSTOM_BASE_URL",
            "HERMES_XAI_BASE_URL",
            "NOUS_INFERENCE_BASE_URL",
            "OPENAI_BASE_URL",
            "OPENROUTER_BASE_URL",
            "XAI_BASE_URL",
        ]
    }

    fn replaces(&self, name: &str) -> Option<&'static str> {
        match name {
            "HERMES_XAI_BASE_URL" | "XAI_BASE_URL" => Some("api.x.ai"),
            "NOUS_INFERENCE_BASE_URL" => Some("inference-api.nousresearch.com"),
            "OPENAI_BASE_URL" => Some("api.openai.com"),
            "OPENROUTER_BASE_URL" => Some("openrouter.ai"),
            _ => None,
        }
    }

    /// Its servers are in its settings, which are YAML: pier writes none.
    fn mcp(&self, _: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        McpSetup::Unsupported
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".hermes/skills")
    }

    fn logs(&self) -> Vec<&str> {
        vec![".hermes/state.db", ".hermes/sessions/*.json"]
    }

    fn converter(&self) -> Option<&'static dyn Converter> {
        Some(&log::Log)
    }

    /// Returns what the exit code says: what it prints is its last answer, and nothing beside it.
    fn verdict(&self, exit: u8, _: &str) -> Verdict {
        match exit {
            0 => Verdict::Unknown,
            code => Verdict::Failed { reason: format!("exit code {code}") },
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
        let setup = words(&["setup"]);
        let own = words(&["chat", "-q", "do it"]);
        let turns = words(&["--max-turns=2"]);
        let headless = Mode::Headless { prompt: Some("--help me") };
        let model = Some("openai/gpt-5");
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (Request { model, extra: &setup, ..Request::default() }, &["setup"]),
            (Request { mode: Mode::Opened { prompt: "-x" }, ..Request::default() }, &["chat", "--query=-x"]),
            (
                Request { mode: headless, model, ..Request::default() },
                &["--yolo", "--provider=openai-api", "--model=gpt-5", "chat", "--quiet", "--query=--help me"],
            ),
            (
                Request {
                    mode: Mode::Headless { prompt: None },
                    model: Some("qwen/q"),
                    extra: &own,
                    ..Request::default()
                },
                &["--yolo", "--model=qwen/q", "chat", "-q", "do it"],
            ),
            (Request { args: &turns, ..Request::default() }, &["chat", "--max-turns=2"]),
            (
                Request {
                    mode: Mode::Headless { prompt: None },
                    args: &turns,
                    extra: &own,
                    ..Request::default()
                },
                &["--yolo", "chat", "--max-turns=2", "-q", "do it"],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(Hermes.command(&request), words(expected), "{request:?}");
        }
        assert!(Hermes.is_headless(&own) && !Hermes.is_headless(&setup));
        assert_eq!(Hermes.verdict(0, "Done."), Verdict::Unknown);
    }
}
