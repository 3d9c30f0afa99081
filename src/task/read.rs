//! Tables and values of a `task.toml` with the place of each, and the conversions that Harbor allows.
//!
//! Harbor reads `"512"` and `2.0` as whole numbers and `1` as true. Tasks rely on it, so it is done here, in
//! one place; what remains wrong is a problem at the bytes of the value.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{Variables, codes, toml_text};
use crate::diag::{Problem, SourceId, Span};
use crate::util::text::{escape, nearest};

/// Everything that is found while one file is read.
pub struct Findings {
    source: SourceId,
    problems: RefCell<Vec<Problem>>,
    notes: RefCell<Vec<Problem>>,
}

impl Findings {
    pub fn new(source: SourceId) -> Self {
        Findings { source, problems: RefCell::default(), notes: RefCell::default() }
    }

    /// Returns the problems, and what is only worth a note.
    pub fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems.into_inner(), self.notes.into_inner())
    }

    pub fn span(&self, range: Range<usize>) -> Span {
        Span { source: self.source, range }
    }

    pub fn problem(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub fn note(&self, problem: Problem) {
        self.notes.borrow_mut().push(problem);
    }
}

/// A table of which keys are taken; what is left at its end is unknown.
pub struct Section<'a> {
    pub findings: &'a Findings,
    /// `environment.tpu`; empty at the root.
    path: String,
    pub at: Range<usize>,
    table: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub fn root(findings: &'a Findings, at: Range<usize>, table: &'a DeTable<'a>) -> Self {
        Section { findings, path: String::new(), at, table, known: RefCell::default() }
    }

    /// Returns `[environment.tpu]`, or words for the root.
    pub fn place(&self) -> String {
        if self.path.is_empty() { "the file".to_owned() } else { format!("`[{}]`", escape(&self.path)) }
    }

    pub fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.known.borrow_mut().push(key);
        let value = self.table.get(key)?;
        Some(self.value(key, value))
    }

    pub fn required(&self, key: &'static str) -> Option<Value<'a>> {
        let found = self.get(key);
        if found.is_none() {
            let message = format!("{} has no `{key}`", self.place());
            let at = self.findings.span(self.at.clone());
            self.findings.problem(Problem::new(codes::MISSING, at, format!("needs `{key}`"), message));
        }
        found
    }

    /// Returns every entry, of a table whose keys the author chooses.
    pub fn entries(&self) -> impl Iterator<Item = (String, Value<'a>)> {
        self.table.iter().map(|(key, value)| (key.get_ref().to_string(), self.value(key.get_ref(), value)))
    }

    fn value(&self, key: &str, value: &'a toml::Spanned<DeValue<'a>>) -> Value<'a> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Value { findings: self.findings, path, at: value.span(), content: value.get_ref() }
    }

    /// Notes every key that nobody asked for.
    pub fn finish(self) {
        let known = self.known.borrow();
        for key in self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let message = format!("there is no `{}` in {}", escape(key.get_ref()), self.place());
            let at = self.findings.span(key.span());
            let note = Problem::new(codes::UNKNOWN_KEY, at, "ignored", message);
            self.findings.note(match nearest(key.get_ref(), known.iter().copied()) {
                Some(name) => note.help(format!("did you mean `{name}`?")),
                None => note,
            });
        }
    }
}

/// A value and where it stands.
pub struct Value<'a> {
    pub findings: &'a Findings,
    /// `environment.cpus`.
    pub path: String,
    pub at: Range<usize>,
    content: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    pub fn span(&self) -> Span {
        self.findings.span(self.at.clone())
    }

    /// Reports a value of the right type that means nothing.
    pub fn refuse(&self, why: &str) {
        let message = format!("`{}` is refused: {why}", escape(&self.path));
        self.findings.problem(Problem::new(codes::VALUE, self.span(), "not possible", message));
    }

    fn not<T>(&self, expected: &str) -> Option<T> {
        let message = format!("`{}` must be {expected}", escape(&self.path));
        let label = self.content.type_str();
        self.findings.problem(Problem::new(codes::TYPE, self.span(), label, message));
        None
    }

    /// Returns a text as it stands, without a word about anything else.
    pub fn as_text(&self) -> Option<&'a str> {
        self.content.as_str()
    }

    pub fn as_float(&self) -> Option<f64> {
        match self.content {
            DeValue::Integer(number) => whole(number).map(lossy),
            DeValue::Float(number) => toml_text::float(number.as_str()),
            DeValue::Boolean(on) => Some(f64::from(u8::from(*on))),
            _ => None,
        }
    }

    pub fn string(&self) -> Option<String> {
        self.as_text().map(str::to_owned).or_else(|| self.not("a text"))
    }

    pub fn float(&self) -> Option<f64> {
        let number = self.as_float().or_else(|| toml_text::float(self.as_text()?));
        number.or_else(|| self.not("a number"))
    }

    /// Returns a whole number, of which `2.0`, `"2"` and `true` are ways to write one.
    pub fn integer(&self) -> Option<i64> {
        let number = match self.content {
            DeValue::Integer(number) => whole(number),
            DeValue::String(text) => toml_text::integer(text),
            _ => self.as_float().and_then(toml_text::exact),
        };
        number.or_else(|| self.not("a whole number"))
    }

    pub fn boolean(&self) -> Option<bool> {
        const WORDS: [(&[&str], bool); 2] =
            [(&["1", "on", "t", "true", "y", "yes"], true), (&["0", "off", "f", "false", "n", "no"], false)];
        let found = match self.content {
            DeValue::String(text) => {
                let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
                WORDS.iter().find(|(words, _)| is(words)).map(|(_, on)| *on)
            }
            _ => match self.as_float().and_then(toml_text::exact) {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
        };
        found.or_else(|| self.not("true or false"))
    }

    pub fn section(&self) -> Option<Section<'a>> {
        let Some(table) = self.content.as_table() else { return self.not("a table") };
        Some(Section {
            findings: self.findings,
            path: self.path.clone(),
            at: self.at.clone(),
            table,
            known: RefCell::default(),
        })
    }

    pub fn is_table(&self) -> bool {
        self.content.is_table()
    }

    pub fn list(&self) -> Vec<Value<'a>> {
        let Some(array) = self.content.as_array() else { return self.not("a list").unwrap_or_default() };
        let item = |(index, value): (usize, &'a toml::Spanned<DeValue<'a>>)| Value {
            findings: self.findings,
            path: format!("{}[{index}]", self.path),
            at: value.span(),
            content: value.get_ref(),
        };
        array.iter().enumerate().map(item).collect()
    }

    pub fn strings(&self) -> Vec<String> {
        self.list().iter().filter_map(Value::string).collect()
    }

    pub fn variables(&self) -> Variables {
        let Some(section) = self.section() else { return BTreeMap::new() };
        section.entries().filter_map(|(name, value)| Some((name, value.string()?))).collect()
    }

    /// Returns what one of a few words stands for.
    pub fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.string()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let all: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            let all = all.join(", ");
            let message = format!("`{}` is `{}`; it must be one of {all}", escape(&self.path), escape(&text));
            let problem = Problem::new(codes::VALUE, self.span(), "no such value", message);
            self.findings.problem(match nearest(&text, words.iter().map(|(word, _)| *word)) {
                Some(word) => problem.help(format!("did you mean `{word}`?")),
                None => problem,
            });
        }
        found
    }
}

fn whole(number: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

#[expect(clippy::cast_precision_loss, reason = "what TOML calls seconds is no number near 2^53")]
fn lossy(number: i64) -> f64 {
    number as f64
}
