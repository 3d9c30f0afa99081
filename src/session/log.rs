//! What a detached session has said: at most the newest 16 MiB, kept after its end.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use nix::libc::{O_CLOEXEC, O_NOFOLLOW};

use super::place::Id;
use crate::util::fs::create_private;

/// The size at which a file becomes the older half, in bytes.
const MOST: u64 = 8 * 1024 * 1024;

/// The most sessions whose output is kept.
const MOST_SESSIONS: usize = 50;

/// The two files of one session, the older half first.
pub fn files(state: &Utf8Path, session: &str) -> [Utf8PathBuf; 2] {
    let newer = all(state).join(format!("{session}.log"));
    [Utf8PathBuf::from(format!("{newer}.1")), newer]
}

/// Returns the names of the sessions whose output is kept.
pub fn sessions(state: &Utf8Path) -> Vec<String> {
    // Without the directory none is.
    let Ok(entries) = all(state).read_dir_utf8() else { return Vec::new() };
    let name = |entry: camino::Utf8DirEntry| entry.file_name().strip_suffix(".log").map(str::to_owned);
    entries.flatten().filter_map(name).filter(|name| Id::parse(name).is_some()).collect()
}

fn all(state: &Utf8Path) -> Utf8PathBuf {
    state.join("logs")
}

/// The output of a running session.
pub struct Log {
    older: Utf8PathBuf,
    newer: Utf8PathBuf,
    file: File,
    size: u64,
    most: u64,
}

impl Log {
    /// Makes the file, mode 0600, and forgets the output of the oldest sessions where there are many.
    pub fn start(state: &Utf8Path, session: &str) -> io::Result<Self> {
        create_private(&all(state))?;
        prune(&all(state), MOST_SESSIONS - 1);
        let [older, newer] = files(state, session);
        let file = make(&newer)?;
        Ok(Log { older, newer, file, size: 0, most: MOST })
    }

    /// Adds output. What a full disk refuses is lost; the session goes on.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size + bytes.len() as u64 > self.most {
            std::fs::rename(&self.newer, &self.older)?;
            self.file = make(&self.newer)?;
            self.size = 0;
        }
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    pub fn file(&self) -> &File {
        &self.file
    }
}

fn make(path: &Utf8Path) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create_new(true).mode(0o600).custom_flags(O_NOFOLLOW | O_CLOEXEC).open(path)
}

/// Removes the oldest files, so that at most `most` sessions have some. A running session is among the newest, or
/// writes on into a file without a name.
fn prune(directory: &Utf8Path, most: usize) {
    let Ok(entries) = directory.read_dir_utf8() else { return };
    let mut found: Vec<(SystemTime, Utf8PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.path().extension() == Some("log"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path().to_owned())))
        .collect();
    found.sort();
    for (_, path) in &found[..found.len().saturating_sub(most)] {
        for path in [path.clone(), Utf8PathBuf::from(format!("{path}.1"))] {
            // The older half is seldom there; what cannot be removed is tried again by the next session.
            let _gone = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_output_is_kept_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(directory.path()).unwrap();
        let mut log = Log::start(state, "aaaaaaaa").unwrap();
        log.most = 10;
        for text in ["12345", "67890", "abcde", "fghij", "k"] {
            log.write(text.as_bytes()).unwrap();
        }
        let text =
            files(state, "aaaaaaaa").map(|path| crate::util::fs::read_bounded(&path, 99).unwrap()).concat();
        assert_eq!(text, b"abcdefghijk");
    }

    #[test]
    fn the_output_of_many_sessions_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(directory.path()).unwrap();
        for number in 0..5_u32 {
            let path = all(state).join(format!("{number}.log"));
            crate::util::fs::write_atomic(&path, b"", 0o600).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(number));
            File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        prune(&all(state), 2);
        let mut left: Vec<_> =
            std::fs::read_dir(all(state)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["3.log", "4.log"]);
    }
}
