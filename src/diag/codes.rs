//! Every diagnostic code, with the sentence that explains it. Codes are stable: scripts match on them.

/// `(code, what it means)`, sorted by code. Every one has a snapshot or a named test in `tests/it`.
pub const ALL: &[(&str, &str)] = &[
    ("agent::install", "The version of the agent that is pinned cannot be installed."),
    ("agent::mcp", "MCP servers are given to an agent that has no MCP client."),
    ("agent::missing", "The agent is not on this host, and no version of it is pinned."),
    ("agent::none", "It is not clear which agent to start."),
    ("agent::skills", "Skills are given to an agent whose place for them is not known."),
    ("agent::undeclared", "No file declares an agent of that name."),
    ("agent::unknown", "There is no agent of that name, and no command says how to start one."),
    ("audit::broken", "The lines of an audit file do not hang together: it was changed, or cut off."),
    ("audit::file", "An audit file cannot be written or read."),
    ("bwrap::program", "There is no bubblewrap that pier can run safely."),
    ("bwrap::refused", "Bubblewrap cannot make the sandbox on this host."),
    ("cli::not-yet", "The command is designed and not part of this version."),
    ("cli::unknown-command", "There is no such command."),
    ("cli::write", "A file that the command makes cannot be written."),
    ("config::bad-path", "The words before `=` in an edit or a flag name no setting."),
    ("config::bad-value", "A value has the right type and means nothing here."),
    ("config::control-character", "The file holds a character that people cannot see."),
    ("config::duplicate", "Something that may be given once is given twice."),
    ("config::edit-refused", "An edit would make the file invalid."),
    ("config::extra-value", "A node has more arguments than it takes."),
    ("config::include", "An included file is missing, out of bounds, or includes itself."),
    ("config::missing-value", "A node lacks an argument or a property."),
    ("config::none", "There is no `pier.kdl` from here up to the project's root."),
    ("config::syntax", "The file is not KDL 2."),
    ("config::too-deep", "Blocks are nested too deep."),
    ("config::too-large", "The file is larger than any configuration."),
    ("config::too-many", "The file has too many nodes or values."),
    ("config::type", "A value has the wrong type."),
    ("config::type-annotation", "Values of pier.kdl carry no type annotations."),
    ("config::unknown-node", "There is no such setting at this place."),
    ("config::unknown-profile", "No file has the profile that was asked for."),
    ("config::unknown-property", "The node has no such property."),
    ("config::unreadable", "A configuration file is there and cannot be read."),
    ("env::directories", "`HOME` or an XDG variable is missing or is not an absolute path."),
    ("env::reserved", "A variable is passed or set that the sandbox or the agent sets itself."),
    ("exec::cannot-run", "The command is there and cannot be executed inside the sandbox."),
    ("exec::not-found", "The command is not there inside the sandbox."),
    (
        "gate::blocked",
        "The session left files that programs of this host execute or obey, and the gate is `block`.",
    ),
    ("gate::quarantine", "Files that programs of this host execute or obey could not be moved away."),
    ("git::failed", "Git did not do what pier asked it to."),
    ("git::merge", "The commits of a session cannot be merged as things are."),
    ("git::session", "There is no session of that name whose commits wait."),
    ("git::shadow", "The private git directory of a session cannot be made."),
    ("home::state", "The state directory is inside the project, or is no path."),
    ("host::probe", "Something of this host that the plan depends on cannot be looked at."),
    ("init::exists", "There is a `pier.kdl` already."),
    ("init::write", "The starter file cannot be written."),
    ("limits::not-held", "A limit is required, and this host cannot hold a session to it."),
    ("lock::invalid", "`pier.lock` is damaged, or written by a newer pier."),
    ("lock::stale", "`pier.lock` does not pin what `pier.kdl` asks for."),
    ("mount::missing", "What is to be mounted is not on this host."),
    ("mount::refused", "What is to be mounted would open the host to the sandbox."),
    ("mount::source", "What is to be mounted or copied is written as no path."),
    ("mount::swapped", "What is to be mounted is not what it was when the plan was made."),
    ("mount::target", "The place of a mount is one that the sandbox has a use for itself."),
    ("nix::agent", "The agent that pier installed cannot run in the Nix shell."),
    ("nix::failed", "Nix cannot evaluate or build the development shell."),
    ("nix::input", "The flake is not there, or a file that it names cannot be read."),
    ("nix::missing", "The file asks for `runtime nix`, and there is no Nix on this host."),
    ("nix::program", "There is a Nix that somebody else could have put there, so it is not run."),
    ("nix::reference", "The flake or the shell is named by no usable name."),
    ("owner::home", "The owner of the project has no home directory."),
    ("owner::root", "Root would run something in a project that root owns."),
    ("owner::switch", "Root cannot become the owner of the project."),
    ("plan::last", "The plan of the last session cannot be read."),
    ("plan::not-available", "A setting is checked and cannot be carried out by this version."),
    ("policy::ceiling", "A file asks for more than the administrator's policy allows."),
    ("project::root", "A directory that holds more than a project cannot be one."),
    ("session::ambiguous", "Several sessions have names that begin like this."),
    ("session::control", "A session does not take requests, or not from this user."),
    ("session::import", "A personal setting cannot be copied into the sandbox home."),
    ("session::list", "The sessions that are running cannot be listed."),
    ("session::no-terminal", "The session has no terminal to attach to, or there is none here."),
    ("session::none", "There is no such session."),
    ("session::not-contained", "The sandbox did not become what the plan says, and nothing ran."),
    ("session::output", "The output of a detached session cannot be read."),
    ("session::set-up", "The sandbox could not be started, or the command in it."),
    ("session::state", "The state directory of the project cannot be written."),
    ("session::tier", "This host builds fewer walls than the file asks for."),
    ("trust::needed", "The project's files grant more than was approved."),
    ("trust::store", "The approval of a project cannot be read or stored."),
    ("workspace::clone", "There can be no private clone of the project."),
    ("workspace::hide", "What is hidden would be readable in the objects of git."),
    ("workspace::readonly", "A path cannot be made read-only in the workspace."),
];

/// Returns what a code means; `None` where it is none.
pub fn meaning(code: &str) -> Option<&'static str> {
    ALL.iter().find(|(known, _)| *known == code).map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_unique() {
        assert!(ALL.is_sorted_by(|a, b| a.0 < b.0));
    }
}
