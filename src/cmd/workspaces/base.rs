//! What a workspace stands on: an image, or a task that says which.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::given::Entry;
use crate::backend::docker::build::{Context, MOST_TIME};
use crate::backend::docker::engine::Connected;
use crate::backend::docker::images::{self, Wanted};
use crate::backend::docker::inside::{self, Inside};
use crate::backend::docker::{self, Engine};
use crate::cmd::image::build::Job;
use crate::cmd::image::fetch::{self, For};
use crate::config::path::quote;
use crate::diag::{Exit, Failure, Problem, Report, Sources, Span};
use crate::env::Environment;
use crate::lock::Lock;
use crate::plan::facts::Image;
use crate::plan::image::Place;
use crate::plan::workspace::PROFILES;
use crate::task::directory::{Definition, Directory, Verification};
use crate::task::listing::Listing;
use crate::task::templates::{self, Template};
use crate::task::{self, AllowedHost, McpServer, Mode, Os, Phase, Task, User, Variables, resolve_network};
use crate::ui;
use crate::util::fs::{sha256, sha256_of};
use crate::util::passwd::Account;
use crate::util::text::escape;

/// The most that is read of a `task.toml` and of an instruction, in bytes.
const MOST: u64 = 4 << 20;

/// Where the files of a workspace are where nobody says so.
pub const WORKDIR: &str = "/app";

/// What is to be done.
const INSTRUCTION: &str = "instruction.md";

/// The directory of a task that says what its environment is.
pub const ENVIRONMENT: &str = "environment";

/// The code of a user whom the image does not have.
const USER: &str = "image::user";

pub enum Base {
    /// A reference.
    Image(String),
    Task(Box<Loaded>),
}

/// A task that a workspace can be made of.
#[derive(Clone)]
pub struct Loaded {
    /// Canonical.
    pub directory: Utf8PathBuf,
    pub task: Task,
    pub definition: Definition,
    pub instruction: Vec<u8>,
    /// What its `task.toml` says.
    text: String,
    /// What its image is built from, below the directory.
    context: Utf8PathBuf,
}

/// What it stands on, as the engine has it.
#[derive(Clone)]
pub struct Ground {
    pub reference: String,
    pub image: Image,
    pub workdir: Utf8PathBuf,
    /// Login shells read what is in `/etc/profile.d`.
    pub profiles: bool,
}

fn unusable(message: String, help: &str) -> Failure {
    Failure::new(Exit::Usage, "workspace::task", message).help(help.to_owned())
}

fn not_yet(what: &str) -> Failure {
    Failure::new(Exit::Usage, "cli::not-yet", format!("not available yet: {what} in a workspace"))
}

