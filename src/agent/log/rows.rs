//! Logs that are tables of an `SQLite` database, with the write-ahead log beside it.

use std::io;

use super::Logs;
use crate::atif::draft::Draft;
use crate::util::sqlite::{Database, MAGIC, Place, Row, Table, Value};

/// The most tables that are named where one is missing.
const MOST_NAMED: usize = 20;

/// Says whether a file begins as a database does. Its tables may be in the write-ahead log alone, so its name has to say the rest.
pub fn is_database(head: &str) -> bool {
    head.starts_with(MAGIC)
}

/// Opens a database; `None`, with a reason in the report, where it cannot be read.
pub fn open(logs: &dyn Logs, index: usize, draft: &mut Draft<'_>) -> Option<Database> {
    let at = Some((logs.files()[index].path.as_str(), 0));
    match logs.database(index) {
        Ok(database) => {
            for damage in database.damage() {
                let text = format!("some of its tables are missing: {damage}");
                draft.report.partial("unreadable-file", text, at);
            }
            Some(database)
        }
        Err(error) => {
            draft.report.partial("unreadable-file", format!("it cannot be read: {error}"), at);
            None
        }
    }
}

/// A row, whose values are asked for by the names of their columns. One of another type than expected is missing.
pub struct Record<'a> {
    table: &'a Table,
    row: Row,
}

impl Record<'_> {
    pub fn get(&self, column: &str) -> Option<&Value> {
        let value = self.row.values.get(self.table.column(column)?)?;
        (*value != Value::Null).then_some(value)
    }

    pub fn text(&self, column: &str) -> Option<&str> {
        self.get(column)?.text()
    }

    pub fn integer(&self, column: &str) -> Option<i64> {
        self.get(column)?.integer()
    }

    /// Where it is, for whoever reads it once more.
    pub fn place(&self) -> Place {
        self.row.place
    }
}

/// Reads the rows of a table, one at a time, in the order of their numbers. What is broken is said in the report, and the rest is read.
pub fn each(
    (logs, index): (&dyn Logs, usize),
    database: &Database,
    table: &str,
    draft: &mut Draft<'_>,
    mut call: impl FnMut(&mut Draft<'_>, &Record<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let at = Some((logs.files()[index].path.as_str(), 0));
    let Some(table) = database.table(table) else {
        let known: Vec<String> =
            database.tables().iter().take(MOST_NAMED).map(|table| format!("`{}`", table.name)).collect();
        let text = format!("there is no table `{table}`; there are {}", known.join(", "));
        draft.report.partial("missing-table", text, at);
        return Ok(());
    };
    let rows = match database.rows(table) {
        Ok(rows) => rows,
        Err(error) => {
            draft.report.partial("unreadable-table", error.to_string(), at);
            return Ok(());
        }
    };
    for row in rows {
        match row {
            Ok(row) => {
                if row.is_repaired {
                    let text =
                        format!("letters of a row of `{}` that are none were replaced by U+FFFD", table.name);
                    draft.report.note("repaired-text", text, at);
                }
                call(draft, &Record { table, row })?;
            }
            Err(error) => {
                let text = format!("some of `{}` cannot be read: {error}", table.name);
                draft.report.partial("unreadable-row", text, at);
            }
        }
    }
    Ok(())
}

/// Reads a row once more.
pub fn again<'a>(
    (logs, index): (&dyn Logs, usize),
    database: &'a Database,
    table: &str,
    place: Place,
    draft: &mut Draft<'_>,
) -> Option<Record<'a>> {
    let table = database.table(table)?;
    match database.row(table, place) {
        Ok(row) => Some(Record { table, row }),
        Err(error) => {
            let text = format!("a row of `{}` cannot be read: {error}", table.name);
            draft.report.partial("unreadable-row", text, Some((logs.files()[index].path.as_str(), 0)));
            None
        }
    }
}
