//! `pier start`, `exec`, `stop`, `list`, `rm` on a real engine.

use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::docker::{BUSYBOX, DEBIAN, Image, can_run, docker, with_engine};
use crate::sandbox::{Call, Project, host_process, too_long, unique_sleep, within};

mod agents;
mod apart;
mod asserted;
mod at_once;
mod declared;
mod elsewhere;
mod flags;
mod frozen;
mod host;
mod killed;
mod mended;
mod messages;
mod network;
mod of_root;
mod older;
mod redacted;
mod remote;
mod skills;
mod stranded;
mod tasks;
mod verify;

/// A directory for workspaces, and a home; their containers are removed at the end.
struct World(Project);

impl World {
    fn new() -> Self {
        World(Project::bare())
    }

    fn place(&self, name: &str) -> PathBuf {
        self.0.root().join(name)
    }

    fn call(&self, words: &[&str]) -> Call {
        with_engine(self.0.call(words))
    }

    fn start(&self, name: &str, image: &str, words: &[&str]) -> Call {
        self.call(&[&["start", "-d", name, "--image", image], words].concat())
    }

    /// A call in a workspace.
    fn within(&self, name: &str, words: &[&str]) -> Call {
        self.call(words).cwd(self.place(name))
    }

    fn session(&self, name: &str) -> Value {
        serde_json::from_str(&self.0.read(format!("{name}/.pier/session.json"))).unwrap()
    }

    /// The directory of the one workspace, below the user's own state.
    fn private(&self) -> PathBuf {
        let all = self.0.home().join(".local/state/pier/workspaces");
        fs_err::read_dir(all).unwrap().next().unwrap().unwrap().path()
    }

    fn containers(&self) -> String {
        docker(&["ps", "--all", "--format", "{{.Names}} {{.State}}", "--filter", &self.label()], b"")
    }

    fn label(&self) -> String {
        format!(
            "label=pier.project={}",
            self.place("ws").canonicalize().unwrap_or(self.place("ws")).display()
        )
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !can_run() {
            return;
        }
        // Of all its workspaces, whatever they are called.
        let format = "{{.ID}} {{.Label \"pier.project\"}}";
        let all = docker(&["ps", "--all", "--filter", "label=pier.project", "--format", format], b"");
        let place = self.0.root().canonicalize().unwrap_or(self.0.root());
        let own = |line: &&str| line.split_once(' ').is_some_and(|(_, at)| Path::new(at).starts_with(&place));
        for line in all.lines().filter(own) {
            docker(&["rm", "--force", line.split(' ').next().unwrap()], b"");
        }
    }
}

#[test]
fn a_workspace_starts_runs_stops_and_starts_again() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let said = world.start("ws", DEBIAN, &["-e", "DEBUG=1"]).run().expect(0).text();
    assert!(said.contains("ready") && said.contains("pier exec bash"), "{said}");
    let id = world.session("ws")["harbor_session_id"].as_str().unwrap().to_owned();
    assert_eq!(world.containers(), format!("{id}-main-1 running"));
    let script = "id -u; pwd; echo $DEBUG; ls -A .pier; echo made > file; touch /tmp/kept; exit 37";
    let said = world.within("ws", &["exec", "--", "sh", "-c", script]).run().expect(37).text();
    assert_eq!(said, format!("{}\n/app\n1", world.0.owner()));
    let file = world.place("ws/file");
    assert_eq!(fs_err::metadata(&file).unwrap().uid(), world.0.owner());
    fs_err::create_dir(world.place("ws/below")).unwrap();
    let below = world.call(&["exec", "pwd"]).cwd(world.place("ws/below")).run().expect(0).text();
    assert_eq!(below, "/app/below");

    let list = world.call(&["list", "--json"]).run().expect(0).text();
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[0]["status"], "running");
    assert_eq!(list[0]["container"], format!("{id}-main-1"));
    // From anywhere, where there is one only.
    let began = Instant::now();
    world.call(&["stop"]).run().expect(0);
    assert!(began.elapsed() < Duration::from_secs(5), "nothing waits for a time-out: {:?}", began.elapsed());
    assert_eq!(world.containers(), format!("{id}-main-1 exited"));
    world.within("ws", &["exec", "true"]).run().refused(125, "workspace::not-running");
    let stopped = world.call(&["list"]).run().expect(0).text();
    assert!(stopped.contains("stopped"), "{stopped}");
    let again = world.within("ws", &["stop"]).run().expect(0);
    assert!(again.said().contains("not running"), "{}", again.said());

    let missing = world.within("ws", &["start"]).run().refused(2, "workspace::variable");
    assert!(missing.flat().contains("`DEBUG=… pier start`"), "{}", missing.said());
    let again = world.within("ws", &["start"]).env("DEBUG", "1").run().expect(0);
    assert!(again.flat().contains("from your environment, as it is now: `DEBUG`"), "{}", again.said());
    // The same container; only what is memory is new.
    let said =
        world.within("ws", &["exec", "--", "sh", "-c", "cat file; echo $DEBUG; ls /tmp"]).run().expect(0);
    assert_eq!(said.text(), "made\n1");
    let twice = world.within("ws", &["start"]).run().expect(0);
    assert!(twice.said().contains("already running"), "{}", twice.said());
    world.within("ws", &["rm"]).run().refused(1, "workspace::running");
    world.within("ws", &["rm", "--force"]).run().expect(0);
    assert_eq!(world.containers(), "");
    assert_eq!(world.0.read("ws/file"), "made\n");
    assert!(world.call(&["list"]).run().expect(0).text().contains("removed"));
}

