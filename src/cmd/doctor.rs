//! `pier doctor`: what this host can do, what is missing or blocked, and the exact fix for each.

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use serde::Serialize;

use super::owner::{self, RootOwned};
use super::verify::broken_off;
use super::workspaces::stranded::{self, Stranded};
use super::{Global, Outcome, image, project, sessions};
use crate::backend::bwrap::program::{self, Bubblewrap, Feature};
use crate::backend::docker::About;
use crate::backend::doctor::{self, Cgroup, Containers, Host};
use crate::backend::probe;
use crate::backend::sandbox::Program;
use crate::config::Root;
use crate::config::built_in::built_in;
use crate::diag::{Exit, Failure, Sources};
use crate::env::Environment;
use crate::plan::{self, Target};
use crate::session::reaper::{self, Dead, Fate};
use crate::session::spare;
use crate::session::{self, Outcome as Ended};
use crate::sys::kernel::UserNamespace;
use crate::sys::process;
use crate::ui;
use crate::util::text::{escape, escape_lines, print_bytes};

/// Below this, a session's home or an agent's installation may not fit.
const LITTLE_SPACE: u64 = 1 << 30;

/// The oldest Node that the newest agents run on.
const OLDEST_NODE: u32 = 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier doctor\n  pier doctor --json | jq '.checks[] | select(.status != \"ok\")'"
)]
pub struct Doctor {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Answer {
    /// Whether pier can run sandboxes here.
    ready: bool,
    checks: Vec<Check>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    status: Status,
    what: &'static str,
    detail: String,
    /// Commands, or what to do.
    fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Ok,
    Warn,
    Fail,
}

pub fn run(global: &Global, args: &Doctor) -> Outcome {
    let cwd = project::current_directory()?;
    let environment = Environment::of_process()?;
    let root = probe::project_root(&cwd, Root::Git)?;
    let environment = owner::settle(environment, global, &root, RootOwned::Stay)?;
    let host = doctor::look(&environment);
    let trial = host.bubblewrap.as_ref().ok().map(|program| trial(&environment, program));
    let mut checks = checks(&host, trial.as_ref());
    checks.push(dead_sessions(&reaper::clear(&environment.state, usize::MAX, &sessions::slow)));
    let broken_off = broken_off::clear_all(&environment);
    if !broken_off.is_empty() {
        checks.push(ok("verifications", format!("removed what killed ones had left: {}", join(&broken_off))));
    }
    checks.extend(image::clear_looks(&environment).map(|said| ok("images", said)));
    checks.extend(
        stranded::all(&environment)
            .iter()
            .map(Stranded::told)
            .map(|(detail, fix)| warn("workspaces", detail, fix)),
    );
    if let Err(error) = spare::clear_now(&environment.state) {
        tracing::warn!(%error, "what sessions left is not removed");
    }
    let ready = checks.iter().all(|check| check.status != Status::Fail);
    if args.json {
        ui::json(&Answer { ready, checks });
    } else {
        ui::write_out(&render(&checks, ready));
    }
    Ok(if ready { Exit::Done } else { Exit::Failed })
}

/// Runs `true` in a sandbox of an empty project, by the same plan and the same path as every command.
fn trial(environment: &Environment, program: &Bubblewrap) -> Result<(), Failure> {
    let failed = |message: String| Failure::new(Exit::NotSetUp, "session::set-up", message);
    let place = tempfile::Builder::new().prefix("pier-doctor-").tempdir();
    let place = place.map_err(|error| failed(format!("cannot make a temporary directory: {error}")))?;
    let top = Utf8PathBuf::from_path_buf(place.path().to_owned());
    let top = top.map_err(|_| failed("the temporary directory is not UTF-8".into()))?;
    let top = top.canonicalize_utf8().map_err(|error| failed(error.to_string()))?;
    let root = top.join("project");
    crate::util::fs::create_private(&root).map_err(|error| failed(error.to_string()))?;
    let mut environment = environment.clone();
    environment.state = top.join("state");
    let config = built_in();
    let probed = probe::gather(&config, &environment, &root, &root)?;
    let target = Target::Exec { argv: vec!["true".into()] };
    let plan = plan::build(&config, &probed.facts, &target, &Sources::default()).map_err(|problems| {
        let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
        failed(messages.join("; "))
    })?;
    let program = Program::Bubblewrap(program.clone());
    let start = session::Start {
        plan: &plan,
        program: &program,
        secrets: Vec::new(),
        login: None,
        values: &probed.values,
        state: &environment.state,
        notice: &|_| {},
        home: &environment.home,
        side: session::Side::Person(session::Early::start(&program)?),
    };
    match session::run(start)?.outcome? {
        Ended::Ended(process::Ended::Code(0)) => Ok(()),
        ended => Err(failed(format!("`true` did not end well inside: {ended:?}"))),
    }
}

fn render(checks: &[Check], ready: bool) -> String {
    let mut out = String::new();
    for Check { status, what, detail, fix } in checks {
        let word = match status {
            Status::Ok => "ok  ",
            Status::Warn => "warn",
            Status::Fail => "fail",
        };
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "{word}  {what}: {}", escape(detail));
        for (index, line) in fix.iter().flat_map(|fix| fix.lines()).enumerate() {
            let start = if index == 0 { "      help: " } else { "            " };
            let _infallible = writeln!(out, "{start}{}", escape_lines(line));
        }
    }
    out.push_str(if ready {
        "pier can run sandboxes on this host\n"
    } else {
        "pier cannot run sandboxes on this host\n"
    });
    out
}

