//! Errors of the rows below as failures: each with its code, its exit code and its fix, in one place.

use camino::Utf8Path;

use crate::backend::bwrap::program;
use crate::backend::protocol::{LINKED, Refusal};
use crate::backend::{cache, docker, git, install, nix, probe, sandbox, sources};
use crate::diag::{Exit, Failure, Problem, Report};
use crate::session::{self, prepare, shadow, stop, trust, visit};
use crate::util::text::{escape, shell_word};
use crate::{audit, env, lock, prefix, trial, workspace};

/// Returns the message of an error with those of its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    escape(&text)
}

fn failure(exit: Exit, code: &'static str, error: &dyn std::error::Error) -> Failure {
    Failure::new(exit, code, chain(error))
}

impl From<env::Error> for Failure {
    fn from(error: env::Error) -> Self {
        failure(Exit::Usage, "env::directories", &error)
            .help("set `HOME`, and `XDG_*_HOME` where you use them, to absolute paths")
    }
}

impl From<probe::Error> for Failure {
    fn from(error: probe::Error) -> Self {
        let failure = failure(Exit::Usage, "host::probe", &error);
        match error {
            probe::Error::NotUtf8 { .. } => failure.help("move the project to a path in UTF-8"),
            probe::Error::Index { .. } => failure.help("`git status` says what is wrong with it"),
            _ => failure,
        }
    }
}

