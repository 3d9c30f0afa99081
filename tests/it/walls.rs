//! The init believes nobody: a sandbox that is not what the plan says runs nothing.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sandbox::{Output, Project, host_process, unique_sleep, within};
use crate::stand_in::StandIn;

const SOON: Duration = Duration::from_secs(20);

/// A project, and a bubblewrap that does something else.
struct Forged {
    project: Project,
    bubblewrap: StandIn,
}

impl Forged {
    fn new(config: &str) -> Option<Self> {
        let project = Project::bare();
        project.write_beside("record/data/file", "the right one");
        project.write("pier.kdl", config.replace("BASE", project.base().to_str().unwrap()));
        let bubblewrap = StandIn::compile(include_str!("walls/stand_in.rs"), &project.base().join("record"))?;
        project.trust();
        Some(Forged { project, bubblewrap })
    }

    fn exec(&self, mode: &str, command: &[&str]) -> Output {
        self.project.write_beside("record/mode", mode);
        let call = self.project.call(["exec", "--"].iter().chain(command));
        call.env("PIER_BWRAP", self.bubblewrap.program()).run()
    }
}

#[test]
fn a_sandbox_that_is_not_as_planned_runs_nothing() {
    let Some(forged) = Forged::new("network none\n") else { return };
    for (mode, reason) in [
        ("writable", "`/usr` can be written"),
        ("another", "`/workspace` is another file or directory"),
        ("more", "`/mnt` is mounted and should not be"),
        ("shared-network", "shares the host's `net` namespace"),
        ("shared-processes", "shares the host's `ipc` namespace"),
        ("capable", "Cap"),
    ] {
        let output = forged.exec(mode, &["touch", "ran"]).refused(125, "session::not-contained");
        assert!(output.flat().contains(reason), "{mode}: {}", output.flat());
        assert!(!forged.project.root().join("ran").exists(), "{mode}");
    }
}

#[test]
fn a_source_that_was_swapped_is_not_mounted() {
    let project = Project::bare();
    project.write_beside("data/file", "the right one");
    let data = project.base().join("data");
    project.write("pier.kdl", format!("mounts {{ ro {:?} at=\"/data\" }}\n", data.display().to_string()));
    project.trust();
    let mark = unique_sleep();
    // It stops between the plan and the start.
    let call = project.call(["exec", "--", "cat", "/data/file", &mark]);
    let call = call.env("PIER_FAILPOINT", "session.place:stop");
    let output = std::thread::scope(|scope| {
        let run = scope.spawn(|| call.run());
        let stopped = || {
            let status = fs_err::read_to_string(format!("/proc/{}/status", host_process(&mark)?)).ok()?;
            status.contains("\nState:\tT").then_some(())
        };
        assert!(within(SOON, || stopped().is_some()));
        fs_err::rename(&data, project.base().join("old")).unwrap();
        project.write_beside("data/file", "another one");
        let id = Pid::from_raw(host_process(&mark).unwrap().cast_signed());
        kill(id, Signal::SIGCONT).unwrap();
        run.join().unwrap()
    });
    assert!(output.refused(125, "mount::swapped").flat().contains("has been replaced"));
}

#[test]
fn a_host_without_landlock_is_a_lower_tier() {
    let Some(forged) = Forged::new("network none\n") else { return };
    forged.exec("no-landlock", &["grep", "-q", "Seccomp:.2", "/proc/self/status"]).expect(0);
    let Some(forged) = Forged::new("limits { minimum-tier 3 }\n") else { return };
    let output = forged.exec("no-landlock", &["touch", "ran"]).refused(125, "session::tier");
    assert!(output.flat().contains("reach tier 2, and tier 3 is asked for"), "{}", output.flat());
    assert!(!forged.project.root().join("ran").exists());
}

#[test]
fn with_all_walls_the_highest_tier_is_reached() {
    let project = Project::new("limits { minimum-tier 3 }\n");
    let output = project.exec(&["true"]);
    if output.flat().contains("session::tier") {
        println!("skipped: this kernel has no Landlock");
    } else {
        output.expect(0);
    }
}

#[test]
fn a_stream_of_the_host_is_opened_again_only_as_it_was_given() {
    let project = Project::new("network none\n");
    project.write_beside("input", "only to be read\n");
    let inside = "cat /dev/stdin; echo more >>/dev/stdin; echo out >/dev/stdout";
    let script = format!("{} exec -- sh -c '{inside}' <../input >../output", crate::sandbox::PIER);
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &script]);
    project.surround(command).into_owner().run();
    let base = project.base();
    assert_eq!(fs_err::read_to_string(base.join("input")).unwrap(), "only to be read\n");
    assert!(fs_err::read_to_string(base.join("output")).unwrap().contains("out\n"));
}
