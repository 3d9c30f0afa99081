//! What both loops have: the clone of the coordination repository, who works for them, and one turn of a role on an item.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use clap::Args;
use jiff::Timestamp;

use super::known;
use super::launch::Launcher;
use super::settled::settled;
pub use super::settled::{Claimed, first, has_code};
use crate::agent;
use crate::cmd::Global;
use crate::cmd::coord::context::{self, Common, Context};
use crate::cmd::coord::scope::{Scope, Scoped};
use crate::cmd::coord::step::{Act, Stepped};
use crate::cmd::owner::RootOwned;
use crate::cmd::project::{self, Fetch, Project};
use crate::coord::domain::Way;
use crate::coord::history::{self, Actor, Reference};
use crate::coord::item::Head;
use crate::coord::select::{self, Order, Stage};
use crate::coord::store::Entry;
use crate::coord::transition::Action;
use crate::diag::{Exit, Failure};
use crate::plan::{Front, GitMode, Merge, Target, Task, facts};
use crate::util::fs::read_bounded;
use crate::util::text::{escape, parse_duration};

/// How long a session may take that nobody sits in front of.
const TIMEOUT: &str = "2h";

/// Flags of both loops.
#[derive(Clone, Debug, Default, Args)]
pub struct Flags {
    /// The clone of the coordination repository.
    #[arg(long, value_name = "DIR")]
    pub coord_dir: Option<Utf8PathBuf>,
    /// Who claims and works: your user's name and this machine's otherwise.
    #[arg(long, value_name = "NAME")]
    pub agent_id: Option<String>,
    /// The agent, or that of one role; several. The default agent of `pier.kdl` otherwise.
    #[arg(long = "agent", value_name = "[ROLE=]AGENT")]
    pub agents: Vec<String>,
    /// Only this item; several, in their order.
    #[arg(long = "issue", value_name = "ID")]
    pub issues: Vec<String>,
    #[command(flatten)]
    pub scoped: Scoped,
    /// How long a claim holds that nobody renews; it is renewed while its agent works.
    #[arg(long = "for", value_name = "TIME", default_value = "30m")]
    pub lease: String,
    /// How long one session of an agent may take; two hours where nobody sits in front of it and `limits wall` says nothing.
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// How many sessions in a row may bring an item nowhere before it is left.
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub attempts: u32,
    /// At most so many sessions.
    #[arg(long, value_name = "COUNT")]
    pub max_jobs: Option<u64>,
    /// Seconds between two looks where there is nothing to do.
    #[arg(long, visible_alias = "poll-interval", value_name = "SECONDS", default_value_t = 30)]
    pub sleep: u64,
    /// Leave items that are done, reviewed and verified as they are.
    #[arg(long)]
    pub no_close: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

pub fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, "role::loop", message)
}

pub fn failed(message: String) -> Failure {
    Failure::new(Exit::Failed, "role::loop", message)
}

/// Parses the value of a flag that is a time.
pub fn time(flag: &str, text: &str) -> Result<Duration, Failure> {
    parse_duration(text).map_err(|why| usage(format!("`{flag} {}`: {why}", escape(text))))
}

/// One item, for one role.
#[derive(Clone, Debug)]
pub struct Turn {
    pub stage: Stage,
    pub id: String,
    pub title: String,
    pub actor: Actor,
    /// It was begun before.
    pub resumed: bool,
    /// The branch of a private clone.
    pub branch: Option<String>,
    /// The clone of the coordination repository that its session sees.
    pub clone: Utf8PathBuf,
}

/// The host's side of a loop.
pub struct Desk<'a> {
    pub(super) global: &'a Global,
    pub context: Context,
    pub flags: Flags,
    pub lease: Duration,
    pub launcher: Launcher,
    pub(super) scope: Scope,
    /// Held by every session, so that no other loop begins while one of them ends.
    pub hold: Option<std::fs::File>,
    /// What was warned of already.
    pub(super) told: Mutex<BTreeSet<String>>,
    /// The roles as they were at the start.
    roles: BTreeMap<Stage, Option<facts::Role>>,
    pub(super) binary: Utf8PathBuf,
    /// Where logs are, and what else a loop keeps.
    pub place: Utf8PathBuf,
}

