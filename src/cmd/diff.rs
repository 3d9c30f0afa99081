//! `pier diff`: what a session committed, against the branches of the repository. All of it is the agent's text.

use clap::Args;
use serde::Serialize;

use super::project;
use super::settle;
use super::workspaces::meant::{self, Around};
use super::{Global, Outcome};
use crate::backend::git::{Error, Settings};
use crate::diag::{Exit, Failure};
use crate::session::shadow::references::References;
use crate::session::shadow::settle::Host;
use crate::ui;
use crate::util::text::{escape, escape_lines};
use crate::workspace::Workspace;

/// The most commits that are listed for one branch.
const MOST: &str = "--max-count=200";

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier diff            commits and changes of the newest session\n  \
    pier diff --stat     only which files changed\n  pier diff k7w --json")]
pub struct Diff {
    /// The session, or the start of its name; the newest one otherwise.
    session: Option<String>,
    /// Only how much of which files changed.
    #[arg(long)]
    stat: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    session: String,
    references: Vec<Reference>,
    /// Whether a clone has changes that no commit has.
    uncommitted: bool,
}

#[derive(Debug, Serialize)]
struct Reference {
    /// Below `refs/pier/SESSION`.
    name: String,
    tip: String,
    /// What it is compared with: the host's branch of that name, or the commit that is checked out.
    base: Option<String>,
    commits: Vec<Commit>,
    files: Vec<File>,
}

#[derive(Debug, Serialize)]
struct Commit {
    id: String,
    author: String,
    subject: String,
}

#[derive(Debug, Serialize)]
struct File {
    path: String,
    /// `None` for files that are not text.
    added: Option<u64>,
    removed: Option<u64>,
}

pub fn run(global: &Global, args: &Diff) -> Outcome {
    let nearest = meant::around(&project::current_directory()?)?;
    if let Around::Workspace(found) = nearest {
        let of_commits = args.stat || args.session.is_some();
        if found.session.no_mount && !of_commits {
            return super::sync::diff(global, &found, args.json);
        }
        // Where one directory is both, the sessions of the project may have commits.
        if !found.root.join(project::FILE).exists() {
            return Err(no_commits(&found, of_commits));
        }
    }
    let found = settle::open(global, args.session.as_deref())?;
    let imported = &found.imported;
    let host = Host { git: &found.git, record: &imported.record };
    let here = host.references()?;
    let mut references = Vec::new();
    for (name, tip) in &imported.references {
        references.push(reference(&host, &here, name, tip)?);
    }
    if args.json {
        let session = imported.session.clone();
        ui::json(&Answer { session, references, uncommitted: imported.uncommitted });
        return Ok(Exit::Done);
    }
    for reference in &references {
        ui::answer(&heading(&imported.session, reference));
        for Commit { id, author, subject } in &reference.commits {
            ui::answer(&format!("  {} {} ({})", &id[..12.min(id.len())], escape(subject), escape(author)));
        }
        let kind = if args.stat { "--stat=100" } else { "--patch-with-stat" };
        let text = compare(&host, reference.base.as_deref(), &reference.tip, &[kind])?;
        ui::write_out(&escape_lines(&String::from_utf8_lossy(&text)));
    }
    if imported.uncommitted {
        ui::say("the clone has changes that no commit has");
    }
    Ok(Exit::Done)
}

/// Says that the commits of a workspace are in its own repository already.
fn no_commits(found: &Workspace, of_commits: bool) -> Failure {
    let root = escape(found.root.as_str());
    let (message, help) = if found.session.no_mount && of_commits {
        let message = format!("the workspace `{root}` has no sessions with commits of their own");
        (message, "`pier diff` alone says which files differ")
    } else {
        let message = format!("the files of `{root}` are the workspace's own: there is nothing to compare");
        (message, "`git diff` shows what an agent has changed since a commit")
    };
    Failure::new(Exit::Usage, "workspace::usage", message).help(help)
}

fn heading(session: &str, reference: &Reference) -> String {
    let name = settle::short(&reference.name);
    let base = reference.base.as_deref().map_or("nothing", |base| &base[..12.min(base.len())]);
    format!("{name} of {session}: {} commits since {base}", reference.commits.len())
}

fn reference(host: &Host<'_>, here: &References, name: &str, tip: &str) -> Result<Reference, Error> {
    let base = here.ids.get(&format!("refs/{name}")).map(String::as_str).or_else(|| here.tip());
    let mut words = vec!["log", "-z", MOST, "--no-show-signature", "--format=%H%n%an%n%s", tip];
    let not = base.map(|base| format!("^{base}"));
    words.extend(not.as_deref());
    words.push("--");
    let log = String::from_utf8_lossy(&host.run(&words)?).into_owned();
    let commits = log.split('\0').filter_map(|commit| {
        let mut lines = commit.splitn(3, '\n').map(str::to_owned);
        Some(Commit { id: lines.next()?, author: lines.next()?, subject: lines.next()? })
    });
    let numbers = compare(host, base, tip, &["--numstat", "-z"])?;
    let numbers = String::from_utf8_lossy(&numbers).into_owned();
    let files = numbers.split('\0').filter_map(|line| {
        let mut fields = line.splitn(3, '\t');
        let (added, removed) = (fields.next()?.parse().ok(), fields.next()?.parse().ok());
        Some(File { path: fields.next()?.to_owned(), added, removed })
    });
    Ok(Reference {
        name: name.to_owned(),
        tip: tip.to_owned(),
        base: base.map(str::to_owned),
        commits: commits.collect(),
        files: files.collect(),
    })
}

/// Compares a commit with what it has in common with the base.
fn compare(host: &Host<'_>, base: Option<&str>, tip: &str, how: &[&str]) -> Result<Vec<u8>, Error> {
    let mut words =
        vec!["diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--submodule=short"];
    words.extend(how);
    let empty = Host::empty_tree(tip);
    let Some(base) = base else {
        words.extend([empty, tip, "--"]);
        return host.run(&words);
    };
    // A stash or a tag may have nothing in common with what is checked out.
    let answer = host.git.ask(host.repository(), Settings::None, &["merge-base", base, tip], b"")?;
    let common = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    words.extend([if common.is_empty() { empty } else { common.as_str() }, tip, "--"]);
    host.run(&words)
}
