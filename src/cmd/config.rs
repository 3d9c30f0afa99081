//! `pier config`: reads single settings out of all layers, and changes them in one file.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand};

use super::owner::{self, RootOwned};
use super::{Global, Outcome, fmt, project};
use crate::backend::probe;
use crate::config::layers::Loaded;
use crate::config::path::{self, Part, Target};
use crate::config::schema::Repeat;
use crate::config::{Layer, Root, edit, syntax};
use crate::diag::{Exit, Failure, Problem, Report, SourceId, Sources, Span};
use crate::env::Environment;
use crate::ui;
use crate::util::text::escape;

/// Lists that a higher layer replaces; all others grow.
const REPLACED: &[&str] = &["run", "tools"];

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier config get network --origin\n  pier config set limits.wall 30m\n  pier config set 'agent[claude-code].model' opus --local\n  pier config unset 'env.pass[0]'\n\n`pier schema` lists the settings."
)]
pub struct Config {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the values that apply, one a line; exit 1 where no file sets any.
    #[command(after_help = "Examples:\n  pier config get network\n  pier config get network.allow --origin")]
    Get(Get),
    /// Set a value, or add one to a list.
    #[command(
        after_help = "Examples:\n  pier config set network none\n  pier config set network.allow api.example.com\n  pier config set limits.pids 512 --user"
    )]
    Set(Set),
    /// Remove a setting, or one value of a list.
    #[command(after_help = "Examples:\n  pier config unset limits.memory\n  pier config unset 'env.pass[1]'")]
    Unset(Unset),
}

#[derive(Debug, Args)]
struct Get {
    /// The setting, such as `limits.memory` or `agent[claude-code].model`.
    path: String,
    /// Say after each value which line sets it.
    #[arg(long)]
    origin: bool,
    /// As JSON, with origins.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Set {
    /// The setting, such as `limits.memory` or `agent[claude-code].model`.
    path: String,
    /// Its value, without quotes.
    #[arg(allow_hyphen_values = true)]
    value: String,
    #[command(flatten)]
    file: File,
}

#[derive(Debug, Args)]
struct Unset {
    /// The setting, such as `limits.memory` or `network.allow[2]`.
    path: String,
    #[command(flatten)]
    file: File,
}

/// Which file is changed; the project's otherwise.
#[derive(Debug, Args)]
struct File {
    /// Change the user's `config.kdl`.
    #[arg(long, conflicts_with = "local")]
    user: bool,
    /// Change `pier.local.kdl`, which is not committed.
    #[arg(long)]
    local: bool,
}

/// A change of a text.
type Change<'a> = &'a dyn Fn(SourceId, &str) -> Result<String, Vec<Problem>>;

pub fn run(global: &Global, args: &Config) -> Outcome {
    let cwd = project::current_directory()?;
    let root = probe::project_root(&cwd, Root::Git)?;
    let environment = owner::settle(Environment::of_process()?, global, &root, RootOwned::Stay)?;
    match &args.what {
        What::Get(args) => {
            let directory = project::find_file(&cwd, &root);
            let place = project::Place { cwd: &cwd, root };
            let (loaded, _) = project::load_layers(&environment, global, directory.as_deref(), &place)?;
            get(&loaded, global.profile.as_deref(), args)
        }
        What::Set(args) => {
            let file = file(&args.file, &environment, &cwd, &root)?;
            change(&file, &|source, text| edit::set(source, text, &args.path, &args.value))
        }
        What::Unset(args) => {
            let file = file(&args.file, &environment, &cwd, &root)?;
            change(&file, &|source, text| edit::unset(source, text, &args.path))
        }
    }
}

/// A value and where it is set.
struct Value {
    text: String,
    layer: Layer,
    place: String,
}

