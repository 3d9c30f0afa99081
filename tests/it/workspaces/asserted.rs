//! What the tests of the older tool assert, where no other test here does; `tests/differences.md` has all of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;

use super::World;
use super::tasks::{script, task};
use crate::docker::agents::{VERSION, install};
use crate::docker::{BUSYBOX, DEBIAN, can_run};
use crate::sandbox::{Output, make_executable};

/// The trial that a call has told of as JSON: its directory, and what its `result.json` says.
fn trial(said: &Output) -> (PathBuf, Value) {
    let told: Value = serde_json::from_str(&said.text()).unwrap();
    let path = PathBuf::from(told["trial"].as_str().unwrap());
    let result = fs_err::read(path.join("result.json")).unwrap();
    (path, serde_json::from_slice(&result).unwrap())
}

#[test]
fn no_workspace_one_and_several_are_told_apart() {
    let world = World::new();
    task(&world, "");
    let alone = |words: &[&str]| world.call(words).env("DOCKER_HOST", "unix:///nonexistent.sock");
    for words in [&["verify"][..], &["stop"], &["skills"]] {
        let said = alone(words).run().refused(1, "workspace::none");
        assert!(said.flat().contains("none is active"), "{}", said.said());
    }
    assert_eq!(alone(&["list"]).run().expect(0).text(), "No active workspaces.");
    let outside = alone(&["start", "--agent", "codex"]).run().refused(2, "workspace::usage");
    assert!(outside.flat().contains("there is no workspace here"), "{}", outside.said());
    let bare = alone(&["start"]).run().refused(2, "workspace::usage");
    assert!(bare.flat().contains("task path"), "{}", bare.said());
    for (words, named) in [(&["stop", "--delete"][..], "--delete"), (&["exec"], "<CMD>")] {
        let said = alone(words).run().expect(2);
        assert!(said.said().contains(named), "{}", said.said());
    }
    for name in ["one", "two"] {
        alone(&["start", "task", "-d", name, "--host"]).run().expect(0);
    }
    let several = alone(&["verify"]).run().refused(1, "workspace::none");
    assert!(several.flat().contains("several are active"), "{}", several.said());
    fs_err::create_dir(world.place("one/below")).unwrap();
    let below = alone(&["stop"]).cwd(world.place("one/below")).run().refused(1, "workspace::usage");
    assert!(below.flat().contains("nothing to stop"), "{}", below.said());
    // What is gone is forgotten, and what is there by another path as well is one.
    std::os::unix::fs::symlink(world.place("two"), world.place("alias")).unwrap();
    let index = world.0.home().join(".pier/index.json");
    let [one, two, alias] = ["one", "two", "alias"].map(|name| world.place(name));
    fs_err::write(&index, serde_json::json!([one, two, alias]).to_string()).unwrap();
    fs_err::remove_dir_all(one).unwrap();
    let listed = alone(&["list", "--json"]).run().expect(0).text();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let two = two.canonicalize().unwrap();
    assert_eq!(listed[0]["workspace"], two.to_str().unwrap());
    assert_eq!(fs_err::read_to_string(&index).unwrap(), format!("[\n  \"{}\"\n]\n", two.display()));
    fs_err::remove_dir_all(two).unwrap();
    assert_eq!(alone(&["list"]).run().expect(0).text(), "No active workspaces.");
    assert_eq!(fs_err::read_to_string(&index).unwrap(), "[]\n");
}

#[test]
fn a_directory_with_anything_in_it_needs_force() {
    let world = World::new();
    task(&world, "");
    for file in [".git/HEAD", "file"] {
        world.0.write(format!("ws/{file}"), "mine");
        let start = |words: &[&str]| {
            let words = [&["start", "task", "-d", "ws", "--host"], words].concat();
            world.call(&words).env("DOCKER_HOST", "unix:///nonexistent.sock").run()
        };
        let refused = start(&[]).refused(2, "workspace::usage");
        assert!(refused.flat().contains("is not empty"), "{}", refused.said());
        assert!(!world.place("ws/.pier").exists());
        start(&["--force"]).expect(0);
        assert_eq!(world.0.read(format!("ws/{file}")), "mine");
        fs_err::remove_dir_all(world.place("ws")).unwrap();
    }
}

