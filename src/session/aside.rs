//! A command in a workspace that no person sees: its exit code is the answer, or what it prints.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Error;
use crate::backend::protocol::{self, Command, Report};
use crate::backend::sandbox::{Sandbox, Silence, Venue, Watch};

/// A workspace: the directory in which its init is reached, and why it says nothing where it does not.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub directory: &'a Utf8Path,
    pub silence: &'a dyn Fn() -> Silence,
}

/// Runs a command for at most so long; `None` where it was ended for the time, or the workspace has ended.
pub fn run(place: Place<'_>, command: &Command, at_most: Duration) -> Result<Option<u8>, Error> {
    let set_up = |what| move |source: io::Error| Error::SetUp { what, source };
    let streams = nothing().and_then(|null| Ok([null.try_clone()?, null.try_clone()?, null]));
    let mut watched = Watched::start(place, command, streams.map_err(set_up("open /dev/null"))?, at_most)?;
    watched.end(None).map_err(set_up("hear from the workspace"))
}

/// Runs a command that prints at most so many bytes, and returns them in a file without a name.
///
/// # Errors
/// Also where it prints more.
pub fn read(
    place: Place<'_>,
    command: &Command,
    most: u64,
    at_most: Duration,
) -> Result<(Option<u8>, File), Error> {
    let set_up = |what| move |source: io::Error| Error::SetUp { what, source };
    let made = || {
        let (reader, writer) = io::pipe()?;
        let null = nothing()?;
        Ok((reader, [null.try_clone()?, writer.into(), null], tempfile::tempfile()?))
    };
    let (reader, streams, mut file) = made().map_err(set_up("make a pipe"))?;
    let mut watched = Watched::start(place, command, streams, at_most)?;
    let mut sink = Sink { reader, file: &mut file, left: most };
    let code = watched.end(Some(&mut sink)).map_err(set_up("hear from the workspace"))?;
    file.seek(SeekFrom::Start(0)).map_err(set_up("read a file"))?;
    Ok((code, file))
}

fn nothing() -> io::Result<OwnedFd> {
    Ok(File::options().read(true).write(true).open("/dev/null")?.into())
}

/// What a command prints, on its way to a file.
struct Sink<'a> {
    reader: PipeReader,
    file: &'a mut File,
    left: u64,
}

impl Sink<'_> {
    /// Takes what is there; false at its end.
    fn take(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = self.reader.read(&mut buffer)?;
        let too_much = || io::Error::other("it prints too much");
        self.left = self.left.checked_sub(count as u64).ok_or_else(too_much)?;
        self.file.write_all(buffer.get(..count).unwrap_or_default())?;
        Ok(count > 0)
    }
}

struct Watched {
    sandbox: Sandbox,
    until: Instant,
}

impl Watched {
    fn start(
        Place { directory, silence }: Place<'_>,
        command: &Command,
        streams: [OwnedFd; 3],
        at_most: Duration,
    ) -> Result<Self, Error> {
        let until = Instant::now() + at_most;
        let watch = Watch { interruption: None, silence };
        let sandbox = Sandbox::visit(Venue::Workspace(directory), command, &streams, watch)?;
        drop(streams);
        sandbox.begin([false; 3], Some(watch), |_| Ok(()))?;
        Ok(Watched { sandbox, until })
    }

    /// Waits for its end, and for that of what it prints.
    fn end(&mut self, mut sink: Option<&mut Sink<'_>>) -> io::Result<Option<u8>> {
        let mut code = None;
        loop {
            if sink.is_none() && code.is_some() {
                return Ok(code);
            }
            let timeout = PollTimeout::try_from(self.until.saturating_duration_since(Instant::now()));
            let flags = PollFlags::POLLIN;
            let mut polled = vec![PollFd::new(self.sandbox.control.as_fd(), flags)];
            polled.extend(sink.as_ref().map(|sink| PollFd::new(sink.reader.as_fd(), flags)));
            if code.is_some() {
                polled[0].set_events(PollFlags::empty());
            }
            match poll(&mut polled, timeout.unwrap_or(PollTimeout::MAX)) {
                // What it is connected by closes with this value, and its init ends it.
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let any = |index: usize| polled.get(index).and_then(PollFd::any).unwrap_or(false);
            let (said, printed) = (any(0), any(1));
            if printed
                && let Some(open) = &mut sink
                && !open.take()?
            {
                sink = None;
            }
            if said && code.is_none() {
                match protocol::receive::<Report>(&self.sandbox.control)? {
                    Some((Report::Exited { how, .. }, _)) => code = Some(how.code()),
                    Some((Report::Refused { .. }, _)) => return Ok(Some(127)),
                    Some(_) => {}
                    None => return Ok(None),
                }
            }
        }
    }
}
