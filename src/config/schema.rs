//! The whole vocabulary of `pier.kdl` in one table: checks, reference, completions and edits all read it.

use super::values::{PORT, Type};

/// One argument or property.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: Type,
    pub need: Need,
    pub doc: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Required,
    Optional,
}

/// How often a node may stand in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    Once,
    /// Once for each first argument.
    ByName,
    Many,
}

/// Whether what a node asks for can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    Now,
    /// It is read and checked; planning refuses it by name.
    Later,
}

/// One node of the vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    pub name: &'static str,
    pub doc: &'static str,
    pub arguments: &'static [Field],
    /// Further arguments, any number of them; required ones are at least one.
    pub rest: Option<Field>,
    pub properties: &'static [Field],
    /// Properties whose names are free, such as variables.
    pub any_property: Option<Field>,
    pub children: &'static [Node],
    pub repeat: Repeat,
    /// The first argument of the parent with which this child makes sense; empty for all.
    pub only_in: &'static [&'static str],
    pub since: Since,
}

const NODE: Node = Node {
    name: "",
    doc: "",
    arguments: &[],
    rest: None,
    properties: &[],
    any_property: None,
    children: &[],
    repeat: Repeat::Once,
    only_in: &[],
    since: Since::Now,
};

const fn must(name: &'static str, kind: Type, doc: &'static str) -> Field {
    Field { name, kind, need: Need::Required, doc }
}

const fn may(name: &'static str, kind: Type, doc: &'static str) -> Field {
    Field { name, kind, need: Need::Optional, doc }
}

const fn from(min: i128) -> Type {
    Type::Integer { min, max: i64::MAX as i128 }
}

pub const RUNTIMES: &[&str] = &["auto", "host", "nix", "container"];
pub const ROOTS: &[&str] = &["git", "here"];
pub const GITS: &[&str] = &["shadow", "readonly", "direct"];
pub const MERGES: &[&str] = &["auto", "ask", "manual"];
pub const GATES: &[&str] = &["report", "quarantine", "block"];
pub const KEEPS: &[&str] = &["persistent", "ephemeral"];
pub const SYNCS: &[&str] = &["always", "missing", "never"];
pub const NETWORKS: &[&str] = &["none", "allowlist", "host"];
pub const IMPORTS: &[&str] = &["auth", "settings", "skills", "sessions", "extensions", "prompts", "roles"];
pub const THINKING: &[&str] = &["off", "minimal", "low", "medium", "high", "xhigh"];
pub const ENGINES: &[&str] = &["docker", "podman"];

const SYNC: Field =
    may("sync", Type::OneOf(SYNCS), "When the copy is made: at each start, only if it is missing, or never.");
const FROM: Field = may("from", Type::Path, "Where it is on the host, if not at its usual place.");
const AT: Field = may("at", Type::Inside, "The path inside; the source's own place if left out.");
const REQUIRED: Field =
    may("required", Type::Bool, "Refuse to start where the host cannot enforce the limit.");

/// `include` and `profile` stand at the top of a file only.
pub static ROOT: &[Node] = &[
    Node {
        name: "include",
        doc: "Reads another file first; this one adds to it and wins.",
        arguments: &[must("file", Type::Path, "The file, relative to this one and below the project.")],
        repeat: Repeat::Many,
        ..NODE
    },
    PROJECT,
    RUNTIME,
    WORKSPACE,
    HOME,
    MOUNTS,
    ENV,
    NETWORK,
    PORTS,
    LIMITS,
    BUDGET,
    AGENT,
    ROLE,
    COORDINATION,
    Node {
        name: "profile",
        doc: "Settings that `--profile` or `PIER_PROFILE` add on top.",
        arguments: &[must("name", Type::Name, "What the profile is chosen by.")],
        children: IN_PROFILE,
        repeat: Repeat::ByName,
        ..NODE
    },
];

/// What a profile may set: everything but `include` and other profiles.
pub static IN_PROFILE: &[Node] = &[
    PROJECT,
    RUNTIME,
    WORKSPACE,
    HOME,
    MOUNTS,
    ENV,
    NETWORK,
    PORTS,
    LIMITS,
    BUDGET,
    AGENT,
    ROLE,
    COORDINATION,
];

