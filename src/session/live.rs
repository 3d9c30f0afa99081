//! A running session: one `poll` loop between the sandbox, the person, and who else asks for something.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::Winsize;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getppid, getsid};

use super::control::{Call, Reply, Request, Server};
use super::detach::Caller;
use super::front::Front;
use super::place::Id;
use super::pulse::Pulse;
use super::record::Record;
use super::space::Space;
use super::spare::Later;
use super::{Error, Outcome};
use crate::audit::Event;
use crate::backend::init::FIRST;
use crate::backend::protocol::{self, Order, Report};
use crate::backend::sandbox::{PATIENCE, Sandbox};
use crate::gateway::Gateway;
use crate::sys::{failpoint, process};

/// Connections that are written down before the others wait for another turn.
const MOST_AT_ONCE: usize = 1024;

/// Time between TERM and KILL when the wall clock of a session has run out.
const GRACE: Duration = Duration::from_secs(5);

/// Time between HUP and KILL when the terminal or the parent has gone: nobody is left to wait for.
const SHORT_GRACE: Duration = Duration::from_millis(700);

/// The longest grace that `pier stop` may ask for.
const LONGEST_GRACE: Duration = Duration::from_hours(1);

/// Two interrupts within this time are one that is meant.
const TWICE: Duration = Duration::from_secs(2);

/// What the supervisor is told from outside, by descriptors.
pub struct Outside {
    signals: SignalFd,
    /// HUP ends the session: it has a person, who did not ask for it to outlive the terminal.
    hangs_up: bool,
    /// The process that started this one, where the session ends with it.
    parent: Option<OwnedFd>,
}

impl Outside {
    /// Takes signals from a descriptor before anything starts, so that none is lost in between.
    ///
    /// A session in the foreground ends with the process that started it, as by a closed terminal. One that was
    /// started by `nohup`, as a background job of a script or in a session of its own was meant to outlive it; and so is one that
    /// is not `bound`.
    pub fn watch(detached: bool, bound: bool) -> io::Result<Self> {
        let mut handled = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGWINCH] {
            handled.add(signal);
        }
        let hangs_up = !detached && !process::is_ignored(Signal::SIGHUP);
        process::block_signals(&handled)?;
        let signals = SignalFd::with_flags(&handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let bound = bound && hangs_up && !process::is_ignored(Signal::SIGINT);
        Ok(Outside { signals, hangs_up, parent: if bound { parent() } else { None } })
    }

    /// What signals come by.
    pub fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Takes the signals that have come before there is a command: returns the one that is to end this process.
    pub fn ending(&self) -> io::Result<Option<u8>> {
        let mut ending = None;
        while let Some(info) = self.signals.read_signal()? {
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                // Its terminal is asked for its size later.
                Ok(Signal::SIGWINCH) | Err(_) => {}
                Ok(Signal::SIGHUP) if !self.hangs_up => {}
                Ok(signal) => ending = u8::try_from(signal as i32).ok(),
            }
        }
        Ok(ending)
    }
}

/// Returns the parent, unless it is in another session of processes or already gone.
fn parent() -> Option<OwnedFd> {
    let parent = getppid();
    if parent.as_raw() <= 1 || getsid(Some(parent)).ok()? != getsid(Some(Pid::from_raw(0))).ok()? {
        return None;
    }
    let opened = process::open_process(parent.as_raw().cast_unsigned()).ok()?;
    (getppid() == parent).then_some(opened)
}

pub struct Live {
    pub id: Id,
    pub sandbox: Sandbox,
    pub front: Front,
    pub outside: Outside,
    pub server: Server,
    pub record: Record,
    pub caller: Option<Caller>,
    pub gateway: Option<Gateway>,
    /// The command runs, or has run.
    pub started: bool,
    pub deadline: Option<Instant>,
    pub leaving: Option<Leaving>,
    /// The project's file system, until it is used up.
    pub space: Option<Space>,
    pub used_up: bool,
    /// Of one whose agent has logs.
    pub pulse: Option<Pulse>,
    /// What is done for other sessions once this one has run for a while.
    pub later: Option<Later>,
    pub interrupted: Option<Instant>,
    /// The caller of the control socket who is attached.
    pub guest: Option<u64>,
}

/// The command was asked to end.
pub struct Leaving {
    why: Why,
    /// When the sandbox is killed.
    until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    TimeLimit,
    Asked,
}

#[derive(Default)]
struct Ready {
    timer: bool,
    sandbox: bool,
    signals: bool,
    parent: bool,
    /// As in [`Front::interests`].
    front: [bool; 3],
    server: Vec<bool>,
}

