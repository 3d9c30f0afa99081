//! The contract between what was asked and what runs: plain data, nothing in it is resolved later.
//!
//! `pier plan --json` prints the very object that a backend executes. Only grants beyond the baseline and
//! non-default values make it grow; field order is the order of printing and never depends on a hash map.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::policy::Grant;
use crate::policy::host::{Budget, HostName, Rule};

mod addresses;
pub mod agents;
mod available;
mod build;
pub mod coordination;
pub mod environment;
pub mod facts;
mod git;
mod grants;
mod guard;
pub mod image;
mod imports;
mod mounts;
mod network;
pub mod nix;
mod owner;
pub mod paths;
mod role;
mod system;
pub mod workspace;

pub use addresses::{Imported, imported, needed as hosts_of};
pub use build::{Front, Target, Task, build};
pub use coordination::{COORDINATION, Coordination, REMOTES};
pub use guard::protected_paths;
pub use mounts::refused_project;
pub use network::{PROXY, problems as network_problems};
pub use paths::expand;
pub use system::BUNDLE;

/// Bumped when a field changes its meaning; a reader refuses a number it does not know.
pub const SCHEMA: u32 = 1;

/// Where pier's own binary is inside, as PID 1.
pub const INIT: &str = "/.pier/init";

/// The copy of pier's own binary in the session's directory, made where the plan mounts it.
pub const INIT_COPY: &str = "init";

/// What one session may see, touch, reach and spend, and what it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub schema: u32,
    pub backend: Backend,
    pub root: RootFilesystem,
    pub project: Project,
    pub user: User,
    pub git: Git,
    #[serde(default)]
    pub gate: GateMode,
    /// In the order in which they are made: parents before children, protection last.
    pub mounts: Vec<Mount>,
    /// Directories that must exist before the mounts are made.
    pub directories: Vec<Directory>,
    /// Copies from the host into the state directory, made before the start.
    pub imports: Vec<Import>,
    /// Files that pier writes below the sandbox home.
    pub seeds: Vec<Seed>,
    pub environment: Vec<Variable>,
    /// Names and places only: a value never enters a plan.
    pub secrets: Vec<Secret>,
    pub network: Network,
    pub ports: Vec<Port>,
    pub limits: Limits,
    /// A container keeps a root beside the sandbox, whom its engine alone can start: for the tests of a task.
    #[serde(default, skip_serializing_if = "is_false")]
    pub judged: bool,
    pub command: Command,
    /// What the agent was narrowed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The coordination repository as the command has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordination: Option<Coordination>,
    /// What needed approval, in canonical form.
    pub grants: Vec<Grant>,
    /// What people should know and nothing forbids.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Counts the mounts that the kernel will have: each costs bubblewrap a look at all others.
    pub fn mount_counts(&self) -> MountCounts {
        // bubblewrap's own root.
        let mut counts = MountCounts { baseline: 1, asked: 0, guarded: 0 };
        for mount in &self.mounts {
            let count = match mount.kind {
                MountKind::Bind { .. }
                | MountKind::Session { .. }
                | MountKind::Tmpfs { .. }
                | MountKind::Hidden { .. }
                | MountKind::Proc => 1,
                // Six devices and the terminals.
                MountKind::Dev => 8,
                MountKind::Directory { .. }
                | MountKind::Symlink { .. }
                | MountKind::File { .. }
                | MountKind::Certificates { .. }
                | MountKind::Seal => 0,
            };
            let inside = mount.at != self.project.at && mount.at.starts_with(&self.project.at);
            if inside && mount.at != self.project.at.join(".git") {
                counts.guarded += count;
            } else if mount.origin == system::BUILT_IN || mount.at == self.project.at {
                counts.baseline += count;
            } else {
                counts.asked += count;
            }
        }
        counts
    }

    /// Follows the links that pier makes inside, such as `/bin`; `None` where they lead in a circle.
    pub fn resolve(&self, inside: &Utf8Path) -> Option<Utf8PathBuf> {
        let mut path = inside.to_owned();
        for _ in 0..8 {
            let link = self.mounts.iter().rev().find_map(|mount| match &mount.kind {
                MountKind::Symlink { to } => {
                    Some((mount.at.parent()?, to, path.strip_prefix(&mount.at).ok()?))
                }
                _ => None,
            });
            let Some((parent, to, rest)) = link.filter(|(_, _, rest)| !rest.as_str().is_empty()) else {
                return Some(path);
            };
            path = paths::clean(&parent.join(to).join(rest));
        }
        None
    }
}

/// Mounts by who wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountCounts {
    /// What every sandbox has.
    pub baseline: usize,
    /// What the file asks for: its mounts, command directories and agents.
    pub asked: usize,
    /// Protected and hidden paths of the project, and the directories that hold them in place.
    pub guarded: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    Bubblewrap,
    Docker,
    /// No sandbox at all: a workspace that was asked to have none.
    None,
}

