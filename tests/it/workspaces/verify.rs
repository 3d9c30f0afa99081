//! `pier verify`, `capture` and `traces`.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde_json::Value;

use super::World;
use super::tasks::{script, task};
use crate::docker::{DEBIAN, can_run, docker};

/// Passes where the workspace holds what was to be done.
const TEST: &str = r#"#!/bin/sh
echo "tests as $(id -u) in $(pwd), $ASKED"
touch made-by-tests
cat /tests/wanted > /dev/null || exit 1
if [ "$(cat answer)" = "$(cat /tests/wanted)" ]; then reward=1; else reward=0; fi
echo "{\"reward\": $reward, \"extra\": 0.5}" > /logs/verifier/reward.json
exit 3
"#;

impl World {
    fn judged(toml: &str) -> Self {
        let world = World::new();
        task(&world, toml);
        script(&world, "tests/test.sh", TEST);
        world.0.write("task/tests/wanted", "42\n");
        world
    }

    fn trials(&self) -> Vec<PathBuf> {
        let place = self.place("ws/.pier/trials");
        let Ok(entries) = fs_err::read_dir(place) else { return Vec::new() };
        let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    }
}

fn json(path: PathBuf) -> Value {
    serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_tests_of_a_task_judge_its_workspace() {
    if !can_run() {
        return;
    }
    let world = World::judged("[verifier.env]\nASKED = \"plain\"\n");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let said = world.within("ws", &["verify"]).run().expect(0);
    assert!(said.text().starts_with("Reward: 0\n  extra: 0.5\ntrial: "), "{}", said.text());
    assert!(said.said().contains("no agent specified"), "{}", said.said());
    world.within("ws", &["exec", "--", "sh", "-c", "echo 42 > answer"]).run().expect(0);
    let said = world
        .within("ws", &["verify", "--json", "--agent", "codex", "--min-reward", "1"])
        .run()
        .expect(0)
        .text();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["rewards"]["reward"], &said["exit_code"]), (&1.into(), &3.into()));
    let [zero, one] = world.trials().try_into().unwrap();
    assert_eq!(said["trial"], one.canonicalize().unwrap().to_str().unwrap());
    let result = json(one.join("result.json"));
    assert_eq!((&result["trial_name"], &result["task_name"]), (&"ws".into(), &"task".into()));
    assert_eq!(result["verifier_result"]["rewards"]["reward"], 1);
    assert_eq!(result["agent_info"]["name"], "codex");
    assert_eq!(result["task_checksum"].as_str().unwrap().len(), 64);
    assert_eq!(json(one.join("config.json"))["agent"]["name"], "codex");
    assert_eq!(json(zero.join("verifier/reward.json"))["reward"], 0);
    let output = fs_err::read_to_string(one.join("verifier/test-stdout.txt")).unwrap();
    assert_eq!(output, "tests as 0 in /work, plain\n", "as the image's own user");
    assert_eq!(world.0.read("ws/.pier/_harbor/verifier/test-stdout.txt"), output);
    // What root has made is the user's, and nothing of the tests stays.
    let made = fs_err::metadata(world.place("ws/made-by-tests")).unwrap();
    assert_eq!(made.uid(), world.0.owner());
    world.within("ws", &["exec", "ls", "/tests"]).run().expect(2);
    // A low reward is no failure, unless somebody says how low.
    world.within("ws", &["exec", "rm", "answer"]).run().expect(0);
    world.within("ws", &["verify"]).run().expect(0);
    world.within("ws", &["verify", "--min-reward", "0.5"]).run().expect(1);
    let listed = world.within("ws", &["traces"]).run().expect(0).text();
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert!(listed.lines().nth(1).unwrap().ends_with("  codex  reward=1"), "{listed}");
    assert!(listed.lines().next().unwrap().ends_with("  unknown  reward=0"), "{listed}");

    let own = world.place("own");
    world.within("ws", &["verify", "--trial-dir", own.to_str().unwrap()]).run().expect(0);
    assert!(own.join("result.json").is_file() && world.trials().len() == 4);
    world.within("ws", &["verify", "--trial-dir", own.to_str().unwrap()]).run().refused(1, "trial::files");
    world.within("ws", &["stop"]).run().expect(0);
    world.within("ws", &["verify"]).run().refused(125, "workspace::not-running");
}

