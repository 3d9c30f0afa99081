//! What is said to whoever has asked for something that cannot be.

use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept, bind, listen, socket};
use serde_json::Value;

use super::World;
use super::tasks::script;
use crate::docker::{BUSYBOX, DEBIAN, Image, can_run, docker};
use crate::sandbox::within;

#[test]
fn a_port_that_is_taken_is_named() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let inside = format!("{port}:8080");
    for words in [&["--ports", &inside][..], &["--ports", &inside, "--set", "network=none"]] {
        let said = world.start("ws", BUSYBOX, words).run().refused(125, "workspace::port");
        assert!(
            said.flat().contains(&format!("`127.0.0.1:{port}` is taken, so that port 8080")),
            "{}",
            said.said()
        );
        assert!(said.flat().contains(&format!("`ss -ltnp 'sport = :{port}'`")), "{}", said.said());
        assert!(!world.place("ws").exists());
    }
    drop(taken);
    world.start("ws", BUSYBOX, &["--ports", &inside]).run().expect(0);
    let said = world.start("other", BUSYBOX, &["--ports", &port]).run().refused(125, "workspace::port");
    assert!(said.flat().replace(' ', "").contains("/ws`publishesit,too"), "{}", said.said());
    // Its own is no other's.
    world.within("ws", &["stop"]).run().expect(0);
    world.within("ws", &["start"]).run().expect(0);
}

