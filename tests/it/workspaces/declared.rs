//! Agents that a file declares: what they do in a workspace, and what becomes of their logs.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::World;
use super::tasks::task;
use crate::docker::{DEBIAN, can_run};

/// Writes its log as a trajectory.
const MINE: &str = r#"#!/bin/sh
echo "at work: $*"
mkdir -p ~/.mine/runs
cat > ~/.mine/runs/1.json <<'END'
{ "schema_version": "ATIF-v1.5", "session_id": "s1",
  "agent": { "name": "mine", "version": "0.3", "model_name": "claude-sonnet-4-5" },
  "steps": [
    { "step_id": 1, "source": "user", "message": "Do it." },
    { "step_id": 2, "source": "agent", "message": "Done.", "metrics": { "prompt_tokens": 10, "completion_tokens": 2 } } ] }
END
"#;

const DECLARED: &str = "agent mine { run \"mine\" \"--task\"; logs \"~/.mine/runs/*.json\"; }\n";

impl World {
    /// The directory of a trial, by what `pier capture` says.
    fn trial_of(said: &str) -> PathBuf {
        PathBuf::from(said.lines().last().unwrap().trim_start_matches("trial: "))
    }

    fn trajectory(&self, trial: &Path) -> Value {
        let file = trial.join("agent/trajectory.json");
        self.0.call(["trajectory", "validate", "--strict", file.to_str().unwrap()]).run().expect(0);
        serde_json::from_slice(&fs_err::read(file).unwrap()).unwrap()
    }
}

fn is_told(document: &Value) {
    assert_eq!(document["agent"]["name"], "mine", "{document}");
    assert_eq!((&document["agent"]["version"], &document["session_id"]), (&"0.3".into(), &"s1".into()));
    assert_eq!(document["agent"]["extra"]["log_format"], "atif");
    let steps = document["steps"].as_array().unwrap();
    assert_eq!((&steps[0]["message"], &steps[1]["message"]), (&"Do it.".into(), &"Done.".into()));
    assert_eq!(document["final_metrics"]["total_prompt_tokens"], 10);
}

