//! `runtime container` for the commands: the engine, the image as it is now, its approval, and agents in it.

use super::project::{self, Fetch, Project};
use crate::backend::docker::{self, Engine, images};
use crate::backend::probe;
use crate::diag::Failure;
use crate::env::Environment;
use crate::plan::image::{asked, problems};
use crate::ui;
use crate::util::text::escape;

/// Returns the engine that Docker's own client would use.
pub fn engine(environment: &Environment) -> Result<Engine, Failure> {
    Ok(docker::find(&|name| environment.get(name).map(str::to_owned), &environment.home)?)
}

/// Adds the image to the facts. With [`Fetch::Install`] one that is not there is fetched, once that is approved.
pub fn add(
    project: &Project,
    fetch: Fetch,
    trusted: Option<&str>,
    probed: &mut probe::Probed,
) -> Result<(), Failure> {
    let config = &project.loaded.config;
    let Some(container) = asked(config) else { return Ok(()) };
    // Programs of the host do not run where its libraries are not.
    probed.facts.launchers.clear();
    let Some(reference) = container.image.as_deref().filter(|_| problems(config).is_empty()) else {
        return Ok(());
    };
    let engine = match engine(&project.environment)?.connect() {
        // A plan can be read without an engine.
        Err(docker::Error::Unreachable { .. }) if fetch == Fetch::Never => return Ok(()),
        engine => engine?,
    };
    let find = || images::find(&engine, reference, &project.environment.cache);
    probed.facts.image = match find()? {
        None if fetch == Fetch::Install => {
            project::approve(project, &project::preview(project, probed)?, trusted)?;
            images::pull(&engine, reference, &mut show)?;
            let image = find()?;
            Some(image.ok_or_else(|| docker::Error::NoImage { reference: reference.to_owned() })?)
        }
        found => found,
    };
    Ok(())
}

fn show(progress: images::Progress) {
    match progress {
        images::Progress::Pulling { reference } => {
            ui::say(&format!("fetching the image {}", escape(&reference)));
        }
        images::Progress::Fetched { bytes, of } => tracing::debug!(bytes, of, "fetching"),
    }
}
