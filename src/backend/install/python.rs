//! The Python that runs an installation: found by its name, never asked.

use camino::{Utf8Path, Utf8PathBuf};

use crate::backend::launcher::{self, Error, Search};
use crate::plan::facts::Launcher;

/// Finds `pythonMAJOR.MINOR`: on `PATH`, then where pyenv and uv keep theirs. Shims are passed by: which version they
/// start is up to the directory that they are called in.
pub fn find(version: &str, search: &Search<'_>) -> Result<Utf8PathBuf, Error> {
    let name = format!("python{version}");
    let on_path = search.path.split(':').filter(|part| part.starts_with('/')).map(Utf8PathBuf::from);
    let (pyenv, uv) = (search.home.join(".pyenv/versions"), search.home.join(".local/share/uv/python"));
    let of_pyenv = installations(&pyenv, &format!("{version}."));
    let of_uv = installations(&uv, &format!("cpython-{version}."));
    for directory in on_path.chain(of_pyenv).chain(of_uv) {
        // `python3` is often the only name of the newest one.
        for name in [name.as_str(), "python3"] {
            let found = directory.join(name).canonicalize_utf8();
            let Some(found) = found.ok().filter(|found| found.file_name() == Some(&name_of(version))) else {
                continue;
            };
            if launcher::is_program(&found) {
                return Ok(found);
            }
        }
    }
    Err(Error::NotFound { name })
}

fn name_of(version: &str) -> String {
    format!("python{version}")
}

/// Returns the `bin` of each installation whose name starts so, the newest name first.
fn installations(shelf: &Utf8Path, start: &str) -> Vec<Utf8PathBuf> {
    let Ok(entries) = shelf.read_dir_utf8() else { return Vec::new() };
    let names = entries.filter_map(Result::ok).filter(|entry| entry.file_name().starts_with(start));
    let mut found: Vec<Utf8PathBuf> = names.map(|entry| entry.path().join("bin")).collect();
    found.sort_unstable();
    found.reverse();
    found
}

/// Returns what an installation needs that was made for this version of Python.
pub fn launcher(
    program: &Utf8Path,
    directory: &Utf8Path,
    version: &str,
    search: &Search<'_>,
) -> Result<Launcher, Error> {
    let python = find(version, search)?;
    launcher::python_program(program, python, directory, search)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_is_found_by_its_version_and_shims_are_passed_by() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap().canonicalize_utf8().unwrap();
        let file = |path: &str, content: &[u8]| {
            let path = root.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, content).unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        file("shims/python3.12", b"#!/bin/sh\nexec pyenv\n");
        let system = file("usr/bin/python3.11", b"\x7fELF");
        symlink("python3.11", root.join("usr/bin/python3")).unwrap();
        file("home/.pyenv/versions/3.12.1/bin/python3.12", b"\x7fELF");
        let newest = file("home/.pyenv/versions/3.12.9/bin/python3.12", b"\x7fELF");
        let of_uv = file("home/.local/share/uv/python/cpython-3.13.2-linux/bin/python3.13", b"\x7fELF");
        let home = root.join("home");
        let path = format!("shims:{root}/shims:{root}/usr/bin");
        let search = Search { path: &path, home: &home, uid: 0 };
        assert_eq!(find("3.11", &search).unwrap(), system);
        assert_eq!(find("3.12", &search).unwrap(), newest);
        assert_eq!(find("3.13", &search).unwrap(), of_uv);
        assert!(matches!(find("3.10", &search), Err(Error::NotFound { .. })));
    }
}
