//! A plan made real: state prepared, sandbox started, terminal relayed, the command's own exit code returned.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use thiserror::Error;

use crate::audit::{self, Event};
use crate::backend::protocol::Refusal;
use crate::backend::sandbox::{self, Given, PATIENCE, Program, Sandbox, Waiting};
use crate::gateway::authority::{Authority, Bundle};
use crate::gateway::publish::{self, Publisher};
use crate::gateway::secrets::Secret;
use crate::gateway::upstream::{Login, Upstream};
use crate::gateway::{Gateway, Settings, Sockets};
use crate::plan::{self, Plan, RootFilesystem};
use crate::sys::failpoint;
use crate::sys::process::Ended;
use crate::util::fs::read_bounded;

pub mod aside;
pub mod asked;
pub mod attribution;
pub mod beneath;
mod console;
mod control;
pub mod detach;
mod front;
pub mod gate;
pub mod keeper;
mod live;
pub mod log;
mod modes;
pub mod place;
pub mod prepare;
mod pulse;
pub mod reaper;
mod record;
pub mod registry;
mod relay;
pub mod runs;
pub mod shadow;
mod space;
pub mod spare;
pub mod stop;
pub mod tape;
pub mod trust;
pub mod visit;
pub mod within;

use control::Server;
use detach::Detached;
use front::Front;
use gate::Gate;
use live::{Live, Outside};
use place::Place;
use pulse::Pulse;
use reaper::Fate;
use record::Record;
use registry::Session;
use runs::Kept;
use shadow::Unfilled;
use shadow::import::{Imported, Work, import, look};
use space::Space;

/// How many dead sessions a start clears away; `pier doctor` clears the rest.
const A_FEW: usize = 4;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command ran and ended.
    Ended(Ended),
    /// The wall clock of the plan ran out.
    TimeLimit,
    /// The sandbox was ended on request, because the command did not end by itself.
    Stopped,
    /// The sandbox went away under the command.
    Lost,
}

impl Outcome {
    /// Returns the exit code that stands for it.
    pub fn code(self) -> u8 {
        match self {
            Outcome::Ended(how) => how.code(),
            Outcome::TimeLimit => 124,
            Outcome::Stopped | Outcome::Lost => 137,
        }
    }
}

