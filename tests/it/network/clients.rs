//! Programs that people use, behind the gateway, with no proxy variable and no setting of theirs.

use std::path::PathBuf;
use std::process::Command;

use super::inside;
use super::servers::Servers;
use crate::attacks::program::{copy, dial};
use crate::sandbox::Project;

pub const HOSTS: &str = "127.0.0.1 localhost\n11.93.7.3 repo.test other.test\n11.93.7.2 allowed.test evil.test\n\
    11.93.7.5 registry.test\nfd93:7::2 six.test closed-six.test\n";

/// The connections of the last session.
pub fn log(project: &Project) -> Vec<serde_json::Value> {
    let log = project.pier(&["net", "log", "--json"]).expect(0).text();
    serde_json::from_str(&log).unwrap()
}

/// Makes a repository that any web server can serve, and returns the directory that it is in.
fn repository(project: &Project) -> PathBuf {
    let base = project.base().join("served");
    let script = "git init -q -b main work && cd work && echo hello > hello.txt && git add . && \
        git -c user.name=a -c user.email=a@example.org commit -q -m one && cd .. && \
        git clone -q --bare work hello.git && git -C hello.git update-server-info";
    fs_err::create_dir(&base).unwrap();
    let status = Command::new("bash").args(["-ec", script]).current_dir(&base).status().unwrap();
    assert!(status.success());
    base
}

#[test]
fn git_clones_from_a_host_that_is_granted_and_from_no_other() {
    let Some(servers) = Servers::start() else { return };
    let project = Project::new("network allowlist { allow repo.test; }\n");
    project.write_beside("bundle.pem", &servers.web.authority);
    *servers.web.files.lock().unwrap() = repository(&project);
    project.trust();
    let clone = |host: &str| {
        let script =
            format!("cd /tmp && git clone -q https://{host}/files/hello.git 2>&1 && cat hello/hello.txt");
        inside(&project, HOSTS, &script)
    };
    assert_eq!(clone("repo.test").expect(0).text(), "hello");
    assert!(servers.asked().iter().any(|asked| asked.line.contains("/files/hello.git/info/refs")));
    assert!(log(&project).iter().all(|one| one["name"] == "repo.test" && one["allowed"] == true));
    let refused = clone("other.test").expect(128).text();
    assert!(refused.contains("403"), "{refused}");
    assert_eq!(servers.asked(), [], "a host that is not granted was asked");
    assert!(log(&project).iter().all(|one| one["name"] == "other.test" && one["allowed"] == false));
    // The proxy is for those that insist.
    assert_eq!(inside(&project, HOSTS, "env | grep -ic _proxy= ; true").expect(0).text(), "0");
}

#[test]
fn a_static_program_reaches_what_is_allowed_by_name() {
    let Some(servers) = Servers::start() else { return };
    let project = Project::new("network allowlist { allow allowed.test; }\n");
    copy(dial(), &project.root().join("dial"));
    project.trust();
    let answer = inside(&project, HOSTS, "./dial allowed.test").expect(0).text();
    assert!(answer.contains("answer of 80"), "{answer}");
    assert_eq!(servers.heard().len(), 1);
    let answer = inside(&project, HOSTS, "./dial evil.test").expect(0).text();
    assert!(answer.contains("403 Forbidden") && answer.contains("no `allow` names it"), "{answer}");
    assert_eq!(servers.heard(), []);
}

#[test]
fn a_host_of_version_6_alone_is_reached_by_clients_of_both() {
    let Some(servers) = Servers::start() else { return };
    if !servers.has_six {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let project =
        Project::new("network allowlist { allow six.test private=#true; allow closed-six.test; }\n");
    project.trust();
    for family in ["-4", "-6"] {
        let answer = inside(&project, HOSTS, &format!("curl -sS {family} http://six.test/")).expect(0).text();
        assert!(answer.contains("answer of 80"), "{family}: {answer}");
        let connections = log(&project);
        assert!(
            matches!(&connections[..], [one] if one["address"] == "fd93:7::2" && one["allowed"] == true),
            "{connections:?}"
        );
        let dialled = connections[0]["dialled"].as_str().unwrap();
        assert_eq!(dialled.contains(':'), family == "-6", "{dialled}");
        assert_eq!(servers.heard().len(), 1);
        let answer =
            inside(&project, HOSTS, &format!("curl -sS {family} http://closed-six.test/")).expect(0).text();
        assert!(answer.contains("an address that is private"), "{family}: {answer}");
        assert_eq!(servers.heard(), []);
    }
}

/// Makes a package, and a page that pip finds it by, and returns the directory that they are in.
fn packages(project: &Project) -> PathBuf {
    let base = project.base().join("served");
    fs_err::create_dir(&base).unwrap();
    let make = "import zipfile
info = 'hello_pier-1.0.dist-info/'
with zipfile.ZipFile('hello_pier-1.0-py3-none-any.whl', 'w') as wheel:
    wheel.writestr('hello_pier.py', 'print(\\'hello\\')\\n')
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: hello-pier\\nVersion: 1.0\\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(info + 'RECORD', '')
";
    let status = Command::new("/usr/bin/python3").args(["-c", make]).current_dir(&base).status().unwrap();
    assert!(status.success());
    let page = "<a href=\"hello_pier-1.0-py3-none-any.whl\">hello_pier-1.0-py3-none-any.whl</a>";
    fs_err::write(base.join("index.html"), page).unwrap();
    base
}

#[test]
fn pip_installs_from_a_host_that_is_granted_and_from_no_other() {
    let Some(servers) = Servers::start() else { return };
    let project = Project::new("network allowlist { allow repo.test; }\n");
    project.write_beside("bundle.pem", &servers.web.authority);
    *servers.web.files.lock().unwrap() = packages(&project);
    project.trust();
    let install = |host: &str| {
        let script = format!(
            "rm -rf /tmp/there; /usr/bin/python3 -m pip --isolated install -q --no-index --retries 0 --target /tmp/there \
             --find-links https://{host}/files/index.html hello-pier 2>&1 && PYTHONPATH=/tmp/there /usr/bin/python3 -m hello_pier"
        );
        inside(&project, HOSTS, &script)
    };
    let installed = install("repo.test").expect(0).text();
    assert!(installed.ends_with("hello"), "{installed}");
    let asked = servers.asked();
    assert!(asked.iter().any(|asked| asked.line.contains(".whl")), "{asked:?}");
    let refused = install("other.test").expect(1).text();
    assert!(refused.contains("403") || refused.contains("No matching distribution"), "{refused}");
    assert_eq!(servers.asked(), [], "a host that is not granted was asked");
    assert!(log(&project).iter().all(|one| one["name"] == "other.test" && one["allowed"] == false));
}
