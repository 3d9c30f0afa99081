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
pub struct Login {
    plain: Zeroizing<String>,
    field: Zeroizing<String>,
}

impl Login {
    /// Takes `USER:PASSWORD`; `None` if it is something else.
    pub fn new(value: &str) -> Option<Self> {
        let plain = value.contains(':') && !value.chars().any(char::is_control);
        plain.then(|| Login {
            plain: Zeroizing::new(value.to_owned()),
            field: Zeroizing::new(BASE64_STANDARD.encode(value)),
        })
    }

    /// Returns `USER:PASSWORD`.
    pub fn plain(&self) -> &str {
        &self.plain
    }

    /// Returns the field of a request, with the end of its line.
    pub fn field(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Proxy-Authorization: Basic {}\r\n", *self.field))
    }

    /// Returns the forms in which a proxy could tell it to somebody else.
    pub fn told(&self) -> [Zeroizing<Vec<u8>>; 2] {
        [&self.plain, &self.field].map(|text| Zeroizing::new(text.as_bytes().to_vec()))
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
    // Nothing of what it says goes further: it may say what it was told.
    match answer(&mut stream).await? {
        200..=299 => Ok((stream, to)),
        407 => Err(io::Error::other("it answers 407: it wants another `login`, or one")),
        code => Err(io::Error::other(format!("it answers {code}"))),
    }
}

/// Reads the answer to a CONNECT, and returns its status.
async fn answer(stream: &mut Outgoing) -> io::Result<u16> {
    /// Answers that are only on the way.
    const MOST_INTERIM: usize = 8;
    for _ in 0..MOST_INTERIM {
        let head = proxy::head(stream).await?;
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut fields);
        let whole = parsed.parse(&head).is_ok_and(|status| status.is_complete());
        let code = parsed.code.filter(|_| whole).ok_or_else(|| io::Error::other("it speaks no HTTP/1"))?;
        if code >= 200 {
            return Ok(code);
        }
    }
    Err(io::Error::other("it does not come to an answer"))
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
