//! What an attacker runs inside: one raw attempt a call, as one static program without crates.
//!
//! `probe NAME [ARGS…]` prints one word or line and exits with 0 (blocked), 1 (reachable) or 2 (cannot tell).
//! No attempt harms the host it succeeds on: values are written back as they were, counts are bounded, and what
//! needs privileges is asked for with arguments that fail right after the check of the privilege.

use std::process::exit;

mod files;
mod fuzz;
mod ipc;
mod kernel;
mod namespaces;
mod process;
mod screen;
mod sockets;
mod sys;
mod terminal;

use sys::Answer;

type Attempt = fn(&[String]) -> Answer;

fn main() {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let args: Vec<String> = words.collect();
    let tables = [
        kernel::TABLE,
        namespaces::TABLE,
        files::TABLE,
        sockets::TABLE,
        ipc::TABLE,
        terminal::TABLE,
        process::TABLE,
        screen::TABLE,
        fuzz::TABLE,
    ];
    let found = tables.iter().flat_map(|table| table.iter()).find(|(known, _)| *known == name);
    let Some((_, attempt)) = found else {
        println!("no such probe: {name}");
        exit(2);
    };
    let (code, text) = match attempt(&args) {
        Answer::Blocked(text) => (0, text),
        Answer::Reachable(text) => (1, text),
        Answer::Unknown(text) => (2, text),
    };
    println!("{text}");
    exit(code);
}
