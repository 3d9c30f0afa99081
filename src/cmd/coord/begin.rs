//! The commands that make a repository and its clone.

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use jiff::Timestamp;

use super::super::{Global, Outcome};
use super::context::{self, CLONE, Common, FILE, actor, caller, knob, of_file, origin, tell_cleared};
use super::step::report;
use crate::backend::git::shared::{Call, Shared};
use crate::backend::git::{self, Answer, Git, failed};
use crate::coord::domain::{Change, Domain, Way};
use crate::coord::store::Store;
use crate::coord::verdict::Away;
use crate::coord::{id, kind, registry, scaffold};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::session::beneath::Beneath;
use crate::session::trust;
use crate::ui;
use crate::util::fs::{canonical, place_name, read_bounded};
use crate::util::git::remote::local;
use crate::util::text::{escape, shell_word};

/// Where the remotes of a project are, below it, where there is no server.
const REMOTES: &str = ".pi-env/agent-remotes";

/// What is not committed with the project.
const IGNORED: &str = "/.pi-env/";

/// Where it is, and what it is called.
#[derive(Clone, Debug, Default, Args)]
pub struct Place {
    /// A directory of remotes, for one that is made here.
    #[arg(long, value_name = "DIR")]
    root: Option<Utf8PathBuf>,
    /// What `git clone` takes, in place of a remote that is made here.
    #[arg(long, value_name = "URL")]
    remote: Option<String>,
    /// The name of the project.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Where the clone is.
    #[arg(long, value_name = "DIR")]
    dir: Option<Utf8PathBuf>,
}

/// What the commands have that make one.
#[derive(Clone, Debug, Args)]
struct Making {
    #[command(flatten)]
    place: Place,
    /// The beginning of ids.
    #[arg(long, value_name = "KEY")]
    project_key: Option<String>,
    #[arg(long, value_name = "NAME", help = "Who acts")]
    agent_id: Option<String>,
    /// Make the remote, and no clone.
    #[arg(long)]
    bare_only: bool,
    /// Issues are those of this repository of the domain.
    #[arg(long, value_name = "ID")]
    repo_id: Option<String>,
}

impl Making {
    fn asked(
        &self,
        global: &Global,
        role: Option<String>,
        forced: Option<&Utf8Path>,
    ) -> Result<Asked, Failure> {
        let common = Common { coord_dir: None, agent_id: self.agent_id.clone(), role };
        let (key, repo) = (self.project_key.as_deref(), self.repo_id.as_deref());
        Asked::new(global, &self.place, key, repo, common, forced)
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier coord init --project example --project-key EX\n  pier coord init --remote git@example.com:team/coordination.git"
)]
pub struct Init {
    #[command(flatten)]
    making: Making,
    #[arg(long, value_name = "ROLE", help = "As which role")]
    role: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier coord clone\n  pier coord clone --remote git@example.com:team/coordination.git"
)]
pub struct Clone {
    #[command(flatten)]
    place: Place,
    /// The remote.
    #[arg(value_name = "REMOTE", conflicts_with = "remote")]
    given: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier coord bootstrap --print-only\n  pier coord bootstrap\n  pier coord bootstrap --remote git@example.com:team/coordination.git"
)]
pub struct Bootstrap {
    /// The project; that of the current directory otherwise.
    #[arg(long, value_name = "DIR")]
    project_root: Option<Utf8PathBuf>,
    #[command(flatten)]
    making: Making,
    /// Say what would be done, and do nothing.
    #[arg(long, visible_alias = "dry-run")]
    print_only: bool,
    /// Do not show the status at the end.
    #[arg(long)]
    no_status: bool,
    /// List the repository in the domain.
    #[arg(long)]
    register_repo: bool,
    /// Where the project's own repository is.
    #[arg(long, value_name = "URL")]
    implementation_remote: Option<String>,
}

/// Everything that is decided before anything is done.
struct Asked {
    environment: Environment,
    root: Utf8PathBuf,
    project: String,
    key: String,
    remote: String,
    /// The remote is a directory of this host.
    bare: Option<Utf8PathBuf>,
    dir: Utf8PathBuf,
    repo: Option<String>,
    git: Git,
    common: Common,
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, "coord::usage", message)
}

fn files(path: &Utf8Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, "coord::files", format!("`{path}`: {error}"))
}

