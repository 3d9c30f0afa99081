//! `pier sync`: brings the files of a workspace that is not mounted together with those in its container.

use camino::Utf8PathBuf;
use clap::Args;

use super::owner::{self, RootOwned};
use super::workspaces::{apart, paused};
use super::{Global, Outcome, image, project, workspaces};
use crate::backend::docker::kept::{self, State};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::ui;
use crate::workspace::sync::{Change, Side, What};
use crate::workspace::{self, Workspace};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier sync\n  pier sync -d ./workspace --json\n  pier diff              what would be done"
)]
pub struct Sync {
    /// The directory of the workspace.
    #[arg(short, long, value_name = "DIR")]
    dir: Option<Utf8PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(global: &Global, args: &Sync) -> Outcome {
    let cwd = project::current_directory()?;
    let found = match &args.dir {
        Some(dir) => workspace::at(&cwd.join(dir)).map(Some),
        None => workspace::around(&cwd),
    };
    let found = found?.ok_or(workspace::Error::None { path: cwd })?;
    let environment = require_apart(global, &found)?;
    let _held = workspaces::hold(&environment, &found.root)?;
    let engine = image::engine(&environment)?.connect()?;
    let name = workspaces::container(&found);
    // Nothing is changed inside between a look and a copy.
    let paused = match kept::state(&engine, &name)? {
        State::Running => Some(paused::pause(&environment, &found.root, &engine, &name)?),
        State::Stopped | State::Absent => None,
    };
    let report = apart::settle(&environment, &found.root)?;
    drop(paused);
    if args.json {
        ui::json(&report);
    } else {
        ui::answer(&format!("{} to the host, {} to the container", report.to_host, report.to_container));
    }
    report.require_whole(&environment, &found.root)?;
    Ok(Exit::Done)
}

/// Refuses a workspace that is mounted: it has one side only.
fn require_apart(global: &Global, found: &Workspace) -> Result<Environment, Failure> {
    if !found.session.no_mount {
        let message =
            format!("the files of `{}` are mounted: there is nothing to bring together", found.root);
        return Err(Failure::new(Exit::Usage, "workspace::usage", message)
            .help("this is for workspaces that were started with `--no-mount`"));
    }
    owner::settle(Environment::of_process()?, global, &found.root, RootOwned::Stay)
}

/// Shows what differs, for `pier diff` in a workspace.
pub fn diff(global: &Global, found: &Workspace, json: bool) -> Outcome {
    let environment = require_apart(global, found)?;
    let changes = apart::changes(&environment, &found.root)?;
    if json {
        ui::json(&changes);
        return Ok(Exit::Done);
    }
    for Change { path, what, side, conflict } in changes {
        let what = match what {
            What::Added => "A",
            What::Changed => "M",
            What::Removed => "D",
        };
        let side = match side {
            Side::Host => "host",
            Side::Container => "container",
        };
        let both = if conflict { "  (both)" } else { "" };
        ui::answer(&format!("{what} {side:9} {}{both}", crate::util::text::escape(path.as_str())));
    }
    Ok(Exit::Done)
}
