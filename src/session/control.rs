//! The socket on which a session takes requests of its own user: stop, attach, resize.
//!
//! It is in the session's directory, which nobody else can enter; the kernel says who calls all the same.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use camino::Utf8Path;
use nix::poll::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};

use crate::backend::protocol;
use crate::sys::socket;

/// The name of the socket in the directory of the session.
pub const NAME: &str = "control";

/// The most callers at once; one more waits.
const MOST_CALLERS: usize = 16;

/// Before the next caller, after one that could not be admitted.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type", deny_unknown_fields)]
pub enum Request {
    /// TERM to the command, and KILL to the sandbox after the grace.
    Stop {
        grace_ms: u64,
    },
    /// A stream of bytes travels with this; it becomes the person's side of the terminal.
    Attach {
        rows: u16,
        columns: u16,
    },
    Resize {
        rows: u16,
        columns: u16,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type", deny_unknown_fields)]
pub enum Reply {
    /// The request is being carried out; more follows.
    Heard,
    /// There is nothing to attach to.
    NoTerminal,
    /// Another person has attached.
    Replaced,
    /// The session is over and nothing of it runs.
    Ended { code: u8 },
}

/// What a caller wants, or that one was turned away.
pub enum Call {
    Wants { caller: u64, request: Request, stream: Option<OwnedFd> },
    TurnedAway { user: u32 },
    Left { caller: u64 },
}

/// The listening side.
pub struct Server {
    listener: OwnedFd,
    callers: Vec<Caller>,
    /// Names the next caller.
    next: u64,
}

struct Caller {
    id: u64,
    socket: OwnedFd,
}

impl Server {
    pub fn listen(session: &Utf8Path) -> io::Result<Self> {
        Ok(Server { listener: socket::listen_in(session, NAME)?, callers: Vec::new(), next: 0 })
    }

    /// Adds what to wait for, and returns the places in the list: the callers, then the listener.
    pub fn interests<'a>(&'a self, polled: &mut Vec<PollFd<'a>>) -> Vec<usize> {
        let from = polled.len();
        polled
            .extend(self.callers.iter().map(|caller| PollFd::new(caller.socket.as_fd(), PollFlags::POLLIN)));
        if self.callers.len() < MOST_CALLERS {
            polled.push(PollFd::new(self.listener.as_fd(), PollFlags::POLLIN));
        }
        (from..polled.len()).collect()
    }

    /// Hears the callers that are ready; a new one is heard in the next round.
    pub fn hear(&mut self, ready: &[bool]) -> Vec<Call> {
        let mut calls = Vec::new();
        let mut left = Vec::new();
        for (caller, _) in self.callers.iter().zip(ready).filter(|(_, ready)| **ready) {
            let id = caller.id;
            match protocol::receive::<Request>(&caller.socket) {
                Ok(Some((request, mut descriptors))) => {
                    calls.push(Call::Wants { caller: id, request, stream: descriptors.pop() });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Gone, or not making sense.
                Ok(None) | Err(_) => left.push(id),
            }
        }
        if ready.get(self.callers.len()) == Some(&true) {
            match self.admit() {
                Ok(call) => calls.extend(call),
                // Out of descriptors, most likely: no reason to end a session, and there are some again soon.
                Err(error) => {
                    tracing::debug!(%error, "a caller cannot be admitted");
                    std::thread::sleep(PAUSE);
                }
            }
        }
        self.callers.retain(|caller| !left.contains(&caller.id));
        calls.extend(left.into_iter().map(|caller| Call::Left { caller }));
        calls
    }

    fn admit(&mut self) -> io::Result<Option<Call>> {
        let Some((socket, user)) = socket::accept(&self.listener)? else { return Ok(None) };
        if user != nix::unistd::geteuid().as_raw() {
            return Ok(Some(Call::TurnedAway { user }));
        }
        self.callers.push(Caller { id: self.next, socket });
        self.next += 1;
        Ok(None)
    }

    /// Answers one caller; one that does not read its answers is not waited for.
    pub fn tell(&self, caller: u64, reply: &Reply) {
        for Caller { socket, .. } in self.callers.iter().filter(|one| one.id == caller) {
            if let Err(error) = protocol::send(socket, reply, &[]) {
                tracing::debug!(%error, "a caller did not hear its answer");
            }
        }
    }

    /// Says to all callers that the session is over.
    pub fn farewell(self, code: u8) {
        for caller in &self.callers {
            self.tell(caller.id, &Reply::Ended { code });
        }
    }
}
