//! What the commands of workspaces share: which one is meant, its plan, its container.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::image::fetch::For;
use super::project::ceiling::{self, Sent};
use super::project::{self, Place};
use super::trials::EXEC;
use super::{Global, image, secrets};
use crate::backend::docker::kept::{How, Named};
use crate::backend::docker::{self, Engine, engine::Connected};
use crate::backend::{judge, probe, program};
use crate::config::layers::{self, Inputs};
use crate::config::overlay::Overlay;
use crate::config::path::quote;
use crate::config::{self, Config, HostRule, Layer, NetworkMode, Sourced, Verdict};
use crate::diag::{Exit, Failure, Problem, Report};
use crate::env::{self, Environment};
use crate::gateway::secrets::Secret;
use crate::gateway::upstream::Login;
use crate::plan::facts::{Addresses, Facts};
use crate::plan::{self, MountKind, Plan, Target, workspace as kind};
use crate::session::beneath::Beneath;
use crate::session::beneath::mend::Mended;
use crate::session::{keeper, prepare};
use crate::sys::process;
use crate::task::Phase;
use crate::util::fs::{create_private, read_bounded, sha256, write_atomic};
use crate::util::text::escape;
use crate::workspace::index::Damaged;
use crate::workspace::{self, LOGS, OWN, RECORDS, Workspace};
use crate::{task, ui};

pub mod agents;
pub mod apart;
pub mod base;
pub mod ended;
pub mod given;
pub mod meant;
pub mod paused;
pub mod remote;
pub mod stranded;

use agents::Wanted;
use base::{Base, Ground};
use given::{Entry, Mounted, Published};

/// What a workspace is to be.
pub struct Asked<'a> {
    pub base: &'a Base,
    pub entries: &'a [Entry],
    pub ports: &'a [Published],
    /// As in `.pier/session.json`.
    pub mounts: &'a [String],
    pub agents: &'a [Wanted],
    /// The files are there, and not where the workspace is.
    pub apart: Option<&'a Utf8Path>,
    /// Directories whose skills the agents have.
    pub skills: &'a [Utf8PathBuf],
    /// Whose network it is, where a task says what may be reached.
    pub phase: Phase,
    /// What it stands on instead of what its base says.
    pub instead: Option<&'a Ground>,
    /// Where its files are, instead of where the base has them.
    pub at: Option<&'a str>,
}

/// The plan of a workspace, with what is beside it.
pub struct Prepared {
    pub plan: Plan,
    pub values: BTreeMap<String, String>,
    pub engine: Engine,
    pub ground: Ground,
    secrets: Vec<Secret>,
    login: Option<Login>,
}

/// Loads the configuration: what is asked for is one more layer over the user's own, beneath the policy.
fn configure(
    global: &Global,
    environment: &Environment,
    root: &Utf8Path,
    asked: &Asked<'_>,
    (image, workdir): (&str, &str),
    network: Option<&str>,
) -> Result<layers::Loaded, Failure> {
    let mut beneath = vec![Overlay::new("a workspace", Layer::BuiltIn, "workspace { git \"direct\"; }")];
    let of_task = asked.base.lines().into_iter().chain(network.map(str::to_owned));
    beneath.extend(of_task.map(|lines| Overlay::new(task::FILE, Layer::Project, lines)));
    let user = asked.base.user(asked.phase).map_or(String::new(), |user| format!("user {}; ", quote(&user)));
    let mut text = format!(
        "runtime \"container\" {{ image {}; {user}}}\nworkspace at={} {{ root \"here\"; }}\n",
        quote(image),
        quote(workdir)
    );
    for port in asked.ports {
        text.push_str(&format!("port \"127.0.0.1:{}\" to={}\n", port.host, port.inside));
    }
    let mut lines = String::new();
    for mount in asked.mounts {
        let Some(Mounted { source, at, read_only }) = Mounted::parse(mount) else {
            let message = format!("`{}` in `.pier/session.json` is no mount", escape(mount));
            return Err(Failure::new(Exit::Usage, "workspace::usage", message)
                .help("give all mounts anew: `pier start --mounts-json '[…]'`"));
        };
        let access = if read_only { "ro" } else { "rw" };
        lines.push_str(&format!("{access} {} at={}; ", quote(source), quote(at)));
    }
    if !lines.is_empty() {
        text.push_str(&format!("mounts {{ {lines}}}\n"));
    }
    if !asked.entries.is_empty() {
        let names: BTreeSet<&str> = asked.entries.iter().map(|entry| entry.name.as_str()).collect();
        let names: Vec<String> = names.into_iter().map(quote).collect();
        text.push_str(&format!("env {{ pass {}; }}\n", names.join(" ")));
    }
    let mut overlays = vec![Overlay::new(given::FLAGS, Layer::Flag, text)];
    overlays.extend(project::assignments(environment, global)?);
    let inputs = Inputs {
        policy: Some(env::POLICY.into()),
        user: Some(environment.config.join("config.kdl")),
        profile: global.profile.clone(),
        beneath,
        overlays,
        ..Inputs::default()
    };
    let place = Place { cwd: root, root: root.to_owned() };
    Ok(project::load_inputs(environment, &inputs, None, &place).map_err(given::by_flags)?.0)
}

