//! `pier capture`: a trial without a reward, of what an agent did.

use camino::Utf8Path;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::owner::{self, RootOwned};
use super::trials::declared::Declared;
use super::trials::{self, Asked, Source, told};
use super::verify::{CLAUDE, random};
use super::workspaces::paused::silence;
use super::{Global, Outcome, project, sessions, workspaces};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::record::{Agent, Trial};
use crate::session::aside;
use crate::task::directory::digest;
use crate::task::listing::Listing;
use crate::trajectory::{self, Whose};
use crate::trial::assemble::{AGENT, Draft};
use crate::ui;
use crate::util::text::escape;
use crate::workspace::{self, Mode, Workspace};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier capture\n  pier capture --agent claude-code --session-dir ~/.claude/projects/-home-me-app"
)]
pub struct Capture {
    #[command(flatten)]
    asked: Asked,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(global: &Global, args: &Capture) -> Outcome {
    let cwd = project::current_directory()?;
    // Never a workspace that is somewhere else.
    let found = workspace::around(&cwd)?;
    let root = found.as_ref().map_or(cwd.clone(), |found| found.root.clone());
    let environment = owner::settle(Environment::of_process()?, global, &root, RootOwned::Refuse)?;
    let asked = &args.asked;
    let registered = found.as_ref().map(|found| found.session.agents.clone()).unwrap_or_default();
    let in_container = found.as_ref().map(|found| found.session.mode == Mode::Container);
    if let (Some(false) | None, Some(directory)) = (in_container, &asked.session_dir) {
        trials::here(&cwd.join(directory))?;
    }
    let declared = match &found {
        Some(_) => Declared::of_workspace(global, &environment)?,
        None => Declared::of_project(global, &environment, &cwd, &root)?,
    };
    asked.check(&registered, &declared, in_container)?;
    if found.is_some() {
        workspaces::require_own(&environment, &root, false)?;
    }
    sessions::gather(&environment);
    let started = Timestamp::now();
    let (agent, source) = match &found {
        Some(found) if in_container == Some(true) => of_container(asked, found)?,
        _ => of_host(asked, &environment, (&cwd, &root), &declared)?,
    };
    let draft = Draft::new(&root, started)?;
    let directory = workspace::private(&environment.state, &root);
    let inside = aside::Place { directory: &directory, silence: &|| silence(&environment, &root) };
    if !trials::copy_session((&agent, &source), &draft, Some(inside))? {
        return Err(nothing(&agent));
    }
    let whose = declared.whose(&agent);
    if let Whose::Known(name) = whose
        && !trajectory::has_logs(name, &draft.path.join(AGENT))
    {
        return Err(nothing(&agent));
    }
    let told = told::of(whose, &agent, &source, &draft.path.join(AGENT), &environment.state);
    if let Some(found) = &found {
        trials::copy_artifacts(&found.session, &root, &draft);
    }
    let task = found.as_ref().map_or_else(|| root.clone(), |found| found.session.task_dir.clone());
    let checksum = Listing::read(&task).ok().and_then(|listing| digest::checksum(&listing).ok());
    let name = |path: &Utf8Path| path.file_name().unwrap_or("workspace").to_owned();
    let trial = Trial {
        id: random()?,
        task_name: name(&task),
        // Of a directory that is no task, there is nothing to tell it by.
        task_checksum: checksum.filter(|_| found.is_some()).unwrap_or_default(),
        task,
        name: name(&root),
        directory: draft.path.clone(),
        agent: Some(Agent { name: agent.clone(), version: told.version }),
        ran: told.ran,
        rewards: None,
        started,
        finished: started,
        verified: None,
    };
    let path = draft.keep(&trial)?;
    if args.json {
        ui::json(&json!({ "trial": path, "agent": agent }));
    } else {
        ui::answer(&format!("trial: {}", escape(path.as_str())));
    }
    Ok(Exit::Done)
}

fn nothing(agent: &str) -> Failure {
    let message = format!("could not extract a session of {}: there is none", escape(agent));
    Failure::new(Exit::Failed, "trial::session", message)
        .help("run the agent by `pier exec`, or name its directory by `--session-dir`")
}

fn of_container(asked: &Asked, found: &Workspace) -> Result<(String, Source), Failure> {
    let agent = asked.agent(&found.session.agents)?;
    let agent = agent
        .ok_or_else(|| trials::usage("no agent is registered here", "say whose it is: `--agent NAME`"))?;
    let source = asked.source(found, Some(&agent))?.ok_or_else(|| nothing(&agent))?;
    Ok((agent, source))
}

fn of_host(
    asked: &Asked,
    environment: &Environment,
    (cwd, root): (&Utf8Path, &Utf8Path),
    declared: &Declared,
) -> Result<(String, Source), Failure> {
    if let (Some(directory), Some(agent)) = (&asked.session_dir, &asked.agent) {
        return Ok((agent.clone(), trials::here(&cwd.join(directory))?));
    }
    if let Some(agent) = asked.agent.as_deref().filter(|agent| declared.has(agent)) {
        let source = trials::recorded(root, agent).ok_or_else(|| nothing(agent))?;
        return Ok((agent.to_owned(), source));
    }
    let found = asked
        .agent
        .as_deref()
        .is_none_or(|agent| agent == CLAUDE)
        .then(|| trials::of_claude(&environment.home, root));
    match found.flatten() {
        Some(source) => Ok((CLAUDE.to_owned(), source)),
        None => Err(trials::usage(
            "no session of an agent was found for this directory",
            "say where it is: `--session-dir DIR --agent NAME`",
        )),
    }
}
