//! Splits a KDL text into tokens that together are every byte of it.
//!
//! The parser crate recurses on block comments, braces and stray closers, and recovers from bad strings in the
//! middle of them. So nothing reaches it that this file does not understand; formatting and edits use the same
//! tokens. Problems name the edit that makes the text KDL 2.

use std::ops::Range;

use super::codes;
use crate::diag::{Problem, SourceId, Span};
use crate::util::text::{escape, nearest};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Space,
    Newline,
    /// `// …` without its line break.
    LineComment,
    BlockComment,
    /// `/-`
    Slashdash,
    /// `\` up to and with the line break.
    Continuation,
    /// A bare string.
    Word,
    Number,
    /// `#true` and its like.
    Keyword,
    /// A quoted or raw string on one line.
    Quoted,
    /// A `"""` string, raw or not.
    Multiline,
    Equals,
    Open,
    Close,
    ParenOpen,
    ParenClose,
    Semicolon,
    /// A problem stands for it.
    Bad,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub range: Range<usize>,
}

/// The text as tokens; where `problems` is empty, no token is [`Kind::Bad`].
#[derive(Debug)]
pub struct Tokens {
    pub tokens: Vec<Token>,
    pub problems: Vec<Problem>,
}

const KEYWORDS: [&str; 6] = ["#true", "#false", "#null", "#inf", "#-inf", "#nan"];
const NOT_IN_WORDS: &str = "\\/(){}[];\"#=";

pub fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{0B}' | '\u{0C}' | '\u{2028}' | '\u{2029}')
}

pub fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t' | ' ' | '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}'
    )
}

