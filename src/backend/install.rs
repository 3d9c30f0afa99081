//! Installs an agent by npm or pip at an exact version into a cache outside the project.
//!
//! In two steps, so that nothing of an unexpected archive ever runs: the package manager first only resolves, which is
//! compared with `pier.lock`; then it fetches exactly that, checking every archive against the hashes. It happens in a
//! directory next to the target, which gets its name in one rename: a half install is never seen. A second call reads
//! one file and starts no process.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::launcher;
use crate::agent::Install;
use crate::lock::{self, Integrity, Version};
use crate::plan::facts::{InstallKind, Launcher};
use crate::util::fs::sha256;

pub mod node;
mod npm;
mod pypi;
pub mod python;

pub use npm::is_older;

/// Written last into a finished installation.
const MANIFEST: &str = "pier-install.json";

/// Bumped when a field changes its meaning; other numbers are not taken for an installation.
const SCHEMA: u32 = 1;

/// What to install, and where.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The agent's name: a directory of the cache.
    pub agent: &'a str,
    pub install: Install,
    pub version: &'a Version,
    /// The hash out of `pier.lock`; `None` takes what the registry has, for the lock to be written from.
    pub integrity: Option<&'a Integrity>,
    /// pier's cache directory.
    pub cache: &'a Utf8Path,
    /// The host's environment: only addresses and certificates of the registry are passed on.
    pub environment: &'a [(String, String)],
    pub search: launcher::Search<'a>,
}

/// A finished installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    pub launcher: Launcher,
    pub integrity: Integrity,
    /// The Node range that the package asks for, as it says it.
    pub node: Option<String>,
    /// The version of Python that it was made for, `MAJOR.MINOR`.
    pub python: Option<String>,
    pub how: How,
}

/// Whether anything was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Fetched,
    Found,
}

/// What is going on, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another pier installs an agent of that name.
    Waiting,
    Resolving {
        package: String,
        version: String,
    },
    Fetching {
        package: String,
        version: String,
    },
    Done {
        directory: Utf8PathBuf,
    },
}

