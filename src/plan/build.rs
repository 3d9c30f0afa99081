//! Config and facts become a plan: one linear pass, no I/O, all problems at once.

use camino::{Utf8Path, Utf8PathBuf};

use super::facts::{Facts, InstallKind, Launcher};
use super::guard::{self, Guard};
use super::mounts::{self, Purpose};
use super::system::BUILT_IN;
use super::{
    Access, Agent, Backend, Cap, Command, Directory, GateMode, Import, ImportKind, ImportRule, Limits, Mount,
    MountKind, Network, NetworkMode, Plan, Project, SCHEMA, Seed, User, agents, available, coordination,
    environment, git, grants, image, imports, network, nix, owner, role, system,
};
use crate::agent::{self, McpSetup, Mode, Places, Request, Shape};
use crate::config::{self, Config, Origin, Runtime, Sourced};
use crate::diag::{Problem, Sources};
use crate::env::RESERVED;

/// What the session is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Agent { name: String, extra: Vec<String>, task: Option<Task> },
    Shell,
    Exec { argv: Vec<String> },
}

/// What an agent is to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub prompt: String,
    pub front: Front,
}

/// Who reads what an agent says about its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// A person, who answers.
    Interactive,
    /// Whoever reads text.
    Text,
    /// A program: the agent's own events.
    Events,
}

impl Target {
    /// Returns an agent without a task.
    pub fn agent(name: String, extra: Vec<String>) -> Self {
        Target::Agent { name, extra, task: None }
    }
}

/// Returns a problem at the place that a value came from.
pub fn problem(code: &'static str, origin: &Origin, label: &str, message: String) -> Problem {
    match &origin.span {
        Some(span) => Problem::new(code, span.clone(), label, message),
        None => Problem::nowhere(code, message),
    }
}

