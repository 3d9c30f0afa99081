//! Heads and chunked bodies of HTTP/1.

use std::net::Ipv6Addr;

use super::{beginnings, cuts, strict};
use crate::gateway::http::{self, Body, Chunks, Form, Head, MOST, MOST_FIELDS, Request};

/// What is about one connection, and is never passed on.
const HOP: &[&str] =
    &["keep-alive", "max-forwards", "proxy-connection", "proxy-authorization", "te", "upgrade"];

/// A head is read as the strict reader reads it or not at all, however it arrives, and what is passed on says the same.
pub fn http_head(bytes: &[u8]) {
    for form in [Form::Path, Form::Whole] {
        match http::read(bytes, 80, form) {
            Head::Request(request) => {
                is_what_was_said(bytes, &request, form);
                is_what_is_passed_on(&request);
                arrives_in_any_way(bytes, &request, form);
            }
            Head::More => {
                assert!(bytes.len() < MOST, "it has an end");
                assert!(strict::read(bytes).is_none(), "it has ended");
            }
            Head::Bad(_) => {}
        }
    }
}

fn is_what_was_said(bytes: &[u8], request: &Request, form: Form) {
    let strict = strict::read(bytes);
    assert!(strict.is_some(), "a strict reader refuses it");
    let Some(strict) = strict else { return };
    assert_eq!((request.method.as_str(), request.length), (strict.method, strict.length));
    let target = match form {
        Form::Path => strict.target,
        Form::Whole => strict.target.strip_prefix("http://").unwrap_or_default(),
    };
    let (authority, path) = target.split_at(target.find('/').unwrap_or(target.len()));
    let path = path.split('?').next().unwrap_or_default();
    match form {
        Form::Path => assert_eq!(strict.target.split('?').next(), Some(request.path.as_str())),
        Form::Whole if path.is_empty() => {
            assert_eq!(request.path, if request.method == "OPTIONS" { "*" } else { "/" });
        }
        Form::Whole => assert_eq!(path, request.path),
    }
    let hosts = strict.all("host");
    assert!(hosts.len() <= 1, "two hosts");
    let named = match form {
        Form::Path => hosts.first().map(|host| String::from_utf8_lossy(host).into_owned()),
        Form::Whole => Some(authority.to_owned()),
    };
    let named = named.unwrap_or_default().to_ascii_lowercase();
    let (host, port) = match named.rsplit_once(':') {
        Some((host, port)) if !named.ends_with(']') => (host, port),
        _ => (named.as_str(), "80"),
    };
    // Addresses are written in their one form.
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = inside.and_then(|inside| inside.parse::<Ipv6Addr>().ok());
    let host = address.map_or_else(|| host.to_owned(), |address| format!("[{address}]"));
    assert_eq!((host, port.parse()), (request.host.to_string(), Ok(request.port)));
    // Only a proxy is told another port than the one that it was sent to, and never that of TLS.
    assert!(request.port == 80 || (form == Form::Whole && request.port != 443), "{}", request.port);
    assert_eq!(framing(&strict), Some(request.body));
}

/// Returns what follows a head; `None` where two programs would see two things.
fn framing(head: &strict::Head<'_>) -> Option<Body> {
    match (&head.all("transfer-encoding")[..], &head.all("content-length")[..]) {
        ([], []) => Some(Body::Length(0)),
        ([], [length]) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(length).ok()?.parse().ok();
            length.filter(|_| digits).map(Body::Length)
        }
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") && head.minor == 1 => Some(Body::Chunked),
        _ => None,
    }
}

