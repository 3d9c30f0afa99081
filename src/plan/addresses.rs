//! Hosts that an agent needs: its vendor's, and those that base URLs of the host's configuration name.
//!
//! What an agent can write names none: not the project, not the sandbox home, not what is mounted for writing.

use camino::{Utf8Path, Utf8PathBuf};

use super::expand;
use super::facts::Addresses;
use crate::agent::service::{KEYS, Key, Service, Settings};
use crate::agent::{self, Agent, Chosen, Places};
use crate::config::{self, Config, Origin, Sourced, Sync, Verdict};
use crate::policy::address;
use crate::policy::host::{HostName, Pattern};

/// A host that an agent does not work without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// A name or an address.
    pub host: String,
    pub port: u16,
    /// The variable or file that names it, and the line that lets that in; `None` for the vendor's own.
    pub named: Option<(String, Origin)>,
}

/// A settings file of the host that an import copies.
pub struct Imported<'a> {
    /// On the host, absolute.
    pub path: Utf8PathBuf,
    pub settings: Settings,
    pub origin: &'a Origin,
}

/// Returns the settings files of an agent that its imports copy.
pub fn imported<'a>(declared: &'a config::Agent, home: &Utf8Path, root: &Utf8Path) -> Vec<Imported<'a>> {
    // One that nobody knows is refused elsewhere.
    let Ok(adapter) = agent::of(declared) else { return Vec::new() };
    // Only sessions are in another place for another project.
    let places = Places { host_cwd: root, inside_cwd: root };
    let mut found = Vec::new();
    for Sourced { value, origin } in declared.imports.iter().filter(|import| import.value.sync != Sync::Never)
    {
        let copies =
            value.what.iter().flat_map(|kind| adapter.imports(*kind, value.from.as_deref(), &places));
        for copy in copies {
            let settings = adapter.settings().iter().find(|settings| settings.file == copy.to);
            if let (Some(settings), Ok(path)) = (settings, expand(&copy.from, home, root)) {
                found.push(Imported { path, settings: *settings, origin });
            }
        }
    }
    found
}

/// What an agent needs, and what people should know about it.
#[derive(Debug, Default)]
pub struct Needed {
    pub hosts: Vec<Need>,
    pub warnings: Vec<String>,
}

/// Returns the hosts that an agent does not work without; `addresses` is where the host's configuration leads.
pub fn needed(
    config: &Config,
    declared: &config::Agent,
    addresses: &Addresses,
    home: &Utf8Path,
    root: &Utf8Path,
) -> Needed {
    let Ok(adapter) = agent::of(declared) else { return Needed::default() };
    let mut made = Needed::default();
    let mut replaced = Vec::new();
    let mut named = Vec::new();
    for variable in adapter.base_urls() {
        // What the file sets goes before what it passes.
        let (service, origin) = if let Some(set) = config.env.set.get(*variable) {
            (Service::of_url(&set.value), &set.origin)
        } else if let Some(passed) = config.env.pass.iter().find(|passed| passed.value == *variable) {
            (addresses.variables.get(*variable).cloned(), &passed.origin)
        } else {
            continue;
        };
        let Some(service) = service else { continue };
        replaced.extend(adapter.replaces(variable));
        named.push(((*variable).to_owned(), service, origin));
    }
    for Imported { path, origin, .. } in imported(declared, home, root) {
        match addresses.files.get(&path) {
            Some(Ok(found)) => {
                for one in found {
                    replaced.extend(adapter.replaces(&one.key));
                    named.push((path.to_string(), one.service.clone(), origin));
                }
            }
            Some(Err(why)) => made.warnings.push(format!("`{path}` names no host that is allowed: {why}")),
            None => {}
        }
    }
    let said = |host: &str| declared.hosts.iter().any(|own| own.value == host);
    let model = declared.model.as_ref().map(|model| model.value.as_str());
    let own = adapter.hosts(model).into_iter().filter(|host| !said(host) && !replaced.contains(host));
    made.hosts.extend(own.map(|host| Need { host: host.to_owned(), port: 443, named: None }));
    if adapter.hosts(None).is_empty() && !model.is_some_and(|model| model.contains('/')) {
        named.extend(of_keys(config, &*adapter, &named));
    }
    for (name, service, origin) in named {
        if let Some(why) = unreachable(&service) {
            let Service { host, port } = service;
            made.warnings
                .push(format!("`{name}` leads to `{host}` on port {port}, which is not allowed: {why}"));
            continue;
        }
        let known = made.hosts.iter().any(|need| need.host == service.host && need.port == service.port);
        if !known && !said(&service.host) {
            let named = Some((name, origin.clone()));
            made.hosts.push(Need { host: service.host, port: service.port, named });
        }
    }
    let is_known = matches!(adapter, Chosen::BuiltIn(_));
    let allows = config.network.rules.iter().any(|rule| rule.value.verdict == Verdict::Allow);
    if is_known && made.hosts.is_empty() && declared.hosts.is_empty() && !allows {
        made.warnings.push(format!(
            "`agent {}` names no model and no key whose service is known, so no host is allowed for it: `allow` one",
            declared.name.value
        ));
    }
    made
}

/// Returns where the keys lead that the file gives to an agent which serves any provider.
fn of_keys<'a>(
    config: &'a Config,
    adapter: &dyn Agent,
    named: &[(String, Service, &Origin)],
) -> Vec<(String, Service, &'a Origin)> {
    let mut found = Vec::new();
    let replaced = |key: &Key| named.iter().any(|(name, ..)| key.base_url == Some(name));
    for key in KEYS.iter().filter(|key| adapter.reads().contains(&key.variable)) {
        let usual = || Service { host: key.host.to_owned(), port: 443 };
        if let Some(Sourced { value, origin }) =
            config.env.secrets.iter().find(|secret| secret.value.name == key.variable)
        {
            let service = Service { host: value.host.clone(), port: value.port };
            found.push((key.variable.to_owned(), service, origin));
            continue;
        }
        let set = config.env.set.get(key.variable).map(|set| &set.origin);
        let passed = || config.env.pass.iter().find(|passed| passed.value == key.variable);
        let origin = set.or_else(|| passed().map(|passed| &passed.origin));
        if let Some(origin) = origin.filter(|_| !replaced(key)) {
            found.push((key.variable.to_owned(), usual(), origin));
        }
    }
    found
}

/// Returns why a base URL alone allows no connection to its host.
fn unreachable(service: &Service) -> Option<String> {
    let own = service.host == "localhost" || service.host.ends_with(".localhost");
    let kind = match service.address() {
        Some(address) => address::kind(address)?,
        None if own => address::Kind::Own,
        None => return HostName::of_person(&service.host).err().map(|error| error.to_string()),
    };
    Some(format!("it is {}", kind.as_str()))
}

impl Need {
    /// Returns what the gateway compares; `None` never happens, for what is no host was refused.
    pub fn pattern(&self) -> Option<Pattern> {
        Pattern::parse(&self.host).ok()
    }
}
