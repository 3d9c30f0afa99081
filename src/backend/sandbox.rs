//! A sandbox whose init answers, whatever engine made it: how it is started, spoken with and ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{Shutdown, shutdown};
use thiserror::Error;

use super::bwrap::{self, Bubblewrap};
use super::docker::beside::Beside;
use super::docker::launch::Container;
use super::docker::{self, Engine};
use super::join;
use super::limits::{self, Group};
use super::manifest::Manifest;
use super::protocol::{self, Order, Report, Walls};
use super::sources::{self, Sources};
use crate::gateway::Sockets;
use crate::gateway::authority::Bundle;
use crate::gateway::publish::Door;
use crate::plan::{CertificateForm, NetworkMode, Plan};
use crate::sys::process;
use crate::sys::spawn::Child;

mod guest;

use guest::Wait;
pub use guest::{Interruption, Silence, Venue, Watch};

/// How long an engine and the init may take to get ready, in milliseconds.
pub const READY_WITHIN: u16 = 20_000;

/// How long the init may take to end everything by itself.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// Weaker walls than namespaces and filters are never enough, whatever is asked for.
const LEAST_TIER: u8 = 2;

/// How long an engine may take to notice that all inside has ended.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// The most that the path of a file holds, in bytes.
const MOST_PATH: u64 = 4096;

/// The most that is read of an engine's own complaints, in bytes.
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
    #[error(transparent)]
    Docker(#[from] docker::Error),
    #[error("cannot {what}")]
    SetUp {
        what: &'static str,
        #[source]
        error: io::Error,
    },
    #[error("the sandbox was not ready within {} seconds", READY_WITHIN / 1000)]
    TooSlow,
    #[error("the workspace has not answered, and the wait for it was ended")]
    Interrupted { signal: u8 },
    #[error("the workspace has not answered within {} seconds", READY_WITHIN / 1000)]
    Silent,
    #[error("the container of the workspace is paused, so that nothing goes on there")]
    Frozen { container: String },
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

/// What makes sandboxes on this host.
#[derive(Clone, Debug)]
pub enum Program {
    Bubblewrap(Bubblewrap),
    Docker(Engine),
}

/// What a session adds to its plan.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// Values of variables that the plan only names.
    pub values: &'a BTreeMap<String, String>,
    /// What is believed inside, where there is a gateway.
    pub bundle: Option<&'a Bundle>,
    /// Its own directory on the host.
    pub directory: &'a Utf8Path,
}

impl Given<'_> {
    /// Returns what a file of certificates holds; a printed plan has a word instead.
    pub fn certificates(&self, form: CertificateForm) -> &[u8] {
        let content = self.bundle.and_then(|bundle| match form {
            CertificateForm::Pem => Some(bundle.pem.as_slice()),
            CertificateForm::Java => bundle.java.as_deref(),
        });
        content.unwrap_or(b"(the certificates of the host and of the session)")
    }
}

/// What is there before the plan is made, with the streams of the command.
pub enum Waiting {
    Bubblewrap(Box<bwrap::launch::Waiting>),
    /// A container is made at once when everything about it is known.
    Docker([OwnedFd; 3]),
}

impl Waiting {
    pub fn start(program: &Program, streams: [OwnedFd; 3]) -> Result<Self, Error> {
        Ok(match program {
            Program::Bubblewrap(program) => {
                Waiting::Bubblewrap(Box::new(bwrap::launch::Waiting::start(program, streams)?))
            }
            Program::Docker(_) => Waiting::Docker(streams),
        })
    }
}

/// A sandbox whose init is ready; nothing has run inside yet.
pub struct Sandbox {
    pub control: OwnedFd,
    /// What stands besides the namespaces.
    pub walls: Walls,
    /// Control groups; removed after the last process has ended.
    pub group: Group,
    body: Body,
    /// All inside has ended and was waited for: the init has said so.
    pub emptied: bool,
    /// Whether it was proven that all of it had ended, once it was ended.
    ended: Option<bool>,
}

