//! A scripted model server: it speaks the four model protocols that agents use and
//! answers from a fixed plan, so a whole agent run is repeatable and needs no network.
//!
//! Every connection has its own thread. Requests are recorded before they are answered,
//! so whoever has seen an answer also finds its request in [`ModelServer::requests`].

mod answer;
mod anthropic;
mod chat;
mod gemini;
mod http;
mod responses;
mod routes;
mod script;

use std::io::{self, BufReader, Read as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use http::Incoming;
pub use http::{MAX_BODY, Request};
pub use routes::is_model_call;
pub use script::{FINAL_TEXT, Failure, Script};

/// A running server on a loopback port; dropping it closes every connection.
pub struct ModelServer {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<Vec<Connection>>>,
}

struct Shared {
    script: Script,
    requests: Mutex<Vec<Request>>,
    stopping: AtomicBool,
}

/// The handle on the socket is what lets `drop` wake a thread that waits for its client.
struct Connection {
    socket: TcpStream,
    thread: JoinHandle<()>,
}

impl ModelServer {
    pub fn start(script: Script) -> Self {
        Self::start_on(0, script).expect("a free loopback port")
    }

    /// Port 0 takes any free one.
    pub fn start_on(port: u16, script: Script) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = listener.local_addr()?.port();
        let shared =
            Arc::new(Shared { script, requests: Mutex::default(), stopping: AtomicBool::new(false) });
        let for_acceptor = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &for_acceptor));
        Ok(Self { port, shared, acceptor: Some(acceptor) })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The base address, with no slash at its end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What has arrived so far, in order, keys and all.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        self.shared.stopping.store(true, Ordering::SeqCst);
        // `accept` has no timeout: one more connection makes it look at the flag.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
        for connection in acceptor.join().unwrap_or_default() {
            connection.socket.shutdown(Shutdown::Both).ok();
            connection.thread.join().ok();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) -> Vec<Connection> {
    let mut open: Vec<Connection> = Vec::new();
    for socket in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        open.retain(|connection| !connection.thread.is_finished());
        let Ok(socket) = socket else { continue };
        let Ok(ours) = socket.try_clone() else { continue };
        let shared = Arc::clone(shared);
        let thread = thread::spawn(move || {
            serve(&ours, &shared).ok();
            // The acceptor still holds the socket, so going out of scope would not close it.
            ours.shutdown(Shutdown::Both).ok();
        });
        open.push(Connection { socket, thread });
    }
    open
}

/// Answers one connection's requests until either side wants it closed.
fn serve(socket: &TcpStream, shared: &Shared) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut reader = BufReader::new(socket);
    loop {
        let incoming = match http::read_request(&mut reader, socket) {
            Ok(Some(incoming)) => incoming,
            Ok(None) => return Ok(()),
            Err(refusal) => return refusal.answer().write(socket, &Incoming::closing()),
        };
        shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(incoming.request.clone());

        let answer = match &shared.script {
            Script::Fail(failure) if is_model_call(&incoming.request) => match failure {
                Failure::Status(status) => routes::failure(&incoming.request, *status),
                Failure::Cut => return routes::answer(&incoming.request, &shared.script).write_half(socket),
                Failure::Hang => return wait_for_close(&mut reader),
            },
            script => routes::answer(&incoming.request, script),
        };
        answer.write(socket, &incoming)?;
        if !incoming.keep_alive {
            return Ok(());
        }
    }
}

/// The client gives up, or `drop` shuts the socket down.
fn wait_for_close(reader: &mut BufReader<&TcpStream>) -> io::Result<()> {
    let mut ignored = [0; 1024];
    while reader.read(&mut ignored)? > 0 {}
    Ok(())
}
