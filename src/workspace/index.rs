//! `~/.pier/index.json`: which workspaces there are, as an older tool keeps it.

use std::collections::BTreeSet;
use std::fs::File;

use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

use super::{Error, Workspace, at};
use crate::util::fs::{create_private, read_bounded, write_atomic};

/// What follows the name of one that was damaged.
const DAMAGED: &str = "json.damaged";

/// The most that the file may hold, in bytes.
const MOST: u64 = 4 << 20;

fn path(home: &Utf8Path) -> Utf8PathBuf {
    home.join(".pier/index.json")
}

/// A file that could not be read, and was put aside: it only lists workspaces, which are where they were.
#[derive(Debug)]
pub struct Damaged {
    pub path: Utf8PathBuf,
    /// Where it is now.
    pub aside: Utf8PathBuf,
    pub said: String,
}

/// Hears of a file that is damaged.
pub type Tell<'a> = &'a mut dyn FnMut(Damaged);

/// Reads the file: a list of paths, or an older object whose values are they.
///
/// # Errors
/// What is wrong with it.
fn read(path: &Utf8Path) -> Result<BTreeSet<Utf8PathBuf>, String> {
    let text = match read_bounded(path, MOST) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error.to_string()),
    };
    let entries = match serde_json::from_slice(&text) {
        Ok(Value::Array(entries)) => entries,
        Ok(Value::Object(entries)) => entries.into_iter().map(|(_, path)| path).collect(),
        Ok(_) => return Err("it is no list".into()),
        Err(_) if text.trim_ascii().is_empty() => Vec::new(),
        Err(error) => return Err(error.to_string()),
    };
    Ok(entries.iter().filter_map(Value::as_str).map(Utf8PathBuf::from).collect())
}

/// Changes the file, one at a time. One that is damaged counts as empty, and is kept beside the new one.
fn change(
    home: &Utf8Path,
    tell: Tell<'_>,
    change: impl FnOnce(&mut BTreeSet<Utf8PathBuf>),
) -> Result<BTreeSet<Utf8PathBuf>, Error> {
    let path = path(home);
    let failed = |source| Error::Io { path: path.clone(), source };
    create_private(&home.join(".pier")).map_err(failed)?;
    let lock = File::options().create(true).truncate(false).write(true).open(home.join(".pier/index.lock"));
    let _held = Flock::lock(lock.map_err(failed)?, FlockArg::LockExclusive)
        .map_err(|(_, errno)| failed(errno.into()))?;
    let before = match read(&path) {
        Ok(before) => before,
        Err(said) => {
            let aside = path.with_extension(DAMAGED);
            std::fs::rename(&path, &aside).map_err(failed)?;
            tell(Damaged { path: path.clone(), aside, said });
            BTreeSet::new()
        }
    };
    let mut after = before.clone();
    change(&mut after);
    if after == before && path.exists() {
        return Ok(after);
    }
    let mut text = serde_json::to_vec_pretty(&after).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    write_atomic(&path, &text, 0o644).map_err(failed)?;
    Ok(after)
}

/// Adds a workspace.
pub fn add(home: &Utf8Path, root: &Utf8Path, tell: Tell<'_>) -> Result<(), Error> {
    change(home, tell, |paths| {
        paths.insert(root.to_owned());
    })
    .map(drop)
}

/// Returns the workspaces that are still there, and forgets the others. One whose file is damaged is listed.
pub fn list(home: &Utf8Path, tell: Tell<'_>) -> Result<Vec<Result<Workspace, Error>>, Error> {
    let before = match read(&path(home)) {
        Ok(before) => before,
        Err(_) => change(home, tell, |_| {})?,
    };
    let mut real = BTreeSet::new();
    let mut found = Vec::new();
    for path in &before {
        // A link to another entry is that entry; what cannot be looked at may be there.
        let canonical = match path.canonicalize_utf8() {
            Ok(canonical) => canonical,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => path.clone(),
            Err(_) => continue,
        };
        let is_there = canonical.join(super::files::SESSION).try_exists().unwrap_or(true);
        if !is_there || !real.insert(canonical.clone()) {
            continue;
        }
        found.push(at(&canonical).map_err(|error| match error {
            Error::Io { source, .. } => Error::Io { path: canonical.join(super::files::SESSION), source },
            error => error,
        }));
    }
    if real != before {
        change(home, tell, |paths| {
            paths.retain(|path| !before.contains(path) || real.contains(path));
            paths.extend(real);
        })?;
    }
    Ok(found)
}

/// Returns the only workspace that there is, for commands outside of any.
pub fn only(home: &Utf8Path, tell: Tell<'_>) -> Result<Workspace, Error> {
    let mut all = list(home, tell)?;
    match all.len() {
        0 => Err(Error::NoneActive),
        1 => all.remove(0),
        _ => Err(Error::Several {
            paths: all.iter().flatten().map(|workspace| workspace.root.to_string()).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::files::SESSION;

    fn workspace(base: &Utf8Path, name: &str) -> Utf8PathBuf {
        let root = base.join(name);
        write_atomic(&root.join(SESSION), br#"{ "task_dir": "/t" }"#, 0o644).unwrap();
        root.canonicalize_utf8().unwrap()
    }

    #[test]
    fn the_index_forgets_what_is_gone_and_reads_both_forms() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap();
        let home = base.join("home");
        let none = &mut |damaged: Damaged| panic!("{damaged:?}");
        assert!(matches!(only(&home, none), Err(Error::NoneActive)));
        let (one, other) = (workspace(base, "one"), workspace(base, "other"));
        std::os::unix::fs::symlink(&one, base.join("alias")).unwrap();
        let text = format!(r#"{{ "a": "{one}", "b": "{base}/alias", "c": "/nonexistent" }}"#);
        write_atomic(&path(&home), text.as_bytes(), 0o644).unwrap();
        assert_eq!(only(&home, none).unwrap().root, one);
        assert_eq!(fs_err::read_to_string(path(&home)).unwrap(), format!("[\n  \"{one}\"\n]\n"));
        add(&home, &other, none).unwrap();
        assert!(matches!(only(&home, none), Err(Error::Several { paths }) if paths.len() == 2));
        // What cannot be read is empty, and is kept.
        for damaged in [&b"nonsense"[..], b"7", b"[\"/a\""] {
            write_atomic(&path(&home), damaged, 0o644).unwrap();
            let mut told = Vec::new();
            assert!(list(&home, &mut |damaged| told.push(damaged)).unwrap().is_empty());
            let [Damaged { path: of, aside, .. }] = told.as_slice() else { panic!("{told:?}") };
            assert_eq!(*of, path(&home));
            assert_eq!(
                (aside.file_name(), fs_err::read(aside).unwrap()),
                (Some("index.json.damaged"), damaged.to_owned())
            );
            add(&home, &one, none).unwrap();
            assert_eq!(only(&home, none).unwrap().root, one);
            write_atomic(&path(&home), damaged, 0o644).unwrap();
            told.clear();
            add(&home, &other, &mut |damaged| told.push(damaged)).unwrap();
            assert!(told.len() == 1 && only(&home, none).unwrap().root == other);
        }
    }
}
