//! What a configuration grants beyond the baseline, as canonical sentences.

use self::lent::lent;
use self::narrowed::narrowed;
use super::facts::{Facts, InstallKind};
use super::network::usual_format;
use super::nix::{Reference, reference};
use super::{Agent, expand};
use crate::config::{
    self, Access, Config, Git, HostRule, Mount, NetworkMode, Origin, Runtime, Sourced, Verdict,
};
use crate::policy::Grant;
use crate::policy::host::WEB;
use crate::util::text::escape;

mod lent;
mod narrowed;

/// Returns the grants that need approval: those that come with the repository.
///
/// What the user's own configuration, environment or flags say is the user's word already.
pub fn grants(
    config: &Config,
    facts: &Facts,
    chosen: Option<&config::Agent>,
    agent: Option<&Agent>,
    at: &dyn Fn(&Origin) -> String,
) -> Vec<Grant> {
    let mut made = Vec::new();
    let mut grant = |origin: &Origin, text: String| {
        if origin.is_of_repository() {
            made.push(Grant { text, origin: at(origin) });
        }
    };
    let absolute = |text: &str| match expand(text, &facts.home, &facts.project.root) {
        Ok(path) => path,
        Err(_) => text.into(),
    };
    let shown = |text: &str| quoted(absolute(text).as_str());
    for mount in &config.mounts {
        if let Mount::Bind { source, at: target, access } = &mount.value {
            let source = absolute(source);
            let access = match access {
                Access::ReadOnly => "read",
                Access::ReadWrite => "read and write",
            };
            if !source.starts_with(&facts.project.root) {
                let target = target.as_deref().unwrap_or(source.as_str());
                let (source, target) = (quoted(source.as_str()), quoted(target));
                grant(&mount.origin, format!("{access} {source} at {target}"));
            }
        }
    }
    for (origin, what, path) in super::coordination::asked(config, facts) {
        grant(origin, format!("{what} {}", quoted(path.as_str())));
    }
    if let Runtime::Host { paths } = &config.runtime.value {
        for path in paths {
            grant(&path.origin, format!("run commands of {}", shown(&path.value)));
        }
    }
    if let Runtime::Container(config::Container { image: Some(image), .. }) = &config.runtime.value {
        grant(&config.runtime.origin, format!("run in the image {}", quoted(image)));
    }
    for name in &config.env.pass {
        grant(&name.origin, format!("pass the variable `{}`", name.value));
    }
    for file in &config.env.files {
        let path = absolute(&file.value);
        if !path.starts_with(&facts.project.root) {
            grant(&file.origin, format!("pass the variables in {}", quoted(path.as_str())));
        }
    }
    if config.network.mode.value == NetworkMode::Host {
        grant(&config.network.mode.origin, "use the network of the host, with its loopback services".into());
    }
    if config.network.mode.value == NetworkMode::Allowlist {
        for rule in config.network.rules.iter().filter(|rule| rule.value.verdict == Verdict::Allow) {
            let HostRule { hosts, port, methods, paths, private, .. } = &rule.value;
            let ports = port.map_or(WEB.to_vec(), |port| vec![port]);
            let port = port.map_or("80 or 443".to_owned(), |port| port.to_string());
            let methods = methods.as_ref().map_or(String::new(), |methods| format!(" by {methods}"));
            let paths = paths.as_ref().map_or(String::new(), |paths| format!(" below {}", quoted(paths)));
            let private = if *private { ", also at private addresses" } else { "" };
            for host in hosts {
                let less = narrowed(config, host, &ports);
                let text = format!("reach {} on port {port}{methods}{paths}{private}{less}", quoted(host));
                grant(&rule.origin, text);
            }
        }
        for host in config.agents.iter().flat_map(|agent| &agent.hosts) {
            let less = narrowed(config, &host.value, &WEB);
            grant(&host.origin, format!("reach {} on port 80 or 443{less}", quoted(&host.value)));
        }
    }
    for Sourced { value, origin } in &config.ports {
        grant(origin, format!("publish port {} of the sandbox at {}", value.to, value.listen));
    }
    if let Some(Sourced { value, origin }) = &config.network.upstream {
        let login = value.login.as_ref().map_or(String::new(), |from| format!(", with {}", told(from)));
        grant(origin, format!("send allowed connections through the proxy {}{login}", quoted(&value.url)));
    }
    if config.network.mode.value == NetworkMode::Allowlist
        && let Some(chosen) = chosen
    {
        let name = &chosen.name;
        for need in super::network::of_chosen(config, facts, chosen).hosts {
            let named = need.named.as_ref();
            let why = named.map_or_else(
                || format!("as {} needs", name.value),
                |(from, _)| format!("where {} sends {}", quoted(from), name.value),
            );
            // Whatever let it in: one line of the repository is enough to ask.
            let lines =
                [named.map(|(_, origin)| origin), Some(&name.origin), Some(&config.network.mode.origin)];
            if let Some(origin) = lines.into_iter().flatten().find(|origin| origin.is_of_repository()) {
                let less = narrowed(config, &need.host, &[need.port]);
                grant(origin, format!("reach {} on port {}, {why}{less}", quoted(&need.host), need.port));
            }
        }
    }
    for Sourced { value, origin } in &config.env.secrets {
        grant(origin, sent(value));
    }
    if config.workspace.git.value == Git::Direct {
        grant(
            &config.workspace.git.origin,
            "write the repository's own `.git`, with hooks and configuration".into(),
        );
    }
    // Not the user's own word either: whatever made the repository has written it.
    for path in super::git::borrowed(config, facts) {
        let origin = "objects/info/alternates of the repository".to_owned();
        made.push(Grant { text: format!("read the objects of another repository in `{path}`"), origin });
    }
    let mut grant = |origin: &Origin, text: String| {
        if origin.is_of_repository() {
            made.push(Grant { text, origin: at(origin) });
        }
    };
    let gate = &config.workspace.gate;
    if let Some(own) = &config.workspace.own_gate
        && own.value.is_loosened_by(gate.value)
    {
        let (asked, instead) = (own.value.word(), gate.value.word());
        grant(&gate.origin, format!("have the exit gate {instead} where you asked for `gate {asked}`"));
    }
    if let Some(state) = &config.home.state {
        grant(&state.origin, format!("keep the sandbox home in {}", shown(&state.value)));
    }
    for agent in &config.agents {
        if let Some(version) = &agent.version {
            grant(&version.origin, format!("install {} {}", agent.name.value, version.value));
        }
        for path in agent.skills.iter().filter(|path| !absolute(&path.value).starts_with(&facts.project.root))
        {
            grant(&path.origin, format!("copy skills for {} from {}", agent.name.value, shown(&path.value)));
        }
        for import in &agent.imports {
            let kinds: Vec<String> =
                import.value.what.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
            let from =
                import.value.from.as_deref().map_or(String::new(), |from| format!(" from {}", shown(from)));
            grant(&import.origin, format!("copy {} of {}{from}", kinds.join(", "), agent.name.value));
        }
    }
    for import in &config.home.imports {
        let usual = || format!("{} and {}", shown("~/.gitconfig"), shown("~/.config/git/config"));
        let from = import.value.from.as_deref().map_or_else(usual, shown);
        grant(&import.origin, format!("copy {} from {from}", import.value.what));
    }
    if let Some(agent) = agent
        && let Some(declared) = config.agents.iter().find(|declared| declared.name.value == agent.name)
        && let Some(launcher) = facts.launchers.get(&agent.name)
        && launcher.kind == InstallKind::Host
    {
        // A `run` line chooses the program, whoever named the agent last.
        let origin = declared.run.as_ref().map_or(&declared.name.origin, |run| &run.origin);
        for directory in &launcher.directories {
            grant(origin, format!("run {} from {}", agent.name, quoted(directory.as_str())));
        }
    }
    lent(config, &mut grant);
    made.extend(flake(config, facts, at));
    made.extend(build(config, facts, at));
    made.sort();
    made.dedup_by(|one, other| one.text == other.text);
    made
}

