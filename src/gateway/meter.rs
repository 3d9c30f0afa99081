//! Connections with something added: bytes that were read already, or that are counted.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use super::budget::Charge;
use crate::audit::Answers;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of one connection, to the server and from it; somebody else may ask meanwhile.
#[derive(Debug, Default)]
pub struct Moved {
    pub up: AtomicU64,
    pub down: AtomicU64,
    /// Names of the secrets that went along.
    used: Mutex<BTreeSet<String>>,
    /// What models have answered.
    pub(super) models: Mutex<Answers>,
}

impl Moved {
    /// Notes secrets that go along; says whether one is new.
    pub fn uses(&self, names: Vec<String>) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let before = used.len();
        used.extend(names);
        used.len() > before
    }

    pub fn secrets(&self) -> Vec<String> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// A connection to a server, or one direction of it.
pub struct Metered<S, C> {
    stream: S,
    moved: Arc<Moved>,
    charge: C,
}

impl<S, C> Metered<S, C> {
    pub fn new(stream: S, moved: &Arc<Moved>, charge: C) -> Self {
        Metered { stream, moved: Arc::clone(moved), charge }
    }
}

impl<S: AsyncRead + Unpin, C: Borrow<Charge> + Unpin> AsyncRead for Metered<S, C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = self.charge.borrow().may_receive(buffer.remaining())?;
        let before = buffer.filled().len();
        if most == buffer.remaining() {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        } else {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
            let length = part.filled().len();
            buffer.advance(length);
        }
        let length = buffer.filled().len() - before;
        self.charge.borrow().received(length);
        self.moved.down.fetch_add(length as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, C: Borrow<Charge> + Unpin> AsyncWrite for Metered<S, C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let most = self.charge.borrow().may_send(bytes.len())?;
        let bytes = bytes.get(..most).unwrap_or_default();
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.charge.borrow().sent(written);
        self.moved.up.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection whose first bytes were read already.
pub struct Begun {
    pub first: Vec<u8>,
    pub stream: TcpStream,
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let now = self.first.len().min(buffer.remaining());
        let later = self.first.split_off(now);
        buffer.put_slice(&std::mem::replace(&mut self.first, later));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