/// Says whether somebody has approved that this project has a remote there.
fn is_approved(environment: &Environment, root: &Utf8Path, remote: &Utf8Path) -> Result<bool, Failure> {
    let approval = trust::load(&environment.state, &place_name(root), root)?;
    let wanted = crate::plan::coordination::grant_of_remote(remote);
    Ok(approval.is_some_and(|approval| approval.grants.contains(&wanted)))
}

impl Asked {
    fn new(
        global: &Global,
        place: &Place,
        key: Option<&str>,
        repo: Option<&str>,
        common: Common,
        forced: Option<&Utf8Path>,
    ) -> Result<Self, Failure> {
        let (environment, cwd, found) = caller(global)?;
        let root = forced.map_or(found, |root| cwd.join(root));
        let root = canonical(&root).map_err(|error| files(&root, &error))?;
        if knob(&environment, "WORKSPACE").is_some() {
            return Err(usage("`PI_COORD_WORKSPACE` is no setting any more".into())
                .help("unset it; a domain with several repositories has them in `repos/`"));
        }
        // Of another project, what this one is called says nothing.
        let is_of_this = |name: &str| forced.is_none() || !["DIR", "PROJECT", "PROJECT_KEY"].contains(&name);
        let knob = |name: &str| knob(&environment, name).filter(|_| is_of_this(name));
        let configured = context::configured(global, &environment, (&root, &root))?;
        let git = Git::find(&environment.home)?;
        let own = origin(&root);
        let named = place.project.clone().or_else(|| knob("PROJECT").map(str::to_owned));
        let project = named.unwrap_or_else(|| {
            let name = own.as_deref().map(registry::base_name);
            let name = name.filter(|name| !kind::sanitised(name).is_empty());
            name.or_else(|| root.file_name().map(str::to_owned)).unwrap_or_else(|| "project".into())
        });
        let project = kind::sanitised(&project);
        if project.is_empty() {
            return Err(usage("the project has no name".into()).help("`--project NAME` gives it one"));
        }
        let key = key.map(str::to_owned).or_else(|| knob("PROJECT_KEY").map(str::to_owned));
        let key = id::key(&key.unwrap_or_else(|| project.clone()));
        let above = |dir: &Utf8Path| cwd.join(dir);
        let remotes = place.root.as_deref().map(above).or_else(|| knob("ROOT").map(|dir| root.join(dir)));
        let of_variables = || knob("REMOTE_URL").or_else(|| knob("REMOTE")).map(str::to_owned);
        let is_own = configured.remote.is_some() && !configured.of_repository;
        let is_approvable = configured.remote.is_some();
        let of_project = configured.remote.or_else(|| of_file(&root, "coordination_remote"));
        let of_project = of_project.map(|remote| {
            let own = remote.starts_with('~').then(|| crate::plan::expand(&remote, &environment.home, &root));
            own.and_then(Result::ok).map_or(remote, Into::into)
        });
        if let Some(path) = of_project.as_deref().and_then(|remote| local(&root, remote))
            && !path.starts_with(&root)
            && place.remote.is_none()
            && !is_own
            && !(is_approvable && is_approved(&environment, &root, &path)?)
        {
            // The project's files are anybody's.
            let help = if is_approvable {
                "`pier trust` shows it, and approves it; or say so: `--remote`"
            } else {
                "if that is meant, say so: `--remote`"
            };
            return Err(usage(format!("the project names a remote outside of it: `{path}`")).help(help));
        }
        let known = || {
            let found = origin(&root.join(CLONE))?;
            Some(local(&root.join(CLONE), &found).map_or(found, Into::into))
        };
        let remote = place.remote.clone().or_else(of_variables).or(of_project);
        let remote = if place.root.is_some() { remote } else { remote.or_else(known) };
        let dir = place.dir.as_deref().map(above).or_else(|| knob("DIR").map(|dir| root.join(dir)));
        let dir =
            dir.or_else(|| configured.dir.map(|dir| root.join(dir))).unwrap_or_else(|| root.join(CLONE));
        let remote = remote.unwrap_or_else(|| {
            remotes
                .unwrap_or_else(|| root.join(REMOTES))
                .join(format!("{project}-coordination.git"))
                .to_string()
        });
        if remote.starts_with('-') || remote.chars().any(char::is_control) {
            return Err(usage(format!("`{}` is no remote", escape(&remote))));
        }
        if let Some(repo) = repo.filter(|repo| !registry::is_id(repo)) {
            return Err(usage(format!("`{}` is no id of a repository", escape(repo)))
                .help("write lower case letters, digits, `.`, `_` and `-`, at least two"));
        }
        let bare = local(&root, &remote);
        Ok(Asked {
            root,
            project,
            key,
            bare,
            remote,
            dir,
            repo: repo.map(str::to_owned),
            git,
            common,
            environment,
        })
    }

