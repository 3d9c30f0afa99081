//! A web server with TLS, of HTTP/1 and HTTP/2, that tells the test what it was asked, and the client as well.

use std::convert::Infallible;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// One request as the server has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub line: String,
    pub scheme: Scheme,
    /// Whom it is for, by its own words.
    pub host: String,
    pub headers: Vec<(String, String)>,
    pub length: u64,
    /// How the body begins.
    pub start: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// The most of a body that is kept, in bytes.
const START: usize = 4096;

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// What the server has seen, and what it is believed by.
#[derive(Clone)]
pub struct Web {
    asked: Arc<Mutex<Vec<Asked>>>,
    /// The authority that has signed its certificate, as PEM.
    pub authority: String,
    config: Arc<rustls::ServerConfig>,
    /// What clients of the model have sent, without its TLS.
    told: Arc<Mutex<Vec<u8>>>,
    /// What is served below `/files/`.
    pub files: Arc<Mutex<PathBuf>>,
}

/// Names that its certificate is for.
const NAMES: &[&str] = &[
    "api.test",
    "narrow.test",
    "code.test",
    "pinned.test",
    "open.test",
    "repo.test",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "model.test",
    "allowed.test",
    "x.wide.test",
    "evil.test",
];

impl Web {
    pub fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, key);
        let names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut leaf = rcgen::CertificateParams::new(names).unwrap();
        // Of another name than the authority: clients would take it for one that has signed itself.
        leaf.distinguished_name.push(rcgen::DnType::CommonName, "a server");
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Web {
            asked: Arc::default(),
            authority,
            config: Arc::new(config),
            told: Arc::default(),
            files: Arc::default(),
        }
    }

    /// What clients of the model have sent so far.
    pub fn told(&self) -> String {
        String::from_utf8_lossy(&self.told.lock().unwrap()).into_owned()
    }

    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// Serves from a thread of its own, in the network of this one.
pub fn serve(listener: TcpListener, web: Web) {
    each(listener, move |stream| connection(stream, web.clone()));
}

fn each<Carried>(listener: TcpListener, carry: impl Fn(tokio::net::TcpStream) -> Carried + Send + 'static)
where
    Carried: Future<Output = ()> + Send + 'static,
{
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(stream));
            }
        });
    });
}

/// Ends the TLS of connections to the model, which speaks HTTP/1 at a port of this network's loopback.
pub fn relay(listener: TcpListener, web: Web, port: u16) {
    let mut config = rustls::ServerConfig::clone(&web.config);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    each(listener, move |stream| {
        let (acceptor, told) = (acceptor.clone(), Arc::clone(&web.told));
        async move {
            // Whoever breaks off has said enough.
            let _left = to_model(stream, acceptor, port, &told).await;
        }
    });
}

async fn to_model(
    stream: tokio::net::TcpStream,
    acceptor: tokio_rustls::TlsAcceptor,
    port: u16,
    told: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    let stream = acceptor.accept(stream).await?;
    let model = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut from, mut to) = tokio::io::split(stream);
    let (mut answers, mut asks) = model.into_split();
    let up = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return asks.shutdown().await;
            }
            told.lock().unwrap().extend_from_slice(&buffer[..length]);
            asks.write_all(&buffer[..length]).await?;
        }
    };
    let down = async {
        tokio::io::copy(&mut answers, &mut to).await?;
        to.shutdown().await
    };
    tokio::try_join!(up, down).map(drop)
}

/// Serves one connection.
pub async fn connection(stream: tokio::net::TcpStream, web: Web) {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&web.config));
    let Ok(stream) = acceptor.accept(stream).await else { return };
    // Of one name only the older protocol is spoken.
    let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = hyper::service::service_fn(move |request| {
        let web = web.clone();
        async move { Ok::<_, Infallible>(answer(request, Scheme::Https, web).await) }
    });
    let io = TokioIo::new(stream);
    let _ended = if two {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
    } else {
        hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades().await
    };
}