fn check(status: Status, what: &'static str, detail: impl Into<String>, fix: Option<String>) -> Check {
    Check { status, what, detail: detail.into(), fix }
}

fn ok(what: &'static str, detail: impl Into<String>) -> Check {
    check(Status::Ok, what, detail, None)
}

fn warn(what: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Check {
    check(Status::Warn, what, detail, Some(fix.into()))
}

/// Judges what was found; `trial` is the sandbox that was really made, where there is a bubblewrap.
fn checks(host: &Host, trial: Option<&Result<(), Failure>>) -> Vec<Check> {
    let works = matches!(trial, Some(Ok(())));
    let mut made = vec![bubblewrap(host)];
    made.push(sandbox(host, trial));
    made.extend(user_namespace(host, works));
    made.push(match &host.landlock {
        Ok(version) => ok("landlock", format!("version {version}")),
        Err(error) => warn(
            "landlock",
            format!("not available ({error}); sandboxes stand on namespaces alone"),
            "boot with `landlock` in the `lsm=` list of the kernel command line (kernel 5.13 or newer)",
        ),
    });
    made.push(match &host.seccomp {
        Ok(()) => ok("seccomp", "system call filters are available"),
        Err(error) => {
            warn("seccomp", format!("not available ({error})"), "use a kernel with `CONFIG_SECCOMP_FILTER=y`")
        }
    });
    made.push(cgroup(&host.cgroup));
    made.extend(directories(host));
    made.extend(programs(host));
    made.push(containers(&host.containers));
    made.push(surroundings(host));
    made
}

fn bubblewrap(host: &Host) -> Check {
    const WHAT: &str = "bubblewrap";
    match &host.bubblewrap {
        Ok(Bubblewrap { path, version }) if host.setuid => warn(
            WHAT,
            format!("`{path}` {version} gives root to whoever runs it"),
            format!("`sudo chmod u-s {path}`, where user namespaces work without it"),
        ),
        Ok(found) if !found.has(Feature::DisableUserns) => warn(
            WHAT,
            format!("`{}` {} lacks `--disable-userns`", found.path, found.version),
            "install bubblewrap 0.8.0 or newer",
        ),
        Ok(found) => ok(WHAT, format!("`{}` {}, with `--disable-userns`", found.path, found.version)),
        Err(error) => {
            let fix = match error {
                program::Error::Missing => "sudo apt-get install bubblewrap",
                program::Error::TooOld { .. } => "install a newer bubblewrap",
                program::Error::Refused { .. } | program::Error::Version { .. } => {
                    "sudo apt-get install --reinstall bubblewrap"
                }
            };
            check(Status::Fail, WHAT, error.to_string(), Some(fix.into()))
        }
    }
}

fn sandbox(host: &Host, trial: Option<&Result<(), Failure>>) -> Check {
    const WHAT: &str = "sandbox";
    match trial {
        Some(Ok(())) => ok(WHAT, "a sandbox was made and `true` ran in it"),
        Some(Err(failure)) => {
            let fix = if host.nested {
                "this is a sandbox of pier's, and sandboxes in it are switched off; run pier outside"
            } else if host.container.is_some() {
                "in Docker: `--security-opt seccomp=unconfined --security-opt apparmor=unconfined \
                 --security-opt systempaths=unconfined`"
            } else {
                "fix what the other lines name; when they name nothing, the reason before this is all there is"
            };
            check(Status::Fail, WHAT, format!("none could be made: {failure}"), Some(fix.into()))
        }
        None => check(
            Status::Fail,
            WHAT,
            "not tried, for there is no bubblewrap",
            Some("install bubblewrap first".into()),
        ),
    }
}

/// Says what is wrong with user namespaces; nothing is fatal while bubblewrap itself can make them.
fn user_namespace(host: &Host, works: bool) -> Vec<Check> {
    const WHAT: &str = "user namespaces";
    let status = if works { Status::Warn } else { Status::Fail };
    let mut made = Vec::new();
    let value =
        |wanted: &str| host.sysctls.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
    let set = |name: &str, to: &str| {
        format!("sudo sysctl -w {name}={to}\necho '{name}={to}' | sudo tee /etc/sysctl.d/60-pier.conf")
    };
    if value("user.max_user_namespaces") == Some("0") {
        let fix = set("user.max_user_namespaces", "15000");
        made.push(check(status, WHAT, "`user.max_user_namespaces` is 0", Some(fix)));
    }
    if value("kernel.unprivileged_userns_clone") == Some("0") {
        let fix = set("kernel.unprivileged_userns_clone", "1");
        made.push(check(status, WHAT, "`kernel.unprivileged_userns_clone` is 0", Some(fix)));
    }
    let closed = !matches!(host.user_namespace, Ok(UserNamespace::Works));
    if closed && value("kernel.apparmor_restrict_unprivileged_userns") == Some("1") {
        let path =
            host.bubblewrap.as_ref().map_or(Utf8Path::new(program::PLACES[0]), |found| found.path.as_path());
        if works {
            made.push(ok(WHAT, format!("AppArmor allows them to `{path}`")));
        } else {
            let detail =
                "AppArmor takes their power away: `kernel.apparmor_restrict_unprivileged_userns` is 1";
            made.push(check(status, WHAT, detail, Some(apparmor(path))));
        }
    }
    if !made.is_empty() {
        return made;
    }
    let error = |number: i32| std::io::Error::from_raw_os_error(number);
    vec![match &host.user_namespace {
        Ok(UserNamespace::Works) => ok(WHAT, "a process without privileges can make them"),
        Ok(UserNamespace::Refused(number)) => check(
            status,
            WHAT,
            format!("the kernel refuses them: {}", error(*number)),
            Some(blocked(host).into()),
        ),
        Ok(UserNamespace::Powerless(number)) => check(
            status,
            WHAT,
            format!("they are made without power: {}", error(*number)),
            Some(blocked(host).into()),
        ),
        Err(error) => check(status, WHAT, format!("cannot be tried: {error}"), Some(blocked(host).into())),
    }]
}

fn blocked(host: &Host) -> &'static str {
    if host.nested {
        "run pier outside of pier's sandbox"
    } else if host.container.is_some() {
        "in Docker: `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`"
    } else {
        "a security module or a seccomp filter forbids them; `sudo dmesg | tail` names it"
    }
}