#[test]
fn no_agent_writes_its_own_reward() {
    if !can_run() {
        return;
    }
    let world = World::judged("");
    script(&world, "tests/test.sh", "#!/bin/sh\nsleep 1\nls /proc | grep -c '^[0-9]' >&2\n");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    // It tries all the time, before and during the tests, in a session of its own.
    let forge = "mkdir -p /logs/verifier /tests 2>/dev/null; while :; do for f in reward.txt reward.json details.json; do
        echo '{\"reward\": 1}' > /logs/verifier/$f; done 2>/dev/null; cat /tests/* >> stolen 2>/dev/null; sleep 0.05; done";
    let detached = format!("setsid sh -c '{}' > /dev/null 2>&1 &", forge.replace('\'', "'\\''"));
    world.within("ws", &["exec", "--", "sh", "-c", &detached]).run().expect(0);
    let session = world.within("ws", &["exec", "-d", "--", "sh", "-c", forge]).run().expect(0).text();
    let said = world.within("ws", &["verify"]).run().refused(1, "trial::reward");
    assert!(said.said().contains("ending 1 command that"), "{}", said.said());
    assert!(!world.call(&["ps"]).run().text().contains(&session));
    assert!(world.trials().is_empty(), "a failed verification leaves no trial");
    let stolen = fs_err::read_to_string(world.place("ws/stolen")).unwrap_or_default();
    assert_eq!(stolen, "", "the tests are not the agent's to read");
    // A stale reward is nobody's either.
    script(&world, "tests/test.sh", "#!/bin/sh\necho 1 > /logs/verifier/reward.txt\n");
    world.within("ws", &["verify"]).run().expect(0);
    script(&world, "tests/test.sh", "#!/bin/sh\nexit 1\n");
    world.within("ws", &["verify"]).run().refused(1, "trial::reward");
    assert_eq!(world.trials().len(), 1);
    // A verifier that is the same user ends everything first.
    let owner = world.0.owner();
    world.0.write("task/task.toml", format!("[verifier]\nuser = \"{owner}\"\n"));
    let test = "#!/bin/sh\nsleep 0.3; id -u; rm -f /logs/verifier/*; sleep 0.3; count=$(ls /logs/verifier | wc -l); echo $count > /logs/verifier/reward.txt\n";
    script(&world, "tests/test.sh", test);
    let said = world.within("ws", &["verify"]).run().expect(0).text();
    assert!(said.starts_with("Reward: 0"), "{said}");
    let output = world.0.read("ws/.pier/_harbor/verifier/test-stdout.txt");
    assert_eq!(output, format!("{owner}\n"));
}

#[test]
fn tests_that_do_not_end_or_say_nonsense_are_errors() {
    if !can_run() {
        return;
    }
    let world = World::judged("[verifier]\ntimeout_sec = 0.5\n");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let sleep = crate::sandbox::unique_sleep();
    script(
        &world,
        "tests/test.sh",
        &format!("#!/bin/sh\necho 1 > /logs/verifier/reward.txt\nsetsid sleep {sleep} &\nsleep {sleep}\n"),
    );
    let said = world.within("ws", &["verify"]).run().refused(1, "trial::verifier");
    assert!(said.flat().contains("longer than 0.5 seconds"), "{}", said.said());
    assert!(crate::sandbox::host_process(&sleep).is_none(), "nothing of the tests runs on");
    world.0.write("task/task.toml", "");
    for (text, word) in [
        ("echo nan > /logs/verifier/reward.txt", "no finite number"),
        ("echo '{\"reward\": null}' > /logs/verifier/reward.json", "no finite number"),
        ("echo '{}' > /logs/verifier/reward.json", "it names no reward"),
        (": > /logs/verifier/reward.txt", "it is empty"),
        ("ln -s /etc/passwd /logs/verifier/reward.txt", "reward.txt"),
        ("exit 0", "no reward"),
    ] {
        script(&world, "tests/test.sh", &format!("#!/bin/sh\n{text}\n"));
        let said = world.within("ws", &["verify"]).run().refused(1, "trial::reward");
        assert!(said.flat().contains(word), "{text}: {}", said.said());
    }
    assert!(world.trials().is_empty());
    world.0.write("task/task.toml", "[verifier]\nuser = \"nobody-here\"\n");
    let said = world.within("ws", &["verify"]).run().refused(1, "trial::verifier");
    assert!(said.flat().contains("no user `nobody-here`"), "{}", said.said());
    world.0.write("task/task.toml", "[verifier.env]\nKEY = \"${HOST_KEY}\"\n");
    world.within("ws", &["verify"]).run().refused(2, "workspace::variable");
    world.within("ws", &["verify"]).env("HOST_KEY", "x").run().refused(125, "workspace::variable");
    script(&world, "tests/test.sh", "#!/bin/sh\ntest $KEY = x && echo 1 > /logs/verifier/reward.txt\n");
    world.within("ws", &["verify", "--accept"]).env("HOST_KEY", "x").run().expect(0);
}

#[test]
fn a_workspace_without_a_container_is_judged_in_one_of_its_own() {
    if !can_run() {
        return;
    }
    // A name of its own: other tests verify beside this one.
    let world = World::judged("");
    world.call(&["start", "task", "-d", "alone", "--host"]).run().expect(0);
    world.0.write("alone/answer", "42\n");
    let said = world.within("alone", &["verify"]).run().expect(0).text();
    assert!(said.starts_with("Reward: 1\n"), "{said}");
    assert_eq!(fs_err::metadata(world.place("alone/made-by-tests")).unwrap().uid(), world.0.owner());
    script(&world, "tests/test.sh", "#!/bin/sh\nexit 1\n");
    world.within("alone", &["verify"]).run().refused(1, "trial::reward");
    let all = docker(&["ps", "--all", "--format", "{{.Names}}"], b"");
    assert!(!all.contains("pier-verify-alone"), "{all}");
    let count = || world.place("alone/.pier/trials").read_dir().unwrap().count();
    assert_eq!(count(), 1, "a failed verification leaves no trial");
    script(&world, "tests/test.sh", TEST);
    let own = world.place("own");
    world.within("alone", &["verify", "--trial-dir", own.to_str().unwrap()]).run().expect(0);
    assert!(own.join("result.json").is_file() && count() == 1);
    assert!(fs_err::symlink_metadata(world.place("alone/.task/instruction.md")).unwrap().is_symlink());
    world.within("alone", &["verify", "--session", "x"]).run().refused(2, "trial::usage");
}

#[test]
fn what_an_agent_did_becomes_a_trial_and_an_archive() {
    if !can_run() {
        return;
    }
    let world = World::judged("");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    world.within("ws", &["traces"]).run().expect(0);
    let none = world.within("ws", &["traces", "-o", "x.tar.gz"]).run().refused(1, "trial::none");
    assert!(!world.place("ws/x.tar.gz").exists(), "{}", none.said());
    world.within("ws", &["capture"]).run().refused(2, "trial::usage");
    world.within("ws", &["capture", "--agent", "codex"]).run().refused(1, "trial::session");
    world.within("ws", &["capture", "--agent", "qwen-code"]).run().refused(2, "trial::usage");
    // As the older tool leaves it.
    let exec = "ws/.pier/_harbor/agent/exec";
    world.0.write(format!("{exec}/2026-01-01_00-00-00-aaaaaa/sessions/projects/-work/s.jsonl"), "{}\n");
    fs_err::create_dir_all(world.place(&format!("{exec}/2026-01-02_00-00-00-bbbbbb/sessions"))).unwrap();
    world.0.write(format!("{exec}/2026-01-03_00-00-00-cccccc/codex.txt"), "said\n");
    world.within("ws", &["capture", "--agent", "claude-code"]).run().expect(0);
    let [trial] = world.trials().try_into().unwrap();
    assert_eq!(fs_err::read_to_string(trial.join("agent/sessions/projects/-work/s.jsonl")).unwrap(), "{}\n");
    let result = json(trial.join("result.json"));
    assert_eq!(result["verifier_result"], Value::Null);
    assert_eq!(json(trial.join("verifier/reward.json")), serde_json::json!({}));
    world
        .within("ws", &["capture", "--agent", "codex", "--session", "2026-01-01_00-00-00-aaaaaa"])
        .run()
        .expect(0);
    world
        .within("ws", &["capture", "--agent", "codex", "--session", "2026-01-02_00-00-00-bbbbbb"])
        .run()
        .refused(1, "trial::session");
    world
        .within("ws", &["capture", "--agent", "codex", "--session-dir", "/etc"])
        .run()
        .refused(1, "trial::session");
    world
        .within("ws", &["capture", "--agent", "codex", "--session", "nothing"])
        .run()
        .refused(2, "trial::usage");
    world
        .within("ws", &["capture", "--agent", "codex", "--session", "../exec"])
        .run()
        .refused(2, "trial::usage");
    world.within("ws", &["capture", "--session-dir", "/etc"]).run().refused(2, "trial::usage");
    let both = ["capture", "--agent", "codex", "--session", "x", "--session-dir", "/etc"];
    world.within("ws", &both).run().refused(2, "trial::usage");
    let inside = [
        "exec",
        "--",
        "sh",
        "-c",
        "mkdir -p ~/it && echo inside > ~/it/log.jsonl && ln -s /etc/passwd ~/it/link",
    ];
    world.within("ws", &inside).run().expect(0);
    // One entry that cannot be read costs that entry.
    let closed =
        ["exec", "--", "sh", "-c", "cd ~/it; echo s > secret; mkdir closed; chmod 000 secret closed"];
    world.within("ws", &closed).run().expect(0);
    let named = ["capture", "--agent", "pi", "--session-dir", "/home/pier/it"];
    let said = world.within("ws", &named).run().expect(0);
    let left = ["`secret` (Permission denied)", "`closed` (Permission denied)"];
    assert!(left.iter().all(|left| said.flat().contains(left)), "{}", said.said());
    let trial = world.trials().pop().unwrap();
    assert_eq!(fs_err::read_to_string(trial.join("agent/log.jsonl")).unwrap(), "inside\n");
    world
        .within("ws", &["capture", "--agent", "pi", "--session-dir", "/absent"])
        .run()
        .refused(2, "trial::usage");
    assert_eq!(world.trials().len(), 3);
    // Named or found, in the container or here, it is the same trial.
    let log = "d=~/.claude/projects/-named; mkdir -p $d && echo inside > $d/1.jsonl";
    world.within("ws", &["exec", "--", "sh", "-c", log]).run().expect(0);
    let claude = |directory| ["capture", "--agent", "claude-code", "--session-dir", directory];
    world.within("ws", &claude("/home/pier/.claude/projects/-named")).run().expect(0);
    let newest = world.trials().pop().unwrap();
    assert_eq!(
        fs_err::read_to_string(newest.join("agent/sessions/projects/-named/1.jsonl")).unwrap(),
        "inside\n"
    );
    assert!(!newest.join("session").exists() && !newest.join("agent_session").exists());
    fs_err::remove_dir_all(newest).unwrap();

    std::os::unix::fs::symlink("/etc/passwd", trial.join("agent/link")).unwrap();
    fs_err::write(
        trial.join("agent/said.jsonl"),
        "{\"env\":\"hunter2-of-the-caller ghp_0123456789abcdefghij\"}\n",
    )
    .unwrap();
    let export = |more: &[&str]| {
        let words =
            ["traces", "--all", "-o", "../all.tar.gz"].iter().chain(more).copied().collect::<Vec<_>>();
        let call = world.within("ws", &words).env("DB_PASSWORD", "hunter2-of-the-caller").run().expect(0);
        assert_eq!(call.text(), "Exported 3 trials");
        let file = fs_err::File::open(world.place("all.tar.gz")).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let mut found = std::collections::BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = Vec::new();
            entry.read_to_end(&mut text).unwrap();
            found.insert(entry.path().unwrap().display().to_string(), text);
        }
        let name = trial.file_name().unwrap().to_str().unwrap().to_owned();
        let manifest: Value = serde_json::from_slice(&found[&format!("{name}/manifest.json")]).unwrap();
        let said = String::from_utf8(found[&format!("{name}/agent/said.jsonl")].clone()).unwrap();
        (manifest, said)
    };
    let (manifest, said) = export(&[]);
    assert_eq!(said, "{\"env\":\"[REDACTED] [REDACTED]\"}\n");
    let of = |manifest: &Value| {
        let files = manifest["files"].as_array().unwrap().clone();
        files.into_iter().find(|file| file["path"] == "agent/said.jsonl").unwrap()
    };
    assert_eq!((&manifest["redacted"], &of(&manifest)["redactions"]), (&true.into(), &2.into()));
    assert_eq!(of(&manifest)["bytes"], said.len());
    assert_eq!(manifest["left_out"][0]["path"], "agent/link");
    let (manifest, said) = export(&["--unredacted"]);
    assert!(said.contains("hunter2-of-the-caller") && manifest["redacted"] == false, "{said}");
    let mut bytes = Vec::new();
    let file = fs_err::File::open(world.place("all.tar.gz")).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    let name = trial.file_name().unwrap().to_str().unwrap();
    assert!(names.contains(&format!("{name}/agent/log.jsonl")), "{names:?}");
    assert!(!names.iter().any(|name| name.ends_with("link")), "{names:?}");
    let one = world.within("ws", &["traces", name, "-o", "../one.tar.gz"]).run().expect(0).text();
    assert_eq!(one, "Exported 1 trial");
    world.within("ws", &["traces", "..", "-o", "x.tar.gz"]).run().refused(1, "trial::none");
    world.within("ws", &["traces", name]).run().expect(2);
    let listed = world.within("ws", &["traces", "--json"]).run().expect(0).text();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["agent"]), (3, &"claude-code".into()));
}

#[test]
fn a_directory_that_is_no_workspace_has_trials_of_its_own() {
    let world = World::new();
    world.0.write("plain/file", "");
    let home = world.0.home();
    let slug: String = world
        .place("plain")
        .canonicalize()
        .unwrap()
        .to_str()
        .unwrap()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect();
    world.within("plain", &["capture"]).run().refused(2, "trial::usage");
    let log = home.join(".claude/projects").join(&slug).join("one.jsonl");
    fs_err::create_dir_all(log.parent().unwrap()).unwrap();
    fs_err::write(&log, "{}\n").unwrap();
    world.within("plain", &["capture"]).run().expect(0);
    let trials = fs_err::read_dir(world.place("plain/.pier/trials")).unwrap().next().unwrap().unwrap().path();
    assert!(trials.join("agent/sessions/projects").join(&slug).join("one.jsonl").is_file());
    world.within("plain", &["capture", "--session", "x"]).run().refused(2, "trial::usage");
    world.within("plain", &["capture", "--agent", "codex"]).run().refused(2, "trial::usage");
    let named = |place| ["capture", "--agent", "codex", "--session-dir", place];
    world.within("plain", &named(".")).run().refused(1, "trial::files");
    world.0.write("log/file.jsonl", "");
    let before = world.place("plain/.pier/trials").read_dir().unwrap().count();
    let said = world.within("plain", &named("../log")).run().expect(0).text();
    let trial = said.trim_start_matches("trial: ");
    assert_eq!(world.0.read(format!("{trial}/agent/sessions/log/file.jsonl")), "");
    assert_eq!(world.place("plain/.pier/trials").read_dir().unwrap().count(), before + 1);
    // Nothing in there is a log, and nothing becomes a trial.
    world.0.write("other/passwd", "root");
    let none = world.within("plain", &named("../other")).run().refused(1, "trial::session");
    assert!(none.flat().contains("could not extract"), "{}", none.said());
    assert_eq!(world.place("plain/.pier/trials").read_dir().unwrap().count(), before + 1);
    assert!(!world.place("plain/.pier/session.json").exists());
}

#[test]
fn logs_that_cannot_be_copied_are_left_out_of_a_trial_by_name() {
    let world = World::new();
    world.0.write("plain/file", "");
    world.0.write("log/run.jsonl", "{}\n");
    world.0.write("log/closed/file", "");
    world.0.write("log/secret", "");
    world.0.write(format!("log/{}file", "d/".repeat(70)), "");
    fs_err::File::create(world.place("log/large")).unwrap().set_len(5 << 30).unwrap();
    fs_err::File::create(world.place("log/sparse")).unwrap().set_len(3 << 30).unwrap();
    world.0.give_away();
    for name in ["log/closed", "log/secret"] {
        let none = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        fs_err::set_permissions(world.place(name), none).unwrap();
    }
    let named = ["capture", "--agent", "codex", "--session-dir", "../log"];
    let said = world.within("plain", &named).run().expect(0);
    let (flat, trial) = (said.flat(), said.text());
    assert!(flat.contains("not all logs of the agent are in the trial"), "{flat}");
    for part in [
        "`closed` (Permission denied",
        "`secret` (Permission denied",
        "`large` (too large",
        "(more than 64 directories",
    ] {
        assert!(flat.contains(part), "{part}: {flat}");
    }
    let logs = PathBuf::from(trial.trim_start_matches("trial: ")).join("agent/sessions/log");
    assert_eq!(fs_err::read_to_string(logs.join("run.jsonl")).unwrap(), "{}\n");
    let sparse = fs_err::metadata(logs.join("sparse")).unwrap();
    assert!(sparse.len() == 3 << 30 && sparse.blocks() < 1000, "{}", sparse.blocks());
    assert!(!logs.join("large").exists());
}

#[test]
fn what_the_agent_left_is_over_before_the_tests_and_after_them() {
    if !can_run() {
        return;
    }
    let world = World::judged("");
    // What the tests run of the agent's is root for that time, and leaves a process and a program that would go on being it.
    let test = "#!/bin/sh\nsh ./solution\npgrep -f service > /dev/null && echo served || echo alone\necho 1 > /logs/verifier/reward.txt\n";
    script(
        &world,
        "tests/test.sh",
        &test.replace("pgrep -f service > /dev/null", "grep -qs service /proc/[0-9]*/cmdline"),
    );
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let sleep = crate::sandbox::unique_sleep();
    let solution = format!(
        "setsid sleep {sleep} &\ncp /bin/sh ./shell; chmod 4755 shell; cp shell /logs/artifacts/shell\nchmod 4755 /logs/artifacts/shell\n"
    );
    world.0.write("ws/solution", solution);
    let service = "setsid sh -c 'exec 3>&-; while :; do sleep 1; done; : service' > /dev/null 2>&1 &";
    world.within("ws", &["exec", "--", "sh", "-c", service]).run().expect(0);
    let output = || world.0.read("ws/.pier/_harbor/verifier/test-stdout.txt");
    world.within("ws", &["verify", "--keep-running"]).run().expect(0);
    assert_eq!(output(), "served\n");
    assert!(crate::sandbox::host_process(&sleep).is_none(), "root's own is over in any case");
    for path in ["ws/shell", "ws/.pier/_harbor/artifacts/shell"] {
        let meta = fs_err::metadata(world.place(path)).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o6000), (world.0.owner(), 0), "{path}");
    }
    world.within("ws", &["verify"]).run().expect(0);
    assert_eq!(output(), "alone\n");
    assert_eq!(world.within("ws", &["exec", "echo", "still there"]).run().expect(0).text(), "still there");
}

