//! Repositories that try to get what nobody approved.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::sandbox::{PIER, Project, make_executable};

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

#[test]
fn the_directory_of_a_protected_file_is_not_moved_away() {
    let project = Project::new("workspace { readonly \"a/b/c\" \"a/b\" \"a/d/e\"; }\n");
    for name in [".claude/settings.json", "a/b/c", "a/b/f", "a/d/e", "a/g"] {
        project.write(name, "mine");
    }
    for path in [".claude", "a", "a/b", "a/d"] {
        let output = project.bash(&format!("mv {path} {path}-moved")).expect(1);
        assert!(output.said().contains("busy"), "{path}: {}", output.said());
    }
    let shut = project.bash("echo x > a/b/f || echo x > a/b/c || echo x > a/d/e || echo shut").expect(0);
    assert_eq!(shut.text(), "shut");
    project.bash("echo theirs > a/g && mkdir .claude/agents && echo x > a/d/new").expect(0);
    assert_eq!(project.read(".claude/settings.json"), "mine");
}

#[test]
fn a_git_file_that_leads_elsewhere_is_not_rewritten() {
    let project = Project::bare();
    project.write("pier.kdl", "");
    project.write(".git", "gitdir: ../elsewhere\n");
    project.write_beside("elsewhere/HEAD", "ref: refs/heads/main\n");
    let output = project.bash("echo 'gitdir: theirs' > .git").expect(1);
    assert!(output.said().contains("Read-only file system"), "{}", output.said());
    assert_eq!(project.read(".git"), "gitdir: ../elsewhere\n");
}

#[test]
fn a_protected_link_is_warned_of() {
    let project = Project::bare();
    project.write("pier.kdl", "");
    project.write_beside("shared/.git/HEAD", "ref: refs/heads/main\n");
    project.write_beside("shared/.envrc", "");
    for name in [".git", ".envrc"] {
        std::os::unix::fs::symlink(project.base().join("shared").join(name), project.root().join(name))
            .unwrap();
    }
    project.give_away();
    let said = project.exec(&["true"]).expect(0).said();
    for name in [".git", ".envrc"] {
        assert!(said.contains(&format!("`{name}` is or leads through a symbolic link")), "{said}");
    }
}

#[test]
fn the_project_does_not_take_the_place_of_the_sandboxs_own_parts() {
    for at in ["/", "/.pier", "/proc", "/etc/x", "/usr", "/home", "/home/pier", "//home/./pier/"] {
        let project = Project::new(&format!("workspace at=\"{at}\"\n"));
        project.exec(&["true"]).refused(2, "mount::target");
    }
    let project = Project::new("workspace at=\"/src/app\"\n");
    assert_eq!(project.exec(&["pwd"]).expect(0).text(), "/src/app");
}

#[test]
fn a_mount_below_the_home_follows_no_link_that_was_planted_there() {
    let project = Project::new(
        "mounts { tmpfs \"/home/pier/.tool/cache\"; ro \"~/file\" at=\"/home/pier/.other/file\"; }\n",
    );
    project.write_beside("home/file", "text");
    project.trust();
    assert_eq!(project.exec(&["cat", "/home/pier/.other/file"]).expect(0).text(), "text");
    // Where bubblewrap has the host while it makes the mounts.
    let target = format!("/oldroot{}", project.home().display());
    for name in [".tool", ".other"] {
        let plant =
            format!("rm -r ~/{name}; rmdir ~/{name}/*; mv ~/{name} ~/moved{name}; ln -s {target} ~/{name}");
        project.bash(&plant);
        let output = project.exec(&["true"]).refused(125, "session::state");
        assert!(output.flat().contains(&format!("/home/pier/{name}/")), "{}", output.said());
        assert!(!project.home().join("cache").exists(), "made on the host");
        let home = project.left_behind().into_iter().find(|path| path.ends_with(format!("home/{name}")));
        fs_err::remove_file(home.unwrap()).unwrap();
    }
}

