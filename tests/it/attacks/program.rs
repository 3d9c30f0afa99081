//! Programs of the attacker, built from source of ours by the test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::sandbox::make_executable;

/// The static probe, built once for all worlds.
pub fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| build("tests/it/attacks/probe/main.rs", "attack-probe"))
}

/// A bubblewrap that makes every mount writable, built once.
pub fn stub() -> &'static Path {
    static STUB: OnceLock<PathBuf> = OnceLock::new();
    STUB.get_or_init(|| build("tests/it/attacks/stub/main.rs", "attack-stub"))
}

/// A static client that dials a host by its name, built once.
pub fn dial() -> &'static Path {
    static DIAL: OnceLock<PathBuf> = OnceLock::new();
    DIAL.get_or_init(|| build("tests/it/network/dial/main.rs", "network-dial"))
}

/// Copies a program. The copy is open for writing in no process that another thread may be starting: it could not
/// be run then.
pub fn copy(from: impl AsRef<Path>, to: &Path) {
    let status = Command::new("cp").arg(from.as_ref()).arg(to).status();
    assert!(status.unwrap().success(), "`{}` is copied", from.as_ref().display());
}

/// Compiles one program statically, without crates, unless that has been done.
fn build(source: &str, name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let last = directory.join(name);
    if is_newer(&last, source.parent().unwrap()) {
        return last;
    }
    let place = directory.join(format!("{name}-{}", std::process::id()));
    let status = Command::new("rustc")
        .args(["--edition=2024", "-Ctarget-feature=+crt-static", "-Copt-level=1", "-Cstrip=symbols"])
        .args(["-Cpanic=abort", "-o"])
        .arg(&place)
        .arg(&source)
        .status();
    assert!(status.unwrap().success(), "`{}` is compiled", source.display());
    make_executable(&place);
    // Another run of the tests may build the same one at the same time.
    fs_err::rename(&place, &last).unwrap();
    last
}

/// Whether a program was built after the last change of its sources.
fn is_newer(program: &Path, sources: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|meta| meta.modified());
    let Ok(built) = changed(program) else { return false };
    let files = fs_err::read_dir(sources).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().all(|path| changed(&path).unwrap() < built)
}
