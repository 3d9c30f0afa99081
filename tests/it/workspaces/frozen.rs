//! Workspaces whose container somebody has paused, or whose init does not answer.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::World;
use crate::docker::{BUSYBOX, can_run, docker};
use crate::sandbox::{too_long, within};

impl World {
    fn container(&self) -> String {
        self.containers().split(' ').next().unwrap().to_owned()
    }
}

#[test]
fn nothing_waits_for_a_container_that_somebody_has_paused() {
    if !can_run() {
        return;
    }
    let world = World::of_task("");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let container = world.container();
    docker(&["pause", &container], b"");
    assert!(world.within("ws", &["list"]).run().expect(0).text().ends_with(" paused"));
    let unpause = format!("`docker unpause {container}` lets it go on");
    for words in [
        &["exec", "echo", "on"][..],
        &["exec", "--detach", "--", "echo", "on"],
        &["exec", "--detach", "-t", "--", "echo", "on"],
        &["capture", "--session-dir", "/work", "--agent", "claude-code"],
        &["verify"],
    ] {
        let began = Instant::now();
        let refused = world.within("ws", words).run().refused(125, "workspace::paused");
        assert!(refused.flat().contains(&unpause), "{}", refused.said());
        assert!(!too_long(began.elapsed(), Duration::from_secs(5)), "{words:?} {:?}", began.elapsed());
    }
    // More than have room in its line.
    for _ in 0..12 {
        world.within("ws", &["exec", "echo", "on"]).run().refused(125, "workspace::paused");
    }
    assert!(world.containers().ends_with(" paused"), "{}", world.containers());
    docker(&["unpause", &container], b"");
    assert_eq!(world.within("ws", &["exec", "echo", "on"]).run().expect(0).text(), "on");
    // A start is asked to have it run.
    docker(&["pause", &container], b"");
    let started = world.within("ws", &["start"]).run().expect(0);
    assert!(started.flat().contains("the container was paused, and goes on now"), "{}", started.said());
    assert_eq!(world.within("ws", &["exec", "echo", "on"]).run().expect(0).text(), "on");
    docker(&["pause", &container], b"");
    world.within("ws", &["stop"]).run().expect(0);
    assert!(world.containers().ends_with(" exited"), "{}", world.containers());
}

#[test]
fn a_sync_leaves_a_container_paused_that_somebody_else_has_paused() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", BUSYBOX, &["--no-mount"]).run().expect(0);
    world.within("ws", &["exec", "touch", "made"]).run().expect(0);
    docker(&["pause", &world.container()], b"");
    world.within("ws", &["sync"]).run().expect(0);
    assert!(world.place("ws/made").exists());
    assert!(world.containers().ends_with(" paused"), "{}", world.containers());
}

#[test]
fn a_container_that_is_paused_while_a_command_begins_is_told_and_a_command_that_runs_is_let_be() {
    if !can_run() {
        return;
    }
    let world = World::of_task("");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let container = world.container();
    // The init is ready for it, and has not heard yet that it may begin.
    let call = world.within("ws", &["exec", "--", "sh", "-c", "sleep 2; touch /work/late"]);
    let mut stopped = call.env("PIER_FAILPOINT", "session.ready:stop").into_owner().start();
    let place = format!("/proc/{}/status", stopped.id());
    let is_stopped = || fs_err::read_to_string(&place).is_ok_and(|text| text.contains("State:\tT"));
    assert!(within(Duration::from_secs(20), is_stopped));
    docker(&["pause", &container], b"");
    kill(Pid::from_raw(stopped.id().cast_signed()), Signal::SIGCONT).unwrap();
    assert!(within(Duration::from_secs(10), || stopped.try_wait().unwrap().is_some()));
    // Its streams were sent already, and are let go by a container that goes on.
    docker(&["unpause", &container], b"");
    let said = stopped.wait_with_output().unwrap();
    let text = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.code() == Some(125) && text.contains("docker unpause"), "{text}");
    let running =
        world.within("ws", &["exec", "--", "sh", "-c", "touch /work/begun; sleep 2; echo on"]).start();
    let begun = world.place("ws/begun");
    assert!(within(Duration::from_secs(20), || begun.exists()));
    docker(&["pause", &container], b"");
    std::thread::sleep(Duration::from_secs(3));
    docker(&["unpause", &container], b"");
    let ended = running.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stdout == b"on\n", "{ended:?}");
    assert!(!world.place("ws/late").exists());
}

#[test]
fn an_init_that_does_not_answer_is_waited_for_within_a_bound() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", BUSYBOX, &[]).run().expect(0);
    let container = world.container();
    let init = docker(&["inspect", "--format", "{{.State.Pid}}", &container], b"");
    let init = Pid::from_raw(init.trim().parse().unwrap());
    kill(init, Signal::SIGSTOP).unwrap();
    let began = Instant::now();
    let refused = world.within("ws", &["exec", "echo", "on"]).run().refused(125, "workspace::no-answer");
    assert!(refused.flat().contains("has not answered within 20 seconds"), "{}", refused.said());
    assert!(
        refused.flat().contains("`pier stop` ends a container that does not answer"),
        "{}",
        refused.said()
    );
    assert!(
        began.elapsed() >= Duration::from_secs(20) && !too_long(began.elapsed(), Duration::from_secs(40))
    );
    kill(init, Signal::SIGCONT).unwrap();
    assert_eq!(world.within("ws", &["exec", "echo", "on"]).run().expect(0).text(), "on");
}
