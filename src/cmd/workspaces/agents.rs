//! Agents of a workspace: installed once on this host, and shown in every container.

use camino::{Utf8Path, Utf8PathBuf};

use super::base::Ground;
use crate::agent::{self, Agent, How, Install, Server};
use crate::backend::docker::Engine;
use crate::backend::{install, launcher};
use crate::cmd::image::agents::{Fit, Room};
use crate::cmd::project::agents::show;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::lock::Version;
use crate::plan::facts::Launcher;
use crate::plan::{Import, ImportKind, ImportRule, Seed, workspace as kind};
use crate::task::{McpServer, Transport};
use crate::ui;
use crate::util::fs::{canonical, read_without_links};
use crate::util::text::escape;

/// An agent at the version that the workspace has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: &'static str,
    pub version: Version,
}

impl Wanted {
    /// Reads `NAME` or `NAME@VERSION`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let (name, version) =
            text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)));
        let known = match agent::find(name) {
            Ok(known) if known.install() != Install::Never => known,
            Ok(_) => return Err(not_installed(name)),
            Err(_) if let Some(own) = agent::of_trial(name) => {
                let message = format!("there is nothing to install: the agent `{name}` {}", own.does);
                return Err(Failure::new(Exit::Usage, "agent::unknown", message)
                    .help("leave `--agent` out: `pier verify` runs the tests of a task without any agent"));
            }
            Err(_) if agent::is_known(name) => return Err(not_installed(name)),
            Err(error) => {
                let message = format!("Unknown agent `{}`", escape(name));
                let failure = Failure::new(Exit::Usage, "agent::unknown", message);
                return Err(match error.nearest {
                    Some(nearest) => failure.help(format!("did you mean `{nearest}`?")),
                    None => failure.help(format!("pier installs {}", installed())),
                });
            }
        };
        let version = version.or_else(|| agent::checked(known.name())).unwrap_or_default();
        let version = Version::parse(version).map_err(|_| {
            let message = format!("`{}` is no exact version of `{name}`", escape(version));
            Failure::new(Exit::Usage, "agent::unknown", message).help(match agent::checked(known.name()) {
                Some(checked) => {
                    format!("write all of it, as in `--agent {name}@{checked}`, or none: `--agent {name}`")
                }
                None => format!("write all of it, as in `--agent {name}@1.2.3`"),
            })
        })?;
        Ok(Wanted { name: known.name(), version })
    }

    /// Returns its text, which is read back.
    pub fn text(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    fn adapter(&self) -> Result<&'static dyn Agent, Failure> {
        agent::find(self.name).map_err(|error| Failure::new(Exit::Usage, "agent::unknown", error.to_string()))
    }
}

fn not_installed(name: &str) -> Failure {
    let message = format!("not available yet: pier does not install the agent `{name}`");
    Failure::new(Exit::Usage, "cli::not-yet", message)
        .help("put it into the image; `pier exec` records it all the same")
}

/// The names of the agents that pier installs, as they are printed.
fn installed() -> String {
    let installed = agent::ALL.iter().filter(|agent| agent.install() != Install::Never);
    let names: Vec<String> = installed.map(|agent| format!("`{}`", agent.name())).collect();
    names.join(", ")
}

/// Where the agents of this host are.
pub fn shelf(cache: &Utf8Path) -> Utf8PathBuf {
    canonical(cache).unwrap_or_else(|_| cache.to_owned()).join("agents")
}

/// Installs an agent where it is not there, and returns how it runs in an image.
pub fn install(
    environment: &Environment,
    engine: &Engine,
    ground: &Ground,
    wanted: &Wanted,
) -> Result<Launcher, Failure> {
    let adapter = wanted.adapter()?;
    if adapter.install() == Install::Never {
        let message = format!("not available yet: pier does not install the agent `{}`", wanted.name);
        return Err(Failure::new(Exit::Usage, "cli::not-yet", message));
    }
    let variables: Vec<(String, String)> = environment
        .names()
        .filter_map(|name| Some((name.to_owned(), environment.get(name)?.to_owned())))
        .collect();
    let search = launcher::Search {
        path: environment.get("PATH").unwrap_or_default(),
        home: &environment.home,
        uid: nix::unistd::geteuid().as_raw(),
    };
    let request = install::Request {
        agent: wanted.name,
        install: adapter.install(),
        version: &wanted.version,
        integrity: None,
        cache: &environment.cache,
        environment: &variables,
        search,
    };
    let installed = install::install(&request, &mut show)?;
    let mut room = Room::of(engine, &ground.reference, &ground.image, &environment.cache);
    let mut fetch = |request: &install::Request<'_>| Ok(install::install(request, &mut show)?);
    match room.fit(installed, &request, true, &mut fetch)? {
        Fit::Runs(launcher) => Ok(launcher),
        Fit::Refused(failure) => Err(failure),
        Fit::NotInstalled(what) => {
            Err(Failure::new(Exit::NotSetUp, "agent::install", format!("{what} is not installed")))
        }
        Fit::Unknown => {
            Err(Failure::new(Exit::NotSetUp, "agent::image", "the image is not known".to_owned()))
        }
    }
}

