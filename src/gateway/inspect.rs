//! TLS that ends here: for hosts whose requests are decided one by one, or have a secret added; and for refused hosts,
//! so that the refusal can be read.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri, Version, server};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::connect::{Made, Refused, make};
use super::http;
use super::meter::{Begun, Metered, Moved};
use super::redact::{Redacted, Redactor, carry};
use super::relay::idle;
use super::secrets::{self, Filled};
use super::serve::{PATIENCE, Shared};
use super::usage::{self, Counted};
use crate::audit::Connection;
use crate::policy::host::{Asked, Decision, Host, HostName, decide_request};

/// How long a connection may be silent between two requests.
const BETWEEN: Duration = Duration::from_mins(2);

/// Requests at a time on one connection of HTTP/2.
const MOST_STREAMS: u32 = 128;

/// Requests of one client that are on their way to the server at a time.
const MOST_LANES: usize = 32;

/// What may be on its way on one stream of HTTP/2, in bytes; twice as much on a connection.
const WINDOW: u32 = 256 * 1024;

/// The most of the heads of one request or answer, in bytes.
const MOST_HEAD: usize = 64 * 1024;

/// Fields that are about one connection.
static OF_A_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    // Nothing is waited for twice.
    header::EXPECT,
];

/// Fields that ask for a piece of an answer, or for one that is packed.
const PIECES: &[&str] = &["range", "if-range", "request-range", "sec-websocket-extensions"];

/// Removes fields by their names, in which some servers take `_` for `-`.
fn remove(headers: &mut HeaderMap, names: &[&str]) {
    let is_one = |name: &&HeaderName| names.contains(&name.as_str().replace('_', "-").as_str());
    let found: Vec<HeaderName> = headers.keys().filter(is_one).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

type Content = BoxBody<Bytes, hyper::Error>;

/// Whom the handshake was for, and what is to become of the requests.
pub struct Wanted {
    pub name: HostName,
    pub port: u16,
    /// The bytes of the handshake that were read already.
    pub first: Vec<u8>,
    /// The connection to the host, or why there is none.
    pub made: Result<Made, Refused>,
}

/// Ends the TLS of a connection here, and answers what is asked on it.
pub async fn serve(
    stream: TcpStream,
    wanted: Wanted,
    shared: &Arc<Shared>,
    moved: &Arc<Moved>,
    record: &mut Connection,
) -> Result<(), Refused> {
    let Wanted { name, port, first, made } = wanted;
    let failed = |why: String| Refused::because(Some(&name), why);
    let config = shared.authority.config(&name).map_err(|error| failed(error.to_string()))?;
    let accepted = timeout(PATIENCE, TlsAcceptor::from(config).accept(Begun { first, stream })).await;
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        // Why it was refused matters more than that it could not be told.
        Ok(Err(_)) | Err(_) if made.is_err() => return made.map(drop),
        Ok(Err(error)) => {
            return Err(failed(format!("the client does not accept the session's certificate: {error}")));
        }
        Err(_) => return Err(failed("the client did not finish its TLS handshake in time".into())),
    };
    let of_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let mut opened = None;
    let silent = made.as_ref().ok().and_then(|made| made.charge.idle());
    let (refused, first_made) = match made {
        Ok(made) => {
            record.allowed = true;
            record.rule = Some(made.rule.clone());
            opened = Some(shared.records.opened(record));
            (None, Some(made))
        }
        Err(refused) => (Some(refused), None),
    };
    let front = Arc::new(Front {
        name: name.clone(),
        port,
        shared: Arc::clone(shared),
        moved: Arc::clone(moved),
        of_two,
        refused,
        sample: record.clone(),
        state: Mutex::new(State { first: first_made, ..State::default() }),
        is_new: AtomicBool::new(false),
        connecting: tokio::sync::Mutex::default(),
        lanes: Semaphore::new(MOST_LANES),
    });
    let of_service = Arc::clone(&front);
    let service = hyper::service::service_fn(move |request| {
        let front = Arc::clone(&of_service);
        async move { Ok::<_, Infallible>(front.answer(request).await) }
    });
    let io = TokioIo::new(stream);
    let connection = async {
        if of_two {
            let mut builder = server::conn::http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).max_concurrent_streams(MOST_STREAMS);
            builder.max_header_list_size(u32::try_from(MOST_HEAD).unwrap_or(u32::MAX));
            builder.initial_stream_window_size(WINDOW).initial_connection_window_size(2 * WINDOW);
            builder.serve_connection(io, service).await
        } else {
            let mut builder = server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(BETWEEN).max_buf_size(MOST_HEAD);
            builder.serve_connection(io, service).with_upgrades().await
        }
    };
    let all = async {
        // Whoever leaves in the middle of an answer has what it wanted.
        let _left = connection.await;
        let mut switched = std::mem::take(&mut front.state().switched);
        // Dropped before they have ended, they end.
        while switched.join_next().await.is_some() {}
    };
    tokio::select! {
        () = all => {}
        () = idle(moved, silent) => {}
    }
    drop(opened);
    match &front.refused {
        Some(refused) => Err(refused.clone()),
        None => Ok(()),
    }
}

