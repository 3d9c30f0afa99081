//! `pier role serial`: one agent after the other works through the items.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use clap::Args;
use jiff::Timestamp;

use super::desk::{self, Claimed, Desk, Flags, Turn};
use super::launch::Launcher;
use super::signals;
use super::status::{Status, Worker};
use crate::cmd::{Global, Outcome};
use crate::coord::history::Actor;
use crate::coord::item::Head;
use crate::coord::select::{self, Asking, Order, Stage};
use crate::coord::store::Entry;
use crate::coord::transition::Action;
use crate::diag::{Exit, Failure};
use crate::loops::lock::{self, Lock};
use crate::plan::Front;
use crate::schedule::{End, Spent, Stop};
use crate::ui;
use crate::util::text::escape;

/// The tools of the older loop.
const TOOLS: &str = "read,bash,edit,write,grep,find,ls,role_cycle_done";

#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Examples:\n  pier role serial --once                       one item, then end\n  pier role serial --ui none                    without a person, until it is stopped\n  pier role serial --issue ID --ui json         this item through all its roles\n  pier role serial --dry-run                    what would be next\n\n\
    First comes what waits for a tester, then for a reviewer, then for a developer. Each session is of a new agent, with the\n\
    role's instructions, tools and view of the project. The project and the clone have to be clean before and after."
)]
pub struct Serial {
    #[command(flatten)]
    pub flags: Flags,
    /// The project; that of the current directory otherwise.
    #[arg(long, value_name = "DIR")]
    pub project_root: Option<Utf8PathBuf>,
    /// End after so many looks in a row that found nothing to do.
    #[arg(long, value_name = "COUNT")]
    pub max_idle_polls: Option<u64>,
    /// One session, or one look that finds nothing.
    #[arg(long)]
    pub once: bool,
    /// Who reads what the agents say.
    #[arg(long, value_enum, default_value = "interactive", value_name = "UI")]
    pub ui: Ui,
    /// The file that says that a loop works here; `.pi-env/locks/pi-serial-roles.lock` otherwise.
    #[arg(long, value_name = "FILE")]
    pub lock_file: Option<Utf8PathBuf>,
    /// The older tool's launcher, in place of pier.
    #[arg(long, hide = true, value_name = "COMMAND")]
    pub pi_env: Option<String>,
    /// The package of roles, for that launcher.
    #[arg(long, hide = true, value_name = "DIR")]
    pub role_manager: Option<Utf8PathBuf>,
    /// Its tools.
    #[arg(long, hide = true, value_name = "LIST")]
    pub tools: Option<String>,
    /// It was called by its older name.
    #[arg(skip)]
    pub older: bool,
}

/// Who reads what the agents say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Ui {
    /// A person at this terminal.
    #[default]
    Interactive,
    /// A program: the agents' own events, as lines of JSON.
    Json,
    /// Nobody is asked; what the agents say is printed.
    None,
}

impl Ui {
    fn word(self) -> &'static str {
        match self {
            Ui::Interactive => "interactive",
            Ui::Json => "json",
            Ui::None => "none",
        }
    }

    fn front(self) -> Front {
        match self {
            Ui::Interactive => Front::Interactive,
            Ui::Json => Front::Events,
            Ui::None => Front::Text,
        }
    }
}

