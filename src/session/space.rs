//! Watches the file system of the project while a session runs: one that fills it up is ended before the host suffers.

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::statvfs::statvfs;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// The least that is left free: one part in so many, and no more than so many bytes.
const PART: u64 = 50;
const MOST_KEPT: u64 = 1 << 30;

/// What is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Free {
    bytes: u64,
    all_bytes: u64,
    files: u64,
    /// 0 on file systems that make room for names as they go.
    all_files: u64,
}

impl Free {
    fn of(path: &Utf8Path) -> nix::Result<Self> {
        let found = statvfs(path.as_std_path())?;
        let block = found.fragment_size();
        Ok(Free {
            bytes: found.blocks_available().saturating_mul(block),
            all_bytes: found.blocks().saturating_mul(block),
            files: found.files_available(),
            all_files: found.files(),
        })
    }

    fn is_low(self) -> bool {
        let bytes = self.bytes < (self.all_bytes / PART).min(MOST_KEPT);
        let files = self.all_files > 0 && self.files < self.all_files / PART;
        bytes || files
    }
}

/// A file system that had room when the session began; a host that was full before is nobody's doing.
pub struct Space {
    path: Utf8PathBuf,
    next: Instant,
}

impl Space {
    /// Returns `None` where there is nothing to watch.
    pub fn watch(path: &Utf8Path) -> Option<Self> {
        let free = Free::of(path).ok()?;
        (!free.is_low()).then(|| Space { path: path.to_owned(), next: Instant::now() + EVERY })
    }

    /// When to look again.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Looks, when it is time; true when hardly anything is left.
    pub fn is_used_up(&mut self) -> bool {
        if Instant::now() < self.next {
            return false;
        }
        self.next = Instant::now() + EVERY;
        // A file system that no longer answers is not the session's doing.
        Free::of(&self.path).is_ok_and(Free::is_low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn little_is_a_part_and_at_most_a_gigabyte() {
        let free = |bytes, all_bytes| Free { bytes, all_bytes, files: 100, all_files: 1000 };
        assert!(!free(2 * GIB, 1000 * GIB).is_low() && free(GIB - 1, 1000 * GIB).is_low());
        assert!(!free(GIB / 50, GIB).is_low() && free(GIB / 50 - 1, GIB).is_low());
        assert!(Free { files: 19, ..free(GIB, GIB) }.is_low());
        assert!(!Free { files: 0, all_files: 0, ..free(GIB, GIB) }.is_low());
    }
}
