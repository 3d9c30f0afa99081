//! Rows of a database by the names of their columns, for those who put them in another order before they read them.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::Logs;
use super::rows::Tables;
use crate::atif::draft::Draft;
use crate::atif::raw::{Extra, Json};
pub use crate::util::sqlite::MAGIC;
use crate::util::sqlite::{self, Value};

/// A row: its values by the names of their columns.
#[derive(Debug, Default)]
pub struct Row(BTreeMap<String, Value>);

impl Row {
    pub fn text(&self, column: &str) -> Option<&str> {
        self.0.get(column)?.text()
    }

    pub fn whole(&self, column: &str) -> Option<i64> {
        self.0.get(column)?.integer()
    }

    pub fn real(&self, column: &str) -> Option<f64> {
        match self.0.get(column)? {
            Value::Real(number) => Some(*number),
            #[expect(clippy::cast_precision_loss, reason = "times and costs are far smaller")]
            Value::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }
}

impl Row {
    /// Returns an object of the values; those of these columns are JSON themselves.
    pub fn to_json(&self, json: &[&str]) -> String {
        let mut object = Extra::default();
        for (column, value) in &self.0 {
            match value {
                Value::Null | Value::Blob(_) => {}
                Value::Integer(number) => object.put(column, *number),
                Value::Real(number) => object.put(column, *number),
                Value::Text(text) => match serde_json::from_str::<&RawValue>(text) {
                    Ok(raw) if json.contains(&column.as_str()) => object.set(column, Json::of(raw)),
                    _ => object.put(column, text.as_str()),
                },
            }
        }
        serde_json::to_string(&object).unwrap_or_default()
    }
}

impl Row {
    /// Says whether a time, in seconds or milliseconds since 1970, is not before the one that the logs are asked since. A row that
    /// does not say when it was written counts.
    pub fn is_since(&self, column: &str, since: Option<i64>) -> bool {
        /// What is less is seconds: as milliseconds, it would be in 1973.
        const LEAST: f64 = 1e11;
        let (Some(since), Some(time)) = (since, self.real(column)) else { return true };
        #[expect(clippy::cast_precision_loss, reason = "it is a time of today")]
        let since = since as f64;
        // Some write whole seconds.
        if time < LEAST { (time + 1.0) * 1000.0 >= since } else { time >= since }
    }
}

pub struct Database(sqlite::Database);

/// Opens the database at this index; `None`, with a reason in the report, where it is none.
pub fn open(logs: &dyn Logs, index: usize, draft: &mut Draft<'_>) -> Option<Database> {
    Tables::open(logs, index, draft).map(Tables::into_database).map(Database)
}

impl Database {
    /// Calls for each row of a table, in the order of their numbers; returns whether all of it could be read. Of a table that is not
    /// there, there are no rows.
    pub fn rows(&self, table: &str, mut call: impl FnMut(Row)) -> bool {
        let Some(table) = self.0.table(table) else { return true };
        let Ok(rows) = self.0.rows(table) else { return false };
        let mut whole = true;
        for row in rows {
            match row {
                Ok(row) => {
                    let names = table.columns.iter().cloned();
                    call(Row(names.zip(row.values).collect()));
                }
                Err(_) => whole = false,
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_milliseconds() {
        let row = |value: Value| Row([("at".to_owned(), value)].into());
        let since = Some(1_800_000_000_500);
        for (value, expected) in [
            (Value::Integer(1_800_000_000), true),
            (Value::Integer(1_799_999_999), false),
            (Value::Real(1_800_000_001.5), true),
            (Value::Integer(1_800_000_000_499), false),
            (Value::Integer(1_800_000_000_500), true),
            (Value::Null, true),
        ] {
            assert_eq!(row(value.clone()).is_since("at", since), expected, "{value:?}");
        }
        assert!(row(Value::Integer(1)).is_since("at", None));
    }
}
