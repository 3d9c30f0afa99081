//! What every start of a container comes to: its files, its plan, its records.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use super::{cannot, health, skills};
use crate::backend::docker;
use crate::backend::docker::engine::Connected;
use crate::backend::docker::images;
use crate::backend::docker::kept::{self, How};
use crate::cmd::Global;
use crate::cmd::workspaces::agents::Wanted;
use crate::cmd::workspaces::apart;
use crate::cmd::workspaces::base::{Base, ENVIRONMENT, Ground, Loaded, digest};
use crate::cmd::workspaces::given::{Entry, Published, require_free};
use crate::cmd::workspaces::paused::silence;
use crate::cmd::workspaces::{self, Asked, Remembered};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::plan::NetworkMode;
use crate::session::aside;
use crate::session::beneath::Beneath;
use crate::task::Phase;
use crate::ui;
use crate::util::fs::create_private;
use crate::util::text::escape;
use crate::workspace::{self, Mode, Workspace, files, index, seed};
/// Returns all variables of a workspace. Those of this host that a task asks for are given to it once somebody has said so.
pub fn variables(
    base: &Base,
    given: &[Entry],
    environment: &Environment,
    accept: bool,
    allowed: &mut BTreeSet<String>,
) -> Result<Vec<Entry>, Failure> {
    let Some(task) = base.task() else { return Ok(given.to_vec()) };
    let mut may = |names: &BTreeSet<String>| {
        let new: Vec<&str> = names.difference(allowed).map(String::as_str).collect();
        workspaces::ask_for(&new, "the task asks", accept)?;
        allowed.clone_from(names);
        Ok(())
    };
    workspaces::base::variables(&task.task.environment.env, given, environment, &mut may)
}

/// The directory of the task that an older tool makes for an image.
pub const FREE: &str = "pier-task-free";

/// What a workspace begins with.
pub struct Beginning<'a> {
    pub base: &'a Base,
    pub ports: &'a [Published],
    pub entries: &'a [Entry],
    /// Variables of this host that the task may have.
    pub allowed: BTreeSet<String>,
    pub agents: &'a [Wanted],
    /// The first files are still to come.
    pub seeds: bool,
    /// The network that it had before.
    pub network: Option<NetworkMode>,
    /// The digest of the image that its files are of so far, and where they were.
    pub files: Option<(String, Utf8PathBuf)>,
}

/// Starts the container, and writes what the workspace is, last.
pub fn begin(
    global: &Global,
    environment: &Environment,
    workspace: &Workspace,
    start: Beginning<'_>,
) -> Result<(), Failure> {
    // As it is before anything is built of it: what changes meanwhile is told by the next start.
    let task = start.base.task().and_then(|task| digest(&task.directory).ok());
    let Beginning { base, ports, entries, allowed, agents, seeds, network, files: before } = start;
    let root = &workspace.root;
    let failed = |error: std::io::Error| cannot(root, &error);
    let beneath = workspaces::make_records(root)?;
    // What is in there is nobody's to commit: logs, and logins of agents.
    let ignore = Utf8Path::new(workspace::OWN).join(".gitignore");
    if !beneath.has(&ignore).map_err(failed)? {
        beneath.write(&ignore, b"*\n", 0o644).map_err(failed)?;
    }
    match base {
        Base::Image(image) => write_free_task(&beneath, image).map_err(failed)?,
        Base::Task(_) => {}
    }
    let no_mount = workspace.session.no_mount;
    let files = no_mount.then(|| apart::make(environment, root)).transpose()?;
    let apart = files.as_deref();
    let sources = skills::sources(environment, root, &workspace.session, base)?;
    let mounts = &workspace.session.extra_mounts;
    let phase = Phase::Agent;
    let asked = Asked {
        base,
        entries,
        ports,
        mounts,
        agents,
        apart,
        skills: &sources,
        phase,
        instead: None,
        at: None,
    };
    let prepared = workspaces::plan(global, environment, root, &asked)?;
    let is_wider = |before: &NetworkMode| prepared.plan.network.mode.width() > before.width();
    if let Some(before) = network.filter(is_wider)
        && !global.set.iter().any(|setting| setting.trim_start().starts_with("network"))
    {
        let (before, now) = (before.name(), prepared.plan.network.mode.name());
        let message = format!("the network of this workspace was {before}, and would be {now}");
        return Err(Failure::new(Exit::Usage, "workspace::network", message)
            .help("your configuration or the task has changed; if that is meant, say so: `--set network=…`, or `pier rm` first"));
    }
    if seeds {
        first_files(base, &prepared.engine.connect()?, &prepared.ground, apart.unwrap_or(root))?;
    }
    match (no_mount, seeds) {
        (true, true) => apart::begin(environment, root)?,
        // What was changed here meanwhile.
        (true, false) => drop(apart::settle(environment, root)?),
        (false, _) => {}
    }
    if let Some((digest, at)) = before.filter(|(digest, _)| *digest != prepared.ground.image.digest) {
        renew(&prepared.engine.connect()?, (&digest, &at), &prepared.ground, apart.unwrap_or(root))?;
    }
    if let Some(task) = base.task().filter(|task| !task.instruction.is_empty()) {
        let place = Utf8Path::new(INSTRUCTION);
        let tell = &mut workspaces::tell_mended;
        beneath.write_mended(place, &task.instruction, 0o644, tell).map_err(failed)?;
        if let Some(files) = apart {
            Beneath::open(files)
                .and_then(|files| files.write_mended(place, &task.instruction, 0o644, tell))
                .map_err(failed)?;
        }
    }
    let directory = workspace::private(&environment.state, root);
    create_private(&directory).map_err(failed)?;
    require_free(&prepared.plan.ports, environment, root)?;
    let had_one = !seeds && workspaces::remembered(environment, root).is_some_and(|kept| !kept.removed);
    let how = workspaces::open(&prepared, environment, workspace, &directory)?;
    let began = || {
        if let Some(check) = base.task().and_then(|task| task.task.environment.healthcheck.as_ref()) {
            let silence = || silence(environment, root);
            let place = aside::Place { directory: &directory, silence: &silence };
            health::wait(&prepared.plan, place, check)?;
        }
        let text = files::text(root, &workspace.session).map_err(Failure::from)?;
        let kept = Remembered::new(prepared.plan.clone(), ports, allowed, agents);
        let mut kept = kept.with(environment, global);
        kept.task = task;
        workspaces::remember(&directory, kept, &text).map_err(failed)?;
        if how == How::Made && had_one {
            ui::warn("the container was gone, and is a new one: what was installed in it is gone");
        }
        if how == How::Replaced {
            ui::say(
                "the container was made anew: what it is made of has changed, and what was installed in it is gone",
            );
        }
        files::write(root, &text).map_err(Failure::from)?;
        index::add(&environment.home, root, &mut workspaces::tell_damaged).map_err(Failure::from)
    };
    began().inspect_err(|_| {
        if let Ok(engine) = prepared.engine.connect() {
            let name = workspaces::container(workspace);
            if how == How::Continued {
                let _running = kept::close(&engine, &name);
            } else {
                kept::discard(&engine, &name);
            }
        }
        let _kept = workspaces::forget_program(&directory);
    })
}

