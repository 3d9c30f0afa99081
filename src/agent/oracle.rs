//! The agent that runs the solution of a task, as Harbor does: a task whose own solution does not pass is a broken one.

use super::of_trial::OfTrial;

pub const ORACLE: OfTrial = OfTrial { name: "oracle", version: "1.0.0", does: "runs the solution of a task" };
