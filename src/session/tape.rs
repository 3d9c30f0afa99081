//! What an agent says, kept as it says it: its terminal's output, or what goes into its pipes.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The most that is kept of one command, in bytes.
const MOST: u64 = 64 << 20;

/// How often a pipe that says nothing is asked whether its command has ended, in milliseconds.
const ROUND: u16 = 20;

/// The most that is passed on after the end of a command, in bytes.
const LAST: usize = 2 << 20;

/// A file that several streams are written to.
#[derive(Clone)]
pub struct Tape(Arc<Mutex<(File, u64)>>);

impl Tape {
    pub fn new(file: File) -> Self {
        Tape(Arc::new(Mutex::new((file, MOST))))
    }

    /// Adds what was said. What a full disk, or the bound, refuses is lost; the command goes on.
    pub fn write(&self, bytes: &[u8]) {
        let (file, left) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = bytes.get(..usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len()));
        let kept = kept.unwrap_or_default();
        *left -= kept.len() as u64;
        if let Err(error) = file.write_all(kept) {
            tracing::debug!(%error, "what an agent said is lost");
        }
    }
}

/// A pipe in the place of a stream, which goes to both.
pub struct Copied {
    thread: Option<JoinHandle<()>>,
    ended: Arc<AtomicBool>,
}

impl Copied {
    /// Returns what the command writes to instead of `stream`.
    pub fn start(stream: OwnedFd, tape: Tape) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let thread = std::thread::Builder::new()
            .name("tape".into())
            .spawn(move || copy(reader, &File::from(stream), &tape, &told))?;
        Ok((Copied { thread: Some(thread), ended }, writer.into()))
    }
}

impl Drop for Copied {
    /// What was said before the end of the command is passed on; who still holds the pipe is not waited for.
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _joined = thread.join();
        }
    }
}

fn copy(mut from: PipeReader, mut to: &File, tape: &Tape, ended: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    let mut left = LAST;
    loop {
        // Asked before the pipe is: what came before the end is there by then.
        let last = ended.load(Ordering::Acquire);
        let timeout = if last { PollTimeout::ZERO } else { PollTimeout::from(ROUND) };
        match poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) if last => return,
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        let Ok(count @ 1..) = from.read(&mut buffer) else { return };
        if last {
            // More than a pipe holds is of somebody who goes on.
            let Some(less) = left.checked_sub(count) else { return };
            left = less;
        }
        let said = buffer.get(..count).unwrap_or_default();
        tape.write(said);
        // Nobody reads it any more: the pipe closes, and the command hears of it.
        if to.write_all(said).is_err() {
            return;
        }
    }
}