pub fn run(global: &Global, args: &Serial) -> Outcome {
    if let Some(root) = &args.project_root {
        std::env::set_current_dir(root)
            .map_err(|error| desk::failed(format!("`--project-root {}`: {error}", escape(root.as_str()))))?;
    }
    let launcher = if args.older || args.pi_env.is_some() {
        let tools = args.tools.clone().unwrap_or_else(|| TOOLS.to_owned());
        Launcher::PiEnv { command: args.pi_env.clone(), manager: args.role_manager.clone(), tools }
    } else if args.tools.is_some() || args.role_manager.is_some() {
        let message = "`--tools` and `--role-manager` are for `--pi-env`: a role says its tools itself";
        return Err(desk::usage(message.into()));
    } else {
        Launcher::Pier { apart: false }
    };
    let mut desk = Desk::open(global, &args.flags, launcher)?;
    if args.ui == Ui::Interactive && !args.flags.dry_run && !args.older && !ui::has_terminal() {
        let message = "`--ui interactive` needs a terminal, and there is none".to_owned();
        return Err(Failure::new(Exit::Usage, "cli::no-terminal", message).help("`--ui none` or `--ui json`"));
    }
    let file = args.lock_file.clone().unwrap_or_else(|| desk.context.project.join(lock::FILE));
    let file = desk.context.cwd.join(file);
    let lock = Lock::take(&desk.place.join("lock"), &file, &desk.context.project).map_err(|error| {
        desk::failed(error.to_string())
            .help("one loop works in a project; `pier role parallel` has several agents")
    })?;
    let hold = lock.hold();
    desk.hold = Some(hold.map_err(|error| desk::failed(format!("the lock cannot be handed on: {error}")))?);
    let stop = Arc::new(Stop::default());
    let signal = signals::watch(&stop)?;
    let mut serial = Loop {
        desk: &desk,
        args,
        stop: &stop,
        fruitless: BTreeMap::new(),
        lost: Vec::new(),
        unclaimed: BTreeMap::new(),
        away: Vec::new(),
        left: BTreeMap::new(),
        status: Status::new(&desk.place),
        spent: Spent::default(),
        closed: 0,
    };
    let began = Instant::now();
    let outcome = serial.run();
    serial.spent.time = began.elapsed();
    let end = if stop.is_asked() { End::Asked } else { End::Done };
    serial.status.now(&serial.spent, serial.closed, &[]);
    let left = serial.left.iter().chain(&serial.unclaimed);
    let mut left: Vec<String> = left.map(|(id, why)| format!("{}: {why}", escape(id))).collect();
    let is_left = !left.is_empty();
    left.extend(outcome.as_ref().err().map(desk::first));
    serial.status.end(end, &serial.spent, &left);
    let outcome = outcome.map(|exit| if is_left && exit == Exit::Done { Exit::Failed } else { exit });
    match (signal.code(), outcome) {
        (Some(code), Ok(_)) => Ok(Exit::Child(code)),
        (_, outcome) => outcome,
    }
}

struct Loop<'a> {
    desk: &'a Desk<'a>,
    args: &'a Serial,
    stop: &'a Stop,
    /// How many sessions in a row brought an item nowhere.
    fruitless: BTreeMap<(String, Stage), u32>,
    /// Items that others won, until the next look that finds nothing.
    lost: Vec<String>,
    /// Items that the remote has given to nobody when they were claimed: whoever waits for them should hear of it.
    unclaimed: BTreeMap<String, String>,
    /// Items whose commits are elsewhere.
    away: Vec<String>,
    /// Items that are left, and what went wrong: a person should hear of it by the exit code.
    left: BTreeMap<String, String>,
    status: Status,
    spent: Spent,
    closed: usize,
}

/// What one look came to.
enum Look {
    Job(Box<Turn>),
    Idle(String),
    /// All that was named is done, or cannot go on.
    Exhausted,
}

