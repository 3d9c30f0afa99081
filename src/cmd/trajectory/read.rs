//! Trajectories as the other commands read them: found below a directory, and read as far as they can be.

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value};

use super::unreadable;
use crate::atif::walk::{self, Reader};
use crate::diag::{Exit, Failure};
use crate::trajectory::NAME;
use crate::util::fs::read_bounded;
use crate::util::text::escape;

/// The largest trajectory that is read whole, in bytes.
const MOST: u64 = 2 << 30;

/// The deepest directory that is looked into, below the one that is named.
const MOST_DEPTH: usize = 10;

/// A document, with those of its sub-agents.
#[derive(Debug, Default)]
pub struct Document {
    pub fields: Map<String, Value>,
    pub steps: Vec<Value>,
    pub subagents: Vec<Document>,
}

impl Document {
    pub fn load(path: &Utf8Path) -> Result<Self, Failure> {
        let text = read_bounded(path, MOST).map_err(|error| unreadable(path, error))?;
        let mut collector = Collector::default();
        walk::walk_slice(&text, &mut collector).map_err(|error| unreadable(path, error))?;
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

#[derive(Default)]
struct Collector {
    open: Vec<Document>,
    done: Vec<Document>,
}

impl Reader for Collector {
    fn begin(&mut self, _: &str) {
        self.open.push(Document::default());
    }

    fn step(&mut self, _: usize, step: Value) {
        if let Some(document) = self.open.last_mut() {
            document.steps.push(step);
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
