//! `pier drop`: what a session committed is forgotten, with what was kept of its directory.

use clap::Args;

use super::settle;
use super::{Global, Outcome};
use crate::diag::Exit;
use crate::session::shadow::settle::Host;
use crate::ui;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier drop            the newest session\n  pier drop k7w        the session whose name starts so"
)]
pub struct Drop {
    /// The session, or the start of its name; the newest one otherwise.
    session: Option<String>,
}

pub fn run(global: &Global, args: &Drop) -> Outcome {
    let found = settle::find(global, args.session.as_deref())?;
    let settle::Found { project, git, imported, kept } = found;
    let host = Host { git: &git, record: &imported.record };
    let all: Vec<&str> = imported.references.keys().map(String::as_str).collect();
    host.remove(&imported.session, &imported.references, &all)?;
    settle::forget(&project, &imported.record, &imported.session);
    for (name, id) in &imported.references {
        ui::answer(&format!("dropped {}, which was {}", settle::short(name), &id[..12]));
    }
    if let Some((place, _)) = kept {
        ui::answer(&format!("removed {}", place.path));
        place.discard();
    }
    Ok(Exit::Done)
}
