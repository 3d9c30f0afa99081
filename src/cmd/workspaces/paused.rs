//! No time goes by in a workspace while its files are looked at, and commands wait for that; where somebody else has stopped it,
//! they do not wait.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::{hold, is_held};
use crate::backend::docker;
use crate::backend::docker::engine::Connected;
use crate::backend::docker::kept;
use crate::backend::sandbox::{self, Silence};
use crate::cmd::image;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::session;
use crate::util::fs::write_atomic;
use crate::workspace;

/// In the directory of a workspace: somebody stops the time there, or was killed doing so.
const MARK: &str = "paused";

/// How long an engine may take to say whether a container is paused.
const SAYS_WITHIN: Duration = Duration::from_secs(2);

/// A container in which nothing happens, until this is dropped.
pub struct Pause<'a> {
    /// `None` where somebody else has paused it, who lets it go on.
    mark: Option<Utf8PathBuf>,
    engine: &'a Connected,
    name: &'a str,
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        let Some(mark) = &self.mark else { return };
        if let Err(error) = kept::thaw(self.engine, self.name) {
            // With its mark, for whoever comes next.
            tracing::warn!(%error, container = self.name, "still paused");
            return;
        }
        if let Err(error) = std::fs::remove_file(mark) {
            tracing::warn!(%error, %mark, "not removed");
        }
    }
}

fn mark(environment: &Environment, root: &Utf8Path) -> Utf8PathBuf {
    workspace::private(&environment.state, root).join(MARK)
}

/// Says whether pier stops the time in a workspace, or was killed doing so.
fn is_marked(environment: &Environment, root: &Utf8Path) -> bool {
    mark(environment, root).exists()
}

/// Stops the time in a container that runs, for whoever holds the workspace.
pub fn pause<'a>(
    environment: &Environment,
    root: &Utf8Path,
    engine: &'a Connected,
    name: &'a str,
) -> Result<Pause<'a>, Failure> {
    let mark = mark(environment, root);
    if !mark.exists() && kept::is_paused(engine, name)? {
        return Ok(Pause { mark: None, engine, name });
    }
    let failed = |source| workspace::Error::Io { path: mark.clone(), source };
    write_atomic(&mark, b"", 0o600).map_err(failed)?;
    // One that was killed may have left it so.
    kept::thaw(engine, name)?;
    kept::pause(engine, name).inspect_err(|_| {
        let _removed = std::fs::remove_file(&mark);
    })?;
    Ok(Pause { mark: Some(mark), engine, name })
}

/// Waits for whoever stops the time in a workspace, and lets it go on where nobody does any more.
pub fn awake(environment: &Environment, root: &Utf8Path, name: &str) -> Result<(), Failure> {
    let mark = mark(environment, root);
    if !mark.exists() {
        return Ok(());
    }
    let _held = hold(environment, root)?;
    if mark.exists() {
        wake(environment, root, &image::engine(environment)?.connect()?, name)?;
    }
    Ok(())
}

/// Lets the time go on in a container, for whoever holds the workspace; returns whether it was somebody else who had stopped it.
pub fn wake(
    environment: &Environment,
    root: &Utf8Path,
    engine: &Connected,
    name: &str,
) -> Result<bool, Failure> {
    let mark = mark(environment, root);
    let thawed = kept::thaw(engine, name)?;
    match std::fs::remove_file(&mark) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(thawed),
        Err(error) => {
            let message = format!("cannot remove `{mark}`: {error}");
            Err(Failure::new(Exit::Failed, "workspace::files", message))
        }
    }
}

fn name(root: &Utf8Path) -> String {
    workspace::container_name(&workspace::session_id(root))
}

/// Refuses a workspace in which somebody else has stopped the time; for whoever holds it.
pub fn require_awake(environment: &Environment, root: &Utf8Path) -> Result<(), Failure> {
    let container = name(root);
    if !is_marked(environment, root) && kept::is_paused(&image::engine(environment)?.connect()?, &container)?
    {
        let frozen = sandbox::Error::Frozen { container };
        return Err(session::Error::Launch(frozen).into());
    }
    Ok(())
}

/// Says why a workspace does not answer.
pub fn silence(environment: &Environment, root: &Utf8Path) -> Silence {
    let container = name(root);
    if is_marked(environment, root) {
        if is_held(environment, root) {
            return Silence::Looked;
        }
        if let Err(failure) = awake(environment, root, &container) {
            tracing::debug!(?failure, "no time goes by in the workspace");
        }
        return Silence::Unknown;
    }
    let engine = docker::find(&|name| environment.get(name).map(str::to_owned), &environment.home);
    let (told, heard) = mpsc::channel();
    let asked = container.clone();
    // Beside this one, which has a person who may not want to wait for an engine.
    std::thread::spawn(move || {
        let paused = engine.and_then(|engine| kept::is_paused(&engine.connect()?, &asked));
        // Nobody may be there any more.
        let _late = told.send(paused.unwrap_or_else(|error| {
            tracing::debug!(%error, "the engine does not say whether the workspace is paused");
            false
        }));
    });
    match heard.recv_timeout(SAYS_WITHIN) {
        // Whoever looks at its files sets the mark first.
        Ok(true) if is_marked(environment, root) => Silence::Looked,
        Ok(true) => Silence::Frozen { container },
        Ok(false) | Err(_) => Silence::Unknown,
    }
}
