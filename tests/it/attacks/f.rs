//! Section F: sockets, shared memory and terminals.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use super::case::{Action, CASE, Case, Column, EVERYWHERE, ONE, OWNER, Open, PLAIN, TERMINALS, Verdict};
use super::scene::{no_claim, nobody_connected, probed};
use super::stage::Stage;
use crate::sandbox::{wait, within};
use crate::tty::Terminal;

const SOON: Duration = Duration::from_secs(20);
const WORKS: Open = Open::Not("it has to work with a sandbox as it does without one");

macro_rules! typed {
    ($id:literal, $tries:literal, $word:literal) => {
        Case { id: $id, tries: $tries, action: Action::Probe(&[$word]), columns: EVERYWHERE, ..CASE }
    };
}

pub const CASES: &[Case] = &[
    Case {
        id: "F1",
        tries: "an abstract socket of the host",
        action: Action::Script(
            "$PROBE abstract $ABSTRACT >/dev/null || echo 'OPEN: connected'
            cut -d@ -f2 -s /proc/net/unix | sort -u | sed 's/^/OPEN: listed /' | head -3",
            |scene| nobody_connected(scene).and(|| no_claim(scene)),
        ),
        columns: EVERYWHERE,
        ..CASE
    },
    Case {
        id: "F2",
        tries: "sockets of agents, buses and engines by their paths",
        action: Action::Script(
            "own='bus gnupg/S.gpg-agent ssh-agent docker.sock pipewire-0 wayland-0 systemd-private'
            $PROBE unix $(for s in $own; do echo $RUNTIME/$s; done) >/dev/null || echo 'OPEN: of the runtime directory'
            [ -n \"$OPEN\" ] || $PROBE unix /var/run/docker.sock /run/docker.sock /run/containerd/containerd.sock \
                /run/user/*/bus /run/user/*/gnupg/S.gpg-agent /run/dbus/system_bus_socket /tmp/.X11-unix/X0 \
                /run/systemd/private /run/user/*/pipewire-0 /run/user/*/wayland-0 /nix/var/nix/daemon-socket/socket \
                /run/podman/podman.sock /run/snapd.socket /run/lvm/lvmpolld.socket | grep -v none | sed 's/^/OPEN: /'",
            |scene| nobody_connected(scene).and(|| no_claim(scene)),
        ),
        columns: EVERYWHERE,
        ..CASE
    },
    Case {
        id: "F2.mounted",
        tries: "sockets in a directory that is mounted read-only",
        action: Action::Steps(mounted_sockets),
        columns: ONE,
        ..CASE
    },
    Case {
        id: "F3",
        tries: "services that start something on the host",
        action: Action::Script(
            "export DBUS_SESSION_BUS_ADDRESS=unix:path=$RUNTIME/bus XDG_RUNTIME_DIR=$RUNTIME DISPLAY=:0
            if [ -z \"$OPEN\" ]; then for c in \"systemd-run --user touch $MARK/x\" 'busctl --user list' 'crontab -l' \
                \"at -f $W/src/main.c now\" 'xdg-open x' 'gdbus call --session -d x -o / -m x' 'loginctl list-sessions' \
                'systemctl --user status'; do timeout 5 $c </dev/null >/dev/null 2>&1 && echo \"OPEN: $c\"; done; fi
            $PROBE unix $RUNTIME/bus $RUNTIME/systemd-private >/dev/null || echo 'OPEN: the bus'
            for d in /var/spool/cron /var/spool/at /etc/cron.d; do [ -w $d ] && echo \"OPEN: $d\"; done",
            |scene| nobody_connected(scene).and(|| no_claim(scene)),
        ),
        columns: PLAIN,
        ..CASE
    },
    Case {
        id: "F4",
        tries: "shared memory, semaphores and queues of the host",
        prepare: |world| world.make_ipc(),
        action: Action::Script(
            "$PROBE ipc-find $IPC > found || { echo \"OPEN: $(cat found)\"; }; ipcs -m | grep -c '^0x' | grep -qx 0 || echo 'OPEN: ipcs'
            rm -f found; ls -A /dev/shm /dev/mqueue 2>/dev/null | grep -v : | sed 's/^/OPEN: /;/: $/d'",
            no_claim,
        ),
        ..CASE
    },
    typed!("F6.tiocsti", "keys typed into the terminal", "tiocsti"),
    typed!("F6.tiocsti-high", "the same with bits that the kernel ignores", "tiocsti-high"),
    typed!("F6.tioclinux", "the console's selection", "tioclinux"),
    typed!("F6.tioclinux-high", "the same with bits that the kernel ignores", "tioclinux-high"),
    typed!("F6.tioccons", "the console's output", "tioccons"),
    Case {
        id: "F6",
        tries: "answers and keys that wait for the shell behind pier",
        action: Action::Steps(typed_ahead),
        columns: TERMINALS,
        open: Open::Terminal,
        ..CASE
    },
    Case {
        id: "F6.modes",
        tries: "modes of the terminal that stay",
        action: Action::Steps(modes),
        columns: TERMINALS,
        open: Open::Terminal,
        ..CASE
    },
    Case { id: "F7", tries: "the size of the terminal", action: Action::Steps(size), columns: TERMINALS, open: WORKS, ..CASE },
    Case { id: "F8", tries: "the keys of signals", action: Action::Steps(keys), columns: TERMINALS, open: WORKS, ..CASE },
    Case {
        id: "F8.program",
        tries: "a full-screen program: resize, Ctrl-Z, Ctrl-C, exit code",
        action: Action::Steps(super::screen::program),
        columns: &[Column::User, Column::Root],
        open: WORKS,
        ..CASE
    },
    Case {
        id: "F8.known",
        tries: "vi and less: they follow the size, stop, go on, and write",
        action: Action::Steps(super::screen::known_programs),
        columns: &[Column::User, Column::Root],
        open: WORKS,
        ..CASE
    },
    Case { id: "F9", tries: "pipes, files and closed streams", action: Action::Steps(streams), columns: OWNER, open: WORKS, ..CASE },
    Case { id: "F10", tries: "exit codes", action: Action::Steps(codes), columns: OWNER, open: WORKS, ..CASE },
];

/// A mount that somebody approved shows files, and no socket answers in it.
fn mounted_sockets(stage: &Stage) -> Verdict {
    let world = &stage.world;
    let runtime = world.runtime().display().to_string();
    world.write_project("pier.kdl", &format!("mounts {{ ro \"{runtime}\" at=\"/opt/run\"; }}"));
    world.give();
    let place = if stage.sandboxed() { "/opt/run" } else { runtime.as_str() };
    let trusted = stage.sandboxed().then(|| stage.pier(&["trust"]));
    let ran = stage.probe(&["unix", &format!("{place}/bus"), &format!("{place}/ssh-agent")]);
    let heard = world.connected();
    let refused = trusted.is_some_and(|trusted| trusted.code != Some(0));
    Verdict::open_if(!heard.is_empty(), format!("connected to {}", heard.join(", ")))
        .and(|| if refused { Verdict::Held } else { probed(&ran) })
}

/// What waits to be read at the terminal when pier has ended.
fn waiting(terminal: &Terminal) -> String {
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&terminal.slave, flags).unwrap();
    let mut buffer = [0; 256];
    let length = nix::unistd::read(&terminal.slave, &mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// A terminal answers questions as if its answers were typed; what comes while the session lives is the session's.
fn typed_ahead(stage: &Stage) -> Verdict {
    let script = "stty -icanon -echo min 0; printf '\\033[c\\033[21t\\033[6n\\033]52;c;?\\007asked\\n'
        for i in $(seq 50); do [ -e answered ] && break; sleep 0.1; done; sleep 0.2; exit 6";
    let mut terminal = stage.terminal(&["bash", "-c", script]);
    terminal.see("asked");
    terminal.press("\u{1b}[?62;c\u{1b}]lrm -rf x\u{1b}\\touch pwned\n");
    std::thread::sleep(Duration::from_millis(100));
    stage.world.write_project("answered", "");
    let status = wait(&mut terminal.child, SOON);
    let code = status.and_then(|status| status.code());
    // As a shell does before it shows its prompt, without dropping what waits.
    terminal.stty(&["icanon"]);
    let left = waiting(&terminal);
    Verdict::open_if(code != Some(6), format!("ended with {code:?}"))
        .and(|| Verdict::open_if(!left.is_empty(), format!("waits for the shell: {}", left.escape_debug())))
}

fn modes(stage: &Stage) -> Verdict {
    let mut terminal =
        stage.terminal(&["bash", "-c", "stty raw -echo; printf '\\033[?1049h\\033[?1000h'; kill -KILL $$"]);
    let status = wait(&mut terminal.child, SOON);
    let after = terminal.stty(&["-a"]);
    let spoiled = !after.contains(" icanon") || !after.contains(" echo ");
    Verdict::open_if(status.is_none(), "no end").and(|| Verdict::open_if(spoiled, "the terminal stays raw"))
}

/// Says whether the size of the terminal follows.
pub fn size(stage: &Stage) -> Verdict {
    // Two changes come as two signals, for `stty` sets rows and columns one after the other, and bash forgets a
    // signal that comes while it runs the trap of that same signal.
    let script = "stty size; trap w=1 WINCH; trap 'exit 0' INT; echo ready
        while :; do [ \"$w\" ] && { w=; stty size; }; sleep 0.05; done";
    let mut terminal = stage.terminal(&["bash", "-c", script]);
    terminal.see("31 97\r\n");
    terminal.see("ready");
    terminal.stty(&["rows", "40", "cols", "120"]);
    terminal.see("40 120");
    terminal.press("\u{3}");
    terminal.end(0);
    Verdict::Held
}

fn keys(stage: &Stage) -> Verdict {
    let script = "trap 'echo caught; exit 5' INT; echo ready; while :; do read -t 1 _ <> <(:); done";
    let mut terminal = stage.terminal(&["bash", "-c", script]);
    terminal.see("ready");
    terminal.press("\u{3}");
    terminal.see("caught");
    terminal.end(5);
    // bash is deaf to this one until it has become the other program.
    let mut terminal = stage.terminal(&["bash", "-c", "echo ready; exec sleep 60"]);
    terminal.see("ready");
    within(SOON, || {
        terminal.press("\u{1c}");
        std::thread::sleep(Duration::from_millis(100));
        terminal.child.try_wait().unwrap().is_some()
    });
    terminal.end(128 + 3);
    let mut terminal = stage.terminal(&["cat"]);
    terminal.press("hello\n");
    terminal.see("hello\r\nhello\r\n");
    terminal.press("\u{4}");
    terminal.end(0);
    Verdict::Held
}

/// Bytes as they are: from a pipe, from a file, from nowhere; and a reader that goes away.
fn streams(stage: &Stage) -> Verdict {
    let bytes: Vec<u8> =
        (0..3_000_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    let mut child = stage
        .command(&["cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut input, sent) = (child.stdin.take().unwrap(), bytes.clone());
    let writer = std::thread::spawn(move || input.write_all(&sent));
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    writer.join().unwrap().unwrap();
    let piped = wait(&mut child, SOON).and_then(|status| status.code());
    let closed = stage.bash("exec 0<&-; read x; echo \"closed $?\"");
    let from_file = super::stage::run(stage.command(&["cat"]).stdin(Stdio::null()));
    let mut yes = stage.command(&["yes"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut two = [0; 2];
    let mut output = yes.stdout.take().unwrap();
    output.read_exact(&mut two).unwrap();
    drop(output);
    let ended = wait(&mut yes, SOON).and_then(|status| status.code());
    Verdict::open_if(
        piped != Some(0) || received != bytes,
        format!("{} of {} bytes", received.len(), bytes.len()),
    )
    .and(|| Verdict::open_if(!closed.said("closed 1") || closed.out.contains('\r'), closed.short()))
    .and(|| Verdict::open_if(from_file.code != Some(0), from_file.short()))
    .and(|| Verdict::open_if(ended != Some(128 + 13), format!("a reader that goes away: {ended:?}")))
}

fn codes(stage: &Stage) -> Verdict {
    stage.world.write_project("plain", "not a program");
    stage.world.give();
    let table: [(&[&str], i32); 9] = [
        (&["true"], 0),
        (&["bash", "-c", "exit 1"], 1),
        (&["bash", "-c", "exit 125"], 125),
        (&["bash", "-c", "exit 255"], 255),
        (&["./plain"], 126),
        (&["no-such-command"], 127),
        (&["bash", "-c", "kill -TERM $$"], 128 + 15),
        (&["bash", "-c", "kill -KILL $$"], 128 + 9),
        (&["bash", "-c", "kill -SEGV $$"], 128 + 11),
    ];
    let wrong: Vec<String> = table
        .iter()
        .map(|(words, code)| (words, code, stage.exec(words).code))
        .filter(|(_, code, found)| *found != Some(**code))
        .map(|(words, code, found)| format!("{words:?}: {found:?}, not {code}"))
        .collect();
    Verdict::open_if(!wrong.is_empty(), wrong.join("; "))
}