/// Returns the plan, or every reason why there is none.
pub fn build(
    config: &Config,
    facts: &Facts,
    target: &Target,
    sources: &Sources,
) -> Result<Plan, Vec<Problem>> {
    let mut problems = available::problems(config);
    problems.extend(network::problems(config));
    problems.extend(nix::problems(config, &facts.home, &facts.project.root));
    problems.extend(image::problems(config).into_iter().chain(owner::problems(config, facts)));
    let in_nix = nix::asked(config).is_some();
    let in_image = image::asked(config).is_some();
    let at = |origin: &Origin| place(origin, sources);
    let user = user(config, facts);
    let project = project(config, facts, &at, &mut problems);
    let cwd = inside(&facts.cwd, facts, &config.workspace.at.value);
    let mode = network_mode(config);

    let mut mounts =
        if in_image { image::mounts(facts, &user, mode) } else { system::mounts(facts, &user, mode, in_nix) };
    if in_nix {
        mounts.extend(nix::mounts(facts));
    }
    mounts.push(init(facts));
    role::mounts(facts, &mut mounts, &mut problems);
    mounts.push(home(config, &user, &project, &at));
    let aside = older_directories(config, facts, &project);
    mounts.extend(aside.iter().map(|(name, at)| {
        built_in_bind(user.home.join(at).as_str(), &project.state.join(name), Access::ReadWrite)
    }));
    let mut path = command_directories(config, facts, &mut mounts, &mut problems, &at);

    let chosen = chosen_agent(config, target, &mut problems);
    let started = chosen
        .and_then(|agent| start_agent(agent, config, facts, target, (&cwd, &user.home), &mut problems, &at));
    if let Some(started) = &started {
        mounts.extend(started.mounts.iter().cloned());
        path.insert(0, image::LINKS.to_owned());
    }
    let at_workspace = Utf8Path::new(&config.workspace.at.value);
    mounts::check_workspace(&config.workspace.at, &user.home, &mut problems);
    let kind = git::workspace(config, facts);
    // Whatever was said about it: its place inside, or else which directory it is.
    let (place, root) = (&config.workspace.at.origin, &config.workspace.root.origin);
    let origin = at(if place.span.is_some() { place } else { root });
    mounts.push(Mount { at: at_workspace.to_owned(), kind, origin });
    // After the project, for some of them are below it.
    mounts.extend(mounts::declared(config, facts, &user.home, &mut problems, &at));
    let (git, mut warnings) = git::git(config, facts, &mut mounts, &mut problems);
    // A clone has nothing of the host's that could be changed.
    if !config.workspace.clone.value {
        let mut guard =
            Guard { facts, at: at_workspace, mounts: &mut mounts, problems: &mut problems, place: &at };
        guard.protect(config);
        guard.hide(config);
        warnings.extend(guard.hide_sockets());
        warnings.extend(guard::links(config, facts));
    }
    warnings.extend(role::close(facts, &mut mounts));
    let (coordination, notes) = coordination::add(config, facts, &user.home, &mut mounts, &mut problems, &at);
    warnings.extend(notes);
    if coordination.is_some() {
        if in_image {
            image::add_links(&mut mounts);
        }
        if started.is_none() {
            path.insert(0, image::LINKS.to_owned());
        }
    }
    if in_image {
        image::volumes(config, facts, &mut mounts, &mut problems);
    }
    mounts.push(Mount { at: "/".into(), kind: MountKind::Seal, origin: BUILT_IN.into() });

    match nix::shell(facts) {
        Some(shell) if in_nix => path.extend(shell.path.iter().map(ToString::to_string)),
        _ if in_image => path.extend(image::path(facts.image.as_ref())),
        _ => path.extend(environment::SYSTEM_PATH.iter().map(|entry| (*entry).to_owned())),
    }
    warnings.extend(nix::warnings(config, facts));
    warnings.extend(image::warnings(config, facts));
    warnings.extend(image::of_init(facts));
    let fixed = started.as_ref().map_or(&[][..], |started| &started.environment);
    let mut environment =
        environment::variables(config, facts, &user, &path.join(":"), cwd.as_str(), fixed, &at);
    coordination::variables(coordination.as_ref(), facts, &mut environment);
    role::variables(facts, &mut environment);
    for Sourced { value, origin } in &config.env.pass {
        if RESERVED.contains(&value.as_str()) {
            let message = format!("`{value}` cannot be passed: the sandbox has its own");
            problems.push(problem("env::reserved", origin, "reserved", message));
        } else if started.as_ref().is_some_and(|started| started.refuses.contains(&value.as_str())) {
            let message =
                format!("`{value}` cannot be passed: it would confuse the agent about where it runs");
            problems.push(problem("env::reserved", origin, "refused by the agent", message));
        } else if !facts.variables.contains(value) {
            warnings.push(format!("`{value}` is not set and is not passed ({})", at(origin)));
        }
    }
    for Sourced { value, origin } in &config.env.files {
        let path = super::expand(value, &facts.home, &facts.project.root).ok();
        let names = path.and_then(|path| facts.file_variables.get(&path)).into_iter().flatten();
        for name in names.filter(|name| RESERVED.contains(&name.as_str())) {
            let message = format!("`{name}` cannot be set by a file: the sandbox has its own");
            problems.push(problem("env::reserved", origin, "in this file", message));
        }
    }
    for (name, Sourced { origin, .. }) in &config.env.set {
        if RESERVED.contains(&name.as_str()) {
            let message = format!("`{name}` cannot be set: the sandbox has its own");
            problems.push(problem("env::reserved", origin, "reserved", message));
        }
    }
    let mut imports = imports::home_imports(config, facts, &mut problems, &at);
    let mut seeds = Vec::new();
    let (argv, agent) = match (&started, target) {
        (Some(started), Target::Agent { .. }) => {
            imports.extend(started.imports.iter().cloned());
            seeds.extend(started.seeds.iter().cloned());
            warnings.extend(started.warnings.iter().cloned());
            (started.argv.clone(), Some(started.agent.clone()))
        }
        (_, Target::Exec { argv }) => (argv.clone(), None),
        (_, Target::Shell | Target::Agent { .. }) => (vec![user.shell.to_string(), "-l".into()], None),
    };
    if let Some(chosen) = chosen.filter(|_| config.network.mode.value == config::NetworkMode::Allowlist) {
        warnings.extend(network::of_chosen(config, facts, chosen).warnings);
    }
    let gateway = network::gateway(config, facts, chosen, &at, &mut problems);
    warnings.extend(network::warnings(config, gateway.as_ref(), &at));
    let secrets = network::secrets(config, facts, gateway.as_ref(), &at, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let directories = ["home", "home/.cache", "home/.config"].into_iter();
    let directories = directories.chain(aside.iter().map(|(name, _)| *name));
    // What its variable names is there, be it empty.
    let directories = directories.chain(facts.older.iter().map(|_| "home/.pi/agent"));
    let directories = directories.map(|name| Directory { path: name.into(), mode: 0o700 });
    // An agent's directories are mounted for a shell and for a single command too.
    let mounted = started.as_ref().map(|started| &started.agent);
    let grants = grants::grants(config, facts, chosen, mounted, &at);
    Ok(Plan {
        schema: SCHEMA,
        backend: if in_image { Backend::Docker } else { Backend::Bubblewrap },
        root: image::root(config, facts).unwrap_or_else(|| nix::root(config, facts)),
        project,
        git,
        gate: gate_mode(config),
        mounts,
        directories: directories.collect(),
        imports,
        seeds,
        environment,
        secrets,
        network: Network { mode, gateway, origin: at(&config.network.mode.origin) },
        ports: network::ports(config, &at),
        limits: limits(config),
        judged: false,
        command: Command { argv, cwd, agent },
        role: role::of(facts),
        coordination,
        user,
        grants,
        warnings,
    })
}

/// Processes and threads of a session that sets no limit of its own: enough for any build, too few to hurt a host.
const MOST_PROCESSES: u64 = 8192;

fn limits(config: &Config) -> Limits {
    fn cap<T: Copy>(limit: Option<&Sourced<config::Limit<T>>>) -> Option<Cap<T>> {
        limit.map(|limit| Cap { at_most: limit.value.at_most, required: limit.value.required })
    }
    let asked = &config.limits;
    Limits {
        memory: cap(asked.memory.as_ref()),
        cpus: cap(asked.cpus.as_ref()),
        pids: cap(asked.pids.as_ref()).or(Some(Cap { at_most: MOST_PROCESSES, required: false })),
        wall: asked.wall.as_ref().map(|wall| wall.value.as_secs()),
        minimum_tier: asked.minimum_tier.as_ref().map(|tier| tier.value),
    }
}

/// Returns what people read as the origin of a value: `built-in`, `pier.kdl:9`.
fn place(origin: &Origin, sources: &Sources) -> String {
    match &origin.span {
        Some(span) => sources.place(span),
        None => BUILT_IN.to_owned(),
    }
}

pub fn built_in_bind(at: &str, source: &Utf8Path, access: Access) -> Mount {
    let kind = MountKind::Bind { source: source.to_owned(), access, expect: None };
    Mount { at: at.into(), kind, origin: BUILT_IN.into() }
}

/// pier's own binary: itself, or the copy that the session makes.
fn init(facts: &Facts) -> Mount {
    if let Some(binary) = &facts.own_binary {
        return built_in_bind(super::INIT, binary, Access::ReadOnly);
    }
    let kind = MountKind::Session { name: super::INIT_COPY.into(), access: Access::ReadOnly };
    Mount { at: super::INIT.into(), kind, origin: BUILT_IN.into() }
}

/// The sandbox home: kept with the project's state, or of this session alone.
fn home(config: &Config, user: &User, project: &Project, at: &dyn Fn(&Origin) -> String) -> Mount {
    let access = Access::ReadWrite;
    if project.ephemeral {
        let kind = MountKind::Session { name: "home".into(), access };
        return Mount { at: user.home.clone(), kind, origin: at(&config.home.keep.origin) };
    }
    let kept = built_in_bind(user.home.as_str(), &project.state.join("home"), access);
    let origin = config.home.state.as_ref().map_or(&config.home.keep.origin, |state| &state.origin);
    Mount { origin: at(origin), ..kept }
}

/// What the older tool kept beside the home, with its place below it: what it has left there goes on being used.
fn older_directories(
    config: &Config,
    facts: &Facts,
    project: &Project,
) -> &'static [(&'static str, &'static str)] {
    // What is approved of a repository's word is a home.
    let is_of_repository = config.home.state.as_ref().is_some_and(|state| state.origin.is_of_repository());
    if facts.older.is_none() || project.ephemeral || is_of_repository {
        return &[];
    }
    &[("agent", ".pi/agent"), ("cache", ".cache")]
}

