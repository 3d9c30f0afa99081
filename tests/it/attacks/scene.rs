//! What the host looks like after a session, and the checks that many cases share.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::case::Verdict;
use super::stage::{Ran, Stage};
use super::world::OBEYED;

pub struct Scene<'a> {
    pub stage: &'a Stage,
    pub ran: Ran,
}

/// The most of a file that is searched, in bytes.
const MOST: usize = 1 << 20;

impl Scene<'_> {
    /// Nothing counts that did not run.
    pub fn did_run(&self) -> Verdict {
        Verdict::open_if(
            !self.ran.out.contains("@ran"),
            format!("the attack did not run: {}", self.ran.short()),
        )
    }
}

/// No secret came out: not on a stream, not in a file of the project.
pub fn no_canary(scene: &Scene<'_>) -> Verdict {
    let world = &scene.stage.world;
    scene.did_run().and(|| {
        for (name, text) in [("standard output", &scene.ran.out), ("standard error", &scene.ran.err)] {
            if let Some(line) = text.lines().find(|line| line.contains(&world.canary)) {
                return Verdict::open(format!(
                    "a secret on {name}: `{}`",
                    line.replace(&world.canary, "CANARY")
                ));
            }
        }
        let found = files(&world.project()).into_iter().find(|path| {
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes[..bytes.len().min(MOST)]
                .windows(world.canary.len())
                .any(|part| part == world.canary.as_bytes())
        });
        match found {
            Some(path) => Verdict::open(format!("a secret in `{}`", below(&path, &world.project()))),
            None => Verdict::Held,
        }
    })
}

/// The attack claims nothing.
pub fn no_claim(scene: &Scene<'_>) -> Verdict {
    let claims = scene.ran.claims();
    scene.did_run().and(|| Verdict::open_if(!claims.is_empty(), claims.join("; ")))
}

/// No command of the host was tricked into making a marker.
pub fn no_marker(scene: &Scene<'_>) -> Verdict {
    let marked = scene.stage.world.marked();
    scene
        .did_run()
        .and(|| Verdict::open_if(!marked.is_empty(), format!("ran on the host: {}", marked.join(", "))))
}

/// No listener of the host was reached.
pub fn nobody_connected(scene: &Scene<'_>) -> Verdict {
    let heard = scene.stage.world.connected();
    scene.did_run().and(|| Verdict::open_if(!heard.is_empty(), format!("connected to {}", heard.join(", "))))
}

/// The home of the host is as it was.
pub fn home_untouched(scene: &Scene<'_>) -> Verdict {
    let home = scene.stage.world.home();
    let changed: Vec<&str> = OBEYED
        .iter()
        .filter(|name| std::fs::metadata(home.join(name)).map_or(true, |meta| meta.len() != 0))
        .copied()
        .collect();
    scene.did_run().and(|| Verdict::open_if(!changed.is_empty(), format!("changed: {}", changed.join(" "))))
}

/// The verdict of a probe by its exit code.
pub fn probed(ran: &Ran) -> Verdict {
    let said = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    match ran.code {
        Some(0) => Verdict::Held,
        Some(1) => Verdict::Open(said),
        Some(2) if !said.is_empty() => Verdict::CannotRun(said),
        _ => Verdict::Open(format!("the attack did not run: {}", ran.short())),
    }
}

/// Each of these files is absent on the host, or pier has named it at the end of the session.
pub fn absent_or_named(scene: &Scene<'_>, names: &[&str]) -> Verdict {
    let root = scene.stage.world.project();
    let silent: Vec<&str> = names
        .iter()
        .filter(|name| root.join(name).symlink_metadata().is_ok() && !named(&scene.ran, name))
        .copied()
        .collect();
    scene.did_run().and(|| {
        Verdict::open_if(
            !silent.is_empty(),
            format!("left for the host without a word: {}", silent.join(" ")),
        )
    })
}

/// Whether pier named the file, or a directory that it is in. What the command prints is on the other stream.
fn named(ran: &Ran, name: &str) -> bool {
    let said = if ran.err.is_empty() { &ran.out } else { &ran.err };
    Path::new(name).ancestors().filter_map(Path::to_str).filter(|part| !part.is_empty()).any(|part| {
        said.split(|c: char| c.is_whitespace() || "`,;:()\"'".contains(c))
            .any(|word| word.trim_end_matches('/') == part)
    })
}

/// Every file below a directory; links are not followed.
pub fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

pub fn below(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// What tells whether a file is the same one, unchanged: device and inode, mode, size, time of change.
pub fn print(path: &Path) -> Option<(u64, u64, u32, u64, i64, i64)> {
    let meta = path.symlink_metadata().ok()?;
    Some((meta.dev(), meta.ino(), meta.mode(), meta.size(), meta.ctime(), meta.ctime_nsec()))
}
