//! Finds an agent's launcher on the host and says what must be visible for it to run.
//!
//! Nothing is executed: a shim is resolved by the layout of its tool, a version is read from a file. What would
//! need the home directory, or can be rewritten by somebody else, is refused.

use camino::{Utf8Path, Utf8PathBuf};

use crate::plan::facts::{InstallKind, Launcher};

mod head;
mod layout;
mod shim;
mod trust;

use head::Head;

/// Shims and wrapper scripts that are followed from one launcher to the program.
const MAX_HOPS: usize = 6;

/// Where to look, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// The host's `PATH`; relative and empty parts are skipped, for they mean the current directory.
    pub path: &'a str,
    pub home: &'a Utf8Path,
    /// Who will run it: files of any other user but root are refused.
    pub uid: u32,
}

/// Why a launcher cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot find `{name}` on `PATH`")]
    NotFound { name: String },
    #[error("`{path}` is a broken link to `{target}`")]
    BrokenLink { path: Utf8PathBuf, target: Utf8PathBuf },
    #[error("cannot read `{path}`: {source}")]
    Read { path: Utf8PathBuf, source: std::io::Error },
    #[error("`{path}` is not a name in UTF-8")]
    Name { path: String },
    #[error("`{path}` needs `{directory}` visible, which would show the whole home directory")]
    NeedsHome { path: Utf8PathBuf, directory: Utf8PathBuf },
    #[error("`{path}` can be written by every user of this host")]
    WorldWritable { path: Utf8PathBuf },
    #[error("`{path}` belongs to user {owner}, neither to root nor to user {uid}")]
    ForeignOwner { path: Utf8PathBuf, owner: u32, uid: u32 },
    #[error("`{path}` is a script for `{interpreter}`, which pier does not know")]
    UnknownInterpreter { path: Utf8PathBuf, interpreter: String },
    #[error("`{path}` is neither a program nor a script")]
    NotAProgram { path: Utf8PathBuf },
    #[error("`{path}` is a shim of {tool}, and the program behind it cannot be told{}", candidates(.found))]
    Shim { path: Utf8PathBuf, tool: &'static str, found: Vec<Utf8PathBuf> },
    #[error("`{path}` leads through more than {MAX_HOPS} shims")]
    TooManyHops { path: Utf8PathBuf },
    #[error("`{path}` lies in the Nix store, and its closure is not known without Nix")]
    NixStore { path: Utf8PathBuf },
}

impl Error {
    /// Returns the next step, where there is one.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Error::NotFound { .. } => "add `version` to the agent's block and pier installs it",
            Error::BrokenLink { .. } => "install the agent again, or remove the link",
            Error::Read { .. }
            | Error::Name { .. }
            | Error::NotAProgram { .. }
            | Error::TooManyHops { .. } => {
                return None;
            }
            Error::NeedsHome { .. } | Error::UnknownInterpreter { .. } => {
                "add `version` to the agent's block and pier installs its own copy"
            }
            Error::WorldWritable { path } => return Some(format!("`chmod o-w {path}`")),
            Error::ForeignOwner { .. } => "use a copy that is yours, or add `version` to the agent's block",
            Error::Shim { .. } => "put the directory of the wanted version first in `PATH`",
            Error::NixStore { .. } => "use `runtime nix`",
        };
        Some(text.to_owned())
    }
}

fn candidates(found: &[Utf8PathBuf]) -> String {
    let names: Vec<String> = found.iter().map(|path| format!("`{path}`")).collect();
    if names.is_empty() { String::new() } else { format!(": {}", names.join(" or ")) }
}

