//! Development shells of Nix: a flake and a name in, what a sandbox shows of the shell out.
//!
//! Only files that were read, hashed and approved are evaluated: a copy of them, and not the project, whose files
//! an agent may be changing. What was found is kept in the state directory, beside the root that keeps Nix from
//! collecting it, so that a known shell starts without Nix.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::plan::facts::{Nix, NixShell};
use crate::plan::nix::{Reference, STORE};
use crate::util::fs::{create_private, read_bounded, sha256, write_atomic};

mod answer;
mod evaluate;
mod inputs;
pub mod program;

pub use inputs::Inputs;

/// Bumped when a field of an entry changes its meaning; other numbers are not taken for one.
const SCHEMA: u32 = 1;

/// The most that an entry holds, in bytes: thousands of store paths, and every variable of a shell.
const MOST_ENTRY: u64 = 16 << 20;

/// Known shells of one project that are kept: going back to an earlier `flake.lock` needs no evaluation.
const KEPT: usize = 4;

/// Names in the directory of an entry.
const ENTRY: &str = "shell.json";
const LOCK: &str = "lock";
const ROOT: &str = "root";

#[derive(Debug, Error)]
pub enum Error {
    #[error("Nix is not installed: none of {} is there", .tried.join(", "))]
    Missing { tried: Vec<String> },
    #[error("`{path}` is not run as Nix: {reason}")]
    Program { path: Utf8PathBuf, reason: String },
    #[error("the flake in `{directory}` cannot be read: {reason}")]
    Input { directory: Utf8PathBuf, reason: String },
    #[error("Nix cannot {what}: {said}")]
    Failed { what: &'static str, said: String },
    #[error("Nix was stopped: it took longer than {} minutes", evaluate::MOST_TIME.as_secs() / 60)]
    TooSlow,
    #[error("cannot use `{path}` for the shell")]
    Io {
        path: Utf8PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What is going on, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another pier evaluates the same shell.
    Waiting,
    /// It has taken more than a second; the last line that Nix wrote, as it wrote it.
    Working { line: Option<String> },
}

/// A shell, where it is looked for, and with what.
pub struct Request<'a> {
    pub reference: &'a Reference,
    pub nix: &'a Nix,
    /// What `nix.files` are the names and hashes of; `None` for a remote flake.
    pub inputs: Option<&'a Inputs>,
    /// The directory for the shells of this project.
    pub shelf: &'a Utf8Path,
    pub home: &'a Utf8Path,
    /// A Nix that the user's own environment names.
    pub program: Option<&'a Utf8Path>,
    /// Addresses and certificates of networks.
    pub environment: &'a [(String, String)],
}

/// A shell that nobody forgets while this lives.
pub struct Held {
    pub shell: NixShell,
    _lock: File,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    schema: u32,
    shell: NixShell,
}

/// Returns the directory for the shells of a project, by the hash in its plan.
pub fn shelf(state: &Utf8Path, hash: &str) -> Utf8PathBuf {
    state.join("nix").join(hash)
}

/// Returns the directory for the shells of all projects.
pub fn shelves(state: &Utf8Path) -> Utf8PathBuf {
    state.join("nix")
}

/// Reads what an evaluation of the flake would read, and says what it is.
pub fn look(reference: &Reference, flake: &str, shell: &str) -> Result<(Nix, Option<Inputs>), Error> {
    let made = |files, digest, inputs| Nix {
        flake: flake.to_owned(),
        shell: shell.to_owned(),
        files,
        digest,
        inputs,
        resolved: None,
    };
    match reference {
        Reference::Revision(text) => Ok((made(Vec::new(), sha256(text.as_bytes()), BTreeMap::new()), None)),
        Reference::Directory(directory) => {
            let inputs = Inputs::read(directory)
                .map_err(|reason| Error::Input { directory: directory.clone(), reason })?;
            let nix = made(inputs.hashes(), inputs.digest(), inputs.revisions());
            Ok((nix, Some(inputs)))
        }
    }
}

/// Where Nix keeps what it knows of the host's store, and where its daemon listens.
const DATABASE: &str = "/nix/var/nix/db";
const DAEMON: &str = "/nix/var/nix/daemon-socket/socket";

/// The store that Nix uses for this user: the host's, where they may add to it, or one below the home directory,
/// where newer releases of Nix have it for users of a host without a store.
fn store(home: &Utf8Path) -> (Option<Utf8PathBuf>, Utf8PathBuf) {
    let may = |path: &str| nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok();
    let shared = Utf8Path::new(STORE);
    if nix::unistd::geteuid().is_root() || (shared.exists() && (may(DATABASE) || may(DAEMON))) {
        return (None, shared.to_owned());
    }
    let root = home.join(".local/share/nix/root");
    let physical = root.join(STORE.trim_start_matches('/'));
    (Some(root), physical)
}

fn directory(request: &Request<'_>) -> Utf8PathBuf {
    let (_, store) = store(request.home);
    let words = [SYSTEM, &request.nix.flake, &request.nix.shell, &request.nix.digest, store.as_str()];
    request.shelf.join(&sha256(words.join("\n").as_bytes())[..16])
}

/// Returns the shell where it is known and still in the store: reads files, starts nothing.
pub fn find(request: &Request<'_>) -> Option<Held> {
    let directory = directory(request);
    let lock = File::open(directory.join(LOCK)).ok()?;
    // Held alone by whoever is writing the entry.
    lock.try_lock_shared().ok()?;
    let bytes = read_bounded(&directory.join(ENTRY), MOST_ENTRY).ok()?;
    let entry: Entry = serde_json::from_slice(&bytes).ok()?;
    let there = |path: &Utf8PathBuf| physical(&entry.shell.store, path).symlink_metadata().is_ok();
    let whole = entry.schema == SCHEMA && entry.shell.closure.iter().all(there);
    whole.then_some(Held { shell: entry.shell, _lock: lock })
}

/// Returns the shell, evaluated and built now if it is not known.
pub fn resolve(request: &Request<'_>, progress: &mut dyn FnMut(Progress)) -> Result<Held, Error> {
    if let Some(held) = find(request) {
        return Ok(held);
    }
    let directory = directory(request);
    let io = |source| Error::Io { path: directory.clone(), source };
    let program = program::find(request.program, request.home)?;
    create_private(&directory).map_err(io)?;
    let lock = take(&directory, progress).map_err(io)?;
    clear(&directory).map_err(io)?;
    // Nix of before 2.20 takes the path of a flake as it stands, others as a part of a URL: this one is both.
    let copy = tempfile::Builder::new().prefix("pier-flake-").tempdir_in("/tmp").map_err(io)?;
    let source = Utf8Path::from_path(copy.path()).ok_or_else(|| io(io::ErrorKind::InvalidData.into()))?;
    let flake = match (request.reference, request.inputs) {
        (Reference::Revision(text), _) => text.clone(),
        (Reference::Directory(_), Some(inputs)) => {
            inputs.write(source).map_err(io)?;
            format!("path:{source}")
        }
        (Reference::Directory(directory), None) => {
            let reason = "its files were not read".to_owned();
            return Err(Error::Input { directory: directory.clone(), reason });
        }
    };
    let (chosen, _) = store(request.home);
    let call = evaluate::Call {
        program: &program,
        store: chosen.as_deref(),
        home: request.home,
        environment: request.environment,
    };
    let root = directory.join(ROOT);
    let attribute = format!("{flake}#devShells.{SYSTEM}.{}", request.nix.shell);
    let said = call.print_dev_env(&attribute, &root, progress)?;
    // What keeps the shell from being collected also names its place: `root -> root-1-link -> /nix/store/…`.
    let link = root.read_link_utf8().and_then(|link| directory.join(link).read_link_utf8());
    let built = link.map_err(io)?;
    let closure = call.closure(&built, progress)?;
    let (_, place) = store(request.home);
    let place = place.canonicalize_utf8().map_err(|source| Error::Io { path: place.clone(), source })?;
    let shell = answer::shell(&said, &closure, &place)?;
    let entry = Entry { schema: SCHEMA, shell };
    let text = serde_json::to_vec(&entry).map_err(|error| io(error.into()))?;
    write_atomic(&directory.join(ENTRY), &text, 0o600).map_err(io)?;
    forget_old(request.shelf, &directory);
    // From alone to shared: others may read it now, and nobody forgets it while this session runs.
    lock.lock_shared().map_err(io)?;
    Ok(Held { shell: entry.shell, _lock: lock })
}

/// The platform, as Nix names it.
const SYSTEM: &str = if cfg!(target_arch = "aarch64") { "aarch64-linux" } else { "x86_64-linux" };

/// Returns where a path of the inside is on the host.
fn physical(store: &Utf8Path, path: &Utf8Path) -> Utf8PathBuf {
    match path.strip_prefix(STORE) {
        Ok(rest) => store.join(rest),
        Err(_) => path.to_owned(),
    }
}

fn take(directory: &Utf8Path, progress: &mut dyn FnMut(Progress)) -> io::Result<File> {
    let path = directory.join(LOCK);
    let file = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(path)?.into_file();
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress(Progress::Waiting);
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    Ok(file)
}

/// Removes everything of an entry but its lock.
fn clear(directory: &Utf8Path) -> io::Result<()> {
    for entry in directory.read_dir_utf8()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs_err::remove_dir_all(entry.path())?;
        } else if entry.file_name() != LOCK {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Forgets the oldest shells of the project, with their roots, but none that a session uses.
fn forget_old(shelf: &Utf8Path, newest: &Utf8Path) {
    let age = |path: &Utf8Path| path.join(ENTRY).metadata().and_then(|meta| meta.modified());
    let Ok(entries) = shelf.read_dir_utf8() else { return };
    let mut found: Vec<(SystemTime, Utf8PathBuf)> = entries
        .filter_map(Result::ok)
        .map(|entry| (age(entry.path()).unwrap_or(SystemTime::UNIX_EPOCH), entry.into_path()))
        .filter(|(_, path)| path != newest)
        .collect();
    found.sort();
    let old = found.len().saturating_sub(KEPT - 1);
    for (_, path) in found.into_iter().take(old) {
        if let Err(error) = forget(&path) {
            tracing::warn!(%path, %error, "an old shell was not forgotten");
        }
    }
}

/// Says whether a session uses a shell, or it is being made.
pub fn is_held(path: &Utf8Path) -> bool {
    !File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

/// Forgets a shell with its root; false where it is held.
pub fn forget(path: &Utf8Path) -> io::Result<bool> {
    if is_held(path) {
        return Ok(false);
    }
    fs_err::remove_dir_all(path)?;
    Ok(true)
}

/// Returns a command of the shell as the inside names it, where the shell has it.
pub fn command(shell: &NixShell, name: &str) -> Option<Utf8PathBuf> {
    shell.path.iter().map(|directory| directory.join(name)).find(|path| {
        // A link of the store leads to another place of the store, which this host may have elsewhere.
        physical(&shell.store, path).symlink_metadata().is_ok_and(|meta| !meta.is_dir())
    })
}

/// The most of a program that is looked at for its loader, in bytes: the headers are at its start.
const MOST_HEADERS: usize = 4096;

/// Says whether a program names a loader, and so needs the host's libraries: a segment of the kind `PT_INTERP`.
pub fn needs_loader(program: &Utf8Path) -> bool {
    use io::Read as _;
    let mut bytes = Vec::new();
    let read = File::open(program).and_then(|file| file.take(MOST_HEADERS as u64).read_to_end(&mut bytes));
    read.is_ok() && has_interpreter(&bytes).unwrap_or(false)
}

/// Reads the headers of a 64-bit little-endian ELF file.
fn has_interpreter(bytes: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(bytes.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (half(54)?, half(56)?);
    let kind = |index: usize| {
        let at = table.checked_add(index.checked_mul(size)?)?;
        Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
    };
    Some((0..count).any(|index| kind(index) == Some(PT_INTERP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_the_libraries_of_the_host_is_told_from_a_static_one() {
        assert!(needs_loader("/bin/bash".into()));
        let own = Utf8PathBuf::from_path_buf(std::env::current_exe().unwrap()).unwrap();
        assert!(!needs_loader(&own), "pier and its tests are static");
        assert!(!needs_loader("/etc/passwd".into()));
    }
}