fn get(loaded: &Loaded, profile: Option<&str>, args: &Get) -> Outcome {
    let values = values(loaded, profile, &args.path).map_err(|problems| Failure {
        exit: Exit::Usage,
        report: Report { sources: Sources::default(), problems },
    })?;
    if args.json {
        let one = |value: &Value| serde_json::json!({ "value": value.text, "layer": layer_name(value.layer), "origin": value.place });
        ui::json(
            &serde_json::json!({ "path": args.path, "values": values.iter().map(one).collect::<Vec<_>>() }),
        );
    } else {
        for value in &values {
            let origin = if args.origin {
                format!("  [{}, {}]", layer_name(value.layer), value.place)
            } else {
                String::new()
            };
            ui::answer(&escape(&format!("{}{origin}", value.text)));
        }
    }
    if values.is_empty() {
        ui::say(&format!("`{}` is not set in any file", escape(&args.path)));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

/// Returns the values that apply: the last one, or all of a list, in the order of the layers.
fn values(loaded: &Loaded, profile: Option<&str>, path: &str) -> Result<Vec<Value>, Vec<Problem>> {
    let mut found: Vec<Value> = Vec::new();
    let grows = path::parse(path).is_ok_and(|target| grows(&target));
    let mut read = |source: SourceId, layer: Layer, path: &str| -> Result<(), Vec<Problem>> {
        let values = edit::get(source, &loaded.sources.get(source).text, path)?;
        if !values.is_empty() && !grows {
            found.clear();
        }
        found.extend(values.into_iter().map(|value| {
            let place = loaded.sources.place(&Span { source, range: value.range });
            Value { text: value.value, layer, place }
        }));
        Ok(())
    };
    let (files, overlays): (Vec<_>, Vec<_>) =
        loaded.documents.iter().partition(|(_, layer)| *layer < Layer::Profile);
    for (source, layer) in &files {
        read(*source, *layer, path)?;
    }
    if let Some(profile) = profile {
        for (source, _) in files.iter().filter(|(_, layer)| *layer != Layer::Policy) {
            read(*source, Layer::Profile, &format!("profile[{profile}].{path}"))?;
        }
    }
    for (source, layer) in &overlays {
        read(*source, *layer, path)?;
    }
    Ok(found)
}

fn grows(target: &Target) -> bool {
    let Some(row) = target.steps.last().map(|step| step.row) else { return false };
    let list = row.repeat != Repeat::Once || row.rest.is_some();
    target.part == Part::Value && list && !REPLACED.contains(&row.name)
}

fn layer_name(layer: Layer) -> &'static str {
    match layer {
        Layer::BuiltIn => "built-in",
        Layer::Policy => "policy",
        Layer::User => "user",
        Layer::Project => "project",
        Layer::Local => "local",
        Layer::Profile => "profile",
        Layer::Environment => "environment",
        Layer::Flag => "flag",
    }
}

fn file(
    which: &File,
    environment: &Environment,
    cwd: &Utf8Path,
    root: &Utf8Path,
) -> Result<Utf8PathBuf, Failure> {
    if which.user {
        return Ok(environment.config.join("config.kdl"));
    }
    let file = project::require_file(cwd, root)?;
    Ok(if which.local { file.with_file_name("pier.local.kdl") } else { file })
}

/// Changes a file; one that is not there starts empty.
fn change(path: &Utf8Path, change: Change<'_>) -> Outcome {
    let mut report = Report::default();
    match changed(path, change, &mut report) {
        Ok((before, after)) if before == after => {
            ui::say(&format!("{} says so already", escape(path.as_str())));
        }
        Ok((_, after)) => {
            fmt::rewrite(path, &after)?;
            ui::say(&format!("changed {}", escape(path.as_str())));
        }
        Err(problems) => {
            report.problems = problems;
            return Err(Failure { exit: Exit::Usage, report });
        }
    }
    Ok(Exit::Done)
}

fn changed(
    path: &Utf8Path,
    change: Change<'_>,
    report: &mut Report,
) -> Result<(String, String), Vec<Problem>> {
    let source = report.sources.reserve();
    let unreadable = |error: io::Error| {
        let message = format!("cannot read `{}`: {error}", escape(path.as_str()));
        vec![Problem::nowhere("config::unreadable", message)]
    };
    let bytes = project::read(path, Some(path)).map_err(unreadable)?.unwrap_or_default();
    let text = syntax::read(source, bytes).map_err(|(text, problem)| {
        report.sources.fill(source, path.as_str(), text);
        vec![problem]
    })?;
    report.sources.fill(source, path.as_str(), text.as_str());
    let after = change(source, &text)?;
    Ok((text, after))
}
