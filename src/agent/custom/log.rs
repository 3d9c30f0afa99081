//! Logs of an agent that pier does not know: trajectories, or logs of any form that pier reads.

use std::io;

use camino::Utf8Path;

use super::document;
use crate::agent::ALL;
use crate::agent::log::{Converter, Logs};
use crate::atif::draft::{Draft, MAIN};

pub struct Log;

/// What reads each form; trajectories go before what they were made of.
fn forms() -> impl Iterator<Item = (&'static str, &'static dyn Converter)> {
    let own: (&'static str, &'static dyn Converter) = ("atif", &document::Document);
    std::iter::once(own).chain(ALL.iter().filter_map(|agent| Some((agent.name(), agent.converter()?))))
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        forms().any(|(_, form)| form.is_log(path, head))
    }

    /// Reads the form that the most of the files have: what an agent prints may be of another one.
    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let heads: Vec<String> = (0..logs.files().len()).map(|index| logs.head(index)).collect();
        let count = |form: &dyn Converter| {
            logs.files().iter().zip(&heads).filter(|(file, head)| form.is_log(&file.path, head)).count()
        };
        let counted = forms().map(|(name, form)| (count(form), name, form));
        let best = counted
            .filter(|(files, _, _)| *files > 0)
            .reduce(|best, next| if next.0 > best.0 { next } else { best });
        let Some((_, name, form)) = best else { return Ok(()) };
        draft.head(MAIN).agent.put("log_format", name);
        form.convert(logs, draft)
    }
}