#[test]
fn a_signal_ends_the_wait_for_a_container_that_does_not_answer() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", BUSYBOX, &[]).run().expect(0);
    let container = world.containers().split(' ').next().unwrap().to_owned();
    let init = docker(&["inspect", "--format", "{{.State.Pid}}", &container], b"");
    let init = Pid::from_raw(init.trim().parse().unwrap());
    kill(init, Signal::SIGSTOP).unwrap();
    let needle = unique_sleep();
    let call = world.within("ws", &["exec", "touch", &needle]).into_owner();
    let waiting = std::thread::spawn(move || call.run());
    // It handles signals by now.
    let blocks = |id: u32| {
        let status = fs_err::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:").map(str::trim));
        line.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & 0b10 != 0)
    };
    let mut found = None;
    assert!(within(Duration::from_secs(10), || {
        found = host_process(&needle).filter(|id| blocks(*id));
        found.is_some()
    }));
    let sent = Instant::now();
    kill(Pid::from_raw(found.unwrap().cast_signed()), Signal::SIGINT).unwrap();
    assert!(within(Duration::from_secs(10), || host_process(&needle).is_none()));
    assert!(!too_long(sent.elapsed(), Duration::from_secs(1)), "{:?}", sent.elapsed());
    // Its streams were sent already, and are let go by a container that goes on. Nothing runs there any more.
    kill(init, Signal::SIGCONT).unwrap();
    waiting.join().unwrap().refused(130, "workspace::no-answer");
    assert_eq!(world.within("ws", &["exec", "echo", "on"]).run().expect(0).text(), "on");
    assert!(!world.place("ws").join(&needle).exists());
}

#[test]
fn what_was_installed_in_the_container_is_there_after_a_restart() {
    if !can_run() {
        return;
    }
    let image = Image::with_tools(&[("tool", "#!/bin/sh\n")], &[]);
    let world = World::new();
    world.start("ws", &image.0, &[]).run().expect(0);
    // The caller may write where the image lets everybody.
    world.within("ws", &["exec", "--", "sh", "-c", "echo x > ~/in-home"]).run().expect(0);
    world.within("ws", &["stop"]).run().expect(0);
    let started = world.within("ws", &["start"]).run().expect(0);
    assert!(!started.said().contains("anew"), "{}", started.said());
    assert_eq!(world.within("ws", &["exec", "cat", "/home/pier/in-home"]).run().expect(0).text(), "x");
    // Another image is another container, and that is said.
    world.within("ws", &["stop"]).run().expect(0);
    let other = world.start("ws", BUSYBOX, &[]).run().expect(0);
    assert!(other.said().contains("anew"), "{}", other.said());
    let absent = world.within("ws", &["exec", "/tool"]).run().refused(127, "exec::not-found");
    assert!(absent.flat().contains("there is no command `/tool` in this workspace"), "{}", absent.said());
}

