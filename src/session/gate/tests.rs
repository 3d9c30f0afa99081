use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use super::rules::Place;
use super::*;
use crate::util::text::shell_word;

fn opened(root: &str) -> Open {
    let skip = std::collections::HashSet::new();
    let ground = Ground { root: root.into(), is_project: true, top: Place::TOP, skip };
    open(vec![ground]).unwrap().remove(0)
}

/// A tree, and the two looks at it.
struct Tree {
    directory: tempfile::TempDir,
    open: [Open; 1],
    system_is_safe: bool,
}

impl Tree {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs_err::create_dir(root.join("project")).unwrap();
        let root = Utf8PathBuf::from_path_buf(root.join("project")).unwrap();
        Tree { directory, open: [opened(root.as_str())], system_is_safe: true }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.open[0].ground.root.as_std_path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs_err::write(self.path(name), text).unwrap();
    }

    fn link(&self, name: &str, to: impl AsRef<Path>) {
        fs_err::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        symlink(to, self.path(name)).unwrap();
    }

    fn shell(&self, script: &str) {
        let status =
            Command::new("bash").args(["-c", script]).current_dir(&self.open[0].ground.root).status();
        assert!(status.unwrap().success(), "{script}");
    }

    fn look(&self, bounds: Bounds, threads: usize) -> Seen {
        self.look_from(&Directories::new(), threads, &Budget::new(bounds))
    }

    fn look_from(&self, before: &Directories, threads: usize, budget: &Budget) -> Seen {
        let [Open { ground, root }] = &self.open;
        walk::walk(ground, root.as_fd(), budget, threads, before, Remember::Yes)
    }

    fn found(&self, start: &Seen, bounds: Bounds) -> Vec<Found> {
        let again = self.look_from(&start.known, 2, &Budget::new(bounds));
        let found = compare::compare(&self.context((i64::MAX, 0)), start, again);
        // What is known from the first look saves time and changes nothing.
        let whole = compare::compare(&self.context((i64::MAX, 0)), start, self.look(bounds, 2));
        if whole.iter().all(|one| one.mark.what != What::Unseen) {
            assert_eq!(found, whole);
        }
        found
    }

    fn context(&self, since: (i64, i64)) -> Context<'_> {
        let [Open { ground, root }] = &self.open;
        Context { ground, root: root.as_fd(), system_is_safe: self.system_is_safe, since }
    }

    /// What differs after `change`, as `new .envrc`.
    fn after(&self, change: impl FnOnce(&Tree)) -> Vec<String> {
        // Until then nothing is remembered of what has just been made.
        std::thread::sleep(walk::SETTLED + Duration::from_millis(20));
        let start = self.look(BOUNDS, 1);
        assert_eq!(start.cut, None);
        change(self);
        self.found(&start, BOUNDS).iter().map(name).collect()
    }
}

fn name(found: &Found) -> String {
    let change = if found.change == Change::New { "new" } else { "changed" };
    format!("{change} {}", escape_name(&found.path))
}

#[test]
fn what_is_new_or_changed_is_found_and_what_is_not_is_not() {
    let tree = Tree::new();
    for name in [".envrc", ".vscode/tasks.json", ".npmrc", "src/main.rs", "Makefile", "sub/.git/config"] {
        tree.write(name, "one");
    }
    assert_eq!(tree.after(|_| ()), Vec::<String>::new());
    let found = tree.after(|tree| {
        tree.write(".npmrc", "two");
        tree.write(".mise.toml", "");
        tree.write("src/other.rs", "");
        tree.write("Makefile", "two");
        tree.write("sub/.git/config", "two");
        tree.write("sub/.git/index", "two");
        fs_err::remove_file(tree.path(".envrc")).unwrap();
    });
    assert_eq!(found, ["new .mise.toml", "changed .npmrc", "changed sub/.git/config", "changed Makefile"]);
}

