//! Walls that are not there yet: what is open because of them, and why. What holds is taken off.

/// The id of a case, and the reason.
pub const LIST: &[(&str, &str)] =
    &[("A13.tracked", "the objects of git still have what was committed of a hidden file")];
