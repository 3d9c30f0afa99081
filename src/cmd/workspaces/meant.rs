//! Which workspace a command is about.

use camino::Utf8Path;

use super::{stranded, tell_damaged};
use crate::cmd::owner::{self, RootOwned};
use crate::cmd::{Global, project};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::workspace::{self, Workspace, files, index};

/// What a command in a directory is about.
pub enum Around {
    Workspace(Box<Workspace>),
    /// Or nothing.
    Project,
}

/// Looks upward for a workspace, as far as the nearest `pier.kdl`; where one directory is both, it is a workspace.
pub fn around(cwd: &Utf8Path) -> Result<Around, Failure> {
    for path in cwd.ancestors() {
        if path.join(files::SESSION).symlink_metadata().is_ok() {
            return Ok(Around::Workspace(Box::new(workspace::at(path)?)));
        }
        if path.join(project::FILE).symlink_metadata().is_ok() {
            break;
        }
    }
    Ok(Around::Project)
}

/// Refuses to go on in a workspace that has lost its file, as if it had never been one: what runs there would run in
/// another sandbox.
pub fn refuse_lost(global: &Global, cwd: &Utf8Path) -> Result<(), Failure> {
    let Ok(place) = cwd.canonicalize_utf8() else { return Ok(()) };
    // Whoever may not work here has lost nothing here.
    let environment = Environment::of_process()?;
    let Ok(environment) = owner::settle(environment, global, &place, RootOwned::Stay) else { return Ok(()) };
    let is_project = |path: &Utf8Path| path.join(project::FILE).symlink_metadata().is_ok();
    let mut above = place.ancestors().take_while(|path| !is_project(path));
    match above.find_map(|path| stranded::at(&environment, path)) {
        Some(lost) => {
            let (message, help) = lost.told();
            Err(Failure::new(Exit::NotSetUp, "workspace::lost", message).help(help))
        }
        None => Ok(()),
    }
}

/// Returns the workspace that a command is about: the one around here, or the only one.
pub fn meant(global: &Global, cwd: &Utf8Path, home: &Utf8Path) -> Result<Workspace, Failure> {
    if let Some(found) = workspace::around(cwd)? {
        return Ok(found);
    }
    refuse_lost(global, cwd)?;
    Ok(index::only(home, &mut tell_damaged)?)
}

/// Lists a workspace that is used, in case the list was lost.
pub fn enter(environment: &Environment, root: &Utf8Path) {
    if let Err(error) = index::add(&environment.home, root, &mut tell_damaged) {
        tracing::debug!(%error, %root, "not listed");
    }
}
