//! Workspaces without a container.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::World;
use super::tasks::task;
use crate::docker::{DEBIAN, can_run};
use crate::sandbox::{Call, host_process, is_root, unique_sleep, within};

impl World {
    /// A call without any engine.
    pub fn alone(&self, name: &str, words: &[&str]) -> Call {
        let socket = self.0.base().join("no-engine.sock");
        self.0.call(words).env("DOCKER_HOST", format!("unix://{}", socket.display())).cwd(self.place(name))
    }
}

#[test]
fn a_task_without_a_container_runs_on_this_host() {
    let world = World::new();
    task(&world, "[agent]\nuser = \"app\"\n");
    let said = world.alone("", &["start", "task", "-d", "ws", "--host"]).run().expect(0);
    assert!(said.flat().contains("`[agent] user` has no effect"), "{}", said.said());
    assert!(said.said().contains("without any sandbox") && said.text().contains("cd "), "{}", said.said());
    // Without an engine: what is beside the Dockerfile.
    assert_eq!(world.0.read("ws/data"), "of the task\n");
    assert!(!world.place("ws/Dockerfile").exists());
    let link = fs_err::read_link(world.place("ws/.task/instruction.md")).unwrap();
    assert_eq!(link, world.place("task/instruction.md").canonicalize().unwrap());
    let session = world.session("ws");
    assert_eq!((&session["mode"], &session["task_ref"]), (&"host".into(), &"task".into()));
    assert!(session["host_session_id"].as_str().unwrap().starts_with("host-"));
    let root = world.place("ws").canonicalize().unwrap();
    let script = "echo $TASK_WORKSPACE; pwd; echo $MARKED; cat; exit 7";
    let said =
        world.alone("ws", &["exec", "--", "sh", "-c", script]).env("MARKED", "of the caller").stdin("piped");
    let said = said.run().expect(7).text();
    assert_eq!(said, format!("{0}\n{0}\nof the caller\npiped", root.display()));
    let missing = world.alone("ws", &["exec", "no-such-program"]).run().refused(127, "exec::not-found");
    assert!(missing.flat().contains("no command `no-such-program` on this host"), "{}", missing.said());
    assert!(!missing.flat().contains("Dockerfile"), "{}", missing.said());
    let closed = world.alone("ws", &["exec", "/etc/passwd"]).run().refused(126, "exec::cannot-run");
    assert!(
        closed.flat().contains("`/etc/passwd` cannot be executed: Permission denied"),
        "{}",
        closed.said()
    );
    // `-d` with what belongs to it.
    let sleep = unique_sleep();
    let script = format!("echo began; sleep {sleep}");
    let session = world.alone("ws", &["exec", "-d", "--", "sh", "-c", &script]).run().expect(0).text();
    assert!(within(Duration::from_secs(5), || world.alone("ws", &["logs", &session]).run().text() == "began"));
    assert!(world.alone("ws", &["ps"]).run().text().contains(&session));
    world.alone("ws", &["stop", &session]).run().expect(0);
    assert!(within(Duration::from_secs(3), || host_process(&sleep).is_none()));
    // A guest that is killed takes its command along.
    let sleep = unique_sleep();
    let script = format!("sleep {sleep}; true");
    let mut guest = world.alone("ws", &["exec", "--", "sh", "-c", &script]).start();
    assert!(within(Duration::from_secs(5), || host_process(&sleep).is_some()));
    guest.kill().unwrap();
    guest.wait().unwrap();
    assert!(within(Duration::from_secs(3), || host_process(&sleep).is_none()));

    let again = world.alone("", &["start", "task", "-d", "ws", "--host"]).run().expect(0);
    assert!(again.said().contains("already exists"), "{}", again.said());
    assert!(
        world.alone("", &["start", "task", "-d", "ws"]).run().expect(0).said().contains("already exists")
    );
    world.alone("ws", &["stop"]).run().refused(1, "workspace::usage");
    assert!(world.alone("", &["list"]).run().expect(0).text().contains('—'));
    for flags in [
        &["--agent", "codex"][..],
        &["-e", "NOVALUE"],
        &["--env-file", "absent"],
        &["--skill", "x"],
        &["--no-mount"],
        &["--ports", "80"],
        &["--mounts-json", "[]"],
    ] {
        for name in ["ws", "new"] {
            let words = [&["start", "task", "-d", name, "--host"], flags].concat();
            let said = world.alone("", &words).run().refused(2, "workspace::usage");
            assert!(said.flat().contains(flags[0]) && said.flat().contains("--host"), "{}", said.said());
        }
    }
    assert!(!world.place("new").exists());
}

