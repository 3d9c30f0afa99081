//! The sandbox's way out: connections are accepted in its own network, decided by name, and made from here.
//!
//! The sockets were bound inside the sandbox's network namespace, whose every address leads to them; this process
//! accepts on them. There is no other way out, so that the end of this process is the end of the network.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use tokio::sync::oneshot;

use crate::audit::Connection;
use crate::policy::host::{Budget, Rule};
use crate::sys::process;

pub mod authority;
mod budget;
mod connect;
mod copy;
mod dns;
mod echo;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod hello;
mod http;
mod inspect;
mod meter;
mod names;
mod outgoing;
mod plain;
pub mod proxy;
pub mod publish;
mod records;
mod redact;
mod relay;
pub mod secrets;
mod serve;
mod target;
pub mod upstream;
mod usage;

use authority::Authority;
use records::Written;
use secrets::Secret;
use serve::Shared;
use upstream::Upstream;

/// The sockets in a sandbox's network.
#[derive(Debug)]
pub struct Sockets {
    /// Where names are asked for.
    pub dns: std::net::UdpSocket,
    /// By port.
    pub tcp: Vec<(u16, std::net::TcpListener)>,
}

/// A connection of which nothing is known but where it went.
fn connection(dialled: IpAddr, port: u16) -> Connection {
    /// A process has one session.
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Connection {
        name: None,
        dialled: dialled.to_canonical(),
        address: None,
        port,
        server_name: None,
        allowed: false,
        rule: None,
        reason: None,
        fix: None,
        secrets: Vec::new(),
        models: None,
        up: 0,
        down: 0,
        milliseconds: 0,
        open: false,
        number: NEXT.fetch_add(1, Ordering::Relaxed),
        times: 0,
    }
}

/// Descriptors for everything but connections: names that are looked up take several each.
const SPARE: usize = 256 + 4 * serve::MOST_LOOKUPS;

/// Answers about names that are kept.
const MOST_ANSWERS: u64 = 64;

/// Returns how many connections there may be with so many descriptors: each takes two.
fn connections_within(descriptors: usize) -> usize {
    (descriptors.saturating_sub(SPARE) / 2).min(serve::MOST)
}

/// What a gateway decides by, and what it knows.
pub struct Settings {
    pub rules: Vec<Rule>,
    pub budgets: Vec<Budget>,
    /// The proxy that takes allowed connections out.
    pub upstream: Option<Upstream>,
    pub authority: Authority,
    pub secrets: Vec<Secret>,
    /// The certificates that servers are believed by, as PEM.
    pub roots: Vec<u8>,
}

/// The gateway of one session, in a thread of its own.
pub struct Gateway {
    records: Written,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts to answer and to accept.
    pub fn start(sockets: Sockets, settings: Settings) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, records) = records::pair()?;
        let most = connections_within(process::raise_descriptors(2 * serve::MOST + SPARE)?);
        let (stop, stopped) = oneshot::channel::<()>();
        let resolver = {
            let _entered = runtime.enter();
            let mut builder = TokioResolver::builder_tokio().map_err(io::Error::other)?;
            // Of answers, which their servers can make large.
            builder.options_mut().cache_size = MOST_ANSWERS;
            builder.build().map_err(io::Error::other)?
        };
        let shared = Arc::new(Shared::new(settings, resolver, sender, most));
        let of_thread = Arc::clone(&shared);
        {
            let _entered = runtime.enter();
            listen(sockets, &shared)?;
        }
        let run = move || {
            runtime.block_on(async {
                let shared = of_thread;
                // Dropped at the end of the session, which is as good as a word.
                let _stopped = stopped.await;
                shared.end().await;
            });
            // What is still open is cut off.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("gateway".into()).spawn(run)?;
        Ok(Gateway { records, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the next connection to write down.
    pub fn record(&mut self) -> Option<Connection> {
        self.records.next()
    }

    /// Becomes ready when there are connections to write down.
    pub fn ready(&self) -> BorrowedFd<'_> {
        self.records.ready()
    }

    /// Has to be called where not all records were taken.
    pub fn again(&self) {
        self.records.again();
    }

    /// Has to be called before the records are taken.
    pub fn awake(&self) {
        self.records.awake();
    }

    /// Returns how many refused connections are not listed since this was asked last: there were too many.
    pub fn unrecorded(&self) -> u64 {
        self.shared.records.take_unrecorded()
    }

    /// Closes everything, and hands over what is still to be written; false where it had broken down before.
    pub fn stop(&mut self, mut write: impl FnMut(Connection)) -> bool {
        drop(self.stop.take());
        let mut held = true;
        if let Some(thread) = self.thread.take() {
            // It waits for room for its last records.
            while !thread.is_finished() {
                while let Some(record) = self.record() {
                    write(record);
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            held = thread.join().is_ok();
        }
        while let Some(record) = self.record() {
            write(record);
        }
        held
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // One that has broken down is as closed.
        let _held = self.stop(drop);
    }
}

fn listen(sockets: Sockets, shared: &Arc<Shared>) -> io::Result<()> {
    let Sockets { dns, tcp } = sockets;
    dns.set_nonblocking(true)?;
    tokio::spawn(serve::answer(tokio::net::UdpSocket::from_std(dns)?, Arc::clone(shared)));
    for (port, listener) in tcp {
        listener.set_nonblocking(true)?;
        tokio::spawn(serve::accept(tokio::net::TcpListener::from_std(listener)?, port, Arc::clone(shared)));
    }
    Ok(())
}