/// Serves one connection without TLS.
pub async fn plain(stream: tokio::net::TcpStream, web: Web) {
    let service = hyper::service::service_fn(move |request| {
        let web = web.clone();
        async move { Ok::<_, Infallible>(answer(request, Scheme::Http, web).await) }
    });
    let http = hyper::server::conn::http1::Builder::new();
    let _ended = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

type Content = BoxBody<Bytes, Infallible>;

async fn answer(mut request: Request<Incoming>, scheme: Scheme, web: Web) -> Response<Content> {
    let two = if request.version() == Version::HTTP_2 { "2" } else { "1" };
    let target = request.uri().path_and_query().map_or("", |target| target.as_str()).to_owned();
    let line = format!("{} {target} {two}", request.method());
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").to_owned()))
        .collect();
    let named = request.uri().authority().map(ToString::to_string);
    let field = headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value.clone());
    let host = named.or(field).unwrap_or_default();
    let text = |asked: &Asked| {
        let mut text = format!("{}\n{} bytes\n", asked.line, asked.length);
        for (name, value) in &asked.headers {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text
    };
    let mut asked = Asked { line, scheme, host, headers, length: 0, start: Vec::new() };
    if request.uri().path() == "/switch" {
        web.asked.lock().unwrap().push(asked.clone());
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut buffer = vec![0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                // The key goes along, as if it were a message.
                let mut echo = asked.header("x-api-key").unwrap_or_default().as_bytes().to_vec();
                echo.push(b' ');
                echo.extend_from_slice(&buffer[..length]);
                let frame = [&[0x81, u8::try_from(echo.len()).unwrap()], &echo[..]].concat();
                stream.write_all(&frame).await.unwrap();
            }
        });
        let mut response = Response::new(whole(String::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket")] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        return response;
    }
    if let Some(path) = request.uri().path().strip_prefix("/files/") {
        web.asked.lock().unwrap().push(asked);
        let found = fs_err::read(web.files.lock().unwrap().join(path));
        let status = if found.is_ok() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let mut response = Response::new(Full::new(Bytes::from(found.unwrap_or_default())).boxed());
        if path.ends_with("index.html") {
            response.headers_mut().insert("content-type", "text/html".parse().unwrap());
        }
        *response.status_mut() = status;
        return response;
    }
    if request.uri().path() == "/away" {
        web.asked.lock().unwrap().push(asked);
        let to = request.uri().query().unwrap_or_default().parse().unwrap();
        let mut response = Response::new(whole(String::new()));
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert("location", to);
        return response;
    }
    if request.uri().path() == "/big" {
        let length = request.uri().query().unwrap_or_default().parse().unwrap();
        return Response::new(Full::new(Bytes::from(vec![b'x'; length])).boxed());
    }
    if request.uri().path() == "/stream" {
        web.asked.lock().unwrap().push(asked);
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            for number in 1..=3 {
                sender.send(Ok(Frame::data(Bytes::from(format!("data: {number}\n\n"))))).await.unwrap();
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        });
        return Response::new(StreamBody::new(Receiver(receiver)).boxed());
    }
    if request.uri().path() == "/trailers" {
        web.asked.lock().unwrap().push(asked.clone());
        let key = asked.header("x-api-key").unwrap_or_default();
        let mut trailers = hyper::HeaderMap::new();
        trailers.insert("grpc-message", format!("bad key {key}").parse().unwrap());
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        let frames = [Frame::data(Bytes::from(key.to_owned())), Frame::trailers(trailers)];
        for frame in frames {
            sender.send(Ok(frame)).await.unwrap();
        }
        let mut response = Response::new(StreamBody::new(Receiver(receiver)).boxed());
        response.headers_mut().insert("trailer", "grpc-message".parse().unwrap());
        let phrase = hyper::ext::ReasonPhrase::try_from(format!("bad key {key}").into_bytes()).unwrap();
        response.extensions_mut().insert(phrase);
        return response;
    }
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        asked.length += data.len() as u64;
        let room = START.saturating_sub(asked.start.len()).min(data.len());
        asked.start.extend_from_slice(&data[..room]);
    }
    let answer = text(&asked);
    let mut response = Response::new(whole(answer));
    for (name, value) in
        asked.headers.iter().filter(|(name, _)| name == "x-api-key" || name == "authorization")
    {
        response.headers_mut().insert("x-echo", format!("{name} {value}").parse().unwrap());
    }
    web.asked.lock().unwrap().push(asked);
    response
}

fn whole(text: String) -> Content {
    Full::new(Bytes::from(text)).boxed()
}

struct Receiver(tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, Infallible>>);

impl futures_core::Stream for Receiver {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
