//! goose, written after what is published of its command line, its settings and its logs: no release of it was run here, and its reader
//! is untested on a live log.

use serde_json::Value;

use super::log::Converter;
use super::service;
use super::{Agent, Copy, Install, McpSetup, Places, Request, Role, Shape, Takes, Verdict, has_flag};
use crate::config::{ImportKind, Mcp};
use crate::util::text::shell_line;

mod log;
mod messages;

pub struct Goose;

const HOME: &str = "~/.config/goose";

/// Variables by which providers are at another place.
const HOSTS: &[&str] = &[
    "ANTHROPIC_HOST",
    "DATABRICKS_HOST",
    "GOOGLE_HOST",
    "LITELLM_HOST",
    "OLLAMA_HOST",
    "OPENAI_BASE_URL",
    "OPENAI_HOST",
    "OPENROUTER_HOST",
    "XAI_HOST",
];

impl Agent for Goose {
    fn name(&self) -> &'static str {
        "goose"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["goose"]
    }

    fn install(&self) -> Install {
        Install::Never
    }

    fn is_headless(&self, words: &[String]) -> bool {
        words.first().is_some_and(|word| word == "run") && !has_flag(words, &["--interactive", "-s"])
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let given = [request.args, request.extra].concat();
        let prompt = request.mode.prompt();
        let is_run = request.extra.first().is_some_and(|word| word == "run");
        if prompt.is_none() && !is_run {
            // Without words of the user's, a session; its model is that of its settings.
            if given.is_empty() && !request.mcp.is_empty() {
                return [vec!["session".to_owned()], extensions(request.mcp)].concat();
            }
            return if request.extra.first().is_some_and(|word| !word.starts_with('-')) {
                request.extra.to_vec()
            } else {
                given
            };
        }
        let mut args = vec!["run".to_owned()];
        let extra = &request.extra[usize::from(is_run)..];
        if !request.mode.is_headless() && prompt.is_some() {
            args.push("--interactive".to_owned());
        }
        if request.mode.tells_events() && !has_flag(&given, &["--output-format"]) {
            args.push("--output-format=stream-json".to_owned());
        }
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["--model"])) {
            let (provider, name) =
                model.split_once('/').map_or((None, model), |(one, rest)| (Some(one), rest));
            args.extend(
                provider
                    .filter(|_| !has_flag(&given, &["--provider"]))
                    .map(|name| format!("--provider={name}")),
            );
            args.push(format!("--model={name}"));
        }
        args.extend(extensions(request.mcp));
        args.extend_from_slice(request.args);
        args.extend_from_slice(extra);
        // One word: a prompt that begins with a hyphen is no option then.
        args.extend(prompt.map(|prompt| format!("--text={prompt}")));
        args
    }

    fn takes(&self) -> Takes {
        Takes { model: true, ..Takes::default() }
    }

    fn chooses_tools(&self) -> bool {
        false
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        // There is no keyring inside.
        &[("GOOSE_DISABLE_KEYRING", "1"), ("GOOSE_TELEMETRY_ENABLED", "false")]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_HOST",
            "AWS_ACCESS_KEY_ID",
            "AWS_PROFILE",
            "AWS_REGION",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AZURE_OPENAI_API_KEY",
            "AZURE_OPENAI_DEPLOYMENT_NAME",
            "AZURE_OPENAI_ENDPOINT",
            "DATABRICKS_HOST",
            "DATABRICKS_TOKEN",
            "GOOGLE_API_KEY",
            "GOOGLE_HOST",
            "GOOSE_CONTEXT_LIMIT",
            "GOOSE_MAX_TOKENS",
            "GOOSE_MAX_TURNS",
            "GOOSE_MODE",
            "GOOSE_MODEL",
            "GOOSE_PROVIDER",
            "GOOSE_TEMPERATURE",
            "GOOSE_THINKING_EFFORT",
            "GROQ_API_KEY",
            "LITELLM_API_KEY",
            "LITELLM_HOST",
            "OLLAMA_HOST",
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "OPENAI_HOST",
            "OPENROUTER_API_KEY",
            "OPENROUTER_HOST",
            "XAI_API_KEY",
            "XAI_HOST",
        ]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths.
        &["GOOSE_PATH_ROOT", "GOOSE_RECIPE_PATH"]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        match kind {
            ImportKind::Auth => vec![copy("secrets.yaml", Shape::File, Some(0o600))],
            ImportKind::Settings => vec![
                copy("config.yaml", Shape::File, Some(0o600)),
                copy("permission.yaml", Shape::File, None),
            ],
            ImportKind::Skills => vec![copy("skills", Shape::Tree, None)],
            ImportKind::Prompts => {
                vec![copy("prompts", Shape::Tree, None), copy("recipes", Shape::Tree, None)]
            }
            // One database has them all.
            ImportKind::Sessions | ImportKind::Extensions | ImportKind::Roles => Vec::new(),
        }
    }

    /// Returns the host of the model's provider: it has no service of its own.
    fn hosts(&self, model: Option<&str>) -> Vec<&str> {
        service::of_model(model).into_iter().collect()
    }

    fn base_urls(&self) -> &'static [&'static str] {
        HOSTS
    }

    fn replaces(&self, name: &str) -> Option<&'static str> {
        let provider = name.strip_suffix("_HOST").or_else(|| name.strip_suffix("_BASE_URL"))?;
        service::of_provider(&provider.to_ascii_lowercase())
    }

    fn mcp(&self, _: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        McpSetup::Arguments
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".config/goose/skills")
    }

    fn logs(&self) -> Vec<&str> {
        vec![".local/share/goose/sessions/sessions.db", ".local/share/goose/sessions/*.jsonl"]
    }

    fn converter(&self) -> Option<&'static dyn Converter> {
        Some(&log::Log)
    }

    /// Reads the events of `stream-json`: an error is one, and a model that did not answer is told as a word of the assistant.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        let mut said = None;
        let mut verdict = Verdict::Unknown;
        for event in stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            match event["type"].as_str() {
                Some("message") if event["message"]["role"] == "assistant" => {
                    let text = event["message"]["content"][0]["text"].as_str();
                    said = text.and_then(|text| text.strip_prefix(messages::FAILED)).map(str::to_owned);
                }
                Some("error") => {
                    let reason = event["error"].as_str().unwrap_or("no reason is given").to_owned();
                    verdict = Verdict::Failed { reason };
                }
                Some("complete") if verdict == Verdict::Unknown => {
                    let first = |said: String| said.lines().next().unwrap_or_default().to_owned();
                    verdict =
                        said.take().map_or(Verdict::Finished, |said| Verdict::Failed { reason: first(said) });
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
        super::sum(stdout, |event| (event["type"] == "complete").then(|| event["cost_usd"].as_f64())?)
    }
}

