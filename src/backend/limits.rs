//! Limits of a whole session by control groups: version 2 where a subtree is ours, version 1 where it can be
//! written, a scope of the user's systemd otherwise.
//!
//! What no control group can hold here is given back to the caller by name; the number of processes is then held by
//! the init, which counts per user namespace.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use thiserror::Error;

use crate::plan::{Cap, Limits};
use crate::util::fs::read_bounded;

/// Where control groups are mounted.
const MOUNTED: &str = "/sys/fs/cgroup";

/// The most that is read of one of their files, in bytes.
const MOST: u64 = 64 * 1024;

/// Length of a period of processor time, in microseconds.
const PERIOD: u64 = 100_000;

/// The program that makes a scope; only this path is trusted.
const SYSTEMD_RUN: &str = "/usr/bin/systemd-run";

/// What a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Memory,
    Processors,
    Processes,
}

impl Kind {
    /// The name of the node in `pier.kdl`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Memory => "memory",
            Kind::Processors => "cpus",
            Kind::Processes => "pids",
        }
    }

    fn controller(self) -> &'static str {
        match self {
            Kind::Memory => "memory",
            Kind::Processors => "cpu",
            Kind::Processes => "pids",
        }
    }
}

#[derive(Debug, Error)]
#[error("`limits {}` is required, and this host has no control group that pier may use for it", kind.name())]
pub struct Error {
    pub kind: Kind,
}

/// The files that hold one session to its limits, and the ones that its processes enter by.
#[derive(Debug, Default)]
pub struct Group {
    /// Made for the session, removed with it.
    directories: Vec<Utf8PathBuf>,
    /// Where the kernel counts what it killed for lack of memory.
    memory: Option<Utf8PathBuf>,
    /// What it had counted before.
    before: u64,
    /// It has killed something since.
    killed: bool,
    /// What bubblewrap is started with, in front of its own path.
    pub scope: Vec<String>,
    /// Asked for, and held by no control group.
    pub missing: Vec<Kind>,
}

impl Group {
    /// Makes what this host allows.
    ///
    /// # Errors
    /// For a limit that is `required` and cannot be held.
    pub fn make(limits: &Limits, session: &str) -> Result<Self, Error> {
        let wanted = wanted(limits);
        let mut group = Group::default();
        if !wanted.is_empty() {
            let own = read(Utf8Path::new("/proc/self/cgroup")).unwrap_or_default();
            let host = Host { mounted: Utf8Path::new(MOUNTED), own: &own };
            let left = group.two(&host, limits, &wanted, session);
            let left = group.one(&host, limits, &left, session);
            group.missing = group.scope(limits, left);
        }
        // The init holds the number of processes.
        let required = |kind: &Kind| match kind {
            Kind::Memory => limits.memory.is_some_and(|cap| cap.required),
            Kind::Processors => limits.cpus.is_some_and(|cap| cap.required),
            Kind::Processes => false,
        };
        match group.missing.iter().copied().find(required) {
            Some(kind) => Err(Error { kind }),
            None => Ok(group),
        }
    }

    /// The directories that were made, which a killed supervisor leaves.
    pub fn directories(&self) -> &[Utf8PathBuf] {
        &self.directories
    }

    /// Moves a process in, with all that will come from it.
    pub fn enter(&self, process: u32) -> io::Result<()> {
        self.directories
            .iter()
            .try_for_each(|directory| fs_err::write(directory.join("cgroup.procs"), process.to_string()))
    }

    /// The group that somebody else has made for a process: pier only looks at it.
    pub fn of_process(process: u32) -> Self {
        let own = read(Utf8Path::new(&format!("/proc/{process}/cgroup"))).unwrap_or_default();
        let host = Host { mounted: Utf8Path::new(MOUNTED), own: &own };
        let of = |controller, name| Some(host.path_of(controller)?.join(name)).filter(|path| path.is_file());
        let memory = of("memory", "memory.oom_control").or_else(|| of("", "memory.events"));
        memory.map(|path| Self::counted_in(&path)).unwrap_or_default()
    }

