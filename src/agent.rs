//! How each coding agent is installed, started, configured and read: pure data and functions, no I/O.
//!
//! One file an agent and one line in [`ALL`]. An agent that pier has no file for is [`custom::Custom`].

use camino::Utf8Path;

use crate::config::{self, ImportKind, Mcp};

mod aider;
mod antigravity_sdk;
mod chat;
mod claude_code;
mod cline;
mod codex;
mod copilot_cli;
mod cursor_cli;
mod custom;
pub mod detect;
mod devin;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gemini_cli;
mod genai;
mod goose;
mod hermes;
mod install;
mod kimi_cli;
pub mod layout;
pub mod log;
mod mcp;
mod mini_swe_agent;
mod mode;
mod names;
mod nop;
mod of_trial;
mod opencode;
mod openhands;
mod oracle;
mod pi;
mod qwen_coder;
pub mod service;
pub mod tuning;
mod words;

pub use custom::{Custom, DECLARED};
pub use install::{Install, Npm, Pypi, Scripts};
pub use mode::Mode;
pub use names::is_known;
pub use of_trial::of_trial;
use service::Settings;
use tuning::Tunable;
use words::{has_flag, taken};

/// The agents that pier knows, in alphabetical order.
pub static ALL: &[&dyn Agent] = &[
    &aider::Aider,
    &antigravity_sdk::AntigravitySdk,
    &claude_code::ClaudeCode,
    &cline::Cline,
    &codex::Codex,
    &copilot_cli::CopilotCli,
    &cursor_cli::CursorCli,
    &devin::Devin,
    &gemini_cli::GeminiCli,
    &goose::Goose,
    &hermes::Hermes,
    &kimi_cli::KimiCli,
    &mini_swe_agent::MiniSweAgent,
    &opencode::Opencode,
    &openhands::Openhands,
    &pi::Pi,
    &qwen_coder::QwenCoder,
];

/// Everything pier knows about one agent.
pub trait Agent: Sync {
    /// Returns the name in `pier.kdl`.
    fn name(&self) -> &str;

    /// Returns what its launcher may be called on `PATH`, best first.
    fn launchers(&self) -> Vec<&str>;

    fn install(&self) -> Install;

    /// Says whether the user's words after `--` ask for one prompt without a person.
    fn is_headless(&self, words: &[String]) -> bool {
        words.iter().any(|word| word == "-p" || word == "--print")
    }

    /// Returns the arguments after the program.
    fn command(&self, request: &Request<'_>) -> Vec<String>;

    /// Returns the settings that it takes by name, in alphabetical order.
    fn tunables(&self) -> &'static [Tunable] {
        &[]
    }

