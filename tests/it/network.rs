//! `network allowlist` against servers in a network of their own: by root alone, who can make one.

use std::process::Command;
use std::time::Duration;

use crate::sandbox::{Call, Output, PIER, Project, within};

mod agents;
mod clients;
mod guesses;
mod keyring;
mod registries;
mod secure;
pub mod servers;
pub mod web;

use servers::Servers;

/// Runs a script inside, where these names lead to these addresses on the host, which believes the test's authority.
fn inside(project: &Project, hosts: &str, script: &str) -> Output {
    let mut command = Command::new(PIER);
    command.args(["exec", "--", "bash", "-c", script]);
    surrounded(project, hosts, &command).run()
}

/// The description of a call of a program where these names lead to these addresses.
pub fn surrounded(project: &Project, hosts: &str, program: &Command) -> Call {
    project.write_beside("hosts", hosts);
    let hosts = project.base().join("hosts").display().to_string();
    let bundle = project.base().join("bundle.pem");
    if !bundle.exists() {
        project.write_beside("bundle.pem", "");
    }
    let bundle = bundle.display().to_string();
    let mut command = Command::new("unshare");
    let mount = "mount --make-rprivate / && mount --bind \"$0\" /etc/hosts && \
        if [ -s \"$1\" ]; then mount --bind \"$1\" /etc/ssl/certs/ca-certificates.crt; fi && shift && exec \"$@\"";
    command
        .args(["-m", "bash", "-c", mount, &hosts, &bundle])
        .arg(program.get_program())
        .args(program.get_args());
    project.surround(command)
}

const HOSTS: &str = "127.0.0.1 localhost rebind.test\n11.93.7.2 allowed.test evil.test git.test x.wide.test wide.test bad.wide.test\n\
    11.93.7.1 own.test\n11.94.7.9 any.test\n169.254.169.254 meta.test\n10.1.2.3 private.test\n";

const RULES: &str = "network allowlist {
    allow \"allowed.test\" \"*.wide.test\" \"rebind.test\" \"own.test\" \"any.test\" \"meta.test\" \"private.test\"
    allow \"git.test\" port=9418
    deny \"bad.wide.test\"
}\n";

/// A request by bash alone; prints what comes back.
const GET: &str = "get() { exec 3<>/dev/tcp/$1/${2:-80} && printf 'GET / HTTP/1.1\\r\\nHost: %s\\r\\n\\r\\n' ${3:-$1} >&3 && timeout 5 cat <&3; exec 3>&-; }\n";

#[test]
fn names_that_are_allowed_are_reached_and_no_others() {
    let Some(servers) = Servers::start() else { return };
    let project = Project::new(RULES);
    let refused = project.exec(&["true"]).refused(125, "trust::needed");
    assert!(refused.flat().contains("reach `*.wide.test` on port 80 or 443"), "{}", refused.flat());
    project.trust();
    let run = |script: &str| inside(&project, HOSTS, &format!("{GET}{script}"));
    for host in ["allowed.test", "x.wide.test"] {
        assert!(run(&format!("get {host}")).text().contains("answer of 80"), "{host}");
        let heard = servers.heard();
        assert!(
            heard.len() == 1 && heard[0].1.contains(&format!("Host: {host}\r\nConnection: close")),
            "{heard:?}"
        );
    }
    assert!(run("get git.test 9418").text().contains("answer of 9418"));
    servers.heard();
    for (script, word) in [
        ("get evil.test", "no `allow` names it"),
        ("get wide.test", "no `allow` names it"),
        ("get bad.wide.test", "a `deny` names it"),
        ("get allowed.test 80 evil.test", "`allowed.test` was looked up"),
        ("get 11.93.7.2 80 evil.test", "no `allow` names it"),
        ("get 11.93.7.2 80 11.93.7.2", "no `allow` names the address"),
        ("get rebind.test", "this machine's own"),
        ("get own.test", "this machine's own"),
        ("get any.test", "this machine's own"),
        ("get meta.test", "metadata service"),
        ("get private.test", "an address that is private"),
        ("get nowhere.test", "no `allow` names it"),
    ] {
        let output = run(script);
        assert!(
            output.text().contains("403 Forbidden") && output.text().contains(word),
            "{script}: {}",
            output.text()
        );
    }
    for script in [
        "get allowed.test 8080",
        "get allowed.test 22",
        "get 11.93.7.2 9418",
        "get git.test 443",
        "getent hosts a_b",
    ] {
        let began = std::time::Instant::now();
        let output = run(script);
        assert!(!output.text().contains("answer"), "{script}");
        assert!(began.elapsed() < Duration::from_secs(5), "{script} hangs");
    }
    assert_eq!(servers.heard(), [], "a server has heard of somebody who was refused");
    // Nothing of a second request goes along.
    let two = "exec 3<>/dev/tcp/allowed.test/80; printf 'GET /1 HTTP/1.1\\r\\nHost: allowed.test\\r\\n\\r\\nGET /2 HTTP/1.1\\r\\nHost: evil.test\\r\\n\\r\\n' >&3; cat <&3";
    assert!(run(two).text().contains("answer of 80"));
    let heard = servers.heard();
    assert!(heard.len() == 1 && !heard[0].1.contains("evil"), "{heard:?}");
    tls(&servers, &run);
    records(&project);
}

