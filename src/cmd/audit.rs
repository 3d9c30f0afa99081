//! `pier audit`: the records of sessions, listed, shown, and proven to be whole.

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::{Global, Outcome, owner};
use crate::audit::read::{self, Chain, Entry};
use crate::audit::{Event, Finding, How};
use crate::diag::{Exit, Failure};
use crate::session::place;
use crate::ui;
use crate::util::text::escape;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier audit list\n  pier audit show            the newest session\n  \
    pier audit show k3 --json\n  pier audit verify ./copy.jsonl")]
pub struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the sessions that were recorded, the newest last.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what happened in a session.
    Show {
        /// The session, by the beginning of its name, or a file; the newest session otherwise.
        session: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prove that no line of a session's record was changed, removed or put in.
    Verify {
        /// The session, by the beginning of its name, or a file; the newest session otherwise.
        session: Option<String>,
    },
}

pub fn run(global: &Global, args: &Audit) -> Outcome {
    let state = owner::of_sessions(global)?.state;
    match &args.action {
        Action::List { json } => list(&state, *json),
        Action::Show { session, json } => show(&state, session.as_deref(), *json),
        Action::Verify { session } => verify(&state, session.as_deref()),
    }
}

/// A chain, and what its missing end means.
pub struct Found {
    path: Utf8PathBuf,
    pub chain: Chain,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ended,
    /// It is running.
    Unfinished,
    /// Nothing of it runs, and nothing says how it ended.
    NoLastLine,
}

fn look(state: &Utf8Path, path: Utf8PathBuf) -> Result<Found, Failure> {
    // Asked first: a session that ends in between has written its last line by the time it is read.
    let name = path.file_stem().and_then(|stem| stem.rsplit('-').next()).unwrap_or_default();
    let lives = place::lives(state, name);
    let chain = Chain::follow(&read::load(&path)?);
    let state = match chain.end() {
        Some(_) => State::Ended,
        None if lives => State::Unfinished,
        None => State::NoLastLine,
    };
    Ok(Found { path, chain, state })
}

/// Finds the record by the beginning of a session's name or by its path; the newest one without a name.
pub fn find(state: &Utf8Path, wanted: Option<&str>) -> Result<Found, Failure> {
    if let Some(path) = wanted.map(Utf8Path::new).filter(|path| path.as_str().contains(['/', '.'])) {
        return look(state, path.to_owned());
    }
    let entries = read::list(state)?;
    let Some(wanted) = wanted else {
        let newest = entries
            .last()
            .ok_or_else(|| Failure::new(Exit::Failed, "session::none", "no session has been recorded yet"))?;
        return look(state, newest.path.clone());
    };
    let found: Vec<&Entry> = entries.iter().filter(|entry| entry.session.starts_with(wanted)).collect();
    let names = found.iter().map(|entry| entry.session.as_str());
    look(state, found[super::sessions::only(wanted, names)?].path.clone())
}

/// Finds the record of the newest session of one project.
pub fn newest_of(state: &Utf8Path, root: &Utf8Path) -> Result<Found, Failure> {
    for entry in read::list(state)?.into_iter().rev() {
        let found = look(state, entry.path)?;
        if found.project() == Some(root) {
            return Ok(found);
        }
    }
    let message = format!("no session of the project `{}` has been recorded", escape(root.as_str()));
    Err(Failure::new(Exit::Failed, "session::none", message)
        .help("`pier audit list` lists those of every project; name one of them"))
}

impl Found {
    fn project(&self) -> Option<&Utf8Path> {
        match &self.chain.lines.first()?.event {
            Event::Start { project, .. } => Some(project),
            _ => None,
        }
    }

    /// Returns which session it is, for people.
    pub fn title(&self) -> String {
        let session = escape(self.chain.session().unwrap_or_default());
        let started = self.chain.started().map(|time| format!(", started {}", short(time)));
        let project = self.project().map(|project| format!(", in {}", escape(project.as_str())));
        format!("session {session}{}{}", started.unwrap_or_default(), project.unwrap_or_default())
    }
}

fn verify(state: &Utf8Path, wanted: Option<&str>) -> Outcome {
    let found = find(state, wanted)?;
    require_whole(&found)?;
    let lines = found.chain.lines.len();
    let session = found.chain.session().unwrap_or_default();
    let end = match found.chain.end() {
        Some((how, code, _)) => format!("{}, exit code {code}", words(how)),
        None => "unfinished: it is still running".to_owned(),
    };
    ui::answer(&format!("session {}: {lines} lines, nothing changed; {end}", escape(session)));
    Ok(Exit::Done)
}

/// Refuses a record that is not what a session wrote.
pub fn require_whole(found: &Found) -> Result<(), Failure> {
    let path = escape(found.path.as_str());
    let broken = |what: String| Failure::new(Exit::Failed, "audit::broken", format!("`{path}`: {what}"));
    if let Some(fault) = found.chain.fault {
        return Err(broken(fault.to_string()));
    }
    if found.state == State::NoLastLine {
        return Err(broken("the session ended without a last line".into()).help(
            "pier or the machine was killed, or the end of the file was removed; nothing tells which",
        ));
    }
    Ok(())
}

