//! How the logs of an agent are read: which of the files are its own, and what becomes of them.

use std::io::{self, BufRead};

use camino::{Utf8Path, Utf8PathBuf};

use crate::atif::draft::Draft;
use crate::atif::fields::Fields;
use crate::atif::lines::{Line, Lines};
use crate::util::sqlite::{self, Database};

pub mod named;
pub mod rows;
pub mod whole;

/// A file of a directory of logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Relative to the directory.
    pub path: Utf8PathBuf,
    pub bytes: u64,
}

/// A directory of logs, which somebody may be writing to.
pub trait Logs {
    /// Sorted by their paths.
    fn files(&self) -> &[LogFile];

    /// Opens one from its beginning.
    fn open(&self, index: usize) -> io::Result<Box<dyn BufRead + '_>>;

    /// Returns the first bytes of one, up to some thousand; nothing of one that cannot be read.
    fn head(&self, index: usize) -> String;

    /// Opens one that is an `SQLite` database, with the write-ahead log that is beside it, whether that is in the list or not.
    fn database(&self, index: usize) -> Result<Database, sqlite::Error>;

    /// Says since when a run lasts, in milliseconds since 1970. A file of records that all are older is not in the list by then; what is
    /// older in a database that has the records of every run is passed over by its reader.
    fn since(&self) -> Option<i64> {
        None
    }

    /// Says whether a conversation of a database with those of many runs belongs to this run. Its reader passes over the others, and
    /// names those that it reads in the report.
    fn takes(&self, _conversation: &str) -> bool {
        true
    }
}

/// What reads the logs of one agent.
pub trait Converter: Sync {
    /// Says whether a file is one of its logs, by its path in whatever directory and by its first bytes.
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool;

    /// Makes steps of all of them.
    ///
    /// # Errors
    /// Where a file cannot be read, or a step cannot be kept. What is wrong in a file is for the report.
    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()>;
}

/// How many conversations one may have come from, each out of the one before.
const MOST_PARENTS: usize = 100;

/// Returns the conversation in which a person speaks, and which this one came out of.
pub fn root_of<'a>(conversation: &'a str, parent: impl Fn(&str) -> Option<&'a str>) -> &'a str {
    let mut root = conversation;
    for _ in 0..MOST_PARENTS {
        match parent(root) {
            Some(above) => root = above,
            None => break,
        }
    }
    root
}

/// Returns the files for which this holds.
pub fn chosen<'a>(
    logs: &'a dyn Logs,
    is: impl Fn(&Utf8Path, &str) -> bool + 'a,
) -> impl Iterator<Item = usize> + 'a {
    (0..logs.files().len()).filter(move |index| is(&logs.files()[*index].path, &logs.head(*index)))
}

/// Returns the files that are of some kind, with it, the best first.
pub fn by_kind<K: Ord>(logs: &dyn Logs, kind: impl Fn(&Utf8Path, &str) -> Option<K>) -> Vec<(K, usize)> {
    let of = |index: usize| Some((kind(&logs.files()[index].path, &logs.head(index))?, index));
    let mut files: Vec<(K, usize)> = (0..logs.files().len()).filter_map(of).collect();
    files.sort();
    files
}

/// Reads a file of one JSON object a line. What is none is said in the report, and the rest is read.
pub fn each_record(
    logs: &dyn Logs,
    index: usize,
    draft: &mut Draft<'_>,
    call: impl FnMut(&mut Draft<'_>, &Fields<'_>, u64) -> io::Result<()>,
) -> io::Result<()> {
    records(logs, index, draft, false, call)
}

/// The same for what a program printed: lines that are no objects are passed over, for it prints what it likes.
pub fn each_printed(
    logs: &dyn Logs,
    index: usize,
    draft: &mut Draft<'_>,
    call: impl FnMut(&mut Draft<'_>, &Fields<'_>, u64) -> io::Result<()>,
) -> io::Result<()> {
    records(logs, index, draft, true, call)
}

fn records(
    logs: &dyn Logs,
    index: usize,
    draft: &mut Draft<'_>,
    objects: bool,
    mut call: impl FnMut(&mut Draft<'_>, &Fields<'_>, u64) -> io::Result<()>,
) -> io::Result<()> {
    lines(logs, index, draft, objects, |draft, text, line, last| {
        match Fields::parse(text) {
            Ok(record) => call(draft, &record, line)?,
            Err(error) => {
                let name = logs.files()[index].path.as_str();
                let (code, text) = if last {
                    (
                        "truncated-line",
                        "the last line ends too early: it may have been written just then".to_owned(),
                    )
                } else {
                    ("unreadable-line", format!("it is no record: {}", in_line(&error)))
                };
                draft.report.partial(code, text, Some((name, line)));
            }
        }
        Ok(())
    })
}

/// The words of an error without its line, which is always the first.
fn in_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(words, _)| words.to_owned())
}

/// Reads a file of lines; the last word of the call says whether the file ends without an end of this line.
pub fn each_line(
    logs: &dyn Logs,
    index: usize,
    draft: &mut Draft<'_>,
    call: impl FnMut(&mut Draft<'_>, &str, u64, bool) -> io::Result<()>,
) -> io::Result<()> {
    lines(logs, index, draft, false, call)
}

fn lines(
    logs: &dyn Logs,
    index: usize,
    draft: &mut Draft<'_>,
    objects: bool,
    mut call: impl FnMut(&mut Draft<'_>, &str, u64, bool) -> io::Result<()>,
) -> io::Result<()> {
    let name = logs.files()[index].path.as_str();
    let mut lines = match logs.open(index) {
        Ok(file) if objects => Lines::objects(file),
        Ok(file) => Lines::new(file),
        Err(error) => {
            draft.report.partial("unreadable-file", format!("it cannot be read: {error}"), Some((name, 0)));
            return Ok(());
        }
    };
    draft.place = Some((name.to_owned(), 0));
    loop {
        match lines.next() {
            Ok(None) => {
                draft.place = None;
                return Ok(());
            }
            Ok(Some(Line::TooLong)) => {
                let at = Some((name, lines.number));
                draft.report.partial("long-line", "the line is too long to be read", at);
            }
            Ok(Some(Line::Text { text, number, repaired, last })) => {
                if repaired {
                    let text = "letters that are none were replaced by U+FFFD";
                    draft.report.note("repaired-text", text, Some((name, number)));
                }
                if let Some(place) = &mut draft.place {
                    place.1 = number;
                }
                call(draft, &text, number, last)?;
            }
            Err(error) => {
                draft.place = None;
                let text = format!("the rest of the file cannot be read: {error}");
                draft.report.partial("unreadable-file", text, Some((name, lines.number + 1)));
                return Ok(());
            }
        }
    }
}
