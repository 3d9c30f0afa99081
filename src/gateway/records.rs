//! Connections on their way to the audit file: one that stood is never lost, and refusals cannot crowd it out.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::audit::Connection;

/// Records that wait to be written.
const MOST_WAITING: usize = 4096;

/// Refusals for one reason that are written one by one; of more only the number is.
const MOST_ALIKE: u64 = 16;

/// Reasons that are told apart.
const MOST_REASONS: usize = 1024;

/// Connections of one session that stand; each is written down, so that there are no more.
const MOST_STANDING: u64 = 100_000;

/// A connection that is open for so long is written down before it ends.
const LONG: Duration = Duration::from_secs(1);

/// Whom a refused connection wanted, at which port, and why it was refused.
type Reason = (Option<String>, u16, Option<String>);

/// The side of the connections.
pub struct Records {
    standing: Sender<Connection>,
    refusals: Sender<Connection>,
    /// How often which refusal was not written by itself.
    alike: Mutex<HashMap<Reason, (u64, Connection)>>,
    stood: AtomicU64,
    /// Refused connections that nothing is written of.
    unrecorded: AtomicU64,
    wake: Arc<EventFd>,
}

/// The side of whoever writes them.
pub struct Written {
    standing: Receiver<Connection>,
    refusals: Receiver<Connection>,
    wake: Arc<EventFd>,
}

pub fn pair() -> io::Result<(Records, Written)> {
    let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
    let (standing, stood) = channel(MOST_WAITING);
    let (refusals, refused) = channel(MOST_WAITING);
    let records = Records {
        standing,
        refusals,
        alike: Mutex::default(),
        stood: AtomicU64::new(0),
        unrecorded: AtomicU64::new(0),
        wake: Arc::clone(&wake),
    };
    Ok((records, Written { standing: stood, refusals: refused, wake }))
}

impl Records {
    /// Hands a connection that has ended over. One that stood waits until there is room.
    pub async fn ended(&self, connection: Connection) {
        if connection.allowed {
            // Nobody writes any more at the end of the process only.
            let _closed = self.standing.send(connection).await;
            self.wake();
        } else {
            self.refused(connection);
        }
    }

    /// Hands a refusal over; a flood of them is counted.
    pub fn refused(&self, connection: Connection) {
        let key = (connection.name.clone(), connection.port, connection.reason.clone());
        let mut alike = self.alike.lock().unwrap_or_else(PoisonError::into_inner);
        let known = alike.len();
        match alike.get_mut(&key) {
            Some((times, _)) => {
                *times += 1;
                if *times > MOST_ALIKE {
                    return;
                }
            }
            None if known < MOST_REASONS => {
                alike.insert(key, (1, connection.clone()));
            }
            None => {
                self.unrecorded.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        drop(alike);
        if self.refusals.try_send(connection).is_err() {
            self.unrecorded.fetch_add(1, Ordering::Relaxed);
        }
        self.wake();
    }

    /// Counts a connection of which nothing is known.
    pub fn unknown(&self) {
        self.unrecorded.fetch_add(1, Ordering::Relaxed);
    }

    /// Says whether one more connection may stand.
    pub fn may_stand(&self) -> bool {
        self.stood.fetch_add(1, Ordering::Relaxed) < MOST_STANDING
    }

    /// Writes a connection down if it is open for long; what is returned belongs to the connection.
    pub fn opened(self: &Arc<Self>, connection: &Connection) -> Opened {
        let records = Arc::clone(self);
        let connection = Connection { open: true, ..connection.clone() };
        Opened(tokio::spawn(async move {
            tokio::time::sleep(LONG).await;
            let _closed = records.standing.send(connection).await;
            records.wake();
        }))
    }

    /// Writes the numbers of refusals that were not written one by one.
    pub async fn sum_up(&self) {
        let alike = std::mem::take(&mut *self.alike.lock().unwrap_or_else(PoisonError::into_inner));
        for (times, connection) in alike.into_values().filter(|(times, _)| *times > MOST_ALIKE) {
            let _closed =
                self.refusals.send(Connection { times: times - MOST_ALIKE, number: 0, ..connection }).await;
        }
        self.wake();
    }

    pub fn take_unrecorded(&self) -> u64 {
        self.unrecorded.swap(0, Ordering::Relaxed)
    }

    fn wake(&self) {
        // Full means that it is awake already.
        let _awake = self.wake.write(1);
    }
}

/// An open connection; nothing is written once this is dropped.
pub struct Opened(JoinHandle<()>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Written {
    /// Returns the next record.
    pub fn next(&mut self) -> Option<Connection> {
        self.standing.try_recv().or_else(|_| self.refusals.try_recv()).ok()
    }

    /// Becomes ready when there are records; [`Written::awake`] ends that.
    pub fn ready(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes it ready although nothing new has come: not all that was there has been taken.
    pub fn again(&self) {
        let _awake = self.wake.write(1);
    }

    pub fn awake(&self) {
        // Nothing there is as good.
        let _nothing = self.wake.read();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(reason: &str) -> Connection {
        Connection {
            reason: Some(reason.to_owned()),
            ..crate::gateway::connection("198.18.1.0".parse().unwrap(), 443)
        }
    }

    #[test]
    fn a_flood_of_refusals_hides_no_connection() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (records, mut written) = pair().unwrap();
            for _ in 0..100_000 {
                records.refused(refusal("no"));
            }
            for number in 0..MOST_REASONS + 10_000 {
                records.refused(refusal(&number.to_string()));
            }
            records.ended(Connection { allowed: true, ..refusal("it broke") }).await;
            assert!(written.next().unwrap().allowed);
            let listed = std::iter::from_fn(|| written.next()).collect::<Vec<_>>();
            assert_eq!(listed.iter().filter(|one| one.reason.as_deref() == Some("no")).count(), 16);
            assert_eq!(listed.len(), 16 + MOST_REASONS - 1);
            assert_eq!(records.take_unrecorded(), 10_001);
            records.sum_up().await;
            assert_eq!(written.next().unwrap().times, 100_000 - MOST_ALIKE);
            assert!(written.next().is_none());
        });
    }
}
