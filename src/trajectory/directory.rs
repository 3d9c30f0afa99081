//! A directory of logs, which an agent may have made: links are not followed, and there is an end to how much is looked at.

use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use camino::{Utf8Path, Utf8PathBuf};

use crate::agent::log::{LogFile, Logs};
use crate::atif::lines::BOM;
use crate::util::fs::{canonical, open_without_links};
use crate::util::sqlite::{self, Database, ReadAt, WAL};

/// The most files of one directory, and the deepest.
const MOST_FILES: usize = 100_000;
const MOST_DEPTH: usize = 24;

/// How much of a file says what it is, in bytes.
const HEAD: u64 = 16 << 10;

/// How much is read at once, in bytes.
const BUFFER: usize = 256 << 10;

/// Names of directories in which nobody keeps logs, and which are large.
const PASSED_OVER: &[&str] = &[".git", "node_modules"];

/// What hears how many bytes of the logs were read, and how many there are.
pub type Heard<'a> = &'a dyn Fn(u64, u64);

pub struct Directory<'a> {
    /// Canonical.
    root: Utf8PathBuf,
    files: Vec<LogFile>,
    left_out: Vec<(Utf8PathBuf, String)>,
    /// In milliseconds since 1970.
    since: Option<i64>,
    conversations: Option<Vec<String>>,
    heard: Option<Heard<'a>>,
    read: Cell<u64>,
    /// The bytes of all files.
    all: OnceCell<u64>,
}

/// A file, of which somebody hears how far it was read.
struct Counted<'a> {
    file: File,
    directory: &'a Directory<'a>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        let directory = self.directory;
        directory.read.set(directory.read.get() + length as u64);
        if let Some(heard) = directory.heard {
            let all = *directory.all.get_or_init(|| directory.files.iter().map(|file| file.bytes).sum());
            // Some are read twice.
            heard(directory.read.get().min(all), all);
        }
        Ok(length)
    }
}

impl<'a> Directory<'a> {
    /// Lists the files below a directory, or takes one file.
    pub fn open(path: &Utf8Path) -> io::Result<Self> {
        let root = canonical(path)?;
        if let Some((parent, name)) = root.parent().zip(root.file_name()).filter(|_| root.is_file()) {
            let bytes = root.metadata()?.len();
            let files = vec![LogFile { path: name.into(), bytes }];
            return Ok(Directory::of(parent.to_owned(), files));
        }
        let mut directory = Directory::of(root, Vec::new());
        directory.list()?;
        Ok(directory)
    }

    /// Takes these files of a directory.
    pub fn chosen(path: &Utf8Path, files: &[Utf8PathBuf]) -> io::Result<Self> {
        let root = canonical(path)?;
        let files = files.iter().filter_map(|path| {
            let meta = root.join(path).symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some(LogFile { path: path.clone(), bytes: meta.len() })
        });
        Ok(Directory::of(root.clone(), files.collect()))
    }

    fn of(root: Utf8PathBuf, files: Vec<LogFile>) -> Self {
        let (left_out, read) = (Vec::new(), Cell::new(0));
        Directory {
            root,
            files,
            left_out,
            since: None,
            conversations: None,
            heard: None,
            read,
            all: OnceCell::new(),
        }
    }

    /// Says who hears how much was read.
    pub fn with_heard(self, heard: Heard<'a>) -> Self {
        Directory { heard: Some(heard), ..self }
    }

    /// Says since when the run lasts whose logs they are, in milliseconds since 1970, and which conversations of a database are its
    /// own; all of them, where that is not said.
    pub fn with(self, since: Option<i64>, conversations: Option<&[String]>) -> Self {
        Directory { since, conversations: conversations.map(<[String]>::to_vec), ..self }
    }

