//! The state directory before a start: directories, imports and generated files of the sandbox home.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use thiserror::Error;

use super::beneath::Beneath;
use crate::backend::program;
use crate::env::OLDER;
use crate::plan::{INIT_COPY, Import, ImportKind, ImportRule, Mount, MountKind, Plan, Seed};
use crate::util::fs::{create_private, open_without_links, read_without_links};
use crate::util::planted::Written;

/// The most that one imported file may hold, in bytes.
const MOST_FILE: u64 = 64 * 1024 * 1024;

#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot prepare the sandbox home `{path}`: {source}")]
    State { path: Utf8PathBuf, source: io::Error },
    #[error("cannot mount at `{path}`, below the sandbox home: {source}")]
    MountPoint { path: Utf8PathBuf, source: io::Error },
    #[error("cannot import `{from}` ({origin}): {source}")]
    Import { from: Utf8PathBuf, origin: String, source: io::Error },
    #[error("cannot copy pier's own program to `{to}`: {source}")]
    Init { to: Utf8PathBuf, source: io::Error },
}

/// Makes the plan's directories, copies its imports, writes its seeds. pier's own program is copied, where the plan has it so, or is
/// a link to the one copy on a shelf.
///
/// The home is in the project's state directory, or in the directory of the session when it is ephemeral.
pub fn prepare(plan: &Plan, session: &Utf8Path, shelf: Option<&Utf8Path>) -> Result<(), Error> {
    let state = if plan.project.ephemeral { session } else { &plan.project.state };
    let failed = |path: &Utf8Path| {
        let path = path.to_owned();
        move |source| Error::State { path, source }
    };
    let is_copy = |mount: &Mount| matches!(&mount.kind, MountKind::Session { name, .. } if name == INIT_COPY);
    if plan.mounts.iter().any(is_copy) {
        let to = session.join(INIT_COPY);
        let placed = shelf.map_or_else(|| program::copy(&to), |shelf| program::link(shelf, &to));
        placed.map_err(|source| Error::Init { to, source })?;
    }
    create_private(state).map_err(failed(state))?;
    let root = Beneath::open(state).map_err(failed(state))?;
    for directory in &plan.directories {
        root.directory(&directory.path).map_err(failed(&state.join(&directory.path)))?;
    }
    let home = Home::open(plan, state, &root).map_err(failed(state))?;
    mount_points(plan, &home)?;
    write_imports(plan, session, &home, &plan.imports)?;
    write_seeds(&home, &plan.seeds)
}

/// Writes more seeds and copies into the home of a workspace that is there.
pub fn add(plan: &Plan, session: &Utf8Path, seeds: &[Seed], imports: &[Import]) -> Result<(), Error> {
    let state = if plan.project.ephemeral { session } else { &plan.project.state };
    let failed = |source| Error::State { path: state.to_owned(), source };
    let root = Beneath::open(state).map_err(failed)?;
    let home = Home::open(plan, state, &root).map_err(failed)?;
    write_imports(plan, session, &home, imports)?;
    write_seeds(&home, seeds)
}

fn write_imports(plan: &Plan, session: &Utf8Path, home: &Home, imports: &[Import]) -> Result<(), Error> {
    // Homes of other projects are below pier's own state as well.
    let own = session.ancestors().nth(2).map(Utf8Path::to_owned);
    let older = own.as_ref().map(|own| own.with_file_name(OLDER));
    let places = plan.written().into_iter().chain(own).chain(older).filter(|_| !imports.is_empty());
    let written = Written::new(places);
    for import in imports {
        copy(home, import, &written).map_err(|source| Error::Import {
            from: import.from.clone(),
            origin: import.origin.clone(),
            source,
        })?;
    }
    Ok(())
}

fn write_seeds(home: &Home, seeds: &[Seed]) -> Result<(), Error> {
    for seed in seeds {
        let failed = |source| Error::State { path: seed.path.clone(), source };
        let (home, path) = home.place(&seed.path);
        if seed.rule == ImportRule::Always || !home.has(path).map_err(failed)? {
            home.write(path, seed.content.as_bytes(), 0o600).map_err(failed)?;
        }
    }
    Ok(())
}

/// The sandbox home, parts of which may be kept beside it.
struct Home {
    home: Beneath,
    /// Where they are below the home.
    aside: Vec<(Utf8PathBuf, Beneath)>,
}

impl Home {
    fn open(plan: &Plan, state: &Utf8Path, root: &Beneath) -> io::Result<Self> {
        let mut aside = Vec::new();
        for mount in &plan.mounts {
            let MountKind::Bind { source, .. } = &mount.kind else { continue };
            let (Ok(below), Some(name)) = (mount.at.strip_prefix(&plan.user.home), source.file_name()) else {
                continue;
            };
            let is_own = plan.directories.iter().any(|directory| directory.path == name);
            if is_own && source.parent() == Some(state) && !below.as_str().is_empty() {
                aside.push((below.to_owned(), root.directory(Utf8Path::new(name))?));
            }
        }
        Ok(Home { home: root.directory(Utf8Path::new("home"))?, aside })
    }

    /// Returns where something below the home is kept.
    fn place<'a>(&'a self, path: &'a Utf8Path) -> (&'a Beneath, &'a Utf8Path) {
        let inside = |(below, kept): &'a (Utf8PathBuf, Beneath)| {
            let rest = path.strip_prefix(below).ok().filter(|rest| !rest.as_str().is_empty())?;
            Some((kept, rest))
        };
        self.aside.iter().find_map(inside).unwrap_or((&self.home, path))
    }
}

/// Makes the places of mounts below the home: bubblewrap would follow a link that an agent has planted there, and
/// make them wherever on the host it leads.
fn mount_points(plan: &Plan, home: &Home) -> Result<(), Error> {
    for mount in &plan.mounts {
        let Ok(below) = mount.at.strip_prefix(&plan.user.home) else { continue };
        if below.as_str().is_empty() {
            continue;
        }
        let file = matches!(&mount.kind, MountKind::Bind { source, .. } if !source.is_dir());
        let (home, below) = home.place(below);
        let made = if file { home.file(below) } else { home.directory(below).map(drop) };
        made.map_err(|source| Error::MountPoint { path: mount.at.clone(), source })?;
    }
    Ok(())
}

/// Copies one import; a source that is not there is no error, for a machine need not have every login.
///
/// Links are followed in the user's own directories only: one where a sandbox can write may be an agent's work.
fn copy(home: &Home, import: &Import, written: &Written) -> io::Result<()> {
    let Import { from, to, rule, kind, mode, .. } = import;
    let (home, to) = home.place(to);
    if *rule == ImportRule::Missing && home.has(to)? {
        return Ok(());
    }
    let real = match written.resolve(from) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        real => real?,
    };
    match kind {
        ImportKind::File => home.write(to, &read_without_links(&real, MOST_FILE)?, mode.unwrap_or(0o600)),
        ImportKind::Tree => home.copy_tree(open_without_links(&real)?.into(), to),
    }
}
