//! `pier role`: which roles there are, what each says, and whether role files are valid.

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::owner::RootOwned;
use super::{Global, Outcome, project};
use crate::diag::{Exit, Failure, Problem, Report, Span, render};
use crate::role::file::Weight;
use crate::role::merge::{Checked, Roles};
use crate::role::read::{self, Links, Place};
use crate::role::{Document, Known, Source, Thinking, Value, file};
use crate::ui;
use crate::util::text::{escape, escape_lines, nearest};

mod apart;
mod board;
mod desk;
pub mod known;
mod landing;
mod launch;
mod now;
mod parallel;
mod rows;
pub mod serial;
mod settled;
mod signals;
mod status;
mod taking;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier role list                       the roles, and where each comes from\n  pier role show reviewer              what one says\n  pier role check .pi/roles            whether role files are valid\n  pier up --role reviewer              an agent in a role\n  pier role serial --ui none --once    one item of the coordination repository, by one agent\n  pier role parallel -j 4              all of them, four at once\n  pier role status                     what a loop does now, or did last\n  pier role logs ID                    what its newest session on an item has said"
)]
pub struct Role {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the roles, where each comes from and what it takes the place of.
    #[command(after_help = "Examples:\n  pier role list\n  pier role list --json | jq '.[].name'")]
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what one role says.
    #[command(after_help = "Examples:\n  pier role show reviewer\n  pier role show reviewer --json")]
    Show {
        /// The role.
        name: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check role files.
    #[command(after_help = "Examples:\n  pier role check\n  pier role check .pi/roles team/roles/tester.md")]
    Check {
        /// Files, or directories with files; every role of this project otherwise.
        paths: Vec<Utf8PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Work through the items of the coordination repository, one role after the other.
    Serial(Box<serial::Serial>),
    /// Work through the items of the coordination repository, several at once.
    Parallel(Box<parallel::Parallel>),
    /// Show what the loop of this project does, or did last.
    Status(now::Status),
    /// Show what the agents of the loop have said.
    Logs(now::Logs),
}

impl Role {
    /// Returns the arguments of the serial loop, if that is asked for.
    pub fn serial(&self) -> Option<&serial::Serial> {
        if let What::Serial(args) = &self.what { Some(args) } else { None }
    }
}

pub fn run(global: &Global, args: &Role) -> Outcome {
    match &args.what {
        What::List { json } => list(global, *json),
        What::Show { name, json } => show(global, name, *json),
        What::Check { paths, json } => check(global, paths, *json),
        What::Serial(args) => serial::run(global, args),
        What::Parallel(args) => parallel::run(global, args),
        What::Status(args) => now::status(global, args),
        What::Logs(args) => now::logs(global, args),
    }
}

fn load(global: &Global) -> Result<Roles, Failure> {
    Ok(known::all(&project::load(global, RootOwned::Stay)?))
}

fn warn(roles: &Roles) {
    let overridden =
        |name: &str| roles.iter().any(|known| known.overrides.iter().any(|before| before.place == name));
    // What counts for nothing needs no mending.
    let counting = roles.checked.iter().filter(|checked| !overridden(&checked.name));
    for line in counting.flat_map(Checked::lines) {
        ui::warn(&escape(&line));
    }
}

fn list(global: &Global, json: bool) -> Outcome {
    let roles = load(global)?;
    if json {
        ui::json(&roles.iter().map(Shown::of).collect::<Vec<_>>());
        return Ok(Exit::Done);
    }
    warn(&roles);
    for known in roles.iter() {
        let Shown { tools, only_reads, .. } = Shown::of(known);
        let tools = tools.map_or("the agent's".to_owned(), |tools| tools.join(" "));
        let thinking = known.role.thinking.map_or("-", Thinking::word);
        let reads = if only_reads { "; the project is read-only" } else { "" };
        ui::answer(&escape(&format!("{}: {}", title(&known.role), known.role.description)));
        ui::answer(&escape(&format!("  tools {tools}; thinking {thinking}{reads}")));
        ui::answer(&escape(&format!("  from  {}", origin(known))));
    }
    Ok(Exit::Done)
}

/// Returns the name as people see it; what only asks for a coloured picture is no letter, and would be shown as one.
fn title(role: &crate::role::Role) -> String {
    role.title().replace('\u{fe0f}', "")
}

/// Returns the source, and what the role takes the place of.
fn origin(known: &Known) -> String {
    let before: Vec<String> = known.overrides.iter().map(|one| from(one.source, &one.place)).collect();
    let over = if before.is_empty() { String::new() } else { format!(", in place of {}", before.join(", ")) };
    format!("{}{over}", from(known.source, &known.place))
}

fn from(source: Source, place: &str) -> String {
    match source {
        Source::Bundled => source.word().to_owned(),
        _ => format!("{} ({place})", source.word()),
    }
}

fn show(global: &Global, name: &str, json: bool) -> Outcome {
    let roles = load(global)?;
    let known = roles.find(name).ok_or_else(|| unknown(&roles, name))?;
    if json {
        ui::json(known);
        return Ok(Exit::Done);
    }
    let role = &known.role;
    let line = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            ui::answer(&escape(&format!("{key:12} {value}")));
        }
    };
    line("role", Some(&title(role)));
    line("description", Some(&role.description));
    line("from", Some(&origin(known)));
    line("tools", Some(&role.tools.as_ref().map_or("the agent's".to_owned(), |tools| tools.join(" "))));
    line("project", role.only_reads().then_some("read-only"));
    line("thinking", role.thinking.map(Thinking::word));
    line("provider", role.provider.as_deref());
    line("model", role.model.as_deref());
    line("coordination", Some(role.committer()));
    for (key, value) in &role.other {
        match value {
            Value::Text(text) => line(key, Some(text)),
            Value::List(items) => line(key, Some(&items.join(" "))),
        }
    }
    ui::answer("");
    ui::answer(&escape_lines(&role.body));
    Ok(Exit::Done)
}

