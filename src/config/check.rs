//! Compares a document with the table: every finding names the place, the reason and the nearest valid name.

use std::collections::HashMap;
use std::ops::Range;

use kdl::{KdlDocument, KdlEntry, KdlNode, KdlValue};

use super::codes;
use super::schema::{Field, Need, Node, Repeat};
use super::values::{Type, describe, is_host, is_variable, range_bits};
use crate::diag::{Problem, SourceId, Span};
use crate::util::text::{escape, nearest};

/// Returns everything in `document` that `table` does not allow; `place` is what its nodes are in.
pub fn check(source: SourceId, document: &KdlDocument, table: &'static [Node], place: &str) -> Vec<Problem> {
    let mut checker = Checker { source, problems: Vec::new() };
    checker.block(document, table, place, None);
    checker.problems
}

/// The bytes of a node's name.
pub fn name_range(node: &KdlNode) -> Range<usize> {
    let span = node.name().span();
    span.offset()..span.offset() + span.len()
}

/// The bytes of an entry, name and `=` included.
pub fn entry_range(entry: &KdlEntry) -> Range<usize> {
    let span = entry.span();
    span.offset()..span.offset() + span.len()
}

/// The bytes of an entry's value alone.
pub fn value_range(entry: &KdlEntry) -> Range<usize> {
    let whole = entry_range(entry);
    // The parser keeps no span for the value of a property; it is the end of the entry.
    let length = entry.format().map_or(whole.len(), |format| format.value_repr.len());
    whole.end.saturating_sub(length).max(whole.start)..whole.end
}

/// Returns the arguments of a node, without its properties.
pub fn arguments(node: &KdlNode) -> impl Iterator<Item = &KdlEntry> {
    node.entries().iter().filter(|entry| entry.name().is_none())
}

struct Checker {
    source: SourceId,
    problems: Vec<Problem>,
}

impl Checker {
    fn span(&self, range: Range<usize>) -> Span {
        Span { source: self.source, range }
    }

    fn block(&mut self, document: &KdlDocument, table: &'static [Node], place: &str, parent: Option<&str>) {
        let mut seen: HashMap<(&str, Option<&str>), Range<usize>> = HashMap::new();
        for node in document.nodes() {
            let name = node.name().value();
            let Some(row) = table.iter().find(|row| row.name == name) else {
                self.unknown(node, table, place);
                continue;
            };
            if let (Some(parent), [_, ..]) = (parent, row.only_in)
                && !row.only_in.contains(&parent)
            {
                let message = format!("`{name}` means nothing with `{parent}`");
                let span = self.span(name_range(node));
                let help = format!("it belongs to {place} of kind `{}`", row.only_in.join("` or `"));
                self.problems
                    .push(Problem::new(codes::UNKNOWN_NODE, span, "not used here", message).help(help));
            }
            let key = arguments(node).next().and_then(|entry| entry.value().as_string());
            let key = if row.repeat == Repeat::ByName { key } else { None };
            if row.repeat != Repeat::Many {
                let shown =
                    key.map_or_else(|| format!("`{name}`"), |key| format!("`{name} {}`", escape(key)));
                let range = name_range(node);
                match seen.get(&(row.name, key)) {
                    Some(first) => {
                        let message = format!("{shown} is given twice in {place}");
                        let problem =
                            Problem::new(codes::DUPLICATE, self.span(range), "set again here", message)
                                .also(self.span(first.clone()), "first set here")
                                .help("join the two into one");
                        self.problems.push(problem);
                    }
                    None => drop(seen.insert((row.name, key), range)),
                }
            }
            self.node(node, row);
        }
    }

