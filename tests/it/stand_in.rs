//! A program in the place of bubblewrap, compiled by the test and put where only root can have put it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::{is_root, make_executable};

/// Removed at the end.
pub struct StandIn {
    directory: tempfile::TempDir,
}

impl StandIn {
    /// Compiles `source` with `record` as its variable `RECORD`. `None`, with the reason printed, where the tests do
    /// not run as root.
    pub fn compile(source: &str, record: &Path) -> Option<Self> {
        if !is_root() {
            println!("skipped: only root can put a program where pier accepts it as bubblewrap");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("pier-test-").tempdir_in("/usr/local/lib").unwrap();
        make_executable(directory.path());
        let file = directory.path().join("stand_in.rs");
        fs_err::write(&file, source).unwrap();
        let made = StandIn { directory };
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition=2024", "-o"]).arg(made.program()).arg(file).env("RECORD", record);
        assert!(rustc.status().unwrap().success());
        make_executable(&made.program());
        Some(made)
    }

    pub fn program(&self) -> PathBuf {
        self.directory.path().join("bwrap")
    }
}