#[test]
fn sessions_of_a_directory_are_found_by_its_name() {
    let world = World::new();
    task(&world, "");
    // One that is active elsewhere is never taken.
    let start = world.call(&["start", "task", "-d", "other", "--host"]);
    start.env("DOCKER_HOST", "unix:///nonexistent.sock").run().expect(0);
    world.0.write("my.pro_ject/file", "");
    let root = world.place("my.pro_ject").canonicalize().unwrap();
    let slug = root.to_str().unwrap().replace(['/', '.', '_'], "-");
    let logs = world.0.home().join(".claude/projects").join(slug);
    let none = |why: &str| {
        let said = world.within("my.pro_ject", &["capture"]).run().refused(2, "trial::usage");
        assert!(said.flat().contains("--session-dir"), "{why}: {}", said.said());
        assert!(!root.join(".pier").exists(), "{why}");
    };
    none("there is no directory");
    fs_err::create_dir_all(&logs).unwrap();
    fs_err::write(logs.join("notes.txt"), "").unwrap();
    world.0.give_away();
    none("no log is in it");
    fs_err::write(logs.join("one.jsonl"), "{}\n").unwrap();
    world.0.give_away();
    let said = world.within("my.pro_ject", &["capture", "--json"]).run().expect(0);
    let (path, result) = trial(&said);
    assert!(path.starts_with(root.join(".pier/trials")), "{}", path.display());
    assert!(!world.place("other/.pier/trials").exists());
    // It has the form that every trial has, though nothing says which task it is of.
    assert_eq!(result["agent_info"]["name"], "claude-code");
    assert_eq!((&result["task_checksum"], &result["verifier_result"]), (&"".into(), &Value::Null));
    let config: Value =
        serde_json::from_str(&fs_err::read_to_string(path.join("config.json")).unwrap()).unwrap();
    assert_eq!((&result["config"], &config["agent"]["name"]), (&config, &"claude-code".into()));
    for name in ["agent", "verifier", "artifacts"] {
        assert!(path.join(name).is_dir(), "{name}");
    }
}

#[test]
fn what_no_reader_knows_is_kept_as_it_is() {
    let world = World::new();
    let (recorded, exported) = ("\x1b[1mjunie\x1b[0m\r\nsaid\n", "{\"source\":\"cli\"}\n");
    world.0.write("plain/file", "");
    for (agent, file, text) in
        [("junie", "junie.txt", recorded), ("trae-agent", "trae-agent.jsonl", exported)]
    {
        world.0.write(format!("log-{agent}/{file}"), text);
        let logs = format!("../log-{agent}");
        let words = ["capture", "--json", "--agent", agent, "--session-dir", &logs];
        let said = world.within("plain", &words).run().expect(0);
        assert!(said.flat().contains(&format!("does not read logs of {agent}")), "{}", said.said());
        let (path, result) = trial(&said);
        assert_eq!(fs_err::read_to_string(path.join("agent").join(file)).unwrap(), text);
        assert!(!path.join("agent/trajectory.json").exists());
        assert_eq!(result["agent_info"]["name"], agent);
        assert_eq!(result["agent_result"], Value::Null);
    }
}

