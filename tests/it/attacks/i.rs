//! Section I: containers. What the engine was asked for, what the kernel made of it, and whom it reaches.
//!
//! Without a sandbox the engine's own client starts the container, with options that take the walls down.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::case::{Action, Around, CASE, Case, Column, ONE, OWNER, Open, PLAIN, Verdict};
use super::scene::Scene;
use super::stage::{Ran, Stage, run};
use crate::docker::specification::{self, OPEN, USER, WALLS};
use crate::docker::{BUSYBOX, DEBIAN, containers_of, docker, label, remove_containers_of, try_docker};
use crate::sandbox::{unique_sleep, within};

pub mod engine;
pub mod image;
pub mod process;

/// The common part of this section.
pub const CONTAINER: Case = Case {
    config: "runtime container { image \"pier-test/debian:1\"; }\n",
    columns: OWNER,
    open: Open::Container(OPEN),
    around: Around::Engine,
    ..CASE
};

macro_rules! probe {
    ($id:literal, $tries:literal, [$($word:literal),+]) => {
        Case { id: $id, tries: $tries, action: Action::Probe(&[$($word),+]), columns: PLAIN, ..CONTAINER }
    };
}

pub const CASES: &[Case] = &[
    Case {
        id: "I1",
        tries: "nothing: which walls the engine was asked for",
        config: "runtime container { image \"pier-test/debian:1\"; }\nlimits { memory \"256MiB\"; }\n",
        action: Action::Steps(asked_for),
        columns: PLAIN,
        ..CONTAINER
    },
    Case {
        id: "I1.kernel",
        tries: "nothing: which walls the kernel of the host has for the command",
        action: Action::Steps(made),
        columns: PLAIN,
        ..CONTAINER
    },
    probe!("I1.vsock", "the hypervisor's sockets, from a container", ["families", "vsock"]),
    probe!("I1.io-uring", "io_uring, from a container", ["io-uring"]),
    probe!("I1.keyctl", "the keyring, from a container", ["keyctl"]),
    Case {
        id: "I2",
        tries: "the host, the engine's port and another container, by address and by name",
        config: "runtime container { image \"pier-test/debian:1\"; }\nnetwork none\n",
        action: Action::Steps(neighbours),
        ..CONTAINER
    },
    Case {
        id: "I2.gateway",
        tries: "the same, where some hosts are allowed",
        config: "runtime container { image \"pier-test/debian:1\"; }\nnetwork allowlist { allow allowed.test; }\n",
        action: Action::Steps(neighbours),
        columns: ONE,
        ..CONTAINER
    },
];

/// What was found holds in a sandbox where it is nothing. Without one, all of it has to be found: each check can fail.
pub fn judged(stage: &Stage, of: usize, found: &[&str]) -> Verdict {
    if !stage.sandboxed() && found.len() < of {
        println!("without a sandbox only {} of {of} were found: {found:?}", found.len());
        return Verdict::Held;
    }
    Verdict::open_if(!found.is_empty(), found.join(", "))
}

/// Names of what is so.
pub fn names<'a>(all: &[(&'a str, bool)]) -> Vec<&'a str> {
    all.iter().filter(|(_, so)| *so).map(|(name, _)| *name).collect()
}

/// Gives the project another `pier.kdl`, and asks for its approval, which may be refused.
pub fn offer(stage: &Stage, config: &str) -> Option<Ran> {
    stage.world.write_project("pier.kdl", config);
    stage.world.give();
    stage.sandboxed().then(|| stage.pier(&["trust"]))
}

/// Gives the project another `pier.kdl`, and approves it.
pub fn choose(stage: &Stage, config: &str) {
    if let Some(trusted) = offer(stage, config) {
        assert_eq!(trusted.code, Some(0), "{}", trusted.short());
    }
}

/// A command that stays in its container until this is dropped.
pub struct Running<'a> {
    stage: &'a Stage,
    child: Child,
    /// The id of the command on the host.
    pub process: u32,
    /// What the engine says of the container.
    pub container: Value,
}

