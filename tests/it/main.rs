//! The one integration binary.

#[expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failed unwrap is a failed test")]
mod cli;
#[expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failed unwrap is a failed test")]
mod support;

#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod agents;
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod bad;
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod examples;
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod exec;
#[path = "../model_server/mod.rs"]
mod model_server;
#[path = "model_server/mod.rs"]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod model_server_tests;
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod plan_is_what_runs;
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod sandbox;
#[expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failed unwrap is a failed test")]
mod static_init;
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tidy;
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tty;
