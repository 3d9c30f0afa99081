//! Two hosts: a network namespace of the test, and one beside it with servers that answer anything.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::marker::PhantomData;
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

use super::web::{self, Asked};
use crate::model_server::{ModelServer, Script};
use crate::sandbox::is_root;

/// Addresses of a range that is not private.
const OURS: &str = "11.93.7.1";
const THEIRS: &str = "11.93.7.2";
const WEB: &str = "11.93.7.3";
const MODEL: &str = "11.93.7.4";
const ANY: &str = "11.94.7.0/24";
/// Leads out of the second network, if a test carries it.
const OUTSIDE: &str = "11.93.7.5";

/// Of version 6, and private: there is no public range that nobody has.
const OUR_SIX: &str = "fd93:7::1";
const THEIR_SIX: &str = "fd93:7::2";

/// The interface of the test that leads to the servers.
const LINK: &str = "pier";

/// Answers with what it has heard.
const ECHO: u16 = 9419;

/// What the servers have been sent.
type Heard = Arc<Mutex<Vec<(u16, Vec<u8>)>>>;

/// A second host: a thread in a network namespace of its own, with servers that answer anything. The thread of the test, and what
/// it starts, is in another one, which reaches that and nothing else, until this is dropped.
pub struct Servers {
    pub web: web::Web,
    /// At [`OUTSIDE`], port 443; what connects there is the test's.
    pub outside: TcpListener,
    /// Whether there are addresses of version 6.
    pub has_six: bool,
    /// The network of this machine.
    before: File,
    heard: Heard,
    _stop: Sender<()>,
    /// A network is one thread's.
    _thread: PhantomData<*const ()>,
}

impl Servers {
    /// `None`, with the reason printed, where it cannot be.
    pub fn start() -> Option<Self> {
        Self::start_with(Script::Commands(Vec::new()))
    }

    /// With a model that follows a script.
    pub fn start_with(script: Script) -> Option<Self> {
        if !is_root() || Command::new("ip").arg("-V").output().is_err() {
            println!("skipped: only root can make a second network, with `ip`");
            return None;
        }
        let (ready, is_ready) = channel();
        let (go, may_go) = channel::<()>();
        let (stop, stopped) = channel::<()>();
        let (give, given) = channel();
        let has_six = std::path::Path::new("/proc/net/if_inet6").exists();
        let heard = Heard::default();
        let hears = Arc::clone(&heard);
        let web = web::Web::new();
        let of_thread = web.clone();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ready.send(nix::unistd::gettid()).unwrap();
            may_go.recv().unwrap();
            let six = has_six.then_some((THEIR_SIX, 80));
            for (address, port) in [80, 443, 9418, ECHO].map(|port| (THEIRS, port)).into_iter().chain(six) {
                let listener = TcpListener::bind((address, port)).unwrap();
                let hears = Arc::clone(&hears);
                std::thread::spawn(move || serve(&listener, port, &hears));
            }
            give.send(TcpListener::bind((OUTSIDE, 443)).unwrap()).unwrap();
            let model = ModelServer::start(script);
            web::relay(TcpListener::bind((MODEL, 443)).unwrap(), of_thread.clone(), model.port());
            web::serve(TcpListener::bind((WEB, 8443)).unwrap(), of_thread.clone());
            web::serve(TcpListener::bind((WEB, 443)).unwrap(), of_thread);
            ready.send(nix::unistd::gettid()).unwrap();
            // To the end of the test.
            let _ended = stopped.recv();
            drop(model);
        });
        let thread = is_ready.recv().unwrap().to_string();
        let before = File::open("/proc/thread-self/ns/net").unwrap();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let ip = |words: &[&str]| {
            let status = Command::new("ip").args(words).status().unwrap();
            assert!(status.success(), "{words:?}");
        };
        let inside = |words: &[&str]| {
            let entered = ["--net", "-t", &thread, "ip"];
            assert!(
                Command::new("nsenter").args(entered).args(words).status().unwrap().success(),
                "{words:?}"
            );
        };
        ip(&["link", "set", "lo", "up"]);
        ip(&["link", "add", LINK, "type", "veth", "peer", "name", "other", "netns", &thread]);
        ip(&["addr", "add", &format!("{OURS}/24"), "dev", LINK]);
        ip(&["link", "set", LINK, "up"]);
        // This machine's own, though no interface has it.
        ip(&["route", "add", "local", ANY, "dev", LINK]);
        inside(&["addr", "add", &format!("{THEIRS}/24"), "dev", "other"]);
        inside(&["addr", "add", &format!("{WEB}/24"), "dev", "other"]);
        inside(&["addr", "add", &format!("{MODEL}/24"), "dev", "other"]);
        inside(&["addr", "add", &format!("{OUTSIDE}/24"), "dev", "other"]);
        if has_six {
            ip(&["addr", "add", &format!("{OUR_SIX}/64"), "dev", LINK, "nodad"]);
            inside(&["addr", "add", &format!("{THEIR_SIX}/64"), "dev", "other", "nodad"]);
        }
        inside(&["link", "set", "lo", "up"]);
        inside(&["link", "set", "other", "up"]);
        go.send(()).unwrap();
        is_ready.recv().unwrap();
        let outside = given.recv().unwrap();
        Some(Servers { web, outside, has_six, before, heard, _stop: stop, _thread: PhantomData })
    }

    /// Does something in the network of this machine; threads that begin there stay there.
    pub fn on_this_machine(&self, work: impl FnOnce()) {
        let own = File::open("/proc/thread-self/ns/net").unwrap();
        setns(&self.before, CloneFlags::CLONE_NEWNET).unwrap();
        work();
        setns(&own, CloneFlags::CLONE_NEWNET).unwrap();
    }

    pub fn heard(&self) -> Vec<(u16, String)> {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        heard.into_iter().map(|(port, bytes)| (port, String::from_utf8_lossy(&bytes).into_owned())).collect()
    }
}

impl Servers {
    /// Requests that have reached the web server since this was asked last.
    pub fn asked(&self) -> Vec<Asked> {
        self.web.take()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        setns(&self.before, CloneFlags::CLONE_NEWNET).unwrap();
    }
}

fn serve(listener: &TcpListener, port: u16, heard: &Heard) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..length]);
        }
        let said = match port {
            ECHO => String::from_utf8_lossy(&bytes).into_owned(),
            _ => format!("answer of {port}\n"),
        };
        heard.lock().unwrap().push((port, bytes));
        // Whoever was cut off hears nothing.
        let _gone = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{said}").as_bytes());
    }
}
