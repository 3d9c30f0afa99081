//! The commands that change one item.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use camino::Utf8PathBuf;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::super::{Global, Outcome};
use super::context::{Common, Context};
use crate::coord::domain::{self, Arrived, Change, Commit, Way, Write};
use crate::coord::duty;
use crate::coord::history::{Actor, Reference};
use crate::coord::item::Head;
use crate::coord::mend::{self, Fault};
use crate::coord::store::{self, Entry, Store};
use crate::coord::transition::{Action, By};
use crate::diag::{Exit, Failure};
use crate::ui;
use crate::util::text::parse_duration;

/// How long a claim holds that nobody renews.
const LEASE: &str = "8h";

/// Flags of every step.
#[derive(Clone, Debug, Default, Args)]
pub struct Flags {
    #[command(flatten)]
    pub common: Common,
    /// Change the clone as it is, without fetching first.
    #[arg(long)]
    pub no_pull: bool,
    /// Commit in the clone alone.
    #[arg(long)]
    pub no_push: bool,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// What is said to it.
#[derive(Clone, Debug, Default, Args)]
pub struct Said {
    /// What to say; several are lines.
    #[arg(long = "result", visible_alias = "message", value_name = "TEXT")]
    pub result: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier coord claim P-ISS-20260102-030405-001\n  pier coord claim ID --for 2h\n  \
    pier coord claim ID ID ID        those that are to be had\n\n\
    It is yours when the remote has taken it: exit code 0. Claim it again to keep it for longer. Of several, those \
    that are yours are printed, and the others are an error, exit code 1; `--json` prints a list then."
)]
pub struct Claim {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    said: Said,
    /// Take it also from somebody else.
    #[arg(long)]
    force: bool,
    /// How long it is yours, unless you claim it again; `ever` for no end.
    #[arg(long = "for", value_name = "TIME", default_value = LEASE)]
    lease: String,
    /// The issue, or several.
    #[arg(required = true, value_name = "ITEM")]
    items: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier coord renew ID\n  pier coord renew ID --for 30m")]
pub struct Renew {
    #[command(flatten)]
    flags: Flags,
    /// How much longer it is yours.
    #[arg(long = "for", value_name = "TIME", default_value = LEASE)]
    lease: String,
    /// The issue.
    item: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier coord unclaim ID --result \"no time\"")]
pub struct Unclaim {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    said: Said,
    /// Also somebody else's.
    #[arg(long)]
    force: bool,
    /// The issue.
    item: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier coord done ID --result \"fixed\" --implementation-ref repo:main@COMMIT"
)]
pub struct Done {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    said: Said,
    /// A commit of the work, `REPO:BRANCH@COMMIT`; that of the project otherwise.
    #[arg(long, value_name = "REF")]
    implementation_ref: Vec<String>,
    /// Also what is somebody else's.
    #[arg(long)]
    force: bool,
    /// Accepted, for older callers.
    #[arg(long, hide = true)]
    repo_id: Option<String>,
    /// The issue.
    item: String,
}

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("verdict").required(true).args(["pass", "fail"]),
    after_help = "Examples:\n  pier coord review ID --pass\n  pier coord verify ID --fail --result \"the test fails\""
)]
pub struct Judge {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    said: Said,
    /// It is good.
    #[arg(long)]
    pass: bool,
    /// It is not: the issue is open again.
    #[arg(long)]
    fail: bool,
    /// Also what is not done.
    #[arg(long)]
    force: bool,
    /// The issue.
    item: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier coord close ID")]
pub struct Close {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    said: Said,
    /// A commit of the work, `REPO:BRANCH@COMMIT`.
    #[arg(long, value_name = "REF")]
    implementation_ref: Vec<String>,
    /// Also what is not done, reviewed and verified.
    #[arg(long)]
    force: bool,
    /// The issue.
    item: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier coord comment ID \"seen again\"")]
