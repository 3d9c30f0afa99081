//! A private git directory in place of the repository's own: made without git before the start, and at the end
//! read like anything else that a stranger has written. Only a fetch brings its commits to the host.

use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::backend::git;
use crate::plan::{Merge, Plan};
use crate::util::fs::{read_without_links, write_atomic};
use crate::util::git::{Target, parse_packed};

mod clone;
mod filtered;
mod hostile;
pub mod import;
mod prepare;
pub mod references;
mod settings;
pub mod settle;

pub use prepare::{Unfilled, prepare};

const SCHEMA: u32 = 1;

/// What a session's directory says about its shadow, for a later `pier merge`: a line of JSON, and the references
/// at the start in the form of a `packed-refs`. The sandbox does not see it.
pub const RECORD: &str = "shadow";

/// The most that is read of a record, in bytes.
const MOST_RECORD: u64 = 256 * 1024 * 1024;

/// Why there is no private git directory, or why its commits did not come back.
#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot make a private git directory for `{directory}`: {source}")]
    Prepare { directory: Utf8PathBuf, source: io::Error },
    #[error("cannot make a private clone of `{directory}`")]
    Clone {
        directory: Utf8PathBuf,
        #[source]
        source: git::Error,
    },
    #[error("cannot leave hidden files out of what git shows of `{directory}`")]
    Filter {
        directory: Utf8PathBuf,
        #[source]
        source: git::Error,
    },
    #[error("cannot read the references of `{directory}`: {source}")]
    References { directory: Utf8PathBuf, source: io::Error },
    #[error("cannot take over the objects of the session: {source}")]
    Objects { source: io::Error },
    #[error("cannot import the commits of the session")]
    Fetch {
        #[source]
        source: git::Error,
    },
    #[error("cannot store what belongs to the session: {source}")]
    Record { source: io::Error },
    #[error("it is not certain that everything in the sandbox has ended")]
    Running,
}

/// What is known of a shadow, and of the repository that it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    schema: u32,
    pub project: Utf8PathBuf,
    pub directory: Utf8PathBuf,
    pub common: Utf8PathBuf,
    pub merge: Merge,
    pub clone: bool,
    /// What is hidden in a clone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<String>,
    /// `HEAD` at the start.
    pub head: Option<Target>,
    /// `HEAD` of the shadow at the end, as far as it leads to a commit or a branch.
    pub end: Option<Target>,
}

/// A shadow in the directory of its session.
pub struct Shadow {
    pub place: Utf8PathBuf,
    pub record: Record,
    /// The references at the start.
    pub start: BTreeMap<String, String>,
    /// The store of objects that it uses, where something is hidden.
    filtered: Option<filtered::Filtered>,
}

/// Says whether the directory of a dead session holds work that is not on the host: whoever clears up leaves it.
///
/// # Errors
/// The shadow cannot be read, which is a reason to leave it too.
pub fn holds_work(place: &Utf8Path) -> io::Result<bool> {
    match Shadow::load(place)? {
        None => Ok(false),
        // Only git can tell what a working tree holds that no commit has.
        Some(shadow) if shadow.record.clone => Ok(true),
        Some(shadow) => import::has_changes(&shadow),
    }
}

impl Shadow {
    /// Loads the shadow that a session has left behind; `None` where it has none.
    pub fn load(place: &Utf8Path) -> io::Result<Option<Self>> {
        let Some((record, rest)) = load_record(&place.join(RECORD))? else { return Ok(None) };
        let (start, _) = parse_packed(&rest);
        Ok(Some(Shadow { place: place.to_owned(), record, start, filtered: None }))
    }
}

/// Loads a record, and returns it with what stands behind its line.
fn load_record(path: &Utf8Path) -> io::Result<Option<(Record, Vec<u8>)>> {
    let mut text = match read_without_links(path, MOST_RECORD) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let record: Record = serde_json::from_slice(&text[..end])?;
    if record.schema != SCHEMA {
        return Err(io::Error::other(format!("the schema of `{path}` is {}, not {SCHEMA}", record.schema)));
    }
    Ok(Some((record, text.split_off(end))))
}

/// Where the record of an imported session is.
pub fn imported_place(state: &Utf8Path, session: &str) -> Utf8PathBuf {
    state.join("imports").join(format!("{session}.json"))
}

/// Returns what is known of a session whose commits were imported.
pub fn imported(state: &Utf8Path, session: &str) -> io::Result<Option<Record>> {
    Ok(load_record(&imported_place(state, session))?.map(|(record, _)| record))
}

/// Keeps what is known of a session whose commits are in `refs/pier`.
fn keep_imported(state: &Utf8Path, session: &str, record: &Record) -> io::Result<()> {
    write_atomic(&imported_place(state, session), &serde_json::to_vec(record)?, 0o600)
}

/// Forgets a session that is settled.
pub fn forget(state: &Utf8Path, session: &str) -> io::Result<()> {
    match fs_err::remove_file(imported_place(state, session)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What is known of a session without its record: its files are taken to be elsewhere, which touches least.
pub fn unknown(project: &Utf8Path, directory: &Utf8Path, common: &Utf8Path) -> Record {
    Record {
        schema: SCHEMA,
        project: project.to_owned(),
        directory: directory.to_owned(),
        common: common.to_owned(),
        merge: Merge::Manual,
        clone: true,
        hidden: Vec::new(),
        head: None,
        end: None,
    }
}

fn record(plan: &Plan, head: Option<Target>) -> Option<Record> {
    let (git, shadow) = (&plan.git, plan.git.shadow.as_ref()?);
    Some(Record {
        schema: SCHEMA,
        project: plan.project.root.clone(),
        directory: git.directory.clone()?,
        common: git.common.clone()?,
        merge: shadow.merge,
        clone: shadow.clone,
        hidden: shadow.filtered.iter().flat_map(|filtered| filtered.patterns.iter().cloned()).collect(),
        head,
        end: None,
    })
}
