//! `runtime container` on a real engine, which `tests/docker/engine` starts.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sandbox::{Call, Output, Project, unique_sleep, within};

pub mod agents;
mod build;
mod cache;
mod exhausted;
mod images;
mod lifetime;
mod registry;
pub mod specification;
pub mod user;

/// Images of `tests/docker/engine`.
pub const DEBIAN: &str = "pier-test/debian:1";
pub const BUSYBOX: &str = "pier-test/busybox:1";

/// The engine's address; the tests' own runner sets it.
const VARIABLE: &str = "PIER_TEST_DOCKER";

/// Why containers cannot be tested here, if they cannot.
pub fn missing() -> Option<String> {
    // A skip that nobody sees is no test: whoever can have an engine has to say that there is none.
    assert!(
        !crate::sandbox::is_root() || std::env::var(VARIABLE).is_ok(),
        "`tests/run` starts an engine; {VARIABLE}=none leaves these tests out"
    );
    address().err()
}

/// The address of the engine, or why there is none.
pub fn address() -> Result<String, String> {
    static FOUND: OnceLock<Result<String, String>> = OnceLock::new();
    let look = || {
        let address = std::env::var(VARIABLE).map_err(|_| format!("no engine: {VARIABLE} is not set"))?;
        if address == "none" {
            return Err(format!("no engine: {VARIABLE} says so"));
        }
        let mut docker = Command::new("docker");
        let said = docker.args(["image", "inspect", DEBIAN, BUSYBOX]).env("DOCKER_HOST", &address).output();
        if said.is_ok_and(|said| said.status.success()) {
            Ok(address)
        } else {
            Err(format!("no images at {address}"))
        }
    };
    FOUND.get_or_init(look).clone()
}

/// Tells a call where the engine is.
pub fn with_engine(call: Call) -> Call {
    match std::env::var(VARIABLE) {
        Ok(address) => call.env("DOCKER_HOST", address),
        Err(_) => call,
    }
}

/// Says whether the tests of this file can run, and why not.
pub fn can_run() -> bool {
    if let Some(why) = missing() {
        println!("skipped: {why}");
    }
    missing().is_none()
}

/// Runs Docker's own client.
pub fn docker(words: &[&str], input: &[u8]) -> String {
    docker_with(words, input, Path::new("/nonexistent"))
}

/// The same with a directory of settings.
fn docker_with(words: &[&str], input: &[u8], settings: &Path) -> String {
    let address = std::env::var(VARIABLE).unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let mut docker = Command::new("docker");
        docker.env("DOCKER_CONFIG", settings).env("DOCKER_HOST", &address);
        docker.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = docker.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // The engine cannot list images while one of them goes, and tests that run beside this one remove theirs; nor stop the
        // time for a process that waits for a disk.
        let busy = match words[0] {
            "images" => said.contains("No such image"),
            "pause" => said.contains("unable to freeze"),
            _ => false,
        };
        if busy && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        assert!(output.status.success(), "{words:?}: {said}");
        return String::from_utf8(output.stdout).unwrap().trim().to_owned();
    }
}

/// Runs Docker's own client where a failure is none of the test: what it should remove may be gone, or still in use.
pub fn try_docker(words: &[&str]) -> std::process::Output {
    let mut docker = Command::new("docker");
    docker.args(words).env("DOCKER_HOST", std::env::var(VARIABLE).unwrap()).output().unwrap()
}

/// Removes a name of an image, where nothing needs it any more.
pub fn remove_image(name: &str) {
    try_docker(&["rmi", name]);
}

/// An image with these files, and settings such as `ENTRYPOINT ["/evil"]`; removed at the end.
pub struct Image(pub String);

impl Image {
    fn new(files: &[(&str, &str)], settings: &[&str]) -> Self {
        Self::import(tar::Builder::new(Vec::new()), files, settings)
    }