#[test]
fn a_mount_on_a_link_of_the_project_is_refused() {
    let project = Project::new("mounts { tmpfs \"/workspace/link\"; }\n");
    std::os::unix::fs::symlink(project.home(), project.root().join("link")).unwrap();
    project.give_away();
    project.exec(&["true"]).refused(2, "mount::target");
}

#[test]
fn the_home_is_not_kept_where_a_mount_would_be_refused() {
    let states = ["/", "/proc/self/cwd", "~/..", "~/.local/state/pier/projects", "~/linked"];
    for state in states {
        let project = Project::new(&format!("home {{ state \"{state}\"; }}\n"));
        std::os::unix::fs::symlink(project.base(), project.home().join("linked")).unwrap();
        project.give_away();
        project.exec(&["true"]).refused(2, "home::state");
    }
    let project = Project::new("home { state \"~/kept\"; }\n");
    project.trust();
    project.exec(&["true"]).expect(0);
    assert!(project.home().join("kept/home").is_dir());
}

#[test]
fn nothing_is_copied_out_of_the_running_host() {
    let texts = [
        "home { import git-config from=\"/proc/self/environ\"; }\n",
        "home { import git-config from=\"~/.local/state/pier/trust\"; }\n",
    ];
    for text in texts {
        Project::new(text).exec(&["true"]).refused(2, "mount::refused");
    }
}

#[test]
fn what_the_users_own_programs_obey_is_not_writable() {
    for path in ["~/.ssh", "~/.config", "~/.local/bin", "~/.bashrc", "~/.cargo"] {
        let project = Project::new(&format!("mounts {{ rw \"{path}\" at=\"/opt/x\"; }}\n"));
        for name in [".ssh/config", ".config/git/config", ".local/bin/tool", ".bashrc", ".cargo/bin/tool"] {
            project.write_beside(format!("home/{name}"), "");
        }
        project.exec(&["true"]).refused(2, "mount::refused");
    }
}

#[test]
fn a_directory_that_everybody_shares_is_no_project() {
    let project = Project::bare();
    for directory in ["/tmp", "/dev/shm", "/usr"] {
        project.call(["exec", "--as-root", "true"]).cwd(directory).run().refused(125, "project::root");
    }
}

#[test]
fn an_input_file_is_read_and_not_written() {
    let project = Project::new("");
    // More than a pipe holds.
    let text = "line\n".repeat(100_000);
    project.write_beside("home/input", &text);
    let call = |script: &str, input: &str| {
        let mut command = project.surround(Command::new(PIER)).command;
        command.args(["exec", "--", "sh", "-c", script]);
        command.stdin(File::open(project.home().join(input)).unwrap()).output().unwrap()
    };
    let output = call("wc -c; echo theirs >> /proc/self/fd/0", "input");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), text.len().to_string());
    let output = call("head -c 4", "input");
    assert_eq!((output.status.code(), output.stdout), (Some(0), b"line".to_vec()));
    assert_eq!(fs_err::read_to_string(project.home().join("input")).unwrap(), text);
    let output = call("ls /proc/self/fd/0/..", ".");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
}

#[test]
fn names_with_controls_reach_no_terminal() {
    let project = Project::bare();
    project.write("in\u{1b}]0;x\u{7}/pier.kdl", "workspace { root here; }\ninclude \"\\u{1b}[2J.kdl\"\n");
    project.write("in\u{1b}]0;x\u{7}/\u{1b}[2J.kdl", "env { pass \"LANG\"; }\n");
    let commands: &[&[&str]] = &[
        &["trust", "--show"],
        &["trust"],
        &["plan"],
        &["plan", "--argv"],
        &["plan", "--json"],
        &["explain", "LANG"],
        &["validate"],
        &["exec", "true"],
        &["config", "get", "env.pass"],
        &["lock", "verify"],
    ];
    for command in commands {
        let output =
            project.call(*command).env("LANG", "C").cwd(project.root().join("in\u{1b}]0;x\u{7}")).run();
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        assert!(
            !text.iter().any(|byte| matches!(byte, 0x1b | 7)),
            "{command:?}: {}",
            String::from_utf8_lossy(&text)
        );
    }
}