impl<'a> Desk<'a> {
    pub fn open(global: &'a Global, flags: &Flags, launcher: Launcher) -> Result<Self, Failure> {
        let common =
            Common { coord_dir: flags.coord_dir.clone(), agent_id: flags.agent_id.clone(), role: None };
        let mut context = Context::open(global, &common)?;
        // Whatever role the caller has: each turn has its own.
        context.actor.role = String::new();
        let is_named = flags.agent_id.is_some() || context::knob(&context.environment, "AGENT_ID").is_some();
        if !is_named && matches!(launcher, Launcher::Pier { .. }) {
            context.actor.id = named_after_the_machine(&context.actor.id);
        }
        if !context.project.join(".git").exists() {
            let message = format!("`{}` is no git working tree: a loop works on commits", context.project);
            return Err(failed(message).help("run it in the project"));
        }
        let lease = time("--for", &flags.lease)?;
        if lease < Duration::from_secs(30) {
            return Err(usage("`--for`: a claim of less than 30 s cannot be kept".into()));
        }
        if let Some(text) = &flags.timeout {
            time("--timeout", text)?;
        }
        let scope = Scope::of(&context, &flags.scoped, false)?;
        if matches!(scope, Scope::All { .. }) && !flags.scoped.all_repos {
            let message = "the domain has several repositories, and none of them is this project".to_owned();
            return Err(usage(message)
                .help("`--repo-id ID` says which is meant, `pier coord repo add` adds one, `--all-repos` takes the items of all"));
        }
        let binary = std::env::current_exe()
            .ok()
            .and_then(|path| Utf8PathBuf::from_path_buf(path).ok())
            .ok_or_else(|| failed("pier cannot tell where its own program is".into()))?;
        let place = super::now::of_project(&context.environment.state, &context.project);
        let flags = flags.clone();
        let (roles, told) = (BTreeMap::new(), Mutex::default());
        let mut desk =
            Desk { global, context, flags, lease, launcher, scope, hold: None, told, roles, binary, place };
        desk.agents()?;
        desk.name_issues()?;
        for stage in Stage::ALL {
            desk.roles.insert(stage, desk.project(stage.role())?.role);
        }
        Ok(desk)
    }

    pub(super) fn is_apart(&self) -> bool {
        matches!(self.launcher, Launcher::Pier { apart: true })
    }