impl<'a> Running<'a> {
    /// Starts a command that becomes `sleep` with this argument.
    pub fn start(stage: &'a Stage, argument: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.process_group(0).spawn().unwrap();
        let mut running = Running { stage, child, process: 0, container: Value::Null };
        let found = within(Duration::from_secs(30), || {
            running.process = sleeping(argument).unwrap_or_default();
            running.process != 0
        });
        assert!(found, "the command does not run");
        let all = containers_of(&stage.world.project());
        running.container = inspected(all.lines().next().unwrap_or_default());
        running
    }

    /// The first process of the container.
    pub fn first(&self) -> u64 {
        self.container["State"]["Pid"].as_u64().unwrap()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        // One that has ended is no failure.
        let _ended = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _ended = self.child.wait();
        // Images can go only when no container needs them.
        let project = self.stage.world.project();
        within(Duration::from_secs(20), || {
            remove_containers_of(&project);
            containers_of(&project).is_empty()
        });
    }
}

/// What the engine says of a container.
fn inspected(name: &str) -> Value {
    serde_json::from_str::<Value>(&docker(&["inspect", name], b"")).unwrap()[0].take()
}

/// The `sleep` with this argument itself, and not who was told to start it.
fn sleeping(argument: &str) -> Option<u32> {
    fs_err::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let name = fs_err::read_to_string(entry.path().join("comm")).ok()?;
        let line = fs_err::read(entry.path().join("cmdline")).ok()?;
        let has = line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes());
        (name.trim() == "sleep" && has).then_some(id)
    })
}

/// The engine's socket, as an option.
fn socket(stage: &Stage) -> String {
    let socket = stage.engine.as_deref().and_then(|address| address.strip_prefix("unix://")).unwrap();
    format!("--volume={socket}:/run/docker.sock")
}

fn asked_for(stage: &Stage) -> Verdict {
    if !stage.sandboxed() {
        // It is not started: not every machine can give what is asked for.
        let (label, socket) = (label(&stage.world.project()), socket(stage));
        let words =
            [&["create", "--label", &label, &socket, "--privileged"], OPEN, &[DEBIAN, "true"]].concat();
        return judged(stage, WALLS.len(), &specification::missing(&inspected(&docker(&words, b""))));
    }
    let argument = unique_sleep();
    let running = Running::start(stage, &argument, stage.command(&["sleep", &argument]));
    let mut missing = specification::missing(&running.container);
    missing.retain(|wall| stage.column != Column::AsRoot || *wall != USER);
    judged(stage, WALLS.len(), &missing)
}

fn made(stage: &Stage) -> Verdict {
    let argument = unique_sleep();
    let words = ["sleep", argument.as_str()];
    let command = if stage.sandboxed() {
        stage.command(&words)
    } else {
        stage.container(&[OPEN, &[&socket(stage)]].concat(), DEBIAN, &words)
    };
    let running = Running::start(stage, &argument, command);
    let place = format!("/proc/{}", running.process);
    let read = |name: &str| fs_err::read_to_string(format!("{place}/{name}")).unwrap();
    let status = read("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    let has = |name: &str| !field(name).trim_matches('0').is_empty();
    let shared = |name: &str| {
        let of = |place: &str| fs_err::read_link(format!("{place}/ns/{name}")).unwrap();
        of(&place) == of("/proc/self")
    };
    let mounts = read("mountinfo");
    let root = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|words| words[4] == "/");
    let found = [
        ("capabilities", has("CapEff:") || has("CapPrm:")),
        ("capabilities that can be had", has("CapBnd:") || has("CapInh:") && has("CapAmb:")),
        ("more rights by set-user-id", field("NoNewPrivs:") != "1"),
        ("no filter", field("Seccomp:") != "2"),
        (USER, field("Uid:") == "0" && stage.column != Column::AsRoot),
        ("the host's network", shared("net")),
        ("the host's processes", shared("pid")),
        ("the host's messages", shared("ipc")),
        ("the host's name", shared("uts")),
        ("a root that is written", !root.unwrap()[5].starts_with("ro")),
        ("the engine's socket", mounts.contains("docker.sock")),
    ];
    judged(stage, found.len(), &names(&found))
}

