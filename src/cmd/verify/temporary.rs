//! A container for the tests alone: of a workspace that has none, or whose tests run elsewhere than its agent.

use std::io::ErrorKind;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::{Own, broken_off, random};
use crate::backend::docker::engine::Connected;
use crate::backend::docker::images::{self, Wanted};
use crate::backend::docker::kept::{self, Named};
use crate::backend::docker::{built, copy};
use crate::backend::program;
use crate::backend::protocol::Command;
use crate::cmd::Global;
use crate::cmd::workspaces::apart;
use crate::cmd::workspaces::base::{Base, Ground};
use crate::cmd::workspaces::{self, Asked};
use crate::diag::Failure;
use crate::env::Environment;
use crate::plan::Plan;
use crate::session::beneath::Beneath;
use crate::session::{aside, prepare};
use crate::task::ignore::{Kind, Rules};
use crate::task::{Artifact, Collect, MAIN_SERVICE, Phase};
use crate::ui;
use crate::util::fs::{create_private, hex, remove_tree};
use crate::util::text::escape;
use crate::workspace::{self, RECORDS, Workspace};

/// Where files are that a verifier with an environment of its own has no use for: all of its image is seen.
const ASIDE: &str = "/logs/workspace";

/// Where the artifacts are on this host meanwhile, among the records of the workspace.
const FILES: &str = "verify";

/// What agents publish to.
const ARTIFACTS: &str = "artifacts";

/// The most that one artifact holds, in bytes.
const MOST_ARTIFACT: u64 = 512 << 20;

/// The container ends, and goes, with this value.
pub struct Temporary {
    pub engine: Connected,
    pub name: String,
    pub plan: Plan,
    /// Whom the image runs its commands as.
    pub user: String,
    /// Where the tests are started.
    pub cwd: Utf8PathBuf,
    /// The tests are in the image.
    pub bundled: bool,
    directory: Utf8PathBuf,
    /// What was made for this alone: an image, and a directory with the artifacts.
    image: Option<String>,
    files: Option<Utf8PathBuf>,
}

/// The container of a workspace that runs.
pub struct Agents<'a> {
    pub own: &'a Own,
    pub workspace: &'a Workspace,
}

/// How the names of their directories begin, in pier's own directory of the workspace.
pub const OF: &str = "verify-";

/// What is made, and by what name.
struct Made {
    name: String,
    labelled: String,
    directory: Utf8PathBuf,
}

impl Made {
    fn new(environment: &Environment, root: &Utf8Path) -> Result<Self, Failure> {
        // Two at once are two.
        let own = format!("{OF}{}", &hex(&random()?)[..8]);
        let labelled = labelled(root);
        let directory = workspace::private(&environment.state, root).join(&own);
        create_private(&directory)
            .and_then(|()| broken_off::note(&directory, root))
            .map_err(|source| crate::trial::Error::Io { path: directory.clone(), source })?;
        Ok(Made { name: format!("{labelled}-{own}"), labelled, directory })
    }
}

/// The label of the containers for the tests of a workspace.
const PROJECT: &str = "com.docker.compose.project";

fn labelled(root: &Utf8Path) -> String {
    workspace::project_name(&workspace::session_id(root)).replacen("pier-", "pier-verify-", 1)
}

fn asked(base: &Base) -> Asked<'_> {
    let phase = Phase::Verifier;
    Asked {
        base,
        entries: &[],
        ports: &[],
        mounts: &[],
        agents: &[],
        apart: None,
        skills: &[],
        phase,
        instead: None,
        at: None,
    }
}

impl Temporary {
    /// Starts it on what the task says, with the workspace mounted and nothing else of the host.
    pub fn start(
        global: &Global,
        environment: &Environment,
        root: &Utf8Path,
        base: &Base,
    ) -> Result<Self, Failure> {
        workspaces::make_records(root)?;
        let own = Made::new(environment, root)?;
        Self::open(global, environment, root, &asked(base), own)
    }