/// Puts the first files into a workspace: those of the image, and what a task has beside a prepared one.
pub fn first_files(base: &Base, engine: &Connected, ground: &Ground, root: &Utf8Path) -> Result<(), Failure> {
    let mut count = 0;
    if let Some(archive) = workspaces::first_files(engine, ground)? {
        count = seed::unpack(archive, root).map_err(Failure::from)?;
    }
    match base {
        Base::Task(task) if count == 0 && !task.definition.dockerfile => beside(task, root),
        _ => Ok(()),
    }
}

/// Brings what the image has by now, and the one before it had not, to where the workspace has nothing.
fn renew(
    engine: &Connected,
    (digest, at): (&str, &Utf8Path),
    ground: &Ground,
    files: &Utf8Path,
) -> Result<(), Failure> {
    let is_there = images::id(engine, images::Wanted { reference: digest, pin: None })?.is_some();
    let before = if is_there { docker::copy::archive(engine, digest, at.as_str())? } else { None };
    let Some(after) = workspaces::first_files(engine, ground)? else { return Ok(()) };
    let seed::Renewed { added, hidden } = seed::renew(before, after, files).map_err(Failure::from)?;
    if !added.is_empty() {
        ui::say(&format!("new in the image, and in the workspace by now: {}", listed(&added)));
    }
    if !hidden.is_empty() {
        let what = listed(&hidden);
        ui::warn(&format!("the image has others of these by now, and the workspace keeps its own: {what}"));
    }
    Ok(())
}

/// The most paths that are named in a message.
const MOST_NAMED: usize = 10;

fn listed(paths: &[Utf8PathBuf]) -> String {
    let named = paths.iter().take(MOST_NAMED).map(|path| format!("`{}`", escape(path.as_str())));
    let mut text = named.collect::<Vec<_>>().join(", ");
    if paths.len() > MOST_NAMED {
        text.push_str(&format!(" and {} more", paths.len() - MOST_NAMED));
    }
    text
}

/// Puts into a workspace what a task has where its image is defined.
pub fn beside(task: &Loaded, root: &Utf8Path) -> Result<(), Failure> {
    seed::beside(&task.directory.join(ENVIRONMENT), root).map_err(Failure::from)?;
    Ok(())
}

/// Where an agent finds what it has to do.
pub const INSTRUCTION: &str = ".task/instruction.md";

/// Writes the task that an older tool works with where there is none.
fn write_free_task(beneath: &Beneath, image: &str) -> std::io::Result<()> {
    let dockerfile = format!("FROM {image}\nWORKDIR {}\n", workspaces::base::WORKDIR);
    let toml = "[metadata]\nauthor_name = \"pier\"\n\n[environment]\n\n[verifier]\n\n[agent]\n";
    let place = Utf8Path::new(workspace::OWN).join(FREE);
    for (name, text, mode) in [
        ("environment/Dockerfile", dockerfile.as_str(), 0o644),
        ("task.toml", toml, 0o644),
        ("instruction.md", "", 0o644),
        ("tests/test.sh", "#!/bin/bash\nexit 0\n", 0o755),
    ] {
        let path = place.join(name);
        if name.ends_with("Dockerfile") || !beneath.has(&path)? {
            beneath.write(&path, text.as_bytes(), mode)?;
        }
    }
    Ok(())
}

pub fn ready(workspace: &Workspace, base: &Base) {
    if workspace.session.mode == Mode::Host {
        ui::warn("host mode: commands in this workspace run on this host, without any sandbox");
    }
    let root = escape(workspace.root.as_str());
    let mut text = format!(
        "the workspace is ready: {root}\n\n  cd {}\n  pier exec bash",
        crate::util::text::shell_word(&root)
    );
    for agent in &workspace.session.agents {
        if let Some(name) =
            crate::agent::find(agent).ok().and_then(|agent| agent.launchers().first().copied())
        {
            text.push_str(&format!("\n  pier exec {name}"));
        }
    }
    if base.task().is_some_and(|task| !task.instruction.is_empty()) {
        text.push_str(&format!("\n\nwhat is to be done is in {INSTRUCTION}"));
    }
    ui::answer(&text);
}
