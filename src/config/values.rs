//! The types of single values: what they are called, how they are checked, what they look like in JSON Schema.

use kdl::KdlValue;

use crate::util::text;

/// The type of one argument or property.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Type {
    /// Any string but the empty one.
    Text,
    Integer {
        min: i128,
        max: i128,
    },
    /// A number above zero, whole or not.
    Amount,
    /// A number from zero to this one, whole or not.
    UpTo(u8),
    Bool,
    /// A string, a number or a boolean: who reads it knows which.
    Scalar,
    /// A size with its unit.
    Bytes,
    /// A duration with its units.
    Duration,
    /// A path of the host: absolute, from `~`, or relative to the project.
    Path,
    /// An absolute path inside of the sandbox, without `..`.
    Inside,
    /// Words out of a list.
    OneOf(&'static [&'static str]),
    /// The name of an environment variable.
    Variable,
    /// A name that can be part of a file name.
    Name,
    /// An exact version.
    Version,
    /// A host name, `*.` in front of one, an address, or a range of addresses.
    HostPattern,
    /// A host name without wildcards.
    Host,
    /// `PORT`, `ADDRESS:PORT`.
    Listen,
    /// `env:`, `file:`, `cmd:` or `keyring:` and what follows.
    SecretFrom,
    /// The name of an HTTP header.
    Header,
    /// `http://HOST:PORT`.
    Proxy,
    /// HTTP methods with commas between.
    Methods,
    /// A path of a URL, with `*` at its end.
    UrlPath,
}

pub const PORT: Type = Type::Integer { min: 1, max: 65535 };

impl Type {
    /// Says what a value must be, after "must be".
    pub fn expected(self) -> String {
        match self {
            Type::Text => "a string that is not empty".into(),
            Type::Integer { min, max: i128::MAX } => format!("a whole number from {min}"),
            Type::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Type::Amount => "a number above zero".into(),
            Type::UpTo(most) => format!("a number from 0 to {most}"),
            Type::Bool => "`#true` or `#false`".into(),
            Type::Scalar => "a string that is not empty, a number, `#true` or `#false`".into(),
            Type::Bytes => "a size such as `\"512MiB\"` or `\"8GiB\"`".into(),
            Type::Duration => "a duration such as `\"90s\"` or `\"1h30m\"`".into(),
            Type::Path => "a path".into(),
            Type::Inside => "an absolute path without `..`".into(),
            Type::OneOf(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                format!("one of {}", words.join(", "))
            }
            Type::Variable => "the name of a variable: letters, digits and `_`, no digit first".into(),
            Type::Name => "a name of letters, digits, `-`, `_` and `.`, a letter or digit first".into(),
            Type::Version => {
                "an exact version such as `\"2.1.197\"` or `\"1.0.0-rc.1\"`, not a range or a tag".into()
            }
            Type::HostPattern => {
                "a host name, `*.` before one, an address, or a range such as `10.0.0.0/8`".into()
            }
            Type::Host => "a host name without wildcard, scheme, port or path".into(),
            Type::Listen => "a port, or an address and a port such as `127.0.0.1:8888`".into(),
            Type::SecretFrom => "`env:NAME`, `file:PATH`, `cmd:COMMAND` or `keyring:NAME`".into(),
            Type::Header => "the name of an HTTP header".into(),
            Type::Proxy => "a proxy such as `http://proxy.example.com:3128`".into(),
            Type::Methods => "HTTP methods such as `GET` or `GET,HEAD`".into(),
            Type::UrlPath => "a path such as `/v1/*`, with `*` only at its end".into(),
        }
    }

    /// Says what a value must be that is not accepted, after "must be".
    pub fn instead_of(self, value: &KdlValue) -> String {
        let takes_strings = self.is_string() || self == Type::Scalar;
        match value.as_string() {
            Some(text) if takes_strings && text.contains('\0') => {
                "a string without the character `\\u{0}`, which ends a text for every program".into()
            }
            _ => self.expected(),
        }
    }

    /// Says whether the type is written as a string.
    pub fn is_string(self) -> bool {
        !matches!(self, Type::Integer { .. } | Type::Amount | Type::UpTo(_) | Type::Bool | Type::Scalar)
    }

