//! `pier start`: makes a workspace, or starts one again.

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use jiff::Timestamp;

use super::owner::{self, RootOwned};
use super::workspaces::{self, Asked, Entry, Mounted};
use super::{Global, Outcome, project};
use crate::backend::docker::kept::{self, How, State};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::util::fs::{create_private, read_bounded, write_atomic};
use crate::util::text::escape;
use crate::workspace::{self, LOGS, Mode, RECORDS, Session, Workspace, files, index, seed};
use crate::{plan, ui};

/// The most that is read of a file of variables, in bytes.
const MOST_ENTRIES: u64 = 1 << 20;

/// Where the files of a workspace without a task are inside.
const WORKDIR: &str = "/app";

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier start -d ./workspace --image ubuntu:24.04\n  pier start -d . --image my-image --ports 8888 -e DEBUG=1\n  \
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
    /// An agent to install.
    #[arg(short, long, value_name = "NAME")]
    agent: Option<String>,
    /// Work without a container.
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
    /// Start a workspace again by a `.pier/session.json` that this pier has not written.
    #[arg(long)]
    accept: bool,
}

/// A port of the container on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub host: u16,
    pub inside: u16,
}

impl Published {
    fn parse(text: &str) -> Result<Self, String> {
        let (host, inside) = text.split_once(':').unwrap_or((text, text));
        let number = |text: &str| text.parse().ok().filter(|port| *port != 0);
        match (number(host), number(inside)) {
            (Some(host), Some(inside)) => Ok(Published { host, inside }),
            _ => Err("a port is a number from 1 to 65535, alone or as `HOST:CONTAINER`".to_owned()),
        }
    }
}

pub fn run(global: &Global, args: &Start) -> Outcome {
    refuse_what_is_not_there(args)?;
    let cwd = project::current_directory()?;
    match &args.image {
        Some(image) => {
            let Some(dir) = &args.dir else {
                return Err(usage(
                    "a workspace on an image needs a directory",
                    "say which: `pier start -d DIR --image …`",
                ));
            };
            make(global, args, image, &cwd.join(dir))
        }
        None => again(global, args, &cwd),
    }
}

fn usage(message: &str, help: &str) -> Failure {
    Failure::new(Exit::Usage, "workspace::usage", message).help(help)
}

/// No flag is ever ignored.
fn refuse_what_is_not_there(args: &Start) -> Result<(), Failure> {
    let not_yet = [
        (args.task.is_some(), "a task"),
        (args.host, "`--host`"),
        (args.agent.is_some(), "`--agent`"),
        (args.no_mount, "`--no-mount`"),
        (!args.skill.is_empty(), "`--skill`"),
    ];
    match not_yet.iter().find(|(given, _)| *given) {
        Some((_, what)) => Err(Failure::new(
            Exit::Usage,
            "cli::not-yet",
            format!("not available yet: {what} of `pier start`"),
        )),
        None => Ok(()),
    }
}

