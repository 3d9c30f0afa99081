//! The common start of commands about a project: who, where, which configuration, which plan, which approval.

use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use self::agents::Agents;
use self::ceiling::Sent;
use super::Global;
use super::owner::{self, RootOwned};
use crate::backend::probe;
use crate::config::knobs::{self, Own};
use crate::config::layers::{self, Loaded};
use crate::config::overlay::{self, Overlay};
use crate::config::{Layer, Root};
use crate::diag::{Exit, Failure, Report};
use crate::env::{self, Environment};
use crate::lock::Lock;
use crate::plan::{Plan, Target};
use crate::session::trust;
use crate::util::fs::{read_bounded, read_without_links};
use crate::util::text::escape;
use crate::{lock, plan, policy, ui};

pub mod agents;
pub mod ceiling;

pub use agents::show;

/// The file in a project.
pub const FILE: &str = "pier.kdl";

/// The largest file that is read as configuration; the language's own cap is smaller and says so better.
const MOST_CONFIG: u64 = 1024 * 1024;

/// A project with its configuration.
pub struct Project {
    pub environment: Environment,
    pub cwd: Utf8PathBuf,
    pub root: Utf8PathBuf,
    pub loaded: Loaded,
    /// What the agent is narrowed to.
    pub role: Option<plan::facts::Role>,
    /// The branch that a private clone is to be on.
    pub branch: Option<String>,
    /// Pi is to find the package of roles, with a role or without one.
    pub role_manager: bool,
    /// `pier.lock` is being written anew: one that is broken pins nothing.
    pub renews_lock: bool,
}

impl Project {
    /// Reads `pier.lock`.
    pub fn lock(&self) -> Result<Option<Lock>, lock::Error> {
        let read = Lock::read(&self.root.join(lock::FILE));
        if self.renews_lock { Ok(read.unwrap_or_default()) } else { read }
    }
}

/// Returns the current directory.
pub fn current_directory() -> Result<Utf8PathBuf, Failure> {
    let found = std::env::current_dir().map_err(|error| {
        Failure::new(Exit::Usage, "host::probe", format!("the current directory cannot be told: {error}"))
    })?;
    Utf8PathBuf::from_path_buf(found)
        .map_err(|path| Failure::from(probe::Error::NotUtf8 { shown: path.display().to_string() }))
}

/// A project of which nothing has been read yet, and the user that pier acts as from now on.
pub struct Found {
    pub environment: Environment,
    cwd: Utf8PathBuf,
    root: Utf8PathBuf,
}

/// Finds the project of the current directory.
pub fn find(global: &Global, rule: RootOwned) -> Result<Found, Failure> {
    find_as(Environment::of_process()?, global, rule)
}

/// The same, for a caller whose environment is known.
pub fn find_as(environment: Environment, global: &Global, rule: RootOwned) -> Result<Found, Failure> {
    let cwd = current_directory()?;
    let forced = global.older.as_ref().and_then(|older| older.root.clone());
    let root = forced.map_or_else(|| probe::project_root(&cwd, Root::Git), Ok)?;
    let environment = owner::settle(environment, global, &root, rule)?;
    let environment = if global.older.is_some() { environment.in_place_of_older() } else { environment };
    Ok(Found { environment, cwd, root })
}

impl Found {
    pub fn load(self, global: &Global) -> Result<Project, Failure> {
        let Found { environment, cwd, root } = self;
        let file = find_file(if cwd.starts_with(&root) { &cwd } else { &root }, &root);
        let (loaded, root) = load_layers(&environment, global, file.as_deref(), &Place { cwd: &cwd, root })?;
        let role_manager = global.older.as_ref().is_some_and(|older| older.role_manager);
        Ok(Project {
            environment,
            cwd,
            root,
            loaded,
            role: None,
            branch: None,
            role_manager,
            renews_lock: false,
        })
    }
}

/// Finds and loads the project of the current directory.
pub fn load(global: &Global, rule: RootOwned) -> Result<Project, Failure> {
    find(global, rule)?.load(global)
}

/// Returns the directory of the nearest `pier.kdl`, from `cwd` up to the root.
pub fn find_file(cwd: &Utf8Path, root: &Utf8Path) -> Option<Utf8PathBuf> {
    let inside = cwd.ancestors().take_while(|path| path.starts_with(root));
    inside.map(Utf8Path::to_owned).find(|path| path.join(FILE).symlink_metadata().is_ok())
}

