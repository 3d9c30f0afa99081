//! One request of HTTP/1 as the sandbox sends it: whom it is for, and how it is passed on so that nothing of a second
//! one goes along.

use super::target::Target;
use super::upstream::Login;
use crate::util::text::json_text;

/// The most that is read before a request's head has ended, in bytes.
pub const MOST: usize = 64 * 1024;

/// The most fields of one head.
pub const MOST_FIELDS: usize = 128;

/// Fields that are about one connection, and those that a proxy is told.
const DROPPED: &[&str] =
    &["connection", "keep-alive", "max-forwards", "proxy-connection", "proxy-authorization", "te", "upgrade"];

/// Fields by which some servers take a request for another one than was decided about.
pub const OVERRIDES: &[&str] =
    &["x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"];

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Length(u64),
    Chunked,
}

/// A request that can be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub host: Target,
    pub port: u16,
    pub method: String,
    /// Without the query.
    pub path: String,
    pub body: Body,
    /// The head to pass on: the same request, for this connection alone.
    pub head: Vec<u8>,
    /// How many bytes of the input it was.
    pub length: usize,
}

/// How a request names its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/path`, as servers are asked.
    Path,
    /// `http://host/path`, as proxies are asked.
    Whole,
}

impl Request {
    /// Returns the head as a proxy is asked: with the host in its target, and the login.
    pub fn for_proxy(&self, login: Option<&Login>) -> Vec<u8> {
        let at = self.head.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
        let (method, rest) = self.head.split_at(at);
        // Of a server as a whole is asked by its name alone.
        let rest = rest.strip_prefix(b"*").unwrap_or(rest);
        // The end of the first line, which has no other.
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (target, fields) = rest.split_at(end);
        let login = login.map(Login::field).unwrap_or_default();
        [method, format!("http://{}", self.host).as_bytes(), target, login.as_bytes(), fields].concat()
    }
}

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    More,
    Request(Request),
    /// No request that two programs would read alike; says why.
    Bad(&'static str),
}

/// Says whether a head may have ended in bytes that were behind `from`: only then it is worth to read it again.
pub fn may_have_ended(bytes: &[u8], from: usize) -> bool {
    let new = bytes.get(from.saturating_sub(3)..).unwrap_or_default();
    bytes.len() >= MOST || new.windows(2).any(|pair| pair == b"\n\n" || pair == b"\n\r")
}

/// Says whether each line ends with both of its bytes: where one of them is enough, programs see different lines.
pub fn has_whole_lines(head: &[u8]) -> bool {
    head.iter().enumerate().all(|(at, byte)| {
        *byte != b'\n' || at.checked_sub(1).and_then(|before| head.get(before)) == Some(&b'\r')
    })
}

/// Reads the beginning of a connection to the port.
pub fn read(bytes: &[u8], port: u16, form: Form) -> Head {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MOST => length,
        Ok(httparse::Status::Partial) if bytes.len() < MOST => return Head::More,
        Ok(_) => return Head::Bad("its head is too long"),
        Err(_) => return Head::Bad("it is no request of HTTP/1"),
    };
    if !bytes.get(..length).is_some_and(has_whole_lines) {
        return Head::Bad("a line of its head ends with one byte");
    }
    match request(&parsed, port, form, length) {
        Ok(request) => Head::Request(request),
        Err(why) => Head::Bad(why),
    }
}

/// Returns the one field of this name.
fn one<'a>(parsed: &httparse::Request<'_, 'a>, name: &str) -> Result<Option<&'a str>, &'static str> {
    let mut found = parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    let first = found.next();
    if found.next().is_some() {
        return Err("it has a field twice that may be there once");
    }
    let text = first.map(|field| std::str::from_utf8(field.value)).transpose();
    // Blanks and nothing else: what one program trims and another one does not must not decide.
    Ok(text.map_err(|_| "a field is not text")?.map(|text| text.trim_matches([' ', '\t'])))
}

