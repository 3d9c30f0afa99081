//! The connections of one session: whom each wants, whether that is allowed, and the bytes of those that are.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::authority::{self, Authority};
use super::budget::{self, Account};
use super::connect::{Refused, dial, make};
use super::hello::{self, Hello};
use super::http::{self, Form};
use super::inspect::{self, Wanted};
use super::meter::Moved;
use super::names::Names;
use super::proxy::{self, Kind, Said};
use super::records::Records;
use super::relay::relay;
use super::secrets::Secret;
use super::target::Target;
use super::upstream::Upstream;
use super::{Settings, connection, dns, plain};
use crate::audit::Connection;
use crate::policy::host::{Decision, Host, HostName, Pattern, Rule, WEB, decide, is_by_request};

/// How long a client may take to say whom it wants, and a server to be reached.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A connection on which nothing moves for so long is over.
pub const IDLE: Duration = Duration::from_mins(15);

/// How long, and how many times, a client that was refused is listened to.
const DRAIN: Duration = Duration::from_secs(1);
const MOST_DRAINED: usize = 16;

/// How long the last records may take.
const LAST: Duration = Duration::from_millis(500);

/// Connections at a time at the most; more are closed at once.
pub const MOST: usize = 4096;

/// Connections whose TLS ends here at a time at the most: each may take memory for what is on its way.
const MOST_INSPECTED: usize = 512;

/// Names that are looked up at a time at the most.
pub const MOST_LOOKUPS: usize = 64;

/// Pieces in which a client may say whom it wants.
const MOST_READS: usize = 256;

/// What is read at a time where a connection has memory of its own, in bytes.
pub const BUFFER: usize = 16 * 1024;

/// What all connections of a session share.
pub struct Shared {
    pub rules: Vec<Rule>,
    pub accounts: Vec<Arc<Account>>,
    /// The proxy that takes allowed connections out.
    pub upstream: Option<Upstream>,
    pub authority: Authority,
    pub secrets: Vec<Secret>,
    pub names: Mutex<Names>,
    pub resolver: TokioResolver,
    /// The bundle of certificates that servers are believed by.
    roots: Vec<u8>,
    /// Made when the first server is met: for HTTP/1, and for both.
    believed: [OnceLock<Arc<ClientConfig>>; 2],
    pub records: Arc<Records>,
    /// Names that are looked up at a time.
    pub lookups: Semaphore,
    pub open: Arc<Semaphore>,
    /// Connections whose TLS ends here at a time.
    pub inspected: Semaphore,
    /// Some rule denies a name.
    denies_names: bool,
    /// How many there may be.
    most: usize,
    /// Bytes that are kept for slow receivers.
    pub kept: AtomicUsize,
    /// Becomes true at the end of the session.
    ended: watch::Sender<bool>,
}