impl Loaded {
    /// Reads the task in a directory; what it says without effect is told.
    pub fn read(directory: &Utf8Path) -> Result<Self, Failure> {
        let help = "name the directory that has the `task.toml`";
        let failed = |why: &dyn std::fmt::Display| {
            unusable(format!("`{}` is no task: {why}", escape(directory.as_str())), help)
        };
        let directory = &directory.canonicalize_utf8().map_err(|error| failed(&error))?;
        let path = directory.join(task::FILE);
        let listing = Listing::read(directory).map_err(|error| failed(&error))?;
        // No link of the task leads out of it: what it shows is copied to where an agent reads it.
        let read = |name: &str| -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            listing.open(name.into())?.take(MOST + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > MOST { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
        };
        let text = read(task::FILE).map_err(|error| failed(&format!("`{}`: {error}", task::FILE)))?;
        let text = String::from_utf8(text).map_err(|error| failed(&error))?;
        let mut sources = Sources::default();
        let id = sources.add(path.as_str(), text.as_str());
        let wrong = |problems, sources: &Sources| Failure {
            exit: Exit::Usage,
            report: Report { sources: sources.clone(), problems },
        };
        let parsed = task::parse(id, &text).map_err(|problems| wrong(problems, &sources))?;
        for note in &parsed.notes {
            let place = note.at.as_ref().map(|(span, _)| format!("{}: ", sources.place(span)));
            ui::warn(&format!("{}{}", place.unwrap_or_default(), note.message));
        }
        let rules = Directory::new(&listing);
        let task = parsed.task;
        let problems = rules.check(&task, Verification::Enabled);
        if !problems.is_empty() {
            return Err(wrong(problems, &sources));
        }
        let definition = rules.definition(&task).map_err(|problem| wrong(vec![problem], &sources))?;
        refuse_what_is_not_there(&task, &definition)?;
        if task.agent.user.as_ref().is_some_and(|user| user.text() == "host") {
            let message = "`[agent] user` is `host`, by which pier means nobody of the image";
            return Err(unusable(
                message.to_owned(),
                "write the number of that user, as `/etc/passwd` of the image has it",
            ));
        }
        if task.agent.user.as_ref().is_some_and(User::is_root) {
            ui::warn(
                "`[agent] user` has no effect: no workspace works as root, and its files stay its caller's",
            );
        }
        let instruction = match listing.entry(INSTRUCTION.into()) {
            None => Vec::new(),
            Some(_) => read(INSTRUCTION).map_err(|error| failed(&format!("`{INSTRUCTION}`: {error}")))?,
        };
        Ok(Loaded {
            directory: directory.clone(),
            task,
            definition,
            instruction,
            text,
            context: ENVIRONMENT.into(),
        })
    }

    /// Returns this task with its verifier's own environment, and whether the tests are in the image of that; `None`
    /// where the tests run in the agent's.
    pub fn verifier(&self, listing: &Listing) -> Result<Option<(Self, bool)>, Failure> {
        let wrong = |problem| Failure {
            exit: Exit::Usage,
            report: Report { sources: Sources::default(), problems: vec![problem] },
        };
        let Some(own) = Directory::new(listing).verifier(&self.task, None).map_err(wrong)? else {
            return Ok(None);
        };
        if own.image.is_none() && listing.entry(&own.directory.join("docker-compose.yaml")).is_some() {
            return Err(not_yet("a verifier of several containers"));
        }
        let image = own.image.map(str::to_owned);
        let definition = Definition { dockerfile: image.is_none(), compose: false, image };
        let mut task = self.task.clone();
        task.environment = own.environment.clone();
        refuse_what_is_not_there(&task, &definition)?;
        let loaded = Loaded { task, definition, context: own.directory.clone(), ..self.clone() };
        Ok(Some((loaded, own.bundled_tests)))
    }

    /// Refuses a user of the agent who is not in `/etc/passwd` of its image.
    pub fn require_agents_user(&self, passwd: &str) -> Result<(), Failure> {
        self.require_user("agent", self.task.agent.user.as_ref(), passwd)
    }

    /// Refuses a user of the tests who is not in `/etc/passwd` of where the agent works. An environment of their own has another.
    pub fn require_tests_user(&self, passwd: &str) -> Result<(), Failure> {
        let listing = Listing::read(&self.directory).ok();
        if listing.is_some_and(|listing| !matches!(self.verifier(&listing), Ok(None))) {
            return Ok(());
        }
        self.require_user("verifier", self.task.verifier.user.as_ref(), passwd)
    }

    fn require_user(&self, table: &str, user: Option<&User>, passwd: &str) -> Result<(), Failure> {
        let user = user.map(User::text).filter(|user| Account::find(user, passwd).is_none());
        let Some(user) = user else { return Ok(()) };
        let mut sources = Sources::default();
        let source = sources.add(self.directory.join(task::FILE).as_str(), self.text.as_str());
        let message = format!("the image has no user `{}`, who is the `user` of `[{table}]`", escape(&user));
        let problem = match task::place(&self.text, table, "user") {
            Some(range) => Problem::new(USER, Span { source, range }, "asked for here", message),
            None => Problem::nowhere(USER, message),
        };
        let help = "name one that its `/etc/passwd` has, make him in its Dockerfile, or leave `user` out";
        let report = Report { sources, problems: vec![problem.help(help)] };
        Err(Failure { exit: Exit::Usage, report })
    }

    /// Reads what its image is built from.
    fn context(&self) -> Result<Context, Failure> {
        let place = Place { file: "Dockerfile".into(), context: Utf8PathBuf::new() };
        Context::read(&self.directory.join(&self.context), &place).map_err(|said| {
            let message = format!("the image of the task cannot be built: {}", escape(&said));
            Failure::new(Exit::Usage, "image::build", message)
                .help(format!("look at `{}/Dockerfile`", self.context))
        })
    }
}

/// Returns the SHA-256 of what a workspace has of a task: its settings, its instruction, and what its image is built from.
pub fn digest(directory: &Utf8Path) -> std::io::Result<String> {
    let listing = Listing::read(directory).map_err(std::io::Error::other)?;
    let is_meant =
        |path: &Utf8Path| path == task::FILE || path == INSTRUCTION || path.starts_with(ENVIRONMENT);
    let mut all = String::new();
    for (path, _) in listing.all().filter(|(path, _)| is_meant(path) && listing.is_file(path)) {
        let file = listing.open(path)?;
        let mode = file.metadata()?.mode() & 0o111;
        all.push_str(&format!("{path}\0{mode}\0{}\0", sha256_of(file)?));
    }
    Ok(sha256(all.as_bytes()))
}

/// Returns the variables of a workspace: those of the task, and over them those that are given. The values of
/// templates come from what is given, and then from this host, as far as `may` allows it.
pub fn variables(
    of: &Variables,
    given: &[Entry],
    environment: &Environment,
    may: &mut dyn FnMut(&BTreeSet<String>) -> Result<(), Failure>,
) -> Result<Vec<Entry>, Failure> {
    let own = |name: &str| given.iter().rev().find(|entry| entry.name == name);
    let templates = of.values().filter_map(|value| Template::of(value)).map(|template| template.name);
    let asked: BTreeSet<String> = templates
        .filter(|name| own(name).is_none() && environment.get(name).is_some())
        .map(str::to_owned)
        .collect();
    if !asked.is_empty() {
        may(&asked)?;
    }
    let value = |name: &str| {
        own(name).map(|entry| entry.value.clone()).or_else(|| environment.get(name).map(str::to_owned))
    };
    let resolved = templates::resolve(of, value).map_err(|missing| {
        Failure::new(Exit::Usage, "workspace::variable", missing.to_string())
            .help("set them, or give them by `-e NAME=VALUE` or `--env-file FILE`")
    })?;
    let mut all = Vec::new();
    for (name, value) in resolved {
        if own(&name).is_none() {
            all.push(Entry::new(name, value, task::FILE)?);
        }
    }
    all.extend(given.iter().cloned());
    Ok(all)
}

/// What Harbor does, and workspaces do not yet, is refused by name.
fn refuse_what_is_not_there(task: &Task, definition: &Definition) -> Result<(), Failure> {
    let environment = &task.environment;
    if let Some(size) = environment.memory_mb.filter(|size| *size <= 0) {
        let message = format!("`memory_mb` of `[environment]` in `{}` is {size}", task::FILE);
        return Err(unusable(message, "it is a number of MiB, more than zero"));
    }
    let is_relative = |path: &&String| !path.is_empty() && !path.starts_with('/');
    if let Some(path) = environment.workdir.as_ref().filter(is_relative) {
        let message = format!("`workdir` of `[environment]` in `{}` is `{}`", task::FILE, escape(path));
        return Err(unusable(message, "it is an absolute path in the container, such as `/app`"));
    }
    let needs_compose = definition.image.is_none() && !definition.dockerfile || definition.compose;
    let not_there = [
        (environment.os == Os::Windows, "a task for Windows"),
        (needs_compose, "a task of several containers (`docker-compose.yaml`)"),
        (!task.steps.is_empty(), "a task of several steps"),
        (environment.gpus.is_some_and(|gpus| gpus > 0), "a task that needs a GPU"),
        (environment.tpu.is_some(), "a task that needs a TPU"),
    ];
    not_there.iter().find(|(is, _)| *is).map_or(Ok(()), |(_, what)| Err(not_yet(what)))
}

impl Base {
    pub fn task(&self) -> Option<&Loaded> {
        match self {
            Base::Task(task) => Some(task),
            Base::Image(_) => None,
        }
    }