/// Returns the arguments by which it is told of servers.
fn extensions(servers: &[Mcp]) -> Vec<String> {
    let words =
        |server: &Mcp| shell_line(std::iter::once(&server.command).chain(&server.args).map(String::as_str));
    servers.iter().map(|server| format!("--with-extension={}", words(server))).collect()
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
        let model = Some("anthropic/claude-sonnet-4-5");
        let configure = words(&["configure"]);
        let own = words(&["run", "--no-session", "-t", "do it"]);
        let servers = [Mcp { name: "files".into(), command: "npx".into(), args: words(&["-y"]) }];
        let headless = Mode::Headless { prompt: Some("--help me") };
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (Request { mcp: &servers, ..Request::default() }, &["session", "--with-extension=npx -y"]),
            (Request { model, extra: &configure, ..Request::default() }, &["configure"]),
            (
                Request { mode: Mode::Opened { prompt: "-x" }, model, ..Request::default() },
                &["run", "--interactive", "--provider=anthropic", "--model=claude-sonnet-4-5", "--text=-x"],
            ),
            (
                Request { mode: headless, model, mcp: &servers, ..Request::default() },
                &[
                    "run",
                    "--output-format=stream-json",
                    "--provider=anthropic",
                    "--model=claude-sonnet-4-5",
                    "--with-extension=npx -y",
                    "--text=--help me",
                ],
            ),
            (
                Request { mode: Mode::Headless { prompt: None }, extra: &own, ..Request::default() },
                &["run", "--no-session", "-t", "do it"],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(Goose.command(&request), words(expected), "{request:?}");
        }
        assert!(Goose.is_headless(&own) && !Goose.is_headless(&configure));
    }

    #[test]
    fn the_events_decide() {
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        let said = |text: &str| {
            format!(
                r#"{{"type":"message","message":{{"role":"assistant","content":[{{"type":"text","text":"{text}"}}]}}}}"#
            )
        };
        let complete = r#"{"type":"complete","total_tokens":12,"cost_usd":0.25}"#;
        let done = format!("{}\n{complete}\n", said("Done."));
        assert_eq!(Goose.verdict(0, &done), Verdict::Finished);
        assert_eq!(Goose.cost(&done), Some(0.25));
        assert_eq!(Goose.verdict(137, &done), failed("exit code 137"));
        // It exits with 0, and says so.
        let refused = format!(
            "{}\n{complete}\n",
            said("Ran into this error: Authentication error: 401.\\n\\nPlease retry")
        );
        assert_eq!(Goose.verdict(0, &refused), failed("Authentication error: 401."));
        assert_eq!(Goose.verdict(0, r#"{"type":"error","error":"no provider"}"#), failed("no provider"));
        assert_eq!(Goose.verdict(1, "error: no model"), Verdict::Unknown);
    }
}
