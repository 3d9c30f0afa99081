//! `pier coord new`.

use camino::Utf8PathBuf;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::super::{Global, Outcome};
use super::context::{Context, knob};
use super::scope;
use super::step::Flags;
use crate::coord::domain::{Arrived, Change, Way, Write};
use crate::coord::draft::{self, Draft};
use crate::coord::kind::{self, Kind, Shape};
use crate::coord::store::{Part, Store};
use crate::coord::{domain, id};
use crate::diag::{Exit, Failure};
use crate::ui;
use crate::util::text::escape;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier coord new \"Crash on an empty file\"\n  pier coord new --type issue --category bug --priority high \"Title\"\n  \
    pier coord new --type todo --testable no --testability-note \"a chore\" \"Title\"\n  pier coord new --no-commit \"Title\" && pier coord push\n\n\
    Prints the file, whose name is the id. An item that a test proves has it in `tests/items/` of the project, which \
    `pier coord lint` asks for and `pier coord test` runs; where no test can, `--testable no` and the reason say so."
)]
pub struct New {
    #[command(flatten)]
    flags: Flags,
    /// Write the file alone; `pier coord push` commits it.
    #[arg(long)]
    no_commit: bool,
    /// The beginning of its id, where the repository does not say it.
    #[arg(long, value_name = "KEY")]
    project_key: Option<String>,
    /// `issue`, `todo`, `note`, `decision`, `functional-requirement`, or another.
    #[arg(long = "type", value_name = "TYPE", default_value = "issue")]
    kind: String,
    /// Of an issue: `bug`, `feature-request`, `task`, `question`, `improvement`, or another.
    #[arg(long, value_name = "NAME")]
    category: Option<String>,
    /// Its first status; issues are `open`.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Such as `high`, `medium` or `low`.
    #[arg(long, value_name = "NAME", default_value = "medium")]
    priority: String,
    /// Whose it is.
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// Whether a test of its own proves it.
    #[arg(long, value_name = "YES|NO", default_value = "yes", value_parser = ["yes", "no"])]
    testable: String,
    /// Why not.
    #[arg(long, value_name = "TEXT")]
    testability_note: Option<String>,
    /// An id of your own.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The repository of the domain that it is about.
    #[arg(long, value_name = "ID")]
    repo_id: Option<String>,
    /// Its text; a frame to be filled in otherwise.
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// What it is about.
    #[arg(required = true)]
    title: Vec<String>,
}

#[derive(Serialize)]
struct Made {
    id: String,
    path: Utf8PathBuf,
    pushed: bool,
}

fn usage(message: &str) -> Failure {
    Failure::new(Exit::Usage, "coord::usage", escape(message))
}

pub fn run(global: &Global, args: &New) -> Outcome {
    let kind = Kind::find(&args.kind).map_err(|why| usage(&why))?;
    let title = draft::title(&args.title.join(" "));
    if title.is_empty() {
        return Err(usage("the title is empty"));
    }
    if args.category.is_some() && !kind.is_issue() {
        return Err(usage("only issues have a category"));
    }
    if kind.is_issue() && args.status.as_ref().is_some_and(|status| status != kind.status) {
        return Err(usage("an issue begins open").help("`pier coord claim` and `pier coord done` go on"));
    }
    let testable = args.testable == "yes";
    if !testable && args.testability_note.as_ref().is_none_or(|note| note.trim().is_empty()) {
        return Err(usage("`--testable no` needs `--testability-note`").help("say why no test can prove it"));
    }
    let context = Context::open(global, &args.flags.common)?;
    let repo = if kind.is_issue() { scope::place(&context, args.repo_id.as_deref())? } else { None };
    let key = key(&context, repo.as_deref(), args.project_key.as_deref())?;
    let project = project(&context);
    let draft = Draft {
        kind: &kind,
        category: args.category.as_deref(),
        status: args.status.as_deref(),
        project: &project,
        title: &title,
        owner: args.owner.as_deref().unwrap_or_default(),
        priority: &args.priority,
        testable,
        note: args.testability_note.as_deref(),
        body: args.body.as_deref(),
    };
    let mut tries = 0;
    let mut change = |store: &Store| {
        let (id, path) = place(store, &kind, repo.as_deref(), &key, args.id.as_deref(), tries)?;
        tries += 1;
        let text = draft.text(&id, &context.actor, Timestamp::now());
        let writes = vec![Write { path: path.clone(), text: Some(text) }];
        Ok(Change { subject: format!("Add {id}"), writes, value: (id, path) })
    };
    let ((id, path), arrived) = context.hold(|domain| {
        if args.no_commit {
            let made = change(domain.store)?;
            domain.write(&made.writes)?;
            return Ok((made.value, Arrived::Here));
        }
        let way = if args.flags.no_push { Way::Local } else { Way::Push };
        domain.change(way, !args.flags.no_pull, &mut change)
    })?;
    context.report(&arrived);
    if args.flags.json {
        ui::json(&Made { id, path, pushed: arrived == Arrived::Pushed });
    } else {
        ui::answer(&context.shown(&path));
    }
    Ok(Exit::Done)
}

/// Returns an id that nobody has, and its place. The first try counts from 1, as people expect; those after it from anywhere.
fn place(
    store: &Store,
    kind: &Kind,
    repo: Option<&str>,
    key: &str,
    given: Option<&str>,
    tries: u32,
) -> Result<(String, Utf8PathBuf), domain::Error> {
    // Names are enough: files are called by their ids.
    let part = if kind.is_issue() { Part::Issues } else { Part::Directory(&kind.directory) };
    let names: std::collections::HashSet<String> =
        store.paths(part)?.iter().filter_map(|path| path.file_stem().map(str::to_owned)).collect();
    let id = match given {
        Some(id) if !id::is_id(id) => {
            return Err(domain::Error::Other(format!("`{}` can be no id", escape(id))));
        }
        Some(id) if names.contains(id) => {
            return Err(domain::Error::Other(format!("there is a `{id}` already")));
        }
        Some(id) => id.to_owned(),
        None => {
            let from = if tries == 0 { 1 } else { domain::any_number() };
            id::fresh(key, &kind.code, Timestamp::now(), from, &|id| names.contains(id))
        }
    };
    let path = Store::place(kind, repo, &id);
    debug_assert!(kind.shape != Shape::Body || path.starts_with(&kind.directory));
    Ok((id, path))
}

/// Returns the beginning of ids: what the repository says counts.
pub fn key(context: &Context, repo: Option<&str>, given: Option<&str>) -> Result<String, Failure> {
    let of_repo = repo.and_then(|repo| context.front(&format!("repos/{repo}/REPO.md"), "item_key"));
    let stored = of_repo.or_else(|| context.front("PROJECT.md", "item_key")).map(|key| id::key(&key));
    match (given.map(id::key), stored) {
        (Some(given), Some(stored)) if given != stored => {
            Err(usage(&format!("the repository's key is `{stored}`, and not `{given}`"))
                .help("leave `--project-key` out"))
        }
        (_, Some(stored)) => Ok(stored),
        (Some(given), None) => Ok(given),
        (None, None) => {
            let named = knob(&context.environment, "PROJECT_KEY").map(str::to_owned);
            Ok(id::key(&named.unwrap_or_else(|| project(context))))
        }
    }
}

pub fn project(context: &Context) -> String {
    let stored = context.front("PROJECT.md", "project");
    let named = || knob(&context.environment, "PROJECT").map(str::to_owned);
    stored.or_else(named).unwrap_or_else(|| kind::sanitised(context.project.file_name().unwrap_or("project")))
}
