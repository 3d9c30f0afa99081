#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a benchmark prints and may panic"
)]
//! Times one connection through the gateway against the same connection without it, interleaved in one run, and measures
//! the memory of many.
//!
//! `cargo bench --bench gateway`, as root: the server is in a network namespace of its own. Prints numbers and judges
//! nothing: a busy machine must not fail a build.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use nix::sched::{CloneFlags, unshare};

const ROUNDS: usize = 3;

/// What is moved in one round, in bytes.
const VOLUME: u64 = 1 << 30;

/// Connections at a time.
const CROWD: usize = 1000;

const OURS: &str = "11.93.8.1";
const THEIRS: &str = "11.93.8.2";
const NAME: &str = "server.test";

/// Sends as much as it can.
const SOURCE: u16 = 7001;

/// Reads all, and says so.
const SINK: u16 = 7002;

/// Answers a line with the same.
const ECHO: u16 = 7003;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    // The same program is the client, inside and outside.
    if let [_, kind, rest @ ..] = &words[..]
        && kind == "client"
    {
        return client(rest);
    }
    let quick = !words.iter().any(|word| word == "--bench");
    let root = nix::unistd::Uid::effective().is_root();
    if !root || !PathBuf::from("/usr/bin/bwrap").exists() || Command::new("ip").arg("-V").output().is_err() {
        println!("skipped: it needs root, /usr/bin/bwrap and `ip`");
        return;
    }
    let link = Link::set_up();
    let scene = Scene::set_up();
    let (rounds, volume) = if quick { (1, 1 << 20) } else { (ROUNDS, VOLUME) };
    for (way, kind) in [("down", "pull"), ("up", "push")] {
        let (mut direct, mut through) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let volume = volume.to_string();
            direct.push(rate(scene.outside(&["client", kind, THEIRS, &volume])));
            through.push(rate(scene.inside(&["client", kind, NAME, &volume])));
        }
        let (direct, through) = (median(direct), median(through));
        let ratio = through / direct;
        println!(
            "| one connection, {way} | {:.2} GB/s of {:.2} GB/s ({ratio:.2} x) | 0.5 x |",
            through / 1e9,
            direct / 1e9
        );
    }
    let crowd = if quick { 10 } else { CROWD };
    let peak = scene.memory_of(crowd);
    println!("| memory of pier with {crowd} connections | {:.1} MB | < 64 MB |", peak as f64 / 1e6);
    drop((scene, link));
}

fn client(words: &[String]) {
    let [kind, host, number] = words else { panic!("kind, host and number") };
    let number: u64 = number.parse().unwrap();
    let mut buffer = vec![0; 1 << 18];
    let began = Instant::now();
    match kind.as_str() {
        "pull" => {
            let mut stream = TcpStream::connect((host.as_str(), SOURCE)).unwrap();
            let mut left = number;
            while left > 0 {
                let length = stream.read(&mut buffer).unwrap();
                assert!(length > 0);
                left = left.saturating_sub(length as u64);
            }
        }
        "push" => {
            let mut stream = TcpStream::connect((host.as_str(), SINK)).unwrap();
            let mut left = number;
            while left > 0 {
                let length = buffer.len().min(usize::try_from(left).unwrap());
                stream.write_all(&buffer[..length]).unwrap();
                left -= length as u64;
            }
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut buffer).unwrap(), 1);
        }
        _ => {
            let connect = |_| {
                let mut stream = TcpStream::connect((host.as_str(), ECHO)).unwrap();
                stream.write_all(b"a line\n").unwrap();
                stream
            };
            let mut all: Vec<_> = (0..number).map(connect).collect();
            for stream in &mut all {
                stream.read_exact(&mut buffer[..7]).unwrap();
            }
            println!("ready");
            let _end = std::io::stdin().read(&mut buffer);
            return;
        }
    }
    println!("{}", number as f64 / began.elapsed().as_secs_f64());
}