#[test]
fn files_of_the_image_are_there_first() {
    if !can_run() {
        return;
    }
    let image =
        Image::with_tools(&[("app/data/file", "of the image"), ("app/.pier/session.json", "evil")], &[]);
    let world = World::new();
    world.start("ws", &image.0, &[]).run().expect(0);
    assert_eq!(world.0.read("ws/data/file"), "of the image");
    assert_eq!(world.session("ws")["mode"], "container");
}

/// Files below a directory that hold one of some texts.
fn holding(place: &Path, texts: &[&str]) -> String {
    let texts = texts.iter().flat_map(|text| ["-e", text]);
    let grep = std::process::Command::new("grep").arg("-rlF").args(texts).arg(place).output();
    String::from_utf8(grep.unwrap().stdout).unwrap()
}

#[test]
fn no_value_that_is_given_is_written_whatever_it_is_called() {
    if !can_run() {
        return;
    }
    let world = World::of_task("[environment.env]\nASKED = \"${TOPIC}\"\n");
    let url = "postgres://user:hunter2@db.example.com/x";
    world.0.write("vars", format!("# comment\nDATABASE_URL={url}\nPLAIN=harmless-in-file-7\n"));
    let values =
        ["hunter2", "harmless-in-file-7", "sesame-open", "plain-words-42", "passed-on-8", "of-a-topic-9"];
    let words = ["-e", "API_KEY=sesame-open", "-e", "GREETING=plain-words-42", "-e", "PASSED", "-e"];
    let start = [&["start", "task", "-d", "ws", "--env-file", "vars"], &words[..], &["TOPIC=of-a-topic-9"]];
    let unset = world.call(&start.concat()).run().refused(2, "workspace::variable");
    assert!(unset.flat().contains("`PASSED` has no value, and is not set here"), "{}", unset.said());
    world.call(&start.concat()).env("PASSED", "passed-on-8").run().expect(0);
    let script = "echo $DATABASE_URL $PLAIN $API_KEY $GREETING $PASSED $ASKED";
    let read = || world.within("ws", &["exec", "--", "sh", "-c", script]).run().expect(0).text();
    assert_eq!(
        read(),
        format!("{url} harmless-in-file-7 sesame-open plain-words-42 passed-on-8 of-a-topic-9")
    );
    let stored = world.session("ws")["extra_env"].to_string();
    assert_eq!(
        stored,
        r#"["DATABASE_URL=${DATABASE_URL}","PLAIN=${PLAIN}","API_KEY=${API_KEY}","GREETING=${GREETING}","PASSED=${PASSED}","TOPIC=${TOPIC}"]"#
    );
    // Nowhere in the workspace, in pier's state or in the home, and not in what the engine knows.
    let where_it_is_meant = format!("{}\n", world.place("vars").display());
    assert_eq!(holding(world.0.base(), &values), where_it_is_meant);
    let id = world.session("ws")["harbor_session_id"].as_str().unwrap().to_owned();
    let known = docker(&["inspect", &format!("{id}-main-1")], b"");
    assert_eq!(values.iter().find(|value| known.contains(**value)), None, "{known}");
    let tests = world.within("ws", &["verify"]).run().refused(2, "workspace::variable");
    assert!(tests.flat().contains("what `pier start` was given is kept nowhere"), "{}", tests.said());
    world.within("ws", &["verify", "--accept"]).env("TOPIC", "of-a-topic-9").run().expect(0);
    world.within("ws", &["stop"]).run().expect(0);
    let missing = world.within("ws", &["start"]).env("PLAIN", "x").run().refused(2, "workspace::variable");
    for name in ["DATABASE_URL", "API_KEY", "GREETING", "PASSED", "TOPIC"] {
        assert!(missing.flat().contains(&format!("{name}=…")), "{}", missing.said());
    }
    assert!(!missing.said().contains("PLAIN"), "{}", missing.said());
    // By the same flags, or from the environment.
    world
        .within("ws", &[&["start", "--env-file", "../vars"], &words[..], &["TOPIC=another"]].concat())
        .env("PASSED", "passed-on-8")
        .run()
        .expect(0);
    assert!(read().ends_with("passed-on-8 another"), "{}", read());
    assert_eq!(holding(world.0.base(), &values), where_it_is_meant);
    world.within("ws", &["rm", "--force"]).run().expect(0);
    let names = ["DATABASE_URL", "PLAIN", "API_KEY", "GREETING", "PASSED", "TOPIC"];
    let again = names.iter().fold(world.within("ws", &["start"]), |call, name| call.env(name, "new"));
    again.run().expect(0);
    assert_eq!(read(), "new new new new new new");
    assert_eq!(world.session("ws")["extra_env"].to_string(), stored);
}

