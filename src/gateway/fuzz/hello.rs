//! First messages of TLS.

use rustls::server::Acceptor;

use super::beginnings;
use crate::gateway::hello::{Hello, MOST, read};
use crate::policy::host::HostName;

/// A hello is for whom a TLS library says that it is for, and what is known of it once stays, whatever follows.
pub fn client_hello(bytes: &[u8]) {
    let bytes = bytes.get(..MOST - 1).unwrap_or(bytes);
    let found = read(bytes);
    for length in beginnings(bytes.len()) {
        let before = read(&bytes[..length]);
        assert!(before == Hello::More || before == found, "{length}: {before:?}, then {found:?}");
    }
    match (&found, by_library(bytes)) {
        (Hello::Named(name), Some(other)) => {
            assert_eq!(other.to_ascii_lowercase(), name.as_str());
        }
        (Hello::Nameless, Some(other)) => {
            assert!(HostName::parse(&other).is_err(), "`{other}` is not seen");
        }
        (Hello::More, whole) => assert_eq!(whole, None, "it is whole"),
        _ => {}
    }
}

/// Returns the name that a TLS library finds, empty where there is none; `None` where it refuses the hello, or waits
/// for more of it.
fn by_library(bytes: &[u8]) -> Option<String> {
    let (mut acceptor, mut rest) = (Acceptor::default(), bytes);
    loop {
        if acceptor.read_tls(&mut rest).ok()? == 0 {
            return None;
        }
        if let Some(accepted) = acceptor.accept().ok()? {
            return Some(accepted.client_hello().server_name().unwrap_or_default().to_owned());
        }
    }
}
