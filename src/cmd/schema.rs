//! `pier schema`: the whole vocabulary of `pier.kdl`.

use clap::Args;

use crate::agent::tuning;
use crate::config::reference;
use crate::diag::Exit;
use crate::ui;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier schema | grep -A3 network\n  pier schema --json > pier.schema.json\n  pier schema --markdown > reference.md"
)]
pub struct Schema {
    /// As JSON Schema of the document's tree.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// As a page with a table for each node.
    #[arg(long)]
    markdown: bool,
    /// Every path that `pier config` and `--set` take, with the words that can stand there.
    #[arg(long, conflicts_with_all = ["json", "markdown"])]
    paths: bool,
}

pub fn run(args: &Schema) -> Exit {
    if args.json {
        ui::json(&reference::json_schema());
    } else if args.markdown {
        ui::write_out(&format!("{}{}", reference::markdown(), tuning::markdown()));
    } else if args.paths {
        for path in reference::paths() {
            let choices = reference::choices(&path).join(" ");
            ui::answer(format!("{path} {choices}").trim_end());
        }
    } else {
        ui::write_out(&format!("{}{}", reference::text(), tuning::text()));
    }
    Exit::Done
}
