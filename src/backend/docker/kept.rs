//! Containers that stay: those of workspaces, which end when somebody says so.
//!
//! The init is met as in every session, and then told to serve. Whoever may enter the directory of the workspace on the
//! host reaches it there: no engine is asked for a command.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, ContainerInspectResponse};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, StartContainerOptions,
};
use camino::Utf8Path;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};

use super::engine::{Connected, reason};
use super::launch::{self, remove};
use super::{Engine, Error, create_body, owned};
use crate::backend::protocol::{self, Order, Report};
use crate::backend::sandbox::{self, Given, Network};
use crate::plan::Plan;
use crate::sys::{failpoint, process, socket};
use crate::util::fs::{sha256, write_atomic};

/// The socket in the directory of a workspace on which its init takes commands.
pub const COMMANDS: &str = "commands";

/// The file in the directory of a workspace that says where the kernel counts what it kills there for lack of memory.
pub const MEMORY: &str = "memory";

/// Says which request a container was made by: another one makes another container.
const REQUEST: &str = "pier.request";

/// How long a container may be on its way to its end.
const ENDING: Duration = Duration::from_secs(10);

/// How long the processes of a workspace may take to end when they are asked to.
const ENDS_WITHIN: Duration = Duration::from_millis(400);

/// How long the processes of a container may take to stop.
const PAUSES_WITHIN: Duration = Duration::from_secs(10);

/// How long the init of a workspace may take to answer a guest.
const SERVES_WITHIN: Duration = Duration::from_secs(2);

/// A container by its name.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    /// For others who look for it.
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Absent,
    Stopped,
    Running,
}

/// What a start did with the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Made,
    /// The one that was there, with everything that had been changed in it.
    Continued,
    /// The one that was there had been made for something else.
    Replaced,
}

fn failed(what: &'static str) -> impl Fn(bollard::errors::Error) -> Error {
    move |error| Error::Failed { what, said: reason(&error) }
}

fn inspect(engine: &Connected, name: &str) -> Result<Option<ContainerInspectResponse>, Error> {
    let end = Instant::now() + ENDING;
    loop {
        match engine.wait(engine.docker.inspect_container(name, None::<InspectContainerOptions>)) {
            Ok(found) => return Ok(Some(found)),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => {
                return Ok(None);
            }
            // Podman has a word of its own for one that is ending.
            Err(error) if Instant::now() < end && error.to_string().contains("`stopped`") => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(failed("look at the container")(error)),
        }
    }
}

fn state_of(found: Option<&ContainerInspectResponse>) -> State {
    match found.map(|found| found.state.as_ref().and_then(|state| state.running)) {
        None => State::Absent,
        Some(Some(true)) => State::Running,
        Some(_) => State::Stopped,
    }
}

pub fn state(engine: &Connected, name: &str) -> Result<State, Error> {
    Ok(state_of(inspect(engine, name)?.as_ref()))
}

/// What a container does, where many are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    Running,
    Paused,
    Stopped,
}

/// Returns what all containers with a label do, by its value.
pub fn listed(engine: &Connected, label: &str) -> Result<BTreeMap<String, Listed>, Error> {
    let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let found =
        engine.wait(engine.docker.list_containers(Some(options))).map_err(failed("list containers"))?;
    let state = |container: bollard::models::ContainerSummary| {
        let value = container.labels?.remove(label)?;
        let listed = match container.state.map(|state| state.to_string()).as_deref() {
            Some("running") => Listed::Running,
            Some("paused") => Listed::Paused,
            _ => Listed::Stopped,
        };
        Some((value, listed))
    };
    Ok(found.into_iter().filter_map(state).collect())
}

