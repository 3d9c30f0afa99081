//! Logs on disk become a trajectory on disk: finds whose they are, reads them, writes the document whole or not at all.

use std::io::{self, BufWriter, Write};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::agent::log::{Converter, Logs as _};
use crate::agent::{self, ALL};
use crate::atif::document::Summary;
use crate::atif::draft::{About, Draft};
use crate::atif::prices::Prices;
use crate::atif::report::{Report, Run};
use beside::{Beside, Nowhere};
use directory::Directory;
pub use directory::Heard;

mod beside;
pub mod directory;
pub mod said;

/// How much of the steps is kept in memory before they go to a temporary file, in bytes.
const IN_MEMORY: usize = 8 << 20;

/// How much of a document is written at once, in bytes.
const WRITTEN_AT_ONCE: usize = 256 << 10;

/// The name of a trajectory in a trial's directory of an agent.
pub const NAME: &str = "trajectory.json";

/// Which logs become a trajectory.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// A directory, or one file.
    pub logs: &'a Utf8Path,
    /// Of a directory, these files alone, relative to it.
    pub only: Option<&'a [Utf8PathBuf]>,
    /// Of a database with the records of many runs, those since then alone, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Of a database with the conversations of many runs, these alone.
    pub conversations: Option<&'a [String]>,
    pub whose: Whose<'a>,
    pub agent_version: Option<&'a str>,
    pub model: Option<&'a str>,
    pub prices: &'a Prices,
    /// The version of the format.
    pub format: &'a str,
    /// Whoever writes them goes on; what they say of an end is that of something before.
    pub is_running: bool,
}

