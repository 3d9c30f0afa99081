//! A command in a workspace: how it is brought to the init there, and how long that is waited for.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};

use super::{Body, Error, MOST_PATH, OWN, READY_WITHIN, Sandbox};
use crate::backend::docker;
use crate::backend::docker::kept::{COMMANDS, MEMORY};
use crate::backend::init::UNCONFINED;
use crate::backend::limits::Group;
use crate::backend::protocol::{self, Order};
use crate::sys::spawn;
use crate::sys::{fd, socket};
use crate::util::fs::read_bounded;

/// How long a workspace may be silent before somebody asks why; twice as long each time after that.
const SILENT: Duration = Duration::from_millis(250);

/// Where a command runs that needs no sandbox of its own.
#[derive(Clone, Copy, Debug)]
pub enum Venue<'a> {
    /// In the workspace whose init is reached in this directory.
    Workspace(&'a Utf8Path),
    /// On this host, as it is.
    Host,
}

/// Signals that are handled by descriptor, and end the wait for a workspace.
#[derive(Clone, Copy)]
pub struct Interruption<'a> {
    pub fd: BorrowedFd<'a>,
    /// Takes what has come; returns the signal that is to end this process.
    pub take: &'a dyn Fn() -> io::Result<Option<u8>>,
}

/// Why a workspace is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    Unknown,
    /// A call of pier looks at its files, and lets the time go on there when it is done.
    Looked,
    /// Somebody else has stopped the time in this container.
    Frozen {
        container: String,
    },
}

/// What is looked at while a workspace is waited for.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    pub interruption: Option<Interruption<'a>>,
    /// Asked where a workspace has been silent for a while.
    pub silence: &'a dyn Fn() -> Silence,
}

/// A wait for a sandbox.
pub(super) struct Wait<'a> {
    until: Instant,
    /// When it is asked why there is silence, and how long after that again.
    next: Instant,
    step: Duration,
    watch: Option<Watch<'a>>,
}

impl<'a> Wait<'a> {
    pub fn new(watch: Option<Watch<'a>>) -> Self {
        let (now, within) = (Instant::now(), Duration::from_millis(READY_WITHIN.into()));
        let step = if watch.is_some() { SILENT } else { within };
        Wait { until: now + within, next: now + step, step, watch }
    }

    fn interruption(&self) -> Option<Interruption<'a>> {
        self.watch.and_then(|watch| watch.interruption)
    }

    /// Waits until one of these says something, and returns which; none where signals have come instead, which are not taken.
    pub fn poll(&mut self, polled: &[PollFd<'_>]) -> Result<Vec<bool>, Error> {
        let mut all: Vec<PollFd<'_>> = Vec::new();
        all.extend(polled.iter().cloned());
        all.extend(self.interruption().map(|one| PollFd::new(one.fd, PollFlags::POLLIN)));
        loop {
            let left = self.until.min(self.next).saturating_duration_since(Instant::now());
            // Not before that time, but in the millisecond after it.
            let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
            match poll(&mut all, left) {
                Ok(0) => self.look()?,
                Ok(_) => {
                    let ready = all.iter().take(polled.len()).map(|one| one.any() == Some(true));
                    return Ok(ready.collect());
                }
                Err(Errno::EINTR) => {}
                Err(error) => {
                    return Err(Error::SetUp { what: "wait for the sandbox", error: error.into() });
                }
            }
        }
    }

    /// Takes the signals that have come: one may end the wait.
    pub fn take(&self) -> Result<(), Error> {
        let Some(interruption) = self.interruption() else { return Ok(()) };
        match (interruption.take)() {
            Ok(None) => Ok(()),
            Ok(Some(signal)) => Err(Error::Interrupted { signal }),
            Err(error) => Err(Error::SetUp { what: "take a signal", error }),
        }
    }

    /// There was no answer for a while.
    fn look(&mut self) -> Result<(), Error> {
        let Some(watch) = self.watch else { return Err(Error::TooSlow) };
        match (watch.silence)() {
            Silence::Frozen { container } => return Err(Error::Frozen { container }),
            Silence::Looked => self.until = Instant::now() + Duration::from_millis(READY_WITHIN.into()),
            Silence::Unknown if Instant::now() >= self.until => return Err(Error::Silent),
            Silence::Unknown => self.step *= 2,
        }
        self.next = Instant::now() + self.step;
        Ok(())
    }

    /// Waits until the init of a workspace sends away somebody who has nothing to say. The streams of a command that nobody takes
    /// would be open for as long as the container is frozen, and with them whatever reads from there.
    fn knock(&mut self, directory: &Utf8Path) -> Result<(), Error> {
        let guest = self.connect(directory)?;
        shutdown(guest.as_raw_fd(), Shutdown::Write)
            .map_err(|error| Error::SetUp { what: "speak with the workspace", error: error.into() })?;
        while self.poll(&[PollFd::new(guest.as_fd(), PollFlags::POLLIN)])? == [false] {
            self.take()?;
        }
        Ok(())
    }

    /// Connects to the init of a workspace, which may have as many in line as it takes.
    fn connect(&mut self, directory: &Utf8Path) -> Result<OwnedFd, Error> {
        loop {
            match socket::connect_within(directory, COMMANDS, SILENT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.take()?;
                    if Instant::now() >= self.until.min(self.next) {
                        self.look()?;
                    }
                }
                reached => {
                    return reached.map_err(|error| Error::SetUp { what: "reach the workspace", error });
                }
            }
        }
    }
}

