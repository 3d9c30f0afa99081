//! The typed configuration: what `pier.kdl` and the layers around it say.
//!
//! Layers are decoded one after the other into one [`Config`]: a later one replaces single values and
//! adds to lists. Every value keeps its [`Origin`], so that `pier explain` can name the line.

use std::collections::BTreeMap;
use std::time::Duration;

pub mod built_in;
pub mod check;
mod codes;
pub mod conflicts;
pub mod decode;
pub mod edit;
pub mod format;
pub mod knobs;
pub mod layers;
pub mod overlay;
pub mod path;
pub mod reference;
pub mod schema;
pub mod syntax;
pub mod tokens;
pub mod values;

use kdl::KdlValue;

use crate::diag::Span;

/// Where a value came from, lowest precedence first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    BuiltIn,
    /// `/etc/pier/policy.kdl`: also a ceiling for all below.
    Policy,
    User,
    Project,
    /// `pier.local.kdl`, not committed.
    Local,
    Profile,
    Environment,
    Flag,
}

/// The layer of a value, and the place in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub layer: Layer,
    /// `None` for built-in values.
    pub span: Option<Span>,
}

impl Origin {
    pub const BUILT_IN: Origin = Origin { layer: Layer::BuiltIn, span: None };

    /// Says whether a value came with the repository, and so from somebody who is not the user.
    pub fn is_of_repository(&self) -> bool {
        matches!(self.layer, Layer::Project | Layer::Local | Layer::Profile)
    }
}

/// A value that knows where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced<T> {
    pub value: T,
    pub origin: Origin,
}

impl<T> Sourced<T> {
    pub fn built_in(value: T) -> Self {
        Sourced { value, origin: Origin::BUILT_IN }
    }
}

/// Everything a command needs to know; paths are as written (`~` and relative forms included).
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub project: Option<Sourced<Project>>,
    pub runtime: Sourced<Runtime>,
    pub workspace: Workspace,
    pub home: Home,
    pub mounts: Vec<Sourced<Mount>>,
    pub env: Env,
    pub network: Network,
    pub ports: Vec<Sourced<Port>>,
    pub limits: Limits,
    pub budget: Budget,
    /// In order of first mention; a later layer adds to an agent of the same name.
    pub agents: Vec<Agent>,
    pub roles: Vec<Role>,
    pub coordination: Coordination,
}

