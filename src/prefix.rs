//! An installation below a prefix: files and links that pier writes, and the manifest that says which are its own.
//!
//! Nothing is changed before every path was looked at and nothing speaks against any of them. The manifest is written
//! before the first file, with what the files were, so that an installation that was killed can be repeated or removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

mod decide;
mod manifest;
mod older;
mod tree;

pub use decide::{Edited, Refusal, Step};
use decide::{Found, Listed, decide};
use manifest::{Entry, Manifest, Sha256, Temporary};
pub use manifest::{FILE, MOST_FILE_BYTES, Place};
use tree::Tree;

/// Why a prefix is as it was, or where a change of it ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the prefix is not an absolute path: `{prefix}`")]
    Relative { prefix: Utf8PathBuf },
    #[error("the prefix is not a directory: `{prefix}`")]
    NotDirectory { prefix: Utf8PathBuf },
    #[error("the prefix `{prefix}` is a symbolic link to `{target}`, which is not there")]
    Dangling { prefix: Utf8PathBuf, target: Utf8PathBuf },
    #[error("cannot write below `{path}`")]
    NotWritable { path: Utf8PathBuf, source: io::Error },
    #[error("another pier is changing `{prefix}`")]
    Busy { prefix: Utf8PathBuf },
    #[error("pier installed nothing below `{prefix}`: there is no `{FILE}`")]
    None { prefix: Utf8PathBuf },
    #[error("the manifest `{path}` cannot be used: {reason}")]
    Manifest { path: Utf8PathBuf, reason: String },
    /// Absolute paths.
    #[error("{} paths are in the way", refused.len())]
    Refused { prefix: Utf8PathBuf, refused: Vec<(Utf8PathBuf, Refusal)> },
    #[error("cannot {action} `{path}`")]
    Io { action: &'static str, path: Utf8PathBuf, source: io::Error },
}

/// What shall be at a place.
#[derive(Debug)]
pub enum Content {
    File { bytes: Vec<u8>, mode: u32 },
    Link { target: Utf8PathBuf },
}

impl Content {
    fn entry(&self) -> Entry {
        match self {
            Content::File { bytes, .. } => {
                Entry::File { sha256: Sha256::of(bytes), before: BTreeSet::new(), size: bytes.len() as u64 }
            }
            Content::Link { target } => Entry::Link { target: target.clone() },
        }
    }
}

/// Whether anything is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    Real,
    Dry,
}

/// What is done, or would be, in the order of the paths.
pub type Steps = BTreeMap<Place, Step>;

/// What an installation asks for.
#[derive(Debug, Default)]
pub struct Wanted {
    pub contents: BTreeMap<Place, Content>,
    /// Wanted where it is listed already.
    pub updated: BTreeMap<Place, Content>,
    /// Listed files that are not wanted any more go, but for these.
    pub kept: BTreeSet<Place>,
    /// Where files of the older tool `pi-env` are replaced.
    pub older: BTreeSet<Place>,
}