/// Returns the names by which an agent is called inside, and where they lead.
pub fn links(
    wanted: &Wanted,
    launcher: &Launcher,
    cache: &Utf8Path,
) -> Result<Vec<(String, Utf8PathBuf)>, Failure> {
    let adapter = wanted.adapter()?;
    let shelf = shelf(cache);
    let inside = |path: &Utf8PathBuf| match path.strip_prefix(&shelf) {
        Ok(below) => Utf8Path::new(kind::SHELF).join(below),
        // Of the image.
        Err(_) => path.clone(),
    };
    let own = adapter.launchers().first().map(|name| ((*name).to_owned(), inside(&launcher.program)));
    // `node`, or `python3.12`: what the first line of the program asks for.
    let interpreter = launcher.interpreter.as_ref();
    let node = interpreter.map(|path| (path.file_name().unwrap_or("node").to_owned(), inside(path)));
    Ok(own.into_iter().chain(node).collect())
}

/// Returns the files with which the first start of an agent asks nothing.
pub fn seeds(wanted: &Wanted) -> Result<Vec<Seed>, Failure> {
    let seed = |agent::GeneratedFile { path, content }| Seed {
        path: path.into(),
        content,
        rule: ImportRule::Missing,
    };
    Ok(wanted.adapter()?.seeds().into_iter().map(seed).collect())
}

/// Returns the copies by which an agent has the skills of some directories.
pub fn skills(wanted: &Wanted, directories: &[Utf8PathBuf]) -> Result<Vec<Import>, Failure> {
    let Some(to) = wanted.adapter()?.skills_dir() else { return Ok(Vec::new()) };
    let import = |from: &Utf8PathBuf| Import {
        from: from.clone(),
        to: to.into(),
        rule: ImportRule::Always,
        kind: ImportKind::Tree,
        mode: None,
        origin: "the skills of the workspace".to_owned(),
    };
    Ok(directories.iter().map(import).collect())
}

/// The most that is read of an agent's own settings, in bytes.
const MOST_SETTINGS: u64 = 4 << 20;

/// Returns the file by which an agent has the MCP servers of a task, out of the one in its home.
pub fn servers(wanted: &Wanted, servers: &[McpServer], home: &Utf8Path) -> Result<Option<Seed>, Failure> {
    let adapter = wanted.adapter()?;
    if servers.is_empty() {
        return Ok(None);
    }
    let told = |name: &str, why: &str| {
        ui::warn(&format!("the MCP server `{}` is not registered for {}: {why}", escape(name), wanted.name));
    };
    let mut known = Vec::new();
    for server in servers {
        if !server.headers.is_empty() {
            told(&server.name, "headers would be written where the agent reads them");
            continue;
        }
        let url = server.url.as_deref().unwrap_or_default();
        let how = match server.transport {
            Transport::Stdio => {
                How::Command { command: server.command.as_deref().unwrap_or_default(), args: &server.args }
            }
            Transport::Sse => How::Sse(url),
            Transport::StreamableHttp => How::Http(url),
        };
        known.push(Server { name: &server.name, how });
    }
    // Which file it is, and then what is in it.
    let Some(place) = adapter.registers(&known, None) else {
        for server in &known {
            told(server.name, "it has no MCP client");
        }
        return Ok(None);
    };
    let now =
        canonical(home).and_then(|home| read_without_links(&home.join(&place.path), MOST_SETTINGS)).ok();
    let now = now.and_then(|now| String::from_utf8(now).ok());
    let file = adapter.registers(&known, now.as_deref()).unwrap_or(place);
    Ok(Some(Seed { path: file.path.into(), content: file.content, rule: ImportRule::Always }))
}

/// Returns the variables of some agents: telemetry and updaters off.
pub fn environment<'a>(names: impl IntoIterator<Item = &'a str>, home: &Utf8Path) -> Vec<(String, String)> {
    let known = names.into_iter().filter_map(|name| agent::find(name).ok());
    let all = known.flat_map(Agent::environment);
    all.map(|(name, value)| ((*name).to_owned(), agent::at_home(value, home))).collect()
}
