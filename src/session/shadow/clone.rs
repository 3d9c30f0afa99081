//! Clone mode: a private working tree of `HEAD`, written by the host's git from the private git directory.

use std::io;

use camino::Utf8Path;

use super::prepare::{alternates, copy};
use super::{Error, Shadow};
use crate::backend::git::{Git, Repository};
use crate::plan::{self, session};

/// The index as it was written with the working tree, outside of what the sandbox sees.
const INDEX: &str = "index";

/// Writes the working tree and the index of a shadow.
pub fn make(shadow: &Shadow, wanted: &plan::Shadow, home: &Utf8Path) -> Result<(), Error> {
    let directory = &shadow.record.directory;
    let failed = |source| Error::Prepare { directory: directory.clone(), source };
    let (git, tree) = (shadow.place.join(session::GIT), shadow.place.join(session::TREE));
    fs_err::create_dir_all(tree.join(".git")).map_err(failed)?;
    let Some(tip) = shadow.tip() else { return Ok(()) };
    let list = git.join("objects/info/alternates");
    // Without what is hidden, even if git wanted to write it.
    let store = wanted.filtered.as_ref().map(|filtered| filtered.place.join(plan::OBJECTS_OF_STORE));
    let on_host = [store.unwrap_or_else(|| shadow.record.common.join("objects"))];
    fs_err::write(&list, alternates(&on_host)).map_err(failed)?;
    let program = Git::find(home).map_err(|source| Error::Clone { directory: directory.clone(), source })?;
    let repository = Repository { directory: &git, work_tree: Some(&tree), index: None, attributes: None };
    program
        .run(repository, &["read-tree", "-m", "-u", tip])
        .map_err(|source| Error::Clone { directory: directory.clone(), source })?;
    fs_err::write(&list, alternates(&wanted.objects)).map_err(failed)?;
    copy(&git.join("index"), &shadow.place.join(INDEX)).map_err(failed)?;
    Ok(())
}

impl Shadow {
    /// Returns the commit that `HEAD` led to at the start; `None` before the first one.
    pub fn tip(&self) -> Option<&str> {
        use crate::util::git::Target;
        match self.record.head.as_ref()? {
            Target::Object(id) => Some(id),
            Target::Reference(name) => self.start.get(name).map(String::as_str),
        }
    }

    /// Says whether a clone holds anything that `tip`, a commit of the host's repository by now, does not.
    ///
    /// The tree is compared from a git directory that the sandbox never saw.
    pub fn has_more_than(&self, tip: Option<&str>, view: &Utf8Path, git: &Git) -> Result<bool, Error> {
        let tree = self.place.join(session::TREE);
        let Some(tip) = tip else { return self.has_files().map_err(|source| Error::Objects { source }) };
        let index = view.join("index");
        let start = self.place.join(INDEX);
        // Without it every file is read, and the answer is the same.
        if let Err(error) = copy(&start, &index) {
            tracing::debug!(%error, "the index of the clone is made anew");
        }
        let failed = |source| Error::Fetch { source };
        let repository =
            Repository { directory: view, work_tree: Some(&tree), index: Some(&index), attributes: None };
        let from = self.tip().unwrap_or(tip);
        git.run(repository, &["read-tree", "-i", "-m", from, tip]).map_err(failed)?;
        git.run(repository, &["update-ref", "--no-deref", "HEAD", tip]).map_err(failed)?;
        let words = ["-c", "core.bare=false", "status", "--porcelain", "--ignore-submodules=all"];
        Ok(!git.run(repository, &words).map_err(failed)?.is_empty())
    }

    fn has_files(&self) -> io::Result<bool> {
        let names = fs_err::read_dir(self.place.join(session::TREE))?;
        Ok(names.flatten().any(|entry| entry.file_name() != ".git"))
    }
}
