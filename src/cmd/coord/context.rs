//! Which clone a call is about, and who calls.

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;

use super::super::owner::{self, RootOwned};
use super::super::{Global, project};
use crate::backend::git::Git;
use crate::backend::git::shared::Shared;
use crate::backend::probe::repository;
use crate::config::{Layer, Sourced};
use crate::coord::domain::{self, Arrived, Domain};
use crate::coord::duty;
use crate::coord::history::Actor;
use crate::coord::registry;
use crate::coord::store::Store;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::plan::coordination::QUEUES;
use crate::util::fs::{canonical, read_bounded};

/// Where the clone of a project is, below it, where nobody says so.
pub const CLONE: &str = ".pi-env/coordination";

/// Where older projects had it.
const OLDER: &str = "coordination";

/// Flags of every command on a clone.
#[derive(Clone, Debug, Default, Args)]
pub struct Common {
    /// The clone.
    #[arg(long, value_name = "DIR")]
    pub coord_dir: Option<Utf8PathBuf>,
    /// Who acts: your user's name otherwise.
    #[arg(long, value_name = "NAME")]
    pub agent_id: Option<String>,
    /// As which role.
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
}

/// The caller, with the clone.
pub struct Context {
    pub environment: Environment,
    pub cwd: Utf8PathBuf,
    /// The project that the clone belongs to.
    pub project: Utf8PathBuf,
    pub store: Store,
    pub actor: Actor,
    /// The role of the session that the call is made in.
    pub session: Option<String>,
}

/// Returns a variable of any of the tools that share such repositories.
pub fn knob<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
    ["PIER_COORD_", "PI_ENV_COORD_", "PI_COORD_"]
        .iter()
        .find_map(|prefix| environment.get(&format!("{prefix}{name}")))
}

/// Returns the caller's environment, directory and project.
pub fn caller(global: &Global) -> Result<(Environment, Utf8PathBuf, Utf8PathBuf), Failure> {
    let cwd = project::current_directory()?;
    let environment = Environment::of_process()?;
    let cwd = canonical(&cwd).unwrap_or(cwd);
    let forced = ["PI_ENV_COORD_PROJECT_ROOT", "PIER_COORD_PROJECT_ROOT"]
        .iter()
        .find_map(|name| environment.get(name));
    let root = match forced {
        Some(root) => cwd.join(root),
        None => project_of(&cwd),
    };
    let environment = owner::settle(environment, global, &root, RootOwned::Stay)?;
    Ok((environment, cwd, root))
}

/// Returns the top of the working tree around a directory, of a clone the project that it is in.
pub fn project_of(cwd: &Utf8Path) -> Utf8PathBuf {
    let top = cwd.ancestors().find(|path| path.join(".git").exists()).unwrap_or(cwd);
    match top.as_str().strip_suffix(CLONE).and_then(|above| above.strip_suffix('/')) {
        Some(project) if !project.is_empty() => project.into(),
        _ => top.to_owned(),
    }
}

/// Returns who acts.
pub fn actor(environment: &Environment, common: &Common) -> Actor {
    let given = |flag: &Option<String>, name: &str| {
        flag.clone().or_else(|| knob(environment, name).map(str::to_owned)).filter(|text| !text.is_empty())
    };
    let id = given(&common.agent_id, "AGENT_ID").or_else(|| environment.get("USER").map(str::to_owned));
    let clean = |text: String| crate::coord::draft::title(&text);
    Actor {
        id: clean(id.unwrap_or_else(|| "agent".to_owned())),
        role: clean(given(&common.role, "ROLE").unwrap_or_default()),
    }
}

/// Returns the role of the session that a call is made in, as its variables name it; a flag says only how it is written down.
fn session(environment: &Environment) -> Option<String> {
    let named = ["PIER_ROLE", "PI_ROLE_MANAGER_ACTIVE_ROLE", "PI_ACTIVE_ROLE", "PI_ROLE"];
    let named = named.into_iter().filter_map(|name| environment.get(name));
    let all = knob(environment, "ROLE").into_iter().chain(named).filter(|role| !role.is_empty());
    duty::of_session(&all.collect::<Vec<_>>()).map(crate::coord::draft::title)
}