/// A hello with this name, as `printf` writes it.
fn hello(name: &str) -> String {
    let mut extensions = vec![0, 0];
    let length = u8::try_from(name.len()).unwrap();
    extensions.extend([0, length + 5, 0, length + 3, 0, 0, length]);
    extensions.extend(name.as_bytes());
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0, 0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    let bytes = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat();
    bytes.iter().fold(String::new(), |text, byte| text + &format!("\\x{byte:02x}"))
}

fn tls(servers: &Servers, run: &dyn Fn(&str) -> Output) {
    let say = |host: &str, name: &str| {
        run(&format!(
            "exec 3<>/dev/tcp/{host}/443; printf '{}' >&3; timeout 5 cat <&3 | od -An -tx1",
            hello(name)
        ))
    };
    let denied = "15 03 03 00 02 02 31";
    // Passed on untouched.
    assert!(!say("allowed.test", "allowed.test").text().contains(denied));
    assert!(matches!(&servers.heard()[..], [(443, hello)] if hello.contains("allowed.test")));
    // Whom it is for is known, so that TLS goes on, to say why; this hello is too poor for that.
    assert!(say("evil.test", "evil.test").text().trim().starts_with("15 03 03 00 02 02"));
    for (host, name) in [("allowed.test", "evil.test"), ("evil.test", "allowed.test"), ("allowed.test", "")] {
        assert_eq!(say(host, name).text().trim(), denied, "{host} {name}");
    }
    let plain = run(&format!("{GET}get allowed.test 443 | od -An -tx1"));
    assert_eq!(plain.text().trim(), denied);
    assert_eq!(servers.heard(), []);
}

fn records(project: &Project) {
    let found = &recorded(project)[0];
    assert_eq!((&found["allowed"], &found["port"]), (&false.into(), &443.into()));
    project.pier(&["audit", "verify"]).expect(0);
}

#[test]
fn a_flood_of_refusals_hides_no_connection() {
    let Some(servers) = Servers::start() else { return };
    let project = Project::new(RULES);
    project.trust();
    let script = "python3 - <<'E'
import socket, threading
def flood():
    for _ in range(2000):
        try: socket.create_connection(('127.0.0.1', 9418)).close()
        except OSError: pass
threads = [threading.Thread(target=flood) for _ in range(4)]
for one in threads: one.start()
for number in range(20):
    s = socket.create_connection(('allowed.test', 80))
    s.sendall(b'POST /%d HTTP/1.1\\r\\nHost: allowed.test\\r\\nContent-Length: 6\\r\\n\\r\\nsecret' % number)
    while s.recv(4096): pass
for one in threads: one.join()
E";
    inside(&project, HOSTS, script).expect(0);
    assert_eq!(servers.heard().len(), 20);
    let connections = recorded(&project);
    let stood = connections.iter().filter(|one| one["allowed"] == true);
    assert_eq!(stood.map(|one| one["up"].as_u64().unwrap()).filter(|up| *up > 6).count(), 20);
    let refused: u64 = connections
        .iter()
        .filter(|one| one["allowed"] == false && one["port"] == 9418)
        .map(|one| one["times"].as_u64().unwrap_or(1))
        .sum();
    assert!(refused > 4_000 && connections.len() < 200, "{refused} of {}", connections.len());
}

