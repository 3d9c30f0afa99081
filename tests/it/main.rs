//! The one integration binary.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::needless_raw_string_hashes,
    reason = "a failed unwrap is a failed test; snapshots are written with hashes"
)]

mod addresses;
mod agents;
mod attacks;
mod audit;
mod bad;
mod cli;
mod cli_init;
mod coord;
mod dependencies;
mod differences;
mod docker;
mod docs;
mod examples;
mod exec;
mod flake;
mod gate;
mod git;
mod grants;
mod guard;
mod hostile;
mod install;
mod lifetime;
mod limits;
#[path = "../model_server/mod.rs"]
mod model_server;
#[path = "model_server/mod.rs"]
mod model_server_tests;
mod network;
mod nix;
mod old_names;
mod parity;
mod plan_is_what_runs;
mod role;
mod sandbox;
mod sessions;
mod stand_in;
mod static_init;
mod support;
mod tidy;
mod trajectory;
mod tty;
mod walls;
mod workspaces;
