//! The quarantine: obeyed files leave the project for a private directory that keeps their paths.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use serde::Serialize;

use super::compare::{Found, open_directory, split};
use super::mark::What;
use super::{Change, Class, Fate, Open, Report, copy, report};
use crate::plan::GateMode;
use crate::util::fs::{create_private, write_atomic};
use crate::util::text::{escape_name, shell_line};

/// What `manifest.json` of a quarantine says.
#[derive(Serialize)]
struct Manifest<'a> {
    schema: u32,
    session: &'a str,
    files: Vec<Moved>,
}

#[derive(Serialize)]
struct Moved {
    /// Where it was, escaped as in messages.
    from: String,
    /// Where it is, below the quarantine.
    to: String,
    change: Change,
    what: What,
    reason: String,
}

/// Moves everything obeyed into `STATE/quarantine/SESSION`, and says how to get it back.
pub fn quarantine(grounds: &[Open], found: Vec<Vec<Found>>, state: &Utf8Path, session: &str) -> Report {
    let directory = state.join("quarantine").join(session);
    let mut files = Vec::new();
    let mut restore = Vec::new();
    let mut fates = Vec::new();
    for (number, (Open { ground, root }, found)) in grounds.iter().zip(&found).enumerate() {
        let name = if ground.is_project { "project".to_owned() } else { format!("other-{number}") };
        let before = files.len();
        if found.iter().all(|one| one.class == Class::Built) {
            fates.push(vec![Fate::Left; found.len()]);
            continue;
        }
        let into = open_target(&directory.join(&name));
        let mut fate = |one: &Found| {
            if one.class == Class::Built {
                return Fate::Left;
            }
            let moved = match &into {
                _ if one.mark.what == What::Unseen => Err(io::Error::other("it is not known what is in it")),
                Ok(into) => move_one(root.as_fd(), &one.path, into.as_fd()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            match moved {
                Ok(()) => {
                    let path = escape_name(&one.path);
                    let to = format!("{name}/{path}");
                    let (change, what, reason) = (one.change, one.mark.what, one.reason.clone());
                    let from = format!("{}/{path}", ground.root);
                    files.push(Moved { from, to: to.clone(), change, what, reason });
                    Fate::Moved { to }
                }
                Err(error) => Fate::Stuck { why: error.to_string() },
            }
        };
        fates.push(found.iter().map(&mut fate).collect::<Vec<_>>());
        if files.len() > before {
            let (from, to) = (format!("{directory}/{name}/."), format!("{}/", ground.root));
            restore.push(shell_line(["cp", "-a", "--", &from, &to]));
        }
    }
    let mut made = report(GateMode::Quarantine, grounds, found, fates);
    if !files.is_empty() {
        let manifest = Manifest { schema: 1, session, files };
        let written = serde_json::to_vec_pretty(&manifest).map_err(io::Error::from);
        let written = written.and_then(|text| write_atomic(&directory.join("manifest.json"), &text, 0o600));
        if let Err(error) = written {
            // The paths below the directory say the same.
            tracing::warn!(%error, %directory, "the list of the quarantine was not written");
        }
        made.quarantine = Some(directory);
        made.restore = restore;
    }
    made
}

fn open_target(path: &Utf8PathBuf) -> io::Result<OwnedFd> {
    create_private(path)?;
    Ok(nix::fcntl::open(path.as_std_path(), DIRECTORY, Mode::empty())?)
}

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Moves one entry to the same path below `into`: by rename, or by a copy where that is another file system.
fn move_one(root: BorrowedFd<'_>, path: &[u8], into: BorrowedFd<'_>) -> io::Result<()> {
    let (directories, name) = split(path);
    let parent = open_directory(root, directories)?;
    let mut target = into.try_clone_to_owned()?;
    for part in directories.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        match mkdirat(&target, part, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        target = openat(&target, part, DIRECTORY, Mode::empty())?;
    }
    let renamed = renameat(&parent, name, &target, name);
    if !matches!(renamed, Err(Errno::EXDEV | Errno::EACCES)) {
        return Ok(renamed?);
    }
    // Permissions may have been taken away to keep the entry where it is. They stay, so that it can be put back.
    copy::set_mode(parent.as_fd(), copy::mode(parent.as_fd())? | 0o700)?;
    match renamed {
        Err(Errno::EXDEV) => copy::move_across(parent.as_fd(), name, target.as_fd()),
        _ => rename_again(&parent, name, &target),
    }
}

fn rename_again(parent: &OwnedFd, name: &[u8], target: &OwnedFd) -> io::Result<()> {
    // A directory that moves gets another parent entry, for which it must be writable itself.
    if let Ok(own) = openat(parent, name, DIRECTORY | OFlag::O_PATH, Mode::empty()) {
        copy::set_mode(own.as_fd(), 0o700)?;
    }
    Ok(renameat(parent, name, target, name)?)
}