#[test]
fn what_says_that_there_is_a_sandbox_is_not_given_by_a_flag() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let said = world.start("ws", DEBIAN, &["-e", "PIER_SANDBOX=0"]).run().refused(2, "env::reserved");
    assert!(said.flat().contains("`PIER_SANDBOX` cannot be passed") && said.flat().contains("`-e`"));
    assert!(!world.place("ws").exists());
}

#[test]
fn a_start_that_was_killed_is_repeated_as_it_was() {
    if !can_run() {
        return;
    }
    let world = World::of_task("");
    let slow = format!("FROM {DEBIAN}\nWORKDIR /work\nRUN sleep 3; echo {}\n", world.0.base().display());
    world.0.write("task/environment/Dockerfile", slow);
    let mut running = world.call(&["start", "task", "-d", "ws"]).start();
    assert!(within(Duration::from_secs(10), || world.place("ws/.pier").exists()));
    std::thread::sleep(Duration::from_millis(300));
    running.kill().unwrap();
    running.wait().unwrap();
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    assert_eq!(world.within("ws", &["exec", "--", "echo", "on"]).run().expect(0).text(), "on");
    // What somebody else has put there is theirs.
    world.0.write("other/file", "");
    world.call(&["start", "task", "-d", "other"]).run().refused(2, "workspace::usage");
}

#[test]
fn a_directory_that_is_not_there_is_no_workspace_to_start() {
    let world = World::new();
    for words in [&["start", "-d", "absent"][..], &["start", "-d", "absent", "--host"]] {
        let said = world.call(words).run().refused(2, "workspace::usage");
        assert!(said.flat().contains("neither a task path nor an image is given"), "{}", said.said());
    }
}

#[test]
fn a_failed_start_leaves_nothing_and_is_repeated_as_it_was() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", "127.0.0.1:9/none:1", &[]).run().refused(125, "image::missing");
    assert!(!world.place("ws").exists());
    fs_err::create_dir(world.place("ws")).unwrap();
    world.0.write("ws/mine", "mine");
    world.start("ws", DEBIAN, &[]).run().refused(2, "workspace::usage");
    world.start("ws", "127.0.0.1:9/none:1", &["--force"]).run().refused(125, "image::missing");
    assert_eq!(
        fs_err::read_dir(world.place("ws")).unwrap().count(),
        1,
        "the file that was there, and nothing else"
    );
    world.start("ws", DEBIAN, &["--force"]).run().expect(0);
    assert_eq!(world.0.read("ws/mine"), "mine");
    // What makes no sense, or is not there, is refused by name and before anything is made.
    world.0.write("file", "");
    for (words, code) in [
        (&["start"][..], "workspace::usage"),
        (&["start", "--image", DEBIAN], "workspace::usage"),
        (&["start", "-d", "file", "--image", DEBIAN], "workspace::usage"),
        (&["start", "-d", "x", "--image", DEBIAN, "-e", "NO"], "workspace::variable"),
        (&["start", "-d", "x", "--image", DEBIAN, "-e", "export A=1"], "workspace::variable"),
        (&["start", "-d", "x", "--image", DEBIAN, "-e", "1A=1"], "workspace::variable"),
        (&["start", "-d", "x", "--image", DEBIAN, "--host"], "workspace::usage"),
        (&["start", "https://example.com/r", "-d", "x"], "workspace::task"),
    ] {
        world.call(words).run().refused(2, code);
    }
    assert!(!world.place("x").exists());
    fs_err::create_dir(world.place("locked")).unwrap();
    fs_err::set_permissions(world.place("locked"), std::fs::Permissions::from_mode(0o555)).unwrap();
    std::os::unix::fs::lchown(world.place("locked"), Some(world.0.owner()), None).unwrap();
    world.start("locked/ws", DEBIAN, &[]).run().refused(1, "workspace::files");
    world.call(&["start", "-d", "x", "--image", DEBIAN, "--ports", "70000"]).run().expect(2);
    world.call(&["rm"]).run().refused(1, "workspace::none");
    world.0.write("ws/.pier/session.json", "{ \"task_dir\": ");
    world.within("ws", &["exec", "true"]).run().refused(1, "workspace::damaged");
}

