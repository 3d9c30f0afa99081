//! Tests of a task that run elsewhere than its agent: with another network, or in an environment of their own.

use super::World;
use super::tasks::{script, task};
use crate::docker::{DEBIAN, can_run, docker};

/// Images and containers of pier's that are there for a moment only.
fn left(world: &World) -> String {
    let images = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"], b"");
    let session = world.session("ws");
    let id = session["harbor_session_id"].as_str().unwrap().rsplit('-').next().unwrap();
    let images = images.lines().filter(|line| line.contains(&format!("snapshot-{id}-")));
    let name = format!("name=pier-verify-ws-{id}");
    let containers = docker(&["ps", "--all", "--format", "{{.Names}}", "--filter", &name], b"");
    assert!(!world.place("ws/.pier/_harbor/verify").exists());
    images.chain(containers.lines()).collect::<Vec<_>>().join("\n")
}

#[test]
fn tests_have_the_network_that_the_task_gives_them() {
    if !can_run() {
        return;
    }
    // The agent reaches nothing, and what it has made is there for the tests, which reach one host.
    let world = World::of_task(
        "[environment]\nnetwork_mode = \"no-network\"\n[verifier]\nnetwork_mode = \"allowlist\"\nallowed_hosts = [\"a.test\"]\n",
    );
    script(
        &world,
        "tests/test.sh",
        "#!/bin/bash
exec 3<>/dev/tcp/other.test/80 && printf 'GET / HTTP/1.1\\r\\nHost: other.test\\r\\n\\r\\n' >&3 && head -1 <&3
id -u; cat answer /opt/installed; ls /proc | grep -c '^[0-9]'
[ \"$(cat answer)$(cat /opt/installed)\" = 'donehere' ] && echo 1 > /logs/verifier/reward.txt
",
    );
    world.0.write(
        "task/environment/Dockerfile",
        format!("FROM {DEBIAN}\nRUN chmod 777 /opt\nWORKDIR /work\nCOPY data /work/data\n"),
    );
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let work = "printf done > answer; printf here > /opt/installed; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '";
    assert_eq!(world.within("ws", &["exec", "--", "sh", "-c", work]).run().expect(0).text(), "lo");
    world.within("ws", &["verify", "--keep-running"]).run().refused(2, "trial::usage");
    let said = world.within("ws", &["verify", "--min-reward", "1"]).run().expect(0);
    assert!(said.text().starts_with("Reward: 1"), "{}", said.text());
    let output = world.0.read("ws/.pier/_harbor/verifier/test-stdout.txt");
    assert!(output.starts_with("HTTP/1.1 403 Forbidden\r\n0\ndonehere"), "{output}");
    assert_eq!(left(&world), "");
    // It goes on where it was, and reaches as little.
    assert_eq!(world.within("ws", &["exec", "--", "sh", "-c", work]).run().expect(0).text(), "lo");
    world.within("ws", &["rm", "--force"]).run().expect(0);
}

#[test]
fn a_workspace_that_a_killed_pier_left_paused_goes_on() {
    if !can_run() {
        return;
    }
    let world = World::of_task("");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let name = format!("{}-main-1", world.session("ws")["harbor_session_id"].as_str().unwrap());
    let private = world.private();
    fs_err::write(private.join("paused"), "").unwrap();
    world.0.give_away();
    docker(&["pause", &name], b"");
    let said = world.within("ws", &["exec", "--", "echo", "on"]).run().expect(0);
    assert_eq!(said.text(), "on");
    assert!(!private.join("paused").exists());

    // Whoever still looks at the files is waited for.
    let lock = fs_err::File::open(private.join("lock")).unwrap().into_parts().0;
    let held = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).unwrap();
    fs_err::write(private.join("paused"), "").unwrap();
    world.0.give_away();
    let waiting = std::thread::scope(|scope| {
        let call = world.within("ws", &["exec", "--", "echo", "later"]);
        let waiting = scope.spawn(move || call.run().expect(0));
        std::thread::sleep(std::time::Duration::from_millis(700));
        assert!(!waiting.is_finished());
        drop(held);
        waiting.join().unwrap()
    });
    assert!(waiting.said().contains("waiting for another pier"), "{}", waiting.said());
    assert_eq!(waiting.text(), "later");
}

