//! A clone and its remote in temporary directories, with the real git.

use std::process::Command;
use std::time::SystemTime;

use super::leftover::{Doing, Mark};
use super::*;
use crate::backend::git::Git;

const ITEM: &str = "issues/open/P-1.yaml";
const TEXT: &str = "id: P-1\ntype: issue\nstatus: open\ntitle: x\n";

struct Place {
    _kept: tempfile::TempDir,
    git: Git,
    store: Store,
    remote: Utf8PathBuf,
    actor: Actor,
}

impl Place {
    /// A remote with one item, and a clone of it.
    fn new() -> Self {
        let kept = tempfile::tempdir().unwrap();
        let base = Utf8PathBuf::try_from(kept.path().canonicalize().unwrap()).unwrap();
        let (remote, root) = (base.join("remote.git"), base.join("clone"));
        let place = Place {
            git: Git::find(&base).unwrap(),
            store: Store { root: root.clone() },
            remote: remote.clone(),
            actor: Actor { id: "a".into(), role: String::new() },
            _kept: kept,
        };
        place.git_at(&base, &["init", "-q", "--bare", "--initial-branch=main", "remote.git"]);
        place.git_at(&base, &["clone", "-q", "remote.git", "clone"]);
        place.git(&["checkout", "-q", "-B", "main"]);
        place.write("AGENTS.md", "");
        place.write(ITEM, TEXT);
        place.commit("first");
        place.git(&["push", "-q", "-u", "origin", "main"]);
        place
    }

    fn git_at(&self, directory: &Utf8Path, words: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=main"])
            .args(words)
            .current_dir(directory)
            .env("HOME", self.remote.parent().unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn git(&self, words: &[&str]) -> String {
        self.git_at(&self.store.root, words)
    }

    fn commit(&self, subject: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "-q", "-m", subject]);
    }

