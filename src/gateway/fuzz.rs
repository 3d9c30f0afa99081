//! What the readers of hostile input promise, as functions of bytes that panic where a promise is broken.
//!
//! `fuzz/` runs them under libFuzzer, which sees what code an input reaches. The tests of this crate run them with the
//! same corpus, and with mutations of it.

mod dns;
mod hello;
mod http;
mod names;
mod proxy;
mod redact;
mod strict;
#[cfg(test)]
mod tests;

pub use crate::agent::fuzz::{logs, trajectory};
pub use crate::util::sqlite::fuzz::sqlite;
pub use dns::dns;
pub use hello::client_hello;
pub use http::{chunks, http_head};
pub use names::{host_name, request_path};
pub use proxy::{connect, socks};
pub use redact::redact;

/// Cuts an input in several ways: not at all, into bytes, and into uneven pieces.
fn cuts(bytes: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut state = bytes.iter().fold(1_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    let (mut rest, mut uneven) = (bytes, Vec::new());
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, tail) = rest.split_at((1 + (state >> 27) as usize).min(rest.len()));
        uneven.push(piece);
        rest = tail;
    }
    vec![vec![bytes], bytes.chunks(1).collect(), bytes.chunks(7).collect(), uneven]
}

/// Some lengths of beginnings of an input: every one of a short input, and some fifty of a long one.
fn beginnings(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(1 + length / 50)
}