    /// Returns the variable by which it is told its model, where no argument says it.
    fn model_variable(&self) -> Option<&'static str> {
        None
    }

    /// Says whether it can be told which tools it has; where not, `tools` in its block is an error.
    fn chooses_tools(&self) -> bool {
        true
    }

    /// Returns the flags by which its tools are chosen, in all their spellings.
    fn tool_flags(&self) -> &'static [&'static str] {
        &[]
    }

    /// Says what of a role it can be given, besides its tools.
    fn takes(&self) -> Takes {
        Takes::default()
    }

    /// Says whether it loads the Pi package of roles.
    fn loads_roles(&self) -> bool {
        false
    }

    /// Returns the only provider whose models it has, as roles name it.
    fn vendor(&self) -> Option<&'static str> {
        None
    }

    /// Returns variables that are set in every session: telemetry and updaters off. Anything the user sets or
    /// passes comes later and wins. `~/` in front of a value is the home inside.
    fn environment(&self) -> &'static [(&'static str, &'static str)];

    /// Returns names that the agent reads and that may be offered to it: keys, addresses, choices of a model.
    /// Reading is not a permission: whether one is passed is up to the policy.
    fn reads(&self) -> &'static [&'static str];

    /// Returns names that must not enter by accident: they hold host paths, or mark a nested session.
    fn refuses(&self) -> &'static [&'static str];

    /// Returns what to copy from the host for one kind of import; empty where the agent has no such thing.
    /// `from` is the directory that `pier.kdl` names in place of the agent's own.
    fn imports(&self, kind: ImportKind, from: Option<&str>, places: &Places<'_>) -> Vec<Copy>;

    /// Returns the host names without which it cannot work with this model, for its own vendor's service.
    fn hosts(&self, model: Option<&str>) -> Vec<&str>;

    /// Returns variables that hold base URLs: where one leads is reached as well.
    fn base_urls(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns files among its imports that hold base URLs.
    fn settings(&self) -> &'static [Settings] {
        &[]
    }

    /// Returns which of [`Agent::hosts`] it leaves alone once `name`, a variable or a key of its settings, holds a
    /// base URL.
    fn replaces(&self, name: &str) -> Option<&'static str> {
        let _ = name;
        None
    }

    /// Says how the agent is told of MCP servers, and of a role where it reads that in the same file.
    fn mcp(&self, servers: &[Mcp], role: Option<&Role<'_>>) -> McpSetup;

    /// Returns a file of its own for the instructions of a role, where it reads none from elsewhere.
    fn role_file(&self, role: &Role<'_>) -> Option<GeneratedFile> {
        let _ = role;
        None
    }

    /// Returns the file below the home by which servers are there at every start, whoever calls the agent; `now` is what it
    /// holds, which stays. `None` where the agent has no MCP client.
    fn registers(&self, servers: &[Server<'_>], now: Option<&str>) -> Option<GeneratedFile> {
        let _ = (servers, now);
        None
    }

    /// Returns where skills go, relative to the sandbox home.
    fn skills_dir(&self) -> Option<&'static str>;

    /// Returns files that are written once, where they are missing, so that the first start asks nothing.
    fn seeds(&self) -> Vec<GeneratedFile> {
        Vec::new()
    }

    /// Returns glob patterns of its own logs, relative to the sandbox home.
    fn logs(&self) -> Vec<&str>;

    /// Returns what reads those logs; `None` where nothing does.
    fn converter(&self) -> Option<&'static dyn log::Converter> {
        None
    }

    /// Says how a headless run ended. The exit code alone proves nothing: several agents exit 0 when the model
    /// refused every request.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict;

    /// Returns what a headless run cost, in US dollars; `None` where its output does not say it.
    fn cost(&self, stdout: &str) -> Option<f64> {
        let _ = stdout;
        None
    }

    /// Says whether the output of a headless run says what it cost.
    fn tells_cost(&self) -> bool {
        false
    }
}

/// Returns the value of one of [`Agent::environment`] for this home.
pub fn at_home(value: &str, home: &Utf8Path) -> String {
    value.strip_prefix("~/").map_or_else(|| value.to_owned(), |below| home.join(below).into_string())
}

/// One start of an agent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    pub mode: Mode<'a>,
    /// The working directory, as the agent sees it.
    pub cwd: &'a str,
    /// `provider/name`, or what the agent itself accepts.
    pub model: Option<&'a str>,
    /// The names of `pier.kdl` (`read`, `bash`, ..); `None` leaves the choice to the agent.
    pub tools: Option<&'a [String]>,
    pub role: Option<&'a Role<'a>>,
    pub mcp: &'a [Mcp],
    /// `args` of `pier.kdl`.
    pub args: &'a [String],
    /// What the user wrote after `--`.
    pub extra: &'a [String],
}

/// What an agent is told of its role.
#[derive(Clone, Copy, Debug)]
pub struct Role<'a> {
    pub instructions: &'a str,
    /// The whole role as a file, inside.
    pub file: &'a str,
    /// `off`, `minimal`, `low`, `medium`, `high` or `xhigh`.
    pub thinking: Option<&'a str>,
    /// The names of `pier.kdl`.
    pub tools: Option<&'a [String]>,
}

