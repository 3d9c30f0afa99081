//! Which `bwrap` is run: an absolute path that nobody but root could have put there, and what it can do.

use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where distributions put it. `/usr/bin` first: `AppArmor` profiles name that path.
pub const PLACES: &[&str] =
    &["/usr/bin/bwrap", "/usr/local/bin/bwrap", "/run/current-system/sw/bin/bwrap", "/bin/bwrap"];

/// The oldest release with every option that a plan needs: `--clearenv`, `--perms` and `--size`.
pub const OLDEST: Version = Version { major: 0, minor: 5, patch: 0 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Options that not every release has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `--disable-userns`, since 0.8.0.
    DisableUserns,
}

/// A verified program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bubblewrap {
    pub path: Utf8PathBuf,
    pub version: Version,
}

impl Bubblewrap {
    pub fn has(&self, feature: Feature) -> bool {
        match feature {
            Feature::DisableUserns => self.version >= Version { major: 0, minor: 8, patch: 0 },
        }
    }
}

/// Why no `bwrap` is run.
#[derive(Debug, Error)]
pub enum Error {
    #[error("bubblewrap is not installed: none of {} is there", PLACES.join(", "))]
    Missing,
    #[error("`{path}` is not run as bubblewrap: {reason}")]
    Refused { path: Utf8PathBuf, reason: &'static str },
    #[error("`{path}` is bubblewrap {found}, and pier needs {OLDEST} or newer")]
    TooOld { path: Utf8PathBuf, found: Version },
    #[error("cannot ask `{path}` for its version")]
    Version {
        path: Utf8PathBuf,
        #[source]
        error: io::Error,
    },
}

/// Finds and verifies the program; `wanted` is the path that the user's own environment names.
///
/// `cache` is a file that saves running `bwrap --version` again for the same device, inode and time.
pub fn find(wanted: Option<&Utf8Path>, cache: Option<&Utf8Path>) -> Result<Bubblewrap, Error> {
    let path = match wanted {
        Some(path) => path.to_owned(),
        None => PLACES.iter().map(Utf8PathBuf::from).find(|path| path.exists()).ok_or(Error::Missing)?,
    };
    let stamp = verify(&path).map_err(|reason| Error::Refused { path: path.clone(), reason })?;
    if let Some(cache) = cache
        && let Some(known) = read_cache(cache)
        && known.stamp == stamp
        && known.program.path == path
    {
        return Ok(known.program);
    }
    let version = ask(&path)?;
    if version < OLDEST {
        return Err(Error::TooOld { path, found: version });
    }
    let program = Bubblewrap { path, version };
    if let Some(cache) = cache {
        let known = Known { stamp, program: program.clone() };
        if let Ok(text) = serde_json::to_vec(&known) {
            // A cache that cannot be written costs a millisecond at the next start and nothing else.
            let _unwritable = crate::util::fs::write_atomic(cache, &text, 0o600);
        }
    }
    Ok(program)
}

/// Which file was verified.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    dev: u64,
    ino: u64,
    mtime: i64,
    ctime: i64,
}

#[derive(Serialize, Deserialize)]
struct Known {
    stamp: Stamp,
    program: Bubblewrap,
}

fn read_cache(path: &Utf8Path) -> Option<Known> {
    let bytes = crate::util::fs::read_bounded(path, 4096).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Refuses whatever another user could have put there, and whatever is not a program of its own.
///
/// # Errors
/// The reason, which fits after "is not run: ".
pub fn verify(path: &Utf8Path) -> Result<Stamp, &'static str> {
    if !path.is_absolute() {
        return Err("the path is not absolute");
    }
    let real = path.canonicalize_utf8().map_err(|_| "there is no such file")?;
    for ancestor in real.ancestors().skip(1) {
        let meta = fs_err::symlink_metadata(ancestor).map_err(|_| "a directory above it cannot be read")?;
        let open = meta.permissions().mode() & 0o022 != 0 && meta.permissions().mode() & 0o1000 == 0;
        if meta.uid() != 0 || open {
            // The Nix store is group-writable for its build users, with the sticky bit.
            return Err("a directory above it can be changed by other users than root");
        }
    }
    let mut file = fs_err::File::open(&real).map_err(|_| "it cannot be read")?;
    let meta = file.metadata().map_err(|_| "it cannot be read")?;
    if !meta.is_file() {
        return Err("it is not a regular file");
    }
    if meta.uid() != 0 || meta.permissions().mode() & 0o022 != 0 {
        return Err("it can be changed by other users than root");
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err("it is not executable");
    }
    let mut magic = [0; 4];
    if file.read_exact(&mut magic).is_err() || magic != *b"\x7fELF" {
        return Err("it is not a program but a script or another file");
    }
    Ok(Stamp { dev: meta.dev(), ino: meta.ino(), mtime: meta.mtime(), ctime: meta.ctime() })
}

fn ask(path: &Utf8Path) -> Result<Version, Error> {
    let failed = |error| Error::Version { path: path.to_owned(), error };
    let output =
        Command::new(path).arg("--version").env_clear().stdin(Stdio::null()).output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).ok_or_else(|| failed(io::Error::other("the answer is not `bubblewrap X.Y.Z`")))
}

fn parse_version(text: &str) -> Option<Version> {
    let mut numbers = text.trim().strip_prefix("bubblewrap ")?.split('.').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Version { major: next()?, minor: next()?, patch: next().unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_answer_of_the_program() {
        let version = |text| parse_version(text).map(|version| version.to_string());
        assert_eq!(version("bubblewrap 0.8.0\n").as_deref(), Some("0.8.0"));
        assert_eq!(version("bubblewrap 0.11\n").as_deref(), Some("0.11.0"));
        assert_eq!(version("bwrap 1"), None);
    }

    #[test]
    fn a_script_is_not_run_as_bubblewrap() {
        let error = find(Some(Utf8Path::new("/usr/bin/ldd")), None).unwrap_err();
        assert!(error.to_string().contains("a script"), "{error}");
    }

    #[test]
    fn a_relative_path_is_refused() {
        let error = find(Some(Utf8Path::new("bin/bwrap")), None).unwrap_err();
        assert!(error.to_string().contains("not absolute"), "{error}");
    }
}