#[test]
fn what_did_not_change_is_not_read_again() {
    let tree = Tree::new();
    tree.shell("mkdir -p a/b c .vscode; touch a/b/file c/.envrc .vscode/tasks.json; git init -q --bare bare");
    std::thread::sleep(walk::SETTLED + Duration::from_millis(20));
    let start = tree.look(BOUNDS, 1);
    let again = || {
        let budget = Budget::new(BOUNDS);
        let seen = tree.look_from(&start.known, 2, &budget);
        (seen.marks == start.marks, budget.entries())
    };
    assert_eq!(again(), (true, 0));
    // The names of `a/b` and no others, for only that directory is another.
    tree.write("a/b/other", "");
    assert_eq!(again(), (true, 2));
    tree.write("c/.envrc", "changed");
    assert_eq!(again(), (false, 2));
    tree.shell("rm bare/config; rmdir bare/branches 2>/dev/null || true; git init -q bare/branches");
    assert!(again().1 > 2);
}

#[test]
fn a_directory_that_becomes_a_repository_shows_what_was_in_it_before() {
    let tree = Tree::new();
    tree.write("src/hooks/post-checkout", "");
    tree.write("src/config", "");
    let found =
        tree.after(|tree| tree.shell("cd src; mkdir objects refs; echo 'ref: refs/heads/main' > HEAD"));
    assert_eq!(found, ["new src/HEAD", "new src/config", "new src/hooks/post-checkout"]);
}

#[test]
fn what_was_remembered_of_another_time_is_not_believed() {
    let settle = || std::thread::sleep(walk::SETTLED + Duration::from_millis(20));
    let tree = Tree::new();
    tree.write("x/hooks/post-commit", "");
    settle();
    let mut old = tree.look(BOUNDS, 1).known;
    tree.shell("cd x; mkdir objects refs; echo 'ref: refs/heads/main' > HEAD");
    settle();
    let start = tree.look(BOUNDS, 1);
    // As if there had been no room to remember the hooks again, now that they are some.
    let mut known = start.known.clone();
    let name = b"x/hooks".to_vec();
    assert_ne!(known.insert(name.clone(), old.remove(&name).unwrap()), None);
    tree.write("x/hooks/post-commit", "evil");
    let end = tree.look_from(&known, 1, &Budget::new(BOUNDS));
    let found = compare::compare(&tree.context((i64::MAX, 0)), &start, end);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].path, b"x/hooks/post-commit");
}

#[test]
fn a_change_that_keeps_size_and_time_is_found() {
    let tree = Tree::new();
    tree.write(".envrc", "one");
    tree.shell("touch -d @1000 .envrc");
    assert_eq!(
        tree.after(|tree| tree.shell("echo -n two > .envrc; touch -d @1000 .envrc")),
        ["changed .envrc"]
    );
    let found = tree.after(|tree| tree.shell("cp -p .envrc x; mv x .envrc; touch -d @1000 .envrc"));
    assert_eq!(found, ["changed .envrc"]);
    tree.shell("ln .envrc notes.txt");
    assert_eq!(tree.after(|tree| tree.write("notes.txt", "3")), ["changed .envrc"]);
}

#[test]
fn what_a_renamed_directory_brings_along_is_new() {
    let tree = Tree::new();
    tree.write("harmless/tasks.json", "{}");
    tree.write("other/hooks/post-checkout", "");
    assert_eq!(tree.after(|tree| tree.shell("mv harmless .vscode")), ["new .vscode/tasks.json"]);
    assert_eq!(tree.after(|tree| tree.shell("mv .vscode sub")), Vec::<String>::new());
    assert_eq!(tree.after(|tree| tree.shell("mv other .husky")), ["new .husky/hooks/post-checkout"]);
}

