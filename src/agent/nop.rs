//! The agent that does nothing: what its trial says is what the environment and the tests say by themselves.

use super::of_trial::OfTrial;

pub const NOP: OfTrial = OfTrial { name: "nop", version: "1.0.0", does: "does nothing" };
