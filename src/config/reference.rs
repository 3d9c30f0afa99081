//! The vocabulary for other readers, all from the one table: JSON Schema, text, Markdown, completion hints.

use serde_json::{Map, Value, json};

use super::schema::{Field, Need, Node, ROOT, Repeat, Since, walk};
use super::values::Type;

fn type_schema(kind: Type) -> Value {
    match kind {
        Type::Integer { min, max } => {
            let mut schema = Map::new();
            schema.insert("type".into(), "integer".into());
            schema.insert("minimum".into(), i64::try_from(min).unwrap_or(i64::MIN).into());
            if let Ok(max) = i64::try_from(max)
                && max < i64::MAX
            {
                schema.insert("maximum".into(), max.into());
            }
            schema.into()
        }
        Type::Scalar => json!({ "type": ["string", "number", "boolean"] }),
        Type::Amount => json!({ "type": "number", "exclusiveMinimum": 0 }),
        Type::UpTo(most) => json!({ "type": "number", "minimum": 0, "maximum": most }),
        Type::Bool => json!({ "type": "boolean" }),
        Type::OneOf(words) => json!({ "enum": words }),
        Type::Listen => json!({ "type": ["string", "integer"] }),
        _ => json!({ "type": "string", "minLength": 1 }),
    }
}

fn field_schema(field: &Field) -> Value {
    let mut schema = type_schema(field.kind);
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".into(), field.doc.into());
    }
    schema
}

fn node_schema(node: &Node) -> Value {
    let arguments: Vec<Value> = node.arguments.iter().map(field_schema).collect();
    let required = node.arguments.iter().filter(|field| field.need == Need::Required).count();
    let least = if arguments.is_empty() && node.rest.is_some() { 1 } else { required };
    let named: Map<String, Value> =
        node.properties.iter().map(|field| (field.name.to_owned(), field_schema(field))).collect();
    let needed: Vec<&str> =
        node.properties.iter().filter(|field| field.need == Need::Required).map(|field| field.name).collect();
    let mut values = json!({ "type": "array", "minItems": least });
    if !arguments.is_empty() {
        values["prefixItems"] = arguments.into();
    }
    values["items"] = node.rest.as_ref().map_or(Value::Bool(false), field_schema);
    let free = node.any_property.as_ref().map_or(Value::Bool(false), field_schema);
    let mut needs: Vec<&str> = vec!["name"];
    if least > 0 {
        needs.push("arguments");
    }
    if !needed.is_empty() {
        needs.push("properties");
    }
    json!({
        "type": "object",
        "description": node.doc,
        "properties": {
            "name": { "const": node.name },
            "arguments": values,
            "properties": {
                "type": "object", "properties": named, "required": needed, "additionalProperties": free,
            },
            "children": block_schema(node.children),
        },
        "required": needs,
        "additionalProperties": false,
    })
}

fn block_schema(nodes: &[Node]) -> Value {
    if nodes.is_empty() {
        return json!({ "type": "array", "maxItems": 0 });
    }
    json!({ "type": "array", "items": { "oneOf": nodes.iter().map(node_schema).collect::<Vec<_>>() } })
}

/// Returns a JSON Schema of the document as JSON: an array of `{name, arguments, properties, children}`.
pub fn json_schema() -> Value {
    let mut schema = block_schema(ROOT);
    if let Value::Object(schema) = &mut schema {
        schema.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        schema.insert("title".into(), "pier.kdl".into());
    }
    schema
}

/// Returns how a node is written: `port <listen> [to=…]`.
pub fn usage(node: &Node) -> String {
    let mut out = node.name.to_owned();
    for field in node.arguments {
        out.push_str(&match field.need {
            Need::Required => format!(" <{}>", field.name),
            Need::Optional => format!(" [{}]", field.name),
        });
    }
    if let Some(rest) = &node.rest {
        out.push_str(&format!(" <{}>…", rest.name));
    }
    for field in node.properties {
        out.push_str(&match field.need {
            Need::Required => format!(" {}=…", field.name),
            Need::Optional => format!(" [{}=…]", field.name),
        });
    }
    if let Some(any) = &node.any_property {
        out.push_str(&format!(" {}=…", any.name));
    }
    if !node.children.is_empty() {
        out.push_str(" { … }");
    }
    out
}

fn fields(node: &Node) -> impl Iterator<Item = (String, &Field)> {
    let arguments = node.arguments.iter().chain(&node.rest).map(|field| (field.name.to_owned(), field));
    let properties = node.properties.iter().chain(&node.any_property);
    arguments.chain(properties.map(|field| (format!("{}=", field.name), field)))
}

/// What a profile holds is what the root holds.
fn is_repetition(path: &[&str]) -> bool {
    path.len() > 1 && path[0] == "profile"
}

