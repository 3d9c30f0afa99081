//! What this host has of the things that sandboxes are made of: looked at, not judged.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};

use super::bwrap::program::{self, Bubblewrap};
use super::{docker, probe};
use crate::config::Root;
use crate::env::Environment;
use crate::sys::kernel::{self, UserNamespace};
use crate::util::fs::{create_private, read_bounded};

/// The most that is read of a file below `/proc`, in bytes.
const MOST_PROC: u64 = 64 * 1024;

/// Settings of the kernel that close user namespaces.
pub const SYSCTLS: &[&str] = &[
    "user.max_user_namespaces",
    "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns",
];

/// Programs that pier or agents use, looked for on `PATH`.
const PROGRAMS: &[&str] = &["git", "node", "npm", "docker", "nix"];

/// Everything that `pier doctor` judges.
pub struct Host {
    pub uid: u32,
    pub kernel: String,
    pub user_namespace: io::Result<UserNamespace>,
    /// Name and value, of those that this kernel has.
    pub sysctls: Vec<(&'static str, String)>,
    pub bubblewrap: Result<Bubblewrap, program::Error>,
    /// The found program gives root to whoever runs it.
    pub setuid: bool,
    pub landlock: io::Result<u32>,
    pub seccomp: io::Result<()>,
    pub cgroup: Cgroup,
    pub containers: Containers,
    pub programs: Vec<Program>,
    pub directories: Vec<Directory>,
    /// What says that this is a container: a file, or a variable.
    pub container: Option<String>,
    /// This is a sandbox of pier's.
    pub nested: bool,
}

/// Which control groups limits could be set with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroup {
    /// Version 2: the group of this process, and the controllers that it may hand on where it is delegated.
    Two {
        path: Utf8PathBuf,
        delegated: bool,
        controllers: String,
    },
    One,
    None,
}

/// The engine of `runtime container`, by its socket.
#[derive(Debug)]
pub enum Containers {
    /// Where Docker's own client would look, no socket is.
    None {
        socket: Utf8PathBuf,
    },
    Engine {
        socket: Utf8PathBuf,
        about: docker::About,
    },
    Unusable(docker::Error),
}

pub struct Program {
    pub name: &'static str,
    pub path: Option<Utf8PathBuf>,
    /// The first line of `--version`.
    pub version: Option<String>,
}

pub struct Directory {
    pub what: &'static str,
    pub path: Utf8PathBuf,
    /// Free bytes for this user, or why nothing can be written.
    pub free: io::Result<u64>,
}

/// Looks at the host. Makes pier's own directories where they are missing, for that is what is asked.
pub fn look(environment: &Environment) -> Host {
    let wanted = environment.bubblewrap();
    let bubblewrap = program::find(wanted, None);
    let setuid = bubblewrap.as_ref().is_ok_and(|found| {
        fs_err::metadata(&found.path).is_ok_and(|meta| meta.permissions().mode() & 0o4000 != 0)
    });
    let directories = [
        ("configuration", &environment.config),
        ("state", &environment.state),
        ("cache", &environment.cache),
    ];
    Host {
        uid: nix::unistd::geteuid().as_raw(),
        kernel: proc("/proc/sys/kernel/osrelease").unwrap_or_default(),
        user_namespace: kernel::user_namespace(),
        sysctls: SYSCTLS.iter().filter_map(|name| Some((*name, sysctl(name)?))).collect(),
        bubblewrap,
        setuid,
        landlock: kernel::landlock_version(),
        seccomp: kernel::seccomp_filters(),
        cgroup: cgroup(),
        containers: containers(environment),
        programs: PROGRAMS.iter().map(|name| program(name, environment)).collect(),
        directories: directories
            .map(|(what, path)| Directory { what, path: path.clone(), free: writable(path) })
            .into(),
        container: container(environment),
        nested: environment.get("PIER_SANDBOX") == Some("1"),
    }
}

fn proc(path: &str) -> Option<String> {
    let bytes = read_bounded(Utf8Path::new(path), MOST_PROC).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn sysctl(name: &str) -> Option<String> {
    proc(&format!("/proc/sys/{}", name.replace('.', "/")))
}

fn cgroup() -> Cgroup {
    let root = Utf8Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        let groups = proc("/proc/self/cgroup").unwrap_or_default();
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let path = if own.is_empty() { root.to_owned() } else { root.join(own) };
        let writable = |name: &str| {
            nix::unistd::access(path.join(name).as_std_path(), nix::unistd::AccessFlags::W_OK).is_ok()
        };
        let delegated = writable("cgroup.procs") && writable("cgroup.subtree_control");
        let controllers = proc(path.join("cgroup.controllers").as_str()).unwrap_or_default();
        return Cgroup::Two { path, delegated, controllers };
    }
    if root.join("memory").is_dir() || root.join("pids").is_dir() { Cgroup::One } else { Cgroup::None }
}

fn containers(environment: &Environment) -> Containers {
    let variable = |name: &str| environment.get(name).map(str::to_owned);
    let engine = match docker::find(&variable, &environment.home) {
        Ok(engine) => engine,
        Err(error) => return Containers::Unusable(error),
    };
    let socket = engine.socket.clone();
    if !socket.exists() {
        return Containers::None { socket };
    }
    match engine.connect().and_then(|engine| engine.about()) {
        Ok(about) => Containers::Engine { socket, about },
        Err(error) => Containers::Unusable(error),
    }
}

fn program(name: &'static str, environment: &Environment) -> Program {
    let directories = environment.get("PATH").unwrap_or_default().split(':');
    let mut files =
        directories.filter(|part| part.starts_with('/')).map(|part| Utf8Path::new(part).join(name));
    let path = files.find(|file| {
        fs_err::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    });
    let version = path.as_ref().filter(|path| !in_project(path)).and_then(|path| {
        // A script finds its interpreter beside it or in the system, and never by the caller's own path.
        let beside = path.parent().map(|parent| format!("{parent}:/usr/local/bin:/usr/bin:/bin"));
        let mut command = Command::new(path);
        command.arg("--version").env("PATH", beside?).stdin(Stdio::null()).stderr(Stdio::null());
        let output = command.output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
    });
    Program { name, path, version }
}

/// Says whether a program is the work of whoever works in the current project: it is named, and never run.
fn in_project(path: &Utf8Path) -> bool {
    let here = std::env::current_dir().ok().and_then(|here| Utf8PathBuf::from_path_buf(here).ok());
    let root = here.and_then(|here| probe::project_root(&here, Root::Git).ok());
    match (root, path.canonicalize_utf8()) {
        (Some(root), Ok(real)) => real.starts_with(&root) || path.starts_with(&root),
        // Not knowing is no reason to run it.
        _ => true,
    }
}

fn writable(path: &Utf8Path) -> io::Result<u64> {
    create_private(path)?;
    // Removed again at once; a full disk shows here as well.
    let file = tempfile::Builder::new().prefix(".pier-").tempfile_in(path)?;
    drop(file);
    let found = nix::sys::statvfs::statvfs(path.as_std_path())?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}

fn container(environment: &Environment) -> Option<String> {
    let file = ["/.dockerenv", "/run/.containerenv"].iter().find(|path| Utf8Path::new(path).exists());
    if let Some(file) = file {
        return Some((*file).to_owned());
    }
    ["KUBERNETES_SERVICE_HOST", "container"]
        .iter()
        .find(|name| environment.get(name).is_some())
        .map(|name| (*name).to_owned())
}
