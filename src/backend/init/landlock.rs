//! Landlock, the second wall around the file tree: it holds even where a mount is not what it should be.

use std::io;
use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::backend::manifest::{Allowed, Right};
use crate::sys::kernel;

/// The newest interface whose rights are asked for; an older kernel gives what it has.
const NEWEST: ABI = ABI::V6;

/// The oldest that is used: the first one denies every rename and link from one directory to another.
const OLDEST: u32 = 2;

/// Restricts this thread and all that come from it. Returns the version of the kernel's interface, or `None` where
/// there is none to use.
///
/// `streams` are the command's; a file of the host among them may be opened again as it was opened, since programs
/// do that by `/dev/stdout`.
pub fn restrict(allowed: &[Allowed], streams: &[OwnedFd; 3]) -> io::Result<Option<u32>> {
    let Some(version) = kernel::landlock_version().ok().filter(|version| *version >= OLDEST) else {
        return Ok(None);
    };
    let all = AccessFs::from_all(NEWEST);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    for Allowed { path, right } in allowed {
        // Not by the standard library: with musl it takes `O_PATH` for a part of the access mode, and really opens.
        let opened = match open(path.as_std_path(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(opened) => opened,
            Err(error) => return Err(io::Error::other(format!("`{path}`: {error}"))),
        };
        let single = !path.metadata()?.is_dir();
        let rights = if single { rights(*right) & AccessFs::from_file(NEWEST) } else { rights(*right) };
        rules = rules.add_rule(PathBeneath::new(opened, rights)).map_err(io::Error::other)?;
    }
    for stream in streams {
        if let Some(rights) = as_opened(stream)? {
            rules = rules.add_rule(PathBeneath::new(stream, rights)).map_err(io::Error::other)?;
        }
    }
    let status = rules.restrict_self().map_err(io::Error::other)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(io::Error::other("the kernel has Landlock and did not enforce it"));
    }
    Ok(Some(version))
}

fn rights(right: Right) -> BitFlags<AccessFs> {
    match right {
        Right::List => AccessFs::ReadDir.into(),
        Right::Read => AccessFs::ReadDir | AccessFs::ReadFile,
        Right::ReadExecute => AccessFs::from_read(NEWEST),
        Right::Write => AccessFs::from_all(NEWEST),
    }
}

/// Returns what the descriptor of a plain file or a device such as `/dev/null` allows; `None` for anything else,
/// which has no place in a tree.
fn as_opened(stream: &OwnedFd) -> io::Result<Option<BitFlags<AccessFs>>> {
    let mode = SFlag::from_bits_truncate(fstat(stream)?.st_mode & SFlag::S_IFMT.bits());
    if mode != SFlag::S_IFREG && mode != SFlag::S_IFCHR {
        return Ok(None);
    }
    let flags = OFlag::from_bits_truncate(fcntl(stream, FcntlArg::F_GETFL)?);
    Ok(Some(match flags & OFlag::O_ACCMODE {
        OFlag::O_RDONLY => AccessFs::ReadFile.into(),
        OFlag::O_WRONLY => AccessFs::WriteFile | AccessFs::Truncate,
        _ => AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate,
    }))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::ErrorKind;

    use camino::Utf8Path;

    use super::*;

    /// Says whether a thread behind these rights may do something; `None` where the kernel has no Landlock.
    fn behind<T: Send + 'static>(
        allowed: Vec<Allowed>,
        streams: [OwnedFd; 3],
        act: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let thread = move || {
            nix::sys::prctl::set_no_new_privs().unwrap();
            restrict(&allowed, &streams).unwrap().map(|_| act())
        };
        let seen = std::thread::spawn(thread).join().unwrap();
        if seen.is_none() {
            println!("skipped: this kernel has no Landlock");
        }
        seen
    }

    fn null() -> [OwnedFd; 3] {
        [0, 1, 2].map(|_| File::open("/dev/null").unwrap().into())
    }

    #[test]
    fn only_what_is_allowed_can_be_opened() {
        let place = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(place.path()).unwrap().to_owned();
        for name in ["read", "write", "none"] {
            fs_err::create_dir(base.join(name)).unwrap();
            drop(File::create(base.join(name).join("file")).unwrap());
        }
        let allow = |name: &str, right| Allowed { path: base.join(name), right };
        let allowed = vec![allow("read", Right::Read), allow("write", Right::Write)];
        let act = move || {
            let refused = |result: io::Result<File>| {
                result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
            };
            assert!(File::open(base.join("read/file")).is_ok());
            assert!(refused(File::create(base.join("read/new"))));
            assert!(File::create(base.join("write/new")).is_ok());
            assert!(refused(File::open(base.join("none/file"))));
            assert!(fs_err::rename(base.join("write/new"), base.join("read/new")).is_err());
        };
        behind(allowed, null(), act);
    }

    #[test]
    fn a_stream_is_opened_again_only_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let log: OwnedFd = File::create(&path).unwrap().into();
        let [input, _, error] = null();
        let act = move || {
            std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            assert_eq!(File::open(&path).unwrap_err().kind(), ErrorKind::PermissionDenied);
        };
        behind(Vec::new(), [input, log, error], act);
    }
}
