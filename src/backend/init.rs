//! pier as PID 1 inside a sandbox: proves containment, starts commands, reaps, forwards signals.
//!
//! Called as `/.pier/init __init --connect SOCKET`, as the first process of a container, it gets the same descriptors over
//! that socket. With `--become UID:GID` in front it is root until then. Called as `/.pier/init __init --control SUPERVISOR`, it obeys a supervisor on descriptor 3, proves what the manifest on
//! descriptor 7 says before the command that is named there runs, and ends all of the sandbox when the supervisor
//! goes away. Called as `/.pier/init __init -- COMMAND …`, it runs the one command behind the filters alone, so that
//! the printed command line of a plan can be tried by hand. Called as `pier __init --unconfined`, on the host, it runs what
//! the other side of descriptor 3 says, with no walls at all.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::Winsize;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::manifest::{self, MANIFEST, Manifest};
use super::protocol::{self, Order, Refusal, Report, Walls};
use crate::sys::process::{self, Ended, Program, StartError};
use crate::sys::{failpoint, fd, socket, terminal};

pub mod filter;
mod landlock;
mod serve;
mod unconfined;
mod verify;

use serve::Server;

/// The exit code of a sandbox that was not set up.
const NOT_SET_UP: u8 = 125;

/// How long a container stays for a supervisor to look at it, once all in it has ended.
const RELEASE: Duration = Duration::from_secs(2);

/// The id of the command on the init's own command line.
pub const FIRST: u32 = 0;

/// What asks for one command on this host, without walls.
pub const UNCONFINED: &str = "--unconfined";

/// Runs the init; `words` are those after `__init`.
pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let mut words = words.peekable();
    if words.next_if(|word| word == UNCONFINED).is_some() {
        let served = fd::adopt(protocol::CONTROL).and_then(|socket| {
            fd::close_others(3, &[socket.as_raw_fd()])?;
            unconfined::serve(socket, &[])
        });
        return served.map_or(ExitCode::from(NOT_SET_UP), ExitCode::from);
    }
    if words.next_if(|word| word == "--become").is_some()
        && words.next().is_none_or(|user| become_other(&user).is_err())
    {
        return ExitCode::from(NOT_SET_UP);
    }
    // The number of the supervisor behind it is for those who read a list of processes.
    let control = words.next_if(|word| word == "--control").is_some_and(|_| words.next().is_some());
    let connect = words.next_if(|word| word == "--connect").and_then(|_| words.next());
    #[cfg(debug_assertions)]
    if words.next_if(|word| word == "--failpoint").is_some()
        && let Some(step) = words.next()
    {
        failpoint::arm(step.to_string_lossy().into_owned());
    }
    let given = words.next();
    if (control || connect.is_some()) != given.is_none() || given.is_some_and(|word| word != "--") {
        return ExitCode::from(NOT_SET_UP);
    }
    let from = match connect {
        Some(socket) => From::Socket(socket),
        None if control => From::Parent,
        None => From::Nobody,
    };
    match run(words.collect(), &from) {
        Ok(code) => ExitCode::from(code),
        // Without a supervisor nobody can be told more than by the code.
        Err(_) => ExitCode::from(NOT_SET_UP),
    }
}

/// Becomes the user whose numbers these are, with no capability, and none that could ever be had again.
fn become_other(user: &std::ffi::OsStr) -> io::Result<()> {
    let (uid, gid) =
        user.to_str().and_then(|user| user.split_once(':')).ok_or(io::ErrorKind::InvalidInput)?;
    let number = |text: &str| text.parse().map_err(io::Error::other);
    process::bound_capabilities(&[])?;
    process::become_user(number(uid)?, number(gid)?)?;
    // The kernel takes them from whoever becomes somebody else; root stays root.
    process::hold_capabilities(&[])
}

/// Where the init has its descriptors from.
enum From {
    Nobody,
    /// Placed at their numbers.
    Parent,
    /// Sent by the supervisor of a container.
    Socket(OsString),
}

/// Returns the control socket, the manifest and the streams.
fn adopt(from: &From) -> io::Result<(Option<OwnedFd>, Option<OwnedFd>, [OwnedFd; 3])> {
    match from {
        From::Nobody => Ok((None, None, [fd::standard(0)?, fd::standard(1)?, fd::standard(2)?])),
        From::Parent => {
            let [input, output, error] = protocol::STREAMS;
            let streams = [fd::adopt(input)?, fd::adopt(output)?, fd::adopt(error)?];
            Ok((Some(fd::adopt(protocol::CONTROL)?), Some(fd::adopt(MANIFEST)?), streams))
        }
        From::Socket(path) => {
            let socket = socket::connect_at(path)?;
            let Some((Order::Adopt, descriptors)) = protocol::receive::<Order>(&socket)? else {
                return Err(io::Error::other("there is nothing to adopt"));
            };
            let [manifest, input, output, error]: [OwnedFd; 4] =
                descriptors.try_into().map_err(|_| io::Error::other("four descriptors are needed"))?;
            Ok((Some(socket), Some(manifest), [input, output, error]))
        }
    }
}

