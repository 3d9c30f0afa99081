//! Two directories that were one: what each side has changed since, and what is done about it.
//!
//! Nothing of this follows a link: either side may be written by an agent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::util::fs::{open_without_links, sha256_of};

/// The most entries of one side, and how deep they are.
const MOST_ENTRIES: usize = 1_000_000;
const MOST_DEPTH: usize = 128;

/// The most bytes of one side.
const MOST_BYTES: u64 = 256 << 30;

/// What is at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    Directory,
    /// SHA-256, and whether it can be executed.
    File(String, bool),
    Link(Utf8PathBuf),
}

/// The entries of a directory, by their paths in it.
pub type Tree = BTreeMap<Utf8PathBuf, Entry>;

/// One side of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    Host,
    Container,
}

/// What one side has done to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    Added,
    Changed,
    Removed,
}

/// One difference since the two were one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub path: Utf8PathBuf,
    pub what: What,
    pub side: Side,
    /// The other side has done something else there.
    pub conflict: bool,
}

/// Reads a side, without the directories that belong to pier and to the task.
pub fn read(root: &Utf8Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    let mut left = MOST_BYTES;
    let mut pending = vec![(Utf8PathBuf::new(), 0)];
    while let Some((directory, depth)) = pending.pop() {
        let entries = match root.join(&directory).read_dir_utf8() {
            // It has just gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound && depth > 0 => continue,
            entries => entries?,
        };
        for entry in entries {
            let path = directory.join(entry?.file_name());
            if path == super::OWN || path == TASK {
                continue;
            }
            if tree.len() >= MOST_ENTRIES || depth > MOST_DEPTH {
                return Err(io::Error::other("there are too many files, or they are too deep"));
            }
            let full = root.join(&path);
            let Ok(meta) = full.symlink_metadata() else { continue };
            let size = if meta.is_file() { meta.len() } else { 0 };
            let too_large = || io::Error::other(format!("`{path}` is too large"));
            left = left.checked_sub(size).ok_or_else(too_large)?;
            if let Some(found) = entry_of(&full, &meta)? {
                if found == Entry::Directory {
                    pending.push((path.clone(), depth + 1));
                }
                tree.insert(path, found);
            }
        }
    }
    Ok(tree)
}

/// The directory that tells what is to be done; each side has its own.
const TASK: &str = ".task";