    /// A group by the file that [`Group::counter`] returned.
    pub fn counted_in(path: &Utf8Path) -> Self {
        let mut group = Group::default();
        group.memory = Some(path.to_owned());
        group.before = group.count();
        group
    }

    /// Where the kernel counts what it killed for lack of memory.
    pub fn counter(&self) -> Option<&Utf8Path> {
        self.memory.as_deref()
    }

    fn count(&self) -> u64 {
        let counted = self.memory.as_ref().and_then(|path| read(path).ok()).unwrap_or_default();
        let count = counted.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    /// Says whether the kernel has killed a process of the session because its memory was used up. What is somebody
    /// else's has to be asked before it is gone.
    pub fn out_of_memory(&mut self) -> bool {
        self.killed |= self.count() > self.before;
        self.killed
    }

    /// Version 2. Returns what it does not hold.
    fn two(&mut self, host: &Host<'_>, limits: &Limits, wanted: &[Kind], session: &str) -> Vec<Kind> {
        let Some(own) = host.path_of("") else { return wanted.to_vec() };
        let own = if own.join("cgroup.controllers").exists() { own } else { return wanted.to_vec() };
        let there = read(&own.join("cgroup.controllers")).unwrap_or_default();
        let (held, left): (Vec<Kind>, Vec<Kind>) =
            wanted.iter().partition(|kind| there.split_whitespace().any(|name| name == kind.controller()));
        if held.is_empty() || enable(&own, &held).is_err() {
            return wanted.to_vec();
        }
        let directory = own.join(format!("pier-{session}"));
        let made = fs_err::create_dir(&directory).and_then(|()| {
            self.directories.push(directory.clone());
            held.iter().try_for_each(|kind| set_two(&directory, *kind, limits))
        });
        match made {
            Ok(()) => {
                self.memory = Some(directory.join("memory.events"));
                left
            }
            Err(error) => {
                tracing::debug!(%directory, %error, "no control group of version 2");
                self.remove();
                wanted.to_vec()
            }
        }
    }

    /// Version 1, one hierarchy a controller. Returns what it does not hold.
    fn one(&mut self, host: &Host<'_>, limits: &Limits, wanted: &[Kind], session: &str) -> Vec<Kind> {
        let mut left = Vec::new();
        for kind in wanted {
            let Some(own) = host.path_of(kind.controller()) else {
                left.push(*kind);
                continue;
            };
            let directory = own.join(format!("pier-{session}"));
            if let Err(error) = fs_err::create_dir(&directory) {
                tracing::debug!(%error, "no control group of version 1");
                left.push(*kind);
                continue;
            }
            if let Err(error) = set_one(&directory, *kind, limits) {
                tracing::debug!(%directory, %error, "no control group of version 1");
                let _unused = fs_err::remove_dir(&directory);
                left.push(*kind);
                continue;
            }
            if *kind == Kind::Memory {
                self.memory = Some(directory.join("memory.oom_control"));
            }
            self.directories.push(directory);
        }
        left
    }

    /// A scope of the user's own systemd. Returns what it does not hold.
    fn scope(&mut self, limits: &Limits, wanted: Vec<Kind>) -> Vec<Kind> {
        let uid = nix::unistd::geteuid();
        let bus = format!("/run/user/{uid}/systemd/private");
        let there = Utf8Path::new(SYSTEMD_RUN).exists() && Utf8Path::new(&bus).exists();
        // Entering two trees at once is not what either expects.
        if wanted.is_empty() || !there || uid.is_root() || !self.directories.is_empty() {
            return wanted;
        }
        self.scope = scope(limits, &wanted);
        Vec::new()
    }

    fn remove(&mut self) {
        for directory in self.directories.drain(..) {
            // Version 2 alone has it; everything inside has ended by then.
            let _absent = fs_err::OpenOptions::new()
                .write(true)
                .open(directory.join("cgroup.kill"))
                .and_then(|mut file| io::Write::write_all(&mut file, b"1"));
            // A process that has just ended leaves its group a moment later.
            for _ in 0..50 {
                match std::fs::remove_dir(&directory) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(std::time::Duration::from_millis(2));
                    }
                    _ => break,
                }
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Where this process is.
struct Host<'a> {
    mounted: &'a Utf8Path,
    /// `/proc/self/cgroup`.
    own: &'a str,
}

impl Host<'_> {
    /// Returns this process's group of a controller's hierarchy; of version 2 for the empty name.
    fn path_of(&self, controller: &str) -> Option<Utf8PathBuf> {
        let group = self.own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (names, path) = (parts.next()?, parts.next()?);
            names.split(',').any(|name| name == controller).then_some(path)
        })?;
        let below = group.trim_start_matches('/');
        if below.split('/').any(|part| part == "..") {
            return None;
        }
        let top = if controller.is_empty() { self.mounted.to_owned() } else { self.mounted.join(controller) };
        Some(if below.is_empty() { top } else { top.join(below) }).filter(|path| path.is_dir())
    }
}

