//! `runtime container` for the commands: the engine, the image as it is now, its approval.

use super::project::{self, Fetch, Project};
use crate::backend::docker::{self, Engine, images, owned, still};
use crate::backend::probe;
use crate::diag::Failure;
use crate::env::Environment;
use crate::lock;
use crate::plan::image::{asked, place, problems};
use crate::plan::{Plan, RootFilesystem};
use crate::ui;
use crate::util::text::escape;

pub mod agents;
pub mod build;
pub mod fetch;

/// Returns the engine that Docker's own client would use.
pub fn engine(environment: &Environment) -> Result<Engine, Failure> {
    Ok(docker::find(&|name| environment.get(name).map(str::to_owned), &environment.home)?)
}

/// Removes the containers by which killed calls have looked into images, and says so where there were some.
pub fn clear_looks(environment: &Environment) -> Option<String> {
    let engine = engine(environment).and_then(|engine| Ok(engine.connect()?));
    let cleared = engine.and_then(|engine| Ok(still::clear(&engine)?)).unwrap_or_else(|failure| {
        tracing::debug!(%failure, "no engine says what is left there");
        Vec::new()
    });
    let names = escape(&cleared.join(", "));
    (!cleared.is_empty()).then(|| format!("removed containers that killed calls had left: {names}"))
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
    if !problems(config).is_empty() {
        return Ok(());
    }
    let context = place(config).map(|place| build::look(project, &place, probed)).transpose()?;
    let address = engine(&project.environment)?;
    let engine = match address.connect() {
        // A plan can be read without an engine.
        Err(docker::Error::Unreachable { .. }) if fetch == Fetch::Never => return Ok(()),
        engine => engine?,
    };
    if let Some(context) = context {
        return build::add(project, (&address, &engine), &context, fetch, trusted, probed);
    }
    let Some(reference) = container.image.as_deref() else { return Ok(()) };
    let pins = fetch::pins(project)?;
    let wanted = fetch::wanted(&pins, reference);
    probed.facts.image = match images::find(&engine, wanted, &project.environment.cache)? {
        None if fetch == Fetch::Install => {
            project::approve(project, &project::preview(project, probed)?, trusted)?;
            Some(fetch::fetch(project.into(), &engine, wanted)?)
        }
        found => found,
    };
    Ok(())
}

/// Says when the start will take longer than it looks: what the image has for a user is given to the caller first.
pub fn announce(engine: &Engine, plan: &Plan) -> Result<(), Failure> {
    if let RootFilesystem::Image { owner: Some(_), .. } = &plan.root
        && let Some(user) = owned::missing(&engine.connect()?, plan)?
    {
        ui::say(&format!("giving what is `{}`'s in the image to you, once for this image", escape(user)));
    }
    Ok(())
}

/// Returns the references that `pier.lock` pins.
pub fn wanted(project: &Project) -> Result<Vec<String>, Failure> {
    let config = &project.loaded.config;
    let Some(container) = asked(config).filter(|_| problems(config).is_empty()) else {
        return Ok(Vec::new());
    };
    match place(config) {
        Some(place) => build::references(project, &place),
        None => Ok(container.image.clone().into_iter().collect()),
    }
}

/// Returns what the lock is to say of these references.
pub fn resolve(project: &Project, references: &[String]) -> Result<Vec<lock::Image>, Failure> {
    if references.is_empty() {
        return Ok(Vec::new());
    }
    let engine = engine(&project.environment)?.connect()?;
    references.iter().map(|reference| fetch::resolve(project.into(), &engine, reference)).collect()
}
