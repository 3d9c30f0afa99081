//! Reading requests: as much of HTTP/1.1 as model clients use.

use std::io::{self, BufRead, Read, Write};

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::answer::Answer;

/// Far above any real conversation, far below what would hurt the machine.
pub const MAX_BODY: u64 = 64 << 20;
const MAX_HEAD: u64 = 256 << 10;

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// As sent, query included.
    pub path: String,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// Null without a body; a string where the body is not JSON.
    pub body: Value,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The path without its query.
    pub fn route(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

/// A request and what it says about the connection it came on.
pub struct Incoming {
    pub request: Request,
    pub keep_alive: bool,
    /// HTTP/1.0 has no chunks: there, the end of the connection is the end of the answer.
    pub chunks: bool,
}

impl Incoming {
    /// Stands in for a request that could not be read.
    pub fn closing() -> Self {
        let request =
            Request { method: String::new(), path: String::new(), headers: Vec::new(), body: Value::Null };
        Self { request, keep_alive: false, chunks: false }
    }
}

pub struct Refusal {
    status: u16,
    why: String,
}

impl Refusal {
    fn new(status: u16, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    pub fn answer(&self) -> Answer {
        let body = json!({ "error": { "type": "invalid_request_error", "message": self.why } });
        Answer::Json { status: self.status, body }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::new(400, error.to_string())
    }
}

/// `None` when the client has closed the connection between two requests.
pub fn read_request(reader: &mut impl BufRead, mut interim: impl Write) -> Result<Option<Incoming>, Refusal> {
    let mut head = reader.by_ref().take(MAX_HEAD);
    let mut start = read_line(&mut head)?;
    while start.as_deref() == Some("") {
        start = read_line(&mut head)?;
    }
    let Some(start) = start else { return Ok(None) };
    let mut words = start.split(' ');
    let (Some(method), Some(path), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(Refusal::new(400, "not an HTTP request line"));
    };
    let mut headers = Vec::new();
    loop {
        let line = read_line(&mut head)?.ok_or_else(|| Refusal::new(431, "the head is cut or too long"))?;
        if line.is_empty() {
            break;
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| Refusal::new(400, "a header without a colon"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }

    let mut request =
        Request { method: method.to_owned(), path: path.to_owned(), headers, body: Value::Null };
    if has(&request, "expect", "100-continue") {
        interim.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let raw = read_body(reader, &request)?;
    if !raw.is_empty() {
        let text = || Value::String(String::from_utf8_lossy(&raw).into_owned());
        request.body = serde_json::from_slice(&raw).unwrap_or_else(|_| text());
    }
    let modern = version == "HTTP/1.1";
    let keep_alive = modern && !has(&request, "connection", "close");
    Ok(Some(Incoming { request, keep_alive, chunks: modern }))
}

fn has(request: &Request, header: &str, token: &str) -> bool {
    request.header(header).is_some_and(|value| value.to_ascii_lowercase().contains(token))
}

/// `None` at the end of the input.
fn read_line(reader: &mut impl BufRead) -> Result<Option<String>, Refusal> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if line.pop_if(|byte| *byte == b'\n').is_none() {
        return if line.is_empty() { Ok(None) } else { Err(Refusal::new(400, "a line is cut or too long")) };
    }
    line.pop_if(|byte| *byte == b'\r');
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

fn read_body(reader: &mut impl BufRead, request: &Request) -> Result<Vec<u8>, Refusal> {
    let raw = if has(request, "transfer-encoding", "chunked") {
        read_chunks(reader)?
    } else {
        let length = request.header("content-length").unwrap_or("0");
        let length = length.parse().map_err(|_| Refusal::new(400, "bad Content-Length"))?;
        let mut raw = Vec::new();
        read_exactly(reader, length, &mut raw)?;
        raw
    };
    match request.header("content-encoding").unwrap_or("identity") {
        "identity" => Ok(raw),
        "gzip" => {
            let mut plain = Vec::new();
            GzDecoder::new(raw.as_slice()).take(MAX_BODY + 1).read_to_end(&mut plain)?;
            if plain.len() as u64 > MAX_BODY { Err(too_large()) } else { Ok(plain) }
        }
        other => Err(Refusal::new(415, format!("Content-Encoding {other}"))),
    }
}

fn read_chunks(reader: &mut impl BufRead) -> Result<Vec<u8>, Refusal> {
    let cut = || Refusal::new(400, "the chunked body is cut");
    let mut raw = Vec::new();
    loop {
        let line = read_line(&mut reader.by_ref().take(MAX_HEAD))?.ok_or_else(cut)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| Refusal::new(400, "bad chunk size"))?;
        if size == 0 {
            break;
        }
        read_exactly(reader, size, &mut raw)?;
        read_line(&mut reader.by_ref().take(2))?;
    }
    let mut trailers = reader.by_ref().take(MAX_HEAD);
    while read_line(&mut trailers)?.is_some_and(|line| !line.is_empty()) {}
    Ok(raw)
}

fn read_exactly(reader: &mut impl Read, length: u64, into: &mut Vec<u8>) -> Result<(), Refusal> {
    if length.saturating_add(into.len() as u64) > MAX_BODY {
        return Err(too_large());
    }
    let got = reader.take(length).read_to_end(into)?;
    if got as u64 == length { Ok(()) } else { Err(Refusal::new(400, "the body is cut")) }
}

fn too_large() -> Refusal {
    Refusal::new(413, format!("the body is over {MAX_BODY} bytes"))
}
