//! Words that name no command, and flags that are none.

use snapbox::str;

use crate::support::{World, check};

#[test]
fn commands_to_come_say_so() {
    let world = World::new();
    check(&world.pier(&["view"]), str![[]]);
    check(&world.pier(&["job", "start", "--n-tasks", "3"]), str![[]]);
}

#[test]
fn a_typo_gets_the_nearest_name() {
    let world = World::new();
    check(&world.pier(&["validat"]), str![[]]);
    check(&world.pier(&["frobnicate", "--help"]), str![[]]);
}

#[test]
fn bad_flags_exit_with_2() {
    let world = World::new();
    check(&world.pier(&["validate", "--jsn"]), str![[]]);
    check(&world.pier(&["config"]), str![[]]);
    check(&world.pier(&["lock", "updat"]), str![[]]);
}
