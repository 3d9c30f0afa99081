//! Workspaces that are not mounted: their files are in a directory of pier's own, and are brought together with the
//! workspace's when it starts, when it stops, and when somebody says so.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::ui;
use crate::util::fs::{create_private, read_bounded, write_atomic};
use crate::util::text::escape;
use crate::workspace;
use crate::workspace::sync::{self, Change, Side, Tree, What};

/// The directory with the files, and what they were when both sides were one, in pier's own of the workspace.
const FILES: &str = "files";
const BASE: &str = "synced.json";

/// The most that is read of the latter, in bytes.
const MOST: u64 = 512 << 20;

/// What the container's version of a file is called where both sides have changed it.
const SUFFIX: &str = ".from-container";

/// Returns where the files are.
pub fn files(environment: &Environment, root: &Utf8Path) -> Utf8PathBuf {
    workspace::private(&environment.state, root).join(FILES)
}

fn failed(path: &Utf8Path) -> impl Fn(io::Error) -> Failure + '_ {
    move |error| {
        let message = format!("cannot bring the files of `{path}` together: {error}");
        Failure::new(Exit::Failed, "workspace::files", message)
            .help("nothing of the container's is lost: `pier sync` tries again")
    }
}

/// Makes the directory of the files, with nothing in it.
pub fn make(environment: &Environment, root: &Utf8Path) -> Result<Utf8PathBuf, Failure> {
    let place = files(environment, root);
    create_private(&workspace::private(&environment.state, root)).map_err(failed(root))?;
    match std::fs::create_dir(&place) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(root)(error)),
        _ => place.canonicalize_utf8().map_err(failed(root)),
    }
}

/// Puts the workspace's files over those that are there: at the beginning.
pub fn begin(environment: &Environment, root: &Utf8Path) -> Result<(), Failure> {
    let place = make(environment, root)?;
    let host = sync::read(root).map_err(failed(root))?;
    let changes: Vec<Change> = host
        .keys()
        .map(|path| Change { path: path.clone(), what: What::Changed, side: Side::Host, conflict: false })
        .collect();
    sync::apply(&changes, Side::Host, root, &place, SUFFIX).map_err(failed(root))?;
    remember(environment, root, &host)
}

/// What was done to bring both together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub to_host: usize,
    pub to_container: usize,
    /// Both sides had changed these: the container's version lies beside.
    pub conflicts: Vec<Utf8PathBuf>,
}

/// Makes both sides one.
pub fn sync(environment: &Environment, root: &Utf8Path) -> Result<Report, Failure> {
    let place = make(environment, root)?;
    let failed = failed(root);
    let base = base(environment, root);
    let (host, container) = (sync::read(root).map_err(&failed)?, sync::read(&place).map_err(&failed)?);
    let changes = sync::compare(&base, &host, &container);
    let to_host = sync::apply(&changes, Side::Container, &place, root, SUFFIX).map_err(&failed)?;
    let conflicts: Vec<Utf8PathBuf> = changes
        .iter()
        .filter(|change| change.conflict && change.side == Side::Container)
        .map(|change| change.path.clone())
        .collect();
    // The host has all of it by now.
    let host = sync::read(root).map_err(&failed)?;
    let rest = sync::compare(&container, &host, &container);
    let to_container = sync::apply(&rest, Side::Host, root, &place, SUFFIX).map_err(&failed)?;
    remember(environment, root, &host)?;
    Ok(Report { to_host, to_container, conflicts })
}

/// Brings both together, and says what people should know of it.
pub fn settle(environment: &Environment, root: &Utf8Path) -> Result<Report, Failure> {
    let report = sync(environment, root)?;
    for path in &report.conflicts {
        let path = escape(path.as_str());
        ui::warn(&format!("`{path}` was changed on both sides: the container's is `{path}{SUFFIX}`"));
    }
    Ok(report)
}

/// Returns what differs.
pub fn changes(environment: &Environment, root: &Utf8Path) -> Result<Vec<Change>, Failure> {
    let place = make(environment, root)?;
    let failed = failed(root);
    let (host, container) = (sync::read(root).map_err(&failed)?, sync::read(&place).map_err(&failed)?);
    Ok(sync::compare(&base(environment, root), &host, &container))
}

fn base(environment: &Environment, root: &Utf8Path) -> Tree {
    let path = workspace::private(&environment.state, root).join(BASE);
    // Without it, whatever differs was added: nothing is removed.
    read_bounded(&path, MOST).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn remember(environment: &Environment, root: &Utf8Path, tree: &Tree) -> Result<(), Failure> {
    let path = workspace::private(&environment.state, root).join(BASE);
    let text = serde_json::to_vec(tree).map_err(io::Error::other);
    text.and_then(|text| write_atomic(&path, &text, 0o600)).map_err(failed(root))
}

/// Forgets the files, which are the workspace's by now.
pub fn forget(environment: &Environment, root: &Utf8Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(files(environment, root)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(root)(error)),
        _ => Ok(()),
    }
}