    fn unknown(&mut self, node: &KdlNode, table: &'static [Node], place: &str) {
        let name = node.name().value();
        let help = match nearest(name, table.iter().map(|row| row.name)) {
            Some(known) => format!("did you mean `{known}`?"),
            None if table.is_empty() => "remove the block".to_owned(),
            None => {
                let names: Vec<String> = table.iter().map(|row| format!("`{}`", row.name)).collect();
                format!("known here: {}", names.join(", "))
            }
        };
        let message = if table.is_empty() {
            format!("{place} takes no settings in a block, so not `{}`", escape(name))
        } else {
            format!("there is no setting `{}` in {place}", escape(name))
        };
        let span = self.span(name_range(node));
        self.problems
            .push(Problem::new(codes::UNKNOWN_NODE, span, "not a known setting", message).help(help));
    }

    fn annotation(&mut self, range: Range<usize>) {
        let message = "values here carry no type annotations";
        let problem = Problem::new(codes::TYPE_ANNOTATION, self.span(range), "a type annotation", message);
        self.problems.push(problem.help("remove the parentheses and what is in them"));
    }

    fn node(&mut self, node: &KdlNode, row: &'static Node) {
        if node.ty().is_some() {
            self.annotation(name_range(node));
        }
        let mut position = 0;
        let mut seen: HashMap<&str, Range<usize>> = HashMap::new();
        for entry in node.entries() {
            if entry.ty().is_some() {
                self.annotation(entry_range(entry));
            }
            if let Some(key) = entry.name() {
                let name = key.value();
                let range = entry_range(entry);
                if let Some(first) = seen.insert(name, range.clone()) {
                    let message = format!("`{}` is given twice", escape(name));
                    let span = self.span(range);
                    let problem = Problem::new(codes::DUPLICATE, span, "set again here", message);
                    self.problems.push(problem.also(self.span(first), "first set here"));
                }
                self.property(entry, name, row);
            } else {
                match row.arguments.get(position).or(row.rest.as_ref()) {
                    Some(field) => {
                        self.value(entry, field, row, &format!("the {} of `{}`", field.name, row.name));
                    }
                    None => self.extra(entry, row),
                }
                position += 1;
            }
        }
        self.missing(node, row, position, &seen);
        let kind = arguments(node).next().and_then(|entry| entry.value().as_string());
        if let Some(children) = node.children() {
            self.block(children, row.children, &format!("`{}`", row.name), kind.or(Some("")));
        }
    }

    fn missing(
        &mut self,
        node: &KdlNode,
        row: &'static Node,
        given: usize,
        seen: &HashMap<&str, Range<usize>>,
    ) {
        let required = |field: &&Field| field.need == Need::Required;
        let mut lacks: Vec<String> = Vec::new();
        let arguments = row.arguments.iter().skip(given).filter(required);
        lacks.extend(arguments.map(|field| format!("its {}", field.name)));
        if given == 0 && row.arguments.is_empty() {
            lacks.extend(row.rest.iter().filter(required).map(|field| format!("a {}", field.name)));
        }
        let properties =
            row.properties.iter().filter(required).filter(|field| !seen.contains_key(field.name));
        lacks.extend(properties.map(|field| format!("`{}=`", field.name)));
        if row.any_property.is_some() && seen.is_empty() {
            lacks.push("a `NAME=\"value\"`".to_owned());
        }
        if lacks.is_empty() {
            return;
        }
        let message = format!("`{}` needs {}", row.name, lacks.join(" and "));
        let span = self.span(name_range(node));
        let mut problem = Problem::new(codes::MISSING_VALUE, span, "incomplete", message);
        let mut fields = row.arguments.iter().chain(&row.rest).skip(given);
        if let Some(field) = fields.next().filter(|field| field.need == Need::Required) {
            problem = problem.help(format!("the {} is {}", field.name, field.kind.expected()));
        }
        self.problems.push(problem);
    }

