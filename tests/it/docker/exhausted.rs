//! What an engine runs out of: memory, and space.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::build::Building;
use super::{BUSYBOX, DEBIAN, VARIABLE, can_run, exec, project};
use crate::sandbox::{is_root, within};

/// Takes more memory than there is.
const EAT: &str = "head -c 300M /dev/zero | tail | wc -c; exit ${PIPESTATUS[1]}";

#[test]
fn a_container_that_used_up_its_memory_is_told() {
    if !can_run() {
        return;
    }
    let project = project(DEBIAN, "limits { memory \"48MiB\"; }");
    // The kernel counts in a place that goes with the container: the init has to wait until pier has looked.
    for _ in 0..3 {
        let eaten = exec(&project, &["bash", "-c", EAT]).expect(137).flat();
        assert!(eaten.contains("used up `limits memory`"), "{eaten}");
    }
    let enough = exec(&project, &["bash", "-c", "kill -9 $$"]).expect(137);
    assert!(!enough.flat().contains("used up"), "{}", enough.flat());
}

/// An engine of its own on a small disk; it ends with this value.
struct Small {
    engine: Child,
    directory: tempfile::TempDir,
}

impl Small {
    fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// One that maps users has those of `/etc/subuid` that the test says.
    fn start_with(options: &[&str]) -> Option<Self> {
        if !is_root() {
            println!("skipped: only root starts an engine, on a disk of its own");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("pier-small-").tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        std::os::unix::fs::chown(directory.path(), None, Some(1000)).unwrap();
        fs_err::create_dir(directory.path().join("disk")).unwrap();
        let run = |words: &[&str]| {
            let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(&["mount", "-t", "tmpfs", "-o", "size=64m", "none", &at("disk")]);
        // In a network of its own: it would take that of another engine down.
        let name = Command::new("id").args(["-nu", "1000"]).output().unwrap().stdout;
        let users = format!("{}:200000:65536\n", String::from_utf8(name).unwrap().trim());
        fs_err::write(directory.path().join("users"), &users).unwrap();
        let script = "mount --bind \"$0\" /etc/subuid && mount --bind \"$0\" /etc/subgid && exec \"$@\"";
        let mut engine = Command::new("unshare");
        if options.is_empty() {
            engine.arg("--net");
        } else {
            engine.args(["--net", "--mount", "--propagation", "slave", "sh", "-c", script, &at("users")]);
        }
        let engine = engine
            .arg("dockerd")
            .args(options)
            .args(["--host", &format!("unix://{}", at("socket")), "--data-root", &at("disk/data")])
            .args(["--exec-root", &at("exec"), "--pidfile", &at("pid"), "--group", "1000"])
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        fs_err::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let small = Small { engine, directory };
        assert!(within(Duration::from_mins(1), || small.docker(&["version"]).status().unwrap().success()));
        let mut save = Command::new("docker");
        save.args(["save", BUSYBOX]).env("DOCKER_HOST", std::env::var(VARIABLE).unwrap());
        let mut save = save.stdout(Stdio::piped()).spawn().unwrap();
        let loaded = small.docker(&["load"]).stdin(save.stdout.take().unwrap()).status().unwrap();
        assert!(save.wait().unwrap().success() && loaded.success());
        Some(small)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn address(&self) -> String {
        format!("unix://{}", self.path("socket").display())
    }

    fn docker(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(words).env("DOCKER_HOST", self.address()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn said(&self, words: &[&str]) -> String {
        let output = self.docker(words).stdout(Stdio::piped()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let id = nix::unistd::Pid::from_raw(self.engine.id().cast_signed());
        let _ended = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        let _ended = self.engine.wait();
        let _unmounted = Command::new("umount").arg("--lazy").arg(self.path("disk")).status();
    }
}

#[test]
fn a_disk_that_is_full_ends_a_build_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    let Some(small) = Small::start() else { return };
    let building =
        Building::new(&format!("FROM {BUSYBOX}\nRUN dd if=/dev/zero of=/big bs=1M count=400\n"), &[]);
    building.trust();
    let run = || building.0.call(["exec", "true"]).env("DOCKER_HOST", small.address()).run();
    for _ in 0..2 {
        let failed = run().refused(125, "image::build");
        assert!(failed.said().contains("No space left on device"), "{}", failed.said());
        assert_eq!(small.said(&["ps", "--all", "--quiet"]), "");
        assert_eq!(small.said(&["images", "--quiet", "--filter", "label=pier.build"]), "");
    }
    building.0.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN echo small > /small\n"));
    building.trust();
    // There is space again.
    run().expect(0);
}

#[test]
fn an_engine_that_maps_users_is_refused() {
    if !can_run() {
        return;
    }
    let name = Command::new("id").args(["-nu", "1000"]).output().unwrap();
    let name = String::from_utf8(name.stdout).unwrap().trim().to_owned();
    if name.is_empty() {
        println!("skipped: user 1000 has no name, which an engine needs that maps users");
        return;
    }
    let Some(small) = Small::start_with(&["--userns-remap", &name]) else { return };
    let project = project(BUSYBOX, "");
    for _ in 0..2 {
        let refused = project.call(["exec", "touch", "made"]).env("DOCKER_HOST", small.address()).run();
        refused.refused(125, "docker::users");
        assert_eq!(small.said(&["ps", "--all", "--quiet"]), "");
    }
    assert!(!project.root().join("made").exists());
}
