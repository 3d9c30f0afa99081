//! `pier up`, `pier shell`, `pier exec`: plan, approval, session, exit code.

use clap::Args;

use super::owner::RootOwned;
use super::project::{self, Fetch, Planned, Project};
use super::{Global, Outcome};
use crate::backend::bwrap::program;
use crate::diag::{Exit, Failure};
use crate::plan::Target;
use crate::session::{self, Notice, Outcome as Ended};
use crate::ui;

#[derive(Debug, Default, Args)]
#[command(
    after_help = "Examples:\n  pier up                              the default agent, interactive\n  \
    pier up claude-code -- -p \"fix it\"   one prompt, no terminal needed\n  pier up --locked                     only what `pier.lock` pins"
)]
pub struct Up {
    /// The agent; the default one, or the only one, otherwise.
    agent: Option<String>,
    /// Arguments for the agent.
    #[arg(last = true, value_name = "ARGS")]
    extra: Vec<String>,
    #[command(flatten)]
    start: Start,
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
}

pub fn up(global: &Global, args: Up) -> Outcome {
    let project = project::load(global, RootOwned::Refuse)?;
    let agents = &project.loaded.config.agents;
    let default = project.loaded.config.default_agent();
    let name = match (args.agent, default) {
        (Some(name), _) => name,
        (None, Some(agent)) => agent.name.value.clone(),
        (None, None) => {
            let what = if agents.is_empty() {
                "no agent is declared"
            } else {
                "several agents are declared and none is the default"
            };
            return Err(Failure::new(Exit::Usage, "agent::none", what)
                .help("name one, as in `pier up claude-code`, or add `agent claude-code default=#true` to `pier.kdl`"));
        }
    };
    start(&project, &Target::Agent { name, extra: args.extra }, &args.start)
}

pub fn shell(global: &Global, args: &Shell) -> Outcome {
    start(&project::load(global, RootOwned::Refuse)?, &Target::Shell, &args.start)
}

pub fn exec(global: &Global, args: Exec) -> Outcome {
    let project = project::load(global, RootOwned::Refuse)?;
    start(&project, &Target::Exec { argv: args.command }, &args.start)
}

fn start(project: &Project, target: &Target, start: &Start) -> Outcome {
    if start.locked {
        super::lock::require(project)?;
    }
    let planned = project::plan(project, target, Fetch::Install, start.trust.as_deref())?;
    project::approve(project, &planned.plan, start.trust.as_deref())?;
    for warning in &planned.plan.warnings {
        ui::warn(&crate::util::text::escape(warning));
    }
    let wanted = project.environment.get("PIER_BWRAP").map(camino::Utf8Path::new);
    let cache = project.environment.cache.join("bwrap.json");
    let program = program::find(wanted, Some(&cache))?;
    project::keep_plan(project, &planned.plan)?;
    let Planned { plan, values, shell: _held } = &planned;
    let begun = session::Start {
        plan,
        program: &program,
        values,
        state: &project.environment.state,
        notice: &notice,
    };
    Ok(match session::run(&begun)? {
        Ended::Ended(how) => match how.code() {
            0 => Exit::Done,
            code => Exit::Child(code),
        },
        Ended::TimeLimit => {
            ui::warn("the wall clock limit of the session ran out");
            Exit::TimeLimit
        }
        Ended::Lost => {
            ui::warn("the sandbox was killed from outside");
            Exit::Child(137)
        }
    })
}

fn notice(notice: Notice) {
    match notice {
        Notice::NotHeld("pids") => {}
        Notice::NotHeld(limit) => ui::warn(&format!(
            "`limits {limit}` is not held: this host has no control group that pier may use (`pier doctor`)"
        )),
        Notice::StoreOpen => {
            ui::warn("this kernel has no Landlock, so everything in `/nix/store` can be read and executed");
        }
        Notice::OutOfMemory => {
            ui::warn("the kernel ended a process: the session had used up `limits memory`");
        }
    }
}
