//! Two looks at the same ground become findings: what counts and is new or not what it was.

use std::collections::HashSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::Change;
use super::ground::Ground;
use super::mark::{Mark, What, look_behind, stamp};
use super::table::Class;
use super::walk::Seen;

/// Read-only for users who are not root, and the same for everyone: a link there gives nothing away.
const SYSTEM: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib64", "/nix/store"];

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Relative to the root of the ground.
    pub path: Vec<u8>,
    pub change: Change,
    pub class: Class,
    pub mark: Mark,
    pub reason: String,
}

/// What a comparison has to know besides the two looks.
pub struct Context<'a> {
    pub ground: &'a Ground,
    /// Open root of the ground.
    pub root: BorrowedFd<'a>,
    /// Links into the system are harmless: the user is not root.
    pub system_is_safe: bool,
    /// When the session began, in seconds and nanoseconds of the clock that files carry.
    pub since: (i64, i64),
}

/// Returns the findings, obeyed ones first, each class in the order of paths.
pub fn compare(context: &Context<'_>, start: &Seen, end: Seen) -> Vec<Found> {
    let mut found = Vec::new();
    for (path, mark) in end.marks {
        let change = match start.marks.get(&path) {
            Some(before) if *before == mark => continue,
            Some(_) => Change::Changed,
            None if start.cut.is_some() && !context.is_recent(&path) => continue,
            None => Change::New,
        };
        if let Some((class, reason)) = context.judge(&path, &mark) {
            found.push(Found { path, change, class, mark, reason });
        }
    }
    let whole: HashSet<Vec<u8>> = found
        .iter()
        .filter(|one| one.change == Change::New && one.mark.what == What::Directory)
        .map(|one| one.path.clone())
        .collect();
    found.retain(|one| !ancestors(&one.path).any(|above| whole.contains(above)));
    if let Some(cut) = end.cut.or(start.cut) {
        let reason = cut.to_owned();
        let mark = Mark::new(What::Unseen, None);
        let (path, change, class) = (Vec::new(), Change::New, Class::Obeyed);
        found.push(Found { path, change, class, mark, reason });
    }
    found.sort_by(|one, other| (one.class, &one.path).cmp(&(other.class, &other.path)));
    found
}

impl Context<'_> {
    /// Returns why an entry counts; `None` for a link that stays inside and has no name that matters.
    fn judge(&self, path: &[u8], mark: &Mark) -> Option<(Class, String)> {
        let says = |text: &str| Some((Class::Obeyed, text.to_owned()));
        match mark.what {
            What::Fifo => says("a program that opens it waits for ever"),
            What::Socket => says("a program that connects to it talks with whoever made it"),
            What::Device => says("a program that opens it opens a device"),
            What::Unreadable => {
                says("nobody can list this directory, and git finds a repository in it by name")
            }
            What::Link if self.leaves(path, mark) => {
                says("a program that writes or reads through it leaves the project")
            }
            _ => mark.row.map(|row| (row.class, format!("{} {}", row.tool, row.does))),
        }
    }

    /// Says whether a link leads out of the ground, by what is written in it or through other links.
    fn leaves(&self, path: &[u8], mark: &Mark) -> bool {
        let target = mark.target.as_deref().unwrap_or_default();
        if target.first() == Some(&b'/') {
            let clean = absolute(target);
            let system =
                clean == b"/dev/null" || SYSTEM.iter().any(|top| below(&clean, top.as_bytes()).is_some());
            if system && self.system_is_safe && below(&clean, b"/usr/local").is_none() {
                return false;
            }
            let Some(inside) = below(&clean, self.ground.root.as_str().as_bytes()) else { return true };
            return !inside.is_empty() && look_behind(self.root, inside).err() == Some(Errno::EXDEV);
        }
        climbs_out(path, target) || look_behind(self.root, path).err() == Some(Errno::EXDEV)
    }

    /// Says whether an entry has changed since the session began; a thing that is gone has not.
    fn is_recent(&self, path: &[u8]) -> bool {
        let (parent, name) = split(path);
        let seen = open_directory(self.root, parent).and_then(|parent| stamp(parent.as_fd(), name));
        seen.is_ok_and(|(_, stamp)| stamp.changed() >= self.since)
    }
}

/// Opens a directory below `root` without following a link.
pub fn open_directory(root: BorrowedFd<'_>, path: &[u8]) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV,
    );
    let path = if path.is_empty() { b"." } else { path };
    for _ in 0..8 {
        match openat2(root, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            opened => return opened,
        }
    }
    Err(Errno::EAGAIN)
}

/// Splits a path into its directory, which may be empty, and its last name.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at])
}

/// Resolves `.` and `..` of an absolute path by its text.
fn absolute(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    [&b"/"[..], &parts.join(&b'/')].concat()
}

/// Returns what is left of `path` after `top`, which it is or lies below.
fn below<'a>(path: &'a [u8], top: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(top)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

/// Says whether a relative target, by its text, is above the root at any point.
fn climbs_out(link: &[u8], target: &[u8]) -> bool {
    let mut depth = link.split(|byte| *byte == b'/').count() - 1;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}