fn rate(mut command: Command) -> f64 {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// A second host at the other end of a pair of virtual interfaces; they go with its thread.
struct Link(String);

impl Link {
    fn set_up() -> Self {
        let (say, hear) = channel();
        let (go, may_go) = channel::<()>();
        std::thread::spawn(move || host(&may_go, &say));
        let thread = hear.recv().unwrap().to_string();
        let ours = format!("pierb{}", std::process::id() % 100_000);
        let ip = |words: &[&str]| {
            let done = Command::new("ip").args(words).status().unwrap();
            assert!(done.success(), "ip {words:?}");
        };
        ip(&["link", "add", &ours, "type", "veth", "peer", "name", "eth0", "netns", &thread]);
        let link = Link(ours.clone());
        ip(&["address", "add", &format!("{OURS}/29"), "dev", &ours]);
        ip(&["link", "set", &ours, "up"]);
        go.send(()).unwrap();
        hear.recv().unwrap();
        link
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["link", "delete", &self.0]).status();
    }
}

fn host(may_go: &Receiver<()>, say: &std::sync::mpsc::Sender<nix::unistd::Pid>) {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    say.send(nix::unistd::gettid()).unwrap();
    may_go.recv().unwrap();
    let address = format!("{THEIRS}/29");
    for words in [&["address", "add", &address, "dev", "eth0"][..], &["link", "set", "eth0", "up"]] {
        assert!(Command::new("ip").args(words).status().unwrap().success());
    }
    serve(SOURCE, |mut stream| {
        let buffer = vec![0; 1 << 18];
        while stream.write_all(&buffer).is_ok() {}
    });
    serve(SINK, |mut stream| {
        let mut buffer = vec![0; 1 << 18];
        while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
        let _gone = stream.write_all(b".");
    });
    serve(ECHO, |mut stream| {
        let mut line = String::new();
        let _gone = BufReader::new(stream.try_clone().unwrap()).read_line(&mut line);
        let _gone = stream.write_all(line.as_bytes());
        let _end = stream.read(&mut [0]);
    });
    say.send(nix::unistd::gettid()).unwrap();
}

fn serve(port: u16, each: fn(TcpStream)) {
    let listener = TcpListener::bind((THEIRS, port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::Builder::new().stack_size(1 << 16).spawn(move || each(stream)).unwrap();
        }
    });
}

/// A project that may reach the server, with this program in it.
struct Scene(PathBuf);

impl Drop for Scene {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

impl Scene {
    fn set_up() -> Self {
        let directory = std::env::temp_dir().join("pier-bench-gateway");
        let _old = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(directory.join("project")).unwrap();
        std::fs::create_dir_all(directory.join("home")).unwrap();
        let file = format!(
            "network allowlist {{ allow \"{NAME}\" port={SOURCE}; allow \"{NAME}\" port={SINK}; allow \"{NAME}\" port={ECHO}; }}\n"
        );
        std::fs::write(directory.join("project/pier.kdl"), file).unwrap();
        std::fs::write(directory.join("hosts"), format!("127.0.0.1 localhost\n{THEIRS} {NAME}\n")).unwrap();
        std::fs::copy(std::env::current_exe().unwrap(), directory.join("project/client")).unwrap();
        let owner = Command::new("chown").args(["-R", "1000:1000"]).arg(&directory).status().unwrap();
        assert!(owner.success());
        let scene = Scene(directory);
        let trusted = scene.pier(&["trust"]).stdout(Stdio::null()).status().unwrap();
        assert!(trusted.success());
        scene
    }

    /// The program, with names of the bench's own.
    fn pier(&self, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        let mount = "mount --make-rprivate / && mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        command.args(["-m", "bash", "-c", mount]).arg(self.0.join("hosts")).arg(env!("CARGO_BIN_EXE_pier"));
        command.args(words).current_dir(self.0.join("project")).env_clear();
        command.env("HOME", self.0.join("home")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null());
        command
    }

    fn inside(&self, words: &[&str]) -> Command {
        self.pier(&[&["exec", "--", "./client"], words].concat())
    }

    fn outside(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.0.join("project/client"));
        command.args(words);
        command
    }

    /// Peak resident memory of pier with so many connections open, in bytes.
    fn memory_of(&self, connections: usize) -> u64 {
        let mut command = self.inside(&["client", "crowd", NAME, &connections.to_string()]);
        let mut child: Child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }
}
