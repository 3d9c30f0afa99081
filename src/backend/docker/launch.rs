//! Makes the container of a plan, and meets its init.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use camino::Utf8Path;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::beside::Beside;
use super::engine::{Connected, reason};
use super::{Engine, Error, GENERATED, create_body, kept, owned, source_of};
use crate::backend::limits::Group;
use crate::backend::protocol::Order;
use crate::backend::sandbox::{self, Body, Given, READY_WITHIN, Sandbox, Starting};
use crate::backend::sources::Sources;
use crate::plan::{MountKind, Plan, image};
use crate::sys::{failpoint, fd, process, socket};
use crate::util::fs::{create_private, read_bounded, read_without_links, write_atomic};

/// A running container.
pub struct Container {
    address: Engine,
    engine: Connected,
    id: String,
    init: u32,
    /// Its init, as the host has it.
    process: OwnedFd,
    /// It is ended and removed when this is dropped.
    pub(super) ends_here: bool,
}

impl Container {
    pub fn process(&self) -> &OwnedFd {
        &self.process
    }

    pub fn id(&self) -> u32 {
        self.init
    }

    /// Returns what can make a helper in the network of this one.
    pub fn beside(&self, plan: &Plan, session: &Utf8Path) -> Beside {
        Beside::new(self.address.clone(), self.id.clone(), plan, session)
    }

    pub fn ends_within(&self, time: Duration) -> bool {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(self.process.as_fd(), PollFlags::POLLIN)], timeout)
            .is_ok_and(|count| count > 0)
    }

    /// Ends it from outside.
    pub fn kill(&self) {
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        if let Err(error) = self.engine.wait(self.engine.docker.kill_container(&self.id, Some(options))) {
            tracing::debug!(%error, container = self.id, "not killed");
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.ends_here {
            return;
        }
        if !self.ends_within(Duration::ZERO) {
            self.kill();
        }
        // The engine does so by itself where it can.
        remove(&self.engine, &self.id);
    }
}

pub(super) fn remove(engine: &Connected, name: &str) {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    if let Err(error) = engine.wait(engine.docker.remove_container(name, Some(options))) {
        tracing::debug!(%error, container = name, "not removed");
    }
}

/// What is on the host before the container starts.
pub(super) struct Prepared {
    listener: OwnedFd,
    sources: Sources,
}

/// Writes what is mounted, listens for the init, and opens the sources of all mounts.
pub(super) fn prepare(plan: &Plan, given: Given<'_>) -> Result<Prepared, sandbox::Error> {
    let set_up = |what| move |error| sandbox::Error::SetUp { what, error };
    let session = given.directory;
    generate(plan, given).map_err(set_up("write a generated file"))?;
    // What a workspace has left.
    match std::fs::remove_file(session.join(image::SOCKET_NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(set_up("remove a socket")(error));
        }
        _ => {}
    }
    let listener =
        socket::listen_in(session, image::SOCKET_NAME).map_err(set_up("listen for the sandbox"))?;
    let sources = Sources::open_with(plan, |index, mount| source_of(index, mount, session))?;
    Ok(Prepared { listener, sources })
}

/// Says in the directory of a session which engine has its containers.
const ENGINE: &str = "engine";

/// The most that such a file holds, in bytes.
const MOST_PATH: u64 = 4096;

/// Removes what a killed supervisor may have left between two words to its engine. What has started ends by itself.
pub fn sweep(session: &Utf8Path) {
    let Ok(text) = read_without_links(&session.join(ENGINE), MOST_PATH) else { return };
    let Ok(socket) = String::from_utf8(text) else { return };
    // An engine that is not there has nothing running, and removes nothing.
    let Ok(engine) = (Engine { socket: socket.into() }).connect() else { return };
    let name = session.file_name().unwrap_or_default();
    for suffix in ["", "-gateway", "-door"] {
        remove(&engine, &format!("pier-{name}{suffix}"));
    }
}

/// Returns pier's own directory of this user, for the directory of a session or a workspace.
pub(super) fn above(directory: &Utf8Path) -> &Utf8Path {
    directory.parent().and_then(Utf8Path::parent).unwrap_or(directory)
}

