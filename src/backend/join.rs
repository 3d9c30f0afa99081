//! Sockets in a sandbox's network namespace, bound by a short-lived process of pier that has joined it.
//!
//! Called as `pier __join PORT …`: descriptor 3 is a socket to its parent, descriptor 4 the namespace. It enters the
//! user namespace that owns the other one, where it may do what a sandbox may not, makes every address lead to the
//! loopback interface, binds, sends the sockets away, and ends. Called as `pier __join --connect SOCKET PORT …`, in a
//! container beside the sandbox's, it is where it should be, and has its socket there.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{Backlog, listen};

use crate::gateway::Sockets;
use crate::gateway::publish::Door;
use crate::sys::{fd, network, process, socket, spawn};

const SOCKET: i32 = 3;
const NAMESPACE: i32 = 4;

/// The port of the name service.
const DNS: u16 = 53;

/// The most sockets that are asked for.
const MOST: usize = 512;

/// Addresses of the sandbox that are not loopback: without one, some resolvers ask for no address of that kind.
const V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd70, 0x6965, 0x7200, 0, 0, 1, 0, 1);

/// What asks for a process that stays, and makes sockets one by one.
pub(super) const DOOR: &str = "door";

/// What goes before the path of the socket to the supervisor.
pub(super) const CONNECT: &str = "--connect";

/// Runs the helper; `words` are those after `__join`.
pub fn main(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let mut words = words.by_ref().peekable();
    let beside = words.next_if(|word| word == CONNECT).and_then(|_| words.next());
    let door = words.next_if(|word| word == DOOR).is_some();
    let ports =
        words.map(|word| word.to_str().and_then(|word| word.parse().ok())).collect::<Option<Vec<u16>>>();
    let made = ports.ok_or_else(|| io::Error::other("not a port")).and_then(|ports| {
        process::forbid_dumps()?;
        let socket = match beside {
            Some(path) => socket::connect_at(&path)?,
            None => enter(door)?,
        };
        if door { serve(&socket) } else { bind_all(&socket, &ports) }
    });
    match made {
        Ok(()) => ExitCode::SUCCESS,
        // The parent hears that there are no sockets; this is for whoever looks for the reason.
        Err(error) => {
            tracing::debug!(%error, "no sockets");
            ExitCode::FAILURE
        }
    }
}

/// Enters the namespace on its descriptor, and returns the socket to the parent.
fn enter(stays: bool) -> io::Result<OwnedFd> {
    if stays {
        process::die_with_parent()?;
    }
    let socket = fd::adopt(SOCKET)?;
    let namespace = fd::adopt(NAMESPACE)?;
    let owner = network::owner(namespace.as_fd())?;
    setns(&owner, CloneFlags::CLONE_NEWUSER)?;
    setns(&namespace, CloneFlags::CLONE_NEWNET)?;
    if stays {
        // Again: other rights undo it.
        process::die_with_parent()?;
    }
    Ok(socket)
}

/// Makes a socket for each word of the supervisor, until it leaves.
fn serve(socket: &OwnedFd) -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket as make};
    loop {
        let (word, _) = fd::receive(socket.as_fd())?;
        let family = match word.as_slice() {
            [4] => AddressFamily::Inet,
            [6] => AddressFamily::Inet6,
            _ => return Ok(()),
        };
        let made = make(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None);
        let made = made.map_err(io::Error::from)?;
        fd::send(socket.as_fd(), &word, &[made.as_fd()])?;
    }
}

/// Returns what makes sockets in the network namespace of a sandbox, for as long as it is kept.
pub fn door(program: &str, namespace: BorrowedFd<'_>) -> io::Result<Door> {
    require_other(namespace)?;
    let (socket, theirs) = fd::message_sockets()?;
    let (_said, complain) = io::pipe()?;
    let child = spawn::spawn(&spawn::Program {
        words: &[program.to_owned(), "__join".to_owned(), DOOR.to_owned()],
        environment: &[],
        standard_error: complain.as_fd(),
        placed: &[(theirs.as_fd(), SOCKET), (namespace, NAMESPACE)],
        outlives: false,
    })?;
    drop(theirs);
    Ok(door_on(socket, Helper { child }))
}

