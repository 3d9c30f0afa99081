//! Remotes that are gone, refuse or rewrite; processes that are killed; files that are broken.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::{Domain, json};
use crate::sandbox::{Project, within};

/// A remote outside of the project, whose hooks are its own.
fn with_server() -> (Domain, std::path::PathBuf) {
    let domain = Domain(Project::new(""));
    let server = domain.0.base().join("server.git");
    domain.pier(&["bootstrap", "--remote", server.to_str().unwrap()]).expect(0);
    (domain, server)
}

#[test]
fn a_remote_that_declines_leaves_nobody_with_a_claim() {
    let (domain, server) = with_server();
    let id = domain.issue("one");
    let hook = server.join("hooks/pre-receive");
    fs_err::create_dir_all(hook.parent().unwrap()).unwrap();
    fs_err::write(&hook, "#!/bin/sh\necho not today >&2\nexit 1\n").unwrap();
    fs_err::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    domain.0.give_away();
    let before = domain.git(&domain.clone_of(), &["rev-parse", "HEAD"]);
    let said = domain.pier(&["claim", &id]).refused(1, "coord::remote");
    assert!(said.flat().contains("not today"), "{}", said.said());
    assert_eq!(domain.git(&domain.clone_of(), &["rev-parse", "HEAD"]), before);
    assert_eq!(domain.git(&domain.clone_of(), &["status", "--porcelain"]), "");
    assert_eq!(domain.rows(&["issues"])[0]["status"], "open");
    domain.pier(&["comment", &id, "x"]).refused(1, "coord::remote");
    fs_err::remove_file(&hook).unwrap();
    domain.pier(&["claim", &id]).expect(0);
}

#[test]
fn without_the_remote_work_waits_and_claims_do_not() {
    let (domain, server) = with_server();
    let id = domain.issue("one");
    let away = server.with_extension("away");
    fs_err::rename(&server, &away).unwrap();
    domain.pier(&["claim", &id]).refused(1, "coord::remote");
    domain.pier(&["claim", "--no-pull", &id]).refused(1, "coord::remote");
    assert_eq!(domain.rows(&["issues"])[0]["status"], "open");
    let said = domain.pier(&["comment", "--json", &id, "offline"]).expect(0);
    assert!(said.flat().contains("in the clone alone until the next push"), "{}", said.said());
    assert_eq!(json(&said)["pushed"], false);
    let other = domain.issue("made offline");
    assert_eq!(domain.pier(&["push"]).code(), Some(1));
    domain.pier(&["pull"]).refused(1, "coord::remote");
    fs_err::rename(&away, &server).unwrap();
    domain.pier(&["push"]).expect(0);
    let clone = domain.another("other");
    let rows = json(&domain.pier(&["list", "--json", "--coord-dir", &clone]).expect(0));
    assert!(rows.as_array().unwrap().iter().any(|row| row["id"] == other.as_str()));
    assert!(domain.pier(&["log", "--coord-dir", &clone, &id]).expect(0).text().contains("offline"));
}

/// Somebody who is faster with every push.
const FASTER: &str = "#!/bin/sh
unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@example.com GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@example.com
git update-ref refs/heads/main $(git commit-tree -p main -m faster 'main^{tree}')
";

/// Only a debug build can be told to lose its patience.
#[cfg(debug_assertions)]
#[test]
fn what_others_are_always_faster_with_waits_in_the_clone() {
    let (domain, server) = with_server();
    let id = domain.issue("one");
    let hook = server.join("hooks/pre-receive");
    fs_err::create_dir_all(hook.parent().unwrap()).unwrap();
    fs_err::write(&hook, FASTER).unwrap();
    crate::sandbox::make_executable(&hook);
    domain.0.give_away();
    let soon = |words: &[&str]| domain.call(words).env("PIER_FAILPOINT", "coord.patience:error").run();
    // One that only one may have is nobody's.
    let said = soon(&["claim", &id]).refused(1, "coord::remote").flat();
    assert!(said.contains("others were faster") && said.contains("nothing has changed"), "{said}");
    assert_eq!(domain.rows(&["issues"])[0]["status"], "open");
    let said = soon(&["new", "--json", "two"]).expect(0);
    assert!(
        said.flat().contains("in the clone alone until the next push, for others were"),
        "{}",
        said.flat()
    );
    assert_eq!(json(&said)["pushed"], false);
    assert_eq!(soon(&["push"]).code(), Some(1));
    fs_err::remove_file(&hook).unwrap();
    domain.pier(&["push"]).expect(0);
    let clone = domain.another("other");
    let rows = json(&domain.pier(&["list", "--json", "--coord-dir", &clone]).expect(0));
    assert!(rows.as_array().unwrap().iter().any(|row| row["id"] == json(&said)["id"]), "{rows}");
}

