//! Section G: resources and lifetime.

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::case::{Action, CASE, Case, ONE, OWNER, Open, TERMINALS, Verdict};
use super::scene::{Scene, no_claim};
use super::stage::Stage;
use crate::sandbox::{host_process, too_long, unique_sleep, wait, within};

const SOON: Duration = Duration::from_secs(20);

pub const CASES: &[Case] = &[
    Case {
        id: "G1",
        tries: "more processes than allowed",
        config: "limits { pids 64; }",
        action: Action::Probe(&["forks", "400"]),
        columns: OWNER,
        ..CASE
    },
    Case {
        id: "G1.bomb",
        tries: "processes that make processes, while the host lives on",
        config: "limits {\n    pids 64\n    wall \"5s\"\n}",
        action: Action::Steps(bomb),
        columns: ONE,
        open: Open::Not("without a limit it would take the machine; G1 shows that nothing else stops forks"),
        ..CASE
    },
    Case {
        id: "G2",
        tries: "more memory than allowed",
        config: "limits { memory \"64MiB\"; }",
        action: Action::Steps(memory),
        columns: OWNER,
        ..CASE
    },
    Case {
        id: "G2.required",
        tries: "more memory than allowed, where the limit is required",
        config: "limits { memory \"64MiB\" required=#true; }",
        action: Action::Steps(memory),
        columns: OWNER,
        ..CASE
    },
    Case {
        id: "G3",
        tries: "places in memory without a bound",
        action: Action::Script(
            "most=$((4 << 30)); [ -n \"$OPEN\" ] && most=1
            for d in /tmp /dev/shm /run /dev /var/tmp; do
                [ -w $d ] && { $PROBE capacity $d $most > $W/said || echo \"OPEN: $(cat $W/said)\"; }; done",
            no_claim,
        ),
        ..CASE
    },
    Case { id: "G4", tries: "limits that are not set", action: Action::Probe(&["limits"]), ..CASE },
    Case { id: "G4.priority", tries: "priority over everybody else", action: Action::Probe(&["priority"]), open: Open::Root, ..CASE },
    Case {
        id: "G5",
        tries: "a daemon that is deaf to signals",
        action: Action::Script("$PROBE daemon $W/alive 6; sleep 0.3; [ -s alive ] && echo it lived", outlived),
        columns: OWNER,
        ..CASE
    },
    Case { id: "G5.killed", tries: "what runs when pier is killed", action: Action::Steps(killed), columns: OWNER, ..CASE },
    Case {
        id: "G5.terminal",
        tries: "what runs when the terminal goes away",
        action: Action::Steps(hung_up),
        columns: TERMINALS,
        open: Open::Terminal,
        ..CASE
    },
    Case {
        id: "G7",
        tries: "thousands of orphans",
        action: Action::Script(
            "for i in $(seq 1500); do (sleep 0 &); done
            for i in $(seq 100); do n=$(grep -ls '^State:.Z' /proc/[0-9]*/status | wc -l); [ $n = 0 ] && break; sleep 0.05; done
            [ $n = 0 ] || echo \"OPEN: $n are left\"",
            no_claim,
        ),
        columns: ONE,
        open: Open::Not("the host's own first process reaps them"),
        ..CASE
    },
    Case { id: "G8", tries: "a supervisor that is stopped", action: Action::Steps(stopped), columns: OWNER, open: Open::Not("there is no supervisor without a sandbox"), ..CASE },
    Case {
        id: "G9",
        tries: "fifty sessions at once on one project",
        action: Action::Steps(crowd),
        columns: ONE,
        open: Open::Not("it has to work with sandboxes as it does without"),
        ..CASE
    },
    Case {
        id: "G10",
        tries: "a command that is deaf to the end of its time",
        config: "limits { wall \"1s\"; }",
        action: Action::Steps(out_of_time),
        columns: ONE,
        ..CASE
    },
];

fn bomb(stage: &Stage) -> Verdict {
    let begin = Instant::now();
    let mut child = start(stage, &["bash", "-c", "b() { b | b & }; b; sleep 99"]);
    // The host starts something all the while.
    let mut worst = Duration::ZERO;
    let ended = within(Duration::from_secs(30), || {
        let one = Instant::now();
        stage.host(&["true"]);
        worst = worst.max(one.elapsed());
        child.try_wait().unwrap().is_some()
    });
    let status = end(&mut child);
    Verdict::open_if(!ended, "the session does not end")
        .and(|| {
            Verdict::open_if(
                status == Some(2) || begin.elapsed() < Duration::from_millis(300),
                "it did not run",
            )
        })
        .and(|| {
            Verdict::open_if(too_long(worst, Duration::from_secs(5)), format!("the host waits for {worst:?}"))
        })
}

fn memory(stage: &Stage) -> Verdict {
    let ran = stage.probe(&["mem", "256"]);
    if ran.err.contains("is not held: this host has no control group") {
        return Verdict::CannotRun("the host has no control group for it, and pier said so".into());
    }
    // Refused inside, killed for it, or not started because the host cannot hold it to that.
    let inside = ran.out.contains("MiB") && ran.code == Some(0);
    let refused = ran.code == Some(125) && ran.err.contains("limits memory");
    Verdict::open_if(!(inside || refused || ran.code == Some(137)), ran.short())
}

fn outlived(scene: &Scene<'_>) -> Verdict {
    let path = scene.stage.world.project().join("alive");
    let size = || std::fs::metadata(&path).map_or(0, |meta| meta.len());
    let lived = scene.ran.said("it lived");
    sleep(Duration::from_secs(1));
    let (before, grows) = (size(), within(Duration::from_millis(400), || false));
    let grown = size() > before || grows;
    Verdict::open_if(!lived, format!("did not run: {}", scene.ran.short()))
        .and(|| Verdict::open_if(grown, "it lives a second after the end"))
}

fn start(stage: &Stage, words: &[&str]) -> Child {
    let mut command = stage.command(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Ends what is left of a child and returns its code.
fn end(child: &mut Child) -> Option<i32> {
    if let Some(status) = child.try_wait().unwrap() {
        return status.code();
    }
    child.kill().unwrap();
    child.wait().unwrap().code()
}

/// Ends a process that a test has found by its own unique argument.
fn end_leftover(argument: &str) -> bool {
    let found = host_process(argument);
    if let Some(id) = found {
        // Gone by itself is as good.
        let _gone = kill(Pid::from_raw(id.cast_signed()), Signal::SIGKILL);
    }
    found.is_some()
}

fn killed(stage: &Stage) -> Verdict {
    let argument = unique_sleep();
    let mut child = start(stage, &["bash", "-c", &format!("setsid -f sleep {argument}; sleep 99")]);
    let lived = within(SOON, || host_process(&argument).is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = within(Duration::from_secs(1), || host_process(&argument).is_none());
    end_leftover(&argument);
    Verdict::open_if(!lived, "it did not run").and(|| Verdict::open_if(!gone, "it lives a second after pier"))
}

fn hung_up(stage: &Stage) -> Verdict {
    let argument = unique_sleep();
    let mut terminal = stage.terminal(&[
        "bash",
        "-c",
        &format!("trap '' HUP; setsid -f sleep {argument}; echo ready; sleep 99"),
    ]);
    terminal.see("ready");
    let lived = within(SOON, || host_process(&argument).is_some());
    // What the kernel sends when a window is closed.
    kill(Pid::from_raw(terminal.child.id().cast_signed()), Signal::SIGHUP).unwrap();
    let closed = Instant::now();
    let mut gone = within(Duration::from_secs(3), || host_process(&argument).is_none());
    if !gone {
        // Deaf to the signal: the window itself goes away.
        terminal.child.kill().unwrap();
        gone = stage.sandboxed() && within(Duration::from_secs(1), || host_process(&argument).is_none());
    }
    let took = closed.elapsed();
    wait(&mut terminal.child, SOON);
    end_leftover(&argument);
    Verdict::open_if(!lived, "it did not run")
        .and(|| Verdict::open_if(!gone, format!("it lives after {took:?}")))
}

/// Stopped, the supervisor cannot act; the walls stand without it, and it goes on where it was.
fn stopped(stage: &Stage) -> Verdict {
    let script =
        "sleep 0.6; [ \"$(tail -n +3 /proc/net/dev | grep -vc ' *lo:')\" = 0 ] && touch still-closed; exit 7";
    let argument = unique_sleep();
    let mut child = start(stage, &["bash", "-c", &format!("setsid -f sleep {argument}; {script}")]);
    let lived = within(SOON, || host_process(&argument).is_some());
    let id = Pid::from_raw(child.id().cast_signed());
    kill(id, Signal::SIGSTOP).unwrap();
    sleep(Duration::from_millis(1200));
    kill(id, Signal::SIGCONT).unwrap();
    let status = wait(&mut child, SOON);
    let gone = within(Duration::from_secs(1), || host_process(&argument).is_none());
    end_leftover(&argument);
    let closed = stage.world.project().join("still-closed").exists();
    let code = status.and_then(|status| status.code());
    Verdict::open_if(!lived, "it did not run")
        .and(|| Verdict::open_if(!gone, "it lives after the end"))
        // Either it went on, or a session without its supervisor was ended.
        .and(|| {
            Verdict::open_if(
                !(code == Some(7) && closed || code == Some(137)),
                format!("ended with {code:?}"),
            )
        })
}

fn crowd(stage: &Stage) -> Verdict {
    let mut children: Vec<Child> = (0..50)
        .map(|number| {
            let script = format!("echo {number} > /tmp/own; sleep 0.2; cat /tmp/own > out-{number}; ls /proc | grep -c '^[0-9]' >> out-{number}");
            start(stage, &["bash", "-c", &script])
        })
        .collect();
    let codes: Vec<Option<i32>> = children
        .iter_mut()
        .map(|child| wait(child, Duration::from_mins(1)).and_then(|status| status.code()))
        .collect();
    for child in &mut children {
        end(child);
    }
    let failed = codes.iter().filter(|code| **code != Some(0)).count();
    let crossed = (0..50).filter(|number| {
        let text =
            std::fs::read_to_string(stage.world.project().join(format!("out-{number}"))).unwrap_or_default();
        let mut lines = text.lines();
        let own = lines.next() == Some(&number.to_string());
        let few = lines.next().and_then(|count| count.parse::<u32>().ok()).is_some_and(|count| count < 8);
        !own || !few
    });
    let crossed = crossed.count();
    let left = std::fs::read_dir(stage.world.state().join("sessions")).map_or(0, Iterator::count);
    Verdict::open_if(failed > 0, format!("{failed} of 50 failed"))
        .and(|| Verdict::open_if(crossed > 0, format!("{crossed} saw something of others")))
        .and(|| Verdict::open_if(left > 0, format!("{left} directories of sessions are left")))
}

fn out_of_time(stage: &Stage) -> Verdict {
    let argument = unique_sleep();
    let begin = Instant::now();
    let mut child = start(
        stage,
        &["bash", "-c", &format!("trap '' TERM; setsid -f sleep {argument}; sleep 99; sleep 99")],
    );
    let status = wait(&mut child, Duration::from_secs(8));
    let took = begin.elapsed();
    let code = status.and_then(|status| status.code());
    end(&mut child);
    let left = end_leftover(&argument);
    Verdict::open_if(!matches!(code, Some(124 | 137)), format!("ended with {code:?} after {took:?}"))
        .and(|| Verdict::open_if(left, "something of it lives"))
}
