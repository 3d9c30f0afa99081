//! The index for a shadow: what is staged gets into the store, and hidden entries are marked as not checked out, so
//! that git neither calls them changed nor commits their emptiness.

use std::io;
use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;

use super::super::prepare::copy;
use super::{Error, INDEX, Store, VIEW, store};
use crate::backend::git::{Git, Repository, Settings};
use crate::util::pattern::covers;

/// The mode of the commit of a nested repository, whose object is elsewhere.
const GITLINK: &[u8] = b"160000";

impl Store<'_> {
    /// Returns what tells one state of the repository's index from another; empty where there is none.
    pub fn index_key(&self) -> String {
        let Ok(meta) = self.shadow.record.directory.join("index").symlink_metadata() else {
            return String::new();
        };
        let at = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        format!("{}:{}:{}:{at:?}", meta.dev(), meta.ino(), meta.len())
    }

    /// Looks at the entries of the index.
    pub fn read_index(&mut self, git: &Git, key: String) -> Result<(), Error> {
        let view = self.view();
        let fresh = view.join(INDEX);
        self.copy_index(&fresh).map_err(|source| self.failed_io(source))?;
        let empty = view.join("empty");
        let repository =
            Repository { directory: &view, work_tree: Some(&empty), index: Some(&fresh), attributes: None };
        let words = ["-c", "core.bare=false", "ls-files", "--stage", "-z"];
        let listed = git.run(repository, &words).map_err(|source| self.failed(source))?;
        let have = store::packed(&self.objects(), self.sha256).map_err(|source| self.failed_io(source))?;
        let (mut marked, mut wanted) = (Vec::new(), Vec::new());
        for entry in listed.split(|byte| *byte == 0) {
            let Some(tab) = entry.iter().position(|byte| *byte == b'\t') else { continue };
            let (fields, path) = (&entry[..tab], &entry[tab + 1..]);
            let mut fields = fields.split(|byte| *byte == b' ');
            let (mode, id) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            let id = String::from_utf8_lossy(id).into_owned();
            if covers(self.patterns, path) {
                // Git marks nothing that waits to be merged.
                if fields.next() == Some(b"0") {
                    marked.extend_from_slice(path);
                    marked.push(0);
                }
                self.known.hidden.insert(id);
            } else if mode != GITLINK && store::parse(&id).is_some_and(|id| !have.contains(&id)) {
                wanted.push(id);
            }
        }
        let kinds = self.types(git, wanted.iter().cloned())?;
        let staged = wanted.into_iter().zip(kinds).filter(|(_, kind)| kind == "blob").map(|(id, _)| id);
        self.pack(git, staged)?;
        self.known.marked = !marked.is_empty();
        if self.known.marked {
            self.mark(git, repository, &marked)?;
            fs_err::rename(&fresh, self.place.join(INDEX)).map_err(|source| self.failed_io(source))?;
        }
        self.known.index = key;
        Ok(())
    }

    fn copy_index(&self, to: &Utf8Path) -> io::Result<()> {
        let directory = &self.shadow.record.directory;
        copy(&directory.join("index"), to)?;
        for entry in fs_err::read_dir(directory)? {
            if let Ok(name) = entry?.file_name().into_string()
                && name.starts_with("sharedindex.")
            {
                copy(&directory.join(&name), &self.place.join(VIEW).join(&name))?;
            }
        }
        Ok(())
    }

    fn mark(&self, git: &Git, repository: Repository<'_>, names: &[u8]) -> Result<(), Error> {
        let io = |source| self.failed_io(source);
        let Some(index) = repository.index else { return Ok(()) };
        let written = index.metadata().and_then(|meta| meta.modified()).map_err(io)?;
        let words = [
            "-c",
            "core.bare=false",
            "-c",
            "core.splitIndex=false",
            "update-index",
            "--skip-worktree",
            "-z",
            "--stdin",
        ];
        let answer =
            git.ask(repository, Settings::None, &words, names).map_err(|source| self.failed(source))?;
        self.demand(&words[4..], &answer)?;
        // Files that changed right after the index was written are told by its time.
        let file = fs_err::OpenOptions::new().write(true).open(index).map_err(io)?;
        file.into_parts().0.set_modified(written).map_err(io)
    }
}