pub struct Comment {
    #[command(flatten)]
    flags: Flags,
    /// The item.
    item: String,
    /// What to say.
    #[arg(required = true)]
    text: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier coord block ID --result \"waits for an answer\"\n  pier coord unblock ID\n  pier coord reopen ID"
)]
pub struct Plain {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    said: Said,
    /// The issue.
    item: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier coord link ID OTHER-ID")]
pub struct Link {
    #[command(flatten)]
    flags: Flags,
    /// The item.
    item: String,
    /// What it has to do with.
    other: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier coord priority ID high")]
pub struct Priority {
    #[command(flatten)]
    flags: Flags,
    /// The item.
    item: String,
    /// Such as `high`, `medium` or `low`.
    #[arg(value_name = "PRIORITY")]
    value: String,
}

/// What became of an item.
#[derive(Serialize)]
struct Answer {
    id: String,
    path: Utf8PathBuf,
    status: String,
    owner: Option<String>,
    lease: Option<String>,
    /// The remote has it.
    pushed: bool,
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, "coord::usage", message)
}

/// Does a step.
fn step(global: &Global, flags: &Flags, item: &str, said: &Said, way: Way, action: &Action) -> Outcome {
    let context = Context::open(global, &flags.common)?;
    carry_out(&context, flags, item, said, way, action)
}

fn carry_out(
    context: &Context,
    flags: &Flags,
    item: &str,
    said: &Said,
    way: Way,
    action: &Action,
) -> Outcome {
    let message = (!said.result.is_empty()).then(|| said.result.join("\n"));
    let (actor, session) = (&context.actor, context.session.as_deref());
    let act = Act { item: &local(context, item), actor, session, action, message: message.as_deref() };
    let way = if flags.no_push { Way::Local } else { way };
    let (stepped, arrived) = act.carry_out(context, way, !flags.no_pull)?;
    context.report(&arrived);
    if flags.json {
        ui::json(&stepped.answer(&arrived));
    } else {
        ui::answer(&context.shown(&stepped.path));
    }
    Ok(Exit::Done)
}

/// One step of one item.
pub struct Act<'a> {
    pub item: &'a str,
    pub actor: &'a Actor,
    /// The role of the session that does it, where one does.
    pub session: Option<&'a str>,
    pub action: &'a Action,
    pub message: Option<&'a str>,
}

impl Act<'_> {
    /// Does it to the item as it is at the remote now, or with `pull` off as the clone has it.
    pub fn carry_out(&self, context: &Context, way: Way, pull: bool) -> Result<(Stepped, Arrived), Failure> {
        let Act { item, actor, session, action, message } = *self;
        let mut change = |store: &Store| {
            let by = By { actor, at: Timestamp::now(), message };
            let entry = store.find(item)?;
            require_one(&entry, &store.twins()?)?;
            duty::require(session, action, &entry.head.id)?;
            let (Commit { subject, writes }, value) = commit(&entry, action, &by)?;
            Ok(Change { subject, writes, value })
        };
        context.hold_as(actor, |domain| domain.change(way, pull, &mut change))
    }
}

/// An item after a step.
pub struct Stepped {
    pub head: Head,
    pub path: Utf8PathBuf,
}

impl Stepped {
    fn answer(&self, arrived: &Arrived) -> Answer {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        let Stepped { head, path } = self;
        Answer {
            id: head.id.clone(),
            path: path.clone(),
            status: head.status.clone(),
            owner: some(&head.owner),
            lease: some(&head.lease),
            pushed: *arrived == Arrived::Pushed,
        }
    }
}

/// Refuses an id that several files have: whose step it would be is anybody's guess.
fn require_one(entry: &Entry, twins: &BTreeMap<String, Vec<String>>) -> Result<(), store::Error> {
    let id = &entry.head.id;
    match twins.get(id) {
        Some(found) => Err(store::Error::Twins { id: id.clone(), found: found.clone() }),
        None => Ok(()),
    }
}

/// Returns the commit of a step, and what the item is after it.
fn commit(entry: &Entry, action: &Action, by: &By<'_>) -> Result<(Commit, Stepped), domain::Error> {
    if let Some(Fault { line, why, .. }) = mend::conflict(&entry.text) {
        let path = entry.path.clone();
        return Err(domain::Error::Broken { path, line, why, is_conflict: true, more: String::new() });
    }
    let changed = action.apply(&entry.text, by)?;
    let path = changed.state.map_or_else(|| entry.path.clone(), |state| Store::moved(&entry.path, state));
    let head = Head::read(&changed.text);
    let mut writes = vec![Write { path: path.clone(), text: Some(changed.text) }];
    if path != entry.path {
        writes.push(Write { path: entry.path.clone(), text: None });
    }
    Ok((Commit { subject: action.subject(&entry.head.id), writes }, Stepped { head, path }))
}

