//! What the agent of a session was asked, as far as pier has seen it: the words of its command, and what came in by its terminal or
//! from a file. By that its logs are told from those of another session that had the same home at the same time.
//!
//! While it runs, others know the words of its process, and of what came in the digests of its lines: no text of it is written anywhere.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use super::place::all;
use super::registry::Session;
use crate::sys::process;
use crate::util::fs::{read_bounded, read_without_links, sha256};

/// The most that is remembered of what came in, in bytes.
const MOST_HEARD: usize = 256 << 10;

/// The most that is read of the words of a process, in bytes.
const MOST_WORDS: u64 = 4 << 20;

/// The shortest text that counts where it is only a part of another one, in bytes: what is shorter is in many.
pub const LEAST: usize = 12;

/// The shortest part of an id that counts, in bytes.
const LEAST_ID: usize = 8;

/// How well what a log says fits what was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    #[default]
    Not,
    /// Of what was asked only digests are left, which tell whole texts alone: it is no whole one, and may be a part.
    Unknown,
    /// One is in the other: a shell's command has it, or the agent has put more around it.
    Part,
    Whole,
}

/// The file in a session's directory with the digests of the words of its command, and of the lines that came in. It is there until
/// what the session's agent did was kept.
pub(super) const FILE: &str = "asked";

/// Shows digests of the words of a command in a session's directory: once the session was killed, nothing else says what it was asked.
pub fn show(place: &Utf8Path, words: &[String]) -> io::Result<()> {
    let Asked(texts, _) = Asked::of_words(words.iter().map(String::as_str));
    let digests: String = texts.iter().map(|text| sha256(text.as_bytes()) + "\n").collect();
    open(place, true)?.write_all(digests.as_bytes())
}

fn open(place: &Utf8Path, is_new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    if is_new {
        options.write(true).truncate(true)
    } else {
        options.append(true)
    };
    options.open(place.join(FILE))
}

/// Says whether there was no time yet to keep what the agent of a session did.
pub fn is_open(place: &Utf8Path) -> bool {
    place.join(FILE).symlink_metadata().is_ok()
}

/// Leaves nothing for the next session that has its directory.
pub fn forget(place: &Utf8Path) {
    if let Err(error) = std::fs::remove_file(place.join(FILE))
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%error, "what came in stays shown");
    }
}

/// What came in at the standard input of a command, from its beginning.
#[derive(Debug, Default)]
pub struct Heard {
    bytes: Vec<u8>,
    /// Where others see it, and how many lines they do.
    shown: Option<(File, usize)>,
}

impl Heard {
    /// Shows digests of it in a session's directory. Without the file, the others know less.
    pub fn shown(place: &Utf8Path) -> Self {
        Heard { bytes: Vec::new(), shown: open(place, false).ok().map(|file| (file, 0)) }
    }

    pub fn hear(&mut self, bytes: &[u8]) {
        let left = MOST_HEARD - self.bytes.len();
        let bytes = bytes.get(..left).unwrap_or(bytes);
        self.bytes.extend_from_slice(bytes);
        let Some((file, seen)) = &mut self.shown else { return };
        if !bytes.iter().any(|byte| b"\r\n".contains(byte)) {
            return;
        }
        let lines = typed(&String::from_utf8_lossy(&self.bytes));
        // The last one has not been sent.
        let whole = lines.len() - 1;
        let new = lines.get(*seen..whole).unwrap_or_default().iter().map(|line| squash(line));
        let digests: String =
            new.filter(|line| !line.is_empty()).map(|line| sha256(line.as_bytes()) + "\n").collect();
        *seen = whole;
        if let Err(error) = file.write_all(digests.as_bytes()) {
            tracing::debug!(%error, "what came in is not shown");
        }
    }
}

/// Texts in which every space is one blank, and the digests of others.
#[derive(Debug, Default)]
pub struct Asked(Vec<String>, HashSet<String>);

