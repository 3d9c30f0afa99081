//! Answers that echo secrets.

use super::cuts;
use crate::gateway::echo::Echo;
use crate::gateway::redact::Redactor;
use crate::gateway::secrets::{Secret, Use};
use crate::policy::host::HostName;

/// Takes a value in the first line out of what follows: however the text arrives, nothing of the value is left, and
/// nothing else is another; and when something comes out tells nothing about the value.
pub fn redact(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let (Ok(value), text) = (std::str::from_utf8(&bytes[..end]), &bytes[end + 1..]) else { return };
    let Some(secret) = secret(value) else { return };
    let (value, instead, known) = secret.echo();
    let (expected, changed) = taken_out(text, &secret);
    for echo in Echo::all(&secret) {
        // What stands for a value may make one with what is beside it, where that has few letters; it tells nothing.
        let there = |at: &usize| {
            let end = at + echo.value.len();
            expected[*at..].starts_with(&echo.value) && !changed[*at..end].contains(&true)
        };
        assert_eq!((0..expected.len()).find(there), None, "it is still there");
    }
    // A text that holds one of the two is another text behind it.
    let shows = secret.placeholder.as_bytes() == instead.as_slice();
    let value = std::str::from_utf8(&value).ok().filter(|_| shows);
    let other = value.and_then(|value| secret_like(value, known));
    let other = other.filter(|other| expected == text && taken_out(text, other).0 == text);
    for pieces in cuts(text) {
        let (mut redactor, mut like) =
            (Redactor::of([&secret]), other.as_ref().map(|other| Redactor::of([other])));
        let mut out = Vec::new();
        for piece in pieces {
            let clean = redactor.push(piece);
            if let Some(like) = &mut like {
                assert_eq!(like.push(piece).len(), clean.len(), "where it is cut depends on the value");
            }
            out.extend(clean);
        }
        out.extend(redactor.rest());
        assert_eq!(out, expected, "{:?}", String::from_utf8_lossy(&out));
    }
}

fn secret(value: &str) -> Option<Secret> {
    let host = HostName::parse("api.example").ok()?;
    let what =
        Use { name: "KEY".into(), host, port: 443, header: None, format: "{}".into(), methods: Vec::new() };
    Secret::new(what, value).ok()
}

/// Returns a secret with another value of the same kinds of letters; `None` where the placeholder does not show them.
fn secret_like(value: &str, known: usize) -> Option<Secret> {
    let next = |(at, letter): (usize, char)| match letter {
        _ if at < known => letter,
        'z' => 'a',
        'Z' => 'A',
        '9' => '0',
        'a'..='z' | 'A'..='Z' | '0'..='9' => char::from(u8::try_from(letter).map_or(0, |byte| byte + 1)),
        _ => letter,
    };
    let like: String = value.chars().enumerate().map(next).collect();
    let secret = secret(&like)?;
    let (_, instead, own) = secret.echo();
    let shows = secret.placeholder.as_bytes() == instead.as_slice() && own == known;
    shows.then_some(secret)
}

/// Takes a value and its forms out of a whole text, and says which of its bytes are others now.
fn taken_out(text: &[u8], secret: &Secret) -> (Vec<u8>, Vec<bool>) {
    let echoes = Echo::all(secret);
    let (mut out, mut changed) = (text.to_vec(), vec![false; text.len()]);
    for at in 0..out.len() {
        let here = &out[at..];
        let found = echoes.iter().filter(|echo| here.starts_with(&echo.value));
        if let Some(echo) = found.max_by_key(|echo| echo.value.len()) {
            out[at..at + echo.value.len()].copy_from_slice(&echo.instead);
            changed[at..at + echo.value.len()].fill(true);
        }
    }
    (out, changed)
}