/// Makes the container, and tells its init what to verify.
pub fn start(
    plan: &Plan,
    engine: &Engine,
    given: Given<'_>,
    streams: &[OwnedFd; 3],
) -> Result<Starting, sandbox::Error> {
    let set_up = |what| move |error| sandbox::Error::SetUp { what, error };
    let prepared = prepare(plan, given)?;
    failpoint::reach("launch.prepared").map_err(set_up("go on"))?;
    let connected = engine.connect()?;
    let written = write_atomic(&given.directory.join(ENGINE), engine.socket.as_str().as_bytes(), 0o600);
    written.map_err(set_up("write which engine it is"))?;
    let name = format!("pier-{}", given.directory.file_name().unwrap_or_default());
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let body = create_body(plan, owned::image(&connected, plan, above(given.directory))?, given.directory);
    let body = as_understood(body, &connected, given.directory)?;
    let made = connected.wait(connected.docker.create_container(Some(options), body));
    made.map_err(|error| Error::Failed { what: "make the container", said: reason(&error) })?;
    if let Err(error) = failpoint::reach("container.made") {
        remove(&connected, &name);
        return Err(set_up("go on")(error));
    }
    let mut container = begin(engine.clone(), connected, name)?;
    container.ends_here = true;
    failpoint::reach("launch.spawned").map_err(set_up("go on"))?;
    meet(plan, given, prepared, container, streams)
}

/// Returns a request as the engine reads it.
pub(super) fn as_understood(
    mut body: ContainerCreateBody,
    engine: &Connected,
    session: &Utf8Path,
) -> Result<ContainerCreateBody, sandbox::Error> {
    if let Some(host) = &mut body.host_config
        && engine.is_podman()?
    {
        let path = session.join("filter.json");
        if let Some(profile) = for_podman(host, &path) {
            write_atomic(&path, profile.as_bytes(), 0o400)
                .map_err(|error| sandbox::Error::SetUp { what: "write the filter of system calls", error })?;
        }
    }
    Ok(body)
}

/// Says a request in Podman's words, and returns the filter of system calls, which it reads from a file.
///
/// It covers what the kernel tells by a list of its own, and gives a file system in memory to root: then everybody may
/// write there, who is nobody but the caller. The init compares what is there with the plan all the same.
fn for_podman(host: &mut HostConfig, filter: &Utf8Path) -> Option<String> {
    let mut profile = None;
    for option in host.security_opt.iter_mut().flatten() {
        if let Some(text) = option.strip_prefix(PROFILE) {
            profile = Some(text.to_owned());
            *option = format!("{PROFILE}{filter}");
        }
    }
    if host.masked_paths.iter().flatten().any(|path| path == image::SYSTEM) {
        host.tmpfs.get_or_insert_default().insert(image::SYSTEM.into(), "ro,size=4k,mode=0555".into());
    }
    for options in host.tmpfs.iter_mut().flat_map(|all| all.values_mut()) {
        // It would begin with what is there beneath, also where that is hidden.
        options.push_str(",notmpcopyup");
        let of_owner = |word: &str| word.starts_with("uid=") || word.starts_with("gid=");
        if options.split(',').any(of_owner) {
            let rest = options.split(',').filter(|word| !of_owner(word) && !word.starts_with("mode="));
            *options = rest.chain(["mode=1777"]).collect::<Vec<_>>().join(",");
        }
    }
    profile
}

/// How the engine is given the filter of system calls.
const PROFILE: &str = "seccomp=";

/// Starts a container that was made; it goes on when the returned value is dropped, unless it is told otherwise.
pub(super) fn begin(address: Engine, engine: Connected, name: String) -> Result<Container, Error> {
    let begun = kept::start(&engine, &name).and_then(|found| {
        let init = found.state.and_then(|state| state.pid).and_then(|id| u32::try_from(id).ok());
        let init = init.filter(|id| *id > 0).ok_or(Error::Ended)?;
        let process = process::open_process(init).map_err(|error| Error::Failed {
            what: "show the processes of the container to this machine",
            said: error.to_string(),
        })?;
        // Of users that are mapped, the caller's number is another one on this machine. Not asked of the engine: it is
        // what the kernel does that counts.
        match (users_of("self"), users_of(&init.to_string())) {
            (Some(own), Some(theirs)) if own == theirs => Ok((init, process)),
            _ => Err(Error::OtherUsers),
        }
    });
    match begun {
        Ok((init, process)) => Ok(Container { address, engine, id: name, init, process, ends_here: false }),
        Err(error) => {
            remove(&engine, &name);
            // Of one that maps users the first process may not even reach its files.
            Err(if engine.maps_users() { Error::OtherUsers } else { error })
        }
    }
}

/// Returns how the users of a process are those of this machine.
fn users_of(process: &str) -> Option<Vec<u8>> {
    read_bounded(Utf8Path::new(&format!("/proc/{process}/uid_map")), MOST_PATH).ok()
}