/// Where `/usr` and its like come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum RootFilesystem {
    /// The host's own `/usr`, read-only.
    Host,
    /// A Nix development shell: `/nix/store` is there, and only the closure can be read or executed.
    Nix {
        flake: String,
        shell: String,
        /// SHA-256 over the files that were evaluated, or over the reference of a remote flake.
        digest: String,
        /// Revisions, or content hashes, of the flake's inputs.
        inputs: BTreeMap<String, String>,
        /// Empty where the shell was not evaluated yet.
        closure: Vec<Utf8PathBuf>,
    },
    /// An image by digest.
    Image {
        reference: String,
        digest: String,
        /// Whose name and files in the image the caller has; `None` where those have the caller's numbers already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<Owner>,
    },
}

/// A user of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub name: String,
    /// Canonical path on the host.
    pub root: Utf8PathBuf,
    /// Where it is inside.
    pub at: Utf8PathBuf,
    /// The first 16 hex digits of the SHA-256 of the canonical root.
    pub hash: String,
    /// State directory of this project on the host.
    pub state: Utf8PathBuf,
    /// The sandbox home is the session's own and not the one in `state`.
    pub ephemeral: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The kernel's user and group on the host, and the same numbers inside.
    pub uid: u32,
    pub gid: u32,
    pub name: String,
    pub home: Utf8PathBuf,
    pub shell: Utf8PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Git {
    pub mode: GitMode,
    /// The git directory of the project on the host; `None` where it is no repository.
    pub directory: Option<Utf8PathBuf>,
    /// The common directory, where a worktree shares one.
    pub common: Option<Utf8PathBuf>,
    /// How the private git directory is made, in [`GitMode::Shadow`].
    pub shadow: Option<Shadow>,
}

/// A private git directory, which the session makes below its own, and what becomes of the commits in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    pub merge: Merge,
    /// The project is a private working tree of `HEAD`, below the session's directory too.
    pub clone: bool,
    /// The branch that the clone is on, where it is not that of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Where the private git directory is inside: `.git` itself, or the place that a `.git` file names.
    pub at: Utf8PathBuf,
    /// Places of the host's object directories inside: the repository's own first.
    pub objects: Vec<Utf8PathBuf>,
    /// Git directories of submodules: seen read-only.
    pub modules: Vec<Module>,
    /// Where something is hidden: objects come from a store without its contents, and not from the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filtered: Option<Filtered>,
}

/// Objects of the repository without the contents of hidden files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filtered {
    /// Those of `hide`.
    pub patterns: Vec<String>,
    /// The directory of the store on the host; what the sandbox sees of it is [`OBJECTS_OF_STORE`].
    pub place: Utf8PathBuf,
    /// Submodules are not shown, for a pattern may match in them.
    pub no_modules: bool,
}

/// The objects in a store of [`Filtered`].
pub const OBJECTS_OF_STORE: &str = "objects";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Relative to the repository's directory, and to the private one.
    pub directory: Utf8PathBuf,
    /// Where it is checked out inside.
    pub tree: Option<Utf8PathBuf>,
}

/// What happens to commits when the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Merge {
    /// Branches that nobody has moved meanwhile follow.
    Auto,
    /// The same, after a yes at the terminal.
    Ask,
    /// Nothing follows before `pier merge`.
    Manual,
}

/// Names below the directory of a session, for [`MountKind::Session`].
pub mod session {
    /// The private git directory.
    pub const GIT: &str = "git";
    /// The file that leads to it, where the project has a `.git` file.
    pub const GIT_FILE: &str = "git-file";
    /// An empty file: over the alternates of object directories, whose paths mean nothing inside.
    pub const EMPTY: &str = "empty";
    /// Configurations of submodules by number, and beside each the `.git` file that leads to it.
    pub const MODULES: &str = "modules";
    /// The private working tree of a clone.
    pub const TREE: &str = "tree";
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GitMode {
    None,
    Shadow,
    Readonly,
    Direct,
}

/// What happens at the end to new and changed files that programs of the host execute or obey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateMode {
    /// They are listed.
    #[default]
    Report,
    /// They are moved out of the project.
    Quarantine,
    /// A session that leaves some ends with exit code 1.
    Block,
}

