//! Commits that do not follow by themselves: `merge=`, `pier diff`, `pier merge` and `pier drop`.

use std::time::Duration;

use serde_json::Value;

use super::{COMMIT, Repository};
use crate::sandbox::within;
use crate::tty::Terminal;

/// A session that commits while the host commits too.
fn diverged() -> Repository {
    let repository = Repository::new("");
    let script =
        "set -e; echo agent > b; git add b; git commit -qm \"agent's $(printf '\\e[31m')\"; touch ready
        until [ -e go ]; do sleep 0.02; done; rm go ready";
    let mut child = repository.project.call(["exec", "--", "bash", "-c", script]).start();
    let ready = repository.project.root().join("ready");
    assert!(within(Duration::from_secs(30), || ready.exists()));
    repository.git(&["commit", "-q", "--allow-empty", "-m", "host"]);
    repository.project.write("go", "");
    assert!(child.wait().unwrap().success());
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("main waits in refs/pier/") && said.contains("it has other commits"), "{said}");
    assert!(said.contains("pier merge "), "{said}");
    repository
}

#[test]
fn a_branch_that_the_host_moved_is_merged_when_asked() {
    let repository = diverged();
    assert_eq!(repository.git(&["log", "--format=%s"]), "host\none");
    let output = repository.pier(&["diff", "--stat"]).expect(0);
    assert!(
        output.text().contains("agent's \\u{1b}[31m") && !output.text().contains('\u{1b}'),
        "{}",
        output.text()
    );
    assert!(output.text().contains("b | 1 +"), "{}", output.text());
    assert!(repository.pier(&["diff"]).expect(0).text().contains("+agent"));
    let answer: Value =
        serde_json::from_slice(&repository.pier(&["diff", "--json"]).expect(0).stdout).unwrap();
    assert_eq!(answer["references"][0]["name"], "heads/main");
    assert_eq!(answer["references"][0]["files"][0]["path"], "b");
    assert_eq!(answer["references"][0]["commits"].as_array().unwrap().len(), 1);

    // The session's own file is in the way, until it is put aside.
    let output = repository.pier(&["merge"]).expect(1);
    assert!(output.said().contains("git::merge") && output.said().contains("untracked"), "{}", output.said());
    fs_err::remove_file(repository.project.root().join("b")).unwrap();
    assert_eq!(repository.pier(&["merge"]).expect(0).text(), "main forwarded");
    assert_eq!(repository.git(&["log", "-1", "--format=%s %an"]).split(' ').next(), Some("Merge"));
    assert_eq!(repository.project.read("b"), "agent\n");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert!(repository.waiting().is_empty());
    repository.pier(&["merge"]).refused(2, "git::session");
}

#[test]
fn a_session_that_is_not_wanted_is_dropped() {
    let repository = diverged();
    let before = repository.id("main");
    let id = repository.git(&["for-each-ref", "--format=%(refname)", "refs/pier"]);
    let id = id.split('/').nth(2).unwrap();
    repository.pier(&["drop", "zzzzzzzz"]).refused(2, "git::session");
    let output = repository.pier(&["drop", &id[..4]]).expect(0);
    assert!(output.text().starts_with("dropped main, which was "), "{}", output.text());
    assert!(repository.waiting().is_empty());
    assert_eq!(repository.id("main"), before);
    assert!(fs_err::read_dir(repository.project.state().join("imports")).unwrap().next().is_none());
}

#[test]
fn manual_and_ask_without_a_terminal_move_nothing() {
    for mode in ["manual", "ask"] {
        let repository = Repository::new(&format!("workspace {{ git shadow merge=\"{mode}\"; }}\n"));
        let before = repository.id("main");
        let output = repository.inside(&format!("{COMMIT} git branch new; git switch -qc third"));
        assert!(
            output.said().starts_with("git: main, new, third imported; see `pier diff "),
            "{}",
            output.said()
        );
        assert_eq!(repository.id("main"), before);
        assert_eq!(repository.waiting(), ["heads/main", "heads/new", "heads/third"]);
        let output = repository.pier(&["merge"]).expect(0);
        assert_eq!(output.text(), "main forwarded, new, third created, third checked out");
        assert_eq!(repository.git(&["status", "--porcelain"]), "");
        assert_eq!(repository.git(&["log", "--format=%s"]), "two\none");
        assert!(repository.waiting().is_empty());
    }
}

#[test]
fn ask_at_a_terminal_asks() {
    let repository = Repository::new("workspace { git shadow merge=\"ask\"; }\n");
    let mut terminal = Terminal::start(&repository.project, &["exec", "--", "bash", "-c", COMMIT]);
    terminal.see("let the branches follow? [y/N] ");
    terminal.press("y\r");
    terminal.see("main forwarded");
    terminal.end(0);
    assert_eq!(repository.git(&["log", "--format=%s"]), "two\none");
}

#[test]
fn commits_that_cannot_be_imported_are_kept_and_tried_again() {
    let repository = Repository::new("");
    repository.project.write(".git/refs/pier", "in the way");
    let output = repository.inside(COMMIT);
    assert!(output.said().contains("are kept, and `pier merge "), "{}", output.said());
    assert_eq!(repository.kept().len(), 1);
    fs_err::remove_file(repository.project.root().join(".git/refs/pier")).unwrap();
    assert_eq!(repository.pier(&["merge"]).expect(0).text(), "main forwarded");
    assert_eq!(repository.git(&["log", "--format=%s"]), "two\none");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert!(repository.kept().is_empty());
}

#[test]
fn a_branch_that_was_rewritten_inside_waits() {
    let repository = Repository::new("");
    let before = repository.id("main");
    let output = repository.inside("git commit -q --amend -m other");
    assert!(output.said().contains("main waits in refs/pier/"), "{}", output.said());
    assert_eq!(repository.id("main"), before);
}

#[test]
fn a_merge_that_goes_on_at_the_host_is_left_alone() {
    let repository = Repository::new("");
    repository.git(&["switch", "-qc", "side"]);
    repository.project.write("a", "side\n");
    repository.git(&["commit", "-qam", "side"]);
    repository.git(&["switch", "-q", "main"]);
    repository.project.write("a", "main\n");
    repository.git(&["commit", "-qam", "main"]);
    drop(repository.try_git(&["merge", "side"]));
    let before = repository.id("main");
    let output = repository
        .inside("test -e .git/MERGE_HEAD; echo both > a; git commit -qam merged; git log -1 --format=%P");
    assert_eq!(output.text().split(' ').count(), 2);
    assert!(output.said().contains("is going on"), "{}", output.said());
    assert_eq!(repository.id("main"), before);
    assert!(repository.project.root().join(".git/MERGE_HEAD").exists());
}

#[test]
fn an_index_that_somebody_else_writes_is_left_alone() {
    let repository = Repository::new("");
    repository.project.write(".git/index.lock", "");
    let before = repository.id("main");
    let output = repository.inside(COMMIT);
    assert!(output.said().contains("index.lock"), "{}", output.said());
    assert_eq!(repository.id("main"), before);
    fs_err::remove_file(repository.project.root().join(".git/index.lock")).unwrap();
    assert_eq!(repository.pier(&["merge"]).expect(0).text(), "main forwarded");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}