/// Says that there is no such role, and which there are.
pub fn unknown(roles: &Roles, name: &str) -> Failure {
    let names: Vec<&str> = roles.iter().map(|known| known.role.name.as_str()).collect();
    let message = format!("there is no role `{}`", escape(name));
    let failure = Failure::new(Exit::Usage, "role::unknown", message);
    match nearest(name, names.iter().copied()) {
        Some(known) => failure.help(format!("did you mean `{known}`?")),
        None => failure.help(format!(
            "there are `{}`; `pier role check` says which files are left out",
            names.join("`, `")
        )),
    }
}

fn check(global: &Global, paths: &[Utf8PathBuf], json: bool) -> Outcome {
    let (checked, count) = if paths.is_empty() {
        let roles = load(global)?;
        let count = roles.iter().count();
        (roles.checked, count)
    } else {
        of_paths(&project::current_directory()?, paths)
    };
    let mut report = Report::default();
    let mut warnings = Vec::new();
    for one in &checked {
        let source = report.sources.add(one.name.as_str(), one.text.as_str());
        for finding in &one.findings {
            let problem = if one.text.is_empty() {
                Problem::nowhere("role::unreadable", format!("`{}`: {}", escape(&one.name), finding.message))
            } else {
                let span = Span { source, range: finding.at.clone() };
                Problem::new("role::invalid", span, "here", finding.message.clone())
            };
            match finding.weight {
                Weight::Error => report.problems.push(problem),
                Weight::Warning => warnings.push(format!("role-manager: {}: {}", one.name, finding.message)),
            }
        }
    }
    let exit = if report.problems.is_empty() { Exit::Done } else { Exit::Usage };
    if json {
        let mut answer = render::json(&report);
        answer["warnings"] = warnings.into();
        ui::json(&answer);
        return Ok(exit);
    }
    for warning in &warnings {
        ui::warn(&escape(warning));
    }
    if exit != Exit::Done {
        return Err(Failure { exit, report });
    }
    ui::answer(&if count == 1 { "1 role is valid".to_owned() } else { format!("{count} roles are valid") });
    Ok(exit)
}

/// Checks files as they are, whatever roles there are beside them; returns how many are valid as well.
fn of_paths(cwd: &Utf8Path, paths: &[Utf8PathBuf]) -> (Vec<Checked>, usize) {
    let mut checked = Vec::new();
    let mut count = 0;
    let documents = paths.iter().flat_map(|path| {
        let place = cwd.join(path);
        if place.is_dir() {
            // The user names it, and sees what is in it.
            let place = Place { source: Source::Project, directory: place, links: Links::Followed };
            return read::documents(&[place]);
        }
        vec![read::document(Source::Project, &place, Links::Followed)]
    });
    for Document { path, text, .. } in documents {
        let name = path.strip_prefix(cwd).unwrap_or(&path);
        match text {
            Err(why) => checked.push(Checked::of_file(name.as_str(), why)),
            Ok(text) => {
                let file::Parsed { role, findings } = file::parse(&text, file::Sections::Wanted);
                count += usize::from(role.is_some());
                checked.push(Checked { name: name.to_string(), text, findings });
            }
        }
    }
    (checked, count)
}

/// A role as one entry of a list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    name: &'a str,
    icon: Option<&'a str>,
    description: &'a str,
    tools: Option<&'a [String]>,
    thinking: Option<Thinking>,
    provider: Option<&'a str>,
    model: Option<&'a str>,
    coord_committer: &'a str,
    /// Its project is read-only.
    only_reads: bool,
    source: Source,
    place: &'a str,
    overrides: &'a [crate::role::Overridden],
}

impl<'a> Shown<'a> {
    fn of(known: &'a Known) -> Self {
        let role = &known.role;
        Shown {
            name: role.name.as_str(),
            icon: role.icon.as_deref(),
            description: &role.description,
            tools: role.tools.as_deref(),
            thinking: role.thinking,
            provider: role.provider.as_deref(),
            model: role.model.as_deref(),
            coord_committer: role.committer(),
            only_reads: role.only_reads(),
            source: known.source,
            place: &known.place,
            overrides: &known.overrides,
        }
    }
}
