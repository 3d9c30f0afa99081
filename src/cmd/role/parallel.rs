//! `pier role parallel`: several agents at once, each in a private clone of the project and of the coordination repository.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;

use super::apart::{self, Home};
use super::desk::{self, Claimed, Desk, Flags, Turn};
use super::launch::{Launcher, Session};
use super::rows::Rows;
use super::signals;
use super::status::{Status, Worker};
use crate::backend::git::Git;
use crate::cmd::{Global, Outcome};
use crate::coord::history::Actor;
use crate::coord::item::Head;
use crate::coord::select::{self, Asking, Order, Stage};
use crate::coord::store::Entry;
use crate::coord::taken::Taken;
use crate::diag::{Exit, Failure};
use crate::loops::integrate::{self, Trunk};
use crate::loops::lock::{self, Lock};
use crate::plan::Front;
use crate::schedule::{self, Budget, End, Offer, Source, Spent, Stop};
use crate::ui;
use crate::util::text::escape;

/// How often the remote is asked while there are free workers.
const LOOK: Duration = Duration::from_secs(2);

/// How long an item that others won is left to them.
const COOLING: Duration = Duration::from_mins(2);

/// How many rounds may end in which the remote took no claim and nothing ran.
const MOST_DECLINED: u32 = 3;

#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Examples:\n  pier role parallel -j 4                  until nothing is left to do\n  pier role parallel --once                one session, then end\n  pier role parallel -j 2 --max-cost 5     and no session begins after 5 US dollars\n  pier role parallel --issue ID --issue ID  these items alone\n  pier role status                         what it does now, from elsewhere\n\n\
    Every worker has a sandbox, a private clone of the project on the item's branch `pier/ID`, and a clone of the coordination \
    repository of its own. What it says about its item is done by pier, as far as its role may say it. Items that are done, reviewed \
    and verified are merged into the project's branch and closed; what does not fit goes back to a developer."
)]
pub struct Parallel {
    #[command(flatten)]
    pub(super) flags: Flags,
    /// How many agents work at once.
    #[arg(short = 'j', long = "jobs", value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// The branch that everything comes to; the one that is checked out otherwise.
    #[arg(long, value_name = "BRANCH")]
    into: Option<String>,
    /// No session begins after this time.
    #[arg(long, value_name = "TIME")]
    max_time: Option<String>,
    /// No session begins after so many US dollars, as the agents tell their cost.
    #[arg(long, value_name = "USD")]
    max_cost: Option<f64>,
    /// Wait for new items where nothing is left to do.
    #[arg(long)]
    wait: bool,
    /// Wait as well, and end after so many looks in a row that found nothing to do.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    max_idle_polls: Option<u64>,
    /// One session, or one look that finds nothing.
    #[arg(long)]
    once: bool,
    /// Print what became of each item, as JSON, at the end.
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
}

impl Parallel {
    pub(super) fn workers(&self) -> usize {
        usize::from(self.jobs)
    }
}

pub fn run(global: &Global, args: &Parallel) -> Outcome {
    if let Some(cost) = args.max_cost.filter(|cost| !(cost.is_finite() && *cost >= 0.0)) {
        return Err(desk::usage(format!("`--max-cost {cost}` is no amount")));
    }
    let time = args.max_time.as_deref().map(|text| desk::time("--max-time", text)).transpose()?;
    let mut desk = Desk::open(global, &args.flags, Launcher::Pier { apart: true })?;
    if args.max_cost.is_some() {
        desk.require_costs()?;
    }
    let git = Git::find(&desk.context.environment.home)?;
    let (directory, common) = desk.repository()?;
    let trunk = Trunk::open(&git, &desk.context.project, (&directory, &common), args.into.as_deref())
        .map_err(|error| trunk_failed(&error))?;
    if args.flags.dry_run {
        return would(&desk, &trunk, args);
    }
    let lock =
        Lock::take(&desk.place.join("lock"), &desk.context.project.join(lock::FILE), &desk.context.project)
            .map_err(|error| desk::failed(error.to_string()).help("`pier role status` says what it does"))?;
    let hold = lock.hold();
    desk.hold = Some(hold.map_err(|error| desk::failed(format!("the lock cannot be handed on: {error}")))?);
    apart::sweep(&desk);
    let stop = Arc::new(Stop::default());
    let signal = signals::watch(&stop)?;
    let slots = usize::from(args.jobs);
    let jobs = args.flags.max_jobs.or(args.once.then_some(1));
    let budget = Budget { jobs, time, cost: args.max_cost };
    let mut floor = Floor::new(&desk, &trunk, args);
    ui::say(&format!(
        "{slots} {} into `{}`; logs in `{}`",
        if slots == 1 { "worker" } else { "workers" },
        escape(&trunk.branch),
        desk.place.join("logs")
    ));
    let work = |_: usize, job: Job, stop: &Stop| carry_out(&desk, job, stop);
    let (end, spent) = schedule::run(&mut floor, slots, budget, &stop, &work);
    floor.finish(end, &spent);
    let exit = floor.rows.report(args.json, end, &spent);
    if let Some(failure) = floor.failure {
        return Err(failure);
    }
    match signal.code() {
        Some(code) => Ok(Exit::Child(code)),
        None => Ok(exit),
    }
}

