//! `runtime container { build … }`: what is built, what is asked before, and what is left of a build that fails.

use serde_json::Value;

use super::registry::{Asks, Registry};
use super::{BUSYBOX, Image, can_run, docker, exec, with_engine};
use crate::sandbox::{Call, Output, Project, make_executable};

/// A project with a Dockerfile, not approved; its images are removed at the end.
pub struct Building(pub Project);

impl Building {
    pub fn new(dockerfile: &str, files: &[(&str, &str)]) -> Self {
        let project = Project::new("runtime container { build \"Dockerfile\" context=\"image\"; }\n");
        project.write("Dockerfile", dockerfile);
        // No other test has this context.
        project.write("image/unique", project.base().to_str().unwrap());
        for (path, text) in files {
            project.write(format!("image/{path}"), text);
        }
        Building(project)
    }

    pub fn trust(&self) {
        with_engine(self.0.call(["trust"])).run().expect(0);
    }

    fn exec(&self, command: &[&str]) -> Output {
        exec(&self.0, command)
    }

    /// Puts a `docker` before the real one.
    fn with_client(&self, call: Call, script: &str) -> Call {
        self.0.write_beside("bin/docker", format!("#!/bin/sh\n{script}\n"));
        make_executable(&self.0.base().join("bin/docker"));
        call.env("PATH", format!("{}:/usr/bin:/bin", self.0.base().join("bin").display()))
    }

    /// The tags of images with this context.
    pub fn tags(&self) -> Vec<String> {
        let tags =
            docker(&["images", "--filter", "label=pier.build", "--format", "{{.Repository}}:{{.Tag}}"], b"");
        let own = format!("pier-test.unique={}", self.0.base().display());
        let words = ["images", "--filter", &format!("label={own}"), "--format", "{{.Repository}}:{{.Tag}}"];
        let own = docker(&words, b"");
        tags.lines().filter(|tag| own.lines().any(|own| own == *tag)).map(str::to_owned).collect()
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        for tag in self.tags() {
            docker(&["rmi", &tag], b"");
        }
    }
}

/// A Dockerfile that starts like every one here.
pub fn dockerfile(project: &Building, base: &str, rest: &str) {
    let unique = project.0.base().display();
    project.0.write("Dockerfile", format!("FROM {base}\nLABEL pier-test.unique={unique}\n{rest}\n"));
}

#[test]
fn an_image_is_built_once_for_the_same_files() {
    if !can_run() {
        return;
    }
    let project = Building::new(
        "",
        &[("tool", "#!/bin/sh\necho tool\n"), ("secret", "s"), (".dockerignore", "secret\n")],
    );
    let rest = "COPY . /opt/\nRUN chmod 755 /opt/tool && echo ran > /ran\nENV TOOL=set";
    dockerfile(&project, BUSYBOX, rest);
    let said = project.exec(&["true"]).refused(125, "trust::needed");
    assert!(
        said.flat().contains("run the commands of `Dockerfile` outside of the sandbox"),
        "{}",
        said.said()
    );
    assert_eq!(project.tags(), Vec::<String>::new(), "nothing is built before that");
    project.trust();
    let plan = with_engine(project.0.call(["plan", "--json", "--", "true"])).run();
    assert!(plan.text().contains("is not built on this host yet"), "{}", plan.text());

    let said = project.exec(&["sh", "-c", "/opt/tool; cat /ran; echo $TOOL; ls -A /opt"]).expect(0);
    assert_eq!(said.text(), "tool\nran\nset\n.dockerignore\ntool\nunique");
    assert!(said.said().contains("build: Step 4"), "{}", said.said());
    let first = project.tags();
    assert_eq!(first.len(), 1);
    assert_eq!(project.exec(&["true"]).expect(0).said(), "", "it is there");
    // What is ignored changes nothing.
    project.0.write("image/secret", "other");
    assert_eq!(project.exec(&["true"]).expect(0).said(), "");

    project.0.write("image/tool", "#!/bin/sh\necho other\n");
    project.exec(&["/opt/tool"]).refused(125, "trust::needed");
    project.trust();
    assert_eq!(project.exec(&["/opt/tool"]).expect(0).text(), "other");
    assert_eq!(project.tags().len(), 2);
    let plan: Value =
        serde_json::from_str(&with_engine(project.0.call(["plan", "--json"])).run().expect(0).text())
            .unwrap();
    let reference = plan["root"]["reference"].as_str().or(plan["root"]["image"]["reference"].as_str());
    assert!(project.tags().iter().any(|tag| Some(tag.as_str()) == reference), "{}", plan["root"]);
}

