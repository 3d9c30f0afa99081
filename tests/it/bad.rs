//! Bad input: one clear error with its exit code, nothing started, nothing left behind, no panic.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;

use crate::sandbox::{Output, Project};

const SCRIPT: &[&str] = &["exec", "--", "touch", "started"];

/// Expects the refusal, and that it came before anything was made.
#[track_caller]
fn refused(project: &Project, output: Output, exit: i32, code: &str) -> String {
    let output = output.refused(exit, code);
    assert!(!project.root().join("started").exists());
    assert!(project.left_behind().is_empty(), "{:?}", project.left_behind());
    output.flat()
}

#[test]
fn the_root_of_the_file_system_is_no_project() {
    let project = Project::bare();
    let output = project.call(SCRIPT).cwd("/").into_owner().run();
    let said = refused(&project, output, 125, "project::root");
    assert!(said.contains("it is the root of the file system"), "{said}");
}

#[test]
fn the_home_directory_and_what_holds_it_are_no_project() {
    let project = Project::bare();
    for place in [project.home(), project.base().to_owned()] {
        let said = refused(&project, project.call(SCRIPT).cwd(place).run(), 125, "project::root");
        assert!(said.contains("home directory"), "{said}");
    }
}

#[test]
fn a_project_of_root_is_refused_to_root() {
    if !crate::sandbox::is_root() {
        println!("skipped: only root has projects of root");
        return;
    }
    let project = Project::new("");
    std::os::unix::fs::chown(project.root(), Some(0), Some(0)).unwrap();
    let said = refused(&project, project.call(SCRIPT).run(), 125, "owner::root");
    assert!(said.contains("--as-root"), "{said}");
}

#[test]
fn a_pier_that_only_root_can_reach_runs_as_the_owner() {
    if !crate::sandbox::is_root() {
        println!("skipped: only root reaches what others cannot");
        return;
    }
    let project = Project::new("");
    let place = project.base().join("of-root");
    fs_err::create_dir(&place).unwrap();
    fs_err::set_permissions(&place, std::fs::Permissions::from_mode(0o700)).unwrap();
    fs_err::copy(crate::sandbox::PIER, place.join("pier")).unwrap();
    let mut command = std::process::Command::new(place.join("pier"));
    command.args(["exec", "--", "id", "-u"]);
    let output = project.surround(command).run().expect(0);
    assert_eq!(output.text(), project.owner().to_string());
}

