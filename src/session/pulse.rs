//! Signs of life of a session with an agent: where it is killed, nothing else says until when it can have written its logs.

use std::fs::{File, FileTimes, OpenOptions};
use std::time::{Duration, Instant, SystemTime};

use camino::Utf8Path;
use jiff::Timestamp;

use super::asked::FILE;

/// Time between two signs.
const EVERY: Duration = Duration::from_secs(5);

/// It can have written this long after its last sign: until the next one was due, until all that runs inside had ended, and a while
/// more on a host with much to do.
const LATE: Duration = Duration::from_secs(10);

/// Changes the time of a file in the session's directory.
pub struct Pulse {
    file: File,
    next: Instant,
}

impl Pulse {
    /// Begins with the next sign: the file that [`super::asked::show`] has just written is the first. Without it there is none to give.
    pub fn of(place: &Utf8Path) -> Option<Self> {
        let file = OpenOptions::new().append(true).open(place.join(FILE)).ok()?;
        Some(Pulse { file, next: Instant::now() + EVERY })
    }

    /// When the next sign is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Gives a sign, when it is time.
    pub fn beat(&mut self) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + EVERY;
        if let Err(error) = self.file.set_times(FileTimes::new().set_modified(SystemTime::now())) {
            tracing::debug!(%error, "there is no sign of life");
        }
    }
}

/// Returns after which time a session that does not live any more can have written nothing.
pub fn over(place: &Utf8Path) -> Option<Timestamp> {
    let last = place.join(FILE).symlink_metadata().and_then(|meta| meta.modified()).ok()?;
    Timestamp::try_from(last + LATE).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::asked;

    #[test]
    fn a_sign_moves_the_end() {
        let place = tempfile::tempdir().unwrap();
        let place = Utf8Path::from_path(place.path()).unwrap();
        assert!(over(place).is_none() && Pulse::of(place).is_none());
        asked::show(place, &[]).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        let file = File::options().append(true).open(place.join(FILE)).unwrap();
        file.set_modified(long_ago).unwrap();
        let mut pulse = Pulse::of(place).unwrap();
        pulse.beat();
        assert_eq!(over(place), Timestamp::try_from(long_ago + LATE).ok(), "too early");
        pulse.next = Instant::now();
        pulse.beat();
        assert!(over(place).unwrap() > Timestamp::now() && pulse.next() > Instant::now());
    }
}