#[test]
fn repositories_are_found_by_name_and_by_layout() {
    let tree = Tree::new();
    let new = tree.after(|tree| {
        tree.shell("git init -q nested; git init -q --bare looks-harmless; mkdir a b c");
        tree.write("a/.git", "gitdir: ../looks-harmless");
        // With `commondir`, the other parts of the layout are elsewhere.
        tree.write("b/HEAD", "ref: refs/heads/main");
        tree.write("b/commondir", "../looks-harmless");
        tree.write("c/HEAD", "ref: refs/heads/main");
        tree.write("c/objects", "");
    });
    let commondir = "new b/commondir";
    assert_eq!(
        new,
        [
            "new a/.git",
            "new b/HEAD",
            commondir,
            "new looks-harmless/HEAD",
            "new looks-harmless/config",
            "new nested/.git"
        ]
    );
    let changed = tree.after(|tree| {
        tree.write("nested/.git/hooks/post-checkout", "#!/bin/sh");
        tree.write("nested/.git/hooks/pre-push.sample", "#!/bin/sh");
        tree.shell("git -C nested config core.fsmonitor ./evil; git -C nested add . ");
        tree.shell("git -C looks-harmless config core.sshCommand ./evil");
        tree.write("nested/.git/commondir", "../../evil");
        tree.write("nested/.git/modules/m/HEAD", "ref: refs/heads/main");
        tree.shell("mkdir -p nested/.git/modules/m/{objects,refs}; touch nested/.git/modules/m/config");
    });
    assert_eq!(
        changed,
        [
            "changed looks-harmless/config",
            "new nested/.git/commondir",
            "changed nested/.git/config",
            "new nested/.git/hooks/post-checkout",
            "new nested/.git/modules/m/config"
        ]
    );
    let replaced = tree.after(|tree| tree.shell("mv nested/.git x; cp -r x nested/.git"));
    assert!(replaced.contains(&"changed nested/.git".to_owned()), "{replaced:?}");
}

#[test]
fn only_what_is_dangerous_counts_in_dependencies() {
    let tree = Tree::new();
    let found = tree.after(|tree| {
        tree.write("node_modules/a/package.json", "{}");
        tree.write("node_modules/a/.envrc", "");
        tree.write("node_modules/a/.vscode/tasks.json", "");
        tree.link("node_modules/.bin/tsc", "../a/tsc.js");
        tree.link("node_modules/.bin/git", "../a/git.js");
        tree.link(".venv/bin/python", "/usr/bin/python3");
        tree.write(".venv/bin/sudo", "");
        tree.link("target/out", "/etc/passwd");
        tree.shell("git init -q node_modules/b; mkfifo target/pipe");
    });
    assert_eq!(
        found,
        [
            "new .venv/bin/sudo",
            "new node_modules/.bin/git",
            "new node_modules/b/.git",
            "new target/out",
            "new target/pipe"
        ]
    );
}

#[test]
fn links_that_leave_are_found_however_they_do_it() {
    let mut tree = Tree::new();
    fs_err::write(tree.directory.path().join("outside"), "").unwrap();
    tree.link("users-own", "..");
    tree.write("in/side", "");
    let root = tree.open[0].ground.root.clone();
    let plant = |tree: &Tree| {
        tree.link("absolute", "/etc/passwd");
        tree.link("relative", "../outside");
        tree.link("in/relative", "../../outside");
        tree.link("in/deep", "../in/../in/../../outside");
        tree.link("through", "users-own/outside");
        tree.link("in/through", "../through");
        tree.link("dangling", "nowhere/../../nothing");
        tree.link("workspace", "/workspace/in/side");
        tree.link("by-root-and-back", root.join("users-own/outside"));
        tree.link("stays", "in/side");
        tree.link("in/stays", "../in/side");
        tree.link("stays-absolute", root.join("in/side"));
        tree.link("loop", "loop");
        tree.link("missing", "in/missing");
        tree.link("system", "/usr/bin/python3");
        tree.link("local", "/usr/local/bin/x");
        tree.link("climbs", "/usr/../etc/passwd");
    };
    let expected = [
        "absolute",
        "by-root-and-back",
        "climbs",
        "dangling",
        "in/deep",
        "in/relative",
        "in/through",
        "local",
        "relative",
        "through",
        "workspace",
    ];
    let found = tree.after(plant);
    assert_eq!(found, expected.map(|name| format!("new {name}")));
    assert_eq!(tree.after(|tree| tree.shell("ln -sf /etc/hosts stays")), ["changed stays"]);
    // Root could be made to overwrite the system.
    tree.system_is_safe = false;
    assert_eq!(tree.after(|tree| tree.link("again", "/usr/bin/python3")), ["new again"]);
}

