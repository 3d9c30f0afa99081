//! `pier lock`: what a run resolved, pinned in `pier.lock`.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};

use super::owner::RootOwned;
use super::project::{self, Fetch, Project};
use super::{Global, Outcome, fmt};
use crate::agent::{self, Install};
use crate::backend::{install, launcher};
use crate::diag::{Exit, Failure};
use crate::lock::{self, Difference, Lock as Pins, Wanted};
use crate::plan::Target;
use crate::ui;
use crate::util::text::escape;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier lock update   resolve what `pier.kdl` asks for and write `pier.lock`\n  pier lock verify   exit 1 where the two differ"
)]
pub struct Lock {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Resolve every agent with a version, and the image, and write `pier.lock`.
    #[command(after_help = "Examples:\n  pier lock update\n  pier lock update --json")]
    Update(Update),
    /// Compare `pier.lock` with `pier.kdl`; exit 1 where they differ.
    #[command(after_help = "Examples:\n  pier lock verify\n  pier lock verify --json")]
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Update {
    /// The digest of the grants that are approved, as `pier trust --show` prints it.
    #[arg(long, value_name = "DIGEST")]
    trust: Option<String>,
    /// Print what is locked as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Verify {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(global: &Global, args: &Lock) -> Outcome {
    match &args.what {
        What::Update(args) => {
            let mut project = project::load(global, RootOwned::Refuse)?;
            project.renews_lock = true;
            update(&project, args)
        }
        What::Verify(args) => verify(&project::load(global, RootOwned::Stay)?, args),
    }
}

fn path(project: &Project) -> Utf8PathBuf {
    project.root.join(lock::FILE)
}

fn update(project: &Project, args: &Update) -> Outcome {
    let wanted = wanted(project)?;
    let before = match Pins::read(&path(project)) {
        // Writing it anew is what the message of a broken lock asks for.
        Err(error) => {
            ui::warn(&format!("the old lock is not used: {}", escape(&error.to_string())));
            None
        }
        Ok(before) => before,
    };
    let images = super::image::wanted(project)?;
    let (mut resolved, mut pinned) = (Vec::new(), Vec::new());
    if !wanted.is_empty() || !images.is_empty() {
        let planned = project::plan(project, &Target::Shell, Fetch::Never, args.trust.as_deref())?;
        project::approve(project, &planned.plan, args.trust.as_deref())?;
        resolved = resolve(project, planned.plan.user.uid)?;
        pinned = super::image::resolve(project, &images)?;
    }
    let mut after = before.clone().unwrap_or_default().update(&wanted, resolved);
    after.images = pinned;
    after.flake = super::nix::wanted(project)?;
    let nothing = wanted.is_empty() && images.is_empty() && after.flake.is_none();
    if before.as_ref() != Some(&after) && (before.is_some() || !nothing) {
        fmt::rewrite(&path(project), &after.to_text())?;
        ui::say(&format!("wrote {}", path(project)));
    }
    if args.json {
        ui::json(&after);
        return Ok(Exit::Done);
    }
    for agent in &after.agents {
        ui::answer(&format!("{} {}@{} {}", agent.name, agent.package, agent.version, agent.integrity));
    }
    for image in &after.images {
        ui::answer(&escape(&format!("image {} {}", image.reference, image.digest)));
    }
    if let Some(flake) = &after.flake {
        ui::answer(&escape(&format!("flake {} shell {} {}", flake.reference, flake.shell, flake.digest)));
        for (name, revision) in &flake.inputs {
            ui::answer(&escape(&format!("  {name} {revision}")));
        }
    }
    if nothing {
        ui::say("no agent has a `version`, so there is nothing to lock");
    }
    Ok(Exit::Done)
}

/// Installs every agent that has a version, and returns what was found.
fn resolve(project: &Project, uid: u32) -> Result<Vec<lock::Agent>, Failure> {
    let Project { environment, loaded, .. } = project;
    let variables: Vec<(String, String)> = environment
        .names()
        .filter_map(|name| Some((name.to_owned(), environment.get(name)?.to_owned())))
        .collect();
    let mut resolved = Vec::new();
    for declared in &loaded.config.agents {
        let Ok(adapter) = agent::of(declared) else { continue };
        let (Some(package), Some(version)) = (adapter.install().package(), &declared.version) else {
            continue;
        };
        let version = lock::Version::parse(&version.value)?;
        let path = environment.get("PATH").unwrap_or_default();
        let request = install::Request {
            agent: &declared.name.value,
            install: adapter.install(),
            version: &version,
            // An update takes what the registry has; the lock is written from it.
            integrity: None,
            cache: &environment.cache,
            environment: &variables,
            search: launcher::Search { path, home: &environment.home, uid },
        };
        let installed = install::install(&request, &mut project::show)?;
        resolved.push(lock::Agent {
            name: declared.name.value.clone(),
            package: package.to_owned(),
            version,
            source: match adapter.install() {
                Install::Pypi(_) => lock::Source::Pypi,
                Install::Npm(_) | Install::Never => lock::Source::Npm,
            },
            integrity: installed.integrity,
            node: installed.node,
        });
    }
    Ok(resolved)
}

fn verify(project: &Project, args: &Verify) -> Outcome {
    let differences = differences(project)?;
    if args.json {
        let one = |difference: &Difference| {
            let (kind, what, name) = match difference {
                Difference::Missing { name } => ("missing", "agent", name),
                Difference::Stale { name, .. } => ("stale", "agent", name),
                Difference::Extra { name } => ("extra", "agent", name),
                Difference::MissingImage { reference } => ("missing", "image", reference),
                Difference::ExtraImage { reference } => ("extra", "image", reference),
                Difference::Flake { locked, wanted } => {
                    let kind = match (locked, wanted) {
                        (None, _) => "missing",
                        (_, None) => "extra",
                        _ => "stale",
                    };
                    return serde_json::json!({ "kind": kind, "flake": wanted, "message": difference.to_string() });
                }
            };
            serde_json::json!({ "kind": kind, what: name, "message": difference.to_string() })
        };
        ui::json(&serde_json::json!({ "differences": differences.iter().map(one).collect::<Vec<_>>() }));
    } else if differences.is_empty() {
        ui::answer("pier.lock pins what runs");
    } else {
        for difference in &differences {
            ui::answer(&escape(&difference.to_string()));
        }
        ui::say("help: `pier lock update` writes it anew");
    }
    Ok(if differences.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Returns what the configuration asks of the lock.
pub fn wanted(project: &Project) -> Result<Vec<Wanted>, Failure> {
    let mut wanted = Vec::new();
    for declared in &project.loaded.config.agents {
        let Ok(adapter) = agent::of(declared) else { continue };
        let (Some(package), Some(version)) = (adapter.install().package(), &declared.version) else {
            continue;
        };
        let version = Some(lock::Version::parse(&version.value)?);
        wanted.push(Wanted { name: declared.name.value.clone(), package: package.to_owned(), version });
    }
    Ok(wanted)
}

/// Returns every way in which the lock does not say what the configuration says.
fn differences(project: &Project) -> Result<Vec<Difference>, Failure> {
    let lock = Pins::read(&path(project))?.unwrap_or_default();
    let mut differences = lock.verify(&wanted(project)?);
    differences.extend(lock.verify_images(&super::image::wanted(project)?));
    differences.extend(lock.verify_flake(super::nix::wanted(project)?.as_ref()));
    Ok(differences)
}

/// Refuses a project whose lock is missing or does not say what the configuration says.
pub fn require(project: &Project) -> Result<(), Failure> {
    let differences = differences(project)?;
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
