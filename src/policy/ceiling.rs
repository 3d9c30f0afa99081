//! The ceiling: what an administrator's policy says explicitly, nothing below it may exceed.
//!
//! A part that the policy does not mention is no limit; a list that it gives is the whole list.

use camino::{Utf8Path, Utf8PathBuf};

use crate::config::{Access, Config, Git, Layer, Limit, Mount, NetworkMode, Origin, Runtime, Sourced, Sync};
use crate::diag::Problem;
use crate::util::text::escape;

const CODE: &str = "policy::ceiling";

/// How paths of the two configurations are compared.
pub struct Paths<'a> {
    /// Makes a path as written absolute and lexically clean.
    pub absolute: &'a dyn Fn(&str) -> Utf8PathBuf,
    /// The project, which is visible anyway.
    pub root: &'a Utf8Path,
}

/// Returns a problem for everything in `config` that exceeds `ceiling`; both spans are in it.
pub fn check(ceiling: &Config, config: &Config, paths: &Paths<'_>) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    modes(ceiling, config, &mut found);
    mounts(ceiling, config, paths, &mut found);
    variables(ceiling, config, paths, &mut found);
    imports(ceiling, config, paths, &mut found);
    limits(ceiling, config, &mut found);
    found.0
}

struct Found(Vec<Problem>);

impl Found {
    /// Adds an excess unless the policy itself asked for it.
    fn exceeds(&mut self, at: &Origin, ceiling: Option<&Origin>, message: String) {
        if at.layer == Layer::Policy {
            return;
        }
        let mut problem = match &at.span {
            Some(span) => Problem::new(CODE, span.clone(), "exceeds the policy", message),
            None => Problem::nowhere(CODE, message),
        };
        if let Some(span) = ceiling.and_then(|origin| origin.span.clone()) {
            problem = problem.also(span, "the ceiling is set here");
        }
        self.0.push(problem.help("ask for less, or have the administrator of this host change the policy"));
    }
}

fn explicit<T>(value: &Sourced<T>) -> bool {
    value.origin.layer == Layer::Policy
}

fn modes(ceiling: &Config, config: &Config, found: &mut Found) {
    let word = |mode| match mode {
        NetworkMode::None => "none",
        NetworkMode::Allowlist => "allowlist",
        NetworkMode::Host => "host",
    };
    let (most, mode) = (&ceiling.network.mode, &config.network.mode);
    if explicit(most) && mode.value > most.value {
        let message = format!(
            "`network {}` is more open than the policy's `network {}`",
            word(mode.value),
            word(most.value)
        );
        found.exceeds(&mode.origin, Some(&most.origin), message);
    }
    let (most, git) = (&ceiling.workspace.git, &config.workspace.git);
    if explicit(most) && most.value != Git::Direct && git.value == Git::Direct {
        let message = "`git direct` writes the repository's `.git`, and the policy says otherwise".to_owned();
        found.exceeds(&git.origin, Some(&most.origin), message);
    }
    let (least, gate) = (&ceiling.workspace.gate, &config.workspace.gate);
    if explicit(least) && least.value.is_loosened_by(gate.value) {
        let (asked, policy) = (gate.value.word(), least.value.word());
        let message = format!("`gate {asked}` does less than the policy's `gate {policy}`");
        found.exceeds(&gate.origin, Some(&least.origin), message);
    }
}

fn mounts(ceiling: &Config, config: &Config, paths: &Paths<'_>, found: &mut Found) {
    let mut listed: Vec<(Utf8PathBuf, Access, &Origin)> = Vec::new();
    for Sourced { value, origin } in &ceiling.mounts {
        if let Mount::Bind { source, access, .. } = value {
            listed.push(((paths.absolute)(source), *access, origin));
        }
    }
    if let Runtime::Host { paths: directories } = &ceiling.runtime.value {
        let directories = directories.iter();
        listed.extend(directories.map(|one| ((paths.absolute)(&one.value), Access::ReadOnly, &one.origin)));
    }
    let Some((_, _, first)) = listed.first() else { return };
    let mut asked: Vec<(&str, Access, &Origin)> = Vec::new();
    for Sourced { value, origin } in &config.mounts {
        if let Mount::Bind { source, access, .. } = value {
            asked.push((source, *access, origin));
        }
    }
    if let Runtime::Host { paths: directories } = &config.runtime.value {
        asked.extend(directories.iter().map(|one| (one.value.as_str(), Access::ReadOnly, &one.origin)));
    }
    for (source, access, origin) in asked {
        let path = (paths.absolute)(source);
        let above: Vec<_> = listed.iter().filter(|(top, _, _)| path.starts_with(top)).collect();
        let fits = |granted: &Access| access == Access::ReadOnly || *granted == Access::ReadWrite;
        if above.iter().any(|(_, granted, _)| fits(granted)) {
            continue;
        }
        let path = escape(path.as_str());
        if let Some((top, _, ceiling)) = above.first() {
            let message = format!("`{path}` is writable, and the policy has `{top}` read-only");
            found.exceeds(origin, Some(ceiling), message);
        } else {
            let message = format!("`{path}` is not among the paths that the policy lists");
            found.exceeds(origin, Some(first), message);
        }
    }
}

