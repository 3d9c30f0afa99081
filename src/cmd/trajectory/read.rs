//! Trajectories as the other commands read them: found below a directory, and read as far as they can be.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value};

use super::unreadable;
use crate::atif::walk::{self, Reader};
use crate::diag::{Exit, Failure};
use crate::trajectory::NAME;
use crate::util::fs::read_bounded;
use crate::util::text::escape;

/// The largest trajectory that is read, in bytes.
const MOST: u64 = 4 << 30;

/// Up to so many bytes are read at once, which is faster than a step at a time.
const AT_ONCE: u64 = 8 << 20;

/// How much of a larger one is read at once, in bytes.
const BUFFER: usize = 256 << 10;

/// The deepest directory that is looked into, below the one that is named.
const MOST_DEPTH: usize = 10;

/// A trajectory that can be read several times over; of a large one no more than a step is in memory.
pub enum Trajectory {
    Text(Vec<u8>),
    File(File),
}

impl Trajectory {
    pub fn open(path: &Utf8Path) -> Result<Self, Failure> {
        Self::of(path).map_err(|error| unreadable(path, error))
    }

    fn of(path: &Utf8Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if meta.is_file() && meta.len() <= AT_ONCE {
            return read_bounded(path, MOST).map(Trajectory::Text);
        }
        if !meta.is_file() {
            // What comes through a pipe comes once.
            let mut kept = tempfile::tempfile()?;
            io::copy(&mut file.take(MOST + 1), &mut kept)?;
            file = kept;
        }
        if file.metadata()?.len() > MOST {
            let text = format!("it is larger than {MOST} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(Trajectory::File(file))
    }

    /// Reads it from its beginning.
    pub fn walk(&self, path: &Utf8Path, reader: &mut dyn Reader) -> Result<(), Failure> {
        let walked = match self {
            Trajectory::Text(text) => walk::walk_slice(text, reader),
            Trajectory::File(file) => {
                let mut file = file;
                file.rewind().map_err(|error| unreadable(path, error))?;
                walk::walk(BufReader::with_capacity(BUFFER, file), reader)
            }
        };
        walked.map_err(|error| unreadable(path, error))
    }

    /// Says whether these bytes are somewhere in it.
    pub fn holds(&self, word: &[u8]) -> io::Result<bool> {
        let mut file = match self {
            Trajectory::Text(text) => return Ok(memchr::memmem::find(text, word).is_some()),
            Trajectory::File(file) => file,
        };
        file.rewind()?;
        let mut part = Vec::with_capacity(BUFFER + word.len());
        while file.take(BUFFER as u64).read_to_end(&mut part)? > 0 {
            if memchr::memmem::find(&part, word).is_some() {
                return Ok(true);
            }
            // It may be half here and half in what follows.
            part.drain(..part.len().saturating_sub(word.len()));
        }
        Ok(false)
    }
}

/// A document without its steps, with those of its sub-agents.
#[derive(Debug, Default)]
pub struct Document {
    pub fields: Map<String, Value>,
    pub steps: usize,
    /// The first step; of a sub-agent nothing.
    pub first: Option<String>,
    /// The times of its first and of its last step, in nanoseconds since 1970.
    pub times: Option<(i128, i128)>,
    pub subagents: Vec<Document>,
}

impl Document {
    pub fn load(path: &Utf8Path, trajectory: &Trajectory) -> Result<Self, Failure> {
        let mut collector = Collector::default();
        trajectory.walk(path, &mut collector)?;
        collector.done.pop().ok_or_else(|| unreadable(path, "it is no trajectory"))
    }

    /// Returns a text by the names that lead to it.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.fields.get(*first)?, |value, key| value.get(key))?.as_str()
    }

    pub fn number(&self, path: &[&str]) -> Option<f64> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.fields.get(*first)?, |value, key| value.get(key))?.as_f64()
    }
}

/// When a step began, in nanoseconds since 1970; 0 where nothing says it.
pub fn nanos(time: Option<&Value>) -> i128 {
    let time = time.and_then(Value::as_str).and_then(|time| time.parse::<jiff::Timestamp>().ok());
    time.map_or(0, jiff::Timestamp::as_nanosecond)
}

