//! The projects in `examples/`, each as a user would have it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::sandbox::Project;

fn copy(name: &str) -> Project {
    let project = Project::new("");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let status = Command::new("cp").arg("-rT").arg(from).arg(project.root()).status().unwrap();
    assert!(status.success());
    fs_err::create_dir_all(project.home().join(".cargo/registry")).unwrap();
    project.give_away();
    project
}

fn plan(project: &Project) -> Value {
    let output = project.call(["plan", "--json"]).env("ANTHROPIC_API_KEY", "sk").run();
    serde_json::from_slice(&output.expect(0).stdout).unwrap()
}

#[test]
fn every_example_can_be_planned() {
    let names = fs_err::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap();
    let names = names.map(|entry| entry.unwrap().path()).filter(|path| path.join("pier.kdl").exists());
    let mut names: Vec<String> =
        names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["node-pi", "python-no-agent", "rust-claude"]);
    for name in names {
        let plan = plan(&copy(&name));
        assert_eq!(plan["project"]["name"], name.as_str());
        let grants = plan["grants"].as_array().unwrap().iter().map(|grant| grant["text"].as_str().unwrap());
        let installed: Vec<&str> = grants.filter(|text| text.starts_with("install ")).collect();
        let expected = [("node-pi", "install pi 0.74.2"), ("rust-claude", "install claude-code 2.1.197")];
        let expected = expected.iter().find(|(example, _)| *example == name).map(|(_, grant)| *grant);
        assert_eq!(installed, Vec::from_iter(expected), "{name}");
        assert_eq!(plan["grants"].as_array().unwrap().is_empty(), expected.is_none(), "{name}");
    }
}

#[test]
fn the_example_of_a_role_adds_one_and_changes_none() {
    let project = copy("project-role-override");
    project.pier(&["role", "check"]).expect(0);
    let list = project.pier(&["role", "list", "--json"]).expect(0);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let shown = |role: &Value| {
        (role["name"].as_str().unwrap().to_owned(), role["source"].as_str().unwrap().to_owned())
    };
    let list: Vec<(String, String)> = list.as_array().unwrap().iter().map(shown).collect();
    assert_eq!(list.len(), 6);
    let own: Vec<&(String, String)> = list.iter().filter(|(_, source)| source != "bundled").collect();
    assert_eq!(own, [&("domain-architect".to_owned(), "project".to_owned())]);
    let write = project.call(["exec", "--role", "domain-architect", "--", "touch", "x"]).run();
    assert!(write.expect(1).said().contains("Read-only file system"));
}

#[test]
fn the_example_without_an_agent_runs_its_tests_with_no_approval() {
    let project = copy("python-no-agent");
    let tests = ["python3", "-m", "unittest", "discover", "-s", "src", "-p", "test_*.py"];
    let output = project.exec(&tests).expect(0);
    assert!(output.said().contains("OK"), "{}", output.said());
}

#[test]
fn the_first_steps_find_what_cargo_built_wherever_that_is() {
    let project = Project::bare();
    // Stands in for what takes minutes: cargo that builds a pier that says what it is asked for.
    let write = |name: &str, text: &str| {
        project.write_beside(format!("stubs/{name}"), format!("#!/bin/sh\n{text}\n"));
        crate::sandbox::make_executable(&project.base().join("stubs").join(name));
    };
    write("pier", "echo \"pier $1\"; [ \"$1\" != up ] || echo hello >hello.txt");
    let out = "\"$CARGO_TARGET_DIR\"/x86_64-unknown-linux-gnu/release";
    write("cargo", &format!("mkdir -p {out} && cp -p \"$(dirname \"$0\")/pier\" {out}/"));
    for name in ["gcc", "bwrap", "node", "npm", "sudo"] {
        write(name, "exit 0");
    }
    let mut script = Command::new("bash");
    script.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/start"));
    let path = format!("{}:/usr/bin:/bin", project.base().join("stubs").display());
    let call = project.surround(script).env("PATH", path).env("ANTHROPIC_API_KEY", "example");
    let call = call.env("CARGO_TARGET_DIR", project.base().join("a target"));
    let said = call.into_owner().run().expect(0).text();
    assert!(said.contains("pier init\npier trust\npier up") && said.ends_with("\nhello"), "{said}");
}

