//! The sessions of a loop: their command lines, and what becomes of them.

use std::process::Stdio;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use super::desk::{Desk, Turn, failed};
use crate::agent::{self, Verdict};
use crate::cmd::run::told::{How, Told};
use crate::coord::select::Stage;
use crate::diag::Failure;
use crate::loops::child::{self, Cut, Line, Streams};
use crate::loops::prompt::{self, Asked};
use crate::plan::Front;
use crate::schedule::Stop;
use crate::ui;
use crate::util::fs::{create_private, read_bounded};
use crate::util::text::escape;

/// The most that is read of what an agent has said, in bytes.
const MOST_OUTPUT: u64 = 64 << 20;

/// How many files of logs are kept.
const MOST_LOGS: usize = 400;

/// Who works for a loop: the sessions' command line, but for the item.
#[derive(Clone, Debug)]
pub enum Launcher {
    /// `pier up`; `apart` in private clones, whose commits the loop takes.
    Pier { apart: bool },
    /// The older tool's command, or pier by that name.
    PiEnv { command: Option<String>, manager: Option<Utf8PathBuf>, tools: String },
}

/// What became of a session.
#[derive(Debug)]
pub struct Session {
    pub code: u8,
    pub cut: Option<Cut>,
    pub verdict: Verdict,
    pub cost: Option<f64>,
    pub told: Option<Told>,
    pub log: Utf8PathBuf,
}

impl Session {
    /// Says why it failed; `None` for one that ended as it should.
    pub fn failure(&self) -> Option<String> {
        match (&self.cut, &self.verdict, self.code) {
            (Some(Cut::Stopped), ..) => Some("it was stopped".to_owned()),
            (Some(Cut::Why(why)), ..) => Some(why.clone()),
            _ if self.told.as_ref().is_some_and(|told| told.ended == How::TimeLimit) => {
                Some("its time ran out".to_owned())
            }
            // As `timeout` has it, and pier.
            (None, _, 124) => Some("its time ran out".to_owned()),
            (None, Verdict::Failed { reason }, _) => Some(format!("the agent says: {}", escape(reason))),
            (None, _, 0) => None,
            (None, _, code) => Some(format!("it ended with {code}")),
        }
    }
}

