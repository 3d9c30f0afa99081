//! Would the sandbox reach a host: the rules of the gateway, asked with as much of a URL as was given.

use std::net::IpAddr;

use super::{Answer, Kind};
use crate::config::values::is_host;
use crate::plan::{Gateway, NetworkMode, Plan};
use crate::policy::address;
use crate::policy::host::{
    Asked, Decision, Host, HostName, Rule, WEB, decide, decide_request, is_by_request,
};

/// Ports of the schemes that are asked about; others name none that pier knows.
const SCHEMES: &[(&str, u16)] = &[("https", 443), ("http", 80), ("ssh", 22), ("git", 9418)];

/// What is asked for a path beside what the rules name.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What people paste, in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts<'a> {
    scheme: Option<&'a str>,
    /// Without the brackets of an address.
    host: &'a str,
    port: Option<&'a str>,
    /// Without the query.
    path: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(what: &'a str) -> Self {
        let (scheme, rest) =
            what.split_once("://").map_or((None, what), |(scheme, rest)| (Some(scheme), rest));
        let rest = rest.split(['?', '#']).next().unwrap_or(rest);
        let (authority, path) = rest.find('/').map_or((rest, None), |at| (&rest[..at], Some(&rest[at..])));
        let authority = authority.rsplit_once('@').map_or(authority, |(_, authority)| authority);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Parts { scheme, host, port, path }
    }

    /// Says what is wrong with the host or its port, and what to ask.
    fn fault(&self) -> Option<(String, String)> {
        if let Some(domain) = self.host.strip_prefix("*.") {
            let reason = "it is a pattern for many hosts, and one is asked about";
            return Some((reason.into(), format!("name one of them: `pier explain www.{domain}`")));
        }
        if let Some(name) = self.host.strip_suffix('.').filter(|name| is_host(name)) {
            let reason = "host names have no dot at the end here";
            return Some((reason.into(), format!("`pier explain {name}`")));
        }
        let port = self.port.filter(|port| !port.parse::<u16>().is_ok_and(|port| port > 0))?;
        let help = format!("`pier explain {}:443`", self.host);
        Some((format!("`{port}` is no port: those are from 1 to 65535"), help))
    }

    fn number(&self) -> Option<u16> {
        if let Some(port) = self.port {
            return port.parse().ok();
        }
        let Some(scheme) = self.scheme else { return Some(443) };
        SCHEMES.iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name)).map(|(_, port)| *port)
    }
}

/// Says whether a text that is no file's name is about a host, be it a wrong one.
pub fn is_meant(what: &str) -> bool {
    if what.contains("://") {
        return true;
    }
    let Parts { host, .. } = Parts::of(what);
    let bare = host.strip_prefix("*.").map_or(host.strip_suffix('.').unwrap_or(host), |domain| domain);
    is_host(bare) && (bare.contains(['.', ':']) || host == "localhost")
}

pub fn explain(what: &str, plan: &Plan) -> Answer {
    let mut answer = Answer::no(what, Kind::Host, "");
    let parts = Parts::of(what);
    if let Some((reason, help)) = parts.fault() {
        (answer.reason, answer.help) = (reason, Some(help));
        return answer;
    }
    let local = parts.host == "localhost" || parts.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    answer.origin = Some(plan.network.origin.clone());
    match (plan.network.mode, &plan.network.gateway) {
        (NetworkMode::Host, _) => {
            answer.visible = true;
            answer.reason = if local {
                "`network host` shares the loopback services of this machine".into()
            } else {
                "`network host` reaches every host that this machine reaches".into()
            };
        }
        (NetworkMode::Bridge, _) if !local => {
            answer.visible = true;
            answer.reason = "the engine's own network reaches every host that this machine reaches".into();
        }
        (NetworkMode::None | NetworkMode::Allowlist | NetworkMode::Bridge, _) if local => {
            answer.reason =
                "the sandbox has a loopback of its own; services of this machine are not on it".into();
            answer.help = Some("`network host` would share it, and needs `pier trust`".into());
        }
        (NetworkMode::Allowlist, Some(gateway)) => by_rules(&parts, gateway, &mut answer),
        (NetworkMode::None | NetworkMode::Allowlist | NetworkMode::Bridge, _) => {
            answer.reason = "the sandbox has no network but its own loopback".into();
            let line = allow_line(parts.host, parts.number().unwrap_or(443), "");
            answer.help = Some(format!(
                "{line} would reach it, `network host` would open the whole network; both need `pier trust`"
            ));
        }
    }
    answer
}

