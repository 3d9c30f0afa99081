//! `pier verify`: runs the tests of a task on what was done in its workspace.

use std::collections::BTreeSet;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::owner::{self, RootOwned};
use super::trials::declared::Declared;
use super::trials::told::{self, Told};
use super::trials::{self, Asked};
use super::workspaces::base::{self, Base, Loaded};
use super::workspaces::given::{Entry, kept_entries};
use super::workspaces::paused::{self, Pause};
use super::{Global, Outcome, image, project, sessions, workspaces};
use crate::agent::of_trial;
use crate::backend::docker::engine::Connected;
use crate::backend::docker::kept::{self, State};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::plan::{Access, Mount, MountKind, Plan};
use crate::record::{Agent, Trial};
use crate::session::beneath::Beneath;
use crate::session::{aside, stop};
use crate::sys::process;
use crate::task::directory::digest;
use crate::task::listing::Listing;
use crate::task::{Phase, resolve_network};
use crate::trial::assemble::{AGENT, Draft, VERIFIER};
use crate::trial::rewards::REWARD;
use crate::trial::verify::{self, Site, Verified};
use crate::ui;
use crate::util::fs::remove_tree;
use crate::util::text::escape;
use crate::workspace::{self, Mode, RECORDS, Workspace};

pub mod broken_off;
pub mod temporary;

use temporary::{Agents, Temporary};

/// How long what still runs in a workspace may take to end before it is verified.
const GRACE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier verify\n  pier verify --min-reward 1     exit code 1 below\n  pier verify --agent claude-code --json"
)]
pub struct Verify {
    /// Where the trial goes, instead of a new directory in `.pier/trials`.
    #[arg(long, value_name = "DIR")]
    trial_dir: Option<Utf8PathBuf>,
    #[command(flatten)]
    asked: Asked,
    /// The least reward that is good enough; below it the exit code is 1.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = finite)]
    min_reward: Option<f64>,
    /// Leave what still runs in the workspace, for tests of a service that the agent has started. Where the tests run as the
    /// agent's own user, it is ended all the same.
    #[arg(long)]
    keep_running: bool,
    /// Give the tests the variables of this host that the task asks for.
    #[arg(long)]
    accept: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(global: &Global, args: &Verify) -> Outcome {
    let cwd = project::current_directory()?;
    let caller = owner::of_sessions(global)?;
    let workspace = workspaces::meant::meant(global, &cwd, &caller.home)?;
    let Workspace { root, session } = &workspace;
    let asked = &args.asked;
    let in_container = session.mode == Mode::Container;
    let declared = Declared::of_workspace(global, &caller)?;
    asked.check(&session.agents, &declared, Some(in_container))?;
    if session.image.is_some() {
        return Err(trials::usage(
            "the workspace has no task, and so no tests",
            "`pier start TASK -d DIR` makes one of a task",
        ));
    }
    let agent = asked.agent(&session.agents)?;
    if let (None, Some(agent)) = (&asked.agent, &agent) {
        ui::say(&format!("the agent is that of the workspace: {}", escape(agent)));
    }
    let environment = owner::settle(Environment::of_process()?, global, root, RootOwned::Refuse)?;
    sessions::gather(&environment);
    let mut source = asked.source(&workspace, agent.as_deref())?;
    let mut agent = agent;
    if !in_container && source.is_none() && agent.as_deref().is_none_or(|agent| agent == CLAUDE) {
        source = trials::of_claude(&environment.home, root);
        agent = source.as_ref().map(|_| CLAUDE.to_owned()).or(agent);
    }
    workspaces::require_own(&environment, root, false)?;
    let started = Timestamp::now();
    let loaded = Loaded::read(&session.task_dir)?;
    let listing = Listing::read(&loaded.directory)
        .map_err(|error| trials::usage(&error.to_string(), "look at the directory of the task"))?;
    let own = loaded.verifier(&listing)?;
    let before = workspaces::remembered(&environment, root);
    let has_secrets = before.is_some_and(|kept| !kept.plan.secrets.is_empty());
    let elsewhere = Elsewhere::of(&loaded, own, (in_container, has_secrets), args.keep_running)?;
    let variables = variables(elsewhere.task(&loaded), &workspace, &environment, args.accept)?;
    let _held = workspaces::hold(&environment, root)?;
    let own_container = in_container.then(|| workspaces::container(&workspace));
    let _watch = broken_off::watch(&environment, root, own_container)?;
    let place = prepare(&workspace, &environment, global, &loaded, args.keep_running)?;
    let draft =
        args.trial_dir.as_ref().map_or_else(|| Draft::new(root, started), |dir| Draft::at(&cwd.join(dir)))?;
    let (_frozen, other) = elsewhere.start(global, &environment, &workspace, &loaded, &place)?;
    let site = other.as_ref().map_or_else(|| place.site(args.keep_running), |other| site(other, false));
    ui::say("running the tests");
    let records = fresh(root)?;
    let began = Timestamp::now();
    let verified = verify::verify(&site, &loaded.task, &listing, variables, &records);
    let verified = verified.map_err(|error| {
        if let (crate::trial::Error::Docker(_), Place::Own(own), None) = (&error, &place, &other) {
            // Nobody has said that what the tests have started is over.
            match kept::close(&own.engine, &own.name) {
                Ok(_) => ui::say("the workspace was stopped: the verifier has not come to its end"),
                Err(error) => ui::warn(&format!(
                    "what the tests have started may run on, and the workspace cannot be stopped: {}",
                    escape(&error.to_string())
                )),
            }
        }
        let failure = Failure::from(error);
        let output = records.join("test-stdout.txt");
        ui::say(&format!("what the tests said is in {}", escape(output.as_str())));
        failure
    })?;
    let finished = Timestamp::now();
    trials::tell("files of the verifier", &draft.copy(&records, VERIFIER)?);
    trials::copy_artifacts(session, root, &draft);
    let told = match &source {
        Some(source) => {
            let agent = agent.as_deref().unwrap_or_default();
            let directory = &workspace::private(&environment.state, root);
            let inside = aside::Place { directory, silence: &|| paused::silence(&environment, root) };
            trials::copy_session((agent, source), &draft, Some(inside))?
        }
        None => false,
    };
    let read = match (&agent, &source) {
        (Some(name), Some(source)) if told => {
            told::of(declared.whose(name), name, source, &draft.path.join(AGENT), &environment.state)
        }
        _ => Told::default(),
    };
    let trial = Trial {
        id: random()?,
        task_name: loaded.task.name(loaded.directory.file_name().unwrap_or_default()).to_owned(),
        task: loaded.directory.clone(),
        task_checksum: digest::checksum(&listing).unwrap_or_default(),
        name: root.file_name().unwrap_or("workspace").to_owned(),
        directory: draft.path.clone(),
        agent: agent.clone().map(|name| Agent {
            version: read.version.or_else(|| Some(of_trial(&name)?.version.to_owned())),
            name,
        }),
        ran: read.ran,
        rewards: Some(verified.rewards.clone()),
        started,
        finished,
        verified: Some((began, finished)),
    };
    let path = draft.keep(&trial)?;
    report(args, &verified, &path, agent.as_deref(), told);
    let reward = verified.rewards.get(REWARD).and_then(serde_json::Number::as_f64);
    match args.min_reward {
        Some(least) if reward.is_none_or(|reward| reward < least) => Ok(Exit::Failed),
        _ => Ok(Exit::Done),
    }
}

/// Parses a number that can be compared.
fn finite(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|number| number.is_finite())
        .ok_or_else(|| format!("`{text}` is no finite number"))
}

