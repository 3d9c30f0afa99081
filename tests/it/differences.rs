//! `tests/differences.md` is true as far as names go.

use std::path::Path;

use crate::sandbox::Project;

#[test]
fn every_test_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let text = fs_err::read_to_string(root.join("differences.md")).unwrap();
    let names = text.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
    let mut count = 0;
    for name in names {
        let (module, function) = name.rsplit_once("::").unwrap();
        // Of these tests, or beside the code.
        let (directory, indent) = if module.starts_with("src::") { ("..", "    ") } else { ("it", "") };
        let file = root.join(directory).join(format!("{}.rs", module.replace("::", "/")));
        let source = fs_err::read_to_string(&file).unwrap();
        assert!(source.contains(&format!("\n{indent}#[test]\n{indent}fn {function}()")), "{name}");
        count += 1;
    }
    assert!(count > 30, "{count}");
}

#[test]
fn the_help_lists_the_commands_of_the_older_tool() {
    let help = Project::bare().call(["--help"]).run().expect(0).text();
    for name in ["capture", "exec", "list", "skills", "start", "stop", "traces", "verify"] {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))),
            "{name}: {help}"
        );
    }
}