    fn ask(&self, directory: &Utf8Path, words: &[&str]) -> Result<Answer, git::Error> {
        let variable = |name: &str| self.environment.get(name).map(str::to_owned);
        self.git.ask_in(directory, &variable, Call { words, ..Call::default() })
    }

    fn run(&self, directory: &Utf8Path, words: &[&str]) -> Result<String, Failure> {
        let answer = self.ask(directory, words)?;
        if answer.code == Some(0) {
            return Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned());
        }
        Err(failed(words, &answer).into())
    }

    /// Makes the remote where it is a directory that is not there; says whether it did.
    fn make_remote(&self) -> Result<bool, Failure> {
        let Some(bare) = self.bare.as_ref().filter(|bare| !bare.join("HEAD").exists()) else {
            return Ok(false);
        };
        if bare.exists() && std::fs::read_dir(bare).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(usage(format!("`{bare}` is there, and no repository")));
        }
        self.ignore(bare)?;
        fs_err::create_dir_all(bare).map_err(|error| files(bare, &error))?;
        self.run(bare, &["init", "--quiet", "--bare", "--template=", "--initial-branch=main", "."])?;
        Ok(true)
    }

    /// Keeps what is below `.pi-env` out of the project's commits.
    fn ignore(&self, path: &Utf8Path) -> Result<(), Failure> {
        if !path.starts_with(self.root.join(".pi-env")) || !self.root.join(".git").is_dir() {
            return Ok(());
        }
        let place = Utf8Path::new(".git/info/exclude");
        let text = read_bounded(&self.root.join(place), 1 << 20).unwrap_or_default();
        let mut text = String::from_utf8_lossy(&text).into_owned();
        if text.lines().any(|line| line == IGNORED) {
            return Ok(());
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(IGNORED);
        text.push('\n');
        let write = || Beneath::open(&self.root)?.write(place, text.as_bytes(), 0o644);
        write().map_err(|error| files(&self.root.join(place), &error))
    }

    /// Returns the remote as the clone has it: a directory beside it by its way from there.
    fn as_origin(&self) -> String {
        let Some(bare) = &self.bare else { return self.remote.clone() };
        if !bare.starts_with(&self.root) || !self.dir.starts_with(&self.root) {
            return bare.to_string();
        }
        let common = bare.ancestors().find(|above| self.dir.starts_with(above)).unwrap_or(&self.root);
        let up = self.dir.strip_prefix(common).map_or(0, |below| below.components().count());
        let down = bare.strip_prefix(common).unwrap_or(bare);
        format!("{}{down}", "../".repeat(up))
    }

    /// Makes the clone, which is not there.
    fn make_clone(&self) -> Result<(), Failure> {
        if std::fs::read_dir(&self.dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Failure::new(Exit::Failed, "coord::files", format!("`{}` is not empty", self.dir))
                .help("name another place by `--dir`, or remove it"));
        }
        self.ignore(&self.dir)?;
        let above = self.dir.parent().unwrap_or(&self.root);
        fs_err::create_dir_all(above).map_err(|error| files(above, &error))?;
        let name = self.dir.file_name().unwrap_or("coordination");
        let from = self.bare.as_ref().map_or_else(|| self.remote.clone(), ToString::to_string);
        let was_there = self.dir.exists();
        let words = ["clone", "--quiet", "--template=", "--no-local", "--", &from, name];
        if let Err(away) = Away::reached(&words, self.ask(above, &words)) {
            if !was_there {
                let _partial = std::fs::remove_dir_all(&self.dir);
            }
            return Err(away.into());
        }
        self.check_out()?;
        self.settle()
    }

    /// Takes the branch that is there, where the remote's HEAD names one that is not: a server calls it `master` whatever
    /// is pushed.
    fn check_out(&self) -> Result<(), Failure> {
        if self.run(&self.dir, &["rev-parse", "--quiet", "--verify", "HEAD"]).is_ok() {
            return Ok(());
        }
        let words = ["for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes/origin"];
        let listed = self.run(&self.dir, &words)?;
        let branches: Vec<&str> = listed.lines().filter(|name| *name != "HEAD").collect();
        let branch = branches.iter().find(|name| **name == "main").or_else(|| branches.first());
        match branch {
            Some(branch) => {
                let from = format!("origin/{branch}");
                self.run(&self.dir, &["checkout", "--quiet", "-B", branch, "--track", &from]).map(drop)
            }
            None => Ok(()),
        }
    }

    /// Writes what every clone says about itself.
    fn settle(&self) -> Result<(), Failure> {
        let origin = self.as_origin();
        for (key, value) in
            [("pull.rebase", "true"), ("rebase.autoStash", "true"), ("remote.origin.url", origin.as_str())]
        {
            self.run(&self.dir, &["config", key, value])?;
        }
        Ok(())
    }

    /// Writes the first files, where the clone has no commit.
    fn scaffold(&self) -> Result<(), Failure> {
        if self.run(&self.dir, &["rev-parse", "--quiet", "--verify", "HEAD"]).is_ok() {
            return Ok(());
        }
        self.run(&self.dir, &["symbolic-ref", "HEAD", "refs/heads/main"])?;
        let dir = canonical(&self.dir).map_err(|error| files(&self.dir, &error))?;
        let store = Store { root: dir.clone() };
        let actor = actor(&self.environment, &self.common);
        let variable = |name: &str| self.environment.get(name).map(str::to_owned);
        let shared = Shared::open(&self.git, &dir, Some(&self.root), &variable)?;
        let domain = Domain::hold(&store, &shared, &actor)?;
        tell_cleared(&domain);
        let url = origin(&self.root);
        let repo = self.repo.as_deref().map(|repo| (repo, url.as_deref()));
        let mut change = |_: &Store| {
            let writes = scaffold::files(&self.project, &self.key, repo, Timestamp::now());
            Ok(Change { subject: "Initialize coordination repository".to_owned(), writes, value: () })
        };
        let ((), arrived) = domain.change(Way::Push, true, &mut change)?;
        report(&arrived);
        self.run(&self.dir, &["config", "branch.main.remote", "origin"])?;
        self.run(&self.dir, &["config", "branch.main.merge", "refs/heads/main"])?;
        Ok(())
    }
}

