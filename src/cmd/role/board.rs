//! What a loop sees of the coordination repository: whether it can work there, and which items there are.

use std::collections::BTreeMap;

use camino::Utf8Path;

use super::desk::{Desk, Turn, failed};
use super::settled::{first, has_code, unreachable};
use crate::coord::domain::Arrived;
use crate::coord::item::Head;
use crate::coord::store::{Entry, Part};
use crate::coord::{duty, history, id, mend};
use crate::diag::Failure;
use crate::util::text::escape;

impl Desk<'_> {
    /// Says whether somebody is at work in the clone.
    pub fn is_busy(&self) -> Result<bool, Failure> {
        // What somebody has left who was killed is nobody's work.
        let done = self.context.hold(|domain| if domain.takes_over() { domain.pull() } else { Ok(()) });
        match done {
            Err(failure) if has_code(&failure, &["coord::clone"]) => {
                self.warn(&first(&failure));
                return Ok(true);
            }
            Err(failure) => drop(unreachable(failure)?),
            Ok(()) => {}
        }
        Ok(!self.context.hold_free(&["status", "--porcelain"])?.is_empty())
    }

    /// Brings the clone to what the remote has; returns why that is not to be had.
    pub fn pull(&self) -> Result<Option<String>, Failure> {
        #[expect(clippy::redundant_closure_for_method_calls, reason = "a method's path has one lifetime")]
        let done = self.context.hold(|domain| domain.pull());
        match done {
            Ok(()) => Ok(None),
            Err(failure) => unreachable(failure).map(Some),
        }
    }

    /// Pushes what waits in the clone; returns why it stays.
    pub fn push(&self) -> Result<Option<String>, Failure> {
        #[expect(clippy::redundant_closure_for_method_calls, reason = "a method's path has one lifetime")]
        let done = self.context.hold(|domain| domain.push_commits());
        match done {
            Ok(Arrived::Queued(away)) => Ok(Some(away.to_string())),
            Ok(_) => Ok(None),
            Err(failure) => unreachable(failure).map(Some),
        }
    }

    /// Warns of something, once in the life of the loop.
    fn warn(&self, line: &str) {
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.insert(line.to_owned()) {
            crate::ui::warn(line);
        }
    }

    /// Returns the issues of the scope.
    pub fn entries(&self) -> Result<Vec<Entry>, Failure> {
        let (mut entries, problems) = self.context.store.entries(Part::Issues)?;
        for problem in problems {
            self.warn(&escape(&problem.to_string()));
        }
        entries.retain(|entry| {
            let fault = mend::conflict(&entry.text);
            if let Some(fault) = &fault {
                self.warn(&escape(&format!("`{}` is left alone: {}", entry.path, fault.why)));
            }
            fault.is_none()
        });
        let mut seen: BTreeMap<String, Vec<&Utf8Path>> = BTreeMap::new();
        for entry in &entries {
            seen.entry(entry.head.id.clone()).or_default().push(&entry.path);
        }
        for (id, paths) in seen.iter().filter(|(id, paths)| !id.is_empty() && paths.len() > 1) {
            let paths: Vec<&str> = paths.iter().map(|path| path.as_str()).collect();
            let line =
                format!("the id `{id}` is that of several files, which are left alone: {}", paths.join(", "));
            self.warn(&escape(&line));
        }
        let seen: BTreeMap<String, usize> = seen.into_iter().map(|(id, paths)| (id, paths.len())).collect();
        // Ids become names of files and branches, and mean one item; `pier coord lint` names the others.
        entries.retain(|entry| {
            let id = entry.head.id.as_str();
            self.scope.has(entry) && is_name(id) && seen.get(id) == Some(&1)
        });
        Ok(entries)
    }

    /// Refuses items that were named and are not there.
    pub fn require_issues(&self, entries: &[Entry]) -> Result<(), Failure> {
        for id in &self.flags.issues {
            if !entries.iter().any(|entry| entry.head.id == *id && entry.head.kind == "issue") {
                let message = format!("`--issue {}`: there is no such issue of this project", escape(id));
                return Err(failed(message).help("`pier coord list issues` has their ids"));
            }
        }
        Ok(())
    }

    /// Returns what has happened to an item, as the clone has it.
    pub fn events(&self, id: &str) -> Result<Vec<history::Event>, Failure> {
        Ok(history::read(&self.context.store.find(id)?.text))
    }

    /// Returns what a session has said of its item since it had `known` events that is another role's to say. One that closes
    /// what is reviewed and verified does as the loop does.
    pub fn overstepped(&self, turn: &Turn, known: usize) -> Result<Option<String>, Failure> {
        let entry = self.context.store.find(&turn.id)?;
        let events = history::read(&entry.text);
        let new = events.get(known..).unwrap_or_default();
        let own = new.iter().filter(|event| event.actor.id == turn.actor.id);
        let mut others: Vec<&str> = own.map(|event| event.kind.as_str()).collect();
        others.retain(|kind| !duty::may_say(kind, turn.stage));
        let is_judged = Head::is_set(&entry.head.reviewed) && Head::is_set(&entry.head.verified);
        if is_judged && others.iter().all(|kind| *kind == "closed") {
            return Ok(None);
        }
        Ok((!others.is_empty()).then(|| escape(&others.join(", "))))
    }
}

/// Says whether an id can be a part of the name of a branch, and of a file.
fn is_name(id: &str) -> bool {
    id::is_id(id) && !id.ends_with(['.', '-']) && Utf8Path::new(id).extension() != Some("lock")
}
