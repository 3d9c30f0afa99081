//! The plan of a workspace: a container that stays, is written to, and runs many commands.

use camino::{Utf8Path, Utf8PathBuf};

use super::facts::{Launcher, Library, System};
use super::image;
use super::system::BUILT_IN;
use super::{Access, Backend, Mount, MountKind, NetworkMode, Plan};

/// What is mounted beside the project: a directory of the host, and where it is inside.
pub type Record = (Utf8PathBuf, Utf8PathBuf);

/// Makes the plan of one command on an image that of a workspace.
///
/// The image can be written to, as far as its owner may. Nothing in the project is mounted for itself, because what is
/// there changes: pier's own directory alone is covered, and what somebody has asked for. Where nobody has asked for a network
/// it is the engine's own, with the resolvers of the host as far as they are reached from there.
pub fn adapt(
    plan: &mut Plan,
    hidden: &Utf8Path,
    records: &[Record],
    (asks_for_network, system): (bool, &System),
) {
    let at = plan.project.at.clone();
    plan.mounts.retain(|mount| {
        let inside = mount.at != at && mount.at.starts_with(&at);
        !(inside && mount.origin == BUILT_IN) && mount.kind != MountKind::Seal
    });
    let mut add = |at: Utf8PathBuf, kind| plan.mounts.push(Mount { at, kind, origin: BUILT_IN.into() });
    add(at.join(hidden), MountKind::Hidden { directory: true });
    for (source, inside) in records {
        let kind = MountKind::Bind { source: source.clone(), access: Access::ReadWrite, expect: None };
        add(inside.clone(), kind);
    }
    if !asks_for_network {
        plan.network.mode = NetworkMode::Bridge;
        // As they were planned, nothing was to be reached.
        if let Some(mount) = plan.mounts.iter_mut().find(|mount| mount.at == "/etc/resolv.conf") {
            mount.kind = MountKind::File { content: image::reached(system) };
        }
    }
}

/// Where the agents of this host are in every workspace.
pub const SHELF: &str = "/.pier/agents";

/// What shows the agents of this host in a workspace.
pub struct Agents<'a> {
    /// Where all of them are on this host: one that is installed later is there, too.
    pub shelf: &'a Utf8Path,
    pub launchers: Vec<&'a Launcher>,
    /// By which names they are called, and where those lead.
    pub links: Vec<(String, Utf8PathBuf)>,
    /// Login shells of the image read what is in [`PROFILES`].
    pub profiles: bool,
}

/// What login shells read, which forget the `PATH` of an image.
pub const PROFILES: &str = "/etc/profile.d";

/// Shows the agents, by name: `.pier/bin` comes first of all places with commands.
pub fn show(plan: &mut Plan, agents: Agents<'_>) {
    let bind = |source: &Utf8Path| MountKind::Bind {
        source: source.to_owned(),
        access: Access::ReadOnly,
        expect: None,
    };
    let mut add =
        |at: &Utf8Path, kind| plan.mounts.push(Mount { at: at.to_owned(), kind, origin: BUILT_IN.into() });
    add(SHELF.into(), bind(agents.shelf));
    // Before what another agent adds: the files of a container that goes on have the same places in the list.
    if agents.profiles {
        let own = image::LINKS;
        let content = format!("case \":$PATH:\" in *:{own}:*) ;; *) PATH=\"{own}:$PATH\" ;; esac\n");
        add(&Utf8Path::new(PROFILES).join("pier.sh"), MountKind::File { content });
    }
    let mut libraries: Vec<&Library> =
        agents.launchers.iter().flat_map(|launcher| &launcher.libraries).collect();
    libraries.sort_by(|one, other| one.at.cmp(&other.at));
    libraries.dedup();
    for library in libraries {
        add(&library.at, bind(&library.source));
    }
    for (name, to) in agents.links {
        add(&Utf8Path::new(image::LINKS).join(name), MountKind::Symlink { to });
    }
    image::add_links(&mut plan.mounts);
    for variable in plan.environment.iter_mut().filter(|variable| variable.name == "PATH") {
        if let Some(path) = variable.value.as_mut().filter(|path| !path.starts_with(image::LINKS)) {
            path.insert_str(0, &format!("{}:", image::LINKS));
        }
    }
}

/// Keeps a root beside the sandbox, for the tests of a task: also beside one of root, which has no capability.
pub fn judge(plan: &mut Plan) {
    plan.judged = true;
}

/// Says whether something of the project is hidden, besides pier's own directory.
pub fn hides(plan: &Plan, own: &Utf8Path) -> bool {
    let at = &plan.project.at;
    let hidden = |mount: &Mount| matches!(mount.kind, MountKind::Hidden { .. }) && mount.at.starts_with(at);
    plan.mounts.iter().any(|mount| hidden(mount) && mount.at != at.join(own))
}

/// Mounts other files in the place of the project's: those that are brought together with it later.
pub fn set_apart(plan: &mut Plan, files: &Utf8Path) {
    let at = plan.project.at.clone();
    plan.mounts
        .retain(|mount| !(mount.at.starts_with(&at) && matches!(mount.kind, MountKind::Hidden { .. })));
    for mount in plan.mounts.iter_mut().filter(|mount| mount.at == at) {
        let (source, access) = (files.to_owned(), Access::ReadWrite);
        mount.kind = MountKind::Bind { source, access, expect: None };
    }
}

/// Makes the plan of a project one that has no sandbox: everything is as it is on this host.
pub fn without_sandbox(plan: &mut Plan) {
    plan.backend = Backend::None;
    plan.network.mode = NetworkMode::Host;
    plan.project.at = plan.project.root.clone();
    plan.command.cwd = plan.project.root.clone();
    plan.mounts.clear();
    plan.environment.clear();
    plan.secrets.clear();
    plan.seeds.clear();
    plan.ports.clear();
    plan.grants.clear();
}