/// Returns the nearest `pier.kdl` for a command that makes no sense without one.
pub fn require_file(cwd: &Utf8Path, root: &Utf8Path) -> Result<Utf8PathBuf, Failure> {
    find_file(cwd, root).map(|directory| directory.join(FILE)).ok_or_else(|| {
        let message = format!("there is no `{FILE}` from `{cwd}` up to `{root}`");
        Failure::new(Exit::Usage, "config::none", message).help("`pier init` writes one")
    })
}

/// Where a command was called, and the top of the repository around it.
pub struct Place<'a> {
    pub cwd: &'a Utf8Path,
    pub root: Utf8PathBuf,
}

/// Returns what the variables of the older tool say.
fn knobs(environment: &Environment) -> Vec<Overlay> {
    let knobs = knobs::read(&|name| environment.get(name), Own::Left);
    for note in knobs.notes.into_iter().chain(knobs::unknown(environment.names())) {
        ui::warn(&escape(&note));
    }
    knobs.settings.into_iter().map(|knob| knob.overlay(Layer::Environment)).collect()
}

/// Returns what `PIER_SET` and the flags `--set` say.
pub fn assignments(environment: &Environment, global: &Global) -> Result<Vec<Overlay>, Failure> {
    let mut overlays = Vec::new();
    for assignment in
        environment.get("PIER_SET").unwrap_or_default().split(';').filter(|part| !part.trim().is_empty())
    {
        overlays.push(
            overlay::set(&format!("PIER_SET {assignment}"), Layer::Environment, assignment)
                .map_err(|problem| Failure::of(Exit::Usage, problem))?,
        );
    }
    for assignment in &global.set {
        overlays.push(
            overlay::set(&format!("--set {assignment}"), Layer::Flag, assignment)
                .map_err(|problem| Failure::of(Exit::Usage, problem))?,
        );
    }
    Ok(overlays)
}

/// Loads every layer, compared with the administrator's policy, and returns it with the root of the project;
/// `directory` is where the project's file is.
pub fn load_layers(
    environment: &Environment,
    global: &Global,
    directory: Option<&Utf8Path>,
    place: &Place<'_>,
) -> Result<(Loaded, Utf8PathBuf), Failure> {
    let (beneath, overlays) = match &global.older {
        Some(older) => (older.beneath.clone(), older.above.clone()),
        None => (Vec::new(), knobs(environment)),
    };
    load_beside(environment, global, (beneath, overlays), directory, place)
}

/// The same without what variables of the older tool say of a sandbox: where there is none, nobody is to hear of them.
pub fn load_without_knobs(
    environment: &Environment,
    global: &Global,
    directory: Option<&Utf8Path>,
    place: &Place<'_>,
) -> Result<(Loaded, Utf8PathBuf), Failure> {
    load_beside(environment, global, (Vec::new(), Vec::new()), directory, place)
}

fn load_beside(
    environment: &Environment,
    global: &Global,
    (beneath, mut overlays): (Vec<Overlay>, Vec<Overlay>),
    directory: Option<&Utf8Path>,
    place: &Place<'_>,
) -> Result<(Loaded, Utf8PathBuf), Failure> {
    // Below the knobs, one of which says the same of the sandbox alone.
    let root = place.root.file_name();
    overlays.splice(0..0, knobs::coordination::read(&|name| environment.get(name), root));
    overlays.extend(assignments(environment, global)?);
    let inputs = layers::Inputs {
        policy: Some(env::POLICY.into()),
        user: Some(environment.config.join("config.kdl")),
        project: directory.map(|directory| directory.join(FILE)),
        local: directory.map(|directory| directory.join("pier.local.kdl")),
        profile: global.profile.clone(),
        beneath,
        overlays,
    };
    load_inputs(environment, &inputs, directory, place)
}

/// Says whether a variable names a directory whose roles are taken, whatever agents there are.
fn has_roles(environment: &Environment, cwd: &Utf8Path, name: &str) -> bool {
    let names = ["PI_ENV_BWRAP_COMMON_AGENT_DIR", "PI_BWRAP_COMMON_AGENT_DIR"];
    let said = |known: &&&str| name.split(['=', ',', ' ']).any(|word| word == **known);
    let named = names.iter().find(said).and_then(|known| environment.get(known));
    named.is_some_and(|directory| cwd.join(directory).join("roles").is_dir())
}

