//! `--skill`, and the skills of a task: shown in the container, and registered for every agent.

use camino::{Utf8Path, Utf8PathBuf};

use super::{Start, usage};
use crate::cmd::skills::of_image;
use crate::cmd::workspaces::base::Base;
use crate::cmd::workspaces::given::Mounted;
use crate::diag::Failure;
use crate::env::Environment;
use crate::util::fs::{create_private, remove_tree};
use crate::workspace::{self, OWN, Session, skills};

/// Where skills are in a container where no task says so.
const TARGET: &str = "/harbor/skills";

/// Where those of the flag are, below the workspace.
fn place(root: &Utf8Path) -> Utf8PathBuf {
    root.join(OWN).join("skills")
}

/// Checks the bundles of the flag, and returns the mount that shows them.
pub fn mount(args: &Start, base: &Base, cwd: &Utf8Path, root: &Utf8Path) -> Result<Option<String>, Failure> {
    if args.skill.is_empty() {
        return Ok(None);
    }
    for path in &args.skill {
        skills::bundle(&cwd.join(path))?;
    }
    let said = base.task().and_then(|task| task.task.environment.skills_dir.as_deref());
    let target = said.filter(|said| !said.is_empty()).unwrap_or(TARGET);
    if !target.starts_with('/') {
        let message =
            format!("`skills_dir` of the task is not absolute: `{}`", crate::util::text::escape(target));
        return Err(usage(&message, "write a path such as `/harbor/skills`"));
    }
    Ok(Some(format!("{}:{target}:ro", place(root))))
}

/// Says whether a mount is that of the flag.
pub fn is_mount(root: &Utf8Path, mount: &str) -> bool {
    Mounted::parse(mount).is_some_and(|mount| mount.source == place(root).as_str())
}

/// Puts the bundles of the flag together, anew.
pub fn compose(args: &Start, cwd: &Utf8Path, root: &Utf8Path) -> Result<(), Failure> {
    if args.skill.is_empty() {
        return Ok(());
    }
    let into = place(root);
    let failed = |source| skills::Error::Io { path: into.clone(), source };
    match remove_tree(&into) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error).into()),
        _ => {}
    }
    std::fs::create_dir(&into).map_err(failed)?;
    let bundles: Vec<Utf8PathBuf> = args.skill.iter().map(|path| cwd.join(path)).collect();
    skills::compose(&bundles, &into)?;
    Ok(())
}

/// Returns the directories whose skills the agents of a workspace have.
pub fn sources(
    environment: &Environment,
    root: &Utf8Path,
    session: &Session,
    base: &Base,
) -> Result<Vec<Utf8PathBuf>, Failure> {
    if session.agents.is_empty() {
        return Ok(Vec::new());
    }
    if session.extra_mounts.iter().any(|mount| is_mount(root, mount)) {
        return Ok(vec![place(root)]);
    }
    let said = base.task().and_then(|task| task.task.environment.skills_dir.clone());
    let Some(directory) = said.filter(|said| said.starts_with('/')) else { return Ok(Vec::new()) };
    let into = workspace::private(&environment.state, root).join("skills");
    let failed = |source| skills::Error::Io { path: into.clone(), source };
    match remove_tree(&into) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error).into()),
        _ => {}
    }
    create_private(&into).map_err(failed)?;
    let any = of_image(environment, root, base, &directory, &into)?;
    Ok(any.then_some(into).into_iter().collect())
}
