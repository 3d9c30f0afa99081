//! What looks like a secret whoever it is of: keys by how they begin, and what stands behind a name that says so.
//!
//! A text may be JSON within JSON, so that a quotation mark may have backslashes before it. Every look is bounded.

use std::ops::Range;

mod flags;
mod pairs;

/// A secret in a text.
pub enum Found {
    /// It begins here, and ends before this.
    Here(usize),
    /// It is there, further on.
    Ahead(Range<usize>),
}

/// What follows the beginning of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signs {
    Any,
    /// Capitals and digits alone.
    Capitals,
    /// A digit among them at least: words of a language may begin alike.
    Mixed,
}

/// How keys of well-known services begin, how many signs follow at least, and which.
const KEYS: &[(&str, usize, Signs)] = &[
    ("AIza", 30, Signs::Any),
    ("AKIA", 16, Signs::Capitals),
    ("ASIA", 16, Signs::Capitals),
    ("ghp_", 20, Signs::Any),
    ("gho_", 20, Signs::Any),
    ("ghu_", 20, Signs::Any),
    ("ghs_", 20, Signs::Any),
    ("ghr_", 20, Signs::Any),
    ("github_pat_", 20, Signs::Any),
    ("glpat-", 16, Signs::Any),
    ("gsk_", 20, Signs::Mixed),
    ("hf_", 30, Signs::Any),
    ("hooks.slack.com/services/", 16, Signs::Any),
    ("npm_", 30, Signs::Any),
    ("pypi-", 24, Signs::Mixed),
    ("rk_live_", 16, Signs::Mixed),
    ("rk_test_", 16, Signs::Mixed),
    ("sk-", 16, Signs::Any),
    ("sk_live_", 16, Signs::Mixed),
    ("sk_test_", 16, Signs::Mixed),
    ("xai-", 20, Signs::Mixed),
    ("xoxa-", 10, Signs::Any),
    ("xoxb-", 10, Signs::Any),
    ("xoxp-", 10, Signs::Any),
    ("xoxs-", 10, Signs::Any),
    ("ya29.", 20, Signs::Any),
];

/// The first signs of the keys, and of the others that have a beginning.
const FIRSTS: &[u8] = b"Aeghnprsxy-:=,";

const KEY_BEGINS: &[u8] = b"-----BEGIN ";
const KEY_KIND: &[u8] = b"PRIVATE KEY-----";
const KEY_ENDS: &[u8] = b"-----END ";

/// The longest private key, in bytes: one of RSA with 16384 bits has 13,000, and escapes make it longer.
const LONGEST_KEY: usize = 32 << 10;

/// How names end whose values are secrets, in small letters and with `_` for `-`.
const NAMES: &[&str] = &[
    "access_token",
    "api_key",
    "apikey",
    "auth_token",
    "client_secret",
    "passwd",
    "password",
    "refresh_token",
    "secret_access_key",
    "secret_key",
];

/// A field of HTTP whose value is of a scheme and a secret.
const FIELD: &str = "authorization";
const SCHEMES: &[&str] = &["basic", "bearer", "token"];

/// How far a name is looked for before its value, in bytes.
const NEAR: usize = 32;

/// How much of a value without quotation marks is looked at before it is known to be one, and the longest value within them.
const HEAD: usize = 1024;
const LONGEST: usize = 4096;

/// The shortest value of a name.
const SHORTEST: usize = 8;

/// Says what begins, or is announced, at this place.
pub fn find(bytes: &[u8], at: usize) -> Option<Found> {
    let first = bytes[at];
    if !FIRSTS.contains(&first) {
        return None;
    }
    if matches!(first, b':' | b'=') {
        let found = login(bytes, at).or_else(|| assigned(bytes, at)).or_else(|| pairs::of_field(bytes, at));
        return found.map(Found::Ahead);
    }
    if first == b',' {
        return pairs::of_list(bytes, at).map(Found::Ahead);
    }
    let length = if first == b'-' {
        let length = private_key(&bytes[at..]);
        if length.is_none() {
            return flags::find(bytes, at).map(Found::Ahead);
        }
        length
    } else {
        key(bytes, at).or_else(|| web_token(bytes, at))
    };
    length.map(|length| Found::Here(at + length))
}

