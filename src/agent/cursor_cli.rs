//! The Cursor CLI, written after what its vendor publishes of its command line, its settings and its output: no registry of packages
//! has it, so nothing here was tested with the program itself, and its reader only with logs that were written for the tests.

use serde_json::{Value, json};

use super::log::Converter;
use super::tuning::{Tunable, Way};
use super::{
    Agent, Copy, GeneratedFile, How, Install, McpSetup, Places, Request, Role, Server, Shape, Takes, Verdict,
};
use super::{below, has_flag};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};

mod log;

pub struct CursorCli;

const HOME: &str = "~/.cursor";

/// Where the login is.
const LOGIN: &str = "~/.config/cursor";

/// The list of servers, which has nothing else.
const SERVERS: &str = ".cursor/mcp.json";

impl Agent for CursorCli {
    fn name(&self) -> &'static str {
        "cursor-cli"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["cursor-agent"]
    }

    fn install(&self) -> Install {
        Install::Never
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let given = [request.args, request.extra].concat();
        let prompt = request.mode.prompt();
        if request.mode.is_headless() {
            if !has_flag(&given, &["--print", "-p"]) {
                args.push("--print".to_owned());
            }
            // A prompt of the person's own is answered as the person expects: in plain text.
            if request.mode.tells_events() && !has_flag(&given, &["--output-format"]) {
                args.push("--output-format=stream-json".to_owned());
            }
            // Nobody is there to be asked, and the sandbox is the wall.
            if !has_flag(&given, &["--force", "-f", "--yolo"]) {
                args.push("--force".to_owned());
            }
            if !request.mcp.is_empty() && !has_flag(&given, &["--approve-mcps"]) {
                args.push("--approve-mcps".to_owned());
            }
        } else if prompt.is_none() && request.extra.first().is_some_and(|word| !word.starts_with('-')) {
            // Other commands refuse options that are not theirs.
            return request.extra.to_vec();
        }
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["--model", "-m"])) {
            // It serves the models of many vendors by names of its own.
            args.push(format!("--model={}", model.split_once('/').map_or(model, |(_, name)| name)));
        }
        args.extend(given);
        args.extend(prompt.into_iter().flat_map(|prompt| ["--".to_owned(), prompt.to_owned()]));
        args
    }

    fn takes(&self) -> Takes {
        Takes { model: true, ..Takes::default() }
    }

    fn chooses_tools(&self) -> bool {
        false
    }

    fn tunables(&self) -> &'static [Tunable] {
        &[Tunable {
            name: "mode",
            kind: Type::OneOf(&["ask", "plan"]),
            way: Way::Flag("--mode"),
            doc: "What it does besides editing: answers, or plans.",
        }]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        // There is none inside.
        &[("NO_OPEN_BROWSER", "1")]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["CURSOR_API_KEY"]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // A host path, and marks of a session around this one.
        &["CURSOR_AGENT", "CURSOR_CONFIG_DIR", "CURSOR_TRACE_ID"]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        let tree = |name| copy(name, Shape::Tree, None);
        match kind {
            ImportKind::Auth => vec![Copy {
                from: below(from, LOGIN, "auth.json"),
                to: ".config/cursor/auth.json".to_owned(),
                shape: Shape::File,
                mode: Some(0o600),
            }],
            ImportKind::Settings => vec![copy("cli-config.json", Shape::File, Some(0o600))],
            ImportKind::Skills => vec![tree("skills")],
            ImportKind::Prompts => vec![tree("commands"), tree("rules")],
            ImportKind::Roles => vec![tree("agents")],
            // One database a session, in a directory of a name that only it knows.
            ImportKind::Sessions | ImportKind::Extensions => Vec::new(),
        }
    }

    /// Returns the hosts of its vendor, whatever the model is: it talks to nobody else.
    fn hosts(&self, _: Option<&str>) -> Vec<&str> {
        vec!["api2.cursor.sh", "api3.cursor.sh", "api.cursor.sh", "cursor.com"]
    }

    fn mcp(&self, servers: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        // Without servers, it takes away earlier ones.
        let servers: serde_json::Map<String, Value> = servers
            .iter()
            .map(|server| (server.name.clone(), json!({ "command": server.command, "args": server.args })))
            .collect();
        let content = format!("{}\n", json!({ "mcpServers": servers }));
        McpSetup::File(GeneratedFile { path: SERVERS.to_owned(), content })
    }

    fn registers(&self, servers: &[Server<'_>], now: Option<&str>) -> Option<GeneratedFile> {
        let kept = now.and_then(|now| serde_json::from_str(now).ok()).filter(Value::is_object);
        let mut file = kept.unwrap_or_else(|| json!({}));
        if !file["mcpServers"].is_object() {
            file["mcpServers"] = json!({});
        }
        for server in servers {
            file["mcpServers"][server.name] = match server.how {
                How::Command { command, args } => json!({ "command": command, "args": args }),
                How::Http(url) | How::Sse(url) => json!({ "url": url }),
            };
        }
        Some(GeneratedFile { path: SERVERS.to_owned(), content: format!("{file}\n") })
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".cursor/skills")
    }

    fn logs(&self) -> Vec<&str> {
        // Databases, which nothing here reads: what a headless run prints is read.
        vec![".cursor/chats/*/*/store.db"]
    }

    fn converter(&self) -> Option<&'static dyn Converter> {
        Some(&log::Log)
    }

    /// Reads the `result` of `stream-json`; a run that fails prints none.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        let events = stdout.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let Some(result) = events.into_iter().find(|event| event["type"] == "result") else {
            return Verdict::Unknown;
        };
        if result["is_error"] == true || result["subtype"] != "success" {
            let said = [&result["result"], &result["subtype"]].into_iter().filter_map(Value::as_str);
            let reason = said.into_iter().find(|said| !said.is_empty()).unwrap_or("no reason given");
            return Verdict::Failed { reason: reason.to_owned() };
        }
        if exit == 0 { Verdict::Finished } else { Verdict::Failed { reason: format!("exit code {exit}") } }
    }

    fn cost(&self, stdout: &str) -> Option<f64> {
        super::sum(stdout, |event| {
            let usage = (event["type"] == "result").then(|| &event["usage"])?;
            usage["totalCost"].as_f64().or_else(|| usage["cost"].as_f64())
        })
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
        let model = Some("cursor/composer-2.5");
        let login = words(&["login"]);
        let own = words(&["-p", "--force", "--output-format", "text", "do it"]);
        let servers = [Mcp { name: "files".into(), command: "npx".into(), args: words(&["-y"]) }];
        let headless = Mode::Headless { prompt: Some("--help me") };
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (Request { model, extra: &login, ..Request::default() }, &["login"]),
            (
                Request { mode: Mode::Opened { prompt: "-x" }, model, ..Request::default() },
                &["--model=composer-2.5", "--", "-x"],
            ),
            (
                Request { mode: headless, model, mcp: &servers, ..Request::default() },
                &[
                    "--print",
                    "--output-format=stream-json",
                    "--force",
                    "--approve-mcps",
                    "--model=composer-2.5",
                    "--",
                    "--help me",
                ],
            ),
            (
                Request { mode: Mode::Headless { prompt: None }, extra: &own, ..Request::default() },
                &["-p", "--force", "--output-format", "text", "do it"],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(CursorCli.command(&request), words(expected), "{request:?}");
        }
        assert!(CursorCli.is_headless(&own) && !CursorCli.is_headless(&login));
    }

    #[test]
    fn servers_are_in_their_own_file() {
        let servers = [Mcp { name: "files".into(), command: "npx".into(), args: words(&["-y"]) }];
        let McpSetup::File(file) = CursorCli.mcp(&servers, None) else { panic!("no file") };
        assert_eq!(file.path, ".cursor/mcp.json");
        assert_eq!(file.content, "{\"mcpServers\":{\"files\":{\"command\":\"npx\",\"args\":[\"-y\"]}}}\n");
    }

    #[test]
    fn the_result_decides() {
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        let done = r#"{"type":"result","subtype":"success","is_error":false,"result":"Done.","usage":{"totalCost":0.25}}"#;
        assert_eq!(CursorCli.verdict(0, &format!("words\n{done}\n")), Verdict::Finished);
        assert_eq!(CursorCli.verdict(137, done), failed("exit code 137"));
        let refused = r#"{"type":"result","subtype":"error","is_error":true,"result":"401"}"#;
        assert_eq!(CursorCli.verdict(0, refused), failed("401"));
        assert_eq!(CursorCli.verdict(1, "Error: no key"), Verdict::Unknown);
        assert_eq!(CursorCli.cost(done), Some(0.25));
        assert_eq!(CursorCli.cost(refused), None);
    }
}
