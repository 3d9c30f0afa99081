//! Printing: the answer on standard output, the talk on standard error, colour only where it is seen.

use std::cell::RefCell;
use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

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
    let mut out = io::stdout().lock();
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints an answer of any length, with the same for a reader that has gone away.
pub fn write_all(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    match write(&mut io::stdout().lock()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints text with colours, which are left out where nobody sees them.
pub fn write_styled(text: &str) {
    let mut out = anstream::stdout().lock();
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Says whether an answer is longer than the terminal that it would be printed on.
pub fn answer_is_long(text: &str) -> bool {
    let out = io::stdout();
    let rows = crate::sys::terminal::size(&out).map_or(usize::MAX, |size| usize::from(size.ws_row));
    out.is_terminal() && text.lines().count() >= rows
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

/// How often the line about something that goes on is written: at a terminal, and elsewhere.
const AT_TERMINAL: Duration = Duration::from_millis(100);
const ELSEWHERE: Duration = Duration::from_millis(900);

/// One line about something that goes on: rewritten at a terminal, elsewhere a new one about every second.
#[derive(Default)]
pub struct Status {
    written: Option<Instant>,
    is_open: bool,
}

impl Status {
    /// Writes the line, unless it was written just now. A line that is safe to print.
    pub fn show(&mut self, line: &str) {
        let terminal = io::stderr().is_terminal();
        let pause = if terminal { AT_TERMINAL } else { ELSEWHERE };
        if self.written.is_some_and(|written| written.elapsed() < pause) {
            return;
        }
        self.written = Some(Instant::now());
        if terminal {
            let shown: String = line.chars().take(width() - 1).collect();
            anstream::eprint!("\r{shown}\u{1b}[K");
            self.is_open = true;
        } else {
            say(line);
        }
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        if self.is_open {
            anstream::eprintln!();
        }
    }
}

/// How long something takes before it is shown how far it is.
const SOON: Duration = Duration::from_secs(1);

/// How far something is that mostly takes no time: nothing is shown of it then.
pub struct Progress {
    begun: Instant,
    status: RefCell<Status>,
}

impl Default for Progress {
    fn default() -> Self {
        Progress { begun: Instant::now(), status: RefCell::default() }
    }
}

impl Progress {
    /// Shows bytes as MiB; `what` is safe to print.
    pub fn bytes(&self, what: &str, done: u64, of: u64) {
        if self.begun.elapsed() >= SOON {
            let (done, of) = (done >> 20, of >> 20);
            self.status.borrow_mut().show(&format!("{what}: {done} of {of} MiB"));
        }
    }
}

/// Says whether somebody is there to answer a question.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Says whether a person sits in front of a command, in and out.
pub fn has_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Asks a question that only a clear yes answers with yes.
pub fn ask(question: &str) -> bool {
    anstream::eprint!("{question} [y/N] ");
    let mut line = String::new();
    // A terminal that has gone away says nothing, which is no.
    let _closed = io::stdin().read_line(&mut line);
    matches!(line.trim(), "y" | "Y" | "yes")
}

/// Prints why a command failed.
pub fn fail(failure: &Failure) {
    let terminal = io::stderr().is_terminal();
    let glyphs = if terminal { render::Glyphs::Unicode } else { render::Glyphs::Ascii };
    let color = if colour() { render::Color::Always } else { render::Color::Never };
    anstream::eprint!("{}", render::human(&failure.report, render::Style { glyphs, color, width: width() }));
}

fn colour() -> bool {
    io::stderr().is_terminal() && anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

fn width() -> usize {
    let terminal = || Some(usize::from(crate::sys::terminal::size(&io::stderr()).ok()?.ws_col));
    env::columns().or_else(terminal).filter(|columns| *columns > 20).unwrap_or(100).min(140)
}
