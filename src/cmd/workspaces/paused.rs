//! No time goes by in a workspace while its files are looked at, and commands wait for that.

use camino::{Utf8Path, Utf8PathBuf};

use super::hold;
use crate::backend::docker::engine::Connected;
use crate::backend::docker::kept;
use crate::cmd::image;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::util::fs::write_atomic;
use crate::workspace;

/// In the directory of a workspace: somebody stops the time there, or was killed doing so.
const MARK: &str = "paused";

/// A container in which nothing happens, until this is dropped.
pub struct Pause<'a> {
    mark: Utf8PathBuf,
    engine: &'a Connected,
    name: &'a str,
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if let Err(error) = kept::thaw(self.engine, self.name) {
            // With its mark, for whoever comes next.
            tracing::warn!(%error, container = self.name, "still paused");
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.mark) {
            tracing::warn!(%error, mark = %self.mark, "not removed");
        }
    }
}

/// Stops the time in a container that runs, for whoever holds the workspace.
pub fn pause<'a>(
    environment: &Environment,
    root: &Utf8Path,
    engine: &'a Connected,
    name: &'a str,
) -> Result<Pause<'a>, Failure> {
    let mark = workspace::private(&environment.state, root).join(MARK);
    let failed = |source| workspace::Error::Io { path: mark.clone(), source };
    write_atomic(&mark, b"", 0o600).map_err(failed)?;
    // One that was killed may have left it so.
    kept::thaw(engine, name)?;
    kept::pause(engine, name).inspect_err(|_| {
        let _removed = std::fs::remove_file(&mark);
    })?;
    Ok(Pause { mark, engine, name })
}

/// Waits for whoever stops the time in a workspace, and lets it go on where nobody does any more.
pub fn awake(environment: &Environment, root: &Utf8Path, name: &str) -> Result<(), Failure> {
    let mark = workspace::private(&environment.state, root).join(MARK);
    if !mark.exists() {
        return Ok(());
    }
    let _held = hold(environment, root)?;
    if mark.exists() {
        kept::thaw(&image::engine(environment)?.connect()?, name)?;
        std::fs::remove_file(&mark).map_err(|error| {
            Failure::new(Exit::Failed, "workspace::files", format!("cannot remove `{mark}`: {error}"))
        })?;
    }
    Ok(())
}
