//! What `pier plan --json` prints is what runs: the arguments that bubblewrap gets, and the mount table inside.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::sandbox::Project;
use crate::stand_in::StandIn;

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn mode(mount: &Value) -> String {
    format!("{:04o}", mount["mode"].as_u64().unwrap())
}

/// The options that a plan stands for, derived from its JSON alone.
fn options(plan: &Value, passed: &BTreeMap<&str, &str>) -> Vec<String> {
    let mut made: Vec<String> = Vec::new();
    let mut push = |words: &[&str]| made.extend(words.iter().map(|word| (*word).to_owned()));
    push(&["--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]);
    if plan["network"]["mode"] != "host" {
        push(&["--unshare-net"]);
    }
    if knows_disable_userns() {
        push(&["--disable-userns"]);
    }
    push(&["--uid", &plan["user"]["uid"].to_string(), "--gid", &plan["user"]["gid"].to_string()]);
    push(&["--cap-drop", "ALL", "--as-pid-1", "--hostname", "pier", "--clearenv"]);
    let mut number = 16;
    for mount in plan["mounts"].as_array().unwrap() {
        let at = text(&mount["at"]);
        match text(&mount["kind"]) {
            "bind" if mount["access"] == "read-only" => push(&["--ro-bind", text(&mount["source"]), at]),
            "bind" => push(&["--bind", text(&mount["source"]), at]),
            "session" => {
                let option = if mount["access"] == "read-only" { "--ro-bind" } else { "--bind" };
                push(&[option, &format!("SESSION/{}", text(&mount["name"])), at]);
            }
            "tmpfs" => {
                push(&["--perms", &mode(mount)]);
                if let Some(size) = mount["size"].as_u64() {
                    push(&["--size", &size.to_string()]);
                }
                push(&["--tmpfs", at]);
            }
            "hidden" if mount["directory"] == true => {
                push(&["--perms", "0555", "--tmpfs", at, "--remount-ro", at]);
            }
            "hidden" => {
                push(&["--perms", "0444", "--ro-bind-data", &number.to_string(), at]);
                number += 1;
            }
            "proc" => push(&["--proc", at]),
            "dev" => push(&["--dev", at]),
            "directory" => push(&["--perms", &mode(mount), "--dir", at]),
            "symlink" => push(&["--symlink", text(&mount["to"]), at]),
            "file" => {
                push(&["--perms", "0444", "--file", &number.to_string(), at]);
                number += 1;
            }
            "seal" => push(&["--remount-ro", at]),
            kind => panic!("what is {kind}?"),
        }
    }
    for variable in plan["environment"].as_array().unwrap() {
        let name = text(&variable["name"]);
        push(&["--setenv", name, variable["value"].as_str().unwrap_or_else(|| passed[name])]);
    }
    push(&["--chdir", text(&plan["command"]["cwd"])]);
    made
}

/// Writes `SESSION` for the directory of the session, whose name is another one each time.
fn without_session(text: &str) -> String {
    let word = |word: &str| match word.split_once("/sessions/") {
        Some((_, rest)) => format!("SESSION{}", rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric())),
        None => word.to_owned(),
    };
    text.split('\n').map(word).collect::<Vec<_>>().join("\n")
}

fn knows_disable_userns() -> bool {
    let output = Command::new("/usr/bin/bwrap").arg("--help").output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains("--disable-userns")
}

/// A mount: where it is, whether it is read-only, and of what kind.
type Row = (String, (bool, String));

/// The mounts that a plan stands for; a seal changes one that is there.
fn expected_table(plan: &Value) -> BTreeMap<String, (bool, String)> {
    let mut table = BTreeMap::from([("/".to_owned(), (false, "tmpfs".to_owned()))]);
    for mount in plan["mounts"].as_array().unwrap() {
        let at = text(&mount["at"]).to_owned();
        let row = match text(&mount["kind"]) {
            "bind" => (mount["access"] == "read-only", text(&mount["source"]).to_owned()),
            "session" => (mount["access"] == "read-only", format!("SESSION/{}", text(&mount["name"]))),
            "tmpfs" | "dev" => (false, "tmpfs".to_owned()),
            "hidden" => (true, "tmpfs".to_owned()),
            "proc" => (false, "proc".to_owned()),
            "seal" => (true, table[&at].1.clone()),
            _ => continue,
        };
        table.insert(at, row);
    }
    table
}

/// The mounts of a `mountinfo`, with the source as it is called on the host where `hosts` finds it there.
fn table_inside(mountinfo: &str, hosts: &[(String, String, String)]) -> BTreeMap<String, (bool, String)> {
    let row = |line: &str| -> Row {
        let (left, right) = line.split_once(" - ").unwrap();
        let left: Vec<&str> = left.split(' ').collect();
        let [device, root, at, options] = [left[2], left[3], left[4], left[5]];
        let kind = right.split(' ').next().unwrap();
        let on_host = hosts.iter().filter_map(|(host_device, host_root, host_at)| {
            let below = root.strip_prefix(host_root.trim_end_matches('/'))?;
            (host_device == device && (below.is_empty() || below.starts_with('/')))
                .then(|| format!("{}{below}", host_at.trim_end_matches('/')))
        });
        let source = on_host.max_by_key(String::len).unwrap_or_else(|| kind.to_owned());
        (at.to_owned(), (options.split(',').any(|option| option == "ro"), source))
    };
    mountinfo.lines().map(row).collect()
}

/// Device, root and place of each mount of the host.
fn mounts_of_the_host() -> Vec<(String, String, String)> {
    let text = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let row = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[2].to_owned(), words[3].to_owned(), words[4].to_owned())
    };
    text.lines().map(row).collect()
}

