//! Requirements as documents, and documents as requirements; the tests that prove items.

use std::process::Command;

use super::{Domain, json};

use crate::sandbox::{PIER, Project, make_executable};

/// An item as people write it by hand who know documents with front matter.
const DOCUMENT: &str = "---
schema: coordination-item/v1
id: P-NOTE-20260102-030405-001
type: note
status: active
title: one
current:
  event: evt-0001
  message: msg-0001
events:
  - id: evt-0001
    type: opened
    at: 2026-01-02T03:04:05Z
    actor:
      id: a
      role: null
    message: msg-0001
messages:
  - id: msg-0001
    event: evt-0001
    body: |-
      Opened.
---

# One

messages: this is text
";

#[test]
fn the_history_of_a_document_with_front_matter_stays_in_that() {
    let domain = Domain::new();
    let path = "notes/P-NOTE-20260102-030405-001.md";
    fs_err::write(domain.clone_of().join(path), DOCUMENT).unwrap();
    domain.0.give_away();
    for words in [&["add", "--all"][..], &["commit", "-q", "-m", "by hand"], &["push", "-q"]] {
        domain.git(&domain.clone_of(), words);
    }
    let id = "P-NOTE-20260102-030405-001";
    domain.pier(&["comment", id, "seen"]).expect(0);
    let text = fs_err::read_to_string(domain.clone_of().join(path)).unwrap();
    let (head, body) = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    assert_eq!(body, DOCUMENT.split_once("\n---\n").unwrap().1);
    assert!(head.contains("  - id: evt-0002\n    type: updated"), "{text}");
    assert!(head.ends_with("  - id: msg-0002\n    event: evt-0002\n    body: |-\n      seen"), "{text}");
    assert!(head.contains("  event: evt-0002\n  message: msg-0002\nevents:"), "{text}");
    let log = domain.pier(&["log", id]).expect(0).text();
    assert!(log.contains("seen") && log.contains("Opened.") && !log.contains("# One"), "{log}");
}

#[test]
fn documents_are_made_from_requirements() {
    let domain = Domain::new();
    let new = |words: &[&str]| {
        let mut all = vec!["new", "--json", "--type", "frq"];
        all.extend(words);
        json(&domain.pier(&all).expect(0))["id"].as_str().unwrap().to_owned()
    };
    let (one, two) = (new(&["--body", "It starts.", "start"]), new(&["--body", "It ends.", "end"]));
    let text = domain.pier(&["requirements", "generate"]).expect(0).text();
    assert!(
        text.starts_with("# Requirements of project\n") && text.contains("\nIt starts.\n\nIt ends.\n"),
        "{text}"
    );
    domain.pier(&["requirements", "generate", "-o", "REQUIREMENTS.md"]).expect(0);
    assert_eq!(domain.0.read("REQUIREMENTS.md").trim_end(), text);
    let design = |row: &str| {
        let text = format!("# D\n\n## Covers\n\n| Requirement | Coordination item |\n| --- | --- |\n{row}\n");
        domain.0.write("designs/one.md", text);
    };
    domain.pier(&["requirements", "coverage"]).refused(1, "coord::files");
    design(&format!("| {one} | {one} |"));
    domain.pier(&["requirements", "coverage", "--check"]).expect(0);
    let text = domain.pier(&["requirements", "coverage"]).expect(0).text();
    assert!(text.contains(&format!("| {one} | {one} | one.md |\n| {two} | {two} | Not covered |")), "{text}");
    design("| UNKNOWN | X |");
    let said = domain.pier(&["requirements", "coverage"]).expect(1);
    assert!(said.text().is_empty() && said.said().contains("no active requirement has the key UNKNOWN"));
    assert!(domain.pier(&["requirements", "coverage", "--preview"]).expect(1).text().contains("## Invalid"));
    domain.pier(&["requirements", "coverage", "--check", "--output", "x"]).expect(2);
    // Two with one key.
    let path = domain.clone_of().join(format!("requirements/{two}.yaml"));
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::write(
        &path,
        text.replace(&format!("requirement_key: {two}"), &format!("requirement_key: {one}")),
    )
    .unwrap();
    domain.pier(&["requirements", "generate"]).refused(1, "coord::requirements");
}

