//! One table of checks on both backends: what a plan promises does not depend on what carries it out.

use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::time::Duration;

use crate::docker::{self, DEBIAN};
use crate::sandbox::{Call, Project, host_process, unique_sleep, within};

/// What carries out the plan.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Bubblewrap,
    Container,
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Backend::Bubblewrap => "bubblewrap",
            Backend::Container => "container",
        }
    }

    /// The line that asks for it.
    pub fn runtime(self) -> String {
        match self {
            Backend::Bubblewrap => "runtime host".to_owned(),
            Backend::Container => format!("runtime container {{ image \"{DEBIAN}\"; }}"),
        }
    }

    /// A project on this backend, approved.
    fn project(self, config: &str) -> Project {
        let project = Project::new(&format!("{}\n{config}\n", self.runtime()));
        docker::with_engine(project.call(["trust"])).run().expect(0);
        project
    }
}

/// A call of pier in a project of either kind.
fn call(project: &Project, words: &[&str]) -> Call {
    docker::with_engine(project.call(words))
}

fn bash(project: &Project, script: &str) -> crate::sandbox::Output {
    call(project, &["exec", "--", "bash", "-c", script]).run()
}

/// Each returns what it saw where that is not what it should be.
type Check = fn(Backend) -> Result<(), String>;

fn same(found: &str, wanted: &str) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}")) }
}

fn says(backend: Backend, config: &str, script: &str, wanted: &str) -> Result<(), String> {
    let said = bash(&backend.project(config), script);
    same(&said.text(), wanted).map_err(|found| format!("{found}; {}", String::from_utf8_lossy(&said.stderr)))
}