    pub fn accepts(self, value: &KdlValue) -> bool {
        match (self, value) {
            (Type::Integer { min, max }, KdlValue::Integer(number)) => (min..=max).contains(number),
            (Type::Amount, KdlValue::Integer(number)) => (1..=i128::from(u32::MAX)).contains(number),
            (Type::Amount, KdlValue::Float(number)) => number.is_finite() && *number > 0.0,
            (Type::UpTo(most), KdlValue::Integer(number)) => (0..=i128::from(most)).contains(number),
            (Type::UpTo(most), KdlValue::Float(number)) => (0.0..=f64::from(most)).contains(number),
            (Type::Bool | Type::Scalar, KdlValue::Bool(_)) | (Type::Scalar, KdlValue::Integer(_)) => true,
            (Type::Scalar, KdlValue::Float(number)) => number.is_finite(),
            (Type::Scalar, KdlValue::String(string)) => Type::Text.accepts_text(string),
            (Type::Listen, KdlValue::Integer(number)) => (1..=65535).contains(number),
            (_, KdlValue::String(string)) => self.is_string() && self.accepts_text(string),
            _ => false,
        }
    }

    fn accepts_text(self, string: &str) -> bool {
        if string.is_empty() || string.contains('\0') {
            return false;
        }
        match self {
            Type::Bytes => text::parse_bytes(string).is_ok(),
            Type::Duration => text::parse_duration(string).is_ok(),
            Type::Inside => is_inside(string),
            Type::OneOf(words) => words.contains(&string),
            Type::Variable => is_variable(string),
            Type::Name => is_name(string),
            Type::Version => text::is_exact_version(string),
            Type::HostPattern => is_host_pattern(string),
            Type::Host => is_host(string),
            Type::Listen => parse_listen(string).is_some(),
            Type::SecretFrom => is_secret_from(string),
            Type::Header => {
                string.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
            }
            Type::Proxy => is_proxy(string),
            Type::Methods => {
                string.split(',').all(|one| !one.is_empty() && one.bytes().all(|b| b.is_ascii_uppercase()))
            }
            Type::UrlPath => {
                string.starts_with('/')
                    && !string.trim_end_matches('*').contains('*')
                    && !string.contains("**")
                    && !string.contains(['?', '#', ' '])
            }
            Type::Text | Type::Path => true,
            Type::Integer { .. } | Type::Amount | Type::UpTo(_) | Type::Bool | Type::Scalar => false,
        }
    }
}

/// Says what a value is, after "this is".
pub fn describe(value: &KdlValue) -> &'static str {
    match value {
        KdlValue::String(string) if string.is_empty() => "an empty string",
        KdlValue::String(_) => "a string",
        KdlValue::Integer(_) => "a whole number",
        KdlValue::Float(_) => "a number",
        KdlValue::Bool(_) => "a boolean",
        KdlValue::Null => "`#null`",
    }
}

