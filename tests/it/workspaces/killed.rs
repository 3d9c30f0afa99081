//! Calls that are ended in the middle of their work, and what comes after them.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::World;
use crate::docker::{BUSYBOX, DEBIAN, can_run, docker};
use crate::sandbox::within;

#[test]
fn a_start_after_one_that_was_killed_takes_nothing_that_ends_for_running() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", BUSYBOX, &[]).run().expect(0);
    world.within("ws", &["stop"]).run().expect(0);
    let container = world.containers().split(' ').next().unwrap().to_owned();
    let call = world.within("ws", &["start"]).env("PIER_FAILPOINT", "container.begun:stop").into_owner();
    let mut killed = call.start();
    assert!(within(Duration::from_secs(20), || world.containers().ends_with(" running")));
    // So that its end is still to come when the next call looks at it.
    docker(&["pause", &container], b"");
    killed.kill().unwrap();
    killed.wait().unwrap();
    world.within("ws", &["exec", "true"]).run().refused(125, "workspace::not-running");
    let again = world.within("ws", &["start"]).run().expect(0);
    assert!(!again.said().contains("already running"), "{}", again.said());
    assert_eq!(world.within("ws", &["exec", "echo", "on"]).run().expect(0).text(), "on");
    let twice = world.within("ws", &["start"]).run().expect(0);
    assert!(twice.said().contains("already running"), "{}", twice.said());
}

/// The labels of the containers by which images are looked into.
fn looks() -> Vec<String> {
    let format = "{{.Label \"pier.still\"}}";
    let said = docker(&["ps", "--all", "--filter", "label=pier.still", "--format", format], b"");
    said.lines().map(str::to_owned).collect()
}

#[test]
fn what_ends_a_start_removes_the_container_that_looks_into_its_image() {
    if !can_run() {
        return;
    }
    let world = World::new();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let call = world.start(signal.as_str(), BUSYBOX, &[]);
        let mut ended = call.env("PIER_FAILPOINT", "container.looked:stop").into_owner().start();
        let mark = format!(" {} ", ended.id());
        let is_there = || looks().iter().any(|label| label.contains(&mark));
        assert!(within(Duration::from_secs(20), is_there), "{signal}");
        let process = Pid::from_raw(ended.id().cast_signed());
        kill(process, signal).unwrap();
        let mut status = None;
        let has_ended = || {
            // It may stop itself only now: the container is there a moment before.
            let _gone = kill(process, Signal::SIGCONT);
            status = ended.try_wait().unwrap();
            status.is_some()
        };
        assert!(within(Duration::from_secs(10), has_ended), "{signal}");
        assert!(!status.unwrap().success(), "{signal}");
        assert!(within(Duration::from_secs(10), || !is_there()), "{signal}: {:?}", looks());
    }
}

#[test]
fn containers_that_killed_calls_have_left_go_with_the_next_one() {
    if !can_run() {
        return;
    }
    let world = World::new();
    for words in [&["cache", "prune"][..], &["doctor"], &["start", "-d", "ws", "--image", BUSYBOX]] {
        let dead = format!("pier.still=another-boot pid:[1] 1 {}", words[0]);
        let id = docker(&["create", "--label", &dead, BUSYBOX, "true"], b"");
        world.call(words).run().expect(0);
        assert_eq!(
            docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &format!("id={id}")], b""),
            ""
        );
    }
}

impl World {
    /// The program of every workspace, by the directory of that.
    fn programs(&self) -> Vec<PathBuf> {
        let all = fs_err::read_dir(self.0.home().join(".local/state/pier/workspaces")).unwrap();
        all.map(|entry| entry.unwrap().path().join("init")).filter(|path| path.exists()).collect()
    }

    fn kept_programs(&self) -> Vec<Value> {
        let listed = self.call(&["cache", "list", "--json"]).run().expect(0).text();
        let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
        listed.into_iter().filter(|item| item["kind"] == "program").collect()
    }
}