/// Installs below a prefix, which is made if it is not there.
pub fn install(prefix: &Utf8Path, wanted: &Wanted, edited: Edited, run: Run) -> Result<Steps, Error> {
    let Some((tree, made_prefix)) = open(prefix, run)? else {
        Tree::can_make(prefix).map_err(|(path, source)| Error::NotWritable { path, source })?;
        return Ok(wanted.contents.keys().map(|place| (place.clone(), Step::Write)).collect());
    };
    let _lock = lock(&tree, prefix, run)?;
    let before = read_manifest(&tree, prefix)?.unwrap_or_default();
    let older = older::read(&tree, prefix, &wanted.older)?;
    let updated = wanted.updated.iter().filter(|(place, _)| before.entries.contains_key(*place));
    let contents: BTreeMap<&Place, &Content> = wanted.contents.iter().chain(updated).collect();
    let entries: BTreeMap<&Place, Entry> =
        contents.iter().map(|(place, content)| (*place, content.entry())).collect();
    let obsolete = before.entries.keys().filter(|place| !wanted.kept.contains(place));
    let places: BTreeSet<&Place> = entries.keys().copied().chain(obsolete).collect();
    let listed = |place: &Place| match before.entries.get(place) {
        Some(entry) => Listed::Own(entry),
        None => older.get(place).map_or(Listed::No, |claim| Listed::Older(*claim)),
    };
    let known = places.into_iter().map(|place| (place, entries.get(place), listed(place)));
    let mut steps = look(&tree, prefix, known, edited)?;
    for (place, content) in &contents {
        // The right content with other permissions is not what was installed: anybody may be able to write it.
        if let (Content::File { mode, .. }, Some(step @ Step::Keep)) = (content, steps.get_mut(*place))
            && tree.mode(place).map_err(failed("look at", prefix, place))? != *mode
        {
            *step = Step::Replace;
        }
    }
    let changes = steps.iter().filter(|(_, step)| changes(**step)).map(|(place, _)| place);
    check_writable(&tree, prefix, changes)?;
    if run == Run::Dry {
        return Ok(steps);
    }

    let own = |place: &Place| steps.get(place).is_none_or(|step| *step != Step::Leave && *step != Step::Gone);
    let mut after = Manifest::default();
    after.made_prefix = made_prefix || before.made_prefix;
    after.directories.clone_from(&before.directories);
    let temporary = match &before.temporary {
        Some(temporary) => temporary.clone(),
        None => Temporary::random().map_err(|source| Error::Io {
            action: "make up a name for unfinished files of",
            path: prefix.to_owned(),
            source,
        })?,
    };
    after.temporary = Some(temporary.clone());
    let manifest = place(FILE, prefix)?;
    let needed = contents.keys().copied().filter(|place| own(place)).chain([&manifest]);
    for place in needed {
        let made =
            tree.make_directories(place).map_err(failed("make the directories above", prefix, place))?;
        after.directories.extend(made);
    }
    let kept = before.entries.iter().filter(|(place, _)| wanted.kept.contains(*place));
    after.entries.extend(kept.map(|(place, entry)| (place.clone(), entry.clone())));
    let new = entries.iter().filter(|(place, _)| own(place));
    after.entries.extend(new.map(|(place, entry)| ((*place).clone(), entry.clone())));

    write_manifest(&tree, prefix, &during(&before, &after), &temporary)?;
    for (place, content) in contents {
        if !matches!(steps.get(place), Some(Step::Write | Step::Replace)) {
            continue;
        }
        let written = match content {
            Content::File { bytes, mode } => tree.write(place, bytes, *mode, &temporary),
            Content::Link { target } => tree.link(place, target, &temporary),
        };
        written.map_err(failed("write", prefix, place))?;
    }
    for (place, step) in &steps {
        let removed = if *step == Step::Remove { tree.remove(place) } else { Ok(()) };
        removed
            .and_then(|()| tree.clear_beside(place, &temporary))
            .map_err(failed("remove", prefix, place))?;
    }
    write_manifest(&tree, prefix, &after, &temporary)?;
    Ok(steps)
}

/// Returns the manifest for the time of the change: what was listed is still ours, and what will be is already.
fn during(before: &Manifest, after: &Manifest) -> Manifest {
    let mut during = after.clone();
    for (place, entry) in &before.entries {
        match (during.entries.get_mut(place), entry) {
            (None, _) => {
                during.entries.insert(place.clone(), entry.clone());
            }
            (
                Some(Entry::File { before, size, .. }),
                Entry::File { sha256: was, before: earlier, size: old },
            ) => {
                // What was there before an installation that ended half way may still be there.
                before.insert(was.clone());
                before.extend(earlier.iter().cloned());
                *size = (*size).max(*old);
            }
            // A link that becomes a file or leads elsewhere is made in one step; killed before it, it is refused.
            (Some(_), _) => {}
        }
    }
    during
}

/// Removes what the manifest of a prefix lists, then directories that are empty and pier's own, then the manifest.
pub fn uninstall(prefix: &Utf8Path, edited: Edited, run: Run) -> Result<Steps, Error> {
    let none = || Error::None { prefix: prefix.to_owned() };
    check_absolute(prefix)?;
    let Some((tree, _)) = open(prefix, Run::Dry)? else { return Err(none()) };
    let _lock = lock(&tree, prefix, run)?;
    let manifest = read_manifest(&tree, prefix)?.ok_or_else(none)?;
    let known = manifest.entries.iter().map(|(place, entry)| (place, None, Listed::Own(entry)));
    let steps = look(&tree, prefix, known, edited)?;
    let own = place(FILE, prefix)?;
    let changes = steps.iter().filter(|(_, step)| changes(**step)).map(|(place, _)| place);
    check_writable(&tree, prefix, changes.chain([&own]))?;
    if run == Run::Dry {
        return Ok(steps);
    }

    let clear_beside = |place: &Place| match &manifest.temporary {
        Some(temporary) => tree.clear_beside(place, temporary),
        None => Ok(()),
    };
    for (place, step) in &steps {
        let removed = if *step == Step::Remove { tree.remove(place) } else { Ok(()) };
        removed.and_then(|()| clear_beside(place)).map_err(failed("remove", prefix, place))?;
    }
    // The manifest goes when nothing is left to list but the directories that hold it.
    for last in [false, true] {
        if last {
            // Before the manifest, which has the name.
            clear_beside(&own).and_then(|()| tree.remove(&own)).map_err(failed("remove", prefix, &own))?;
        }
        // The innermost first: a path sorts behind those above it.
        for directory in manifest.directories.iter().rev() {
            tree.remove_empty(directory).map_err(failed("remove", prefix, directory))?;
        }
    }
    if manifest.made_prefix {
        // Other files in it keep it.
        let _kept = std::fs::remove_dir(prefix);
    }
    Ok(steps)
}