fn user(config: &Config, facts: &Facts) -> User {
    let Facts { uid, gid, .. } = *facts;
    let shell = match &config.runtime.value {
        Runtime::Nix { .. } => {
            nix::shell(facts).and_then(|shell| shell.sh.clone()).unwrap_or_else(|| "/bin/sh".into())
        }
        Runtime::Container(_) => image::shell(facts),
        Runtime::Auto | Runtime::Host { .. } => "/bin/bash".into(),
    };
    let own = if facts.older.is_some() { "pi" } else { "pier" };
    User { uid, gid, name: owner::name(config, facts, own), home: Utf8Path::new("/home").join(own), shell }
}

fn project(
    config: &Config,
    facts: &Facts,
    at: &dyn Fn(&Origin) -> String,
    problems: &mut Vec<Problem>,
) -> Project {
    let root = &facts.project.root;
    problems.extend(mounts::refused_project(root, &facts.home, &facts.own_directories));
    let hash = crate::util::fs::place_name(root);
    let mut state = match &facts.older {
        Some(older) => older.join(&hash),
        None => facts.state.join("projects").join(&hash),
    };
    if let Some(Sourced { value, origin }) = &config.home.state {
        match super::expand(value, &facts.home, root) {
            Ok(path) if path.starts_with(root) => {
                let message = format!("the state directory `{path}` is inside the project ({})", at(origin));
                problems.push(problem("home::state", origin, "inside the project", message));
            }
            Ok(path) => {
                if let Err(reason) = mounts::check_state(&path, facts) {
                    let message = format!("the sandbox home is not kept in `{path}`: {reason}");
                    problems.push(problem("home::state", origin, "refused", message));
                }
                state = path;
            }
            Err(reason) => {
                problems.push(problem(
                    "home::state",
                    origin,
                    "this path",
                    format!("the path `{value}` {reason}"),
                ));
            }
        }
    }
    let name = config.project.as_ref().map(|project| project.value.name.clone());
    let name = name.or_else(|| root.file_name().map(str::to_owned)).unwrap_or_else(|| "project".to_owned());
    let ephemeral = config.home.keep.value == config::Keep::Ephemeral;
    Project { name, root: root.clone(), at: (&config.workspace.at.value).into(), hash, state, ephemeral }
}

