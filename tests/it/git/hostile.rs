//! Everything that a sandbox can put into a private git directory, and then innocent commands on the host.

use std::path::PathBuf;

use super::{COMMIT, Repository, with_submodule};

/// The file on the host that a program started by the agent would make.
fn marker(repository: &Repository) -> PathBuf {
    repository.project.base().join("pwned")
}

/// Hooks, configuration and files of a git directory that name programs. `MARKER` is a path of the host.
const PLANT: &str = r#"
printf '#!/bin/sh\ntouch MARKER 2>/dev/null\nexit 0\n' > ev.sh; chmod +x ev.sh
echo '* filter=x diff=x merge=x' > .gitattributes
git add -A; git commit -qm planted
for hook in pre-commit post-checkout post-commit post-merge post-index-change reference-transaction \
    fsmonitor-watchman pre-auto-gc post-rewrite update post-update pre-receive post-receive proc-receive; do
    mkdir -p .git/hooks; cp ev.sh .git/hooks/$hook
done
cat > more <<END
[core]
    fsmonitor = PROJECT/ev.sh
    sshCommand = ./ev.sh
    pager = ./ev.sh
    editor = ./ev.sh
    gitProxy = ./ev.sh
    alternateRefsCommand = ./ev.sh
[diff]
    external = ./ev.sh
[diff "x"]
    command = ./ev.sh
    textconv = ./ev.sh
[filter "x"]
    smudge = ./ev.sh
    clean = ./ev.sh
[merge "x"]
    driver = ./ev.sh
[alias]
    st = !./ev.sh
[credential]
    helper = ./ev.sh
[gpg]
    program = ./ev.sh
[uploadpack]
    packObjectsHook = ./ev.sh
END
cp .git/config old; cat more >> .git/config
printf '[core]\n    hooksPath = .\n[include]\n    path = PROJECT/more\n[commit]\n    gpgSign = true\n' >> .git/config
mkdir -p .git/modules/m; cp .git/config .git/modules/m/config
"#;

/// Runs what people run every day, and says whether the marker appeared.
fn innocent_commands(repository: &Repository) -> bool {
    for words in [
        &["status"][..],
        &["log", "-p", "--all"],
        &["diff"],
        &["diff", "HEAD~"],
        &["st"],
        &["stash", "list"],
        &["branch", "-a"],
        &["checkout", "-q", "-b", "other"],
        &["checkout", "-q", "main"],
        &["commit", "-q", "--allow-empty", "-m", "mine"],
        &["fetch", "--all"],
        &["gc", "-q"],
    ] {
        // Some of them fail, as they should.
        drop(repository.try_git(words));
    }
    marker(repository).exists()
}

fn plant(repository: &Repository) -> String {
    let project = repository.project.root();
    let text = PLANT.replace("MARKER", marker(repository).to_str().unwrap());
    text.replace("PROJECT", project.to_str().unwrap())
}

#[test]
fn hooks_and_configuration_have_no_effect_on_the_host() {
    for more in [
        "printf '[core]\\n    worktree = /etc\\n' >> .git/config",
        "mkdir /tmp/evil; cp -r .git/. /tmp/evil; echo /workspace/evil > .git/commondir; cp -r /tmp/evil evil",
        "mv .git/config .git/c; ln -s /workspace/more .git/config",
    ] {
        let repository = Repository::new("");
        let output = repository.inside(&format!("{}\n{more}", plant(&repository)));
        assert!(output.said().contains("main forwarded"), "{}", output.said());
        assert!(!innocent_commands(&repository), "{more}");
        assert_eq!(repository.git(&["log", "--format=%s", "-1", "main~"]), "planted");
    }
}

#[test]
fn the_same_hooks_and_configuration_run_where_the_repository_is_open() {
    let repository = Repository::new("workspace { git direct; }\n");
    repository.pier(&["trust"]).expect(0);
    repository.inside(&plant(&repository));
    assert!(innocent_commands(&repository), "the check above can fail");
}

