//! A connection to a server, which ends with this process: nothing that the kernel still holds goes out afterwards.
//!
//! With a linger time of zero, a close resets the connection and drops what is not yet sent (`socket(7)`, `tcp(7)`): that
//! is what the kernel does for a process that is killed. Every other end comes by `drop`, which takes the zero back.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// A connection that is reset where this process is killed.
#[derive(Debug)]
pub struct Outgoing(TcpStream);

impl Outgoing {
    /// Takes over a connection that stands, and has it send small pieces at once.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
        Ok(Outgoing(stream))
    }

    /// Borrows both directions.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        self.0.split()
    }
}

/// Connects to a server.
pub async fn connect(to: SocketAddr) -> io::Result<Outgoing> {
    Outgoing::new(TcpStream::connect(to).await?)
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let usual = setsockopt(&self.0, sockopt::Linger, &libc::linger { l_onoff: 0, l_linger: 0 });
        if let Err(error) = usual {
            tracing::debug!(%error, "the last bytes of a connection may be lost");
        }
    }
}

impl AsyncRead for Outgoing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Outgoing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd as _;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// What a server that begins to read late gets of a connection whose buffers are full.
    fn received(end: fn(Outgoing)) -> (usize, io::Result<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (sent, mut server) = runtime.block_on(async {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().unwrap();
            let mut outgoing = Outgoing::new(stream).unwrap();
            let (mut sent, chunk) = (0, vec![7; 64 * 1024]);
            while let Ok(Ok(length)) =
                tokio::time::timeout(Duration::from_millis(200), outgoing.write(&chunk)).await
            {
                sent += length;
            }
            end(outgoing);
            (sent, server)
        });
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut all = Vec::new();
        let read = server.read_to_end(&mut all).map(|_| all.len());
        (sent, read)
    }

    #[test]
    fn an_ordinary_end_delivers_everything_and_the_end_of_the_process_nothing_more() {
        let (sent, read) = received(drop);
        assert_eq!(read.unwrap(), sent);
        // The kernel closes the sockets of a process that is killed, and runs no `drop`.
        let (_, read) = received(|outgoing| {
            let number = outgoing.0.as_raw_fd();
            std::mem::forget(outgoing);
            nix::unistd::close(number).unwrap();
        });
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
