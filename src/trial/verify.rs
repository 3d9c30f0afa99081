//! Verification in the environment of the agent: the tests are put in, run as somebody the agent is not, and taken out.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::{Error, failed, rewards};
use crate::backend::docker::engine::Connected;
use crate::backend::docker::{copy, judge};
use crate::backend::judge::{Case, Finding};
use crate::record::Rewards;
use crate::task::directory::Directory;
use crate::task::listing::{Entry, Listing};
use crate::task::{Task, User};

/// The most that the tests of a task may hold, in bytes.
const MOST_TESTS: u64 = 512 << 20;

/// The directory of a task with its tests.
const TESTS: &str = "tests";

/// What the tests print, beside the rewards.
const OUTPUT: &str = "test-stdout.txt";

/// Where the tests run.
pub struct Site<'a> {
    pub engine: &'a Connected,
    pub container: &'a str,
    pub cwd: &'a Utf8Path,
    /// Whose the workspace is.
    pub owner: (u32, u32),
    /// What is mounted for writing.
    pub writable: Vec<Utf8PathBuf>,
    /// Leave what still runs there.
    pub keep: bool,
    /// Whom the image runs its commands as.
    pub user: &'a str,
    /// The tests are in the image.
    pub bundled: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    pub rewards: Rewards,
    /// The tests' own exit code, which decides nothing.
    pub code: u8,
}

/// Runs the tests of a task; what they leave is put into `directory`, which is empty.
pub fn verify(
    site: &Site<'_>,
    task: &Task,
    listing: &Listing,
    environment: Vec<(String, String)>,
    directory: &Utf8Path,
) -> Result<Verified, Error> {
    let tests = if site.bundled { empty()? } else { pack(listing)? };
    let user = task.verifier.user.as_ref().map_or_else(|| site.user.to_owned(), User::text);
    let seconds = task.verifier.timeout_sec;
    let case = Case {
        user,
        environment,
        cwd: site.cwd.to_owned(),
        script: "/tests/test.sh".into(),
        seconds,
        owner: site.owner,
        writable: site.writable.clone(),
        keep: site.keep,
        bundled: site.bundled,
        tests: tests.len() as u64,
    };
    let path = directory.join(OUTPUT);
    let mut output = File::create(&path).map_err(failed(&path))?;
    let (finding, left) = judge::judge(site.engine, site.container, &case, &tests, &mut output)?;
    let code = match finding {
        Finding::Ended { code } => code,
        Finding::TimedOut => return Err(Error::TimedOut { seconds }),
        Finding::Failed { why } => return Err(Error::Failed { why: crate::util::text::escape(&why) }),
    };
    copy::unpack(left, directory, "").map_err(failed(directory))?;
    let rewards = rewards::read(directory).map_err(|error| match (error, code) {
        (Error::NoReward, 126 | 127) => {
            Error::NoProgram { code, why: missing(code, listing, &output, site.bundled) }
        }
        (error, _) => error,
    })?;
    Ok(Verified { rewards, code })
}

/// Says what may be missing where a program could not be started.
fn missing(code: u8, listing: &Listing, output: &File, bundled: bool) -> String {
    let mut first = Vec::new();
    if let Some(script) = listing.open("tests/test.sh".into()).ok().filter(|_| !bundled) {
        // As much as the kernel reads of it.
        let _first = script.take(256).read_to_end(&mut first);
    }
    let line = first.split(|byte| *byte == b'\n').next().map(String::from_utf8_lossy).unwrap_or_default();
    let program = line.strip_prefix("#!").and_then(|line| line.split_whitespace().next());
    let is_silent = output.metadata().is_ok_and(|meta| meta.len() == 0);
    match program {
        // Whatever else fails says so.
        Some(program) if is_silent => {
            let program = crate::util::text::escape(program);
            let what = if code == 127 { "is not in the image" } else { "cannot be executed there" };
            format!("`{program}`, which `tests/test.sh` names in its first line, {what}")
        }
        _ => "a program that they call is not in the image, or cannot be executed there".to_owned(),
    }
}

fn empty() -> Result<Vec<u8>, Error> {
    tar::Builder::new(Vec::new()).into_inner().map_err(failed(TESTS.into()))
}

/// Packs the tests, and the place for the rewards, as root's.
fn pack(listing: &Listing) -> Result<Vec<u8>, Error> {
    let mut archive = tar::Builder::new(Vec::new());
    let rules = Directory::new(listing);
    let mut left = MOST_TESTS;
    let below = listing.all().filter(|(path, _)| path.starts_with(TESTS));
    for (path, entry) in below {
        if path != TESTS && rules.is_excluded(path).map_err(Error::Tests)? {
            continue;
        }
        let add = |archive: &mut tar::Builder<Vec<u8>>, kind, mode, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content).map_err(failed(path))
        };
        match entry {
            Entry::Directory(_) => add(&mut archive, tar::EntryType::Directory, 0o755, &[])?,
            Entry::File => {
                let mut file = listing.open(path).map_err(failed(path))?;
                file.rewind().map_err(failed(path))?;
                let meta = file.metadata().map_err(failed(path))?;
                let mut content = Vec::new();
                file.take(left + 1).read_to_end(&mut content).map_err(failed(path))?;
                left = left.checked_sub(content.len() as u64).ok_or_else(|| Error::Failed {
                    why: format!("they hold more than {} MiB", MOST_TESTS >> 20),
                })?;
                add(&mut archive, tar::EntryType::Regular, meta.mode() & 0o777, &content)?;
            }
            Entry::Link(to) => {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                header.set_mode(0o777);
                archive.append_link(&mut header, path, to).map_err(failed(path))?;
            }
            Entry::Other => {}
        }
    }
    let path = Utf8PathBuf::from(TESTS);
    archive.into_inner().map_err(failed(&path))
}
