//! A person's terminal in front of a detached session, until the session ends or the person leaves.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use camino::Utf8Path;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{read, write};
use thiserror::Error;

use super::control::{NAME, Reply, Request};
use super::modes::Modes;
use super::place::all;
use super::registry::Session;
use super::stop::hear;
use crate::backend::protocol;
use crate::sys::terminal::{self, Raw};
use crate::sys::{fd, process, socket};

/// How long a session may take to open its door.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long a lone prefix key waits for the next one, in milliseconds.
const KEY_WITHIN: u16 = 500;

/// `Ctrl-]`, and what after it leaves.
const PREFIX: u8 = 0x1d;
const LEAVE: u8 = b'd';

#[derive(Debug, Error)]
pub enum Error {
    #[error("standard input and output are no terminal")]
    NoTerminalHere,
    #[error("session `{session}` has no terminal to attach to")]
    NoTerminal { session: String },
    #[error("session `{session}` turned the request away")]
    TurnedAway { session: String },
    #[error("cannot attach to session `{session}`: {source}")]
    Attach { session: String, source: io::Error },
}

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// The session is over, with this exit code.
    Ended(u8),
    /// The person left; the session goes on.
    Left,
    /// Another person came.
    Replaced,
    /// The session went away without a word.
    Lost,
}

/// Attaches this process's terminal.
pub fn attach(state: &Utf8Path, session: &Session) -> Result<Visit, Error> {
    let failed = |source| Error::Attach { session: session.id.clone(), source };
    let [input, output] = [fd::standard(0).map_err(failed)?, fd::standard(1).map_err(failed)?];
    let size = terminal::size(&output).and(terminal::size(&input)).map_err(|_| Error::NoTerminalHere)?;
    let control = socket::connect_in(&all(state).join(&session.id), NAME).map_err(failed)?;
    let (stream, theirs) = socket::byte_sockets().map_err(failed)?;
    let request = Request::Attach { rows: size.ws_row, columns: size.ws_col };
    match protocol::send(&control, &request, &[theirs.as_fd()]) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            return Err(Error::TurnedAway { session: session.id.clone() });
        }
        sent => sent.map_err(failed)?,
    }
    drop(theirs);
    match hear(&control, ANSWER_WITHIN).map_err(failed)? {
        Some(Reply::Heard) => {}
        Some(Reply::Ended { code }) => return Ok(Visit::Ended(code)),
        Some(_) => return Err(Error::NoTerminal { session: session.id.clone() }),
        None => return Err(Error::TurnedAway { session: session.id.clone() }),
    }
    let mut handled = SigSet::empty();
    for signal in [Signal::SIGWINCH, Signal::SIGHUP, Signal::SIGTERM] {
        handled.add(signal);
    }
    process::block_signals(&handled).map_err(failed)?;
    let signals = SignalFd::with_flags(&handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|errno| failed(errno.into()))?;
    let raw = Raw::enter(input.try_clone().map_err(failed)?).map_err(failed)?;
    let mut room = Room {
        control,
        stream: Some(stream),
        input,
        output,
        signals,
        keys: Keys::default(),
        modes: Modes::default(),
    };
    let visit = room.stay();
    // What the program has switched on would stay on in the person's shell.
    let _gone = room.print(&room.modes.leave().into_bytes());
    drop(raw);
    visit.map_err(failed)
}

struct Room {
    control: OwnedFd,
    stream: Option<OwnedFd>,
    input: OwnedFd,
    output: OwnedFd,
    signals: SignalFd,
    keys: Keys,
    modes: Modes,
}

