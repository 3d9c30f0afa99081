//! Many jobs, some of them at once: slots, budgets, and an orderly end. Nothing here knows what a job is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How long nothing is looked at where nothing happens.
const TURN: Duration = Duration::from_millis(200);

/// What all jobs together may use. What runs when a budget is used up goes on; nothing new begins.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    pub jobs: Option<u64>,
    pub time: Option<Duration>,
    /// In the unit of what [`Source::ended`] returns.
    pub cost: Option<f64>,
}

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    pub jobs: u64,
    pub time: Duration,
    /// Of those jobs that say it.
    pub cost: f64,
    /// Jobs that have ended and do not say what they cost.
    pub untold: u64,
    /// Jobs that have ended and say it.
    pub priced: u64,
}

impl Spent {
    /// Adds what a job has cost.
    pub fn add(&mut self, cost: Option<f64>) {
        match cost {
            Some(cost) => {
                self.cost += cost;
                self.priced += 1;
            }
            None => self.untold += 1,
        }
    }

    /// Returns what all jobs have cost; `None` where none of them says it, or none has ended yet.
    pub fn told(&self) -> Option<f64> {
        (self.jobs == 0 || self.priced > 0).then_some(self.cost)
    }
}

impl Budget {
    /// Returns which budget is used up.
    pub fn used_up(&self, spent: &Spent) -> Option<&'static str> {
        if self.jobs.is_some_and(|most| spent.jobs >= most) {
            return Some("jobs");
        }
        if self.time.is_some_and(|most| spent.time >= most) {
            return Some("time");
        }
        // What nobody knows may be more than is left.
        self.cost.is_some_and(|most| spent.untold > 0 || spent.cost >= most).then_some("cost")
    }
}

/// Whether the jobs are to end; shared with them.
#[derive(Debug, Default)]
pub struct Stop(AtomicU8);

impl Stop {
    /// Asks for the end: once for no new jobs, twice for the end of those that run.
    pub fn ask(&self) {
        let _before = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| Some((now + 1).min(2)));
    }

    /// Ends everything.
    pub fn now(&self) {
        self.0.store(2, Ordering::SeqCst);
    }

    /// No new job begins.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    /// Jobs that run are to end as well.
    pub fn is_now(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 1
    }
}

/// What there is to do.
pub enum Offer<J> {
    Job(J),
    /// Nothing now; ask again after this time, or when another job has ended.
    Later(Duration),
    /// Nothing any more.
    Nothing,
}

/// Why no more jobs began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing was left to do.
    Done,
    /// This budget was used up.
    Budget(&'static str),
    Asked,
}

/// Where jobs come from and go to. Called by one thread alone.
pub trait Source {
    type Job: Send;
    type Outcome: Send;

    /// Returns the next job for a slot.
    fn next(&mut self, slot: usize) -> Offer<Self::Job>;

    /// A job has ended; returns what it cost, where that is known. No outcome where its thread panicked.
    fn ended(&mut self, slot: usize, outcome: Option<Self::Outcome>) -> Option<f64>;

    /// Called now and then, with the slots that work.
    fn look(&mut self, spent: &Spent, busy: &[bool]);
}

/// What runs one job of a source in a slot.
pub type Work<'a, S> = dyn Fn(usize, <S as Source>::Job, &Stop) -> <S as Source>::Outcome + Sync + 'a;