/// Returns the door behind a socket; `keeper` is what has to be kept as long, and is dropped after the socket.
pub fn door_on(socket: OwnedFd, keeper: impl Send + 'static) -> Door {
    // Asked one at a time; the other side ends when the socket is closed.
    let state = Mutex::new((socket, keeper));
    Box::new(move |six| {
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = &state.0;
        let word = [if six { 6 } else { 4 }];
        fd::send(socket.as_fd(), &word, &[])?;
        let (said, mut descriptors) = fd::receive(socket.as_fd())?;
        match (descriptors.pop(), descriptors.is_empty()) {
            (Some(descriptor), true) if said == word => Ok(descriptor),
            _ => Err(io::Error::other("no socket could be made inside")),
        }
    })
}

struct Helper {
    child: spawn::Child,
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It has nothing to do but to end.
        let _ended = self.child.wait();
    }
}

fn bind_all(socket: &OwnedFd, ports: &[u16]) -> io::Result<()> {
    network::add_address(V4.into())?;
    network::all_is_local(false)?;
    let six = network::add_address(V6.into()).and_then(|()| network::all_is_local(true));
    if let Err(error) = six {
        tracing::debug!(%error, "the sandbox has no IPv6");
    }
    let dns = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, DNS))
        .or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DNS)))?;
    fd::send(socket.as_fd(), &DNS.to_be_bytes(), &[dns.as_fd()])?;
    for port in ports {
        // Both versions by one socket, where there are both.
        let any = [
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port)),
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port)),
        ];
        let listener = TcpListener::bind(&any[..])?;
        // As many as the kernel lets wait: one that finds no room tries again after a second (`listen(2)`).
        listen(&listener, Backlog::MAXALLOWABLE)?;
        fd::send(socket.as_fd(), &port.to_be_bytes(), &[listener.as_fd()])?;
    }
    Ok(())
}

/// Returns sockets for these ports, and for names, in the network namespace of a sandbox.
///
/// # Errors
/// Whatever is missing is an error: a network in parts is none. So is a namespace that is this process's own.
pub fn sockets(program: &str, namespace: BorrowedFd<'_>, ports: &[u16]) -> io::Result<Sockets> {
    require_other(namespace)?;
    require_few(ports)?;
    let (socket, theirs) = fd::message_sockets()?;
    let (_said, complain) = io::pipe()?;
    let mut words = vec![program.to_owned(), "__join".to_owned()];
    words.extend(ports.iter().map(ToString::to_string));
    let child = spawn::spawn(&spawn::Program {
        words: &words,
        environment: &[],
        standard_error: complain.as_fd(),
        placed: &[(theirs.as_fd(), SOCKET), (namespace, NAMESPACE)],
        outlives: false,
    })?;
    drop(theirs);
    let received = receive(socket.as_fd(), ports);
    let ended = child.wait();
    let sockets = received?;
    ended?;
    Ok(sockets)
}

/// Refuses more ports than there are descriptors for.
pub(super) fn require_few(ports: &[u16]) -> io::Result<()> {
    if ports.len() > MOST {
        return Err(io::Error::other(format!("more than {MOST} ports are allowed")));
    }
    Ok(())
}

/// Refuses a namespace that is this process's own.
fn require_other(namespace: BorrowedFd<'_>) -> io::Result<()> {
    let other = File::from(namespace.try_clone_to_owned()?).metadata()?;
    let own = fs_err::metadata("/proc/self/ns/net")?;
    if !network::is_network(namespace)? || (own.dev(), own.ino()) == (other.dev(), other.ino()) {
        return Err(io::Error::other("the sandbox has no network namespace of its own"));
    }
    Ok(())
}

/// Hands sockets to somebody who takes them by [`receive`].
pub fn hand(socket: BorrowedFd<'_>, sockets: &Sockets) -> io::Result<()> {
    fd::send(socket, &DNS.to_be_bytes(), &[sockets.dns.as_fd()])?;
    sockets
        .tcp
        .iter()
        .try_for_each(|(port, listener)| fd::send(socket, &port.to_be_bytes(), &[listener.as_fd()]))
}

/// Takes the sockets that somebody else has made.
pub fn receive(socket: BorrowedFd<'_>, ports: &[u16]) -> io::Result<Sockets> {
    let next = |wanted: u16| -> io::Result<OwnedFd> {
        let (message, mut descriptors) = fd::receive(socket)?;
        match (descriptors.pop(), descriptors.is_empty()) {
            (Some(descriptor), true) if message == wanted.to_be_bytes() => Ok(descriptor),
            _ => Err(io::Error::other(format!("no socket could be bound for port {wanted}"))),
        }
    };
    let dns = UdpSocket::from(next(DNS)?);
    let tcp = ports.iter().map(|port| Ok((*port, TcpListener::from(next(*port)?))));
    Ok(Sockets { dns, tcp: tcp.collect::<io::Result<_>>()? })
}
