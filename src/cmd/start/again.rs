//! A workspace that is there, started again.

use camino::Utf8Path;
use jiff::Timestamp;

use super::begin::{Beginning, begin, ready, variables};
use super::subject::Subject;
use super::{Start, agent, given, host, skills, subject, usage};
use crate::backend::docker::kept::{self, State};
use crate::cmd::owner::{self, RootOwned};
use crate::cmd::verify::broken_off;
use crate::cmd::workspaces::agents::Wanted;
use crate::cmd::workspaces::base::{Base, digest};
use crate::cmd::workspaces::given::{Published, kept_entries, named, stored};
use crate::cmd::workspaces::{self, Remembered, meant, paused, stranded};
use crate::cmd::{Global, Outcome, project};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::plan::RootFilesystem;
use crate::session::keeper;
use crate::ui;
use crate::util::text::escape;
use crate::workspace::{self, Mode, Workspace};

/// Starts the workspace around the current directory.
pub fn around(global: &Global, args: &Start, cwd: &Utf8Path) -> Outcome {
    let from = args.dir.as_ref().map_or_else(|| cwd.to_owned(), |dir| cwd.join(dir));
    restore_lost(global, args, &from)?;
    let found = if !from.exists() {
        Ok(None)
    } else if args.dir.is_some() {
        workspace::at(&from).map(Some)
    } else {
        workspace::around(&from)
    };
    let Some(workspace) = found.map_err(Failure::from)? else {
        return Err(usage(
            "there is no workspace here, and neither a task path nor an image is given",
            "`pier start TASK -d DIR` and `pier start -d DIR --image IMAGE` make one",
        ));
    };
    let environment = owner::settle(
        Environment::of_process()?,
        global,
        &workspace.root,
        RootOwned::of_mode(workspace.session.mode),
    )?;
    restart(global, args, None, &environment, &workspace)
}

/// Writes the file of a workspace again that has lost it, or names it; where there is no other one.
fn restore_lost(global: &Global, args: &Start, from: &Utf8Path) -> Result<(), Failure> {
    let Ok(root) = from.canonicalize_utf8() else { return Ok(()) };
    if !workspace::around(&root).is_ok_and(|found| found.is_none()) {
        return Ok(());
    }
    // Whoever may not work here has lost nothing here.
    let environment = Environment::of_process()?;
    let Ok(environment) = owner::settle(environment, global, &root, RootOwned::Refuse) else { return Ok(()) };
    match root.ancestors().find_map(|path| stranded::at(&environment, path)) {
        Some(lost) => lost.restore(&environment, args.accept),
        None => Ok(()),
    }
}

pub fn restart(
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
    broken_off::clear_of(environment, root);
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
    if let Some(before) = stranded::moved(environment, workspace) {
        stranded::take_over(environment, &before, root, args.accept)?;
    }
    workspaces::require_own(environment, root, args.accept)?;
    let engine = crate::cmd::image::engine(environment)?.connect()?;
    let name = workspaces::container(workspace);
    let changes = args.image.as_ref().is_some_and(|image| session.image.as_ref() != Some(image))
        || !args.ports.is_empty()
        || args.mounts_json.is_some()
        || !args.e.is_empty()
        || args.env_file.is_some()
        || !args.skill.is_empty()
        || !global.set.is_empty();
    let before = workspaces::remembered(environment, root);
    let agents = subject::agents(session, before.as_ref(), args.agent.as_deref())?;
    let directory = workspace::private(&environment.state, root);
    let is_there = kept::state(&engine, &name)? == State::Running;
    if is_there {
        // Nobody verifies it now.
        if paused::wake(environment, root, &engine, &name)? {
            ui::say("the container was paused, and goes on now");
        }
    }
    // What a killed start has left is on its way to its end, and is ended before anything starts.
    if is_there && kept::serves(&directory) {
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
        if !before.as_ref().is_some_and(|kept| kept.plan.is_joined()) || keeper::answers(&directory) {
            ui::say(&format!("the workspace `{root}` is already running"));
            meant::enter(environment, root);
            tell_changed(&subject, before.as_ref());
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
    let given = if args.e.is_empty() && args.env_file.is_none() {
        let kept = kept_entries(&session.extra_env, environment)?;
        if !kept.of_caller.is_empty() {
            ui::say(&format!("from your environment, as it is now: {}", named(&kept.of_caller)));
        }
        if !kept.were_written.is_empty() {
            ui::say(&format!(
                "no value is written from now on, and the next start wants these again: {}",
                named(&kept.were_written)
            ));
        }
        session.extra_env = kept.stored;
        kept.entries
    } else {
        let given = given::entries(args, environment)?;
        session.extra_env = stored(&given);
        given
    };
    // What it was started with still holds: a network that was closed is not opened by starting again.
    let mut global = global.clone();
    let known = before.as_ref().filter(|kept| !kept.removed);
    if let Some(kept) = known {
        global.set.splice(0..0, kept.set.iter().cloned());
        global.profile = global.profile.or_else(|| kept.profile.clone());
    }
    let network = known.map(|kept| kept.plan.network.mode);
    let files = before.as_ref().and_then(|kept| match &kept.plan.root {
        RootFilesystem::Image { digest, .. } => Some((digest.clone(), kept.plan.project.at.clone())),
        _ => None,
    });
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
    let start = Beginning {
        base: &base,
        ports: &ports,
        entries: &entries,
        allowed,
        agents: &agents,
        seeds: false,
        network,
        files,
    };
    begin(&global, environment, &workspace, start)?;
    ready(&workspace, &base);
    Ok(Exit::Done)
}

/// Says whether the task of a workspace that runs is another one by now.
fn tell_changed(subject: &Subject, before: Option<&Remembered>) {
    let (Subject::Task(directory), Some(was)) = (subject, before.and_then(|kept| kept.task.as_ref())) else {
        return;
    };
    match digest(directory) {
        Ok(now) if now == *was => {}
        Ok(_) => ui::warn(
            "the files of its task have changed since it was started: `pier stop`, then `pier start`, builds it anew by them",
        ),
        Err(error) => ui::warn(&format!(
            "whether its task has changed is not known: `{}` cannot be read: {}",
            escape(directory.as_str()),
            escape(&error.to_string())
        )),
    }
}