    /// What the sessions are set, above everything else.
    pub(super) fn set(&self) -> Option<&'static str> {
        self.is_apart().then_some("workspace.clone=true")
    }

    /// Finds the items that were named, by their whole ids from now on.
    fn name_issues(&mut self) -> Result<(), Failure> {
        let mut named = Vec::new();
        for query in &self.flags.issues {
            let id = self.context.store.find(query)?.head.id;
            if named.contains(&id) {
                return Err(usage(format!("`--issue {}` is there twice", escape(query))));
            }
            named.push(id);
        }
        self.flags.issues = named;
        Ok(())
    }

    /// Refuses roles that have changed since the loop began: a session may have written its own reviewer.
    pub fn require_same_roles(&self) -> Result<(), Failure> {
        for stage in Stage::ALL {
            let role = stage.role();
            if self.roles.get(&stage) != Some(&self.project(role)?.role) {
                let message = format!("the role `{role}` is another one than when the loop began");
                let help =
                    format!("`pier role show {role}` has it as it is now; look at it, and begin again");
                return Err(failed(message).help(help));
            }
        }
        Ok(())
    }

    /// Says why a reviewer or a tester would not see what was done: its commits are elsewhere.
    pub fn elsewhere(&self, entry: &Entry) -> Option<String> {
        let done = history::read(&entry.text).into_iter().rfind(|event| event.kind == "done")?;
        let has = |one: &Reference| {
            let name = format!("{}^{{commit}}", one.commit);
            let is_id = one.commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_id && self.ask_project(&["merge-base", "--is-ancestor", &name, "HEAD"]).is_ok()
        };
        let all = done.implementation_refs;
        let first = all.first().filter(|_| !all.iter().any(has))?;
        Some(format!("its commit {} is not in this project: fetch and merge it", escape(&first.commit)))
    }

    /// Returns the agent of each role, where the caller names one.
    fn agents(&self) -> Result<BTreeMap<&'static str, &str>, Failure> {
        let mut all = BTreeMap::new();
        let roles = Stage::ALL.map(Stage::role);
        for named in &self.flags.agents {
            match named.split_once('=') {
                None => {
                    for role in roles {
                        all.entry(role).or_insert(named.as_str());
                    }
                }
                Some((role, agent)) => {
                    let role = roles.iter().find(|known| **known == role).ok_or_else(|| {
                        usage(format!("`--agent {}`: the loop has no such role", escape(named)))
                            .help(format!("it has {}", roles.join(", ")))
                    })?;
                    all.insert(*role, agent);
                }
            }
        }
        Ok(all)
    }

    /// The name of a role's agent, where the caller says it.
    pub(super) fn agent(&self, stage: Stage) -> Option<&str> {
        self.agents().ok()?.get(stage.role()).copied()
    }

    pub fn order(&self, otherwise: Order) -> Order {
        if self.flags.issues.is_empty() { otherwise } else { Order::Named(self.flags.issues.clone()) }
    }

    /// Refuses a working tree with changes: whose they are could not be told afterwards.
    pub fn require_clean(&self) -> Result<(), Failure> {
        // Where the clone is, and what else pier has in a project; bootstrap tells Git so, unless it came first.
        let words = ["status", "--porcelain", "--ignore-submodules=all", "--", ".", ":(exclude,top).pi-env"];
        let answer = self.ask_project(&words)?;
        let Some(first) = answer.lines().next() else { return Ok(()) };
        let count = answer.lines().count();
        let first = escape(first.get(3..).unwrap_or(first));
        let message = format!("the project has changes that no commit has: `{first}`, {count} in all");
        Err(failed(message).help("commit them, or stash them with `git stash -u`"))
    }

    /// Runs git in the project, for what it prints.
    fn ask_project(&self, words: &[&str]) -> Result<String, Failure> {
        use crate::backend::git::{Git, Repository, Settings, failed};
        let git = Git::find(&self.context.environment.home)?;
        let (directory, _) = self.repository()?;
        let work_tree = Some(self.context.project.as_path());
        let repository = Repository { directory: &directory, work_tree, index: None, attributes: None };
        let answer = git.ask(repository, Settings::User, words, b"")?;
        if answer.code == Some(0) {
            return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
        }
        Err(failed(words, &answer).into())
    }

    /// Returns the project's git directory, and that which its worktrees share.
    pub fn repository(&self) -> Result<(Utf8PathBuf, Utf8PathBuf), Failure> {
        let found = crate::backend::probe::repository::find(&self.context.project)?;
        match found.filter(|found| !found.foreign) {
            Some(found) => Ok((found.directory, found.common)),
            None => Err(failed(format!("`{}` is no git repository of its own", self.context.project))),
        }
    }

    /// Claims an item, or keeps it.
    pub fn claim(&self, actor: &Actor, id: &str) -> Result<Claimed, Failure> {
        let action = Action::Claim { until: Some(self.end_of_lease()?), force: false };
        let act = Act { item: id, actor, session: None, action: &action, message: None };
        settled(act.carry_out(&self.context, Way::Exclusive, true))
    }

    fn end_of_lease(&self) -> Result<Timestamp, Failure> {
        let lease = jiff::SignedDuration::try_from(self.lease).ok();
        lease
            .and_then(|lease| Timestamp::now().checked_add(lease).ok())
            .ok_or_else(|| usage("`--for`: that is too long".into()))
    }

    /// Does a step that this loop answers for.
    pub fn step(
        &self,
        actor: &Actor,
        id: &str,
        action: &Action,
        message: Option<&str>,
    ) -> Result<Stepped, Failure> {
        let act = Act { item: id, actor, session: None, action, message };
        Ok(act.carry_out(&self.context, Way::Push, true)?.0)
    }

    /// The same, where somebody else may have been faster, or the remote may not answer.
    pub fn try_step(
        &self,
        actor: &Actor,
        id: &str,
        action: &Action,
        message: Option<&str>,
    ) -> Result<Claimed, Failure> {
        settled(self.step(actor, id, action, message))
    }

    /// Closes an item that is done, reviewed and verified.
    pub fn close(&self, id: &str) -> Result<Claimed, Failure> {
        let action = Action::Close { references: Vec::new(), force: false };
        self.try_step(&self.context.actor, id, &action, None)
    }

    /// Returns a clock that renews a claim while its session runs, and says when it is lost.
    pub fn keeper<'b>(&'b self, turn: &'b Turn) -> impl FnMut() -> Option<String> + 'b {
        let mut last = Instant::now();
        let mut tried = last;
        let every = self.lease / 3;
        move || {
            if turn.stage != Stage::Develop || tried.elapsed() < every {
                return None;
            }
            tried = Instant::now();
            let until = self.end_of_lease().ok()?;
            let action = Action::Renew { until };
            let act =
                Act { item: &turn.id, actor: &turn.actor, session: None, action: &action, message: None };
            match act.carry_out(&self.context, Way::Exclusive, true) {
                Ok(_) => {
                    last = tried;
                    None
                }
                // Its agent has just said that it is done.
                Err(failure) if has_code(&failure, &["coord::refused"]) => match self.head(&turn.id) {
                    Ok(head) if head.status == "claimed" && head.owner != turn.actor.id => {
                        Some(format!("the claim is gone: {}", first(&failure)))
                    }
                    _ => {
                        last = tried;
                        None
                    }
                },
                Err(failure) if last.elapsed() >= self.lease => {
                    Some(format!("the claim could not be kept: {}", first(&failure)))
                }
                Err(_) => None,
            }
        }
    }

    /// Reads an item as the clone has it.
    pub fn head(&self, id: &str) -> Result<Head, Failure> {
        Ok(self.context.store.find(id)?.head)
    }

    /// Makes sure that a session of a role could start, before anything is claimed: the plan, the approval, the agent.
    /// Returns the body of the role.
    pub fn prepare(&self, stage: Stage) -> Result<String, Failure> {
        let role = stage.role();
        let project = self.project(role)?;
        let body = project.role.as_ref().map(|role| role.instructions.clone()).unwrap_or_default();
        if let Launcher::PiEnv { command, .. } = &self.launcher {
            if !self.flags.dry_run {
                self.require_launcher(&project, command.as_deref())?;
            }
            return Ok(body);
        }
        let name = self.agent_name(&project, stage)?;
        let task = Some(Task { prompt: "-".to_owned(), front: Front::Events });
        let target = Target::Agent { name, extra: Vec::new(), task };
        let planned = project::plan(&project, &target, Fetch::Install, None)?;
        project::approve(&project, &planned.plan, None)?;
        let shadow = planned.plan.git.shadow.as_ref();
        let comes_home = shadow.is_none_or(|shadow| shadow.merge == Merge::Auto && !shadow.clone);
        if !self.is_apart() && (planned.plan.git.mode == GitMode::Readonly || !comes_home) {
            let message =
                "what a session commits would not reach the project, where the next one looks for it";
            return Err(usage(message.into())
                .help("a serial loop needs `workspace { git \"shadow\" merge=\"auto\"; }`, which is the default, and no `clone`"));
        }
        Ok(body)
    }

    /// Refuses a launcher that is not there, before anything is claimed for it.
    fn require_launcher(&self, project: &Project, command: Option<&str>) -> Result<(), Failure> {
        let pinned = |agent: &crate::config::Agent| agent.name.value == "pi" && agent.version.is_some();
        if command.is_none() && project.loaded.config.agents.iter().any(pinned) {
            return Ok(());
        }
        let name = command.unwrap_or("pi");
        let path = self.context.environment.get("PATH");
        which::which_in(name, path, &self.context.cwd).map(drop).map_err(|_| {
            Failure::new(Exit::NotFound, "agent::missing", format!("`{}` is not on `PATH`", escape(name)))
                .help("install Pi, or name its launcher by `--pi-env`")
        })
    }

    pub(super) fn project(&self, role: &str) -> Result<Project, Failure> {
        let mut global = self.global.clone();
        global.set.extend(self.set().map(str::to_owned));
        let mut project =
            project::find_as(self.context.environment.clone(), &global, RootOwned::Refuse)?.load(&global)?;
        known::take(&mut project, Some(role))?;
        Ok(project)
    }

    pub(super) fn agent_name(&self, project: &Project, stage: Stage) -> Result<String, Failure> {
        let config = &project.loaded.config;
        if let Some(name) = self.agent(stage) {
            if config.agents.iter().any(|agent| agent.name.value == name) {
                return Ok(name.to_owned());
            }
            let message = format!("no agent `{}` is declared", escape(name));
            return Err(Failure::new(Exit::Usage, "agent::undeclared", message)
                .help(format!("add `agent {}` to `pier.kdl`", escape(name))));
        }
        let default =
            config.default_agent().or_else(|| config.agents.first().filter(|_| config.agents.len() == 1));
        default.map(|agent| agent.name.value.clone()).ok_or_else(|| {
            Failure::new(Exit::Usage, "agent::none", "it is not clear which agent works")
                .help("`--agent NAME`, or `default=#true` at one in `pier.kdl`")
        })
    }

    /// Returns how long a session may take, where that is not left to the configuration.
    pub(super) fn timeout(&self, stage: Stage, front: Front) -> Option<String> {
        if self.flags.timeout.is_some() || front == Front::Interactive {
            return self.flags.timeout.clone();
        }
        let configured =
            self.project(stage.role()).is_ok_and(|project| project.loaded.config.limits.wall.is_some());
        (!configured).then(|| TIMEOUT.to_owned())
    }

    /// Refuses a budget that the agents do not report.
    pub fn require_costs(&self) -> Result<(), Failure> {
        for stage in Stage::ALL {
            let project = self.project(stage.role())?;
            let name = self.agent_name(&project, stage)?;
            let declared = project.loaded.config.agents.iter().find(|agent| agent.name.value == name);
            // A trajectory has a cost where a table has the prices of its model.
            let is_read = |known: &agent::Chosen<'_>| known.converter().is_some() && !known.logs().is_empty();
            let known = declared.and_then(|agent| agent::of(agent).ok());
            let tells = known.is_some_and(|known| known.tells_cost() || is_read(&known));
            if !tells {
                let message =
                    format!("`--max-cost`: the agent `{}` does not say what it cost", escape(&name));
                return Err(usage(message).help("`--max-jobs` and `--max-time` hold for every agent"));
            }
        }
        Ok(())
    }

    /// Returns whether an item has come on since a turn began.
    pub fn has_come_on(&self, turn: &Turn) -> Result<bool, Failure> {
        let head = self.head(&turn.id)?;
        let mine = |name: &str| name == turn.actor.id;
        Ok(match Stage::of(&head, &mine, Timestamp::now()) {
            // An item that was sent back waits for its developer.
            Some(stage) => stage != turn.stage,
            None => true,
        })
    }
}

/// Who works where nobody says it: the same user on another machine is somebody else, whose claims are not this one's.
fn named_after_the_machine(user: &str) -> String {
    let name = read_bounded("/proc/sys/kernel/hostname".into(), 1024).unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = name.trim().chars().filter(plain).collect();
    if name.is_empty() { user.to_owned() } else { format!("{user}@{name}") }
}

/// Returns items that only have to be closed.
pub fn finished(entries: &[Entry]) -> Vec<String> {
    let done = entries.iter().filter(|entry| select::is_finished(&entry.head));
    done.map(|entry| entry.head.id.clone()).collect()
}