/// The most files of a flake that a grant names one by one.
const MOST_NAMED: usize = 12;

/// Returns the grant to evaluate the flake as it is now, and to build its shell, on the host.
///
/// A flake in the project is the repository's word, whoever asked for `runtime nix`.
fn flake(config: &Config, facts: &Facts, at: &dyn Fn(&Origin) -> String) -> Option<Grant> {
    let nix = facts.nix.as_ref()?;
    let origin = &config.runtime.origin;
    let inside = matches!(
        reference(&nix.flake, &facts.home, &facts.project.root),
        Ok(Reference::Directory(path)) if path.starts_with(&facts.project.root)
    );
    if !inside && !origin.is_of_repository() {
        return None;
    }
    let mut text =
        format!("evaluate the flake {} on the host and build its shell `{}`", quoted(&nix.flake), nix.shell);
    let named = nix.files.iter().take(MOST_NAMED);
    let named: Vec<String> =
        named.map(|(path, digest)| format!("{} {:.12}", quoted(path.as_str()), digest)).collect();
    if !named.is_empty() {
        let more = nix.files.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text.push_str(&format!(", from {}{more}", named.join(", ")));
    }
    text.push_str(&format!(", SHA-256 {}", nix.digest));
    Some(Grant { text, origin: at(origin) })
}

