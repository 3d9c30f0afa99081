//! Objects of a repository without the contents of hidden files, kept beside pier's other state.
//!
//! A sandbox that hides something never sees an object directory of the host: a commit of long ago may hold a hidden
//! file, and so may an object that no reference leads to any more, such as what `git add` left behind before a
//! `git reset`. Nobody can say cheaply what such an object was, so only those are shown that a reference, the index
//! or a merge that is going on leads to by a path that is not hidden. What they lead to by hidden paths alone reads
//! as empty: an empty object stands in for it, so that git works for everything else.
//!
//! Names and ids of hidden files in trees stay visible; who knows a whole content can tell by its id that it is the
//! one. A content that is committed at another path too is visible there.
//!
//! The store belongs to one project and one list of patterns and only grows. While references and index are what
//! they were, no git runs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{Error, Shadow, settings};
use crate::backend::git::{self, Git, Repository};
use crate::plan;
use crate::util::fs::{create_private, read_without_links, remove_tree, sha256, write_atomic};
use crate::util::git::{Target, is_object};
use crate::util::pattern::render_sparse;

mod history;
mod index;
mod store;

const SCHEMA: u32 = 1;

/// Files in the store: what is known of it; who changes it; who uses it; the index with hidden entries marked.
const KNOWN: &str = "known.json";
const UPDATING: &str = "updating";
const USED: &str = "used";
const INDEX: &str = "index";

/// A bare repository of pier's own that reads the objects of the host.
const VIEW: &str = "view";

/// The most that is read of what is known, in bytes.
const MOST_KNOWN: u64 = 256 * 1024 * 1024;

/// The most that is read of a file that says what is going on, in bytes.
const MOST_STATE: u64 = 1024 * 1024;

/// More packs than this are made one, when no session uses them.
const MOST_PACKS: usize = 50;

/// Files of a git directory whose commits an unfinished merge needs.
const GOING_ON: &[&str] = &["CHERRY_PICK_HEAD", "MERGE_HEAD", "ORIG_HEAD", "REVERT_HEAD"];

/// What a shadow has to know of the store.
pub struct Filtered {
    /// Objects that read as empty.
    pub hidden: BTreeSet<String>,
    /// References lead to these, and they are no commits: a path says nothing about them, so they are left out.
    pub dropped: BTreeSet<String>,
    /// The index with hidden entries marked, in place of the repository's own.
    pub index: Option<Utf8PathBuf>,
    pub patterns: Vec<String>,
    /// Held as long as the session lives.
    _used: Flock<File>,
}

/// What is known of a store.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Known {
    schema: u32,
    /// What references and unfinished merges led to.
    tips: BTreeSet<String>,
    /// The digest of the repository's `shallow`.
    shallow: String,
    hidden: BTreeSet<String>,
    dropped: BTreeSet<String>,
    /// Which index was looked at, and whether it has hidden entries.
    index: String,
    marked: bool,
}

/// The store in the making.
struct Store<'a> {
    place: &'a Utf8Path,
    shadow: &'a Shadow,
    patterns: &'a [String],
    sha256: bool,
    home: &'a Utf8Path,
    slow: &'a dyn Fn(),
    known: Known,
}

/// Brings the store up to date, and returns what the shadow has to know of it.
pub fn prepare(
    shadow: &Shadow,
    wanted: &plan::Filtered,
    home: &Utf8Path,
    slow: &dyn Fn(),
) -> Result<Filtered, Error> {
    let directory = &shadow.record.directory;
    let failed = |source| Error::Prepare { directory: directory.clone(), source };
    let place = &wanted.place;
    create_private(place).map_err(failed)?;
    let updating = lock(&place.join(UPDATING), FlockArg::LockExclusive).map_err(failed)?;
    let sha256 = settings::is_sha256(&shadow.record.common);
    let known = load(place).map_err(failed)?;
    let mut store = Store { place, shadow, patterns: &wanted.patterns, sha256, home, slow, known };
    store.tidy().map_err(failed)?;
    store.update()?;
    // Before anybody else may tidy up.
    let used = lock(&place.join(USED), FlockArg::LockShared).map_err(failed)?;
    drop(updating);
    let Known { hidden, dropped, marked, .. } = store.known;
    let index = (marked && !shadow.record.clone).then(|| place.join(INDEX));
    Ok(Filtered { hidden, dropped, index, patterns: wanted.patterns.clone(), _used: used })
}

fn lock(path: &Utf8Path, how: FlockArg) -> io::Result<Flock<File>> {
    let file = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    Flock::lock(file.into_parts().0, how).map_err(|(_, error)| error.into())
}

/// Loads what is known; a file of another version or that makes no sense is no knowledge.
fn load(place: &Utf8Path) -> io::Result<Known> {
    let text = match read_without_links(&place.join(KNOWN), MOST_KNOWN) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Known::default()),
        Err(error) => return Err(error),
    };
    let known: Known = serde_json::from_slice(&text).unwrap_or_default();
    Ok(if known.schema == SCHEMA { known } else { Known::default() })
}