    fn extra(&mut self, entry: &KdlEntry, row: &'static Node) {
        let takes = match row.arguments.len() {
            0 => "no argument".to_owned(),
            1 => "one argument".to_owned(),
            count => format!("{count} arguments"),
        };
        let message = format!("`{}` takes {takes}", row.name);
        let mut problem =
            Problem::new(codes::EXTRA_VALUE, self.span(entry_range(entry)), "one too many", message);
        if let Some(word) = entry.value().as_string() {
            let names = row.children.iter().map(|child| child.name);
            if let Some(child) = nearest(word, names) {
                problem =
                    problem.help(format!("`{child}` goes into a block: `{} {{ {child} … }}`", row.name));
            } else if let Some(field) = row.properties.first() {
                problem = problem.help(format!("did you mean `{}=\"{}\"`?", field.name, escape(word)));
            }
        }
        self.problems.push(problem);
    }

    fn property(&mut self, entry: &KdlEntry, name: &str, row: &'static Node) {
        if let Some(field) = row.properties.iter().find(|field| field.name == name) {
            return self.value(entry, field, row, &format!("`{name}`"));
        }
        if let Some(field) = &row.any_property {
            if !is_variable(name) {
                let message = format!("`{}` is not the name of a variable", escape(name));
                let span = self.span(entry_range(entry));
                let help = "a name has letters, digits and `_`, and no digit first";
                self.problems.push(Problem::new(codes::BAD_VALUE, span, "not a name", message).help(help));
            }
            // An empty variable is a value like any other.
            let is_text = matches!(entry.value(), KdlValue::String(value) if !value.contains('\0'));
            if !is_text && !field.kind.accepts(entry.value()) {
                self.wrong(entry, field, row, &format!("`{}`", escape(name)));
            }
            return;
        }
        let message = format!("`{}` has no property `{}`", row.name, escape(name));
        let span = self.span(entry_range(entry));
        let mut problem = Problem::new(codes::UNKNOWN_PROPERTY, span, "not a known property", message);
        let names = row.properties.iter().map(|field| field.name);
        if let Some(known) = nearest(name, names.clone()) {
            problem = problem.help(format!("did you mean `{known}=`?"));
        } else if row.children.iter().any(|child| child.name == name) {
            problem = problem.help(format!("it goes into a block: `{} {{ {name} … }}`", row.name));
        } else if !row.properties.is_empty() {
            let names: Vec<String> = names.map(|name| format!("`{name}=`")).collect();
            problem = problem.help(format!("known here: {}", names.join(", ")));
        }
        self.problems.push(problem);
    }

    fn value(&mut self, entry: &KdlEntry, field: &Field, row: &Node, what: &str) {
        if !field.kind.accepts(entry.value()) {
            self.wrong(entry, field, row, what);
        }
    }

    fn wrong(&mut self, entry: &KdlEntry, field: &Field, row: &Node, what: &str) {
        let value = entry.value();
        let right_type = matches!(value, KdlValue::String(_)) && field.kind.is_string()
            || matches!((field.kind, value), (Type::Integer { .. }, KdlValue::Integer(_)))
            || matches!(
                (field.kind, value),
                (Type::Amount | Type::UpTo(_), KdlValue::Integer(_) | KdlValue::Float(_))
            );
        let (code, label) = if right_type {
            (codes::BAD_VALUE, "not valid here".to_owned())
        } else {
            (codes::TYPE, format!("this is {}", describe(value)))
        };
        let message = format!("{what} must be {}", field.kind.instead_of(value));
        let span = self.span(value_range(entry));
        let mut problem = Problem::new(code, span, label, message);
        problem.help = fix(field.kind, value, row);
        self.problems.push(problem);
    }
}

