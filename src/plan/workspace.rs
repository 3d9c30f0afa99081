//! The plan of a workspace: a container that stays, is written to, and runs many commands.

use camino::{Utf8Path, Utf8PathBuf};

use super::system::BUILT_IN;
use super::{Access, Backend, Mount, MountKind, NetworkMode, Plan};

/// What is mounted beside the project: a directory of the host, and where it is inside.
pub type Record = (Utf8PathBuf, Utf8PathBuf);

/// Makes the plan of one command on an image that of a workspace.
///
/// The image can be written to, as far as its owner may. Nothing in the project is mounted for itself, because what is
/// there changes: pier's own directory alone is covered, and what somebody has asked for. Where nobody has asked for a network it is the engine's own.
pub fn adapt(plan: &mut Plan, hidden: &Utf8Path, records: &[Record], asks_for_network: bool) {
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
    }
}

/// Keeps a root beside the sandbox, for the tests of a task. Where that is the user's own number, he is it already.
pub fn judge(plan: &mut Plan) {
    plan.judged = plan.user.uid != 0;
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
