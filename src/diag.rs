//! Problems in documents, failures of commands, and the exit codes they lead to.
//!
//! Library code returns these as data; only `cmd` renders them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub mod codes;
pub mod render;

/// A text that problems point into: a file, or the words of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What people know it as: a path as given, or `--set`.
    pub name: String,
    pub text: Arc<str>,
}

/// Index of a [`Source`] in the [`Sources`] it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub usize);

/// Every text read for one command, so that a value can say where it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(Vec<Source>);

impl Sources {
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> SourceId {
        self.0.push(Source { name: name.into(), text: text.into() });
        SourceId(self.0.len() - 1)
    }

    /// Makes an id for a text whose problems must be known before it can be added.
    pub fn reserve(&mut self) -> SourceId {
        self.add("", "")
    }

    /// Gives a reserved id its name and text.
    pub fn fill(&mut self, id: SourceId, name: impl Into<String>, text: impl Into<Arc<str>>) {
        self.0[id.0] = Source { name: name.into(), text: text.into() };
    }

    pub fn get(&self, id: SourceId) -> &Source {
        &self.0[id.0]
    }

    /// Returns `name:line` (lines from 1) of the start of `span`, safe to print.
    pub fn place(&self, span: &Span) -> String {
        let source = self.get(span.source);
        let end = span.range.start.min(source.text.len());
        let line = source.text.as_bytes()[..end].split(|byte| *byte == b'\n').count();
        format!("{}:{line}", crate::util::text::escape(&source.name))
    }
}

/// A byte range of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub source: SourceId,
    pub range: Range<usize>,
}

/// One finding in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A stable name out of [`codes::ALL`], such as `config::unknown-node`.
    pub code: &'static str,
    /// A lower-case sentence that stands alone.
    pub message: String,
    /// The place it is about; `None` where no text is to blame.
    pub at: Option<(Span, String)>,
    /// Other places that belong to it: "first set here".
    pub related: Vec<(Span, String)>,
    pub help: Option<String>,
}

impl Problem {
    pub fn new(code: &'static str, at: Span, label: impl Into<String>, message: impl Into<String>) -> Self {
        let at = Some((at, label.into()));
        Problem { code, message: message.into(), at, related: Vec::new(), help: None }
    }

    /// A problem that no place in a text stands for.
    pub fn nowhere(code: &'static str, message: impl Into<String>) -> Self {
        Problem { code, message: message.into(), at: None, related: Vec::new(), help: None }
    }

    #[must_use]
    pub fn also(mut self, at: Span, label: impl Into<String>) -> Self {
        self.related.push((at, label.into()));
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All findings of one command, with the texts they point into.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub sources: Sources,
    pub problems: Vec<Problem>,
}

/// Why a command did not do what it was asked, with the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub report: Report,
}

impl Failure {
    pub fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Failure::of(exit, Problem::nowhere(code, message))
    }

    pub fn of(exit: Exit, problem: Problem) -> Self {
        Failure { exit, report: Report { sources: Sources::default(), problems: vec![problem] } }
    }

    /// Adds the next step to the last problem.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        if let Some(problem) = self.report.problems.last_mut() {
            problem.help = Some(help.into());
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages: Vec<&str> =
            self.report.problems.iter().map(|problem| problem.message.as_str()).collect();
        out.write_str(&messages.join("; "))
    }
}

/// The exit codes of pier itself; a child's own code passes through as [`Exit::Child`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// A handled failure.
    Failed,
    /// Bad usage or an invalid configuration.
    Usage,
    /// A time limit ended the command.
    TimeLimit,
    /// The sandbox was not set up and nothing ran.
    NotSetUp,
    /// The command was found inside and could not be executed.
    CannotRun,
    /// The command was not found inside.
    NotFound,
    /// The child's own code, or 128 + its signal.
    Child(u8),
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::TimeLimit => 124,
            Exit::NotSetUp => 125,
            Exit::CannotRun => 126,
            Exit::NotFound => 127,
            Exit::Child(code) => code,
        }
    }
}
