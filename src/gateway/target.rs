//! Whom a client asks for, as it is written in a request: a name, or an address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::policy::host::{HostName, NotAName};

/// A host that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Name(HostName),
    Address(IpAddr),
}

impl Target {
    /// Takes a host as URLs have it (RFC 3986, section 3.2.2): of version 6 only in brackets, without a zone.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        if let Some(inside) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let address = inside.parse::<Ipv6Addr>().map_err(|_| NotAName::Address)?;
            return Ok(Target::Address(address.into()));
        }
        match text.parse() {
            Ok(IpAddr::V4(address)) => Ok(Target::Address(address.into())),
            _ => HostName::parse(text).map(Target::Name),
        }
    }

    pub fn name(&self) -> Option<&HostName> {
        match self {
            Target::Name(name) => Some(name),
            Target::Address(_) => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Name(name) => name.fmt(out),
            Target::Address(IpAddr::V4(address)) => address.fmt(out),
            Target::Address(IpAddr::V6(address)) => write!(out, "[{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_reading() {
        for (text, written) in [
            ("A.example", "a.example"),
            ("10.0.0.1", "10.0.0.1"),
            ("[2001:DB8:0::1]", "[2001:db8::1]"),
            ("[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(target.to_string(), written);
            assert_eq!(Target::parse(written), Ok(target));
        }
        for text in [
            "",
            "::1",
            "2001:db8::1",
            "[10.0.0.1]",
            "[fe80::1%1]",
            "[a.example]",
            "127.1",
            "010.0.0.1",
            "[::1",
            "a_b",
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
