//! opencode, checked against 1.18.33.
//!
//! It reads three files of its configuration directory, one over the other. `config.json`, the first, is pier's;
//! the user's own are `opencode.json` and `opencode.jsonc`.

use serde_json::{Value, json};

use super::log::Converter;
use super::service::{self, Settings, URL_KEYS};
use super::tuning::{COUNT, Tunable, Way};
use super::{
    Agent, Copy, GeneratedFile, How, Install, McpSetup, Npm, Places, Request, Role, Scripts, Server, Shape,
    Takes, Verdict,
};
use super::{below, has_flag};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};

mod log;

pub struct Opencode;

const HOME: &str = "~/.config/opencode";

/// The file that is pier's.
const OWN: &str = ".config/opencode/config.json";

/// Settings that count more than those of every file.
const CONTENT: &str = "OPENCODE_CONFIG_CONTENT";

/// Where the login is.
const DATA: &str = "~/.local/share/opencode";

/// pier's tool names and its own.
const TOOLS: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("edit", "edit"),
    ("edit", "patch"),
    ("find", "glob"),
    ("grep", "grep"),
    ("ls", "list"),
    ("read", "read"),
    ("write", "write"),
];

impl Agent for Opencode {
    fn name(&self) -> &'static str {
        "opencode"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["opencode"]
    }

    fn install(&self) -> Install {
        Install::Npm(Npm {
            package: "opencode-ai",
            bin: "opencode",
            minimum_node: 18,
            scripts: Scripts::Needed,
        })
    }

    fn is_headless(&self, words: &[String]) -> bool {
        words.first().is_some_and(|word| word == "run")
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let given = [request.args, request.extra].concat();
        let mut extra = request.extra;
        let (headless, prompt) = (request.mode.is_headless(), request.mode.prompt());
        if headless {
            args.push("run".to_owned());
            // The user's `run` is there already.
            extra = &extra[usize::from(self.is_headless(extra))..];
            if request.mode.tells_events() && !has_flag(&given, &["--format"]) {
                args.push("--format=json".to_owned());
            }
            // Nobody is there to be asked, and the sandbox is the wall.
            if !has_flag(&given, &["--auto"]) {
                args.push("--auto".to_owned());
            }
        } else if prompt.is_none() && extra.first().is_some_and(|word| !word.starts_with('-')) {
            // Other commands refuse options that are not theirs.
            return extra.to_vec();
        }
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["--model", "-m"])) {
            args.push(format!("--model={model}"));
        }
        // Its screen has no variants, and refuses the flag.
        let is_known = |word: &&String| headless || !word.starts_with("--variant=");
        args.extend(request.args.iter().filter(is_known).cloned());
        args.extend_from_slice(extra);
        match prompt {
            Some(prompt) if headless => args.extend(["--".to_owned(), prompt.to_owned()]),
            Some(prompt) => args.push(format!("--prompt={prompt}")),
            None => {}
        }
        args
    }

    fn takes(&self) -> Takes {
        Takes { thinking: false, ..Takes::ALL }
    }

    fn chooses_tools(&self) -> bool {
        false
    }

    fn tunables(&self) -> &'static [Tunable] {
        &[
            Tunable {
                name: "max_steps",
                kind: COUNT,
                way: Way::Entry(CONTENT, &["agent", "build", "steps"]),
                doc: "The steps of its agent `build` after which the model is told to end.",
            },
            Tunable {
                name: "reasoning_effort",
                kind: Type::OneOf(&["none", "minimal", "low", "medium", "high", "xhigh"]),
                way: Way::Entry(CONTENT, &["agent", "build", "reasoningEffort"]),
                doc: "How much the model of its agent `build` thinks, at services of the form of OpenAI.",
            },
            Tunable {
                name: "temperature",
                kind: Type::UpTo(2),
                way: Way::Entry(CONTENT, &["agent", "build", "temperature"]),
                doc: "How freely its agent `build` chooses words.",
            },
            Tunable {
                name: "top_p",
                kind: Type::UpTo(1),
                way: Way::Entry(CONTENT, &["agent", "build", "top_p"]),
                doc: "From which part of the likely words its agent `build` chooses.",
            },
            Tunable {
                name: "variant",
                kind: Type::Text,
                way: Way::Flag("--variant"),
                doc: "The variant of the model, such as `high`, in a headless run.",
            },
        ]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
            ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
            // The list of models that it was built with serves.
            ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
            ("OPENCODE_DISABLE_SHARE", "1"),
        ]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_BASE_URL",
            "AWS_ACCESS_KEY_ID",
            "AWS_BEARER_TOKEN_BEDROCK",
            "AWS_PROFILE",
            "AWS_REGION",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AZURE_API_KEY",
            "AZURE_RESOURCE_NAME",
            "CEREBRAS_API_KEY",
            "CLOUDFLARE_ACCOUNT_ID",
            "CLOUDFLARE_API_TOKEN",
            "CLOUDFLARE_GATEWAY_ID",
            "DEEPSEEK_API_KEY",
            "GEMINI_API_KEY",
            "GITHUB_TOKEN",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_CLOUD_LOCATION",
            "GOOGLE_CLOUD_PROJECT",
            "GOOGLE_GENERATIVE_AI_API_KEY",
            "GROQ_API_KEY",
            "HF_TOKEN",
            "MISTRAL_API_KEY",
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "OPENCODE_API_KEY",
            "OPENCODE_PERMISSION",
            "OPENROUTER_API_KEY",
            "TOGETHER_API_KEY",
            "XAI_API_KEY",
        ]
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths and host ports, and marks of a session around this one.
        &[
            "OPENCODE",
            "OPENCODE_CONFIG",
            "OPENCODE_CONFIG_DIR",
            "OPENCODE_DB",
            "OPENCODE_EDITOR_SSE_PORT",
            "OPENCODE_GIT_BASH_PATH",
            "OPENCODE_MODELS_PATH",
            "OPENCODE_PID",
            "OPENCODE_TEST_HOME",
            "OPENCODE_TUI_CONFIG",
        ]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        let trees = |names: [&str; 2]| names.map(|name| copy(name, Shape::Tree, None));
        match kind {
            ImportKind::Auth => vec![Copy {
                from: below(from, DATA, "auth.json"),
                to: ".local/share/opencode/auth.json".to_owned(),
                shape: Shape::File,
                mode: Some(0o600),
            }],
            // They may hold keys.
            ImportKind::Settings => ["opencode.json", "opencode.jsonc", "tui.json"]
                .map(|name| copy(name, Shape::File, Some(0o600)))
                .to_vec(),
            // Each directory has two names.
            ImportKind::Skills => trees(["skill", "skills"]).to_vec(),
            ImportKind::Extensions => trees(["plugin", "plugins"]).to_vec(),
            ImportKind::Prompts => {
                let [one, other] = trees(["command", "commands"]);
                vec![copy("AGENTS.md", Shape::File, None), one, other]
            }
            ImportKind::Roles => trees(["agent", "agents"]).to_vec(),
            // One database holds those of every project.
            ImportKind::Sessions => Vec::new(),
        }
    }

    /// Returns the host of the model's provider: opencode works without a service of its own.
    fn hosts(&self, model: Option<&str>) -> Vec<&str> {
        service::of_model(model).into_iter().collect()
    }

    fn base_urls(&self) -> &'static [&'static str] {
        &["ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"]
    }

    fn settings(&self) -> &'static [Settings] {
        &[
            Settings { file: ".config/opencode/opencode.json", keys: URL_KEYS },
            Settings { file: ".config/opencode/opencode.jsonc", keys: URL_KEYS },
        ]
    }

    fn replaces(&self, name: &str) -> Option<&'static str> {
        let provider = match name {
            "ANTHROPIC_BASE_URL" => "anthropic",
            "OPENAI_BASE_URL" => "openai",
            key => key.strip_prefix("provider.")?.strip_suffix(".options.baseURL")?,
        };
        service::of_provider(provider)
    }

    fn mcp(&self, servers: &[Mcp], role: Option<&Role<'_>>) -> McpSetup {
        // Without servers and a role, it takes away earlier ones.
        let servers: serde_json::Map<String, Value> = servers
            .iter()
            .map(|server| {
                let command: Vec<&String> = std::iter::once(&server.command).chain(&server.args).collect();
                (server.name.clone(), json!({ "type": "local", "command": command }))
            })
            .collect();
        let mut content = json!({ "mcp": servers });
        if let Some(role) = role {
            content["instructions"] = json!([role.file]);
            let closed = role.closed(TOOLS).into_iter().map(|tool| (tool.to_owned(), Value::Bool(false)));
            content["tools"] = Value::Object(closed.collect());
        }
        McpSetup::File(GeneratedFile { path: OWN.to_owned(), content: format!("{content}\n") })
    }

    fn registers(&self, servers: &[Server<'_>], _: Option<&str>) -> Option<GeneratedFile> {
        let entry = |server: &Server<'_>| match server.how {
            How::Command { command, args } => {
                let words: Vec<&str> =
                    std::iter::once(command).chain(args.iter().map(String::as_str)).collect();
                json!({ "type": "local", "command": words })
            }
            How::Http(url) | How::Sse(url) => json!({ "type": "remote", "url": url }),
        };
        let servers: serde_json::Map<String, Value> =
            servers.iter().map(|server| (server.name.to_owned(), entry(server))).collect();
        let content = format!("{}\n", json!({ "mcp": servers }));
        Some(GeneratedFile { path: OWN.to_owned(), content })
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".config/opencode/skills")
    }

    fn logs(&self) -> Vec<&str> {
        // Sessions are rows of this, which `opencode export` prints.
        vec![".local/share/opencode/opencode.db"]
    }

    fn converter(&self) -> Option<&'static dyn Converter> {
        Some(&log::Log)
    }

    /// Reads the last step of `run --format json`; it can end with exit code 0 after an error.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        let events = stdout.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ends = ["step_start", "step_finish", "error"];
        let Some(last) = events.into_iter().find(|event| ends.iter().any(|end| event["type"] == *end)) else {
            return Verdict::Unknown;
        };
        if last["type"] == "error" {
            let said = [&last["error"]["data"]["message"], &last["error"]["name"]];
            let reason = said.iter().find_map(|value| value.as_str()).unwrap_or("no reason given");
            return Verdict::Failed { reason: reason.to_owned() };
        }
        match last["part"]["reason"].as_str() {
            Some("stop") if exit == 0 => Verdict::Finished,
            Some("stop") => Verdict::Failed { reason: format!("exit code {exit}") },
            // It stopped in the middle of its work: killed, or cut.
            _ => Verdict::Unknown,
        }
    }

    fn cost(&self, stdout: &str) -> Option<f64> {
        super::sum(stdout, |event| {
            (event["type"] == "step_finish").then(|| event["part"]["cost"].as_f64()).flatten()
        })
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
        let model = Some("openai/gpt-5");
        let agent = words(&["--agent", "build"]);
        let variant = words(&["--variant=high", "--agent=plan"]);
        let login = words(&["providers", "login"]);
        let own = words(&["run", "--format", "default", "do it"]);
        let headless = Mode::Headless { prompt: Some("--help me") };
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (
                Request { model, args: &agent, ..Request::default() },
                &["--model=openai/gpt-5", "--agent", "build"],
            ),
            (Request { model, args: &agent, extra: &login, ..Request::default() }, &["providers", "login"]),
            (Request { args: &variant, ..Request::default() }, &["--agent=plan"]),
            (
                Request { mode: headless, args: &variant, ..Request::default() },
                &["run", "--format=json", "--auto", "--variant=high", "--agent=plan", "--", "--help me"],
            ),
            (
                Request { mode: headless, model, args: &agent, ..Request::default() },
                &[
                    "run",
                    "--format=json",
                    "--auto",
                    "--model=openai/gpt-5",
                    "--agent",
                    "build",
                    "--",
                    "--help me",
                ],
            ),
            (
                Request { mode: Mode::Headless { prompt: None }, extra: &own, ..Request::default() },
                &["run", "--auto", "--format", "default", "do it"],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(Opencode.command(&request), words(expected), "{request:?}");
        }
    }

    #[test]
    fn the_model_says_which_host_is_needed() {
        assert_eq!(Opencode.hosts(Some("anthropic/claude-opus-4-7")), ["api.anthropic.com"]);
        assert!(Opencode.hosts(Some("mine/anthropic/m")).is_empty());
        assert!(Opencode.hosts(None).is_empty());
    }

    #[test]
    fn the_login_is_elsewhere_than_the_settings() {
        let root = camino::Utf8Path::new("/p");
        let places = Places { host_cwd: root, inside_cwd: root };
        let copies = Opencode.imports(ImportKind::Auth, None, &places);
        assert_eq!(copies[0].from, "~/.local/share/opencode/auth.json");
        let copies = Opencode.imports(ImportKind::Settings, None, &places);
        assert_eq!(copies[0].from, "~/.config/opencode/opencode.json");
        // pier's own file is never the user's.
        assert!(copies.iter().all(|copy| !copy.to.ends_with("/config.json")), "{copies:?}");
    }

    #[test]
    fn servers_are_in_a_file_of_their_own() {
        let servers = [Mcp { name: "files".into(), command: "npx".into(), args: words(&["-y"]) }];
        let McpSetup::File(file) = Opencode.mcp(&servers, None) else { panic!("no file") };
        assert_eq!(file.content, "{\"mcp\":{\"files\":{\"type\":\"local\",\"command\":[\"npx\",\"-y\"]}}}\n");
    }

    #[test]
    fn the_last_step_decides() {
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        let done = "{\"type\":\"step_start\"}\n{\"type\":\"step_finish\",\"part\":{\"reason\":\"stop\"}}\n";
        assert_eq!(Opencode.verdict(0, done), Verdict::Finished);
        assert_eq!(Opencode.verdict(137, done), failed("exit code 137"));
        let refused = r#"{"type":"error","error":{"name":"APIError","data":{"message":"401"}}}"#;
        assert_eq!(Opencode.verdict(0, &format!("{done}{refused}\n")), failed("401"));
        let cut =
            "{\"type\":\"step_finish\",\"part\":{\"reason\":\"tool-calls\"}}\n{\"type\":\"step_start\"}\n";
        assert_eq!(Opencode.verdict(0, cut), Verdict::Unknown);
        assert_eq!(Opencode.verdict(1, "plain words"), Verdict::Unknown);
    }
}
