//! What every item has to hold to.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::item::{self, Head};
use super::kind::{Kind, Shape};
use super::store::{Entry, Store, in_parts, repo_of};
use super::{history, id, mend, registry, scalar};

pub(super) mod simple;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Fail,
    Warn,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// Below the repository, or below the project for a test.
    pub path: Option<Utf8PathBuf>,
    pub message: String,
}

/// What is asked for besides.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Where the tests of items are.
    pub project: Option<Utf8PathBuf>,
    pub require_done_or_closed: bool,
    pub warn_legacy_ids: bool,
    /// Issues outside of a repository's place are a fault where repositories have places.
    pub refuse_root_issues: bool,
    /// The repository whose tests are looked at.
    pub repo: Option<String>,
}

/// Directories that no repository has any more.
const GONE: [&str; 3] = ["WORKSPACE.md", "workspace", "projects"];

/// Where the tests of items are, below the project.
pub const TESTS: &str = "tests/items";

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, path: Option<&Utf8Path>, message: impl Into<String>) {
        self.0.push(Finding { level, path: path.map(Utf8Path::to_owned), message: message.into() });
    }

    fn fail(&mut self, path: &Utf8Path, message: impl Into<String>) {
        self.add(Level::Fail, Some(path), message);
    }
}

/// Looks at a whole repository.
pub fn lint(store: &Store, entries: &[Entry], rules: &Rules) -> Vec<Finding> {
    let mut found = Findings::default();
    for name in GONE.iter().filter(|name| store.root.join(name).exists()) {
        found.fail(Utf8Path::new(name), "this is no part of a coordination repository any more");
    }
    let known = registry::read(store);
    let has_places = !store.repos().unwrap_or_default().is_empty();
    if has_places {
        for repo in &known {
            repository(store, repo, &mut found);
        }
    }
    let mut by_id: BTreeMap<&str, &Utf8Path> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.head.id.is_empty()) {
        let id = &entry.head.id;
        if let Some(other) = by_id.insert(id, &entry.path) {
            found.fail(&entry.path, format!("`{other}` has the id {id}, too"));
        }
    }
    found.0.extend(in_parts(entries, |part| {
        let (mut found, mut fields) = (Findings::default(), Vec::with_capacity(32));
        for entry in part {
            one(entry, rules, &mut fields, &mut found);
            place(entry, (has_places, &known), rules, &mut found);
        }
        found.0
    }));
    if let Some(project) = &rules.project {
        tests(project, entries, rules, &mut found);
    }
    found.0
}

fn repository(store: &Store, repo: &registry::Repo, found: &mut Findings) {
    let path = Utf8Path::new("repos").join(&repo.id);
    if !registry::is_id(&repo.id) {
        found.fail(&path, "this is no name of a repository");
    }
    let Some(text) = store.document(&format!("{path}/REPO.md")) else {
        return found.fail(&path, "it has no REPO.md");
    };
    let named = item::get(&text, "repo_id");
    if named != repo.id {
        found.fail(&path, format!("its REPO.md is about `{named}`"));
    }
    if !matches!(repo.status.as_str(), "active" | "inactive" | "retired") {
        found.fail(&path, format!("its status is `{}`, and not active, inactive or retired", repo.status));
    }
}

