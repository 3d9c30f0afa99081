//! Whatever is killed, and at whatever moment: within a second nothing of the session is left.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sandbox::{PIER, Project, host_process, unique_sleep, wait, within};

const SOON: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

/// A command that marks the project and stays, unless it is ended; `$0` is in no other process's arguments.
const STAY: [&str; 3] = ["sh", "-c", "touch ran; sleep $0 & setsid -f sleep $0; wait"];

fn stay(argument: &str) -> Vec<&str> {
    ["exec", "--"].into_iter().chain(STAY).chain([argument]).collect()
}

fn signal(id: u32, signal: Signal) {
    kill(Pid::from_raw(id.cast_signed()), signal).unwrap();
}

/// Every process whose arguments hold the word.
fn processes(word: &str) -> Vec<u32> {
    let ids = fs_err::read_dir("/proc").unwrap().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |id: &u32| {
        let line = fs_err::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|part| part == word.as_bytes())
    };
    ids.filter(has).collect()
}

/// The numbers of a process, in this test's namespace of processes first, then in those inside of it.
fn numbers(id: &str) -> Vec<u32> {
    let status = fs_err::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    line.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

/// Bubblewraps and inits whose supervisor is not there.
fn orphans() -> Vec<u32> {
    // What other namespaces have is theirs: the number of a supervisor there means another process here.
    let own = numbers("self").len();
    let is_here = |id: &u32| match numbers(&id.to_string()) {
        numbers if numbers.len() == own => true,
        numbers => numbers.len() == own + 1 && numbers.last() == Some(&1),
    };
    let has_none = |id: &u32| {
        let line = fs_err::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let mut words = line.split('\0').skip_while(|word| *word != "--control").skip(1);
        words.next().is_some_and(|supervisor| !std::path::Path::new("/proc").join(supervisor).exists())
    };
    processes("__init").into_iter().filter(|id| is_here(id) && has_none(id)).collect()
}

/// Waits until the command inside is there.
#[track_caller]
fn until_it_runs(project: &Project) {
    assert!(within(SOON, || project.root().join("ran").exists()), "the command did not start");
}

fn names(path: PathBuf) -> BTreeSet<String> {
    let entries = fs_err::read_dir(path).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Nothing runs, nothing is mounted, the project holds what it held, and the next start finds no trace.
#[track_caller]
fn assert_empty(project: &Project, argument: &str, ran: bool) {
    // Those of other tests, which are gone as soon.
    let orphans = orphans();
    let left = || {
        let mut left = processes(argument);
        left.extend(processes("__init").into_iter().filter(|id| orphans.contains(id)));
        left
    };
    assert!(within(SECOND, || left().is_empty()), "still there: {:?}", left());
    let mounts = fs_err::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(project.base().to_str().unwrap()), "{mounts}");
    let mut expected: BTreeSet<String> = [".git".to_owned(), "pier.kdl".to_owned()].into();
    if ran {
        expected.insert("ran".to_owned());
    }
    assert_eq!(names(project.root()), expected);
    project.exec(&["true"]).expect(0);
    assert_eq!(names(project.state().join("sessions")), BTreeSet::new());
}

fn start(project: &Project, argument: &str) -> Child {
    let child = project.call(stay(argument)).start();
    until_it_runs(project);
    assert!(host_process(argument).is_some());
    child
}

#[test]
fn a_killed_pier_leaves_nothing() {
    let project = Project::new("home ephemeral\n");
    let argument = unique_sleep();
    let mut child = start(&project, &argument);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_empty(&project, &argument, true);
}

#[test]
fn a_stopped_and_then_killed_pier_leaves_nothing() {
    let project = Project::new("");
    let argument = unique_sleep();
    let mut child = start(&project, &argument);
    signal(child.id(), Signal::SIGSTOP);
    // The sandbox goes on, contained, and a supervisor that is continued finds it.
    assert!(host_process(&argument).is_some());
    signal(child.id(), Signal::SIGCONT);
    assert!(child.try_wait().unwrap().is_none());
    signal(child.id(), Signal::SIGSTOP);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_empty(&project, &argument, true);
}

#[test]
fn each_killed_process_of_the_sandbox_ends_it() {
    // bubblewrap outside, bubblewrap's child that became pier's init, in the order of their birth.
    for index in 0..2 {
        let project = Project::new("");
        let argument = unique_sleep();
        let mut child = start(&project, &argument);
        let found = processes(&child.id().to_string());
        assert_eq!(found.len(), 2, "bubblewrap and init");
        signal(found[index], Signal::SIGKILL);
        let status = wait(&mut child, SOON).expect("pier ends");
        assert_eq!(status.code(), Some(137), "{index}");
        assert_empty(&project, &argument, true);
    }
}

#[test]
fn a_killed_parent_ends_the_session() {
    let project = Project::new("");
    let argument = unique_sleep();
    let mut command = Command::new("env");
    // As from a shell in the foreground, whatever the tests were started by.
    command.args(["--default-signal=HUP,INT", "bash", "-c", "\"$@\"; :", "bash", PIER]).args(stay(&argument));
    let mut shell = project.surround(command).start();
    until_it_runs(&project);
    shell.kill().unwrap();
    shell.wait().unwrap();
    assert_empty(&project, &argument, true);
}

#[test]
fn a_session_that_was_meant_to_outlive_its_parent_does() {
    for wrapper in ["nohup \"$@\" & :", "setsid -f \"$@\""] {
        let project = Project::new("");
        let argument = unique_sleep();
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP,INT", "bash", "-c", wrapper, "bash", PIER]).args(stay(&argument));
        command.stdin(std::process::Stdio::null());
        let mut call = project.surround(command);
        call.command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut shell = call.command.spawn().unwrap();
        until_it_runs(&project);
        assert!(wait(&mut shell, SOON).is_some());
        // Longer than the end of a session may take.
        assert!(!within(SECOND, || host_process(&argument).is_none()), "{wrapper}");
        project.pier(&["stop", "--all"]).expect(0);
        assert_empty(&project, &argument, true);
    }
}

#[test]
fn a_hangup_ends_even_what_ignores_it() {
    let project = Project::new("");
    let argument = unique_sleep();
    let script = "trap '' HUP TERM INT; touch ran; sleep $0; sleep $0";
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT", PIER, "exec", "--", "sh", "-c", script, &argument]);
    let mut child = project.surround(command).start();
    until_it_runs(&project);
    signal(child.id(), Signal::SIGHUP);
    let status = wait(&mut child, SECOND).expect("within a second");
    assert_eq!(status.code(), Some(137));
    assert_empty(&project, &argument, true);
}

#[test]
fn a_second_request_to_end_is_meant() {
    for signals in [
        [Signal::SIGINT, Signal::SIGINT],
        [Signal::SIGTERM, Signal::SIGTERM],
        [Signal::SIGINT, Signal::SIGTERM],
    ] {
        let project = Project::new("");
        let argument = unique_sleep();
        let script = "trap 'touch first' INT TERM; touch ran; while :; do sleep $0 & wait; done";
        let mut child = project.call(["exec", "--", "sh", "-c", script, &argument]).start();
        until_it_runs(&project);
        signal(child.id(), signals[0]);
        assert!(within(SOON, || project.root().join("first").exists()), "the first one is the command's");
        assert!(child.try_wait().unwrap().is_none());
        signal(child.id(), signals[1]);
        assert_eq!(wait(&mut child, SOON).expect("it ends").code(), Some(137), "{signals:?}");
        assert!(within(SECOND, || processes(&argument).is_empty()));
    }
}

#[test]
fn what_killed_sessions_leave_is_cleared_by_doctor_unless_it_is_kept() {
    let project = Project::new("home ephemeral\n");
    let argument = unique_sleep();
    for _ in 0..2 {
        let mut child = start(&project, &argument);
        fs_err::remove_file(project.root().join("ran")).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(within(SECOND, || processes(&argument).is_empty()));
        if names(project.state().join("sessions")).len() == 1 {
            let name = names(project.state().join("sessions")).pop_first().unwrap();
            project.write_beside(format!("home/.local/state/pier/sessions/{name}/kept"), "its commits\n");
        }
    }
    let dead: Vec<String> = names(project.state().join("sessions")).into_iter().collect();
    assert_eq!(dead.len(), 2);
    let kept = |name: &&String| project.state().join("sessions").join(name).join("kept").exists();
    let (kept, cleared): (Vec<&String>, Vec<&String>) = dead.iter().partition(|name| kept(name));
    let said = project.pier(&["doctor"]).text();
    let line = said.lines().find(|line| line.contains("dead sessions")).unwrap();
    assert!(line.contains(&format!("cleared {}", cleared[0])), "{line}");
    assert!(line.contains(&format!("kept {}", kept[0])), "{line}");
    assert!(said.contains("is kept: its commits"), "{said}");
    assert_eq!(names(project.state().join("sessions")), BTreeSet::from([kept[0].clone()]));
    // A start does not touch it either.
    project.exec(&["true"]).expect(0);
    assert_eq!(names(project.state().join("sessions")).len(), 1);
}

#[test]
fn a_home_that_was_made_hard_to_remove_is_removed() {
    let project = Project::new("home ephemeral\n");
    let script = "cd; mkdir -p a/b/c && touch a/b/c/file && chmod 0 a/b/c a/b a;
        exec perl -e 'for (1..200) { mkdir \"d\" or die; chdir \"d\" or die }'";
    project.bash(script).expect(0);
    assert_eq!(names(project.state().join("sessions")), BTreeSet::new());
}

/// Every step that the source names, by the word in front of it.
pub fn steps(word: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs_err::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs_err::read_to_string(path).unwrap();
        let mark = format!("failpoint::{word}(\"");
        found.extend(text.split(&mark).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
    }
    // Those of an engine and of the coordination repository are in their own tests.
    found.retain(|step| !step.starts_with("container.") && !step.starts_with("coord."));
    found
}

/// Runs a session that fails at a step; says its exit code, or that it was killed.
fn fail_at(project: &Project, argument: &str, step: &str, how: &str) -> Option<i32> {
    // These are passed only with a terminal of the sandbox, which a detached session has anywhere.
    let away = ["init.terminal", "session.terminal", "detach.forked"].contains(&step);
    let words = if away { vec!["exec", "--detach", "-t", "--"] } else { vec!["exec", "--"] };
    let script = "touch ran; exec sleep $0";
    let words = words.into_iter().chain(["sh", "-c", script, argument]);
    let call = project.call(words).env("PIER_FAILPOINT", format!("{step}:{how}")).deadline(SOON);
    let output = call.run();
    assert!(!output.said().contains("panicked"), "{step}: {}", output.said());
    output.code()
}

#[test]
fn a_failure_at_any_step_of_the_start_runs_nothing_and_leaves_nothing() {
    let steps = steps("reach");
    assert!(steps.len() >= 15, "{steps:?}");
    let project = Project::new("home ephemeral\n");
    for step in &steps {
        for how in ["error", "kill"] {
            let argument = unique_sleep();
            let code = fail_at(&project, &argument, step, how);
            let supervisor = !step.starts_with("init.");
            let away = ["session.terminal", "detach.forked"].contains(&step.as_str());
            // The caller of a detached supervisor sees it killed; otherwise it is pier itself that is gone.
            let expected = if how == "kill" && supervisor && !away { None } else { Some(125) };
            // An init that was told to begin, and is heard of no more, may have begun.
            let told =
                how == "kill" && ["init.ready", "init.terminal", "init.begun"].contains(&step.as_str());
            assert!(code == expected || told && code == Some(137), "{step}:{how}: {code:?}");
            assert!(!project.root().join("ran").exists(), "{step}:{how} ran something");
            assert_empty(&project, &argument, false);
        }
    }
}

#[test]
fn a_bubblewrap_that_is_killed_while_it_starts_leaves_no_child() {
    let project = Project::new("");
    let argument = unique_sleep();
    // bubblewrap is somewhere between its fork and the word for which its child waits.
    for _ in 0..40 {
        fail_at(&project, &argument, "launch.spawned", "kill");
        fail_at(&project, &argument, "launch.spawned", "error");
    }
    assert_empty(&project, &argument, false);
}

#[test]
fn a_kill_at_any_later_step_leaves_nothing() {
    let steps = steps("pass");
    assert!(steps.len() >= 5, "{steps:?}");
    for step in &steps {
        let project = Project::new("home ephemeral\n");
        let argument = unique_sleep();
        if ["session.ended", "session.cleared"].contains(&step.as_str()) {
            let output = project
                .call(["exec", "--", "touch", "ran"])
                .env("PIER_FAILPOINT", format!("{step}:kill"))
                .run();
            assert_eq!(output.code(), None, "{step}");
        } else {
            let code = fail_at(&project, &argument, step, "kill");
            assert_eq!(code, step.starts_with("init.").then_some(137), "{step}");
        }
        let ran = project.root().join("ran").exists();
        assert_empty(&project, &argument, ran);
    }
}
