//! Section D, what takes more than one session, or much traffic.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::case::{Action, Case, ONE, OWNER, Open, Verdict};
use super::super::stage::Stage;
use super::{NETWORK, nobody_else};
use crate::sandbox::{host_process, too_long, unique_sleep, within};

pub const CASES: &[Case] = &[
    Case {
        id: "D20",
        tries: "the way out of another session, which may reach more",
        config: "network allowlist { allow \"other.test\" \"evil.test\"; }\n",
        action: Action::Steps(another_session),
        columns: OWNER,
        ..NETWORK
    },
    Case {
        id: "D21",
        tries: "nothing: 200 connections at once, a web socket that is silent for 3 s, events, 32 MiB (not 1 GiB, nor 10 min)",
        config: "network allowlist { allow allowed.test; }\n",
        action: Action::Script(USEFUL, |scene| {
            let number = |name: &str| {
                let line = scene.ran.out.lines().find_map(|line| line.strip_prefix(name))?;
                line.trim().parse::<u64>().ok()
            };
            let slowest = Duration::from_millis(number("@slowest").unwrap_or(u64::MAX));
            let is_slow = too_long(slowest, Duration::from_millis(900));
            let found = ["@answers", "@socket", "@events", "@bytes"].map(number);
            scene.did_run().and(|| {
                Verdict::open_if(is_slow, format!("a connection took {slowest:?}")).and(|| {
                    let expected = [Some(200), Some(1), Some(3), Some(32 << 20)];
                    Verdict::open_if(found != expected, format!("{found:?}: {}", scene.ran.short()))
                })
            })
        }),
        columns: ONE,
        open: Open::Not(
            "works without a sandbox: this case says that the gateway is no slower than it has to be",
        ),
        ..NETWORK
    },
    Case {
        id: "D22",
        tries: "10,000 connections that never say whom they want, and another session meanwhile",
        config: "network allowlist { allow allowed.test; }\n",
        action: Action::Steps(slow_connections),
        columns: ONE,
        open: Open::Not("without a sandbox there is no gateway whose memory could be taken"),
        ..NETWORK
    },
    Case {
        id: "D23",
        tries: "traffic after pier was killed in the middle of a transfer",
        config: "network allowlist { allow allowed.test port=9418; }\n",
        action: Action::Steps(killed),
        ..NETWORK
    },
];

const USEFUL: &str = r#"python3 - <<'E'
import os, socket, ssl, threading, time, urllib.request
address = socket.getaddrinfo("allowed.test", 80, socket.AF_INET)[0][4]
start, times, answers = threading.Barrier(200), [], []
def one():
    start.wait()
    began = time.monotonic()
    s = socket.create_connection(address, 30)
    times.append(time.monotonic() - began)
    s.sendall(b"GET / HTTP/1.1\r\nHost: allowed.test\r\nConnection: close\r\n\r\n")
    s.settimeout(30)
    if s.recv(4096).startswith(b"HTTP/1.1 200"): answers.append(1)