fn variables(ceiling: &Config, config: &Config, paths: &Paths<'_>, found: &mut Found) {
    let listed = &ceiling.env.pass;
    let Some(first) = listed.first().or(ceiling.env.files.first()) else { return };
    for Sourced { value, origin } in &config.env.pass {
        if !listed.iter().any(|name| name.value == *value) {
            let message = format!("the variable `{value}` is not among those that the policy passes");
            found.exceeds(origin, Some(&first.origin), message);
        }
    }
    let files: Vec<Utf8PathBuf> =
        ceiling.env.files.iter().map(|file| (paths.absolute)(&file.value)).collect();
    for Sourced { value, origin } in &config.env.files {
        let path = (paths.absolute)(value);
        // A file of the project is visible inside anyway, so its variables are nothing new.
        if !path.starts_with(paths.root) && !files.contains(&path) {
            let message =
                format!("`{}` is not among the files that the policy passes", escape(path.as_str()));
            found.exceeds(origin, Some(&first.origin), message);
        }
    }
}

fn imports(ceiling: &Config, config: &Config, paths: &Paths<'_>, found: &mut Found) {
    let source = |from: &Option<String>| from.as_deref().map(paths.absolute);
    let home = &ceiling.home.imports;
    let of_agents = || ceiling.agents.iter().flat_map(|agent| &agent.imports);
    let Some(first) = home.first().map(|import| &import.origin).or(of_agents().next().map(|one| &one.origin))
    else {
        return;
    };
    for Sourced { value, origin } in config.home.imports.iter().filter(|one| one.value.sync != Sync::Never) {
        let same = |listed: &&Sourced<crate::config::HomeImport>| {
            listed.value.what == value.what
                && listed.value.sync != Sync::Never
                && source(&listed.value.from) == source(&value.from)
        };
        if !home.iter().any(|listed| same(&listed)) {
            let message = format!("the import of {} is not among those that the policy lists", value.what);
            found.exceeds(origin, Some(first), message);
        }
    }
    for agent in &config.agents {
        let name = &agent.name.value;
        let same_name = ceiling.agents.iter().find(|listed| listed.name.value == *name);
        let listed = same_name.map_or(&[][..], |listed| &listed.imports);
        for Sourced { value, origin } in agent.imports.iter().filter(|one| one.value.sync != Sync::Never) {
            let covered = |kind| {
                listed.iter().any(|one| {
                    one.value.what.contains(kind)
                        && one.value.sync != Sync::Never
                        && source(&one.value.from) == source(&value.from)
                })
            };
            for kind in value.what.iter().filter(|kind| !covered(kind)) {
                let kind = format!("{kind:?}").to_lowercase();
                let message =
                    format!("the import of {kind} of {name} is not among those that the policy lists");
                found.exceeds(origin, Some(first), message);
            }
        }
    }
}

fn limits(ceiling: &Config, config: &Config, found: &mut Found) {
    let (most, asked) = (&ceiling.limits, &config.limits);
    limit("memory", most.memory.as_ref(), asked.memory.as_ref(), found);
    limit("cpus", most.cpus.as_ref(), asked.cpus.as_ref(), found);
    limit("pids", most.pids.as_ref(), asked.pids.as_ref(), found);
    amount("limits wall", most.wall.as_ref(), asked.wall.as_ref(), found);
    amount("budget cost", ceiling.budget.cost.as_ref(), config.budget.cost.as_ref(), found);
    amount("budget tokens", ceiling.budget.tokens.as_ref(), config.budget.tokens.as_ref(), found);
    if let (Some(least), Some(tier)) = (&most.minimum_tier, &asked.minimum_tier)
        && tier.value < least.value
    {
        let message = format!(
            "`minimum-tier {}` accepts weaker walls than the policy's `minimum-tier {}`",
            tier.value, least.value
        );
        found.exceeds(&tier.origin, Some(&least.origin), message);
    }
}

fn limit<T: PartialOrd>(
    name: &str,
    most: Option<&Sourced<Limit<T>>>,
    asked: Option<&Sourced<Limit<T>>>,
    found: &mut Found,
) {
    let (Some(most), Some(asked)) = (most, asked) else { return };
    if asked.value.at_most > most.value.at_most {
        let message = format!("`limits {name}` is above the policy's");
        found.exceeds(&asked.origin, Some(&most.origin), message);
    } else if most.value.required && !asked.value.required {
        let message = format!("`limits {name}` is not `required`, and the policy's is");
        found.exceeds(&asked.origin, Some(&most.origin), message);
    }
}

