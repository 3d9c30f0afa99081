//! How a step of a loop has ended: it was made, somebody else was faster, or the remote does not take it now.

use crate::diag::Failure;

/// What became of a claim, or of another step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    Mine,
    /// Somebody else has it, or it is in another state by now.
    Lost(String),
    /// The remote does not answer, or does not take it.
    NotNow(String),
}

pub fn has_code(failure: &Failure, codes: &[&str]) -> bool {
    failure.report.problems.iter().any(|problem| codes.contains(&problem.code))
}

/// Returns what a failure says first.
pub fn first(failure: &Failure) -> String {
    failure.report.problems.first().map(|problem| problem.message.clone()).unwrap_or_default()
}

/// Returns what is said where only the remote is not to be had; anything else ends the loop.
pub fn unreachable(failure: Failure) -> Result<String, Failure> {
    if has_code(&failure, &["coord::remote"]) { Ok(first(&failure)) } else { Err(failure) }
}

/// Tells a step that somebody else was faster with, and one that the remote does not take, from what ends the loop.
pub fn settled<T>(done: Result<T, Failure>) -> Result<Claimed, Failure> {
    match done {
        Ok(_) => Ok(Claimed::Mine),
        Err(failure) if has_code(&failure, &["coord::refused", "coord::item", "coord::broken"]) => {
            Ok(Claimed::Lost(first(&failure)))
        }
        Err(failure) => unreachable(failure).map(Claimed::NotNow),
    }
}
