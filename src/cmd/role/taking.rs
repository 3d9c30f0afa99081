//! What becomes of a session of a parallel loop: its commits, what it said, and how often it said nothing.

use super::apart;
use super::desk::{self, Turn};
use super::launch::Session;
use super::parallel::{Done, Floor};
use super::serial;
use crate::coord::select::Stage;
use crate::coord::transition::Action;
use crate::diag::Failure;
use crate::loops::child::Cut;
use crate::loops::integrate;
use crate::util::text::escape;

/// Says why a session counts for nothing: it failed, or what it committed is not here.
fn failure(session: &Session) -> Option<String> {
    session.failure().or_else(|| match &session.told {
        None => Some("it ended without saying how".to_owned()),
        Some(told) => told.lost.as_ref().map(|why| format!("its commits are not here: {}", escape(why))),
    })
}

impl Floor<'_> {
    /// Takes over what a session has done, as far as its role may do it.
    pub(super) fn take(&mut self, done: Done) -> Result<Option<f64>, Failure> {
        let Done { turn, from, session } = done;
        let id = turn.id.clone();
        let (session, taken) = match session {
            Ok(found) => found,
            Err(failure) => {
                self.count(&turn, &desk::first(&failure), false)?;
                return Ok(Some(0.0));
            }
        };
        let row = self.rows.of(&id);
        row.sessions += 1;
        row.logs.push(session.log.clone());
        let cost = session.cost;
        let commits = session.told.as_ref().map(|told| told.commits.clone()).unwrap_or_default();
        let branch = format!("heads/{}", integrate::name(&id));
        let mut tip = from.clone();
        if let Some(told) = session.told.as_ref().filter(|told| !told.commits.is_empty()) {
            let mut settled = Vec::new();
            if let Some(new) = commits.get(&branch).filter(|_| turn.stage == Stage::Develop) {
                match self.trunk.take(&id, &from, new) {
                    Ok(()) => {
                        tip.clone_from(new);
                        settled.push(branch.as_str());
                    }
                    Err(error) => self.wrong(&id, &escape(&error.to_string())),
                }
            }
            apart::settle(self.desk, self.trunk, told, &settled)?;
            if settled.len() < commits.len() {
                let session = &told.session;
                self.say(&format!(
                    "{}: commits of the {} that are not of its branch wait: `pier diff {session}`",
                    escape(&id),
                    turn.stage.role()
                ));
            }
        }
        for what in &taken.left {
            self.say(&format!("{}: left out: {what}", escape(&id)));
        }
        let told = session.told.as_ref();
        let uncommitted = tip == from && (told.is_some_and(|told| told.uncommitted) || !commits.is_empty());
        // What a session that failed has said about its item is not believed.
        let failure = failure(&session);
        let has_failed = failure.is_some();
        let steps = taken.steps.iter().filter(|(action, _)| !has_failed || matches!(action, Action::Comment));
        for (action, message) in steps {
            let action = match action {
                Action::Done { .. } if uncommitted => {
                    let why = "the developer committed nothing on its branch of what it has changed";
                    self.wrong(&id, why);
                    continue;
                }
                Action::Done { .. } => Action::Done {
                    references: vec![self.reference(&integrate::name(&id), &tip)],
                    force: false,
                },
                action => action.clone(),
            };
            let message = Some(message.as_str()).filter(|text| !text.is_empty());
            if let Err(failure) = self.desk.step(&turn.actor, &id, &action, message) {
                self.wrong(&id, &desk::first(&failure));
            }
        }
        for (other, message) in &taken.comments {
            if let Err(failure) = self.desk.step(&turn.actor, other, &Action::Comment, Some(message)) {
                self.say(&format!("{}: {}", escape(other), desk::first(&failure)));
            }
        }
        if let Err(failure) = apart::add(self.desk, &turn, &taken) {
            self.say(&format!("{}: {}", escape(&id), desk::first(&failure)));
        }
        if let Some(why) = failure {
            let stopped = session.cut == Some(Cut::Stopped);
            self.count(&turn, &why, stopped)?;
        } else if self.desk.has_come_on(&turn)? {
            self.fruitless.remove(&(id.clone(), turn.stage));
            let head = self.desk.head(&id)?;
            let told = serial::told(&head);
            self.rows.of(&id).problem = None;
            self.rows.of(&id).status.clone_from(&told);
            self.say(&format!("{}: {told}", escape(&id)));
        } else {
            let why = format!("the {} has said nothing about it", turn.stage.role());
            self.count(&turn, &why, false)?;
        }
        Ok(cost)
    }

    /// A session has brought an item nowhere; after some of them it is left.
    fn count(&mut self, turn: &Turn, why: &str, stopped: bool) -> Result<(), Failure> {
        let count = self.fruitless.entry((turn.id.clone(), turn.stage)).or_insert(0);
        *count += 1;
        let all = *count >= self.args.flags.attempts;
        self.wrong(&turn.id, why);
        if turn.stage == Stage::Develop && (all || stopped) {
            let said = format!("left: {why}. What was committed is in `{}`", integrate::name(&turn.id));
            let head = self.desk.head(&turn.id)?;
            if head.status == "claimed" && head.owner == turn.actor.id {
                self.desk.try_step(&turn.actor, &turn.id, &Action::Unclaim { force: false }, Some(&said))?;
            }
        }
        Ok(())
    }
}