    /// Starts it on the container of a workspace as that is now, with the same files and the network of the tests.
    pub fn of_snapshot(
        global: &Global,
        environment: &Environment,
        base: &Base,
        of: &Agents<'_>,
    ) -> Result<Self, Failure> {
        let Workspace { root, session } = of.workspace;
        let own = Made::new(environment, root)?;
        let of_workspace = own.labelled.rsplit('-').next().unwrap_or_default();
        let made = own.directory.file_name().unwrap_or_default();
        let name = made.replacen("verify", &format!("snapshot-{of_workspace}"), 1);
        let tag = built::snapshot(&of.own.engine, &of.own.name, &name)?;
        let started = || {
            let wanted = Wanted { reference: &tag, pin: None };
            let none = || crate::backend::docker::Error::NoImage { reference: tag.clone() };
            let image = images::find(&of.own.engine, wanted, &environment.cache)?.ok_or_else(none)?;
            let workdir = of.own.plan.project.at.clone();
            let ground = Ground { reference: tag.clone(), image, workdir, profiles: false };
            let files = session.no_mount.then(|| apart::files(environment, root));
            let mounts = &session.extra_mounts;
            let instead = Some(&ground);
            let asked = Asked { mounts, apart: files.as_deref(), instead, ..asked(base) };
            Self::open(global, environment, root, &asked, own)
        };
        match started() {
            Ok(mut made) => {
                (made.user, made.image) = (of.own.user.clone(), Some(tag));
                Ok(made)
            }
            Err(error) => {
                let _removed = built::remove(&of.own.engine, &tag);
                Err(error)
            }
        }
    }

    /// Starts it on the verifier's own environment, which sees nothing of the workspace but the artifacts.
    pub fn of_verifier(
        global: &Global,
        environment: &Environment,
        (base, bundled): (&Base, bool),
        of: &Agents<'_>,
        artifacts: &[Artifact],
    ) -> Result<Self, Failure> {
        let own = Made::new(environment, &of.workspace.root)?;
        // One at a time, so that the same place is one project.
        let place = Utf8Path::new(RECORDS).join(FILES);
        let root = of.workspace.root.join(&place);
        let taken = || {
            let below = Utf8Path::new(RECORDS).join(ARTIFACTS);
            let above = Beneath::open(&of.workspace.root)?;
            above.directory(&place)?;
            remove_tree(&root)?;
            let left = above.directory(&place)?.copy_readable(above.existing(&below)?, &below)?;
            if !left.is_nothing() {
                ui::warn(&format!("the tests do not see all artifacts: {left}"));
            }
            let published = Utf8Path::new("/logs").join(ARTIFACTS);
            for artifact in artifacts.iter().filter(|artifact| !artifact.exclude.is_empty()) {
                if let Ok(part) = Utf8Path::new(&artifact.source).strip_prefix(&published) {
                    leave_out(&root.join(&below).join(part), Utf8Path::new(""), &rules(artifact))?;
                }
            }
            Ok(())
        };
        taken().map_err(|source| crate::trial::Error::Io { path: root.clone(), source })?;
        workspaces::make_records(&root)?;
        let mut made =
            Self::open(global, environment, &root, &Asked { at: Some(ASIDE), ..asked(base) }, own)?;
        (made.bundled, made.files) = (bundled, Some(root));
        for artifact in artifacts {
            made.give(artifact, of)?;
        }
        Ok(made)
    }

    /// Copies one artifact of the agent's container to where it was there.
    fn give(&self, artifact: &Artifact, of: &Agents<'_>) -> Result<(), Failure> {
        if artifact.service() != MAIN_SERVICE {
            ui::warn(&format!(
                "there is no service `{}`: its artifacts are left out",
                escape(artifact.service())
            ));
            return Ok(());
        }
        let source = of.own.plan.project.at.join(&artifact.source);
        if source.starts_with(Utf8Path::new("/logs").join(ARTIFACTS)) {
            // Mounted.
            return Ok(());
        }
        let Some(archive) = copy::take(&of.own.engine, &of.own.name, source.as_str(), MOST_ARTIFACT)? else {
            ui::say(&format!("there is no `{}` for the tests", escape(source.as_str())));
            return Ok(());
        };
        let owner = (self.plan.user.uid, self.plan.user.gid);
        let rules = rules(artifact);
        let leaves_out = |path: &str| rules.decide(path, Kind::File) == Some(true);
        Ok(copy::give(&self.engine, &self.name, archive, (&source, owner), &leaves_out)?)
    }