/// One thing in the sandbox's file tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub at: Utf8PathBuf,
    #[serde(flatten)]
    pub kind: MountKind,
    /// Who asked for it: `built-in`, or `pier.kdl:9`.
    pub origin: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum MountKind {
    Bind {
        source: Utf8PathBuf,
        access: Access,
        expect: Option<Identity>,
    },
    /// A directory or file that the session makes below its own on the host, and removes afterwards.
    Session {
        name: Utf8PathBuf,
        access: Access,
    },
    Tmpfs {
        size: Option<u64>,
        mode: u32,
    },
    /// An empty file or directory, read-only, over one of the project.
    Hidden {
        directory: bool,
    },
    Proc,
    Dev,
    Directory {
        mode: u32,
    },
    Symlink {
        to: Utf8PathBuf,
    },
    /// A generated file, read-only.
    File {
        content: String,
    },
    /// What is believed inside: the host's certificates and the authority of the session.
    Certificates {
        form: CertificateForm,
    },
    /// Makes a mount that is already there read-only.
    Seal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateForm {
    Pem,
    /// A key store of Java.
    Java,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// What a mount source was when the plan was made; a swapped source has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub dev: u64,
    pub ino: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Relative to the state directory of the project, or to the session's own.
    pub path: Utf8PathBuf,
    pub mode: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    pub from: Utf8PathBuf,
    /// Relative to the sandbox home.
    pub to: Utf8PathBuf,
    pub rule: ImportRule,
    pub kind: ImportKind,
    /// Mode of the copied file; `None` keeps the source's.
    pub mode: Option<u32>,
    pub origin: String,
}

/// A generated file of the sandbox home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// Relative to the sandbox home.
    pub path: Utf8PathBuf,
    pub content: String,
    pub rule: ImportRule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportRule {
    /// Replaced at each start.
    Always,
    /// Copied where the destination is not there.
    Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportKind {
    File,
    Tree,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    pub name: String,
    /// `None`: taken from the host's environment, or a file, at the start; such values never enter a plan.
    pub value: Option<String>,
    pub origin: String,
}

impl Plan {
    /// Returns the variables with their values, those out of `given` where the plan has only a name.
    pub fn variables(&self, given: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let value = |variable: &Variable| {
            let value = variable.value.as_ref().or_else(|| given.get(&variable.name))?;
            Some((variable.name.clone(), value.clone()))
        };
        self.environment.iter().filter_map(value).collect()
    }

    /// Returns what the sandbox can write of the host: everything there may be an agent's work.
    pub fn written(&self) -> Vec<Utf8PathBuf> {
        let mounted = self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Bind { source, access: Access::ReadWrite, .. } => Some(source.clone()),
            _ => None,
        });
        mounted.chain([self.project.root.clone(), self.project.state.clone()]).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// The variable that holds a placeholder inside.
    pub name: String,
    pub host: HostName,
    pub port: u16,
    /// Where the value is: `env:NAME`, `file:PATH` with an absolute path, `cmd:COMMAND`, `keyring:NAME`.
    pub from: String,
    /// The header that always carries it; without, it takes the placeholder's place wherever that is sent.
    pub header: Option<String>,
    /// The header's value around `{}`.
    pub format: String,
    /// The only methods that it goes along with; every one if there are none.
    pub methods: Vec<String>,
    pub origin: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub mode: NetworkMode,
    pub gateway: Option<Gateway>,
    pub origin: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    None,
    Allowlist,
    /// The engine's own network: what a workspace has that asks for nothing else.
    Bridge,
    Host,
}

/// The rules a gateway decides by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    pub rules: Vec<Rule>,
    pub budgets: Vec<Budget>,
    /// What is listened to inside: the web, and what a rule names.
    pub ports: Vec<u16>,
    pub upstream: Option<Upstream>,
    /// The bundle of certificates on the host that servers are believed by.
    pub roots: Option<Utf8PathBuf>,
}

impl Plan {
    /// Says whether something of pier's is in the network of the sandbox: a gateway, or what publishes ports. An engine
    /// publishes those of its own networks itself.
    pub fn is_joined(&self) -> bool {
        let published = !self.ports.is_empty() && self.network.mode != NetworkMode::Bridge;
        self.network.mode == NetworkMode::Allowlist || published
    }
}

/// The proxy that takes allowed connections out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    pub host: String,
    pub port: u16,
    /// Where `USER:PASSWORD` for it is: as [`Secret::from`].
    pub login: Option<String>,
    pub origin: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub listen: String,
    pub to: u16,
    pub origin: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Caps in bytes, processors, processes and seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub memory: Option<Cap<u64>>,
    pub cpus: Option<Cap<f64>>,
    pub pids: Option<Cap<u64>>,
    pub wall: Option<u64>,
    pub minimum_tier: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap<T> {
    pub at_most: T,
    /// A host that cannot hold it does not start the session.
    pub required: bool,
}

/// The role that an agent has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub name: String,
    /// The project cannot be written to.
    pub only_reads: bool,
    /// The only tools.
    pub tools: Option<Vec<String>>,
    /// The file that says so, or the line of `pier.kdl`.
    pub origin: String,
}

/// What runs as the child of pier's own PID 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub argv: Vec<String>,
    pub cwd: Utf8PathBuf,
    pub agent: Option<Agent>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    pub name: String,
    pub version: Option<String>,
    /// The launcher on the host that `argv` starts.
    pub launcher: Utf8PathBuf,
    /// Of one that a file declares: patterns of its logs, relative to the home.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
}
