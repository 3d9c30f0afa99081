//! `pier validate`: each code of the language once, and the three formats.

use snapbox::str;

use crate::support::{World, check};

#[test]
fn a_good_file_is_valid() {
    let world = World::with("network none\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn a_good_file_has_no_problems_in_json() {
    let world = World::with("network none\n");
    check(&world.pier(&["validate", "--json"]), str![[]]);
}

#[test]
fn settings_to_come_are_warned_about() {
    let world = World::with("budget { cost 5 }\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn all_findings_are_in_one_report() {
    let world = World::with("netwrk none\nlimits { pids \"x\" }\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn findings_in_json() {
    let world = World::with("netwrk none\n");
    check(&world.pier(&["validate", "--json"]), str![[]]);
}

#[test]
fn findings_in_sarif_name_files_from_the_root() {
    let world = World::with("netwrk none\n");
    check(&world.pier(&["validate", "--format", "sarif"]), str![[]]);
}

#[test]
fn an_unknown_format_is_refused() {
    let world = World::with("");
    check(&world.pier(&["validate", "--format", "xml"]), str![[]]);
}

#[test]
fn a_path_of_a_flag_that_names_nothing() {
    let world = World::with("");
    check(&world.pier(&["validate", "--set", "netwrk=none"]), str![[]]);
}

#[test]
fn a_bad_value() {
    let world = World::with("mounts { tmpfs \"relative\" }\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn an_invisible_character() {
    let world = World::with("network none // \u{202e}\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn a_duplicate() {
    let world = World::with("network none\nnetwork host\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn an_extra_value() {
    let world = World::with("network none host\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn a_missing_include() {
    let world = World::with("include \"team.kdl\"\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn a_missing_value() {
    let world = World::with("project\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn bytes_that_are_no_text() {
    let world = World::with(b"network \xff\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn a_syntax_error() {
    let world = World::with("network {\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn an_older_syntax() {
    let world = World::with("workspace { clone true }\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn blocks_too_deep() {
    let world = World::with("a{".repeat(40));
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn a_file_too_large() {
    let world = World::with(" ".repeat(300 * 1024));
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn too_many_nodes() {
    let world = World::with("a;".repeat(10_001));
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn a_wrong_type() {
    let world = World::with("limits { pids #true }\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn a_type_annotation() {
    let world = World::with("network (mode)none\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn an_unknown_node() {
    let world = World::with("agent x { modle \"y\" }\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn an_unknown_profile() {
    let world = World::with("profile ci { network none }\n");
    check(&world.pier(&["validate", "--profile", "cl"]), str![[]]);
}

#[test]
fn an_unknown_property() {
    let world = World::with("workspace att=\"/w\"\n");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn one_file_without_its_layers() {
    let world = World::with("netwrk none\n");
    check(&world.pier(&["validate", "pier.kdl"]), str![[]]);
}

#[test]
fn a_file_that_is_not_there() {
    let world = World::with("");
    check(&world.pier(&["validate", "none.kdl"]), str![[]]);
}

#[test]
fn without_a_file_there_is_nothing_to_check() {
    check(&World::new().pier(&["validate"]), str![[]]);
}

#[test]
fn a_directory_is_no_configuration() {
    let world = World::new();
    world.write("pier.kdl/x", "");
    check(&world.pier(&["validate"]), str![[]]);
}

#[test]
fn findings_of_every_layer_are_shown() {
    let world = World::with("netwrk none\n");
    world.write("pier.local.kdl", "limts\n");
    check(&world.pier(&["validate"]), str![[]]);
}
