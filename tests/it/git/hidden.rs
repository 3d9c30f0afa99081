//! Hidden files and git: what a commit, the index, a stash or a forgotten object holds of them is not readable
//! inside, git works for everything else, and on the host they stay what they were.

use super::{COMMIT, Repository};

const HIDE: &str = "workspace { hide \".env\" \"**/*.pem\" \"secrets/**\"; }\n";
const CLONE: &str = "workspace { clone #true; hide \".env\"; }\n";

/// Tries everything that reads objects; whatever is hidden has the word `canary` in it.
const READ_ALL: &str = "(
    git cat-file --batch-all-objects --unordered --batch; git log -p --all; git show :.env; git show HEAD:.env
    for id in $(git cat-file --batch-all-objects --batch-check='%(objectname)'); do
        GIT_NO_REPLACE_OBJECTS=1 git cat-file -p $id; git --no-replace-objects show $id; done
    git diff HEAD; git diff --cached; git grep canary $(git rev-list --all); git stash show -p
    git archive HEAD; git archive HEAD~1; git checkout -f HEAD -- .; git fsck --lost-found
    git worktree add -f /tmp/t HEAD; git -C /tmp/t sparse-checkout disable; git clone . /tmp/c; cat /tmp/t/.env /tmp/c/.env
    git sparse-checkout disable; git ls-files -z | xargs -0 cat
    for f in $(find / -xdev -path '*objects*' -type f 2>/dev/null); do
        git unpack-file $(basename $f); perl -MCompress::Zlib -0777 -ne 'print uncompress($_)' $f; done
    for f in $(find / -xdev -name '*.idx' 2>/dev/null); do git verify-pack -v $f; done
    grep -ra canary . .git /.pier; env
) 2>/dev/null | grep -a canary | head -3; true";

impl Repository {
    fn hiding(config: &str, words: &[&str]) -> Self {
        let repository = Repository::of_format(config, words);
        repository.project.write("keep", "open\n");
        for name in [".env", "secrets/deep/key", "tls.pem"] {
            repository.project.write(name, format!("canary {name}\n"));
        }
        repository.project.give_away();
        repository
    }

    /// Commits everything, and a second version of the secrets.
    fn with_history(config: &str) -> Self {
        let repository = Repository::hiding(config, &["-b", "main"]);
        repository.git(&["add", "-A"]);
        repository.git(&["commit", "-qm", "secrets"]);
        repository.project.write(".env", "canary again\n");
        repository.git(&["commit", "-qam", "changed"]);
        repository
    }

    #[track_caller]
    fn holds(&self) {
        let output = self.inside(READ_ALL);
        assert_eq!(output.text(), "", "{}", output.said());
    }
}

#[test]
fn the_same_attempts_find_what_is_not_hidden() {
    let repository = Repository::with_history("");
    repository.git(&["rm", "-rq", ".env", "secrets", "tls.pem"]);
    repository.git(&["commit", "-qm", "none"]);
    assert!(repository.inside(READ_ALL).text().contains("canary"));
}

