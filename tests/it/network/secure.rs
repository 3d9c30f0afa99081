//! TLS that ends in the gateway: secrets, rules about requests, refusals that can be read.

use super::inside;
use super::servers::Servers;
use crate::sandbox::{Output, Project};

const HOSTS: &str = "127.0.0.1 localhost\n11.93.7.3 api.test narrow.test code.test pinned.test wrong.test other.test open.test\n";

const KEY: &str = "sk-ant-api03-Zz9Yy8Xx7Ww6Vv5-Uu4_Tt3";

const RULES: &str = "env {
    secret API_KEY host=api.test from=\"file:~/key\" header=\"x-api-key\"
    secret CODE_TOKEN host=code.test from=\"cmd:echo ghp_0123456789abcdefABCDEF\" methods=GET,POST
}
network allowlist {
    allow api.test code.test pinned.test wrong.test
    allow narrow.test methods=GET paths=\"/v1/*\"
    allow narrow.test methods=POST paths=\"/v1/send\"
    allow open.test
    deny open.test paths=\"/admin*\"
    deny open.test methods=DELETE
}
";

fn world() -> Option<(Servers, Project)> {
    let servers = Servers::start()?;
    let project = Project::new(RULES);
    project.write_beside("home/key", format!("{KEY}\n"));
    project.write_beside("bundle.pem", &servers.web.authority);
    let refused = project.exec(&["true"]).refused(125, "trust::needed");
    for text in [
        "send `file:~/key` to api.test, as the secret `API_KEY`, in the header `x-api-key`",
        "send the answer of `echo ghp_0123456789abcdefABCDEF`, run on the host, to code.test by GET,POST",
        "as the secret `CODE_TOKEN`, wherever its placeholder is sent",
        "reach `narrow.test` on port 80 or 443 by GET below `/v1/*`",
        "reach `open.test` on port 80 or 443, but not below `/admin*`, nor by DELETE",
    ] {
        assert!(refused.flat().contains(text), "{text}: {}", refused.flat());
    }
    project.trust();
    Some((servers, project))
}

#[test]
fn a_secret_goes_to_its_host_and_is_seen_nowhere_inside() {
    let Some((servers, project)) = world() else { return };
    let run = |script: &str| inside(&project, HOSTS, script);
    for version in ["--http1.1", "--http2"] {
        let output = run(&format!("curl -sSi {version} https://api.test/v1/x?q=1 -H 'X-Api-Key: mine'; env; cat /proc/*/environ; true")).expect(0);
        let asked = servers.asked();
        assert_eq!(asked.len(), 1, "{}", output.text());
        assert_eq!(asked[0].header("x-api-key"), Some(KEY));
        let text = output.text();
        assert!(text.contains("200") && text.contains("x-echo: x-api-key sk-ant-api03-"), "{text}");
        assert!(text.contains("GET /v1/x?q=1"), "{text}");
        assert!(!text.contains(KEY), "an echo got through: {text}");
    }
    // Wherever the placeholder is sent, by the methods that were said.
    let basic = "curl -sSi -u x-access-token:$CODE_TOKEN https://code.test/repo";
    for script in [
        "curl -sS https://code.test/repo -H \"Authorization: Bearer $CODE_TOKEN\"",
        basic,
        "curl -sS \"https://code.test/repo?key=$CODE_TOKEN\"",
    ] {
        let output = run(script).expect(0);
        let [asked] = &servers.asked()[..] else { panic!("{script}: {}", output.text()) };
        let sent = format!("{} {}", asked.line, asked.header("authorization").unwrap_or_default());
        let encoded = "Basic eC1hY2Nlc3MtdG9rZW46Z2hwXzAxMjM0NTY3ODlhYmNkZWZBQkNERUY=";
        assert!(sent.contains("ghp_0123456789abcdefABCDEF") || sent.contains(encoded), "{sent}");
        assert!(!output.text().contains("ghp_0123456789abcdefABCDEF"), "{}", output.text());
        if script == basic {
            let echo = "x-echo: authorization Basic eC1hY2Nlc3MtdG9rZW46";
            let text = output.text();
            assert!(text.contains(echo) && !text.contains("MjM0NTY3ODlhYmNkZWZBQkNERU"), "{text}");
        }
    }
    for script in [
        "curl -sS -X DELETE https://code.test/repo -H \"Authorization: Bearer $CODE_TOKEN\"",
        "curl -sS https://api.test/ -H \"Authorization: Bearer $CODE_TOKEN\"",
        "curl -sS https://api.test/ -u me:$CODE_TOKEN",
        "curl -sS \"https://api.test/?a=$CODE_TOKEN\"",
        "curl -sS http://api.test/ -H \"Authorization: Bearer $API_KEY\"",
    ] {
        let text = run(script).expect(0).text();
        assert!(text.contains("what stands for the secret"), "{script}: {text}");
    }
    assert_eq!(servers.asked(), []);
    // Nothing of it was written: neither to the state, nor to the audit, nor to the home.
    let found = std::process::Command::new("grep").args(["-rlF", KEY]).arg(project.base()).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.trim(), project.base().join("home/key").display().to_string());
    let shown = project.pier(&["audit", "show", "--json"]).expect(0).text();
    assert!(shown.contains("connection"), "{shown}");
}

