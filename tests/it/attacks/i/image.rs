//! Section I, images: what one says of itself, which one runs, and what a build or an engine learns of secrets.

use std::time::Duration;

use super::super::case::{Action, Case, ONE, Open, Verdict};
use super::super::stage::{Stage, run};
use super::{CONTAINER, Running, choose, judged, names, offer};
use crate::docker::{BUSYBOX, DEBIAN, Image, address, docker, remove_image, try_docker};
use crate::sandbox::{unique_sleep, within};

pub const CASES: &[Case] = &[
    Case {
        id: "I3",
        tries: "an image with its own first program, user, environment, volume and check of its health",
        action: Action::Steps(hostile),
        open: Open::Container(&[]),
        ..CONTAINER
    },
    Case {
        id: "I6",
        tries: "options and commands in the place of an image's name",
        action: Action::Steps(injected),
        columns: ONE,
        ..CONTAINER
    },
    Case {
        id: "I6.moved",
        tries: "another image under the name of the one that was locked",
        action: Action::Steps(moved),
        ..CONTAINER
    },
    Case {
        id: "I6.volume",
        tries: "a volume of the image's whose name leads into the project",
        action: Action::Steps(volume),
        columns: ONE,
        ..CONTAINER
    },
    Case {
        id: "I8",
        tries: "the caller's secrets in a build, in its history and in the image",
        action: Action::Steps(build),
        columns: ONE,
        ..CONTAINER
    },
    Case {
        id: "I8.engine",
        tries: "the caller's secrets in what the engine knows of a session",
        config: "runtime container { image \"pier-test/debian:1\"; }\nenv { pass \"GITHUB_TOKEN\"; }\n",
        action: Action::Steps(known),
        ..CONTAINER
    },
];

/// Leaves a mark and becomes what it was given.
const EVIL: &str = "#!/bin/sh\ntouch /workspace/entrypoint\nexec \"$@\"\n";

fn hostile(stage: &Stage) -> Verdict {
    let image = Image::with_tools(
        &[("evil", EVIL)],
        &[
            "ENTRYPOINT [\"/evil\"]",
            "CMD [\"/evil\"]",
            "USER root",
            "ENV LD_PRELOAD=/evil.so PIER_SANDBOX=0 HOME=/evil",
            "VOLUME [\"/data\"]",
            "ONBUILD RUN /evil",
            "HEALTHCHECK --interval=10ms CMD touch /workspace/health",
        ],
    );
    choose(stage, &format!("runtime container {{ image \"{}\"; }}\n", image.0));
    let argument = unique_sleep();
    let words = ["sleep", argument.as_str()];
    let command =
        if stage.sandboxed() { stage.command(&words) } else { stage.container(&[], &image.0, &words) };
    let running = Running::start(stage, &argument, command);
    let there = |name: &str| stage.world.project().join(name).exists();
    let read = |id: u64, name: &str| {
        String::from_utf8_lossy(&fs_err::read(format!("/proc/{id}/{name}")).unwrap()).into_owned()
    };
    let own = u64::from(running.process);
    let environment = read(own, "environ");
    let user = read(own, "status").lines().find_map(|line| line.strip_prefix("Uid:\t0\t").map(str::len));
    // A hundred times the interval.
    let checked = within(Duration::from_secs(1), || there("health"));
    let found = [
        ("the image's first program ran", there("entrypoint")),
        (
            "the first process is not pier's",
            !read(running.first(), "cmdline").starts_with("/.pier/init\0__init\0"),
        ),
        ("a library of the image's", environment.contains("LD_PRELOAD=")),
        ("the image says that there is no sandbox", environment.contains("PIER_SANDBOX=0")),
        ("the image's home", environment.contains("HOME=/evil")),
        ("the image's user", user.is_some()),
        ("its check of health ran", checked),
        ("it is checked", running.container["State"].get("Health").is_some_and(|health| !health.is_null())),
        ("a volume of the engine's", running.container["Mounts"].to_string().contains("\"volume\"")),
    ];
    judged(stage, found.len(), &names(&found))
}

/// Each of them makes a file where somebody puts it into a command line of a shell.
const REFERENCES: &[&str] = &[
    "--security-opt=seccomp=unconfined pier-test/debian:1",
    "--network=host --pid=host pier-test/debian:1",
    "-v=/:/host pier-test/debian:1",
    "pier-test/debian:1 touch /workspace/ran;true",
    "$(touch ran)pier-test/debian:1",
    "x;touch ran;true",
];

fn injected(stage: &Stage) -> Verdict {
    let ran = stage.world.project().join("ran");
    let mut found = Vec::new();
    for reference in REFERENCES {
        if stage.sandboxed() {
            offer(stage, &format!("runtime container {{ image \"{reference}\"; }}\n"));
            stage.exec(&["touch", "ran"]);
        } else {
            let (engine, project) = (address().unwrap(), stage.world.project());
            let start = format!("DOCKER_HOST={engine} docker run --rm -v {}:/workspace", project.display());
            stage.host(&["sh", "-c", &format!("{start} {reference} touch /workspace/ran")]);
        }
        if ran.exists() {
            found.push(*reference);
            fs_err::remove_file(&ran).unwrap();
        }
    }
    judged(stage, REFERENCES.len(), &found)
}

