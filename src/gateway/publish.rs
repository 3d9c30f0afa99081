//! Ports of the sandbox on the host's loopback addresses.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// Connections at a time to all ports together.
const MOST: usize = 512;

/// How long the sandbox may take to accept.
const PATIENCE: Duration = Duration::from_secs(5);

const BUFFER: usize = 16 * 1024;

/// A port that is listened to, and the one inside.
pub struct Port {
    listener: TcpListener,
    to: u16,
}

impl Port {
    /// Listens on the host.
    ///
    /// # Errors
    /// Somebody else has the port, or it is none of loopback.
    pub fn open(listen: &str, to: u16) -> io::Result<Self> {
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{listen}: {error}"));
        let address: SocketAddr = listen.parse().map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        if !address.ip().is_loopback() {
            return Err(failed(io::Error::other("it is no address of loopback")));
        }
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Port { listener, to })
    }
}

/// Makes sockets in the sandbox's network; the first argument asks for version 6.
pub type Door = Box<dyn Fn(bool) -> io::Result<OwnedFd> + Send + Sync>;

/// Carries connections from the host into the sandbox, in a thread of its own, until it is dropped.
pub struct Publisher {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    pub fn start(ports: Vec<Port>, door: Door) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let listeners = {
            let _entered = runtime.enter();
            let of = |port: Port| Ok((tokio::net::TcpListener::from_std(port.listener)?, port.to));
            ports.into_iter().map(of).collect::<io::Result<Vec<_>>>()?
        };
        let run = move || {
            runtime.block_on(async {
                let (door, room) = (Arc::new(door), Arc::new(Semaphore::new(MOST)));
                for (listener, to) in listeners {
                    tokio::spawn(accept(listener, to, Arc::clone(&door), Arc::clone(&room)));
                }
                // Dropped at the end of the session, which is as good as a word.
                let _stopped = stopped.await;
            });
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("ports".into()).spawn(run)?;
        Ok(Publisher { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that has panicked is as closed.
            let _ended = thread.join();
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, to: u16, door: Arc<Door>, room: Arc<Semaphore>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
                let door = Arc::clone(&door);
                tokio::spawn(async move {
                    if let Err(error) = carry(stream, to, &door).await {
                        tracing::debug!(%error, port = to, "a published connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Carries one connection to a program inside, which may listen on either version.
async fn carry(mut stream: TcpStream, to: u16, door: &Door) -> io::Result<()> {
    let four = connect(door, (Ipv4Addr::LOCALHOST, to).into()).await;
    let mut inside = match four {
        Ok(inside) => inside,
        Err(_) => connect(door, (Ipv6Addr::LOCALHOST, to).into()).await?,
    };
    let _plain = (stream.set_nodelay(true), inside.set_nodelay(true));
    copy_bidirectional_with_sizes(&mut stream, &mut inside, BUFFER, BUFFER).await.map(drop)
}

async fn connect(door: &Door, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = std::net::TcpStream::from(door(to.is_ipv6())?);
    socket.set_nonblocking(true)?;
    timeout(PATIENCE, TcpSocket::from_std_stream(socket).connect(to)).await?
}