pub(super) fn trunk_failed(error: &integrate::Error) -> Failure {
    let help = match error {
        integrate::Error::Detached => "`git switch main`, or `--into BRANCH`",
        integrate::Error::Empty => "make the first commit of the project",
        integrate::Error::NoBranch { .. } => "`git branch` lists them",
        integrate::Error::Git(_) => "what was claimed is free when its claim ends",
    };
    desk::failed(escape(&error.to_string())).help(help)
}

/// Says what would begin.
fn would(desk: &Desk<'_>, trunk: &Trunk<'_>, args: &Parallel) -> Outcome {
    if let Some(why) = desk.pull()? {
        ui::warn(&why);
    }
    let entries = desk.entries()?;
    desk.require_issues(&entries)?;
    let mut floor = Floor::new(desk, trunk, args);
    for id in desk::finished(&entries) {
        ui::answer(&format!("merge into {}, and close {}", escape(&trunk.branch), escape(&id)));
    }
    for slot in 0..usize::from(args.jobs) {
        let Some((stage, entry)) = floor.choose(&entries) else { break };
        let id = entry.head.id.clone();
        ui::answer(&format!("worker {}: role={} item={}", slot + 1, stage.role(), escape(&id)));
        desk.prepare(stage)?;
        floor.in_work.insert(id);
    }
    Ok(Exit::Done)
}

/// One session to be.
pub struct Job {
    pub turn: Turn,
    /// The body of its role.
    body: String,
    /// Where its branch is.
    from: String,
}

/// What a session came to.
pub struct Done {
    pub(super) turn: Turn,
    pub(super) from: String,
    /// An error where nothing ran.
    pub(super) session: Result<(Session, Taken), Failure>,
}

/// Runs a session, in the thread of its worker.
fn carry_out(desk: &Desk<'_>, job: Job, stop: &Stop) -> Done {
    let Job { mut turn, body, from } = job;
    let session = (|| {
        let home = Home::make(desk, &turn)?;
        turn.clone.clone_from(&home.clone);
        let session = desk.run(&turn, Front::Events, &body, stop, false)?;
        Ok((session, home.taken(&turn)))
    })();
    Done { turn, from, session }
}

/// Where the workers get their items, and where these go.
pub(super) struct Floor<'a> {
    pub(super) desk: &'a Desk<'a>,
    pub(super) trunk: &'a Trunk<'a>,
    pub(super) args: &'a Parallel,
    bodies: BTreeMap<Stage, String>,
    pub(super) in_work: BTreeSet<String>,
    workers: Vec<Option<Worker>>,
    pub(super) fruitless: BTreeMap<(String, Stage), u32>,
    lost: BTreeMap<String, Instant>,
    /// Items whose claims the remote has not taken in this round.
    declined: BTreeSet<String>,
    /// Those of the rounds before as well.
    unclaimed: BTreeSet<String>,
    /// How many rounds in a row brought nothing but that.
    declined_rounds: u32,
    /// Items that this loop leaves alone from now on.
    pub(super) left: BTreeSet<String>,
    /// How often an item did not fit when it was to be merged.
    pub(super) misfits: BTreeMap<String, u32>,
    pub(super) rows: Rows,
    /// What was said about each item that cannot be merged now.
    pub(super) waiting: BTreeMap<String, String>,
    looked: Option<Instant>,
    /// How many looks in a row have found nothing, and the last of them.
    idle: (u64, Option<Instant>),
    unreachable: bool,
    pub(super) failure: Option<Failure>,
    status: Status,
}

impl<'a> Floor<'a> {
    fn new(desk: &'a Desk<'a>, trunk: &'a Trunk<'a>, args: &'a Parallel) -> Self {
        Floor {
            desk,
            trunk,
            args,
            bodies: BTreeMap::new(),
            in_work: BTreeSet::new(),
            workers: vec![None; usize::from(args.jobs)],
            fruitless: BTreeMap::new(),
            lost: BTreeMap::new(),
            declined: BTreeSet::new(),
            unclaimed: BTreeSet::new(),
            declined_rounds: 0,
            left: BTreeSet::new(),
            misfits: BTreeMap::new(),
            rows: Rows::default(),
            waiting: BTreeMap::new(),
            looked: None,
            idle: (0, None),
            unreachable: false,
            failure: None,
            status: Status::new(&desk.place),
        }
    }

