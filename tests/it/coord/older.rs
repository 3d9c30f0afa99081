//! Repositories, variables and rules of the older tools.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Domain, json};
use crate::sandbox::Project;

/// What the older tools have written, with what people have added by hand: comments, keys of their own, odd spaces.
const FILES: &[(&str, &str)] = &[
    ("AGENTS.md", "# Rules\n"),
    ("README.md", "# Team\n"),
    ("docs/SYNC_PROTOCOL.md", "# Sync\n"),
    ("docs/ITEM_FORMAT.md", "# Items\n"),
    ("PROJECT.md", "---\nproject: team\nitem_key: TEAM\ncreated: 2026-06-07T20:00:00Z\n---\n\n# Team\n"),
    ("agents/agent-a.md", "# agent-a\n"),
    ("issues/blocked/.gitkeep", ""),
    (
        "repos/tools/REPO.md",
        "---\nrepo_id: tools\nstatus: active\nitem_key: TLS\nproject: team\ncreated: 2026-06-07T20:00:00Z\n\
         updated: 2026-06-07T20:00:00Z\naliases: []\nremotes: []\ndomain_generated_files: []\n---\n",
    ),
    (
        "issues/open/TEAM-ISS-20260607-204155-001.yaml",
        "schema: coordination-item/v1\nid: TEAM-ISS-20260607-204155-001\ntype: issue\ncategory: bug\nstatus: claimed\nproject: team\n\
         title: 'Don''t stop'\nowner: agent-a   # since Monday\npriority: high\ncreated: 2026-06-07T20:41:55Z\n\
         updated: 2026-06-07T20:50:00Z\ndone: null\nclosed: null\nreviewed: false\nverified: false\nestimate: 3 days\ntestable: no\n\
         testability_note: 'by eye'\nrelated: []\n\n# The history.\ncurrent:\n  event: evt-0002\n  message: msg-0002\nevents:\n\
         \x20 - id: evt-0001\n    type: opened\n    at: 2026-06-07T20:41:55Z\n    actor:\n      id: agent-a\n      role: null\n    message: msg-0001\n\
         \x20 - id: evt-0002\n    type: claimed\n    at: 2026-06-07T20:50:00Z\n    actor:\n      id: agent-a\n      role: developer\n\
         \x20   message: msg-0002\n    owner: agent-a\nmessages:\n  - id: msg-0001\n    event: evt-0001\n    body: |-\n      # Don't stop\n\n\
         \x20     ## Context\n  - id: msg-0002\n    event: evt-0002\n    body: |-\n      Claimed.\n",
    ),
    (
        "repos/tools/issues/open/TLS-ISS-20260704-122139-001.yaml",
        "schema: coordination-item/v1\nid: TLS-ISS-20260704-122139-001\ntype: issue\ncategory: null\nstatus: open\nproject: team\n\
         title: plain\nowner: null\npriority: medium\ncreated: 2026-07-04T12:21:39Z\nupdated: 2026-07-04T12:21:39Z\ndone: null\nclosed: null\n\
         reviewed: false\nverified: false\ntestable: no\ntestability_note: 'x'\nrelated: []\ncurrent:\n  event: evt-0001\n  message: msg-0001\nevents:\n\
         \x20 - id: evt-0001\n    type: opened\n    at: 2026-07-04T12:21:39Z\n    actor:\n      id: agent-a\n      role: null\n    message: msg-0001\n\
         messages:\n  - id: msg-0001\n    event: evt-0001\n    body: |-\n      # plain\n",
    ),
    (
        "requirements/TEAM-FRQ-20260607-204155-001.yaml",
        "schema: coordination-item/v1\nid: TEAM-FRQ-20260607-204155-001\ntype: functional-requirement\nstatus: active\nproject: team\ntitle: Start\n\
         owner: null\npriority: medium\ncreated: 2026-06-07T20:41:55Z\nupdated: 2026-06-07T20:41:55Z\ndone: null\nclosed: null\nreviewed: false\n\
         verified: false\nrequirement_key: CMD-001\nrequirement_class: functional\nrequirement_kind: detailed-behavior\ndomain: requirements\n\
         render_order: 10\nrender_section: '3.1 Commands'\nsource_refs:\n  - REQUIREMENTS.md:12\ntestable: no\ntestability_note: 'x'\nrelated: []\n\
         body: |-\n  CMD-001: it starts.\n\n    - deeper\n",
    ),
    (
        "todos/TEAM-TODO-20260607-204155-001.yaml",
        "schema: coordination-item/v1\nid: TEAM-TODO-20260607-204155-001\ntype: todo\nstatus: active\nproject: team\ntitle: 'Say: so'\nowner: null\n\
         priority: low\ncreated: 2026-06-07T20:41:55Z\nupdated: 2026-06-07T20:41:55Z\ndone: null\nclosed: null\nreviewed: false\nverified: false\n\
         testable: no\ntestability_note: 'x'\nrelated: []\nbody: |-\n  # Say: so\n",
    ),
];