impl Config {
    /// Returns the agent that is started when none is named: the marked one, or the only one.
    pub fn default_agent(&self) -> Option<&Agent> {
        let only = if let [only] = self.agents.as_slice() { Some(only) } else { None };
        self.agents.iter().find(|agent| agent.default.value).or(only)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    pub name: String,
    pub key: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runtime {
    Auto,
    Host { paths: Vec<Sourced<String>> },
    Nix { flake: Option<String>, shell: Option<String>, pass: Vec<String> },
    Container(Container),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub image: Option<String>,
    pub build: Option<Build>,
    pub user: Option<String>,
    pub engine: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    pub file: String,
    pub context: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    pub at: Sourced<String>,
    pub root: Sourced<Root>,
    pub git: Sourced<Git>,
    pub clone: Sourced<bool>,
    pub readonly: Vec<Sourced<String>>,
    pub hide: Vec<Sourced<String>>,
    pub gate: Sourced<Gate>,
    /// The gate that the user's own files asked for, where the repository's replaced it.
    pub own_gate: Option<Sourced<Gate>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    Git,
    Here,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Git {
    Shadow(Merge),
    Readonly,
    Direct,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    Auto,
    Ask,
    Manual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Report,
    Quarantine,
    Block,
}

impl Gate {
    pub fn word(self) -> &'static str {
        match self {
            Gate::Report => "report",
            Gate::Quarantine => "quarantine",
            Gate::Block => "block",
        }
    }

    /// Says whether somebody who asked for this gate gets less than that from another one.
    ///
    /// `quarantine` and `block` are not ordered: one moves files and ends well, the other leaves them and fails.
    pub fn is_loosened_by(self, other: Gate) -> bool {
        self != Gate::Report && self != other
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    pub keep: Sourced<Keep>,
    /// State directory outside the project.
    pub state: Option<Sourced<String>>,
    pub imports: Vec<Sourced<HomeImport>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Persistent,
    Ephemeral,
}

/// `import git-config sync="always" from="~/.gitconfig"` in `home`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeImport {
    /// `git-config` is the only one there is.
    pub what: String,
    pub sync: Sync,
    pub from: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    Always,
    Missing,
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    Bind { source: String, at: Option<String>, access: Access },
    Tmpfs { at: String, size: Option<u64> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    pub pass: Vec<Sourced<String>>,
    pub set: BTreeMap<String, Sourced<String>>,
    pub files: Vec<Sourced<String>>,
    pub secrets: Vec<Sourced<Secret>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub name: String,
    pub host: String,
    /// 443 if it is not said.
    pub port: u16,
    /// `env:NAME`, `file:PATH`, `cmd:COMMAND` or `keyring:NAME`; checked on decoding.
    pub from: String,
    pub header: Option<String>,
    pub format: Option<String>,
    pub methods: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub mode: Sourced<NetworkMode>,
    pub rules: Vec<Sourced<HostRule>>,
    pub upstream: Option<Sourced<Upstream>>,
    pub bytes: Vec<Sourced<ByteBudget>>,
}

/// The proxy that takes allowed connections out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `http://HOST:PORT`; checked on decoding.
    pub url: String,
    /// Where `USER:PASSWORD` is: as [`Secret::from`].
    pub login: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetworkMode {
    None,
    Allowlist,
    Host,
}

/// One `allow` or `deny` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    pub verdict: Verdict,
    pub hosts: Vec<String>,
    pub port: Option<u16>,
    pub methods: Option<String>,
    pub paths: Option<String>,
    pub private: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteBudget {
    pub host: String,
    pub up: Option<u64>,
    pub down: Option<u64>,
    /// At a time.
    pub connections: Option<u64>,
    /// How long a connection may be silent, in seconds.
    pub idle: Option<u64>,
}

/// `port "127.0.0.1:8888" to=8888`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub listen: String,
    pub to: u16,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    pub memory: Option<Sourced<Limit<u64>>>,
    pub cpus: Option<Sourced<Limit<f64>>>,
    pub pids: Option<Sourced<Limit<u64>>>,
    pub wall: Option<Sourced<Duration>>,
    pub minimum_tier: Option<Sourced<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit<T> {
    pub at_most: T,
    /// Refuse to start where the host cannot enforce it.
    pub required: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    /// US dollars a session.
    pub cost: Option<Sourced<f64>>,
    pub tokens: Option<Sourced<u64>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    pub name: Sourced<String>,
    /// Whether `pier up` starts it; at most one agent has it once all layers are applied.
    pub default: Sourced<bool>,
    pub version: Option<Sourced<String>>,
    pub model: Option<Sourced<String>>,
    pub tools: Option<Sourced<Vec<String>>>,
    pub args: Option<Sourced<Vec<String>>>,
    /// By name; what they may be is known to the agent.
    pub settings: BTreeMap<String, Sourced<KdlValue>>,
    pub imports: Vec<Sourced<AgentImport>>,
    pub mcp: Vec<Sourced<Mcp>>,
    pub skills: Vec<Sourced<String>>,
    /// The command of an agent that pier has no adapter for.
    pub run: Option<Sourced<Vec<String>>>,
    /// Where it writes them: patterns below its home.
    pub logs: Vec<Sourced<String>>,
    pub hosts: Vec<Sourced<String>>,
}

impl Agent {
    /// One of which nothing is said but its name.
    pub fn named(name: Sourced<String>) -> Self {
        Agent {
            name,
            default: Sourced::built_in(false),
            version: None,
            model: None,
            tools: None,
            args: None,
            settings: BTreeMap::new(),
            imports: Vec::new(),
            mcp: Vec::new(),
            skills: Vec::new(),
            run: None,
            logs: Vec::new(),
            hosts: Vec::new(),
        }
    }
}

/// `import auth settings sync="always" from="~/.claude"` in `agent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentImport {
    pub what: Vec<ImportKind>,
    pub sync: Sync,
    pub from: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImportKind {
    Auth,
    Settings,
    Skills,
    Sessions,
    Extensions,
    Prompts,
    Roles,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mcp {
    pub name: String,
    pub command: String,
    pub args: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub name: Sourced<String>,
    pub tools: Option<Vec<String>>,
    pub thinking: Option<String>,
    /// With the layer that says so: a repository may name its own files alone.
    pub file: Option<Sourced<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coordination {
    pub remote: Option<Sourced<String>>,
    pub dir: Option<Sourced<String>>,
}
