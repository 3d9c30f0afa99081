//! The private git directory: what is committed inside appears on the host, and nothing else does.

mod clone;
mod hidden;
mod hostile;
mod settle;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::{Output, Project};

/// A repository with one commit of a file `a`, and pier run in it.
struct Repository {
    project: Project,
    /// Where git and pier run, if not in the project.
    at: PathBuf,
}

impl Repository {
    fn new(config: &str) -> Self {
        Self::of_format(config, &["-b", "main"])
    }

    /// The words are those of `git init`.
    fn of_format(config: &str, words: &[&str]) -> Self {
        let project = Project::bare();
        let repository = Repository { at: project.root(), project };
        repository.git(&[&["init", "-q"], words].concat());
        repository.git(&["config", "user.name", "Me"]);
        repository.git(&["config", "user.email", "me@example.com"]);
        repository.project.write("a", "one\n");
        repository.project.write("pier.kdl", config);
        repository.git(&["add", "-A"]);
        repository.git(&["commit", "-qm", "one"]);
        repository
    }

    /// The same project, seen from another directory.
    fn at(self, path: impl AsRef<Path>) -> Self {
        let at = self.project.base().join(path);
        Repository { at, ..self }
    }

    /// Runs git on the host as the owner, and returns what it says.
    #[track_caller]
    fn git(&self, words: &[&str]) -> String {
        self.try_git(words).expect(0).text()
    }

    fn try_git(&self, words: &[&str]) -> Output {
        let mut command = Command::new("git");
        command.args(["-c", "protocol.file.allow=always"]).args(words);
        self.project.surround(command).cwd(&self.at).into_owner().run()
    }

    /// Runs a script inside, which must end well.
    #[track_caller]
    fn inside(&self, script: &str) -> Output {
        let script = format!("set -e\n{script}");
        self.project.call(["exec", "--", "bash", "-c", &script]).cwd(&self.at).run().expect(0)
    }

    fn pier(&self, words: &[&str]) -> Output {
        self.project.call(words).cwd(&self.at).run()
    }

    /// The id of a commit of the host.
    fn id(&self, name: &str) -> String {
        self.git(&["rev-parse", "--verify", name])
    }

    /// What git knows below `refs/pier`, by the names behind the session.
    fn waiting(&self) -> Vec<String> {
        let listed = self.git(&["for-each-ref", "--format=%(refname)", "refs/pier/"]);
        listed.lines().map(|name| name.splitn(4, '/').nth(3).unwrap().to_owned()).collect()
    }

    /// The directories of sessions that were kept.
    fn kept(&self) -> Vec<PathBuf> {
        let sessions = fs_err::read_dir(self.project.state().join("sessions")).unwrap();
        sessions.map(|entry| entry.unwrap().path()).collect()
    }
}

const COMMIT: &str = "echo two >> a; git commit -qam two\n";

