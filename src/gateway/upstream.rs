//! The proxy of this machine's network, which takes out what was allowed.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::AsyncWriteExt as _;
use zeroize::Zeroizing;

use super::outgoing::{Outgoing, connect};
use super::proxy;
use super::serve::Shared;

pub struct Upstream {
    pub host: String,
    pub port: u16,
    pub login: Option<Login>,
}

/// What the proxy knows its user by: basic authentication (RFC 7617).
pub struct Login(Zeroizing<String>);

impl Login {
    /// Takes `USER:PASSWORD`; `None` if it is something else.
    pub fn new(value: &str) -> Option<Self> {
        let plain = value.contains(':') && !value.chars().any(char::is_control);
        plain.then(|| Login(Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(value)))))
    }

    /// Returns the field of a request, with the end of its line.
    pub fn field(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Proxy-Authorization: {}\r\n", *self.0))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Login(..)")
    }
}

/// Connects to the proxy, and through it to `HOST:PORT`, if that is given.
pub async fn through(
    upstream: &Upstream,
    wanted: Option<String>,
    shared: &Shared,
) -> io::Result<(Outgoing, SocketAddr)> {
    let literal = upstream.host.trim_start_matches('[').trim_end_matches(']').parse();
    let address = if let Ok(address) = literal {
        address
    } else {
        let found = shared.resolver.lookup_ip(upstream.host.as_str()).await.map_err(io::Error::other)?;
        found.iter().next().ok_or_else(|| io::Error::other("it has no address"))?
    };
    let to = SocketAddr::new(address, upstream.port);
    let mut stream = connect(to).await?;
    let Some(wanted) = wanted else { return Ok((stream, to)) };
    let login = upstream.login.as_ref().map(Login::field).unwrap_or_default();
    let login = login.as_str();
    let ask = Zeroizing::new(format!("CONNECT {wanted} HTTP/1.1\r\nHost: {wanted}\r\n{login}\r\n"));
    stream.write_all(ask.as_bytes()).await?;
    let head = proxy::head(&mut stream).await?;
    let line =
        String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    if line.starts_with("HTTP/1.") && line.get(8..11) == Some(" 20") {
        return Ok((stream, to));
    }
    let help = if line.get(8..12) == Some(" 407") { "; it wants a `login`" } else { "" };
    Err(io::Error::other(format!("it answers `{line}`{help}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_one_field() {
        let login = Login::new("me:pass word").unwrap();
        assert_eq!(*login.field(), "Proxy-Authorization: Basic bWU6cGFzcyB3b3Jk\r\n");
        assert_eq!(format!("{login:?}"), "Login(..)");
        assert!(Login::new("token").is_none() && Login::new("me:a\r\nX: y").is_none());
    }
}