    /// Opens a plain file.
    fn plain(&self, path: &Utf8Path) -> io::Result<File> {
        let file = open_without_links(&self.root.join(path))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a plain file"));
        }
        Ok(file)
    }

    /// Files that are there and are not read, and why.
    pub fn left_out(&self) -> impl Iterator<Item = (&Utf8Path, &str)> {
        self.left_out.iter().map(|(path, why)| (path.as_path(), why.as_str()))
    }

    fn list(&mut self) -> io::Result<()> {
        let mut pending = vec![(Utf8PathBuf::new(), 0)];
        while let Some((below, depth)) = pending.pop() {
            let entries = match self.root.join(&below).read_dir_utf8() {
                // The place that was named has to be there.
                Err(error) if depth == 0 => return Err(error),
                Err(error) => {
                    self.left_out.push((below, error.to_string()));
                    continue;
                }
                Ok(entries) => entries,
            };
            for entry in entries {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(error) => {
                        self.left_out.push((below.clone(), error.to_string()));
                        continue;
                    }
                };
                let path = below.join(entry.file_name());
                let Ok(meta) = entry.path().symlink_metadata() else { continue };
                let is_log =
                    |path: &Utf8Path| matches!(path.extension(), Some("db" | "json" | "jsonl" | "txt"));
                if meta.is_symlink() && is_log(&path) {
                    self.left_out.push((path, "it is a link, and those are not followed".to_owned()));
                } else if meta.is_dir() && depth < MOST_DEPTH {
                    if !PASSED_OVER.contains(&entry.file_name()) {
                        pending.push((path, depth + 1));
                    }
                } else if meta.is_dir() {
                    self.left_out.push((path, "it is too deep".to_owned()));
                } else if meta.is_file() {
                    if self.files.len() >= MOST_FILES {
                        self.left_out.push((path, format!("there are more than {MOST_FILES} files")));
                        return Ok(());
                    }
                    self.files.push(LogFile { path, bytes: meta.len() });
                }
            }
        }
        self.files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(())
    }
}

impl Logs for Directory<'_> {
    fn files(&self) -> &[LogFile] {
        &self.files
    }

    fn open(&self, index: usize) -> io::Result<Box<dyn BufRead + '_>> {
        let file = self.plain(&self.files[index].path)?;
        Ok(Box::new(BufReader::with_capacity(BUFFER, Counted { file, directory: self })))
    }

    fn head(&self, index: usize) -> String {
        let mut head = Vec::new();
        let Ok(file) = self.plain(&self.files[index].path) else { return String::new() };
        if file.take(HEAD).read_to_end(&mut head).is_err() {
            return String::new();
        }
        String::from_utf8_lossy(head.strip_prefix(BOM).unwrap_or(&head)).into_owned()
    }

    fn database(&self, index: usize) -> Result<Database, sqlite::Error> {
        let path = &self.files[index].path;
        // It is opened first: what somebody moves from it into the file meanwhile is in the file then.
        let wal = match self.plain(Utf8Path::new(&format!("{path}{WAL}"))) {
            Ok(wal) => Some(Box::new(wal) as Box<dyn ReadAt>),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        Database::open(Box::new(self.plain(path)?), wal)
    }

    fn since(&self) -> Option<i64> {
        self.since
    }

    fn takes(&self, conversation: &str) -> bool {
        self.conversations.as_ref().is_none_or(|own| own.iter().any(|id| id == conversation))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn somebody_hears_how_far_the_logs_were_read() {
        let place = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(place.path()).unwrap();
        for name in ["a.jsonl", "b.jsonl"] {
            fs_err::write(root.join(name), vec![b' '; BUFFER]).unwrap();
        }
        let told = RefCell::new(Vec::new());
        let heard = |read, of| told.borrow_mut().push((read, of));
        let directory = Directory::open(root).unwrap().with_heard(&heard);
        let read = |index| directory.open(index).unwrap().read_to_end(&mut Vec::new()).unwrap();
        let all = 2 * BUFFER as u64;
        assert_eq!((read(0), told.borrow().last().copied()), (BUFFER, Some((all / 2, all))));
        assert_eq!((read(1), told.borrow().last().copied()), (BUFFER, Some((all, all))));
        // Some are read twice.
        assert_eq!((read(1), told.borrow().last().copied()), (BUFFER, Some((all, all))));
        assert!(told.borrow().is_sorted());
    }
}