/// Returns where a host directory is inside; a directory outside the project becomes the workspace itself.
fn inside(cwd: &Utf8Path, facts: &Facts, workspace: &str) -> Utf8PathBuf {
    match cwd.strip_prefix(&facts.project.root) {
        Ok(below) if !below.as_str().is_empty() => Utf8Path::new(workspace).join(below),
        _ => workspace.into(),
    }
}

fn network_mode(config: &Config) -> NetworkMode {
    match config.network.mode.value {
        config::NetworkMode::None => NetworkMode::None,
        config::NetworkMode::Allowlist => NetworkMode::Allowlist,
        config::NetworkMode::Host => NetworkMode::Host,
    }
}

fn gate_mode(config: &Config) -> GateMode {
    match config.workspace.gate.value {
        config::Gate::Report => GateMode::Report,
        config::Gate::Quarantine => GateMode::Quarantine,
        config::Gate::Block => GateMode::Block,
    }
}

/// Mounts the `path` lines of `runtime host` and returns them for `PATH`.
fn command_directories(
    config: &Config,
    facts: &Facts,
    mounts: &mut Vec<Mount>,
    problems: &mut Vec<Problem>,
    at: &dyn Fn(&Origin) -> String,
) -> Vec<String> {
    let Runtime::Host { paths } = &config.runtime.value else { return Vec::new() };
    let mut search = Vec::new();
    for Sourced { value, origin } in paths {
        if let Some(inside) = mounted_already(config, value) {
            search.push(inside);
            continue;
        }
        let found = mounts::source_of(value, Purpose::CommandDirectory, origin, facts, problems);
        let Some((path, found)) = found else { continue };
        search.push(path.to_string());
        // `/usr` is there already; a second mount of a part of it costs time and shows nothing new.
        if !path.starts_with("/usr") {
            let expect = Some(found.identity);
            let kind = MountKind::Bind { source: path.clone(), access: Access::ReadOnly, expect };
            mounts.push(Mount { at: path, kind, origin: at(origin) });
        }
    }
    search
}

