//! A command in a workspace: a session without a sandbox of its own.

use std::io;
use std::time::{Duration, Instant};

use camino::Utf8Path;

use super::asked::{self, Asked};
use super::console::Console;
use super::control::Server;
use super::detach::Detached;
use super::front::Front;
use super::live::{Live, Outside};
use super::place::Place;
use super::pulse::Pulse;
use super::record::Record;
use super::registry::Session;
use super::runs::{self, End, Kept};
use super::space::Space;
use super::tape::Tape;
use super::{Error, Finished, Notice, Outcome, clear, code_of, end_of, gate};
use crate::audit::Event;
use crate::backend::protocol::Command;
use crate::backend::sandbox::{Interruption, PATIENCE, Sandbox, Silence, Venue, Watch};
use crate::plan::Plan;
use crate::sys::failpoint;

/// What a command in a workspace is started with.
pub struct Start<'a> {
    /// That of the workspace, with this command.
    pub plan: &'a Plan,
    pub venue: Venue<'a>,
    pub command: Command,
    /// Why the workspace says nothing, where it does not.
    pub silence: &'a dyn Fn() -> Silence,
    /// pier's own state directory.
    pub state: &'a Utf8Path,
    /// Where an agent writes its logs.
    pub home: Option<&'a Utf8Path>,
    pub notice: &'a dyn Fn(Notice),
    /// `None`: a person, at this process's own streams.
    pub detached: Option<Detached>,
    /// Where what is said goes, too.
    pub tape: Option<Tape>,
    /// The directory below the workspace that has that.
    pub record: Option<&'a Utf8Path>,
    /// Keeps what agents did that the command has started by itself, where it is none.
    pub unnamed: &'a dyn Fn(&Session, &Asked, End) -> Kept,
}

/// Runs the command to its end.
pub fn run(start: Start<'_>) -> Result<Finished, Error> {
    let set_up = |what| move |source: io::Error| Error::SetUp { what, source };
    let Start {
        plan,
        venue,
        command,
        silence,
        state,
        home,
        notice,
        detached,
        tape,
        record: kept_in,
        unnamed,
    } = start;
    // What is told apart by times is told apart from the next one.
    clear(state, notice);
    let place = Place::make(state).map_err(set_up("make a directory for the session"))?;
    let outside = Outside::watch(detached.is_some(), false).map_err(set_up("watch signals"))?;
    let (mut front, streams, caller) = match detached {
        None => {
            let (front, streams) = Front::person(tape).map_err(set_up("set up the streams"))?;
            (front, streams, None)
        }
        Some(Detached { caller, terminal }) => {
            let made = Console::new(state, place.id.as_str(), terminal, tape);
            let (console, streams) = made.map_err(set_up("set up the streams"))?;
            (Front::Nobody(Box::new(console)), streams, Some(caller))
        }
    };
    if plan.command.agent.is_some() {
        asked::show(&place.path, &plan.command.argv).map_err(set_up("say what is asked"))?;
        front.listen(&place.path);
    }
    let terminals = front.terminals();
    let interruption = Interruption { fd: outside.signals(), take: &|| outside.ending() };
    let watch = Watch { interruption: Some(interruption), silence };
    let sandbox = Sandbox::visit(venue, &command, &streams, watch)?;
    drop(streams);
    let mut record = Record::start(plan, state, place.id.as_str())?;
    let server = Server::listen(&place.path).map_err(set_up("listen for requests"))?;
    let session = Session::of(plan, &place, caller.is_some(), terminals[0], Vec::new());
    let session = session.with_home(home).with_record(kept_in);
    session.store(&place).map_err(set_up("list the session"))?;
    let begun = record.walls(plan, sandbox.walls).map_err(Error::from).and_then(|()| {
        failpoint::reach("session.ready").map_err(set_up("start the command"))?;
        sandbox.begin(terminals, Some(watch), |master| front.attach(master))?;
        Ok(sandbox.wait_for_word(watch)?)
    });
    if let Err(error) = begun {
        record.refused();
        return Err(error);
    }
    let limit = plan.limits.wall.map(Duration::from_secs);
    let mut live = Live {
        id: place.id.clone(),
        sandbox,
        front,
        outside,
        server,
        record,
        caller,
        gateway: None,
        started: false,
        deadline: limit.map(|limit| Instant::now() + limit),
        leaving: None,
        space: Space::watch(&plan.project.root),
        pulse: Pulse::of(&place.path),
        used_up: false,
        later: None,
        interrupted: None,
        guest: None,
    };
    let outcome: Result<Outcome, Error> = live.watch();
    let Live { started: ran, mut sandbox, mut front, server, mut record, used_up, .. } = live;
    sandbox.end(PATIENCE);
    front.finish();
    if used_up {
        notice(Notice::SpaceUsedUp);
    }
    if sandbox.group.out_of_memory() {
        record.note(&Event::Limit { what: "the memory".into() });
        notice(Notice::OutOfMemory);
    }
    let id = place.id.to_string();
    let code = code_of(&outcome, ran);
    let kept = ran.then(|| {
        let (asked, end) = (front.asked(&plan.command.argv), end_of(&outcome, code, &record));
        if session.agent.is_none() {
            return unnamed(&session, &asked, end);
        }
        let record = kept_in.and_then(Utf8Path::file_name);
        runs::keep(&session, state, end, &asked, record, &|| notice(Notice::ReadsLogs))
    });
    let Kept { run, others, .. } = kept.unwrap_or_default();
    asked::forget(&place.path);
    record.end(&outcome, code);
    server.farewell(code);
    place.discard();
    Ok(Finished { id, outcome, ran, commits: Ok(None), gate: gate::Report::nothing(plan.gate), run, others })
}
