//! What differs from the other program's trajectories, against the table in `tests/trajectories.md`.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{of, reference};

/// A row: the case, and the field, in which `*` stands for anything.
type Row = (String, String);

/// Checks that all differences of an agent's cases are in its table, and that each row of it is one.
pub fn are_listed(agent: &str, cases: &[&str]) {
    let name = |case: &str| format!("{agent}/{case}");
    let documents = cases.iter().map(|case| (*case, of(&name(case)).document, reference(&name(case))));
    of_documents_are_listed(agent, &documents.collect::<Vec<_>>());
}

/// The same for documents that the caller has made: of each case ours, and the other program's.
pub fn of_documents_are_listed(agent: &str, documents: &[(&str, Value, Value)]) {
    let rows = rows(agent);
    let mut used = BTreeSet::new();
    let mut missing = Vec::new();
    for (case, ours, theirs) in documents {
        let mut found = Vec::new();
        compare(ours, theirs, String::new(), false, &mut found);
        for path in found {
            let row = rows.iter().position(|(row, field)| {
                (row == "*" || row == case) && matches(field.as_bytes(), path.as_bytes())
            });
            match row {
                Some(row) => _ = used.insert(row),
                None => missing.push(format!("{case}: {path}")),
            }
        }
    }
    assert!(missing.is_empty(), "not in `tests/trajectories.md`:\n{}", missing.join("\n"));
    let unused: Vec<&Row> = (0..rows.len()).filter(|row| !used.contains(row)).map(|row| &rows[row]).collect();
    assert!(unused.is_empty(), "there is no such difference: {unused:?}");
}

/// The rows of an agent's section.
fn rows(agent: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trajectories.md");
    let text = fs_err::read_to_string(path).unwrap();
    let section = text.split("\n## ").find(|section| section.lines().next() == Some(agent));
    let lines = section.unwrap_or_else(|| panic!("there is no section `{agent}`")).lines();
    let cells = |line: &str| -> Option<Row> {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let mut word = || cells.next().map(|cell| cell.trim_matches(['`', ' ', '|']).to_owned());
        Some((word()?, word()?))
    };
    let rows: Vec<Row> = lines.filter_map(cells).filter(|row| row.0 != "case").collect();
    assert!(!rows.is_empty(), "there is no row of `{agent}`");
    rows
}

/// Collects the paths of what is not the same. What only ours says beside the format is no difference.
fn compare(ours: &Value, theirs: &Value, path: String, is_extra: bool, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(one), Value::Object(other)) => {
            let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            for (key, theirs) in other {
                let ours = one.get(key).unwrap_or(&Value::Null);
                compare(ours, theirs, join(key), is_extra || key == "extra", found);
            }
            let is_new = |key: &&String| !other.contains_key(*key) && *key != "extra" && !is_extra;
            found.extend(one.keys().filter(is_new).map(|key| join(key)));
        }
        (Value::Array(one), Value::Array(other)) => {
            for index in 0..one.len().max(other.len()) {
                let path = format!("{path}[{index}]");
                match (one.get(index), other.get(index)) {
                    (Some(ours), Some(theirs)) => compare(ours, theirs, path, is_extra, found),
                    _ => found.push(path),
                }
            }
        }
        // Sums of fractions differ in their last digit.
        (Value::Number(one), Value::Number(other))
            if (one.as_f64().unwrap() - other.as_f64().unwrap()).abs() <= 1e-12 => {}
        _ if ours != theirs => found.push(path),
        _ => {}
    }
}

/// Says whether a text is of a pattern, in which `*` stands for any letters.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => matches(&pattern[1..], text) || (!text.is_empty() && matches(pattern, &text[1..])),
        (Some(one), Some(other)) if one == other => matches(&pattern[1..], &text[1..]),
        _ => false,
    }
}
