//! Section H: policy, trust, and doors that stay shut when something fails.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::case::{Action, CASE, Case, ONE, OWNER, Open, PLAIN, Verdict};
use super::scene::{Scene, no_claim};
use super::stage::{Ran, Stage, run};
use crate::sandbox::{PIER, too_long, within};

const NO_PIER: Open = Open::Not("it is about what pier refuses: nothing refuses without it");

pub const CASES: &[Case] = &[
    Case { id: "H1", tries: "the policy from inside", action: Action::Steps(policy_inside), ..CASE },
    Case {
        id: "H1.local",
        tries: "more policy, in new files, for the next start",
        action: Action::Steps(planted_policy),
        ..CASE
    },
    Case {
        id: "H1.below",
        tries: "another policy in a directory that somebody enters",
        action: Action::Steps(policy_below),
        columns: OWNER,
        ..CASE
    },
    Case {
        id: "H2",
        tries: "an included file of the policy",
        action: Action::Steps(included),
        columns: OWNER,
        ..CASE
    },
    Case {
        id: "H3",
        tries: "broken, unknown and empty policies",
        action: Action::Steps(broken),
        columns: ONE,
        open: NO_PIER,
        ..CASE
    },
    Case {
        id: "H3.empty",
        tries: "an empty policy",
        config: "",
        action: Action::Probe(&["interfaces"]),
        columns: PLAIN,
        ..CASE
    },
    Case { id: "H4", tries: "pier inside of pier", action: Action::Steps(nested), ..CASE },
    Case {
        id: "H6",
        tries: "a policy that changes while a session runs",
        config: "network none\n",
        action: Action::Steps(live),
        columns: OWNER,
        ..CASE
    },
    Case {
        id: "H8",
        tries: "a host without user namespaces",
        action: Action::Steps(without_namespaces),
        columns: ONE,
        ..CASE
    },
    Case {
        id: "H8.bwrap",
        tries: "a host without bubblewrap",
        action: Action::Steps(without_bubblewrap),
        columns: ONE,
        ..CASE
    },
    Case {
        id: "H10",
        tries: "the records of the session",
        action: Action::Steps(records),
        columns: PLAIN,
        ..CASE
    },
    Case {
        id: "H11",
        tries: "policies that are bombs",
        action: Action::Steps(bombs),
        columns: ONE,
        open: NO_PIER,
        ..CASE
    },
    Case {
        id: "H12",
        tries: "pier's state, by another user",
        action: Action::Steps(private),
        columns: OWNER,
        ..CASE
    },
    Case {
        id: "H13",
        tries: "new files that run on the host, where the gate blocks",
        config: "workspace { gate \"block\"; }",
        action: Action::Script("echo x > .envrc; mkdir .vscode; echo '{}' > .vscode/tasks.json", |scene| {
            let open = scene.ran.code == Some(0) || scene.ran.code.is_none();
            scene
                .did_run()
                .and(|| super::scene::absent_or_named(scene, &[".envrc", ".vscode/tasks.json"]))
                .and(|| Verdict::open_if(open, "the session ended as if nothing were"))
        }),
        columns: OWNER,
        ..CASE
    },
    Case {
        id: "H13.quarantine",
        tries: "new files that run on the host, where the gate moves them away",
        config: "workspace { gate \"quarantine\"; }",
        action: Action::Script("echo x > .envrc; mkdir .vscode; echo '{}' > .vscode/tasks.json", |scene| {
            let root = scene.stage.world.project();
            let left = [".envrc", ".vscode/tasks.json"].into_iter().filter(|name| root.join(name).exists());
            let left: Vec<&str> = left.collect();
            scene
                .did_run()
                .and(|| Verdict::open_if(!left.is_empty(), format!("still there: {}", left.join(" "))))
        }),
        columns: OWNER,
        ..CASE
    },
    Case {
        id: "H14",
        tries: "secrets on command lines and in pier's files",
        config: "env { pass \"GITHUB_TOKEN\"; }",
        action: Action::Steps(secrets),
        columns: OWNER,
        ..CASE
    },
];