/// Returns a command directory that lies in the target of a `ro` line, such as a toolchain's `/opt/rust/bin`.
fn mounted_already(config: &Config, path: &str) -> Option<String> {
    let path =
        Some(path).filter(|path| path.starts_with('/')).map(|path| super::paths::clean(path.into()))?;
    let holds = |mount: &Sourced<config::Mount>| match &mount.value {
        config::Mount::Bind { at: Some(at), access: config::Access::ReadOnly, .. } => path.starts_with(at),
        _ => false,
    };
    config.mounts.iter().any(holds).then(|| path.to_string())
}

fn chosen_agent<'a>(
    config: &'a Config,
    target: &Target,
    problems: &mut Vec<Problem>,
) -> Option<&'a config::Agent> {
    let Target::Agent { name, .. } = target else { return config.default_agent() };
    let found = config.agents.iter().find(|agent| agent.name.value == *name);
    if found.is_none() {
        let declared: Vec<&str> = config.agents.iter().map(|agent| agent.name.value.as_str()).collect();
        let message = format!("the agent `{name}` is not declared");
        let known = agent::find(name).map_err(|unknown| unknown.nearest);
        let help = match (known, declared.as_slice()) {
            (Ok(_), []) => {
                format!("add `agent {name} default=#true` to `pier.kdl`; `pier init` writes a first one")
            }
            (Ok(_), names) => format!("`pier.kdl` declares {}; add `agent {name}` for it", names.join(", ")),
            (Err(Some(nearest)), _) => format!("did you mean `{nearest}`?"),
            (Err(None), _) if let Some(agent) = agent::of_trial(name) => agent.refusal(),
            (Err(None), _) => format!(
                "pier knows {}; any other needs an `agent` with a `run` line in `pier.kdl`",
                agent::known()
            ),
        };
        problems.push(Problem::nowhere("agent::undeclared", message).help(help));
    }
    found
}

/// Everything that one agent adds to a plan.
struct Started {
    mounts: Vec<Mount>,
    argv: Vec<String>,
    environment: Vec<(&'static str, String)>,
    refuses: &'static [&'static str],
    imports: Vec<Import>,
    seeds: Vec<Seed>,
    warnings: Vec<String>,
    agent: Agent,
}

