//! The first files of a workspace: what the image has at its working directory.

use std::io::Read;

use camino::{Utf8Path, Utf8PathBuf};

use super::Error;
use crate::backend::docker::copy;

/// The most entries that are copied out of a task.
const MOST_ENTRIES: usize = 2_000_000;

/// Unpacks the files of an image.
pub fn unpack(archive: impl Read, to: &Utf8Path) -> Result<usize, Error> {
    copy::unpack(archive, to, super::OWN).map_err(|source| Error::Io { path: to.to_owned(), source })
}

/// Copies what a task has beside its prepared image, without what says how an image is made.
pub fn beside(from: &Utf8Path, to: &Utf8Path) -> Result<usize, Error> {
    let failed = |source| Error::Io { path: from.to_owned(), source };
    let defines = |name: &str| name == "Dockerfile" || name.starts_with("docker-compose");
    // A link of the task leads elsewhere.
    if !from.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        return Ok(0);
    }
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
