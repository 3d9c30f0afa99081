//! The container of a workspace, and its network: a gateway in a process of its own, for as long as the container runs.
//!
//! Called as `pier __gateway`: descriptor 3 is a socket to the call of pier that starts the workspace. What is believed
//! inside is made here and never leaves this process; the values of secrets come by that socket, and stay in its memory.
//! There is no other way out of the container, so that the end of this process is the end of its network.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::place::{Id, Place};
use super::record::Record;
use super::{Error, Outcome, Trust, open_gateway};
use crate::backend::docker::Engine;
use crate::backend::docker::kept::{self, How, Named};
use crate::backend::sandbox::{self, Given, Network};
use crate::backend::{join, protocol};
use crate::gateway::authority::Bundle;
use crate::gateway::publish::{Port, Publisher};
use crate::gateway::secrets::{Handed, Secret};
use crate::gateway::upstream::Login;
use crate::gateway::{Gateway, Sockets};
use crate::plan::Plan;
use crate::sys::process::{self, Ended};
use crate::sys::{fd, spawn};
use crate::util::fs::{read_at_most, read_bounded};

/// The word that makes pier a keeper.
pub const WORD: &str = "__gateway";

const SOCKET: i32 = 3;

/// What its record says that was run.
const COMMAND: [&str; 2] = ["pier", "start"];

/// The file in the directory of a workspace that is locked while its gateway answers. It says by which name that is
/// recorded.
const LOCK: &str = "gateway.lock";

/// What it complains about.
const LOG: &str = "gateway.log";

/// Connections that are written down before anything else is looked at.
const MOST_AT_ONCE: usize = 1024;

/// How long the keeper of the container before may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most that the lock holds, in bytes.
const MOST_NAME: u64 = 64;

/// The most that one side says to the other, in bytes.
const MOST: u64 = 64 << 20;

/// What a keeper needs to know.
#[derive(Serialize, Deserialize)]
struct Task {
    plan: Plan,
    /// pier's own state directory.
    state: Utf8PathBuf,
    /// That of the workspace.
    directory: Utf8PathBuf,
    secrets: Vec<Handed>,
    login: Option<Zeroizing<String>>,
}

/// What is said on the socket. What is long travels in files.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type", deny_unknown_fields)]
enum Word {
    /// To the keeper: a [`Task`].
    Begin,
    /// To its caller: what is believed inside, as PEM, and for Java where that is wanted; nothing without a gateway.
    Believe,
    /// To the keeper: the first process of the container, and where ports are published a socket to what makes sockets
    /// there. The sockets of a gateway follow.
    Hold,
    /// To its caller: whoever connects is answered.
    Answers,
    /// To its caller: there is no gateway.
    Failed { why: String },
}

/// What a workspace is started with.
pub struct Start<'a> {
    pub plan: &'a Plan,
    pub engine: &'a Engine,
    /// Values of the variables that the plan only names.
    pub values: &'a BTreeMap<String, String>,
    /// Its own directory on the host.
    pub directory: &'a Utf8Path,
    pub named: &'a Named,
    /// pier's own state directory.
    pub state: &'a Utf8Path,
    pub secrets: &'a [Secret],
    pub login: Option<&'a Login>,
}

/// Starts the container of a workspace, and its gateway where the plan has one.
pub fn open(start: &Start<'_>) -> Result<How, Error> {
    let Start { plan, engine, values, directory, named, .. } = start;
    let mut keeper = None;
    let mut bundle = None;
    if plan.is_joined() {
        let (made, believed) = Keeper::start(start).map_err(gateway)?;
        (keeper, bundle) = (Some(made), believed);
    }
    let given = Given { values, bundle: bundle.as_ref(), directory };
    let mut connect = |network: &Network, first: BorrowedFd<'_>| {
        let error = |error| sandbox::Error::SetUp { what: "open the gateway", error };
        let Some(keeper) = keeper.take() else { return Err(error(io::ErrorKind::NotConnected.into())) };
        let sockets = plan.network.gateway.as_ref().map(|gateway| network.sockets(&gateway.ports));
        let sockets = sockets.transpose().map_err(error)?;
        let door = (!plan.ports.is_empty()).then(|| network.open_door()).transpose().map_err(error)?;
        keeper.hold(sockets.as_ref(), first, door.as_ref()).map_err(error)
    };
    Ok(kept::open(plan, engine, given, named, &mut connect)?)
}