/// Makes the plan. An image that is not on this host is fetched or built.
pub fn plan(
    global: &Global,
    environment: &Environment,
    root: &Utf8Path,
    asked: &Asked<'_>,
) -> Result<Prepared, Failure> {
    let first = (asked.base.reference(), asked.base.workdir());
    let mut loaded = configure(global, environment, root, asked, first, None)?;
    // Whoever starts it says what may be reached before the task does.
    let is_own = loaded.config.network.mode.origin.layer != Layer::BuiltIn;
    let of_task = asked.base.network(asked.phase, !asked.agents.is_empty());
    if is_own && of_task.is_some() {
        ui::warn("the network is as your configuration says, and not as the task does");
    }
    let of_task = of_task.filter(|_| !is_own);
    if of_task.is_some() {
        loaded = configure(global, environment, root, asked, first, of_task.as_deref())?;
    }
    // Before an image is built for it.
    let problems = plan::network_problems(&loaded.config);
    if !problems.is_empty() {
        return Err(refused(&loaded, problems));
    }
    let engine = image::engine(environment)?;
    let ground = match asked.instead {
        Some(ground) => ground.clone(),
        None => asked.base.ground(For { environment, root }, (&engine, &engine.connect()?))?,
    };
    let known = (ground.reference.as_str(), asked.at.unwrap_or(ground.workdir.as_str()));
    if first != known {
        loaded = configure(global, environment, root, asked, known, of_task.as_deref())?;
    }
    // What is given counts as set, and never enters the plan.
    let given = asked.entries.iter().map(|entry| (entry.name.clone(), entry.value.clone()));
    // Some of it is the task's: it says nothing about what runs on this host, nor where a secret comes from.
    let inside = &environment.clone().with(given);
    let mut probed = probe::gather(&loaded.config, inside, root, root)?;
    probed.facts.launchers.clear();
    // The container outlives this program's file.
    probed.facts.own_binary = None;
    probed.facts.image = Some(ground.image.clone());
    if loaded.config.network.mode.value == NetworkMode::Allowlist {
        for entry in asked.entries.iter().filter(|entry| entry.name.ends_with("_BASE_URL")) {
            ui::warn(&format!(
                "where `{}` leads is not allowed by itself: a host on this machine or in your own network needs a line \
                 of your configuration",
                escape(&entry.name)
            ));
        }
        for agent in asked.agents {
            allow_needs(&mut loaded.config, &probed.facts, agent.name);
        }
        let sent = Sent { addresses: &probed.facts.addresses, home: &probed.facts.home };
        ceiling::check(&loaded, environment, root, &sent)?;
    }
    let target = Target::Exec { argv: vec!["true".into()] };
    let task = asked.base.task().filter(|_| asked.phase == Phase::Agent);
    if let Some(task) = task {
        task.require_agents_user(&ground.image.passwd)?;
    }
    let mut plan = built(&loaded, &probed.facts, &target)?;
    if let Some(task) = task {
        // One more works there than the image has.
        task.require_tests_user(users(&plan))?;
    }
    let records: Vec<kind::Record> =
        LOGS.iter().map(|(name, at)| (root.join(RECORDS).join(name), Utf8PathBuf::from(*at))).collect();
    let of_user = loaded.config.network.mode.origin.layer != Layer::BuiltIn;
    kind::adapt(&mut plan, Utf8Path::new(OWN), &records, (of_user, &probed.facts.system));
    if asked.base.task().is_some() {
        if asked.phase == Phase::Agent {
            require_room(&plan)?;
        }
        kind::judge(&mut plan);
    }
    if let Some(files) = asked.apart {
        if kind::hides(&plan, Utf8Path::new(OWN)) {
            let message = "not available yet: `hide` in a workspace that is not mounted";
            return Err(Failure::new(Exit::Usage, "cli::not-yet", message).help("leave `--no-mount` out"));
        }
        kind::set_apart(&mut plan, files);
    }
    let shelf = agents::shelf(&environment.cache);
    create_private(&shelf).map_err(|source| workspace::Error::Io { path: shelf.clone(), source })?;
    let mut launchers = Vec::new();
    let mut links = Vec::new();
    for wanted in asked.agents {
        let launcher = agents::install(environment, &engine, &ground, wanted)?;
        links.extend(agents::links(wanted, &launcher, &environment.cache)?);
        plan.seeds.extend(agents::seeds(wanted)?);
        plan.imports.extend(agents::skills(wanted, asked.skills)?);
        let home = plan.project.state.join("home");
        plan.seeds.extend(agents::servers(wanted, asked.base.servers(), &home)?);
        launchers.push(launcher);
    }
    let launchers = launchers.iter().collect();
    kind::show(&mut plan, kind::Agents { shelf: &shelf, launchers, links, profiles: ground.profiles });
    if asked.phase == Phase::Verifier {
        // The tests are not the agent: what it may use without having it is not theirs.
        plan.secrets.clear();
    }
    let upstream = plan.network.gateway.as_ref().and_then(|gateway| gateway.upstream.as_ref());
    if !plan.secrets.is_empty() || upstream.is_some_and(|upstream| upstream.login.is_some()) {
        // Their values are in this process's memory.
        process::forbid_dumps().map_err(|error| {
            Failure::new(
                Exit::NotSetUp,
                "session::set-up",
                format!("cannot close this process's memory: {error}"),
            )
        })?;
    }
    let secrets = secrets::fetch(environment, &plan, &mut probed.values)?;
    let login = secrets::login(environment, &plan)?;
    image::announce(&engine, &plan)?;
    Ok(Prepared { plan, values: probed.values, engine, ground, secrets, login })
}

