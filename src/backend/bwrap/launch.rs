//! Starts bubblewrap with its arguments on a descriptor.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use super::{Bubblewrap, FIRST_FILE};
use crate::backend::limits::Group;
use crate::backend::manifest::MANIFEST;
use crate::backend::protocol::{CONTROL, STREAMS};
use crate::backend::sandbox::{Body, Error, Given, Sandbox, Starting};
use crate::backend::sources::Sources;
use crate::plan::{INIT, Plan};
use crate::sys::{failpoint, fd, process, spawn};

/// Where bubblewrap finds its own arguments.
const ARGUMENTS: i32 = 10;

/// Generated files that a plan usually has, and some more; another bubblewrap is started for a plan with many.
const GENERATED: usize = 8;

/// A bubblewrap that waits for its arguments: the system loads it while the plan is made.
///
/// It can do nothing yet. What it sets up comes from the plan alone, and an end of its arguments before their end
/// leaves it without an init to execute, or with one that finds containment other than the manifest says.
pub struct Waiting {
    sandbox: Sandbox,
    arguments: io::PipeWriter,
    manifest: File,
    /// Of generated files.
    files: Vec<File>,
    complaints: io::PipeReader,
    /// Copies, for another bubblewrap in place of this one.
    streams: [OwnedFd; 3],
}

impl Waiting {
    /// Starts bubblewrap; `streams` become those of the command.
    pub fn start(program: &Bubblewrap, streams: [OwnedFd; 3]) -> Result<Self, Error> {
        Self::within(program, streams, &[], GENERATED)
    }

    /// Starts it by `scope`, a command line in front of its own, with room for so many generated files.
    fn within(
        program: &Bubblewrap,
        streams: [OwnedFd; 3],
        scope: &[String],
        generated: usize,
    ) -> Result<Self, Error> {
        let set_up = |what| move |error| Error::SetUp { what, error };
        let pipe = |error| Error::SetUp { what: "make a pipe", error };
        let (control, inside) = fd::message_sockets().map_err(set_up("make a control socket"))?;
        let (read, arguments) = io::pipe().map_err(pipe)?;
        let (complaints, complain) = io::pipe().map_err(pipe)?;
        let memory = || fd::memory_file(c"pier").map_err(set_up("make a memory file"));
        let manifest = memory()?;
        let files = (0..generated).map(|_| memory()).collect::<Result<Vec<_>, _>>()?;
        let mut placed =
            vec![(read.as_fd(), ARGUMENTS), (inside.as_fd(), CONTROL), (manifest.as_fd(), MANIFEST)];
        placed.extend(files.iter().map(File::as_fd).zip(FIRST_FILE..));
        placed.extend(streams.iter().map(OwnedFd::as_fd).zip(STREAMS));
        let mut words = scope.to_vec();
        words.extend([program.path.as_str(), "--args"].map(str::to_owned));
        words.push(ARGUMENTS.to_string());
        words.extend(["--", INIT, "__init", "--control"].map(str::to_owned));
        // For whoever reads a list of processes.
        words.push(std::process::id().to_string());
        #[cfg(debug_assertions)]
        if let Some(step) = failpoint::armed() {
            words.extend(["--failpoint", step].map(str::to_owned));
        }
        // The user's own manager is reached there; the sandbox's environment is another one.
        let manager = ("XDG_RUNTIME_DIR", format!("/run/user/{}", nix::unistd::geteuid()));
        let environment = if scope.is_empty() { vec![] } else { vec![manager] };
        // A process group of its own, so that the terminal's keys miss it and both bubblewraps can be killed at once;
        // `/`, because a current directory that vanishes or hangs must not matter.
        let child = spawn::spawn(&spawn::Program {
            words: &words,
            environment: &environment,
            standard_error: complain.as_fd(),
            placed: &placed,
            outlives: false,
        });
        let child = child.map_err(|error| Error::Spawn { path: program.path.to_string(), error })?;
        let sandbox = Sandbox::new(control, Body::Bubblewrap { child, idle: true });
        Ok(Waiting { sandbox, arguments, manifest, files, complaints, streams })
    }
}

/// Gives bubblewrap its arguments. What the caller has to do before the command may run can be done beside it.
pub fn start(
    plan: &Plan,
    program: &Bubblewrap,
    given: Given<'_>,
    mut waiting: Waiting,
) -> Result<Starting, Error> {
    let set_up = |what| move |error| Error::SetUp { what, error };
    let session = given.directory;
    let made = super::arguments(plan, program, given);
    let words = made.words().map_err(set_up("write the arguments"))?;
    let sources = Sources::open(plan, session)?;
    let group = Group::make(&plan.limits, session.file_name().unwrap_or_default())?;
    // Somebody may have ended it while a person was asked.
    let ended = process::ends_within(waiting.sandbox.id(), Duration::ZERO).unwrap_or(true);
    if ended || !group.scope.is_empty() || made.files.len() > waiting.files.len() {
        waiting = Waiting::within(program, waiting.streams, &group.scope, made.files.len())?;
    }
    let Waiting { mut sandbox, mut arguments, manifest, files, complaints, streams: _ } = waiting;
    // Its own from now on, so that they are removed after what has entered them.
    sandbox.group = group;
    sandbox.group.enter(sandbox.id()).map_err(set_up("enter the control groups"))?;
    failpoint::reach("launch.prepared").map_err(set_up("go on"))?;
    // At their places: the read position of the other side is the same one.
    for (file, content) in files.iter().zip(&made.files) {
        file.write_all_at(content, 0).map_err(set_up("write a generated file"))?;
    }
    sandbox.set_off();
    if arguments.write_all(&words).is_err() {
        // Only where nobody reads them: it has ended, and has said why.
        return Err(sandbox.explain(None, Some(complaints)));
    }
    drop(arguments);
    failpoint::reach("launch.spawned").map_err(set_up("go on"))?;
    // The init asks for the manifest long after bubblewrap has asked for its arguments.
    Starting::verify(sandbox, Some(complaints), sources, plan, given, &manifest)
}
