//! Workspaces without a container: the files of a task, and commands on this host.

use std::collections::BTreeSet;

use camino::Utf8Path;

use super::begin::{INSTRUCTION, beside, first_files, ready};
use super::{Start, Subject, cannot, usage};
use crate::cmd::image::fetch::For;
use crate::cmd::workspaces::Remembered;
use crate::cmd::workspaces::base::{Base, Loaded};
use crate::cmd::{Global, Outcome, image, workspaces};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::session::beneath::Beneath;
use crate::ui;
use crate::util::fs::{create_private, sha256};
use crate::workspace::{self, Workspace, files, index};

/// Returns what an older tool calls a session without a container.
pub fn session_id(of: &str) -> String {
    format!("host-{:.8}", sha256(of.as_bytes()))
}

/// Makes the workspace of a task.
pub fn begin(
    global: &Global,
    environment: &Environment,
    workspace: &Workspace,
    task: &Loaded,
) -> Result<(), Failure> {
    let root = &workspace.root;
    if task.task.agent.user.as_ref().is_some_and(|user| !user.is_root()) {
        ui::warn("`[agent] user` has no effect: without a sandbox, commands are those of their caller");
    }
    seed(environment, root, task)?;
    let failed = |error: std::io::Error| cannot(root, &error);
    let beneath = Beneath::open(root).map_err(failed)?;
    // What the task says later is what is read then.
    beneath.link(Utf8Path::new(INSTRUCTION), &task.directory.join("instruction.md")).map_err(failed)?;
    let ignore = Utf8Path::new(workspace::OWN).join(".gitignore");
    if !beneath.has(&ignore).map_err(failed)? {
        beneath.write(&ignore, b"*\n", 0o644).map_err(failed)?;
    }
    store(global, environment, workspace)
}

/// Puts the first files there: out of the image, where an engine can make it.
fn seed(environment: &Environment, root: &Utf8Path, task: &Loaded) -> Result<(), Failure> {
    let base = &Base::Task(Box::new(task.clone()));
    let reached = image::engine(environment).and_then(|engine| Ok((engine.connect()?, engine)));
    match reached {
        Ok((connected, engine)) => {
            let ground = base.ground(For { environment, root }, (&engine, &connected))?;
            first_files(base, &connected, &ground, root)
        }
        Err(error) => {
            ui::say(&format!("the files are those beside the Dockerfile, for there is no engine: {error}"));
            beside(task, root)
        }
    }
}

/// Writes what the workspace is, last.
fn store(global: &Global, environment: &Environment, workspace: &Workspace) -> Result<(), Failure> {
    let root = &workspace.root;
    let failed = |error: std::io::Error| cannot(root, &error);
    let plan = workspaces::plan_without_sandbox(global, environment, root)?;
    let directory = workspace::private(&environment.state, root);
    create_private(&directory).map_err(failed)?;
    let text = files::text(root, &workspace.session).map_err(Failure::from)?;
    let kept = Remembered::new(plan, &[], BTreeSet::new(), &[]);
    workspaces::remember(&directory, kept, &text).map_err(failed)?;
    files::write(root, &text).map_err(Failure::from)?;
    index::add(&environment.home, root, &mut workspaces::tell_damaged).map_err(Failure::from)
}

/// There is nothing to start again.
pub fn again(
    global: &Global,
    args: &Start,
    environment: &Environment,
    workspace: &Workspace,
    subject: &Subject,
) -> Outcome {
    let root = &workspace.root;
    if args.agent.is_some() {
        return Err(usage(
            "`--agent` needs container mode",
            "start the task in another directory without `--host`",
        ));
    }
    let given = args.image.is_some()
        || !args.ports.is_empty()
        || args.mounts_json.is_some()
        || !args.e.is_empty()
        || args.env_file.is_some()
        || args.no_mount
        || !args.skill.is_empty();
    if given {
        let message = format!("the workspace `{root}` has no container that this could be about");
        return Err(usage(&message, "leave the flags out, or use another directory"));
    }
    let _held = workspaces::hold(environment, root)?;
    if !workspaces::is_own(environment, root)? {
        workspaces::require_own(environment, root, args.accept)?;
        store(global, environment, workspace)?;
        ready(workspace, &subject.base(environment)?);
        return Ok(Exit::Done);
    }
    ui::say(&format!("the workspace `{root}` already exists"));
    Ok(Exit::Done)
}