/// Returns what `/etc/passwd` of a sandbox says.
fn users(plan: &Plan) -> &str {
    let content = plan.mounts.iter().find_map(|mount| match &mount.kind {
        MountKind::File { content } if mount.at == "/etc/passwd" => Some(content.as_str()),
        _ => None,
    });
    content.unwrap_or_default()
}

/// Refuses places where the tests and their rewards come and go: what is there is removed.
fn require_room(plan: &Plan) -> Result<(), Failure> {
    let own = [judge::TESTS, judge::REWARDS].map(Utf8Path::new);
    let is_taken = |at: &Utf8Path| own.iter().any(|own| at.starts_with(own) || own.starts_with(at));
    let mounted = plan.mounts.iter().filter(|mount| matches!(mount.kind, MountKind::Bind { .. }));
    match mounted.map(|mount| mount.at.as_path()).chain([plan.project.at.as_path()]).find(|at| is_taken(at)) {
        None => Ok(()),
        Some(at) => {
            let message = format!("`{at}` of this workspace is where the tests of its task come and go");
            Err(Failure::new(Exit::Usage, "workspace::usage", message)
                .help("name another working directory in `task.toml`, or another place for the mount"))
        }
    }
}

/// Allows what an agent does not work without: the services of its model. Where variables lead is not among them, for a
/// task sets some.
fn allow_needs(config: &mut Config, facts: &Facts, agent: &str) {
    let named = || config::Agent::named(Sourced::built_in(agent.to_owned()));
    let declared = config.agents.iter().find(|one| one.name.value == agent).cloned().unwrap_or_else(named);
    let nowhere = Addresses::default();
    let needed = plan::hosts_of(config, &declared, &nowhere, &facts.home, &facts.project.root);
    for warning in &needed.warnings {
        ui::warn(&escape(warning));
    }
    config.network.rules.extend(needed.hosts.into_iter().map(|need| {
        Sourced::built_in(HostRule {
            verdict: Verdict::Allow,
            hosts: vec![need.host],
            port: Some(need.port),
            methods: None,
            paths: None,
            private: false,
        })
    }));
}

