//! Processes that are killed in the middle of git: what that leaves in a clone, and what becomes of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::Domain;

/// Enough files that git is at work on them for a while.
const MANY: usize = 4000;

/// The lock by which pier's processes keep out of each other's way.
const OWN: &str = ".git/pier-coordination.lock";

/// A domain whose remote has many items that its clone lacks.
fn behind() -> (Domain, String) {
    let domain = Domain::new();
    let other = domain.another("other");
    let todos = Path::new(&other).join("todos");
    for number in 0..MANY {
        let text =
            format!("id: P-TODO-{number}\ntype: todo\nstatus: active\ntitle: x\n{}", "# x\n".repeat(200));
        fs_err::write(todos.join(format!("P-TODO-{number}.yaml")), text).unwrap();
    }
    domain.0.give_away();
    domain.git(other.as_ref(), &["add", "--all"]);
    domain.git(other.as_ref(), &["commit", "-q", "-m", "Add many"]);
    domain.git(other.as_ref(), &["push", "-q"]);
    (domain, other)
}

/// Kills a call with all that it has started as soon as something is there; says whether that is left.
fn kill_when(domain: &Domain, words: &[&str], sign: &Path) -> bool {
    let mut child = domain.call(words).start();
    let end = Instant::now() + Duration::from_secs(30);
    while !sign.exists() && child.try_wait().unwrap().is_none() && Instant::now() < end {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Its git is killed with it, which takes a moment.
    let git = domain.clone_of().canonicalize().unwrap();
    let is_there = || {
        let all = fs_err::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| fs_err::read_link(entry.path().join("cwd")).ok()).any(|cwd| cwd == git)
    };
    assert!(crate::sandbox::within(Duration::from_secs(10), || !is_there()));
    sign.exists()
}

/// Kills a call in the middle of what shows itself by `sign`: some are faster than whoever watches them.
fn killed(prepare: impl Fn(&Domain), words: &[&str], sign: &str) -> (Domain, PathBuf) {
    for _ in 0..8 {
        let (domain, _) = behind();
        prepare(&domain);
        let path = domain.clone_of().join(sign);
        if kill_when(&domain, words, &path) {
            return (domain, path);
        }
    }
    panic!("no call was killed while `{sign}` was there");
}

