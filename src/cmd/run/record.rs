//! What an agent does in a workspace, kept for `pier capture` and `pier verify`: what it says, and its own logs.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use super::notice;
use crate::agent::{self, Agent, detect, layout};
use crate::cmd::trials::EXEC;
use crate::cmd::trials::declared::Declared;
use crate::record::stamp;
use crate::session::Notice;
use crate::session::asked::Asked;
use crate::session::attribution::{self, Watch};
use crate::session::beneath::Beneath;
use crate::session::registry::{self, Session};
use crate::session::runs::{self, End, Kept};
use crate::session::tape::Tape;
use crate::sys::process;
use crate::ui;
use crate::util::fs::hex;
use crate::util::sqlite::WAL;
use crate::util::text::escape;
use crate::workspace::RECORDS;

/// Returns where a run has its record, below the workspace.
fn new_place() -> io::Result<Utf8PathBuf> {
    let mut random = [0; 3];
    process::random(&mut random)?;
    let name = format!("{}-{}", stamp(Timestamp::now()), hex(&random));
    Ok(Utf8Path::new(RECORDS).join(EXEC).join(name))
}

fn watch(home: &Utf8Path, agent: &str, declared: &Declared) -> Option<Watch> {
    let custom = declared.find(agent);
    let known = || agent::find(agent).map(|known| known.logs()).unwrap_or_default();
    let patterns = custom.as_ref().map_or_else(known, Agent::logs);
    Watch::start(home, &patterns)
}

/// Agents that a command may start by itself, as a shell or a script does: that one ran is told by its logs.
#[derive(Default)]
pub struct Unnamed {
    root: Utf8PathBuf,
    home: Utf8PathBuf,
    /// Names, patterns of those that a file declares, and their logs.
    agents: Vec<(String, Vec<String>, Watch)>,
}

impl Unnamed {
    pub fn watch(root: &Utf8Path, home: Option<&Utf8Path>, declared: &Declared) -> Self {
        let Some(home) = home else { return Unnamed::default() };
        let known = agent::ALL.iter().filter(|known| known.converter().is_some()).map(|known| known.name());
        let names = declared.names().chain(known.filter(|name| !declared.has(name)));
        let agents = names
            .filter_map(|name| Some((name.to_owned(), declared.logs(name), watch(home, name, declared)?)));
        Unnamed { root: root.to_owned(), home: home.to_owned(), agents: agents.collect() }
    }

    /// Makes a record of each agent that has written something which is nobody else's.
    pub fn keep(&self, session: &Session, state: &Utf8Path, asked: &Asked, end: End) -> Kept {
        let mut all = Kept::default();
        for (agent, logs, watch) in &self.agents {
            let changed = watch.changed();
            // One that runs beside this writes as well: what it says is only read where there is something that may not be its own.
            let is_beside = |other: &Session| {
                other.id != session.id && other.agent.as_ref() == Some(agent) && other.home == session.home
            };
            let is_alone = || !registry::list(state).unwrap_or_default().iter().any(is_beside);
            if changed.is_empty()
                || !attribution::has_new(&self.home, &changed, session.started) && !is_alone()
            {
                continue;
            }
            let Ok(place) = new_place() else { break };
            let session = session.clone().guessed(agent, logs.clone());
            let slow = || notice(Notice::ReadsLogs);
            let kept = runs::keep(&session, state, end, asked, place.file_name(), &slow);
            if kept.own.is_empty() {
                continue;
            }
            if let Err(error) = self.record(agent, &place, &kept.own) {
                ui::warn(&format!("what {agent} did is not recorded: {}", escape(&error.to_string())));
            }
            if kept.run.is_some() {
                all.run = kept.run;
            }
        }
        all
    }

    /// Copies logs. What the agent said is in what the command said, and nothing tells it apart.
    fn record(&self, agent: &str, place: &Utf8Path, logs: &[Utf8PathBuf]) -> io::Result<()> {
        let root = Beneath::open(&self.root)?;
        root.create(&place.join(format!("{agent}.txt")), 0o600)?;
        attribution::copy(&self.home, agent, logs, &root, place)
    }
}

/// One run of an agent.
pub struct Recording {
    pub agent: String,
    /// The directory of the run, below the workspace.
    place: Utf8PathBuf,
    root: Beneath,
    watch: Option<Watch>,
}

impl Recording {
    /// Begins, where the command is one of an agent; `home` is the agent's, on this host.
    pub fn start(
        root: &Utf8Path,
        home: Option<&Utf8Path>,
        argv: &[String],
        declared: &Declared,
    ) -> Option<(Self, Tape)> {
        let agent = detect::detect(argv, &declared.words())?;
        let begun = || -> io::Result<(Self, Tape)> {
            let place = new_place()?;
            let root = Beneath::open(root)?;
            let file = root.create(&place.join(format!("{agent}.txt")), 0o600)?;
            let watch = home.and_then(|home| watch(home, agent, declared));
            let agent = agent.to_owned();
            Ok((Recording { agent, place, root, watch }, Tape::new(file)))
        };
        // An agent works without a record, too; that is said.
        match begun() {
            Ok(begun) => Some(begun),
            Err(error) => {
                ui::warn(&format!("what {agent} does is not recorded: {}", escape(&error.to_string())));
                None
            }
        }
    }

    /// Its directory, below the workspace.
    pub fn place(&self) -> &Utf8Path {
        &self.place
    }

    /// Puts the logs that the agent has written beside what it said, but for those of other sessions. They become a trajectory where
    /// they are pier's own copy, for an agent of a container can put links in their place here.
    pub fn finish(mut self, others: &[Utf8PathBuf]) {
        let Some(watch) = &mut self.watch else { return };
        let is_others = |path: &Utf8PathBuf| {
            let database = path.as_str().strip_suffix(WAL);
            others.contains(path)
                || database.is_some_and(|database| others.iter().any(|other| other == database))
        };
        for path in watch.changed().into_iter().filter(|path| !is_others(path)) {
            let name = self.place.join(layout::of_log(&self.agent, &path));
            if let Err(error) = watch.copy(&path, &self.root, &name) {
                tracing::debug!(%error, %path, "a log is not kept");
            }
        }
    }
}
