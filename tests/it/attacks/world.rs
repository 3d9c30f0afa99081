//! The throw-away host that is attacked: a home full of canaries, listeners, processes, a project, a neighbour.

use std::cell::RefCell;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::program;
use crate::sandbox::{is_root, unique_sleep};

/// The user that the sandbox runs as, unless it runs as root.
pub const OWNER: u32 = 1000;

/// Files of the home that hold a canary.
const SECRETS: &[&str] = &[
    ".ssh/id_ed25519",
    ".ssh/id_rsa",
    ".aws/credentials",
    ".config/gh/hosts.yml",
    ".netrc",
    ".docker/config.json",
    ".kube/config",
    ".npmrc",
    ".pypirc",
    ".cargo/credentials.toml",
    ".claude.json",
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".gnupg/private-keys-v1.d/key",
    ".bash_history",
    ".zsh_history",
    ".local/share/fish/fish_history",
    ".mozilla/firefox/profile/logins.json",
    ".config/google-chrome/Default/Cookies",
    ".config/Code/User/globalStorage/state.vscdb",
];

/// Files of the home that a shell, the desktop or ssh obeys.
pub const OBEYED: &[&str] = &[
    ".bashrc",
    ".profile",
    ".zshrc",
    ".config/fish/config.fish",
    ".config/systemd/user/x.service",
    ".config/autostart/x.desktop",
    ".local/bin/ls",
    ".ssh/authorized_keys",
    ".gitconfig",
    ".config/git/config",
];

/// Sockets of the runtime directory.
const SOCKETS: &[&str] =
    &["bus", "gnupg/S.gpg-agent", "ssh-agent", "docker.sock", "pipewire-0", "wayland-0", "systemd-private"];

