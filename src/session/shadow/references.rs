//! Reads all references of a git directory without git, as if every byte of it were hostile.

use std::collections::BTreeMap;
use std::io;

use camino::Utf8Path;

use super::hostile::{Directory, Kind};
use crate::util::git::{Target, is_reference, parse_packed, parse_target};

/// Bounds of what is read.
const MOST_ENTRIES: usize = 200_000;
const MOST_DEPTH: usize = 32;
const MOST_LOOSE: u64 = 4096;
const MOST_PACKED: u64 = 64 * 1024 * 1024;

/// The references of a repository, by full name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    pub head: Option<Target>,
    pub ids: BTreeMap<String, String>,
    /// Those that name another one: `refs/remotes/origin/HEAD`.
    pub symbolic: BTreeMap<String, String>,
    /// How many names or contents made no sense.
    pub ignored: usize,
}

impl References {
    /// Returns the commit that is checked out; `None` before the first one.
    pub fn tip(&self) -> Option<&str> {
        match self.head.as_ref()? {
            Target::Object(id) => Some(id),
            Target::Reference(name) => self.ids.get(name).map(String::as_str),
        }
    }
}

/// Reads `HEAD` of a directory, and the references of the common one that worktrees share.
pub fn read(directory: &Utf8Path, common: &Utf8Path) -> io::Result<References> {
    let mut found = References::default();
    let head = Directory::open(directory)?.file("HEAD", MOST_LOOSE)?;
    found.head = head.and_then(|text| parse_target(&text));
    let common = Directory::open(common)?;
    if let Some(text) = common.file("packed-refs", MOST_PACKED)? {
        (found.ids, found.ignored) = parse_packed(&text);
    }
    if let Some(references) = common.directory("refs")? {
        walk(&references, "refs", 0, &mut MOST_ENTRIES.clone(), &mut found)?;
    }
    without_conflicts(&mut found);
    Ok(found)
}

fn walk(
    directory: &Directory,
    prefix: &str,
    depth: usize,
    budget: &mut usize,
    found: &mut References,
) -> io::Result<()> {
    if depth > MOST_DEPTH {
        return Err(io::Error::other(format!("`refs` is more than {MOST_DEPTH} directories deep")));
    }
    for (name, kind) in directory.entries(budget)? {
        let name = name.map(|name| format!("{prefix}/{name}"));
        let Some(name) = name.filter(|name| is_reference(name)) else {
            found.ignored += 1;
            continue;
        };
        let last = name.rsplit('/').next().unwrap_or_default();
        match kind {
            Kind::Directory => {
                if let Some(below) = directory.directory(last)? {
                    walk(&below, &name, depth + 1, budget, found)?;
                }
            }
            Kind::File => {
                match directory.file(last, MOST_LOOSE).ok().flatten().and_then(|text| parse_target(&text)) {
                    Some(Target::Object(id)) => drop(found.ids.insert(name, id)),
                    Some(Target::Reference(to)) => drop(found.symbolic.insert(name, to)),
                    None => found.ignored += 1,
                }
            }
            Kind::Other => found.ignored += 1,
        }
    }
    Ok(())
}

/// Drops names that are the directory of another one: git has either of them, never both.
fn without_conflicts(found: &mut References) {
    let names: Vec<String> = found.ids.keys().cloned().collect();
    for name in names {
        let above = name.match_indices('/').map(|(at, _)| &name[..at]);
        if above.skip(1).any(|above| found.ids.contains_key(above)) {
            found.ids.remove(&name);
            found.ignored += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_odd_names_are_left_out() {
        let place = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(place.path()).unwrap();
        let id = "a".repeat(40);
        fs_err::create_dir_all(path.join("refs/heads/dir")).unwrap();
        fs_err::write(path.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        for name in ["main", "dir/x", "a b", "x.lock"] {
            fs_err::write(path.join("refs/heads").join(name), &id).unwrap();
        }
        fs_err::write(path.join("packed-refs"), format!("{id} refs/heads/dir\n{id} refs/../../x\n")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path.join("refs/heads/link")).unwrap();
        std::os::unix::fs::symlink("/etc", path.join("refs/heads/elsewhere")).unwrap();
        let found = read(path, path).unwrap();
        assert_eq!(found.ids.keys().collect::<Vec<_>>(), ["refs/heads/dir", "refs/heads/main"]);
        assert_eq!(found.ignored, 6);
    }

    #[test]
    fn a_linked_refs_directory_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(place.path()).unwrap();
        std::os::unix::fs::symlink("/tmp", path.join("refs")).unwrap();
        let error = read(path, path).unwrap_err();
        assert!(error.to_string().contains("no directory"), "{error}");
    }
}
