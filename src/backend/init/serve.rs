//! The init of a workspace: it stays, and starts a command for whoever connects to its socket.
//!
//! One command a connection, by the messages of every session: the guest sends the command, hears `Ready`, and says
//! `Begin`. A guest that goes away takes its command along; everything else goes on until the engine ends the container.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::Winsize;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

use super::{FIRST, refusal_of};
use crate::backend::manifest;
use crate::backend::protocol::{self, Command, Order, Refusal, Report, Walls};
use crate::sys::process::{self, Ended, Program};
use crate::sys::{socket, terminal};

/// The most guests at once; one more waits.
const MOST_GUESTS: usize = 256;

/// Time between HUP and KILL for the command of a guest that is gone.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Time between TERM and KILL for everything, when the container is to end.
const LAST_GRACE: Duration = Duration::from_millis(200);

/// Somebody on the other side of a connection.
pub(super) struct Guest {
    socket: OwnedFd,
    stage: Stage,
}

enum Stage {
    /// Nothing was said yet.
    New,
    /// Waits for the word to begin.
    Told {
        program: Program,
        streams: [OwnedFd; 3],
    },
    /// The terminal is on its way; waits until the guest has it.
    Offered {
        program: Program,
        streams: [OwnedFd; 3],
    },
    Running {
        leader: Pid,
        terminal: Option<OwnedFd>,
    },
    /// It has heard how its command ended.
    Over,
}

/// A command whose guest is gone.
struct Orphan {
    leader: Pid,
    until: Instant,
}

pub struct Server {
    listener: OwnedFd,
    walls: Walls,
    /// What every command has, unless its guest says otherwise. It is nowhere else: the engine does not know it.
    environment: Vec<(OsString, OsString)>,
    guests: Vec<Guest>,
    orphans: Vec<Orphan>,
}

impl Server {
    pub fn new(listener: OwnedFd, walls: Walls, environment: Vec<(OsString, OsString)>) -> Self {
        Server { listener, walls, environment, guests: Vec::new(), orphans: Vec::new() }
    }

    /// Serves until the container is told to end.
    pub fn serve(mut self, signals: &SignalFd) -> io::Result<u8> {
        loop {
            while let Some((pid, how)) = process::reap() {
                self.ended(pid, how);
            }
            let ready = self.wait(signals)?;
            if ready[0] && Self::must_end(signals)? {
                self.end();
                return Ok(0);
            }
            // From the back, so that what is removed moves none of the others.
            for index in (0..self.guests.len()).rev() {
                if ready.get(2 + index) == Some(&true) {
                    self.hear(index);
                }
            }
            if ready[1]
                && self.guests.len() < MOST_GUESTS
                && let Some((connection, _)) = socket::accept(&self.listener)?
            {
                socket::block(&connection)?;
                self.guests.push(Guest::new(connection));
            }
            self.end_orphans();
        }
    }