#[test]
fn what_flags_ask_for_is_told_by_the_flag() {
    if !can_run() {
        return;
    }
    let world = World::new();
    for (mounts, code) in [
        (r#"["/nonexistent:/x"]"#, "mount::missing"),
        (r#"["/etc:/x"]"#, "mount::refused"),
        (r#"["/etc/passwd:/app"]"#, "config::duplicate"),
        (r#"["/etc/passwd:/a/../b"]"#, "config::bad-value"),
    ] {
        let said = world.start("ws", BUSYBOX, &["--mounts-json", mounts]).run().refused(2, code);
        assert!(said.flat().contains("(`--mounts-json`)"), "{}", said.said());
        assert!(!said.said().contains("mounts {") && !said.said().contains("pier start:"), "{}", said.said());
    }
    let said =
        world.start("ws", BUSYBOX, &["--agent", "claude-code@99.99"]).run().refused(2, "agent::unknown");
    assert!(said.flat().contains("`99.99` is no exact version of `claude-code`"), "{}", said.said());
    assert!(said.flat().contains("or none: `--agent claude-code`"), "{}", said.said());
    let said =
        world.call(&["start", "ftp://example.com/a#x", "-d", "ws"]).run().refused(2, "workspace::task");
    assert!(said.flat().contains("`http://`"), "{}", said.said());
    let said = world.start("ws", "Not A Name", &[]).run().refused(125, "image::missing");
    assert!(said.flat().contains("invalid reference format"), "{}", said.said());
    let image = Image::with_tools(&[], &["VOLUME /app/data"]);
    let said = world.start("ws", &image.0, &[]).run().refused(2, "image::volume");
    assert!(
        said.flat().contains("name another `workdir`") && !said.said().contains("pier start:"),
        "{}",
        said.said()
    );
    world.0.write("repository/x", "");
    let url = format!("file://{}#x@abc1234", world.place("repository").display());
    let said = world.call(&["start", &url, "-d", "ws"]).run().refused(1, "workspace::fetch");
    assert!(said.flat().contains("if `abc1234` is a commit, write all of it"), "{}", said.said());
    let world = World::of_task("[agent]\nuser = \"host\"\n");
    let said = world.call(&["start", "task", "-d", "ws"]).run().refused(2, "workspace::task");
    assert!(said.flat().contains("write the number of that user"), "{}", said.said());
    assert!(!world.place("ws").exists());
}

#[test]
fn ports_of_a_workspace_in_the_hosts_network_are_refused_before_anything_is_built() {
    let world = World::of_task("");
    // Without an engine: nobody has asked one.
    for words in [&["start", "task"][..], &["start", "--image", BUSYBOX]] {
        let flags = ["-d", "ws", "--ports", "8080", "--set", "network=host"];
        let call = world.0.call([words, &flags].concat()).env("DOCKER_HOST", "unix:///nonexistent.sock");
        let said = call.run().refused(2, "network::port");
        assert!(said.flat().contains("is on the host already"), "{}", said.said());
        assert!(said.flat().contains("(`--ports`)") && !world.place("ws").exists(), "{}", said.said());
    }
}

#[test]
fn a_workspace_whose_files_are_its_own_has_nothing_to_compare() {
    let world = World::of_task("");
    let absent = |words: &[&str], at: &str| {
        world.0.call(words).cwd(world.place(at)).env("DOCKER_HOST", "unix:///nonexistent.sock")
    };
    absent(&["start", "task", "-d", "ws", "--host"], ".").run().expect(0);
    let said = absent(&["diff"], "ws").run().refused(2, "workspace::usage");
    assert!(said.flat().contains("there is nothing to compare"), "{}", said.said());
    absent(&["diff", "--stat"], "ws").run().refused(2, "workspace::usage");
    let said = absent(&["verify"], "ws").run().refused(125, "docker::engine");
    assert!(said.flat().contains("the tests run in a container"), "{}", said.said());
    let said = absent(&["start", "task", "-d", "other"], ".").run().refused(125, "docker::engine");
    assert!(said.flat().contains("`pier start --host` for a task"), "{}", said.said());
}

#[test]
fn a_workspace_with_a_damaged_file_is_listed_by_its_place() {
    let world = World::of_task("");
    let absent = |words: &[&str]| world.0.call(words).env("DOCKER_HOST", "unix:///nonexistent.sock");
    absent(&["start", "task", "-d", "ws", "--host"]).run().expect(0);
    world.0.write("ws/.pier/session.json", "{ \"task_dir\": ");
    let listed = absent(&["list"]).run().expect(0);
    let place = world.place("ws").canonicalize().unwrap().display().to_string();
    let row = listed.text().lines().last().unwrap().to_owned();
    assert!(row.contains(&place) && row.ends_with("damaged") && !row.contains("EOF"), "{row}");
    assert!(listed.flat().contains("session.json` is damaged: EOF"), "{}", listed.said());
    let json: Value = serde_json::from_str(&absent(&["list", "--json"]).run().expect(0).text()).unwrap();
    assert_eq!((&json[0]["workspace"], &json[0]["status"]), (&place.into(), &"damaged".into()));
    assert!(json[0]["error"].as_str().unwrap().contains("EOF"));
}

#[test]
fn a_container_that_is_gone_in_the_middle_of_the_tests_leaves_no_trial() {
    if !can_run() {
        return;
    }
    let world = World::of_task("");
    script(&world, "tests/test.sh", "#!/bin/sh\ntouch /work/begun; sleep 60\n");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let container = world.containers().split(' ').next().unwrap().to_owned();
    let call = world.within("ws", &["verify"]);
    let verifying = std::thread::spawn(move || call.run());
    let begun = world.place("ws/begun");
    assert!(within(Duration::from_secs(20), || begun.exists()));
    docker(&["rm", "--force", &container], b"");
    let said = verifying.join().unwrap();
    let said = said.refused(1, "docker::failed");
    assert!(
        said.flat().contains("no trial is kept") && !said.flat().contains("nothing ran"),
        "{}",
        said.said()
    );
}

#[test]
fn a_command_whose_workspace_ends_says_so() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", DEBIAN, &[]).run().expect(0);
    let container = world.containers().split(' ').next().unwrap().to_owned();
    let call = world.within("ws", &["exec", "--", "sh", "-c", "touch begun; sleep 60"]).into_owner();
    let running = std::thread::spawn(move || call.run());
    let begun = world.place("ws/begun");
    assert!(within(Duration::from_secs(20), || begun.exists()));
    docker(&["kill", "--signal", "TERM", &container], b"");
    let said = running.join().unwrap().expect(143);
    assert!(said.flat().contains("the workspace ended while the command ran"), "{}", said.said());
    // A command that is killed in one that goes on says nothing of it.
    world.within("ws", &["start"]).run().expect(0);
    let said = world.within("ws", &["exec", "--", "sh", "-c", "kill -TERM $$"]).run().expect(143);
    assert!(!said.said().contains("the workspace ended"), "{}", said.said());
    world.within("ws", &["stop"]).run().expect(0);
    let words = ["capture", "--session-dir", "/work", "--agent", "claude-code"];
    let said = world.within("ws", &words).run().refused(125, "workspace::not-running");
    assert!(said.flat().contains("is in the container, and the workspace is not running"), "{}", said.said());
    // One that is stopped in the moment of a call: somebody listens, and goes away.
    let directory = fs_err::File::open(world.private()).unwrap();
    fs_err::remove_file(world.private().join("commands")).unwrap();
    let address = UnixAddr::new(Path::new(&format!("/proc/self/fd/{}/commands", directory.as_raw_fd())));
    let listening = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(listening.as_raw_fd(), &address.unwrap()).unwrap();
    listen(&listening, Backlog::new(1).unwrap()).unwrap();
    world.0.give_away();
    let call = world.within("ws", &["exec", "true"]).into_owner();
    let running = std::thread::spawn(move || call.run());
    nix::unistd::close(accept(listening.as_raw_fd()).unwrap()).unwrap();
    drop(listening);
    running.join().unwrap().refused(125, "workspace::not-running");
}

#[test]
fn what_the_tests_lack_is_named() {
    if !can_run() {
        return;
    }
    let world = World::of_task("");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    for (text, said) in [
        ("#!/opt/no-bash -e\necho 1\n", "`/opt/no-bash`, which `tests/test.sh` names in its first line"),
        ("#!/bin/sh\nno-such-program\n", "a program that they call is not in the image"),
    ] {
        script(&world, "tests/test.sh", text);
        let refused = world.within("ws", &["verify"]).run().refused(1, "trial::reward");
        assert!(refused.flat().contains(said), "{}", refused.said());
    }
    world.0.write(
        "task/task.toml",
        format!("[verifier]\nenvironment_mode = \"separate\"\n[verifier.environment]\ndocker_image = \"{DEBIAN}\"\n"),
    );
    let refused = world.within("ws", &["verify"]).run().refused(1, "trial::verifier");
    assert!(refused.flat().contains("`/tests/test.sh` of the image: No such file"), "{}", refused.said());
}

#[test]
fn a_workspace_without_a_task_is_refused_its_tests_before_anything_else_is_said() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", BUSYBOX, &[]).run().expect(0);
    let file = world.place("ws/.pier/session.json");
    let text = fs_err::read_to_string(&file).unwrap();
    let mut session: Value = serde_json::from_str(&text).unwrap();
    session["agents"] = serde_json::json!(["claude-code"]);
    fs_err::write(&file, session.to_string()).unwrap();
    let refused = world.within("ws", &["verify"]).run().refused(2, "trial::usage");
    assert!(!refused.flat().contains("the agent is"), "{}", refused.said());
}

#[test]
fn what_is_wrong_in_a_task_is_told_by_its_file_and_key() {
    let world = World::of_task("");
    for (line, said) in [
        ("memory_mb = -5", "`memory_mb` of `[environment]` in `task.toml` is -5"),
        ("workdir = \"relative\"", "`workdir` of `[environment]` in `task.toml` is `relative`"),
    ] {
        world.0.write("task/task.toml", format!("[environment]\n{line}\n"));
        let refused = world.call(&["start", "task", "-d", "ws"]).run().refused(2, "workspace::task");
        assert!(refused.flat().contains(said), "{}", refused.said());
        assert!(!world.place("ws").exists());
    }
}

#[test]
fn a_container_that_somebody_removed_is_missed_aloud() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let made = world.start("ws", BUSYBOX, &[]).run().expect(0);
    assert!(!made.flat().contains("was gone"), "{}", made.said());
    let container = world.containers().split(' ').next().unwrap().to_owned();
    docker(&["rm", "--force", &container], b"");
    let again = world.within("ws", &["start"]).run().expect(0);
    assert!(again.flat().contains("what was installed in it is gone"), "{}", again.said());
    world.within("ws", &["rm", "--force"]).run().expect(0);
    let after = world.within("ws", &["start"]).run().expect(0);
    assert!(!after.flat().contains("was gone"), "that was asked for: {}", after.said());
}