/// Starts what runs a command on this host.
fn unconfined() -> io::Result<(OwnedFd, Body)> {
    let (ours, theirs) = fd::message_sockets()?;
    let (_said, complain) = io::pipe()?;
    let child = spawn::spawn(&spawn::Program {
        words: &[OWN.to_owned(), "__init".to_owned(), UNCONFINED.to_owned()],
        environment: &[],
        standard_error: complain.as_fd(),
        placed: &[(theirs.as_fd(), protocol::CONTROL)],
        outlives: false,
    })?;
    Ok((ours, Body::Unconfined(child)))
}

impl Sandbox {
    /// Sends a command to whoever runs it, and waits until it is ready to begin, or somebody ends that.
    pub fn visit(
        venue: Venue<'_>,
        command: &protocol::Command,
        streams: &[OwnedFd; 3],
        watch: Watch<'_>,
    ) -> Result<Self, Error> {
        let set_up = |what| move |error| Error::SetUp { what, error };
        let (control, body) = match venue {
            Venue::Workspace(directory) => {
                let mut wait = Wait::new(Some(watch));
                wait.knock(directory)?;
                (wait.connect(directory)?, Body::Guest)
            }
            Venue::Host => unconfined().map_err(set_up("start the command"))?,
        };
        let file = fd::memory_file(c"pier").map_err(set_up("make a memory file"))?;
        let text = serde_json::to_vec(command).map_err(|error| set_up("write the command")(error.into()))?;
        file.write_all_at(&text, 0).map_err(set_up("write the command"))?;
        let mut sandbox = Sandbox::new(control, body);
        if let Venue::Workspace(directory) = venue
            && let Ok(counter) = read_bounded(&directory.join(MEMORY), MOST_PATH)
            && let Ok(counter) = std::str::from_utf8(&counter)
        {
            sandbox.group = Group::counted_in(Utf8Path::new(counter));
        }
        let sent = [file.as_fd(), streams[0].as_fd(), streams[1].as_fd(), streams[2].as_fd()];
        sandbox.order(&Order::Run, &sent).map_err(set_up("speak with the workspace"))?;
        match sandbox.wait_for_ready(Some(watch)) {
            Ok(walls) => sandbox.walls = walls,
            Err(error) => return Err(error.unwrap_or(Error::Docker(docker::Error::Ended))),
        }
        Ok(sandbox)
    }

    /// Waits until there is word of a command that was told to begin, or a signal for whoever carries it on; neither is taken.
    pub fn wait_for_word(&self, watch: Watch<'_>) -> Result<(), Error> {
        let polled = [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
        Wait::new(Some(watch)).poll(&polled).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::File;

    use super::*;
    use crate::backend::protocol::{Report, Walls};

    fn nothing() -> [OwnedFd; 3] {
        let open = || File::options().read(true).write(true).open("/dev/null").unwrap().into();
        [open(), open(), open()]
    }

    /// A workspace in which nobody answers, and a word for why.
    fn visit(directory: &Utf8Path, silence: &dyn Fn() -> Silence) -> Result<Sandbox, Error> {
        let command =
            protocol::Command { argv: vec!["true".into()], environment: Vec::new(), cwd: "/".into() };
        let watch = Watch { interruption: None, silence };
        Sandbox::visit(Venue::Workspace(directory), &command, &nothing(), watch)
    }

    fn frozen() -> Silence {
        Silence::Frozen { container: "one".into() }
    }

    #[test]
    fn a_workspace_in_which_no_time_goes_by_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(directory.path()).unwrap();
        let listener = socket::listen_in(directory, COMMANDS).unwrap();
        // More than have room in its line: the last ones cannot even connect.
        let began = Instant::now();
        let line: Vec<OwnedFd> = std::iter::from_fn(|| {
            socket::connect_within(directory, COMMANDS, Duration::from_millis(10)).ok()
        })
        .take(100)
        .collect();
        assert!(!line.is_empty() && line.len() < 100, "{}", line.len());
        assert!(matches!(visit(directory, &frozen), Err(Error::Frozen { container }) if container == "one"));
        drop(line);
        while socket::accept(&listener).unwrap().is_some() {}
        assert!(matches!(visit(directory, &frozen), Err(Error::Frozen { .. })));
        // Whoever looks at its files is waited for.
        let asked = Cell::new(0);
        let looked = || {
            asked.set(asked.get() + 1);
            if asked.get() < 4 { Silence::Looked } else { frozen() }
        };
        assert!(matches!(visit(directory, &looked), Err(Error::Frozen { .. })));
        assert_eq!(asked.get(), 4);
        assert!(began.elapsed() < Duration::from_millis(READY_WITHIN.into()), "{:?}", began.elapsed());
    }

    #[test]
    fn a_workspace_that_freezes_before_a_command_begins_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(directory.path()).unwrap().to_owned();
        let listener = socket::listen_in(&directory, COMMANDS).unwrap();
        let freezes = std::thread::spawn(move || {
            loop {
                if let Some((guest, _)) = socket::accept(&listener).unwrap() {
                    socket::block(&guest).unwrap();
                    if protocol::receive::<Order>(&guest).unwrap().is_none() {
                        continue;
                    }
                    let walls = Walls { landlock: None, seccomp: false };
                    protocol::send(&guest, &Report::Ready { version: protocol::VERSION, walls }, &[])
                        .unwrap();
                    return guest;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let sandbox = visit(&directory, &|| Silence::Unknown).unwrap();
        let _guest = freezes.join().unwrap();
        let watch = Watch { interruption: None, silence: &frozen };
        let begun = sandbox.begin([true; 3], Some(watch), |_| Ok(()));
        assert!(matches!(begun, Err(Error::Frozen { .. })), "{begun:?}");
        let word = sandbox.wait_for_word(watch);
        assert!(matches!(word, Err(Error::Frozen { .. })), "{word:?}");
    }
}