#[test]
fn no_link_of_an_agent_leads_a_trial_out_of_its_records() {
    if !can_run() {
        return;
    }
    let world = World::judged("");
    world.0.write("secret/codex.txt", "of the host");
    world.0.write("secret/sessions/x.jsonl", "of the host");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let exec = world.place("ws/.pier/_harbor/agent/exec");
    fs_err::create_dir(&exec).unwrap();
    std::os::unix::fs::symlink(world.place("secret"), exec.join("9999-12-31_23-59-59-x")).unwrap();
    world.within("ws", &["capture", "--agent", "codex"]).run().refused(1, "trial::session");
    let named = ["capture", "--agent", "codex", "--session", "9999-12-31_23-59-59-x"];
    world.within("ws", &named).run().refused(2, "trial::usage");
    // Artifacts that cannot be copied cost nobody the result.
    let artifacts = world.place("ws/.pier/_harbor/artifacts");
    fs_err::remove_dir_all(&artifacts).unwrap();
    std::os::unix::fs::symlink(world.place("secret"), &artifacts).unwrap();
    let said = world.within("ws", &["verify", "--agent", "codex"]).run().expect(0);
    assert!(said.said().contains("not all artifacts"), "{}", said.said());
    let grep = std::process::Command::new("grep")
        .args(["-rl", "of the host"])
        .arg(world.place("ws/.pier/trials"))
        .output();
    assert_eq!(String::from_utf8(grep.unwrap().stdout).unwrap(), "");
    // Nor does a workspace that was planted in one.
    let planted = r#"{ "mode": "container", "task_dir": "/nowhere", "agents": ["codex"] }"#;
    world.0.write("ws/sub/.pier/session.json", planted);
    world.within("ws/sub", &["capture"]).run().refused(125, "workspace::changed");
}

