//! The coordination repository in a plan: the clone, the remote that it pushes to, and the commands for both.
//!
//! A clone below the project is where it is; any other, and one beside a private clone of the project, is at a place of its
//! own. What a host's git runs or obeys in either is read-only: hooks, settings, names of other repositories.

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::build::problem;
use super::facts::{self, Facts, Found, Kind};
use super::mounts::{Purpose, check_place, taken};
use super::paths::clean;
use super::system::BUILT_IN;
use super::{Access, INIT, Identity, Mount, MountKind, Variable, image};
use crate::config::knobs::coordination::{PASSED, names};
use crate::config::{Config, Origin};
use crate::diag::Problem;

/// Where the clone of a project is, below it, where nobody says so.
pub const COORDINATION: &str = ".pi-env/coordination";

/// Where its remotes are, below it, where there is no server.
pub const REMOTES: &str = ".pi-env/agent-remotes";

/// The variable with the name of the project's directory on the host.
pub const PROJECT: &str = "PIER_PROJECT";

/// The variable that says that steps wait in the clone, for its remote is not shown, which the session was warned of.
pub const QUEUES: &str = "PIER_COORD_QUEUES";

/// Where both are inside, if not in the project.
const CLONE_AT: &str = "/coordination";
const REMOTES_AT: &str = "/agent-remotes";

/// The commands by their older names, in the order of the tools that had them.
pub const COMMANDS: &[&str] = &[
    "agent-coord-init",
    "agent-coord-clone",
    "agent-coord-status",
    "agent-coord-list",
    "agent-coord-cat",
    "agent-coord-new",
    "agent-coord-claim",
    "agent-coord-done",
    "agent-coord-review",
    "agent-coord-verify",
    "agent-coord-close",
    "agent-coord-pull",
    "agent-coord-push",
    "agent-coord-lint",
    "agent-coord-upgrade-rules",
    "agent-coord-generate-requirements",
    "agent-coord-generate-requirements-coverage",
    "bootstrap-coordination",
    "pi-env-coord-init",
    "pi-env-coord-clone",
    "pi-env-coord-status",
    "pi-env-coord-list",
    "pi-env-coord-cat",
    "pi-env-coord-new",
    "pi-env-coord-claim",
    "pi-env-coord-done",
    "pi-env-coord-review",
    "pi-env-coord-verify",
    "pi-env-coord-close",
    "pi-env-coord-pull",
    "pi-env-coord-push",
    "pi-env-coord-lint",
    "pi-env-coord-repo",
    "pi-env-coord-upgrade-rules",
    "pi-env-coord-generate-requirements",
    "pi-env-coord-generate-requirements-coverage",
    "pi-env-bootstrap-coordination",
];

/// The clone as a sandbox has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordination {
    /// The clone on the host.
    pub clone: Utf8PathBuf,
    /// Where it is inside.
    pub at: Utf8PathBuf,
    /// The remote on the host, where it is shown.
    pub remote: Option<Utf8PathBuf>,
    pub remote_at: Option<Utf8PathBuf>,
    /// Who asked for it.
    pub origin: String,
}

