//! `pier merge`: branches of the repository take what a session committed.

use clap::Args;

use super::settle::{self, Found};
use super::{Global, Outcome};
use crate::backend::git::{Error, Settings};
use crate::diag::{Exit, Failure};
use crate::session::shadow::import::namespace;
use crate::session::shadow::settle::{Host, How, Reason, Settled, nested, settle};
use crate::ui;
use crate::util::git::Target;
use crate::util::text::escape;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier merge           the newest session\n  pier merge k7w       the session whose name starts so"
)]
pub struct Merge {
    /// The session, or the start of its name; the newest one otherwise.
    session: Option<String>,
}

pub fn run(global: &Global, args: &Merge) -> Outcome {
    let opened = settle::open(global, args.session.as_deref())?;
    let merged = merge(&opened);
    let Found { project, imported, kept, .. } = opened;
    let settled = merged?;
    // Its commits are the host's by now; only what no commit has would be lost.
    if let Some((place, _)) = kept.filter(|_| !imported.uncommitted) {
        place.discard();
    }
    let id = &imported.session;
    settle::forget(&project, &imported.record, id);
    let done: Vec<Settled> = settled.iter().filter(|one| !is_open(one)).cloned().collect();
    if let Some(line) = settle::render(id, &done) {
        ui::answer(line.trim_start_matches("git: "));
    }
    if imported.uncommitted {
        ui::warn(&format!("the clone of {id} has changes that no commit has; `pier drop {id}` removes them"));
    }
    if !settled.iter().any(is_open) {
        return Ok(Exit::Done);
    }
    let mut message = format!("not everything of {id} was merged:");
    for Settled { name, how } in settled.iter().filter(|one| is_open(one)) {
        if let How::Left(reason) = how {
            message.push_str(&format!("\n  {}: {}", settle::short(name), escape(&reason.to_string())));
        }
    }
    Err(Failure::new(Exit::Failed, "git::merge", message).help(format!(
        "`pier diff {id}` shows it, and `git merge refs/pier/{id}/heads/…` is always possible"
    )))
}

/// Says whether a name is neither merged nor meant to be taken by another command.
fn is_open(settled: &Settled) -> bool {
    matches!(settled.how, How::Left(_)) && settled.name != "stash"
}

fn merge(opened: &Found) -> Result<Vec<Settled>, Failure> {
    let Found { git, imported, .. } = opened;
    let mut settled = settle(git, imported)?;
    let host = Host { git, record: &imported.record };
    let here = host.references()?;
    for Settled { name, how } in &mut settled {
        let How::Left(reason @ (Reason::Diverged | Reason::CheckedOut)) = how else { continue };
        let (Some(new), Some(old)) = (imported.references.get(name.as_str()), here.tip()) else {
            continue;
        };
        if here.head != Some(Target::Reference(format!("refs/{name}"))) {
            if *reason == Reason::Diverged && name.starts_with("heads/") {
                let help =
                    format!("it has other commits on the host: `git switch {}` first", settle::short(name));
                *how = How::Left(Reason::Other(help));
            }
            continue;
        }
        if let Some(reason) = nested::reason(&host, Some(old), new)? {
            *how = How::Left(Reason::Other(reason));
            continue;
        }
        *how = with_files(&host, &imported.session, name, *reason == Reason::CheckedOut)?;
        if *how == How::Forwarded {
            host.remove(&imported.session, &imported.references, &[name])?;
        }
    }
    Ok(settled)
}

/// Merges into the branch that is checked out, files included, with the user's own name and settings.
fn with_files(host: &Host<'_>, session: &str, name: &str, forward: bool) -> Result<How, Error> {
    let left = |reason: &str| How::Left(Reason::Other(reason.to_owned()));
    let words = ["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"];
    if !host.run(&words)?.is_empty() {
        return Ok(left("the working tree has changes: commit or stash them first"));
    }
    let reference = format!("{}{name}", namespace(session));
    let message = format!("Merge the session {session}");
    let words: &[&str] = if forward {
        &["merge", "--quiet", "--ff-only", &reference]
    } else {
        &["merge", "--quiet", "--no-edit", "-m", &message, &reference]
    };
    let answer = host.git.ask(host.repository(), Settings::User, words, b"")?;
    if answer.code == Some(0) {
        return Ok(How::Forwarded);
    }
    let said =
        format!("{}{}", String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
    if host.record.directory.join("MERGE_HEAD").exists() {
        return Ok(left(
            "both sides changed the same lines: resolve them and commit, or `git merge --abort`",
        ));
    }
    Ok(left(&format!("git refused: {}", said.trim().replace('\n', "; "))))
}
