//! A start that fails, or is killed, at any step.

use std::time::Duration;

use super::{DEBIAN, can_run, containers, project, with_engine};
use crate::lifetime::steps;
use crate::sandbox::{Project, host_process, unique_sleep, within};

/// Runs a session that fails at a step; says its exit code, or that it was killed.
fn fail_at(project: &Project, argument: &str, step: &str, how: &str) -> Option<i32> {
    let away = ["init.terminal", "session.terminal", "detach.forked"].contains(&step);
    let words = if away { vec!["exec", "--detach", "-t", "--"] } else { vec!["exec", "--"] };
    let words = words.into_iter().chain(["sh", "-c", "touch ran; exec sleep $0", argument]);
    let call = with_engine(project.call(words)).env("PIER_FAILPOINT", format!("{step}:{how}"));
    let output = call.run();
    assert!(!output.said().contains("panicked"), "{step}: {}", output.said());
    output.code()
}

#[test]
fn a_failure_at_any_step_runs_nothing_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    let mut all = steps("reach");
    all.insert("container.made".into());
    let project = project(DEBIAN, "home ephemeral");
    for step in &all {
        for how in ["error", "kill"] {
            let argument = unique_sleep();
            let code = fail_at(&project, &argument, step, how);
            let killed = how == "kill" && !step.starts_with("init.");
            let away = ["session.terminal", "detach.forked"].contains(&step.as_str());
            let expected = if killed && !away { None } else { Some(125) };
            // An init that was told to begin, and is heard of no more, may have begun.
            let told =
                how == "kill" && ["init.ready", "init.terminal", "init.begun"].contains(&step.as_str());
            assert!(code == expected || told && code == Some(137), "{step}:{how}: {code:?}");
            assert!(!project.root().join("ran").exists(), "{step}:{how} ran something");
            let gone = within(Duration::from_secs(2), || host_process(&argument).is_none());
            assert!(gone, "{step}:{how} left a process");
        }
    }
    // What was left between two words to the engine goes at the next start, as do the directories.
    with_engine(project.call(["doctor"])).run();
    assert!(within(Duration::from_secs(5), || containers(&project).is_empty()), "{}", containers(&project));
    let sessions = fs_err::read_dir(project.state().join("sessions")).map_or(0, Iterator::count);
    assert_eq!(sessions, 0);
}
