//! The rules of the gateway, from the lines of the file and from what an agent needs.

use std::net::SocketAddr;

use super::addresses::{Needed, needed};
use super::build::problem;
use super::facts::Facts;
use super::{Gateway, Port, Secret, Upstream, expand};
use crate::config::{self, ByteBudget, Config, HostRule, NetworkMode, Origin, Sourced, Verdict};
use crate::diag::Problem;
use crate::policy::address::{self, Kind, Range};
use crate::policy::host::{Budget, Decision, Host, HostName, Pattern, Rule, WEB, decide};

impl super::NetworkMode {
    /// More for what reaches more.
    pub fn width(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Allowlist => 1,
            Self::Bridge => 2,
            Self::Host => 3,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "`none`",
            Self::Allowlist => "a list of hosts",
            Self::Bridge => "the engine's own",
            Self::Host => "the host's",
        }
    }
}

/// Ports besides the web's that programs try: of FTP, SSH, mail, web servers and git.
const USUAL: [u16; 7] = [21, 22, 25, 587, 8080, 8443, 9418];

/// Where tools find a proxy that insist on one, on the sandbox's loopback address.
pub const PROXY: u16 = 3128;

/// Returns what the gateway decides by; `None` where there is none.
pub fn gateway(
    config: &Config,
    facts: &Facts,
    chosen: Option<&config::Agent>,
    at: &dyn Fn(&Origin) -> String,
    problems: &mut Vec<Problem>,
) -> Option<Gateway> {
    if config.network.mode.value != NetworkMode::Allowlist {
        return None;
    }
    let mut rules = Vec::new();
    for rule in &config.network.rules {
        let HostRule { verdict, hosts, port, methods, paths, private } = &rule.value;
        // Others were no pattern when the file was read.
        let patterns = hosts.iter().filter_map(|host| Pattern::parse(host).ok());
        rules.extend(patterns.map(|pattern| Rule {
            allow: *verdict == Verdict::Allow,
            port: *port,
            methods: methods.iter().flat_map(|methods| methods.split(',')).map(str::to_owned).collect(),
            paths: paths.clone(),
            private: *private,
            ..Rule::allow(pattern, at(&rule.origin))
        }));
    }
    for declared in &config.agents {
        for host in &declared.hosts {
            if let Ok(pattern) = Pattern::parse(&host.value) {
                rules.push(Rule::allow(pattern, at(&host.origin)));
            }
        }
    }
    if let Some(declared) = chosen {
        let (name, needs) = (&declared.name, of_chosen(config, facts, declared).hosts);
        rules.extend(needs.into_iter().filter_map(|need| {
            let origin = match &need.named {
                Some((named, origin)) => {
                    format!("{}: where `{named}` sends `agent {}`", at(origin), name.value)
                }
                None => format!("{}: what `agent {}` needs", at(&name.origin), name.value),
            };
            Some(Rule { port: Some(need.port), ..Rule::allow(need.pattern()?, origin) })
        }));
    }
    let mut ports: Vec<u16> = rules.iter().filter(|rule| rule.allow).filter_map(|rule| rule.port).collect();
    ports.extend(WEB);
    // Nothing is allowed there without a rule; what is tried is told and written down.
    ports.extend(USUAL);
    ports.push(PROXY);
    ports.sort_unstable();
    ports.dedup();
    let budgets = config.network.bytes.iter().filter_map(|Sourced { value, origin }| {
        let ByteBudget { host, up, down, connections, idle } = value;
        let (pattern, origin) = (Pattern::parse(host).ok()?, at(origin));
        Some(Budget { pattern, up: *up, down: *down, connections: *connections, idle: *idle, origin })
    });
    let upstream = config.network.upstream.as_ref().and_then(|Sourced { value, origin }| {
        let (host, port) = value.url.strip_prefix("http://")?.trim_end_matches('/').rsplit_once(':')?;
        let login = value.login.as_deref().and_then(|from| source(from, facts, origin, problems));
        Some(Upstream { host: host.to_owned(), port: port.parse().ok()?, login, origin: at(origin) })
    });
    Some(Gateway { upstream, budgets: budgets.collect(), rules, ports, roots: facts.system.bundle.clone() })
}

/// Returns what the chosen agent needs.
pub fn of_chosen(config: &Config, facts: &Facts, chosen: &config::Agent) -> Needed {
    needed(config, chosen, &facts.addresses, &facts.home, &facts.project.root)
}

/// Returns what the gateway adds to requests; what cannot be is a problem.
pub fn secrets(
    config: &Config,
    facts: &Facts,
    gateway: Option<&Gateway>,
    at: &dyn Fn(&Origin) -> String,
    problems: &mut Vec<Problem>,
) -> Vec<Secret> {
    let mut made = Vec::new();
    for Sourced { value, origin } in &config.env.secrets {
        let config::Secret { name, host, port, from, header, format, methods } = value;
        let mut refuse = |code, label: &str, message: String, help: String| {
            problems.push(problem(code, origin, label, message).help(help));
        };
        let host = match HostName::of_person(host) {
            Ok(host) => host,
            Err(error) => {
                refuse(
                    "secret::host",
                    "this host",
                    format!("`{host}` is no host name: {error}"),
                    "write a name such as `api.example.com`".into(),
                );
                continue;
            }
        };
        let Some(gateway) = gateway else {
            let message =
                format!("the secret `{name}` needs the gateway, which `network allowlist` has alone");
            refuse("secret::host", "asked for here", message, "write `network allowlist`".into());
            continue;
        };
        if let Decision::Denied(_) = decide(&gateway.rules, Host::Name(&host), *port) {
            let at = if *port == 443 { String::new() } else { format!(" port={port}") };
            let message = format!(
                "the secret `{name}` is for `{host}`, which the sandbox may not reach on port {port}"
            );
            let help = format!("write `network allowlist {{ allow \"{host}\"{at}; }}`");
            refuse("secret::host", "for this host", message, help);
        }
        let format = format.clone().unwrap_or_else(|| usual_format(header.as_deref()).to_owned());
        if !format.contains("{}") {
            let message = format!("the `format` of the secret `{name}` has no place for it");
            refuse("secret::format", "this one", message, "write `{}` where the value goes".into());
        }
        let Some(from) = source(from, facts, origin, problems) else { continue };
        let (header, methods) = (header.clone(), methods.clone());
        made.push(Secret {
            name: name.clone(),
            host,
            port: *port,
            from,
            header,
            format,
            methods,
            origin: at(origin),
        });
    }
    made
}