    fn open(
        global: &Global,
        environment: &Environment,
        root: &Utf8Path,
        asked: &Asked<'_>,
        own: Made,
    ) -> Result<Self, Failure> {
        let Made { name, labelled, directory } = own;
        let planned = workspaces::plan(global, environment, root, asked).and_then(|prepared| {
            let shelf = program::shelf(&environment.state);
            prepare::prepare(&prepared.plan, &directory, Some(&shelf))
                .map_err(crate::session::Error::from)?;
            let engine = prepared.engine.connect()?;
            Ok((prepared, engine))
        });
        let (prepared, engine) = planned.inspect_err(|_| {
            let _gone = remove_tree(&directory);
        })?;
        let labels = [(PROJECT.to_owned(), labelled)].into();
        let named = Named { name: name.clone(), labels };
        let opened = workspaces::open_as(&prepared, environment, &directory, &named);
        let (user, cwd) = (prepared.ground.image.user, prepared.ground.workdir);
        let plan = prepared.plan;
        let made =
            Temporary { engine, name, plan, user, cwd, bundled: false, directory, image: None, files: None };
        opened.map(|_| made)
    }
}

/// Removes what a verification that was broken off has left: no other one runs in this workspace.
pub fn sweep(environment: &Environment, root: &Utf8Path, engine: &Connected) -> Result<(), Failure> {
    kept::discard_all(engine, PROJECT, &labelled(root))?;
    let of_workspace = labelled(root).rsplit('-').next().unwrap_or_default().to_owned();
    let snapshot = format!("pier-build:snapshot-{of_workspace}-");
    for image in built::list(engine)?.iter().filter(|image| image.tag.starts_with(&snapshot)) {
        built::remove(engine, &image.tag)?;
    }
    let private = workspace::private(&environment.state, root);
    for entry in private.read_dir_utf8().into_iter().flatten().flatten() {
        if entry.file_name().starts_with(OF) {
            let _gone = remove_tree(entry.path());
        }
    }
    Ok(())
}

fn rules(artifact: &Artifact) -> Rules {
    Rules::parse(&artifact.exclude.join("\n"))
}

/// Removes what rules exclude from a copy that is pier's own, and has no links.
fn leave_out(top: &Utf8Path, below: &Utf8Path, rules: &Rules) -> std::io::Result<()> {
    let entries = match top.join(below).read_dir_utf8() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let is_directory = entry.file_type()?.is_dir();
        let kind = if is_directory { Kind::Directory } else { Kind::File };
        match (rules.decide(path.as_str(), kind), is_directory) {
            (Some(true), true) => remove_tree(entry.path())?,
            (Some(true), false) => std::fs::remove_file(entry.path())?,
            (_, true) => leave_out(top, &path, rules)?,
            (_, false) => {}
        }
    }
    Ok(())
}

/// Runs what a task wants to have run in the agent's container before its artifacts are taken.
pub fn collect(hooks: &[Collect], of: &Agents<'_>, place: aside::Place<'_>) -> Result<(), Failure> {
    for Collect { command, service, timeout_sec, user } in hooks {
        if service != MAIN_SERVICE {
            ui::warn(&format!("there is no service `{}`: `{}` is not run", escape(service), escape(command)));
            continue;
        }
        if user.is_some() {
            ui::warn("`user` of `[[verifier.collect]]` has no effect: a workspace works as its caller");
        }
        let run = Command {
            argv: vec![of.own.plan.user.shell.to_string(), "-c".into(), command.clone()],
            environment: Vec::new(),
            cwd: of.own.plan.project.at.to_string(),
        };
        let time = Duration::try_from_secs_f64(*timeout_sec).unwrap_or(Duration::from_mins(1));
        if aside::run(place, &run, time)? != Some(0) {
            ui::warn(&format!("`{}` of `[[verifier.collect]]` failed", escape(command)));
        }
    }
    Ok(())
}

impl Drop for Temporary {
    fn drop(&mut self) {
        kept::discard(&self.engine, &self.name);
        if let Some(image) = &self.image
            && let Err(error) = built::remove(&self.engine, image)
        {
            tracing::debug!(%error, image, "stays");
        }
        for directory in [Some(&self.directory), self.files.as_ref()].into_iter().flatten() {
            if let Err(error) = remove_tree(directory) {
                tracing::debug!(%error, %directory, "stays");
            }
        }
    }
}
