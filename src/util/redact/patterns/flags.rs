//! What stands behind a flag of a command: `--password WORD`, and `curl -u USER:WORD`.

use std::ops::Range;

use super::pairs::{self, Opened};
use super::{
    LONGEST, ends_with, is_mixed, is_placeholder, is_reference, is_sign, is_within_word, leading,
    names_secret, quoted, quoted_end, unquoted,
};

/// How names of flags end beside those that are secret everywhere.
const FLAGS: &[&str] = &["passphrase", "secret", "token"];

/// The longest name of a flag.
const MOST: usize = 48;

/// The shortest value that has no quotation marks.
const LEAST: usize = 6;

/// How far before its flag the name of a command is looked for, in bytes.
const COMMAND: usize = 1024;

/// Returns where the secret of the flag is that begins here.
pub fn find(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    if is_within_word(bytes, at) || at.checked_sub(1).is_some_and(|before| bytes[before] == b'-') {
        return None;
    }
    let begin = if bytes.get(at + 1) == Some(&b'-') { at + 2 } else { at + 1 };
    let rest = &bytes[begin..];
    let name = &rest[..rest.iter().take(MOST).take_while(|byte| is_sign(**byte)).count()];
    let end = begin + name.len();
    if name == (if begin == at + 2 { &b"user"[..] } else { b"u" }) {
        return is_of_curl(bytes, at).then(|| login(bytes, end)).flatten();
    }
    if begin == at + 1 || !(names_secret(name) || FLAGS.iter().any(|known| is_word(name, known))) {
        return None;
    }
    let range = value(bytes, end)?;
    let found = &bytes[range.clone()];
    let is_path = found.first() == Some(&b'/') && found[1..].contains(&b'/');
    // `--max-token 100000`, and another flag.
    let is_number = !names_secret(name) && found.iter().all(u8::is_ascii_digit);
    (!is_path && !is_number && !found.starts_with(b"-")).then_some(range)
}

/// Says whether a name is this word, or ends with it behind a dash.
fn is_word(name: &[u8], known: &str) -> bool {
    let before = name.len().checked_sub(known.len() + 1).map(|at| name[at]);
    ends_with(name, known) && before.is_none_or(|before| b"-_".contains(&before))
}

/// How the word of a flag stands behind it.
enum Behind {
    Bare(usize),
    Quoted(Opened),
    /// In a list of words: `"--password", "…"`.
    Listed(Opened),
}

fn behind(bytes: &[u8], end: usize) -> Option<Behind> {
    let next = *bytes.get(end)?;
    if b" \t=".contains(&next) {
        let begin = if next == b'=' { end + 1 } else { end + leading(&bytes[end..], next) };
        let slashes = leading(&bytes[begin..], b'\\');
        let quote = bytes.get(begin + slashes).copied().filter(|byte| b"\"'".contains(byte));
        return Some(match quote {
            Some(quote) => Behind::Quoted(Opened { begin: begin + slashes + 1, slashes, quote }),
            None => Behind::Bare(begin),
        });
    }
    let mark = end + leading(&bytes[end..], b'\\');
    let quote = bytes.get(mark).copied().filter(|byte| b"\"'".contains(byte))?;
    let comma = pairs::space(bytes, pairs::closed(bytes, end, quote)?);
    let opened = pairs::opened(bytes, comma + 1).filter(|_| bytes.get(comma) == Some(&b','))?;
    Some(Behind::Listed(opened))
}

fn value(bytes: &[u8], end: usize) -> Option<Range<usize>> {
    let of = |opened: &Opened| quoted(bytes, opened.begin, opened.slashes, opened.quote);
    match behind(bytes, end)? {
        Behind::Bare(begin) => Some(begin..begin + unquoted(bytes, begin, LEAST)?.len()),
        Behind::Quoted(opened) => Some(opened.begin..opened.begin + of(&opened)?.len()),
        Behind::Listed(opened) => {
            let found = of(&opened).filter(|found| is_mixed(found))?;
            let end = opened.begin + found.len();
            // What a `:` follows is the name of another field.
            let next = pairs::space(bytes, pairs::closed(bytes, end, opened.quote)?);
            (bytes.get(next) != Some(&b':')).then_some(opened.begin..end)
        }
    }
}

/// Returns where the word is of `USER:WORD`.
fn login(bytes: &[u8], end: usize) -> Option<Range<usize>> {
    let (begin, end) = match behind(bytes, end)? {
        Behind::Bare(begin) => {
            let is_part = |byte: &&u8| byte.is_ascii_graphic() && !b"\"'`<>()[]{};|&\\".contains(byte);
            (begin, begin + bytes[begin..].iter().take(LONGEST).take_while(is_part).count())
        }
        Behind::Quoted(Opened { begin, slashes, quote })
        | Behind::Listed(Opened { begin, slashes, quote }) => {
            (begin, begin + quoted_end(bytes, begin, slashes, quote)?)
        }
    };
    let both = &bytes[begin..end];
    let colon = both.iter().position(|byte| *byte == b':')?;
    let (user, word) = (&both[..colon], &both[colon + 1..]);
    // `1000:1000` is a user and a group.
    let is_number = both.iter().all(|byte| byte.is_ascii_digit() || *byte == b':');
    let is_elsewhere = word.is_empty() || is_reference(word) || (is_placeholder(word) && word.len() > 1);
    (!user.starts_with(b"-") && !is_number && !is_elsewhere).then(|| begin + colon + 1..end)
}

/// Says whether a flag is one of `curl`, which is before it in the same command.
fn is_of_curl(bytes: &[u8], at: usize) -> bool {
    let from = at.saturating_sub(COMMAND);
    let Some(found) = memchr::memmem::rfind(&bytes[from..at], b"curl") else { return false };
    let begin = from + found;
    let words = &bytes[begin + 4..at];
    !is_within_word(bytes, begin) && !words.first().is_some_and(|byte| is_sign(*byte)) && !ends_command(words)
}

/// Says whether a command ends within these words: outside of quotation marks, at the end of a line without a backslash, or where the
/// shell begins another.
fn ends_command(words: &[u8]) -> bool {
    let mut open = None;
    let mut run = 0;
    for (at, byte) in words.iter().enumerate() {
        let is_last = words.get(at + 1).is_some_and(|next| b" \t&|".contains(next));
        match *byte {
            b'"' | b'\'' if open.is_none() => open = Some(*byte),
            mark @ (b'"' | b'\'') if open == Some(mark) => open = None,
            b';' | b'|' if open.is_none() && is_last => return true,
            b'&' if open.is_none() && words.get(at + 1) == Some(&b'&') => return true,
            // In a text of JSON, `\n` is the end of a line, and `\\\n` one that goes on.
            b'n' if open.is_none() && run % 3 != 0 => return true,
            b'\n' if open.is_none() && run == 0 => return true,
            _ => {}
        }
        run = if *byte == b'\\' { run + 1 } else { 0 };
    }
    false
}