/// Adds the mounts and the commands; returns what is shown, and what people should know.
pub fn add(
    config: &Config,
    facts: &Facts,
    home: &Utf8Path,
    mounts: &mut Vec<Mount>,
    problems: &mut Vec<Problem>,
    at: &dyn Fn(&Origin) -> String,
) -> (Option<Coordination>, Vec<String>) {
    let Some(known) = &facts.coordination else { return (None, Vec::new()) };
    let dir = config.coordination.dir.as_ref();
    let origin = dir.map_or(BUILT_IN.to_owned(), |dir| at(&dir.origin));
    let mut made = Made { config, facts, known, home, mounts, origin, warnings: Vec::new() };
    let found = match made.usable() {
        Ok(found) => found.clone(),
        Err(reason) => {
            let reader = facts.role.as_ref().filter(|role| role.only_reads);
            // A link that nobody has asked for is a part of the project like any other.
            if let Some(role) = reader {
                made.warn(format!(
                    "`{}` is not writable for the role `{}`: {reason}",
                    known.clone, role.name
                ));
            } else if dir.is_some() {
                made.warn(format!("the coordination clone `{}` is not shown: {reason}", known.clone));
            }
            return (None, made.warnings);
        }
    };
    if let Some(dir) = dir.filter(|_| !known.clone.starts_with(&facts.project.root))
        && let Err(reason) = check_place(&known.clone, Purpose::Mount(Access::ReadWrite), facts)
    {
        let message = format!("the coordination clone `{}` is not mounted: {reason}", known.clone);
        problems.push(problem("mount::refused", &dir.origin, "refused", message));
        return (None, made.warnings);
    }
    let origin = made.origin.clone();
    let clone_at = made.place_of_clone(found.identity);
    if !known.is_one {
        // No commands for what is no repository, but a role that only reads has a place for its findings.
        return (None, made.warnings);
    }
    let remote_at = made.remote(&clone_at, problems, at);
    made.commands();
    let remote = known.remote.as_ref().filter(|_| remote_at.is_some()).map(|remote| remote.path.clone());
    let shown = Coordination { clone: known.clone.clone(), at: clone_at, remote, remote_at, origin };
    (Some(shown), made.warnings)
}

struct Made<'a> {
    config: &'a Config,
    facts: &'a Facts,
    known: &'a facts::Coordination,
    /// The sandbox home.
    home: &'a Utf8Path,
    mounts: &'a mut Vec<Mount>,
    origin: String,
    warnings: Vec<String>,
}

