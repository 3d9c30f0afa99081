//! Workspaces of tasks in Harbor's format.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::World;
use crate::docker::user::MAKE;
use crate::docker::{DEBIAN, can_run, docker};

/// A task on an image that every test has.
pub fn task(world: &World, toml: &str) {
    world.0.write("task/task.toml", toml);
    world.0.write("task/instruction.md", "Make it work.\n");
    world.0.write(
        "task/environment/Dockerfile",
        format!("FROM {DEBIAN}\nWORKDIR /work\nCOPY data /work/data\n"),
    );
    world.0.write("task/environment/data", "of the task\n");
    script(world, "tests/test.sh", "#!/bin/sh\necho 1 > /logs/verifier/reward.txt\n");
}

/// Writes a script of the task.
pub fn script(world: &World, name: &str, text: &str) {
    world.0.write(format!("task/{name}"), text);
    let path = world.place("task").join(name);
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

impl World {
    pub fn of_task(toml: &str) -> Self {
        let world = World::new();
        task(&world, toml);
        world
    }
}

#[test]
fn a_task_is_a_workspace_with_its_files_and_what_is_to_be_done() {
    if !can_run() {
        return;
    }
    let world = World::of_task(
        "[environment]\nmemory_mb = 512\ncpus = 1\n[environment.env]\nPLAIN = \"one\"\nOTHER = \"${ABSENT:-two}\"\n",
    );
    let said = world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    assert!(said.text().contains(".task/instruction.md"), "{}", said.text());
    assert_eq!(world.0.read("ws/data"), "of the task\n");
    assert_eq!(world.0.read("ws/.task/instruction.md"), "Make it work.\n");
    let session = world.session("ws");
    assert_eq!(session["task_ref"], "task");
    assert_eq!(session["task_dir"], world.place("task").canonicalize().unwrap().to_str().unwrap());
    let script = "pwd; cat .task/instruction.md; echo $PLAIN $OTHER; ls -A .pier";
    let said = world.within("ws", &["exec", "--", "sh", "-c", script]).run().expect(0).text();
    assert_eq!(said, "/work\nMake it work.\none two");
    let id = session["harbor_session_id"].as_str().unwrap().to_owned();
    let limits =
        ["inspect", "--format", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}", &format!("{id}-main-1")];
    assert_eq!(docker(&limits, b""), "536870912 1000000000");

    // The same task starts it again, another one does not, and a changed one is built anew.
    world.within("ws", &["stop"]).run().expect(0);
    let again = world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    assert!(!again.said().contains("anew"), "{}", again.said());
    let twice = world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    assert!(
        twice.said().contains("already running") && !twice.said().contains("changed"),
        "{}",
        twice.said()
    );
    world.0.write("task/tests/more", "what is read by the tests alone");
    assert!(!world.within("ws", &["start"]).run().expect(0).said().contains("changed"));
    let data = world.place("task/environment/data");
    fs_err::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let changed = world.within("ws", &["start"]).run().expect(0);
    let expected = "the files of its task have changed since it was started: `pier stop`, then `pier start`";
    assert!(changed.flat().contains(expected), "{}", changed.said());
    fs_err::set_permissions(&data, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(!world.within("ws", &["start"]).run().expect(0).said().contains("changed"));
    world.within("ws", &["stop"]).run().expect(0);
    fs_err::create_dir(world.place("other")).unwrap();
    let other = world.call(&["start", "other", "-d", "ws"]).run().refused(2, "workspace::usage");
    assert!(other.flat().contains("different task"), "{}", other.said());
    world.call(&["start", "--image", DEBIAN, "-d", "ws"]).run().refused(2, "workspace::usage");
    // No other run has built it.
    let unique = format!("changed in {}\n", world.0.base().display());
    world.0.write("task/environment/data", unique);
    world.0.write("task/instruction.md", "Something else.\n");
    let changed = world.within("ws", &["start"]).run().expect(0);
    assert!(
        changed.said().contains("building the image") && changed.said().contains("anew"),
        "{}",
        changed.said()
    );
    assert_eq!(world.0.read("ws/data"), "of the task\n", "files of the workspace are the user's by now");
    assert!(changed.flat().contains("the workspace keeps its own: `data`"), "{}", changed.said());
    assert_eq!(world.0.read("ws/.task/instruction.md"), "Something else.\n");
}

#[test]
fn variables_of_this_host_are_given_to_a_task_that_somebody_allowed_it() {
    if !can_run() {
        return;
    }
    let world = World::of_task("[environment.env]\nASKED = \"${HOST_VALUE}\"\n");
    let start = || world.call(&["start", "task", "-d", "ws"]);
    let missing = start().run().refused(2, "workspace::variable");
    assert!(missing.flat().contains("`HOST_VALUE` (for `ASKED`)"), "{}", missing.said());
    let asked = start().env("HOST_VALUE", "key-of-the-host").run().refused(125, "workspace::variable");
    assert!(asked.flat().contains("`HOST_VALUE`") && !asked.said().contains("key-of"), "{}", asked.said());
    assert!(!world.place("ws").exists());
    world
        .call(&["start", "task", "-d", "ws", "--accept"])
        .env("HOST_VALUE", "key-of-the-host")
        .run()
        .expect(0);
    let read = || world.within("ws", &["exec", "--", "sh", "-c", "echo $ASKED"]).run().expect(0).text();
    assert_eq!(read(), "key-of-the-host");
    world.within("ws", &["stop"]).run().expect(0);
    // It is allowed by now, and was never written.
    world.within("ws", &["start"]).run().refused(2, "workspace::variable");
    world.within("ws", &["start"]).env("HOST_VALUE", "another").run().expect(0);
    assert_eq!(read(), "another");
    world.within("ws", &["stop"]).run().expect(0);
    // What is given to the workspace is given to the task.
    world.within("ws", &["start", "-e", "HOST_VALUE=given", "-e", "MORE=1"]).run().expect(0);
    assert_eq!(read(), "given");
}

#[test]
fn the_network_and_the_health_of_a_task_are_honoured() {
    if !can_run() {
        return;
    }
    let world = World::of_task(
        "[environment]\nnetwork_mode = \"no-network\"\n[environment.healthcheck]\ncommand = \"test -e /tmp/one || { touch /tmp/one; false; }\"\ninterval_sec = 0.1\n",
    );
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let script = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '";
    assert_eq!(world.within("ws", &["exec", "--", "sh", "-c", script]).run().expect(0).text(), "lo");
    world.within("ws", &["rm", "--force"]).run().expect(0);
    world.0.write(
        "task/task.toml",
        "[environment.healthcheck]\ncommand = \"sleep 60\"\ninterval_sec = 0.1\nretries = 2\ntimeout_sec = 0.2\n",
    );
    fs_err::create_dir(world.place("ill")).unwrap();
    std::os::unix::fs::lchown(world.place("ill"), Some(world.0.owner()), None).unwrap();
    let ill = world.call(&["start", "task", "-d", "ill"]).run().refused(1, "workspace::health");
    assert!(ill.flat().contains("failed 2 times"), "{}", ill.said());
    assert_eq!(fs_err::read_dir(world.place("ill")).unwrap().count(), 0, "it can be repeated as it was");
    let all = docker(&["ps", "--all", "--format", "{{.Names}}"], b"");
    assert!(!all.contains("pier-ill-"), "{all}");
}

#[test]
fn a_task_that_used_up_its_memory_is_told() {
    if !can_run() {
        return;
    }
    // The init of the workspace is far smaller.
    let world = World::of_task("[environment]\nmemory_mb = 128\n");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let eat = "head -c 300M /dev/zero | tail | wc -c; exit ${PIPESTATUS[1]}";
    for (script, told) in [(eat, true), ("kill -9 $$", false), (eat, true)] {
        let said = world.within("ws", &["exec", "--", "bash", "-c", script]).run().expect(137);
        assert_eq!(said.flat().contains("used up `limits memory`"), told, "{}", said.flat());
    }
}

#[test]
fn many_that_use_up_the_memory_go_and_the_workspace_stays() {
    if !can_run() {
        return;
    }
    let world = World::of_task("[environment]\nmemory_mb = 128\n");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    // Each of them is smaller than the first process of the container.
    let many = "for n in $(seq 60); do { head -c 4M /dev/zero; sleep 5; } | tail > /dev/null & done; wait; cat /proc/self/oom_score_adj";
    let said = world.within("ws", &["exec", "--", "bash", "-c", many]).run().expect(0);
    assert!(said.flat().contains("used up `limits memory`") && said.text() == "300", "{}", said.flat());
    assert_eq!(world.within("ws", &["exec", "echo", "on"]).run().expect(0).text(), "on");
}

#[test]
fn what_is_no_task_makes_nothing() {
    if !can_run() {
        return;
    }
    let world = World::of_task("[environment]\n");
    let start = |words: &[&str]| world.call(&[&["start", "task"], words].concat()).run();
    start(&[]).refused(2, "workspace::usage");
    start(&["-d", "x", "--image", DEBIAN]).refused(2, "workspace::usage");
    world.call(&["start", "nowhere", "-d", "x"]).run().refused(2, "workspace::task");
    world.call(&["start", "--image", DEBIAN, "-d", "x", "--accept"]).run().refused(2, "workspace::usage");
    for (toml, code) in [
        ("[environment", "task::syntax"),
        ("[environment]\ncpus = \"many\"\n", "task::type"),
        ("[environment]\nos = \"windows\"\n", "task::file"),
        ("[environment]\ngpus = 1\n", "cli::not-yet"),
        ("[environment.env]\n\"not a name\" = \"x\"\n", "workspace::variable"),
    ] {
        world.0.write("task/task.toml", toml);
        start(&["-d", "x"]).refused(2, code);
        assert!(!world.place("x").exists(), "{toml}");
    }
    world.0.write("task/task.toml", "[environment]\nno_such_key = 1\n");
    world.0.write("task/environment/Dockerfile", format!("FROM {DEBIAN}\nRUN exit 3\n"));
    let failed = start(&["-d", "x"]).refused(125, "image::build");
    assert!(failed.said().contains("no_such_key"), "{}", failed.said());
    assert!(!world.place("x").exists());
    fs_err::remove_file(world.place("task/tests/test.sh")).unwrap();
    start(&["-d", "x"]).refused(2, "task::file");
}

#[test]
fn a_prepared_image_has_the_files_of_the_task_beside_it() {
    if !can_run() {
        return;
    }
    let world =
        World::of_task(&format!("[environment]\ndocker_image = \"{DEBIAN}\"\nworkdir = \"/opt/it\"\n"));
    fs_err::remove_file(world.place("task/environment/Dockerfile")).unwrap();
    world.0.write("task/environment/below/file", "x");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let said =
        world.within("ws", &["exec", "--", "sh", "-c", "pwd; cat data below/file"]).run().expect(0).text();
    assert_eq!(said, "/opt/it\nof the task\nx");
}

#[test]
fn no_link_of_a_task_shows_what_is_outside() {
    if !can_run() {
        return;
    }
    let world = World::of_task("");
    world.0.write("secret", "of the host");
    world.0.write("hidden/key", "of the host");
    for (name, code) in [("instruction.md", "task::file"), ("task.toml", "workspace::task")] {
        let path = world.place("task").join(name);
        let text = fs_err::read(&path).unwrap();
        fs_err::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(world.place("secret"), &path).unwrap();
        let said = world.call(&["start", "task", "-d", "x"]).run().refused(2, code);
        assert!(!said.said().contains("of the host") && !world.place("x").exists(), "{}", said.said());
        fs_err::remove_file(&path).unwrap();
        fs_err::write(&path, text).unwrap();
    }
    world.0.write(
        "task/task.toml",
        format!("[environment]\ndocker_image = \"{DEBIAN}\"\nworkdir = \"/opt/empty\"\n"),
    );
    fs_err::remove_dir_all(world.place("task/environment")).unwrap();
    std::os::unix::fs::symlink(world.place("hidden"), world.place("task/environment")).unwrap();
    world.call(&["start", "task", "-d", "ws"]).run();
    assert!(!world.place("ws/key").exists());
}

#[test]
fn a_task_says_who_its_agent_is() {
    if !can_run() {
        return;
    }
    let world = World::new();
    task(&world, "[agent]\nuser = \"app\"\n[verifier]\nuser = \"app\"\n");
    let dockerfile = format!("FROM {DEBIAN}\nWORKDIR /work\n{MAKE}\n");
    world.0.write("task/environment/Dockerfile", dockerfile);
    let test =
        "#!/bin/sh\ntest \"$(id -un)\" = app && cat /srv/own/file && echo 1 > /logs/verifier/reward.txt\n";
    script(&world, "tests/test.sh", test);
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let said = world.within("ws", &["exec", "--", "sh", "-c", "id -un; cat /srv/own/file; touch made"]);
    assert_eq!(said.run().expect(0).text(), "app\nhis");
    let made = fs_err::metadata(world.place("ws/made")).unwrap();
    assert_eq!(made.uid(), world.0.owner());
    world.within("ws", &["verify", "--min-reward", "1"]).run().expect(0);
    // It is started again as it was.
    world.within("ws", &["stop"]).run().expect(0);
    let again = world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    assert!(!again.said().contains("anew"), "{}", again.said());
    let said = world.within("ws", &["exec", "--", "id", "-un"]).run().expect(0);
    assert_eq!(said.text(), "app");

    // Root is nobody, which is said.
    let world = World::of_task("[agent]\nuser = 0\n");
    let said = world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    assert!(said.said().contains("`[agent] user` has no effect"), "{}", said.said());
}

#[test]
fn users_of_a_task_that_its_image_does_not_have_are_missed_at_the_start() {
    if !can_run() {
        return;
    }
    let world = World::of_task("");
    for (table, user) in [("agent", "ghost"), ("verifier", "ghost"), ("verifier", "nobody:staff")] {
        world.0.write("task/task.toml", format!("[environment]\n\n[{table}]\nuser = \"{user}\"\n"));
        let refused = world.call(&["start", "task", "-d", "ws"]).run().refused(2, "image::user");
        let said = format!("the image has no user `{user}`, who is the `user` of `[{table}]`");
        assert!(refused.flat().contains(&said), "{}", refused.said());
        assert!(refused.flat().contains("task.toml:4:8"), "{}", refused.said());
        assert!(!world.place("ws").exists());
    }
    // Whoever works there is one that the image does not have; a number needs no name, and tests elsewhere have others.
    let own = "[verifier]\nenvironment_mode = \"separate\"\nuser = \"ghost\"\n[verifier.environment]\n";
    let own = format!("{own}docker_image = \"{DEBIAN}\"\n");
    for text in ["[verifier]\nuser = \"pier\"\n", "[verifier]\nuser = 4711\n", &own] {
        world.0.write("task/task.toml", text);
        world.call(&["start", "task", "-d", "ws"]).run().expect(0);
        world.within("ws", &["rm", "--force"]).run().expect(0);
        fs_err::remove_dir_all(world.place("ws")).unwrap();
    }
}

#[test]
fn what_is_no_directory_in_an_image_where_a_workspace_needs_one_is_named() {
    if !can_run() {
        return;
    }
    let world = World::of_task("");
    for (run, said) in [
        (
            "mkdir /var/of && ln -s /var/of /logs",
            "is a link to `/var/of`, and a workspace needs a directory there",
        ),
        ("touch /logs", "is no directory, and a workspace needs"),
        ("ln -s /logs /logs", "is no directory, and a workspace needs"),
        ("rm -rf /home && mkdir /var/of && ln -s /var/of /home", "is a link to `/var/of`"),
        ("rm -rf /home && touch /home", "`RUN rm -f /home && mkdir /home`"),
    ] {
        world.0.write("task/environment/Dockerfile", format!("FROM {DEBIAN}\nRUN {run}\nWORKDIR /work\n"));
        let refused = world.call(&["start", "task", "-d", "ws"]).run().refused(2, "image::place");
        assert!(refused.flat().contains(said), "{run}: {}", refused.said());
        assert!(!world.place("ws").exists());
    }
}

#[test]
fn a_working_directory_behind_a_link_of_the_image_is_where_the_link_leads() {
    if !can_run() {
        return;
    }
    let world = World::of_task("");
    let linked = format!(
        "FROM {DEBIAN}\nRUN mkdir -p /srv/real/sub && ln -s real /srv/link && ln -s /loop /loop\n\
         COPY data /srv/real/sub/data\nWORKDIR /srv/link/sub\n"
    );
    world.0.write("task/environment/Dockerfile", linked);
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    assert_eq!(world.0.read("ws/data"), "of the task\n");
    let said = world.within("ws", &["exec", "--", "sh", "-c", "pwd; cat /srv/link/sub/data"]).run().expect(0);
    assert_eq!(said.text(), "/srv/real/sub\nof the task");
    world.within("ws", &["verify"]).run().expect(0);
    world.within("ws", &["rm", "--force"]).run().expect(0);
    for (workdir, said) in
        [("/etc/passwd", "`/etc/passwd` is no directory"), ("/loop/x", "`/loop/x` is no directory")]
    {
        world.0.write("task/task.toml", format!("[environment]\nworkdir = \"{workdir}\"\n"));
        let refused = world.call(&["start", "task", "-d", "other"]).run().refused(2, "workspace::task");
        assert!(refused.flat().contains(said), "{}", refused.said());
        assert!(!world.place("other").exists());
    }
}

#[test]
fn a_mount_behind_a_link_of_the_image_is_told_with_where_it_leads() {
    if !can_run() {
        return;
    }
    let world = World::new();
    fs_err::create_dir(world.place("data")).unwrap();
    let mounts = format!("[\"{}:/var/run/data\"]", world.place("data").display());
    let refused =
        world.start("ws", DEBIAN, &["--mounts-json", &mounts]).run().refused(125, "session::not-contained");
    assert!(refused.flat().contains("leads from there to `/run/data`"), "{}", refused.said());
    assert!(refused.flat().contains("name the place that the link leads to"), "{}", refused.said());
}

#[test]
fn what_a_changed_image_has_besides_is_brought_into_the_workspace() {
    if !can_run() {
        return;
    }
    for no_mount in [false, true] {
        let world = World::of_task("");
        let dockerfile = |more: &str| {
            let base = world.0.base().display();
            format!(
                "FROM {DEBIAN}\nWORKDIR /work\nCOPY data data\nRUN echo {base} > kept; mkdir sub; echo 1 > sub/gone; ln -s /etc out{more}\n"
            )
        };
        world.0.write("task/environment/Dockerfile", dockerfile(""));
        let words: &[&str] = if no_mount { &["--no-mount"] } else { &[] };
        world.call(&[&["start", "task", "-d", "ws"], words].concat()).run().expect(0);
        let script = "echo own > kept; echo mine > taken; rm sub/gone out; mkdir away; ln -s away dir";
        world.within("ws", &["exec", "--", "sh", "-c", script]).run().expect(0);
        world.within("ws", &["stop"]).run().expect(0);
        // A link that leads out, where a directory of the image is to be.
        fs_err::create_dir(world.place("outside")).unwrap();
        std::os::unix::fs::symlink(world.place("outside"), world.place("ws/led")).unwrap();
        let more =
            "; echo new > new; mkdir more led; echo new > more/new; echo theirs > taken; echo x > led/x";
        world.0.write("task/environment/Dockerfile", dockerfile(more));
        let again = world.within("ws", &["start"]).run().expect(0);
        let said = again.flat();
        assert!(said.contains("in the workspace by now: `more/new`, `new`"), "{said}");
        assert!(said.contains("keeps its own: `led`, `led/x`, `taken`"), "{said}");
        let script = "cat kept taken new more/new; ls";
        let found = world.within("ws", &["exec", "--", "sh", "-c", script]).run().expect(0).text();
        assert_eq!(found, "own\nmine\nnew\nnew\naway\ndata\ndir\nkept\nled\nmore\nnew\nsub\ntaken");
        assert_eq!(fs_err::read_dir(world.place("outside")).unwrap().count(), 0);
        if no_mount {
            world.within("ws", &["sync"]).run().expect(0);
        }
        assert_eq!(world.0.read("ws/more/new"), "new\n");
        // What is the same needs no word.
        world.within("ws", &["stop"]).run().expect(0);
        let same = world.within("ws", &["start"]).run().expect(0);
        assert!(!same.flat().contains("by now"), "{}", same.said());
    }
}
