//! A project in a directory of its own, with its own home, and `pier` run in it with a cleared environment.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What is tested: the debug build, or another one that whoever builds the tests names.
pub const PIER: &str = match option_env!("PIER_TEST_PROGRAM") {
    Some(program) => program,
    None => env!("CARGO_BIN_EXE_pier"),
};

/// The user that owns the project when root runs the tests.
const OWNER: u32 = 1000;

/// Longer than any single run may take.
const DEADLINE: Duration = Duration::from_mins(1);

/// Says whether root runs the tests.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Polls until `found` is true; false when the deadline has passed.
pub fn within(deadline: Duration, mut found: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if found() {
            return true;
        }
        if Instant::now() >= end {
            TOO_LATE.set(true);
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

thread_local! {
    /// Whether a deadline has passed in this thread: what is concluded from that may only show that the machine is
    /// busy.
    static TOO_LATE: Cell<bool> = const { Cell::new(false) };
}

/// Whether something took longer than it may.
pub fn too_long(took: Duration, most: Duration) -> bool {
    if took > most {
        TOO_LATE.set(true);
    }
    took > most
}

/// Whether a deadline of [`within`] or [`too_long`] has passed in this thread since this was asked last.
pub fn was_too_late() -> bool {
    TOO_LATE.replace(false)
}

/// The id of a host process whose command line holds `needle` as a whole argument.
pub fn host_process(needle: &str) -> Option<u32> {
    fs_err::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs_err::read(entry.path().join("cmdline")).ok()?;
        line.split(|byte| *byte == 0).any(|word| word == needle.as_bytes()).then_some(id)
    })
}

/// A `sleep` argument that no other process has.
pub fn unique_sleep() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("3600.{:07}{count:03}", std::process::id())
}

/// A repository with a `pier.kdl`, and a home beside it.
pub struct Project {
    base: tempfile::TempDir,
}

impl Project {
    pub fn new(config: &str) -> Self {
        let project = Self::bare();
        let status = Command::new("git")
            .args(["-c", "init.defaultBranch=main", "init", "-q"])
            .current_dir(project.root())
            .env("HOME", project.home())
            .status();
        assert!(status.unwrap().success(), "`git init` works");
        project.write("pier.kdl", config);
        project.give_away();
        project
    }

    /// Directories alone: no repository and no `pier.kdl`.
    pub fn bare() -> Self {
        let base = tempfile::Builder::new().prefix("pier-it-").tempdir().unwrap();
        fs_err::create_dir(base.path().join("home")).unwrap();
        fs_err::create_dir(base.path().join("project")).unwrap();
        let project = Project { base };
        project.give_away();
        project
    }

    pub fn base(&self) -> &Path {
        self.base.path()
    }

    pub fn root(&self) -> PathBuf {
        self.base().join("project")
    }

    pub fn home(&self) -> PathBuf {
        self.base().join("home")
    }

    pub fn state(&self) -> PathBuf {
        self.home().join(".local/state/pier")
    }

    /// The user that the sandbox runs as.
    pub fn owner(&self) -> u32 {
        fs_err::metadata(self.root()).unwrap().uid()
    }

    /// Gives everything to the owner; only root needs that.
    pub fn give_away(&self) {
        if is_root() {
            chown(self.base());
        }
    }

    /// Writes a file of the project.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        self.write_beside(Path::new("project").join(path), content);
    }

    /// Writes a file below the directory that holds project and home.
    pub fn write_beside(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.base().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
        self.give_away();
    }

    pub fn read(&self, path: impl AsRef<Path>) -> String {
        fs_err::read_to_string(self.root().join(path)).unwrap()
    }

    /// Starts the description of one call of pier.
    pub fn call<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Call {
        let mut command = Command::new(PIER);
        command.args(args);
        self.surround(command)
    }

    /// Starts the description of a call of any program, in the same surroundings.
    pub fn surround(&self, mut command: Command) -> Call {
        command
            .current_dir(self.root())
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.home());
        Call { command, stdin: None, deadline: DEADLINE }
    }

    /// Runs pier.
    pub fn pier(&self, args: &[&str]) -> Output {
        self.call(args).run()
    }

    /// Runs one command inside.
    pub fn exec(&self, command: &[&str]) -> Output {
        self.call(["exec", "--"].iter().chain(command)).run()
    }

    /// Runs a script inside.
    pub fn bash(&self, script: &str) -> Output {
        self.exec(&["bash", "-c", script])
    }

    /// Approves what the file grants.
    pub fn trust(&self) {
        self.pier(&["trust"]).expect(0);
    }

    /// Every path below pier's state directory.
    pub fn left_behind(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut pending = vec![self.state()];
        while let Some(path) = pending.pop() {
            for entry in fs_err::read_dir(&path).into_iter().flatten().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    pending.push(entry.path());
                }
                found.push(entry.path());
            }
        }
        found
    }
}

