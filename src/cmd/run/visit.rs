//! `pier exec` in a workspace.

use camino::{Utf8Path, Utf8PathBuf};

use super::super::owner::{self, RootOwned};
use super::super::trials::declared::Declared;
use super::super::workspaces::ended::{has_ended, is_gone};
use super::super::workspaces::meant;
use super::super::{Global, Outcome, project, workspaces};
use super::record::{Recording, Unnamed};
use super::told;
use super::{Away, Ended, Exec, ended, leave, notice};
use crate::agent::detect;
use crate::backend::protocol::{Command, Refusal};
use crate::backend::sandbox::Venue;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::plan::{Agent, MountKind, Plan};
use crate::session::{self, keeper, within};
use crate::ui;
use crate::util::text::escape;
use crate::workspace::{self, Mode, Workspace};

/// Variables of the caller's terminal.
const TERMINAL: [&str; 4] = ["TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR"];

/// Runs a command in a workspace.
pub fn run(global: &Global, found: &Workspace, args: &Exec, away: Away) -> Outcome {
    let Workspace { root, session } = found;
    if args.start.locked || args.start.trust.is_some() || args.start.role.is_some() {
        let message = "`--locked`, `--trust` and `--role` are for projects, and this is a workspace";
        return Err(Failure::new(Exit::Usage, "workspace::usage", message).help("leave them out"));
    }
    let environment =
        owner::settle(Environment::of_process()?, global, root, RootOwned::of_mode(session.mode))?;
    if session.mode == Mode::Host {
        // What says that there is no sandbox is a file in the workspace.
        workspaces::require_own(&environment, root, false)?;
    }
    let not_running = || workspaces::ended::not_running(root);
    let mut plan = workspaces::remembered(&environment, root).ok_or_else(not_running)?.plan;
    meant::enter(&environment, root);
    plan.command.argv.clone_from(&args.command);
    plan.command.cwd = place(&plan.project.at, root)?;
    if session.mode == Mode::Container {
        workspaces::paused::awake(&environment, root, &workspaces::container(found))?;
    }
    let mut variables = variables(&environment, session.mode, root, &plan.command.cwd);
    let declared = declared(global, &environment);
    let agent = detect::detect(&args.command, &declared.words());
    if session.mode == Mode::Container {
        let registered = session.agents.iter().map(String::as_str).chain(agent);
        let own = |name: &str| plan.environment.iter().any(|variable| variable.name == name);
        let settings = workspaces::agents::environment(registered, &plan.user.home);
        variables.extend(settings.into_iter().filter(|(name, _)| !own(name)));
    }
    if let Some(name) = agent {
        let launcher = args.command.first().map(Utf8PathBuf::from).unwrap_or_default();
        let logs = declared.logs(name);
        plan.command.agent = Some(Agent { name: name.to_owned(), version: None, launcher, logs });
    }
    let cwd = plan.command.cwd.to_string();
    let command = Command { argv: args.command.clone(), environment: variables, cwd };
    let detached = match leave(away)? {
        Ok(detached) => detached,
        Err(exit) => return Ok(exit),
    };
    let directory = workspace::private(&environment.state, root);
    let venue = match session.mode {
        Mode::Container => Venue::Workspace(&directory),
        Mode::Host => Venue::Host,
    };
    if session.mode == Mode::Container && plan.is_joined() && !keeper::answers(&directory) {
        ui::warn(
            "the network of this workspace has ended, so that nothing is reached: `pier start` brings it back",
        );
    }
    let home = home(&plan, session.mode, &environment);
    let recorded = Recording::start(root, home.as_deref(), &args.command, &declared);
    let (recording, tape) = recorded.map_or((None, None), |(recording, tape)| (Some(recording), Some(tape)));
    let mut unnamed = Unnamed::default();
    if agent.is_none() && session.mode == Mode::Container {
        unnamed = Unnamed::watch(root, home.as_deref(), &declared);
    }
    let begun = within::Start {
        plan: &plan,
        venue,
        command,
        silence: &|| workspaces::paused::silence(&environment, root),
        state: &environment.state,
        home: home.as_deref(),
        notice: &notice,
        detached,
        tape,
        record: recording.as_ref().map(Recording::place),
        unnamed: &|session, asked, end| unnamed.keep(session, &environment.state, asked, end),
    };
    let finished = within::run(begun);
    if let Some(recording) = recording {
        recording.finish(finished.as_ref().map_or(&[], |finished| finished.others.as_slice()));
    }
    let finished = match finished {
        Err(error) if is_gone(&error) => return Err(not_running()),
        finished => finished?,
    };
    told::kept(&finished);
    match finished.outcome {
        Err(session::Error::Refused(Refusal::NotFound)) => Err(not_found(&args.command, session.mode)),
        Err(session::Error::Refused(Refusal::CannotRun { error })) => {
            let word = escape(args.command.first().map_or("", String::as_str));
            let message = format!("the command `{word}` cannot be executed: {}", escape(&error));
            Err(Failure::new(Exit::CannotRun, "exec::cannot-run", message))
        }
        outcome => {
            if session.mode == Mode::Container && was_killed(&outcome) && has_ended(&directory) {
                ui::warn(
                    "the workspace ended while the command ran: it was stopped, or its engine was; `pier start` starts it",
                );
            }
            ended(outcome)
        }
    }
}