/// What the engine made.
pub(super) enum Body {
    Bubblewrap {
        child: Child,
        /// It still waits for its arguments: nothing of it but itself is there.
        idle: bool,
    },
    Container(Box<Container>),
    /// A command in a workspace, which goes on.
    Guest,
    /// A command on this host, without walls, and what started it.
    Unconfined(Child),
}

/// A sandbox that is being set up.
pub struct Starting {
    sandbox: Sandbox,
    complaints: Option<io::PipeReader>,
    /// Open until the init has compared.
    _sources: Sources,
    /// The lowest tier that is enough.
    wanted: u8,
}

impl Starting {
    /// Tells the init what it must find; what the caller has to do before the command may run can be done beside it.
    pub(super) fn verify(
        sandbox: Sandbox,
        complaints: Option<io::PipeReader>,
        sources: Sources,
        plan: &Plan,
        given: Given<'_>,
        manifest: &File,
    ) -> Result<Self, Error> {
        let set_up = |what| move |error| Error::SetUp { what, error };
        let namespaces = namespaces(plan, &sandbox.body).map_err(set_up("look at the namespaces"))?;
        let expected = Manifest::of(plan, &sources.identities, namespaces, given.values);
        let text =
            serde_json::to_vec(&expected).map_err(|error| set_up("write the manifest")(error.into()))?;
        manifest.write_all_at(&text, 0).map_err(set_up("write the manifest"))?;
        // Where there is nobody any more, the wait for the answer finds out why.
        let _gone = sandbox.order(&Order::Verify, &[]);
        let wanted = plan.limits.minimum_tier.unwrap_or(LEAST_TIER).max(LEAST_TIER);
        Ok(Starting { sandbox, complaints, _sources: sources, wanted })
    }

