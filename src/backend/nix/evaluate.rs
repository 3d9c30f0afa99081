//! Runs Nix with a cleared environment, fixed options, bounded answers and a time limit.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

use super::{Error, Progress};
use crate::util::text::escape;

/// The longest that one call may take: a shell may be downloaded, or built.
pub const MOST_TIME: Duration = Duration::from_hours(1);

/// The most that is read of an answer, in bytes.
const MOST_ANSWER: u64 = 16 << 20;

/// The most that is kept of what Nix says while it works, in bytes, and the lines that a failure shows.
const MOST_SAID: usize = 64 << 10;
const LINES_SHOWN: usize = 16;

/// How long Nix may take before somebody is told.
const PATIENCE: Duration = Duration::from_secs(1);

/// Options of every call. Builds happen only as the flake's shell needs them, never to evaluate more; settings that
/// the flake brings are not taken; names are not looked up in a registry.
const OPTIONS: &[&str] = &[
    "--extra-experimental-features",
    "nix-command flakes",
    "--option",
    "allow-import-from-derivation",
    "false",
    "--option",
    "accept-flake-config",
    "false",
    "--option",
    "pure-eval",
    "true",
    "--option",
    "use-registries",
    "false",
    "--option",
    "eval-cache",
    "false",
    "--option",
    "warn-dirty",
    "false",
];

/// What every call of one resolution has in common.
pub struct Call<'a> {
    pub program: &'a Utf8Path,
    /// A store other than the host's.
    pub store: Option<&'a Utf8Path>,
    pub home: &'a Utf8Path,
    pub environment: &'a [(String, String)],
}

impl Call<'_> {
    /// Builds the shell and returns what it exports, as JSON; `root` becomes the link that keeps it.
    pub fn print_dev_env(
        &self,
        attribute: &str,
        root: &Utf8Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<u8>, Error> {
        // Without a lock that is complete there is nothing to have been approved. Together with the flag that forbids
        // writing one, this one would not be obeyed.
        let words =
            ["print-dev-env", "--json", "--no-update-lock-file", "--profile", root.as_str(), attribute];
        self.run("evaluate the shell", &words, progress)
    }

    /// Returns the paths that `path` needs, itself among them.
    pub fn closure(
        &self,
        path: &Utf8Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Utf8PathBuf>, Error> {
        let said =
            self.run("list what the shell needs", &["path-info", "--recursive", path.as_str()], progress)?;
        Ok(String::from_utf8_lossy(&said).lines().map(Utf8PathBuf::from).collect())
    }

    fn run(
        &self,
        what: &'static str,
        words: &[&str],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<u8>, Error> {
        let failed = |error: io::Error| Error::Failed { what, said: escape(&error.to_string()) };
        let mut command = Command::new(self.program);
        command.args(OPTIONS);
        if let Some(store) = self.store {
            command.args(["--store", store.as_str()]);
        }
        command.args(words).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        // `git` and `ssh` for inputs that are fetched with them.
        command.env("PATH", "/usr/bin:/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin");
        command.env("HOME", self.home).env("LANG", "C.UTF-8").current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (sender, receiver) = mpsc::channel();
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            read_answer(out, sender.clone());
            read_lines(err, sender);
        }
        let (answer, said) = wait(&mut child, &receiver, progress)?;
        let status = child.wait().map_err(failed)?;
        if !status.success() {
            return Err(Error::Failed { what, said: reason(&said) });
        }
        if answer.len() as u64 > MOST_ANSWER {
            return Err(Error::Failed { what, said: "its answer is longer than any shell".to_owned() });
        }
        Ok(answer)
    }
}

enum Heard {
    Answer(Vec<u8>),
    Line(String),
}

/// Reads until both streams have ended, and says every so often that it does.
fn wait(
    child: &mut Child,
    receiver: &mpsc::Receiver<Heard>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Vec<u8>, String), Error> {
    let started = Instant::now();
    let (mut answer, mut said, mut last, mut told) = (Vec::new(), String::new(), None, None);
    loop {
        match receiver.recv_timeout(Duration::from_millis(200)) {
            Ok(Heard::Answer(bytes)) => answer = bytes,
            Ok(Heard::Line(line)) => {
                if said.len() > MOST_SAID {
                    said = said.split_off(said.ceil_char_boundary(MOST_SAID / 2));
                }
                said.push_str(&line);
                said.push('\n');
                last = Some(line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok((answer, said)),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if started.elapsed() > MOST_TIME {
            // Nix ends its builders when it is asked to end; it fails only for one that has ended.
            let id = nix::unistd::Pid::from_raw(child.id().cast_signed());
            let _ended = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
            return Err(Error::TooSlow);
        }
        let due = told.map_or(PATIENCE, |told| told + 10 * PATIENCE);
        if started.elapsed() > due {
            progress(Progress::Working { line: last.take() });
            told = Some(started.elapsed());
        }
    }
}

fn read_answer(from: impl Read + Send + 'static, to: mpsc::Sender<Heard>) {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut from = from.take(MOST_ANSWER + 1);
        // What is cut short by an error is no JSON, and whoever reads it says so.
        let _cut = from.read_to_end(&mut bytes);
        // Nobody listens any more after the time limit.
        let _late = to.send(Heard::Answer(bytes));
        // The rest of an answer that is too long, so that Nix can end.
        let _rest = io::copy(&mut from.into_inner(), &mut io::sink());
    });
}

/// Sends lines of at most 4096 bytes, without colours.
fn read_lines(mut from: impl Read + Send + 'static, to: mpsc::Sender<Heard>) {
    thread::spawn(move || {
        let (mut line, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            for byte in &buffer[..count] {
                if *byte != b'\n' && line.len() < 4096 {
                    line.push(*byte);
                    continue;
                }
                let text = plain(&String::from_utf8_lossy(&line));
                line.clear();
                if to.send(Heard::Line(text)).is_err() {
                    return;
                }
            }
        }
    });
}

/// Removes colours: an escape character, `[`, and what follows up to a letter.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        let mut letters = rest.chars();
        letters.next();
        rest = letters.as_str();
    }
    out.push_str(rest);
    out
}

/// What Nix said from its error on, escaped. A release that shows the way to the error first says `error:` alone
/// before it, and the error last.
fn reason(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let first = lines.iter().position(|line| line.starts_with("error:"));
    let start = match first {
        Some(first) if lines[first] == "error:" => lines.iter().rposition(|line| line.starts_with("error:")),
        _ => first,
    };
    let start = start.unwrap_or(lines.len().saturating_sub(LINES_SHOWN));
    let shown: Vec<String> = lines[start..].iter().take(LINES_SHOWN).map(|line| escape(line)).collect();
    if shown.is_empty() { "it gave no reason".to_owned() } else { shown.join("\n  ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_removed_and_the_error_is_shown() {
        assert_eq!(plain("\u{1b}[31;1merror:\u{1b}[0m bad"), "error: bad");
        let built =
            "warning: x\nerror: builder failed;\n   last 1 log lines:\n   > \u{7}log\nerror: 1 dependency\n";
        let lines = ["error: builder failed;", "last 1 log lines:", "> \\u{7}log", "error: 1 dependency"];
        assert_eq!(reason(built), lines.join("\n  "));
        assert_eq!(reason("error:\n  … while x\n  at y\n\n  error: pure\n"), "error: pure");
        assert_eq!(reason("no such option\n"), "no such option");
        assert_eq!(reason(""), "it gave no reason");
    }
}
