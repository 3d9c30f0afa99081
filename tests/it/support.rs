//! A world for `pier` to run in: own directories, cleared environment, and what it said in a stable form.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use snapbox::data::Inline;
use snapbox::{Assert, IntoData as _};

/// Who owns the world where the tests run as root: pier gives root up for the owner of the project.
const USER: u32 = 1000;

/// A home and a project, `[ROOT]/home` and `[ROOT]/project`.
pub struct World {
    directory: tempfile::TempDir,
}

impl World {
    /// A world with an empty Git repository as the project.
    pub fn new() -> Self {
        // Always of one length and without a place to break: messages are wrapped before they are redacted.
        let directory = tempfile::Builder::new().prefix("pier").tempdir_in("/tmp").unwrap();
        let world = World { directory };
        for name in ["home", "project/.git/objects", "project/.git/refs"] {
            fs::create_dir_all(world.root().join(name)).unwrap();
        }
        fs::write(world.project().join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        world
    }

    /// A world with this `pier.kdl`.
    pub fn with(text: impl AsRef<[u8]>) -> Self {
        let world = World::new();
        world.write("pier.kdl", text);
        world
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    pub fn project(&self) -> PathBuf {
        self.root().join("project")
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.project().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file of the project.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.project().join(name)).unwrap()
    }

    /// Runs pier in the project; returns exit code, standard output and standard error as one text.
    pub fn pier(&self, arguments: &[&str]) -> String {
        self.pier_with(arguments, b"")
    }

    /// Runs pier with a standard input.
    pub fn pier_with(&self, arguments: &[&str], input: &[u8]) -> String {
        give(&self.root());
        self.said_by(&mut self.command(arguments), input)
    }

    /// Runs pier in another directory, which may be below the world, with more variables.
    pub fn pier_at(&self, directory: impl AsRef<Path>, set: &[(&str, &str)], arguments: &[&str]) -> String {
        give(&self.root());
        let mut command = self.command(arguments);
        command.current_dir(self.root().join(directory)).envs(set.iter().copied());
        self.said_by(&mut command, b"")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pier"));
        command
            .args(arguments)
            .current_dir(self.project())
            .env_clear()
            .env("HOME", self.root().join("home"))
            .env("PATH", "/usr/bin:/bin")
            // Wider than any path: where a line is cut would depend on the name of the directory.
            .env("COLUMNS", "1000")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn said_by(&self, command: &mut Command, input: &[u8]) -> String {
        let mut child = command.spawn().unwrap();
        // A command that reads no input closes it.
        let _closed = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| self.redact(&String::from_utf8_lossy(bytes));
        let code = output.status.code().map_or("a signal".to_owned(), |code| code.to_string());
        let mut said = format!("exit {code}\n");
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            if !bytes.is_empty() {
                said.push_str(&format!("-- {name}\n{}", text(bytes)));
                if !said.ends_with('\n') {
                    said.push('\n');
                }
            }
        }
        said
    }

    fn redact(&self, text: &str) -> String {
        let text = text.replace(self.root().to_str().unwrap(), "[ROOT]");
        let mut out = String::new();
        let mut digits = String::new();
        for c in text.chars().chain(std::iter::once('\0')) {
            if matches!(c, '0'..='9' | 'a'..='f') {
                digits.push(c);
                continue;
            }
            out.push_str(if digits.len() == 64 { "[DIGEST]" } else { &digits });
            digits.clear();
            out.push(c);
        }
        out.pop();
        out
    }
}

/// Gives everything to the user of the tests; without root it is theirs already.
fn give(path: &Path) {
    if !is_root() {
        return;
    }
    std::os::unix::fs::lchown(path, Some(USER), Some(USER)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Compares with an inline snapshot; `SNAPSHOTS=overwrite cargo test` updates it.
pub fn check(said: &str, expected: Inline) {
    Assert::new().action_env("SNAPSHOTS").eq(said, expected.raw());
}
