//! Which addresses a name may lead to: those of the public internet, however they are written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Why an address is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This machine itself, or none.
    Own,
    /// Reachable on this link alone, where clouds keep their machines' credentials.
    Link,
    /// Those of a company, a home, a provider, containers.
    Private,
    /// Many machines, or reserved.
    Special,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Own => "this machine's own",
            Kind::Link => "of the local link or of a metadata service",
            Kind::Private => "private",
            Kind::Special => "reserved or of many machines",
        }
    }
}

/// Returns why an address is not public; `None` for one that is.
pub fn kind(address: IpAddr) -> Option<Kind> {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => v4(inner).or(v6(address)),
            None => v6(address),
        },
    }
}

/// Metadata services that are not in a range of their kind.
const METADATA: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];

fn v4(address: Ipv4Addr) -> Option<Kind> {
    let [a, b, c, _] = address.octets();
    if METADATA.contains(&address) || address.is_link_local() {
        return Some(Kind::Link);
    }
    match (a, b, c) {
        (0 | 127, ..) => Some(Kind::Own),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Some(Kind::Private),
        // Protocols, relays, tests, benchmarks, documentation, multicast and what is above.
        (192, 0, 0 | 2)
        | (192, 88, 99)
        | (198, 18..=19, _)
        | (198, 51, 100)
        | (203, 0, 113)
        | (224.., ..) => Some(Kind::Special),
        _ => None,
    }
}

/// The one prefix of addresses that everybody translates (RFC 6052); what else begins like it is of one network.
const TRANSLATED: [u16; 6] = [0x0064, 0xff9b, 0, 0, 0, 0];

fn v6(address: Ipv6Addr) -> Option<Kind> {
    let segments = address.segments();
    let [first, second, ..] = segments;
    if address.is_unspecified() || address.is_loopback() {
        return Some(Kind::Own);
    }
    match first {
        _ if address.is_unicast_link_local() => Some(Kind::Link),
        // The metadata service of a cloud is in there, too.
        0xfc00..=0xfdff => Some(Kind::Private),
        // Site-local, multicast, documentation, discard, protocols.
        0xfec0..=0xffff | 0x0100 | 0x3fff => Some(Kind::Special),
        0x2001 if second == 0x0db8 || second < 0x0200 => Some(Kind::Special),
        // What is not given out yet, and the forms that hold an address of version 4, is no public one.
        0x2000..=0x3fff => None,
        _ if segments[..6] == TRANSLATED => None,
        _ => Some(Kind::Special),
    }
}

/// Returns the address that is meant in the end, where one is in another one.
pub fn inner(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => embedded(six).map_or(address, IpAddr::V4),
    }
}

/// Returns the address of version 4 that is in one of version 6: mapped, compatible, translated (NAT64), of 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let from = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let [.., high, low] = segments;
    match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Some(from(high, low)),
        _ if segments[..6] == TRANSLATED => Some(from(high, low)),
        [0, 0, 0, 0, 0, 0, ..] if high != 0 => Some(from(high, low)),
        [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

/// An address, or all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    address: IpAddr,
    bits: u8,
}

impl Range {
    /// Takes `10.0.0.0/8`, `fd00::/8`, `10.1.2.3`, `[::1]`; `None` for what is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text.trim_start_matches('[').trim_end_matches(']'), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        (bits <= width).then_some(Range { address, bits })
    }

    pub fn first(&self) -> IpAddr {
        self.address
    }

    pub fn is_all(&self) -> bool {
        self.bits == 0
    }

    pub fn holds(&self, address: IpAddr) -> bool {
        self.covers(&Range { address, bits: if address.is_ipv4() { 32 } else { 128 } })
    }

    /// Says whether every address of `inner` is one of this.
    pub fn covers(&self, inner: &Range) -> bool {
        self.address.is_ipv4() == inner.address.is_ipv4()
            && inner.bits >= self.bits
            && first_bits(self.address, self.bits) == first_bits(inner.address, self.bits)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bits {
            32 if self.address.is_ipv4() => self.address.fmt(out),
            128 => self.address.fmt(out),
            bits => write!(out, "{}/{bits}", self.address),
        }
    }
}

fn first_bits(address: IpAddr, bits: u8) -> u128 {
    let (value, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    value.checked_shr(width - u32::from(bits).min(width)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for (kind_of, texts) in [
            (
                None,
                &[
                    "1.1.1.1",
                    "93.184.216.34",
                    "100.63.255.255",
                    "172.32.0.1",
                    "2606:4700::1111",
                    "64:ff9b::101:101",
                    "2002:101:101::1",
                ][..],
            ),
            (
                Some(Kind::Own),
                &[
                    "127.0.0.1",
                    "127.9.9.9",
                    "0.0.0.0",
                    "::",
                    "::1",
                    "::ffff:127.0.0.1",
                    "64:ff9b::7f00:1",
                    "2002:7f00:1::",
                ],
            ),
            (
                Some(Kind::Link),
                &[
                    "169.254.169.254",
                    "100.100.100.200",
                    "168.63.129.16",
                    "fe80::1",
                    "::ffff:169.254.169.254",
                    "::ffff:0:a9fe:a9fe",
                ],
            ),
            (
                Some(Kind::Private),
                &[
                    "10.0.0.1",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "100.64.0.1",
                    "fd00:ec2::254",
                    "fc00::1",
                    "::ffff:10.1.2.3",
                    "2002:c0a8:101::",
                    "::10.0.0.1",
                ],
            ),
            (
                Some(Kind::Special),
                &[
                    "224.0.0.1",
                    "239.1.1.1",
                    "255.255.255.255",
                    "198.18.0.1",
                    "192.0.2.1",
                    "203.0.113.9",
                    "240.0.0.1",
                    "ff02::1",
                    "2001:db8::1",
                    "2001::1",
                    "fec0::1",
                    "::ffff:1.1.1.1",
                    "4000::1",
                    "100::1",
                    "64:ff9b:1::101:101",
                    "64:ff9b:0:0:0:1:101:101",
                ],
            ),
        ] {
            for text in texts {
                assert_eq!(kind(text.parse().unwrap()), kind_of, "{text}");
            }
        }
    }
}
