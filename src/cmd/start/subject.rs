//! What a workspace is asked to be of, and what one that is there is of.

use std::fs::File;

use camino::Utf8PathBuf;

use super::usage;
use crate::cmd::workspaces::Remembered;
use crate::cmd::workspaces::agents::Wanted;
use crate::cmd::workspaces::base::{Base, Loaded};
use crate::cmd::workspaces::remote::Remote;
use crate::diag::Failure;
use crate::env::Environment;
use crate::util::text::escape;
use crate::workspace::Session;

/// The key of a session's file that says which repository its task is of.
pub const REMOTE: &str = "task_url";

/// What a new workspace is asked to be of.
#[derive(Clone)]
pub enum Subject {
    Image(String),
    /// The directory of a task.
    Task(Utf8PathBuf),
    Remote(Remote),
}

impl Subject {
    /// Keeps what is fetched for it where it is, as long as the answer is held.
    pub fn keep(&self, environment: &Environment) -> Result<Option<File>, Failure> {
        match self {
            Subject::Remote(_) => Remote::keep(environment).map(Some),
            Subject::Image(_) | Subject::Task(_) => Ok(None),
        }
    }

    pub fn base(&self, environment: &Environment) -> Result<Base, Failure> {
        Ok(match self {
            Subject::Remote(remote) => Base::Task(Box::new(Loaded::read(&remote.fetch(environment)?)?)),
            Subject::Image(reference) => Base::Image(reference.clone()),
            Subject::Task(directory) => Base::Task(Box::new(Loaded::read(directory)?)),
        })
    }
}

/// Returns the subject of a workspace that is there, where what is asked for now is not another task.
pub fn of(session: &Session, asked: Option<&Subject>) -> Result<Subject, Failure> {
    let another = |what: &str| {
        let message = format!("the workspace is of a different task: {what}");
        Err(usage(&message, "use another directory for this one"))
    };
    match (asked, &session.image) {
        (Some(Subject::Image(image)), Some(_)) | (None, Some(image)) => Ok(Subject::Image(image.clone())),
        (None, None) => Ok(Subject::Task(session.task_dir.clone())),
        (Some(Subject::Task(_) | Subject::Remote(_)), Some(image)) => {
            another(&format!("none, on the image `{}`", escape(image)))
        }
        // Whichever commit it was: it goes on as it began.
        (Some(Subject::Remote(asked)), None) if session.others.get(REMOTE) == Some(&asked.text().into()) => {
            Ok(Subject::Task(session.task_dir.clone()))
        }
        (Some(Subject::Image(_) | Subject::Remote(_)), None) => {
            another(&format!("`{}`", escape(session.task_dir.as_str())))
        }
        (Some(Subject::Task(asked)), None) => {
            if asked.canonicalize_utf8().ok() == session.task_dir.canonicalize_utf8().ok() {
                return Ok(Subject::Task(session.task_dir.clone()));
            }
            another(&format!("`{}`", escape(session.task_dir.as_str())))
        }
    }
}

/// Returns the agents of a workspace, with one more where it is asked for.
pub fn agents(
    session: &Session,
    kept: Option<&Remembered>,
    more: Option<&str>,
) -> Result<Vec<Wanted>, Failure> {
    let kept = kept.map(|kept| kept.agents.as_slice()).unwrap_or_default();
    let mut all: Vec<Wanted> = Vec::new();
    let version = |name: &String| {
        let known = kept.iter().find(|text| text.split_once('@').is_some_and(|(own, _)| own == name));
        known.unwrap_or(name).clone()
    };
    for text in session.agents.iter().map(version).chain(more.map(str::to_owned)) {
        let wanted = Wanted::parse(&text)?;
        match all.iter_mut().find(|known| known.name == wanted.name) {
            // What is named now goes before what was there.
            Some(known) => *known = wanted,
            None => all.push(wanted),
        }
    }
    Ok(all)
}