/// Finds the first of `names` that is on `PATH`.
pub fn find(names: &[&str], search: &Search<'_>) -> Result<Launcher, Error> {
    let mut broken = None;
    for name in names {
        match on_path(name, search) {
            Ok(found) => return inspect(&found, search),
            Err(error @ Error::BrokenLink { .. }) => broken = broken.or(Some(error)),
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(broken.unwrap_or_else(|| Error::NotFound {
        name: names.first().map(ToString::to_string).unwrap_or_default(),
    }))
}

/// Says what the launcher at `path` needs.
pub fn inspect(path: &Utf8Path, search: &Search<'_>) -> Result<Launcher, Error> {
    let mut entry = path.to_owned();
    for _ in 0..MAX_HOPS {
        trust::links(&entry, search.uid)?;
        if let Some(next) = shim::behind(&entry, search)? {
            entry = next;
            continue;
        }
        let program = canonical(&entry)?;
        match Head::read(&program)? {
            Head::Native => return finish(program, None, Vec::new(), search),
            Head::Script { interpreter, .. } if is_node(&interpreter) => {
                let node = node_for(&interpreter, &entry, search)?;
                return finish(program, Some(node), Vec::new(), search);
            }
            Head::Script { interpreter, text } if head::is_shell(&interpreter) => {
                match shim::exec_target(&text, &program) {
                    Some(next) => entry = next,
                    None => return finish(program, None, Vec::new(), search),
                }
            }
            Head::Script { interpreter, .. } => {
                let directories = python(&program, &interpreter)?;
                return finish(program, None, directories, search);
            }
        }
    }
    Err(Error::TooManyHops { path: path.to_owned() })
}

/// Says whether a file is a program that the kernel starts by itself.
pub fn is_program(path: &Utf8Path) -> bool {
    trust::is_executable(path) && matches!(Head::read(path), Ok(Head::Native))
}

/// Says what a script in an installation of pier's own needs, which this Python runs.
pub fn python_program(
    program: &Utf8Path,
    python: Utf8PathBuf,
    directory: &Utf8Path,
    search: &Search<'_>,
) -> Result<Launcher, Error> {
    let mut directories = vec![directory.to_owned()];
    if !layout::is_system(&python) {
        directories.extend(python.parent().and_then(Utf8Path::parent).map(Utf8Path::to_owned));
    }
    finish(program.to_owned(), Some(python), directories, search)
}

/// Finds Node for a script that an installation of pier's own holds.
pub fn node(search: &Search<'_>) -> Result<Utf8PathBuf, Error> {
    node_for("node", Utf8Path::new("/"), search)
}

/// Returns the directories that `node` needs to run, canonical.
pub fn node_directories(node: &Utf8Path) -> Vec<Utf8PathBuf> {
    if layout::is_system(node) { Vec::new() } else { vec![layout::node_prefix(node)] }
}

fn finish(
    program: Utf8PathBuf,
    interpreter: Option<Utf8PathBuf>,
    mut directories: Vec<Utf8PathBuf>,
    search: &Search<'_>,
) -> Result<Launcher, Error> {
    let in_store = |path: &&Utf8PathBuf| path.starts_with("/nix/store");
    if let Some(path) = [Some(&program), interpreter.as_ref()].into_iter().flatten().find(in_store) {
        return Err(Error::NixStore { path: path.clone() });
    }
    let system = layout::is_system(&program);
    if !system {
        directories.push(layout::directory(&program));
    }
    if let Some(node) = &interpreter {
        directories.extend(node_directories(node));
    }
    let directories = layout::outermost(directories);
    let home = canonical(search.home).unwrap_or_else(|_| search.home.to_owned());
    for directory in &directories {
        if home.starts_with(directory) || search.home.starts_with(directory) {
            return Err(Error::NeedsHome { path: program, directory: directory.clone() });
        }
        trust::place(directory, search.uid)?;
    }
    for file in [Some(&program), interpreter.as_ref()].into_iter().flatten() {
        trust::place(file, search.uid)?;
    }
    let version = layout::version(&program);
    let kind = if system { InstallKind::System } else { InstallKind::Host };
    Ok(Launcher { program, interpreter, directories, libraries: Vec::new(), version, kind })
}

/// Returns the first executable file of that name, not resolved. A name with a slash is a path.
fn on_path(name: &str, search: &Search<'_>) -> Result<Utf8PathBuf, Error> {
    if name.contains('/') {
        let path = Utf8PathBuf::from(name);
        canonical(&path)?;
        return Ok(path);
    }
    let mut broken = None;
    for directory in search.path.split(':').filter(|part| part.starts_with('/')) {
        let path = Utf8Path::new(directory).join(name);
        if path.is_file() {
            if trust::is_executable(&path) {
                return Ok(path);
            }
        } else if path.is_symlink() && broken.is_none() {
            broken = canonical(&path).err();
        }
    }
    Err(broken.unwrap_or_else(|| Error::NotFound { name: name.to_owned() }))
}

fn canonical(path: &Utf8Path) -> Result<Utf8PathBuf, Error> {
    match fs_err::canonicalize(path) {
        Ok(found) => Utf8PathBuf::try_from(found)
            .map_err(|error| Error::Name { path: error.into_path_buf().display().to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.is_symlink() => {
            let target = path.read_link_utf8().unwrap_or_default();
            Err(Error::BrokenLink { path: path.to_owned(), target })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::NotFound { name: path.to_string() })
        }
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

fn is_node(interpreter: &str) -> bool {
    matches!(interpreter.rsplit('/').next(), Some("node" | "nodejs"))
}

/// Returns the Node that a script would get: the one its line names, the one of the same prefix, or the first
/// on `PATH` that is no shim of a shim.
fn node_for(interpreter: &str, script: &Utf8Path, search: &Search<'_>) -> Result<Utf8PathBuf, Error> {
    if interpreter.starts_with('/') {
        return canonical(Utf8Path::new(interpreter));
    }
    // A global npm package runs with the Node of its own prefix, whatever the caller's `PATH` says.
    let script = canonical(script).unwrap_or_else(|_| script.to_owned());
    if let Some(node) =
        layout::npm_prefix(&script).map(|prefix| prefix.join("bin/node")).filter(|node| node.is_file())
    {
        return canonical(&node);
    }
    if let Some(node) = shim::volta_node(&script, search) {
        return canonical(&node);
    }
    let mut entry = on_path("node", search)?;
    for _ in 0..MAX_HOPS {
        trust::links(&entry, search.uid)?;
        match shim::behind(&entry, search)? {
            Some(next) => entry = next,
            None => return canonical(&entry),
        }
    }
    Err(Error::TooManyHops { path: entry })
}

/// Returns the directories that a Python script needs beyond its own: nothing for the system's Python, the
/// virtual environment and the installation behind it else.
fn python(program: &Utf8Path, interpreter: &str) -> Result<Vec<Utf8PathBuf>, Error> {
    let unknown =
        || Error::UnknownInterpreter { path: program.to_owned(), interpreter: interpreter.to_owned() };
    let path = Utf8Path::new(interpreter);
    let is_python = path.file_name().is_some_and(|name| name.starts_with("python"));
    let bin = path.parent().filter(|_| is_python && path.is_absolute()).ok_or_else(unknown)?;
    let real = canonical(path)?;
    if layout::is_system(path) && layout::is_system(&real) {
        return Ok(Vec::new());
    }
    let environment = bin.parent().filter(|root| root.join("pyvenv.cfg").is_file()).ok_or_else(unknown)?;
    let mut directories = vec![canonical(environment)?];
    if !layout::is_system(&real) {
        directories.push(real.parent().and_then(Utf8Path::parent).ok_or_else(unknown)?.to_owned());
    }
    Ok(directories)
}

#[cfg(test)]
mod tests;
