//! Brings a clone to what its remote has, and its own commits behind that.
//!
//! What a killed process has left is recognised, and items whose names others have taken get new ones.

use std::collections::{HashMap, HashSet};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use super::{Domain, Error, State, Waits, Write, any_number};
use crate::backend::git::failed;
use crate::backend::git::shared::Call;
use crate::coord::item::Item;
use crate::coord::verdict::{Away, lock_in, said};
use crate::coord::{id, kind, store};

/// How many texts git is asked for at once.
const AT_ONCE: usize = 1000;

impl Domain<'_> {
    /// Brings the clone to what its remote has; own commits come after it.
    pub fn pull(&self) -> Result<(), Error> {
        self.integrate(&self.state()?).map(drop)
    }

    /// Returns the commit that the clone is at.
    pub fn head(&self) -> Result<Option<String>, Error> {
        self.commit("HEAD")
    }

    pub(super) fn integrate(&self, before: &State) -> Result<State, Error> {
        if self.shared.origin().is_none() {
            return Ok(State { upstream: None, branch: before.branch.clone(), head: before.head.clone() });
        }
        let upstream = self.fetched(before)?;
        let state = State { branch: before.branch.clone(), head: before.head.clone(), upstream };
        let Some(upstream) = &state.upstream else { return Ok(state) };
        if state.head.as_ref() == Some(upstream) {
            return Ok(state);
        }
        // As it is most of the time: nothing here is the clone's own.
        if state.head.is_some() && state.head == before.upstream && self.forward(upstream)? {
            return Ok(State { head: Some(upstream.clone()), ..state });
        }
        match &state.head {
            Some(head) if self.is_in(upstream, head)? => return Ok(state),
            _ => {
                self.forget_taken(upstream)?;
                self.rename_taken(upstream)?;
            }
        }
        let answer = self.rebase(upstream)?;
        if answer.code != Some(0) {
            let error = failed(&["rebase"], &answer);
            if lock_in(&String::from_utf8_lossy(&answer.stderr)).is_some() {
                return Err(error.into());
            }
            let conflict = String::from_utf8_lossy(&answer.stdout);
            let paths: Vec<&str> =
                conflict.lines().filter(|line| line.starts_with("CONFLICT")).take(3).collect();
            let said = if paths.is_empty() { said(&error) } else { paths.join("; ") };
            return Err(Error::Conflict { said });
        }
        Ok(State { head: self.commit("HEAD")?, ..state })
    }

    /// Asks the remote, and returns what it has; a history that was rewritten is an error.
    pub(super) fn fetched(&self, before: &State) -> Result<Option<String>, Error> {
        let answer = self.fetch();
        if let Ok(answer) = &answer
            && lock_in(&String::from_utf8_lossy(&answer.stderr)).is_some()
        {
            // One of the clone, which says nothing of the remote.
            return Err(failed(&["fetch"], answer).into());
        }
        Away::reached(&["fetch"], answer)?;
        let reference = format!("refs/remotes/origin/{}", before.branch);
        let upstream = self.commit(&reference)?;
        if let (Some(upstream), Some(before)) = (&upstream, &before.upstream)
            && before != upstream
            && !self.is_in(before, upstream)?
        {
            // What was known is kept, for whoever decides what becomes of it.
            self.run(&["update-ref", &reference, before])?;
            let waits = self.waits(before)?;
            return Err(Error::Rewritten { before: before.clone(), waits });
        }
        Ok(upstream)
    }

    /// Returns what the clone has behind a commit that the remote had.
    fn waits(&self, before: &str) -> Result<Waits, Error> {
        let commits = self.run(&["log", "--format=%s", &format!("{before}..HEAD"), "--"])?;
        let files = self.run(&["status", "--porcelain", "--untracked-files=all", "--no-renames"])?;
        let commits = commits.lines().map(str::to_owned).collect();
        Ok(Waits { commits, files: files.lines().count() })
    }

    /// Lets a clone without anything of its own follow; says whether it has nothing.
    fn forward(&self, upstream: &str) -> Result<bool, Error> {
        let words = ["status", "--porcelain", "--untracked-files=all", "--no-renames"];
        if !self.run(&words)?.is_empty() {
            return Ok(false);
        }
        let words = ["merge", "--quiet", "--ff-only", upstream];
        Ok(self.ask(Call { words: &words, ..Call::default() })?.code == Some(0))
    }

    /// Says whether a commit is in the history of another.
    pub(super) fn is_in(&self, one: &str, other: &str) -> Result<bool, Error> {
        let words = ["merge-base", "--is-ancestor", one, other];
        let answer = self.ask(Call { words: &words, ..Call::default() })?;
        match answer.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(failed(&["merge-base"], &answer).into()),
        }
    }

    /// Takes changes out of the clone that the remote has already, or of which it has more: they were made by a process that was
    /// killed before it could say so, or in the middle of a file. The rebase brings them.
    fn forget_taken(&self, upstream: &str) -> Result<(), Error> {
        let Some(head) = self.commit("HEAD")? else { return Ok(()) };
        let changed = self.run(&["diff", "-z", "--no-renames", "--name-only", &head, "--"])?;
        let untracked = self.run(&["ls-files", "-z", "--others", "--exclude-standard"])?;
        let all: Vec<&str> =
            changed.split('\0').chain(untracked.split('\0')).filter(|path| !path.is_empty()).collect();
        if all.is_empty() {
            return Ok(());
        }
        let (theirs, before) = (self.files(upstream)?, self.files(&head)?);
        let (mut tracked, mut new) = (Vec::new(), Vec::new());
        for some in all.chunks(AT_ONCE) {
            let texts = self.texts(some.iter().filter_map(|path| theirs.get(*path)))?;
            for path in some {
                let (id, was) = (theirs.get(*path), before.get(*path));
                let text = match id.map(|id| texts.get(id)) {
                    None => None,
                    Some(Some(text)) => Some(text.as_slice()),
                    // It is too long to be an item's.
                    Some(None) => continue,
                };
                let ours = self.store.text(Utf8Path::new(path)).ok().map(String::into_bytes);
                // What cannot be read is somebody's own.
                if ours.is_none() && std::fs::symlink_metadata(self.store.root.join(path)).is_ok() {
                    continue;
                }
                // Git removes a file before it writes it anew.
                let begun = ours.as_deref().unwrap_or_default();
                let is_begun = id != was && text.is_some_and(|text| text.starts_with(begun));
                if ours.as_deref() == text || is_begun {
                    if was.is_some() { tracked.push(*path) } else { new.push(*path) }
                }
            }
        }
        let listed = ["--pathspec-from-file=-", "--pathspec-file-nul"];
        if !tracked.is_empty() {
            let words = ["--literal-pathspecs", "checkout", "--quiet", &head, listed[0], listed[1]];
            self.give(&words, tracked.join("\0").as_bytes())?;
        }
        if !new.is_empty() {
            let words = [
                "--literal-pathspecs",
                "rm",
                "--quiet",
                "--cached",
                "--ignore-unmatch",
                listed[0],
                listed[1],
            ];
            self.give(&words, new.join("\0").as_bytes())?;
            let gone: Vec<Write> =
                new.iter().map(|path| Write { path: (*path).into(), text: None }).collect();
            self.write(&gone)?;
        }
        Ok(())
    }

    /// Runs git with an input, for what it prints.
    fn give(&self, words: &[&str], input: &[u8]) -> Result<Vec<u8>, Error> {
        let answer = self.ask(Call { words, input, ..Call::default() })?;
        if answer.code == Some(0) { Ok(answer.stdout) } else { Err(failed(words, &answer).into()) }
    }

    /// Returns the files of a commit, with the ids of their texts.
    fn files(&self, commit: &str) -> Result<HashMap<String, String>, Error> {
        let listed = self.run(&["ls-tree", "-r", "-z", commit])?;
        // `MODE TYPE ID`, a tab, and the path.
        let file = |line: &str| {
            let (head, path) = line.split_once('\t')?;
            Some((path.to_owned(), head.split(' ').nth(2)?.to_owned()))
        };
        Ok(listed.split('\0').filter_map(file).collect())
    }

    /// Returns the texts with these ids, but for those that git does not print whole.
    fn texts<'b>(&self, ids: impl Iterator<Item = &'b String>) -> Result<HashMap<String, Vec<u8>>, Error> {
        let input: Vec<&str> = ids.flat_map(|id| [id.as_str(), "\n"]).collect();
        let input = input.concat();
        let mut texts = HashMap::new();
        if input.is_empty() {
            return Ok(texts);
        }
        let printed = self.give(&["cat-file", "--batch"], input.as_bytes())?;
        let mut rest = printed.as_slice();
        // `ID blob LENGTH`, and the text, each with the end of a line.
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let head = String::from_utf8_lossy(&rest[..end]).into_owned();
            let mut words = head.split(' ');
            let id = words.next().unwrap_or_default().to_owned();
            let length = words.nth(1).and_then(|word| word.parse::<usize>().ok()).unwrap_or(usize::MAX);
            let Some(text) = rest[end + 1..].get(..length) else { break };
            rest = rest.get(end + 1 + length + 1..).unwrap_or_default();
            texts.insert(id, text.to_vec());
        }
        Ok(texts)
    }

    /// Gives new ids to items of this clone whose names the remote has given to others meanwhile.
    pub(super) fn rename_taken(&self, upstream: &str) -> Result<(), Error> {
        let lines =
            |text: String| text.split('\0').filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let untracked: Vec<String> =
            lines(self.run(&["ls-files", "-z", "--others", "--exclude-standard"])?);
        let mut committed: Vec<String> = Vec::new();
        let base = match self.commit("HEAD")? {
            Some(_) => {
                let answer =
                    self.ask(Call { words: &["merge-base", "HEAD", upstream], ..Call::default() })?;
                let base = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
                if !base.is_empty() {
                    let words = ["diff", "-z", "--no-renames", "--name-only", "--diff-filter=A", &base, "--"];
                    committed = lines(self.run(&words)?);
                }
                base
            }
            None => String::new(),
        };
        // An item that both sides have moved since then is one item, and keeps its name.
        let known: HashSet<String> = if base.is_empty() {
            HashSet::new()
        } else {
            let listed = self.run(&["ls-tree", "-r", "-z", "--name-only", &base])?;
            listed.split('\0').map(stem).collect()
        };
        let theirs: HashSet<String> =
            lines(self.run(&["ls-tree", "-r", "-z", "--name-only", upstream])?).into_iter().collect();
        let is_taken = |path: &&String| {
            theirs.contains(*path)
                && Utf8Path::new(path).extension() == Some("yaml")
                && !known.contains(&stem(path))
        };
        let committed: Vec<&String> = committed.iter().filter(is_taken).collect();
        let untracked: Vec<&String> = untracked.iter().filter(is_taken).collect();
        if committed.is_empty() && untracked.is_empty() {
            return Ok(());
        }
        let mut used: HashSet<String> = theirs.iter().map(|path| stem(path)).collect();
        used.extend(self.store.paths(store::Part::All)?.iter().map(|path| stem(path.as_str())));
        let mut renamed = Vec::new();
        for path in committed.iter().chain(&untracked) {
            renamed.push((Utf8PathBuf::from(path.as_str()), self.renamed(path, &mut used)?));
        }
        if !committed.is_empty() {
            // What is not pushed becomes one commit: each of its own would meet the other's item on the way.
            self.run(&["reset", "--quiet", "--soft", &base])?;
        }
        let beneath = self.beneath()?;
        for (old, (new, text)) in &renamed {
            let failed = |source| Error::Write { path: new.clone(), source };
            beneath.write(new, text.as_bytes(), 0o644).map_err(failed)?;
            beneath.remove(old).map_err(failed)?;
        }
        if !committed.is_empty() {
            let paths = renamed.iter().take(committed.len());
            for (old, (new, _)) in paths {
                self.run(&["rm", "--quiet", "--cached", "--ignore-unmatch", "--", old.as_str()])?;
                self.run(&["add", "--", new.as_str()])?;
            }
            self.commit_staged("Update coordination state")?;
        }
        Ok(())
    }

    /// Returns an item of this clone under a name that nobody has.
    fn renamed(&self, path: &str, used: &mut HashSet<String>) -> Result<(Utf8PathBuf, String), Error> {
        let path = Utf8Path::new(path);
        let text = self.store.text(path).map_err(|source| Error::Write { path: path.to_owned(), source })?;
        let mut item = Item::parse(&text);
        let old = item.get("id");
        let code = id::code(&old).map_or_else(|| kind::Kind::of(&item.get("type")).code, str::to_owned);
        let key = old.split('-').next().map_or_else(|| "ITEM".to_owned(), id::key);
        let new = id::fresh(&key, &code, Timestamp::now(), any_number(), &|id| used.contains(id));
        used.insert(new.clone());
        item.set("id", &new);
        if item.get("requirement_key") == old {
            item.set("requirement_key", &new);
        }
        Ok((path.with_file_name(format!("{new}.yaml")), item.text()))
    }
}

fn stem(path: &str) -> String {
    Utf8Path::new(path).file_stem().unwrap_or_default().to_owned()
}