fn is_whole(domain: &Domain) {
    assert_eq!(
        domain.git(&domain.clone_of(), &["status", "--porcelain", "--branch"]),
        "## main...origin/main"
    );
    assert_eq!(domain.rows(&["todos"]).len(), MANY);
    domain.git(&domain.clone_of(), &["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn a_pull_that_was_killed_in_the_middle_is_gone_on_with() {
    let (domain, lock) = killed(|_| (), &["pull"], ".git/index.lock");
    let said = domain.pier(&["pull"]).expect(0);
    assert!(said.flat().contains("index.lock`, which is removed"), "{}", said.flat());
    assert!(!lock.exists());
    is_whole(&domain);
    let id = domain.issue("after it");
    domain.pier(&["claim", &id]).expect(0);
}

#[test]
fn a_rebase_that_was_killed_in_the_middle_loses_nothing() {
    let prepare = |domain: &Domain| {
        domain.pier(&["new", "--no-push", "--no-pull", "only here"]).expect(0);
        domain.pier(&["new", "--no-commit", "--no-pull", "--type", "note", "in no commit"]).expect(0);
    };
    let (domain, state) = killed(prepare, &["pull"], ".git/rebase-merge");
    let said = domain.pier(&["pull"]).expect(0);
    assert!(said.flat().contains("rebase-merge`, which is removed"), "{}", said.flat());
    assert!(!state.exists());
    domain.pier(&["push"]).expect(0);
    is_whole(&domain);
    let titles: Vec<String> = ["issues", "notes"]
        .iter()
        .flat_map(|kind| domain.rows(&[kind]))
        .map(|row| row["title"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(titles, ["only here", "in no commit"]);
}

/// Only a debug build has the steps.
#[cfg(debug_assertions)]
#[test]
fn locks_of_a_killed_git_are_removed_and_said() {
    let names = [
        "HEAD.lock",
        "index.lock",
        "packed-refs.lock",
        "refs/heads/main.lock",
        "refs/remotes/origin/main.lock",
    ];
    for step in ["coord.pending", "coord.pushed", "coord.written", "coord.indexed"] {
        let domain = Domain::new();
        let id = domain.issue("one");
        let killed = domain.call(&["comment", &id, "x"]).env("PIER_FAILPOINT", format!("{step}:kill"));
        assert_eq!(killed.run().code(), None, "{step}");
        for name in names {
            fs_err::write(domain.clone_of().join(".git").join(name), "").unwrap();
        }
        domain.0.give_away();
        let said = domain.pier(&["claim", &id]).expect(0);
        for name in names {
            assert!(said.flat().contains(&format!("{name}`, which is removed")), "{step}: {}", said.flat());
        }
        assert_eq!(
            domain.git(&domain.clone_of(), &["status", "--porcelain", "--branch"]),
            "## main...origin/main"
        );
        let again = domain.pier(&["pull"]).expect(0);
        assert!(!again.flat().contains("removed"), "{step}: {}", again.flat());
    }
}

#[test]
fn locks_that_may_be_a_users_are_named_and_stay() {
    let domain = Domain::new();
    let id = domain.issue("one");
    let before = domain.git(&domain.remote(), &["rev-parse", "main"]);
    for name in ["index.lock", "HEAD.lock", "refs/heads/main.lock"] {
        let lock = domain.clone_of().join(".git").join(name);
        fs_err::write(&lock, "").unwrap();
        domain.0.give_away();
        // Each is waited for, as long as a git may take.
        let all = [&["claim", &id][..], &["pull"], &["new", "Two"]];
        for words in &all[..if name == "index.lock" { 3 } else { 1 }] {
            let said = domain.pier(words).refused(1, "coord::clone").flat();
            assert!(said.contains(name) && said.contains("help: nothing has changed;"), "{words:?}: {said}");
            // Long names are broken where they do not fit.
            let remove = format!("`rm{}`", lock.canonicalize().unwrap().display());
            assert!(said.replace(' ', "").contains(&remove), "{said}");
        }
        assert!(lock.exists());
        fs_err::remove_file(lock).unwrap();
    }
    assert_eq!(domain.git(&domain.remote(), &["rev-parse", "main"]), before);
    // What only looks, looks.
    fs_err::create_dir(domain.clone_of().join(".git/rebase-merge")).unwrap();
    domain.0.give_away();
    domain.pier(&["list"]).expect(0);
    let said = domain.pier(&["claim", &id]).refused(1, "coord::clone").flat();
    assert!(
        said.contains("a rebase in the clone was begun") && said.contains("`git rebase --abort`"),
        "{said}"
    );
    fs_err::remove_dir(domain.clone_of().join(".git/rebase-merge")).unwrap();
    domain.pier(&["claim", &id]).expect(0);
}

#[test]
fn a_git_that_is_at_work_is_waited_for() {
    let domain = Domain::new();
    let id = domain.issue("one");
    let lock = domain.clone_of().join(".git/index.lock");
    fs_err::write(&lock, "").unwrap();
    domain.0.give_away();
    let mut claim = domain.call(&["claim", &id]).start();
    let own = domain.clone_of().join(OWN);
    assert!(crate::sandbox::within(Duration::from_secs(5), || own.exists()));
    assert!(claim.try_wait().unwrap().is_none());
    fs_err::remove_file(&lock).unwrap();
    let ended = crate::sandbox::wait(&mut claim, Duration::from_secs(30)).unwrap();
    assert_eq!(ended.code(), Some(0));
}

/// Only a debug build has the steps.
#[cfg(debug_assertions)]
#[test]
fn a_lock_at_the_remote_is_removed_or_named() {
    let old = |path: &Path, seconds: u64| {
        let file = fs_err::File::options().write(true).open(path).unwrap();
        file.file().set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    };
    for was_killed in [true, false] {
        let domain = Domain::new();
        let id = domain.issue("one");
        if was_killed {
            let killed = domain.call(&["comment", &id, "x"]).env("PIER_FAILPOINT", "coord.pending:kill");
            assert_eq!(killed.run().code(), None);
            old(&domain.clone_of().join(OWN), 61);
        }
        let lock = domain.remote().join("refs/heads/main.lock");
        fs_err::write(&lock, "").unwrap();
        domain.0.give_away();
        old(&lock, 60);
        let mut said = domain.pier(&["claim", &id]);
        // Git tidies the remote up in the background after a push: what pier is told to wait for then is no lock that is left.
        let is_quiet = || {
            let is_at_work = said.flat().contains("may be at work there");
            if is_at_work {
                said = domain.pier(&["claim", &id]);
            }
            !is_at_work
        };
        assert!(crate::sandbox::within(Duration::from_secs(30), is_quiet));
        if was_killed {
            let said = said.expect(0).flat();
            assert!(said.contains("refs/heads/main.lock`, which is removed"), "{said}");
        } else {
            let said = said.refused(1, "coord::clone").flat();
            assert!(said.contains("refs/heads/main.lock") && said.contains("`rm "), "{said}");
            assert_eq!(domain.rows(&["issues"])[0]["status"], "open");
        }
    }
}
