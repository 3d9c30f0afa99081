//! What a killed git has left in a clone: its locks, and a rebase that nobody finishes.
//!
//! pier's own lock says, while it is held, who holds it, what git does for them, and by its time when that call of git began. Whoever
//! takes the lock and finds that there takes the place of a process that was killed, whose git was killed with it. A lock of git that
//! was made in the time of that call is that git's, unless a git can be seen that may be at work there. Anything else may be a
//! user's, and is left where it is.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::{Duration, Instant, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat, futimens};
use nix::sys::time::TimeSpec;

use crate::session::beneath::Beneath;
use crate::util::fs::{read_at_most, read_bounded};

/// The longest time that one call of git takes, with some for its end.
const CALL: Duration = Duration::from_secs(125);

/// How deep references are looked through, and the most names that are looked at.
const MOST_DEPTH: usize = 12;
const MOST_NAMES: usize = 200_000;

/// How far up a directory of a process is compared.
const MOST_ABOVE: usize = 128;

/// The most that is read of what a process was started with, in bytes.
const MOST_WORDS: u64 = 256 << 10;

/// What git does for whoever holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Anything,
    /// Where it ends in the middle, only `--abort` leads back.
    Rebase,
}

/// What the lock says of one who did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub process: u32,
    /// The namespace of its number.
    namespace: u64,
    pub doing: Doing,
    /// When its last call of git began.
    since: SystemTime,
}

impl Mark {
    /// Reads what somebody has left; `None` where the last one came to its end.
    pub fn read(lock: &File) -> Option<Self> {
        let mut bytes = [0; 64];
        let length = lock.read_at(&mut bytes, 0).ok()?;
        let text = std::str::from_utf8(&bytes[..length]).ok()?;
        let mut words = text.split_whitespace();
        let (process, namespace) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let doing = if words.next()? == "rebase" { Doing::Rebase } else { Doing::Anything };
        Some(Mark { process, namespace, doing, since: lock.metadata().ok()?.modified().ok()? })
    }

    /// Writes who holds the lock, now; always as long, so that it is never written by half.
    pub fn write(lock: &File, doing: Doing) -> io::Result<()> {
        let word = if doing == Doing::Rebase { "rebase" } else { "git" };
        let text = format!("{:>10} {:>20} {word:>6}\n", std::process::id(), namespace());
        lock.write_all_at(text.as_bytes(), 0)
    }

    /// Says that nobody was killed; as long as before, so that a full disk has room for it.
    pub fn erase(lock: &File) -> io::Result<()> {
        let length = usize::try_from(lock.metadata()?.len()).unwrap_or(0).min(64);
        lock.write_all_at(&vec![b' '; length], 0)
    }

    /// Says that a call of git begins.
    pub fn touch(lock: &File) -> io::Result<()> {
        Ok(futimens(lock, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)?)
    }

    /// Says whether something that was made at this time was made by the last call of git.
    fn covers(&self, at: SystemTime) -> bool {
        at.duration_since(self.since).is_ok_and(|after| after <= CALL)
    }
}

/// The number of the namespace in which processes have their numbers; 0 where it cannot be told.
fn namespace() -> u64 {
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino())
}

/// A lock of git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitLock {
    /// Below the Git directory.
    pub path: Utf8PathBuf,
    pub made: SystemTime,
    identity: (u64, u64),
    /// Whose process has made it.
    owner: u32,
}

/// Returns the locks of git in a Git directory, but for pier's own.
pub fn locks(directory: &Utf8Path, own: &str) -> Vec<GitLock> {
    let mut found = Vec::new();
    let mut left = MOST_NAMES;
    list(directory, Utf8Path::new(""), 0, &mut left, &mut found);
    for below in ["refs", "reftable"] {
        list(directory, Utf8Path::new(below), MOST_DEPTH, &mut left, &mut found);
    }
    found.retain(|lock| lock.path != own);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn list(root: &Utf8Path, below: &Utf8Path, depth: usize, left: &mut usize, found: &mut Vec<GitLock>) {
    let at = root.join(below);
    // A link leads to what is nobody's business here.
    if !std::fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_dir()) {
        return;
    }
    for entry in at.read_dir_utf8().into_iter().flatten().flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let path = below.join(entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 0 {
            list(root, &path, depth - 1, left, found);
        } else if kind.is_file()
            && path.extension() == Some("lock")
            && let Ok(meta) = entry.metadata()
            && let Ok(made) = meta.modified()
        {
            found.push(GitLock { path, made, identity: (meta.dev(), meta.ino()), owner: meta.uid() });
        }
    }
}

