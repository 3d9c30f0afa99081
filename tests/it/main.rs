//! The one integration binary.

#[expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failed unwrap is a failed test")]
mod cli_init;
#[path = "../model_server/mod.rs"]
mod model_server;
#[path = "model_server/mod.rs"]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod model_server_tests;
