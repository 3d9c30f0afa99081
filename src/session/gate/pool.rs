//! Directories that are still to be read, shared by the threads of a walk.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::rules::Place;

/// A directory that is still to be read.
pub struct Work {
    /// Relative to the root; empty for the root itself.
    pub path: Vec<u8>,
    pub place: Place,
    pub depth: usize,
    /// It is behind a link that stands for a directory of a known name.
    pub behind: bool,
}

impl Work {
    /// Its size in memory, in bytes.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.path.len()
    }
}

/// Hands directories from threads that have many to those that have none.
pub struct Pool {
    queue: Mutex<Queue>,
    wake: Condvar,
    hungry: AtomicUsize,
}

struct Queue {
    waiting: Vec<Work>,
    idle: usize,
    threads: usize,
}

impl Pool {
    pub fn new(top: Work, threads: usize) -> Self {
        let queue = Mutex::new(Queue { waiting: vec![top], idle: 0, threads });
        Pool { queue, wake: Condvar::new(), hungry: AtomicUsize::new(0) }
    }

    /// Waits for work; `None` when no thread has any.
    pub fn take(&self) -> Option<Work> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.idle += 1;
        self.hungry.store(queue.idle, Ordering::Relaxed);
        loop {
            if let Some(work) = queue.waiting.pop() {
                queue.idle -= 1;
                self.hungry.store(queue.idle, Ordering::Relaxed);
                return Some(work);
            }
            if queue.idle == queue.threads {
                self.wake.notify_all();
                return None;
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives the older half away, if somebody waits: those are nearer to the root and hold more.
    pub fn share(&self, pending: &mut Vec<Work>) {
        if pending.len() > 1 && self.hungry.load(Ordering::Relaxed) > 0 {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.waiting.extend(pending.drain(..pending.len() / 2));
            self.wake.notify_all();
        }
    }
}
