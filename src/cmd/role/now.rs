//! `pier role status` and `pier role logs`: what a loop does, from elsewhere.

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::status::{Shown, price};
use crate::cmd::coord::context;
use crate::cmd::{Global, Outcome};
use crate::diag::{Exit, Failure};
use crate::ui;
use crate::util::fs::{place_name, read_bounded};
use crate::util::text::{escape, escape_lines, print_duration};

/// The most that is shown of one log, in bytes.
const MOST: u64 = 64 << 20;

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  pier role status\n  watch pier role status\n  pier role status --json | jq '.workers[].item'"
)]
pub struct Status {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  pier role logs                    the sessions, the newest last\n  pier role logs ID                 what the newest session on an item has said\n  pier role logs ID --errors        what was said beside it"
)]
pub struct Logs {
    /// A part of a session's name, such as an item; of several the newest counts.
    session: Option<String>,
    /// What went to standard error.
    #[arg(long, requires = "session")]
    errors: bool,
    /// The list as JSON.
    #[arg(long, conflicts_with = "session")]
    json: bool,
}

/// Returns where the loops of the project keep what they keep.
pub fn place(global: &Global) -> Result<Utf8PathBuf, Failure> {
    let (environment, _, project) = context::caller(global)?;
    Ok(of_project(&environment.state, &project))
}

/// The same, where the project is known.
pub fn of_project(state: &Utf8Path, project: &Utf8Path) -> Utf8PathBuf {
    state.join("loops").join(place_name(project))
}

pub fn status(global: &Global, args: &Status) -> Outcome {
    let shown = Shown::read(&place(global)?);
    let alive = shown.as_ref().is_some_and(Shown::is_alive);
    if args.json {
        let mut answer = serde_json::to_value(&shown).unwrap_or_default();
        if answer.is_object() {
            answer["running"] = alive.into();
        }
        ui::json(&answer);
        return Ok(Exit::Done);
    }
    let Some(shown) = shown else {
        ui::say("no loop has worked in this project");
        return Ok(Exit::Done);
    };
    let state = match (&shown.end, alive) {
        (_, true) => format!("working, process {}", shown.process),
        (Some(end), _) => format!("ended: {}", escape(end)),
        (None, false) => "killed: claims end by themselves, and the next loop goes on with them".to_owned(),
    };
    ui::answer(&state);
    let time = print_duration(std::time::Duration::from_secs(shown.seconds));
    let cost =
        if shown.sessions > 0 { format!(", {}", price(shown.cost, shown.untold)) } else { String::new() };
    ui::answer(&format!("{} closed, {} sessions, {time}{cost}", shown.closed, shown.sessions));
    for left in shown.left.iter().filter(|_| !alive) {
        ui::answer(&format!("left: {}", escape(left)));
    }
    for worker in shown.workers.iter().filter(|_| alive) {
        let since = Timestamp::now().duration_since(worker.since).unsigned_abs();
        let since = print_duration(std::time::Duration::from_secs(since.as_secs()));
        ui::answer(&format!(
            "worker {}: {} {} since {since}",
            worker.number,
            escape(&worker.role),
            escape(&worker.item)
        ));
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Log {
    name: String,
    path: Utf8PathBuf,
    bytes: u64,
}

pub fn logs(global: &Global, args: &Logs) -> Outcome {
    let directory = place(global)?.join("logs");
    let mut all: Vec<Log> = Vec::new();
    for entry in directory.read_dir_utf8().into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().strip_suffix(".jsonl") {
            let bytes = entry.metadata().map(|meta| meta.len()).unwrap_or_default();
            all.push(Log { name: name.to_owned(), path: entry.path().to_owned(), bytes });
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    let Some(wanted) = &args.session else {
        if args.json {
            ui::json(&all);
        } else if all.is_empty() {
            ui::say("no session of a loop has written one");
        }
        for log in all.iter().filter(|_| !args.json) {
            ui::answer(&escape(&log.name));
        }
        return Ok(Exit::Done);
    };
    let found = all.iter().rfind(|log| log.name.contains(wanted.as_str())).ok_or_else(|| {
        super::desk::usage(format!("no log of a loop has `{}` in its name", escape(wanted)))
            .help("`pier role logs` lists them")
    })?;
    let path = if args.errors { found.path.with_extension("err") } else { found.path.clone() };
    let text = read_bounded(&path, MOST).map_err(|error| {
        super::desk::failed(format!("cannot read `{path}`: {error}")).help("it may be too long to be shown")
    })?;
    ui::write_out(&escape_lines(&String::from_utf8_lossy(&text)));
    Ok(Exit::Done)
}
