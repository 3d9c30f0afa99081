//! Sessions that do not come to be: bubblewrap, the state directory, the owner, and the command itself.

use std::process::Command;

use snapbox::str;

use crate::sandbox::{Output, PIER, Project};
use crate::support::{World, check};

#[test]
fn a_command_that_is_not_inside() {
    check(
        &World::with("").pier(&["exec", "no-such-command"]),
        str![[r#"
exit 127
-- stderr
exec::not-found

  x the command was not found inside the sandbox
  help: `pier exec -- ls /usr/bin` shows what is there; `runtime host { path … }` adds a directory

"#]],
    );
}

#[test]
fn a_command_that_is_no_program() {
    let world = World::with("");
    world.write("plain", "not a program");
    check(
        &world.pier(&["exec", "./plain"]),
        str![[r#"
exit 126
-- stderr
exec::cannot-run

  x the command cannot be executed inside the sandbox: Permission denied

"#]],
    );
}

#[test]
fn a_bubblewrap_that_is_not_there() {
    let world = World::with("");
    let set = [("PIER_BWRAP", "/nonexistent/bwrap")];
    check(
        &world.pier_at("project", &set, &["exec", "true"]),
        str![[r#"
exit 125
-- stderr
bwrap::program

  x `/nonexistent/bwrap` is not run as bubblewrap: there is no such file
  help: reinstall the package `bubblewrap`; `pier doctor` shows which file is used

"#]],
    );
}

#[test]
fn a_setting_that_cannot_be_copied() {
    let world = World::with("home { import \"git-config\" }\n");
    std::fs::create_dir(world.root().join("home/.gitconfig")).unwrap();
    world.pier(&["trust"]);
    check(
        &world.pier(&["exec", "true"]),
        str![[r#"
exit 125
-- stderr
session::import

  x cannot import `[ROOT]/home/.gitconfig` ([ROOT]/project/pier.kdl:1): it is not a plain file

"#]],
    );
}

#[test]
fn a_setting_is_copied_from_the_home_directory() {
    let world = World::with("home { import \"git-config\" }\n");
    std::fs::write(world.root().join("home/.gitconfig"), "[user]\n    name = Me\n").unwrap();
    world.pier(&["trust"]);
    check(
        &world.pier(&["exec", "--", "git", "config", "user.name"]),
        str![[r#"
exit 0
-- stdout
Me

"#]],
    );
}

#[test]
fn a_state_directory_that_is_a_file() {
    let world = World::with("home { state \"~/state\" }\n");
    std::fs::write(world.root().join("home/state"), "").unwrap();
    world.pier(&["trust"]);
    // Wide enough that no path is wrapped.
    check(
        &world.pier_at("project", &[("COLUMNS", "140")], &["exec", "true"]),
        str![[r#"
exit 125
-- stderr
session::state

  x cannot prepare the sandbox home `[ROOT]/home/state`: cannot make the directory `[ROOT]/home/state`: File exists (os
  | error 17)
  help: check the space and the permissions of that directory; `home { state … }` names another one

"#]],
    );
}

/// Runs `pier exec true` as root of a user namespace of its own, in an empty project that this root owns.
fn nested(project: &Project, more: &[&str]) -> Output {
    let mut said = nested_once(project, more);
    // Containers of other tests come and go: one whose file system goes while all of the host is bound is no finding.
    for _ in 0..20 {
        if !said.said().contains("bwrap: Can't bind mount") {
            break;
        }
        said = nested_once(project, more);
    }
    said
}

fn nested_once(project: &Project, more: &[&str]) -> Output {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-user", "--dev-bind", "/", "/", "--tmpfs", "/mnt"]);
    command.args(["--dir", "/mnt/home", "--dir", "/mnt/project", "--chdir", "/mnt/project"]);
    command.args(["--setenv", "HOME", "/mnt/home", "--uid", "0", "--gid", "0"]).args(more);
    command.args([PIER, "exec", "true"]);
    project.surround(command).run()
}

#[test]
fn root_in_a_project_that_root_owns() {
    let project = Project::new("");
    nested(&project, &[]).refused(125, "owner::root");
}

#[test]
fn an_owner_without_a_home_directory() {
    let project = Project::new("");
    nested(&project, &["--setenv", "SUDO_UID", "54321"]).refused(125, "owner::home");
}

#[test]
fn an_owner_that_root_cannot_become() {
    let project = Project::new("");
    // User 1 exists everywhere and is not part of the namespace.
    let said = nested(&project, &["--setenv", "SUDO_UID", "1"]).refused(125, "owner::switch");
    assert!(!said.said().contains("DOCKER"), "{}", said.said());
    // Contexts of root's own are not that user's.
    let context = ["--setenv", "SUDO_UID", "1", "--setenv", "DOCKER_CONTEXT", "mine"];
    let said = nested(&project, &context).refused(125, "owner::switch");
    assert!(said.flat().contains("root's own `DOCKER_CONTEXT` is ignored"), "{}", said.said());
}

/// Runs `pier exec true` behind a line of shell, as the owner of the project.
fn behind(line: &str) -> Output {
    let project = Project::new("");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{line} && exec \"$0\" exec true"), PIER]);
    project.surround(command).into_owner().run()
}

#[test]
fn a_directory_that_bubblewrap_cannot_enter() {
    behind("mkdir closed && cd closed && chmod 0 .").refused(125, "bwrap::refused");
}

#[test]
fn too_few_descriptors_for_a_session() {
    behind("ulimit -n 16").refused(125, "session::set-up");
}