    fn import(mut archive: tar::Builder<Vec<u8>>, files: &[(&str, &str)], settings: &[&str]) -> Self {
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o755);
            header.set_cksum();
            archive.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let changes = settings.iter().flat_map(|setting| ["--change", setting]);
        let words: Vec<&str> = ["import"].into_iter().chain(changes).chain(["-"]).collect();
        Image(docker(&words, &archive.into_inner().unwrap()))
    }

    /// One that has busybox, too.
    pub fn with_tools(files: &[(&str, &str)], settings: &[&str]) -> Self {
        let container = docker(&["create", "--network", "none", BUSYBOX], b"");
        let mut export = Command::new("docker");
        export.args(["export", &container]).env("DOCKER_HOST", std::env::var(VARIABLE).unwrap());
        let archive = export.output().unwrap().stdout;
        docker(&["rm", &container], b"");
        let mut whole = tar::Builder::new(Vec::new());
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let (mut header, path) = (entry.header().clone(), entry.path().unwrap().into_owned());
            if files.iter().any(|(name, _)| path.ends_with(name)) {
                continue;
            }
            match entry.link_name().unwrap().map(std::borrow::Cow::into_owned) {
                Some(link) => whole.append_link(&mut header, path, link).unwrap(),
                None => whole.append_data(&mut header, path, &mut entry).unwrap(),
            }
        }
        Self::import(whole, files, settings)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        docker(&["rmi", "--force", &self.0], b"");
    }
}

/// A project on an image, approved.
fn project(image: &str, config: &str) -> Project {
    let project = Project::new(&format!("runtime container {{ image \"{image}\"; }}\n{config}\n"));
    with_engine(project.call(["trust"])).run().expect(0);
    project
}

fn exec(project: &Project, command: &[&str]) -> Output {
    with_engine(project.call(["exec", "--"].iter().chain(command))).run()
}

/// Containers of a project's sessions.
fn containers(project: &Project) -> String {
    let label = format!("label={}", label(&project.root()));
    docker(&["ps", "--all", "--filter", &label, "--format", "{{.Names}}"], b"")
}