/// Code points that KDL allows nowhere in a document; here not in comments either.
fn is_refused(c: char) -> bool {
    matches!(c, '\u{0}'..='\u{8}' | '\u{E}'..='\u{1F}' | '\u{7F}' | '\u{200E}' | '\u{200F}'
        | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

fn is_word(c: char) -> bool {
    !NOT_IN_WORDS.contains(c) && !is_newline(c) && !is_space(c) && !is_refused(c)
}

/// What ends a word that people meant as one value, legal or not.
fn ends_intended(c: char) -> bool {
    is_newline(c) || is_space(c) || matches!(c, ';' | '{' | '}' | '"')
}

/// Splits `text`.
pub fn split(source: SourceId, text: &str) -> Tokens {
    let mut lexer = Lexer { source, text, at: 0, out: Tokens { tokens: Vec::new(), problems: Vec::new() } };
    if text.starts_with('\u{FEFF}') {
        lexer.push(Kind::Space, '\u{FEFF}'.len_utf8());
    }
    while lexer.at < text.len() {
        lexer.step();
    }
    lexer.refuse_controls();
    lexer.out
}

struct Lexer<'a> {
    source: SourceId,
    text: &'a str,
    at: usize,
    out: Tokens,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Kind, length: usize) {
        let range = self.at..self.at + length;
        self.at = range.end;
        self.out.tokens.push(Token { kind, range });
    }

    fn bad(&mut self, length: usize, label: &str, message: impl Into<String>, help: impl Into<String>) {
        let span = Span { source: self.source, range: self.at..self.at + length };
        self.out.problems.push(Problem::new(codes::SYNTAX, span, label, message).help(help));
        self.push(Kind::Bad, length);
    }

    fn run(&self, test: impl Fn(char) -> bool) -> usize {
        self.rest().find(|c| !test(c)).unwrap_or(self.rest().len())
    }

    fn line_end(&self) -> usize {
        self.run(|c| !is_newline(c))
    }

    fn step(&mut self) {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return };
        match first {
            c if is_space(c) => self.push(Kind::Space, self.run(is_space)),
            '\r' if rest.starts_with("\r\n") => self.push(Kind::Newline, 2),
            c if is_newline(c) => self.push(Kind::Newline, c.len_utf8()),
            '{' => self.push(Kind::Open, 1),
            '}' => self.push(Kind::Close, 1),
            '(' => self.push(Kind::ParenOpen, 1),
            ')' => self.push(Kind::ParenClose, 1),
            ';' => self.push(Kind::Semicolon, 1),
            '=' => self.push(Kind::Equals, 1),
            '"' => self.quoted(),
            '#' => self.hash(),
            '/' => self.slash(),
            '\\' => self.continuation(),
            c if is_word(c) => self.word(),
            c => {
                let message = format!("`{}` cannot stand here", escape(&c.to_string()));
                self.bad(c.len_utf8(), "not part of KDL", message, "put the value in double quotes");
            }
        }
    }

    fn slash(&mut self) {
        let rest = self.rest();
        if rest.starts_with("//") {
            self.push(Kind::LineComment, self.line_end());
        } else if rest.starts_with("/*") {
            match comment_length(rest) {
                Some(length) => self.push(Kind::BlockComment, length),
                None => self.bad(
                    rest.len(),
                    "starts here and never ends",
                    "a block comment is not closed",
                    "close it with `*/`, or quote the value if this is a pattern such as `\"dir/**\"`",
                ),
            }
        } else if rest.starts_with("/-") {
            self.push(Kind::Slashdash, 2);
        } else {
            self.unquoted_path(self.at);
        }
    }

    /// A value with `/` in it that started at `start` (its first word is already a token, then).
    fn unquoted_path(&mut self, start: usize) {
        let length = self.text[start..].find(ends_intended).unwrap_or(self.text.len() - start);
        if start < self.at {
            self.out.tokens.pop();
            self.at = start;
        }
        let value = escape(&self.text[start..start + length]);
        let (message, help) = if value.contains("://") {
            (
                "an unquoted URL: everything after `//` would be a comment".to_owned(),
                format!("put it in double quotes: `\"{value}\"`"),
            )
        } else {
            (
                "a value with `/` in it needs double quotes".to_owned(),
                format!("write `\"{value}\"`; a comment starts with a space before `//` or `/*`"),
            )
        };
        self.bad(length.max(1), "not quoted", message, help);
    }

    fn continuation(&mut self) {
        let rest = self.rest();
        let mut length = 1;
        loop {
            let tail = &rest[length..];
            length += tail.find(|c| !is_space(c)).unwrap_or(tail.len());
            let tail = &rest[length..];
            if tail.starts_with("/*")
                && let Some(comment) = comment_length(tail)
            {
                length += comment;
                continue;
            }
            if tail.starts_with("//") {
                length += tail.find(is_newline).unwrap_or(tail.len());
            }
            let tail = &rest[length..];
            let end = if tail.starts_with("\r\n") {
                2
            } else {
                tail.chars().next().filter(|c| is_newline(*c)).map_or(0, char::len_utf8)
            };
            if end > 0 || tail.is_empty() {
                self.push(Kind::Continuation, length + end);
            } else {
                self.bad(
                    1,
                    "not the end of the line",
                    "a `\\` outside of quotes continues a line and must be the last thing on it",
                    "put a value with `\\` in double quotes and double the `\\`",
                );
            }
            return;
        }
    }

    fn word(&mut self) {
        let length = self.run(is_word);
        let start = self.at;
        let word = &self.rest()[..length];
        let after = &self.rest()[length..];
        if word.starts_with('\'') {
            let line = &self.rest()[..self.line_end()];
            let end = line[1..].find('\'').map_or(length, |end| end + 2);
            let inner = escape(line[1..end].trim_end_matches('\''));
            let help = format!("write `\"{inner}\"`");
            return self.bad(end, "single quotes", "KDL knows only double quotes", help);
        }
        if word == "r" && (after.starts_with('"') || after.starts_with('#')) {
            return self.old_raw_string();
        }
        if after.starts_with('/') || after.starts_with(['[', ']']) {
            self.push(Kind::Word, length);
            return self.unquoted_path(start);
        }
        if let "true" | "false" | "null" | "inf" | "-inf" | "nan" = word {
            let help = format!("KDL 2 writes this keyword as `#{word}`; in quotes it is a string");
            return self.bad(length, "a keyword of KDL 1", format!("`{word}` needs a `#`"), help);
        }
        let mut chars = word.trim_start_matches(['+', '-']).chars();
        let numeric = match chars.next() {
            Some('.') => chars.next().is_some_and(|c| c.is_ascii_digit()),
            Some(c) => c.is_ascii_digit() && word.trim_start_matches(['+', '-']).len() + 1 >= word.len(),
            None => false,
        };
        if !numeric {
            return self.push(Kind::Word, length);
        }
        if is_number(word) {
            return self.push(Kind::Number, length);
        }
        let help = format!("put it in double quotes: `\"{}\"`", escape(word));
        self.bad(length, "not a number", "a value that starts with a digit needs double quotes", help);
    }

    fn old_raw_string(&mut self) {
        let rest = self.rest();
        let hashes = rest[1..].find(|c| c != '#').unwrap_or(rest.len() - 1);
        let close = format!("\"{}", "#".repeat(hashes));
        let open = 1 + hashes + usize::from(rest[1 + hashes..].starts_with('"'));
        let length =
            rest.get(open..).and_then(|body| body.find(&close)).map_or(open, |end| open + end + close.len());
        let length = length.min(rest.len());
        let help = "KDL 2 writes a raw string as `#\"…\"#`, without the `r`";
        self.bad(length, "a raw string of KDL 1", "`r\"…\"` is a raw string of KDL 1", help);
    }

    fn hash(&mut self) {
        let rest = self.rest();
        let hashes = rest.find(|c| c != '#').unwrap_or(rest.len());
        if rest[hashes..].starts_with('"') {
            return self.raw(hashes);
        }
        let length = 1 + rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1);
        let word = &rest[..length];
        if KEYWORDS.contains(&word) {
            return self.push(Kind::Keyword, length);
        }
        let help = match nearest(word, KEYWORDS) {
            Some(known) => format!("did you mean `{known}`?"),
            None => "a comment starts with `//`; a value with `#` in it needs double quotes".to_owned(),
        };
        let message = format!("`{}` is not a keyword", escape(word));
        self.bad(length, "not a keyword", message, help);
    }

    fn raw(&mut self, hashes: usize) {
        let rest = self.rest();
        let multiline = rest[hashes..].starts_with("\"\"\"");
        let quotes = if multiline { "\"\"\"" } else { "\"" };
        let close = format!("{quotes}{}", "#".repeat(hashes));
        let open = close.len();
        let length = rest[open..].find(&close).map(|end| open + end + close.len());
        let whole = length.map(|length| &rest[..length]);
        match whole {
            Some(whole) if multiline => self.multiline(whole.len(), open, close.len()),
            Some(whole) if !whole.contains(is_newline) => self.push(Kind::Quoted, whole.len()),
            _ => self.unterminated(&close),
        }
    }

    fn unterminated(&mut self, close: &str) {
        let help = format!("close it with `{close}` on the same line, or use `\"\"\"` for several lines");
        self.bad(self.line_end(), "starts here and never ends", "a string is not closed", help);
    }

    fn quoted(&mut self) {
        let rest = self.rest();
        let multiline = rest.starts_with("\"\"\"");
        let quotes = if multiline { "\"\"\"" } else { "\"" };
        let mut at = quotes.len();
        loop {
            let tail = &rest[at..];
            if tail.starts_with(quotes) {
                let length = at + quotes.len();
                return if multiline {
                    self.multiline(length, quotes.len(), quotes.len());
                } else {
                    self.push(Kind::Quoted, length);
                };
            }
            match tail.chars().next() {
                Some('\\') => match escape_length(tail, multiline) {
                    Ok(length) => at += length,
                    Err(length) => return self.bad_escape(at, length),
                },
                Some(c) if !multiline && is_newline(c) => return self.unterminated(quotes),
                Some(c) => at += c.len_utf8(),
                None if multiline => {
                    let help = "close it with `\"\"\"` on a line of its own";
                    return self.bad(
                        rest.len(),
                        "starts here and never ends",
                        "a string is not closed",
                        help,
                    );
                }
                None => return self.unterminated(quotes),
            }
        }
    }

    fn bad_escape(&mut self, at: usize, length: usize) {
        let start = self.at + at;
        let shown = escape(&self.text[start..start + length]);
        let span = Span { source: self.source, range: start..start + length };
        let problem =
            Problem::new(codes::SYNTAX, span, "not an escape", format!("`{shown}` is not an escape"));
        self.out.problems.push(problem.help(
            "write `\\\\` for a backslash; known are `\\n \\r \\t \\\\ \\\" \\b \\f \\s` and `\\u{…}`",
        ));
        // The rest of the line belongs to the string in the eyes of whoever wrote it.
        let line = self.line_end().max(at + length);
        self.push(Kind::Bad, line);
    }

    /// Checks that every line of a `"""` string starts with the blanks of its last one.
    fn multiline(&mut self, length: usize, open: usize, close: usize) {
        let body = &self.rest()[open..length - close];
        let mut lines: Vec<&str> = body.split(is_newline).collect();
        let prefix = lines.pop().unwrap_or_default();
        if lines.is_empty() || !lines[0].is_empty() || !prefix.chars().all(is_space) {
            return self.bad(
                length,
                "not alone on its line",
                "the text of a `\"\"\"` string begins on the next line and `\"\"\"` ends it on its own line",
                "use a string with one `\"` for text on one line",
            );
        }
        let fits = |line: &&str| line.starts_with(prefix) || line.chars().all(is_space);
        if lines.iter().all(fits) {
            return self.push(Kind::Multiline, length);
        }
        self.bad(
            length,
            "a line is indented less than the closing `\"\"\"`",
            "every line of a `\"\"\"` string starts with the blanks before its closing `\"\"\"`",
            "indent the lines, or the closing `\"\"\"` less",
        );
    }

    /// Hidden characters can make a file say something other than what people see.
    fn refuse_controls(&mut self) {
        let start = if self.text.starts_with('\u{FEFF}') { 3 } else { 0 };
        let found = self.text[start..].char_indices().filter(|(_, c)| is_refused(*c)).take(10);
        for (at, c) in found {
            let range = start + at..start + at + c.len_utf8();
            let span = Span { source: self.source, range };
            let message = format!("the character `{}` is not allowed", escape(&c.to_string()));
            let help = "remove it; inside of a string write it as an escape such as `\\u{1b}`";
            self.out.problems.push(Problem::new(codes::CONTROL, span, "not visible", message).help(help));
        }
    }
}

