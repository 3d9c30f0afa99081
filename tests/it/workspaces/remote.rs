//! Tasks of repositories that are elsewhere.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::World;
use super::tasks::task;
use crate::docker::can_run;
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
    let session: Value = serde_json::from_str(&directory).unwrap();
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
fn a_fetched_task_has_a_container_as_well() {
    if !can_run() {
        return;
    }
    let world = World::of_task("");
    let whole = format!("{}#tasks/it", world.repository());
    let said = world.call(&["start", &whole]).run().expect(0);
    assert_eq!(said.said().matches("fetching the task").count(), 1, "{}", said.said());
    let script = "cat data .task/instruction.md";
    let said = world.within("it", &["exec", "--", "sh", "-c", script]).run().expect(0).text();
    assert_eq!(said, "of the task\nMake it work.");
    world.within("it", &["rm", "--force"]).run().expect(0);
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

#[test]
fn what_lacks_in_a_repository_is_told_with_what_to_write() {
    let world = World::new();
    task(&world, "[environment]\n");
    let url = world.repository();
    for (text, said, help) in [
        ("tasks/absent", "the repository has no directory `tasks/absent`", "check the path behind `#`"),
        ("tasks/it@absent", "couldn't find remote ref absent", "check what is behind `@`"),
        (&format!("tasks/it@{:040}", 7), "not our ref", "check what is behind `@`"),
        ("tasks", "the directory `tasks` of the repository is no task: it has no `task.toml`", "`#tasks/it`"),
        ("tasks/it/tests", "`tasks/it/tests` of the repository is no task", "behind `#`"),
    ] {
        let refused =
            world.start_alone(&[&format!("{url}#{text}"), "-d", "x"]).run().refused(1, "workspace::fetch");
        assert!(refused.flat().contains(said) && refused.flat().contains(help), "{}", refused.said());
        assert!(!refused.said().contains(".cache") && !world.place("x").exists(), "{}", refused.said());
    }
    let of_host = "git@no-such-host.invalid:team/tasks#it";
    for (ssh, said) in [
        ("echo 'ssh: Could not resolve hostname no-such-host.invalid' >&2", "Could not resolve hostname"),
        (
            "echo 'Warning: Permanently added it.' >&2; echo 'No user exists for uid 7' >&2",
            "No user exists for uid 7",
        ),
    ] {
        let call =
            world.start_alone(&[of_host, "-d", "x"]).env("GIT_SSH_COMMAND", format!("{ssh}; exit 255; :"));
        let refused = call.run().refused(1, "workspace::fetch");
        assert!(
            refused.flat().contains(said) && !refused.flat().contains("Permanently"),
            "{}",
            refused.said()
        );
        assert!(!refused.flat().contains("Could not read"), "{}", refused.said());
    }
}

#[test]
fn a_fetched_task_goes_when_no_workspace_is_of_it() {
    let world = World::new();
    task(&world, "[environment]\n");
    let whole = format!("{}#tasks/it", world.repository());
    world.start_alone(&[&whole, "-d", "one"]).run().expect(0);
    let kept = PathBuf::from(world.session("one")["task_dir"].as_str().unwrap());
    let all = kept.parent().unwrap().parent().unwrap().to_owned();
    // What a killed fetch left.
    fs_err::create_dir_all(all.join(".tmpAbCdEf/tasks")).unwrap();
    world.0.give_away();
    let cache = |words: &[&str]| -> Value {
        let call = world.0.call(["cache"].iter().chain(words)).env("DOCKER_HOST", "unix:///nonexistent");
        serde_json::from_str(&call.run().expect(0).text()).unwrap()
    };
    // All of it was used last many days ago.
    let removed = || {
        for path in [&kept, &all.join(".tmpAbCdEf")].into_iter().filter(|path| path.exists()) {
            let before = SystemTime::now() - Duration::from_hours(24 * 30);
            File::open(path).unwrap().set_modified(before).unwrap();
        }
        let said = cache(&["prune", "--json"]);
        let names = said["removed"].as_array().unwrap().iter().map(|item| {
            assert_eq!(item["kind"], "task");
            PathBuf::from(item["name"].as_str().unwrap())
        });
        names.collect::<Vec<_>>()
    };
    let list = cache(&["list", "--json"]);
    assert_eq!((&list[1]["name"], &list[1]["in_use"]), (&kept.to_str().unwrap().into(), &true.into()));
    assert!(list[1]["bytes"].as_u64().unwrap() > 0 && list[0]["in_use"] == false, "{list}");
    // Whoever fetches keeps all of them, for nobody knows yet which one a workspace will be of.
    let fetching = File::open(all.join(".lock")).unwrap();
    fetching.lock_shared().unwrap();
    fs_err::rename(world.place("one"), world.place("away")).unwrap();
    assert!(removed().is_empty());
    drop(fetching);
    // A workspace that cannot be read may be of any task.
    world.start_alone(&[&whole, "-d", "two"]).run().expect(0);
    assert!(kept.metadata().unwrap().modified().unwrap().elapsed().unwrap() < Duration::from_hours(1));
    let file = "two/.pier/session.json";
    let text = world.0.read(file);
    world.0.write(file, "{");
    assert!(removed().is_empty());
    world.0.write(file, &text);
    assert_eq!(removed(), [all.join(".tmpAbCdEf")]);
    assert!(kept.join("task.toml").is_file());
    fs_err::remove_dir_all(world.place("two")).unwrap();
    assert_eq!(removed(), [kept.as_path()]);
    assert_eq!(fs_err::read_dir(&all).unwrap().count(), 1, "the lock alone is left");
    // It is fetched again where somebody wants it.
    let again = world.start_alone(&[&whole, "-d", "three"]).run().expect(0);
    assert!(again.said().contains("fetching") && kept.join("task.toml").is_file(), "{}", again.said());
}