pub fn init(global: &Global, args: &Init) -> Outcome {
    let asked = args.making.asked(global, args.role.clone(), None)?;
    make(&asked, args.making.bare_only)?;
    let dir = (!args.making.bare_only).then_some(asked.dir.as_str());
    if args.json {
        ui::json(&serde_json::json!({ "remote": asked.remote, "dir": dir }));
    } else {
        ui::answer(dir.unwrap_or(&asked.remote));
    }
    Ok(Exit::Done)
}

fn make(asked: &Asked, bare_only: bool) -> Result<(), Failure> {
    if asked.make_remote()? {
        ui::say(&format!("made the remote `{}`", asked.remote));
    }
    if bare_only {
        return Ok(());
    }
    asked.make_clone()?;
    asked.scaffold()
}

pub fn clone(global: &Global, args: &Clone) -> Outcome {
    let mut place = args.place.clone();
    place.remote = place.remote.or_else(|| args.given.clone());
    let asked = Asked::new(global, &place, None, None, Common::default(), None)?;
    if asked.dir.join(".git").is_dir() {
        asked.settle()?;
        ui::say("the clone is there; its origin and settings are as they should be");
    } else {
        if let Some(bare) = asked.bare.as_ref().filter(|bare| !bare.join("HEAD").exists()) {
            return Err(Failure::new(
                Exit::Failed,
                "coord::none",
                format!("there is no repository at `{bare}`"),
            )
            .help("`pier coord bootstrap` makes one, `--remote URL` names another"));
        }
        asked.make_clone()?;
    }
    ui::answer(asked.dir.as_str());
    Ok(Exit::Done)
}

pub fn bootstrap(global: &Global, args: &Bootstrap) -> Outcome {
    let asked = args.making.asked(global, None, args.project_root.as_deref())?;
    print_plan(&asked);
    if args.print_only {
        return Ok(Exit::Done);
    }
    if asked.dir.join(".git").is_dir() {
        repair(&asked)?;
    } else {
        make(&asked, args.making.bare_only)?;
    }
    if args.making.bare_only {
        return Ok(Exit::Done);
    }
    if args.register_repo {
        register(&asked, args.implementation_remote.as_deref())?;
    }
    if !args.no_status {
        let status = asked.run(&asked.dir, &["status", "--short", "--branch"])?;
        ui::say(&status);
    }
    ui::answer(asked.dir.as_str());
    Ok(Exit::Done)
}

