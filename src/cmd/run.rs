//! `pier up`, `pier shell`, `pier exec`: plan, approval, session, exit code.

use camino::Utf8PathBuf;
use clap::Args;

use super::owner::RootOwned;
use super::project::{self, Fetch, Planned, Project};
use super::workspaces::meant::{self, Around};
use super::{Global, Outcome};
use crate::backend::bwrap::program;
use crate::backend::sandbox::Program;
use crate::diag::{Exit, Failure};
use crate::plan::{Backend, Front, Target, Task};
use crate::session::detach::{self, Began, Detached};
use crate::session::{self, Notice, Outcome as Ended, Side};
use crate::sys::process;
use crate::ui;

mod record;
pub mod told;
mod visit;

#[derive(Debug, Default, Args)]
#[command(
    after_help = "Examples:\n  pier up                              the default agent, interactive\n  \
    pier up claude-code -- -p \"fix it\"   one prompt, no terminal needed\n  pier up --prompt \"fix it\"             one task, whatever the agent\n  pier up --prompt \"fix it\" --front text   without a person, in text\n  pier up --role reviewer              with the instructions and tools of a role, and no more of the sandbox than it needs\n  pier up --locked                     only what `pier.lock` pins"
)]
pub struct Up {
    /// The agent; the default one, or the only one, otherwise.
    agent: Option<String>,
    /// What the agent is told first, in whatever way it takes that.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Who reads what it says about the prompt.
    #[arg(long, value_enum, default_value = "interactive", requires = "prompt", value_name = "FRONT")]
    front: Reader,
    /// Arguments for the agent.
    #[arg(last = true, value_name = "ARGS")]
    extra: Vec<String>,
    /// Leave the agent running without this terminal; prints the session's name. `pier attach` comes back.
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    start: Start,
}