/// A network of the engine's with a container that answers, and the host's own listeners.
struct Neighbour {
    network: String,
    /// The container's address, and that of the host in the network.
    address: String,
    host: String,
    container: String,
    /// Where an engine listens that is asked over the network.
    engine: TcpListener,
    other: TcpListener,
}

impl Neighbour {
    fn start(stage: &Stage) -> Self {
        let network = stage.world.abstract_name.clone();
        docker(&["network", "create", &network], b"");
        let label = label(&stage.world.project());
        let start = ["run", "--detach", "--rm", "--network", &network, "--network-alias", "neighbour"];
        let serve = ["--label", &label, BUSYBOX, "httpd", "-f", "-vv", "-p", "80"];
        let container = docker(&[&start[..], &serve].concat(), b"");
        let field = |name: &str| {
            let format = format!("{{{{range .NetworkSettings.Networks}}}}{{{{.{name}}}}}{{{{end}}}}");
            docker(&["inspect", "--format", &format, &container], b"")
        };
        let (address, host) = (field("IPAddress"), field("Gateway"));
        let answers = || TcpStream::connect((address.as_str(), 80)).is_ok();
        assert!(within(Duration::from_secs(20), answers), "the neighbour answers");
        let engine = TcpListener::bind((host.as_str(), 2375)).unwrap();
        let other = TcpListener::bind(("0.0.0.0", 0)).unwrap();
        for listener in [&engine, &other] {
            listener.set_nonblocking(true).unwrap();
        }
        Neighbour { network, address, host, container, engine, other }
    }

    /// Says whether one of this attack has connected: others try the same addresses at the same time.
    fn was_asked(&self, listener: &TcpListener) -> bool {
        std::iter::from_fn(|| listener.accept().ok()).any(|(mut stream, _)| {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let mut text = [0; 512];
            let count = stream.read(&mut text).unwrap_or(0);
            String::from_utf8_lossy(&text[..count]).contains(&self.network)
        })
    }

    fn heard(&self) -> String {
        let said = try_docker(&["logs", &self.container]);
        String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        try_docker(&["rm", "--force", &self.container]);
        try_docker(&["network", "rm", &self.network]);
    }
}

const ASK: &str = r#"ask() { timeout 3 bash -c 'exec 3<>/dev/tcp/$0/$1; printf "GET /$2 HTTP/1.0\r\nHost: $0\r\n\r\n" >&3; head -c 1 <&3' "$@" & }
for to in $HOST 172.17.0.1 127.0.0.1 ::1 host.docker.internal gateway.docker.internal; do
    ask $to 2375 $TOKEN; ask $to $PORT $TOKEN; done
ask $NEIGHBOUR 80 by-address; ask neighbour 80 by-name; ask 127.0.0.11 53 names; wait"#;

fn neighbours(stage: &Stage) -> Verdict {
    let neighbour = Neighbour::start(stage);
    let port = neighbour.other.local_addr().unwrap().port();
    let script = format!(
        "echo @ran; HOST={}; NEIGHBOUR={}; PORT={port}; TOKEN={}\n{ASK}; true",
        neighbour.host, neighbour.address, neighbour.network
    );
    let words = ["bash", "-c", script.as_str()];
    let mut command = if stage.sandboxed() {
        stage.command(&words)
    } else {
        stage.container(&["--network", &neighbour.network], DEBIAN, &words)
    };
    let ran = run(&mut command);
    let heard = neighbour.heard();
    let found = [
        ("the engine's port", neighbour.was_asked(&neighbour.engine)),
        ("the host", neighbour.was_asked(&neighbour.other)),
        ("a container by its address", heard.contains("/by-address")),
        ("a container by its name", heard.contains("/by-name")),
    ];
    Scene { stage, ran }.did_run().and(|| judged(stage, found.len(), &names(&found)))
}
