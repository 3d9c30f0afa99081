//! Starts bubblewrap with its arguments on a descriptor, and speaks with the init inside.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::Duration;

use camino::Utf8PathBuf;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};
use thiserror::Error;

use super::sources::{self, Sources};
use super::{Bubblewrap, FIRST_FILE, Given};
use crate::backend::limits::{self, Group};
use crate::backend::manifest::{MANIFEST, Manifest};
use crate::backend::protocol::{self, CONTROL, Order, Report, STREAMS, Walls};
use crate::plan::{INIT, NetworkMode, Plan};
use crate::sys::spawn::{self, Child};
use crate::sys::{failpoint, fd, process};

/// Where bubblewrap finds its own arguments.
const ARGUMENTS: i32 = 10;

/// Generated files that a plan usually has, and some more; another bubblewrap is started for a plan with many.
const GENERATED: usize = 8;

/// How long bubblewrap and the init may take to get ready, in milliseconds.
const READY_WITHIN: u16 = 20_000;

/// How long the init may take to end everything by itself.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// Weaker walls than namespaces and filters are never enough, whatever is asked for.
const LEAST_TIER: u8 = 2;

/// How long bubblewrap may take to notice that all inside has ended.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// The most that is read of bubblewrap's own complaints, in bytes.
const MOST_COMPLAINT: u64 = 8 * 1024;

/// Why a sandbox does not run. Nothing ran inside.
#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot start `{path}`")]
    Spawn {
        path: String,
        #[source]
        error: io::Error,
    },
    #[error("bubblewrap refused the sandbox: {said}")]
    Refused { said: String },
    #[error("cannot {what}")]
    SetUp {
        what: &'static str,
        #[source]
        error: io::Error,
    },
    #[error("the sandbox was not ready within {} seconds", READY_WITHIN / 1000)]
    TooSlow,
    #[error(transparent)]
    Source(#[from] sources::Error),
    #[error(transparent)]
    Limit(#[from] limits::Error),
    #[error("the sandbox is not what it should be: {what}")]
    NotContained { what: String },
    #[error("the walls of this host reach tier {stands}, and tier {wanted} is asked for")]
    Tier { stands: u8, wanted: u8 },
    #[error("the sandbox speaks version {theirs} of the control protocol, and pier {}", protocol::VERSION)]
    Version { theirs: u32 },
}

/// A running bubblewrap whose init is ready; nothing has run inside yet.
pub struct Sandbox {
    pub control: OwnedFd,
    /// What stands besides the namespaces.
    pub walls: Walls,
    /// Control groups; removed after the last process has ended.
    pub group: Group,
    child: Child,
    /// Bubblewrap still waits for its arguments: nothing of it but itself is there.
    idle: bool,
    /// All inside has ended and was waited for: the init has said so.
    pub emptied: bool,
    /// Whether it was proven that all of it had ended, once it was ended.
    ended: Option<bool>,
}

/// Returns the inodes of this process's namespaces that the sandbox must not share.
fn namespaces(plan: &Plan) -> io::Result<BTreeMap<String, u64>> {
    let shared = plan.network.mode == NetworkMode::Host;
    let names =
        ["user", "mnt", "pid", "ipc", "uts", "net"].into_iter().filter(|name| !(shared && *name == "net"));
    names
        .map(|name| Ok((name.to_owned(), fs_err::metadata(format!("/proc/self/ns/{name}"))?.ino())))
        .collect()
}

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
        });
        let child = child.map_err(|error| Error::Spawn { path: program.path.to_string(), error })?;
        let (walls, group) = (Walls { landlock: None, seccomp: false }, Group::default());
        let sandbox = Sandbox { control, child, walls, group, idle: true, emptied: false, ended: None };
        Ok(Waiting { sandbox, arguments, manifest, files, complaints, streams })
    }
}

/// A bubblewrap that sets up its sandbox.
pub struct Starting {
    sandbox: Sandbox,
    complaints: io::PipeReader,
    /// Open until the init has compared.
    _sources: Sources,
    /// The lowest tier that is enough.
    wanted: u8,
}

impl Starting {
    /// Control groups that were made for it.
    pub fn groups(&self) -> Vec<Utf8PathBuf> {
        self.sandbox.group.directories().to_vec()
    }

    /// Waits for the sandbox's network, where it has a gateway.
    pub fn network(mut self) -> Result<(Self, OwnedFd), Error> {
        let network = match self.sandbox.hear() {
            Ok((Report::Network, mut descriptors)) => descriptors.pop().ok_or(None),
            Ok((Report::NotContained { what }, _)) => {
                Err(Some(Error::NotContained { what: crate::util::text::escape(&what) }))
            }
            Ok(_) => Err(None),
            Err(error) => Err(error),
        };
        match network {
            Ok(network) => Ok((self, network)),
            Err(error) => Err(self.sandbox.explain(error, self.complaints)),
        }
    }

    /// Waits until the init reports that containment stands.
    pub fn ready(mut self) -> Result<Sandbox, Error> {
        match self.sandbox.wait_for_ready() {
            Ok(walls) if walls.tier() < self.wanted => {
                self.sandbox.kill();
                Err(Error::Tier { stands: walls.tier(), wanted: self.wanted })
            }
            Ok(walls) => {
                self.sandbox.walls = walls;
                Ok(self.sandbox)
            }
            Err(error) => Err(self.sandbox.explain(error, self.complaints)),
        }
    }
}