#[test]
fn what_the_users_own_links_stand_for_is_watched() {
    let tree = Tree::new();
    tree.write("env/common", "one");
    tree.write("hooks/pre-commit", "one");
    tree.link(".envrc", "env/common");
    tree.link(".husky", "hooks");
    let found = tree.after(|tree| {
        tree.write("env/common", "two");
        tree.write("hooks/pre-commit", "two");
        tree.write("hooks/post-merge", "");
    });
    assert_eq!(found, ["changed .envrc", "new .husky/post-merge", "changed .husky/pre-commit"]);
}

#[test]
fn a_link_in_place_of_a_named_directory_is_found() {
    let tree = Tree::new();
    tree.write("mine/tasks.json", "");
    let found = tree.after(|tree| {
        tree.link(".vscode", "mine");
        tree.link("sub/.git", "../mine");
        tree.link(".claude", "nowhere");
    });
    assert_eq!(found, ["new .claude", "new .vscode", "new .vscode/tasks.json", "new sub/.git"]);
}

#[test]
fn nothing_is_opened_that_could_hang_and_every_kind_is_named() {
    let tree = Tree::new();
    let start = tree.look(BOUNDS, 1);
    tree.shell("mkfifo build.log .envrc");
    let _socket = std::os::unix::net::UnixListener::bind(tree.path("socket")).unwrap();
    let found: Vec<_> =
        tree.found(&start, BOUNDS).into_iter().map(|one| (escape_name(&one.path), one.mark.what)).collect();
    let expected = [(".envrc", What::Fifo), ("build.log", What::Fifo), ("socket", What::Socket)];
    assert_eq!(found, expected.map(|(name, what)| (name.to_owned(), what)));
}

#[test]
fn a_directory_that_nobody_may_list_is_found() {
    if nix::unistd::geteuid().is_root() {
        println!("skipped: root lists every directory; tests/it has this case for a user");
        return;
    }
    let tree = Tree::new();
    let found = tree.after(|tree| tree.shell("mkdir -p closed/.git; chmod 111 closed"));
    tree.shell("chmod 755 closed");
    assert_eq!(found, ["new closed"]);
}

