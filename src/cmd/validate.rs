//! `pier validate`: every finding in every layer, as text, JSON or SARIF.

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, ValueEnum};

use super::owner::{self, RootOwned};
use super::{Global, Outcome, project};
use crate::backend::probe;
use crate::config::Root;
use crate::config::layers::{self, Loaded};
use crate::diag::{Exit, Failure, Report, render};
use crate::env::Environment;
use crate::plan;
use crate::ui;
use crate::util::text::escape;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier validate\n  pier validate team/base.kdl\n  pier validate --format sarif > pier.sarif"
)]
pub struct Validate {
    /// One file, without the layers around it; every layer of the project otherwise.
    file: Option<Utf8PathBuf>,
    /// How findings are written.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "human")]
    format: Format,
    /// Short for `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, on standard error.
    Human,
    /// `{"problems": […]}`.
    Json,
    /// SARIF 2.1.0, for code hosts.
    Sarif,
}

pub fn run(global: &Global, args: &Validate) -> Outcome {
    let cwd = project::current_directory()?;
    let root = probe::project_root(&cwd, Root::Git)?;
    let environment = owner::settle(Environment::of_process()?, global, &root, RootOwned::Stay)?;
    let (name, loaded) = if let Some(file) = &args.file {
        (file.clone(), single(&cwd.join(file)))
    } else {
        let file = project::require_file(&cwd, &root)?;
        let place = project::Place { cwd: &cwd, root: root.clone() };
        let loaded = project::load_layers(&environment, global, file.parent(), &place);
        (Utf8PathBuf::from(project::FILE), loaded.map(|(loaded, _)| loaded))
    };
    let loaded = loaded.and_then(known_agents);
    let format = if args.json { Format::Json } else { args.format };
    match (loaded, format) {
        (Ok(loaded), Format::Human) => {
            for later in &loaded.unavailable {
                let place = loaded.sources.place(&later.span);
                ui::warn(&format!("not available yet: `{}` ({})", later.path, escape(&place)));
            }
            ui::answer(&format!("{} is valid", escape(name.as_str())));
            Ok(Exit::Done)
        }
        (Ok(_), format) => {
            answer(&Report::default(), format, &root);
            Ok(Exit::Done)
        }
        (Err(failure), Format::Human) => Err(failure),
        (Err(failure), format) => {
            answer(&failure.report, format, &root);
            Ok(failure.exit)
        }
    }
}

/// Refuses what no plan could be made of: agents that nobody knows, and settings that they do not have.
fn known_agents(loaded: Loaded) -> Result<Loaded, Failure> {
    let problems = plan::agents::problems(&loaded.config);
    if problems.is_empty() {
        return Ok(loaded);
    }
    Err(Failure { exit: Exit::Usage, report: Report { sources: loaded.sources, problems } })
}

/// Loads one file as if it were the only layer.
fn single(path: &Utf8Path) -> Result<Loaded, Failure> {
    if path.symlink_metadata().is_err() {
        let message = format!("there is no file `{}`", escape(path.as_str()));
        return Err(Failure::new(Exit::Usage, "config::unreadable", message));
    }
    let inputs = layers::Inputs { project: Some(path.to_owned()), ..layers::Inputs::default() };
    layers::load(&inputs, &|file| project::read(file, path.parent()))
        .map_err(|report| Failure { exit: Exit::Usage, report })
}

fn answer(report: &Report, format: Format, root: &Utf8Path) {
    match format {
        Format::Human | Format::Json => ui::json(&render::json(report)),
        Format::Sarif => ui::json(&render::sarif(&relative(report, root))),
    }
}

/// Names sources from the root: code hosts look files up in the repository.
fn relative(report: &Report, root: &Utf8Path) -> Report {
    let mut report = report.clone();
    let related = report.problems.iter().flat_map(|problem| &problem.related);
    let main = report.problems.iter().filter_map(|problem| problem.at.as_ref());
    let used: Vec<_> = main.chain(related).map(|(span, _)| span.source).collect();
    for id in used {
        let source = report.sources.get(id).clone();
        if let Ok(name) = Utf8Path::new(&source.name).strip_prefix(root) {
            report.sources.fill(id, name.as_str(), source.text);
        }
    }
    report
}