fn amount<T: PartialOrd>(
    name: &str,
    most: Option<&Sourced<T>>,
    asked: Option<&Sourced<T>>,
    found: &mut Found,
) {
    if let (Some(most), Some(asked)) = (most, asked)
        && asked.value > most.value
    {
        found.exceeds(&asked.origin, Some(&most.origin), format!("`{name}` is above the policy's"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::{Inputs, load};

    fn excesses(policy: &str, project: &str) -> Vec<String> {
        let read = |path: &Utf8Path| {
            let text = if path == "/etc/pier/policy.kdl" { policy } else { project };
            Ok(Some(text.as_bytes().to_vec()))
        };
        let inputs = Inputs {
            policy: Some("/etc/pier/policy.kdl".into()),
            project: Some("/p/pier.kdl".into()),
            ..Inputs::default()
        };
        let loaded = load(&inputs, &read).unwrap();
        let absolute = |text: &str| match text.strip_prefix("./") {
            Some(below) => Utf8Path::new("/p").join(below),
            None => Utf8PathBuf::from(text.replace('~', "/home/me")),
        };
        let paths = Paths { absolute: &absolute, root: Utf8Path::new("/p") };
        let found = check(&loaded.ceiling.unwrap(), &loaded.config, &paths);
        for problem in &found {
            let (at, _) = problem.at.as_ref().unwrap();
            assert!(loaded.sources.place(at).starts_with("/p/pier.kdl:"), "{problem:?}");
            let (ceiling, label) = &problem.related[0];
            assert!(loaded.sources.place(ceiling).starts_with("/etc/pier/policy.kdl:"), "{problem:?}");
            assert_eq!(label, "the ceiling is set here");
            assert_eq!(problem.code, CODE);
        }
        found.into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn what_exceeds_the_policy_is_a_problem_with_both_places() {
        for (policy, project, says) in [
            ("network allowlist", "network host", "`network host` is more open"),
            ("network none", "network allowlist", "`network allowlist` is more open"),
            ("workspace { git readonly }", "workspace { git direct }", "`git direct`"),
            ("workspace { gate block }", "workspace { gate report }", "`gate report` does less"),
            ("workspace { gate block }", "workspace { gate quarantine }", "`gate quarantine` does less"),
            ("mounts { ro \"/opt\" }", "mounts { ro \"/srv/x\" }", "`/srv/x` is not among"),
            ("mounts { ro \"/opt\" }", "mounts { ro \"/optional\" }", "`/optional` is not among"),
            ("mounts { ro \"/opt\" }", "mounts { rw \"/opt/x\" }", "has `/opt` read-only"),
            ("mounts { ro \"/opt\" }", "runtime host { path \"/srv/bin\" }", "`/srv/bin` is not among"),
            ("env { pass LANG }", "env { pass HOST_TOKEN }", "`HOST_TOKEN` is not among"),
            ("env { pass LANG }", "env { file \"~/.secrets\" }", "`/home/me/.secrets` is not among"),
            ("limits { memory \"2GiB\" }", "limits { memory \"4GiB\" }", "`limits memory` is above"),
            ("limits { pids 99 required=#true }", "limits { pids 99 }", "is not `required`"),
            ("limits { wall \"1h\" }", "limits { wall \"2h\" }", "`limits wall` is above"),
            ("limits { minimum-tier 2 }", "limits { minimum-tier 1 }", "weaker walls"),
            ("budget { cost 1 }", "budget { cost 2 }", "`budget cost` is above"),
            (
                "agent claude-code { import settings }",
                "agent claude-code { import auth settings }",
                "the import of auth of claude-code",
            ),
            (
                "agent claude-code { import settings }",
                "home { import git-config }",
                "the import of git-config",
            ),
        ] {
            let found = excesses(policy, project);
            assert_eq!(found.len(), 1, "{policy} / {project}: {found:?}");
            assert!(found[0].contains(says), "{policy} / {project}: {found:?}");
        }
    }

    #[test]
    fn what_stays_below_the_policy_is_no_problem() {
        for (policy, project) in [
            ("network allowlist", "network none"),
            ("network host", "network host"),
            ("limits { pids 100 }", "network host"),
            ("workspace { git direct }", "workspace { git direct }"),
            ("workspace { gate block }", "workspace { gate block }"),
            ("workspace { gate report }", "workspace { gate quarantine }"),
            ("mounts { rw \"/opt\" }", "mounts { ro \"/opt/x\"; tmpfs \"/scratch\" }"),
            ("mounts { ro \"/opt\" }", "runtime host { path \"/opt/bin\" }"),
            ("env { pass LANG TZ }", "env { pass TZ; file \"./.env.agent\" }"),
            ("limits { memory \"2GiB\" }", "limits { memory \"1GiB\" }"),
            ("agent claude-code { import auth settings }", "agent claude-code { import auth }"),
            ("home { import git-config }", "home { import git-config sync=\"never\" }"),
        ] {
            assert_eq!(excesses(policy, project), Vec::<String>::new(), "{policy} / {project}");
        }
    }
}