/// A clone of a repository that the older tools have made.
fn older() -> Domain {
    let domain = Domain(Project::new(""));
    let clone = ".pi-env/coordination";
    for (path, text) in FILES {
        domain.0.write(format!("{clone}/{path}"), text);
    }
    let at = domain.clone_of();
    domain.git(&at, &["-c", "init.defaultBranch=main", "init", "-q"]);
    domain.git(&at, &["add", "--all"]);
    domain.git(&at, &["commit", "-q", "-m", "Initialize coordination repository"]);
    let remote = domain.remote();
    domain.0.write(".pi-env/agent-remotes/.keep", "");
    domain.git(
        remote.parent().unwrap(),
        &["clone", "-q", "--bare", at.to_str().unwrap(), remote.to_str().unwrap()],
    );
    domain.git(&at, &["remote", "add", "origin", "../agent-remotes/project-coordination.git"]);
    domain
}

fn read(at: &Path) -> BTreeMap<&'static str, String> {
    FILES.iter().map(|(path, _)| (*path, fs_err::read_to_string(at.join(path)).unwrap_or_default())).collect()
}

#[test]
fn a_repository_of_the_older_tools_stays_as_it_is() {
    let domain = older();
    let before = read(&domain.clone_of());
    let head = domain.git(&domain.clone_of(), &["rev-parse", "HEAD"]);
    for words in [
        &["status"][..],
        &["list"],
        &["list", "--json", "--all-repos", "issues"],
        &["list", "--group-by-category", "issues"],
        &["show", "TEAM-ISS-20260607-204155-001"],
        &["log"],
        &["search", "stop"],
        &["lint"],
        &["requirements", "generate"],
        &["repo", "list"],
        &["bootstrap", "--no-status"],
        &["clone"],
        &["pull"],
        &["push"],
        &["rules", "upgrade", "--preview"],
        &["test"],
    ] {
        domain.pier(words).expect(0);
    }
    assert_eq!(read(&domain.clone_of()), before);
    assert_eq!(domain.git(&domain.clone_of(), &["rev-parse", "HEAD"]), head);
    assert_eq!(domain.git(&domain.remote(), &["rev-parse", "main"]), head);
    // What changes is what was asked for, and every line of others stays.
    let (path, id) = ("issues/open/TEAM-ISS-20260607-204155-001.yaml", "TEAM-ISS-20260607-204155-001");
    domain.pier(&["comment", "--agent-id", "b", id, "seen"]).expect(0);
    let after = read(&domain.clone_of());
    assert_eq!(after.iter().filter(|(path, text)| before[*path] != **text).count(), 1);
    let kept: Vec<&str> = after[path].lines().collect();
    let changed: Vec<&str> = before[path].lines().filter(|line| !kept.contains(line)).collect();
    assert_eq!(changed, ["updated: 2026-06-07T20:50:00Z", "  event: evt-0002", "  message: msg-0002"]);
    for line in [
        "owner: agent-a   # since Monday",
        "estimate: 3 days",
        "# The history.",
        "  - id: evt-0003",
        "  - id: msg-0003",
    ] {
        assert!(kept.contains(&line), "{line}: {}", after[path]);
    }
    // The claim of the other tool has no end, and is a claim.
    domain.pier(&["claim", "--agent-id", "b", id]).refused(1, "coord::refused");
    let words = ["done", "--agent-id", "agent-a", id];
    assert!(domain.pier(&words).expect(0).text().ends_with(&format!("/issues/done/{id}.yaml")));
}

