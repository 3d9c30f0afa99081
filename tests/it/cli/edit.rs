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
    check(
        &world.pier(&["fmt", "--check"]),
        str![[r#"
exit 1
-- stdout
[ROOT]/project/pier.kdl

"#]],
    );
    assert_eq!(world.read("pier.kdl"), UGLY);
    check(
        &world.pier(&["fmt"]),
        str![[r#"
exit 0
-- stderr
formatted [ROOT]/project/pier.kdl

"#]],
    );
    check(
        &world.read("pier.kdl"),
        str![[r#"
// why
limits {
    pids 5 // five
}

network   none

"#]],
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    check(
        &world.pier(&["fmt", "--check"]),
        str![[r#"
exit 0

"#]],
    );
}

#[test]
fn standard_input_is_formatted_to_standard_output() {
    let world = World::new();
    check(
        &world.pier_with(&["fmt", "-"], UGLY.as_bytes()),
        str![[r#"
exit 0
-- stdout
// why
limits {
    pids 5 // five
}

network   none

"#]],
    );
    check(
        &world.pier_with(&["fmt", "-"], b"network {"),
        str![[r#"
exit 2
-- stderr
config::syntax

  x a block is not closed
   ,-[<stdin>:1:9]
 1 | network {
   :         |
   :         `-- opened here
   `----
  help: close it with `}`

"#]],
    );
}

#[test]
fn one_broken_file_leaves_all_as_they_are() {
    let world = World::with(UGLY);
    world.write("broken.kdl", "network {\n");
    check(
        &world.pier(&["fmt", "pier.kdl", "broken.kdl", "none.kdl"]),
        str![[r#"
exit 2
-- stderr
config::syntax

  x a block is not closed
   ,-[broken.kdl:1:9]
 1 | network {
   :         |
   :         `-- opened here
   `----
  help: close it with `}`

config::unreadable

  x cannot read `none.kdl`: there is no such file

"#]],
    );
    assert_eq!(world.read("pier.kdl"), UGLY);
}

#[test]
fn a_link_is_not_formatted() {
    let world = World::new();
    world.write("other.kdl", UGLY);
    std::os::unix::fs::symlink("other.kdl", world.project().join("pier.kdl")).unwrap();
    check(
        &world.pier(&["fmt"]),
        str![[r#"
exit 2
-- stderr
config::unreadable

  x cannot read `[ROOT]/project/pier.kdl`: it is or leads through a symbolic link, which can be pointed elsewhere

"#]],
    );
    assert_eq!(world.read("other.kdl"), UGLY);
}

const FILE: &str = "// The network.\nnetwork allowlist { // only these\n    allow \"a.example\"\n}\nlimits { pids 50; }\nprofile ci { limits { pids 70 } }\n";

#[test]
fn values_of_all_layers_are_read() {
    let world = World::with(FILE);
    world.write("pier.local.kdl", "network allowlist { allow \"b.example\" }\n");
    check(
        &world.pier(&["config", "get", "limits.pids"]),
        str![[r#"
exit 0
-- stdout
50

"#]],
    );
    check(
        &world.pier(&["config", "get", "limits.pids", "--origin", "--profile", "ci"]),
        str![[r#"
exit 0
-- stdout
70  [profile, [ROOT]/project/pier.kdl:6]

"#]],
    );
    check(
        &world.pier(&["config", "get", "limits.pids", "--origin", "--set", "limits.pids=90"]),
        str![[r#"
exit 0
-- stdout
90  [flag, --set limits.pids=90:1]

"#]],
    );
    check(
        &world.pier(&["config", "get", "network.allow", "--origin"]),
        str![[r#"
exit 0
-- stdout
a.example  [project, [ROOT]/project/pier.kdl:3]
b.example  [local, [ROOT]/project/pier.local.kdl:1]

"#]],
    );
    check(
        &world.pier(&["config", "get", "network.allow", "--json"]),
        str![[r#"
exit 0
-- stdout
{
  "path": "network.allow",
  "values": [
    {
      "value": "a.example",
      "layer": "project",
      "origin": "[ROOT]/project/pier.kdl:3"
    },
    {
      "value": "b.example",
      "layer": "local",
      "origin": "[ROOT]/project/pier.local.kdl:1"
    }
  ]
}

"#]],
    );
    check(
        &world.pier(&["config", "get", "limits.memory"]),
        str![[r#"
exit 1
-- stderr
`limits.memory` is not set in any file

"#]],
    );
    check(
        &world.pier(&["config", "get", "limits.memroy"]),
        str![[r#"
exit 2
-- stderr
config::bad-path

  x `limits.memroy` names no setting: there is no `memroy`
  help: did you mean `memory`?

"#]],
    );
}

#[test]
fn a_setting_changes_and_the_rest_stays() {
    let world = World::with(FILE);
    check(
        &world.pier(&["config", "set", "limits.pids", "512"]),
        str![[r#"
exit 0
-- stderr
changed [ROOT]/project/pier.kdl

"#]],
    );
    check(
        &world.pier(&["config", "set", "network.allow", "c.example"]),
        str![[r#"
exit 0
-- stderr
changed [ROOT]/project/pier.kdl

"#]],
    );
    check(
        &world.pier(&["config", "unset", "profile[ci]"]),
        str![[r#"
exit 0
-- stderr
changed [ROOT]/project/pier.kdl

"#]],
    );
    check(
        &world.read("pier.kdl"),
        str![[r#"
// The network.
network allowlist { // only these
    allow "a.example" "c.example"
}
limits { pids 512; }

"#]],
    );
    check(
        &world.pier(&["config", "set", "limits.pids", "512"]),
        str![[r#"
exit 0
-- stderr
[ROOT]/project/pier.kdl says so already

"#]],
    );
}

#[test]
fn edits_that_would_break_the_file_are_refused() {
    let world = World::with(FILE);
    check(
        &world.pier(&["config", "set", "limits.pids", "many"]),
        str![[r#"
exit 2
-- stderr
config::type

  x the count of `pids` must be a whole number from 16 to 9223372036854775807

"#]],
    );
    check(
        &world.pier(&["config", "set", "limits", "1"]),
        str![[r#"
exit 2
-- stderr
config::edit-refused

  x `limits` is a block and has no value

"#]],
    );
    check(
        &world.pier(&["config", "unset", "limits.memory"]),
        str![[r#"
exit 2
-- stderr
config::edit-refused

  x `limits.memory` is not set here

"#]],
    );
    check(
        &world.pier(&["config", "set", "netwrk", "none"]),
        str![[r#"
exit 2
-- stderr
config::bad-path

  x `netwrk` names no setting: there is no `netwrk`
  help: did you mean `network`?

"#]],
    );
    assert_eq!(world.read("pier.kdl"), FILE);
    check(
        &World::new().pier(&["config", "set", "network", "none"]),
        str![[r#"
exit 2
-- stderr
config::none

  x there is no `pier.kdl` from `[ROOT]/project` up to `[ROOT]/project`
  help: `pier init` writes one

"#]],
    );
    check(
        &World::with("network {").pier(&["config", "set", "network", "none"]),
        str![[r#"
exit 2
-- stderr
config::syntax

  x a block is not closed
   ,-[[ROOT]/project/pier.kdl:1:9]
 1 | network {
   :         |
   :         `-- opened here
   `----
  help: close it with `}`

"#]],
    );
}

#[test]
fn other_files_are_made_on_request() {
    let world = World::with(FILE);
    check(
        &world.pier(&["config", "set", "network", "none", "--local"]),
        str![[r#"
exit 0
-- stderr
changed [ROOT]/project/pier.local.kdl

"#]],
    );
    check(
        &world.read("pier.local.kdl"),
        str![[r#"
network none

"#]],
    );
    check(
        &world.pier(&["config", "set", "limits.memory", "2GiB", "--user"]),
        str![[r#"
exit 0
-- stderr
changed [ROOT]/home/.config/pier/config.kdl

"#]],
    );
    fs::remove_file(world.project().join("pier.local.kdl")).unwrap();
    check(
        &world.pier(&["config", "get", "limits.memory", "--origin"]),
        str![[r#"
exit 0
-- stdout
2GiB  [user, [ROOT]/home/.config/pier/config.kdl:2]

"#]],
    );
    assert_eq!(world.read("pier.kdl"), FILE);
}