fn entry_of(path: &Utf8Path, meta: &Metadata) -> io::Result<Option<Entry>> {
    if meta.is_dir() {
        return Ok(Some(Entry::Directory));
    }
    if meta.is_symlink() {
        return Ok(Some(Entry::Link(path.read_link_utf8()?)));
    }
    if !meta.is_file() {
        return Ok(None);
    }
    match open_without_links(path) {
        Ok(file) => Ok(Some(Entry::File(sha256_of(file)?, meta.mode() & 0o100 != 0))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns what both sides have changed since `base`, by path. What both have changed alike is no change.
pub fn compare(base: &Tree, host: &Tree, container: &Tree) -> Vec<Change> {
    let paths: BTreeSet<&Utf8PathBuf> = base.keys().chain(host.keys()).chain(container.keys()).collect();
    let mut changes = Vec::new();
    for path in paths {
        let (was, here, there) = (base.get(path), host.get(path), container.get(path));
        if here == there {
            continue;
        }
        let what = |now: Option<&Entry>| match (was, now) {
            (None, Some(_)) => What::Added,
            (_, None) => What::Removed,
            (Some(_), Some(_)) => What::Changed,
        };
        let conflict = here != was && there != was;
        if here != was {
            changes.push(Change { path: path.clone(), what: what(here), side: Side::Host, conflict });
        }
        if there != was {
            changes.push(Change { path: path.clone(), what: what(there), side: Side::Container, conflict });
        }
    }
    changes
}

/// Brings the changes of one side to the other; `from` and `to` are the directories of the two. What both have changed stays
/// as it is in `to`, and the other version is put beside it, with `suffix`.
pub fn apply(
    changes: &[Change],
    of: Side,
    from: &Utf8Path,
    to: &Utf8Path,
    suffix: &str,
) -> io::Result<usize> {
    let chosen: Vec<&Change> = changes.iter().filter(|change| change.side == of).collect();
    let mut count = 0;
    for change in &chosen {
        let place = to.join(&change.path);
        match (change.what, change.conflict) {
            (What::Removed, _) => {}
            (_, false) => {
                copy(&from.join(&change.path), &place, to)?;
                count += 1;
            }
            // A removal on the other side loses against a change.
            (_, true) => {
                let beside = if place.symlink_metadata().is_ok() {
                    Utf8PathBuf::from(format!("{place}{suffix}"))
                } else {
                    place
                };
                copy(&from.join(&change.path), &beside, to)?;
                count += 1;
            }
        }
    }
    // From the deepest upward, so that a directory is empty by then.
    for change in chosen.iter().rev().filter(|change| change.what == What::Removed && !change.conflict) {
        let place = to.join(&change.path);
        inside(&place, to)?;
        let removed = match place.symlink_metadata() {
            Ok(meta) if meta.is_dir() => std::fs::remove_dir(&place),
            Ok(_) => std::fs::remove_file(&place),
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => count += 1,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// Refuses a place that a link leads out of the directory that it should be in.
fn inside(place: &Utf8Path, root: &Utf8Path) -> io::Result<()> {
    let parent = place.parent().unwrap_or(root);
    let real = parent.canonicalize_utf8()?;
    if real.starts_with(root.canonicalize_utf8()?) && real == parent.as_str() {
        return Ok(());
    }
    Err(io::Error::other(format!("a link leads from `{parent}` elsewhere")))
}

fn copy(from: &Utf8Path, to: &Utf8Path, root: &Utf8Path) -> io::Result<()> {
    let meta = match from.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    inside(to, root)?;
    let there = to.symlink_metadata().ok();
    if meta.is_dir() && there.as_ref().is_some_and(Metadata::is_dir) {
        return Ok(());
    }
    if there.as_ref().is_some_and(Metadata::is_dir) {
        // What it holds and the other side has never seen is not lost for a file of its name.
        match std::fs::remove_dir(to) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                return Err(io::Error::other(format!(
                    "`{to}` is a directory with files, and a file on the other side"
                )));
            }
            removed => removed?,
        }
    }
    if meta.is_dir() {
        if there.is_some() {
            std::fs::remove_file(to)?;
        }
        return std::fs::create_dir(to);
    }
    // Whole under another name first.
    let parent = to.parent().unwrap_or(root);
    let temporary = tempfile::Builder::new().prefix(".pier-").make_in(parent, |path| {
        if meta.is_symlink() {
            return std::os::unix::fs::symlink(std::fs::read_link(from)?, path);
        }
        let mut source = open_without_links(from)?;
        let mut copy = std::fs::File::options().write(true).create_new(true).open(path)?;
        io::copy(&mut source, &mut copy)?;
        copy.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(meta.mode() & 0o777))
    })?;
    temporary.into_temp_path().persist(to).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Utf8Path, path: &str, text: &str) {
        fs_err::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs_err::write(root.join(path), text).unwrap();
    }

    fn text(root: &Utf8Path, path: &str) -> String {
        fs_err::read_to_string(root.join(path)).unwrap_or_default()
    }

    #[test]
    fn both_sides_become_one_and_nothing_is_lost() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        let (host, container) = (base.join("host"), base.join("container"));
        for side in [&host, &container] {
            for path in [
                "same",
                "changed-here",
                "changed-there",
                "both",
                "gone-there",
                "deep/gone",
                "kept-here",
                ".pier/x",
            ] {
                write(side, path, "old");
            }
        }
        let was = read(&host).unwrap();
        assert!(!was.contains_key(Utf8Path::new(".pier")));
        write(&host, "changed-here", "of the host");
        write(&host, "both", "of the host");
        write(&host, "kept-here", "of the host");
        write(&container, "changed-there", "of the container");
        write(&container, "both", "of the container");
        write(&container, "new/file", "new");
        std::os::unix::fs::symlink("/etc/passwd", container.join("link")).unwrap();
        for path in ["gone-there", "deep/gone", "kept-here"] {
            fs_err::remove_file(container.join(path)).unwrap();
        }
        fs_err::remove_dir(container.join("deep")).unwrap();
        let changes = compare(&was, &read(&host).unwrap(), &read(&container).unwrap());
        let conflicts: Vec<&str> =
            changes.iter().filter(|change| change.conflict).map(|change| change.path.as_str()).collect();
        assert_eq!(conflicts, ["both", "both", "kept-here", "kept-here"]);
        apply(&changes, Side::Container, &container, &host, ".theirs").unwrap();
        apply(&changes, Side::Host, &host, &container, ".theirs").unwrap();
        assert_eq!(text(&host, "changed-there"), "of the container");
        assert_eq!(
            (text(&host, "both"), text(&host, "both.theirs")),
            ("of the host".into(), "of the container".into())
        );
        assert_eq!(
            (text(&host, "new/file"), text(&host, "changed-here")),
            ("new".into(), "of the host".into())
        );
        assert_eq!(text(&host, "kept-here"), "of the host", "a removal loses against a change");
        assert!(!host.join("gone-there").exists() && !host.join("deep").exists());
        assert_eq!(fs_err::read_link(host.join("link")).unwrap().to_str(), Some("/etc/passwd"));
        assert_eq!(text(&container, "changed-here"), "of the host");
        assert_eq!(text(&container, "kept-here"), "of the host");
    }

    #[test]
    fn a_file_takes_no_place_of_a_directory_with_files() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        let (host, container) = (base.join("host"), base.join("container"));
        write(&host, "d/new", "of the host alone");
        write(&container, "d", "a file");
        let was = Tree::from([("d".into(), Entry::Directory)]);
        let changes = compare(&was, &read(&host).unwrap(), &read(&container).unwrap());
        assert!(apply(&changes, Side::Container, &container, &host, ".theirs").is_err());
        assert_eq!(text(&host, "d/new"), "of the host alone");
    }

    #[test]
    fn a_link_in_the_way_leads_nowhere() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        let (host, container, out) = (base.join("host"), base.join("container"), base.join("out"));
        for side in [&host, &container, &out] {
            fs_err::create_dir(side).unwrap();
        }
        write(&container, "dir/file", "evil");
        std::os::unix::fs::symlink(&out, host.join("dir")).unwrap();
        let was = read(&host).unwrap();
        let changes = compare(&was, &read(&host).unwrap(), &read(&container).unwrap());
        apply(&changes, Side::Container, &container, &host, ".theirs").unwrap();
        assert!(!out.join("file").exists());
        assert_eq!(text(&host, "dir/file"), "evil", "the link was the workspace's, and is a directory now");
        // One that is planted in between.
        fs_err::remove_dir_all(host.join("dir")).unwrap();
        std::os::unix::fs::symlink(&out, host.join("dir")).unwrap();
        let only =
            [Change { path: "dir/file".into(), what: What::Added, side: Side::Container, conflict: false }];
        assert!(apply(&only, Side::Container, &container, &host, ".theirs").is_err());
        assert!(!out.join("file").exists());
    }
}