/// One client's side of an inspected connection.
struct Front {
    name: HostName,
    port: u16,
    shared: Arc<Shared>,
    moved: Arc<Moved>,
    /// The client speaks HTTP/2.
    of_two: bool,
    /// Every request gets this answer.
    refused: Option<Refused>,
    /// What records of single requests begin as.
    sample: Connection,
    state: Mutex<State>,
    /// A secret goes along for the first time.
    is_new: AtomicBool,
    /// One connection is made at a time, so that the others can use it.
    connecting: tokio::sync::Mutex<()>,
    /// Requests that are on their way to the server at a time.
    lanes: Semaphore,
}

#[derive(Default)]
struct State {
    /// The connection that was made for the decision, until it is used.
    first: Option<Made>,
    two: Option<http2::SendRequest<Content>>,
    /// Connections of HTTP/1 that wait for another request.
    idle: Vec<http1::SendRequest<Content>>,
    /// Connections that are no HTTP any more.
    switched: JoinSet<()>,
}

enum Sender {
    One(http1::SendRequest<Content>),
    Two(http2::SendRequest<Content>),
}

/// Why a request gets an answer of pier's own.
struct Refusal {
    status: StatusCode,
    rule: Option<String>,
    why: String,
    fix: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Refusal { status, rule: None, why: why.into(), fix: None }
    }
}

impl From<&Refused> for Refusal {
    fn from(refused: &Refused) -> Self {
        // Allowed, and not to be had.
        let status = if refused.unreachable { StatusCode::BAD_GATEWAY } else { StatusCode::FORBIDDEN };
        Refusal { status, rule: refused.rule.clone(), why: refused.why.clone(), fix: refused.fix.clone() }
    }
}

impl Front {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Content> {
        let result = match &self.refused {
            Some(refused) => Err(Refusal::from(refused)),
            None => self.pass_on(request).await,
        };
        result.unwrap_or_else(|refusal| {
            // The refusal of everything is the record of the connection itself.
            if self.refused.is_none() {
                let Refusal { rule, why, fix, .. } = &refusal;
                let (rule, reason, fix) = (rule.clone(), Some(why.clone()), fix.clone());
                let sample = self.sample.clone();
                let record = Connection { allowed: false, number: 0, rule, reason, fix, ..sample };
                self.shared.records.refused(record);
            }
            self.refuse(&refusal)
        })
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Content> {
        let Refusal { why, rule, fix, .. } = refusal;
        let body = http::denial(self.name.as_str(), self.port, why, rule.as_deref(), fix.as_deref());
        let mut response = Response::new(whole(body));
        *response.status_mut() = refusal.status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        if !self.of_two {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Decides about one request, and passes it on.
    async fn pass_on(&self, mut request: Request<Incoming>) -> Result<Response<Content>, Refusal> {
        self.check_host(&request)?;
        let asked = Asked { method: request.method().as_str(), path: request.uri().path() };
        let rule = match decide_request(&self.shared.rules, Host::Name(&self.name), self.port, &asked) {
            Decision::Allowed(rule) => rule.origin.clone(),
            Decision::Denied(rule) => {
                return Err(Refusal::from(&Refused::of_request(&self.name, &asked, rule)));
            }
        };
        let asks = usage::asks_a_model(request.method(), request.uri().path());
        let client = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
        let switches = client.filter(|_| is_websocket(&request));
        let request = self.prepare(request, switches.is_some())?;
        if self.is_new.swap(false, Ordering::Relaxed) {
            // At once: what goes along is written down whatever becomes of the connection.
            let record = Connection {
                open: true,
                allowed: true,
                secrets: self.moved.secrets(),
                ..self.sample.clone()
            };
            self.shared.records.ended(record).await;
        }
        let mut response = self.send(request, &rule).await?;
        let keeps = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let server = keeps.then(|| hyper::upgrade::on(&mut response));
        // What the server calls the status, among others, which would be passed on as it is.
        response.extensions_mut().clear();
        clean(response.headers_mut(), keeps);
        if let Some(mut redactor) = self.redactor() {
            redactor.headers(response.headers_mut());
        }
        match (switches, server) {
            (Some(client), Some(server)) => {
                self.state().switched.spawn(carry(client, server, self.redactor()));
            }
            (_, None) => {}
            (None, Some(_)) => {
                let why = "the server changes the protocol, which nobody has asked for";
                return Err(Refusal::new(StatusCode::BAD_GATEWAY, why));
            }
        }
        let redactors = self.redactor().zip(self.redactor());
        let (parts, body) = response.into_parts();
        let body = match redactors {
            Some((redactor, trailers)) => Redacted::new(body, redactor, trailers).boxed(),
            None => body.boxed(),
        };
        let body =
            if asks { Counted::new(body, parts.status, &parts.headers, &self.moved).boxed() } else { body };
        Ok(Response::from_parts(parts, body))
    }

    /// Refuses a request for another host than the handshake was for.
    fn check_host(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        let other = || {
            Refusal::new(StatusCode::MISDIRECTED_REQUEST, "it asks for another host than its TLS handshake")
        };
        let is_own = |text: &str| {
            let (name, port) = match text.rsplit_once(':') {
                Some((name, port)) => (name, http::number(port)),
                None => (text, Some(443)),
            };
            port == Some(self.port) && HostName::parse(name).is_ok_and(|name| name == self.name)
        };
        let uri = request.uri();
        let mut named = 0;
        if let Some(authority) = uri.authority() {
            named += 1;
            let secure = uri.scheme_str().is_none_or(|scheme| scheme == "https");
            if !is_own(authority.as_str()) || !secure {
                return Err(other());
            }
        }
        for host in request.headers().get_all(header::HOST) {
            named += 1;
            if !host.to_str().is_ok_and(is_own) {
                return Err(other());
            }
        }
        let is_path =
            uri.path().starts_with('/') || (uri.path() == "*" && request.method() == Method::OPTIONS);
        // What becomes of a request on its way is not to be told.
        let shown = request.method() == Method::TRACE;
        if named == 0 || request.method() == Method::CONNECT || shown || !is_path {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "it is no request for a path of this host"));
        }
        Ok(())
    }

