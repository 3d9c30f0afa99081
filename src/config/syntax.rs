//! From bytes to a KDL document, with limits that hold before the parser runs.
//!
//! [`read`] refuses what is too large or no UTF-8. [`parse`] walks the tokens once without recursion: it counts,
//! finds what is wrong in the structure, and blanks comments, `/-` parts and line continuations, on which the
//! parser crate recurses or backtracks exponentially. Offsets stay the same.

use std::ops::Range;

use kdl::KdlDocument;

use super::codes;
use super::tokens::{self, Kind, Token};
use crate::diag::{Problem, SourceId, Span};

/// Bytes of one file.
pub const MAX_BYTES: usize = 256 * 1024;
/// Blocks in blocks; the parser overflows a stack of 2 MiB beyond 48 in debug builds.
pub const MAX_DEPTH: usize = 32;
/// Nodes of one file, those after `/-` included.
pub const MAX_NODES: usize = 10_000;
/// Arguments and properties of one node.
pub const MAX_VALUES: usize = 1000;
/// More findings than anyone reads.
const MAX_PROBLEMS: usize = 50;

/// Returns the bytes as text, or why they cannot be a configuration, with the text to point into.
pub fn read(source: SourceId, bytes: Vec<u8>) -> Result<String, (String, Problem)> {
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", bytes.len());
        return Err((String::new(), Problem::nowhere(codes::TOO_LARGE, message)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let range = at..at + '\u{FFFD}'.len_utf8();
        let span = Span { source, range };
        let problem = Problem::new(codes::NOT_UTF8, span, "not UTF-8", "the file is not UTF-8 text");
        (text, problem.help("save the file as UTF-8"))
    })
}

/// Parses `text`; the spans of the document are byte ranges of it.
///
/// # Errors
/// Everything that is wrong in the syntax, in the order of the text.
pub fn parse(source: SourceId, text: &str) -> Result<KdlDocument, Vec<Problem>> {
    let (plain, mut problems) = check(source, text);
    if problems.is_empty() {
        match KdlDocument::parse_v2(&plain) {
            Ok(document) => return Ok(document),
            Err(error) => problems = rewrite(source, text, &error),
        }
    }
    problems.sort_by_key(|problem| problem.at.as_ref().map_or(0, |(span, _)| span.range.start));
    problems.truncate(MAX_PROBLEMS);
    Err(problems)
}

/// Finds what is wrong before the parser runs; returns the text with all that it need not see blanked.
fn check(source: SourceId, text: &str) -> (String, Vec<Problem>) {
    if text.len() > MAX_BYTES {
        let message = format!("the text has {} bytes; at most {MAX_BYTES} are read", text.len());
        return (String::new(), vec![Problem::nowhere(codes::TOO_LARGE, message)]);
    }
    let split = tokens::split(source, text);
    let mut walk = Walk {
        source,
        text,
        tokens: &split.tokens,
        at: 0,
        open: Vec::new(),
        nodes: 0,
        blank: Vec::new(),
        problems: split.problems,
    };
    walk.document();
    let blank = walk.blank;
    let problems = walk.problems;
    let mut bytes = text.as_bytes().to_vec();
    let hidden = split.tokens.iter().filter(|token| {
        matches!(token.kind, Kind::LineComment | Kind::BlockComment | Kind::Continuation | Kind::Space)
    });
    for range in hidden.map(|token| token.range.clone()).chain(blank) {
        bytes[range].fill(b' ');
    }
    // Ranges begin and end at tokens, so every character is blanked whole.
    (String::from_utf8_lossy(&bytes).into_owned(), problems)
}

/// Turns what is left of the parser's findings into problems; the walk has caught all that is common.
fn rewrite(source: SourceId, text: &str, error: &kdl::KdlError) -> Vec<Problem> {
    let one = |found: &kdl::KdlDiagnostic| {
        let start = found.span.offset().min(text.len());
        let range = start..(start + found.span.len()).min(text.len());
        let message = found.message.clone().unwrap_or_else(|| "this is not KDL 2".to_owned());
        let label = found.label.clone().unwrap_or_else(|| "here".to_owned());
        let mut problem = Problem::new(codes::SYNTAX, Span { source, range }, label, lower_first(&message));
        problem.help.clone_from(&found.help);
        problem
    };
    let problems: Vec<Problem> = error.diagnostics.iter().take(MAX_PROBLEMS).map(one).collect();
    if problems.is_empty() {
        return vec![Problem::nowhere(codes::SYNTAX, "this is not a KDL 2 document")];
    }
    problems
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// A block whose `}` is still to come.
struct Open {
    brace: Range<usize>,
    /// Where the `/-` before its node starts.
    node: Option<usize>,
    /// Where the `/-` before the block itself starts.
    block: Option<usize>,
}

struct Walk<'a> {
    source: SourceId,
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    open: Vec<Open>,
    nodes: usize,
    blank: Vec<Range<usize>>,
    problems: Vec<Problem>,
}

