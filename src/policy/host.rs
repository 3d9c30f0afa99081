//! Names of hosts in their one spelling, and what the rules of a network say about them.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::address::{self, Range};

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
    /// An address or a range of them: what is dialled by address, or where a name leads.
    Addresses(Range),
}

impl Pattern {
    /// Takes what `allow` and `deny` have.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        if let Some(range) = Range::parse(text) {
            return Ok(Pattern::Addresses(range));
        }
        match text.strip_prefix("*.") {
            Some(domain) => HostName::of_person(domain).map(Pattern::Below),
            None => HostName::of_person(text).map(Pattern::Name),
        }
    }

    /// Says whether every host of `inner` is one of this pattern's.
    pub fn covers(&self, inner: &Pattern) -> bool {
        match (self, inner) {
            (Pattern::Below(domain), Pattern::Name(name)) => name.is_below(domain),
            (Pattern::Below(domain), Pattern::Below(other)) => domain == other || other.is_below(domain),
            (Pattern::Addresses(outer), Pattern::Addresses(inner)) => outer.covers(inner),
            _ => self == inner,
        }
    }

    fn holds(&self, host: &Host<'_>) -> bool {
        match (self, host) {
            (Pattern::Name(wanted), Host::Name(name)) => wanted == *name,
            (Pattern::Below(domain), Host::Name(name)) => name.is_below(domain),
            (Pattern::Addresses(range), Host::Address(address)) => range.holds(*address),
            _ => false,
        }
    }
}

/// Whom a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    Name(&'a HostName),
    /// Without a name, or where one leads.
    Address(IpAddr),
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Name(name) => name.fmt(out),
            Pattern::Below(domain) => write!(out, "*.{domain}"),
            Pattern::Addresses(range) => range.fmt(out),
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
    /// The only methods of HTTP that it is about; every one if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The only paths, with `*` at the end for all that begin so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<String>,
    /// For `allow`: the name may lead to a private address.
    #[serde(default)]
    pub private: bool,
    /// Where it was written.
    pub origin: String,
}

impl Rule {
    /// A rule for a host's web, whatever is asked there.
    pub fn allow(pattern: Pattern, origin: String) -> Self {
        Rule { allow: true, pattern, port: None, methods: Vec::new(), paths: None, private: false, origin }
    }

    /// Says whether it has to do with connections to a host, be it with some requests alone.
    pub fn is_about(&self, host: &Host<'_>, port: u16) -> bool {
        let of_port = self.port.map_or(!self.allow || WEB.contains(&port), |own| own == port);
        of_port && self.pattern.holds(host)
    }

    /// Says whether only a request tells if it holds.
    pub fn is_narrow(&self) -> bool {
        !self.methods.is_empty() || self.paths.is_some()
    }

    /// A `deny` also holds for other letters of the same words: servers differ in what they take for the same.
    fn is_for(&self, request: &Asked<'_>) -> bool {
        let same =
            |one: &str, other: &str| if self.allow { one == other } else { one.eq_ignore_ascii_case(other) };
        let of_path = self.paths.as_ref().is_none_or(|paths| match paths.strip_suffix('*') {
            Some(start) => request.path.get(..start.len()).is_some_and(|begin| same(begin, start)),
            None => same(request.path, paths),
        });
        of_path && (self.methods.is_empty() || self.methods.iter().any(|method| same(method, request.method)))
    }
}

/// Caps for what goes to hosts and comes from them, in one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub pattern: Pattern,
    /// Bytes.
    pub up: Option<u64>,
    pub down: Option<u64>,
    /// Connections at a time.
    pub connections: Option<u64>,
    /// Seconds for which a connection may be silent.
    pub idle: Option<u64>,
    /// Where it was written.
    pub origin: String,
}

impl Budget {
    pub fn is_about(&self, host: &Host<'_>) -> bool {
        self.pattern.holds(host)
    }

    /// Says whether a host that `allowed` names may be one of its own.
    pub fn meets(&self, allowed: &Pattern) -> bool {
        match (&self.pattern, allowed) {
            (Pattern::Name(own), other) => other.holds(&Host::Name(own)),
            (Pattern::Below(own), Pattern::Name(other)) => other.is_below(own),
            (Pattern::Below(own), Pattern::Below(other)) => {
                own == other || own.is_below(other) || other.is_below(own)
            }
            (Pattern::Below(_), Pattern::Addresses(_)) => false,
            (Pattern::Addresses(own), Pattern::Addresses(other)) => own.covers(other) || other.covers(own),
            // A name may lead to any address.
            (Pattern::Addresses(_), _) => true,
        }
    }
}

/// What one request of HTTP is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
}