const PROJECT: Node = Node {
    name: "project",
    doc: "Names the project.",
    arguments: &[must("name", Type::Text, "The name that people read.")],
    properties: &[may("key", Type::Name, "The prefix of coordination items.")],
    ..NODE
};

const RUNTIME: Node = Node {
    name: "runtime",
    doc: "Chooses where `/usr` and the tools come from.",
    arguments: &[must(
        "kind",
        Type::OneOf(RUNTIMES),
        "The host's own tools, a Nix shell, an image, or what fits.",
    )],
    children: &[
        Node {
            name: "path",
            doc: "Adds directories of commands, read-only.",
            rest: Some(must("directory", Type::Path, "A directory outside of the home directory.")),
            repeat: Repeat::Many,
            only_in: &["host"],
            ..NODE
        },
        Node {
            name: "flake",
            doc: "Names the flake of the development shell.",
            arguments: &[must("reference", Type::Text, "A flake reference; `.` is the project's own.")],
            only_in: &["nix"],
            ..NODE
        },
        Node {
            name: "shell",
            doc: "Names the development shell of the flake.",
            arguments: &[must("name", Type::Text, "The attribute below `devShells`.")],
            only_in: &["nix"],
            ..NODE
        },
        Node {
            name: "pass",
            doc: "Passes variables of the development shell.",
            rest: Some(must("variable", Type::Variable, "The name of a variable.")),
            repeat: Repeat::Many,
            only_in: &["nix"],
            ..NODE
        },
        Node {
            name: "image",
            doc: "Names the image.",
            arguments: &[must("reference", Type::Text, "An image reference, with a digest or a tag.")],
            only_in: &["container"],
            ..NODE
        },
        Node {
            name: "build",
            doc: "Builds the image from a file of the project.",
            arguments: &[must("file", Type::Path, "The Dockerfile.")],
            properties: &[may("context", Type::Path, "The directory that the build sees.")],
            only_in: &["container"],
            ..NODE
        },
        Node {
            name: "user",
            doc: "Says who the agent is inside of the container.",
            arguments: &[must(
                "user",
                Type::Text,
                "`host` for the caller's own numbers, or a user of the image.",
            )],
            only_in: &["container"],
            ..NODE
        },
        Node {
            name: "engine",
            doc: "Chooses the container engine.",
            arguments: &[must("name", Type::OneOf(ENGINES), "The engine's command.")],
            only_in: &["container"],
            ..NODE
        },
    ],
    ..NODE
};

const WORKSPACE: Node = Node {
    name: "workspace",
    doc: "Says how the project's files appear inside.",
    properties: &[may("at", Type::Inside, "Where the project root is inside.")],
    children: &[
        Node {
            name: "root",
            doc: "Chooses the project root: the repository's top, or the directory of this file.",
            arguments: &[must("kind", Type::OneOf(ROOTS), "`git` or `here`.")],
            ..NODE
        },
        Node {
            name: "git",
            doc: "Says what the agent may do to the repository.",
            arguments: &[must(
                "mode",
                Type::OneOf(GITS),
                "A private git directory whose commits are imported, the repository read-only, or itself.",
            )],
            properties: &[may("merge", Type::OneOf(MERGES), "How commits of a shadow come back.")],
            ..NODE
        },
        Node {
            name: "clone",
            doc: "Works in a private clone, so that several agents can share one repository.",
            arguments: &[must("enabled", Type::Bool, "`#true` for a clone.")],
            ..NODE
        },
        Node {
            name: "readonly",
            doc: "Makes files of the project read-only inside.",
            rest: Some(must("file", Type::Path, "A path below the project root.")),
            repeat: Repeat::Many,
            ..NODE
        },
        Node {
            name: "hide",
            doc: "Hides files of the project.",
            rest: Some(must("pattern", Type::Path, "A path or pattern below the project root.")),
            repeat: Repeat::Many,
            ..NODE
        },
        Node {
            name: "gate",
            doc: "Says what happens to new files that the host would execute.",
            arguments: &[must(
                "action",
                Type::OneOf(GATES),
                "List them, move them away, or end with an error.",
            )],
            ..NODE
        },
    ],
    ..NODE
};