pub fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn is_inside(path: &str) -> bool {
    path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

/// Says whether `host` is a host name or a literal address.
pub fn is_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits would be read as an address by some resolvers.
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= 253 && host.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

/// Splits what begins like a range into what follows the `/` and the most that this may be.
pub fn range_bits(pattern: &str) -> Option<(&str, u8)> {
    let (address, bits) = pattern.split_once('/')?;
    let address: std::net::IpAddr = address.parse().ok()?;
    Some((bits, if address.is_ipv4() { 32 } else { 128 }))
}

pub fn is_range(pattern: &str) -> bool {
    range_bits(pattern)
        .is_some_and(|(bits, most)| bits.parse::<u8>().is_ok_and(|bits| bits <= most && bits > 0))
}

fn is_host_pattern(pattern: &str) -> bool {
    if pattern.contains('/') {
        return is_range(pattern);
    }
    match pattern.strip_prefix("*.") {
        // `*.com` would be half of the internet.
        Some(rest) => is_host(rest) && rest.contains('.') && rest.parse::<std::net::IpAddr>().is_err(),
        None => is_host(pattern),
    }
}

/// Splits `ADDRESS:PORT` or `PORT`; the address is the loopback one where it is left out.
pub fn parse_listen(listen: &str) -> Option<std::net::SocketAddr> {
    let port = |port: u16| (port > 0).then_some(port);
    if let Ok(number) = listen.parse::<u16>() {
        return Some((std::net::Ipv4Addr::LOCALHOST, port(number)?).into());
    }
    let address: std::net::SocketAddr = match listen.strip_prefix("localhost:") {
        Some(number) => (std::net::Ipv4Addr::LOCALHOST, number.parse().ok()?).into(),
        None => listen.parse().ok()?,
    };
    port(address.port()).map(|_| address)
}

fn is_secret_from(from: &str) -> bool {
    match from.split_once(':') {
        Some(("env", name)) => is_variable(name),
        Some(("file" | "cmd" | "keyring", rest)) => !rest.trim().is_empty(),
        _ => false,
    }
}

fn is_proxy(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let Some((host, port)) = rest.rsplit_once(':') else { return false };
    is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_knows_its_bounds() {
        let long = "a".repeat(64);
        let too_long = "a".repeat(65);
        let cases: &[(Type, &[&str], &[&str])] = &[
            (Type::Text, &["a"], &["", "a\0b"]),
            (Type::Bytes, &["8GiB"], &["8", "much"]),
            (Type::Duration, &["2h"], &["0s", "soon"]),
            (Type::Inside, &["/a/b", "/"], &["a", "/a/../b", "~/a"]),
            (Type::OneOf(&["a", "b"]), &["a"], &["c", "A"]),
            (Type::Variable, &["A_1", "_"], &["1A", "A-B", "A=B", ""]),
            (Type::Name, &["claude-code", &long], &["", "-a", "../x", "a b", &too_long]),
            (
                Type::Version,
                &["2.1.197", "1.0.0-rc.1"],
                &["", "2.1", "latest", "^1.0.0", "1.2.3.4", "01.2.3", "-1.2.3"],
            ),
            (
                Type::HostPattern,
                &["a.example", "*.example.org", "10.0.0.0/8", "::1", "fd00::/8", "localhost"],
                &[
                    "*",
                    "*.com",
                    "a.*.org",
                    "*a.org",
                    "http://a",
                    "a/b",
                    "a:1",
                    "10.0.0.0/33",
                    "1.2.3",
                    "a..b",
                    "-a.b",
                ],
            ),
            (Type::Host, &["a.example"], &["*.a.example", "a.example:443"]),
            (
                Type::Listen,
                &["8888", "127.0.0.1:1", "[::1]:65535", "localhost:80"],
                &["0", "65536", "a:b", ":80", "x:80"],
            ),
            (
                Type::SecretFrom,
                &["env:A", "file:~/x", "cmd:pass x", "keyring:x"],
                &["A", "env:", "env:1", "http:x", "cmd: "],
            ),
            (Type::Header, &["x-api-key"], &["x api", "x:y", "x\r\ny"]),
            (
                Type::Proxy,
                &["http://p.example:3128", "http://p:1/"],
                &["p:3128", "http://p", "socks://p:1", "http://p:0"],
            ),
            (Type::Methods, &["GET", "GET,HEAD"], &["get", "GET,", "GET HEAD"]),
            (Type::UrlPath, &["/v1/*", "/"], &["v1", "/*/x", "/a?b", "/**"]),
        ];
        for (kind, good, bad) in cases {
            for text in *good {
                assert!(kind.accepts(&KdlValue::String((*text).into())), "{kind:?} {text:?}");
            }
            for text in *bad {
                assert!(!kind.accepts(&KdlValue::String((*text).into())), "{kind:?} {text:?}");
            }
        }
        for (kind, value, fits) in [
            (PORT, KdlValue::Integer(65535), true),
            (PORT, KdlValue::Integer(65536), false),
            (PORT, KdlValue::Integer(0), false),
            (PORT, KdlValue::String("80".into()), false),
            (Type::Amount, KdlValue::Float(0.5), true),
            (Type::Amount, KdlValue::Float(f64::NAN), false),
            (Type::Amount, KdlValue::Integer(0), false),
            (Type::UpTo(2), KdlValue::Integer(0), true),
            (Type::UpTo(2), KdlValue::Float(1.5), true),
            (Type::UpTo(2), KdlValue::Integer(3), false),
            (Type::UpTo(2), KdlValue::Float(2.1), false),
            (Type::UpTo(2), KdlValue::Float(-0.1), false),
            (Type::UpTo(2), KdlValue::Float(f64::NAN), false),
            (Type::UpTo(2), KdlValue::String("1".into()), false),
            (Type::Bool, KdlValue::Bool(true), true),
            (Type::Bool, KdlValue::String("true".into()), false),
            (Type::Scalar, KdlValue::Integer(-1), true),
            (Type::Scalar, KdlValue::String("high".into()), true),
            (Type::Scalar, KdlValue::String(String::new()), false),
            (Type::Scalar, KdlValue::Float(f64::INFINITY), false),
            (Type::Scalar, KdlValue::Null, false),
            (Type::Text, KdlValue::Integer(1), false),
            (Type::Text, KdlValue::Null, false),
        ] {
            assert_eq!(kind.accepts(&value), fits, "{kind:?} {value:?}");
        }
    }
}
