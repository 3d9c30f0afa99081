//! Bodies, connections, the record of requests, and failures on purpose.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::client::{connect, post, raw, send};
use crate::model_server::{Failure, MAX_BODY, ModelServer, Request, Script};

const MESSAGES: &str = "POST /v1/messages";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn records_what_arrived() {
    let server = ModelServer::start(Script::Hello);
    assert_eq!(server.url(), format!("http://127.0.0.1:{}", server.port()));
    let body = json!({ "model": "héllo" });
    send(&server, "POST /v1/messages?beta=true", "X-Api-Key: secret\r\n", body.to_string().as_bytes());
    let requests: Vec<Request> = server.requests();
    let [request] = requests.as_slice() else { panic!("one request: {requests:?}") };
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/messages?beta=true"));
    assert_eq!(request.header("x-api-key"), Some("secret"));
    assert_eq!(request.headers[3], ("x-api-key".to_owned(), "secret".to_owned()));
    assert_eq!(request.body, body);
}

#[test]
fn reads_gzip_and_chunked_bodies() {
    let server = ModelServer::start(Script::Hello);
    let body = json!({ "model": "m", "messages": [] }).to_string();
    let packed = gzip(body.as_bytes());
    assert_eq!(send(&server, MESSAGES, "content-encoding: gzip\r\n", &packed).status, 200);

    let head = "POST /v1/messages HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n";
    let (one, two) = body.split_at(7);
    let chunks = format!("{head}\r\n7;x=y\r\n{one}\r\n{:X}\r\n{two}\r\n0\r\ntrailer: 1\r\n\r\n", two.len());
    assert_eq!(raw(&server, chunks.as_bytes()).status, 200);

    let mut both = format!("{head}content-encoding: gzip\r\n\r\n{:x}\r\n", packed.len()).into_bytes();
    both.extend_from_slice(&packed);
    both.extend_from_slice(b"\r\n0\r\n\r\n");
    assert_eq!(raw(&server, &both).status, 200);

    let want: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(server.requests().iter().filter(|request| request.body == want).count(), 3);
}

#[test]
fn refuses_bodies_without_a_bound() {
    let server = ModelServer::start(Script::Hello);
    let head = "POST /v1/messages HTTP/1.1\r\n";
    let over = MAX_BODY + 1;
    assert_eq!(raw(&server, format!("{head}content-length: {over}\r\n\r\n").as_bytes()).status, 413);
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{over:x}\r\n");
    assert_eq!(raw(&server, chunked.as_bytes()).status, 413);
    let bomb = gzip(&vec![b' '; usize::try_from(over).unwrap()]);
    assert_eq!(send(&server, MESSAGES, "content-encoding: gzip\r\n", &bomb).status, 413);
    assert_eq!(send(&server, MESSAGES, "content-encoding: br\r\n", b"x").status, 415);
    assert_eq!(raw(&server, b"nonsense\r\n\r\n").status, 400);
    assert_eq!(raw(&server, format!("{head}content-length: x\r\n\r\n").as_bytes()).status, 400);
    assert!(server.requests().is_empty());
    assert_eq!(send(&server, MESSAGES, "", b"not json").status, 400);
    assert_eq!(server.requests()[0].body, "not json");
}

#[test]
fn keeps_a_connection_until_told_to_close() {
    let server = ModelServer::start(Script::Hello);
    let mut socket = connect(&server);
    let body = r#"{"stream":true}"#;
    let length = body.len();
    let first = format!("POST /v1/messages HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{body}");
    let last = "HEAD / HTTP/1.1\r\nConnection: Close\r\n\r\n";
    socket.write_all(format!("{first}{first}{last}").as_bytes()).unwrap();
    let mut answers = String::new();
    socket.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(answers.matches("connection: keep-alive").count(), 2);
    assert!(answers.ends_with("content-length: 2\r\nconnection: close\r\n\r\n"), "HEAD has no body");
}

#[test]
fn streams_unchunked_to_old_clients_and_lets_large_bodies_continue() {
    let server = ModelServer::start(Script::Hello);
    let body = r#"{"stream":true}"#;
    let length = body.len();
    let old = format!("POST /v1/messages HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}");
    let reply = raw(&server, old.as_bytes());
    assert!(!reply.head.contains("chunked") && reply.body.ends_with("\n\n"));

    let reply = send(&server, MESSAGES, "expect: 100-continue\r\n", body.as_bytes());
    assert_eq!(reply.status, 100);
    assert!(reply.body.starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn lists_models_and_answers_probes() {
    let server = ModelServer::start(Script::Fail(Failure::Status(500)));
    let models = send(&server, "GET /v1/models?limit=5", "", b"").json();
    assert_eq!(models["data"][0]["id"], "mock-model");
    assert_eq!(models["models"][0]["name"], "models/mock-model");
    assert_eq!(send(&server, "GET /", "", b"").status, 200);
    assert_eq!(send(&server, "GET /nothing", "", b"").status, 404);
    assert_eq!(post(&server, "/v1/models/m:countTokens", &json!({})).json()["totalTokens"], 42);
}

#[test]
fn fails_in_the_form_of_each_protocol() {
    for (name, status, kind, google) in [
        ("401", 401, "authentication_error", "UNAUTHENTICATED"),
        ("429", 429, "rate_limit_error", "RESOURCE_EXHAUSTED"),
        ("500", 500, "api_error", "INTERNAL"),
    ] {
        let failure: Failure = name.parse().unwrap();
        let server = ModelServer::start(Script::Fail(failure));
        for path in ["/v1/messages", "/v1/responses", "/v1/chat/completions"] {
            let reply = post(&server, path, &json!({ "stream": true }));
            assert_eq!((reply.status, &reply.json()["error"]["type"]), (status, &json!(kind)), "{path}");
        }
        let reply = post(&server, "/v1beta/models/m:generateContent", &json!({}));
        assert_eq!((reply.status, &reply.json()["error"]["status"]), (status, &json!(google)));
        assert_eq!(server.requests().len(), 4);
    }
    assert!("200".parse::<Failure>().is_err());
}

#[test]
fn cuts_answers_in_the_middle() {
    let server = ModelServer::start(Script::Fail("cut".parse().unwrap()));
    let plain = post(&server, "/v1/messages", &json!({ "tools": [{ "name": "Bash" }] }));
    assert!(plain.head.contains("content-length"));
    assert!(serde_json::from_str::<Value>(&plain.body).is_err());
    let stream = post(&server, "/v1/messages", &json!({ "tools": [{ "name": "Bash" }], "stream": true }));
    assert!(stream.body.contains("message_start") && !stream.body.contains("message_stop"));
}

#[test]
fn hangs_until_dropped() {
    let server = ModelServer::start(Script::Fail("hang".parse().unwrap()));
    let mut socket = connect(&server);
    socket.write_all(b"POST /v1/messages HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let waited = socket.read(&mut [0; 16]).unwrap_err();
    assert!(matches!(waited.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    assert_eq!(server.requests().len(), 1);

    // Its port may belong to another test's server at once, so only this connection can tell.
    drop(server);
    assert_eq!(socket.read(&mut [0; 16]).unwrap_or(0), 0);
}
