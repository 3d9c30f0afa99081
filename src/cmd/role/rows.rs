//! What became of each item of a loop.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8PathBuf;
use serde::Serialize;

use super::desk::Desk;
use super::serial::told;
use super::status;
use crate::diag::Exit;
use crate::schedule::{End, Spent};
use crate::ui;
use crate::util::text::{escape, print_duration};

/// What became of an item.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    pub id: String,
    pub sessions: u32,
    /// This loop has closed it.
    #[serde(skip)]
    pub closed: bool,
    /// Its commits are in the project's branch.
    pub merged: bool,
    /// `closed`, or what it is by now.
    pub status: String,
    /// Why it is not further, where something went wrong.
    pub problem: Option<String>,
    pub logs: Vec<Utf8PathBuf>,
}

/// All of them, by id.
#[derive(Debug, Default)]
pub struct Rows(BTreeMap<String, Row>);

impl Rows {
    pub fn of(&mut self, id: &str) -> &mut Row {
        self.0.entry(id.to_owned()).or_insert_with(|| Row { id: id.to_owned(), ..Row::default() })
    }

    pub fn closed(&self) -> usize {
        self.0.values().filter(|row| row.closed).count()
    }

    /// Says whether an item was worked on.
    pub fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// Returns what went wrong that nobody has mended, a line for each item.
    pub fn left(&self) -> Vec<String> {
        let said = |row: &Row| Some(format!("{}: {}", escape(&row.id), row.problem.as_ref()?));
        self.0.values().filter_map(said).collect()
    }

    /// Reads where every item is by now. Returns those that somebody else has closed: what went wrong here is mended there.
    pub fn refresh(&mut self, desk: &Desk<'_>) -> Vec<String> {
        let mut elsewhere = Vec::new();
        for (id, row) in &mut self.0 {
            let Ok(head) = desk.head(id) else { continue };
            row.status = told(&head);
            if head.status == "closed" && !row.closed {
                row.problem = None;
                elsewhere.push(id.clone());
            }
        }
        elsewhere
    }

    /// Says what became of everything, and returns how the loop ends: with 1 where something went wrong that nobody mended.
    pub fn report(&self, json: bool, end: End, spent: &Spent) -> Exit {
        let left = self.0.values().filter(|row| row.problem.is_some()).count();
        if json {
            ui::json(&serde_json::json!({
                "end": status::word(end),
                "sessions": spent.jobs,
                "seconds": spent.time.as_secs(),
                "cost": spent.told(),
                "items": self.0.values().collect::<Vec<_>>(),
            }));
        } else {
            self.tell(end, spent);
        }
        if left == 0 { Exit::Done } else { Exit::Failed }
    }

    fn tell(&self, end: End, spent: &Spent) {
        let why = match end {
            End::Done => String::new(),
            End::Budget("cost") if spent.untold > 0 => {
                "; what a session has cost is not known, so that nothing more begins".to_owned()
            }
            End::Budget(which) => format!("; the budget of {which} is used up"),
            End::Asked => "; it was stopped".to_owned(),
        };
        let cost = if spent.jobs > 0 {
            format!(", {}", status::price(spent.told(), spent.untold))
        } else {
            String::new()
        };
        let time = print_duration(Duration::from_secs(spent.time.as_secs()));
        let (closed, all) = (self.closed(), self.0.len());
        ui::say(&format!("{closed} of {all} items closed in {} sessions, {time}{cost}{why}", spent.jobs));
        for row in self.0.values() {
            if let Some(problem) = &row.problem {
                ui::say(&format!("  {}: {}, {problem}", escape(&row.id), row.status));
            }
        }
    }
}