/// Returns the commands that let bubblewrap alone make user namespaces.
fn apparmor(path: &Utf8Path) -> String {
    format!(
        "sudo tee /etc/apparmor.d/bwrap <<'EOF'\nabi <abi/4.0>,\ninclude <tunables/global>\n\n\
         profile bwrap {path} flags=(unconfined) {{\n  userns,\n  include if exists <local/bwrap>\n}}\nEOF\n\
         sudo apparmor_parser -r /etc/apparmor.d/bwrap"
    )
}

fn cgroup(found: &Cgroup) -> Check {
    const WHAT: &str = "control groups";
    match found {
        Cgroup::Two { path, delegated: true, controllers } => {
            ok(WHAT, format!("version 2, delegated at `{path}`: {controllers}"))
        }
        Cgroup::Two { path, .. } => warn(
            WHAT,
            format!("version 2, and `{path}` cannot be written"),
            "for limits that hold: start pier by `systemd-run --user --scope -p Delegate=yes pier up`",
        ),
        Cgroup::One => warn(
            WHAT,
            "version 1 only, which is not handed to users",
            "boot with `systemd.unified_cgroup_hierarchy=1`",
        ),
        Cgroup::None => warn(WHAT, "none is mounted", "mount cgroup2 at `/sys/fs/cgroup`"),
    }
}