#[test]
fn another_repository_cannot_be_reached_through_links_and_alternates() {
    for pull in [
        "echo OBJECTS >> .git/objects/info/alternates",
        "rm -rf .git/objects/pack; ln -s OBJECTS/pack .git/objects/pack",
        "for n in $(seq 0 255); do d=$(printf %02x $n); rm -rf .git/objects/$d; ln -s OBJECTS/$d .git/objects/$d; done",
        "mkdir -p .git/objects/AB; ln -s OBJECTS/AB/CDEF .git/objects/AB/CDEF",
        "rm -rf .git/objects; ln -s OBJECTS .git/objects",
    ] {
        let repository = Repository::new("");
        let other = Repository::new("");
        other.project.write("secret", "secret\n");
        other.git(&["add", "-A"]);
        other.git(&["commit", "-qm", "secret"]);
        let id = other.id("main");
        if pull.contains("pack") {
            other.git(&["gc", "-q"]);
        }
        let objects = other.project.root().join(".git/objects");
        let pull = pull.replace("OBJECTS", objects.to_str().unwrap());
        let pull = pull.replace("AB", &id[..2]).replace("CDEF", &id[2..]);
        let output = repository
            .inside(&format!("{pull}; mkdir -p .git/refs/heads; echo {id} > .git/refs/heads/steal"));
        assert!(output.said().contains("are kept"), "{}", output.said());
        assert_ne!(repository.try_git(&["cat-file", "-e", &id]).code(), Some(0), "{pull}");
        assert!(repository.waiting().is_empty());
        assert_eq!(repository.kept().len(), 1);
        repository.pier(&["merge"]).refused(1, "git::failed");
        assert_ne!(repository.try_git(&["cat-file", "-e", &id]).code(), Some(0), "{pull}");
        repository.pier(&["drop"]).expect(0);
        assert!(repository.kept().is_empty());
    }
}

#[test]
fn odd_references_are_left_out_and_the_others_arrive() {
    let repository = Repository::new("");
    let script = format!(
        "{COMMIT} id=$(git rev-parse HEAD)
        ln -s /etc/passwd .git/refs/heads/link; ln -s /etc .git/refs/heads/etc; mkfifo .git/refs/heads/fifo
        echo $id > '.git/refs/heads/a b'; echo $id > $'.git/refs/heads/\\e[31mred'; echo $id > .git/refs/heads/-rf
        echo \"$id refs/heads/../../../x\" >> .git/packed-refs; echo \"$id ../x\" >> .git/packed-refs
        echo ref: ../../x > .git/refs/heads/out; mkdir -p .git/refs/tags; head -c 100000 /dev/zero > .git/refs/tags/zeros
        mkdir -p .git/refs/heads/..lock; echo $id > .git/refs/heads/main.lock"
    );
    let output = repository.inside(&script);
    assert!(output.said().contains("main forwarded"), "{}", output.said());
    assert!(output.said().contains("make no sense"), "{}", output.said());
    assert!(!output.said().contains('\u{1b}'));
    let names = repository.git(&["for-each-ref", "--format=%(refname)"]);
    let names: Vec<&str> = names.lines().filter(|name| !name.starts_with("refs/pier/")).collect();
    assert_eq!(names, ["refs/heads/main"]);
    assert_eq!(repository.waiting(), ["heads/-rf"]);
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}

#[test]
fn linked_reference_directories_are_refused_and_kept() {
    for script in [
        "mv .git/refs .git/r; ln -s /tmp .git/refs",
        "rm .git/HEAD; ln -s /etc/passwd .git/HEAD",
        "rm .git/packed-refs; ln -s /etc/passwd .git/packed-refs",
        "rm .git/packed-refs; mkfifo .git/packed-refs",
        "head -c 70000000 /dev/zero > .git/packed-refs",
    ] {
        let repository = Repository::new("");
        let output = repository.inside(&format!("{COMMIT}{script}"));
        assert!(output.said().contains("are kept"), "{}", output.said());
        assert_eq!(repository.git(&["log", "--format=%s"]), "one");
        repository.pier(&["drop"]).expect(0);
        assert!(repository.kept().is_empty());
    }
}

#[test]
fn what_git_itself_believes_about_objects_is_not_believed() {
    let repository = Repository::new("");
    let script = format!(
        "{COMMIT} git repack -adq; git multi-pack-index write; git commit-graph write
        for f in .git/objects/pack/multi-pack-index .git/objects/info/commit-graph; do
            chmod u+w $f; head -c 3000 /dev/urandom > $f; done"
    );
    let output = repository.inside(&script);
    assert_eq!(output.said(), "git: main forwarded\n");
    repository.git(&["fsck", "--strict"]);
}

#[test]
fn a_nested_repository_in_a_commit_does_not_reach_the_index() {
    let repository = Repository::new("");
    let script = plant(&repository)
        + "cp old .git/config; git init -q sub; cat more >> sub/.git/config\n"
        + "git init -q two; git -C two -c user.name=x -c user.email=x@x commit -q --allow-empty -m x\n"
        + "git add two 2>/dev/null; git commit -qm nested; cat more >> two/.git/config; cat more >> .git/config\n";
    let before = repository.id("main");
    let output = repository.inside(&script);
    assert!(output.said().contains("it adds the nested repository `two`"), "{}", output.said());
    assert_eq!(repository.id("main"), before);
    repository.pier(&["merge"]).refused(1, "git::merge");
    assert!(!innocent_commands(&repository));
    let id = fs_err::read_to_string(repository.project.root().join("two/.git/refs/heads/master"));
    let id =
        id.or_else(|_| fs_err::read_to_string(repository.project.root().join("two/.git/refs/heads/main")));
    let entry = format!("160000,{},two", id.unwrap().trim());
    repository.git(&["update-index", "--add", "--cacheinfo", &entry]);
    assert!(innocent_commands(&repository), "the check above can fail");
}