/// Meets the init of a started container, and tells it what to verify.
pub(super) fn meet(
    plan: &Plan,
    given: Given<'_>,
    prepared: Prepared,
    container: Container,
    streams: &[OwnedFd; 3],
) -> Result<Starting, sandbox::Error> {
    let set_up = |what| move |error| sandbox::Error::SetUp { what, error };
    let Prepared { listener, sources } = prepared;
    let control = connected(&listener, &container)?.ok_or(Error::Ended)?;
    drop(listener);
    // Nothing inside has another one to connect to. An engine that copies files mounts everything once more, so that
    // something has to be there.
    let replaced = write_atomic(&given.directory.join(image::SOCKET_NAME), b"", 0o400);
    replaced.map_err(set_up("remove a socket"))?;
    let manifest = fd::memory_file(c"pier").map_err(set_up("make a memory file"))?;
    let group = Group::of_process(container.id());
    let mut sandbox = Sandbox::new(control, Body::Container(Box::new(container)));
    sandbox.group = group;
    let given_over = [manifest.as_fd(), streams[0].as_fd(), streams[1].as_fd(), streams[2].as_fd()];
    sandbox.order(&Order::Adopt, &given_over).map_err(set_up("speak with the sandbox"))?;
    Starting::verify(sandbox, None, sources, plan, given, &manifest)
}

/// Returns streams that lead nowhere.
pub(super) fn nothing() -> Result<[OwnedFd; 3], sandbox::Error> {
    let null = || -> io::Result<OwnedFd> {
        Ok(std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?.into())
    };
    let all = || Ok([null()?, null()?, null()?]);
    all().map_err(|error| sandbox::Error::SetUp { what: "open /dev/null", error })
}

/// Writes the files that the engine is given by their place, and the links of a directory that it mounts.
fn generate(plan: &Plan, given: Given<'_>) -> io::Result<()> {
    let links = given.directory.join(image::LINKS_NAME);
    match std::fs::remove_dir_all(&links) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    create_private(&links)?;
    for mount in &plan.mounts {
        if let MountKind::Symlink { to } = &mount.kind
            && let Ok(name) = mount.at.strip_prefix(image::LINKS)
        {
            symlink(to, links.join(name))?;
        }
    }
    let directory = given.directory.join(GENERATED);
    create_private(&directory)?;
    for (index, mount) in plan.mounts.iter().enumerate() {
        let content = match &mount.kind {
            MountKind::File { content } => content.as_bytes(),
            MountKind::Certificates { form } => given.certificates(*form),
            MountKind::Hidden { directory: false } => &[],
            _ => continue,
        };
        write_atomic(&directory.join(index.to_string()), content, 0o444)?;
    }
    Ok(())
}

/// Waits for the init to connect; `None` where it has ended instead.
fn connected(listener: &OwnedFd, container: &Container) -> Result<Option<OwnedFd>, sandbox::Error> {
    let set_up = |error: io::Error| sandbox::Error::SetUp { what: "meet the sandbox", error };
    let end = Instant::now() + Duration::from_millis(READY_WITHIN.into());
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let flags = PollFlags::POLLIN;
        let mut polled =
            [PollFd::new(listener.as_fd(), flags), PollFd::new(container.process.as_fd(), flags)];
        match poll(&mut polled, timeout) {
            Ok(0) => return Err(sandbox::Error::TooSlow),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(set_up(error.into())),
        }
        if let Some((control, _)) = socket::accept(listener).map_err(set_up)? {
            socket::block(&control).map_err(set_up)?;
            return Ok(Some(control));
        }
        if polled[1].any() == Some(true) {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podman_is_asked_in_its_own_words() {
        let mut host = HostConfig {
            security_opt: Some(vec!["no-new-privileges".into(), "seccomp={}".into()]),
            masked_paths: Some(vec!["/proc/kcore".into(), "/sys".into()]),
            tmpfs: Some(
                [("/run".to_owned(), "rw,nosuid,mode=0755,uid=1000,gid=1000,size=4k".to_owned())].into(),
            ),
            ..HostConfig::default()
        };
        assert_eq!(for_podman(&mut host, "/session/filter.json".into()).as_deref(), Some("{}"));
        assert_eq!(host.security_opt.unwrap(), ["no-new-privileges", "seccomp=/session/filter.json"]);
        let tmpfs = host.tmpfs.unwrap();
        assert_eq!(tmpfs["/run"], "rw,nosuid,size=4k,notmpcopyup,mode=1777");
        assert_eq!(tmpfs["/sys"], "ro,size=4k,mode=0555,notmpcopyup");
    }
}
