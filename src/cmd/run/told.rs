//! What a caller that is a program hears of a session, in a file of its own.

use std::collections::BTreeMap;

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::diag::{Exit, Failure};
use crate::plan::Plan;
use crate::session::{Finished, Outcome, runs, shadow::references};
use crate::ui;
use crate::util::fs::write_atomic;
use crate::util::text::escape;

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub session: String,
    pub agent: Option<String>,
    /// The command was started.
    pub ran: bool,
    pub ended: How,
    /// What it committed: names below `refs/pier/SESSION`, and commits.
    pub commits: BTreeMap<String, String>,
    /// Why they could not be imported.
    pub lost: Option<String>,
    /// A private clone has changes that no commit has.
    pub uncommitted: bool,
    /// What its trajectory says that it cost, in US dollars.
    pub cost: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    Ended,
    TimeLimit,
    Stopped,
    Lost,
    /// The command was refused, or the session could not be watched.
    Failed,
}

/// Writes it, for whoever started this session.
pub fn write(file: &Utf8Path, plan: &Plan, finished: &Finished) -> Result<(), Failure> {
    let imported = finished.commits.as_ref().ok().and_then(Option::as_ref);
    let told = Told {
        session: finished.id.clone(),
        agent: plan.command.agent.as_ref().map(|agent| agent.name.clone()),
        ran: finished.ran,
        ended: match &finished.outcome {
            Ok(Outcome::Ended(_)) => How::Ended,
            Ok(Outcome::TimeLimit) => How::TimeLimit,
            Ok(Outcome::Stopped) => How::Stopped,
            Ok(Outcome::Lost) => How::Lost,
            Err(_) => How::Failed,
        },
        commits: imported.map(|imported| imported.references.clone()).unwrap_or_default(),
        lost: finished.commits.as_ref().err().map(ToString::to_string),
        uncommitted: imported.is_some_and(|imported| imported.uncommitted),
        cost: if finished.ran { cost(finished) } else { Some(0.0) },
    };
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, "cli::write", format!("cannot write `{file}`: {error}"))
            .help("check the space and the permissions of its directory")
    };
    let text = serde_json::to_vec(&told).map_err(|error| failed(error.into()))?;
    write_atomic(file, &text, 0o600).map_err(failed)
}

fn cost(finished: &Finished) -> Option<f64> {
    let run = runs::read(finished.run.as_ref()?.as_ref().ok()?)?;
    // A model that was never reached has cost nothing, priced or not.
    run["cost_usd"].as_f64().or_else(|| (run["calls"] == 0 && run["status"] == "complete").then_some(0.0))
}

/// Says where a trajectory was not kept.
pub fn kept(finished: &Finished) {
    if let Some(Err(error)) = &finished.run {
        ui::warn(&format!("there is no trajectory of this session: {}", escape(&error.to_string())));
    }
}

/// Refuses a branch that no private clone is made of, or that is not there.
pub fn require_branch(plan: &Plan, branch: &str) -> Result<(), Failure> {
    let refuse = |message: String| Failure::new(Exit::Usage, "workspace::clone", message);
    let shown = escape(branch);
    let git = &plan.git;
    let (Some(_), Some(directory), Some(common)) =
        (git.shadow.as_ref().filter(|shadow| shadow.clone), &git.directory, &git.common)
    else {
        let message = format!("`--branch {shown}` is for a private clone, and this session has none");
        return Err(refuse(message).help("`workspace { clone #true; }`, or `--set workspace.clone=#true`"));
    };
    let known = references::read(directory, common)
        .map_err(|error| refuse(format!("the branches of `{directory}` cannot be read: {error}")))?;
    if known.ids.contains_key(&format!("refs/heads/{branch}")) {
        return Ok(());
    }
    Err(refuse(format!("there is no branch `{shown}`")).help("`git branch` lists them"))
}