impl Sandbox {
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
        sandbox.idle = false;
        if arguments.write_all(&words).is_err() {
            // Only where nobody reads them: it has ended, and has said why.
            return Err(sandbox.explain(None, complaints));
        }
        drop(arguments);
        failpoint::reach("launch.spawned").map_err(set_up("go on"))?;
        // The init asks for it long after bubblewrap has asked for its arguments.
        let namespaces = namespaces(plan).map_err(set_up("look at the namespaces"))?;
        let text = serde_json::to_vec(&Manifest::of(plan, &sources.identities, namespaces));
        let text = text.map_err(|error| set_up("write the manifest")(error.into()))?;
        manifest.write_all_at(&text, 0).map_err(set_up("write the manifest"))?;
        // Where there is nobody any more, the wait for the answer finds out why.
        let _gone = sandbox.order(&Order::Verify, &[]);
        let wanted = plan.limits.minimum_tier.unwrap_or(LEAST_TIER).max(LEAST_TIER);
        Ok(Starting { sandbox, complaints, _sources: sources, wanted })
    }

    fn wait_for_ready(&mut self) -> Result<Walls, Option<Error>> {
        match self.hear()? {
            (Report::Ready { version: protocol::VERSION, walls }, _) => Ok(walls),
            (Report::Ready { version, .. }, _) => Err(Some(Error::Version { theirs: version })),
            (Report::NotContained { what }, _) => {
                Err(Some(Error::NotContained { what: crate::util::text::escape(&what) }))
            }
            _ => Err(None),
        }
    }

    /// Waits for what the init has to say; no error of its own where bubblewrap has said why there is none.
    fn hear(&mut self) -> Result<(Report, Vec<OwnedFd>), Option<Error>> {
        let set_up = |what| move |error: io::Error| Some(Error::SetUp { what, error });
        // A child of a killed bubblewrap can wait for its word for ever, with the socket open.
        let process = process::open_process(self.child.id()).map_err(set_up("watch bubblewrap"))?;
        let flags = PollFlags::POLLIN;
        let mut polled = [PollFd::new(self.control.as_fd(), flags), PollFd::new(process.as_fd(), flags)];
        let ready = poll(&mut polled, PollTimeout::from(READY_WITHIN)).map_err(io::Error::from);
        if ready.map_err(set_up("wait for the sandbox"))? == 0 {
            return Err(Some(Error::TooSlow));
        }
        let is_ready = |index: usize| polled[index].any() == Some(true);
        let (said, ended) = (is_ready(0), is_ready(1));
        // What an init has said before it ended is why it ended.
        if ended && !said {
            return Err(None);
        }
        let heard = protocol::receive::<Report>(&self.control).map_err(set_up("hear from the sandbox"))?;
        match heard {
            Some((Report::Ready { .. } | Report::Network, _)) if ended => Err(None),
            // Gone, or not making sense.
            None => Err(None),
            Some(heard) => Ok(heard),
        }
    }

    /// Ends a sandbox that did not get ready and returns the best reason there is.
    fn explain(mut self, error: Option<Error>, complaints: io::PipeReader) -> Error {
        self.kill();
        let mut said = Vec::new();
        let read = complaints.take(MOST_COMPLAINT).read_to_end(&mut said);
        match (error, read) {
            (Some(error), _) => error,
            (None, Err(error)) => Error::SetUp { what: "hear from bubblewrap", error },
            (None, Ok(_)) => {
                let said = String::from_utf8_lossy(&said);
                let said = said.trim().trim_start_matches("bwrap: ");
                let said = if said.is_empty() { "it ended without a reason" } else { said };
                Error::Refused { said: crate::util::text::escape(said) }
            }
        }
    }

    /// Lets the command start, with a terminal of the sandbox in place of the marked streams.
    ///
    /// `attach` gets the terminal's other side before the command has it.
    pub fn begin(
        &self,
        terminals: [bool; 3],
        attach: impl FnOnce(OwnedFd) -> io::Result<()>,
    ) -> io::Result<()> {
        self.order(&Order::Begin { version: protocol::VERSION, terminals }, &[])?;
        if terminals.contains(&true) {
            let report = protocol::receive::<Report>(&self.control)?;
            let Some((Report::Terminal, mut descriptors)) = report else {
                return Err(io::Error::other("the sandbox made no terminal"));
            };
            attach(descriptors.pop().ok_or_else(|| io::Error::other("the sandbox sent no terminal"))?)?;
            self.order(&Order::Attached, &[])?;
        }
        Ok(())
    }

    pub fn order(&self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        protocol::send(&self.control, order, descriptors)
    }

    /// Ends the sandbox; true when it is proven that nothing of it runs any longer.
    ///
    /// The init ends everything when its supervisor leaves. Bubblewrap waits for the init, and that one has not ended
    /// before the kernel has ended all others of its namespace: killing bubblewrap itself proves nothing. `patience`
    /// is how long the sandbox may take to end by itself.
    pub fn end(&mut self, patience: Duration) -> bool {
        if let Some(proven) = self.ended {
            return proven;
        }
        // The other side may have closed already, which is as good.
        let _closed = shutdown(self.control.as_raw_fd(), Shutdown::Both);
        if self.idle {
            process::kill_group(self.child.id());
        }
        let ends_within = |time| process::ends_within(self.child.id(), time).unwrap_or(false);
        let proven = self.emptied || ends_within(patience) || {
            process::kill_children(self.child.id());
            ends_within(ENDS_WITHIN)
        };
        // Not waited for before this is dropped, so that the number is still that of its process group.
        process::kill_group(self.child.id());
        self.ended = Some(proven);
        proven
    }

    /// Ends the sandbox at once.
    pub fn kill(&mut self) {
        self.end(Duration::ZERO);
    }

    /// Process id of bubblewrap on the host.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill();
        // Nobody else waits for this child, so that this cannot fail.
        let _ended = self.child.wait();
    }
}
