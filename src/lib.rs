//! pier, the declarative runtime for coding agents.
//!
//! The map, in the order of the pipeline: `config` reads `pier.kdl` and the layers around it, `policy` says
//! what needs approval, `plan` turns both into pure data, `backend` executes a plan, `session` is what then
//! lives, and `cmd` is the only place that knows them all. ARCHITECTURE.md has the rows.

mod agent;
mod atif;
mod audit;
mod backend;
mod cmd;
mod config;
mod coord;
mod diag;
mod env;
mod gateway;
mod lock;
mod loops;
mod plan;
mod policy;
mod prefix;
mod record;
mod role;
mod schedule;
mod session;
mod sys;
#[cfg_attr(not(test), expect(dead_code, reason = "benchmarks read tasks, which are not there yet"))]
#[expect(unused_imports, reason = "benchmarks read tasks, which are not there yet")]
mod task;
mod trajectory;
mod trial;
mod ui;
mod util;
mod workspace;

use std::process::ExitCode;

// For the targets in `fuzz/`, which `cargo fuzz` builds with this setting.
#[cfg(fuzzing)]
pub use gateway::fuzz;

/// Runs the command line and returns its exit code.
pub fn run() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    // Inside a sandbox this is PID 1: it must not parse a command line meant for people.
    if words.next_if(|word| word == "__init").is_some() {
        return backend::init::main(words);
    }
    // In its network for a moment.
    if words.next_if(|word| word == "__join").is_some() {
        return backend::join::main(words);
    }
    // Beside what an agent has done, to say what it is worth.
    if words.next_if(|word| word == "__judge").is_some() {
        return backend::judge::main(words);
    }
    // In an image that is being made, over its files.
    if words.next_if(|word| word == backend::docker::owned::WORD).is_some() {
        return backend::docker::owned::main(words);
    }
    // Beside a workspace, for as long as that runs.
    if words.next_if(|word| word == session::keeper::WORD).is_some() {
        return session::keeper::main();
    }
    // Beside a call that looks into an image.
    if words.next_if(|word| word == backend::docker::still::WORD).is_some() {
        return backend::docker::still::main();
    }
    if words.next_if(|word| word == backend::pack::WORD).is_some() {
        return backend::pack::main(words);
    }
    if words.next_if(|word| word == backend::variables::WORD).is_some() {
        return backend::variables::main();
    }
    cmd::main()
}
