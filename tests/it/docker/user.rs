//! `runtime container { user … }`: the caller, with the name and the files of a user of the image.

use std::os::unix::fs::MetadataExt as _;

use super::build::Building;
use super::{DEBIAN, can_run, docker, with_engine};

/// Lines of a Dockerfile that make a user with a file that nobody else may read.
pub const MAKE: &str = "RUN useradd --uid 4321 --create-home app && mkdir -m 700 /srv/own && echo his > /srv/own/file \
    && chown -R app:app /srv/own && echo 'toor:x:0:0::/:/bin/sh' >> /etc/passwd";

/// A project on an image that has such a user.
fn project(user: &str) -> Building {
    let project = Building::new("", &[]);
    // By which its images are known. First, so that no two tests share what one of them removes.
    let label = format!("LABEL pier-test.unique={}", project.0.base().display());
    project.0.write("Dockerfile", format!("FROM {DEBIAN}\n{label}\n{MAKE}\n"));
    let text = format!("runtime container {{ build \"Dockerfile\" context=\"image\"; user \"{user}\"; }}\n");
    project.0.write("pier.kdl", text);
    project.trust();
    project
}

#[test]
fn a_user_of_the_image_has_the_callers_numbers() {
    if !can_run() {
        return;
    }
    let project = project("app");
    let exec = |script: &str| with_engine(project.0.call(["exec", "--", "sh", "-c", script])).run().expect(0);
    let said = exec(
        "id -un; id -gn; id -u; cat /srv/own/file; ls -ld /home/app | cut -d' ' -f3; echo $USER $HOME; touch made",
    );
    assert!(said.said().contains("giving what is `app`'s in the image to you"), "{}", said.said());
    let uid = project.0.owner();
    assert_eq!(said.text(), format!("app\napp\n{uid}\nhis\napp\napp /home/pier"));
    let made = fs_err::metadata(project.0.root().join("made")).unwrap();
    assert_eq!(made.uid(), uid);
    // Once, and the plan says so.
    let again = exec("cat /srv/own/file; chown root /srv/own/file 2>/dev/null || echo kept");
    assert!(!again.said().contains("giving"), "{}", again.said());
    assert_eq!(again.text(), "his\nkept");
    let plan = with_engine(project.0.call(["plan"])).run().expect(0);
    assert!(plan.text().contains("who has what is 4321:4321's in the image"), "{}", plan.text());
    // What pier made is pier's to remove, and says what the image said.
    let made: Vec<String> = project.tags().into_iter().filter(|tag| tag.contains(":user-")).collect();
    assert_eq!(made.len(), 1, "{made:?}");
    let listed = with_engine(project.0.call(["cache", "list"])).run().expect(0);
    assert!(listed.text().contains(&made[0]), "{}", listed.text());
    assert_eq!(docker(&["inspect", "--format", "{{.Config.User}}", &made[0]], b""), "0");
}

#[test]
fn a_user_that_the_image_lacks_is_refused_and_so_is_root() {
    if !can_run() {
        return;
    }
    for (user, said) in [("nobody-else", "has no user"), ("toor", "is root")] {
        let project = project(user);
        let refused = with_engine(project.0.call(["exec", "true"])).run().refused(2, "image::user");
        assert!(refused.flat().contains(said), "{}", refused.said());
        assert!(project.tags().iter().all(|tag| !tag.contains(":user-")));
    }
}

#[test]
fn nothing_of_the_image_runs_while_its_files_are_given_away() {
    if !can_run() {
        return;
    }
    let project = project("app");
    // What an engine would run again and again, as root, where nobody forbids it; and files that take their time.
    let many = "RUN mkdir /many && cd /many && seq 20000 | xargs touch && chown -R app /many";
    let check = "HEALTHCHECK --interval=1ms --timeout=5s CMD [\"touch\", \"/checked\"]";
    let label = format!("LABEL pier-test.unique={}", project.0.base().display());
    project.0.write("Dockerfile", format!("FROM {DEBIAN}\n{label}\n{MAKE}\n{many}\n{check}\n"));
    project.trust();
    let script = "ls /checked 2>/dev/null; find /many -maxdepth 1 -user app | wc -l; grep -c . /proc/1/status >/dev/null && echo one";
    let said = with_engine(project.0.call(["exec", "--", "sh", "-c", script])).run().expect(0);
    assert_eq!(said.text(), "20001\none", "{}", said.said());
    // Nothing is left of how it was made.
    let left = docker(&["ps", "--all", "--format", "{{.Names}}", "--filter", "name=pier-user-"], b"");
    assert_eq!(left, "");
}

#[test]
fn an_image_is_made_once_for_all_who_start_at_once() {
    if !can_run() {
        return;
    }
    let project = project("app");
    // Built before, so that all meet at what comes after.
    let with_user = project.0.read("pier.kdl");
    project.0.write("pier.kdl", with_user.replace("user \"app\";", ""));
    project.trust();
    with_engine(project.0.call(["exec", "--", "true"])).run().expect(0);
    project.0.write("pier.kdl", with_user);
    project.trust();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..4)
            .map(|_| {
                let call = with_engine(project.0.call(["exec", "--", "id", "-un"]));
                scope.spawn(move || call.run().expect(0).text())
            })
            .collect();
        for thread in running {
            assert_eq!(thread.join().unwrap(), "app");
        }
    });
    assert_eq!(project.tags().into_iter().filter(|tag| tag.contains(":user-")).count(), 1);
    let own = format!("label=pier-test.unique={}", project.0.base().display());
    let dangling =
        docker(&["images", "--filter", &own, "--filter", "dangling=true", "--format", "{{.ID}}"], b"");
    let dangling: Vec<&str> = dangling.lines().collect();
    // Those of the build alone, which has no tags on its way.
    let labelled = |id: &&&str| {
        docker(&["inspect", "--format", "{{index .Config.Labels \"pier.build\"}}", id], b"")
            .contains(":user-")
    };
    assert_eq!(dangling.iter().filter(labelled).count(), 0);
}
