//! Reports as text for people (miette), as JSON, and as SARIF 2.1.0 for code hosts.
//!
//! Texts and names of files can be hostile: nothing reaches a terminal before its control characters are
//! written out.

use std::fmt;
use std::ops::Range;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    NamedSource, SourceCode, SourceSpan, SpanContents,
};
use serde_json::{Value, json};

use super::{Problem, Report, Source, Sources, Span, codes};
use crate::util::text::{escape, escape_lines, is_unsafe_char};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glyphs {
    Unicode,
    Ascii,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    Always,
    Never,
}

/// How a terminal wants its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    pub glyphs: Glyphs,
    pub color: Color,
    /// Columns.
    pub width: usize,
}

/// Renders a report for people.
pub fn human(report: &Report, style: Style) -> String {
    let theme = match (style.glyphs, style.color) {
        (Glyphs::Unicode, Color::Always) => GraphicalTheme::unicode(),
        (Glyphs::Unicode, Color::Never) => GraphicalTheme::unicode_nocolor(),
        (Glyphs::Ascii, Color::Always) => {
            let mut theme = GraphicalTheme::ascii();
            theme.styles = miette::ThemeStyles::ansi();
            theme
        }
        (Glyphs::Ascii, Color::Never) => {
            let mut theme = GraphicalTheme::ascii();
            theme.styles = miette::ThemeStyles::none();
            theme
        }
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(style.width.max(20)).with_links(false);
    let mut out = String::new();
    for problem in &report.problems {
        let shown = Shown::of(problem, &report.sources);
        // Writing to a string cannot fail; a place out of the text would, so the message is there at least.
        let mut one = String::new();
        if handler.render_report(&mut one, &shown).is_err() {
            one = format!("{}: {}\n", problem.code, shown.message);
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(one.trim_start_matches('\n'));
    }
    out
}

/// A line with more characters than this is shown around its place only.
const MOST_COLUMNS: usize = 200;

/// How many characters of a long line are shown in front of its place.
const LEAD: usize = 60;

const CUT: &str = "...";

/// A text without control characters and without long lines, and where its bytes have gone.
struct Plain {
    text: String,
    /// `(offset before, offset after)` behind each replaced piece.
    moved: Vec<(usize, usize)>,
}

impl Plain {
    /// `places` are offsets of what is shown, the most important first.
    fn of(text: &str, places: &[usize]) -> Plain {
        let mut plain = Plain { text: String::with_capacity(text.len()), moved: Vec::new() };
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let content = line.trim_end_matches(['\n', '\r']).len();
            let here = places.iter().find(|place| (start..start + line.len()).contains(place));
            let shown = window(&line[..content], here.map_or(0, |place| place - start));
            if shown.start > 0 {
                plain.replace(start + shown.start, CUT);
            }
            plain.push(start + shown.start, &line[shown.clone()]);
            if shown.end < content {
                plain.replace(start + content, CUT);
            }
            plain.push(start + content, &line[content..]);
            start += line.len();
        }
        plain
    }

    /// Adds text that begins at the offset `at`.
    fn push(&mut self, at: usize, text: &str) {
        let mut chars = text.char_indices().peekable();
        while let Some((index, c)) = chars.next() {
            let line_break = c == '\r' && chars.peek().is_some_and(|(_, next)| *next == '\n');
            if !is_unsafe_char(c) || c == '\n' || c == '\t' || line_break {
                self.text.push(c);
                continue;
            }
            self.replace(at + index + c.len_utf8(), &format!("\\u{{{:x}}}", u32::from(c)));
        }
    }

    /// Adds what stands for everything before the offset `to`.
    fn replace(&mut self, to: usize, text: &str) {
        self.text.push_str(text);
        self.moved.push((to, self.text.len()));
    }

    /// Maps an offset at the border of a character; one in a piece that is cut is at the end of the mark.
    fn offset(&self, at: usize) -> usize {
        let index = self.moved.partition_point(|(before, _)| *before <= at);
        let moved = index.checked_sub(1).map_or(at, |index| self.moved[index].1 + at - self.moved[index].0);
        let most = self.moved.get(index).map_or(self.text.len(), |(_, after)| *after);
        moved.min(most)
    }
}

/// Returns the part of a line that is shown when `place` is what matters in it.
fn window(line: &str, place: usize) -> Range<usize> {
    let borders: Vec<usize> = line.char_indices().map(|(at, _)| at).collect();
    if borders.len() <= MOST_COLUMNS {
        return 0..line.len();
    }
    let column = borders.partition_point(|at| *at < place);
    let first = column.saturating_sub(LEAD).min(borders.len() - MOST_COLUMNS);
    let end = borders.get(first + MOST_COLUMNS).copied().unwrap_or(line.len());
    borders[first]..end
}

/// A text whose place is named with its column before the line was cut.
struct Input {
    text: NamedSource<String>,
    /// From 0.
    column: usize,
}

impl SourceCode for Input {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let found = self.text.read_span(span, before, after)?;
        // The place itself is asked for without the lines around it.
        if before > 0 || after > 0 {
            return Ok(found);
        }
        let (line, count) = (found.line(), found.line_count());
        let name = self.text.name().to_owned();
        let place =
            MietteSpanContents::new_named(name, found.data(), *found.span(), line, self.column, count);
        Ok(Box::new(place.with_language("kdl")))
    }
}