/// The parts of a role that an agent can be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    pub instructions: bool,
    pub thinking: bool,
    pub model: bool,
    /// Those that it has not are closed for it.
    pub tools: bool,
}

impl Takes {
    pub const ALL: Takes = Takes { instructions: true, thinking: true, model: true, tools: true };
}

impl Role<'_> {
    /// Returns an agent's own names of tools that the role does not have; `names` has ours and theirs.
    fn closed<'a>(&self, names: &'a [(&'a str, &'a str)]) -> Vec<&'a str> {
        let Some(tools) = self.tools else { return Vec::new() };
        let has = |name: &str| tools.iter().any(|tool| tool == name);
        names.iter().filter(|(ours, _)| !has(ours)).map(|(_, theirs)| *theirs).collect()
    }
}

/// Where the Pi package of roles is inside.
pub const ROLE_MANAGER: &str = "/.pier/role-manager";

/// The tool by which a role ends its cycle; a list of tools that leaves it out makes every cycle end in prose.
pub const CYCLE_DONE: &str = "role_cycle_done";

/// What imports of sessions depend on: agents keep them in a directory named after the working directory.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The canonical working directory on the host.
    pub host_cwd: &'a Utf8Path,
    /// The same directory as the agent sees it.
    pub inside_cwd: &'a Utf8Path,
}

/// One copy from the host into the sandbox home; a source that is not there is skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// As in `pier.kdl`: `~/..` or what the user wrote.
    pub from: String,
    /// Relative to the sandbox home.
    pub to: String,
    pub shape: Shape,
    /// Of the copied file; `None` keeps the source's.
    pub mode: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    File,
    Tree,
}

/// A file that pier writes for the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Relative to the sandbox home.
    pub path: String,
    pub content: String,
}

/// An MCP server of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server<'a> {
    pub name: &'a str,
    pub how: How<'a>,
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How<'a> {
    /// It is started, and spoken to by its streams.
    Command {
        command: &'a str,
        args: &'a [String],
    },
    Http(&'a str),
    Sse(&'a str),
}

/// How MCP servers reach an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum McpSetup {
    /// By the arguments that [`Agent::command`] makes: nothing is written.
    Arguments,
    /// By a file that is pier's own, written at each start.
    File(GeneratedFile),
    /// The agent has no MCP client: `mcp` in its block is an error of the configuration.
    Unsupported,
}

/// Returns the sum of one number of the events that have it; `None` where none has.
fn sum(stdout: &str, number: impl Fn(&serde_json::Value) -> Option<f64>) -> Option<f64> {
    let events = stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let amounts =
        events.filter_map(|event| number(&event)).filter(|amount| amount.is_finite() && *amount >= 0.0);
    amounts.fold(None, |sum, amount| Some(sum.unwrap_or(0.0) + amount))
}

/// What became of a headless run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The agent itself says that it finished.
    Finished,
    /// The agent reported a failure, in its own words.
    Failed { reason: String },
    /// Nothing it wrote proves either; also where reading its output is not implemented.
    Unknown,
}

/// An agent that is neither built in nor has a `run` line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", names::unknown(name))]
pub struct UnknownAgent {
    pub name: String,
    /// The known name that is spelled most like it.
    pub nearest: Option<&'static str>,
}

/// Other names by which an agent is known, as good as its own.
const ALSO: &[(&str, &str)] = &[("qwen-code", "qwen-coder")];

/// Returns the built-in agent of that name.
pub fn find(name: &str) -> Result<&'static dyn Agent, UnknownAgent> {
    let own = ALSO.iter().find(|(other, _)| *other == name).map_or(name, |(_, own)| own);
    ALL.iter()
        .find(|agent| agent.name() == own)
        .copied()
        .ok_or_else(|| UnknownAgent { name: name.to_owned(), nearest: names::nearest(name) })
}

