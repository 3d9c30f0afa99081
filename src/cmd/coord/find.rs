//! The commands that show items.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use clap::Args;
use serde::Serialize;

use super::super::{Global, Outcome};
use super::context::{Common, Context};
use super::scope::{Scope, Scoped};
use crate::coord::history::{self, Event};
use crate::coord::item::Head;
use crate::coord::kind::{self, Kind};
use crate::coord::store::{Entry, Error, Part};
use crate::diag::{Exit, Failure};
use crate::ui;
use crate::util::text::{escape, escape_lines, nearest};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier coord status\n  pier coord status --json")]
pub struct Status {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    scope: Scoped,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier coord list issues open\n  pier coord list --category bug issues\n  pier coord list --group-by-category issues\n  pier coord list requirements"
)]
pub struct List {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    scope: Scoped,
    /// Only issues of a category.
    #[arg(long, value_name = "NAME")]
    category: Option<String>,
    /// Print the category in front.
    #[arg(long)]
    show_category: bool,
    /// Sort by category, and print it.
    #[arg(long)]
    group_by_category: bool,
    /// Print the repository in front.
    #[arg(long)]
    show_repo: bool,
    /// Only what belongs to somebody; `none` for what belongs to nobody.
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// `issues`, `todos`, `notes`, `decisions`, `requirements`, or another type.
    #[arg(value_name = "TYPE")]
    kind: Option<String>,
    /// Only with this status.
    status: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier coord show ID\n  pier coord show --path ID")]
pub struct Show {
    #[command(flatten)]
    common: Common,
    /// Print where it is, below the clone.
    #[arg(long)]
    path: bool,
    /// As JSON.
    #[arg(long, conflicts_with = "path")]
    json: bool,
    /// The item.
    item: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier coord log ID\n  pier coord log -n 20")]
pub struct Log {
    #[command(flatten)]
    common: Common,
    /// At most so many events, the newest.
    #[arg(short, value_name = "COUNT")]
    n: Option<usize>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// The item; all of them otherwise.
    item: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier coord search time zone\n  pier coord search --json panic")]
pub struct Search {
    #[command(flatten)]
    common: Common,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Words that all occur in an item, in any case.
    #[arg(required = true)]
    words: Vec<String>,
}

/// One item of a list.
#[derive(Serialize)]
struct Row {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    category: Option<String>,
    repo: Option<String>,
    status: String,
    title: String,
    owner: Option<String>,
    lease: Option<String>,
    priority: Option<String>,
    reviewed: bool,
    verified: bool,
    created: Option<String>,
    updated: Option<String>,
    path: Utf8PathBuf,
}

impl From<&Entry> for Row {
    fn from(entry: &Entry) -> Self {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        let Head {
            id,
            kind,
            category,
            status,
            title,
            owner,
            lease,
            priority,
            reviewed,
            verified,
            created,
            updated,
            ..
        } = &entry.head;
        Row {
            id: id.clone(),
            kind: kind.clone(),
            category: some(category),
            repo: entry.repo().map(str::to_owned),
            status: status.clone(),
            title: title.clone(),
            owner: some(owner),
            lease: some(lease),
            priority: some(priority),
            reviewed: Head::is_set(reviewed),
            verified: Head::is_set(verified),
            created: some(created),
            updated: some(updated),
            path: entry.path.clone(),
        }
    }
}

/// Prints items as JSON.
fn json(entries: Vec<&Entry>) -> Exit {
    let rows: Vec<Row> = entries.into_iter().map(Row::from).collect();
    ui::json(&rows);
    Exit::Done
}

/// Returns what an item lacks without which it is none; a document may be about something else.
fn missing(entry: &Entry) -> Option<&'static str> {
    let Entry { path, head, .. } = entry;
    match (head.id.is_empty(), head.kind.is_empty()) {
        _ if path.extension() == Some("md") => None,
        (true, true) => Some("no id and no type"),
        (true, false) => Some("no id"),
        (false, true) => Some("no type"),
        (false, false) => None,
    }
}

/// Says which files were left out, and which say too little to be found.
fn tell(entries: &[Entry], errors: &[Error]) {
    for error in errors {
        ui::warn(&escape(&error.to_string()));
    }
    for entry in entries {
        let (path, Some(missing)) = (&entry.path, missing(entry)) else { continue };
        ui::warn(&escape(&format!("`{path}` is no item that can be read: it has {missing}")));
    }
}

/// Returns the id of an item, or where one is that has none.
fn id_of(entry: &Entry) -> &str {
    if entry.head.id.is_empty() { entry.path.as_str() } else { &entry.head.id }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn none_for_empty(text: &str) -> &str {
    if text.is_empty() { "null" } else { text }
}

pub fn status(global: &Global, args: &Status) -> Outcome {
    let context = Context::open(global, &args.common)?;
    let scope = Scope::of(&context, &args.scope, false)?;
    let (entries, errors) = context.store.entries(Part::Issues)?;
    tell(&entries, &errors);
    // What has no state is no item that anybody can go on with; why not was told before, or is told here.
    let (items, broken): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().filter(|entry| scope.has(entry)).partition(|entry| !entry.head.status.is_empty());
    for Entry { path, .. } in broken.into_iter().filter(|entry| missing(entry).is_none()) {
        ui::warn(&escape(&format!("`{path}` is no issue that can be read: it has no status")));
    }
    let open: Vec<&Entry> = items.into_iter().filter(|entry| entry.head.status != "closed").collect();
    if args.json {
        return Ok(json(open));
    }
    let git = context.hold_free(&["status", "--short", "--branch"])?;
    let mut out = format!("Repository: {}\n", escape(context.store.root.as_str()));
    out.push_str(&format!("Issue scope: {}\n{}\n\nItems:\n", scope.name(), escape_lines(git.trim_end())));
    if open.is_empty() {
        out.push_str("  no open, blocked, or done items found\n");
    }
    for entry in open {
        let Head { status, owner, reviewed, verified, priority, title, .. } = &entry.head;
        let id = id_of(entry);
        let repo =
            if scope.shows_repo() { format!(" repo={}", entry.repo().unwrap_or("-")) } else { String::new() };
        let flags = format!("reviewed={} verified={}", none_for_empty(reviewed), none_for_empty(verified));
        let line = format!(
            "- {id} [{status}]{repo} owner={} {flags} priority={} {title} ({})",
            or_dash(owner),
            or_dash(priority),
            entry.path
        );
        out.push_str(&escape(&line));
        out.push('\n');
    }
    ui::write_out(&out);
    Ok(Exit::Done)
}

/// Which items a list is of.
enum Wanted {
    All,
    Kind(Kind),
    Requirements,
}

fn wanted(text: Option<&str>) -> Result<Wanted, Failure> {
    let Some(text) = text else { return Ok(Wanted::All) };
    if text.eq_ignore_ascii_case("requirements") {
        return Ok(Wanted::Requirements);
    }
    let kind = Kind::find(text).map_err(|why| Failure::new(Exit::Usage, "coord::usage", escape(&why)))?;
    // A list of a directory, by the name that people see.
    let singular = kind.name.strip_suffix('s').filter(|_| kind.directory == kind.name).map(Kind::of);
    Ok(Wanted::Kind(singular.unwrap_or(kind)))
}

/// Refuses words that nothing goes by: a slip of the fingers would be an empty list, and look like no work.
fn require_known(context: &Context, args: &List, wanted: &Wanted, entries: &[Entry]) -> Result<(), Failure> {
    let refuse = |word: &str, what: &str, near: Option<String>, all: &str| {
        let failure = Failure::new(Exit::Usage, "coord::usage", format!("`{}` is no {what}", escape(word)));
        let help = near.map_or_else(|| format!("there are {all}"), |near| format!("did you mean `{near}`?"));
        Err(failure.help(help))
    };
    if let (Some(word), Wanted::Kind(kind)) = (&args.kind, wanted) {
        let is_there = || context.store.root.join(&kind.directory).is_dir();
        if !kind.is_known() && !is_there() && !entries.iter().any(|entry| entry.head.kind == kind.name) {
            let is_status = kind::STATUSES.iter().any(|status| status.eq_ignore_ascii_case(word));
            let near = nearest(word, kind::names().chain(["requirements"])).map(str::to_owned);
            let near = if is_status { Some(format!("pier coord list issues {word}")) } else { near };
            return refuse(
                word,
                "type of an item here",
                near,
                "issues, requirements, todos, decisions and notes",
            );
        }
    }
    if let Some(word) = &args.status {
        let own = entries.iter().map(|entry| entry.head.status.as_str()).filter(|status| !status.is_empty());
        let mut known: Vec<&str> = kind::STATUSES.iter().copied().chain(own).collect();
        known.sort_unstable();
        known.dedup();
        if !known.iter().any(|status| status.eq_ignore_ascii_case(word)) {
            let near = nearest(word, known.iter().copied()).map(str::to_owned);
            return refuse(word, "status of an item", near, &escape(&known.join(", ")));
        }
    }
    Ok(())
}

pub fn list(global: &Global, args: &List) -> Outcome {
    let context = Context::open(global, &args.common)?;
    let scope = Scope::of(&context, &args.scope, args.show_repo)?;
    let wanted = wanted(args.kind.as_deref())?;
    let part = match &wanted {
        Wanted::All => Part::All,
        Wanted::Kind(kind) if kind.is_issue() => Part::Issues,
        Wanted::Kind(kind) => Part::Directory(&kind.directory),
        Wanted::Requirements => Part::Directory("requirements"),
    };
    let (entries, errors) = context.store.entries(part)?;
    tell(&entries, &errors);
    require_known(&context, args, &wanted, &entries)?;
    let category = args.category.as_deref().map(kind::category);
    let is_wanted = |entry: &&Entry| {
        let head = &entry.head;
        let is_kind = match &wanted {
            Wanted::All => !head.kind.is_empty(),
            Wanted::Kind(kind) => head.kind == kind.name,
            Wanted::Requirements => head.kind.ends_with("-requirement"),
        };
        let is_category = category.as_ref().is_none_or(|name| *name == kind::category(&head.category));
        let is_status = args.status.as_ref().is_none_or(|status| head.status.eq_ignore_ascii_case(status));
        let is_owner = args.owner.as_ref().is_none_or(|owner| match owner.as_str() {
            "none" => head.owner.is_empty(),
            owner => head.owner == owner,
        });
        is_kind && is_category && is_status && is_owner && scope.has(entry)
    };
    let mut found: Vec<&Entry> = entries.iter().filter(is_wanted).collect();
    let category_of = |entry: &Entry| {
        let name = kind::category(&entry.head.category);
        if name.is_empty() { "uncategorized".to_owned() } else { name }
    };
    if args.group_by_category {
        found.sort_by_key(|entry| {
            (category_of(entry), entry.repo().unwrap_or_default().to_owned(), entry.head.id.clone())
        });
    }
    if args.json {
        return Ok(json(found));
    }
    let mut out = String::new();
    for entry in found {
        let Head { status, title, reviewed, verified, kind, .. } = &entry.head;
        let mut columns: Vec<String> = Vec::new();
        if scope.shows_repo() {
            columns.push(entry.repo().unwrap_or("-").to_owned());
        }
        if args.show_category || args.group_by_category {
            columns.push(category_of(entry));
        }
        let flags = if kind == "issue" && status == "done" {
            format!(" (reviewed:{}, verified:{})", Head::is_set(reviewed), Head::is_set(verified))
        } else {
            String::new()
        };
        columns.extend([id_of(entry).to_owned(), status.clone(), format!("{title}{flags}")]);
        let columns: Vec<String> = columns.iter().map(|column| escape(column)).collect();
        out.push_str(&columns.join("\t"));
        out.push('\n');
    }
    ui::write_out(&out);
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    row: Row,
    fields: BTreeMap<String, String>,
    body: Option<String>,
    events: Vec<Event>,
}

pub fn show(global: &Global, args: &Show) -> Outcome {
    let context = Context::open(global, &args.common)?;
    let entry = context.store.find(&args.item)?;
    if args.path {
        ui::answer(entry.path.as_str());
    } else if args.json {
        let fields = crate::coord::item::fields(&entry.text);
        let fields = fields.map(|(key, value)| (key.to_owned(), crate::coord::scalar::read(value))).collect();
        let body = history::body(&entry.text);
        let events = history::read(&entry.text);
        let body = (!body.is_empty()).then_some(body);
        ui::json(&Whole { row: Row::from(&entry), fields, body, events });
    } else {
        // To a program exactly as it is.
        let text = if ui::has_terminal() { escape_lines(&entry.text) } else { entry.text };
        ui::write_out(&text);
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Happened {
    item: String,
    title: String,
    #[serde(flatten)]
    event: Event,
}

pub fn log(global: &Global, args: &Log) -> Outcome {
    let context = Context::open(global, &args.common)?;
    let entries = if let Some(item) = &args.item {
        vec![context.store.find(item)?]
    } else {
        let (entries, errors) = context.store.entries(Part::All)?;
        tell(&entries, &errors);
        entries
    };
    let mut all: Vec<Happened> = entries
        .iter()
        .flat_map(|entry| {
            let events = history::read(&entry.text).into_iter();
            events.map(|event| Happened {
                item: entry.head.id.clone(),
                title: entry.head.title.clone(),
                event,
            })
        })
        .collect();
    // Of one item in the order in which they are numbered.
    if args.item.is_none() {
        all.sort_by(|one, other| one.event.at.cmp(&other.event.at));
    }
    let from = args.n.map_or(0, |most| all.len().saturating_sub(most));
    let all = all.split_off(from);
    if args.json {
        ui::json(&all);
        return Ok(Exit::Done);
    }
    let mut out = String::new();
    for Happened { item, event, .. } in all {
        let of = if args.item.is_some() { String::new() } else { format!("{item}  ") };
        let owner = if event.owner.is_empty() { String::new() } else { format!(" for {}", event.owner) };
        let line = format!("{}  {of}{} by {}{owner}", event.at, event.kind, or_dash(&event.actor.name()));
        out.push_str(&escape(&line));
        out.push('\n');
        for line in event.message.lines() {
            out.push_str(&format!("    {}\n", escape(line)));
        }
    }
    ui::write_out(&out);
    Ok(Exit::Done)
}

pub fn search(global: &Global, args: &Search) -> Outcome {
    let context = Context::open(global, &args.common)?;
    let (entries, errors) = context.store.entries(Part::All)?;
    tell(&entries, &errors);
    let words: Vec<String> = args.words.iter().map(|word| word.to_lowercase()).collect();
    let found: Vec<&Entry> = entries
        .iter()
        .filter(|entry| {
            let text = entry.text.to_lowercase();
            !entry.head.kind.is_empty() && words.iter().all(|word| text.contains(word))
        })
        .collect();
    if args.json {
        return Ok(json(found));
    }
    let mut out = String::new();
    for entry in found {
        let Head { id, status, title, .. } = &entry.head;
        let line = entry.text.lines().find(|line| {
            let line = line.to_lowercase();
            words.iter().any(|word| line.contains(word))
        });
        out.push_str(&format!("{}\t{}\t{}\n", escape(id), escape(status), escape(title)));
        if let Some(line) = line.map(str::trim).filter(|line| !line.contains(title.as_str())) {
            out.push_str(&format!("    {}\n", escape(line)));
        }
    }
    ui::write_out(&out);
    Ok(Exit::Done)
}
