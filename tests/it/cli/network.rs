//! What `pier plan` says of the network: its limits, its proxy, its ports, and lines without effect.

use crate::support::World;

fn plan(text: &str) -> String {
    let said = World::with(text).pier(&["plan"]);
    assert!(said.starts_with("exit 0"), "{said}");
    said
}

#[test]
fn limits_the_proxy_and_ports_are_lines_of_the_network() {
    let text = "network allowlist {
    allow \"a.test\"
    bytes \"a.test\" up=\"1MiB\" down=\"2MiB\" connections=3 idle=\"90s\"
    upstream \"http://p.test:3128\" login=\"env:LOGIN\"
}
port 8888 to=80
";
    let said = plan(text);
    let start = said.find("network   allowlist").unwrap();
    let section = &said[start..said.find("\ngit ").unwrap()];
    assert_eq!(
        section,
        "network   allowlist ([ROOT]/project/pier.kdl:1)
  allow  a.test  [[ROOT]/project/pier.kdl:2]
  bytes   a.test  up 1MiB, down 2MiB, connections 3, idle 1m30s  [[ROOT]/project/pier.kdl:3]
  upstream  http://p.test:3128 with the login of env:LOGIN  [[ROOT]/project/pier.kdl:4]
  port    127.0.0.1:8888 -> 80 of the sandbox  [[ROOT]/project/pier.kdl:6]"
    );
    assert!(!said.contains("warning: "), "{said}");
}

#[test]
fn lines_without_effect_are_warned_about() {
    for (text, warning) in [
        (
            "network none { allow \"a.test\"; }\n",
            "`allow` has no effect: the network is `none` ([ROOT]/project/pier.kdl:1)",
        ),
        (
            "network {\n    allow \"a.test\"\n}\n",
            "`allow` has no effect: the network is `none` ([ROOT]/project/pier.kdl:2)",
        ),
        ("network host { allow \"a.test\"; }\n", "`allow` has no effect: the network is `host`"),
        ("network host { deny \"a.test\"; }\n", "`deny` has no effect: the network is `host`"),
        ("network none { bytes \"a.test\" up=\"1MiB\"; }\n", "`bytes` has no effect: the network is `none`"),
        (
            "network allowlist {\n    allow \"a.test\"\n    bytes \"b.test\" up=\"1MiB\"\n}\n",
            "`bytes` of `b.test` has no effect: no `allow` names it ([ROOT]/project/pier.kdl:3)",
        ),
    ] {
        let said = plan(text);
        assert!(said.contains(&format!("warning: {warning}")), "{text}: {said}");
    }
    let taken_away =
        World::with("network allowlist { allow \"a.test\"; }\n").pier(&["plan", "--set", "network=none"]);
    assert!(taken_away.starts_with("exit 0") && !taken_away.contains("warning: "), "{taken_away}");
    assert!(!plan("network none { deny \"a.test\"; }\n").contains("warning: "));
}

#[test]
fn a_wrong_host_has_one_finding() {
    for text in ["https://example.org/", "10.1.0.0/33"] {
        let said = World::with(format!("network allowlist {{ allow {text:?}; }}\n")).pier(&["validate"]);
        assert!(said.starts_with("exit 2") && !said.contains("private"), "{said}");
    }
}
