//! A full-screen program inside, at a real terminal of tmux: it draws, follows the size, stops and goes on, ends.

use std::process::Command;
use std::time::Duration;

use super::case::Verdict;
use super::stage::{Ran, Stage, run};
use crate::sandbox::within;

const SOON: Duration = Duration::from_secs(20);

/// A server of tmux for one test.
struct Tmux<'a> {
    stage: &'a Stage,
    socket: String,
}

impl Tmux<'_> {
    fn call(&self, words: &[&str]) -> Ran {
        let mut command = Command::new("tmux");
        command.args(["-S", &self.socket, "-f", "/dev/null"]).args(words).env_clear();
        run(command.envs(self.stage.world.variables()).env("TERM", "xterm-256color").env("LANG", "C.UTF-8"))
    }

    fn keys(&self, words: &[&str]) {
        self.call(&[&["send-keys", "-t", "it"], words].concat());
    }

    fn screen(&self) -> String {
        self.call(&["capture-pane", "-p", "-t", "it"]).out
    }

    fn see(&self, text: &str) -> Verdict {
        let found = within(SOON, || self.screen().contains(text));
        Verdict::open_if(!found, format!("`{text}` is not on the screen: {:?}", self.screen().trim()))
    }
}

impl Tmux<'_> {
    /// Presses keys, and waits for what they bring to the screen.
    fn press(&self, keys: &[&str], text: &str) -> Verdict {
        self.keys(keys);
        self.see(text)
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        self.call(&["kill-server"]);
    }
}

/// Our own program: what arrives, and the exit code.
pub fn program(stage: &Stage) -> Verdict {
    in_shell(stage, drive)
}

/// An editor and a pager as people use them.
pub fn known_programs(stage: &Stage) -> Verdict {
    for name in ["vi", "less"] {
        if which::which(name).is_err() {
            return Verdict::CannotRun(format!("there is no {name}"));
        }
    }
    let lines: Vec<String> = (1..=300).map(|number| format!("line {number}")).collect();
    stage.world.write_project("lines", &lines.join("\n"));
    stage.world.give();
    in_shell(stage, |tmux| {
        edit(tmux).and(|| page(tmux)).and(|| {
            let text = std::fs::read_to_string(stage.world.project().join("note")).unwrap_or_default();
            Verdict::open_if(text != "written in vi\n", format!("the note is {text:?}"))
        })
    })
}

/// Runs a shell inside, at a terminal of tmux, and drives it.
fn in_shell(stage: &Stage, drive: impl FnOnce(&Tmux<'_>) -> Verdict) -> Verdict {
    if run(Command::new("tmux").arg("-V")).code != Some(0) {
        return Verdict::CannotRun("there is no tmux".into());
    }
    let socket = stage.world.base().join("tmux").display().to_string();
    let tmux = Tmux { stage, socket };
    let inner = stage.command(&["bash", "--norc", "--noprofile", "-i"]);
    let mut line = vec!["new-session", "-d", "-s", "it", "-x", "97", "-y", "31", "-c"];
    let root = stage.world.project().display().to_string();
    line.extend([root.as_str(), "--"]);
    let user = format!("--reuid={}", stage.world.uid);
    let group = format!("--regid={}", stage.world.uid);
    if !stage.column.by_root() && crate::sandbox::is_root() {
        line.extend(["setpriv", &user, &group, "--clear-groups", "--"]);
    }
    // tmux itself loses the code of a pane now and then.
    line.extend(["bash", "-c", "\"$@\"; echo \"ended with $?\"; sleep 60", "--"]);
    line.push(inner.get_program().to_str().unwrap());
    line.extend(inner.get_args().map(|word| word.to_str().unwrap()));
    tmux.call(&line);
    tmux.press(&["PS1='pro''mpt> '", "Enter"], "prompt>").and(|| drive(&tmux))
}

fn edit(tmux: &Tmux<'_>) -> Verdict {
    tmux.press(&["clear; vi -u NONE -n note", "Enter"], "~")
        .and(|| tmux.press(&["iwritten in vi", "Escape", ":set columns?", "Enter"], "columns=97"))
        .and(|| {
            tmux.call(&["resize-window", "-t", "it", "-x", "110", "-y", "35"]);
            // Whoever asks too early is told the old size.
            let asked = within(SOON, || {
                tmux.keys(&["Escape", ":set columns?", "Enter"]);
                tmux.screen().contains("columns=110")
            });
            Verdict::open_if(!asked, "the editor does not follow the size")
        })
        .and(|| tmux.press(&["C-z"], "Stopped"))
        .and(|| tmux.press(&["clear; fg", "Enter"], "written in vi"))
        .and(|| tmux.press(&["Escape", ":wq", "Enter"], "prompt>"))
}

fn page(tmux: &Tmux<'_>) -> Verdict {
    tmux.press(&["clear; less -f lines; echo less ended with $?", "Enter"], "line 30")
        .and(|| tmux.press(&["G"], "line 300"))
        .and(|| tmux.press(&["C-z"], "Stopped"))
        .and(|| tmux.press(&["clear; fg", "Enter"], "line 299"))
        .and(|| tmux.press(&["q"], "prompt>"))
}

fn drive(tmux: &Tmux<'_>) -> Verdict {
    tmux.press(&["tools/probe screen; echo code $?", "Enter"], "size 31 97")
        .and(|| {
            tmux.call(&["resize-window", "-t", "it", "-x", "110", "-y", "35"]);
            tmux.see("size 35 110")
        })
        .and(|| tmux.press(&["C-c"], "interrupted"))
        .and(|| tmux.press(&["C-z"], "Stopped"))
        .and(|| tmux.press(&["fg", "Enter"], "continued"))
        // The shell that stopped it has moved on: its own code comes by `$?` of `fg`.
        .and(|| tmux.press(&["q"], "prompt>"))
        .and(|| tmux.press(&["clear; tools/probe screen; exit $?", "Enter"], "size 35 110"))
        .and(|| tmux.press(&["q"], "ended with 7"))
}
