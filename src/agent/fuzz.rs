//! What the readers of logs promise: whatever an agent wrote, they do not panic, and the document that comes out is valid.

use std::io::{self, BufRead, Cursor};

use super::ALL;
use super::log::{Converter, LogFile, Logs};
use crate::atif::draft::{About, Draft, Images};
use crate::atif::prices::Prices;
use crate::atif::{WRITTEN, check};
use crate::util::sqlite::{self, Database, ReadAt, WAL};

/// What begins a line that names a file; the rest of the input is what is in it, up to the next such line.
const FILE: &str = "%% ";

struct Memory {
    files: Vec<LogFile>,
    contents: Vec<Vec<u8>>,
}

impl Logs for Memory {
    fn files(&self) -> &[LogFile] {
        &self.files
    }

    fn open(&self, index: usize) -> io::Result<Box<dyn BufRead + '_>> {
        Ok(Box::new(Cursor::new(self.contents[index].clone())))
    }

    fn head(&self, index: usize) -> String {
        let content = &self.contents[index];
        String::from_utf8_lossy(&content[..content.len().min(16 << 10)]).into_owned()
    }

    fn database(&self, index: usize) -> Result<Database, sqlite::Error> {
        let name = format!("{}{WAL}", self.files[index].path);
        let wal = self.files.iter().position(|file| file.path == name);
        let wal = wal.map(|wal| Box::new(self.contents[wal].clone()) as Box<dyn ReadAt>);
        Database::open(Box::new(self.contents[index].clone()), wal)
    }
}

struct Counted(usize);

impl Images for Counted {
    fn keep(&mut self, _: &str, _: &[u8]) -> io::Result<String> {
        self.0 += 1;
        Ok(format!("images/{}", self.0))
    }
}

/// Reads an input as the logs of the agent that its first line names, or of each where it names none.
///
/// # Panics
/// Where a promise is broken.
pub fn logs(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let name = std::str::from_utf8(&bytes[..end]).unwrap_or_default();
    let readers: Vec<(&str, &dyn Converter)> =
        ALL.iter().filter_map(|agent| Some((agent.name(), agent.converter()?))).chain([custom()]).collect();
    if let Some((name, converter)) = readers.iter().find(|(known, _)| *known == name) {
        return convert(name, *converter, &files(&bytes[(end + 1).min(bytes.len())..]));
    }
    for path in ["x.jsonl", "x.json", "x.txt"] {
        let one = Memory {
            files: vec![LogFile { path: path.into(), bytes: bytes.len() as u64 }],
            contents: vec![bytes.to_vec()],
        };
        for (name, converter) in &readers {
            convert(name, *converter, &one);
        }
    }
}

/// What reads logs of an agent that pier does not know.
fn custom() -> (&'static str, &'static dyn Converter) {
    ("custom", &super::custom::log::Log)
}

/// Takes an input apart.
fn files(bytes: &[u8]) -> Memory {
    let mut memory = Memory { files: Vec::new(), contents: Vec::new() };
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let name = std::str::from_utf8(line).ok().and_then(|line| line.trim_end().strip_prefix(FILE));
        match (name, memory.contents.last_mut()) {
            (Some(name), _) => {
                memory.files.push(LogFile { path: name.into(), bytes: 0 });
                memory.contents.push(Vec::new());
            }
            (None, Some(content)) => content.extend_from_slice(line),
            (None, None) => {
                memory.files.push(LogFile { path: "x.jsonl".into(), bytes: 0 });
                memory.contents.push(line.to_vec());
            }
        }
    }
    memory
}

fn convert(name: &str, converter: &dyn Converter, memory: &Memory) {
    let prices = Prices::embedded();
    let mut spool = Cursor::new(Vec::new());
    let mut images = Counted(0);
    let about = About { agent: name.to_owned(), version: None, model: None };
    let mut draft = Draft::new(about, &prices, &mut spool, &mut images);
    let read = converter.convert(memory, &mut draft);
    assert!(read.is_ok(), "{name}: what is in memory can be read: {read:?}");
    let mut document = Vec::new();
    let written = draft.finish(WRITTEN, &mut document);
    assert!(written.is_ok(), "{name}: what is in memory can be written: {written:?}");
    if written.is_ok_and(|(_, summary)| summary.is_none()) {
        assert!(document.is_empty(), "{name}: nothing is written where nothing was read");
        return;
    }
    let problems = check::check(&document, check::Rules::default());
    assert!(
        problems.as_ref().is_ok_and(Vec::is_empty),
        "{name}: the document is not valid: {problems:?}\n{}",
        String::from_utf8_lossy(&document)
    );
}

/// Checks an input as a document: there is an answer for each.
pub fn trajectory(bytes: &[u8]) {
    for rules in [check::Rules::default(), check::Rules { newest: true, strict: true }] {
        let strict = check::check(bytes, rules);
        if let Ok(problems) = strict {
            assert!(problems.iter().all(|problem| !problem.text.is_empty()));
        }
    }
}