    /// The MCP servers of a task.
    pub fn servers(&self) -> &[McpServer] {
        self.task().map_or(&[], |loaded| &loaded.task.environment.mcp_servers)
    }

    /// Returns what it says of the sandbox, as lines of configuration.
    pub fn lines(&self) -> Option<String> {
        let Loaded { task, .. } = self.task()?;
        let mut text = String::new();
        let limits = [
            task.environment.memory_mb.map(|size| format!("memory \"{size}MiB\"; ")),
            task.environment.cpus.map(|count| format!("cpus {count:?}; ")),
        ];
        let limits: String = limits.into_iter().flatten().collect();
        if !limits.is_empty() {
            text.push_str(&format!("limits {{ {limits}}}\n"));
        }
        Some(text)
    }

    /// Returns what a task says of the network in one phase, as lines of configuration; `None` where it says nothing.
    /// `agents` need the services of their models, as in Harbor's own trials.
    pub fn network(&self, phase: Phase, agents: bool) -> Option<String> {
        let policy = resolve_network(&self.task()?.task, None, phase);
        match policy.mode {
            Mode::Public => None,
            Mode::NoNetwork if !agents => Some("network \"none\"\n".to_owned()),
            Mode::NoNetwork | Mode::Allowlist => {
                let rule = |host: &AllowedHost| format!("allow {}; ", quote(&host.to_string()));
                let rules: String = policy.allowed_hosts.iter().map(rule).collect();
                Some(format!("network \"allowlist\" {{ {rules}}}\n"))
            }
        }
    }

