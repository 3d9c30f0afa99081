//! Skills of tasks and of the command line.

use super::World;
use super::tasks::task;
use crate::docker::agents::{VERSION, install};
use crate::docker::{DEBIAN, can_run};

impl World {
    fn with_skills() -> Self {
        let world = World::new();
        task(&world, "[environment]\nskills_dir = \"/opt/skills\"\n");
        world.0.write("task/environment/skill.md", "of the task\n");
        let lines = "COPY skill.md /opt/skills/tasked/SKILL.md\n";
        world.0.write("task/environment/Dockerfile", format!("FROM {DEBIAN}\nWORKDIR /work\n{lines}"));
        world.0.write("one/SKILL.md", "one\n");
        world.0.write("many/one/SKILL.md", "one of many\n");
        world.0.write("many/two/SKILL.md", "two\n");
        world.0.write("bad/two/other", "");
        for (agent, package) in [("claude-code", "@anthropic-ai/claude-code"), ("codex", "@openai/codex")] {
            install(&world.0, agent, package, b"#!/bin/sh\nexit 0\n");
        }
        world
    }
}

#[test]
fn skills_are_registered_for_every_agent() {
    if !can_run() {
        return;
    }
    let world = World::with_skills();
    world.call(&["start", "task", "-d", "ws", "--agent", "claude-code"]).run().expect(0);
    let read = |path: &str| world.within("ws", &["exec", "--", "sh", "-c", &format!("cat {path}")]).run();
    assert_eq!(read("~/.claude/skills/tasked/SKILL.md").expect(0).text(), "of the task");
    world.within("ws", &["start", "--agent", &format!("codex@{VERSION}")]).run().expect(0);
    assert_eq!(read("~/.codex/skills/tasked/SKILL.md").expect(0).text(), "of the task");
    world.within("ws", &["rm", "--force"]).run().expect(0);
    // Those of the command line are in place of the task's.
    let words = ["start", "--skill", "../one", "--skill", "../many", "-e", "A=1"];
    world.within("ws", &words).run().expect(0);
    assert_eq!(
        read("/opt/skills/one/SKILL.md /opt/skills/two/SKILL.md").expect(0).text(),
        "one of many\ntwo"
    );
    assert_eq!(read("~/.codex/skills/two/SKILL.md").expect(0).text(), "two");
    world.within("ws", &["exec", "--", "sh", "-c", "echo x > /opt/skills/one/SKILL.md"]).run().expect(2);
    world.within("ws", &["start", "--skill", "../one"]).run().refused(2, "workspace::usage");
    world.within("ws", &["rm", "--force"]).run().expect(0);
    world.start("free", DEBIAN, &["--skill", "one"]).run().expect(0);
    let said = world.within("free", &["exec", "cat", "/harbor/skills/one/SKILL.md"]).run().expect(0).text();
    assert_eq!(said, "one");
    world.within("free", &["rm", "--force"]).run().expect(0);
    world.start("x", DEBIAN, &["--skill", "bad"]).run().refused(2, "workspace::skill");
    world.start("x", DEBIAN, &["--skill", "absent"]).run().refused(2, "workspace::skill");
    world.0.write("task/task.toml", "[environment]\nskills_dir = \"relative\"\n");
    let relative =
        world.call(&["start", "task", "-d", "x", "--skill", "one"]).run().refused(2, "workspace::usage");
    assert!(relative.flat().contains("not absolute"), "{}", relative.said());
    assert!(!world.place("x").exists());
}

#[test]
fn without_a_container_they_are_put_where_agents_look() {
    if !can_run() {
        return;
    }
    let world = World::with_skills();
    world.call(&["start", "task", "-d", "ws", "--host"]).run().expect(0);
    let said = world.within("ws", &["skills"]).run().expect(0).text();
    assert_eq!(said, "1 skill: tasked");
    assert_eq!(world.0.read("ws/.claude/skills/tasked/SKILL.md"), "of the task\n");
    assert_eq!(world.0.read("ws/.agents/skills/tasked/SKILL.md"), "of the task\n");
    world.0.write("task/task.toml", "[environment]\nskills_dir = \"/absent\"\n");
    assert_eq!(world.within("ws", &["skills"]).run().expect(0).text(), "No skills found.");
    world.0.write("task/environment/Dockerfile", format!("FROM {DEBIAN}\nRUN exit 3\n"));
    world.within("ws", &["skills"]).run().refused(125, "image::build");
    world.0.write("task/task.toml", "");
    assert_eq!(world.within("ws", &["skills"]).run().expect(0).text(), "No skills_dir in the task.");
    world.start("other", DEBIAN, &[]).run().expect(0);
    world.within("other", &["skills"]).run().refused(2, "workspace::usage");
    world.within("other", &["rm", "--force"]).run().expect(0);
}

#[test]
fn bundles_are_merged() {
    let world = World::with_skills();
    let compose = |words: &[&str]| world.call(&[&["skills", "compose", "-o", "out"], words].concat()).run();
    assert_eq!(compose(&["one", "many"]).expect(0).text(), "2 skills: one, two");
    assert_eq!(world.0.read("out/one/SKILL.md"), "one of many\n");
    assert!(compose(&[]).expect(0).said().contains("nothing to merge"));
    let child = compose(&["bad"]).refused(2, "workspace::skill");
    assert!(child.flat().contains("two"), "{}", child.said());
    let absent = compose(&["absent"]).refused(2, "workspace::skill");
    assert!(absent.flat().contains("absent"), "{}", absent.said());
}

#[test]
fn mcp_servers_of_a_task_are_registered_for_every_agent() {
    if !can_run() {
        return;
    }
    let world = World::with_skills();
    let toml = "[[environment.mcp_servers]]\nname = \"files\"\ntransport = \"stdio\"\ncommand = \"npx\"\nargs = [\"-y\", \"server\"]\n\
        [[environment.mcp_servers]]\nname = \"secret\"\ntransport = \"http\"\nurl = \"http://x:1/\"\nheaders = { authorization = \"${TOKEN}\" }\n";
    world.0.write("task/task.toml", toml);
    let started = world.call(&["start", "task", "-d", "ws", "--agent", "claude-code"]).run().expect(0);
    assert!(started.said().contains("`secret` is not registered for claude-code"), "{}", started.said());
    let read = |path: &str| {
        world.within("ws", &["exec", "--", "sh", "-c", &format!("cat {path}")]).run().expect(0).text()
    };
    let settings: serde_json::Value = serde_json::from_str(&read("~/.claude.json")).unwrap();
    assert_eq!(settings["mcpServers"]["files"]["args"][1], "server");
    assert_eq!(settings["hasCompletedOnboarding"], true);
    // What the agent has written itself stays.
    let own = "echo '{\"own\": 1}' > ~/.claude.json; mkdir -p ~/.codex; echo 'model = \"m\"' > ~/.codex/config.toml";
    world.within("ws", &["exec", "--", "sh", "-c", own]).run().expect(0);
    world.within("ws", &["start", "--agent", &format!("codex@{VERSION}")]).run().expect(0);
    assert_eq!(
        read("~/.codex/config.toml"),
        "model = \"m\"\n\n[mcp_servers.\"files\"]\ncommand = \"npx\"\nargs = [\"-y\",\"server\"]"
    );
    world.within("ws", &["stop"]).run().expect(0);
    world.within("ws", &["start"]).run().expect(0);
    let settings: serde_json::Value = serde_json::from_str(&read("~/.claude.json")).unwrap();
    assert_eq!((&settings["own"], &settings["mcpServers"]["files"]["command"]), (&1.into(), &"npx".into()));
}
