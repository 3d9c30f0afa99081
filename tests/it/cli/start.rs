//! `pier trust` and the starts that are refused before anything runs.

use snapbox::str;

use crate::support::{World, check};

#[test]
fn grants_are_shown_and_then_approved() {
    let world = World::with("network host\n");
    check(
        &world.pier(&["exec", "--", "true"]),
        str![[r#"
exit 125
-- stderr
trust::needed

  x this project's files grant more than the baseline, and nobody has approved it:
  |   + use the network of the host, with its loopback services ([ROOT]/project/pier.kdl:1)
  help: read it, then run `pier trust`; without a terminal: `--trust=[DIGEST]`

"#]],
    );
    check(
        &world.pier(&["trust", "--show"]),
        str![[r#"
exit 0
-- stdout
+ use the network of the host, with its loopback services ([ROOT]/project/pier.kdl:1)
digest [DIGEST]

"#]],
    );
    check(
        &world.pier(&["trust"]),
        str![[r#"
exit 0
-- stdout
+ use the network of the host, with its loopback services ([ROOT]/project/pier.kdl:1)
digest [DIGEST]
-- stderr
approved for [ROOT]/project

"#]],
    );
    check(
        &world.pier(&["trust", "--show", "--json"]),
        str![[r#"
exit 0
-- stdout
{
  "digest": "[DIGEST]",
  "grants": [
    {
      "text": "use the network of the host, with its loopback services",
      "origin": "[ROOT]/project/pier.kdl:1"
    }
  ],
  "approved": [
    "use the network of the host, with its loopback services"
  ],
  "inputs": [
    {
      "path": "[ROOT]/project/pier.kdl",
      "sha256": "[DIGEST]"
    }
  ]
}

"#]],
    );
}

#[test]
fn a_baseline_needs_no_approval() {
    let world = World::with("network none\n");
    check(
        &world.pier(&["trust", "--show"]),
        str![[r#"
exit 0
-- stdout
nothing beyond the baseline is granted, so nothing needs approval

"#]],
    );
}

#[test]
fn a_digest_of_other_grants_approves_nothing() {
    let world = World::with("network host\n");
    let digest = format!("--trust={}", "0".repeat(64));
    check(
        &world.pier(&["shell", &digest]),
        str![[r#"
exit 125
-- stderr
trust::needed

  x this project's files grant more than the baseline, and nobody has approved it:
  |   + use the network of the host, with its loopback services ([ROOT]/project/pier.kdl:1)
  help: the digest that was given is another one; this is [DIGEST]

"#]],
    );
}

#[test]
fn a_start_needs_to_know_its_agent() {
    check(
        &World::with("network none\n").pier(&["up"]),
        str![[r#"
exit 2
-- stderr
agent::none

  x no agent is declared
  help: add one to `pier.kdl`, as in `agent claude-code default=#true`

"#]],
    );
    check(
        &World::with("agent pi\nagent claude-code\n").pier(&[]),
        str![[r#"
exit 2
-- stderr
agent::none

  x several agents are declared and none is the default
  help: name one, as in `pier up pi`, or write `agent pi default=#true`

"#]],
    );
}

#[test]
fn a_directory_that_is_no_project_is_refused_by_all_that_would_use_it() {
    let world = World::new();
    for arguments in [&["up"][..], &["up", "pi"], &["plan"], &["init"], &["init", "--stdout"]] {
        let said = world.pier_at("home", &[], arguments);
        assert!(said.starts_with("exit 125"), "{arguments:?}: {said}");
        assert!(said.contains("project::root") && said.contains("home directory"), "{said}");
    }
    assert!(!world.root().join("home/pier.kdl").exists());
}

#[test]
fn the_network_is_checked_before_anything_starts() {
    let plan = |text: &str| World::with(text).pier(&["plan"]);
    check(
        &plan("network allowlist { allow a.example port=22 methods=GET; }\n"),
        str![[r#"
exit 2
-- stderr
network::rule

  x `methods` and `paths` are for the web of a named host, on port 80 or 443
   ,-[[ROOT]/project/pier.kdl:1:27]
 1 | network allowlist { allow a.example port=22 methods=GET; }
   :                           ^^^^|^^^^
   :                               `-- this line
   `----
  help: leave them out, or name a host and no other port

"#]],
    );
    check(
        &plan("network none\nport \"0.0.0.0:8888\"\n"),
        str![[r#"
exit 2
-- stderr
network::port

  x `0.0.0.0:8888` is no address of loopback, and others would reach the sandbox
   ,-[[ROOT]/project/pier.kdl:2:6]
 1 | network none
 2 | port "0.0.0.0:8888"
   :      ^^^^^^^|^^^^^^
   :             `-- this line
   `----
  help: write `127.0.0.1:PORT`

"#]],
    );
    check(
        &plan("network host\nport 8888\n"),
        str![[r#"
exit 2
-- stderr
network::port

  x `127.0.0.1:8888` is on the host already: the sandbox has the host's network
   ,-[[ROOT]/project/pier.kdl:2:6]
 1 | network host
 2 | port 8888
   :      ^^|^
   :        `-- this line
   `----
  help: leave the line out, or write another `network`

"#]],
    );
    check(
        &plan("network allowlist { allow \"127.0.0.1\"; }\n"),
        str![[r#"
exit 2
-- stderr
network::rule

  x `127.0.0.1` is never reached: it is this machine's own
   ,-[[ROOT]/project/pier.kdl:1:27]
 1 | network allowlist { allow "127.0.0.1"; }
   :                           ^^^^^|^^^^^
   :                                `-- this line
   `----
  help: the sandbox has a loopback of its own; `network host` would share this machine's

"#]],
    );
    check(
        &plan("env { secret K host=a.example from=\"env:K\" }\nnetwork allowlist\n"),
        str![[r#"
exit 2
-- stderr
secret::host

  x the secret `K` is for `a.example`, which the sandbox may not reach on port 443
   ,-[[ROOT]/project/pier.kdl:1:14]
 1 | env { secret K host=a.example from="env:K" }
   :              |
   :              `-- for this host
 2 | network allowlist
   `----
  help: write `network allowlist { allow "a.example"; }`

"#]],
    );
    check(
        &plan("env { secret K host=a.example from=\"env:K\" }\nnetwork none\n"),
        str![[r#"
exit 2
-- stderr
secret::host

  x the secret `K` needs the gateway, which `network allowlist` has alone
   ,-[[ROOT]/project/pier.kdl:1:14]
 1 | env { secret K host=a.example from="env:K" }
   :              |
   :              `-- asked for here
 2 | network none
   `----
  help: write `network allowlist`

"#]],
    );
    check(
        &plan(
            "env { secret K host=a.example from=\"env:K\" format=Bearer }\nnetwork allowlist { allow a.example; }\n",
        ),
        str![[r#"
exit 2
-- stderr
secret::format

  x the `format` of the secret `K` has no place for it
   ,-[[ROOT]/project/pier.kdl:1:14]
 1 | env { secret K host=a.example from="env:K" format=Bearer }
   :              |
   :              `-- this one
 2 | network allowlist { allow a.example; }
   `----
  help: write `{}` where the value goes

"#]],
    );
    let world = World::with(
        "env { secret K host=a.example from=\"env:K\" }\nnetwork allowlist { allow a.example; }\n",
    );
    world.pier(&["trust"]);
    check(
        &world.pier(&["exec", "--", "true"]),
        str![[r#"
exit 125
-- stderr
secret::from

  x cannot take the secret `K` from env ([ROOT]/project/pier.kdl:1): `K` is not set
  help: `export K=…` before pier starts

"#]],
    );
}

#[test]
fn a_version_is_exact_wherever_it_is_said() {
    check(
        &World::with("agent claude-code { version \"2.1\" }\n").pier(&["validate"]),
        str![[r#"
exit 2
-- stderr
config::bad-value

  x the version of `version` must be an exact version such as `"2.1.197"` or `"1.0.0-rc.1"`, not a range or a tag
   ,-[[ROOT]/project/pier.kdl:1:29]
 1 | agent claude-code { version "2.1" }
   :                             ^^|^^
   :                               `-- not valid here
   `----

"#]],
    );
}

#[test]
fn a_locked_start_refuses_what_is_not_pinned() {
    let world = World::with("agent pi { version \"0.74.2\" }\n");
    check(
        &world.pier(&["up", "--locked"]),
        str![[r#"
exit 2
-- stderr
lock::stale

  x `pier.lock` does not pin what runs: `pi` is not locked
  help: run `pier lock update` and commit the file

"#]],
    );
}

#[test]
fn a_plan_of_a_broken_file_is_refused() {
    let world = World::with("netwrk none\n");
    check(
        &world.pier(&["plan"]),
        str![[r#"
exit 2
-- stderr
config::unknown-node

  x there is no setting `netwrk` in a configuration
   ,-[[ROOT]/project/pier.kdl:1:1]
 1 | netwrk none
   : ^^^|^^
   :    `-- not a known setting
   `----
  help: did you mean `network`?

"#]],
    );
    check(
        &world.pier(&["plan", "--json", "--argv"]),
        str![[r#"
exit 2
-- stderr
error: the argument '--json' cannot be used with '--argv'

Usage: pier plan --json [-- <CMD>...]

For more information, try '--help'.

"#]],
    );
}

#[test]
fn a_command_is_required() {
    check(
        &World::with("").pier(&["exec"]),
        str![[r#"
exit 2
-- stderr
error: the following required arguments were not provided:
  <CMD>...

Usage: pier exec <CMD>...

For more information, try '--help'.

"#]],
    );
}

#[test]
fn plans_that_cannot_be_made_say_why() {
    let plan = |text: &str| World::with(text).pier(&["plan", "--", "true"]);
    check(
        &plan("mounts { ro \"/no-such\" at=\"/none\" }\n"),
        str![[r#"
exit 2
-- stderr
mount::missing

  x `/no-such` does not exist
   ,-[[ROOT]/project/pier.kdl:1:13]
 1 | mounts { ro "/no-such" at="/none" }
   :             ^^^^^|^^^^
   :                  `-- not on this host
   `----
  help: create it, or remove the line; pier never creates a mount source (`mkdir -p /no-such`)

"#]],
    );
    check(
        &plan("mounts { ro \"~\" at=\"/x\" }\n"),
        str![[r#"
exit 2
-- stderr
mount::refused

  x `[ROOT]/home` is not mounted: it is your home directory or holds it, with keys, logins and history
   ,-[[ROOT]/project/pier.kdl:1:13]
 1 | mounts { ro "~" at="/x" }
   :             ^|^
   :              `-- refused
   `----

"#]],
    );
    check(
        &plan("budget { cost 5 }\n"),
        str![[r#"
exit 2
-- stderr
plan::not-available

  x not available yet: `budget cost`
   ,-[[ROOT]/project/pier.kdl:1:15]
 1 | budget { cost 5 }
   :               |
   :               `-- asked for here
   `----

"#]],
    );
    check(
        &World::with("agent pi\n").pier(&["plan", "--agent", "other"]),
        str![[r#"
exit 2
-- stderr
agent::undeclared

  x the agent `other` is not declared
  help: pier knows `aider`, `antigravity-sdk`, `claude-code`, `cline`, `codex`, `copilot-cli`, `cursor-cli`, `devin`, `gemini-cli`,
        `goose`, `hermes`, `kimi-cli`, `mini-swe-agent`, `opencode`, `openhands`, `pi`, `qwen-coder`; any other needs an `agent` with a
        `run` line in `pier.kdl`

"#]],
    );
}

#[test]
fn the_directory_of_an_agent_needs_approval_whatever_is_started() {
    let world = World::with("agent mine default=#true { run \"mine\" }\n");
    let tool = world.root().join("home/tools/mine/bin/mine");
    std::fs::create_dir_all(tool.parent().unwrap()).unwrap();
    std::fs::write(&tool, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", tool.parent().unwrap().to_str().unwrap());
    let exec = world.pier_at("project", &[("PATH", &path)], &["exec", "--", "true"]);
    check(
        &exec,
        str![[r#"
exit 125
-- stderr
trust::needed

  x this project's files grant more than the baseline, and nobody has approved it:
  |   + run mine from `[ROOT]/home/tools/mine/bin/mine` ([ROOT]/project/pier.kdl:1)
  help: read it, then run `pier trust`; without a terminal: `--trust=[DIGEST]`

"#]],
    );
    assert_eq!(exec, world.pier_at("project", &[("PATH", &path)], &["up"]));
}

#[test]
fn a_plan_says_that_its_agent_is_still_to_be_installed() {
    let world = World::with("network host\nagent claude-code default=#true { version \"2.1.197\"; }\n");
    let said = world.pier(&["plan"]);
    let end: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("grants")).collect();
    check(
        &format!("{}\n", end.join("\n")),
        str![[r#"
grants beyond the baseline
  + install claude-code 2.1.197  [[ROOT]/project/pier.kdl:2]
  + use the network of the host, with its loopback services  [[ROOT]/project/pier.kdl:1]
warning: `claude-code` 2.1.197 is not installed yet, and this is the plan of a shell; `pier up` installs the agent and adds it
digest of the grants [DIGEST]

"#]],
    );
    assert!(said.starts_with("exit 0\n"), "{said}");
}