/// What answers for one `agent` block.
pub enum Chosen<'a> {
    BuiltIn(&'static dyn Agent),
    Custom(Custom<'a>),
}

impl<'a> std::ops::Deref for Chosen<'a> {
    type Target = dyn Agent + 'a;

    fn deref(&self) -> &Self::Target {
        match self {
            Chosen::BuiltIn(agent) => *agent,
            Chosen::Custom(agent) => agent,
        }
    }
}

/// Returns what answers for one `agent` block: its `run` line where it has one, else the built-in agent.
pub fn of(config: &config::Agent) -> Result<Chosen<'_>, UnknownAgent> {
    match Custom::new(config) {
        Some(custom) => Ok(Chosen::Custom(custom)),
        None => find(&config.name.value).map(Chosen::BuiltIn),
    }
}

/// The version of an agent that is taken where nobody names one: one that pier was checked against.
const CHECKED: &[(&str, &str)] = &[
    ("aider", "0.86.2"),
    ("claude-code", "2.1.197"),
    ("cline", "3.0.65"),
    ("codex", "0.169.0"),
    ("copilot-cli", "1.0.102"),
    ("gemini-cli", "0.61.0"),
    ("hermes", "0.19.0"),
    ("kimi-cli", "1.50.0"),
    ("mini-swe-agent", "2.4.6"),
    ("opencode", "1.18.33"),
    ("openhands", "1.16.0"),
    ("pi", "0.74.2"),
    ("qwen-coder", "0.15.10"),
];

/// Returns the version of an agent that pier was checked against.
pub fn checked(name: &str) -> Option<&'static str> {
    CHECKED.iter().find(|(known, _)| *known == name).map(|(_, version)| *version)
}

/// The names of the built-in agents, as they are printed.
pub fn known() -> String {
    let names: Vec<String> = ALL.iter().map(|agent| format!("`{}`", agent.name())).collect();
    names.join(", ")
}

impl Copy {
    /// Of a file or a tree in the agent's own directory, `home` below `~`, to the same place inside.
    fn below(from: Option<&str>, home: &str, name: &str, shape: Shape, mode: Option<u32>) -> Self {
        let to = format!("{}/{name}", home.trim_start_matches("~/"));
        Copy { from: below(from, home, name), to, shape, mode }
    }
}