#[test]
fn done_names_the_commit_of_the_project() {
    let domain = Domain::new();
    let root = domain.0.root();
    domain.git(&root, &["commit", "-q", "--allow-empty", "-m", "work"]);
    domain.git(&root, &["remote", "add", "origin", "git@example.com:team/tools.git"]);
    let id = domain.issue("one");
    domain.pier(&["claim", &id]).expect(0);
    domain.pier(&["done", &id]).expect(0);
    let events = json(&domain.pier(&["log", "--json", &id]).expect(0));
    let commit = domain.git(&root, &["rev-parse", "HEAD"]);
    let expected = serde_json::json!([{ "repo": "tools", "branch": "main", "commit": commit }]);
    assert_eq!(events[2]["implementation_refs"], expected);
}

#[test]
fn the_variables_of_the_older_tools_count() {
    let domain = older();
    let call = |words: &[&str], set: &[(&str, &str)]| {
        let call = domain.call(words);
        set.iter().fold(call, |call, (name, value)| call.env(name, value)).run()
    };
    let other = domain.another("other");
    // Both spellings of each, for the older one is what people have in their shells.
    for prefix in ["PI_COORD_", "PI_ENV_COORD_"] {
        let name = |name: &str| format!("{prefix}{name}");
        let (dir, agent, role, repo) = (name("DIR"), name("AGENT_ID"), name("ROLE"), name("REPO_ID"));
        let set = [(dir.as_str(), other.as_str()), (&agent, "dev"), (&role, "developer"), (&repo, "tools")];
        let made = call(&["new", "--no-push", prefix], &set).expect(0).text();
        assert!(made.starts_with(&format!("{other}/repos/tools/issues/open/TLS-ISS-")), "{made}");
        let log = domain.git(other.as_ref(), &["log", "-1", "--format=%an <%ae>"]);
        assert_eq!(log, "dev/developer <dev+developer@coordination.local>");
        let scope = call(&["status"], &set).expect(0).text();
        assert!(scope.contains("Issue scope: repo tools"), "{scope}");
        // What is printed is what would be done.
        let project = Project::new("");
        let plan = |more: &[&str], set: &[(String, &str)]| {
            let mut words = vec!["coord", "bootstrap", "--print-only"];
            words.extend(more);
            let call = project.call(words);
            set.iter().fold(call, |call, (name, value)| call.env(name, value)).run()
        };
        let set = [(name("PROJECT"), "named"), (name("PROJECT_KEY"), "ke-y"), (name("ROOT"), "/srv/remotes")];
        let said = plan(&[], &set).expect(0).text();
        assert!(
            said.contains("/srv/remotes/named-coordination.git") && said.contains("Item key:     KEY"),
            "{said}"
        );
        for remote in ["REMOTE_URL", "REMOTE"] {
            let said = plan(&[], &[(name(remote), "git@example.com:a/b.git")]).expect(0).text();
            assert!(said.contains("Remote:       git@example.com:a/b.git\n"), "{said}");
        }
        // Another project is called otherwise; where the remotes are stays true.
        let said = plan(&["--project-root", "."], &set).expect(0).text();
        assert!(
            said.contains("/srv/remotes/project-coordination.git") && said.contains("Item key:     PROJECT"),
            "{said}"
        );
        plan(&[], &[(name("WORKSPACE"), "x")]).refused(2, "coord::usage");
    }
    let elsewhere = Project::new("");
    let root = domain.0.root().display().to_string();
    let call = elsewhere.call(["coord", "list", "issues"]).env("PI_ENV_COORD_PROJECT_ROOT", &root);
    assert!(call.run().expect(0).text().contains("Don't stop"));
    // Nobody is called anything: the id is the user's, or `agent`.
    let made = domain.0.call(["coord", "new", "--no-push", "--coord-dir", &other, "--repo-id", "tools", "x"]);
    made.run().expect(0);
    assert_eq!(domain.git(other.as_ref(), &["log", "-1", "--format=%an"]), "agent");
}