/// Makes the plan of a workspace without a sandbox.
pub fn plan_without_sandbox(
    global: &Global,
    environment: &Environment,
    root: &Utf8Path,
) -> Result<Plan, Failure> {
    let lines = "workspace { root \"here\"; git \"direct\"; }";
    let inputs = Inputs {
        policy: Some(env::POLICY.into()),
        user: Some(environment.config.join("config.kdl")),
        profile: global.profile.clone(),
        overlays: vec![Overlay::new("pier start", Layer::Flag, lines)],
        ..Inputs::default()
    };
    let place = Place { cwd: root, root: root.to_owned() };
    let loaded = project::load_inputs(environment, &inputs, None, &place)?.0;
    let probed = probe::gather(&loaded.config, environment, root, root)?;
    let target = Target::Exec { argv: vec!["true".into()] };
    let mut plan = built(&loaded, &probed.facts, &target)?;
    kind::without_sandbox(&mut plan);
    Ok(plan)
}

fn built(loaded: &layers::Loaded, facts: &Facts, target: &Target) -> Result<Plan, Failure> {
    plan::build(&loaded.config, facts, target, &loaded.sources).map_err(|problems| refused(loaded, problems))
}

fn refused(loaded: &layers::Loaded, problems: Vec<Problem>) -> Failure {
    let report = Report { sources: loaded.sources.clone(), problems };
    given::by_flags(Failure { exit: Exit::Usage, report })
}

/// Returns an archive of what the image has at its working directory; `None` where it has nothing there.
pub fn first_files(engine: &Connected, ground: &Ground) -> Result<Option<File>, Failure> {
    Ok(docker::copy::archive(engine, &ground.image.digest, ground.workdir.as_str())?)
}

/// Says what was done to a directory of pier's own.
pub fn tell_mended(what: &Mended) {
    ui::warn(&escape(&what.to_string()));
}

/// Says that the list of workspaces was damaged.
pub fn tell_damaged(what: Damaged) {
    let Damaged { path, aside, said } = what;
    ui::warn(&escape(&format!(
        "`{path}` cannot be read, and is `{aside}` now: {said}; a workspace is listed again once it is used"
    )));
}

/// Makes the directories of the live records; nothing that was planted in their way is followed.
pub fn make_records(root: &Utf8Path) -> Result<Beneath, Failure> {
    // Everybody may look at it: an engine gives what covers it inside the same mode.
    let made = match std::fs::create_dir(root.join(OWN)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Beneath::open(root),
    };
    let made = made.and_then(|root| {
        for (name, _) in LOGS {
            root.mended(&Utf8Path::new(RECORDS).join(name), &mut tell_mended)?;
        }
        let exec = Utf8Path::new(RECORDS).join(EXEC);
        if root.has(&exec)? {
            root.mended(&exec, &mut tell_mended)?;
        }
        Ok(root)
    });
    Ok(made.map_err(|source| workspace::Error::Io { path: root.join(RECORDS), source })?)
}

/// Returns the name of the container of a workspace.
pub fn container(workspace: &Workspace) -> String {
    workspace::container_name(&workspace::session_id(&workspace.root))
}

/// Keeps other calls of pier from starting, ending or removing the same workspace meanwhile.
pub fn hold(environment: &Environment, root: &Utf8Path) -> Result<Flock<File>, Failure> {
    let directory = workspace::private(&environment.state, root);
    let failed = |error: io::Error| {
        let message = format!("cannot lock the workspace `{root}`: {error}");
        Failure::new(Exit::Failed, "workspace::files", message)
    };
    create_private(&directory).map_err(failed)?;
    let file = File::options().create(true).truncate(false).write(true).open(directory.join(workspace::LOCK));
    let file = file.map_err(failed)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(held),
        Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
            ui::say("waiting for another pier that works on this workspace");
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))
        }
        Err((_, errno)) => Err(failed(errno.into())),
    }
}

