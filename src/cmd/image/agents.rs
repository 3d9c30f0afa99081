//! Agents in an image: those that it has, and what those of pier's cache need to run there.

use camino::Utf8Path;

use super::engine;
use crate::agent::{Agent, Install};
use crate::backend::docker::Engine;
use crate::backend::docker::inside::{Entry, Inside};
use crate::backend::docker::layers::{self, Misfit};
use crate::backend::install::node::Node;
use crate::backend::install::{self, Installed};
use crate::backend::probe;
use crate::cmd::project::Project;
use crate::diag::{Exit, Failure};
use crate::plan;
use crate::plan::facts::{Image, InstallKind, Launcher};
use crate::plan::image::asked;
use crate::util::text::escape;

/// Where agents run.
pub enum Room {
    /// Not in an image.
    Host,
    /// In an image that this host does not have yet.
    Unknown,
    Image(Box<Known>),
}

/// An image that is there.
pub struct Known {
    inside: Inside,
    /// What people call it.
    name: String,
    image: Image,
    /// Where it searches for commands.
    path: Vec<String>,
}

/// An agent that an image may have.
pub enum Found {
    There(Launcher),
    /// No image has it, or none is asked for.
    Nothing,
    Unknown,
}

/// What became of an agent of pier's cache.
pub enum Fit {
    Runs(Launcher),
    NotInstalled(String),
    Unknown,
    Refused(Failure),
}

/// Says that an image is not known yet.
pub fn unknown(agent: &str) -> String {
    format!(
        "whether `{agent}` runs in the image is not known before that is fetched, and this is the plan of a shell"
    )
}

/// Returns where the agents of a project run.
pub fn room(project: &Project, probed: &probe::Probed) -> Result<Room, Failure> {
    let Some(container) = asked(&project.loaded.config) else { return Ok(Room::Host) };
    let Some(image) = probed.facts.image.clone() else { return Ok(Room::Unknown) };
    let reference = container.image.as_deref().unwrap_or_default();
    Ok(Room::of(&engine(&project.environment)?, reference, &image, &project.environment.cache))
}

/// Installs what a request names, once that is approved.
type Fetcher<'a> = &'a mut dyn FnMut(&install::Request<'_>) -> Result<Installed, Failure>;

impl Room {
    /// An image, by its reference; one that is built has none.
    pub fn of(engine: &Engine, reference: &str, image: &Image, cache: &Utf8Path) -> Self {
        let inside = Inside::new(engine.clone(), &image.digest, cache);
        let name = match reference {
            "" => "the image that is built".to_owned(),
            reference => format!("the image `{}`", escape(reference)),
        };
        let path = plan::image::path(Some(image));
        Room::Image(Box::new(Known { inside, name, path, image: image.clone() }))
    }

    /// Finds an agent that pier does not install.
    pub fn find(&mut self, adapter: &dyn Agent) -> Result<Found, Failure> {
        let known = match self {
            Room::Host => return Ok(Found::Nothing),
            Room::Unknown => return Ok(Found::Unknown),
            Room::Image(known) => known,
        };
        let names = adapter.launchers();
        let (paths, names): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains('/'));
        let mut program = known.inside.program(&names, &known.path)?;
        for path in paths.into_iter().filter(|path| path.starts_with('/')) {
            if program.is_none()
                && matches!(known.inside.find(path.into())?.1, Entry::File { executable: true })
            {
                program = Some(path.into());
            }
        }
        Ok(program.map_or(Found::Nothing, |program| Found::There(of_image(program.as_ref()))))
    }

    /// Makes an agent of the cache run: in an image it needs a Node, or a C library, that is there.
    pub fn fit(
        &mut self,
        installed: Installed,
        request: &install::Request<'_>,
        may_fetch: bool,
        fetch: Fetcher<'_>,
    ) -> Result<Fit, Failure> {
        let known = match self {
            Room::Host => return Ok(Fit::Runs(installed.launcher)),
            Room::Unknown => return Ok(Fit::Unknown),
            Room::Image(known) => known,
        };
        let Installed { mut launcher, node: range, python, .. } = installed;
        // What the host's Node would need is nothing to the image.
        launcher.directories.retain(|directory| launcher.program.starts_with(directory));
        if launcher.interpreter.is_none() {
            return known.with_libraries(request.agent, launcher, None);
        }
        if let Some(version) = python {
            // Another C library than that of the wheels would fail later, in the agent's words.
            let Some(found) = known.inside.program(&[&format!("python{version}")], &known.path)? else {
                return Ok(
                    known.refused(request.agent, &format!("it needs Python {version}, which is not in it"))
                );
            };
            launcher.interpreter = Some(found);
            return Ok(Fit::Runs(launcher));
        }
        let minimum = match request.install {
            Install::Npm(npm) => npm.minimum_node,
            Install::Pypi(_) | Install::Never => 0,
        };
        if let Some(node) = known.node(minimum, range.as_deref())? {
            launcher.interpreter = Some(node.program);
            return Ok(Fit::Runs(launcher));
        }
        let Some(node) = Node::new()? else {
            return Ok(known.refused(request.agent, "pier has no Node for this machine"));
        };
        let of_node = node.instead(request);
        let node = match install::find(&of_node)? {
            Some(found) => found.launcher,
            None if may_fetch => fetch(&of_node)?.launcher,
            None => return Ok(Fit::NotInstalled(format!("Node, which `{}` runs on,", request.agent))),
        };
        launcher.interpreter = Some(node.program.clone());
        launcher.directories.extend(node.directories.iter().cloned());
        known.with_libraries(request.agent, launcher, Some(&node.program))
    }
}

/// A program that an image has.
fn of_image(program: &Utf8Path) -> Launcher {
    Launcher {
        program: program.to_owned(),
        interpreter: None,
        directories: Vec::new(),
        libraries: Vec::new(),
        version: None,
        kind: InstallKind::System,
    }
}

impl Known {
    /// Returns the Node of the image, where it says which one it is and that is new enough.
    fn node(&mut self, minimum: u32, range: Option<&str>) -> Result<Option<Launcher>, Failure> {
        let version = self.image.environment.iter().find(|(name, _)| name == "NODE_VERSION");
        let Some((_, version)) = version else { return Ok(None) };
        let minimum = format!(">={minimum}");
        if [Some(minimum.as_str()), range]
            .into_iter()
            .flatten()
            .any(|wanted| install::is_older(version, wanted))
        {
            return Ok(None);
        }
        let found = self.inside.program(&["node"], &self.path)?;
        Ok(found.map(|program| of_image(&program)))
    }

    /// Adds what the program, or what runs it, needs of a C library.
    fn with_libraries(
        &mut self,
        agent: &str,
        mut launcher: Launcher,
        node: Option<&Utf8Path>,
    ) -> Result<Fit, Failure> {
        match layers::libraries(node.unwrap_or(&launcher.program), &mut self.inside) {
            Ok(libraries) => launcher.libraries = libraries,
            Err(Misfit::Engine(error)) => return Err(error.into()),
            Err(misfit) => return Ok(self.refused(agent, &misfit.to_string())),
        }
        Ok(Fit::Runs(launcher))
    }

    fn refused(&self, agent: &str, why: &str) -> Fit {
        let message = format!("the agent `{agent}` does not run in {}: {}", self.name, escape(why));
        Fit::Refused(
            Failure::new(Exit::NotSetUp, "agent::image", message)
                .help("put what it needs into the image, or choose a newer one, such as `debian:12`"),
        )
    }
}
