//! A supervisor of its own: it outlives the terminal it was started from, and its caller learns whether it runs.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;

use nix::pty::Winsize;

use super::place::Id;
use crate::sys::failpoint;
use crate::sys::process::{self, Ended, Forked};

/// How the supervisor came up, as its caller sees it.
#[derive(Debug, PartialEq, Eq)]
pub enum Began {
    /// The command runs in the session of this name.
    Runs(String),
    /// It did not, and the supervisor has said why; how that ended.
    Failed(Ended),
}

/// Which side of the fork this is.
pub enum Side {
    Caller(Began),
    Supervisor(Caller),
}

/// The way back to the caller.
pub struct Caller(OwnedFd);

/// Forks the supervisor, and waits on the caller's side until the command runs or it is clear that it will not.
pub fn fork() -> io::Result<Side> {
    match process::fork_away()? {
        Forked::Away { tell } => {
            failpoint::reach("detach.forked")?;
            Ok(Side::Supervisor(Caller(tell)))
        }
        Forked::Caller { child, said } => {
            let mut text = String::new();
            std::fs::File::from(said).take(64).read_to_string(&mut text)?;
            Ok(Side::Caller(match text.strip_suffix('\n') {
                Some(session) if Id::parse(session).is_some() => Began::Runs(session.to_owned()),
                _ => Began::Failed(process::wait_for(child)?),
            }))
        }
    }
}

impl Caller {
    /// Says that the command runs. From now on, what this process complains about goes to the session's output.
    pub fn tell(self, session: &Id, log: &std::fs::File) -> io::Result<()> {
        nix::unistd::dup2_stderr(log)?;
        let mut caller = std::fs::File::from(self.0);
        // A caller that has gone away has no use for the name; the session goes on.
        let _gone = caller.write_all(format!("{session}\n").as_bytes());
        Ok(())
    }
}

/// How a detached session begins.
pub struct Detached {
    pub caller: Caller,
    /// It gets a terminal of this size; without, its output is a pipe.
    pub terminal: Option<Winsize>,
}