fn directories(host: &Host) -> Vec<Check> {
    let directories = host.directories.iter().map(|doctor::Directory { what, path, free }| {
        let detail = |rest: String| format!("{what} `{path}` {rest}");
        match free {
            // The user's configuration is only read.
            Err(error) if *what == "configuration" => {
                ok("directory", detail(format!("is not writable: {error}")))
            }
            Err(error) => check(
                Status::Fail,
                "directory",
                detail(format!("cannot be written: {error}")),
                Some(format!("mkdir -p {path}; sudo chown -R {} {path}", host.uid)),
            ),
            Ok(free) if *free < LITTLE_SPACE => {
                let rest = format!("has {} free", print_bytes(free & !0xf_ffff));
                warn(
                    "directory",
                    detail(rest),
                    "free some space, or set `XDG_STATE_HOME` and `XDG_CACHE_HOME`",
                )
            }
            Ok(free) => ok("directory", detail(format!("is writable, {} GiB free", free >> 30))),
        }
    });
    directories.collect()
}

fn programs(host: &Host) -> Vec<Check> {
    let programs = host.programs.iter().map(|doctor::Program { name, path, version }| {
        let what = *name;
        let Some(path) = path else {
            return match what {
                "git" => warn(what, "not on `PATH`", "sudo apt-get install git"),
                "node" | "npm" => warn(
                    what,
                    "not on `PATH`; pier installs agents with npm, and some run on Node",
                    "sudo apt-get install nodejs npm",
                ),
                _ => ok(what, "not on `PATH`; not needed"),
            };
        };
        let detail = match version {
            Some(version) => format!("`{path}`, {version}"),
            None => format!("`{path}` does not tell its version"),
        };
        let major = version.as_deref().and_then(|text| text.trim_start_matches('v').split('.').next());
        match major.and_then(|major| major.parse::<u32>().ok()) {
            Some(major) if what == "node" && major < OLDEST_NODE => {
                warn(what, detail, format!("install Node {OLDEST_NODE} or newer"))
            }
            _ => ok(what, detail),
        }
    });
    programs.collect()
}

fn join(paths: &[Utf8PathBuf]) -> String {
    paths.iter().map(|path| path.as_str()).collect::<Vec<_>>().join(", ")
}