#[test]
fn a_commit_made_inside_is_the_hosts_afterwards() {
    let repository = Repository::new("");
    let output = repository.inside(COMMIT);
    assert_eq!(output.said(), "git: main forwarded\n");
    assert_eq!(
        repository.git(&["log", "--format=%s %an %ae"]),
        "two Me me@example.com\none Me me@example.com"
    );
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert_eq!(repository.git(&["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert!(repository.waiting().is_empty() && repository.kept().is_empty());
    repository.git(&["fsck", "--strict"]);
}

#[test]
fn a_session_that_commits_nothing_says_and_leaves_nothing() {
    let repository = Repository::new("");
    let output = repository.inside("git status --porcelain; git log --format=%s; git stash list; echo x > b");
    assert_eq!((output.text().as_str(), output.said().as_str()), ("one", ""));
    assert!(!repository.project.state().join("imports").exists());
    assert!(repository.kept().is_empty());
}

#[test]
fn the_first_commit_of_all_arrives() {
    let project = Project::new("");
    let repository = Repository { at: project.root(), project };
    repository.inside(
        "git config user.name Me; git config user.email me@example.com; git add -A; git commit -qm first",
    );
    assert_eq!(repository.git(&["log", "--format=%s"]), "first");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_new_branch_is_made_and_checked_out_like_inside() {
    let repository = Repository::new("");
    let output =
        repository.inside("git switch -qc feature/x; echo x > b; git add b; git commit -qm x; git tag v1");
    assert_eq!(output.said(), "git: feature/x, tags/v1 created, feature/x checked out\n");
    assert_eq!(repository.git(&["symbolic-ref", "HEAD"]), "refs/heads/feature/x");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert_eq!(repository.git(&["log", "--format=%s", "main"]), "one");
    assert_eq!(repository.id("v1"), repository.id("feature/x"));
}

#[test]
fn a_detached_head_goes_on() {
    let repository = Repository::new("");
    repository.git(&["checkout", "-q", "--detach"]);
    let output = repository.inside(COMMIT);
    assert_eq!(output.said(), "git: detached forwarded\n");
    assert_eq!(repository.git(&["log", "--format=%s"]), "two\none");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert_eq!(repository.git(&["log", "--format=%s", "main"]), "one");
}

#[test]
fn packed_references_and_many_objects_arrive() {
    let repository = Repository::new("");
    repository.git(&["branch", "other"]);
    repository.git(&["tag", "-a", "-m", "old", "old"]);
    repository.git(&["pack-refs", "--all"]);
    let script = "for n in $(seq 300); do echo $n > f$n; done; git add .; git commit -qm many
        git branch -f other; git repack -adq; git pack-refs --all; git gc -q; git tag -a -m new new";
    let output = repository.inside(script);
    assert_eq!(output.said(), "git: main, other forwarded, tags/new created\n");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert_eq!(repository.git(&["cat-file", "-t", "new"]), "tag");
    repository.git(&["fsck", "--strict"]);
}

#[test]
fn a_stash_waits_in_refs_pier() {
    let repository = Repository::new("");
    let output = repository.inside("echo x > a; git stash -q; git stash list | wc -l");
    assert_eq!(output.text(), "1");
    assert!(output.said().contains("stash waits in refs/pier/"), "{}", output.said());
    assert_eq!(repository.waiting(), ["stash"]);
}

#[test]
fn staged_entries_of_the_host_stay() {
    let repository = Repository::new("");
    repository.project.write("b", "staged\n");
    repository.git(&["add", "b"]);
    let output = repository.inside("echo two >> a; git commit -qm two a");
    assert_eq!(output.said(), "git: main forwarded\n");
    assert_eq!(repository.git(&["status", "--porcelain"]), "A  b");
}

#[test]
fn an_index_that_cannot_follow_leaves_everything_as_it_is() {
    let repository = Repository::new("");
    repository.project.write("a", "staged on the host\n");
    repository.git(&["add", "a"]);
    let before = repository.id("main");
    let output = repository.inside("echo other > a; git commit -qam two");
    assert!(output.said().contains("the index holds changes to the same files"), "{}", output.said());
    assert_eq!(repository.id("main"), before);
    assert_eq!(repository.git(&["diff", "--cached", "--name-only"]), "a");
    assert_eq!(repository.waiting(), ["heads/main"]);
}

#[test]
fn files_changed_right_before_the_start_are_seen_as_changed() {
    // As long as the index, and in the same second as it: only the time of the index tells.
    let repository = Repository::new("");
    for _ in 0..3 {
        repository.project.write("a", "one\n");
        repository.git(&["add", "a"]);
        repository.project.write("a", "two\n");
        assert_eq!(repository.inside("git status --porcelain").text(), " M a");
    }
}

#[test]
fn a_sha256_repository_works() {
    let repository = Repository::of_format("", &["-b", "main", "--object-format=sha256"]);
    assert_eq!(repository.inside(COMMIT).said(), "git: main forwarded\n");
    assert_eq!(repository.id("main").len(), 64);
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    repository.git(&["fsck", "--strict"]);
}

#[test]
fn a_shallow_clone_works() {
    let origin = Repository::new("");
    for n in ["2", "3"] {
        origin.project.write("a", n);
        origin.git(&["commit", "-qam", n]);
    }
    let url = format!("file://{}", origin.project.root().display());
    origin.git(&["clone", "-q", "--depth=1", &url, "../shallow"]);
    let shallow = origin.at("shallow");
    shallow.git(&["config", "user.name", "Me"]);
    shallow.git(&["config", "user.email", "me@example.com"]);
    assert_eq!(shallow.inside(COMMIT).said(), "git: main forwarded\n");
    assert_eq!(shallow.git(&["log", "--format=%s"]), "two\n3");
    assert_eq!(shallow.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_worktree_works_and_others_are_left_alone() {
    let repository = Repository::new("");
    repository.git(&["worktree", "add", "-q", "-b", "side", "../tree"]);
    let main = repository.id("main");
    let tree = repository.at("tree");
    let output = tree.inside(&format!(
        "git status --porcelain; git branch -f main HEAD 2>&1 || true; {COMMIT}
        git update-ref refs/heads/main HEAD; cat .git"
    ));
    assert!(output.text().ends_with("gitdir: /.pier/git"), "{}", output.text());
    assert!(output.said().contains("side forwarded"), "{}", output.said());
    assert!(output.said().contains("main waits in refs/pier/"), "{}", output.said());
    assert!(output.said().contains("another worktree has it checked out"), "{}", output.said());
    assert_eq!(tree.git(&["log", "--format=%s"]), "two\none");
    assert_eq!(tree.git(&["status", "--porcelain"]), "");
    assert_eq!(tree.id("main"), main);
}

/// A repository with a submodule `lib`.
fn with_submodule() -> Repository {
    let repository = Repository::new("");
    repository.git(&["init", "-q", "-b", "main", "../lib"]);
    let lib = repository.at("lib");
    for words in [&["config", "user.name", "Me"][..], &["config", "user.email", "me@example.com"]] {
        lib.git(words);
    }
    lib.git(&["commit", "-q", "--allow-empty", "-m", "lib"]);
    let repository = lib.at("project");
    repository.git(&["submodule", "-q", "add", "../lib", "lib"]);
    repository.git(&["commit", "-qm", "submodule"]);
    for words in [&["config", "user.name", "Me"][..], &["config", "user.email", "me@example.com"]] {
        repository.git(&[&["-C", "lib"], words].concat());
    }
    repository
}

#[test]
fn a_submodule_works_as_a_project() {
    let module = with_submodule().at("project/lib");
    module.git(&["checkout", "-q", "main"]);
    let output = module.inside("echo x > f; git add f; git commit -qm inside; git rev-parse --git-dir");
    assert_eq!(output.text(), "/.pier/git");
    assert_eq!(output.said(), "git: main forwarded\n");
    assert_eq!(module.git(&["log", "--format=%s"]), "inside\nlib");
    assert_eq!(module.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_project_with_a_submodule_works() {
    let repository = with_submodule();
    repository.git(&["-C", "lib", "remote", "set-url", "origin", "https://me:token@example.com/lib.git"]);
    let output = repository.inside(&format!(
        "git status --porcelain; git -C lib log --format=%s\n
        git -C lib remote get-url origin; {COMMIT}"
    ));
    assert_eq!(output.text(), "lib\nhttps://example.com/lib.git");
    assert_eq!(output.said(), "git: main forwarded\n");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_worktree_with_a_submodule_works() {
    let repository = with_submodule();
    repository.git(&["worktree", "add", "-q", "-b", "side", "../tree"]);
    let tree = repository.at("tree");
    tree.git(&["submodule", "-q", "update", "--init"]);
    let output = tree.inside(&format!("git status --porcelain; git -C lib log --format=%s; {COMMIT}"));
    assert_eq!(output.text(), "lib");
    assert_eq!(output.said(), "git: side forwarded\n");
    assert_eq!(tree.git(&["status", "--porcelain"]), "");
}

#[test]
fn borrowed_objects_need_approval_and_are_there() {
    let origin = Repository::new("");
    let url = origin.project.root();
    origin.git(&["clone", "-q", "--shared", url.to_str().unwrap(), "../borrower"]);
    let borrower = origin.at("borrower");
    borrower.pier(&["exec", "true"]).refused(125, "trust::needed");
    borrower.pier(&["trust"]).expect(0);
    let output = borrower.inside(
        "git config user.name x; git config user.email x@x; git log --format=%s
        echo two > a; git commit -qam two",
    );
    assert_eq!((output.text().as_str(), output.said().as_str()), ("one", "git: main forwarded\n"));
    assert_eq!(borrower.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_reftable_repository_is_read_only() {
    let project = Project::bare();
    let repository = Repository { at: project.root(), project };
    let made = repository.try_git(&["init", "-q", "--ref-format=reftable"]);
    if made.code() != Some(0) {
        println!("skipped: this git has no reftables");
        return;
    }
    let output = repository.pier(&["exec", "--", "touch", ".git/x"]).expect(1);
    assert!(output.flat().contains("its references are kept as `reftable`"), "{}", output.said());
    assert!(output.said().contains("Read-only file system"), "{}", output.said());
}

#[test]
fn readonly_and_direct_are_what_they_say() {
    let repository = Repository::new("workspace { git readonly; }\n");
    let output = repository.pier(&["exec", "--", "touch", ".git/x"]).expect(1);
    assert!(output.said().contains("Read-only file system"), "{}", output.said());
    let repository = Repository::new("workspace { git direct; }\n");
    repository.pier(&["trust"]).expect(0);
    repository.inside(COMMIT);
    assert_eq!(repository.git(&["log", "--format=%s"]), "two\none");
}

#[test]
fn no_credential_of_the_repository_is_inside() {
    let repository = Repository::new("");
    let secret = "ghp_secret";
    for (key, value) in [
        ("remote.origin.url", "https://me:ghp_secret@example.com/x.git"),
        ("http.https://example.com/.extraHeader", "authorization: ghp_secret"),
        ("credential.helper", "!echo ghp_secret"),
    ] {
        repository.git(&["config", key, value]);
    }
    let output = repository.inside("cat .git/config; grep -r ghp_ .git /.pier/objects && exit 1; true");
    assert!(output.text().contains("https://example.com/x.git") && !output.text().contains(secret));
}

#[test]
fn a_shadow_that_cannot_be_made_starts_nothing() {
    let repository = Repository::new("");
    fs_err::create_dir(repository.project.root().join(".git/packed-refs")).unwrap();
    repository.project.give_away();
    repository.pier(&["exec", "true"]).refused(125, "git::shadow");
    assert!(repository.kept().is_empty());
}

#[test]
fn an_index_that_cannot_be_read_is_refused() {
    let repository = Repository::new("");
    let index = repository.project.root().join(".git/index");
    let whole = fs_err::read(&index).unwrap();
    let refused = || {
        repository.project.give_away();
        let output = repository.pier(&["exec", "true"]).refused(2, "host::probe");
        assert!(output.flat().contains("could not be protected"), "{}", output.flat());
    };
    fs_err::write(&index, &whole[..whole.len() / 2]).unwrap();
    refused();
    fs_err::remove_file(&index).unwrap();
    fs_err::create_dir(&index).unwrap();
    refused();
    fs_err::remove_dir(&index).unwrap();
    nix::unistd::mkfifo(&index, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused();
}

#[test]
fn explain_and_plan_name_the_private_directory() {
    let repository = Repository::new("");
    let output = repository.pier(&["explain", ".git/config"]).expect(1);
    assert!(output.text().contains("because the session has a private git directory at `/workspace/.git`"));
    assert!(repository.pier(&["explain", "/workspace/.git/config"]).expect(0).text().contains("read-write"));
    assert!(repository.pier(&["plan"]).expect(0).text().contains("\ngit       shadow (merge auto)\n"));
    let clone = ["plan", "--set", "workspace.clone=#true"];
    assert!(repository.pier(&clone).expect(0).text().contains("(merge auto, in a clone)"));
}
