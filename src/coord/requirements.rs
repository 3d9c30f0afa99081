//! Documents that are made from the requirements of a project: all of them, and which design covers which.

use std::collections::BTreeMap;

use super::history::body;
use super::item::get;
use super::store::Entry;

/// One that holds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Requirement {
    pub key: String,
    pub id: String,
    pub title: String,
    /// 0 functional, 1 quality, 2 constraint: the order of the document.
    #[serde(skip)]
    class: usize,
    #[serde(skip)]
    section: (u32, u32),
    #[serde(skip)]
    heading: String,
    #[serde(skip)]
    order: u64,
    #[serde(skip)]
    body: String,
}

/// Chapters of the document, from the third one on; what comes before is the project's to write.
const CHAPTERS: [(&str, &str); 3] = [
    ("functional", "Functional requirements"),
    ("quality", "Quality requirements"),
    ("constraint", "Constraints"),
];
const FIRST: usize = 3;

/// Where one without an order of its own comes.
const LAST: u64 = 999_999;

/// Returns the requirements that hold, in the order of the document.
///
/// # Errors
/// Two of them have one key.
pub fn active(entries: &[Entry]) -> Result<Vec<Requirement>, String> {
    let mut found = Vec::new();
    for entry in entries.iter().filter(|entry| entry.head.status == "active") {
        let field = |key: &str| get(&entry.text, key);
        let named = field("requirement_class");
        let Some(class) = CHAPTERS.iter().position(|(class, _)| *class == named) else { continue };
        let (key, body) = (field("requirement_key"), body(&entry.text));
        if key.is_empty() || body.trim().is_empty() {
            continue;
        }
        let heading = field("render_section");
        found.push(Requirement {
            key,
            id: entry.head.id.clone(),
            title: entry.head.title.clone(),
            class,
            section: number(&heading),
            heading,
            order: field("render_order").parse().unwrap_or(LAST),
            body,
        });
    }
    found.sort_by(|one, other| {
        let order = |of: &Requirement| (of.class, of.section, of.heading.clone(), of.order, of.key.clone());
        order(one).cmp(&order(other))
    });
    let mut keys = BTreeMap::new();
    for one in &found {
        if let Some(other) = keys.insert(&one.key, &one.id) {
            return Err(format!("{other} and {} both have the key {}", one.id, one.key));
        }
    }
    Ok(found)
}

/// Returns the number that a section begins with.
fn number(heading: &str) -> (u32, u32) {
    let word = heading.split_whitespace().next().unwrap_or_default();
    let mut parts = word.trim_end_matches('.').split('.').map(|part| part.parse().unwrap_or(u32::MAX));
    match (parts.next(), parts.next()) {
        (Some(one), Some(two)) => (one, two),
        (Some(one), None) if one != u32::MAX => (one, 0),
        _ => (u32::MAX, u32::MAX),
    }
}

/// Returns the document of a project.
pub fn document(project: &str, all: &[Requirement]) -> String {
    let mut out = format!(
        "# Requirements of {project}\n\nThis document is made from the active requirements of the coordination repository by\n\
         `pier coord requirements generate`. Change those, and make it anew.\n"
    );
    for (class, (_, title)) in CHAPTERS.iter().enumerate() {
        let of_class: Vec<&Requirement> = all.iter().filter(|one| one.class == class).collect();
        out.push_str(&format!("\n## {}. {title}\n", FIRST + class));
        if of_class.is_empty() {
            out.push_str("\nThere are none.\n");
        }
        let mut section = "";
        for one in of_class {
            if one.heading != section {
                section = &one.heading;
                out.push_str(&format!("\n### {section}\n"));
            }
            let body: Vec<&str> = one.body.lines().filter(|line| !is_chapter(line)).collect();
            out.push_str(&format!("\n{}\n", body.join("\n").trim_matches('\n')));
        }
    }
    out
}

/// Says whether a line is a heading that the document has of its own.
fn is_chapter(line: &str) -> bool {
    let Some(text) = line.strip_prefix("### ").or_else(|| line.strip_prefix("## ")) else { return false };
    let mut parts = text.split_whitespace().next().unwrap_or_default().split('.');
    let is_chapter = parts
        .next()
        .is_some_and(|part| part.parse::<usize>().is_ok_and(|one| (FIRST..FIRST + 3).contains(&one)));
    is_chapter && text.contains('.')
}

/// A design, by its name, with its text.
pub struct Design {
    pub name: String,
    pub text: String,
}

/// Which design covers what, and what is wrong with some.
#[derive(Debug, Default, serde::Serialize)]
pub struct Coverage {
    /// By key.
    pub covered: BTreeMap<String, Vec<String>>,
    pub invalid: Vec<String>,
}

const HEADER: &str = "| Requirement | Coordination item |";

/// Reads the table of each design.
pub fn coverage(all: &[Requirement], designs: &[Design]) -> Coverage {
    let mut found = Coverage::default();
    for Design { name, text } in designs {
        match rows(text) {
            Err(why) => found.invalid.push(format!("{name}: {why}")),
            Ok(rows) => {
                for (key, id) in rows {
                    match all.iter().find(|one| one.key == key) {
                        None => {
                            found.invalid.push(format!("{name}: no active requirement has the key {key}"));
                        }
                        Some(one) if one.id != id => {
                            found.invalid.push(format!("{name}: {key} is {} now, and not {id}", one.id));
                        }
                        Some(_) => found.covered.entry(key).or_default().push(name.clone()),
                    }
                }
            }
        }
    }
    found
}

