//! Workspaces whose files are not mounted.

use serde_json::Value;

use super::World;
use super::tasks::{script, task};
use crate::docker::{DEBIAN, Image, can_run, docker};

#[test]
fn the_files_come_back_with_what_was_removed() {
    if !can_run() {
        return;
    }
    let image = Image::with_tools(&[("app/of-image", "image")], &[]);
    let world = World::new();
    for name in ["kept", "changed", "removed", "below/removed"] {
        world.0.write(format!("ws/{name}"), "of the host");
    }
    world.start("ws", &image.0, &["--no-mount", "--force"]).run().expect(0);
    assert_eq!(world.session("ws")["no_mount"], true);
    let script = "cat of-image kept; echo changed > changed; rm -r removed below; echo new > new; mkdir dir; ln -s new link; ls -A";
    let said = world.within("ws", &["exec", "--", "sh", "-c", script]).run().expect(0).text();
    assert_eq!(said, "imageof the hostchanged\ndir\nkept\nlink\nnew\nof-image");
    // Nothing of it is here yet.
    assert_eq!(world.0.read("ws/changed"), "of the host");
    assert!(!world.place("ws/new").exists() && !world.place("ws/of-image").exists());
    let differs = world.within("ws", &["diff"]).run().expect(0).text();
    assert!(
        differs.contains("D container below/removed") && differs.contains("M container changed"),
        "{differs}"
    );
    world.0.write("ws/mine", "of the host, later");
    let said = world.within("ws", &["sync"]).run().expect(0).text();
    assert!(said.ends_with("1 to the container"), "{said}");
    assert_eq!(world.0.read("ws/changed"), "changed\n");
    assert!(!world.place("ws/removed").exists() && !world.place("ws/below").exists());
    assert_eq!(world.within("ws", &["exec", "cat", "mine"]).run().expect(0).text(), "of the host, later");
    assert_eq!(world.within("ws", &["diff"]).run().expect(0).text(), "");
    // Both change one file.
    world.within("ws", &["exec", "--", "sh", "-c", "echo theirs > kept; rm mine"]).run().expect(0);
    world.0.write("ws/kept", "ours");
    let json = world.within("ws", &["diff", "--json"]).run().expect(0).text();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json.as_array().unwrap().iter().filter(|change| change["conflict"] == true).count(),
        2,
        "{json}"
    );
    let stopped = world.within("ws", &["stop"]).run().expect(0);
    assert!(stopped.said().contains("`kept` was changed on both sides"), "{}", stopped.said());
    assert_eq!(
        (world.0.read("ws/kept"), world.0.read("ws/kept.from-container")),
        ("ours".into(), "theirs\n".into())
    );
    assert!(!world.place("ws/mine").exists());
    // As after a power cut: ended by something else, and nothing lost.
    world.within("ws", &["start"]).run().expect(0);
    world.within("ws", &["exec", "--", "sh", "-c", "cat kept; echo last > last"]).run().expect(0);
    let id = world.session("ws")["harbor_session_id"].as_str().unwrap().to_owned();
    docker(&["kill", &format!("{id}-main-1")], b"");
    world.0.write("ws/meanwhile", "x");
    world.within("ws", &["start"]).run().expect(0);
    assert_eq!(world.0.read("ws/last"), "last\n");
    assert_eq!(world.within("ws", &["exec", "cat", "meanwhile"]).run().expect(0).text(), "x");
    world.within("ws", &["exec", "--", "sh", "-c", "echo at-the-end > end"]).run().expect(0);
    world.within("ws", &["rm", "--force"]).run().expect(0);
    assert_eq!(world.0.read("ws/end"), "at-the-end\n");
}

#[test]
fn a_workspace_is_mounted_or_not_from_its_beginning() {
    if !can_run() {
        return;
    }
    let world = World::new();
    task(&world, "");
    script(&world, "tests/test.sh", "#!/bin/sh\ncp made /logs/verifier/reward.txt\n");
    world.call(&["start", "task", "-d", "ws", "--no-mount"]).run().expect(0);
    let script = "cat .task/instruction.md data; echo 1 > made";
    let said = world.within("ws", &["exec", "--", "sh", "-c", script]).run().expect(0).text();
    assert_eq!(said, "Make it work.\nof the task");
    assert!(world.place("ws/.task/instruction.md").is_file() && !world.place("ws/made").exists());
    let said = world.within("ws", &["verify"]).run().expect(0).text();
    assert!(said.starts_with("Reward: 1"), "{said}");
    world.start("mounted", DEBIAN, &[]).run().expect(0);
    world.within("mounted", &["sync"]).run().refused(2, "workspace::usage");
    world.within("mounted", &["stop"]).run().expect(0);
    world.within("mounted", &["start", "--no-mount"]).run().refused(2, "workspace::usage");
    world.within("mounted", &["rm"]).run().expect(0);
    world.call(&["sync"]).run().refused(1, "workspace::none");
    let said = world.start("x", "127.0.0.1:9/none:1", &["--no-mount"]).run().refused(125, "image::missing");
    assert!(!world.place("x").exists(), "{}", said.said());
}
