//! A network namespace: who owns it, and where its addresses lead. Spoken with the kernel by netlink.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::libc;

const NS_GET_USERNS: libc::Ioctl = 0xb701;
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// The loopback interface is the first one of every namespace.
const LOOPBACK: u32 = 1;

/// Says whether a descriptor is a network namespace.
pub fn is_network(namespace: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: asks for a number; writes nothing.
    let kind = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) };
    if kind < 0 { Err(io::Error::last_os_error()) } else { Ok(kind == libc::CLONE_NEWNET) }
}

/// Returns the user namespace that owns another one.
pub fn owner(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: asks for a descriptor; writes nothing.
    let owner = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    if owner < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: freshly made above.
    Ok(unsafe { OwnedFd::from_raw_fd(owner) })
}

/// Gives the loopback interface one more address.
pub fn add_address(address: IpAddr) -> io::Result<()> {
    const LOCAL: u16 = 2;
    const ADDRESS: u16 = 1;
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let bits = u8::try_from(bytes.len() * 8).unwrap_or_default();
    // Family, length of the prefix, flags, scope, interface: `struct ifaddrmsg`.
    let mut body = vec![family(address.is_ipv6()), bits, 0, 0];
    body.extend(LOOPBACK.to_ne_bytes());
    for kind in [LOCAL, ADDRESS] {
        attribute(&mut body, kind, &bytes);
    }
    ask(libc::RTM_NEWADDR, &body)
}

/// Makes every address of a version lead to this machine, by way of the loopback interface.
pub fn all_is_local(six: bool) -> io::Result<()> {
    const OUT: u16 = 4;
    const STATIC: u8 = 4;
    let scope = if six { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_HOST };
    // Family, two lengths of prefixes, service, table, protocol, scope, type, flags: `struct rtmsg`.
    let mut body = vec![family(six), 0, 0, 0, libc::RT_TABLE_LOCAL, STATIC, scope, libc::RTN_LOCAL];
    body.extend(0_u32.to_ne_bytes());
    attribute(&mut body, OUT, &LOOPBACK.to_ne_bytes());
    ask(libc::RTM_NEWROUTE, &body)
}

fn family(six: bool) -> u8 {
    u8::try_from(if six { libc::AF_INET6 } else { libc::AF_INET }).unwrap_or_default()
}

fn attribute(body: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let length = u16::try_from(content.len() + 4).unwrap_or_default();
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(content);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Sends one request that makes something, and waits for its answer.
fn ask(kind: u16, body: &[u8]) -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
    const HEADER: usize = 16;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut message = u32::try_from(HEADER + body.len()).unwrap_or_default().to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(u16::try_from(flags).unwrap_or_default().to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    let protocol = SockProtocol::NetlinkRoute;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    send(netlink.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let error = answer.get(..length).and_then(|answer| answer.get(HEADER..HEADER + 4)?.first_chunk());
    match error.map(|bytes| i32::from_ne_bytes(*bytes)) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("the kernel gave no answer")),
    }
}

/// Returns the addresses of this machine's interfaces.
pub fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(address) = interface.address else { continue };
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        found.extend(v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip()))));
    }
    Ok(found)
}