impl Asked<'_> {
    /// Says whether no server could take the path for another one: `.` and `..`, empty parts, what is written in
    /// numbers, and `#`, which some cut at, are what programs disagree about.
    fn has_one_reading(&self) -> bool {
        let plain = |part: &str| !matches!(part, "." | "..") && !part.contains(['\\', ';', '#']);
        self.path.starts_with('/')
            && !self.path.contains("//")
            && self.path.split('/').all(plain)
            && self.needs_its_escapes()
    }

    /// Says whether nothing is written in numbers that could be written plainly, or that divides a path; and whether
    /// all of it is text: some programs also read long forms of `/` and `.` that no text has.
    fn needs_its_escapes(&self) -> bool {
        let mut parts = self.path.split('%');
        let mut text = parts.next().unwrap_or_default().as_bytes().to_vec();
        for part in parts {
            // A sign would be a number, too.
            let digits = part.get(..2).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let is_needed = |byte: &u8| {
                let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
                !unreserved && !b"/\\%;\0".contains(byte)
            };
            let (Some(byte), Some(rest)) = (byte.filter(is_needed), part.get(2..)) else { return false };
            text.push(byte);
            text.extend(rest.bytes());
        }
        std::str::from_utf8(&text).is_ok()
    }
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    Allowed(&'a Rule),
    /// By a `deny`, or because no rule allows it.
    Denied(Option<&'a Rule>),
}

fn first<'a>(mut about: impl Iterator<Item = &'a Rule> + Clone) -> Decision<'a> {
    match about.clone().find(|rule| !rule.allow) {
        Some(denies) => Decision::Denied(Some(denies)),
        None => about.next().map_or(Decision::Denied(None), Decision::Allowed),
    }
}

/// Decides about a connection: one `deny` is enough against, one `allow` without it for; nothing is allowed by default.
/// What depends on the request is left to [`decide_request`].
pub fn decide<'a>(rules: &'a [Rule], host: Host<'_>, port: u16) -> Decision<'a> {
    first(rules.iter().filter(|rule| rule.is_about(&host, port) && (rule.allow || !rule.is_narrow())))
}

/// Decides about one request of a connection that was allowed.
pub fn decide_request<'a>(rules: &'a [Rule], host: Host<'_>, port: u16, asked: &Asked<'_>) -> Decision<'a> {
    let about = rules.iter().filter(|rule| rule.is_about(&host, port));
    if !asked.has_one_reading() {
        let mut by_path = about.clone().filter(|rule| rule.paths.is_some());
        // A narrow `allow` does not hold for it, and a `deny` may.
        if let Some(denies) = by_path.clone().find(|rule| !rule.allow) {
            return Decision::Denied(Some(denies));
        }
        return match by_path.next() {
            Some(_) => first(about.filter(|rule| rule.paths.is_none() && rule.is_for(asked))),
            None => first(about.filter(|rule| rule.is_for(asked))),
        };
    }
    first(about.filter(|rule| rule.is_for(asked)))
}

/// Says whether each request of a connection has to be decided.
pub fn is_by_request(rules: &[Rule], host: Host<'_>, port: u16) -> bool {
    let mut about = rules.iter().filter(|rule| rule.is_about(&host, port));
    about.clone().any(|rule| !rule.allow && rule.is_narrow())
        || !about.any(|rule| rule.allow && !rule.is_narrow())
}