    fn wait(&self, signals: &SignalFd) -> io::Result<Vec<bool>> {
        let flags = PollFlags::POLLIN;
        let mut polled = vec![PollFd::new(signals.as_fd(), flags), PollFd::new(self.listener.as_fd(), flags)];
        if self.guests.len() >= MOST_GUESTS {
            polled[1].set_events(PollFlags::empty());
        }
        polled.extend(self.guests.iter().map(|guest| PollFd::new(guest.socket.as_fd(), flags)));
        let next = self.orphans.iter().map(|orphan| orphan.until).min();
        let timeout = next.map_or(PollTimeout::NONE, |next| {
            let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(polled.iter().map(|one| one.any().unwrap_or(true)).collect()),
            Err(error) => Err(error.into()),
        }
    }

    /// Says whether one of the signals asks for the end.
    fn must_end(signals: &SignalFd) -> io::Result<bool> {
        let mut end = false;
        while let Some(info) = signals.read_signal()? {
            end |= info.ssi_signo.cast_signed() == Signal::SIGTERM as i32;
        }
        Ok(end)
    }

    /// Ends everything: gently, then at once.
    fn end(&mut self) {
        process::signal_all(Signal::SIGTERM);
        let until = Instant::now() + LAST_GRACE;
        while Instant::now() < until {
            while let Some((pid, how)) = process::reap() {
                self.ended(pid, how);
            }
            if !process::has_children() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        process::kill_all();
        process::reap_all();
    }

    fn ended(&mut self, pid: Pid, how: Ended) {
        self.orphans.retain(|orphan| orphan.leader != pid);
        if let Some(guest) = self.guests.iter_mut().find(|guest| guest.runs(pid)) {
            guest.ended(how);
        }
    }

    /// Reads one message of a guest; one that makes no sense is sent away.
    fn hear(&mut self, index: usize) {
        if self.guests[index].hear(self.walls, &self.environment) {
            return;
        }
        if let Some(leader) = self.guests.remove(index).leave() {
            self.orphans.push(Orphan { leader, until: Instant::now() + GRACE });
        }
    }

    fn end_orphans(&mut self) {
        let now = Instant::now();
        for orphan in self.orphans.iter().filter(|orphan| orphan.until <= now) {
            process::signal_group(orphan.leader, Signal::SIGKILL as i32);
        }
        self.orphans.retain(|orphan| orphan.until > now);
    }
}

impl Guest {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Guest { socket, stage: Stage::New }
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub(super) fn runs(&self, pid: Pid) -> bool {
        matches!(self.stage, Stage::Running { leader, .. } if leader == pid)
    }

    /// Its command has ended.
    pub(super) fn ended(&mut self, how: Ended) {
        self.stage = Stage::Over;
        self.tell(&Report::Exited { id: FIRST, how });
    }

    /// Reads one message; false of a guest that is gone, or makes no sense.
    pub(super) fn hear(&mut self, walls: Walls, environment: &[(OsString, OsString)]) -> bool {
        match protocol::receive::<Order>(&self.socket) {
            Ok(Some((order, descriptors))) => self.obey(order, descriptors, walls, environment).is_ok(),
            Ok(None) | Err(_) => false,
        }
    }

    /// Asks what still runs to end, and returns it.
    pub(super) fn leave(self) -> Option<Pid> {
        let Stage::Running { leader, .. } = self.stage else { return None };
        process::signal_group(leader, Signal::SIGHUP as i32);
        process::signal_group(leader, Signal::SIGCONT as i32);
        Some(leader)
    }

    fn tell(&self, report: &Report) {
        // One that has gone away is noticed by its socket.
        let _gone = protocol::send(&self.socket, report, &[]);
    }

    fn obey(
        &mut self,
        order: Order,
        descriptors: Vec<OwnedFd>,
        walls: Walls,
        base: &[(OsString, OsString)],
    ) -> io::Result<()> {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        self.stage = match (stage, order) {
            (Stage::New, Order::Run) => {
                let (program, streams) = read(descriptors, base)?;
                self.tell(&Report::Ready { version: protocol::VERSION, walls });
                Stage::Told { program, streams }
            }
            (
                Stage::Told { program, streams },
                Order::Begin { version: protocol::VERSION, terminals: marked },
            ) if marked.contains(&true) => {
                let (master, slave) = terminal::pair()?;
                protocol::send(&self.socket, &Report::Terminal, &[master.as_fd()])?;
                let mut placed = Vec::with_capacity(3);
                for (stream, marked) in streams.into_iter().zip(marked) {
                    placed.push(if marked { slave.try_clone()? } else { stream });
                }
                let streams = placed.try_into().map_err(|_| io::Error::other("three streams were made"))?;
                Stage::Offered { program, streams }
            }
            (Stage::Told { program, streams }, Order::Begin { version: protocol::VERSION, .. })
            | (Stage::Offered { program, streams }, Order::Attached) => {
                let stage = self.start(&program, streams);
                if let (Stage::Running { leader, .. }, true) = (&stage, walls.seccomp) {
                    // This process may well be larger than any one of many: with it all of the workspace would end. One that has
                    // ended already needs nothing.
                    let _gone = process::goes_first(*leader);
                }
                stage
            }
            (Stage::Running { leader, terminal }, order) => {
                match order {
                    Order::Signal { signal, .. } => process::signal_group(leader, signal),
                    Order::Resize { rows, columns, .. } => {
                        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                        if let Some(terminal) = &terminal {
                            terminal::resize(terminal, size)?;
                        }
                    }
                    Order::Ping { count } => self.tell(&Report::Alive { count }),
                    _ => return Err(io::ErrorKind::InvalidData.into()),
                }
                Stage::Running { leader, terminal }
            }
            // What was sent before the end was heard.
            (Stage::Over, Order::Signal { .. } | Order::Resize { .. } | Order::Ping { .. }) => Stage::Over,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(())
    }

    fn start(&self, program: &Program, streams: [OwnedFd; 3]) -> Stage {
        let terminal = streams.iter().position(|stream| terminal::size(stream).is_ok());
        let standard: [BorrowedFd<'_>; 3] = [streams[0].as_fd(), streams[1].as_fd(), streams[2].as_fd()];
        let controlling = terminal.map(|index| standard[index]);
        match process::start(program, standard, controlling) {
            Ok(leader) => {
                self.tell(&Report::Started { id: FIRST });
                Stage::Running { leader, terminal: terminal.and_then(|index| streams.into_iter().nth(index)) }
            }
            Err(error) => {
                self.tell(&Report::Refused { id: FIRST, reason: refusal_of(error) });
                Stage::Over
            }
        }
    }
}

/// Reads the command, which is in a file of its own: an environment can be larger than a message.
fn read(descriptors: Vec<OwnedFd>, base: &[(OsString, OsString)]) -> io::Result<(Program, [OwnedFd; 3])> {
    let [file, input, output, error]: [OwnedFd; 4] =
        descriptors.try_into().map_err(|_| io::Error::other("four descriptors are needed"))?;
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(manifest::MOST).read_to_end(&mut bytes)?;
    let Command { argv, environment, cwd } = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
    let argv: Vec<OsString> = argv.into_iter().map(OsString::from).collect();
    let mut pairs: BTreeMap<OsString, OsString> = base.iter().cloned().collect();
    pairs.extend(environment.into_iter().map(|(name, value)| (name.into(), value.into())));
    let pairs: Vec<(OsString, OsString)> = pairs.into_iter().collect();
    Ok((Program::new(&argv, &pairs, Some(cwd.into()))?, [input, output, error]))
}

/// Says what became of a start that did not.
pub(super) fn refused(reason: &Refusal) -> u8 {
    match reason {
        Refusal::NotFound => 127,
        Refusal::CannotRun { .. } => 126,
        Refusal::SetUp { .. } => super::NOT_SET_UP,
    }
}