#[test]
fn what_runs_from_process_to_process_writes_no_reward() {
    if !can_run() {
        return;
    }
    let world = World::of_task("");
    let uid = world.0.owner();
    // The tests have the agent's own number.
    let user = format!("FROM {DEBIAN}\nRUN useradd --uid {uid} --non-unique dev\nUSER dev\nWORKDIR /work\n");
    world.0.write("task/environment/Dockerfile", user);
    script(&world, "tests/test.sh", "#!/bin/sh\nsleep 0.3\necho 0 > /logs/verifier/reward.txt\nsleep 0.3\n");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let hop = "perl -e 'while (1) { fork and exit; if (-e \"/logs/verifier/reward.txt\" && \
        open(F, \">\", \"/logs/verifier/reward.txt\")) { print F 1; close F } }' </dev/null >/dev/null 2>&1 &";
    for _ in 0..3 {
        for _ in 0..3 {
            world.within("ws", &["exec", "--", "sh", "-c", hop]).run().expect(0);
        }
        let said = world.within("ws", &["verify", "--json"]).run();
        let text = said.text();
        assert!(!text.contains("\"reward\": 1"), "{text}");
        assert!(said.code() == Some(0), "{}", said.said());
    }
}

#[test]
fn the_places_of_the_tests_are_nobodys_workspace() {
    if !can_run() {
        return;
    }
    for at in ["/tests", "/tests/app", "/logs"] {
        let world = World::of_task(&format!("[environment]\nworkdir = \"{at}\"\n"));
        world.0.write("ws/precious", "");
        world.call(&["start", "task", "-d", "ws", "--force"]).run().refused(2, "workspace::usage");
        assert!(world.place("ws/precious").exists());
    }
    let world = World::of_task("");
    world.0.write("mine/precious", "");
    let mounts =
        format!("[{{\"source\": \"{}\", \"target\": \"/tests/mine\"}}]", world.place("mine").display());
    world.call(&["start", "task", "-d", "ws", "--mounts-json", &mounts]).run().refused(2, "workspace::usage");
    // What no number is less than is no least reward.
    let world = World::of_task("");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    for least in ["NaN", "inf", "x"] {
        world.within("ws", &["verify", "--min-reward", least]).run().expect(2);
    }
}

