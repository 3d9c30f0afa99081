//! Hidden and protected files of the project: what an agent sees of them, and what becomes of them on the host.

use crate::sandbox::Project;

/// A project with secrets and files that tools obey.
fn project() -> Project {
    let project = Project::new("workspace { hide \".env\" \"secrets/**\" \"**/*.pem\" }\n");
    for (name, content) in [
        (".env", "TOKEN=canary\n"),
        ("secrets/deep/key", "canary\n"),
        ("service/tls.pem", "canary\n"),
        ("service/readme", "open\n"),
        (".vscode/tasks.json", "{}\n"),
        (".envrc", "use flake\n"),
        (".gemini/commands/x.toml", "prompt\n"),
        (".opencode/plugin/x.js", "code\n"),
        ("opencode.json", "{}\n"),
        ("opencode.jsonc", "{}\n"),
    ] {
        project.write(name, content);
    }
    project.give_away();
    project
}

#[test]
fn hidden_files_are_empty_by_every_road() {
    let project = project();
    let script = "
        cat .env service/tls.pem; ls -A secrets
        cp .env /tmp/copy && cat /tmp/copy; cp -r . /tmp/all; grep -r canary /tmp/all
        mv .env elsewhere; mv secrets elsewhere; mv service elsewhere; rm -f .env; rm -rf secrets
        ln .env linked && cat linked; ln -s .env pointing && cat pointing
        echo more >>.env; echo more >secrets/new
        cat /proc/self/root/workspace/.env; dd if=.env 2>/dev/null; tar cf - . 2>/dev/null | grep -a canary
        find . -inum $(stat -c %i .env) -exec cat {} + ; cat service/readme";
    let output = project.bash(script);
    assert_eq!(output.text(), "open", "{}", output.said());
    assert_eq!(project.read(".env"), "TOKEN=canary\n");
    assert_eq!(project.read("secrets/deep/key"), "canary\n");
    assert_eq!(project.read("service/tls.pem"), "canary\n");
    assert!(!project.root().join("secrets/new").exists() && !project.root().join("elsewhere").exists());
}

#[test]
fn protected_files_cannot_be_changed_moved_or_replaced() {
    let project = project();
    let script = "
        for name in .envrc .vscode/tasks.json pier.kdl opencode.json opencode.jsonc .gemini .opencode \
            .gemini/commands/x.toml .opencode/plugin/x.js; do
            echo x >>$name; rm -f $name; mv $name moved; mv -f service/readme $name; ln -sf /tmp/evil $name
        done 2>/dev/null
        mv .vscode directory 2>/dev/null; rm -rf .vscode 2>/dev/null; rmdir .vscode 2>/dev/null
        touch .vscode/other";
    project.bash(script).expect(0);
    assert_eq!(project.read(".envrc"), "use flake\n");
    assert_eq!(project.read(".vscode/tasks.json"), "{}\n");
    for (name, content) in [
        (".gemini/commands/x.toml", "prompt\n"),
        (".opencode/plugin/x.js", "code\n"),
        ("opencode.json", "{}\n"),
        ("opencode.jsonc", "{}\n"),
    ] {
        assert_eq!(project.read(name), content, "{name}");
    }
    assert!(project.root().join(".vscode/other").exists());
    assert_eq!(project.read("service/readme"), "open\n");
}

#[test]
fn nothing_is_made_on_the_host_for_a_file_that_does_not_exist() {
    let project =
        Project::new("workspace { hide \".env\" \"**/*.pem\" \"none/**\"; readonly \"also-none\"; }\n");
    let names = || {
        let entries = fs_err::read_dir(project.root()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    project.exec(&["true"]).expect(0);
    assert_eq!(names(), before);
}

#[test]
fn a_second_mount_does_not_show_what_is_hidden() {
    let project = project();
    let text = "workspace { hide \"secrets/**\" }\nmounts { ro \"./secrets/deep\" at=\"/keys\" }\n";
    project.write("pier.kdl", text);
    project.pier(&["plan"]).refused(2, "mount::refused");
}

#[test]
fn a_hidden_file_is_explained() {
    let project = project();
    let output = project.pier(&["explain", ".env"]);
    assert!(output.text().contains("hidden"), "{}", output.said());
}
