//! Every unsafe block of pier: descriptors, processes, terminals. Each function is a thin, checked call.
#![expect(unsafe_code, reason = "the one module that talks to the kernel without a wrapper")]

pub mod directory;
pub mod failpoint;
pub mod fd;
pub mod kernel;
pub mod network;
pub mod process;
pub mod socket;
pub mod spawn;
pub mod terminal;
