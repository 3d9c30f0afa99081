//! The connections of one session: whom each wants, whether that is allowed, and the bytes of those that are.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional_with_sizes,
};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::count::Counted;
use super::hello::{self, Hello};
use super::http::{self, Body, Chunks, Head, Request};
use super::names::Names;
use super::{connection, dns};
use crate::audit::Connection;
use crate::policy::address;
use crate::policy::host::{Decision, HostName, Rule, decide};
use crate::sys::network::{self, Route};

/// How long a client may take to say whom it wants, and a server to be reached.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection on which nothing moves for so long is over.
const IDLE: Duration = Duration::from_mins(15);

/// How long, and how many times, a client that was refused is listened to.
const DRAIN: Duration = Duration::from_secs(1);
const MOST_DRAINED: usize = 16;

/// How long the last records may take.
const LAST: Duration = Duration::from_millis(500);

/// Connections at a time at the most; more are closed at once.
pub const MOST: usize = 4096;

/// Pieces in which a client may say whom it wants.
const MOST_READS: usize = 256;

/// Of each direction of a connection, in bytes.
const BUFFER: usize = 16 * 1024;

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;

/// What all connections of a session share.
pub struct Shared {
    pub rules: Vec<Rule>,
    pub names: Mutex<Names>,
    pub resolver: TokioResolver,
    records: SyncSender<Connection>,
    /// Connections that nobody was there to write down.
    unrecorded: AtomicU64,
    open: Semaphore,
    /// How many there may be.
    most: usize,
    /// Becomes true at the end of the session.
    ended: watch::Sender<bool>,
}

impl Shared {
    pub fn new(
        rules: Vec<Rule>,
        resolver: TokioResolver,
        records: SyncSender<Connection>,
        most: usize,
    ) -> Self {
        Shared {
            names: Mutex::new(Names::of(&rules)),
            rules,
            resolver,
            records,
            unrecorded: AtomicU64::new(0),
            open: Semaphore::new(most),
            most,
            ended: watch::Sender::new(false),
        }
    }

    /// Cuts off what is still open, and waits until all of it is recorded.
    pub async fn end(&self) {
        self.ended.send_replace(true);
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        // Too late is better than never: the session has ended.
        let _recorded = timeout(LAST, self.open.acquire_many(all)).await;
    }

    pub fn take_unrecorded(&self) -> u64 {
        self.unrecorded.swap(0, Ordering::Relaxed)
    }