impl Store<'_> {
    /// Begins anew where the store is of another version, or of too many parts and nobody uses it.
    fn tidy(&mut self) -> io::Result<()> {
        let fresh = self.known.schema == SCHEMA;
        if fresh && store::packs(&self.objects())?.len() <= MOST_PACKS {
            return Ok(());
        }
        if lock(&self.place.join(USED), FlockArg::LockExclusiveNonblock).is_err() {
            return Ok(());
        }
        for name in ["objects", VIEW] {
            if self.place.join(name).exists() {
                remove_tree(&self.place.join(name))?;
            }
        }
        self.known = Known::default();
        Ok(())
    }

    fn update(&mut self) -> Result<(), Error> {
        let directory = self.shadow.record.directory.clone();
        let failed = |source| Error::Prepare { directory: directory.clone(), source };
        let (tips, shallow) = (self.tips(), self.shallow());
        let index = self.index_key();
        let same_history = self.known.schema == SCHEMA
            && self.known.tips == tips
            && self.known.shallow == shallow
            && self.objects().exists();
        let same_index = self.shadow.record.clone || self.known.index == index;
        if same_history && same_index {
            return Ok(());
        }
        let git = Git::find(self.home).map_err(|source| self.failed(source))?;
        self.make_view().map_err(failed)?;
        if !same_history {
            self.read_history(&git, tips, shallow)?;
        }
        if !self.shadow.record.clone {
            self.read_index(&git, index)?;
        }
        self.stand_in().map_err(failed)?;
        self.known.schema = SCHEMA;
        let text = serde_json::to_vec(&self.known).map_err(|error| failed(error.into()))?;
        write_atomic(&self.place.join(KNOWN), &text, 0o600).map_err(failed)
    }

    fn failed(&self, source: git::Error) -> Error {
        Error::Filter { directory: self.shadow.record.directory.clone(), source }
    }

    fn objects(&self) -> Utf8PathBuf {
        self.place.join(plan::OBJECTS_OF_STORE)
    }

    fn view(&self) -> Utf8PathBuf {
        self.place.join(VIEW)
    }

    fn tips(&self) -> BTreeSet<String> {
        let Shadow { record, start, .. } = self.shadow;
        let mut tips: BTreeSet<String> = start.values().cloned().collect();
        if let Some(Target::Object(id)) = &record.head {
            tips.insert(id.clone());
        }
        for name in GOING_ON.iter().filter(|_| !record.clone) {
            let text = read_without_links(&record.directory.join(name), MOST_STATE).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            tips.extend(text.lines().map(str::trim).filter(|line| is_object(line)).map(str::to_owned));
        }
        let length = if self.sha256 { 64 } else { 40 };
        tips.retain(|id| id.len() == length);
        tips
    }

    fn shallow(&self) -> String {
        let path = self.shadow.record.common.join("shallow");
        sha256(&read_without_links(&path, MOST_KNOWN).unwrap_or_default())
    }

    /// Writes the repository to read with: every file of it is pier's, and the objects are the host's.
    fn make_view(&self) -> io::Result<()> {
        let (view, common) = (self.view(), &self.shadow.record.common);
        if view.exists() {
            remove_tree(&view)?;
        }
        for name in ["objects/info", "refs", "empty"] {
            fs_err::create_dir_all(view.join(name))?;
        }
        fs_err::create_dir_all(self.objects().join("pack"))?;
        fs_err::write(view.join("HEAD"), "ref: refs/heads/none\n")?;
        fs_err::write(view.join("config"), settings::bare(self.sha256))?;
        let alternates = super::prepare::alternates(&[common.join("objects")]);
        fs_err::write(view.join("objects/info/alternates"), alternates)?;
        match read_without_links(&common.join("shallow"), MOST_KNOWN) {
            Ok(text) => fs_err::write(view.join("shallow"), text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes hidden objects read as empty, and those that are hidden no longer as what they are.
    fn stand_in(&mut self) -> io::Result<()> {
        let packed = store::packed(&self.objects(), self.sha256)?;
        let empty = empty_blob(self.sha256);
        for id in std::mem::take(&mut self.known.hidden) {
            if id == empty {
                continue;
            }
            if store::parse(&id).is_some_and(|id| packed.contains(&id)) {
                store::remove(&self.objects(), &id)?;
            } else {
                store::stand_in(&self.objects(), &id)?;
                store::stand_in(&self.objects(), empty)?;
                self.known.hidden.insert(id);
            }
        }
        Ok(())
    }
}

/// Returns the repository to read with.
fn repository(view: &Utf8Path) -> Repository<'_> {
    Repository { directory: view, work_tree: None, index: None, attributes: None }
}

/// Returns the id of the object without content.
pub fn empty_blob(sha256: bool) -> &'static str {
    if sha256 {
        "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"
    } else {
        "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    }
}

impl Filtered {
    /// Says whether the repository holds something hidden, so that git has to be told about it.
    pub fn leaves_out(&self) -> bool {
        self.index.is_some() || !self.hidden.is_empty()
    }

    /// Renders lines for `info/exclude`.
    pub fn excludes(&self) -> String {
        let rendered = render_sparse(&self.patterns);
        rendered.lines().flat_map(|line| [line.trim_start_matches('!'), "\n"]).collect()
    }

    /// Renders `info/attributes`: two versions of a hidden file are never merged, for both read as empty.
    pub fn attributes(&self) -> String {
        let rendered = render_sparse(&self.patterns);
        let paths = rendered.lines().map(|line| line.trim_start_matches('!').replace(['\\', '"'], "?"));
        paths.flat_map(|path| [path.clone(), format!("{path}/**")]).fold(String::new(), |mut out, path| {
            out.push_str(&format!("\"{path}\" merge=binary\n"));
            out
        })
    }
}

/// Renders `info/sparse-checkout`: what the repository has there, or everything, without what is hidden.
pub fn sparse(own: Option<&str>, patterns: &[String]) -> String {
    format!("{}\n{}", own.unwrap_or("/*"), render_sparse(patterns))
}