fn wanted(limits: &Limits) -> Vec<Kind> {
    let asked = [
        (limits.memory.is_some(), Kind::Memory),
        (limits.cpus.is_some(), Kind::Processors),
        (limits.pids.is_some_and(|cap| cap.required), Kind::Processes),
    ];
    asked.into_iter().filter_map(|(asked, kind)| asked.then_some(kind)).collect()
}

/// Hands controllers to the groups below `own`; where this process is in the way, it moves into one of its own.
fn enable(own: &Utf8Path, kinds: &[Kind]) -> io::Result<()> {
    let on = read(&own.join("cgroup.subtree_control"))?;
    let off: Vec<Kind> = kinds
        .iter()
        .copied()
        .filter(|kind| !on.split_whitespace().any(|name| name == kind.controller()))
        .collect();
    if off.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = off.iter().map(|kind| format!("+{}", kind.controller())).collect();
    let turn_on = || set(&own.join("cgroup.subtree_control"), &words.join(" "));
    if turn_on().is_ok() {
        return Ok(());
    }
    let aside = own.join("pier-supervisors");
    if !aside.is_dir() {
        fs_err::create_dir(&aside)?;
    }
    set(&aside.join("cgroup.procs"), "0")?;
    turn_on()
}

fn set_two(directory: &Utf8Path, kind: Kind, limits: &Limits) -> io::Result<()> {
    match kind {
        Kind::Memory => {
            set(&directory.join("memory.max"), &whole(limits.memory))?;
            // Neither is there on every kernel: swap may be off, and groups are killed as one since 4.19.
            for (name, value) in [("memory.swap.max", "0"), ("memory.oom.group", "1")] {
                let file = directory.join(name);
                if file.exists() {
                    set(&file, value)?;
                }
            }
            Ok(())
        }
        Kind::Processors => set(&directory.join("cpu.max"), &format!("{} {PERIOD}", quota(limits))),
        Kind::Processes => set(&directory.join("pids.max"), &whole(limits.pids)),
    }
}

