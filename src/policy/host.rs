//! Names of hosts in their one spelling, and what the rules of a network say about them.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest name, in bytes; the longest part of one.
const MOST_NAME: usize = 253;
const MOST_LABEL: usize = 63;

/// A host name as it is compared and resolved: lower-case ASCII letters, digits and hyphens, in parts of 1 to 63 bytes,
/// 253 in all, without a dot at the end; a name in another script in its ASCII form. There is no second spelling, so
/// that what was allowed is what is connected to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

/// Why a text is no host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAName {
    #[error("it is empty or longer than {MOST_NAME} bytes")]
    Length,
    #[error("a part of it is empty, longer than {MOST_LABEL} bytes, or begins or ends with a hyphen")]
    Part,
    #[error("it holds a character that no host name has")]
    Character,
    #[error("it is an address")]
    Address,
}

impl HostName {
    /// Takes a name in ASCII, as it is in DNS, in a TLS handshake, in an HTTP request.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        if text.is_empty() || text.len() > MOST_NAME {
            return Err(NotAName::Length);
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
            return Err(NotAName::Character);
        }
        let is_label = |label: &str| {
            (1..=MOST_LABEL).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
        };
        if !text.split('.').all(is_label) {
            return Err(NotAName::Part);
        }
        // Some resolvers take a last part of digits, or of hexadecimal ones, for an address: `127.1`, `0x7f000001`.
        let last = text.rsplit('.').next().unwrap_or_default();
        let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number(last)
            || hexadecimal.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(NotAName::Address);
        }
        Ok(HostName(text.to_ascii_lowercase()))
    }

    /// Takes a name as a person writes it, in any script.
    pub fn of_person(text: &str) -> Result<Self, NotAName> {
        if text.is_ascii() {
            return Self::parse(text);
        }
        Self::parse(&idna::domain_to_ascii_strict(text).map_err(|_| NotAName::Character)?)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether this name is below `domain`, and not `domain` itself.
    fn is_below(&self, domain: &HostName) -> bool {
        self.0.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for HostName {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        Self::parse(&text)
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

/// Which hosts a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    Name(HostName),
    /// `*.domain`: every name below it, and not the domain itself.
    Below(HostName),
}

impl Pattern {
    /// Takes what `allow` and `deny` have; `None` for an address or a range of them.
    pub fn parse(text: &str) -> Option<Result<Self, NotAName>> {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if text.contains('/') || bare.parse::<IpAddr>().is_ok() {
            return None;
        }
        Some(match text.strip_prefix("*.") {
            Some(domain) => HostName::of_person(domain).map(Pattern::Below),
            None => HostName::of_person(text).map(Pattern::Name),
        })
    }

    fn holds(&self, name: &HostName) -> bool {
        match self {
            Pattern::Name(wanted) => wanted == name,
            Pattern::Below(domain) => name.is_below(domain),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Name(name) => name.fmt(out),
            Pattern::Below(domain) => write!(out, "*.{domain}"),
        }
    }
}

/// Ports of a rule that names none: the web.
pub const WEB: [u16; 2] = [80, 443];

/// One `allow` or `deny`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub allow: bool,
    pub pattern: Pattern,
    /// The one port; without, [`WEB`] for `allow` and every port for `deny`.
    pub port: Option<u16>,
    /// Where it was written.
    pub origin: String,
}

impl Rule {
    fn is_about(&self, name: &HostName, port: u16) -> bool {
        let of_port = self.port.map_or(!self.allow || WEB.contains(&port), |own| own == port);
        of_port && self.pattern.holds(name)
    }
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    Allowed(&'a Rule),
    /// By a `deny`, or because no rule allows it.
    Denied(Option<&'a Rule>),
}

/// Decides: one `deny` is enough against, one `allow` without it for; nothing is allowed by default.
pub fn decide<'a>(rules: &'a [Rule], name: &HostName, port: u16) -> Decision<'a> {
    let mut about = rules.iter().filter(|rule| rule.is_about(name, port));
    match about.clone().find(|rule| !rule.allow) {
        Some(denies) => Decision::Denied(Some(denies)),
        None => about.next().map_or(Decision::Denied(None), Decision::Allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        for (text, name) in [
            ("Example.ORG", "example.org"),
            ("a-b.c1", "a-b.c1"),
            ("localhost", "localhost"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("ＥＸＡＭＰＬＥ.org", "example.org"),
        ] {
            assert_eq!(HostName::of_person(text).unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(63)].join(".");
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a.b",
            "a-.b",
            "a_b.c",
            "a b",
            "a\0.example",
            "a%00.b",
            "a/b",
            "a:1",
            "127.0.0.1",
            "127.1",
            "1",
            "0x7f.0x1",
            "a.0x7f000001",
            "::1",
            "[::1]",
            "é",
            "*.a",
            &long,
            &longer,
        ] {
            assert!(HostName::parse(text).is_err(), "{text:?}");
        }
        // Two spellings of one dot.
        assert_eq!(HostName::of_person("a。b").unwrap().as_str(), "a.b");
        assert!(HostName::of_person("a\u{ad}\0.b").is_err());
    }

    fn rules(lines: &[(&str, Option<u16>)]) -> Vec<Rule> {
        let rule = |(text, port): &(&str, Option<u16>)| {
            let (allow, text) = text.strip_prefix('!').map_or((true, *text), |text| (false, text));
            let pattern = Pattern::parse(text).unwrap().unwrap();
            Rule { allow, pattern, port: *port, origin: text.to_owned() }
        };
        lines.iter().map(rule).collect()
    }

    #[test]
    fn rules_decide() {
        let rules = rules(&[
            ("a.example", None),
            ("*.b.example", None),
            ("git.example", Some(22)),
            ("!bad.b.example", None),
            ("*.c.example", Some(443)),
            ("!*.d.c.example", Some(443)),
        ]);
        for (name, port, allowed) in [
            ("a.example", 443, true),
            ("A.Example", 80, true),
            ("a.example", 22, false),
            ("a.example", 8080, false),
            ("x.a.example", 443, false),
            ("xa.example", 443, false),
            ("a.example.evil", 443, false),
            ("b.example", 443, false),
            ("x.b.example", 443, true),
            ("x.y.b.example", 443, true),
            ("evilb.example", 443, false),
            ("bad.b.example", 443, false),
            ("bad.b.example", 22, false),
            ("git.example", 22, true),
            ("git.example", 443, false),
            ("x.c.example", 80, false),
            ("x.d.c.example", 443, false),
            ("none", 443, false),
        ] {
            let decision = decide(&rules, &HostName::parse(name).unwrap(), port);
            assert_eq!(matches!(decision, Decision::Allowed(_)), allowed, "{name}:{port}: {decision:?}");
        }
        assert_eq!(decide(&[], &HostName::parse("a.example").unwrap(), 443), Decision::Denied(None));
    }

    proptest::proptest! {
        #[test]
        fn a_name_stays_what_it_is(text in ".{0,80}") {
            if let Ok(name) = HostName::of_person(&text) {
                proptest::prop_assert_eq!(HostName::parse(name.as_str()), Ok(name.clone()));
                proptest::prop_assert!(name.as_str().parse::<IpAddr>().is_err());
            }
        }
    }
}
