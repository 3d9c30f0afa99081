//! Which logs of an agent a command has written: those that are new, or another size or time than before it. Where another session
//! had the same home meanwhile, `units` and `share` tell them apart.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use super::beneath::Beneath;
use crate::agent::layout;
use crate::util::fs::open_without_links;
use crate::util::sqlite::WAL;

pub mod share;
pub mod units;

/// The most files that are looked at, and the most that is copied of all, in bytes.
const MOST_FILES: usize = 50_000;
const MOST_BYTES: u64 = 1 << 30;

/// Size, time of the last change, and number of a file; the same of its write-ahead log, where it is a database that has one: while a
/// program runs, and after it was killed, that alone is written.
type Mark = ((u64, i64, i64, u64), Option<(u64, i64, i64, u64)>);

/// The logs of an agent, as they were before a command.
pub struct Watch {
    /// Canonical.
    home: Utf8PathBuf,
    patterns: Vec<String>,
    before: BTreeMap<Utf8PathBuf, Mark>,
    /// How many bytes may still be copied.
    left: u64,
}

impl Watch {
    /// `patterns` are relative to the home; `*` stands for a part of one name.
    pub fn start(home: &Utf8Path, patterns: &[&str]) -> Option<Self> {
        let home = home.canonicalize_utf8().ok()?;
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let before = marks(&home, &patterns);
        Some(Watch { home, patterns, before, left: MOST_BYTES })
    }

    /// Returns the logs that are not as they were, relative to the home. A database and its write-ahead log are one, for neither says
    /// anything without the other.
    pub fn changed(&self) -> Vec<Utf8PathBuf> {
        let now = marks(&self.home, &self.patterns);
        let changed = now.into_iter().filter(|(path, mark)| self.before.get(path) != Some(mark));
        changed.flat_map(|(path, (_, wal))| [wal.map(|_| with_wal(&path)), Some(path)]).flatten().collect()
    }

    /// Copies one of them to a place where nothing is.
    pub fn copy(&mut self, path: &Utf8Path, to: &Beneath, name: &Utf8Path) -> io::Result<()> {
        let from = open_without_links(&self.home.join(path))?;
        if !from.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut copy: File = to.create(name, 0o600)?;
        self.left -= io::copy(&mut from.take(self.left), &mut copy)?;
        Ok(())
    }
}

/// Returns the logs that were written since then, relative to the home; links are not followed. The time is that of the kernel, which
/// nobody inside can set back.
pub fn since(home: &Utf8Path, patterns: &[String], then: Timestamp) -> Vec<Utf8PathBuf> {
    let mut found = std::collections::BTreeSet::new();
    for path in patterns.iter().flat_map(|pattern| expand(home, pattern)) {
        let is_own = times(home, &path).1.is_some_and(|changed| changed >= then);
        if is_own && found.len() < MOST_FILES {
            found.insert(path);
        }
    }
    found.into_iter().collect()
}

/// Copies logs of an agent, which are relative to its home, to where they lie in a record, with what databases have not taken in yet.
///
/// # Errors
/// The first; what can be copied is.
pub fn copy(
    home: &Utf8Path,
    agent: &str,
    logs: &[Utf8PathBuf],
    root: &Beneath,
    record: &Utf8Path,
) -> io::Result<()> {
    let mut copies = Watch::start(home, &[]).ok_or(io::ErrorKind::NotFound)?;
    let mut all = Ok(());
    for path in logs {
        let wal = Some(with_wal(path)).filter(|wal| plain(home, wal).is_some());
        for path in wal.iter().chain([path]) {
            all = all.and(copies.copy(path, root, &record.join(layout::of_log(agent, path))));
        }
    }
    all
}

/// Says whether one of these was made since then, or may have been.
pub fn has_new(home: &Utf8Path, files: &[Utf8PathBuf], then: Timestamp) -> bool {
    files.iter().any(|path| times(home, path).0.is_none_or(|made| made >= then))
}

