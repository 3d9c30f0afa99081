//! Section J: runtime nix. Its cases come with it.

use super::case::{Action, CASE, Case, ONE};

macro_rules! later {
    ($id:literal, $tries:literal) => {
        Case {
            id: $id,
            tries: $tries,
            action: Action::Later("runtime nix is not available yet"),
            columns: ONE,
            ..CASE
        }
    };
}

pub const CASES: &[Case] = &[
    later!("J1", "programs of the store outside the closure"),
    later!("J3", "a changed flake that the host evaluates"),
    later!("J4", "a collection of garbage while the session runs"),
    later!("J5", "libraries and settings of the project for the store's programs"),
];