#[test]
fn the_program_of_all_workspaces_is_one_copy_and_goes_with_them() {
    if !can_run() {
        return;
    }
    let world = World::new();
    for name in ["one", "two", "gone"] {
        world.start(name, BUSYBOX, &[]).run().expect(0);
    }
    let failed = world.start("failed", BUSYBOX, &[]).env("PIER_FAILPOINT", "container.begun:error").run();
    assert_ne!(failed.code(), Some(0), "{}", failed.said());
    let programs = world.programs();
    let inode = |path: &PathBuf| fs_err::metadata(path).unwrap().ino();
    assert_eq!(programs.len(), 3, "{programs:?}");
    assert!(programs.iter().all(|path| inode(path) == inode(&programs[0])));
    let kept = world.kept_programs();
    assert!(kept.len() == 1 && kept[0]["in_use"] == true, "{kept:?}");
    world.within("one", &["rm", "--force"]).run().expect(0);
    world.within("two", &["stop"]).run().expect(0);
    world.within("two", &["rm"]).run().expect(0);
    assert_eq!(world.programs().len(), 1);
    // Its directory is gone, and with it whoever would remove it.
    fs_err::remove_dir_all(world.place("gone")).unwrap();
    world.call(&["cache", "prune", "--keep", "1s"]).run().expect(0);
    assert_eq!((world.programs().len(), world.kept_programs().len()), (0, 0));
    // What was removed is there again.
    world.within("one", &["start"]).run().expect(0);
    assert_eq!(world.within("one", &["exec", "echo", "on"]).run().expect(0).text(), "on");
}

/// Writes a log with what it is asked, and goes on.
const MINE: &str = r#"#!/bin/sh
mkdir -p ~/.mine
printf '{"type":"user","message":{"content":"%s"},"uuid":"%s","sessionId":"%s"}\n' "$2" $$ $$ > ~/.mine/$$.jsonl
echo "asked: $2"
until [ -e "done" ]; do sleep 0.1; done
"#;

#[test]
fn what_an_agent_did_is_kept_of_an_exec_that_was_killed() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let config = world.0.home().join(".config/pier/config.kdl");
    fs_err::create_dir_all(config.parent().unwrap()).unwrap();
    fs_err::write(&config, "agent mine { run \"mine\" \"--task\"; logs \"~/.mine/*.jsonl\"; }\n").unwrap();
    world.0.give_away();
    world.start("ws", DEBIAN, &[]).run().expect(0);
    world.0.write("ws/mine", MINE);
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(world.place("ws/mine"), all).unwrap();
    let asked = ["mend the parser", "mend the lexer"];
    let mut calls = asked.map(|asked| world.within("ws", &["exec", "--", "./mine", "--task", asked]).start());
    let said = || -> usize {
        let texts =
            world.runs().into_iter().filter_map(|run| fs_err::read_to_string(run.join("mine.txt")).ok());
        texts.filter(|text| text.contains("asked: ")).count()
    };
    assert!(within(Duration::from_secs(30), || said() == 2));
    calls[0].kill().unwrap();
    calls[0].wait().unwrap();
    world.0.write("ws/done", "");
    assert!(calls[1].wait().unwrap().success());
    for run in world.runs() {
        let said = fs_err::read_to_string(run.join("mine.txt")).unwrap();
        let own = asked.into_iter().find(|asked| said.contains(asked)).unwrap();
        let name = run.file_name().unwrap().to_str().unwrap();
        let captured =
            world.within("ws", &["capture", "--json", "--agent", "mine", "--session", name]).run().expect(0);
        let captured: Value = serde_json::from_str(&captured.text()).unwrap();
        let trial = PathBuf::from(captured["trial"].as_str().unwrap());
        let document: Value =
            serde_json::from_slice(&fs_err::read(trial.join("agent/trajectory.json")).unwrap()).unwrap();
        assert_eq!(document["steps"].as_array().unwrap().len(), 1, "{document}");
        assert_eq!(document["steps"][0]["message"], own, "{document}");
        let logs = fs_err::read_dir(run.join("logs/mine")).unwrap().count();
        assert_eq!(logs, 1, "{run:?}");
    }
}