/// Looks at what one item says. `fields` is room that is used again.
fn one<'a>(entry: &'a Entry, rules: &Rules, fields: &mut Vec<(&'a str, &'a str)>, found: &mut Findings) {
    let Entry { path, text, head } = entry;
    // A simple text has no marks of a conflict, and is YAML.
    let is_simple = simple::read(text, fields);
    if !is_simple {
        fields.clear();
        fields.extend(item::fields(text));
        if let Some(fault) = mend::conflict(text) {
            return found.fail(path, fault.why);
        }
    }
    let field = |key: &str| fields.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let (has, get) =
        (|key: &str| field(key).is_some(), |key: &str| field(key).map(scalar::read).unwrap_or_default());
    for (name, value) in [("id", &head.id), ("type", &head.kind), ("status", &head.status)] {
        if value.is_empty() {
            found.fail(path, format!("it has no {name}"));
        }
    }
    if !is_simple
        && path.extension() != Some("md")
        && let Err(error) = serde_saphyr::from_str::<serde_json::Value>(text)
    {
        let why = error.to_string().lines().next().unwrap_or_default().to_owned();
        found.fail(path, format!("it is no YAML: {why}"));
    }
    if has("issue_type") {
        found.fail(path, "`issue_type` is `category` now");
    }
    let kind = Kind::of(&head.kind);
    if head.kind == "requirement" {
        found.fail(path, "a requirement is functional, quality or constraint");
    }
    match id::code(&head.id) {
        Some(code) => {
            if path.file_stem() != Some(head.id.as_str()) {
                found.fail(path, format!("it is called otherwise than its id {}", head.id));
            }
            if code != kind.code && head.kind != "requirement" {
                found
                    .fail(path, format!("the id of a {} has {} in it, and not {code}", head.kind, kind.code));
            }
        }
        None if rules.warn_legacy_ids && !head.id.is_empty() => {
            found.add(Level::Warn, Some(path), format!("{} is an id of an older form", head.id));
        }
        None => {}
    }
    let history = ["current", "events", "messages"].map(has);
    let needs_body = |found: &mut Findings| {
        if history.contains(&true) {
            found.fail(path, format!("a {} has no history", head.kind));
        }
        if history::body(text).trim().is_empty() {
            found.fail(path, format!("a {} needs a `body: |-` that says something", head.kind));
        }
    };
    match kind.shape {
        Shape::Requirement { class, .. } => {
            if !path.starts_with("requirements") {
                found.fail(path, "requirements are in `requirements/`");
            }
            for key in ["requirement_key", "requirement_kind", "domain", "requirement_class"] {
                if get(key).is_empty() {
                    found.fail(path, format!("it has no {key}"));
                }
            }
            let named = get("requirement_class");
            if !named.is_empty() && named != class {
                found.fail(path, format!("its class is {named}, and that of its type is {class}"));
            }
            needs_body(found);
            let is_imported =
                ["Imported from", "Imported requirement", "REQUIREMENTS.md", "USE_CASES.md", "source_refs:"]
                    .iter()
                    .any(|sign| text.contains(sign));
            if is_imported && registry::list(text, "source_refs").is_empty() {
                found.fail(path, "it was imported, and `source_refs` does not say from where");
            }
        }
        Shape::Body => {
            if kind.name == "todo" && !path.starts_with("todos") {
                found.fail(path, "todos are in `todos/`");
            }
            needs_body(found);
        }
        Shape::History => {
            for (key, _) in ["current", "events", "messages"].iter().zip(history).filter(|(_, has)| !has) {
                if kind.is_issue() {
                    found.fail(path, format!("it has no {key}"));
                }
            }
        }
    }
    let testable = get("testable").to_ascii_lowercase();
    match testable.as_str() {
        "" | "yes" | "true" | "1" => {}
        "no" | "false" | "0" => {
            if get("testability_note").trim().is_empty() {
                found.fail(path, "no test can prove it, and `testability_note` does not say why");
            }
        }
        other => found.fail(path, format!("`testable: {other}` is neither yes nor no")),
    }
}