/// Says what killed sessions had left, which is cleared by now.
fn dead_sessions(dead: &[Dead]) -> Check {
    const WHAT: &str = "dead sessions";
    let names = |wanted: fn(&Fate) -> bool| {
        let chosen = dead.iter().filter(|one| wanted(&one.fate)).map(|one| one.session.as_str());
        chosen.collect::<Vec<_>>().join(", ")
    };
    let cleared = names(|fate| matches!(fate, Fate::Cleared));
    let mut detail =
        if cleared.is_empty() { "none to clear".to_owned() } else { format!("cleared {cleared}") };
    let mut fix = Vec::new();
    for Dead { session, path, fate } in dead {
        match fate {
            Fate::Cleared => {}
            Fate::Kept(why) => {
                detail.push_str(&format!("; kept {session}"));
                fix.push(format!("`{path}` is kept: {why}"));
            }
            Fate::Waits(why) => {
                detail.push_str(&format!("; cannot keep what the agent of {session} did: {why}"));
                fix.push(format!("make room for pier's own files; `{path}` waits for it"));
            }
            Fate::Failed(error) => {
                detail.push_str(&format!("; cannot clear {session}: {error}"));
                fix.push(format!("sudo rm -rf {path}"));
            }
        }
    }
    if fix.is_empty() { ok(WHAT, detail) } else { warn(WHAT, detail, fix.join("\n")) }
}

/// Says what `runtime container` would use. No other runtime needs it, so that its absence is no failure.
fn containers(found: &Containers) -> Check {
    const WHAT: &str = "containers";
    match found {
        Containers::None { socket } => {
            ok(WHAT, format!("no engine: no socket is at `{socket}`; only `runtime container` needs one"))
        }
        Containers::Engine { socket, about } => {
            let About { version, interface, storage, rootless, maps_users } = about;
            let rights = if *rootless { "rootless" } else { "with root's rights" };
            let detail =
                format!("`{socket}`: engine {version}, interface {interface}, storage {storage}, {rights}");
            if !maps_users {
                return ok(WHAT, detail);
            }
            warn(
                WHAT,
                format!("{detail}; it maps users, so that `runtime container` and workspaces refuse it"),
                "let `DOCKER_HOST` name an engine with root's rights and without a mapping of users",
            )
        }
        Containers::Unusable(error) => warn(
            WHAT,
            format!("{error}; only `runtime container` needs an engine"),
            "start it, join the group of its socket, or let `DOCKER_HOST` name the socket of another",
        ),
    }
}