#[test]
fn mounts_are_what_is_asked_for() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.0.write("given/file", "given");
    world.0.write("kept/file", "kept");
    let mounts = r#"["./given:/opt/given:ro", "kept:/opt/kept"]"#;
    world.start("ws", DEBIAN, &["--mounts-json", mounts]).run().expect(0);
    let script = "cat /opt/given/file; (echo x > /opt/given/file) 2>/dev/null || echo read-only; echo more >> /opt/kept/file";
    let said = world.within("ws", &["exec", "--", "sh", "-c", script]).run().expect(0).text();
    assert_eq!(said, "givenread-only");
    assert_eq!(world.0.read("kept/file"), "keptmore\n");
    // They stay where they are, wherever the next start is called.
    world.within("ws", &["stop"]).run().expect(0);
    world.within("ws", &["start"]).run().expect(0);
    assert_eq!(world.within("ws", &["exec", "cat", "/opt/given/file"]).run().expect(0).text(), "given");
    for (mounts, word) in [
        ("{", "not valid JSON"),
        ("{}", "JSON array"),
        ("[1]", "JSON array"),
        (r#"["a"]"#, "host:container"),
        (r#"["a:b"]"#, "host:container"),
        (r#"["a:/b:x"]"#, "host:container"),
    ] {
        let said = world.start("x", DEBIAN, &["--mounts-json", mounts]).run().refused(2, "workspace::usage");
        assert!(said.flat().contains(word), "{mounts}: {}", said.said());
    }
    // What no sandbox may see, no workspace may: the same rules hold.
    for source in ["/var/run/docker.sock", "/proc", "~", "/absent"] {
        let mounts = format!(r#"["{source}:/opt/x"]"#);
        let said = world.start("x", DEBIAN, &["--mounts-json", &mounts]).run().expect(2);
        assert!(said.said().contains("mount::"), "{source}: {}", said.said());
    }
    assert!(!world.place("x").exists());
}

#[test]
fn a_file_that_pier_did_not_write_mounts_nothing() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.0.write("given/key", "secret");
    world.start("ws", DEBIAN, &[]).run().expect(0);
    world.within("ws", &["stop"]).run().expect(0);
    // As an agent that works on the directory around it could.
    let file = "ws/.pier/session.json";
    let text = world.0.read(file);
    let given = format!("{}:/opt/given", world.place("given").display());
    world.0.write(file, text.replace("\"extra_mounts\": []", &format!("\"extra_mounts\": [\"{given}\"]")));
    world.within("ws", &["start"]).run().refused(125, "workspace::changed");
    world.within("ws", &["start", "--accept"]).run().expect(0);
    assert_eq!(world.within("ws", &["exec", "cat", "/opt/given/key"]).run().expect(0).text(), "secret");
    // One below, for a person who goes there.
    let below = text.replace("\"extra_mounts\": []", &format!("\"extra_mounts\": [\"{given}\"]"));
    world.0.write("ws/below/.pier/session.json", below);
    world.within("ws/below", &["start"]).run().refused(125, "workspace::changed");
    world.within("ws/below", &["exec", "true"]).run().refused(125, "workspace::not-running");
}

#[test]
fn the_network_is_the_engines_or_none() {
    if !can_run() {
        return;
    }
    let world = World::new();
    // On the engine's own network a port of the container is one of this machine.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let published = format!("{port}:7000");
    world.start("ws", DEBIAN, &["--ports", &published]).run().expect(0);
    let serve =
        "use IO::Socket::INET; $l = IO::Socket::INET->new(LocalPort => 7000, Listen => 9, ReuseAddr => 1);
        while ($c = $l->accept) { print $c \"inside\"; close $c }";
    world.within("ws", &["exec", "--detach", "--", "perl", "-e", serve]).run().expect(0);
    let mut said = String::new();
    let reached = within(Duration::from_secs(20), || {
        said.clear();
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let _early = stream.read_to_string(&mut said);
        said == "inside"
    });
    assert!(reached, "{said:?}");
    world
        .call(&["start", "-d", "other", "--image", DEBIAN, "--ports", &published])
        .run()
        .refused(125, "workspace::port");
    assert!(!world.place("other").exists(), "a port that is taken leaves nothing");
    world.within("ws", &["rm", "--force"]).run().expect(0);
    world.call(&["start", "-d", "none", "--image", DEBIAN, "--set", "network=none"]).run().expect(0);
    let script = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '";
    assert_eq!(world.within("none", &["exec", "--", "sh", "-c", script]).run().expect(0).text(), "lo");
    world.within("none", &["rm", "--force"]).run().expect(0);
}

#[test]
fn the_wall_clock_counts_for_each_command() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", DEBIAN, &["--set", "limits.wall=1s"]).run().expect(0);
    for _ in 0..2 {
        world.within("ws", &["exec", "sleep", "60"]).run().expect(124);
    }
}

#[test]
fn two_at_once_are_one_after_the_other() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", DEBIAN, &[]).run().expect(0);
    world.within("ws", &["stop"]).run().expect(0);
    let all: Vec<_> = (0..4).map(|_| world.within("ws", &["start"]).start()).collect();
    for one in all {
        let said = one.wait_with_output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
    assert_eq!(world.within("ws", &["exec", "echo", "up"]).run().expect(0).text(), "up");
}

#[test]
fn output_files_can_be_opened_again() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", DEBIAN, &[]).run().expect(0);
    let mut call =
        world.within("ws", &["exec", "--", "sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr"]);
    let (out, err) = (world.place("out"), world.place("err"));
    call.command.stdout(fs_err::File::create(&out).unwrap().into_parts().0);
    call.command.stderr(fs_err::File::create(&err).unwrap().into_parts().0);
    world.0.give_away();
    assert!(call.command.status().unwrap().success());
    assert_eq!((world.0.read("out"), world.0.read("err")), ("out\n".to_owned(), "err\n".to_owned()));
}

#[test]
fn commands_are_sessions() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.start("ws", DEBIAN, &[]).run().expect(0);
    let sleep = unique_sleep();
    let script = format!("echo began; sleep {sleep}");
    let session = world.within("ws", &["exec", "--detach", "--", "sh", "-c", &script]).run().expect(0).text();
    assert!(world.call(&["ps"]).run().text().contains(&session));
    assert!(within(Duration::from_secs(5), || world.call(&["logs", &session]).run().text() == "began"));
    world.call(&["stop", &session]).run().expect(0);
    assert!(within(Duration::from_secs(3), || host_process(&sleep).is_none()));
    // A guest that is killed takes its command along, and the workspace goes on.
    let sleep = unique_sleep();
    let script = format!("sleep {sleep}; true");
    let mut guest = world.within("ws", &["exec", "--", "sh", "-c", &script]).start();
    assert!(within(Duration::from_secs(5), || host_process(&sleep).is_some()));
    guest.kill().unwrap();
    guest.wait().unwrap();
    assert!(within(Duration::from_secs(3), || host_process(&sleep).is_none()));
    // What a command leaves running is the workspace's.
    let sleep = unique_sleep();
    let script = format!("setsid sleep {sleep} >/dev/null 2>&1 & echo left");
    assert_eq!(world.within("ws", &["exec", "--", "sh", "-c", &script]).run().expect(0).text(), "left");
    assert!(within(Duration::from_secs(3), || host_process(&sleep).is_some()));
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    assert_eq!(world.within("ws", &["exec", "--", "cat"]).stdin(bytes.clone()).run().expect(0).stdout, bytes);
    world.within("ws", &["exec", "no-such-program"]).run().refused(127, "exec::not-found");
    world.within("ws", &["stop"]).run().expect(0);
    assert!(within(Duration::from_secs(1), || host_process(&sleep).is_none()), "nothing of it runs any more");
}
