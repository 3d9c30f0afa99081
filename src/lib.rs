//! pier, the declarative runtime for coding agents.
//!
//! The map, in the order of the pipeline: `config` reads `pier.kdl` and the layers around it, `policy` says
//! what needs approval, `plan` turns both into pure data, `backend` executes a plan, `session` is what then
//! lives, and `cmd` is the only place that knows them all. ARCHITECTURE.md has the rows.

#![expect(dead_code, reason = "no command uses these modules")]

mod config;
mod diag;
mod util;

use std::process::ExitCode;

/// Runs the command line and returns its exit code.
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
