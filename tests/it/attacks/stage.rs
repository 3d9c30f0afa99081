//! One world in one column: how actions get inside there, and how commands of the host are run beside them.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::case::{Column, Open};
use super::internet::{self, Internet};
use super::world::{World, become_user};
use crate::docker;
use crate::sandbox::{PIER, wait};
use crate::tty::Terminal;

/// Longer than any one run takes.
const DEADLINE: Duration = Duration::from_secs(40);

/// The most that is read of what a run printed, in bytes.
const MOST: u64 = 4 << 20;

pub struct Stage {
    pub world: World,
    pub column: Column,
    /// How the open column runs.
    pub open: Open,
    /// The network of its own.
    pub internet: Option<Internet>,
    /// The address of the container engine.
    pub engine: Option<String>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.engine.is_some() {
            docker::remove_containers_of(&self.world.project());
        }
    }
}

/// What a run printed and how it ended.
#[derive(Debug, Default)]
pub struct Ran {
    /// 128 and the number of the signal for one that was killed; none of one that did not end in time.
    pub code: Option<i32>,
    /// Everything, where it ran at a terminal.
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The lines in which an attack says what it could do.
    pub fn claims(&self) -> Vec<&str> {
        self.out.lines().filter_map(|line| line.trim_end().strip_prefix("OPEN: ")).collect()
    }

    pub fn said(&self, text: &str) -> bool {
        self.out.contains(text) || self.err.contains(text)
    }

    /// One line for a report.
    pub fn short(&self) -> String {
        let code = self.code.map_or("no end".to_owned(), |code| format!("exit {code}"));
        let text = format!("{code}; {} {}", self.out.trim(), self.err.trim());
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
    }
}

impl Stage {
    /// The network of the case, which has asked for one.
    pub fn internet(&self) -> &Internet {
        self.internet.as_ref().unwrap()
    }

    pub fn sandboxed(&self) -> bool {
        self.column != Column::Open
    }

    /// The project, as the action sees it.
    pub fn inside(&self) -> String {
        if self.sandboxed() { "/workspace".to_owned() } else { self.world.project().display().to_string() }
    }

    /// Variables of every script, then the script. The canary is not among them.
    fn script(&self, script: &str) -> String {
        let world = &self.world;
        format!(
            "W={w}; HOST_W={host}; HOST_HOME={home}; BASE={base}; RUNTIME={run}; MARK={base}/markers; OPEN={open}
            HOST_PID={pid}; ABSTRACT={name}; IPC=\"{key} {queue}\"; PROBE={w}/tools/probe; PIER={pier}
            {network}
            echo @ran; {script}",
            network = if self.internet.is_some() { internet::FUNCTIONS } else { "" },
            w = self.inside(),
            host = world.project().display(),
            home = world.home().display(),
            base = world.base().display(),
            run = world.runtime().display(),
            open = if self.sandboxed() { "" } else { "1" },
            pier = if self.sandboxed() { "/.pier/init" } else { PIER },
            pid = world.process(),
            name = world.abstract_name,
            key = world.ipc_key(),
            queue = world.queue_name(),
        )
    }

    /// Runs a script inside.
    pub fn bash(&self, script: &str) -> Ran {
        self.exec(&["bash", "-c", &self.script(script)])
    }

    /// Runs a command inside.
    pub fn exec(&self, words: &[&str]) -> Ran {
        if self.column.terminal() || (!self.sandboxed() && matches!(self.open, Open::Terminal)) {
            return self.at_terminal(words);
        }
        run(&mut self.command(words))
    }

    /// Runs the probe inside.
    pub fn probe(&self, words: &[&str]) -> Ran {
        let program = format!("{}/tools/probe", self.inside());
        self.exec(&[&[program.as_str()], words].concat())
    }

    /// Runs pier with any arguments, as the caller of this column.
    pub fn pier(&self, words: &[&str]) -> Ran {
        run(&mut self.call_pier(words))
    }

    /// Runs a command of the host as the owner, in the project.
    pub fn host(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env_clear();
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", self.world.home());
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("MARK", self.world.base().join("markers"));
        command.current_dir(self.world.project());
        run(become_user(&mut command, self.world.uid))
    }