fn set_one(directory: &Utf8Path, kind: Kind, limits: &Limits) -> io::Result<()> {
    match kind {
        Kind::Memory => {
            set(&directory.join("memory.limit_in_bytes"), &whole(limits.memory))?;
            let with_swap = directory.join("memory.memsw.limit_in_bytes");
            if with_swap.exists() { set(&with_swap, &whole(limits.memory)) } else { Ok(()) }
        }
        Kind::Processors => {
            set(&directory.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
            set(&directory.join("cpu.cfs_quota_us"), &quota(limits).to_string())
        }
        Kind::Processes => set(&directory.join("pids.max"), &whole(limits.pids)),
    }
}

/// Returns the command in front of bubblewrap that puts it into a scope with these limits.
fn scope(limits: &Limits, kinds: &[Kind]) -> Vec<String> {
    let mut words = [SYSTEMD_RUN, "--user", "--scope", "--quiet", "--collect"].map(str::to_owned).to_vec();
    for kind in kinds {
        let properties = match kind {
            Kind::Memory => {
                vec![format!("MemoryMax={}", whole(limits.memory)), "MemorySwapMax=0".to_owned()]
            }
            Kind::Processors => vec![format!("CPUQuota={}%", quota(limits) * 100 / PERIOD)],
            Kind::Processes => vec![format!("TasksMax={}", whole(limits.pids))],
        };
        words.extend(properties.into_iter().flat_map(|property| ["--property".to_owned(), property]));
    }
    words.push("--".into());
    words
}

fn whole(cap: Option<Cap<u64>>) -> String {
    cap.map_or_else(|| "max".to_owned(), |cap| cap.at_most.to_string())
}

/// Microseconds of processor time in each period.
fn quota(limits: &Limits) -> u64 {
    let cpus = limits.cpus.map_or(1.0, |cap| cap.at_most).clamp(0.01, 10_000.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
    let quota = (cpus * 100_000.0) as u64;
    quota
}

fn read(path: &Utf8Path) -> io::Result<String> {
    String::from_utf8(read_bounded(path, MOST)?).map_err(io::Error::other)
}

fn set(path: &Utf8Path, value: &str) -> io::Result<()> {
    io::Write::write_all(&mut fs_err::OpenOptions::new().write(true).open(path)?, value.as_bytes())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write plain files")]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let memory = Some(Cap { at_most: 1 << 30, required: false });
        let pids = Some(Cap { at_most: 64, required: true });
        Limits { memory, cpus: Some(Cap { at_most: 1.5, required: false }), pids, ..Limits::default() }
    }

    /// A tree as the kernel shows it; plain files take every write.
    fn tree(files: &[&str]) -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        for file in files {
            let path = top.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        top
    }

    #[test]
    fn paths_of_both_versions_are_found() {
        let top = tree(&["user.slice/x/file", "memory/deep/file", "cpu,cpuacct/file"]);
        let mounted = Utf8Path::from_path(top.path()).unwrap();
        let own = "4:memory:/deep\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/user.slice/x\n";
        let host = Host { mounted, own };
        assert_eq!(host.path_of("").unwrap(), mounted.join("user.slice/x"));
        assert_eq!(host.path_of("memory").unwrap(), mounted.join("memory/deep"));
        assert_eq!(host.path_of("pids"), None);
        let escape = Host { mounted, own: "4:memory:/../x\n" };
        assert_eq!(escape.path_of("memory"), None);
    }

    #[test]
    fn a_subtree_of_version_2_holds_what_its_controllers_can() {
        let top = tree(&["own/cgroup.controllers", "own/cgroup.subtree_control"]);
        let mounted = Utf8Path::from_path(top.path()).unwrap();
        std::fs::write(mounted.join("own/cgroup.controllers"), "cpu memory io\n").unwrap();
        let wanted = [Kind::Memory, Kind::Processors, Kind::Processes];
        let mut group = Group::default();
        // The files of a new group do not appear by themselves here, so that setting them fails and nothing stays.
        let left = group.two(&Host { mounted, own: "0::/own\n" }, &limits(), &wanted, "abc");
        assert_eq!(left, wanted);
        assert!(!mounted.join("own/pier-abc").exists());
        assert_eq!(
            std::fs::read_to_string(mounted.join("own/cgroup.subtree_control")).unwrap(),
            "+memory +cpu"
        );

        let directory = mounted.join("own/made");
        for name in ["memory.max", "memory.swap.max", "memory.oom.group", "cpu.max"] {
            fs_err::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(name), "").unwrap();
        }
        set_two(&directory, Kind::Memory, &limits()).unwrap();
        set_two(&directory, Kind::Processors, &limits()).unwrap();
        let value = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
        assert_eq!(value("memory.max"), "1073741824");
        assert_eq!((value("memory.swap.max"), value("memory.oom.group")), ("0".into(), "1".into()));
        assert_eq!(value("cpu.max"), "150000 100000");
    }

    #[test]
    fn a_scope_is_told_the_limits() {
        let words = scope(&limits(), &[Kind::Memory, Kind::Processors, Kind::Processes]).join(" ");
        assert!(words.starts_with("/usr/bin/systemd-run --user --scope"), "{words}");
        for part in ["MemoryMax=1073741824", "MemorySwapMax=0", "CPUQuota=150%", "TasksMax=64"] {
            assert!(words.contains(part), "{part}: {words}");
        }
        assert!(words.ends_with(" --"));
    }
}
