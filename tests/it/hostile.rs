//! Repositories that try to get what nobody approved.

use crate::sandbox::Project;

#[test]
fn a_variable_of_a_file_brings_no_options_of_bubblewrap() {
    let project = Project::new("env { file \".env.agent\"; }\n");
    project.write(".env.agent", "A=1\0--bind\0/\0/tmp\n");
    let output = project.exec(&["ls", "/tmp/etc/passwd"]).refused(2, "host::probe");
    assert!(output.flat().contains("line 1"), "{}", output.said());
}
