//! What a workspace reaches: where something is said of it, a gateway of its own decides.

use std::io::Read as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::World;
use super::tasks::{script, task};
use crate::agents::{reached_the_registry, with_registry};
use crate::docker::{DEBIAN, can_run, docker};
use crate::model_server::Script;
use crate::network::servers::Servers;
use crate::network::surrounded;
use crate::sandbox::{Output, PIER, within};

/// Prints the first line that a host answers with.
const ASK: &str = "ask() { exec 3<>/dev/tcp/$1/80 || { echo unreachable; return; }
    printf 'GET / HTTP/1.1\\r\\nHost: %s\\r\\n\\r\\n' $1 >&3; head -1 <&3 | tr -d '\\r'; exec 3>&-; }; ";

const ALLOWED: &str =
    "[environment]\nnetwork_mode = \"allowlist\"\nallowed_hosts = [\"allowed.test\", \"*.wide.test\"]\n";

fn bash(world: &World, script: &str) -> Output {
    world.within("ws", &["exec", "--", "bash", "-c", &format!("{ASK}{script}")]).run()
}

/// The process that keeps the network of the workspace.
fn keeper(world: &World) -> Option<u32> {
    let home = world.0.home();
    fs_err::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs_err::read(entry.path().join("cmdline")).ok()?;
        let log = fs_err::read_link(entry.path().join("fd/2")).ok()?;
        (line.ends_with(b"\0__gateway\0") && log.starts_with(&home)).then_some(id)
    })
}

#[test]
fn names_are_asked_for_where_the_host_asks() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.call(&["start", "--image", DEBIAN, "-d", "ws"]).run().expect(0);
    let inside = world.within("ws", &["exec", "cat", "/etc/resolv.conf"]).run().expect(0).text();
    let is_own = |line: &&str| line.starts_with("nameserver 127.") || line.starts_with("nameserver ::1");
    let host = fs_err::read_to_string("/etc/resolv.conf").unwrap();
    let expected: Vec<&str> = host.lines().filter(|line| !is_own(line)).collect();
    assert_eq!(inside.lines().collect::<Vec<_>>(), expected);
    // Where nothing is to be reached, nobody is asked.
    world.call(&["start", "--image", DEBIAN, "-d", "alone", "--set", "network=none"]).run().expect(0);
    assert_eq!(world.within("alone", &["exec", "cat", "/etc/resolv.conf"]).run().expect(0).text(), "");
}

#[test]
fn a_task_reaches_what_it_lists_and_nothing_else() {
    if !can_run() {
        return;
    }
    let world = World::of_task(ALLOWED);
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    let script = "ask other.test; getent ahostsv4 allowed.test | head -1 | cut -d. -f1-2;
        tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; ls -A /.pier | grep -c sock";
    assert_eq!(bash(&world, script).text(), "HTTP/1.1 403 Forbidden\n198.18\nlo\n0");
    let log = world.within("ws", &["net", "log"]).run().expect(0).text();
    assert!(log.contains("other.test:80") && log.contains("refused"), "{log}");
    assert!(!world.call(&["ps"]).run().expect(0).text().contains("gateway"));
    // Nobody else has it: without its keeper there is no network, and that is said.
    let first = keeper(&world).expect("a process keeps the network");
    kill(Pid::from_raw(first.cast_signed()), Signal::SIGKILL).unwrap();
    assert!(within(Duration::from_secs(5), || keeper(&world).is_none()));
    let alone = bash(&world, "ask other.test 2>/dev/null");
    assert_eq!(alone.text(), "unreachable");
    assert!(alone.said().contains("the network of this workspace has ended"), "{}", alone.said());
    let again = world.within("ws", &["start"]).run().expect(0);
    assert!(again.said().contains("the container starts again"), "{}", again.said());
    assert_eq!(bash(&world, "ask other.test").text(), "HTTP/1.1 403 Forbidden");
    world.within("ws", &["start"]).run().expect(0);
    // It ends with the container, whoever ends that.
    let id = world.session("ws")["harbor_session_id"].as_str().unwrap().to_owned();
    docker(&["kill", &format!("{id}-main-1")], b"");
    assert!(within(Duration::from_secs(5), || keeper(&world).is_none()));
    world.within("ws", &["start"]).run().expect(0);
    assert_eq!(bash(&world, "ask other.test").text(), "HTTP/1.1 403 Forbidden");
    world.within("ws", &["stop"]).run().expect(0);
    assert!(within(Duration::from_secs(5), || keeper(&world).is_none()));
    let sessions = world.call(&["audit", "verify", "--all"]).run();
    assert!(!sessions.text().contains("changed after"), "{}", sessions.text());
    world.within("ws", &["rm", "--force"]).run().expect(0);
}