#[test]
fn the_files_of_the_readme_are_valid() {
    let readme = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    // Fenced, or indented and beginning with the name of a node.
    let mut files: Vec<String> =
        readme.split("```kdl\n").skip(1).map(|rest| rest.split("```").next().unwrap().into()).collect();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if ["      network allowlist {", "      env {"].contains(&line) {
            let rest: Vec<&str> = lines.by_ref().take_while(|line| *line != "      }").collect();
            files.push(format!("{line}\n{}\n}}\n", rest.join("\n")));
        }
    }
    assert_eq!(files.len(), 3);
    for file in files {
        let project = Project::new(&file);
        let output = project.pier(&["validate"]);
        assert_eq!(output.code(), Some(0), "{file}\n{}", output.said());
    }
}

/// The words of each line of a job that calls pier, without the job's own command.
fn calls(job: &str) -> Vec<Vec<String>> {
    let line = |line: &str| {
        let line = line.trim().trim_start_matches("- ");
        let call = line.strip_prefix("pier ").or_else(|| Some(line.split_once("run \"$FLAKE\" -- ")?.1))?;
        let call = call.replace(" -- make test", " -- true");
        Some(call.split_whitespace().map(|word| word.replace('"', "")).collect())
    };
    job.lines().filter_map(line).collect()
}

#[test]
fn the_calls_of_the_ci_jobs_work_and_refuse_what_was_not_approved() {
    let project = Project::new("env { pass \"LANG\"; }\nnetwork none\n");
    project.write("pier.lock", "{ \"schema\": 1 }\n");
    project.give_away();
    let shown = project.pier(&["trust", "--show", "--json"]).expect(0);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let digest = shown["digest"].as_str().unwrap();
    for (name, expected) in [("github-actions.yml", 4), ("gitlab-ci.yml", 3)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci").join(name);
        let calls = calls(&fs_err::read_to_string(path).unwrap());
        assert_eq!(calls.len(), expected, "{name}: {calls:?}");
        for words in calls {
            let run = |digest: &str| {
                let words: Vec<String> =
                    words.iter().map(|word| word.replace("$PIER_TRUST", digest)).collect();
                project.call(words).env("PIER_TRUST", digest).run()
            };
            run(digest).expect(0);
            if words[0] == "exec" {
                assert!(words.contains(&"--locked".to_owned()), "{name}: {words:?}");
                run(&digest.replace(|_: char| true, "0")).refused(125, "trust::needed");
            }
        }
    }
}

/// Says whether an action is named by a commit, with the version in a comment.
fn is_by_commit(action: &str) -> bool {
    let pinned = action.split_once('@').and_then(|(_, rest)| rest.split_once(" # v"));
    pinned.is_some_and(|(commit, version)| {
        commit.len() == 40
            && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
            && version.split('.').count() == 3
    })
}

#[test]
fn what_the_jobs_take_of_others_is_pinned() {
    for (name, actions) in [(".github/workflows/release.yml", 7), ("examples/ci/github-actions.yml", 2)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = fs_err::read_to_string(path).unwrap();
        let used: Vec<&str> =
            text.lines().filter_map(|line| line.split_once("uses: ")).map(|(_, action)| action).collect();
        assert_eq!(used.len(), actions, "{name}: {used:?}");
        assert!(used.iter().all(|action| is_by_commit(action)), "{name}: {used:?}");
        // Of packages, the version.
        for (_, words) in text.lines().filter_map(|line| line.split_once("pip\" install -q ")) {
            assert!(words.contains("==") || words.starts_with("--no-index"), "{name}: {words}");
        }
        for (_, words) in text.lines().filter_map(|line| line.split_once("cargo install ")) {
            assert!(words.contains("--locked") && words.contains('@'), "{name}: {words}");
        }
    }
}
