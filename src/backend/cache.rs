//! What pier keeps of work that it did once, and how it goes: agents, shells of Nix, tasks of repositories, what is known
//! of images, images that were built, the Pi package of roles, and pier's own program as workspaces have it.

use std::fs::{File, TryLockError};
use std::io;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::docker::built;
use super::docker::engine::Connected;
use super::{docker, nix, program};
use crate::plan::workspace::SHELF;
use crate::role::package;
use crate::util::fs::{canonical, create_private, read_bounded, remove_tree};

/// The most that is read of a plan, in bytes.
const MOST_PLAN: u64 = 16 << 20;

/// The lock of the agents of one name, and that of all tasks; whoever installs or fetches holds it.
const LOCK: &str = ".lock";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Agent,
    Image,
    ImageFacts,
    NixShell,
    Program,
    RolePackage,
    Task,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Agent => "agent",
            Kind::Image => "image",
            Kind::ImageFacts => "image facts",
            Kind::NixShell => "nix shell",
            Kind::Program => "program",
            Kind::RolePackage => "role package",
            Kind::Task => "task",
        }
    }
}

/// One thing that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    pub kind: Kind,
    /// A path, or the tag of an image.
    pub name: String,
    /// An image's with the layers that it shares; a shell's without its part of the Nix store.
    pub bytes: u64,
    /// When it was made or, where that is known, used last.
    pub used: jiff::Timestamp,
    pub in_use: bool,
}

/// What is known about running sessions: the texts of their plans. `None` where a plan is not known any more, so that
/// anything may be in use.
pub struct Running(Option<Vec<String>>);

impl Running {
    /// Reads the plans of sessions: where each is, and when the session started. One that was written since is another
    /// session's.
    pub fn read(sessions: impl IntoIterator<Item = (Utf8PathBuf, jiff::Timestamp)>) -> Self {
        let plan = |(path, started): (Utf8PathBuf, jiff::Timestamp)| {
            let written = path.metadata().and_then(|meta| meta.modified()).ok()?;
            let text = read_bounded(&path, MOST_PLAN).ok()?;
            (stamp(written) <= started).then(|| String::from_utf8_lossy(&text).into_owned())
        };
        Running(sessions.into_iter().map(plan).collect())
    }

    fn uses(&self, word: &str) -> bool {
        self.0.as_ref().is_none_or(|plans| plans.iter().any(|plan| plan.contains(word)))
    }
}

/// Who may use what is kept.
pub struct Users {
    pub running: Running,
    /// The directories of the tasks of all workspaces. `None` where they are not all known, so that any may be in use.
    pub tasks: Option<Vec<Utf8PathBuf>>,
    /// The agents of all workspaces, whether those run or not; `None` as above.
    pub agents: Option<Agents>,
}

/// Agents of workspaces, which have all that are on this host, and call some of them.
#[derive(Debug, Default)]
pub struct Agents {
    /// `NAME@VERSION`
    pub names: Vec<String>,
    /// Where the names of programs lead inside: also to Node, which has no name of its own here.
    pub links: Vec<Utf8PathBuf>,
}

impl Agents {
    /// Says whether an installation is among them: the name of the agent, and the version with a hash.
    fn have(&self, agent: &str, entry: &str) -> bool {
        let inside = Utf8Path::new(SHELF).join(agent).join(entry);
        let is_named = |name: &String| {
            let version = name.strip_prefix(agent).and_then(|rest| rest.strip_prefix('@'));
            entry.rsplit_once('-').is_some_and(|(of_entry, _)| version == Some(of_entry))
        };
        self.names.iter().any(is_named) || self.links.iter().any(|link| link.starts_with(&inside))
    }
}

impl Users {
    fn use_agent(&self, path: &Utf8Path) -> bool {
        let agent = path.parent().and_then(Utf8Path::file_name).unwrap_or_default();
        let entry = path.file_name().unwrap_or_default();
        self.running.uses(path.as_str())
            || self.agents.as_ref().is_none_or(|agents| agents.have(agent, entry))
    }

    fn use_task(&self, directory: &Utf8Path) -> bool {
        // A workspace knows its task by the path without links.
        let directory = canonical(directory).unwrap_or_else(|_| directory.to_owned());
        self.tasks.as_ref().is_none_or(|tasks| tasks.iter().any(|task| task.starts_with(&directory)))
    }
}

