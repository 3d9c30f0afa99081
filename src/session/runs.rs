//! What an agent did in a session: its own logs, which it writes below the sandbox home, as a trajectory of pier's own.
//!
//! `STATE/runs/PROJECT/TIME-AGENT-SESSION/` has `trajectory.json` and `run.json`. Nothing inside sees it. While the session
//! runs, the same is made for whoever asks.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::asked::Asked;
use super::registry::Session;
use crate::atif::prices::Prices;
use crate::atif::report::{Report, Run as Ended};
use crate::audit::Answers;
use crate::plan::{MountKind, Plan};
use crate::record::{stamp, time};
use crate::trajectory::{self, Converted, NAME, Out};
use crate::util::fs::{create_private, place_name, read_without_links, write_atomic};
use logs::{Logs, Shared};

pub mod logs;

/// The most runs that are kept of one project; older ones go.
const MOST: usize = 500;

/// How long it takes before somebody hears that it does.
const SOON: Duration = Duration::from_secs(1);

/// The largest file of a run that is read, in bytes.
const MOST_BYTES: u64 = 4 << 20;

/// The file that says what the run was.
const FILE: &str = "run.json";

/// A run, as its file says it.
#[derive(Serialize)]
struct Run<'a> {
    schema: u32,
    /// The session's name.
    id: &'a str,
    project: &'a Utf8Path,
    /// On the host.
    home: Option<&'a Utf8Path>,
    started_at: String,
    finished_at: String,
    exit_code: u8,
    /// Other sessions that had the same home at that time, and that may have said some of what is in the trajectory.
    beside: Vec<String>,
    /// The conversations that are in it.
    conversations: Vec<String>,
    /// Those of them that may be of another session.
    shared: Vec<Shared>,
    /// The directory in the records of a workspace where its logs are.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a str>,
    /// What the gateway has seen, and where the log says something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    wire: Option<Wire>,
    #[serde(flatten)]
    converted: Converted,
}

/// What came by the network, beside what the agent wrote down.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Wire {
    #[serde(flatten)]
    answers: Answers,
    differences: Vec<String>,
}

/// Who ended a session's command.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// Nobody told it to end; its exit code.
    Itself(u8),
    /// A signal, a limit, or the end of its sandbox.
    Stopped,
    /// Nobody knows when: its supervisor was killed before.
    Killed,
}

/// How a session's command ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// With which pier ends.
    pub code: u8,
    pub how: How,
    /// What models have answered through the gateway, where pier could read it.
    pub answers: Answers,
}

/// Returns where the runs of a project, or of a workspace, are.
fn directory(state: &Utf8Path, project: &Utf8Path) -> Utf8PathBuf {
    state.join("runs").join(place_name(project))
}

/// Returns the home of a plan's session on the host; `place` is the session's directory.
pub fn home(plan: &Plan, place: &Utf8Path) -> Option<Utf8PathBuf> {
    let mount = plan.mounts.iter().find(|mount| mount.at == plan.user.home)?;
    match &mount.kind {
        MountKind::Bind { source, .. } => Some(source.clone()),
        MountKind::Session { name, .. } => Some(place.join(name)),
        _ => None,
    }
}

/// What is kept of a session.
#[derive(Debug, Default)]
pub struct Kept {
    /// Where its trajectory is; `None` where its agent has logged nothing.
    pub run: Option<Result<Utf8PathBuf, Failed>>,
    /// Its own logs, relative to the home.
    pub own: Vec<Utf8PathBuf>,
    /// Logs of other sessions that had the same home, relative to it.
    pub others: Vec<Utf8PathBuf>,
}

/// Keeps the trajectory of a session that has ended; `record` is where a workspace has its logs, and `slow` is called where it takes its
/// time.
pub fn keep(
    session: &Session,
    state: &Utf8Path,
    ended: End,
    asked: &Asked,
    record: Option<&str>,
    slow: &dyn Fn(),
) -> Kept {
    let begun = Instant::now();
    let told = Cell::new(false);
    let heard = |_, _| {
        if begun.elapsed() >= SOON && !told.replace(true) {
            slow();
        }
    };
    let Some(logs) = Logs::of(session) else { return Kept::default() };
    let prices = Prices::embedded();
    let own = logs.own(session, state, asked, &prices);
    let runs = directory(state, &session.project);
    // With parts of the second, so that they are in order.
    let (second, part) = (stamp(session.started), session.started.subsec_millisecond());
    let name = format!("{second}.{part:03}-{}-{}", logs.agent, session.id);
    let place = runs.join(name);
    let kept = || -> Result<Option<Utf8PathBuf>, Failed> {
        if own.files.is_empty() {
            return Ok(None);
        }
        create_private(&place)?;
        let mut converted = logs.convert(&own, &prices, Out::File(&place.join(NAME)), false, &heard)?;
        if converted.trajectory.is_none() {
            fs_err::remove_dir_all(&place)?;
            // It has opened its logs and said nothing, asked for its version, say; or what it has said cannot be read.
            return Unread::of(&converted.report).map_or(Ok(None), |unread| Err(unread.into()));
        }
        // What a log does not say of its end, the program does: not by 0, which proves nothing.
        match (&converted.report.run, ended.how) {
            (Ended::Interrupted | Ended::Unknown, How::Itself(code @ 1..)) => {
                converted.report.run = Ended::Failed(format!("exit code {code}"));
            }
            (Ended::Unknown, How::Stopped | How::Killed) => converted.report.run = Ended::Interrupted,
            _ => {}
        }
        let finished = match ended.how {
            How::Killed => logs.last(&own).unwrap_or(session.started),
            How::Itself(_) | How::Stopped => Timestamp::now(),
        };
        let run = Run {
            schema: 1,
            id: &session.id,
            project: &session.project,
            home: session.home.as_deref(),
            started_at: time(session.started),
            finished_at: time(finished),
            exit_code: ended.code,
            wire: (ended.answers.requests > 0).then(|| compare(ended.answers, &converted)),
            beside: own.beside.clone(),
            conversations: own.conversations(&converted),
            shared: own.shared.clone(),
            record,
            converted,
        };
        let text = serde_json::to_vec_pretty(&run).map_err(io::Error::from)?;
        write_atomic(&place.join(FILE), &text, 0o600)?;
        Ok(Some(place.clone()))
    };
    let kept = kept();
    if kept.is_err() {
        // What is half there is not taken for a run: it has no file that says what it was.
        drop(fs_err::remove_dir_all(&place));
    }
    clear(state, &session.project);
    Kept { run: kept.transpose(), own: own.files, others: own.others }
}

