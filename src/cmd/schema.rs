//! `pier schema`: the whole vocabulary of `pier.kdl`.

use clap::Args;

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
}

pub fn run(args: &Schema) -> Exit {
    if args.json {
        ui::json(&reference::json_schema());
    } else if args.markdown {
        ui::write_out(&reference::markdown());
    } else {
        ui::write_out(&reference::text());
    }
    Exit::Done
}
