//! Connections to hosts: decided, resolved, compared with what addresses may be reached, and made.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::time::timeout;

use super::budget::{Charge, UsedUp};
use super::outgoing::{Outgoing, connect};
use super::serve::{PATIENCE, Shared};
use super::upstream::through;
use crate::audit::Connection;
use crate::policy::address;
use crate::policy::host::{Asked, Decision, Host, HostName, Rule, WEB, decide, refused_address};
use crate::sys::network::{self, Route};

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;

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

    /// For a host that a `deny` names, or no `allow`.
    pub fn of_rule(name: &HostName, port: u16, rule: Option<&Rule>) -> Self {
        if let Some(rule) = rule {
            let rule = Some(rule.origin.clone());
            return Refused { rule, ..Refused::because(Some(name), "a `deny` names it") };
        }
        let fix = Some(allow(name.as_str(), port));
        Refused { fix, ..Refused::because(Some(name), "no `allow` names it") }
    }

    /// For an address that a `deny` names, or no `allow`.
    pub fn of_address(address: IpAddr, port: u16, rule: Option<&Rule>) -> Self {
        if let Some(rule) = rule {
            let why = format!("a `deny` names the address {address}");
            return Refused { rule: Some(rule.origin.clone()), ..Refused::because(None, why) };
        }
        // Of others no rule is of use.
        let can_be = address::kind(address).is_none_or(|kind| kind == address::Kind::Private);
        let fix = can_be.then(|| allow(&address.to_string(), port));
        Refused { fix, ..Refused::because(None, format!("no `allow` names the address {address}")) }
    }

    /// For a request that a `deny` names, or no `allow`.
    pub fn of_request(host: &HostName, asked: &Asked<'_>, rule: Option<&Rule>) -> Self {
        /// Of a method and of a path, in bytes: what is written down has an end.
        const MOST: usize = 200;
        let Asked { method, path } = asked;
        let whole = method.len() <= MOST && path.len() <= MOST;
        let cut = |text: &str| match text.get(..text.floor_char_boundary(MOST)) {
            Some(start) if text.len() > MOST => format!("{start}…"),
            _ => text.to_owned(),
        };
        let (method, path) =
            if whole { ((*method).to_owned(), (*path).to_owned()) } else { (cut(method), cut(path)) };
        let verb = if rule.is_some() { "a `deny` names" } else { "no `allow` names" };
        let plain = |text: &str, signs: &[u8]| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || signs.contains(&byte))
        };
        let can_be_written = whole && rule.is_none() && plain(&method, b"") && plain(&path, b"/-_.~");
        let fix = can_be_written.then(|| format!("allow \"{host}\" methods={method} paths=\"{path}\""));
        let rule = rule.map(|rule| rule.origin.clone());
        Refused { rule, fix, ..Refused::because(Some(host), format!("{verb} `{method} {path}`")) }
    }
}

/// Returns the line that allows a host.
fn allow(host: &str, port: u16) -> String {
    let port = if WEB.contains(&port) { String::new() } else { format!(" port={port}") };
    format!("allow \"{host}\"{port}")
}

/// A connection that is allowed and stands.
pub struct Made {
    /// `None` for one to an address.
    pub name: Option<HostName>,
    pub rule: String,
    pub upstream: Outgoing,
    /// What it is charged to.
    pub charge: Charge,
    pub address: SocketAddr,
}

