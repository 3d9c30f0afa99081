//! `pier attach`: this terminal in front of a detached session.

use clap::Args;

use super::sessions;
use super::{Global, Outcome, owner};
use crate::diag::{Exit, Failure};
use crate::session::visit::{self, Visit};
use crate::ui;

#[derive(Debug, Args)]
#[command(
    after_help = "Ctrl-] and then d leaves; the session goes on. Ctrl-] twice is Ctrl-] itself.\n\nExamples:\n  \
    pier up --detach\n  pier attach k3"
)]
pub struct Attach {
    /// The session, by the beginning of its name.
    session: String,
}

pub fn run(global: &Global, args: &Attach) -> Outcome {
    let state = owner::of_sessions(global)?.state;
    let live = sessions::live(&state)?;
    let session = sessions::find(&live, &args.session)?;
    if !session.detached {
        let message = format!("session `{}` is in front of another terminal", session.id);
        return Err(Failure::new(Exit::Failed, "session::no-terminal", message)
            .help("only sessions that were started with `--detach` can be attached to"));
    }
    match visit::attach(&state, session)? {
        Visit::Ended(0) => Ok(Exit::Done),
        Visit::Ended(code) => Ok(Exit::Child(code)),
        Visit::Left => {
            ui::say(&format!("\r\nleft; `pier attach {}` comes back", session.id));
            Ok(Exit::Done)
        }
        Visit::Replaced => {
            ui::say("\r\nanother terminal has attached");
            Ok(Exit::Done)
        }
        Visit::Lost => {
            ui::warn("the session was killed from outside");
            Ok(Exit::Child(137))
        }
    }
}
