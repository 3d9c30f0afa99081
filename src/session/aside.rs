//! A command in a workspace that no person sees: its streams lead nowhere, and its exit code is the answer.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Error;
use crate::backend::protocol::{self, Command, Report};
use crate::backend::sandbox::{Sandbox, Venue};

/// Runs a command for at most so long; `None` where it was ended for the time, or the workspace has ended.
pub fn run(directory: &Utf8Path, command: &Command, at_most: Duration) -> Result<Option<u8>, Error> {
    let set_up = |what| move |source: io::Error| Error::SetUp { what, source };
    let end = Instant::now() + at_most;
    let streams = nothing().map_err(set_up("open /dev/null"))?;
    let sandbox = Sandbox::visit(Venue::Workspace(directory), command, &streams)?;
    drop(streams);
    sandbox.begin([false; 3], |_| Ok(())).map_err(set_up("start the command"))?;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(sandbox.control.as_fd(), PollFlags::POLLIN)], timeout) {
            // What it is connected by closes with this value, and its init ends it.
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(set_up("hear from the workspace")(error.into())),
        }
        let heard = protocol::receive::<Report>(&sandbox.control);
        match heard.map_err(set_up("hear from the workspace"))? {
            Some((Report::Exited { how, .. }, _)) => return Ok(Some(how.code())),
            Some((Report::Refused { .. }, _)) => return Ok(Some(127)),
            Some(_) => {}
            None => return Ok(None),
        }
    }
}

fn nothing() -> io::Result<[OwnedFd; 3]> {
    let null =
        || io::Result::Ok(OwnedFd::from(std::fs::File::options().read(true).write(true).open("/dev/null")?));
    Ok([null()?, null()?, null()?])
}
