//! `pier schema`, `pier completions`, `pier man`: long answers, of which the start is compared.

use std::fs;

use snapbox::str;

use crate::support::{World, check};

/// Returns the first lines.
fn start(said: &str, lines: usize) -> String {
    said.split_inclusive('\n').take(lines).collect()
}

#[test]
fn the_vocabulary_is_a_table_a_schema_and_a_page() {
    let world = World::new();
    check(
        &start(&world.pier(&["schema"]), 8),
        str![[r#"
exit 0
-- stdout
include <file>                      Reads another file first; this one adds to it and wins.
    file                            The file, relative to this one and below the project. (a path)
project <name> [key=…]              Names the project.
    name                            The name that people read. (a string that is not empty)
    key=                            The prefix of coordination items. (a name of letters, digits, `-`, `_` and `.`, a letter or digit first)
runtime <kind> { … }                Chooses where `/usr` and the tools come from.

"#]],
    );
    check(
        &start(&world.pier(&["schema", "--json"]), 6),
        str![[r#"
exit 0
-- stdout
{
  "type": "array",
  "items": {
    "oneOf": [

"#]],
    );
    check(
        &start(&world.pier(&["schema", "--markdown"]), 16),
        str![[r#"
exit 0
-- stdout
# pier.kdl

Every setting, from the table that checks the file. `<…>` is required, `[…]` is optional.

## `include`

```text
include <file>
```

Reads another file first; this one adds to it and wins.
Any number of times.

| value | required | must be | meaning |

"#]],
    );
    check(
        &world.pier(&["schema", "--json", "--markdown"]),
        str![[r#"
exit 2
-- stderr
error: the argument '--json' cannot be used with '--markdown'

Usage: pier schema --json

For more information, try '--help'.

"#]],
    );
}

#[test]
fn shells_get_their_completions() {
    let world = World::new();
    check(
        &start(&world.pier(&["completions", "bash"]), 4),
        str![[r#"
exit 0
-- stdout
_pier() {
    local i cur prev opts cmd

"#]],
    );
    assert!(world.pier(&["completions", "zsh"]).contains("validate"));
    check(
        &world.pier(&["completions", "cmd"]),
        str![[r#"
exit 2
-- stderr
error: invalid value 'cmd' for '<SHELL>'
  [possible values: bash, elvish, fish, powershell, zsh]

For more information, try '--help'.

"#]],
    );
}

#[test]
fn manual_pages_are_printed_and_written() {
    let world = World::new();
    assert!(world.pier(&["man"]).contains(".TH pier 1"));
    check(
        &world.pier(&["man", "--out", "man"]),
        str![[r#"
exit 0

"#]],
    );
    let mut names: Vec<String> = fs::read_dir(world.project().join("man"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.contains(&"pier-config-get.1".to_owned()), "{names:?}");
    assert!(
        fs::read_to_string(world.project().join("man/pier-config-get.1"))
            .unwrap()
            .contains("pier\\-config\\-get")
    );
    world.write("file", "");
    check(
        &world.pier(&["man", "--out", "file/man"]),
        str![[r#"
exit 1
-- stderr
cli::write

  x cannot write `file/man/pier.1`: cannot make the directory `file/man`: Not a directory (os error 20)

"#]],
    );
}