/// Loads these layers, compared with the administrator's policy.
pub fn load_inputs(
    environment: &Environment,
    inputs: &layers::Inputs,
    directory: Option<&Utf8Path>,
    place: &Place<'_>,
) -> Result<(Loaded, Utf8PathBuf), Failure> {
    let loaded = layers::load(inputs, &|path| read(path, directory))
        .map_err(|report| Failure { exit: Exit::Usage, report })?;
    let left_out = loaded.left_out.iter().filter(|(name, _)| !has_roles(environment, place.cwd, name));
    for (name, why) in left_out {
        ui::warn(&format!("`{}` is not taken: {why}", escape(name)));
    }
    // `workspace { root "here" }` makes the file's own directory the project.
    let root = match loaded.config.workspace.root.value {
        Root::Git => place.root.clone(),
        Root::Here => probe::project_root(directory.unwrap_or(place.cwd), Root::Here)?,
    };
    let addresses = probe::addresses(&loaded.config, environment, &environment.home, &root);
    ceiling::check(&loaded, environment, &root, &Sent { addresses: &addresses, home: &environment.home })?;
    Ok((loaded, root))
}

/// Reads a configuration file. In the project no part of the path may be a link: what that leads to is not what
/// was committed. The user's own directories may be linked together as they like.
pub fn read(path: &Utf8Path, project: Option<&Utf8Path>) -> io::Result<Option<Vec<u8>>> {
    let read = if project.is_some_and(|project| path.starts_with(project)) {
        read_without_links
    } else {
        read_bounded
    };
    match read(path, MOST_CONFIG) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A plan, and the values of variables that it only names.
pub struct Planned {
    pub plan: Plan,
    pub values: BTreeMap<String, String>,
    /// Keeps the Nix shell of the plan from being forgotten.
    pub shell: Option<crate::backend::nix::Held>,
}

/// Whether planning may fetch what is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// Agents with a pinned version are installed once the grants are approved.
    Install,
    Never,
}

/// Makes the plan for a target. With [`Fetch::Install`], the approval is checked before anything is fetched; with
/// [`Fetch::Never`], the plan for an agent that is still to be installed is that of a shell, and says so.
pub fn plan(
    project: &Project,
    target: &Target,
    fetch: Fetch,
    trusted: Option<&str>,
) -> Result<Planned, Failure> {
    let loaded = &project.loaded;
    let mut known = learn(project, target, fetch, trusted)?;
    if matches!(known.agents, Agents::Installed) {
        // That took its time, in which the host may have changed.
        known = learn(project, target, fetch, trusted)?;
    }
    let Known { mut probed, shell, agents } = known;
    let missing = match agents {
        Agents::There | Agents::Installed => None,
        Agents::Missing(why) => Some(why),
    };
    super::nix::fit(shell.as_ref(), target, &mut probed)?;
    let target = if missing.is_some() { &Target::Shell } else { target };
    let made = plan::build(&loaded.config, &probed.facts, target, &loaded.sources);
    let mut plan = made.map_err(|mut problems| {
        add_reasons(&mut problems, &mut probed);
        no_plan(project, problems)
    })?;
    plan.warnings.extend(missing);
    Ok(Planned { plan, values: probed.values, shell })
}

/// What a plan is made from.
struct Known {
    probed: probe::Probed,
    shell: Option<crate::backend::nix::Held>,
    agents: Agents,
}

fn learn(project: &Project, target: &Target, fetch: Fetch, trusted: Option<&str>) -> Result<Known, Failure> {
    let Project { environment, cwd, root, loaded, .. } = project;
    let mut probed = probe::gather(&loaded.config, environment, cwd, root)?;
    let sent = Sent { addresses: &probed.facts.addresses, home: &probed.facts.home };
    ceiling::check(loaded, environment, root, &sent)?;
    super::role::known::add(project, &mut probed)?;
    probed.facts.branch.clone_from(&project.branch);
    let shell = super::nix::add(project, fetch, trusted, &mut probed)?;
    super::image::add(project, fetch, trusted, &mut probed)?;
    let agents = agents::add(project, target, fetch, trusted, &mut probed)?;
    Ok(Known { probed, shell, agents })
}

/// Adds to "not on this host" why a launcher that is there is not used.
fn add_reasons(problems: &mut [crate::diag::Problem], probed: &mut probe::Probed) {
    for problem in problems.iter_mut().filter(|problem| problem.code == "agent::missing") {
        let refused = std::mem::take(&mut probed.launchers);
        for (name, error) in refused {
            if problem.message.contains(&format!("`{name}`")) {
                problem.message = format!("{}: {}", problem.message, escape(&error.to_string()));
            }
        }
    }
}