/// The names of containers of a project, one a line.
pub fn containers_of(root: &Path) -> String {
    let said =
        try_docker(&["ps", "--all", "--filter", &format!("label={}", label(root)), "--format", "{{.Names}}"]);
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// The label of containers of a project.
pub fn label(root: &Path) -> String {
    format!("pier.project={}", root.display())
}

/// Removes what is left of them.
pub fn remove_containers_of(root: &Path) {
    for name in containers_of(root).lines() {
        try_docker(&["rm", "--force", "--volumes", name]);
    }
}

#[test]
fn an_engine_that_is_not_there_is_one_error() {
    let project = Project::new("runtime container { image \"debian:12\"; }\n");
    project.trust();
    for (variable, address, word) in [
        ("DOCKER_HOST", "unix:///nonexistent/engine.sock", "no such socket"),
        ("DOCKER_HOST", "tcp://127.0.0.1:2375", "only a Unix socket"),
        ("DOCKER_HOST", "ssh://host", "only a Unix socket"),
        ("DOCKER_CONTEXT", "absent", "cannot read"),
    ] {
        let said = project.call(["exec", "true"]).env(variable, address).run().refused(125, "docker::engine");
        assert!(said.flat().contains(word), "{}", said.said());
    }
    // A file, and a socket on which nobody speaks the protocol.
    project.write_beside("home/file", "");
    let file = format!("unix://{}", project.home().join("file").display());
    project.call(["exec", "true"]).env("DOCKER_HOST", file).run().refused(125, "docker::engine");
}

#[test]
fn what_is_no_image_is_refused_by_name() {
    for (text, code) in [
        ("runtime container", "image::none"),
        ("runtime container { image \"--privileged\"; }", "image::reference"),
        ("runtime container { image \"../etc\"; }", "image::reference"),
        ("runtime container { image \"a b\"; }", "image::reference"),
        ("runtime container { image \"a\"; user \"root\"; }", "image::user"),
        ("runtime container { image \"a\"; user \"a b\"; }", "image::user"),
        ("runtime container { image \"a\"; engine \"podman\"; }", "plan::not-available"),
    ] {
        Project::new(&format!("{text}\n")).pier(&["exec", "true"]).refused(2, code);
    }
}

#[test]
fn an_image_that_cannot_be_had_is_one_error() {
    if !can_run() {
        return;
    }
    // Nobody listens there.
    let project = project("127.0.0.1:9/none:1", "");
    let said = exec(&project, &["true"]).refused(125, "image::missing");
    assert!(said.flat().contains("127.0.0.1:9"), "{}", said.said());
    assert_eq!(containers(&project), "");
}

#[test]
fn an_image_says_nothing_about_the_sandbox() {
    if !can_run() {
        return;
    }
    let image = Image::with_tools(
        &[
            ("evil", "#!/bin/sh\necho evil\n"),
            ("etc/passwd", "pier:x:0:0:evil:/evil:/evil\nwww:x:33:33::/:/bin/sh\nbroken\n"),
        ],
        &[
            "ENTRYPOINT [\"/evil\"]",
            "CMD [\"/evil\"]",
            "USER root",
            "WORKDIR /evil-directory",
            "ENV LD_PRELOAD=/evil HOME=/evil PIER_SANDBOX=0 TOOL=kept PATH=relative:/opt/tool:/bin SHELL=/evil",
            "VOLUME [\"/data\", \"/home/pier\", \"/workspace\"]",
            "ONBUILD RUN /evil",
        ],
    );
    let project = project(&image.0, "");
    let script = "id -u; pwd; echo $HOME $PIER_SANDBOX $TOOL $PATH $SHELL ${LD_PRELOAD-none}; grep -c evil /etc/passwd;
        grep -c www /etc/passwd; touch /data/x && echo volume; ls /workspace";
    let said = exec(&project, &["sh", "-c", script]).expect(0).text();
    let owner = project.owner();
    assert_eq!(
        said,
        format!("{owner}\n/workspace\n/home/pier 1 kept /opt/tool:/bin /bin/sh none\n0\n1\nvolume\npier.kdl")
    );
    // One in the project would leave a directory there.
    for place in ["/workspace/deep", "/home/pier/.config", "/proc/x", "/tmp/x"] {
        let image = Image::with_tools(&[], &[&format!("VOLUME [\"{place}\"]")]);
        let project = Project::new(&format!("runtime container {{ image \"{}\"; }}\n", image.0));
        exec(&project, &["true"]).refused(2, "image::volume");
        assert!(!project.root().join("deep").exists());
    }
    assert_eq!(docker(&["volume", "ls", "--quiet"], b""), "", "nothing of the volumes stays");
}

#[test]
fn an_image_without_anything_runs_what_is_mounted() {
    if !can_run() {
        return;
    }
    let image = Image::new(&[("file", "text")], &[]);
    let project = project(&image.0, "");
    // A static program that needs no file: pier itself.
    fs_err::copy(crate::sandbox::PIER, project.root().join("tool")).unwrap();
    project.give_away();
    assert_eq!(exec(&project, &["./tool", "--version"]).expect(0).text(), "pier 0.1.0");
    exec(&project, &["sh"]).refused(127, "exec::not-found");
}

#[test]
fn what_the_engine_cannot_do_is_told_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    let image = Image::new(&[("opt", "a file where a directory should be")], &[]);
    let project = project(&image.0, "mounts { tmpfs \"/opt/x\"; }");
    exec(&project, &["true"]).refused(125, "docker::failed");
    assert_eq!(containers(&project), "");
    let sessions = project.state().join("sessions");
    let left = fs_err::read_dir(sessions).map_or(0, Iterator::count);
    assert_eq!(left, 0, "the directory of the session is gone");
}

#[test]
fn the_engine_is_asked_for_every_wall_and_told_no_secret() {
    if !can_run() {
        return;
    }
    let project = project(DEBIAN, "env { pass \"TOKEN\"; }\nlimits { memory \"256MiB\"; cpus 1; pids 100; }");
    let sleep = unique_sleep();
    let call = with_engine(project.call(["exec", "--detach", "--", "sleep", &sleep]));
    let session = call.env("TOKEN", "s3cret-value").run().expect(0).text();
    assert_eq!(containers(&project), format!("pier-{session}"));
    let text = docker(&["inspect", &format!("pier-{session}")], b"");
    with_engine(project.call(["stop", &session])).run().expect(0);
    assert!(
        !text.contains("s3cret-value") && !text.contains(&sleep),
        "the engine knows neither value nor command"
    );
    let all: Value = serde_json::from_str(&text).unwrap();
    let host = &all[0]["HostConfig"];
    let config = &all[0]["Config"];
    assert_eq!(specification::missing(&all[0]), Vec::<&str>::new());
    assert_eq!(host["PidsLimit"], 100);
    assert_eq!(host["Memory"], 256 << 20);
    assert_eq!(host["MemorySwap"], 256 << 20);
    assert_eq!(host["NanoCpus"], 1_000_000_000);
    assert_eq!(config["User"], format!("{0}:{0}", project.owner()));
    assert!(within(Duration::from_secs(5), || containers(&project).is_empty()), "{}", containers(&project));
}
