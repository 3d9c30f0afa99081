//! Skills: directories with a `SKILL.md`, alone or several below one.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use camino::{Utf8Path, Utf8PathBuf};
use thiserror::Error;

use crate::session::beneath::Beneath;
use crate::util::fs::{canonical, remove_tree};

/// The file that makes one.
const FILE: &str = "SKILL.md";

/// Why something is no bundle of skills.
#[derive(Debug, Error)]
pub enum Error {
    #[error("`{path}` is not a directory")]
    NotDirectory { path: Utf8PathBuf },
    #[error("`{path}` holds no skill: neither it nor a directory in it has a `{FILE}`")]
    Empty { path: Utf8PathBuf },
    #[error("`{child}` in `{path}` is no skill: it has no `{FILE}`")]
    Child { path: Utf8PathBuf, child: String },
    #[error("cannot use `{path}`: {source}")]
    Io { path: Utf8PathBuf, source: io::Error },
}

fn failed(path: &Utf8Path) -> impl Fn(io::Error) -> Error + '_ {
    move |source| Error::Io { path: path.to_owned(), source }
}

/// Returns the skills of a bundle, by name: the directory itself, or every directory in it.
pub fn bundle(path: &Utf8Path) -> Result<BTreeMap<String, Utf8PathBuf>, Error> {
    if !path.is_dir() {
        return Err(Error::NotDirectory { path: path.to_owned() });
    }
    let path = &canonical(path).map_err(failed(path))?;
    if path.join(FILE).is_file() {
        let name = path.file_name().unwrap_or("skill").to_owned();
        return Ok([(name, path.clone())].into());
    }
    let mut found = BTreeMap::new();
    for entry in path.read_dir_utf8().map_err(failed(path))? {
        let entry = entry.map_err(failed(path))?;
        let name = entry.file_name();
        if name.starts_with('.') || !entry.path().is_dir() {
            continue;
        }
        if !entry.path().join(FILE).is_file() {
            return Err(Error::Child { path: path.clone(), child: name.to_owned() });
        }
        found.insert(name.to_owned(), entry.path().to_owned());
    }
    if found.is_empty() { Err(Error::Empty { path: path.clone() }) } else { Ok(found) }
}

/// Puts the skills of some bundles into a directory, and returns their names: one of the same name replaces what was there, or
/// came before; others stay.
pub fn compose(bundles: &[Utf8PathBuf], into: &Utf8Path) -> Result<Vec<String>, Error> {
    let mut all = BTreeMap::new();
    for path in bundles {
        all.extend(bundle(path)?);
    }
    let to = Beneath::open(into).map_err(failed(into))?;
    for (name, from) in &all {
        remove_tree(&into.join(name)).or_else(absent).map_err(failed(into))?;
        let source = OwnedFd::from(std::fs::File::open(from).map_err(failed(from))?);
        to.copy_tree(source, Utf8Path::new(name)).map_err(failed(from))?;
    }
    Ok(all.into_keys().collect())
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_skills_replace_earlier_ones_and_what_is_none_is_named() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        let write = |path: &str, text: &str| {
            fs_err::create_dir_all(base.join(path).parent().unwrap()).unwrap();
            fs_err::write(base.join(path), text).unwrap();
        };
        write("one/SKILL.md", "alone");
        write("many/one/SKILL.md", "of many");
        write("many/one/deep/file", "x");
        write("many/two/SKILL.md", "two");
        write("many/.hidden/file", "");
        write("many/README.md", "");
        write("bad/two/other", "");
        write("out/one/old", "old");
        write("out/kept/SKILL.md", "kept");
        fs_err::create_dir(base.join("empty")).unwrap();
        let of = |names: &[&str]| -> Vec<Utf8PathBuf> { names.iter().map(|name| base.join(name)).collect() };
        assert_eq!(compose(&of(&["one", "many"]), &base.join("out")).unwrap(), ["one", "two"]);
        assert_eq!(fs_err::read_to_string(base.join("out/one/SKILL.md")).unwrap(), "of many");
        assert!(!base.join("out/one/old").exists() && base.join("out/kept/SKILL.md").exists());
        assert!(base.join("out/one/deep/file").exists());
        for (name, said) in [("empty", "holds no skill"), ("bad", "`two` in"), ("absent", "not a directory")]
        {
            let error = compose(&of(&[name]), &base.join("out")).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