/// Makes a workspace on an image; where one is there already, it is started again.
fn make(global: &Global, args: &Start, image: &str, dir: &Utf8Path) -> Outcome {
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
        return restart(global, args, &environment, &workspace::at(dir).map_err(Failure::from)?);
    }
    let is_empty = || Ok::<_, std::io::Error>(dir.read_dir_utf8()?.next().is_none());
    if dir.is_dir() && !args.force && !is_empty().map_err(failed)? {
        return Err(usage(&format!("`{dir}` is not empty"), "`--force` uses it as it is"));
    }
    if args.accept {
        return Err(usage("`--accept` is for a workspace that is there", "leave it out"));
    }
    let entries = entries(args)?;
    let mounts = mounts(args, &environment)?;
    let made = !dir.exists();
    let own = dir.join(workspace::OWN).symlink_metadata();
    if own.as_ref().is_ok_and(|meta| !meta.is_dir()) {
        return Err(usage(
            &format!("`{dir}/.pier` is there and is no directory"),
            "remove it, or name another directory",
        ));
    }
    std::fs::create_dir_all(dir).map_err(failed)?;
    let root = dir.canonicalize_utf8().map_err(failed)?;
    let session_id = workspace::session_id(&root);
    let session = Session {
        mode: Mode::Container,
        task_dir: root.join(workspace::OWN).join("pier-task-free"),
        task_ref: Some("pier-task-free".into()),
        harbor_session_id: Some(session_id),
        host_session_id: None,
        agents: Vec::new(),
        ports: args.ports.iter().map(|port| port.host).collect(),
        extra_mounts: mounts,
        extra_env: entries.iter().map(Entry::stored).collect(),
        no_mount: false,
        started_at: Some(Timestamp::now()),
        image: Some(image.to_owned()),
        others: serde_json::Map::new(),
    };
    let workspace = Workspace { root: root.clone(), session };
    let _held = workspaces::hold(&environment, &root)?;
    // Another one may have been faster.
    if files::read(&root).map_err(Failure::from)?.is_some() {
        return Err(usage(&format!("`{root}` has just become a workspace"), "go into it: `pier exec bash`"));
    }
    let began = begin(global, &environment, &workspace, &args.ports, &entries, made || args.force);
    if let Err(error) = began {
        // A failed start can be repeated as it was.
        if own.is_err() {
            let _own = std::fs::remove_dir_all(root.join(workspace::OWN));
        }
        if made {
            let _empty = std::fs::remove_dir_all(&root);
        }
        return Err(error);
    }
    ready(&workspace);
    Ok(Exit::Done)
}

/// Starts the workspace around the current directory.
fn again(global: &Global, args: &Start, cwd: &Utf8Path) -> Outcome {
    let from = args.dir.as_ref().map_or_else(|| cwd.to_owned(), |dir| cwd.join(dir));
    let found = if args.dir.is_some() { workspace::at(&from).map(Some) } else { workspace::around(&from) };
    let Some(workspace) = found.map_err(Failure::from)? else {
        return Err(usage(
            "there is no workspace here, and neither a task path nor an image is given",
            "`pier start -d DIR --image IMAGE` makes one",
        ));
    };
    let environment = owner::settle(Environment::of_process()?, global, &workspace.root, RootOwned::Refuse)?;
    restart(global, args, &environment, &workspace)
}

fn restart(global: &Global, args: &Start, environment: &Environment, workspace: &Workspace) -> Outcome {
    let Workspace { root, session } = workspace;
    if args.force {
        return Err(usage("`--force` is for a new workspace", "leave it out"));
    }
    if session.mode == Mode::Host {
        return Err(Failure::new(
            Exit::Usage,
            "cli::not-yet",
            "not available yet: workspaces without a container",
        ));
    }
    let _held = workspaces::hold(environment, root)?;
    workspaces::require_own(environment, root, args.accept)?;
    let engine = super::image::engine(environment)?.connect()?;
    let name = workspaces::container(workspace);
    let changes = args.image.as_ref().is_some_and(|image| session.image.as_ref() != Some(image))
        || !args.ports.is_empty()
        || args.mounts_json.is_some()
        || !args.e.is_empty()
        || args.env_file.is_some();
    if kept::state(&engine, &name)? == State::Running {
        if changes {
            return Err(usage(
                "the workspace is running, and cannot be changed meanwhile",
                "`pier stop`, then `pier start` with what shall be different",
            ));
        }
        ui::say(&format!("the workspace `{root}` is already running"));
        return Ok(Exit::Done);
    }
    drop(engine);
    let mut session = session.clone();
    if let Some(image) = &args.image {
        session.image = Some(image.clone());
    }
    let given = entries(args)?;
    let entries = if args.e.is_empty() && args.env_file.is_none() {
        workspaces::kept_entries(&session.extra_env, environment)?
    } else {
        session.extra_env = given.iter().map(Entry::stored).collect();
        given
    };
    let ports: Vec<Published> = if args.ports.is_empty() {
        workspaces::kept_ports(environment, root, &session.ports)
    } else {
        session.ports = args.ports.iter().map(|port| port.host).collect();
        args.ports.clone()
    };
    if args.mounts_json.is_some() {
        session.extra_mounts = mounts(args, environment)?;
    }
    session.started_at = Some(Timestamp::now());
    let workspace = Workspace { root: root.clone(), session };
    begin(global, environment, &workspace, &ports, &entries, false)?;
    ready(&workspace);
    Ok(Exit::Done)
}

