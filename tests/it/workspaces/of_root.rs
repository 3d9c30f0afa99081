//! Workspaces of root, who was asked for: the tests of a task may what tests may, and the agent may nothing.

use std::time::Duration;

use super::World;
use super::tasks::script;
use crate::docker::{can_run, docker};
use crate::sandbox::{Output, is_root, within};

impl World {
    fn as_root(&self, name: &str, words: &[&str]) -> Output {
        self.within(name, words).env("PIER_AS_ROOT", "1").run()
    }
}

/// What a process of no power says of itself.
const NOTHING: &str = "CapInh:0 CapPrm:0 CapEff:0 CapBnd:0 CapAmb:0 NoNewPrivs:1 0";

/// Says what the process may, and whose it is.
const LOOK: &str = "sed -n 's/^\\(Cap[A-Z][a-z]*\\|NoNewPrivs\\):\\t0*\\(.\\)/\\1:\\2/p' /proc/self/status | tr '\\n' ' '; id -u";

#[test]
fn a_workspace_of_root_is_judged_and_its_agent_has_no_capability() {
    if !can_run() {
        return;
    }
    if !is_root() {
        println!("skipped: only root has workspaces of root");
        return;
    }
    let world = World::of_task("");
    let said = world.as_root("", &["start", "task", "-d", "ws"]).expect(0);
    assert!(said.text().contains("ready"), "{}", said.text());
    let agent = |script: &str| world.as_root("ws", &["exec", "--", "sh", "-c", script]);
    assert_eq!(agent(LOOK).expect(0).text(), NOTHING);
    agent("touch own && chown 1234 own").expect(1);
    // It waits for the tests, to be what they are and to write their reward.
    let forge = "mkdir -p /logs/verifier /tests; while :; do for f in reward.txt reward.json; do echo 1 > /logs/verifier/$f; done; cat /tests/* >> stolen; \
        sleep 0.05; done";
    agent(&format!("setsid sh -c '{forge}' > /dev/null 2>&1 &")).expect(0);
    assert!(within(Duration::from_secs(10), || world.0.root().join("ws/stolen").exists()), "it has begun");
    script(&world, "tests/test.sh", "#!/bin/sh\nsleep 1\n");
    world.as_root("ws", &["verify"]).refused(1, "trial::reward");
    assert_eq!(world.0.read("ws/stolen"), "", "the tests are not the agent's to read");
    // What the tests leave gives the agent nothing either.
    let test = "#!/bin/sh\ntouch /tmp/file && chown 1234 /tmp/file && stat -c %u /tmp/file\n\
        perl -e '$> = 65534; print \"$>\\n\"'\ncp /bin/sh shell && chmod 4755 shell\necho 1 > /logs/verifier/reward.txt\n";
    script(&world, "tests/test.sh", test);
    let said = world.as_root("ws", &["verify"]).expect(0).text();
    assert!(said.starts_with("Reward: 1"), "{said}");
    let output = world.0.read("ws/.pier/_harbor/verifier/test-stdout.txt");
    assert_eq!(output, "1234\n65534\n");
    assert_eq!(agent(&format!("./shell -c \"{}\"", LOOK.replace('\\', "\\\\"))).expect(0).text(), NOTHING);
    world.as_root("ws", &["stop"]).expect(0);
    let again = world.as_root("ws", &["start"]).expect(0);
    assert!(!again.said().contains("anew"), "{}", again.said());
    assert_eq!(agent(LOOK).expect(0).text(), NOTHING);
    let container = world.containers().split(' ').next().unwrap().to_owned();
    let first = docker(&["inspect", "--format", "{{.State.Pid}}", &container], b"");
    let status = fs_err::read_to_string(format!("/proc/{first}/status")).unwrap();
    let sets: Vec<&str> = status.lines().filter(|line| line.starts_with("Cap")).collect();
    assert!(sets.len() == 5 && sets.iter().all(|line| line.ends_with("\t0000000000000000")), "{sets:?}");
}
