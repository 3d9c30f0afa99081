//! The connections of one session: whom each wants, whether that is allowed, and the bytes of those that are.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional_with_sizes,
};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::hello::{self, Hello};
use super::http::{self, Body, Chunks, Head, Request};
use super::names::Names;
use super::{connection, dns};
use crate::audit::Connection;
use crate::policy::address;
use crate::policy::host::{Decision, HostName, Rule, decide};

/// How long a client may take to say whom it wants, and a server to be reached.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection on which nothing moves for so long is over.
const IDLE: Duration = Duration::from_mins(15);

/// Connections at a time; more are closed at once.
const MOST: usize = 4096;

/// Of each direction of a connection, in bytes.
const BUFFER: usize = 16 * 1024;

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;

/// What all connections of a session share.
pub struct Shared {
    pub rules: Vec<Rule>,
    pub names: Mutex<Names>,
    pub resolver: TokioResolver,
    pub records: Sender<Connection>,
    /// Addresses of this machine.
    pub own: Vec<IpAddr>,
    open: Semaphore,
}

impl Shared {
    pub fn new(
        rules: Vec<Rule>,
        resolver: TokioResolver,
        records: Sender<Connection>,
        own: Vec<IpAddr>,
    ) -> Self {
        Shared { rules, names: Mutex::default(), resolver, records, own, open: Semaphore::new(MOST) }
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
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let Ok(_permit) = shared.open.try_acquire() else { return };
                    serve(stream, port, &shared).await;
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

async fn serve(mut stream: TcpStream, port: u16, shared: &Shared) {
    let began = Instant::now();
    let Ok(dialled) = stream.local_addr() else { return };
    let mut record = connection(dialled.ip(), port);
    match route(&mut stream, port, dialled.ip(), shared, &mut record).await {
        Ok(()) => {}
        Err(refused) => {
            record.name = refused.name.or(record.name);
            record.rule = refused.rule;
            record.reason = Some(refused.why);
        }
    }
    record.milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    // Nobody listens any more once the session has ended.
    let _ended = shared.records.send(record);
}

/// Finds out whom a connection wants, and makes it or refuses it in its own protocol.
async fn route(
    stream: &mut TcpStream,
    port: u16,
    dialled: IpAddr,
    shared: &Shared,
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
                Ok(made) => relay(stream, made, &first, record).await,
                Err(refused) => deny(stream, &hello::DENIED, refused).await,
            }
        }
        80 => {
            let (request, rest) = match ask(stream, port, looked_up.as_ref()).await {
                Ok(found) => found,
                Err(refused) => return refuse(stream, port, refused).await,
            };
            match make(request.host.clone(), port, shared, record).await {
                Ok(made) => exchange(stream, made, request, rest, record).await,
                Err(refused) => refuse(stream, port, refused).await,
            }
        }
        _ => {
            let name = looked_up
                .ok_or_else(|| Refused::because(None, "it was dialled by an address, not by a name"))?;
            let made = make(name, port, shared, record).await?;
            relay(stream, made, &[], record).await
        }
    }
}

/// Reads the first message of TLS and returns it with the name that it is for.
async fn whom(stream: &mut TcpStream, looked_up: Option<&HostName>) -> Result<(Vec<u8>, HostName), Refused> {
    let mut first = Vec::new();
    let read = async {
        loop {
            match hello::read(&first) {
                Hello::More => {}
                other => return Ok(other),
            }
            if stream.read_buf(&mut first).await? == 0 {
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
            match http::read(&bytes, port) {
                Head::More => {}
                other => return Some(other),
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
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
        let kind = if shared.own.contains(&address.to_canonical()) {
            Some(address::Kind::Own)
        } else {
            address::kind(address)
        };
        if let Some(kind) = kind {
            why = Some(format!("it leads to {address}, an address that is {}", kind.as_str()));
            continue;
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

/// Moves bytes both ways until both sides are done.
async fn relay(
    stream: &mut TcpStream,
    made: Made,
    first: &[u8],
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
    record.up += first.len() as u64;
    let (up, down) =
        copy_bidirectional_with_sizes(stream, &mut upstream, BUFFER, BUFFER).await.map_err(broken)?;
    record.up += up;
    record.down += down;
    Ok(())
}

/// Passes one request on, and everything of its answer back.
async fn exchange(
    stream: &mut TcpStream,
    made: Made,
    request: Request,
    rest: Vec<u8>,
    record: &mut Connection,
) -> Result<(), Refused> {
    let Made { name, rule, mut upstream, address } = made;
    record.allowed = true;
    let (mut from, mut to) = stream.split();
    let (mut answers, mut asks) = upstream.split();
    let up = async {
        asks.write_all(&request.head).await?;
        let body = body(&mut from, &mut asks, request.body, rest).await?;
        io::Result::Ok(request.head.len() as u64 + body)
    };
    let down = async {
        let mut count = 0;
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = timeout(IDLE, answers.read(&mut buffer)).await.map_err(io::Error::other)??;
            if length == 0 {
                break;
            }
            to.write_all(buffer.get(..length).unwrap_or_default()).await?;
            count += length as u64;
        }
        to.shutdown().await?;
        io::Result::Ok(count)
    };
    tokio::pin!(up, down);
    let mut sent = None;
    // The answer may come, and end, before the request has ended.
    let done = loop {
        tokio::select! {
            result = &mut up, if sent.is_none() => sent = Some(result),
            result = &mut down => break result,
        }
    };
    if let Some(Ok(bytes)) = sent {
        record.up += bytes;
    }
    match done {
        Ok(bytes) => {
            record.down += bytes;
            Ok(())
        }
        Err(error) => Err(Refused {
            rule: Some(rule),
            ..Refused::because(Some(&name), format!("the connection to {address} broke: {error}"))
        }),
    }
}

/// Passes on the body of one request, and not a byte behind it.
async fn body(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    kind: Body,
    mut bytes: Vec<u8>,
) -> io::Result<u64> {
    let (mut left, mut chunks) = match kind {
        Body::Length(length) => (length, None),
        Body::Chunked => (0, Some(Chunks::default())),
    };
    let mut count = 0;
    loop {
        let here = match &mut chunks {
            Some(chunks) => chunks.read(&bytes).map_err(io::Error::other)?,
            None => usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()),
        };
        to.write_all(bytes.get(..here).unwrap_or_default()).await?;
        count += here as u64;
        left = left.saturating_sub(here as u64);
        if chunks.map_or(left == 0, |chunks| chunks == Chunks::End) {
            return Ok(count);
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
    Err(refused)
}

async fn refuse(stream: &mut TcpStream, port: u16, refused: Refused) -> Result<(), Refused> {
    let host = refused.name.as_deref().unwrap_or_default();
    let answer = http::refusal(host, port, &refused.why, refused.fix.as_deref());
    deny(stream, &answer, refused).await
}
