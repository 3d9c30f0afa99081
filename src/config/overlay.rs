//! Settings from outside of files: flags and variables as `path=value` become small documents of their own.

use super::path::{self, Part, literal, quote};
use super::{Config, Layer, Runtime, codes};
use crate::diag::Problem;

/// A piece of configuration that comes from no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// What people gave: `--set limits.memory=8GiB`, `PIER_NETWORK`.
    pub name: String,
    pub layer: Layer,
    /// KDL; problems point into it.
    pub text: String,
    /// When it applies.
    pub only: Only,
}

/// When an overlay applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    Always,
    /// Where the tools are those of this host.
    HostTools,
    /// Where this agent is declared: what is said about one does not declare it.
    Agent(&'static str),
}

impl Only {
    pub fn holds(self, config: &Config) -> bool {
        match self {
            Only::Always => true,
            Only::HostTools => matches!(config.runtime.value, Runtime::Host { .. } | Runtime::Auto),
            Only::Agent(name) => config.agents.iter().any(|agent| agent.name.value == name),
        }
    }

    /// Says why it does not.
    pub fn reason(self) -> String {
        match self {
            Only::Always => String::new(),
            Only::HostTools => "the tools are not those of this host".to_owned(),
            Only::Agent(name) => format!("no agent `{name}` is declared"),
        }
    }
}

impl Overlay {
    pub fn new(name: impl Into<String>, layer: Layer, text: impl Into<String>) -> Self {
        Overlay { name: name.into(), layer, text: text.into(), only: Only::Always }
    }
}

/// Turns `path=value` into an overlay.
pub fn set(name: &str, layer: Layer, assignment: &str) -> Result<Overlay, Problem> {
    // A key in brackets may hold `=` in no known setting, so the first one separates.
    let Some((path, value)) = assignment.split_once('=') else {
        let shown = crate::util::text::escape(assignment);
        let problem = Problem::nowhere(codes::BAD_PATH, format!("`{shown}` of `{name}` is not `PATH=VALUE`"));
        return Err(problem.help("write, for example, `limits.memory=8GiB`"));
    };
    let target = path::parse(path.trim()).map_err(|(message, help)| {
        let mut problem = Problem::nowhere(codes::BAD_PATH, format!("in `{name}`, {message}"));
        problem.help = help;
        problem
    })?;
    let mut text = String::new();
    let last = target.steps.len() - 1;
    for (index, step) in target.steps.iter().enumerate() {
        text.push_str(step.row.name);
        if let Some(key) = &step.key {
            text.push(' ');
            text.push_str(&quote(key));
        }
        if index < last {
            text.push_str(" { ");
        }
    }
    let value = target.field.map_or_else(|| quote(value), |field| literal(field.kind, value));
    match &target.part {
        Part::Value => text.push_str(&format!(" {value}")),
        Part::Property(property) => text.push_str(&format!(" {property}={value}")),
    }
    text.push_str(&" }".repeat(last));
    Ok(Overlay::new(name, layer, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_becomes_a_document() {
        for (assignment, text) in [
            ("network=none", "network none"),
            ("limits.memory=8GiB", "limits { memory \"8GiB\" }"),
            ("limits.pids=99", "limits { pids 99 }"),
            ("workspace.clone=true", "workspace { clone #true }"),
            ("env.set.A=b=\"c\"", "env { set A=\"b=\\\"c\\\"\" }"),
            ("agent[x].args=--print", "agent \"x\" { args \"--print\" }"),
        ] {
            assert_eq!(set("--set", Layer::Flag, assignment).unwrap().text, text);
        }
        for bad in ["network", "netwrk=none", "=x"] {
            assert_eq!(set("--set", Layer::Flag, bad).unwrap_err().code, codes::BAD_PATH);
        }
    }
}