#[test]
fn the_agent_of_a_verification_is_the_only_one_or_the_named_one() {
    if !can_run() {
        return;
    }
    let world = World::new();
    task(&world, "");
    let test = "#!/bin/sh\ntouch /work/tested\necho '{\"reward\": 0.5, \"style\": 2}' > /logs/verifier/reward.json\n";
    script(&world, "tests/test.sh", test);
    for (agent, package) in [("claude-code", "@anthropic-ai/claude-code"), ("codex", "@openai/codex")] {
        install(&world.0, agent, package, b"#!/bin/sh\nexit 0\n");
    }
    world.call(&["start", "task", "-d", "ws", "--agent", "claude-code"]).run().expect(0);
    let session = |name: &str, said: &str| {
        let place = format!("ws/.pier/_harbor/agent/exec/{name}");
        world.0.write(format!("{place}/claude-code.txt"), said);
        world.0.write(format!("{place}/sessions/projects/-work/{name}.jsonl"), "{}\n");
    };
    let (older, newer) = ("2026-01-01_00-00-00-aaaaaa", "2026-01-02_00-00-00-bbbbbb");
    session(older, "older\n");
    session(newer, "newer\n");
    let verify = |words: &[&str]| world.within("ws", &[&["verify", "--json"], words].concat()).run();
    let of_claude = |said: &Output| {
        let (path, result) = trial(said);
        assert_eq!(result["agent_info"]["name"], "claude-code");
        let rewards = serde_json::json!({ "reward": 0.5, "style": 2 });
        assert_eq!(result["verifier_result"]["rewards"], rewards);
        let own = fs_err::read_to_string(path.join("verifier/reward.json")).unwrap();
        assert_eq!(own, "{\"reward\": 0.5, \"style\": 2}\n", "as the tests wrote it");
        fs_err::read_to_string(path.join("agent/claude-code.txt")).unwrap()
    };
    let said = verify(&[]).expect(0);
    assert!(said.flat().contains("the agent is that of the workspace: claude-code"), "{}", said.said());
    assert_eq!(of_claude(&said), "newer\n");
    assert_eq!(of_claude(&verify(&["--session", older]).expect(0)), "older\n");
    let said = verify(&["-a", "codex"]).expect(0);
    assert!(!said.said().contains("that of the workspace"), "{}", said.said());
    assert_eq!(trial(&said).1["agent_info"]["name"], "codex");
    let told: Value = serde_json::from_str(&said.text()).unwrap();
    assert_eq!(told["session"], false, "nothing of one of codex is there");
    // Of the container.
    let copy = "mkdir ~/logs && echo inside > ~/logs/codex.txt";
    world.within("ws", &["exec", "--", "sh", "-c", copy]).run().expect(0);
    let (path, _) = trial(&verify(&["-a", "codex", "--session-dir", "/home/pier/logs"]).expect(0));
    assert_eq!(fs_err::read_to_string(path.join("agent/codex.txt")).unwrap(), "inside\n");
    // What makes no sense is refused before any test runs, and leaves nothing.
    fs_err::remove_file(world.place("ws/tested")).unwrap();
    let trials = || fs_err::read_dir(world.place("ws/.pier/trials")).unwrap().count();
    let before = trials();
    for (words, why) in [
        (&["--session", "nothing"][..], "is not found"),
        (&["--session", "../exec"], "no name of a session"),
        (&["-a", "codex", "--session", older, "--session-dir", "/x"], "mutually exclusive"),
        (&["--session-dir", "/home/pier/logs"], "needs `--agent`"),
        (&["-a", "qwen-code"], "Unknown agent"),
    ] {
        let said = verify(words).refused(2, "trial::usage");
        assert!(said.flat().contains(why), "{words:?}: {}", said.said());
    }
    world.within("ws", &["start", "--agent", &format!("codex@{VERSION}")]).run().expect(0);
    let several = verify(&[]).refused(2, "trial::usage");
    assert!(several.flat().contains("multiple agents are registered"), "{}", several.said());
    assert!(!world.place("ws/tested").exists() && trials() == before);
}

#[test]
fn a_home_that_the_user_names_for_an_agent_is_used() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let program = "#!/bin/sh\necho \"${CLAUDE_CONFIG_DIR-unset} ${CODEX_HOME-unset}\"\n\
        logs=\"${CLAUDE_CONFIG_DIR:-$HOME/.claude}/projects/-app\"\nmkdir -p \"$logs\" && echo '{}' > \"$logs/one.jsonl\"\n";
    install(&world.0, "claude-code", "@anthropic-ai/claude-code", program.as_bytes());
    world.start("ws", DEBIAN, &["--agent", "claude-code"]).run().expect(0);
    let run = || world.within("ws", &["exec", "claude"]).run().expect(0).text();
    assert_eq!(run(), "unset unset");
    world.within("ws", &["rm", "--force"]).run().expect(0);
    fs_err::remove_dir_all(world.place("ws/.pier/_harbor/agent/exec")).unwrap();
    let homes = ["-e", "CLAUDE_CONFIG_DIR=/app/own", "-e", "CODEX_HOME=/app/codex"];
    world.start("ws", DEBIAN, &homes).run().expect(0);
    assert_eq!(run(), "/app/own /app/codex");
    // Its logs are where its user has put them, which is told, and are taken from there.
    let recorded = world.within("ws", &["capture"]).run().expect(0);
    assert!(
        recorded.flat().contains("`--session-dir DIR --agent claude-code` takes them"),
        "{}",
        recorded.said()
    );
    let words = ["capture", "--json", "--session-dir", "/app/own/projects/-app", "--agent", "claude-code"];
    let (path, _) = trial(&world.within("ws", &words).run().expect(0));
    let log = path.join("agent/sessions/projects/-app/one.jsonl");
    assert_eq!(fs_err::read_to_string(log).unwrap(), "{}\n");
}