const TABLE: &[(&str, Check)] = &[
    ("the user is the caller, and has a name", |backend| {
        let project = backend.project("");
        let owner = project.owner();
        same(&bash(&project, "id -u; id -un; echo ~").text(), &format!("{owner}\npier\n/home/pier"))
    }),
    ("files of the project are the caller's", |backend| {
        let project = backend.project("");
        bash(&project, "pwd; mkdir d; echo text > d/file").expect(0);
        let file = project.root().join("d/file");
        let owner = fs_err::metadata(&file).unwrap().uid();
        same(
            &format!("{owner} {}", fs_err::read_to_string(file).unwrap()),
            &format!("{} text\n", project.owner()),
        )
    }),
    ("nothing else can be written", |backend| {
        let script = "for f in /x /usr/x /etc/passwd /etc/hosts /.pier/x /dev/x /proc/sys/kernel/core_pattern /run/../x; do
            (echo x > $f) 2>/dev/null && echo $f; done; echo over";
        says(backend, "", script, "over")
    }),
    ("memory file systems run programs and are empty", |backend| {
        let script =
            "ls -A /tmp; cp /bin/true /tmp/t && /tmp/t && echo ran; mount 2>/dev/null | grep -c ' /tmp ';
            echo x > /dev/shm/x && echo shared";
        says(backend, "", script, "ran\n1\nshared")
    }),
    ("nothing of the host is seen", |backend| {
        let project = backend.project("");
        project.write_beside("home/.ssh/id_ed25519", "key");
        project.write_beside("home/.docker/config.json", "{}");
        let home = project.home();
        let script = format!(
            "cat {0}/.ssh/id_ed25519 ~/.ssh/* 2>/dev/null; ls -A {0} 2>/dev/null; ls -A /sys 2>/dev/null;
            ls /var/run/docker.sock /run/docker.sock 2>/dev/null; echo over",
            home.display()
        );
        same(&bash(&project, &script).text(), "over")
    }),
    ("what is hidden is empty by every road", |backend| {
        let project = backend.project("workspace { hide \".env\" \"secrets/**\"; }");
        project.write(".env", "KEY=1");
        project.write("secrets/deep/key", "KEY=2");
        let script = "cat .env secrets/deep/key 2>/dev/null; cp .env copy 2>/dev/null; cat copy 2>/dev/null;
            (echo x > .env) 2>/dev/null || echo kept";
        same(&bash(&project, script).text(), "kept")?;
        same(&project.read(".env"), "KEY=1")
    }),
    ("protected files stay", |backend| {
        let project = backend.project("");
        let script =
            "(echo x >> pier.kdl) 2>/dev/null || echo kept; mv pier.kdl other 2>/dev/null || echo pinned;
            rm -f pier.kdl 2>/dev/null || echo there";
        same(&bash(&project, script).text(), "kept\npinned\nthere")
    }),
    ("the environment is the plan's", |backend| {
        let project = backend.project("env { pass \"GIVEN\" \"ABSENT\"; set RUST_LOG=\"info\"; }");
        let said = call(
            &project,
            &["exec", "--", "bash", "-c", "echo $GIVEN $RUST_LOG $OTHER $HOME $PIER_SANDBOX $HOSTNAME"],
        )
        .env("GIVEN", "given value")
        .env("OTHER", "secret")
        .run();
        same(&said.text(), "given value info /home/pier 1 pier")
    }),
    ("there is no privilege to gain", |backend| {
        let script =
            "grep -c '^Cap.*:\\s0*$' /proc/self/status; grep NoNewPrivs /proc/self/status | tr -d '\\t';
            grep '^Seccomp:' /proc/self/status | tr -d '\\t'; unshare -U true 2>/dev/null || echo alone;
            chmod u+s /bin/true 2>/dev/null; cp /bin/true t; chmod u+s t 2>/dev/null || echo plain; rm t";
        says(backend, "", script, "5\nNoNewPrivs:1\nSeccomp:2\nalone\nplain")
    }),
    ("processes are the sandbox's own", |backend| {
        let script = "cat /proc/1/comm; ls -d /proc/[0-9]* | wc -l | awk '{ print ($1 < 8) }'";
        says(backend, "", script, "init\n1")
    }),
    ("without a network there is none", |backend| {
        let script = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ';
            (exec 3<>/dev/tcp/198.51.100.1/80) 2>/dev/null || echo unreachable";
        says(backend, "network none", script, "lo\nunreachable")
    }),
    ("an allow list decides by names", |backend| {
        let config = "network allowlist { allow \"api.example.com\"; }";
        let script = "exec 3<>/dev/tcp/other.example.com/80;
            printf 'GET / HTTP/1.1\\r\\nHost: other.example.com\\r\\n\\r\\n' >&3; head -1 <&3 | tr -d '\\r';
            exec 4<>/dev/tcp/203.0.113.9/80; printf 'GET / HTTP/1.1\\r\\nHost: other.example.com\\r\\n\\r\\n' >&4;
            head -1 <&4 | tr -d '\\r'; getent ahostsv4 api.example.com | head -1 | cut -d. -f1-2";
        let project = backend.project(config);
        same(&bash(&project, script).text(), "HTTP/1.1 403 Forbidden\nHTTP/1.1 403 Forbidden\n198.18")?;
        let log = call(&project, &["net", "log"]).run().text();
        if log.matches("refused").count() == 2 { Ok(()) } else { Err(log) }
    }),
    ("a published port is reached", |backend| {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let project = backend.project(&format!("port \"127.0.0.1:{port}\" to=7000"));
        // Debian's smallest programs that listen: perl alone.
        let script = "perl -MIO::Socket::INET -e '$l = IO::Socket::INET->new(LocalAddr => \"127.0.0.1:7000\", Listen => 1);
            $c = $l->accept; print $c \"inside\"'";
        let mut child = call(&project, &["exec", "--", "bash", "-c", script]).start();
        let mut said = String::new();
        within(Duration::from_secs(20), || {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let _early = stream.read_to_string(&mut said);
            said == "inside"
        });
        child.kill().unwrap();
        child.wait().unwrap();
        same(&said, "inside")
    }),
    ("processes are limited", |backend| {
        let script = "for i in $(seq 40); do (sleep 5) & done; echo all";
        let said = bash(&backend.project("limits { pids 24; }"), script);
        let refused = said.said().contains("fork: ");
        if refused { Ok(()) } else { Err(format!("{} {}", said.text(), said.said())) }
    }),
    ("the wall clock ends it", |backend| {
        let said = bash(&backend.project("limits { wall \"1s\"; }"), "sleep 60");
        same(&format!("{:?}", said.code()), "Some(124)")
    }),
    ("mounts are what they are declared as", |backend| {
        let project = Project::new("");
        project.write_beside("given/file", "given\n");
        project.write_beside("kept/file", "kept\n");
        let runtime = match backend {
            Backend::Bubblewrap => "runtime host".to_owned(),
            Backend::Container => format!("runtime container {{ image \"{DEBIAN}\"; }}"),
        };
        let base = project.base().display();
        project.write("pier.kdl", format!(
            "{runtime}\nmounts {{ ro \"{base}/given\" at=\"/opt/given\"; rw \"{base}/kept\" at=\"/opt/kept\"; tmpfs \"/scratch\" size=\"1MiB\"; }}\n"
        ));
        call(&project, &["trust"]).run().expect(0);
        let script = "cat /opt/given/file; (echo x > /opt/given/file) 2>/dev/null || echo read-only;
            echo more >> /opt/kept/file; head -c 3000000 /dev/zero > /scratch/x 2>/dev/null || echo full";
        same(&bash(&project, script).text(), "given\nread-only\nfull")?;
        same(&fs_err::read_to_string(project.base().join("kept/file")).unwrap(), "kept\nmore\n")
    }),
    ("commits come out", |backend| {
        let project = backend.project("");
        let script = "git config user.name A; git config user.email a@example.com; echo x > new; git add new; git commit -qm inside";
        bash(&project, script).expect(0);
        let log = Command::new("git")
            .args(["-c", "safe.directory=*", "log", "--format=%s"])
            .current_dir(project.root())
            .output();
        same(String::from_utf8_lossy(&log.unwrap().stdout).trim(), "inside")
    }),
    ("the exit gate looks", |backend| {
        let project = backend.project("workspace { gate block; }");
        let said = bash(&project, "echo 'evil' > .envrc");
        let told = String::from_utf8_lossy(&said.stderr).contains(".envrc");
        same(&format!("{:?} {told}", said.code()), "Some(1) true")
    }),
    ("exit codes are exact", |backend| {
        let project = backend.project("");
        project.write("data", "no program");
        let code = |words: &[&str]| call(&project, &[&["exec", "--"], words].concat()).run().code();
        let found = [
            code(&["sh", "-c", "exit 37"]),
            code(&["sh", "-c", "kill -9 $$"]),
            code(&["no-such-program"]),
            code(&["./data"]),
        ];
        same(&format!("{found:?}"), "[Some(37), Some(137), Some(127), Some(126)]")
    }),
    ("bytes pass both ways", |backend| {
        let project = backend.project("");
        let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let said = call(&project, &["exec", "--", "cat"]).stdin(bytes.clone()).run();
        if said.stdout == bytes { Ok(()) } else { Err(format!("{} bytes came back", said.stdout.len())) }
    }),
    ("the home is kept, and /tmp is not", |backend| {
        let project = backend.project("");
        bash(&project, "echo kept > ~/file; echo lost > /tmp/file").expect(0);
        same(&bash(&project, "cat ~/file /tmp/file 2>/dev/null").text(), "kept")
    }),
    ("a detached session is listed, read and stopped", |backend| {
        let project = backend.project("");
        let sleep = unique_sleep();
        let script = format!("echo began; sleep {sleep}");
        let session = call(&project, &["exec", "--detach", "--", "bash", "-c", &script]).run().text();
        let listed = call(&project, &["ps"]).run().text().contains(&session);
        let mut log = String::new();
        within(Duration::from_secs(5), || {
            log = call(&project, &["logs", &session]).run().text();
            log == "began"
        });
        call(&project, &["stop", &session]).run().expect(0);
        let gone = within(Duration::from_secs(2), || host_process(&sleep).is_none());
        same(&format!("{listed} {log} {gone}"), "true began true")
    }),
    ("nothing outlives a killed pier", |backend| {
        let project = backend.project("");
        let sleep = unique_sleep();
        let script = format!("sleep {sleep}; true");
        let mut child = call(&project, &["exec", "--", "sh", "-c", &script]).start();
        let ran = within(Duration::from_secs(20), || host_process(&sleep).is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        let gone = within(Duration::from_secs(2), || host_process(&sleep).is_none());
        same(&format!("{ran} {gone}"), "true true")
    }),
];

#[test]
fn both_backends_do_the_same() {
    let mut backends = vec![Backend::Bubblewrap];
    match docker::missing() {
        None => backends.push(Backend::Container),
        Some(why) => println!("skipped on containers: {why}"),
    }
    let mut wrong = Vec::new();
    for (name, check) in TABLE {
        for backend in &backends {
            let found = check(*backend);
            println!("{:10} {:50} {}", backend.name(), name, if found.is_ok() { "held" } else { "not held" });
            wrong.extend(found.err().map(|found| format!("{}: {name}: {found}", backend.name())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
