//! Reads and changes single settings of a file by the bytes they stand in; all other bytes stay.
//!
//! An edit gives a new text, which is parsed and checked before anyone sees it: findings that the old text did
//! not have refuse the edit.

use std::ops::Range;

use kdl::{KdlDocument, KdlEntry, KdlNode, KdlValue};

use super::check::{arguments, check, entry_range, name_range, value_range};
use super::path::{self, Part, Step, Target, literal, quote};
use super::schema::{ROOT, Repeat};
use super::tokens::{self, Kind, Token};
use super::{codes, syntax};
use crate::diag::{Problem, SourceId};
use crate::util::text::escape;

const INDENT: &str = "    ";

/// A value as a string, and the bytes that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub value: String,
    pub range: Range<usize>,
}

/// Returns the values at `path` in the order of the text; none where nothing is set.
///
/// # Errors
/// The text does not parse, or the path is none.
pub fn get(source: SourceId, text: &str, path: &str) -> Result<Vec<Found>, Vec<Problem>> {
    let (document, target) = open(source, text, path)?;
    let shown = |entry: &KdlEntry| {
        let value = match entry.value() {
            KdlValue::String(string) => string.clone(),
            value => value.to_string().trim_start_matches('#').to_owned(),
        };
        Found { value, range: value_range(entry) }
    };
    let found = find(&document, &target.steps);
    Ok(match &target.part {
        Part::Property(name) => {
            found.nodes.iter().filter_map(|node| node.entry(name.as_str())).map(shown).collect()
        }
        Part::Value => found.values().map(shown).collect(),
    })
}

/// Sets the value at `path`: replaces a single value, adds to a list that is not indexed, makes what is missing.
///
/// # Errors
/// The text does not parse, the path is none, or the result would not be valid.
pub fn set(source: SourceId, text: &str, path: &str, value: &str) -> Result<String, Vec<Problem>> {
    let (document, target) = open(source, text, path)?;
    let Some(field) = target.field else {
        return Err(vec![refused(format!("`{}` is a block and has no value", escape(path)))]);
    };
    let value = literal(field.kind, value);
    let found = find(&document, &target.steps);
    let (at, with) = match (&target.part, found.nodes.last()) {
        (Part::Property(name), Some(node)) => match node.entry(name.as_str()) {
            Some(entry) => (value_range(entry), value),
            None => insert_entry(source, text, node, &format!("{name}={value}")),
        },
        (Part::Value, Some(node)) => {
            let row = target.steps.last().map(|step| step.row);
            let list = row.is_some_and(|row| row.rest.is_some() && row.arguments.is_empty());
            let many = row.is_some_and(|row| row.repeat == Repeat::Many);
            match (found.index.map(|index| found.values().nth(index)), found.values().next()) {
                (Some(None), _) => {
                    return Err(vec![refused(format!("`{}` has no such value", escape(path)))]);
                }
                (None, Some(_)) if list => insert_entry(source, text, node, &value),
                (None, Some(_)) if many => missing(source, text, &document, &target, &value),
                (Some(Some(entry)), _) | (None, Some(entry)) => (value_range(entry), value),
                (None, None) => insert_entry(source, text, node, &value),
            }
        }
        (_, None) if found.index.is_some() => {
            return Err(vec![refused(format!("`{}` has no such value", escape(path)))]);
        }
        (_, None) => missing(source, text, &document, &target, &value),
    };
    let mut new = text.to_owned();
    new.replace_range(at, &with);
    verify(source, text, &new)?;
    Ok(new)
}