    fn path(&self, path: &str) -> Utf8PathBuf {
        self.store.root.join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs_err::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs_err::write(self.path(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs_err::read_to_string(self.path(path)).unwrap()
    }

    /// Somebody else pushes a text of a file.
    fn elsewhere(&self, path: &str, text: &str) {
        let base = self.remote.parent().unwrap();
        self.git_at(base, &["clone", "-q", "remote.git", "other"]);
        let other = base.join("other");
        fs_err::create_dir_all(other.join(path).parent().unwrap()).unwrap();
        fs_err::write(other.join(path), text).unwrap();
        for words in [&["add", "--all"][..], &["commit", "-q", "-m", "elsewhere"], &["push", "-q"]] {
            self.git_at(&other, words);
        }
        fs_err::remove_dir_all(other).unwrap();
    }

    fn hold<T>(&self, then: impl FnOnce(&Domain<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let shared = Shared::open(&self.git, &self.store.root, None, &|_| None)?;
        then(&Domain::hold(&self.store, &shared, &self.actor)?)
    }

    fn pull(&self) -> Result<(), Error> {
        self.hold(|domain| {
            domain.pull()?;
            Ok(())
        })
    }

    /// Leaves what a process leaves that was killed while git did something.
    fn was_killed(&self, doing: Doing) {
        let path = self.path(".git").join(LOCK);
        let lock = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        Mark::write(&lock, doing).unwrap();
        Mark::touch(&lock).unwrap();
    }

    fn status(&self) -> String {
        self.git(&["status", "--porcelain", "--branch"])
    }
}

/// A change of one file.
fn change(path: &str, text: &str) -> impl FnMut(&Store) -> Result<Change<()>, Error> {
    let write = Write { path: path.into(), text: Some(text.to_owned()) };
    move |_| Ok(Change { subject: "Change".into(), writes: vec![write.clone()], value: () })
}

#[test]
fn locks_of_a_killed_git_are_removed_and_others_are_named() {
    let place = Place::new();
    let lock = place.path(".git/refs/heads/main.lock");
    place.was_killed(Doing::Anything);
    fs_err::write(&lock, "").unwrap();
    let cleared = place.hold(|domain| {
        domain.change(Way::Push, true, &mut change(ITEM, &TEXT.replace('x', "y")))?;
        Ok(domain.cleared())
    });
    assert_eq!(cleared.unwrap(), std::slice::from_ref(&lock));
    assert_eq!(place.status(), "## main...origin/main");
    fs_err::write(&lock, "").unwrap();
    let error = place.hold(|_| Ok(())).unwrap_err();
    assert!(matches!(&error, Error::Locked { path, .. } if *path == lock), "{error}");
    assert!(lock.exists());
}

#[test]
fn a_killed_rebase_is_taken_back_as_far_as_it_came() {
    let place = Place::new();
    place.elsewhere(ITEM, &TEXT.replace('x', "theirs"));
    place.write("notes/N-1.yaml", "id: N-1\ntype: note\n");
    place.commit("ours");
    place.write(ITEM, &TEXT.replace('x', "ours"));
    place.commit("ours, in the way");
    place.write("notes/N-2.yaml", "id: N-2\ntype: note\n");
    let before = place.git(&["rev-parse", "HEAD"]);
    place.git(&["fetch", "-q"]);
    // In the middle of it: git waits for somebody to resolve a conflict.
    let rebase = Command::new("git")
        .args(["-c", "user.name=x", "-c", "user.email=x@example.com", "rebase", "--autostash", "origin/main"])
        .current_dir(&place.store.root)
        .output()
        .unwrap();
    assert!(!rebase.status.success() && place.path(".git/rebase-merge").exists());
    let error = place.pull().unwrap_err();
    assert!(matches!(error, Error::Unfinished { what: "rebase" }), "it may be somebody's: {error}");
    place.was_killed(Doing::Rebase);
    place.hold(|_| Ok(())).unwrap();
    assert_eq!((place.git(&["rev-parse", "HEAD"]), place.status().lines().count()), (before.clone(), 2));
    assert_eq!(place.git(&["symbolic-ref", "--short", "HEAD"]), "main");
    // At its beginning: changes are put aside, and nothing else has happened.
    place.write(ITEM, &TEXT.replace('x', "in no commit"));
    let aside = place.git(&["stash", "create"]);
    place.git(&["reset", "-q", "--hard"]);
    place.write(".git/rebase-merge/autostash", &format!("{aside}\n"));
    place.was_killed(Doing::Rebase);
    place.hold(|_| Ok(())).unwrap();
    assert!(place.read(ITEM).contains("in no commit") && !place.path(".git/rebase-merge").exists());
    assert_eq!(place.git(&["rev-parse", "HEAD"]), before);
    // The same where they are still in their place: they stay there, and a copy is kept.
    place.write(".git/rebase-merge/autostash", &format!("{aside}\n"));
    place.was_killed(Doing::Rebase);
    place.hold(|_| Ok(())).unwrap();
    assert!(place.read(ITEM).contains("in no commit") && !place.path(".git/rebase-merge").exists());
}

#[test]
fn files_that_a_killed_git_has_begun_are_those_of_the_remote() {
    let place = Place::new();
    let (new, long) = ("issues/open/P-2.yaml", format!("id: P-2\ntype: issue\n{}", "# more\n".repeat(50)));
    place.elsewhere(new, &long);
    place.elsewhere(ITEM, &TEXT.replace('x', "theirs"));
    for number in 3..9 {
        place.elsewhere(&format!("issues/open/P-{number} [a]*.yaml"), &long);
    }
    place.was_killed(Doing::Anything);
    place.write("issues/open/P-3 [a]*.yaml", &long);
    place.write(new, &long[..20]);
    fs_err::remove_file(place.path(ITEM)).unwrap();
    // What nobody can read is nobody's to remove.
    place.write("issues/open/huge.yaml", &"x".repeat(5 << 20));
    place.pull().unwrap();
    assert_eq!(place.read(new), long);
    assert!(place.read(ITEM).contains("theirs"));
    assert_eq!(place.status(), "## main...origin/main\n?? issues/open/huge.yaml");
}

#[test]
fn what_is_written_is_yaml() {
    let place = Place::new();
    place.hold(|domain| domain.change(Way::Push, true, &mut change(ITEM, "id: P-1\ntitle: a: b\n"))).unwrap();
    assert_eq!(place.read(ITEM), "id: P-1\ntitle: 'a: b'\n");
    let torn = "id: P-1\n<<<<<<< a\ntitle: x\n=======\ntitle: y\n>>>>>>> b\n";
    for text in [torn, "id: P-1\ntitle: [x\n  y: z\n"] {
        let head = place.git(&["rev-parse", "HEAD"]);
        let error = place.hold(|domain| domain.change(Way::Push, true, &mut change(ITEM, text))).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{error}");
        assert_eq!(
            (place.git(&["rev-parse", "HEAD"]), place.status()),
            (head, "## main...origin/main".into())
        );
    }
    // What is no item is anybody's.
    place.hold(|domain| domain.change(Way::Push, true, &mut change("docs/x.yaml", torn))).unwrap();
}

#[test]
fn a_push_is_of_what_others_can_read() {
    let place = Place::new();
    let push = |add: bool, strict: Strict| {
        place.hold(|domain| {
            domain.commit_all("Push", add, strict)?;
            domain.push_commits()
        })
    };
    place.write(ITEM, "id: P-1\ntitle: a: b\n");
    let error = push(true, Strict::All).unwrap_err();
    assert!(matches!(&error, Error::Broken { line: 2, path, .. } if path == ITEM), "{error}");
    // Only what is in the index is looked at, as it is there.
    push(false, Strict::All).unwrap();
    place.git(&["add", "--all"]);
    place.write(ITEM, TEXT);
    push(false, Strict::All).unwrap_err();
    push(true, Strict::All).unwrap();
    // Committed without pier, it is not at the remote either.
    place.write(ITEM, "id: P-1\n<<<<<<< a\n=======\n>>>>>>> b\n");
    place.commit("torn");
    let error = push(true, Strict::Conflicts).unwrap_err();
    assert!(matches!(error, Error::Broken { is_conflict: true, .. }), "{error}");
    place.git(&["reset", "-q", "--hard", "@{upstream}"]);
    for name in ["issues/open/P-3.yaml", "elsewhere"] {
        std::os::unix::fs::symlink("/etc/passwd", place.path(name)).unwrap();
        let error = push(true, Strict::All).unwrap_err();
        assert!(matches!(&error, Error::Link { path, .. } if path == name), "{error}");
        place.git(&["add", "--all"]);
        push(false, Strict::All).unwrap_err();
        place.git(&["reset", "-q", "--hard"]);
    }
    assert_eq!(place.git_at(&place.remote, &["show", "main:"]).lines().count(), 4);
}

#[test]
fn an_old_lock_at_the_remote_is_removed_or_named() {
    let place = Place::new();
    let lock = place.remote.join("refs/heads/main.lock");
    let leave = || {
        let file = File::create(&lock).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_mins(1)).unwrap();
    };
    leave();
    let error =
        place.hold(|domain| domain.change(Way::Push, true, &mut change(ITEM, "id: P-1\n"))).unwrap_err();
    assert!(matches!(&error, Error::Locked { path, .. } if *path == lock), "{error}");
    place.was_killed(Doing::Anything);
    let own = File::options().write(true).open(place.path(".git").join(LOCK)).unwrap();
    own.set_modified(SystemTime::now() - Duration::from_secs(61)).unwrap();
    let arrived = place.hold(|domain| domain.change(Way::Push, true, &mut change(ITEM, "id: P-1\n")));
    assert_eq!(arrived.unwrap().1, Arrived::Pushed);
}

#[test]
fn a_rewritten_history_says_what_waits_here() {
    let place = Place::new();
    place.write(ITEM, "id: P-1\n");
    place.commit("waits");
    let first = place.git(&["rev-list", "--max-parents=0", "HEAD"]);
    let other = place.git(&["commit-tree", "-m", "other", &format!("{first}^{{tree}}")]);
    place.git(&["push", "-q", "--force", "origin", &format!("{other}:refs/heads/main")]);
    place.git(&["update-ref", "refs/remotes/origin/main", &first]);
    place.write("notes/N-1.yaml", "");
    let error = place.pull().unwrap_err();
    let Error::Rewritten { before, waits } = error else { panic!("{error}") };
    assert_eq!((before, waits), (first.clone(), Waits { commits: vec!["waits".into()], files: 1 }));
    // As the advice has it.
    place.git(&["fetch", "-q"]);
    place.git(&["rebase", "-q", "--autostash", "--onto", "@{upstream}", &first]);
    assert_eq!(place.git(&["log", "--format=%s"]), "waits\nother");
}
