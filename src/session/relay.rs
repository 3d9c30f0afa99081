//! Between the person's terminal and the sandbox's: bytes both ways, its size, raw mode while it lasts.
//!
//! A stream that is a terminal never enters the sandbox; it gets a pty of its own. Pipes and output files go in as
//! they are, so that bytes pass untouched. An input file is fed through a pipe: by its number in `/proc/self/fd` it
//! could be opened again for writing. A directory could be walked out of, and is refused.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use camino::Utf8Path;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{isatty, pipe2, read, write};

use super::Streams;
use super::asked::Heard;
use super::tape::{Copied, Tape};
use crate::sys::fd;
use crate::sys::terminal::{self, Raw};

/// Reads of the sandbox's output before anything else has its turn: a flood must not keep a key or a signal out.
const MOST_READS: usize = 16;

/// Reads at the end, when nothing inside can write any more: more than a terminal's buffers hold.
const LAST_READS: usize = 1024;

/// Input that the sandbox has not read yet; more is left in the person's terminal.
const MOST_PENDING: usize = 64 * 1024;

pub struct Relay {
    /// Streams of this process that are terminals, until the sandbox's terminal is there.
    kept: [Option<OwnedFd>; 3],
    pty: Option<Pty>,
    feed: Option<Feed>,
    /// What is shown goes there, too.
    tape: Option<Tape>,
    /// Output that is no terminal, on its way to both.
    copied: Vec<Copied>,
    /// What came in, where that is asked for.
    heard: Option<Heard>,
}

/// A file that is the standard input, and the pipe that the command reads instead.
struct Feed {
    file: OwnedFd,
    pipe: OwnedFd,
    /// Read from the file and not yet in the pipe.
    pending: Vec<u8>,
}

struct Pty {
    master: OwnedFd,
    /// The person's terminal, for its size.
    terminal: OwnedFd,
    /// Read from; `None` where standard input is no terminal, or has ended.
    input: Option<OwnedFd>,
    output: OwnedFd,
    pending: Vec<u8>,
    raw: Option<Raw>,
    open: bool,
    tape: Option<Tape>,
}

impl Relay {
    /// Returns the relay, and the streams for the command; those that are terminals here stay here.
    pub fn new(tape: Option<Tape>) -> io::Result<(Self, Streams)> {
        let own = [fd::standard(0)?, fd::standard(1)?, fd::standard(2)?];
        let terminals = [0, 1, 2].map(|index: usize| isatty(&own[index]).unwrap_or(false));
        let kinds = [kind(&own[0])?, kind(&own[1])?, kind(&own[2])?];
        if kinds.contains(&SFlag::S_IFDIR) {
            return Err(io::Error::other("a standard stream is a directory"));
        }
        let mut kept = [None, None, None];
        let mut streams = Vec::with_capacity(3);
        for ((stream, is_terminal), kept) in own.into_iter().zip(terminals).zip(&mut kept) {
            if is_terminal {
                // Never used: the sandbox puts its own terminal there.
                streams.push(std::fs::File::open("/dev/null")?.into());
                *kept = Some(stream);
            } else {
                streams.push(stream);
            }
        }
        let mut feed = None;
        if kinds[0] == SFlag::S_IFREG {
            let (read, pipe) = pipe2(OFlag::O_CLOEXEC)?;
            fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            let file = std::mem::replace(&mut streams[0], read);
            feed = Some(Feed { file, pipe, pending: Vec::new() });
        }
        let mut streams: Streams =
            streams.try_into().map_err(|_| io::Error::other("three streams were made"))?;
        let copied = match &tape {
            Some(tape) => copied(&mut streams, terminals, tape)?,
            None => Vec::new(),
        };
        Ok((Relay { kept, pty: None, feed, tape, copied, heard: None }, streams))
    }

    /// Remembers what comes in from now on.
    pub fn listen(&mut self, place: &Utf8Path) {
        self.heard = Some(Heard::shown(place));
    }

    pub fn heard(&self) -> Option<&Heard> {
        self.heard.as_ref()
    }

    /// Returns which streams of the command are to be a terminal.
    pub fn terminals(&self) -> [bool; 3] {
        [0, 1, 2].map(|index: usize| self.kept[index].is_some())
    }

    /// Takes the other side of the sandbox's terminal: it looks like the person's from now on, which is raw.
    pub fn attach(&mut self, master: OwnedFd) -> io::Result<()> {
        let [input, output, error] = std::mem::take(&mut self.kept);
        let missing = || io::Error::other("no stream is a terminal");
        let shown = output.as_ref().or(error.as_ref()).or(input.as_ref()).ok_or_else(missing)?;
        let (terminal, output) = (shown.try_clone()?, shown.try_clone()?);
        terminal::imitate(&master, &terminal)?;
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let raw = input.as_ref().map(OwnedFd::try_clone).transpose()?.map(Raw::enter).transpose()?;
        let tape = self.tape.clone();
        self.pty = Some(Pty { master, terminal, input, output, pending: Vec::new(), raw, open: true, tape });
        Ok(())
    }