#[test]
fn requirements_are_imported_once_and_what_has_changed_is_told() {
    let domain = Domain::new();
    let write = |text: &str| domain.0.write("docs/needs.md", text);
    let import = |more: &[&str]| {
        let mut words = vec!["requirements", "import", "docs/needs.md"];
        words.extend(more);
        domain.pier(&words)
    };
    let text = "# Needs\n\n## Start\n\n- **FR-1** It starts, at once.\n- **FR-2** It ends: `x`.\n\n## Quality\n\n### NFR-1 Speed\n\nFast.\n";
    write(text);
    assert_eq!(import(&["--preview"]).expect(0).text().lines().count(), 3);
    assert!(domain.rows(&["requirements"]).is_empty());
    let said = import(&[]).expect(0).text();
    assert!(said.starts_with("new\tFR-1\tPROJECT-FRQ-"), "{said}");
    assert!(said.contains("\tdocs/needs.md:10: Quality\tSpeed"), "{said}");
    domain.pier(&["lint"]).expect(0);
    let head = || domain.git(&domain.remote(), &["rev-parse", "main"]);
    let before = head();
    assert_eq!(import(&[]).expect(0).text(), "");
    assert_eq!(json(&import(&["--json"]).expect(0))["unchanged"], 3);
    assert_eq!(head(), before);
    // Elsewhere in the document it is the same requirement.
    write(&format!("Words before.\n\n{text}"));
    assert_eq!(import(&[]).expect(0).text(), "");
    // Another text, and none at all.
    write(&text.replace("at once", "soon").replace("- **FR-2** It ends: `x`.\n", ""));
    let told = import(&[]).expect(1).text();
    assert!(told.contains("differs\tFR-1\t") && told.contains("gone\tFR-2\t"), "{told}");
    assert_eq!(head(), before);
    assert!(import(&["--update"]).expect(1).text().starts_with("updated\tFR-1\t"));
    domain.pier(&["lint"]).expect(0);
    let document = domain.pier(&["requirements", "generate"]).expect(0).text();
    assert!(document.contains("\n### Start\n\n- **FR-1** It starts, soon.\n"), "{document}");
    write("- **FR-1** a\n- **FR-1** b\n");
    import(&[]).refused(1, "coord::requirements");
    write("No keys.\n");
    import(&[]).refused(1, "coord::requirements");
    domain.pier(&["requirements", "import", "absent.md"]).refused(1, "coord::files");
}

#[test]
fn the_tests_of_items_run_in_the_sandbox() {
    let domain = Domain::new();
    domain.0.write("pier.kdl", "network none\n");
    let ids: Vec<String> = ["good", "bad", "slow"].iter().map(|title| domain.issue(title)).collect();
    let test = |id: &str, script: &str| {
        let path = format!("tests/items/issues/{id}.sh");
        domain.0.write(&path, format!("#!/bin/sh\n{script}\n"));
        make_executable(&domain.0.root().join(path));
    };
    let untested = domain.issue("without a test");
    assert_eq!(domain.pier(&["test"]).expect(0).text(), "0 passed, 0 failed");
    test(&ids[0], "test -e tests/items");
    test(&ids[1], "echo said; pwd; id -u >&2; exit 7");
    let outside = domain.0.base().join("outside");
    fs_err::write(&outside, "").unwrap();
    test(&ids[2], &format!("test ! -e {} || exit 9; exec sleep 60", outside.display()));
    let listed = domain.pier(&["test", "--list"]).expect(0).text();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let said = domain.pier(&["test", "--for", "3s"]).expect(1).text();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with(&format!("ok   {}  good (", ids[0])), "{said}");
    assert!(
        lines[1].starts_with(&format!("FAIL {}  bad (", ids[1])) && lines[1].ends_with(": exit code 7"),
        "{said}"
    );
    assert_eq!(lines[2..4], ["     | said", "     | /workspace"], "{said}");
    assert!(said.contains(": it took too long\n") && said.ends_with("1 passed, 2 failed"), "{said}");
    // Named ones have one, and the rest of the world sees them as data.
    let answer = json(&domain.pier(&["test", "--json", &ids[1], &untested]).expect(1));
    assert_eq!((&answer["failed"], &answer["tests"][0]["code"]), (&2.into(), &7.into()));
    assert!(answer["tests"][0]["output"].as_str().unwrap().starts_with("said\n/workspace\n"));
    assert_eq!(answer["tests"][1]["state"], "missing");
    domain.pier(&["test", &ids[0]]).expect(0);
    domain.pier(&["test", "absent"]).refused(1, "coord::item");
    domain.pier(&["test", "--for", "soon"]).refused(2, "coord::usage");
    // On this host only where somebody says so.
    let said = domain.pier(&["test", "--host", &ids[2]]).expect(1).text();
    assert!(said.contains(": exit code 9"), "{said}");
    // A sandbox that nobody has approved runs none.
    domain.0.write("pier.kdl", "mounts { rw \"/var/tmp\" at=\"/opt/x\"; }\n");
    let said = domain.pier(&["test", &ids[0]]).refused(125, "coord::sandbox").flat();
    assert!(said.contains("`pier exec -- true` has to work"), "{said}");
}