#[test]
fn changes_of_one_item_in_two_clones_lose_nothing() {
    let (domain, server) = with_server();
    let id = domain.issue("one");
    let other = domain.another("other");
    // A claim of what somebody has not fetched is none.
    let third = domain.another("third");
    domain.pier(&["comment", &id, "zeroth"]).expect(0);
    domain.pier(&["claim", "--coord-dir", &third, "--no-pull", &id]).refused(1, "coord::remote");
    let clean = domain.git(third.as_ref(), &["status", "--porcelain", "--branch"]);
    assert_eq!(clean, "## main...origin/main");
    // Both come to the remote: the second one is applied to what the first one has left.
    domain.pier(&["comment", &id, "first"]).expect(0);
    domain.pier(&["comment", "--coord-dir", &other, &id, "second"]).expect(0);
    let log = domain.pier(&["log", "--coord-dir", &other, &id]).expect(0).text();
    assert!(log.contains("first") && log.contains("second"), "{log}");
    // What was committed without the remote and does not fit is told, and stays.
    let away = server.with_extension("away");
    fs_err::rename(&server, &away).unwrap();
    domain.pier(&["comment", &id, "third, offline"]).expect(0);
    fs_err::rename(&away, &server).unwrap();
    domain.pier(&["comment", "--coord-dir", &other, &id, "fourth"]).expect(0);
    domain.pier(&["claim", &id]).refused(1, "coord::conflict");
    assert!(domain.pier(&["log", &id]).expect(0).text().contains("third, offline"));
    assert_eq!(domain.git(&domain.clone_of(), &["status", "--porcelain"]), "");
}

/// Fills a file system, and leaves so many bytes.
pub fn fill(place: &std::path::Path, free: u64) {
    let mut file = fs_err::File::create(place.join("fill")).unwrap();
    while file.write_all(&[b'x'; 4096]).is_ok() {}
    let size = file.metadata().unwrap().len();
    file.set_len(size.saturating_sub(free)).unwrap();
}