/// Who reads what an agent says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Reader {
    /// A person at this terminal, who answers.
    #[default]
    Interactive,
    /// The agent works on the prompt, says what people read, and ends.
    Text,
    /// The agent works on the prompt, tells its own events as lines of JSON, and ends.
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pier shell\n  pier shell --profile ci")]
pub struct Shell {
    #[command(flatten)]
    start: Start,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier exec -- cargo test\n  echo hello | pier exec -- wc -c\n  pier exec ls -la"
)]
pub struct Exec {
    /// Leave the command running without this terminal; prints the session's name. `pier logs` has its output.
    #[arg(short, long)]
    detach: bool,
    /// With `--detach`: give the command a terminal, which `pier attach` reaches.
    #[arg(short, long, requires = "detach")]
    terminal: bool,
    #[command(flatten)]
    start: Start,
    /// The command; everything after its first word is its own.
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What every start has.
#[derive(Debug, Default, Args)]
struct Start {
    /// The digest of the grants that are approved, as `pier trust --show` prints it.
    #[arg(long, value_name = "DIGEST")]
    trust: Option<String>,
    /// Refuse whatever `pier.lock` does not pin.
    #[arg(long)]
    locked: bool,
    /// The role that the agent takes: instructions, tools, model and thinking; it narrows the sandbox as well.
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// The branch that the session's private clone is on: needs `workspace { clone #true; }`.
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Where to write how the session ended.
    #[arg(long, hide = true, value_name = "FILE")]
    outcome: Option<Utf8PathBuf>,
}

impl Exec {
    /// A command without any flag.
    pub fn plain(command: Vec<String>) -> Self {
        Exec { detach: false, terminal: false, start: Start::default(), command }
    }
}

pub fn up(global: &Global, args: Up) -> Outcome {
    let away = Away::of(args.detach, true);
    let (project, host) = begin(global, &args.start, away)?;
    let agents = &project.loaded.config.agents;
    let default = project.loaded.config.default_agent();
    let name = match (args.agent, default) {
        (Some(name), _) => name,
        (None, Some(agent)) => agent.name.value.clone(),
        (None, None) => {
            project::require_project(&project.environment, &project.root)?;
            let file = project::find_file(&project.cwd, &project.root);
            let (what, help) = match (agents.as_slice(), file) {
                ([], None) => (
                    "no agent is declared, and there is no `pier.kdl`",
                    "`pier init` looks at the project and writes one".to_owned(),
                ),
                ([], Some(_)) => (
                    "no agent is declared",
                    "add one to `pier.kdl`, as in `agent claude-code default=#true`".to_owned(),
                ),
                (several, _) => (
                    "several agents are declared and none is the default",
                    format!(
                        "name one, as in `pier up {0}`, or write `agent {0} default=#true`",
                        several[0].name.value
                    ),
                ),
            };
            return Err(Failure::new(Exit::Usage, "agent::none", what).help(help));
        }
    };
    let front = match args.front {
        Reader::Interactive => Front::Interactive,
        Reader::Text => Front::Text,
        Reader::Json => Front::Events,
    };
    let task = args.prompt.map(|prompt| Task { prompt, front });
    start(&project, host, &Target::Agent { name, extra: args.extra, task }, &args.start, away)
}

/// Starts one agent with these arguments.
pub fn agent(global: &Global, name: &str, extra: Vec<String>) -> Outcome {
    up(global, Up { agent: Some(name.to_owned()), extra, ..Up::default() })
}

/// Starts a shell for a person.
pub fn login_shell(global: &Global) -> Outcome {
    shell(global, &Shell { start: Start::default() })
}

pub fn shell(global: &Global, args: &Shell) -> Outcome {
    let (project, host) = begin(global, &args.start, Away::No)?;
    start(&project, host, &Target::Shell, &args.start, Away::No)
}

pub fn exec(global: &Global, args: Exec) -> Outcome {
    let away = Away::of(args.detach, args.terminal);
    if global.older.is_none() {
        let cwd = project::current_directory()?;
        if let Around::Workspace(found) = meant::around(&cwd)? {
            return visit::run(global, &found, &args, away);
        }
        meant::refuse_lost(global, &cwd)?;
    }
    let (project, host) = begin(global, &args.start, away)?;
    start(&project, host, &Target::Exec { argv: args.command }, &args.start, away)
}

fn ended(outcome: Result<Ended, session::Error>) -> Outcome {
    Ok(match outcome? {
        Ended::Ended(how) => match how.code() {
            0 => Exit::Done,
            code => Exit::Child(code),
        },
        Ended::TimeLimit => {
            ui::warn("the wall clock limit of the session ran out");
            Exit::TimeLimit
        }
        Ended::Stopped => Exit::Child(137),
        Ended::Lost => {
            ui::warn("the sandbox was killed from outside");
            Exit::Child(137)
        }
    })
}

/// What runs the sandbox, looked for before the project is read.
struct Host {
    program: Result<Program, program::Error>,
    early: Option<session::Early>,
}

/// Finds the project, starts bubblewrap, which takes its time, and loads the project beside it.
fn begin(global: &Global, start: &Start, away: Away) -> Result<(Project, Host), Failure> {
    let found = project::find(global, RootOwned::Refuse)?;
    let wanted = found.environment.bubblewrap();
    let program = program::find(wanted, Some(&found.environment.cache.join("bwrap.json")));
    let program = program.map(Program::Bubblewrap);
    // What goes wrong here goes wrong again once the plan is made, and is said then.
    let early = match &program {
        Ok(program) if matches!(away, Away::No) => session::Early::start(program).ok(),
        _ => None,
    };
    let mut project = found.load(global)?;
    super::role::known::take(&mut project, start.role.as_deref())?;
    project.branch.clone_from(&start.branch);
    Ok((project, Host { program, early }))
}

/// Whether the session goes on without this terminal.
#[derive(Clone, Copy)]
enum Away {
    No,
    /// Its output goes to a file.
    Piped,
    /// It has a terminal of its own.
    Terminal,
}

impl Away {
    fn of(detach: bool, terminal: bool) -> Self {
        match (detach, terminal) {
            (false, _) => Away::No,
            (true, false) => Away::Piped,
            (true, true) => Away::Terminal,
        }
    }
}

/// The terminal of a session that is started where there is none, in rows and columns.
const USUAL_SIZE: (u16, u16) = (24, 80);

/// Forks the supervisor of a detached session; on the caller's side, returns how it began.
fn leave(away: Away) -> Result<Result<Option<Detached>, Exit>, Failure> {
    let terminal = match away {
        Away::No => return Ok(Ok(None)),
        Away::Piped => None,
        Away::Terminal => Some(crate::sys::terminal::any_size(USUAL_SIZE)),
    };
    let forked = detach::fork().map_err(|error| {
        Failure::new(Exit::NotSetUp, "session::set-up", format!("cannot start the supervisor: {error}"))
    })?;
    Ok(match forked {
        detach::Side::Supervisor(caller) => Ok(Some(Detached { caller, terminal })),
        detach::Side::Caller(Began::Runs(session)) => {
            ui::answer(&session);
            Err(Exit::Done)
        }
        // It has said why, on the same standard error.
        detach::Side::Caller(Began::Failed(process::Ended::Code(code))) => Err(Exit::Child(code)),
        detach::Side::Caller(Began::Failed(process::Ended::Signal(signal))) => {
            let message = format!("the supervisor was killed by signal {signal} before the command ran");
            return Err(Failure::new(Exit::NotSetUp, "session::set-up", message));
        }
    })
}

fn start(project: &Project, host: Host, target: &Target, start: &Start, away: Away) -> Outcome {
    if start.locked {
        super::lock::require(project)?;
    }
    let mut planned = project::plan(project, target, Fetch::Install, start.trust.as_deref())?;
    project::approve(project, &planned.plan, start.trust.as_deref())?;
    if let Some(branch) = &start.branch {
        told::require_branch(&planned.plan, branch)?;
    }
    for warning in &planned.plan.warnings {
        ui::warn(&crate::util::text::escape(warning));
    }
    let (program, early) = match planned.plan.backend {
        Backend::Bubblewrap => (host.program?, host.early),
        // The bubblewrap that waits was started before anything was known.
        Backend::Docker => {
            let engine = super::image::engine(&project.environment)?;
            super::image::announce(&engine, &planned.plan)?;
            (Program::Docker(engine), None)
        }
        Backend::None => {
            let message = "a project always has a sandbox".to_owned();
            return Err(Failure::new(Exit::NotSetUp, "session::set-up", message));
        }
    };
    let secrets = super::secrets::fetch(&project.environment, &planned.plan, &mut planned.values)?;
    let login = super::secrets::login(&project.environment, &planned.plan)?;
    project::keep_plan(project, &planned.plan)?;
    let Planned { plan, values, shell: _held } = &planned;
    let side = match leave(away)? {
        Ok(Some(detached)) => Side::Nobody(detached),
        Ok(None) => Side::Person(early.map_or_else(|| session::Early::start(&program), Ok)?),
        Err(exit) => return Ok(exit),
    };
    let begun = session::Start {
        plan,
        program: &program,
        values,
        secrets,
        login,
        state: &project.environment.state,
        notice: &notice,
        home: &project.environment.home,
        side,
    };
    let finished = session::run(begun)?;
    match &start.outcome {
        // Whoever asks for it decides what becomes of the commits.
        Some(file) => told::write(file, plan, &finished)?,
        None => super::settle::report(project, &finished),
    }
    told::kept(&finished);
    let outcome = match finished.outcome {
        Err(error) if !finished.ran => {
            super::gate::tell(&finished.gate);
            return Err(error.into());
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            ui::warn(&format!("the session was ended, because pier {error}{}", cause.unwrap_or_default()));
            Ended::Stopped
        }
        Ok(outcome) => outcome,
    };
    let exit = ended(Ok(outcome))?;
    super::gate::tell(&finished.gate);
    // A command that failed says so by its own code.
    let failure = super::gate::judge(&finished.gate).filter(|_| exit == Exit::Done);
    failure.map_or(Ok(exit), Err)
}

fn notice(notice: Notice) {
    match notice {
        Notice::NotHeld("pids") => {}
        Notice::NotHeld(limit) => ui::warn(&format!(
            "`limits {limit}` is not held: this host has no control group that pier may use (`pier doctor`)"
        )),
        Notice::SpaceUsedUp => ui::warn(
            "the session was ended: it had left less than 2 % (at most 1 GiB) of the project's file system free",
        ),
        Notice::StoreOpen => {
            ui::warn("this kernel has no Landlock, so everything in `/nix/store` can be read and executed");
        }
        Notice::ReadsHistory => {
            ui::warn("git reads the history for what `hide` names; the next start does without");
        }
        Notice::ReadsLogs => ui::say("the agent's log is long: its trajectory is being made"),
        Notice::NotKept => ui::warn(
            "what the agent of a killed session did is not kept yet, for there is no place for it (`pier doctor`)",
        ),
        Notice::OutOfMemory => {
            ui::warn("the kernel ended a process: the session had used up `limits memory`");
        }
    }
}