fn is_what_is_passed_on(request: &Request) {
    let head = strict::read(&request.head);
    assert!(head.is_some(), "a strict reader refuses what is passed on");
    let Some(head) = head else { return };
    assert_eq!(head.length, request.head.len());
    assert_eq!(head.method, request.method);
    assert_eq!(head.target.split('?').next(), Some(request.path.as_str()));
    let host = match request.port {
        80 => request.host.to_string(),
        port => format!("{}:{port}", request.host),
    };
    assert_eq!(head.all("host"), [host.as_bytes()]);
    assert_eq!(head.all("connection"), [b"close"]);
    assert_eq!(framing(&head), Some(request.body));
    for (name, _) in &head.fields {
        assert!(!HOP.contains(&name.as_str()) && !name.contains('_'), "{name}");
    }
    let says = |request: &Request| {
        (request.host.clone(), request.method.clone(), request.path.clone(), request.body)
    };
    let by_proxy = request.for_proxy(None);
    // With `Connection`, it may be more than is taken from the sandbox.
    if head.fields.len() > MOST_FIELDS || by_proxy.len() > MOST {
        return;
    }
    for (head, form) in [(&request.head, Form::Path), (&by_proxy, Form::Whole)] {
        // To another port there is a tunnel, where a proxy takes connections out.
        if form == Form::Whole && request.port != 80 {
            continue;
        }
        let again = http::read(head, request.port, form);
        assert!(matches!(&again, Head::Request(again) if says(again) == says(request)), "{again:?}");
    }
}

fn arrives_in_any_way(bytes: &[u8], request: &Request, form: Form) {
    let head = bytes.get(..request.length).unwrap_or_default();
    assert_eq!(http::read(head, 80, form), Head::Request(request.clone()));
    assert!(http::may_have_ended(head, request.length.saturating_sub(1)), "nobody would read it");
    for cut in beginnings(request.length) {
        assert_eq!(http::read(&head[..cut], 80, form), Head::More, "{cut}");
    }
}

/// A chunked body ends where RFC 9112 says, however it arrives.
pub fn chunks(bytes: &[u8]) {
    let expected = body(bytes);
    for pieces in cuts(bytes) {
        let (mut chunks, mut read, mut failed) = (Chunks::default(), 0, false);
        for piece in pieces {
            match chunks.read(piece) {
                Ok(here) => {
                    assert!(here == piece.len() || chunks == Chunks::End, "bytes are left over");
                    read += here;
                }
                Err(_) => failed = true,
            }
            if failed || chunks == Chunks::End {
                break;
            }
        }
        let found = match (failed, chunks == Chunks::End) {
            (true, _) => Found::Bad,
            (false, true) => Found::Ends(read),
            (false, false) => Found::More,
        };
        assert_eq!(found, expected);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Ends(usize),
    More,
    Bad,
}

/// The most bytes behind a size, or of a trailer.
const MOST_EXTRA: usize = 8 * 1024;

/// Reads a chunked body by lines.
fn body(bytes: &[u8]) -> Found {
    let mut rest = bytes;
    loop {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = rest
            .get(..digits)
            .and_then(|digits| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        if digits > 15 || (digits == 0 && !rest.is_empty()) {
            return Found::Bad;
        }
        let behind = rest.get(digits..).unwrap_or_default();
        let (Some(size), Some(next)) = (size, behind.first()) else { return Found::More };
        if !matches!(next, b';' | b'\r') {
            return Found::Bad;
        }
        let line = match line(behind, MOST_EXTRA) {
            Ok(line) => line,
            Err(found) => return found,
        };
        rest = behind.get(line + 2..).unwrap_or_default();
        if size == 0 {
            break;
        }
        let Some(tail) = usize::try_from(size).ok().and_then(|size| rest.get(size..)) else {
            return Found::More;
        };
        match tail {
            [b'\r', b'\n', tail @ ..] => rest = tail,
            [] | [b'\r'] => return Found::More,
            _ => return Found::Bad,
        }
    }
    let mut room = MOST_EXTRA;
    loop {
        let line = match line(rest, room) {
            Ok(line) => line,
            Err(found) => return found,
        };
        rest = rest.get(line + 2..).unwrap_or_default();
        if line == 0 {
            return Found::Ends(bytes.len() - rest.len());
        }
        room = room.saturating_sub(line + 2);
    }
}

/// Returns the length of the line at the beginning, without the two bytes of its end.
fn line(bytes: &[u8], most: usize) -> Result<usize, Found> {
    let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    let Some(length) = bytes.iter().take(most + 2).position(is_control) else {
        return Err(if bytes.len() > most { Found::Bad } else { Found::More });
    };
    match bytes.get(length..) {
        Some([b'\r', b'\n', ..]) => Ok(length),
        Some([b'\r']) => Err(Found::More),
        _ => Err(Found::Bad),
    }
}
