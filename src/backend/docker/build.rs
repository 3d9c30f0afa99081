//! Builds the image of a Dockerfile of the project: by Docker's client where that has `BuildKit`, by the engine's own
//! builder otherwise.
//!
//! Either gets an archive of what was read and approved, never the directory. An image has a tag made of everything
//! that it depends on, so that one that is there needs no build.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptionsBuilder, RemoveImageOptionsBuilder};
use camino::{Utf8Path, Utf8PathBuf};
use futures_util::StreamExt as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::engine::{Connected, Engine, reason};
use super::{BUILT, Error};
use crate::sys::process;
use crate::util::text::escape;

mod context;
pub mod dockerfile;
mod ignore;

pub use context::{Context, dockerfile as read_dockerfile};

/// The longest that a build may take where nobody says how long.
pub const MOST_TIME: Duration = Duration::from_hours(1);

/// How long the client may take to say whether it has `BuildKit`.
const PATIENCE: Duration = Duration::from_secs(10);

/// The lines that a failure shows, and the most of one, in bytes.
const LINES_SHOWN: usize = 20;
const MOST_LINE: usize = 4096;

/// What is built.
pub struct Request<'a> {
    pub context: &'a Context,
    /// The Dockerfile, with pinned images in the place of their references.
    pub dockerfile: &'a str,
    /// `pier-build:…`.
    pub tag: &'a str,
    /// The longest that it may take.
    pub time: Duration,
}

/// Docker's client, if there is one.
pub struct Client {
    program: Utf8PathBuf,
    environment: Vec<(String, String)>,
}

impl Client {
    /// Finds one that has `BuildKit`; `path` are directories of commands that no sandbox writes.
    pub fn find(engine: &Engine, home: &Utf8Path, settings: &Utf8Path, path: &str) -> Option<Self> {
        let places = path.split(':').map(|directory| Utf8Path::new(directory).join("docker"));
        let program = places.into_iter().find(|place| place.is_absolute() && place.is_file())?;
        let environment = [
            ("PATH", path),
            ("HOME", home.as_str()),
            ("DOCKER_CONFIG", settings.as_str()),
            ("DOCKER_HOST", &format!("unix://{}", engine.socket)),
            ("DOCKER_BUILDKIT", "1"),
            ("LANG", "C.UTF-8"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let client = Client { program, environment };
        client.has_buildkit().then_some(client)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0);
        process::end_together(&mut command);
        command
    }

    fn has_buildkit(&self) -> bool {
        let Ok(mut child) = self.command().args(["buildx", "version"]).spawn() else { return false };
        let in_time = process::ends_within(child.id(), PATIENCE).unwrap_or(false);
        end(&child);
        in_time && child.wait().is_ok_and(|status| status.success())
    }
}

/// Ends a child that is not waited for yet, with what it has started.
fn end(child: &std::process::Child) {
    // It fails only for one that has ended.
    let _gone = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
}

/// Builds the image; each line of the builder's is shown.
///
/// # Errors
/// With the last lines. Nothing is left of a build that failed but what the engine keeps for the next one.
pub fn build(
    engine: &Connected,
    client: Option<&Client>,
    request: &Request<'_>,
    show: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let mut said = Said::default();
    let mut hear = |text: &str| {
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            let line = escape(line);
            show(&line);
            said.keep(line);
        }
    };
    let packed = request.context.pack(request.dockerfile);
    let (archive, name) = packed.map_err(|error| Error::Build { said: error.to_string() })?;
    let built = match client {
        Some(client) => by_client(client, request, archive, &name, &mut hear),
        None => by_engine(engine, request, archive, &name, &mut hear),
    };
    built.map_err(|reason| Error::Build { said: said.with(reason) })
}

/// The last lines of a build.
#[derive(Default)]
struct Said(std::collections::VecDeque<String>);