/// Says whether the next session reaches the network; that it does not start is as good.
fn widened(ran: &Ran) -> Verdict {
    let refused = [Some(2), Some(125)].contains(&ran.code);
    match ran.code {
        Some(0) => Verdict::Held,
        _ if refused && ran.err.contains("::") => Verdict::Held,
        _ => Verdict::open(format!("the next session got more: {}", ran.short())),
    }
}

fn policy_inside(stage: &Stage) -> Verdict {
    let ran = stage.bash(
        "echo 'network host' > evil.kdl; echo 'network host' >> pier.kdl; rm -f pier.kdl; mv pier.kdl x; cp evil.kdl pier.kdl
        ln -sf evil.kdl pier.kdl; mv -f evil.kdl pier.kdl; echo 'network host' > $HOST_W/pier.kdl
        chmod 777 pier.kdl; touch -d 2001-01-01 pier.kdl",
    );
    let path = stage.world.project().join("pier.kdl");
    let same = path.is_file() && !path.is_symlink() && std::fs::read_to_string(&path).unwrap().is_empty();
    let scene = Scene { stage, ran };
    scene.did_run().and(|| Verdict::open_if(!same, "the policy was changed"))
}

fn planted_policy(stage: &Stage) -> Verdict {
    let ran = stage.bash(
        "for f in pier.local.kdl .pier/pier.kdl .pier/config.kdl .pier.kdl; do mkdir -p $(dirname $f); echo 'network host' > $f; done
        mkdir -p ~/.config/pier; echo 'network host' > ~/.config/pier/config.kdl",
    );
    let scene = Scene { stage, ran };
    scene.did_run().and(|| widened(&stage.probe(&["interfaces"])))
}

fn policy_below(stage: &Stage) -> Verdict {
    let ran = stage.bash("mkdir sub; echo 'network host' > sub/pier.kdl; mkdir -p sub/.git/objects sub/.git/refs; echo 'ref: refs/heads/main' > sub/.git/HEAD; cp tools/probe sub");
    let mut command = stage.command(&["./probe", "interfaces"]);
    let next = run(command.current_dir(stage.world.project().join("sub")));
    let scene = Scene { stage, ran };
    scene.did_run().and(|| widened(&next))
}

fn included(stage: &Stage) -> Verdict {
    let world = &stage.world;
    world.write_project("pier.kdl", "include \"rules.kdl\"\n");
    world.write_project("rules.kdl", "env { set ONE=\"1\"; }\n");
    world.give();
    if stage.sandboxed() {
        let trusted = stage.pier(&["trust"]);
        if trusted.code != Some(0) {
            return Verdict::open(trusted.short());
        }
    }
    let ran = stage.bash("echo 'network host' > rules.kdl; rm -f rules.kdl; echo 'network host' > rules.kdl");
    let scene = Scene { stage, ran };
    scene.did_run().and(|| widened(&stage.probe(&["interfaces"])))
}

fn broken(stage: &Stage) -> Verdict {
    let texts = [
        "nett {}",
        "network everything",
        "network none host",
        "network \"none\" \"host\"",
        "network none\nnetwork host",
        "network { allow }",
        "mounts { ro; }",
        "mounts { ro \"/usr\" at=5; }",
        "env { pass; }",
        "env { pass \"A B\"; }",
        "env { pass \"A\" } }",
        "workspace { git \"both\"; }",
        "workspace at=\"relative\"",
        "limits { wall \"soon\"; }",
        "limits { pids -1; }",
        "pier 99",
        "version 99",
        "project",
        "agent",
        "profile \"x\" { profile \"y\" {} }",
        "include \"missing.kdl\"",
        "include \"pier.kdl\"",
        "network none extra=#true",
        "\u{feff}nett",
        "network \u{202e}none",
        "{",
        "\"",
        "/*",
        "\0",
    ];
    let mut wrong = Vec::new();
    for text in texts {
        stage.world.write_project("pier.kdl", text);
        stage.world.give();
        let ran = stage.exec(&["echo", "it runs"]);
        let refused = matches!(ran.code, Some(2 | 125)) && !ran.said("it runs") && !ran.said("panicked");
        if !refused {
            wrong.push(format!("{text:?}: {}", ran.short()));
        }
    }
    Verdict::open_if(!wrong.is_empty(), wrong.join("; "))
}

