//! The exit gate: what a session leaves behind that an innocent command of the host would execute or obey.
//!
//! One look at the start, while bubblewrap starts, and one at the end, when nothing of the sandbox is left to write.
//! What differs and counts by the table is a finding. An edit that somebody else makes meanwhile is one too: who
//! wrote a file cannot be seen afterwards.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, io};

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::plan::{GateMode, Plan};
use crate::util::text::{escape, escape_name};

mod act;
mod compare;
mod copy;
mod ground;
mod mark;
mod memory;
mod pool;
mod rules;
mod table;
#[cfg(test)]
mod tests;
mod walk;

pub use mark::What;
pub use table::Class;

use compare::{Context, Found};
use ground::Ground;
use memory::Directories;
use walk::{BOUNDS, Bounds, Budget, Remember, Seen};

/// Findings of one reason that are kept for people and records; the rest is counted. There are some 60 reasons.
const MOST_ALIKE: usize = 100;

/// A file's time is that of the kernel's last tick, at most this long ago.
const TICK: Duration = Duration::from_millis(20);

/// More do not make a walk faster: it is the kernel's directories that they wait for.
const MOST_THREADS: usize = 4;

/// Directories that one thread looks at before another one has started.
const FEW: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    New,
    Changed,
}

/// What became of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is where it was found.
    Left,
    /// It is in the quarantine now, under this path.
    Moved { to: String },
    /// It should be in the quarantine and is not.
    Stuck { why: String },
}

impl fmt::Display for Fate {
    /// As an addition to the reason; nothing where nothing was done.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Left => Ok(()),
            Fate::Moved { to } => write!(out, " (moved to `{to}`)"),
            Fate::Stuck { why } => write!(out, " (not moved: {})", escape(why)),
        }
    }
}

/// One file, or other thing, that the host executes or obeys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Escaped; relative to the project, absolute elsewhere.
    pub path: String,
    pub change: Change,
    pub class: Class,
    pub what: What,
    /// Where a link points, escaped.
    pub target: Option<String>,
    /// Who obeys it, and how.
    pub reason: String,
    pub fate: Fate,
    /// How many more of the same reason are left out after this one.
    pub alike: usize,
}

/// What the gate found, and what it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub mode: GateMode,
    /// Obeyed ones first; a bounded number.
    pub findings: Vec<Finding>,
    /// How many are obeyed, how many a build runs, and how many should be in the quarantine and are not.
    pub obeyed: usize,
    pub built: usize,
    pub stuck: usize,
    /// Where files were moved to.
    pub quarantine: Option<Utf8PathBuf>,
    /// How to get them back: shell commands.
    pub restore: Vec<String>,
}

impl Report {
    /// Of a session that ran nothing.
    pub fn nothing(mode: GateMode) -> Self {
        let (findings, restore) = (Vec::new(), Vec::new());
        Report { mode, findings, obeyed: 0, built: 0, stuck: 0, quarantine: None, restore }
    }

    /// Says whether the mode calls for a failure: something that should not be there still is.
    pub fn fails(&self) -> bool {
        match self.mode {
            GateMode::Report => false,
            GateMode::Block => self.obeyed > 0,
            GateMode::Quarantine => self.stuck > 0,
        }
    }
}

/// A session's gate between its two looks.
pub struct Gate {
    grounds: Arc<Vec<Open>>,
    mode: GateMode,
    root_user: bool,
    since: SystemTime,
    first: First,
    /// What is remembered of the project's directories.
    memory: Utf8PathBuf,
}

/// A ground whose root is held open: whatever its path leads to later, this is what the session could write to.
struct Open {
    ground: Ground,
    root: OwnedFd,
}

enum First {
    Looking(JoinHandle<Vec<Seen>>),
    Seen(Vec<Seen>),
}

impl Gate {
    /// Begins the first look in a thread of its own; signals must be blocked already, so that it inherits that.
    pub fn open(plan: &Plan) -> io::Result<Self> {
        let grounds = Arc::new(open(ground::grounds(plan))?);
        let since = SystemTime::now();
        let memory = plan.project.state.join("gate");
        // One processor is bubblewrap's.
        let threads = processors().saturating_sub(1).clamp(1, MOST_THREADS);
        let (of_thread, file) = (Arc::clone(&grounds), memory.clone());
        let look = move || {
            let remembered = |open: &Open| {
                let project = open.ground.is_project.then(|| memory::load(&file, open.root.as_fd()));
                project.unwrap_or_default()
            };
            let before: Vec<Directories> = of_thread.iter().map(remembered).collect();
            let mut seen = look_at(&of_thread, BOUNDS, threads, &before, Remember::Yes);
            seen.iter_mut().zip(before).for_each(|(seen, before)| walk::merge(before, seen));
            seen
        };
        let look = std::thread::Builder::new().name("gate".into()).spawn(look)?;
        let (mode, root_user) = (plan.gate, plan.user.uid == 0);
        Ok(Gate { grounds, mode, root_user, since, first: First::Looking(look), memory })
    }

    /// Waits for the first look; nothing may run inside before.
    pub fn ready(self) -> Self {
        let seen = match self.first {
            First::Seen(seen) => seen,
            // A look that has panicked has seen nothing, and says so.
            First::Looking(look) => look
                .join()
                .unwrap_or_else(|_| self.grounds.iter().map(|_| Seen::nothing(walk::UNREADABLE)).collect()),
        };
        Gate { first: First::Seen(seen), ..self }
    }

