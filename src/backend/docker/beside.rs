//! A helper in the network of a sandbox's container: an engine lets nobody else in.
//!
//! It is pier's own program in a container of its own that shares the network, with the one capability to set that up. It
//! makes the sockets of the gateway, hands them over, and ends, before the command of the sandbox begins; where ports are
//! published it stays, without any capability, and makes sockets.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions};
use camino::{Utf8Path, Utf8PathBuf};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::engine::{Connected, Engine, reason};
use super::launch::remove;
use super::{bind, labels, source_of};
use crate::backend::join::{CONNECT, DOOR, door_on, receive, require_few};
use crate::gateway::Sockets;
use crate::gateway::publish::Door;
use crate::plan::{Access, INIT, Plan, RootFilesystem, image};
use crate::sys::socket;

/// How long a helper may take to connect.
const WITHIN: Duration = Duration::from_secs(20);

/// The program in it, by the name that makes it a helper.
const HELPER: &str = "__join";

/// Makes helpers beside one container.
pub struct Beside {
    engine: Engine,
    container: String,
    image: String,
    program: Option<Utf8PathBuf>,
    session: Utf8PathBuf,
    project: Utf8PathBuf,
}

/// A helper that is removed when it is no longer wanted.
struct Helper {
    engine: Connected,
    id: String,
    /// The engine removes it when it has ended by itself.
    stays: bool,
}

impl Drop for Helper {
    fn drop(&mut self) {
        if !self.stays {
            remove(&self.engine, &self.id);
        }
    }
}

impl Beside {
    pub fn new(engine: Engine, container: String, plan: &Plan, session: &Utf8Path) -> Self {
        let mut mounts = plan.mounts.iter().enumerate();
        let program = mounts.find(|(_, mount)| mount.at == INIT);
        let program = program.and_then(|(index, mount)| source_of(index, mount, session));
        let image = match &plan.root {
            RootFilesystem::Image { digest, .. } => digest.clone(),
            _ => String::new(),
        };
        Beside {
            engine,
            container,
            image,
            program,
            session: session.to_owned(),
            project: plan.project.root.clone(),
        }
    }

    pub fn sockets(&self, ports: &[u16]) -> io::Result<Sockets> {
        require_few(ports)?;
        let words: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let (_helper, socket) = self.start("gateway", &words, &["NET_ADMIN", "NET_BIND_SERVICE"])?;
        receive(socket.as_fd(), ports)
    }

    pub fn door(&self) -> io::Result<Door> {
        let (helper, socket) = self.start("door", &[DOOR.to_owned()], &[])?;
        Ok(door_on(socket, helper))
    }

    /// Returns a socket that [`door_on`] takes, to a helper that ends when the socket is closed, wherever that is by then.
    pub fn open_door(&self) -> io::Result<OwnedFd> {
        let (mut helper, socket) = self.start("door", &[DOOR.to_owned()], &[])?;
        helper.stays = true;
        Ok(socket)
    }

    /// Starts a helper, and returns it with the socket to it.
    fn start(&self, name: &str, words: &[String], capabilities: &[&str]) -> io::Result<(Helper, OwnedFd)> {
        let place = self.session.join(name);
        let clear = || match std::fs::remove_file(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        // What a start that was broken off has left.
        clear()?;
        let listener = socket::listen_in(&self.session, name)?;
        // Its user 0 has no right to others' files. Nobody else can enter the directory around it.
        std::fs::set_permissions(&place, Permissions::from_mode(0o666))?;
        let engine = self.engine.connect().map_err(io::Error::other)?;
        let failed = |error: bollard::errors::Error| io::Error::other(reason(&error));
        let session = self.session.file_name().unwrap_or_default();
        let container = format!("pier-{session}-{name}");
        remove(&engine, &container);
        let options = CreateContainerOptionsBuilder::default().name(&container).build();
        let body = self.body(name, words, capabilities);
        let id = engine.wait(engine.docker.create_container(Some(options), body)).map_err(failed)?.id;
        let helper = Helper { engine, id, stays: false };
        let docker = &helper.engine.docker;
        helper
            .engine
            .wait(docker.start_container(&helper.id, None::<StartContainerOptions>))
            .map_err(failed)?;
        let socket = accept(&listener)?;
        clear()?;
        Ok((helper, socket))
    }

    fn body(&self, name: &str, words: &[String], capabilities: &[&str]) -> ContainerCreateBody {
        let strings = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let at = Utf8Path::new(image::SOCKET);
        let own = self.program.iter().map(|program| bind(program, Utf8Path::new(INIT), Access::ReadOnly));
        let mounts = own.chain([bind(&self.session.join(name), at, Access::ReadOnly)]).collect();
        let host = HostConfig {
            mounts: Some(mounts),
            readonly_rootfs: Some(true),
            network_mode: Some(format!("container:{}", self.container)),
            privileged: Some(false),
            cap_drop: strings(&["ALL"]),
            cap_add: strings(capabilities),
            security_opt: strings(&["no-new-privileges"]),
            pids_limit: Some(16),
            init: Some(false),
            auto_remove: Some(true),
            log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
            ..HostConfig::default()
        };
        let mut command: Vec<String> = [HELPER, CONNECT, image::SOCKET].map(str::to_owned).to_vec();
        command.extend(words.iter().cloned());
        ContainerCreateBody {
            image: Some(self.image.clone()),
            user: Some("0:0".into()),
            entrypoint: strings(&[INIT]),
            cmd: Some(command),
            working_dir: Some("/".into()),
            healthcheck: Some(HealthConfig { test: strings(&["NONE"]), ..HealthConfig::default() }),
            labels: Some(labels(&self.session, &self.project)),
            stop_signal: Some("SIGKILL".into()),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        }
    }
}

/// Takes the one connection.
fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let end = Instant::now() + WITHIN;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], timeout);
        if let Some((connection, _)) = socket::accept(listener)? {
            socket::block(&connection)?;
            return Ok(connection);
        }
        if ready == Ok(0) {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}
