//! A plan as a bubblewrap sandbox: arguments (pure), then the launch.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt::Write as _;
use std::io;

use super::sandbox::Given;
use crate::plan::{Access, INIT, Mount, MountKind, NetworkMode, Plan};

pub mod launch;
pub mod program;

pub use program::{Bubblewrap, Feature};

/// The arguments of one launch, and what travels beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Everything up to and without the `--`.
    pub options: Vec<String>,
    /// Contents of generated files; `options` names them by the number that is their place plus
    /// [`FIRST_FILE`].
    pub files: Vec<Vec<u8>>,
    /// What bubblewrap executes where nobody supervises it; in a session the init learns the command by its manifest.
    pub command: Vec<String>,
}

/// Descriptor number of the first generated file.
pub const FIRST_FILE: i32 = 16;

/// Returns the arguments for a plan.
pub fn arguments(plan: &Plan, bubblewrap: &Bubblewrap, given: Given<'_>) -> Arguments {
    let mut made = Arguments::default();
    made.isolation(plan, bubblewrap);
    for mount in &plan.mounts {
        made.mount(mount, given);
    }
    made.environment(plan, given.values);
    made.push(&["--chdir", plan.command.cwd.as_str()]);
    made.command = [INIT, "__init", "--"].map(str::to_owned).to_vec();
    made.command.extend(plan.command.argv.iter().cloned());
    made
}

impl Arguments {
    /// Returns the options as bubblewrap reads them from a descriptor: a NUL byte ends each.
    ///
    /// # Errors
    /// A word with a NUL byte of its own, which would be two words and could ask for anything.
    pub fn words(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for word in &self.options {
            bytes.extend_from_slice(CString::new(word.as_str())?.as_bytes_with_nul());
        }
        Ok(bytes)
    }

    fn push(&mut self, words: &[&str]) {
        self.options.extend(words.iter().map(|word| (*word).to_owned()));
    }

    fn isolation(&mut self, plan: &Plan, bubblewrap: &Bubblewrap) {
        // All namespaces by name: `--unshare-all` means "try" for users and control groups.
        self.push(&[
            "--unshare-user",
            "--unshare-ipc",
            "--unshare-pid",
            "--unshare-uts",
            "--unshare-cgroup-try",
        ]);
        match plan.network.mode {
            NetworkMode::Host => {}
            NetworkMode::None | NetworkMode::Allowlist | NetworkMode::Bridge => self.push(&["--unshare-net"]),
        }
        if bubblewrap.has(Feature::DisableUserns) {
            self.push(&["--disable-userns"]);
        }
        self.push(&["--uid", &plan.user.uid.to_string(), "--gid", &plan.user.gid.to_string()]);
        // Without `--die-with-parent`: a bubblewrap that is killed right after it forked leaves a child that waits for
        // its word for ever. The init ends with bubblewrap by itself, and with the supervisor by its control socket.
        self.push(&["--cap-drop", "ALL", "--as-pid-1", "--hostname", "pier", "--clearenv"]);
    }

    /// Returns the descriptor number of a generated file.
    fn file(&mut self, content: impl Into<Vec<u8>>) -> String {
        let number = FIRST_FILE + i32::try_from(self.files.len()).unwrap_or(i32::MAX - FIRST_FILE);
        self.files.push(content.into());
        number.to_string()
    }

    fn bind(&mut self, source: &str, access: Access, at: &str) {
        let option = match access {
            Access::ReadOnly => "--ro-bind",
            Access::ReadWrite => "--bind",
        };
        self.push(&[option, source, at]);
    }

    fn mount(&mut self, mount: &Mount, given: Given<'_>) {
        let at = mount.at.as_str();
        match &mount.kind {
            MountKind::Bind { source, access, .. } => self.bind(source.as_str(), *access, at),
            MountKind::Session { name, access } => {
                self.bind(given.directory.join(name).as_str(), *access, at);
            }
            MountKind::Tmpfs { size, mode } => {
                self.push(&["--perms", &format!("{mode:04o}")]);
                if let Some(size) = size {
                    self.push(&["--size", &size.to_string()]);
                }
                self.push(&["--tmpfs", at]);
            }
            MountKind::Hidden { directory: true } => {
                self.push(&["--perms", "0555", "--tmpfs", at, "--remount-ro", at]);
            }
            MountKind::Hidden { directory: false } => {
                let number = self.file([]);
                self.push(&["--perms", "0444", "--ro-bind-data", &number, at]);
            }
            MountKind::Proc => self.push(&["--proc", at]),
            MountKind::Dev => self.push(&["--dev", at]),
            MountKind::Directory { mode } => self.push(&["--perms", &format!("{mode:04o}"), "--dir", at]),
            MountKind::Symlink { to } => self.push(&["--symlink", to.as_str(), at]),
            MountKind::File { content } => {
                let number = self.file(content.as_str());
                self.push(&["--perms", "0444", "--file", &number, at]);
            }
            MountKind::Certificates { form } => {
                let number = self.file(given.certificates(*form));
                self.push(&["--perms", "0444", "--file", &number, at]);
            }
            MountKind::Seal => self.push(&["--remount-ro", at]),
        }
    }

    fn environment(&mut self, plan: &Plan, passed: &BTreeMap<String, String>) {
        for (name, value) in plan.variables(passed) {
            self.push(&["--setenv", &name, &value]);
        }
    }

    /// Returns the command line for a shell, generated files as here-strings; secrets stay names.
    pub fn as_shell(&self, program: &str) -> String {
        let mut line = crate::util::text::shell_word(program);
        for word in self.options.iter().chain([&"--".to_owned()]).chain(&self.command) {
            line.push(' ');
            line.push_str(&crate::util::text::shell_word(word));
        }
        for (number, content) in (FIRST_FILE..).zip(&self.files) {
            let content = String::from_utf8_lossy(content);
            // `<<<` adds a newline of its own; writing to a String cannot fail.
            let _infallible =
                write!(line, " {number}<<<{}", crate::util::text::shell_word(content.trim_end_matches('\n')));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_cannot_become_two() {
        let words = |words: &[&str]| {
            let options = words.iter().map(|word| (*word).to_owned()).collect();
            Arguments { options, ..Arguments::default() }.words()
        };
        assert_eq!(words(&["--setenv", "A", "é"]).unwrap(), "--setenv\0A\0é\0".as_bytes());
        words(&["--setenv", "A", "1\0--bind\0/\0/tmp"]).unwrap_err();
    }
}
