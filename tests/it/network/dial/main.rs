//! A client that knows nothing of proxies: it dials a name, asks, and prints the answer.

use std::io::{Read, Write};
use std::net::TcpStream;

fn main() {
    let name = std::env::args().nth(1).expect("a name");
    let mut stream = TcpStream::connect((name.as_str(), 80)).expect("a connection");
    write!(stream, "GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").expect("room for a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    print!("{answer}");
}