#[test]
fn names_of_any_bytes_are_found_and_shown_escaped() {
    use std::os::unix::ffi::OsStrExt as _;
    let tree = Tree::new();
    let start = tree.look(BOUNDS, 1);
    for directory in [&b"-rf"[..], b"a\nb", b"\x1b]0;x\x07", b"$(touch M)", b"\xff\xfe"] {
        let path = tree.path("").join(std::ffi::OsStr::from_bytes(directory));
        fs_err::create_dir(&path).unwrap();
        fs_err::write(path.join(".envrc"), "").unwrap();
    }
    let found = tree.found(&start, BOUNDS);
    let fates = vec![Fate::Left; found.len()];
    let report = report(GateMode::Report, &tree.open, vec![found], vec![fates]);
    let shown: Vec<&str> = report.findings.iter().map(|finding| finding.path.as_str()).collect();
    let expected = [
        r"\u{1b}]0;x\u{7}/.envrc",
        "$(touch M)/.envrc",
        "./-rf/.envrc",
        r"a\nb/.envrc",
        r"\x{ff}\x{fe}/.envrc",
    ];
    assert_eq!(shown, expected);
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

#[test]
fn a_look_ends_at_each_of_its_bounds_and_says_so() {
    let tree = Tree::new();
    tree.shell("mkdir many; cd many; for i in {1..300}; do mkdir d$i; : > d$i/.envrc; done");
    tree.shell("for i in {1..60}; do mkdir d; cd d; done; : > .envrc");
    let none = Seen::default();
    for (bounds, reason) in [
        (
            Bounds { entries: 100, ..BOUNDS },
            Some("the tree was too large to look at whole: it holds too many files"),
        ),
        (
            Bounds { memory: 10_000, ..BOUNDS },
            Some("the tree was too large to look at whole: it holds too many files"),
        ),
        (
            Bounds { depth: 50, ..BOUNDS },
            Some("the tree was too large to look at whole: its directories are too deep"),
        ),
        (
            Bounds { time: Duration::ZERO, ..BOUNDS },
            Some("the tree was too large to look at whole: it takes too long"),
        ),
        (BOUNDS, None),
    ] {
        for threads in [1, 3] {
            assert_eq!(tree.look(bounds, threads).cut, reason, "{bounds:?}");
        }
        let found = tree.found(&none, bounds);
        let unseen = found.iter().find(|one| one.mark.what == What::Unseen);
        assert_eq!(unseen.map(|one| one.class), reason.map(|_| Class::Obeyed));
        if let (Some(unseen), Some(reason)) = (unseen, reason) {
            assert_eq!(unseen.reason, reason);
        }
    }
    let found = tree.found(&none, BOUNDS);
    let fates = vec![Fate::Left; found.len()];
    let report = report(GateMode::Report, &tree.open, vec![found], vec![fates]);
    assert_eq!((report.obeyed, report.findings.len()), (301, MOST_ALIKE));
    assert_eq!(report.findings[MOST_ALIKE - 1].alike, 301 - MOST_ALIKE);
}

#[test]
fn after_a_first_look_that_was_cut_only_what_changed_since_is_new() {
    let tree = Tree::new();
    tree.write("old/.envrc", "");
    let start = tree.look(Bounds { entries: 0, ..BOUNDS }, 1);
    assert!(start.cut.is_some());
    let at = |since| {
        compare::compare(&tree.context(since), &start, tree.look(BOUNDS, 1))
            .iter()
            .map(name)
            .collect::<Vec<_>>()
    };
    assert_eq!(at((i64::MAX, 0)), ["new "]);
    assert_eq!(at((0, 0)), ["new ", "new old/.envrc"]);
}

#[test]
fn another_file_system_is_not_entered() {
    // `/dev/shm` is a mount below `/dev` wherever there is one.
    if !Path::new("/dev/shm").is_dir() {
        println!("skipped: /dev/shm is not there");
        return;
    }
    let probe = tempfile::Builder::new().prefix(".pier-gate-").tempdir_in("/dev/shm").unwrap();
    fs_err::write(probe.path().join(".envrc"), "").unwrap();
    let look =
        |root: &str| look_at(&[opened(root)], BOUNDS, 1, &[Directories::new()], Remember::No).remove(0);
    let is_probe = |path: &Vec<u8>| path.ends_with(b"/.envrc");
    assert!(look("/dev/shm").marks.keys().any(is_probe));
    assert!(!look("/dev").marks.keys().any(is_probe));
}

/// Plants files of several kinds, moves them away, and returns the report.
fn quarantined(tree: &Tree, state: &Utf8Path) -> Report {
    let start = tree.look(BOUNDS, 1);
    tree.shell(
        "git init -q nested; echo x > nested/.git/hooks/pre-push; mkdir -p deep/a; echo two > deep/a/.envrc",
    );
    tree.shell(
        "ln -s /etc/passwd leak; mkfifo pipe; echo changed > .npmrc; echo x > Makefile; chmod 0 nested/.git/hooks deep/a/.envrc; chmod 555 deep/a",
    );
    let found = tree.found(&start, BOUNDS);
    act::quarantine(&tree.open, vec![found], state, "session1")
}

#[test]
fn the_quarantine_keeps_paths_and_gives_them_back() {
    // Another file system where there is one: then files are copied.
    for elsewhere in ["/tmp", "/dev/shm"] {
        if !Path::new(elsewhere).is_dir() {
            println!("skipped: {elsewhere} is not there");
            continue;
        }
        let tree = Tree::new();
        tree.write(".npmrc", "mine");
        let state = tempfile::tempdir_in(elsewhere).unwrap();
        let state = Utf8Path::from_path(state.path()).unwrap();
        let report = quarantined(&tree, state);
        let shown: Vec<&str> = report.findings.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(shown, [".npmrc", "deep/a/.envrc", "leak", "nested/.git", "pipe", "Makefile"]);
        assert_eq!((report.obeyed, report.built, report.stuck), (5, 1, 0), "{report:?}");
        assert!(!report.fails());
        for name in [".npmrc", "deep/a/.envrc", "leak", "nested/.git", "pipe"] {
            assert!(!tree.path(name).is_symlink() && !tree.path(name).exists(), "{name}");
        }
        assert!(tree.path("Makefile").exists());
        let place = state.join("quarantine/session1");
        assert_eq!(report.quarantine.as_deref(), Some(&*place));
        let modes = format!(
            "cd {place}/project; stat -c %a deep/a/.envrc nested/.git/hooks; chmod 700 deep/a/.envrc nested/.git/hooks"
        );
        let modes = Command::new("bash").args(["-c", &modes]).output().unwrap().stdout;
        assert_eq!(String::from_utf8(modes).unwrap(), "0\n0\n");
        // Writable again, so that the file can be put back; root never needed that.
        let mode = fs_err::metadata(tree.path("deep/a")).unwrap().permissions().mode() & 0o777;
        assert!(nix::unistd::geteuid().is_root() || mode == 0o755, "{mode:o}");
        assert_eq!(fs_err::read_to_string(place.join("project/deep/a/.envrc")).unwrap(), "two\n");
        assert_eq!(fs_err::read_link(place.join("project/leak")).unwrap(), Path::new("/etc/passwd"));
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs_err::read(place.join("manifest.json")).unwrap()).unwrap();
        assert_eq!(manifest["files"].as_array().unwrap().len(), 5);
        assert_eq!(manifest["files"][1]["to"], "project/deep/a/.envrc");
        assert_eq!(manifest["files"][1]["from"], tree.path("deep/a/.envrc").to_str().unwrap());
        tree.shell("chmod 755 deep/a");
        let [command] = report.restore.as_slice() else { panic!("{:?}", report.restore) };
        assert!(command.contains(&shell_word(place.as_str())), "{command}");
        tree.shell(command);
        assert!(tree.path("nested/.git/hooks/pre-push").exists() && tree.path("leak").is_symlink());
    }
}