    /// Returns whose name and files in the image the agent of a task has; those of root nobody has.
    pub fn user(&self, phase: Phase) -> Option<String> {
        let user = self.task().filter(|_| phase == Phase::Agent)?.task.agent.user.as_ref();
        user.filter(|user| !user.is_root()).map(User::text)
    }

    /// The reference, or a word for it before the image is known.
    pub fn reference(&self) -> &str {
        match self {
            Base::Image(reference) => reference,
            Base::Task(loaded) => loaded.definition.image.as_deref().unwrap_or("pier-build"),
        }
    }

    /// The working directory, as far as it can be known before the image is.
    pub fn workdir(&self) -> &str {
        let said = self.task().and_then(|loaded| loaded.task.environment.workdir.as_deref());
        said.filter(|said| !said.is_empty()).unwrap_or(WORKDIR)
    }

    /// Returns the image: one that is not on this host is fetched or built.
    pub fn ground(&self, whom: For<'_>, (address, engine): (&Engine, &Connected)) -> Result<Ground, Failure> {
        let pins = Lock::default();
        let (reference, image) = match self {
            Base::Task(loaded) if loaded.definition.image.is_none() => {
                let seconds = loaded.task.environment.build_timeout_sec;
                let time = Duration::try_from_secs_f64(seconds).unwrap_or(MOST_TIME).min(MOST_TIME);
                let context = &loaded.context()?;
                let job = Job { whom, address, engine, pins: &pins, context, time };
                let built = job.run(&mut || Ok(true))?;
                let none = || docker::Error::NoImage { reference: self.reference().to_owned() };
                let (tag, image) = built.ok_or_else(none)?;
                (tag, image.ok_or_else(none)?)
            }
            _ => {
                let wanted = Wanted { reference: self.reference(), pin: None };
                let found = images::find(engine, wanted, &whom.environment.cache)?;
                let image = found.map_or_else(|| fetch::fetch(whom, engine, wanted), Ok)?;
                (self.reference().to_owned(), image)
            }
        };
        // Of an image without a task, the older tool made one whose directory is this.
        let says = match self {
            Base::Task(loaded) if loaded.task.environment.workdir.is_none() => image.workdir.clone(),
            _ => None,
        };
        let said = says.unwrap_or_else(|| self.workdir().into());
        // An engine follows the links of an image, so that what is mounted would be elsewhere than the plan says.
        let mut inside = Inside::new(address.clone(), &image.digest, &whom.environment.cache);
        let (workdir, what) = inside.find(&said)?;
        if matches!(what, inside::Entry::Directory | inside::Entry::Missing) {
            let (at, there) = inside.find(PROFILES.into())?;
            let profiles = at == PROFILES && there == inside::Entry::Directory;
            return Ok(Ground { reference, image, workdir, profiles });
        }
        let what = escape(said.as_str());
        Err(unusable(
            format!("the working directory `{what}` is no directory in the image `{reference}`"),
            "name a directory, by `WORKDIR` in the Dockerfile or `workdir` in `task.toml`",
        ))
    }
}
