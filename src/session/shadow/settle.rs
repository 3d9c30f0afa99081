//! Lets branches of the host follow what was imported: forward where nobody else has moved them, new where they
//! are new. Files are never touched; the index follows the branch that is checked out.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

use super::import::{Imported, namespace};
use super::references::{self, References};
use super::{Record, settings};
use crate::backend::git::{Error, Git, Repository};
use crate::util::fs::read_without_links;
use crate::util::git::{Target, parse_target};

mod names;
pub mod nested;

/// The most branches that follow in one go; more are left for the user's own git.
const MOST: usize = 64;

/// The most that is read of a `head-name`, in bytes.
const MOST_NAME: u64 = 4096;

/// The trees without an entry, which git knows without having them.
const EMPTY: [&str; 2] = [
    "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
];

/// Files of a worktree that say that something is going on in it.
const GOING_ON: &[&str] =
    &["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply", "sequencer"];

/// The repository of the host.
pub struct Host<'a> {
    pub git: &'a Git,
    pub record: &'a Record,
}

/// What became of one name below `refs/pier/SESSION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub name: String,
    pub how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// It went on from where it was.
    Forwarded,
    Created,
    /// It is checked out now, as it was in the session.
    Switched,
    /// It stays in `refs/pier`, for this reason.
    Left(Reason),
}

/// Why a branch did not follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Both sides have commits that the other has not.
    Diverged,
    /// It is checked out here, and the session worked in a tree of its own.
    CheckedOut,
    /// Any other, as a fragment that fits after "because".
    Other(String),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Diverged => out.write_str("it has other commits on the host"),
            Reason::CheckedOut => out.write_str("it is checked out"),
            Reason::Other(text) => out.write_str(text),
        }
    }
}

/// Settles all that can be settled without touching a file, and removes it from `refs/pier`.
pub fn settle(git: &Git, imported: &Imported) -> Result<Vec<Settled>, Error> {
    let host = Host { git, record: &imported.record };
    let before = host.references()?;
    let mut done = Vec::new();
    for (count, (name, new)) in imported.references.iter().enumerate() {
        let how = match name.split_once('/') {
            _ if count >= MOST => left(&format!("only {MOST} branches follow at once")),
            Some(("heads", _)) => host.branch(imported, &before, name, new)?,
            Some(("tags", _)) => host.create(&before, name, new, imported)?,
            _ if name == "detached" => host.detached(&before, new)?,
            _ => left("`git stash apply` takes it"),
        };
        done.push(Settled { name: name.clone(), how });
    }
    if let Some(name) = host.switch(&before)? {
        done.push(Settled { name, how: How::Switched });
    }
    let settled = done.iter().filter(|settled| !matches!(settled.how, How::Left(_) | How::Switched));
    let settled: Vec<&str> = settled.map(|settled| settled.name.as_str()).collect();
    host.remove(&imported.session, &imported.references, &settled)?;
    Ok(done)
}

fn left(reason: &str) -> How {
    How::Left(Reason::Other(reason.to_owned()))
}

