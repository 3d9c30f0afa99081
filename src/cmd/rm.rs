//! `pier rm`: the end of a workspace's container. The files of the workspace stay.

use camino::Utf8PathBuf;
use clap::Args;

use super::owner::{self, RootOwned};
use super::verify::temporary;
use super::workspaces::apart;
use super::{Global, Outcome, image, project, workspaces};
use crate::backend::docker::kept::{self, State};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::ui;
use crate::util::text::escape;
use crate::workspace;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier rm                 of the workspace around here\n  pier rm -d ./workspace --force"
)]
pub struct Rm {
    /// The directory of the workspace.
    #[arg(short, long, value_name = "DIR")]
    dir: Option<Utf8PathBuf>,
    /// Also where it is running.
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
    let found = found?.ok_or(workspace::Error::None { path: cwd })?;
    let environment = owner::settle(Environment::of_process()?, global, &found.root, RootOwned::Stay)?;
    let _held = workspaces::hold(&environment, &found.root)?;
    let engine = image::engine(&environment)?.connect()?;
    let name = workspaces::container(&found);
    temporary::sweep(&environment, &found.root, &engine)?;
    match kept::state(&engine, &name)? {
        State::Absent => {
            ui::say(&format!("there is no container of `{}`", escape(found.root.as_str())));
            // What an earlier call could not bring back.
            if found.session.no_mount && apart::is_there(&environment, &found.root) {
                apart::end(&environment, &found.root)?;
            }
            return Ok(Exit::Done);
        }
        State::Running if !args.force => {
            let message = format!("the workspace `{}` is running", found.root);
            return Err(Failure::new(Exit::Failed, "workspace::running", message)
                .help("`pier stop` ends it; `--force` removes it as it is"));
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
    workspaces::remember_removal(&environment, &found.root)
        .map_err(|source| workspace::Error::Io { path: found.root.clone(), source })?;
    ui::answer(&name);
    ended.map(|()| Exit::Done)
}