    /// Writes the request for its connection to the server, with the secrets that belong there.
    fn prepare(&self, request: Request<Incoming>, switches: bool) -> Result<Request<Content>, Refusal> {
        let (mut parts, body) = request.into_parts();
        clean(&mut parts.headers, switches);
        parts.headers.remove(header::HOST);
        remove(&mut parts.headers, http::OVERRIDES);
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let secrets = &self.shared.secrets;
        match secrets::fill(
            secrets,
            (&self.name, self.port),
            parts.method.as_str(),
            &mut parts.headers,
            &target,
        ) {
            Filled::Stray { name } => {
                let why =
                    format!("it carries what stands for the secret `{name}`, which does not belong here");
                Err(Refusal::new(StatusCode::FORBIDDEN, why))
            }
            Filled::Done { used, query } => {
                if self.moved.uses(used) {
                    self.is_new.store(true, Ordering::Relaxed);
                }
                let target = query.as_ref().map_or(target.as_str(), |query| query.as_str());
                parts.uri = format!("https://{}{target}", self.authority())
                    .parse()
                    .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "its target is none"))?;
                if self.redacts() {
                    // An echo in a compressed answer could not be seen, nor one in pieces.
                    parts.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
                    remove(&mut parts.headers, PIECES);
                }
                Ok(Request::from_parts(parts, body.boxed()))
            }
        }
    }

    /// Returns what the server is asked for: the name, and a port that is not the usual one.
    fn authority(&self) -> String {
        if self.port == 443 { self.name.to_string() } else { format!("{}:{}", self.name, self.port) }
    }

    /// Any host may have been told a value by another one.
    fn redacts(&self) -> bool {
        !self.shared.secrets.is_empty()
    }

    fn redactor(&self) -> Option<Redactor> {
        self.redacts().then(|| Redactor::of(&self.shared.secrets))
    }

    /// Sends a request on a connection that waits, or on a new one.
    async fn send(&self, mut request: Request<Content>, rule: &str) -> Result<Response<Incoming>, Refusal> {
        let broken = |error: hyper::Error| {
            let why = format!("the server broke off: {error}");
            Refusal { rule: Some(rule.to_owned()), ..Refusal::new(StatusCode::BAD_GATEWAY, why) }
        };
        let _lane = self.lanes.acquire().await;
        loop {
            let mut is_new = false;
            let sender = if let Some(sender) = self.waiting() {
                sender
            } else {
                let _alone = self.connecting.lock().await;
                if let Some(sender) = self.waiting() {
                    sender
                } else {
                    is_new = true;
                    self.connect().await?
                }
            };
            match sender {
                Sender::Two(mut sender) => {
                    *request.version_mut() = Version::HTTP_2;
                    match sender.try_send_request(request).await {
                        Ok(response) => return Ok(response),
                        Err(mut error) => match error.take_message() {
                            // It had closed while nobody looked.
                            Some(again) if !is_new => {
                                self.state().two = None;
                                request = again;
                            }
                            _ => return Err(broken(error.into_error())),
                        },
                    }
                }
                Sender::One(mut sender) => {
                    to_one(&mut request, &self.authority())?;
                    match sender.try_send_request(request).await {
                        Ok(response) => {
                            self.state().idle.push(sender);
                            return Ok(response);
                        }
                        Err(mut error) => match error.take_message() {
                            Some(again) if !is_new => request = again,
                            _ => return Err(broken(error.into_error())),
                        },
                    }
                }
            }
        }
    }

    fn waiting(&self) -> Option<Sender> {
        let mut state = self.state();
        if let Some(sender) = state.two.as_ref().filter(|sender| !sender.is_closed()) {
            return Some(Sender::Two(sender.clone()));
        }
        // The others have answers that still go through.
        state.idle.retain(|sender| !sender.is_closed());
        let ready = state.idle.iter().position(http1::SendRequest::is_ready)?;
        Some(Sender::One(state.idle.swap_remove(ready)))
    }

    async fn connect(&self) -> Result<Sender, Refusal> {
        let first = self.state().first.take();
        let mut permit = None;
        let made = if let Some(made) = first {
            made
        } else {
            let Ok(room) = Arc::clone(&self.shared.open).try_acquire_owned() else {
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "there are too many connections"));
            };
            permit = Some(room);
            let mut record = Connection { allowed: true, number: 0, ..self.sample.clone() };
            let made = make(self.name.clone(), self.port, &self.shared, &mut record).await;
            let made = made.map_err(|refused| Refusal::from(&refused))?;
            record.reason = Some("one more connection for the same client".into());
            self.shared.records.ended(record).await;
            made
        };
        let Made { upstream, address, rule, charge, .. } = made;
        let failed =
            |why: String| Refusal { rule: Some(rule.clone()), ..Refusal::new(StatusCode::BAD_GATEWAY, why) };
        let stream = Metered::new(upstream, &self.moved, charge);
        let config = self.shared.believed(self.of_two).map_err(|error| failed(error.to_string()))?;
        let server = rustls::pki_types::ServerName::try_from(self.name.to_string())
            .map_err(|error| failed(error.to_string()))?;
        let shake = timeout(PATIENCE, TlsConnector::from(config).connect(server, stream)).await;
        let stream = shake
            .map_err(|_| failed(format!("{address} did not finish its TLS handshake in time")))?
            .map_err(|error| failed(format!("{address} is not believed to be this host: {error}")))?;
        let of_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let broken = |error: hyper::Error| failed(format!("{address} broke off: {error}"));
        if of_two {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new());
            builder.initial_stream_window_size(WINDOW).initial_connection_window_size(2 * WINDOW);
            builder.max_header_list_size(u32::try_from(MOST_HEAD).unwrap_or(u32::MAX));
            let (sender, connection) = builder.handshake(io).await.map_err(broken)?;
            tokio::spawn(async move {
                let _ended = connection.await;
                drop(permit);
            });
            self.state().two = Some(sender.clone());
            Ok(Sender::Two(sender))
        } else {
            let (sender, connection) =
                http1::Builder::new().max_buf_size(MOST_HEAD).handshake(io).await.map_err(broken)?;
            tokio::spawn(async move {
                let _ended = connection.with_upgrades().await;
                drop(permit);
            });
            Ok(Sender::One(sender))
        }
    }
}

