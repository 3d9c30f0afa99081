//! `pier coord pull` and `pier coord push`.

use clap::Args;

use super::super::{Global, Outcome};
use super::context::{Common, Context};
use super::step::report;
use crate::coord::domain::{Arrived, Strict};
use crate::diag::Exit;
use crate::ui;
use crate::util::text::escape;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier coord pull")]
pub struct Pull {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier coord push\n  pier coord push -m \"Add notes\"")]
pub struct Push {
    #[command(flatten)]
    common: Common,
    /// The first line of the commit.
    #[arg(short, long, default_value = "Update coordination state", value_name = "TEXT")]
    message: String,
    /// Commit only what was added to the index.
    #[arg(long)]
    no_add: bool,
    /// Also items that are no YAML, and links; never the marks of a conflict.
    #[arg(long)]
    force: bool,
}

pub fn pull(global: &Global, args: &Pull) -> Outcome {
    let context = Context::open(global, &args.common)?;
    context.hold(|domain| {
        if domain.shared.origin().is_none() {
            ui::say("the clone has no remote");
        }
        domain.pull()
    })?;
    Ok(Exit::Done)
}

pub fn push(global: &Global, args: &Push) -> Outcome {
    let context = Context::open(global, &args.common)?;
    let arrived = context.hold(|domain| {
        let strict = if args.force { Strict::Conflicts } else { Strict::All };
        if domain.commit_all(&args.message, !args.no_add, strict)? {
            ui::say(&format!("committed: {}", escape(&args.message)));
        }
        domain.push_commits()
    })?;
    report(&arrived);
    match arrived {
        Arrived::Pushed => ui::say("the remote has everything"),
        Arrived::Here => ui::say("the clone has no remote"),
        // It was asked for.
        Arrived::Queued(_) => return Ok(Exit::Failed),
    }
    Ok(Exit::Done)
}
