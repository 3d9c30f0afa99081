//! mini-swe-agent: its logs are those of runs of 2.4.6, its command line is the published one.
//!
//! Its only tool is a shell, and it writes its trajectory to a file; what it prints is for people.

use super::has_flag;
use super::log::Converter;
use super::service;
use super::tuning::{COUNT, Tunable, Way};
use super::{Agent, Copy, Install, McpSetup, Places, Pypi, Request, Role, Shape, Takes, Verdict};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};

mod log;

pub struct MiniSweAgent;

const HOME: &str = "~/.config/mini-swe-agent";

/// What a command prints by which a run ends.
const SUBMIT: &str = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT";

impl Agent for MiniSweAgent {
    fn name(&self) -> &'static str {
        "mini-swe-agent"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["mini-swe-agent", "mini"]
    }

    fn install(&self) -> Install {
        Install::Pypi(Pypi {
            package: "mini-swe-agent",
            script: "mini-swe-agent",
            // Its models import it.
            with: &["mcp"],
            sources: &[],
            pythons: &["3.12", "3.11", "3.13", "3.10"],
        })
    }

    fn is_headless(&self, words: &[String]) -> bool {
        has_flag(words, &["--exit-immediately"])
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let given = [request.args, request.extra].concat();
        if request.mode.is_headless() {
            // Nobody is there to be asked, and the sandbox is the wall.
            if !has_flag(&given, &["--yolo", "-y"]) {
                args.push("--yolo".to_owned());
            }
            if !has_flag(&given, &["--exit-immediately"]) {
                args.push("--exit-immediately".to_owned());
            }
        }
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["--model", "-m"])) {
            args.push(format!("--model={model}"));
        }
        // The first `-c` takes the place of its own file, and one of `key=value` alone is no whole configuration.
        let configs = |word: &&[String]| matches!(word[0].as_str(), "-c" | "--config");
        let mut configs = given.windows(2).filter(configs).peekable();
        if configs.peek().is_some() && configs.all(|words| words[1].contains('=')) {
            args.extend(["-c".to_owned(), "mini.yaml".to_owned()]);
        }
        args.extend(given);
        // One word: a prompt that begins with a hyphen is no option then.
        args.extend(request.mode.prompt().map(|prompt| format!("--task={prompt}")));
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
                name: "cost_limit",
                kind: Type::Amount,
                way: Way::Plain("-c", "agent.cost_limit"),
                doc: "US dollars after which a run ends.",
            },
            Tunable {
                name: "model_class",
                kind: Type::Text,
                way: Way::Plain("-c", "model.model_class"),
                doc: "The class by which it calls the model, such as `litellm_response`.",
            },
            Tunable {
                name: "reasoning_effort",
                kind: Type::OneOf(&["none", "minimal", "low", "medium", "high", "xhigh"]),
                way: Way::Plain("-c", "model.model_kwargs.reasoning_effort"),
                doc: "How much the model thinks.",
            },
            Tunable {
                name: "set_cache_control",
                kind: Type::OneOf(&["default_end"]),
                way: Way::Plain("-c", "model.set_cache_control"),
                doc: "Where marks for the cache of the service are set.",
            },
            Tunable {
                name: "step_limit",
                kind: COUNT,
                way: Way::Plain("-c", "agent.step_limit"),
                doc: "The steps after which a run ends.",
            },
        ]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[
            // The list of prices that it was built with serves.
            ("LITELLM_LOCAL_MODEL_COST_MAP", "true"),
            // It asks for a model and a key where it thinks that it was never started.
            ("MSWEA_CONFIGURED", "true"),
            // A model without a price is no reason to stop.
            ("MSWEA_COST_TRACKING", "ignore_errors"),
        ]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "ANTHROPIC_API_BASE",
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_BASE_URL",
            "AWS_ACCESS_KEY_ID",
            "AWS_REGION",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AZURE_API_BASE",
            "AZURE_API_KEY",
            "AZURE_API_VERSION",
            "CEREBRAS_API_KEY",
            "DEEPSEEK_API_KEY",
            "GEMINI_API_BASE",
            "GEMINI_API_KEY",
            "GROQ_API_KEY",
            "MISTRAL_API_KEY",
            "MSWEA_API_KEY",
            "MSWEA_GLOBAL_CALL_LIMIT",
            "MSWEA_GLOBAL_COST_LIMIT",
            "MSWEA_MODEL_NAME",
            "OPENAI_API_BASE",
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "OPENROUTER_API_BASE",
            "OPENROUTER_API_KEY",
            "VERTEXAI_LOCATION",
            "VERTEXAI_PROJECT",
            "XAI_API_KEY",
        ]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths.
        &["LITELLM_MODEL_REGISTRY_PATH", "MSWEA_GLOBAL_CONFIG_DIR", "MSWEA_MINI_CONFIG_PATH"]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        match kind {
            // One file has the keys and the settings.
            ImportKind::Auth | ImportKind::Settings => {
                vec![Copy::below(from, HOME, ".env", Shape::File, Some(0o600))]
            }
            ImportKind::Skills
            | ImportKind::Extensions
            | ImportKind::Prompts
            | ImportKind::Roles
            | ImportKind::Sessions => Vec::new(),
        }
    }

    /// Returns the host of the model's provider: it has no service of its own.
    fn hosts(&self, model: Option<&str>) -> Vec<&str> {
        service::of_model(model).into_iter().collect()
    }

    fn base_urls(&self) -> &'static [&'static str] {
        &[
            "ANTHROPIC_API_BASE",
            "ANTHROPIC_BASE_URL",
            "AZURE_API_BASE",
            "GEMINI_API_BASE",
            "OPENAI_API_BASE",
            "OPENAI_BASE_URL",
            "OPENROUTER_API_BASE",
        ]
    }

    fn replaces(&self, name: &str) -> Option<&'static str> {
        let provider = name.strip_suffix("_API_BASE").or_else(|| name.strip_suffix("_BASE_URL"))?;
        service::of_provider(&provider.to_ascii_lowercase())
    }

    fn mcp(&self, _: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        McpSetup::Unsupported
    }

    fn skills_dir(&self) -> Option<&'static str> {
        None
    }

    fn logs(&self) -> Vec<&str> {
        // Where nobody names another file.
        vec![".config/mini-swe-agent/last_mini_run.traj.json"]
    }

    fn converter(&self) -> Option<&'static dyn Converter> {
        Some(&log::Log)
    }

    /// Reads what it prints at its end: a command that submits, and `Exit:` with the reason of a failure.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        let Some((before, behind)) = stdout.rsplit_once("\nExit:\n") else { return Verdict::Unknown };
        let step = before.rsplit_once("mini-swe-agent (step ").map_or("", |(_, step)| step);
        if step.contains(SUBMIT) {
            return match exit {
                0 => Verdict::Finished,
                code => Verdict::Failed { reason: format!("exit code {code}") },
            };
        }
        // Lines that are broken at the width of a terminal.
        let said = behind.trim_start().split("\n\n").next().unwrap_or_default();
        let reason: Vec<&str> = said.split_whitespace().collect();
        let reason = if reason.is_empty() { "no reason given".to_owned() } else { reason.join(" ") };
        Verdict::Failed { reason }
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
        let model = Some("anthropic/claude-opus-4-7");
        let args = words(&["--cost-limit", "3"]);
        let limit = words(&["-c", "agent.step_limit=3"]);
        let file = words(&["-c", "my.yaml", "-c", "agent.step_limit=3"]);
        let own = words(&["-y", "--exit-immediately", "-m", "x", "-t", "do it"]);
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (
                Request { model, args: &args, ..Request::default() },
                &["--model=anthropic/claude-opus-4-7", "--cost-limit", "3"],
            ),
            (Request { mode: Mode::Opened { prompt: "-x" }, ..Request::default() }, &["--task=-x"]),
            (
                Request { args: &limit, ..Request::default() },
                &["-c", "mini.yaml", "-c", "agent.step_limit=3"],
            ),
            (Request { args: &file, ..Request::default() }, &["-c", "my.yaml", "-c", "agent.step_limit=3"]),
            (
                Request { mode: Mode::Headless { prompt: Some("--help me") }, model, ..Request::default() },
                &["--yolo", "--exit-immediately", "--model=anthropic/claude-opus-4-7", "--task=--help me"],
            ),
            (
                Request { mode: Mode::Headless { prompt: None }, model, extra: &own, ..Request::default() },
                &["-y", "--exit-immediately", "-m", "x", "-t", "do it"],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(MiniSweAgent.command(&request), words(expected), "{request:?}");
        }
        assert!(MiniSweAgent.is_headless(&own) && !MiniSweAgent.is_headless(&args));
    }

    #[test]
    fn the_model_says_which_host_is_needed_and_a_base_url_replaces_it() {
        assert_eq!(MiniSweAgent.hosts(Some("openai/gpt-5")), ["api.openai.com"]);
        assert!(MiniSweAgent.hosts(None).is_empty());
        assert_eq!(MiniSweAgent.replaces("OPENAI_API_BASE"), Some("api.openai.com"));
        assert_eq!(MiniSweAgent.replaces("ANTHROPIC_BASE_URL"), Some("api.anthropic.com"));
        assert_eq!(MiniSweAgent.replaces("OPENAI_API_KEY"), None);
    }

    #[test]
    fn what_is_printed_at_the_end_decides() {
        let step = "mini-swe-agent (step 2, $0.00):\nI end.\n\n```\necho COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT\n```\n";
        let done = format!("{step}\nTool:\n-1\n\nExit:\n\nSaved trajectory to 'x'\n");
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        assert_eq!(MiniSweAgent.verdict(0, &done), Verdict::Finished);
        assert_eq!(MiniSweAgent.verdict(3, &done), failed("exit code 3"));
        let refused =
            "User:\nDo it\n\nExit:\nAuthenticationError: 401 You\ncan set a key.\n\nSaved trajectory\n";
        assert_eq!(MiniSweAgent.verdict(1, refused), failed("AuthenticationError: 401 You can set a key."));
        assert_eq!(MiniSweAgent.verdict(0, step), Verdict::Unknown);
        assert_eq!(MiniSweAgent.verdict(1, "plain words"), Verdict::Unknown);
    }
}