/// The edit that makes a wrong value right, where there is one to guess.
fn fix(kind: Type, value: &KdlValue, row: &Node) -> Option<String> {
    match (kind, value) {
        (Type::OneOf(words), KdlValue::String(word)) => {
            nearest(word, words.iter().copied()).map(|known| format!("did you mean `{known}`?"))
        }
        (Type::Bool, KdlValue::String(word)) if word == "true" || word == "false" => {
            Some(format!("write `#{word}` without quotes"))
        }
        (Type::Integer { .. } | Type::Amount | Type::UpTo(_), KdlValue::String(word))
            if word.parse::<f64>().is_ok() =>
        {
            Some(format!("write `{word}` without quotes"))
        }
        (Type::Bytes, KdlValue::Integer(_)) => Some("add a unit: `\"512MiB\"`".to_owned()),
        (Type::Duration, KdlValue::Integer(seconds)) => Some(format!("add a unit: `\"{seconds}s\"`")),
        (Type::HostPattern | Type::Host, KdlValue::String(word)) => host_fix(word, row),
        (Type::Methods, KdlValue::String(word)) => {
            let capitals = word.to_ascii_uppercase();
            let fits = kind.accepts(&KdlValue::String(capitals.clone()));
            fits.then(|| format!("methods have capitals: `\"{capitals}\"`"))
        }
        // What is before the `@` is not repeated: it is a password.
        (Type::Proxy, KdlValue::String(word)) => {
            let url = format!("http://{}", word.rsplit_once('@')?.1);
            let fits = kind.accepts(&KdlValue::String(url.clone()));
            fits.then(|| {
                format!("write `\"{url}\" login=\"env:NAME\"`, and `USER:PASSWORD` into that variable")
            })
        }
        (_, KdlValue::Integer(_) | KdlValue::Float(_)) if kind.is_string() => {
            Some(format!("put it in double quotes: `\"{value}\"`"))
        }
        _ => None,
    }
}

