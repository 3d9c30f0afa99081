//! Every packet that leaves this side of a case's network, as the other side receives it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};

use super::internet::OURS;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;

/// Room for packets that nobody has asked for yet, in bytes.
const ROOM: usize = 64 << 20;

/// Longer than the headers that are looked at, in bytes.
const HEADERS: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub protocol: u8,
    pub to: IpAddr,
    /// 0 for protocols that have none.
    pub port: u16,
    /// Bytes behind the headers of TCP.
    pub payload: usize,
    /// What it begins with, of TCP: the port it comes from, and the number of its first byte there.
    pub begins: (u16, u32),
}

impl fmt::Display for Packet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.protocol {
            ICMP | ICMP6 => "icmp".to_owned(),
            TCP => "tcp".to_owned(),
            UDP => "udp".to_owned(),
            other => format!("protocol {other}"),
        };
        write!(out, "{name} to {} port {}", self.to, self.port)
    }
}

/// A socket that hears everything that arrives in a network namespace.
pub struct Wire(OwnedFd);

impl Wire {
    /// Listens in the namespace of the calling thread.
    pub fn new() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let made = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll).unwrap();
        setsockopt(&made, sockopt::RcvBufForce, &ROOM).unwrap();
        Wire(made)
    }

    /// Returns what has come from the other side since this was asked last.
    pub fn take(&self) -> Vec<Packet> {
        let mut found = Vec::new();
        let mut buffer = [0; HEADERS];
        while let Ok(length) = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            found.extend(read(&buffer[..length]));
        }
        found
    }
}

/// Counts the bytes behind the headers of TCP. What is sent again counts once, also where it is cut elsewhere then: systems send a
/// packet as a whole and, where nobody has answered, its end alone. No connection may send a gigabyte, where numbers begin anew.
pub fn bytes(packets: &[Packet]) -> usize {
    let mut first = BTreeMap::new();
    let mut parts: Vec<(u16, u32, usize)> = packets
        .iter()
        .filter(|packet| packet.payload > 0)
        .map(|packet| {
            let (port, number) = packet.begins;
            let first = *first.entry(port).or_insert(number);
            (port, number.wrapping_sub(first), packet.payload)
        })
        .collect();
    parts.sort_unstable();
    let mut sent = 0;
    let mut known = (0, 0);
    for (port, begins, length) in parts {
        let begins = begins as usize;
        let until = if known.0 == port { known.1 } else { 0 };
        sent += (begins + length).saturating_sub(begins.max(until));
        known = (port, until.max(begins + length));
    }
    sent
}

/// Reads the headers of a packet that one of our addresses has sent; neighbours that look for each other are none.
fn read(bytes: &[u8]) -> Option<Packet> {
    let number = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let ours = OURS.map(|address| address.parse::<IpAddr>().unwrap());
    let (from, to, protocol, header, length): (IpAddr, IpAddr, u8, usize, usize) = match bytes.first()? >> 4 {
        4 => (
            Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(12..16)?).ok()?).into(),
            Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(16..20)?).ok()?).into(),
            bytes[9],
            usize::from(bytes[0] & 15) * 4,
            number(2)?.into(),
        ),
        6 => (
            Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?).into(),
            Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(24..40)?).ok()?).into(),
            bytes[6],
            40,
            usize::from(number(4)?) + 40,
        ),
        _ => return None,
    };
    let is_neighbourly = protocol == ICMP6 && matches!(bytes.get(header), Some(133..=137 | 143));
    if !ours.contains(&from) || is_neighbourly || protocol == 0 {
        return None;
    }
    let has_ports = matches!(protocol, TCP | UDP | 33 | 132 | 136);
    let port = if has_ports { number(header + 2)? } else { 0 };
    let payload = match protocol {
        TCP => length.saturating_sub(header + usize::from(bytes.get(header + 12)? >> 4) * 4),
        _ => 0,
    };
    let begins = match protocol {
        TCP => {
            let of_byte = bytes.get(header + 4..header + 8)?;
            (number(header)?, u32::from_be_bytes(of_byte.try_into().ok()?))
        }
        _ => (0, 0),
    };
    Some(Packet { protocol, to, port, payload, begins })
}

#[test]
fn what_is_sent_again_counts_once() {
    let packet = |port, number: u32, payload| Packet {
        protocol: TCP,
        to: [11, 95, 0, 1].into(),
        port: 80,
        payload,
        begins: (port, number),
    };
    let near_the_end = u32::MAX - 999;
    let sent = [
        packet(1, near_the_end, 3000),
        packet(2, 7, 10),
        packet(1, 2000, 500),
        // The end of the first, alone; the whole again, joined with what follows; a part in the middle; an answer without bytes.
        packet(1, 1900, 100),
        packet(1, near_the_end, 3500),
        packet(1, 5, 20),
        packet(1, 2500, 0),
        packet(2, 7, 10),
    ];
    assert_eq!((bytes(&sent), bytes(&sent[..2]), bytes(&[])), (3510, 3010, 0));
}