/// Returns the directory of the clone, there or not; `None` where a call is inside of one.
pub fn directory(
    global: &Global,
    environment: &Environment,
    (cwd, root): (&Utf8Path, &Utf8Path),
    given: Option<&Utf8Path>,
) -> Result<Utf8PathBuf, Failure> {
    if let Some(given) = given {
        return Ok(cwd.join(given));
    }
    if let Some(named) = knob(environment, "DIR") {
        return Ok(root.join(named));
    }
    if let Some(top) = cwd.ancestors().find(|path| path.join(".git").exists())
        && Store::is_one(top)
    {
        return Ok(top.to_owned());
    }
    if let Some(named) = configured(global, environment, (cwd, root))?.dir {
        return Ok(root.join(named));
    }
    let usual = root.join(CLONE);
    if usual.exists() {
        return Ok(usual);
    }
    let older = root.join(OLDER);
    let others = [Some(older), main_worktree(root).map(|main| main.join(CLONE))];
    Ok(others.into_iter().flatten().find(|other| Store::is_one(other)).unwrap_or(usual))
}

/// Returns the main worktree of a linked one: the clone is the project's, whichever of them one is in.
fn main_worktree(root: &Utf8Path) -> Option<Utf8PathBuf> {
    let found = repository::find(root).ok()??;
    let is_linked = !found.foreign && found.directory != found.common;
    let main = found.common.parent().filter(|_| found.common.file_name() == Some(".git"))?;
    is_linked.then(|| main.to_owned())
}

/// What `pier.kdl` says about it.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    pub remote: Option<String>,
    pub dir: Option<String>,
    /// The project's own files name the remote.
    pub of_repository: bool,
}

/// Returns what `pier.kdl` says about it.
pub fn configured(
    global: &Global,
    environment: &Environment,
    (cwd, root): (&Utf8Path, &Utf8Path),
) -> Result<Configured, Failure> {
    let file = project::find_file(if cwd.starts_with(root) { cwd } else { root }, root);
    if file.is_none() {
        return Ok(Configured::default());
    }
    let place = project::Place { cwd, root: root.to_owned() };
    let (loaded, _) = project::load_without_knobs(environment, global, file.as_deref(), &place)?;
    // What a variable says is asked for before.
    let of_files = |value: Option<Sourced<String>>| {
        value.filter(|found| found.origin.layer != Layer::Environment).map(|found| found.value)
    };
    let crate::config::Coordination { remote, dir } = loaded.config.coordination;
    let of_repository = remote.as_ref().is_some_and(|remote| remote.origin.is_of_repository());
    Ok(Configured { of_repository, remote: of_files(remote), dir: of_files(dir) })
}

impl Context {
    pub fn open(global: &Global, common: &Common) -> Result<Self, Failure> {
        let (environment, cwd, root) = caller(global)?;
        let directory = directory(global, &environment, (&cwd, &root), common.coord_dir.as_deref())?;
        let found = canonical(&directory).map_err(|_| {
            let message = format!("there is no coordination repository at `{directory}`");
            Failure::new(Exit::Failed, "coord::none", message)
                .help("`pier coord bootstrap` makes one, `pier coord clone` takes one that is there")
        })?;
        let store = Store::open(&found)?;
        let actor = actor(&environment, common);
        let project = if root == found { project_of(&found) } else { root };
        let session = session(&environment);
        Ok(Context { environment, cwd, project, store, actor, session })
    }