#[test]
fn the_files_are_those_of_the_image_where_there_is_an_engine() {
    if !can_run() {
        return;
    }
    let world = World::new();
    task(&world, "[environment]\n");
    world.0.write(
        "task/environment/Dockerfile",
        format!("FROM {DEBIAN}\nWORKDIR /work\nRUN echo built > made\n"),
    );
    world.call(&["start", "task", "-d", "ws", "--host"]).run().expect(0);
    assert_eq!(world.0.read("ws/made"), "built\n");
    assert!(!world.place("ws/data").exists());
    world.call(&["start", "task", "-d", "ws", "--force"]).run().refused(2, "workspace::usage");
}

#[test]
fn a_verification_that_is_broken_off_leaves_no_container() {
    if !can_run() {
        return;
    }
    let world = World::new();
    task(&world, "[environment]\n");
    let script = |text: &str| super::tasks::script(&world, "tests/test.sh", text);
    script("#!/bin/sh\ntouch begun; sleep 600\n");
    world.call(&["start", "task", "-d", "ws", "--host"]).run().expect(0);
    let begun = world.place("ws/begun");
    let broken_off = |signal: Signal| {
        let mut running = world.within("ws", &["verify"]).start();
        assert!(within(Duration::from_secs(30), || begun.exists()), "no tests began");
        assert!(!world.containers().is_empty());
        kill(Pid::from_raw(running.id().try_into().unwrap()), signal).unwrap();
        let status = running.wait().unwrap();
        assert_eq!(status.signal(), Some(signal as i32));
        fs_err::remove_file(&begun).unwrap();
    };
    // Not SIGINT: whoever runs the tests in the background ignores it, and so does what they start.
    broken_off(Signal::SIGTERM);
    assert_eq!(world.containers(), "");
    broken_off(Signal::SIGKILL);
    assert!(!world.containers().is_empty(), "nothing was left to remove");
    let said = world.call(&["doctor"]).run();
    assert!(said.text().contains("removed what killed ones had left"), "{}", said.text());
    assert_eq!(world.containers(), "");
    broken_off(Signal::SIGKILL);
    let said = world.within("ws", &["start"]).run().expect(0);
    assert!(said.said().contains("broken off"), "{}", said.said());
    assert_eq!(world.containers(), "");
    broken_off(Signal::SIGKILL);
    script("#!/bin/sh\necho 1 > /logs/verifier/reward.txt\n");
    world.within("ws", &["verify"]).run().expect(0);
    assert_eq!(world.containers(), "");
}

#[test]
fn nobody_is_taken_out_of_the_sandbox_by_a_file() {
    let world = World::new();
    world.0.write("ws/.pier/session.json", r#"{ "mode": "host", "task_dir": "/nowhere" }"#);
    world.alone("ws", &["exec", "touch", "ran"]).run().refused(125, "workspace::changed");
    assert!(!world.place("ws/ran").exists());
    task(&world, "[environment]\n");
    world.alone("", &["start", "task", "-d", "own", "--host"]).run().expect(0);
    let text = world.0.read("own/.pier/session.json");
    world.0.write("own/.pier/session.json", text.replace("\"task\"", "\"other\""));
    world.alone("own", &["exec", "true"]).run().refused(125, "workspace::changed");
    // One of the older tool is taken over when somebody says so.
    world.alone("own", &["start", "--accept"]).run().expect(0);
    world.alone("own", &["exec", "true"]).run().expect(0);
}

#[test]
fn root_is_refused_without_a_word_of_a_sandbox_that_is_not_there() {
    if !is_root() {
        println!("skipped: only root gives way");
        return;
    }
    let world = World::new();
    task(&world, "");
    fs_err::create_dir(world.place("of-root")).unwrap();
    std::os::unix::fs::chown(world.place("of-root"), Some(0), Some(0)).unwrap();
    for (words, said) in
        [(&["--host"][..], "without a sandbox, all of this machine"), (&[], "a sandbox of root")]
    {
        let words = [&["start", "task", "-d", "of-root/ws"], words].concat();
        let refused = world.alone("", &words).run().refused(125, "owner::root");
        assert!(refused.flat().contains(said), "{}", refused.said());
    }
}
