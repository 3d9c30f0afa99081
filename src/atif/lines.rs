//! The lines of a log that somebody may still be writing: bounded, and repaired where only a letter is broken.

use std::borrow::Cow;
use std::io::{self, BufRead};

/// The longest line that is read, in bytes; a longer one is passed over.
pub const MOST_LINE: usize = 256 << 20;

/// The same for a line that does not begin as JSON does: what programs print can be anything.
const MOST_TEXT: usize = 1 << 20;

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    Text {
        text: Cow<'a, str>,
        number: u64,
        /// Something in it was no text and was replaced by U+FFFD.
        repaired: bool,
        /// The file ends without an end of this line.
        last: bool,
    },
    /// It is longer than [`MOST_LINE`], or than what a line of text may be.
    TooLong,
}

/// Reads lines, and knows the number of the last one, from 1.
pub struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
    pub number: u64,
    most: usize,
    /// Lines that do not begin with a brace are passed over.
    objects: bool,
    has_begun: bool,
}

/// What some programs begin a text with that is in UTF-8.
pub const BOM: &[u8] = b"\xef\xbb\xbf";

impl<R: BufRead> Lines<R> {
    pub fn new(from: R) -> Self {
        Lines { from, buffer: Vec::new(), number: 0, most: MOST_LINE, objects: false, has_begun: false }
    }

    /// The lines that begin with a brace: programs print beside them what they like, and much of it.
    pub fn objects(from: R) -> Self {
        Lines { objects: true, ..Lines::new(from) }
    }

    /// Passes over whole lines that are no objects, many at once.
    fn pass_over(&mut self) -> io::Result<()> {
        let mut inside = false;
        loop {
            let available = match self.from.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                available => available?,
            };
            if available.is_empty() || (!inside && available[0] == b'{') {
                return Ok(());
            }
            let end = memchr::memmem::find(available, b"\n{").map_or(available.len(), |place| place + 1);
            self.number += memchr::memchr_iter(b'\n', &available[..end]).count() as u64;
            inside = available[end - 1] != b'\n';
            self.from.consume(end);
        }
    }

    /// Returns the next line; empty ones are left out.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        if !std::mem::replace(&mut self.has_begun, true) && self.from.fill_buf()?.starts_with(BOM) {
            self.from.consume(BOM.len());
        }
        loop {
            if self.objects {
                self.pass_over()?;
            }
            self.buffer.clear();
            let mut too_long = false;
            let mut ended = false;
            loop {
                let available = match self.from.fill_buf() {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    available => available?,
                };
                if available.is_empty() {
                    break;
                }
                let (taken, piece) = match memchr::memchr(b'\n', available) {
                    Some(place) => {
                        ended = true;
                        (place + 1, &available[..place])
                    }
                    None => (available.len(), available),
                };
                let length = self.buffer.len() + piece.len();
                let first = self.buffer.first().or(piece.first());
                let is_json = matches!(first, None | Some(b'{' | b'[' | b' '));
                if length > self.most || (length > MOST_TEXT && !is_json) {
                    too_long = true;
                    self.buffer = Vec::new();
                } else if !too_long {
                    self.buffer.extend_from_slice(piece);
                }
                self.from.consume(taken);
                if ended {
                    break;
                }
            }
            if !ended && self.buffer.is_empty() && !too_long {
                return Ok(None);
            }
            self.number += 1;
            if too_long {
                return Ok(Some(Line::TooLong));
            }
            if self.buffer.trim_ascii().is_empty() {
                continue;
            }
            let (text, repaired) = repair(&self.buffer);
            return Ok(Some(Line::Text { text, number: self.number, repaired, last: !ended }));
        }
    }
}

/// Makes a JSON text of bytes that are nearly one: what is no UTF-8, and halves of letters in escapes, which programs write that cut
/// a text in the middle of a letter, are replaced.
pub fn repair(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    // Nearly all are UTF-8: to see that is faster than to look for what is not.
    let text = std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed);
    let repaired = matches!(text, Cow::Owned(_));
    if memchr::memmem::find(bytes, b"\\u").is_none() {
        return (text, repaired);
    }
    match whole_letters(&text) {
        Some(whole) => (Cow::Owned(whole), true),
        None => (text, repaired),
    }
}

/// Replaces lone surrogates among the escapes of a JSON text; `None` where there is none.
fn whole_letters(text: &str) -> Option<String> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let bytes = text.as_bytes();
    let mut kept: Option<String> = None;
    let (mut at, mut from) = (0, 0);
    while let Some(step) = bytes.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        at += step;
        let Some(code) = unit(at) else {
            at += 2;
            continue;
        };
        let is_pair = || unit(at + 6).is_some_and(|low| (0xDC00..0xE000).contains(&low));
        match code {
            0xD800..0xDC00 if is_pair() => at += 12,
            0xD800..0xE000 => {
                let kept = kept.get_or_insert_default();
                kept.push_str(&text[from..at]);
                kept.push_str("\\ufffd");
                at += 6;
                from = at;
            }
            _ => at += 6,
        }
    }
    kept.map(|mut kept| {
        kept.push_str(&text[from..]);
        kept
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], most: usize) -> Vec<(u64, Option<String>, bool, bool)> {
        let mut lines = Lines { most, ..Lines::new(io::BufReader::with_capacity(3, bytes)) };
        let mut found = Vec::new();
        loop {
            let line = match lines.next().unwrap() {
                None => return found,
                Some(Line::TooLong) => (lines.number, None, false, false),
                Some(Line::Text { text, number, repaired, last }) => {
                    (number, Some(text.into_owned()), repaired, last)
                }
            };
            found.push(line);
        }
    }

    #[test]
    fn lines_have_their_numbers_and_the_last_one_may_lack_its_end() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            all(b"one\n\n  \r\ntwo\xff\nmuch too long\nend", 6),
            [
                (1, text("one"), false, false),
                (4, text("two\u{fffd}"), true, false),
                (5, None, false, false),
                (6, text("end"), false, true)
            ]
        );
        assert_eq!(all(b"", 6), []);
    }

    #[test]
    fn what_is_no_object_is_passed_over_and_counted() {
        for capacity in 1..30 {
            let text = b"y\ny\n{1}\n [\nlong line{\n{2}\nno\n{3";
            let mut lines = Lines::objects(io::BufReader::with_capacity(capacity, &text[..]));
            let mut found = Vec::new();
            while let Some(Line::Text { text, .. }) = lines.next().unwrap() {
                found.push(text.into_owned());
                found.push(lines.number.to_string());
            }
            assert_eq!(found, ["{1}", "3", "{2}", "6", "{3", "8"], "{capacity}");
        }
    }

    #[test]
    fn halves_of_letters_are_replaced() {
        for (text, expected) in [
            (r#""a\ud83d""#, r#""a\ufffd""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ude00\ud83d\ud83d\ude00""#, r#""\ufffd\ufffd\ud83d\ude00""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\u12"#, r#""\u12"#),
            (r#""\"#, r#""\"#),
        ] {
            assert_eq!(repair(text.as_bytes()).0, expected, "{text}");
        }
    }
}
