//! `pier coord`: the coordination repository of a project.

use clap::{Args, Subcommand};

use super::{Global, Outcome};

mod begin;
pub mod context;
mod failures;
mod find;
mod import;
mod lint;
mod new;
mod repo;
mod requirements;
pub mod scope;
mod share;
pub mod step;
mod test;

const EXAMPLES: &str = "The repository is plain text in Git: a file for each issue, todo, note, decision and requirement. It has a remote, which \
    all share, and each project or person a clone: `.pi-env/coordination` in the project.\n\n\
    The whole way, as it can be typed in a repository:\n\n  \
    pier coord bootstrap\n  \
    ID=$(basename \"$(pier coord new --category bug \"Crash on an empty file\")\" .yaml)\n  \
    pier coord list issues open\n  \
    pier coord show \"$ID\"\n  \
    pier coord claim \"$ID\"\n  \
    pier coord done \"$ID\" --result \"an empty file is an empty list now\"\n  \
    pier coord review \"$ID\" --pass\n  \
    pier coord verify \"$ID\" --pass --result \"tried with three files\"\n  \
    pier coord close \"$ID\"\n  \
    pier coord log \"$ID\"\n\n\
    With others: `bootstrap --remote URL` puts it where they reach it, `clone --remote URL` takes it from there.\n\n\
    Each step is fetched for, committed and pushed. A claim that the remote has not taken is none; anything else \
    waits in the clone while the remote is away, which is said, until `pier coord push`. A claim ends by itself, \
    after eight hours; `renew` keeps it.\n\n\
    `lint` asks for the test of each item, in `tests/items/` of the project; one without says so, and why: `new --testable no \
    --testability-note WHY TITLE`.\n\n\
    `ID` may be cut at a dash where it stays the only one. The result is on standard output, for `show` the item, \
    for steps its file; `--json` prints it as data.\n\n\
    Variables: `PIER_COORD_AGENT_ID` and `PIER_COORD_ROLE` say who acts, `PIER_COORD_DIR` where the clone is; also \
    `PI_COORD_…` and `PI_ENV_COORD_…`.\n\n\
    Exit codes: 0 done, 1 refused or not done, 2 wrong use.";

/// Plan, claim and review work in a repository that people and agents share.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Coord {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Begin: make the repository of this project and its clone, or repair them.
    Bootstrap(begin::Bootstrap),
    /// Make a repository and its clone, and nothing else of the project.
    Init(begin::Init),
    /// Clone the repository, or repair the clone.
    Clone(begin::Clone),
    /// Show the clone, and every issue that is not closed.
    Status(find::Status),
    /// List items.
    List(find::List),
    /// Print an item.
    #[command(alias = "cat")]
    Show(find::Show),
    /// Show what has happened, of one item or of all.
    Log(find::Log),
    /// Look for words in items.
    Search(find::Search),
    /// Make an item.
    New(new::New),
    /// Take an issue, or keep it.
    Claim(step::Claim),
    /// Keep an issue that is yours for longer.
    Renew(step::Renew),
    /// Give an issue back.
    Unclaim(step::Unclaim),
    /// Say that the work on an issue is done.
    Done(step::Done),
    /// Say what a review has found.
    Review(step::Judge),
    /// Say what a verification has found.
    Verify(step::Judge),
    /// Close an issue that is done, reviewed and verified.
    Close(step::Close),
    /// Say something about an item.
    Comment(step::Comment),
    /// Say that an issue cannot go on, and why.
    Block(step::Plain),
    /// Say that a blocked issue can go on.
    Unblock(step::Plain),
    /// Open an issue again.
    Reopen(step::Plain),
    /// Name a related item.
    Link(step::Link),
    /// Say how much an item matters.
    Priority(step::Priority),
    /// Projects that share this repository, each with issues of its own.
    Repo(repo::Repos),
    /// The documents that say how the repository is used.
    Rules(repo::Rules),
    /// Requirements from Markdown, and documents from requirements.
    Requirements(requirements::Requirements),
    /// Check every item, and that it has its test.
    Lint(lint::Lint),
    /// Run the tests that prove items, in the project's sandbox.
    Test(test::Test),
    /// Bring the clone to what the remote has.
    Pull(share::Pull),
    /// Commit what was changed in the clone, and push it.
    Push(share::Push),
}

pub fn run(global: &Global, args: &Coord) -> Outcome {
    match &args.command {
        Command::Bootstrap(args) => begin::bootstrap(global, args),
        Command::Init(args) => begin::init(global, args),
        Command::Clone(args) => begin::clone(global, args),
        Command::Status(args) => find::status(global, args),
        Command::List(args) => find::list(global, args),
        Command::Show(args) => find::show(global, args),
        Command::Log(args) => find::log(global, args),
        Command::Search(args) => find::search(global, args),
        Command::New(args) => new::run(global, args),
        Command::Claim(args) => step::claim(global, args),
        Command::Renew(args) => step::renew(global, args),
        Command::Unclaim(args) => step::unclaim(global, args),
        Command::Done(args) => step::done(global, args),
        Command::Review(args) => step::judge(global, args, true),
        Command::Verify(args) => step::judge(global, args, false),
        Command::Close(args) => step::close(global, args),
        Command::Comment(args) => step::comment(global, args),
        Command::Block(args) => step::plain(global, args, &crate::coord::transition::Action::Block),
        Command::Unblock(args) => step::plain(global, args, &crate::coord::transition::Action::Unblock),
        Command::Reopen(args) => step::plain(global, args, &crate::coord::transition::Action::Reopen),
        Command::Link(args) => step::link(global, args),
        Command::Priority(args) => step::priority(global, args),
        Command::Repo(args) => repo::run(global, args),
        Command::Rules(args) => repo::rules(global, args),
        Command::Requirements(args) => requirements::run(global, args),
        Command::Lint(args) => lint::run(global, args),
        Command::Test(args) => test::run(global, args),
        Command::Pull(args) => share::pull(global, args),
        Command::Push(args) => share::push(global, args),
    }
}
