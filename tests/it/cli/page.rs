//! `pier schema`, `pier completions`, `pier man`: long answers, of which the start is compared.

use std::fs;

use snapbox::str;

use crate::support::{World, check};

/// Returns the first lines.
fn start(said: &str, lines: usize) -> String {
    said.lines().take(lines).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_vocabulary_is_a_table_a_schema_and_a_page() {
    let world = World::new();
    check(&start(&world.pier(&["schema"]), 8), str![[]]);
    check(&start(&world.pier(&["schema", "--json"]), 6), str![[]]);
    check(&start(&world.pier(&["schema", "--markdown"]), 16), str![[]]);
    check(&world.pier(&["schema", "--json", "--markdown"]), str![[]]);
}

#[test]
fn shells_get_their_completions() {
    let world = World::new();
    check(&start(&world.pier(&["completions", "bash"]), 4), str![[]]);
    assert!(world.pier(&["completions", "zsh"]).contains("validate"));
    check(&world.pier(&["completions", "cmd"]), str![[]]);
}

#[test]
fn manual_pages_are_printed_and_written() {
    let world = World::new();
    assert!(world.pier(&["man"]).contains(".TH pier 1"));
    check(&world.pier(&["man", "--out", "man"]), str![[]]);
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
    check(&world.pier(&["man", "--out", "file/man"]), str![[]]);
}