/// What to write in place of a wrong host, on a line that may have a `port`.
fn host_fix(word: &str, row: &Node) -> Option<String> {
    if word.starts_with('*') {
        return Some("that is too wide: name the hosts, or a domain such as `\"*.example.org\"`".to_owned());
    }
    if let Some((_, most)) = range_bits(word) {
        return Some(format!("a number from 1 to {most} comes after the `/`"));
    }
    let (scheme, rest) = word.split_once("://").map_or((None, word), |(scheme, rest)| (Some(scheme), rest));
    let authority = rest.split('/').next()?;
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let port = port.filter(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if !is_host(host) || (scheme.is_none() && port.is_none()) {
        return None;
    }
    let takes_port = row.properties.iter().any(|field| field.name == "port");
    Some(match port.filter(|_| takes_port) {
        Some(port) => format!("the port has a place of its own: `\"{host}\" port={port}`"),
        None => format!("write only the host: `\"{host}\"`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{schema, syntax};

    fn found(text: &str) -> Vec<Problem> {
        let document = syntax::parse(SourceId(0), text).unwrap();
        check(SourceId(0), &document, schema::ROOT, "pier.kdl")
    }

    #[test]
    fn each_finding_names_its_place_and_its_fix() {
        for (text, code, at, says) in [
            ("netwrk none", codes::UNKNOWN_NODE, "netwrk", "did you mean `network`?"),
            ("xyzzy", codes::UNKNOWN_NODE, "xyzzy", "known here: `include`"),
            ("project a kye=b", codes::UNKNOWN_PROPERTY, "kye=b", "did you mean `key=`?"),
            ("project", codes::MISSING_VALUE, "project", "`project` needs its name"),
            ("project a b", codes::EXTRA_VALUE, "b", "takes one argument"),
            ("project 3", codes::TYPE, "3", "put it in double quotes"),
            ("project \"a\\u{0}b\"", codes::BAD_VALUE, "\"a\\u{0}b\"", "without the character `\\u{0}`"),
            ("network hots", codes::BAD_VALUE, "hots", "did you mean `host`?"),
            ("network none\nnetwork host", codes::DUPLICATE, "network", "given twice"),
            ("agent a\nagent a", codes::DUPLICATE, "agent", "`agent a` is given twice"),
            ("limits { memory 8 }", codes::TYPE, "8", "add a unit"),
            ("limits { pids 15 }", codes::BAD_VALUE, "15", "from 16"),
            ("limits { pids \"99\" }", codes::TYPE, "\"99\"", "write `99` without quotes"),
            ("limits { memory \"8GiB\" required=\"true\" }", codes::TYPE, "\"true\"", "write `#true`"),
            ("port \"1:x\" to=8", codes::BAD_VALUE, "\"1:x\"", "an address and a port"),
            ("port 80 to=0", codes::BAD_VALUE, "0", "from 1 to 65535"),
            ("port 80 to=1 to=2", codes::DUPLICATE, "to=2", "`to` is given twice"),
            ("runtime nix { image x }", codes::UNKNOWN_NODE, "image", "means nothing with `nix`"),
            ("env { pass }", codes::MISSING_VALUE, "pass", "needs a variable"),
            ("env { set }", codes::MISSING_VALUE, "set", "NAME="),
            ("env { set 9X=a }", codes::SYNTAX, "", ""),
            ("env { set a.b=a }", codes::BAD_VALUE, "a.b=a", "not the name of a variable"),
            ("env { secret A host=\"x.org\" }", codes::MISSING_VALUE, "secret", "`from=`"),
            (
                "env { secret A host=\"https://x.org/v1\" from=\"env:A\" }",
                codes::BAD_VALUE,
                "\"https://x.org/v1\"",
                "`\"x.org\"`",
            ),
            ("mounts { tmpfs scratch }", codes::BAD_VALUE, "scratch", "an absolute path"),
            ("(t)project a", codes::TYPE_ANNOTATION, "project", "no type annotations"),
            ("project (t)a", codes::TYPE_ANNOTATION, "(t)a", "no type annotations"),
            ("project a { x }", codes::UNKNOWN_NODE, "x", "takes no settings"),
            ("profile ci { include x }", codes::UNKNOWN_NODE, "include", "no setting `include`"),
            (
                "network { allow \"https://x.org/\" }",
                codes::BAD_VALUE,
                "\"https://x.org/\"",
                "only the host: `\"x.org\"`",
            ),
            ("network { allow \"x.org:22\" }", codes::BAD_VALUE, "\"x.org:22\"", "`\"x.org\" port=22`"),
            (
                "network { bytes \"x.org:22\" }",
                codes::BAD_VALUE,
                "\"x.org:22\"",
                "only the host: `\"x.org\"`",
            ),
            ("network { allow \"*\" }", codes::BAD_VALUE, "\"*\"", "too wide"),
            ("network { allow \"*.com\" }", codes::BAD_VALUE, "\"*.com\"", "too wide"),
            ("network { allow \"10.1.0.0/33\" }", codes::BAD_VALUE, "\"10.1.0.0/33\"", "from 1 to 32 comes"),
            ("network { allow a.test methods=get }", codes::BAD_VALUE, "get", "`\"GET\"`"),
            (
                "network { upstream \"http://me:pass@p.test:3128\" }",
                codes::BAD_VALUE,
                "\"http://me:pass@p.test:3128\"",
                "write `\"http://p.test:3128\" login=",
            ),
            ("network allow", codes::BAD_VALUE, "allow", "must be one of"),
        ] {
            if code == codes::SYNTAX {
                syntax::parse(SourceId(0), text).unwrap_err();
                continue;
            }
            let problems = found(text);
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            let problem = &problems[0];
            let range = problem.at.as_ref().unwrap().0.range.clone();
            assert_eq!((problem.code, &text[range]), (code, at), "{text}");
            let shown = format!("{} {}", problem.message, problem.help.as_deref().unwrap_or_default());
            assert!(shown.contains(says), "{text}: {shown}");
        }
    }

    #[test]
    fn a_duplicate_points_to_the_first() {
        let problems = found("network none\nnetwork host");
        assert_eq!(problems[0].related[0].0.range, 0..7);
    }
}
