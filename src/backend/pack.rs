//! An archive of files inside a sandbox, made by pier there: called as `/.pier/init __pack PATH …`.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// What the program is called with before the path.
pub const WORD: &str = "__pack";

/// Prints the archive of the tree at a path; links stay links.
pub fn main(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let packed =
        words.next().ok_or(io::ErrorKind::InvalidInput.into()).and_then(|path| pack(Path::new(&path)));
    match packed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::NotFound => ExitCode::from(2),
        Err(_) => ExitCode::FAILURE,
    }
}

fn pack(path: &Path) -> io::Result<()> {
    let meta = std::fs::metadata(path)?;
    let mut archive = tar::Builder::new(io::BufWriter::new(io::stdout().lock()));
    archive.follow_symlinks(false);
    archive.sparse(false);
    if meta.is_dir() {
        archive.append_dir_all("it", path)?;
    } else {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        archive.append_path_with_name(path, Path::new("it").join(name))?;
    }
    archive.into_inner()?.flush()
}