impl<'a> Made<'a> {
    fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// Returns what is there, or says why it is not shown.
    fn usable(&self) -> Result<&'a Found, String> {
        let (clone, root) = (&self.known.clone, &self.facts.project.root);
        let Some(found) = &self.known.found else {
            return Err("it is not there; `pier coord clone` makes it".to_owned());
        };
        if found.symlinked {
            return Err("it is reached through a symbolic link, which can be pointed elsewhere".to_owned());
        }
        if found.kind != Kind::Directory {
            return Err("it is no directory".to_owned());
        }
        if root.starts_with(clone) {
            return Err("the project is in it".to_owned());
        }
        if self.config.coordination.dir.is_some() && !self.known.is_one {
            return Err("it is no clone of a coordination repository".to_owned());
        }
        let mut hidden = self.facts.hidden.keys().map(|path| root.join(path));
        match hidden.find(|path| path.starts_with(clone) || clone.starts_with(path)) {
            Some(path) => Err(format!("`{path}` is hidden")),
            None => Ok(found),
        }
    }

    /// Returns where a path of the project is inside; `None` where it is not.
    fn in_place(&self, path: &Utf8Path) -> Option<Utf8PathBuf> {
        let below = path.strip_prefix(&self.facts.project.root).ok();
        let below = below.filter(|_| !self.config.workspace.clone.value)?;
        Some(Utf8Path::new(&self.config.workspace.at.value).join(below))
    }

    fn only_reads(&self) -> bool {
        self.facts.role.as_ref().is_some_and(|role| role.only_reads)
    }

    fn bind(&mut self, source: Utf8PathBuf, at: Utf8PathBuf, access: Access, identity: Identity) {
        let kind = MountKind::Bind { source, access, expect: Some(identity) };
        self.mounts.push(Mount { at, kind, origin: self.origin.clone() });
    }

    fn place_of_clone(&mut self, identity: Identity) -> Utf8PathBuf {
        let clone = self.known.clone.clone();
        if let Some(at) = self.in_place(&clone) {
            if self.only_reads() {
                self.bind(clone, at.clone(), Access::ReadWrite, identity);
            }
            return at;
        }
        let at = Utf8PathBuf::from(CLONE_AT);
        self.bind(clone.clone(), at.clone(), Access::ReadWrite, identity);
        self.keep(&clone, &at, &self.known.parts, Utf8Path::new(".git"));
        at
    }

    /// Holds a Git directory in its place, and keeps what of it a host's git runs or obeys.
    fn keep(
        &mut self,
        source: &Utf8Path,
        at: &Utf8Path,
        parts: &[(Utf8PathBuf, Identity)],
        directory: &Utf8Path,
    ) {
        for (part, identity) in parts {
            let access = if part == directory { Access::ReadWrite } else { Access::ReadOnly };
            self.bind(source.join(part), at.join(part), access, *identity);
        }
        let hooks = directory.join("hooks");
        if !parts.iter().any(|(part, _)| *part == hooks) {
            let kind = MountKind::Hidden { directory: true };
            self.mounts.push(Mount { at: at.join(hooks), kind, origin: self.origin.clone() });
        }
    }

    /// Shows the remote, and returns its place inside.
    fn remote(
        &mut self,
        clone_at: &Utf8Path,
        problems: &mut Vec<Problem>,
        at: &dyn Fn(&Origin) -> String,
    ) -> Option<Utf8PathBuf> {
        let origin = self.known.origin.as_ref();
        let Some(remote) = &self.known.remote else {
            if let Some(origin) = origin.filter(|origin| self.in_place(&origin.path).is_none()) {
                let path = &origin.path;
                self.warn(format!(
                    "the clone pushes to `{path}`, which is not visible inside: nobody can claim anything there, and what is said waits for `pier coord push` outside. `coordination {{ remote \"{path}\"; }}` shows it"
                ));
            }
            if self.known.is_elsewhere {
                self.warn("the clone pushes to another host, which is reached inside only as `network` says, and without your keys: what does not reach it waits for `pier coord push` outside".to_owned());
            }
            return None;
        };
        let path = &remote.path;
        let Some(found) = &remote.found else {
            self.warn(format!("the coordination remote `{path}` is not shown: no repository is there"));
            return None;
        };
        if let Some(reason) = self.refused(remote, found) {
            let message = format!("the coordination remote `{path}` is not mounted: {reason}");
            let refused = match &self.config.coordination.remote {
                Some(named) => problem("mount::refused", &named.origin, "refused", message),
                None => Problem::nowhere("mount::refused", message),
            };
            problems.push(refused);
            return None;
        }
        if let Some(named) = &self.config.coordination.remote {
            self.origin = at(&named.origin);
        }
        let in_place = self.in_place(path);
        let place = in_place.clone().unwrap_or_else(|| {
            Utf8Path::new(REMOTES_AT).join(path.file_name().unwrap_or("coordination.git"))
        });
        if in_place.is_none() {
            let kind = MountKind::Directory { mode: 0o755 };
            self.mounts.push(Mount { at: REMOTES_AT.into(), kind, origin: BUILT_IN.to_owned() });
        }
        if in_place.is_none() || self.only_reads() {
            self.show(remote, found.identity, &place);
        }
        match origin {
            Some(origin) if origin.path == *path => {
                let reached = clean(&clone_at.join(&origin.written));
                if reached != place {
                    self.reach(remote, found.identity, &reached);
                }
            }
            _ => self.warn(format!("the clone does not come from `{path}`: `pier coord clone` mends it")),
        }
        Some(place)
    }

    fn refused(&self, remote: &facts::Remote, found: &Found) -> Option<String> {
        let (path, project) = (&remote.path, &self.facts.project);
        if found.symlinked {
            return Some("it is reached through a symbolic link, which can be pointed elsewhere".to_owned());
        }
        let git = project.git.iter().flat_map(|git| [&git.directory, &git.common]);
        if git.into_iter().any(|git| git.starts_with(path) || path.starts_with(git)) {
            return Some("it is the repository of the project".to_owned());
        }
        if path.starts_with(&project.root) {
            return None;
        }
        check_place(path, Purpose::Mount(Access::ReadWrite), self.facts).err()
    }

    /// Mounts a remote for pushes.
    fn show(&mut self, remote: &facts::Remote, identity: Identity, at: &Utf8Path) {
        self.bind(remote.path.clone(), at.to_owned(), Access::ReadWrite, identity);
        self.keep(&remote.path, at, &remote.parts, Utf8Path::new(""));
    }

    /// Shows the remote where the clone looks for it.
    fn reach(&mut self, remote: &facts::Remote, identity: Identity, at: &Utf8Path) {
        let is_taken = taken(at, self.home).is_err() || at.starts_with(self.home);
        let is_used = |mount: &Mount| match mount.kind {
            MountKind::Tmpfs { .. } | MountKind::Directory { .. } => mount.at.starts_with(at),
            _ => at.starts_with(&mount.at) || mount.at.starts_with(at),
        };
        if is_taken || self.mounts.iter().any(is_used) {
            self.warn(format!(
                "the clone looks for its remote at `{at}`, where nothing of this host can be inside, so that nobody can claim anything there: keep the remote in another directory"
            ));
            return;
        }
        self.show(remote, identity, at);
    }

    /// Puts the commands where they are found by name.
    fn commands(&mut self) {
        let links: Vec<Mount> = std::iter::once("pier")
            .chain(COMMANDS.iter().copied())
            .map(|name| Utf8Path::new(image::LINKS).join(name))
            .filter(|at| !self.mounts.iter().any(|mount| mount.at == *at))
            .map(|at| Mount { at, kind: MountKind::Symlink { to: INIT.into() }, origin: BUILT_IN.to_owned() })
            .collect();
        self.mounts.extend(links);
    }
}

