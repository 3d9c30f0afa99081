//! Printing: the answer on standard output, the talk on standard error, colour only where it is seen.

use std::io::{IsTerminal as _, Write as _};

use crate::diag::{Failure, render};
use crate::env;
use crate::util::text::json_text;

/// Prints one line of the answer.
pub fn answer(line: &str) {
    write_out(&format!("{line}\n"));
}

/// Prints text of the answer as it is.
///
/// A reader that has gone away (`pier plan | head`) wanted no more: that is success, not a panic.
pub fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a serialisable answer as indented JSON.
pub fn json(value: &impl serde::Serialize) {
    // Our own types have string keys only, so this cannot fail.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    answer(&json_text(&text));
}

/// Says something beside the answer.
pub fn say(line: &str) {
    anstream::eprintln!("{line}");
}

/// Warns.
pub fn warn(line: &str) {
    let style = anstyle::AnsiColor::Yellow.on_default();
    anstream::eprintln!("{style}warning:{style:#} {line}");
}

/// Says whether somebody is there to answer a question.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Says whether a person sits in front of a command, in and out.
pub fn has_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Asks a question that only a clear yes answers with yes.
pub fn ask(question: &str) -> bool {
    anstream::eprint!("{question} [y/N] ");
    let mut line = String::new();
    // A terminal that has gone away says nothing, which is no.
    let _closed = std::io::stdin().read_line(&mut line);
    matches!(line.trim(), "y" | "Y" | "yes")
}

/// Prints why a command failed.
pub fn fail(failure: &Failure) {
    let terminal = std::io::stderr().is_terminal();
    let glyphs = if terminal { render::Glyphs::Unicode } else { render::Glyphs::Ascii };
    let color = if colour() { render::Color::Always } else { render::Color::Never };
    anstream::eprint!("{}", render::human(&failure.report, render::Style { glyphs, color, width: width() }));
}

fn colour() -> bool {
    std::io::stderr().is_terminal()
        && anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}

fn width() -> usize {
    let terminal = || Some(usize::from(crate::sys::terminal::size(&std::io::stderr()).ok()?.ws_col));
    env::columns().or_else(terminal).filter(|columns| *columns > 20).unwrap_or(100).min(140)
}