fn start_agent(
    declared: &config::Agent,
    config: &Config,
    facts: &Facts,
    target: &Target,
    (cwd, home): (&Utf8Path, &Utf8Path),
    problems: &mut Vec<Problem>,
    at: &dyn Fn(&Origin) -> String,
) -> Option<Started> {
    let name = &declared.name;
    let (adapter, tuned) = agents::read(declared, problems)?;
    let Some(launcher) = facts.launchers.get(&name.value) else {
        if matches!(target, Target::Agent { .. }) {
            problems.push(image::no_agent(name, facts));
        }
        return None;
    };
    let none = Vec::new();
    let (extra, task) =
        if let Target::Agent { extra, task, .. } = target { (extra, task.as_ref()) } else { (&none, None) };
    let mode = match task.map(|task| (task.front, task.prompt.as_str())) {
        Some((Front::Interactive, prompt)) => Mode::Opened { prompt },
        Some((Front::Text, prompt)) => Mode::Text { prompt },
        Some((Front::Events, prompt)) => Mode::Headless { prompt: Some(prompt) },
        None if adapter.is_headless(extra) => Mode::Headless { prompt: None },
        None => Mode::Interactive,
    };
    let servers: Vec<config::Mcp> = declared.mcp.iter().map(|mcp| mcp.value.clone()).collect();
    let own = declared.args.as_ref().map_or(&none, |args| &args.value);
    let args = [tuned.arguments.as_slice(), own].concat();
    let given = [args.as_slice(), extra].concat();
    let narrowed = role::narrow(config, facts, declared, &*adapter, &given);
    let told = role::told(facts);
    let request = Request {
        mode,
        cwd: cwd.as_str(),
        model: narrowed.model.as_deref(),
        tools: narrowed.tools.as_deref(),
        role: told.as_ref(),
        mcp: &servers,
        args: &args,
        extra,
    };
    if let Some(tools) = declared.tools.as_ref().filter(|_| !adapter.chooses_tools()) {
        let message = format!("the agent `{}` cannot be told which tools it has", name.value);
        problems.push(problem("agent::tools", &tools.origin, "asked for here", message));
    }
    let seed = |rule| move |agent::GeneratedFile { path, content }| Seed { path: path.into(), content, rule };
    let mut seeds: Vec<Seed> = adapter.seeds().into_iter().map(seed(ImportRule::Missing)).collect();
    seeds.extend(told.as_ref().and_then(|role| adapter.role_file(role)).map(seed(ImportRule::Always)));
    match adapter.mcp(&servers, told.as_ref()) {
        McpSetup::Arguments => {}
        McpSetup::File(file) => seeds.push(seed(ImportRule::Always)(file)),
        McpSetup::Unsupported if servers.is_empty() => {}
        McpSetup::Unsupported => {
            let message = format!("the agent `{}` has no MCP client", name.value);
            problems.push(problem("agent::mcp", &declared.mcp[0].origin, "asked for here", message));
        }
    }
    let fixed = adapter.environment().iter().map(|(name, value)| (*name, agent::at_home(value, home)));
    let model = adapter.model_variable().zip(request.model.map(str::to_owned));
    let variables = fixed.chain(tuned.variables).chain(model).collect();
    let Launcher { program, interpreter, directories, libraries, version, kind } = launcher;
    let mut argv: Vec<String> = interpreter.iter().chain([program]).map(ToString::to_string).collect();
    argv.extend(adapter.command(&request));
    let mut mounts: Vec<Mount> = Vec::new();
    let directories = directories.iter().filter(|_| *kind != InstallKind::System);
    let libraries = libraries.iter().map(|library| (&library.at, &library.source));
    for (inside, source) in directories.map(|directory| (directory, directory)).chain(libraries) {
        let expect = facts.paths.get(source).and_then(|fact| fact.found.as_ref()).map(|found| found.identity);
        let bind = MountKind::Bind { source: source.clone(), access: Access::ReadOnly, expect };
        mounts.push(Mount { at: inside.clone(), kind: bind, origin: at(&name.origin) });
    }
    mounts.extend(image::links(facts));
    // By name in a shell of the sandbox too.
    // `run` may be a path of the repository's making: only its last part is a name, the rest could climb out.
    let named = adapter.launchers().first().and_then(|name| Utf8Path::new(*name).file_name());
    let links = named.map(|name| (name, program)).into_iter();
    for (name, to) in links.chain(interpreter.as_ref().map(|runs| (runs.file_name().unwrap_or("node"), runs)))
    {
        let kind = MountKind::Symlink { to: to.clone() };
        mounts.push(Mount { at: format!("/.pier/bin/{name}").into(), kind, origin: BUILT_IN.into() });
    }
    let skills = imports::skills(declared, &*adapter, facts, problems, at);
    let places = Places { host_cwd: &facts.cwd, inside_cwd: cwd };
    let mut imports = Vec::new();
    for Sourced { value, origin } in &declared.imports {
        let Some(rule) = imports::rule(value.sync) else { continue };
        let copies =
            value.what.iter().flat_map(|kind| adapter.imports(*kind, value.from.as_deref(), &places));
        for copy in copies {
            let Some(from) = imports::import_source(&copy.from, origin, facts, problems) else { continue };
            let kind = match copy.shape {
                Shape::File => ImportKind::File,
                Shape::Tree => ImportKind::Tree,
            };
            imports.push(Import {
                from,
                to: copy.to.into(),
                rule,
                kind,
                mode: copy.mode,
                origin: at(origin),
            });
        }
    }
    let logs = match &adapter {
        agent::Chosen::Custom(custom) => agent::Agent::logs(custom).into_iter().map(str::to_owned).collect(),
        agent::Chosen::BuiltIn(_) => Vec::new(),
    };
    let agent = Agent { name: name.value.clone(), version: version.clone(), launcher: program.clone(), logs };
    Some(Started {
        mounts,
        argv,
        environment: variables,
        refuses: adapter.refuses(),
        imports: imports.into_iter().chain(skills).collect(),
        seeds,
        warnings: narrowed.warnings,
        agent,
    })
}
