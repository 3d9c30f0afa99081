//! `pier logs`: what a detached session has said.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

use camino::Utf8Path;
use clap::Args;

use super::sessions;
use super::{Global, Outcome, owner};
use crate::diag::{Exit, Failure};
use crate::session::{log, place};
use crate::util::fs::open_without_links;
use crate::util::text::escape_lines;

/// How often a growing file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(
    after_help = "The newest 8 to 16 MiB of a session's output are kept, for the last 50 detached sessions.\n\n\
    Examples:\n  pier logs k3\n  pier logs -f k3"
)]
pub struct Logs {
    /// The session, by the beginning of its name; one that has ended too.
    session: String,
    /// Go on until the session ends.
    #[arg(short, long)]
    follow: bool,
}

pub fn run(global: &Global, args: &Logs) -> Outcome {
    let state = owner::of_sessions(global)?.state;
    let names = log::sessions(&state);
    let matching: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| name.starts_with(&args.session)).collect();
    if matching.is_empty()
        && let Ok(session) = sessions::find(&sessions::live(&state)?, &args.session)
    {
        let message = format!("the output of session `{}` goes to its own terminal", session.id);
        return Err(Failure::new(Exit::Failed, "session::no-terminal", message)
            .help("only sessions that were started with `--detach` keep their output"));
    }
    let session = matching[sessions::only(&args.session, matching.iter().copied())?];
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            "session::output",
            format!("cannot read the output of `{session}`: {error}"),
        )
    };
    print(&state, session, args.follow).map_err(failed)?;
    Ok(Exit::Done)
}

/// Prints both halves, and what is added while the session lives.
fn print(state: &Utf8Path, session: &str, follow: bool) -> std::io::Result<()> {
    let [older, newer] = log::files(state, session);
    let mut printer = Printer::new();
    if let Ok(mut file) = open_without_links(&older.as_path().canonicalize_utf8().unwrap_or(older)) {
        printer.all_of(&mut file)?;
    }
    let newer = newer.canonicalize_utf8()?;
    let mut file = open_without_links(&newer)?;
    loop {
        // Asked first: what was written before the end is read after it.
        let lives = follow && place::lives(state, session);
        let read_on = printer.all_of(&mut file)?;
        if !lives || !read_on {
            return Ok(());
        }
        if is_replaced(&file, &newer) {
            // The rest of the old file has been read: nobody adds to it after its name is gone.
            printer.all_of(&mut file)?;
            file = open_without_links(&newer)?;
            continue;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn is_replaced(file: &File, path: &Utf8Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(there)) => open.ino() != there.ino(),
        // Between the two steps of a rotation.
        _ => false,
    }
}

/// Bytes as they are into a file or a pipe, and nothing that steers a terminal onto one.
struct Printer {
    terminal: bool,
    strip: anstream::adapter::StripBytes,
    /// The beginning of a character.
    partial: Vec<u8>,
}

impl Printer {
    fn new() -> Self {
        Printer {
            terminal: std::io::stdout().is_terminal(),
            strip: anstream::adapter::StripBytes::new(),
            partial: Vec::new(),
        }
    }

    /// Prints up to the end of the file; false when nobody reads any more.
    fn all_of(&mut self, file: &mut File) -> std::io::Result<bool> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                return Ok(true);
            }
            let shown =
                if self.terminal { self.harmless(&buffer[..length]) } else { buffer[..length].to_vec() };
            let mut out = std::io::stdout().lock();
            if out.write_all(&shown).and_then(|()| out.flush()).is_err() {
                return Ok(false);
            }
        }
    }

    fn harmless(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut plain = std::mem::take(&mut self.partial);
        plain.extend(self.strip.strip_next(bytes).flatten());
        // A character that is cut off waits for its rest.
        if let Err(error) = std::str::from_utf8(&plain)
            && error.error_len().is_none()
        {
            self.partial = plain.split_off(error.valid_up_to());
        }
        let text = String::from_utf8_lossy(&plain).replace('\r', "");
        escape_lines(&text).into_bytes()
    }
}