/// Returns the vocabulary as aligned text, a line a node, a line a value.
pub fn text() -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    walk(ROOT, &mut |path, node| {
        if is_repetition(path) {
            return;
        }
        let indent = "  ".repeat(path.len() - 1);
        let later = if node.since == Since::Later { " (not available yet)" } else { "" };
        rows.push((format!("{indent}{}", usage(node)), format!("{}{later}", node.doc)));
        for (name, field) in fields(node) {
            rows.push((format!("{indent}    {name}"), format!("{} {}", field.doc, expected(field))));
        }
    });
    let width =
        rows.iter().map(|(left, _)| left.chars().count()).filter(|width| *width <= 44).max().unwrap_or(0);
    let line = |(left, right): &(String, String)| {
        let pad = " ".repeat(width.saturating_sub(left.chars().count()));
        format!("{left}{pad}  {right}\n")
    };
    rows.iter().map(line).collect()
}

fn expected(field: &Field) -> String {
    format!("({})", field.kind.expected())
}

/// Returns every path that edits and flags take, sorted.
pub fn paths() -> Vec<String> {
    let mut out = Vec::new();
    walk(ROOT, &mut |path, node| {
        if is_repetition(path) {
            return;
        }
        let path = path.join(".");
        out.extend(node.properties.iter().map(|field| format!("{path}.{}", field.name)));
        if !node.arguments.is_empty() || node.rest.is_some() {
            out.push(path);
        }
    });
    out.sort_unstable();
    out
}

/// Returns the words that can stand at `path`: the choices of its value.
pub fn choices(path: &str) -> Vec<&'static str> {
    match super::path::parse(path).ok().and_then(|target| target.field).map(|field| field.kind) {
        Some(Type::OneOf(words)) => words.to_vec(),
        Some(Type::Bool) => vec!["true", "false"],
        _ => Vec::new(),
    }
}

/// Returns the reference page.
pub fn markdown() -> String {
    let mut out = String::from(
        "# pier.kdl\n\nEvery setting, from the table that checks the file. `<…>` is required, `[…]` is optional.\n",
    );
    walk(ROOT, &mut |path, node| {
        if is_repetition(path) {
            return;
        }
        let level = "#".repeat((path.len() + 1).min(6));
        out.push_str(&format!(
            "\n{level} `{}`\n\n```text\n{}\n```\n\n{}\n",
            path.join("."),
            usage(node),
            node.doc
        ));
        if !node.only_in.is_empty() {
            let parent = path[path.len() - 2];
            out.push_str(&format!("Only in `{parent} {}`.\n", node.only_in.join("`, `")));
        }
        match node.repeat {
            Repeat::Once => {}
            Repeat::ByName => out.push_str("Once for each name.\n"),
            Repeat::Many => out.push_str("Any number of times.\n"),
        }
        if node.since == Since::Later {
            out.push_str("Not available yet: it is checked, and planning refuses it.\n");
        }
        if node.name == "profile" {
            out.push_str(
                "In its block stands all that can stand at the top, without `include` and `profile`.\n",
            );
        }
        let rows: Vec<String> = fields(node)
            .map(|(name, field)| {
                let need = if field.need == Need::Required { "yes" } else { "no" };
                format!("| `{name}` | {need} | {} | {} |\n", field.kind.expected(), field.doc)
            })
            .collect();
        if !rows.is_empty() {
            out.push_str(&format!(
                "\n| value | required | must be | meaning |\n|---|---|---|---|\n{}",
                rows.concat()
            ));
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_sees_the_whole_table() {
        let (text, page, schema) = (text(), markdown(), json_schema().to_string());
        walk(ROOT, &mut |path, node| {
            assert!(schema.contains(&format!("{{\"const\":\"{}\"}}", node.name)), "{path:?}");
            if !is_repetition(path) {
                assert!(text.contains(&usage(node)), "{path:?}");
                assert!(page.contains(&format!("`{}`\n", path.join("."))), "{path:?}");
            }
        });
    }

    #[test]
    fn every_path_is_one_that_edits_take() {
        let paths = paths();
        assert!(paths.contains(&"limits.memory.required".to_owned()));
        for path in &paths {
            assert!(super::super::path::parse(path).is_ok(), "{path}");
        }
        assert_eq!(choices("network"), ["none", "allowlist", "host"]);
        assert_eq!(choices("limits.memory.required"), ["true", "false"]);
    }

    #[test]
    fn usage_shows_what_is_required() {
        let usage_of = |name: &str| usage(ROOT.iter().find(|node| node.name == name).unwrap());
        assert_eq!(usage_of("port"), "port <listen> [to=…]");
        assert_eq!(usage_of("home"), "home [keep] { … }");
    }
}
