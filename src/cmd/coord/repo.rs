//! `pier coord repo`: the repositories of a domain; and `pier coord rules upgrade`.

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::super::{Global, Outcome};
use super::context::{Common, Context};
use crate::backend::git::shared::Call;
use crate::coord::domain::{Change, Error, Way, Write};
use crate::coord::item::Item;
use crate::coord::registry::{self, Repo};
use crate::coord::store::{Part, Store};
use crate::coord::{id, scaffold};
use crate::diag::{Exit, Failure};
use crate::ui;
use crate::util::text::{escape, escape_lines};

const EXAMPLES: &str = "Examples:\n  pier coord repo list\n  pier coord repo add tools --remote git@example.com:team/tools.git\n  \
    pier coord repo rename tools toolbox\n  pier coord repo migrate-root-issues tools";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Repos {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them.
    List(List),
    /// Print what is known of one.
    Show(One),
    /// Give one a place of its own.
    Add(Add),
    /// Give one another id; the old one stays known.
    Rename(Rename),
    /// Say that one is over.
    Retire(Retire),
    /// Move issues of no repository into the place of one.
    MigrateRootIssues(One),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    common: Common,
    /// All of them; so it is where nothing is said.
    #[arg(long, group = "which")]
    all: bool,
    /// Those that are active.
    #[arg(long, group = "which")]
    active: bool,
    /// Those that are retired.
    #[arg(long, group = "which")]
    retired: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct One {
    #[command(flatten)]
    common: Common,
    /// Commit in the clone alone.
    #[arg(long)]
    no_push: bool,
    /// The repository.
    id: String,
}

#[derive(Debug, Args)]
struct Add {
    #[command(flatten)]
    one: One,
    /// Where it is.
    #[arg(long, value_name = "URL")]
    remote: Option<String>,
    /// The beginning of its ids; that of the domain otherwise.
    #[arg(long, value_name = "KEY")]
    project_key: Option<String>,
}

#[derive(Debug, Args)]
struct Rename {
    #[command(flatten)]
    one: One,
    /// Its new id.
    new: String,
}

#[derive(Debug, Args)]
struct Retire {
    #[command(flatten)]
    one: One,
    /// Also where work is left.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier coord rules upgrade --preview\n  pier coord rules upgrade")]
pub struct Rules {
    #[command(subcommand)]
    command: RulesCommand,
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Write the documents of the repository as this pier has them.
    Upgrade(Upgrade),
}

#[derive(Debug, Args)]
struct Upgrade {
    #[command(flatten)]
    common: Common,
    /// Show what would change, and change nothing.
    #[arg(long)]
    preview: bool,
    /// Change the clone as it is, without fetching first.
    #[arg(long)]
    no_pull: bool,
    /// Commit in the clone alone.
    #[arg(long)]
    no_push: bool,
    /// Accepted, for older callers, whose tool did not push otherwise.
    #[arg(long, hide = true, conflicts_with = "no_push")]
    push: bool,
}

fn refused(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Failed, "coord::repo", message.into())
}

pub fn run(global: &Global, args: &Repos) -> Outcome {
    match &args.command {
        Command::List(args) => list(global, args),
        Command::Show(args) => show(global, args),
        Command::Add(args) => add(global, args),
        Command::Rename(args) => rename(global, args),
        Command::Retire(args) => retire(global, args),
        Command::MigrateRootIssues(args) => migrate(global, args),
    }
}

fn list(global: &Global, args: &List) -> Outcome {
    let context = Context::open(global, &args.common)?;
    let status = match (args.active, args.retired) {
        (true, _) => Some("active"),
        (_, true) => Some("retired"),
        _ => None,
    };
    let mut all = registry::read(&context.store);
    all.retain(|repo| status.is_none_or(|status| repo.status == status));
    if args.json {
        ui::json(&all);
        return Ok(Exit::Done);
    }
    let line =
        |repo: &Repo| format!("{}\t{}\t{}\n", escape(&repo.id), escape(&repo.status), escape(&repo.item_key));
    ui::write_out(&all.iter().map(line).collect::<String>());
    Ok(Exit::Done)
}

fn show(global: &Global, args: &One) -> Outcome {
    let context = Context::open(global, &args.common)?;
    let known = registry::read(&context.store);
    let found = known.iter().find(|repo| repo.id == args.id || repo.aliases.contains(&args.id));
    let repo =
        found.ok_or_else(|| refused(format!("the domain has no repository `{}`", escape(&args.id))))?;
    let text = context.store.document(&manifest(&repo.id)).unwrap_or_default();
    ui::write_out(&if ui::has_terminal() { escape_lines(&text) } else { text });
    Ok(Exit::Done)
}

fn manifest(id: &str) -> String {
    format!("repos/{id}/REPO.md")
}

/// Makes a change of the whole repository.
fn change(
    context: &Context,
    no_push: bool,
    subject: &str,
    writes: &mut dyn FnMut(&Store) -> Result<Vec<Write>, Error>,
) -> Outcome {
    let way = if no_push { Way::Local } else { Way::Push };
    let mut made =
        |store: &Store| Ok(Change { subject: subject.to_owned(), writes: writes(store)?, value: () });
    let ((), arrived) = context.hold(|domain| domain.change(way, !no_push, &mut made))?;
    context.report(&arrived);
    Ok(Exit::Done)
}

fn other(message: String) -> Error {
    Error::Repository(message)
}

fn add(global: &Global, args: &Add) -> Outcome {
    let context = Context::open(global, &args.one.common)?;
    let id = &args.one.id;
    if !registry::is_id(id) {
        return Err(refused(format!("`{}` is no id of a repository", escape(id)))
            .help("write lower case letters, digits, `.`, `_` and `-`, at least two"));
    }
    let key = args.project_key.clone().or_else(|| context.front("PROJECT.md", "item_key"));
    let project = context.front("PROJECT.md", "project").unwrap_or_else(|| id.clone());
    let key = id::key(&key.unwrap_or_else(|| project.clone()));
    change(&context, args.one.no_push, &format!("Register repository {id}"), &mut |store| {
        let known = registry::read(store);
        if let Some(repo) = known.iter().find(|repo| repo.id == *id || repo.aliases.contains(id)) {
            return Err(other(format!("`{id}` is `{}` already", repo.id)));
        }
        Ok(scaffold::of_repo(id, &key, &project, args.remote.as_deref(), Timestamp::now()))
    })
}

/// Moves every file below one directory to another.
fn moved(store: &Store, from: &Utf8Path, to: &Utf8Path) -> Result<Vec<Write>, Error> {
    let mut writes = Vec::new();
    let mut directories = vec![Utf8PathBuf::new()];
    while let Some(below) = directories.pop() {
        let at = store.root.join(from).join(&below);
        let entries = at.read_dir_utf8().map_err(|source| Error::Write { path: at.clone(), source })?;
        for entry in entries.flatten() {
            let path = below.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(path),
                Ok(kind) if kind.is_file() => {
                    let old = from.join(&path);
                    let text =
                        store.text(&old).map_err(|source| Error::Write { path: old.clone(), source })?;
                    writes.push(Write { path: to.join(&path), text: Some(text) });
                    writes.push(Write { path: old, text: None });
                }
                _ => {}
            }
        }
    }
    Ok(writes)
}

