//! The repository that a project root is the top of, without running git on it.

use std::io::{self, Read as _};

use camino::{Utf8Path, Utf8PathBuf};

use super::Error;
use crate::plan::facts::{Repository, Shadow};
use crate::util::fs::{open_without_links, read_bounded, read_without_links};
use crate::util::git::index;

mod parts;

/// The most that is read of a `.git` file and its like, in bytes.
const MOST: u64 = 16 * 1024;

/// The most that is read of an index, in bytes: some five million files.
const MOST_INDEX: u64 = 1 << 29;

/// Of an index, in bytes.
const INDEX_BUFFER: usize = 64 * 1024;

/// Returns the repository of a root that has a `.git`.
///
/// The `.git` file of a worktree or submodule is the repository's own word and may name any directory, so the
/// directory must point back: a worktree by its `gitdir` file, a submodule by `core.worktree`.
///
/// # Errors
/// Its index cannot be read: what is nested in it could not be protected.
pub fn find(root: &Utf8Path) -> Result<Option<Repository>, Error> {
    let dot = root.join(".git");
    match dot.symlink_metadata() {
        Ok(meta) if meta.is_dir() => look_into(root, dot.clone(), dot).map(Some),
        Ok(meta) if meta.is_file() => named(root, &dot).transpose(),
        _ => Ok(None),
    }
}

/// Looks where a `.git` file points.
fn named(root: &Utf8Path, dot: &Utf8Path) -> Option<Result<Repository, Error>> {
    let named = first_line(dot)?;
    let named = named.strip_prefix("gitdir:")?.trim();
    let directory = root.join(named).canonicalize_utf8().ok()?;
    let common = first_line(&directory.join("commondir"))
        .and_then(|named| directory.join(named.trim()).canonicalize_utf8().ok())
        .unwrap_or_else(|| directory.clone());
    // A submodule has no common directory but its own: one that it names would be any repository of this host.
    let submodule = common == directory && submodule_points_back(&directory, root);
    let looks_right = common.join("HEAD").is_file() && common.join("objects").is_dir();
    if looks_right && (submodule || worktree_points_back(&directory, &common, dot)) {
        return Some(look_into(root, directory, common));
    }
    let shadow = Shadow::Impossible("it is not this project's".into());
    Some(Ok(Repository { directory, common, foreign: true, shadow, nested: Vec::new() }))
}

fn look_into(root: &Utf8Path, directory: Utf8PathBuf, common: Utf8PathBuf) -> Result<Repository, Error> {
    let (parts, id) = parts::find(&directory, &common);
    let mut shadow = parts.map_or_else(Shadow::Impossible, Shadow::Possible);
    let nested = nested(&directory, id)?;
    if let Shadow::Possible(parts) = &mut shadow {
        for tree in &nested {
            let place = checked_out(&root.join(tree)).unwrap_or_default();
            for module in &mut parts.modules {
                if directory.join(&module.directory) == place {
                    module.tree = Some(tree.clone());
                }
            }
        }
    }
    Ok(Repository { directory, common, foreign: false, shadow, nested })
}

/// Returns the git directory that the `.git` file of a submodule names.
fn checked_out(tree: &Utf8Path) -> Option<Utf8PathBuf> {
    let text = read_without_links(&tree.join(".git"), MOST).ok()?;
    let text = String::from_utf8(text).ok()?;
    tree.join(text.strip_prefix("gitdir:")?.trim()).canonicalize_utf8().ok()
}

/// Returns the gitlinks of the index, and of the parts that a split index shares.
fn nested(directory: &Utf8Path, id: usize) -> Result<Vec<Utf8PathBuf>, Error> {
    let mut found = Vec::new();
    let shared = fs_err::read_dir(directory).into_iter().flatten().flatten();
    let shared = shared.filter_map(|entry| entry.file_name().into_string().ok());
    let shared = shared.filter(|name| name.starts_with("sharedindex."));
    for name in std::iter::once("index".to_owned()).chain(shared) {
        let path = directory.join(&name);
        let links = match open_index(&path) {
            Ok(file) => index::gitlinks(file, id),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Vec::new()),
            Err(_) => None,
        };
        let plain = |path: &Utf8PathBuf| {
            path.components().all(|part| matches!(part, camino::Utf8Component::Normal(_)))
        };
        let links = links.ok_or(Error::Index { path })?;
        found.extend(links.into_iter().map(Utf8PathBuf::from).filter(plain));
    }
    Ok(found)
}

fn open_index(path: &Utf8Path) -> io::Result<impl io::BufRead> {
    let file = open_without_links(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > MOST_INDEX {
        return Err(io::Error::other("it is no plain file, or too long"));
    }
    Ok(io::BufReader::with_capacity(INDEX_BUFFER, file.take(MOST_INDEX)))
}

fn first_line(path: &Utf8Path) -> Option<String> {
    let bytes = read_bounded(path, MOST).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.lines().next().map(str::to_owned)
}

/// `<common>/worktrees/<name>/gitdir` holds the path of the `.git` file.
fn worktree_points_back(directory: &Utf8Path, common: &Utf8Path, dot: &Utf8Path) -> bool {
    let back = first_line(&directory.join("gitdir")).map(|line| Utf8PathBuf::from(line.trim()));
    let back = back.and_then(|back| directory.join(back).canonicalize_utf8().ok());
    directory.starts_with(common.join("worktrees")) && back.as_deref() == Some(dot)
}

/// `core.worktree` of the submodule's configuration leads to the root.
fn submodule_points_back(directory: &Utf8Path, root: &Utf8Path) -> bool {
    let Ok(bytes) = read_bounded(&directory.join("config"), MOST) else { return false };
    let text = String::from_utf8_lossy(&bytes);
    let value = text.lines().find_map(|line| line.trim().strip_prefix("worktree")?.trim().strip_prefix('='));
    let tree = value.and_then(|value| directory.join(value.trim()).canonicalize_utf8().ok());
    tree.as_deref() == Some(root)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write plain files")]
mod tests {
    use std::fs;

    use super::*;

    /// Makes a root whose `.git` file names `repo/modules/sub`, and returns it and that directory.
    fn submodule(base: &Utf8Path) -> (Utf8PathBuf, Utf8PathBuf) {
        let (root, directory) = (base.join("root"), base.join("repo/modules/sub"));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(directory.join("objects")).unwrap();
        fs::write(directory.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(directory.join("config"), "[core]\n\tworktree = ../../../root\n").unwrap();
        fs::write(root.join(".git"), "gitdir: ../repo/modules/sub\n").unwrap();
        (root, directory)
    }

    #[test]
    fn a_submodule_has_no_other_common_directory() {
        let place = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(place.path()).unwrap().canonicalize_utf8().unwrap();
        let (root, directory) = submodule(&base);
        let found = find(&root).unwrap().unwrap();
        assert_eq!((found.foreign, &found.common), (false, &directory));

        let other = base.join("other.git");
        fs::create_dir_all(other.join("objects")).unwrap();
        fs::write(other.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(directory.join("commondir"), other.as_str()).unwrap();
        assert!(find(&root).unwrap().unwrap().foreign);
    }

    #[test]
    fn a_directory_that_does_not_point_back_is_foreign() {
        let place = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(place.path()).unwrap().canonicalize_utf8().unwrap();
        let (root, directory) = submodule(&base);
        fs::write(directory.join("config"), "[core]\n\tworktree = ../../../elsewhere\n").unwrap();
        assert!(find(&root).unwrap().unwrap().foreign);
    }
}
