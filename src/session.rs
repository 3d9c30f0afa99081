//! A plan made real: state prepared, sandbox started, terminal relayed, the command's own exit code returned.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use thiserror::Error;

use crate::backend::bwrap::Bubblewrap;
use crate::backend::bwrap::launch::{self, Sandbox};
use crate::backend::init::FIRST;
use crate::backend::protocol::{self, Order, Refusal, Report};
use crate::plan::{Plan, RootFilesystem};
use crate::sys::process::{self, Ended};

mod beneath;
pub mod place;
pub mod prepare;
mod relay;
pub mod trust;

use place::Place;
use relay::Relay;

/// Time between TERM and KILL when the wall clock of a session has run out.
const GRACE: Duration = Duration::from_secs(5);

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command ran and ended.
    Ended(Ended),
    /// The wall clock of the plan ran out.
    TimeLimit,
    /// The sandbox went away under the command.
    Lost,
}

/// Why a session did not run. Only [`Error::Refused`] comes after the sandbox stood; nothing ran in any case.
#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Prepare(#[from] prepare::Error),
    #[error(transparent)]
    Launch(#[from] launch::Error),
    #[error("cannot {what}")]
    SetUp {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the command was refused inside")]
    Refused(Refusal),
}

/// What a person should hear about a session while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A limit that was asked for, not required, and that nothing on this host holds.
    NotHeld(&'static str),
    /// The kernel killed a process because the memory of the session was used up.
    OutOfMemory,
    /// The kernel has no Landlock, so the whole Nix store can be read and executed.
    StoreOpen,
}

/// What a session is started with.
pub struct Start<'a> {
    pub plan: &'a Plan,
    pub program: &'a Bubblewrap,
    /// Values of the variables that the plan only names.
    pub values: &'a BTreeMap<String, String>,
    /// pier's own state directory, where the session gets one of its own.
    pub state: &'a Utf8Path,
    pub notice: &'a dyn Fn(Notice),
}

/// Runs the plan's command to its end.
pub fn run(start: &Start<'_>) -> Result<Outcome, Error> {
    let set_up = |what| move |source| Error::SetUp { what, source };
    let Start { plan, program, values, state, notice } = *start;
    let place = Place::make(state).map_err(set_up("make a directory for the session"))?;
    prepare::prepare(plan, &place.path)?;
    // Signals are taken from a descriptor before anything starts, so that none is lost in between.
    let mut handled = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGWINCH] {
        handled.add(signal);
    }
    process::block_signals(&handled).map_err(set_up("block signals"))?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals =
        SignalFd::with_flags(&handled, flags).map_err(|errno| set_up("watch signals")(errno.into()))?;
    let (mut relay, streams) = Relay::new().map_err(set_up("set up the streams"))?;
    let sandbox = Sandbox::start(plan, program, values, &place.path, streams)?;
    tracing::debug!(session = %place.id, bubblewrap = sandbox.id(), "the sandbox is ready");
    for kind in &sandbox.group.missing {
        notice(Notice::NotHeld(kind.name()));
    }
    if matches!(plan.root, RootFilesystem::Nix { .. }) && sandbox.walls.landlock.is_none() {
        notice(Notice::StoreOpen);
    }
    let terminals = relay.terminals();
    sandbox.begin(terminals, |master| relay.attach(master)).map_err(set_up("start the command"))?;
    let limit = plan.limits.wall.map(Duration::from_secs);
    let mut live = Live {
        sandbox,
        relay,
        signals,
        started: false,
        deadline: limit.map(|limit| Instant::now() + limit),
        asked: None,
    };
    let outcome = live.watch();
    // Nothing inside writes any more once it is killed, so that what is left has an end.
    live.sandbox.kill();
    live.relay.finish();
    if live.sandbox.group.out_of_memory() {
        notice(Notice::OutOfMemory);
    }
    drop(live);
    drop(place);
    outcome
}

struct Live {
    sandbox: Sandbox,
    relay: Relay,
    signals: SignalFd,
    started: bool,
    deadline: Option<Instant>,
    /// When TERM was sent because of the deadline.
    asked: Option<Instant>,
}

impl Live {
    fn watch(&mut self) -> Result<Outcome, Error> {
        let set_up = |what| move |source| Error::SetUp { what, source };
        loop {
            let ready = self.wait().map_err(set_up("wait for the sandbox"))?;
            if ready.timer
                && let Some(outcome) = self.out_of_time()
            {
                return Ok(outcome);
            }
            if ready.signals {
                self.pass_signals().map_err(set_up("pass on a signal"))?;
            }
            self.relay.carry(ready.relay);
            if ready.control
                && let Some(outcome) = self.hear()?
            {
                return Ok(outcome);
            }
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let next = [self.deadline, self.asked.map(|asked| asked + GRACE)];
        let next = if self.asked.is_some() { next[1] } else { next[0] };
        let left = next.map(|next| next.saturating_duration_since(Instant::now()));
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
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        let relayed = self.relay.interests(&mut polled);
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let any = |index: usize| polled.get(index).and_then(PollFd::any).unwrap_or(false);
        let timer = next.is_some_and(|next| next <= Instant::now());
        Ok(Ready {
            control: any(0),
            signals: any(1),
            relay: relayed.map(|index| index.is_some_and(any)),
            timer,
        })
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
        Ok(match report {
            Some((Report::Started { id: FIRST }, _)) => {
                self.started = true;
                None
            }
            Some((Report::Refused { id: FIRST, reason }, _)) => return Err(Error::Refused(reason)),
            Some((Report::Exited { id: FIRST, how }, _)) => {
                Some(if self.asked.is_some() { Outcome::TimeLimit } else { Outcome::Ended(how) })
            }
            Some(_) => None,
            None if self.asked.is_some() => Some(Outcome::TimeLimit),
            None => Some(Outcome::Lost),
        })
    }

    fn pass_signals(&mut self) -> io::Result<()> {
        while let Some(info) = self.signals.read_signal()? {
            let signal = info.ssi_signo.cast_signed();
            if signal == Signal::SIGWINCH as i32 {
                self.relay.resize();
            } else {
                self.send(signal);
            }
        }
        Ok(())
    }

    fn send(&self, signal: i32) {
        if let Err(error) = self.sandbox.order(&Order::Signal { id: FIRST, signal }, &[]) {
            // The sandbox has just ended: its report is the next thing to read.
            tracing::debug!(%error, signal, "a signal found nobody");
        }
    }

    /// First TERM, then, after the grace, the end of the whole sandbox.
    fn out_of_time(&mut self) -> Option<Outcome> {
        if self.asked.is_some() {
            self.sandbox.kill();
            return Some(Outcome::TimeLimit);
        }
        self.send(Signal::SIGTERM as i32);
        self.asked = Some(Instant::now());
        None
    }
}

struct Ready {
    control: bool,
    signals: bool,
    /// Input from the person, output from the sandbox, room for an input file.
    relay: [bool; 3],
    timer: bool,
}

/// The three streams of a command.
type Streams = [OwnedFd; 3];