const HOME: Node = Node {
    name: "home",
    doc: "Describes the private home directory.",
    arguments: &[may("keep", Type::OneOf(KEEPS), "Whether it outlives the session; it does if left out.")],
    children: &[
        Node {
            name: "state",
            doc: "Moves the state directory.",
            arguments: &[must("directory", Type::Path, "A directory outside of the project.")],
            ..NODE
        },
        Node {
            name: "import",
            doc: "Copies a personal setting into the home directory.",
            arguments: &[must("what", Type::OneOf(&["git-config"]), "What is copied.")],
            properties: &[SYNC, FROM],
            repeat: Repeat::ByName,
            ..NODE
        },
    ],
    ..NODE
};

const MOUNTS: Node = Node {
    name: "mounts",
    doc: "Adds directories and files of the host.",
    children: &[
        Node {
            name: "ro",
            doc: "Mounts a path read-only.",
            arguments: &[must("source", Type::Path, "The path on the host.")],
            properties: &[AT],
            repeat: Repeat::Many,
            ..NODE
        },
        Node {
            name: "rw",
            doc: "Mounts a path read-write.",
            arguments: &[must("source", Type::Path, "The path on the host.")],
            properties: &[AT],
            repeat: Repeat::Many,
            ..NODE
        },
        Node {
            name: "tmpfs",
            doc: "Makes an empty directory in memory.",
            arguments: &[must("at", Type::Inside, "The path inside.")],
            properties: &[may("size", Type::Bytes, "How much it may hold.")],
            repeat: Repeat::Many,
            ..NODE
        },
    ],
    ..NODE
};

const ENV: Node = Node {
    name: "env",
    doc: "Fills the environment, which is empty otherwise.",
    children: &[
        Node {
            name: "pass",
            doc: "Passes variables of the caller.",
            rest: Some(must("variable", Type::Variable, "The name of a variable.")),
            repeat: Repeat::Many,
            ..NODE
        },
        Node {
            name: "set",
            doc: "Sets variables to fixed values.",
            any_property: Some(must("VARIABLE", Type::Text, "The value of the variable.")),
            repeat: Repeat::Many,
            ..NODE
        },
        Node {
            name: "file",
            doc: "Sets variables from files of `NAME=value` lines.",
            rest: Some(must("file", Type::Path, "A file of the project.")),
            repeat: Repeat::Many,
            ..NODE
        },
        Node {
            name: "secret",
            doc: "Gives the gateway a secret that never enters the sandbox.",
            arguments: &[must("name", Type::Variable, "The variable that holds a placeholder inside.")],
            properties: &[
                must("host", Type::Host, "The only host that the secret is sent to."),
                must("from", Type::SecretFrom, "Where the secret is on the host."),
                may("port", PORT, "The only port, where the host speaks TLS; 443 if left out."),
                may(
                    "header",
                    Type::Header,
                    "The header that always carries it; without, it takes its placeholder's place in headers and queries.",
                ),
                may("format", Type::Text, "The header's value around `{}`, such as `Bearer {}`."),
                may("methods", Type::Methods, "The HTTP methods that it is added to."),
            ],
            repeat: Repeat::ByName,
            ..NODE
        },
    ],
    ..NODE
};

const NETWORK: Node = Node {
    name: "network",
    doc: "Says what the sandbox may reach.",
    arguments: &[may(
        "mode",
        Type::OneOf(NETWORKS),
        "Nothing, the hosts below, or all that the host reaches.",
    )],
    children: &[
        rule("allow", "Allows hosts."),
        rule("deny", "Denies hosts, whatever else allows them."),
        Node {
            name: "upstream",
            doc: "Sends allowed connections through a proxy.",
            arguments: &[must("url", Type::Proxy, "The proxy of the host's network.")],
            properties: &[may("login", Type::SecretFrom, "Where `USER:PASSWORD` for it is on the host.")],
            ..NODE
        },
        Node {
            name: "bytes",
            doc: "Limits what goes to a host and comes from it.",
            arguments: &[must("host", Type::HostPattern, "The host.")],
            properties: &[
                may("up", Type::Bytes, "What may be sent in one session."),
                may("down", Type::Bytes, "What may be received in one session."),
                may("connections", Type::Integer { min: 1, max: 4096 }, "Connections at a time."),
                may("idle", Type::Duration, "How long a connection may be silent; 15 minutes if left out."),
            ],
            repeat: Repeat::ByName,
            ..NODE
        },
    ],
    ..NODE
};

