//! `pier init`, `pier explain` and `pier doctor` as people call them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use snapbox::{assert_data_eq, str};

/// A project and a home of its own, with nothing on `PATH`.
struct Place {
    top: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        for name in ["home", "project", "bin"] {
            fs::create_dir(top.path().join(name)).unwrap();
        }
        Place { top }
    }

    fn project(&self) -> PathBuf {
        self.top.path().join("project")
    }

    fn pier(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_pier"))
            .args(arguments)
            .current_dir(self.project())
            .env_clear()
            .env("HOME", self.top.path().join("home"))
            .env("PATH", self.top.path().join("bin"))
            .env("ANTHROPIC_API_KEY", "x")
            .env("AWS_PROFILE", "x")
            .output()
            .unwrap()
    }

    /// What `pier init` writes and says where nothing else is set.
    fn starter(&self, arguments: &[&str], set: &[(&str, &str)]) -> (String, String) {
        let mut init = Command::new(env!("CARGO_BIN_EXE_pier"));
        init.arg("init").args(arguments).current_dir(self.project()).env_clear();
        init.env("HOME", self.top.path().join("home")).env("PATH", self.top.path().join("bin"));
        let output = init.envs(set.iter().copied()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }

    /// Exit code, standard output, standard error; the temporary directory is `[TOP]`.
    fn said(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.pier(arguments);
        let top = fs::canonicalize(self.top.path()).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(top.to_str().unwrap(), "[TOP]");
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn init_writes_a_file_that_names_the_next_steps() {
    let place = Place::new();
    fs::write(place.project().join("Cargo.toml"), "").unwrap();
    let (code, stdout, stderr) = place.said(&["init"]);
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert_data_eq!(
        stderr,
        str![[r"
wrote [TOP]/project/pier.kdl
next: read it, then
  pier trust    approve what it grants
  pier up       start the agent

"]]
    );
    assert_data_eq!(
        fs::read_to_string(place.project().join("pier.kdl")).unwrap(),
        str![[r#"
// What coding agents may see, touch, reach and spend in this project; `pier schema` lists every setting.
// The project is read-write at /workspace, with a home of its own. Lines marked * need `pier trust`.

// pier installs this agent, because no agent is on this host's `PATH`.
agent claude-code default=#true {
    version "2.1.197"    // *
}

// * Only hosts that are named here, and those that the agent does not work without. `pier net suggest` prints the
// lines that a session would have needed.
network allowlist {
    allow "api.anthropic.com"
}

env {
    // * Set now. Inside is a placeholder; the value is added on its way to that host alone.
    secret ANTHROPIC_API_KEY host="api.anthropic.com" from="env:ANTHROPIC_API_KEY"
}

// Also set, but they open more than a model service:
// env { pass "AWS_PROFILE" }

// Everything in the project is seen. To show a file as empty, in git's history as well:
// workspace { hide ".env" }

// Rust: crates are downloaded into the sandbox home. To see those of the host (*):
// mounts { ro "~/.cargo/registry" at="/home/pier/.cargo/registry" }

// Caches and logins of the agent stay in the sandbox home between sessions. To start empty each time:
// home ephemeral

"#]]
    );
}

#[test]
fn init_does_not_replace_a_file_unless_it_is_told_to() {
    let place = Place::new();
    let file = place.project().join("pier.kdl");
    fs::write(&file, "network none\n").unwrap();
    let (code, stdout, stderr) = place.said(&["init"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("init::exists") && stderr.contains("--force"), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "network none\n");
    assert_eq!(place.said(&["init", "--force", "--template", "empty"]).0, 0);
    let (code, stdout, _) = place.said(&["init", "--stdout", "--template", "empty"]);
    assert_eq!((code, stdout), (0, fs::read_to_string(&file).unwrap()));
}

#[test]
fn init_says_when_it_cannot_write() {
    let place = Place::new();
    fs::create_dir(place.project().join("pier.kdl")).unwrap();
    let (code, _, stderr) = place.said(&["init", "--force"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("init::write"), "{stderr}");
}

#[test]
fn explain_says_no_to_the_keys_of_the_user_and_why() {
    let place = Place::new();
    fs::create_dir(place.top.path().join("home/.ssh")).unwrap();
    let (code, stdout, stderr) = place.said(&["explain", "~/.ssh"]);
    assert_eq!((code, stderr.as_str()), (1, ""));
    assert_data_eq!(
        stdout,
        str![[r#"
no: `~/.ssh` is not visible
because your home directory is private; the sandbox has its own at `/home/pier`
help: `mounts { ro "[TOP]/home/.ssh" }` in `pier.kdl` would show it, and needs `pier trust`

"#]]
    );
    let _socket = std::os::unix::net::UnixListener::bind(place.top.path().join("home/.ssh/agent")).unwrap();
    let (_, stdout, _) = place.said(&["explain", "~/.ssh"]);
    assert!(stdout.contains("help: a mount of it would be refused"), "{stdout}");
    assert!(stdout.contains("the live socket `[TOP]/home/.ssh/agent`"), "{stdout}");
}

#[test]
fn explain_names_the_line_that_decided() {
    let place = Place::new();
    let shared = fs::canonicalize(place.top.path()).unwrap().join("shared");
    fs::create_dir(&shared).unwrap();
    let text = format!(
        "mounts {{\n    ro {:?} at=\"/opt/shared\"\n}}\nenv {{\n    pass ANTHROPIC_API_KEY\n}}\nnetwork none\n",
        shared.to_str().unwrap()
    );
    fs::write(place.project().join("pier.kdl"), text).unwrap();
    for (what, code, says) in [
        ("../shared/new", 1, "nothing is there now"),
        (
            "../shared",
            0,
            "visible, at `/opt/shared`, read-only\nbecause `/opt/shared` is mounted read-only ([TOP]/project/pier.kdl:2)",
        ),
        ("pier.kdl", 0, "at `/workspace/pier.kdl`, read-only"),
        ("/workspace/pier.kdl", 0, "at `/workspace/pier.kdl`, read-only"),
        ("ANTHROPIC_API_KEY", 0, "([TOP]/project/pier.kdl:5)"),
        ("AWS_PROFILE", 1, "help: `env { pass \"AWS_PROFILE\" }`"),
        ("LD_PRELOAD", 1, "neither passed nor set"),
        ("https://api.example.com/v1", 1, "no network but its own loopback ([TOP]/project/pier.kdl:7)"),
        (
            "https://api.example.com/v1",
            1,
            "help: `network allowlist { allow \"api.example.com\"; }` would reach it",
        ),
        ("localhost:80", 1, "a loopback of its own"),
        ("example.org.", 1, "no dot at the end here\nhelp: `pier explain example.org`"),
        ("*.example.org", 1, "a pattern for many hosts"),
        ("example.org:99999", 1, "`99999` is no port"),
    ] {
        let (found, stdout, stderr) = place.said(&["explain", what]);
        assert_eq!((found, stderr.as_str()), (code, ""), "{what}: {stdout}");
        assert!(stdout.contains(says), "{what}: {stdout}");
    }
    let (_, stdout, _) = place.said(&["explain", "--json", "../shared"]);
    let answer: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let keys: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["what", "kind", "visible", "access", "at", "reason", "origin", "help"]);
}

#[test]
fn explain_and_plan_say_that_the_value_of_a_secret_stays_outside() {
    let place = Place::new();
    let text = "network allowlist { allow \"a.test\"; }\nenv {\n    secret KEY host=\"a.test\" from=\"env:KEY\"\n}\n";
    fs::write(place.project().join("pier.kdl"), text).unwrap();
    let (code, stdout, stderr) = place.said(&["explain", "KEY"]);
    assert_eq!((code, stderr.as_str()), (1, ""));
    assert_data_eq!(
        stdout,
        str![[r#"
no: `KEY` is not visible
because it is a placeholder inside; the value stays outside and goes to `a.test` alone ([TOP]/project/pier.kdl:3)

"#]]
    );
    let (code, stdout, _) = place.said(&["--as-root", "plan"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("  KEY(a placeholder; the value stays outside)"), "{stdout}");
}

#[test]
fn a_file_with_the_name_of_a_host_is_explained_as_a_file() {
    let place = Place::new();
    fs::write(place.project().join("example.org."), "").unwrap();
    let (code, stdout, _) = place.said(&["explain", "example.org."]);
    assert!(code == 0 && stdout.contains("at `/workspace/example.org.`"), "{stdout}");
}

#[test]
fn doctor_lists_every_check_as_data() {
    let place = Place::new();
    let (code, stdout, stderr) = place.said(&["doctor", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code == 0, answer["ready"].as_bool().unwrap(), "{stdout}{stderr}");
    let checks = answer["checks"].as_array().unwrap();
    let mut names: Vec<&str> = Vec::new();
    for check in checks {
        let keys: Vec<&str> = check.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["status", "what", "detail", "fix"]);
        assert!(check["status"] == "ok" || check["fix"].is_string(), "{check}");
        names.push(check["what"].as_str().unwrap());
    }
    names.dedup();
    let expected = [
        "bubblewrap",
        "sandbox",
        "user namespaces",
        "landlock",
        "seccomp",
        "control groups",
        "directory",
        "git",
        "node",
        "npm",
        "docker",
        "nix",
        "containers",
        "surroundings",
        "dead sessions",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_writable_mount_does_not_open_what_is_read_only_in_the_workspace() {
    let place = Place::new();
    fs::create_dir(place.project().join("cache")).unwrap();
    for (source, refused) in [(".", true), ("pier.kdl", true), ("cache", false)] {
        let text = format!("mounts {{ rw \"{source}\" at=\"/opt/x\" }}\n");
        fs::write(place.project().join("pier.kdl"), text).unwrap();
        let (code, _, stderr) = place.said(&["explain", "cache"]);
        assert_eq!(code == 0, !refused, "{source}: {stderr}");
        assert_eq!(stderr.contains("is not mounted writable"), refused, "{source}: {stderr}");
    }
}

#[test]
fn a_service_on_this_machine_needs_its_whole_network() {
    let place = Place::new();
    for url in ["http://127.0.0.1:4000", "http://localhost:4000/v1", "http://[::1]:1"] {
        let (file, said) =
            place.starter(&["--stdout"], &[("ANTHROPIC_API_KEY", "x"), ("ANTHROPIC_BASE_URL", url)]);
        assert!(file.contains("\nnetwork host\n") && file.contains("pass \"ANTHROPIC_API_KEY\""), "{file}");
        assert!(said.contains("whole network, and the value of `ANTHROPIC_API_KEY` enters"), "{said}");
    }
}

#[test]
fn a_key_stays_outside_as_far_as_its_base_url_lets_it() {
    let place = Place::new();
    let secret = "secret ANTHROPIC_API_KEY host=\"llm.corp.example\"";
    let passed = "pass \"ANTHROPIC_API_KEY\" \"ANTHROPIC_BASE_URL\"";
    for (url, has, has_not) in [
        ("https://LLM.corp.example/v1", &[secret, "allow \"llm.corp.example\"\n"][..], "port="),
        ("https://llm.corp.example:8443", &[secret, "allow \"llm.corp.example\" port=8443\n"], passed),
        ("http://llm.corp.example", &[passed, "without TLS"], "\n    secret"),
        (
            "http://10.1.2.3:4000",
            &[passed, "without TLS", "// allow \"10.1.2.3/32\" port=4000 private=#true\n"],
            "\n    secret",
        ),
        (
            "https://[fd00::1]",
            &[passed, "an address", "// allow \"fd00::1/128\" private=#true\n"],
            "\n    secret",
        ),
        ("nonsense", &[passed, "no URL"], "\n    secret"),
    ] {
        let (file, said) = place.starter(&[], &[("ANTHROPIC_API_KEY", "x"), ("ANTHROPIC_BASE_URL", url)]);
        let written = fs::read_to_string(place.project().join("pier.kdl")).unwrap();
        fs::remove_file(place.project().join("pier.kdl")).unwrap();
        assert!(file.is_empty() && !said.contains("warning"), "{said}");
        assert!(has.iter().all(|text| written.contains(text)), "{url}: {written}");
        assert!(
            !written.contains(has_not) && written.contains("\"ANTHROPIC_BASE_URL\"\n"),
            "{url}: {written}"
        );
        let uncommented = written.replace("// allow \"", "allow \"");
        fs::write(place.project().join("pier.kdl"), uncommented).unwrap();
        let (code, _, said) = place.said(&["validate"]);
        assert_eq!(code, 0, "{url}: {said}");
        fs::remove_file(place.project().join("pier.kdl")).unwrap();
    }
}

#[test]
fn the_agent_that_is_installed_is_the_one_of_the_key() {
    let place = Place::new();
    for (key, agent, host) in [
        ("OPENAI_API_KEY", "codex", "api.openai.com"),
        ("GEMINI_API_KEY", "gemini-cli", "generativelanguage.googleapis.com"),
    ] {
        let (file, _) = place.starter(&["--stdout"], &[(key, "x")]);
        assert!(file.contains(&format!("\nagent {agent} default=#true {{\n    version \"")), "{file}");
        assert!(file.contains(&format!("\n    secret {key} host=\"{host}\"")), "{file}");
        assert!(!file.contains("No key"), "{file}");
    }
}

#[test]
fn what_an_older_tool_took_and_pier_does_not_is_told() {
    let place = Place::new();
    let set = [
        ("PI_BWRAP_PASS_ENV", "FOO BAR;BAZ"),
        ("PI_BWRAP_NETT", "1"),
        ("PI_BWRAP_PROJECT_ROOT", "/x"),
        ("PI_BWRAP_STATE_DIR", "/srv/a\u{1b}[31m\u{7}\u{202e}"),
        ("PI_BWRAP_HOST_RO_PATHS", "/a:/b"),
    ];
    let (_, said) = place.starter(&["--from-env"], &set);
    let file = fs::read_to_string(place.project().join("pier.kdl")).unwrap();
    assert!(
        said.contains("`BAR;BAZ`")
            && said.contains("`PI_BWRAP_NETT`")
            && said.contains("where pier is called"),
        "{said}"
    );
    assert!(said.contains("did you mean `PI_BWRAP_NET`?"), "{said}");
    assert!(file.contains("pass FOO\n") && !file.contains("    pass FOO BAR"), "{file}");
    assert!(file.contains("state \"/srv/a\\u{1b}[31m\\u{7}\\u{202e}\""), "{file}");
    assert!(file.chars().all(|c| c == '\n' || !c.is_control()) && !file.contains('\u{202e}'), "{file:?}");
    assert_eq!(file.matches("RO_PATHS").count(), 1, "{file}");
    assert!(place.pier(&["validate"]).status.success());
}

#[test]
fn a_runtime_of_nix_is_written_with_its_flake() {
    let place = Place::new();
    let set = [
        ("PI_ENV_RUNTIME", "nix"),
        ("PI_ENV_FLAKE", "."),
        ("PI_ENV_NIX_DEVSHELL", "ci"),
        ("PI_BWRAP_HOST_EXTRA_PATH", "/opt"),
        ("PI_BWRAP_BWRAP", "/usr/bin/bwrap"),
    ];
    let (file, said) = place.starter(&["--stdout", "--from-env"], &set);
    assert!(file.contains("runtime nix {\n    flake .\n    shell ci\n}\n"), "{file}");
    assert!(file.contains("//   PI_ENV_RUNTIME=nix PI_ENV_FLAKE=. PI_ENV_NIX_DEVSHELL=ci\n"), "{file}");
    assert!(said.contains("HOST_EXTRA_PATH=/opt` is left out") && said.contains("`PIER_BWRAP`"), "{said}");
}

#[test]
fn without_a_variable_the_settings_of_an_older_tool_are_its_own() {
    let place = Place::new();
    let version = "    version \"0.74.2\"\n";
    let (file, said) = place.starter(&["--stdout", "--from-env"], &[]);
    assert!(said.is_empty() && !file.contains("of:") && file.contains(version), "{file}{said}");
    fs::write(place.top.path().join("bin/pi"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(place.top.path().join("bin/pi"), PermissionsExt::from_mode(0o755)).unwrap();
    let (file, _) = place.starter(&["--stdout", "--from-env"], &[]);
    assert!(!file.contains(version) && file.contains("    // version \"0.74.2\"\n    tools "), "{file}");
}

#[test]
fn the_variables_of_an_older_tool_become_a_file() {
    let place = Place::new();
    let written = Command::new(env!("CARGO_BIN_EXE_pier"))
        .args(["init", "--from-env"])
        .current_dir(place.project())
        .env_clear()
        .env("HOME", place.top.path().join("home"))
        .env("ANTHROPIC_API_KEY", "x")
        .env("PI_BWRAP_NET", "true")
        .env("PI_ENV_BWRAP_AUTH_SYNC", "missing")
        .env("PI_BWRAP_STATE_DIR", "/srv/state")
        .env("PI_BWRAP_PASS_ENV", "EDITOR,LANG")
        .output()
        .unwrap();
    let said = String::from_utf8(written.stderr).unwrap();
    assert!(written.status.success() && said.contains("`1` turns it on"), "{said}");
    let file = fs::read_to_string(place.project().join("pier.kdl")).unwrap();
    assert_data_eq!(
        file,
        str![[r#"
// What coding agents may see, touch, reach and spend in this project; `pier schema` lists every setting.
// Made by `pier init --from-env` of:
//   PI_BWRAP_STATE_DIR=/srv/state
//   PI_BWRAP_PASS_ENV=EDITOR,LANG
//   PI_BWRAP_NET=true
//   PI_ENV_BWRAP_AUTH_SYNC=missing

home {
    state "/srv/state"
    import git-config sync=always
}
env {
    pass EDITOR LANG
    pass ANTHROPIC_API_KEY
}
network none
agent pi default=#true {
    version "0.74.2"
    tools read bash edit write grep find ls
    import auth sync=missing
    import prompts skills roles sync=always
    import settings extensions sync=always
    import sessions sync=always
}

"#]]
    );
    // As a file, it says what the variables say.
    assert!(place.pier(&["validate"]).status.success());
}