fn rename(global: &Global, args: &Rename) -> Outcome {
    let context = Context::open(global, &args.one.common)?;
    let (old, new) = (&args.one.id, &args.new);
    if !registry::is_id(new) {
        return Err(refused(format!("`{}` is no id of a repository", escape(new))));
    }
    change(&context, args.one.no_push, &format!("Rename repository {old} to {new}"), &mut |store| {
        let known = registry::read(store);
        let repo = known.iter().find(|repo| repo.id == *old);
        let repo = repo.ok_or_else(|| other(format!("the domain has no repository `{}`", escape(old))))?;
        if known.iter().any(|repo| repo.id == *new || repo.aliases.contains(new)) {
            return Err(other(format!("there is a `{new}` already")));
        }
        let (from, to) = (Utf8Path::new("repos").join(old), Utf8Path::new("repos").join(new));
        let mut writes = moved(store, &from, &to)?;
        let place = Utf8PathBuf::from(manifest(new));
        for write in writes.iter_mut().filter(|write| write.path == place) {
            let mut item = Item::parse(write.text.as_deref().unwrap_or_default());
            item.set("repo_id", new);
            item.set_raw("updated", &id::time(Timestamp::now()));
            let mut aliases: Vec<&str> = repo.aliases.iter().map(String::as_str).collect();
            aliases.push(old);
            let aliases: Vec<String> = aliases.into_iter().map(crate::coord::scalar::write).collect();
            item.set_list("aliases", &aliases);
            write.text = Some(item.text());
        }
        Ok(writes)
    })
}

