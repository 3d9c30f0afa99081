//! The verifier of a task, in the container that the agent worked in.
//!
//! Called as `/.pier/init __judge` by the engine, as root of the container: the case comes on standard input as a line of JSON,
//! and behind it an archive of the tests; what the tests print goes to standard output, and the finding to standard error,
//! with an archive of what they left behind it. What the agent's user may not: write where the
//! rewards are, read the tests, or change either while they run. Called as `__judge UID GID COMMAND …`, it becomes that
//! user and runs the command.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::signal::Signal;
use nix::sys::stat::FileStat;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::walk::{hand_over, walk};
use crate::plan::INIT;
use crate::sys::fd;
use crate::sys::process::{self, Ended, Program};
use crate::util::fs::{read_bounded, remove_tree};
use crate::util::passwd::Account;

/// Where the tests are, and the rewards.
pub const TESTS: &str = "/tests";
pub const REWARDS: &str = "/logs/verifier";

/// The most that a case holds, in bytes.
const MOST_CASE: u64 = 16 << 20;

/// The most that is read of `/etc/passwd`, in bytes.
const MOST_PASSWD: u64 = 4 << 20;

/// How long what the tests have left may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A name or a number of the image, with its group or without; the image's own is root, or whom it says.
    pub user: String,
    /// Over what the image sets.
    pub environment: Vec<(String, String)>,
    pub cwd: Utf8PathBuf,
    pub script: Utf8PathBuf,
    pub seconds: f64,
    /// Whose the workspace is: what root has made there is given to him.
    pub owner: (u32, u32),
    /// What is mounted for writing: what root has made there is given to the owner.
    pub writable: Vec<Utf8PathBuf>,
    /// Leave what still runs: for tests of a service that the agent has started.
    pub keep: bool,
    /// The tests are in the image; none follow. Not said otherwise, for containers of an older version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bundled: bool,
    /// How many bytes of archive follow.
    pub tests: u64,
}

/// What became of the tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Finding {
    Ended { code: u8 },
    TimedOut,
    Failed { why: String },
}

/// What root may do beside the sandbox, by the kernel's numbers: tests install packages and become other users.
/// `CHOWN`, `DAC_OVERRIDE`, `FOWNER`, `FSETID`, `KILL`, `SETGID`, `SETUID`.
const CAPABILITIES: [u8; 7] = [0, 1, 3, 4, 5, 6, 7];

/// Runs the helper; `words` are those after `__judge`.
pub fn main(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    if let Some(uid) = words.next() {
        let number = |word: Option<OsString>| word.and_then(|word| word.to_str()?.parse::<u32>().ok());
        let (Some(uid), Some(gid), Some(program)) = (number(Some(uid)), number(words.next()), words.next())
        else {
            return ExitCode::from(126);
        };
        if process::become_user(uid, gid).is_err() {
            return ExitCode::from(126);
        }
        let error = Command::new(program).args(words).exec();
        return ExitCode::from(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 });
    }
    let finding = judge().unwrap_or_else(|error| Finding::Failed { why: error.to_string() });
    let told = tell(&finding);
    // What the tests said is in the trial now, and no agent's to read.
    let told = told.and_then(|()| match remove_tree(Utf8Path::new(REWARDS)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    });
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says what was found, and what the tests left.
fn tell(finding: &Finding) -> io::Result<()> {
    let mut to = io::BufWriter::new(io::stderr().lock());
    serde_json::to_writer(&mut to, finding)?;
    to.write_all(b"\n")?;
    if Utf8Path::new(REWARDS).is_dir() {
        let mut archive = tar::Builder::new(&mut to);
        archive.follow_symlinks(false);
        archive.append_dir_all("verifier", REWARDS)?;
        archive.finish()?;
    }
    to.flush()
}

