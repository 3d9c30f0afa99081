//! The tree of a table's rows, in the order of their numbers.

use super::pages::{HEADER, Pages, Seen};
use super::record::{values, varint};
use super::{Error, MOST_ROW, Value};

/// The deepest tree: of the smallest pages, this is more than all that a file can have.
const MOST_DEPTH: usize = 32;

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    page: u32,
    cell: u16,
    number: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// `SQLite` calls it `rowid`.
    pub number: i64,
    /// There may be fewer than the table has columns: those that were added later are not in older rows.
    pub values: Vec<Value>,
    /// Says that a text in it was not UTF-8.
    pub is_repaired: bool,
    pub place: Place,
}

impl Row {
    /// Returns a value by the place of its column.
    pub fn get(&self, column: usize) -> &Value {
        self.values.get(column).unwrap_or(&Value::Null)
    }
}

/// A page of a tree.
struct Node {
    number: u32,
    bytes: Vec<u8>,
    /// Where its header begins.
    at: usize,
    is_leaf: bool,
    cells: usize,
    /// How much of it may still be rows: cells that overlap would make more of a file than is in it.
    room: usize,
}

impl Node {
    fn read(pages: &Pages, number: u32) -> Result<Self, Error> {
        let damaged = |why| Error::Damaged { page: number, why };
        let mut bytes = pages.read(number)?;
        bytes.truncate(pages.usable);
        let at = if number == 1 { HEADER } else { 0 };
        let is_leaf = match bytes[at] {
            0x0d => true,
            0x05 => false,
            0x02 | 0x0a => return Err(damaged("it is one of an index")),
            _ => return Err(damaged("it is none of a tree")),
        };
        let cells = usize::from(u16::from_be_bytes([bytes[at + 3], bytes[at + 4]]));
        let room = bytes.len();
        let node = Node { number, bytes, at, is_leaf, cells, room };
        if node.cells_at() + 2 * cells > node.bytes.len() {
            return Err(damaged("it has more cells than room"));
        }
        Ok(node)
    }

    /// Where the list of its cells begins.
    fn cells_at(&self) -> usize {
        self.at + if self.is_leaf { 8 } else { 12 }
    }

    fn damaged(&self, why: &'static str) -> Error {
        Error::Damaged { page: self.number, why }
    }

    /// Returns a cell, and whatever is behind it on the page.
    fn cell(&self, cell: usize) -> Result<&[u8], Error> {
        let at = self.cells_at() + 2 * cell;
        let start = usize::from(u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]));
        let is_possible = start >= self.cells_at() + 2 * self.cells;
        self.bytes.get(start..).filter(|_| is_possible).ok_or_else(|| self.damaged("a cell is outside of it"))
    }

    /// Returns the page below a cell; the last one is in the header.
    fn below(&self, cell: usize) -> Result<u32, Error> {
        let bytes = if cell == self.cells { &self.bytes[self.at + 8..] } else { self.cell(cell)? };
        let bytes = bytes.first_chunk().ok_or_else(|| self.damaged("a cell is cut off"))?;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// Reads a row. Each page that it leads to is given to `seen`.
    fn row(
        &mut self,
        pages: &Pages,
        cell: usize,
        alias: Option<usize>,
        mut seen: impl FnMut(u32) -> Result<(), Error>,
    ) -> Result<Row, Error> {
        let page = self.number;
        let damaged = |why| Error::Damaged { page, why };
        let cut = || damaged("a cell is cut off");
        let bytes = self.cell(cell)?;
        let (length, used) = varint(bytes).ok_or_else(cut)?;
        let bytes = &bytes[used..];
        let (number, used) = varint(bytes).ok_or_else(cut)?;
        let bytes = &bytes[used..];
        if length > u64::from(pages.count) * pages.usable as u64 {
            return Err(damaged("a row is larger than the database"));
        }
        if length > MOST_ROW {
            return Err(Error::LongRow { page });
        }
        let length = usize::try_from(length).map_err(|_| cut())?;
        let local = local(length, pages.usable);
        let room = self.room.checked_sub(local).ok_or_else(|| damaged("its cells overlap"))?;
        let mut record = bytes.get(..local).ok_or_else(cut)?.to_vec();
        let next = bytes[local..].first_chunk().map(|next| u32::from_be_bytes(*next));
        self.room = room;
        if local < length {
            let mut next = next.ok_or_else(cut)?;
            while record.len() < length {
                seen(next)?;
                let page = pages.read(next)?;
                let rest = length - record.len();
                record.extend_from_slice(&page[4..pages.usable.min(4 + rest)]);
                next = u32::from_be_bytes([page[0], page[1], page[2], page[3]]);
            }
        }
        let (mut values, is_repaired) = values(&record).map_err(damaged)?;
        let number = number.cast_signed();
        if let Some(value) = alias.and_then(|column| values.get_mut(column))
            && *value == Value::Null
        {
            *value = Value::Integer(number);
        }
        let place = Place { page, cell: u16::try_from(cell).map_err(|_| cut())?, number };
        Ok(Row { number, values, is_repaired, place })
    }
}

/// How much of a record is on the page itself, in bytes.
fn local(length: usize, usable: usize) -> usize {
    let most = usable - 35;
    if length <= most {
        return length;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let fitting = least + (length - least) % (usable - 4);
    if fitting <= most { fitting } else { least }
}

/// Reads a row where a scan has found it.
pub fn read(pages: &Pages, place: Place, alias: Option<usize>) -> Result<Row, Error> {
    let mut node = Node::read(pages, place.page)?;
    let cell = usize::from(place.cell);
    if !node.is_leaf || cell >= node.cells {
        return Err(node.damaged("it is another than before"));
    }
    let mut left = pages.count;
    let row = node.row(pages, cell, alias, |page| {
        left = left.checked_sub(1).ok_or(Error::Damaged { page, why: "two places lead to it" })?;
        Ok(())
    })?;
    if row.number == place.number { Ok(row) } else { Err(node.damaged("it is another than before")) }
}

/// The rows of a table. What is broken is an error each, and the scan goes on behind it; no page is read twice.
pub struct Rows<'a> {
    pages: &'a Pages,
    alias: Option<usize>,
    seen: Seen,
    /// The way down to where the scan is, with the next cell of each page.
    way: Vec<(Node, usize)>,
    /// The page that is read next.
    next: Option<u32>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(pages: &'a Pages, root: u32) -> Self {
        Rows { pages, alias: None, seen: Seen::of(pages), way: Vec::new(), next: Some(root) }
    }

    /// Names the column that stands for the number of a row.
    pub(super) fn with_number(self, alias: Option<usize>) -> Self {
        Rows { alias, ..self }
    }

    fn descend(&mut self, page: u32) -> Result<(), Error> {
        self.seen.add(page)?;
        if self.way.len() == MOST_DEPTH {
            return Err(Error::Damaged { page, why: "the tree is too deep" });
        }
        self.way.push((Node::read(self.pages, page)?, 0));
        Ok(())
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(page) = self.next.take()
                && let Err(error) = self.descend(page)
            {
                return Some(Err(error));
            }
            let (node, cell) = self.way.last_mut()?;
            let now = *cell;
            *cell += 1;
            if node.is_leaf && now < node.cells {
                return Some(node.row(self.pages, now, self.alias, |page| self.seen.add(page)));
            }
            if node.is_leaf || now > node.cells {
                self.way.pop();
                continue;
            }
            match node.below(now) {
                Ok(page) => self.next = Some(page),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