fn run(mut argv: Vec<OsString>, from: &From) -> io::Result<u8> {
    process::forbid_dumps()?;
    if !matches!(from, From::Socket(_)) {
        // A container's init has no parent that would mean anything.
        process::die_with_parent()?;
    }
    let (socket, manifest, streams) = adopt(from)?;
    failpoint::reach("init.adopted")?;
    let manifest = socket.as_ref().zip(manifest).map(|(socket, manifest)| read_manifest(socket, manifest));
    let mut manifest = manifest.transpose()?;
    if let Some(manifest) = &mut manifest {
        argv = std::mem::take(&mut manifest.command).into_iter().map(OsString::from).collect();
    }
    let (environment, cwd) = match manifest.as_mut().and_then(|manifest| manifest.container.as_mut()) {
        Some(given) => {
            let pairs = std::mem::take(&mut given.environment).into_iter();
            let pairs = pairs.map(|(name, value)| (name.into(), value.into())).collect();
            (pairs, Some(OsString::from(given.cwd.as_str())))
        }
        None => (environment(), None),
    };
    if let (Some(socket), Some(Manifest { gateway: true, .. })) = (&socket, &manifest) {
        // First of all: the gateway is opened while containment is proven.
        let network = std::fs::File::open("/proc/self/ns/net")?;
        protocol::send(socket, &Report::Network, &[network.as_fd()])?;
    }
    let keep: Vec<i32> = socket.iter().chain(&streams).map(AsRawFd::as_raw_fd).collect();
    fd::close_others(3, &keep)?;
    let mut handled = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        handled.add(signal);
    }
    process::block_signals(&handled)?;
    let signals = SignalFd::with_flags(&handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut init = Init { socket, contained: matches!(from, From::Socket(_)), commands: BTreeMap::new() };
    let known: Vec<i32> = keep.into_iter().chain([signals.as_raw_fd()]).collect();
    let walls = match contain(manifest.as_ref(), &streams, &known) {
        Ok(walls) => walls,
        Err(what) => {
            init.report(&Report::NotContained { what })?;
            return Ok(NOT_SET_UP);
        }
    };
    failpoint::reach("init.silent")?;
    let mut server = None;
    let prepared = init.wait_for_begin(walls, streams).and_then(|begun| {
        failpoint::reach("init.begun")?;
        match begun {
            Begun::Command(streams) => Ok(Some((streams, Program::new(&argv, &environment, cwd)?))),
            Begun::Workspace(listener) => {
                init.report(&Report::Alive { count: 0 })?;
                server = Some(Server::new(listener, walls, environment));
                Ok(None)
            }
        }
    });
    let (streams, first) = match prepared {
        Ok(Some(prepared)) => prepared,
        Ok(None) => {
            drop(init);
            return server.ok_or(io::ErrorKind::InvalidInput)?.serve(&signals);
        }
        Err(error) => {
            // Said aloud, so that nobody takes it for the end of the command.
            let reason = Refusal::SetUp { error: error.to_string() };
            init.report(&Report::Refused { id: FIRST, reason })?;
            return Ok(NOT_SET_UP);
        }
    };
    if let Err(refusal) = init.start(FIRST, &first, streams) {
        let code = serve::refused(&refusal);
        init.report(&Report::Refused { id: FIRST, reason: refusal })?;
        return Ok(code);
    }
    failpoint::pass("init.started");
    init.serve(&signals)
}