/// Starts the container, and writes what the workspace is, last.
fn begin(
    global: &Global,
    environment: &Environment,
    workspace: &Workspace,
    ports: &[Published],
    entries: &[Entry],
    seeds: bool,
) -> Result<(), Failure> {
    let root = &workspace.root;
    let failed = |error: std::io::Error| cannot(root, &error);
    let image = workspace.session.image.clone().unwrap_or_default();
    for (name, _) in LOGS {
        std::fs::create_dir_all(root.join(RECORDS).join(name)).map_err(failed)?;
    }
    // What is in there is nobody's to commit: logs, and logins of agents.
    let ignore = root.join(workspace::OWN).join(".gitignore");
    if !ignore.exists() {
        write_atomic(&ignore, b"*\n", 0o644).map_err(failed)?;
    }
    let mounts = &workspace.session.extra_mounts;
    let asked = Asked { image: &image, workdir: WORKDIR, entries, ports, mounts };
    let prepared = workspaces::plan(global, environment, root, &asked)?;
    if seeds && let Some(archive) = workspaces::first_files(&prepared, WORKDIR)? {
        seed::unpack(archive, root).map_err(Failure::from)?;
    }
    let directory = workspace::private(&environment.state, root);
    create_private(&directory).map_err(failed)?;
    let how = workspaces::open(&prepared, workspace, &directory)?;
    let text = files::text(root, &workspace.session).map_err(Failure::from)?;
    workspaces::remember(&directory, &prepared, ports, &text).map_err(failed)?;
    if how == How::Replaced {
        ui::say(
            "the container was made anew: what it is made of has changed, and what was installed in it is gone",
        );
    }
    files::write(root, &text).map_err(Failure::from)?;
    index::add(&environment.home, root).map_err(Failure::from)?;
    Ok(())
}

fn ready(workspace: &Workspace) {
    let root = escape(workspace.root.as_str());
    ui::answer(&format!(
        "the workspace is ready: {root}\n\n  cd {}\n  pier exec bash",
        crate::util::text::shell_word(&root)
    ));
}

fn cannot(path: &Utf8Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, "workspace::files", format!("cannot use `{path}`: {error}"))
        .help("check the space and the permissions of that directory")
}

/// Returns the mounts of the flag, each with an absolute path of the host: another start may be called elsewhere.
fn mounts(args: &Start, environment: &Environment) -> Result<Vec<String>, Failure> {
    let Some(text) = args.mounts_json.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    let wrong =
        |message: &str| usage(message, "write a JSON array of strings, as in `[\"./data:/opt/data:ro\"]`");
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| wrong(&format!("`--mounts-json` is not valid JSON: {error}")))?;
    let list: Vec<String> =
        serde_json::from_value(value).map_err(|_| wrong("`--mounts-json` is not a JSON array of strings"))?;
    let cwd = project::current_directory()?;
    let absolute = |text: &String| {
        let mount = Mounted::parse(text).ok_or_else(|| {
            wrong(&format!(
                "`{}` of `--mounts-json` is not `host:container` or `host:container:ro`",
                escape(text)
            ))
        })?;
        let source = plan::expand(mount.source, &environment.home, &cwd)
            .map_err(|why| wrong(&format!("the path `{}` {why}", escape(mount.source))))?;
        Ok(format!("{source}:{}{}", mount.at, if mount.read_only { ":ro" } else { "" }))
    };
    list.iter().map(absolute).collect()
}

/// Returns the variables of the flags: those of the file first, so that `-e` goes before it.
fn entries(args: &Start) -> Result<Vec<Entry>, Failure> {
    let mut all = Vec::new();
    if let Some(path) = &args.env_file {
        let text = read_bounded(path, MOST_ENTRIES)
            .map_err(|error| usage(&format!("cannot read `{path}`: {error}"), "check its path"))?;
        let text = String::from_utf8(text)
            .map_err(|_| usage(&format!("`{path}` is not UTF-8"), "check its content"))?;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                all.push(Entry::parse(line, &format!("{path}:{number}"))?);
            }
        }
    }
    for text in &args.e {
        all.push(Entry::parse(text, "-e")?);
    }
    Ok(all)
}
