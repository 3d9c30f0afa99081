//! A directory with `.pier/`: what is in it, what it is called, and which one is meant.
//!
//! The files in it are those of an older tool, which reads them, too; what is pier's own is in its state directory.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use thiserror::Error;

use crate::util::fs::{place_name, sha256};

pub mod files;
pub mod index;
pub mod seed;
pub mod skills;
pub mod sync;

pub use files::{Mode, Session};

/// The directory that makes a workspace.
pub const OWN: &str = ".pier";

/// The live records below `.pier`, and where they are inside.
pub const RECORDS: &str = ".pier/_harbor";
///
/// What the verifier writes is not among them: nothing that an agent can write to may hold its own reward.
pub const LOGS: [(&str, &str); 2] = [("agent", "/logs/agent"), ("artifacts", "/logs/artifacts")];

/// Why a workspace cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    #[error("`{path}` is not a workspace: it has no `.pier/session.json`")]
    None { path: Utf8PathBuf },
    #[error("there is no workspace here, and none is active")]
    NoneActive,
    #[error("there is no workspace here, and several are active: {}", .paths.join(", "))]
    Several { paths: Vec<String> },
    #[error("`{path}` is damaged: {said}")]
    Damaged { path: Utf8PathBuf, said: String },
    #[error("cannot use `{path}`")]
    Io {
        path: Utf8PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The workspace whose file it is about.
    pub fn root(&self) -> Option<&Utf8Path> {
        match self {
            Error::None { path } => Some(path),
            Error::Damaged { path, .. } | Error::Io { path, .. } => path.parent().and_then(Utf8Path::parent),
            Error::NoneActive | Error::Several { .. } => None,
        }
    }
}

/// A directory that is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Canonical.
    pub root: Utf8PathBuf,
    pub session: Session,
}

/// Returns the nearest workspace from `cwd` upward; one whose file is damaged is an error, and not passed over.
pub fn around(cwd: &Utf8Path) -> Result<Option<Workspace>, Error> {
    for path in cwd.ancestors() {
        if path.join(files::SESSION).symlink_metadata().is_ok() {
            return at(path).map(Some);
        }
    }
    Ok(None)
}

/// Returns the workspace in a directory.
pub fn at(path: &Utf8Path) -> Result<Workspace, Error> {
    let root = path.canonicalize_utf8().map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let session = files::read(&root)?.ok_or_else(|| Error::None { path: root.clone() })?;
    Ok(Workspace { root, session })
}

/// The first eight digits of the hash of a path.
fn short(root: &Utf8Path) -> String {
    sha256(root.as_str().as_bytes())[..8].to_owned()
}

/// Returns what an older tool calls the session of a workspace: `pier-NAME-1a2b3c4d`.
pub fn session_id(root: &Utf8Path) -> String {
    format!("pier-{}-{}", root.file_name().unwrap_or("workspace"), short(root))
}

/// Returns a session's name as Compose takes it: lower case, letters, digits, `_` and `-`, the first no sign.
pub fn project_name(session_id: &str) -> String {
    let lower = session_id.to_lowercase();
    let mut name: String = lower
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' })
        .collect();
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        name.insert(0, '0');
    }
    name
}

/// Returns the name of the container.
pub fn container_name(session_id: &str) -> String {
    format!("{}-main-1", project_name(session_id))
}

/// The file in pier's own directory of a workspace that who works on that holds.
pub const LOCK: &str = "lock";

/// Returns pier's own directory of a workspace: sockets, generated files, what the plan was.
pub fn private(state: &Utf8Path, root: &Utf8Path) -> Utf8PathBuf {
    state.join("workspaces").join(place_name(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_compose() {
        let root = Utf8Path::new("/home/user/My Work.1");
        let id = session_id(root);
        assert!(id.starts_with("pier-My Work.1-") && id.len() == "pier-My Work.1-".len() + 8, "{id}");
        assert_eq!(project_name("pier-My Work.1-00ff"), "pier-my-work-1-00ff");
        assert_eq!(project_name("-é"), "0--");
        assert_eq!(container_name("pier-a-1"), "pier-a-1-main-1");
    }
}
