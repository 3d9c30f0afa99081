//! `pier start`: a workspace on an image or of a task, or one that is there already.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use jiff::Timestamp;

use super::owner::{self, RootOwned};
use super::workspaces::agents::Wanted;
use super::workspaces::apart;
use super::workspaces::base::{Base, ENVIRONMENT, Ground, Loaded};
use super::workspaces::given::{Entry, Published, kept_entries};
use super::workspaces::remote::Remote;
use super::workspaces::{self, Asked, Remembered};
use super::{Global, Outcome, project};
use crate::backend::docker::engine::Connected;
use crate::backend::docker::kept::{self, How, State};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::session::beneath::Beneath;
use crate::session::keeper;
use crate::task::Phase;
use crate::ui;
use crate::util::fs::create_private;
use crate::util::text::escape;
use crate::workspace::{self, Mode, Session, Workspace, files, index, seed};

mod agent;
mod given;
mod health;
mod host;
mod skills;
mod subject;

use subject::{REMOTE, Subject};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier start ./task -d ./workspace\n  pier start -d ./workspace --image ubuntu:24.04\n  pier start -d . --image my-image --ports 8888 -e DEBUG=1\n  \
    pier start                       start the workspace around here again"
)]
pub struct Start {
    /// A task: a directory, or `URL#path[@ref]`.
    task: Option<String>,
    /// The directory of the workspace.
    #[arg(short, long, value_name = "DIR")]
    dir: Option<Utf8PathBuf>,
    /// The image, where there is no task.
    #[arg(long, value_name = "REFERENCE")]
    image: Option<String>,
    /// An agent to install, at a version that pier was checked against, or at the named one: `NAME[@VERSION]`.
    #[arg(short, long, value_name = "NAME")]
    agent: Option<String>,
    /// Work without a container, and without any sandbox.
    #[arg(long)]
    host: bool,
    /// Publish a port on this machine's loopback interface: `8888`, or `HOST:CONTAINER`.
    #[arg(long, value_name = "PORT", value_parser = Published::parse)]
    ports: Vec<Published>,
    /// Directories to mount, as `["host:container[:ro]", …]`.
    #[arg(long, value_name = "JSON")]
    mounts_json: Option<String>,
    /// A variable for every command; a value that may be a secret is kept in memory alone.
    #[arg(short, value_name = "KEY=VALUE")]
    e: Vec<String>,
    /// Variables, one a line.
    #[arg(long, value_name = "FILE")]
    env_file: Option<Utf8PathBuf>,
    /// Keep the files in the container, and copy them back at the end.
    #[arg(long)]
    no_mount: bool,
    /// A skill, or a directory of skills.
    #[arg(long, value_name = "PATH")]
    skill: Vec<Utf8PathBuf>,
    /// Use a directory that is not empty.
    #[arg(short, long)]
    force: bool,
    /// Start a workspace again by a `.pier/session.json` that this pier has not written, and give a task the variables of
    /// this host that it asks for.
    #[arg(long)]
    accept: bool,
}

pub fn run(global: &Global, args: &Start) -> Outcome {
    refuse_what_is_of_containers(args)?;
    let cwd = project::current_directory()?;
    let subject = match (&args.task, &args.image) {
        (Some(_), Some(_)) => {
            return Err(usage("a task has an image of its own", "leave `--image` out, or the task"));
        }
        (Some(task), None) if Remote::is_meant(task) => Subject::Remote(Remote::parse(task)?),
        (Some(task), None) => Subject::Task(cwd.join(task)),
        (None, Some(image)) => Subject::Image(image.clone()),
        (None, None) => return again(global, args, &cwd),
    };
    let dir = match (&args.dir, &subject) {
        (Some(dir), _) => cwd.join(dir),
        (None, Subject::Remote(remote)) => cwd.join(remote.name()),
        (None, _) => {
            return Err(usage("a new workspace needs a directory", "say which: `pier start -d DIR …`"));
        }
    };
    make(global, args, &subject, &dir)
}

fn usage(message: &str, help: &str) -> Failure {
    Failure::new(Exit::Usage, "workspace::usage", message).help(help)
}

/// No flag is ever ignored: without a container there is nothing that these would be about.
fn refuse_what_is_of_containers(args: &Start) -> Result<(), Failure> {
    let of_containers = [
        (args.no_mount, "--no-mount"),
        (!args.e.is_empty(), "-e"),
        (args.env_file.is_some(), "--env-file"),
        (!args.skill.is_empty(), "--skill"),
        (!args.ports.is_empty(), "--ports"),
        (args.mounts_json.is_some(), "--mounts-json"),
        (args.image.is_some(), "--image"),
        (args.agent.is_some(), "--agent"),
    ];
    match of_containers.iter().find(|(given, _)| *given && args.host) {
        Some((_, flag)) => {
            let message = format!("`{flag}` needs container mode, and `--host` has no container");
            Err(usage(&message, "leave one of the two out"))
        }
        None => Ok(()),
    }
}