/// Says whether a call of pier holds a workspace now.
fn is_held(environment: &Environment, root: &Utf8Path) -> bool {
    let lock = workspace::private(&environment.state, root).join(workspace::LOCK);
    let lock = File::options().write(true).open(lock);
    lock.is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err())
}

/// Starts its container.
pub fn open(
    prepared: &Prepared,
    environment: &Environment,
    workspace: &Workspace,
    directory: &Utf8Path,
) -> Result<How, Failure> {
    let Prepared { plan, .. } = prepared;
    let project = workspace::project_name(&workspace::session_id(&workspace.root));
    // As Compose would have made it, for those who look for it so.
    let labels = [
        ("com.docker.compose.project", project.as_str()),
        ("com.docker.compose.service", "main"),
        ("com.docker.compose.container-number", "1"),
        ("com.docker.compose.oneoff", "False"),
    ];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let named = Named { name: container(workspace), labels };
    forget_program(directory).map_err(|error| {
        let message = format!("cannot write in `{directory}`: {error}");
        Failure::new(Exit::Failed, "workspace::files", message)
    })?;
    let shelf = program::shelf(&environment.state);
    let prepared_for = prepare::prepare(plan, directory, Some(&shelf)).map_err(crate::session::Error::from);
    let opened =
        prepared_for.map_err(Failure::from).and_then(|()| open_as(prepared, environment, directory, &named));
    opened.map_err(|failure| {
        let _kept = forget_program(directory);
        ended::in_the_way(prepared, environment).unwrap_or(failure)
    })
}