/// Decides, resolves, and connects to an address that may be connected to.
pub async fn make(
    name: HostName,
    port: u16,
    shared: &Shared,
    record: &mut Connection,
) -> Result<Made, Refused> {
    record.name = Some(name.to_string());
    let rule = match decide(&shared.rules, Host::Name(&name), port) {
        Decision::Allowed(rule) => rule.origin.clone(),
        Decision::Denied(rule) => return Err(Refused::of_rule(&name, port, rule)),
    };
    record.rule = Some(rule.clone());
    let refused = |why: String| Refused { rule: Some(rule.clone()), ..Refused::because(Some(&name), why) };
    let absent = |why: String| Refused { unreachable: true, ..refused(why) };
    if !shared.records.may_stand() {
        return Err(refused("the session has made as many connections as are written down".into()));
    }
    if let Some(proxy) = &shared.upstream {
        let charge = Charge::to(&shared.accounts, Some(&name), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let charge = charge
            .map_err(|used| Refused { rule: Some(used.origin), ..Refused::because(Some(&name), used.why) })?;
        // Without TLS, the request itself goes to the proxy.
        let tunnel = (port != 80).then(|| format!("{name}:{port}"));
        let made = timeout(PATIENCE, through(proxy, tunnel, shared)).await;
        let (upstream, address) = made
            .map_err(|_| absent("the proxy does not answer".into()))?
            .map_err(|error| absent(format!("the proxy: {error}")))?;
        record.address = Some(address.ip());
        return Ok(Made { name: Some(name), rule, upstream, charge, address });
    }
    // A name with a dot is whole; one without may be meant in the search domains of this machine.
    let whole = if name.as_str().contains('.') { format!("{name}.") } else { name.to_string() };
    let lookup = async {
        let _turn = shared.lookups.acquire().await;
        shared.resolver.lookup_ip(whole).await
    };
    let found = timeout(PATIENCE, lookup).await;
    let found = found.map_err(|_| absent("it was not resolved in time".into()))?;
    let found = found.map_err(|error| absent(format!("it cannot be resolved: {error}")))?;
    let mut why = absent("it has no address".into());
    for address in found.iter().take(MOST_ADDRESSES) {
        // The kernel last, because what it takes for its own may change at any time.
        let bad = refused_address(&shared.rules, &name, port, address);
        if let Some(bad) =
            bad.map_or_else(|| own(address), |bad| Ok(Some(bad))).unwrap_or_else(|bad| Some(bad.to_string()))
        {
            why = refused(bad);
            continue;
        }
        let charge = match Charge::to(&shared.accounts, Some(&name), address) {
            Ok(charge) => charge,
            Err(UsedUp { why, origin }) => {
                return Err(Refused { rule: Some(origin), ..Refused::because(Some(&name), why) });
            }
        };
        let to = SocketAddr::new(address, port);
        match timeout(PATIENCE, connect(to)).await {
            Ok(Ok(upstream)) => {
                record.address = Some(address);
                return Ok(Made { name: Some(name), rule, upstream, charge, address: to });
            }
            Ok(Err(error)) => why = absent(format!("{to} cannot be reached: {error}")),
            Err(_) => why = absent(format!("{to} does not answer")),
        }
    }
    Err(why)
}

/// Connects to an address that a rule names.
pub async fn dial(
    address: IpAddr,
    port: u16,
    rule: String,
    shared: &Shared,
    record: &mut Connection,
) -> Result<Made, Refused> {
    record.rule = Some(rule.clone());
    let refused = |why: String| Refused { rule: Some(rule.clone()), ..Refused::because(None, why) };
    let kind = address::kind(address).filter(|kind| *kind != address::Kind::Private);
    if let Some(kind) = kind {
        return Err(refused(format!("it is an address that is {}", kind.as_str())));
    }
    if let Decision::Denied(Some(rule)) = decide(&shared.rules, Host::Address(address::inner(address)), port)
    {
        let rule = Some(rule.origin.clone());
        return Err(Refused { rule, ..Refused::because(None, "a `deny` names it") });
    }
    if let Some(own) = own(address).map_err(|error| refused(error.to_string()))? {
        return Err(refused(own));
    }
    if !shared.records.may_stand() {
        return Err(refused("the session has made as many connections as are written down".into()));
    }
    if shared.upstream.is_some() {
        return Err(refused("a proxy takes connections out, and it is asked by names alone".into()));
    }
    let charge = Charge::to(&shared.accounts, None, address)
        .map_err(|used| Refused { rule: Some(used.origin), ..Refused::because(None, used.why) })?;
    let to = SocketAddr::new(address, port);
    match timeout(PATIENCE, connect(to)).await {
        Ok(Ok(upstream)) => {
            record.address = Some(address);
            Ok(Made { name: None, rule, upstream, charge, address: to })
        }
        Ok(Err(error)) => Err(refused(format!("{to} cannot be reached: {error}"))),
        Err(_) => Err(refused(format!("{to} does not answer"))),
    }
}

/// Says that the kernel takes an address for this machine's own, or for that of many, if it does.
fn own(address: IpAddr) -> io::Result<Option<String>> {
    // An address in another one may be sent back by whatever takes it out.
    for one in [address.to_canonical(), address::inner(address)] {
        let way = network::route(one)
            .map_err(|error| io::Error::other(format!("{address} cannot be reached: {error}")))?;
        if way == Route::Other {
            let kind = address::Kind::Own.as_str();
            return Ok(Some(format!("it leads to {address}, an address that is {kind}")));
        }
    }
    Ok(None)
}
