//! `pier stop`: ends sessions, gently first.

use std::time::Duration;

use camino::Utf8PathBuf;
use clap::Args;

use super::owner::RootOwned;
use super::verify::temporary;
use super::workspaces::{apart, meant};
use super::{Global, Outcome, owner};
use super::{project, sessions, workspaces};
use crate::backend::docker::kept;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::session::registry::Session;
use crate::session::stop::{self, Stopped};
use crate::ui;
use crate::util::text::{escape, parse_duration};
use crate::workspace::{self, Mode};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier stop                 the workspace around here\n  pier stop k3\n  pier stop --all --time 30s"
)]
pub struct Stop {
    /// The sessions, by the beginning of their names; without any, the workspace around here.
    #[arg(conflicts_with = "all", value_name = "SESSION")]
    sessions: Vec<String>,
    /// The directory of a workspace.
    #[arg(short, long, visible_alias = "workspace-dir", value_name = "DIR", conflicts_with_all = ["all", "sessions"])]
    dir: Option<Utf8PathBuf>,
    /// Every session that is running.
    #[arg(long)]
    all: bool,
    /// How long the command may take to end before it is killed.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    time: Duration,
}

/// Ends the container of a workspace, which stays for the next start.
fn workspace(global: &Global, args: &Stop) -> Outcome {
    let cwd = project::current_directory()?;
    let environment = owner::of_sessions(global)?;
    let found = match &args.dir {
        Some(dir) => workspace::at(&cwd.join(dir))?,
        None => meant::meant(global, &cwd, &environment.home)?,
    };
    let environment = owner::settle(Environment::of_process()?, global, &found.root, RootOwned::Stay)?;
    if found.session.mode == Mode::Host {
        return Err(Failure::new(
            Exit::Failed,
            "workspace::usage",
            "nothing to stop: this workspace has no container",
        ));
    }
    meant::enter(&environment, &found.root);
    let _held = workspaces::hold(&environment, &found.root)?;
    let engine = super::image::engine(&environment)?.connect()?;
    let name = workspaces::container(&found);
    let ran = kept::close(&engine, &name)?;
    temporary::sweep(&environment, &found.root, &engine)?;
    // Also of one that something else has ended.
    let report = found.session.no_mount.then(|| apart::settle(&environment, &found.root)).transpose()?;
    if ran {
        ui::answer(&name);
    } else {
        ui::say(&format!("the workspace `{}` is not running", escape(found.root.as_str())));
    }
    report.map_or(Ok(()), |report| report.require_whole(&environment, &found.root))?;
    Ok(Exit::Done)
}

pub fn run(global: &Global, args: &Stop) -> Outcome {
    if args.sessions.is_empty() && !args.all {
        return workspace(global, args);
    }
    let state = owner::of_sessions(global)?.state;
    let live = sessions::live(&state)?;
    let chosen: Vec<&Session> = if args.all {
        live.iter().collect()
    } else {
        args.sessions.iter().map(|wanted| sessions::find(&live, wanted)).collect::<Result<_, _>>()?
    };
    // All are asked before one is waited for.
    let asked: Vec<_> = chosen.iter().map(|session| stop::ask(&state, session, args.time)).collect();
    let mut failed: Option<Failure> = None;
    for (session, asked) in chosen.iter().zip(asked) {
        match asked.and_then(|asked| asked.wait(&state)) {
            Ok(Stopped::Ended(_) | Stopped::Gone) => ui::answer(&session.id),
            Ok(Stopped::Killed) => {
                ui::warn(&format!("the supervisor of `{}` did not answer and was killed", session.id));
                ui::answer(&session.id);
            }
            Err(error) => match &mut failed {
                None => failed = Some(error.into()),
                Some(failed) => failed.report.problems.extend(Failure::from(error).report.problems),
            },
        }
    }
    failed.map_or(Ok(Exit::Done), Err)
}
