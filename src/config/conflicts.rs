//! Finds what cannot hold together once all layers are applied: each value is right, the two of them are not.

use std::collections::HashMap;

use super::values::is_range;
use super::{Agent, Config, Mount, Origin, Sourced, Verdict, codes};
use crate::diag::Problem;
use crate::util::text::escape;

/// Returns what cannot hold together once all layers are applied.
pub fn conflicts(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let targets = config.mounts.iter().filter_map(|mount| {
        let at = match &mount.value {
            Mount::Bind { at, .. } => at.as_deref()?,
            Mount::Tmpfs { at, .. } => at,
        };
        Some((normal(at), &mount.origin))
    });
    let workspace = std::iter::once((normal(&config.workspace.at.value), &config.workspace.at.origin));
    twice(
        &mut problems,
        workspace.chain(targets),
        |at| format!("two mounts at `{at}`"),
        "give one another place",
    );
    let listens = config.ports.iter().map(|port| (port.value.listen.clone(), &port.origin));
    twice(&mut problems, listens, |listen| format!("two ports at `{listen}`"), "give one another port");
    let secrets = config.env.secrets.iter().map(|secret| (secret.value.name.clone(), &secret.origin));
    let set = config.env.set.iter().map(|(name, value)| (name.clone(), &value.origin));
    let pass = config.env.pass.iter().map(|name| (name.value.clone(), &name.origin));
    let mut named: HashMap<String, &Origin> = secrets.collect();
    for (name, origin) in set.chain(pass) {
        if let Some(secret) = named.remove(&name) {
            let shown = escape(&name);
            let message = format!("`{shown}` is a secret and must not enter the sandbox as a variable too");
            problems.extend(conflict(
                origin,
                "given to the sandbox here",
                secret,
                "a secret here",
                message,
                "keep one",
            ));
        }
    }
    for rule in &config.network.rules {
        let private = rule.value.hosts.iter().any(|host| is_range(host)) && !rule.value.private;
        if private
            && rule.value.verdict == Verdict::Allow
            && let Some(span) = &rule.origin.span
        {
            let message = "a range of addresses is allowed only as private addresses";
            let problem = Problem::new(codes::BAD_VALUE, span.clone(), "a range", message);
            problems.push(problem.help("add `private=#true`"));
        }
    }
    for Sourced { value, origin } in &config.network.bytes {
        let none = value.up.is_none() && value.down.is_none();
        if none
            && value.connections.is_none()
            && value.idle.is_none()
            && let Some(span) = &origin.span
        {
            let message = format!("`bytes` of `{}` limits nothing", escape(&value.host));
            let problem = Problem::new(codes::MISSING_VALUE, span.clone(), "no limit", message);
            problems.push(problem.help("add `up=`, `down=`, `connections=` or `idle=`"));
        }
    }
    problems.extend(config.agents.iter().flat_map(|agent| &agent.logs).filter_map(outside_of_home));
    let mut default: Option<&Agent> = None;
    for agent in config.agents.iter().filter(|agent| agent.default.value) {
        if let Some(first) = default {
            let message =
                format!("`{}` and `{}` are both the default agent", first.name.value, agent.name.value);
            let (at, other) = (&agent.default.origin, &first.default.origin);
            problems.extend(conflict(
                at,
                "a second default",
                other,
                "the first one",
                message,
                "keep one `default=#true`",
            ));
        } else {
            default = Some(agent);
        }
    }
    problems
}

/// Logs are looked for below the home, wherever that is.
fn outside_of_home(pattern: &Sourced<String>) -> Option<Problem> {
    let below = pattern.value.strip_prefix("~/").unwrap_or_default();
    if !below.is_empty() && !below.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return None;
    }
    let message = format!("`{}` is no pattern below the agent's home", escape(&pattern.value));
    let problem = Problem::new(codes::BAD_VALUE, pattern.origin.span.clone()?, "logs of an agent", message);
    Some(problem.help("write it from `~/` on, as in `~/.mine/*.jsonl`"))
}

fn normal(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

fn twice<'a>(
    problems: &mut Vec<Problem>,
    items: impl Iterator<Item = (String, &'a Origin)>,
    message: impl Fn(&str) -> String,
    help: &str,
) {
    let mut seen: HashMap<String, &Origin> = HashMap::new();
    for (key, origin) in items {
        if let Some(first) = seen.get(&key) {
            let message = message(&escape(&key));
            problems.extend(conflict(origin, "the second one", first, "the first one", message, help));
        } else {
            seen.insert(key, origin);
        }
    }
}

fn conflict(
    at: &Origin,
    label: &str,
    other: &Origin,
    other_label: &str,
    message: String,
    help: &str,
) -> Option<Problem> {
    // Built-in values have no place; the other one does.
    let (at, other) = if at.span.is_some() { (at, other) } else { (other, at) };
    let problem = Problem::new(codes::DUPLICATE, at.span.clone()?, label, message).help(help);
    Some(match &other.span {
        Some(span) => problem.also(span.clone(), other_label),
        None => problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;
    use crate::config::decode::tests::decoded;

    #[test]
    fn what_cannot_hold_together_is_a_conflict() {
        for (text, says) in [
            ("mounts { ro a at=\"/x\"; rw b at=\"/x/\" }", "two mounts at `/x`"),
            ("mounts { tmpfs \"/workspace\" }", "two mounts at `/workspace`"),
            ("port 80 to=1\nport \"127.0.0.1:80\"", "two ports at `127.0.0.1:80`"),
            ("agent a default=#true\nagent b default=#true", "both the default"),
            ("env { pass K; secret K host=\"x.org\" from=\"env:K\" }", "`K` is a secret"),
            ("network allowlist { allow \"10.0.0.0/8\" }", "private addresses"),
            ("network allowlist { allow a.test; bytes a.test }", "`bytes` of `a.test` limits nothing"),
            ("agent a { run a; logs \"~/a/*.json\" \"/a/*.json\"; }", "`/a/*.json` is no pattern"),
            ("agent a { run a; logs \"~/../a\"; }", "`~/../a` is no pattern"),
        ] {
            let found = conflicts(&decoded(&[(text, Layer::Project)]));
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].message.contains(says), "{text}: {found:?}");
        }
    }
}