fn surroundings(host: &Host) -> Check {
    const WHAT: &str = "surroundings";
    let Host { kernel, uid, .. } = host;
    let base = format!("Linux {kernel}, user {uid}");
    if host.nested {
        return warn(WHAT, format!("{base}, inside a sandbox of pier's"), "run pier outside of it");
    }
    match &host.container {
        Some(sign) => ok(WHAT, format!("{base}, in a container, as `{sign}` says")),
        None => ok(WHAT, base),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::docker::Error as DockerError;

    fn host() -> Host {
        let version = program::Version { major: 0, minor: 11, patch: 0 };
        Host {
            uid: 1000,
            kernel: "6.8.0".into(),
            user_namespace: Ok(UserNamespace::Works),
            sysctls: Vec::new(),
            bubblewrap: Ok(Bubblewrap { path: "/usr/bin/bwrap".into(), version }),
            setuid: false,
            landlock: Ok(4),
            seccomp: Ok(()),
            cgroup: Cgroup::Two {
                path: "/sys/fs/cgroup".into(),
                delegated: true,
                controllers: "pids".into(),
            },
            containers: Containers::None { socket: "/var/run/docker.sock".into() },
            programs: Vec::new(),
            directories: Vec::new(),
            container: None,
            nested: false,
        }
    }

    type Edit = fn(&mut Host);

    fn worst(host: &Host, trial: Option<&Result<(), Failure>>) -> (Status, String) {
        let made = checks(host, trial);
        let worst = made.iter().max_by_key(|check| check.status).unwrap();
        assert!(made.iter().all(|check| check.status == Status::Ok || check.fix.is_some()));
        let of_worst = made.iter().filter(|check| check.status == worst.status);
        (worst.status, of_worst.filter_map(|check| check.fix.clone()).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn a_complete_host_has_nothing_to_fix() {
        assert_eq!(worst(&host(), Some(&Ok(()))).0, Status::Ok);
    }

    #[test]
    fn each_block_is_answered_with_its_fix() {
        let refused = || Some(Err(Failure::new(Exit::NotSetUp, "bwrap::refused", "no permissions")));
        let cases: [(&str, Edit); 4] = [
            ("sysctl -w user.max_user_namespaces=15000", |host| {
                host.sysctls.push(("user.max_user_namespaces", "0".into()));
            }),
            ("sysctl -w kernel.unprivileged_userns_clone=1", |host| {
                host.sysctls.push(("kernel.unprivileged_userns_clone", "0".into()));
            }),
            ("profile bwrap /usr/bin/bwrap flags=(unconfined) {\n  userns,", |host| {
                host.user_namespace = Ok(UserNamespace::Powerless(1));
                host.sysctls.push(("kernel.apparmor_restrict_unprivileged_userns", "1".into()));
            }),
            ("apt-get install bubblewrap", |host| host.bubblewrap = Err(program::Error::Missing)),
        ];
        for (fix, edit) in cases {
            let mut host = host();
            edit(&mut host);
            let (status, fixes) = worst(&host, refused().as_ref());
            assert_eq!(status, Status::Fail, "{fix}");
            assert!(fixes.contains(fix), "{fix}: {fixes}");
        }
    }

    #[test]
    fn dead_sessions_are_named_with_what_became_of_them() {
        let dead = |session: &str, fate| Dead { session: session.into(), path: "/state/x".into(), fate };
        assert_eq!(dead_sessions(&[]), ok("dead sessions", "none to clear"));
        let cleared = [dead("a", Fate::Cleared), dead("b", Fate::Cleared)];
        assert_eq!(dead_sessions(&cleared), ok("dead sessions", "cleared a, b"));
        let kept = dead_sessions(&[dead("a", Fate::Kept("its commits".into()))]);
        assert_eq!(
            (kept.status, kept.fix.as_deref()),
            (Status::Warn, Some("`/state/x` is kept: its commits"))
        );
        let waits = dead_sessions(&[dead("a", Fate::Waits("no space".into()))]);
        assert!(waits.detail.ends_with("of a did: no space") && waits.status == Status::Warn);
        let failed = Fate::Failed(std::io::ErrorKind::PermissionDenied.into());
        assert_eq!(dead_sessions(&[dead("a", failed)]).fix.as_deref(), Some("sudo rm -rf /state/x"));
    }

    #[test]
    fn an_engine_is_told_by_what_it_says_and_nothing_needs_one() {
        let mut host = host();
        let about = |rootless, maps_users| About {
            version: "29.1.0".into(),
            interface: "1.52".into(),
            storage: "overlay2".into(),
            rootless,
            maps_users,
        };
        let socket = Utf8PathBuf::from("/run/docker.sock");
        for (rootless, mapped, word, status) in [
            (false, false, "overlay2, with root's rights", Status::Ok),
            (true, true, "overlay2, rootless; it maps users", Status::Warn),
            (false, true, "overlay2, with root's rights; it maps users", Status::Warn),
        ] {
            host.containers = Containers::Engine { socket: socket.clone(), about: about(rootless, mapped) };
            let check = containers(&host.containers);
            let says = check.detail.contains(word) && check.detail.contains("interface 1.52");
            assert!(says && check.status == status, "{}", check.detail);
        }
        let error = DockerError::Unreachable { address: "/x".into(), said: "refused".into() };
        host.containers = Containers::Unusable(error);
        assert_eq!(worst(&host, Some(&Ok(()))).0, Status::Warn);
    }

    #[test]
    fn a_profile_for_bubblewrap_alone_is_enough() {
        let mut host = host();
        host.user_namespace = Ok(UserNamespace::Powerless(1));
        host.sysctls.push(("kernel.apparmor_restrict_unprivileged_userns", "1".into()));
        assert_eq!(worst(&host, Some(&Ok(()))).0, Status::Ok);
    }
}
