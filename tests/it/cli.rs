//! Every command: exit code, answer and talk.

mod code;
mod coverage;
mod edit;
mod finding;
mod lock;
mod network;
mod page;
mod refused;
mod set_up;
mod start;
mod validate;
mod words;
