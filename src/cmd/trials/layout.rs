//! Where a directory with logs of an agent lies in a trial: as if its logs had been found one by one.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use crate::agent;
use crate::agent::layout::of_log;

/// Returns the place of a directory that somebody names, which has these entries: the same as if its logs had been found.
pub fn of_directory(agent: &str, path: &Utf8Path, entries: &[String]) -> Utf8PathBuf {
    // It is a session as pier and the older tool keep them.
    if entries.iter().any(|name| name == "sessions" || *name == format!("{agent}.txt")) {
        return Utf8PathBuf::new();
    }
    // One of a form that may lie where the trial's own trajectory does.
    if agent::find(agent).is_err() && !agent::is_known(agent) {
        return "logs".into();
    }
    let names = path.components().filter_map(|part| match part {
        Utf8Component::Normal(name) => Some(name),
        _ => None,
    });
    let names: Vec<&str> = names.collect();
    let home = agent::find(agent).ok();
    let first = home
        .and_then(|known| known.logs().first().and_then(|logs| logs.split('/').next().map(str::to_owned)));
    let last = names.last().copied().unwrap_or("session");
    let below = first.and_then(|first| names.iter().rposition(|name| *name == first));
    match (agent, below) {
        ("gemini-cli", _) | (_, None) if !matches!(agent, "claude-code" | "codex") => Utf8PathBuf::new(),
        (_, Some(index)) if index + 1 < names.len() => {
            of_log(agent, &names[index..].iter().collect::<Utf8PathBuf>())
        }
        ("codex", _) if last == "sessions" => "sessions".into(),
        ("codex", _) => Utf8Path::new("sessions").join(last),
        (_, _) if last == "projects" => "sessions/projects".into(),
        (_, _) => Utf8Path::new("sessions/projects").join(last),
    }
}

/// Gives the newest log of Gemini CLI in a directory that was named the name that it is looked for by.
pub fn rename(agent: &str, directory: &Utf8Path) -> std::io::Result<()> {
    if agent != "gemini-cli" {
        return Ok(());
    }
    let mut logs = Vec::new();
    for place in [directory.to_owned(), directory.join("chats")] {
        // Their names have the time.
        let is_log = |path: &Utf8Path| {
            path.file_name().is_some_and(|name| name.starts_with("session-"))
                && matches!(path.extension(), Some("json" | "jsonl"))
        };
        let entries = place.read_dir_utf8().into_iter().flatten().flatten();
        logs.extend(entries.map(camino::Utf8DirEntry::into_path).filter(|path| is_log(path)));
    }
    let newest = logs.into_iter().max_by_key(|path| path.file_name().map(str::to_owned));
    newest.map_or(Ok(()), |path| std::fs::rename(&path, directory.join(of_log(agent, &path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_named_lies_where_its_logs_would_have_been_put() {
        for (agent, path, entry, expected) in [
            ("claude-code", "/home/pier/.claude/projects/-app", "1.jsonl", "sessions/projects/-app"),
            ("claude-code", "/home/pier/.claude/projects/", "-app", "sessions/projects"),
            ("claude-code", "/copy/-app", "1.jsonl", "sessions/projects/-app"),
            ("claude-code", "/logs/agent", "sessions", ""),
            ("codex", "/home/pier/.codex/sessions", "2026", "sessions"),
            ("codex", "/home/pier/.codex/sessions/2026/01/02", "rollout-1.jsonl", "sessions/2026/01/02"),
            ("codex", "/copy/x", "rollout-1.jsonl", "sessions/x"),
            ("pi", "/home/pier/.pi/agent/sessions/x", "1.jsonl", "logs/pi/agent/sessions/x"),
            ("pi", "/copy", "1.jsonl", ""),
            ("gemini-cli", "/home/pier/.gemini/tmp/x", "chats", ""),
            ("goose", "/copy", "goose.txt", ""),
            ("mine", "/copy", "trajectory.json", "logs"),
            ("mine", "/ws/.pier/_harbor/agent/exec/x", "mine.txt", ""),
        ] {
            assert_eq!(of_directory(agent, path.into(), &[entry.to_owned()]), expected, "{agent} {path}");
        }
    }
}
