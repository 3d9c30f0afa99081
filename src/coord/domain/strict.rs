//! What is written is YAML, and what a push brings to others can be read there.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::{Commit, Domain, Error, Write};
use crate::backend::git::failed;
use crate::backend::git::shared::Call;
use crate::coord::item::Item;
use crate::coord::mend::{self, Fault};
use crate::coord::store;

/// Which items a push leaves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strict {
    /// Those that anybody can read.
    All,
    /// Those without the marks of a conflict: others may be read by older tools.
    Conflicts,
}

/// What is to be pushed.
struct Changed {
    path: Utf8PathBuf,
    is_link: bool,
}

impl Domain<'_> {
    /// Refuses what is no YAML, but for what can be written anew.
    pub(super) fn strict(&self, commits: &mut [Commit]) -> Result<(), Error> {
        for commit in commits {
            let removed: BTreeMap<String, Utf8PathBuf> = commit
                .writes
                .iter()
                .filter(|write| write.text.is_none())
                .filter_map(|write| Some((write.path.file_name()?.to_owned(), write.path.clone())))
                .collect();
            for Write { path, text } in &mut commit.writes {
                let Some(text) = text.as_mut().filter(|_| store::is_item_at(path)) else { continue };
                if mend::fault(path, text).is_none() {
                    continue;
                }
                let mut item = Item::parse(text);
                mend::mended(&mut item.lines);
                let Some(fault) = mend::fault(path, &item.text()) else {
                    *text = item.text();
                    continue;
                };
                // By its lines as people see them, where it is now.
                let old = path.file_name().and_then(|name| removed.get(name)).unwrap_or(path);
                let known = self.store.text(old).ok().and_then(|text| {
                    let mut item = Item::parse(&text);
                    mend::mended(&mut item.lines);
                    mend::fault(old, &item.text())
                });
                return Err(broken(old, known.unwrap_or(fault), 0));
            }
        }
        Ok(())
    }

    /// Refuses a push of what others could not read, committed already or not.
    pub(super) fn require_whole(&self, add: bool, strict: Strict) -> Result<(), Error> {
        let mut found: Vec<(Utf8PathBuf, Option<Fault>)> = Vec::new();
        for Changed { path, is_link } in self.changed(add)? {
            if is_link {
                if strict == Strict::All {
                    found.push((path, None));
                }
                continue;
            }
            if !store::is_item_at(&path) {
                continue;
            }
            let text = self.now(&path, add)?;
            let fault = mend::fault(&path, &text).filter(|fault| fault.is_conflict || strict == Strict::All);
            if let Some(fault) = fault {
                found.push((path, Some(fault)));
            }
        }
        let more = found.len().saturating_sub(1);
        match found.into_iter().next() {
            None => Ok(()),
            Some((path, Some(fault))) => Err(broken(&path, fault, more)),
            Some((path, None)) => Err(Error::Link { path, more: others(more) }),
        }
    }

    /// Returns the text of a file as it would be committed.
    fn now(&self, path: &Utf8Path, add: bool) -> Result<String, Error> {
        if add {
            return self.store.text(path).map_err(|source| Error::Write { path: path.to_owned(), source });
        }
        let words = ["cat-file", "blob", &format!(":{path}")];
        let answer = self.ask(Call { words: &words, ..Call::default() })?;
        if answer.code != Some(0) {
            return Err(failed(&words, &answer).into());
        }
        Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
    }

    /// Returns what differs from what the remote is known to have, but for what is removed.
    fn changed(&self, add: bool) -> Result<Vec<Changed>, Error> {
        let state = self.state()?;
        let base = match (&state.upstream, &state.head) {
            (Some(upstream), Some(head)) => {
                let words = ["merge-base", upstream.as_str(), head.as_str()];
                let answer = self.ask(Call { words: &words, ..Call::default() })?;
                let base = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
                Some(base).filter(|base| !base.is_empty()).or_else(|| state.head.clone())
            }
            _ => state.head.clone(),
        };
        let mut all = Vec::new();
        if let Some(base) = &base {
            let mut words = vec!["diff", "--raw", "-z", "--no-renames", "--diff-filter=d"];
            words.extend((!add).then_some("--cached"));
            words.extend([base.as_str(), "--"]);
            let listed = self.run(&words)?;
            let mut parts = listed.split('\0');
            // `:MODE MODE ID ID LETTER`, and the path.
            while let (Some(head), Some(path)) = (parts.next(), parts.next()) {
                let is_link = head.split(' ').nth(1) == Some("120000");
                all.push(Changed { path: path.into(), is_link });
            }
        }
        let words: &[&str] = match (add, &base) {
            (true, Some(_)) => &["ls-files", "-z", "--others", "--exclude-standard"],
            (true, None) => &["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            (false, Some(_)) => return Ok(all),
            (false, None) => &["ls-files", "-z", "--cached"],
        };
        for path in self.run(words)?.split('\0').filter(|path| !path.is_empty()) {
            let meta = std::fs::symlink_metadata(self.store.root.join(path));
            if let Ok(meta) = meta {
                all.push(Changed { path: path.into(), is_link: meta.is_symlink() });
            }
        }
        Ok(all)
    }
}

fn broken(path: &Utf8Path, fault: Fault, more: usize) -> Error {
    let Fault { line, why, is_conflict } = fault;
    Error::Broken { path: path.to_owned(), line, why, is_conflict, more: others(more) }
}

fn others(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => "; another file is broken as well".to_owned(),
        more => format!("; {more} other files are broken as well"),
    }
}
