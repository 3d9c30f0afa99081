//! Calls that are ended in the middle of their work, and what comes after them.

use std::time::Duration;

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
