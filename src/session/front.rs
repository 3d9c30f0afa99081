//! Who is in front of a session: a person at this process's own streams, or nobody, with a file and a door.

use std::io;
use std::os::fd::OwnedFd;

use camino::Utf8Path;
use nix::poll::PollFd;
use nix::pty::Winsize;

use super::Streams;
use super::asked::Asked;
use super::console::Console;
use super::relay::Relay;
use super::tape::Tape;

pub enum Front {
    Person(Box<Relay>),
    Nobody(Box<Console>),
}

impl Front {
    /// Returns the front with this process's own streams, and the streams for the command.
    pub fn person(tape: Option<Tape>) -> io::Result<(Self, Streams)> {
        let (relay, streams) = Relay::new(tape)?;
        Ok((Front::Person(Box::new(relay)), streams))
    }

    /// Returns the front of a detached session, and the streams for the command.
    pub fn nobody(state: &Utf8Path, session: &str, size: Option<Winsize>) -> io::Result<(Self, Streams)> {
        let (console, streams) = Console::new(state, session, size, None)?;
        Ok((Front::Nobody(Box::new(console)), streams))
    }

    /// Remembers what comes in from now on; `place` is the session's directory.
    pub fn listen(&mut self, place: &Utf8Path) {
        match self {
            Front::Person(relay) => relay.listen(place),
            Front::Nobody(console) => console.listen(place),
        }
    }

    /// Returns what the command was asked by its words, and by what came in.
    pub fn asked(&self, words: &[String]) -> Asked {
        let mut asked = Asked::of_words(words.iter().map(String::as_str));
        let heard = match self {
            Front::Person(relay) => relay.heard(),
            Front::Nobody(console) => console.heard(),
        };
        if let Some(heard) = heard {
            asked.add_heard(heard);
        }
        asked
    }

    /// Returns which streams of the command are to be a terminal.
    pub fn terminals(&self) -> [bool; 3] {
        match self {
            Front::Person(relay) => relay.terminals(),
            Front::Nobody(console) => console.terminals(),
        }
    }

    /// Takes the other side of the sandbox's terminal.
    pub fn attach(&mut self, master: OwnedFd) -> io::Result<()> {
        match self {
            Front::Person(relay) => relay.attach(master),
            Front::Nobody(console) => console.attach(master),
        }
    }

    /// Adds what to wait for, and returns the places of its descriptors in the list.
    pub fn interests<'a>(&'a self, polled: &mut Vec<PollFd<'a>>) -> [Option<usize>; 3] {
        match self {
            Front::Person(relay) => relay.interests(polled),
            Front::Nobody(console) => console.interests(polled),
        }
    }

    /// Moves what is ready.
    pub fn carry(&mut self, ready: [bool; 3]) {
        match self {
            Front::Person(relay) => relay.carry(ready),
            Front::Nobody(console) => console.carry(ready),
        }
    }

    /// The size of this process's own terminal has changed.
    pub fn resize(&self) {
        if let Front::Person(relay) = self {
            relay.resize();
        }
    }

    /// Shows what is left.
    pub fn finish(&mut self) {
        match self {
            Front::Person(relay) => relay.finish(),
            Front::Nobody(console) => console.finish(),
        }
    }
}
