//! Workspaces that are not where they were, and what pier still has of them.

use serde_json::Value;

use super::World;
use crate::docker::{DEBIAN, can_run, docker};

impl World {
    /// What two commands say of a workspace that is lost.
    fn told(&self) -> [String; 2] {
        [&["list"][..], &["doctor"]].map(|words| {
            let said = self.call(words).run();
            assert_eq!(said.code(), Some(0), "{}", said.said());
            format!("{} {}", said.text().replace('\n', " "), said.flat())
        })
    }
}

#[test]
fn a_workspace_whose_file_is_lost_is_told_and_goes_on() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", DEBIAN, &["--no-mount"]).run().expect(0);
    world.within("ws", &["exec", "--", "sh", "-c", "echo of-container > alone"]).run().expect(0);
    assert!(world.told().iter().all(|told| !told.contains("lost")));
    let before = world.0.read("ws/.pier/session.json");
    fs_err::remove_dir_all(world.place("ws/.pier")).unwrap();
    let files = world.private().canonicalize().unwrap().join("files");
    for told in world.told() {
        let told = told.replace(' ', "");
        assert!(told.contains("haslostits`.pier/session.json`") && told.contains("--accept`"), "{told}");
        assert!(told.contains(&format!("`{}`", files.display())), "{told}");
    }
    let listed: Value =
        serde_json::from_str(&world.call(&["list", "--json"]).run().expect(0).text()).unwrap();
    assert_eq!(listed[0]["status"], "lost");
    for name in ["ws", "ws/below"] {
        fs_err::create_dir_all(world.place(name)).unwrap();
        world.0.give_away();
        let said = world.within(name, &["start"]).run().refused(125, "workspace::lost");
        assert!(
            said.flat().contains("`pier start -d") && !world.place("ws/.pier").exists(),
            "{}",
            said.said()
        );
    }
    fs_err::remove_dir(world.place("ws/below")).unwrap();
    world.call(&["start", "-d", "ws", "--accept"]).run().expect(0);
    assert_eq!(world.within("ws", &["exec", "cat", "alone"]).run().expect(0).text(), "of-container");
    let after = world.session("ws");
    let before: Value = serde_json::from_str(&before).unwrap();
    assert_eq!((&after["no_mount"], &after["image"]), (&before["no_mount"], &before["image"]));
    assert!(world.told().iter().all(|told| !told.contains("lost")));
    world.within("ws", &["rm", "--force"]).run().expect(0);
    assert_eq!(world.0.read("ws/alone"), "of-container\n");
    // Nothing of it is anywhere else any more.
    fs_err::remove_dir_all(world.place("ws/.pier")).unwrap();
    assert!(world.told().iter().all(|told| !told.contains("lost")));
}

#[test]
fn a_workspace_that_was_moved_takes_its_files_along() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.0.write("ws/both", "of the host");
    world.start("ws", DEBIAN, &["--no-mount", "--force"]).run().expect(0);
    world.within("ws", &["exec", "--", "sh", "-c", "echo of-container > alone; rm both"]).run().expect(0);
    let container = world.containers().split(' ').next().unwrap().to_owned();
    docker(&["kill", &container], b"");
    fs_err::rename(world.place("ws"), world.place("moved")).unwrap();
    for told in world.told() {
        assert!(told.contains("is not there any more, and what its container had is in"), "{told}");
        assert!(told.contains("where it was moved to, `pier start --accept` takes them"), "{told}");
        assert!(told.contains("without that, move the directory back to where it was"), "{told}");
    }
    let said = world.within("moved", &["start"]).run().refused(125, "workspace::lost");
    assert!(said.flat().contains("this workspace was moved here from"), "{}", said.said());
    let said = world.within("moved", &["start", "--accept"]).run().expect(0);
    assert!(said.flat().contains(&format!("until `docker rm {container}`")), "{}", said.said());
    docker(&["rm", &container], b"");
    assert_eq!(world.within("moved", &["exec", "cat", "alone"]).run().expect(0).text(), "of-container");
    assert!(!world.place("moved/both").exists(), "what was removed is not there again");
    assert!(world.told().iter().all(|told| !told.contains("not there any more")));
    world.within("moved", &["rm", "--force"]).run().expect(0);
    assert_eq!(world.0.read("moved/alone"), "of-container\n");
}