fn is_websocket(request: &Request<Incoming>) -> bool {
    let upgrade = request.headers().get(header::UPGRADE);
    upgrade.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Removes what is about one connection alone.
fn clean(headers: &mut HeaderMap, switches: bool) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let upgrade = headers.get(header::UPGRADE).filter(|_| switches).cloned();
    // gRPC asks whether there may be something behind the body.
    let trailers = headers.get(header::TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in named.iter().chain(&OF_A_CONNECTION).chain([&header::TE]) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Gives a request the form that it has in HTTP/1.
fn to_one(request: &mut Request<Content>, authority: &str) -> Result<(), Refusal> {
    let bad = || Refusal::new(StatusCode::BAD_REQUEST, "its target is none");
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let uri: Uri = target.parse().map_err(|_| bad())?;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    let host = HeaderValue::from_str(authority).map_err(|_| bad())?;
    request.headers_mut().insert(header::HOST, host);
    // HTTP/2 may split it, and HTTP/1 may not.
    let mut cookies = request.headers().get_all(header::COOKIE).iter();
    if let (Some(_), Some(_)) = (cookies.next(), cookies.next()) {
        let all: Vec<&[u8]> =
            request.headers().get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        let joined = HeaderValue::from_bytes(&all.join(&b"; "[..])).map_err(|_| bad())?;
        request.headers_mut().insert(header::COOKIE, joined);
    }
    Ok(())
}

fn whole(text: String) -> Content {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed()
}
