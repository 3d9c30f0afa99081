//! One attack as data: what is tried inside, where, and what has to be true on the host afterwards.

use super::scene::Scene;
use super::stage::Stage;
use super::world::World;

/// An attack. Every case that names no more than its id, its aim, its action and its check gets the rest from [`CASE`].
pub struct Case {
    /// The id of the catalogue, and after a dot which of several ways it is.
    pub id: &'static str,
    pub tries: &'static str,
    /// The text of `pier.kdl`.
    pub config: &'static str,
    /// What the host has before the session.
    pub prepare: fn(&World),
    pub action: Action,
    pub columns: &'static [Column],
    pub open: Open,
    pub around: Around,
}

/// What is around the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// The network that it has.
    Own,
    /// A network of the case's own, and what `pier.kdl` asks for is approved.
    Internet,
    /// The container engine of the tests, and what `pier.kdl` asks for is approved.
    Engine,
}

/// The common part.
pub const CASE: Case = Case {
    id: "",
    tries: "",
    config: "",
    prepare: |_| {},
    action: Action::Later(""),
    columns: PLAIN,
    open: Open::User,
    around: Around::Own,
};

pub enum Action {
    /// A script for bash inside, after which the host is looked at. It prints `OPEN: …` for what it could do.
    Script(&'static str, fn(&Scene<'_>) -> Verdict),
    /// A script inside, then innocent commands on the host, which must not be tricked into making a marker.
    Then(&'static str, &'static [&'static [&'static str]]),
    /// A call of the probe, whose exit code is the verdict.
    Probe(&'static [&'static str]),
    /// Several steps: sessions, commands of the host, looks at the host.
    Steps(fn(&Stage) -> Verdict),
    /// Cannot run yet, and why.
    Later(&'static str),
}

/// Who calls pier, and whether at a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The owner of the project.
    User,
    /// Root in somebody's project: pier switches to the owner.
    Root,
    /// Root in a project of root's, with `--as-root`.
    AsRoot,
    UserTerminal,
    RootTerminal,
    /// The owner, with the tools of a Nix shell.
    Nix,
    /// No sandbox at all: here the check has to fail.
    Open,
}

impl Column {
    pub const ALL: [Column; 7] = [
        Column::User,
        Column::Root,
        Column::AsRoot,
        Column::UserTerminal,
        Column::RootTerminal,
        Column::Nix,
        Column::Open,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Column::User => "user",
            Column::Root => "root",
            Column::AsRoot => "as-root",
            Column::UserTerminal => "user tty",
            Column::RootTerminal => "root tty",
            Column::Nix => "nix",
            Column::Open => "open",
        }
    }

    pub fn terminal(self) -> bool {
        matches!(self, Column::UserTerminal | Column::RootTerminal)
    }

    /// Whether the caller of pier is root.
    pub fn by_root(self) -> bool {
        matches!(self, Column::Root | Column::AsRoot | Column::RootTerminal)
    }
}

pub const PLAIN: &[Column] = &[Column::User, Column::Root, Column::AsRoot];
pub const OWNER: &[Column] = &[Column::User, Column::Root];
pub const ONE: &[Column] = &[Column::User];
pub const TERMINALS: &[Column] = &[Column::UserTerminal, Column::RootTerminal];
pub const EVERYWHERE: &[Column] =
    &[Column::User, Column::Root, Column::AsRoot, Column::UserTerminal, Column::RootTerminal];

/// How a case is shown to fail without a sandbox.
#[derive(Clone, Copy)]
pub enum Open {
    /// The same action as the owner of the project.
    User,
    /// The same action at a terminal.
    Terminal,
    /// The same action as root: what it asks for needs privileges, and it is harmless with them.
    Root,
    /// The same action as root of its own user and mount namespaces.
    Namespace,
    /// Another call of the probe, as root: the same one would be dangerous or slow.
    RootProbe(&'static [&'static str]),
    /// The kernel of this machine may not have what is asked for; then there is nothing to show.
    RootIfThere,
    /// The same action in a container that the engine's own client starts with these options.
    Container(&'static [&'static str]),
    /// Not done, and why.
    Not(&'static str),
}

/// What a run of a case found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Held,
    Open(String),
    /// Open, where a deadline had passed before that was found.
    Late(String),
    CannotRun(String),
}

impl Verdict {
    pub fn open(what: impl Into<String>) -> Self {
        Verdict::Open(what.into())
    }

    /// Open with this text if it is so.
    pub fn open_if(so: bool, what: impl Into<String>) -> Self {
        if so { Verdict::Open(what.into()) } else { Verdict::Held }
    }

    /// The first verdict that is not `Held`.
    pub fn and(self, next: impl FnOnce() -> Verdict) -> Self {
        if self == Verdict::Held { next() } else { self }
    }
}
