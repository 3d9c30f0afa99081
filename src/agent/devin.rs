//! The Devin CLI, written after what is published of its command line, its settings and its database: no registry of packages has it, so
//! nothing here was tested with the program itself, and its reader is untested on a live log.

use serde_json::json;

use super::log::Converter;
use super::{
    Agent, Copy, GeneratedFile, How, Install, McpSetup, Places, Request, Role, Server, Shape, Takes, Verdict,
};
use super::{below, has_flag, mcp};
use crate::config::{ImportKind, Mcp};

mod log;

pub struct Devin;

const HOME: &str = "~/.config/devin";

/// Where the login is.
const LOGIN: &str = "~/.local/share/devin";

/// The list of servers, which has nothing else.
const SERVERS: &str = ".config/devin/mcp_config.json";

impl Agent for Devin {
    fn name(&self) -> &'static str {
        "devin"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["devin"]
    }

    fn install(&self) -> Install {
        Install::Never
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let given = [request.args, request.extra].concat();
        let prompt = request.mode.prompt();
        if prompt.is_none() && request.extra.first().is_some_and(|word| !word.starts_with('-')) {
            // Other commands refuse options that are not theirs.
            return request.extra.to_vec();
        }
        let mut args: Vec<String> = Vec::new();
        if request.mode.is_headless() {
            if !has_flag(&given, &["--print", "-p"]) {
                args.push("--print".to_owned());
            }
            // Nobody is there to be asked, and the sandbox is the wall.
            if !has_flag(&given, &["--permission-mode"]) {
                args.push("--permission-mode=yolo".to_owned());
            }
            if !has_flag(&given, &["--respect-workspace-trust"]) {
                args.push("--respect-workspace-trust=false".to_owned());
            }
        }
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["--model"])) {
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

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Its key is in a file, which `import auth` copies.
    fn reads(&self) -> &'static [&'static str] {
        &[]
    }

    fn refuses(&self) -> &'static [&'static str] {
        &[]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        match kind {
            ImportKind::Auth => vec![Copy {
                from: below(from, LOGIN, "credentials.toml"),
                to: ".local/share/devin/credentials.toml".to_owned(),
                shape: Shape::File,
                mode: Some(0o600),
            }],
            ImportKind::Settings => vec![copy("config.json", Shape::File, Some(0o600))],
            ImportKind::Skills => vec![copy("skills", Shape::Tree, None)],
            // One database has them all.
            ImportKind::Sessions | ImportKind::Extensions | ImportKind::Prompts | ImportKind::Roles => {
                Vec::new()
            }
        }
    }

    /// Returns hosts of its vendor, whatever the model is; not all of them are published: others are for `network`.
    fn hosts(&self, _: Option<&str>) -> Vec<&str> {
        vec!["api.devin.ai", "app.devin.ai", "server.codeium.com"]
    }

    fn mcp(&self, servers: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        // Without servers, it takes away earlier ones.
        McpSetup::File(GeneratedFile {
            path: SERVERS.to_owned(),
            content: format!("{}\n", mcp::given(servers)),
        })
    }

    fn registers(&self, servers: &[Server<'_>], now: Option<&str>) -> Option<GeneratedFile> {
        let content = mcp::beside(servers, now, |how| match how {
            How::Command { command, args } => json!({ "command": command, "args": args }),
            How::Http(url) => json!({ "url": url, "transport": "http" }),
            How::Sse(url) => json!({ "url": url, "transport": "sse" }),
        });
        Some(GeneratedFile { path: SERVERS.to_owned(), content })
    }

    fn skills_dir(&self) -> Option<&'static str> {
        None
    }

    /// Returns the file by which its first start asks nothing.
    fn seeds(&self) -> Vec<GeneratedFile> {
        let content = format!("{}\n", json!({ "shell": { "setup_complete": true } }));
        vec![GeneratedFile { path: ".config/devin/config.json".to_owned(), content }]
    }

    fn logs(&self) -> Vec<&str> {
        vec![".local/share/devin/cli/sessions.db"]
    }

    fn converter(&self) -> Option<&'static dyn Converter> {
        Some(&log::Log)
    }

    /// Returns what the exit code says: what it prints is for people.
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
        let auth = words(&["auth", "login"]);
        let own = words(&["-p", "--permission-mode=auto", "do it"]);
        let model = Some("devin/claude-opus-4.7");
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (Request { model, extra: &auth, ..Request::default() }, &["auth", "login"]),
            (Request { mode: Mode::Opened { prompt: "-x" }, ..Request::default() }, &["--", "-x"]),
            (
                Request { mode: Mode::Headless { prompt: Some("--help me") }, model, ..Request::default() },
                &[
                    "--print",
                    "--permission-mode=yolo",
                    "--respect-workspace-trust=false",
                    "--model=claude-opus-4.7",
                    "--",
                    "--help me",
                ],
            ),
            (
                Request { mode: Mode::Headless { prompt: None }, extra: &own, ..Request::default() },
                &["--respect-workspace-trust=false", "-p", "--permission-mode=auto", "do it"],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(Devin.command(&request), words(expected), "{request:?}");
        }
        assert_eq!(Devin.verdict(3, ""), Verdict::Failed { reason: "exit code 3".to_owned() });
    }
}
