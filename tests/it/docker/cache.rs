//! `pier cache`: what is kept, what goes, and what does not.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::build::{Building, dockerfile};
use super::{BUSYBOX, can_run, docker, with_engine};
use crate::sandbox::{Project, unique_sleep};

/// Makes something look as if it was used last many days ago.
fn age(path: &Path) {
    let before = SystemTime::now() - Duration::from_hours(24 * 30);
    File::open(path).unwrap().set_modified(before).unwrap();
}

fn cache(project: &Project, words: &[&str]) -> Value {
    let call = project.call(["cache"].iter().chain(words)).env("DOCKER_HOST", "unix:///nonexistent");
    serde_json::from_str(&call.run().expect(0).text()).unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect()
}

#[test]
fn what_is_old_and_unused_goes() {
    let project = Project::new("");
    let agents = "home/.cache/pier/agents/pi";
    for name in ["1.0.0-aaaaaaaa", "2.0.0-bbbbbbbb", "3.0.0-cccccccc"] {
        project.write_beside(format!("{agents}/{name}/file"), "12345");
    }
    let facts = format!("home/.cache/pier/images/{}.json", "0".repeat(64));
    project.write_beside(&facts, "{}");
    let shells = "home/.local/state/pier/nix/0123456789abcdef";
    for name in ["held", "free"] {
        project.write_beside(format!("{shells}/{name}/lock"), "");
    }
    let at = |path: &str| project.base().join(path);
    let paths = [
        format!("{agents}/1.0.0-aaaaaaaa"),
        format!("{agents}/3.0.0-cccccccc"),
        facts.clone(),
        format!("{shells}/held"),
        format!("{shells}/free"),
    ];
    for path in &paths {
        age(&at(path));
    }
    let held = File::open(at(&format!("{shells}/held/lock"))).unwrap();
    held.lock_shared().unwrap();

    // A session whose plan names the third agent.
    let sleep = unique_sleep();
    let session = project.call(["exec", "--detach", "--", "sleep", &sleep]).run().expect(0).text();
    let plans = project.state().join("plans");
    let plan = fs_err::read_dir(plans).unwrap().next().unwrap().unwrap().path();
    let text = fs_err::read_to_string(&plan).unwrap();
    fs_err::write(&plan, format!("{text}{}", at(&paths[1]).display())).unwrap();
    age(&plan);

    let list = cache(&project, &["list", "--json"]);
    let all = [
        "1.0.0-aaaaaaaa",
        "2.0.0-bbbbbbbb",
        "3.0.0-cccccccc",
        &format!("{}.json", "0".repeat(64)),
        "free",
        "held",
    ];
    assert_eq!(names(&list), all);
    assert_eq!(
        (&list[0]["kind"], &list[0]["bytes"], &list[0]["in_use"]),
        (&"agent".into(), &5.into(), &false.into())
    );
    assert_eq!((&list[2]["in_use"], &list[5]["in_use"]), (&true.into(), &true.into()));
    let said =
        project.call(["cache", "list"]).env("DOCKER_HOST", "unix:///nonexistent").run().expect(0).text();
    assert!(said.starts_with("KIND") && said.contains("in use"), "{said}");

    let expected = ["1.0.0-aaaaaaaa", all[3], "free"];
    let would = cache(&project, &["prune", "--dry-run", "--json"]);
    assert_eq!(names(&would["removed"]), expected);
    assert_eq!(names(&cache(&project, &["list", "--json"])), all, "nothing went");
    let gone = cache(&project, &["prune", "--json"]);
    assert_eq!(names(&gone["removed"]), expected);
    let left = ["2.0.0-bbbbbbbb", "3.0.0-cccccccc", "held"];
    assert_eq!(names(&cache(&project, &["list", "--json"])), left);

    // A plan that was written since is another session's: anything may be in use.
    fs_err::write(&plan, text).unwrap();
    assert_eq!(names(&cache(&project, &["prune", "--json"])["removed"]), [""; 0]);
    project.pier(&["stop", &session]).expect(0);
    drop(held);
    assert_eq!(names(&cache(&project, &["prune", "--json"])["removed"]), ["3.0.0-cccccccc", "held"]);

    // What cannot be removed is told.
    let stuck = at(&format!("{agents}/2.0.0-bbbbbbbb"));
    age(&stuck);
    fs_err::remove_file(at(&format!("{agents}/.lock"))).unwrap();
    project.write_beside(format!("{agents}/.lock/in-the-way"), "");
    age(&stuck);
    let call = project.call(["cache", "prune"]).env("DOCKER_HOST", "unix:///nonexistent");
    let said = call.run().expect(1);
    assert_eq!(said.said().matches("cache::remove").count(), 1, "{}", said.said());
    assert!(stuck.exists());
}

#[test]
fn only_images_that_pier_built_go() {
    if !can_run() {
        return;
    }
    let building = Building::new("", &[]);
    dockerfile(&building, BUSYBOX, "RUN true");
    building.trust();
    let project = &building.0;
    let sleep = unique_sleep();
    let session =
        with_engine(project.call(["exec", "--detach", "--", "sleep", &sleep])).run().expect(0).text();
    let tag = building.tags()[0].clone();
    // An image of somebody else's that was built on it has its label, too.
    let other = format!("pier-test/other-{}:1", std::process::id());
    docker(&["build", "--quiet", "--tag", &other, "-"], format!("FROM {tag}\nENV X=1\n").as_bytes());
    let prune = |words: &[&str]| {
        let words = [&["cache", "prune", "--json"], words].concat();
        let said: Value =
            serde_json::from_str(&with_engine(project.call(words)).run().expect(0).text()).unwrap();
        let removed = said["removed"].as_array().unwrap().iter();
        removed
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .filter(|name| *name == tag || *name == other)
            .collect::<Vec<_>>()
    };
    let list = with_engine(project.call(["cache", "list"])).run().expect(0).text();
    assert!(list.contains(&tag) && !list.contains(&other), "{list}");
    std::thread::sleep(Duration::from_secs(2));
    // Other tests build at the same time: nothing of theirs may go.
    assert_eq!(prune(&["--dry-run", "--keep", "1s"]), [""; 0], "a session uses it");
    with_engine(project.call(["stop", &session])).run().expect(0);
    assert_eq!(prune(&["--dry-run"]), [""; 0], "it is new");
    assert_eq!(prune(&["--dry-run", "--keep", "1s"]), std::slice::from_ref(&tag));
    docker(&["rmi", &other], b"");
    assert_eq!(building.tags(), [tag]);
}
