//! Databases of `SQLite` as logs: their tables, read row by row, with what is only in the file of changes beside them. Read by hand,
//! because whoever wrote one may be hostile, and all that is needed is a walk over pages: <https://www.sqlite.org/fileformat2.html>.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read as _;

use serde_json::value::RawValue;

use super::Logs;
use crate::atif::draft::Draft;
use crate::atif::raw::{Extra, Json};

/// The first bytes of a database.
pub const MAGIC: &str = "SQLite format 3\0";

/// The largest file that is read, in bytes.
const MOST: u64 = 1 << 30;

/// The largest row, in bytes.
const MOST_ROW: usize = 256 << 20;

/// The deepest page of a table.
const MOST_DEPTH: usize = 32;

/// The length of the header of a file of changes, and of each page in it.
const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Whole(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A row: its values by the names of their columns.
#[derive(Debug, Default)]
pub struct Row(BTreeMap<String, Value>);

impl Row {
    pub fn text(&self, column: &str) -> Option<&str> {
        match self.0.get(column)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn whole(&self, column: &str) -> Option<i64> {
        match self.0.get(column)? {
            Value::Whole(number) => Some(*number),
            _ => None,
        }
    }

    pub fn real(&self, column: &str) -> Option<f64> {
        match self.0.get(column)? {
            Value::Real(number) => Some(*number),
            #[expect(clippy::cast_precision_loss, reason = "times and costs are far smaller")]
            Value::Whole(number) => Some(*number as f64),
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
                Value::Null | Value::Bytes(_) => {}
                Value::Whole(number) => object.put(column, *number),
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

pub struct Database {
    file: Vec<u8>,
    page_size: usize,
    /// Of a page, without what is reserved at its end.
    usable: usize,
    /// Pages that are newer in the file of changes, and where they are in that.
    newer: HashMap<usize, usize>,
    changes: Vec<u8>,
}

/// A table: its first page, its columns, and which of them is the number of the row.
struct Table {
    root: usize,
    columns: Vec<String>,
    number: Option<usize>,
}

/// Opens the database at this index; `None`, with a reason in the report, where it is none.
pub fn open(logs: &dyn Logs, index: usize, draft: &mut Draft<'_>) -> Option<Database> {
    let path = &logs.files()[index].path;
    let read = |index: usize| -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        logs.open(index)?.take(MOST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    };
    let beside = format!("{path}-wal");
    let beside = logs.files().iter().position(|file| file.path == *beside);
    let opened = read(index).map_err(|error| error.to_string()).and_then(|file| {
        // Without them, there is less in it, and it is whole.
        let changes = beside.and_then(|index| read(index).ok()).unwrap_or_default();
        Database::new(file, changes)
    });
    match opened {
        Ok(database) => Some(database),
        Err(why) => {
            draft.report.partial(
                "unreadable-file",
                format!("it is no database: {why}"),
                Some((path.as_str(), 0)),
            );
            None
        }
    }
}

impl Database {
    /// Takes the bytes of a database, and of the file of changes beside it.
    ///
    /// # Errors
    /// Why they are none.
    pub fn new(file: Vec<u8>, changes: Vec<u8>) -> Result<Self, String> {
        if !file.starts_with(MAGIC.as_bytes()) {
            return Err("it begins with other bytes".to_owned());
        }
        let page_size = match number(&file, 16, 2) {
            Some(1) => 65536,
            Some(size) if size >= 512 && size.is_power_of_two() => size,
            _ => return Err("its pages have no size".to_owned()),
        };
        let reserved = number(&file, 20, 1).unwrap_or(0);
        if page_size - reserved < 480 {
            return Err("its pages are too small".to_owned());
        }
        if number(&file, 56, 4).is_some_and(|encoding| encoding > 1) {
            return Err("its texts are not UTF-8".to_owned());
        }
        let usable = page_size - reserved;
        let mut database = Database { file, page_size, usable, newer: HashMap::new(), changes };
        database.take_changes();
        Ok(database)
    }

    /// Notes which pages are newer: those of changes that came to their end.
    fn take_changes(&mut self) {
        let of = |at: usize| number(&self.changes, at, 4);
        let is_one = of(0).is_some_and(|magic| magic & !1 == 0x377f_0682) && of(8) == Some(self.page_size);
        if !is_one {
            return;
        }
        let (salts, mut pending) = ((of(16), of(20)), Vec::new());
        let mut at = WAL_HEADER;
        let mut newer = HashMap::new();
        while at + FRAME_HEADER + self.page_size <= self.changes.len() {
            // Those of an earlier round have other salts.
            if (of(at + 8), of(at + 12)) != salts {
                break;
            }
            let Some(page) = of(at) else { break };
            pending.push((page, at + FRAME_HEADER));
            if of(at + 4).is_some_and(|pages| pages > 0) {
                newer.extend(pending.drain(..));
            }
            at += FRAME_HEADER + self.page_size;
        }
        self.newer = newer;
    }

    fn page(&self, number: usize) -> Option<&[u8]> {
        if let Some(at) = self.newer.get(&number) {
            return self.changes.get(*at..at + self.page_size);
        }
        let at = number.checked_sub(1)?.checked_mul(self.page_size)?;
        self.file.get(at..at.checked_add(self.page_size)?)
    }

    /// How many pages there may be.
    fn pages(&self) -> usize {
        self.file.len() / self.page_size + self.newer.len() + 1
    }

    /// Calls for each row of a table, in the order of their numbers; returns whether all of it could be read. Of a table that is not
    /// there, there are no rows.
    pub fn rows(&self, table: &str, mut call: impl FnMut(Row)) -> bool {
        let schema = Table {
            root: 1,
            columns: ["type", "name", "tbl_name", "rootpage", "sql"].map(str::to_owned).to_vec(),
            number: None,
        };
        let mut found = None;
        let read = self.walk(&schema, &mut |row| {
            if row.text("type") == Some("table") && row.text("name") == Some(table) {
                let root = row.whole("rootpage").and_then(|page| usize::try_from(page).ok());
                found = root.zip(row.text("sql").map(columns));
            }
        });
        match found {
            Some((root, (columns, number))) => self.walk(&Table { root, columns, number }, &mut call) && read,
            None => read,
        }
    }

    fn walk(&self, table: &Table, call: &mut dyn FnMut(Row)) -> bool {
        let mut seen = HashSet::new();
        self.walk_page(table, table.root, 0, &mut seen, call).is_some()
    }

    fn walk_page(
        &self,
        table: &Table,
        number_of_page: usize,
        depth: usize,
        seen: &mut HashSet<usize>,
        call: &mut dyn FnMut(Row),
    ) -> Option<()> {
        if depth > MOST_DEPTH || !seen.insert(number_of_page) {
            return None;
        }
        let page = self.page(number_of_page)?;
        // The first page begins with the header of the file.
        let start = if number_of_page == 1 { 100 } else { 0 };
        let kind = *page.get(start)?;
        let cells = number(page, start + 3, 2)?;
        let (first, is_leaf) = match kind {
            0x0d => (start + 8, true),
            0x05 => (start + 12, false),
            _ => return None,
        };
        let mut whole = Some(());
        for cell in 0..cells {
            let read = || -> Option<usize> { number(page, first + 2 * cell, 2) };
            let Some(at) = read() else {
                whole = None;
                break;
            };
            let done = if is_leaf {
                self.row(table, page, at).map(&mut *call)
            } else {
                number(page, at, 4).and_then(|child| self.walk_page(table, child, depth + 1, seen, call))
            };
            // One that is broken costs no more than itself.
            whole = whole.and(done);
        }
        if !is_leaf {
            let last = number(page, start + 8, 4)?;
            whole = whole.and(self.walk_page(table, last, depth + 1, seen, call));
        }
        whole
    }

    /// Reads a row of a page.
    fn row(&self, table: &Table, page: &[u8], at: usize) -> Option<Row> {
        let (size, length) = varint(page, at)?;
        let (id, more) = varint(page, at + length)?;
        let size = usize::try_from(size).ok().filter(|size| *size <= MOST_ROW)?;
        let payload = self.payload(page, at + length + more, size)?;
        let (header, mut place) = varint(&payload, 0)?;
        let header = usize::try_from(header).ok().filter(|header| *header <= payload.len())?;
        let mut values = header;
        let mut row = Row::default();
        let mut column = 0;
        while place < header {
            let (kind, length) = varint(&payload, place)?;
            place += length;
            let (value, length) = value(&payload, values, kind)?;
            values += length;
            if let Some(name) = table.columns.get(column) {
                let value = if table.number == Some(column) { Value::Whole(id) } else { value };
                row.0.insert(name.clone(), value);
            }
            column += 1;
        }
        Some(row)
    }

    /// Returns the bytes of a row, which may go on in pages of their own.
    fn payload(&self, page: &[u8], at: usize, size: usize) -> Option<Vec<u8>> {
        let most = self.usable - 35;
        if size <= most {
            return page.get(at..at.checked_add(size)?).map(<[u8]>::to_vec);
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let fits = least + (size - least) % (self.usable - 4);
        let here = if fits <= most { fits } else { least };
        let mut bytes = page.get(at..at + here)?.to_vec();
        let mut next = number(page, at + here, 4)?;
        for _ in 0..self.pages() {
            if bytes.len() >= size {
                return Some(bytes);
            }
            let page = self.page(next)?;
            let take = (self.usable - 4).min(size - bytes.len());
            bytes.extend_from_slice(page.get(4..4 + take)?);
            next = number(page, 0, 4)?;
        }
        (bytes.len() >= size).then_some(bytes)
    }
}

/// Reads a number of some bytes, the highest first.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

/// Reads a number of one to nine bytes, and returns how many they are.
fn varint(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let mut sum: i64 = 0;
    for length in 0..8 {
        let byte = *bytes.get(at.checked_add(length)?)?;
        sum = sum << 7 | i64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((sum, length + 1));
        }
    }
    let last = *bytes.get(at.checked_add(8)?)?;
    Some((sum << 8 | i64::from(last), 9))
}

/// Reads a value of a type, and returns how many bytes it has.
fn value(bytes: &[u8], at: usize, kind: i64) -> Option<(Value, usize)> {
    let whole = |length: usize| {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
        let sum = bytes.iter().fold(sign, |sum: i64, byte| sum << 8 | i64::from(*byte));
        Some((Value::Whole(sum), length))
    };
    match kind {
        0 => Some((Value::Null, 0)),
        1..=4 => whole(usize::try_from(kind).ok()?),
        5 => whole(6),
        6 => whole(8),
        7 => {
            let bytes: [u8; 8] = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
            Some((Value::Real(f64::from_be_bytes(bytes)), 8))
        }
        8 => Some((Value::Whole(0), 0)),
        9 => Some((Value::Whole(1), 0)),
        12.. => {
            let length = usize::try_from((kind - 12) / 2).ok()?;
            let bytes = bytes.get(at..at.checked_add(length)?)?;
            let value = if kind % 2 == 0 {
                Value::Bytes(bytes.to_vec())
            } else {
                Value::Text(String::from_utf8_lossy(bytes).into_owned())
            };
            Some((value, length))
        }
        _ => None,
    }
}

/// Returns the names of the columns that a table was made with, and which of them is the number of the row.
fn columns(sql: &str) -> (Vec<String>, Option<usize>) {
    let inner = sql.split_once('(').map_or("", |(_, rest)| rest);
    let (mut depth, mut quote, mut parts, mut part) = (0_usize, None, Vec::new(), String::new());
    let mut letters = inner.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '-') if letters.peek() == Some(&'-') => {
                letters.by_ref().find(|letter| *letter == '\n');
                part.push(' ');
                continue;
            }
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"' | '`') => quote = Some(letter),
            (None, '[') => quote = Some(']'),
            (None, '(') => depth += 1,
            (None, ')') if depth == 0 => break,
            (None, ')') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(letter);
    }
    parts.push(part);
    let (mut names, mut number) = (Vec::new(), None);
    for part in parts {
        let words = part.split_whitespace().map(str::to_uppercase).collect::<Vec<_>>();
        let Some(first) = words.first() else { continue };
        if ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"]
            .iter()
            .any(|word| first == word || first.strip_prefix(word).is_some_and(|rest| rest.starts_with('(')))
        {
            continue;
        }
        let name = part.split_whitespace().next().unwrap_or_default();
        if words.get(1).is_some_and(|kind| kind == "INTEGER")
            && words.get(2..4) == Some(&["PRIMARY".into(), "KEY".into()])
        {
            number = Some(names.len());
        }
        names.push(name.trim_matches(['"', '`', '[', ']', '\'']).to_owned());
    }
    (names, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by the real program: a table whose rows are in several pages, a long row, and changes that are not in the file yet.
    const FILE: &[u8] = include_bytes!("../../../tests/fixtures/sqlite/rows.db");
    const CHANGES: &[u8] = include_bytes!("../../../tests/fixtures/sqlite/rows.db-wal");

    fn read(file: Vec<u8>, changes: Vec<u8>) -> (Vec<Row>, bool) {
        let mut rows = Vec::new();
        let whole =
            Database::new(file, changes).is_ok_and(|database| database.rows("things", |row| rows.push(row)));
        (rows, whole)
    }

    #[test]
    fn rows_are_read_with_what_is_not_in_the_file_yet() {
        let (rows, whole) = read(FILE.to_vec(), Vec::new());
        assert_eq!((rows.len(), whole), (300, true));
        let (rows, whole) = read(FILE.to_vec(), CHANGES.to_vec());
        assert_eq!((rows.len(), whole), (302, true));
        for (index, row) in rows[..300].iter().enumerate() {
            assert_eq!(row.whole("id"), i64::try_from(index + 1).ok());
            assert_eq!(row.text("name").unwrap(), format!("thing {index} é"));
            assert_eq!(row.whole("count"), Some(i64::try_from(index * index * 1000).unwrap() - 5));
        }
        assert_eq!(rows[7].real("weight"), Some(3.5));
        assert_eq!(rows[300].text("name"), Some("x".repeat(20_000).as_str()));
        assert_eq!((rows[301].text("name"), rows[301].real("weight")), (Some("last"), Some(-1.0)));
        assert!(rows[301].text("nothing").is_none() && rows[301].whole("count").is_none());
        let database = Database::new(FILE.to_vec(), Vec::new()).unwrap();
        assert!(database.rows("nothing", |_| panic!("there is no such table")));
    }

    #[test]
    fn a_broken_database_is_read_as_far_as_it_can_be() {
        assert!(Database::new(b"SQLite format 4\0".to_vec(), Vec::new()).is_err());
        assert!(Database::new(MAGIC.into(), Vec::new()).is_err());
        for end in (0..FILE.len()).step_by(509) {
            let (rows, whole) = read(FILE[..end].to_vec(), CHANGES[..end.min(CHANGES.len())].to_vec());
            assert!(rows.len() <= 302 && (!whole || rows.len() >= 300 || rows.is_empty()), "{end}");
        }
        // No byte makes it panic, or go on without an end.
        let mut seed = 1_u64;
        for _ in 0..3000 {
            let mut file = FILE.to_vec();
            for _ in 0..4 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = usize::try_from(seed >> 33).unwrap() % file.len();
                file[at] = seed.to_le_bytes()[3];
            }
            read(file, CHANGES.to_vec());
        }
    }

    #[test]
    fn columns_are_named_by_what_made_the_table() {
        let names = |sql| columns(sql).0.join(" ");
        assert_eq!(names("CREATE TABLE t (a INTEGER PRIMARY KEY, \"b c\" TEXT, UNIQUE (a, b))"), "a b");
        assert_eq!(
            names(
                "CREATE TABLE t (a TEXT DEFAULT 'x, y', `b` REAL CHECK (b > 0 AND (b < 9)), PRIMARY KEY(a))"
            ),
            "a b"
        );
        assert_eq!(names("CREATE TABLE t (\n -- why\n a INT,\n [b] BLOB\n)"), "a b");
        assert_eq!(columns("CREATE TABLE t (x TEXT, id INTEGER PRIMARY KEY AUTOINCREMENT)").1, Some(1));
        assert_eq!(columns("CREATE TABLE t (x TEXT PRIMARY KEY)").1, None);
        assert_eq!(names(""), "");
    }
}
