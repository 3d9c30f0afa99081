//! Calls that are ended in the middle of their work, and what comes after them.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::World;
use crate::docker::{BUSYBOX, can_run, docker};
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