/// Removes the program of a workspace that does not run, or is removed: the next start has its own.
pub fn forget_program(directory: &Utf8Path) -> io::Result<()> {
    match std::fs::remove_file(directory.join(plan::INIT_COPY)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Starts a container by any name, with what is kept of it in `directory`.
pub fn open_as(
    prepared: &Prepared,
    environment: &Environment,
    directory: &Utf8Path,
    named: &Named,
) -> Result<How, Failure> {
    let Prepared { plan, values, engine, secrets, login, .. } = prepared;
    let (state, login) = (environment.state.as_path(), login.as_ref());
    Ok(keeper::open(&keeper::Start { plan, engine, values, directory, named, state, secrets, login })?)
}

/// What pier keeps of a workspace for itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Remembered {
    pub plan: Plan,
    /// SHA-256 of the `.pier/session.json` that pier wrote.
    session: String,
    /// What that held, for one that is lost.
    #[serde(default)]
    text: Option<String>,
    /// Port of this machine, and of the container.
    ports: Vec<(u16, u16)>,
    /// Variables of this host that its task may have.
    #[serde(default)]
    pub allowed: BTreeSet<String>,
    /// Its agents, as [`Wanted::text`] writes them.
    #[serde(default)]
    pub agents: Vec<String>,
    /// What it was started with besides: settings, and a profile.
    #[serde(default)]
    pub set: Vec<String>,
    #[serde(default)]
    pub profile: Option<String>,
    /// What it has of its task, by [`base::digest`].
    #[serde(default)]
    pub task: Option<String>,
    /// Its container was removed by who has it: the next start begins anew.
    #[serde(default)]
    pub removed: bool,
}

/// The most that the file of it may hold, in bytes.
const MOST: u64 = 16 << 20;

/// The file, in pier's own directory of the workspace.
pub const FILE: &str = "workspace.json";

/// Writes what pier keeps of a workspace, whose `.pier/session.json` will have this text.
pub fn remember(directory: &Utf8Path, mut kept: Remembered, session: &[u8]) -> io::Result<()> {
    kept.session = sha256(session);
    kept.text = String::from_utf8(session.to_vec()).ok();
    write_atomic(&directory.join(FILE), &serde_json::to_vec(&kept)?, 0o600)
}

impl Remembered {
    pub fn new(plan: Plan, ports: &[Published], allowed: BTreeSet<String>, agents: &[Wanted]) -> Self {
        let ports = ports.iter().map(|port| (port.host, port.inside)).collect();
        let agents = agents.iter().map(Wanted::text).collect();
        Remembered {
            plan,
            session: String::new(),
            text: None,
            ports,
            allowed,
            agents,
            set: Vec::new(),
            profile: None,
            task: None,
            removed: false,
        }
    }

    /// Keeps what a call has set, for the next start.
    pub fn with(mut self, environment: &Environment, global: &Global) -> Self {
        let of_variable = environment.get("PIER_SET").unwrap_or_default().split(';');
        let of_variable = of_variable.filter(|part| !part.trim().is_empty()).map(str::to_owned);
        for setting in of_variable.chain(global.set.iter().cloned()) {
            self.set.retain(|known| *known != setting);
            self.set.push(setting);
        }
        self.profile.clone_from(&global.profile);
        self
    }
}

/// Says that the container was removed, and what it was started with is over.
pub fn remember_removal(environment: &Environment, root: &Utf8Path) -> io::Result<()> {
    let Some(mut kept) = remembered(environment, root) else { return Ok(()) };
    kept.removed = true;
    let directory = workspace::private(&environment.state, root);
    write_atomic(&directory.join(FILE), &serde_json::to_vec(&kept)?, 0o600)
}

/// Returns what was kept; `None` of a workspace that this pier has not started.
pub fn remembered(environment: &Environment, root: &Utf8Path) -> Option<Remembered> {
    let path = workspace::private(&environment.state, root).join(FILE);
    serde_json::from_slice(&read_bounded(&path, MOST).ok()?).ok()
}

/// Says whether `.pier/session.json` is as pier wrote it.
pub fn is_own(environment: &Environment, root: &Utf8Path) -> Result<bool, Failure> {
    let own = remembered(environment, root).map(|kept| kept.session);
    Ok(own.as_deref() == Some(workspace::files::digest(root)?.as_str()))
}

/// Refuses to start again by a file that pier has not written: what runs in a workspace, or in a repository around it,
/// may have made it, and it says what is mounted.
pub fn require_own(environment: &Environment, root: &Utf8Path, accept: bool) -> Result<(), Failure> {
    if accept || is_own(environment, root)? {
        return Ok(());
    }
    let file = root.join(workspace::files::SESSION);
    let question = format!("`{}` is not as pier wrote it; start by what it says?", escape(file.as_str()));
    if ui::can_ask() && ui::ask(&question) {
        return Ok(());
    }
    let message =
        format!("`{file}` is not as pier wrote it, and it says what is mounted, or that there is no sandbox");
    Err(Failure::new(Exit::NotSetUp, "workspace::changed", message)
        .help("read it; `pier start --accept` goes on by what it says"))
}

/// Returns the ports that a workspace was started with.
pub fn kept_ports(environment: &Environment, root: &Utf8Path, of_session: &[u16]) -> Vec<Published> {
    let kept = remembered(environment, root).map(|kept| kept.ports).unwrap_or_default();
    let same = kept.iter().map(|(host, _)| *host).eq(of_session.iter().copied());
    let all = if same { kept } else { of_session.iter().map(|port| (*port, *port)).collect() };
    all.into_iter().map(|(host, inside)| Published { host, inside }).collect()
}

/// Asks whether somebody's tests or task may have variables of this host.
pub fn ask_for(names: &[&str], who: &str, accept: bool) -> Result<(), Failure> {
    let named: Vec<String> = names.iter().map(|name| format!("`{}`", escape(name))).collect();
    let named = named.join(", ");
    let question = format!("{who} for {named} of this host's environment; give it?");
    if names.is_empty() || accept || ui::can_ask() && ui::ask(&question) {
        return Ok(());
    }
    let message = format!("{who} for {named} of this host's environment");
    Err(Failure::new(Exit::NotSetUp, "workspace::variable", message)
        .help("`--accept` gives it; a value of `-e NAME=VALUE` at the start is another one"))
}