fn is_sign(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Says whether a place is in the middle of a word, which an escape such as `\n` before it is not.
fn is_within_word(bytes: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| bytes[before]) else { return false };
    if !(before.is_ascii_alphanumeric() || before == b'_') {
        return false;
    }
    let short = at >= 2 && bytes[at - 2] == b'\\' && b"bfnrt".contains(&before);
    let long =
        at >= 6 && bytes[at - 6..at - 4] == *b"\\u" && bytes[at - 4..at].iter().all(u8::is_ascii_hexdigit);
    !short && !long
}

/// Returns how long the key is that begins here; not in the middle of a word.
fn key(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let (begins, least, signs) = KEYS.iter().find(|(begins, ..)| rest.starts_with(begins.as_bytes()))?;
    if is_within_word(bytes, at) {
        return None;
    }
    let after = &rest[begins.len()..];
    let fits = |byte: &u8| match signs {
        Signs::Capitals => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        Signs::Any => is_sign(*byte) || *byte == b'/' || *byte == b'.',
        Signs::Mixed => is_sign(*byte),
    };
    // What is no key is looked at again by the next word: so not all of it.
    let head = after.iter().take(256).take_while(|byte| fits(byte)).count();
    if head < *least || (*signs == Signs::Mixed && !after[..head].iter().any(u8::is_ascii_digit)) {
        return None;
    }
    Some(begins.len() + after.iter().take_while(|byte| fits(byte)).count())
}

/// Returns how long the JSON Web Token is that begins here: `eyJ….eyJ….…`.
fn web_token(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if !rest.starts_with(b"eyJ") || is_within_word(bytes, at) || (at > 0 && bytes[at - 1] == b'-') {
        return None;
    }
    let part = |from: usize| rest[from..].iter().take_while(|byte| is_sign(**byte)).count();
    let head = part(0);
    let body = rest[head..].starts_with(b".eyJ").then(|| part(head + 1))?;
    let end = head + 1 + body;
    if head < 10 || body < 6 || rest.get(end) != Some(&b'.') {
        return None;
    }
    Some(end + 1 + part(end + 1))
}

/// Returns how long the private key is that begins here. Of one without an end, what may be its text.
fn private_key(rest: &[u8]) -> Option<usize> {
    let after = rest.strip_prefix(KEY_BEGINS)?;
    let line = &after[..after.len().min(64)];
    let kind = memchr::memmem::find(line, KEY_KIND)?;
    let begins = KEY_BEGINS.len() + kind + KEY_KIND.len();
    let body = &rest[begins..rest.len().min(begins + LONGEST_KEY)];
    if let Some(end) = memchr::memmem::find(body, KEY_ENDS) {
        let end = begins + end + KEY_ENDS.len();
        let last = &rest[end..rest.len().min(end + 64)];
        return Some(end + memchr::memmem::find(last, b"-----").map_or(0, |at| at + 5));
    }
    let is_text =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\\:,-".contains(byte) || byte.is_ascii_whitespace();
    let text = &body[..body.iter().take_while(|byte| is_text(byte)).count()];
    // A backslash at its end belongs to what follows.
    Some(begins + text.len() - trailing(text, b'\\'))
}

/// Returns where the password of an address is, whose `://` begins here: that of `://user:word@`. Where the name
/// is as long as a key, that as well.
fn login(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let mut begin = at + 1;
    // Some writers of JSON write `:\/\/`.
    for _ in 0..2 {
        begin += leading(&bytes[begin..], b'\\');
        if bytes.get(begin) != Some(&b'/') {
            return None;
        }
        begin += 1;
    }
    let after = &bytes[begin..];
    let length =
        after.iter().take(256).position(|byte| !byte.is_ascii_graphic() || b"/?#\"'<>\\".contains(byte));
    let authority = &after[..length.unwrap_or(after.len().min(256))];
    let end = authority.iter().rposition(|byte| *byte == b'@')?;
    let colon = authority[..end].iter().position(|byte| *byte == b':');
    let is_key = std::str::from_utf8(&authority[..colon.unwrap_or(end)]).is_ok_and(super::has_long_word);
    if is_key {
        return Some(begin..begin + end);
    }
    let colon = colon?;
    let password = &authority[colon + 1..end];
    (!password.is_empty() && !is_reference(password)).then(|| begin + colon + 1..begin + end)
}

