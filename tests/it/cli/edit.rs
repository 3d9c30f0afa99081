//! `pier fmt` and `pier config`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use snapbox::str;

use crate::support::{World, check};

const UGLY: &str = "// why\nlimits {\npids 5 // five\n}\n\n\n\nnetwork   none\n";

#[test]
fn a_file_is_formatted_and_keeps_its_mode() {
    let world = World::with(UGLY);
    let path = world.project().join("pier.kdl");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    check(&world.pier(&["fmt", "--check"]), str![[]]);
    assert_eq!(world.read("pier.kdl"), UGLY);
    check(&world.pier(&["fmt"]), str![[]]);
    check(&world.read("pier.kdl"), str![[]]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    check(&world.pier(&["fmt", "--check"]), str![[]]);
}

#[test]
fn standard_input_is_formatted_to_standard_output() {
    let world = World::new();
    check(&world.pier_with(&["fmt", "-"], UGLY.as_bytes()), str![[]]);
    check(&world.pier_with(&["fmt", "-"], b"network {"), str![[]]);
}

#[test]
fn one_broken_file_leaves_all_as_they_are() {
    let world = World::with(UGLY);
    world.write("broken.kdl", "network {\n");
    check(&world.pier(&["fmt", "pier.kdl", "broken.kdl", "none.kdl"]), str![[]]);
    assert_eq!(world.read("pier.kdl"), UGLY);
}

#[test]
fn a_link_is_not_formatted() {
    let world = World::new();
    world.write("other.kdl", UGLY);
    std::os::unix::fs::symlink("other.kdl", world.project().join("pier.kdl")).unwrap();
    check(&world.pier(&["fmt"]), str![[]]);
    assert_eq!(world.read("other.kdl"), UGLY);
}

const FILE: &str = "// The network.\nnetwork allowlist { // only these\n    allow \"a.example\"\n}\nlimits { pids 5; }\nprofile ci { limits { pids 7 } }\n";

#[test]
fn values_of_all_layers_are_read() {
    let world = World::with(FILE);
    world.write("pier.local.kdl", "network allowlist { allow \"b.example\" }\n");
    check(&world.pier(&["config", "get", "limits.pids"]), str![[]]);
    check(&world.pier(&["config", "get", "limits.pids", "--origin", "--profile", "ci"]), str![[]]);
    check(&world.pier(&["config", "get", "limits.pids", "--origin", "--set", "limits.pids=9"]), str![[]]);
    check(&world.pier(&["config", "get", "network.allow", "--origin"]), str![[]]);
    check(&world.pier(&["config", "get", "network.allow", "--json"]), str![[]]);
    check(&world.pier(&["config", "get", "limits.memory"]), str![[]]);
    check(&world.pier(&["config", "get", "limits.memroy"]), str![[]]);
}

#[test]
fn a_setting_changes_and_the_rest_stays() {
    let world = World::with(FILE);
    check(&world.pier(&["config", "set", "limits.pids", "512"]), str![[]]);
    check(&world.pier(&["config", "set", "network.allow", "c.example"]), str![[]]);
    check(&world.pier(&["config", "unset", "profile[ci]"]), str![[]]);
    check(&world.read("pier.kdl"), str![[]]);
    check(&world.pier(&["config", "set", "limits.pids", "512"]), str![[]]);
}

#[test]
fn edits_that_would_break_the_file_are_refused() {
    let world = World::with(FILE);
    check(&world.pier(&["config", "set", "limits.pids", "many"]), str![[]]);
    check(&world.pier(&["config", "set", "limits", "1"]), str![[]]);
    check(&world.pier(&["config", "unset", "limits.memory"]), str![[]]);
    check(&world.pier(&["config", "set", "netwrk", "none"]), str![[]]);
    assert_eq!(world.read("pier.kdl"), FILE);
    check(&World::new().pier(&["config", "set", "network", "none"]), str![[]]);
    check(&World::with("network {").pier(&["config", "set", "network", "none"]), str![[]]);
}

#[test]
fn other_files_are_made_on_request() {
    let world = World::with(FILE);
    check(&world.pier(&["config", "set", "network", "none", "--local"]), str![[]]);
    check(&world.read("pier.local.kdl"), str![[]]);
    check(&world.pier(&["config", "set", "limits.memory", "2GiB", "--user"]), str![[]]);
    check(&world.pier(&["config", "get", "limits.memory", "--origin"]), str![[]]);
    assert_eq!(world.read("pier.kdl"), FILE);
}
