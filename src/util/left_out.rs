//! What was left out of a copy, and why.

use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::text::escape;

/// How many of what was left out are named.
const NAMED: usize = 5;

/// Paths with the reason of each, and how many more there are.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub struct LeftOut {
    named: Vec<(Utf8PathBuf, String)>,
    more: usize,
}

impl LeftOut {
    pub fn is_nothing(&self) -> bool {
        self.named.is_empty()
    }

    pub fn add(&mut self, path: &Utf8Path, why: &impl fmt::Display) {
        if self.named.len() < NAMED {
            self.named.push((path.to_owned(), why.to_string()));
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (path, why)) in self.named.iter().enumerate() {
            let between = if index == 0 { "" } else { ", " };
            write!(formatter, "{between}`{}` ({})", escape(path.as_str()), escape(why))?;
        }
        if self.more > 0 {
            write!(formatter, " and {} more", self.more)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_of_many_are_named() {
        let mut left = LeftOut::default();
        assert!(left.is_nothing());
        for number in 0..9 {
            left.add(Utf8Path::new(&format!("file\n{number}")), &"no such\u{1b}");
        }
        let text = left.to_string();
        assert!(text.starts_with("`file\\n0` (no such\\u{1b}), `file"), "{text}");
        assert!(text.ends_with(" and 4 more") && !left.is_nothing(), "{text}");
    }
}
