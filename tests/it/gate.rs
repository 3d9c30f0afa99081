//! The exit gate: what a session leaves behind that a later innocent command of the host would execute or obey.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use crate::sandbox::{Output, Project, within};

/// What people see of one finding: its change and its path.
fn listed(output: &Output) -> Vec<String> {
    let said = output.said();
    let lines = said.lines().filter_map(|line| line.strip_prefix("  "));
    let words = lines.filter_map(|line| {
        let mut words = line.splitn(2, "  ").map(str::trim);
        let change = words.next().filter(|change| matches!(*change, "new" | "changed"))?;
        let path = words.next()?.split("  ").next()?.split(" -> ").next()?;
        Some(format!("{change} {path}"))
    });
    words.collect()
}

/// Says that it runs, and ends when that is taken away.
const WAIT: &str = "touch ready; while [ -e ready ]; do sleep 0.01; done";

/// Runs a script inside and returns what is listed.
#[track_caller]
fn left_by(project: &Project, script: &str) -> Vec<String> {
    listed(&project.bash(script).expect(0))
}

/// Plants each path with the word `planted` in it.
fn plant(paths: &[&str]) -> String {
    let one = |path: &&str| format!("mkdir -p \"$(dirname '{path}')\"; echo planted > '{path}'; ");
    format!("set -e; {}", paths.iter().map(one).collect::<String>())
}

#[track_caller]
fn each_is_listed(paths: &[&str]) {
    assert!(paths.len() <= 20, "more are counted and not shown");
    let project = Project::new("");
    let mut expected: Vec<String> = paths.iter().map(|path| format!("new {path}")).collect();
    expected.sort();
    assert_eq!(left_by(&project, &plant(paths)), expected);
}

#[test]
fn planted_repositories_are_listed() {
    let project = Project::new("");
    let script =
        "git init -q sub; git init -q --bare looks-harmless; mkdir m; echo 'gitdir: ../gone' > m/.git
        mkdir -p w; echo 'ref: refs/heads/main' > w/HEAD; echo ../looks-harmless > w/commondir";
    let expected =
        ["looks-harmless/HEAD", "looks-harmless/config", "m/.git", "sub/.git", "w/HEAD", "w/commondir"];
    assert_eq!(left_by(&project, script), expected.map(|path| format!("new {path}")));
    // They were there at the start now: what changes in them is listed, and nothing else.
    let script = "git -C sub config core.fsmonitor ./evil; echo x > sub/.git/hooks/post-checkout; touch sub/.git/x
        mkdir -p sub/.git/modules/m/{objects,refs}; cd sub/.git/modules/m; echo 'ref: x' > HEAD; echo > config";
    let expected =
        ["changed sub/.git/config", "new sub/.git/hooks/post-checkout", "new sub/.git/modules/m/config"];
    assert_eq!(left_by(&project, script), expected);
}

#[test]
fn planted_settings_of_agents_are_listed() {
    each_is_listed(&[
        ".claude/settings.json",
        ".claude/settings.local.json",
        ".claude/commands/x.md",
        ".claude/hooks/run.sh",
        ".mcp.json",
        ".codex/config.toml",
        ".cursor/mcp.json",
        ".gemini/settings.json",
        "AGENTS.md",
        "CLAUDE.md",
    ]);
}

#[test]
fn planted_settings_of_editors_are_listed() {
    each_is_listed(&[
        ".vscode/tasks.json",
        ".vscode/settings.json",
        ".vscode/launch.json",
        ".idea/workspace.xml",
        ".devcontainer/devcontainer.json",
        "x.code-workspace",
        ".nvim.lua",
        ".helix/languages.toml",
        "sub/.dir-locals.el",
    ]);
}

#[test]
fn planted_environments_and_package_settings_are_listed() {
    each_is_listed(&[
        "sub/.envrc",
        ".mise.toml",
        ".tool-versions",
        ".nvmrc",
        "rust-toolchain.toml",
        ".cargo/config.toml",
        ".npmrc",
        ".yarnrc.yml",
        "pip.conf",
        ".pre-commit-config.yaml",
        ".husky/pre-commit",
        ".gitattributes",
        ".gitmodules",
        ".github/workflows/ci.yml",
        "bin/git",
        "node_modules/.bin/sudo",
        ".gdbinit",
    ]);
}