const RULE: &[Field] = &[
    may("port", PORT, "The only port; 80 and 443 if left out."),
    may("methods", Type::Methods, "The only HTTP methods."),
    may("paths", Type::UrlPath, "The only paths of HTTP requests."),
    may("private", Type::Bool, "Whether private addresses are meant."),
];

const fn rule(name: &'static str, doc: &'static str) -> Node {
    Node {
        name,
        doc,
        rest: Some(must("host", Type::HostPattern, "A host, `*.` before one, or a range of addresses.")),
        properties: RULE,
        repeat: Repeat::Many,
        ..NODE
    }
}

const PORTS: Node = Node {
    name: "port",
    doc: "Publishes a port of the sandbox on the host.",
    arguments: &[must(
        "listen",
        Type::Listen,
        "Where the host listens; on 127.0.0.1 if only a port is given.",
    )],
    properties: &[may("to", PORT, "The port inside; the same one if left out.")],
    repeat: Repeat::ByName,
    ..NODE
};

const LIMITS: Node = Node {
    name: "limits",
    doc: "Limits what a session may use.",
    children: &[
        Node {
            name: "memory",
            doc: "Limits memory.",
            arguments: &[must("size", Type::Bytes, "At most this much.")],
            properties: &[REQUIRED],
            ..NODE
        },
        Node {
            name: "cpus",
            doc: "Limits processor time.",
            arguments: &[must("count", Type::Amount, "As many processors at a time, in parts if need be.")],
            properties: &[REQUIRED],
            ..NODE
        },
        Node {
            name: "pids",
            doc: "Limits the number of processes and threads.",
            arguments: &[must("count", from(16), "At most this many.")],
            properties: &[REQUIRED],
            ..NODE
        },
        Node {
            name: "wall",
            doc: "Ends the session after a time.",
            arguments: &[must("duration", Type::Duration, "By the clock.")],
            ..NODE
        },
        Node {
            name: "minimum-tier",
            doc: "Refuses to start where the host can build fewer walls; fewer than 2 is always refused.",
            arguments: &[must(
                "tier",
                Type::Integer { min: 1, max: 3 },
                "Namespaces and system call filters are 2; with Landlock it is 3.",
            )],
            ..NODE
        },
    ],
    ..NODE
};

const BUDGET: Node = Node {
    name: "budget",
    doc: "Limits what one session may spend.",
    children: &[
        Node {
            name: "cost",
            doc: "Limits the cost.",
            arguments: &[must("dollars", Type::Amount, "US dollars.")],
            ..NODE
        },
        Node {
            name: "tokens",
            doc: "Limits the tokens.",
            arguments: &[must("count", from(1), "Input and output together.")],
            ..NODE
        },
    ],
    since: Since::Later,
    ..NODE
};

const TOOLS: Node = Node {
    name: "tools",
    doc: "Names the tools that the agent may use.",
    rest: Some(must("tool", Type::Text, "A tool by the agent's own name.")),
    ..NODE
};