/// Why a session did not run. Only [`Error::Refused`] comes after the sandbox stood; nothing ran in any case.
#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Prepare(#[from] prepare::Error),
    #[error(transparent)]
    Shadow(#[from] shadow::Error),
    #[error(transparent)]
    Launch(#[from] sandbox::Error),
    #[error(transparent)]
    Audit(#[from] audit::Error),
    #[error("cannot {what}")]
    SetUp {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the command was refused inside")]
    Refused(Refusal),
}

/// What a person should hear about a session while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A limit that was asked for, not required, and that nothing on this host holds.
    NotHeld(&'static str),
    /// The session was ended because it had filled up the file system of the project.
    SpaceUsedUp,
    /// Something is hidden, and git takes its time to tell where the history has it.
    ReadsHistory,
    /// The agent's logs are long, and it takes a while to make a trajectory of them.
    ReadsLogs,
    /// What the agent of a killed session did has no place yet.
    NotKept,
    /// The kernel killed a process because the memory of the session was used up.
    OutOfMemory,
    /// The kernel has no Landlock, so the whole Nix store can be read and executed.
    StoreOpen,
}

/// Clears away what is dead, before somebody is taken for one of them.
fn clear(state: &Utf8Path, notice: &dyn Fn(Notice)) {
    let dead = reaper::clear(state, A_FEW, &|| notice(Notice::ReadsLogs));
    if dead.iter().any(|one| matches!(one.fate, Fate::Waits(_))) {
        notice(Notice::NotKept);
    }
}

/// What a session is started with.
pub struct Start<'a> {
    pub plan: &'a Plan,
    pub program: &'a Program,
    /// Values of the variables that the plan only names.
    pub values: &'a BTreeMap<String, String>,
    /// pier's own state directory, where the session gets one of its own.
    pub state: &'a Utf8Path,
    pub notice: &'a dyn Fn(Notice),
    /// What the gateway adds to requests; `values` has what stands for them inside.
    pub secrets: Vec<Secret>,
    /// For the proxy that takes connections out.
    pub login: Option<Login>,
    /// The user's home, for the name in commits.
    pub home: &'a Utf8Path,
    pub side: Side,
}

/// Who is in front of a session.
pub enum Side {
    /// The caller's own streams.
    Person(Early),
    /// Nobody: it goes on without this terminal.
    Nobody(Detached),
}

/// A bubblewrap for the person who calls, started while nothing is known yet but where it is.
pub struct Early {
    front: Front,
    waiting: Waiting,
}

impl Early {
    pub fn start(program: &Program) -> Result<Self, Error> {
        let set_up = |source| Error::SetUp { what: "set up the streams", source };
        let (front, streams) = Front::person(None).map_err(set_up)?;
        Ok(Early { front, waiting: Waiting::start(program, streams)? })
    }
}

/// A session that has ended.
pub struct Finished {
    pub id: String,
    /// An error where the command was refused, or the session could not be watched to its end.
    pub outcome: Result<Outcome, Error>,
    /// The command was started.
    pub ran: bool,
    /// What it committed, where it has a private git directory and used it.
    pub commits: Result<Option<Imported>, shadow::Error>,
    /// What it leaves that the host would execute or obey.
    pub gate: gate::Report,
    /// Where the trajectory of its agent is.
    pub run: Option<Result<Utf8PathBuf, runs::Failed>>,
    /// Logs of its agent that were written meanwhile by others, relative to their home.
    pub others: Vec<Utf8PathBuf>,
}

/// Runs the plan's command to its end, and imports what it committed.
pub fn run(start: Start<'_>) -> Result<Finished, Error> {
    let set_up = |what| move |source| Error::SetUp { what, source };
    let Start { plan, program, values, secrets, login, state, home, notice, side } = start;
    let place = Place::make(state).map_err(set_up("make a directory for the session"))?;
    if !secrets.is_empty() || login.is_some() {
        // Their values are in this process's memory.
        crate::sys::process::forbid_dumps().map_err(set_up("close this process's memory"))?;
    }
    let ports = plan.ports.iter().map(|port| publish::Port::open(&port.listen, port.to));
    let ports = ports.collect::<io::Result<Vec<_>>>().map_err(set_up("publish a port"))?;
    let step = |result: io::Result<()>| result.map_err(set_up("go on"));
    step(failpoint::reach("session.place"))?;
    prepare::prepare(plan, &place.path, None)?;
    let slow = || notice(Notice::ReadsHistory);
    let shadow = shadow::prepare(plan, &place.path, home, &slow)?;
    step(failpoint::reach("session.prepared"))?;
    let outside = Outside::watch(matches!(side, Side::Nobody(_)), true).map_err(set_up("watch signals"))?;
    let (mut front, waiting, caller) = match side {
        Side::Person(Early { front, waiting }) => (front, waiting, None),
        Side::Nobody(Detached { caller, terminal }) => {
            let (front, streams) =
                Front::nobody(state, place.id.as_str(), terminal).map_err(set_up("set up the streams"))?;
            (front, Waiting::start(program, streams)?, Some(caller))
        }
    };
    if plan.command.agent.is_some() {
        asked::show(&place.path, &plan.command.argv).map_err(set_up("say what is asked"))?;
        front.listen(&place.path);
    }
    step(failpoint::reach("session.front"))?;
    let trust = plan.network.gateway.as_ref().map(|gateway| Trust::make(gateway, place.id.as_str(), plan));
    let trust = trust.transpose()?;
    let bundle = trust.as_ref().map(|trust| &trust.bundle);
    let starting = Sandbox::start(plan, program, Given { values, bundle, directory: &place.path }, waiting);
    // From here on beside bubblewrap, which takes longer; its init waits before it runs anything.
    let mut record = Record::start(plan, state, place.id.as_str())?;
    let terminals = front.terminals();
    let stand = || {
        step(failpoint::reach("session.recorded"))?;
        let starting = starting?;
        let gate = Gate::open(plan).map_err(set_up("look at the project"))?;
        let shadow = shadow.map(Unfilled::fill).transpose()?;
        let server = Server::listen(&place.path).map_err(set_up("listen for requests"))?;
        let session = Session::of(plan, &place, caller.is_some(), terminals[0], starting.groups());
        session.store(&place).map_err(set_up("list the session"))?;
        step(failpoint::reach("session.stored"))?;
        clear(state, notice);
        if let Err(error) = spare::make(state, &place.path) {
            tracing::debug!(%error, "the next session makes its own directories");
        }
        let mut opened = (None, None);
        let starting = if plan.network.gateway.is_none() && ports.is_empty() {
            starting
        } else {
            let (starting, network) = starting.network(plan, &place.path)?;
            if let (Some(gateway), Some(trust)) = (&plan.network.gateway, trust) {
                let sockets = network.sockets(&gateway.ports).map_err(set_up("open the gateway"))?;
                opened.0 = Some(open_gateway(gateway, sockets, trust, secrets, login)?);
            }
            if !ports.is_empty() {
                let publisher = network.door().and_then(|door| Publisher::start(ports, door));
                opened.1 = Some(publisher.map_err(set_up("publish a port"))?);
            }
            starting
        };
        Ok((starting.ready()?, gate, shadow, server, opened, session))
    };
    let (sandbox, gate, shadow, server, (gateway, published), session) = match stand() {
        Ok(stands) => stands,
        Err(error) => {
            record.refused();
            clear(state, notice);
            return Err(error);
        }
    };
    tracing::debug!(session = %place.id, bubblewrap = sandbox.id(), "the sandbox is ready");
    let gate = gate.ready();
    for kind in &sandbox.group.missing {
        notice(Notice::NotHeld(kind.name()));
    }
    if matches!(plan.root, RootFilesystem::Nix { .. }) && sandbox.walls.landlock.is_none() {
        notice(Notice::StoreOpen);
    }
    let take = |master| front.attach(master).and_then(|()| failpoint::reach("session.terminal"));
    let begun = record.walls(plan, sandbox.walls).map_err(Error::from).and_then(|()| {
        step(failpoint::reach("session.ready"))?;
        Ok(sandbox.begin(terminals, None, take)?)
    });
    if let Err(error) = begun {
        record.refused();
        return Err(error);
    }
    failpoint::pass("session.begun");
    let limit = plan.limits.wall.map(Duration::from_secs);
    let mut live = Live {
        id: place.id.clone(),
        sandbox,
        front,
        outside,
        server,
        record,
        caller,
        gateway,
        started: false,
        deadline: limit.map(|limit| Instant::now() + limit),
        leaving: None,
        space: Space::watch(&plan.project.root),
        pulse: Pulse::of(&place.path),
        used_up: false,
        later: Some(spare::Later::new(state, &place.path)),
        interrupted: None,
        guest: None,
    };
    let outcome = live.watch();
    let Live { started: ran, mut sandbox, mut front, server, mut record, gateway, used_up, .. } = live;
    failpoint::pass("session.ended");
    // Nothing inside writes any more once it has ended, so that what is left has an end.
    let gone = sandbox.end(PATIENCE);
    drop(published);
    if let Some(mut gateway) = gateway {
        record.last_connections(&mut gateway);
    }
    front.finish();
    if used_up {
        notice(Notice::SpaceUsedUp);
    }
    if sandbox.group.out_of_memory() {
        record.note(&Event::Limit { what: "the memory".into() });
        notice(Notice::OutOfMemory);
    }
    let id = place.id.to_string();
    let kept = (gone && ran).then(|| {
        let end = end_of(&outcome, code_of(&outcome, ran), &record);
        let asked = front.asked(&plan.command.argv);
        runs::keep(&session, state, end, &asked, None, &|| notice(Notice::ReadsLogs))
    });
    let Kept { run, others, .. } = kept.unwrap_or_default();
    asked::forget(&place.path);
    // Whatever went wrong since the command was let go: what it has done is looked at.
    let refused = matches!(outcome, Err(Error::Refused(_)));
    let work = match &shadow {
        Some(shadow) if !refused && gone => look(shadow),
        Some(_) if !refused => Err(shadow::Error::Running),
        _ => Ok(None),
    };
    let judge = || if refused { gate::Report::nothing(plan.gate) } else { gate.close(state, &id, gone) };
    let (gate, commits) = if let (Some(shadow), Ok(Some(_)) | Err(_)) = (&shadow, &work) {
        // What an import writes is nothing that the session has changed: it comes after the look.
        let gate = judge();
        let take = |work: Option<Work>| work.map(|work| import(shadow, work, &id, state, home));
        let commits = work.and_then(|work| take(work).unwrap_or(Ok(None)));
        // What could not be imported, or is in no commit, waits for `pier merge` or `pier drop`.
        match &commits {
            Err(error) => place.keep(&error.to_string()),
            Ok(Some(imported)) if imported.uncommitted => place.keep("changes that no commit has"),
            Ok(_) => place.retire(state, !plan.project.ephemeral),
        }
        (gate, commits)
    } else {
        let gate = judge();
        place.retire(state, !plan.project.ephemeral);
        (gate, Ok(None))
    };
    // Waits for bubblewrap, which has been killed, and removes the control groups.
    drop(sandbox);
    record.gate(&gate);
    record.imported(&commits);
    failpoint::pass("session.cleared");
    let code = code_of(&outcome, ran);
    record.end(&outcome, code);
    let code = if gate.fails() { code.max(1) } else { code };
    server.farewell(code);
    Ok(Finished { id, outcome, ran, commits, gate, run, others })
}

/// Returns how the command ended.
fn end_of(outcome: &Result<Outcome, Error>, code: u8, record: &Record) -> runs::End {
    let how = match outcome {
        // Most programs end by themselves when they are told to.
        Ok(Outcome::Ended(Ended::Code(own))) if !record.signalled => runs::How::Itself(*own),
        _ => runs::How::Stopped,
    };
    runs::End { code, how, answers: record.answers }
}

/// Returns the exit code that pier ends with.
fn code_of(outcome: &Result<Outcome, Error>, ran: bool) -> u8 {
    match outcome {
        Ok(outcome) => outcome.code(),
        Err(Error::Refused(Refusal::NotFound)) => 127,
        Err(Error::Refused(Refusal::CannotRun { .. })) => 126,
        Err(_) if ran => 137,
        Err(_) => 125,
    }
}

/// Whom a session believes, and what is believed inside.
struct Trust {
    authority: Authority,
    bundle: Bundle,
    /// The host's own certificates.
    roots: Vec<u8>,
}

/// The largest bundle of certificates, in bytes.
const MOST_ROOTS: u64 = 16 * 1024 * 1024;

impl Trust {
    fn make(gateway: &plan::Gateway, session: &str, plan: &Plan) -> Result<Self, Error> {
        let set_up = |what| move |source| Error::SetUp { what, source };
        let authority = Authority::new(session)
            .map_err(io::Error::other)
            .map_err(set_up("make the session's certificates"))?;
        let roots = match &gateway.roots {
            Some(path) => {
                read_bounded(path, MOST_ROOTS).map_err(set_up("read the certificates of the host"))?
            }
            None => Vec::new(),
        };
        let java = |mount: &plan::Mount| {
            matches!(mount.kind, plan::MountKind::Certificates { form: plan::CertificateForm::Java })
        };
        let bundle = authority.bundle(&roots, plan.mounts.iter().any(java));
        Ok(Trust { authority, bundle, roots })
    }
}

/// Opens the sandbox's only way out.
fn open_gateway(
    gateway: &plan::Gateway,
    sockets: Sockets,
    trust: Trust,
    secrets: Vec<Secret>,
    login: Option<Login>,
) -> Result<Gateway, Error> {
    let failed = |source| Error::SetUp { what: "open the gateway", source };
    let Trust { authority, roots, .. } = trust;
    Gateway::start(
        sockets,
        Settings {
            rules: gateway.rules.clone(),
            budgets: gateway.budgets.clone(),
            upstream: gateway.upstream.as_ref().map(|upstream| Upstream {
                host: upstream.host.clone(),
                port: upstream.port,
                login,
            }),
            authority,
            secrets,
            roots,
        },
    )
    .map_err(failed)
}

/// The three streams of a command.
type Streams = [OwnedFd; 3];
