//! Section J: runtime nix. Each case is a test of `tests/it/nix.rs`, which has a flake, and a store of its own.

use super::case::{Action, CASE, Case, Column, Open, Verdict};
use crate::nix;

/// A test that passes holds; one that panics is open.
fn held(test: fn()) -> Verdict {
    if let Some(reason) = nix::missing() {
        return Verdict::CannotRun(reason.to_owned());
    }
    test();
    Verdict::Held
}

macro_rules! case {
    ($id:literal, $tries:literal, $test:expr) => {
        Case {
            id: $id,
            tries: $tries,
            action: Action::Steps(|_| held($test)),
            columns: &[Column::Nix],
            open: Open::Not("there is no closure without a sandbox"),
            ..CASE
        }
    };
}

pub const CASES: &[Case] = &[
    case!("J1", "programs of the store outside the closure", || {
        nix::what_is_not_in_the_closure_is_neither_read_nor_executed();
    }),
    case!("J3", "a changed flake that the host evaluates", || {
        nix::a_changed_flake_needs_approval_again();
        nix::an_evaluation_builds_nothing_fetches_nothing_and_reads_nothing_else();
    }),
    case!("J4", "a collection of garbage under a known shell", || {
        nix::a_known_shell_starts_without_nix_and_outlives_a_collection();
    }),
    case!("J5", "libraries and settings of the project for the store's programs", || {
        nix::selected_variables_arrive_and_no_others();
    }),
];
