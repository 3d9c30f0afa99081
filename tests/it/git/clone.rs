//! Clone mode: a private working tree for each session, several at once on one repository.

use std::thread;

use super::{COMMIT, Repository};

const CLONE: &str = "workspace { clone #true; }\n";

#[test]
fn two_sessions_at_once_work_in_trees_of_their_own() {
    let repository = Repository::new(CLONE);
    repository.project.write("untracked", "of the host\n");
    let script = |name: &str| {
        format!(
            "set -e; test ! -e untracked; git switch -qc {name}; echo {name} > a; git commit -qam {name}; git status --porcelain"
        )
    };
    thread::scope(|scope| {
        let sessions = ["first", "second"].map(|name| {
            let call = repository.project.call(["exec", "--", "bash", "-c", &script(name)]);
            (name, scope.spawn(move || call.run().expect(0)))
        });
        for (name, session) in sessions {
            let output = session.join().unwrap();
            assert_eq!((output.text(), output.said()), (String::new(), format!("git: {name} created\n")));
        }
    });
    for name in ["first", "second"] {
        assert_eq!(repository.git(&["log", "--format=%s", name]), format!("{name}\none"));
    }
    assert_eq!(repository.git(&["status", "--porcelain"]), "?? untracked");
    assert_eq!(repository.project.read("a"), "one\n");
    assert_eq!(repository.git(&["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert!(repository.kept().is_empty() && repository.waiting().is_empty());
}

#[test]
fn a_branch_that_is_checked_out_waits_for_merge() {
    let repository = Repository::new(CLONE);
    let output = repository.inside(COMMIT);
    assert!(output.said().contains("main waits in refs/pier/"), "{}", output.said());
    assert!(output.said().contains("because it is checked out"), "{}", output.said());
    assert_eq!(repository.project.read("a"), "one\n");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert_eq!(repository.pier(&["merge"]).expect(0).text(), "main forwarded");
    assert_eq!(repository.project.read("a"), "one\ntwo\n");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert!(repository.waiting().is_empty());
}

#[test]
fn work_that_no_commit_has_is_kept() {
    for work in ["echo more >> a", "echo new > new-file", "rm a", "git add -A; echo x > y; git add y"] {
        let repository = Repository::new(CLONE);
        let output = repository.inside(work);
        assert!(output.said().contains("changes that no commit has"), "{work}: {}", output.said());
        assert_eq!(repository.kept().len(), 1, "{work}");
        assert_eq!(repository.git(&["status", "--porcelain"]), "");
        let output = repository.pier(&["drop"]).expect(0);
        assert!(output.text().starts_with("removed "), "{}", output.text());
        assert!(repository.kept().is_empty());
    }
}

#[test]
fn a_session_that_does_nothing_leaves_nothing() {
    let repository = Repository::new(CLONE);
    let output = repository.inside("ls; git status --porcelain; git log --format=%s; echo x > .git/ignored");
    assert_eq!((output.text().as_str(), output.said().as_str()), ("a\npier.kdl\none", ""));
    assert!(repository.kept().is_empty());
}

#[test]
fn nothing_in_a_clone_runs_when_it_is_looked_at() {
    let repository = Repository::new(CLONE);
    let marker = repository.project.base().join("pwned");
    let script = format!(
        "printf '#!/bin/sh\\ntouch {0}\\n' > ev.sh; chmod +x ev.sh; git init -q nested
        for c in .git/config nested/.git/config; do
            printf '[core]\\nfsmonitor = /workspace/ev.sh\\n[filter \"x\"]\\nclean = touch {0}\\n' >> $c; done
        echo '* filter=x' > .gitattributes; mkfifo fifo; rm pier.kdl; mkfifo pier.kdl",
        marker.display()
    );
    let output = repository.inside(&script);
    assert!(output.said().contains("changes that no commit has"), "{}", output.said());
    assert!(!marker.exists());
}

#[test]
fn a_clone_needs_a_repository_of_the_shadow_kind() {
    let repository = Repository::new("workspace { clone #true; git readonly; }\n");
    repository.pier(&["exec", "true"]).refused(2, "workspace::clone");
}