/// Gives away what is there; a process that is just ending may take something away meanwhile.
fn chown(path: &Path) {
    let given = std::os::unix::fs::lchown(path, Some(OWNER), Some(OWNER));
    assert!(given.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::NotFound), "{given:?}");
    if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        for entry in fs_err::read_dir(path).into_iter().flatten() {
            chown(&entry.unwrap().path());
        }
    }
}

/// Makes a file executable.
pub fn make_executable(path: &Path) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// One call, not yet made.
pub struct Call {
    pub command: Command,
    stdin: Option<Vec<u8>>,
    deadline: Duration,
}

impl Call {
    /// Adds arguments.
    pub fn with(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn cwd(mut self, path: impl AsRef<Path>) -> Self {
        self.command.current_dir(path);
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Makes the call as the owner of the project from the start.
    pub fn into_owner(mut self) -> Self {
        if is_root() {
            self.command.uid(OWNER).gid(OWNER);
        }
        self
    }

    /// Starts the program with pipes, for a test that talks with it.
    pub fn start(mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut started = self.command.spawn();
        // A program that was just copied is still open in children that other tests start at this very moment.
        within(Duration::from_secs(5), || {
            let busy = started.as_ref().is_err_and(|error| error.kind() == ErrorKind::ExecutableFileBusy);
            if busy {
                started = self.command.spawn();
            }
            !busy
        });
        started.unwrap()
    }

    /// Runs the program to its end; one that does not end in time fails the test.
    pub fn run(self) -> Output {
        let (input, deadline) = (self.stdin.clone().unwrap_or_default(), self.deadline);
        let words: Vec<OsString> = self.command.get_args().map(OsStr::to_owned).collect();
        let mut child = self.start();
        let mut stdin = child.stdin.take().unwrap();
        // A program that reads nothing closes the pipe.
        let write = thread::spawn(move || drop(stdin.write_all(&input)));
        let out = read_all(child.stdout.take().unwrap());
        let err = read_all(child.stderr.take().unwrap());
        let status = wait(&mut child, deadline);
        let Some(status) = status else {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{words:?} did not end within {deadline:?}");
        };
        write.join().unwrap();
        Output { words, status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
    }
}

fn read_all(mut from: impl std::io::Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Waits for the end of a child; `None` when the deadline has passed.
pub fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let mut status = None;
    within(deadline, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status
}

/// What a program said, and how it ended.
pub struct Output {
    words: Vec<OsString>,
    status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    /// The exit code; none of a program that a signal ended.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Standard output without the newline at its end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches('\n').to_owned()
    }

    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// What was said, as one line: long messages are wrapped.
    pub fn flat(&self) -> String {
        let said = self.said();
        said.split_whitespace().filter(|word| *word != "|").collect::<Vec<_>>().join(" ")
    }

    /// Fails with everything that was said unless the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        let (out, err) = (self.text(), self.said());
        let signal = self.status.signal();
        let words = &self.words;
        assert_eq!(self.code(), Some(code), "{words:?} (signal {signal:?})\nstdout: {out}\nstderr: {err}");
        self
    }

    /// Expects the exit code and one error of this diagnostic code, with no panic and nothing on stdout.
    #[track_caller]
    pub fn refused(self, exit: i32, code: &str) -> Self {
        let output = self.expect(exit);
        let said = output.said();
        assert_eq!(output.text(), "", "nothing but the answer is on stdout");
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(said.matches(code).count(), 1, "one `{code}` in: {said}");
        output
    }
}