    /// Adds what to wait for, and returns the places of input, output and the fed pipe in the list.
    pub fn interests<'a>(&'a self, polled: &mut Vec<PollFd<'a>>) -> [Option<usize>; 3] {
        let feed = self.feed.as_ref().map(|feed| {
            polled.push(PollFd::new(feed.pipe.as_fd(), PollFlags::POLLOUT));
            polled.len() - 1
        });
        let Some(pty) = self.pty.as_ref().filter(|pty| pty.open) else { return [None, None, feed] };
        let input = pty.input.as_ref().filter(|_| pty.pending.len() < MOST_PENDING).map(|input| {
            polled.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
            polled.len() - 1
        });
        let mut flags = PollFlags::POLLIN;
        flags.set(PollFlags::POLLOUT, !pty.pending.is_empty());
        polled.push(PollFd::new(pty.master.as_fd(), flags));
        [input, Some(polled.len() - 1), feed]
    }

    /// Moves what is ready.
    pub fn carry(&mut self, [input, output, feed]: [bool; 3]) {
        if feed
            && let Some(feeding) = &mut self.feed
            && !feeding.give(&mut self.heard)
        {
            // The command reads the end of its input.
            self.feed = None;
        }
        let Some(pty) = &mut self.pty else { return };
        if input {
            pty.take_input(&mut self.heard);
        }
        if output {
            pty.give_input();
            pty.show(MOST_READS);
        }
    }

    pub fn resize(&self) {
        if let Some(pty) = &self.pty
            && let Ok(size) = terminal::size(&pty.terminal)
        {
            // A pty whose other side has closed has no size to set.
            let _closed = terminal::resize(&pty.master, size);
        }
    }

    /// Shows what is left and gives the terminal back.
    pub fn finish(&mut self) {
        if let Some(pty) = &mut self.pty {
            pty.show(LAST_READS);
            pty.raw = None;
        }
        self.copied.clear();
    }
}

/// Puts pipes in the places of output that is no terminal; two streams that are one file get one pipe.
fn copied(streams: &mut Streams, terminals: [bool; 3], tape: &Tape) -> io::Result<Vec<Copied>> {
    let mut all = Vec::new();
    let same = !terminals[1] && !terminals[2] && {
        let (one, other) = (fstat(&streams[1])?, fstat(&streams[2])?);
        (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
    };
    for index in [1, 2] {
        if terminals[index] {
            continue;
        }
        if index == 2 && same {
            streams[2] = streams[1].try_clone()?;
            continue;
        }
        let null = std::fs::File::open("/dev/null")?.into();
        let stream = std::mem::replace(&mut streams[index], null);
        let (copied, pipe) = Copied::start(stream, tape.clone())?;
        streams[index] = pipe;
        all.push(copied);
    }
    Ok(all)
}

fn kind(stream: &OwnedFd) -> io::Result<SFlag> {
    Ok(SFlag::from_bits_truncate(fstat(stream)?.st_mode & SFlag::S_IFMT.bits()))
}

impl Feed {
    /// Moves one part of the file; false at its end, and when nobody reads it.
    fn give(&mut self, heard: &mut Option<Heard>) -> bool {
        if self.pending.is_empty() {
            self.pending.resize(64 * 1024, 0);
            match read(&self.file, &mut self.pending) {
                Ok(length) => {
                    self.pending.truncate(length);
                    hear(heard, &self.pending);
                }
                Err(_) => return false,
            }
        }
        match write(&self.pipe, &self.pending) {
            Ok(0) => false,
            Ok(length) => {
                self.pending.drain(..length);
                true
            }
            Err(error) => matches!(error, Errno::EINTR | Errno::EAGAIN),
        }
    }
}

impl Pty {
    fn take_input(&mut self, heard: &mut Option<Heard>) {
        let Some(input) = &self.input else { return };
        let mut buffer = [0; 4096];
        match read(input, &mut buffer) {
            Ok(0) => self.input = None,
            Ok(length) => {
                self.pending.extend_from_slice(&buffer[..length]);
                hear(heard, &buffer[..length]);
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // The person's terminal is gone; the command hears of it by the supervisor's SIGHUP.
            Err(_) => self.input = None,
        }
        self.give_input();
    }

    fn give_input(&mut self) {
        while !self.pending.is_empty() {
            match write(&self.master, &self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => return self.pending.clear(),
            }
        }
    }

    /// Copies what the sandbox has written, in at most that many reads.
    fn show(&mut self, reads: usize) {
        let mut buffer = [0; 16 * 1024];
        for _ in 0..reads {
            match read(&self.master, &mut buffer) {
                Ok(length) if length > 0 && write_all(&self.output, &buffer[..length]) => {
                    if let Some(tape) = &self.tape {
                        tape.write(&buffer[..length]);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // EIO: every program inside has closed the terminal. Or nobody reads the output any more.
                Ok(_) | Err(_) => return self.open = false,
            }
        }
    }
}

fn hear(heard: &mut Option<Heard>, bytes: &[u8]) {
    if let Some(heard) = heard {
        heard.hear(bytes);
    }
}

/// Writes all bytes; false when nobody reads them any more.
fn write_all(output: &OwnedFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match write(output, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut polled = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut polled, PollTimeout::NONE).is_err_and(|error| error != Errno::EINTR) {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_ends_a_turn_at_its_bound() {
        let (master, slave) = terminal::pair().unwrap();
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let shown = tempfile::tempfile().unwrap();
        let output: OwnedFd = shown.try_clone().unwrap().into();
        let terminal = slave.try_clone().unwrap();
        let mut pty = Pty {
            master,
            terminal,
            input: None,
            output,
            pending: Vec::new(),
            raw: None,
            open: true,
            tape: None,
        };
        // Ends with the master, by an error.
        let flood = std::thread::spawn(move || while write(&slave, &[b'y'; 4096]).is_ok() {});
        let length = || shown.metadata().unwrap().len();
        // A turn of the whole bound is one that the flood would have gone on in.
        while length() < MOST_READS as u64 * 1024 {
            let before = length();
            pty.show(MOST_READS);
            assert!(pty.open && length() - before <= MOST_READS as u64 * 16 * 1024);
        }
        drop(pty);
        flood.join().unwrap();
    }
}