#[test]
fn who_starts_a_workspace_says_what_is_reached_before_its_task_does() {
    if !can_run() {
        return;
    }
    let world = World::of_task(ALLOWED);
    let none = world.call(&["start", "task", "-d", "ws", "--set", "network=none"]).run().expect(0);
    assert!(none.said().contains("as your configuration says"), "{}", none.said());
    assert_eq!(bash(&world, "ask allowed.test 2>/dev/null").text(), "unreachable");
    assert!(keeper(&world).is_none());
    world.within("ws", &["rm", "--force"]).run().expect(0);
    world.0.write_beside("home/.config/pier/config.kdl", "network allowlist { allow \"mine.test\"; }\n");
    world.call(&["start", "task", "-d", "ws"]).run().expect(0);
    assert_eq!(bash(&world, "ask allowed.test").text(), "HTTP/1.1 403 Forbidden");
    world.within("ws", &["rm", "--force"]).run().expect(0);
}

#[test]
fn a_port_is_published_from_a_workspace_without_a_network() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let words = ["--ports", &format!("{port}:7000"), "--set", "network=none"];
    let refused = world.start("ws", DEBIAN, &words).run().refused(125, "workspace::port");
    assert!(refused.said().contains(&format!("127.0.0.1:{port}")), "{}", refused.said());
    assert!(!world.place("ws").exists());
    drop(taken);
    world.start("ws", DEBIAN, &words).run().expect(0);
    let script = "perl -MIO::Socket::INET -e '$l = IO::Socket::INET->new(LocalAddr => \"127.0.0.1:7000\", Listen => 1);
        while ($c = $l->accept) { print $c \"inside\"; close $c }'";
    world.within("ws", &["exec", "-d", "--", "bash", "-c", script]).run().expect(0);
    let mut said = String::new();
    assert!(within(Duration::from_secs(20), || {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        said.clear();
        let _early = stream.read_to_string(&mut said);
        said == "inside"
    }));
    world.within("ws", &["stop"]).run().expect(0);
    assert!(within(Duration::from_secs(5), || TcpStream::connect(("127.0.0.1", port)).is_err()));
    // What makes its sockets has ended with it.
    assert!(
        within(Duration::from_secs(10), || world.containers().lines().count() == 1),
        "{}",
        world.containers()
    );
    world.within("ws", &["rm", "--force"]).run().expect(0);
}

#[test]
fn a_task_does_not_say_where_a_secret_comes_from() {
    if !can_run() {
        return;
    }
    let world = World::new();
    script(&world, "bin/tell-the-key", &format!("#!/bin/sh\ntouch {}\n", world.place("ran").display()));
    let path = format!("PATH = \"{}:/usr/bin:/bin\"\n", world.place("task/bin").display());
    for (variable, from, code, error) in [
        (path.as_str(), "cmd:tell-the-key", 2, "env::reserved"),
        ("", "cmd:tell-the-key", 125, "secret::from"),
        ("OWN = \"of-the-task\"\n", "env:OWN", 125, "secret::from"),
    ] {
        let network = "network_mode = \"allowlist\"\nallowed_hosts = [\"a.test\"]\n";
        task(&world, &format!("[environment]\n{network}[environment.env]\n{variable}"));
        let config = format!("env {{ secret KEY host=a.test from=\"{from}\"; }}\n");
        world.0.write_beside("home/.config/pier/config.kdl", config);
        world.call(&["start", "task", "-d", "ws"]).run().refused(code, error);
    }
    assert!(!world.place("ran").exists() && !world.place("ws").exists());
}

