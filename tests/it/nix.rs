//! `runtime nix` on a flake without nixpkgs: its tools are of busybox, and its store is below the project's home.
//! A host where everybody shares a store has it in `/nix/store`, where these builds have no `/bin/bash`.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::sandbox::{Call, Output, Project};

/// Long enough for a shell that has to be built.
const BUILD: Duration = Duration::from_mins(3);

/// Where there is no Nix.
const NOWHERE: &str = "/nonexistent/nix";

const FLAKE: &str = r#"{
  outputs = { self, ... }: let
    system = if builtins.pathExists ./aarch64 then "aarch64-linux" else "SYSTEM";
    # A builtin at the end: coreutils close their output before they end, and Nix takes that for the end.
    build = name: script: derivation {
      inherit name system;
      builder = "/bin/bash";
      PATH = "/usr/bin:/bin";
      args = [ "-c" "mkdir -p $out/bin; cp $(command -v busybox) $out/bin/busybox; ${script}; exit 0" ];
    };
    link = names: "for n in ${names}; do ln -s busybox $out/bin/$n; done";
    tool = build "tool" "${link "sh ls cat env true echo id touch"}; 
      echo '#!/bin/sh' > $out/bin/hello; echo 'echo hello $*' >> $out/bin/hello; chmod +x $out/bin/hello";
    other = build "other" (link "other");
    stdenv = more: derivation {
      name = "stdenv";
      inherit system;
      builder = "/bin/bash";
      PATH = "/usr/bin:/bin";
      args = [ "-c" "mkdir -p $out; echo 'export PATH=${more}/usr/bin:./bin:${tool}/bin
        export PKG_CONFIG_PATH=${tool}/lib/pkgconfig RUSTFLAGS=-Copt-level=1 SECRET=1 HOME=/evil TMP=/evil
        export LD_LIBRARY_PATH=/evil LD_PRELOAD=/evil/lib.so NIX_CONFIG=evil' > $out/setup; exit 0" ];
    };
    shell = more: derivation {
      name = "shell";
      inherit system;
      stdenv = stdenv more;
      builder = "/bin/bash";
      outputs = [ "out" ];
    };
  in {
    devShells.${system} = { default = shell ""; wide = shell "${other}/bin:"; EXTRA };
  };
}
"#;

fn flake(extra: &str) -> String {
    let system = if cfg!(target_arch = "aarch64") { "aarch64-linux" } else { "x86_64-linux" };
    FLAKE.replace("SYSTEM", system).replace("EXTRA", extra)
}

/// Why this host cannot build the flake of these tests, if it cannot.
pub fn missing() -> Option<&'static str> {
    let nix = ["/usr/bin/nix", "/run/current-system/sw/bin/nix", "/nix/var/nix/profiles/default/bin/nix"];
    if !nix.iter().any(|path| Path::new(path).exists()) {
        Some("there is no Nix on this host")
    } else if Path::new("/nix/var/nix/daemon-socket/socket").exists()
        || (!crate::sandbox::is_root() && writable("/nix/var/nix/db"))
    {
        Some("this host has a Nix store for everybody, which does not build with programs of the host")
    } else {
        None
    }
}

fn writable(path: &str) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok()
}

/// Prints the reason, if there is one.
fn cannot() -> bool {
    missing().inspect(|reason| println!("skipped: {reason}")).is_some()
}

/// A project with the flake. Its store is read-only, and made writable at the end so that it can be removed.
struct Nix {
    project: Project,
}

impl Nix {
    fn new(config: &str) -> Self {
        Nix::with(config, "")
    }

    fn with(config: &str, extra: &str) -> Self {
        let project = Project::new(config);
        project.write("flake.nix", flake(extra));
        let settings = "substitute = false\nsandbox-paths = /bin /usr /lib /lib64\n";
        project.write_beside("home/.config/nix/nix.conf", settings);
        Nix { project }
    }

    fn trusted(config: &str) -> Self {
        let nix = Nix::new(config);
        nix.project.trust();
        nix
    }

    fn call(&self, words: &[&str]) -> Call {
        self.project.call(words).deadline(BUILD)
    }

    fn exec(&self, command: &[&str]) -> Output {
        self.call(&["exec", "--"]).with(command).run()
    }

