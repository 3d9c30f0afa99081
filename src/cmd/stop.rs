//! `pier stop`: ends sessions, gently first.

use std::time::Duration;

use clap::Args;

use super::sessions;
use super::{Global, Outcome, owner};
use crate::diag::{Exit, Failure};
use crate::session::registry::Session;
use crate::session::stop::{self, Stopped};
use crate::ui;
use crate::util::text::parse_duration;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier stop k3\n  pier stop --all --time 30s")]
pub struct Stop {
    /// The sessions, by the beginning of their names.
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "SESSION")]
    sessions: Vec<String>,
    /// Every session that is running.
    #[arg(long)]
    all: bool,
    /// How long the command may take to end before it is killed.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    time: Duration,
}

pub fn run(global: &Global, args: &Stop) -> Outcome {
    let state = owner::of_sessions(global)?.state;
    let live = sessions::live(&state)?;
    let chosen: Vec<&Session> = if args.all {
        live.iter().collect()
    } else {
        args.sessions.iter().map(|wanted| sessions::find(&live, wanted)).collect::<Result<_, _>>()?
    };
    // All are asked before one is waited for.
    let asked: Vec<_> = chosen.iter().map(|session| stop::ask(&state, session, args.time)).collect();
    let mut failed: Option<Failure> = None;
    for (session, asked) in chosen.iter().zip(asked) {
        match asked.and_then(|asked| asked.wait(&state)) {
            Ok(Stopped::Ended(_) | Stopped::Gone) => ui::answer(&session.id),
            Ok(Stopped::Killed) => {
                ui::warn(&format!("the supervisor of `{}` did not answer and was killed", session.id));
                ui::answer(&session.id);
            }
            Err(error) => match &mut failed {
                None => failed = Some(error.into()),
                Some(failed) => failed.report.problems.extend(Failure::from(error).report.problems),
            },
        }
    }
    failed.map_or(Ok(Exit::Done), Err)
}
