//! A container that is made of an image and never started: to look into the image.
//!
//! Whoever makes one removes it. Where that is ended first, by whatever signal, a process beside it does: `pier __still`,
//! which is in a session of its own and reads on descriptor 3 what the container is called. What even that could not
//! remove says by its label who made it, and goes with the next one, and with `pier doctor` and `pier cache prune`.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};

use super::engine::{Connected, Engine, reason};
use super::launch::remove;
use super::{Error, LABEL};
use crate::sys::{failpoint, fd, process, socket, spawn};
use crate::util::fs::{hex, read_bounded};

/// The word that makes pier what removes one.
pub const WORD: &str = "__still";

const SOCKET: i32 = 3;

/// The label that says who made it, as [`maker`] does.
const MAKER: &str = "pier.still";

/// How their names begin.
const PREFIX: &str = "pier-still-";

/// What is said of one that is gone, after the engine's socket and its name, each in a line.
const DONE: &str = "done";

/// The most that is read of that, in bytes.
const MOST: u64 = 8192;

/// How often the engine is asked again for one that it may have been making when its maker ended, and how long it may take.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// It is removed when this is dropped.
pub(super) struct Still<E: Borrow<Connected>> {
    engine: E,
    pub id: String,
    /// Whoever removes it if this process cannot.
    beside: Option<Beside>,
}

impl<E: Borrow<Connected>> Still<E> {
    pub fn make(engine: E, digest: &str) -> Result<Self, Error> {
        let failed = |said| Error::Failed { what: "look into an image", said };
        let connected = engine.borrow();
        if let Err(error) = clear(connected) {
            tracing::debug!(%error, "what killed calls have left stays");
        }
        let mut random = [0; 8];
        process::random(&mut random).map_err(|error| failed(error.to_string()))?;
        let name = format!("{PREFIX}{}", hex(&random));
        let labels = [(LABEL.to_owned(), String::new()), (MAKER.to_owned(), maker())];
        let body = ContainerCreateBody {
            image: Some(digest.to_owned()),
            // An image without a command has to be given one.
            entrypoint: Some(vec!["/".to_owned()]),
            network_disabled: Some(true),
            labels: Some(labels.into()),
            host_config: Some(HostConfig { network_mode: Some("none".into()), ..HostConfig::default() }),
            ..ContainerCreateBody::default()
        };
        // Without it the label is still there.
        let beside = Beside::start(connected, &name)
            .inspect_err(|error| tracing::debug!(%error, name, "nobody stands by"))
            .ok();
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let made = connected.wait(connected.docker.create_container(Some(options), body));
        match made {
            Ok(made) => {
                let still = Still { engine, id: made.id, beside };
                failpoint::reach("container.looked").map_err(|error| failed(error.to_string()))?;
                Ok(still)
            }
            Err(error) => {
                if let Some(beside) = beside {
                    beside.done();
                }
                Err(failed(reason(&error)))
            }
        }
    }

    pub fn engine(&self) -> &Connected {
        self.engine.borrow()
    }
}

impl<E: Borrow<Connected>> Drop for Still<E> {
    fn drop(&mut self) {
        remove(self.engine.borrow(), &self.id);
        if let Some(beside) = self.beside.take() {
            beside.done();
        }
    }
}

/// The process that removes a container as soon as this one is gone without a word.
struct Beside {
    socket: File,
    child: spawn::Child,
}

impl Beside {
    fn start(engine: &Connected, name: &str) -> io::Result<Self> {
        let (own, theirs) = socket::byte_sockets()?;
        let nothing = File::options().write(true).open("/dev/null")?;
        let child = spawn::spawn(&spawn::Program {
            words: &["/proc/self/exe".to_owned(), WORD.to_owned()],
            environment: &[],
            standard_error: nothing.as_fd(),
            placed: &[(theirs.as_fd(), SOCKET)],
            outlives: true,
        })?;
        let mut socket = File::from(own);
        socket.write_all(format!("{}\n{name}\n", engine.socket).as_bytes())?;
        Ok(Beside { socket, child })
    }

    fn done(self) {
        let Beside { mut socket, child } = self;
        // One that has ended needs no word.
        let _told = socket.write_all(DONE.as_bytes());
        drop(socket);
        if let Err(error) = child.wait() {
            tracing::debug!(%error, "not waited for");
        }
    }
}

/// Waits until the maker of a container is gone, and removes what it has left.
pub fn main() -> ExitCode {
    match fd::adopt(SOCKET).and_then(stand_by) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn stand_by(socket: OwnedFd) -> io::Result<()> {
    let mut text = String::new();
    File::from(socket).take(MOST).read_to_string(&mut text)?;
    let mut lines = text.lines();
    let (Some(engine), Some(name), None) = (lines.next(), lines.next(), lines.next()) else { return Ok(()) };
    if !name.starts_with(PREFIX) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let engine = Engine { socket: engine.into() }.connect().map_err(io::Error::other)?;
    for _ in 0..TRIES {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        if engine.wait(engine.docker.remove_container(name, Some(options))).is_ok() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Says for good which process this is: the boot, the numbers of what counts processes, and its own.
fn maker() -> String {
    let id = std::process::id();
    format!("{} {id} {}", counted(), process::start_time(id).unwrap_or_default())
}

/// The boot of this machine, and where its numbers of processes hold.
fn counted() -> String {
    let boot = read_bounded("/proc/sys/kernel/random/boot_id".into(), MOST).unwrap_or_default();
    let numbers = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", String::from_utf8_lossy(&boot).trim(), numbers.display())
}

/// Says whether a maker is gone; of one that is counted elsewhere nobody knows.
fn is_gone(maker: &str) -> bool {
    let Some(rest) = maker.strip_prefix(&counted()) else {
        // Before the last boot, everybody is.
        let boot = |text: &str| text.split(' ').next().map(str::to_owned);
        return boot(maker) != boot(&counted());
    };
    let mut numbers = rest.split_whitespace();
    let id = numbers.next().and_then(|id| id.parse().ok());
    let began = numbers.next().and_then(|began| began.parse().ok());
    id.is_none_or(|id| process::start_time(id) != began)
}

/// Removes those whose makers are gone; returns their names.
pub fn clear(engine: &Connected) -> Result<Vec<String>, Error> {
    let filters = HashMap::from([("label".to_owned(), vec![MAKER.to_owned()])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let found = engine.wait(engine.docker.list_containers(Some(options)));
    let found = found.map_err(|error| Error::Failed { what: "list containers", said: reason(&error) })?;
    let mut gone = Vec::new();
    for container in found {
        let made_by = container.labels.as_ref().and_then(|labels| labels.get(MAKER));
        let (Some(id), Some(true)) = (container.id, made_by.map(|maker| is_gone(maker))) else { continue };
        remove(engine, &id);
        let name = container.names.unwrap_or_default().into_iter().next().unwrap_or(id);
        gone.push(name.trim_start_matches('/').to_owned());
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maker_is_gone_once_its_process_or_its_boot_is() {
        let own = maker();
        assert!(!is_gone(&own), "{own}");
        let (before, _) = own.rsplit_once(' ').unwrap();
        assert!(is_gone(&format!("{before} 1")));
        assert!(is_gone(&format!("another-boot {}", own.split_once(' ').unwrap().1)));
        let (boot, _) = own.split_once(' ').unwrap();
        assert!(!is_gone(&format!("{boot} pid:[1] 1 1")), "its numbers hold elsewhere");
    }
}