/// Takes the network of a container that is being started, and its first process: before anything runs there, whoever
/// answers in that network has to.
pub type Connect<'a> = &'a mut dyn FnMut(&Network, BorrowedFd<'_>) -> Result<(), sandbox::Error>;

/// Starts the container of a workspace; one that runs, and that nobody knows of any more, ends first. `connect` is asked where something belongs into its network.
pub fn open(
    plan: &Plan,
    engine: &Engine,
    given: Given<'_>,
    named: &Named,
    connect: Connect<'_>,
) -> Result<How, sandbox::Error> {
    let connected = engine.connect()?;
    let image = owned::image(&connected, plan, launch::above(given.directory))?;
    let body = body(plan, image, given.directory, named);
    if close(&connected, &named.name)? {
        tracing::warn!(container = named.name, "it was running");
    }
    let found = inspect(&connected, &named.name)?;
    let made_by = |found: &ContainerInspectResponse| {
        found.config.as_ref().and_then(|config| config.labels.as_ref()?.get(REQUEST).cloned())
    };
    let wanted = body.labels.as_ref().and_then(|labels| labels.get(REQUEST).cloned());
    let how = match &found {
        None => How::Made,
        Some(found) if made_by(found) == wanted => How::Continued,
        Some(_) => {
            remove(&connected, &named.name);
            How::Replaced
        }
    };
    let prepared = launch::prepare(plan, given)?;
    let commands = listen(given.directory)
        .map_err(|error| sandbox::Error::SetUp { what: "listen for commands", error })?;
    if how != How::Continued {
        let body = launch::as_understood(body, &connected, given.directory)?;
        let options = CreateContainerOptionsBuilder::default().name(&named.name).build();
        let made = connected.wait(connected.docker.create_container(Some(options), body));
        made.map_err(failed("make the container"))?;
    }
    let begun = launch::begin(engine.clone(), connected, named.name.clone());
    failpoint::reach("container.begun").map_err(|error| sandbox::Error::SetUp { what: "go on", error })?;
    let met = begun.map_err(sandbox::Error::from).and_then(|container| {
        let mut starting = launch::meet(plan, given, prepared, container, &launch::nothing()?)?;
        // For those who run commands there.
        let counter = starting.counter().map_or("", Utf8Path::as_str);
        write_atomic(&given.directory.join(MEMORY), counter.as_bytes(), 0o600)
            .map_err(|error| sandbox::Error::SetUp { what: "write where its memory is counted", error })?;
        if plan.is_joined() {
            let (met, network) = starting.network(plan, given.directory)?;
            connect(&network, met.process().ok_or(Error::Ended)?)?;
            starting = met;
        }
        let sandbox = starting.ready()?;
        let serve = || -> io::Result<bool> {
            sandbox.order(&Order::Serve { version: protocol::VERSION }, &[commands.as_fd()])?;
            Ok(matches!(protocol::receive::<Report>(&sandbox.control)?, Some((Report::Alive { .. }, _))))
        };
        match serve() {
            Ok(true) => {
                sandbox.release();
                Ok(())
            }
            Ok(false) => Err(Error::Ended.into()),
            Err(error) => Err(sandbox::Error::SetUp { what: "speak with the sandbox", error }),
        }
    });
    if let (Err(_), How::Made | How::Replaced) = (&met, how)
        && let Ok(connected) = engine.connect()
    {
        remove(&connected, &named.name);
    }
    met.map(|()| how)
}

fn listen(directory: &Utf8Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(directory.join(COMMANDS)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    socket::listen_in(directory, COMMANDS)
}

fn body(plan: &Plan, image: String, directory: &Utf8Path, named: &Named) -> ContainerCreateBody {
    let mut body = create_body(plan, image, directory);
    if let Some(host) = &mut body.host_config {
        host.auto_remove = Some(false);
    }
    body.stop_signal = Some("SIGTERM".into());
    // The same request is the same text: what it is made of has no order of its own.
    let text = serde_json::to_value(&body).map(|value| sorted(value).to_string()).unwrap_or_default();
    let labels = body.labels.get_or_insert_default();
    labels.extend(named.labels.iter().map(|(name, value)| (name.clone(), value.clone())));
    labels.insert(REQUEST.to_owned(), sha256(text.as_bytes()));
    body
}

fn sorted(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let map: BTreeMap<String, Value> =
                map.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(map.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// Ends everything in the container, which stays; false where it did not run.
pub fn close(engine: &Connected, name: &str) -> Result<bool, Error> {
    let found = inspect(engine, name)?;
    if state_of(found.as_ref()) != State::Running {
        return Ok(false);
    }
    thaw(engine, name)?;
    let init = found.and_then(|found| found.state?.pid).and_then(|id| u32::try_from(id).ok());
    let init = init.and_then(|id| process::open_process(id).ok());
    let signal = |signal: &str| {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        match engine.wait(engine.docker.kill_container(name, Some(options))) {
            // It has just ended by itself.
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 409, .. }) | Ok(()) => {
                Ok(())
            }
            Err(error) => Err(failed("end the container")(error)),
        }
    };
    signal("SIGTERM")?;
    if !init.is_some_and(|init| process::has_ended_within(&init, ENDS_WITHIN)) {
        signal("SIGKILL")?;
    }
    // The engine takes a moment to notice.
    let end = Instant::now() + Duration::from_secs(10);
    while state(engine, name)? == State::Running {
        if Instant::now() > end {
            return Err(Error::Failed { what: "end the container", said: "it still runs".into() });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}

/// Says whether somebody has stopped the time in a container.
pub fn is_paused(engine: &Connected, name: &str) -> Result<bool, Error> {
    let found = inspect(engine, name)?.and_then(|found| found.state);
    Ok(found.and_then(|state| state.paused) == Some(true))
}

/// Lets the time go on in a container where somebody has stopped it and gone away; false where nobody has.
pub fn thaw(engine: &Connected, name: &str) -> Result<bool, Error> {
    let paused = is_paused(engine, name)?;
    if paused {
        engine.wait(engine.docker.unpause_container(name)).map_err(failed("let the container go on"))?;
    }
    Ok(paused)
}

/// Says whether the init of a workspace takes commands there, in this directory. That of a start that was killed does not, though
/// its container runs for a moment longer.
pub fn serves(directory: &Utf8Path) -> bool {
    let Ok(guest) = socket::connect_in(directory, COMMANDS) else { return false };
    // It sends away who has nothing to say. Of one that ends, the connection was only in line.
    let asked = shutdown(guest.as_raw_fd(), Shutdown::Write);
    let timeout = PollTimeout::try_from(SERVES_WITHIN).unwrap_or(PollTimeout::MAX);
    let heard = asked.and_then(|()| poll(&mut [PollFd::new(guest.as_fd(), PollFlags::POLLIN)], timeout));
    // One that has too many guests at this moment is there.
    heard == Ok(0) || socket::connect_in(directory, COMMANDS).is_ok()
}

/// Removes all containers whose label has a value.
pub fn discard_all(engine: &Connected, label: &str, value: &str) -> Result<(), Error> {
    let filters = HashMap::from([("label".to_owned(), vec![format!("{label}={value}")])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let found =
        engine.wait(engine.docker.list_containers(Some(options))).map_err(failed("list containers"))?;
    for id in found.into_iter().filter_map(|container| container.id) {
        remove(engine, &id);
    }
    Ok(())
}

/// Stops the time in a container that runs.
pub fn pause(engine: &Connected, name: &str) -> Result<(), Error> {
    let end = Instant::now() + PAUSES_WITHIN;
    loop {
        match engine.wait(engine.docker.pause_container(name)) {
            // The older control groups give up at once where a process waits for a disk just then.
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 500, message })
                if message.contains("unable to freeze") && Instant::now() < end =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            said => return said.map_err(failed("pause the container")),
        }
    }
}

/// Removes the container, running or not, with everything that was changed in it.
pub fn discard(engine: &Connected, name: &str) {
    remove(engine, name);
}

/// Starts a container that was made.
pub(super) fn start(engine: &Connected, name: &str) -> Result<ContainerInspectResponse, Error> {
    engine
        .wait(engine.docker.start_container(name, None::<StartContainerOptions>))
        .map_err(failed("start the container"))?;
    inspect(engine, name)?.ok_or(Error::Ended)
}