#[test]
fn what_a_build_runs_is_one_line() {
    let project = Project::new("");
    let paths: Vec<String> = (10..22).map(|number| format!("part{number}/Makefile")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let output = project.bash(&plant(&paths)).expect(0);
    assert_eq!(listed(&output), Vec::<String>::new());
    let said = output.said();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("`part10/Makefile`, `part11/Makefile`,") && said.contains(" and 2 more"), "{said}");
    let paths =
        ["Makefile", "package.json", "tests/conftest.py", "build.rs", "setup.cfg", "flake.nix", "shell.nix"];
    let said = project.bash(&plant(&paths)).expect(0).said();
    assert!(paths.iter().all(|path| said.contains(&format!("`{path}`"))), "{said}");
    // Not even the strictest mode fails for them.
    project.write("pier.kdl", "workspace { gate block }");
    project.bash("echo two > Makefile").expect(0);
}

#[test]
fn nothing_is_said_where_nothing_is_to_be_said() {
    let project = Project::new("");
    for path in [".nvmrc", ".envrc", ".vscode/tasks.json", "CLAUDE.md", "Makefile", "sub/.git/config"] {
        project.write(path, "mine");
    }
    project.write("node_modules/a/package.json", "{}");
    let output = project.bash("cat CLAUDE.md > copy; mkdir src; echo x > src/main.rs; rm Makefile").expect(0);
    assert_eq!(output.said(), "");
}

#[test]
fn links_that_leave_are_listed_with_their_target() {
    let project = Project::new("");
    std::os::unix::fs::symlink("..", project.root().join("users-own")).unwrap();
    project.give_away();
    let script = "ln -s /etc/passwd absolute; ln -s ../../x relative; mkdir d; ln -s ../users-own/home d/through
        ln -s d inside; ln -s /workspace/d 'as-seen-inside'; ln -s /usr/bin/env system; ln -s ../d/through again";
    let output = project.bash(script).expect(0);
    let expected = ["absolute", "again", "as-seen-inside", "d/through", "relative"];
    assert_eq!(listed(&output), expected.map(|path| format!("new {path}")));
    assert!(output.said().contains("  absolute -> /etc/passwd  "), "{}", output.said());
}

#[test]
fn pipes_and_sockets_are_listed_and_do_not_hang() {
    let project = Project::new("");
    // Node is there for the agents; without it the socket is left out.
    let script = "mkfifo build.log .envrc
        if command -v node > /dev/null; then
            node -e 'require(\"net\").createServer().listen(\"sock\", () => process.kill(process.pid, \"SIGKILL\"))'
            test -S sock
        fi || true";
    let output = project.call(["exec", "--", "bash", "-c", script]).deadline(Duration::from_secs(20)).run();
    let mut found = listed(&output.expect(0));
    if !project.root().join("sock").exists() {
        println!("skipped: no node made a socket inside");
        found.push("new sock".to_owned());
    }
    assert_eq!(found, ["new .envrc", "new build.log", "new sock"]);
}

#[test]
fn hostile_names_are_shown_escaped() {
    let project = Project::new("");
    let script = r#"for d in ./-rf $'./a\nb' $'./\e]0;x\a' './$(touch M)' $'./\xff'; do mkdir "$d"; touch "$d/.envrc"; done"#;
    let output = project.bash(script).expect(0);
    let said = output.said();
    let expected = [
        r"new \u{1b}]0;x\u{7}/.envrc",
        "new $(touch M)/.envrc",
        "new ./-rf/.envrc",
        r"new a\nb/.envrc",
        r"new \x{ff}/.envrc",
    ];
    assert_eq!(listed(&output), expected, "{said}");
    assert!(!output.stderr.contains(&0x1b) && std::str::from_utf8(&output.stderr).is_ok(), "{said}");
}