/// Removes what is at `path`: a property, one value of a list, or whole nodes with their lines.
///
/// # Errors
/// The text does not parse, the path is none, nothing is there, or the result would not be valid.
pub fn unset(source: SourceId, text: &str, path: &str) -> Result<String, Vec<Problem>> {
    let (document, target) = open(source, text, path)?;
    let found = find(&document, &target.steps);
    let mut ranges: Vec<Range<usize>> = match (&target.part, found.index) {
        (Part::Property(name), _) => {
            let named = found.nodes.iter().filter_map(|node| Some((*node, node.entry(name.as_str())?)));
            named
                .map(|(node, entry)| match node.entries() {
                    // `set A=b` without its last variable would say nothing.
                    [_] if target.steps.last().is_some_and(|step| step.row.any_property.is_some()) => {
                        whole(source, text, node)
                    }
                    _ => with_space(text, &entry_range(entry)),
                })
                .collect()
        }
        (Part::Value, Some(index)) => found
            .nodes
            .iter()
            .flat_map(|node| arguments(node).map(move |entry| (*node, entry)))
            .nth(index)
            .map(|(node, entry)| match arguments(node).count() {
                1 => whole(source, text, node),
                _ => with_space(text, &entry_range(entry)),
            })
            .into_iter()
            .collect(),
        (Part::Value, None) => found.nodes.iter().map(|node| whole(source, text, node)).collect(),
    };
    if ranges.is_empty() {
        return Err(vec![refused(format!("`{}` is not set here", escape(path)))]);
    }
    ranges.sort_by_key(|range| range.start);
    let mut new = text.to_owned();
    for range in ranges.into_iter().rev() {
        new.replace_range(range, "");
    }
    verify(source, text, &new)?;
    Ok(new)
}

fn refused(message: String) -> Problem {
    Problem::nowhere(codes::EDIT_REFUSED, message)
}

fn open(source: SourceId, text: &str, path: &str) -> Result<(KdlDocument, Target), Vec<Problem>> {
    let document = syntax::parse(source, text)?;
    let target = path::parse(path).map_err(|(message, help)| {
        let mut problem = Problem::nowhere(codes::BAD_PATH, message);
        problem.help = help;
        vec![problem]
    })?;
    Ok((document, target))
}

/// Refuses a new text with findings that the old one had not.
fn verify(source: SourceId, old: &str, new: &str) -> Result<(), Vec<Problem>> {
    let findings = |text: &str| match syntax::parse(source, text) {
        Ok(document) => check(source, &document, ROOT, "a configuration"),
        Err(problems) => problems,
    };
    let before: Vec<(&str, String)> = findings(old).into_iter().map(|one| (one.code, one.message)).collect();
    let fresh: Vec<Problem> = findings(new)
        .into_iter()
        .filter(|problem| {
            !before.iter().any(|(code, message)| (problem.code, &problem.message) == (*code, message))
        })
        // Places of a text that is never written would mislead.
        .map(|problem| Problem { at: None, related: Vec::new(), ..problem })
        .collect();
    if fresh.is_empty() { Ok(()) } else { Err(fresh) }
}

/// The nodes at the end of a path; `index` counts their values, or the nodes where each has a value of its own.
struct Nodes<'a> {
    nodes: Vec<&'a KdlNode>,
    index: Option<usize>,
    /// Only the first argument of a node is its value; the rest of a list are all.
    first_only: bool,
}

impl<'a> Nodes<'a> {
    fn values(&self) -> impl Iterator<Item = &'a KdlEntry> {
        let take = if self.first_only { 1 } else { usize::MAX };
        self.nodes.clone().into_iter().flat_map(move |node| arguments(node).take(take))
    }
}

fn matches(node: &KdlNode, step: &Step) -> bool {
    if node.name().value() != step.row.name {
        return false;
    }
    let Some(key) = &step.key else { return true };
    match arguments(node).next().map(KdlEntry::value) {
        Some(KdlValue::String(string)) => string == key,
        Some(value) => value.to_string() == *key,
        None => false,
    }
}

fn find<'a>(document: &'a KdlDocument, steps: &[Step]) -> Nodes<'a> {
    let mut nodes: Vec<&KdlNode> = Vec::new();
    let mut level: Vec<&KdlDocument> = vec![document];
    let mut index = None;
    for (at, step) in steps.iter().enumerate() {
        let mut step = step.clone();
        let counted = step.row.repeat == Repeat::Many || step.row.rest.is_some();
        if at + 1 == steps.len()
            && counted
            && let Some(number) = step.key.as_deref().and_then(|key| key.parse().ok())
        {
            index = Some(number);
            step.key = None;
        }
        let all = level.iter().flat_map(|document| document.nodes());
        nodes = all.filter(|node| matches(node, &step)).collect();
        level = nodes.iter().filter_map(|node| node.children()).collect();
    }
    let first_only = steps.last().is_some_and(|step| !step.row.arguments.is_empty());
    Nodes { nodes, index, first_only }
}