/// Reads the manifest once it is said to be whole.
fn read_manifest(socket: &OwnedFd, file: OwnedFd) -> io::Result<Manifest> {
    if !matches!(protocol::receive::<Order>(socket)?, Some((Order::Verify, _))) {
        return Err(io::Error::other("there is nothing to verify"));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(manifest::MOST).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Proves containment, then puts up the walls that a process puts up around itself.
fn contain(
    manifest: Option<&Manifest>,
    streams: &[OwnedFd; 3],
    known: &[i32],
) -> Result<Walls, verify::Finding> {
    let filter =
        || filter::install().map_err(|error| format!("the system call filter cannot be set up: {error}"));
    let Some(manifest) = manifest else {
        filter()?;
        return Ok(Walls { landlock: None, seccomp: true });
    };
    verify::descriptors(known)?;
    verify::all(manifest)?;
    limit(manifest).map_err(|error| format!("limits cannot be set: {error}"))?;
    let landlock = match manifest.allowed.as_slice() {
        [] => None,
        allowed => landlock::restrict(allowed, streams)
            .map_err(|error| format!("Landlock cannot be set up: {error}"))?,
    };
    filter()?;
    verify::filtered()?;
    Ok(Walls { landlock, seccomp: true })
}

/// Sets the limits that a process sets for itself and all that come from it; nothing inside can raise them.
fn limit(manifest: &Manifest) -> nix::Result<()> {
    // One byte, and not none: with a limit of 0 the kernel still starts a core handler on the host.
    setrlimit(Resource::RLIMIT_CORE, 1, 1)?;
    if let Some(processes) = manifest.processes {
        let (_, most) = getrlimit(Resource::RLIMIT_NPROC)?;
        let processes = processes.min(most);
        setrlimit(Resource::RLIMIT_NPROC, processes, processes)?;
    }
    Ok(())
}

/// The environment that the sandbox was started with is the command's.
fn environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

fn refusal_of(error: StartError) -> Refusal {
    match error {
        StartError::Exec(Errno::ENOENT) => Refusal::NotFound,
        StartError::Exec(errno) => Refusal::CannotRun { error: errno.desc().to_owned() },
        StartError::SetUp(step, error) => Refusal::SetUp { error: format!("cannot {step}: {error}") },
    }
}

/// What a supervisor says once containment stands.
enum Begun {
    /// Start the command, with these streams.
    Command([OwnedFd; 3]),
    /// Stay, and start commands for those who connect to this.
    Workspace(OwnedFd),
}

struct Init {
    socket: Option<OwnedFd>,
    /// An engine made what this runs in, and takes it away as soon as this has ended.
    contained: bool,
    /// Running commands by id; a command leads its own process group.
    commands: BTreeMap<u32, Running>,
}

struct Running {
    leader: Pid,
    /// The stream that is its terminal, kept for its size.
    terminal: Option<OwnedFd>,
}

impl Init {
    /// Says that containment stands, waits for the word to go, and returns the streams to go with.
    fn wait_for_begin(&self, walls: Walls, streams: [OwnedFd; 3]) -> io::Result<Begun> {
        let Some(socket) = &self.socket else { return Ok(Begun::Command(streams)) };
        protocol::send(socket, &Report::Ready { version: protocol::VERSION, walls }, &[])?;
        failpoint::reach("init.ready")?;
        match protocol::receive::<Order>(socket)? {
            Some((Order::Begin { version: protocol::VERSION, terminals: [false, false, false] }, _)) => {
                Ok(Begun::Command(streams))
            }
            Some((Order::Begin { version: protocol::VERSION, terminals }, _)) => {
                Ok(Begun::Command(Self::with_terminal(socket, streams, terminals)?))
            }
            Some((Order::Serve { version: protocol::VERSION }, mut descriptors)) => {
                Ok(Begun::Workspace(descriptors.pop().ok_or(io::ErrorKind::InvalidData)?))
            }
            _ => Err(io::Error::other("the supervisor did not begin")),
        }
    }

    /// Makes a terminal in the sandbox's own `/dev/pts`, where programs find its name, and puts it in place of the
    /// marked streams. The supervisor has its other side before anything runs.
    fn with_terminal(socket: &OwnedFd, streams: [OwnedFd; 3], marked: [bool; 3]) -> io::Result<[OwnedFd; 3]> {
        let (master, slave) = terminal::pair()?;
        protocol::send(socket, &Report::Terminal, &[master.as_fd()])?;
        drop(master);
        failpoint::reach("init.terminal")?;
        if !matches!(protocol::receive::<Order>(socket)?, Some((Order::Attached, _))) {
            return Err(io::Error::other("the supervisor did not take the terminal"));
        }
        let mut placed = Vec::with_capacity(3);
        for (stream, marked) in streams.into_iter().zip(marked) {
            placed.push(if marked { slave.try_clone()? } else { stream });
        }
        placed.try_into().map_err(|_| io::Error::other("three streams were made"))
    }

    fn report(&self, report: &Report) -> io::Result<()> {
        match &self.socket {
            Some(socket) => protocol::send(socket, report, &[]),
            None => Ok(()),
        }
    }

    fn start(&mut self, id: u32, program: &Program, streams: [OwnedFd; 3]) -> Result<(), Refusal> {
        let terminal = streams.iter().position(|stream| terminal::size(stream).is_ok());
        let standard: [BorrowedFd<'_>; 3] = [streams[0].as_fd(), streams[1].as_fd(), streams[2].as_fd()];
        let controlling = terminal.map(|index| standard[index]);
        let leader = process::start(program, standard, controlling).map_err(refusal_of)?;
        let terminal = terminal.and_then(|index| streams.into_iter().nth(index));
        self.commands.insert(id, Running { leader, terminal });
        self.report(&Report::Started { id }).map_err(|error| Refusal::SetUp { error: error.to_string() })
    }

    /// Reaps, forwards and obeys until the first command has ended.
    fn serve(&mut self, signals: &SignalFd) -> io::Result<u8> {
        loop {
            // Before the first poll too: a child may have ended before the descriptor was armed.
            while let Some((pid, how)) = process::reap() {
                if let Some(id) = self.forget(pid) {
                    if id == FIRST {
                        // Whoever hears of the end knows that nothing is left that could still change a file.
                        process::kill_all();
                        process::reap_all();
                    }
                    self.report(&Report::Exited { id, how })?;
                    if id == FIRST {
                        self.wait_for_release()?;
                        return Ok(how.code());
                    }
                }
            }
            let mut ready = [false; 2];
            {
                let mut polled = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
                polled.extend(
                    self.socket.as_ref().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)),
                );
                match poll(&mut polled, PollTimeout::NONE) {
                    Ok(_) => {}
                    Err(Errno::EINTR) => continue,
                    Err(error) => return Err(error.into()),
                }
                for (slot, polled) in ready.iter_mut().zip(&polled) {
                    *slot = polled.any().unwrap_or(true);
                }
            }
            if ready[0] {
                self.forward(signals)?;
            }
            if ready[1] && !self.obey()? {
                // The supervisor is gone, and with it all that watched over this sandbox.
                process::kill_all();
                return Ok(Ended::Signal(libc_sigkill()).code());
            }
        }
    }

    /// Waits until the supervisor has read what the kernel counted for this container: it closes its side then.
    fn wait_for_release(&self) -> io::Result<()> {
        let Some(socket) = self.socket.as_ref().filter(|_| self.contained) else { return Ok(()) };
        let until = Instant::now() + RELEASE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
                // Orders that were sent before the end was heard are read past.
                Ok(1..) if protocol::receive::<Order>(socket)?.is_some() => {}
                Err(Errno::EINTR) => {}
                _ => return Ok(()),
            }
        }
    }

    fn forget(&mut self, pid: Pid) -> Option<u32> {
        let id = *self.commands.iter().find(|(_, running)| running.leader == pid)?.0;
        self.commands.remove(&id);
        Some(id)
    }

    /// Hands signals that were sent to PID 1 on to the first command.
    fn forward(&self, signals: &SignalFd) -> io::Result<()> {
        while let Some(info) = signals.read_signal()? {
            let signal = info.ssi_signo.cast_signed();
            if signal != Signal::SIGCHLD as i32
                && let Some(first) = self.commands.get(&FIRST)
            {
                process::signal_group(first.leader, signal);
            }
        }
        Ok(())
    }

    /// Carries out one order; false when the supervisor is gone.
    fn obey(&mut self) -> io::Result<bool> {
        let Some(socket) = &self.socket else { return Ok(true) };
        let Some((order, descriptors)) = protocol::receive::<Order>(socket)? else { return Ok(false) };
        match order {
            Order::Adopt
            | Order::Verify
            | Order::Serve { .. }
            | Order::Run
            | Order::Begin { .. }
            | Order::Attached => {
                return Err(io::Error::other("begun twice"));
            }
            Order::Ping { count } => self.report(&Report::Alive { count })?,
            Order::Signal { id, signal } => {
                if let Some(running) = self.commands.get(&id) {
                    process::signal_group(running.leader, signal);
                }
            }
            Order::Resize { id, rows, columns } => {
                if let Some(terminal) = self.commands.get(&id).and_then(|running| running.terminal.as_ref()) {
                    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                    terminal::resize(terminal, size)?;
                }
            }
            Order::Exec { id, argv, environment, cwd } => {
                if let Err(reason) = self.exec(id, argv, environment, cwd, descriptors) {
                    self.report(&Report::Refused { id, reason })?;
                }
            }
        }
        Ok(true)
    }

    fn exec(
        &mut self,
        id: u32,
        argv: Vec<String>,
        environment: Vec<(String, String)>,
        cwd: String,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), Refusal> {
        let set_up = |error: &str| Refusal::SetUp { error: error.to_owned() };
        if self.commands.contains_key(&id) {
            return Err(set_up("this id is taken"));
        }
        let streams: [OwnedFd; 3] = descriptors.try_into().map_err(|_| set_up("three streams are needed"))?;
        let argv: Vec<OsString> = argv.into_iter().map(OsString::from).collect();
        let pairs: Vec<(OsString, OsString)> =
            environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let program =
            Program::new(&argv, &pairs, Some(cwd.into())).map_err(|error| set_up(&error.to_string()))?;
        self.start(id, &program, streams)
    }
}

fn libc_sigkill() -> i32 {
    Signal::SIGKILL as i32
}