    /// Runs a script inside, with the store's Nix out of reach.
    fn known(&self, script: &str) -> Output {
        self.call(&["exec", "--", "sh", "-c", script]).env("PIER_NIX", NOWHERE).run()
    }

    fn store(&self) -> PathBuf {
        self.project.home().join(".local/share/nix/root/nix/store")
    }

    /// Where a path of the store that the inside names is on the host.
    fn outside(&self, inside: &str) -> PathBuf {
        self.store().join(Path::new(inside).strip_prefix("/nix/store").unwrap())
    }

    /// Collects everything in the store that no root keeps.
    fn collect_garbage(&self) {
        let root = self.project.home().join(".local/share/nix/root");
        let mut command = Command::new("nix");
        command
            .args(["--extra-experimental-features", "nix-command", "--store"])
            .arg(root)
            .args(["store", "gc"]);
        self.project.surround(command).into_owner().deadline(BUILD).run().expect(0);
    }

    /// The directories of known shells.
    fn entries(&self) -> Vec<PathBuf> {
        let projects = fs_err::read_dir(self.project.state().join("nix")).into_iter().flatten().flatten();
        projects
            .flat_map(|project| fs_err::read_dir(project.path()).unwrap().flatten())
            .map(|entry| entry.path())
            .collect()
    }
}

impl Drop for Nix {
    fn drop(&mut self) {
        let mut pending = vec![self.project.home()];
        while let Some(path) = pending.pop() {
            let Ok(meta) = path.symlink_metadata() else { continue };
            if meta.is_dir() {
                // Root needs none of it, and of others nothing is there.
                let _not_ours = fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o700));
                pending.extend(
                    fs_err::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()),
                );
            }
        }
    }
}

#[test]
fn the_tools_of_the_shell_are_the_only_ones() {
    if cannot() {
        return;
    }
    let nix = Nix::trusted("runtime nix { flake \".\"; shell \"default\"; }\n");
    assert_eq!(nix.exec(&["hello", "you"]).expect(0).text(), "hello you");
    let script = "command -v hello; echo $PATH; readlink /bin/sh; for p in /usr/bin/ls /lib /lib64 /usr/lib /etc/alternatives \
         /etc/ld.so.cache /nix/var; do ls $p 2>/dev/null && echo found; done; /usr/bin/env true && echo env";
    let text = nix.known(script).expect(0).text();
    let lines: Vec<&str> = text.lines().collect();
    let [hello, path, sh, "env"] = lines[..] else { panic!("{text}") };
    let bin = path.strip_prefix("/nix/store/").unwrap();
    assert!(!bin.contains(':') && bin.ends_with("-tool/bin"), "only paths of the store are searched: {path}");
    assert_eq!((hello, sh), (format!("{path}/hello").as_str(), format!("{path}/sh").as_str()));
    // A shell is the first of them that there is.
    let said = nix.call(&["shell"]).stdin("echo in $0\n").run().expect(0).text();
    assert!(said.contains("in ") && said.contains("sh"), "{said}");
}

/// Called by the catalogue of attacks.
pub fn selected_variables_arrive_and_no_others() {
    if cannot() {
        return;
    }
    let nix = Nix::new("runtime nix { pass \"RUSTFLAGS\"; }\n");
    nix.project.trust();
    let mut call = nix.call(&["exec", "--", "env"]);
    // A setting that Nix refuses to start with, were it read.
    for (name, value) in
        [("NIX_CONFIG", "nonsense"), ("NIX_REMOTE", "/nowhere"), ("LD_LIBRARY_PATH", "/planted")]
    {
        call = call.env(name, value);
    }
    let text = call.run().expect(0).text();
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    assert_eq!(value("RUSTFLAGS"), Some("-Copt-level=1"));
    assert!(value("PKG_CONFIG_PATH").is_some_and(|path| path.ends_with("-tool/lib/pkgconfig")), "{text}");
    assert_eq!(value("HOME"), Some("/home/pier"));
    for name in
        ["SECRET", "TMP", "LD_LIBRARY_PATH", "LD_PRELOAD", "NIX_CONFIG", "NIX_REMOTE", "out", "stdenv"]
    {
        assert_eq!(value(name), None, "{name}: {text}");
    }
    for name in ["LD_PRELOAD", "HOME", "NIX_CONFIG"] {
        nix.project.write("pier.kdl", format!("runtime nix {{ pass \"{name}\"; }}\n"));
        nix.exec(&["touch", "ran"]).refused(2, "env::reserved");
    }
    assert!(!nix.project.root().join("ran").exists());
}

