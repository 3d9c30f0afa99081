//! Programs that people use, behind the gateway, with no proxy variable and no setting of theirs.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use super::inside;
use super::servers::Servers;
use crate::attacks::program::{copy, dial};
use crate::sandbox::Project;

const HOSTS: &str = "127.0.0.1 localhost\n11.93.7.3 repo.test other.test\n11.93.7.2 allowed.test evil.test\n\
    11.93.7.5 registry.test\nfd93:7::2 six.test closed-six.test\n";

/// The connections of the last session.
fn log(project: &Project) -> Vec<serde_json::Value> {
    let log = project.pier(&["net", "log", "--json"]).expect(0).text();
    serde_json::from_str(&log).unwrap()
}

/// Makes a repository that any web server can serve, and returns the directory that it is in.
fn repository(project: &Project) -> PathBuf {
    let base = project.base().join("served");
    let script = "git init -q -b main work && cd work && echo hello > hello.txt && git add . && \
        git -c user.name=a -c user.email=a@example.org commit -q -m one && cd .. && \
        git clone -q --bare work hello.git && git -C hello.git update-server-info";
    fs_err::create_dir(&base).unwrap();
    let status = Command::new("bash").args(["-ec", script]).current_dir(&base).status().unwrap();
    assert!(status.success());
    base
}

#[test]
fn git_clones_from_a_host_that_is_granted_and_from_no_other() {
    let Some(servers) = Servers::start() else { return };
    let project = Project::new("network allowlist { allow repo.test; }\n");
    project.write_beside("bundle.pem", &servers.web.authority);
    *servers.web.files.lock().unwrap() = repository(&project);
    project.trust();
    let clone = |host: &str| {
        let script =
            format!("cd /tmp && git clone -q https://{host}/files/hello.git 2>&1 && cat hello/hello.txt");
        inside(&project, HOSTS, &script)
    };
    assert_eq!(clone("repo.test").expect(0).text(), "hello");
    assert!(servers.asked().iter().any(|asked| asked.line.contains("/files/hello.git/info/refs")));
    assert!(log(&project).iter().all(|one| one["name"] == "repo.test" && one["allowed"] == true));
    let refused = clone("other.test").expect(128).text();
    assert!(refused.contains("403"), "{refused}");
    assert_eq!(servers.asked(), [], "a host that is not granted was asked");
    assert!(log(&project).iter().all(|one| one["name"] == "other.test" && one["allowed"] == false));
    // The proxy is for those that insist.
    assert_eq!(inside(&project, HOSTS, "env | grep -ic _proxy= ; true").expect(0).text(), "0");
}

#[test]
fn a_static_program_reaches_what_is_allowed_by_name() {
    let Some(servers) = Servers::start() else { return };
    let project = Project::new("network allowlist { allow allowed.test; }\n");
    copy(dial(), &project.root().join("dial"));
    project.trust();
    let answer = inside(&project, HOSTS, "./dial allowed.test").expect(0).text();
    assert!(answer.contains("answer of 80"), "{answer}");
    assert_eq!(servers.heard().len(), 1);
    let answer = inside(&project, HOSTS, "./dial evil.test").expect(0).text();
    assert!(answer.contains("403 Forbidden") && answer.contains("no `allow` names it"), "{answer}");
    assert_eq!(servers.heard(), []);
}

