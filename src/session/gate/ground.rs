//! Which directories of the host a session can write to, and what in them it cannot: from the plan alone.

use std::collections::HashSet;

use camino::{Utf8Path, Utf8PathBuf};

use super::rules::Place;
use crate::plan::{Access, Git, GitMode, Mount, MountKind, Plan, Project};

/// A directory that is looked through at the start and at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    pub root: Utf8PathBuf,
    /// Paths in it are shown relative to it.
    pub is_project: bool,
    /// What holds at its top.
    pub top: Place,
    /// Paths below that the session cannot change, relative to the root.
    pub skip: HashSet<Vec<u8>>,
}

/// Returns the project, then every other directory that the plan makes writable on somebody's word.
pub fn grounds(plan: &Plan) -> Vec<Ground> {
    of(&plan.project, &plan.git, &plan.mounts)
}

fn of(project: &Project, git: &Git, mounts: &[Mount]) -> Vec<Ground> {
    let mut found: Vec<Ground> = Vec::new();
    // A session that works in a clone of its own cannot write to the project itself.
    if mounts.iter().filter_map(writable).any(|(source, _)| source == project.root) {
        let (root, skip) = (project.root.clone(), unwritable(project, mounts));
        found.push(Ground { root, is_project: true, top: Place::TOP, skip });
    }
    let mut add = |root: &Utf8Path, top| {
        if !found.iter().any(|ground| root.starts_with(&ground.root)) {
            found.push(Ground { root: root.to_owned(), is_project: false, top, skip: HashSet::new() });
        }
    };
    if git.mode == GitMode::Direct
        && let Some(common) = &git.common
    {
        add(common, Place::TOP.as_git());
    }
    for (source, _) in mounts.iter().filter_map(writable) {
        // The sandbox home is private: no command of the host's works there.
        if !source.starts_with(&project.state) {
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
fn unwritable(project: &Project, mounts: &[Mount]) -> HashSet<Vec<u8>> {
    let inside = |at: &Utf8Path| Some(project.root.join(at.strip_prefix(&project.at).ok()?));
    let is_own = |(source, at): &(&Utf8Path, &Utf8Path)| inside(at).is_some_and(|path| path == *source);
    let roads: Vec<&Utf8Path> =
        mounts.iter().filter_map(writable).filter(|bind| !is_own(bind)).map(|(source, _)| source).collect();
    let covered = mounts.iter().filter(|mount| !writable(mount).is_some_and(|bind| is_own(&bind)));
    let paths = covered.filter_map(|mount| inside(&mount.at));
    let reachable =
        |path: &Utf8Path| roads.iter().any(|road| path.starts_with(road) || road.starts_with(path));
    let below =
        |path: &Utf8PathBuf| Some(path.strip_prefix(&project.root).ok()?.as_str().as_bytes().to_vec());
    paths
        .filter(|path| !reachable(path))
        .filter_map(|path| below(&path))
        .filter(|path| !path.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each mount as its place inside, its source, and whether it can be written to.
    fn made(mode: GitMode, common: &str, binds: &[(&str, &str, Access)]) -> Vec<Ground> {
        let (name, hash) = (String::new(), String::new());
        let (root, at, state) = ("/p".into(), "/workspace".into(), "/state".into());
        let project = Project { name, root, at, hash, state, ephemeral: false };
        let git = Git { mode, directory: None, common: Some(common.into()), shadow: None };
        let mount = |(at, source, access): &(&str, &str, Access)| {
            let kind = MountKind::Bind { source: (*source).into(), access: *access, expect: None };
            Mount { at: (*at).into(), kind, origin: String::new() }
        };
        of(&project, &git, &binds.iter().map(mount).collect::<Vec<_>>())
    }

    fn shown(grounds: &[Ground]) -> Vec<String> {
        let show = |ground: &Ground| {
            let mut skip: Vec<_> = ground.skip.iter().map(|path| String::from_utf8_lossy(path)).collect();
            skip.sort();
            format!("{} {}", ground.root, skip.join(" ")).trim().to_owned()
        };
        grounds.iter().map(show).collect()
    }

    const BASE: &[(&str, &str, Access)] = &[
        ("/home/pier", "/state/home", Access::ReadWrite),
        ("/usr", "/usr", Access::ReadOnly),
        ("/workspace", "/p", Access::ReadWrite),
        ("/workspace/.git", "/p/.git", Access::ReadOnly),
        ("/workspace/.vscode", "/p/.vscode", Access::ReadWrite),
        ("/workspace/.vscode/tasks.json", "/p/.vscode/tasks.json", Access::ReadOnly),
    ];

    #[test]
    fn what_is_covered_is_skipped_unless_another_road_leads_there() {
        let with = |more: &[(&str, &str, Access)]| {
            shown(&made(GitMode::Readonly, "/p/.git", &[BASE, more].concat()))
        };
        assert_eq!(with(&[]), ["/p .git .vscode/tasks.json"]);
        assert_eq!(with(&[("/c", "/p/cache", Access::ReadWrite)]), ["/p .git .vscode/tasks.json"]);
        assert_eq!(with(&[("/v", "/p/.vscode", Access::ReadWrite)]), ["/p .git"]);
        assert_eq!(with(&[("/v", "/p/.git/hooks", Access::ReadWrite)]), ["/p .vscode/tasks.json"]);
        assert_eq!(with(&[("/v", "/p", Access::ReadWrite)]), ["/p"]);
        assert_eq!(
            with(&[("/workspace/x", "/other", Access::ReadWrite)]),
            ["/p .git .vscode/tasks.json x", "/other"]
        );
    }

    #[test]
    fn every_writable_directory_is_a_ground() {
        let more = [("/o", "/other", Access::ReadWrite), ("/r", "/read", Access::ReadOnly)];
        let grounds = made(GitMode::Direct, "/elsewhere/.git", &[BASE, &more].concat());
        assert_eq!(shown(&grounds), ["/p .git .vscode/tasks.json", "/elsewhere/.git", "/other"]);
        assert_eq!(grounds.iter().map(|one| one.is_project).collect::<Vec<_>>(), [true, false, false]);
        assert!(grounds[1].top.git && !grounds[2].top.git);
        // A clone of the session's own is mounted in place of the project.
        assert_eq!(made(GitMode::None, "", &[("/workspace", "/state/clone", Access::ReadWrite)]), []);
    }
}
