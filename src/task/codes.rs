//! The codes of problems in tasks; [`crate::diag::codes::ALL`] explains them.

pub const CONFLICT: &str = "task::conflict";
pub const DEPRECATED: &str = "task::deprecated";
pub const FILE: &str = "task::file";
pub const MISSING: &str = "task::missing";
pub const NO_EFFECT: &str = "task::no-effect";
pub const SYNTAX: &str = "task::syntax";
pub const TYPE: &str = "task::type";
pub const UNKNOWN_KEY: &str = "task::unknown-key";
pub const VALUE: &str = "task::value";
