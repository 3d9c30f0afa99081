//! Which sessions run on this machine: one small file in the directory of each.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::place::{FILE, Id, Place, all, lives};
use super::{asked, pulse, runs};
use crate::plan::{Backend, Plan};
use crate::sys::{kernel, process};
use crate::util::fs::read_without_links;

const SCHEMA: u32 = 1;

/// The most that one file may hold, in bytes.
const MOST: u64 = 64 * 1024;

/// A session that runs, or is just ending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    schema: u32,
    pub id: String,
    /// The supervisor on the host. The number alone proves nothing; see [`Session::start_time`].
    pub pid: u32,
    /// When the supervisor was started, in clock ticks since the boot.
    pub start_time: u64,
    pub project: Utf8PathBuf,
    /// The first word of the command; the others may hold secrets.
    pub command: String,
    pub agent: Option<String>,
    /// Patterns of its logs, where a file declares it.
    #[serde(default)]
    pub logs: Vec<String>,
    /// The agent's, where it is pinned.
    #[serde(default)]
    pub version: Option<String>,
    pub started: Timestamp,
    /// The home inside, on the host.
    #[serde(default)]
    pub home: Option<Utf8PathBuf>,
    /// It has no sandbox: the home is the user's own, in which other programs write as well.
    #[serde(default)]
    pub open: bool,
    /// It has no terminal of a person's: it goes on without one.
    pub detached: bool,
    /// It has a terminal of its own to attach to.
    pub terminal: bool,
    /// Control groups that were made for it.
    pub groups: Vec<Utf8PathBuf>,
    /// The directory below the project in which a workspace keeps what its agent says.
    #[serde(default)]
    pub record: Option<Utf8PathBuf>,
    /// That the agent ran is known by its logs alone: what may be another session's is not taken for this one's.
    #[serde(skip)]
    pub guessed: bool,
    /// It was killed, and can have written nothing after that; what was is of whoever went on with it.
    #[serde(skip)]
    pub over: Option<Timestamp>,
}

impl Session {
    /// Describes a session of this process.
    pub fn of(plan: &Plan, place: &Place, detached: bool, terminal: bool, groups: Vec<Utf8PathBuf>) -> Self {
        let pid = std::process::id();
        Session {
            schema: SCHEMA,
            id: place.id.to_string(),
            pid,
            start_time: process::start_time(pid).unwrap_or_default(),
            project: plan.project.root.clone(),
            command: plan.command.argv.first().cloned().unwrap_or_default(),
            agent: plan.command.agent.as_ref().map(|agent| agent.name.clone()),
            logs: plan.command.agent.as_ref().map(|agent| agent.logs.clone()).unwrap_or_default(),
            version: plan.command.agent.as_ref().and_then(|agent| agent.version.clone()),
            // What its agent writes is told from what was there by the times of files.
            started: Timestamp::try_from(kernel::time_of_files()).unwrap_or_else(|_| Timestamp::now()),
            home: runs::home(plan, &place.path),
            open: plan.backend == Backend::None,
            detached,
            terminal,
            groups,
            record: None,
            guessed: false,
            over: None,
        }
    }

    /// Says where the home inside is on the host.
    #[must_use]
    pub fn with_home(mut self, home: Option<&Utf8Path>) -> Self {
        self.home = home.map(Utf8Path::to_owned);
        self
    }

    #[must_use]
    pub fn with_record(mut self, record: Option<&Utf8Path>) -> Self {
        self.record = record.map(Utf8Path::to_owned);
        self
    }

    /// Returns the same as a session of an agent that its command may have started, with the patterns of one that a file declares.
    #[must_use]
    pub fn guessed(mut self, agent: &str, logs: Vec<String>) -> Self {
        self.agent = Some(agent.to_owned());
        self.logs = logs;
        self.guessed = true;
        self
    }

    /// Returns the same as one that was killed.
    #[must_use]
    pub fn killed(mut self, state: &Utf8Path) -> Self {
        self.over = pulse::over(&all(state).join(&self.id));
        self
    }

    /// Writes the file of the session.
    pub fn store(&self, place: &Place) -> io::Result<()> {
        place.describe(&serde_json::to_vec(self)?)
    }

    /// The name that people know the command by.
    pub fn what(&self) -> &str {
        self.agent.as_deref().unwrap_or_else(|| self.command.rsplit('/').next().unwrap_or_default())
    }
}

/// Returns the sessions that live, the oldest first.
///
/// # Errors
/// When the directory of sessions cannot be read. A session that has not come up yet is not listed.
pub fn list(state: &Utf8Path) -> io::Result<Vec<Session>> {
    found(state, |session| lives(state, session))
}

/// Returns the sessions that live, and those that were killed before what their agent did was kept; the oldest first.
///
/// # Errors
/// Those of [`list`].
pub fn with_killed(state: &Utf8Path) -> io::Result<Vec<Session>> {
    let all = found(state, |session| asked::is_open(&all(state).join(session)) || lives(state, session))?;
    let told = |session: Session| if lives(state, &session.id) { session } else { session.killed(state) };
    Ok(all.into_iter().map(told).collect())
}

fn found(state: &Utf8Path, is_wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Session>> {
    let entries = match all(state).read_dir_utf8() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if Id::parse(entry.file_name()).is_some() && is_wanted(entry.file_name()) {
            found.extend(load(entry.path()));
        }
    }
    found.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
    Ok(found)
}

/// Reads the file of one session; `None` where there is none, or one of another version.
pub(super) fn load(directory: &Utf8Path) -> Option<Session> {
    let path = directory.canonicalize_utf8().ok()?.join(FILE);
    let session: Session = serde_json::from_slice(&read_without_links(&path, MOST).ok()?).ok()?;
    let own = directory.file_name() == Some(session.id.as_str());
    (session.schema == SCHEMA && own).then_some(session)
}
