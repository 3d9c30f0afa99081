//! What is said about the commits of a session, and what `diff`, `merge` and `drop` have in common.

use std::collections::BTreeMap;
use std::time::SystemTime;

use camino::Utf8Path;

use super::Global;
use super::owner::RootOwned;
use super::project::{self, Project};
use crate::backend::git::Git;
use crate::backend::probe::repository;
use crate::diag::{Exit, Failure};
use crate::plan::Merge;
use crate::plan::facts::Repository;
use crate::session::Finished;
use crate::session::place::{self, Id, Place};
use crate::session::shadow::import::{Imported, import, look};
use crate::session::shadow::settle::{self, How, Settled};
use crate::session::shadow::{self, Record, Shadow, references};
use crate::ui;
use crate::util::text::escape;

/// A session whose commits wait, found by a command.
pub struct Found {
    pub project: Project,
    pub git: Git,
    pub imported: Imported,
    /// Its directory and what is in it, where that was kept.
    pub kept: Option<(Place, Shadow)>,
}

/// A session whose commits wait: in `refs/pier`, in a directory of its own, or both.
struct Waiting {
    references: BTreeMap<String, String>,
    kept: bool,
    since: SystemTime,
}

/// Finds the session of this name or start of one; the newest where none is named.
pub fn find(global: &Global, wanted: Option<&str>) -> Result<Found, Failure> {
    let project = project::load(global, RootOwned::Stay)?;
    let state = &project.environment.state;
    let Some(repository) = repository::find(&project.root)?.filter(|repository| !repository.foreign) else {
        return Err(Failure::new(Exit::Usage, "git::session", "the project is no git repository"));
    };
    let mut waiting = waiting(&project, &repository)?;
    let id = choose(&waiting, wanted)?;
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, "git::session", format!("cannot open the session {id}: {error}"))
    };
    let git = Git::find(&project.environment.home)?;
    let unknown = || shadow::unknown(&project.root, &repository.directory, &repository.common);
    let record = shadow::imported(state, id.as_str()).map_err(failed)?.unwrap_or_else(unknown);
    let (references, kept) =
        waiting.remove(&id).map(|found| (found.references, found.kept)).unwrap_or_default();
    let session = id.to_string();
    let imported = Imported { session, record, references, start: None, ignored: 0, uncommitted: false };
    let mut found = None;
    if kept
        && let Some(place) = Place::adopt(state, &id).map_err(failed)?
        && let Some(shadow) = Shadow::load(&place.path).map_err(failed)?
    {
        found = Some((place, shadow));
    }
    Ok(Found { project, git, imported, kept: found })
}

/// Finds a session, and imports what is still in its directory.
pub fn open(global: &Global, wanted: Option<&str>) -> Result<Found, Failure> {
    let mut found = find(global, wanted)?;
    let Some((_, shadow)) = &found.kept else { return Ok(found) };
    let id = &found.imported.session;
    let environment = &found.project.environment;
    let take = |work| import(shadow, work, id, &environment.state, &environment.home);
    let again = look(shadow).and_then(|work| work.map_or(Ok(None), take)).map_err(|error| {
        Failure::from(error).help(format!("the session stays where it is; `pier drop {id}` removes it"))
    })?;
    if let Some(again) = again {
        found.imported = Imported { start: None, ..again };
    }
    Ok(found)
}

/// Returns every session of this project whose commits wait.
fn waiting(project: &Project, repository: &Repository) -> Result<BTreeMap<Id, Waiting>, Failure> {
    let state = &project.environment.state;
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, "git::session", format!("cannot read the references: {error}"))
    };
    let found = references::read(&repository.directory, &repository.common).map_err(failed)?;
    let since =
        |path: &Utf8Path| path.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut waiting: BTreeMap<Id, Waiting> = BTreeMap::new();
    let fresh = |path: &Utf8Path| Waiting { references: BTreeMap::new(), kept: false, since: since(path) };
    for (name, id) in found.ids {
        let below = name.strip_prefix("refs/pier/").and_then(|below| below.split_once('/'));
        if let Some((session, name)) = below.and_then(|(session, name)| Some((Id::parse(session)?, name))) {
            let place = shadow::imported_place(state, session.as_str());
            let entry = waiting.entry(session).or_insert_with(|| fresh(&place));
            entry.references.insert(name.to_owned(), id);
        }
    }
    for entry in place::all(state).read_dir_utf8().into_iter().flatten().flatten() {
        let Some(session) = Id::parse(entry.file_name()) else { continue };
        let Ok(Some(shadow)) = Shadow::load(entry.path()) else { continue };
        // One that still runs says itself what becomes of its commits.
        let ended = || match Place::adopt(state, &session) {
            Ok(place) => place.is_some(),
            Err(_) => false,
        };
        let holds_work = || shadow::holds_work(entry.path()).unwrap_or(true);
        if shadow.record.project == project.root && ended() && holds_work() {
            waiting.entry(session).or_insert_with(|| fresh(entry.path())).kept = true;
        }
    }
    Ok(waiting)
}

