//! Applies one document to the configuration below it: single values are replaced, lists grow, agents and
//! roles merge by name.
//!
//! Shapes are the table's business: a value that does not fit has its problem already and is passed over here.
//! What only shows when values meet, such as two mounts at one place, is found by [`super::conflicts`].

use kdl::{KdlDocument, KdlEntry, KdlNode};

use super::check::{arguments, name_range, value_range};
use super::values::parse_listen;
use super::{
    Access, Agent, AgentImport, Build, ByteBudget, Config, Container, Gate, Git, HomeImport, HostRule,
    ImportKind, Keep, Layer, Limit, Mcp, Merge, Mount, NetworkMode, Origin, Port, Project, Role, Root,
    Runtime, Secret, Sourced, Sync, Upstream, Verdict, Workspace,
};
use crate::diag::{SourceId, Span};
use crate::util::text::{parse_bytes, parse_duration};

/// Applies `document`; `include` and `profile` are read before.
pub fn apply(config: &mut Config, document: &KdlDocument, source: SourceId, layer: Layer) {
    let decoder = Decoder { source, layer };
    for node in document.nodes() {
        decoder.node(config, node);
    }
}

#[derive(Clone, Copy)]
struct Decoder {
    source: SourceId,
    layer: Layer,
}

fn string(entry: &KdlEntry) -> Option<String> {
    entry.value().as_string().map(str::to_owned)
}

fn argument(node: &KdlNode) -> Option<&str> {
    arguments(node).next()?.value().as_string()
}

fn strings(node: &KdlNode) -> Vec<String> {
    arguments(node).filter_map(string).collect()
}

fn property<'a>(node: &'a KdlNode, name: &str) -> Option<&'a str> {
    node.get(name)?.as_string()
}

