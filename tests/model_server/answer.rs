//! Writing answers: plain JSON, or a stream of server-sent events.

use std::io::{self, Write};

use serde_json::Value;

use super::http::Incoming;

pub enum Answer {
    Json {
        status: u16,
        body: Value,
    },
    /// Server-sent events, each already in its wire form.
    Events(Vec<String>),
}

impl Answer {
    pub fn json(body: Value) -> Self {
        Self::Json { status: 200, body }
    }

    pub fn write(&self, mut out: impl Write, incoming: &Incoming) -> io::Result<()> {
        let connection = if incoming.keep_alive { "keep-alive" } else { "close" };
        match self {
            Self::Json { status, body } => {
                let body = body.to_string();
                let mut message = json_head(*status, body.len(), connection);
                if incoming.request.method != "HEAD" {
                    message.push_str(&body);
                }
                out.write_all(message.as_bytes())
            }
            Self::Events(events) => {
                let framing = if incoming.chunks { "transfer-encoding: chunked\r\n" } else { "" };
                out.write_all(events_head(framing, connection).as_bytes())?;
                for event in events {
                    if incoming.chunks {
                        out.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
                    } else {
                        out.write_all(event.as_bytes())?;
                    }
                }
                out.write_all(if incoming.chunks { b"0\r\n\r\n" } else { b"" })
            }
        }
    }

    /// Promises a whole answer and stops in its middle.
    pub fn write_half(&self, mut out: impl Write) -> io::Result<()> {
        let (head, body) = match self {
            Self::Json { status, body } => {
                let body = body.to_string();
                (json_head(*status, body.len(), "keep-alive"), body)
            }
            Self::Events(events) => {
                let body = events.concat();
                let head = events_head("transfer-encoding: chunked\r\n", "keep-alive");
                (format!("{head}{:x}\r\n", body.len()), body)
            }
        };
        out.write_all(head.as_bytes())?;
        out.write_all(&body.as_bytes()[..body.len() / 2])
    }
}

fn json_head(status: u16, length: usize, connection: &str) -> String {
    let reason = if status < 400 { "OK" } else { "Error" };
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: {connection}\r\n\r\n"
    )
}

fn events_head(framing: &str, connection: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
         {framing}connection: {connection}\r\n\r\n"
    )
}

/// One server-sent event with a name.
pub fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// One server-sent event without a name.
pub fn data(data: &Value) -> String {
    format!("data: {data}\n\n")
}
