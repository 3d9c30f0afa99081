//! `pier cache`: what pier keeps of work that it did once.

use std::io;
use std::time::Duration;

use camino::{Utf8DirEntry, Utf8Path};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::sessions::{self, table};
use super::workspaces::stranded;
use super::{Global, Outcome, image, owner};
use crate::backend::cache::{self, Agents, Item, Running, Users};
use crate::backend::docker::{self, engine::Connected, still};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::plan::image::LINKS_NAME;
use crate::ui;
use crate::util::fs::place_name;
use crate::util::text::{escape, parse_duration};
use crate::workspace::{self, Workspace, index};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier cache list\n  pier cache prune --dry-run\n  pier cache prune --keep 24h"
)]
pub struct Cache {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List agents, Nix shells, tasks, packages of roles, images that pier made or fetched, and the program as workspaces have it, with their sizes.
    #[command(after_help = "Examples:\n  pier cache list\n  pier cache list --json")]
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove what no running session and no workspace uses and was not used for some time; the next start makes it again.
    #[command(after_help = "Examples:\n  pier cache prune --dry-run\n  pier cache prune --keep 24h")]
    Prune(Prune),
}

#[derive(Debug, Args)]
struct Prune {
    /// Keep what was used, or made, within this time.
    #[arg(long, value_name = "TIME", default_value = "168h", value_parser = parse_duration)]
    keep: Duration,
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(global: &Global, args: &Cache) -> Outcome {
    let environment = owner::of_sessions(global)?;
    let engine = engine(&environment)?;
    // Before the workspaces are read: each one whose task is here is among them by then.
    let held = cache::hold_tasks(&environment.cache).unwrap_or_else(|error| {
        tracing::debug!(%error, "tasks count as in use");
        None
    });
    if matches!(&args.what, What::Prune(Prune { dry_run: false, .. })) {
        stranded::forget_programs(&environment);
    }
    let workspaces = workspaces(&environment)?;
    let tasks = workspaces.as_deref().filter(|_| held.is_some());
    let tasks = tasks.map(|all| all.iter().map(|workspace| workspace.session.task_dir.clone()).collect());
    let agents = workspaces.and_then(|all| agents(&environment, &all));
    let users = Users { running: running(&environment)?, tasks, agents };
    let found = cache::list(&environment.cache, &environment.state, engine.as_ref(), &users)?;
    match &args.what {
        What::List { json: true } => ui::json(&found),
        What::List { json: false } if found.is_empty() => ui::say("nothing is kept"),
        What::List { json: false } => print(&found),
        What::Prune(args) => return prune(args, found, engine.as_ref()),
    }
    Ok(Exit::Done)
}

/// Returns the engine; `None` on a host without one.
fn engine(environment: &Environment) -> Result<Option<Connected>, Failure> {
    match image::engine(environment)?.connect() {
        Ok(engine) => Ok(Some(engine)),
        Err(docker::Error::Unreachable { address, said }) => {
            tracing::debug!(address, said, "images are left out");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns what running sessions use.
fn running(environment: &Environment) -> Result<Running, Failure> {
    let plans = environment.state.join("plans");
    let place = |project: &str| plans.join(format!("{}.json", place_name(project.into())));
    let live = sessions::live(&environment.state)?;
    Ok(Running::read(live.iter().map(|session| (place(session.project.as_str()), session.started))))
}

/// Returns all workspaces; `None` where one of them cannot be read.
fn workspaces(environment: &Environment) -> Result<Option<Vec<Workspace>>, Failure> {
    Ok(index::list(&environment.home, &mut super::workspaces::tell_damaged)?
        .into_iter()
        .map(Result::ok)
        .collect())
}

/// Returns the agents of workspaces; `None` where what is kept of one cannot be read.
fn agents(environment: &Environment, all: &[Workspace]) -> Option<Agents> {
    let mut agents = Agents::default();
    for Workspace { root, .. } in all {
        let is_there = |path: &Utf8Path| path.symlink_metadata().is_ok();
        let directory = workspace::private(&environment.state, root);
        match super::workspaces::remembered(environment, root) {
            Some(kept) => agents.names.extend(kept.agents),
            // Of one that this pier has not started, nothing of this host is mounted.
            None if !is_there(&directory.join(super::workspaces::FILE)) => continue,
            None => return None,
        }
        // One that was added while the workspace ran is there alone, and so is Node.
        let links = directory.join(LINKS_NAME);
        match links.read_dir_utf8() {
            Ok(entries) => {
                let link = |entry: io::Result<Utf8DirEntry>| entry.ok()?.path().read_link_utf8().ok();
                agents.links.extend(entries.filter_map(link));
            }
            Err(_) if !is_there(&links) => {}
            Err(_) => return None,
        }
    }
    Some(agents)
}

fn prune(args: &Prune, found: Vec<Item>, engine: Option<&Connected>) -> Outcome {
    if let (Some(engine), false) = (engine, args.dry_run) {
        let left = still::clear(engine)?;
        if !left.is_empty() {
            ui::say(&format!("removed containers that killed calls had left: {}", escape(&left.join(", "))));
        }
    }
    let now = Timestamp::now();
    let old = |item: &Item| now.duration_since(item.used).unsigned_abs() > args.keep && item.used < now;
    let mut gone = Vec::new();
    let mut failed: Option<Failure> = None;
    for item in found.into_iter().filter(|item| !item.in_use && old(item)) {
        let removed = if args.dry_run { Ok(true) } else { cache::remove(&item, engine) };
        match removed {
            Ok(true) => gone.push(item),
            Ok(false) => {}
            Err(error) => match &mut failed {
                None => failed = Some(error.into()),
                Some(failed) => failed.report.problems.extend(Failure::from(error).report.problems),
            },
        }
    }
    let bytes: u64 = gone.iter().map(|item| item.bytes).sum();
    if args.json {
        ui::json(&serde_json::json!({ "dry_run": args.dry_run, "bytes": bytes, "removed": gone }));
    } else if gone.is_empty() {
        ui::say("nothing to remove");
    } else {
        print(&gone);
        let what = if args.dry_run { "would be removed" } else { "removed" };
        ui::say(&format!("{what}: {}", size(bytes)));
    }
    failed.map_or(Ok(Exit::Done), Err)
}

fn print(items: &[Item]) {
    let rows = items.iter().map(|item| {
        let used = item.used.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let state = if item.in_use { "in use" } else { "" };
        [item.kind.word().to_owned(), size(item.bytes), used, state.to_owned(), item.name.clone()]
    });
    ui::write_out(&table(["kind", "size", "used", "state", "name"], rows));
}

/// Prints bytes for a person.
fn size(bytes: u64) -> String {
    match bytes {
        0..=1023 => format!("{bytes} B"),
        1024..=1_048_575 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
