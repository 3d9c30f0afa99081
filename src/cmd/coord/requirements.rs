//! `pier coord requirements`: documents that are made from items.

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand};

use super::super::{Global, Outcome};
use super::context::{Common, Context, knob};
use crate::coord::requirements::{self, Design, Requirement};
use crate::coord::store::Part;
use crate::diag::{Exit, Failure};
use crate::ui;
use crate::util::fs::{read_bounded, write_output};
use crate::util::text::escape;

/// The most that is read of a design, in bytes.
const MOST: u64 = 4 << 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier coord requirements import docs/requirements.md\n  pier coord requirements generate -o REQUIREMENTS.md\n  pier coord requirements coverage --check\n  \
    pier coord requirements coverage --preview"
)]
pub struct Requirements {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make items of the requirements in a project's Markdown.
    Import(super::import::Import),
    /// Make the document of all that hold.
    Generate(Generate),
    /// Make the document of which design covers which.
    Coverage(Coverage),
}

#[derive(Debug, Args)]
struct Of {
    #[command(flatten)]
    common: Common,
    /// The clone, by an older name.
    #[arg(long, value_name = "DIR", hide = true)]
    coordination_dir: Option<Utf8PathBuf>,
    /// The name of the project in the document.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// The file to write; printed otherwise.
    #[arg(short, long, value_name = "FILE")]
    output: Option<Utf8PathBuf>,
}

#[derive(Debug, Args)]
struct Generate {
    #[command(flatten)]
    of: Of,
}

#[derive(Debug, Args)]
struct Coverage {
    #[command(flatten)]
    of: Of,
    /// Where the designs are; `designs` of the project otherwise.
    #[arg(long, value_name = "DIR")]
    designs_dir: Option<Utf8PathBuf>,
    /// Only say what is wrong.
    #[arg(long, conflicts_with_all = ["output", "preview"])]
    check: bool,
    /// Make it whatever is wrong, and list that in it.
    #[arg(long)]
    preview: bool,
    /// What covers each, and what is wrong, as JSON.
    #[arg(long, conflicts_with_all = ["check", "preview", "output"])]
    json: bool,
}

impl Of {
    fn open(&self, global: &Global) -> Result<(Context, Vec<Requirement>, String), Failure> {
        let mut common = self.common.clone();
        common.coord_dir = common.coord_dir.or_else(|| self.coordination_dir.clone());
        let context = Context::open(global, &common)?;
        let (entries, errors) = context.store.entries(Part::Directory("requirements"))?;
        for error in errors {
            ui::warn(&escape(&error.to_string()));
        }
        let all = requirements::active(&entries).map_err(|why| {
            Failure::new(Exit::Failed, "coord::requirements", escape(&why))
                .help("`pier coord lint` names them")
        })?;
        let named = self.project.clone().or_else(|| context.front("PROJECT.md", "project"));
        let named = named.or_else(|| knob(&context.environment, "PROJECT").map(str::to_owned));
        let project =
            named.unwrap_or_else(|| context.project.file_name().unwrap_or("the project").to_owned());
        Ok((context, all, project))
    }

    fn put(&self, context: &Context, text: &str) -> Result<(), Failure> {
        match &self.output {
            None => ui::write_out(text),
            Some(path) => {
                let path = context.cwd.join(path);
                write_output(&path, text.as_bytes(), 0o644).map_err(|error| {
                    Failure::new(Exit::Failed, "coord::files", format!("`{path}`: {error}"))
                })?;
                ui::answer(path.as_str());
            }
        }
        Ok(())
    }
}

pub fn run(global: &Global, args: &Requirements) -> Outcome {
    match &args.command {
        Command::Generate(args) => {
            let (context, all, project) = args.of.open(global)?;
            args.of.put(&context, &requirements::document(&project, &all))?;
            Ok(Exit::Done)
        }
        Command::Import(args) => super::import::run(global, args),
        Command::Coverage(args) => coverage(global, args),
    }
}

fn coverage(global: &Global, args: &Coverage) -> Outcome {
    let (context, all, project) = args.of.open(global)?;
    let directory = match &args.designs_dir {
        Some(directory) => context.cwd.join(directory),
        None => context.project.join("designs"),
    };
    let found = requirements::coverage(&all, &designs(&directory)?);
    if args.json {
        let covered_by = |one: &Requirement| found.covered.get(&one.key).cloned().unwrap_or_default();
        let row = |one: &Requirement| serde_json::json!({ "key": one.key, "id": one.id, "covered_by": covered_by(one) });
        let rows: Vec<serde_json::Value> = all.iter().map(row).collect();
        ui::json(&serde_json::json!({ "requirements": rows, "invalid": found.invalid }));
        return Ok(if found.invalid.is_empty() { Exit::Done } else { Exit::Failed });
    }
    for why in &found.invalid {
        ui::say(&format!("FAIL: {}", escape(why)));
    }
    let exit = if found.invalid.is_empty() { Exit::Done } else { Exit::Failed };
    if args.check || (exit != Exit::Done && !args.preview) {
        return Ok(exit);
    }
    args.of.put(&context, &requirements::covered_document(&project, &all, &found, args.preview))?;
    Ok(exit)
}

/// Reads the designs of a project, in the order of their names.
pub fn designs(directory: &Utf8Path) -> Result<Vec<Design>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            "coord::files",
            format!("the designs in `{directory}` cannot be read: {error}"),
        )
        .help("`--designs-dir` says where they are")
    };
    let mut paths: Vec<Utf8PathBuf> = Vec::new();
    for entry in directory.read_dir_utf8().map_err(failed)? {
        let path = entry.map_err(failed)?.into_path();
        if path.extension() == Some("md") {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: &Utf8PathBuf| {
        let text = String::from_utf8_lossy(&read_bounded(path, MOST)?).into_owned();
        Ok(Design { name: path.file_name().unwrap_or_default().to_owned(), text })
    };
    paths.iter().map(read).collect::<std::io::Result<Vec<_>>>().map_err(failed)
}