impl Asked {
    /// Takes the words of a command.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut asked = Asked::default();
        // The first is what runs.
        for word in words.into_iter().skip(1) {
            asked.add(word);
            // What a shell gives as a word.
            for quote in ['\'', '"'] {
                for part in word.split(quote).skip(1).step_by(2).filter(|part| part.contains(' ')) {
                    asked.add(part);
                }
            }
            if let Some((_, value)) = word.strip_prefix("--").and_then(|flag| flag.split_once('=')) {
                asked.add(value);
            }
        }
        asked
    }

    /// Takes what is known of another session, which runs or was killed.
    pub fn of_session(state: &Utf8Path, session: &Session) -> Self {
        let mut asked = Asked::of_process(session.pid, session.start_time);
        let shown =
            read_without_links(&all(state).join(&session.id).join(FILE), MOST_WORDS).unwrap_or_default();
        asked.1 = String::from_utf8_lossy(&shown).lines().map(str::to_owned).collect();
        asked
    }

    /// Takes the words of a process that runs; of one that is another by now, there are none.
    fn of_process(id: u32, start_time: u64) -> Self {
        let path = format!("/proc/{id}/cmdline");
        let Ok(words) = read_bounded(Utf8Path::new(&path), MOST_WORDS) else { return Asked::default() };
        if process::start_time(id) != Some(start_time) {
            return Asked::default();
        }
        let words = String::from_utf8_lossy(&words);
        Asked::of_words(words.split('\0'))
    }

    /// Adds what came in: what was typed a line each, and all of it.
    pub fn add_heard(&mut self, heard: &Heard) {
        let lines = typed(&String::from_utf8_lossy(&heard.bytes));
        self.add(&lines.join(" "));
        for line in &lines {
            self.add(line);
        }
    }

    /// Says whether nothing but digests is left.
    fn is_blind(&self) -> bool {
        self.0.is_empty() && !self.1.is_empty()
    }

    fn add(&mut self, text: &str) {
        let text = squash(text);
        if !text.is_empty() {
            self.0.push(text);
        }
    }

    /// Says how well it fits what a log says that the user said.
    pub fn fit(&self, said: &str) -> Fit {
        let said = squash(said);
        if said.is_empty() {
            return Fit::Not;
        }
        let of = |word: &String| {
            // What has no blank is a flag, a path or a name, and those are in many texts.
            let is_text = word.len() >= LEAST && word.contains(' ');
            match () {
                () if *word == said => Fit::Whole,
                () if said.len() >= LEAST && word.contains(&said)
                    || is_text && said.contains(word.as_str()) =>
                {
                    Fit::Part
                }
                () => Fit::Not,
            }
        };
        if self.1.contains(&sha256(said.as_bytes())) {
            return Fit::Whole;
        }
        let blind = if self.is_blind() && said.len() >= LEAST { Fit::Unknown } else { Fit::Not };
        self.0.iter().map(of).max().unwrap_or(blind)
    }

    /// Says whether it names a conversation, which it goes on with.
    pub fn names(&self, conversation: &str) -> bool {
        let is_part = |word: &String| {
            word.len() >= LEAST_ID
                && word.bytes().any(|byte| byte.is_ascii_digit())
                && conversation.contains(word.as_str())
        };
        self.1.contains(&sha256(conversation.as_bytes()))
            || self.0.iter().any(|word| word == conversation || is_part(word))
    }
}

