//! `pier net`: what sessions have tried to reach, and the lines that would have allowed it.

use std::collections::{BTreeSet, HashMap};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::owner::{self, RootOwned};
use super::{Global, Outcome, audit, project};
use crate::audit::{Connection, Event};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::session::keeper;
use crate::ui;
use crate::util::text::{escape, print_bytes};
use crate::workspace;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier net log                 the newest session of this project\n  pier net log k3 --json | jq '.[] | select(.allowed | not)'\n  \
    pier net suggest             lines for `pier.kdl`"
)]
pub struct Net {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the connections of a session.
    Log(Which),
    /// Print the `allow` lines that a session would have needed.
    Suggest(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// The session, by the beginning of its name, or a file; the newest session of this project otherwise.
    session: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// A connection and when it was written down.
#[derive(Serialize)]
struct Logged {
    time: Timestamp,
    #[serde(flatten)]
    connection: Connection,
}

pub fn run(global: &Global, args: &Net) -> Outcome {
    let (Action::Log(which) | Action::Suggest(which)) = &args.action;
    let found = if let Some(wanted) = &which.session {
        audit::find(&owner::of_sessions(global)?.state, Some(wanted))?
    } else {
        of_here(global)?
    };
    // On standard error: what is on standard output is pasted.
    if !which.json {
        ui::say(&found.title());
    }
    let connections = found.chain.lines.iter().filter_map(|line| match &line.event {
        Event::Connection(connection) => Some(Logged { time: line.time, connection: connection.clone() }),
        _ => None,
    });
    match args.action {
        Action::Log(_) => log(once(connections), which.json),
        Action::Suggest(_) => suggest(connections, which.json),
    }
    audit::require_whole(&found)?;
    Ok(Exit::Done)
}

/// Returns the newest session of the project around here; in a workspace with a gateway, what that has recorded.
fn of_here(global: &Global) -> Result<audit::Found, Failure> {
    let cwd = project::current_directory()?;
    if let Some(workspace) = workspace::around(&cwd)? {
        let environment =
            owner::settle(Environment::of_process()?, global, &workspace.root, RootOwned::Stay)?;
        let directory = workspace::private(&environment.state, &workspace.root);
        if let Some(session) = keeper::session(&directory) {
            return audit::find(&environment.state, Some(session.as_str()));
        }
    }
    let project = project::load(global, RootOwned::Stay)?;
    audit::newest_of(&project.environment.state, &project.root)
}

/// Leaves out that a connection was open where its end is recorded as well.
fn once(connections: impl Iterator<Item = Logged>) -> Vec<Logged> {
    let mut kept: Vec<Option<Logged>> = Vec::new();
    let mut open: HashMap<u64, usize> = HashMap::new();
    for logged in connections {
        let Connection { number, open: is_open, .. } = logged.connection;
        if number != 0 {
            if let Some(before) = open.remove(&number) {
                kept[before] = None;
            }
            if is_open {
                open.insert(number, kept.len());
            }
        }
        kept.push(Some(logged));
    }
    kept.into_iter().flatten().collect()
}

fn log(connections: Vec<Logged>, json: bool) {
    if json {
        ui::json(&connections);
        return;
    }
    if connections.is_empty() {
        ui::say("the session has tried no connection");
        return;
    }
    let rows = connections.into_iter().map(|Logged { time, connection: one }| {
        let verdict = match (one.allowed, one.open) {
            (true, true) => "open",
            (true, false) => "allowed",
            (false, _) => "refused",
        };
        let times = if one.times > 0 { format!(" ({} more)", one.times) } else { String::new() };
        let host = one.name.unwrap_or_else(|| one.dialled.to_string());
        let secrets = one.secrets.iter().map(|name| format!("with {name}; "));
        let why = secrets.chain(one.reason.or(one.rule)).collect::<String>();
        let at = format!("{host}:{}{times}", one.port);
        [
            audit::short(time),
            verdict.to_owned(),
            escape(&at),
            print_bytes(one.up),
            print_bytes(one.down),
            escape(&why),
        ]
    });
    ui::write_out(&super::sessions::table(["time", "verdict", "host", "up", "down", "why"], rows));
}

fn suggest(connections: impl Iterator<Item = Logged>, json: bool) {
    let lines: BTreeSet<String> = connections.filter_map(|one| one.connection.fix).collect();
    if json {
        ui::json(&lines);
    } else if lines.is_empty() {
        ui::say("nothing was refused that a line would allow");
    } else {
        ui::answer("network allowlist {");
        for line in lines {
            ui::answer(&format!("    {}", escape(&line)));
        }
        ui::answer("}");
    }
}
