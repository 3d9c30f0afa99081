//! Workspaces that pier knows and that are not where they were: what of them is in its state, and how it comes back.

use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::{Flock, FlockArg};
use serde::Deserialize;

use super::{FILE, MOST, apart, forget_program};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::ui;
use crate::util::fs::read_bounded;
use crate::util::text::{escape, shell_word};
use crate::workspace::{self, Mode, Workspace, files};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranded {
    /// Where it was.
    pub root: Utf8PathBuf,
    /// The directory is there, and its `.pier/session.json` is not.
    pub is_there: bool,
    /// What its container had, where it was not mounted.
    pub files: Option<Utf8PathBuf>,
    /// What its `.pier/session.json` held, and the SHA-256 of that.
    session: Option<String>,
    digest: String,
    /// Its container was removed by who has it.
    removed: bool,
}

/// What is read of the file of a workspace.
#[derive(Deserialize)]
struct Kept {
    plan: Plan,
    session: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    removed: bool,
}

#[derive(Deserialize)]
struct Plan {
    project: Project,
}

#[derive(Deserialize)]
struct Project {
    root: Utf8PathBuf,
}

/// Returns all of them, by their places.
pub fn all(environment: &Environment) -> Vec<Stranded> {
    let place = workspace::private(&environment.state, Utf8Path::new("/"));
    let entries = place.parent().map(Utf8Path::read_dir_utf8);
    let entries = entries.into_iter().flatten().flatten().flatten();
    let mut found: Vec<Stranded> = entries.filter_map(|entry| read(environment, entry.path())).collect();
    found.retain(Stranded::counts);
    found.sort_by(|one, other| one.root.cmp(&other.root));
    found
}

/// Returns the one that was in a directory.
pub fn at(environment: &Environment, root: &Utf8Path) -> Option<Stranded> {
    known(environment, root).filter(Stranded::counts)
}

/// Returns what pier has of a workspace that was in a directory, also where nobody would miss it.
pub fn known(environment: &Environment, root: &Utf8Path) -> Option<Stranded> {
    read(environment, &workspace::private(&environment.state, root))
}

/// Returns the path that a workspace in a directory has, or had where it is not there any more.
pub fn place(dir: &Utf8Path) -> Option<Utf8PathBuf> {
    let there = dir.ancestors().find_map(|path| Some((path, path.canonicalize_utf8().ok()?)));
    let (there, real) = there?;
    let below = dir.strip_prefix(there).ok()?;
    let is_name = |part: camino::Utf8Component<'_>| matches!(part, camino::Utf8Component::Normal(_));
    // Of what is not there nobody knows what is above it.
    below.components().all(is_name).then(|| if below.as_str().is_empty() { real } else { real.join(below) })
}

/// Removes the programs of workspaces that are not there, and that nobody would miss, or that were never made. What runs all the
/// same goes on with what it has.
pub fn forget_programs(environment: &Environment) {
    let place = workspace::private(&environment.state, Utf8Path::new("/"));
    let entries = place.parent().map(Utf8Path::read_dir_utf8);
    for entry in entries.into_iter().flatten().flatten().flatten() {
        let directory = entry.path();
        let is_gone = if directory.join(FILE).exists() {
            read(environment, directory).is_some_and(|one| !one.counts())
        } else {
            true
        };
        // Whoever holds it may be making it.
        let lock = std::fs::File::options().write(true).open(directory.join(workspace::LOCK));
        let held = lock.ok().and_then(|lock| Flock::lock(lock, FlockArg::LockExclusiveNonblock).ok());
        if let (true, Some(_held)) = (is_gone, held)
            && let Err(error) = forget_program(directory)
        {
            tracing::debug!(%error, %directory, "its program stays");
        }
    }
}

fn read(environment: &Environment, directory: &Utf8Path) -> Option<Stranded> {
    let kept: Kept = serde_json::from_slice(&read_bounded(&directory.join(FILE), MOST).ok()?).ok()?;
    let root = kept.plan.project.root;
    // What cannot be looked at may be there; what is elsewhere is another one's.
    let is_known = root.join(files::SESSION).try_exists().unwrap_or(true);
    if is_known || workspace::private(&environment.state, &root) != directory {
        return None;
    }
    let files = apart::files(environment, &root);
    let holds = files.read_dir_utf8().is_ok_and(|mut entries| entries.next().is_some());
    let is_there = root.is_dir();
    let files = holds.then_some(files);
    let (session, digest, removed) = (kept.text, kept.session, kept.removed);
    Some(Stranded { root, is_there, files, session, digest, removed })
}