/// Returns a plan for a shell, whose grants are those of the file, before an agent is there.
pub fn preview(project: &Project, probed: &probe::Probed) -> Result<Plan, Failure> {
    let made = plan::build(&project.loaded.config, &probed.facts, &Target::Shell, &project.loaded.sources);
    made.map_err(|problems| no_plan(project, problems))
}

fn no_plan(project: &Project, problems: Vec<crate::diag::Problem>) -> Failure {
    let usage = problems.iter().all(|problem| problem.code != "project::root");
    let exit = if usage { Exit::Usage } else { Exit::NotSetUp };
    Failure { exit, report: Report { sources: project.loaded.sources.clone(), problems } }
}

/// Refuses a directory that is no project.
pub fn require_project(environment: &Environment, root: &Utf8Path) -> Result<(), Failure> {
    let resolve = |path: &Utf8Path| crate::util::fs::canonical(path).unwrap_or_else(|_| path.to_owned());
    let own: Vec<_> = environment.own_directories().iter().map(|path| resolve(path)).collect();
    match plan::refused_project(root, &resolve(&environment.home), &own) {
        Some(problem) => Err(Failure::of(Exit::NotSetUp, problem)),
        None => Ok(()),
    }
}

/// Refuses a plan whose grants were not approved.
pub fn approve(project: &Project, plan: &Plan, trusted: Option<&str>) -> Result<(), Failure> {
    if plan.grants.is_empty() {
        return Ok(());
    }
    let digest = policy::digest(&plan.grants);
    let given = trusted.or_else(|| project.environment.get("PIER_TRUST"));
    if given == Some(digest.as_str()) {
        return Ok(());
    }
    let approval = trust::load(&project.environment.state, &plan.project.hash, &plan.project.root)?;
    let approved = approval.map(|approval| approval.grants).unwrap_or_default();
    let new = policy::widened(&plan.grants, &approved);
    if new.is_empty() {
        return Ok(());
    }
    if given.is_none() && ui::can_ask() {
        for grant in &new {
            ui::say(&format!("  + {} ({})", escape(&grant.text), grant.origin));
        }
        let question = "this project's files grant this beyond what you approved; approve it?";
        if ui::ask(question) {
            trust::store(&project.environment.state, &plan.project.hash, &plan.project.root, &plan.grants)?;
            return Ok(());
        }
    }
    let mut message = String::from(if approved.is_empty() {
        "this project's files grant more than the baseline, and nobody has approved it:"
    } else {
        "this project's files grant more than was approved:"
    });
    for grant in new {
        message.push_str(&format!("\n  + {} ({})", escape(&grant.text), grant.origin));
    }
    let mut failure = Failure::new(Exit::NotSetUp, "trust::needed", message);
    if given.is_some() {
        failure = failure.help(format!("the digest that was given is another one; this is {digest}"));
        return Err(failure);
    }
    Err(failure.help(if project.environment.older.is_some() {
        format!("read it, then call it at a terminal, which asks, or with `PIER_TRUST={digest}`")
    } else {
        format!("read it, then run `pier trust`; without a terminal: `--trust={digest}`")
    }))
}

/// The most that a stored plan may hold, in bytes.
const MOST_PLAN: u64 = 16 * 1024 * 1024;

fn plan_place(environment: &Environment, hash: &str) -> Utf8PathBuf {
    environment.state.join("plans").join(format!("{hash}.json"))
}

/// Returns the plan that ran last in this project; `None` before the first session.
pub fn last_plan(project: &Project, hash: &str) -> Result<Option<Plan>, Failure> {
    let path = plan_place(&project.environment, hash);
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, "plan::last", format!("cannot read the last plan `{path}`: {error}"))
            .help("remove the file; the next session writes it anew")
    };
    match read_bounded(&path, MOST_PLAN) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

/// Keeps the plan that is about to run, for `pier plan --diff`; written only when it is another one.
pub fn keep_plan(project: &Project, plan: &Plan) -> Result<(), Failure> {
    let path = plan_place(&project.environment, &plan.project.hash);
    let failed = |error: io::Error| {
        Failure::new(Exit::NotSetUp, "session::state", format!("cannot write `{path}`: {error}"))
            .help("check the space and the permissions of that directory")
    };
    let text = serde_json::to_vec(plan).map_err(|error| failed(error.into()))?;
    if read_bounded(&path, MOST_PLAN).is_ok_and(|before| before == text) {
        return Ok(());
    }
    crate::util::fs::write_atomic(&path, &text, 0o600).map_err(failed)
}