#[test]
fn a_host_of_version_6_alone_is_reached_by_clients_of_both() {
    let Some(servers) = Servers::start() else { return };
    if !servers.has_six {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let project =
        Project::new("network allowlist { allow six.test private=#true; allow closed-six.test; }\n");
    project.trust();
    for family in ["-4", "-6"] {
        let answer = inside(&project, HOSTS, &format!("curl -sS {family} http://six.test/")).expect(0).text();
        assert!(answer.contains("answer of 80"), "{family}: {answer}");
        let connections = log(&project);
        assert!(
            matches!(&connections[..], [one] if one["address"] == "fd93:7::2" && one["allowed"] == true),
            "{connections:?}"
        );
        let dialled = connections[0]["dialled"].as_str().unwrap();
        assert_eq!(dialled.contains(':'), family == "-6", "{dialled}");
        assert_eq!(servers.heard().len(), 1);
        let answer =
            inside(&project, HOSTS, &format!("curl -sS {family} http://closed-six.test/")).expect(0).text();
        assert!(answer.contains("an address that is private"), "{family}: {answer}");
        assert_eq!(servers.heard(), []);
    }
}

/// A host and a port of a URL over TLS.
fn host_of(url: &str) -> Option<(String, u16)> {
    let authority = url.trim().strip_prefix("https://")?.split('/').next()?;
    let authority = authority.rsplit('@').next()?;
    Some(match authority.split_once(':') {
        Some((host, port)) => (host.to_owned(), port.parse().ok()?),
        None => (authority.to_owned(), 443),
    })
}

/// Carries connections to a host of the real world.
fn carry(listener: TcpListener, host: String, port: u16) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(near), Ok(far)) = (stream, TcpStream::connect((host.as_str(), port))) else { continue };
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

#[test]
fn npm_asks_the_registry_of_this_machine() {
    let skip = |why: &str| println!("skipped: {why}");
    let Ok(configured) = Command::new("npm").args(["config", "get", "registry"]).output() else {
        return skip("there is no npm");
    };
    let url = String::from_utf8(configured.stdout).unwrap().trim().to_owned();
    let Some((host, port)) = host_of(&url) else {
        return skip("npm's registry is not behind TLS");
    };
    let ask = |url: &str| format!("npm view npm name --registry {url} --fetch-retries 0");
    let reached = Command::new("bash").args(["-c", &ask(&url)]).output().unwrap();
    if !reached.status.success() {
        return skip("npm cannot reach its registry without pier");
    }
    let proxy = ["HTTPS_PROXY", "https_proxy"].into_iter().find_map(std::env::var_os);
    let proxy = proxy.map(|proxy| proxy.into_string().unwrap());
    let (upstream, carried) = match proxy.as_deref().map(|proxy| proxy.trim_end_matches('/').rsplit_once(':'))
    {
        None => (String::new(), (host.clone(), port)),
        Some(Some((proxy, port))) if proxy.starts_with("http://") && !proxy.contains('@') => {
            let proxy = proxy.trim_start_matches("http://").to_owned();
            ("upstream \"http://registry.test:443\"".to_owned(), (proxy, port.parse().unwrap()))
        }
        Some(_) => return skip("this machine's proxy wants TLS or a password"),
    };
    if port != 443 {
        return skip("npm's registry is on a port of its own");
    }
    let Some(servers) = Servers::start() else { return };
    // By way of the second network: here it may have an address that pier refuses.
    carry(servers.outside.try_clone().unwrap(), carried.0, carried.1);
    let hosts = format!("{HOSTS}11.93.7.5 {host}\n");
    let project =
        Project::new(&format!("network allowlist {{\n allow \"{host}\" port={port}\n {upstream}\n}}\n"));
    if let Some(more) = std::env::var_os("NODE_EXTRA_CA_CERTS") {
        let known =
            ["/etc/ssl/certs/ca-certificates.crt".into(), more].map(|path| fs_err::read(path).unwrap());
        project.write_beside("bundle.pem", known.concat());
    }
    project.trust();
    let answer = inside(&project, &hosts, &ask(&url)).expect(0).text();
    assert_eq!(answer, "npm");
    let connections = log(&project);
    let stood = connections.iter().find(|one| one["name"] == host.as_str() && one["allowed"] == true);
    assert!(
        stood.is_some_and(|one| one["port"] == port && one["down"].as_u64() > Some(1000)),
        "{connections:?}"
    );
    // Without the grant, it is not reached.
    project.write("pier.kdl", "network allowlist { allow allowed.test; }\n");
    project.trust();
    let refused = inside(&project, &hosts, &ask(&url));
    assert!(refused.code() != Some(0) && !refused.text().contains("npm\n"), "{}", refused.text());
    assert!(log(&project).iter().all(|one| one["allowed"] == false));
}