    /// Its first process, where this host has a descriptor of it.
    pub fn process(&self) -> Option<BorrowedFd<'_>> {
        match &self.sandbox.body {
            Body::Container(container) => Some(container.process().as_fd()),
            Body::Bubblewrap { .. } | Body::Guest | Body::Unconfined(_) => None,
        }
    }

    /// Where the kernel counts what it kills in there for lack of memory.
    pub fn counter(&self) -> Option<&Utf8Path> {
        self.sandbox.group.counter()
    }

    /// Control groups that were made for it.
    pub fn groups(&self) -> Vec<Utf8PathBuf> {
        self.sandbox.group.directories().to_vec()
    }

    /// Waits for the sandbox's network, where it has a gateway.
    pub fn network(self, plan: &Plan, session: &Utf8Path) -> Result<(Self, Network), Error> {
        let network = match self.sandbox.hear(None) {
            Ok((Report::Network, mut descriptors)) => descriptors.pop().ok_or(None),
            Ok((Report::NotContained { what }, _)) => {
                Err(Some(Error::NotContained { what: crate::util::text::escape(&what) }))
            }
            Ok(_) => Err(None),
            Err(error) => Err(error),
        };
        match network {
            Ok(namespace) => {
                let network = match &self.sandbox.body {
                    Body::Bubblewrap { .. } => Network::Namespace(namespace),
                    Body::Container(container) => Network::Container(container.beside(plan, session)),
                    Body::Guest | Body::Unconfined(_) => return Err(Error::Docker(docker::Error::Ended)),
                };
                Ok((self, network))
            }
            Err(error) => Err(self.sandbox.explain(error, self.complaints)),
        }
    }

    /// Waits until the init reports that containment stands.
    pub fn ready(mut self) -> Result<Sandbox, Error> {
        match self.sandbox.wait_for_ready(None) {
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

/// Where the gateway's sockets are made.
pub enum Network {
    Namespace(OwnedFd),
    /// An engine's namespaces are entered by its own hand only.
    Container(Beside),
}

impl Network {
    /// Returns sockets for these ports, and for names.
    pub fn sockets(&self, ports: &[u16]) -> io::Result<Sockets> {
        match self {
            Network::Namespace(namespace) => join::sockets(OWN, namespace.as_fd(), ports),
            Network::Container(beside) => beside.sockets(ports),
        }
    }

    /// Returns a socket to what makes sockets there until it is closed: for [`join::door_on`] in another process.
    pub fn open_door(&self) -> io::Result<OwnedFd> {
        match self {
            Network::Namespace(_) => Err(io::ErrorKind::Unsupported.into()),
            Network::Container(beside) => beside.open_door(),
        }
    }

    /// Returns what makes sockets there, for as long as it is kept.
    pub fn door(&self) -> io::Result<Door> {
        match self {
            Network::Namespace(namespace) => join::door(OWN, namespace.as_fd()),
            Network::Container(beside) => beside.door(),
        }
    }
}

/// The program that runs, even where its file was replaced meanwhile.
const OWN: &str = "/proc/self/exe";

/// Returns the inodes of this process's namespaces that the sandbox must not share.
fn namespaces(plan: &Plan, body: &Body) -> io::Result<BTreeMap<String, u64>> {
    let shared = plan.network.mode == NetworkMode::Host;
    // An engine with root's rights makes containers in the host's own user namespace.
    let users = matches!(body, Body::Bubblewrap { .. });
    let names = ["user", "mnt", "pid", "ipc", "uts", "net"].into_iter();
    let names = names.filter(|name| !(shared && *name == "net") && (users || *name != "user"));
    names
        .map(|name| Ok((name.to_owned(), fs_err::metadata(format!("/proc/self/ns/{name}"))?.ino())))
        .collect()
}

impl Sandbox {
    /// Starts what the plan describes, from what was there before it.
    pub fn start(
        plan: &Plan,
        program: &Program,
        given: Given<'_>,
        waiting: Waiting,
    ) -> Result<Starting, Error> {
        match (program, waiting) {
            (Program::Bubblewrap(program), Waiting::Bubblewrap(waiting)) => {
                bwrap::launch::start(plan, program, given, *waiting)
            }
            (Program::Docker(engine), Waiting::Docker(streams)) => {
                docker::launch::start(plan, engine, given, &streams)
            }
            _ => Err(Error::SetUp { what: "start the sandbox", error: io::ErrorKind::InvalidInput.into() }),
        }
    }

    pub(super) fn new(control: OwnedFd, body: Body) -> Self {
        let (walls, group) = (Walls { landlock: None, seccomp: false }, Group::default());
        Sandbox { control, body, walls, group, emptied: false, ended: None }
    }

    /// Bubblewrap has its arguments, and sets up.
    pub(super) fn set_off(&mut self) {
        if let Body::Bubblewrap { idle, .. } = &mut self.body {
            *idle = false;
        }
    }

    fn wait_for_ready(&mut self, watch: Option<Watch<'_>>) -> Result<Walls, Option<Error>> {
        match self.hear(watch)? {
            (Report::Ready { version: protocol::VERSION, walls }, _) => Ok(walls),
            (Report::Ready { version, .. }, _) => Err(Some(Error::Version { theirs: version })),
            (Report::NotContained { what }, _) => {
                Err(Some(Error::NotContained { what: crate::util::text::escape(&what) }))
            }
            _ => Err(None),
        }
    }

    /// Waits for what the init has to say; no error of its own where the engine has said why there is none.
    fn hear(&self, watch: Option<Watch<'_>>) -> Result<(Report, Vec<OwnedFd>), Option<Error>> {
        let set_up = |what| move |error: io::Error| Some(Error::SetUp { what, error });
        // A child of a killed bubblewrap can wait for its word for ever, with the socket open.
        let opened;
        let process = match &self.body {
            Body::Bubblewrap { child, .. } => {
                opened = process::open_process(child.id()).map_err(set_up("watch the sandbox"))?;
                &opened
            }
            Body::Container(container) => container.process(),
            // Its init closes the connection when it ends.
            Body::Guest | Body::Unconfined(_) => &self.control,
        };
        let flags = PollFlags::POLLIN;
        let (mut said, mut ended) = (false, false);
        let mut wait = Wait::new(watch);
        while !said && !ended {
            let mut polled = [PollFd::new(self.control.as_fd(), flags), PollFd::new(process.as_fd(), flags)];
            if matches!(self.body, Body::Guest | Body::Unconfined(_)) {
                polled[1].set_events(PollFlags::empty());
            }
            let ready = wait.poll(&polled)?;
            (said, ended) = (ready[0], ready[1]);
            if !said && !ended {
                wait.take()?;
            }
        }
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
    pub(super) fn explain(mut self, error: Option<Error>, complaints: Option<io::PipeReader>) -> Error {
        self.kill();
        if let Some(error) = error {
            return error;
        }
        let Some(complaints) = complaints else {
            return Error::Docker(docker::Error::Ended);
        };
        let mut said = Vec::new();
        if let Err(error) = complaints.take(MOST_COMPLAINT).read_to_end(&mut said) {
            return Error::SetUp { what: "hear from bubblewrap", error };
        }
        let said = String::from_utf8_lossy(&said);
        let said = said.trim().trim_start_matches("bwrap: ");
        let said = if said.is_empty() { "it ended without a reason" } else { said };
        Error::Refused { said: crate::util::text::escape(said) }
    }

    /// Lets the command start, with a terminal of the sandbox in place of the marked streams.
    ///
    /// `attach` gets the terminal's other side before the command has it.
    pub fn begin(
        &self,
        terminals: [bool; 3],
        watch: Option<Watch<'_>>,
        attach: impl FnOnce(OwnedFd) -> io::Result<()>,
    ) -> Result<(), Error> {
        let set_up = |error| Error::SetUp { what: "start the command", error };
        self.order(&Order::Begin { version: protocol::VERSION, terminals }, &[]).map_err(set_up)?;
        if terminals.contains(&true) {
            let none = || set_up(io::Error::other("the sandbox made no terminal"));
            let (report, mut descriptors) = self.hear(watch).map_err(|error| error.unwrap_or_else(none))?;
            let terminal = descriptors.pop().filter(|_| matches!(report, Report::Terminal));
            attach(terminal.ok_or_else(none)?).map_err(set_up)?;
            self.order(&Order::Attached, &[]).map_err(set_up)?;
        }
        Ok(())
    }

    pub fn order(&self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        protocol::send(&self.control, order, descriptors)
    }

    /// Ends the sandbox; true when it is proven that nothing of it runs any longer.
    ///
    /// The init ends everything when its supervisor leaves. It has not ended before the kernel has ended all others of
    /// its namespace. `patience` is how long the sandbox may take to end by itself.
    pub fn end(&mut self, patience: Duration) -> bool {
        if let Some(proven) = self.ended {
            return proven;
        }
        // The other side may have closed already, which is as good.
        let _closed = shutdown(self.control.as_raw_fd(), Shutdown::Both);
        let proven = match &self.body {
            Body::Bubblewrap { child, idle } => {
                // Bubblewrap waits for the init: killing bubblewrap itself proves nothing.
                if *idle {
                    process::kill_group(child.id());
                }
                let ends_within = |time| process::ends_within(child.id(), time).unwrap_or(false);
                let proven = self.emptied || ends_within(patience) || {
                    process::kill_children(child.id());
                    ends_within(ENDS_WITHIN)
                };
                // Not waited for before this is dropped, so that the number is still that of its process group.
                process::kill_group(child.id());
                proven
            }
            // The init of the workspace ends a command whose guest is gone.
            Body::Guest => true,
            // Only what has left its process group can still run.
            Body::Unconfined(child) => child.wait().is_ok(),
            Body::Container(container) => {
                self.emptied || container.ends_within(patience) || {
                    container.kill();
                    container.ends_within(ENDS_WITHIN)
                }
            }
        };
        self.ended = Some(proven);
        proven
    }

    /// Lets it go on without this process.
    pub fn release(mut self) {
        self.ended = Some(false);
    }

    /// Ends the sandbox at once.
    pub fn kill(&mut self) {
        self.end(Duration::ZERO);
    }

    /// Process id on the host of what holds the sandbox: bubblewrap, or the init of a container.
    pub fn id(&self) -> u32 {
        match &self.body {
            Body::Bubblewrap { child, .. } => child.id(),
            Body::Container(container) => container.id(),
            Body::Guest | Body::Unconfined(_) => std::process::id(),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill();
        if let Body::Bubblewrap { child, .. } = &self.body {
            // Nobody else waits for this child, so that this cannot fail.
            let _ended = child.wait();
        }
    }
}