#[test]
fn an_ephemeral_home_is_forgotten_whatever_its_modes() {
    let project = Project::new("home ephemeral\n");
    project
        .bash("mkdir -p ~/a/b && touch ~/a/b/c && ln -s / ~/a/link && chmod 0 ~/a/b && chmod 0500 ~/a")
        .expect(0);
    let kept = project.left_behind().into_iter().find(|path| path.parent().unwrap().ends_with("sessions"));
    assert_eq!(kept, None);
}

#[test]
fn a_file_sets_no_variable_that_the_sandbox_has() {
    let project = Project::new("env { file \".env.agent\"; }\n");
    project.write(".env.agent", "PATH=/workspace/bin\n");
    project.exec(&["true"]).refused(2, "env::reserved");
}

#[test]
fn a_socket_of_the_host_in_the_project_is_hidden() {
    let project = Project::new("mounts { ro \"~/data\" at=\"/data\"; }\n");
    project.write_beside("home/data/file", "");
    // Bound through a link: the kernel lists it by that name.
    std::os::unix::fs::symlink(project.root(), project.base().join("link")).unwrap();
    std::os::unix::fs::symlink(project.home(), project.base().join("home-link")).unwrap();
    let listener = UnixListener::bind(project.base().join("link/live.sock")).unwrap();
    project.give_away();
    project.trust();
    let output = project.bash("test -e live.sock").expect(0);
    assert!(output.said().contains("`live.sock` is a live socket"), "{}", output.said());
    project.bash("test -S live.sock").expect(1);
    drop(listener);
    let _listener = UnixListener::bind(project.base().join("home-link/data/live.sock")).unwrap();
    project.exec(&["true"]).refused(2, "mount::refused");
}

#[test]
fn a_command_for_a_secret_runs_nothing_that_an_agent_left() {
    let project = Project::new(
        "network allowlist { allow a.example; }\nenv { secret K host=a.example from=\"cmd:helper || echo abcdefgh12345678\"; }\n",
    );
    // Where the person's own `PATH` leads into the project, too.
    project.write("bin/helper", "#!/bin/sh\ntouch ~/marker; echo abcdefgh12345678\n");
    make_executable(&project.root().join("bin/helper"));
    project.trust();
    let path = format!("{}:/usr/bin:/bin:.", project.root().join("bin").display());
    project.call(["exec", "--", "true"]).env("PATH", path).run().expect(0);
    assert!(!project.base().join("home/marker").exists());
}

#[test]
fn a_link_that_was_planted_brings_no_file_of_the_host() {
    let project = Project::new(
        "mounts { rw \"~/shared\" at=\"/srv/shared\"; }
        home { import \"git-config\" sync=\"always\" from=\"~/shared/config\"; }\n",
    );
    project.write_beside("home/shared/config", "[user]\n name = Me\n");
    project.write_beside("home/private", "name = secret\n");
    project.trust();
    project.exec(&["grep", "Me", "/home/pier/.gitconfig"]).expect(0);
    project.exec(&["ln", "-sfn", "../private", "/srv/shared/config"]).expect(0);
    let refused = project.exec(&["cat", "/home/pier/.gitconfig"]).refused(125, "session::import");
    assert!(refused.flat().contains("a symbolic link where a sandbox can make one"), "{}", refused.flat());
    project.write(
        "pier.kdl",
        "network allowlist { allow a.example; }\nenv { secret K host=a.example from=\"file:./token\"; }\n",
    );
    project.write("token", "abcdefgh12345678\n");
    project.trust();
    project.exec(&["true"]).expect(0);
    project.exec(&["ln", "-sfn", "../home/private", "token"]).expect(0);
    let refused = project.exec(&["true"]).refused(125, "secret::from");
    assert!(refused.flat().contains("a symbolic link where a sandbox can make one"), "{}", refused.flat());
}