#[test]
fn a_large_and_deep_tree_is_looked_at_in_bounds() {
    let project = Project::new("");
    let script = "mkdir many; cd many; seq 100000 | xargs touch; touch .envrc; cd ..
        for i in {1..300}; do mkdir d; cd d; done; touch .envrc";
    let output = project.bash(script).expect(0);
    assert_eq!(listed(&output), ["new .", "new many/.envrc"]);
    let said = output.said();
    assert!(said.contains("the tree was too large to look at whole: its directories are too deep"), "{said}");
    // Removed from inside: the test's own removal is not made for such depths.
    project.bash("rm -rf d many").expect(0);
}

/// How many directories a look had to read, as pier says in its traces.
fn directories_read(output: &Output, when: &str) -> usize {
    let said = output.said();
    let line = said.lines().find(|line| line.contains(&format!("when=\"{when}\""))).unwrap().to_owned();
    line.split("read=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn what_is_remembered_between_sessions_hides_nothing() {
    let project = Project::new("");
    for number in 0..300 {
        let path = project.root().join(format!("part{}/sub{number}", number % 7));
        fs_err::create_dir_all(&path).unwrap();
        fs_err::write(path.join("file"), "").unwrap();
    }
    project.give_away();
    let remembered = |project: &Project| {
        let found = project.left_behind().into_iter().find(|path| path.ends_with("gate"));
        found.map(|path| fs_err::metadata(path).unwrap().len())
    };
    // What has just been made is not remembered yet.
    assert!(within(Duration::from_secs(20), || {
        let call = project.call(["exec", "--", "true"]);
        let output = call.env("PIER_LOG", "pier::session::gate=debug").env("NO_COLOR", "1").run().expect(0);
        let length = remembered(&project);
        length.is_some_and(|length| length > 300 * 60) && directories_read(&output, "start") < 30
    }));
    let output = project.call([
        "exec",
        "--",
        "bash",
        "-c",
        "echo x > part3/sub3/.envrc; mkdir -p part4/sub4/.git; mv part5 .husky",
    ]);
    let output = output.env("PIER_LOG", "pier::session::gate=debug").env("NO_COLOR", "1").run().expect(0);
    let found = listed(&output);
    assert!(found.contains(&"new part3/sub3/.envrc".to_owned()), "{found:?}");
    assert!(output.said().contains("new      part4/sub4/.git  "), "{}", output.said());
    assert!(output.said().contains("(and 42 more)"), "{}", output.said());
    let (start, end) = (directories_read(&output, "start"), directories_read(&output, "end"));
    assert!(start < 30 && end < 100, "{start} {end}");
}

#[test]
fn a_renamed_directory_brings_findings() {
    let project = Project::new("");
    project.write("templates/tasks.json", "{}");
    assert_eq!(left_by(&project, "mv templates .vscode"), ["new .vscode/tasks.json"]);
}

#[test]
fn an_edit_of_somebody_else_meanwhile_is_listed_too() {
    let project = Project::new("");
    project.write(".nvmrc", "20");
    let mut child = project.call(["exec", "--", "bash", "-c", WAIT]).start();
    let ready = project.root().join("ready");
    assert!(within(Duration::from_secs(20), || ready.exists()));
    fs_err::write(project.root().join(".nvmrc"), "22").unwrap();
    fs_err::remove_file(&ready).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(said.contains("  changed  .nvmrc  "), "{said}");
}

#[test]
fn nothing_writes_after_the_last_look() {
    let project = Project::new("");
    let script = "(sleep 0.3; echo x > .envrc) > /dev/null 2>&1 < /dev/null & echo x > .nvmrc";
    assert_eq!(left_by(&project, script), ["new .nvmrc"]);
    let late = project.root().join(".envrc");
    assert!(!within(Duration::from_secs(1), || late.exists()), "a process outlived its session");
}

#[test]
fn a_session_that_runs_out_of_time_is_looked_at_too() {
    let project = Project::new("limits { wall \"1s\" }");
    let output = project.bash("echo x > .envrc; exec sleep 60").expect(124);
    assert_eq!(listed(&output), ["new .envrc"]);
}

#[test]
fn a_repository_made_in_a_project_without_one_is_listed() {
    let project = Project::bare();
    project.write("pier.kdl", "");
    assert_eq!(left_by(&project, "git init -q ."), ["new .git"]);
}

#[test]
fn with_git_direct_the_repositorys_own_hooks_are_listed() {
    let project = Project::new("workspace { git direct }");
    project.trust();
    let script =
        "echo x > .git/hooks/post-checkout; git config core.fsmonitor ./evil; echo x > file; git add file";
    assert_eq!(left_by(&project, script), ["changed .git/config", "new .git/hooks/post-checkout"]);
}

#[test]
fn a_writable_mount_is_looked_at_too() {
    let project = Project::new("mounts { rw \"../other\" at=\"/other\" }");
    project.write_beside("other/file", "");
    project.trust();
    let path = project.base().canonicalize().unwrap().join("other/.envrc");
    assert_eq!(left_by(&project, "echo x > /other/.envrc"), [format!("new {}", path.display())]);
}

#[test]
fn a_directory_that_cannot_be_listed_is_listed() {
    let project = Project::new("");
    let found = left_by(&project, "mkdir -p closed/.git; chmod 111 closed");
    project.bash("chmod 755 closed").expect(0);
    assert_eq!(found, ["new closed"]);
}

#[test]
fn block_fails_where_the_command_did_not() {
    let project = Project::new("workspace { gate block }");
    let output = project.bash("echo x > .envrc").refused(1, "gate::blocked");
    assert_eq!(listed(&output), ["new .envrc"]);
    assert!(project.root().join(".envrc").exists());
    // It was there at the start by now.
    assert_eq!(project.bash("true").expect(0).said(), "");
    assert_eq!(left_by_failing(&project, "echo x > .nvmrc; exit 7"), ["new .nvmrc"]);
}

#[track_caller]
fn left_by_failing(project: &Project, script: &str) -> Vec<String> {
    let output = project.bash(script).expect(7);
    assert!(!output.said().contains("gate::"), "{}", output.said());
    listed(&output)
}

#[test]
fn findings_are_in_the_record_of_the_session() {
    let project = Project::new("");
    project.bash("echo x > .envrc; echo x > Makefile").expect(0);
    let records = fs_err::read_dir(project.state().join("audit")).unwrap();
    let text: String = records.flatten().map(|entry| fs_err::read_to_string(entry.path()).unwrap()).collect();
    let line = text.lines().find(|line| line.contains("\"type\":\"gate\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let paths: Vec<&str> = line["event"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, [".envrc", "Makefile"], "{line}");
    project.pier(&["audit", "verify"]).expect(0);
}

#[test]
fn quarantine_moves_files_and_says_how_to_get_them_back() {
    let project = Project::new("workspace { gate quarantine }");
    project.write(".nvmrc", "mine");
    let script = "echo theirs > .nvmrc; echo x > a; git init -q sub; echo x > sub/file; ln -s /etc/passwd leak; \
        mkdir -p deep/.husky; echo x > deep/.husky/pre-commit; chmod 555 deep/.husky; echo x > Makefile";
    let output = project.bash(script).expect(0);
    let expected = ["changed .nvmrc", "new deep/.husky/pre-commit", "new leak", "new sub/.git"];
    assert_eq!(listed(&output), expected);
    let root = project.root();
    for path in [".nvmrc", "deep/.husky/pre-commit", "sub/.git"] {
        assert!(!root.join(path).exists(), "{path}");
    }
    assert!(
        !root.join("leak").is_symlink() && root.join("sub/file").exists() && root.join("Makefile").exists()
    );
    let quarantine = project.state().join("quarantine");
    let session = fs_err::read_dir(&quarantine).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs_err::read_to_string(session.join("project/.nvmrc")).unwrap(), "theirs\n");
    assert!(
        fs_err::read_to_string(session.join("manifest.json")).unwrap().contains("deep/.husky/pre-commit")
    );
    let said = output.said();
    let command = said.lines().find_map(|line| line.strip_prefix("help: to get them back: ")).unwrap();
    let status = std::process::Command::new("bash").args(["-c", command]).status().unwrap();
    assert!(status.success() && root.join("sub/.git/HEAD").exists());
}

#[test]
fn a_quarantine_that_cannot_be_made_is_a_failure() {
    let project = Project::new("workspace { gate quarantine }");
    project.bash("true").expect(0);
    project.write_beside("home/.local/state/pier/quarantine", "in the way");
    let output = project.bash("echo x > .envrc").refused(1, "gate::quarantine");
    assert!(output.said().contains("not moved: "), "{}", output.said());
    assert!(project.root().join(".envrc").exists());
}

#[test]
fn a_project_that_was_moved_meanwhile_is_looked_at_where_it_is() {
    let project = Project::new("");
    let script = format!("{WAIT}; echo x > .envrc");
    let mut child = project.call(["exec", "--", "bash", "-c", &script]).start();
    let ready = project.root().join("ready");
    assert!(within(Duration::from_secs(20), || ready.exists()));
    // Its path leads to a harmless one now.
    let moved = project.base().join("moved");
    fs_err::rename(project.root(), &moved).unwrap();
    fs_err::create_dir(project.root()).unwrap();
    fs_err::remove_file(moved.join("ready")).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(said.contains("  new      .envrc  "), "{said}");
}

#[test]
fn a_repository_cannot_loosen_the_gate_that_its_user_asked_for() {
    let project = Project::new("workspace { gate report }");
    project.bash("true").expect(0);
    for (own, theirs, needs) in [
        ("report", "report", false),
        ("report", "block", false),
        ("block", "block", false),
        ("block", "report", true),
        ("quarantine", "report", true),
        ("quarantine", "block", true),
    ] {
        project.write_beside("home/.config/pier/config.kdl", format!("workspace {{ gate {own} }}"));
        project.write("pier.kdl", format!("workspace {{ gate {theirs} }}"));
        if needs {
            let output = project.bash("true").refused(125, "trust::needed");
            let expected = format!("have the exit gate {theirs} where you asked for `gate {own}`");
            assert!(output.flat().contains(&expected), "{}", output.said());
        } else {
            project.bash("true").expect(0);
        }
        // A flag is the user's own word.
        project.call(["exec", "--set", "workspace.gate=report", "--", "true"]).run().expect(0);
    }
    assert!(project.pier(&["plan"]).expect(0).text().contains("\ngate      block\n"));
}

#[test]
fn file_names_that_are_no_text_do_not_stop_the_quarantine() {
    let project = Project::new("workspace { gate quarantine }");
    project.bash("mkdir $'\\xff'; echo x > $'\\xff/.envrc'").expect(0);
    let path = project.root().join(std::ffi::OsStr::from_bytes(b"\xff/.envrc"));
    assert!(!path.exists() && path.parent().is_some_and(Path::is_dir));
}

#[test]
fn a_session_that_goes_wrong_is_looked_at_and_loses_nothing() {
    let project = Project::new("");
    let script = "git -c user.name=x -c user.email=x@x commit -q --allow-empty -m inside; echo x > .envrc; touch ran; sleep 60";
    let call = project.call(["exec", "--", "bash", "-c", script]);
    let mut child = call.env("PIER_FAILPOINT", "session.signals:error").start();
    assert!(within(Duration::from_secs(20), || project.root().join("ran").exists()));
    let id = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGWINCH).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(137), "{said}");
    assert!(
        said.contains(".envrc") && said.contains("cannot pass on a signal: failpoint session.signals"),
        "{said}"
    );
    let log = std::process::Command::new("git")
        .args(["-c", "safe.directory=*", "log", "--all", "--format=%s"])
        .current_dir(project.root())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&log.stdout).contains("inside"), "{said}");
    project.pier(&["audit", "verify"]).expect(0);
}
