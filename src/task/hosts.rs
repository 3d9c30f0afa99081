//! The hosts of an allow-list: names, names below a name, addresses and ranges of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

/// One entry of `allowed_hosts`, in the one way it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AllowedHost {
    /// Lower case, without a dot at its end.
    Name(String),
    /// `*.name`: every name below, and not the name itself.
    Below(String),
    Address(IpAddr),
    /// A range whose address has no bit set behind its prefix.
    Range(IpAddr, u8),
}

/// Why a text is no entry of an allow-list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHost {
    #[error("it is empty")]
    Empty,
    #[error("it must be a host, an address or a range of addresses, without scheme, port or path")]
    NotAHost,
    #[error("`*` stands for whole names at the beginning only, as in `*.example.org`")]
    Wildcard,
    #[error("a name consists of letters, digits, hyphens and dots; write other letters in Punycode")]
    Name,
}

impl AllowedHost {
    pub fn parse(text: &str) -> Result<Self, BadHost> {
        let text = text.trim().to_ascii_lowercase();
        let text = text.trim_end_matches('.');
        if text.is_empty() {
            return Err(BadHost::Empty);
        }
        if let Some((address, prefix)) = text.split_once('/') {
            return range(address, prefix).ok_or(BadHost::NotAHost);
        }
        if text.contains(':') {
            let address: Ipv6Addr = text.parse().map_err(|_| BadHost::NotAHost)?;
            return Ok(AllowedHost::Address(address.into()));
        }
        if text.contains(['[', ']']) {
            return Err(BadHost::NotAHost);
        }
        if let Some(below) = text.strip_prefix("*.") {
            if below.is_empty() || below.parse::<Ipv4Addr>().is_ok() {
                return Err(BadHost::Wildcard);
            }
            return name(below).map(AllowedHost::Below);
        }
        if text.contains('*') {
            return Err(BadHost::Wildcard);
        }
        match text.parse::<Ipv4Addr>() {
            Ok(address) => Ok(AllowedHost::Address(address.into())),
            Err(_) => name(text).map(AllowedHost::Name),
        }
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AllowedHost::Name(name) => out.write_str(name),
            AllowedHost::Below(name) => write!(out, "*.{name}"),
            AllowedHost::Address(address) => write!(out, "{address}"),
            AllowedHost::Range(address, prefix) => write!(out, "{address}/{prefix}"),
        }
    }
}

impl Serialize for AllowedHost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn name(text: &str) -> Result<String, BadHost> {
    let label = |label: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = label.as_bytes();
        bytes.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    if text.split('.').all(label) { Ok(text.to_owned()) } else { Err(BadHost::Name) }
}

fn range(address: &str, prefix: &str) -> Option<AllowedHost> {
    let address: IpAddr = address.parse().ok()?;
    let prefix = match address {
        IpAddr::V4(_) => bits(prefix, 32).or_else(|| of_mask(prefix)),
        IpAddr::V6(_) => bits(prefix, 128),
    }?;
    let behind_is_zero = match address {
        IpAddr::V4(address) => address.to_bits().checked_shl(u32::from(prefix)).is_none_or(|rest| rest == 0),
        IpAddr::V6(address) => address.to_bits().checked_shl(u32::from(prefix)).is_none_or(|rest| rest == 0),
    };
    behind_is_zero.then_some(AllowedHost::Range(address, prefix))
}

fn bits(prefix: &str, most: u8) -> Option<u8> {
    let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    prefix.parse().ok().filter(|bits| digits && *bits <= most)
}

/// Reads `255.0.0.0`, and its opposite `0.255.255.255`, as 8.
fn of_mask(mask: &str) -> Option<u8> {
    let mask = mask.parse::<Ipv4Addr>().ok()?.to_bits();
    let prefix = |mask: u32| {
        let ones = mask.leading_ones();
        (mask.count_ones() == ones).then(|| u8::try_from(ones).unwrap_or(32))
    };
    prefix(mask).or_else(|| prefix(!mask))
}
