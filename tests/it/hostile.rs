//! Repositories that try to get what nobody approved.

use crate::sandbox::{Project, make_executable};

#[test]
fn a_variable_of_a_file_brings_no_options_of_bubblewrap() {
    let project = Project::new("env { file \".env.agent\"; }\n");
    project.write(".env.agent", "A=1\0--bind\0/\0/tmp\n");
    let output = project.exec(&["ls", "/tmp/etc/passwd"]).refused(2, "host::probe");
    assert!(output.flat().contains("line 1"), "{}", output.said());
}

#[test]
fn the_path_of_a_program_makes_no_link_outside() {
    let project = Project::bare();
    let root = project.root();
    // Bubblewrap makes its mounts beside `/oldroot`, which is the host: `/.pier/bin/up/../../../../oldroot` led there.
    let outside = project.base().join("home/planted");
    let inside = format!("oldroot{}", outside.display());
    project.write("pier.kdl", format!("agent mine {{ run \"up/../../../../{inside}\"; }}\n"));
    project.write(&inside, "#!/bin/sh\necho ran\n");
    make_executable(&root.join(&inside));
    fs_err::create_dir_all(root.join("1/2/3/4")).unwrap();
    std::os::unix::fs::symlink("1/2/3/4", root.join("up")).unwrap();
    project.give_away();
    project.trust();
    assert_eq!(project.pier(&["up"]).expect(0).text(), "ran");
    assert!(outside.symlink_metadata().is_err(), "`{}` was made", outside.display());
    assert_eq!(project.bash("planted").expect(0).text(), "ran");
}