/// Returns where the password of an address is.
pub fn password(address: &str) -> Option<Range<usize>> {
    login(address.as_bytes(), address.find("://")?)
}

/// Returns where the value is whose name ends before this `:` or `=`.
fn assigned(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let (name, is_quoted) = name_before(bytes, at);
    let is_field = ends_with(name, FIELD);
    if !is_field && !names_secret(name) {
        return None;
    }
    let mut begin = at + 1;
    if bytes[at] == b':' && bytes.get(begin) == Some(&b':') {
        return None;
    }
    begin += bytes[begin..].iter().take(2).take_while(|byte| b"=>".contains(byte)).count();
    begin += bytes[begin..].iter().take(NEAR).take_while(|byte| b" \t".contains(byte)).count();
    // Python has strings such as `f"…"`.
    let is_marked = bytes[begin..].first().is_some_and(|byte| b"bfru".contains(byte))
        && bytes.get(begin + 1).is_some_and(|byte| b"\"'\\".contains(byte));
    begin += usize::from(is_marked);
    let slashes = bytes[begin..].iter().take(NEAR).take_while(|byte| **byte == b'\\').count();
    let quote = bytes.get(begin + slashes).copied().filter(|byte| b"\"'".contains(byte));
    if quote.is_some() {
        begin += slashes + 1;
    }
    if is_field && let Some(range) = of_scheme(bytes, begin) {
        return Some(range);
    }
    let value = match quote {
        Some(quote) => quoted(bytes, begin, slashes, quote)?,
        // A number of JSON is none, and a mark in its place would be no JSON.
        None if is_quoted => return None,
        None => unquoted(bytes, begin, SHORTEST)?,
    };
    Some(begin..begin + value.len())
}

/// Returns the end of a name before this place, and whether it has quotation marks around it.
fn name_before(bytes: &[u8], at: usize) -> (&[u8], bool) {
    let name = &bytes[at.saturating_sub(NEAR)..at];
    let name = &name[..name.len() - trailing(name, b' ')];
    match name {
        [before @ .., b'"' | b'\''] => (&before[..before.len() - trailing(before, b'\\')], true),
        _ => (name, false),
    }
}

/// Says whether a name ends with a known one, in whatever case and with `-` for `_`.
fn ends_with(name: &[u8], known: &str) -> bool {
    let same =
        |(one, other): (&u8, &u8)| one.to_ascii_lowercase() == *other || (*one == b'-' && *other == b'_');
    let tail = name.len().checked_sub(known.len()).map(|from| &name[from..]);
    tail.is_some_and(|tail| tail.iter().zip(known.as_bytes()).all(same))
}

fn names_secret(name: &[u8]) -> bool {
    NAMES.iter().any(|known| ends_with(name, known))
}

/// Returns where the secret is of a field that begins here with its scheme.
fn of_scheme(bytes: &[u8], begin: usize) -> Option<Range<usize>> {
    let rest = &bytes[begin..bytes.len().min(begin + 2 * NEAR)];
    let word = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    if !SCHEMES.iter().any(|scheme| scheme.as_bytes().eq_ignore_ascii_case(&rest[..word])) {
        return None;
    }
    let spaces = leading(&rest[word..], b' ');
    let begin = begin + word + spaces;
    let signs = |byte: &&u8| is_sign(**byte) || b"._~+/=:".contains(byte);
    let value = &bytes[begin..begin + bytes[begin..].iter().take_while(signs).count()];
    let is_word = value[1.min(value.len())..].iter().all(u8::is_ascii_lowercase);
    (spaces > 0 && value.len() >= SHORTEST && !is_word && !is_placeholder(value))
        .then(|| begin..begin + value.len())
}

