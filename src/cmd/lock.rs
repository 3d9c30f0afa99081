//! `pier lock`: what a run resolved, pinned in `pier.lock`.

use super::project::Project;
use crate::agent::{self, Install};
use crate::diag::{Exit, Failure};
use crate::lock::{self, Lock, Wanted};

/// Returns what the configuration asks of the lock.
pub fn wanted(project: &Project) -> Result<Vec<Wanted>, Failure> {
    let mut wanted = Vec::new();
    for declared in &project.loaded.config.agents {
        let Ok(adapter) = agent::of(declared) else { continue };
        let (Install::Npm(npm), Some(version)) = (adapter.install(), &declared.version) else { continue };
        let version = Some(lock::Version::parse(&version.value)?);
        wanted.push(Wanted { name: declared.name.value.clone(), package: npm.package.to_owned(), version });
    }
    Ok(wanted)
}

/// Refuses a project whose lock is missing or does not say what the configuration says.
pub fn require(project: &Project) -> Result<(), Failure> {
    let lock = Lock::read(&project.root.join("pier.lock"))?.unwrap_or_default();
    let differences = lock.verify(&wanted(project)?);
    if differences.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
    Err(Failure::new(
        Exit::Usage,
        "lock::stale",
        format!("`pier.lock` does not pin what runs: {}", list.join("; ")),
    )
    .help("run `pier lock update` and commit the file"))
}