/// Called by the catalogue of attacks.
pub fn what_is_not_in_the_closure_is_neither_read_nor_executed() {
    if cannot() {
        return;
    }
    let nix = Nix::new(
        "runtime nix\nlimits { minimum-tier 3; }\nprofile wide { limits { minimum-tier 2; }; runtime nix { shell \"wide\"; }; }\n",
    );
    let wide = ["--profile", "wide"];
    nix.call(&["trust"]).with(&wide).run().expect(0);
    let found = nix.call(&wide).with(&["exec", "--", "sh", "-c", "command -v other"]).run().expect(0).text();
    assert!(nix.outside(&found).symlink_metadata().is_ok(), "{found}");
    nix.project.trust();
    let output = nix.exec(&["true"]);
    if output.said().contains("session::tier") {
        println!("skipped: this kernel has no Landlock");
        return;
    }
    output.expect(0);
    let directory = Path::new(&found).parent().unwrap().to_str().unwrap();
    let program = format!("{directory}/busybox");
    let script = format!(
        "{program} echo ran; cat {program} >/workspace/stolen && echo read; cp {program} /tmp/x; /tmp/x echo copied; \
         ls {directory} >/dev/null; /lib64/ld-linux-x86-64.so.2 {program} echo loaded; true"
    );
    let output = nix.known(&script).expect(0);
    assert_eq!(output.text(), "", "{}", output.said());
    assert!(output.said().matches("Permission denied").count() >= 2, "{}", output.said());
    assert_eq!(fs_err::metadata(nix.project.root().join("stolen")).map_or(0, |meta| meta.len()), 0);
    nix.exec(&[&program, "echo", "ran"]).refused(126, "exec::cannot-run");
    let outside = nix.outside(&program);
    let said = nix.call(&["explain", outside.to_str().unwrap()]).run().expect(1).text();
    assert!(said.contains("no part of the shell needs it"), "{said}");
}

/// Called by the catalogue of attacks.
pub fn a_changed_flake_needs_approval_again() {
    if cannot() {
        return;
    }
    let nix = Nix::with("runtime nix\n", "lib = import ./nix/shells.nix;");
    nix.project.write("nix/shells.nix", "{ }\n");
    nix.exec(&["touch", "ran"]).refused(125, "trust::needed");
    assert!(nix.entries().is_empty() && !nix.store().exists(), "nothing was evaluated");
    nix.project.trust();
    nix.exec(&["true"]).expect(0);
    // Another file of the project is none of the flake's, and the agent cannot change the flake itself.
    let said = nix.known("echo >/workspace/flake.nix").said();
    assert!(said.contains("Read-only") || said.contains("denied"), "{said}");
    nix.known("echo '{ evil = 1; }' >/workspace/other.nix; echo '{ evil = 1; }' >/workspace/nix/shells.nix")
        .expect(0);
    let said = nix.exec(&["touch", "ran"]).refused(125, "trust::needed").flat();
    assert!(said.contains("`nix/shells.nix`") && !said.contains("other.nix"), "{said}");
    nix.project.write("nix/shells.nix", "{ }\n");
    nix.known("true").expect(0);
    nix.project.write("flake.nix", flake("more = 1;"));
    nix.exec(&["touch", "ran"]).refused(125, "trust::needed");
    // The user's own settings do not approve what a repository brings.
    nix.project.write("pier.kdl", "network none\n");
    nix.project.write_beside("home/.config/pier/config.kdl", "runtime nix\n");
    nix.exec(&["touch", "ran"]).refused(125, "trust::needed");
    assert!(!nix.project.root().join("ran").exists());
}