fn judge() -> io::Result<Finding> {
    // No test gets back what is given up here.
    process::keep_capabilities(&CAPABILITIES)?;
    process::forbid_dumps()?;
    nix::sys::prctl::set_child_subreaper(true)?;
    let mut text = Vec::new();
    // One line: an engine need not say that there is no more.
    let mut input = io::BufReader::new(io::stdin());
    input.by_ref().take(MOST_CASE).read_until(b'\n', &mut text)?;
    let case: Case = serde_json::from_slice(&text).map_err(io::Error::other)?;
    let finding = on_case(&case, input.take(case.tests));
    // Whatever has happened, nobody finds them later.
    let removed = remove_tree(Utf8Path::new(TESTS));
    let finding = finding?;
    removed?;
    Ok(finding)
}

fn on_case(case: &Case, tests: impl io::Read) -> io::Result<Finding> {
    let passwd = read_bounded(Utf8Path::new("/etc/passwd"), MOST_PASSWD).unwrap_or_default();
    let mut user = Account::find(&case.user, &String::from_utf8_lossy(&passwd))
        .ok_or_else(|| io::Error::other(format!("the image has no user `{}`", case.user)))?;
    // The same user could write the rewards and read the tests.
    let keep = case.keep && user.uid != case.owner.0;
    if !keep {
        end_everything()?;
    }
    require_no_mounts(case.bundled)?;
    let foreign = foreign(&case.writable, case.owner)?;
    let rewards = Utf8Path::new(REWARDS);
    for place in [Some(rewards), (!case.bundled).then_some(Utf8Path::new(TESTS))].into_iter().flatten() {
        match remove_tree(place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(place)?;
    }
    own(rewards, &user, 0o700)?;
    if !case.bundled {
        // Closed before there is anything in it.
        own(Utf8Path::new(TESTS), &user, 0o700)?;
        unpack(tests)?;
    }
    if user.uid == case.owner.0 {
        // What the agent keeps in its home would be read by the programs of the tests.
        user.home = format!("{TESTS}/.home");
        std::fs::create_dir(&user.home)?;
    }
    if user.uid != 0 {
        give(Utf8Path::new(TESTS), &user)?;
    }
    let meta = std::fs::metadata(&case.script)
        .map_err(|error| io::Error::other(format!("`{}` of the image: {error}", case.script)))?;
    std::fs::set_permissions(&case.script, Permissions::from_mode(meta.mode() | 0o555))?;
    let finding = run(case, &user)?;
    // Nobody but the owner runs on: what the tests have run of the agent's may have become somebody else.
    if keep {
        end_all(&|uid| uid != case.owner.0)?;
    } else {
        end_everything()?;
    }
    for place in &case.writable {
        walk(place, &mut |directory, name, meta| {
            if is_own(meta, case.owner) || foreign.contains(&(meta.st_dev, meta.st_ino)) {
                return Ok(());
            }
            // The kernel takes set-user-id bits away with the owner.
            hand_over(directory, name, case.owner)
        })?;
    }
    Ok(finding)
}

/// Ends every process but this one and the first. The kernel kills all of them in one step: one that makes another and
/// ends, again and again, is not missed, as it is by whoever looks at one after the other.
fn end_everything() -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        process::kill_all();
        while process::reap().is_some() {}
        if !is_any(&|_| true)? {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(io::Error::other("what runs in the container does not end"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Refuses places that are mounted, or have something mounted in them: what is there is somebody's own.
fn require_no_mounts(bundled: bool) -> io::Result<()> {
    let mounts = read_bounded(Utf8Path::new("/proc/self/mountinfo"), MOST_CASE)?;
    let mounts = String::from_utf8_lossy(&mounts);
    for place in [Some(REWARDS), (!bundled).then_some(TESTS)].into_iter().flatten() {
        // The fifth field of each line; what is odd in it is written as numbers.
        let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        if points.any(|point| Utf8Path::new(point).starts_with(place)) {
            return Err(io::Error::other(format!(
                "something is mounted at `{place}`, which is the tests' own"
            )));
        }
    }
    Ok(())
}

/// Says whether there is a process whose user is meant, besides this one and the first; those that are gone while they are
/// looked at count.
fn is_any(meant: &dyn Fn(u32) -> bool) -> io::Result<bool> {
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let id = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(id) = id.filter(|id| *id != 1 && id.cast_unsigned() != std::process::id()) else { continue };
        let is_meant = entry.metadata().map_or(true, |meta| meant(meta.uid()));
        if is_meant && !is_zombie(id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Ends every process but this one and the first whose user is meant, until there is none.
fn end_all(meant: &dyn Fn(u32) -> bool) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut any = false;
        for entry in std::fs::read_dir("/proc")? {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            let Some(id) = id.filter(|id| *id != 1 && id.cast_unsigned() != std::process::id()) else {
                continue;
            };
            // One that is gone has perhaps made another.
            let Ok(meta) = entry.metadata() else {
                any = true;
                continue;
            };
            if !meant(meta.uid()) || is_zombie(id) {
                continue;
            }
            any = true;
            // It may have ended by itself.
            let _gone = nix::sys::signal::kill(Pid::from_raw(id), Signal::SIGKILL);
        }
        while process::reap().is_some() {}
        if !any {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(io::Error::other("what runs in the container does not end"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Says whether a process has ended, and only nobody has asked how.
fn is_zombie(id: i32) -> bool {
    let status = read_bounded(Utf8Path::new(&format!("/proc/{id}/stat")), 4096).unwrap_or_default();
    let text = String::from_utf8_lossy(&status);
    let state = text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('Z' | 'X'))
}

fn is_own(meta: &FileStat, owner: (u32, u32)) -> bool {
    (meta.st_uid, meta.st_gid) == owner
}

/// Unpacks the tests, all of which are below one directory.
fn unpack(archive: impl io::Read) -> io::Result<()> {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        entry.set_preserve_permissions(true);
        let path = entry.path()?.into_owned();
        // The directory itself stays as it was made.
        if path.components().count() > 1 {
            entry.unpack_in("/")?;
        }
    }
    Ok(())
}

fn own(path: &Utf8Path, user: &Account, mode: u32) -> io::Result<()> {
    lchown(path, Some(user.uid), Some(user.gid))?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

fn give(path: &Utf8Path, user: &Account) -> io::Result<()> {
    walk(path, &mut |directory, name, _| hand_over(directory, name, (user.uid, user.gid)))
}

/// Returns the files below some directories that belong to somebody else.
fn foreign(places: &[Utf8PathBuf], owner: (u32, u32)) -> io::Result<HashSet<(u64, u64)>> {
    let mut found = HashSet::new();
    for place in places {
        walk(place, &mut |_, _, meta| {
            if !is_own(meta, owner) {
                found.insert((meta.st_dev, meta.st_ino));
            }
            Ok(())
        })?;
    }
    Ok(found)
}

fn run(case: &Case, user: &Account) -> io::Result<Finding> {
    let words = [INIT, "__judge", &user.uid.to_string(), &user.gid.to_string(), case.script.as_str()];
    let argv: Vec<OsString> = words.iter().map(OsString::from).collect();
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let mut set = |name: &str, value: &str| {
        environment.retain(|(known, _)| known != name);
        environment.push((name.into(), value.into()));
    };
    set("HOME", &user.home);
    for (name, value) in &case.environment {
        set(name, value);
    }
    let program = Program::new(&argv, &environment, Some(case.cwd.as_str().into()))?;
    let null = std::fs::File::open("/dev/null")?;
    let output = fd::standard(1)?;
    let leader = process::start(&program, [null.as_fd(), output.as_fd(), output.as_fd()], None)
        .map_err(|error| io::Error::other(format!("the tests cannot be started: {error:?}")))?;
    let end = Instant::now() + Duration::try_from_secs_f64(case.seconds).unwrap_or(Duration::MAX / 4);
    let mut found = None;
    while found.is_none() && Instant::now() < end {
        while let Some((pid, how)) = process::reap() {
            if pid == leader {
                found = Some(how);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    process::signal_group(leader, Signal::SIGKILL as i32);
    Ok(match found {
        Some(Ended::Code(code)) => Finding::Ended { code },
        Some(signal @ Ended::Signal(_)) => Finding::Ended { code: signal.code() },
        None => Finding::TimedOut,
    })
}
