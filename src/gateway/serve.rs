//! The connections of one session: whom each wants, whether that is allowed, and the bytes of those that are.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional_with_sizes,
};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::authority::{self, Authority};
use super::hello::{self, Hello};
use super::http::{self, Body, Chunks, Head, Request};
use super::inspect::{self, Wanted};
use super::meter::{Metered, Moved};
use super::names::Names;
use super::secrets::Secret;
use super::{Settings, connection, dns};
use crate::audit::Connection;
use crate::policy::address;
use crate::policy::host::{
    Asked, Decision, Host, HostName, Rule, decide, decide_request, is_by_request, refused_address,
};
use crate::sys::network::{self, Route};

/// How long a client may take to say whom it wants, and a server to be reached.
pub const PATIENCE: Duration = Duration::from_secs(10);

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
pub const BUFFER: usize = 16 * 1024;

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;

/// What all connections of a session share.
pub struct Shared {
    pub rules: Vec<Rule>,
    pub authority: Authority,
    pub secrets: Vec<Secret>,
    pub names: Mutex<Names>,
    pub resolver: TokioResolver,
    /// The bundle of certificates that servers are believed by.
    roots: Vec<u8>,
    /// Made when the first server is met: for HTTP/1, and for both.
    believed: [OnceLock<Arc<ClientConfig>>; 2],
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
        settings: Settings,
        resolver: TokioResolver,
        records: SyncSender<Connection>,
        most: usize,
    ) -> Self {
        let Settings { rules, authority, secrets, roots } = settings;
        Shared {
            names: Mutex::new(Names::of(&rules)),
            rules,
            authority,
            secrets,
            resolver,
            roots,
            believed: [const { OnceLock::new() }; 2],
            records,
            unrecorded: AtomicU64::new(0),
            open: Semaphore::new(most),
            most,
            ended: watch::Sender::new(false),
        }
    }

    /// Returns how servers are met whose TLS is not passed through.
    pub fn believed(&self, of_two: bool) -> Result<Arc<ClientConfig>, rustls::Error> {
        let place = &self.believed[usize::from(of_two)];
        if let Some(config) = place.get() {
            return Ok(Arc::clone(config));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authority::certificates(&self.roots));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        if of_two {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Ok(Arc::clone(place.get_or_init(|| Arc::new(config))))
    }

    /// Says whether each request to a host has to be looked at.
    fn inspects(&self, name: &HostName) -> bool {
        is_by_request(&self.rules, Host::Name(name), 443)
            || self.secrets.iter().any(|secret| secret.what.host == *name)
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

    pub fn record(&self, record: Connection) {
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
#[derive(Clone, Debug)]
pub struct Refused {
    pub name: Option<String>,
    pub rule: Option<String>,
    pub why: String,
    /// A line of `pier.kdl` would allow it.
    pub fix: Option<String>,
    /// It is allowed, and there is nobody.
    pub unreachable: bool,
}

impl Refused {
    pub fn because(name: Option<&HostName>, why: impl Into<String>) -> Self {
        let name = name.map(ToString::to_string);
        Refused { name, rule: None, why: why.into(), fix: None, unreachable: false }
    }
}

/// A connection that is allowed and stands.
pub struct Made {
    /// `None` for one to an address.
    pub name: Option<HostName>,
    pub rule: String,
    pub upstream: TcpStream,
    pub address: SocketAddr,
}

async fn serve(stream: TcpStream, port: u16, shared: &Arc<Shared>) {
    let began = Instant::now();
    let Ok(dialled) = stream.local_addr() else { return };
    let mut record = connection(dialled.ip(), port);
    let moved = Arc::new(Moved::default());
    let mut ended = shared.ended.subscribe();
    let routed = tokio::select! {
        biased;
        routed = route(stream, port, dialled.ip().to_canonical(), shared, &moved, &mut record) => Some(routed),
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
    mut stream: TcpStream,
    port: u16,
    dialled: IpAddr,
    shared: &Arc<Shared>,
    moved: &Arc<Moved>,
    record: &mut Connection,
) -> Result<(), Refused> {
    let looked_up = shared.names().name_of(dialled).cloned();
    if looked_up.is_none()
        && let Decision::Allowed(rule) = decide(&shared.rules, Host::Address(dialled), port)
    {
        // What was dialled is what a rule names: nothing in it can lead elsewhere.
        let made = dial(dialled, port, rule.origin.clone(), record).await?;
        return relay(&mut stream, made, &[], moved, record).await;
    }
    match port {
        443 => {
            let (first, name) = match whom(&mut stream, looked_up.as_ref()).await {
                Ok(found) => found,
                Err(refused) => return deny(&mut stream, &hello::DENIED, refused).await,
            };
            record.server_name = Some(name.to_string());
            match make(name.clone(), port, shared, record).await {
                Ok(made) if !shared.inspects(&name) => relay(&mut stream, made, &first, moved, record).await,
                made => inspect::serve(stream, Wanted { name, first, made }, shared, moved, record).await,
            }
        }
        80 => {
            let (request, rest) = match ask(&mut stream, port, looked_up.as_ref()).await {
                Ok(found) => found,
                Err(refused) => return refuse(&mut stream, port, refused).await,
            };
            let made = match may_ask(&request, shared) {
                Ok(()) => make(request.host.clone(), port, shared, record).await,
                Err(refused) => Err(refused),
            };
            match made {
                Ok(made) => exchange(&mut stream, made, request, rest, moved, record).await,
                Err(refused) => refuse(&mut stream, port, refused).await,
            }
        }
        _ => {
            let name = looked_up
                .ok_or_else(|| Refused::because(None, "it was dialled by an address, not by a name"))?;
            let made = make(name, port, shared, record).await?;
            relay(&mut stream, made, &[], moved, record).await
        }
    }
}

/// Decides about a request without TLS by what it asks for.
fn may_ask(request: &Request, shared: &Shared) -> Result<(), Refused> {
    let head = String::from_utf8_lossy(&request.head);
    if let Some(secret) = shared.secrets.iter().find(|secret| head.contains(&secret.placeholder)) {
        let why = format!("it carries what stands for the secret `{}`, which only goes over TLS", secret.what.name);
        return Err(Refused::because(Some(&request.host), why));
    }
    let host = Host::Name(&request.host);
    let allows = matches!(decide(&shared.rules, host, request.port), Decision::Allowed(_));
    if !allows || !is_by_request(&shared.rules, host, request.port) {
        // All of it is decided with the connection.
        return Ok(());
    }
    let asked = Asked { method: &request.method, path: &request.path };
    match decide_request(&shared.rules, host, request.port, &asked) {
        Decision::Allowed(_) => Ok(()),
        Decision::Denied(rule) => {
            let verb = if rule.is_some() { "a `deny` names" } else { "no `allow` names" };
            let why = format!("{verb} `{} {}`", asked.method, asked.path);
            let rule = rule.map(|rule| rule.origin.clone());
            Err(Refused { rule, ..Refused::because(Some(&request.host), why) })
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
pub async fn make(name: HostName, port: u16, shared: &Shared, record: &mut Connection) -> Result<Made, Refused> {
    record.name = Some(name.to_string());
    let rule = match decide(&shared.rules, Host::Name(&name), port) {
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
    let absent = |why: String| Refused { unreachable: true, ..refused(why) };
    // A name with a dot is whole; one without may be meant in the search domains of this machine.
    let whole = if name.as_str().contains('.') { format!("{name}.") } else { name.to_string() };
    let found = timeout(PATIENCE, shared.resolver.lookup_ip(whole)).await;
    let found = found.map_err(|_| absent("it was not resolved in time".into()))?;
    let found = found.map_err(|error| absent(format!("it cannot be resolved: {error}")))?;
    let mut why = absent("it has no address".into());
    for address in found.iter().take(MOST_ADDRESSES) {
        // The kernel last, because what it takes for its own may change at any time.
        let bad = refused_address(&shared.rules, &name, port, address);
        if let Some(bad) = bad.map_or_else(|| own(address), |bad| Ok(Some(bad))).unwrap_or_else(|bad| Some(bad.to_string())) {
            why = refused(bad);
            continue;
        }
        let to = SocketAddr::new(address, port);
        match timeout(PATIENCE, TcpStream::connect(to)).await {
            Ok(Ok(upstream)) => {
                record.address = Some(address);
                return Ok(Made { name: Some(name), rule, upstream, address: to });
            }
            Ok(Err(error)) => why = absent(format!("{to} cannot be reached: {error}")),
            Err(_) => why = absent(format!("{to} does not answer")),
        }
    }
    Err(why)
}

/// Connects to an address that a rule names.
async fn dial(
    address: IpAddr,
    port: u16,
    rule: String,
    record: &mut Connection,
) -> Result<Made, Refused> {
    record.rule = Some(rule.clone());
    let refused = |why: String| Refused { rule: Some(rule.clone()), ..Refused::because(None, why) };
    let kind = address::kind(address).filter(|kind| *kind != address::Kind::Private);
    if let Some(kind) = kind {
        return Err(refused(format!("it is an address that is {}", kind.as_str())));
    }
    if let Some(own) = own(address).map_err(|error| refused(error.to_string()))? {
        return Err(refused(own));
    }
    let to = SocketAddr::new(address, port);
    match timeout(PATIENCE, TcpStream::connect(to)).await {
        Ok(Ok(upstream)) => {
            record.address = Some(address);
            Ok(Made { name: None, rule, upstream, address: to })
        }
        Ok(Err(error)) => Err(refused(format!("{to} cannot be reached: {error}"))),
        Err(_) => Err(refused(format!("{to} does not answer"))),
    }
}

/// Says that the kernel takes an address for this machine's own, or for that of many, if it does.
fn own(address: IpAddr) -> io::Result<Option<String>> {
    let way = network::route(address.to_canonical())
        .map_err(|error| io::Error::other(format!("{address} cannot be reached: {error}")))?;
    Ok(match way {
        Route::Away => None,
        Route::Other => {
            Some(format!("it leads to {address}, an address that is {}", address::Kind::Own.as_str()))
        }
    })
}

/// Returns once nothing has moved for a long time.
pub async fn idle(moved: &Moved) {
    let now = || (moved.up.load(Ordering::Relaxed), moved.down.load(Ordering::Relaxed));
    let mut last = now();
    loop {
        tokio::time::sleep(IDLE).await;
        if std::mem::replace(&mut last, now()) == now() {
            return;
        }
    }
}

/// Says how an allowed connection broke.
fn broken(made: &Made) -> impl Fn(io::Error) -> Refused + use<> {
    let Made { name, rule, address, .. } = made;
    let (name, rule, address) = (name.clone(), rule.clone(), *address);
    move |error| Refused {
        rule: Some(rule.clone()),
        ..Refused::because(name.as_ref(), format!("the connection to {address} broke: {error}"))
    }
}

/// Moves bytes both ways until both sides are done.
async fn relay(
    stream: &mut TcpStream,
    made: Made,
    first: &[u8],
    moved: &Arc<Moved>,
    record: &mut Connection,
) -> Result<(), Refused> {
    record.allowed = true;
    let broken = broken(&made);
    let Made { upstream, .. } = made;
    let _plain = (stream.set_nodelay(true), upstream.set_nodelay(true));
    let mut server = Metered { stream: upstream, moved: Arc::clone(moved) };
    server.write_all(first).await.map_err(&broken)?;
    let both = copy_bidirectional_with_sizes(stream, &mut server, BUFFER, BUFFER);
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
    moved: &Arc<Moved>,
    record: &mut Connection,
) -> Result<(), Refused> {
    record.allowed = true;
    let broken = broken(&made);
    let (mut from, mut to) = stream.split();
    let server = Metered { stream: made.upstream, moved: Arc::clone(moved) };
    let (mut answers, mut asks) = tokio::io::split(server);
    let up = async {
        asks.write_all(&request.head).await?;
        body(&mut from, &mut asks, request.body, rest).await
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
    done.map_err(broken)
}

/// Passes on the body of one request, and not a byte behind it. A server that takes no more of it may still answer.
async fn body(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    kind: Body,
    mut bytes: Vec<u8>,
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