/// Removes what is provably left of a killed git, and returns it; the error names whoever may be at work there.
pub fn clear(
    directory: &Utf8Path,
    work_tree: &Utf8Path,
    locks: &[GitLock],
    mark: &Mark,
) -> Result<Vec<Utf8PathBuf>, String> {
    let own: Vec<&GitLock> = locks.iter().filter(|lock| mark.covers(lock.made)).collect();
    if own.is_empty() {
        return Ok(Vec::new());
    }
    // A sandbox sees its own processes alone.
    if crate::backend::git::is_inside() && mark.namespace != namespace() {
        return Err("it was left by a process that cannot be seen from here".to_owned());
    }
    if let Some(who) = at_work(work_tree, &own).map_err(|error| error.to_string())? {
        return Err(format!("{who} may be at work there"));
    }
    let beneath = Beneath::open(directory).map_err(|error| error.to_string())?;
    let mut cleared = Vec::new();
    for lock in own {
        match beneath.remove(&lock.path) {
            Ok(_) => cleared.push(directory.join(&lock.path)),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(cleared)
}

/// The packs of a Git directory.
const PACKS: &str = "objects/pack";

/// What git calls packs that it has not finished, and their indexes.
const UNFINISHED: [&str; 2] = ["tmp_pack_", "tmp_idx_"];

/// Returns the time, as a file has it that is made now: clocks of file systems are some milliseconds behind.
pub fn now() -> SystemTime {
    SystemTime::now() - Duration::from_millis(20)
}

/// How long a git that could not go on may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Removes packs that a call of git has begun since a time and not finished, unless a git is still at work there: on a full disk
/// they take the room that others need.
pub fn remove_packs(directory: &Utf8Path, work_tree: &Utf8Path, began: SystemTime) {
    let mut found = Vec::new();
    for entry in directory.join(PACKS).read_dir_utf8().into_iter().flatten().flatten().take(MOST_NAMES) {
        let Ok(meta) = entry.metadata() else { continue };
        let Ok(made) = meta.modified() else { continue };
        let is_pack = UNFINISHED.iter().any(|begin| entry.file_name().starts_with(begin));
        if is_pack && meta.is_file() && made >= began {
            let path = Utf8Path::new(PACKS).join(entry.file_name());
            found.push(GitLock { path, made, identity: (meta.dev(), meta.ino()), owner: meta.uid() });
        }
    }
    let all: Vec<&GitLock> = found.iter().collect();
    // That of the call is gone; what it had begun may be just ending.
    let until = Instant::now() + ENDS_WITHIN;
    while !all.is_empty() && !matches!(at_work(work_tree, &all), Ok(None)) {
        if Instant::now() >= until {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let removed = Beneath::open(directory)
        .and_then(|beneath| all.iter().try_for_each(|pack| beneath.remove(&pack.path).map(drop)));
    if let Err(error) = removed {
        tracing::debug!(%error, "unfinished packs stay");
    }
}

/// Returns a process that has one of these locks open, or a git that may work in a directory; of those users who have made one.
fn at_work(directory: &Utf8Path, locks: &[&GitLock]) -> io::Result<Option<String>> {
    let meta = std::fs::metadata(directory)?;
    let place = (meta.dev(), meta.ino());
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let at = Utf8PathBuf::from(format!("/proc/{id}"));
        if !user_of(&at).is_some_and(|user| locks.iter().any(|lock| lock.owner == user)) {
            continue;
        }
        let name = read_bounded(&at.join("comm"), 64).unwrap_or_default();
        let name = String::from_utf8_lossy(&name).trim().to_owned();
        let is_git = name.starts_with("git") && works_in(&at, directory, place);
        if is_git || has_open(&at, locks) {
            return Ok(Some(format!("process {id}, `{}`,", crate::util::text::escape(&name))));
        }
    }
    Ok(None)
}

/// Returns as whom a process makes files; `None` where it has ended.
fn user_of(process: &Utf8Path) -> Option<u32> {
    let status = read_bounded(&process.join("status"), 64 << 10).ok()?;
    let status = String::from_utf8_lossy(&status).into_owned();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

fn has_open(process: &Utf8Path, locks: &[&GitLock]) -> bool {
    // Without a list, it has ended, or is not to be looked at: then its name says whether it is a git.
    let Ok(open) = process.join("fd").read_dir_utf8() else { return false };
    open.flatten().any(|entry| {
        let meta = std::fs::metadata(entry.path());
        meta.is_ok_and(|meta| {
            meta.is_file() && locks.iter().any(|lock| lock.identity == (meta.dev(), meta.ino()))
        })
    })
}

/// Says whether a git is in a directory, or was told of one that may be it; one that cannot be looked at may be anywhere.
fn works_in(process: &Utf8Path, directory: &Utf8Path, place: (u64, u64)) -> bool {
    let may_be = || -> io::Result<bool> {
        if is_below(&process.join("cwd"), place)? {
            return Ok(true);
        }
        let words = read_at_most(&File::open(process.join("cmdline"))?, MOST_WORDS)?;
        let variables = read_at_most(&File::open(process.join("environ"))?, MOST_WORDS)?;
        let of = |text: &[u8], begins: &[&str]| {
            let text = String::from_utf8_lossy(text).into_owned();
            let value =
                |part: &str| begins.iter().find_map(|begin| part.strip_prefix(begin)).map(str::to_owned);
            text.split('\0').filter_map(value).collect::<Vec<_>>()
        };
        let mut named = of(&words, &["--git-dir", "--work-tree"]);
        named.extend(of(&variables, &["GIT_DIR=", "GIT_WORK_TREE="]));
        for path in &named {
            let path = Utf8Path::new(path.strip_prefix('=').unwrap_or(path));
            let is_there = if path.is_absolute() {
                path.starts_with(directory)
            } else {
                // Git itself tells those whom it calls of `.`; without a value, the next word has it.
                path.as_str().is_empty() || is_below(&process.join("cwd").join(path), place).unwrap_or(true)
            };
            if is_there {
                return Ok(true);
            }
        }
        Ok(false)
    };
    // One that cannot be found any more has ended meanwhile; so has one that is there without what it was started with.
    let has_ended = |error: &io::Error| {
        [Errno::ENOENT, Errno::ESRCH].iter().any(|number| error.raw_os_error() == Some(*number as i32))
    };
    may_be().unwrap_or_else(|error| !has_ended(&error))
}

/// Says whether a directory is another, or is below it.
fn is_below(path: &Utf8Path, place: (u64, u64)) -> io::Result<bool> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut at: OwnedFd = openat(nix::fcntl::AT_FDCWD, path.as_std_path(), flags, Mode::empty())?;
    let mut before = None;
    for _ in 0..MOST_ABOVE {
        let meta = fstat(&at)?;
        let now = (meta.st_dev, meta.st_ino);
        if now == place {
            return Ok(true);
        }
        if before == Some(now) {
            return Ok(false);
        }
        before = Some(now);
        at = openat(&at, "..", flags, Mode::empty())?;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn clone() -> (tempfile::TempDir, Utf8PathBuf) {
        let kept = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::try_from(kept.path().canonicalize().unwrap()).unwrap();
        for path in [".git/refs/heads", ".git/objects"] {
            fs_err::create_dir_all(root.join(path)).unwrap();
        }
        (kept, root)
    }

    fn marked(root: &Utf8Path) -> Mark {
        let lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(root.join(".git/own.lock"))
            .unwrap();
        Mark::write(&lock, Doing::Anything).unwrap();
        Mark::touch(&lock).unwrap();
        Mark::read(&lock).unwrap()
    }

    #[test]
    fn a_mark_is_what_was_written_or_none() {
        let (_kept, root) = clone();
        let path = root.join(".git/own.lock");
        let lock = File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        assert_eq!(Mark::read(&lock), None);
        Mark::write(&lock, Doing::Rebase).unwrap();
        let mark = Mark::read(&lock).unwrap();
        assert_eq!((mark.process, mark.doing), (std::process::id(), Doing::Rebase));
        Mark::write(&lock, Doing::Anything).unwrap();
        assert_eq!(Mark::read(&lock).unwrap().doing, Doing::Anything);
        for text in ["x", "1", "1 2", "-1 2 git", "\u{1b}[0m 2 git"] {
            fs_err::write(&path, text).unwrap();
            assert_eq!(Mark::read(&File::open(&path).unwrap()), None, "{text}");
        }
    }

    #[test]
    fn locks_are_found_where_git_has_them_and_nowhere_else() {
        let (_kept, root) = clone();
        for path in
            [".git/index.lock", ".git/own.lock", ".git/refs/heads/a.lock", ".git/objects/x.lock", "y.lock"]
        {
            fs_err::write(root.join(path), "").unwrap();
        }
        std::os::unix::fs::symlink("/", root.join(".git/refs/root")).unwrap();
        let found = locks(&root.join(".git"), "own.lock");
        assert_eq!(
            found.iter().map(|lock| lock.path.as_str()).collect::<Vec<_>>(),
            ["index.lock", "refs/heads/a.lock"]
        );
    }

    #[test]
    fn only_what_the_killed_git_left_is_removed() {
        let (_kept, root) = clone();
        let directory = root.join(".git");
        let before = directory.join("HEAD.lock");
        let old = File::create(&before).unwrap();
        old.set_modified(SystemTime::now() - Duration::from_secs(10)).unwrap();
        let mark = marked(&root);
        fs_err::write(directory.join("index.lock"), "").unwrap();
        drop(old);
        let found = locks(&directory, "own.lock");
        let cleared = clear(&directory, &root, &found, &mark).unwrap();
        assert_eq!(cleared, [directory.join("index.lock")]);
        assert!(before.exists() && !directory.join("index.lock").exists());
        // Long after that call nothing was made by it.
        let late = File::create(directory.join("index.lock")).unwrap();
        late.set_modified(SystemTime::now() + CALL * 2).unwrap();
        drop(late);
        let found = locks(&directory, "own.lock");
        assert!(clear(&directory, &root, &found, &mark).unwrap().is_empty());
    }

    #[test]
    fn what_somebody_may_need_stays() {
        let (_kept, root) = clone();
        let directory = root.join(".git");
        let mark = marked(&root);
        let open = File::create(directory.join("index.lock")).unwrap();
        let found = locks(&directory, "own.lock");
        let who = clear(&directory, &root, &found, &mark).unwrap_err();
        assert!(who.contains(&format!("process {}", std::process::id())), "{who}");
        drop(open);
        // A git that waits for its input: in the clone, or told of it.
        let (_elsewhere, other) = clone();
        for at in [&root, &other] {
            fs_err::write(at.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        }
        let told = format!("{}/.git", root.file_name().unwrap());
        for (at, named, is_there) in [
            (root.join(".git/refs"), None, true),
            (root.parent().unwrap().to_owned(), Some(told.as_str()), true),
            (other.join(".git/refs"), Some(root.join(".git").as_str()), true),
            (other.join(".git"), Some("."), false),
            (other.join(".git/refs"), Some(".."), false),
        ] {
            fs_err::write(directory.join("index.lock"), "").unwrap();
            let found = locks(&directory, "own.lock");
            let mut git = Command::new("git");
            git.args(["cat-file", "--batch"]).current_dir(&at).stdin(Stdio::piped()).stdout(Stdio::null());
            git.envs(named.map(|named| ("GIT_DIR", named)));
            let mut git = git.spawn().unwrap();
            crate::sys::process::wait_for_words(git.id(), "cat-file");
            let cleared = clear(&directory, &root, &found, &mark);
            assert!(git.try_wait().unwrap().is_none(), "{at} {named:?}");
            drop(git.stdin.take());
            git.wait().unwrap();
            if is_there {
                let who = cleared.unwrap_err();
                assert!(who.contains(&format!("process {}, `git`", git.id())), "{who}");
            } else {
                assert_eq!(cleared.unwrap().len(), 1, "{at} {named:?}");
            }
        }
    }
}
