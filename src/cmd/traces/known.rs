//! The values that are taken out of an export: those of whoever exports, and those that the workspace was started with, as far as they
//! are still known. None is written anywhere.

use std::io::Read as _;
use std::time::Duration;

use crate::backend::protocol::Command;
use crate::backend::variables;
use crate::cmd::workspaces;
use crate::cmd::workspaces::given::Entry;
use crate::env::Environment;
use crate::plan::INIT;
use crate::plan::environment::TERMINAL;
use crate::session::aside;
use crate::workspace::{self, Mode, Workspace};

/// The most that a workspace says of its variables, in bytes, and the longest that it takes.
const MOST: u64 = 4 << 20;
const TIME: Duration = Duration::from_secs(5);

/// What is known.
pub struct Known {
    /// Names with values; a name may have several.
    pub values: Vec<(String, String)>,
    /// What the workspace was started with, and nobody knows any more.
    pub lost: Vec<String>,
}

/// Collects them.
pub fn collect(environment: &Environment, workspace: Option<&Workspace>) -> Known {
    let own = |name: &str| Some((name.to_owned(), environment.get(name)?.to_owned()));
    let mut values: Vec<(String, String)> = environment.names().filter_map(own).collect();
    let Some(found) = workspace.filter(|found| found.session.mode == Mode::Container) else {
        return Known { values, lost: Vec::new() };
    };
    let mut names: Vec<String> = match workspaces::remembered(environment, &found.root) {
        Some(kept) => {
            // What stands for a secret inside is none, and what says what terminal it is neither.
            let secrets = &kept.plan.secrets;
            let is_given =
                |name: &str| !TERMINAL.contains(&name) && secrets.iter().all(|secret| secret.name != name);
            let own = kept.plan.environment.iter().filter(|variable| variable.value.is_none());
            own.map(|variable| variable.name.clone()).filter(|name| is_given(name)).collect()
        }
        None => Vec::new(),
    };
    for text in &found.session.extra_env {
        let Ok(entry) = Entry::parse(text, "") else { continue };
        if Entry::is_whole(text) {
            values.push((entry.name, entry.value));
        } else if !names.contains(&entry.name) {
            names.push(entry.name);
        }
    }
    if !names.is_empty() {
        let held = held(environment, found).into_iter().filter(|(name, _)| names.contains(name));
        values.extend(held);
    }
    let is_known = |name: &String| values.iter().any(|(known, _)| known == name);
    let lost = names.into_iter().filter(|name| !is_known(name)).collect();
    Known { values, lost }
}

/// Returns the variables that the workspace has now; none where it does not run, or is of a pier that does not say.
fn held(environment: &Environment, found: &Workspace) -> Vec<(String, String)> {
    let argv = [INIT, variables::WORD].map(str::to_owned).to_vec();
    let command = Command { argv, environment: Vec::new(), cwd: "/".to_owned() };
    let directory = workspace::private(&environment.state, &found.root);
    if let Err(failure) = workspaces::paused::awake(environment, &found.root, &workspaces::container(found)) {
        tracing::debug!(%failure, "no time goes by in the workspace");
        return Vec::new();
    }
    let mut text = Vec::new();
    let silence = || workspaces::paused::silence(environment, &found.root);
    let place = aside::Place { directory: &directory, silence: &silence };
    match aside::read(place, &command, MOST, TIME) {
        Ok((Some(0), mut said)) => match said.read_to_end(&mut text) {
            Ok(_) => variables::parse(&text),
            Err(error) => {
                tracing::debug!(%error, "what the workspace says cannot be read");
                Vec::new()
            }
        },
        Ok(_) => Vec::new(),
        Err(error) => {
            tracing::debug!(%error, "the workspace does not say what it was started with");
            Vec::new()
        }
    }
}
