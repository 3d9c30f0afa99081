//! `pier role`.

use super::{file, json};
use crate::sandbox::Project;

/// A project with a role of one name in every source, and one more in the last.
fn everywhere() -> Project {
    let project = Project::new("role reviewer { thinking low; }\nrole own { file \"docs/own.md\"; }\n");
    project.write_beside("home/.pi/agent/roles/deep/r.md", file("reviewer", "", "Agent."));
    project.write_beside("common/roles/r.md", file("reviewer", "", "Common."));
    project.write_beside("coordination/roles/r.md", file("reviewer", "", "Coordination."));
    project.write(".pi/roles/r.md", file("reviewer", "tools: [read]\n", "Project."));
    project.write("docs/own.md", "Be kind.\n");
    project.write("sub/x", "");
    project
}

fn call(project: &Project, args: &[&str]) -> crate::sandbox::Call {
    let beside = |name: &str| project.base().join(name).display().to_string();
    project
        .call(args)
        .env("PI_BWRAP_COMMON_AGENT_DIR", beside("common"))
        .env("PI_COORD_DIR", beside("coordination"))
        .cwd(project.root().join("sub"))
}

#[test]
fn a_later_source_wins_and_says_what_it_replaces() {
    let project = everywhere();
    let list = json(&call(&project, &["role", "list", "--json"]).run().expect(0));
    let list = list.as_array().unwrap();
    let names: Vec<&str> = list.iter().map(|role| role["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["architect", "builder", "developer", "own", "reviewer", "tester"]);
    let reviewer = &list[4];
    assert_eq!(reviewer["source"], "configuration");
    assert_eq!(reviewer["thinking"], "low");
    assert_eq!(reviewer["tools"], serde_json::json!(["read"]));
    let before: Vec<&str> =
        reviewer["overrides"].as_array().unwrap().iter().map(|one| one["source"].as_str().unwrap()).collect();
    assert_eq!(before, ["bundled", "agent", "common", "coordination", "project"]);

    let shown = json(&call(&project, &["role", "show", "reviewer", "--json"]).run().expect(0));
    assert!(shown["body"].as_str().unwrap().contains("\nProject.\n"), "{shown}");
    assert!(call(&project, &["role", "show", "own"]).run().expect(0).text().contains("\nBe kind."));

    // One source after the other goes, and the one below is there again.
    for (path, sentence) in [
        ("project/pier.kdl", "Project."),
        ("project/.pi/roles", "Coordination."),
        ("coordination/roles", "Common."),
        ("common/roles", "Agent."),
        ("home/.pi/agent/roles", "Tell whether a change can be accepted"),
    ] {
        let path = project.base().join(path);
        if path.is_dir() {
            assert!(!call(&project, &["role", "show", "reviewer"]).run().expect(0).text().contains(sentence));
            fs_err::remove_dir_all(path).unwrap();
        } else {
            fs_err::remove_file(path).unwrap();
        }
        let shown = call(&project, &["role", "show", "reviewer"]).run().expect(0);
        assert!(shown.text().contains(sentence), "{sentence}: {}", shown.text());
    }
}

#[test]
fn the_list_is_for_people_too() {
    let project = Project::new("");
    let list = project.pier(&["role", "list"]).expect(0).text();
    assert!(list.contains("🔎 reviewer: Judges a change"), "{list}");
    assert!(
        list.contains("  tools read grep find ls bash; thinking high; the project is read-only"),
        "{list}"
    );
    assert!(!list.contains("\\u{"), "{list}");
    for args in [&["role", "--help"][..], &["role", "list", "--help"], &["role", "check", "--help"]] {
        assert!(project.pier(args).expect(0).text().contains("Examples:"), "{args:?}");
    }
}

#[test]
fn a_role_that_is_not_there_is_refused() {
    let project = Project::new("");
    let output = project.pier(&["role", "show", "reviewr"]).refused(2, "role::unknown");
    assert!(output.flat().contains("did you mean `reviewer`?"), "{}", output.flat());
    for args in [
        &["plan", "--role", "nobody"][..],
        &["exec", "--role", "nobody", "--", "true"],
        &["explain", "/workspace", "--role", "Nobody"],
    ] {
        let output = project.pier(args).refused(2, "role::unknown");
        assert!(output.flat().contains("`architect`"), "{}", output.flat());
    }
}

#[test]
fn a_file_that_is_no_role_is_named_with_its_line() {
    let project = Project::new("");
    project.write(".pi/roles/good.md", file("good", "", "Work."));
    project.write(".pi/roles/short.md", "---\nname: short\ndescription: y\n---\n## Mission\n\nWork.\n");
    let check = project.pier(&["role", "check"]).expect(0);
    assert_eq!(check.text(), "7 roles are valid");
    assert_eq!(check.said().matches("the section `").count(), 5, "{}", check.said());
    let root = project.root().display().to_string();
    assert!(check.said().contains(&format!("role-manager: {root}/.pi/roles/short.md: the section `Allowed")));

    project.write(
        ".pi/roles/bad.md",
        "\u{feff}---\r\nname: bad\r\ndescription: y\r\nthinking: much\r\n---\r\nWork.\r\n",
    );
    let refused = project.pier(&["role", "check", ".pi/roles"]).refused(2, "role::invalid");
    assert!(refused.said().contains(".pi/roles/bad.md:4:1"), "{}", refused.said());
    let found = json(&project.pier(&["role", "check", ".pi/roles/bad.md", "--json"]).expect(2));
    assert_eq!(found["problems"][0]["code"], "role::invalid", "{found}");
    // Whatever else there is goes on, with a warning: one for the sections of a file.
    let list = project.pier(&["role", "list"]).expect(0);
    assert!(
        list.flat().contains("short.md: sections missing: Allowed actions, Forbidden actions, "),
        "{}",
        list.flat()
    );
    assert!(!list.flat().contains("the section `"), "{}", list.flat());
    assert!(list.text().contains("good: Of a test."), "{}", list.text());
    assert!(
        list.said().contains("role-manager: ") && list.said().contains("`thinking` is one of"),
        "{}",
        list.said()
    );
}

#[test]
fn what_is_overridden_and_what_is_used_is_not_warned_of() {
    let project = Project::new("agent other default=#true { run \"true\"; }\n");
    let short = "---\nname: short\ndescription: y\n---\n## Mission\n\nWork.\n";
    project.write_beside("common/roles/short.md", short);
    project.write("sub/x", "");
    let list = || call(&project, &["role", "list"]).run().expect(0);
    let said = list();
    assert!(said.text().contains("short: y"), "{}", said.text());
    assert!(said.flat().contains("common/roles/short.md: sections missing"), "{}", said.flat());
    assert!(!said.flat().contains("is not taken"), "{}", said.flat());
    project.write(".pi/roles/short.md", file("short", "", "Work."));
    let said = list();
    assert!(!said.flat().contains("sections missing"), "{}", said.flat());
    // Where nothing of it is used, that is said.
    fs_err::remove_dir_all(project.base().join("common/roles")).unwrap();
    assert!(list().flat().contains("is not taken"), "{}", list().flat());
}

#[test]
fn a_repository_names_no_file_of_the_host_as_a_role() {
    let project = Project::new("role spy { file \"../secret.md\"; }\nrole link { file \"link.md\"; }\n");
    project.write_beside("secret.md", "the secret of the host");
    for (from, to) in [("link.md", "../secret.md"), (".pi/roles/spy.md", "../../../secret.md")] {
        let path = project.root().join(from);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, path).unwrap();
    }
    project.give_away();
    let check = project.pier(&["role", "check"]).expect(2);
    assert_eq!(check.said().matches("role::unreadable").count(), 3, "{}", check.said());
    let outside = project.pier(&["role", "check", "nothing.md"]).refused(2, "role::unreadable");
    assert!(outside.flat().contains("`nothing.md`"), "{}", outside.flat());
    for output in [check, project.pier(&["role", "list"]).expect(0)] {
        assert!(!format!("{}{}", output.text(), output.said()).contains("the secret of the host"));
    }
    for name in ["spy", "link"] {
        project.pier(&["role", "show", name]).refused(2, "role::unknown");
    }
}
