//! The CLI of `OpenHands`, checked against 1.16.0.
//!
//! It is a Python program, which pier finds on `PATH` and does not install. It has no argument for the model: variables say it, and
//! count only with `--override-with-envs`, which wants a key among them. Of the settings of its model, it has no others but in its own file.

mod log;

use serde_json::{Map, Value, json};

use super::service;
use super::{
    Agent, Copy, GeneratedFile, How, Install, McpSetup, Places, Pypi, Request, Role, Server, Shape, Takes,
    Verdict, has_flag,
};
use crate::config::{ImportKind, Mcp};

pub struct Openhands;

const HOME: &str = "~/.openhands";

/// Where it looks for servers; pier writes it.
const SERVERS: &str = ".openhands/mcp.json";

impl Agent for Openhands {
    fn name(&self) -> &'static str {
        "openhands"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["openhands"]
    }

    fn install(&self) -> Install {
        Install::Pypi(Pypi {
            package: "openhands",
            script: "openhands",
            with: &[],
            sources: &["func-timeout"],
            pythons: &["3.12"],
        })
    }

    fn is_headless(&self, words: &[String]) -> bool {
        words.iter().any(|word| word == "--headless")
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let given = [request.args, request.extra].concat();
        // Other commands refuse options that are not theirs.
        if request.mode.prompt().is_none() && request.extra.first().is_some_and(|word| !word.starts_with('-'))
        {
            return request.extra.to_vec();
        }
        let mut args: Vec<String> = Vec::new();
        let mut add = |wanted: bool, flag: &str| {
            if wanted && !has_flag(&given, &[flag]) {
                args.push(flag.to_owned());
            }
        };
        let (headless, prompt) = (request.mode.is_headless(), request.mode.prompt());
        add(request.model.is_some(), "--override-with-envs");
        add(headless, "--headless");
        add(request.mode.tells_events(), "--json");
        add(headless, "--exit-without-confirmation");
        args.extend(given);
        args.extend(prompt.map(|prompt| format!("--task={prompt}")));
        args
    }

    fn model_variable(&self) -> Option<&'static str> {
        Some("LLM_MODEL")
    }

    fn chooses_tools(&self) -> bool {
        false
    }

    fn takes(&self) -> Takes {
        Takes { model: true, ..Takes::default() }
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[
            // The list of prices that it was built with serves.
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
            ("OPENHANDS_SUPPRESS_BANNER", "1"),
        ]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["LLM_API_KEY", "LLM_BASE_URL", "LLM_MODEL", "OPENHANDS_CLOUD_URL", "TAVILY_API_KEY"]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths.
        &["OPENHANDS_CONVERSATIONS_DIR", "OPENHANDS_PERSISTENCE_DIR", "OPENHANDS_WORK_DIR"]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        match kind {
            // The key of the model is in its settings.
            ImportKind::Auth => vec![copy("agent_settings.json", Shape::File, Some(0o600))],
            ImportKind::Settings => vec![copy("cli_config.json", Shape::File, Some(0o600))],
            ImportKind::Skills => {
                ["skills", "microagents"].map(|name| copy(name, Shape::Tree, None)).to_vec()
            }
            // Conversations of all projects are in one directory.
            ImportKind::Sessions | ImportKind::Extensions | ImportKind::Prompts | ImportKind::Roles => {
                Vec::new()
            }
        }
    }

    /// Returns the host of the model's provider: it has no service that it needs.
    fn hosts(&self, model: Option<&str>) -> Vec<&str> {
        service::of_model(model).into_iter().collect()
    }

    fn base_urls(&self) -> &'static [&'static str] {
        &["LLM_BASE_URL"]
    }

    fn mcp(&self, servers: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        // Without servers, it takes away earlier ones.
        let entry = |server: &Mcp| json!({ "command": server.command, "args": server.args });
        let servers: Map<String, Value> =
            servers.iter().map(|server| (server.name.clone(), entry(server))).collect();
        let content = format!("{}\n", json!({ "mcpServers": servers }));
        McpSetup::File(GeneratedFile { path: SERVERS.to_owned(), content })
    }

    fn registers(&self, servers: &[Server<'_>], _: Option<&str>) -> Option<GeneratedFile> {
        let entry = |server: &Server<'_>| match server.how {
            How::Command { command, args } => json!({ "command": command, "args": args }),
            How::Http(url) => json!({ "url": url, "transport": "http" }),
            How::Sse(url) => json!({ "url": url, "transport": "sse" }),
        };
        let servers: Map<String, Value> =
            servers.iter().map(|server| (server.name.to_owned(), entry(server))).collect();
        let content = format!("{}\n", json!({ "mcpServers": servers }));
        Some(GeneratedFile { path: SERVERS.to_owned(), content })
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".openhands/skills")
    }

    fn logs(&self) -> Vec<&str> {
        vec![".openhands/conversations/*/base_state.json", ".openhands/conversations/*/events/event-*.json"]
    }

    fn converter(&self) -> Option<&'static dyn super::log::Converter> {
        Some(&log::Log)
    }

    /// Reads the last event of `--json`.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        let events = stdout.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let Some(last) = events.into_iter().find(|event| event["kind"].is_string()) else {
            return Verdict::Unknown;
        };
        let finished = match last["kind"].as_str() {
            Some("ConversationErrorEvent") => {
                let said = [&last["detail"], &last["code"]];
                let reason = said.iter().find_map(|value| value.as_str()).unwrap_or("no reason given");
                return Verdict::Failed { reason: reason.to_owned() };
            }
            Some("ObservationEvent") => last["observation"]["kind"] == "FinishObservation",
            Some("MessageEvent") => last["source"] == "agent",
            _ => false,
        };
        match (finished, exit) {
            (true, 0) => Verdict::Finished,
            (true, exit) => Verdict::Failed { reason: format!("exit code {exit}") },
            // It stopped in the middle of its work: killed, or cut.
            (false, _) => Verdict::Unknown,
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
        let model = Some("anthropic/m");
        let approve = words(&["--always-approve"]);
        let own = words(&["--headless", "-t", "do it"]);
        let serve = words(&["serve"]);
        let headless = Mode::Headless { prompt: Some("--help me") };
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (
                Request { model, args: &approve, ..Request::default() },
                &["--override-with-envs", "--always-approve"],
            ),
            (Request { args: &approve, extra: &serve, ..Request::default() }, &["serve"]),
            (Request { mode: Mode::Opened { prompt: "do it" }, ..Request::default() }, &["--task=do it"]),
            (
                Request { mode: headless, model, ..Request::default() },
                &[
                    "--override-with-envs",
                    "--headless",
                    "--json",
                    "--exit-without-confirmation",
                    "--task=--help me",
                ],
            ),
            (
                Request { mode: Mode::Headless { prompt: None }, extra: &own, ..Request::default() },
                &["--exit-without-confirmation", "--headless", "-t", "do it"],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(Openhands.command(&request), words(expected), "{request:?}");
        }
    }

    #[test]
    fn servers_are_in_its_own_file() {
        let servers = [Mcp { name: "files".into(), command: "npx".into(), args: words(&["-y"]) }];
        let McpSetup::File(file) = Openhands.mcp(&servers, None) else { panic!("no file") };
        assert_eq!(file.path, ".openhands/mcp.json");
        assert_eq!(file.content, "{\"mcpServers\":{\"files\":{\"command\":\"npx\",\"args\":[\"-y\"]}}}\n");
    }

    #[test]
    fn the_last_event_decides() {
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        let done =
            "{\"kind\":\"ObservationEvent\",\"observation\":{\"kind\":\"FinishObservation\"}}\nGoodbye\n";
        assert_eq!(Openhands.verdict(0, done), Verdict::Finished);
        assert_eq!(Openhands.verdict(137, done), failed("exit code 137"));
        let said = "{\"kind\":\"MessageEvent\",\"source\":\"agent\"}\n";
        assert_eq!(Openhands.verdict(0, said), Verdict::Finished);
        let error =
            "{\"kind\":\"ConversationErrorEvent\",\"code\":\"AuthenticationError\",\"detail\":\"401\"}\n";
        assert_eq!(Openhands.verdict(0, &format!("{done}{error}")), failed("401"));
        let cut = "{\"kind\":\"ActionEvent\"}\n";
        assert_eq!(Openhands.verdict(0, cut), Verdict::Unknown);
        assert_eq!(Openhands.verdict(1, "plain words"), Verdict::Unknown);
    }
}