impl Host<'_> {
    /// Returns the id of the empty tree in the format of another id.
    pub fn empty_tree(like: &str) -> &'static str {
        EMPTY[usize::from(like.len() == 64)]
    }

    pub fn repository(&self) -> Repository<'_> {
        let Record { directory, project, .. } = self.record;
        Repository { directory, work_tree: Some(project), index: None, attributes: None }
    }

    pub fn run(&self, words: &[&str]) -> Result<Vec<u8>, Error> {
        self.git.run(self.repository(), words)
    }

    pub fn references(&self) -> Result<References, Error> {
        let Record { directory, common, .. } = self.record;
        references::read(directory, common)
            .map_err(|error| Error::Run { command: "for-each-ref".into(), error })
    }

    pub fn descends(&self, old: &str, new: &str) -> Result<bool, Error> {
        self.git.says_yes(self.repository(), &["merge-base", "--is-ancestor", old, new])
    }

    /// Lets one branch follow.
    fn branch(&self, imported: &Imported, before: &References, name: &str, new: &str) -> Result<How, Error> {
        let full = format!("refs/{name}");
        let Some(old) = before.ids.get(&full) else {
            return self.create(before, name, new, imported);
        };
        if old == new {
            return Ok(How::Forwarded);
        }
        let moved = imported.start.as_ref().is_some_and(|start| start.get(&full) != Some(old));
        if moved || !self.descends(old, new)? {
            return Ok(How::Left(Reason::Diverged));
        }
        if let Some(reason) = self.occupied(&full).or(nested::reason(self, Some(old), new)?) {
            return Ok(left(&reason));
        }
        if before.head != Some(Target::Reference(full.clone())) {
            self.update(&["update-ref", "-m", "pier: forward", &full, new, old])
        } else if self.record.clone {
            Ok(How::Left(Reason::CheckedOut))
        } else {
            self.with_index(Some(old), new, &["update-ref", "-m", "pier: forward", &full, new, old])
        }
    }

    /// Makes a branch or a tag that the host does not have.
    fn create(&self, before: &References, name: &str, new: &str, imported: &Imported) -> Result<How, Error> {
        let full = format!("refs/{name}");
        match before.ids.get(&full) {
            Some(old) if old == new => return Ok(How::Created),
            Some(_) => return Ok(left("there is another one of that name")),
            None => {}
        }
        if imported.start.as_ref().is_some_and(|start| start.contains_key(&full)) {
            return Ok(left("it was removed on the host"));
        }
        if let Some(reason) = names::confusing(before, name) {
            return Ok(left(&reason));
        }
        let branch = name.starts_with("heads/");
        let tip = before.tip();
        if branch && let Some(reason) = self.occupied(&full).or(nested::reason(self, tip, new)?) {
            return Ok(left(&reason));
        }
        let zero = "0".repeat(new.len());
        let words = ["update-ref", "-m", "pier: create", &full, new, &zero];
        if before.head != Some(Target::Reference(full.clone())) {
            return Ok(match self.update(&words)? {
                How::Forwarded => How::Created,
                how => how,
            });
        }
        // The first commit of all.
        if self.record.clone { Ok(How::Left(Reason::CheckedOut)) } else { self.with_index(None, new, &words) }
    }

    /// Lets a detached `HEAD` follow.
    fn detached(&self, before: &References, new: &str) -> Result<How, Error> {
        let Some(Target::Object(old)) = &before.head else {
            return Ok(left("the host has a branch checked out"));
        };
        if self.record.head != before.head || !self.descends(old, new)? {
            return Ok(How::Left(Reason::Diverged));
        }
        if self.record.clone {
            return Ok(How::Left(Reason::CheckedOut));
        }
        if let Some(reason) = nested::reason(self, Some(old), new)? {
            return Ok(left(&reason));
        }
        self.with_index(
            Some(old),
            new,
            &["update-ref", "--no-deref", "-m", "pier: forward", "HEAD", new, old],
        )
    }

    /// Checks out the branch that the session has checked out: the files are there already.
    fn switch(&self, before: &References) -> Result<Option<String>, Error> {
        let Record { head, end, clone, .. } = self.record;
        let Some(Target::Reference(name)) = end else { return Ok(None) };
        if *clone || head == end || before.head != *head || self.occupied(name).is_some() {
            return Ok(None);
        }
        let now = self.references()?;
        let Some(new) = now.ids.get(name) else { return Ok(None) };
        let old = now.tip();
        if nested::reason(self, old, new)?.is_some() {
            return Ok(None);
        }
        let words = ["symbolic-ref", "-m", "pier: switch", "HEAD", name];
        let how = self.with_index(old, new, &words)?;
        Ok((how == How::Forwarded).then(|| name.trim_start_matches("refs/").to_owned()))
    }

    /// Moves the index from one commit to another together with what `words` changes; staged entries stay.
    fn with_index(&self, old: Option<&str>, new: &str, words: &[&str]) -> Result<How, Error> {
        let directory = &self.record.directory;
        if GOING_ON.iter().any(|name| directory.join(name).symlink_metadata().is_ok()) {
            return Ok(left("a merge or something like it is going on"));
        }
        let old = old.unwrap_or(Self::empty_tree(new));
        // Whole or not at all: git writes an index beside the old one and renames it.
        match self.run(&["read-tree", "-i", "-m", old, new]) {
            Ok(_) => {}
            Err(Error::Failed { said, .. }) if said.contains("would be overwritten") => {
                return Ok(left("the index holds changes to the same files"));
            }
            Err(Error::Failed { said, .. }) => return Ok(left(&format!("git refused: {said}"))),
            Err(error) => return Err(error),
        }
        let how = self.update(words)?;
        if how != How::Forwarded {
            self.run(&["read-tree", "-i", "-m", new, old])?;
            return Ok(how);
        }
        // Without attributes no filter runs. What is not refreshed is compared by the user's next `git status`.
        let repository = Repository { attributes: Some(Self::empty_tree(new)), ..self.repository() };
        let refreshed = self.git.says_yes(repository, &["update-index", "-q", "--refresh"]);
        tracing::debug!(?refreshed, "the index has followed");
        Ok(How::Forwarded)
    }

    /// Changes references; somebody who was faster is a reason, and no error.
    fn update(&self, words: &[&str]) -> Result<How, Error> {
        match self.run(words) {
            Ok(_) => Ok(How::Forwarded),
            Err(Error::Failed { said, .. }) => Ok(left(&format!("git refused: {said}"))),
            Err(error) => Err(error),
        }
    }

    /// Says why a branch must not be moved: another worktree stands on it, or a rebase does.
    pub fn occupied(&self, full: &str) -> Option<String> {
        let Record { directory, common, .. } = self.record;
        let mut others = BTreeSet::new();
        if directory != common && !settings::is_bare(common) {
            others.insert(common.clone());
        }
        for entry in common.join("worktrees").read_dir_utf8().into_iter().flatten().flatten() {
            others.insert(entry.path().to_owned());
        }
        others.remove(directory);
        let names = |path: &Utf8Path, name: &str| {
            let text = read_without_links(&path.join(name), MOST_NAME).ok();
            text.is_some_and(|text| match parse_target(&text) {
                Some(Target::Reference(found)) => found == full,
                _ => String::from_utf8_lossy(&text).trim() == full,
            })
        };
        let rebased =
            |path: &Utf8Path| names(path, "rebase-merge/head-name") || names(path, "rebase-apply/head-name");
        if others.iter().any(|path| names(path, "HEAD") || rebased(path)) {
            return Some("another worktree has it checked out".into());
        }
        rebased(directory).then(|| "it is being rebased".into())
    }

    /// Removes names below `refs/pier/SESSION`, each only if it is what was imported.
    pub fn remove(
        &self,
        session: &str,
        references: &BTreeMap<String, String>,
        names: &[&str],
    ) -> Result<(), Error> {
        let mut input = String::new();
        for (name, id) in references.iter().filter(|(name, _)| names.contains(&name.as_str())) {
            input.push_str(&format!("delete {}{name} {id}\n", namespace(session)));
        }
        if input.is_empty() {
            return Ok(());
        }
        let words = ["update-ref", "--stdin"];
        let settings = crate::backend::git::Settings::None;
        let answer = self.git.ask(self.repository(), settings, &words, input.as_bytes())?;
        if answer.code == Some(0) {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        Err(Error::Failed { command: "update-ref".into(), said })
    }
}