#[test]
fn the_rules_of_the_older_lint_hold() {
    let domain = older();
    let lint = |more: &[&str], set: &[(&str, &str)]| {
        let mut words = vec!["lint", "--json"];
        words.extend(more);
        let call = domain.call(&words);
        let said = set.iter().fold(call, |call, (name, value)| call.env(name, value)).run();
        let answer = json(&said);
        let all = answer["findings"].as_array().unwrap().clone();
        let message = |one: &serde_json::Value| {
            format!("{} {}", one["level"].as_str().unwrap(), one["message"].as_str().unwrap())
        };
        all.iter().map(message).collect::<Vec<_>>()
    };
    let root = "warn it is in the place of no repository";
    assert_eq!(lint(&[], &[]), [root]);
    let strict = [("PI_ENV_COORD_LINT_ROOT_ISSUES", "fail")];
    assert_eq!(lint(&[], &strict), [root.replace("warn", "fail")]);
    let clone = domain.clone_of();
    let at = |path: &str| clone.join(path);
    let has = |told: &str| {
        let all = lint(&[], &[]);
        assert!(all.iter().any(|line| line.contains(told)), "{told}: {all:?}");
    };
    // Rules 1, 2, 7, 8, 9, 18 and 20, each alone.
    fs_err::write(at("WORKSPACE.md"), "").unwrap();
    has("no part of a coordination repository any more");
    fs_err::remove_file(at("WORKSPACE.md")).unwrap();
    let change = |path: &str, from: &str, to: &str, told: &str| {
        let text = fs_err::read_to_string(at(path)).unwrap();
        assert!(text.contains(from), "{from}");
        fs_err::write(at(path), text.replacen(from, to, 1)).unwrap();
        has(told);
        fs_err::write(at(path), text).unwrap();
    };
    change("repos/tools/REPO.md", "repo_id: tools", "repo_id: other", "its REPO.md is about `other`");
    change("repos/tools/REPO.md", "status: active", "status: lost", "and not active, inactive or retired");
    change(
        "repos/tools/REPO.md",
        "status: active",
        "status: retired",
        "the repository `tools` is not active",
    );
    let requirement = "requirements/TEAM-FRQ-20260607-204155-001.yaml";
    change(requirement, "domain: requirements", "domain: null", "it has no domain");
    change(
        requirement,
        "type: functional-requirement",
        "type: requirement",
        "functional, quality or constraint",
    );
    change(
        requirement,
        "source_refs:\n  - REQUIREMENTS.md:12",
        "source_refs: []",
        "`source_refs` does not say",
    );
    let todo = "todos/TEAM-TODO-20260607-204155-001.yaml";
    change(todo, "body: |-\n  # Say: so\n", "body: |-\n", "needs a `body: |-` that says something");
    change(todo, "body:", "current:\nbody:", "a todo has no history");
    domain.0.write("designs/one.md", "# No table\n");
    has("designs/one.md: it has no `## Covers`");
    domain.0.write("designs/one.md", "## Covers\n\n| Requirement | Coordination item |\n|---|---|\n| CMD-001 | TEAM-FRQ-20260607-204155-001 |\n");
    assert_eq!(lint(&[], &[]), [root]);
}

#[test]
fn complaints_about_a_line_are_those_of_the_older_name() {
    let project = Project::new("");
    for (name, words, usage) in [
        ("agent-coord-init", &["--workspace", "foo"][..], "agent-coord: usage: agent-coord-init "),
        ("pi-env-coord-upgrade-rules", &["--bogus"], "pi-env-coord: usage: pi-env-coord-upgrade-rules "),
        ("agent-coord-claim", &[], "agent-coord: usage: agent-coord-claim "),
    ] {
        let said = crate::old_names::call(&project, name, words).run().expect(1).said();
        let tool = if name.starts_with("pi-env") { "pi-env-coord: " } else { "agent-coord: " };
        assert!(said.lines().all(|line| line.starts_with(tool)), "{said}");
        assert!(said.contains(usage) && !said.contains("pier coord"), "{said}");
    }
    assert!(!project.root().join(".pi-env").exists());
}

#[test]
fn variables_of_sandboxes_are_nothing_to_a_list() {
    let domain = Domain::new();
    let id = domain.issue("one");
    let call = domain.call(&["list", "issues"]);
    let call =
        call.env("PI_BWRAP_NET", "true").env("PI_BWRAP_BOGUS", "1").env("PI_ENV_BWRAP_AUTH_SYNC", "often");
    let listed = call.run().expect(0);
    assert_eq!((listed.text(), listed.said()), (format!("{id}\topen\tone"), String::new()));
}
