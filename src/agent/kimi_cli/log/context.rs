//! The messages that a model got, beside the events of a session: the prompt of the system and what the program put among them is in no
//! event.

use std::io::{self, BufRead};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::value::RawValue;

use crate::agent::log::Logs;
use crate::atif::fields::{self, Fields};
use crate::atif::lines::{Line, Lines};

/// A file of messages, which is read as far as the events are.
pub struct Context<'a> {
    path: Utf8PathBuf,
    lines: Lines<Box<dyn BufRead + 'a>>,
}

impl<'a> Context<'a> {
    /// Opens the one in a directory. Of a conversation that was made shorter it has only the end, and the others of that directory the rest:
    /// none of them goes on as the events do.
    pub fn open(logs: &'a dyn Logs, directory: &Utf8Path) -> Option<Self> {
        let path = directory.join("context.jsonl");
        let is_older = |file: &Utf8Path| {
            file.parent() == Some(directory)
                && file.extension() == Some("jsonl")
                && file.file_name().is_some_and(|name| name.starts_with("context_"))
        };
        if logs.files().iter().any(|file| is_older(&file.path)) {
            return None;
        }
        let index = logs.files().iter().position(|file| file.path == path)?;
        // One that cannot be read is missed by few: what was said is in the events.
        Some(Context { path, lines: Lines::new(logs.open(index).ok()?) })
    }

    /// Hands over the messages up to the next answer of the model, with their places.
    pub fn up_to_the_answer(
        &mut self,
        mut call: impl FnMut(&Fields<'_>, &str) -> io::Result<()>,
    ) -> io::Result<()> {
        while let Ok(Some(line)) = self.lines.next() {
            let Line::Text { text, number, .. } = line else { continue };
            let Ok(record) = Fields::parse(&text) else { continue };
            match &*record.text("role").unwrap_or_default() {
                "assistant" => break,
                "user" => call(&record, &format!("{}:{number}", self.path))?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns the texts of what was said, without its pictures.
pub fn words(said: Option<&RawValue>) -> String {
    let Some(said) = said else { return String::new() };
    match fields::text(said) {
        Some(text) => text.into_owned(),
        None => fields::list(said).into_iter().filter_map(|part| Fields::of(part)?.owned("text")).collect(),
    }
}

/// Returns the prompt of the system of a directory, with its place: the first message.
pub fn prompt(logs: &dyn Logs, directory: &Utf8Path) -> Option<(String, String)> {
    let path = directory.join("context.jsonl");
    let index = logs.files().iter().position(|file| file.path == path)?;
    let mut lines = Lines::new(logs.open(index).ok()?);
    let Ok(Some(Line::Text { text, .. })) = lines.next() else { return None };
    let first = Fields::parse(&text).ok().filter(|first| first.is("role", "_system_prompt"))?;
    Some((first.owned("content")?, format!("{path}:1")))
}
