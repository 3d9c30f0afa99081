//! The list of tables, and what the text by which each was made says of its columns.

use super::btree::Row;

/// The page where the list of tables begins.
pub const ROOT: u32 = 1;

/// The most tables of a database.
pub const MOST_TABLES: usize = 10_000;

/// The longest text of a table that is read, in bytes.
const MOST_TEXT: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    /// Those that rows have, in their order.
    pub columns: Vec<String>,
    /// The column that stands for the number of a row.
    pub(super) number: Option<usize>,
    pub(super) root: u32,
    /// Why its rows are not read.
    pub(super) refused: Option<&'static str>,
}

impl Table {
    /// Reads a row of `sqlite_schema`: type, name, table, first page, text.
    pub(super) fn of(row: &Row) -> Option<Self> {
        if row.get(0).text()? != "table" {
            return None;
        }
        let name = row.get(1).text()?.to_owned();
        let text = row.get(4).text().unwrap_or_default();
        let root = row.get(3).integer().and_then(|root| u32::try_from(root).ok()).unwrap_or(0);
        let mut table = Table { name, columns: Vec::new(), number: None, root, refused: None };
        if text.len() > MOST_TEXT {
            table.refused = Some("one of a very long definition");
            return Some(table);
        }
        table.read(text);
        if root == 0 {
            table.refused = Some("virtual");
        }
        Some(table)
    }

    /// Returns the place of a column, in whose name case does not count.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.eq_ignore_ascii_case(name))
    }

    fn read(&mut self, text: &str) {
        let mut words = Words(text);
        // `CREATE TABLE name`, in which nothing is in parentheses.
        words.by_ref().find(|word| *word == Word::Sign('('));
        let (mut depth, mut part, mut found) = (0_usize, Vec::new(), Columns::default());
        for word in words.by_ref() {
            match word {
                Word::Sign(')') if depth == 0 => break,
                Word::Sign(',') if depth == 0 => {
                    found.add(&part);
                    part.clear();
                    continue;
                }
                Word::Sign('(') => depth += 1,
                Word::Sign(')') => depth -= 1,
                _ => {}
            }
            part.push(word);
        }
        found.add(&part);
        if words.any(|word| word.is("WITHOUT")) {
            self.refused = Some("`WITHOUT ROWID`");
        }
        (self.columns, self.number) = (found.names, found.number);
    }
}

/// What may follow the type of a column.
const RULES: &[&str] = &[
    "AS",
    "CHECK",
    "COLLATE",
    "CONSTRAINT",
    "DEFAULT",
    "GENERATED",
    "NOT",
    "NULL",
    "PRIMARY",
    "REFERENCES",
    "UNIQUE",
];

#[derive(Default)]
struct Columns {
    names: Vec<String>,
    /// Which of them are of the type `INTEGER`, and of no other that means the same.
    integers: Vec<bool>,
    number: Option<usize>,
}

impl Columns {
    /// Takes what stands between two commas: a column, or a rule for all of them.
    fn add(&mut self, words: &[Word<'_>]) {
        let Some((first, rest)) = words.split_first() else { return };
        let is_key = |pair: &[Word<'_>]| pair[0].is("PRIMARY") && pair[1].is("KEY");
        if ["CONSTRAINT", "UNIQUE", "CHECK", "FOREIGN", "PRIMARY"].iter().any(|rule| first.is(rule)) {
            let key = words.windows(2).position(is_key);
            if let Some([Word::Sign('('), name, Word::Sign(')')]) =
                key.and_then(|key| words.get(key + 2..key + 5))
            {
                let name = name.name().unwrap_or_default();
                let place = self.names.iter().position(|known| known.eq_ignore_ascii_case(&name));
                self.number = place.filter(|place| self.integers[*place]).or(self.number);
            }
            return;
        }
        let Some(name) = first.name() else { return };
        // A column that is computed when somebody asks is not in a row.
        let is_computed = rest.windows(2).any(|pair| pair[0].is("AS") && pair[1] == Word::Sign('('));
        if is_computed && !rest.iter().any(|word| word.is("STORED")) {
            return;
        }
        let is_integer = rest.first().is_some_and(|word| word.is("INTEGER"))
            && rest.get(1).is_none_or(|word| RULES.iter().any(|rule| word.is(rule)));
        let key = rest.windows(2).position(is_key);
        if key.is_some_and(|key| is_integer && !rest.get(key + 2).is_some_and(|word| word.is("DESC"))) {
            self.number = Some(self.names.len());
        }
        self.names.push(name);
        self.integers.push(is_integer);
    }
}

/// A word of the language.
#[derive(Clone, Debug, PartialEq)]
enum Word<'a> {
    Plain(&'a str),
    /// A name, or a text.
    Quoted(String),
    Sign(char),
}

impl Word<'_> {
    fn is(&self, expected: &str) -> bool {
        matches!(self, Word::Plain(word) if word.eq_ignore_ascii_case(expected))
    }

    fn name(&self) -> Option<String> {
        match self {
            Word::Plain(name) => Some((*name).to_owned()),
            Word::Quoted(name) => Some(name.clone()),
            Word::Sign(_) => None,
        }
    }
}

/// The words of a text, without its comments.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    /// Takes what is quoted; two ends in a row are one that is meant.
    fn quoted(&mut self, end: char) -> Word<'a> {
        let mut name = String::new();
        let mut chars = self.0[1..].char_indices();
        while let Some((at, c)) = chars.next() {
            if c == end {
                if end == ']' || !self.0[1 + at + 1..].starts_with(end) {
                    break;
                }
                chars.next();
            }
            name.push(c);
        }
        self.0 = chars.as_str();
        Word::Quoted(name)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        loop {
            self.0 = self.0.trim_start();
            if self.0.starts_with("--") {
                self.0 = self.0.split_once('\n').map_or("", |(_, rest)| rest);
            } else if let Some(comment) = self.0.strip_prefix("/*") {
                self.0 = comment.split_once("*/").map_or("", |(_, rest)| rest);
            } else {
                break;
            }
        }
        let first = self.0.chars().next()?;
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
        Some(match first {
            '"' | '`' | '\'' => self.quoted(first),
            '[' => self.quoted(']'),
            _ if is_part(first) => {
                let end = self.0.find(|c| !is_part(c)).unwrap_or(self.0.len());
                let (word, rest) = self.0.split_at(end);
                self.0 = rest;
                Word::Plain(word)
            }
            _ => {
                self.0 = &self.0[first.len_utf8()..];
                Word::Sign(first)
            }
        })
    }
}
