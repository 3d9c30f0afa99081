#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints and may panic"
)]
//! Times workspaces and containers against Docker's own client, interleaved in one run, and prints the README's table.
//!
//! `cargo bench --bench containers`, with the engine of `tests/docker/engine` in `PIER_TEST_DOCKER`. Prints numbers and
//! judges nothing: a busy machine must not fail a build.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: usize = 40;

/// Workspaces at once.
const CROWD: usize = 20;

const IMAGE: &str = "pier-test/debian:1";

fn main() {
    // `cargo test --all-targets` runs this once as a test: it then only has to start.
    let quick = !std::env::args().any(|word| word == "--bench");
    let address = std::env::var("PIER_TEST_DOCKER").unwrap_or_default();
    if address.is_empty() || address == "none" {
        println!("skipped: PIER_TEST_DOCKER names no engine (`tests/docker/engine start DIRECTORY`)");
        return;
    }
    let scene = Scene::set_up(address);
    let rounds = if quick { 1 } else { ROUNDS };
    let name = scene.start("one");
    let (mut docker, mut pier, mut stop, mut start, mut run, mut session) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        docker.push(time(|| scene.docker(&["exec", &name, "true"])));
        pier.push(time(|| scene.pier("one", &["exec", "--", "true"])));
    }
    for _ in 0..rounds.div_ceil(4) {
        stop.push(time(|| scene.pier("one", &["stop"])));
        start.push(time(|| scene.pier("one", &["start"])));
        run.push(time(|| scene.docker(&["run", "--rm", "--network", "none", IMAGE, "true"])));
        session.push(time(|| scene.pier("project", &["exec", "--", "true"])));
    }
    let crowd = time(|| {
        thread::scope(|scope| {
            for number in 0..if quick { 2 } else { CROWD } {
                let scene = &scene;
                scope.spawn(move || {
                    let name = format!("crowd-{number}");
                    scene.start(&name);
                    scene.pier(&name, &["exec", "--", "true"]);
                    scene.pier(&name, &["stop"]);
                });
            }
        });
    });
    if quick {
        println!("each was run once; `cargo bench --bench containers` prints times");
        return;
    }
    let (docker, pier) = (median(docker), median(pier));
    println!("| what | median | target |");
    println!("|---|---|---|");
    println!("| `docker exec … true` | {} | |", shown(docker));
    let ratio = pier.as_secs_f64() / docker.as_secs_f64();
    println!("| `pier exec -- true` in a workspace | {} ({ratio:.2} x) | 1.3 x |", shown(pier));
    println!("| `pier stop` | {} | < 500 ms |", shown(median(stop)));
    println!("| `pier start` again | {} | < 1000 ms |", shown(median(start)));
    println!("| `docker run --rm --network none … true` | {} | |", shown(median(run)));
    println!("| `pier exec -- true`, `runtime container` | {} | |", shown(median(session)));
    println!("| {CROWD} workspaces at once: start, exec, stop | {} | no error |", shown(crowd));
}

fn time(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Workspaces and a project below one directory, and a home; their containers go at the end.
struct Scene {
    address: String,
    base: tempfile::TempDir,
}

impl Scene {
    fn set_up(address: String) -> Self {
        let base = tempfile::Builder::new().prefix("pier-bench-").tempdir().unwrap();
        let scene = Scene { address, base };
        for name in ["home", "project"] {
            std::fs::create_dir(scene.place(name)).unwrap();
        }
        let file = format!("runtime container {{ image \"{IMAGE}\"; }}\n");
        std::fs::write(scene.place("project/pier.kdl"), file).unwrap();
        if nix::unistd::geteuid().is_root() {
            for name in ["", "home", "project", "project/pier.kdl"] {
                std::os::unix::fs::chown(scene.place(name), Some(1000), Some(1000)).unwrap();
            }
        }
        scene.pier("project", &["trust"]);
        scene
    }

    fn place(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", self.place("home"));
        command
            .env("DOCKER_HOST", &self.address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn pier(&self, name: &str, words: &[&str]) {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_pier")));
        let status = command.args(words).current_dir(self.place(name)).status();
        assert!(status.unwrap().success(), "{words:?}");
    }

    fn docker(&self, words: &[&str]) {
        assert!(self.command(Path::new("docker")).args(words).status().unwrap().success(), "{words:?}");
    }

    /// Makes a workspace; returns the name of its container.
    fn start(&self, name: &str) -> String {
        self.pier("", &["start", "-d", name, "--image", IMAGE]);
        let text = std::fs::read_to_string(self.place(name).join(".pier/session.json")).unwrap();
        let session: serde_json::Value = serde_json::from_str(&text).unwrap();
        format!("{}-main-1", session["harbor_session_id"].as_str().unwrap())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.base.path()).unwrap().flatten() {
            if entry.path().join(".pier/session.json").exists() {
                self.pier(&entry.file_name().to_string_lossy(), &["rm", "--force"]);
            }
        }
    }
}