impl Live {
    /// Carries the session to its end.
    pub fn watch(&mut self) -> Result<Outcome, Error> {
        let set_up = |what| move |source| Error::SetUp { what, source };
        loop {
            let ready = self.wait().map_err(set_up("wait for the sandbox"))?;
            if ready.timer
                && let Some(outcome) = self.out_of_time()
            {
                return Ok(outcome);
            }
            self.look_at_space();
            if let Some(pulse) = &mut self.pulse {
                pulse.beat();
            }
            if let Some(gateway) = &mut self.gateway {
                self.record.connections(gateway, MOST_AT_ONCE);
            }
            if let Some(later) = self.later.take_if(|later| later.is_due()) {
                later.run();
            }
            if ready.signals
                && let Some(outcome) = self.take_signals().map_err(set_up("pass on a signal"))?
            {
                return Ok(outcome);
            }
            if ready.parent {
                self.outside.parent = None;
                self.leave(Why::Asked, Signal::SIGHUP, SHORT_GRACE, "the end of the parent");
            }
            self.front.carry(ready.front);
            if ready.server.contains(&true) {
                self.serve(&ready.server);
            }
            if ready.sandbox
                && let Some(outcome) = self.hear()?
            {
                return Ok(outcome);
            }
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let next = self.leaving.as_ref().map(|leaving| leaving.until).or(self.deadline);
        let wake = next
            .into_iter()
            .chain(self.space.as_ref().map(Space::next))
            .chain(self.pulse.as_ref().map(Pulse::next))
            .min();
        let left = wake.map(|next| next.saturating_duration_since(Instant::now()));
        // A poll waits at most 24 days; longer limits come round again.
        let most = Duration::from_millis(i32::MAX as u64);
        let timeout = match left {
            None => PollTimeout::NONE,
            Some(left) => {
                PollTimeout::try_from(left.min(most) + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut polled = vec![
            PollFd::new(self.sandbox.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.outside.signals.as_fd(), PollFlags::POLLIN),
        ];
        let parent = self.outside.parent.as_ref().map(|parent| {
            polled.push(PollFd::new(parent.as_fd(), PollFlags::POLLIN));
            polled.len() - 1
        });
        if let Some(gateway) = &self.gateway {
            polled.push(PollFd::new(gateway.ready(), PollFlags::POLLIN));
        }
        let front = self.front.interests(&mut polled);
        let server = self.server.interests(&mut polled);
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let any = |index: usize| polled.get(index).and_then(PollFd::any).unwrap_or(false);
        Ok(Ready {
            timer: next.is_some_and(|next| next <= Instant::now()),
            sandbox: any(0),
            signals: any(1),
            parent: parent.is_some_and(any),
            front: front.map(|index| index.is_some_and(any)),
            server: server.into_iter().map(any).collect(),
        })
    }

    /// Ends a session that fills up the file system of the project, before the host has none left.
    fn look_at_space(&mut self) {
        if !self.space.as_mut().is_some_and(Space::is_used_up) {
            return;
        }
        (self.space, self.used_up) = (None, true);
        self.record.note(&Event::Limit { what: "the space of the project's file system".into() });
        self.leave(Why::Asked, Signal::SIGTERM, SHORT_GRACE, "a file system that is full");
    }

    /// Reads one report; returns how the session ended, once it has.
    fn hear(&mut self) -> Result<Option<Outcome>, Error> {
        let report = match protocol::receive::<Report>(&self.sandbox.control) {
            Ok(report) => report,
            // A peer that makes no sense is not listened to any longer; dropping the sandbox kills it.
            Err(error) => {
                tracing::warn!(%error, "the sandbox sent nonsense");
                return Ok(Some(Outcome::Lost));
            }
        };
        let why = self.leaving.as_ref().map(|leaving| leaving.why);
        Ok(match report {
            Some((Report::Started { id: FIRST }, _)) => {
                self.started = true;
                self.tell_caller()?;
                failpoint::pass("session.started");
                None
            }
            Some((Report::Refused { id: FIRST, reason }, _)) => return Err(Error::Refused(reason)),
            Some((Report::Exited { id: FIRST, how }, _)) => {
                // The init says so after it has ended and reaped all others.
                self.sandbox.emptied = true;
                self.sandbox.group.out_of_memory();
                Some(match why {
                    Some(Why::TimeLimit) => Outcome::TimeLimit,
                    Some(Why::Asked) | None => Outcome::Ended(how),
                })
            }
            Some(_) => None,
            // Also when it has not said yet that the command runs: it was told to begin, and nobody knows.
            None => Some(match why {
                Some(why) => end_of(why),
                None => Outcome::Lost,
            }),
        })
    }

    fn tell_caller(&mut self) -> Result<(), Error> {
        let (Some(caller), Front::Nobody(console)) = (self.caller.take(), &self.front) else { return Ok(()) };
        let told = caller.tell(&self.id, console.log());
        told.map_err(|source| Error::SetUp { what: "let go of the caller's terminal", source })
    }

    /// Passes signals on; a second one that is meant ends the sandbox.
    fn take_signals(&mut self) -> io::Result<Option<Outcome>> {
        failpoint::trip("session.signals")?;
        while let Some(info) = self.outside.signals.read_signal()? {
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGWINCH) => self.front.resize(),
                Ok(Signal::SIGHUP) if self.outside.hangs_up => {
                    self.leave(Why::Asked, Signal::SIGHUP, SHORT_GRACE, "the end of the terminal");
                }
                Ok(signal @ (Signal::SIGTERM | Signal::SIGINT)) => {
                    if self.is_meant(signal) {
                        self.sandbox.end(PATIENCE);
                        return Ok(Some(Outcome::Stopped));
                    }
                    self.send(signal, "a signal to pier");
                }
                Ok(signal @ Signal::SIGQUIT) => self.send(signal, "a signal to pier"),
                // A HUP that nobody minds.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Says whether a signal is one too many: TERM after any other, or INT shortly after another one.
    fn is_meant(&mut self, signal: Signal) -> bool {
        let before = self.interrupted.replace(Instant::now());
        before.is_some_and(|before| signal == Signal::SIGTERM || before.elapsed() < TWICE)
    }

    fn send(&mut self, signal: Signal, from: &str) {
        self.record.note(&Event::Signal { signal: signal as i32, from: from.to_owned() });
        if let Err(error) = self.sandbox.order(&Order::Signal { id: FIRST, signal: signal as i32 }, &[]) {
            // The sandbox has just ended: its report is the next thing to read.
            tracing::debug!(%error, %signal, "a signal found nobody");
        }
    }

    /// Asks the command to end, and has the sandbox killed after the grace; the earliest end counts.
    fn leave(&mut self, why: Why, signal: Signal, grace: Duration, from: &str) {
        self.send(signal, from);
        let until = Instant::now() + grace;
        match &mut self.leaving {
            Some(leaving) => leaving.until = leaving.until.min(until),
            None => self.leaving = Some(Leaving { why, until }),
        }
    }

    /// First TERM, then, after the grace, the end of the whole sandbox.
    fn out_of_time(&mut self) -> Option<Outcome> {
        if let Some(leaving) = &self.leaving {
            let outcome = end_of(leaving.why);
            self.sandbox.end(PATIENCE);
            return Some(outcome);
        }
        self.record.note(&Event::Limit { what: "the wall clock".into() });
        self.leave(Why::TimeLimit, Signal::SIGTERM, GRACE, "the wall clock");
        None
    }

    fn serve(&mut self, ready: &[bool]) {
        for call in self.server.hear(ready) {
            match call {
                Call::Wants { caller, request, stream } => self.carry_out(caller, &request, stream),
                Call::TurnedAway { user } => {
                    self.record.note(&Event::Denial { what: format!("user {user} at the control socket") });
                }
                Call::Left { caller } if self.guest == Some(caller) => self.part(),
                Call::Left { .. } => {}
            }
        }
    }

    fn part(&mut self) {
        self.guest = None;
        if let Front::Nobody(console) = &mut self.front {
            console.dismiss();
        }
    }

    fn carry_out(&mut self, caller: u64, request: &Request, stream: Option<OwnedFd>) {
        let winsize = |rows: u16, columns: u16| Winsize {
            ws_row: rows.max(1),
            ws_col: columns.max(1),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let reply = match (*request, &mut self.front) {
            (Request::Stop { grace_ms }, _) => {
                let grace = Duration::from_millis(grace_ms).min(LONGEST_GRACE);
                self.leave(Why::Asked, Signal::SIGTERM, grace, "pier stop");
                Reply::Heard
            }
            (Request::Attach { rows, columns }, Front::Nobody(console)) if console.terminals()[0] => {
                let welcomed = stream.map(|stream| console.welcome(stream, winsize(rows, columns)));
                if let Some(before) = self.guest.replace(caller) {
                    self.server.tell(before, &Reply::Replaced);
                }
                match welcomed {
                    Some(Ok(())) => Reply::Heard,
                    Some(Err(_)) | None => Reply::NoTerminal,
                }
            }
            (Request::Resize { rows, columns }, Front::Nobody(console)) if self.guest == Some(caller) => {
                return console.resize(winsize(rows, columns));
            }
            (Request::Attach { .. } | Request::Resize { .. }, _) => Reply::NoTerminal,
        };
        self.server.tell(caller, &reply);
    }
}

fn end_of(why: Why) -> Outcome {
    match why {
        Why::TimeLimit => Outcome::TimeLimit,
        Why::Asked => Outcome::Stopped,
    }
}