impl Shared {
    pub fn new(settings: Settings, resolver: TokioResolver, records: Records, most: usize) -> Self {
        let Settings { rules, budgets, upstream, authority, secrets, roots } = settings;
        Shared {
            names: Mutex::new(Names::of(&rules)),
            denies_names: rules
                .iter()
                .any(|rule| !rule.allow && !matches!(rule.pattern, Pattern::Addresses(_))),
            rules,
            accounts: budget::accounts(budgets),
            upstream,
            authority,
            secrets,
            resolver,
            roots,
            believed: [const { OnceLock::new() }; 2],
            records: Arc::new(records),
            lookups: Semaphore::new(MOST_LOOKUPS),
            open: Arc::new(Semaphore::new(most)),
            inspected: Semaphore::new(MOST_INSPECTED),
            most,
            kept: AtomicUsize::new(0),
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
    fn inspects(&self, name: &HostName, port: u16) -> bool {
        is_by_request(&self.rules, Host::Name(name), port) || self.has_secret(name, port)
    }

    fn has_secret(&self, name: &HostName, port: u16) -> bool {
        self.secrets.iter().any(|secret| secret.is_of(name, port))
    }

    /// Cuts off what is still open, and waits until all of it is recorded.
    pub async fn end(&self) {
        self.ended.send_replace(true);
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        // Too late is better than never: the session has ended.
        let _recorded = timeout(LAST, self.open.acquire_many(all)).await;
        self.records.sum_up().await;
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
                    shared.records.unknown();
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
            record.fix = refused.fix;
        }
        None => record.reason = Some("the session ended".into()),
    }
    record.secrets = moved.secrets();
    record.models = moved.of_models();
    record.up = moved.up.load(Ordering::Relaxed);
    record.down = moved.down.load(Ordering::Relaxed);
    record.milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    shared.records.ended(record).await;
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
    let name_of = |address| shared.names().name_of(address).cloned();
    if port != proxy::PORT || !dialled.is_loopback() {
        let wanted = Dialled { port, address: dialled, name: name_of(dialled), form: Form::Path };
        return route_to(stream, wanted, shared, moved, record).await;
    }
    let (kind, target, port) = match proxy::hear(&mut stream).await {
        Ok(Said::Tunnel { kind, target, port }) => (kind, target, port),
        Ok(Said::Request) => {
            record.port = 80;
            let wanted = Dialled { port: 80, address: dialled, name: None, form: Form::Whole };
            return route_to(stream, wanted, shared, moved, record).await;
        }
        Err(why) => return refuse(&mut stream, port, Refused::because(None, why)).await,
    };
    let (address, name) = match target {
        Target::Name(name) => (dialled, Some(name)),
        Target::Address(address) => (address.to_canonical(), name_of(address)),
    };
    record.port = port;
    record.name = name.as_ref().map(ToString::to_string);
    let host = name.as_ref().map_or(Host::Address(address), Host::Name);
    // The web hears why in its own words.
    if !WEB.contains(&port)
        && let Decision::Denied(rule) = decide(&shared.rules, host, port)
    {
        let refused = match &name {
            Some(name) => Refused::of_rule(name, port, rule),
            None => Refused::of_address(address, port, rule),
        };
        return match kind {
            Kind::Connect => refuse(&mut stream, port, refused).await,
            Kind::Socks => deny(&mut stream, &proxy::NOT_ALLOWED, refused).await,
        };
    }
    let gone = |error: io::Error| Refused::because(name.as_ref(), format!("it broke off: {error}"));
    proxy::go_on(&mut stream, kind).await.map_err(gone)?;
    route_to(stream, Dialled { port, address, name, form: Form::Path }, shared, moved, record).await
}

/// Whom a connection was made to, as far as the sandbox has said.
pub struct Dialled {
    pub port: u16,
    pub address: IpAddr,
    /// The name that was looked up, or told to the proxy.
    pub name: Option<HostName>,
    pub form: Form,
}

async fn route_to(
    mut stream: TcpStream,
    wanted: Dialled,
    shared: &Arc<Shared>,
    moved: &Arc<Moved>,
    record: &mut Connection,
) -> Result<(), Refused> {
    let (port, dialled, looked_up) = (wanted.port, wanted.address, wanted.name.clone());
    if looked_up.is_none()
        && let Decision::Allowed(rule) = decide(&shared.rules, Host::Address(dialled), port)
    {
        // What was dialled is what a rule names: nothing in it can lead elsewhere. A name may still be denied.
        let mut first = Vec::new();
        if shared.denies_names && port == 80 {
            return plain::serve(&mut stream, wanted, shared, moved, record).await;
        }
        if shared.denies_names && port == 443 {
            match named(&mut stream, port, shared, &mut first).await {
                Ok(name) => record.server_name = name.map(|name| name.to_string()),
                Err(refused) => return deny(&mut stream, &hello::DENIED, refused).await,
            }
        }
        let made = Box::pin(dial(dialled, port, rule.origin.clone(), shared, record)).await?;
        return relay(&mut stream, made, &first, shared, moved, record).await;
    }
    let tls = port == 443 || looked_up.as_ref().is_some_and(|name| shared.has_secret(name, port));
    match port {
        _ if tls => {
            let (first, name) = match whom(&mut stream, looked_up.as_ref()).await {
                Ok(found) => found,
                Err(refused) => return deny(&mut stream, &hello::DENIED, refused).await,
            };
            record.server_name = Some(name.to_string());
            // On the heap, here and below: who never says whom it wants takes no room for what would come then.
            match Box::pin(make(name.clone(), port, shared, record)).await {
                Ok(made) if !shared.inspects(&name, port) => {
                    relay(&mut stream, made, &first, shared, moved, record).await
                }
                made => {
                    let Ok(_room) = shared.inspected.try_acquire() else {
                        let refused = Refused::because(Some(&name), "there are too many connections like it");
                        return deny(&mut stream, &hello::DENIED, refused).await;
                    };
                    Box::pin(inspect::serve(
                        stream,
                        Wanted { name, port, first, made },
                        shared,
                        moved,
                        record,
                    ))
                    .await
                }
            }
        }
        80 => plain::serve(&mut stream, wanted, shared, moved, record).await,
        _ => {
            let Some(name) = looked_up else {
                let denies = match decide(&shared.rules, Host::Address(dialled), port) {
                    Decision::Denied(rule) => rule,
                    Decision::Allowed(_) => None,
                };
                return Err(Refused::of_address(dialled, port, denies));
            };
            let host = Host::Name(&name);
            let allows = matches!(decide(&shared.rules, host, port), Decision::Allowed(_));
            if allows && is_by_request(&shared.rules, host, port) {
                let why = "rules about its requests need the web's own ports, 80 and 443";
                return Err(Refused::because(Some(&name), why));
            }
            let made = Box::pin(make(name, port, shared, record)).await?;
            relay(&mut stream, made, &[], shared, moved, record).await
        }
    }
}

/// Reads for whom TLS at an address that is allowed is, and refuses a name that is not to be reached.
async fn named(
    stream: &mut TcpStream,
    port: u16,
    shared: &Shared,
    first: &mut Vec<u8>,
) -> Result<Option<HostName>, Refused> {
    let name = match said(stream, first).await? {
        Hello::Named(name) => name,
        Hello::Nameless => return Ok(None),
        Hello::Misnamed | Hello::Foreign | Hello::More => {
            return Err(Refused::because(None, "it does not say whom it wants, and a `deny` names some"));
        }
    };
    let host = Host::Name(&name);
    if let Decision::Denied(Some(rule)) = decide(&shared.rules, host, port) {
        return Err(Refused::of_rule(&name, port, Some(rule)));
    }
    if let Some(rule) = shared.rules.iter().find(|rule| !rule.allow && rule.is_about(&host, port)) {
        let why = "a `deny` names some of its requests, which are looked at where it is dialled by its name";
        return Err(Refused { rule: Some(rule.origin.clone()), ..Refused::because(Some(&name), why) });
    }
    Ok(Some(name))
}

/// Reads the first message of TLS and returns it with the name that it is for.
async fn whom(stream: &mut TcpStream, looked_up: Option<&HostName>) -> Result<(Vec<u8>, HostName), Refused> {
    let mut first = Vec::new();
    let refused = |why: &str| Err(Refused::because(looked_up, why));
    match said(stream, &mut first).await {
        Err(error) => refused(&error.why),
        Ok(Hello::Named(name)) if looked_up.is_some_and(|other| *other != name) => {
            refused(&format!("its TLS handshake is for `{name}`, another name than was looked up"))
        }
        Ok(Hello::Named(name)) => Ok((first, name)),
        Ok(Hello::Nameless) => refused("its TLS handshake names no host"),
        Ok(Hello::Misnamed) => refused("its TLS handshake names no host that could be one"),
        Ok(Hello::Foreign | Hello::More) => refused("it is no TLS, on the port of TLS"),
    }
}

/// Reads the first message of TLS.
async fn said(stream: &mut TcpStream, first: &mut Vec<u8>) -> Result<Hello, Refused> {
    let mut reads = 0;
    let read = async {
        loop {
            match hello::read(first) {
                Hello::More => {}
                other => return Ok(other),
            }
            // Whole again each time, which is why somebody who sends it byte by byte has to wait.
            reads += 1;
            if reads > MOST_READS || stream.read_buf(first).await? == 0 {
                return Ok(Hello::Foreign);
            }
        }
    };
    let refused = |why: String| Refused::because(None, why);
    match timeout(PATIENCE, read).await {
        Err(_) => Err(refused("it did not say in time whom it wants".into())),
        Ok(Err(error)) => {
            let error: io::Error = error;
            Err(refused(format!("it broke off: {error}")))
        }
        Ok(Ok(hello)) => Ok(hello),
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

pub async fn refuse(stream: &mut TcpStream, port: u16, refused: Refused) -> Result<(), Refused> {
    let host = refused.name.as_deref().unwrap_or_default();
    let Refused { why, rule, fix, .. } = &refused;
    let answer = http::refusal(host, port, why, rule.as_deref(), fix.as_deref());
    deny(stream, &answer, refused).await
}
