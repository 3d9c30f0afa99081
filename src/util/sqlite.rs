//! Tables of `SQLite` 3 files, read only, with what their write-ahead log adds: <https://www.sqlite.org/fileformat2.html>.
//!
//! It is written in Rust because `SQLite` itself is a library in C, which cannot be built for the static binary.
//!
//! A file may be anything. What is broken in it costs the rows that are there, and each row is an answer of its own. There is an end
//! to all of it: a scan of a table reads no page twice, one row is in memory at a time, and a row has a largest size.
//!
//! Not read are tables `WITHOUT ROWID`, virtual tables, indices, and files in UTF-16. A rollback journal is not applied: of a program
//! that was killed while it wrote without a write-ahead log, some rows may be those of the change that it had not finished.

use std::fs::File;
use std::io;

pub use btree::{Place, Row, Rows};
pub use schema::Table;

mod btree;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod pages;
mod record;
mod schema;
#[cfg(test)]
mod tests;
mod wal;

/// What each database begins with.
pub const MAGIC: &str = "SQLite format 3\0";

/// What is appended to the name of a database for that of its write-ahead log.
pub const WAL: &str = "-wal";

/// The largest file, in bytes: the list of the pages that were read is some megabytes then.
const MOST_BYTES: u64 = 64 << 30;

/// The largest row, in bytes.
const MOST_ROW: u64 = 256 << 20;

/// Bytes by their places.
pub trait ReadAt {
    fn bytes(&self) -> io::Result<u64>;

    /// Reads some bytes; none at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// Fills a buffer; false where the file ends before.
fn fill(from: &dyn ReadAt, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    let mut done = 0;
    while done < buffer.len() {
        match from.read_at(&mut buffer[done..], offset.saturating_add(done as u64)) {
            Ok(0) => return Ok(false),
            Ok(more) => done += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Integer(i64),
    Real(f64),
    /// What is no UTF-8 in it is U+FFFD.
    Text(String),
    Blob(Vec<u8>),
}

impl Value {
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("it is no SQLite 3 database that can be read: {0}")]
    NoDatabase(&'static str),
    #[error("its texts are in {0}, and only those in UTF-8 are read")]
    Encoding(&'static str),
    #[error("the table `{table}` is {why}, and those are not read")]
    Table { table: String, why: &'static str },
    #[error("page {page} is damaged: {why}")]
    Damaged { page: u32, why: &'static str },
    #[error("a row on page {page} is larger than {MOST_ROW} bytes")]
    LongRow { page: u32 },
}

/// A database, as it was at its last change that was finished.
pub struct Database {
    pages: pages::Pages,
    tables: Vec<Table>,
    damage: Vec<Error>,
}

impl Database {
    /// Reads the header, the write-ahead log and the list of tables.
    ///
    /// # Errors
    /// Where it is no database that can be read.
    pub fn open(file: Box<dyn ReadAt>, wal: Option<Box<dyn ReadAt>>) -> Result<Self, Error> {
        let pages = pages::Pages::open(file, wal)?;
        let mut database = Database { pages, tables: Vec::new(), damage: Vec::new() };
        let mut tables = Vec::new();
        let mut damage = Vec::new();
        for row in Rows::of(&database.pages, schema::ROOT) {
            match row {
                Ok(row) if tables.len() < schema::MOST_TABLES => tables.extend(Table::of(&row)),
                Ok(_) => break,
                Err(error) => damage.push(error),
            }
        }
        (database.tables, database.damage) = (tables, damage);
        Ok(database)
    }

    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Returns what is wrong in the list of tables: there may be more of them.
    pub fn damage(&self) -> &[Error] {
        &self.damage
    }

    /// Returns a table by its name, in which case does not count.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name))
    }

    /// Reads the rows of a table in the order of their numbers. After an error there may be more of them.
    ///
    /// # Errors
    /// Where it is of a kind that is not read.
    pub fn rows(&self, table: &Table) -> Result<Rows<'_>, Error> {
        if let Some(why) = table.refused {
            return Err(Error::Table { table: table.name.clone(), why });
        }
        Ok(Rows::of(&self.pages, table.root).with_number(table.number))
    }

    /// Reads a row once more, by the place that a scan of the same table has told.
    pub fn row(&self, table: &Table, place: Place) -> Result<Row, Error> {
        btree::read(&self.pages, place, table.number)
    }
}
