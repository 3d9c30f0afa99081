//! Keys that are set and where base URLs lead: what the file passes, and what stays outside.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{line, quoted};
use crate::agent::service::{KEYS, Key, Service, uses_tls};
use crate::policy::address;
use crate::policy::host::{HostName, WEB};

/// What of the environment the agents of the file read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Names that are passed.
    pub passed: Vec<&'static str>,
    /// Keys that need not enter.
    pub secrets: Vec<Secret>,
    /// Keys that enter because of a base URL, and the sentence that says so.
    entering: Vec<(&'static str, String)>,
    /// A variable that leads to a service on this machine itself, which no list of hosts can allow.
    pub local: Option<&'static str>,
    /// A variable that leads to a private address, which has to be allowed by itself.
    private: Option<(&'static str, IpAddr, u16)>,
}

/// A key, and the only service that it is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Secret {
    pub variable: &'static str,
    pub host: String,
    pub port: u16,
}

impl Secret {
    pub fn of(key: &Key) -> Self {
        Secret { variable: key.variable, host: key.host.to_owned(), port: 443 }
    }

    /// Returns its line of the file.
    pub fn text(&self) -> String {
        let Secret { variable, host, port } = self;
        let port = port_property(*port, &[443]);
        format!("secret {variable} host=\"{host}\"{port} from=\"env:{variable}\"")
    }
}

/// Sorts the `variables` that are set and that an agent reads.
pub fn sort(variables: Vec<&'static str>, get: &dyn Fn(&str) -> Option<String>) -> Keys {
    let mut keys = Keys { passed: variables, ..Keys::default() };
    let service = |name: &str| Service::of_url(&get(name)?);
    keys.local = keys.passed.iter().copied().find(|name| service(name).is_some_and(|found| is_local(&found)));
    if keys.local.is_some() {
        return keys;
    }
    keys.private = keys.passed.iter().find_map(|name| {
        let Service { host, port } = service(name)?;
        let address = host.parse().ok().filter(|one| address::kind(*one) == Some(address::Kind::Private))?;
        Some((*name, address, port))
    });
    for key in KEYS.iter().filter(|key| keys.passed.contains(&key.variable)) {
        let base = key.base_url.filter(|base| keys.passed.contains(base));
        let Some((base, url)) = base.and_then(|base| Some((base, get(base)?))) else {
            keys.secrets.push(Secret::of(key));
            continue;
        };
        match service(base) {
            Some(Service { host, port }) if uses_tls(&url) && HostName::parse(&host).is_ok() => {
                keys.secrets.push(Secret { variable: key.variable, host, port });
            }
            found => {
                let why = match found {
                    None => "is no URL of the web",
                    Some(_) if !uses_tls(&url) => "leads to a service without TLS",
                    Some(_) => "leads to an address, which has no certificate of a name",
                };
                keys.entering.push((key.variable, format!("for `{base}` {why}")));
            }
        }
    }
    keys.passed.retain(|name| keys.secrets.iter().all(|secret| secret.variable != *name));
    keys
}

impl Keys {
    /// Says whether nothing that is set is written down as more than a comment.
    pub fn is_empty(&self, near: &[&str]) -> bool {
        near.is_empty() && self.secrets.is_empty()
    }

    /// Returns what the caller should know before anything else, where the whole network is open.
    pub fn warning(&self) -> Option<String> {
        let variable = self.local?;
        let entering: Vec<String> = KEYS
            .iter()
            .filter(|key| self.passed.contains(&key.variable))
            .map(|key| format!("`{}`", key.variable))
            .collect();
        let enters = if entering.is_empty() {
            String::new()
        } else {
            format!(", and the value of {} enters the sandbox", entering.join(", "))
        };
        Some(format!(
            "`{variable}` leads to this machine itself, so the file opens the host's whole network{enters}"
        ))
    }

    /// Writes the `env` block; `near` are the names that are passed.
    pub fn write(&self, out: &mut String, near: &[&str]) {
        out.push_str("\nenv {\n");
        if !self.secrets.is_empty() {
            out.push_str("    // * Set now. Inside is a placeholder; the value is added on its way to that host alone.\n");
        }
        for secret in &self.secrets {
            line(out, &format!("    {}", secret.text()));
        }
        if !near.is_empty() {
            out.push_str("    // * Set now, and read by the agent.\n");
            for (variable, why) in &self.entering {
                line(out, &format!("    // The value of `{variable}` enters, {why}."));
            }
            line(out, &format!("    pass {}", quoted(near)));
        }
        out.push_str("}\n");
    }

    /// Writes the `network` block.
    pub fn write_network(&self, out: &mut String) {
        if let Some(variable) = self.local {
            out.push_str("\n// * The whole network of the host, its loopback services included: ");
            line(out, &format!("`{variable}` leads to one of them,"));
            out.push_str(
                "// which `network allowlist` never does. `network none` closes it.\nnetwork host\n",
            );
            return;
        }
        out.push_str(
            "\n// * Only hosts that are named here, and those that the agent does not work without. `pier net suggest` prints the\n\
             // lines that a session would have needed.\nnetwork allowlist {\n",
        );
        let usual = self.secrets.iter().filter(|secret| WEB.contains(&secret.port));
        let mut hosts: Vec<&str> = usual.map(|secret| secret.host.as_str()).collect();
        hosts.dedup();
        if !hosts.is_empty() {
            line(out, &format!("    allow {}", quoted(&hosts)));
        }
        let mut others: Vec<(&str, u16)> =
            self.secrets.iter().map(|secret| (secret.host.as_str(), secret.port)).collect();
        others.retain(|(_, port)| !WEB.contains(port));
        others.dedup();
        for (host, port) in &others {
            line(out, &format!("    allow \"{host}\" port={port}"));
        }
        if let Some((variable, address, port)) = self.private {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let port = port_property(port, &WEB);
            line(
                out,
                &format!(
                    "    // `{variable}` leads to a private address, which nothing allows but a line like this one:"
                ),
            );
            line(out, &format!("    // allow \"{address}/{bits}\"{port} private=#true"));
        } else if self.secrets.is_empty() {
            out.push_str("    // allow \"example.org\"\n");
        }
        out.push_str("}\n");
    }
}

/// Returns ` port=…` unless a line without it means the port.
fn port_property(port: u16, usual: &[u16]) -> String {
    let mut text = String::new();
    if !usual.contains(&port) {
        // Writing to a String cannot fail.
        let _infallible = write!(text, " port={port}");
    }
    text
}

/// Says whether a service is on this machine itself.
fn is_local(service: &Service) -> bool {
    let own = |address: IpAddr| address.to_canonical().is_loopback();
    service.host == "localhost" || service.address().is_some_and(own)
}