/// The way that the help shows is typed by people as it is there.
#[test]
fn the_way_that_the_help_shows_works() {
    let project = Project::new("");
    let help = project.call(["coord", "--help"]).run().expect(0).text();
    let from = help.lines().skip_while(|line| !line.starts_with("The whole way")).skip(2);
    let script: Vec<&str> = from.take_while(|line| !line.is_empty()).collect();
    assert!(script.len() > 8, "{script:?}");
    let script = script.join("\n").replace("pier coord", &format!("{PIER} coord"));
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script]);
    let said = project.surround(bash).env("USER", "somebody").run().expect(0).text();
    assert!(said.contains("closed by somebody") && said.contains("tried with three files"), "{said}");
    // Each command has a page with an example.
    for line in
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty())
    {
        let name = line.split_whitespace().next().unwrap();
        let page = project.call(["coord", name, "--help"]).run().expect(0).text();
        assert!(
            page.contains("Examples:\n") && page.contains(&format!("  pier coord {name}")),
            "{name}: {page}"
        );
    }
}

#[test]
fn calls_that_bring_and_make_say_it_as_json_too() {
    let domain = Domain::new();
    let id = domain.issue("one");
    let said = |words: &[&str]| json(&domain.pier(words).expect(0));
    assert_eq!(said(&["push", "--json"]), serde_json::json!({ "committed": false, "pushed": true }));
    domain.pier(&["new", "--no-commit", "two"]).expect(0);
    assert_eq!(said(&["push", "--json"])["committed"], true);
    let other = domain.another("other");
    assert_eq!(said(&["pull", "--json"]), serde_json::json!({ "remote": true, "changed": false }));
    domain.pier(&["comment", "--coord-dir", &other, &id, "x"]).expect(0);
    assert_eq!(said(&["pull", "--json"])["changed"], true);
    let at = domain.0.base().join("third").display().to_string();
    let remote = domain.0.base().join("third.git").display().to_string();
    let made = said(&["init", "--json", "--remote", &remote, "--dir", &at]);
    assert_eq!(made, serde_json::json!({ "remote": remote, "dir": at }));
    domain.0.write("designs/a.md", "# A\n");
    let found = json(&domain.pier(&["requirements", "coverage", "--json"]).expect(1));
    assert!(found["invalid"][0].as_str().unwrap().starts_with("a.md: "), "{found}");
    assert_eq!(found["requirements"], serde_json::json!([]));
}

#[test]
fn a_project_whose_origin_has_no_name_is_called_by_its_directory() {
    let domain = Domain(Project::new(""));
    let root = domain.0.root();
    domain.git(&root, &["init", "-q"]);
    domain.git(&root, &["remote", "add", "origin", "/srv/things/."]);
    let plan = domain.pier(&["bootstrap", "--print-only"]).expect(0).text();
    assert!(plan.contains("Project:      project ("), "{plan}");
}

#[test]
fn what_is_no_issue_is_none_of_those_that_wait() {
    let domain = Domain::new();
    let id = domain.issue("one");
    fs_err::write(domain.clone_of().join("issues/open/BROKEN.yaml"), "torn\n").unwrap();
    domain.0.give_away();
    let said = domain.pier(&["status"]).expect(0);
    assert!(said.text().contains(&format!("- {id} [open]")), "{}", said.text());
    assert!(!said.text().contains("[]"), "{}", said.text());
    assert!(said.flat().contains("`issues/open/BROKEN.yaml` is no item that can be read"), "{}", said.flat());
    assert_eq!(json(&domain.pier(&["status", "--json"]).expect(0)).as_array().unwrap().len(), 1);
}

#[test]
fn what_git_cannot_do_is_told_in_its_words() {
    let domain = Domain::new();
    let id = domain.issue("one");
    fs_err::write(domain.clone_of().join(".git/HEAD"), "nonsense\n").unwrap();
    domain.0.give_away();
    let said = domain.pier(&["comment", &id, "x"]);
    assert_eq!(said.code(), Some(1), "{}", said.said());
    assert!(said.flat().contains("not a git repository"), "{}", said.flat());
    assert!(!said.flat().contains("on no branch"), "{}", said.flat());
}
