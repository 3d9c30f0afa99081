//! `pier trajectory`: what agents did, as documents in the Agent Trajectory Interchange Format.

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand};

use super::Outcome;
use crate::atif::prices::Prices;
use crate::diag::{Exit, Failure};
use crate::util::fs::read_bounded;
use crate::util::text::escape;

mod convert;
mod diff;
mod export;
pub mod kept;
mod read;
mod search;
mod show;
mod spans;
mod spool;
mod stats;
mod validate;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier trajectory convert ~/.claude/projects/-home-me-app -o trajectory.json\n  pier trajectory show trial\n  pier trajectory search jobs -t 'permission denied'\n  pier trajectory validate trajectory.json"
)]
pub struct Trajectory {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a trajectory of an agent's own logs.
    Convert(convert::Convert),
    /// List what pier kept of the agents that ran here.
    List(kept::List),
    /// Say whether a trajectory is valid.
    Validate(validate::Validate),
    /// Show one as a conversation.
    Show(show::Show),
    /// Count steps, calls, failures, tokens and costs.
    Stats(stats::Stats),
    /// Compare what two agents did.
    Diff(diff::Diff),
    /// Find steps in many.
    Search(search::Search),
    /// Write them for training, or as spans of `OpenTelemetry`.
    Export(export::Export),
}

/// The largest table of prices that is read, in bytes.
const MOST_PRICES: u64 = 64 << 20;

pub fn run(args: &Trajectory) -> Outcome {
    match &args.what {
        What::Convert(args) => convert::run(args),
        What::List(args) => kept::list(args),
        What::Validate(args) => validate::run(args),
        What::Show(args) => show::run(args),
        What::Stats(args) => stats::run(args),
        What::Diff(args) => diff::run(args),
        What::Search(args) => search::run(args),
        What::Export(args) => export::run(args),
    }
}

/// Returns the table of prices that was named, or pier's own.
fn prices(path: Option<&Utf8PathBuf>) -> Result<Prices, Failure> {
    let Some(path) = path else { return Ok(Prices::embedded()) };
    let failed = |why: String| {
        let message = format!("cannot read the prices in `{}`: {why}", escape(path.as_str()));
        Failure::new(Exit::Usage, "trajectory::prices", message)
            .help("a table has the form of the one in pier's documentation, or of LiteLLM's")
    };
    let text = read_bounded(path, MOST_PRICES).map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8(text).map_err(|_| failed("it is no text".to_owned()))?;
    Prices::parse(&text, path.file_name().unwrap_or("prices")).map_err(|error| failed(error.to_string()))
}

/// What cannot be read is told with its path.
fn unreadable(path: &Utf8Path, why: impl std::fmt::Display) -> Failure {
    let message = format!("cannot read `{}`: {why}", escape(path.as_str()));
    Failure::new(Exit::Failed, "trajectory::read", message).help("name a trajectory: a JSON file")
}