#[derive(Default)]
struct Collector {
    open: Vec<Document>,
    done: Vec<Document>,
}

impl Reader for Collector {
    fn begin(&mut self, _: &str) {
        self.open.push(Document::default());
    }

    fn step(&mut self, index: usize, step: Value) {
        let is_first = index == 0 && self.open.len() == 1;
        let Some(document) = self.open.last_mut() else { return };
        document.steps += 1;
        if is_first {
            document.first = Some(step.to_string());
        }
        let time = nanos(step.get("timestamp"));
        if time > 0 {
            let (from, to) = document.times.unwrap_or((time, time));
            document.times = Some((from.min(time), to.max(time)));
        }
    }

    fn field(&mut self, key: &str, value: Value) {
        if let Some(document) = self.open.last_mut() {
            document.fields.insert(key.to_owned(), value);
        }
    }

    fn end(&mut self) {
        let Some(document) = self.open.pop() else { return };
        match self.open.last_mut() {
            Some(parent) => parent.subagents.push(document),
            None => self.done.push(document),
        }
    }
}

/// Returns the trajectories that a path stands for: a file, or all that are called so below a directory, sorted.
pub fn find(path: &Utf8Path) -> Result<Vec<Utf8PathBuf>, Failure> {
    let meta = path.metadata().map_err(|error| unreadable(path, error))?;
    if !meta.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut pending = vec![(path.to_owned(), 0)];
    while let Some((directory, depth)) = pending.pop() {
        let entries = match directory.read_dir_utf8() {
            Err(error) if depth == 0 => return Err(unreadable(path, error)),
            // What cannot be read below it is none of a reader's.
            entries => entries.into_iter().flatten(),
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_file() && entry.file_name() == NAME {
                found.push(entry.into_path());
            } else if kind.is_dir() && depth < MOST_DEPTH && entry.file_name() != ".git" {
                pending.push((entry.into_path(), depth + 1));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Says that a path has no trajectory.
pub fn unnamed(path: &Utf8Path) -> Failure {
    let message = format!("there is no `{NAME}` in `{}`", escape(path.as_str()));
    Failure::new(Exit::Failed, "trajectory::read", message)
        .help("`pier up`, `pier exec`, `pier capture`, `pier verify` and `pier trajectory convert` make them")
}

/// Returns the text of a message or of a result; pictures are named.
pub fn content(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let part = |part: &Value| {
                if let Some(text) = part.get("text").and_then(Value::as_str) {
                    return text.to_owned();
                }
                let path = part.pointer("/source/path").and_then(Value::as_str).unwrap_or("?");
                format!("[{}: {path}]", part.get("type").and_then(Value::as_str).unwrap_or("part"))
            };
            parts.iter().map(part).collect::<Vec<_>>().join("\n\n")
        }
        _ => String::new(),
    }
}

/// Returns the elements of an array, none of what is no array.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Returns the results of a step.
pub fn results(step: &Value) -> &[Value] {
    step.get("observation").map_or(&[], |observation| list(observation, "results"))
}

/// Says whether a result is that of a tool that failed.
pub fn is_error(result: &Value) -> bool {
    result.pointer("/extra/is_error").and_then(Value::as_bool) == Some(true)
}

/// Returns a call in one line: what it is about rather than all that it says.
pub fn call_line(call: &Value) -> String {
    const TELLING: &[&str] = &[
        "command",
        "cmd",
        "file_path",
        "path",
        "filePath",
        "absolute_path",
        "pattern",
        "query",
        "url",
        "prompt",
        "description",
        "input",
        "code",
    ];
    let arguments = call.get("arguments").and_then(Value::as_object);
    let said = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let telling = TELLING.iter().find_map(|key| arguments?.get(*key));
    let first = || arguments?.values().next();
    let words = telling.or_else(first).map(said).unwrap_or_default();
    let line = words.lines().next().unwrap_or_default();
    let name = call.get("function_name").and_then(Value::as_str).unwrap_or("?");
    format!("{name} {line}").trim_end().to_owned()
}
