//! What `verify`, `capture` and `traces` share: which agent and which of its sessions a trial is about.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;

use super::verify::CLAUDE;
use super::workspaces::ended::is_gone;
use crate::agent::{self, Places};
use crate::backend::docker::copy;
use crate::backend::pack;
use crate::backend::protocol::Command;
use crate::config::ImportKind;
use crate::diag::{Exit, Failure};
use crate::plan::INIT;
use crate::record::is_name;
use crate::session::aside;
use crate::session::beneath::Beneath;
use crate::trial::assemble::{AGENT, ARTIFACTS, Draft};
use crate::ui;
use crate::util::fs::remove_tree;
use crate::util::left_out::LeftOut;
use crate::util::text::escape;
use crate::workspace::{Mode, RECORDS, Session, Workspace};

pub mod declared;
pub mod layout;
pub mod told;

use declared::Declared;

/// Where the sessions of agents are kept, below the live records.
pub const EXEC: &str = "agent/exec";

/// How long the part of a session's name is that says the second.
const SECOND: usize = "2026-01-02_03-04-05".len();

/// The most that is taken out of a container for one session, in bytes, and the longest that it takes.
const MOST_SESSION: u64 = 4 << 30;
const MOST_TIME: Duration = Duration::from_mins(10);

/// Where a trial takes what an agent did from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory of this host that a person names.
    Here(Utf8PathBuf),
    /// A session below the workspace: relative to it, and an agent can write there.
    Recorded { root: Utf8PathBuf, path: Utf8PathBuf },
    /// One of the container.
    Inside(String),
    /// Claude Code's own directory for this project, on this host.
    OfClaude(Utf8PathBuf),
}

/// The flags about sessions.
#[derive(Debug, Args)]
pub struct Asked {
    /// The agent whose work it is; the only one of the workspace, otherwise.
    #[arg(short, long, value_name = "NAME")]
    pub agent: Option<String>,
    /// The directory with the agent's session: in the container, or on this host without one.
    #[arg(long, value_name = "DIR")]
    pub session_dir: Option<Utf8PathBuf>,
    /// The session, as a directory in `.pier/_harbor/agent/exec` is called; the newest, otherwise.
    #[arg(long, value_name = "STAMP")]
    pub session: Option<String>,
}

pub fn usage(message: &str, help: &str) -> Failure {
    Failure::new(Exit::Usage, "trial::usage", message).help(help)
}

impl Asked {
    /// Checks what makes no sense whatever is there; `in_container` is `None` outside of a workspace.
    pub fn check(
        &self,
        registered: &[String],
        declared: &Declared,
        in_container: Option<bool>,
    ) -> Result<(), Failure> {
        let is_known = |name: &str| agent::is_known(name) || declared.has(name);
        if let Some(name) = self.agent.as_ref().filter(|name| !is_known(name)) {
            let message = format!("Unknown agent `{}`", escape(name));
            let help = "write a name of Harbor's, such as `claude-code`, or of an agent that you declare with a `run` line";
            return Err(usage(&message, help));
        }
        if self.session.is_some() && self.session_dir.is_some() {
            return Err(usage(
                "`--session` and `--session-dir` are mutually exclusive",
                "leave one of them out",
            ));
        }
        if self.session.is_some() && in_container != Some(true) {
            return Err(usage(
                "`--session` is for container mode only",
                "name the directory by `--session-dir`",
            ));
        }
        if let Some(session) =
            self.session.as_ref().filter(|session| !is_name(session) || session.contains(".."))
        {
            let message = format!("`{}` is no name of a session", escape(session));
            return Err(usage(&message, "it is that of a directory in `.pier/_harbor/agent/exec`"));
        }
        if self.session_dir.is_some() && self.agent.is_none() {
            let help = match registered {
                [_] => "say whose it is by `--agent NAME`, or leave it out: there is one agent here",
                _ => "say whose it is: `--agent NAME`",
            };
            return Err(usage("`--session-dir` needs `--agent`", help));
        }
        Ok(())
    }

    /// Returns the agent that is meant: the named one, or the only one.
    pub fn agent(&self, registered: &[String]) -> Result<Option<String>, Failure> {
        match (&self.agent, registered) {
            (Some(name), _) => Ok(Some(name.clone())),
            (None, []) => Ok(None),
            (None, [only]) => Ok(Some(only.clone())),
            (None, several) => {
                let message = format!("multiple agents are registered: {}", several.join(", "));
                Err(usage(&message, "say which one: `--agent NAME`"))
            }
        }
    }