#[test]
fn a_full_disk_harms_nothing_and_is_told() {
    let domain = Domain::new();
    let Some(small) = crate::limits::Small::mount("4m", domain.0.owner()) else { return };
    let clone = small.0.path().join("clone");
    let at = clone.to_str().unwrap();
    let (mut told, mut behind) = (0, 0);
    domain.pier(&["clone", "--dir", at]).expect(0);
    let clean = || domain.git(&clone, &["status", "--porcelain"]);
    for free in [0, 4, 8, 12, 16, 20, 24, 32, 48, 96] {
        let id = domain.issue(&format!("with {free} kB"));
        domain.pier(&["pull", "--coord-dir", at]).expect(0);
        fill(small.0.path(), free << 10);
        let claim = ["claim", "--coord-dir", at, "--agent-id", "a", &id];
        let said = domain.pier(&claim);
        if said.code() != Some(0) {
            let said = said.refused(1, "coord::files").flat();
            let is_told =
                ["No space left on device", "Out of diskspace"].iter().any(|told| said.contains(told));
            assert!(is_told && said.contains("help: "), "{said}");
            told += 1;
            behind += u32::from(said.contains("the remote has it"));
        }
        // What is said in the clone alone is there whole, or not at all.
        let comment = ["comment", "--coord-dir", at, "--no-push", &id, "only once"];
        let said = domain.pier(&comment);
        // What git has begun in vain takes no room: where a git was just ending, not after the next call.
        let begun = || {
            let packs = fs_err::read_dir(clone.join(".git/objects/pack")).unwrap().flatten();
            packs.filter(|entry| entry.file_name().to_str().unwrap().starts_with("tmp_")).count()
        };
        let is_gone = within(Duration::from_secs(20), || {
            begun() == 0 || {
                domain.pier(&["pull", "--coord-dir", at]);
                begun() == 0
            }
        });
        assert!(is_gone, "{free}");
        fs_err::remove_file(small.0.path().join("fill")).unwrap();
        if said.code() != Some(0) {
            said.refused(1, "coord::files");
            domain.pier(&comment).expect(0);
        }
        domain.pier(&["push", "--coord-dir", at]).expect(0);
        assert_eq!(clean(), "", "{free}");
        domain.pier(&claim).expect(0);
        domain.git(&clone, &["fsck", "--strict", "--no-dangling"]);
        let text = domain.pier(&["log", "--coord-dir", at, &id]).expect(0).text();
        assert_eq!(text.matches("only once").count(), 1, "{free}: {text}");
    }
    assert!(told > 1, "{told} refused, {behind} after the remote had it");
}

#[test]
fn a_rewritten_history_is_told_and_nothing_is_lost() {
    let (domain, _) = with_server();
    let id = domain.issue("one");
    let other = domain.another("other");
    domain.git(other.as_ref(), &["commit", "-q", "--amend", "-m", "rewritten"]);
    domain.git(other.as_ref(), &["push", "-q", "--force"]);
    let said = domain.pier(&["pull"]).refused(1, "coord::remote").flat();
    assert!(said.contains("`git reset --hard @{upstream}` in the clone take it"), "{said}");
    domain.pier(&["claim", &id]).refused(1, "coord::remote");
    // What waits here is named, and how it is kept.
    domain.pier(&["comment", "--no-pull", "--no-push", &id, "queued"]).expect(0);
    domain.pier(&["new", "--no-commit", "two"]).expect(0);
    let said = domain.pier(&["pull"]).refused(1, "coord::remote").flat();
    let waits = format!(
        "keep what waits here: \"Comment on {id}\", 1 file in no commit. `git reset --hard` drops that"
    );
    assert!(said.contains(&waits) && said.contains("git rebase --autostash --onto @{upstream} "), "{said}");
    // Nor is it made undone.
    domain.pier(&["push"]).refused(1, "coord::remote");
    let now = domain.git(other.as_ref(), &["ls-remote", "origin", "refs/heads/main"]);
    assert!(now.starts_with(domain.git(other.as_ref(), &["rev-parse", "HEAD"]).trim()), "{now}");
    assert_eq!(domain.rows(&["issues"])[0]["status"], "open");
}

#[test]
fn an_item_that_two_have_moved_keeps_its_name() {
    let domain = Domain::new();
    let id = domain.issue("one");
    let other = domain.another("other");
    for at in [&other, domain.clone_of().to_str().unwrap()] {
        let words =
            ["done", "--coord-dir", at, "--no-push", "--force", "--agent-id", at, "--message", at, &id];
        domain.pier(&words).expect(0);
    }
    domain.pier(&["push", "--coord-dir", &other]).expect(0);
    let before = domain.git(&domain.clone_of(), &["log", "-1", "--format=%H"]);
    for words in [&["push"][..], &["pull"]] {
        domain.pier(words).refused(1, "coord::conflict");
        assert_eq!(domain.git(&domain.clone_of(), &["log", "-1", "--format=%H"]), before);
        assert_eq!(domain.git(&domain.clone_of(), &["status", "--porcelain"]), "");
        let rows = domain.rows(&["issues"]);
        assert_eq!((rows.len(), rows[0]["id"].as_str()), (1, Some(&*id)));
    }
}