/// Where a node is among the tokens.
struct Layout {
    /// End of its last value, before its block.
    values: usize,
    /// Its braces.
    block: Option<(Range<usize>, Range<usize>)>,
}

fn layout(source: SourceId, text: &str, node: &KdlNode) -> Layout {
    let split = tokens::split(source, text).tokens;
    let start = name_range(node).start;
    let mut values = name_range(node).end;
    let mut dropped = false;
    let mut at = split.partition_point(|token| token.range.start < start);
    while let Some(token) = split.get(at) {
        match token.kind {
            Kind::Newline if dropped => {}
            Kind::Newline | Kind::Semicolon | Kind::Close => break,
            Kind::LineComment if !dropped => break,
            Kind::Space | Kind::BlockComment | Kind::Continuation | Kind::LineComment => {}
            Kind::Slashdash => dropped = true,
            Kind::Open => {
                let close = closing(&split, at);
                if !dropped {
                    let end = split.get(close).map_or(text.len()..text.len(), |token| token.range.clone());
                    return Layout { values, block: Some((token.range.clone(), end)) };
                }
                dropped = false;
                at = close;
            }
            // A dropped value stays dropped: what follows must not join it.
            _ => {
                values = token.range.end;
                dropped = false;
            }
        }
        at += 1;
    }
    Layout { values, block: None }
}

fn closing(split: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in split.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return index;
        }
    }
    split.len()
}

fn insert_entry(source: SourceId, text: &str, node: &KdlNode, entry: &str) -> (Range<usize>, String) {
    let at = layout(source, text, node).values;
    (at..at, format!(" {entry}"))
}

/// Returns the blanks that the line of `at` starts with.
fn indent_of(text: &str, at: usize) -> &str {
    let line = &text[text[..at].rfind('\n').map_or(0, |newline| newline + 1)..at];
    &line[..line.find(|c| c != ' ' && c != '\t').unwrap_or(line.len())]
}

/// Makes the steps of a path that are not there, inside of the deepest one that is.
fn missing(
    source: SourceId,
    text: &str,
    document: &KdlDocument,
    target: &Target,
    value: &str,
) -> (Range<usize>, String) {
    let there = (0..target.steps.len()).rev().find_map(|count| {
        let found = find(document, &target.steps[..count]);
        found.nodes.last().map(|node| (count, *node))
    });
    let (count, parent) = there.map_or((0, None), |(count, node)| (count, Some(node)));
    let steps = &target.steps[count..];
    let line_break = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let lines = |indent: &str| {
        let mut out = String::new();
        for (depth, step) in steps.iter().enumerate() {
            out.push_str(&format!("{indent}{}{}", INDENT.repeat(depth), step.row.name));
            let last = depth + 1 == steps.len();
            if let Some(key) = &step.key {
                let kind = step.row.arguments.first().map_or(super::values::Type::Text, |field| field.kind);
                out.push_str(&format!(" {}", literal(kind, key)));
            }
            match &target.part {
                _ if !last => out.push_str(" {"),
                Part::Value => out.push_str(&format!(" {value}")),
                Part::Property(name) => out.push_str(&format!(" {}={value}", property_name(name))),
            }
            out.push_str(line_break);
        }
        for depth in (0..steps.len().saturating_sub(1)).rev() {
            out.push_str(&format!("{indent}{}}}{line_break}", INDENT.repeat(depth)));
        }
        out
    };
    let Some(parent) = parent else {
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { line_break };
        return (text.len()..text.len(), format!("{gap}{}", lines("")));
    };
    let layout = layout(source, text, parent);
    let outer = indent_of(text, name_range(parent).start);
    let inner = format!("{outer}{INDENT}");
    let Some((open, close)) = layout.block else {
        let block = format!(" {{{line_break}{}{outer}}}", lines(&inner));
        return (layout.values..layout.values, block);
    };
    let line = text[..close.start].rfind('\n').map_or(0, |newline| newline + 1);
    let children = parent.children().map_or(&[][..], KdlDocument::nodes);
    if line >= open.end && text[line..close.start].chars().all(|c| c == ' ' || c == '\t') {
        let first = children.first().map(|child| name_range(child).start);
        // The indentation of its siblings, where they stand on lines of their own.
        let sibling = first
            .map(|start| indent_of(text, start))
            .filter(|_| first.is_some_and(|start| text[open.end..start].contains('\n')));
        return (line..line, lines(sibling.unwrap_or(&inner)));
    }
    let before = text[..close.start].trim_end_matches([' ', '\t']).len().max(open.end);
    let one_line = lines("").lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let separator = if children.is_empty() || text[..before].ends_with(';') { " " } else { "; " };
    (before..close.start, format!("{separator}{one_line} "))
}