/// A problem in the shape that miette prints.
struct Shown {
    code: &'static str,
    message: String,
    help: Option<String>,
    labels: Vec<LabeledSpan>,
    input: Option<Input>,
}

impl Shown {
    fn of(problem: &Problem, sources: &Sources) -> Shown {
        let mut shown = Shown {
            code: problem.code,
            message: escape_lines(&problem.message),
            help: problem.help.as_deref().map(escape_lines),
            labels: Vec::new(),
            input: None,
        };
        let mut notes: Vec<String> = Vec::new();
        let primary = problem.at.as_ref().map(|(span, _)| span.source);
        if let Some((span, label)) = &problem.at {
            let source = sources.get(span.source);
            let related = problem.related.iter().filter(|(other, _)| other.source == span.source);
            let places: Vec<usize> = std::iter::once(span)
                .chain(related.map(|(other, _)| other))
                .map(|span| span.range.start)
                .collect();
            let plain = Plain::of(&source.text, &places);
            let label_of = |span: &Span, label: &str| {
                let (start, end) = (plain.offset(span.range.start), plain.offset(span.range.end));
                (Some(escape(label)), (start, end.saturating_sub(start)))
            };
            let (text, range) = label_of(span, label);
            shown.labels.push(LabeledSpan::new_primary_with_span(text, range));
            for (span, label) in problem.related.iter().filter(|(span, _)| Some(span.source) == primary) {
                let (text, range) = label_of(span, label);
                shown.labels.push(LabeledSpan::new_with_span(text, range));
            }
            let column = position(source, span.range.start.min(source.text.len())).1 - 1;
            let text = NamedSource::new(escape(&source.name), plain.text).with_language("kdl");
            shown.input = Some(Input { text, column });
        }
        for (span, label) in problem.related.iter().filter(|(span, _)| Some(span.source) != primary) {
            notes.push(format!("{}: {}", escape(&sources.place(span)), escape(label)));
        }
        if !notes.is_empty() {
            let lines = shown.help.into_iter().chain(notes);
            shown.help = Some(lines.collect::<Vec<_>>().join("\n"));
        }
        shown
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Shown {}

impl Diagnostic for Shown {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.input.as_ref().map(|input| input as _)
    }
}

/// Line and column of an offset, both from 1; a column counts characters.
fn position(source: &Source, at: usize) -> (usize, usize) {
    let at = source.text.floor_char_boundary(at);
    let before = &source.text[..at];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

fn place(sources: &Sources, span: &Span, label: &str) -> Value {
    let source = sources.get(span.source);
    let (line, column) = position(source, span.range.start);
    json!({
        "file": source.name,
        "line": line,
        "column": column,
        "offset": span.range.start,
        "length": span.range.len(),
        "label": label,
    })
}

/// Renders a report as `{"problems": […]}`; JSON escapes control characters by itself.
pub fn json(report: &Report) -> Value {
    let one = |problem: &Problem| {
        let mut value = json!({ "code": problem.code, "message": problem.message });
        let fields = match &problem.at {
            Some((span, label)) => place(&report.sources, span, label),
            None => {
                json!({ "file": null, "line": null, "column": null, "offset": null, "length": null, "label": null })
            }
        };
        if let (Value::Object(value), Value::Object(fields)) = (&mut value, fields) {
            value.extend(fields);
            value.insert("help".into(), problem.help.clone().into());
            let related = problem.related.iter().map(|(span, label)| place(&report.sources, span, label));
            value.insert("related".into(), related.collect());
        }
        value
    };
    json!({ "problems": report.problems.iter().map(one).collect::<Vec<_>>() })
}

/// Renders a report as a SARIF 2.1.0 log.
pub fn sarif(report: &Report) -> Value {
    let location = |span: &Span, label: &str| {
        let source = report.sources.get(span.source);
        let (line, column) = position(source, span.range.start);
        let (end_line, end_column) = position(source, span.range.end);
        json!({
            "physicalLocation": {
                "artifactLocation": { "uri": uri(&source.name) },
                "region": {
                    "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column,
                },
            },
            "message": { "text": label },
        })
    };
    let one = |problem: &Problem| {
        let text = match &problem.help {
            Some(help) => format!("{}\n{help}", problem.message),
            None => problem.message.clone(),
        };
        let locations: Vec<Value> = problem.at.iter().map(|(span, label)| location(span, label)).collect();
        let related: Vec<Value> = problem.related.iter().map(|(span, label)| location(span, label)).collect();
        json!({
            "ruleId": problem.code,
            "level": "error",
            "message": { "text": text },
            "locations": locations,
            "relatedLocations": related,
        })
    };
    let mut used: Vec<&str> = report.problems.iter().map(|problem| problem.code).collect();
    used.sort_unstable();
    used.dedup();
    let rule = |code: &&str| {
        let meaning = codes::meaning(code).unwrap_or(code);
        json!({ "id": code, "shortDescription": { "text": meaning } })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "pier",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": used.iter().map(rule).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": report.problems.iter().map(one).collect::<Vec<_>>(),
        }],
    })
}