fn choose(waiting: &BTreeMap<Id, Waiting>, wanted: Option<&str>) -> Result<Id, Failure> {
    let refuse = |message: String| Failure::new(Exit::Usage, "git::session", message);
    let Some(wanted) = wanted else {
        let newest = waiting.iter().max_by_key(|(_, waiting)| waiting.since).map(|(id, _)| id.clone());
        return newest.ok_or_else(|| refuse("no session has commits that wait".into()));
    };
    let fitting: Vec<&Id> = waiting.keys().filter(|id| id.as_str().starts_with(wanted)).collect();
    match fitting.as_slice() {
        [id] => Ok((*id).clone()),
        [] => {
            let known: Vec<&str> = waiting.keys().map(Id::as_str).collect();
            let failure = refuse(format!("no session `{}` has commits that wait", escape(wanted)));
            Err(if known.is_empty() {
                failure
            } else {
                failure.help(format!("there is {}", known.join(", ")))
            })
        }
        several => {
            let names: Vec<&str> = several.iter().map(|id| id.as_str()).collect();
            Err(refuse(format!(
                "`{}` is the start of several sessions: {}",
                escape(wanted),
                names.join(", ")
            )))
        }
    }
}

/// Forgets a session of which nothing is left in `refs/pier`.
pub fn forget(project: &Project, record: &Record, session: &str) {
    let left = references::read(&record.directory, &record.common);
    let prefix = shadow::import::namespace(session);
    if left.is_ok_and(|left| !left.ids.keys().any(|name| name.starts_with(&prefix)))
        && let Err(error) = shadow::forget(&project.environment.state, session)
    {
        tracing::warn!(%error, session, "the record of a settled session stays");
    }
}

/// Renders what became of each name; `None` where nothing happened.
pub fn render(session: &str, settled: &[Settled]) -> Option<String> {
    let of = |wanted: &How| {
        let fitting = settled.iter().filter(|settled| settled.how == *wanted).map(|settled| &settled.name);
        let fitting = names(fitting);
        (!fitting.is_empty()).then_some(fitting)
    };
    let mut parts = Vec::new();
    parts.extend(of(&How::Forwarded).map(|names| format!("{names} forwarded")));
    parts.extend(of(&How::Created).map(|names| format!("{names} created")));
    parts.extend(of(&How::Switched).map(|names| format!("{names} checked out")));
    let mut left = false;
    for Settled { name, how } in settled {
        if let How::Left(reason) = how {
            left = true;
            let reason = escape(&reason.to_string());
            parts.push(format!("{} waits in refs/pier/{session}, because {reason}", short(name)));
        }
    }
    let help = format!("; see `pier diff {session}`, `pier merge {session}`");
    let line = format!("git: {}{}", parts.join(", "), if left { &help } else { "" });
    (!parts.is_empty()).then_some(line)
}

/// Returns a name as people say it: `main` for `heads/main`.
pub fn short(name: &str) -> String {
    escape(name.strip_prefix("heads/").unwrap_or(name))
}

/// Names at most five, and counts the others.
pub fn names<'a>(all: impl Iterator<Item = &'a String>) -> String {
    let all: Vec<String> = all.map(|name| short(name)).collect();
    match all.len() {
        0..=5 => all.join(", "),
        count => format!("{} and {} more", all[..5].join(", "), count - 5),
    }
}

/// Settles what a session committed as the plan says, and says so in a line.
pub fn report(project: &Project, finished: &Finished) {
    let id = &finished.id;
    match &finished.commits {
        Ok(None) => {}
        Ok(Some(imported)) => follow(project, imported),
        Err(error) => {
            let error = super::errors::chain(error);
            ui::warn(&format!("{error}; they are kept, and `pier merge {id}` tries again"));
        }
    }
}

fn follow(project: &Project, imported: &Imported) {
    let id = &imported.session;
    let wanted = match imported.record.merge {
        Merge::Auto => true,
        Merge::Manual => false,
        Merge::Ask => {
            let names = names(imported.references.keys());
            ui::can_ask() && ui::ask(&format!("the session committed {names}; let the branches follow?"))
        }
    };
    if wanted {
        let settled = Git::find(&project.environment.home).and_then(|git| settle::settle(&git, imported));
        match settled {
            Ok(settled) => {
                if let Some(line) = render(id, &settled) {
                    ui::say(&line);
                }
            }
            Err(error) => {
                let error = super::errors::chain(&error);
                ui::warn(&format!(
                    "{error}; the commits are in refs/pier/{id}, and `pier merge {id}` tries again"
                ));
            }
        }
        forget(project, &imported.record, id);
    } else if !imported.references.is_empty() {
        let names = names(imported.references.keys());
        ui::say(&format!("git: {names} imported; see `pier diff {id}`, take it with `pier merge {id}`"));
    }
    if imported.ignored > 0 {
        ui::warn(&format!(
            "git: {} references of the session make no sense and were left out",
            imported.ignored
        ));
    }
    if imported.uncommitted {
        let place = place::all(&project.environment.state).join(id).join("tree");
        ui::say(&format!(
            "git: the clone has changes that no commit has: `{place}`; `pier drop {id}` removes it"
        ));
    }
}