impl Room {
    fn stay(&mut self) -> io::Result<Visit> {
        loop {
            let timeout = if self.keys.held { PollTimeout::from(KEY_WITHIN) } else { PollTimeout::NONE };
            let mut polled = vec![
                PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.input.as_fd(), PollFlags::POLLIN),
            ];
            polled.extend(self.stream.as_ref().map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)));
            let count = match poll(&mut polled, timeout) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let any = |index: usize| polled.get(index).and_then(PollFd::any).unwrap_or(false);
            let [control, signals, input, stream] = [any(0), any(1), any(2), any(3)];
            if count == 0 {
                let key = self.keys.let_go();
                self.send(&key)?;
            }
            // Output first: what the session said last is shown before its end.
            if stream {
                self.show()?;
            }
            if signals && self.take_signals()? {
                return Ok(Visit::Left);
            }
            if input && self.take_keys()? {
                return Ok(Visit::Left);
            }
            if control && !stream {
                match protocol::receive::<Reply>(&self.control) {
                    Ok(Some((Reply::Ended { code }, _))) => return Ok(Visit::Ended(code)),
                    Ok(Some((Reply::Replaced, _))) => return Ok(Visit::Replaced),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Ok(Visit::Lost),
                }
            }
        }
    }

    fn show(&mut self) -> io::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let mut buffer = [0; 16 * 1024];
        match read(stream, &mut buffer) {
            Ok(length @ 1..) => {
                self.modes.follow(&buffer[..length]);
                self.print(&buffer[..length])
            }
            Err(Errno::EINTR) => Ok(()),
            Ok(_) | Err(_) => {
                self.stream = None;
                Ok(())
            }
        }
    }

    fn print(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match write(&self.output, bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        while !bytes.is_empty() {
            match write(stream, bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(Errno::EINTR) => {}
                // The session is ending; it says so on the other socket.
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends what was typed; true when the person leaves.
    fn take_keys(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        match read(&self.input, &mut buffer) {
            Ok(length @ 1..) => {
                let (keys, leaves) = self.keys.take(&buffer[..length]);
                self.send(&keys)?;
                Ok(leaves)
            }
            Err(Errno::EINTR) => Ok(false),
            // The terminal is gone.
            Ok(_) | Err(_) => Ok(true),
        }
    }

    /// Passes a new size on; true when the terminal is gone or somebody ends this process.
    fn take_signals(&mut self) -> io::Result<bool> {
        while let Some(signal) = self.signals.read_signal()? {
            if signal.ssi_signo.cast_signed() != Signal::SIGWINCH as i32 {
                return Ok(true);
            }
            if let Ok(size) = terminal::size(&self.output) {
                let request = Request::Resize { rows: size.ws_row, columns: size.ws_col };
                protocol::send(&self.control, &request, &[])?;
            }
        }
        Ok(false)
    }
}

/// Finds the keys that leave among those that are for the program.
#[derive(Debug, Default)]
struct Keys {
    /// The prefix was typed, and what comes next decides.
    held: bool,
}

impl Keys {
    /// Returns what is for the program, and whether the person leaves. The prefix twice is the prefix itself.
    fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut keys = Vec::with_capacity(typed.len());
        for key in typed {
            match (std::mem::take(&mut self.held), *key) {
                (true, LEAVE) => return (keys, true),
                (true, PREFIX) => keys.push(PREFIX),
                (true, key) => keys.extend([PREFIX, key]),
                (false, PREFIX) => self.held = true,
                (false, key) => keys.push(key),
            }
        }
        (keys, false)
    }

    /// Nothing followed the prefix in time: it was meant for the program.
    fn let_go(&mut self) -> Vec<u8> {
        if std::mem::take(&mut self.held) { vec![PREFIX] } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was typed, in parts; what is for the program; whether the person left.
    type Case = (&'static [&'static [u8]], &'static [u8], bool);

    #[test]
    fn the_prefix_and_its_letter_leave_and_all_else_passes() {
        let table: [Case; 7] = [
            (&[b"abc"], b"abc", false),
            (&[b"a\x1dd"], b"a", true),
            (&[b"a\x1d", b"db"], b"a", true),
            (&[b"\x1dx"], b"\x1dx", false),
            (&[b"\x1d\x1d", b"d"], b"\x1dd", false),
            (&[b"\x1d\x1d\x1d", b"d"], b"\x1d", true),
            (&[b"d"], b"d", false),
        ];
        for (typed, expected, leaves) in table {
            let mut keys = Keys::default();
            let mut passed = Vec::new();
            let mut left = false;
            for part in typed {
                let (some, leaves) = keys.take(part);
                passed.extend(some);
                left |= leaves;
            }
            assert_eq!((passed.as_slice(), left), (expected, leaves), "{typed:?}");
        }
        let mut keys = Keys { held: true };
        assert_eq!((keys.let_go(), keys.held), (vec![PREFIX], false));
        assert_eq!(keys.let_go(), b"");
    }
}
