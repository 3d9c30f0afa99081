//! The files of a coordination repository, on disk. Nothing there is believed: no link is followed, and all is bounded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::resume_unwind;

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use thiserror::Error;

use super::item::{Head, MOST};
use super::kind::{Kind, STATES};
use crate::util::fs::read_bounded;

/// The most files and the deepest directory that are looked at.
const MOST_FILES: usize = 200_000;
const MOST_DEPTH: usize = 4;

/// Directories of the repository that hold no items.
const NO_ITEMS: &[&str] = &["agents", "designs", "docs", "roles"];

/// Where the repositories of a domain have their places.
const REPOS: &str = "repos";

/// Files that are no items wherever they are.
const NO_ITEM: &[&str] = &["AGENTS.md", "PROJECT.md", "README.md", "REPO.md"];

/// What a repository has that is one.
const SIGNS: [&str; 3] = ["AGENTS.md", "docs/SYNC_PROTOCOL.md", "docs/ITEM_FORMAT.md"];

#[derive(Debug, Error)]
pub enum Error {
    #[error("`{path}` is no coordination repository: it has no {missing}")]
    NoRepository { path: Utf8PathBuf, missing: &'static str },
    #[error("`{path}` cannot be read: {source}")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error("`{path}` has more than {MOST_FILES} items")]
    TooMany { path: Utf8PathBuf },
    #[error("item not found: {query}")]
    None { query: String },
    #[error("the id `{id}` is that of several files: {}", .found.join(", "))]
    Twins { id: String, found: Vec<String> },
    #[error("multiple items match {query}: {}", .found.join(", "))]
    Many { query: String, found: Vec<String> },
}

/// One file of an item.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Relative to the repository.
    pub path: Utf8PathBuf,
    pub text: String,
    pub head: Head,
}

impl Entry {
    /// Returns the repository of the domain that it is about, if it is in the place of one.
    pub fn repo(&self) -> Option<&str> {
        repo_of(&self.path)
    }
}

/// Returns the id of the repository that a path is in the place of.
pub fn repo_of(path: &Utf8Path) -> Option<&str> {
    let mut parts = path.components().map(|part| part.as_str());
    if parts.next() == Some("repos") { parts.next() } else { None }
}

/// Which part of the repository is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    All,
    Issues,
    /// The directory of another kind.
    Directory(&'a str),
}

/// A clone of a coordination repository.
#[derive(Clone, Debug)]
pub struct Store {
    pub root: Utf8PathBuf,
}

impl Store {
    /// Opens a clone.
    pub fn open(root: &Utf8Path) -> Result<Self, Error> {
        let missing = |missing| Error::NoRepository { path: root.to_owned(), missing };
        if !is_directory(&root.join(".git")) {
            return Err(missing("`.git` directory"));
        }
        if !is_file(&root.join(SIGNS[0])) {
            return Err(missing("`AGENTS.md`"));
        }
        Ok(Store { root: root.to_owned() })
    }

    /// Says whether a directory is a coordination repository, by all that one has.
    pub fn is_one(root: &Utf8Path) -> bool {
        is_directory(&root.join(".git")) && SIGNS.iter().all(|sign| is_file(&root.join(sign)))
    }

    /// Returns the files of items, in the order of their paths.
    pub fn paths(&self, part: Part<'_>) -> Result<Vec<Utf8PathBuf>, Error> {
        let mut found = Vec::new();
        match part {
            Part::Issues => self.issues(&mut found)?,
            Part::Directory(directory) => self.walk(Utf8Path::new(directory), 0, &mut found)?,
            Part::All => {
                for (name, is_directory) in self.list(Utf8Path::new(""))? {
                    if name == REPOS {
                        self.of_repos(&mut found)?;
                    } else if is_directory && !NO_ITEMS.contains(&name.as_str()) {
                        self.walk(Utf8Path::new(&name), 0, &mut found)?;
                    }
                }
            }
        }
        Ok(found)
    }

    fn issues(&self, found: &mut Vec<Utf8PathBuf>) -> Result<(), Error> {
        self.walk(Utf8Path::new("issues"), 0, found)?;
        self.of_repos(found)
    }

    fn of_repos(&self, found: &mut Vec<Utf8PathBuf>) -> Result<(), Error> {
        for repo in self.repos()? {
            self.walk(&Utf8Path::new(REPOS).join(repo).join("issues"), 0, found)?;
        }
        Ok(())
    }

    /// Returns the names of the repositories that have a place of their own.
    pub fn repos(&self) -> Result<Vec<String>, Error> {
        let all = self.list(Utf8Path::new(REPOS))?.into_iter();
        Ok(all.filter_map(|(name, is_directory)| is_directory.then_some(name)).collect())
    }