/// Says why an address that an allowed name leads to is not connected to; `None` where it may be.
pub fn refused_address(rules: &[Rule], name: &HostName, port: u16, address: IpAddr) -> Option<String> {
    let canonical = address::inner(address);
    let about = rules.iter().filter(|rule| rule.is_about(&Host::Address(canonical), port));
    let written = rules.iter().filter(|rule| rule.is_about(&Host::Address(address), port));
    if let Some(denies) = about.clone().chain(written).find(|rule| !rule.allow) {
        return Some(format!("it leads to {address}, which `deny {}` names", denies.pattern));
    }
    let kind = address::kind(address)?;
    let private = |rule: &Rule| rule.allow && rule.private && rule.is_about(&Host::Name(name), port);
    if kind == address::Kind::Private && (about.clone().next().is_some() || rules.iter().any(private)) {
        return None;
    }
    Some(format!("it leads to {address}, an address that is {}", kind.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_denied_as_it_is_written_and_as_what_it_holds() {
        let name = HostName::parse("a.example").unwrap();
        for (denied, address) in [
            ("2002::/16", "2002:101:101::1"),
            ("64:ff9b::/96", "64:ff9b::101:101"),
            ("1.1.1.1", "::ffff:1.1.1.1"),
            ("1.1.1.1", "64:ff9b::101:101"),
        ] {
            let pattern = Pattern::parse(denied).unwrap();
            let rule = Rule { allow: false, ..Rule::allow(pattern, "here".into()) };
            let why = refused_address(&[rule], &name, 443, address.parse().unwrap()).unwrap_or_default();
            assert!(why.contains("`deny"), "{denied} {address}: {why}");
        }
    }

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
            let pattern = Pattern::parse(text).unwrap();
            Rule { allow, port: *port, ..Rule::allow(pattern, text.to_owned()) }
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
            let name = HostName::parse(name).unwrap();
            let decision = decide(&rules, Host::Name(&name), port);
            assert_eq!(matches!(decision, Decision::Allowed(_)), allowed, "{name}:{port}: {decision:?}");
        }
        let name = HostName::parse("a.example").unwrap();
        assert_eq!(decide(&[], Host::Name(&name), 443), Decision::Denied(None));
    }

    #[test]
    fn requests_are_decided_by_method_and_path() {
        let line = |allow: bool, methods: &[&str], paths: Option<&str>| Rule {
            allow,
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            paths: paths.map(str::to_owned),
            ..Rule::allow(Pattern::parse("a.example").unwrap(), String::new())
        };
        let name = HostName::parse("a.example").unwrap();
        let host = Host::Name(&name);
        let allowed = |rules: &[Rule], method: &str, path: &str| {
            matches!(decide_request(rules, host, 443, &Asked { method, path }), Decision::Allowed(_))
        };
        let narrow = [line(true, &["GET"], Some("/v1/*")), line(true, &["POST"], Some("/v1/send"))];
        assert!(matches!(decide(&narrow, host, 443), Decision::Allowed(_)));
        assert!(is_by_request(&narrow, host, 443));
        for (method, path, expected) in [
            ("GET", "/v1/x", true),
            ("GET", "/v1/", true),
            ("GET", "/v1", false),
            ("POST", "/v1/send", true),
            ("POST", "/v1/send/more", false),
            ("PUT", "/v1/send", false),
            ("get", "/v1/x", false),
            ("GET", "/v1/../admin", false),
            ("GET", "/v1/%2e%2E/admin", false),
            ("GET", "/v1//x", false),
            ("GET", "/v1/x%2fy", false),
            ("GET", "/v1/x;y", false),
            ("GET", "/v1/%252e", false),
        ] {
            assert_eq!(allowed(&narrow, method, path), expected, "{method} {path}");
        }
        let open = [line(true, &[], None), line(false, &["DELETE"], None), line(false, &[], Some("/admin*"))];
        assert!(matches!(decide(&open, host, 443), Decision::Allowed(_)));
        assert!(is_by_request(&open, host, 443));
        assert!(!is_by_request(&open[..1], host, 443));
        for (method, path, expected) in [
            ("GET", "/x", true),
            ("DELETE", "/x", false),
            ("GET", "/admin/x", false),
            ("GET", "/x/../admin", false),
            ("GET", "//admin", false),
            ("GET", "/%61dmin", false),
            ("GET", "/Admin/x", false),
            ("delete", "/x", false),
            ("GET", "/x%zz", false),
            ("GET", "/admin#x", false),
            ("GET", "/x#", false),
            ("GET", "/%c0%ae%c0%ae/admin", false),
            ("GET", "/x%+1", false),
            ("GET", "/%c3%a9", true),
            ("GET", "/a%20b", true),
        ] {
            assert_eq!(allowed(&open, method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_budget_meets_what_it_may_be_charged_for() {
        for (budget, allowed, expected) in [
            ("a.example", "a.example", true),
            ("a.example", "*.example", true),
            ("a.example", "b.example", false),
            ("a.example", "10.0.0.0/8", false),
            ("*.example", "a.example", true),
            ("*.example", "example", false),
            ("*.example", "*.b.example", true),
            ("*.b.example", "*.example", true),
            ("*.b.example", "*.c.example", false),
            ("*.b.example", "10.0.0.0/8", false),
            ("10.0.0.0/8", "a.example", true),
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.2.0.0/16", false),
        ] {
            let pattern = Pattern::parse(budget).unwrap();
            let (up, down, connections, idle, origin) = (None, None, None, None, String::new());
            let budget = Budget { pattern, up, down, connections, idle, origin };
            assert_eq!(budget.meets(&Pattern::parse(allowed).unwrap()), expected, "{budget:?} {allowed}");
        }
    }

    #[test]
    fn private_addresses_need_a_word() {
        let name = HostName::parse("a.example").unwrap();
        let open = Rule::allow(Pattern::parse("a.example").unwrap(), String::new());
        let private = Rule { private: true, ..open.clone() };
        let range = Rule::allow(Pattern::parse("10.1.0.0/16").unwrap(), String::new());
        let denied =
            Rule { allow: false, ..Rule::allow(Pattern::parse("10.1.2.0/24").unwrap(), String::new()) };
        let every = Rule::allow(Pattern::parse("0.0.0.0/0").unwrap(), String::new());
        for (rules, address, allowed) in [
            (vec![open.clone()], "93.184.216.34", true),
            (vec![open.clone()], "10.1.2.3", false),
            (vec![private.clone()], "10.1.2.3", true),
            (vec![private.clone()], "::ffff:10.1.2.3", true),
            (vec![private.clone()], "127.0.0.1", false),
            (vec![private.clone()], "169.254.169.254", false),
            (vec![open.clone(), range.clone()], "10.1.2.3", true),
            (vec![open.clone(), range.clone()], "10.2.2.3", false),
            (vec![open.clone(), range, denied.clone()], "10.1.2.3", false),
            (vec![private, denied], "10.1.2.3", false),
            (vec![open.clone(), every.clone()], "127.0.0.1", false),
            (vec![open, every], "169.254.169.254", false),
        ] {
            let refused = refused_address(&rules, &name, 443, address.parse().unwrap());
            assert_eq!(refused.is_none(), allowed, "{rules:?} {address}: {refused:?}");
        }
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