/// Compares plan, arguments and mount table for one configuration.
fn compare(config: &str) {
    let project = Project::bare();
    project.write_beside("data/file", "read me");
    project.write_beside("out/keep", "");
    project.write_beside("record/keep", "");
    for name in ["sub/keep", ".env", "secrets/one", "deep/down/file"] {
        project.write(name, "");
    }
    project.write("pier.kdl", config.replace("BASE", project.base().to_str().unwrap()));
    let record = project.base().join("record");
    let source = include_str!("plan_is_what_runs/recorder.rs");
    let Some(recorder) = StandIn::compile(source, &record) else { return };
    project.trust();
    let passed = BTreeMap::from([("ONE", "value of one")]);
    let command = ["--", "cat", "/proc/self/mountinfo"];
    let call = |args: &[&str]| {
        let call = project.call(args.iter().chain(&command)).cwd(project.root().join("sub"));
        call.env("ONE", passed["ONE"]).env("PIER_BWRAP", recorder.program()).run().expect(0)
    };
    let plan: Value = serde_json::from_slice(&call(&["plan", "--json"]).stdout).unwrap();
    let ran = call(&["exec"]);

    let read = |name: &str| fs_err::read_to_string(record.join(name)).unwrap();
    let recorded = without_session(&read("options"));
    let recorded: Vec<&str> = recorded.strip_suffix('\n').unwrap().split('\n').collect();
    assert_eq!(recorded, options(&plan, &passed));
    let argv: Vec<&str> = plan["command"]["argv"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(argv, command[1..]);
    let ran_by = read("command");
    let (words, supervisor) = ran_by.rsplit_once('\n').unwrap();
    assert_eq!(words.split('\n').collect::<Vec<_>>(), ["--", "/.pier/init", "__init", "--control"]);
    supervisor.parse::<u32>().unwrap();
    let manifest: Value = serde_json::from_str(&read("manifest")).unwrap();
    assert_eq!(manifest["command"], plan["command"]["argv"]);
    let mut files = 0;
    for mount in plan["mounts"].as_array().unwrap().iter().filter(|mount| mount["kind"] == "file") {
        assert_eq!(read(&format!("file{}", text(&mount["at"]).replace('/', "-"))), text(&mount["content"]));
        files += 1;
    }
    assert!(files > 2);

    let mut inside = table_inside(&ran.text(), &mounts_of_the_host());
    for (_, source) in inside.values_mut() {
        *source = without_session(source);
    }
    let devices =
        ["full", "null", "pts", "random", "shm", "tty", "urandom", "zero"].map(|name| format!("/dev/{name}"));
    let made: Vec<String> =
        inside.extract_if("/dev/".to_owned().., |at, _| at.starts_with("/dev/")).map(|row| row.0).collect();
    assert_eq!(made, devices);
    let shown = call(&["plan"]).text();
    let counts = shown.lines().find(|line| line.starts_with("mounts")).unwrap();
    let counts: Vec<usize> = counts.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!(counts.iter().sum::<usize>(), inside.len() + made.len(), "{shown}");
    assert!(counts[0] <= 25, "{shown}");

    let mut expected = expected_table(&plan);
    expected.remove("/dev/shm");
    assert_eq!(inside, expected);
}

#[test]
fn the_baseline_runs_as_planned() {
    compare("network none\n");
}

#[test]
fn everything_that_a_file_can_grant_runs_as_planned() {
    compare(
        "workspace { hide \".env\" \"secrets/**\"; readonly \"deep/down/file\"; }\nnetwork host\nhome ephemeral\nenv {\n    pass \"ONE\"\n    set TWO=\"2\"\n}\n\
        mounts {\n    ro \"BASE/data\" at=\"/opt/data\"\n    rw \"BASE/out\"\n    tmpfs \"/opt/scratch\" size=\"1MiB\"\n}\n",
    );
}