#[test]
fn root_runs_where_it_is_asked_for() {
    if !crate::sandbox::is_root() {
        println!("skipped: only root can be asked for root");
        return;
    }
    let project = Project::new("");
    let output = project
        .pier(&["exec", "--as-root", "--", "bash", "-c", "id -u; cat /proc/keys 2>/dev/null; true"])
        .expect(0);
    assert_eq!(output.text(), "0");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_one_error() {
    let project = Project::new("");
    let state = project.home().join(".local/state");
    fs_err::create_dir_all(&state).unwrap();
    project.give_away();
    fs_err::set_permissions(&state, std::fs::Permissions::from_mode(0o500)).unwrap();
    let said = refused(&project, project.call(SCRIPT).run(), 125, "session::state");
    assert!(said.contains("Permission denied"), "{said}");
    project.write("pier.kdl", "network host\n");
    let output = project.pier(&["trust"]).expect(125);
    assert!(output.said().starts_with("trust::store"), "{}", output.said());
    assert!(output.flat().contains("Permission denied"), "{}", output.said());
}

#[test]
fn a_dangling_approval_approves_nothing_and_is_not_written_through() {
    let project = Project::new("network host\n");
    fs_err::create_dir_all(project.state()).unwrap();
    symlink(project.base().join("nowhere"), project.state().join("trust")).unwrap();
    project.give_away();
    project.call(SCRIPT).run().refused(125, "trust::needed");
    project.pier(&["trust"]).expect(125);
    assert!(!project.base().join("nowhere").exists());
    assert!(!project.root().join("started").exists());
}

#[test]
fn an_approval_that_is_none_is_refused() {
    let project = Project::new("network host\n");
    project.trust();
    let store = fs_err::read_dir(project.state().join("trust")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(store.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for content in ["", "{}", "not json", "{\"schema\":99}"] {
        fs_err::write(&store, content).unwrap();
        project.call(SCRIPT).run().refused(125, "trust::store");
    }
    assert!(!project.root().join("started").exists());
}

#[test]
fn a_directory_whose_name_is_not_utf8_is_one_error() {
    let project = Project::new("");
    let place = project.root().join(OsStr::from_bytes(b"not-\xff-utf8"));
    fs_err::create_dir(&place).unwrap();
    project.give_away();
    let said = refused(&project, project.call(SCRIPT).cwd(place).run(), 2, "host::probe");
    assert!(said.contains("not UTF-8"), "{said}");
}

#[test]
fn a_directory_that_is_gone_is_one_error() {
    let project = Project::new("");
    let mut command = std::process::Command::new("bash");
    let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$0\" exec -- true";
    command.args(["-c", script, crate::sandbox::PIER]);
    refused(&project, project.surround(command).run(), 2, "host::probe");
}

#[test]
fn a_file_that_is_no_configuration_is_one_error() {
    let deep = |depth: usize| format!("{}{}", "a { ".repeat(depth), "}".repeat(depth));
    let table: Vec<(Vec<u8>, &str)> = vec![
        (b"network {".to_vec(), "config::syntax"),
        (b"network \"host".to_vec(), "config::syntax"),
        (b"netwrok host".to_vec(), "config::unknown-node"),
        (b"network host\nnetwork none".to_vec(), "config::duplicate"),
        (b"network maybe".to_vec(), "config::bad-value"),
        (b"project \"\xff\"".to_vec(), "config::not-utf8"),
        (b"\0".to_vec(), "config::control-character"),
        (deep(100_000).into_bytes(), "config::too-"),
        (deep(1_000).into_bytes(), "config::too-deep"),
        (b"// a long file\n".repeat(30_000), "config::too-large"),
    ];
    for (content, code) in table {
        let project = Project::new("");
        project.write("pier.kdl", content);
        refused(&project, project.call(SCRIPT).run(), 2, code);
    }
}

#[test]
fn a_huge_file_is_refused_unread() {
    let project = Project::new("");
    // Without blocks of its own: reading it would still take the memory.
    fs_err::OpenOptions::new()
        .write(true)
        .open(project.root().join("pier.kdl"))
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    let mut command = std::process::Command::new("bash");
    let script = "ulimit -v 65536; exec \"$0\" exec -- touch started";
    command.args(["-c", script, crate::sandbox::PIER]);
    refused(&project, project.surround(command).run(), 2, "config::too-large");
}

#[test]
fn a_configuration_that_is_no_plain_file_is_refused() {
    let project = Project::new("");
    let file = project.root().join("pier.kdl");
    project.write("other.kdl", "");
    for target in ["other.kdl", "nowhere", "/dev/zero"] {
        fs_err::remove_file(&file).unwrap();
        symlink(target, &file).unwrap();
        let said = refused(&project, project.call(SCRIPT).run(), 2, "config::unreadable");
        assert!(said.contains("symbolic link"), "{said}");
    }
    fs_err::remove_file(&file).unwrap();
    fs_err::create_dir(&file).unwrap();
    refused(&project, project.call(SCRIPT).run(), 2, "config::unreadable");
}

#[test]
fn a_fifo_as_configuration_does_not_hang() {
    let project = Project::new("");
    let file = project.root().join("pier.kdl");
    fs_err::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
    project.give_away();
    refused(&project, project.call(SCRIPT).run(), 2, "config::unreadable");
}

#[test]
fn mounts_that_open_too_much_are_refused() {
    let project = Project::new("");
    project.write_beside("data/file", "");
    project.write_beside("home/tools/x", "");
    project.write_beside("live/keep", "");
    symlink("data", project.base().join("link")).unwrap();
    let socket = project.base().join("live/socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    project.give_away();
    let base = project.base().to_str().unwrap().to_owned();
    let table = [
        ("mounts { ro \"BASE/missing\"; }", "mount::missing", "does not exist"),
        ("mounts { ro \"BASE/link\"; }", "mount::refused", "symbolic link"),
        ("mounts { ro \"BASE/link/file\"; }", "mount::refused", "symbolic link"),
        ("mounts { ro \"~\"; }", "mount::refused", "home directory"),
        ("mounts { ro \"BASE\"; }", "mount::refused", "home directory"),
        ("mounts { ro \"/\"; }", "mount::refused", "home directory"),
        ("mounts { ro \"/etc\"; }", "mount::refused", "too much"),
        ("mounts { ro \"/proc\"; }", "mount::refused", "running host"),
        ("mounts { rw \"/usr/share\"; }", "mount::refused", "changes the host"),
        ("mounts { ro \"BASE/live\"; }", "mount::refused", "live socket"),
        ("mounts { ro \"BASE/live/socket\"; }", "mount::refused", "socket"),
        ("mounts { ro \"~/.local/state/pier\"; }", "mount::", ""),
        ("mounts { ro \"BASE/data\" at=\"/usr/x\"; }", "mount::target", "own mounts"),
        ("mounts { ro \"BASE/data\" at=\"/workspace/new\"; }", "mount::target", "must exist"),
        ("runtime host { path \"~/tools\"; }", "mount::refused", "home directory"),
        ("runtime host { path \"BASE/missing\"; }", "mount::missing", "does not exist"),
        ("env { pass \"HOME\"; }", "env::reserved", "its own"),
        ("env { set LD_PRELOAD=\"x\"; }", "env::reserved", "its own"),
        ("budget { cost 5; }", "plan::not-available", "not available yet"),
    ];
    for (config, code, reason) in table {
        project.write("pier.kdl", config.replace("BASE", &base));
        let said = refused(&project, project.call(SCRIPT).run(), 2, code);
        assert!(said.contains(reason), "{config}: {said}");
    }
}

#[test]
fn an_agent_that_is_not_declared_or_not_there_is_one_error() {
    let project = Project::new("");
    refused(&project, project.pier(&["up"]), 2, "agent::none");
    refused(&project, project.pier(&["up", "pi"]), 2, "agent::undeclared");
    project.write("pier.kdl", "agent nonesuch default=#true\n");
    refused(&project, project.pier(&["up"]), 2, "agent::unknown");
}

#[test]
fn a_home_that_is_not_set_is_one_error() {
    let project = Project::new("");
    let mut call = project.call(SCRIPT);
    call.command.env_remove("HOME");
    refused(&project, call.run(), 2, "env::directories");
    refused(&project, project.call(SCRIPT).env("HOME", "relative").run(), 2, "env::directories");
}

#[test]
fn a_wrong_command_line_says_so_on_standard_error() {
    let project = Project::new("");
    let table = [
        (&["exec"][..], "Usage:"),
        (&["no-such-command"], "cli::unknown-command"),
        (&["exec", "--no-such-flag", "true"], "Usage:"),
    ];
    for (args, says) in table {
        let output = project.pier(args).expect(2);
        assert_eq!(output.text(), "");
        assert!(output.said().contains(says), "{}", output.said());
    }
}