    fn record(&self, record: Connection) {
        if self.records.try_send(record).is_err() {
            self.unrecorded.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers questions for names until the socket goes away.
pub async fn answer(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = [0; dns::MOST];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                let answer = dns::answer(buffer.get(..length).unwrap_or_default(), &mut shared.names());
                if let Some(answer) = answer {
                    // One that does not arrive is asked for again.
                    let _lost = socket.send_to(&answer, from).await;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a question cannot be read");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Accepts connections to a port until the socket goes away.
pub async fn accept(listener: TcpListener, port: u16, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(permit) = shared.open.try_acquire() else {
                    shared.unrecorded.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                // Given back by the task, which cannot borrow it.
                permit.forget();
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    serve(stream, port, &shared).await;
                    shared.open.add_permits(1);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: the others go on meanwhile.
                tracing::debug!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Why a connection is not made.
struct Refused {
    name: Option<String>,
    rule: Option<String>,
    why: String,
    /// A line of `pier.kdl` would allow it.
    fix: Option<String>,
}

impl Refused {
    fn because(name: Option<&HostName>, why: impl Into<String>) -> Self {
        let name = name.map(ToString::to_string);
        Refused { name, rule: None, why: why.into(), fix: None }
    }
}

/// A connection that is allowed and stands.
struct Made {
    name: HostName,
    rule: String,
    upstream: TcpStream,
    address: SocketAddr,
}

/// Bytes of one connection, to the server and from it.
#[derive(Default)]
struct Moved {
    up: AtomicU64,
    down: AtomicU64,
}

async fn serve(mut stream: TcpStream, port: u16, shared: &Shared) {
    let began = Instant::now();
    let Ok(dialled) = stream.local_addr() else { return };
    let mut record = connection(dialled.ip(), port);
    let moved = Moved::default();
    let mut ended = shared.ended.subscribe();
    let routed = tokio::select! {
        biased;
        routed = route(&mut stream, port, dialled.ip(), shared, &moved, &mut record) => Some(routed),
        _ = ended.wait_for(|ended| *ended) => None,
    };
    match routed {
        Some(Ok(())) => {}
        Some(Err(refused)) => {
            record.name = refused.name.or(record.name);
            record.rule = refused.rule;
            record.reason = Some(refused.why);
        }
        None => record.reason = Some("the session ended".into()),
    }
    record.up = moved.up.load(Ordering::Relaxed);
    record.down = moved.down.load(Ordering::Relaxed);
    record.milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    shared.record(record);
}

/// Finds out whom a connection wants, and makes it or refuses it in its own protocol.
async fn route(
    stream: &mut TcpStream,
    port: u16,
    dialled: IpAddr,
    shared: &Shared,
    moved: &Moved,
    record: &mut Connection,
) -> Result<(), Refused> {
    let looked_up = shared.names().name_of(dialled).cloned();
    match port {
        443 => {
            let (first, name) = match whom(stream, looked_up.as_ref()).await {
                Ok(found) => found,
                Err(refused) => return deny(stream, &hello::DENIED, refused).await,
            };
            record.server_name = Some(name.to_string());
            match make(name, port, shared, record).await {
                Ok(made) => relay(stream, made, &first, moved, record).await,
                Err(refused) => deny(stream, &hello::DENIED, refused).await,
            }
        }
        80 => {
            let (request, rest) = match ask(stream, port, looked_up.as_ref()).await {
                Ok(found) => found,
                Err(refused) => return refuse(stream, port, refused).await,
            };
            match make(request.host.clone(), port, shared, record).await {
                Ok(made) => exchange(stream, made, request, rest, moved, record).await,
                Err(refused) => refuse(stream, port, refused).await,
            }
        }
        _ => {
            let name = looked_up
                .ok_or_else(|| Refused::because(None, "it was dialled by an address, not by a name"))?;
            let made = make(name, port, shared, record).await?;
            relay(stream, made, &[], moved, record).await
        }
    }
}

/// Reads the first message of TLS and returns it with the name that it is for.
async fn whom(stream: &mut TcpStream, looked_up: Option<&HostName>) -> Result<(Vec<u8>, HostName), Refused> {
    let mut first = Vec::new();
    let mut reads = 0;
    let read = async {
        loop {
            match hello::read(&first) {
                Hello::More => {}
                other => return Ok(other),
            }
            // Whole again each time, which is why somebody who sends it byte by byte has to wait.
            reads += 1;
            if reads > MOST_READS || stream.read_buf(&mut first).await? == 0 {
                return Ok(Hello::Foreign);
            }
        }
    };
    let found = timeout(PATIENCE, read).await;
    let refused = |why: &str| Err(Refused::because(looked_up, why));
    match found {
        Err(_) => refused("it did not say in time whom it wants"),
        Ok(Err(error)) => {
            let error: io::Error = error;
            refused(&format!("it broke off: {error}"))
        }
        Ok(Ok(Hello::Named(name))) if looked_up.is_some_and(|other| *other != name) => {
            refused(&format!("its TLS handshake is for `{name}`, another name than was looked up"))
        }
        Ok(Ok(Hello::Named(name))) => Ok((first, name)),
        Ok(Ok(Hello::Nameless)) => refused("its TLS handshake names no host"),
        Ok(Ok(Hello::Foreign | Hello::More)) => refused("it is no TLS, on the port of TLS"),
    }
}

/// Reads the head of a request, and returns it with what came behind it.
async fn ask(
    stream: &mut TcpStream,
    port: u16,
    looked_up: Option<&HostName>,
) -> Result<(Request, Vec<u8>), Refused> {
    let mut bytes = Vec::new();
    let read = async {
        loop {
            let before = bytes.len();
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
            if !http::may_have_ended(&bytes, before) {
                continue;
            }
            match http::read(&bytes, port) {
                Head::More => {}
                other => return Some(other),
            }
        }
    };
    let refused = |why: &str| Err(Refused::because(looked_up, why));
    match timeout(PATIENCE, read).await {
        Err(_) => refused("it did not say in time whom it wants"),
        Ok(None | Some(Head::More)) => refused("it broke off"),
        Ok(Some(Head::Bad(why))) => refused(why),
        Ok(Some(Head::Request(request))) => {
            if let Some(other) = looked_up.filter(|other| **other != request.host) {
                return refused(&format!("it asks for `{}`, and `{other}` was looked up", request.host));
            }
            let rest = bytes.split_off(request.length);
            Ok((request, rest))
        }
    }
}

/// Decides, resolves, and connects to an address that may be connected to.
async fn make(name: HostName, port: u16, shared: &Shared, record: &mut Connection) -> Result<Made, Refused> {
    record.name = Some(name.to_string());
    let rule = match decide(&shared.rules, &name, port) {
        Decision::Allowed(rule) => rule.origin.clone(),
        Decision::Denied(Some(rule)) => {
            let rule = Some(rule.origin.clone());
            return Err(Refused { rule, ..Refused::because(Some(&name), "a `deny` names it") });
        }
        Decision::Denied(None) => {
            let port = if crate::policy::host::WEB.contains(&port) {
                String::new()
            } else {
                format!(" port={port}")
            };
            let fix = Some(format!("network allowlist {{ allow \"{name}\"{port}; }}"));
            return Err(Refused { fix, ..Refused::because(Some(&name), "no `allow` names it") });
        }
    };
    record.rule = Some(rule.clone());
    let refused = |why: String| Refused { rule: Some(rule.clone()), ..Refused::because(Some(&name), why) };
    // A name with a dot is whole; one without may be meant in the search domains of this machine.
    let whole = if name.as_str().contains('.') { format!("{name}.") } else { name.to_string() };
    let found = timeout(PATIENCE, shared.resolver.lookup_ip(whole)).await;
    let found = found.map_err(|_| refused("it was not resolved in time".into()))?;
    let found = found.map_err(|error| refused(format!("it cannot be resolved: {error}")))?;
    let mut why = None;
    for address in found.iter().take(MOST_ADDRESSES) {
        // Last, because it may change at any time: what the kernel itself takes for its own.
        let kind = address::kind(address).map_or_else(|| own(address), |kind| Ok(Some(kind)));
        match kind {
            Ok(None) => {}
            Ok(Some(kind)) => {
                why = Some(format!("it leads to {address}, an address that is {}", kind.as_str()));
                continue;
            }
            Err(error) => {
                why = Some(format!("{address} cannot be reached: {error}"));
                continue;
            }
        }
        let to = SocketAddr::new(address, port);
        match timeout(PATIENCE, TcpStream::connect(to)).await {
            Ok(Ok(upstream)) => {
                record.address = Some(address);
                return Ok(Made { name, rule, upstream, address: to });
            }
            Ok(Err(error)) => why = Some(format!("{to} cannot be reached: {error}")),
            Err(_) => why = Some(format!("{to} does not answer")),
        }
    }
    Err(refused(why.unwrap_or_else(|| "it has no address".into())))
}

/// Says whether the kernel takes an address for this machine's own, or for that of many.
fn own(address: IpAddr) -> io::Result<Option<address::Kind>> {
    Ok(match network::route(address.to_canonical())? {
        Route::Away => None,
        Route::Other => Some(address::Kind::Own),
    })
}

/// Returns once nothing has moved for a long time.
async fn idle(moved: &Moved) {
    let now = || (moved.up.load(Ordering::Relaxed), moved.down.load(Ordering::Relaxed));
    let mut last = now();
    loop {
        tokio::time::sleep(IDLE).await;
        if std::mem::replace(&mut last, now()) == now() {
            return;
        }
    }
}

/// Moves bytes both ways until both sides are done.
async fn relay(
    stream: &mut TcpStream,
    made: Made,
    first: &[u8],
    moved: &Moved,
    record: &mut Connection,
) -> Result<(), Refused> {
    let Made { name, rule, mut upstream, address } = made;
    record.allowed = true;
    let broken = |error: io::Error| Refused {
        rule: Some(rule.clone()),
        ..Refused::because(Some(&name), format!("the connection to {address} broke: {error}"))
    };
    let _plain = (stream.set_nodelay(true), upstream.set_nodelay(true));
    upstream.write_all(first).await.map_err(broken)?;
    moved.up.fetch_add(first.len() as u64, Ordering::Relaxed);
    let mut client = Counted { stream, count: &moved.up };
    let mut server = Counted { stream: upstream, count: &moved.down };
    let both = copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER);
    tokio::select! {
        done = both => done.map(drop).map_err(broken),
        () = idle(moved) => Err(broken(io::ErrorKind::TimedOut.into())),
    }
}

/// Passes one request on, and everything of its answer back.
async fn exchange(
    stream: &mut TcpStream,
    made: Made,
    request: Request,
    rest: Vec<u8>,
    moved: &Moved,
    record: &mut Connection,
) -> Result<(), Refused> {
    let Made { name, rule, mut upstream, address } = made;
    record.allowed = true;
    let (mut from, mut to) = stream.split();
    let (answers, mut asks) = upstream.split();
    let mut answers = Counted { stream: answers, count: &moved.down };
    let up = async {
        asks.write_all(&request.head).await?;
        moved.up.fetch_add(request.head.len() as u64, Ordering::Relaxed);
        body(&mut from, &mut asks, request.body, rest, &moved.up).await
    };
    let down = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = timeout(IDLE, answers.read(&mut buffer)).await.map_err(io::Error::other)??;
            if length == 0 {
                break;
            }
            to.write_all(buffer.get(..length).unwrap_or_default()).await?;
        }
        to.shutdown().await
    };
    tokio::pin!(up, down);
    let mut sent = false;
    // The answer may come, and end, before the request has ended.
    let done = loop {
        tokio::select! {
            result = &mut up, if !sent => match result {
                Ok(()) => sent = true,
                Err(error) => break Err(error),
            },
            result = &mut down => break result,
        }
    };
    done.map_err(|error: io::Error| Refused {
        rule: Some(rule),
        ..Refused::because(Some(&name), format!("the connection to {address} broke: {error}"))
    })
}

/// Passes on the body of one request, and not a byte behind it. A server that takes no more of it may still answer.
async fn body(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    kind: Body,
    mut bytes: Vec<u8>,
    count: &AtomicU64,
) -> io::Result<()> {
    let (mut left, mut chunks) = match kind {
        Body::Length(length) => (length, None),
        Body::Chunked => (0, Some(Chunks::default())),
    };
    loop {
        let here = match &mut chunks {
            Some(chunks) => chunks.read(&bytes).map_err(io::Error::other)?,
            None => usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()),
        };
        if to.write_all(bytes.get(..here).unwrap_or_default()).await.is_err() {
            return Ok(());
        }
        count.fetch_add(here as u64, Ordering::Relaxed);
        left = left.saturating_sub(here as u64);
        if chunks.map_or(left == 0, |chunks| chunks == Chunks::End) {
            return Ok(());
        }
        bytes.clear();
        bytes.reserve(BUFFER);
        if timeout(IDLE, from.read_buf(&mut bytes)).await.map_err(io::Error::other)?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn deny(stream: &mut TcpStream, answer: &[u8], refused: Refused) -> Result<(), Refused> {
    // Whoever has gone away hears nothing.
    let _gone = stream.write_all(answer).await;
    let _gone = stream.shutdown().await;
    // To close with something unread would take the answer back.
    let mut rest = vec![0; BUFFER];
    let drain = async {
        for _ in 0..MOST_DRAINED {
            if matches!(stream.read(&mut rest).await, Ok(0) | Err(_)) {
                break;
            }
        }
    };
    let _late = timeout(DRAIN, drain).await;
    Err(refused)
}

async fn refuse(stream: &mut TcpStream, port: u16, refused: Refused) -> Result<(), Refused> {
    let host = refused.name.as_deref().unwrap_or_default();
    let answer = http::refusal(host, port, &refused.why, refused.fix.as_deref());
    deny(stream, &answer, refused).await
}