impl Desk<'_> {
    /// Returns the words of a session.
    pub fn line(&self, turn: &Turn, front: Front, role: &str, outcome: Option<&Utf8Path>) -> Line {
        let asked = Asked {
            stage: turn.stage,
            id: &turn.id,
            title: &turn.title,
            role,
            interactive: front == Front::Interactive,
            events: front == Front::Events,
            branch: turn.branch.as_deref(),
            resumed: turn.resumed,
        };
        let prompt = prompt::text(&asked);
        let name = turn.stage.role();
        let environment = &self.context.environment;
        let own = |name: &str| Some((name.to_owned(), environment.get(name)?.to_owned()));
        let around: Vec<(String, String)> = environment.names().filter_map(own).collect();
        let mut variables: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
        for prefix in ["PIER_COORD_", "PI_ENV_COORD_", "PI_COORD_"] {
            set(&format!("{prefix}AGENT_ID"), &turn.actor.id);
            set(&format!("{prefix}DIR"), turn.clone.as_str());
            set(&format!("{prefix}ROLE"), name);
        }
        match &self.launcher {
            Launcher::Pier { .. } => {
                let mut words = vec!["up".to_owned()];
                words.extend(self.agent(turn.stage).map(str::to_owned));
                let mut flag = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
                flag("--role", name);
                flag("--front", front_word(front));
                flag("--prompt", &prompt);
                if let Some(branch) = &turn.branch {
                    flag("--branch", branch);
                }
                if let Some(file) = outcome {
                    flag("--outcome", file.as_str());
                }
                if let Some(profile) = &self.global.profile {
                    flag("--profile", profile);
                }
                let timeout = self.timeout(turn.stage, front).map(|time| format!("limits.wall={time}"));
                for assignment in self.global.set.iter().chain(&timeout) {
                    flag("--set", assignment);
                }
                if front == Front::Interactive {
                    // Else Pi would wait for its person at the end of a cycle.
                    flag("--set", "env.set.PI_ROLE_MANAGER_AUTO_SHUTDOWN_ON_DONE=1");
                }
                if let Some(assignment) = self.set() {
                    flag("--set", assignment);
                }
                Line { program: self.binary.clone(), name: None, words, around, variables }
            }
            Launcher::PiEnv { command, manager, tools } => {
                let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
                let mut passed = vec!["PI_ACTIVE_ROLE", "PI_ROLE_MANAGER_ACTIVE_ROLE"];
                for variable in passed.clone() {
                    set(variable, name);
                }
                set("PI_BWRAP_COORDINATION_DIR", turn.clone.as_str());
                set("PI_BWRAP_PROJECT_ROOT", self.context.project.as_str());
                if front == Front::Interactive {
                    set("PI_ROLE_MANAGER_AUTO_SHUTDOWN_ON_DONE", "1");
                    passed.push("PI_ROLE_MANAGER_AUTO_SHUTDOWN_ON_DONE");
                }
                let before = self.context.environment.get("PI_BWRAP_PASS_ENV").unwrap_or_default();
                let all: Vec<&str> =
                    before.split([' ', ',']).filter(|name| !name.is_empty()).chain(passed).collect();
                set("PI_BWRAP_PASS_ENV", &all.join(" "));
                let mut words = vec!["--raw".to_owned(), "--".to_owned()];
                match (manager, command) {
                    (Some(path), Some(_)) => words.extend(["-e".to_owned(), path.to_string()]),
                    (Some(path), None) => {
                        set("PI_ENV_ROLE_MANAGER_PACKAGE", path.as_str());
                        set("PI_ENV_ROLE_MANAGER_AUTO", "1");
                    }
                    (None, _) => set("PI_ENV_ROLE_MANAGER_AUTO", "1"),
                }
                words.extend(["--tools".to_owned(), tools.clone()]);
                match front {
                    Front::Interactive => {}
                    Front::Text => words.push("--print".to_owned()),
                    Front::Events => words.extend(["--mode".to_owned(), "json".to_owned()]),
                }
                words.push(prompt);
                let (program, arg0) = match command {
                    Some(command) => (Utf8PathBuf::from(command), None),
                    None => (self.binary.clone(), Some("pi-env".to_owned())),
                };
                Line { program, name: arg0, words, around, variables }
            }
        }
    }

    /// Runs the session of a turn to its end.
    pub fn run(
        &self,
        turn: &Turn,
        front: Front,
        role: &str,
        stop: &Stop,
        shown: bool,
    ) -> Result<Session, Failure> {
        let logs = self.place.join("logs");
        let broken = |error: std::io::Error| failed(format!("cannot write the logs below `{logs}`: {error}"));
        create_private(&logs).map_err(broken)?;
        let stamp = Timestamp::now().strftime("%Y%m%d-%H%M%S.%3f");
        let log = logs.join(format!("{stamp}-{}-{}", turn.id, turn.stage.role()));
        let end = |extension: &str| Utf8PathBuf::from(format!("{log}.{extension}"));
        let (output, errors, outcome) = (end("jsonl"), end("err"), end("outcome"));
        let asks = self.is_apart().then_some(outcome.as_path());
        let line = self.line(turn, front, role, asks);
        let streams = match front {
            Front::Interactive => Streams::Terminal,
            Front::Text | Front::Events => {
                let input = match &self.hold {
                    Some(file) => Stdio::from(file.try_clone().map_err(broken)?),
                    None => Stdio::null(),
                };
                Streams::Files { input, output: &output, errors: &errors, shown }
            }
        };
        let ended = child::run(&line, &self.context.project, streams, stop, &mut self.keeper(turn)).map_err(
            |error| {
                failed(format!(
                    "cannot start `{}`: {error}",
                    escape(line.name.as_deref().unwrap_or(line.program.as_str()))
                ))
            },
        )?;
        let told = read_bounded(&outcome, 1 << 20).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let _gone = std::fs::remove_file(&outcome);
        let said = read_bounded(&output, MOST_OUTPUT).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let (verdict, cost) = match front {
            Front::Events => self.judge(turn.stage, ended.code, &said),
            Front::Interactive | Front::Text => (Verdict::Unknown, None),
        };
        let of_log = told.as_ref().and_then(|told: &Told| told.cost);
        let cost = cost.or(of_log).filter(|cost| cost.is_finite() && *cost >= 0.0);
        if shown && front != Front::Interactive {
            show(&errors);
        }
        forget_old(&logs);
        Ok(Session { code: ended.code, cut: ended.cut, verdict, cost, told, log: output })
    }

    fn judge(&self, stage: Stage, code: u8, said: &str) -> (Verdict, Option<f64>) {
        let pi = || agent::find("pi").ok().map(|agent| (agent.verdict(code, said), agent.cost(said)));
        if matches!(self.launcher, Launcher::PiEnv { .. }) {
            return pi().unwrap_or((Verdict::Unknown, None));
        }
        let Ok(project) = self.project(stage.role()) else { return (Verdict::Unknown, None) };
        let name = self.agent_name(&project, stage).unwrap_or_default();
        let declared = project.loaded.config.agents.iter().find(|agent| agent.name.value == name);
        match declared.and_then(|agent| agent::of(agent).ok()) {
            Some(agent) => (agent.verdict(code, said), agent.cost(said)),
            None => (Verdict::Unknown, None),
        }
    }
}

fn front_word(front: Front) -> &'static str {
    match front {
        Front::Interactive => "interactive",
        Front::Text => "text",
        Front::Events => "json",
    }
}

/// Says what a session has said on standard error, after it: people read that line by line.
fn show(errors: &Utf8Path) {
    let text = read_bounded(errors, 1 << 20).unwrap_or_default();
    for line in String::from_utf8_lossy(&text).lines() {
        ui::say(&escape(line));
    }
}

/// Removes the oldest logs.
fn forget_old(logs: &Utf8Path) {
    let names = logs.read_dir_utf8().into_iter().flatten().flatten();
    let mut names: Vec<String> = names.map(|entry| entry.file_name().to_owned()).collect();
    names.sort_unstable();
    let many = names.len().saturating_sub(MOST_LOGS);
    for name in &names[..many] {
        let _gone = std::fs::remove_file(logs.join(name));
    }
}
