//! Pure helpers without a word of the domain.

pub mod fs;
pub mod git;
pub mod left_out;
pub mod passwd;
pub mod pattern;
pub mod planted;
pub mod redact;
pub mod sparse;
pub mod sqlite;
pub mod text;
pub mod unlocked;
