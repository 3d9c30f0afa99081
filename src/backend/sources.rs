//! Mount sources, opened before an engine resolves their names: what is mounted is compared with these inside.

use std::io;
use std::os::fd::OwnedFd;

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::fstat;
use thiserror::Error;

use crate::plan::{Identity, Mount, MountKind, Plan};

#[derive(Debug, Error)]
pub enum Error {
    #[error("`{path}` ({origin}) cannot be mounted")]
    Open {
        path: Utf8PathBuf,
        origin: String,
        #[source]
        error: io::Error,
    },
    #[error("`{path}` ({origin}) has been replaced since the plan was made")]
    Swapped { path: Utf8PathBuf, origin: String },
    #[error("`{path}` ({origin}) has become a symbolic link, or leads through one, since the plan was made")]
    Linked { path: Utf8PathBuf, origin: String },
}

/// The opened sources of a plan's mounts, in their order.
///
/// They stay open until the init has compared: an inode that is held is not given to another file.
pub struct Sources {
    pub identities: Vec<Option<Identity>>,
    held: Vec<OwnedFd>,
}

impl Sources {
    /// Opens every source; no part of a path may be a link, and what is there must be what the plan saw.
    pub fn open(plan: &Plan, session: &Utf8Path) -> Result<Self, Error> {
        Self::open_with(plan, |_, mount| match &mount.kind {
            MountKind::Bind { source, .. } => Some(source.clone()),
            MountKind::Session { name, .. } => Some(session.join(name)),
            _ => None,
        })
    }

    /// Opens what `source_of` names for each mount and its number.
    pub fn open_with(
        plan: &Plan,
        source_of: impl Fn(usize, &Mount) -> Option<Utf8PathBuf>,
    ) -> Result<Self, Error> {
        let mut sources = Sources { identities: Vec::new(), held: Vec::new() };
        for (index, mount) in plan.mounts.iter().enumerate() {
            let Some(path) = source_of(index, mount) else {
                sources.identities.push(None);
                continue;
            };
            let expect = if let MountKind::Bind { expect, .. } = &mount.kind { *expect } else { None };
            let origin = mount.origin.clone();
            let (held, identity) = match open(&path) {
                Ok(opened) => opened,
                Err(Errno::ELOOP) => return Err(Error::Linked { path, origin }),
                Err(error) => return Err(Error::Open { path, origin, error: error.into() }),
            };
            if expect.is_some_and(|expect| expect != identity) {
                return Err(Error::Swapped { path, origin });
            }
            sources.identities.push(Some(identity));
            sources.held.push(held);
        }
        Ok(sources)
    }
}

fn open(path: &Utf8Path) -> Result<(OwnedFd, Identity), Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let held = openat2(AT_FDCWD, path.as_std_path(), how)?;
    let meta = fstat(&held)?;
    Ok((held, Identity { dev: meta.st_dev, ino: meta.st_ino }))
}
