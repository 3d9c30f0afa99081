//! `[verifier]`, and where it runs.

use serde::Serialize;

use super::environment::{Environment, environment, float, list};
use super::network::PhasePolicy;
use super::read::{Section, Value};
use super::{Step, Task, User, Variables, codes, decode, names};
use crate::diag::Problem;

/// The service of a Compose file that the agent works in.
pub const MAIN_SERVICE: &str = "main";

/// How a task, or a step of one, is verified.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verifier {
    #[serde(flatten)]
    pub network: PhasePolicy,
    /// Seconds.
    pub timeout_sec: f64,
    pub env: Variables,
    pub user: Option<User>,
    /// `None` leaves it to `environment`, and then to the task.
    pub environment_mode: Option<VerifierMode>,
    pub environment: Option<Environment>,
    pub collect: Vec<Collect>,
}

impl Default for Verifier {
    fn default() -> Self {
        Verifier {
            network: PhasePolicy::default(),
            timeout_sec: 600.0,
            env: Variables::new(),
            user: None,
            environment_mode: None,
            environment: None,
            collect: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifierMode {
    /// In the environment that the agent worked in.
    Shared,
    /// In one that the agent never saw.
    Separate,
}

/// A command that runs in a service after the agent, to write files for a separate verifier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Collect {
    pub command: String,
    pub service: String,
    /// Seconds.
    pub timeout_sec: f64,
    pub user: Option<User>,
}

/// Returns where a task, or one of its steps, is verified: what it says, or else what its environment implies,
/// or else what holds for the task, or else in the agent's environment.
pub fn verifier_mode(task: &Task, step: Option<&Step>) -> VerifierMode {
    let of = |verifier: &Verifier| {
        verifier.environment_mode.or(verifier.environment.as_ref().map(|_| VerifierMode::Separate))
    };
    step.and_then(|step| of(&step.verifier)).or_else(|| of(&task.verifier)).unwrap_or(VerifierMode::Shared)
}

/// Returns what a separate verifier runs in: the step's, the task's, or a fresh copy of the agent's. `None` for a
/// shared one.
pub fn verifier_environment<'a>(task: &'a Task, step: Option<&'a Step>) -> Option<&'a Environment> {
    let own = || step.and_then(|step| step.verifier.environment.as_ref());
    match verifier_mode(task, step) {
        VerifierMode::Shared => None,
        VerifierMode::Separate => {
            Some(own().or(task.verifier.environment.as_ref()).unwrap_or(&task.environment))
        }
    }
}

/// Says whether any verification of a task happens in the agent's environment.
pub fn has_shared_verifier(task: &Task) -> bool {
    has(task, VerifierMode::Shared)
}

/// Says whether any verification of a task happens in an environment of its own.
pub fn has_separate_verifier(task: &Task) -> bool {
    has(task, VerifierMode::Separate)
}

fn has(task: &Task, mode: VerifierMode) -> bool {
    if task.steps.is_empty() {
        return verifier_mode(task, None) == mode;
    }
    task.steps.iter().any(|step| verifier_mode(task, Some(step)) == mode)
}

/// Reads a table of verifier.
pub fn verifier(section: Section<'_>) -> Verifier {
    let modes = [("shared", VerifierMode::Shared), ("separate", VerifierMode::Separate)];
    let mode = section.get("environment_mode");
    let own = section.get("environment");
    let found = Verifier {
        network: PhasePolicy::read(&section),
        timeout_sec: float(&section, "timeout_sec", 600.0),
        env: section.get("env").map(|value| value.variables()).unwrap_or_default(),
        user: section.get("user").and_then(|value| decode::user(&value)),
        environment_mode: mode.as_ref().and_then(|value| value.one_of(&modes)),
        environment: own.as_ref().and_then(Value::section).map(environment),
        collect: list(&section, "collect", collect),
    };
    if let (Some(mode), Some(own), Some(VerifierMode::Shared)) = (mode, own, found.environment_mode) {
        let message = "a shared verifier runs in the agent's environment and can have none of its own";
        let problem = Problem::new(codes::CONFLICT, mode.span(), "shared", message);
        let help = "remove `[verifier.environment]`, or write `environment_mode = \"separate\"`";
        section.findings.problem(problem.also(own.span(), "an environment of its own").help(help));
    }
    section.finish();
    found
}

fn collect(section: Section<'_>) -> Option<Collect> {
    let command = section.required("command").and_then(|value| value.string());
    let found = Collect {
        command: command.clone().unwrap_or_default(),
        service: section.get("service").and_then(|value| service(&value)).unwrap_or(MAIN_SERVICE.to_owned()),
        timeout_sec: float(&section, "timeout_sec", 60.0),
        user: section.get("user").and_then(|value| decode::user(&value)),
    };
    section.finish();
    command.is_some().then_some(found)
}

/// Reads the name of a service.
pub fn service(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    let name = text.trim();
    if !names::is_service(name) {
        value.refuse("a service is named by letters and digits, and `_`, `.` or `-` after the first");
    }
    Some(name.to_owned())
}
