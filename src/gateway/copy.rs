//! Bytes on their way from one connection to another, without memory for each connection.
//!
//! All connections of a thread are read into the same memory and written from it; what a receiver does not take at once
//! is kept for it, and then nothing more is read for it.

use std::cell::RefCell;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::task::coop;

use super::budget::Charge;
use super::meter::Moved;

/// Read at a time at the most, in bytes.
const MOST: usize = 256 * 1024;

/// The same while much is kept for receivers that are slow.
const LITTLE: usize = 4 * 1024;

/// What is much, in bytes.
const MUCH: usize = 8 * 1024 * 1024;

thread_local! {
    static MEMORY: RefCell<Vec<u8>> = RefCell::new(vec![0; MOST]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

/// What bytes are counted to.
#[derive(Clone, Copy)]
pub struct Counts<'a> {
    pub charge: &'a Charge,
    pub moved: &'a Moved,
    /// Bytes that are kept for slow receivers, of all connections.
    pub kept: &'a AtomicUsize,
}

impl Counts<'_> {
    fn allowed(&self, way: Way, length: usize) -> io::Result<usize> {
        match way {
            Way::Up => self.charge.may_send(length),
            Way::Down => self.charge.may_receive(length),
        }
    }

    /// Spends what was read, so that no other connection can.
    fn read(&self, way: Way, length: usize) {
        match way {
            Way::Up => self.charge.sent(length),
            Way::Down => self.charge.received(length),
        }
        if way == Way::Down {
            self.moved.down.fetch_add(length as u64, Ordering::Relaxed);
        }
    }

    fn written(&self, way: Way, length: usize) {
        if way == Way::Up {
            self.moved.up.fetch_add(length as u64, Ordering::Relaxed);
        }
    }
}

/// Bytes that are kept, and counted as such.
struct Kept<'a> {
    bytes: Vec<u8>,
    all: &'a AtomicUsize,
}

impl<'a> Kept<'a> {
    fn new(bytes: &[u8], all: &'a AtomicUsize) -> Self {
        all.fetch_add(bytes.len(), Ordering::Relaxed);
        Kept { bytes: bytes.to_vec(), all }
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Moves everything, to the end, and passes the end on.
pub async fn copy(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    way: Way,
    counts: Counts<'_>,
) -> io::Result<()> {
    loop {
        from.readable().await?;
        match once(from, to, way, counts)? {
            ControlFlow::Break(()) => break,
            ControlFlow::Continue(None) => {}
            ControlFlow::Continue(Some(kept)) => {
                let mut rest: &[u8] = &kept.bytes;
                while !rest.is_empty() {
                    let length = to.write(rest).await?;
                    if length == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    counts.written(way, length);
                    rest = rest.get(length..).unwrap_or_default();
                }
            }
        }
        // One that is always ready leaves the others their turn.
        coop::consume_budget().await;
    }
    to.shutdown().await
}

/// Reads once and writes once; returns what could not be written, or that the end has come.
fn once<'a>(
    from: &ReadHalf<'_>,
    to: &WriteHalf<'_>,
    way: Way,
    counts: Counts<'a>,
) -> io::Result<ControlFlow<(), Option<Kept<'a>>>> {
    let now = if counts.kept.load(Ordering::Relaxed) < MUCH { MOST } else { LITTLE };
    let nothing = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock => Ok(0),
        _ => Err(error),
    };
    let now = match counts.allowed(way, now) {
        Ok(now) => now,
        // The end is no more bytes.
        Err(used_up) => {
            return match from.try_read(&mut [0]) {
                Ok(0) => Ok(ControlFlow::Break(())),
                Ok(_) => Err(used_up),
                Err(error) => nothing(error).map(|_| ControlFlow::Continue(None)),
            };
        }
    };
    MEMORY.with_borrow_mut(|memory| {
        let memory = memory.get_mut(..now).unwrap_or_default();
        let length = match from.try_read(memory) {
            Ok(0) => return Ok(ControlFlow::Break(())),
            Ok(length) => length,
            Err(error) => return nothing(error).map(|_| ControlFlow::Continue(None)),
        };
        counts.read(way, length);
        let bytes = memory.get(..length).unwrap_or_default();
        let written = to.try_write(bytes).or_else(nothing)?;
        counts.written(way, written);
        let rest = bytes.get(written..).filter(|rest| !rest.is_empty());
        Ok(ControlFlow::Continue(rest.map(|rest| Kept::new(rest, counts.kept))))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (one, listener.accept().await.unwrap().0)
    }

    #[test]
    fn a_slow_receiver_gets_everything_and_is_kept_little_for() {
        let sent: Vec<u8> = (0..32_u32 << 20).map(|number| (number % 251) as u8).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut source, mut from) = pair().await;
            let (mut to, mut sink) = pair().await;
            let (charge, moved, kept) = (Charge::default(), Moved::default(), AtomicUsize::new(0));
            let counts = Counts { charge: &charge, moved: &moved, kept: &kept };
            let mut most = 0;
            let send = async {
                source.write_all(&sent).await.unwrap();
                source.shutdown().await.unwrap();
            };
            let receive = async {
                let mut received = Vec::new();
                tokio::time::sleep(Duration::from_millis(50)).await;
                while sink.read_buf(&mut received).await.unwrap() > 0 {
                    most = kept.load(Ordering::Relaxed).max(most);
                }
                received
            };
            let (mut from, mut to) = (from.split().0, to.split().1);
            let ((), done, received) = tokio::join!(send, copy(&mut from, &mut to, Way::Up, counts), receive);
            done.unwrap();
            assert!(received == sent);
            assert!(most > 0 && most <= MOST, "{most}");
            assert_eq!(kept.load(Ordering::Relaxed), 0);
            assert_eq!(moved.up.load(Ordering::Relaxed), 32 << 20);
        });
    }

    #[test]
    fn little_is_read_while_much_is_kept() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut source, mut from) = pair().await;
            let (mut to, _sink) = pair().await;
            let (charge, moved, kept) = (Charge::default(), Moved::default(), AtomicUsize::new(MUCH));
            let counts = Counts { charge: &charge, moved: &moved, kept: &kept };
            source.write_all(&[0; 4 * LITTLE]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            let (from, to) = (from.split().0, to.split().1);
            from.readable().await.unwrap();
            assert!(once(&from, &to, Way::Down, counts).unwrap().is_continue());
            assert_eq!(moved.down.load(Ordering::Relaxed), LITTLE as u64);
        });
    }
}