#[test]
fn a_clone_in_the_middle_of_something_is_left_alone() {
    let domain = Domain::new();
    let id = domain.issue("one");
    domain.git(&domain.clone_of(), &["checkout", "-q", "--detach"]);
    domain.pier(&["claim", &id]).refused(1, "coord::clone");
    domain.git(&domain.clone_of(), &["checkout", "-q", "main"]);
    domain.pier(&["claim", &id]).expect(0);
}

/// Only a debug build has the steps.
#[cfg(debug_assertions)]
#[test]
fn whoever_is_killed_leaves_nothing_half_done() {
    for (step, has_it) in
        [("coord.pending", false), ("coord.pushed", true), ("coord.written", true), ("coord.indexed", true)]
    {
        let domain = Domain::new();
        let id = domain.issue("one");
        let other = domain.another("other");
        let killed =
            domain.call(&["claim", "--agent-id", "a", &id]).env("PIER_FAILPOINT", format!("{step}:kill"));
        assert_eq!(killed.run().code(), None, "{step}");
        // The remote decides, for everybody.
        let taken = domain.pier(&["claim", "--coord-dir", &other, "--agent-id", "b", &id]);
        assert_eq!(taken.code(), Some(i32::from(has_it)), "{step}: {}", taken.said());
        domain.pier(&["pull"]).expect(0);
        let winner = if has_it { "a" } else { "b" };
        assert_eq!(domain.rows(&["issues"])[0]["owner"], winner, "{step}");
        assert_eq!(domain.git(&domain.clone_of(), &["status", "--porcelain"]), "", "{step}");
        let again = domain.pier(&["claim", "--agent-id", "a", &id]);
        assert_eq!(again.code(), Some(i32::from(!has_it)), "{step}: {}", again.said());
        // Moving a file is one step, too.
        if has_it {
            let killed =
                domain.call(&["done", "--agent-id", "a", &id]).env("PIER_FAILPOINT", format!("{step}:kill"));
            assert_eq!(killed.run().code(), None, "{step}");
            domain.pier(&["pull"]).expect(0);
            assert_eq!(domain.rows(&["issues"]).len(), 1, "{step}");
            assert_eq!(domain.rows(&["issues"])[0]["status"], "done", "{step}");
            assert_eq!(domain.git(&domain.clone_of(), &["status", "--porcelain"]), "", "{step}");
        }
    }
}

#[test]
fn broken_items_are_shown_as_far_as_they_can_be() {
    let domain = Domain::new();
    let id = domain.issue("one");
    let clone = domain.clone_of();
    let write = |path: &str, text: &[u8]| {
        fs_err::create_dir_all(clone.join(path).parent().unwrap()).unwrap();
        fs_err::write(clone.join(path), text).unwrap();
    };
    write("issues/open/B-1.yaml", b"id: B-1\ntype: issue\nstatus: open\ntitle: [unclosed\n\tbad\n");
    write("issues/open/B-2.yaml", b"<<<<<<< HEAD\nid: B-2\ntype: issue\nstatus: open\n=======\nid: B-3\n>>>>>>> x\ntitle: \x1b[31mred\xff\n");
    write(
        "issues/open/B-4.yaml",
        b"id: B-4\r\ntype: issue\r\nstatus: open\r\ntitle: dos\r\nown_key: kept # so\r\n",
    );
    write("issues/open/empty.yaml", b"");
    write("issues/open/huge.yaml", &vec![b'x'; 5 << 20]);
    std::os::unix::fs::symlink("/etc/passwd", clone.join("issues/open/link.yaml")).unwrap();
    domain.0.give_away();
    let listed = domain.pier(&["list", "issues"]).expect(0);
    assert!(listed.said().contains("huge.yaml"), "{}", listed.said());
    let text = listed.text();
    assert!(
        text.contains("B-1\topen\t[unclosed") && text.contains("B-4\topen\tdos") && text.contains(&id),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
    domain.pier(&["comment", "--no-push", "B-4", "x"]).refused(1, "coord::refused");
    domain.pier(&["priority", "--no-push", "B-4", "high"]).expect(1);
}

const GOOD: &str = "schema: coordination-item/v1\nid: ID\ntype: issue\nstatus: open\ntitle: TITLE\nowner: null\nreviewed: false\n\
    verified: false\ntestable: no\ntestability_note: 'x'\nrelated: []\ncurrent:\n  event: evt-0001\n  message: msg-0001\nevents:\n\
    \u{20} - id: evt-0001\n    type: opened\n    at: 2026-01-02T03:04:05Z\n    actor:\n      id: a\n      role: null\n    message: msg-0001\n\
    messages:\n  - id: msg-0001\n    event: evt-0001\n    body: |-\n      b\n";

/// Writes an issue into the clone, which nobody has committed.
fn write(domain: &Domain, id: &str, text: &str) -> std::path::PathBuf {
    let path = domain.clone_of().join(format!("issues/open/{id}.yaml"));
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, text.replace("ID", id)).unwrap();
    domain.0.give_away();
    path
}

