//! The path language of edits and flags: `agent[claude-code].model`, `network.allow[2]`, `limits.memory`.
//!
//! A name in brackets is the first argument of a node; a number counts the values of a list from 0.

use super::schema::{Field, Node, ROOT};
use super::values::{Type, is_variable};
use crate::util::text::{escape, nearest};

/// One node on the way.
#[derive(Clone, Debug)]
pub struct Step {
    pub row: &'static Node,
    pub key: Option<String>,
}

/// What of the last node is meant.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// The first argument, or the values of a list.
    Value,
    Property(String),
}

/// A path that the table knows.
#[derive(Clone, Debug)]
pub struct Target {
    /// At least one.
    pub steps: Vec<Step>,
    pub part: Part,
    /// The type of what is set; `None` for a node that has only a block.
    pub field: Option<Field>,
}

/// Why a path is none: the message and the help of a problem.
type Wrong = (String, Option<String>);

/// Parses a path.
///
/// # Errors
/// The message and the help of a problem.
pub fn parse(path: &str) -> Result<Target, Wrong> {
    let mut steps: Vec<Step> = Vec::new();
    let mut table: &'static [Node] = ROOT;
    let segments = split(path)?;
    let last = segments.len() - 1;
    for (index, (name, key)) in segments.into_iter().enumerate() {
        if let Some(row) = table.iter().find(|row| row.name == name) {
            table = row.children;
            steps.push(Step { row, key });
            continue;
        }
        let parent = steps.last().map(|step| step.row);
        if index == last
            && key.is_none()
            && let Some(parent) = parent
        {
            let known = parent.properties.iter().find(|field| field.name == name).copied();
            if let Some(field) = known.or(parent.any_property.filter(|_| is_variable(&name))) {
                return Ok(Target { steps, part: Part::Property(name), field: Some(field) });
            }
        }
        let properties = parent.map_or(&[][..], |row| row.properties).iter().map(|field| field.name);
        let names: Vec<&str> = table.iter().map(|row| row.name).chain(properties).collect();
        let help = match nearest(&name, names.iter().copied()) {
            Some(known) => Some(format!("did you mean `{known}`?")),
            None if names.is_empty() => None,
            None => Some(format!("known here: `{}`", names.join("`, `"))),
        };
        return Err((format!("`{}` names no setting: there is no `{}`", escape(path), escape(&name)), help));
    }
    let field = steps.last().and_then(|step| step.row.arguments.first().copied().or(step.row.rest));
    Ok(Target { steps, part: Part::Value, field })
}

fn split(path: &str) -> Result<Vec<(String, Option<String>)>, Wrong> {
    let wrong = || {
        let help = "write names with dots between, such as `limits.memory` or `agent[claude-code].model`";
        (format!("`{}` is not the path of a setting", escape(path)), Some(help.to_owned()))
    };
    let mut segments = Vec::new();
    let mut rest = path;
    loop {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        if name.is_empty() {
            return Err(wrong());
        }
        let (key, tail) = match tail.strip_prefix('[') {
            Some(inner) => inner.split_once(']').map(|(key, tail)| (Some(key), tail)).ok_or_else(wrong)?,
            None => (None, tail),
        };
        segments.push((name.to_owned(), key.map(|key| key.trim_matches('"').to_owned())));
        match tail.strip_prefix('.') {
            Some(next) => rest = next,
            None if tail.is_empty() => return Ok(segments),
            None => return Err(wrong()),
        }
    }
}

/// Writes `text` as a value of the type: numbers and booleans bare, choices and names bare, the rest quoted.
pub fn literal(kind: Type, text: &str) -> String {
    let number = || text.strip_prefix('-').unwrap_or(text).starts_with(|c: char| c.is_ascii_digit());
    match kind {
        Type::Bool | Type::Scalar if matches!(text, "true" | "#true") => return "#true".to_owned(),
        Type::Bool | Type::Scalar if matches!(text, "false" | "#false") => return "#false".to_owned(),
        Type::Integer { .. } | Type::Amount | Type::UpTo(_) | Type::Scalar
            if number() && text.parse::<f64>().is_ok() =>
        {
            return text.to_owned();
        }
        Type::OneOf(_) | Type::Name if is_bare(text) => return text.to_owned(),
        _ => {}
    }
    quote(text)
}

/// Words that mean themselves without quotes in every version of KDL.
fn is_bare(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !matches!(text, "true" | "false" | "null" | "inf" | "nan")
}

/// Writes `text` as a quoted string on one line.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if crate::util::text::is_unsafe_char(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_by_the_table() {
        for (path, row, part) in [
            ("network", "network", Part::Value),
            ("limits.memory", "memory", Part::Value),
            ("limits.memory.required", "memory", Part::Property("required".into())),
            ("workspace.at", "workspace", Part::Property("at".into())),
            ("env.set.RUST_LOG", "set", Part::Property("RUST_LOG".into())),
            ("agent[claude-code].model", "model", Part::Value),
            ("agent[codex].settings.verbosity", "settings", Part::Property("verbosity".into())),
            ("port[127.0.0.1:80].to", "port", Part::Property("to".into())),
            ("profile[ci].network.allow[2]", "allow", Part::Value),
        ] {
            let target = parse(path).unwrap();
            assert_eq!((target.steps.last().unwrap().row.name, target.part), (row, part), "{path}");
        }
        for (path, says) in [
            ("", "is not the path"),
            ("a..b", "is not the path"),
            ("limits.", "is not the path"),
            ("limits.memroy", "there is no `memroy`"),
            ("agent[x", "is not the path"),
            ("env.set.A-B", "there is no `A-B`"),
        ] {
            let (message, _) = parse(path).unwrap_err();
            assert!(message.contains(says), "{path}: {message}");
        }
        assert_eq!(parse("limits.memroy").unwrap_err().1.unwrap(), "did you mean `memory`?");
    }

    proptest::proptest! {
        #[test]
        fn a_quoted_value_reads_back(text: String) {
            let document = crate::config::syntax::parse(crate::diag::SourceId(0), &format!("a {}", quote(&text))).unwrap();
            assert_eq!(document.nodes()[0].entries()[0].value().as_string(), Some(text.as_str()));
        }
    }
}