fn gateway(source: io::Error) -> Error {
    Error::SetUp { what: "open the gateway", source }
}

/// Says whether the gateway of a workspace answers.
pub fn answers(directory: &Utf8Path) -> bool {
    let Ok(file) = File::open(directory.join(LOCK)) else { return false };
    Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
}

/// Returns the name of the session that the connections of a workspace are recorded as, those of the last one if its
/// gateway has ended.
pub fn session(directory: &Utf8Path) -> Option<Id> {
    let text = read_bounded(&directory.join(LOCK), MOST_NAME).ok()?;
    Id::parse(std::str::from_utf8(&text).ok()?)
}

/// A keeper that waits for its container; it ends when this is dropped.
struct Keeper(OwnedFd);

impl Keeper {
    /// Starts it, and returns what is believed inside.
    fn start(start: &Start<'_>) -> io::Result<(Self, Option<Bundle>)> {
        let (socket, theirs) = fd::message_sockets()?;
        let mut log = File::options();
        log.create(true).truncate(true).write(true).mode(0o600);
        let log = log.open(start.directory.join(LOG))?;
        spawn::spawn(&spawn::Program {
            words: &["/proc/self/exe".to_owned(), WORD.to_owned()],
            environment: &[],
            standard_error: log.as_fd(),
            placed: &[(theirs.as_fd(), SOCKET)],
            outlives: true,
        })?;
        drop(theirs);
        let mut plan = start.plan.clone();
        plan.command.argv = COMMAND.map(str::to_owned).to_vec();
        let task = Task {
            plan,
            state: start.state.to_owned(),
            directory: start.directory.to_owned(),
            secrets: start.secrets.iter().map(Handed::from).collect(),
            login: start.login.map(|login| Zeroizing::new(login.plain().to_owned())),
        };
        let file = fd::memory_file(c"pier")?;
        file.write_all_at(&Zeroizing::new(serde_json::to_vec(&task)?), 0)?;
        protocol::send(&socket, &Word::Begin, &[file.as_fd()])?;
        let files = expect(&socket, |word| matches!(word, Word::Believe))?;
        let mut files = files.into_iter().map(|file| read(&file.into()));
        let (pem, java) = (files.next().transpose()?, files.next().transpose()?);
        Ok((Keeper(socket), pem.map(|pem| Bundle { pem, java })))
    }

    /// Lets it answer on these sockets until a process has ended.
    fn hold(
        self,
        sockets: Option<&Sockets>,
        first: BorrowedFd<'_>,
        door: Option<&OwnedFd>,
    ) -> io::Result<()> {
        let given: Vec<BorrowedFd<'_>> = [first].into_iter().chain(door.map(|door| door.as_fd())).collect();
        protocol::send(&self.0, &Word::Hold, &given)?;
        if let Some(sockets) = sockets {
            // Where it has ended, it has said why.
            join::hand(self.0.as_fd(), sockets)
                .or_else(|error| expect(&self.0, |word| matches!(word, Word::Answers)).and(Err(error)))?;
        }
        expect(&self.0, |word| matches!(word, Word::Answers)).map(drop)
    }
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    read_at_most(file, MOST)
}

