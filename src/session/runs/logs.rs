//! The logs of one session: those that its agent has written, without those of others that had the same home meanwhile.

use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::asked::{Asked, Fit, LEAST};
use super::super::attribution::share::{Known, Verdict};
use super::super::attribution::units::{self, Unit};
use super::super::attribution::{self, share};
use super::super::registry::{self, Session};
use super::{list, read};
use crate::agent;
use crate::atif::WRITTEN;
use crate::atif::prices::Prices;
use crate::trajectory::said::{Said, said};
use crate::trajectory::{self, Converted, Heard, Out, Request, Whose};

/// How far the times in a database may be from those of the kernel: some of them are whole seconds.
const INEXACT: SignedDuration = SignedDuration::from_secs(1);

/// The most conversations of which it is read what was said, and the most that are named in a run's file.
const MOST_READ: usize = 200;
pub const MOST_NAMED: usize = 1_000;

/// Who else writes in the home of a user.
const OUTSIDE: &str = "programs outside of pier";

/// Where an agent wrote in a session.
pub struct Logs {
    pub agent: String,
    is_declared: bool,
    version: Option<String>,
    /// On the host.
    home: Utf8PathBuf,
    patterns: Vec<String>,
    since: Timestamp,
}

/// What of that is the session's.
#[derive(Debug, Default)]
pub struct Own {
    /// Relative to the home.
    pub files: Vec<Utf8PathBuf>,
    /// The conversations that are in them, where not all of them are its own.
    chosen: Option<Vec<String>>,
    /// Those of other sessions alone.
    pub others: Vec<Utf8PathBuf>,
    /// Conversations that may be of another session, and the sessions.
    pub shared: Vec<Shared>,
    pub beside: Vec<String>,
    /// The names of conversations that are files.
    named: Vec<String>,
}

/// A conversation that may be of another session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shared {
    conversation: String,
    /// How well it fits what the session was asked: another one that ends later has to know.
    fit: Fit,
}

impl Own {
    fn of(
        conversations: &[Conversation<'_>],
        verdicts: &[Verdict],
        others: &[Side],
        only_sure: bool,
    ) -> Self {
        let mut own = Own::default();
        let mut chosen = Vec::new();
        for (one, verdict) in conversations.iter().zip(verdicts) {
            if let Verdict::Shared(with) = verdict
                && !only_sure
            {
                if own.shared.len() < MOST_NAMED {
                    own.shared.push(Shared { conversation: one.name.clone(), fit: one.known.fits[0] });
                }
                own.beside.extend(with.iter().map(|other| others[other - 1].id.clone()));
            }
            if *verdict == Verdict::Theirs || only_sure && *verdict != Verdict::Own {
                continue;
            }
            if one.is_within {
                chosen.push(one.name.clone());
            } else {
                own.named.push(one.name.clone());
            }
            own.files.extend(one.unit.files.iter().cloned());
        }
        own.beside.sort_unstable();
        own.beside.dedup();
        own.files.sort_unstable();
        own.files.dedup();
        let of_others = conversations.iter().flat_map(|one| &one.unit.files);
        own.others = of_others.filter(|path| !own.files.contains(path)).cloned().collect();
        own.others.sort_unstable();
        own.others.dedup();
        own.chosen = conversations.iter().any(|one| one.is_within).then_some(chosen);
        own
    }

    /// Returns the conversations that are in a trajectory of them.
    pub fn conversations(&self, converted: &Converted) -> Vec<String> {
        converted.report.conversations.iter().chain(&self.named).take(MOST_NAMED).cloned().collect()
    }
}

/// A session that had the home.
struct Side {
    id: String,
    started: Timestamp,
    ended: Option<Timestamp>,
    asked: Asked,
    /// Conversations that are in its trajectory, and how well they fit.
    own: Vec<(String, Fit)>,
}

/// A conversation: a unit of files, or one of those in a database.
struct Conversation<'a> {
    unit: &'a Unit,
    name: String,
    /// It is one of a database.
    is_within: bool,
    known: Known,
}

impl Logs {
    /// Returns those of a session, of an agent whose logs can be read.
    pub fn of(session: &Session) -> Option<Self> {
        let name = session.agent.clone()?;
        let patterns = if session.logs.is_empty() {
            let known = agent::find(&name).ok().filter(|known| known.converter().is_some())?;
            known.logs().into_iter().map(str::to_owned).collect()
        } else {
            session.logs.clone()
        };
        let (home, version, since) = (session.home.clone()?, session.version.clone(), session.started);
        Some(Logs { agent: name, is_declared: !session.logs.is_empty(), version, home, patterns, since })
    }