#[test]
fn what_others_could_not_read_is_not_pushed() {
    let domain = Domain::new();
    let at_remote = || domain.git(&domain.remote(), &["rev-parse", "main"]);
    let before = at_remote();
    // No YAML: by force, for older tools read it.
    let path = write(&domain, "B-1", &GOOD.replace("TITLE", "foo: bar"));
    let said = domain.pier(&["push"]).refused(1, "coord::broken").flat();
    assert!(said.contains("`issues/open/B-1.yaml`, line 5: it is no YAML"), "{said}");
    assert!(said.contains("help: nothing has changed; mend that line"), "{said}");
    assert_eq!(at_remote(), before);
    domain.git(&domain.clone_of(), &["add", "--all"]);
    domain.pier(&["push", "--no-add"]).refused(1, "coord::broken");
    // Committed by hand is not pushed yet.
    domain.git(&domain.clone_of(), &["commit", "-q", "-m", "by hand"]);
    domain.pier(&["push"]).refused(1, "coord::broken");
    domain.pier(&["push", "--force"]).expect(0);
    assert_ne!(at_remote(), before);
    // The marks of a conflict: never.
    let before = at_remote();
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::write(
        &path,
        text.replace("status: open\n", "<<<<<<< HEAD\nstatus: open\n=======\nstatus: done\n>>>>>>> x\n"),
    )
    .unwrap();
    for words in
        [&["push"][..], &["push", "--force"], &["claim", "--force", "B-1"], &["claim", "--no-push", "B-1"]]
    {
        let said = domain.pier(words).refused(1, "coord::broken").flat();
        assert!(said.contains("`issues/open/B-1.yaml`, line 4: it has the marks of a conflict"), "{said}");
        assert!(said.contains("keep what both sides say"), "{said}");
    }
    // Of several that are to be claimed, it is one that is not to be had.
    fs_err::write(&path, text.replace("title: foo: bar", "title: x")).unwrap();
    domain.0.give_away();
    domain.pier(&["push"]).expect(0);
    // A link is somewhere else everywhere else.
    std::os::unix::fs::symlink("/etc/passwd", domain.clone_of().join("issues/open/B-2.yaml")).unwrap();
    let said = domain.pier(&["push"]).refused(1, "coord::broken").flat();
    assert!(said.contains("`issues/open/B-2.yaml` is a symbolic link"), "{said}");
    assert!(
        domain.pier(&["list"]).expect(0).flat().contains("B-2.yaml` cannot be read: it is a symbolic link")
    );
    assert_ne!(at_remote(), before);
    fs_err::remove_file(domain.clone_of().join("issues/open/B-2.yaml")).unwrap();
    assert_eq!(domain.git(&domain.clone_of(), &["status", "--porcelain"]), "");
}