    pub(super) fn say(&mut self, line: &str) {
        self.status.say(line);
    }

    /// Writes down what went wrong with an item, and says it.
    pub(super) fn wrong(&mut self, id: &str, why: &str) {
        self.status.say(&format!("{}: {why}", escape(id)));
        self.rows.of(id).problem = Some(why.to_owned());
    }

    fn is_mine(&self, name: &str) -> bool {
        let me = &self.desk.context.actor.id;
        let number = name.strip_prefix(me.as_str()).and_then(|rest| rest.strip_prefix('-'));
        name == me
            || number.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    }

    fn choose<'b>(&self, entries: &'b [Entry]) -> Option<(Stage, &'b Entry)> {
        self.next_of(entries, &|id| {
            self.declined.contains(id) || self.lost.get(id).is_some_and(|since| since.elapsed() < COOLING)
        })
    }

    fn next_of<'b>(&self, entries: &'b [Entry], cools: &dyn Fn(&str) -> bool) -> Option<(Stage, &'b Entry)> {
        let leave = |head: &Head, stage: Stage| {
            let key = (head.id.clone(), stage);
            self.in_work.contains(&head.id)
                || self.left.contains(&head.id)
                || cools(&head.id)
                || self.fruitless.get(&key).is_some_and(|count| *count >= self.args.flags.attempts)
        };
        let mine = |name: &str| self.is_mine(name);
        let order = self.desk.order(Order::Priority);
        select::next(entries, &Asking { mine: &mine, at: Timestamp::now(), order: &order, leave: &leave })
    }

    /// Looks at the repository; `None` where it cannot be reached now.
    fn entries(&mut self) -> Result<Option<Vec<Entry>>, Failure> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            let why = self.desk.pull()?;
            self.looked = Some(Instant::now());
            if let Some(why) = &why
                && !self.unreachable
            {
                self.say(&format!("the coordination repository cannot be reached: {why}"));
            }
            self.unreachable = why.is_some();
        }
        if self.unreachable {
            return Ok(None);
        }
        let entries = self.desk.entries()?;
        self.desk.require_issues(&entries)?;
        Ok(Some(entries))
    }

    fn most_idle(&self) -> Option<u64> {
        self.args.max_idle_polls.or(self.args.once.then_some(1))
    }

    /// Waits after a look that found nothing, unless there were enough of them.
    fn wait(&mut self, pause: Duration) -> Offer<Job> {
        let (count, last) = self.idle;
        if self.in_work.is_empty() && last != self.looked {
            self.idle = (count + 1, self.looked);
        }
        if self.most_idle().is_some_and(|most| self.idle.0 >= most) {
            Offer::Nothing
        } else {
            Offer::Later(pause)
        }
    }

    /// Somebody has an item that the remote gave to nobody before.
    fn is_had(&mut self, id: &str) {
        if self.unclaimed.remove(id) {
            self.rows.of(id).problem = None;
        }
    }

    /// Ends a round in which the remote took no claim; says whether there were enough of them while nothing ran.
    fn is_declined(&mut self) -> bool {
        if self.in_work.is_empty() && !self.declined.is_empty() {
            self.declined_rounds += 1;
        }
        self.declined.clear();
        self.declined_rounds >= MOST_DECLINED
    }

    fn offer(&mut self, slot: usize) -> Result<Offer<Job>, Failure> {
        let pause = Duration::from_secs(self.args.flags.sleep.max(1));
        let Some(mut entries) = self.entries()? else { return Ok(self.wait(pause)) };
        if self.integrate(&entries)? {
            entries = self.desk.entries()?;
        }
        let Some((stage, entry)) = self.choose(&entries) else {
            // One that cools may be to be had again.
            let others = self.next_of(&entries, &|_| false).is_some();
            if self.is_declined() && !self.args.wait && self.most_idle().is_none() {
                return Ok(Offer::Nothing);
            }
            let waits = others || self.args.wait || self.most_idle().is_some();
            return Ok(if waits { self.wait(pause) } else { Offer::Nothing });
        };
        let Head { id, title, owner, status, .. } = entry.head.clone();
        let entry = entry.clone();
        let body = if let Some(body) = self.bodies.get(&stage) {
            body.clone()
        } else {
            let body = self.desk.prepare(stage)?;
            self.bodies.insert(stage, body.clone());
            body
        };
        self.desk.require_same_roles()?;
        // Before the claim: where there can be no branch, nobody is to have the item.
        let from = match self.begin(&entry, stage) {
            Ok(from) => from,
            Err(why) => {
                self.wrong(&id, &why);
                self.left.insert(id);
                return Ok(Offer::Later(Duration::from_millis(10)));
            }
        };
        let resumed = stage == Stage::Develop && status == "claimed";
        let me = format!("{}-{}", self.desk.context.actor.id, slot + 1);
        // What was begun goes on in the name of who began it.
        let name = if resumed && self.is_mine(&owner) { owner } else { me };
        let actor = Actor { id: name, role: stage.role().to_owned() };
        if stage == Stage::Develop {
            match self.desk.claim(&actor, &id)? {
                Claimed::Mine => {
                    self.declined_rounds = 0;
                    self.is_had(&id);
                }
                Claimed::Lost(why) => {
                    self.say(&format!("{}: not ours: {why}", escape(&id)));
                    self.is_had(&id);
                    self.lost.insert(id, Instant::now());
                    return Ok(Offer::Later(Duration::from_millis(10)));
                }
                Claimed::NotNow(why) => {
                    let why = format!("could not be claimed: {why}");
                    if self.rows.of(&id).problem.as_ref() != Some(&why) {
                        self.wrong(&id, &why);
                    }
                    self.declined.insert(id.clone());
                    self.unclaimed.insert(id);
                    return Ok(Offer::Later(Duration::from_millis(10)));
                }
            }
        }
        let trunk = self.trunk.base().map_err(|error| trunk_failed(&error))?;
        let branch = integrate::name(&id);
        let resumed = resumed || stage == Stage::Develop && trunk != from;
        self.say(&format!("{}: {} (worker {})", escape(&id), stage.role(), slot + 1));
        self.workers[slot] = Some(Worker::new(slot, stage.role(), &id));
        self.in_work.insert(id.clone());
        self.idle.0 = 0;
        let clone = self.desk.context.store.root.clone();
        let turn = Turn { stage, id, title, actor, resumed, branch: Some(branch), clone };
        Ok(Offer::Job(Job { turn, body, from }))
    }

    /// After the last session: what can still be merged, and what is not at the remote.
    fn finish(&mut self, end: End, spent: &Spent) {
        // What others have closed meanwhile is no failure. Where the remote is not to be had, what is known counts.
        if let Ok(Some(why)) = self.desk.pull() {
            tracing::debug!(why, "not fetched at the end");
        }
        let last = self.desk.entries().and_then(|entries| self.integrate(&entries)).map(drop);
        let released = self.release();
        let pushed = self.desk.push();
        let last = last.and(released);
        match (last, pushed) {
            (Err(failure), _) | (_, Err(failure)) => drop(self.failure.get_or_insert(failure)),
            (_, Ok(Some(why))) => self.say(&format!("not everything is at the remote: {why}")),
            _ => {}
        }
        for id in self.rows.refresh(self.desk) {
            self.say(&format!("{}: closed elsewhere", escape(&id)));
        }
        let mut left = self.rows.left();
        left.extend(self.failure.as_ref().map(desk::first));
        self.status.end(end, spent, &left);
    }
}

