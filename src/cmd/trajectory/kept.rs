//! What pier has kept of sessions by itself, and what a running one has done so far: found by the session's name or by where
//! one is.

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use serde_json::Value;

use super::read::{self, unnamed};
use super::unreadable;
use crate::atif::prices::Prices;
use crate::cmd::sessions::table;
use crate::cmd::{Outcome, project, sessions};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::session::asked::Asked;
use crate::session::registry::{self, Session};
use crate::session::runs;
use crate::session::runs::logs::Logs;
use crate::trajectory::{NAME, Out};
use crate::ui;
use crate::util::text::escape;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier trajectory list\n  pier trajectory list --all --json | jq '.[].cost_usd'"
)]
pub struct List {
    /// Those of all projects.
    #[arg(long)]
    all: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Trajectories, and the directories of those that were made only now.
pub struct Found {
    pub files: Vec<Utf8PathBuf>,
    /// Removed with this.
    made: Vec<Made>,
}

/// What a running session has done so far.
struct Made {
    directory: tempfile::TempDir,
    session: String,
}

impl Found {
    /// Returns what people call one of the files.
    pub fn name(&self, file: &Utf8Path) -> String {
        let made =
            self.made.iter().find(|made| file.starts_with(made.directory.path().to_string_lossy().as_ref()));
        made.map_or_else(|| file.to_string(), |made| format!("session {}", made.session))
    }
}

/// Returns the trajectories of several paths or sessions; there has to be one. Where none is named: those of this directory, else the
/// newest run of an agent here.
pub fn all(given: &[Utf8PathBuf]) -> Result<Found, Failure> {
    let mut found = Found { files: Vec::new(), made: Vec::new() };
    if given.is_empty() {
        let here = Utf8PathBuf::from(".");
        found.files = read::find(&here)?;
        if found.files.is_empty() {
            newest(&mut found)?;
        }
        return if found.files.is_empty() { Err(unnamed(&here)) } else { Ok(found) };
    }
    for path in given {
        if named(path, &mut found)? {
            continue;
        }
        found.files.extend(read::find(path)?);
    }
    if found.files.is_empty() { Err(unnamed(&given[0])) } else { Ok(found) }
}

/// The same for files alone: a directory is none.
pub fn files(given: &[Utf8PathBuf]) -> Result<Found, Failure> {
    let mut found = Found { files: Vec::new(), made: Vec::new() };
    for path in given {
        if !named(path, &mut found)? {
            found.files.push(path.clone());
        }
    }
    Ok(found)
}

/// The same for a look through many: where none is named and none is here, all runs of the project or workspace around.
pub fn many(given: &[Utf8PathBuf]) -> Result<Found, Failure> {
    if given.is_empty() && read::find(Utf8Path::new("."))?.is_empty() {
        let environment = Environment::of_process()?;
        sessions::gather(&environment);
        let files: Vec<Utf8PathBuf> = here(&environment)?.iter().map(|run| run.join(NAME)).collect();
        if !files.is_empty() {
            return Ok(Found { files, made: Vec::new() });
        }
    }
    all(given)
}

/// Returns the runs of the project or workspace around the current directory.
fn here(environment: &Environment) -> Result<Vec<Utf8PathBuf>, Failure> {
    let here = project::current_directory()?;
    let mut runs = here.ancestors().map(|root| runs::list(&environment.state, root));
    Ok(runs.find(|runs| !runs.is_empty()).unwrap_or_default())
}

/// Returns the one trajectory that a path or the name of a session stands for.
pub fn one(given: Option<&Utf8Path>) -> Result<Found, Failure> {
    let given: Vec<Utf8PathBuf> = given.map(Utf8Path::to_owned).into_iter().collect();
    let found = all(&given)?;
    if found.files.len() == 1 {
        return Ok(found);
    }
    let place = given.first().map_or(".", |path| path.as_str());
    let message = format!("there are {} trajectories in `{}`", found.files.len(), escape(place));
    Err(Failure::new(Exit::Usage, "trajectory::read", message).help("name one of them"))
}

/// Adds the trajectory of the session whose name begins so: as far as it is, where it still runs. False where there is none.
fn of_session(name: &str, found: &mut Found) -> Result<bool, Failure> {
    let environment = Environment::of_process()?;
    sessions::gather(&environment);
    let live = registry::list(&environment.state).unwrap_or_default();
    if let Some(session) = live.iter().find(|session| session.id.starts_with(name)) {
        return made(session, &environment.state, found).map(|()| true);
    }
    let runs = runs::everywhere(&environment.state);
    let run = runs.iter().find(|run| runs::session(run).is_some_and(|session| session.starts_with(name)));
    found.files.extend(run.map(|run| whole(run)));
    Ok(run.is_some())
}

/// Adds the trajectory of a session that is called so; false for a path.
fn named(path: &Utf8Path, found: &mut Found) -> Result<bool, Failure> {
    if path.symlink_metadata().is_ok() || !is_name(path.as_str()) {
        return Ok(false);
    }
    if of_session(path.as_str(), found)? {
        return Ok(true);
    }
    let message = format!("`{path}` is neither a file nor the name of a session");
    let help = "`pier trajectory list` shows the sessions that were kept, `pier ps` those that run";
    Err(Failure::new(Exit::Failed, "trajectory::read", message).help(help))
}

fn is_name(name: &str) -> bool {
    name.len() >= 3 && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Adds the newest run of an agent in the project or workspace around the current directory, one that still runs before all others.
fn newest(found: &mut Found) -> Result<(), Failure> {
    let environment = Environment::of_process()?;
    sessions::gather(&environment);
    let here = project::current_directory()?;
    let live = registry::list(&environment.state).unwrap_or_default();
    let own = |session: &&Session| here.starts_with(&session.project) && Logs::of(session).is_some();
    if let Some(session) = live.iter().rev().find(own)
        && made(session, &environment.state, found).is_ok()
    {
        return Ok(());
    }
    let newest = here.ancestors().find_map(|root| runs::list(&environment.state, root).pop());
    found.files.extend(newest.map(|run| whole(&run)));
    Ok(())
}

/// Returns the trajectory of a run that was kept; says where it may have more than that run.
fn whole(run: &Utf8Path) -> Utf8PathBuf {
    let told = runs::read(run).unwrap_or_default();
    let beside = told["beside"].as_array().into_iter().flatten().filter_map(Value::as_str);
    warn_of(&beside.collect::<Vec<_>>());
    run.join(NAME)
}

/// Says of which sessions a trajectory may have something.
pub fn warn_of(beside: &[&str]) {
    if !beside.is_empty() {
        let names = escape(&beside.join(", "));
        ui::warn(&format!(
            "other sessions had the same home meanwhile, and what they said may be in this: {names}"
        ));
    }
}

/// Makes the trajectory of a session that runs.
fn made(session: &Session, state: &Utf8Path, found: &mut Found) -> Result<(), Failure> {
    let nothing = || {
        let message = format!("session {} has no log of an agent that pier reads", session.id);
        Failure::new(Exit::Failed, "trajectory::read", message)
            .help("an agent writes its log once it has asked its model")
    };
    let logs = Logs::of(session).ok_or_else(nothing)?;
    let directory = tempfile::tempdir().map_err(|error| unreadable(Utf8Path::new("/tmp"), error))?;
    let place = Utf8Path::from_path(directory.path()).ok_or_else(nothing)?.join(NAME);
    let prices = Prices::embedded();
    let own = logs.own(session, state, &Asked::of_session(state, session), &prices);
    if own.files.is_empty() {
        return Err(nothing());
    }
    let progress = ui::Progress::default();
    let heard = |read, of| progress.bytes("logs read", read, of);
    let converted = logs.convert(&own, &prices, Out::File(&place), true, &heard);
    drop(progress);
    let converted = converted.map_err(|error| super::convert::failure(&error))?;
    if converted.trajectory.is_none() {
        return Err(nothing());
    }
    warn_of(&own.beside.iter().map(String::as_str).collect::<Vec<_>>());
    ui::say(&format!("session {} still runs: this is what it has done so far", session.id));
    found.files.push(place);
    found.made.push(Made { directory, session: session.id.clone() });
    Ok(())
}

/// `pier trajectory list`.
pub fn list(args: &List) -> Outcome {
    let environment = Environment::of_process()?;
    sessions::gather(&environment);
    let runs = if args.all { runs::everywhere(&environment.state) } else { here(&environment)? };
    let told: Vec<Value> = runs.iter().filter_map(|run| runs::read(run)).collect();
    if args.json {
        ui::json(&told);
        return Ok(Exit::Done);
    }
    if told.is_empty() {
        ui::say(
            "no run of an agent was kept here; `pier up` and `pier exec` keep them, and `--all` lists those of all projects",
        );
        return Ok(Exit::Done);
    }
    let text = |run: &Value, path: &str| run.pointer(path).and_then(Value::as_str).unwrap_or("-").to_owned();
    let number =
        |run: &Value, name: &str| run[name].as_u64().map_or("-".to_owned(), |number| number.to_string());
    let rows = told.iter().map(|run| {
        let cost = run["cost_usd"].as_f64().map_or("-".to_owned(), |cost| format!("{cost:.4}"));
        let place = if args.all { text(run, "/project") } else { text(run, "/model") };
        [
            text(run, "/id"),
            text(run, "/started_at"),
            text(run, "/agent"),
            text(run, "/run/outcome"),
            number(run, "steps"),
            cost,
            place,
        ]
    });
    let last = if args.all { "project" } else { "model" };
    ui::write_out(&table(["session", "started", "agent", "outcome", "steps", "cost $", last], rows));
    Ok(Exit::Done)
}
