//! Where the items of a parallel loop begin and end: their branches, the merge, what is given back.

use super::parallel::Floor;
use super::settled::Claimed;
use crate::coord::history::{self, Actor, Event, Reference};
use crate::coord::item::Head;
use crate::coord::select::{self, Stage};
use crate::coord::store::Entry;
use crate::coord::transition::Action;
use crate::diag::Failure;
use crate::loops::integrate::{self, Merged};
use crate::util::text::escape;

/// What goes wrong with one item, or with all.
enum Broken {
    Item(String),
    Loop(Failure),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Broken::Loop(failure)
    }
}

/// Returns how an item was done, the last time.
fn done(entry: &Entry) -> Option<Event> {
    history::read(&entry.text).into_iter().rfind(|event| event.kind == "done")
}

/// Returns the commit of its own branch that an item's history names.
fn reviewed(entry: &Entry, branch: &str) -> Option<String> {
    let named = done(entry)?.implementation_refs;
    named.into_iter().find(|one| one.branch == branch).map(|one| one.commit)
}

impl Floor<'_> {
    /// Merges and closes what is done, reviewed and verified. Returns whether an item has changed.
    pub(super) fn integrate(&mut self, entries: &[Entry]) -> Result<bool, Failure> {
        let mut changed = false;
        if self.args.flags.no_close {
            return Ok(changed);
        }
        for entry in entries.iter().filter(|entry| select::is_finished(&entry.head)) {
            let id = &entry.head.id;
            let is_asked = self.args.flags.issues.is_empty() || self.args.flags.issues.contains(id);
            if !is_asked || self.in_work.contains(id) {
                continue;
            }
            if self.left.contains(id) {
                continue;
            }
            match self.land(entry) {
                Ok(now) => changed |= now,
                // What cannot be merged is one item's matter.
                Err(Broken::Item(why)) => {
                    self.wrong(id, &why);
                    self.left.insert(id.clone());
                }
                Err(Broken::Loop(failure)) => return Err(failure),
            }
        }
        Ok(changed)
    }

    /// Merges and closes one item. Returns whether it has changed.
    fn land(&mut self, entry: &Entry) -> Result<bool, Broken> {
        let id = &entry.head.id;
        let failed = |error: integrate::Error| Broken::Item(escape(&error.to_string()));
        let actor = self.desk.context.actor.clone();
        let name = integrate::name(id);
        let seen = reviewed(entry, &name);
        let Some(tip) = self.trunk.tip(&name).map_err(failed)? else {
            if let Some(commit) = seen.filter(|commit| !self.is_here(commit)) {
                return Err(Broken::Item(format!("its commit {commit} is not in this repository")));
            }
            // Done without a branch of its own: it is where its history says.
            let closed = self.desk.close(id)?;
            return Ok(self.settle(id, closed, false));
        };
        // One that was done elsewhere has a branch for its reviewers alone, where the project was.
        let base = self.trunk.base().map_err(failed)?;
        let is_there = seen.is_none() && self.trunk.is_in(&tip, &base).map_err(failed)?;
        let Some(reviewed) = seen.or_else(|| is_there.then(|| tip.clone())) else {
            let why = format!("its history names no commit of its branch `{name}`: merge that, or remove it");
            self.wait_for(id, &why);
            return Ok(false);
        };
        if reviewed != tip {
            let why = format!("its branch `{name}` has other commits than those that were reviewed");
            self.desk.try_step(&actor, id, &Action::Reopen, Some(&why))?;
            self.wrong(id, &why);
            return Ok(true);
        }
        match self.trunk.merge(&tip, &format!("Merge {id}")).map_err(failed)? {
            merged @ (Merged::Done { .. } | Merged::Nothing) => {
                let commit = if let Merged::Done { commit } = merged { Some(commit) } else { None };
                let references: Vec<Reference> =
                    commit.iter().map(|commit| self.reference(&self.trunk.branch, commit)).collect();
                let action = Action::Close { references, force: false };
                let closed = self.desk.try_step(&actor, id, &action, None)?;
                if !matches!(closed, Claimed::NotNow(_)) {
                    self.trunk.forget(id, &tip).map_err(failed)?;
                }
                Ok(self.settle(id, closed, commit.is_some()))
            }
            Merged::Conflict { paths } => {
                let branch = escape(&self.trunk.branch);
                let why = format!(
                    "it does not fit to `{branch}` any more: {}. Merge `{branch}` into `{name}`, and resolve it",
                    escape(&paths.join(", ")),
                );
                self.desk.try_step(&actor, id, &Action::Reopen, Some(&why))?;
                self.wrong(id, &why);
                let count = self.misfits.entry(id.clone()).or_insert(0);
                *count += 1;
                if *count >= self.args.flags.attempts {
                    self.left.insert(id.clone());
                }
                Ok(true)
            }
            Merged::NotNow { why } => {
                self.wait_for(id, &why);
                Ok(false)
            }
        }
    }

    /// Returns where an item's branch is for a session; an error is why there can be none.
    pub(super) fn begin(&mut self, entry: &Entry, stage: Stage) -> Result<String, String> {
        let id = &entry.head.id;
        let name = integrate::name(id);
        let shown = |error: integrate::Error| escape(&error.to_string());
        let wanted = reviewed(entry, &name).filter(|_| stage != Stage::Develop);
        if stage != Stage::Develop {
            let all = done(entry).map(|event| event.implementation_refs).unwrap_or_default();
            if !all.is_empty() && !all.iter().any(|one| self.is_here(&one.commit)) {
                return Err(format!("its commit {} is not in this repository: fetch it", all[0].commit));
            }
        }
        let tip = self.trunk.tip(&name).map_err(shown)?;
        match (tip, wanted) {
            (Some(tip), Some(wanted)) if tip != wanted => {
                Err(format!("its branch `{name}` has other commits than those that are to be looked at"))
            }
            (None, Some(wanted)) if self.is_here(&wanted) => {
                self.trunk.begin_at(id, &wanted).map_err(shown)?;
                Ok(wanted)
            }
            (None, Some(wanted)) => Err(format!("its commit {wanted} is not in this repository: fetch it")),
            _ => self.trunk.begin(id).map_err(shown),
        }
    }

    fn is_here(&self, commit: &str) -> bool {
        self.trunk.has(commit).unwrap_or(false)
    }

    /// Gives back what is still claimed by this loop, and removes branches that hold nothing.
    pub(super) fn release(&mut self) -> Result<(), Failure> {
        let names: Vec<String> =
            (1..=self.args.workers()).map(|slot| format!("{}-{slot}", self.desk.context.actor.id)).collect();
        for entry in self.desk.entries()? {
            let Head { id, status, owner, .. } = &entry.head;
            if status == "claimed" && names.contains(owner) && self.rows.has(id) {
                let actor = Actor { id: owner.clone(), role: Stage::Develop.role().to_owned() };
                self.desk.try_step(
                    &actor,
                    id,
                    &Action::Unclaim { force: false },
                    Some("left by the end of the loop"),
                )?;
            }
            if self.rows.has(id)
                && let (Ok(Some(tip)), Ok(base)) = (self.trunk.tip(&integrate::name(id)), self.trunk.base())
                && status != "done"
                && self.trunk.is_in(&tip, &base).unwrap_or(false)
                && let Err(error) = self.trunk.forget(id, &tip)
            {
                tracing::debug!(%error, "an empty branch stays");
            }
        }
        Ok(())
    }

    /// Says once why an item is not merged now.
    fn wait_for(&mut self, id: &str, why: &str) {
        if self.waiting.insert(id.to_owned(), why.to_owned()).as_deref() != Some(why) {
            self.wrong(id, &format!("not merged yet: {}", escape(why)));
        }
    }

    /// Says how the last step of an item has ended. Returns whether it has changed.
    fn settle(&mut self, id: &str, closed: Claimed, merged: bool) -> bool {
        match closed {
            Claimed::Mine => self.closed(id, merged),
            Claimed::Lost(why) => self.say(&format!("{}: somebody else was faster: {why}", escape(id))),
            Claimed::NotNow(why) => {
                self.wait_for(id, &why);
                return false;
            }
        }
        true
    }

    fn closed(&mut self, id: &str, merged: bool) {
        let into =
            if merged { format!("merged into `{}`, ", escape(&self.trunk.branch)) } else { String::new() };
        self.say(&format!("{}: {into}closed", escape(id)));
        self.waiting.remove(id);
        let row = self.rows.of(id);
        row.merged = merged;
        row.closed = true;
        "closed".clone_into(&mut row.status);
        row.problem = None;
    }

    pub(super) fn reference(&self, branch: &str, commit: &str) -> Reference {
        let repo = crate::cmd::coord::context::repo_name(&self.desk.context);
        Reference { repo, branch: branch.to_owned(), commit: commit.to_owned() }
    }
}