#[test]
fn a_call_that_was_no_session_is_not_taken_for_one() {
    if !can_run() {
        return;
    }
    let world = World::of_task("");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let place = "ws/.pier/_harbor/agent/exec";
    let (session, other) = ("2026-01-02__03-04-05", "2026-01-02__03-04-06");
    world.0.write(format!("{place}/{session}/claude-code.txt"), "worked\n");
    world.0.write(format!("{place}/{session}/sessions/projects/x/one.jsonl"), "{}\n");
    world.0.write(format!("{place}/{other}/claude-code.txt"), "2.1.0\n");
    world.0.give_away();
    let said = world.within("ws", &["capture", "--agent", "claude-code"]).run().expect(0);
    assert!(said.said().contains(&format!("the session is {session}")), "{}", said.said());
    // Named, it is taken.
    let words = ["capture", "--agent", "claude-code", "--session", other];
    assert!(!world.within("ws", &words).run().said().contains(session));
}

#[test]
fn a_killed_verification_leaves_no_trial() {
    if !can_run() {
        return;
    }
    let world = World::judged("");
    script(&world, "tests/test.sh", "#!/bin/sh\necho 1 > /logs/verifier/reward.txt\n");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    world.within("ws", &["verify"]).run().expect(0);
    script(&world, "tests/test.sh", "#!/bin/sh\ntouch /work/begun; sleep 60\n");
    let mut running = world.within("ws", &["verify"]).start();
    let begun = world.place("ws/begun");
    assert!(crate::sandbox::within(std::time::Duration::from_secs(20), || begun.exists()));
    let listed = world.within("ws", &["traces"]).run().expect(0).text();
    assert_eq!(listed.lines().filter(|line| line.ends_with("  unfinished")).count(), 1, "{listed}");
    running.kill().unwrap();
    running.wait().unwrap();
    let listed = world.within("ws", &["traces", "--json"]).run().expect(0).text();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed[0]["unfinished"], &listed[1]["unfinished"]), (&false.into(), &true.into()));
    let killed = listed[1]["trial"].as_str().unwrap();
    for words in [&["traces", "--all", "-o", "out.tar.gz"][..], &["traces", "-o", "out.tar.gz"]] {
        let said = world.within("ws", words).run().expect(0);
        assert_eq!(said.text(), "Exported 1 trial");
        assert!(said.flat().contains(&format!("has not come to its end: `{killed}`")), "{}", said.said());
    }
    let said = world.within("ws", &["traces", killed, "-o", "out.tar.gz"]).run().refused(1, "trial::none");
    assert!(said.flat().contains("has not come to its end"), "{}", said.said());
    script(&world, "tests/test.sh", "#!/bin/sh\necho 1 > /logs/verifier/reward.txt\n");
    world.within("ws", &["verify"]).run().expect(0);
    let listed = world.within("ws", &["traces"]).run().expect(0).text();
    assert!(listed.lines().count() == 2 && !listed.contains("unfinished"), "{listed}");
}

#[test]
fn tests_that_run_as_root_have_the_home_and_the_shell_of_the_image() {
    if !can_run() {
        return;
    }
    let world = World::new();
    task(&world, "");
    let test = "#!/bin/sh\nset -e\necho \"home: $HOME $(grep '^root:' /etc/passwd)\"\n[ -d \"$HOME\" ]\ntouch ~root/made\nsu - root -c true\n\
        echo 1 > /logs/verifier/reward.txt\n";
    script(&world, "tests/test.sh", test);
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let said = world.within("ws", &["verify"]).run();
    let trial = world.trials().pop().unwrap();
    let output = fs_err::read_to_string(trial.join("verifier/test-stdout.txt")).unwrap();
    assert!(said.text().starts_with("Reward: 1"), "{} {} {output}", said.text(), said.said());
    assert!(output.contains("home: /root root:x:0:0:root:/root:/bin/bash"), "{output}");
}