/// The agent whose sessions are found without being named.
pub const CLAUDE: &str = "claude-code";

/// Where the tests of a workspace with a container run.
enum Elsewhere {
    /// Where the agent worked.
    No,
    /// In a copy of that, with a network of their own.
    Network,
    /// In an environment of their own; with whether the tests are in its image.
    Own(Box<Loaded>, bool),
}

impl Elsewhere {
    fn of(
        loaded: &Loaded,
        own: Option<(Loaded, bool)>,
        (in_container, has_secrets): (bool, bool),
        keep: bool,
    ) -> Result<Self, Failure> {
        let of = |phase| resolve_network(&loaded.task, None, phase);
        let found = match own {
            Some(_) if !in_container => {
                let message =
                    "the verifier has an environment of its own, which takes files out of a container";
                return Err(trials::usage(message, "start the task without `--host`"));
            }
            Some((own, bundled)) => Elsewhere::Own(Box::new(own), bundled),
            // The gateway of the agent sends secrets along, which are not for the tests.
            None if in_container && (has_secrets || of(Phase::Agent) != of(Phase::Verifier)) => {
                Elsewhere::Network
            }
            None => Elsewhere::No,
        };
        match found {
            Elsewhere::Network | Elsewhere::Own(..) if keep => Err(trials::usage(
                "the tests run in a container of their own, where nothing of what the agent has started is",
                "leave `--keep-running` out",
            )),
            found => Ok(found),
        }
    }

    /// The task as the tests have it.
    fn task<'a>(&'a self, loaded: &'a Loaded) -> &'a Loaded {
        if let Elsewhere::Own(own, _) = self { own } else { loaded }
    }

