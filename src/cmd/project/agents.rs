//! Agents of a project: pinned ones are installed, and in a container each is one that runs in the image.

use super::{Fetch, Project, approve, preview};
use crate::agent::{self, Install};
use crate::backend::{install, launcher, probe};
use crate::cmd::image::agents as image;
use crate::config::{self, Sourced};
use crate::diag::Failure;
use crate::plan::Target;
use crate::plan::facts::PathFact;
use crate::{lock, ui};

/// What became of the agents.
pub enum Agents {
    There,
    /// The wanted one, or Node for it, was installed just now.
    Installed,
    /// That the wanted one is missing, where it may not be fetched, and what is planned instead.
    Missing(String),
}

/// Returns what pier installs for a block, and at which version, where both are said.
fn pinned<'a>(
    adapter: &dyn agent::Agent,
    declared: &'a config::Agent,
) -> Option<(Install, &'a Sourced<String>)> {
    let install = adapter.install();
    declared.version.as_ref().filter(|_| install != Install::Never).map(|version| (install, version))
}

/// Puts pinned agents in place of found ones, installing the wanted one where it is missing.
pub fn add(
    project: &Project,
    target: &Target,
    fetch: Fetch,
    trusted: Option<&str>,
    probed: &mut probe::Probed,
) -> Result<Agents, Failure> {
    let Project { environment, loaded, .. } = project;
    let mut agents = Agents::There;
    let mut room = image::room(project, probed)?;
    let locked = project.lock()?;
    let variables: Vec<(String, String)> = environment
        .names()
        .filter_map(|name| Some((name.to_owned(), environment.get(name)?.to_owned())))
        .collect();
    for declared in &loaded.config.agents {
        let name = &declared.name.value;
        let wanted = matches!(target, Target::Agent { name: chosen, .. } if chosen == name);
        let Ok(adapter) = agent::of(declared) else { continue };
        let Some((install, version)) = pinned(&*adapter, declared) else {
            match room.find(&*adapter)? {
                image::Found::There(launcher) => {
                    probed.facts.launchers.insert(name.clone(), launcher);
                }
                image::Found::Unknown if wanted => agents = Agents::Missing(image::unknown(name)),
                image::Found::Unknown | image::Found::Nothing => {}
            }
            continue;
        };
        let version = lock::Version::parse(&version.value)?;
        let entry =
            locked.as_ref().and_then(|lock| lock.agent(name)).filter(|entry| entry.version == version);
        let path = environment.get("PATH").unwrap_or_default();
        let home = probed.facts.home.clone();
        let search = launcher::Search { path, home: &home, uid: probed.facts.uid };
        let request = install::Request {
            agent: name,
            install,
            version: &version,
            integrity: entry.map(|entry| &entry.integrity),
            cache: &environment.cache,
            environment: &variables,
            search,
        };
        // Installing runs the package's own code on this host, so the approval comes first.
        let fetched = |request: &install::Request<'_>, agents: &mut Agents| {
            approve(project, &preview(project, probed)?, trusted)?;
            *agents = Agents::Installed;
            Ok::<_, Failure>(install::install(request, &mut show)?)
        };
        let may_fetch = fetch == Fetch::Install && wanted;
        let installed = match install::find(&request)? {
            Some(found) => Some(found),
            None if may_fetch => Some(fetched(&request, &mut agents)?),
            None => None,
        };
        let fit = match installed {
            Some(installed) => {
                room.fit(installed, &request, may_fetch, &mut |request| fetched(request, &mut agents))?
            }
            None => image::Fit::NotInstalled(format!("`{name}` {version}")),
        };
        probed.facts.launchers.remove(name);
        match fit {
            image::Fit::Runs(launcher) => {
                probed.facts.launchers.insert(name.clone(), launcher);
            }
            image::Fit::NotInstalled(what) if wanted => {
                agents = Agents::Missing(format!(
                    "{what} is not installed yet, and this is the plan of a shell; `pier up` installs the agent and adds it"
                ));
            }
            image::Fit::Unknown if wanted => agents = Agents::Missing(image::unknown(name)),
            image::Fit::Refused(failure) if wanted => return Err(failure),
            image::Fit::NotInstalled(_) | image::Fit::Unknown | image::Fit::Refused(_) => {}
        }
    }
    // What the launchers need was not known when the paths were looked at.
    for launcher in probed.facts.launchers.values() {
        let libraries = launcher.libraries.iter().map(|library| &library.source);
        for path in launcher.directories.iter().chain(libraries) {
            probed.facts.paths.insert(path.clone(), PathFact { found: probe::stat(path) });
        }
    }
    Ok(agents)
}

/// Says what takes time while an agent is installed.
pub fn show(progress: install::Progress) {
    match progress {
        install::Progress::Waiting => ui::say("waiting for another pier that installs this agent"),
        install::Progress::Resolving { package, version } => {
            ui::say(&format!("looking up {package} {version}"));
        }
        install::Progress::Fetching { package, version } => {
            ui::say(&format!("installing {package} {version}"));
        }
        install::Progress::Done { directory } => tracing::debug!(%directory, "installed"),
    }
}
