//! The digests by which a task is known: three, because three kinds of records name tasks.
//!
//! - [`checksum`]: `task_checksum` of a trial's result, in Harbor and the older `pier`.
//! - [`content`]: the digest in the locks of Harbor, over what a package of the task holds.
//! - [`all_files`]: the digest in the locks of the older `pier`.
//!
//! Links that lead out of the task are refused: what they lead to is not the task's.

use std::io::{self, Read as _};

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

use super::super::ignore::Rules;
use super::super::listing::{Entry, Listing};
use super::{Directory, is_file};
use crate::diag::Problem;
use crate::util::fs::{hex, sha256, sha256_of};

/// Why a task has no digest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read `{path}`: {source}")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error("{}", .0.message)]
    Refused(Problem),
    #[error("`{0}` is neither a file nor a directory, or leads nowhere")]
    NotAFile(Utf8PathBuf),
    #[error("`{0}` leads to a directory that it is in")]
    Circle(Utf8PathBuf),
    #[error("the directory holds no file")]
    Empty,
}

/// Left out of a package where no `.gitignore` says what is.
const DEFAULT_IGNORES: &str = "__pycache__/\n*.pyc\n.DS_Store\n*.swp\n*.swo\n*~\n";

/// Returns the `dirhash` of the whole directory (`PyPI` package of that name, 0.5, with SHA-256), without what `.harborignore`
/// leaves out.
///
/// A directory is the sorted list of its entries: for a file `data:<sha256>` and `name:<name>`, for a directory
/// `dirhash:<its own>` and its name, with one NUL between the two and two between entries. Links are followed, and
/// directories without any file do not count.
pub fn checksum(listing: &Listing) -> Result<String, Error> {
    let directory = Directory::new(listing);
    hash(&directory, Utf8Path::new(""), &mut Vec::new())?.ok_or(Error::Empty)
}

fn hash(
    directory: &Directory<'_>,
    path: &Utf8Path,
    above: &mut Vec<Utf8PathBuf>,
) -> Result<Option<String>, Error> {
    let listing = directory.listing;
    let real = listing.real(path).map_err(|_| Error::NotAFile(path.to_owned()))?;
    if above.contains(&real) {
        return Err(Error::Circle(path.to_owned()));
    }
    above.push(real);
    let mut entries = Vec::new();
    for child in listing.children(path) {
        if directory.is_excluded(&child).map_err(Error::Refused)? {
            continue;
        }
        let name = format!("name:{}", child.file_name().unwrap_or_default());
        let content = match listing.entry(&child) {
            Some(Entry::Directory(_)) => match hash(directory, &child, above)? {
                Some(hash) => format!("dirhash:{hash}"),
                None => continue,
            },
            entry if is_file(entry) => format!("data:{}", of_file(listing, &child)?),
            _ => return Err(Error::NotAFile(child)),
        };
        let mut both = [content, name];
        both.sort_unstable();
        entries.push(both.join("\0"));
    }
    above.pop();
    entries.sort_unstable();
    Ok((!entries.is_empty()).then(|| sha256(entries.join("\0\0").as_bytes())))
}

/// Returns `sha256:<hex>` over the files that a package of the task holds: `<path> NUL <sha256> LF` each, sorted by
/// path.
///
/// Those are the four files at the root, and what is below the four directories, without what `.harborignore` and
/// `.gitignore` leave out. Links to directories are not followed.
pub fn content(listing: &Listing) -> Result<String, Error> {
    let directory = Directory::new(listing);
    let path = Utf8PathBuf::from(".gitignore");
    let ignored = if listing.entry(&path).is_some() {
        Rules::parse(&listing.read_text(&path).map_err(|source| Error::Read { path, source })?)
    } else {
        Rules::parse(DEFAULT_IGNORES)
    };
    let single = ["task.toml", "instruction.md", "README.md", "trajectory.json"].map(Utf8PathBuf::from);
    let mut files: Vec<Utf8PathBuf> =
        single.into_iter().filter(|path| listing.entry(path).is_some()).collect();
    let mut pending = ["environment", "tests", "solution", "steps"].map(Utf8PathBuf::from).to_vec();
    while let Some(path) = pending.pop() {
        for child in listing.children(&path) {
            if directory.is_excluded(&child).map_err(Error::Refused)? {
                continue;
            }
            if is_file(listing.entry(&child)) {
                files.push(child);
            } else if listing.is_plain_directory(&child) {
                pending.push(child);
            }
        }
    }
    files.retain(|path| !ignored.ignores(path.as_str()));
    files.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    let mut digest = Sha256::new();
    for path in &files {
        digest.update(format!("{path}\0{}\n", of_file(listing, path)?));
    }
    Ok(format!("sha256:{}", hex(&digest.finalize())))
}

/// Returns `sha256:<hex>` over every file but those in a `.git`: `<path> NUL <bytes> NUL` each, sorted by the names
/// in their paths. Links to directories are not followed.
pub fn all_files(listing: &Listing) -> Result<String, Error> {
    let is_git = |path: &Utf8Path| path.iter().any(|name| name == ".git");
    let mut files: Vec<&Utf8Path> = listing
        .all()
        .map(|(path, _)| path)
        .filter(|path| !is_git(path) && is_file(listing.entry(path)))
        .collect();
    files.sort_unstable_by(|one, other| one.iter().cmp(other.iter()));
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    for path in files {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        digest.update(path.as_str());
        digest.update([0]);
        let mut file = listing.open(path).map_err(failed)?;
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => digest.update(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        digest.update([0]);
    }
    Ok(format!("sha256:{}", hex(&digest.finalize())))
}

fn of_file(listing: &Listing, path: &Utf8Path) -> Result<String, Error> {
    let hash = listing.open(path).and_then(sha256_of);
    hash.map_err(|source| Error::Read { path: path.to_owned(), source })
}