fn check_absolute(prefix: &Utf8Path) -> Result<(), Error> {
    if prefix.is_absolute() { Ok(()) } else { Err(Error::Relative { prefix: prefix.to_owned() }) }
}

/// Opens a prefix, made where it is missing; `None` in a dry run where it is. Says whether it was made.
fn open(prefix: &Utf8Path, run: Run) -> Result<Option<(Tree, bool)>, Error> {
    check_absolute(prefix)?;
    if !prefix.exists()
        && let Ok(target) = prefix.read_link_utf8()
    {
        return Err(Error::Dangling { prefix: prefix.to_owned(), target });
    }
    let opened = match run {
        Run::Real => Tree::open_or_make(prefix).map(Some),
        Run::Dry => match Tree::open(prefix) {
            Ok(tree) => Ok(Some((tree, false))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        },
    };
    opened.map_err(|source| match source.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            Error::NotDirectory { prefix: prefix.to_owned() }
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::NotWritable { path: prefix.to_owned(), source }
        }
        _ => Error::Io { action: "open the prefix", path: prefix.to_owned(), source },
    })
}

fn lock(tree: &Tree, prefix: &Utf8Path, run: Run) -> Result<Option<nix::fcntl::Flock<std::fs::File>>, Error> {
    if run == Run::Dry {
        return Ok(None);
    }
    let lock = tree
        .lock()
        .map_err(|source| Error::Io { action: "lock", path: prefix.to_owned(), source })?
        .ok_or_else(|| Error::Busy { prefix: prefix.to_owned() })?;
    Ok(Some(lock))
}

fn place(path: &str, prefix: &Utf8Path) -> Result<Place, Error> {
    Place::parse(path).ok_or_else(|| Error::Io {
        action: "name",
        path: prefix.join(path),
        source: io::ErrorKind::InvalidInput.into(),
    })
}

fn failed<'a>(
    action: &'static str,
    prefix: &'a Utf8Path,
    place: &'a Place,
) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { action, path: prefix.join(place.path()), source }
}

fn changes(step: Step) -> bool {
    matches!(step, Step::Write | Step::Replace | Step::Remove)
}

/// Looks at every place and decides; all refusals are one error.
fn look<'a>(
    tree: &Tree,
    prefix: &Utf8Path,
    places: impl Iterator<Item = (&'a Place, Option<&'a Entry>, Listed<'a>)>,
    edited: Edited,
) -> Result<Steps, Error> {
    let mut steps = Steps::new();
    let mut refused: Vec<(Utf8PathBuf, Refusal)> = Vec::new();
    for (place, wanted, listed) in places {
        let listed_size = if let Listed::Own(entry) = listed { entry.size() } else { 0 };
        let most = wanted.map_or(0, Entry::size).max(listed_size);
        let found = tree.look(place, most).map_err(failed("look at", prefix, place))?;
        match decide(wanted, listed, &found, edited) {
            Ok(step) => {
                steps.insert(place.clone(), step);
            }
            // One link above forty files is one finding.
            Err(Refusal::Link(path)) => refused.push((prefix.join(&path), Refusal::Link(path))),
            Err(Refusal::NotDirectory(path)) => {
                refused.push((prefix.join(&path), Refusal::NotDirectory(path)));
            }
            Err(refusal) => refused.push((prefix.join(place.path()), refusal)),
        }
    }
    refused.dedup();
    if refused.is_empty() { Ok(steps) } else { Err(Error::Refused { prefix: prefix.to_owned(), refused }) }
}

/// Asks before anything is changed whether all of it can be.
fn check_writable<'a>(
    tree: &Tree,
    prefix: &Utf8Path,
    places: impl Iterator<Item = &'a Place>,
) -> Result<(), Error> {
    let directories: BTreeSet<&Utf8Path> = places.filter_map(|place| place.path().parent()).collect();
    for directory in directories {
        let path = prefix.join(directory);
        tree.can_write(directory).map_err(|source| Error::NotWritable { path, source })?;
    }
    Ok(())
}