/// Called by the catalogue of attacks.
pub fn an_evaluation_builds_nothing_fetches_nothing_and_reads_nothing_else() {
    if cannot() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let refusals = [
        ("import (build \"x\" \"echo 1 > $out/default.nix\")", "import"),
        (&format!("builtins.fetchurl \"http://{address}/x\""), "pure"),
        ("builtins.readFile /etc/passwd", "pure"),
        ("builtins.readFile ./../../home/secret", ""),
        ("builtins.readFile (self.outPath + \"/pier\" + \".kdl\")", "kdl"),
        (
            "throw (builtins.fromJSON \"\\\"e\\\\u0007\\\\u001b[2Jmpty${builtins.getEnv \"HOME\"}\\\"\")",
            "error: empty help:",
        ),
    ];
    for (expression, word) in refusals {
        let nix = Nix::with("runtime nix { shell \"bad\"; }\n", &format!("bad = {expression};"));
        nix.project.write_beside("home/secret", "");
        nix.project.trust();
        let output = nix.exec(&["touch", "ran"]).refused(125, "nix::failed");
        assert!(output.flat().contains(word), "{expression}: {}", output.said());
        assert!(!output.stderr.contains(&0x1b), "{}", output.said());
        assert!(nix.entries().iter().all(|entry| !entry.join("shell.json").exists()));
    }
    listener.accept().unwrap_err();
}

/// Called by the catalogue of attacks.
pub fn a_known_shell_starts_without_nix_and_outlives_a_collection() {
    if cannot() {
        return;
    }
    let nix = Nix::new("runtime nix\n");
    // Paths that no other test has: a collection spares what is in the environment of any process on the machine.
    nix.project.write("flake.nix", flake("").replace("echo hello", "echo collected"));
    nix.project.trust();
    nix.exec(&["true"]).expect(0);
    nix.known("true").expect(0);
    nix.collect_garbage();
    let path = nix.known("echo $PATH").expect(0).text();
    // Without its root it goes, and is said or made again.
    let [entry] = &nix.entries()[..] else { panic!("one shell is known") };
    fs_err::remove_file(entry.join("root-1-link")).unwrap();
    nix.collect_garbage();
    assert!(!nix.outside(&path).exists());
    let output = nix.call(&["exec", "--", "true"]).env("PIER_NIX", NOWHERE).run();
    let said = output.refused(125, "nix::missing").flat();
    assert!(said.contains("apt-get install nix-bin"), "{said}");
    nix.exec(&["true"]).expect(0);
    nix.known("true").expect(0);
    assert!(nix.outside(&path).exists());
}

#[test]
fn inputs_are_locked_and_taken_as_locked() {
    if cannot() {
        return;
    }
    let nix = Nix::new("runtime nix { pass \"FROM\"; }\n");
    let text = flake("").replacen("{\n", "{\n  inputs.dep.url = \"path:./dep\";\n", 1);
    nix.project.write(
        "flake.nix",
        text.replacen("{ self, ... }", "{ self, dep }", 1)
            .replace("name = \"shell\"", "name = \"shell\"; FROM = dep.text"),
    );
    nix.project.write("dep/flake.nix", "{ outputs = _: { text = \"one\"; }; }\n");
    nix.project.trust();
    let said = nix.exec(&["touch", "ran"]).refused(125, "nix::failed").flat();
    assert!(said.contains("lock file changes"), "{said}");
    assert!(!nix.project.root().join("ran").exists());
    let mut lock = Command::new("nix");
    lock.args(["--extra-experimental-features", "nix-command flakes", "--store"]);
    lock.arg(nix.project.home().join(".local/share/nix/root")).args(["flake", "lock", "path:."]);
    nix.project.surround(lock).into_owner().deadline(BUILD).run().expect(0);
    nix.project.trust();
    assert_eq!(nix.exec(&["sh", "-c", "echo $FROM"]).expect(0).text(), "one");
    // What an input says is a part of what was approved.
    nix.project.write("dep/flake.nix", "{ outputs = _: { text = \"two\"; }; }\n");
    nix.exec(&["touch", "ran"]).refused(125, "trust::needed");
}

#[test]
fn old_shells_are_forgotten() {
    if cannot() {
        return;
    }
    let nix = Nix::new("runtime nix\n");
    for number in 0..6 {
        nix.project.write("flake.nix", flake(&format!("more = {number};")));
        nix.project.trust();
        nix.exec(&["true"]).expect(0);
    }
    assert_eq!(nix.entries().len(), 4);
    nix.known("true").expect(0);
}

