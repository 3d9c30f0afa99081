//! One more agent in a workspace that is running.

use std::os::unix::fs::symlink;

use camino::Utf8Path;

use super::usage;
use crate::backend::docker::images::{self, Wanted as WantedImage};
use crate::cmd::workspaces::agents::{self, Wanted};
use crate::cmd::workspaces::base::{Base, Ground};
use crate::cmd::workspaces::{self, Remembered};
use crate::cmd::{Outcome, image};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::plan::RootFilesystem;
use crate::plan::image::LINKS_NAME;
use crate::session::prepare;
use crate::ui;
use crate::workspace::{self, Workspace, files};

/// Installs it on this host, whose agents the container shows already, and gives it its name there.
pub fn add(
    environment: &Environment,
    workspace: &Workspace,
    mut kept: Remembered,
    all: &[Wanted],
    wanted: &Wanted,
    base: &Base,
) -> Outcome {
    let root = &workspace.root;
    let failed = |error: std::io::Error| super::cannot(root, &error);
    let engine = image::engine(environment)?;
    let RootFilesystem::Image { reference, digest, .. } = &kept.plan.root else {
        return Err(usage("the workspace has no image", "start it anew"));
    };
    let found =
        images::find(&engine.connect()?, WantedImage { reference: digest, pin: None }, &environment.cache)?;
    let none = || crate::backend::docker::Error::NoImage { reference: reference.clone() };
    let ground = Ground {
        reference: reference.clone(),
        image: found.ok_or_else(none)?,
        workdir: kept.plan.project.at.clone(),
        profiles: false,
    };
    if kept.plan.network.gateway.is_some() {
        ui::warn(&format!(
            "what `{}` needs to reach is allowed from the next start on: `pier stop`, then `pier start`",
            wanted.name
        ));
    }
    let launcher = agents::install(environment, &engine, &ground, wanted)?;
    let is_shown =
        |library: &crate::plan::facts::Library| kept.plan.mounts.iter().any(|mount| mount.at == library.at);
    if !launcher.libraries.iter().all(is_shown) {
        let message = format!(
            "`{}` needs a C library that the image lacks, and a running container gets no mounts",
            wanted.name
        );
        return Err(Failure::new(Exit::NotSetUp, "agent::image", message)
            .help(format!("`pier stop`, then `pier start --agent {}`", wanted.text())));
    }
    let directory = workspace::private(&environment.state, root);
    let mut seeds = agents::seeds(wanted)?;
    seeds.extend(agents::servers(wanted, base.servers(), &kept.plan.project.state.join("home"))?);
    let mut session = workspace.session.clone();
    session.agents = all.iter().map(|agent| agent.name.to_owned()).collect();
    let sources = super::skills::sources(environment, root, &session, base)?;
    let imports = agents::skills(wanted, &sources)?;
    prepare::add(&kept.plan, &directory, &seeds, &imports).map_err(crate::session::Error::from)?;
    for (name, to) in agents::links(wanted, &launcher, &environment.cache)? {
        link(&directory.join(LINKS_NAME), &name, &to).map_err(failed)?;
    }
    kept.agents = all.iter().map(Wanted::text).collect();
    let text = files::text(root, &session).map_err(Failure::from)?;
    workspaces::remember(&directory, kept, &text).map_err(failed)?;
    files::write(root, &text).map_err(Failure::from)?;
    ui::answer(&format!("{} installed", wanted.text()));
    Ok(Exit::Done)
}

/// Puts a link in place of one that is there.
fn link(directory: &Utf8Path, name: &str, to: &Utf8Path) -> std::io::Result<()> {
    let temporary = directory.join(format!(".{name}"));
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(to, &temporary)?;
    std::fs::rename(&temporary, directory.join(name))
}