fn print_plan(asked: &Asked) {
    let Asked { root, project, key, remote, dir, .. } = asked;
    let mut out = format!(
        "Project:      {project} ({root})\nRemote:       {}\nClone:        {dir}\nItem key:     {key}\n",
        escape(remote)
    );
    out.push_str("\nFor your shell:\n");
    let mut export = |name: &str, value: &str| {
        out.push_str(&format!("export PI_COORD_{name}={}\n", shell_word(value)));
    };
    export("PROJECT", project);
    export("PROJECT_KEY", key);
    export("DIR", dir.as_str());
    match &asked.bare {
        Some(bare) => export("ROOT", bare.parent().unwrap_or(bare).as_str()),
        None => export("REMOTE_URL", remote),
    }
    ui::write_out(&out);
}

/// Brings a clone that is there and its remote together again.
fn repair(asked: &Asked) -> Result<(), Failure> {
    let found = asked.run(&asked.dir, &["config", "--get", "remote.origin.url"]).unwrap_or_default();
    let before = local(&asked.dir, &found);
    let is_gone = |path: &Utf8PathBuf| !path.join("HEAD").exists();
    let is_same = before.is_some() && before == asked.bare;
    if found.is_empty() || is_same || before.as_ref().is_some_and(is_gone) {
        asked.settle()?;
    } else if found != asked.remote {
        ui::say(&format!("the clone stays with its remote `{}`", escape(&found)));
        return Ok(());
    }
    if asked.make_remote()? {
        ui::say("the remote was gone, and is made anew from what is committed in the clone");
    }
    let dir = canonical(&asked.dir).map_err(|error| files(&asked.dir, &error))?;
    let store = Store { root: dir.clone() };
    let actor = actor(&asked.environment, &asked.common);
    let variable = |name: &str| asked.environment.get(name).map(str::to_owned);
    let shared = Shared::open(&asked.git, &dir, Some(&asked.root), &variable)?;
    let domain = Domain::hold(&store, &shared, &actor)?;
    tell_cleared(&domain);
    if asked.run(&dir, &["rev-parse", "--quiet", "--verify", "HEAD"]).is_ok() {
        if !asked.run(&dir, &["status", "--porcelain"])?.is_empty() {
            ui::warn("the clone has changes that are not committed: `pier coord push`");
        }
        report(&domain.push_commits()?);
    }
    Ok(())
}

/// Lists the project's repository in the domain, and says in the project which it is.
fn register(asked: &Asked, remote: Option<&str>) -> Result<(), Failure> {
    let url = remote.map(str::to_owned).or_else(|| origin(&asked.root));
    let repo = asked.repo.clone().unwrap_or_else(|| asked.project.clone());
    if !registry::is_id(&repo) {
        return Err(
            usage(format!("`{}` is no id of a repository", escape(&repo))).help("name one by `--repo-id`")
        );
    }
    let dir = canonical(&asked.dir).map_err(|error| files(&asked.dir, &error))?;
    let store = Store::open(&dir)?;
    let known = registry::read(&store);
    if known.iter().any(|one| one.id == repo) {
        registry::resolve(&known, &repo).map_err(|why| {
            Failure::new(Exit::Failed, "coord::repo", why).help("name another by `--repo-id`")
        })?;
    } else {
        let actor = actor(&asked.environment, &asked.common);
        let variable = |name: &str| asked.environment.get(name).map(str::to_owned);
        let shared = Shared::open(&asked.git, &dir, Some(&asked.root), &variable)?;
        let domain = Domain::hold(&store, &shared, &actor)?;
        tell_cleared(&domain);
        let mut change = |_: &Store| {
            let writes =
                scaffold::of_repo(&repo, &asked.key, &asked.project, url.as_deref(), Timestamp::now());
            Ok(Change { subject: format!("Register repository {repo}"), writes, value: () })
        };
        report(&domain.change(Way::Push, true, &mut change)?.1);
    }
    let text = format!(
        "version: 1\ncoordination_domain: {}\ncoordination_remote: {}\nrepo_id: {repo}\n",
        crate::coord::scalar::write(&asked.project),
        crate::coord::scalar::write(&asked.as_origin()),
    );
    let path = asked.root.join(FILE);
    let write = || Beneath::open(&asked.root)?.write(Utf8Path::new(FILE), text.as_bytes(), 0o644);
    write().map_err(|error| files(&path, &error))?;
    ui::say(&format!("wrote `{path}`: commit it with the project"));
    Ok(())
}
