//! Requests without TLS: a connection is for one, and that is decided by whom and what it asks for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connect::{Made, Refused, dial, make};
use super::http::{self, Form, Head, Request};
use super::meter::Moved;
use super::relay::exchange;
use super::serve::{Dialled, PATIENCE, Shared, refuse};
use super::target::Target;
use crate::audit::Connection;
use crate::policy::host::{Asked, Decision, Host, HostName, Rule, decide, decide_request};

/// Reads one request, and passes it on or refuses it.
pub async fn serve(
    stream: &mut TcpStream,
    dialled: Dialled,
    shared: &Shared,
    moved: &Arc<Moved>,
    record: &mut Connection,
) -> Result<(), Refused> {
    let (request, rest) = match ask(stream, &dialled).await {
        Ok(found) => found,
        Err(refused) => return refuse(stream, dialled.port, refused).await,
    };
    // A proxy is told a port, too.
    let port = request.port;
    record.port = port;
    let made = match carries_none(&request, shared) {
        Ok(()) => Box::pin(reach(&request, &dialled, shared, record)).await,
        Err(refused) => Err(refused),
    };
    let refused = match made {
        Ok(made) => match exchange(stream, made, request, rest, shared, moved, record).await {
            Err(refused) if moved.down.load(Ordering::Relaxed) == 0 => refused,
            done => return done,
        },
        Err(refused) => refused,
    };
    refuse(stream, port, refused).await
}

/// Refuses what stands for a secret.
fn carries_none(request: &Request, shared: &Shared) -> Result<(), Refused> {
    let head = String::from_utf8_lossy(&request.head);
    let Some(secret) = shared.secrets.iter().find(|secret| head.contains(&secret.placeholder)) else {
        return Ok(());
    };
    let why =
        format!("it carries what stands for the secret `{}`, which only goes over TLS", secret.what.name);
    Err(Refused::because(request.host.name(), why))
}

/// Decides about a request, and connects to whom it is for.
async fn reach(
    request: &Request,
    dialled: &Dialled,
    shared: &Shared,
    record: &mut Connection,
) -> Result<Made, Refused> {
    let asked = Asked { method: &request.method, path: &request.path };
    let port = request.port;
    let by_address = |address| match decide(&shared.rules, Host::Address(address), port) {
        Decision::Allowed(rule) => Ok((address, rule.origin.clone())),
        Decision::Denied(rule) => Err(Refused::of_address(address, port, rule)),
    };
    let name = match &request.host {
        Target::Name(name) => name,
        Target::Address(address) => {
            let (address, rule) = by_address(address.to_canonical())?;
            return dial(address, port, rule, shared, record).await;
        }
    };
    let decision = decide_request(&shared.rules, Host::Name(name), port, &asked);
    // Nothing in a request can lead elsewhere than to what was dialled, where a rule names that.
    let at_address = Some(dialled.address)
        .filter(|_| dialled.form == Form::Path && dialled.name.is_none())
        .and_then(|address| by_address(address).ok());
    match (decision, at_address) {
        (Decision::Denied(Some(rule)), _) => Err(denied(name, port, &asked, rule)),
        (_, Some((address, rule))) => dial(address, port, rule, shared, record).await,
        // A rule for some requests allows the connection, and not this one.
        (Decision::Denied(None), None)
            if matches!(decide(&shared.rules, Host::Name(name), port), Decision::Allowed(_)) =>
        {
            Err(Refused::of_request(name, &asked, None))
        }
        (_, None) => make(name.clone(), port, shared, record).await,
    }
}

fn denied(name: &HostName, port: u16, asked: &Asked<'_>, rule: &Rule) -> Refused {
    if rule.is_narrow() {
        Refused::of_request(name, asked, Some(rule))
    } else {
        Refused::of_rule(name, port, Some(rule))
    }
}

/// Reads the head of a request, and returns it with what came behind it.
async fn ask(stream: &mut TcpStream, dialled: &Dialled) -> Result<(Request, Vec<u8>), Refused> {
    let Dialled { port, address, name: looked_up, form } = dialled;
    let mut bytes = Vec::new();
    let read = async {
        loop {
            let before = bytes.len();
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
            if !http::may_have_ended(&bytes, before) {
                continue;
            }
            match http::read(&bytes, *port, *form) {
                Head::More => {}
                other => return Some(other),
            }
        }
    };
    let refused = |why: &str| Err(Refused::because(looked_up.as_ref(), why));
    let request = match timeout(PATIENCE, read).await {
        Err(_) => return refused("it did not say in time whom it wants"),
        Ok(None | Some(Head::More)) => return refused("it broke off"),
        Ok(Some(Head::Bad(why))) => return refused(why),
        Ok(Some(Head::Request(request))) => request,
    };
    let same = match (&request.host, looked_up, form) {
        (_, _, Form::Whole) | (Target::Name(_), None, Form::Path) => true,
        (Target::Name(name), Some(other), Form::Path) => name == other,
        (Target::Address(own), other, Form::Path) => other.is_none() && own.to_canonical() == *address,
    };
    if !same {
        let other = looked_up
            .as_ref()
            .map_or_else(|| format!("`{address}` was dialled"), |other| format!("`{other}` was looked up"));
        return refused(&format!("it asks for `{}`, and {other}", request.host));
    }
    let rest = bytes.split_off(request.length);
    Ok((request, rest))
}