    /// Holds the clone, with its remote.
    pub fn hold<T>(&self, then: impl FnOnce(&Domain<'_>) -> Result<T, domain::Error>) -> Result<T, Failure> {
        self.hold_as(&self.actor, then)
    }

    /// The same, in the name of somebody else.
    pub fn hold_as<T>(
        &self,
        actor: &Actor,
        then: impl FnOnce(&Domain<'_>) -> Result<T, domain::Error>,
    ) -> Result<T, Failure> {
        let git = Git::find(&self.environment.home)?;
        let variable = |name: &str| self.environment.get(name).map(str::to_owned);
        let shared = Shared::open(&git, &self.store.root, Some(&self.project), &variable)?;
        let domain = Domain::hold(&self.store, &shared, actor)?;
        let done = then(&domain);
        tell_cleared(&domain);
        Ok(done?)
    }

    /// Says what is not at the remote, unless that was said of the whole session.
    pub fn report(&self, arrived: &Arrived) {
        if self.environment.get(QUEUES).is_none() {
            super::step::report(arrived);
        }
    }

    /// Runs git in the clone, for what it prints.
    pub fn hold_free(&self, words: &[&str]) -> Result<String, Failure> {
        let git = Git::find(&self.environment.home)?;
        let variable = |name: &str| self.environment.get(name).map(str::to_owned);
        let shared = Shared::open(&git, &self.store.root, Some(&self.project), &variable)?;
        Ok(shared.run(words)?)
    }

    /// Runs git in the clone, and returns how it ended.
    pub fn ask(
        &self,
        call: crate::backend::git::shared::Call<'_>,
    ) -> Result<crate::backend::git::Answer, Failure> {
        let git = Git::find(&self.environment.home)?;
        let variable = |name: &str| self.environment.get(name).map(str::to_owned);
        Ok(Shared::open(&git, &self.store.root, Some(&self.project), &variable)?.ask(call)?)
    }

    /// Returns a value of a document's front matter.
    pub fn front(&self, document: &str, key: &str) -> Option<String> {
        let text = self.store.document(document)?;
        Some(crate::coord::item::get(&text, key)).filter(|value| !value.is_empty())
    }

    pub fn shown(&self, path: &Utf8Path) -> String {
        self.store.root.join(path).to_string()
    }
}

/// Says what a killed git had left that is removed now.
pub fn tell_cleared(domain: &Domain<'_>) {
    for path in domain.cleared() {
        let path = crate::util::text::escape(path.as_str());
        crate::ui::warn(&format!("a process that was killed had left `{path}`, which is removed"));
    }
}

/// The file by which a project names its coordination repository.
pub const FILE: &str = ".pi-env-coordination.yaml";

/// Reads a key of that file.
pub fn of_file(root: &Utf8Path, key: &str) -> Option<String> {
    let text = String::from_utf8(read_bounded(&root.join(FILE), 64 << 10).ok()?).ok()?;
    Some(crate::coord::item::get(&text, key)).filter(|value| !value.is_empty())
}

/// Returns the commit that the project is at, as items name it; `None` where there is none.
pub fn head_of(context: &Context) -> Option<crate::coord::history::Reference> {
    let git = Git::find(&context.environment.home).ok()?;
    let variable = |_: &str| None;
    let ask = |words: &[&str]| {
        let call =
            crate::backend::git::shared::Call { words, ..crate::backend::git::shared::Call::default() };
        let answer =
            git.ask_in(&context.project, &variable, call).ok().filter(|answer| answer.code == Some(0))?;
        Some(String::from_utf8_lossy(&answer.stdout).trim().to_owned()).filter(|text| !text.is_empty())
    };
    let top = Utf8PathBuf::from(ask(&["rev-parse", "--show-toplevel"])?);
    if top == context.store.root {
        return None;
    }
    let commit = ask(&["rev-parse", "--verify", "HEAD^{commit}"])?;
    let branch = ask(&["symbolic-ref", "--quiet", "--short", "HEAD"]).unwrap_or_else(|| "HEAD".to_owned());
    let url = ask(&["config", "--get", "remote.origin.url"]);
    let name = url.as_deref().map_or_else(|| directory_name(context, &top), registry::base_name);
    crate::coord::history::Reference::parse(&format!("{name}:{branch}@{commit}"))
}

/// Returns what items call the project's repository.
pub fn repo_name(context: &Context) -> String {
    let url = origin(&context.project);
    url.as_deref().map_or_else(|| directory_name(context, &context.project), registry::base_name)
}

/// Returns what the directory of the project is called on its host.
fn directory_name(context: &Context, top: &Utf8Path) -> String {
    let name = context.environment.get(crate::plan::coordination::PROJECT).or(top.file_name());
    name.unwrap_or("project").to_owned()
}

/// Returns where a clone comes from.
pub fn origin(root: &Utf8Path) -> Option<String> {
    let text = String::from_utf8(read_bounded(&root.join(".git/config"), 1 << 20).ok()?).ok()?;
    let entries = crate::util::git::config::parse(&text)?;
    let is_url = |entry: &&crate::util::git::config::Entry| {
        entry.section == "remote" && entry.subsection.as_deref() == Some("origin") && entry.key == "url"
    };
    entries.iter().rfind(is_url).map(|entry| entry.value.clone())
}