#[test]
fn a_refused_run_says_what_it_would_have_needed() {
    let Some(_servers) = Servers::start() else { return };
    let project =
        Project::new("network allowlist { allow git.test port=9418; allow allowed.test methods=POST; }\n");
    project.trust();
    inside(
        &project,
        HOSTS,
        &format!(
            "{GET}get evil.test; get evil.test; get allowed.test; get git.test; get meta.test 443; true"
        ),
    );
    let said = project.pier(&["net", "suggest"]).expect(0).text();
    assert_eq!(
        said,
        "network allowlist {\n    allow \"allowed.test\" methods=GET paths=\"/\"\n    allow \"evil.test\"\n    allow \"git.test\"\n}"
    );
    let log = project.pier(&["net", "log"]).expect(0).text();
    assert!(
        log.contains("refused") && log.contains("evil.test:80") && log.contains("no `allow` names it"),
        "{log}"
    );
    let log = project.pier(&["net", "log", "--json"]).expect(0).text();
    let log: serde_json::Value = serde_json::from_str(&log).unwrap();
    assert_eq!(log.as_array().unwrap().len(), 5);
    // What is suggested is what helps.
    project.write("pier.kdl", said);
    project.trust();
    let text = inside(&project, HOSTS, &format!("{GET}get evil.test")).text();
    assert!(text.contains("answer of 80"), "{text}");
}