/// Waits for a word, and returns what travels with it.
fn expect(socket: &OwnedFd, wanted: fn(&Word) -> bool) -> io::Result<Vec<OwnedFd>> {
    match protocol::receive::<Word>(socket)? {
        Some((word, descriptors)) if wanted(&word) => Ok(descriptors),
        Some((Word::Failed { why }, _)) => Err(io::Error::other(why)),
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Runs a keeper.
pub fn main() -> ExitCode {
    let Ok(socket) = fd::adopt(SOCKET) else { return ExitCode::FAILURE };
    let Err(error) = keep(&socket) else { return ExitCode::SUCCESS };
    let why = match &error {
        Error::SetUp { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    // Whoever has gone away needs no answer; a log that cannot be written has nobody to be told to.
    let _told = writeln!(io::stderr(), "{error}: {why}");
    let _gone = protocol::send(&socket, &Word::Failed { why }, &[]);
    ExitCode::FAILURE
}

fn keep(socket: &OwnedFd) -> Result<(), Error> {
    process::forbid_dumps().map_err(gateway)?;
    let begin = expect(socket, |word| matches!(word, Word::Begin)).map_err(gateway)?;
    let task: Task = load(begin).map_err(gateway)?;
    let Task { plan, state, directory, .. } = &task;
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    let lock = options.open(directory.join(LOCK)).map_err(gateway)?;
    let lock = alone(lock).map_err(gateway)?;
    let ports = plan.ports.iter().map(|port| Port::open(&port.listen, port.to));
    let ports = ports.collect::<io::Result<Vec<_>>>().map_err(gateway)?;
    let place = Place::make(state).map_err(gateway)?;
    let rules = plan.network.gateway.as_ref();
    let trust = rules.map(|rules| Trust::make(rules, place.id.as_str(), plan)).transpose()?;
    believe(socket, trust.as_ref().map(|trust| &trust.bundle)).map_err(gateway)?;
    let Ok(given) = expect(socket, |word| matches!(word, Word::Hold)) else {
        // The container was not started.
        return Ok(());
    };
    let missing = || gateway(io::ErrorKind::InvalidData.into());
    let mut given = given.into_iter();
    let first = given.next().ok_or_else(missing)?;
    let secrets = task.secrets.iter().map(Secret::try_from).collect::<Result<Vec<_>, _>>();
    let secrets = secrets.map_err(|error| gateway(io::Error::other(error)))?;
    let login = task.login.as_ref().and_then(|login| Login::new(login));
    lock.write_all_at(place.id.as_str().as_bytes(), 0).map_err(gateway)?;
    let mut record = Record::start(plan, state, place.id.as_str())?;
    let open = || {
        let Some((rules, trust)) = rules.zip(trust) else { return Ok(None) };
        let sockets = join::receive(socket.as_fd(), &rules.ports).map_err(gateway)?;
        open_gateway(rules, sockets, trust, secrets, login).map(Some)
    };
    let publish = || {
        if ports.is_empty() {
            return Ok(None);
        }
        let door = join::door_on(given.next().ok_or_else(missing)?, ());
        Publisher::start(ports, door).map(Some).map_err(gateway)
    };
    let mut opened = match open().and_then(|opened| Ok((opened, publish()?))) {
        Ok((opened, publisher)) => (opened, publisher),
        Err(error) => {
            record.refused();
            return Err(error);
        }
    };
    // Whoever has gone away meanwhile does not hear it; the container is there all the same.
    let _gone = protocol::send(socket, &Word::Answers, &[]);
    let ended = wait(&mut record, opened.0.as_mut(), &first);
    if let Some(gateway) = &mut opened.0 {
        record.last_connections(gateway);
    }
    let code = u8::from(ended.is_err());
    record.end(&ended, code);
    ended.map(drop)
}

/// Waits until there is no other one: it ends with its container.
fn alone(mut lock: File) -> io::Result<Flock<File>> {
    let end = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(held) => return Ok(held),
            Err((file, Errno::EWOULDBLOCK)) if Instant::now() < end => lock = file,
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(io::Error::other("the one of the container before has not ended"));
            }
            Err((_, errno)) => return Err(errno.into()),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends what is believed inside.
fn believe(socket: &OwnedFd, bundle: Option<&Bundle>) -> io::Result<()> {
    let texts = bundle.into_iter().flat_map(|bundle| [Some(&bundle.pem), bundle.java.as_ref()]).flatten();
    let files = texts.map(|text| {
        let file = fd::memory_file(c"pier")?;
        file.write_all_at(text, 0)?;
        Ok(file)
    });
    let files = files.collect::<io::Result<Vec<File>>>()?;
    let files: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
    protocol::send(socket, &Word::Believe, &files)
}

/// Writes down what the gateway does until the container has ended.
fn wait(record: &mut Record, mut gateway: Option<&mut Gateway>, first: &OwnedFd) -> Result<Outcome, Error> {
    loop {
        let mut polled = vec![PollFd::new(first.as_fd(), PollFlags::POLLIN)];
        polled.extend(gateway.as_ref().map(|gateway| PollFd::new(gateway.ready(), PollFlags::POLLIN)));
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::SetUp { what: "wait for the container", source: errno.into() }),
        }
        let over = polled[0].any() == Some(true);
        if let Some(gateway) = &mut gateway {
            record.connections(gateway, MOST_AT_ONCE);
        }
        if over {
            return Ok(Outcome::Ended(Ended::Code(0)));
        }
    }
}

fn load<T: DeserializeOwned>(mut files: Vec<OwnedFd>) -> io::Result<T> {
    let file = files.pop().ok_or(io::ErrorKind::InvalidData)?;
    Ok(serde_json::from_slice(&Zeroizing::new(read(&file.into())?))?)
}
