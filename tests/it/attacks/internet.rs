//! A network of one case's own: this side, where pier or the attack is started, and the rest of the world, which answers
//! for every address there is. Nothing of it leaves the machine, and nothing that leaves this side stays unseen.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use tokio::io::AsyncReadExt as _;
use tokio::sync::oneshot;

use super::names::{self, Names};
use super::wire::{Packet, Wire};
use super::world::World;
use crate::network::web::{self, Web};
use crate::sandbox::within;

/// This side's own addresses.
pub const OURS: [&str; 2] = ["11.93.7.1", "fd93:7::1"];

/// The host that may be reached, the one that nobody is to reach, and the name server.
pub const ALLOWED: &str = "11.95.0.1";
pub const EVIL: &str = "11.95.0.2";
pub const NAMES: &str = "11.95.0.53";

/// Ports of the world at which something listens that takes whatever it is sent; the web has its own.
const SINKS: &[u16] = &[22, 25, 53, 853, 8080, 9418];

/// Ports of this side's own services.
const SERVICES: &[u16] = &[80, 443, 18080];

/// Where nothing listens.
const MARKER: u16 = 9;

/// What scripts say to hosts by.
pub const FUNCTIONS: &str = r#"
get() { ( exec 3<>/dev/tcp/$1/${2:-80} && printf 'GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "${3:-$1}" >&3 && timeout 3 cat <&3 ) 2>/dev/null; }
tunnel() {
    if [ -n "$OPEN" ]; then exec 3<>/dev/tcp/$1/$2; return; fi
    exec 3<>/dev/tcp/127.0.0.1/3128 && printf 'CONNECT %s:%s HTTP/1.1\r\n\r\n' "$1" "$2" >&3 && read -r -t 3 line <&3 && read -r -t 3 empty <&3
}
"#;

pub struct Internet {
    pub web: Web,
    pub names: Names,
    pub sink: Sink,
    /// The network namespace of this side.
    here: File,
    wire: Wire,
    /// What shows how far the wire has been read.
    marker: UdpSocket,
    services: Vec<TcpListener>,
    _stop: oneshot::Sender<()>,
}

/// What the sinks do.
#[derive(Clone, Default)]
pub struct Sink {
    /// They let the senders wait.
    pub paused: Arc<AtomicBool>,
    /// Bytes that they have taken.
    pub taken: Arc<AtomicU64>,
    /// Connections that were closed or reset.
    pub ended: Arc<AtomicU64>,
}

impl Internet {
    pub fn new(world: &World) -> Self {
        let (web, names, sink) = (Web::new(), Names::default(), Sink::default());
        let (made, is_made) = channel();
        let (go, may_go) = channel();
        let (ready, is_ready) = channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (of_web, of_names, of_sink) = (web.clone(), names.clone(), sink.clone());
        std::thread::spawn(move || {
            let namespace = || {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                File::open("/proc/thread-self/ns/net").unwrap()
            };
            let (here, there) = (namespace(), namespace());
            made.send((here, there, Wire::new())).unwrap();
            may_go.recv().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                serve(&of_web, &of_names, &of_sink);
                ready.send(()).unwrap();
                // With the case.
                let _ended = stopped.await;
            });
            runtime.shutdown_background();
        });
        let (here, there, wire) = is_made.recv().unwrap();
        let [v4, v6] = OURS;
        let peer = path(&there);
        configure(
            &here,
            &format!(
                "link set lo up\nlink add out type veth peer name in netns {peer}\naddr add {v4}/24 dev out\n\
                addr add {v6}/64 dev out nodad\nlink set out up\nroute add default via 11.93.7.2\n"
            ),
        );
        // In the main table, so that the way back to this side is a nearer one.
        configure(
            &there,
            "link set lo up\naddr add 11.93.7.2/24 dev in\naddr add fd93:7::2/64 dev in nodad\nlink set in up\n\
            route add local 0.0.0.0/0 dev lo table main\nroute add local ::/0 dev lo table main\n",
        );
        configure(&here, "route add ::/0 via fd93:7::2\n");
        go.send(()).unwrap();
        is_ready.recv().unwrap();
        let services = inside(&here, || SERVICES.iter().map(|port| listen(*port)).collect());
        let marker = inside(&here, || UdpSocket::bind("0.0.0.0:0").unwrap());
        world.write("net/resolv.conf", &format!("nameserver {NAMES}\noptions timeout:2 attempts:1\n"));
        world.write("net/hosts", "127.0.0.1 localhost\n");
        world.write("net/bundle.pem", &web.authority);
        Internet { web, names, sink, here, wire, marker, services, _stop: stop }
    }

    /// The call of a command on this side, as a user.
    pub fn enter(&self, world: &World, uid: u32, inner: &Command) -> Command {
        let mounts = "mount --make-rprivate / && mount --bind \"$0/resolv.conf\" /etc/resolv.conf && \
            mount --bind \"$0/hosts\" /etc/hosts && \
            mount --bind \"$0/bundle.pem\" /etc/ssl/certs/ca-certificates.crt && exec \"$@\"";
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", path(&self.here)));
        command.args(["unshare", "-m", "bash", "-c", mounts]).arg(world.base().join("net"));
        if uid != 0 {
            let uid = uid.to_string();
            command.args(["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups", "--"]);
        }
        command.arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(inner.get_current_dir().unwrap_or(Path::new("/")));
        command
    }

    /// Everything that has left this side since this was asked last.
    pub fn packets(&self) -> Vec<Packet> {
        // Behind everything that was sent before, and where there is room for it.
        let mut packets = self.wire.take();
        self.marker.send_to(b"marker", (NAMES, MARKER)).unwrap();
        let is_marker = |packet: &Packet| packet.port == MARKER && packet.to.to_string() == NAMES;
        let is_read = within(Duration::from_secs(5), || {
            packets.extend(self.wire.take());
            packets.iter().any(is_marker)
        });
        assert!(is_read, "what leaves this side is not seen");
        packets.retain(|packet| !is_marker(packet));
        packets
    }

    /// What has left this side for somebody else than the host that may be reached, and the name server.
    pub fn strangers(&self) -> Vec<String> {
        let known: [IpAddr; 2] = [ALLOWED.parse().unwrap(), NAMES.parse().unwrap()];
        let mut found: Vec<String> = self
            .packets()
            .into_iter()
            .filter(|packet| !known.contains(&packet.to))
            .map(|packet| packet.to_string())
            .collect();
        found.dedup();
        found
    }

    /// Ports of this side's services that somebody has connected to.
    pub fn served(&self) -> Vec<u16> {
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        self.services.iter().filter(|listener| listener.accept().is_ok()).map(port).collect()
    }

    /// Ports at which others than the services listen on this side.
    pub fn listening(&self) -> Vec<u16> {
        let text = inside(&self.here, || {
            let read = |name| fs_err::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap();
            read("tcp") + &read("tcp6")
        });
        let port = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            let local = words.next()?.rsplit(':').next()?.to_owned();
            // `TCP_LISTEN` of the kernel's states.
            (words.nth(1)? == "0A").then(|| u16::from_str_radix(&local, 16).unwrap())
        };
        let mut ports: Vec<u16> = text.lines().filter_map(port).collect();
        ports.retain(|port| !SERVICES.contains(port));
        ports
    }
}