/// The real agent and a scripted model: of a task that reaches nothing, the agent reaches its model, and has no key.
#[test]
fn the_real_claude_code_reaches_its_model_alone_and_has_no_key() {
    if !can_run() {
        return;
    }
    let look = "(env; cat /proc/[0-9]*/environ; grep -rs 'RealKe[y]Of' ~ /tmp) > seen.txt 2>&1";
    let turns = ["printf 'Hello, world!\\n' > hello.txt", look];
    let script = Script::Commands(turns.map(|command| vec![command.to_owned()]).to_vec());
    let world = World::of_task("[environment]\nnetwork_mode = \"no-network\"\n");
    let key = "sk-ant-api03-RealKeyOfTheHost_0123456789-abcdefghijk";
    world.0.write_beside("home/key", key);
    let secret = "secret ANTHROPIC_API_KEY host=api.anthropic.com from=\"file:~/key\" header=\"x-api-key\"";
    world.0.write_beside("home/.config/pier/config.kdl", format!("env {{ {secret}; }}\n"));
    // Installed before there is another network.
    let install = world.call(&["start", "task", "-d", "first", "--agent", "claude-code"]);
    let installed = with_registry(&world.0, install).run();
    if !reached_the_registry(&installed) {
        return;
    }
    installed.expect(0);
    world.within("first", &["rm", "--force"]).run().expect(0);
    let Some(servers) = Servers::start_with(script) else { return };
    world.0.write_beside("bundle.pem", &servers.web.authority);
    let mut start = Command::new(PIER);
    start.args(["start", "task", "-d", "ws", "--agent", "claude-code"]);
    let hosts = "127.0.0.1 localhost\n11.93.7.4 api.anthropic.com\n";
    with_registry(&world.0, surrounded(&world.0, hosts, &start)).run().expect(0);
    let prompt = ["exec", "--", "claude", "-p", "do it", "--dangerously-skip-permissions"];
    with_registry(&world.0, world.within("ws", &prompt)).run().expect(0);
    assert_eq!(world.0.read("ws/hello.txt"), "Hello, world!\n");
    let seen = world.0.read("ws/seen.txt");
    assert!(seen.contains("PIER_SANDBOX=1") && !seen.contains("RealKeyOf"), "{seen}");
    assert!(servers.web.told().contains(key), "{}", servers.web.told());
    let log = world.within("ws", &["net", "log"]).run().expect(0).text();
    assert!(log.contains("with ANTHROPIC_API_KEY"), "{log}");
    assert_eq!(bash(&world, "ask other.test").text(), "HTTP/1.1 403 Forbidden");
    let home = world.0.home();
    let found =
        Command::new("grep").args(["-rl", "RealKeyOfTheHost", home.to_str().unwrap()]).output().unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap().trim(), home.join("key").to_str().unwrap());
    world.within("ws", &["rm", "--force"]).run().expect(0);
}

#[test]
fn a_network_that_was_closed_is_not_opened_by_starting_again() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let links = || {
        let words =
            ["exec", "--", "sh", "-c", "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; cat $HOME/mark"];
        world.within("ws", &words).run().expect(0).text()
    };
    world.call(&["start", "-d", "ws", "--image", DEBIAN, "--set", "network=none"]).run().expect(0);
    let mark = ["exec", "--", "sh", "-c", "echo kept > $HOME/mark"];
    world.within("ws", &mark).run().expect(0);
    world.within("ws", &["stop"]).run().expect(0);
    let again = world.within("ws", &["start"]).run().expect(0);
    assert!(!again.said().contains("anew"), "{}", again.said());
    assert!(links().starts_with("lo"), "{}", links());
    assert!(!links().contains("eth0"));
    // Where the configuration has closed it, whoever opens it is asked.
    let config = ".config/pier/config.kdl";
    let world = World::new();
    world.0.write_beside(format!("home/{config}"), "network none\n");
    world.0.give_away();
    world.call(&["start", "-d", "ws", "--image", DEBIAN]).run().expect(0);
    world.within("ws", &["stop"]).run().expect(0);
    fs_err::remove_file(world.0.home().join(config)).unwrap();
    world.within("ws", &["start"]).run().refused(2, "workspace::network");
    world.within("ws", &["start", "--set", "network=none"]).run().expect(0);
}
