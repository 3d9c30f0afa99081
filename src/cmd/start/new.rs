//! A new workspace.

use std::collections::BTreeSet;

use camino::Utf8Path;
use jiff::Timestamp;

use super::begin::{Beginning, FREE, begin, ready, variables};
use super::subject::{REMOTE, Subject};
use super::{Start, again, cannot, given, host, skills, usage};
use crate::cmd::owner::{self, RootOwned};
use crate::cmd::workspaces;
use crate::cmd::workspaces::agents::Wanted;
use crate::cmd::workspaces::apart;
use crate::cmd::workspaces::base::Base;
use crate::cmd::workspaces::given::stored;
use crate::cmd::{Global, Outcome, project};
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::util::fs::write_atomic;
use crate::workspace::{self, Mode, Session, Workspace, files};

/// In pier's own directory of a workspace, while it is being made in a directory that had nothing.
const STARTING: &str = "starting";

/// Makes a workspace; where one is there already, it is started again.
pub fn make(global: &Global, args: &Start, subject: &Subject, dir: &Utf8Path) -> Outcome {
    let nearest = dir.ancestors().find(|path| path.exists()).unwrap_or(dir);
    let mode = if args.host { Mode::Host } else { Mode::Container };
    let environment = owner::settle(Environment::of_process()?, global, nearest, RootOwned::of_mode(mode))?;
    let failed = |error: std::io::Error| cannot(dir, &error);
    if dir.exists() && !dir.is_dir() {
        return Err(usage(&format!("`{dir}` is not a directory"), "name another one"));
    }
    let there = if dir.is_dir() {
        files::read(&dir.canonicalize_utf8().map_err(failed)?).map_err(Failure::from)?
    } else {
        None
    };
    if there.is_some() {
        let workspace = workspace::at(dir).map_err(Failure::from)?;
        return again::restart(global, args, Some(subject), &environment, &workspace);
    }
    // A start that was broken off has left what it had made, and says so.
    let is_broken_off = || {
        let root = dir.canonicalize_utf8().ok();
        root.is_some_and(|root| workspace::private(&environment.state, &root).join(STARTING).exists())
    };
    let is_empty = || Ok::<_, std::io::Error>(dir.read_dir_utf8()?.next().is_none() || is_broken_off());
    if dir.is_dir() && !args.force && !is_empty().map_err(failed)? {
        // Another one may have been faster.
        if files::read(&dir.canonicalize_utf8().map_err(failed)?).map_err(Failure::from)?.is_some() {
            return Err(was_faster(dir));
        }
        return Err(usage(&format!("`{dir}` is not empty"), "`--force` uses it as it is"));
    }
    if args.accept && (args.host || matches!(subject, Subject::Image(_))) {
        return Err(usage("`--accept` is for a task, or for a workspace that is there", "leave it out"));
    }
    let given = given::entries(args, &environment)?;
    let mounts = given::mounts(args, &environment)?;
    // Until the workspace is in the index, which says what its task is used by.
    let _kept = subject.keep(&environment)?;
    let base = subject.base(&environment)?;
    let agents: Vec<Wanted> = args.agent.iter().map(|text| Wanted::parse(text)).collect::<Result<_, _>>()?;
    let mut allowed = BTreeSet::new();
    let entries = if args.host {
        Vec::new()
    } else {
        variables(&base, &given, &environment, args.accept, &mut allowed)?
    };
    let cwd = &project::current_directory()?;
    skills::mount(args, &base, cwd, dir)?;
    let (made, was_empty) = (!dir.exists(), dir.exists() && is_empty().map_err(failed)?);
    let own = dir.join(workspace::OWN).symlink_metadata();
    if own.as_ref().is_ok_and(|meta| !meta.is_dir()) {
        return Err(usage(
            &format!("`{dir}/.pier` is there and is no directory"),
            "remove it, or name another directory",
        ));
    }
    std::fs::create_dir_all(dir).map_err(failed)?;
    let root = dir.canonicalize_utf8().map_err(failed)?;
    let (task_dir, image) = match &base {
        Base::Image(image) => (root.join(workspace::OWN).join(FREE), Some(image.clone())),
        Base::Task(task) => (task.directory.clone(), None),
    };
    let mounts: Vec<String> = mounts.into_iter().chain(skills::mount(args, &base, cwd, &root)?).collect();
    let session_id = workspace::session_id(&root);
    let (mode, container, alone) = if args.host {
        (Mode::Host, None, Some(host::session_id(&session_id)))
    } else {
        (Mode::Container, Some(session_id), None)
    };
    let session = Session {
        mode,
        task_ref: task_dir.file_name().map(str::to_owned),
        task_dir,
        harbor_session_id: container,
        host_session_id: alone,
        agents: agents.iter().map(|agent| agent.name.to_owned()).collect(),
        ports: args.ports.iter().map(|port| port.host).collect(),
        extra_mounts: mounts,
        extra_env: stored(&given),
        no_mount: args.no_mount,
        started_at: Some(Timestamp::now()),
        image,
        others: match subject {
            Subject::Remote(remote) => [(REMOTE.to_owned(), remote.text().into())].into_iter().collect(),
            _ => serde_json::Map::new(),
        },
    };
    let workspace = Workspace { root: root.clone(), session };
    let _held = workspaces::hold(&environment, &root)?;
    // Another one may have been faster.
    if files::read(&root).map_err(Failure::from)?.is_some() {
        return Err(was_faster(&root));
    }
    if args.no_mount {
        apart::put_aside(&environment, &root)?;
    }
    let starting = workspace::private(&environment.state, &root).join(STARTING);
    if made || was_empty {
        write_atomic(&starting, b"", 0o600).map_err(failed)?;
    }
    let start = Beginning {
        base: &base,
        ports: &args.ports,
        entries: &entries,
        allowed,
        agents: &agents,
        seeds: true,
        network: None,
        files: None,
    };
    let composed = || {
        workspaces::make_records(&root)?;
        skills::compose(args, cwd, &root)
    };
    let composed = if args.skill.is_empty() { Ok(()) } else { composed() };
    let begun = composed.and_then(|()| match (&base, mode) {
        (Base::Task(task), Mode::Host) => host::begin(global, &environment, &workspace, task),
        _ => begin(global, &environment, &workspace, start),
    });
    let _over = std::fs::remove_file(&starting);
    if let Err(error) = begun {
        // A failed start can be repeated as it was.
        if own.is_err() {
            let _own = std::fs::remove_dir_all(root.join(workspace::OWN));
        }
        if args.no_mount {
            let _files = apart::forget(&environment, &root);
        }
        if made {
            let _empty = std::fs::remove_dir_all(&root);
        } else if was_empty {
            clear(&root);
        }
        return Err(error);
    }
    ready(&workspace, &base);
    Ok(Exit::Done)
}

fn was_faster(dir: &Utf8Path) -> Failure {
    usage(&format!("`{dir}` has just become a workspace"), "go into it: `pier exec bash`")
}

/// Removes what is in a directory, and not the directory.
fn clear(root: &Utf8Path) {
    for entry in root.read_dir_utf8().into_iter().flatten().flatten() {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let path = entry.path();
        let removed = if is_directory { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        if let Err(error) = removed {
            tracing::debug!(%error, path = %entry.path(), "stays");
        }
    }
}