/// Percent-encodes what may not stand in the path of a URI.
fn uri(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { glyphs: Glyphs::Ascii, color: Color::Never, width: 80 };

    fn report() -> Report {
        let mut sources = Sources::default();
        let project = sources.add("pier.kdl", "network none\n// \u{1b}[31m é\nnetwork host\n");
        let user = sources.add("us\u{1b}er.kdl", "\nnetwork none\n");
        let at = |source, range| Span { source, range };
        let text = "network none\n// \u{1b}[31m é\n".len();
        let problem =
            Problem::new("config::duplicate", at(project, text..text + 7), "set again here", "given twice")
                .also(at(project, 0..7), "first set here")
                .also(at(user, 1..8), "and here")
                .help("join them");
        let nowhere = Problem::nowhere("config::unreadable", "cannot read `a\u{1b}b`");
        Report { sources, problems: vec![problem, nowhere] }
    }

    #[test]
    fn people_see_places_and_no_control_characters() {
        let text = human(&report(), PLAIN);
        assert!(!text.contains('\u{1b}'), "{text}");
        for part in [
            "config::duplicate",
            "given twice",
            "pier.kdl:3:1",
            "first set here",
            "set again here",
            "join them",
            "us\\u{1b}er.kdl:2: and here",
            "cannot read `a\\u{1b}b`",
            "\\u{1b}[31m",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let colored = human(&report(), Style { color: Color::Always, ..PLAIN });
        assert!(colored.contains('\u{1b}') && !colored.contains("\u{1b}[31m é"));
        let unicode = human(&report(), Style { glyphs: Glyphs::Unicode, ..PLAIN });
        assert!(unicode.contains('╭'));
    }

    #[test]
    fn json_has_every_field() {
        let value = json(&report());
        let first = &value["problems"][0];
        assert_eq!(first["file"], "pier.kdl");
        assert_eq!((&first["line"], &first["column"], &first["length"]), (&json!(3), &json!(1), &json!(7)));
        assert_eq!(first["related"][1]["line"], 2);
        assert_eq!(value["problems"][1]["file"], Value::Null);
        assert_eq!(first.as_object().unwrap().len(), 10);
    }

    #[test]
    fn sarif_names_rules_and_regions() {
        let value = sarif(&report());
        let run = &value["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"][0]["id"], "config::duplicate");
        let region = &run["results"][0]["locations"][0]["physicalLocation"]["region"];
        assert_eq!((&region["startLine"], &region["endColumn"]), (&json!(3), &json!(8)));
        let related =
            &run["results"][0]["relatedLocations"][1]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(related, "us%1Ber.kdl");
    }

    #[test]
    fn a_long_line_is_shown_around_its_place() {
        let mut report = Report::default();
        let text =
            format!("{}\nproject \"{}\" oops {}\n", "x".repeat(300), "é".repeat(9_000), "y".repeat(9_000));
        let start = text.find("oops").unwrap();
        let long = text.find("project").unwrap();
        let source = report.sources.add("pier.kdl", text.as_str());
        let at = |range| Span { source, range };
        let problem = Problem::new("config::extra-value", at(start..start + 4), "one too many", "too much");
        report.problems.push(problem.also(at(long..long + 7), "of this"));
        let shown = human(&report, PLAIN);
        assert!(shown.lines().all(|line| line.chars().count() < MOST_COLUMNS + 20), "{shown}");
        for part in ["pier.kdl:2:9012]", "é\" oops yyy", "...é", "y...", "xxx...", "one too many", "of this"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert_eq!(json(&report)["problems"][0]["column"], 9012);
    }

    #[test]
    fn the_end_of_a_long_line_and_a_place_across_it_are_shown() {
        for (range, part) in
            [(19_990..20_000, "xxxxxxxxxx\n"), (0..20_000, " 1 | xxx"), (0..20_001, "xxx...")]
        {
            let mut report = Report::default();
            let source = report.sources.add("x", format!("{}\nend\n", "x".repeat(20_000)));
            report.problems.push(Problem::new("config::syntax", Span { source, range }, "l", "m"));
            let shown = human(&report, PLAIN);
            assert!(shown.contains(part) && shown.len() < 2_000, "{part}: {shown}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_place_in_any_text_renders(text: String, start in 0_usize..50, length in 0_usize..50) {
            let mut report = Report::default();
            let source = report.sources.add("x", text.as_str());
            let range = start..start + length;
            report.problems.push(Problem::new("config::syntax", Span { source, range }, "l", "m"));
            let shown = human(&report, PLAIN);
            assert!(shown.contains("config::syntax"));
            assert!(!shown.chars().any(|c| is_unsafe_char(c) && c != '\n'));
            drop((json(&report), sarif(&report)));
        }
    }
}