#[test]
fn a_secret_goes_to_its_port() {
    let Some(servers) = Servers::start() else { return };
    let project = Project::new(
        "env { secret API_KEY host=api.test port=8443 from=\"file:~/key\"; }
        network allowlist { allow api.test; allow api.test port=8443; allow other.test port=8443; }\n",
    );
    project.write_beside("home/key", format!("{KEY}\n"));
    project.write_beside("bundle.pem", &servers.web.authority);
    let refused = project.exec(&["true"]).refused(125, "trust::needed");
    assert!(refused.flat().contains("to api.test on port 8443, as the secret"), "{}", refused.flat());
    project.trust();
    let run = |script: &str| inside(&project, HOSTS, script);
    for version in ["--http1.1", "--http2"] {
        let script = format!("curl -sS {version} https://api.test:8443/x -H \"X-Api-Key: $API_KEY\"");
        let output = run(&script).expect(0);
        let [asked] = &servers.asked()[..] else { panic!("{}", output.text()) };
        assert_eq!(asked.header("x-api-key"), Some(KEY));
        assert!(!output.text().contains(KEY), "{}", output.text());
    }
    // Elsewhere it is what it is inside; another host on that port is not looked into.
    for host in ["api.test", "other.test:8443"] {
        run(&format!("curl -sSk https://{host}/x -H \"X-Api-Key: $API_KEY\"")).expect(0);
        let asked = servers.asked();
        assert!(asked[0].header("x-api-key").is_some_and(|key| key != KEY), "{asked:?}");
    }
    // The request has to be for the port that it was sent to.
    let other = run("curl -sS https://api.test:8443/x -H 'Host: api.test'").expect(0).text();
    assert!(other.contains("it asks for another host"), "{other}");
    assert_eq!(servers.asked(), []);
}

#[test]
fn no_other_road_brings_a_secret_back() {
    let Some(servers) = Servers::start() else { return };
    let project = Project::new(
        "env { secret API_KEY host=api.test from=\"file:~/key\"; }
        network allowlist { allow api.test; allow open.test methods=GET; allow git.test port=9419; }\n",
    );
    project.write_beside("home/key", format!("{KEY}\n"));
    project.write_beside("bundle.pem", &servers.web.authority);
    project.trust();
    // Somebody has told it to somebody else, who tells it again: without TLS, and from another host.
    for script in [
        format!("curl -sS -x http://127.0.0.1:3128 http://git.test:9419/{KEY}"),
        format!("curl -sS https://open.test/{KEY}"),
    ] {
        let hosts = format!("{HOSTS}11.93.7.2 git.test\n");
        let text = inside(&project, &hosts, &script).text();
        assert!(text.contains("GET /") && !text.contains(KEY), "{script}: {text}");
    }
    let text = inside(&project, HOSTS, "curl -sS -X TRACE https://api.test/").text();
    assert!(text.contains("no request for a path"), "{text}");
}

#[test]
fn no_part_of_an_answer_echoes_a_secret() {
    let Some((servers, project)) = world() else { return };
    for version in ["--http1.1", "--http2"] {
        let script = format!(
            "curl -sSi {version} --raw -H 'TE: trailers' https://api.test/trailers; curl -sSv {version} -H 'TE: trailers' https://api.test/trailers 2>&1"
        );
        let text = inside(&project, HOSTS, &script).expect(0).text();
        assert!(text.contains("sk-ant-api03-") && !text.contains(KEY), "{text}");
        assert_eq!(servers.asked().len(), 2);
    }
    let found = inside(&project, HOSTS, "curl -sS https://api.test/a; curl -sS https://api.test/b").expect(0);
    assert!(found.text().contains("GET /b"));
    let log = project.pier(&["net", "log"]).expect(0).text();
    assert!(log.contains("with API_KEY"), "{log}");
}