fn retire(global: &Global, args: &Retire) -> Outcome {
    let context = Context::open(global, &args.one.common)?;
    let name = &args.one.id;
    change(&context, args.one.no_push, &format!("Retire repository {name}"), &mut |store| {
        let path = manifest(name);
        if !registry::read(store).iter().any(|repo| repo.id == *name) {
            return Err(other(format!("the domain has no repository `{}`", escape(name))));
        }
        let (entries, _) = store.entries(Part::Issues)?;
        let left = entries
            .iter()
            .filter(|entry| entry.repo() == Some(name) && entry.head.status != "closed")
            .count();
        if left > 0 && !args.force {
            return Err(other(format!("`{name}` has {left} issues that are not closed")));
        }
        let text = store.document(&path).unwrap_or_default();
        let mut item = Item::parse(&text);
        item.set_raw("status", "retired");
        item.set_raw("updated", &id::time(Timestamp::now()));
        Ok(vec![Write { path: path.into(), text: Some(item.text()) }])
    })
}

fn migrate(global: &Global, args: &One) -> Outcome {
    let context = Context::open(global, &args.common)?;
    let mut count = 0;
    let done =
        change(&context, args.no_push, &format!("Move issues to repository {}", args.id), &mut |store| {
            let known = registry::read(store);
            let repo = registry::resolve(&known, &args.id).map_err(other)?;
            let (entries, _) = store.entries(Part::Issues)?;
            let root: Vec<_> = entries.into_iter().filter(|entry| entry.repo().is_none()).collect();
            count = root.len();
            let target = Utf8Path::new("repos").join(repo);
            let both = root.into_iter().flat_map(|entry| {
                [
                    Write { path: target.join(&entry.path), text: Some(entry.text) },
                    Write { path: entry.path, text: None },
                ]
            });
            Ok(both.collect())
        })?;
    ui::answer(&format!("{count} moved"));
    Ok(done)
}

pub fn rules(global: &Global, args: &Rules) -> Outcome {
    let RulesCommand::Upgrade(args) = &args.command;
    let context = Context::open(global, &args.common)?;
    if args.preview {
        return preview(&context);
    }
    if !context.hold_free(&["status", "--porcelain"])?.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            "coord::clone",
            "the clone has changes that are not committed",
        )
        .help("`pier coord push` commits them"));
    }
    let way = if args.no_push { Way::Local } else { Way::Push };
    let mut change = |_: &Store| {
        let writes = scaffold::RULES
            .iter()
            .map(|(path, text)| Write { path: (*path).into(), text: Some((*text).into()) });
        Ok(Change { subject: "Upgrade coordination rules".into(), writes: writes.collect(), value: () })
    };
    let ((), arrived) = context.hold(|domain| domain.change(way, !args.no_pull, &mut change))?;
    context.report(&arrived);
    Ok(Exit::Done)
}

/// Prints what would change.
fn preview(context: &Context) -> Outcome {
    let directory = tempfile::tempdir().map_err(|error| {
        Failure::new(Exit::Failed, "coord::files", format!("no temporary directory can be made: {error}"))
    })?;
    for (path, text) in scaffold::RULES {
        if context.store.document(path).as_deref() == Some(text) {
            continue;
        }
        let new = directory.path().join("new");
        fs_err::write(&new, text)
            .map_err(|error| Failure::new(Exit::Failed, "coord::files", error.to_string()))?;
        let new = new.display().to_string();
        let there = if context.store.root.join(path).exists() { path } else { "/dev/null" };
        let words = ["diff", "--no-index", "--no-ext-diff", "--no-color", "--", there, &new];
        let said = context.ask(Call { words: &words, ..Call::default() })?;
        let text = String::from_utf8_lossy(&said.stdout).replace(&format!("b{new}"), &format!("b/{path}"));
        ui::write_out(&escape_lines(&text));
    }
    Ok(Exit::Done)
}
