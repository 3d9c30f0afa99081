//! What may be a secret: by the name of a variable, or by what its value looks like.

mod patterns;
mod written;

use patterns::Found;
use written::Known;

/// Words of names whose values are never written, alone or with an `S`.
const WORDS: &[&str] = &[
    "AUTH",
    "COOKIE",
    "CREDENTIAL",
    "KEY",
    "LOGIN",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PIN",
    "PW",
    "PWD",
    "SECRET",
    "SESSION",
    "TOKEN",
    "WEBHOOK",
];

/// How words end that have one of these written into them, as in `APIKEY` and `DBPASSWORD`.
const ENDINGS: &[&str] =
    &["APIKEY", "AUTHTOKEN", "CREDENTIAL", "PASSPHRASE", "PASSWD", "PASSWORD", "PW", "SECRET", "TOKEN"];

/// Names of variables that say where something is, and how such names end.
const PLACES: &[&str] = &["HOME", "OLDPWD", "PWD", "SSH_AUTH_SOCK"];
const PLACE_ENDINGS: &[&str] = &["_DIR", "_FILE", "_PATH", "_SOCK"];

/// Names that every desktop has set, and that only sound like a secret.
const DESKTOP: &[&str] = &[
    "DBUS_SESSION_BUS_ADDRESS",
    "DESKTOP_SESSION",
    "XDG_SESSION_CLASS",
    "XDG_SESSION_DESKTOP",
    "XDG_SESSION_ID",
    "XDG_SESSION_TYPE",
];

/// As many signs of the end of a key are shown by programs that ask about it; of fewer, a word might be.
const SHOWN: usize = 20;

/// A value of so many signs without a space may be a key.
const LONG: usize = 20;

/// Says whether a variable of this name and value may be written in clear.
pub fn is_harmless(name: &str, value: &str) -> bool {
    is_place(name, value) || DESKTOP.contains(&name) || (!is_secret_name(name) && !looks_secret(value))
}

/// Says whether a variable is where something is, and is called so.
fn is_place(name: &str, value: &str) -> bool {
    let is_path = value.starts_with('/') && !value.contains(char::is_control);
    is_path && (PLACES.contains(&name) || PLACE_ENDINGS.iter().any(|ending| name.ends_with(ending)))
}

fn is_secret_name(name: &str) -> bool {
    let upper = name.to_uppercase();
    let is_one = |word: &str| {
        let single = word.strip_suffix('S').unwrap_or(word);
        let of = |list: &[&str], fits: &dyn Fn(&str, &str) -> bool| {
            list.iter().any(|known| fits(word, known) || fits(single, known))
        };
        of(WORDS, &|word, known| word == known) || of(ENDINGS, &|word, known| word.ends_with(known))
    };
    upper.split(|c: char| !c.is_ascii_alphanumeric()).any(is_one)
}

/// Says whether a value may be, or hold, a secret: a login in an address, or a long word of letters and digits.
pub fn looks_secret(value: &str) -> bool {
    let login = value.split_once("://").is_some_and(|(_, rest)| {
        rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
    });
    login || has_long_word(value) || value.contains("-----BEGIN")
}

fn has_long_word(value: &str) -> bool {
    let is_part = |c: char| !(c.is_ascii_alphanumeric() || "_-+=".contains(c));
    value.split(is_part).any(|word| {
        let (letters, digits) =
            (word.contains(|c: char| c.is_ascii_alphabetic()), word.contains(|c: char| c.is_ascii_digit()));
        word.len() >= LONG && letters && digits
    })
}

/// What stands in place of a secret in a text.
pub const IN_PLACE: &str = "[REDACTED]";

/// The shortest value that is looked for: a shorter one is everywhere.
const SHORTEST: usize = 8;

/// Takes secrets out of what leaves this machine: values that are known, and words that look like keys.
#[derive(Debug, Default)]
pub struct Scrubber {
    values: Vec<Known>,
    /// Which bytes one of them may begin with, as anything writes it.
    begins: Vec<bool>,
}

impl Scrubber {
    /// `variables` are names and values; those that may be secrets are looked for, also as JSON within JSON writes them.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut texts: Vec<&str> = Vec::new();
        for (name, value) in variables {
            // What prints a value often leaves a line break at its end away.
            let value = value.trim();
            if is_harmless(name, value) {
                continue;
            }
            // Of an address with a login the password is secret, and nothing where there is none.
            let password = patterns::password(value).and_then(|range| value.get(range));
            let rest = password.map_or(value.to_owned(), |password| value.replacen(password, "", 1));
            let is_whole = is_secret_name(name) || has_long_word(&rest) || rest.contains("-----BEGIN");
            let secret = if is_whole { value } else { password.unwrap_or_default() };
            if secret.len() >= SHORTEST {
                texts.push(secret);
            }
            // Programs show how a key ends where they ask whether it is the right one.
            if secret.len() >= SHOWN + SHORTEST && secret.is_ascii() && !secret.contains(char::is_whitespace)
            {
                texts.push(&secret[secret.len() - SHOWN..]);
            }
        }
        // Of two that begin alike the longer one first.
        texts.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        texts.dedup();
        let values: Vec<Known> = texts.into_iter().filter_map(Known::new).collect();
        let begins = (0..=u8::MAX).map(|byte| values.iter().any(|value| value.may_begin(byte))).collect();
        Scrubber { values, begins }
    }

    /// Returns the bytes without secrets, and how many there were. What is no text keeps its length.
    pub fn scrub(&self, bytes: &[u8]) -> (Vec<u8>, usize) {
        let is_text = std::str::from_utf8(bytes).is_ok();
        let mut out = Vec::with_capacity(bytes.len());
        let (mut at, mut count) = (0, 0);
        // What a name or an address before it has shown to be a secret, and where that is.
        let mut shown = 0..0;
        while at < bytes.len() {
            let mut end = if shown.contains(&at) { shown.end } else { at };
            end = self.known(bytes, at).map_or(end, |known| known.max(end));
            match patterns::find(bytes, at) {
                Some(Found::Here(found)) => end = end.max(found),
                // The first one counts: what is within it is a part of it.
                Some(Found::Ahead(range)) if range.start >= shown.end => shown = range,
                Some(Found::Ahead(_)) | None => {}
            }
            if end == at {
                out.push(bytes[at]);
                at += 1;
                continue;
            }
            count += 1;
            // The first sign may be the end of an escape, which would be none without it.
            let first_of_escape = if b"bfnrtu\"/\\".contains(&bytes[at]) {
                out.iter().rposition(|byte| *byte != b'\\').map_or(0, |before| before + 1)
            } else {
                out.len()
            };
            if is_text {
                out.truncate(first_of_escape);
                out.extend_from_slice(IN_PLACE.as_bytes());
            } else {
                out.resize(out.len() + end - at, b'*');
            }
            at = end;
        }
        (out, count)
    }

    /// Returns where a known value ends that begins here.
    fn known(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let first = bytes[at];
        if !self.begins.get(usize::from(first)).is_some_and(|begins| *begins) {
            return None;
        }
        let candidates = self.values.iter().filter(|value| value.may_begin(first));
        candidates.filter_map(|value| value.ends(bytes, at)).max()
    }
}

#[cfg(test)]
mod tests;
