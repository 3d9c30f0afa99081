//! What a loop does now: a line at the terminal, and a file that `pier role status` reads.

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::schedule::{End, Spent};
use crate::sys::process;
use crate::ui;
use crate::util::fs::{read_bounded, write_atomic};
use crate::util::text::{escape, print_duration};

/// The file, below the place of the loop.
const FILE: &str = "status.json";

/// How often it is written.
const EVERY: Duration = Duration::from_secs(1);

/// One worker that has something to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Worker {
    pub number: usize,
    pub role: String,
    pub item: String,
    pub since: Timestamp,
}

impl Worker {
    pub fn new(slot: usize, role: &str, item: &str) -> Self {
        Worker { number: slot + 1, role: role.to_owned(), item: item.to_owned(), since: Timestamp::now() }
    }
}

/// What the file says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    pub process: u32,
    /// When that process began, in ticks of the kernel: its number may be another's by now.
    pub began: Option<u64>,
    pub at: Timestamp,
    /// Why it ended; nothing while it runs.
    pub end: Option<String>,
    /// Items that it has left, and why.
    #[serde(default)]
    pub left: Vec<String>,
    pub sessions: u64,
    pub seconds: u64,
    /// Nothing where no agent says it.
    pub cost: Option<f64>,
    /// Sessions whose agents do not say it.
    #[serde(default)]
    pub untold: u64,
    pub closed: usize,
    pub workers: Vec<Worker>,
    pub logs: Utf8PathBuf,
}

impl Shown {
    /// Reads what the last loop of a project has written; `None` where there was none.
    pub fn read(place: &Utf8Path) -> Option<Self> {
        serde_json::from_slice(&read_bounded(&place.join(FILE), 1 << 20).ok()?).ok()
    }

    /// Says whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.end.is_none() && self.began.is_some() && process::start_time(self.process) == self.began
    }
}

/// Returns the word for an end.
pub fn word(end: End) -> String {
    match end {
        End::Done => "done".to_owned(),
        End::Budget(which) => format!("budget of {which}"),
        End::Asked => "stopped".to_owned(),
    }
}

/// Returns what sessions have cost, for people.
pub fn price(cost: Option<f64>, untold: u64) -> String {
    match cost {
        None => "cost unknown".to_owned(),
        Some(cost) if untold > 0 => format!("at least {cost:.2} USD"),
        Some(cost) => format!("{cost:.2} USD"),
    }
}

/// Shows what goes on.
pub struct Status {
    place: Utf8PathBuf,
    line: ui::Status,
    written: Option<Instant>,
    closed: usize,
}

impl Status {
    pub fn new(place: &Utf8Path) -> Self {
        Status { place: place.to_owned(), line: ui::Status::default(), written: None, closed: 0 }
    }

    /// Says something that stays.
    pub fn say(&mut self, line: &str) {
        self.line = ui::Status::default();
        ui::say(line);
    }

    pub fn show(&mut self, spent: &Spent, closed: usize, workers: &[&Worker]) {
        self.closed = closed;
        if self.written.is_some_and(|written| written.elapsed() < EVERY) {
            return;
        }
        self.written = Some(Instant::now());
        self.write(spent, None, workers, &[]);
        if !ui::can_ask() {
            return;
        }
        let at = |worker: &&Worker| {
            let time = Timestamp::now().duration_since(worker.since).unsigned_abs();
            format!(
                "{} {} {}",
                worker.role,
                escape(&worker.item),
                print_duration(Duration::from_secs(time.as_secs()))
            )
        };
        let workers: Vec<String> = workers.iter().map(at).collect();
        let doing = if workers.is_empty() { "waiting".to_owned() } else { workers.join(" | ") };
        let line = format!("{closed} closed, {} sessions: {doing}", spent.jobs);
        self.line.show(&line);
    }

    /// Writes it down, without a line.
    pub fn now(&mut self, spent: &Spent, closed: usize, workers: &[&Worker]) {
        self.closed = closed;
        self.write(spent, None, workers, &[]);
    }

    /// Writes down how it has ended, and which items it has left for which reason.
    pub fn end(&mut self, end: End, spent: &Spent, left: &[String]) {
        self.write(spent, Some(word(end)), &[], left);
    }

    fn write(&self, spent: &Spent, end: Option<String>, workers: &[&Worker], left: &[String]) {
        let process = std::process::id();
        let shown = Shown {
            process,
            began: process::start_time(process),
            at: Timestamp::now(),
            end,
            left: left.to_vec(),
            sessions: spent.jobs,
            seconds: spent.time.as_secs(),
            cost: spent.told(),
            untold: spent.untold,
            closed: self.closed,
            workers: workers.iter().map(|worker| (*worker).clone()).collect(),
            logs: self.place.join("logs"),
        };
        let text = serde_json::to_vec(&shown).unwrap_or_default();
        if let Err(error) = write_atomic(&self.place.join(FILE), &text, 0o600) {
            tracing::warn!(%error, "the status cannot be written");
        }
    }
}
