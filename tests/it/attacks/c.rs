//! Section C: mounts, symbolic links, races of paths.

use std::ffi::CString;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::AT_FDCWD;

use super::case::{Action, CASE, Case, ONE, OWNER, Open, Verdict};
use super::scene::{Scene, no_canary, no_claim, print};
use super::stage::Stage;
use crate::sandbox::too_long;

macro_rules! mount {
    ($id:literal, $tries:literal, $($word:literal),+) => {
        Case { id: $id, tries: $tries, action: Action::Probe(&[$($word),+]), open: Open::Namespace, ..CASE }
    };
}

pub const CASES: &[Case] = &[
    Case {
        id: "C2",
        tries: "symbolic links to the host's root",
        action: Action::Script(
            "ln -s / r; cat r$HOST_HOME/.ssh/id_ed25519; ln -s /proc/1/root x; cat x$HOST_HOME/.ssh/id_ed25519
            ln -s /proc/self/root/.. y; cat y$HOST_HOME/.ssh/id_ed25519; ln -s ../home h; cat h/.ssh/id_ed25519
            ln -s /proc/1/cwd z; cat z$HOST_HOME/.ssh/id_ed25519; rm -f r x y h z",
            no_canary,
        ),
        ..CASE
    },
    Case {
        id: "C2.home",
        tries: "a link in the kept home where pier writes at the next start",
        config: "home { import \"git-config\" sync=\"always\"; }\n",
        action: Action::Steps(link_in_home),
        columns: OWNER,
        ..CASE
    },
    Case {
        id: "C3",
        tries: "a mount source that is swapped for a link while sessions start",
        action: Action::Steps(swapped_source),
        columns: ONE,
        ..CASE
    },
    Case {
        id: "C4",
        tries: "protected files and their directories by rename, removal and replacement",
        prepare: |world| {
            world.write_project(".git/hooks/keep", "");
            world.write_project(".vscode/settings.json", "{}\n");
            world.write_project(".husky/pre-commit", "true\n");
        },
        action: Action::Script(
            "try() { \"$@\" 2>/dev/null && echo \"did: $*\"; }
            try mv .vscode v2; try mv .husky h2; try rm -rf .vscode; try mv pier.kdl p2; try rm -f pier.kdl
            try ln -f src/main.c pier.kdl; try mv src/main.c pier.kdl; try rmdir .git/hooks; try mv .git g2
            try rm -rf .git; cd /; try mv $W ${W}2; try rmdir $W",
            pinned,
        ),
        ..CASE
    },
    mount!("C5.remount", "writable again: `/usr`", "remount-rw", "/usr"),
    mount!("C5.setattr", "writable again by the newer call: `/usr`", "mount-setattr", "/usr"),
    mount!("C5.umount", "what is below a mount: `/usr`", "umount", "/usr"),
    mount!("C5.mount", "a new file system", "mount"),
    mount!("C5.bind", "a second place of `/usr`", "mount-bind", "/usr", "/tmp"),
    mount!("C5.open-tree", "a tree without a place", "open-tree"),
    mount!("C5.move-mount", "another place of `/usr`", "move-mount"),
    mount!("C5.fsopen", "a file system without a place", "fsopen"),
    mount!("C5.fspick", "another configuration of `/tmp`", "fspick"),
    mount!("C5.pivot", "another root", "pivot-root"),
    Case {
        id: "C6",
        tries: "hard links to files outside",
        action: Action::Script(
            "for f in /usr/bin/env /etc/hostname $W/../other/file $HOST_W/../other/file $HOST_HOME/.ssh/id_ed25519; do
                ln $f link-$RANDOM$RANDOM; done; cat link-*; rm -f link-*",
            no_canary,
        ),
        ..CASE
    },
    Case {
        id: "C7",
        tries: "out through an open directory",
        action: Action::Script(
            "exec 5< /usr; cat /proc/self/fd/5/..$HOST_HOME/.ssh/id_ed25519
            cd /proc/self/fd/5 && cat ..$HOST_HOME/.ssh/id_ed25519; cd $W; exec 6< .
            cat /proc/self/fd/6/../home/.ssh/id_ed25519; cd /proc/self/cwd/..; cat home/.ssh/id_ed25519
            cat ../../../../../../../..$HOST_HOME/.ssh/id_ed25519",
            no_canary,
        ),
        ..CASE
    },
    Case {
        id: "C7.chroot",
        tries: "another root with a directory kept open",
        action: Action::Probe(&["chroot"]),
        open: Open::Namespace,
        ..CASE
    },
    Case {
        id: "C7.openat2",
        tries: "a way out by openat2",
        action: Action::Script(
            "for p in ../home/.ssh/id_ed25519 $HOST_HOME/.ssh/id_ed25519; do
                $PROBE openat2 $p >/dev/null || echo \"OPEN: $p\"; done",
            no_claim,
        ),
        columns: OWNER,
        ..CASE
    },
    Case {
        id: "C8",
        tries: "odd spellings of paths in `pier.kdl`",
        action: Action::Steps(spellings),
        columns: ONE,
        open: Open::Not("no sandbox reads the file: each spelling is what a refusal is about"),
        ..CASE
    },
    Case {
        id: "C8.links",
        tries: "a mount whose source is a planted link",
        action: Action::Steps(linked_source),
        columns: ONE,
        ..CASE
    },
    Case {
        id: "C9",
        tries: "a project that holds the home or pier's own state",
        action: Action::Steps(too_wide),
        columns: OWNER,
        open: Open::Not("no sandbox: there is no project to refuse"),
        ..CASE
    },
    Case {
        id: "C10",
        tries: "a project behind a link, and one inside another",
        action: Action::Steps(odd_places),
        columns: OWNER,
        ..CASE
    },
];

