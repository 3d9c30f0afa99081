//! The code that touches the host for a plan: finding programs, installing them, starting sandboxes.

#![expect(dead_code, reason = "the commands that use it are not there yet")]

pub mod install;
pub mod launcher;
