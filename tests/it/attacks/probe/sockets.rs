//! Sockets by family, and connections to sockets of the host. Nothing here dials a network.

use std::io::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};

use crate::Attempt;
use crate::sys::{self, Answer, call, nr};

const STREAM: i64 = 1;
const DGRAM: i64 = 2;
const RAW: i64 = 3;

/// Families, types and protocols that a session has no use for.
const FOREIGN: &[(&str, i64, i64, i64)] = &[
    ("vsock", 40, STREAM, 0),
    ("packet", 17, RAW, 0),
    ("packet-dgram", 17, DGRAM, 0),
    ("alg", 38, 5, 0),
    ("key", 15, RAW, 2),
    ("netlink-xfrm", 16, RAW, 6),
    ("netlink-audit", 16, RAW, 9),
    ("netlink-netfilter", 16, RAW, 12),
    ("netlink-uevent", 16, RAW, 15),
    ("netlink-generic", 16, RAW, 16),
    ("inet-raw", 2, RAW, 1),
    ("inet6-raw", 10, RAW, 58),
    ("bluetooth", 31, RAW, 1),
    ("tipc", 30, STREAM, 0),
    ("rds", 21, 5, 0),
    ("xdp", 44, RAW, 0),
    ("can", 29, RAW, 1),
    ("ax25", 3, 5, 0),
    ("ipx", 4, DGRAM, 0),
    ("appletalk", 5, DGRAM, 0),
    ("llc", 26, STREAM, 0),
    ("ieee802154", 36, DGRAM, 0),
    ("caif", 37, 5, 0),
    ("nfc", 39, STREAM, 1),
    ("kcm", 41, DGRAM, 0),
    ("qipcrtr", 42, DGRAM, 0),
    ("smc", 43, STREAM, 0),
    ("mctp", 45, DGRAM, 0),
];

/// Types and protocols of the internet that are not TCP by its own name.
const PROTOCOLS: &[(&str, i64, i64)] = &[
    ("udp", DGRAM, 17),
    ("udp-lite", DGRAM, 136),
    ("echo", DGRAM, 1),
    ("raw-icmp", RAW, 1),
    ("raw", RAW, 255),
    ("sctp", STREAM, 132),
    ("sctp-packets", 5, 132),
    ("dccp", 6, 33),
    ("mptcp", STREAM, 262),
];

/// Connects to the port of HTTP/3 and sends what would be an echo request of ICMP.
fn send(address: std::net::Ipv4Addr, kind: i64, protocol: i64) -> i32 {
    let Ok(made) = call(nr::SOCKET, &[2, kind, protocol]) else { return 1 };
    let mut name = [0_u8; 16];
    name[..2].copy_from_slice(&2_u16.to_ne_bytes());
    name[2..4].copy_from_slice(&443_u16.to_be_bytes());
    name[4..8].copy_from_slice(&address.octets());
    let message = [8_u8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    let connected = call(nr::CONNECT, &[made, sys::at(&name), 16]);
    let sent = call(nr::SENDTO, &[made, sys::at(&message), 8, 0, sys::at(&name), 16]);
    i32::from(connected.is_err() && sent.is_err())
}

pub const TABLE: &[(&str, Attempt)] = &[
    // Those that are named, or all of them.
    ("families", |args| {
        let wanted = |name: &str| args.is_empty() || args.iter().any(|word| word == name);
        let made: Vec<&str> = FOREIGN
            .iter()
            .filter(|(name, family, kind, protocol)| {
                wanted(name) && call(nr::SOCKET, &[*family, *kind, *protocol]).is_ok()
            })
            .map(|(name, ..)| *name)
            .collect();
        if made.is_empty() { Answer::blocked("none is made") } else { Answer::reachable(made.join(" ")) }
    }),
    // What programs need: a filter that breaks them gets switched off.
    ("useful-families", |_| {
        let needed = [
            ("unix", 1, STREAM, 0),
            ("inet", 2, STREAM, 0),
            ("udp", 2, DGRAM, 0),
            ("inet6", 10, STREAM, 0),
            ("route", 16, RAW, 0),
        ];
        let refused: Vec<&str> = needed
            .iter()
            .filter(|(_, family, kind, protocol)| call(nr::SOCKET, &[*family, *kind, *protocol]).is_err())
            .map(|(name, ..)| *name)
            .collect();
        if refused.is_empty() {
            Answer::blocked("all are made")
        } else {
            Answer::reachable(format!("refused: {}", refused.join(" ")))
        }
    }),
    ("abstract", |args| {
        let address = SocketAddr::from_abstract_name(&args[0]).unwrap();
        connect("abstract", UnixStream::connect_addr(&address))
    }),
    // Every path is tried; one that connects gets a line that its listener can show.
    ("unix", |args| {
        let mut open = Vec::new();
        for path in args {
            if let Ok(mut stream) = UnixStream::connect(path) {
                // The connection is what counts.
                let _written = stream.write_all(b"StartTransientUnit touch\n");
                open.push(path.as_str());
            }
        }
        if open.is_empty() { Answer::blocked("none connects") } else { Answer::reachable(open.join(" ")) }
    }),
    ("interfaces", |_| {
        let text = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
        let names = text.lines().skip(2).filter_map(|line| line.split(':').next());
        let other: Vec<&str> = names.map(str::trim).filter(|name| *name != "lo").collect();
        if other.is_empty() { Answer::blocked("lo") } else { Answer::reachable(other.join(" ")) }
    }),
    // Something by every protocol that the kernel may know; who sees it is somebody else's question.
    ("sends", |args| {
        let address: std::net::Ipv4Addr = args[0].parse().unwrap();
        let slow: Vec<&str> = PROTOCOLS
            .iter()
            .filter(|(_, kind, protocol)| {
                let began = std::time::Instant::now();
                sys::in_child(|| send(address, *kind, *protocol));
                began.elapsed().as_secs() >= 1
            })
            .map(|(name, ..)| *name)
            .collect();
        println!("@tried");
        if slow.is_empty() { Answer::blocked("tried") } else { Answer::reachable(format!("slow: {slow:?}")) }
    }),
    ("tcp", |args| match std::net::TcpStream::connect(&args[0]) {
        Ok(mut stream) => {
            let _written = stream.write_all(b"hello\n");
            Answer::reachable("connected")
        }
        Err(error) => Answer::blocked(error.to_string()),
    }),
];

fn connect(what: &str, stream: std::io::Result<UnixStream>) -> Answer {
    match stream {
        Ok(mut stream) => {
            let _written = stream.write_all(b"StartTransientUnit touch\n");
            Answer::reachable(format!("{what} connected"))
        }
        Err(error) => Answer::blocked(sys::name(error.raw_os_error().unwrap_or(0))),
    }
}
