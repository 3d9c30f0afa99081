//! Every command: exit code, answer and talk.

mod coverage;
mod edit;
mod finding;
mod lock;
mod page;
mod start;
mod validate;
mod words;
