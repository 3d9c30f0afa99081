//! What the file's own `deny` and `bytes` lines take away from a host that it allows, as the end of that sentence: a
//! file without such a line grants more, and what was approved is another sentence.

use std::collections::BTreeSet;
use std::time::Duration;

use super::quoted;
use crate::config::{ByteBudget, Config, HostRule, Sourced, Verdict};
use crate::policy::host::Pattern;
use crate::util::text::{print_bytes, print_duration};

/// Returns the end of a sentence about a host, or pattern, on these ports; empty where nothing is taken away.
///
/// Lines of the user are left out: no repository can remove them.
pub fn narrowed(config: &Config, host: &str, ports: &[u16]) -> String {
    // What is no pattern was refused when the file was read.
    let Ok(host) = Pattern::parse(host) else { return String::new() };
    // Sorted, for the order of lines says nothing.
    let (mut denied, mut capped) = (BTreeSet::new(), BTreeSet::new());
    for Sourced { value: rule, .. } in
        config.network.rules.iter().filter(|rule| rule.origin.is_of_repository())
    {
        if rule.verdict == Verdict::Deny && rule.port.is_none_or(|port| ports.contains(&port)) {
            let parts = rule.hosts.iter().filter_map(|named| part(&host, named));
            denied.extend(parts.map(|part| refused(rule, &part)));
        }
    }
    for Sourced { value: budget, .. } in
        config.network.bytes.iter().filter(|budget| budget.origin.is_of_repository())
    {
        let caps = caps(budget);
        if let Some(part) = part(&host, &budget.host).filter(|_| !caps.is_empty()) {
            capped.insert(format!("{}{part}", caps.join(" and ")));
        }
    }
    let mut text = String::new();
    for (number, denied) in denied.iter().enumerate() {
        text.push_str(if number == 0 { ", but not" } else { ", nor" });
        text.push_str(denied);
    }
    for capped in &capped {
        text.push_str(&format!(", with at most {capped}"));
    }
    text
}

/// Says for which part of a host's pattern a line holds that names `named`: empty for all of it, `None` for nothing.
fn part(host: &Pattern, named: &str) -> Option<String> {
    let line = Pattern::parse(named).ok()?;
    if line.covers(host) {
        return Some(String::new());
    }
    match (host, &line) {
        // A name may lead to any address.
        (Pattern::Name(_) | Pattern::Below(_), Pattern::Addresses(_)) => {
            Some(format!(" at {}", quoted(named)))
        }
        _ if host.covers(&line) => Some(format!(" to {}", quoted(named))),
        _ => None,
    }
}

fn refused(rule: &HostRule, part: &str) -> String {
    let port = rule.port.map_or(String::new(), |port| format!(" on port {port}"));
    let methods = rule.methods.as_ref().map_or(String::new(), |methods| format!(" by {methods}"));
    let paths = rule.paths.as_ref().map_or(String::new(), |paths| format!(" below {}", quoted(paths)));
    let text = format!("{part}{port}{methods}{paths}");
    if text.is_empty() { " at all".to_owned() } else { text }
}

fn caps(budget: &ByteBudget) -> Vec<String> {
    let ByteBudget { up, down, connections, idle, .. } = budget;
    let caps = [
        up.map(|up| format!("{} up", print_bytes(up))),
        down.map(|down| format!("{} down", print_bytes(down))),
        connections.map(|connections| format!("{connections} connections at a time")),
        idle.map(|idle| format!("{} of silence", print_duration(Duration::from_secs(idle)))),
    ];
    caps.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;
    use crate::config::layers::{Inputs, load};
    use crate::policy::host::WEB;

    /// What is taken away from `host` by lines of the user and of the project.
    fn ends(user: &str, project: &str, host: &str) -> String {
        let read = |path: &Utf8Path| {
            let lines = if path == "/user.kdl" { user } else { project };
            Ok(Some(format!("network allowlist {{\n{lines}\n}}").into_bytes()))
        };
        let inputs = Inputs {
            user: Some("/user.kdl".into()),
            project: Some("/p/pier.kdl".into()),
            ..Inputs::default()
        };
        narrowed(&load(&inputs, &read).unwrap().config, host, &WEB)
    }

    #[test]
    fn lines_about_a_host_end_its_sentence() {
        for (lines, host, expected) in [
            ("", "a.x.test", ""),
            ("deny b.x.test; bytes b.x.test up=\"1KiB\"", "a.x.test", ""),
            ("deny a.x.test methods=DELETE", "a.x.test", ", but not by DELETE"),
            ("deny \"*.x.test\" paths=\"/x*\"", "a.x.test", ", but not below `/x*`"),
            ("deny a.x.test", "a.x.test", ", but not at all"),
            ("deny a.x.test", "*.x.test", ", but not to `a.x.test`"),
            (
                "deny \"*.b.x.test\" port=80 methods=PUT",
                "*.x.test",
                ", but not to `*.b.x.test` on port 80 by PUT",
            ),
            ("deny a.x.test port=22", "a.x.test", ""),
            ("deny \"11.0.0.0/8\"", "a.x.test", ", but not at `11.0.0.0/8`"),
            ("deny \"11.2.0.0/16\"", "11.0.0.0/8", ", but not to `11.2.0.0/16`"),
            ("deny \"11.0.0.0/8\"", "11.2.0.0/16", ", but not at all"),
            ("deny \"11.0.0.0/8\"", "12.0.0.0/8", ""),
            (
                "deny a.x.test methods=PUT; deny a.x.test paths=\"/x\"; bytes a.x.test up=\"1KiB\"",
                "a.x.test",
                ", but not below `/x`, nor by PUT, with at most 1KiB up",
            ),
            (
                "bytes a.x.test up=\"1KiB\"; deny a.x.test paths=\"/x\"; deny a.x.test methods=PUT",
                "a.x.test",
                ", but not below `/x`, nor by PUT, with at most 1KiB up",
            ),
            (
                "bytes \"*.x.test\" up=\"1KiB\" down=\"2MiB\" connections=3 idle=\"90s\"",
                "a.x.test",
                ", with at most 1KiB up and 2MiB down and 3 connections at a time and 1m30s of silence",
            ),
            ("bytes a.x.test up=\"1KiB\"", "*.x.test", ", with at most 1KiB up to `a.x.test`"),
        ] {
            assert_eq!(ends("", lines, host), expected, "{lines} / {host}");
        }
    }

    #[test]
    fn lines_of_the_user_are_no_part_of_what_is_approved() {
        let lines = "deny a.x.test methods=PUT; bytes a.x.test up=\"1KiB\"";
        assert_eq!(ends(lines, "", "a.x.test"), "");
        // The project's `bytes` go before the user's.
        assert_eq!(ends(lines, "bytes a.x.test up=\"1GiB\"", "a.x.test"), ", with at most 1GiB up");
    }
}