#[test]
fn what_may_be_sent_to_a_host_has_an_end() {
    let Some(servers) = Servers::start() else { return };
    let project = Project::new(
        "network allowlist {\n allow git.test port=9418\n allow x.wide.test allowed.test\n bytes git.test up=\"100KiB\"\n bytes \"*.wide.test\" down=\"5B\"\n bytes allowed.test connections=1 idle=\"3s\"\n}\n",
    );
    project.trust();
    // The second is made when the first has been cut off.
    let script = "exec 3<>/dev/tcp/git.test/9418; yes | head -c 1000000 >&3; cat <&3; echo more > /dev/tcp/git.test/9418; sleep 0.5";
    inside(&project, HOSTS, script);
    let sent: usize = servers.heard().iter().map(|(_, text)| text.len()).sum();
    assert_eq!(sent, 100 * 1024);
    let mut connections = recorded(&project);
    // On a slow machine they are written down before they end, too.
    connections.retain(|one| one["open"] != true);
    assert!(
        connections
            .iter()
            .all(|one| one["reason"].as_str().unwrap().contains("`bytes` of `git.test` are used up")),
        "{connections:?}"
    );
    assert!(!inside(&project, HOSTS, &format!("{GET}get x.wide.test")).text().contains("answer"));
    let began = std::time::Instant::now();
    // A body that comes slowly keeps the first one open: the server answers after 300 ms without a byte.
    let script = format!(
        "{GET}exec 4<>/dev/tcp/allowed.test/80; printf 'POST / HTTP/1.1\\r\\nHost: allowed.test\\r\\nContent-Length: 29\\r\\n\\r\\n' >&4;
        (for i in $(seq 20); do printf x; sleep 0.05; done >&4) & sleep 0.2; get allowed.test; wait; cat <&4"
    );
    let text = inside(&project, HOSTS, &script).text();
    assert!(text.contains("as many connections to `allowed.test`"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_proxy_of_the_company_takes_out_what_is_allowed() {
    let Some(servers) = Servers::start() else { return };
    // Port 9418 of the second host answers anything, so it plays the proxy.
    let project =
        Project::new("network allowlist {\n allow allowed.test\n upstream \"http://git.test:9418\"\n}\n");
    let refused = project.exec(&["true"]).refused(125, "trust::needed");
    assert!(refused.flat().contains("through the proxy `http://git.test:9418`"), "{}", refused.flat());
    project.trust();
    let run = |script: &str| inside(&project, HOSTS, &format!("{GET}{script}")).text();
    assert!(run("get allowed.test").contains("answer of 9418"));
    let heard = servers.heard();
    assert!(
        heard[0].1.starts_with("GET http://allowed.test/ HTTP/1.1\r\nHost: allowed.test\r\n"),
        "{heard:?}"
    );
    run(&format!(
        "exec 3<>/dev/tcp/allowed.test/443; printf '{}' >&3; timeout 2 cat <&3",
        hello("allowed.test")
    ));
    let heard = servers.heard();
    assert!(
        heard[0].1.starts_with("CONNECT allowed.test:443 HTTP/1.1\r\nHost: allowed.test:443\r\n\r\n"),
        "{heard:?}"
    );
    assert!(run("get evil.test").contains("no `allow` names it"));
    assert_eq!(servers.heard(), []);
    // With a login, which is never seen inside and not to be taken for the sandbox's own.
    project.write(
        "pier.kdl",
        "network allowlist {\n allow allowed.test\n upstream \"http://git.test:9418\" login=\"file:~/login\"\n}\n",
    );
    let refused = project.exec(&["true"]).refused(125, "trust::needed");
    assert!(refused.flat().contains("`http://git.test:9418`, with `file:~/login`"), "{}", refused.flat());
    project.trust();
    project.exec(&["true"]).refused(125, "secret::from");
    project.write_beside("home/login", "me:pass\n");
    let field = "Proxy-Authorization: Basic bWU6cGFzcw==";
    let ask = "exec 3<>/dev/tcp/allowed.test/80; \
        printf 'GET / HTTP/1.1\\r\\nHost: allowed.test\\r\\nProxy-Authorization: Basic eA==\\r\\n\\r\\n' >&3; timeout 5 cat <&3";
    assert!(run(ask).contains("answer of 9418"));
    let heard = servers.heard();
    assert!(heard[0].1.contains(field) && heard[0].1.matches("Proxy-").count() == 1, "{heard:?}");
    run(&format!(
        "exec 3<>/dev/tcp/allowed.test/443; printf '{}' >&3; timeout 2 cat <&3",
        hello("allowed.test")
    ));
    let heard = servers.heard();
    assert!(heard[0].1.contains(field), "{heard:?}");
    assert!(!run("env; cat /proc/*/environ").contains("pass\n"));
}

#[test]
fn a_proxy_tells_nobody_its_login() {
    let Some(_servers) = Servers::start() else { return };
    let project = Project::new(
        "network allowlist {\n allow allowed.test\n upstream \"http://git.test:9419\" login=\"file:~/login\"\n}\n",
    );
    project.write_beside("home/login", "me:pass-of-the-proxy\n");
    project.trust();
    let run = |script: &str| inside(&project, HOSTS, &format!("{GET}{script}")).text();
    let text = run("get allowed.test");
    assert!(text.contains("Proxy-Authorization: Basic ****"), "{text}");
    assert!(!text.contains("bWU6cGFzcy1vZi10aGUtcHJveHk="), "{text}");
    let trace = "exec 3<>/dev/tcp/allowed.test/80; printf 'TRACE / HTTP/1.1\\r\\nHost: allowed.test\\r\\n\\r\\n' >&3; timeout 5 cat <&3";
    assert!(run(trace).contains("to be shown"));
    // What it says to a CONNECT goes no further either.
    run(&format!(
        "exec 3<>/dev/tcp/allowed.test/443; printf '{}' >&3; timeout 2 cat <&3",
        hello("allowed.test")
    ));
    let log = project.pier(&["net", "log", "--json"]).expect(0).text();
    assert!(!log.contains("bWU6"), "{log}");
}

#[test]
fn an_address_is_no_way_around_a_deny() {
    let Some(servers) = Servers::start() else { return };
    let project = Project::new("network allowlist { allow \"11.93.7.2\"; deny evil.test; }\n");
    project.trust();
    let run = |script: &str| inside(&project, HOSTS, &format!("{GET}{script}")).text();
    assert!(run("get 11.93.7.2 80 allowed.test").contains("answer of 80"));
    let told = run("get 11.93.7.2 80 evil.test");
    assert!(told.contains("a `deny` names it") && told.contains("\"rule\":\"pier.kdl:1\""), "{told}");
    servers.heard();
    for (name, reached) in [("evil.test", false), ("allowed.test", true)] {
        run(&format!("exec 3<>/dev/tcp/11.93.7.2/443; printf '{}' >&3; timeout 2 cat <&3", hello(name)));
        assert_eq!(!servers.heard().is_empty(), reached, "{name}");
    }
    assert_eq!(recorded(&project)[0]["server_name"], "allowed.test");
    // One that comes in pieces, and those that nobody can read.
    let sent = hello("evil.test");
    let bytes: Vec<&str> = sent.split("\\x").skip(1).collect();
    let slowly: Vec<String> = bytes.iter().map(|byte| format!("printf '\\x{byte}' >&3")).collect();
    let records: Vec<String> =
        bytes.iter().skip(5).map(|byte| format!("\\x16\\x03\\x01\\x00\\x01\\x{byte}")).collect();
    for send in [
        format!("{{ {}; printf '%300s' ''; }} >&3", slowly.join("; sleep 0.002; ")),
        format!("printf '{}' >&3", records.concat()),
        format!("printf '{}' >&3", hello("evil.test.")),
        "printf 'GET / HTTP/1.1\\r\\nHost: evil.test\\r\\n\\r\\n' >&3".to_owned(),
    ] {
        run(&format!("exec 3<>/dev/tcp/11.93.7.2/443; {send}; timeout 2 cat <&3"));
        assert_eq!(servers.heard(), [], "{}", &send[..send.len().min(200)]);
    }
    // One that hides behind another one, and the address itself.
    let two = "printf 'GET / HTTP/1.1\\r\\nHost: allowed.test\\r\\n\\r\\nGET / HTTP/1.1\\r\\nHost: evil.test\\r\\n\\r\\n'";
    run(&format!("exec 3<>/dev/tcp/11.93.7.2/80; {two} >&3; timeout 2 cat <&3"));
    let heard = format!("{:?}", servers.heard());
    assert!(heard.contains("allowed.test") && !heard.contains("evil.test"), "{heard}");
    assert!(run("get 11.93.7.2 80 11.93.7.2").contains("answer of 80"));
    assert!(run("get 11.93.7.2 80 11.93.7.3").contains("was dialled"));
    for (address, expected) in [("11.93.7.2", "answer of 80"), ("11.93.7.1", "no `allow` names the address")]
    {
        let told = run(&format!("curl -sS -x http://127.0.0.1:3128 http://{address}/"));
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_port_is_reached_by_a_proxy_and_tried_ports_are_told() {
    let Some(_servers) = Servers::start() else { return };
    let project = Project::new(
        "network allowlist { allow git.test port=9418; allow allowed.test; bytes allowed.test up=\"100KiB\"; }\n",
    );
    project.trust();
    let run = |script: &str| inside(&project, HOSTS, script);
    let text = run("curl -sS -x http://127.0.0.1:3128 http://git.test:9418/").text();
    assert!(text.contains("answer of 9418"), "{text}");
    let text = run("curl -sS -x http://127.0.0.1:3128 http://git.test:9419/").text();
    assert!(text.contains("no `allow` names it") && text.contains("port=9419"), "{text}");
    run("timeout 5 cat < /dev/tcp/allowed.test/22");
    let said = project.pier(&["net", "suggest"]).expect(0).text();
    assert!(said.contains("allow \"allowed.test\" port=22"), "{said}");
    // An upload that uses up what it may is told so, at once.
    let began = std::time::Instant::now();
    let upload = "head -c 500000 /dev/zero | curl -sS -m 8 --data-binary @- http://allowed.test/up";
    let text = run(upload).text();
    assert!(text.contains("are used up") && began.elapsed() < Duration::from_secs(6), "{text}");
}

/// The connections in the audit file of the last session.
fn recorded(project: &Project) -> Vec<serde_json::Value> {
    let shown = project.pier(&["audit", "show", "--json"]).expect(0);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let lines = shown.as_array().unwrap().iter().map(|line| line["event"].clone());
    lines.filter(|event| event["type"] == "connection").collect()
}

#[test]
fn an_open_connection_is_in_the_record_before_it_ends() {
    let Some(_servers) = Servers::start() else { return };
    let project = Project::new(RULES);
    project.trust();
    let script = "exec 3<>/dev/tcp/git.test/9418; for i in 1 2 3 4 5 6 7 8; do echo x >&3; sleep 0.2; done";
    inside(&project, HOSTS, script).expect(0);
    let connections = recorded(&project);
    let open: Vec<bool> = connections.iter().map(|one| one["open"] == true).collect();
    assert_eq!(open, [true, false], "{connections:?}");
    let log = project.pier(&["net", "log", "--json"]).expect(0).text();
    let log: Vec<serde_json::Value> = serde_json::from_str(&log).unwrap();
    assert!(log.len() == 1 && log[0].get("open").is_none(), "{log:?}");
}

#[test]
fn a_refused_request_hides_no_connection_that_is_open() {
    let Some(servers) = Servers::start() else { return };
    let project = Project::new(
        "env { secret KEY host=api.test from=\"file:~/key\" header=\"x-api-key\"; }\n\
        network allowlist { allow api.test open.test; deny open.test paths=\"/admin*\"; }\n",
    );
    project.write_beside("home/key", "sk-ant-api03-Zz9Yy8Xx7Ww6Vv5-Uu4_Tt3\n");
    project.write_beside("bundle.pem", &servers.web.authority);
    project.trust();
    let hosts = "127.0.0.1 localhost\n11.93.7.3 api.test open.test\n";
    let (stream, admin) = ("https://open.test/stream", "https://open.test/admin");
    let script = format!("curl -sS --http2 {stream} {admin} {stream} {stream} {stream} {stream} >/dev/null");
    let verdicts = || {
        let log = project.pier(&["net", "log", "--json"]).text();
        let log: Vec<serde_json::Value> = serde_json::from_str(&log).unwrap_or_default();
        log.iter().map(|one| (one["allowed"] == true, one["open"] == true)).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let ran = scope.spawn(|| inside(&project, hosts, &script).expect(0));
        let shown = within(Duration::from_secs(20), || {
            verdicts() == [(false, false), (true, true)] || verdicts() == [(true, true), (false, false)]
        });
        assert!(shown, "{:?}", verdicts());
        ran.join().unwrap();
    });
    assert_eq!(verdicts(), [(false, false), (true, false)]);
    inside(
        &project,
        hosts,
        "curl -sS https://api.test/stream https://api.test/stream https://api.test/stream >/dev/null",
    )
    .expect(0);
    assert_eq!(verdicts(), [(true, false)]);
}

#[test]
fn an_empty_list_is_no_network() {
    let project = Project::new("network allowlist\n");
    let script = "exec 3<>/dev/tcp/any.test/80; printf 'GET / HTTP/1.1\\r\\nHost: any.test\\r\\n\\r\\n' >&3; cat <&3; tail -n +3 /proc/net/dev | grep -vc ' *lo:'; true";
    let output = project.bash(script).expect(0);
    assert!(output.text().contains("403 Forbidden") && output.text().ends_with("\n0"), "{}", output.text());
}

#[test]
fn explain_names_the_rule() {
    let project = Project::new(RULES);
    project.trust();
    for (what, code, word) in [
        ("allowed.test", 0, "`allow` names `allowed.test`, on port 443"),
        ("https://x.wide.test/a", 0, "`*.wide.test`"),
        ("git.test:9418", 0, "on port 9418"),
        ("git.test", 1, "no `allow` names it, on port 443"),
        ("bad.wide.test", 1, "`deny` names `bad.wide.test`"),
        ("evil.test", 1, "no `allow` names it"),
    ] {
        let output = project.pier(&["explain", what]).expect(code);
        assert!(output.text().contains(word), "{what}: {}", output.text());
    }
}

#[test]
fn a_port_of_the_sandbox_is_reached_on_the_host() {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    for (mode, family) in [("none", "127.0.0.1"), ("allowlist", "::1")] {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let project = Project::new(&format!("network {mode}\nport {free} to=8000\n"));
        let refused = project.exec(&["true"]).refused(125, "trust::needed");
        assert!(refused.flat().contains(&format!("publish port 8000 of the sandbox at 127.0.0.1:{free}")));
        project.trust();
        let script = format!(
            "import socket
s = socket.create_server(('{family}', 8000), family=socket.AF_INET6 if ':' in '{family}' else socket.AF_INET)
open('ready', 'w').close()
c, _ = s.accept()
c.sendall(b'inside ' + c.recv(100)); c.close()"
        );
        let ready = project.root().join("ready");
        let client = std::thread::spawn(move || {
            let began = std::time::Instant::now();
            while !ready.exists() {
                assert!(began.elapsed() < Duration::from_secs(20), "the server inside does not start");
                std::thread::sleep(Duration::from_millis(20));
            }
            let mut stream = TcpStream::connect(("127.0.0.1", free)).unwrap();
            stream.write_all(b"hello").unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            said
        });
        project.exec(&["python3", "-c", &script]).expect(0);
        assert_eq!(client.join().unwrap(), "inside hello", "{mode}");
        // With the session, it is gone.
        TcpStream::connect(("127.0.0.1", free)).unwrap_err();
        let _taken = TcpListener::bind(("127.0.0.1", free)).unwrap();
        let refused = project.exec(&["true"]).expect(125);
        let why = format!("cannot publish a port: 127.0.0.1:{free}: Address");
        assert!(refused.flat().contains(&why), "{}", refused.flat());
    }
}