#[test]
fn a_path_without_end_does_not_reach_the_index() {
    let repository = Repository::new("");
    let before = repository.id("main");
    // No disk can hold it, but trees and an index can; what comes behind it would not be protected any more.
    let script = "
        name=$(head -c 4000 /dev/zero | tr '\\0' z)
        tree=$(printf '100644 blob %s\\tf\\n' $(git hash-object -w --stdin </dev/null) | git mktree)
        for i in $(seq 18); do tree=$(printf '040000 tree %s\\t%s\\n' $tree $name | git mktree); done
        tree=$( (git ls-tree HEAD; printf '040000 tree %s\\tzz\\n' $tree) | git mktree)
        git update-ref HEAD $(git commit-tree -p HEAD -m long $tree)";
    let output = repository.inside(script);
    assert!(output.said().contains("which no disk can hold"), "{}", output.said());
    assert_eq!(repository.id("main"), before);
    repository.pier(&["merge"]).refused(1, "git::merge");
}

#[test]
fn the_repository_of_a_submodule_cannot_be_replaced() {
    let repository = with_submodule();
    let id = repository.id("HEAD");
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},ext/empty")]);
    repository.git(&["commit", "-qm", "unpopulated"]);
    fs_err::create_dir_all(repository.project.root().join("ext/empty")).unwrap();
    repository.project.give_away();
    let script = "
        for command in 'rm lib/.git' 'mv lib/.git lib/g' 'mv lib lib2' 'echo x > lib/.git' 'mkdir ext/empty/.git' \
            'mv ext ext2' 'mv ext/empty ext/e' 'rmdir ext/empty' 'echo x >> .git/modules/lib/config' 'mv .git .g'; do
            if bash -c \"$command\" 2>/dev/null; then echo \"$command\"; fi
        done
        echo fine > lib/new; git status --porcelain";
    let output = repository.inside(script);
    assert_eq!(output.text(), " M lib");
    assert_eq!(repository.git(&["status", "--porcelain"]), " M lib");
}

#[test]
fn unreadable_directories_do_not_stay_behind() {
    let repository = Repository::new("");
    repository.inside("mkdir -p .git/x/y; touch .git/x/y/z; chmod 0 .git/x/y .git/x .git/hooks");
    assert!(repository.kept().is_empty(), "{:?}", repository.kept());
}

#[test]
fn commits_of_a_killed_supervisor_are_taken_later() {
    use std::time::Duration;
    let repository = Repository::new("");
    let script = format!("{COMMIT} touch ready; sleep 600");
    let mut child = repository.project.call(["exec", "--", "bash", "-c", &script]).start();
    let ready = repository.project.root().join("ready");
    assert!(crate::sandbox::within(Duration::from_secs(30), || ready.exists()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(repository.git(&["log", "--format=%s"]), "one");
    // The sandbox is gone a moment after its supervisor.
    let merged =
        crate::sandbox::within(Duration::from_secs(10), || repository.pier(&["merge"]).code() == Some(0));
    assert!(merged);
    assert_eq!(repository.git(&["log", "--format=%s"]), "two\none");
    assert!(repository.kept().is_empty());
}

#[test]
fn a_flood_of_references_stays_outside() {
    let repository = Repository::new("");
    let script = "id=$(git rev-parse HEAD)
        for n in $(seq 3000); do echo \"create refs/heads/b$n $id\"; done | git update-ref --stdin";
    let output = repository.inside(script);
    assert!(output.said().contains("more than 2000 are new; they are kept"), "{}", output.said());
    assert!(repository.waiting().is_empty());
    assert_eq!(repository.git(&["branch", "--format=%(refname:short)"]), "main");
}

#[test]
fn new_names_never_change_what_others_mean() {
    let repository = Repository::new("");
    repository.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    let script = format!(
        "{COMMIT} for name in tags/main heads/origin/main heads/HEAD tags/HEAD heads/fine; do
        git update-ref refs/$name HEAD; done"
    );
    let output = repository.inside(&script);
    assert!(output.said().contains("main forwarded, fine created"), "{}", output.said());
    assert_eq!(repository.git(&["log", "--format=%s", "origin/main"]), "one");
    let names = repository.git(&["for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags"]);
    assert_eq!(names, "refs/heads/fine\nrefs/heads/main");
}