/// Reads digits and nothing else.
pub fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn request(
    parsed: &httparse::Request<'_, '_>,
    port: u16,
    form: Form,
    length: usize,
) -> Result<Request, &'static str> {
    let (Some(method), Some(path), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err("it is no request of HTTP/1");
    };
    let (path, authority) = match (form, path.strip_prefix("http://")) {
        (Form::Path, _) => (path, None),
        (Form::Whole, None) => return Err("its target names no host"),
        (Form::Whole, Some(rest)) => match rest.find(['/', '?']) {
            Some(at) if rest.as_bytes()[at] == b'/' => (&rest[at..], Some(&rest[..at])),
            Some(_) => return Err("its target is no path"),
            // RFC 9112, section 3.2.4.
            None => (if method == "OPTIONS" { "*" } else { "/" }, Some(rest)),
        },
    };
    if method == "CONNECT" {
        return Err("it asks for a tunnel");
    }
    if method == "TRACE" {
        return Err("it asks to be shown what it has become on its way");
    }
    let is_path = path.starts_with('/') || (path == "*" && method == "OPTIONS");
    if !is_path {
        return Err("its target is no path");
    }
    let field = one(parsed, "host")?;
    if let (Some(authority), Some(field)) = (authority, field)
        && !authority.eq_ignore_ascii_case(field)
    {
        return Err("it names two hosts");
    }
    let named = authority.or(field).ok_or("it names no host")?;
    // Within brackets they belong to an address.
    let (name, named_port) = match named.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((name, port)) => (name, number(port).ok_or("it names no port that is one")?),
        None => (named, 80),
    };
    let host = Target::parse(name).map_err(|_| "what it names is no host")?;
    let port = if authority.is_some() { named_port } else { port };
    if named_port != port {
        return Err("it names another port than it was sent to");
    }
    if port == 443 {
        return Err("it is no TLS, for the port of TLS");
    }
    let (coding, length_field) = (one(parsed, "transfer-encoding")?, one(parsed, "content-length")?);
    let length_given = length_field.is_some();
    let body = match (coding, length_field) {
        (Some(_), Some(_)) => return Err("it has two lengths"),
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") && version == 1 => Body::Chunked,
        (Some(_), None) => return Err("its transfer coding is not known"),
        // What some programs count in 63 bits.
        (None, Some(length)) => {
            let length = number::<u64>(length).filter(|length| i64::try_from(*length).is_ok());
            Body::Length(length.ok_or("its length is none")?)
        }
        (None, None) => Body::Length(0),
    };
    // What `Connection` names is about this connection too.
    let named: Vec<String> = parsed
        .headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("connection"))
        .flat_map(|field| {
            String::from_utf8_lossy(field.value)
                .to_ascii_lowercase()
                .split(',')
                .map(|word| word.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    let kept = parsed.headers.iter().filter(|field| {
        let name = field.name.to_ascii_lowercase();
        let again = ["host", "content-length", "transfer-encoding"].contains(&name.as_str());
        // Some programs take `_` for `-`.
        let dropped = [DROPPED, OVERRIDES].concat().contains(&name.as_str());
        !(again || name.contains('_') || dropped || named.contains(&name))
    });
    // What was decided by is written as it was understood.
    let mut head = format!("{method} {path} HTTP/1.{version}\r\nHost: {host}");
    if port != 80 {
        head.push_str(&format!(":{port}"));
    }
    head.push_str(&match (body, length_given) {
        (Body::Chunked, _) => "\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        (Body::Length(length), true) => format!("\r\nContent-Length: {length}\r\n"),
        (Body::Length(_), false) => "\r\n".to_owned(),
    });
    let mut head = head.into_bytes();
    for field in kept {
        head.extend_from_slice(field.name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(field.value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    let (method, path) = (method.to_owned(), path.split('?').next().unwrap_or_default().to_owned());
    Ok(Request { host, port, method, path, body, head, length })
}

/// How far a chunked body has been read: RFC 9112, section 7.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chunks {
    /// In the line of a chunk's size: what was read of it so far, and in bytes.
    #[default]
    Start,
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind the size, before the end of its line.
    Extension {
        size: u64,
        bytes: u16,
        last: u8,
    },
    Data(u64),
    /// The two bytes behind a chunk.
    After(u8),
    /// The lines behind the last chunk: bytes in all, and whether this one is still empty.
    Trailer {
        bytes: u16,
        empty: bool,
        last: u8,
    },
    End,
}

/// Nobody sends more than this behind a size or as a trailer, in bytes.
const MOST_EXTRA: u16 = 8 * 1024;

impl Chunks {
    /// Goes on, and returns how many of the bytes belong to the body.
    pub fn read(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            if *self == Chunks::End {
                break;
            }
            if let Chunks::Data(left) = *self {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                let left = left - here as u64;
                *self = if left == 0 { Chunks::After(0) } else { Chunks::Data(left) };
                at += here;
                continue;
            }
            *self = self.step(byte)?;
            at += 1;
        }
        Ok(at)
    }

    fn step(self, byte: u8) -> Result<Self, &'static str> {
        const BAD: &str = "its chunks are not what they should be";
        let digit = char::from(byte).to_digit(16).map(u64::from);
        Ok(match self {
            Chunks::Start => Chunks::Size { size: digit.ok_or(BAD)?, digits: 1 },
            Chunks::Size { size, digits } => match (digit, byte) {
                (Some(digit), _) if digits < 15 => {
                    Chunks::Size { size: size << 4 | digit, digits: digits + 1 }
                }
                (None, b'\r' | b';') => Chunks::Extension { size, bytes: 0, last: byte },
                _ => return Err(BAD),
            },
            Chunks::Extension { size, last: b'\r', .. } => match (byte, size) {
                (b'\n', 0) => Chunks::Trailer { bytes: 0, empty: true, last: 0 },
                (b'\n', size) => Chunks::Data(size),
                _ => return Err(BAD),
            },
            Chunks::Extension { bytes: MOST_EXTRA, .. } | Chunks::Trailer { bytes: MOST_EXTRA, .. } => {
                return Err(BAD);
            }
            // A line ends with both of its bytes, and holds nothing that another program could take for an end.
            Chunks::Extension { .. } | Chunks::Trailer { .. }
                if byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r') && !self.ends_line() =>
            {
                return Err(BAD);
            }
            Chunks::Extension { size, bytes, .. } => Chunks::Extension { size, bytes: bytes + 1, last: byte },
            Chunks::After(0) if byte == b'\r' => Chunks::After(1),
            Chunks::After(1) if byte == b'\n' => Chunks::Start,
            Chunks::Trailer { bytes, empty, last: b'\r' } => match (byte, empty) {
                (b'\n', true) => Chunks::End,
                (b'\n', false) => Chunks::Trailer { bytes: bytes + 1, empty: true, last: 0 },
                _ => return Err(BAD),
            },
            Chunks::Trailer { bytes, empty, .. } => {
                Chunks::Trailer { bytes: bytes + 1, empty: empty && byte == b'\r', last: byte }
            }
            Chunks::After(_) | Chunks::Data(_) | Chunks::End => return Err(BAD),
        })
    }

    fn ends_line(self) -> bool {
        matches!(self, Chunks::Extension { last: b'\r', .. } | Chunks::Trailer { last: b'\r', .. })
    }
}

/// What a program or an agent reads about a refusal: one line of JSON.
pub fn denial(host: &str, port: u16, why: &str, rule: Option<&str>, fix: Option<&str>) -> String {
    let fix = fix.map(|line| format!("network allowlist {{ {line}; }}"));
    // The file and its line, without the directories of the host.
    let rule = rule.and_then(|rule| rule.rsplit('/').next());
    let body = serde_json::json!({
        "pier": "denied", "host": host, "port": port, "reason": why, "rule": rule, "fix": fix,
    });
    format!("{}\n", json_text(&body.to_string()))
}

/// The answer to a request that is refused.
pub fn refusal(host: &str, port: u16, why: &str, rule: Option<&str>, fix: Option<&str>) -> Vec<u8> {
    let body = denial(host, port, why, rule, fix);
    let head = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head, body].concat().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(text: &str) -> &'static str {
        match read(text.as_bytes(), 80, Form::Path) {
            Head::Bad(why) => why,
            other => panic!("{text:?} is {other:?}"),
        }
    }

    #[test]
    fn a_request_is_for_one_host_and_one_connection() {
        let text = "POST /a?b HTTP/1.1\r\nHost: A.example\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\n\
            Keep-Alive: 5\r\nUpgrade: websocket\r\nAccept: */*\r\nX-Original-URL: /c\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n";
        let Head::Request(request) = read(text.as_bytes(), 80, Form::Path) else { panic!() };
        assert_eq!((request.host.to_string().as_str(), request.body), ("a.example", Body::Length(3)));
        assert!(text[request.length..].starts_with("abc"));
        assert_eq!(
            String::from_utf8(request.head).unwrap(),
            "POST /a?b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        for cut in 0..request.length {
            assert_eq!(read(&text.as_bytes()[..cut], 80, Form::Path), Head::More, "{cut}");
        }
        for (host, sent) in [("10.0.0.1", "10.0.0.1"), ("[2001:DB8::1]:80", "[2001:db8::1]")] {
            let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let Head::Request(request) = read(text.as_bytes(), 80, Form::Path) else { panic!("{host}") };
            assert!(String::from_utf8(request.head).unwrap().contains(&format!("Host: {sent}\r\n")));
        }
        let other = read(b"GET / HTTP/1.0\r\nhost: a.example:8080\r\n\r\n", 8080, Form::Path);
        assert!(
            matches!(other, Head::Request(Request { port: 8080, body: Body::Length(0), .. })),
            "{other:?}"
        );
    }

    #[test]
    fn what_two_programs_would_read_differently_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example:81\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a_b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: ::1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: 2001:db8::80\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: 10.0.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n",
            "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "CONNECT b.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: +1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nX: 1\r\n Host: b.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example:+80\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: \u{a0}a.example\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: \u{a0}chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: \r\n\r\n",
            "\x16\x03\x01\x02\r\n\r\n",
            "GET / HTTP/1.1\nHost: a.example\n\n",
            "GET / HTTP/1.1\r\nHost: a.example\nX: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\n\n",
            "\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        ] {
            bad(text);
        }
        bad(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(MOST)));
    }

    #[test]
    fn chunks_end_where_they_end() {
        let body = b"5;name=x\r\nhello\r\n0a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
        let next = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
        let all = [&body[..], next].concat();
        for step in [1, 2, 3, 7, 1000] {
            let (mut chunks, mut read) = (Chunks::default(), 0);
            for part in all.chunks(step) {
                let here = chunks.read(part).unwrap();
                read += here;
                if here < part.len() {
                    break;
                }
            }
            assert_eq!((chunks, read), (Chunks::End, body.len()), "{step}");
        }
        for text in [
            "x\r\n",
            "5\n",
            "5\r\nhelloX\r\n",
            "5x\r\n",
            "fffffffffffffffff\r\n",
            "0\r\n\n",
            "5\r\rhello",
            "1;\n",
            "5 \r\n",
            "5;a\0\r\n",
            "5;a\x0b\r\n",
            "0\r\na\x0c: b\r\n",
        ] {
            assert!(Chunks::default().read(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_proxy_is_asked_for_one_host() {
        let text = "GET http://a.example/b?c HTTP/1.1\r\nHost: A.example\r\n\r\n";
        let Head::Request(request) = read(text.as_bytes(), 80, Form::Whole) else { panic!() };
        assert!(request.head.starts_with(b"GET /b?c HTTP/1.1\r\nHost: a.example\r\n"));
        assert!(
            request.for_proxy(None).starts_with(b"GET http://a.example/b?c HTTP/1.1\r\nHost: a.example\r\n")
        );
        let asked = request.for_proxy(Login::new("a:b").as_ref());
        let expected =
            "GET http://a.example/b?c HTTP/1.1\r\nProxy-Authorization: Basic YTpi\r\nHost: a.example\r\n";
        assert!(asked.starts_with(expected.as_bytes()));
        let text = "OPTIONS http://a.example HTTP/1.1\r\n\r\n";
        let Head::Request(request) = read(text.as_bytes(), 80, Form::Whole) else { panic!() };
        assert!(request.head.starts_with(b"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n"));
        assert!(request.for_proxy(None).starts_with(b"OPTIONS http://a.example HTTP/1.1\r\n"));
        for text in [
            "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n",
            "GET http://me@a.example/ HTTP/1.1\r\n\r\n",
            "GET http://a.example:443/ HTTP/1.1\r\n\r\n",
            "TRACE http://a.example/ HTTP/1.1\r\n\r\n",
            "GET http://a.example?x HTTP/1.1\r\n\r\n",
            "GET https://a.example/ HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        ] {
            assert!(matches!(read(text.as_bytes(), 80, Form::Whole), Head::Bad(_)), "{text}");
        }
        let text = "GET http://a.example:8080/ HTTP/1.1\r\n\r\n";
        let Head::Request(request) = read(text.as_bytes(), 80, Form::Whole) else { panic!() };
        assert!(
            request.port == 8080 && request.head.starts_with(b"GET / HTTP/1.1\r\nHost: a.example:8080\r\n")
        );
        let text = "GET http://a.example/ HTTP/1.1\r\n\r\n";
        assert!(matches!(read(text.as_bytes(), 80, Form::Path), Head::Bad(_)));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, cut in 0_usize..90) {
            let _any = read(&bytes, 80, Form::Path);
            let _any = Chunks::default().read(&bytes);
            let mut near = b"POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec();
            near.truncate(cut);
            near.extend(bytes);
            let _any = read(&near, 80, Form::Path);
        }
    }
}
