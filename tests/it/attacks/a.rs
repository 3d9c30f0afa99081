//! Section A: secrets and reads.

use std::process::Command;

use super::case::{Action, CASE, Case, EVERYWHERE, ONE, Open, PLAIN, Verdict};
use super::scene::{Scene, files, no_canary, no_claim, probed};
use super::stage::{Stage, run};
use super::world::World;

pub const CASES: &[Case] = &[
    Case {
        id: "A1",
        tries: "keys of ssh",
        action: Action::Script("cat ~/.ssh/id_* $HOST_HOME/.ssh/id_* > $W/loot; cat $W/loot", no_canary),
        columns: EVERYWHERE,
        ..CASE
    },
    Case {
        id: "A2",
        tries: "logins of tools and agents",
        action: Action::Script(
            "for h in ~ $HOST_HOME; do
                for f in .aws/credentials .config/gh/hosts.yml .netrc .docker/config.json .kube/config .npmrc .pypirc \
                    .cargo/credentials.toml .claude.json .claude/.credentials.json .codex/auth.json \
                    .gnupg/private-keys-v1.d/key; do cat $h/$f; done
            done > $W/loot; cat $W/loot; cat $BASE/secret-file $W/../other/file $HOST_W/../other/file",
            no_canary,
        ),
        columns: EVERYWHERE,
        ..CASE
    },
    Case {
        id: "A3",
        tries: "histories and browser profiles",
        action: Action::Script(
            "for h in ~ $HOST_HOME; do cat $h/.*_history $h/.local/share/fish/fish_history; grep -rh canary \
            $h/.mozilla $h/.config; done > $W/loot; cat $W/loot",
            no_canary,
        ),
        ..CASE
    },
    Case {
        id: "A4",
        tries: "tokens and sockets in the environment",
        action: Action::Script(
            "env; for n in SSH_AUTH_SOCK DBUS_SESSION_BUS_ADDRESS XDG_RUNTIME_DIR KUBECONFIG DISPLAY; do
                [ -n \"${!n}\" ] && echo \"OPEN: $n\"; done",
            |scene| no_canary(scene).and(|| no_claim(scene)),
        ),
        columns: EVERYWHERE,
        ..CASE
    },
    Case {
        id: "A5",
        tries: "environments of other processes",
        action: Action::Script(
            "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'
            [ -z \"$OPEN\" ] && head -c 1 /proc/1/environ 2>/dev/null | grep -q . && echo 'OPEN: PID 1'",
            |scene| no_canary(scene).and(|| no_claim(scene)),
        ),
        ..CASE
    },
    Case {
        id: "A6",
        tries: "tokens and policy on command lines",
        config: "env { pass \"GITHUB_TOKEN\"; }",
        action: Action::Steps(command_lines),
        ..CASE
    },
    Case {
        id: "A7",
        tries: "processes of the host",
        action: Action::Script(
            "ls /proc | grep -qx $HOST_PID && echo 'OPEN: its directory'
            kill -0 $HOST_PID 2>/dev/null && echo 'OPEN: a signal reaches it'
            [ -e /proc/$HOST_PID/root/etc/hostname ] && echo 'OPEN: its root'",
            no_claim,
        ),
        ..CASE
    },
    Case {
        id: "A8",
        tries: "password hashes, by a caller that is root",
        action: Action::Script(
            "for f in /etc/shadow /etc/gshadow /etc/shadow-; do
                head -c 1 $f 2>/dev/null | grep -q . && echo \"OPEN: $f\"; done",
            no_claim,
        ),
        open: Open::Root,
        ..CASE
    },
    Case { id: "A9", tries: "open files of the caller", action: Action::Steps(inherited), ..CASE },
    Case {
        id: "A10",
        tries: "temporary and shared places",
        action: Action::Script(
            "for d in /tmp /var/tmp /dev/shm /run /run/user /mnt /media /srv /root; do
                n=$(ls -A $d 2>/dev/null | head -3); [ -n \"$n\" ] && echo \"OPEN: $d holds\" $n; done
            for d in /tmp /var/tmp /dev/shm /run; do echo x 2>/dev/null > $d/$ABSTRACT-planted; done",
            |scene| {
                let planted = planted(scene);
                no_claim(scene).and(|| planted)
            },
        ),
        columns: EVERYWHERE,
        ..CASE
    },
    Case {
        id: "A11",
        tries: "what identifies machine and users",
        action: Action::Script(
            "echo \"host=$(cat /proc/sys/kernel/hostname)\"; sed 's/^/id=/' /etc/machine-id
            cat /sys/class/dmi/id/* /sys/class/net/*/address 2>/dev/null | sed 's/^/OPEN: /'
            getent passwd | cut -d: -f1 | sed 's/^/user=/'",
            identity,
        ),
        ..CASE
    },
    Case {
        id: "A12",
        tries: "memory, messages and symbols of the kernel",
        action: Action::Script(
            "grep -vqm 1 '^0* ' /proc/kallsyms && echo 'OPEN: addresses of symbols'
            $PROBE open-read /proc/kcore >/dev/null || echo 'OPEN: kcore'
            $PROBE syslog >/dev/null || echo 'OPEN: messages'
            [ -n \"$OPEN\" ] || $PROBE open-read /proc/kmsg /dev/kmsg /dev/mem >/dev/null || echo 'OPEN: kmsg'",
            no_claim,
        ),
        open: Open::Root,
        ..CASE
    },
    Case {
        id: "A13",
        tries: "a hidden file by copy, rename, link and git",
        config: "workspace { hide \".env\"; }",
        prepare: |world| world.write_project(".env", &world.canary),
        action: Action::Script(
            "cat .env; mv .env x; cat x; cp -r . /tmp/y; cat /tmp/y/.env; ln .env z; cat z; ln -s .env s; cat s
            exec 5< .env; cat <&5; cat /proc/self/cwd/.env; git add -f .env; git show :.env; git stash -u
            git stash show -p --include-untracked; tar c . | grep -a canary; dd if=.env; cat $HOST_W/.env",
            hidden,
        ),
        columns: PLAIN,
        ..CASE
    },
    Case {
        id: "A13.tracked",
        tries: "a hidden file that git knows, by the objects of git",
        config: "workspace { hide \".env\"; }",
        prepare: |world| {
            world.write_project(".env", &world.canary);
            super::b::repository(world);
            super::b::git(world, &["add", "-f", ".env"]);
            super::b::git(world, &["commit", "-qm", "a secret"]);
        },
        action: Action::Script(
            "git show :.env; git show HEAD:.env; git log -p; git checkout -- .env; cat .env
            git cat-file --batch-all-objects --batch; git worktree add /tmp/t HEAD; cat /tmp/t/.env
            git clone -q . /tmp/c; cat /tmp/c/.env; git archive HEAD | grep -a canary; git stash; git reset --hard; cat .env",
            hidden,
        ),
        columns: ONE,
        ..CASE
    },
    Case {
        id: "A14",
        tries: "sockets anywhere",
        action: Action::Script(
            "places='/ /home/pier /workspace /tmp /run /dev /etc/ssl/certs'; [ -n \"$OPEN\" ] && places=$BASE
            find $places -xdev -type s 2>/dev/null | sort -u | sed 's/^/OPEN: /' | head -20",
            no_claim,
        ),
        ..CASE
    },
    Case {
        id: "A15",
        tries: "a core file, which a handler of the host may take",
        action: Action::Script(
            "ulimit -c unlimited 2>/dev/null && echo 'OPEN: core files without end'; $PROBE crash",
            |scene| no_claim(scene).and(|| no_core(scene)),
        ),
        ..CASE
    },
];

fn command_lines(stage: &Stage) -> Verdict {
    if stage.sandboxed() {
        let trusted = stage.pier(&["trust"]);
        if trusted.code != Some(0) {
            return Verdict::open(format!("not approved: {}", trusted.short()));
        }
    }
    let script = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done; cat /proc/self/mountinfo
        [ -n \"$GITHUB_TOKEN\" ] && echo has the variable";
    let ran = stage.bash(script);
    let argument = stage.world.argument.clone();
    let scene = Scene { stage, ran };
    no_canary(&scene).and(|| {
        for (text, what) in [
            (argument.as_str(), "a process of the host"),
            ("--ro-bind", "the arguments of bubblewrap"),
            ("pass \"", "the policy"),
        ] {
            if scene.ran.out.contains(text) {
                return Verdict::open(format!("{what} is on a command line"));
            }
        }
        Verdict::open_if(!scene.ran.said("has the variable"), "the variable that was approved is not there")
    })
}

/// Descriptors that the caller of pier has open are not the command's.
fn inherited(stage: &Stage) -> Verdict {
    let program = format!("{}/tools/probe", stage.inside());
    let inner = stage.command(&[&program, "fds"]);
    let mut outer = Command::new("bash");
    let secret = stage.world.base().join("secret-file");
    outer.args(["-c", "exec 9<\"$0\" 77<\"$0\" 199<\"$0\"; exec \"$@\""]).arg(secret);
    outer.arg(inner.get_program()).args(inner.get_args()).env_clear().envs(stage.world.variables());
    outer.current_dir(stage.world.project());
    if !stage.column.by_root() {
        super::world::become_user(&mut outer, stage.world.uid);
    }
    probed(&run(&mut outer))
}

/// What was written to temporary places inside is not on the host.
fn planted(scene: &Scene<'_>) -> Verdict {
    let name = format!("{}-planted", scene.stage.world.abstract_name);
    let places =
        ["/tmp", "/var/tmp", "/dev/shm", "/run"].map(|place| std::path::Path::new(place).join(&name));
    let there: Vec<String> = places
        .iter()
        .filter(|path| std::fs::remove_file(path).is_ok())
        .map(|path| path.display().to_string())
        .collect();
    Verdict::open_if(!there.is_empty(), format!("written on the host: {}", there.join(" ")))
}

fn identity(scene: &Scene<'_>) -> Verdict {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let host = format!("host={}", read("/proc/sys/kernel/hostname"));
    let id = format!("id={}", read("/etc/machine-id"));
    no_claim(scene).and(|| {
        let strange = scene.ran.out.lines().map(str::trim_end).find(|line| {
            let user =
                line.strip_prefix("user=").is_some_and(|name| !["root", "pier", "nobody"].contains(&name));
            user || *line == host || (*line == id && id.len() > 3)
        });
        Verdict::open_if(strange.is_some(), strange.unwrap_or_default())
    })
}

fn no_core(scene: &Scene<'_>) -> Verdict {
    let root = scene.stage.world.project();
    let core = files(&root).into_iter().find(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name == "core" || name.starts_with("core."))
    });
    Verdict::open_if(core.is_some(), "a core file was written")
}

/// Nothing of a hidden file came out, and on the host it is what it was.
fn hidden(scene: &Scene<'_>) -> Verdict {
    let world: &World = &scene.stage.world;
    let path = world.project().join(".env");
    let now = std::fs::read_to_string(&path).unwrap_or_default();
    // The file itself holds the secret, and is not what the attack made.
    let _moved = std::fs::remove_file(&path);
    let objects = world.project().join(".git/objects");
    if objects.exists() {
        std::fs::remove_dir_all(objects).unwrap();
    }
    no_canary(scene).and(|| Verdict::open_if(now != world.canary, "the file was changed on the host"))
}
