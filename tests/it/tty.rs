//! A real terminal in front of pier: size, keys, job control, modes.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::pty::{OpenptyResult, Winsize, openpty};

use crate::sandbox::{PIER, Project, wait, within};

const SOON: Duration = Duration::from_secs(20);

/// A terminal with a person at it, and pier as its foreground job.
pub struct Terminal {
    pub master: File,
    /// Kept open, so that the terminal lives on after pier has ended.
    pub slave: OwnedFd,
    path: PathBuf,
    screen: Arc<Mutex<String>>,
    pub child: Child,
}

impl Terminal {
    pub fn start(project: &Project, args: &[&str]) -> Self {
        // A session of its own, whose controlling terminal is standard input.
        let mut command = Command::new("setsid");
        // Whatever the tests were started by, a person's shell ignores none of these.
        command.args(["--ctty", "env", "--default-signal=HUP,INT", PIER]).args(args);
        Self::of(&mut project.surround(command).env("TERM", "xterm").command)
    }

    /// Starts any command with all three streams at a new terminal.
    pub fn of(command: &mut Command) -> Self {
        let size = Winsize { ws_row: 31, ws_col: 97, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        let path = nix::unistd::ttyname(&slave).unwrap();
        let stream = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        // The description holds copies of the terminal.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let screen = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&screen);
        let mut master = File::from(master);
        let mut from = master.try_clone().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Ends with the terminal, by an error.
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        master.flush().unwrap();
        Terminal { master, slave, path, screen, child }
    }

    pub fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    /// What was printed last, once that has stopped.
    pub fn rest(&self) -> String {
        let mut before = self.screen();
        // The program has ended: only the thread that reads is behind.
        loop {
            thread::sleep(Duration::from_millis(20));
            let now = self.screen();
            if now == before {
                return now;
            }
            before = now;
        }
    }

    /// Waits for text, and clears the screen up to its end.
    #[track_caller]
    pub fn see(&self, text: &str) {
        let found = within(SOON, || {
            let mut screen = self.screen.lock().unwrap();
            let end = screen.find(text).map(|start| start + text.len());
            end.is_some_and(|end| {
                screen.drain(..end);
                true
            })
        });
        assert!(found, "`{text}` is not in {:?}", self.screen());
    }

    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    #[track_caller]
    pub fn end(&mut self, code: i32) {
        let status = wait(&mut self.child, SOON);
        let status = status.unwrap_or_else(|| panic!("no end; {:?}", self.screen()));
        assert_eq!(status.code(), Some(code), "{:?}", self.screen());
    }

    pub fn stty(&self, args: &[&str]) -> String {
        let output = Command::new("stty").arg("-F").arg(&self.path).args(args).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Has ended already in a test that passes.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn bash(project: &Project, script: &str) -> Terminal {
    Terminal::start(project, &["exec", "--", "bash", "-c", script])
}

#[test]
fn the_size_of_the_terminal_is_known_and_follows() {
    let project = Project::new("");
    // Two changes come as two signals, for `stty` sets rows and columns one after the other, and bash forgets a
    // signal that comes while it runs the trap of that same signal.
    let script = "stty size; trap w=1 WINCH; trap 'exit 0' INT; echo ready
        while :; do [ \"$w\" ] && { w=; stty size; }; sleep 0.05; done";
    let mut terminal = bash(&project, script);
    terminal.see("31 97\r\n");
    terminal.see("ready");
    terminal.stty(&["rows", "40", "cols", "120"]);
    terminal.see("40 120");
    terminal.press("\u{3}");
    terminal.end(0);
}

#[test]
fn all_three_streams_are_a_terminal() {
    let project = Project::new("");
    let mut terminal = bash(&project, "test -t 0 && test -t 1 && test -t 2 && echo yes > /dev/tty; exit 9");
    terminal.see("yes");
    terminal.end(9);
}

#[test]
fn the_terminal_has_a_name_inside() {
    let project = Project::new("");
    let mut terminal = bash(&project, "tty; exit 0");
    terminal.see("/dev/pts/0");
    terminal.end(0);
}

#[test]
fn a_redirected_stream_stays_a_pipe() {
    let project = Project::new("");
    let script =
        format!("{PIER} exec -- bash -c 'test -t 0 && ! test -t 1 && test -t 2 && echo yes' | tr y Y");
    let mut terminal = Terminal::start(&project, &["--version"]);
    terminal.end(0);
    let mut command = Command::new("setsid");
    command.args(["--ctty", "bash", "-c", &script]);
    let mut call = project.surround(command);
    let stream = || Stdio::from(terminal.slave.try_clone().unwrap());
    terminal.child = call.command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
    terminal.see("Yes");
    terminal.end(0);
}

#[test]
fn the_interrupt_key_reaches_the_command_alone() {
    let project = Project::new("");
    let script = "trap 'echo caught; exit 42' INT; echo ready; while :; do sleep 0.1; done";
    let mut terminal = bash(&project, script);
    terminal.see("ready");
    terminal.press("\u{3}");
    terminal.see("caught");
    terminal.end(42);
}

#[test]
fn the_end_of_file_key_ends_the_input() {
    let project = Project::new("");
    let mut terminal = Terminal::start(&project, &["exec", "--", "cat"]);
    terminal.press("hello\n");
    terminal.see("hello\r\nhello\r\n");
    terminal.press("\u{4}");
    terminal.end(0);
}

#[test]
fn a_shell_has_job_control() {
    let project = Project::new("");
    let mut terminal = Terminal::start(&project, &["exec", "--", "bash", "--norc", "--noprofile", "-i"]);
    terminal.press("PS1='pro''mpt> '\n");
    terminal.see("prompt> ");
    // It speaks once it has the terminal: until then a key is for the shell.
    terminal
        .press("bash -c 'trap \"echo is ba\"\"ck\" CONT; echo is th\"\"ere; while :; do sleep 0.1; done'\n");
    terminal.see("is there\r\n");
    terminal.press("\u{1a}");
    terminal.see("Stopped");
    terminal.see("prompt> ");
    terminal.press("jobs -p | wc -l; fg\n");
    terminal.see("1\r\n");
    terminal.see("is back\r\n");
    terminal.press("\u{3}");
    terminal.see("prompt> ");
    terminal.press("exit 3\n");
    terminal.end(3);
    assert!(!terminal.screen().contains("no job control"));
}

#[test]
fn the_terminal_is_given_back_as_it_was() {
    let project = Project::new("");
    let mut terminal = bash(&project, "stty raw -echo; echo ready; read -n 1 _; exit 4");
    terminal.see("ready");
    let during = terminal.stty(&["-a"]);
    assert!(during.contains("-icanon") && during.contains("-echo "), "{during}");
    terminal.press("x");
    terminal.end(4);
    let fresh = openpty(&Winsize { ws_row: 31, ws_col: 97, ws_xpixel: 0, ws_ypixel: 0 }, None).unwrap();
    let path = nix::unistd::ttyname(&fresh.slave).unwrap();
    let output = Command::new("stty").arg("-F").arg(path).arg("-a").output().unwrap();
    assert_eq!(terminal.stty(&["-a"]), String::from_utf8(output.stdout).unwrap());
}

#[test]
fn the_terminal_is_given_back_after_a_refusal_too() {
    let project = Project::new("");
    let mut terminal = Terminal::start(&project, &["exec", "--", "no-such-command"]);
    terminal.end(127);
    let after = terminal.stty(&["-a"]);
    assert!(after.contains(" icanon") && after.contains(" echo "), "{after}");
}

#[test]
fn a_terminal_that_goes_away_ends_the_session() {
    let project = Project::new("");
    let argument = crate::sandbox::unique_sleep();
    let mut terminal = bash(&project, &format!("echo ready; exec sleep {argument}"));
    terminal.see("ready");
    // What the kernel sends when a window is closed.
    let id = nix::unistd::Pid::from_raw(terminal.child.id().cast_signed());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGHUP).unwrap();
    terminal.end(128 + 1);
    assert!(within(SOON, || crate::sandbox::host_process(&argument).is_none()));
}

#[test]
fn the_terminal_of_the_host_is_out_of_reach() {
    let project = Project::new("");
    let script = "for fd in 0 1 2; do stat -L -c %d:%t:%T /proc/self/fd/$fd; done
        perl -e 'for (split //, \"typed-by-nobody\\n\") { ioctl(STDIN, 0x5412, $_) }'
        ls /dev/pts; echo done";
    let mut terminal = bash(&project, script);
    let screen = within(SOON, || terminal.screen().contains("done"));
    assert!(screen, "{}", terminal.screen());
    let meta = fs_err::metadata(&terminal.path).unwrap();
    // Each mount of devpts counts from 0, so the number alone says nothing.
    let (major, minor) = (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
    let own = format!("{}:{major:x}:{minor:x}", meta.dev());
    let screen = terminal.screen();
    let inside: Vec<&str> = screen.split("\r\n").take(3).collect();
    assert!(inside.iter().all(|number| number.contains(':') && *number != own), "{own} in {inside:?}");
    terminal.end(0);
    // Nothing that was pushed back waits for the shell behind pier.
    nix::fcntl::fcntl(&terminal.slave, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(nix::unistd::read(&terminal.slave, &mut buffer), Err(nix::errno::Errno::EAGAIN));
}

#[test]
fn an_approval_is_asked_for_at_a_terminal_and_only_a_yes_is_one() {
    let project = Project::new("");
    project.write("pier.kdl", "env { pass \"LANG\"; }\n");
    for (answer, exit) in [("n", 125), ("", 125), ("y", 0)] {
        let mut terminal = Terminal::start(&project, &["exec", "--", "true"]);
        terminal.see("pass the variable `LANG`");
        terminal.see("[y/N]");
        terminal.master.write_all(format!("{answer}\n").as_bytes()).unwrap();
        terminal.end(exit);
    }
    // Once given, it is not asked for again.
    Terminal::start(&project, &["exec", "--", "true"]).end(0);
}