threads = [threading.Thread(target=one) for _ in range(200)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("@slowest", int(max(times) * 1000)); print("@answers", len(answers))
s = ssl.create_default_context().wrap_socket(socket.create_connection(("allowed.test", 443)), server_hostname="allowed.test")
s.sendall(b"GET /switch HTTP/1.1\r\nHost: allowed.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
head = b""
while b"\r\n\r\n" not in head: head += s.recv(1)
s.sendall(b"one"); first = s.recv(100); time.sleep(3); s.sendall(b"two")
print("@socket", int((first[2:], s.recv(100)[2:]) == (b" one", b" two")))
get = lambda path: urllib.request.urlopen("https://allowed.test" + path, timeout=20).read()
print("@events", get("/stream").count(b"data:")); print("@bytes", len(get("/big?%d" % (32 << 20))))
E
true"#;

/// Starts a command of the stage that goes on beside the others.
fn start(stage: &Stage, script: &str) -> Child {
    let mut command = stage.command(&["bash", "-c", script]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).spawn().unwrap()
}

/// Ends a command and what it has started.
fn end(mut child: Child) {
    let group = nix::unistd::Pid::from_raw(child.id().cast_signed());
    // One that has ended is no failure.
    let _ended = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    child.wait().unwrap();
}

/// Waits for a file of the project.
fn appears(stage: &Stage, name: &str) -> bool {
    within(Duration::from_secs(30), || stage.world.project().join(name).exists())
}

fn another_session(stage: &Stage) -> Verdict {
    let first = stage.sandboxed().then(|| start(stage, "touch first; exec sleep 60"));
    let runs = first.is_none() || appears(stage, "first");
    stage.world.write_project("pier.kdl", "network allowlist { allow \"allowed.test\"; }\n");
    stage.world.give();
    let trusted = stage.sandboxed().then(|| stage.pier(&["trust"]));
    let listening = stage.internet().listening();
    let ran = stage.bash(
        "for to in 127.0.0.1 ::1 11.93.7.1 11.93.7.2 198.18.1.0 198.18.1.1; do
            for port in 53 80 443 3128; do get $to $port other.test & get $to $port evil.test & done
            ( exec 3<>/dev/tcp/$to/3128; printf 'CONNECT other.test:80 HTTP/1.1\\r\\n\\r\\nGET / HTTP/1.1\\r\\nHost: other.test\\r\\n\\r\\n' >&3
            timeout 1 cat <&3 ) 2>/dev/null &
        done; get other.test; get evil.test
        python3 -c '
import socket
for line in open(\"/proc/net/unix\"):
    name = line.split()[-1]
    if name.startswith(\"@\"):
        try: s = socket.socket(socket.AF_UNIX); s.connect(\"\\0\" + name[1:]); print(\"OPEN: connected to\", name)
        except OSError: pass'
        wait; true",
    );
    if let Some(first) = first {
        end(first);
    }
    let scene = super::super::scene::Scene { stage, ran };
    Verdict::open_if(!runs, format!("the other session did not start: {trusted:?}"))
        .and(|| nobody_else(&scene))
        .and(|| Verdict::open_if(!scene.ran.claims().is_empty(), scene.ran.claims().join("; ")))
        .and(|| Verdict::open_if(!listening.is_empty(), format!("listens on the host: {listening:?}")))
}

/// In as many processes as it takes: each may have so many descriptors.
const SLOW: &str = r#"python3 - <<'E'
import os, resource, socket, time
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
each = min(2500, hard - 50)
count = -(-10000 // each)
addresses = [(socket.gethostbyname("allowed.test"), 80), (socket.gethostbyname("allowed.test"), 443), ("127.0.0.1", 3128)]
says = [b"GET / HTTP/1.1\r\nHost: allowed.test\r\nX: ", b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03", b"CONNECT allowed.test"]
def flood(process):
    made = []
    for number in range(each):
        try:
            s = socket.create_connection(addresses[number % 3], 10)
            s.setblocking(False); s.send(says[number % 3]); made.append((s, number % 3))
        except OSError: pass
    open("count%d" % process, "w").write(str(len(made))); os.rename("count%d" % process, "made%d" % process)
    while not os.path.exists("stop"):
        for s, kind in made:
            try: s.send(b"a" * 100)
            except OSError: pass
        time.sleep(0.2)
for process in range(count):
    if os.fork() == 0:
        flood(process); os._exit(0)
while not all(os.path.exists("made%d" % process) for process in range(count)): time.sleep(0.05)
open("counted", "w").write(str(sum(int(open("made%d" % process).read()) for process in range(count))))
os.rename("counted", "flooding")
for _ in range(count): os.wait()
E"#;

fn slow_connections(stage: &Stage) -> Verdict {
    let flood = start(stage, SLOW);
    let floods = appears(stage, "flooding");
    let made = fs_err::read_to_string(stage.world.project().join("flooding")).unwrap_or_default();
    let began = Instant::now();
    let other = stage.bash("get allowed.test");
    let is_slow = too_long(began.elapsed(), Duration::from_secs(4));
    let took = began.elapsed();
    let most = peak(flood.id());
    stage.world.write_project("stop", "");
    end(flood);
    Verdict::open_if(!floods, "the connections were not made")
        .and(|| Verdict::open_if(made.parse::<u32>().unwrap_or(0) < 9_000, format!("made only {made}")))
        .and(|| Verdict::open_if(!other.said("200 OK"), format!("another session: {}", other.short())))
        .and(|| Verdict::open_if(is_slow, format!("another session waited {took:?}")))
        .and(|| Verdict::open_if(most > 64 << 10, format!("pier took {most} KiB")))
}

/// Returns the most memory that a process had so far, in KiB; one that has ended had too much.
pub fn peak(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or(u64::MAX, |line| line.trim().trim_end_matches(" kB").parse().unwrap())
}

fn killed(stage: &Stage) -> Verdict {
    let sink = &stage.internet().sink;
    let needle = unique_sleep();
    let script = format!("cat /dev/zero >/dev/tcp/allowed.test/9418 & sleep {needle}; wait");
    let mut child = start(stage, &script);
    let moves = within(Duration::from_secs(20), || sink.taken.load(Ordering::Relaxed) > 4 << 20);
    // Whoever sends has to wait, so that there is something in every buffer.
    sink.paused.store(true, Ordering::Relaxed);
    stage.internet().packets();
    within(Duration::from_secs(5), || {
        std::thread::sleep(Duration::from_millis(100));
        stage.internet().packets().iter().all(|packet| packet.payload == 0)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let is_gone = within(Duration::from_secs(1), || host_process(&needle).is_none());
    stage.internet().packets();
    sink.paused.store(false, Ordering::Relaxed);
    let ends = within(Duration::from_secs(1), || sink.ended.load(Ordering::Relaxed) > 0);
    // What still sends would leave no room for anything else on the wire.
    end(child);
    let after: usize = stage.internet().packets().iter().map(|packet| packet.payload).sum();
    Verdict::open_if(!moves, "nothing was sent at all")
        .and(|| Verdict::open_if(after > 0, format!("{after} bytes were sent after the end")))
        .and(|| Verdict::open_if(!ends, "the connection stands"))
        .and(|| Verdict::open_if(!is_gone, "the sandbox lives"))
}
