//! A name and its secret side by side: `{"name": "Authorization", "value": "…"}`, and `("Authorization", "…")`.

use std::ops::Range;

use super::{FIELD, NEAR, ends_with, is_sign, leading, name_before, names_secret, of_scheme, quoted};

/// What the fields are called that have the name, and the one behind it that has the secret.
const OF_NAME: &[&str] = &["name", "key", "header", "field"];
const OF_VALUE: &[u8] = b"value";

/// The beginning of a text in quotation marks.
pub struct Opened {
    /// Behind the mark.
    pub begin: usize,
    pub slashes: usize,
    pub quote: u8,
}

/// Returns where the secret is of a pair whose first field has this `:`.
pub fn of_field(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let (field, true) = name_before(bytes, at) else { return None };
    let is = |known: &&str| {
        let before = field.strip_suffix(known.as_bytes()).and_then(<[u8]>::last);
        before.is_some_and(|before| b"\"'".contains(before))
    };
    if !OF_NAME.iter().any(is) {
        return None;
    }
    let (name, end) = word(bytes, &opened(bytes, at + 1)?)?;
    let is_field = ends_with(name, FIELD);
    if !is_field && !names_secret(name) {
        return None;
    }
    let comma = space(bytes, end);
    let key = opened(bytes, comma + 1).filter(|_| bytes.get(comma) == Some(&b','))?;
    let (key, end) = word(bytes, &key)?;
    let colon = space(bytes, end);
    if key != OF_VALUE || bytes.get(colon) != Some(&b':') {
        return None;
    }
    let value = opened(bytes, colon + 1)?;
    let secret = || quoted(bytes, value.begin, value.slashes, value.quote);
    of_scheme(bytes, value.begin)
        .filter(|_| is_field)
        .or_else(|| secret().map(|secret| value.begin..value.begin + secret.len()))
}

/// Returns where the secret is of a field of HTTP whose name this `,` follows.
pub fn of_list(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let (name, true) = name_before(bytes, at) else { return None };
    if !ends_with(name, FIELD) {
        return None;
    }
    of_scheme(bytes, opened(bytes, at + 1)?.begin)
}

/// Returns where the text begins that follows.
pub fn opened(bytes: &[u8], at: usize) -> Option<Opened> {
    let at = space(bytes, at);
    let slashes = leading(bytes.get(at..)?, b'\\');
    let quote = bytes.get(at + slashes).copied().filter(|byte| b"\"'".contains(byte))?;
    Some(Opened { begin: at + slashes + 1, slashes, quote })
}

/// Reads a short word, and says where its closing mark ends.
fn word<'a>(bytes: &'a [u8], opened: &Opened) -> Option<(&'a [u8], usize)> {
    let rest = &bytes[opened.begin..];
    let length = rest.iter().take(2 * NEAR).take_while(|byte| is_sign(**byte)).count();
    Some((&rest[..length], closed(bytes, opened.begin + length, opened.quote)?))
}

/// Returns the end of the closing mark that is here.
pub fn closed(bytes: &[u8], at: usize, quote: u8) -> Option<usize> {
    let end = at + leading(bytes.get(at..)?, b'\\');
    (bytes.get(end) == Some(&quote)).then_some(end + 1)
}

/// Returns the end of the space that begins here; a document within a text has it escaped.
pub fn space(bytes: &[u8], mut at: usize) -> usize {
    let most = at + 2 * NEAR;
    while at < most {
        let slashes = leading(bytes.get(at..).unwrap_or_default(), b'\\');
        match bytes.get(at + slashes) {
            Some(byte) if slashes == 0 && byte.is_ascii_whitespace() => at += 1,
            Some(b'n' | b'r' | b't') if slashes > 0 => at += slashes + 1,
            _ => break,
        }
    }
    at
}
