//! The rules of the gateway, from the lines of the file and from what an agent needs.

use super::Gateway;
use crate::agent;
use crate::config::{Config, NetworkMode, Origin, Verdict};
use crate::policy::host::{Pattern, Rule, WEB};

/// Returns what the gateway decides by; `None` where there is none.
pub fn gateway(config: &Config, at: &dyn Fn(&Origin) -> String) -> Option<Gateway> {
    if config.network.mode.value != NetworkMode::Allowlist {
        return None;
    }
    let mut rules = Vec::new();
    for rule in &config.network.rules {
        // Others are refused as not available, or were no pattern when the file was read.
        let patterns = rule.value.hosts.iter().filter_map(|host| Pattern::parse(host)?.ok());
        rules.extend(patterns.map(|pattern| Rule {
            allow: rule.value.verdict == Verdict::Allow,
            pattern,
            port: rule.value.port,
            origin: at(&rule.origin),
        }));
    }
    for declared in &config.agents {
        for host in &declared.hosts {
            if let Some(Ok(pattern)) = Pattern::parse(&host.value) {
                rules.push(Rule { allow: true, pattern, port: None, origin: at(&host.origin) });
            }
        }
        // One that nobody knows is refused elsewhere.
        let Ok(adapter) = agent::of(declared) else { continue };
        let origin = format!("{}: what `agent {}` needs", at(&declared.name.origin), declared.name.value);
        let needed = adapter.hosts().into_iter().filter_map(|host| Pattern::parse(host)?.ok());
        rules.extend(needed.map(|pattern| Rule { allow: true, pattern, port: None, origin: origin.clone() }));
    }
    let mut ports: Vec<u16> = rules.iter().filter(|rule| rule.allow).filter_map(|rule| rule.port).collect();
    ports.extend(WEB);
    ports.sort_unstable();
    ports.dedup();
    Some(Gateway { rules, ports })
}