    /// Returns where the session of an agent is; `None` where there is none to be found.
    pub fn source(&self, workspace: &Workspace, agent: Option<&str>) -> Result<Option<Source>, Failure> {
        let Workspace { root, session } = workspace;
        let in_container = session.mode == Mode::Container;
        if let Some(directory) = &self.session_dir {
            if in_container {
                return Ok(Some(Source::Inside(directory.to_string())));
            }
            return here(directory).map(Some);
        }
        if let Some(stamp) = &self.session {
            let path = Utf8Path::new(RECORDS).join(EXEC).join(stamp);
            if !is_directory(root, &path) {
                let message = format!("the session `{}` is not found", escape(stamp));
                return Err(usage(&message, "`ls .pier/_harbor/agent/exec` shows them"));
            }
            return Ok(Some(Source::Recorded { root: root.clone(), path }));
        }
        if in_container {
            return Ok(agent.and_then(|agent| recorded(root, agent)));
        }
        Ok(None)
    }
}

/// Returns a directory of this host that the caller names.
pub fn here(directory: &Utf8Path) -> Result<Source, Failure> {
    if !directory.is_dir() {
        let message = format!("`{}` is not a directory", escape(directory.as_str()));
        return Err(usage(&message, "`--session-dir` names the directory with the agent's own session"));
    }
    Ok(Source::Here(directory.to_owned()))
}

/// Says whether a directory is there, and no link leads to it.
fn is_directory(root: &Utf8Path, path: &Utf8Path) -> bool {
    Beneath::open(root).and_then(|root| root.existing(path)).is_ok()
}

/// Says whether another agent has said something in a session.
fn is_of_other(path: &Utf8Path, agent: &str) -> bool {
    let others = ["claude-code", "codex"].into_iter().filter(|other| *other != agent);
    others.into_iter().any(|other| is_plain(&path.join(format!("{other}.txt"))))
}

fn is_plain(path: &Utf8Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_file())
}

/// Returns the newest session of an agent that `pier exec` has recorded in a workspace.
pub fn recorded(root: &Utf8Path, agent: &str) -> Option<Source> {
    latest(root, agent).map(|path| Source::Recorded { root: root.to_owned(), path })
}

/// Returns the newest session of an agent, by its name; else what lies where Harbor puts it.
fn latest(root: &Utf8Path, agent: &str) -> Option<Utf8PathBuf> {
    let of_agent = |path: &Utf8Path| {
        let whole = &root.join(path);
        is_directory(root, path)
            && (is_plain(&whole.join(format!("{agent}.txt")))
                // Of two that call theirs the same, one may have said something.
                || matches!(agent, "claude-code" | "codex") && has_log(&whole.join("sessions")) && !is_of_other(whole, agent))
    };
    let place = Utf8Path::new(RECORDS).join(EXEC);
    let entries = root.join(&place).read_dir_utf8();
    let mut names: Vec<Utf8PathBuf> = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| place.join(entry.file_name()))
        .filter(|path| of_agent(path))
        .collect();
    // Names have the second, and those of one second the time at which they were made.
    names.sort_by_key(|path| {
        let second = path.file_name().and_then(|name| name.get(..SECOND)).unwrap_or_default().to_owned();
        (second, root.join(path).symlink_metadata().and_then(|meta| meta.modified()).ok(), path.clone())
    });
    // A call such as `--version` is in the records, too, and no session.
    let is_session = |path: &Utf8PathBuf| has_log(&root.join(path).join("sessions"));
    let chosen = names.iter().rposition(is_session).or(names.len().checked_sub(1));
    if let Some(path) = chosen.and_then(|index| names.get(index)) {
        let stamp = escape(path.file_name().unwrap_or_default());
        ui::say(&format!("the session is {stamp}; `--session` names another"));
        return Some(path.clone());
    }
    let whole = Utf8Path::new(RECORDS).join("agent");
    of_agent(&whole).then_some(whole)
}

/// The most entries that are looked at for a log.
const MOST_ENTRIES: usize = 10_000;

/// Says whether a log is below: an empty directory is nobody's session. Links are not followed.
fn has_log(directory: &Utf8Path) -> bool {
    let mut pending = vec![(directory.to_owned(), 0)];
    let mut left = MOST_ENTRIES;
    while let Some((directory, depth)) = pending.pop() {
        if !directory.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            continue;
        }
        for entry in directory.read_dir_utf8().into_iter().flatten().flatten() {
            let Some(less) = left.checked_sub(1) else { return false };
            left = less;
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < 8 {
                pending.push((entry.into_path(), depth + 1));
            } else if kind.is_file() && entry.path().extension() == Some("jsonl") {
                return true;
            }
        }
    }
    false
}