/// Returns the line that would allow a host.
fn allow_line(host: &str, port: u16, rest: &str) -> String {
    let port = if WEB.contains(&port) { String::new() } else { format!(" port={port}") };
    format!("`network allowlist {{ allow {host:?}{port}{rest}; }}`")
}

/// Asks the rules of the gateway, for the port that was named or that of the scheme.
fn by_rules(parts: &Parts<'_>, gateway: &Gateway, answer: &mut Answer) {
    let Some(port) = parts.number() else {
        let (scheme, host) = (parts.scheme.unwrap_or_default(), parts.host);
        answer.reason = format!("rules are for ports, and pier knows none of `{scheme}`");
        answer.help = Some(format!("name it: `pier explain {host}:PORT`"));
        return;
    };
    if let Ok(address) = parts.host.parse::<IpAddr>() {
        return by_address(address.to_canonical(), port, gateway, answer);
    }
    let name = match HostName::of_person(parts.host) {
        Ok(name) => name,
        Err(error) => {
            answer.reason = format!("the gateway connects by names, and this is none: {error}");
            return;
        }
    };
    let host = Host::Name(&name);
    match decide(&gateway.rules, host, port) {
        Decision::Allowed(rule) if is_by_request(&gateway.rules, host, port) => {
            answer.origin = Some(rule.origin.clone());
            if let Some(path) = parts.path {
                by_request(&name, port, path, &gateway.rules, answer);
            } else {
                answer.visible = true;
                answer.access = Some(format!("for {}", requests(&gateway.rules, host, port)));
                answer.reason = format!("`allow` names `{}`, on port {port}", rule.pattern);
            }
        }
        decision => decided(decision, &name.to_string(), port, answer),
    }
}

fn decided(decision: Decision<'_>, host: &str, port: u16, answer: &mut Answer) {
    match decision {
        Decision::Allowed(rule) => {
            answer.visible = true;
            answer.reason = format!("`allow` names `{}`, on port {port}", rule.pattern);
            answer.origin = Some(rule.origin.clone());
        }
        Decision::Denied(Some(rule)) => {
            answer.reason = format!("`deny` names `{}`", rule.pattern);
            answer.origin = Some(rule.origin.clone());
        }
        Decision::Denied(None) => {
            answer.reason = format!("no `allow` names it, on port {port}");
            answer.help = Some(format!("{} would", allow_line(host, port, "")));
        }
    }
}

/// Decides as the gateway does for what is dialled without a name.
fn by_address(address: IpAddr, port: u16, gateway: &Gateway, answer: &mut Answer) {
    if let Some(kind) = address::kind(address).filter(|kind| *kind != address::Kind::Private) {
        answer.reason = format!("no rule reaches an address that is {}", kind.as_str());
        return;
    }
    let meant = decide(&gateway.rules, Host::Address(address::inner(address)), port);
    let decision = match meant {
        Decision::Denied(Some(_)) => meant,
        _ => decide(&gateway.rules, Host::Address(address), port),
    };
    if let (Decision::Allowed(_), Some(upstream)) = (decision, &gateway.upstream) {
        answer.reason = "the `upstream` proxy takes connections out, and it is asked by names alone".into();
        answer.origin = Some(upstream.origin.clone());
        return;
    }
    decided(decision, &address.to_string(), port, answer);
}