#[test]
fn what_is_missing_is_said() {
    let project = Project::new("runtime nix\n");
    project.exec(&["true"]).refused(2, "nix::input");
    project.write("flake.nix", "{ outputs = _: { }; }\n");
    project.trust();
    let with = |program: &str| project.call(["exec", "--", "true"]).env("PIER_NIX", program).run();
    let said = with(NOWHERE).refused(125, "nix::missing").flat();
    assert!(said.contains("nix-bin") && said.contains("runtime host"), "{said}");
    with("/usr/bin/ldd").refused(125, "nix::program");
    std::os::unix::fs::symlink("/etc/passwd", project.root().join("x.nix")).unwrap();
    project.write("flake.nix", "{ outputs = _: import ./x.nix; }\n");
    let said = project.exec(&["true"]).refused(2, "nix::input").flat();
    assert!(said.contains("symbolic link"), "{said}");
    for line in ["flake \"github:o/r/main\"", "flake \"nixpkgs:x\"", "shell \"a.b\""] {
        project.write("pier.kdl", format!("runtime nix {{ {line}; }}\n"));
        project.exec(&["true"]).refused(2, "nix::reference");
    }
}

#[test]
fn the_lock_pins_the_flake() {
    let project = Project::new("runtime nix\n");
    let revision = "d482ef84049d9b7276b83a06e4e4d76983830097";
    let lock = format!(
        r#"{{"nodes":{{"nixpkgs":{{"locked":{{"rev":"{revision}","type":"github"}}}},"root":{{"inputs":{{"nixpkgs":"nixpkgs"}}}}}},"root":"root","version":7}}"#
    );
    project.write("flake.nix", "{ outputs = _: { }; }\n");
    project.write("flake.lock", &lock);
    project.pier(&["lock", "verify"]).expect(1);
    let said = project.pier(&["lock", "update"]).expect(0).text();
    assert!(said.contains(&format!("nixpkgs {revision}")), "{said}");
    project.pier(&["lock", "verify"]).expect(0);
    project.write("flake.lock", lock.replace('d', "e").replace("noee", "node").replace("lockee", "locked"));
    let said = project.pier(&["lock", "verify"]).expect(1).text();
    assert!(said.contains("the flake is locked as"), "{said}");
    project.call(["exec", "--locked", "--", "true"]).run().refused(2, "lock::stale");
}

/// An installation of pier's own, as `agent::install` leaves it.
fn install(nix: &Nix, program: &str) {
    let (package, version) = ("@anthropic-ai/claude-code", "2.1.197");
    let integrity = format!("sha512-{}==", "A".repeat(86));
    let script = format!("printf '%s\\n%s' '{package}' '{integrity}' | sha256sum");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let digest = String::from_utf8(output.stdout).unwrap()[..8].to_owned();
    let directory = format!("home/.cache/pier/agents/claude-code/{version}-{digest}");
    let manifest = format!(
        r#"{{"schema":1,"package":"{package}","version":"{version}","integrity":"{integrity}","node":null,"program":"bin/claude"}}"#
    );
    nix.project.write_beside(format!("{directory}/bin/claude"), fs_err::read(program).unwrap());
    crate::sandbox::make_executable(&nix.project.base().join(&directory).join("bin/claude"));
    nix.project.write_beside(format!("{directory}/pier-install.json"), manifest);
}

#[test]
fn an_agent_runs_with_the_shell_or_is_refused() {
    if cannot() {
        return;
    }
    let nix = Nix::new("runtime nix\nagent claude-code default=#true { version \"2.1.197\"; }\n");
    install(&nix, "/bin/true");
    nix.project.trust();
    let said = nix.call(&["up"]).run().refused(125, "nix::agent").flat();
    assert!(said.contains("libraries of the host"), "{said}");
    nix.known("true").expect(0);
    // A static program needs none; one that the shell brings is found in it.
    install(&nix, "/usr/bin/busybox");
    assert_ne!(nix.call(&["up"]).run().code(), Some(125));
    let own = "agent mine default=#true { run \"hello\"; }\n";
    nix.project.write("pier.kdl", format!("runtime nix\n{own}"));
    nix.project.trust();
    let argv = nix.call(&["plan", "--json"]).run().expect(0).text();
    assert!(argv.contains("-tool/bin/hello"), "{argv}");
}