impl Source for Floor<'_> {
    type Job = Job;
    type Outcome = Done;

    fn next(&mut self, slot: usize) -> Offer<Job> {
        if self.failure.is_some() {
            return Offer::Nothing;
        }
        match self.offer(slot) {
            Ok(offer) => offer,
            Err(failure) => {
                self.failure = Some(failure);
                Offer::Nothing
            }
        }
    }

    fn ended(&mut self, slot: usize, outcome: Option<Done>) -> Option<f64> {
        let worker = self.workers[slot].take();
        if let Some(worker) = &worker {
            self.in_work.remove(&worker.item);
        }
        self.looked = None;
        let Some(done) = outcome else {
            if let Some(worker) = worker {
                self.wrong(&worker.item, "its worker came to a sudden end");
            }
            return None;
        };
        // One that could not be started has cost nothing.
        let cost = done.session.as_ref().map_or(Some(0.0), |(session, _)| session.cost);
        self.take(done).unwrap_or_else(|failure| {
            self.failure.get_or_insert(failure);
            cost
        })
    }

    fn look(&mut self, spent: &Spent, _: &[bool]) {
        let closed = self.rows.closed();
        let workers: Vec<&Worker> = self.workers.iter().flatten().collect();
        self.status.show(spent, closed, &workers);
    }
}
