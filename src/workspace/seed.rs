//! The first files of a workspace: what the image has at its working directory.

use std::io::Read;

use camino::{Utf8Path, Utf8PathBuf};

use super::Error;

/// The most bytes and entries that are taken out of an image.
const MOST_BYTES: u64 = 16 << 30;
const MOST_ENTRIES: usize = 2_000_000;

/// Unpacks an archive whose entries are below one directory into `to`: files, directories and links, the caller's, without
/// set-user-id bits, and nothing outside of it.
pub fn unpack(archive: impl Read, to: &Utf8Path) -> Result<usize, Error> {
    let failed = |source| Error::Io { path: to.to_owned(), source };
    let mut archive = tar::Archive::new(archive.take(MOST_BYTES));
    let mut count = 0;
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        entry.set_preserve_permissions(true);
        entry.set_mask(0o7000);
        entry.set_preserve_mtime(true);
        let path = entry.path().map_err(failed)?.into_owned();
        // The first part is the directory itself.
        let below: std::path::PathBuf = path.components().skip(1).collect();
        let Some(below) = Utf8PathBuf::from_path_buf(below).ok().filter(|path| !path.as_str().is_empty())
        else {
            continue;
        };
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link())
            || below.starts_with(super::OWN)
        {
            continue;
        }
        count += 1;
        if count > MOST_ENTRIES {
            return Err(failed(std::io::Error::other("the image has too many files there")));
        }
        let place = to.join(&below);
        let parent = place.parent().unwrap_or(to);
        // Through no link that an entry before has made.
        std::fs::create_dir_all(parent).map_err(failed)?;
        let real = parent.canonicalize_utf8().map_err(failed)?;
        if !real.starts_with(to) || kind.is_hard_link() {
            continue;
        }
        // What is there already is somebody's.
        if !kind.is_dir() && place.symlink_metadata().is_ok() {
            continue;
        }
        entry.unpack(&place).map_err(failed)?;
    }
    Ok(count)
}

/// Copies what a task has beside its prepared image, without what says how an image is made.
pub fn copy(from: &Utf8Path, to: &Utf8Path) -> Result<usize, Error> {
    let failed = |source| Error::Io { path: from.to_owned(), source };
    let defines = |name: &str| name == "Dockerfile" || name.starts_with("docker-compose");
    let mut count = 0;
    let mut pending = vec![Utf8PathBuf::new()];
    while let Some(directory) = pending.pop() {
        let entries = match from.join(&directory).read_dir_utf8() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let below = directory.join(entry.file_name());
            let (kind, place) = (entry.file_type().map_err(failed)?, to.join(&below));
            if directory.as_str().is_empty()
                && (defines(entry.file_name()) || entry.file_name() == super::OWN)
                || place.symlink_metadata().is_ok() && !(kind.is_dir() && place.is_dir())
            {
                continue;
            }
            count += 1;
            if count > MOST_ENTRIES {
                return Err(failed(std::io::Error::other("the task has too many files there")));
            }
            if kind.is_dir() {
                std::fs::create_dir_all(&place).map_err(failed)?;
                pending.push(below);
            } else if kind.is_file() {
                std::fs::copy(entry.path(), &place).map_err(failed)?;
            } else if kind.is_symlink() {
                let target = entry.path().read_link_utf8().map_err(failed)?;
                std::os::unix::fs::symlink(target, &place).map_err(failed)?;
            }
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::util::fs::write_atomic;

    #[test]
    fn an_archive_stays_where_it_is_unpacked() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        let to = base.join("to");
        std::fs::create_dir(&to).unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |path: &str, kind: tar::EntryType, link: &str, mode: u32| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            if !link.is_empty() {
                header.set_link_name(link).unwrap();
            }
            header.set_size(if kind.is_file() { 4 } else { 0 });
            header.set_cksum();
            archive.append(&header, &b"text"[..if kind.is_file() { 4 } else { 0 }]).unwrap();
        };
        write_atomic(&to.join("mine"), b"mine", 0o644).unwrap();
        let file = tar::EntryType::Regular;
        add("app/mine", file, "", 0o644);
        add("app/", tar::EntryType::Directory, "", 0o755);
        add("app/tool", file, "", 0o4755);
        add("app/out", tar::EntryType::Symlink, base.as_str(), 0o777);
        add("app/out/evil", file, "", 0o644);
        add("app/.pier/session.json", file, "", 0o644);
        add("app/device", tar::EntryType::Char, "", 0o644);
        assert!(unpack(archive.into_inner().unwrap().as_slice(), &to).is_ok());
        assert_eq!(std::fs::metadata(to.join("tool")).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs_err::read_to_string(to.join("mine")).unwrap(), "mine");
        assert!(to.join("out").is_symlink());
        assert!(!base.join("evil").exists() && !to.join(".pier").exists() && !to.join("device").exists());
    }
}