/// Sets where both are inside, and passes who acts; what the configuration sets itself is left as it is.
pub fn variables(shown: Option<&Coordination>, facts: &Facts, environment: &mut Vec<Variable>) {
    let Some(shown) = shown else { return };
    let mut set = |name: String, value: &str| {
        environment.retain(|variable| variable.name != name);
        environment.push(Variable { name, value: Some(value.to_owned()), origin: shown.origin.clone() });
    };
    for name in names("DIR") {
        set(name, shown.at.as_str());
    }
    // Its directory has another name inside, and commits are named by it.
    set(PROJECT.to_owned(), facts.project.root.file_name().unwrap_or("project"));
    if let Some(remote) = &shown.remote_at {
        for name in &names("REMOTE")[..2] {
            set(name.clone(), remote.as_str());
        }
        set("PI_COORD_ROOT".to_owned(), remote.parent().unwrap_or(remote).as_str());
    } else if facts.coordination.as_ref().is_some_and(|known| known.origin.is_some() || known.is_elsewhere) {
        set(QUEUES.to_owned(), "1");
    }
    for name in PASSED.into_iter().flat_map(names) {
        // Shown, it has another place.
        let is_there = shown.remote_at.is_some() && name.ends_with("REMOTE_URL")
            || environment.iter().any(|variable| variable.name == name);
        if facts.variables.contains(&name) && !is_there {
            environment.push(Variable { name, value: None, origin: "your environment".to_owned() });
        }
    }
}

/// What a remote outside of the project is asked for.
const TO_PUSH: &str = "push to the coordination repository";

/// Returns the directory of the remote that is named, as somebody sees it who has no clone yet.
fn named_remote(config: &Config, facts: &Facts) -> Option<Utf8PathBuf> {
    let (named, root) = (config.coordination.remote.as_ref()?, &facts.project.root);
    let path = if named.value.starts_with('~') {
        super::expand(&named.value, &facts.home, root).ok()
    } else {
        crate::util::git::remote::local(root, &named.value)
    };
    path.filter(|path| !path.starts_with(root))
}

/// Returns what the repository asks for beyond the usual places: the sentences of the grants, with their origins.
pub fn asked<'a>(config: &'a Config, facts: &'a Facts) -> Vec<(&'a Origin, &'static str, Utf8PathBuf)> {
    let root = &facts.project.root;
    let mut asked = Vec::new();
    let known = facts.coordination.as_ref();
    if let (Some(dir), Some(known)) = (&config.coordination.dir, known)
        && known.clone != root.join(COORDINATION)
    {
        asked.push((&dir.origin, "read and write the coordination clone", known.clone.clone()));
    }
    // Asked for before there is a clone as well: that it may be made.
    let remote = known.and_then(|known| known.remote.as_ref()).map(|remote| remote.path.clone());
    if let Some(named) = &config.coordination.remote
        && let Some(remote) = remote.or_else(|| named_remote(config, facts))
        && !remote.starts_with(root.join(REMOTES))
    {
        asked.push((&named.origin, TO_PUSH, remote));
    }
    asked
}

/// Returns the sentence of the grant for a remote.
pub fn grant_of_remote(path: &Utf8Path) -> String {
    format!("{TO_PUSH} {}", super::grants::quoted(path.as_str()))
}
