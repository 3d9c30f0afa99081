//! The codes of problems in configuration files; [`crate::diag::codes::ALL`] explains them.

pub const BAD_PATH: &str = "config::bad-path";
pub const BAD_VALUE: &str = "config::bad-value";
pub const CONTROL: &str = "config::control-character";
pub const DUPLICATE: &str = "config::duplicate";
pub const EDIT_REFUSED: &str = "config::edit-refused";
pub const EXTRA_VALUE: &str = "config::extra-value";
pub const INCLUDE: &str = "config::include";
pub const MISSING_VALUE: &str = "config::missing-value";
pub const NOT_UTF8: &str = "config::not-utf8";
pub const SYNTAX: &str = "config::syntax";
pub const TOO_DEEP: &str = "config::too-deep";
pub const TOO_LARGE: &str = "config::too-large";
pub const TOO_MANY: &str = "config::too-many";
pub const TYPE: &str = "config::type";
pub const TYPE_ANNOTATION: &str = "config::type-annotation";
pub const UNKNOWN_NODE: &str = "config::unknown-node";
pub const UNKNOWN_PROFILE: &str = "config::unknown-profile";
pub const UNKNOWN_PROPERTY: &str = "config::unknown-property";
pub const UNREADABLE: &str = "config::unreadable";