/// What a warning calls the logs of a session.
const LOGS: &str = "logs of the agent";

/// Says what of an agent's work is not in a trial: it counts without that.
pub fn tell(what: &str, left: &LeftOut) {
    if !left.is_nothing() {
        ui::warn(&format!("not all {what} are in the trial: {left}"));
    }
}

/// Copies a session of an agent into a trial; returns whether there is anything of it.
pub fn copy_session(
    (agent, source): (&str, &Source),
    draft: &Draft,
    inside: Option<aside::Place<'_>>,
) -> Result<bool, Failure> {
    let own = draft.path.join(AGENT);
    let failed = |source| crate::trial::Error::Io { path: own.clone(), source };
    match source {
        Source::Here(path) => {
            let real = path.canonicalize_utf8().map_err(failed)?;
            let place = layout::of_directory(agent, &real, &names(&real));
            tell(LOGS, &draft.copy(path, Utf8Path::new(AGENT).join(place).as_str())?);
            layout::rename(agent, &own).map_err(failed)?;
        }
        Source::Recorded { root, path } => tell(LOGS, &draft.copy_below(root, path, AGENT)?),
        Source::OfClaude(path) => {
            let slug = path.file_name().unwrap_or("project");
            tell(LOGS, &draft.copy(path, &format!("{AGENT}/sessions/projects/{slug}"))?);
        }
        Source::Inside(path) => {
            let Some(workspace) = inside else { return Ok(false) };
            let argv = [INIT, pack::WORD, path].map(str::to_owned).to_vec();
            let command = Command { argv, environment: Vec::new(), cwd: "/".to_owned() };
            let read = aside::read(workspace, &command, MOST_SESSION, MOST_TIME);
            let (code, mut archive) = read.map_err(|error| {
                if !is_gone(&error) {
                    return Failure::from(error);
                }
                let message = format!("`{}` is in the container, and the workspace is not running", escape(path));
                Failure::new(Exit::NotSetUp, "workspace::not-running", message).help(
                    "`pier start` starts it; what `pier exec` has kept is taken without `--session-dir`, also now",
                )
            })?;
            if code != Some(0) {
                let message = format!("`{}` of the container cannot be read", escape(path));
                return Err(usage(&message, "`--session-dir` names a directory of the container"));
            }
            tell(LOGS, &pack::left_out(&mut archive).map_err(failed)?);
            let unpacked = draft.path.join("session");
            std::fs::create_dir(&unpacked).map_err(failed)?;
            copy::unpack(archive, &unpacked, "").map_err(failed)?;
            let place = layout::of_directory(agent, Utf8Path::new(path), &names(&unpacked));
            // Without the links of the container.
            tell(LOGS, &draft.copy(&unpacked, Utf8Path::new(AGENT).join(place).as_str())?);
            remove_tree(&unpacked).map_err(failed)?;
            layout::rename(agent, &own).map_err(failed)?;
        }
    }
    Ok(!names(&own).is_empty())
}

fn names(directory: &Utf8Path) -> Vec<String> {
    let entries = directory.read_dir_utf8().into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_owned()).collect()
}

/// Returns where Claude Code keeps its sessions for a directory on this host; `None` where it has none.
pub fn of_claude(home: &Utf8Path, project: &Utf8Path) -> Option<Source> {
    let places = Places { host_cwd: project, inside_cwd: project };
    let known = agent::find(CLAUDE).ok()?.imports(ImportKind::Sessions, None, &places);
    let path = home.join(known.first()?.from.strip_prefix("~/")?);
    let is_log = |entry: std::io::Result<camino::Utf8DirEntry>| {
        entry.is_ok_and(|entry| entry.path().extension() == Some("jsonl"))
    };
    let has = path.read_dir_utf8().ok()?.any(is_log);
    has.then_some(Source::OfClaude(path))
}

/// The artifacts of a workspace become those of the trial, as far as they can be copied: an agent writes them, and what it found
/// out counts without them.
pub fn copy_artifacts(session: &Session, root: &Utf8Path, draft: &Draft) {
    if session.mode != Mode::Container {
        return;
    }
    let artifacts = Utf8Path::new(RECORDS).join(ARTIFACTS);
    match draft.copy_below(root, &artifacts, ARTIFACTS) {
        Ok(left) => tell(ARTIFACTS, &left),
        Err(error) => {
            let why =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            ui::warn(&format!("not all artifacts are in the trial: {}", escape(&why)));
        }
    }
}
