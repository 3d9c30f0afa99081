//! What a detached session has in place of a person: a file for its output, and a terminal that people attach to.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use camino::Utf8Path;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::Winsize;
use nix::unistd::{read, write};

use super::Streams;
use super::asked::Heard;
use super::log::Log;
use super::modes::Modes;
use super::tape::Tape;
use crate::sys::socket::never_block;
use crate::sys::terminal;

/// Input that the sandbox has not read yet, in bytes.
const MOST_INPUT: usize = 64 * 1024;

/// Output that a guest has not read yet, in bytes. One that falls behind further is let go: the session never waits.
const MOST_OUTPUT: usize = 4 * 1024 * 1024;

/// Reads of one round, so that a command that floods its output keeps nobody from being heard.
const ROUNDS: usize = 16;

/// How long a guest may take to read the rest, in milliseconds.
const FAREWELL: u16 = 500;

pub struct Console {
    /// What the command writes: a pipe, or the other side of its terminal. `None` once it has ended.
    output: Option<OwnedFd>,
    size: Option<Winsize>,
    log: Log,
    modes: Modes,
    guest: Option<Guest>,
    tape: Option<Tape>,
    /// What people typed, where that is asked for.
    heard: Option<Heard>,
}

/// A person who has attached.
struct Guest {
    stream: OwnedFd,
    to_person: Vec<u8>,
    to_command: Vec<u8>,
}

impl Console {
    /// Returns the console, and the streams for the command; with a size, a terminal will be in their place.
    pub fn new(
        state: &Utf8Path,
        session: &str,
        size: Option<Winsize>,
        tape: Option<Tape>,
    ) -> io::Result<(Self, Streams)> {
        let nothing = || Ok::<OwnedFd, io::Error>(std::fs::File::open("/dev/null")?.into());
        let mut console = Console {
            output: None,
            size,
            log: Log::start(state, session)?,
            modes: Modes::default(),
            guest: None,
            tape,
            heard: None,
        };
        if size.is_some() {
            return Ok((console, [nothing()?, nothing()?, nothing()?]));
        }
        let (output, input) = io::pipe()?;
        never_block(&output)?;
        console.output = Some(output.into());
        Ok((console, [nothing()?, input.try_clone()?.into(), input.into()]))
    }

    /// Remembers what is typed from now on.
    pub fn listen(&mut self, place: &Utf8Path) {
        self.heard = Some(Heard::shown(place));
    }

    pub fn heard(&self) -> Option<&Heard> {
        self.heard.as_ref()
    }

    pub fn terminals(&self) -> [bool; 3] {
        [self.size.is_some(); 3]
    }

    /// Takes the other side of the sandbox's terminal.
    pub fn attach(&mut self, master: OwnedFd) -> io::Result<()> {
        if let Some(size) = self.size {
            terminal::resize(&master, size)?;
        }
        never_block(&master)?;
        self.output = Some(master);
        Ok(())
    }

    pub fn log(&self) -> &std::fs::File {
        self.log.file()
    }

    /// Lets a person in, in place of one who is there, and has the program draw itself anew.
    pub fn welcome(&mut self, stream: OwnedFd, size: Winsize) -> io::Result<()> {
        never_block(&stream)?;
        let to_person = self.modes.enter().into_bytes();
        self.guest = Some(Guest { stream, to_person, to_command: Vec::new() });
        if let Some(output) = &self.output {
            // A program is told of a size only when it is another one.
            let smaller = Winsize { ws_col: size.ws_col.saturating_sub(1).max(1), ..size };
            terminal::resize(output, smaller)?;
        }
        self.resize(size);
        Ok(())
    }

    pub fn resize(&self, size: Winsize) {
        if let Some(output) = self.output.as_ref().filter(|_| self.size.is_some()) {
            // A terminal whose other side has closed has no size to set.
            let _closed = terminal::resize(output, size);
        }
    }

    pub fn dismiss(&mut self) {
        self.guest = None;
    }

    /// Adds what to wait for: the output, then the guest.
    pub fn interests<'a>(&'a self, polled: &mut Vec<PollFd<'a>>) -> [Option<usize>; 3] {
        let mut add = |fd: Option<&'a OwnedFd>, flags: PollFlags| {
            polled.push(PollFd::new(fd?.as_fd(), flags));
            Some(polled.len() - 1)
        };
        let input = self.guest.as_ref().map_or(0, |guest| guest.to_command.len());
        let mut flags = PollFlags::POLLIN;
        flags.set(PollFlags::POLLOUT, input > 0);
        let output = add(self.output.as_ref(), flags);
        let guest = self.guest.as_ref();
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, input < MOST_INPUT);
        flags.set(PollFlags::POLLOUT, guest.is_some_and(|guest| !guest.to_person.is_empty()));
        [output, add(guest.map(|guest| &guest.stream), flags), None]
    }

    /// Moves what is ready.
    pub fn carry(&mut self, [output, guest, _]: [bool; 3]) {
        if guest {
            self.hear_guest();
        }
        if output {
            self.take_output(ROUNDS);
        }
        if let (Some(output), Some(guest)) = (&self.output, &mut self.guest) {
            give(output, &mut guest.to_command);
        }
        if let Some(guest) = &mut self.guest
            && (!give(&guest.stream, &mut guest.to_person) || guest.to_person.len() > MOST_OUTPUT)
        {
            self.guest = None;
        }
    }

    fn hear_guest(&mut self) {
        let Some(guest) = &mut self.guest else { return };
        let mut buffer = [0; 4096];
        match read(&guest.stream, &mut buffer) {
            Ok(length @ 1..) => {
                guest.to_command.extend_from_slice(&buffer[..length]);
                if let Some(heard) = &mut self.heard {
                    heard.hear(&buffer[..length]);
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(_) | Err(_) => self.guest = None,
        }
    }

    fn take_output(&mut self, rounds: usize) {
        let mut buffer = [0; 16 * 1024];
        for _ in 0..rounds {
            let Some(output) = &self.output else { return };
            match read(output, &mut buffer) {
                Ok(length @ 1..) => self.show(&buffer[..length]),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // EIO: every program inside has closed the terminal.
                Ok(_) | Err(_) => self.output = None,
            }
        }
    }

    fn show(&mut self, bytes: &[u8]) {
        if let Some(tape) = &self.tape {
            tape.write(bytes);
        }
        if let Err(error) = self.log.write(bytes) {
            tracing::warn!(%error, "output is lost");
        }
        if self.size.is_some() {
            self.modes.follow(bytes);
        }
        if let Some(guest) = &mut self.guest {
            guest.to_person.extend_from_slice(bytes);
        }
    }

    /// Takes what is left, and lets the guest have it. Nothing writes any more.
    pub fn finish(&mut self) {
        self.take_output(1024);
        let Some(guest) = &mut self.guest else { return };
        while give(&guest.stream, &mut guest.to_person) && !guest.to_person.is_empty() {
            let mut polled = [PollFd::new(guest.stream.as_fd(), PollFlags::POLLOUT)];
            let wait =
                PollTimeout::try_from(Duration::from_millis(FAREWELL.into())).unwrap_or(PollTimeout::ZERO);
            if poll(&mut polled, wait).is_ok_and(|ready| ready == 0) {
                break;
            }
        }
        self.guest = None;
    }
}

/// Writes what is taken now; false when nobody reads it any more.
fn give(to: &OwnedFd, pending: &mut Vec<u8>) -> bool {
    while !pending.is_empty() {
        match write(to, pending) {
            Ok(length) => drop(pending.drain(..length)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return true,
            Err(_) => {
                pending.clear();
                return false;
            }
        }
    }
    true
}