/// What comes after a piece of the text.
enum Next {
    Node,
    /// The rest of a node whose own block has ended, or of one whose `/-` block has.
    Rest {
        dropped: Option<usize>,
        after_block: bool,
    },
}

impl Walk<'_> {
    fn kind(&self) -> Option<Kind> {
        self.tokens.get(self.at).map(|token| token.kind)
    }

    fn range(&self) -> Range<usize> {
        self.tokens.get(self.at).map_or(self.text.len()..self.text.len(), |token| token.range.clone())
    }

    fn add(&mut self, range: Range<usize>, label: &str, message: impl Into<String>, help: &str) {
        // A bad token has its own problem, and a cascade helps nobody.
        if self.problems.len() < MAX_PROBLEMS {
            let span = Span { source: self.source, range };
            self.problems.push(Problem::new(codes::SYNTAX, span, label, message).help(help));
        }
    }

    fn limit(&mut self, code: &'static str, range: Range<usize>, message: String) {
        if !self.problems.iter().any(|problem| problem.code == code) {
            self.problems.push(Problem::new(code, Span { source: self.source, range }, "here", message));
        }
    }

    fn skip(&mut self, test: impl Fn(Kind) -> bool) -> bool {
        let start = self.at;
        while self.kind().is_some_and(&test) {
            self.at += 1;
        }
        self.at > start
    }

    fn skip_space(&mut self) -> bool {
        self.skip(|kind| matches!(kind, Kind::Space | Kind::BlockComment | Kind::Continuation))
    }

    fn skip_lines(&mut self) {
        self.skip(|kind| {
            matches!(
                kind,
                Kind::Space | Kind::BlockComment | Kind::Continuation | Kind::LineComment | Kind::Newline
            )
        });
    }

    /// Leaves a broken node where its line or its block ends.
    fn recover(&mut self) {
        self.skip(|kind| !matches!(kind, Kind::Newline | Kind::Semicolon | Kind::Open | Kind::Close));
    }

    fn document(&mut self) {
        let mut next = Next::Node;
        while self.at < self.tokens.len() {
            next = match next {
                Next::Node => self.node(),
                Next::Rest { dropped, after_block } => self.entries(dropped, after_block),
            };
        }
        let unclosed: Vec<Range<usize>> = self.open.drain(..).map(|open| open.brace).collect();
        if let Some(brace) = unclosed.into_iter().next_back() {
            self.add(brace, "opened here", "a block is not closed", "close it with `}`");
        }
    }

    fn node(&mut self) -> Next {
        self.skip_lines();
        let mut dropped = None;
        while self.kind() == Some(Kind::Slashdash) {
            dropped = dropped.or(Some(self.range().start));
            self.at += 1;
            self.skip_lines();
        }
        self.annotation();
        match self.kind() {
            None => Next::Node,
            Some(Kind::Close) => self.close(),
            Some(Kind::Open) => {
                let help = "write the name of the node before its block, on the same line";
                self.add(self.range(), "no name before it", "a block without a node", help);
                self.block(dropped, None)
            }
            Some(Kind::Semicolon) => {
                self.add(self.range(), "ends nothing", "there is no node before this `;`", "remove it");
                self.at += 1;
                Next::Node
            }
            Some(Kind::Word | Kind::Quoted | Kind::Multiline) => {
                self.nodes += 1;
                if self.nodes > MAX_NODES {
                    let message = format!("more than {MAX_NODES} nodes in one file");
                    self.limit(codes::TOO_MANY, self.range(), message);
                }
                self.at += 1;
                self.entries(dropped, false)
            }
            Some(kind) => {
                if kind != Kind::Bad {
                    let help = "a node starts with its name; quote it if it is not a plain word";
                    self.add(self.range(), "not a name", "a node cannot start like this", help);
                }
                self.at += 1;
                self.entries(dropped, false)
            }
        }
    }

    fn close(&mut self) -> Next {
        let range = self.range();
        self.at += 1;
        let Some(open) = self.open.pop() else {
            self.add(range, "closes nothing", "a `}` without a `{`", "remove it");
            return Next::Node;
        };
        if let Some(start) = open.block {
            self.blank.push(start..range.end);
        }
        Next::Rest { dropped: open.node, after_block: open.block.is_none() }
    }

    fn block(&mut self, node: Option<usize>, block: Option<usize>) -> Next {
        let brace = self.range();
        self.at += 1;
        self.open.push(Open { brace: brace.clone(), node, block });
        if self.open.len() > MAX_DEPTH {
            self.limit(codes::TOO_DEEP, brace, format!("blocks are nested more than {MAX_DEPTH} deep"));
        }
        Next::Node
    }

    /// Reads the values of a node up to its block or its end. `dropped` is where a `/-` before the node starts.
    fn entries(&mut self, dropped: Option<usize>, after_block: bool) -> Next {
        let mut values = 0;
        loop {
            let spaced = self.skip_space();
            let range = self.range();
            match self.kind() {
                None | Some(Kind::Newline | Kind::Semicolon | Kind::LineComment | Kind::Close) => {
                    if let Some(start) = dropped {
                        self.blank.push(start..range.start);
                    }
                    if matches!(self.kind(), Some(Kind::Newline | Kind::Semicolon)) {
                        self.at += 1;
                    }
                    return Next::Node;
                }
                Some(Kind::Open) if after_block => {
                    self.add(range, "a second block", "a node has only one block", "join the two blocks");
                    return self.block(dropped, None);
                }
                Some(Kind::Open) => return self.block(dropped, None),
                Some(Kind::Slashdash) => {
                    self.at += 1;
                    self.skip_lines();
                    if self.kind() == Some(Kind::Open) {
                        return self.block(dropped, Some(range.start));
                    }
                    if !self.value(true) {
                        self.recover();
                    }
                    let end = self.tokens[self.at - 1].range.end;
                    self.blank.push(range.start..end);
                }
                Some(_) if after_block => {
                    let help = "start the next node on a new line, or write `;` before it";
                    self.add(range, "not separated", "a node ends after its block", help);
                    self.recover();
                }
                Some(_) => {
                    values += 1;
                    if values > MAX_VALUES {
                        let message = format!("more than {MAX_VALUES} values in one node");
                        self.limit(codes::TOO_MANY, range.clone(), message);
                    }
                    if !self.value(spaced) {
                        self.recover();
                    }
                }
            }
        }
    }

    /// Reads `(type)`, which has a problem of its own later.
    fn annotation(&mut self) -> bool {
        if self.kind() != Some(Kind::ParenOpen) {
            return false;
        }
        let open = self.range();
        self.at += 1;
        self.skip_space();
        let named = matches!(self.kind(), Some(Kind::Word | Kind::Quoted | Kind::Multiline));
        if named {
            self.at += 1;
        }
        self.skip_space();
        if named && self.kind() == Some(Kind::ParenClose) {
            self.at += 1;
        } else {
            let help = "put the value in double quotes if the parenthesis is part of it";
            self.add(open, "opened here", "a parenthesis is not part of a value", help);
            self.recover();
        }
        self.skip_space();
        true
    }

    /// Reads one argument or property; `false` where the rest of the line means nothing.
    fn value(&mut self, spaced: bool) -> bool {
        let start = self.range();
        let typed = self.annotation();
        let kind = self.kind();
        if !spaced && kind != Some(Kind::Bad) && kind != Some(Kind::Equals) {
            let previous = self.tokens.get(self.at.saturating_sub(1)).map(|token| token.kind);
            if previous != Some(Kind::Bad) {
                self.add(
                    start.clone(),
                    "glued to what is before it",
                    "values are separated by a space",
                    "add a space",
                );
            }
        }
        match kind {
            Some(Kind::Number | Kind::Keyword) => {
                self.at += 1;
                if self.kind() == Some(Kind::Equals) {
                    let range = self.range();
                    self.add(
                        range,
                        "a name is missing",
                        "the name of a property is a word",
                        "quote the name",
                    );
                    return false;
                }
                true
            }
            Some(Kind::Word | Kind::Quoted | Kind::Multiline) => {
                self.at += 1;
                let before = self.at;
                self.skip_space();
                if self.kind() == Some(Kind::Equals) && !typed {
                    self.at += 1;
                    return self.property();
                }
                self.at = before;
                true
            }
            Some(Kind::Bad) => {
                self.at += 1;
                if self.kind() == Some(Kind::Equals) {
                    self.at += 1;
                    return self.property();
                }
                true
            }
            Some(Kind::Equals) => {
                let help = "a property is `name=value`";
                self.add(self.range(), "no name before it", "a `=` without a name", help);
                self.at += 1;
                false
            }
            _ => {
                if self.at < self.tokens.len() && !typed {
                    let range = self.range();
                    self.add(range, "not a value", "a value cannot start like this", "quote the value");
                    self.at += 1;
                } else if typed {
                    self.add(start, "no value after it", "a type without a value", "remove the type");
                }
                false
            }
        }
    }

    fn property(&mut self) -> bool {
        let equals = self.tokens[self.at - 1].range.clone();
        self.skip_space();
        self.annotation();
        let kind = self.kind();
        let value = [Kind::Word, Kind::Number, Kind::Keyword, Kind::Quoted, Kind::Multiline, Kind::Bad];
        if !kind.is_some_and(|kind| value.contains(&kind)) {
            self.add(equals, "nothing after it", "a property has no value", "write `name=value`");
            return false;
        }
        self.at += 1;
        if self.kind() == Some(Kind::Equals) {
            let help = "put the value in double quotes if `=` is part of it";
            self.add(self.range(), "a second `=`", "a property has one value", help);
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<Problem> {
        parse(SourceId(0), text).err().unwrap_or_default()
    }

    #[test]
    fn each_limit_holds_at_its_bound_and_fails_one_past_it() {
        let nested = |depth: usize| "a {\n".repeat(depth) + &"}\n".repeat(depth);
        let dropped = |depth: usize| "a; /-b {\n".repeat(depth) + &"}\n".repeat(depth);
        let nodes = |count: usize| "a\n".repeat(count);
        let values = |count: usize| format!("a{}\n", " 1".repeat(count));
        let bytes = |count: usize| format!("// {}\n", "x".repeat(count - 4));
        for (code, fits, exceeds) in [
            (codes::TOO_DEEP, nested(MAX_DEPTH), nested(MAX_DEPTH + 1)),
            (codes::TOO_DEEP, dropped(MAX_DEPTH), dropped(MAX_DEPTH + 1)),
            (codes::TOO_MANY, nodes(MAX_NODES), nodes(MAX_NODES + 1)),
            (codes::TOO_MANY, values(MAX_VALUES), values(MAX_VALUES + 1)),
            (codes::TOO_LARGE, bytes(MAX_BYTES), bytes(MAX_BYTES + 1)),
        ] {
            assert_eq!(problems(&fits), [], "{code}");
            let found: Vec<&str> = problems(&exceeds).iter().map(|problem| problem.code).collect();
            assert_eq!(found, [code]);
        }
    }

    #[test]
    fn what_the_parser_recurses_on_never_reaches_it() {
        for text in [
            "}".repeat(100_000),
            "{".repeat(100_000),
            format!("/*{}*/ a", "*/ /*".repeat(40_000)),
            format!("{} a {}", "/*".repeat(60_000), "*/".repeat(60_000)),
            format!("a /*{}*/\n", "* ".repeat(100_000)),
            "a /-{ ".repeat(MAX_DEPTH) + &"}".repeat(MAX_DEPTH),
            "/- ".repeat(50_000) + "a",
            "(".repeat(100_000),
            "a \\\n".repeat(20_000),
            "\"\"\"\n".repeat(9999),
            format!("a {}\"x\"{}", "#".repeat(50_000), "#".repeat(50_000)),
            "a \"\\q {{{{{{{{\"\n".repeat(2000),
        ] {
            let text = text.clone();
            let run = move || drop(parse(SourceId(0), &text));
            std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
        }
    }

    #[test]
    fn structure_is_explained() {
        for (text, says) in [
            ("a }", "a `}` without a `{`"),
            ("a {\n b", "a block is not closed"),
            ("{ a }", "a block without a node"),
            ("a {} b", "a node ends after its block"),
            ("a {} {}", "only one block"),
            ("a k=", "a property has no value"),
            ("a =1", "a `=` without a name"),
            ("a b=c=d", "a property has one value"),
            ("a \"x\"y", "separated by a space"),
            ("1 a", "a node cannot start like this"),
            ("a (b", "a parenthesis"),
            ("a (t)", "a type without a value"),
            ("a;;b", "no node before this `;`"),
            ("a 1=2", "the name of a property is a word"),
        ] {
            let found = problems(text);
            assert!(found.iter().any(|problem| problem.message.contains(says)), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn comments_and_dropped_parts_are_not_in_the_document() {
        let text = "\u{FEFF}/- gone { x 1 }\na 1 /-2 /* é */ 3 /-k=4 \\ // c\n 5 /-{ b } { c; /-d\n e }\nf";
        let document = parse(SourceId(0), text).unwrap();
        let names = |document: &KdlDocument| -> Vec<String> {
            document.nodes().iter().map(|node| node.name().value().to_owned()).collect()
        };
        assert_eq!(names(&document), ["a", "f"]);
        let a = &document.nodes()[0];
        let values: Vec<_> = a.entries().iter().filter_map(|entry| entry.value().as_integer()).collect();
        assert_eq!(values, [1, 3, 5]);
        assert_eq!(names(a.children().unwrap()), ["c", "e"]);
        let last = document.nodes()[1].name().span();
        assert_eq!(&text[last.offset()..last.offset() + last.len()], "f");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let (_, problem) = read(SourceId(0), b"a \xff\n".to_vec()).unwrap_err();
        assert_eq!(problem.code, codes::NOT_UTF8);
        assert_eq!(problem.at.unwrap().0.range.start, 2);
        let (_, problem) = read(SourceId(0), vec![b'a'; MAX_BYTES + 1]).unwrap_err();
        assert_eq!(problem.code, codes::TOO_LARGE);
    }
}