/// Returns the rows of the one table under `## Covers`.
fn rows(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let places: Vec<usize> = (0..lines.len()).filter(|index| lines[*index] == "## Covers").collect();
    let [place] = places.as_slice() else {
        return Err(if places.is_empty() {
            "it has no `## Covers`"
        } else {
            "it has `## Covers` more than once"
        });
    };
    let line = |offset: usize| lines.get(place + offset).copied().unwrap_or_default();
    let is_rule =
        |line: &str| line.starts_with('|') && line.contains('-') && line.chars().all(|c| "|-: ".contains(c));
    if !line(1).is_empty() || line(2) != HEADER || !is_rule(line(3)) {
        return Err("`## Covers` is not followed by an empty line and the table");
    }
    let mut found = Vec::new();
    for row in lines[place + 4..].iter().take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [key, id] = cells.as_slice() else { return Err("a row of its table has not two cells") };
        let plain = |cell: &str| cell.trim_matches('`').to_owned();
        found.push((plain(key), plain(id)));
    }
    if found.is_empty() { Err("its table has no row") } else { Ok(found) }
}

/// Returns the document that says which design covers what.
pub fn covered_document(project: &str, all: &[Requirement], coverage: &Coverage, preview: bool) -> String {
    let covered = all.iter().filter(|one| coverage.covered.contains_key(&one.key)).count();
    let mut out = format!(
        "# Coverage of the requirements of {project}\n\nMade by `pier coord requirements coverage` from the tables `## Covers` of the designs.\n\n\
         - Active requirements: {}\n- Covered: {covered}\n- Not covered: {}\n\n\
         | Requirement | Coordination item | Covered by |\n| --- | --- | --- |\n",
        all.len(),
        all.len() - covered,
    );
    for one in all {
        let by =
            coverage.covered.get(&one.key).map_or_else(|| "Not covered".to_owned(), |names| names.join(", "));
        out.push_str(&format!("| {} | {} | {by} |\n", one.key, one.id));
    }
    if preview && !coverage.invalid.is_empty() {
        out.push_str("\n## Invalid\n\n");
        for why in &coverage.invalid {
            out.push_str(&format!("- {why}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::item::Head;
    use super::*;

    fn entry(key: &str, class: &str, section: &str, order: &str, body: &str) -> Entry {
        let lines: Vec<String> = body.lines().map(|line| format!("  {line}\n")).collect();
        let lines = lines.concat();
        let text = format!(
            "id: ID-{key}\ntype: {class}-requirement\nstatus: active\nrequirement_key: {key}\nrequirement_class: {class}\n\
             render_section: {section}\nrender_order: {order}\nbody: |-\n{lines}"
        );
        Entry { path: format!("requirements/{key}.yaml").into(), head: Head::read(&text), text }
    }

    #[test]
    fn the_document_is_in_the_order_of_its_sections() {
        let entries = [
            entry("Q-1", "quality", "4.1 Speed", "", "fast"),
            entry("F-2", "functional", "3.10 Late", "", "late"),
            entry(
                "F-1",
                "functional",
                "3.2 Early",
                "20",
                "## 3. Functional requirements\n### 3.2 Early\nsecond",
            ),
            entry("F-0", "functional", "3.2 Early", "10", "first\n\n#### 3.9 stays"),
        ];
        let all = active(&entries).unwrap();
        let text = document("other", &all);
        assert!(text.starts_with("# Requirements of other\n"));
        let expected = "## 3. Functional requirements\n\n### 3.2 Early\n\nfirst\n\n#### 3.9 stays\n\nsecond\n\n### 3.10 Late\n\nlate\n\n\
                        ## 4. Quality requirements\n\n### 4.1 Speed\n\nfast\n\n## 5. Constraints\n\nThere are none.\n";
        assert!(text.ends_with(expected), "{text}");
        let twice = [entry("A", "quality", "", "", "x"), entry("A", "quality", "", "", "y")];
        assert!(active(&twice).unwrap_err().contains("both have the key A"));
    }

    #[test]
    fn designs_say_what_they_cover() {
        let all = active(&[entry("F-1", "functional", "", "", "x"), entry("F-2", "functional", "", "", "y")])
            .unwrap();
        let design = |name: &str, text: &str| Design { name: name.into(), text: text.into() };
        let table = "# D\n\n## Covers\n\n| Requirement | Coordination item |\n| --- | --- |\n";
        let found = coverage(
            &all,
            &[
                design("good.md", &format!("{table}| `F-1` | ID-F-1 |\n\nrest\n")),
                design("unknown.md", &format!("{table}| F-9 | ID |\n")),
                design("stale.md", &format!("{table}| F-1 | OLD |\n")),
                design("none.md", "# D\n"),
                design("twice.md", &format!("{table}| F-1 | ID-F-1 |\n\n## Covers\n")),
                design("empty.md", table),
                design("wide.md", &format!("{table}| a | b | c |\n")),
                design("odd.md", "## Covers\n| Requirement | Coordination item |\n"),
            ],
        );
        assert_eq!(found.covered["F-1"], ["good.md"]);
        let of: Vec<&str> = found.invalid.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(of, ["unknown.md", "stale.md", "none.md", "twice.md", "empty.md", "wide.md", "odd.md"]);
        let text = covered_document("p", &all, &found, true);
        assert!(
            text.contains("- Covered: 1\n- Not covered: 1\n")
                && text.contains("| F-2 | ID-F-2 | Not covered |")
        );
        assert!(text.contains("## Invalid\n\n- unknown.md"), "{text}");
    }
}
