//! Which directories of the host a session can write to, and what in them it cannot: from the plan alone.

use std::collections::HashSet;

use camino::{Utf8Path, Utf8PathBuf};

use super::rules::Place;
use crate::plan::{Access, GitMode, Mount, MountKind, Plan};

/// A directory that is looked through at the start and at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    pub root: Utf8PathBuf,
    /// What holds at its top.
    pub top: Place,
    /// Paths below that the session cannot change, relative to the root.
    pub skip: HashSet<Vec<u8>>,
}

/// Returns the project, then every other directory that the plan makes writable on somebody's word.
pub fn grounds(plan: &Plan) -> Vec<Ground> {
    let root = &plan.project.root;
    let mut found = vec![Ground { root: root.clone(), top: Place::TOP, skip: unwritable(plan) }];
    let mut add = |root: &Utf8Path, top| {
        if !found.iter().any(|ground| root.starts_with(&ground.root)) {
            found.push(Ground { root: root.to_owned(), top, skip: HashSet::new() });
        }
    };
    if plan.git.mode == GitMode::Direct
        && let Some(common) = &plan.git.common
    {
        add(common, Place::TOP.as_git());
    }
    let own = [&plan.project.state];
    for (source, _) in plan.mounts.iter().filter_map(writable) {
        // The sandbox home is private, and no command of the host's works there.
        if !own.iter().any(|own| source.starts_with(own)) {
            add(source, Place::TOP);
        }
    }
    found
}

/// Returns source and place of a bind that can be written to.
fn writable(mount: &Mount) -> Option<(&Utf8Path, &Utf8Path)> {
    match &mount.kind {
        MountKind::Bind { source, access: Access::ReadWrite, .. } => Some((source, &mount.at)),
        _ => None,
    }
}

/// Returns what lies under another mount, unless the same files can be written to by another road.
fn unwritable(plan: &Plan) -> HashSet<Vec<u8>> {
    let (root, at) = (&plan.project.root, &plan.project.at);
    let inside = |mount: &Mount| mount.at.strip_prefix(at).ok().map(Utf8Path::to_owned);
    let roads: Vec<&Utf8Path> = plan
        .mounts
        .iter()
        .filter_map(|mount| Some((writable(mount)?, inside(mount))))
        .filter(|((source, _), inside)| inside.as_ref().is_none_or(|inside| *source != root.join(inside)))
        .map(|((source, _), _)| source)
        .collect();
    let covered = plan.mounts.iter().filter_map(|mount| {
        let below = inside(mount).filter(|below| !below.as_str().is_empty())?;
        let path = root.join(&below);
        let itself = writable(mount).is_some_and(|(source, _)| source == path);
        let by_road = roads.iter().any(|road| path.starts_with(road) || road.starts_with(&path));
        (!itself && !by_road).then(|| below.into_string().into_bytes())
    });
    covered.collect()
}
