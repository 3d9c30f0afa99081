//! The only code that starts processes: a [`crate::plan::Plan`] in, a running sandbox out.

pub mod bwrap;
pub mod cache;
pub mod captured;
pub mod docker;
pub mod doctor;
pub mod elf;
pub mod git;
pub mod init;
pub mod install;
pub mod join;
pub mod judge;
pub mod launcher;
pub mod limits;
pub mod manifest;
pub mod nix;
pub mod pack;
pub mod pager;
pub mod probe;
pub mod program;
pub mod protocol;
pub mod sandbox;
pub mod sources;
pub mod variables;
pub mod walk;