#[test]
fn a_placeholder_is_another_one_in_each_session() {
    let Some((_servers, project)) = world() else { return };
    let one = inside(&project, HOSTS, "echo $API_KEY").expect(0).text();
    let other = inside(&project, HOSTS, "echo $API_KEY").expect(0).text();
    assert_ne!(one, other);
    for text in [one, other] {
        assert!(text.starts_with("sk-ant-api03-") && text.len() == KEY.len() && text != KEY, "{text}");
    }
}

#[test]
fn requests_are_decided_where_rules_ask_for_it() {
    let Some((servers, project)) = world() else { return };
    let run = |script: &str| inside(&project, HOSTS, script);
    let other = "-H 'X_HTTP_Method_Override: DELETE' -H 'X-HTTP-Method-Override: DELETE' -H 'X_Original_URL: /x' -H 'Request-Range: bytes=3-'";
    for version in ["--http1.1", "--http2"] {
        run(&format!("curl -sS {version} https://narrow.test/v1/a {other}")).expect(0);
        let [asked] = &servers.asked()[..] else { panic!("{version}") };
        let passed = asked
            .headers
            .iter()
            .any(|(name, _)| name.contains("overr") || name.contains("original") || name.contains("range"));
        assert!(!passed, "{:?}", asked.headers);
    }
    for script in ["curl -sS https://narrow.test/v1/a", "curl -sS -d x https://narrow.test/v1/send"] {
        let text = run(script).expect(0).text();
        assert!(text.contains(" bytes"), "{script}: {text}");
        assert_eq!(servers.asked().len(), 1);
    }
    for (script, why) in [
        ("curl -sS https://narrow.test/v2/a", "no `allow` names `GET /v2/a`"),
        ("curl -sS -X PUT https://narrow.test/v1/a", "no `allow` names `PUT /v1/a`"),
        ("curl -sS --path-as-is https://narrow.test/v1/../a", "no `allow` names"),
        ("curl -sS https://narrow.test/v1/%2e%2e/a", "no `allow` names"),
        ("curl -sS https://narrow.test/v1/a -H 'Host: api.test'", "another host than its TLS handshake"),
        (
            "curl -sS --http1.1 https://narrow.test/v1/a -H 'Host: api.test'",
            "another host than its TLS handshake",
        ),
        ("curl -sS https://evil.test/", "no `allow` names it"),
        ("curl -sS --http1.1 https://evil.test/x -d y", "no `allow` names it"),
        ("curl -sS https://other.test/", "no `allow` names it"),
        ("curl -sS https://open.test/%61dmin/x", "a `deny` names"),
        ("curl -sS https://open.test/Admin/x", "a `deny` names"),
        ("curl -sS -X delete https://open.test/x", "a `deny` names"),
        // Two requests on one connection: the second one is decided again.
        ("curl -sS https://narrow.test/v1/a https://narrow.test/no", "no `allow` names `GET /no`"),
    ] {
        let text = run(script).expect(0).text();
        assert!(text.contains("\"pier\":\"denied\"") && text.contains(why), "{script}: {text}");
    }
    assert_eq!(servers.asked().len(), 1);
    let fix = run("curl -sS https://evil.test/").expect(0).text();
    assert!(fix.contains(r#"network allowlist { allow \"evil.test\"; }"#), "{fix}");
    // A server that is not who it says.
    let project = Project::new("network allowlist { allow wrong.test methods=GET; }\n");
    project.write_beside("bundle.pem", &servers.web.authority);
    project.trust();
    let text = inside(&project, HOSTS, "curl -sS https://wrong.test/").expect(0).text();
    assert!(text.contains("is not believed to be this host"), "{text}");
}

#[test]
fn other_hosts_pass_through_untouched() {
    let Some((servers, project)) = world() else { return };
    let issuer = |host: &str| -> Output {
        inside(
            &project,
            HOSTS,
            &format!(
                "openssl s_client -connect {host}:443 -servername {host} </dev/null 2>/dev/null | openssl x509 -noout -issuer"
            ),
        )
    };
    assert!(!issuer("pinned.test").expect(0).text().contains("pier session"));
    for host in ["api.test", "narrow.test", "evil.test"] {
        assert!(issuer(host).expect(0).text().contains("pier session"), "{host}");
    }
    assert_eq!(servers.asked(), []);
}

#[test]
fn streams_uploads_and_other_protocols_go_through() {
    let Some((servers, project)) = world() else { return };
    let run = |script: &str| inside(&project, HOSTS, script);
    for version in ["--http1.1", "--http2"] {
        let output = run(&format!("curl -sSN {version} https://api.test/stream | while read -r line; do [ \"$line\" ] && echo \"$line $(date +%s%N)\"; done; true")).expect(0);
        let times: Vec<u64> =
            output.text().lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert!(times.len() == 3 && times[2] - times[0] > 600_000_000, "{times:?}");
        let upload = format!("head -c 100000000 /dev/zero | curl -sS {version} -T - https://api.test/upload");
        assert!(run(&upload).expect(0).text().contains("100000000 bytes"));
        servers.asked();
    }
    let script = r#"import socket, ssl
s = ssl.create_default_context().wrap_socket(socket.create_connection(("api.test", 443)), server_hostname="api.test")
s.sendall(b"GET /switch HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
head = b""
while b"\r\n\r\n" not in head: head += s.recv(1)
print(head.decode().splitlines()[0])
s.settimeout(5)
for word in b"hello", b"again", b"sk-ant": s.sendall(word); print(s.recv(4096)[2:].decode())
"#;
    let text = run(&format!("python3 -c '{script}'")).expect(0).text();
    assert!(text.contains("101") && text.contains(" hello\n") && text.ends_with(" sk-ant"), "{text}");
    assert!(!text.contains(KEY), "{text}");
    assert_eq!(servers.asked()[0].header("x-api-key"), Some(KEY));
}

#[test]
fn every_kind_of_client_believes_the_session() {
    let Some((servers, project)) = world() else { return };
    let java = r#"mkdir -p /tmp/j && cat > /tmp/j/Get.java <<'E'
public class Get { public static void main(String[] a) throws Exception {
  var c = (java.net.HttpURLConnection) new java.net.URI(a[0]).toURL().openConnection();
  System.out.println(c.getResponseCode()); } }
E
java /tmp/j/Get.java https://api.test/java"#;
    for (tool, script) in [
        ("curl", "curl -sSo /dev/null -w '%{http_code}' https://api.test/"),
        (
            "python3",
            "python3 -c 'import urllib.request as u; print(u.urlopen(\"https://api.test/\").status)'",
        ),
        ("node", "node -e 'fetch(\"https://api.test/\").then(r => console.log(r.status))'"),
        ("java", java),
        (
            "openssl",
            "openssl s_client -connect api.test:443 -verify_return_error </dev/null >/dev/null 2>&1 && echo 200",
        ),
    ] {
        if !["/usr/bin", "/usr/local/bin"].iter().any(|place| std::path::Path::new(place).join(tool).exists())
        {
            println!("{tool} is not there");
            continue;
        }
        let output = inside(&project, HOSTS, script);
        assert!(output.text().contains("200"), "{tool}: {} {}", output.text(), output.said());
    }
    servers.asked();
    // git asks for a file that is none; that it got that far is enough.
    let output = inside(&project, HOSTS, "git ls-remote https://code.test/x.git 2>&1; true");
    assert!(!output.text().contains("certificate") && !servers.asked().is_empty(), "{}", output.text());
}

#[test]
fn tools_that_insist_on_a_proxy_have_one() {
    let Some((servers, project)) = world() else { return };
    let run = |script: &str| inside(&project, HOSTS, script);
    for proxy in ["http://127.0.0.1:3128", "socks5h://127.0.0.1:3128", "socks5://127.0.0.1:3128"] {
        let output = run(&format!("curl -sS -x {proxy} https://api.test/p"));
        assert!(output.text().contains("GET /p"), "{proxy}: {} {}", output.text(), output.said());
        assert_eq!(servers.asked()[0].header("x-api-key"), Some(KEY));
        let output = run(&format!("curl -sS -x {proxy} https://evil.test/p"));
        assert!(
            output.text().contains("no `allow` names it"),
            "{proxy}: {} {}",
            output.text(),
            output.said()
        );
    }
    let raw = |wanted: &str, then: &str| {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/3128; printf 'CONNECT {wanted} HTTP/1.1\\r\\n\\r\\n{then}' >&3; timeout 3 cat <&3"
        );
        run(&script).text()
    };
    for (wanted, then, why) in [
        ("api.test:22", "", "no `allow` names it"),
        ("api.test:8080", "", "no `allow` names it"),
        ("127.0.0.1:22", "", "no `allow` names the address"),
        ("11.93.7.3:22", "", "no `allow` names the address"),
        ("api.test:80", "GET / HTTP/1.1\\r\\nHost: evil.test\\r\\n\\r\\n", "`api.test` was looked up"),
        ("a_b:80", "", "its host is no host name"),
    ] {
        let text = raw(wanted, then);
        assert!(text.contains(why), "{wanted}: {text}");
    }
    let text = run("curl -sS -x http://127.0.0.1:3128 http://evil.test/").text();
    assert!(text.contains("no `allow` names it"), "{text}");
    assert_eq!(servers.asked(), []);
}