#[test]
fn what_pier_has_of_a_lost_workspace_is_removed_where_it_is_named() {
    if !can_run() {
        return;
    }
    // Mounted, and gone with its directory: the container is still there.
    let world = World::new();
    world.start("ws", DEBIAN, &[]).run().expect(0);
    let private = world.private();
    fs_err::remove_dir_all(world.place("ws")).unwrap();
    world.call(&["rm"]).run().refused(1, "workspace::none");
    world.call(&["rm", "-d", "other"]).run().refused(1, "workspace::files");
    world.call(&["rm", "-d", "ws"]).run().refused(1, "workspace::running");
    assert!(world.containers().ends_with(" running") && private.exists());
    let said = world.call(&["rm", "-d", "ws", "--force"]).run().expect(0);
    assert!(said.text().contains(world.place("ws").to_str().unwrap()), "{}", said.text());
    assert!(world.containers().is_empty() && !private.exists());
    world.call(&["rm", "-d", "ws", "--force"]).run().refused(1, "workspace::files");

    // Not mounted: what is nowhere else goes only where somebody says so.
    world.start("ws", DEBIAN, &["--no-mount"]).run().expect(0);
    world.within("ws", &["exec", "--", "sh", "-c", "echo of-container > alone"]).run().expect(0);
    fs_err::remove_dir_all(world.place("ws/.pier")).unwrap();
    for told in world.told() {
        assert!(told.replace(' ', "").contains("--force`removesthat"), "{told}");
    }
    let files = world.private().join("files/alone");
    let kept = world.call(&["rm", "-d", "ws"]).run().refused(1, "workspace::lost");
    assert!(kept.flat().contains("and nowhere else") && files.exists(), "{}", kept.said());
    // From inside as well.
    fs_err::create_dir(world.place("ws/below")).unwrap();
    world.0.give_away();
    let private = world.private();
    world.within("ws/below", &["rm", "--force"]).run().expect(0);
    assert!(world.containers().is_empty() && !private.exists());
    assert!(world.place("ws/below").exists(), "what is the user's own stays");
    assert!(world.told().iter().all(|told| !told.contains("lost")));
}

#[test]
fn a_lost_workspace_without_a_container_is_removed_without_an_engine() {
    let world = World::of_task("");
    let alone = |words: &[&str]| world.0.call(words).env("DOCKER_HOST", "unix:///nonexistent.sock");
    alone(&["start", "task", "-d", "ws", "--host"]).run().expect(0);
    let private = world.private();
    // One whose file is damaged is not lost.
    world.0.write("ws/.pier/session.json", "{");
    alone(&["rm", "-d", "ws"]).run().refused(1, "workspace::damaged");
    fs_err::remove_file(world.place("ws/.pier/session.json")).unwrap();
    let listed = alone(&["list"]).run().expect(0);
    assert!(listed.flat().contains("removes what pier has of it"), "{}", listed.said());
    alone(&["rm", "-d", "ws"]).run().expect(0);
    assert!(!private.exists() && world.place("ws/data").exists());
    assert_eq!(alone(&["list"]).run().expect(0).text(), "No active workspaces.");
}

#[test]
fn what_runs_or_stops_in_a_workspace_that_lost_its_file_says_so() {
    if !can_run() {
        return;
    }
    let world = World::new();
    for name in ["ws", "other", "third"] {
        world.start(name, DEBIAN, &[]).run().expect(0);
    }
    fs_err::remove_file(world.place("ws/.pier/session.json")).unwrap();
    fs_err::create_dir(world.place("ws/below")).unwrap();
    world.0.give_away();
    for at in ["ws", "ws/below"] {
        for words in [&["exec", "touch", "elsewhere"][..], &["stop"], &["verify"]] {
            let said = world.within(at, words).run().refused(125, "workspace::lost");
            assert!(said.flat().contains("has lost its `.pier/session.json`"), "{}", said.said());
        }
    }
    assert!(!world.place("ws/elsewhere").exists());
    world.within("ws", &["start", "--accept"]).run().expect(0);
    world.within("ws", &["exec", "true"]).run().expect(0);
}

#[test]
fn a_damaged_list_of_workspaces_counts_as_empty_and_fills_again() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let calls: [&[&str]; 4] = [&["start"], &["exec", "true"], &["stop"], &["start"]];
    world.start("ws", DEBIAN, &[]).run().expect(0);
    let index = world.0.home().join(".pier/index.json");
    for words in calls {
        fs_err::write(&index, "[\"/cut").unwrap();
        let listed = world.call(&["list"]).run().expect(0);
        assert!(listed.flat().contains("cannot be read, and is `"), "{}", listed.said());
        assert_eq!(fs_err::read_to_string(index.with_extension("json.damaged")).unwrap(), "[\"/cut");
        let said = world.within("ws", words).run().expect(0);
        assert!(!said.said().contains("index.json"), "it is told once: {}", said.said());
        let listed = world.call(&["list", "--json"]).run().expect(0).text();
        let listed: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 1, "{words:?}: {listed}");
    }
    fs_err::write(&index, "7").unwrap();
    let other = world.start("other", DEBIAN, &[]).run().expect(0);
    assert!(other.flat().contains("it is no list"), "{}", other.said());
}
