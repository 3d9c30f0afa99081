//! Every diagnostic code, with the sentence that explains it. Codes are stable: scripts match on them.

/// `(code, what it means)`, sorted by code. Every one has a snapshot in `tests/it`.
pub const ALL: &[(&str, &str)] = &[];
