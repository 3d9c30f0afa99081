//! Tasks of repositories that are elsewhere.

use std::process::Command;

use super::World;
use super::tasks::task;
use crate::sandbox::Call;

impl World {
    /// Makes a repository of what is in `task`, below `tasks/it`; returns its URL.
    fn repository(&self) -> String {
        let script = "rm -rf repo && mkdir -p repo/tasks && cp -r task repo/tasks/it && echo other > repo/other && cd repo && \
            git init -q -b main && git add -A && git -c user.name=a -c user.email=a@example.org commit -qm one && git tag v1";
        self.git(script);
        self.0.give_away();
        format!("file://{}", self.place("repo").canonicalize().unwrap().display())
    }

    fn git(&self, script: &str) {
        let mut command = Command::new("sh");
        command.args(["-ec", script]).current_dir(self.0.root()).env("GIT_CONFIG_GLOBAL", "/dev/null");
        // The files are another user's by now.
        command
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*");
        assert!(command.status().unwrap().success(), "{script}");
    }

    fn start_alone(&self, words: &[&str]) -> Call {
        let socket = self.0.base().join("no-engine.sock");
        self.call(&[&["start", "--host"], words].concat())
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
    }
}

#[test]
fn a_task_is_fetched_by_its_commit() {
    let world = World::new();
    task(&world, "[environment]\n");
    let url = world.repository();
    let whole = format!("{url}#tasks/it");
    let said = world.start_alone(&[&whole]).run().expect(0);
    assert!(said.said().contains("fetching the task"), "{}", said.said());
    assert_eq!(world.0.read("it/data"), "of the task\n", "in a directory of the task's name");
    let directory = world.0.read("it/.pier/session.json");
    let session: serde_json::Value = serde_json::from_str(&directory).unwrap();
    let kept = session["task_dir"].as_str().unwrap().to_owned();
    assert!(kept.contains("/.cache/pier/tasks/") && kept.ends_with("/it"), "{kept}");
    assert_eq!(session["task_url"], whole.as_str());
    // The same again is the same; another commit is another directory.
    let again = world.start_alone(&[&whole]).run().expect(0);
    assert!(again.said().contains("already exists"), "{}", again.said());
    world.git("cd repo && echo changed > tasks/it/environment/data && git -c user.name=a -c user.email=a@example.org commit -qam two");
    world.0.give_away();
    world.start_alone(&[&whole, "-d", "two"]).run().expect(0);
    assert_eq!(world.0.read("two/data"), "changed\n");
    world.start_alone(&[&format!("{whole}@v1"), "-d", "three"]).run().expect(0);
    assert_eq!(world.0.read("three/data"), "of the task\n");
    world.git("git -C repo rev-parse v1 > commit");
    let commit = world.0.read("commit").trim().to_owned();
    // What is known by its commit needs no repository any more.
    fs_err::rename(world.place("repo"), world.place("gone")).unwrap();
    let known = world.start_alone(&[&format!("{whole}@{commit}"), "-d", "four"]).run().expect(0);
    assert!(!known.said().contains("fetching"), "{}", known.said());
    let lost = world.start_alone(&[&whole, "-d", "five"]).run().refused(1, "workspace::fetch");
    assert!(lost.flat().contains("cannot be fetched") && !world.place("five").exists(), "{}", lost.said());
}

#[test]
fn what_names_no_task_is_refused() {
    let world = World::new();
    task(&world, "[environment]\n");
    std::os::unix::fs::symlink("/etc", world.place("task/environment/link")).unwrap();
    let url = world.repository();
    world.git("cd repo && ln -s /etc tasks/out && git add -A && git -c user.name=a -c user.email=a@example.org commit -qm links");
    world.0.give_away();
    for (text, exit, code) in [
        ("https://example.com/team/tasks".to_owned(), 2, "workspace::task"),
        ("ext::sh -c id://x#y".to_owned(), 2, "workspace::task"),
        (format!("{url}#../tasks/it"), 2, "workspace::task"),
        (format!("{url}#tasks/absent"), 1, "workspace::fetch"),
        (format!("{url}#tasks/out"), 1, "workspace::fetch"),
        (format!("{url}#other"), 1, "workspace::fetch"),
        (format!("{url}#tasks/it@absent"), 1, "workspace::fetch"),
        ("file:///nonexistent/repo#x".to_owned(), 1, "workspace::fetch"),
    ] {
        world.start_alone(&[&text, "-d", "x"]).run().refused(exit, code);
        assert!(!world.place("x").exists(), "{text}");
    }
}