impl Loop<'_> {
    fn run(&mut self) -> Outcome {
        let (mut jobs, mut idle) = (0, 0);
        let once = self.args.once.then_some(1);
        let most_jobs = self.args.flags.max_jobs.or(once);
        let most_idle = self.args.max_idle_polls.or(once);
        loop {
            if self.stop.is_asked() || most_jobs.is_some_and(|most| jobs >= most) {
                return Ok(Exit::Done);
            }
            self.desk.require_clean()?;
            match self.look()? {
                Look::Job(turn) => {
                    idle = 0;
                    if self.args.flags.dry_run {
                        return self.would(&turn);
                    }
                    if self.turn(&turn)? {
                        jobs += 1;
                    }
                }
                Look::Exhausted => {
                    ui::say("nothing is left to do of what was asked for");
                    return Ok(Exit::Done);
                }
                Look::Idle(why) => {
                    self.lost.clear();
                    if self.args.flags.dry_run {
                        ui::answer("selected role=none item=none");
                        return Ok(Exit::Done);
                    }
                    idle += 1;
                    if most_idle.is_some_and(|most| idle >= most) {
                        ui::say(&why);
                        return Ok(Exit::Done);
                    }
                    if idle == 1 {
                        ui::say(&format!("{why}; waiting"));
                    }
                    self.wait();
                }
            }
        }
    }

    fn wait(&self) {
        let end = Instant::now() + Duration::from_secs(self.args.flags.sleep);
        while Instant::now() < end && !self.stop.is_asked() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Looks for what is next.
    fn look(&mut self) -> Result<Look, Failure> {
        let desk = self.desk;
        if desk.is_busy()? {
            return Ok(Look::Idle(
                "somebody works in the coordination clone: it has changes that no commit has".into(),
            ));
        }
        if let Some(why) = desk.pull()? {
            return Ok(Look::Idle(format!("the coordination repository cannot be reached: {why}")));
        }
        let mut entries = desk.entries()?;
        desk.require_issues(&entries)?;
        if !self.args.flags.no_close && !self.args.flags.dry_run {
            for id in desk::finished(&entries) {
                if !self.is_asked_for(&id) {
                    continue;
                }
                match desk.close(&id)? {
                    Claimed::Mine => {
                        self.closed += 1;
                        ui::say(&format!("{id}: closed"));
                    }
                    Claimed::Lost(why) => ui::say(&format!("{id}: somebody else was faster: {why}")),
                    Claimed::NotNow(why) => {
                        return Ok(Look::Idle(format!("{id} could not be closed: {why}")));
                    }
                }
                entries.retain(|entry| entry.head.id != id);
            }
        }
        let me = desk.context.actor.id.clone();
        let leave = |head: &Head, stage: Stage| {
            let key = (head.id.clone(), stage);
            self.lost.contains(&head.id)
                || self.away.contains(&head.id)
                || self.fruitless.get(&key).is_some_and(|count| *count >= self.args.flags.attempts)
        };
        let asking = Asking {
            mine: &|name| name == me,
            at: Timestamp::now(),
            order: &desk.order(Order::Path),
            leave: &leave,
        };
        let chosen = select::next(&entries, &asking).map(|(stage, entry)| (stage, entry.clone()));
        if let Some((stage, entry)) = chosen {
            if let Some(why) = desk.elsewhere(&entry).filter(|_| stage != Stage::Develop) {
                self.wrong(&entry.head.id, &why);
                self.away.push(entry.head.id.clone());
                return self.look();
            }
            return Ok(Look::Job(Box::new(self.turn_of(stage, &entry))));
        }
        if self.args.flags.issues.is_empty() || !self.lost.is_empty() {
            return Ok(Look::Idle("nothing waits for a tester, a reviewer or a developer".into()));
        }
        Ok(Look::Exhausted)
    }

    fn wrong(&mut self, id: &str, why: &str) {
        self.left.insert(id.to_owned(), why.to_owned());
        ui::warn(&format!("{}: {why}", escape(id)));
    }

    fn is_asked_for(&self, id: &str) -> bool {
        self.args.flags.issues.is_empty() || self.args.flags.issues.iter().any(|asked| asked == id)
    }

    fn turn_of(&self, stage: Stage, entry: &Entry) -> Turn {
        let context = &self.desk.context;
        let role = stage.role().to_owned();
        Turn {
            stage,
            id: entry.head.id.clone(),
            title: entry.head.title.clone(),
            actor: Actor { id: context.actor.id.clone(), role },
            resumed: stage == Stage::Develop && entry.head.status == "claimed",
            branch: None,
            clone: context.store.root.clone(),
        }
    }

    fn would(&self, turn: &Turn) -> Outcome {
        let id = escape(&turn.id);
        ui::answer(&format!("selected role={} item={id}", turn.stage.role()));
        ui::answer(&format!("selected ui={}", self.args.ui.word()));
        if turn.stage == Stage::Develop {
            let words = format!("pier coord claim {id} --for {}", self.args.flags.lease);
            ui::answer(&format!("would-claim: {words}"));
        }
        let body = self.desk.prepare(turn.stage)?;
        let line = self.desk.line(turn, self.args.ui.front(), &body, None);
        ui::answer(&format!("would-run: {}", crate::util::text::escape_lines(&line.shown())));
        Ok(Exit::Done)
    }

    /// Runs one session; `false` where somebody else has won the item.
    fn turn(&mut self, turn: &Turn) -> Result<bool, Failure> {
        let desk = self.desk;
        let (id, role) = (escape(&turn.id), turn.stage.role());
        let body = desk.prepare(turn.stage)?;
        desk.require_same_roles()?;
        if turn.stage == Stage::Develop {
            match desk.claim(&turn.actor, &turn.id)? {
                Claimed::Mine => drop(self.unclaimed.remove(&turn.id)),
                Claimed::Lost(why) => {
                    ui::say(&format!("{id}: not ours: {why}"));
                    self.unclaimed.remove(&turn.id);
                    self.lost.push(turn.id.clone());
                    return Ok(false);
                }
                Claimed::NotNow(why) => {
                    self.unclaimed.insert(turn.id.clone(), format!("could not be claimed: {why}"));
                    ui::warn(&format!("{id} could not be claimed, and no agent was started: {why}"));
                    self.lost.push(turn.id.clone());
                    return Ok(false);
                }
            }
        }
        ui::say(&format!("{id}: {role}{}", if turn.resumed { ", again" } else { "" }));
        self.spent.jobs += 1;
        self.status.now(&self.spent, self.closed, &[&Worker::new(0, role, &turn.id)]);
        let known = desk.events(&turn.id)?.len();
        let session = desk.run(turn, self.args.ui.front(), &body, self.stop, true)?;
        self.spent.add(session.cost);
        self.status.now(&self.spent, self.closed, &[]);
        if let Some(why) = desk.push()? {
            ui::warn(&format!("what the {role} said waits in the clone: {why}"));
        }
        let overstepped = desk.overstepped(turn, known)?;
        if let Some(said) = &overstepped {
            self.take_back(turn, said)?;
        }
        if let Some(why) = session.failure() {
            let message = format!("the session of the {role} on {id} failed: {why}");
            let help = if turn.stage == Stage::Develop {
                "the item stays yours until its claim ends, and is the next that is worked on".to_owned()
            } else {
                "the item waits as before".to_owned()
            };
            if self.stop.is_asked() {
                ui::say(&format!("{message}; {help}"));
                return Ok(true);
            }
            return Err(desk::failed(message).help(help));
        }
        desk.require_clean()?;
        if desk.is_busy()? {
            let message = format!("the {role} has left changes in the coordination clone that no commit has");
            return Err(desk::failed(message)
                .help("`pier coord push` commits them, `git restore .` in the clone undoes them"));
        }
        if overstepped.is_some() {
            return Ok(true);
        }
        let key = (turn.id.clone(), turn.stage);
        if desk.has_come_on(turn)? {
            self.fruitless.remove(&key);
            ui::say(&format!("{id}: {}", told(&desk.head(&turn.id)?)));
            return Ok(true);
        }
        let count = self.fruitless.entry(key).or_insert(0);
        *count += 1;
        ui::warn(&format!(
            "the {role} has said nothing about {id}: {count} of {} times",
            self.args.flags.attempts
        ));
        if *count >= self.args.flags.attempts {
            self.left.insert(turn.id.clone(), format!("the {role} has said nothing about it"));
        }
        if *count >= self.args.flags.attempts && turn.stage == Stage::Develop {
            let said = format!("left after {count} sessions that said nothing about it");
            desk.try_step(&turn.actor, &turn.id, &Action::Unclaim { force: false }, Some(&said))?;
        }
        Ok(true)
    }

    /// Opens an item again of which a session has said what is another role's to say.
    fn take_back(&mut self, turn: &Turn, said: &str) -> Result<(), Failure> {
        let role = turn.stage.role();
        let why =
            format!("the {role} has said `{said}`, which is not for a {role} to say and counts for nothing");
        let action = Action::Review { passed: false, force: true };
        self.desk.try_step(&self.desk.context.actor, &turn.id, &action, Some(&why))?;
        let count = self.fruitless.entry((turn.id.clone(), turn.stage)).or_insert(0);
        *count += 1;
        let is_left = *count >= self.args.flags.attempts;
        ui::warn(&format!("{}: {why}; it is open again", escape(&turn.id)));
        if is_left {
            self.left.insert(turn.id.clone(), why);
        }
        Ok(())
    }
}

/// Says where an item is, for people.
pub fn told(head: &Head) -> String {
    let is = |flag: &str, word: &str| if Head::is_set(flag) { format!(", {word}") } else { String::new() };
    format!("{}{}{}", escape(&head.status), is(&head.reviewed, "reviewed"), is(&head.verified, "verified"))
}
