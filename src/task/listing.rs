//! What is in the directory of a task, links and all, so that rules and digests are about one moment.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use crate::util::fs::{canonical, open_without_links};

/// More than any honest task has.
const MOST_ENTRIES: usize = 1 << 20;
/// Names in a path, and links on the way to one file.
const MOST_DEPTH: usize = 128;
const MOST_LINKS: usize = 40;

/// Why a directory cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the directory of a task: {0}")]
    Read(#[from] io::Error),
    #[error("a name in `{0}` is not UTF-8")]
    NotUtf8(Utf8PathBuf),
    #[error("the directory has more than {MOST_ENTRIES} entries, or is more than {MOST_DEPTH} deep")]
    TooLarge,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    File,
    /// Its names, sorted.
    Directory(Vec<String>),
    /// Where it points, as it is written.
    Link(Utf8PathBuf),
    /// A socket, a device: nothing that a task can hold.
    Other,
}

/// Where a path does not lead to a place in the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Astray {
    #[error("leads out of the task")]
    Outside,
    #[error("is a link that leads to itself")]
    Loop,
}

/// A directory, listed once.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Absolute and without links.
    root: Utf8PathBuf,
    /// By paths below the root; the root is the empty path.
    entries: BTreeMap<Utf8PathBuf, Entry>,
}

impl Listing {
    /// Lists a directory; follows no link in it.
    pub fn read(root: &Utf8Path) -> Result<Self, Error> {
        let root = canonical(root)?;
        let mut entries = BTreeMap::new();
        let mut pending = vec![Utf8PathBuf::new()];
        while let Some(directory) = pending.pop() {
            let mut names = Vec::new();
            for entry in fs_err::read_dir(root.join(&directory).as_std_path())? {
                let entry = entry?;
                let name = entry.file_name().into_string().map_err(|_| Error::NotUtf8(directory.clone()))?;
                let path = directory.join(&name);
                let kind = entry.file_type()?;
                if entries.len() >= MOST_ENTRIES || path.components().count() > MOST_DEPTH {
                    return Err(Error::TooLarge);
                }
                if kind.is_dir() {
                    pending.push(path.clone());
                } else if kind.is_symlink() {
                    let target = fs_err::read_link(entry.path())?;
                    let target = Utf8PathBuf::from_path_buf(target);
                    let target = target.map_err(|_| Error::NotUtf8(path.clone()))?;
                    entries.insert(path, Entry::Link(target));
                } else {
                    entries.insert(path, if kind.is_file() { Entry::File } else { Entry::Other });
                }
                names.push(name);
            }
            names.sort_unstable();
            entries.insert(directory, Entry::Directory(names));
        }
        Ok(Listing { root, entries })
    }

    /// Returns where a path below the root leads when its links are followed; that need not exist.
    pub fn real(&self, path: &Utf8Path) -> Result<Utf8PathBuf, Astray> {
        let mut real = self.root.clone();
        let mut left: Vec<String> = names(path);
        let mut links = 0;
        while let Some(name) = left.pop() {
            match name.as_str() {
                ".." => drop(real.pop()),
                "/" => real = Utf8PathBuf::from("/"),
                name => real.push(name),
            }
            // Above the root is nothing but directories without links; beside them nothing is known.
            let Ok(below) = real.strip_prefix(&self.root) else {
                if self.root.starts_with(&real) {
                    continue;
                }
                return Err(Astray::Outside);
            };
            if let Some(Entry::Link(target)) = self.entries.get(below) {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Astray::Loop);
                }
                left.extend(names(target));
                real.pop();
            }
        }
        real.strip_prefix(&self.root).map(Utf8Path::to_owned).map_err(|_| Astray::Outside)
    }

    /// Returns what a path leads to in the task.
    pub fn entry(&self, path: &Utf8Path) -> Option<&Entry> {
        self.entries.get(&self.real(path).ok()?)
    }

    pub fn is_directory(&self, path: &Utf8Path) -> bool {
        matches!(self.entry(path), Some(Entry::Directory(_)))
    }

    /// Says whether a path is a directory itself, and no link to one.
    pub fn is_plain_directory(&self, path: &Utf8Path) -> bool {
        matches!(self.entries.get(path), Some(Entry::Directory(_)))
    }

    pub fn is_file(&self, path: &Utf8Path) -> bool {
        matches!(self.entry(path), Some(Entry::File))
    }

    /// Returns the paths of what is in a directory, as they are reached through `path`.
    pub fn children(&self, path: &Utf8Path) -> Vec<Utf8PathBuf> {
        match self.entry(path) {
            Some(Entry::Directory(names)) => names.iter().map(|name| path.join(name)).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns every entry below the root by its own path, and where it is a link, that.
    pub fn all(&self) -> impl Iterator<Item = (&Utf8Path, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_path(), entry))
    }

    /// Opens a file of the task.
    pub fn open(&self, path: &Utf8Path) -> io::Result<File> {
        let real = self.real(path).map_err(|astray| io::Error::other(format!("`{path}` {astray}")))?;
        // The path has no link any more, and nobody can have made one since.
        let file = open_without_links(&self.root.join(real))?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a plain file")) }
    }

    /// Reads a text of at most a mebibyte.
    pub fn read_text(&self, path: &Utf8Path) -> io::Result<String> {
        const MOST: u64 = 1 << 20;
        let mut text = String::new();
        self.open(path)?.take(MOST + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MOST { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
    }
}

/// The parts of a path, last one first.
fn names(path: &Utf8Path) -> Vec<String> {
    let parts = path.components().filter(|part| *part != Utf8Component::CurDir);
    let mut names: Vec<String> = parts.map(|part| part.as_str().to_owned()).collect();
    names.reverse();
    names
}