/// Asks for one path with every method that is usual or named.
fn by_request(name: &HostName, port: u16, path: &str, rules: &[Rule], answer: &mut Answer) {
    let host = Host::Name(name);
    let mut methods = METHODS.to_vec();
    for method in rules.iter().flat_map(|rule| &rule.methods) {
        if !methods.contains(&method.as_str()) {
            methods.push(method);
        }
    }
    let mut allowed = Vec::new();
    let mut denied = None;
    for method in &methods {
        match decide_request(rules, host, port, &Asked { method, path }) {
            Decision::Allowed(rule) => {
                if allowed.is_empty() {
                    let (requests, pattern) = (request(rule), &rule.pattern);
                    answer.origin = Some(rule.origin.clone());
                    answer.reason = format!("`allow` names {requests} of `{pattern}`, on port {port}");
                }
                allowed.push(*method);
            }
            Decision::Denied(rule) => denied = denied.or(rule),
        }
    }
    answer.visible = !allowed.is_empty();
    if allowed.len() == methods.len() {
        return;
    }
    if answer.visible {
        answer.access = Some(format!("for {}", allowed.join(", ")));
    } else if let Some(rule) = denied {
        answer.reason = format!("`deny` names {} of `{}`", request(rule), rule.pattern);
        answer.origin = Some(rule.origin.clone());
    } else {
        let only = requests(rules, host, port);
        answer.reason = format!("no `allow` names `{path}` of it, on port {port}: they name {only}");
        if path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte)) {
            let line = allow_line(name.as_str(), port, &format!(" paths={path:?}"));
            answer.help = Some(format!("{line} would"));
        }
    }
}

/// Returns which requests to a host are allowed, and which of them are not.
fn requests(rules: &[Rule], host: Host<'_>, port: u16) -> String {
    let about = || rules.iter().filter(|rule| rule.is_about(&host, port));
    let mut allowed: Vec<String> = Vec::new();
    let mut denied: Vec<String> = Vec::new();
    for rule in about() {
        let list = if rule.allow { &mut allowed } else { &mut denied };
        let text = request(rule);
        if !list.contains(&text) {
            list.push(text);
        }
    }
    let everything = about().any(|rule| rule.allow && !rule.is_narrow());
    let mut text = if everything { "every request".to_owned() } else { allowed.join(" and ") };
    if !denied.is_empty() {
        text.push_str(&format!(", but not {}", denied.join(" and ")));
    }
    text
}