/// Why an agent could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot install `{package}`: `npm` is not on `PATH`")]
    NoNpm { package: &'static str },
    #[error("cannot install `{package}`: none of Python {wanted} is on `PATH`")]
    NoPython { package: &'static str, wanted: String },
    #[error("cannot install `{package}`: `{python}` has no pip: {said}")]
    NoPip { package: &'static str, python: Utf8PathBuf, said: String },
    #[error("`pip` failed to install `{package}` {version} ({status}): {said}")]
    Pip { package: &'static str, version: Version, status: String, said: String },
    #[error("cannot install `{package}`: {source}")]
    NoNode { package: &'static str, source: launcher::Error },
    #[error("`{package}` {version} needs Node {wanted}, and `{node}` is {found}")]
    NodeTooOld { package: &'static str, version: Version, wanted: String, node: Utf8PathBuf, found: String },
    #[error("cannot reach the registry for `{package}`: {said}")]
    Unreachable { package: &'static str, said: String },
    #[error("the registry has no `{package}` {version}")]
    NoSuchVersion { package: &'static str, version: Version },
    #[error("`{package}` {version} has the hash {found}, and `pier.lock` says {locked}")]
    Integrity { package: &'static str, version: Version, locked: Integrity, found: Integrity },
    #[error(
        "an archive that `{package}` {version} needs has another hash than the registry promised: {said}"
    )]
    Corrupt { package: &'static str, version: Version, said: String },
    #[error("`npm` failed to install `{package}` {version} ({status}): {said}")]
    Npm { package: &'static str, version: Version, status: String, said: String },
    #[error("`{package}` {version} was installed and cannot be used: {why}")]
    Unusable { package: &'static str, version: Version, why: String },
    #[error("cannot use `{path}` for the installation: {source}")]
    Io { path: Utf8PathBuf, source: std::io::Error },
    #[error("`{name}` cannot be the name of an agent")]
    Name { name: String },
    #[error("cannot use the installation in `{directory}`: {source}")]
    Launcher { directory: Utf8PathBuf, source: launcher::Error },
}

impl Error {
    /// Returns the next step, where there is one.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Error::NoNpm { .. } | Error::NoNode { source: launcher::Error::NotFound { .. }, .. } => {
                "install Node with npm, or the agent itself".to_owned()
            }
            Error::NoNode { source, .. } => return source.help(),
            Error::NoPython { wanted, .. } => format!("install one of Python {wanted}, or the agent itself"),
            Error::NoPip { python, .. } => {
                format!("install pip for it: `python3-pip` in Debian and Ubuntu, else `{python} -m ensurepip`")
            }
            Error::NodeTooOld { wanted, .. } => format!("install Node {wanted}, or pin an older `version`"),
            Error::Unreachable { .. } => {
                "check the network, `HTTPS_PROXY`, and `NPM_CONFIG_REGISTRY` or `PIP_INDEX_URL`; what is in the cache \
                needs none"
                    .to_owned()
            }
            Error::NoSuchVersion { package, .. } => {
                format!("`npm view {package} versions`, or `pip index versions {package}`, lists what there is")
            }
            Error::Integrity { .. } => {
                "find out why it changed; `pier lock update` accepts what the registry has now".to_owned()
            }
            Error::Corrupt { .. } => {
                "try again; if it stays, the registry or a proxy changes archives".to_owned()
            }
            Error::Io { .. } => "check the permissions and the free space of the cache directory".to_owned(),
            Error::Launcher { directory, .. } => format!("`rm -r {directory}`, then try again"),
            Error::Npm { .. } | Error::Pip { .. } | Error::Unusable { .. } | Error::Name { .. } => return None,
        })
    }
}

/// The record of a finished installation.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    schema: u32,
    package: String,
    version: Version,
    integrity: Integrity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// The version of Python that it was made for, `MAJOR.MINOR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    python: Option<String>,
    /// Relative to the installation.
    program: Utf8PathBuf,
}

/// Returns the installation, made now if it is not there. `progress` is called before each thing that takes time.
pub fn install(request: &Request<'_>, progress: &mut dyn FnMut(Progress)) -> Result<Installed, Error> {
    if !lock::is_name(request.agent) {
        return Err(Error::Name { name: request.agent.to_owned() });
    }
    if let Some(found) = find(request)? {
        return Ok(found);
    }
    let shelf = shelf(request);
    let io = |source| Error::Io { path: shelf.clone(), source };
    create_private(&shelf).map_err(io)?;
    let _held = hold(&shelf, progress).map_err(io)?;
    // Whoever held the lock may have made it.
    if let Some(found) = find(request)? {
        return Ok(found);
    }
    clear_remains(&shelf).map_err(io)?;

    let work = tempfile::Builder::new().prefix(REMAINS).tempdir_in(&shelf).map_err(io)?;
    let directory =
        Utf8Path::from_path(work.path()).ok_or_else(|| io(std::io::ErrorKind::InvalidInput.into()))?;
    let package = request.package();
    let manager: Box<dyn Manager> = match request.install {
        Install::Npm(npm) => Box::new(npm::Manager::new(request, npm, directory)?),
        Install::Pypi(pypi) => Box::new(pypi::Manager::new(request, pypi, directory)?),
        Install::Never => return Err(Error::Name { name: request.agent.to_owned() }),
    };
    progress(Progress::Resolving { package: package.to_owned(), version: request.version.to_string() });
    let resolved = manager.resolve()?;
    if let Some(locked) = request.integrity
        && *locked != resolved.integrity
    {
        return Err(Error::Integrity {
            package,
            version: request.version.clone(),
            locked: locked.clone(),
            found: resolved.integrity,
        });
    }
    manager.check(&resolved)?;
    progress(Progress::Fetching { package: package.to_owned(), version: request.version.to_string() });
    manager.fetch()?;
    let program = manager.program()?;
    manager.tidy();
    drop(manager);

    let manifest = Manifest {
        schema: SCHEMA,
        package: package.to_owned(),
        version: request.version.clone(),
        integrity: resolved.integrity,
        node: resolved.node,
        python: resolved.python,
        program,
    };
    write_manifest(directory, &manifest).map_err(io)?;
    let target = shelf.join(entry_name(&manifest));
    let made = Utf8PathBuf::try_from(work.keep()).map_err(|error| io(error.into_io_error()))?;
    fs_err::rename(&made, &target).map_err(io)?;
    progress(Progress::Done { directory: target.clone() });
    installed(&target, manifest, request, How::Fetched)
}

/// Returns the installation if it is there: reads files, starts nothing.
pub fn find(request: &Request<'_>) -> Result<Option<Installed>, Error> {
    let prefix = format!("{}-", request.version);
    let Ok(entries) = shelf(request).read_dir_utf8() else { return Ok(None) };
    let mut names: Vec<Utf8PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().starts_with(&prefix))
        .map(camino::Utf8DirEntry::into_path)
        .collect();
    names.sort();
    for directory in names {
        let Some(manifest) = read_manifest(&directory) else { continue };
        let same = manifest.package == request.package()
            && manifest.version == *request.version
            && request.integrity.is_none_or(|locked| *locked == manifest.integrity)
            && directory.file_name() == Some(&entry_name(&manifest))
            && manifest.python.as_ref().is_none_or(|version| python::find(version, &request.search).is_ok());
        if same {
            return installed(&directory, manifest, request, How::Found).map(Some);
        }
    }
    Ok(None)
}

fn installed(
    directory: &Utf8Path,
    manifest: Manifest,
    request: &Request<'_>,
    how: How,
) -> Result<Installed, Error> {
    let failed = |source| Error::Launcher { directory: directory.to_owned(), source };
    let program = directory.join(&manifest.program);
    let found = match &manifest.python {
        Some(version) => python::launcher(&program, directory, version, &request.search),
        None => launcher::inspect(&program, &request.search),
    };
    let found = found.map_err(failed)?;
    let launcher =
        Launcher { version: Some(manifest.version.to_string()), kind: InstallKind::Cache, ..found };
    let Manifest { integrity, node, python, .. } = manifest;
    Ok(Installed { launcher, integrity, node, python, how })
}

/// Returns `<cache>/agents/<name>`.
fn shelf(request: &Request<'_>) -> Utf8PathBuf {
    request.cache.join("agents").join(request.agent)
}

/// Returns `<version>-<digest8>`: two archives of one version (a private registry, say) do not meet.
fn entry_name(manifest: &Manifest) -> String {
    // One for each Python: wheels may be made for it.
    let python = manifest.python.iter().map(|version| format!("\npython {version}"));
    let text = format!("{}\n{}{}", manifest.package, manifest.integrity, python.collect::<String>());
    let digest = sha256(text.as_bytes());
    format!("{}-{}", manifest.version, &digest[..8])
}

fn read_manifest(directory: &Utf8Path) -> Option<Manifest> {
    let text = read_bounded(&directory.join(MANIFEST)).ok()?;
    let manifest: Manifest = serde_json::from_str(&text).ok()?;
    let inside = manifest.program.components().all(|part| matches!(part, camino::Utf8Component::Normal(_)));
    (manifest.schema == SCHEMA && inside).then_some(manifest)
}

fn write_manifest(directory: &Utf8Path, manifest: &Manifest) -> std::io::Result<()> {
    let mut file = fs_err::File::create_new(directory.join(MANIFEST))?;
    file.write_all(&serde_json::to_vec_pretty(manifest)?)?;
    file.sync_all()
}

/// The start of the names of directories that an install works in.
const REMAINS: &str = ".tmp-";

/// Removes what a killed install left; the lock is held, so none of it is in use.
fn clear_remains(shelf: &Utf8Path) -> std::io::Result<()> {
    for entry in shelf.read_dir_utf8()? {
        let entry = entry?;
        if entry.file_name().starts_with(REMAINS) {
            fs_err::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn hold(shelf: &Utf8Path, progress: &mut dyn FnMut(Progress)) -> std::io::Result<std::fs::File> {
    let file =
        fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(shelf.join(".lock"))?;
    let file = file.into_file();
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            progress(Progress::Waiting);
            file.lock()?;
        }
        Err(std::fs::TryLockError::Error(error)) => return Err(error),
    }
    Ok(file)
}

fn create_private(directory: &Utf8Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// What a package manager does for one installation, in one directory.
trait Manager {
    /// Returns what it would fetch, without fetching it.
    fn resolve(&self) -> Result<Resolved, Error>;
    /// Refuses what the package cannot run on.
    fn check(&self, resolved: &Resolved) -> Result<(), Error>;
    /// Fetches exactly what was resolved.
    fn fetch(&self) -> Result<(), Error>;
    /// Returns the program, relative to the directory.
    fn program(&self) -> Result<Utf8PathBuf, Error>;
    /// Removes what nobody reads again.
    fn tidy(&self);
}

/// What would be fetched for the package itself.
struct Resolved {
    integrity: Integrity,
    /// The Node range that it asks for.
    node: Option<String>,
    /// The version of Python that it is fetched for.
    python: Option<String>,
}

impl Request<'_> {
    /// Returns the name of the package; empty where there is none.
    fn package(&self) -> &'static str {
        self.install.package().unwrap_or_default()
    }

    fn unusable(&self, why: &str) -> Error {
        Error::Unusable { package: self.package(), version: self.version.clone(), why: why.to_owned() }
    }
}

/// A file that a package manager or a package wrote is refused above this size, in bytes.
const MAX_BYTES: u64 = 8 << 20;

/// Reads a file that a package may have written.
fn read_bounded(path: &Utf8Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = fs_err::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

/// What is kept of a package manager's words, in bytes from the end.
const MAX_WORDS: u64 = 32 * 1024;

/// Runs a command in `directory`; returns what it said where it failed, and how it ended.
fn run(mut command: Command, directory: &Utf8Path) -> Result<Option<(String, String)>, Error> {
    let log = directory.join(".errors");
    let io = |source| Error::Io { path: log.clone(), source };
    let mut file = fs_err::OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&log)
        .map_err(io)?
        .into_file();
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(file.try_clone().map_err(io)?)
        .status()
        .map_err(|source| Error::Io { path: program.into(), source })?;
    let length = file.metadata().map_err(io)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_WORDS))).map_err(io)?;
    let mut words = Vec::new();
    file.take(MAX_WORDS).read_to_end(&mut words).map_err(io)?;
    fs_err::remove_file(&log).map_err(io)?;
    let words = String::from_utf8_lossy(&words).into_owned();
    Ok((!status.success()).then(|| (words, status.to_string())))
}

/// Returns sentences on one line, without control characters.
fn told<'a>(sentences: impl Iterator<Item = &'a str>) -> String {
    let text: String = sentences.take(2).collect::<Vec<_>>().join("; ");
    let clean: String = text.chars().filter(|letter| !letter.is_control()).take(300).collect();
    if clean.is_empty() { "it said nothing".to_owned() } else { clean }
}

/// Says whether a variable is about how hosts are reached, and whom to trust.
fn is_of_network(lower: &str) -> bool {
    matches!(
        lower,
        "http_proxy" | "https_proxy" | "no_proxy" | "all_proxy" | "ssl_cert_file" | "ssl_cert_dir"
    )
}

/// Starts a command of the host with nothing but `environment`.
fn command(program: &Utf8Path, environment: &[(String, String)]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests;