#[test]
fn the_logs_of_a_declared_agent_become_a_trajectory_on_this_host() {
    let world = World::new();
    task(&world, "");
    world.0.write("bin/mine", MINE);
    let mine = world.place("bin/mine");
    fs_err::set_permissions(&mine, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = world.0.home().join(".config/pier/config.kdl");
    fs_err::create_dir_all(config.parent().unwrap()).unwrap();
    fs_err::write(&config, DECLARED).unwrap();
    world.0.give_away();
    world.alone("", &["start", "task", "-d", "ws", "--host"]).run().expect(0);
    let mine = mine.to_str().unwrap();
    world.alone("ws", &["capture", "--agent", "mine"]).run().refused(1, "trial::session");
    let said = world.alone("ws", &["exec", "--", mine, "--task", "x"]).run().expect(0).text();
    assert_eq!(said, "at work: --task x");
    // Without the words of its `run` line it is another program.
    world.alone("ws", &["exec", "--", mine]).run().expect(0);
    let captured = world.alone("ws", &["capture", "--agent", "mine"]).run().expect(0);
    let trial = World::trial_of(&captured.text());
    assert_eq!(world.0.read(trial.join("agent/mine.txt").to_str().unwrap()), "at work: --task x\n");
    assert!(trial.join("agent/logs/mine/runs/1.json").is_file());
    is_told(&world.trajectory(&trial));
    let listed = world.alone("ws", &["traces"]).run().expect(0).text();
    assert!(listed.contains("mine  ") && listed.ends_with("trajectory"), "{listed}");
    // A file in the workspace, where an agent can write, declares nothing.
    world.0.write("ws/pier.kdl", "agent yours { run \"yours\"; }\n");
    world.alone("ws", &["capture", "--agent", "yours"]).run().refused(2, "trial::usage");
    // A broken configuration keeps nothing from running.
    fs_err::write(&config, "agent {").unwrap();
    let said = world.alone("ws", &["exec", "--", "true"]).run().expect(0);
    assert!(said.flat().contains("are not recorded"), "{}", said.said());
}

#[test]
fn a_project_declares_its_own_agents() {
    let world = World::new();
    world.0.write("plain/pier.kdl", DECLARED);
    let document = json!({
        "schema_version": "ATIF-v1.7",
        "trajectory_id": "root",
        "agent": { "name": "inner", "version": "unknown", "extra": { "kept": 1 } },
        "notes": "said",
        "steps": [
            { "step_id": 1, "source": "user", "timestamp": "2026-01-02T03:04:05Z", "message": [
                { "type": "text", "text": "Look." },
                { "type": "image", "source": { "media_type": "image/png", "path": "pictures/a.png" } },
            ] },
            { "step_id": 2, "source": "agent", "message": "", "llm_call_count": 1, "reasoning_content": "Hm.",
              "reasoning_effort": 0.5, "model_name": "other",
              "tool_calls": [{ "tool_call_id": "c1", "function_name": "ask", "arguments": { "q": 1 } }],
              "observation": { "results": [
                  { "source_call_id": "c1", "content": "Yes.", "subagent_trajectory_ref": [{ "trajectory_id": "sub" }] },
                  { "source_call_id": "lost", "content": "To nobody." },
              ] },
              "metrics": { "prompt_tokens": 10, "completion_tokens": 2, "cached_tokens": 4, "cost_usd": 0.5,
                  "logprobs": [-0.5] } },
            7,
            { "step_id": 4, "source": "robot", "message": null, "new": true },
        ],
        "final_metrics": { "total_cost_usd": 1.5, "extra": { "summarization_count": 2, "own": "kept" } },
        "extra": { "run": { "outcome": "failed", "reason": "gave up" } },
        "subagent_trajectories": [{
            "schema_version": "ATIF-v1.7", "trajectory_id": "sub", "agent": { "name": "helper", "version": "1" },
            "steps": [{ "step_id": 1, "source": "agent", "message": "Yes." }],
        }, {}],
    });
    let text = document.to_string();
    world.0.write("log/trajectory.json", &text);
    world.0.write("log/pictures/a.png", "png");
    let named = ["capture", "--agent", "mine", "--session-dir", "../log"];
    let captured = world.within("plain", &named).run().expect(0);
    let trial = World::trial_of(&captured.text());
    assert!(trial.join("agent/logs/trajectory.json").is_file(), "the agent's own is not replaced");
    let made = world.trajectory(&trial);
    assert_eq!(made["agent"]["name"], "mine");
    assert_eq!(made["agent"]["extra"], json!({ "log_format": "atif", "name": "inner", "kept": 1 }));
    assert_eq!(made["extra"]["notes"], "said");
    assert_eq!(made["extra"]["run"], json!({ "outcome": "failed", "reason": "gave up" }));
    assert_eq!(made["extra"]["conversion"]["status"], "partial");
    let steps = made["steps"].as_array().unwrap();
    let picture = steps[0]["message"][1]["source"]["path"].as_str().unwrap();
    assert_eq!(fs_err::read(trial.join("agent").join(picture)).unwrap(), b"png");
    let (step, results) = (&steps[1], &steps[1]["observation"]["results"]);
    assert_eq!((&step["reasoning_content"], &step["reasoning_effort"]), (&"Hm.".into(), &"0.5".into()));
    assert_eq!(results[0]["subagent_trajectory_ref"], json!([{ "trajectory_id": "sub" }]));
    assert_eq!(results[1]["extra"]["call_id"], "lost");
    assert_eq!(step["metrics"]["cost_usd"], 0.5);
    assert_eq!(step["metrics"]["cached_tokens"], 4);
    assert_eq!(step["metrics"]["extra"]["logprobs"], json!([-0.5]));
    assert_eq!((&steps[2]["source"], &steps[2]["extra"]["new"]), (&"system".into(), &true.into()));
    assert_eq!(made["subagent_trajectories"][0]["steps"][0]["message"], "Yes.");
    assert_eq!(made["final_metrics"]["total_cost_usd"], 1.5);
    assert_eq!(made["final_metrics"]["extra"]["summarization_count"], 2);
    assert_eq!(made["final_metrics"]["extra"]["own"], "kept");
    // One that breaks off is as long as it is; logs of another form that pier reads are read as well.
    let cut = text.find("\"observation\"").unwrap();
    world.0.write("log/trajectory.json", &text[..cut]);
    let captured = world.within("plain", &named).run().expect(0);
    let made = world.trajectory(&World::trial_of(&captured.text()));
    assert_eq!(made["steps"].as_array().unwrap().len(), 1);
    assert_eq!(made["extra"]["conversion"]["reasons"][0]["code"], "truncated-file");
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/agent-logs/pi/hello");
    let other = ["capture", "--agent", "mine", "--session-dir", stored.to_str().unwrap()];
    let captured = world.within("plain", &other).run().expect(0);
    let made = world.trajectory(&World::trial_of(&captured.text()));
    assert_eq!(
        (&made["agent"]["name"], &made["agent"]["extra"]["log_format"]),
        (&"mine".into(), &"pi".into())
    );
    world
        .within("plain", &["capture", "--agent", "his", "--session-dir", "../log"])
        .run()
        .refused(2, "trial::usage");
    // A pattern outside of the home is one that names nothing.
    world.0.write("plain/pier.kdl", "agent mine { run \"mine\"; logs \"/var/log/*.json\"; }\n");
    world.within("plain", &named).run().refused(2, "config::bad-value");
}

#[test]
fn the_logs_of_a_declared_agent_become_a_trajectory_in_a_container() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let config = world.0.home().join(".config/pier/config.kdl");
    fs_err::create_dir_all(config.parent().unwrap()).unwrap();
    fs_err::write(&config, DECLARED).unwrap();
    world.0.give_away();
    world.start("ws", DEBIAN, &[]).run().expect(0);
    world.0.write("ws/mine", MINE);
    let mine = world.place("ws/mine");
    fs_err::set_permissions(&mine, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    world.within("ws", &["exec", "--", "sh", "-c", "exec ./mine --task x"]).run().expect(0);
    let captured = world.within("ws", &["capture", "--agent", "mine"]).run().expect(0);
    is_told(&world.trajectory(&World::trial_of(&captured.text())));
}
