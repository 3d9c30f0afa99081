//! `pier rm`: the end of a workspace's container. The files of the workspace stay; of one that is lost, everything that pier has goes.

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;

use super::owner::{self, RootOwned};
use super::verify::temporary;
use super::workspaces::apart;
use super::workspaces::stranded::{self, Stranded};
use super::{Global, Outcome, image, project, workspaces};
use crate::backend::docker::kept::{self, State};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::ui;
use crate::util::fs::remove_tree;
use crate::util::text::escape;
use crate::workspace;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier rm                 of the workspace around here\n  pier rm -d ./workspace --force\n\nOf a workspace whose directory or `.pier/session.json` is gone, it removes all that pier has."
)]
pub struct Rm {
    /// The directory of the workspace.
    #[arg(short, long, value_name = "DIR")]
    dir: Option<Utf8PathBuf>,
    /// Also where it is running, or has files that are nowhere else.
    #[arg(short, long)]
    force: bool,
}

pub fn run(global: &Global, args: &Rm) -> Outcome {
    let cwd = project::current_directory()?;
    let found = match &args.dir {
        Some(dir) => workspace::at(&cwd.join(dir)).map(Some),
        None => workspace::around(&cwd),
    };
    // Never the only one that there is somewhere: what is removed has to be named.
    let found = match found {
        Ok(Some(found)) => found,
        missing => {
            let from = args.dir.as_ref().map_or_else(|| cwd.clone(), |dir| cwd.join(dir));
            return match lost(global, &from, args.dir.is_some())? {
                Some((environment, lost)) => forget(&environment, &lost, args),
                None => Err(missing.err().unwrap_or(workspace::Error::None { path: cwd }).into()),
            };
        }
    };
    let environment = owner::settle(Environment::of_process()?, global, &found.root, RootOwned::Stay)?;
    let _held = workspaces::hold(&environment, &found.root)?;
    let engine = image::engine(&environment)?.connect()?;
    let name = workspaces::container(&found);
    temporary::sweep(&environment, &found.root, &engine)?;
    match kept::state(&engine, &name)? {
        State::Absent => {
            ui::say(&format!("there is no container of `{}`", escape(found.root.as_str())));
            forget_program(&environment, &found.root)?;
            // What an earlier call could not bring back.
            if found.session.no_mount && apart::is_there(&environment, &found.root) {
                apart::end(&environment, &found.root)?;
            }
            return Ok(Exit::Done);
        }
        State::Running if !args.force => {
            return Err(running(&found.root).help("`pier stop` ends it; `--force` removes it as it is"));
        }
        State::Running | State::Stopped => {}
    }
    let mut ended = Ok(());
    if found.session.no_mount {
        if kept::close(&engine, &name)? {
            ui::say("the container was ended, so that its files can be copied");
        }
        // They are in no container, so that it can go whatever becomes of them.
        ended = apart::end(&environment, &found.root);
    }
    kept::discard(&engine, &name);
    forget_program(&environment, &found.root)?;
    workspaces::remember_removal(&environment, &found.root)
        .map_err(|source| workspace::Error::Io { path: found.root.clone(), source })?;
    ui::answer(&name);
    ended.map(|()| Exit::Done)
}

/// Removes what its container had of pier.
fn forget_program(environment: &Environment, root: &Utf8Path) -> Result<(), Failure> {
    let own = workspace::private(&environment.state, root);
    Ok(workspaces::forget_program(&own).map_err(|source| workspace::Error::Io { path: own, source })?)
}

fn running(root: &Utf8Path) -> Failure {
    let message = format!("the workspace `{}` is running", escape(root.as_str()));
    Failure::new(Exit::Failed, "workspace::running", message)
}

/// Returns the workspace that was in a directory, or in one above where none is named.
fn lost(
    global: &Global,
    from: &Utf8Path,
    is_named: bool,
) -> Result<Option<(Environment, Stranded)>, Failure> {
    let Some(place) = stranded::place(from) else { return Ok(None) };
    // Nobody owns a directory that is gone.
    let environment = if place.is_dir() {
        owner::settle(Environment::of_process()?, global, &place, RootOwned::Stay)?
    } else {
        owner::of_sessions(global)?
    };
    let depth = if is_named { 1 } else { usize::MAX };
    let found = place.ancestors().take(depth).find_map(|root| stranded::known(&environment, root));
    Ok(found.map(|found| (environment, found)))
}

/// Removes what pier has of a workspace that is lost.
fn forget(environment: &Environment, lost: &Stranded, args: &Rm) -> Outcome {
    let root = &lost.root;
    let _held = workspaces::hold(environment, root)?;
    if let (Some(files), false) = (&lost.files, args.force) {
        let message = format!(
            "what the container of the lost workspace `{}` had is in `{}`, and nowhere else",
            escape(root.as_str()),
            escape(files.as_str())
        );
        return Err(Failure::new(Exit::Failed, "workspace::lost", message)
            .help("copy what you need out of that; `--force` removes it"));
    }
    if lost.had_container() {
        let engine = image::engine(environment)?.connect()?;
        let name = workspace::container_name(&workspace::session_id(root));
        temporary::sweep(environment, root, &engine)?;
        match kept::state(&engine, &name)? {
            State::Running if !args.force => {
                return Err(running(root).help("`--force` removes it as it is"));
            }
            State::Absent => {}
            State::Running | State::Stopped => kept::discard(&engine, &name),
        }
        // Without its records nobody would find it any more.
        if kept::state(&engine, &name)? != State::Absent {
            let message = format!("the container `{name}` cannot be removed");
            return Err(Failure::new(Exit::Failed, "docker::failed", message)
                .help(format!("`docker rm --force {name}` says why")));
        }
    }
    let own = workspace::private(&environment.state, root);
    remove_tree(&own).map_err(|source| workspace::Error::Io { path: own, source })?;
    ui::answer(&format!("removed all that was left of the workspace {}", escape(root.as_str())));
    Ok(Exit::Done)
}