/// Returns for how long a session has written nothing; `None` where it has not written at all.
pub fn quiet_for(session: &Session) -> Option<Duration> {
    let last = Logs::of(session)?.last_of_all()?;
    Some(Timestamp::now().duration_since(last).try_into().unwrap_or_default())
}

/// Compares what the gateway has seen with what the log says.
fn compare(answers: Answers, converted: &Converted) -> Wire {
    let mut differences = Vec::new();
    let Some(summary) = &converted.summary else { return Wire { answers, differences } };
    let mut note = |what: &str, seen: u64, logged: Option<u64>| {
        if logged != Some(seen) {
            let logged = logged.map_or("says nothing".to_owned(), |logged| format!("has {logged}"));
            differences.push(format!("{what}: the gateway has seen {seen}, the log {logged}"));
        }
    };
    note("answers of models", answers.answered, Some(summary.calls));
    // What was not read cannot be compared.
    if answers.unread == 0 {
        note("tokens read", answers.prompt_tokens, summary.prompt_tokens);
        note("tokens written", answers.completion_tokens, summary.completion_tokens);
    }
    Wire { answers, differences }
}

/// Why a trajectory was not kept.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Convert(#[from] trajectory::Error),
    #[error("{0}")]
    Unread(#[from] Unread),
}

impl Failed {
    /// Says whether it was no fault of the logs: where pier keeps runs, there is no place.
    pub fn is_ours(&self) -> bool {
        matches!(self, Failed::Io(_) | Failed::Convert(trajectory::Error::Write { .. }))
    }
}

/// Logs of which nothing could be read.
#[derive(Debug, thiserror::Error)]
#[error("`~/{file}`: {text}{}", more(*.others))]
pub struct Unread {
    file: String,
    text: String,
    /// How much else there is to be said.
    others: usize,
}

impl Unread {
    /// Returns nothing where an agent has only said nothing.
    fn of(report: &Report) -> Option<Self> {
        let mut reasons =
            report.reasons.iter().filter_map(|reason| Some((reason.file.clone()?, &reason.text)));
        let (file, text) = reasons.next()?;
        Some(Unread { file, text: text.clone(), others: reasons.count() })
    }
}

fn more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" (and {others} more)") }
}

/// Returns the run whose logs a workspace has in this directory of its records.
pub fn recorded(state: &Utf8Path, workspace: &Utf8Path, record: &str) -> Option<Value> {
    let mut runs = list(state, workspace).into_iter().rev().filter_map(|run| read(&run));
    runs.find(|run| run["record"] == record)
}

/// Returns the runs of a project, the newest last.
pub fn list(state: &Utf8Path, project: &Utf8Path) -> Vec<Utf8PathBuf> {
    below(&directory(state, project))
}

/// Returns those of all projects, the newest last.
pub fn everywhere(state: &Utf8Path) -> Vec<Utf8PathBuf> {
    let Ok(projects) = state.join("runs").read_dir_utf8() else { return Vec::new() };
    let mut runs: Vec<Utf8PathBuf> =
        projects.filter_map(Result::ok).flat_map(|project| below(project.path())).collect();
    runs.sort_unstable_by(|one, other| one.file_name().cmp(&other.file_name()));
    runs
}

/// Returns the name of the session of a run.
pub fn session(run: &Utf8Path) -> Option<&str> {
    run.file_name()?.rsplit('-').next()
}

/// Returns what the file of a run says, with where its trajectory is.
pub fn read(run: &Utf8Path) -> Option<Value> {
    let text = read_without_links(&run.join(FILE), MOST_BYTES).ok()?;
    let mut value: Value = serde_json::from_slice(&text).ok()?;
    *value.as_object_mut()?.get_mut("trajectory")? = run.join(NAME).as_str().into();
    Some(value)
}

fn below(directory: &Utf8Path) -> Vec<Utf8PathBuf> {
    let Ok(entries) = directory.read_dir_utf8() else { return Vec::new() };
    let runs = entries.filter_map(Result::ok).map(camino::Utf8DirEntry::into_path);
    let mut runs: Vec<Utf8PathBuf> = runs.filter(|run| run.join(NAME).is_file()).collect();
    runs.sort_unstable();
    runs
}

/// Removes the oldest where there are too many.
fn clear(state: &Utf8Path, project: &Utf8Path) {
    let all = list(state, project);
    for old in all.iter().take(all.len().saturating_sub(MOST)) {
        if let Err(error) = fs_err::remove_dir_all(old) {
            tracing::debug!(%error, "an old run is not removed");
        }
    }
}
