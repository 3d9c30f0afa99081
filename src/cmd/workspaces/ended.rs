//! A workspace that does not run: not before a command, or not any more, or not at all for what is in its way.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use camino::Utf8Path;

use super::Prepared;
use crate::backend::docker;
use crate::backend::docker::inside::{Entry, Inside};
use crate::backend::docker::kept::COMMANDS;
use crate::backend::sandbox;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::session;
use crate::sys::socket;
use crate::util::text::escape;
use crate::workspace::LOGS;

/// How long a workspace may take to be gone after the last command in it.
const GOES_WITHIN: Duration = Duration::from_millis(500);

/// Refuses what needs a workspace that runs.
pub fn not_running(root: &Utf8Path) -> Failure {
    let message = format!("the workspace `{root}` is not running");
    Failure::new(Exit::NotSetUp, "workspace::not-running", message).help("`pier start` starts it")
}

/// Returns what in its image is in the way of a workspace that has not started: pier mounts a home there, and the places of records.
pub fn in_the_way(prepared: &Prepared, environment: &Environment) -> Option<Failure> {
    let Prepared { plan, engine, ground, .. } = prepared;
    let mut inside = Inside::new(engine.clone(), &ground.image.digest, &environment.cache);
    let own = LOGS.iter().map(|(_, at)| Utf8Path::new(*at)).chain([plan.user.home.as_path()]);
    for at in own {
        let above: Vec<&Utf8Path> = at.ancestors().filter(|path| path.parent().is_some()).collect();
        for path in above.into_iter().rev() {
            let what = match inside.find(path).ok()? {
                (real, Entry::Directory | Entry::Missing) if real == path => continue,
                (real, Entry::Directory) => format!("a link to `{}`", escape(real.as_str())),
                _ => "no directory".to_owned(),
            };
            let reference = escape(&ground.reference);
            let message = format!(
                "`{path}` of the image `{reference}` is {what}, and a workspace needs a directory there"
            );
            let help =
                format!("make it one in the image: `RUN rm -f {path} && mkdir {path}` in its Dockerfile");
            return Some(Failure::new(Exit::Usage, "image::place", message).help(help));
        }
    }
    None
}

/// Says whether nobody answered in a workspace: it does not run, or was stopped in this moment.
pub fn is_gone(error: &session::Error) -> bool {
    match error {
        session::Error::Launch(sandbox::Error::SetUp { error, .. }) => matches!(
            error.kind(),
            ErrorKind::NotFound
                | ErrorKind::ConnectionRefused
                | ErrorKind::BrokenPipe
                | ErrorKind::ConnectionReset
        ),
        session::Error::Launch(sandbox::Error::Docker(docker::Error::Ended)) => true,
        _ => false,
    }
}

/// Says whether a workspace has ended together with a command in it.
pub fn has_ended(directory: &Utf8Path) -> bool {
    let end = Instant::now() + GOES_WITHIN;
    while socket::connect_in(directory, COMMANDS).is_ok() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}