#[test]
fn what_cannot_be_moved_is_a_failure() {
    let tree = Tree::new();
    let state = tempfile::tempdir().unwrap();
    fs_err::write(state.path().join("quarantine"), "in the way").unwrap();
    let report = quarantined(&tree, Utf8Path::from_path(state.path()).unwrap());
    assert_eq!((report.obeyed, report.stuck), (5, 5));
    assert!(report.fails() && report.quarantine.is_none() && tree.path("deep/a/.envrc").exists());
    // Without root, the tree could not be removed.
    tree.shell("chmod -R u+rwX .");
}

#[test]
fn modes_fail_for_what_is_left() {
    let report = |mode, obeyed, stuck| Report {
        mode,
        findings: Vec::new(),
        obeyed,
        built: 9,
        stuck,
        quarantine: None,
        restore: Vec::new(),
    };
    assert!(!report(GateMode::Report, 1, 0).fails());
    assert!(report(GateMode::Block, 1, 0).fails());
    assert!(!report(GateMode::Block, 0, 0).fails());
    assert!(!report(GateMode::Quarantine, 1, 0).fails());
    assert!(report(GateMode::Quarantine, 1, 1).fails());
}

#[test]
#[ignore = "prints times and judges nothing; run it with --release"]
fn a_look_at_ten_thousand_files() {
    let tree = Tree::new();
    tree.shell("for d in {1..1000}; do mkdir d$d; for f in {1..10}; do : > d$d/file$f.rs; done; done");
    std::thread::sleep(walk::SETTLED * 2);
    let start = tree.look(BOUNDS, 1);
    let nothing = Directories::new();
    for (threads, before) in [(1, &nothing), (2, &nothing), (1, &start.known), (2, &start.known)] {
        let mut times: Vec<Duration> = (0..40)
            .map(|_| {
                let began = Instant::now();
                assert_eq!(tree.look_from(before, threads, &Budget::new(BOUNDS)).cut, None);
                began.elapsed()
            })
            .collect();
        times.sort();
        let known = before.len();
        println!("{threads} threads, {known} known: median {:?}, least {:?}", times[20], times[0]);
    }
}