fn stamp(time: SystemTime) -> jiff::Timestamp {
    jiff::Timestamp::try_from(time).unwrap_or_default()
}

/// Returns everything that is kept, by kind and name. Without an engine there are no images.
pub fn list(
    cache: &Utf8Path,
    state: &Utf8Path,
    engine: Option<&Connected>,
    users: &Users,
) -> Result<Vec<Item>, docker::Error> {
    let running = &users.running;
    let mut found = Vec::new();
    for shelf in entries(&agents(cache)) {
        for path in entries(&shelf).into_iter().filter(|path| path.is_dir()) {
            found.push(item(Kind::Agent, &path, users.use_agent(&path)));
        }
    }
    for path in entries(&facts(cache)) {
        let digest = path.file_name().and_then(|name| name.split('.').next()).unwrap_or_default();
        found.push(item(Kind::ImageFacts, &path, running.uses(digest)));
    }
    for path in entries(&nix::shelves(state)).iter().flat_map(|shelf| entries(shelf)) {
        found.push(item(Kind::NixShell, &path, nix::is_held(&path)));
    }
    for path in entries(&program::shelf(state)) {
        found.push(item(Kind::Program, &path, program::is_used(&path)));
    }
    for path in entries(&package::shelf(cache)) {
        found.push(item(Kind::RolePackage, &path, running.uses(path.as_str())));
    }
    for place in entries(&tasks(cache)).into_iter().filter(|place| place.is_dir()) {
        // What a killed call has left has no name yet.
        let named = entries(&place).into_iter().next().filter(|_| !is_unfinished(&place));
        found.push(item(Kind::Task, named.as_ref().unwrap_or(&place), users.use_task(&place)));
    }
    for image in engine.map(built::list).transpose()?.unwrap_or_default() {
        let known = facts(cache).join(format!("{}.json", image.id.trim_start_matches("sha256:")));
        let used = known.metadata().and_then(|meta| meta.modified()).map_or(image.made, stamp);
        found.push(Item {
            kind: Kind::Image,
            in_use: image.in_use || running.uses(&image.id),
            name: image.tag,
            bytes: image.bytes,
            used: used.max(image.made),
        });
    }
    found.sort_by(|one, other| (one.kind.word(), &one.name).cmp(&(other.kind.word(), &other.name)));
    Ok(found)
}

