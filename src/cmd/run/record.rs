//! What an agent does in a workspace, kept for `pier capture` and `pier verify`: what it says, and its own logs.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use crate::agent::{self, Agent, detect, layout};
use crate::cmd::trials::EXEC;
use crate::cmd::trials::declared::Declared;
use crate::record::stamp;
use crate::session::attribution::Watch;
use crate::session::beneath::Beneath;
use crate::session::tape::Tape;
use crate::sys::process;
use crate::ui;
use crate::util::fs::hex;
use crate::util::sqlite::WAL;
use crate::util::text::escape;
use crate::workspace::RECORDS;

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
            let mut random = [0; 3];
            process::random(&mut random)?;
            let name = format!("{}-{}", stamp(Timestamp::now()), hex(&random));
            let place = Utf8Path::new(RECORDS).join(EXEC).join(name);
            let root = Beneath::open(root)?;
            let file = root.create(&place.join(format!("{agent}.txt")), 0o600)?;
            let custom = declared.find(agent);
            let known = || agent::find(agent).map(|known| known.logs()).unwrap_or_default();
            let patterns = custom.as_ref().map_or_else(known, Agent::logs);
            let watch = home.and_then(|home| Watch::start(home, &patterns));
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
