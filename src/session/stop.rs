//! Ends another session: by its supervisor, or without it where it does not answer.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

use super::control::{NAME, Reply, Request};
use super::place::{all, lives};
use super::reaper;
use super::registry::Session;
use crate::backend::protocol;
use crate::sys::{process, socket};

/// A supervisor that lives answers within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What a session may take beyond the grace, to bring out what the sandbox made.
const TIDY_WITHIN: Duration = Duration::from_mins(1);

/// A killed supervisor is gone within this time.
const GONE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot ask session `{session}`: {source}")]
    Ask { session: String, source: io::Error },
    #[error("session `{session}` turned the request away")]
    TurnedAway { session: String },
    #[error("session `{session}` does not answer, and its process {pid} cannot be killed: {source}")]
    Kill { session: String, pid: u32, source: io::Error },
}

/// How a session was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It ended, with this exit code.
    Ended(u8),
    /// It was gone before it could say how.
    Gone,
    /// Its supervisor did not answer and was killed.
    Killed,
}

/// A session that was asked to end.
pub struct Asked<'a> {
    session: &'a Session,
    /// `None`: it is gone.
    socket: Option<OwnedFd>,
    grace: Duration,
}

/// Asks a session to end: TERM to the command, KILL to the sandbox after the grace.
pub fn ask<'a>(state: &Utf8Path, session: &'a Session, grace: Duration) -> Result<Asked<'a>, Error> {
    let failed = |source| Error::Ask { session: session.id.clone(), source };
    let socket = match socket::connect_in(&all(state).join(&session.id), NAME) {
        Ok(socket) => Some(socket),
        // It has ended by itself since it was listed.
        Err(_) if !lives(state, &session.id) => None,
        Err(error) => return Err(failed(error)),
    };
    if let Some(socket) = &socket {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        match protocol::send(socket, &Request::Stop { grace_ms }, &[]) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(Error::TurnedAway { session: session.id.clone() });
            }
            sent => sent.map_err(failed)?,
        }
    }
    Ok(Asked { session, socket, grace })
}

impl Asked<'_> {
    /// Waits for the end; nothing of the session runs afterwards.
    pub fn wait(self, state: &Utf8Path) -> Result<Stopped, Error> {
        let Some(socket) = &self.socket else { return Ok(Stopped::Gone) };
        match hear(socket, ANSWER_WITHIN) {
            Ok(Some(Reply::Heard)) => {}
            Ok(Some(Reply::Ended { code })) => return Ok(Stopped::Ended(code)),
            Ok(_) => return Err(Error::TurnedAway { session: self.session.id.clone() }),
            Err(_) => return self.kill(state),
        }
        match hear(socket, self.grace + TIDY_WITHIN) {
            Ok(Some(Reply::Ended { code })) => Ok(Stopped::Ended(code)),
            Ok(_) => Ok(Stopped::Gone),
            Err(_) => self.kill(state),
        }
    }

    /// Kills the supervisor, with which the kernel ends the rest, and clears what it leaves.
    fn kill(self, state: &Utf8Path) -> Result<Stopped, Error> {
        let Session { id, pid, start_time, .. } = self.session;
        let failed = |source| Error::Kill { session: id.clone(), pid: *pid, source };
        let process = process::open_process(*pid).map_err(failed)?;
        // Asked after the descriptor was opened, so that the number cannot have changed hands since.
        if process::start_time(*pid) == Some(*start_time) {
            process::kill_process(&process).map_err(failed)?;
            if !is_ready(&process, GONE_WITHIN).map_err(failed)? {
                return Err(failed(io::ErrorKind::TimedOut.into()));
            }
        }
        reaper::clear(state, usize::MAX, &|| {});
        Ok(Stopped::Killed)
    }
}

/// Returns the next reply; `None` when the other side is gone.
///
/// # Errors
/// `TimedOut` when there is none in time.
pub(super) fn hear(socket: &OwnedFd, within: Duration) -> io::Result<Option<Reply>> {
    if !is_ready(socket, within)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(protocol::receive::<Reply>(socket)?.map(|(reply, _)| reply))
}

fn is_ready(fd: &OwnedFd, within: Duration) -> io::Result<bool> {
    let end = Instant::now() + within;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
