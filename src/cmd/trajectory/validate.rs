//! `pier trajectory validate`.

use camino::Utf8PathBuf;
use clap::Args;
use serde_json::json;

use super::kept;
use super::read::Trajectory;
use crate::atif::check::{Rules, check_with};
use crate::atif::shape;
use crate::cmd::Outcome;
use crate::diag::Exit;
use crate::ui;
use crate::util::text::escape;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier trajectory validate trajectory.json\n  pier trajectory validate --strict --atif 1.8 */agent/trajectory.json\n  pier trajectory validate --schema > atif.schema.json"
)]
pub struct Validate {
    /// Trajectories, or names of sessions.
    #[arg(required_unless_present = "schema")]
    files: Vec<Utf8PathBuf>,
    /// Also what the format leaves open: references that lead nowhere, numbers that cannot be.
    #[arg(long)]
    strict: bool,
    /// The newest version of the format that is valid.
    #[arg(long, value_name = "VERSION", default_value = "1.7", value_parser = ["1.7", "1.8"])]
    atif: String,
    /// Print the format as a JSON Schema.
    #[arg(long, conflicts_with_all = ["files", "strict", "json"])]
    schema: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Validate) -> Outcome {
    if args.schema {
        ui::json(&shape::json_schema(&format!("ATIF-v{}", args.atif)));
        return Ok(Exit::Done);
    }
    let rules = Rules { newest: args.atif == "1.8", strict: args.strict };
    let mut rows = Vec::new();
    let mut valid = true;
    let found = kept::files(&args.files)?;
    for path in &found.files {
        let name = found.name(path);
        let trajectory = Trajectory::open(path)?;
        let problems = check_with(rules, |checker| trajectory.walk(path, checker))?;
        valid &= problems.is_empty();
        if args.json {
            rows.push(json!({ "file": name, "valid": problems.is_empty(), "problems": problems }));
            continue;
        }
        if problems.is_empty() {
            ui::answer(&format!("{}: valid", escape(&name)));
        }
        for problem in problems {
            let place = if problem.path.is_empty() { "the document" } else { &problem.path };
            ui::answer(&format!("{}: {}: {}", escape(&name), escape(place), escape(&problem.text)));
        }
    }
    if args.json {
        ui::json(&rows);
    }
    Ok(if valid { Exit::Done } else { Exit::Failed })
}