fn show(state: &Utf8Path, wanted: Option<&str>, json: bool) -> Outcome {
    let found = find(state, wanted)?;
    if json {
        ui::json(&found.chain.lines);
    } else {
        for line in &found.chain.lines {
            let time = short(line.time);
            for (index, text) in describe(&line.event).iter().enumerate() {
                let start = if index == 0 { time.clone() } else { " ".repeat(time.len()) };
                ui::answer(&format!("{start}  {}", escape(text)));
            }
        }
    }
    require_whole(&found)?;
    Ok(Exit::Done)
}

/// Returns a time to the second.
pub fn short(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn words(how: How) -> &'static str {
    match how {
        How::Ended => "the command ended",
        How::TimeLimit => "the wall clock ran out",
        How::Stopped => "it was stopped",
        How::Lost => "the sandbox was killed from outside",
        How::Refused => "the command did not start",
    }
}

/// Returns an event as lines.
fn describe(event: &Event) -> Vec<String> {
    match event {
        Event::Start { project, plan, agent, command, arguments } => {
            let what = agent.as_deref().unwrap_or(command);
            vec![format!("start  {what}, {arguments} more words, in {project}"), format!("  plan {plan}")]
        }
        Event::Walls { walls } => vec![format!("walls  {}", walls.join(", "))],
        Event::Approval { digest, grants } => {
            let first = format!("approved  {digest}");
            [first].into_iter().chain(grants.iter().map(|grant| format!("  {grant}"))).collect()
        }
        Event::Connection(one) => {
            let crate::audit::Connection { name, dialled, port, allowed, up, down, rule, reason, .. } = one;
            let verdict = match (allowed, one.open) {
                (true, true) => "open",
                (true, false) => "connected",
                (false, _) => "refused",
            };
            let times = if one.times > 0 { format!(", {} more times", one.times) } else { String::new() };
            let name = name.clone().unwrap_or_else(|| dialled.to_string());
            let why = reason.as_ref().or(rule.as_ref()).map(|why| format!("  {why}"));
            let first = format!("{verdict}  {name}:{port}, {up} bytes up, {down} down{times}");
            [first].into_iter().chain(why).collect()
        }
        Event::Denial { what } => vec![format!("denied  {what}")],
        Event::Gate { findings, omitted } => {
            let first = format!("gate  {} findings", findings.len() + omitted);
            let line = |Finding { path, kind, what }: &Finding| format!("  {kind}  {path}  {what}");
            [first].into_iter().chain(findings.iter().map(line)).collect()
        }
        Event::GitImport { references, omitted, result } => {
            let first = format!("git  {result}, {} references", references.len() + omitted);
            [first].into_iter().chain(references.iter().map(|name| format!("  {name}"))).collect()
        }
        Event::Limit { what } => vec![format!("limit  {what}")],
        Event::Signal { signal, from } => vec![format!("signal  {signal}, by {from}")],
        Event::End { how, code, seconds } => {
            vec![format!("end  {}, exit code {code}, after {seconds:.3} s", words(*how))]
        }
    }
}

#[derive(Serialize)]
struct Listed {
    session: String,
    started: Option<Timestamp>,
    project: Option<Utf8PathBuf>,
    command: Option<String>,
    state: State,
    code: Option<u8>,
    path: Utf8PathBuf,
}

fn list(state: &Utf8Path, json: bool) -> Outcome {
    let mut listed = Vec::new();
    for entry in read::list(state)? {
        let found = look(state, entry.path)?;
        let start = found.chain.lines.first().map(|line| line.event.clone());
        let (project, command) = match start {
            Some(Event::Start { project, agent, command, .. }) => (Some(project), agent.or(Some(command))),
            _ => (None, None),
        };
        listed.push(Listed {
            session: entry.session,
            started: found.chain.started(),
            project,
            command,
            state: found.state,
            code: found.chain.end().map(|(_, code, _)| code),
            path: found.path,
        });
    }
    if json {
        ui::json(&listed);
        return Ok(Exit::Done);
    }
    let rows = listed.into_iter().map(|one| {
        let end = match (one.state, one.code) {
            (State::Ended, Some(code)) => code.to_string(),
            (State::Unfinished, _) => "running".to_owned(),
            _ => "unknown".to_owned(),
        };
        let command = one.command.unwrap_or_default();
        let project = one.project.map(Utf8PathBuf::into_string).unwrap_or_default();
        [one.session, one.started.map(short).unwrap_or_default(), end, command, project]
    });
    ui::write_out(&super::sessions::table(["session", "started", "exit", "command", "project"], rows));
    Ok(Exit::Done)
}