impl Said {
    fn keep(&mut self, line: String) {
        if self.0.len() == LINES_SHOWN {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    fn with(mut self, reason: String) -> String {
        if self.0.back().is_none_or(|last| !last.contains(&reason)) {
            self.keep(reason);
        }
        Vec::from(self.0).join("\n  ")
    }
}

fn by_client(
    client: &Client,
    request: &Request<'_>,
    archive: Vec<u8>,
    name: &str,
    hear: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let Request { tag, time, .. } = *request;
    let failed = |error: io::Error| format!("`{}` cannot run: {error}", client.program);
    let mut command = client.command();
    let label = format!("{BUILT}={tag}");
    command.args(["build", "--progress", "plain", "--file", name, "--tag", tag, "--label", &label, "-"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let (sender, receiver) = mpsc::channel();
    if let (Some(mut stdin), Some(stderr)) = (child.stdin.take(), child.stderr.take()) {
        // A client that stops reading says why.
        std::thread::spawn(move || drop(stdin.write_all(&archive)));
        std::thread::spawn(move || read_lines(stderr, &sender));
    }
    let started = Instant::now();
    loop {
        match receiver.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => hear(&line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if started.elapsed() > time {
            end(&child);
            // The reason is the time, however it ended.
            let _status = child.wait();
            return Err(too_slow(time));
        }
    }
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(format!("`docker build` failed: {status}")) }
}

fn too_slow(time: Duration) -> String {
    format!("it took longer than {} seconds", time.as_secs())
}

fn read_lines(mut from: impl io::Read, to: &mpsc::Sender<String>) {
    let (mut line, mut buffer) = (Vec::new(), [0; MOST_LINE]);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        for byte in buffer.iter().take(count) {
            if *byte != b'\n' && line.len() < MOST_LINE {
                line.push(*byte);
                continue;
            }
            // Nobody listens any more after the time limit.
            let _late = to.send(String::from_utf8_lossy(&line).into_owned());
            line.clear();
        }
    }
    let _late = to.send(String::from_utf8_lossy(&line).into_owned());
}

fn by_engine(
    engine: &Connected,
    request: &Request<'_>,
    archive: Vec<u8>,
    name: &str,
    hear: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let Request { tag, time, .. } = *request;
    let labels = [(BUILT.to_owned(), tag.to_owned())].into();
    let options = BuildImageOptionsBuilder::default()
        .dockerfile(name)
        .t(tag)
        .rm(true)
        .forcerm(true)
        .labels(&labels)
        .build();
    let body = bollard::body_full(archive.into());
    let mut steps = Steps::default();
    let result = engine.wait(async {
        let mut stream = engine.docker.build_image(options, None, Some(body));
        let read = async {
            while let Some(said) = stream.next().await {
                let BuildInfo { stream, error_detail, .. } = said.map_err(|error| reason(&error))?;
                if let Some(error) = error_detail.and_then(|error| error.message) {
                    return Err(escape(&error));
                }
                let text = stream.unwrap_or_default();
                steps.hear(&text);
                hear(&text);
            }
            Ok(())
        };
        tokio::time::timeout(time, read).await.unwrap_or_else(|_| Err(too_slow(time)))
    });
    if result.is_err() {
        for id in steps.made.iter().rev() {
            let options = RemoveImageOptionsBuilder::default().noprune(true).build();
            if let Err(error) = engine.wait(engine.docker.remove_image(id, Some(options), None)) {
                tracing::debug!(%error, id, "a step of a failed build stays");
            }
        }
    }
    result
}

/// The images of steps that a build has made itself, and not found.
#[derive(Default)]
struct Steps {
    made: Vec<String>,
    /// What the next image is not made by this build for: the images of `FROM`, and of steps that are known.
    is_found: bool,
}

impl Steps {
    fn hear(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(step) = line.strip_prefix("Step ") {
                let instruction = step.split_once(" : ").map_or("", |(_, instruction)| instruction);
                self.is_found = instruction.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("from "));
            } else if let Some(told) = line.strip_prefix(" ---> ") {
                let is_id = told.len() == 12 && told.bytes().all(|byte| byte.is_ascii_hexdigit());
                if told == "Using cache" {
                    self.is_found = true;
                } else if is_id && !self.is_found {
                    self.made.push(told.to_owned());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_this_build_are_told_from_those_that_were_there() {
        let mut steps = Steps::default();
        for text in [
            "Step 1/4 : FROM a",
            "\n",
            " ---> 36a61f8fdfa0\n",
            "Step 2/4 : COPY x /x\n",
            " ---> Using cache\n",
            " ---> 2ead97794e00\n",
            "Step 3/4 : RUN true\n ---> Running in 31135fba47f0\n",
            " ---> 911c3470b06e\n",
        ] {
            steps.hear(text);
        }
        assert_eq!(steps.made, ["911c3470b06e"]);
    }

    #[test]
    fn a_failure_shows_the_last_lines() {
        let mut said = Said::default();
        for number in 0..30 {
            said.keep(number.to_string());
        }
        let text = said.with("why".to_owned());
        assert!(text.starts_with("11\n  12\n") && text.ends_with("29\n  why"), "{text}");
    }
}
