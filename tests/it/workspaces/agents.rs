//! Agents in workspaces. Those here are scripts that say what they were given; `network/agents.rs` has a real one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::World;
use crate::agents::{reached_the_registry, with_registry};
use crate::docker::agents::{VERSION, install};
use crate::docker::{BUSYBOX, DEBIAN, can_run};
use crate::model_server::{ModelServer, Script};
use crate::sandbox::within;

/// Says its words, and writes a log as Claude Code does.
const CLAUDE: &str = r#"#!/bin/sh
echo "claude $* telemetry=$DISABLE_TELEMETRY"
echo "to the other" >&2
mkdir -p ~/.claude/projects/-app
echo '{"said":"'"$*"'"}' >> ~/.claude/projects/-app/"${SESSION:-one}".jsonl
test -t 1 && echo "a terminal"
exit "${CODE:-0}"
"#;

impl World {
    fn with_claude() -> Self {
        let world = World::new();
        install(&world.0, "claude-code", "@anthropic-ai/claude-code", CLAUDE.as_bytes());
        world
    }

    /// The directories of the runs of agents, the oldest first.
    pub fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs_err::read_dir(self.place("ws/.pier/_harbor/agent/exec")) else {
            return Vec::new();
        };
        let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        all.sort_by_key(|path| fs_err::metadata(path).unwrap().modified().unwrap());
        all
    }
}

fn text(path: PathBuf) -> String {
    fs_err::read_to_string(path).unwrap()
}

#[test]
fn an_agent_is_there_by_its_name_and_what_it_does_is_kept() {
    if !can_run() {
        return;
    }
    let world = World::with_claude();
    let said =
        world.start("ws", DEBIAN, &["--agent", &format!("claude-code@{VERSION}")]).run().expect(0).text();
    assert!(said.contains("pier exec claude"), "{said}");
    assert_eq!(world.session("ws")["agents"], serde_json::json!(["claude-code"]));
    let run = world.within("ws", &["exec", "claude", "-p", "hello"]).run().expect(0);
    assert_eq!(run.text(), "claude -p hello telemetry=1");
    let said = run.flat();
    assert!(said.starts_with("to the other"), "{said}");
    // What is in the form of nobody's log is said to be that.
    let unread =
        "no trajectory of this session: `~/.claude/projects/-app/one.jsonl`: pier does not know this form";
    assert!(said.contains(unread), "{said}");
    // A code of its own, from behind what is put in front.
    let wrapped = ["exec", "--", "sh", "-c", "CODE=7 SESSION=two claude wrapped"];
    world.within("ws", &wrapped).run().expect(7);
    world.within("ws", &["exec", "true"]).run().expect(0);
    let runs = world.runs();
    assert_eq!(runs.len(), 2, "one a run of an agent: {runs:?}");
    // Two pipes have no order between them.
    let mut lines: Vec<String> = text(runs[0].join("claude-code.txt")).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["claude -p hello telemetry=1", "to the other"]);
    let log = "sessions/projects/-app";
    assert_eq!(text(runs[0].join(log).join("one.jsonl")), "{\"said\":\"-p hello\"}\n");
    assert_eq!(text(runs[1].join(log).join("two.jsonl")), "{\"said\":\"wrapped\"}\n");
    assert!(!runs[1].join(log).join("one.jsonl").exists(), "another session's");
    // The home is one: what was there before is there, also after a restart.
    world.within("ws", &["stop"]).run().expect(0);
    let began = Instant::now();
    let again = world.within("ws", &["start"]).run().expect(0);
    assert!(!again.said().contains("installing") && !again.said().contains("anew"), "{}", again.said());
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    world.within("ws", &["exec", "claude", "more"]).run().expect(0);
    let runs = world.runs();
    assert_eq!(text(runs[2].join(log).join("one.jsonl")), "{\"said\":\"-p hello\"}\n{\"said\":\"more\"}\n");
    // Without being named, the newest of the only agent.
    let said = world.within("ws", &["capture", "--json"]).run().expect(0).text();
    let trial: Value = serde_json::from_str(&said).unwrap();
    let trial = PathBuf::from(trial["trial"].as_str().unwrap());
    assert!(text(trial.join("agent/claude-code.txt")).contains("claude more telemetry=1\n"));
    assert!(trial.join("agent").join(log).join("one.jsonl").is_file());
    // In the background, and in front of a terminal of its own.
    let session = world.within("ws", &["exec", "-d", "-t", "--", "claude", "away"]).run().expect(0).text();
    assert!(within(Duration::from_secs(5), || {
        let runs = world.runs();
        runs.len() == 4 && text(runs[3].join("claude-code.txt")).contains("a terminal")
    }));
    assert!(world.call(&["logs", &session]).run().text().contains("claude away"));
}

