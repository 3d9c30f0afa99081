//! The report: a table of ids and columns, then what was seen, and what of it is wrong.

use std::collections::BTreeSet;

use super::case::{Column, Verdict};
use super::run::Row;
use super::{covers, not_yet};

/// Renders the table and the remarks below it.
pub fn render(rows: &[Row<'_>]) -> String {
    let mut text = String::from("id                       ");
    for column in Column::ALL {
        text.push_str(&format!("{:<11}", column.name()));
    }
    text.push_str("tries\n");
    for row in rows {
        text.push_str(&format!("{:<25}", row.case.id));
        for column in Column::ALL {
            let found = row.cells.iter().find(|(of, _)| *of == column).map(|(_, verdict)| verdict);
            text.push_str(&format!("{:<11}", word(column, found)));
        }
        text.push_str(row.case.tries);
        text.push('\n');
    }
    text.push_str("\nopen, and why what cannot run cannot\n");
    for row in rows {
        for (column, verdict) in &row.cells {
            let said = match verdict {
                Verdict::Held => continue,
                Verdict::CannotRun(_)
                    if *column == Column::Nix && !row.case.columns.contains(&Column::Nix) =>
                {
                    continue;
                }
                Verdict::Open(_) if *column == Column::Open => continue,
                Verdict::Open(what) | Verdict::Late(what) => format!("OPEN: {what}"),
                Verdict::CannotRun(why) => format!("cannot run: {why}"),
            };
            text.push_str(&format!("{:<25}{:<11}{said}\n", row.case.id, column.name()));
        }
    }
    text.push_str("\nnot yet\n");
    for (id, reason) in not_yet::LIST {
        text.push_str(&format!("{id:<25}{reason}\n"));
    }
    text.push_str(&summary(rows));
    text
}

/// A word for a cell. In the open column a check that fails is the one that is good.
fn word(column: Column, verdict: Option<&Verdict>) -> &'static str {
    match verdict {
        None => "-",
        Some(Verdict::Held) if column == Column::Open => "BLIND",
        Some(Verdict::Open(_) | Verdict::Late(_)) if column == Column::Open => "seen",
        Some(Verdict::Held) => "held",
        Some(Verdict::Open(_) | Verdict::Late(_)) => "OPEN",
        Some(Verdict::CannotRun(_)) => "cannot run",
    }
}

fn summary(rows: &[Row<'_>]) -> String {
    let ids: BTreeSet<&str> = rows.iter().map(|row| row.case.id.split('.').next().unwrap()).collect();
    let count = |found: fn(&Row<'_>) -> bool, all: bool| {
        let of = |id: &&&str| {
            let mut mine = rows.iter().filter(|row| covers(id, row.case.id));
            if all { mine.all(found) } else { mine.any(found) }
        };
        ids.iter().filter(of).count()
    };
    let open = count(is_open, false);
    let cannot = count(|row| verdicts(row).all(|verdict| matches!(verdict, Verdict::CannotRun(_))), true);
    let mut slow: Vec<&Row<'_>> = rows.iter().collect();
    slow.sort_by_key(|row| std::cmp::Reverse(row.took));
    let slow: Vec<String> =
        slow.iter().take(8).map(|row| format!("{} {:.1} s", row.case.id, row.took.as_secs_f32())).collect();
    let held = ids.len() - open - cannot;
    let all = ids.len();
    format!("\n{all} ids: {held} held, {open} open, {cannot} cannot run; slowest: {}\n", slow.join(", "))
}

/// What was found with a sandbox.
fn verdicts<'a>(row: &'a Row<'_>) -> impl Iterator<Item = &'a Verdict> {
    row.cells.iter().filter(|(column, _)| *column != Column::Open).map(|(_, verdict)| verdict)
}

fn is_open(row: &Row<'_>) -> bool {
    verdicts(row).any(|verdict| matches!(verdict, Verdict::Open(_)))
}

/// Every reason for which the test fails, in the form of a test of its own.
pub fn wrong(rows: &[Row<'_>]) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in rows {
        let id = row.case.id;
        let listed = not_yet::LIST.iter().any(|(entry, _)| *entry == id);
        for (column, verdict) in &row.cells {
            match (column, verdict) {
                (Column::Open, Verdict::Held) => {
                    wrong.push(format!(
                        "test attacks::{id} ... FAILED: the check holds without a sandbox too"
                    ));
                }
                (Column::Open, _) => {}
                (column, Verdict::Open(what)) if !listed => {
                    wrong.push(format!("test attacks::{id} as {} ... FAILED: open: {what}", column.name()));
                }
                _ => {}
            }
        }
        if listed && !is_open(row) {
            wrong.push(format!(
                "test attacks::{id} ... FAILED: holds now: take it off the list in `not_yet.rs`"
            ));
        }
    }
    wrong
}