impl Stranded {
    /// Says whether somebody may miss it: whoever removes a directory wants nothing of it any more, as far as it had everything.
    fn counts(&self) -> bool {
        self.files.is_some() || self.is_there && !self.removed
    }

    /// Says whether it had a container; one of which that is not known may have had one.
    pub fn had_container(&self) -> bool {
        let session = self.session.as_deref().and_then(|text| serde_json::from_str(text).ok());
        session.is_none_or(|session: files::Session| session.mode == Mode::Container)
    }

    /// Says what is the matter, and what to do about it.
    pub fn told(&self) -> (String, String) {
        let root = escape(self.root.as_str());
        let word = shell_word(&root);
        let what = if self.is_there {
            format!("the workspace `{root}` has lost its `{}`", files::SESSION)
        } else {
            format!("the workspace `{root}` is not there any more")
        };
        let files = self.files.as_ref().map(|files| escape(files.as_str()));
        let message = match &files {
            Some(files) => format!("{what}, and what its container had is in `{files}`"),
            None => what,
        };
        let drop = match files {
            Some(files) => {
                format!("; or copy what you need out of `{files}`: `pier rm -d {word} --force` removes that")
            }
            None => format!("; `pier rm -d {word}` removes what pier has of it"),
        };
        let help = match (self.is_there, &self.session) {
            (true, Some(_)) => format!("`pier start -d {word} --accept` writes it again, and goes on{drop}"),
            (true, None) => format!("start it anew: `pier start … -d {word} --force`{drop}"),
            (false, _) => format!(
                "where it was moved to, `pier start --accept` takes them, as long as its `{}` is there; without that, move the directory \
                 back to where it was, and `pier start -d {word} --accept`{drop}",
                files::SESSION
            ),
        };
        (message, help)
    }

    /// Refuses to go on without anybody's word, or writes the lost file again.
    pub fn restore(&self, environment: &Environment, accept: bool) -> Result<(), Failure> {
        let (message, help) = self.told();
        let failed = |source| workspace::Error::Io { path: self.root.join(files::SESSION), source };
        match &self.session {
            Some(text) if accept => {
                // What is not here any more was lost with that file, and not removed.
                apart::forget_base(environment, &self.root).map_err(failed)?;
                Ok(files::write(&self.root, text.as_bytes())?)
            }
            _ => Err(Failure::new(Exit::NotSetUp, "workspace::lost", message).help(help)),
        }
    }
}

/// Returns the workspace that a directory was before it was moved here: its file is as pier wrote it there.
pub fn moved(environment: &Environment, workspace: &Workspace) -> Option<Stranded> {
    let Workspace { root, session } = workspace;
    if session.harbor_session_id.as_deref() == Some(workspace::session_id(root).as_str()) {
        return None;
    }
    let digest = files::digest(root).ok()?;
    let is_it = |one: &Stranded| {
        !one.is_there
            && one.digest == digest
            && session.harbor_session_id.as_deref() == Some(workspace::session_id(&one.root).as_str())
    };
    all(environment).into_iter().find(is_it)
}

/// Takes over what the container of a moved workspace had, once somebody has said so.
pub fn take_over(
    environment: &Environment,
    before: &Stranded,
    root: &Utf8Path,
    accept: bool,
) -> Result<(), Failure> {
    let Some(files) = &before.files else { return Ok(()) };
    let old = escape(before.root.as_str());
    if !accept {
        let message = format!(
            "this workspace was moved here from `{old}`, and what its container had is in `{}`",
            escape(files.as_str())
        );
        let help = "`pier start --accept` goes on here, and takes that over; or move the directory back";
        return Err(Failure::new(Exit::NotSetUp, "workspace::lost", message).help(help));
    }
    apart::take_over(environment, &before.root, root)?;
    ui::say(&format!(
        "what its container had when it was `{old}` is taken over; that container stays, until `docker rm {}`",
        workspace::container_name(&workspace::session_id(&before.root))
    ));
    Ok(())
}
