//! A secret from the keyring of a desktop: a session bus and a keyring of the test's own.

use std::process::Command;

use super::servers::Servers;
use super::surrounded;
use crate::sandbox::{PIER, Project};

const HOSTS: &str = "127.0.0.1 localhost\n11.93.7.3 api.test\n";

const KEY: &str = "sk-ant-api03-Kk1Ll2Mm3Nn4Oo5-Pp6_Qq7";

const RULES: &str = "env { secret API_KEY host=api.test from=\"keyring:work\" header=\"x-api-key\"; }\n\
    network allowlist { allow api.test; }\n";

#[test]
fn a_secret_comes_from_the_keyring() {
    for program in ["dbus-run-session", "gnome-keyring-daemon", "secret-tool"] {
        if which::which(program).is_err() {
            println!("skipped: there is no `{program}`");
            return;
        }
    }
    let Some(servers) = Servers::start() else { return };
    let project = Project::new(RULES);
    project.write_beside("bundle.pem", &servers.web.authority);
    fs_err::create_dir_all(project.base().join("runtime")).unwrap();
    project.give_away();
    project.trust();
    // The bus is one user's, and pier has to be that user's as well.
    let owner = project.owner().to_string();
    let run = |keep: &str| {
        let script = format!(
            "printf password | gnome-keyring-daemon --unlock --components=secrets > /dev/null && {keep} && \
             exec {PIER} exec -- curl -sS https://api.test/"
        );
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &owner, "--regid", &owner, "--clear-groups"]);
        command.args(["dbus-run-session", "--", "bash", "-c", &script]);
        surrounded(&project, HOSTS, &command).env("XDG_RUNTIME_DIR", project.base().join("runtime")).run()
    };
    let missing = run("true").expect(125);
    for words in
        ["the keyring has none of that name", "`secret-tool store --label=pier service pier name work`"]
    {
        assert!(missing.flat().contains(words), "{}", missing.flat());
    }
    let store = format!("printf {KEY} | secret-tool store --label=pier service pier name work");
    let output = run(&store).expect(0);
    let asked = servers.asked();
    assert_eq!(asked.len(), 1, "{}", output.text());
    assert_eq!(asked[0].header("x-api-key"), Some(KEY));
    assert!(!output.text().contains(KEY), "{}", output.text());
}
