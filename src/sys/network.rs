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
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    exchange(kind, flags, body).map(drop)
}

/// Where packets to an address go, as the kernel decides it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To one machine that is not this one.
    Away,
    /// To this machine, to many, or nowhere.
    Other,
}

/// Asks the kernel where an address leads: also those that no interface has can be this machine's.
///
/// # Errors
/// There is no way to the address.
pub fn route(address: IpAddr) -> io::Result<Route> {
    const TO: u16 = 1;
    /// Of the type, behind the header of the message: `struct rtmsg`.
    const TYPE: usize = 7;
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let bits = u8::try_from(bytes.len() * 8).unwrap_or_default();
    let mut body = vec![family(address.is_ipv6()), bits, 0, 0, 0, 0, 0, 0];
    body.extend(0_u32.to_ne_bytes());
    attribute(&mut body, TO, &bytes);
    let answer = exchange(libc::RTM_GETROUTE, libc::NLM_F_REQUEST, &body)?;
    match answer.get(TYPE) {
        Some(kind) if *kind == libc::RTN_UNICAST => Ok(Route::Away),
        Some(_) => Ok(Route::Other),
        None => Err(io::Error::other("the kernel gave no answer")),
    }
}

/// Sends one request, and returns the answer behind its header: nothing where that only says that it was done.
fn exchange(kind: u16, flags: libc::c_int, body: &[u8]) -> io::Result<Vec<u8>> {
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
    const HEADER: usize = 16;
    let mut message = u32::try_from(HEADER + body.len()).unwrap_or_default().to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(u16::try_from(flags).unwrap_or_default().to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    let protocol = SockProtocol::NetlinkRoute;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    send(netlink.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = vec![0; 4096];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    answer.truncate(length);
    let missing = || io::Error::other("the kernel gave no answer");
    let said = answer.get(4..6).and_then(|bytes| bytes.first_chunk()).ok_or_else(missing)?;
    let rest = answer.get(HEADER..).ok_or_else(missing)?;
    if i32::from(u16::from_ne_bytes(*said)) != libc::NLMSG_ERROR {
        return Ok(rest.to_vec());
    }
    match i32::from_ne_bytes(*rest.first_chunk().ok_or_else(missing)?) {
        0 => Ok(Vec::new()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_its_own_addresses() {
        for own in ["127.0.0.1", "127.8.9.10", "::1", "255.255.255.255"] {
            assert_eq!(route(own.parse().unwrap()).unwrap(), Route::Other, "{own}");
        }
        // A machine without a network has no way there, which is as good.
        let away = route("192.0.2.1".parse().unwrap());
        assert!(away.as_ref().map_or(true, |route| *route == Route::Away), "{away:?}");
    }
}
