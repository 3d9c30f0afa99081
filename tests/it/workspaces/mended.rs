//! What an agent has made of directories that pier needs.

use std::os::unix::fs::PermissionsExt as _;

use super::World;
use crate::docker::can_run;

impl World {
    /// Runs a script in the workspace, and starts it again.
    fn again_after(&self, script: &str) -> String {
        self.within("ws", &["exec", "--", "sh", "-c", script]).run().expect(0);
        self.within("ws", &["stop"]).run().expect(0);
        self.within("ws", &["start"]).run().expect(0).flat()
    }
}

#[test]
fn a_workspace_starts_again_whatever_was_made_of_what_pier_needs_in_it() {
    if !can_run() {
        return;
    }
    for flags in [&[][..], &["--no-mount"]] {
        let world = World::of_task("");
        world.call(&[&["start", "task", "-d", "ws"], flags].concat()).run().expect(0);
        fs_err::create_dir(world.place("victim")).unwrap();
        let instruction =
            || world.within("ws", &["exec", "cat", ".task/instruction.md"]).run().expect(0).text();
        // Names that are planted stop nobody.
        let planted = "for n in $(seq 1000); do mkdir .task.moved-$n; done";
        assert!(!world.again_after(planted).contains(".moved-"), "nothing is in the way");
        let said = world.again_after("rm -r .task; echo mine > .task; chmod 000 /logs/agent /logs/artifacts");
        assert!(said.contains("in the place of `.task`, which pier needs: it is `.task.moved-"), "{said}");
        for name in ["agent", "artifacts"] {
            let path = format!("`.pier/_harbor/{name}` was closed to its owner, and is open again");
            assert!(said.contains(&path), "{said}");
        }
        assert_eq!(instruction(), "Make it work.");
        let kept = "find . -maxdepth 1 -name '.task.moved-*' -type f | xargs cat; touch /logs/agent/x /logs/artifacts/x";
        assert_eq!(world.within("ws", &["exec", "--", "sh", "-c", kept]).run().expect(0).text(), "mine");
        let victim = world.place("victim").canonicalize().unwrap();
        let said = world.again_after(&format!("rm -r .task; ln -s {} .task", victim.display()));
        assert!(said.contains("`.task.moved-"), "{said}");
        assert_eq!((instruction(), fs_err::read_dir(&victim).unwrap().count()), ("Make it work.".into(), 0));
        let said =
            world.again_after("rm .task/instruction.md; mkdir -p .task/instruction.md/deep; chmod 000 .task");
        assert!(said.contains("`.task` was closed to its owner"), "{said}");
        assert!(said.contains("it is `.task/instruction.md.moved-"), "{said}");
        assert_eq!(instruction(), "Make it work.");
        world.within("ws", &["rm", "--force"]).run().expect(0);
    }
}

#[test]
fn a_workspace_that_is_closed_is_listed_with_what_opens_it() {
    let world = World::of_task("");
    let alone = |words: &[&str]| world.0.call(words).env("DOCKER_HOST", "unix:///nonexistent.sock");
    alone(&["start", "task", "-d", "ws", "--host"]).run().expect(0);
    let root = world.place("ws").canonicalize().unwrap();
    let mode = |mode| fs_err::set_permissions(&root, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o000);
    let listed = alone(&["list"]).run();
    let started = alone(&["start", "-d", "ws"]).run();
    mode(0o755);
    assert!(listed.expect(0).text().ends_with("damaged"));
    let started = started.refused(1, "workspace::files");
    assert!(started.flat().contains("`chmod u+rwx` opens your own"), "{}", started.said());
    let listed = alone(&["list", "--json"]).run().expect(0).text();
    assert!(listed.contains(root.to_str().unwrap()), "it is not forgotten: {listed}");
}
