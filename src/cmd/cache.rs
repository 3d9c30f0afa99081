//! `pier cache`: what pier keeps of work that it did once.

use std::time::Duration;

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::sessions::{self, table};
use super::{Global, Outcome, image, owner};
use crate::backend::cache::{self, Item, Running, Users};
use crate::backend::docker::{self, engine::Connected};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::ui;
use crate::util::fs::sha256;
use crate::util::text::parse_duration;
use crate::workspace::index;

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
    /// List agents, Nix shells, tasks and images that pier made or fetched, with their sizes.
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
    let tasks = held.as_ref().map(|_| tasks(&environment)).transpose()?.flatten();
    let users = Users { running: running(&environment)?, tasks };
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
    let place = |project: &str| plans.join(format!("{}.json", &sha256(project.as_bytes())[..16]));
    let live = sessions::live(&environment.state)?;
    Ok(Running::read(live.iter().map(|session| (place(session.project.as_str()), session.started))))
}

/// Returns the tasks of all workspaces; `None` where one of those cannot be read.
fn tasks(environment: &Environment) -> Result<Option<Vec<Utf8PathBuf>>, Failure> {
    let all = index::list(&environment.home)?;
    Ok(all.into_iter().map(|found| Some(found.ok()?.session.task_dir)).collect())
}

fn prune(args: &Prune, found: Vec<Item>, engine: Option<&Connected>) -> Outcome {
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
