//! `pier skills`: the skills of a task for the agents of a workspace without a container; `compose` merges bundles.

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand};

use super::image::fetch::For;
use super::owner::{self, RootOwned};
use super::workspaces::base::{Base, Loaded};
use super::{Global, Outcome, image, project, workspaces};
use crate::backend::docker::copy;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::session::beneath::Beneath;
use crate::ui;
use crate::util::text::escape;
use crate::workspace::{Mode, skills};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier skills                                  of the task, into a workspace without a container\n  pier skills compose -o ./merged ./a ./b"
)]
pub struct Skills {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Merge bundles into a directory: a later skill replaces an earlier one of its name.
    Compose(Compose),
}

#[derive(Debug, Args)]
struct Compose {
    /// The directory; made where it is missing.
    #[arg(short, long, value_name = "DIR")]
    output: Utf8PathBuf,
    /// Directories with a `SKILL.md`, or with directories that have one.
    bundles: Vec<Utf8PathBuf>,
}

/// Where agents look for skills in a project: Claude Code, and most others.
const PLACES: [&str; 2] = [".claude/skills", ".agents/skills"];

pub fn run(global: &Global, args: &Skills) -> Outcome {
    match &args.command {
        Some(Command::Compose(args)) => compose(args),
        None => of_task(global),
    }
}

fn compose(args: &Compose) -> Outcome {
    if args.bundles.is_empty() {
        ui::say("no bundle is named: there is nothing to merge");
        return Ok(Exit::Done);
    }
    let cwd = project::current_directory()?;
    let into = cwd.join(&args.output);
    std::fs::create_dir_all(&into).map_err(|source| skills::Error::Io { path: into.clone(), source })?;
    let bundles: Vec<Utf8PathBuf> = args.bundles.iter().map(|path| cwd.join(path)).collect();
    let names = skills::compose(&bundles, &into)?;
    ui::answer(&told(&names));
    Ok(Exit::Done)
}

fn told(names: &[String]) -> String {
    let count = if names.len() == 1 { "1 skill".to_owned() } else { format!("{} skills", names.len()) };
    let names: Vec<String> = names.iter().map(|name| escape(name)).collect();
    format!("{count}: {}", names.join(", "))
}

fn of_task(global: &Global) -> Outcome {
    let cwd = project::current_directory()?;
    let home = owner::of_sessions(global)?.home;
    let found = workspaces::meant::meant(global, &cwd, &home)?;
    let root = &found.root;
    let refused = |message: &str, help: &str| {
        Err(Failure::new(Exit::Usage, "workspace::usage", message).help(help.to_owned()))
    };
    if found.session.mode == Mode::Container {
        return refused(
            "a container has the skills of its task already",
            "`pier start --agent NAME` registers them",
        );
    }
    let environment = owner::settle(Environment::of_process()?, global, root, RootOwned::Refuse)?;
    workspaces::require_own(&environment, root, false)?;
    let loaded = Loaded::read(&found.session.task_dir)?;
    let Some(directory) = loaded.task.environment.skills_dir.clone().filter(|said| !said.is_empty()) else {
        ui::answer("No skills_dir in the task.");
        return Ok(Exit::Done);
    };
    let taken = tempfile::tempdir().map_err(|source| skills::Error::Io { path: root.clone(), source })?;
    let taken = Utf8Path::from_path(taken.path()).unwrap_or(root).to_owned();
    let base = Base::Task(Box::new(loaded));
    if !of_image(&environment, root, &base, &directory, &taken)? {
        ui::answer("No skills found.");
        return Ok(Exit::Done);
    }
    let mut names = Vec::new();
    for place in PLACES {
        let failed = |source| skills::Error::Io { path: root.join(place), source };
        Beneath::open(root).and_then(|root| root.directory(place.into())).map_err(failed)?;
        names = skills::compose(std::slice::from_ref(&taken), &root.join(place))?;
    }
    ui::answer(&told(&names));
    Ok(Exit::Done)
}

/// Takes the skills out of the image of a task; false where it has none there.
pub fn of_image(
    environment: &Environment,
    root: &Utf8Path,
    base: &Base,
    directory: &str,
    into: &Utf8Path,
) -> Result<bool, Failure> {
    let engine = image::engine(environment)?;
    let connected = engine.connect()?;
    let ground = base.ground(For { environment, root }, (&engine, &connected))?;
    let Some(archive) = copy::archive(&connected, &ground.image.digest, directory)? else { return Ok(false) };
    let count = copy::unpack(archive, into, "");
    Ok(count.map_err(|source| skills::Error::Io { path: into.to_owned(), source })? > 0)
}
