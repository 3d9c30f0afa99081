//! Agents of trials alone: they need a task, and there is nothing to install, to ask, or to read of them.

use super::{nop, oracle};

/// What pier knows of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfTrial {
    pub name: &'static str,
    /// What records of trials say.
    pub version: &'static str,
    /// What it does, behind its name.
    pub does: &'static str,
}

const ALL: &[OfTrial] = &[nop::NOP, oracle::ORACLE];

/// Returns the agent of this name.
pub fn of_trial(name: &str) -> Option<OfTrial> {
    ALL.iter().find(|agent| agent.name == name).copied()
}

impl OfTrial {
    /// Says why it is not started where no task is.
    pub fn refusal(self) -> String {
        format!("the agent `{}` {}: it is for trials, and there is no task here", self.name, self.does)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_known_to_trials_and_to_nobody_else() {
        for agent in ALL {
            assert!(super::super::is_known(agent.name) && of_trial(agent.name) == Some(*agent));
            let refused = super::super::find(agent.name).err().unwrap();
            assert_eq!(refused.to_string(), agent.refusal());
            assert_eq!(refused.nearest, None);
        }
        assert!(of_trial("pi").is_none());
    }
}