    /// Finds out what is the session's.
    pub fn own(&self, session: &Session, state: &Utf8Path, asked: &Asked, prices: &Prices) -> Own {
        let mut others = others(session, state);
        // What only another one can have written says that it has something of its own.
        let earliest =
            others.iter().map(|other| other.started).chain([self.since]).min().unwrap_or(self.since);
        let files = attribution::since(&self.home, &self.patterns, earliest);
        // Where it was killed, others may have written since.
        let is_late = |over: Timestamp| attribution::last(&self.home, &files).is_some_and(|last| last > over);
        let is_alone = others.is_empty() && !session.over.is_some_and(is_late);
        let units = units::group(&self.home, &self.patterns, &files);
        if is_alone && !(session.open && units.len() > 1) {
            let named = units.into_iter().filter(|unit| !unit.is_database).map(|unit| unit.name);
            return Own { named: named.collect(), files, ..Own::default() };
        }
        if session.open && units.len() > 1 {
            others.push(Side::since(OUTSIDE, self.since));
        }
        let this = Side { ended: session.over, ..Side::since(&session.id, self.since) };
        let sides: Vec<(&Side, &Asked)> =
            std::iter::once((&this, asked)).chain(others.iter().map(|other| (other, &other.asked))).collect();
        let found = |everything| self.conversations(&units, &sides, earliest, prices, everything);
        let divide = |found: &[Conversation<'_>]| {
            share::divide(&found.iter().map(|one| one.known.clone()).collect::<Vec<Known>>())
        };
        let mut conversations = found(false);
        let mut verdicts = divide(&conversations);
        // Who of several others has something of its own is told by what this one cannot have written.
        if others.len() > 1 && verdicts.iter().any(|verdict| matches!(verdict, Verdict::Shared(_))) {
            conversations = found(true);
            verdicts = divide(&conversations);
        }
        Own::of(&conversations, &verdicts, &others, session.guessed)
    }

    /// Returns conversations with what is known of each: what was said in those that may be of the first side, or in `everything`, where
    /// they may be of another one as well.
    fn conversations<'a>(
        &self,
        units: &'a [Unit],
        sides: &[(&Side, &Asked)],
        since: Timestamp,
        prices: &Prices,
        everything: bool,
    ) -> Vec<Conversation<'a>> {
        let mut conversations = Vec::new();
        // Somebody inside may have made any number of them: what is said in the rest is not looked at.
        let mut left = MOST_READ;
        for unit in units {
            let within =
                if unit.is_database { self.in_database(unit, sides, since, prices, &mut left) } else { None };
            if let Some(within) = within {
                conversations.extend(within);
                continue;
            }
            let may: Vec<bool> = sides.iter().map(|(side, _)| side.may(unit.created, unit.changed)).collect();
            let is_open = may.iter().filter(|may| **may).count() > 1;
            let is_told = is_open && (may[0] || everything) && left > 0;
            left -= usize::from(is_told);
            let said = is_told.then(|| self.said(&unit.files, None, since, prices)).flatten();
            let fits = fits(sides, &unit.name, &said.unwrap_or_default());
            let known = Known { may, fits };
            conversations.push(Conversation { unit, name: unit.name.clone(), is_within: false, known });
        }
        conversations
    }

    /// Returns the conversations of a database that were changed since then; nothing where there are too many to be told apart.
    fn in_database<'a>(
        &self,
        unit: &'a Unit,
        sides: &[(&Side, &Asked)],
        since: Timestamp,
        prices: &Prices,
        left: &mut usize,
    ) -> Option<Vec<Conversation<'a>>> {
        let all = self.said(&unit.files, None, since, prices).unwrap_or_default().conversations;
        if all.len() >= MOST_NAMED {
            return None;
        }
        let mut of = |name: String| {
            let is_told = *left > 0;
            *left -= usize::from(is_told);
            let said = is_told.then(|| self.said(&unit.files, Some(&name), since, prices)).flatten();
            let said = said.unwrap_or_default();
            let last = said.last.map(|last| last + INEXACT);
            let first = said.first.map(|first| first - INEXACT);
            let may = sides.iter().map(|(side, _)| side.may(first, last)).collect();
            let fits = fits(sides, &name, &said);
            Conversation { unit, name, is_within: true, known: Known { may, fits } }
        };
        Some(all.into_iter().map(&mut of).collect())
    }

    fn said(
        &self,
        files: &[Utf8PathBuf],
        conversation: Option<&String>,
        since: Timestamp,
        prices: &Prices,
    ) -> Option<Said> {
        let chosen = conversation.map(std::slice::from_ref);
        said(&self.request(files, chosen, since, prices)).ok()
    }

    /// Returns when something of its own was written last.
    pub fn last(&self, own: &Own) -> Option<Timestamp> {
        attribution::last(&self.home, &own.files)
    }

    /// Returns when anybody has written last in its home since it began.
    pub fn last_of_all(&self) -> Option<Timestamp> {
        let files = attribution::since(&self.home, &self.patterns, self.since);
        attribution::last(&self.home, &files)
    }

    /// Makes a trajectory of what is its own.
    pub fn convert(
        &self,
        own: &Own,
        prices: &Prices,
        out: Out<'_>,
        is_running: bool,
        heard: Heard<'_>,
    ) -> Result<Converted, trajectory::Error> {
        let request = self.request(&own.files, own.chosen.as_deref(), self.since, prices);
        trajectory::convert(&Request { is_running, ..request }, out, heard)
    }

    fn request<'a>(
        &'a self,
        files: &'a [Utf8PathBuf],
        conversations: Option<&'a [String]>,
        since: Timestamp,
        prices: &'a Prices,
    ) -> Request<'a> {
        Request {
            logs: &self.home,
            only: Some(files),
            since: Some(since.as_millisecond()),
            conversations,
            whose: if self.is_declared { Whose::Declared(&self.agent) } else { Whose::Known(&self.agent) },
            agent_version: self.version.as_deref(),
            model: None,
            prices,
            format: WRITTEN,
            is_running: false,
        }
    }
}