/// Returns the value that begins here, behind a quotation mark with so many backslashes before it.
fn quoted(bytes: &[u8], begin: usize, slashes: usize, quote: u8) -> Option<&[u8]> {
    let value = &bytes[begin..begin + quoted_end(bytes, begin, slashes, quote)?];
    let is_address = memchr::memmem::find(value, b"://").is_some();
    (value.len() >= SHORTEST && !is_address && !is_placeholder(value)).then_some(value)
}

/// Returns how long a value is that has no space, up to its quotation mark.
fn quoted_end(bytes: &[u8], begin: usize, slashes: usize, quote: u8) -> Option<usize> {
    let rest = &bytes[begin..bytes.len().min(begin + LONGEST)];
    let mut run = 0;
    for (at, byte) in rest.iter().enumerate() {
        // A mark within the value has as many backslashes again and one more, and each backslash before it has them all.
        let more = run % (2 * (slashes + 1));
        if *byte == quote && more == slashes {
            return Some(at - slashes);
        }
        // The end of a string around it, or none at all.
        let is_outer = *byte == b'"' && (quote != b'"' || more != 2 * slashes + 1);
        if is_outer || byte.is_ascii_whitespace() {
            return None;
        }
        run = if *byte == b'\\' { run + 1 } else { 0 };
    }
    None
}

/// Returns the value that begins here, and ends by itself; words of a language are none.
fn unquoted(bytes: &[u8], begin: usize, least: usize) -> Option<&[u8]> {
    let is_part =
        |byte: &u8| !byte.is_ascii() || (byte.is_ascii_graphic() && !b"\"'`<>(){}[];,&|\\".contains(byte));
    let rest = &bytes[begin..];
    let mut value = &rest[..rest.iter().take(HEAD).take_while(|byte| is_part(byte)).count()];
    let is_code = rest.get(value.len()).is_some_and(|byte| b"([{".contains(byte));
    let is_longer = value.len() == HEAD;
    // A full stop or a colon ends a sentence.
    while let [before @ .., b'.' | b':'] = value {
        value = before;
    }
    let is_address = memchr::memmem::find(value, b"://").is_some();
    if value.len() < least || !is_mixed(value) || is_code || is_address || is_placeholder(value) {
        return None;
    }
    Some(if is_longer { &rest[..rest.iter().take_while(|byte| is_part(byte)).count()] } else { value })
}

/// Says whether a value has a sign that words of a language have not.
fn is_mixed(value: &[u8]) -> bool {
    value.iter().any(|byte| byte.is_ascii_digit() || b"!@#%^~".contains(byte))
}

/// Says whether something stands for a value that is elsewhere, or nowhere.
fn is_placeholder(value: &[u8]) -> bool {
    let begins =
        |what: &&str| value.get(..what.len()).is_some_and(|head| head.eq_ignore_ascii_case(what.as_bytes()));
    // `OPENAI_API_KEY`, and `xxxxxxxx`.
    let is_name = value.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
    let is_one_sign = value.windows(2).all(|pair| pair[0] == pair[1]);
    let is_own_name = NAMES.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(value));
    is_reference(value)
        || is_name
        || is_one_sign
        || is_own_name
        || ["args.", "env.", "env:", "os.environ", "process.env", "self.", "your"].iter().any(begins)
}

/// Says whether something is filled in where it is used, or was taken out.
fn is_reference(value: &[u8]) -> bool {
    let holds = |what: &&str| memchr::memmem::find(value, what.as_bytes()).is_some();
    value.first().is_some_and(|first| b"$<{%".contains(first))
        || ["***", "...", "…", "${", "{{", "$(", super::IN_PLACE].iter().any(holds)
}

fn leading(bytes: &[u8], what: u8) -> usize {
    bytes.iter().take(NEAR).take_while(|byte| **byte == what).count()
}

fn trailing(bytes: &[u8], what: u8) -> usize {
    bytes.iter().rev().take_while(|byte| **byte == what).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_looked_for() {
        for (begins, ..) in KEYS {
            assert!(FIRSTS.contains(&begins.as_bytes()[0]), "{begins}");
            // The first that fits is the one.
            let first = KEYS.iter().find(|(other, ..)| begins.starts_with(other));
            assert_eq!(first.map(|(begins, ..)| begins), Some(begins));
        }
    }
}
