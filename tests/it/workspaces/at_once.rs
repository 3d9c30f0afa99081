//! Agents that work at the same time in one workspace, whose home they share: each has its own records.

use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;

use super::World;
use crate::agents::{reached_the_registry, with_registry};
use crate::docker::{DEBIAN, can_run};
use crate::model_server::{ModelServer, Script};

/// A workspace with an agent that reaches a server; `None` where the agent cannot be installed.
fn world(agent: &str, variables: &[(&str, &str)], server: &ModelServer) -> Option<World> {
    let world = World::new();
    let given: Vec<String> = variables
        .iter()
        .map(|(name, value)| format!("{name}={}", value.replace("{}", &server.url())))
        .collect();
    let mut words = vec!["--agent", agent, "--set", "network=host"];
    words.extend(given.iter().flat_map(|given| ["-e", given]));
    let started = with_registry(&world.0, world.start("ws", DEBIAN, &words)).run();
    if !reached_the_registry(&started) {
        return None;
    }
    started.expect(0);
    Some(world)
}

impl World {
    fn does(&self, words: &[&str]) -> String {
        with_registry(&self.0, self.within("ws", words)).run().expect(0).text()
    }

    /// Makes a trial of one of the recorded runs, and returns the texts of its trajectory.
    fn captured(&self, run: &Path) -> String {
        let name = run.file_name().unwrap().to_str().unwrap();
        let said: Value =
            serde_json::from_str(&self.does(&["capture", "--json", "--session", name])).unwrap();
        let trial = PathBuf::from(said["trial"].as_str().unwrap());
        fs_err::read_to_string(trial.join("agent/trajectory.json")).unwrap()
    }
}

/// Says which of these are in a text.
fn within<'a>(text: &str, prompts: [&'a str; 2]) -> Vec<&'a str> {
    prompts.into_iter().filter(|prompt| text.contains(prompt)).collect()
}

#[test]
fn two_of_the_real_claude_code_have_logs_of_their_own() {
    if !can_run() {
        return;
    }
    let server = ModelServer::start(Script::Hello);
    let variables = [("ANTHROPIC_API_KEY", "sk-ant-test-0123456789abcdef"), ("ANTHROPIC_BASE_URL", "{}")];
    let Some(world) = world("claude-code", &variables, &server) else { return };
    let prompts = ["Write this one", "Write that one"];
    thread::scope(|scope| {
        for prompt in prompts {
            let world = &world;
            let words = ["exec", "--", "claude", "-p", prompt, "--dangerously-skip-permissions"];
            scope.spawn(move || world.does(&words));
        }
    });
    let runs = world.runs();
    assert_eq!(runs.len(), 2);
    let mut found = Vec::new();
    for run in &runs {
        let logs = run.join("sessions/projects");
        let project = fs_err::read_dir(&logs).unwrap().next().unwrap().unwrap().path();
        let logs: Vec<String> = fs_err::read_dir(project)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
            .map(|path| fs_err::read_to_string(path).unwrap())
            .collect();
        let own = within(&logs.concat(), prompts);
        assert_eq!((logs.len(), own.len()), (1, 1), "{logs:?}");
        assert_eq!(within(&world.captured(run), prompts), own);
        found.extend(own);
    }
    found.sort_unstable();
    assert_eq!(found, ["Write that one", "Write this one"]);
}

/// Its database has the sessions of all runs.
#[test]
fn the_records_of_the_real_opencode_are_of_one_run_each() {
    if !can_run() {
        return;
    }
    let server = ModelServer::start(Script::Hello);
    let Some(world) = world("opencode", &[], &server) else { return };
    let config = serde_json::json!({ "provider": { "x": {
        "npm": "@ai-sdk/openai-compatible",
        "options": { "baseURL": format!("{}/v1", server.url()), "apiKey": "sk-test" },
        "models": { "m": {} },
    }}});
    world.0.write("ws/opencode.json", config.to_string());
    let ask = |prompt: &str| world.does(&["exec", "--", "opencode", "run", "-m", "x/m", prompt]);
    ask("Write hello.txt");
    let prompts = ["Write this one", "Write that one"];
    thread::scope(|scope| {
        for prompt in prompts {
            scope.spawn(move || ask(prompt));
        }
    });
    let runs = world.runs();
    assert_eq!(runs.len(), 3);
    let mut found = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let told = world.captured(run);
        assert_eq!(told.contains("Write hello.txt"), index == 0, "{told}");
        found.extend(within(&told, prompts));
    }
    found.sort_unstable();
    assert_eq!(found, ["Write that one", "Write this one"]);
}