#[test]
fn a_step_writes_yaml_and_keeps_what_was_said() {
    let domain = Domain::new();
    let text = GOOD.replace("TITLE", "foo: bar").replace("owner: null", "owner: x: y #z");
    let path = write(&domain, "B-1", &text);
    domain.pier(&["push", "--force"]).expect(0);
    let row = domain.rows(&["issues"])[0].clone();
    assert_eq!((&row["title"], &row["owner"]), (&"foo: bar".into(), &"x: y #z".into()));
    domain.pier(&["claim", "B-1"]).refused(1, "coord::refused");
    domain.pier(&["priority", "B-1", "high"]).expect(0);
    let read: serde_json::Value = serde_saphyr::from_str(&fs_err::read_to_string(&path).unwrap()).unwrap();
    assert_eq!((&read["title"], &read["owner"]), (&"foo: bar".into(), &"x: y #z".into()));
    domain.pier(&["claim", "--force", "B-1"]).expect(0);
    // What no line of it says is left to whoever wrote it.
    let path =
        write(&domain, "B-2", &GOOD.replace("TITLE", "x").replace("related: []", "related: []\n  stray: [x"));
    let before = fs_err::read_to_string(&path).unwrap();
    let said = domain.pier(&["claim", "--no-push", "--no-pull", "B-2"]).refused(1, "coord::broken").flat();
    assert!(said.contains("`issues/open/B-2.yaml`, line 1"), "{said}");
    assert_eq!(fs_err::read_to_string(&path).unwrap(), before);
}

#[test]
fn lines_end_as_they_did_before_a_step() {
    let domain = Domain::new();
    let path = write(&domain, "B-1", &GOOD.replace("TITLE", "dos").replace('\n', "\r\n"));
    domain.pier(&["push"]).expect(0);
    domain.pier(&["claim", "B-1"]).expect(0);
    let text = fs_err::read_to_string(&path).unwrap();
    assert_eq!(text.matches("\r\n").count(), text.matches('\n').count(), "{text:?}");
    assert!(text.contains("status: claimed\r\n") && text.contains("type: claimed\r\n"), "{text:?}");
    let events = json(&domain.pier(&["log", "--json", "B-1"]).expect(0));
    assert_eq!(events[1]["message"], "Claimed.");
    domain.pier(&["lint", "--project-root", "/nonexistent"]).expect(0);
}

#[test]
fn an_id_of_several_files_is_nobodys() {
    let domain = Domain::new();
    let id = domain.issue("one");
    let other = domain.issue("two");
    let path = domain.clone_of().join(format!("issues/open/{id}.yaml"));
    fs_err::copy(&path, domain.clone_of().join("issues/open/copy.yaml")).unwrap();
    domain.0.give_away();
    domain.pier(&["push"]).expect(0);
    for words in [&["claim", &id][..], &["comment", &id, "x"], &["done", "--force", &id]] {
        let said = domain.pier(words).refused(1, "coord::item").flat();
        // Long names are broken where they do not fit.
        let both = format!("issues/open/{id}.yaml,issues/open/copy.yaml");
        assert!(said.replace(' ', "").contains(&both), "{said}");
    }
    let said = domain.pier(&["claim", &id, &other]).expect(1);
    assert!(said.flat().contains("is that of several files"), "{}", said.flat());
    assert_eq!(domain.rows(&["issues", "claimed"]).len(), 1);
}

#[test]
fn what_says_too_little_is_named_and_shown() {
    let domain = Domain::new();
    write(&domain, "empty", "");
    write(&domain, "nameless", "type: issue\nstatus: open\ntitle: Who\n");
    for words in [&["list", "issues"][..], &["status"], &["search", "who"]] {
        let said = domain.pier(words).expect(0);
        let flat = said.flat();
        assert!(
            flat.contains("`issues/open/empty.yaml` is no item that can be read: it has no id and no type"),
            "{flat}"
        );
        assert!(
            flat.contains("`issues/open/nameless.yaml` is no item that can be read: it has no id"),
            "{flat}"
        );
    }
    let shown = domain.pier(&["status"]).expect(0).text();
    assert!(shown.contains("- issues/open/nameless.yaml [open]"), "{shown}");
    let listed = domain.pier(&["list", "issues"]).expect(0).text();
    assert_eq!(listed, "issues/open/nameless.yaml\topen\tWho");
}
