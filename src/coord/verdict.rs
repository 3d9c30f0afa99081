//! What a remote says to a push, as git tells it.

use thiserror::Error;

use crate::backend::git::{self, Answer, failed};

/// What a remote said to a push.
pub enum Verdict {
    Taken,
    /// Somebody else was faster.
    Late,
    /// A lock of git is in the way, at this path of whoever has it.
    Locked(String),
    /// A rule of the remote forbids it.
    Declined(String),
    /// Nobody has answered, or nobody who lets the caller in.
    Away(Away),
}

/// Why a remote has not answered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Away {
    #[error("the remote cannot be reached: {0}")]
    Unreachable(String),
    #[error("the remote does not let you in: {0}")]
    Denied(String),
    /// It has, and never what was to be pushed.
    #[error("others were faster {0} times")]
    Busy(u32),
    /// It has, and the clone could not take it.
    #[error("{0}")]
    Full(String),
}

/// What git and the kernel say of a disk that is full.
const FULL: [&str; 3] = ["No space left on device", "Out of diskspace", "Disk quota exceeded"];

/// Says whether a text tells of a full disk.
pub fn is_full(said: &str) -> bool {
    FULL.iter().any(|reason| said.contains(reason))
}

/// What git says of a lock that it has found, before its path and behind it.
const CREATE: &str = "Unable to create '";
const EXISTS: &str = ".lock': File exists";

/// Returns the path of a lock that git has found in its way, as it says so.
pub fn lock_in(said: &str) -> Option<&str> {
    let from = said.find(CREATE)? + CREATE.len();
    let length = said[from..].find(EXISTS)?;
    said.get(from..from + length + ".lock".len())
}

/// What git and ssh say of one who may not come in.
const DENIED: [&str; 7] = [
    "Permission denied (",
    "Host key verification failed",
    "Authentication failed",
    "could not read Username",
    "could not read Password",
    "returned error: 401",
    "returned error: 403",
];

impl Away {
    /// Reads the end of a call that had to reach the remote.
    pub fn of(error: &git::Error) -> Self {
        let said = said(error);
        if is_full(&said) {
            Away::Full(said)
        } else if DENIED.iter().any(|reason| said.contains(reason)) {
            Away::Denied(said)
        } else {
            Away::Unreachable(said)
        }
    }

    /// Says whether a call has reached the remote.
    pub fn reached(words: &[&str], answer: Result<Answer, git::Error>) -> Result<(), Self> {
        match answer {
            Ok(answer) if answer.code == Some(0) => Ok(()),
            Ok(answer) => Err(Self::of(&failed(words, &answer))),
            Err(error) => Err(Self::of(&error)),
        }
    }
}

pub fn verdict(answer: &Answer) -> Verdict {
    if answer.code == Some(0) {
        return Verdict::Taken;
    }
    let lines = String::from_utf8_lossy(&answer.stdout);
    // Two who push at once to a directory get this, and so does whoever comes after one who was killed.
    if let Some(path) = lock_in(&String::from_utf8_lossy(&answer.stderr)) {
        return Verdict::Locked(path.to_owned());
    }
    // `!`, the references, and the reason in brackets.
    let refused = lines.lines().find(|line| line.starts_with('!')).unwrap_or_default();
    let late = ["fetch first", "non-fast-forward", "stale info", "failed to update ref", "cannot lock ref"];
    if late.iter().any(|reason| refused.contains(reason)) {
        return Verdict::Late;
    }
    let failure = failed(&["push"], answer);
    let error = said(&failure);
    // Two who push at once to a directory get this.
    if error.contains("cannot lock ref") || error.contains("incorrect old value") {
        return Verdict::Late;
    }
    if refused.is_empty() {
        Verdict::Away(Away::of(&failure))
    } else {
        Verdict::Declined(error_of(refused, answer))
    }
}

/// Returns what a remote has given as its reason.
fn error_of(refused: &str, answer: &Answer) -> String {
    let stderr = String::from_utf8_lossy(&answer.stderr);
    let remote: Vec<&str> =
        stderr.lines().filter_map(|line| line.strip_prefix("remote:")).map(str::trim).collect();
    let remote = remote.into_iter().filter(|line| !line.is_empty()).take(3).collect::<Vec<_>>().join("; ");
    let reason = refused.rsplit('\t').next().unwrap_or_default();
    if remote.is_empty() { reason.to_owned() } else { format!("{reason}: {remote}") }
}

pub fn said(error: &git::Error) -> String {
    match error {
        git::Error::Failed { said, .. } => said.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_in_the_way_is_read_out_of_what_git_says() {
        let said =
            "fatal: Unable to create '/a b/.git/index.lock': File exists.\n\nAnother git process seems";
        assert_eq!(lock_in(said), Some("/a b/.git/index.lock"));
        let said = "error: cannot lock ref 'HEAD': Unable to create '/x/HEAD.lock': File exists.";
        assert_eq!(lock_in(said), Some("/x/HEAD.lock"));
        for said in ["", "Unable to create '/x/index.lock': Permission denied", "Unable to create 'x"] {
            assert_eq!(lock_in(said), None, "{said}");
        }
    }
}