#[test]
fn what_goes_through_a_pipe_is_whole_and_a_reader_that_leaves_ends_it() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let program = "#!/bin/sh\ncase $1 in cat) cat;; flood) while :; do echo flood; done;; left) sleep 60 & echo left;; yes) setsid yes & sleep 0.3; echo said;; esac\n";
    install(&world.0, "claude-code", "@anthropic-ai/claude-code", program.as_bytes());
    world.start("ws", DEBIAN, &["--agent", "claude-code"]).run().expect(0);
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let said = world.within("ws", &["exec", "claude", "cat"]).stdin(bytes.clone()).run().expect(0);
    assert!(said.stdout == bytes);
    assert_eq!(fs_err::read(world.runs()[0].join("claude-code.txt")).unwrap(), bytes);
    // Nobody waits for what is left behind with the pipe in its hands.
    let began = Instant::now();
    assert_eq!(world.within("ws", &["exec", "claude", "left"]).run().expect(0).text(), "left");
    assert!(began.elapsed().as_secs() < 20);
    // Nor for what never stops saying something.
    let began = Instant::now();
    world.within("ws", &["exec", "claude", "yes"]).run().expect(0);
    assert!(began.elapsed().as_secs() < 20);
    let mut call = world.within("ws", &["exec", "claude", "flood"]);
    call.command.stdout(std::process::Stdio::piped());
    world.0.give_away();
    let mut child = call.command.spawn().unwrap();
    let mut first = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    drop(child.stdout.take());
    assert!(within(Duration::from_secs(10), || child.try_wait().unwrap().is_some()));
}

#[test]
fn a_second_agent_joins_a_running_workspace() {
    if !can_run() {
        return;
    }
    let world = World::with_claude();
    install(&world.0, "codex", "@openai/codex", b"#!/bin/sh\necho codex $*\n");
    world.start("ws", DEBIAN, &[]).run().expect(0);
    world.within("ws", &["exec", "-d", "--", "sleep", "1000"]).run().expect(0);
    let said = world.within("ws", &["start", "--agent", "claude-code"]).run().expect(0).text();
    assert_eq!(said, format!("claude-code@{VERSION} installed"));
    assert_eq!(world.within("ws", &["exec", "claude", "x"]).run().expect(0).text(), "claude x telemetry=1");
    let codex = format!("codex@{VERSION}");
    world.start("ws", DEBIAN, &["--agent", &codex]).run().expect(0);
    assert_eq!(world.within("ws", &["exec", "codex", "y"]).run().expect(0).text(), "codex y");
    assert_eq!(world.session("ws")["agents"], serde_json::json!(["claude-code", "codex"]));
    assert!(world.call(&["ps"]).run().text().contains("sleep"), "nothing was started anew");
    let more = ["start", "--agent", "codex", "-e", "A=1"];
    world.within("ws", &more).run().refused(2, "workspace::usage");
    world.within("ws", &["capture"]).run().refused(2, "trial::usage");
    world.within("ws", &["stop"]).run().expect(0);
    let again = world.within("ws", &["start"]).run().expect(0);
    assert!(!again.said().contains("anew"), "{}", again.said());
    assert_eq!(world.within("ws", &["exec", "codex", "z"]).run().expect(0).text(), "codex z");
    for (agent, code) in [
        ("qwen", "agent::unknown"),
        ("claude", "agent::unknown"),
        ("claude-code@latest", "agent::unknown"),
        ("oracle", "agent::unknown"),
        ("cursor-cli", "cli::not-yet"),
    ] {
        world.start("x", DEBIAN, &["--agent", agent]).run().refused(2, code);
        world.within("ws", &["start", "--agent", agent]).run().refused(2, code);
    }
    assert!(!world.place("x").exists());
}