/// Makes a workspace; where one is there already, it is started again.
fn make(global: &Global, args: &Start, subject: &Subject, dir: &Utf8Path) -> Outcome {
    let nearest = dir.ancestors().find(|path| path.exists()).unwrap_or(dir);
    let environment = owner::settle(Environment::of_process()?, global, nearest, RootOwned::Refuse)?;
    let failed = |error: std::io::Error| cannot(dir, &error);
    if dir.exists() && !dir.is_dir() {
        return Err(usage(&format!("`{dir}` is not a directory"), "name another one"));
    }
    let there = if dir.is_dir() {
        files::read(&dir.canonicalize_utf8().map_err(failed)?).map_err(Failure::from)?
    } else {
        None
    };
    if there.is_some() {
        let workspace = workspace::at(dir).map_err(Failure::from)?;
        return restart(global, args, Some(subject), &environment, &workspace);
    }
    let is_empty = || Ok::<_, std::io::Error>(dir.read_dir_utf8()?.next().is_none());
    if dir.is_dir() && !args.force && !is_empty().map_err(failed)? {
        return Err(usage(&format!("`{dir}` is not empty"), "`--force` uses it as it is"));
    }
    if args.accept && (args.host || matches!(subject, Subject::Image(_))) {
        return Err(usage("`--accept` is for a task, or for a workspace that is there", "leave it out"));
    }
    let given = given::entries(args)?;
    let mounts = given::mounts(args, &environment)?;
    let base = subject.base(&environment)?;
    let agents: Vec<Wanted> = args.agent.iter().map(|text| Wanted::parse(text)).collect::<Result<_, _>>()?;
    let mut allowed = BTreeSet::new();
    let entries = if args.host {
        Vec::new()
    } else {
        variables(&base, &given, &environment, args.accept, &mut allowed)?
    };
    let cwd = &project::current_directory()?;
    skills::mount(args, &base, cwd, dir)?;
    let (made, was_empty) = (!dir.exists(), dir.exists() && is_empty().map_err(failed)?);
    let own = dir.join(workspace::OWN).symlink_metadata();
    if own.as_ref().is_ok_and(|meta| !meta.is_dir()) {
        return Err(usage(
            &format!("`{dir}/.pier` is there and is no directory"),
            "remove it, or name another directory",
        ));
    }
    std::fs::create_dir_all(dir).map_err(failed)?;
    let root = dir.canonicalize_utf8().map_err(failed)?;
    let (task_dir, image) = match &base {
        Base::Image(image) => (root.join(workspace::OWN).join(FREE), Some(image.clone())),
        Base::Task(task) => (task.directory.clone(), None),
    };
    let mounts: Vec<String> = mounts.into_iter().chain(skills::mount(args, &base, cwd, &root)?).collect();
    let session_id = workspace::session_id(&root);
    let (mode, container, alone) = if args.host {
        (Mode::Host, None, Some(host::session_id(&session_id)))
    } else {
        (Mode::Container, Some(session_id), None)
    };
    let session = Session {
        mode,
        task_ref: task_dir.file_name().map(str::to_owned),
        task_dir,
        harbor_session_id: container,
        host_session_id: alone,
        agents: agents.iter().map(|agent| agent.name.to_owned()).collect(),
        ports: args.ports.iter().map(|port| port.host).collect(),
        extra_mounts: mounts,
        extra_env: given.iter().map(Entry::stored).collect(),
        no_mount: args.no_mount,
        started_at: Some(Timestamp::now()),
        image,
        others: match subject {
            Subject::Remote(remote) => [(REMOTE.to_owned(), remote.text().into())].into_iter().collect(),
            _ => serde_json::Map::new(),
        },
    };
    let workspace = Workspace { root: root.clone(), session };
    let _held = workspaces::hold(&environment, &root)?;
    // Another one may have been faster.
    if files::read(&root).map_err(Failure::from)?.is_some() {
        return Err(usage(&format!("`{root}` has just become a workspace"), "go into it: `pier exec bash`"));
    }
    let start = Beginning {
        base: &base,
        ports: &args.ports,
        entries: &entries,
        allowed,
        agents: &agents,
        seeds: true,
    };
    let composed = || {
        workspaces::make_records(&root)?;
        skills::compose(args, cwd, &root)
    };
    let composed = if args.skill.is_empty() { Ok(()) } else { composed() };
    let begun = composed.and_then(|()| match (&base, mode) {
        (Base::Task(task), Mode::Host) => host::begin(global, &environment, &workspace, task),
        _ => begin(global, &environment, &workspace, start),
    });
    if let Err(error) = begun {
        // A failed start can be repeated as it was.
        if own.is_err() {
            let _own = std::fs::remove_dir_all(root.join(workspace::OWN));
        }
        if args.no_mount {
            let _files = apart::forget(&environment, &root);
        }
        if made {
            let _empty = std::fs::remove_dir_all(&root);
        } else if was_empty {
            clear(&root);
        }
        return Err(error);
    }
    ready(&workspace, &base);
    Ok(Exit::Done)
}

