//! `pier lock`.

use snapbox::str;

use crate::support::{World, check};

const LOCK: &str = r#"{
  "schema": 1,
  "agents": [
    {
      "name": "pi",
      "version": "0.74.2",
      "source": "npm",
      "package": "@mariozechner/pi-coding-agent",
      "integrity": "sha512-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
    }
  ]
}
"#;

#[test]
fn a_lock_is_compared_with_the_file() {
    let world = World::with("agent pi { version \"0.74.2\" }\n");
    check(&world.pier(&["lock", "verify"]), str![[]]);
    world.write("pier.lock", LOCK);
    check(&world.pier(&["lock", "verify", "--json"]), str![[]]);
    world.write("pier.lock", LOCK.replace("0.74.2", "0.74.1"));
    check(&world.pier(&["lock", "verify"]), str![[]]);
    check(&world.pier(&["lock", "verify", "--json"]), str![[]]);
}

#[test]
fn a_broken_lock_is_refused() {
    let world = World::with("agent pi { version \"0.74.2\" }\n");
    world.write("pier.lock", "{");
    check(&world.pier(&["lock", "verify"]), str![[]]);
}

#[test]
fn without_versions_there_is_nothing_to_lock() {
    let world = World::with("network none\n");
    check(&world.pier(&["lock", "update"]), str![[]]);
    check(&world.pier(&["lock", "verify"]), str![[]]);
    assert!(!world.project().join("pier.lock").exists());
}

#[test]
fn an_update_drops_what_nobody_wants() {
    let world = World::with("network none\n");
    world.write("pier.lock", LOCK);
    check(&world.pier(&["lock", "update", "--json"]), str![[]]);
    check(&world.read("pier.lock"), str![[]]);
}

#[test]
fn nothing_is_installed_before_the_grants_are_approved() {
    let world = World::with("network host\nagent pi { version \"0.74.2\" }\n");
    check(&world.pier(&["lock", "update"]), str![[]]);
    assert!(!world.root().join("home/.cache/pier/agents").exists());
}
