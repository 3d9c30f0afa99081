//! What tools that insist on a proxy say to it: CONNECT of HTTP/1.1 (RFC 9110, section 9.3.6), SOCKS 5 (RFC 1928)
//! without authentication. Whom they name is decided about as if it had been dialled.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http::has_whole_lines;
use super::serve::PATIENCE;
use super::target::Target;

/// Where it listens, on the loopback address of the sandbox.
pub use crate::plan::PROXY as PORT;

/// The most of a CONNECT, or of its answer, in bytes.
const MOST: usize = 8 * 1024;

const SOCKS: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;

/// How a client is told that it may go on, or may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Connect,
    Socks,
}

/// What a client has said first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Tunnel {
        kind: Kind,
        target: Target,
        port: u16,
    },
    /// A request of HTTP with the host in its target; nothing of it has been read.
    Request,
}

/// Hears whom a client wants; why not, if it makes no sense.
pub async fn hear(stream: &mut TcpStream) -> Result<Said, String> {
    let said = async {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hear_from(first[0], stream).await
    };
    match timeout(PATIENCE, said).await {
        Ok(said) => said.map_err(|error| format!("it does not speak with the proxy: {error}")),
        Err(_) => Err("it did not say in time whom it wants".into()),
    }
}

/// Hears it from a stream whose first byte is known and not read yet.
pub async fn hear_from(first: u8, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Said> {
    match first {
        SOCKS => socks(stream).await,
        // Of a CONNECT alone; no other method that anybody uses begins so, and one that does is refused below.
        b'C' => connect(stream).await,
        _ => Ok(Said::Request),
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

async fn socks(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Said> {
    let [_, methods] = array(stream).await?;
    let mut offered = vec![0; methods.into()];
    stream.read_exact(&mut offered).await?;
    if !offered.contains(&NO_AUTHENTICATION) {
        stream.write_all(&[SOCKS, 0xff]).await?;
        return Err(bad("it wants to authenticate"));
    }
    stream.write_all(&[SOCKS, NO_AUTHENTICATION]).await?;
    let [version, command, _, form] = array(stream).await?;
    if version != SOCKS || command != CONNECT {
        stream.write_all(&[SOCKS, 7, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        return Err(bad("it asks for something else than a connection"));
    }
    let target = match form {
        1 => Target::Address(Ipv4Addr::from(array::<4>(stream).await?).into()),
        4 => Target::Address(Ipv6Addr::from(array::<16>(stream).await?).into()),
        3 => {
            let [length] = array(stream).await?;
            let mut name = vec![0; length.into()];
            stream.read_exact(&mut name).await?;
            target(std::str::from_utf8(&name).map_err(|_| bad("its host is no name"))?)?
        }
        _ => return Err(bad("its host is of an unknown kind")),
    };
    let port = u16::from_be_bytes(array(stream).await?);
    Ok(Said::Tunnel { kind: Kind::Socks, target, port })
}

async fn array<const LENGTH: usize>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn target(text: &str) -> io::Result<Target> {
    // Some clients write addresses without brackets where no port is beside them.
    text.parse()
        .map(Target::Address)
        .or_else(|_| Target::parse(text))
        .map_err(|_| bad("its host is no host name"))
}

/// Reads a head of at most [`MOST`] bytes, and not a byte behind it: that belongs to the connection.
pub async fn head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let [byte] = array(stream).await?;
        head.push(byte);
        if head.len() > MOST {
            return Err(bad("its head is too long"));
        }
    }
    Ok(head)
}

async fn connect(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Said> {
    let head = head(stream).await?;
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut fields);
    let whole = parsed.parse(&head).map_err(|_| bad("it is no request of HTTP/1"))?;
    let ends = whole.is_complete() && has_whole_lines(&head);
    let (Some("CONNECT"), Some(wanted), true) = (parsed.method, parsed.path, ends) else {
        return Err(bad("it is no CONNECT"));
    };
    let (host, port) = wanted.rsplit_once(':').ok_or_else(|| bad("it names no port"))?;
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits).ok_or_else(|| bad("it names no port"))?;
    Ok(Said::Tunnel { kind: Kind::Connect, target: target(host)?, port })
}

/// Tells a client that it may go on.
pub async fn go_on(stream: &mut TcpStream, kind: Kind) -> io::Result<()> {
    match kind {
        Kind::Connect => stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await,
        Kind::Socks => stream.write_all(&[SOCKS, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await,
    }
}

/// What SOCKS says where the rules are against it.
pub const NOT_ALLOWED: [u8; 10] = [SOCKS, 2, 0, 1, 0, 0, 0, 0, 0, 0];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::host::HostName;

    async fn said(bytes: &[u8]) -> (Result<Said, String>, Vec<u8>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let said = hear(&mut server).await;
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        (said, rest)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn clients_say_whom_they_want() {
        block_on(async {
            let name = |name: &str| Target::Name(HostName::parse(name).unwrap());
            let tunnel = |kind, target, port| Ok(Said::Tunnel { kind, target, port });
            let connect = "CONNECT A.example:443 HTTP/1.1\r\nHost: b.example\r\n\r\nrest";
            assert_eq!(
                said(connect.as_bytes()).await,
                (tunnel(Kind::Connect, name("a.example"), 443), b"rest".to_vec())
            );
            let six = "CONNECT [2001:db8::1]:22 HTTP/1.1\r\n\r\n";
            let address = Target::Address("2001:db8::1".parse().unwrap());
            assert_eq!(said(six.as_bytes()).await.0, tunnel(Kind::Connect, address, 22));
            let named = b"\x05\x02\x00\x02\x05\x01\x00\x03\x09a.example\x00\x50GET";
            assert_eq!(said(named).await, (tunnel(Kind::Socks, name("a.example"), 80), b"GET".to_vec()));
            let four = b"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x01\xbb";
            assert_eq!(
                said(four).await.0,
                tunnel(Kind::Socks, Target::Address("10.0.0.1".parse().unwrap()), 443)
            );
            assert_eq!(said(b"GET http://a/ HTTP/1.1\r\n").await.0, Ok(Said::Request));
            for bytes in [
                &b""[..],
                b"\x05",
                b"\x05\x01\x02",
                b"\x05\x01\x00\x05\x02\x00\x01\x0a\x00\x00\x01\x01\xbb",
                b"\x05\x01\x00\x05\x01\x00\x03\x04a_b.\x00\x50",
                b"CONNECT a.example HTTP/1.1\r\n\r\n",
                b"CONNECT a.example:+80 HTTP/1.1\r\n\r\n",
                b"CONNECT a.example:99999 HTTP/1.1\r\n\r\n",
                b"CONNECT a b HTTP/1.1\r\n\r\n",
                b"COPY /x HTTP/1.1\r\n\r\n",
                b"CONNECT a.example:80 HTTP/1.1\n\nmore\r\n\r\n",
                b"CONNECT a.example:80",
            ] {
                assert!(said(bytes).await.0.is_err(), "{bytes:?}");
            }
            let long = [&b"CONNECT a.example:80 HTTP/1.1\r\n"[..], &[b'a'; MOST]].concat();
            assert!(said(&long).await.0.is_err());
        });
    }
}