/// A name of an image, removed at the end.
struct Name(String);

impl Drop for Name {
    fn drop(&mut self) {
        remove_image(&self.0);
    }
}

fn moved(stage: &Stage) -> Verdict {
    let [one, two] = ["one", "two"]
        .map(|name| Image::with_tools(&[("which", &format!("#!/bin/sh\ntouch /workspace/{name}\n"))], &[]));
    // Nobody listens there.
    let name = Name(format!("127.0.0.1:9/pier-attack-{}:1", stage.world.process()));
    docker(&["tag", &one.0, &name.0], b"");
    choose(stage, &format!("runtime container {{ image \"{}\"; }}\n", name.0));
    let start = |words: &[&str]| {
        if stage.sandboxed() {
            stage.pier(&[&["exec"], words, &["--", "/which"]].concat())
        } else {
            run(&mut stage.container(&[], &name.0, &["/which"]))
        }
    };
    if stage.sandboxed() {
        stage.pier(&["lock", "update"]);
    }
    let first = start(&["--locked"]);
    let there = |name: &str| stage.world.project().join(name).exists();
    if !there("one") {
        return Verdict::open(format!("the locked image did not run: {}", first.short()));
    }
    docker(&["tag", &two.0, &name.0], b"");
    start(&["--locked"]);
    start(&[]);
    Verdict::open_if(there("two"), "what has its name now ran")
}

fn volume(stage: &Stage) -> Verdict {
    let image = Image::with_tools(&[], &["VOLUME [\"/data/../workspace/deep\", \"/../workspace/deeper\"]"]);
    offer(stage, &format!("runtime container {{ image \"{}\"; }}\n", image.0));
    if stage.sandboxed() {
        stage.exec(&["true"]);
    } else {
        run(&mut stage.container(&[], &image.0, &["true"]));
    }
    let there = |name: &str| stage.world.project().join(name).exists();
    let found = [("one from a directory of its own", there("deep")), ("one from the root", there("deeper"))];
    judged(stage, found.len(), &names(&found))
}

/// Images with a label, removed at the end.
struct Labelled(String);

impl Labelled {
    fn all(&self) -> Vec<String> {
        let filter = format!("label={}", self.0);
        let said = try_docker(&["images", "--quiet", "--no-trunc", "--filter", &filter]);
        String::from_utf8_lossy(&said.stdout).lines().map(str::to_owned).collect()
    }
}

impl Drop for Labelled {
    fn drop(&mut self) {
        within(Duration::from_secs(20), || {
            for id in self.all() {
                // The container of the session may still be on its way out.
                try_docker(&["rmi", "--force", &id]);
            }
            self.all().is_empty()
        });
    }
}

fn build(stage: &Stage) -> Verdict {
    let world = &stage.world;
    let built = Labelled(format!("pier-test.unique={}", world.abstract_name));
    let text = format!(
        "FROM {BUSYBOX}\nLABEL {}\nARG GITHUB_TOKEN\nARG AWS_SECRET_ACCESS_KEY\nRUN env >/built; cat /proc/*/environ >>/built; true\n",
        built.0
    );
    world.write_project("Dockerfile", &text);
    world.write_project("image/file", &world.abstract_name);
    choose(
        stage,
        "runtime container { build \"Dockerfile\" context=\"image\"; }\nenv { pass \"GITHUB_TOKEN\" \"AWS_SECRET_ACCESS_KEY\"; }\n",
    );
    let ran = if stage.sandboxed() {
        stage.exec(&["true"])
    } else {
        let arguments = ["--build-arg", "GITHUB_TOKEN", "--build-arg", "AWS_SECRET_ACCESS_KEY"];
        let words = [&["build", "--file", "Dockerfile"], &arguments[..], &["image"]].concat();
        run(&mut stage.client(&words))
    };
    let ids = built.all();
    let Some(id) = ids.first() else {
        return Verdict::open(format!("nothing was built: {}", ran.short()));
    };
    let holds = |words: &[&str]| {
        let said = try_docker(&[words, &[id]].concat());
        assert!(said.status.success(), "{words:?}");
        said.stdout.windows(world.canary.len()).any(|part| part == world.canary.as_bytes())
    };
    let found = [("the history", holds(&["history", "--no-trunc"])), ("the image", holds(&["save"]))];
    judged(stage, found.len(), &names(&found))
}

fn known(stage: &Stage) -> Verdict {
    let argument = unique_sleep();
    let words = ["sleep", argument.as_str()];
    let command = if stage.sandboxed() {
        stage.command(&words)
    } else {
        stage.container(&["--env", "GITHUB_TOKEN"], DEBIAN, &words)
    };
    let running = Running::start(stage, &argument, command);
    let text = running.container.to_string();
    let inside = fs_err::read(format!("/proc/{}/environ", running.process)).unwrap();
    let canary = &stage.world.canary;
    if !String::from_utf8_lossy(&inside).contains(canary) {
        return Verdict::open("the variable did not arrive: nothing is shown");
    }
    let found = [("a secret", text.contains(canary)), ("the command", text.contains(&argument))];
    judged(stage, found.len(), &names(&found))
}