/// Looks at where an issue is, and in which state.
fn place(entry: &Entry, (has_places, known): (bool, &[registry::Repo]), rules: &Rules, found: &mut Findings) {
    let Entry { path, head, .. } = entry;
    if head.kind != "issue" {
        return;
    }
    let state = path.parent().and_then(Utf8Path::file_name).unwrap_or_default();
    let fits = match state {
        "open" => matches!(head.status.as_str(), "open" | "claimed"),
        state => head.status == state,
    };
    if !fits {
        found.fail(path, format!("it is {} in `{state}/`", head.status));
    }
    if rules.require_done_or_closed && !matches!(head.status.as_str(), "done" | "closed") {
        found.fail(path, format!("it is {}, and neither done nor closed", head.status));
    }
    if head.status == "closed" && !(Head::is_set(&head.reviewed) && Head::is_set(&head.verified)) {
        found.fail(path, "it is closed, and was not reviewed and verified");
    }
    match repo_of(path) {
        Some(repo) => {
            let is_active = known.iter().any(|known| known.id == repo && known.status == "active");
            if !is_active {
                found.fail(path, format!("the repository `{repo}` is not active"));
            }
        }
        None if has_places => {
            let level = if rules.refuse_root_issues { Level::Fail } else { Level::Warn };
            found.add(level, Some(path), "it is in the place of no repository");
        }
        None => {}
    }
}

/// Returns where the test of an item is, below the project.
pub fn test_of(entry: &Entry) -> Utf8PathBuf {
    let directory = Kind::of(&entry.head.kind).directory;
    Utf8Path::new(TESTS).join(directory).join(format!("{}.sh", entry.head.id))
}

/// Says whether a test of a project is a file that can be executed.
pub fn is_program(project: &Utf8Path, test: &Utf8Path) -> bool {
    let meta = std::fs::symlink_metadata(project.join(test));
    meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o100 != 0)
}

/// Compares items with the tests that they should have.
fn tests(project: &Utf8Path, entries: &[Entry], rules: &Rules, found: &mut Findings) {
    let is_own = |entry: &&Entry| {
        let own = rules.repo.as_deref().is_none_or(|repo| entry.repo().is_none_or(|of| of == repo));
        own && !entry.head.id.is_empty()
    };
    for entry in entries.iter().filter(is_own) {
        let testable = item::get(&entry.text, "testable");
        if !["yes", "true", "1"].iter().any(|word| testable.eq_ignore_ascii_case(word)) {
            continue;
        }
        let test = test_of(entry);
        if project.join(&test).symlink_metadata().is_err() {
            let help = "write it, or say `testable: no`, and why in `testability_note`";
            found.fail(&entry.path, format!("its test `{test}` is not there: {help}"));
        } else if !is_program(project, &test) {
            found.fail(&entry.path, format!("its test `{test}` is no program"));
        }
    }
    let mut there = Vec::new();
    programs(project, Utf8Path::new(TESTS), 0, &mut there);
    if there.is_empty() {
        return;
    }
    there.sort();
    let expected: BTreeSet<_> = entries.iter().filter(is_own).map(test_of).collect();
    for test in there.into_iter().filter(|test| !expected.contains(test)) {
        let stem = test.file_stem().unwrap_or_default();
        let known = entries.iter().any(|entry| entry.head.id == stem);
        let why = if known { "it is not where the test of its item belongs" } else { "no item has this id" };
        found.fail(&test, why);
    }
}