/// Returns which requests a rule is about.
fn request(rule: &Rule) -> String {
    let methods = if rule.methods.is_empty() { "every method".to_owned() } else { rule.methods.join(", ") };
    match &rule.paths {
        Some(paths) if paths.ends_with('*') => format!("{methods} below `{paths}`"),
        Some(path) => format!("{methods} at `{path}`"),
        None => format!("{methods} everywhere"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::host::Pattern;

    #[test]
    fn a_host_is_found_in_what_people_paste() {
        for (text, host, port, path) in [
            ("api.example.com", "api.example.com", Some(443), None),
            ("api.example.com:80", "api.example.com", Some(80), None),
            ("https://api.example.com:8443/v1?x", "api.example.com", Some(8443), Some("/v1")),
            ("http://api.example.com#x", "api.example.com", Some(80), None),
            ("ssh://git@git.example.org/a.git", "git.example.org", Some(22), Some("/a.git")),
            ("git://git.example.org", "git.example.org", Some(9418), None),
            ("ftp://example.org", "example.org", None, None),
            ("::1", "::1", Some(443), None),
            ("[fd00::1]:5432", "fd00::1", Some(5432), None),
        ] {
            let parts = Parts::of(text);
            assert_eq!((parts.host, parts.number(), parts.path), (host, port, path), "{text}");
            assert!(is_meant(text) && parts.fault().is_none(), "{text}");
        }
    }

    #[test]
    fn a_wrong_host_is_said_to_be_one() {
        for (text, says) in [
            ("example.org.", "no dot at the end"),
            ("*.example.org", "a pattern"),
            ("example.org:99999", "from 1 to 65535"),
            ("https://example.org:x/", "from 1 to 65535"),
        ] {
            assert!(is_meant(text), "{text}");
            let (reason, _) = Parts::of(text).fault().unwrap();
            assert!(reason.contains(says), "{text}: {reason}");
        }
        for text in ["src", "Makefile", "a b.c", "*"] {
            assert!(!is_meant(text), "{text}");
        }
    }

    fn asked(what: &str, upstream: bool) -> Answer {
        let line = |allow: bool, host: &str, port: Option<u16>, methods: &[&str], paths: Option<&str>| Rule {
            allow,
            port,
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            paths: paths.map(str::to_owned),
            ..Rule::allow(Pattern::parse(host).unwrap(), format!("of {host}"))
        };
        let rules = vec![
            line(true, "get.test", None, &["GET"], Some("/v1/*")),
            line(true, "open.test", None, &[], None),
            line(false, "open.test", None, &["DELETE"], Some("/admin*")),
            line(true, "10.98.3.2", Some(5432), &[], None),
            line(true, "11.98.0.0/16", Some(8080), &[], None),
            line(false, "11.98.3.3", None, &[], None),
            line(true, "git.test", Some(22), &[], None),
        ];
        let upstream = upstream.then(|| crate::plan::Upstream {
            host: "proxy.test".into(),
            port: 3128,
            login: None,
            origin: "of the proxy".into(),
        });
        let gateway = Gateway { rules, budgets: Vec::new(), ports: Vec::new(), upstream, roots: None };
        let mut answer = Answer::no(what, Kind::Host, "");
        by_rules(&Parts::of(what), &gateway, &mut answer);
        answer
    }

    #[test]
    fn the_rules_are_asked_as_the_gateway_asks_them() {
        for (what, visible, says) in [
            ("10.98.3.2:5432", true, "`allow` names `10.98.3.2`, on port 5432 (of 10.98.3.2)"),
            ("[::ffff:10.98.3.2]:5432", true, "(of 10.98.3.2)"),
            ("10.98.3.2", false, "no `allow` names it, on port 443"),
            ("10.98.3.9:5432", false, "{ allow \"10.98.3.9\" port=5432; }"),
            ("11.98.3.2:8080", true, "`allow` names `11.98.0.0/16`"),
            ("11.98.3.3:8080", false, "`deny` names `11.98.3.3`"),
            ("169.254.169.254:80", false, "metadata service"),
            ("get.test", true, "for GET below `/v1/*`: `allow` names `get.test`, on port 443"),
            ("https://get.test/v1/x", true, "for GET: `allow` names GET below `/v1/*` of `get.test`"),
            ("https://get.test/v2", false, "no `allow` names `/v2` of it, on port 443: they name GET below"),
            ("https://get.test/v2", false, "{ allow \"get.test\" paths=\"/v2\"; }"),
            ("https://get.test/v1/../x", false, "no `allow` names `/v1/../x`"),
            ("open.test", true, "for every request, but not DELETE below `/admin*`"),
            ("http://open.test/admin", true, "for GET, HEAD, POST, PUT, PATCH, OPTIONS"),
            ("http://open.test/x", true, "None: `allow` names every method everywhere of `open.test`"),
            ("open.test:8080", false, "{ allow \"open.test\" port=8080; }"),
            ("ssh://git.test", true, "on port 22"),
            ("git://git.test", false, "on port 9418"),
            ("ftp://git.test", false, "name it: `pier explain git.test:PORT`"),
        ] {
            let answer = asked(what, false);
            let Answer { access, reason, origin, help, .. } = &answer;
            let access = access.as_deref().unwrap_or("None");
            let said = format!("{access}: {reason} ({}) {help:?}", origin.as_deref().unwrap_or_default());
            assert_eq!(answer.visible, visible, "{what}: {said}");
            assert!(said.replace("\\\"", "\"").contains(says), "{what}: {said}");
        }
        let answer = asked("10.98.3.2:5432", true);
        assert!(!answer.visible && answer.reason.contains("by names alone"), "{answer:?}");
    }
}
