//! Reports as text for people (miette), as JSON, and as SARIF 2.1.0 for code hosts.
//!
//! Texts and names of files can be hostile: nothing reaches a terminal before its control characters are
//! written out.

use std::fmt;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
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

/// A text without control characters, and where its bytes have gone.
struct Plain {
    text: String,
    /// `(offset before, offset after)` behind each replaced character.
    moved: Vec<(usize, usize)>,
}

impl Plain {
    fn of(text: &str) -> Plain {
        let mut plain = Plain { text: String::with_capacity(text.len()), moved: Vec::new() };
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let line_break = c == '\r' && chars.peek().is_some_and(|(_, next)| *next == '\n');
            if !is_unsafe_char(c) || c == '\n' || c == '\t' || line_break {
                plain.text.push(c);
                continue;
            }
            plain.text.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
            plain.moved.push((at + c.len_utf8(), plain.text.len()));
        }
        plain
    }

    /// Maps an offset at the border of a character.
    fn offset(&self, at: usize) -> usize {
        let index = self.moved.partition_point(|(before, _)| *before <= at);
        let moved = index.checked_sub(1).map_or(at, |index| self.moved[index].1 + at - self.moved[index].0);
        moved.min(self.text.len())
    }
}

/// A problem in the shape that miette prints.
struct Shown {
    code: &'static str,
    message: String,
    help: Option<String>,
    labels: Vec<LabeledSpan>,
    input: Option<NamedSource<String>>,
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
            let plain = Plain::of(&source.text);
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
            shown.input = Some(NamedSource::new(escape(&source.name), plain.text).with_language("kdl"));
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
        let meaning =
            codes::ALL.iter().find(|(known, _)| known == code).map_or(*code, |(_, meaning)| meaning);
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
