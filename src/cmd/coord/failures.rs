//! What went wrong with the coordination repository, for people.

use crate::coord::domain::Waits;
use crate::coord::transition::Refusal;
use crate::coord::verdict::{Away, is_full, lock_in};
use crate::coord::{domain, store};
use crate::diag::{Exit, Failure};
use crate::util::text::{escape, shell_word};

/// What helps where the disk is full.
const FULL: &str = "nothing has happened; make room where the clone is, and call it again";

/// What helps where a lock of git is in the way.
fn rm(path: &str) -> String {
    format!("when no git works there any more, `rm {}`, and call it again", shell_word(path))
}

/// What helps where the history of the remote is another one now: what waits in the clone is not dropped unseen.
fn rewritten(before: &str, waits: &Waits) -> String {
    let Waits { commits, files } = waits;
    if commits.is_empty() && *files == 0 {
        return "nothing has changed; when that was meant, `git fetch` and `git reset --hard @{upstream}` in the clone take it".to_owned();
    }
    let mut all: Vec<String> =
        commits.iter().take(5).map(|subject| format!("\"{}\"", escape(subject))).collect();
    if commits.len() > all.len() {
        all.push(format!("{} more commits", commits.len() - all.len()));
    }
    if *files > 0 {
        all.push(format!("{files} {} in no commit", if *files == 1 { "file" } else { "files" }));
    }
    format!(
        "nothing has changed; when that was meant, `git fetch` and `git rebase --autostash --onto @{{upstream}} {before}` in the clone take \
         it and keep what waits here: {}. `git reset --hard` drops that",
        all.join(", ")
    )
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let message = escape(&error.to_string());
        match error {
            store::Error::NoRepository { .. } => Failure::new(Exit::Failed, "coord::none", message)
                .help("`pier coord bootstrap` makes one, `pier coord clone` takes one that is there"),
            store::Error::None { .. } | store::Error::Many { .. } => {
                Failure::new(Exit::Failed, "coord::item", message).help("`pier coord list` has the ids")
            }
            store::Error::Twins { .. } => Failure::new(Exit::Failed, "coord::item", message)
                .help("remove the copy, or give it an id and a name of its own; `git log -- FILE` in the clone says which came first"),
            store::Error::Read { .. } | store::Error::TooMany { .. } => {
                Failure::new(Exit::Failed, "coord::files", message)
                    .help("`pier coord lint` names every item with its faults")
            }
        }
    }
}

impl From<Away> for Failure {
    fn from(away: Away) -> Self {
        let text = escape(&away.to_string());
        let failure = Failure::new(Exit::Failed, "coord::remote", text.clone());
        match away {
            Away::Full(_) => Failure::new(Exit::Failed, "coord::files", text).help(FULL),
            Away::Busy(_) => failure.help("nothing has changed; try again"),
            Away::Unreachable(_) => {
                failure.help("nothing has changed in the clone; try again when it can be reached")
            }
            Away::Denied(_) => failure
                .help("nothing has changed; see to your key or password: `git ls-remote` has to answer in the clone"),
        }
    }
}

impl From<domain::Error> for Failure {
    fn from(error: domain::Error) -> Self {
        use domain::Error;
        let message = escape(&error.to_string());
        let failed = |code| Failure::new(Exit::Failed, code, message.clone());
        if let (Error::Behind(_) | Error::Git(_), Some(path)) = (&error, lock_in(&error.to_string())) {
            let has_happened =
                "what was asked for has happened, and `pier coord pull` brings it; before that, ";
            let before = if matches!(error, Error::Behind(_)) { has_happened } else { "" };
            return failed("coord::clone").help(format!("{before}{}", rm(path)));
        }
        match error {
            Error::Behind(_) => failed("coord::files").help("what was asked for has happened; make room or look at the owners of the clone, and `pier coord pull`"),
            Error::Git(_) if is_full(&message) => failed("coord::files").help(FULL),
            Error::Store(error) => error.into(),
            Error::Git(error) => error.into(),
            Error::Refused(Refusal::NotForRole { who, .. }) => failed("coord::refused").help(who),
            Error::Refused(_) => failed("coord::refused").help("`pier coord log ID` shows what has happened to it"),
            Error::Subject { .. } => Failure::new(Exit::Usage, "coord::usage", message).help("say it in fewer words"),
            Error::Broken { is_conflict: true, path, .. } => failed("coord::broken").help(format!(
                "nothing has changed; in `{}`, keep what both sides say has happened, in the order of the times, and remove the marks",
                escape(path.as_str())
            )),
            Error::Broken { .. } => failed("coord::broken").help(
                "nothing has changed; mend that line: a value with a colon or a quote in it stands in quotes. `pier coord lint` has all",
            ),
            Error::Link { .. } => failed("coord::broken").help("nothing has changed; put the file itself in its place"),
            Error::Name { .. } => failed("coord::files").help("give the file another name"),
            Error::Lock(_) | Error::Write { .. } => failed("coord::files").help("nothing was pushed; look at the disk and the owners of the clone"),
            Error::Detached => failed("coord::clone").help("`git switch main` in the clone"),
            Error::Unfinished { what } => failed("coord::clone")
                .help(format!("nothing has changed; `git {what} --continue` or `git {what} --abort` in the clone")),
            Error::Locked { path, .. } => failed("coord::clone").help(format!("nothing has changed; {}", rm(path.as_str()))),
            Error::Away(away) => away.into(),
            Error::Declined { .. } => failed("coord::remote").help("nothing has changed; ask whoever keeps the remote"),
            Error::Rewritten { before, waits } => failed("coord::remote").help(rewritten(&before, &waits)),
            Error::Conflict { .. } => failed("coord::conflict")
                .help("nothing has changed; `git pull --rebase` in the clone, and keep the events of both"),
            Error::Repository(_) => failed("coord::repo").help("`pier coord repo list` has them"),
            Error::Other(_) => failed("coord::usage"),
        }
    }
}
