//! Approvals: which grants of a project the user has agreed to, kept outside of the project.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::policy::{self, Grant};
use crate::util::fs::{read_bounded, write_atomic};

const SCHEMA: u32 = 1;

/// The most that an approval may hold, in bytes.
const MOST: u64 = 1024 * 1024;

/// What was approved for one project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    schema: u32,
    /// Canonical root, so that a copied file is no approval for another project.
    project: Utf8PathBuf,
    pub digest: String,
    /// The sentences, so that a change can be shown and a narrowing recognised.
    pub grants: Vec<String>,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot read the approval `{path}`: {source}")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error("the approval `{path}` is not one: {reason}")]
    Invalid { path: Utf8PathBuf, reason: String },
    #[error("cannot store the approval `{path}`: {source}")]
    Write { path: Utf8PathBuf, source: io::Error },
}

fn place(state: &Utf8Path, hash: &str) -> Utf8PathBuf {
    state.join("trust").join(format!("{hash}.json"))
}

/// Returns the approval of a project, if there is one.
///
/// # Errors
/// A file that cannot be read or does not belong to this project: never taken for "nothing approved yet" in
/// silence, nor for an approval.
pub fn load(state: &Utf8Path, hash: &str, project: &Utf8Path) -> Result<Option<Approval>, Error> {
    let path = place(state, hash);
    let bytes = match read_bounded(&path, MOST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Read { path, source }),
    };
    let invalid = |reason: String| Error::Invalid { path: path.clone(), reason };
    let approval: Approval = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    if approval.schema != SCHEMA {
        return Err(invalid(format!("its schema is {}, not {SCHEMA}", approval.schema)));
    }
    if approval.project != project {
        return Err(invalid(format!("it is for `{}`", approval.project)));
    }
    Ok(Some(approval))
}

/// Stores the approval of all these grants, mode 0600.
pub fn store(state: &Utf8Path, hash: &str, project: &Utf8Path, grants: &[Grant]) -> Result<Approval, Error> {
    let path = place(state, hash);
    let approval = Approval {
        schema: SCHEMA,
        project: project.to_owned(),
        digest: policy::digest(grants),
        grants: grants.iter().map(|grant| grant.text.clone()).collect(),
    };
    let failed = |source| Error::Write { path: path.clone(), source };
    let text = serde_json::to_vec_pretty(&approval).map_err(|error| failed(error.into()))?;
    write_atomic(&path, &text, 0o600).map_err(failed)?;
    Ok(approval)
}