fn pinned(scene: &Scene<'_>) -> Verdict {
    let root = scene.stage.world.project();
    let text = |name: &str| std::fs::read_to_string(root.join(name)).ok();
    let expected = [("pier.kdl", ""), (".vscode/settings.json", "{}\n"), (".husky/pre-commit", "true\n")];
    let mut gone: Vec<&str> = expected
        .iter()
        .filter(|(name, was)| text(name).as_deref() != Some(was))
        .map(|(name, _)| *name)
        .collect();
    gone.extend([".git/hooks/keep", ".git/HEAD"].iter().filter(|name| !root.join(name).exists()));
    scene
        .did_run()
        .and(|| Verdict::open_if(!gone.is_empty(), format!("moved or changed: {}", gone.join(" "))))
}

/// A home outlives its session: what it links to must not be written at the next start.
fn link_in_home(stage: &Stage) -> Verdict {
    let world = &stage.world;
    world.write("home/.gitconfig", "[user]\n\tname = Owner\n");
    world.give();
    let target = world.base().join("other/file");
    let before = print(&target);
    let trusted = stage.sandboxed().then(|| stage.pier(&["trust"]));
    let link = format!("rm -rf ~/.gitconfig; ln -s {} ~/.gitconfig", target.display());
    let first = stage.bash(&link);
    // Without a sandbox the file is written by whoever follows the link.
    let second =
        stage.bash("[ -n \"$OPEN\" ] && echo x >> ~/.gitconfig; ls -la ~/.gitconfig; cat ~/.gitconfig");
    let changed = print(&target) != before;
    let ran = first.out.contains("@ran");
    Verdict::open_if(!ran, format!("did not run: {trusted:?} {}", first.short()))
        .and(|| Verdict::open_if(changed, "the file behind the link was written"))
        .and(|| no_canary(&Scene { stage, ran: second }))
}

/// Paths that must be refused or mean the very place that they name.
fn spellings(stage: &Stage) -> Verdict {
    let world = &stage.world;
    let base = world.base().display().to_string();
    let refused = [
        "mounts { ro \"../home/.ssh\" at=\"/opt/x\"; }".to_owned(),
        "mounts { ro \"../other\"; }".to_owned(),
        format!("mounts {{ ro \"{base}/project/../home/.ssh\" at=\"/opt/x\"; }}"),
        "mounts { ro \"~root\" at=\"/opt/x\"; }".to_owned(),
        "mounts { ro \"~nobody/.ssh\" at=\"/opt/x\"; }".to_owned(),
        "mounts { ro \"/proc/self/cwd/../home\" at=\"/opt/x\"; }".to_owned(),
        "mounts { ro \"/proc/self/root\" at=\"/opt/x\"; }".to_owned(),
        format!("mounts {{ ro \"//{base}//home/./.ssh/\" at=\"/opt/x\"; }}"),
        "mounts { ro \"/x\\u{0}/y\" at=\"/opt/x\"; }".to_owned(),
        "mounts { ro \"/usr\" at=\"/workspace/../etc\"; }".to_owned(),
        "mounts { ro \"/usr\" at=\"/proc\"; }".to_owned(),
        "mounts { ro \"/usr\" at=\"/.pier\"; }".to_owned(),
        "mounts { rw \"~\" at=\"/opt/x\"; }".to_owned(),
        "mounts { rw \"/\" at=\"/opt/x\"; }".to_owned(),
        "workspace { readonly \"../other/file\"; }".to_owned(),
    ];
    let mut wrong = Vec::new();
    for text in refused {
        world.write_project("pier.kdl", &text);
        world.give();
        let ran = stage.bash("cat /opt/x/* /opt/x/.ssh/*; true");
        if ran.said("@ran") {
            wrong.push(format!("`{text}` ran"));
        } else if ran.code.is_none_or(|code| ![2, 125].contains(&code)) || ran.said("panicked") {
            wrong.push(format!("`{text}`: {}", ran.short()));
        }
    }
    Verdict::open_if(!wrong.is_empty(), wrong.join("; "))
}