fn property_name(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        && !matches!(name, "true" | "false" | "null" | "inf" | "nan");
    if plain { name.to_owned() } else { quote(name) }
}

/// A value and the blanks before it.
fn with_space(text: &str, range: &Range<usize>) -> Range<usize> {
    text[..range.start].trim_end_matches([' ', '\t']).len()..range.end
}

/// A node with its lines, or with its `;` where it shares a line.
fn whole(source: SourceId, text: &str, node: &KdlNode) -> Range<usize> {
    let layout = layout(source, text, node);
    let start = name_range(node).start;
    let end = layout.block.map_or(layout.values, |(_, close)| close.end);
    let line = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let tail = &text[end..];
    let rest = tail.find('\n').map_or(tail, |newline| &tail[..newline]);
    let after = rest.trim_start_matches([' ', '\t', ';']);
    // A comment behind the node speaks of the node.
    let alone = text[line..start].chars().all(|c| c == ' ' || c == '\t')
        && (after.trim_end().is_empty() || after.starts_with("//"));
    if alone {
        return line..(end + rest.len() + 1).min(text.len());
    }
    if tail.trim_start_matches([' ', '\t']).starts_with(';') {
        let blanks = tail.len() - tail.trim_start_matches([' ', '\t']).len();
        let next = &tail[blanks + 1..];
        let more = next.len() - next.trim_start_matches([' ', '\t']).len();
        return start..end + blanks + 1 + more;
    }
    let before = text[..start].trim_end_matches([' ', '\t']);
    match before.strip_suffix(';') {
        Some(before) => before.len()..end,
        None => start..end,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(text: &str, path: &str) -> Vec<String> {
        get(S, text, path).unwrap().into_iter().map(|found| found.value).collect()
    }

    const S: SourceId = SourceId(0);

    #[test]
    fn values_are_read() {
        let text = "limits { memory \"8GiB\" required=#true; pids 99 }\nnetwork none {\n allow a.org b.org port=22\n allow c.org\n}\n\
                    agent x { model m }\nagent y { model n }\nmounts { ro a; ro b at=\"/b\" }";
        for (path, expected) in [
            ("limits.memory", &["8GiB"][..]),
            ("limits.memory.required", &["true"]),
            ("limits.pids", &["99"]),
            ("limits.wall", &[]),
            ("network", &["none"]),
            ("network.allow", &["a.org", "b.org", "c.org"]),
            ("network.allow.port", &["22"]),
            ("agent[y].model", &["n"]),
            ("mounts.ro", &["a", "b"]),
        ] {
            assert_eq!(values(text, path), expected, "{path}");
        }
    }

    #[test]
    fn a_change_keeps_all_other_bytes() {
        for (text, path, value, expected) in [
            ("// h\nnetwork   none // t\n", "network", "host", "// h\nnetwork   host // t\n"),
            ("project a key = b", "project.key", "c", "project a key = c"),
            ("project a // c", "project.key", "c", "project a key=c // c"),
            ("", "limits.memory", "1GiB", "limits {\n    memory \"1GiB\"\n}\n"),
            ("network none", "limits.pids", "99", "network none\nlimits {\n    pids 99\n}\n"),
            (
                "limits {\n  pids 99 // x\n}\n",
                "limits.wall",
                "2h",
                "limits {\n  pids 99 // x\n  wall \"2h\"\n}\n",
            ),
            ("limits { pids 99 }", "limits.wall", "2h", "limits { pids 99; wall \"2h\" }"),
            ("limits {}", "limits.wall", "2h", "limits { wall \"2h\" }"),
            ("limits {\n}", "limits.wall", "2h", "limits {\n    wall \"2h\"\n}"),
            ("agent x // c\n", "agent[x].model", "m", "agent x {\n    model \"m\"\n} // c\n"),
            ("agent x /-{ a } // c\n", "agent[x].default", "true", "agent x default=#true /-{ a } // c\n"),
            (
                "agent x {\n    model a\n}",
                "agent[y].model",
                "m",
                "agent x {\n    model a\n}\nagent y {\n    model \"m\"\n}\n",
            ),
            ("env {\n\tpass A // c\n}", "env.pass", "B", "env {\n\tpass A \"B\" // c\n}"),
            ("env { pass A B }", "env.pass[1]", "C", "env { pass A \"C\" }"),
            ("env { set A=b }", "env.set.A", "c d", "env { set A=\"c d\" }"),
            ("mounts { ro a }", "mounts.ro", "~/b", "mounts { ro a; ro \"~/b\" }"),
            (
                "a\r\nnetwork none\r\n",
                "limits.pids",
                "99",
                "a\r\nnetwork none\r\nlimits {\r\n    pids 99\r\n}\r\n",
            ),
        ] {
            assert_eq!(set(S, text, path, value).unwrap(), expected, "{text:?} {path}");
        }
    }

    #[test]
    fn a_removal_takes_the_line_or_the_word() {
        for (text, path, expected) in [
            (
                "a\nlimits {\n  pids 99 // x\n  wall \"2h\"\n}\n",
                "limits.pids",
                "a\nlimits {\n  wall \"2h\"\n}\n",
            ),
            ("limits { pids 99; wall \"2h\" }", "limits.pids", "limits { wall \"2h\" }"),
            ("limits { pids 99; wall \"2h\" }", "limits.wall", "limits { pids 99 }"),
            ("project a key=b // c\n", "project.key", "project a // c\n"),
            ("env { pass A B C }", "env.pass[1]", "env { pass A C }"),
            ("env {\n  pass A\n  pass B\n}", "env.pass[1]", "env {\n  pass A\n}"),
            ("env { set A=b B=c }", "env.set.A", "env { set B=c }"),
            ("network none {\n}\nproject x", "network", "project x"),
            ("agent x\nagent y", "agent[x]", "agent y"),
        ] {
            assert_eq!(unset(S, text, path).unwrap(), expected, "{text:?} {path}");
        }
    }

    #[test]
    fn an_edit_that_breaks_the_file_is_refused() {
        let text = "limits { pids 99 }\nproject a";
        for (path, value, code) in [
            ("limits.pids", "many", codes::TYPE),
            ("limits.pids", "1", codes::BAD_VALUE),
            ("limits", "1", codes::EDIT_REFUSED),
            ("limits.pid", "1", codes::BAD_PATH),
            ("runtime.image", "x", codes::MISSING_VALUE),
            ("env.pass[3]", "X", codes::EDIT_REFUSED),
        ] {
            assert_eq!(set(S, text, path, value).unwrap_err()[0].code, code, "{path}");
        }
        assert_eq!(unset(S, text, "limits.wall").unwrap_err()[0].code, codes::EDIT_REFUSED);
        // What was wrong before does not stand in the way.
        assert!(set(S, "xyzzy\nproject a", "project", "b").is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn set_then_get_gives_the_value_and_keeps_the_rest(
            noise in super::super::format::tests::documents(),
            value in "[ -~é\n]{1,20}",
        ) {
            let text = format!("{noise}\nproject  old key = \"k\" // c\n");
            if syntax::parse(S, &text).is_ok() && get(S, &text, "project").is_ok() && values(&text, "project") == ["old"] {
                let new = set(S, &text, "project", &value).unwrap();
                prop_assert_eq!(values(&new, "project"), [value]);
                let head = format!("{noise}\nproject  ");
                prop_assert!(new.starts_with(&head));
                prop_assert!(new.ends_with(" key = \"k\" // c\n"));
                let added = set(S, &text, "limits.pids", "99").unwrap();
                prop_assert!(added.starts_with(&text));
            }
        }
    }
}
