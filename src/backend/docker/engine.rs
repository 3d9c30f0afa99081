//! Where the container engine is, and a connection to it.

use std::io;
use std::time::Duration;

use bollard::models::SystemVersion;
use bollard::{API_DEFAULT_VERSION, Docker};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};

use super::Error;
use crate::sys::socket;
use crate::util::fs::{read_bounded, sha256};
use crate::util::text::escape;

/// The socket of an engine that runs as root.
const USUAL: &str = "/var/run/docker.sock";

/// The most that is read of a file of Docker's configuration, in bytes.
const MOST: u64 = 1 << 20;

/// Seconds that one request may take; what takes longer is a stream that is read on.
const TIMEOUT: u64 = 120;

/// A container engine of this machine, by the path of its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    pub socket: Utf8PathBuf,
}

/// A connection, with what carries it.
pub struct Connected {
    pub docker: Docker,
    runtime: Runtime,
    pub(super) socket: Utf8PathBuf,
}

impl Connected {
    /// Waits for one request.
    pub fn wait<T>(&self, request: impl Future<Output = T>) -> T {
        self.runtime.block_on(request)
    }
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub version: String,
    /// The version of its interface.
    pub interface: String,
    /// How it stores images.
    pub storage: String,
    pub rootless: bool,
    /// Its containers have other users than this machine, so that it is refused.
    pub maps_users: bool,
}

/// Says whether an engine has no rights of root's: Podman has no word for that in Docker's interface, and answers as who it is.
fn is_rootless(options: &[String], podman: bool, user: Option<u32>) -> bool {
    options.iter().any(|option| option == "name=rootless") || podman && user.is_some_and(|user| user != 0)
}

fn is_mapped(options: &[String]) -> bool {
    options.iter().any(|option| option == "name=userns")
}

/// How long an engine may take to say what it is.
const SAYS_WITHIN: Duration = Duration::from_secs(10);

impl Connected {
    /// Says whether its containers have other users than this machine; false where it does not say.
    pub fn maps_users(&self) -> bool {
        let options = self.wait(self.docker.info()).ok().and_then(|info| info.security_options);
        let options = options.unwrap_or_default();
        is_mapped(&options) || is_rootless(&options, self.is_podman().unwrap_or(false), self.user())
    }

    /// Says whether it is Podman, behind Docker's interface.
    pub fn is_podman(&self) -> Result<bool, Error> {
        let failed = |said| Error::Failed { what: "say what it is", said };
        let version = self.wait(self.docker.version()).map_err(|error| failed(reason(&error)))?;
        Ok(is_podman(&version))
    }

    /// Returns the user who answers.
    fn user(&self) -> Option<u32> {
        socket::user_at(&self.socket).ok()
    }

    /// Asks the engine what it is.
    pub fn about(&self) -> Result<About, Error> {
        let failed = |said| Error::Failed { what: "say what it is", said };
        let asked = async {
            let version = self.docker.version().await.map_err(|error| failed(reason(&error)))?;
            let info = self.docker.info().await.map_err(|error| failed(reason(&error)))?;
            Ok((version, info))
        };
        let asked = async { tokio::time::timeout(SAYS_WITHIN, asked).await };
        let (version, info) = self.wait(asked).map_err(|_| failed("it takes too long".to_owned()))??;
        let word =
            |said: Option<String>| said.filter(|word| !word.is_empty()).unwrap_or_else(|| "unknown".into());
        let options = info.security_options.unwrap_or_default();
        let rootless = is_rootless(&options, is_podman(&version), self.user());
        Ok(About {
            version: word(version.version),
            interface: word(version.api_version),
            storage: word(info.driver),
            rootless,
            maps_users: rootless || is_mapped(&options),
        })
    }
}

fn is_podman(version: &SystemVersion) -> bool {
    version.components.iter().flatten().any(|part| part.name.starts_with("Podman"))
}

impl Engine {
    /// Connects, and agrees on a version of the interface.
    pub fn connect(&self) -> Result<Connected, Error> {
        let unreachable = |said: String| Error::Unreachable { address: self.socket.to_string(), said };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| unreachable(error.to_string()))?;
        let docker = runtime.block_on(async {
            let docker = Docker::connect_with_unix(self.socket.as_str(), TIMEOUT, API_DEFAULT_VERSION)?;
            docker.negotiate_version().await
        });
        let docker = docker.map_err(|error| unreachable(reason(&error)))?;
        Ok(Connected { docker, runtime, socket: self.socket.clone() })
    }
}

/// Returns what an engine, or the way to it, says in one line.
pub(super) fn reason(error: &bollard::errors::Error) -> String {
    use bollard::errors::Error as Said;
    match error {
        Said::DockerResponseServerError { message, .. } => escape(message.trim()),
        Said::SocketNotFoundError(_) => "there is no such socket".to_owned(),
        error => {
            let mut said = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(inner) = cause {
                said = inner.to_string();
                cause = inner.source();
            }
            escape(said.trim())
        }
    }
}