#[test]
fn a_build_that_fails_is_one_error_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    let project = Building::new("", &[]);
    dockerfile(&project, BUSYBOX, "RUN printf 'last \\033[31mwords\\n'; false");
    project.trust();
    let call = with_engine(project.0.call(["exec", "true"]));
    let said = project.with_client(call, "exit 1").run().refused(125, "image::build");
    assert!(said.flat().contains("last \\u{1b}[31mwords"), "{}", said.said());
    assert!(!said.said().contains('\u{1b}'));
    let label = format!("label=pier-test.unique={}", project.0.base().display());
    assert_eq!(docker(&["images", "--all", "--quiet", "--filter", &label], b""), "", "no step of it");
    assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &label], b""), "");
    // One that is no Dockerfile.
    dockerfile(&project, BUSYBOX, "NONSENSE x");
    project.trust();
    project.exec(&["true"]).refused(125, "image::build");
}

#[test]
fn a_client_with_buildkit_builds_what_was_read() {
    if !can_run() {
        return;
    }
    let project = Building::new("", &[("file", "text")]);
    dockerfile(&project, BUSYBOX, "COPY file /file");
    project.trust();
    // The real one with the other builder, for this machine may have no BuildKit.
    let calls = project.0.base().join("calls");
    let script = format!(
        "[ \"$1\" = buildx ] && exit 0\necho \"$DOCKER_BUILDKIT ${{SECRET-none}} $*\" >>{}\nshift 3\n\
        DOCKER_BUILDKIT=0 exec /usr/bin/docker build \"$@\"",
        calls.display()
    );
    let call = || with_engine(project.0.call(["exec", "cat", "/file"])).env("SECRET", "1");
    project.0.write_beside("calls", "");
    assert_eq!(project.with_client(call(), &script).run().expect(0).text(), "text");
    let said = fs_err::read_to_string(&calls).unwrap();
    let tag = &project.tags()[0];
    let words =
        format!("build --progress plain --file .dockerfile.pier --tag {tag} --label pier.build={tag} -");
    assert_eq!(said, format!("1 none {words}\n"));
    assert_eq!(project.with_client(call(), &script).run().expect(0).said(), "");

    dockerfile(&project, BUSYBOX, "COPY file /file2");
    project.trust();
    let script = "[ \"$1\" = buildx ] && exit 0\ncat >/dev/null\necho why >&2\nexit 3";
    let said = project.with_client(call(), script).run().refused(125, "image::build");
    assert!(said.flat().contains("why `docker build` failed: exit status: 3"), "{}", said.said());
}

#[test]
fn what_is_not_in_the_project_is_not_built() {
    for build in ["\"../Dockerfile\"", "\"/Dockerfile\"", "\"~/Dockerfile\"", "\"Dockerfile\" context=\"..\""]
    {
        let project = Project::new(&format!("runtime container {{ build {build}; }}\n"));
        project.pier(&["exec", "true"]).refused(2, "image::build");
    }
    let project = Project::new("runtime container { image \"a\"; build \"Dockerfile\"; }\n");
    project.pier(&["exec", "true"]).refused(2, "image::both");
    let building = Building::new("FROM a\n", &[]);
    let project = &building.0;
    project.write_beside("outside/Dockerfile", "FROM a\n");
    std::os::unix::fs::symlink("/etc/passwd", project.root().join("image/link")).unwrap();
    let said = project.pier(&["exec", "true"]).refused(2, "image::build");
    assert!(said.flat().contains("leads out of the context"), "{}", said.said());
    fs_err::remove_file(project.root().join("image/link")).unwrap();
    fs_err::remove_file(project.root().join("Dockerfile")).unwrap();
    project.pier(&["exec", "true"]).refused(2, "image::build");
    std::os::unix::fs::symlink("../outside/Dockerfile", project.root().join("Dockerfile")).unwrap();
    let said = project.pier(&["exec", "true"]).refused(2, "image::build");
    assert!(said.flat().contains("symbolic link"), "{}", said.said());
}

#[test]
fn what_a_build_builds_on_is_pinned() {
    if !can_run() {
        return;
    }
    let registry = Registry::start(Asks::Nobody);
    let (one, two) =
        (Image::with_tools(&[("version", "1")], &[]), Image::with_tools(&[("version", "2")], &[]));
    registry.push(&one.0, "base:1");
    let project = Building::new("", &[]);
    let base = format!("{}/base:1", registry.address);
    dockerfile(&project, &base, "RUN cp /version /built-on");
    project.trust();
    let locked = || with_engine(project.0.call(["exec", "--locked", "cat", "/built-on"])).run();
    locked().refused(2, "lock::stale");
    with_engine(project.0.call(["lock", "update"])).run().expect(0);
    registry.push(&two.0, "base:1");
    assert_eq!(docker(&["run", "--rm", "--network", "none", &base, "cat", "/version"], b""), "2");
    assert_eq!(locked().expect(0).text(), "1");
    with_engine(project.0.call(["lock", "update"])).run().expect(0);
    assert_eq!(locked().expect(0).text(), "2");
}