    /// Starts the other container; in the one of the workspace no time goes by meanwhile.
    fn start<'a>(
        &self,
        global: &Global,
        environment: &Environment,
        workspace: &Workspace,
        loaded: &Loaded,
        place: &'a Place,
    ) -> Result<(Option<Pause<'a>>, Option<Temporary>), Failure> {
        let Place::Own(own) = place else { return Ok((None, None)) };
        let of = Agents { own, workspace };
        Ok(match self {
            Elsewhere::No => (None, None),
            Elsewhere::Network => {
                let frozen = paused::pause(environment, &workspace.root, &own.engine, &own.name)?;
                let base = Base::Task(Box::new(loaded.clone()));
                (Some(frozen), Some(Temporary::of_snapshot(global, environment, &base, &of)?))
            }
            Elsewhere::Own(task, bundled) => {
                let root = &workspace.root;
                let directory = &workspace::private(&environment.state, root);
                let place = aside::Place { directory, silence: &|| paused::silence(environment, root) };
                temporary::collect(&loaded.task.verifier.collect, &of, place)?;
                let frozen = paused::pause(environment, &workspace.root, &own.engine, &own.name)?;
                let base = Base::Task(task.clone());
                let artifacts = &loaded.task.artifacts;
                let made = Temporary::of_verifier(global, environment, (&base, *bundled), &of, artifacts)?;
                (Some(frozen), Some(made))
            }
        })
    }
}

/// Returns the variables of the tests: those of the task's environment, and over them the verifier's.
fn variables(
    loaded: &Loaded,
    workspace: &Workspace,
    environment: &Environment,
    accept: bool,
) -> Result<Vec<(String, String)>, Failure> {
    let stored: Vec<String> =
        workspace.session.extra_env.iter().filter(|text| Entry::is_whole(text)).cloned().collect();
    let given = kept_entries(&stored, environment)?.entries;
    let allowed =
        workspaces::remembered(environment, &workspace.root).map(|kept| kept.allowed).unwrap_or_default();
    let mut may = |names: &BTreeSet<String>| {
        let new: Vec<&str> = names.difference(&allowed).map(String::as_str).collect();
        workspaces::ask_for(&new, "the tests ask", accept)
    };
    let mut all = Vec::new();
    for of in [&loaded.task.environment.env, &loaded.task.verifier.env] {
        let resolved = base::variables(of, &given, environment, &mut may).map_err(|failure| {
            if failure.exit != Exit::Usage {
                return failure;
            }
            failure.help(
                "set them here, as in `NAME=… pier verify`: what `pier start` was given is kept nowhere",
            )
        });
        for entry in resolved? {
            // What was given to the workspace was for the agent.
            if of.contains_key(&entry.name) {
                all.push((entry.name, entry.value));
            }
        }
    }
    Ok(all)
}

/// Where the tests run.
enum Place {
    /// In the container of the workspace.
    Own(Box<Own>),
    /// In one for this alone.
    Temporary(Box<Temporary>),
}

/// The container of a workspace.
pub struct Own {
    engine: Connected,
    name: String,
    plan: Plan,
    /// Whom its image runs commands as.
    user: String,
}

impl Place {
    fn site(&self, keep: bool) -> Site<'_> {
        match self {
            Place::Own(own) => {
                let Own { engine, name, plan, user } = &**own;
                described((engine, name), plan, (user, &plan.project.at), keep)
            }
            Place::Temporary(made) => site(made, keep),
        }
    }
}

fn site(made: &Temporary, keep: bool) -> Site<'_> {
    let Temporary { engine, name, plan, user, cwd, bundled, .. } = made;
    Site { bundled: *bundled, ..described((engine, name), plan, (user, cwd), keep) }
}

fn described<'a>(
    (engine, container): (&'a Connected, &'a str),
    plan: &'a Plan,
    (user, cwd): (&'a str, &'a Utf8Path),
    keep: bool,
) -> Site<'a> {
    let writable = |mount: &Mount| {
        matches!(mount.kind, MountKind::Bind { access: Access::ReadWrite, .. }).then(|| mount.at.clone())
    };
    let writable = plan.mounts.iter().filter_map(writable).collect();
    let owner = (plan.user.uid, plan.user.gid);
    Site { engine, container, cwd, owner, writable, keep, user, bundled: false }
}

