//! Every command: exit code, answer and talk.

mod coverage;
mod edit;
mod lock;
mod page;
mod validate;
mod words;
