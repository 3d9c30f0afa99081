//! Words that name no command, and flags that are none.

use snapbox::str;

use crate::support::{World, check};

#[test]
fn commands_to_come_say_so() {
    let world = World::new();
    check(
        &world.pier(&["view"]),
        str![[r#"
exit 2
-- stderr
cli::not-yet

  x not available yet: pier view

"#]],
    );
    check(
        &world.pier(&["job", "start", "--n-tasks", "3"]),
        str![[r#"
exit 2
-- stderr
cli::not-yet

  x not available yet: pier job

"#]],
    );
}

#[test]
fn a_typo_gets_the_nearest_name() {
    let world = World::new();
    check(
        &world.pier(&["validat"]),
        str![[r#"
exit 2
-- stderr
cli::unknown-command

  x there is no command `validat`
  help: did you mean `pier validate`?

"#]],
    );
    check(
        &world.pier(&["frobnicate", "--help"]),
        str![[r#"
exit 2
-- stderr
cli::unknown-command

  x there is no command `frobnicate`
  help: `pier --help` lists the commands

"#]],
    );
}

#[test]
fn flags_in_front_of_a_command_count_too() {
    let world = World::new();
    let said = world.pier(&["--set", "network=host", "plan", "--set", "workspace.git=direct"]);
    assert!(said.contains("\nnetwork   host (--set network=host:1)\n"), "{said}");
    assert!(said.contains("\ngit       direct\n"), "{said}");
    check(
        &world.pier(&["-v", "validat"]),
        str![[r#"
exit 2
-- stderr
cli::unknown-command

  x there is no command `validat`
  help: did you mean `pier validate`?

"#]],
    );
    check(
        &world.pier(&["--set", "network=host", "plan", "--no-such-flag"]),
        str![[r#"
exit 2
-- stderr
error: unexpected argument '--no-such-flag' found

  tip: to pass '--no-such-flag' as a value, use '-- --no-such-flag'

Usage: pier plan --set <PATH=VALUE> [-- <CMD>...]

For more information, try '--help'.

"#]],
    );
}

#[test]
fn bad_flags_exit_with_2() {
    let world = World::new();
    check(
        &world.pier(&["validate", "--jsn"]),
        str![[r#"
exit 2
-- stderr
error: unexpected argument '--jsn' found

  tip: a similar argument exists: '--json'

Usage: pier validate --json [FILE]

For more information, try '--help'.

"#]],
    );
    check(
        &world.pier(&["config"]),
        str![[r#"
exit 2
-- stderr
Read and change single settings

Usage: pier config [OPTIONS] <COMMAND>

Commands:
  get    Print the values that apply, one a line; exit 1 where no file sets any
  set    Set a value, or add one to a list
  unset  Remove a setting, or one value of a list

Options:
  -v, --verbose...        Say more; twice for traces. `PIER_LOG` chooses by module
      --profile <NAME>    Apply a profile of `pier.kdl` [env: PIER_PROFILE=]
      --set <PATH=VALUE>  Set one value for this call, such as `network=none`
      --as-root           As root, run as root instead of as the project's owner
  -h, --help              Print help

Examples:
  pier config get network --origin
  pier config set limits.wall 30m
  pier config set 'agent[claude-code].model' opus --local
  pier config unset 'env.pass[0]'

`pier schema` lists the settings.

"#]],
    );
    check(
        &world.pier(&["lock", "updat"]),
        str![[r#"
exit 2
-- stderr
error: unrecognized subcommand 'updat'

  tip: a similar subcommand exists: 'update'

Usage: pier lock [OPTIONS] <COMMAND>

For more information, try '--help'.

"#]],
    );
}

#[test]
fn flags_of_every_command_may_come_first() {
    let world = World::with("limits { wall \"2h\"; }\n");
    let said = world.pier(&["--set", "limits.wall=1h", "config", "get", "limits.wall"]);
    assert!(said.starts_with("exit 0\n-- stdout\n1h"), "{said}");
}
