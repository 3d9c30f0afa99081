//! Section I, engines: one that is elsewhere, whose files come back, and what a registry hears.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::super::case::{Action, Case, ONE, Verdict};
use super::super::scene::{Scene, files};
use super::super::stage::{Stage, run};
use super::{CONTAINER, choose};
use crate::docker::{DEBIAN, docker, remove_containers_of};

pub const CASES: &[Case] = &[
    Case {
        id: "I5",
        tries: "files of somebody else's in the project",
        action: Action::Script(
            "echo made >made; mkdir -p below/deep; touch below/deep/file; cp made copy; ln -s made link",
            |scene| {
                let world = &scene.stage.world;
                let project = world.project();
                let names = ["made", "below", "below/deep", "below/deep/file", "copy", "link"];
                let foreign = names.iter().find(|name| {
                    project
                        .join(name)
                        .symlink_metadata()
                        .map_or(true, |meta| (meta.uid(), meta.gid()) != (world.uid, world.uid))
                });
                scene
                    .did_run()
                    .and(|| Verdict::open_if(foreign.is_some(), format!("`{}`", foreign.unwrap_or(&""))))
            },
        ),
        ..CONTAINER
    },
    Case {
        id: "I5.remote",
        tries: "an engine of another machine, which has other files",
        action: Action::Steps(remote),
        columns: ONE,
        ..CONTAINER
    },
    Case {
        id: "I5.elsewhere",
        tries: "an engine behind a socket of this machine, which has other files",
        action: Action::Steps(elsewhere),
        columns: ONE,
        ..CONTAINER
    },
    Case {
        id: "I5.rootless",
        tries: "an engine without root's rights, which has other users",
        action: Action::Later(
            "the tests' engine runs as root: one without its rights needs `rootlesskit` and `newuidmap`",
        ),
        columns: ONE,
        ..CONTAINER
    },
    Case {
        id: "I6.copy",
        tries: "files outside of a workspace that is copied, through links that take the place of directories",
        config: "",
        action: Action::Steps(copied),
        columns: ONE,
        ..CONTAINER
    },
    Case {
        id: "I8.registry",
        tries: "logins of other registries, and variables, with a registry that asks for a login",
        action: Action::Steps(registry),
        columns: ONE,
        ..CONTAINER
    },
];

/// Another engine as far as files go: what is here is there by a name of the same length.
#[derive(Clone)]
struct Elsewhere {
    here: PathBuf,
    there: PathBuf,
    copied: Arc<Once>,
}

impl Elsewhere {
    /// Changes the paths in what an engine is asked. Before it makes a container, it gets all files.
    fn change(&self, bytes: &[u8]) -> Vec<u8> {
        let text = |path: &Path| path.to_str().unwrap().as_bytes().to_vec();
        let (here, there) = (text(&self.here), text(&self.there));
        if bytes.windows(18).any(|part| part == b"/containers/create") {
            self.copied.call_once(|| {
                let status = Command::new("cp").arg("-a").args([&self.here, &self.there]).status();
                assert!(status.unwrap().success());
            });
        }
        let mut changed = bytes.to_vec();
        let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&here)).collect();
        for at in places {
            changed[at..at + there.len()].copy_from_slice(&there);
        }
        changed
    }
}

/// The files of the other engine, removed at the end.
struct There(PathBuf);

impl Drop for There {
    fn drop(&mut self) {
        remove_containers_of(&self.0.join("project"));
        // An engine that was asked for nothing has none.
        let _absent = std::fs::remove_dir_all(&self.0);
    }
}

/// Passes a connection on to the tests' engine.
fn pass_on(client: UnixStream, elsewhere: Option<Elsewhere>) {
    let engine = crate::docker::address().unwrap();
    let engine = UnixStream::connect(engine.strip_prefix("unix://").unwrap()).unwrap();
    let (from, to) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
    thread::spawn(move || {
        copy(from, to, |bytes| elsewhere.as_ref().map_or_else(|| bytes.to_vec(), |it| it.change(bytes)));
    });
    thread::spawn(move || copy(engine, client, <[u8]>::to_vec));
}

fn copy(mut from: UnixStream, mut to: UnixStream, change: impl Fn(&[u8]) -> Vec<u8>) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&change(&buffer[..count])).is_err() {
            break;
        }
    }
    // It fails where the other side has gone.
    let _gone = to.shutdown(Shutdown::Write);
}

/// Runs a command that leaves a mark, with this engine.
fn mark(stage: &Stage, address: &str) -> Option<i32> {
    let words = ["touch", "/workspace/ran"];
    let mut command =
        if stage.sandboxed() { stage.command(&words) } else { stage.container(&[], DEBIAN, &words) };
    run(command.env("DOCKER_HOST", address)).code
}

fn remote(stage: &Stage) -> Verdict {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for client in listener.incoming() {
            counted.fetch_add(1, Ordering::Relaxed);
            // Reading, writing and closing is the same for all sockets that carry streams.
            pass_on(UnixStream::from(OwnedFd::from(client.unwrap())), None);
        }
    });
    let codes: Vec<_> =
        ["tcp", "http", "ssh"].map(|kind| mark(stage, &format!("{kind}://127.0.0.1:{port}"))).into();
    let ran = stage.world.project().join("ran").exists();
    Verdict::open_if(count.load(Ordering::Relaxed) != 0, "it was asked")
        .and(|| Verdict::open_if(ran, "it ran"))
        .and(|| Verdict::open_if(codes != [Some(125); 3], format!("{codes:?}")))
}