impl From<install::Error> for Failure {
    fn from(error: install::Error) -> Self {
        let help = error.help();
        let failure = failure(Exit::NotSetUp, "agent::install", &error);
        match help {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

impl From<nix::Error> for Failure {
    fn from(error: nix::Error) -> Self {
        match &error {
            nix::Error::Missing { .. } => failure(Exit::NotSetUp, "nix::missing", &error).help(
                "install Nix (`apt-get install nix-bin`, or https://nixos.org/download), or use `runtime host`",
            ),
            nix::Error::Program { .. } => failure(Exit::NotSetUp, "nix::program", &error)
                .help("`PIER_NIX` names another one; it must belong to root or to you"),
            nix::Error::Input { .. } => failure(Exit::Usage, "nix::input", &error)
                .help("`runtime nix { flake … }` names the directory of a `flake.nix`"),
            // The lines of Nix are escaped one by one.
            nix::Error::Failed { .. } => Failure::new(Exit::NotSetUp, "nix::failed", error.to_string()).help(
                "an evaluation sees `flake.nix`, `flake.lock` and the files that they name, and no build may be \
                 needed to evaluate; `nix flake lock` writes missing locks",
            ),
            nix::Error::TooSlow => failure(Exit::NotSetUp, "nix::failed", &error)
                .help("build the shell by `nix develop` first, then start again"),
            nix::Error::Io { .. } => failure(Exit::NotSetUp, "session::state", &error)
                .help("check the space and the permissions of that directory"),
        }
    }
}

impl From<lock::Error> for Failure {
    fn from(error: lock::Error) -> Self {
        failure(Exit::Usage, "lock::invalid", &error)
            .help("run `pier lock update` to write it anew, or remove the file: then nothing is pinned")
    }
}

impl From<prefix::Error> for Failure {
    fn from(error: prefix::Error) -> Self {
        use prefix::Error;
        match error {
            Error::Relative { .. } => failure(Exit::Usage, "prefix::place", &error)
                .help("give the whole path, such as `--prefix \"$PWD/out\"`"),
            Error::NotDirectory { .. } => failure(Exit::Failed, "prefix::place", &error)
                .help("`--prefix` names the directory that holds `bin` and `share`"),
            Error::Dangling { .. } => failure(Exit::Failed, "prefix::place", &error)
                .help("make that directory, or choose another `--prefix`"),
            Error::NotWritable { .. } => failure(Exit::Failed, "prefix::place", &error)
                .help("choose a prefix of your own, such as `--prefix ~/.local`, or let root do it"),
            Error::Busy { .. } => {
                failure(Exit::Failed, "prefix::busy", &error).help("wait for it to end, then run this again")
            }
            Error::None { .. } => failure(Exit::Failed, "prefix::none", &error)
                .help("`--prefix` names the directory that it was installed into"),
            Error::Manifest { .. } => failure(Exit::Failed, "prefix::manifest", &error).help(
                "use the pier that wrote it; or move the manifest away, and remove by hand the files that it lists",
            ),
            Error::Refused { refused, .. } => {
                let problems = refused.iter().map(|(path, refusal)| in_the_way(path, refusal)).collect();
                let report = Report { problems, ..Report::default() };
                Failure { exit: Exit::Failed, report }
            }
            Error::Io { .. } => failure(Exit::Failed, "prefix::write", &error)
                .help("mend that, then run the same command again: it goes on where this one ended"),
        }
    }
}

fn in_the_way(path: &Utf8Path, refusal: &prefix::Refusal) -> Problem {
    use prefix::Refusal;
    let (what, help) = match refusal {
        Refusal::Edited => (
            "was edited since pier wrote it",
            "keep a copy if you need it, then run this again with `--force`, which drops the edit",
        ),
        Refusal::Foreign => {
            ("is in the way: pier did not write it", "move it away, or choose another `--prefix`")
        }
        Refusal::NotOlder => (
            "is in the way: the manifest of `pi-env` lists it, and it is not what that tool writes",
            "move it away; or run this again with `--force`, which replaces it",
        ),
        Refusal::Link(_) => (
            "is a symbolic link, which pier does not follow there",
            "put a directory in its place, or choose another `--prefix`",
        ),
        Refusal::NotDirectory(_) => {
            ("is in the way: a directory is needed there", "move it away, or choose another `--prefix`")
        }
    };
    Problem::nowhere("prefix::in-the-way", format!("`{}` {what}", escape(path.as_str()))).help(help)
}

impl From<program::Error> for Failure {
    fn from(error: program::Error) -> Self {
        let help = match &error {
            program::Error::Missing => {
                "install it: `apt-get install bubblewrap`, or the package of your distribution"
            }
            program::Error::Refused { .. } => {
                "reinstall the package `bubblewrap`; `pier doctor` shows which file is used"
            }
            program::Error::TooOld { .. } => "install a newer bubblewrap",
            program::Error::Version { .. } => "reinstall the package `bubblewrap`",
        };
        failure(Exit::NotSetUp, "bwrap::program", &error).help(help)
    }
}

/// Returns the code and the fix of what an engine said.
fn of_engine(error: &docker::Error) -> Failure {
    let (code, help) = match error {
        docker::Error::Unreachable { .. } => (
            "docker::engine",
            "start it, or name its socket, as in `DOCKER_HOST=unix:///var/run/docker.sock`; `runtime host` for a project and `pier start --host` for a task need none",
        ),
        docker::Error::NotLocal { .. } => (
            "docker::engine",
            "not available yet: engines of other machines; name a socket, as in `DOCKER_HOST=unix:///var/run/docker.sock`",
        ),
        docker::Error::Context { .. } => (
            "docker::engine",
            "`docker context ls` shows the contexts; `DOCKER_HOST` goes before all of them",
        ),
        docker::Error::NoImage { .. } => ("image::missing", "`pier up` fetches it; `docker pull` does, too"),
        docker::Error::Image { .. } => {
            ("image::missing", "check the reference, the registry and your login (`docker login`)")
        }
        docker::Error::Moved { .. } => (
            "image::moved",
            "`pier lock update` pins the image that the tag means now; read what changed before",
        ),
        docker::Error::Login { .. } => (
            "image::login",
            "`docker login` stores a login; `auths`, `credsStore` and `credHelpers` of Docker's `config.json` are read",
        ),
        docker::Error::Build { .. } => (
            "image::build",
            "nothing ran in the sandbox; mend the Dockerfile or its context, or the space and the network of the engine",
        ),
        docker::Error::OtherUsers => (
            "docker::users",
            "nothing ran; not available yet: such engines; name one that runs with root's rights, as in `DOCKER_HOST=unix:///var/run/docker.sock`",
        ),
        docker::Error::Failed { .. } | docker::Error::Ended => {
            ("docker::failed", "nothing ran; `docker info` and the log of the engine say more")
        }
    };
    match error {
        // The lines of the builder are escaped one by one.
        docker::Error::Build { .. } => Failure::new(Exit::NotSetUp, code, error.to_string()).help(help),
        error => failure(Exit::NotSetUp, code, error).help(help),
    }
}

impl From<docker::Error> for Failure {
    fn from(error: docker::Error) -> Self {
        of_engine(&error)
    }
}

impl From<workspace::Error> for Failure {
    fn from(error: workspace::Error) -> Self {
        if let workspace::Error::Io { path, source } = &error
            && source.kind() == std::io::ErrorKind::PermissionDenied
        {
            let place = escape(error.root().unwrap_or(path).as_str());
            let help = format!(
                "`ls -ld {0} {0}/.pier` says whose they are, and `chmod u+rwx` opens your own",
                shell_word(&place)
            );
            return failure(Exit::Failed, "workspace::files", &error).help(help);
        }
        let (code, help) = match &error {
            workspace::Error::None { .. } | workspace::Error::NoneActive => {
                ("workspace::none", "`pier start -d DIR --image IMAGE` makes one")
            }
            workspace::Error::Several { .. } => ("workspace::none", "go into the one that is meant"),
            workspace::Error::Damaged { .. } => {
                ("workspace::damaged", "repair the file, or remove it and start the workspace anew")
            }
            workspace::Error::Io { .. } => {
                ("workspace::files", "check the space and the permissions of that directory")
            }
        };
        failure(Exit::Failed, code, &error).help(help)
    }
}

impl From<trial::Error> for Failure {
    fn from(error: trial::Error) -> Self {
        use trial::Error;
        let (code, help) = match &error {
            Error::Docker(docker::Error::Failed { .. } | docker::Error::Ended) => (
                "docker::failed",
                "the tests have not come to their end, and no trial is kept; `docker info` and the log of the engine say more",
            ),
            Error::Docker(error) => return of_engine(error),
            Error::TimedOut { .. } => {
                ("trial::verifier", "`timeout_sec` of `[verifier]` says how long they may run")
            }
            Error::Failed { .. } => {
                ("trial::verifier", "look at `[verifier]` of `task.toml`, and at `tests/test.sh`")
            }
            Error::Tests(_) => ("trial::verifier", "look at the directory `tests` of the task"),
            Error::NoProgram { .. } => (
                "trial::reward",
                "add to the image what the tests need, or run them by what it has: `#!/bin/sh`",
            ),
            Error::NoReward | Error::Reward { .. } => (
                "trial::reward",
                "`tests/test.sh` writes a number to `/logs/verifier/reward.txt`, or an object of numbers to `reward.json`",
            ),
            Error::Io { .. } => ("trial::files", "check the space and the permissions of that directory"),
        };
        failure(Exit::Failed, code, &error).help(help)
    }
}

impl From<workspace::skills::Error> for Failure {
    fn from(error: workspace::skills::Error) -> Self {
        use workspace::skills::Error;
        match &error {
            Error::Io { .. } => failure(Exit::Failed, "workspace::files", &error)
                .help("check the space and the permissions of that directory"),
            _ => failure(Exit::Usage, "workspace::skill", &error)
                .help("a skill is a directory with a `SKILL.md`; a bundle has such directories"),
        }
    }
}

impl From<cache::Error> for Failure {
    fn from(error: cache::Error) -> Self {
        match &error {
            cache::Error::Docker(error) => of_engine(error),
            cache::Error::Remove { .. } => failure(Exit::Failed, "cache::remove", &error)
                .help("check the permissions of that directory, then run this again"),
        }
    }
}

impl From<git::Error> for Failure {
    fn from(error: git::Error) -> Self {
        let failure = failure(Exit::Failed, "git::failed", &error);
        match error {
            git::Error::Missing => failure.help("install it: `apt-get install git`"),
            git::Error::NotInside => {
                failure.help("items can be read without it; for all else take an image that has git")
            }
            _ => failure,
        }
    }
}

impl From<shadow::Error> for Failure {
    fn from(error: shadow::Error) -> Self {
        failure(Exit::Failed, "git::failed", &error)
    }
}

impl From<trust::Error> for Failure {
    fn from(error: trust::Error) -> Self {
        failure(Exit::NotSetUp, "trust::store", &error).help("remove the file and run `pier trust` again")
    }
}

impl From<audit::Error> for Failure {
    fn from(error: audit::Error) -> Self {
        failure(Exit::Failed, "audit::file", &error)
    }
}

impl From<stop::Error> for Failure {
    fn from(error: stop::Error) -> Self {
        failure(Exit::Failed, "session::control", &error)
    }
}

impl From<visit::Error> for Failure {
    fn from(error: visit::Error) -> Self {
        match &error {
            visit::Error::NoTerminalHere => failure(Exit::Usage, "session::no-terminal", &error)
                .help("`pier logs` prints what the session has said"),
            visit::Error::NoTerminal { .. } => failure(Exit::Failed, "session::no-terminal", &error)
                .help("`pier logs -f` shows its output; `pier exec --detach -t` gives a command a terminal"),
            visit::Error::TurnedAway { .. } | visit::Error::Attach { .. } => {
                failure(Exit::Failed, "session::control", &error)
            }
        }
    }
}

impl From<session::Error> for Failure {
    fn from(error: session::Error) -> Self {
        match &error {
            session::Error::Refused(Refusal::NotFound) => Failure::new(
                Exit::NotFound,
                "exec::not-found",
                "the command was not found inside the sandbox",
            )
            .help(
                "`pier exec -- ls /usr/bin` shows what is there; `runtime host { path … }` adds a directory",
            ),
            session::Error::Refused(Refusal::CannotRun { error }) => {
                let message = format!("the command cannot be executed inside the sandbox: {}", escape(error));
                Failure::new(Exit::CannotRun, "exec::cannot-run", message)
            }
            session::Error::Refused(Refusal::SetUp { error }) => Failure::new(
                Exit::NotSetUp,
                "session::set-up",
                format!("the command was not started: {}", escape(error)),
            ),
            session::Error::Prepare(prepare::Error::Import { .. }) => {
                failure(Exit::NotSetUp, "session::import", &error)
            }
            session::Error::Prepare(prepare::Error::MountPoint { .. }) => {
                failure(Exit::NotSetUp, "session::state", &error)
                    .help("look at what an agent has put there, and move it away")
            }
            session::Error::Prepare(prepare::Error::State { .. }) => failure(
                Exit::NotSetUp,
                "session::state",
                &error,
            )
            .help(
                "check the space and the permissions of that directory; `home { state … }` names another one",
            ),
            session::Error::Shadow(error @ shadow::Error::Filter { source: git::Error::Missing, .. }) => {
                failure(Exit::NotSetUp, "git::shadow", error).help("install it: `apt-get install git`")
            }
            session::Error::Shadow(error @ shadow::Error::Filter { .. }) => {
                failure(Exit::NotSetUp, "git::shadow", error)
                    .help("nothing ran; `git fsck` says what is wrong with the repository")
            }
            session::Error::Shadow(error) => failure(Exit::NotSetUp, "git::shadow", error)
                .help("`--set workspace.git=readonly` runs without a private git directory"),
            session::Error::Launch(sandbox::Error::Docker(error)) => of_engine(error),
            session::Error::Launch(sandbox::Error::Refused { .. }) => {
                failure(Exit::NotSetUp, "bwrap::refused", &error)
                    .help("`pier doctor` says what this host lacks")
            }
            session::Error::Audit(_) => failure(Exit::NotSetUp, "audit::file", &error).help(
                "check the space and the permissions of that directory; no session runs without its record",
            ),
            session::Error::Launch(sandbox::Error::Source(
                sources::Error::Swapped { .. } | sources::Error::Linked { .. },
            )) => {
                failure(Exit::NotSetUp, "mount::swapped", &error)
                    .help("something changes the project's mounts while pier starts; look at it, then start again")
            }
            session::Error::Launch(sandbox::Error::Interrupted { signal }) => {
                failure(Exit::Child(128 + signal), "workspace::no-answer", &error)
                    .help("nothing ran; `pier stop` ends a container that does not answer, and `pier start` begins again")
            }
            session::Error::Launch(sandbox::Error::Silent) => failure(Exit::NotSetUp, "workspace::no-answer", &error)
                .help("`pier stop` ends a container that does not answer, and `pier start` begins again"),
            session::Error::Launch(sandbox::Error::Frozen { container }) => {
                failure(Exit::NotSetUp, "workspace::paused", &error)
                    .help(format!("`docker unpause {container}` lets it go on"))
            }
            session::Error::Launch(sandbox::Error::NotContained { what }) if what.contains(LINKED) => {
                failure(Exit::NotSetUp, "session::not-contained", &error)
                    .help("nothing ran; name the place that the link leads to, as in `--mounts-json` or `mounts`")
            }
            session::Error::Launch(sandbox::Error::NotContained { .. }) => {
                failure(Exit::NotSetUp, "session::not-contained", &error)
                    .help("nothing ran; `pier doctor` says what this host lacks")
            }
            session::Error::Launch(sandbox::Error::Limit(_)) => failure(Exit::NotSetUp, "limits::not-held", &error)
                .help("`pier doctor` says how to let this host hold limits; without `required` the session starts anyway"),
            session::Error::Launch(sandbox::Error::Tier { .. }) => {
                failure(Exit::NotSetUp, "session::tier", &error)
                    .help("`pier doctor` says which walls this host has; `limits { minimum-tier … }` says how many are enough")
            }
            session::Error::Prepare(prepare::Error::Init { .. })
            | session::Error::Launch(_)
            | session::Error::SetUp { .. } => failure(Exit::NotSetUp, "session::set-up", &error),
        }
    }
}
