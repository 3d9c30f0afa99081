//! The flake: its packages, shells, modules and templates, each a case of `tests/nix/run`, with a nixpkgs of the tests'
//! own in place of the real one.

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs one case; where it cannot run, it prints the reason.
fn case(name: &str) {
    // This one builds in the store of the user, as `runtime nix` does.
    if name == "pier_enters_the_shell_of_a_template"
        && let Some(reason) = crate::nix::missing()
    {
        println!("skipped: {reason}");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nix/run");
    let output = Command::new("bash")
        .arg(script)
        .args([env!("CARGO_BIN_EXE_pier"), name])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{out}{err}", output.status);
    if out.contains("skipped: ") {
        println!("{out}");
        return;
    }
    // The script names what it ran: a name that it does not know would be a test of nothing.
    assert_eq!(out.lines().next_back(), Some(format!("passed: {name}").as_str()), "{err}");
}

macro_rules! cases {
    ($($name:ident)*) => {
        const CASES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                case(stringify!($name));
            }
        )*
    };
}

cases! {
    every_output_is_shown
    every_check_is_built
    the_bundles_hold_what_they_say
    an_old_nixpkgs_is_refused_with_the_reason
    old_names_are_told_to_the_binary_and_the_caller_wins
    an_agent_runs_by_an_older_name_of_the_bundle
    mk_pi_shell_sets_what_the_older_one_did
    mk_pier_shell_brings_pier_and_its_file
    the_table_of_the_language_is_that_of_pier
    every_node_can_be_written
    what_is_no_configuration_is_refused
    the_lock_is_complete
    the_module_of_nixos_defines_what_it_says
    the_module_of_home_manager_defines_what_it_says
    templates_start_projects
    the_readme_names_what_there_is
    pier_enters_the_shell_of_a_template
}

#[test]
fn every_case_of_the_script_is_run() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nix/cases.sh");
    let text = fs_err::read_to_string(script).unwrap();
    let names = text.lines().filter_map(|line| line.strip_suffix("() {"));
    let names: Vec<&str> = names.filter(|name| name.matches('_').count() > 1).collect();
    assert_eq!(names, CASES);
}
