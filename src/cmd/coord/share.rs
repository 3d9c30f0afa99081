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
    /// As JSON.
    #[arg(long)]
    json: bool,
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
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn pull(global: &Global, args: &Pull) -> Outcome {
    let context = Context::open(global, &args.common)?;
    let (has_remote, changed) = context.hold(|domain| {
        let has_remote = domain.shared.origin().is_some();
        if !has_remote {
            ui::say("the clone has no remote");
        }
        let before = domain.head()?;
        domain.pull()?;
        Ok((has_remote, domain.head()? != before))
    })?;
    if args.json {
        ui::json(&serde_json::json!({ "remote": has_remote, "changed": changed }));
    }
    Ok(Exit::Done)
}

pub fn push(global: &Global, args: &Push) -> Outcome {
    let context = Context::open(global, &args.common)?;
    let (committed, arrived) = context.hold(|domain| {
        let strict = if args.force { Strict::Conflicts } else { Strict::All };
        let committed = domain.commit_all(&args.message, !args.no_add, strict)?;
        if committed {
            ui::say(&format!("committed: {}", escape(&args.message)));
        }
        Ok((committed, domain.push_commits()?))
    })?;
    report(&arrived);
    if args.json {
        ui::json(&serde_json::json!({ "committed": committed, "pushed": arrived == Arrived::Pushed }));
    }
    match arrived {
        Arrived::Pushed => ui::say("the remote has everything"),
        Arrived::Here => ui::say("the clone has no remote"),
        // It was asked for.
        Arrived::Queued(_) => return Ok(Exit::Failed),
    }
    Ok(Exit::Done)
}
