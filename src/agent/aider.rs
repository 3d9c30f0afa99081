//! aider, checked against 0.86.2.
//!
//! It is a Python program, which pier finds on `PATH` and does not install. It keeps its chat in the project
//! (`.aider.chat.history.md`), not in the home.

mod log;

use super::service;
use super::tuning::{COUNT, COUNT_OR_NONE, Tunable, Way};
use super::{
    Agent, Copy, Install, McpSetup, Places, Pypi, Request, Role, Shape, Takes, Verdict, below, has_flag,
};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};
use log::report;

pub struct Aider;

const HOME: &str = "~";

impl Agent for Aider {
    fn name(&self) -> &'static str {
        "aider"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["aider"]
    }

    fn install(&self) -> Install {
        Install::Pypi(Pypi {
            package: "aider-chat",
            script: "aider",
            with: &[],
            sources: &[],
            pythons: &["3.12", "3.11", "3.10"],
        })
    }

    fn is_headless(&self, words: &[String]) -> bool {
        has_flag(words, &["--message", "--message-file", "--msg", "-m", "-f"])
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let given = [request.args, request.extra].concat();
        let mut args: Vec<String> = Vec::new();
        let (headless, prompt) = (request.mode.is_headless(), request.mode.prompt());
        // Nobody is there to be asked, and the sandbox is the wall.
        if headless && !has_flag(&given, &["--yes-always", "--yes", "--no-yes-always"]) {
            args.push("--yes-always".to_owned());
        }
        // One line a word of its own, which can be read.
        if request.mode.tells_events() {
            for (flag, other) in [("--no-pretty", "--pretty"), ("--no-stream", "--stream")] {
                if !has_flag(&given, &[flag, other]) {
                    args.push(flag.to_owned());
                }
            }
        }
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["--model"])) {
            args.push(format!("--model={model}"));
        }
        if let Some(role) = request.role {
            args.push(format!("--read={}", role.file));
        }
        args.extend(given);
        // It ends after the first words that it is given, with or without a person in front of it.
        args.extend(prompt.map(|prompt| format!("--message={prompt}")));
        args
    }

    fn chooses_tools(&self) -> bool {
        false
    }

    fn takes(&self) -> Takes {
        Takes { instructions: true, model: true, ..Takes::default() }
    }

    fn tunables(&self) -> &'static [Tunable] {
        &[
            Tunable {
                name: "architect",
                kind: Type::Bool,
                way: Way::Switch("--architect"),
                doc: "Whether one model plans and another one edits.",
            },
            Tunable {
                name: "edit_format",
                kind: Type::Text,
                way: Way::Flag("--edit-format"),
                doc: "The format of edits, such as `diff` or `whole`.",
            },
            Tunable {
                name: "editor_model",
                kind: Type::Text,
                way: Way::Flag("--editor-model"),
                doc: "The model that edits where another one plans.",
            },
            Tunable {
                name: "map_tokens",
                kind: COUNT_OR_NONE,
                way: Way::Flag("--map-tokens"),
                doc: "The tokens of its map of the repository.",
            },
            Tunable {
                name: "reasoning_effort",
                kind: Type::OneOf(&["minimal", "low", "medium", "high", "xhigh"]),
                way: Way::Flag("--reasoning-effort"),
                doc: "How much the model thinks.",
            },
            Tunable {
                name: "thinking_tokens",
                kind: COUNT,
                way: Way::Flag("--thinking-tokens"),
                doc: "The most tokens of reasoning before one answer.",
            },
            Tunable {
                name: "weak_model",
                kind: Type::Text,
                way: Way::Flag("--weak-model"),
                doc: "The model of summaries and commit messages.",
            },
        ]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("AIDER_ANALYTICS_DISABLE", "true"),
            // Where pier reads them; in the project they are in the way.
            ("AIDER_CHAT_HISTORY_FILE", "~/.aider/chat.history.md"),
            ("AIDER_CHECK_UPDATE", "false"),
            // It would ask whether it may write into `.gitignore`.
            ("AIDER_GITIGNORE", "false"),
            ("AIDER_INPUT_HISTORY_FILE", "~/.aider/input.history"),
            ("AIDER_LLM_HISTORY_FILE", "~/.aider/llm.history.txt"),
            ("AIDER_SHOW_MODEL_WARNINGS", "false"),
            ("AIDER_SHOW_RELEASE_NOTES", "false"),
            // The list of prices that it was built with serves.
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
        ]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "AIDER_EDITOR_MODEL",
            "AIDER_EDIT_FORMAT",
            "AIDER_MODEL",
            "AIDER_REASONING_EFFORT",
            "AIDER_THINKING_TOKENS",
            "AIDER_WEAK_MODEL",
            "ANTHROPIC_API_BASE",
            "ANTHROPIC_API_KEY",
            "AWS_ACCESS_KEY_ID",
            "AWS_PROFILE",
            "AWS_REGION",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AZURE_API_BASE",
            "AZURE_API_KEY",
            "AZURE_API_VERSION",
            "CEREBRAS_API_KEY",
            "COHERE_API_KEY",
            "DEEPSEEK_API_KEY",
            "FIREWORKS_API_KEY",
            "GEMINI_API_KEY",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GROQ_API_KEY",
            "LM_STUDIO_API_BASE",
            "LM_STUDIO_API_KEY",
            "MISTRAL_API_KEY",
            "OLLAMA_API_BASE",
            "OPENAI_API_BASE",
            "OPENAI_API_KEY",
            "OPENROUTER_API_KEY",
            "VERTEXAI_LOCATION",
            "VERTEXAI_PROJECT",
            "XAI_API_KEY",
        ]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths.
        &[
            "AIDER_AIDERIGNORE",
            "AIDER_ENV_FILE",
            "AIDER_LOAD",
            "AIDER_MESSAGE_FILE",
            "AIDER_MODEL_METADATA_FILE",
            "AIDER_MODEL_SETTINGS_FILE",
            "AIDER_READ",
        ]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str| Copy {
            from: below(from, HOME, name),
            to: name.to_owned(),
            shape: Shape::File,
            mode: Some(0o600),
        };
        match kind {
            ImportKind::Auth => vec![copy(".aider/oauth-keys.env")],
            // They may hold keys.
            ImportKind::Settings => {
                [".aider.conf.yml", ".aider.model.settings.yml", ".aider.model.metadata.json"]
                    .map(copy)
                    .to_vec()
            }
            ImportKind::Skills
            | ImportKind::Sessions
            | ImportKind::Extensions
            | ImportKind::Prompts
            | ImportKind::Roles => Vec::new(),
        }
    }

    /// Returns the host of the model's provider: aider has no service of its own.
    fn hosts(&self, model: Option<&str>) -> Vec<&str> {
        service::of_model(model).into_iter().collect()
    }

    fn base_urls(&self) -> &'static [&'static str] {
        &["ANTHROPIC_API_BASE", "AZURE_API_BASE", "LM_STUDIO_API_BASE", "OLLAMA_API_BASE", "OPENAI_API_BASE"]
    }

    fn replaces(&self, name: &str) -> Option<&'static str> {
        match name {
            "ANTHROPIC_API_BASE" => service::of_provider("anthropic"),
            "OPENAI_API_BASE" => service::of_provider("openai"),
            _ => None,
        }
    }

    fn mcp(&self, _: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        McpSetup::Unsupported
    }

    fn skills_dir(&self) -> Option<&'static str> {
        None
    }

    /// Returns nothing: its chat is in the project.
    fn logs(&self) -> Vec<&str> {
        vec![".aider/chat.history.md", ".aider/llm.history.txt"]
    }

    fn converter(&self) -> Option<&'static dyn super::log::Converter> {
        Some(&log::Log)
    }

    /// Reads what it says of its last request: it exits 0 even if every one was refused.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        let mut verdict = Verdict::Unknown;
        for line in stdout.lines() {
            if report::is_failure(line) {
                verdict = Verdict::Failed { reason: line.trim().to_owned() };
            } else if report::retries(line) {
                verdict = Verdict::Unknown;
            } else if report::usage(line).is_some() {
                verdict = Verdict::Finished;
            }
        }
        match verdict {
            Verdict::Finished if exit != 0 => Verdict::Failed { reason: format!("exit code {exit}") },
            verdict => verdict,
        }
    }

    fn cost(&self, stdout: &str) -> Option<f64> {
        stdout.lines().rev().find_map(report::session_cost)
    }

    fn tells_cost(&self) -> bool {
        true
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
        let model = Some("anthropic/m");
        let own = words(&["--message", "do it", "--no-yes-always"]);
        let role = Role { instructions: "Be kind.", file: "/r", thinking: None, tools: None };
        let headless = Mode::Headless { prompt: Some("-x") };
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (
                Request { model, role: Some(&role), ..Request::default() },
                &["--model=anthropic/m", "--read=/r"],
            ),
            (Request { mode: Mode::Opened { prompt: "do it" }, ..Request::default() }, &["--message=do it"]),
            (
                Request { mode: Mode::Text { prompt: "do it" }, ..Request::default() },
                &["--yes-always", "--message=do it"],
            ),
            (
                Request { mode: headless, model, ..Request::default() },
                &["--yes-always", "--no-pretty", "--no-stream", "--model=anthropic/m", "--message=-x"],
            ),
            (
                Request { mode: Mode::Headless { prompt: None }, extra: &own, ..Request::default() },
                &["--message", "do it", "--no-yes-always"],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(Aider.command(&request), words(expected), "{request:?}");
        }
    }

    #[test]
    fn the_last_request_decides_whatever_the_exit_code_says() {
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        let done =
            "hello.txt\nTokens: 586 sent, 11 received. Cost: $0.01 message, $0.03 session.\nApplied edit\n";
        let refused =
            "litellm.AuthenticationError: mock 401\nThe API provider is not able to authenticate you.\n";
        assert_eq!(Aider.verdict(0, done), Verdict::Finished);
        assert_eq!(Aider.verdict(1, done), failed("exit code 1"));
        assert_eq!(Aider.verdict(0, refused), failed("litellm.AuthenticationError: mock 401"));
        assert_eq!(Aider.verdict(0, &format!("{refused}Retrying in 0.2 seconds...\n")), Verdict::Unknown);
        assert_eq!(
            Aider.verdict(0, &format!("{refused}Retrying in 0.2 seconds...\n{done}")),
            Verdict::Finished
        );
        assert_eq!(Aider.verdict(0, "Aider v0.86.2\n"), Verdict::Unknown);
        assert_eq!((Aider.cost(done), Aider.cost(refused)), (Some(0.03), None));
    }
}