    /// Takes the second look and does what the mode says. `gone`: nothing of the sandbox runs any more.
    pub fn close(self, state: &Utf8Path, session: &str, gone: bool) -> Report {
        let Gate { grounds, mode, root_user, since, first, memory } = self.ready();
        let mut first = match first {
            First::Seen(seen) => seen,
            First::Looking(_) => Vec::new(),
        };
        let known: Vec<Directories> = first.iter_mut().map(|seen| std::mem::take(&mut seen.known)).collect();
        let most: usize = known.iter().map(Directories::len).sum();
        // The caller has something to do as well, and a thread takes as long as a hundred directories.
        let threads = if most < FEW { 1 } else { processors().min(MOST_THREADS) };
        let mut second = look_at(&grounds, BOUNDS, threads, &known, Remember::No);
        if !gone && let Some(project) = second.first_mut() {
            project.cut = Some("something of the session may still run");
        }
        for ((open, seen), known) in grounds.iter().zip(&first).zip(&known) {
            if open.ground.is_project
                && let Err(error) = memory::save(&memory, open.root.as_fd(), known, seen.read)
            {
                tracing::debug!(%error, "the next session looks at everything");
            }
        }
        let since = file_time(since, TICK);
        let looks = grounds.iter().zip(&first).zip(second);
        let found: Vec<Vec<Found>> = looks
            .map(|((open, start), end)| {
                let (ground, root) = (&open.ground, open.root.as_fd());
                let context = Context { ground, root, system_is_safe: !root_user, since };
                compare::compare(&context, start, end)
            })
            .collect();
        if mode == GateMode::Quarantine {
            return act::quarantine(&grounds, found, state, session);
        }
        let fates = found.iter().map(|found| vec![Fate::Left; found.len()]).collect();
        report(mode, &grounds, found, fates)
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Opens every ground that is a directory; a single file that is mounted is no place to work in.
fn open(grounds: Vec<Ground>) -> io::Result<Vec<Open>> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut opened = Vec::new();
    for ground in grounds {
        match nix::fcntl::open(ground.root.as_std_path(), flags, Mode::empty()) {
            Ok(root) => opened.push(Open { ground, root }),
            Err(Errno::ENOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(opened)
}

/// Returns a moment, or a little before it, as files have it: seconds and nanoseconds.
fn file_time(moment: SystemTime, before: Duration) -> (i64, i64) {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(before);
    (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos().into())
}

/// Walks all grounds within one budget, each with what is known of it.
fn look_at(
    grounds: &[Open],
    bounds: Bounds,
    threads: usize,
    before: &[Directories],
    keep: Remember,
) -> Vec<Seen> {
    let began = Instant::now();
    let budget = Budget::new(bounds);
    let walk = |(open, before): (&Open, &Directories)| {
        walk::walk(&open.ground, open.root.as_fd(), &budget, threads, before, keep)
    };
    let seen: Vec<Seen> = grounds.iter().zip(before).map(walk).collect();
    let microseconds = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let when = if keep == Remember::Yes { "start" } else { "end" };
    let read: usize = seen.iter().map(|seen| seen.read).sum();
    tracing::debug!(when, read, entries = budget.entries(), microseconds, "the exit gate has looked");
    seen
}

/// Puts the findings of all grounds together, obeyed ones first.
fn report(mode: GateMode, grounds: &[Open], found: Vec<Vec<Found>>, fates: Vec<Vec<Fate>>) -> Report {
    let mut findings = Vec::new();
    for ((open, found), fates) in grounds.iter().zip(found).zip(fates) {
        findings.extend(found.into_iter().zip(fates).map(|(found, fate)| finding(found, &open.ground, fate)));
    }
    findings.sort_by_key(|finding| finding.class);
    let count = |counts: &dyn Fn(&Finding) -> bool| findings.iter().filter(|finding| counts(finding)).count();
    let obeyed = count(&|finding| finding.class == Class::Obeyed);
    let stuck = count(&|finding| matches!(finding.fate, Fate::Stuck { .. }));
    let built = findings.len() - obeyed;
    let findings = bound(findings);
    Report { mode, findings, obeyed, built, stuck, quarantine: None, restore: Vec::new() }
}

/// Keeps some findings of each reason, so that none is lost behind many others.
fn bound(findings: Vec<Finding>) -> Vec<Finding> {
    let mut kept: Vec<Finding> = Vec::new();
    let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
    for finding in findings {
        let (count, last) = counts.entry(finding.reason.clone()).or_insert((0, 0));
        *count += 1;
        if *count <= MOST_ALIKE {
            *last = kept.len();
            kept.push(finding);
        } else if let Some(last) = kept.get_mut(*last) {
            last.alike += 1;
        }
    }
    kept
}

fn finding(found: Found, ground: &Ground, fate: Fate) -> Finding {
    let Found { path, change, class, mark, reason } = found;
    let name = escape_name(&path);
    let path = match ground.is_project {
        false if name.is_empty() => ground.root.to_string(),
        false => format!("{}/{name}", ground.root),
        true if name.is_empty() => ".".to_owned(),
        // A name that looks like an option is shown as what it is: a path.
        true if name.starts_with('-') => format!("./{name}"),
        true => name,
    };
    let target = mark.target.as_deref().map(escape_name);
    Finding { path, change, class, what: mark.what, target, reason, fate, alike: 0 }
}