/// Takes what is to be had of several, in one push; what is not is told of each.
fn claim_all(global: &Global, args: &Claim, action: &Action) -> Outcome {
    let context = Context::open(global, &args.flags.common)?;
    let message = (!args.said.result.is_empty()).then(|| args.said.result.join("\n"));
    let queries: Vec<String> = args.items.iter().map(|item| local(&context, item)).collect();
    let way = if args.flags.no_push { Way::Local } else { Way::Exclusive };
    let mut change = |store: &Store| {
        let by = By { actor: &context.actor, at: Timestamp::now(), message: message.as_deref() };
        let (mut commits, mut taken, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        let twins = store.twins()?;
        for query in &queries {
            let entry = store.find(query)?;
            if !seen.insert(entry.path.clone()) {
                continue;
            }
            let made = require_one(&entry, &twins).map_err(domain::Error::from);
            match made.and_then(|()| commit(&entry, action, &by)) {
                Ok((commit, stepped)) => {
                    commits.push(commit);
                    taken.push(stepped);
                }
                Err(why) => refused.push(why.to_string()),
            }
        }
        Ok((commits, (taken, refused)))
    };
    let ((taken, refused), arrived) =
        context.hold(|domain| domain.change_all(way, !args.flags.no_pull, &mut change))?;
    context.report(&arrived);
    if args.flags.json {
        ui::json(&taken.iter().map(|stepped| stepped.answer(&arrived)).collect::<Vec<_>>());
    } else {
        for stepped in &taken {
            ui::answer(&context.shown(&stepped.path));
        }
    }
    if refused.is_empty() {
        return Ok(Exit::Done);
    }
    let all = taken.len() + refused.len();
    let message = format!("{} of {all} are not to be had: {}", refused.len(), refused.join("; "));
    Err(Failure::new(Exit::Failed, "coord::refused", crate::util::text::escape(&message))
        .help("those that are printed are yours"))
}

/// Says what is not at the remote.
pub fn report(arrived: &Arrived) {
    if let Arrived::Queued(away) = arrived {
        let away = crate::util::text::escape(&away.to_string());
        ui::warn(&format!("this is in the clone alone until the next push, for {away}"));
    }
}

/// Returns what is looked for: a path into the clone is one from its top.
fn local(context: &Context, item: &str) -> String {
    let path = context.cwd.join(item);
    match crate::util::fs::canonical(&path).ok().filter(|path| path.is_file()) {
        Some(path) => {
            path.strip_prefix(&context.store.root).map_or_else(|_| item.to_owned(), ToString::to_string)
        }
        None => item.to_owned(),
    }
}

fn references(given: &[String]) -> Result<Vec<Reference>, Failure> {
    let parse = |text: &String| {
        Reference::parse(text).ok_or_else(|| {
            usage(format!("`{}` is no reference to a commit", crate::util::text::escape(text)))
                .help("write `REPO:BRANCH@COMMIT`, with all 40 digits")
        })
    };
    given.iter().map(parse).collect()
}

pub fn claim(global: &Global, args: &Claim) -> Outcome {
    let until = match args.lease.as_str() {
        "ever" => None,
        text => {
            let time = parse_duration(text).map_err(|why| usage(format!("`--for {text}`: {why}")))?;
            Some(end_of(time)?)
        }
    };
    let action = Action::Claim { until, force: args.force };
    match args.items.as_slice() {
        [item] => step(global, &args.flags, item, &args.said, Way::Exclusive, &action),
        _ => claim_all(global, args, &action),
    }
}

pub fn renew(global: &Global, args: &Renew) -> Outcome {
    let time = parse_duration(&args.lease).map_err(|why| usage(format!("`--for {}`: {why}", args.lease)))?;
    let action = Action::Renew { until: end_of(time)? };
    step(global, &args.flags, &args.item, &Said::default(), Way::Exclusive, &action)
}

fn end_of(time: Duration) -> Result<Timestamp, Failure> {
    let time = jiff::SignedDuration::try_from(time).ok();
    let end = time.and_then(|time| Timestamp::now().checked_add(time).ok());
    end.ok_or_else(|| usage("`--for`: that is too long".into()))
}

pub fn unclaim(global: &Global, args: &Unclaim) -> Outcome {
    step(global, &args.flags, &args.item, &args.said, Way::Push, &Action::Unclaim { force: args.force })
}

pub fn done(global: &Global, args: &Done) -> Outcome {
    let context = Context::open(global, &args.flags.common)?;
    let mut references = references(&args.implementation_ref)?;
    if references.is_empty() {
        references.extend(super::context::head_of(&context));
    }
    let action = Action::Done { references, force: args.force };
    carry_out(&context, &args.flags, &args.item, &args.said, Way::Push, &action)
}

pub fn judge(global: &Global, args: &Judge, is_review: bool) -> Outcome {
    let (passed, force) = (!args.fail, args.force);
    let action = if is_review { Action::Review { passed, force } } else { Action::Verify { passed, force } };
    step(global, &args.flags, &args.item, &args.said, Way::Push, &action)
}

pub fn close(global: &Global, args: &Close) -> Outcome {
    let action = Action::Close { references: references(&args.implementation_ref)?, force: args.force };
    step(global, &args.flags, &args.item, &args.said, Way::Push, &action)
}

pub fn comment(global: &Global, args: &Comment) -> Outcome {
    let said = Said { result: vec![args.text.join(" ")] };
    step(global, &args.flags, &args.item, &said, Way::Push, &Action::Comment)
}

pub fn plain(global: &Global, args: &Plain, action: &Action) -> Outcome {
    step(global, &args.flags, &args.item, &args.said, Way::Push, action)
}

pub fn link(global: &Global, args: &Link) -> Outcome {
    let action = Action::Link(crate::coord::draft::title(&args.other));
    step(global, &args.flags, &args.item, &Said::default(), Way::Push, &action)
}

pub fn priority(global: &Global, args: &Priority) -> Outcome {
    let action = Action::Priority(crate::coord::draft::title(&args.value));
    step(global, &args.flags, &args.item, &Said::default(), Way::Push, &action)
}
