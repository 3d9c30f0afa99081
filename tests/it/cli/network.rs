//! What `pier plan` says of the network: its limits, its proxy and its ports.

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
