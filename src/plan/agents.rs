//! What a configuration says of its agents, against what pier knows of them.

use super::build::problem;
use crate::agent::tuning::{self, Tuned};
use crate::agent::{self, Chosen, Install};
use crate::config::{self, Config};
use crate::diag::Problem;

/// Returns every problem of every agent, also of those that no plan is for.
pub fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    for declared in &config.agents {
        read(declared, &mut found);
    }
    found
}

/// Returns the agent of a block, and what its settings come to; without what is a problem. `None` where nobody knows it.
pub fn read<'a>(declared: &'a config::Agent, problems: &mut Vec<Problem>) -> Option<(Chosen<'a>, Tuned)> {
    let name = &declared.name;
    let adapter = match agent::of(declared) {
        Ok(adapter) => adapter,
        Err(error) => {
            let unknown = problem("agent::unknown", &name.origin, "unknown agent", error.to_string());
            problems.push(match error.nearest {
                Some(nearest) => unknown.help(format!("did you mean `{nearest}`?")),
                None => unknown,
            });
            return None;
        }
    };
    let (tuned, refused) = tuning::tuned(&*adapter, &declared.settings);
    problems.extend(refused.into_iter().map(|refused| {
        problem("agent::setting", &refused.origin, "asked for here", refused.message).help(refused.help)
    }));
    if let Some(version) = declared.version.as_ref().filter(|_| adapter.install() == Install::Never) {
        let message =
            format!("pier does not install the agent `{}`, so it has no say in its version", name.value);
        let refused = problem("agent::version", &version.origin, "asked for here", message);
        problems.push(refused.help("leave `version` out, and install the version that you want"));
    }
    Some((adapter, tuned))
}
