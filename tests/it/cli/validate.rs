//! `pier validate`: files, layers and the three formats.

use snapbox::str;

use crate::support::{World, check};

#[test]
fn a_good_file_is_valid() {
    let world = World::with("network none\n");
    check(
        &world.pier(&["validate"]),
        str![[r#"
exit 0
-- stdout
pier.kdl is valid

"#]],
    );
}

#[test]
fn a_good_file_has_no_problems_in_json() {
    let world = World::with("network none\n");
    check(
        &world.pier(&["validate", "--json"]),
        str![[r#"
exit 0
-- stdout
{
  "problems": []
}

"#]],
    );
}

#[test]
fn settings_to_come_are_warned_about() {
    let world = World::with("budget { cost 5 }\n");
    check(
        &world.pier(&["validate"]),
        str![[r#"
exit 0
-- stdout
pier.kdl is valid
-- stderr
warning: not available yet: `budget` ([ROOT]/project/pier.kdl:1)

"#]],
    );
}

#[test]
fn all_findings_are_in_one_report() {
    let world = World::with("netwrk none\nlimits { pids \"x\" }\n");
    check(
        &world.pier(&["validate"]),
        str![[r#"
exit 2
-- stderr
config::unknown-node

  x there is no setting `netwrk` in a configuration
   ,-[[ROOT]/project/pier.kdl:1:1]
 1 | netwrk none
   : ^^^|^^
   :    `-- not a known setting
 2 | limits { pids "x" }
   `----
  help: did you mean `network`?

config::type

  x the count of `pids` must be a whole number from 16 to 9223372036854775807
   ,-[[ROOT]/project/pier.kdl:2:15]
 1 | netwrk none
 2 | limits { pids "x" }
   :               ^|^
   :                `-- this is a string
   `----

"#]],
    );
}

#[test]
fn what_no_agent_knows_is_refused_as_by_a_plan() {
    for (text, says) in [
        (
            "agent claude-code default=#true {\n    settings max_turn=3 max_turns=\"three\"\n}\n",
            &[
                "agent::setting",
                "pier.kdl:2:23",
                "did you mean `max_turns`?",
                "must be a whole number from 1",
            ][..],
        ),
        (
            "agent claude-cod default=#true\n",
            &["agent::unknown", "pier.kdl:1:7", "did you mean `claude-code`?"],
        ),
        (
            "agent claude-code default=#true { settings append_system_prompt=\"a\\u{0}b\"; }\n",
            &["pier.kdl:1:65", "must be a string without the character `\\u{0}`"],
        ),
    ] {
        let world = World::with(text);
        let (validated, planned) = (world.pier(&["validate"]), world.pier(&["plan"]));
        // A plan also says what is not on this host.
        assert!(planned.starts_with(validated.trim_end()), "{validated}\n{planned}");
        assert!(
            validated.starts_with("exit 2\n") && says.iter().all(|says| validated.contains(says)),
            "{validated}"
        );
    }
    // Of every agent, whichever is started; and in one file alone.
    let world = World::with("agent pi default=#true\nagent aider { settings zzz=1; }\nagent codx\n");
    for words in [&["validate", "--json"][..], &["validate", "pier.kdl", "--json"]] {
        let said = world.pier(words);
        assert_eq!(said.matches("\"code\": \"agent::").count(), 2, "{said}");
    }
    // What a `run` line starts may have any name.
    let world = World::with("agent claude-cod default=#true { run \"claude\"; }\n");
    assert!(world.pier(&["validate"]).contains("pier.kdl is valid"));
}

#[test]
fn findings_in_json() {
    let world = World::with("netwrk none\n");
    check(
        &world.pier(&["validate", "--json"]),
        str![[r#"
exit 2
-- stdout
{
  "problems": [
    {
      "code": "config::unknown-node",
      "message": "there is no setting `netwrk` in a configuration",
      "file": "[ROOT]/project/pier.kdl",
      "line": 1,
      "column": 1,
      "offset": 0,
      "length": 6,
      "label": "not a known setting",
      "help": "did you mean `network`?",
      "related": []
    }
  ]
}

"#]],
    );
}

#[test]
fn findings_in_sarif_name_files_from_the_root() {
    let world = World::with("netwrk none\n");
    check(
        &world.pier(&["validate", "--format", "sarif"]),
        str![[r#"
exit 2
-- stdout
{
  "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
  "version": "2.1.0",
  "runs": [
    {
      "tool": {
        "driver": {
          "name": "pier",
          "version": "0.1.0",
          "rules": [
            {
              "id": "config::unknown-node",
              "shortDescription": {
                "text": "There is no such setting at this place."
              }
            }
          ]
        }
      },
      "columnKind": "unicodeCodePoints",
      "results": [
        {
          "ruleId": "config::unknown-node",
          "level": "error",
          "message": {
            "text": "there is no setting `netwrk` in a configuration\ndid you mean `network`?"
          },
          "locations": [
            {
              "physicalLocation": {
                "artifactLocation": {
                  "uri": "pier.kdl"
                },
                "region": {
                  "startLine": 1,
                  "startColumn": 1,
                  "endLine": 1,
                  "endColumn": 7
                }
              },
              "message": {
                "text": "not a known setting"
              }
            }
          ],
          "relatedLocations": []
        }
      ]
    }
  ]
}

"#]],
    );
}

#[test]
fn an_unknown_format_is_refused() {
    let world = World::with("");
    check(
        &world.pier(&["validate", "--format", "xml"]),
        str![[r#"
exit 2
-- stderr
error: invalid value 'xml' for '--format <FORMAT>'
  [possible values: human, json, sarif]

For more information, try '--help'.

"#]],
    );
}

#[test]
fn one_file_without_its_layers() {
    let world = World::with("netwrk none\n");
    check(
        &world.pier(&["validate", "pier.kdl"]),
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
}

#[test]
fn a_file_that_is_not_there() {
    let world = World::with("");
    check(
        &world.pier(&["validate", "none.kdl"]),
        str![[r#"
exit 2
-- stderr
config::unreadable

  x there is no file `[ROOT]/project/none.kdl`

"#]],
    );
}

#[test]
fn without_a_file_there_is_nothing_to_check() {
    check(
        &World::new().pier(&["validate"]),
        str![[r#"
exit 2
-- stderr
config::none

  x there is no `pier.kdl` from `[ROOT]/project` up to `[ROOT]/project`
  help: `pier init` writes one

"#]],
    );
}

#[test]
fn a_directory_is_no_configuration() {
    let world = World::new();
    world.write("pier.kdl/x", "");
    check(
        &world.pier(&["validate"]),
        str![[r#"
exit 2
-- stderr
config::unreadable

  x cannot read `[ROOT]/project/pier.kdl`: it is not a plain file

"#]],
    );
}

#[test]
fn findings_of_every_layer_are_shown() {
    let world = World::with("netwrk none\n");
    world.write("pier.local.kdl", "limts\n");
    check(
        &world.pier(&["validate"]),
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

config::unknown-node

  x there is no setting `limts` in a configuration
   ,-[[ROOT]/project/pier.local.kdl:1:1]
 1 | limts
   : ^^|^^
   :   `-- not a known setting
   `----
  help: did you mean `limits`?

"#]],
    );
}
