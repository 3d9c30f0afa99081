//! Exact versions, hashes and names: texts that may become arguments of a package manager, or parts of a path.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Error, shown};
use crate::util::text::is_exact_version;

/// An exact version such as `2.1.197` or `1.0.0-rc.1`; ranges and tags are refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

impl Version {
    /// Parses `MAJOR.MINOR.PATCH` with an optional `-PRERELEASE`. Such a text cannot be taken for an option,
    /// a path, a tag or an address by a package manager.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if !is_exact_version(text) {
            return Err(Error::Invalid { what: "version", value: shown(text) });
        }
        Ok(Version(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The hash of an archive: `sha512-` and 88 characters of base64 as npm writes it, or `sha256-` and 64 hex digits as pip
/// does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Integrity(String);

impl Integrity {
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.strip_prefix("sha256-").is_some_and(is_sha256) {
            return Ok(Integrity(text.to_owned()));
        }
        let base64 = text.strip_prefix("sha512-").and_then(|rest| rest.strip_suffix("=="));
        let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
        match base64 {
            Some(body) if body.len() == 86 && body.bytes().all(alphabet) => Ok(Integrity(text.to_owned())),
            _ => Err(Error::Invalid { what: "integrity", value: shown(text) }),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn is_sha256(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

macro_rules! text_conversions {
    ($type:ident) => {
        impl TryFrom<String> for $type {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                $type::parse(&text)
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0
            }
        }
    };
}
text_conversions!(Version);
text_conversions!(Integrity);

/// Says whether `text` can be the name of an agent: it becomes a directory of the cache.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Says whether `text` is `name` or `@scope/name` as npm has them, so neither a path, an address nor an option.
pub fn is_npm_package(text: &str) -> bool {
    let part = |text: &str| {
        !text.is_empty()
            && text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
            && text.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
            })
    };
    text.len() <= 214
        && match text.strip_prefix('@').map(|rest| rest.split_once('/')) {
            None => part(text),
            Some(Some((scope, name))) => part(scope) && part(name),
            Some(None) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_versions_are_taken_and_everything_else_is_refused() {
        for good in ["1.2.3", "0.0.0", "10.20.30", "1.0.0-rc.1", "1.0.0-0.3.7", "1.0.0-x-y"] {
            assert!(Version::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "v1.2.3",
            "^1.2.3",
            "~1.2",
            "1.x.0",
            "latest",
            "--global",
            "-1.2.3",
            "1.2.3 ",
            "1.2.3\n",
            "1.2.3-",
            "1.2.3-a..b",
            "01.2.3",
            "1.2.3+build",
            "../x",
            "1.2.3-../..",
            "1.2.3||2.0.0",
            "git+ssh://x",
            "1.2.3-\u{e9}",
        ] {
            assert!(Version::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn package_names_that_are_paths_or_options_are_refused() {
        for good in ["mine-agent", "@anthropic-ai/claude-code", "a.b_c"] {
            assert!(is_npm_package(good), "{good}");
        }
        for bad in
            ["", ".", "..", "-g", "@x", "@/y", "@x/", "@x/../y", "a/b", "./a", "A", "@x/-y", "a b", "a@1"]
        {
            assert!(!is_npm_package(bad), "{bad:?}");
        }
    }
}