/// Removes what is in a directory, and not the directory.
fn clear(root: &Utf8Path) {
    for entry in root.read_dir_utf8().into_iter().flatten().flatten() {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let path = entry.path();
        let removed = if is_directory { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        if let Err(error) = removed {
            tracing::debug!(%error, path = %entry.path(), "stays");
        }
    }
}

/// Starts the workspace around the current directory.
fn again(global: &Global, args: &Start, cwd: &Utf8Path) -> Outcome {
    let from = args.dir.as_ref().map_or_else(|| cwd.to_owned(), |dir| cwd.join(dir));
    let found = if args.dir.is_some() { workspace::at(&from).map(Some) } else { workspace::around(&from) };
    let Some(workspace) = found.map_err(Failure::from)? else {
        return Err(usage(
            "there is no workspace here, and neither a task path nor an image is given",
            "`pier start TASK -d DIR` and `pier start -d DIR --image IMAGE` make one",
        ));
    };
    let environment = owner::settle(Environment::of_process()?, global, &workspace.root, RootOwned::Refuse)?;
    restart(global, args, None, &environment, &workspace)
}

fn restart(
    global: &Global,
    args: &Start,
    asked: Option<&Subject>,
    environment: &Environment,
    workspace: &Workspace,
) -> Outcome {
    let Workspace { root, session } = workspace;
    if args.force {
        return Err(usage("`--force` is for a new workspace", "leave it out"));
    }
    let subject = subject::of(session, asked)?;
    if session.mode == Mode::Host {
        return host::again(global, args, environment, workspace, &subject);
    }
    if args.host {
        let message = format!("the workspace `{root}` has a container");
        return Err(usage(&message, "leave `--host` out, or use another directory"));
    }
    if args.no_mount && !session.no_mount {
        let message = format!("the workspace `{root}` is mounted");
        return Err(usage(&message, "leave `--no-mount` out, or use another directory"));
    }
    let _held = workspaces::hold(environment, root)?;
    workspaces::require_own(environment, root, args.accept)?;
    let engine = super::image::engine(environment)?.connect()?;
    let name = workspaces::container(workspace);
    let changes = args.image.as_ref().is_some_and(|image| session.image.as_ref() != Some(image))
        || !args.ports.is_empty()
        || args.mounts_json.is_some()
        || !args.e.is_empty()
        || args.env_file.is_some()
        || !args.skill.is_empty();
    let before = workspaces::remembered(environment, root);
    let agents = subject::agents(session, before.as_ref(), args.agent.as_deref())?;
    if kept::state(&engine, &name)? == State::Running {
        if let (false, Some(agent), Some(kept)) = (changes, &args.agent, &before) {
            let kept = kept.clone();
            let base = subject.base(environment)?;
            return agent::add(environment, workspace, kept, &agents, &Wanted::parse(agent)?, &base);
        }
        if changes {
            return Err(usage(
                "the workspace is running, and cannot be changed meanwhile",
                "`pier stop`, then `pier start` with what shall be different",
            ));
        }
        let directory = workspace::private(&environment.state, root);
        if !before.as_ref().is_some_and(|kept| kept.plan.is_joined()) || keeper::answers(&directory) {
            ui::say(&format!("the workspace `{root}` is already running"));
            return Ok(Exit::Done);
        }
        ui::say("the network of this workspace has ended: the container starts again");
        kept::close(&engine, &name)?;
    }
    drop(engine);
    let base = subject.base(environment)?;
    let cwd = &project::current_directory()?;
    let mut session = session.clone();
    if let Base::Image(image) = &base {
        session.image = Some(image.clone());
    }
    let given = given::entries(args)?;
    let given = if args.e.is_empty() && args.env_file.is_none() {
        kept_entries(&session.extra_env, environment)?
    } else {
        session.extra_env = given.iter().map(Entry::stored).collect();
        given
    };
    let mut allowed = before.map(|kept| kept.allowed).unwrap_or_default();
    session.agents = agents.iter().map(|agent| agent.name.to_owned()).collect();
    let entries = variables(&base, &given, environment, args.accept, &mut allowed)?;
    let ports: Vec<Published> = if args.ports.is_empty() {
        workspaces::kept_ports(environment, root, &session.ports)
    } else {
        session.ports = args.ports.iter().map(|port| port.host).collect();
        args.ports.clone()
    };
    let own: Vec<String> =
        session.extra_mounts.iter().filter(|mount| skills::is_mount(root, mount)).cloned().collect();
    if args.mounts_json.is_some() {
        session.extra_mounts = given::mounts(args, environment)?;
        session.extra_mounts.extend(own);
    }
    if let Some(mount) = skills::mount(args, &base, cwd, root)? {
        session.extra_mounts.retain(|mount| !skills::is_mount(root, mount));
        session.extra_mounts.push(mount);
        skills::compose(args, cwd, root)?;
    }
    session.started_at = Some(Timestamp::now());
    let workspace = Workspace { root: root.clone(), session };
    let start =
        Beginning { base: &base, ports: &ports, entries: &entries, allowed, agents: &agents, seeds: false };
    begin(global, environment, &workspace, start)?;
    ready(&workspace, &base);
    Ok(Exit::Done)
}

/// Returns all variables of a workspace. Those of this host that a task asks for are given to it once somebody has said so.
fn variables(
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
const FREE: &str = "pier-task-free";

/// What a workspace begins with.
struct Beginning<'a> {
    base: &'a Base,
    ports: &'a [Published],
    entries: &'a [Entry],
    /// Variables of this host that the task may have.
    allowed: BTreeSet<String>,
    agents: &'a [Wanted],
    /// The first files are still to come.
    seeds: bool,
}

/// Starts the container, and writes what the workspace is, last.
fn begin(
    global: &Global,
    environment: &Environment,
    workspace: &Workspace,
    start: Beginning<'_>,
) -> Result<(), Failure> {
    let Beginning { base, ports, entries, allowed, agents, seeds } = start;
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
    if seeds {
        first_files(base, &prepared.engine.connect()?, &prepared.ground, apart.unwrap_or(root))?;
    }
    match (no_mount, seeds) {
        (true, true) => apart::begin(environment, root)?,
        // What was changed here meanwhile.
        (true, false) => drop(apart::settle(environment, root)?),
        (false, _) => {}
    }
    if let Some(task) = base.task().filter(|task| !task.instruction.is_empty()) {
        let place = Utf8Path::new(INSTRUCTION);
        beneath.write(place, &task.instruction, 0o644).map_err(failed)?;
        if let Some(files) = apart {
            Beneath::open(files)
                .and_then(|files| files.write(place, &task.instruction, 0o644))
                .map_err(failed)?;
        }
    }
    let directory = workspace::private(&environment.state, root);
    create_private(&directory).map_err(failed)?;
    let how = workspaces::open(&prepared, environment, workspace, &directory)?;
    let began = || {
        if let Some(check) = base.task().and_then(|task| task.task.environment.healthcheck.as_ref()) {
            health::wait(&prepared.plan, &directory, check)?;
        }
        let text = files::text(root, &workspace.session).map_err(Failure::from)?;
        let kept = Remembered::new(prepared.plan.clone(), ports, allowed, agents);
        workspaces::remember(&directory, kept, &text).map_err(failed)?;
        if how == How::Replaced {
            ui::say(
                "the container was made anew: what it is made of has changed, and what was installed in it is gone",
            );
        }
        files::write(root, &text).map_err(Failure::from)?;
        index::add(&environment.home, root).map_err(Failure::from)
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
    })
}

/// Puts the first files into a workspace: those of the image, and what a task has beside a prepared one.
fn first_files(base: &Base, engine: &Connected, ground: &Ground, root: &Utf8Path) -> Result<(), Failure> {
    let mut count = 0;
    if let Some(archive) = workspaces::first_files(engine, ground)? {
        count = seed::unpack(archive, root).map_err(Failure::from)?;
    }
    match base {
        Base::Task(task) if count == 0 && !task.definition.dockerfile => beside(task, root),
        _ => Ok(()),
    }
}

/// Puts into a workspace what a task has where its image is defined.
fn beside(task: &Loaded, root: &Utf8Path) -> Result<(), Failure> {
    seed::beside(&task.directory.join(ENVIRONMENT), root).map_err(Failure::from)?;
    Ok(())
}

/// Where an agent finds what it has to do.
const INSTRUCTION: &str = ".task/instruction.md";

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

fn ready(workspace: &Workspace, base: &Base) {
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

fn cannot(path: &Utf8Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, "workspace::files", format!("cannot use `{path}`: {error}"))
        .help("check the space and the permissions of that directory")
}