#[test]
fn an_image_without_a_c_library_gets_one_for_the_agent() {
    if !can_run() {
        return;
    }
    let world = World::new();
    install(&world.0, "claude-code", "@anthropic-ai/claude-code", &fs_err::read("/bin/echo").unwrap());
    world.start("ws", BUSYBOX, &[]).run().expect(0);
    let refused = world.within("ws", &["start", "--agent", "claude-code"]).run().refused(125, "agent::image");
    assert!(refused.flat().contains("pier stop"), "{}", refused.said());
    world.within("ws", &["stop"]).run().expect(0);
    world.within("ws", &["start", "--agent", "claude-code"]).run().expect(0);
    assert_eq!(world.within("ws", &["exec", "claude", "hello"]).run().expect(0).text(), "hello");
}

/// The words of the older tool's own documentation, with the real agent and a scripted model.
#[test]
fn the_real_claude_code_solves_a_task_in_a_workspace() {
    if !can_run() {
        return;
    }
    let world = World::new();
    super::tasks::task(&world, "");
    super::tasks::script(
        &world,
        "tests/test.sh",
        "#!/bin/sh\nif [ \"$(cat hello.txt)\" = 'Hello, world!' ]; then echo 1; else echo 0; fi > /logs/verifier/reward.txt\n",
    );
    let work = vec![vec!["printf 'Hello, world!\\n' > hello.txt".to_owned()]];
    let server = ModelServer::start(Script::Commands(work));
    let start = world.call(&[
        "start",
        "task",
        "-d",
        "ws",
        "--agent",
        "claude-code",
        "-e",
        "ANTHROPIC_API_KEY=sk-ant-test-0123456789abcdef",
        "-e",
        &format!("ANTHROPIC_BASE_URL={}", server.url()),
        "--set",
        "network=host",
    ]);
    let started = with_registry(&world.0, start).run();
    if !reached_the_registry(&started) {
        return;
    }
    started.expect(0);
    let call = |words: &[&str]| with_registry(&world.0, world.within("ws", words)).run();
    let prompt = [
        "exec",
        "--",
        "claude",
        "-p",
        "Read .task/instruction.md and do the task",
        "--dangerously-skip-permissions",
    ];
    call(&prompt).expect(0);
    assert_eq!(world.0.read("ws/hello.txt"), "Hello, world!\n");
    assert!(!server.requests().is_empty());
    let said = call(&["verify"]).expect(0);
    assert!(said.text().starts_with("Reward: 1"), "{}", said.text());
    let listed = call(&["traces"]).expect(0).text();
    assert!(listed.ends_with("claude-code  reward=1.0  trajectory"), "{listed}");
    let name = listed.split_whitespace().next().unwrap();
    let trial = world.place("ws/.pier/trials").join(name);
    is_told(&trial.join("agent/trajectory.json"));
    let result: Value = serde_json::from_str(&text(trial.join("result.json"))).unwrap();
    assert_eq!(result["agent_result"]["metadata"]["run"]["outcome"], "finished", "{result}");
    assert!(result["agent_result"]["n_input_tokens"].as_u64().unwrap() > 0, "{result}");
    assert!(result["n_agent_steps"].as_u64().unwrap() >= 2, "{result}");
    assert_ne!(result["agent_info"]["version"], "unknown");
    let logs = world.place("ws/.pier/trials").join(name).join("agent/sessions/projects/-work");
    let log = fs_err::read_dir(&logs).unwrap().next().unwrap().unwrap().path();
    let log = text(log);
    assert!(log.contains("do the task") && log.contains("hello.txt"), "{log}");
    assert!(!log.contains("sk-ant-test"), "{log}");
    // It goes on where it was: the home is the workspace's.
    call(&["exec", "--", "claude", "--continue", "-p", "and now?", "--dangerously-skip-permissions"])
        .expect(0);
    let told = format!("{:?}", server.requests());
    assert!(told.contains("and now?"), "{told}");
    // The one that went on has both, and in an archive as well.
    call(&["capture"]).expect(0);
    call(&["traces", "-o", "../trace.tar.gz"]).expect(0);
    let archive = world.place("trace.tar.gz");
    let unpacked = world.place("unpacked");
    fs_err::create_dir(&unpacked).unwrap();
    let mut tar = std::process::Command::new("tar");
    let tar = tar.arg("-xzf").arg(archive).arg("-C").arg(&unpacked).status().unwrap();
    assert!(tar.success());
    let trial = fs_err::read_dir(&unpacked).unwrap().next().unwrap().unwrap().path();
    let told = is_told(&trial.join("agent/trajectory.json"));
    assert!(told.contains("and now?"), "{told}");
    call(&["stop"]).expect(0);
}