fn squash(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the lines that were typed, as the simplest editor has them. A line that was pasted goes on until the key that sends it.
fn typed(keys: &str) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    let mut pasting = false;
    let mut keys = keys.chars().peekable();
    while let Some(key) = keys.next() {
        match key {
            '\x1b' => match keys.next() {
                Some('[') => {
                    let mut sequence = String::new();
                    for part in keys.by_ref() {
                        sequence.push(part);
                        if ('\x40'..='\x7e').contains(&part) {
                            break;
                        }
                    }
                    match sequence.as_str() {
                        "200~" => pasting = true,
                        "201~" => pasting = false,
                        _ => {}
                    }
                }
                Some('O') => drop(keys.next()),
                // A new line in what is not sent yet.
                Some('\r' | '\n') => line.push(' '),
                _ => {}
            },
            '\r' | '\n' if pasting => line.push(' '),
            '\r' | '\n' => lines.push(std::mem::take(&mut line)),
            '\x7f' | '\x08' => drop(line.pop()),
            '\x15' | '\x03' => line.clear(),
            '\x17' => {
                let kept = line.trim_end().rfind(' ').map_or(0, |at| at + 1);
                line.truncate(kept);
            }
            '\t' => line.push(' '),
            key if key.is_control() => {}
            key => line.push(key),
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_what_was_asked_whole_or_in_part() {
        let asked = Asked::of_words([
            "claude",
            "-p",
            "Mend  the\nparser",
            "--dangerously-skip-permissions",
            "--prompt=say it",
        ]);
        for (said, expected) in [
            ("Mend the parser", Fit::Whole),
            (" Mend the parser\n", Fit::Whole),
            ("say it", Fit::Whole),
            ("Please solve this: Mend the parser. Work in /app.", Fit::Part),
            ("end the parse", Fit::Part),
            ("the parser", Fit::Not),
            ("never use --dangerously-skip-permissions here", Fit::Not),
            ("claude", Fit::Not),
            ("", Fit::Not),
        ] {
            assert_eq!(asked.fit(said), expected, "{said}");
        }
        let shell = Asked::of_words(["sh", "-c", "cd x && claude -p 'mend the lexer' | cat"]);
        assert_eq!(shell.fit("mend the lexer"), Fit::Whole);
        assert_eq!(shell.fit("claude -p 'mend the lexer'"), Fit::Part);
        assert_eq!(Asked::default().fit("anything at all"), Fit::Not);
    }

    #[test]
    fn a_conversation_is_named_by_its_id_or_a_part_of_it() {
        let id = "0199d3c8-7c1e-7b10-8a57-0d2d1d9a1b11";
        let file = format!("rollout-2026-01-02T03-04-05-{id}");
        for (word, expected) in [(id, true), (&id[..8], true), ("0199", false), ("rollout-", false)] {
            assert_eq!(Asked::of_words(["codex", "resume", word]).names(&file), expected, "{word}");
        }
        assert!(Asked::of_words(["pi", "--session", "mine"]).names("mine"));
    }

    #[test]
    fn what_is_typed_is_read_as_it_was_meant() {
        for (keys, expected) in [
            ("mend it\r", &["mend it", ""][..]),
            ("mendx\x7f it\rand\r", &["mend it", "and", ""]),
            ("\x1b[200~one\rtwo\x1b[201~ three\r", &["one two three", ""]),
            ("not this\x15this one\x17two\r", &["this two", ""]),
            ("a\x1b[D\x1bOAb\x1b\rc", &["ab c"]),
            ("\x1b[", &[""]),
            ("\x1b", &[""]),
        ] {
            assert_eq!(typed(keys), expected, "{keys:?}");
        }
        let mut heard = Heard::default();
        heard.hear(b"mend the");
        heard.hear(b" parser\rthen the lexer\r");
        let mut asked = Asked::default();
        asked.add_heard(&heard);
        assert_eq!(asked.fit("mend the parser"), Fit::Whole);
        assert_eq!(asked.fit("mend the parser\nthen the lexer"), Fit::Whole);
        heard.hear(&vec![b'x'; 2 * MOST_HEARD]);
        assert_eq!(heard.bytes.len(), MOST_HEARD);
        heard.hear(b"y");
    }

    #[test]
    fn others_see_digests_of_the_lines_that_were_sent() {
        let place = tempfile::tempdir().unwrap();
        let place = Utf8Path::from_path(place.path()).unwrap();
        show(place, &["claude", "-p", "write  a manual"].map(str::to_owned)).unwrap();
        let mut heard = Heard::shown(place);
        for keys in ["mend the", " parser\r\ronly ", "half of it"] {
            heard.hear(keys.as_bytes());
        }
        let shown = fs_err::read_to_string(place.join(FILE)).unwrap();
        let told = ["-p", "write a manual", "mend the parser"].map(|text| sha256(text.as_bytes()) + "\n");
        assert_eq!(shown, told.concat());
        let asked = Asked(Vec::new(), shown.lines().map(str::to_owned).collect());
        assert_eq!(["mend  the parser", "half of it"].map(|said| asked.fit(said)), [Fit::Whole, Fit::Not]);
        assert_eq!(asked.fit("Please: mend the parser"), Fit::Unknown, "it may have put more around it");
        assert!(asked.names("write a manual") && is_open(place));
        forget(place);
        assert!(!is_open(place));
    }

    #[test]
    fn the_words_of_a_process_are_its_own() {
        let id = std::process::id();
        let start = process::start_time(id).unwrap();
        let own: Vec<String> = std::env::args().collect();
        assert_eq!(Asked::of_process(id, start).0.len(), own.len() - 1);
        assert!(Asked::of_process(id, start + 1).0.is_empty());
    }
}