fn elsewhere(stage: &Stage) -> Verdict {
    let here = stage.world.base().to_owned();
    // Of the same length, so that nothing else of a request changes.
    let there = PathBuf::from(here.to_str().unwrap().replace("pier-attack-", "pier-farther"));
    let there = There(there);
    let place = Elsewhere { here: here.clone(), there: there.0.clone(), copied: Arc::new(Once::new()) };
    let socket = here.join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    stage.world.give();
    let passed = place.clone();
    thread::spawn(move || {
        for client in listener.incoming() {
            pass_on(client.unwrap(), Some(passed.clone()));
        }
    });
    let code = mark(stage, &format!("unix://{}", socket.display()));
    let was_asked = place.copied.is_completed();
    let [ran_here, ran_there] = [&here, &there.0].map(|base| base.join("project/ran").exists());
    Verdict::open_if(!was_asked, "no container was asked for: nothing is shown")
        .and(|| Verdict::open_if(ran_there, "it ran on other files"))
        .and(|| Verdict::open_if(ran_here || code != Some(125), format!("{code:?}")))
}

fn copied(stage: &Stage) -> Verdict {
    let (base, project) = (stage.world.base(), stage.world.project());
    let other = base.join("other");
    let before = files(&other);
    let workspace = project.join("ws");
    stage.world.write("project/ws/d/file", "of the host\n");
    stage.world.give();
    let link = format!("rm -rf d; ln -s {0} d; ln -s {0}/file f; ln -s {0} e", other.display());
    let write =
        "rm -f d e f; mkdir d e; echo evil >d/file; echo evil >d/new; echo evil >e/file; echo evil >f";
    let ran = if stage.sandboxed() {
        let pier = |words: &[&str]| run(stage.call_pier(words).current_dir(&workspace));
        let began = stage.pier(&["start", "-d", "ws", "--image", DEBIAN, "--no-mount", "--force"]);
        assert_eq!(began.code, Some(0), "{}", began.short());
        let mut last = began;
        for script in [link.as_str(), write] {
            last = pier(&["exec", "--", "sh", "-c", &format!("echo @ran; {script}")]);
            pier(&["sync"]);
        }
        pier(&["rm", "--force"]);
        remove_containers_of(&workspace);
        last
    } else {
        // As somebody who copies what has changed.
        let label = crate::docker::label(&project);
        let id =
            docker(&["run", "--detach", "--label", &label, "--workdir", "/app", DEBIAN, "sleep", "600"], b"");
        let inside = |script: &str| {
            docker(&["exec", &id, "sh", "-c", script], b"");
        };
        inside(&link);
        fs_err::remove_dir_all(workspace.join("d")).unwrap();
        let copy = |from: &str, to: &str| {
            run(&mut stage.client(&[
                "cp",
                &format!("{id}:/app/{from}"),
                &format!("{}/{to}", workspace.display()),
            ]))
        };
        copy(".", ".");
        inside(write);
        copy("d/new", "d/new");
        let mut last = copy("d/file", "d/file");
        last.out.push_str("@ran");
        last
    };
    let changed =
        files(&other) != before || fs_err::read_to_string(other.join("file")).unwrap().contains("evil");
    let arrived = ["d/file", "d/new"].iter().all(|name| workspace.join(name).exists());
    let scene = Scene { stage, ran };
    scene
        .did_run()
        .and(|| Verdict::open_if(changed, "a file outside was written"))
        .and(|| Verdict::open_if(!arrived, "nothing was copied: nothing is shown"))
}

/// Notes what it hears, and asks everybody for a login.
fn asking() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&heard);
    let answer = |mut client: TcpStream, noted: &Mutex<Vec<u8>>| {
        let mut buffer = [0; 16 << 10];
        let Ok(count) = client.read(&mut buffer) else { return };
        noted.lock().unwrap().extend_from_slice(&buffer[..count]);
        let text = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        // Who speaks TLS has gone.
        let _gone = client.write_all(text.as_bytes());
    };
    thread::spawn(move || {
        for client in listener.incoming() {
            answer(client.unwrap(), &noted);
        }
    });
    (address, heard)
}

fn registry(stage: &Stage) -> Verdict {
    let (address, heard) = asking();
    let secret = BASE64_STANDARD.encode(format!("u:{}", stage.world.canary));
    let of = if stage.sandboxed() { "127.0.0.1:1" } else { address.as_str() };
    let logins = format!("{{\"auths\":{{\"{of}\":{{\"auth\":\"{secret}\"}}}}}}");
    stage.world.write("home/.docker/config.json", &logins);
    let reference = format!("{address}/x:1");
    choose(
        stage,
        &format!("runtime container {{ image \"{reference}\"; }}\nenv {{ pass \"GITHUB_TOKEN\"; }}\n"),
    );
    let ran =
        if stage.sandboxed() { stage.exec(&["true"]) } else { run(&mut stage.client(&["pull", &reference])) };
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    Verdict::open_if(!heard.contains("GET /v2/"), format!("it was not asked: {}", ran.short())).and(|| {
        Verdict::open_if(heard.contains(&secret) || heard.contains(&stage.world.canary), "a secret was sent")
    })
}