/// Checks that a file is the trajectory of that work, and returns it.
fn is_told(path: &Path) -> String {
    let told = text(path.to_path_buf());
    let document: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(document["agent"]["name"], "claude-code");
    let steps = document["steps"].as_array().unwrap();
    let calls = |step: &Value| step["tool_calls"].as_array().map_or(0, Vec::len);
    assert!(steps.iter().map(calls).sum::<usize>() > 0, "{told}");
    assert!(
        told.contains("do the task") && told.contains("hello.txt") && !told.contains("sk-ant-test"),
        "{told}"
    );
    told
}

#[test]
fn a_reader_that_stalls_fills_no_memory() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let flood = b"#!/bin/sh\nhead -c 500000000 /dev/zero\n";
    install(&world.0, "claude-code", "@anthropic-ai/claude-code", flood);
    world.start("ws", DEBIAN, &["--agent", "claude-code"]).run().expect(0);
    // Recorded, and as it is.
    for words in [
        &["exec", "claude"][..],
        &["exec", "--", "sh", "-c", "claude"],
        &["exec", "head", "-c", "500000000", "/dev/zero"],
    ] {
        let mut call = world.within("ws", words);
        call.command.stdout(std::process::Stdio::piped());
        world.0.give_away();
        let mut child = call.command.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let mut first = [0; 4096];
        std::io::Read::read_exact(&mut output, &mut first).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        // Besides the program itself, of which a debug build is larger than all of it may be: how much of that is counted is the
        // kernel's affair. That of a release is below 20 MB.
        let peak = || {
            let status = fs_err::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            let of = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
            };
            of("VmHWM:") - of("RssFile:")
        };
        let stalled = peak();
        let count =
            std::io::copy(&mut std::io::Read::take(&mut output, 300_000_000), &mut std::io::sink()).unwrap();
        assert_eq!(count, 300_000_000);
        let most = peak().max(stalled);
        assert!(most < 20_000, "{words:?}: {most} kB");
        println!("{words:?}: {most} kB");
        drop(output);
        child.wait().unwrap();
    }
}