/// Variables of the caller that hold the canary.
const SECRET_VARIABLES: &[&str] =
    &["GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "ANTHROPIC_API_KEY", "NPM_TOKEN", "KUBECONFIG_DATA"];

pub struct World {
    base: tempfile::TempDir,
    /// The uid that everything belongs to.
    pub uid: u32,
    /// A word that is in every secret of this world and nowhere else.
    pub canary: String,
    listeners: Vec<(String, UnixListener)>,
    /// The name of the abstract socket.
    pub abstract_name: String,
    /// A process of the host, with the canary in its environment and `argument` on its command line.
    process: Child,
    pub argument: String,
    /// Whether IPC objects have been made, by key.
    ipc: RefCell<bool>,
}

impl World {
    /// Makes a world whose files belong to this user.
    pub fn new(uid: u32, config: &str, prepare: fn(&World)) -> Self {
        let base = tempfile::Builder::new().prefix("pier-attack-").tempdir_in("/tmp").unwrap();
        let canary =
            format!("canary-{}", fs_err::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim());
        let abstract_name = base.path().file_name().unwrap().to_str().unwrap().to_owned();
        let argument = unique_sleep();
        let mut command = Command::new("sleep");
        command.arg(&argument).env_clear().env("SECRET", &canary).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = become_user(&mut command, uid).spawn().unwrap();
        let listeners = Vec::new();
        let ipc = RefCell::new(false);
        let mut world = World { base, uid, canary, listeners, abstract_name, process, argument, ipc };
        world.fill(config);
        prepare(&world);
        world.give();
        world
    }

    fn fill(&mut self, config: &str) {
        for path in SECRETS {
            self.write(Path::new("home").join(path), &format!("{}\n", self.canary));
        }
        for path in OBEYED {
            self.write(Path::new("home").join(path), "");
        }
        self.write("secret-file", &self.canary);
        self.write("other/file", &format!("{}\n", self.canary));
        self.write("markers/keep", "");
        self.write("project/pier.kdl", config);
        self.write("project/src/main.c", "int main(void) { return 0; }\n");
        for name in [".git/objects", ".git/refs/heads", "tools"] {
            fs_err::create_dir_all(self.project().join(name)).unwrap();
        }
        self.write("project/.git/HEAD", "ref: refs/heads/main\n");
        self.write("project/.git/config", "[core]\n\trepositoryformatversion = 0\n\tbare = false\n");
        program::copy(program::probe(), &self.project().join("tools/probe"));
        for name in SOCKETS {
            let path = self.runtime().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            self.listen(name, UnixListener::bind(path).unwrap());
        }
        let address = SocketAddr::from_abstract_name(&self.abstract_name).unwrap();
        self.listen("abstract", UnixListener::bind_addr(&address).unwrap());
    }

    fn listen(&mut self, name: &str, listener: UnixListener) {
        listener.set_nonblocking(true).unwrap();
        self.listeners.push((name.to_owned(), listener));
    }

    /// Names of the listeners that somebody has connected to.
    pub fn connected(&self) -> Vec<&str> {
        let heard = self.listeners.iter().filter(|(_, listener)| listener.accept().is_ok());
        heard.map(|(name, _)| name.as_str()).collect()
    }

    pub fn base(&self) -> &Path {
        self.base.path()
    }

    pub fn project(&self) -> PathBuf {
        self.base().join("project")
    }

    pub fn home(&self) -> PathBuf {
        self.base().join("home")
    }

    pub fn runtime(&self) -> PathBuf {
        self.base().join("run")
    }

    pub fn state(&self) -> PathBuf {
        self.home().join(".local/state/pier")
    }

    /// What has been marked.
    pub fn marked(&self) -> Vec<String> {
        let names = fs_err::read_dir(self.base().join("markers")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "keep").collect()
    }

    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// A number for keys of IPC objects that no other world has.
    pub fn ipc_key(&self) -> String {
        (0x7069_0000 + self.process.id()).to_string()
    }

    pub fn queue_name(&self) -> String {
        format!("pier-attack-{}", self.process.id())
    }

    /// Makes shared memory, semaphores and queues on the host, until the world ends.
    pub fn make_ipc(&self) {
        self.ipc.replace(true);
        self.probe_on_host("ipc-make");
    }

    fn probe_on_host(&self, name: &str) {
        let mut command = Command::new(program::probe());
        command.args([name, &self.ipc_key(), &self.queue_name()]).stdout(Stdio::null());
        assert!(become_user(&mut command, self.uid).status().unwrap().success());
    }

    /// Writes a file below the base.
    pub fn write(&self, path: impl AsRef<Path>, text: &str) {
        let path = self.base().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    /// Writes a file of the project.
    pub fn write_project(&self, path: &str, text: &str) {
        self.write(Path::new("project").join(path), text);
    }

    /// Gives everything to the owner.
    pub fn give(&self) {
        if is_root() {
            give(self.base(), self.uid);
        }
    }

    /// Variables of the caller, secrets included.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let runtime = self.runtime();
        let path = |name: &str| runtime.join(name).display().to_string();
        let mut pairs: Vec<(&'static str, String)> =
            SECRET_VARIABLES.iter().map(|name| (*name, self.canary.clone())).collect();
        pairs.extend([
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
            ("HOME", self.home().display().to_string()),
            ("XDG_RUNTIME_DIR", runtime.display().to_string()),
            ("SSH_AUTH_SOCK", path("ssh-agent")),
            ("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", path("bus"))),
            ("KUBECONFIG", self.home().join(".kube/config").display().to_string()),
            ("DISPLAY", ":77".into()),
        ]);
        pairs
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Both fail only when somebody else has ended it.
        let _ended = self.process.kill();
        let _ended = self.process.wait();
        if *self.ipc.borrow() && !std::thread::panicking() {
            self.probe_on_host("ipc-remove");
        }
        // What an attack made unreadable for its owner is removed all the same.
        open_up(self.base());
    }
}

/// Makes a command of root's a command of this user.
pub fn become_user(command: &mut Command, uid: u32) -> &mut Command {
    if is_root() && uid != 0 {
        command.uid(uid).gid(uid);
    }
    command
}

fn give(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs_err::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), uid);
        }
    }
}

fn open_up(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // The removal that follows says more about what cannot be opened.
            let _removed_later =
                std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o700));
            open_up(&entry.path());
        }
    }
}