/// Whose logs they are.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// That is found out.
    Unknown,
    Known(&'a str),
    /// Of an agent that `pier.kdl` declares: what form they have is found out.
    Declared(&'a str),
}

/// Where it goes.
pub enum Out<'a> {
    /// This file; pictures beside it.
    File(&'a Utf8Path),
    /// Without pictures.
    Stream(&'a mut dyn Write),
}

/// What became of it.
#[derive(Debug, Serialize)]
pub struct Converted {
    pub agent: String,
    pub trajectory: Option<Utf8PathBuf>,
    #[serde(flatten)]
    pub report: Report,
    #[serde(flatten)]
    pub summary: Option<Summary>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read `{path}`: {error}")]
    Read { path: Utf8PathBuf, error: io::Error },
    #[error("cannot write `{path}`: {error}")]
    Write { path: Utf8PathBuf, error: io::Error },
    #[error("nothing in `{path}` is a log of an agent that pier reads")]
    NoLogs { path: Utf8PathBuf },
    #[error("the logs in `{path}` are of several agents: {names}")]
    SeveralAgents { path: Utf8PathBuf, names: String },
    #[error("pier cannot read logs of `{name}`; it reads those of {known}")]
    NoReader { name: String, known: String },
}

/// The names of the agents whose logs can be read.
pub fn readable() -> impl Iterator<Item = &'static str> {
    ALL.iter().filter(|agent| agent.converter().is_some()).map(|agent| agent.name())
}

/// Makes a trajectory of logs, and tells how far they were read. A report that says that it failed is no error: then no file is
/// written.
pub fn convert(request: &Request<'_>, out: Out<'_>, heard: Heard<'_>) -> Result<Converted, Error> {
    let read = |error| Error::Read { path: request.logs.to_owned(), error };
    let directory = match request.only {
        Some(files) => Directory::chosen(request.logs, files),
        None => Directory::open(request.logs),
    };
    let directory = directory.map_err(read)?.with(request.since, request.conversations).with_heard(heard);
    let (name, converter) = reader(request, &directory)?;
    let about = About {
        agent: name.to_owned(),
        version: request.agent_version.map(str::to_owned),
        model: request.model.map(str::to_owned),
    };
    let (report, summary, trajectory) = match out {
        Out::Stream(out) => {
            let mut out = BufWriter::with_capacity(WRITTEN_AT_ONCE, out);
            let written = write(request, converter, &directory, about, &mut Nowhere, &mut out);
            let (report, summary) = written
                .and_then(|written| out.flush().map(|()| written))
                .map_err(|error| Error::Write { path: "the output".into(), error })?;
            (report, summary, None)
        }
        Out::File(path) => {
            let failed = |error| Error::Write { path: path.to_owned(), error };
            let parent = path.parent().filter(|parent| !parent.as_str().is_empty());
            let parent = parent.unwrap_or(Utf8Path::new("."));
            let file = tempfile::Builder::new().prefix(".pier-").tempfile_in(parent).map_err(failed)?;
            let mut out = BufWriter::with_capacity(WRITTEN_AT_ONCE, file);
            let mut pictures = Beside::new(parent);
            let (report, summary) =
                write(request, converter, &directory, about, &mut pictures, &mut out).map_err(failed)?;
            let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
            if summary.is_some() {
                file.persist(path).map_err(|error| failed(error.error))?;
            }
            let trajectory = summary.is_some().then(|| path.to_owned());
            (report, summary, trajectory)
        }
    };
    Ok(Converted { agent: name.to_owned(), trajectory, report, summary })
}

/// Says whether a directory has anything that an agent may have logged; true of one whose logs pier does not read.
pub fn has_logs(name: &str, logs: &Utf8Path) -> bool {
    let Some(converter) = agent::find(name).ok().and_then(agent::Agent::converter) else { return true };
    let Ok(directory) = Directory::open(logs) else { return true };
    let said = format!("{name}.txt");
    directory.files().iter().enumerate().any(|(index, file)| {
        let path = file.path.as_path();
        path.extension() == Some("jsonl")
            || path.file_name() == Some(said.as_str())
            || converter.is_log(path, &directory.head(index))
    })
}

fn write(
    request: &Request<'_>,
    converter: &dyn Converter,
    directory: &Directory<'_>,
    about: About,
    pictures: &mut dyn crate::atif::draft::Images,
    out: &mut dyn Write,
) -> io::Result<(Report, Option<Summary>)> {
    let mut spool = tempfile::SpooledTempFile::new(IN_MEMORY);
    let mut draft = Draft::new(about, request.prices, &mut spool, pictures);
    for (path, why) in directory.left_out() {
        draft.report.partial("left-out", why, Some((path.as_str(), 0)));
    }
    converter.convert(directory, &mut draft)?;
    if request.is_running {
        draft.report.run = Run::Running;
    }
    let (mut report, summary) = draft.finish(request.format, out)?;
    // Chosen files are where the agent keeps its logs: another version of it may write them in another way.
    if summary.is_none() && request.only.is_some() {
        for (index, file) in directory.files().iter().enumerate() {
            if file.bytes > 0 && !converter.is_log(&file.path, &directory.head(index)) {
                report.note("unrecognised", "pier does not know this form", Some((file.path.as_str(), 0)));
            }
        }
    }
    Ok((report, summary))
}

/// Returns what reads these logs: that of the agent that was named, or of the one that knows the most of the files.
fn reader<'a>(
    request: &Request<'a>,
    directory: &Directory<'_>,
) -> Result<(&'a str, &'static dyn Converter), Error> {
    let path = || request.logs.to_owned();
    if let Whose::Declared(name) = request.whose {
        return Ok((name, &agent::DECLARED));
    }
    if let Whose::Known(name) = request.whose {
        let found = agent::find(name).ok().and_then(|agent| Some((agent.name(), agent.converter()?)));
        return found.ok_or_else(|| {
            let known: Vec<String> = readable().map(|name| format!("`{name}`")).collect();
            Error::NoReader { name: name.to_owned(), known: known.join(", ") }
        });
    }
    let files: Vec<(&Utf8Path, String)> = (0..directory.files().len())
        .map(|index| (directory.files()[index].path.as_path(), directory.head(index)))
        .collect();
    let mut found: Vec<(usize, &'static str, &'static dyn Converter)> = ALL
        .iter()
        .filter_map(|agent| {
            let converter = agent.converter()?;
            let logs = files.iter().filter(|(path, head)| converter.is_log(path, head)).count();
            (logs > 0).then_some((logs, agent.name(), converter))
        })
        .collect();
    found.sort_by_key(|(logs, _, _)| std::cmp::Reverse(*logs));
    match found.as_slice() {
        [] => Err(Error::NoLogs { path: path() }),
        [one, other, ..] if one.0 == other.0 => {
            let names: Vec<String> = found.iter().map(|(_, name, _)| format!("`{name}`")).collect();
            Err(Error::SeveralAgents { path: path(), names: names.join(", ") })
        }
        [(_, name, converter), ..] => Ok((*name, *converter)),
    }
}
