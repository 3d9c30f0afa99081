//! Files of a project that the user's own tools execute or obey, read-only in the workspace; sockets, hidden.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::build::problem;
use super::facts::{Facts, Kind};
use super::system::BUILT_IN;
use super::{Access, Identity, Mount, MountKind};
use crate::config::{Config, Git, Origin};
use crate::diag::Problem;

/// Files of a project that a later command of the user's executes or obeys: read-only where they exist.
const PROTECTED: &[&str] = &[
    "pier.kdl",
    "pier.local.kdl",
    "pier.lock",
    ".pier",
    ".envrc",
    ".mcp.json",
    ".claude/settings.json",
    ".claude/settings.local.json",
    ".codex",
    ".cursor",
    ".vscode/settings.json",
    ".vscode/tasks.json",
    ".vscode/launch.json",
    ".idea",
    ".devcontainer",
    ".husky",
    ".pre-commit-config.yaml",
    ".cargo/config.toml",
    ".cargo/config",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".gitmodules",
];

/// Paths of the project that a plan asks about, besides those that the configuration names.
pub fn protected_paths(config: &Config) -> impl Iterator<Item = (&str, Origin)> {
    let named = config.workspace.readonly.iter().map(|path| (path.value.as_str(), path.origin.clone()));
    PROTECTED.iter().map(|path| (*path, Origin::BUILT_IN)).chain(named)
}

/// Makes files that the host obeys read-only, where they exist; nothing is created for those that do not.
///
/// A mount cannot be moved away, but the directory around it can: each one above such a file is a mount too.
/// Returns warnings of those that cannot be kept.
pub fn add(
    config: &Config,
    facts: &Facts,
    at: &Utf8Path,
    mounts: &mut Vec<Mount>,
    problems: &mut Vec<Problem>,
    place: &dyn Fn(&Origin) -> String,
) -> Vec<String> {
    let shut = protected(config, facts, problems);
    let mut made: BTreeMap<Utf8PathBuf, (Access, Identity, String)> = BTreeMap::new();
    for (relative, (identity, origin)) in &shut {
        made.insert(relative.clone(), (Access::ReadOnly, *identity, place(origin)));
        for above in relative.ancestors().skip(1).filter(|above| !above.as_str().is_empty()) {
            let within = shut.keys().any(|shut| above.starts_with(shut));
            if let Some(identity) = identity_of(facts, &facts.project.root.join(above)).filter(|_| !within) {
                made.insert(above.to_owned(), (Access::ReadWrite, identity, place(origin)));
            }
        }
    }
    let declared: Vec<Utf8PathBuf> = mounts.iter().map(|mount| mount.at.clone()).collect();
    let declared = declared.iter().filter(|there| there.starts_with(at) && *there != at);
    // In the order of the paths, so that a directory comes before what is in it.
    for (relative, (access, identity, origin)) in made {
        let target = at.join(&relative);
        // What is mounted there has its own access; only a file that is shut is shut in there too.
        let mut over = declared.clone().filter(|there| target.starts_with(there));
        if over.any(|there| access == Access::ReadWrite || *there == target) {
            continue;
        }
        let source = facts.project.root.join(relative);
        let kind = MountKind::Bind { source, access, expect: Some(identity) };
        mounts.push(Mount { at: target, kind, origin });
    }
    let mut warnings = sockets(facts, at, mounts);
    warnings.extend(links(config, facts));
    warnings
}

/// Hides sockets of the host that are in the project: whoever listens there is outside of every wall.
fn sockets(facts: &Facts, at: &Utf8Path, mounts: &mut Vec<Mount>) -> Vec<String> {
    let mut warnings = Vec::new();
    for socket in &facts.sockets {
        let Ok(relative) = socket.strip_prefix(&facts.project.root) else { continue };
        let kind = MountKind::Bind { source: "/dev/null".into(), access: Access::ReadOnly, expect: None };
        mounts.push(Mount { at: at.join(relative), kind, origin: BUILT_IN.into() });
        warnings.push(format!("`{relative}` is a live socket of the host, and is hidden"));
    }
    warnings
}

/// Returns a warning for every protected path that is a link: the link itself can be replaced.
fn links(config: &Config, facts: &Facts) -> Vec<String> {
    let git = (config.workspace.git.value != Git::Direct).then_some(".git");
    let names = PROTECTED.iter().copied().chain(git);
    let link = |name: &&str| {
        let found = facts.paths.get(&facts.project.root.join(name)).and_then(|fact| fact.found.as_ref());
        found.is_some_and(|found| found.symlinked)
    };
    let warning = |name| {
        format!(
            "`{name}` is or leads through a symbolic link, so the agent can replace it; look at it before you trust it"
        )
    };
    names.filter(link).map(warning).collect()
}

fn identity_of(facts: &Facts, path: &Utf8Path) -> Option<Identity> {
    facts.paths.get(path)?.found.as_ref().map(|found| found.identity)
}

/// Returns the protected paths that are there, relative to the project.
fn protected(
    config: &Config,
    facts: &Facts,
    problems: &mut Vec<Problem>,
) -> BTreeMap<Utf8PathBuf, (Identity, Origin)> {
    let mut shut = BTreeMap::new();
    for (name, origin) in protected_paths(config) {
        let path = super::paths::clean(&facts.project.root.join(name));
        let named = origin.span.is_some();
        let Ok(relative) = path.strip_prefix(&facts.project.root) else {
            let message = format!("`{name}` is outside the project");
            problems.push(problem("workspace::readonly", &origin, "outside", message));
            continue;
        };
        if relative.as_str().is_empty() {
            let message = format!("`{name}` is the project itself, which the agent works in");
            problems.push(problem("workspace::readonly", &origin, "the whole project", message));
            continue;
        }
        let Some(found) = facts.paths.get(&path).and_then(|fact| fact.found.as_ref()) else { continue };
        if found.symlinked || !matches!(found.kind, Kind::File | Kind::Directory) {
            let message = format!("`{name}` is a link or no plain file, and cannot be made read-only");
            if named {
                problems.push(problem("workspace::readonly", &origin, "named here", message));
            }
            continue;
        }
        shut.entry(relative.to_owned()).or_insert((found.identity, origin));
    }
    shut
}
