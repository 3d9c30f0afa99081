//! Whom pier acts as: root gives way to the owner of the project before anything of the project is read.

use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::Global;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::sys::process;
use crate::ui;
use crate::util::fs::read_bounded;
use crate::workspace::Mode;

/// The most that is read of `/etc/passwd`, in bytes.
const MOST_PASSWD: u64 = 4 * 1024 * 1024;

/// What happens to root in a project that root owns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RootOwned {
    /// The command runs something, so it is refused unless root was asked for.
    Refuse,
    /// The same, and what it runs has no sandbox.
    RefuseBare,
    /// The command only reads and reports.
    Stay,
}

impl RootOwned {
    /// The rule of what runs in a workspace.
    pub fn of_mode(mode: Mode) -> Self {
        match mode {
            Mode::Container => RootOwned::Refuse,
            Mode::Host => RootOwned::RefuseBare,
        }
    }

    fn why(self) -> &'static str {
        match self {
            RootOwned::Refuse | RootOwned::Stay => "a sandbox of root is a weaker one",
            RootOwned::RefuseBare => "without a sandbox, all of this machine is open to it",
        }
    }
}

/// Returns the environment of a command about sessions, which belong to a user and to no project: root acts as the
/// owner of the home directory.
pub fn of_sessions(global: &Global) -> Result<Environment, Failure> {
    let environment = Environment::of_process()?;
    let home = environment.home.clone();
    settle(environment, global, &home, RootOwned::Stay)
}

/// Gives up root in favour of the owner of `root`, or of who called sudo; returns the environment to go on with.
pub fn settle(
    environment: Environment,
    global: &Global,
    root: &Utf8Path,
    rule: RootOwned,
) -> Result<Environment, Failure> {
    if !nix::unistd::geteuid().is_root() || global.as_root || environment.get("PIER_AS_ROOT") == Some("1") {
        return Ok(environment);
    }
    let meta = fs_err::metadata(root).map_err(|error| {
        Failure::new(Exit::Usage, "host::probe", format!("cannot look at the project: {error}"))
    })?;
    let caller = environment.get("SUDO_UID").and_then(|uid| uid.parse().ok()).filter(|uid| *uid != 0);
    let uid = if meta.uid() == 0 { caller } else { Some(meta.uid()) };
    let Some(uid) = uid else {
        return match rule {
            RootOwned::Stay => Ok(environment),
            rule => Err(Failure::new(
                Exit::NotSetUp,
                "owner::root",
                format!("root runs no agent in `{root}`, which root owns: {}", rule.why()),
            )
            .help("`chown` the project to a user, or ask for root by `--as-root` or `PIER_AS_ROOT=1`")),
        };
    };
    let account = Account::of(uid);
    let gid = account.as_ref().map_or(meta.gid(), |account| account.gid);
    let own_home = fs_err::metadata(&environment.home).is_ok_and(|home| home.uid() == uid);
    let environment = match account {
        _ if own_home => environment,
        Some(account) => {
            let ignored = environment.engine_left_behind();
            if !ignored.is_empty() {
                ui::warn(&format!(
                    "root's own `{}` is ignored: pier acts as user {uid}, who has other contexts; \
                     `DOCKER_HOST=unix:///…` counts for both",
                    ignored.join("`, `")
                ));
            }
            environment.for_home(&account.home)
        }
        None => {
            let message = format!("user {uid} owns the project and has no home directory");
            return Err(Failure::new(Exit::NotSetUp, "owner::home", message)
                .help("set `HOME` to a directory that this user owns"));
        }
    };
    process::become_user(uid, gid).map_err(|error| {
        Failure::new(Exit::NotSetUp, "owner::switch", format!("cannot become user {uid}: {error}"))
    })?;
    tracing::debug!(uid, gid, home = %environment.home, "gave up root");
    Ok(environment)
}

/// A line of `/etc/passwd`, read without the name service, which a static program does not have.
struct Account {
    gid: u32,
    home: Utf8PathBuf,
}

impl Account {
    fn of(uid: u32) -> Option<Account> {
        let bytes = read_bounded(Utf8Path::new("/etc/passwd"), MOST_PASSWD).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        text.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, number, gid, _, home, _] = fields.as_slice() else { return None };
            let home = Utf8PathBuf::from(*home);
            (number.parse() == Ok(uid) && home.is_absolute()).then_some(())?;
            Some(Account { gid: gid.parse().ok()?, home })
        })
    }
}
