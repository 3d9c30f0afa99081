//! What a private git directory can share with a repository, or why there can be none.

use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::plan::Identity;
use crate::plan::facts::{Module, Objects, Parts};
use crate::util::fs::read_without_links;
use crate::util::git::config;

/// The most that is read of a configuration, in bytes.
const MOST_CONFIG: u64 = 1024 * 1024;

/// The most object directories, own and borrowed; git itself follows five steps.
const MOST_OBJECTS: usize = 16;

/// The most submodules, and how deep their git directories may be below `modules`.
const MOST_MODULES: usize = 64;
const MOST_DEPTH: usize = 8;

/// Extensions of the repository format that a private git directory has as well, or that change nothing in it.
const EXTENSIONS: &[&str] =
    &["noop", "objectformat", "partialclone", "preciousobjects", "relativeworktrees", "worktreeconfig"];

/// Returns the parts, or a reason that fits after "because"; and how long an object id is in bytes, which is needed
/// without them as well.
pub fn find(directory: &Utf8Path, common: &Utf8Path) -> (Result<Parts, String>, usize) {
    let (supported, id) = format(common);
    (supported.and_then(|()| shared(directory, common)), id)
}

fn shared(directory: &Utf8Path, common: &Utf8Path) -> Result<Parts, String> {
    for path in
        [directory.join("HEAD"), directory.join("index"), common.join("refs"), common.join("packed-refs")]
    {
        if path.is_symlink() {
            return Err(format!("`{path}` is a link"));
        }
    }
    let objects = objects(&common.join("objects"))?;
    Ok(Parts { objects, modules: modules(directory) })
}

/// Says whether a private git directory can have the format of this repository, and how long its object ids are.
fn format(common: &Utf8Path) -> (Result<(), String>, usize) {
    let path = common.join("config");
    let text = match read_without_links(&path, MOST_CONFIG) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (Ok(()), 20),
        Err(error) => return (Err(format!("`{path}` cannot be read: {error}")), 20),
    };
    let Some(entries) = config::parse(&String::from_utf8_lossy(&text)) else {
        return (Err(format!("`{path}` is no configuration of git's")), 20);
    };
    let (mut supported, mut id) = (Ok(()), 20);
    for entry in entries.iter().filter(|entry| entry.section == "extensions") {
        match (entry.key.as_str(), entry.value.as_str()) {
            ("refstorage", "files") => {}
            ("refstorage", other) => supported = Err(format!("its references are kept as `{other}`")),
            ("objectformat", "sha256") => id = 32,
            (key, _) if EXTENSIONS.contains(&key) => {}
            (key, _) => supported = Err(format!("it uses git's extension `{key}`")),
        }
    }
    (supported, id)
}

fn identity(path: &Utf8Path) -> Option<Identity> {
    let meta = path.symlink_metadata().ok().filter(std::fs::Metadata::is_dir)?;
    Some(Identity { dev: meta.dev(), ino: meta.ino() })
}

/// Returns the directory and all that it borrows from, breadth first.
fn objects(own: &Utf8Path) -> Result<Vec<Objects>, String> {
    let identity_of = |path: &Utf8Path| identity(path).ok_or_else(|| format!("`{path}` is no directory"));
    let mut found = vec![Objects { path: own.to_owned(), identity: identity_of(own)?, borrows: false }];
    let mut at = 0;
    while at < found.len() {
        let base = found[at].path.clone();
        let list = match read_without_links(&base.join("info/alternates"), MOST_CONFIG) {
            Ok(list) => list,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(format!("`{base}/info/alternates` cannot be read: {error}")),
        };
        found[at].borrows = !list.is_empty();
        let list =
            String::from_utf8(list).map_err(|_| format!("`{base}` borrows from a path that is not UTF-8"))?;
        for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            // Git leaves out what is not there.
            let Ok(path) = base.join(line).canonicalize_utf8() else { continue };
            if path.file_name() != Some("objects") {
                return Err(format!("it borrows from `{path}`, which is not called `objects`"));
            }
            if found.iter().any(|known| known.path == path) {
                continue;
            }
            if found.len() >= MOST_OBJECTS {
                return Err(format!("it borrows from more than {MOST_OBJECTS} repositories"));
            }
            found.push(Objects { identity: identity_of(&path)?, path, borrows: false });
        }
        at += 1;
    }
    Ok(found)
}

/// Returns the git directories below `modules`, nested ones too, relative to `directory`.
fn modules(directory: &Utf8Path) -> Vec<Module> {
    let mut found = Vec::new();
    let mut pending = vec![(Utf8PathBuf::from("modules"), 0)];
    while let Some((relative, depth)) = pending.pop() {
        let path = directory.join(&relative);
        let is_file = |name: &str| path.join(name).symlink_metadata().is_ok_and(|meta| meta.is_file());
        let is_module = is_file("config") && is_file("HEAD");
        if found.len() >= MOST_MODULES || depth > MOST_DEPTH || identity(&path).is_none() {
            continue;
        }
        if is_module {
            pending.push((relative.join("modules"), depth + 1));
            found.push(relative);
            continue;
        }
        for entry in fs_err::read_dir(&path).into_iter().flatten().flatten() {
            if let Some(name) = entry.file_name().to_str() {
                pending.push((relative.join(name), depth + 1));
            }
        }
    }
    found.sort();
    found.into_iter().map(|directory| Module { directory, tree: None }).collect()
}
