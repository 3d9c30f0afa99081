//! The one integration binary.

#[expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::needless_raw_string_hashes,
    reason = "a failed unwrap is a failed test; snapshots are written with hashes"
)]
mod cli;
#[expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failed unwrap is a failed test")]
mod support;

#[path = "../model_server/mod.rs"]
mod model_server;
#[path = "model_server/mod.rs"]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod model_server_tests;