fn read_manifest(tree: &Tree, prefix: &Utf8Path) -> Result<Option<Manifest>, Error> {
    let broken = |reason| Error::Manifest { path: prefix.join(FILE), reason };
    let refused = |path: Utf8PathBuf, refusal| Error::Refused {
        prefix: prefix.to_owned(),
        refused: vec![(prefix.join(path), refusal)],
    };
    let own = place(FILE, prefix)?;
    match tree.look(&own, 0).map_err(failed("look at", prefix, &own))? {
        Found::Nothing => return Ok(None),
        Found::BehindLink(path) => return Err(refused(path.clone(), Refusal::Link(path))),
        Found::BehindFile(path) => return Err(refused(path.clone(), Refusal::NotDirectory(path))),
        Found::Link(_) | Found::Other => return Err(broken("it is not a plain file".to_owned())),
        Found::File(_) => {}
    }
    let bytes = tree.read(&own, manifest::MOST_BYTES).map_err(|error| broken(error.to_string()))?;
    bytes.map(|bytes| Manifest::parse(&bytes).map_err(broken)).transpose()
}

fn write_manifest(
    tree: &Tree,
    prefix: &Utf8Path,
    manifest: &Manifest,
    temporary: &Temporary,
) -> Result<(), Error> {
    let own = place(FILE, prefix)?;
    tree.write(&own, manifest.render().as_bytes(), 0o644, temporary).map_err(failed("write", prefix, &own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(files: &[(&str, &str)]) -> Wanted {
        let content = |text: &str| Content::File { bytes: text.into(), mode: 0o644 };
        let contents =
            files.iter().map(|(path, text)| (Place::parse(path).unwrap(), content(text))).collect();
        Wanted { contents, updated: BTreeMap::new(), kept: BTreeSet::new(), older: BTreeSet::new() }
    }

    /// Where a test installs: a directory of its own.
    fn base() -> (tempfile::TempDir, Utf8PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let base = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
        (directory, base)
    }

    fn put(prefix: &Utf8Path, wanted: &Wanted) -> Result<Steps, Error> {
        install(prefix, wanted, Edited::Refuse, Run::Real)
    }

    /// What unfinished files of an installation are called.
    fn unfinished(prefix: &Utf8Path) -> String {
        let manifest = Manifest::parse(&fs_err::read(prefix.join(FILE)).unwrap()).unwrap();
        manifest.temporary.unwrap().name().to_owned()
    }

    #[test]
    fn an_installation_that_ends_half_way_can_be_repeated_and_removed() {
        let (_keep, base) = base();
        let first = wanted(&[("a/file", "1"), ("b/file", "1"), ("c/gone", "1")]);
        let second = wanted(&[("a/file", "2"), ("b/file", "2"), ("d/new", "2")]);
        for again in [true, false] {
            let prefix = base.join(if again { "again" } else { "removed" });
            put(&prefix, &first).unwrap();
            // A directory of the temporary name is in the way of the second file.
            let obstacle = prefix.join(format!("b/{}", unfinished(&prefix)));
            fs_err::create_dir(&obstacle).unwrap();
            let error = put(&prefix, &second).unwrap_err();
            assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("b/file")), "{error}");
            assert_eq!(fs_err::read_to_string(prefix.join("a/file")).unwrap(), "2");
            assert_eq!(fs_err::read_to_string(prefix.join("b/file")).unwrap(), "1");
            fs_err::remove_dir(&obstacle).unwrap();
            // A killed pier could not clear these away.
            fs_err::write(&obstacle, "half").unwrap();
            fs_err::write(prefix.join(format!("c/{}", unfinished(&prefix))), "half").unwrap();
            if again {
                put(&prefix, &second).unwrap();
                assert_eq!(fs_err::read_to_string(prefix.join("b/file")).unwrap(), "2");
                assert!(
                    !prefix.join("c").exists() || fs_err::read_dir(prefix.join("c")).unwrap().count() == 0
                );
            }
            uninstall(&prefix, Edited::Refuse, Run::Real).unwrap();
            assert!(!prefix.exists());
        }
    }

    #[test]
    fn a_file_stays_pier_s_own_however_many_upgrades_end_half_way() {
        let (_keep, prefix) = base();
        let file = prefix.join("b/file");
        put(&prefix, &wanted(&[("b/file", "1")])).unwrap();
        // No file can be begun in there, as on a full disk.
        let obstacle = prefix.join(format!("b/{}", unfinished(&prefix)));
        fs_err::create_dir(&obstacle).unwrap();
        for text in ["2", "3", "3"] {
            let error = put(&prefix, &wanted(&[("b/file", text)])).unwrap_err();
            assert!(matches!(error, Error::Io { .. }), "{error}");
        }
        fs_err::remove_dir(&obstacle).unwrap();
        let steps = uninstall(&prefix, Edited::Refuse, Run::Dry).unwrap();
        assert_eq!(steps.into_values().collect::<Vec<_>>(), [Step::Remove]);
        put(&prefix, &wanted(&[("b/file", "4")])).unwrap();
        assert_eq!(fs_err::read_to_string(&file).unwrap(), "4");
        // Once it ended, what was there before is anybody's again.
        fs_err::write(&file, "1").unwrap();
        let error = put(&prefix, &wanted(&[("b/file", "4")])).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
    }
}