#[test]
fn the_cache_keeps_the_agents_of_workspaces() {
    if !can_run() {
        return;
    }
    let world = World::with_claude();
    let install = |agent, package| install(&world.0, agent, package, b"#!/bin/sh\necho $*\n");
    let others = [install("codex", "@openai/codex"), install("pi", "@of/pi"), install("node", "node")];
    let claude = world.0.home().join(".cache/pier/agents/claude-code");
    let claude = fs_err::read_dir(claude).unwrap().next().unwrap().unwrap().path();
    let removed = || {
        let installed = others.iter().map(|program| program.parent().unwrap()).chain([claude.as_path()]);
        for path in installed.filter(|path| path.exists()) {
            let before = SystemTime::now() - Duration::from_hours(24 * 30);
            File::open(path).unwrap().set_modified(before).unwrap();
        }
        let call = world.0.call(["cache", "prune", "--json"]).env("DOCKER_HOST", "unix:///nonexistent");
        let said: Value = serde_json::from_str(&call.run().expect(0).text()).unwrap();
        let agents = said["removed"].as_array().unwrap().iter().filter(|item| item["kind"] == "agent");
        let mut names: Vec<String> = agents
            .map(|item| item["name"].as_str().unwrap().rsplit('/').nth(1).unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    world.start("ws", DEBIAN, &["--agent", "claude-code"]).run().expect(0);
    world.within("ws", &["start", "--agent", &format!("codex@{VERSION}")]).run().expect(0);
    assert_eq!(removed(), ["node", "pi"]);
    assert_eq!(world.within("ws", &["exec", "codex", "x"]).run().expect(0).text(), "x");
    world.within("ws", &["stop"]).run().expect(0);
    assert!(removed().is_empty(), "a stopped workspace starts again with them");
    let list = world.0.call(["cache", "list"]).env("DOCKER_HOST", "unix:///nonexistent").run().expect(0);
    let text = list.text();
    let agents = text.lines().filter(|line| line.starts_with("agent ") && line.contains("in use"));
    assert_eq!(agents.count(), 2, "{text}");
    // What cannot be read may be anything.
    let state = world.0.home().join(".local/state/pier/workspaces");
    let file = fs_err::read_dir(state).unwrap().next().unwrap().unwrap().path().join("workspace.json");
    let text = fs_err::read_to_string(&file).unwrap();
    fs_err::write(&file, "{").unwrap();
    assert!(removed().is_empty());
    fs_err::write(&file, text).unwrap();
    world.within("ws", &["rm"]).run().expect(0);
    fs_err::remove_dir_all(world.place("ws")).unwrap();
    assert_eq!(removed(), ["claude-code", "codex"]);
}

/// Writes a log that can be read.
const READABLE: &str = r#"#!/bin/sh
mkdir -p ~/.claude/projects/-app
printf '{"type":"user","message":{"content":"%s"},"uuid":"%s","sessionId":"%s"}\n' "$2" $$ $$ \
    > ~/.claude/projects/-app/"$2".jsonl
until [ -z "$3" ] || [ -e "$3" ]; do sleep 0.1; done
"#;

#[test]
fn an_agent_that_a_script_starts_is_told_by_its_logs() {
    if !can_run() {
        return;
    }
    let world = World::new();
    install(&world.0, "claude-code", "@anthropic-ai/claude-code", READABLE.as_bytes());
    world.start("ws", DEBIAN, &["--agent", &format!("claude-code@{VERSION}")]).run().expect(0);
    world.0.write("ws/work.sh", "echo begun\nclaude -p scripted\n");
    let mut long = world.within("ws", &["exec", "claude", "-p", "long", "done"]).start();
    assert!(within(Duration::from_secs(20), || world.runs().len() == 1));
    let has_begun = ["exec", "--", "sh", "-c", "test -s ~/.claude/projects/-app/long.jsonl"];
    assert!(within(Duration::from_secs(20), || world.within("ws", &has_begun).run().code() == Some(0)));
    // What the other one is asked is known, and these write nothing themselves.
    world.within("ws", &["exec", "true"]).run().expect(0);
    assert_eq!(world.within("ws", &["exec", "sh", "work.sh"]).run().expect(0).text(), "begun");
    // A login shell sets a `PATH` of its own.
    let login = ["exec", "--", "bash", "-lc", "command -v claude; echo $PATH"];
    let said = world.within("ws", &login).run().expect(0).text();
    assert!(said.starts_with("/.pier/bin/claude\n/.pier/bin:/usr/local/"), "{said}");
    world.0.write("ws/done", "");
    assert!(long.wait().unwrap().success());
    world.within("ws", &["exec", "true"]).run().expect(0);
    let runs = world.runs();
    assert_eq!(runs.len(), 2, "{runs:?}");
    for run in runs {
        let logs = fs_err::read_dir(run.join("sessions/projects/-app")).unwrap();
        let logs: Vec<String> = logs.map(|log| log.unwrap().file_name().into_string().unwrap()).collect();
        let [log] = &logs[..] else { panic!("{logs:?}") };
        let name = run.file_name().unwrap().to_str().unwrap();
        let words = ["capture", "--json", "--agent", "claude-code", "--session", name];
        let captured: Value =
            serde_json::from_str(&world.within("ws", &words).run().expect(0).text()).unwrap();
        let trial = PathBuf::from(captured["trial"].as_str().unwrap());
        let document: Value = serde_json::from_str(&text(trial.join("agent/trajectory.json"))).unwrap();
        assert_eq!(document["steps"].as_array().unwrap().len(), 1, "{document}");
        assert_eq!(document["steps"][0]["message"], log.trim_end_matches(".jsonl"), "{document}");
    }
}