    fn walk(&self, directory: &Utf8Path, depth: usize, found: &mut Vec<Utf8PathBuf>) -> Result<(), Error> {
        for (name, is_directory) in self.list(directory)? {
            if is_directory {
                if depth < MOST_DEPTH {
                    self.walk(&directory.join(name), depth + 1, found)?;
                }
            } else if is_item(&name) {
                found.push(directory.join(name));
            }
            if found.len() > MOST_FILES {
                return Err(Error::TooMany { path: self.root.clone() });
            }
        }
        Ok(())
    }

    /// Returns what is in a directory, without hidden things, links and anything else that is no file; in the order of the
    /// names, in which a walk comes to the paths in their order.
    fn list(&self, directory: &Utf8Path) -> Result<Vec<(String, bool)>, Error> {
        let path = self.root.join(directory);
        let failed = |source| Error::Read { path: path.clone(), source };
        let entries = match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => std::fs::read_dir(&path).map_err(failed)?,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(_) | Err(_) => return Ok(Vec::new()),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else { continue };
            // A link in the place of an item is told by whoever reads it.
            if !name.starts_with('.')
                && (kind.is_dir() || kind.is_file() || kind.is_symlink() && is_item(&name))
            {
                found.push((name, kind.is_dir()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Reads items, in the order of their paths. What cannot be read has a reason in place of its text.
    pub fn read(&self, paths: &[Utf8PathBuf]) -> Vec<Result<Entry, Error>> {
        in_parts(paths, |part| {
            let mut above = Above { root: &self.root, of: None };
            part.iter().map(|path| entry(path, above.text(path))).collect()
        })
    }

    fn entry(&self, path: &Utf8Path) -> Result<Entry, Error> {
        entry(path, self.text(path))
    }

    /// Reads one file of the repository; what is no UTF-8 in it is replaced.
    pub fn text(&self, path: &Utf8Path) -> io::Result<String> {
        text(nix::fcntl::AT_FDCWD, &self.root.join(path))
    }

    /// Returns every item that can be read; the others are told.
    pub fn entries(&self, part: Part<'_>) -> Result<(Vec<Entry>, Vec<Error>), Error> {
        let (mut entries, mut errors) = (Vec::new(), Vec::new());
        for found in self.read(&self.paths(part)?) {
            match found {
                Ok(entry) => entries.push(entry),
                Err(error) => errors.push(error),
            }
        }
        Ok((entries, errors))
    }

    /// Finds one item by the name of its file, by the beginning of it up to a dash, or by its id.
    pub fn find(&self, query: &str) -> Result<Entry, Error> {
        let paths = self.paths(Part::All)?;
        let matches = |path: &&Utf8PathBuf| {
            let (name, stem) = (path.file_name().unwrap_or_default(), path.file_stem().unwrap_or_default());
            let begins = name.strip_prefix(query).is_some_and(|rest| rest.starts_with('-'));
            path.as_str() == query || name == query || stem == query || begins
        };
        let mut found: Vec<Utf8PathBuf> = paths.iter().filter(matches).cloned().collect();
        // A whole name is nobody else's beginning.
        let whole = |path: &&Utf8PathBuf| path.as_str() == query || path.file_stem() == Some(query);
        if let [one] = found.iter().filter(whole).collect::<Vec<_>>()[..] {
            return self.entry(one);
        }
        if found.is_empty() {
            let entries = self.read(&paths).into_iter().flatten();
            found = entries.filter(|entry| entry.head.id == query).map(|entry| entry.path).collect();
        }
        match found.as_slice() {
            [] => Err(Error::None { query: query.to_owned() }),
            [one] => self.entry(one),
            many => {
                let found = many.iter().map(ToString::to_string).collect();
                Err(Error::Many { query: query.to_owned(), found })
            }
        }
    }

    /// Returns the ids that several files have, each with their paths.
    pub fn twins(&self) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in self.read(&self.paths(Part::All)?).into_iter().flatten() {
            if !entry.head.id.is_empty() {
                all.entry(entry.head.id).or_default().push(entry.path.into_string());
            }
        }
        all.retain(|_, paths| paths.len() > 1);
        Ok(all)
    }

    /// Returns where a new item of a kind is written.
    pub fn place(kind: &Kind, repo: Option<&str>, id: &str) -> Utf8PathBuf {
        let directory = match (kind.is_issue(), repo) {
            (true, Some(repo)) => Utf8Path::new("repos").join(repo).join("issues").join(STATES[0]),
            (true, None) => Utf8Path::new("issues").join(STATES[0]),
            (false, _) => Utf8PathBuf::from(&kind.directory),
        };
        directory.join(format!("{id}.yaml"))
    }

    /// Returns where an issue is that has come into another state.
    pub fn moved(path: &Utf8Path, state: &str) -> Utf8PathBuf {
        let (Some(name), Some(above)) = (path.file_name(), path.parent().and_then(Utf8Path::parent)) else {
            return path.to_owned();
        };
        above.join(state).join(name)
    }

    /// Reads a document of the repository, such as `PROJECT.md`.
    pub fn document(&self, path: &str) -> Option<String> {
        String::from_utf8(read_bounded(&self.root.join(path), MOST).ok()?).ok()
    }
}

/// The directory whose files are read, open: a path is looked up below it alone, which is half of what reading costs.
struct Above<'a> {
    root: &'a Utf8Path,
    of: Option<(&'a Utf8Path, OwnedFd)>,
}

impl<'a> Above<'a> {
    fn text(&mut self, path: &'a Utf8Path) -> io::Result<String> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if self.of.as_ref().is_none_or(|(open, _)| *open != parent) {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let at = self.root.join(parent);
            self.of = Some((parent, openat(nix::fcntl::AT_FDCWD, at.as_std_path(), flags, Mode::empty())?));
        }
        match &self.of {
            Some((_, directory)) => text(directory, Utf8Path::new(name)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn entry(path: &Utf8Path, text: io::Result<String>) -> Result<Entry, Error> {
    match text {
        Ok(text) => Ok(Entry { head: Head::read(&text), path: path.to_owned(), text }),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

fn text(directory: impl AsFd, path: &Utf8Path) -> io::Result<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let opened = openat(directory, path.as_std_path(), flags, Mode::empty());
    let mut file = match opened {
        Err(Errno::ELOOP) => return Err(io::Error::other("it is a symbolic link")),
        opened => File::from(opened?),
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if meta.len() > MOST {
        return Err(io::Error::other(format!("it has more than {MOST} bytes")));
    }
    // As long as it was just now: what grows is read the next time, and the call that only finds the end is saved.
    let mut bytes = vec![0; usize::try_from(meta.len()).unwrap_or(0)];
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Does something with many things, on all processors, and returns what comes of it in their order.
pub(super) fn in_parts<T: Sync, R: Send>(all: &[T], each: impl Fn(&[T]) -> Vec<R> + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    if all.len() < 256 || threads == 1 {
        return each(all);
    }
    std::thread::scope(|scope| {
        let each = &each;
        let running: Vec<_> =
            all.chunks(all.len().div_ceil(threads)).map(|part| scope.spawn(move || each(part))).collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// Says whether what is at a path of the repository is an item by its name.
pub fn is_item_at(path: &Utf8Path) -> bool {
    let above = path.components().next().map(|part| part.as_str()).unwrap_or_default();
    let is_place = path.components().count() > 1 && !above.starts_with('.') && !NO_ITEMS.contains(&above);
    is_place && path.file_name().is_some_and(is_item)
}

fn is_item(name: &str) -> bool {
    let by_name = [".yaml", ".yml", ".md"].iter().any(|end| name.ends_with(end));
    by_name && !NO_ITEM.contains(&name)
}

fn is_directory(path: &Utf8Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

fn is_file(path: &Utf8Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::try_from(directory.path().to_owned()).unwrap();
        let write = |path: &str, text: &str| {
            fs_err::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs_err::write(root.join(path), text).unwrap();
        };
        write(".git/HEAD", "");
        write("AGENTS.md", "");
        write("issues/open/P-ISS-1.yaml", "id: P-ISS-1\ntype: issue\n");
        write("issues/done/legacy-name.yaml", "id: OTHER\ntype: issue\n");
        write("repos/one/REPO.md", "---\nrepo_id: one\n---\n");
        write("repos/one/issues/open/P-ISS-2.yaml", "id: P-ISS-2\n");
        write("todos/P-TODO-1.yaml", "id: P-TODO-1\ntype: todo\n");
        write("risks/R.md", "---\nid: R\ntype: risk\n---\n");
        write("docs/x.yaml", "id: no\n");
        write("notes/README.md", "");
        std::os::unix::fs::symlink("/etc/passwd", root.join("todos/link.yaml")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("etc")).unwrap();
        (directory, Store::open(&root).unwrap())
    }

    #[test]
    fn items_are_found_in_both_layouts() {
        let (_kept, store) = store();
        let all: Vec<String> = store.paths(Part::All).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            all,
            [
                "issues/done/legacy-name.yaml",
                "issues/open/P-ISS-1.yaml",
                "repos/one/issues/open/P-ISS-2.yaml",
                "risks/R.md",
                "todos/P-TODO-1.yaml",
                "todos/link.yaml"
            ]
        );
        assert_eq!(store.find("P-ISS-2").unwrap().repo(), Some("one"));
        assert_eq!(store.find("OTHER").unwrap().path, "issues/done/legacy-name.yaml");
        assert_eq!(store.find("legacy").unwrap().head.id, "OTHER");
        assert!(matches!(store.find("P"), Err(Error::Many { .. })));
        assert!(matches!(store.find("../AGENTS.md"), Err(Error::None { .. })));
        assert!(matches!(store.find("absent"), Err(Error::None { .. })));
        assert!(store.text(Utf8Path::new("todos/link.yaml")).is_err());
        assert_eq!(
            Store::moved(Utf8Path::new("repos/one/issues/open/x.yaml"), "done"),
            "repos/one/issues/done/x.yaml"
        );
        assert!(!Store::is_one(&store.root));
    }
}