#[test]
fn a_verifier_has_an_environment_of_its_own_and_sees_artifacts_alone() {
    if !can_run() {
        return;
    }
    let world = World::new();
    task(
        &world,
        "artifacts = [\"/work/answer\", { source = \"/opt/many\", exclude = [\"*.tmp\"] }, { source = \"/logs/artifacts\", exclude = [\"*.tmp\"] }]
[verifier.environment]
workdir = \"/judge\"
[verifier.environment.env]
WHO = \"judge\"
[[verifier.collect]]
command = \"date > /dev/null; cp answer /logs/artifacts/collected\"
[[verifier.collect]]
command = \"exit 3\"
",
    );
    world.0.write(
        "task/environment/Dockerfile",
        format!("FROM {DEBIAN}\nRUN mkdir -m 777 -p /opt/many\nWORKDIR /work\n"),
    );
    // The tests are in the image, and only there.
    world.0.write(
        "task/tests/Dockerfile",
        format!("FROM {DEBIAN}\nWORKDIR /judge\nCOPY test.sh wanted /tests/\n"),
    );
    script(
        &world,
        "tests/test.sh",
        "#!/bin/bash
pwd; echo $WHO; cat /work/answer /logs/artifacts/collected; ls /opt/many /work; ls /work/secret 2>/dev/null; ls /logs/artifacts
cmp -s /work/answer /tests/wanted && echo 1 > /logs/verifier/reward.txt || echo 0 > /logs/verifier/reward.txt
",
    );
    world.0.write("task/tests/wanted", "42\n");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let work = "echo 42 > answer; echo x > secret; touch /opt/many/a /opt/many/b.tmp; echo mine > /logs/artifacts/own; touch /logs/artifacts/no.tmp";
    world.within("ws", &["exec", "--", "sh", "-c", work]).run().expect(0);
    let said = world.within("ws", &["verify", "--min-reward", "1"]).run().expect(0);
    assert!(said.said().contains("`exit 3` of `[[verifier.collect]]` failed"), "{}", said.said());
    let output = world.0.read("ws/.pier/_harbor/verifier/test-stdout.txt");
    assert_eq!(output, "/judge\njudge\n42\n42\n/opt/many:\na\n\n/work:\nanswer\ncollected\nown\n");
    assert_eq!(left(&world), "");
    let again = world.within("ws", &["exec", "cat", "secret"]).run().expect(0).text();
    assert_eq!(again, "x");
    world.within("ws", &["rm", "--force"]).run().expect(0);
    // A copy of the agent's environment, untouched, with the tests put in.
    task(&world, "[verifier]\nenvironment_mode = \"separate\"\n");
    fs_err::remove_file(world.place("task/tests/Dockerfile")).unwrap();
    script(
        &world,
        "tests/test.sh",
        "#!/bin/sh\ncat data own 2>&1; ls /logs/artifacts; echo 1 > /logs/verifier/reward.txt\n",
    );
    world.call(&["start", "task", "-d", "second"]).run().expect(0);
    let work = "echo changed > data; echo mine > own; echo out > /logs/artifacts/out";
    world.within("second", &["exec", "--", "sh", "-c", work]).run().expect(0);
    world.within("second", &["verify", "--min-reward", "1"]).run().expect(0);
    let output = world.0.read("second/.pier/_harbor/verifier/test-stdout.txt");
    assert!(output.starts_with("of the task\n") && output.ends_with("\nout\n"), "{output}");
    assert!(output.contains("own: No such file"), "{output}");
    world.within("second", &["rm", "--force"]).run().expect(0);
    let host = world.call(&["start", "task", "-d", "host", "--host"]).run().expect(0);
    assert!(host.text().contains("ready"));
    world.within("host", &["verify"]).run().refused(2, "trial::usage");
}