fn children(node: &KdlNode) -> &[KdlNode] {
    node.children().map_or(&[], KdlDocument::nodes)
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn port(node: &KdlNode) -> Option<u16> {
    node.get("port").and_then(|port| u16::try_from(port.as_integer()?).ok())
}

fn sync(node: &KdlNode) -> Sync {
    match property(node, "sync") {
        Some("always") => Sync::Always,
        Some("never") => Sync::Never,
        _ => Sync::Missing,
    }
}

impl Decoder {
    /// Where a node's value came from: its first argument, or its name where it has none.
    fn origin(self, node: &KdlNode) -> Origin {
        let range = arguments(node).next().map_or_else(|| name_range(node), value_range);
        Origin { layer: self.layer, span: Some(Span { source: self.source, range }) }
    }

    fn sourced<T>(self, node: &KdlNode, value: T) -> Sourced<T> {
        Sourced { value, origin: self.origin(node) }
    }

    fn entry(self, entry: &KdlEntry, value: String) -> Sourced<String> {
        let span = Span { source: self.source, range: value_range(entry) };
        Sourced { value, origin: Origin { layer: self.layer, span: Some(span) } }
    }

    /// Adds each argument as a value with a place of its own.
    fn extend(self, list: &mut Vec<Sourced<String>>, node: &KdlNode) {
        list.extend(arguments(node).filter_map(|entry| Some(self.entry(entry, string(entry)?))));
    }

    fn single(self, slot: &mut Option<Sourced<String>>, node: &KdlNode) {
        if let Some(text) = argument(node) {
            *slot = Some(self.sourced(node, text.to_owned()));
        }
    }

    fn node(self, config: &mut Config, node: &KdlNode) {
        match node.name().value() {
            "project" => {
                if let Some(name) = argument(node) {
                    let key = owned(property(node, "key"));
                    config.project = Some(self.sourced(node, Project { name: name.to_owned(), key }));
                }
            }
            "runtime" => self.runtime(config, node),
            "workspace" => self.workspace(config, node),
            "home" => self.home(config, node),
            "mounts" => config.mounts.extend(children(node).iter().filter_map(|child| self.mount(child))),
            "env" => children(node).iter().for_each(|child| self.env(config, child)),
            "network" => self.network(config, node),
            "port" => self.port(config, node),
            "limits" => children(node).iter().for_each(|child| self.limit(config, child)),
            "budget" => {
                for child in children(node) {
                    let Some(entry) = arguments(child).next() else { continue };
                    match child.name().value() {
                        "cost" => config.budget.cost = number(entry).map(|cost| self.sourced(child, cost)),
                        _ => config.budget.tokens = whole(entry).map(|tokens| self.sourced(child, tokens)),
                    }
                }
            }
            "agent" => self.agent(config, node),
            "role" => self.role(config, node),
            "coordination" => {
                for child in children(node) {
                    let value = owned(argument(child)).map(|value| self.sourced(child, value));
                    match child.name().value() {
                        "remote" => config.coordination.remote = value,
                        _ => config.coordination.dir = value,
                    }
                }
            }
            _ => {}
        }
    }

    fn runtime(self, config: &mut Config, node: &KdlNode) {
        // The same kind is refined by a later layer, another kind starts anew.
        let before = &config.runtime.value;
        let mut value = match (argument(node), before) {
            (Some("host"), Runtime::Host { .. })
            | (Some("nix"), Runtime::Nix { .. })
            | (Some("container"), Runtime::Container(_)) => before.clone(),
            (Some("host"), _) => Runtime::Host { paths: Vec::new() },
            (Some("nix"), _) => Runtime::Nix { flake: None, shell: None, pass: Vec::new() },
            (Some("container"), _) => Runtime::Container(Container::default()),
            (Some("auto"), _) => Runtime::Auto,
            _ => return,
        };
        for child in children(node) {
            match (&mut value, child.name().value()) {
                (Runtime::Host { paths }, "path") => self.extend(paths, child),
                (Runtime::Nix { flake, .. }, "flake") => *flake = owned(argument(child)),
                (Runtime::Nix { shell, .. }, "shell") => *shell = owned(argument(child)),
                (Runtime::Nix { pass, .. }, "pass") => pass.extend(strings(child)),
                (Runtime::Container(container), "image") => container.image = owned(argument(child)),
                (Runtime::Container(container), "build") => {
                    let context = owned(property(child, "context"));
                    container.build = argument(child).map(|file| Build { file: file.to_owned(), context });
                }
                (Runtime::Container(container), "user") => container.user = owned(argument(child)),
                (Runtime::Container(container), "engine") => container.engine = owned(argument(child)),
                _ => {}
            }
        }
        config.runtime = self.sourced(node, value);
    }

    fn workspace(self, config: &mut Config, node: &KdlNode) {
        let workspace = &mut config.workspace;
        if let Some(entry) = node.entry("at")
            && let Some(at) = string(entry)
        {
            workspace.at = self.entry(entry, at);
        }
        for child in children(node) {
            let word = argument(child);
            match (child.name().value(), word) {
                ("root", Some("git")) => workspace.root = self.sourced(child, Root::Git),
                ("root", Some("here")) => workspace.root = self.sourced(child, Root::Here),
                ("git", Some("readonly")) => workspace.git = self.sourced(child, Git::Readonly),
                ("git", Some("direct")) => workspace.git = self.sourced(child, Git::Direct),
                ("git", Some("shadow")) => {
                    let merge = match property(child, "merge") {
                        Some("ask") => Merge::Ask,
                        Some("manual") => Merge::Manual,
                        _ => Merge::Auto,
                    };
                    workspace.git = self.sourced(child, Git::Shadow(merge));
                }
                ("clone", _) => {
                    if let Some(clone) = arguments(child).next().and_then(|entry| entry.value().as_bool()) {
                        workspace.clone = self.sourced(child, clone);
                    }
                }
                ("readonly", _) => self.extend(&mut workspace.readonly, child),
                ("hide", _) => self.extend(&mut workspace.hide, child),
                ("gate", Some("report")) => self.gate(workspace, child, Gate::Report),
                ("gate", Some("quarantine")) => self.gate(workspace, child, Gate::Quarantine),
                ("gate", Some("block")) => self.gate(workspace, child, Gate::Block),
                _ => {}
            }
        }
    }

    /// Replaces the gate, and keeps what the user's own files said where the repository's replaces that.
    fn gate(self, workspace: &mut Workspace, node: &KdlNode, gate: Gate) {
        let gate = self.sourced(node, gate);
        let before = std::mem::replace(&mut workspace.gate, gate);
        if workspace.gate.origin.is_of_repository() && !before.origin.is_of_repository() {
            workspace.own_gate = Some(before);
        }
    }

    fn home(self, config: &mut Config, node: &KdlNode) {
        match argument(node) {
            Some("persistent") => config.home.keep = self.sourced(node, Keep::Persistent),
            Some("ephemeral") => config.home.keep = self.sourced(node, Keep::Ephemeral),
            _ => {}
        }
        for child in children(node) {
            match (child.name().value(), argument(child)) {
                ("state", _) => self.single(&mut config.home.state, child),
                ("import", Some(what)) => {
                    let from = owned(property(child, "from"));
                    let import = HomeImport { what: what.to_owned(), sync: sync(child), from };
                    config.home.imports.retain(|other| other.value.what != import.what);
                    config.home.imports.push(self.sourced(child, import));
                }
                _ => {}
            }
        }
    }

    fn mount(self, node: &KdlNode) -> Option<Sourced<Mount>> {
        let first = argument(node)?.to_owned();
        let at = owned(property(node, "at"));
        let mount = match node.name().value() {
            "ro" => Mount::Bind { source: first, at, access: Access::ReadOnly },
            "rw" => Mount::Bind { source: first, at, access: Access::ReadWrite },
            "tmpfs" => Mount::Tmpfs {
                at: first,
                size: property(node, "size").and_then(|size| parse_bytes(size).ok()),
            },
            _ => return None,
        };
        Some(self.sourced(node, mount))
    }

    fn env(self, config: &mut Config, node: &KdlNode) {
        let env = &mut config.env;
        match node.name().value() {
            "pass" => self.extend(&mut env.pass, node),
            "file" => self.extend(&mut env.files, node),
            "set" => {
                for entry in node.entries() {
                    if let (Some(name), Some(value)) = (entry.name(), string(entry)) {
                        env.set.insert(name.value().to_owned(), self.entry(entry, value));
                    }
                }
            }
            "secret" => {
                let (Some(name), Some(host), Some(from)) =
                    (argument(node), property(node, "host"), property(node, "from"))
                else {
                    return;
                };
                let methods = property(node, "methods").unwrap_or_default();
                let secret = Secret {
                    name: name.to_owned(),
                    host: host.to_ascii_lowercase(),
                    port: port(node).unwrap_or(443),
                    from: from.to_owned(),
                    header: owned(property(node, "header")),
                    format: owned(property(node, "format")),
                    methods: methods.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect(),
                };
                env.secrets.retain(|other| other.value.name != secret.name);
                env.secrets.push(self.sourced(node, secret));
            }
            _ => {}
        }
    }

    fn network(self, config: &mut Config, node: &KdlNode) {
        let network = &mut config.network;
        match argument(node) {
            Some("none") => network.mode = self.sourced(node, NetworkMode::None),
            Some("allowlist") => network.mode = self.sourced(node, NetworkMode::Allowlist),
            Some("host") => network.mode = self.sourced(node, NetworkMode::Host),
            _ => {}
        }
        for child in children(node) {
            let verdict = match child.name().value() {
                "allow" => Verdict::Allow,
                "deny" => Verdict::Deny,
                "upstream" => {
                    if let Some(url) = argument(child) {
                        let login = owned(property(child, "login"));
                        network.upstream = Some(self.sourced(child, Upstream { url: url.to_owned(), login }));
                    }
                    continue;
                }
                "bytes" => {
                    let size = |name| property(child, name).and_then(|size| parse_bytes(size).ok());
                    if let Some(host) = argument(child) {
                        let host = host.to_ascii_lowercase();
                        network.bytes.retain(|other| other.value.host != host);
                        let number = child.get("connections").and_then(kdl::KdlValue::as_integer);
                        let idle = property(child, "idle").and_then(|idle| parse_duration(idle).ok());
                        let budget = ByteBudget {
                            host,
                            up: size("up"),
                            down: size("down"),
                            connections: number.and_then(|number| u64::try_from(number).ok()),
                            idle: idle.map(|idle| idle.as_secs().max(1)),
                        };
                        network.bytes.push(self.sourced(child, budget));
                    }
                    continue;
                }
                _ => continue,
            };
            let hosts = strings(child).iter().map(|host| host.to_ascii_lowercase()).collect();
            let rule = HostRule {
                verdict,
                hosts,
                port: port(child),
                methods: owned(property(child, "methods")),
                paths: owned(property(child, "paths")),
                private: child.get("private").and_then(kdl::KdlValue::as_bool).unwrap_or(false),
            };
            network.rules.push(self.sourced(child, rule));
        }
    }

    fn port(self, config: &mut Config, node: &KdlNode) {
        let Some(entry) = arguments(node).next() else { return };
        let listen = match entry.value() {
            kdl::KdlValue::Integer(port) => port.to_string(),
            value => value.as_string().unwrap_or_default().to_owned(),
        };
        let Some(address) = parse_listen(&listen) else { return };
        let to = node.get("to").and_then(|to| u16::try_from(to.as_integer()?).ok());
        let port = Port { listen: address.to_string(), to: to.unwrap_or(address.port()) };
        config.ports.retain(|other| other.value.listen != port.listen || other.origin.layer == self.layer);
        config.ports.push(self.sourced(node, port));
    }

    fn limit(self, config: &mut Config, node: &KdlNode) {
        let Some(entry) = arguments(node).next() else { return };
        let required = node.get("required").and_then(kdl::KdlValue::as_bool).unwrap_or(false);
        let limits = &mut config.limits;
        match node.name().value() {
            "memory" => {
                if let Some(at_most) = argument(node).and_then(|size| parse_bytes(size).ok()) {
                    limits.memory = Some(self.sourced(node, Limit { at_most, required }));
                }
            }
            "cpus" => {
                if let Some(at_most) = number(entry) {
                    limits.cpus = Some(self.sourced(node, Limit { at_most, required }));
                }
            }
            "pids" => {
                if let Some(at_most) = whole(entry) {
                    limits.pids = Some(self.sourced(node, Limit { at_most, required }));
                }
            }
            "wall" => {
                if let Some(wall) = argument(node).and_then(|text| parse_duration(text).ok()) {
                    limits.wall = Some(self.sourced(node, wall));
                }
            }
            "minimum-tier" => {
                if let Some(tier) = whole(entry).and_then(|tier| u8::try_from(tier).ok()) {
                    limits.minimum_tier = Some(self.sourced(node, tier));
                }
            }
            _ => {}
        }
    }

    fn agent(self, config: &mut Config, node: &KdlNode) {
        let Some(name) = argument(node) else { return };
        let default = node.get("default").and_then(kdl::KdlValue::as_bool);
        if default == Some(true) {
            // A default of a lower layer gives way; two in one layer are a conflict.
            for other in &mut config.agents {
                if other.default.value && other.default.origin.layer != self.layer {
                    other.default.value = false;
                }
            }
        }
        let index = config.agents.iter().position(|agent| agent.name.value == name).unwrap_or_else(|| {
            config.agents.push(Agent::named(self.sourced(node, name.to_owned())));
            config.agents.len() - 1
        });
        let agent = &mut config.agents[index];
        agent.name.origin = self.origin(node);
        if let Some(default) = default {
            agent.default = self.sourced(node, default);
        }
        for child in children(node) {
            match child.name().value() {
                "version" => self.single(&mut agent.version, child),
                "model" => self.single(&mut agent.model, child),
                "tools" => agent.tools = Some(self.sourced(child, strings(child))),
                "args" => {
                    // Arguments are a list: a profile's `--print` joins those of the project.
                    let mut args = agent.args.take().map(|args| args.value).unwrap_or_default();
                    args.extend(strings(child));
                    agent.args = Some(self.sourced(child, args));
                }
                "settings" => {
                    for entry in child.entries() {
                        let Some(name) = entry.name() else { continue };
                        let span = Span { source: self.source, range: value_range(entry) };
                        let origin = Origin { layer: self.layer, span: Some(span) };
                        let value = Sourced { value: entry.value().clone(), origin };
                        agent.settings.insert(name.value().to_owned(), value);
                    }
                }
                "import" => {
                    let what = arguments(child).filter_map(|entry| import(entry.value().as_string()?));
                    let from = owned(property(child, "from"));
                    let value = AgentImport { what: what.collect(), sync: sync(child), from };
                    agent.imports.push(self.sourced(child, value));
                }
                "mcp" => {
                    let (Some(name), Some(command)) = (argument(child), property(child, "command")) else {
                        continue;
                    };
                    let args = children(child).iter().flat_map(strings).collect();
                    let server = Mcp { name: name.to_owned(), command: command.to_owned(), args };
                    agent.mcp.retain(|other| other.value.name != server.name);
                    agent.mcp.push(self.sourced(child, server));
                }
                "skills" => self.extend(&mut agent.skills, child),
                "run" => agent.run = Some(self.sourced(child, strings(child))),
                "logs" => self.extend(&mut agent.logs, child),
                "hosts" => self.extend(&mut agent.hosts, child),
                _ => {}
            }
        }
    }

    fn role(self, config: &mut Config, node: &KdlNode) {
        let Some(name) = argument(node) else { return };
        let index = config.roles.iter().position(|role| role.name.value == name).unwrap_or_else(|| {
            let name = self.sourced(node, name.to_owned());
            config.roles.push(Role { name, tools: None, thinking: None, file: None });
            config.roles.len() - 1
        });
        let role = &mut config.roles[index];
        role.name.origin = self.origin(node);
        for child in children(node) {
            match child.name().value() {
                "tools" => role.tools = Some(strings(child)),
                "thinking" => role.thinking = owned(argument(child)),
                "file" => self.single(&mut role.file, child),
                _ => {}
            }
        }
    }
}

fn import(word: &str) -> Option<ImportKind> {
    Some(match word {
        "auth" => ImportKind::Auth,
        "settings" => ImportKind::Settings,
        "skills" => ImportKind::Skills,
        "sessions" => ImportKind::Sessions,
        "extensions" => ImportKind::Extensions,
        "prompts" => ImportKind::Prompts,
        "roles" => ImportKind::Roles,
        _ => return None,
    })
}

fn whole(entry: &KdlEntry) -> Option<u64> {
    u64::try_from(entry.value().as_integer()?).ok()
}

#[expect(clippy::cast_precision_loss, reason = "the table keeps amounts below 2^32")]
fn number(entry: &KdlEntry) -> Option<f64> {
    entry.value().as_float().or_else(|| entry.value().as_integer().map(|whole| whole as f64))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::config::built_in::built_in;
    use crate::config::syntax;

    pub fn decoded(layers: &[(&str, Layer)]) -> Config {
        let mut config = built_in();
        for (index, (text, layer)) in layers.iter().enumerate() {
            let source = SourceId(index);
            let document = syntax::parse(source, text).unwrap();
            let problems =
                crate::config::check::check(source, &document, crate::config::schema::ROOT, "pier.kdl");
            assert_eq!(problems, []);
            apply(&mut config, &document, source, *layer);
        }
        config
    }

    #[test]
    fn a_later_layer_replaces_values_and_adds_to_lists() {
        let config = decoded(&[
            (
                "network allowlist { allow A.example }\nagent x default=#true { model a; args \"-a\"; tools t u }\nenv { pass LANG; set A=x B=y }\nlimits { memory \"1GiB\" }",
                Layer::Project,
            ),
            (
                "network none { allow b.example }\nagent x { model b; args \"-b\"; tools v }\nenv { pass TZ; set A=z }\nagent y default=#true",
                Layer::Profile,
            ),
        ]);
        assert_eq!(config.network.mode.value, NetworkMode::None);
        let hosts: Vec<&String> = config.network.rules.iter().flat_map(|rule| &rule.value.hosts).collect();
        assert_eq!(hosts, ["a.example", "b.example"]);
        let agent = &config.agents[0];
        assert_eq!(agent.model.as_ref().unwrap().value, "b");
        assert_eq!(agent.args.as_ref().unwrap().value, ["-a", "-b"]);
        assert_eq!(agent.tools.as_ref().unwrap().value, ["v"]);
        assert!(!agent.default.value && config.agents[1].default.value);
        assert_eq!(config.env.set["A"].value, "z");
        assert_eq!(config.env.set["A"].origin.layer, Layer::Profile);
        assert_eq!(config.env.set["B"].origin.layer, Layer::Project);
        assert_eq!(config.env.pass.len(), 2);
        assert_eq!(config.limits.memory.unwrap().value.at_most, 1 << 30);
    }

    #[test]
    fn a_value_knows_its_place() {
        let text = "limits { wall \"2h\" }\nenv { set A = \"b\" }";
        let config = decoded(&[(text, Layer::Project)]);
        let at = |origin: &Origin| &text[origin.span.as_ref().unwrap().range.clone()];
        assert_eq!(at(&config.limits.wall.unwrap().origin), "\"2h\"");
        assert_eq!(at(&config.env.set["A"].origin), "\"b\"");
    }
}
