//! Plans that cannot be made: each code of the planner once.

use snapbox::str;

use crate::support::{World, check};

#[test]
fn an_agent_that_nobody_knows() {
    let world = World::with("agent clade-code default=#true\n");
    check(
        &world.pier(&["up"]),
        str![[r#"
exit 2
-- stderr
agent::unknown

  x cannot find the agent `clade-code`: pier knows `aider`, `antigravity-sdk`, `claude-code`, `cline`, `codex`, `copilot-cli`, `cursor-
  | cli`, `devin`, `gemini-cli`, `goose`, `hermes`, `kimi-cli`, `mini-swe-agent`, `opencode`, `openhands`, `pi`, `qwen-coder`, and a
  | custom one needs a `run` line
   ,-[[ROOT]/project/pier.kdl:1:7]
 1 | agent clade-code default=#true
   :       ^^^^^|^^^^
   :            `-- unknown agent
   `----
  help: did you mean `claude-code`?

"#]],
    );
}

#[test]
fn an_agent_of_trials_where_no_task_is() {
    let world = World::with("agent oracle default=#true\n");
    check(
        &world.pier(&["up"]),
        str![[r#"
exit 2
-- stderr
agent::unknown

  x the agent `oracle` runs the solution of a task: it is for trials, and there is no task here
   ,-[[ROOT]/project/pier.kdl:1:7]
 1 | agent oracle default=#true
   :       ^^^|^^
   :          `-- unknown agent
   `----

"#]],
    );
    check(
        &World::with("agent pi\n").pier(&["plan", "--agent", "nop"]),
        str![[r#"
exit 2
-- stderr
agent::undeclared

  x the agent `nop` is not declared
  help: the agent `nop` does nothing: it is for trials, and there is no task here

"#]],
    );
}

#[test]
fn an_agent_that_is_not_here() {
    let world = World::with("agent mine default=#true { run \"no-such-agent\" }\n");
    check(
        &world.pier(&["up"]),
        str![[r#"
exit 2
-- stderr
agent::missing

  x the agent `mine` is not on this host: cannot find `no-such-agent` on `PATH`
   ,-[[ROOT]/project/pier.kdl:1:7]
 1 | agent mine default=#true { run "no-such-agent" }
   :       ^^|^
   :         `-- declared here
   `----
  help: add `version "X.Y.Z"` to its block and pier installs it, or install it yourself

"#]],
    );
}

#[test]
fn tools_for_an_agent_that_takes_no_choice_of_them() {
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::with("agent codex default=#true { tools \"read\"; }\n");
    world.write("tools/codex", "#!/bin/sh\n");
    let tools = world.project().join("tools");
    fs_err::set_permissions(tools.join("codex"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", tools.display());
    let said = world.pier_at(world.project(), &[("PATH", path.as_str())], &["plan"]);
    check(
        &said,
        str![[r#"
exit 2
-- stderr
agent::tools

  x the agent `codex` cannot be told which tools it has
   ,-[[ROOT]/project/pier.kdl:1:35]
 1 | agent codex default=#true { tools "read"; }
   :                                   ^^^|^^
   :                                      `-- asked for here
   `----

"#]],
    );
}

#[test]
fn a_setting_that_an_agent_does_not_have_or_take() {
    let world = World::with(
        "agent claude-code default=#true {\n    version \"2.1.197\"\n    settings max_turn=40 reasoning_effort=\"huge\"\n}\n",
    );
    check(
        &world.pier(&["plan"]),
        str![[r#"
exit 2
-- stderr
agent::setting

  x the agent `claude-code` has no setting `max_turn`
   ,-[[ROOT]/project/pier.kdl:3:23]
 2 |     version "2.1.197"
 3 |     settings max_turn=40 reasoning_effort="huge"
   :                       ^|
   :                        `-- asked for here
 4 | }
   `----
  help: did you mean `max_turns`?

agent::setting

  x `reasoning_effort` of `claude-code` must be one of `low`, `medium`, `high`, `xhigh`, `max`
   ,-[[ROOT]/project/pier.kdl:3:43]
 2 |     version "2.1.197"
 3 |     settings max_turn=40 reasoning_effort="huge"
   :                                           ^^^|^^
   :                                              `-- asked for here
 4 | }
   `----
  help: How much the model thinks.

"#]],
    );
}

#[test]
fn a_version_of_an_agent_that_pier_does_not_install() {
    let world = World::with("agent mine default=#true { run \"true\"; version \"1.2.3\"; }\n");
    check(
        &world.pier(&["plan"]),
        str![[r#"
exit 2
-- stderr
agent::version

  x pier does not install the agent `mine`, so it has no say in its version
   ,-[[ROOT]/project/pier.kdl:1:48]
 1 | agent mine default=#true { run "true"; version "1.2.3"; }
   :                                                ^^^|^^^
   :                                                   `-- asked for here
   `----
  help: leave `version` out, and install the version that you want

"#]],
    );
}

#[test]
fn an_agent_without_an_mcp_client() {
    let world = World::with(
        "agent mine default=#true {\n    run \"true\"\n    mcp \"files\" command=\"mcp-files\"\n}\n",
    );
    check(
        &world.pier(&["plan"]),
        str![[r#"
exit 2
-- stderr
agent::mcp

  x the agent `mine` has no MCP client
   ,-[[ROOT]/project/pier.kdl:3:9]
 2 |     run "true"
 3 |     mcp "files" command="mcp-files"
   :         ^^^|^^^
   :            `-- asked for here
 4 | }
   `----

"#]],
    );
}

#[test]
fn an_agent_without_a_place_for_skills() {
    let world = World::with("agent mine default=#true {\n    run \"true\"\n    skills \"skills\"\n}\n");
    world.write("skills/one/SKILL.md", "");
    check(
        &world.pier(&["plan"]),
        str![[r#"
exit 2
-- stderr
agent::skills

  x pier does not know where `mine` keeps its skills
   ,-[[ROOT]/project/pier.kdl:3:12]
 2 |     run "true"
 3 |     skills "skills"
   :            ^^^^|^^^
   :                `-- asked for here
 4 | }
   `----

"#]],
    );
}

#[test]
fn a_version_that_cannot_be_installed() {
    let world = World::with("agent pi default=#true { version \"0.74.2\" }\n");
    check(
        &world.pier(&["trust"]),
        str![[r#"
exit 0
-- stdout
+ install pi 0.74.2 ([ROOT]/project/pier.kdl:1)
digest [DIGEST]
-- stderr
approved for [ROOT]/project

"#]],
    );
    check(
        &world.pier_at("project", &[("PATH", "/nonexistent")], &["up"]),
        str![[r#"
exit 125
-- stderr
agent::install

  x cannot install `@earendil-works/pi-coding-agent`: cannot find `node` on `PATH`
  help: install Node with npm, or the agent itself

"#]],
    );
}

#[test]
fn a_home_that_is_no_absolute_path() {
    let world = World::with("");
    check(
        &world.pier_at("project", &[("HOME", "me")], &["plan"]),
        str![[r#"
exit 2
-- stderr
env::directories

  x `HOME` is not an absolute path: `me`
  help: set `HOME`, and `XDG_*_HOME` where you use them, to absolute paths

"#]],
    );
    check(
        &world.pier_at("project", &[("XDG_STATE_HOME", "state")], &["plan"]),
        str![[r#"
exit 2
-- stderr
env::directories

  x `XDG_STATE_HOME` is not an absolute path: `state`
  help: set `HOME`, and `XDG_*_HOME` where you use them, to absolute paths

"#]],
    );
}

#[test]
fn a_variable_of_the_sandbox_itself() {
    let world = World::with("env {\n    pass \"LD_PRELOAD\"\n    set HOME=\"/root\"\n}\n");
    check(
        &world.pier(&["plan"]),
        str![[r#"
exit 2
-- stderr
env::reserved

  x `LD_PRELOAD` cannot be passed: the sandbox has its own
   ,-[[ROOT]/project/pier.kdl:2:10]
 1 | env {
 2 |     pass "LD_PRELOAD"
   :          ^^^^^^|^^^^^
   :                `-- reserved
 3 |     set HOME="/root"
   `----

env::reserved

  x `HOME` cannot be set: the sandbox has its own
   ,-[[ROOT]/project/pier.kdl:3:14]
 2 |     pass "LD_PRELOAD"
 3 |     set HOME="/root"
   :              ^^^|^^^
   :                 `-- reserved
 4 | }
   `----

"#]],
    );
}

#[test]
fn a_file_of_variables_that_is_none() {
    let world = World::with("env { file \".env\" }\n");
    check(
        &world.pier(&["plan"]),
        str![[r#"
exit 2
-- stderr
host::probe

  x cannot look at `[ROOT]/project/.env`: No such file or directory (os error 2)

"#]],
    );
    world.write(".env", "A=1\nnot a variable\n");
    check(
        &world.pier(&["plan"]),
        str![[r#"
exit 2
-- stderr
host::probe

  x `[ROOT]/project/.env`, line 2: neither `NAME=value` nor a comment

"#]],
    );
}

#[test]
fn a_state_directory_inside_the_project() {
    let world = World::with("home { state \".state\" }\n");
    check(
        &world.pier(&["plan"]),
        str![[r#"
exit 2
-- stderr
home::state

  x the state directory `[ROOT]/project/.state` is inside the project ([ROOT]/project/pier.kdl:1)
   ,-[[ROOT]/project/pier.kdl:1:14]
 1 | home { state ".state" }
   :              ^^^^|^^^
   :                  `-- inside the project
   `----

"#]],
    );
}

#[test]
fn a_source_that_is_no_path() {
    let world = World::with("mounts { ro \"~other/data\" }\n");
    check(
        &world.pier(&["plan"]),
        str![[r#"
exit 2
-- stderr
mount::source

  x the path `~other/data` names another user's home
   ,-[[ROOT]/project/pier.kdl:1:13]
 1 | mounts { ro "~other/data" }
   :             ^^^^^^|^^^^^^
   :                   `-- this path
   `----

"#]],
    );
}

#[test]
fn a_target_that_the_sandbox_needs() {
    let world = World::with("mounts { ro \"data\" at=\"/etc/data\" }\n");
    world.write("data/one", "");
    check(
        &world.pier(&["plan"]),
        str![[r#"
exit 2
-- stderr
mount::target

  x `/etc/data` cannot be a mount target: pier's own mounts are there
   ,-[[ROOT]/project/pier.kdl:1:13]
 1 | mounts { ro "data" at="/etc/data" }
   :             ^^^|^^
   :                `-- this target
   `----
  help: choose a path such as `/opt/NAME` or one below the sandbox home

"#]],
    );
}

#[test]
fn a_path_that_cannot_be_made_read_only() {
    let world = World::with("workspace { readonly \"../outside\" \"link\" }\n");
    std::os::unix::fs::symlink("pier.kdl", world.project().join("link")).unwrap();
    check(
        &world.pier(&["plan"]),
        str![[r#"
exit 2
-- stderr
workspace::readonly

  x `../outside` is outside the project
   ,-[[ROOT]/project/pier.kdl:1:22]
 1 | workspace { readonly "../outside" "link" }
   :                      ^^^^^^|^^^^^
   :                            `-- outside
   `----

workspace::readonly

  x `link` is a link or no plain file, and cannot be made read-only
   ,-[[ROOT]/project/pier.kdl:1:35]
 1 | workspace { readonly "../outside" "link" }
   :                                   ^^^|^^
   :                                      `-- named here
   `----

"#]],
    );
}

#[test]
fn a_home_directory_is_no_project() {
    let world = World::new();
    check(
        &world.pier_at("home", &[], &["plan"]),
        str![[r#"
exit 125
-- stderr
project::root

  x `[ROOT]/home` cannot be a project: it is your home directory or holds it, with keys, logins and history
  help: run pier inside a project directory, such as a Git repository

"#]],
    );
}

#[test]
fn a_last_plan_that_is_damaged() {
    let world = World::with("");
    check(
        &world.pier(&["exec", "true"]),
        str![[r#"
exit 0

"#]],
    );
    let plans = world.root().join("home/.local/state/pier/plans");
    let stored = std::fs::read_dir(&plans).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&stored, "{").unwrap();
    let said = world.pier(&["plan", "--diff"]);
    check(
        &said.replace(stored.file_stem().unwrap().to_str().unwrap(), "[PROJECT]"),
        str![[r#"
exit 1
-- stderr
plan::last

  x cannot read the last plan `[ROOT]/home/.local/state/pier/plans/[PROJECT].json`: EOF while parsing an object at line 1
  | column 1
  help: remove the file; the next session writes it anew

"#]],
    );
}

#[test]
fn a_long_line_is_cut_in_a_report() {
    let world = World::with(format!("project \"{}\" extra // {}\n", "a".repeat(300), "b".repeat(20_000)));
    check(
        &world.pier(&["validate"]),
        str![[r#"
exit 2
-- stderr
config::extra-value

  x `project` takes one argument
   ,-[[ROOT]/project/pier.kdl:1:312]
 1 | ...aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" extra // bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb...
   :                                                                ^^|^^
   :                                                                  `-- one too many
   `----
  help: did you mean `key="extra"`?

"#]],
    );
}

#[test]
fn messages_are_as_wide_as_asked_for() {
    let world = World::with("mounts { ro \"~other/data\" }\n");
    check(
        &world.pier_at("project", &[("COLUMNS", "30")], &["plan"]),
        str![[r#"
exit 2
-- stderr
mount::source

  x the path `~other/data`
  | names another user's
  | home
   ,-[[ROOT]/project/pier.kdl:1:13]
 1 | mounts { ro "~other/data" }
   :             ^^^^^^|^^^^^^
   :                   `-- this path
   `----

"#]],
    );
}
