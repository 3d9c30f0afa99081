//! `pier list`: the workspaces there are.

use camino::Utf8Path;
use clap::Args;
use serde::Serialize;

use super::workspaces::stranded::{self, Stranded};
use super::workspaces::{remembered, tell_damaged};
use super::{Global, Outcome, image, owner};
use crate::backend::docker::kept::{self, Listed};
use crate::diag::Exit;
use crate::ui;
use crate::util::text::escape;
use crate::workspace::{self, Mode, index};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier list\n  pier list --json")]
pub struct List {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    workspace: String,
    mode: Option<Mode>,
    container: Option<String>,
    /// `running`, `paused`, `stopped`, `removed` by `pier rm`, `not found`; `damaged` where the workspace's file cannot be read, `lost`
    /// where it is gone.
    status: Option<&'static str>,
    image: Option<String>,
    agents: Vec<String>,
    /// Why its file cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Returns what an error says, with its reason.
fn cause(error: &workspace::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The label that every container of a workspace has.
const LABEL: &str = "com.docker.compose.project";

pub fn run(global: &Global, args: &List) -> Outcome {
    let environment = owner::of_sessions(global)?;
    let all = index::list(&environment.home, &mut tell_damaged)?;
    // One question to the engine for all of them.
    let states = match image::engine(&environment).and_then(|engine| Ok(engine.connect()?)) {
        _ if all.is_empty() => None,
        Ok(engine) => Some(kept::listed(&engine, LABEL)?),
        Err(_) => None,
    };
    let lost = stranded::all(&environment);
    let is_removed = |root: &Utf8Path| remembered(&environment, root).is_some_and(|kept| kept.removed);
    let rows: Vec<Row> = all
        .into_iter()
        .map(|found| match found {
            Err(error) => Row {
                workspace: error.root().map(Utf8Path::to_string).unwrap_or_default(),
                mode: None,
                container: None,
                status: Some("damaged"),
                image: None,
                agents: Vec::new(),
                error: Some(cause(&error)),
            },
            Ok(found) => {
                let id = workspace::session_id(&found.root);
                let in_container = found.session.mode == Mode::Container;
                let state = states.as_ref().map(|states| match states.get(&workspace::project_name(&id)) {
                    Some(Listed::Running) => "running",
                    Some(Listed::Paused) => "paused",
                    Some(Listed::Stopped) => "stopped",
                    None if is_removed(&found.root) => "removed",
                    None => "not found",
                });
                Row {
                    workspace: found.root.to_string(),
                    mode: Some(found.session.mode),
                    container: in_container.then(|| workspace::container_name(&id)),
                    status: if in_container { state.or(Some("no engine")) } else { None },
                    image: found.session.image,
                    agents: found.session.agents,
                    error: None,
                }
            }
        })
        .chain(lost.iter().map(|lost| Row {
            workspace: lost.root.to_string(),
            mode: None,
            container: None,
            status: Some("lost"),
            image: None,
            agents: Vec::new(),
            error: None,
        }))
        .collect();
    for (message, help) in lost.iter().map(Stranded::told) {
        ui::warn(&format!("{message}; {help}"));
    }
    for error in rows.iter().filter_map(|row| row.error.as_ref()) {
        ui::warn(&format!("{}; repair the file, or remove it and start the workspace anew", escape(error)));
    }
    if args.json {
        ui::json(&rows);
    } else if rows.is_empty() {
        ui::answer("No active workspaces.");
    } else {
        ui::answer(&format!("  {:40} {:30} {:8}", "Workspace", "Container", "Status"));
        ui::answer(&format!("  {} {} {}", "─".repeat(40), "─".repeat(30), "─".repeat(8)));
        for row in &rows {
            let container = row.container.as_deref().unwrap_or("—");
            let status = row.status.unwrap_or("—");
            ui::answer(&format!("  {:40} {:30} {status}", escape(&row.workspace), escape(container)));
        }
    }
    Ok(Exit::Done)
}
