//! Verifications that do not come to their end: what they have started is removed when a signal ends them, else by who comes next.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};

use super::temporary::{self, OF};
use crate::backend::docker::engine::Connected;
use crate::backend::docker::kept;
use crate::cmd::image;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::sys::process;
use crate::ui;
use crate::util::fs::{read_without_links, write_atomic};
use crate::util::text::escape;
use crate::workspace;

/// The file in the directory of a container for the tests that says which workspace they are about.
const ROOT: &str = "workspace";

/// The most that it holds, in bytes.
const MOST_PATH: u64 = 4096;

/// Signals are taken until this goes.
pub struct Watch(Arc<Mutex<bool>>);

impl Drop for Watch {
    fn drop(&mut self) {
        // While what a signal has ended is removed, nothing else ends this process.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

/// Removes what the tests of a workspace run in, when a signal ends this process, and lets the time go on in its `container`.
/// The workspace is held: no other verification of it has anything.
pub fn watch(
    environment: &Environment,
    root: &Utf8Path,
    container: Option<String>,
) -> Result<Watch, Failure> {
    let mut wanted = SigSet::empty();
    // One that is ignored, as by `nohup`, was meant to be.
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        if !process::is_ignored(signal) {
            wanted.add(signal);
        }
    }
    process::block_signals(&wanted).map_err(|error| {
        Failure::new(Exit::Failed, "trial::files", format!("cannot watch signals: {error}"))
    })?;
    let over = Arc::new(Mutex::new(false));
    let (environment, root, known) = (environment.clone(), root.to_owned(), Arc::clone(&over));
    thread::spawn(move || {
        while let Ok(signal) = wanted.wait() {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            if !*known {
                let ended = image::engine(&environment).and_then(|engine| Ok(engine.connect()?));
                let removed = ended.and_then(|engine| {
                    temporary::sweep(&environment, &root, &engine)?;
                    container.as_deref().map_or(Ok(()), |name| Ok(kept::thaw(&engine, name).map(drop)?))
                });
                if let Err(failure) = removed {
                    ui::warn(&format!(
                        "what the tests run in is not removed: {}",
                        escape(&failure.to_string())
                    ));
                }
            }
            process::end_by(signal);
        }
    });
    Ok(Watch(over))
}

/// Says in the directory of a container for the tests which workspace they are about.
pub fn note(directory: &Utf8Path, root: &Utf8Path) -> std::io::Result<()> {
    write_atomic(&directory.join(ROOT), root.as_str().as_bytes(), 0o600)
}

/// Returns the workspace that something was left of in its private directory.
fn left(environment: &Environment, private: &Utf8Path) -> Option<Utf8PathBuf> {
    private.read_dir_utf8().into_iter().flatten().flatten().find_map(|entry| {
        entry.file_name().starts_with(OF).then_some(())?;
        let said = read_without_links(&entry.path().join(ROOT), MOST_PATH).ok()?;
        let root = Utf8PathBuf::from(String::from_utf8(said).ok()?);
        (workspace::private(&environment.state, &root) == private).then_some(root)
    })
}

/// Removes what killed verifications of a workspace have left; returns the workspace where there was something.
fn clear(environment: &Environment, private: &Utf8Path) -> Option<Utf8PathBuf> {
    let root = left(environment, private)?;
    // Who holds the workspace may be verifying it.
    let lock = File::options().write(true).open(private.join(workspace::LOCK)).ok()?;
    let _held = Flock::lock(lock, FlockArg::LockExclusiveNonblock).ok()?;
    let cleared = || -> Result<(), Failure> {
        let engine: Connected = image::engine(environment)?.connect()?;
        temporary::sweep(environment, &root, &engine)
    };
    match cleared() {
        Ok(()) => Some(root),
        Err(failure) => {
            tracing::debug!(%failure, %root, "what a verification left stays");
            None
        }
    }
}

/// Removes what killed verifications of one workspace have left.
pub fn clear_of(environment: &Environment, root: &Utf8Path) {
    let cleared = clear(environment, &workspace::private(&environment.state, root));
    if cleared.is_some() {
        ui::say("removed what a verification that was broken off had left");
    }
}

/// Removes what killed verifications of any workspace have left; returns the workspaces.
pub fn clear_all(environment: &Environment) -> Vec<Utf8PathBuf> {
    let place = workspace::private(&environment.state, Utf8Path::new("/"));
    let entries = place.parent().map(Utf8Path::read_dir_utf8);
    let entries = entries.into_iter().flatten().flatten().flatten();
    entries.filter_map(|entry| clear(environment, entry.path())).collect()
}