/// Returns the agents that the caller's own configuration declares. A command runs without them, too: then it is recorded only where
/// pier knows its agent.
fn declared(global: &Global, environment: &Environment) -> Declared {
    Declared::of_workspace(global, environment).unwrap_or_else(|failure| {
        let why = failure.report.problems.first().map_or_else(String::new, |problem| problem.message.clone());
        ui::warn(&format!("agents that your configuration declares are not recorded: {}", escape(&why)));
        Declared::default()
    })
}

/// Says whether a command ended as one does that is ended by others.
fn was_killed(outcome: &Result<Ended, session::Error>) -> bool {
    match outcome {
        Ok(Ended::Ended(how)) => [128 + 9, 128 + 15].contains(&how.code()),
        Ok(Ended::Stopped | Ended::Lost) => true,
        Ok(Ended::TimeLimit) | Err(_) => false,
    }
}

fn not_found(argv: &[String], mode: Mode) -> Failure {
    let word = escape(argv.first().map_or("", String::as_str));
    let (message, help) = match mode {
        Mode::Container => (
            format!("there is no command `{word}` in this workspace"),
            "`pier exec -- ls /usr/bin` shows what is there; what the image lacks belongs into its Dockerfile",
        ),
        Mode::Host => (
            format!("there is no command `{word}` on this host"),
            "this workspace runs commands of this host: install it, or name it by its path",
        ),
    };
    Failure::new(Exit::NotFound, "exec::not-found", message).help(help)
}

/// Returns where on this host the home of whoever works in the workspace is.
fn home(plan: &Plan, mode: Mode, environment: &Environment) -> Option<Utf8PathBuf> {
    if mode == Mode::Host {
        return Some(environment.home.clone());
    }
    plan.mounts.iter().find_map(|mount| match &mount.kind {
        MountKind::Bind { source, .. } if mount.at == plan.user.home => Some(source.clone()),
        _ => None,
    })
}

/// Returns where the command runs: the caller's directory, as far as that is in the workspace.
fn place(at: &Utf8Path, root: &Utf8Path) -> Result<Utf8PathBuf, Failure> {
    let below = project::current_directory()?;
    let below = below.strip_prefix(root).unwrap_or(Utf8Path::new(""));
    let mut cwd = at.to_owned();
    // Only what is mounted is there.
    if !below.as_str().is_empty() && !below.starts_with(workspace::OWN) {
        cwd.push(below);
    }
    Ok(cwd)
}

fn variables(
    environment: &Environment,
    mode: Mode,
    root: &Utf8Path,
    cwd: &Utf8Path,
) -> Vec<(String, String)> {
    let variable = |name: &str| Some((name.to_owned(), environment.get(name)?.to_owned()));
    let mut all: Vec<(String, String)> = match mode {
        Mode::Container => TERMINAL.into_iter().filter_map(variable).collect(),
        Mode::Host => environment.names().filter_map(variable).collect(),
    };
    if mode == Mode::Host {
        all.push(("TASK_WORKSPACE".to_owned(), root.to_string()));
    }
    all.retain(|(name, _)| name != "PWD");
    all.push(("PWD".to_owned(), cwd.to_string()));
    all
}