/// A mount of the project's own file whose name is a link by now.
fn linked_source(stage: &Stage) -> Verdict {
    let world = &stage.world;
    world.write_project("pier.kdl", "mounts { ro \"./data\" at=\"/opt/x\"; }");
    std::fs::create_dir(world.project().join("data")).unwrap();
    world.give();
    if stage.sandboxed() {
        let trusted = stage.pier(&["trust"]);
        if trusted.code != Some(0) {
            return Verdict::open(trusted.short());
        }
    }
    std::fs::remove_dir(world.project().join("data")).unwrap();
    symlink(world.home(), world.project().join("data")).unwrap();
    let ran = stage.bash("cat /opt/x/.ssh/id_ed25519; [ -n \"$OPEN\" ] && cat data/.ssh/id_ed25519");
    // That it did not run is as good.
    Verdict::open_if(ran.said(&world.canary), "the file behind the link was shown")
}

/// Not every C library offers the call.
#[expect(unsafe_code, reason = "there is no wrapper")]
fn exchange(one: &Path, other: &Path) {
    use nix::libc;
    let [one, other] = [one, other].map(|path| CString::new(path.as_os_str().as_bytes()).unwrap());
    let (here, how) = (AT_FDCWD.as_raw_fd(), libc::RENAME_EXCHANGE);
    // SAFETY: both paths end with a NUL and outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, other.as_ptr(), how) };
    assert_eq!(done, 0);
}

/// Stops a thread, also where a check panics: its scope would wait for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A directory and a link to the home take each other's place all the time; what a session shows is never the home.
fn swapped_source(stage: &Stage) -> Verdict {
    let world = &stage.world;
    world.write_project("pier.kdl", "mounts { ro \"./data\" at=\"/opt/x\"; }");
    world.write_project("data/.ssh/id_ed25519", "no key\n");
    symlink(world.home(), world.project().join("link")).unwrap();
    world.give();
    if stage.sandboxed() {
        let trusted = stage.pier(&["trust"]);
        if trusted.code != Some(0) {
            return Verdict::open(trusted.short());
        }
    }
    let stop = AtomicBool::new(false);
    let root = world.project();
    let (data, link) = (root.join("data"), root.join("link"));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                exchange(&data, &link);
                // Long enough for a check to see one of them, and short enough for its use to see the other.
                thread::sleep(Duration::from_micros(1500));
            }
        });
        let _stop = Stop(&stop);
        let mut shown = 0;
        let mut ran = 0;
        // Most starts see one of the swaps and are refused; some see none.
        for _ in 0..150 {
            let said = stage.bash("cat /opt/x/.ssh/id_ed25519; [ -n \"$OPEN\" ] && cat data/.ssh/id_ed25519");
            ran += u32::from(said.said("@ran"));
            shown += u32::from(said.said(&world.canary));
            if ran >= 5 {
                break;
            }
        }
        Verdict::open_if(shown > 0, format!("the home was shown in {shown} of {ran} sessions"))
            .and(|| Verdict::open_if(ran == 0, "no session started at all"))
    })
}

fn too_wide(stage: &Stage) -> Verdict {
    let world = &stage.world;
    let mut wrong = Vec::new();
    std::fs::create_dir_all(world.state().join("projects")).unwrap();
    world.give();
    for place in
        [world.home(), world.base().to_owned(), world.home().join(".local"), world.state(), "/".into()]
    {
        let mut command = stage.call_pier(&["exec", "--", "echo", "it runs"]);
        let ran = super::stage::run(command.current_dir(&place));
        if ran.said("it runs") || ran.code == Some(0) {
            wrong.push(format!("`{}` was a project", place.display()));
        }
    }
    Verdict::open_if(!wrong.is_empty(), wrong.join("; "))
}

fn odd_places(stage: &Stage) -> Verdict {
    let world = &stage.world;
    let link = world.base().join("link");
    symlink(world.project(), &link).unwrap();
    world.write_project("inner/.git/HEAD", "ref: refs/heads/main\n");
    for name in ["objects", "refs"] {
        std::fs::create_dir_all(world.project().join("inner/.git").join(name)).unwrap();
    }
    world.give();
    let mut wrong = Vec::new();
    for (place, file) in [(link, "src/main.c"), (world.project().join("inner"), "../src/main.c")] {
        let begin = Instant::now();
        let script = format!("test -e {file} && echo sees it; ls -A ..; cat ../other/file ../../other/file");
        let mut command = stage.command(&["bash", "-c", &script]);
        let ran = super::stage::run(command.current_dir(&place));
        let outer = file.starts_with("..") && ran.said("sees it");
        if ran.said(&world.canary) || (stage.sandboxed() && outer) {
            wrong.push(format!("`{}` shows more than itself", place.display()));
        }
        if too_long(begin.elapsed(), Duration::from_secs(5)) {
            wrong.push(format!("`{}` took {:?}", place.display(), begin.elapsed()));
        }
        if stage.sandboxed() && place.ends_with("link") && !ran.said("sees it") {
            wrong.push(format!("the project behind a link is not there: {}", ran.short()));
        }
    }
    Verdict::open_if(!wrong.is_empty(), wrong.join("; "))
}