/// Returns when one of these was written last.
pub fn last(home: &Utf8Path, files: &[Utf8PathBuf]) -> Option<Timestamp> {
    files.iter().filter_map(|path| times(home, path).1).max()
}

fn marks(home: &Utf8Path, patterns: &[String]) -> BTreeMap<Utf8PathBuf, Mark> {
    let mut found = BTreeMap::new();
    for pattern in patterns {
        for path in expand(home, pattern) {
            let of = |meta: Metadata| (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino());
            let Some(mark) = plain(home, &path).map(of) else { continue };
            if found.len() < MOST_FILES {
                let wal = plain(home, &with_wal(&path)).map(of);
                found.insert(path, (mark, wal));
            }
        }
    }
    found
}

/// Returns what is known of a plain file.
fn plain(home: &Utf8Path, path: &Utf8Path) -> Option<Metadata> {
    home.join(path).symlink_metadata().ok().filter(Metadata::is_file)
}

/// Returns where the write-ahead log of a database is.
fn with_wal(path: &Utf8Path) -> Utf8PathBuf {
    format!("{path}{WAL}").into()
}

/// Returns when a log was made, where the file system says so, and when it was written last, by the time of the kernel.
fn times(home: &Utf8Path, path: &Utf8Path) -> (Option<Timestamp>, Option<Timestamp>) {
    let Some(meta) = plain(home, path) else { return (None, None) };
    let changed =
        |meta: &Metadata| Timestamp::new(meta.ctime(), i32::try_from(meta.ctime_nsec()).unwrap_or(0)).ok();
    let wal = plain(home, &with_wal(path)).and_then(|wal| changed(&wal));
    let created = meta.created().ok().and_then(|created| Timestamp::try_from(created).ok());
    (created, changed(&meta).max(wal))
}

/// Returns what a pattern stands for; links are not followed.
fn expand(home: &Utf8Path, pattern: &str) -> Vec<Utf8PathBuf> {
    let Ok(home) = home.canonicalize_utf8() else { return Vec::new() };
    let is_directory =
        |path: &Utf8PathBuf| home.join(path).symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let mut paths = vec![Utf8PathBuf::new()];
    for part in pattern.split('/') {
        if !part.contains('*') {
            paths.retain(is_directory);
            for path in &mut paths {
                path.push(part);
            }
            continue;
        }
        let mut next = Vec::new();
        for path in paths {
            // Opened before it is read: somebody inside may put a link in its place at any moment.
            let Ok(directory) = open_without_links(&home.join(&path)) else { continue };
            let opened = Utf8PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
            for entry in opened.read_dir_utf8().into_iter().flatten().flatten() {
                if matches(part, entry.file_name()) && next.len() < MOST_FILES {
                    next.push(path.join(entry.file_name()));
                }
            }
        }
        paths = next;
    }
    paths
}

