//! Benchmark tasks in Harbor's format: `task.toml` read and typed, and the rules for the directory around it.
//!
//! What is accepted, refused and renamed is what Harbor 0.25 does (schema 1.4), so that a task means the same
//! in both; `tests/fixtures/tasks/` has the cases it was asked. Where pier is stricter, the tests give the reason.

use std::collections::BTreeMap;

use serde::Serialize;

pub mod artifacts;
mod codes;
mod decode;
pub mod directory;
mod environment;
mod hosts;
pub mod ignore;
pub mod listing;
mod mcp;
mod names;
mod network;
mod read;
mod sizes;
pub mod templates;
mod toml_text;
mod verifier;

pub use artifacts::Artifact;
pub use decode::{Parsed, parse, place};
pub use environment::{Environment, HealthCheck, McpServer, Os, Tpu, Transport};
pub use hosts::{AllowedHost, BadHost};
pub use network::{Mode, Phase, PhasePolicy, Policy, resolve_network};
pub use verifier::{
    Collect, MAIN_SERVICE, Verifier, VerifierMode, has_separate_verifier, has_shared_verifier,
    verifier_environment, verifier_mode,
};

/// The name of the file that makes a directory a task.
pub const FILE: &str = "task.toml";

/// Variables by name; values may be templates, see [`templates`].
pub type Variables = BTreeMap<String, String>;

/// A whole `task.toml`, with Harbor's defaults where it says nothing. Serialized with Harbor's names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Task {
    /// Any text: no reader compares it.
    pub schema_version: String,
    /// `[task]`.
    #[serde(rename = "task")]
    pub package: Option<Package>,
    /// Whatever the author keeps there.
    pub metadata: toml::Table,
    pub verifier: Verifier,
    pub agent: Agent,
    pub environment: Environment,
    pub solution: Solution,
    pub source: Option<String>,
    /// How steps become one reward; `None` means [`RewardStrategy::Mean`].
    pub multi_step_reward_strategy: Option<RewardStrategy>,
    /// Empty in a task of a single step, which has `instruction.md` at its root.
    pub steps: Vec<Step>,
    pub artifacts: Vec<Artifact>,
}

impl Default for Task {
    fn default() -> Self {
        Task {
            schema_version: "1.4".to_owned(),
            package: None,
            metadata: toml::Table::new(),
            verifier: Verifier::default(),
            agent: Agent::default(),
            environment: Environment::default(),
            solution: Solution::default(),
            source: None,
            multi_step_reward_strategy: None,
            steps: Vec::new(),
            artifacts: Vec::new(),
        }
    }
}

/// What a task calls itself: `[task]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Package {
    /// `organisation/name`.
    pub name: String,
    pub version: Option<String>,
    pub description: String,
    pub authors: Vec<Author>,
    pub keywords: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Author {
    pub name: String,
    pub email: Option<String>,
}

/// The phase in which the agent works.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Agent {
    #[serde(flatten)]
    pub network: PhasePolicy,
    /// Seconds; `None` is no limit. Harbor takes any number, so this may be 0, negative or not finite.
    pub timeout_sec: Option<f64>,
    pub user: Option<User>,
}

/// The reference solution.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Solution {
    pub env: Variables,
}

/// A user of the image.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum User {
    Name(String),
    Id(i64),
}

impl User {
    /// As an image names it.
    pub fn text(&self) -> String {
        match self {
            User::Name(name) => name.clone(),
            User::Id(id) => id.to_string(),
        }
    }

    pub fn is_root(&self) -> bool {
        let text = self.text();
        text == "root" || text.parse() == Ok(0_u64)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RewardStrategy {
    /// The mean of each key over the steps; a missing key counts as 0.
    Mean,
    /// The rewards of the last step.
    Final,
}

/// One of several steps, each with its own instruction and verification.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// A directory below `steps/`, portable to every host.
    pub name: String,
    pub agent: Agent,
    /// Its time limit is never the task's: 600 seconds where it says nothing.
    pub verifier: Verifier,
    pub min_reward: Option<MinReward>,
    pub healthcheck: Option<HealthCheck>,
    pub artifacts: Vec<Artifact>,
}

/// What a step must reach for the next one to begin.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum MinReward {
    /// For the key `reward`.
    Reward(f64),
    /// For each of these keys.
    Keys(BTreeMap<String, f64>),
}

impl Task {
    /// Returns the name that results carry: `[task].name`, or that of the directory.
    pub fn name<'a>(&'a self, directory: &'a str) -> &'a str {
        self.package.as_ref().map_or(directory, |package| &package.name)
    }
}

/// Returns an instruction without the marks at its head that keep it out of training data.
///
/// Those are the leading lines that are a comment (`<!-- … -->` or `# …`) with the word "canary", and the empty
/// lines behind them.
pub fn strip_canary(instruction: &str) -> &str {
    let is_canary = |line: &str| {
        let line = line.trim();
        let comment = line.starts_with('#') || (line.starts_with("<!--") && line.ends_with("-->"));
        comment && line.to_ascii_lowercase().contains("canary")
    };
    skip(skip(instruction, is_canary), |line| line.trim().is_empty())
}

/// Returns the text behind its first lines, as long as they are to be dropped.
fn skip(mut text: &str, drop: impl Fn(&str) -> bool) -> &str {
    loop {
        let (line, behind) = text.split_once('\n').map_or((text, None), |(line, rest)| (line, Some(rest)));
        if !drop(line) {
            return text;
        }
        let Some(rest) = behind else { return "" };
        text = rest;
    }
}

#[cfg(test)]
mod tests;
