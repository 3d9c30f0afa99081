//! Walls that are not there yet: what is open because of them, and why. What holds is taken off.

/// The id of a case, and the reason.
pub const LIST: &[(&str, &str)] = &[];
