//! One loop for each project: a file with the number of its process, as the older tool has it, beside a lock that the kernel
//! keeps.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;

use crate::util::fs::create_private;

/// Where the file is in a project, where nobody says otherwise.
pub const FILE: &str = ".pi-env/locks/pi-serial-roles.lock";

/// How long the sessions of a loop that was killed may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Error)]
pub enum Error {
    #[error("a loop works in this project already{}", .by.map_or_else(String::new, |id| format!(": process {id}")))]
    Taken { by: Option<u32> },
    #[error("cannot lock `{path}`: {source}")]
    File { path: Utf8PathBuf, source: io::Error },
}

/// Held by the loop; gone with it.
#[derive(Debug)]
pub struct Lock {
    file: Utf8PathBuf,
    held: Flock<File>,
}

impl Lock {
    /// Takes the lock: `own` is pier's, where no sandbox can write; `file`, mostly below the project, is the one that other tools
    /// look at.
    pub fn take(own: &Utf8Path, file: &Utf8Path, project: &Utf8Path) -> Result<Self, Error> {
        let failed = |path: &Utf8Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        if let Some(above) = own.parent() {
            create_private(above).map_err(failed(above))?;
        }
        let mut options = OpenOptions::new();
        drop(options.write(true).create(true).truncate(false).mode(0o600).open(own).map_err(failed(own))?);
        // Only to be read: sessions have it as their empty standard input, and hold the lock until they have ended.
        let held = File::open(own).map_err(failed(own))?;
        let mut held = Some(held);
        let end = Instant::now() + PATIENCE;
        let held = loop {
            let Some(file_of_lock) = held.take() else { return Err(Error::Taken { by: number(file) }) };
            match Flock::lock(file_of_lock, FlockArg::LockExclusiveNonblock) {
                Ok(held) => break held,
                Err((again, nix::errno::Errno::EWOULDBLOCK)) => {
                    let by = number(file).filter(|id| is_loop(*id));
                    if by.is_some() || Instant::now() >= end {
                        return Err(Error::Taken { by });
                    }
                    // A killed loop's sessions are on their way home.
                    held = Some(again);
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err((_, errno)) => return Err(failed(own)(errno.into())),
            }
        };
        if let Some(above) = file.parent() {
            // What an agent may have put there leads nowhere else.
            let mut links =
                above.ancestors().take_while(|path| path.starts_with(project) && *path != project);
            if let Some(link) = links.find(|path| path.is_symlink()) {
                return Err(failed(link)(io::Error::other("it is a link")));
            }
            fs_err::create_dir_all(above).map_err(failed(above))?;
        }
        for _ in 0..2 {
            match OpenOptions::new().write(true).create_new(true).mode(0o644).open(file) {
                Ok(mut made) => {
                    let id = std::process::id();
                    writeln!(made, "{id}").map_err(failed(file))?;
                    return Ok(Lock { file: file.to_owned(), held });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match number(file) {
                    Some(id) if is_loop(id) => {
                        return Err(Error::Taken { by: Some(id) });
                    }
                    // Of one that is dead, or half written by one that died.
                    _ => fs_err::remove_file(file).map_err(failed(file))?,
                },
                Err(source) => return Err(failed(file)(source)),
            }
        }
        Err(Error::Taken { by: number(file) })
    }
}

impl Lock {
    /// Returns what holds the lock as long as anybody has it open.
    pub fn hold(&self) -> io::Result<File> {
        self.held.try_clone()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Another tool may have taken it meanwhile.
        if number(&self.file) == Some(std::process::id()) {
            let _gone = std::fs::remove_file(&self.file);
        }
    }
}

/// Says whether a process may be a loop of this user: a file that an agent has written names any.
fn is_loop(id: u32) -> bool {
    let place = Utf8PathBuf::from(format!("/proc/{id}"));
    let own = fs_err::metadata(&place).is_ok_and(|meta| meta.uid() == nix::unistd::geteuid().as_raw());
    let words = crate::util::fs::read_bounded(&place.join("cmdline"), 1 << 20).unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    own && ["serial", "pier", "role"].iter().any(|word| words.contains(word))
}

/// Returns the process that a file names; a link names none.
fn number(file: &Utf8Path) -> Option<u32> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits() | nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(file)
        .ok()?;
    let mut text = String::new();
    opened.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loop_has_it_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(directory.path()).unwrap();
        let (own, file) = (directory.join("state/lock"), directory.join("a/b.lock"));
        let lock = Lock::take(&own, &file, directory).unwrap();
        assert_eq!(number(&file), Some(std::process::id()));
        assert!(matches!(Lock::take(&own, &file, directory), Err(Error::Taken { by: Some(_) })));
        drop(lock);
        assert!(!file.exists());
        // A loop that runs has it; another process, one that is dead and half a file have not.
        let mut other = std::process::Command::new("sh");
        let mut other = other.args(["-c", "sleep 60; : pi-serial-roles"]).spawn().unwrap();
        let id = other.id();
        crate::sys::process::wait_for_words(id, "pi-serial-roles");
        fs_err::write(&file, format!("{id}\n")).unwrap();
        assert!(matches!(Lock::take(&own, &file, directory), Err(Error::Taken { by: Some(_) })));
        other.kill().unwrap();
        other.wait().unwrap();
        for text in ["1\n", "4194303999\n", "", "x"] {
            fs_err::write(&file, text).unwrap();
            drop(Lock::take(&own, &file, directory).unwrap());
        }
        // Nothing is written where a link leads.
        std::os::unix::fs::symlink("/nonexistent", directory.join("link")).unwrap();
        let led = Lock::take(&own, &directory.join("link/x.lock"), directory);
        assert!(matches!(led, Err(Error::File { .. })));
        // One that somebody else has written meanwhile stays.
        let lock = Lock::take(&own, &file, directory).unwrap();
        fs_err::write(&file, "1\n").unwrap();
        drop(lock);
        assert!(file.exists());
    }
}