/// Runs the jobs of a source, at most `slots` at once, each by `run` in a thread of its own.
///
/// `slots` is at least 1.
pub fn run<S: Source>(
    source: &mut S,
    slots: usize,
    budget: Budget,
    stop: &Stop,
    run: &Work<'_, S>,
) -> (End, Spent) {
    let began = Instant::now();
    let mut spent = Spent::default();
    let (sender, ended) = mpsc::channel();
    thread::scope(|scope| {
        let mut busy = vec![false; slots.max(1)];
        let mut end = None;
        let mut again = Instant::now();
        loop {
            spent.time = began.elapsed();
            if stop.is_asked() {
                end = Some(End::Asked);
            } else if end.is_none()
                && let Some(which) = budget.used_up(&spent)
            {
                end = Some(End::Budget(which));
            }
            while end.is_none() && Instant::now() >= again {
                let Some(slot) = busy.iter().position(|busy| !busy) else { break };
                match source.next(slot) {
                    Offer::Job(job) => {
                        busy[slot] = true;
                        spent.jobs += 1;
                        let sender = sender.clone();
                        scope.spawn(move || {
                            // A job that goes wrong is one job.
                            let outcome = catch_unwind(AssertUnwindSafe(|| run(slot, job, stop))).ok();
                            // Heard as long as the loop below goes on.
                            let _closed = sender.send((slot, outcome));
                        });
                        end = budget.used_up(&spent).map(End::Budget);
                    }
                    Offer::Later(time) => again = Instant::now() + time,
                    // What runs may bring something to do.
                    Offer::Nothing if busy.contains(&true) => {
                        again = Instant::now() + Duration::from_hours(1);
                    }
                    Offer::Nothing => end = Some(End::Done),
                }
            }
            source.look(&spent, &busy);
            if let Some(end) = end
                && !busy.contains(&true)
            {
                return (end, spent);
            }
            let until =
                again.saturating_duration_since(Instant::now()).min(TURN).max(Duration::from_millis(1));
            let wait = if end.is_some() || busy.iter().all(|busy| *busy) { TURN } else { until };
            match ended.recv_timeout(wait) {
                Ok((slot, outcome)) => {
                    busy[slot] = false;
                    spent.add(source.ended(slot, outcome));
                    again = Instant::now();
                }
                // A sender lives as long as this loop.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// So many jobs, each of which costs a half; some panic.
    struct Numbers {
        left: usize,
        later: bool,
        ended: Vec<Option<usize>>,
        most_busy: usize,
    }

    impl Numbers {
        fn new(left: usize) -> Self {
            Numbers { left, later: false, ended: Vec::new(), most_busy: 0 }
        }
    }

    impl Source for Numbers {
        type Job = usize;
        type Outcome = usize;

        fn next(&mut self, _: usize) -> Offer<usize> {
            if self.left == 0 {
                return Offer::Nothing;
            }
            self.later = !self.later;
            if self.later {
                return Offer::Later(Duration::from_millis(1));
            }
            self.left -= 1;
            Offer::Job(self.left)
        }

        fn ended(&mut self, _: usize, outcome: Option<usize>) -> Option<f64> {
            self.ended.push(outcome);
            Some(0.5)
        }

        fn look(&mut self, _: &Spent, busy: &[bool]) {
            self.most_busy = self.most_busy.max(busy.iter().filter(|busy| **busy).count());
        }
    }

    #[test]
    fn every_job_runs_once_and_not_too_many_at_a_time() {
        let mut source = Numbers::new(40);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |_: usize, job: usize, _: &Stop| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(3));
            running.fetch_sub(1, Ordering::SeqCst);
            job
        };
        let (end, spent) = run(&mut source, 3, Budget::default(), &Stop::default(), &work);
        assert_eq!((end, spent.jobs, spent.cost), (End::Done, 40, 20.0));
        let mut ended: Vec<usize> = source.ended.into_iter().flatten().collect();
        ended.sort_unstable();
        assert_eq!(ended, (0..40).collect::<Vec<_>>());
        assert!((2..=3).contains(&most.load(Ordering::SeqCst)) && source.most_busy <= 3);
    }

    #[test]
    fn what_nobody_says_is_not_nothing() {
        let mut spent = Spent::default();
        assert_eq!(spent.told(), Some(0.0));
        spent.jobs = 2;
        assert_eq!(spent.told(), None, "those that run have not said it");
        spent.add(None);
        spent.add(Some(0.5));
        assert_eq!((spent.told(), spent.untold), (Some(0.5), 1));
        spent = Spent { jobs: 1, ..Spent::default() };
        spent.add(None);
        assert_eq!(spent.told(), None);
    }

    #[test]
    fn budgets_end_it() {
        let ends = |budget: Budget| {
            let mut source = Numbers::new(1000);
            let (end, spent) = run(&mut source, 2, budget, &Stop::default(), &|_, job, _| {
                thread::sleep(Duration::from_millis(1));
                job
            });
            assert_eq!(source.ended.len() as u64, spent.jobs);
            (end, spent)
        };
        let (end, spent) = ends(Budget { jobs: Some(3), ..Budget::default() });
        assert_eq!((end, spent.jobs), (End::Budget("jobs"), 3));
        let (end, spent) = ends(Budget { cost: Some(2.0), ..Budget::default() });
        assert_eq!(end, End::Budget("cost"));
        assert!((4..=5).contains(&spent.jobs), "{spent:?}");
        let (end, _) = ends(Budget { time: Some(Duration::from_millis(20)), ..Budget::default() });
        assert_eq!(end, End::Budget("time"));
        assert_eq!(ends(Budget { jobs: Some(0), ..Budget::default() }).1.jobs, 0);
    }

    #[test]
    fn it_ends_when_it_is_asked_to_and_survives_a_panic() {
        let (stop, mut source) = (Stop::default(), Numbers::new(1000));
        let (end, spent) = run(&mut source, 2, Budget::default(), &stop, &|_, job, stop: &Stop| {
            if job == 998 {
                stop.ask();
                assert!(!stop.is_now());
                stop.ask();
                panic!("as a test wants it");
            }
            while !stop.is_now() {
                thread::sleep(Duration::from_millis(1));
            }
            job
        });
        assert_eq!(end, End::Asked);
        assert_eq!(source.ended.iter().filter(|ended| ended.is_none()).count(), 1);
        assert!(spent.jobs <= 3, "{spent:?}");
    }
}