/// Removes one; false where it is in use after all.
pub fn remove(item: &Item, engine: Option<&Connected>) -> Result<bool, Error> {
    let path = Utf8Path::new(&item.name);
    let io = |source| Error::Remove { path: path.to_owned(), source };
    match item.kind {
        Kind::Image => {
            Ok(engine.map(|engine| built::remove(engine, &item.name)).transpose()?.unwrap_or(false))
        }
        Kind::ImageFacts | Kind::Program => fs_err::remove_file(path).map(|()| true).map_err(io),
        Kind::NixShell => nix::forget(path).map_err(io),
        Kind::Agent => remove_agent(path).map_err(io),
        Kind::RolePackage => remove_package(path).map(|()| true).map_err(io),
        Kind::Task => remove_task(path).map(|()| true).map_err(io),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot remove `{path}`")]
    Remove {
        path: Utf8PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Docker(#[from] docker::Error),
}

/// Renames it first: a half of an agent is never found.
fn remove_agent(path: &Utf8Path) -> io::Result<bool> {
    let shelf = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let lock = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(shelf.join(LOCK))?;
    match lock.file().try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let aside = shelf.join(format!(".tmp-{}", path.file_name().unwrap_or_default()));
    if aside != path {
        fs_err::rename(path, &aside)?;
    }
    remove_tree(&aside)?;
    Ok(true)
}

/// Renames it first, too: a part of a package is mended where it is, while somebody removes it.
fn remove_package(path: &Utf8Path) -> io::Result<()> {
    let aside = path.with_file_name(format!("{UNFINISHED}-{}", path.file_name().unwrap_or_default()));
    fs_err::rename(path, &aside)?;
    remove_tree(&aside)
}

/// Removes a task with the directory that it is alone in, as [`remove_agent`] does; the lock is the caller's.
fn remove_task(path: &Utf8Path) -> io::Result<()> {
    let place = if is_unfinished(path) { path } else { path.parent().ok_or(io::ErrorKind::InvalidInput)? };
    let all = place.parent().ok_or(io::ErrorKind::InvalidInput)?;
    if is_unfinished(place) {
        return remove_tree(place);
    }
    let aside = all.join(format!("{UNFINISHED}-{}", place.file_name().unwrap_or_default()));
    fs_err::rename(place, &aside)?;
    remove_tree(&aside)
}

/// The start of the names of directories into which a task is fetched, or in which one goes.
const UNFINISHED: &str = ".tmp";

fn is_unfinished(place: &Utf8Path) -> bool {
    place.file_name().is_some_and(|name| name.starts_with(UNFINISHED))
}

/// Keeps all tasks where they are, for whoever fetches one and has not told yet which workspace is of it.
pub fn keep_tasks(cache: &Utf8Path) -> io::Result<File> {
    create_private(&tasks(cache))?;
    let lock = lock_of_tasks(cache)?;
    lock.lock_shared()?;
    Ok(lock)
}

/// Keeps others from fetching tasks; `None` where one is being fetched, or none ever was.
pub fn hold_tasks(cache: &Utf8Path) -> io::Result<Option<File>> {
    let lock = match lock_of_tasks(cache) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lock => lock?,
    };
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn lock_of_tasks(cache: &Utf8Path) -> io::Result<File> {
    let path = tasks(cache).join(LOCK);
    Ok(fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(path)?.into_file())
}

/// Where tasks of repositories are, each in a directory of its own.
pub fn tasks(cache: &Utf8Path) -> Utf8PathBuf {
    cache.join("tasks")
}

fn agents(cache: &Utf8Path) -> Utf8PathBuf {
    cache.join("agents")
}

fn facts(cache: &Utf8Path) -> Utf8PathBuf {
    cache.join("images")
}

/// Returns what is in a directory; nothing where there is none, or none that can be read.
fn entries(directory: &Utf8Path) -> Vec<Utf8PathBuf> {
    let Ok(entries) = directory.read_dir_utf8() else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.into_path())).collect()
}

fn item(kind: Kind, path: &Utf8Path, in_use: bool) -> Item {
    let used = path.symlink_metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    Item { kind, name: path.to_string(), bytes: size(path), used: stamp(used), in_use }
}

/// Adds up the files of a tree; a link counts as what it is.
fn size(top: &Utf8Path) -> u64 {
    let (mut sum, mut pending) = (0, vec![top.to_owned()]);
    while let Some(path) = pending.pop() {
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.is_dir() {
            pending.extend(entries(&path));
        } else {
            sum += meta.len();
        }
    }
    sum
}

/// How long the time of the last use may be behind.
const BEHIND: Duration = Duration::from_hours(1);

/// Writes down that something is used now.
pub fn touch(path: &Utf8Path) {
    let touched = File::open(path).and_then(|file| {
        let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > BEHIND { file.set_modified(SystemTime::now()) } else { Ok(()) }
    });
    if let Err(error) = touched {
        tracing::debug!(%path, %error, "the last use is not written down");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_a_workspaces_by_its_version_or_by_a_link() {
        let agents = Agents {
            names: vec!["codex@1.0.0".into(), "pi@2.0.0-rc.1".into()],
            links: vec!["/.pier/agents/node/24.0.0-aaaaaaaa/bin/node".into(), "/usr/bin/claude".into()],
        };
        for (agent, entry, have) in [
            ("codex", "1.0.0-aaaaaaaa", true),
            ("codex", "1.0.0-bbbbbbbb", true),
            ("codex", "1.0.0-rc.1-aaaaaaaa", false),
            ("codex", "1.0.1-aaaaaaaa", false),
            ("codex", ".tmp-1.0.0-aaaaaaaa", false),
            ("pi", "2.0.0-rc.1-aaaaaaaa", true),
            ("pi", "2.0.0-aaaaaaaa", false),
            ("node", "24.0.0-aaaaaaaa", true),
            ("node", "24.0.0-bbbbbbbb", false),
            ("claude", "1.0.0-aaaaaaaa", false),
        ] {
            assert_eq!(agents.have(agent, entry), have, "{agent} {entry}");
        }
    }
}
