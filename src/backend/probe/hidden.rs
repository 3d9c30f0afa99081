//! What the `hide` lines of a configuration name in a project: looked up by name, or by one bounded walk.

use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::plan::facts::Kind;
use crate::util::pattern::{is_wild, plain, reaches};

/// The most entries that one pattern may make pier look at.
const MOST_ENTRIES: usize = 2_000_000;

/// The most paths that are hidden; each costs a mount.
const MOST_HIDDEN: usize = 500;

/// Deeper directories are not looked into.
const MOST_DEPTH: usize = 128;

/// Why the walk gave up; what it would have missed could be a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{path}` cannot be looked at for `hide {pattern}`")]
    Look {
        pattern: String,
        path: Utf8PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "`hide {pattern}` would have to look at more than {MOST_ENTRIES} files, or deeper than {MOST_DEPTH} directories"
    )]
    TooLarge { pattern: String },
    #[error("`hide {pattern}` matches more than {MOST_HIDDEN} files; hide their directory with `NAME/**`")]
    TooMany { pattern: String },
    #[error("`hide {pattern}` matches a file whose name is not UTF-8: `{shown}`")]
    NotUtf8 { pattern: String, shown: String },
}

/// Returns what is hidden, relative to the root, and what it is. A pattern is relative to the root: `.env` is one
/// file, `**/.env` is every file of that name, `secrets/**` is the directory with all that is in it.
///
/// A symbolic link is not in it: what it leads to is hidden where that matches itself.
pub fn find<'a>(
    root: &Utf8Path,
    patterns: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<Utf8PathBuf, Kind>, Error> {
    let mut found = BTreeMap::new();
    for text in patterns {
        let pattern = plain(text);
        let (literal, rest) = split(pattern);
        for above in literal.ancestors().skip(1) {
            add_nested(&mut found, root, above);
        }
        if rest.is_empty() || rest == "**" {
            add(&mut found, root, &literal);
        } else {
            let mut walk = Walk { root, text, pattern, left: MOST_ENTRIES, found: &mut found };
            walk.directory(&literal, 0)?;
        }
        if found.len() > MOST_HIDDEN {
            return Err(Error::TooMany { pattern: text.to_owned() });
        }
    }
    Ok(found)
}

/// Splits a pattern before its first component with a wildcard.
fn split(pattern: &str) -> (Utf8PathBuf, &str) {
    let mut literal = Utf8PathBuf::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        let (part, tail) = rest.split_once('/').unwrap_or((rest, ""));
        if is_wild(part) {
            break;
        }
        literal.push(part);
        rest = tail;
    }
    (literal, rest)
}

/// Hides the git directory of a nested repository that a pattern reaches into: its objects hold the files as well.
fn add_nested(found: &mut BTreeMap<Utf8PathBuf, Kind>, root: &Utf8Path, directory: &Utf8Path) {
    let git = directory.join(".git");
    if !directory.as_str().is_empty() && root.join(&git).symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        add(found, root, &git);
    }
}

fn add(found: &mut BTreeMap<Utf8PathBuf, Kind>, root: &Utf8Path, relative: &Utf8Path) {
    let Ok(meta) = root.join(relative).symlink_metadata() else { return };
    let kind = match meta.file_type() {
        kind if kind.is_dir() => Kind::Directory,
        kind if kind.is_file() => Kind::File,
        _ => return,
    };
    found.insert(relative.to_owned(), kind);
}

struct Walk<'a> {
    root: &'a Utf8Path,
    text: &'a str,
    pattern: &'a str,
    left: usize,
    found: &'a mut BTreeMap<Utf8PathBuf, Kind>,
}

impl Walk<'_> {
    fn directory(&mut self, relative: &Utf8Path, depth: usize) -> Result<(), Error> {
        let too_large = || Error::TooLarge { pattern: self.text.to_owned() };
        if depth > MOST_DEPTH {
            return Err(too_large());
        }
        let path = self.root.join(relative);
        let failed = |source| Error::Look { pattern: self.text.to_owned(), path: path.clone(), source };
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            self.left = self.left.checked_sub(1).ok_or_else(too_large)?;
            let kind = entry.file_type().map_err(failed)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let shown = relative.as_std_path().join(&name).display().to_string();
                if fast_glob::glob_match(self.pattern, shown.as_bytes()) {
                    return Err(Error::NotUtf8 { pattern: self.text.to_owned(), shown });
                }
                continue;
            };
            let below = relative.join(name);
            if name == ".git" {
                if reaches(self.pattern, relative.as_str()) {
                    add_nested(self.found, self.root, relative);
                }
                continue;
            }
            if fast_glob::glob_match(self.pattern, below.as_str()) {
                add(self.found, self.root, &below);
            } else if kind.is_dir() {
                self.directory(&below, depth + 1)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write plain files")]
mod tests {
    use super::*;

    fn hidden(patterns: &[&str]) -> Vec<String> {
        let place = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(place.path()).unwrap();
        for name in
            [".env", "a/.env", "a/b/.env.local", "secrets/one", "secrets/deep/two", "plain", ".git/.env"]
        {
            let path = root.join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink(".env", root.join("link.env")).unwrap();
        let found = find(root, patterns.iter().copied()).unwrap();
        found.into_iter().map(|(path, kind)| format!("{path} {kind:?}")).collect()
    }

    #[test]
    fn patterns_are_relative_to_the_root() {
        assert_eq!(hidden(&[".env"]), [".env File"]);
        assert_eq!(hidden(&["./.env", "missing", "link.env"]), [".env File"]);
        assert_eq!(hidden(&["**/.env"]), [".env File", "a/.env File"]);
        assert_eq!(hidden(&["a/**/.env*"]), ["a/.env File", "a/b/.env.local File"]);
        assert_eq!(hidden(&["*.env"]), [".env File"]);
    }

    #[test]
    fn repositories_below_are_hidden_where_a_pattern_reaches_into_them() {
        let place = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(place.path()).unwrap();
        for name in [".git/objects/x", "lib/.git/objects/x", "lib/deep/x"] {
            fs_err::create_dir_all(root.join(name)).unwrap();
        }
        let found = |pattern: &str| -> Vec<Utf8PathBuf> {
            find(root, [pattern].into_iter()).unwrap().into_keys().collect()
        };
        assert_eq!(found("**/.env"), ["lib/.git"]);
        assert_eq!(found("lib/.env"), ["lib/.git"]);
        assert_eq!(found("lib/deep/**"), ["lib/.git", "lib/deep"]);
        assert!(found(".env").is_empty());
    }

    #[test]
    fn a_directory_is_hidden_as_one() {
        assert_eq!(hidden(&["secrets/**"]), ["secrets Directory"]);
        assert_eq!(hidden(&["secrets/"]), ["secrets Directory"]);
        assert_eq!(hidden(&["secret?/*"]), ["secrets/deep Directory", "secrets/one File"]);
    }
}