/// Ends what still runs in the workspace; one without a container gets one for the tests.
fn prepare(
    workspace: &Workspace,
    environment: &Environment,
    global: &Global,
    loaded: &Loaded,
    keep: bool,
) -> Result<Place, Failure> {
    let root = &workspace.root;
    if workspace.session.mode == Mode::Container {
        paused::require_awake(environment, root)?;
    }
    if !keep {
        end_all(environment, root)?;
    }
    if workspace.session.mode == Mode::Host {
        let base = Base::Task(Box::new(loaded.clone()));
        // The engine first: what is said without one is for a workspace.
        let engine = image::engine(environment).and_then(|engine| Ok(engine.connect()?));
        let engine = engine.map_err(|failure| {
            failure.help(
                "start it, or name it by `DOCKER_HOST`: the tests run in a container, whatever the agent did",
            )
        })?;
        temporary::sweep(environment, root, &engine)?;
        return Ok(Place::Temporary(Box::new(Temporary::start(global, environment, root, &base)?)));
    }
    let engine = image::engine(environment)?.connect()?;
    let name = workspaces::container(workspace);
    let not_running = || workspaces::ended::not_running(root);
    if kept::state(&engine, &name)? != State::Running {
        return Err(not_running());
    }
    temporary::sweep(environment, root, &engine)?;
    paused::wake(environment, root, &engine, &name)?;
    if !kept::serves(&workspace::private(&environment.state, root)) {
        return Err(not_running());
    }
    let plan = workspaces::remembered(environment, root).ok_or_else(not_running)?.plan;
    let user = image_user(&engine, &plan, environment)?;
    Ok(Place::Own(Box::new(Own { engine, name, plan, user })))
}

/// Returns whom the image of a plan runs its commands as.
fn image_user(engine: &Connected, plan: &Plan, environment: &Environment) -> Result<String, Failure> {
    use crate::backend::docker::images::{self, Wanted};
    let crate::plan::RootFilesystem::Image { digest, .. } = &plan.root else { return Ok(String::new()) };
    let found = images::find(engine, Wanted { reference: digest, pin: None }, &environment.cache)?;
    Ok(found.map(|image| image.user).unwrap_or_default())
}

/// Ends the commands that still run in a workspace: what an agent left must not change what is verified.
fn end_all(environment: &Environment, root: &Utf8Path) -> Result<(), Failure> {
    let state = &environment.state;
    let live = sessions::live(state)?;
    let of_this: Vec<_> = live.iter().filter(|session| session.project == *root).collect();
    if of_this.is_empty() {
        return Ok(());
    }
    ui::say(&match of_this.len() {
        1 => "ending 1 command that still runs in the workspace".to_owned(),
        count => format!("ending {count} commands that still run in the workspace"),
    });
    let asked: Vec<_> = of_this.iter().map(|session| stop::ask(state, session, GRACE)).collect();
    for asked in asked {
        asked?.wait(state)?;
    }
    Ok(())
}

/// Makes the directory of the rewards anew.
fn fresh(root: &Utf8Path) -> Result<Utf8PathBuf, Failure> {
    let below = Utf8Path::new(RECORDS).join(VERIFIER);
    let path = root.join(&below);
    let made = Beneath::open(root).and_then(|root| root.directory(&below)).and_then(|_| {
        remove_tree(&path)?;
        Beneath::open(root)?.directory(&below).map(drop)
    });
    made.map_err(|source| crate::trial::Error::Io { path: path.clone(), source })?;
    Ok(path)
}

pub fn random() -> Result<[u8; 16], Failure> {
    let mut id = [0; 16];
    process::random(&mut id).map_err(|error| {
        Failure::new(Exit::Failed, "trial::files", format!("there is no random number: {error}"))
    })?;
    Ok(id)
}

fn report(args: &Verify, verified: &Verified, path: &Utf8Path, agent: Option<&str>, told: bool) {
    let Verified { rewards, code } = verified;
    if args.json {
        let all = crate::record::rewards(Some(rewards));
        ui::json(
            &json!({ "trial": path, "agent": agent, "rewards": all, "exit_code": code, "session": told }),
        );
        return;
    }
    ui::answer(&format!("Reward: {}", rewards.get(REWARD).map_or("N/A".to_owned(), ToString::to_string)));
    for (name, number) in rewards.iter().filter(|(name, _)| *name != REWARD) {
        ui::answer(&format!("  {}: {number}", escape(name)));
    }
    ui::answer(&format!("trial: {}", escape(path.as_str())));
    match (agent, told) {
        (None, _) => ui::say("no agent specified: the trial says what the tests found, and not who worked"),
        (Some(agent), false) => ui::say(&format!(
            "nothing of a session of {} was found; `--session-dir` says where it is",
            escape(agent)
        )),
        (Some(_), true) => {}
    }
}