impl Side {
    fn since(id: &str, started: Timestamp) -> Self {
        Side { id: id.to_owned(), started, ended: None, asked: Asked::default(), own: Vec::new() }
    }

    /// Says whether it can have written what was begun and written last at these times.
    fn may(&self, created: Option<Timestamp>, changed: Option<Timestamp>) -> bool {
        let is_before_end = |time: Option<Timestamp>| {
            self.ended.zip(time).is_none_or(|(ended, time)| time <= ended + INEXACT)
        };
        // One that was written after its end is of whoever went on with it.
        changed.is_none_or(|changed| changed >= self.started)
            && is_before_end(created)
            && is_before_end(changed)
    }
}

fn fits(sides: &[(&Side, &Asked)], name: &str, said: &Said) -> Vec<Fit> {
    let of = |(side, asked): &(&Side, &Asked)| {
        if let Some((_, fit)) = side.own.iter().find(|(own, _)| own == name) {
            return *fit;
        }
        if asked.names(name) {
            return Fit::Whole;
        }
        // A short answer, such as `continue`, is given everywhere.
        let counts = |(index, text): &(usize, &String)| *index == 0 || text.len() >= LEAST;
        said.asked
            .iter()
            .enumerate()
            .filter(counts)
            .map(|(_, text)| asked.fit(text))
            .max()
            .unwrap_or_default()
    };
    sides.iter().map(of).collect()
}

/// Returns the other sessions of the same agent that had the same home meanwhile: those that still run, or were killed, and those of
/// which a run was kept since.
fn others(session: &Session, state: &Utf8Path) -> Vec<Side> {
    let live = registry::with_killed(state).unwrap_or_default().into_iter();
    let live = live
        .filter(|other| other.id != session.id && other.home == session.home)
        // A shell or a script may start it as well.
        .filter(|other| other.agent.is_none() || other.agent == session.agent);
    let mut others: Vec<Side> = live
        .map(|other| Side {
            asked: Asked::of_session(state, &other),
            ended: other.over,
            id: other.id,
            started: other.started,
            own: Vec::new(),
        })
        .collect();
    for run in list(state, &session.project).into_iter().rev() {
        let Some(told) = read(&run) else { continue };
        let text = |key: &str| told[key].as_str();
        let time = |key: &str| text(key)?.parse::<Timestamp>().ok();
        let (Some(id), Some(started), Some(ended)) = (text("id"), time("started_at"), time("finished_at"))
        else {
            continue;
        };
        let conversations = told["conversations"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let is_same = text("agent") == session.agent.as_deref()
            && text("home").is_none_or(|home| session.home.as_deref().is_none_or(|own| own == home));
        if ended > session.started && is_same && id != session.id {
            let shared: Vec<Shared> = Vec::deserialize(&told["shared"]).unwrap_or_default();
            let fit = |name: &str| {
                shared.iter().find(|shared| shared.conversation == name).map(|shared| shared.fit)
            };
            let own = conversations.map(|name| (name.to_owned(), fit(name).unwrap_or(Fit::Whole))).collect();
            // One that has just ended may be among those that run: what it has found is better than what it shows.
            others.retain(|other| other.id != id);
            others.push(Side {
                id: id.to_owned(),
                started,
                ended: Some(ended),
                asked: Asked::default(),
                own,
            });
        }
    }
    others
}
