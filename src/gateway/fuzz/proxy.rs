//! What clients say to the proxy.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{cuts, strict};
use crate::gateway::proxy::{Kind, Said, hear_from};
use crate::gateway::target::Target;
use crate::policy::host::HostName;

/// A client that says what it says in these pieces, and then nothing more.
struct Client<'a> {
    pieces: Vec<&'a [u8]>,
    heard: Vec<u8>,
}

impl AsyncRead for Client<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(piece) = self.pieces.first_mut() {
            if piece.is_empty() {
                self.pieces.remove(0);
                continue;
            }
            let (now, later) = piece.split_at(piece.len().min(buffer.remaining()));
            buffer.put_slice(now);
            *piece = later;
            break;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.heard.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What was made of a client: whom it wants, what it was told, how many bytes of it are left.
type Heard = (Option<Said>, Vec<u8>, usize);

/// Returns what is heard, the same however it arrives.
fn hear(first: u8, bytes: &[u8]) -> Heard {
    let mut all: Vec<Heard> = Vec::new();
    for pieces in cuts(bytes) {
        let mut client = Client { pieces, heard: Vec::new() };
        let said = {
            let future = pin!(hear_from(first, &mut client));
            match future.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(said) => said.ok(),
                Poll::Pending => None,
            }
        };
        let left = client.pieces.iter().map(|piece| piece.len()).sum();
        all.push((said, client.heard, left));
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "it depends on how it arrives: {all:?}");
    all.swap_remove(0)
}

/// A CONNECT is for whom a strict reader says, and what is behind its head belongs to the connection.
pub fn connect(bytes: &[u8]) {
    let bytes = [b"C", bytes].concat();
    let (said, told, left) = hear(b'C', &bytes);
    assert_eq!(told, b"", "it is told something too early");
    let Some(Said::Tunnel { kind, target, port }) = said else { return };
    assert_eq!(kind, Kind::Connect);
    let strict = strict::read(&bytes);
    assert!(strict.is_some(), "a strict reader refuses it");
    let Some(strict) = strict else { return };
    assert_eq!((strict.method, strict.length), ("CONNECT", bytes.len() - left));
    let named = strict.target.to_ascii_lowercase();
    let (named, named_port) = named.rsplit_once(':').unwrap_or_default();
    let spelled = match named.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(address)) => address.to_string(),
        Err(_) => named.to_owned(),
    };
    assert_eq!((target.to_string(), Ok(port)), (spelled, named_port.parse()));
}

/// SOCKS 5 is read as RFC 1928 has it, and what is behind the request belongs to the connection.
pub fn socks(bytes: &[u8]) {
    let bytes = [&[5], bytes].concat();
    let (said, told, left) = hear(5, &bytes);
    let expected = request(&bytes);
    match said {
        None => assert_eq!(expected, None, "a good request is refused"),
        Some(said) => {
            assert_eq!(told, [5, 0]);
            let found = (said, bytes.len() - left);
            assert_eq!(Some(found), expected);
        }
    }
}

/// Reads what a client of SOCKS 5 without authentication says; returns it with its length.
fn request(bytes: &[u8]) -> Option<(Said, usize)> {
    let methods = usize::from(*bytes.get(1)?);
    let offered = bytes.get(2..2 + methods)?;
    let asked = bytes.get(2 + methods..)?;
    let [5, 1, _, form, rest @ ..] = asked else { return None };
    let (target, length) = match form {
        1 => (Target::Address(Ipv4Addr::from(*rest.first_chunk::<4>()?).into()), 4),
        4 => (Target::Address(Ipv6Addr::from(*rest.first_chunk::<16>()?).into()), 16),
        3 => {
            let length = usize::from(*rest.first()?);
            let text = std::str::from_utf8(rest.get(1..=length)?).ok()?;
            let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let address: Option<IpAddr> = match inside {
                Some(inside) => inside.parse::<Ipv6Addr>().ok().map(Into::into),
                None => text.parse().ok(),
            };
            let target = address.map(Target::Address);
            (target.or_else(|| HostName::parse(text).map(Target::Name).ok())?, 1 + length)
        }
        _ => return None,
    };
    let port = u16::from_be_bytes(*rest.get(length..)?.first_chunk::<2>()?);
    let said = Said::Tunnel { kind: Kind::Socks, target, port };
    offered.contains(&0).then_some((said, 2 + methods + 4 + length + 2))
}