/// Joins the user's directory, or the agent's own, and a name below it.
fn below(from: Option<&str>, own: &str, name: &str) -> String {
    format!("{}/{name}", from.unwrap_or(own).trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_launchers_are_distinct_and_sorted() {
        let names: Vec<&str> = ALL.iter().map(|agent| agent.name()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
        for agent in ALL {
            assert!(!agent.launchers().is_empty());
            assert_eq!(find(agent.name()).unwrap().name(), agent.name());
        }
    }

    #[test]
    fn every_agent_takes_a_prompt_in_every_way() {
        let prompt = "-mend it: \"now\"";
        for agent in ALL {
            let command = |mode| agent.command(&Request { mode, ..Request::default() });
            let opened = command(Mode::Opened { prompt });
            let text = command(Mode::Text { prompt });
            let events = command(Mode::Headless { prompt: Some(prompt) });
            for words in [&opened, &text, &events] {
                let holding: Vec<&String> = words.iter().filter(|word| word.contains(prompt)).collect();
                assert_eq!(holding.len(), 1, "{words:?}");
                // Not one that it takes for a flag.
                let is_plain = words.iter().any(|word| word == "--") || !holding[0].starts_with("-m");
                assert!(is_plain, "{words:?}");
            }
            // A library knows one way; what prints for people prints the same for programs.
            let (one_way, one_output) = (
                agent.name() == "antigravity-sdk",
                ["devin", "hermes", "mini-swe-agent"].contains(&agent.name()),
            );
            assert!(opened != text && opened != events || one_way, "{}", agent.name());
            assert!(text != events || one_way || one_output, "{}", agent.name());
        }
    }

    #[test]
    fn servers_are_registered_beside_what_is_there() {
        let args = ["-y".to_owned(), "a \"b\"".to_owned()];
        let servers = [
            Server { name: "files", how: How::Command { command: "npx", args: &args } },
            Server { name: "web", how: How::Http("http://tools:8000/mcp") },
            Server { name: "old", how: How::Sse("http://tools:8000/sse") },
        ];
        for agent in ALL {
            let Some(fresh) = agent.registers(&servers, None) else {
                assert!(
                    ["aider", "antigravity-sdk", "goose", "hermes", "mini-swe-agent", "pi"]
                        .contains(&agent.name()),
                    "{}",
                    agent.name()
                );
                continue;
            };
            for name in ["files", "web", "old", "http://tools:8000/mcp"] {
                assert!(fresh.content.contains(name), "{}: {}", agent.name(), fresh.content);
            }
            let again = agent.registers(&servers, Some(&fresh.content)).unwrap();
            assert_eq!(again.content, fresh.content, "{}", agent.name());
            // What makes no sense is not lost by guessing: it is written anew.
            assert!(agent.registers(&servers, Some("{ broken")).unwrap().content.contains("files"));
        }
        let mine = r#"{ "mine": 1, "mcpServers": { "own": { "command": "own" } } }"#;
        let claude = find("claude-code").unwrap().registers(&servers, Some(mine)).unwrap().content;
        assert!(claude.contains("\"mine\"") && claude.contains("\"own\""), "{claude}");
        let mine = "# mine\nmodel = \"m\"\n[mcp_servers.web]\nurl = \"mine\"\n";
        let codex = find("codex").unwrap().registers(&servers, Some(mine)).unwrap().content;
        assert!(codex.starts_with(mine) && !codex.contains("tools:8000/mcp"), "{codex}");
        toml::de::DeTable::parse(&codex).unwrap();
    }

    #[test]
    fn an_unknown_agent_is_answered_with_the_nearest_name() {
        assert!(known().starts_with("`aider`, `antigravity-sdk`, `claude-code`, "));
        let nearest = |name| find(name).err().unwrap().nearest;
        assert_eq!(nearest("claude"), Some("claude-code"));
        assert_eq!(nearest("claude_code"), Some("claude-code"));
        assert_eq!(nearest("clade-code"), Some("claude-code"));
        assert_eq!(nearest("qwen"), Some("qwen-coder"));
        assert_eq!(find("qwen-code").unwrap().name(), "qwen-coder");
        assert_eq!(nearest("zzz"), None);
        assert_eq!(
            find("zzz").err().unwrap().to_string(),
            format!(
                "cannot find the agent `zzz`: pier knows {}, and a custom one needs a `run` line",
                known()
            )
        );
    }

    #[test]
    fn every_copy_stays_below_the_home_and_every_login_is_private() {
        let kinds = [
            ImportKind::Auth,
            ImportKind::Settings,
            ImportKind::Skills,
            ImportKind::Sessions,
            ImportKind::Extensions,
            ImportKind::Prompts,
            ImportKind::Roles,
        ];
        let places =
            Places { host_cwd: Utf8Path::new("/home/u/app"), inside_cwd: Utf8Path::new("/workspace") };
        for agent in ALL {
            for kind in kinds {
                for copy in agent.imports(kind, None, &places) {
                    assert!(copy.from.starts_with("~/"), "{copy:?}");
                    assert!(!copy.to.starts_with('/') && !copy.to.contains(".."), "{copy:?}");
                    if kind == ImportKind::Auth {
                        assert_eq!(copy.mode, Some(0o600), "{copy:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_an_agent_refuses_it_neither_reads_nor_sets() {
        for agent in ALL {
            for name in agent.refuses() {
                assert!(!agent.reads().contains(name), "{name}");
                assert!(!agent.environment().iter().any(|(set, _)| set == name), "{name}");
            }
            let mut reads = agent.reads().to_vec();
            reads.sort_unstable();
            reads.dedup();
            assert_eq!(reads.len(), agent.reads().len(), "a name of `{}` is there twice", agent.name());
        }
    }
}
