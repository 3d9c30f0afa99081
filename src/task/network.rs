//! What a task says about the network, and what holds in each phase of a trial.

use serde::Serialize;

use super::environment::old_mode;
use super::hosts::AllowedHost;
use super::read::Section;
use super::verifier::{Verifier, verifier_environment};
use super::{Agent, Step, Task, codes};
use crate::diag::Problem;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    NoNetwork,
    #[default]
    Public,
    Allowlist,
}

impl Mode {
    const WORDS: [(&'static str, Mode); 3] =
        [("no-network", Mode::NoNetwork), ("public", Mode::Public), ("allowlist", Mode::Allowlist)];

    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, mode)| *mode == self).map_or("public", |(name, _)| *name)
    }
}

/// What an environment allows from its start to its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Baseline {
    #[serde(rename = "network_mode")]
    pub mode: Mode,
    pub allowed_hosts: Option<Vec<AllowedHost>>,
}

/// What holds in one phase instead of the baseline; without a mode it is nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PhasePolicy {
    #[serde(rename = "network_mode")]
    pub mode: Option<Mode>,
    pub allowed_hosts: Option<Vec<AllowedHost>>,
}

/// What may be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub mode: Mode,
    /// Empty unless the mode is [`Mode::Allowlist`]; an allow-list may be empty as well, and blocks everything.
    pub allowed_hosts: Vec<AllowedHost>,
}

/// The parts of a trial that may differ in what they reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From the start of the agent's environment: its set-up, health checks and hooks.
    AgentEnvironment,
    Agent,
    /// From the start of the verifier's environment, which is the agent's if it is shared.
    VerifierEnvironment,
    Verifier,
}

/// Returns what may be reached in a phase of a task, or of one of its steps.
///
/// A phase that says nothing has the policy of the environment that it runs in; a step that says nothing, that
/// of the task's phase.
pub fn resolve_network(task: &Task, step: Option<&Step>, phase: Phase) -> Policy {
    let agent = |agent: &Agent| agent.network.policy();
    let verifier = |verifier: &Verifier| verifier.network.policy();
    match phase {
        Phase::AgentEnvironment => task.environment.network.policy(),
        Phase::Agent => step
            .and_then(|step| agent(&step.agent))
            .or_else(|| agent(&task.agent))
            .unwrap_or_else(|| resolve_network(task, step, Phase::AgentEnvironment)),
        Phase::VerifierEnvironment => {
            verifier_environment(task, step).unwrap_or(&task.environment).network.policy()
        }
        Phase::Verifier => step
            .and_then(|step| verifier(&step.verifier))
            .or_else(|| verifier(&task.verifier))
            .unwrap_or_else(|| resolve_network(task, step, Phase::VerifierEnvironment)),
    }
}

impl Policy {
    /// Adds the hosts of one run. A policy that allows none becomes an allow-list; a public one stays public.
    #[must_use]
    pub fn with(mut self, hosts: &[AllowedHost]) -> Self {
        if self.mode == Mode::Public || hosts.is_empty() {
            return self;
        }
        self.mode = Mode::Allowlist;
        for host in hosts {
            if !self.allowed_hosts.contains(host) {
                self.allowed_hosts.push(host.clone());
            }
        }
        self
    }
}

impl Baseline {
    pub fn policy(&self) -> Policy {
        Policy { mode: self.mode, allowed_hosts: self.allowed_hosts.clone().unwrap_or_default() }
    }

    pub fn read(section: &Section<'_>) -> Self {
        let given = section.get("network_mode");
        let mode = given.as_ref().and_then(|value| value.one_of(&Mode::WORDS)).unwrap_or_default();
        let allowed_hosts = hosts(section);
        if mode != Mode::Allowlist && allowed_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty()) {
            needs_allowlist(section);
        }
        // A list of hosts takes the place of the older key, even an empty one; then the default holds.
        let old = old_mode(section).filter(|_| given.is_none());
        if allowed_hosts.is_some() && old == Some(Mode::NoNetwork) {
            if let Some(value) = section.get("allow_internet") {
                let message =
                    "`allow_internet = false` has no effect beside `allowed_hosts`: the network is public";
                let note = Problem::new(codes::NO_EFFECT, value.span(), "no effect", message);
                section.findings.note(note.help("write `network_mode = \"no-network\"`"));
            }
            return Baseline { mode, allowed_hosts };
        }
        Baseline { mode: old.unwrap_or(mode), allowed_hosts }
    }
}

impl PhasePolicy {
    pub fn policy(&self) -> Option<Policy> {
        let allowed_hosts = self.allowed_hosts.clone().unwrap_or_default();
        Some(Policy { mode: self.mode?, allowed_hosts })
    }

    pub fn read(section: &Section<'_>) -> Self {
        let given = section.get("network_mode");
        let mode = given.as_ref().and_then(|value| value.one_of(&Mode::WORDS));
        let allowed_hosts = hosts(section);
        let wrong = match mode {
            Some(Mode::Allowlist) => false,
            Some(_) => allowed_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty()),
            // A mode that is none is a problem already.
            None => given.is_none() && allowed_hosts.is_some(),
        };
        if wrong {
            needs_allowlist(section);
        }
        PhasePolicy { mode, allowed_hosts }
    }
}

fn hosts(section: &Section<'_>) -> Option<Vec<AllowedHost>> {
    let values = section.get("allowed_hosts")?.list();
    let host = |value: &super::read::Value<'_>| {
        let host = AllowedHost::parse(&value.string()?);
        host.map_err(|why| value.refuse(&why.to_string())).ok()
    };
    Some(values.iter().filter_map(host).collect())
}

fn needs_allowlist(section: &Section<'_>) {
    let Some(value) = section.get("allowed_hosts") else { return };
    let message = format!("`allowed_hosts` in {} needs `network_mode = \"allowlist\"`", section.place());
    section.findings.problem(Problem::new(codes::CONFLICT, value.span(), "not without that mode", message));
}