/// Says whether a name is what a pattern of one part stands for.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_names_are_matched() {
        for (pattern, name, expected) in [
            ("*.jsonl", "a.jsonl", true),
            ("rollout-*.jsonl", "rollout-1.jsonl", true),
            ("rollout-*.jsonl", "rollout-1.json", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("*", "", true),
            ("plain", "plain", true),
            ("plain", "plainer", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn new_and_changed_logs_are_told_and_links_are_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        let home = base.join("home");
        for (name, text) in [("logs/one/old.jsonl", "old"), ("logs/two/grown.jsonl", "a")] {
            fs_err::create_dir_all(home.join(name).parent().unwrap()).unwrap();
            fs_err::write(home.join(name), text).unwrap();
        }
        let mut watch = Watch::start(&home, &["logs/*/*.jsonl"]).unwrap();
        fs_err::write(home.join("logs/two/grown.jsonl"), "ab").unwrap();
        fs_err::write(home.join("logs/two/new.jsonl"), "new").unwrap();
        fs_err::write(home.join("logs/two/other"), "").unwrap();
        fs_err::write(base.join("secret.jsonl"), "secret").unwrap();
        std::os::unix::fs::symlink(base.join("secret.jsonl"), home.join("logs/two/link.jsonl")).unwrap();
        std::os::unix::fs::symlink(&base, home.join("logs/three")).unwrap();
        let changed = watch.changed();
        assert_eq!(changed, ["logs/two/grown.jsonl", "logs/two/new.jsonl"]);
        let to = Beneath::open(&base).unwrap();
        watch.copy(&changed[1], &to, Utf8Path::new("out/copy")).unwrap();
        assert_eq!(fs_err::read_to_string(base.join("out/copy")).unwrap(), "new");
        assert!(watch.copy(Utf8Path::new("logs/three/secret.jsonl"), &to, Utf8Path::new("out/x")).is_err());
        assert!(watch.copy(&changed[1], &to, Utf8Path::new("out/copy")).is_err(), "nothing is replaced");
    }

    #[test]
    fn no_pattern_leads_through_a_link() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        let (home, real) = (base.join("home"), base.join("outside/b/c"));
        fs_err::create_dir_all(&real).unwrap();
        fs_err::write(real.join("secret-name"), "").unwrap();
        fs_err::create_dir_all(home.join("x/b/c")).unwrap();
        fs_err::write(home.join("x/b/c/own"), "").unwrap();
        std::os::unix::fs::symlink(base.join("outside"), home.join("a")).unwrap();
        std::os::unix::fs::symlink(&home, base.join("linked")).unwrap();
        for (pattern, expected) in [
            ("a/b/c/*", &[][..]),
            ("*/b/c/*", &["x/b/c/own"]),
            ("*/b/c/secret-name", &["x/b/c/secret-name"]),
            ("a/b/c/secret-name", &[]),
            ("x/b/../b/c/*", &["x/b/../b/c/own"]),
        ] {
            assert_eq!(expand(&home, pattern), expected, "{pattern}");
            // The way to the home is the user's own.
            assert_eq!(expand(&base.join("linked"), pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn what_can_be_copied_is() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        for name in ["one", "three"] {
            fs_err::write(base.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("one", base.join("two")).unwrap();
        let logs = ["one", "two", "three"].map(Utf8PathBuf::from);
        let root = Beneath::open(&base).unwrap();
        assert!(copy(&base, "mine", &logs, &root, Utf8Path::new("out")).is_err());
        let copied = |name: &str| base.join("out").join(layout::of_log("mine", Utf8Path::new(name))).exists();
        assert_eq!(["one", "two", "three"].map(copied), [true, false, true]);
    }

    #[test]
    fn a_database_and_its_write_ahead_log_are_one() {
        let base = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        let old = home.join("old");
        fs_err::write(&old, "").unwrap();
        fs_err::write(home.join("x.db"), "a").unwrap();
        fs_err::write(home.join("y.db"), "a").unwrap();
        fs_err::write(home.join("y.db-wal"), "a").unwrap();
        let watch = Watch::start(&home, &["*.db"]).unwrap();
        let then = Timestamp::try_from(fs_err::metadata(home.join("y.db-wal")).unwrap().modified().unwrap());
        let then = then.unwrap() + std::time::Duration::from_nanos(1);
        assert!(watch.changed().is_empty() && since(&home, &["*.db".to_owned()], then).is_empty());
        // The clock of files has steps.
        while fs_err::metadata(&old).is_ok_and(|meta| {
            meta.ctime_nsec() == fs_err::metadata(home.join("y.db-wal")).unwrap().ctime_nsec()
        }) {
            fs_err::write(&old, "").unwrap();
        }
        fs_err::write(home.join("x.db-wal"), "new").unwrap();
        assert_eq!(watch.changed(), ["x.db-wal", "x.db"]);
        assert_eq!(since(&home, &["*.db".to_owned()], then), ["x.db"]);
    }
}
