//! Section I, processes: the first one, the terminal, and how a command ends.

use std::time::Duration;

use super::super::case::{Action, Case, Open, TERMINALS, Verdict};
use super::super::f::size;
use super::super::stage::Stage;
use super::{CONTAINER, Running};
use crate::docker::docker;
use crate::sandbox::{unique_sleep, within};

/// The image as it is, with processes of its own.
const PROCESS: Case = Case { open: Open::Container(&[]), ..CONTAINER };

pub const CASES: &[Case] = &[
    Case { id: "I7", tries: "orphans that nobody waits for", action: Action::Steps(orphans), ..PROCESS },
    Case {
        id: "I7.signal",
        tries: "a command that no signal ends, as the first process of a container",
        action: Action::Script("kill -TERM $$; sleep 0.1; touch survived", |scene| {
            let survived = scene.stage.world.project().join("survived").exists();
            scene
                .did_run()
                .and(|| Verdict::open_if(survived, "it goes on"))
                .and(|| Verdict::open_if(scene.ran.code != Some(143), scene.ran.short()))
        }),
        ..PROCESS
    },
    Case {
        id: "I7.terminal",
        tries: "nothing: the size of the terminal, and its changes",
        action: Action::Steps(size),
        columns: TERMINALS,
        open: Open::Not("works without a sandbox: this case says that pier hands the size on"),
        ..CONTAINER
    },
    Case {
        id: "I7.memory",
        tries: "more memory than the container's, and an end that looks like it",
        config: "runtime container { image \"pier-test/debian:1\"; }\nlimits { memory \"64MiB\"; }\n",
        action: Action::Steps(memory),
        ..PROCESS
    },
];

/// The dead children of a process that it has not waited for.
fn dead(parent: u64) -> usize {
    let all = fs_err::read_dir("/proc").unwrap().flatten();
    let is_dead = |stat: String| {
        let mut words = stat.rsplit_once(") ")?.1.split(' ');
        (words.next()? == "Z" && words.next()?.parse() == Ok(parent)).then_some(())
    };
    all.filter_map(|entry| is_dead(fs_err::read_to_string(entry.path().join("stat")).ok()?)).count()
}

fn orphans(stage: &Stage) -> Verdict {
    let argument = unique_sleep();
    // A shell would wait for them: they end when it is none any more.
    let script = "for n in $(seq 40); do sh -c 'sleep 1 & sleep 1 &'; done
        sh -c '{ sleep 1.5; touch /workspace/over; } &'; exec sleep $0";
    let running = Running::start(stage, &argument, stage.command(&["sh", "-c", script, &argument]));
    let over = stage.world.project().join("over");
    assert!(within(Duration::from_secs(20), || over.exists()), "they end");
    let first = running.first();
    let gone = within(Duration::from_secs(2), || dead(first) == 0);
    Verdict::open_if(!gone, format!("{} dead processes stay", dead(first)))
}

/// Runs a script as part of a command that stays; returns how it ended, and whether the engine saw memory run out within
/// this time. It hears of that late, and from a container that has ended not at all.
fn watched(stage: &Stage, script: &str, time: Duration) -> (String, bool) {
    let argument = unique_sleep();
    let whole = format!("sh -c '{script}'; echo $? >/workspace/code; exec sleep $0");
    let running = Running::start(stage, &argument, stage.command(&["sh", "-c", &whole, &argument]));
    let id = running.container["Id"].as_str().unwrap();
    let of = format!("container={id}");
    // The end is that of the last whole second; with one in the future the client would wait for it.
    let words = ["events", "--since", "5m", "--until", "0s", "--filter", "event=oom", "--filter", &of];
    let seen = within(time, || !docker(&words, b"").is_empty());
    let code = fs_err::read_to_string(stage.world.project().join("code")).unwrap();
    (code.trim().to_owned(), seen)
}

fn memory(stage: &Stage) -> Verdict {
    let takes = "exec perl -e \"\\$x = q(a) x (200 << 20); open F, q(>took)\"";
    let ran = stage.bash(takes);
    if stage.world.project().join("took").exists() {
        return Verdict::open("it has more");
    }
    let (taken, ran_out) = watched(stage, takes, Duration::from_secs(20));
    let (killed, is_same) = watched(stage, "kill -KILL $$", Duration::from_millis(1500));
    Verdict::open_if(ran.code != Some(137), ran.short())
        .and(|| Verdict::open_if([&taken, &killed] != ["137"; 2], format!("{taken} / {killed}")))
        .and(|| Verdict::open_if(!ran_out, "the engine saw nothing"))
        .and(|| Verdict::open_if(is_same, "what was killed looks as if its memory ran out"))
}