/// Files of pier's own, with their content; those of sessions and plans come and go.
fn own_files(stage: &Stage) -> BTreeMap<PathBuf, Vec<u8>> {
    let state = stage.world.state();
    let lasting = |path: &PathBuf| {
        let first = path.strip_prefix(&state).unwrap().components().next();
        !first.is_some_and(|first| {
            ["sessions", "plans", "audit", "projects", "spare", "gone"]
                .iter()
                .any(|name| first.as_os_str() == *name)
        })
    };
    let files = super::scene::files(&state).into_iter().filter(lasting);
    files.map(|path| (path.clone(), std::fs::read(path).unwrap_or_default())).collect()
}

fn nested(stage: &Stage) -> Verdict {
    stage.exec(&["true"]);
    let before = own_files(stage);
    let ran = stage.bash(
        "cp -r . /tmp/n$ABSTRACT; cd /tmp/n$ABSTRACT; rm -f pier.kdl; echo 'network host' > pier.kdl
        $PIER trust; $PIER exec -- tools/probe interfaces >/dev/null; [ $? = 1 ] && echo 'OPEN: it runs with more'
        cd $W; $PIER trust; [ -n \"$OPEN\" ] && $PIER --version; rm -rf /tmp/n$ABSTRACT",
    );
    let changed = own_files(stage) != before;
    let scene = Scene { stage, ran };
    no_claim(&scene).and(|| Verdict::open_if(changed, "pier's own files were changed"))
}

/// What a session may is what it was started with.
fn live(stage: &Stage) -> Verdict {
    let script = "echo > waits; for i in $(seq 100); do [ -e go ] && break; sleep 0.05; done; ./tools/probe interfaces > said; exit $?";
    let mut command = stage.command(&["bash", "-c", script]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let root = stage.world.project();
    let waits = within(Duration::from_secs(10), || root.join("waits").exists());
    stage.world.write_project("pier.kdl", "network host\n");
    stage.world.write_project("go", "");
    let status = crate::sandbox::wait(&mut child, Duration::from_secs(20)).and_then(|status| status.code());
    Verdict::open_if(!waits, "it did not run")
        .and(|| Verdict::open_if(status != Some(0), format!("ended with {status:?}")))
}

/// In namespaces of its own, where the number of further ones is set to none.
fn without_namespaces(stage: &Stage) -> Verdict {
    let last = if stage.sandboxed() {
        format!("exec {PIER} exec --as-root -- touch ran")
    } else {
        "touch ran".into()
    };
    let script = format!("echo 0 > /proc/sys/user/max_user_namespaces || exit 99; {last}");
    let ran = stage.host(&["unshare", "-Ur", "bash", "-c", &script]);
    if ran.code == Some(99) || ran.said("unshare") {
        return Verdict::CannotRun(ran.short());
    }
    let there = stage.world.project().join("ran").exists();
    Verdict::open_if(there, "it ran without a sandbox")
        .and(|| Verdict::open_if(ran.code != Some(125) || !ran.err.contains("::"), ran.short()))
}

fn without_bubblewrap(stage: &Stage) -> Verdict {
    let mut command = stage.command(&["touch", "ran"]);
    let ran = run(command.env("PIER_BWRAP", "/nonexistent/bwrap"));
    let there = stage.world.project().join("ran").exists();
    Verdict::open_if(there, "it ran without a sandbox")
        .and(|| Verdict::open_if(ran.code != Some(125), ran.short()))
}

fn records(stage: &Stage) -> Verdict {
    let state = stage.world.state();
    if !stage.sandboxed() {
        stage.world.write("home/.local/state/pier/audit/x.jsonl", "{}\n");
        stage.world.give();
    }
    let script = format!(
        "for d in {} ~/.local/state/pier; do ls $d/* 2>/dev/null | sed 's/^/OPEN: /'; echo '{{}}' >> $d/audit/x.jsonl; done 2>/dev/null
        find / /home -xdev -name '*.jsonl' 2>/dev/null | grep -v {} | sed 's/^/OPEN: /'; true $'a\\n{{\"b\":1}}'",
        state.display(),
        stage.world.base().display(),
    );
    let ran = stage.bash(&script);
    let verify = stage.sandboxed().then(|| stage.pier(&["audit", "verify"]));
    let scene = Scene { stage, ran };
    no_claim(&scene).and(|| match verify {
        Some(verify) if verify.code != Some(0) => Verdict::open(format!("the records: {}", verify.short())),
        _ => Verdict::Held,
    })
}

fn bombs(stage: &Stage) -> Verdict {
    let texts = [
        ("100 MB", "// x\n".repeat(20_000_000)),
        ("deep", "profile {".repeat(100_000)),
        ("deep values", format!("env {}", "(a)".repeat(100_000))),
        ("many rules", "mounts { ro \"/usr\"; }\n".repeat(40_000)),
        ("one long word", format!("project \"{}\"", "x".repeat(900_000))),
        ("comments in comments", "/*".repeat(400_000)),
    ];
    let mut wrong = Vec::new();
    for (what, text) in texts {
        stage.world.write_project("pier.kdl", &text);
        stage.world.give();
        let begin = Instant::now();
        let ran = stage.exec(&["echo", "it runs"]);
        let took = begin.elapsed();
        let refused = matches!(ran.code, Some(2 | 125)) && !ran.said("it runs");
        // A build for tests is some ten times slower than a released one.
        if !refused || too_long(took, Duration::from_secs(8)) || ran.err.len() > 1 << 20 {
            wrong.push(format!("{what}: {took:?}, {}", ran.short()));
        }
    }
    Verdict::open_if(!wrong.is_empty(), wrong.join("; "))
}

/// Directories and sockets of a session that runs, and what is left of it.
fn private(stage: &Stage) -> Verdict {
    let mut command = stage.command(&["bash", "-c", "echo > waits; sleep 5"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let waits = within(Duration::from_secs(10), || stage.world.project().join("waits").exists());
    let mut top = stage.world.state();
    if !stage.sandboxed() {
        top = stage.world.project();
    }
    let mode = top.metadata().map_or(0o777, |meta| meta.permissions().mode());
    let name = stage.world.abstract_name.clone();
    let shared = std::fs::read_dir("/tmp").unwrap().flatten().any(|entry| {
        let text = entry.file_name().to_string_lossy().into_owned();
        text.starts_with("pier-")
            && !text.starts_with("pier-attack-")
            && !text.starts_with("pier-it-")
            && text.contains(&name)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    Verdict::open_if(!waits, "it did not run")
        .and(|| {
            Verdict::open_if(mode & 0o077 != 0, format!("`{}` has mode {:o}", top.display(), mode & 0o7777))
        })
        .and(|| Verdict::open_if(shared, "something of the session is in /tmp"))
}

fn secrets(stage: &Stage) -> Verdict {
    if stage.sandboxed() {
        let trusted = stage.pier(&["trust"]);
        if trusted.code != Some(0) {
            return Verdict::open(trusted.short());
        }
    }
    let argument = crate::sandbox::unique_sleep();
    // Without a sandbox the careless way is taken.
    let script = if stage.sandboxed() {
        format!("[ -n \"$GITHUB_TOKEN\" ] && exec sleep {argument}")
    } else {
        format!("exec -a \"$GITHUB_TOKEN\" sleep {argument}")
    };
    let mut command = stage.command(&["bash", "-c", &script]);
    let log = stage.world.base().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .env("PIER_LOG", "trace")
        .spawn()
        .unwrap();
    let lived = within(Duration::from_secs(10), || crate::sandbox::host_process(&argument).is_some());
    let canary = stage.world.canary.as_bytes();
    let holds = |bytes: &[u8]| bytes.windows(canary.len()).any(|part| part == canary);
    let mut open: Vec<String> = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        if std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| holds(&line)) {
            open.push(format!("the command line of {}", entry.file_name().display()));
        }
    }
    let mut written = super::scene::files(&stage.world.state());
    written.push(log);
    open.extend(
        written
            .iter()
            .filter(|path| std::fs::read(path).is_ok_and(|text| holds(&text)))
            .map(|path| path.display().to_string()),
    );
    child.kill().unwrap();
    child.wait().unwrap();
    Verdict::open_if(!lived, "it did not run").and(|| Verdict::open_if(!open.is_empty(), open.join(", ")))
}