/// Returns the grant to build the image from the files as they are now.
///
/// They are the repository's word, whoever asked for `build`.
fn build(config: &Config, facts: &Facts, at: &dyn Fn(&Origin) -> String) -> Option<Grant> {
    let build = facts.build.as_ref()?;
    let context = if build.context.as_str().is_empty() { "." } else { build.context.as_str() };
    let text = format!(
        "run the commands of {} outside of the sandbox, with the network, to build an image, with {} files of {}, SHA-256 {}",
        quoted(build.file.as_str()),
        build.files,
        quoted(context),
        build.digest
    );
    Some(Grant { text, origin: at(&config.runtime.origin) })
}

/// Quotes a path so that no other text gives the same sentence: a line break would be a second grant to whoever
/// hashes them, and a backtick a second path.
pub(super) fn quoted(path: &str) -> String {
    let plain = path.replace('\\', "\\u{5c}").replace('`', "\\u{60}");
    format!("`{}`", escape(&plain))
}

/// Says where a value comes from.
fn told(from: &str) -> String {
    match from.strip_prefix("cmd:") {
        Some(command) => format!("the answer of {}, run on the host,", quoted(command)),
        None => quoted(from),
    }
}

/// Says where a secret goes, and in which place: elsewhere in a request others may read it.
fn sent(secret: &config::Secret) -> String {
    let config::Secret { name, host, port, from, header, format, methods } = secret;
    let port = if *port == 443 { String::new() } else { format!(" on port {port}") };
    let methods = if methods.is_empty() { String::new() } else { format!(" by {}", methods.join(",")) };
    let place = header.as_ref().map_or(", wherever its placeholder is sent".to_owned(), |header| {
        format!(", in the header {}", quoted(&header.to_ascii_lowercase()))
    });
    let usual = usual_format(header.as_deref());
    let format = format.as_ref().filter(|format| *format != usual);
    let format = format.map_or(String::new(), |format| format!(", written {}", quoted(format)));
    format!("send {} to {host}{port}{methods}, as the secret `{name}`{place}{format}", told(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_says_its_place_and_its_form() {
        let sent = |header: Option<&str>, format: Option<&str>| {
            sent(&config::Secret {
                name: "K".into(),
                host: "a.test".into(),
                port: 443,
                from: "env:K".into(),
                header: header.map(str::to_owned),
                format: format.map(str::to_owned),
                methods: Vec::new(),
            })
        };
        let start = "send `env:K` to a.test, as the secret `K`";
        for (header, format, end) in [
            (None, None, ", wherever its placeholder is sent"),
            (None, Some("x {}"), ", wherever its placeholder is sent, written `x {}`"),
            (Some("X-Key"), None, ", in the header `x-key`"),
            (Some("x-key"), Some("{}"), ", in the header `x-key`"),
            (Some("x-key"), Some("Bearer {}"), ", in the header `x-key`, written `Bearer {}`"),
            (Some("Authorization"), Some("Bearer {}"), ", in the header `authorization`"),
            (Some("Authorization"), Some("{}"), ", in the header `authorization`, written `{}`"),
        ] {
            assert_eq!(sent(header, format), format!("{start}{end}"));
        }
    }

    #[test]
    fn a_path_is_one_word_of_one_line() {
        for (path, expected) in [
            ("/opt/tools", "`/opt/tools`"),
            ("/opt/a`\nread `/opt/b", "`/opt/a\\u{60}\\nread \\u{60}/opt/b`"),
            ("/opt/a\\u{60}", "`/opt/a\\u{5c}u{60}`"),
        ] {
            assert_eq!(quoted(path), expected);
        }
    }
}