/// Returns the length of the block comment that `text` starts with; comments nest.
fn comment_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// Returns the length of the escape that `text` starts with, or how much of it to show as wrong.
fn escape_length(text: &str, multiline: bool) -> Result<usize, usize> {
    let Some(second) = text[1..].chars().next() else { return Err(1) };
    match second {
        'n' | 'r' | 't' | '\\' | '"' | 'b' | 'f' | 's' => Ok(2),
        'u' => {
            let inner = text[2..].strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let valid = |digits: &&str| (1..=6).contains(&digits.len());
            match inner.map(|(digits, _)| digits).filter(valid) {
                Some(digits)
                    if u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).is_some()
                        && digits.bytes().all(|b| b.is_ascii_hexdigit()) =>
                {
                    Ok(digits.len() + 4)
                }
                _ => Err(2),
            }
        }
        // An escaped line break in a `"""` string would hide where its lines begin.
        c if !multiline && (is_space(c) || is_newline(c)) => {
            let blanks = text[1..].find(|c| !is_space(c) && !is_newline(c));
            Ok(1 + blanks.unwrap_or(text.len() - 1))
        }
        c => Err(1 + c.len_utf8()),
    }
}

/// Says whether `word` is a number of KDL 2 that fits 128 bits.
fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2), ("0X", 16), ("0O", 8), ("0B", 2)] {
        if let Some(digits) = digits.strip_prefix(prefix) {
            let first = digits.chars().next().is_some_and(|c| c.is_digit(radix));
            return first && i128::from_str_radix(&digits.replace('_', ""), radix).is_ok();
        }
    }
    let integer = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_digit() || b == b'_')
            && text.replace('_', "").parse::<i128>().is_ok()
    };
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    integer(whole)
        && fraction.is_none_or(integer)
        && exponent.is_none_or(|exponent| integer(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> String {
        let tokens = split(SourceId(0), text);
        assert!(!tokens.problems.is_empty(), "{text} has no problem: {:?}", tokens.tokens);
        let problem = &tokens.problems[0];
        let range = &problem.at.as_ref().unwrap().0.range;
        format!("{} | {} | {}", &text[range.clone()], problem.message, problem.help.as_deref().unwrap_or(""))
    }

    #[test]
    fn habits_of_other_languages_are_named_with_their_fix() {
        for (text, at, says) in [
            ("a true", "true", "KDL 2 writes this keyword as `#true`"),
            ("a k=null", "null", "`#null`"),
            ("a r\"x y\" b", "r\"x y\"", "raw string of KDL 1"),
            ("a r#\"x\"#", "r#\"x\"#", "without the `r`"),
            ("a r#é", "r#", "raw string of KDL 1"),
            ("a http://x.org/y z", "http://x.org/y", "an unquoted URL"),
            ("a 'b c'", "'b c'", "write `\"b c\"`"),
            ("a ./cache", "./cache", "a value with `/`"),
            ("a ~/.ssh;", "~/.ssh", "write `\"~/.ssh\"`"),
            ("a /etc", "/etc", "write `\"/etc\"`"),
            ("hide secrets/**", "secrets/**", "a value with `/`"),
            ("memory 8GiB", "8GiB", "put it in double quotes: `\"8GiB\"`"),
            ("version 2.1.329", "2.1.329", "starts with a digit"),
            ("a #yes", "#yes", "not a keyword"),
            ("a #True", "#True", "did you mean `#true`?"),
            ("a \"x", "\"x", "not closed"),
            ("a \"\\q\"", "\\q", "not an escape"),
            ("a /* b", "/* b", "not closed"),
            ("a \\ b", "\\", "last thing on it"),
            ("a \u{202e}b", "\u{202e}", "cannot stand here"),
            ("// \u{1b}[2J", "\u{1b}", "not allowed"),
            ("a \"\"\"x\"\"\"", "\"\"\"x\"\"\"", "next line"),
            ("a \"\"\"\n x\n  \"\"\"", "\"\"\"\n x\n  \"\"\"", "indent"),
            ("a [b]", "[", "cannot stand here"),
        ] {
            let found = first(text);
            assert!(found.starts_with(&format!("{at} | ")), "{text:?}: {found}");
            assert!(found.contains(says), "{text:?}: {found}");
        }
    }

    #[test]
    fn the_tokens_are_the_whole_text() {
        let text = "\u{FEFF}a (t)1 .env -v *.x k=#true \\ // c\n  r=0x1F {b \"x\\\"y\" /* /* n */ */ #\"a\"b\"#\r\n}; \
                    /-c 1.5e-3 -inf2\n\"\"\"\n  m\n  \"\"\" é\n";
        let tokens = split(SourceId(0), text);
        assert_eq!(tokens.problems, []);
        let again: String = tokens.tokens.iter().map(|token| &text[token.range.clone()]).collect();
        assert_eq!(again, text);
    }
}