#[test]
fn a_tracked_file_is_hidden_from_git_and_stays_what_it_was() {
    let repository = Repository::with_history(HIDE);
    repository.holds();
    let before = repository.git(&["ls-tree", "-r", "HEAD"]);
    let script = "git status --porcelain; git log --format=%s; git log -p --all >/dev/null; git diff
        git show HEAD:.env; git archive HEAD >/dev/null; git show HEAD:keep
        echo two >> a; echo new > new; git add -A; git commit -qam two; git stash list; git status --porcelain";
    let output = repository.inside(script);
    assert_eq!(output.text(), "changed\nsecrets\none\nopen");
    assert_eq!(output.said(), "git: main forwarded\n");
    let after = repository.git(&["ls-tree", "-r", "HEAD"]);
    let secret = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.ends_with("\ta") && !line.ends_with("\tnew"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(secret(&before), secret(&after));
    assert_eq!(repository.git(&["show", "HEAD:.env"]), "canary again");
    assert_eq!(repository.project.read(".env"), "canary again\n");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    repository.git(&["fsck", "--strict"]);
    repository.holds();
}

#[test]
fn what_was_added_and_taken_back_is_hidden() {
    let repository = Repository::hiding(HIDE, &["-b", "main"]);
    repository.git(&["add", "-f", ".env"]);
    repository.holds();
    repository.git(&["reset", "-q"]);
    repository.holds();
    repository.git(&["add", "-f", ".env"]);
    repository.git(&["commit", "-qm", "by mistake"]);
    repository.git(&["reset", "-q", "--soft", "HEAD~1"]);
    repository.git(&["reset", "-q"]);
    repository.git(&["repack", "-adq", "--keep-unreachable"]);
    repository.holds();
    assert_eq!(repository.inside(COMMIT).said(), "git: main forwarded\n");
}

#[test]
fn what_only_history_stash_and_tags_hold_is_hidden() {
    let repository = Repository::with_history(HIDE);
    repository.git(&["rm", "-q", "--cached", ".env"]);
    repository.project.write(".gitignore", ".env\n");
    repository.git(&["add", ".gitignore"]);
    repository.git(&["commit", "-qm", "no more"]);
    repository.holds();
    repository.git(&["repack", "-adq"]);
    repository.git(&["pack-refs", "--all"]);
    repository.project.write("tls.pem", "canary of a stash\n");
    repository.git(&["stash", "-q", "-u", "--all"]);
    let blob = repository.git(&["rev-parse", "main~1:.env"]);
    repository.git(&["tag", "direct", &blob]);
    repository.git(&["tag", "-a", "-m", "x", "annotated", &blob]);
    repository.git(&["tag", "tree", "main~1^{tree}"]);
    repository.holds();
    let script =
        "git switch -q --detach HEAD~1; git status --porcelain; ls -A secrets; git switch -q main; git gc -q
        git status --porcelain; echo two >> a; git commit -qam two; git log --format=%s -n 1";
    assert_eq!(repository.inside(script).text(), "two");
    repository.git(&["stash", "pop", "-q"]);
    assert_eq!(repository.project.read("tls.pem"), "canary of a stash\n");
}

#[test]
fn a_store_follows_the_host_and_costs_no_git_otherwise() {
    let repository = Repository::hiding("workspace { hide \".env\"; }\n", &["-b", "main"]);
    repository.inside("git log --format=%s");
    let stores = repository.project.state().join("filtered");
    let packs = || {
        let store = fs_err::read_dir(&stores).unwrap().next().unwrap().unwrap().path();
        let listed = fs_err::metadata(store.join("view/tips")).unwrap().modified().unwrap();
        (fs_err::read_dir(store.join("objects/pack")).unwrap().count(), listed)
    };
    let first = packs();
    repository.inside("git log --format=%s");
    assert_eq!(packs(), first);
    for n in 0..3 {
        repository.project.write("a", format!("{n}\n"));
        repository.git(&["commit", "-qam", "more"]);
        let output =
            repository.inside("git status --porcelain; git log -p --format=%s -n 1 | head -n 1; git fsck");
        assert_eq!(output.text(), "?? keep\n?? secrets/\n?? tls.pem\nmore", "{}", output.said());
    }
    assert!(packs().0 > first.0);
    // The same content at a path that is not hidden.
    repository.git(&["add", "-f", ".env"]);
    repository.git(&["commit", "-qm", "secret"]);
    repository.holds();
    repository.git(&["mv", ".env", "open"]);
    repository.git(&["commit", "-qm", "published"]);
    assert_eq!(repository.inside("git show HEAD:open").text(), "canary .env");
}

#[test]
fn staged_files_are_there_and_an_empty_file_is_no_secret() {
    let repository = Repository::hiding(HIDE, &["-b", "main"]);
    repository.project.write("staged", "staged\n");
    repository.project.write("empty", "");
    repository.project.write("empty.pem", "");
    repository.git(&["add", "-f", "staged", "empty", "empty.pem", ".env"]);
    let output = repository.inside("git show :staged; git show :empty; git status --porcelain --untracked-files=no; git commit -qm staged");
    assert_eq!(output.text(), "staged\nA  .env\nA  empty\nA  empty.pem\nA  staged");
    assert_eq!(output.said(), "git: main forwarded\n");
    assert_eq!(repository.git(&["show", "HEAD:.env"]), "canary .env");
    repository.git(&["fsck", "--strict"]);
}

#[test]
fn sha256_worktrees_and_the_first_commit_are_no_holes() {
    let repository = Repository::hiding(HIDE, &["-b", "main", "--object-format=sha256"]);
    repository.git(&["add", "-A"]);
    repository.git(&["commit", "-qm", "secrets"]);
    repository.holds();
    assert_eq!(repository.inside(COMMIT).said(), "git: main forwarded\n");
    repository.git(&["fsck", "--strict"]);

    let repository = Repository::with_history(HIDE);
    repository.git(&["worktree", "add", "-q", "-b", "side", "../tree"]);
    let tree = repository.at("tree");
    tree.holds();
    assert_eq!(tree.inside(COMMIT).said(), "git: side forwarded\n");
    assert_eq!(tree.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_clone_has_no_hidden_files() {
    let repository = Repository::with_history(CLONE);
    let output = repository.inside("ls -A; git status --porcelain; cat .env 2>/dev/null || echo none");
    assert_eq!(output.text(), ".git\na\nkeep\npier.kdl\nsecrets\ntls.pem\nnone");
    assert_eq!((output.said().as_str(), repository.kept().len()), ("", 0));
    let script = "git switch -qc work; echo two >> a; git commit -qam two; git log -p --all >/dev/null";
    assert_eq!(repository.inside(script).said(), "git: work created\n");
    assert_eq!(repository.git(&["show", "work:.env"]), "canary again");
    assert_eq!(repository.git(&["diff", "--name-only", "main", "work"]), "a");
    assert!(repository.kept().is_empty());
    let output = repository.inside("grep -ra 'canary again' . /.pier || true; echo mine > .env");
    assert!(output.said().contains("changes that no commit has"), "{}", output.said());
}

#[test]
fn versions_of_a_hidden_file_are_never_merged_as_empty() {
    let repository = Repository::with_history("workspace { hide \".env\"; }\n");
    repository.git(&["switch", "-qc", "other", "HEAD~1"]);
    repository.project.write(".env", "canary of another branch\n");
    repository.git(&["commit", "-qam", "other"]);
    repository.git(&["switch", "-q", "main"]);
    let output = repository.inside(
        "git merge -q other && exit 1; git reset -q --hard; git status --porcelain; git log -n 1 --format=%s",
    );
    assert_eq!(output.text(), "changed");
    assert_eq!(repository.git(&["show", "main:.env"]), "canary again");
}

#[test]
fn what_shows_the_whole_repository_is_refused() {
    for mode in ["direct", "readonly"] {
        let repository = Repository::new(&format!("workspace {{ git {mode}; hide \".env\"; }}\n"));
        repository.pier(&["exec", "true"]).refused(2, "workspace::hide");
    }
}

#[test]
fn a_repository_beside_its_git_file_is_refused() {
    let repository = Repository::with_history(HIDE);
    let root = repository.project.root();
    fs_err::rename(root.join(".git"), root.join(".bare")).unwrap();
    repository.project.write(".git", "gitdir: .bare\n");
    repository.project.give_away();
    repository.pier(&["exec", "true"]).refused(2, "workspace::hide");
}

#[test]
fn submodules_and_nested_repositories_are_no_roads_either() {
    let repository = super::with_submodule();
    repository.project.write("lib/.env", "canary\n");
    repository.git(&["-C", "lib", "add", "-f", ".env"]);
    repository.git(&["-C", "lib", "commit", "-qm", "secret"]);
    repository.git(&["commit", "-qam", "lib"]);
    repository.git(&["init", "-q", "vendor"]);
    repository.project.write("vendor/.env", "canary\n");
    repository.git(&["-C", "vendor", "add", "-f", ".env"]);
    let set = |pattern: &str| format!("workspace {{ hide \"{pattern}\"; }}\n");
    repository.project.write("pier.kdl", set("**/.env"));
    repository.project.give_away();
    repository.holds();
    let read = "for d in .git/modules/lib vendor/.git; do git --git-dir=$d cat-file --batch-all-objects --batch; done";
    let output = repository
        .inside(&format!("({read}) 2>&1 | grep canary || true; git status --porcelain -uno; {COMMIT}"));
    assert_eq!(output.text(), " M pier.kdl");
    assert!(output.said().contains("git does not work in submodules"), "{}", output.said());
    repository.project.write("pier.kdl", set(".env"));
    assert!(repository.inside("git -C lib log --format=%s").text().starts_with("secret"));
}
