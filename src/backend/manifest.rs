//! What the init must find inside before it runs anything: made from the plan and the opened mount sources.
//!
//! It reaches the init on a descriptor of its own, as JSON, and never a file or a variable of the sandbox.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::plan::{Access, Backend, Identity, MountKind, NetworkMode, Plan, RootFilesystem, nix};

/// Where the init finds it.
pub const MANIFEST: i32 = 7;

/// The most that a manifest holds, in bytes: a thousand mounts with long paths.
pub const MOST: u64 = 16 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What is to be mounted, by place; nothing else may be.
    pub mounts: BTreeMap<Utf8PathBuf, Expected>,
    /// Names and inodes of the host's namespaces that the sandbox must have left.
    pub namespaces: BTreeMap<String, u64>,
    /// There is no other interface than loopback.
    pub loopback_only: bool,
    /// The most processes and threads; the kernel counts them in the sandbox's own user namespace.
    pub processes: Option<u64>,
    /// What Landlock allows; everything else of the file tree is denied. Without any, Landlock is left out.
    pub allowed: Vec<Allowed>,
    /// The init hands its network namespace to the supervisor: for the gateway, or for published ports.
    pub gateway: bool,
    /// What the init runs once it is told to begin.
    pub command: Vec<String>,
    /// Of a container: its engine makes more than bubblewrap does, and passes nothing on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<InContainer>,
}

/// What the init of a container learns here, for an engine would show it to everybody who may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InContainer {
    /// All of the command's environment.
    pub environment: Vec<(String, String)>,
    pub cwd: Utf8PathBuf,
}

/// One mount as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub what: What,
    pub read_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Exactly this file or directory of the host.
    Bind(Identity),
    Tmpfs,
    Proc,
    Dev,
    /// The file system of an image.
    Image,
}

/// A tree and what may be done in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    pub path: Utf8PathBuf,
    pub right: Right,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// Names in directories.
    List,
    Read,
    ReadExecute,
    /// Everything.
    Write,
}

/// Where the root is; plans do not name it.
const ROOT: &str = "/";

impl Manifest {
    /// `sources` has the identity of each mount that has a source, in the order of the plan's mounts.
    pub fn of(
        plan: &Plan,
        sources: &[Option<Identity>],
        namespaces: BTreeMap<String, u64>,
        values: &BTreeMap<String, String>,
    ) -> Self {
        let in_container = plan.backend == Backend::Docker;
        let root = if in_container { What::Image } else { What::Tmpfs };
        let mut mounts = BTreeMap::from([(ROOT.into(), Expected { what: root, read_only: false })]);
        for (mount, source) in plan.mounts.iter().zip(sources) {
            // Where the mount table has it: `/var/tmp` is a link that pier makes.
            let at = plan.resolve(&mount.at).unwrap_or_else(|| mount.at.clone());
            let (what, read_only) = match (&mount.kind, source) {
                (MountKind::Bind { access, .. } | MountKind::Session { access, .. }, Some(identity)) => {
                    (What::Bind(*identity), *access == Access::ReadOnly)
                }
                // A file of the session's directory, where the engine takes nothing else.
                (
                    MountKind::File { .. }
                    | MountKind::Certificates { .. }
                    | MountKind::Hidden { directory: false },
                    Some(identity),
                ) => (What::Bind(*identity), true),
                (MountKind::Tmpfs { .. }, _) => (What::Tmpfs, false),
                (MountKind::Hidden { .. }, _) => (What::Tmpfs, true),
                (MountKind::Proc, _) => (What::Proc, false),
                (MountKind::Dev, _) => (What::Dev, false),
                (MountKind::Seal, _) => {
                    if let Some(sealed) = mounts.get_mut(&at) {
                        sealed.read_only = true;
                    }
                    continue;
                }
                _ => continue,
            };
            mounts.insert(at, Expected { what, read_only });
        }
        let loopback_only = matches!(plan.network.mode, NetworkMode::None | NetworkMode::Allowlist);
        // In the host's user namespace the kernel would count processes of the host, too; the engine counts, there.
        let processes = plan.limits.pids.filter(|_| !in_container).map(|cap| cap.at_most);
        // Everything in a root that is written to is the sandbox's own. Streams that come later could not be allowed.
        let is_open = in_container && mounts.get(Utf8Path::new(ROOT)).is_some_and(|root| !root.read_only);
        let allowed = if is_open { Vec::new() } else { allowed(plan, &mounts) };
        let command = plan.command.argv.clone();
        let gateway = plan.is_joined();
        let container = in_container
            .then(|| InContainer { environment: plan.variables(values), cwd: plan.command.cwd.clone() });
        Manifest { mounts, namespaces, loopback_only, processes, allowed, gateway, command, container }
    }
}

/// Returns the trees that Landlock allows: a mount inside another one with the same rights adds none.
fn allowed(plan: &Plan, mounts: &BTreeMap<Utf8PathBuf, Expected>) -> Vec<Allowed> {
    // An image is there as a whole: what is not to be seen of it is mounted over.
    let in_root = if plan.backend == Backend::Docker { Right::ReadExecute } else { Right::List };
    let mut allowed = vec![Allowed { path: ROOT.into(), right: in_root }];
    let mut add = |path: &Utf8Path, right: Right| {
        let within =
            |held: &Allowed| held.path != ROOT && path.starts_with(&held.path) && held.right >= right;
        if !allowed.iter().any(within) {
            allowed.push(Allowed { path: path.to_owned(), right });
        }
    };
    let closure = match &plan.root {
        RootFilesystem::Nix { closure, .. } => Some(closure),
        _ => None,
    };
    let store = |path: &Utf8Path| closure.is_some() && path == nix::STORE;
    for (path, expected) in mounts.iter().filter(|(path, _)| *path != ROOT && !store(path)) {
        let right = match expected {
            Expected { what: What::Bind(_), read_only: true } => Right::ReadExecute,
            // What is the sandbox's own, sealed or not, holds nothing of the host.
            _ => Right::Write,
        };
        add(path, right);
    }
    // Files and directories that pier makes in the root.
    for mount in &plan.mounts {
        if let MountKind::File { .. } | MountKind::Certificates { .. } | MountKind::Directory { .. } =
            mount.kind
            && let Some(top) = mount.at.components().nth(1)
            && !(closure.is_some() && Utf8Path::new(nix::STORE).starts_with(&mount.at))
        {
            add(&Utf8Path::new(ROOT).join(top.as_str()), Right::Read);
        }
    }
    // Of the store only the closure: what else is in there is nobody's here. None of it is within another.
    let entry = |path: &Utf8PathBuf| Allowed { path: path.clone(), right: Right::ReadExecute };
    allowed.extend(closure.into_iter().flatten().map(entry));
    allowed
}
