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

/// A database of a directory of logs. What is broken in it is said in the report, and the rest is read.
pub struct Tables {
    database: Database,
    /// Of its file.
    name: String,
}

impl Tables {
    /// Opens a database; `None`, with a reason in the report, where it cannot be read.
    pub fn open(logs: &dyn Logs, index: usize, draft: &mut Draft<'_>) -> Option<Self> {
        let name = logs.files()[index].path.to_string();
        match logs.database(index) {
            Ok(database) => {
                for damage in database.damage() {
                    let text = format!("some of its tables are missing: {damage}");
                    draft.report.partial("unreadable-file", text, Some((&name, 0)));
                }
                Some(Tables { database, name })
            }
            Err(error) => {
                let text = format!("it cannot be read: {error}");
                draft.report.partial("unreadable-file", text, Some((&name, 0)));
                None
            }
        }
    }

    /// The database itself, for whoever reads several tables side by side.
    pub fn into_database(self) -> Database {
        self.database
    }

    /// Where a reason is.
    pub fn at(&self) -> (&str, u64) {
        (&self.name, 0)
    }

    /// Reads the rows of a table, one at a time, in the order of their numbers.
    pub fn each(
        &self,
        table: &str,
        draft: &mut Draft<'_>,
        mut call: impl FnMut(&mut Draft<'_>, &Record<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(table) = self.database.table(table) else {
            let known = self.database.tables().iter().take(MOST_NAMED);
            let known: Vec<String> = known.map(|table| format!("`{}`", table.name)).collect();
            let text = format!("there is no table `{table}`; there are {}", known.join(", "));
            draft.report.partial("missing-table", text, Some(self.at()));
            return Ok(());
        };
        let rows = match self.database.rows(table) {
            Ok(rows) => rows,
            Err(error) => {
                draft.report.partial("unreadable-table", error.to_string(), Some(self.at()));
                return Ok(());
            }
        };
        for row in rows {
            match row {
                Ok(mut row) => {
                    as_text(&mut row);
                    if row.is_repaired {
                        let text = "letters of a row that are none were replaced by U+FFFD";
                        draft.report.note("repaired-text", text, Some(self.at()));
                    }
                    call(draft, &Record { table, row })?;
                }
                Err(error) => {
                    let text = format!("some of `{}` cannot be read: {error}", table.name);
                    draft.report.partial("unreadable-row", text, Some(self.at()));
                }
            }
        }
        Ok(())
    }

    /// Reads a row once more.
    pub fn again(&self, table: &str, place: Place, draft: &mut Draft<'_>) -> Option<Record<'_>> {
        let table = self.database.table(table)?;
        match self.database.row(table, place) {
            Ok(mut row) => {
                as_text(&mut row);
                Some(Record { table, row })
            }
            Err(error) => {
                let text = format!("a row of `{}` cannot be read: {error}", table.name);
                draft.report.partial("unreadable-row", text, Some(self.at()));
                None
            }
        }
    }
}

/// Takes bytes for the text that programs also keep in them.
fn as_text(row: &mut Row) {
    for value in &mut row.values {
        if let Value::Blob(bytes) = value {
            let text = String::from_utf8_lossy(bytes);
            row.is_repaired |= matches!(text, std::borrow::Cow::Owned(_));
            *value = Value::Text(text.into_owned());
        }
    }
}

/// A row, whose values are asked for by the names of their columns. One of another type than expected is missing.
pub struct Record<'a> {
    table: &'a Table,
    row: Row,
}

impl Record<'_> {
    /// Returns a value that is not `NULL`.
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
