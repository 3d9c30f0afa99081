//! One evaluation: what an agent did with a task, and what that is worth.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use thiserror::Error;

use crate::backend::docker;
use crate::diag::Problem;

pub mod assemble;
pub mod rewards;
pub mod verify;

/// Why there is no trial.
#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Docker(#[from] docker::Error),
    #[error("the tests ran longer than {seconds} seconds")]
    TimedOut { seconds: f64 },
    #[error("the tests cannot run: {why}")]
    Failed { why: String },
    #[error("{}", .0.message)]
    Tests(Problem),
    #[error("the tests left no reward: neither `reward.json` nor `reward.txt` is in `/logs/verifier`")]
    NoReward,
    #[error("the tests left no reward, and ended with {code}: {why}")]
    NoProgram { code: u8, why: String },
    #[error("`{file}` of the tests is no reward: {why}")]
    Reward { file: &'static str, why: String },
    #[error("cannot use `{path}`")]
    Io {
        path: Utf8PathBuf,
        #[source]
        source: io::Error,
    },
}

fn failed(path: &Utf8Path) -> impl Fn(io::Error) -> Error + '_ {
    move |source| Error::Io { path: path.to_owned(), source }
}
