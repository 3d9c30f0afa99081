//! Programs that ask the registries which this machine is set to, and which are reached by the gateway as well.

use std::collections::BTreeSet;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use super::clients::{HOSTS, log};
use super::inside;
use super::servers::Servers;
use crate::sandbox::Project;

/// The hosts of a text's URLs over TLS.
fn hosts_of(text: &str) -> BTreeSet<String> {
    let urls = text.split(|c: char| c.is_whitespace() || "\"'<>()".contains(c));
    let authority = |url: &str| {
        let authority = url.strip_prefix("https://")?.split(['/', '#', '?']).next()?.rsplit('@').next()?;
        let (host, port) = authority.split_once(':').unwrap_or((authority, "443"));
        // On a port of its own, it would need another way in.
        (port == "443" && host.contains('.')).then(|| host.to_owned())
    };
    urls.filter_map(authority).collect()
}

/// Carries connections to hosts of the real world: to the proxy, or to whom the first message of TLS names.
fn carry(listener: TcpListener, hosts: BTreeSet<String>, proxy: Option<(String, u16)>) {
    let named = move |stream: &TcpStream| -> Option<(String, u16)> {
        let until = Instant::now() + Duration::from_secs(10);
        let mut first = [0; 4096];
        while Instant::now() < until {
            let length = stream.peek(&mut first).ok()?;
            let text = String::from_utf8_lossy(&first[..length]);
            if let Some(host) = hosts.iter().find(|host| text.contains(host.as_str())) {
                return Some((host.clone(), 443));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(near) = stream else { continue };
            let Some(to) = proxy.clone().or_else(|| named(&near)) else { continue };
            let Ok(far) = TcpStream::connect((to.0.as_str(), to.1)) else { continue };
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    // Either may break off; the other one hears of it.
                    let _broken = io::copy(&mut from, &mut to);
                    let _gone = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
}

/// Runs a line that needs these hosts in a sandbox which allows them, and in one which does not.
fn ask(hosts: &BTreeSet<String>, line: &str, answer: &str) {
    let skip = |why: &str| println!("skipped: {why}");
    let reached = Command::new("bash").args(["-c", line]).output().unwrap();
    if !reached.status.success() {
        return skip("the registry is not reached without pier");
    }
    if hosts.is_empty() {
        return skip("the registry is not behind TLS on its usual port");
    }
    let proxy = ["HTTPS_PROXY", "https_proxy"].into_iter().find_map(std::env::var_os);
    let proxy = proxy.map(|proxy| proxy.into_string().unwrap());
    let (upstream, proxy) = match proxy.as_deref().map(|proxy| proxy.trim_end_matches('/').rsplit_once(':')) {
        None => ("", None),
        Some(Some((proxy, port))) if proxy.starts_with("http://") && !proxy.contains('@') => {
            let proxy = proxy.trim_start_matches("http://").to_owned();
            ("upstream \"http://registry.test:443\"", Some((proxy, port.parse().unwrap())))
        }
        Some(_) => return skip("this machine's proxy wants TLS or a password"),
    };
    let Some(servers) = Servers::start() else { return };
    // By way of the second network: here they may have an address that pier refuses.
    let outside = servers.outside.try_clone().unwrap();
    servers.on_this_machine(|| carry(outside, hosts.clone(), proxy));
    let mut known = HOSTS.to_owned();
    let mut rules = String::new();
    for host in hosts {
        known.push_str(&format!("11.93.7.5 {host}\n"));
        rules.push_str(&format!("allow \"{host}\"\n"));
    }
    let project = Project::new(&format!("network allowlist {{\n{rules}{upstream}\n}}\n"));
    if let Some(more) = std::env::var_os("NODE_EXTRA_CA_CERTS") {
        let known =
            ["/etc/ssl/certs/ca-certificates.crt".into(), more].map(|path| fs_err::read(path).unwrap());
        project.write_beside("bundle.pem", known.concat());
    }
    project.trust();
    let said = inside(&project, &known, line).expect(0).text();
    assert!(said.contains(answer), "{said}");
    let connections = log(&project);
    let stood = |one: &serde_json::Value| one["allowed"] == true && one["down"].as_u64() > Some(1000);
    assert!(connections.iter().any(stood), "{connections:?}");
    assert!(
        connections.iter().all(|one| one["name"].as_str().is_some_and(|name| hosts.contains(name))),
        "{connections:?}"
    );
    // Without the grants, they are not reached.
    project.write("pier.kdl", "network allowlist { allow allowed.test; }\n");
    project.trust();
    let refused = inside(&project, &known, line);
    assert!(refused.code() != Some(0) && !refused.text().contains(answer), "{}", refused.text());
    assert!(log(&project).iter().all(|one| one["allowed"] == false));
}

#[test]
fn npm_asks_the_registry_of_this_machine() {
    let Ok(configured) = Command::new("npm").args(["config", "get", "registry"]).output() else {
        println!("skipped: there is no npm");
        return;
    };
    let url = String::from_utf8(configured.stdout).unwrap().trim().to_owned();
    let line = format!("npm view npm name license --registry '{url}' --fetch-retries 0");
    ask(&hosts_of(&url), &line, "name = 'npm'");
}

#[test]
fn pip_downloads_from_the_index_of_this_machine() {
    let configured =
        Command::new("/usr/bin/python3").args(["-m", "pip", "config", "get", "global.index-url"]).output();
    let url = String::from_utf8(configured.unwrap().stdout).unwrap().trim().to_owned();
    let index = if url.is_empty() { String::new() } else { format!("--index-url '{url}'") };
    let line = format!(
        "cd \"$(mktemp -d)\" && /usr/bin/python3 -m pip --isolated download -q --no-deps --no-cache-dir --retries 0 \
         {index} six 2>&1 && ls"
    );
    // Where its files are, the index itself tells.
    let told = Command::new("bash").args(["-c", &line.replace(" -q ", " -vvv ")]).output().unwrap();
    ask(&hosts_of(&String::from_utf8_lossy(&told.stdout)), &line, "six-");
}