/// How other processes open a file of this one.
fn path(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// Does something in a network namespace.
fn inside<T: Send>(namespace: &File, act: impl FnOnce() -> T + Send) -> T {
    let entered = || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        act()
    };
    std::thread::scope(|scope| scope.spawn(entered).join().unwrap())
}

fn configure(namespace: &File, commands: &str) {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", path(namespace))).args(["ip", "-batch", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{commands}");
}

/// Listens at every address of both versions.
fn listen(port: u16) -> TcpListener {
    let listener = TcpListener::bind(("::", port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Starts everything that listens in the rest of the world, on the runtime that calls.
fn serve(web: &Web, names: &Names, sink: &Sink) {
    let each = |port| tokio::net::TcpListener::from_std(listen(port)).unwrap();
    let (plain, secure) = (each(80), each(443));
    let of_plain = web.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = plain.accept().await {
            tokio::spawn(web::plain(stream, of_plain.clone()));
        }
    });
    let of_secure = web.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = secure.accept().await {
            tokio::spawn(web::connection(stream, of_secure.clone()));
        }
    });
    for port in SINKS {
        let (listener, sink) = (each(*port), sink.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, sink.clone()));
            }
        });
    }
    let socket = UdpSocket::bind((NAMES, 53)).unwrap();
    socket.set_nonblocking(true).unwrap();
    tokio::spawn(names::serve(tokio::net::UdpSocket::from_std(socket).unwrap(), names.clone()));
}

async fn take(mut stream: tokio::net::TcpStream, sink: Sink) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        while sink.paused.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => sink.taken.fetch_add(length as u64, Ordering::Relaxed),
        };
    }
    sink.ended.fetch_add(1, Ordering::Relaxed);
}