/// Returns the `format` of a secret that names none.
pub fn usual_format(header: Option<&str>) -> &'static str {
    let is_login = header.is_some_and(|header| header.eq_ignore_ascii_case("authorization"));
    if is_login { "Bearer {}" } else { "{}" }
}

/// Returns where a value is, with an absolute path; one that cannot be is a problem.
fn source(from: &str, facts: &Facts, origin: &Origin, problems: &mut Vec<Problem>) -> Option<String> {
    let Some(path) = from.strip_prefix("file:") else { return Some(from.to_owned()) };
    match expand(path, &facts.home, &facts.project.root) {
        Ok(path) => Some(format!("file:{path}")),
        Err(reason) => {
            let message = format!("the path `{path}` {reason}");
            let help = "write an absolute path, or one from `~`";
            problems.push(problem("secret::from", origin, "this path", message).help(help));
            None
        }
    }
}

/// Returns what is published on the host.
pub fn ports(config: &Config, at: &dyn Fn(&Origin) -> String) -> Vec<Port> {
    let port = |Sourced { value, origin }: &Sourced<config::Port>| Port {
        listen: value.listen.clone(),
        to: value.to,
        origin: at(origin),
    };
    config.ports.iter().map(port).collect()
}

/// Returns what is wrong with the lines of the network, as far as a single value does not tell.
pub fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    for Sourced { value, origin } in &config.ports {
        let listen = &value.listen;
        let loopback = listen.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
        let (message, help) = if config.network.mode.value == NetworkMode::Host {
            let message = format!("`{listen}` is on the host already: the sandbox has the host's network");
            (message, "leave the line out, or write another `network`")
        } else if !loopback {
            let message = format!("`{listen}` is no address of loopback, and others would reach the sandbox");
            (message, "write `127.0.0.1:PORT`")
        } else {
            continue;
        };
        found.push(problem("network::port", origin, "this line", message).help(help));
    }
    for Sourced { value, origin } in &config.network.rules {
        let narrow = value.methods.is_some() || value.paths.is_some();
        let ranges: Vec<Range> = value.hosts.iter().filter_map(|host| Range::parse(host)).collect();
        if narrow && (value.port.is_some_and(|port| !WEB.contains(&port)) || !ranges.is_empty()) {
            let message =
                "`methods` and `paths` are for the web of a named host, on port 80 or 443".to_owned();
            let help = "leave them out, or name a host and no other port";
            found.push(problem("network::rule", origin, "this line", message).help(help));
        }
        for range in ranges.iter().filter(|_| value.verdict == Verdict::Allow) {
            let kind = address::kind(range.first()).filter(|kind| matches!(kind, Kind::Own | Kind::Link));
            if let Some(kind) = kind.filter(|_| !range.is_all()) {
                let message = format!("`{range}` is never reached: it is {}", kind.as_str());
                let help = "the sandbox has a loopback of its own; `network host` would share this machine's";
                found.push(problem("network::rule", origin, "this line", message).help(help));
            }
        }
    }
    found
}

/// Returns what lines of the network have no effect.
pub fn warnings(config: &Config, gateway: Option<&Gateway>, at: &dyn Fn(&Origin) -> String) -> Vec<String> {
    let network = &config.network;
    if let Some(gateway) = gateway {
        let allowed: Vec<&Pattern> =
            gateway.rules.iter().filter(|rule| rule.allow).map(|rule| &rule.pattern).collect();
        let idle = gateway.budgets.iter().filter(|one| !allowed.iter().any(|pattern| one.meets(pattern)));
        let text = |one: &Budget| {
            format!("`bytes` of `{}` has no effect: no `allow` names it ({})", one.pattern, one.origin)
        };
        return idle.map(text).collect();
    }
    let mode = if network.mode.value == NetworkMode::Host { "host" } else { "none" };
    let rules = network.rules.iter().filter_map(|rule| match rule.value.verdict {
        Verdict::Allow => Some(("allow", &rule.origin)),
        Verdict::Deny if network.mode.value == NetworkMode::Host => Some(("deny", &rule.origin)),
        // Nothing is reached, as the line wants it.
        Verdict::Deny => None,
    });
    let budgets = network.bytes.iter().map(|budget| ("bytes", &budget.origin));
    let upstream = network.upstream.iter().map(|upstream| ("upstream", &upstream.origin));
    let mut said = Vec::new();
    let mut found = Vec::new();
    for (word, origin) in rules.chain(budgets).chain(upstream) {
        // A later layer that takes the network away means what it does; one line of a kind is enough.
        if origin.layer < network.mode.origin.layer || said.contains(&word) {
            continue;
        }
        said.push(word);
        found.push(format!("`{word}` has no effect: the network is `{mode}` ({})", at(origin)));
    }
    found
}