const AGENT: Node = Node {
    name: "agent",
    doc: "Describes an agent.",
    arguments: &[must("name", Type::Name, "A known agent, or any name together with `run`.")],
    properties: &[may("default", Type::Bool, "Whether `pier up` starts it.")],
    children: &[
        Node {
            name: "version",
            doc: "Pins the agent's version.",
            arguments: &[must("version", Type::Version, "The exact version, such as `2.1.197`.")],
            ..NODE
        },
        Node {
            name: "model",
            doc: "Chooses the model.",
            arguments: &[must("model", Type::Text, "`PROVIDER/MODEL`.")],
            ..NODE
        },
        TOOLS,
        Node {
            name: "args",
            doc: "Adds arguments to the agent's command.",
            rest: Some(must("argument", Type::Text, "One word.")),
            ..NODE
        },
        Node {
            name: "settings",
            doc: "Sets what the agent can be told by name, such as `reasoning_effort`; the reference lists them for each agent.",
            any_property: Some(must("SETTING", Type::Scalar, "The value of the setting.")),
            repeat: Repeat::Many,
            ..NODE
        },
        Node {
            name: "import",
            doc: "Copies personal settings of the agent into the home directory.",
            rest: Some(must("what", Type::OneOf(IMPORTS), "What is copied.")),
            properties: &[SYNC, FROM],
            repeat: Repeat::Many,
            ..NODE
        },
        Node {
            name: "mcp",
            doc: "Adds a server of the Model Context Protocol.",
            arguments: &[must("name", Type::Name, "The server's name.")],
            properties: &[must("command", Type::Text, "The command that starts it inside.")],
            children: &[Node {
                name: "args",
                doc: "Adds arguments to the server's command.",
                rest: Some(must("argument", Type::Text, "One word.")),
                ..NODE
            }],
            repeat: Repeat::ByName,
            ..NODE
        },
        Node {
            name: "skills",
            doc: "Adds directories of skills.",
            rest: Some(must("directory", Type::Path, "A directory of the project.")),
            repeat: Repeat::Many,
            ..NODE
        },
        Node {
            name: "run",
            doc: "Gives the command of an agent that pier does not know.",
            rest: Some(must("word", Type::Text, "The command and its arguments.")),
            ..NODE
        },
        Node {
            name: "logs",
            doc: "Says where an agent that pier does not know writes its logs: trajectories, or logs of a form that pier reads.",
            rest: Some(must(
                "pattern",
                Type::Path,
                "A pattern below `~/`, in which `*` stands for a part of one name.",
            )),
            repeat: Repeat::Many,
            ..NODE
        },
        Node {
            name: "hosts",
            doc: "Names the hosts that the agent needs.",
            rest: Some(must("host", Type::HostPattern, "A host.")),
            repeat: Repeat::Many,
            ..NODE
        },
    ],
    repeat: Repeat::ByName,
    ..NODE
};

const ROLE: Node = Node {
    name: "role",
    doc: "Describes a role that an agent can take.",
    arguments: &[must("name", Type::Name, "The role's name.")],
    children: &[
        TOOLS,
        Node {
            name: "thinking",
            doc: "Sets how much the model thinks.",
            arguments: &[must("level", Type::OneOf(THINKING), "The level.")],
            ..NODE
        },
        Node {
            name: "file",
            doc: "Names the file with the role's instructions.",
            arguments: &[must("file", Type::Path, "A file of the project.")],
            ..NODE
        },
    ],
    repeat: Repeat::ByName,
    ..NODE
};

const COORDINATION: Node = Node {
    name: "coordination",
    doc: "Connects the coordination repository.",
    children: &[
        Node {
            name: "remote",
            doc: "Names the repository; one on this host can be pushed to inside.",
            arguments: &[must("url", Type::Text, "What `git clone` takes.")],
            ..NODE
        },
        Node {
            name: "dir",
            doc: "Says where its clone is, `.pi-env/coordination` otherwise; one outside of the project is at `/coordination` inside.",
            arguments: &[must("directory", Type::Path, "A directory, relative to the project.")],
            ..NODE
        },
    ],
    ..NODE
};

/// Calls `visit` with the path and the row of every node, parents first.
pub fn walk(nodes: &'static [Node], visit: &mut dyn FnMut(&[&'static str], &'static Node)) {
    fn go(
        nodes: &'static [Node],
        path: &mut Vec<&'static str>,
        visit: &mut dyn FnMut(&[&'static str], &'static Node),
    ) {
        for node in nodes {
            path.push(node.name);
            visit(path, node);
            go(node.children, path, visit);
            path.pop();
        }
    }
    go(nodes, &mut Vec::new(), visit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_documented_and_named_once() {
        let check = |doc: &str| {
            assert!(
                doc.ends_with('.') && doc.starts_with(char::is_uppercase) || doc.starts_with('`'),
                "{doc}"
            );
        };
        walk(ROOT, &mut |path, node| {
            check(node.doc);
            let fields =
                node.arguments.iter().chain(&node.rest).chain(node.properties).chain(&node.any_property);
            fields.for_each(|field| check(field.doc));
            let mut names: Vec<&str> = node.children.iter().map(|child| child.name).collect();
            names.sort_unstable();
            assert!(names.is_sorted_by(|a, b| a < b), "{path:?}");
            if node.repeat == Repeat::ByName {
                assert!(!node.arguments.is_empty(), "{path:?}");
            }
        });
        assert_eq!(IN_PROFILE.len() + 2, ROOT.len());
    }
}