#[test]
fn the_task_of_an_image_is_written_once() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", DEBIAN, &[]).run().expect(0);
    let own = |name: &str| format!("ws/.pier/pier-task-free/{name}");
    let dockerfile = |image: &str| format!("FROM {image}\nWORKDIR /app\n");
    let session = world.session("ws");
    let place = world.place("ws").canonicalize().unwrap().join(".pier/pier-task-free");
    assert_eq!((&session["image"], &session["task_dir"]), (&DEBIAN.into(), &place.to_str().unwrap().into()));
    assert_eq!(world.0.read(own("environment/Dockerfile")), dockerfile(DEBIAN));
    assert_eq!(world.0.read(own("instruction.md")), "");
    let toml = world.0.read(own("task.toml"));
    assert!(["\"pier\"", "[environment]", "[verifier]", "[agent]"].iter().all(|part| toml.contains(part)));
    let mode = fs_err::metadata(world.place(&own("tests/test.sh"))).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    // What a person has made of it stays; the image is the one that counts.
    world.0.write(own("task.toml"), "# mine\n");
    world.within("ws", &["stop"]).run().expect(0);
    world.start("ws", BUSYBOX, &[]).run().expect(0);
    assert_eq!(world.0.read(own("task.toml")), "# mine\n");
    assert_eq!(world.0.read(own("environment/Dockerfile")), dockerfile(BUSYBOX));
    let said = world.within("ws", &["verify"]).run().refused(2, "trial::usage");
    assert!(said.flat().contains("has no task"), "{}", said.said());
}

#[test]
fn what_is_copied_in_belongs_to_who_works_there() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.0.write("ws/.git/config", "[core]\n");
    world.start("ws", DEBIAN, &["--no-mount", "--force"]).run().expect(0);
    // git takes a repository for its own by the owner of these: nothing has to be said in its settings.
    let look = "stat -c %u . .git .git/config; id -u; test -e ~/.gitconfig || echo none";
    let said = world.within("ws", &["exec", "--", "sh", "-c", look]).run().expect(0).text();
    let owner = world.0.owner();
    assert_eq!(said, format!("{owner}\n{owner}\n{owner}\n{owner}\nnone"));
}

#[test]
fn what_other_agents_write_is_kept_where_their_readers_look() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", DEBIAN, &[]).run().expect(0);
    let gemini = "#!/bin/sh\nd=~/.gemini/tmp/x/chats; mkdir -p $d; echo '{}' > $d/session-1.json; exit 3\n";
    for (name, text) in [("gemini", gemini), ("hermes", "#!/bin/sh\nprintf '\\033[1mhermes\\033[0m\\n'\n")] {
        world.0.write(format!("ws/{name}"), text);
        make_executable(&world.place(&format!("ws/{name}")));
    }
    // Also of one that failed.
    world.within("ws", &["exec", "./gemini"]).run().expect(3);
    world.within("ws", &["exec", "./hermes"]).run().expect(0);
    let [gemini, hermes] = world.runs().try_into().unwrap();
    let log = fs_err::read_to_string(gemini.join("gemini-cli.trajectory.json")).unwrap();
    assert_eq!(log, "{}\n");
    assert!(gemini.join("gemini-cli.txt").is_file());
    assert_eq!(fs_err::read_to_string(hermes.join("hermes.txt")).unwrap(), "\x1b[1mhermes\x1b[0m\n");
    assert_eq!(fs_err::read_dir(&hermes).unwrap().count(), 1);
}