    /// The call of a command inside, not yet made.
    pub fn command(&self, words: &[&str]) -> Command {
        if self.sandboxed() {
            return self.call_pier(&[&["exec", "--"], words].concat());
        }
        if let Open::Container(options) = self.open {
            return self.container(options, docker::DEBIAN, words);
        }
        let namespace = [
            "bwrap",
            "--dev-bind",
            "/",
            "/",
            "--ro-bind",
            "/usr",
            "/usr",
            "--unshare-user",
            "--uid",
            "0",
            "--gid",
            "0",
            "--cap-add",
            "ALL",
            "--",
        ];
        let words = match self.open {
            Open::Namespace => [&namespace, words].concat(),
            _ => words.to_vec(),
        };
        let mut command = self.surrounded(words[0]);
        command.args(&words[1..]);
        let by_root = matches!(self.open, Open::Root | Open::RootIfThere | Open::RootProbe(_));
        self.called_by(if by_root { 0 } else { self.world.uid }, command)
    }

    /// The call of a container without a sandbox: by the engine's own client, as root, with the world where the host has
    /// it, and with the project where a sandbox has it, too.
    pub fn container(&self, options: &[&str], image: &str, words: &[&str]) -> Command {
        let (base, project) = (self.world.base().display(), self.world.project());
        let start = ["run", "--rm", "--label", &docker::label(&project), "--workdir", &self.inside()];
        let same = format!("{base}:{base}");
        let workspace = format!("{}:/workspace", project.display());
        let mounts = ["--volume", &same, "--volume", &workspace];
        self.client(&[&start, &mounts[..], options, &[image], words].concat())
    }

    /// A call of the engine's own client by the owner, not yet made.
    pub fn client(&self, words: &[&str]) -> Command {
        let mut command = self.surrounded("docker");
        command.args(words);
        self.called_by(self.world.uid, command)
    }

    /// A call of pier by the caller of this column, not yet made.
    pub fn call_pier(&self, words: &[&str]) -> Command {
        let mut command = self.surrounded(PIER);
        command.arg(words[0]);
        if self.column == Column::AsRoot {
            command.arg("--as-root");
        }
        command.args(&words[1..]);
        self.called_by(if self.column.by_root() { 0 } else { self.world.uid }, command)
    }

    /// Makes a command of root's one of this user, in the network of the case.
    fn called_by(&self, uid: u32, mut command: Command) -> Command {
        if let Some(internet) = &self.internet {
            return internet.enter(&self.world, uid, &command);
        }
        become_user(&mut command, uid);
        command
    }

    fn surrounded(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.world.variables()).current_dir(self.world.project());
        command.envs(self.engine.iter().map(|address| ("DOCKER_HOST", address)));
        command
    }

    /// Starts a command inside at a terminal.
    pub fn terminal(&self, words: &[&str]) -> Terminal {
        let inner = self.command(words);
        let mut command = self.surrounded("setsid");
        command.arg("--ctty").arg(inner.get_program()).args(inner.get_args()).env("TERM", "xterm");
        if !self.column.by_root() {
            become_user(&mut command, self.world.uid);
        }
        Terminal::of(&mut command)
    }

    fn at_terminal(&self, words: &[&str]) -> Ran {
        let mut terminal = self.terminal(words);
        let status = wait(&mut terminal.child, DEADLINE);
        let code = status.and_then(code);
        Ran { code, out: terminal.rest(), err: String::new() }
    }
}

fn code(status: std::process::ExitStatus) -> Option<i32> {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal))
}

/// Runs a command to its end, its streams in files: whatever it leaves behind holds no pipe of ours.
pub fn run(command: &mut Command) -> Ran {
    let [mut out, mut err] = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
    command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    let mut child = command.process_group(0).spawn().unwrap();
    let status = wait(&mut child, DEADLINE);
    if status.is_none() {
        let group = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }
    Ran { code: status.and_then(code), out: text(&mut out), err: text(&mut err) }
}

fn text(file: &mut File) -> String {
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