fn programs(project: &Utf8Path, directory: &Utf8Path, depth: usize, found: &mut Vec<Utf8PathBuf>) {
    let Ok(entries) = project.join(directory).read_dir_utf8() else { return };
    for entry in entries.flatten() {
        let path = directory.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < 4 => programs(project, &path, depth + 1, found),
            Ok(kind) if kind.is_file() && path.extension() == Some("sh") => found.push(path),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::draft::Draft;
    use super::super::history::Actor;
    use super::*;

    fn entry(path: &str, text: &str) -> Entry {
        Entry { path: path.into(), head: Head::read(text), text: text.to_owned() }
    }

    fn item(kind: &str, id: &str, title: &str) -> String {
        let kind = Kind::of(kind);
        let draft = Draft {
            kind: &kind,
            category: None,
            status: None,
            project: "p",
            title,
            owner: "",
            priority: "medium",
            testable: false,
            note: Some("a chore"),
            body: Some("words: more\n\n  deep"),
        };
        draft.text(id, &Actor { id: "a".into(), role: String::new() }, jiff::Timestamp::UNIX_EPOCH)
    }

    fn found(entries: &[Entry], rules: &Rules) -> Vec<String> {
        let store = Store { root: "/nonexistent".into() };
        lint(&store, entries, rules).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn what_pier_writes_has_no_faults() {
        let all = [
            ("issues/open/P-ISS-20260102-030405-001.yaml", "issue", "P-ISS-20260102-030405-001"),
            ("todos/P-TODO-20260102-030405-001.yaml", "todo", "P-TODO-20260102-030405-001"),
            (
                "requirements/P-FRQ-20260102-030405-001.yaml",
                "functional-requirement",
                "P-FRQ-20260102-030405-001",
            ),
            ("notes/P-NOTE-20260102-030405-001.yaml", "note", "P-NOTE-20260102-030405-001"),
        ];
        for title in ["plain", "it's: #1", "🧭"] {
            let entries: Vec<Entry> =
                all.iter().map(|(path, kind, id)| entry(path, &item(kind, id, title))).collect();
            assert_eq!(found(&entries, &Rules::default()), [""; 0], "{title}");
            assert!(
                title.contains('🧭')
                    || entries.iter().all(|entry| simple::read(&entry.text, &mut Vec::new()))
            );
        }
    }

    #[test]
    fn each_rule_is_told() {
        let good = item("issue", "P-ISS-20260102-030405-001", "x");
        let at = "issues/open/P-ISS-20260102-030405-001.yaml";
        for (path, text, told) in [
            ("issues/done/P-ISS-20260102-030405-001.yaml", good.clone(), "it is open in `done/`"),
            ("issues/open/other.yaml", good.clone(), "it is called otherwise"),
            (at, good.replace("status: open", "status: null"), "it has no status"),
            (at, good.replace("type: issue", "type: todo"), "has TODO in it"),
            (at, good.replace("title: x", "title: x: [y"), "it is no YAML"),
            (at, good.replace("owner: null\n", "owner: null\n   stray: x\n"), "it is no YAML"),
            (at, good.replace("title: x", "issue_type: bug"), "`issue_type` is `category` now"),
            (at, good.replace("testable: no", "testable: perhaps"), "neither yes nor no"),
            (at, good.replace("testability_note: 'a chore'", "testability_note: null"), "does not say why"),
            (at, format!("<<<<<<< HEAD\n{good}"), "marks of a conflict"),
            (at, good.replace("messages:", "other:"), "it has no messages"),
            (
                "issues/closed/P-ISS-20260102-030405-001.yaml",
                good.replace("status: open", "status: closed"),
                "was not reviewed and verified",
            ),
        ] {
            let said = found(&[entry(path, &text)], &Rules::default());
            assert!(said.iter().any(|line| line.contains(told)), "{told}: {said:?}");
        }
        let twice = [entry(at, &good), entry("issues/open/x.yaml", &good)];
        assert!(found(&twice, &Rules::default()).iter().any(|line| line.contains("has the id")));
        let rules = Rules { require_done_or_closed: true, ..Rules::default() };
        assert!(found(&[entry(at, &good)], &rules)[0].contains("neither done nor closed"));
        let requirement = item("functional-requirement", "P-FRQ-20260102-030405-001", "x");
        let path = "requirements/P-FRQ-20260102-030405-001.yaml";
        for (text, told) in [
            (
                requirement.replace("requirement_class: functional", "requirement_class: quality"),
                "its class is quality",
            ),
            (requirement.replace("domain: requirements", "domain: null"), "it has no domain"),
            (format!("{requirement}current:\n"), "has no history"),
            (
                requirement.replace("related: []", "related: []\nsource_refs: []"),
                "`source_refs` does not say",
            ),
        ] {
            let said = found(&[entry(path, &text)], &Rules::default());
            assert!(said.iter().any(|line| line.contains(told)), "{told}: {said:?}");
        }
    }
}