/// What Docker's own configuration says about contexts.
#[derive(Deserialize)]
struct Settings {
    #[serde(default, rename = "currentContext")]
    current_context: String,
}

#[derive(Deserialize)]
struct Context {
    #[serde(rename = "Endpoints")]
    endpoints: std::collections::BTreeMap<String, Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default, rename = "Host")]
    host: String,
}

/// Finds the engine as Docker's own client does: `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context, the usual socket.
pub fn find(variable: &dyn Fn(&str) -> Option<String>, home: &Utf8Path) -> Result<Engine, Error> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(address) = set("DOCKER_HOST") {
        return of_address(&address);
    }
    let settings = set("DOCKER_CONFIG").map_or_else(|| home.join(".docker"), Utf8PathBuf::from);
    let context = match set("DOCKER_CONTEXT") {
        Some(context) => context,
        None => current_context(&settings)?,
    };
    if context.is_empty() || context == "default" {
        return Ok(Engine { socket: USUAL.into() });
    }
    let wrong = |said: String| Error::Context { name: escape(&context), said };
    let meta = settings.join("contexts/meta").join(sha256(context.as_bytes())).join("meta.json");
    let text = read_bounded(&meta, MOST).map_err(|error| wrong(format!("cannot read `{meta}`: {error}")))?;
    let read: Context =
        serde_json::from_slice(&text).map_err(|error| wrong(format!("`{meta}` is not valid: {error}")))?;
    let endpoint = read.endpoints.get("docker").ok_or_else(|| wrong("it names no engine".into()))?;
    of_address(&endpoint.host)
}

fn current_context(settings: &Utf8Path) -> Result<String, Error> {
    let path = settings.join("config.json");
    let text = match read_bounded(&path, MOST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        text => text,
    };
    let read = text.and_then(|text| serde_json::from_slice::<Settings>(&text).map_err(io::Error::other));
    read.map(|settings| settings.current_context).map_err(|error| Error::Context {
        name: String::new(),
        said: format!("cannot read `{path}`: {error}"),
    })
}

fn of_address(address: &str) -> Result<Engine, Error> {
    match address.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(Engine { socket: path.into() }),
        _ => Err(Error::NotLocal { address: escape(address) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::fs::write_atomic;

    #[test]
    fn the_engine_is_the_one_of_dockers_own_client() {
        let home = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(home.path()).unwrap();
        let none = |_: &str| None;
        assert_eq!(find(&none, home).unwrap().socket, USUAL);
        let host = |name: &str| (name == "DOCKER_HOST").then(|| "unix:///run/a.sock".to_owned());
        assert_eq!(find(&host, home).unwrap().socket, "/run/a.sock");
        let far = |name: &str| (name == "DOCKER_HOST").then(|| "tcp://10.0.0.1:2375".to_owned());
        assert!(matches!(find(&far, home), Err(Error::NotLocal { .. })));
        let settings = home.join(".docker");
        write_atomic(&settings.join("config.json"), br#"{"currentContext":"rootless"}"#, 0o600).unwrap();
        assert!(matches!(find(&none, home), Err(Error::Context { .. })));
        let meta = settings.join("contexts/meta").join(sha256(b"rootless")).join("meta.json");
        let text = br#"{"Name":"rootless","Endpoints":{"docker":{"Host":"unix:///run/user/1/docker.sock"}}}"#;
        write_atomic(&meta, text, 0o600).unwrap();
        assert_eq!(find(&none, home).unwrap().socket, "/run/user/1/docker.sock");
        let default = |name: &str| (name == "DOCKER_CONTEXT").then(|| "default".to_owned());
        assert_eq!(find(&default, home).unwrap().socket, USUAL);
        write_atomic(&settings.join("config.json"), b"{", 0o600).unwrap();
        assert!(matches!(find(&none, home), Err(Error::Context { .. })));
    }

    #[test]
    fn an_engine_without_the_rights_of_root_is_known() {
        for (option, podman, user, expected) in [
            ("name=seccomp,profile=default", false, Some(0), false),
            ("name=rootless", false, Some(1000), true),
            ("name=seccomp,profile=default", true, Some(1000), true),
            ("name=seccomp,profile=default", true, Some(0), false),
            // Somebody who passes on what root's engine says.
            ("name=seccomp,profile=default", false, Some(1000), false),
            ("name=seccomp,profile=default", true, None, false),
        ] {
            assert_eq!(
                is_rootless(&[option.to_owned()], podman, user),
                expected,
                "{option} {podman} {user:?}"
            );
        }
        assert!(is_mapped(&["name=userns".to_owned()]));
    }
}
