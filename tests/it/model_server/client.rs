//! A client small enough to send what real ones never would.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::model_server::ModelServer;

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON answer")
    }

    /// The data of every server-sent event but the closing `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

pub fn connect(server: &ModelServer) -> TcpStream {
    TcpStream::connect(("127.0.0.1", server.port())).expect("a listening server")
}

/// Sends one JSON body on a connection of its own.
pub fn post(server: &ModelServer, path: &str, body: &Value) -> Reply {
    send(server, &format!("POST {path}"), "", body.to_string().as_bytes())
}

/// `start` is method and path; `headers` are whole lines.
pub fn send(server: &ModelServer, start: &str, headers: &str, body: &[u8]) -> Reply {
    let length = body.len();
    let head = format!(
        "{start} HTTP/1.1\r\nhost: model\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    raw(server, &[head.as_bytes(), body].concat())
}

/// Sends bytes as they are and reads until the server closes.
pub fn raw(server: &ModelServer, bytes: &[u8]) -> Reply {
    let mut socket = connect(server);
    socket.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    parse(&String::from_utf8(answer).unwrap())
}

fn parse(answer: &str) -> Reply {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    Reply { status, head: head.to_owned(), body }
}

/// As far as the chunks go; a cut answer just ends.
fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&after[..size.min(after.len())]);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    body
}
