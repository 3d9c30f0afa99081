//! The history of an item: events, each with a message.

use serde::Serialize;

use super::item::{self, Item, is_history, region};
use super::scalar;

/// A commit of a project: `repo:branch@COMMIT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reference {
    pub repo: String,
    pub branch: String,
    pub commit: String,
}

impl Reference {
    /// Parses the form that people write; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (repo, rest) = text.split_once(':')?;
        let (branch, commit) = rest.rsplit_once('@')?;
        let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_name =
            |name: &str| !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control());
        (is_commit && is_name(repo) && is_name(branch)).then(|| Reference {
            repo: repo.to_owned(),
            branch: branch.to_owned(),
            commit: commit.to_ascii_lowercase(),
        })
    }
}

/// Who does something, and as what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Actor {
    pub id: String,
    /// Empty for none.
    pub role: String,
}

impl Actor {
    /// As people and commits have it.
    pub fn name(&self) -> String {
        match (self.id.as_str(), self.role.as_str()) {
            (id, "") => id.to_owned(),
            ("", role) => role.to_owned(),
            (id, role) => format!("{id}/{role}"),
        }
    }

    /// The address of its commits.
    pub fn address(&self) -> String {
        let mut local = String::new();
        for c in self.name().to_lowercase().chars() {
            match c {
                c if c.is_whitespace() || c == '/' => {
                    if !local.ends_with('+') {
                        local.push('+');
                    }
                }
                c if c.is_ascii_alphanumeric() || "._+-".contains(c) => local.push(c),
                _ => local.push('-'),
            }
        }
        let local = local.trim_matches(['+', '-', '.']);
        format!("{}@coordination.local", if local.is_empty() { "agent" } else { local })
    }
}

/// Something that has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Event {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub at: String,
    pub actor: Actor,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub implementation_refs: Vec<Reference>,
    pub message: String,
}

/// What is to be added.
#[derive(Clone, Debug)]
pub struct New<'a> {
    pub kind: &'a str,
    pub at: &'a str,
    pub actor: &'a Actor,
    /// Whose the item is from now on; for claims alone.
    pub owner: Option<&'a str>,
    pub references: &'a [Reference],
    pub message: &'a str,
}

impl New<'_> {
    /// The lines of the event with this number.
    fn event(&self, number: u32) -> Vec<String> {
        let Actor { id, role } = self.actor;
        let mut lines = vec![
            format!("  - id: evt-{number:04}"),
            format!("    type: {}", self.kind),
            format!("    at: {}", self.at),
            "    actor:".into(),
            format!("      id: {}", scalar::write(id)),
            format!("      role: {}", scalar::write(role)),
            format!("    message: msg-{number:04}"),
        ];
        lines.extend(self.owner.map(|owner| format!("    owner: {}", scalar::write(owner))));
        if !self.references.is_empty() {
            lines.push("    implementation_refs:".into());
        }
        for Reference { repo, branch, commit } in self.references {
            lines.push(format!("      - repo: {}", scalar::write(repo)));
            lines.push(format!("        branch: {}", scalar::write(branch)));
            // Digits alone, and with an `e` among them, would be a number.
            let is_text = commit.bytes().any(|byte| byte.is_ascii_alphabetic() && byte != b'e');
            lines.push(format!(
                "        commit: {}",
                if is_text { commit.clone() } else { format!("'{commit}'") }
            ));
        }
        lines
    }

    fn message(&self, number: u32) -> Vec<String> {
        let mut lines = vec![format!("  - id: msg-{number:04}"), format!("    event: evt-{number:04}")];
        lines.extend(block("    ", "body", self.message));
        lines
    }
}

/// Returns a text over several lines, two deeper than its key.
pub fn block(indent: &str, key: &str, text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let clean = |line: &str| -> String {
        let printable =
            |c: char| if c == '\t' || !(c.is_control() || c == '\u{feff}') { c } else { '\u{fffd}' };
        line.trim_end().chars().map(printable).collect()
    };
    let lines: Vec<String> = text.trim_matches('\n').lines().map(clean).collect();
    let first = lines.iter().position(|line| !line.is_empty()).unwrap_or(lines.len());
    let kept = &lines[first..];
    // How deep a text is, is told by its first line: one that begins with a space says it aloud.
    let depth = if kept.first().is_some_and(|line| line.starts_with([' ', '\t'])) { "2" } else { "" };
    let mut out = vec![format!("{indent}{key}: |{depth}-")];
    out.extend(
        kept.iter().map(|line| if line.is_empty() { String::new() } else { format!("{indent}  {line}") }),
    );
    out
}

impl Item {
    /// Adds an event with its message, and makes it the current one.
    ///
    /// # Errors
    /// The item has no history.
    pub fn add(&mut self, new: &New<'_>) -> Result<(), &'static str> {
        // Of a document with front matter, the history is there.
        let head = &self.lines[..self.end_of_head()];
        let place = |name: &str| head.iter().position(|line| line.trim_end() == name);
        let (Some(_), Some(messages)) = (place("events:"), place("messages:")) else {
            return Err("it has no history");
        };
        let number = self.last_event() + 1;
        let event = new.event(number);
        let count = event.len();
        self.lines.splice(messages..messages, event);
        // Behind the last message, also where somebody has put keys behind them.
        let after = messages + count + 1;
        let is_next = |line: &String| line.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let most = self.end_of_head();
        let end = self.lines[after..most].iter().position(is_next).map_or(most, |at| after + at);
        let end = self.lines[..end].iter().rposition(|line| !line.trim().is_empty()).map_or(end, |at| at + 1);
        self.lines.splice(end..end, new.message(number));
        self.point(number);
        Ok(())
    }

    fn last_event(&self) -> u32 {
        // A message is deeper than that.
        let number = |line: &String| {
            let inner = line.strip_prefix("  ").unwrap_or(line);
            inner.strip_prefix("- id: evt-")?.trim().parse().ok()
        };
        self.lines.iter().filter_map(number).max().unwrap_or(0)
    }

    /// Writes which event is the current one.
    fn point(&mut self, number: u32) {
        let end = self.end_of_head();
        let Some(at) = self.lines[..end].iter().position(|line| line.trim_end() == "current:") else {
            let at = self.lines[..end].iter().position(|line| is_history(line)).unwrap_or(end);
            let lines = [
                "current:".to_owned(),
                format!("  event: evt-{number:04}"),
                format!("  message: msg-{number:04}"),
            ];
            self.lines.splice(at..at, lines);
            return;
        };
        for line in self.lines[at + 1..].iter_mut().take_while(|line| line.starts_with(' ')) {
            for (key, prefix) in [("event", "evt"), ("message", "msg")] {
                if line.trim_start().starts_with(&format!("{key}:")) {
                    *line = format!("  {key}: {prefix}-{number:04}");
                }
            }
        }
    }
}

/// Reads the history of an item, each event with its message, as far as it can be told.
pub fn read(text: &str) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut messages: Vec<(String, String)> = Vec::new();
    let mut part = Part::None;
    // The message whose text follows, and how deep that is.
    let mut body: Option<usize> = None;
    for line in region(text).lines() {
        let inner = line.trim_start();
        let depth = line.len() - inner.len();
        if let Some(least) = body {
            if inner.is_empty() || depth >= least {
                if let Some((_, text)) = messages.last_mut() {
                    text.push_str(line.get(least.min(line.len())..).unwrap_or_default());
                    text.push('\n');
                }
                continue;
            }
            body = None;
        }
        if depth == 0 && !inner.is_empty() {
            part = match line.trim_end() {
                "events:" => Part::Events,
                "messages:" => Part::Messages,
                _ => Part::None,
            };
            continue;
        }
        let (is_new, inner) = inner.strip_prefix("- ").map_or((false, inner), |rest| (true, rest));
        let Some((key, value)) = inner.split_once(':') else { continue };
        let value = scalar::read(value);
        match part {
            Part::None => {}
            Part::Events => {
                if is_new && key == "id" && depth <= 2 {
                    events.push(Event { id: value, ..Event::default() });
                } else if let Some(event) = events.last_mut() {
                    event.take(key, value, depth);
                }
            }
            Part::Messages => {
                if is_new {
                    messages.push((String::new(), String::new()));
                }
                match (key, messages.last_mut()) {
                    ("event", Some((event, _))) => *event = value,
                    ("body", Some((_, text))) if value.starts_with('|') => {
                        text.clear();
                        body = Some(depth + 2);
                    }
                    ("body", Some((_, text))) => *text = value,
                    _ => {}
                }
            }
        }
    }
    for event in &mut events {
        let found = messages.iter().find(|(of, _)| *of == event.id);
        event.message = found.map(|(_, text)| text.trim_end().to_owned()).unwrap_or_default();
    }
    events
}

enum Part {
    None,
    Events,
    Messages,
}

impl Event {
    /// Takes one line of it.
    fn take(&mut self, key: &str, value: String, depth: usize) {
        match (key, depth) {
            ("type", 4) => self.kind = value,
            ("at", 4) => self.at = value,
            ("owner", 4) => self.owner = value,
            ("id", 6) => self.actor.id = value,
            ("role", 6) => self.actor.role = value,
            ("repo", 6) => self.implementation_refs.push(Reference {
                repo: value,
                branch: String::new(),
                commit: String::new(),
            }),
            ("branch", 8) => self
                .implementation_refs
                .iter_mut()
                .last()
                .into_iter()
                .for_each(|one| one.branch.clone_from(&value)),
            ("commit", 8) => self
                .implementation_refs
                .iter_mut()
                .last()
                .into_iter()
                .for_each(|one| one.commit.clone_from(&value)),
            _ => {}
        }
    }
}

/// Returns the text of an item without a history: its body, or what is behind its front matter.
pub fn body(text: &str) -> String {
    let mut lines = text.lines();
    if item::fields(text).any(|(key, value)| key == "body" && value.trim_start().starts_with('|')) {
        let found = lines.find(|line| line.starts_with("body:"));
        let deep = |line: &&str| line.trim().is_empty() || line.starts_with(' ');
        let text: Vec<&str> = lines.take_while(deep).collect();
        let depth = text
            .iter()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.len() - line.trim_start().len());
        let depth = if found.is_some_and(|line| line.contains("|2")) { 2 } else { depth.min().unwrap_or(0) };
        let text: Vec<&str> = text.into_iter().map(|line| line.get(depth..).unwrap_or_default()).collect();
        return text.join("\n").trim_matches('\n').to_owned();
    }
    match text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")) {
        Some((_, body)) => body.trim_matches('\n').to_owned(),
        None => item::get(text, "body"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: &str = "id: P-ISS-1\nstatus: open\ncurrent:\n  event: evt-0001\n  message: msg-0001\nevents:\n\
        \u{20} - id: evt-0001\n    type: opened\n    at: 2026-06-07T20:41:55Z\n    actor:\n      id: agent-a\n      role: null\n\
        \u{20}   message: msg-0001\nmessages:\n  - id: msg-0001\n    event: evt-0001\n    body: |-\n      # Title\n\n      text\n";

    fn actor(id: &str, role: &str) -> Actor {
        Actor { id: id.into(), role: role.into() }
    }

    #[test]
    fn an_event_is_added_with_its_message() {
        let mut item = Item::parse(ITEM);
        let commit = "1234567890123456789012345678901234567890";
        let references = [Reference::parse(&format!("repo:main@{commit}")).unwrap()];
        let actor = actor("agent: a", "developer");
        let message = "    code\n\ncurrent:\nevents:\r\n- id: evt-9999 \u{1b}";
        let new = New {
            kind: "done",
            at: "2026-06-08T00:00:00Z",
            actor: &actor,
            owner: Some("me"),
            references: &references,
            message,
        };
        item.add(&new).unwrap();
        let text = item.text();
        let _document: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let events = read(&text);
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].message, "# Title\n\ntext");
        assert_eq!(events[1].actor, actor);
        assert_eq!((events[1].kind.as_str(), events[1].owner.as_str()), ("done", "me"));
        assert_eq!(events[1].implementation_refs, references);
        assert_eq!(events[1].message, "    code\n\ncurrent:\nevents:\n- id: evt-9999 \u{fffd}");
        assert!(text.contains("current:\n  event: evt-0002\n  message: msg-0002\nevents:"));
        // What is inside of a message counts for nothing.
        item.add(&New { message: "again", ..new }).unwrap();
        assert!(item.text().contains("\n  - id: evt-0003\n"));
    }

    #[test]
    fn keys_behind_the_messages_stay_there() {
        let mut item = Item::parse(&format!("{ITEM}later: 1\n"));
        let actor = actor("a", "");
        item.add(&New {
            kind: "noted",
            at: "now",
            actor: &actor,
            owner: None,
            references: &[],
            message: "m",
        })
        .unwrap();
        assert!(item.text().ends_with("      m\nlater: 1\n"), "{}", item.text());
        let mut todo = Item::parse("id: x\nbody: |-\n  text\n");
        todo.add(&New { kind: "x", at: "", actor: &actor, owner: None, references: &[], message: "" })
            .unwrap_err();
    }

    #[test]
    fn actors_have_names_and_addresses() {
        assert_eq!(actor("pi", "architect").address(), "pi+architect@coordination.local");
        assert_eq!(actor("A b/ c<x>\n", "").address(), "a+b+c-x@coordination.local");
        assert_eq!(actor("", "").address(), "agent@coordination.local");
        assert_eq!(actor("", "tester").name(), "tester");
        for text in ["a:b@c", "a:b@", "a b:c@0123456789012345678901234567890123456789", ":m@", "x"] {
            assert_eq!(Reference::parse(text), None, "{text}");
        }
    }

    #[test]
    fn bodies_are_read_as_they_are_written() {
        for text in ["one\n\n  two", "  deep\nless", "a\tb", "# x"] {
            let item = format!("id: x\n{}\nother: 1\n", block("", "body", text).join("\n"));
            assert_eq!(body(&item), text, "{item}");
            let read: std::collections::BTreeMap<String, serde_json::Value> =
                serde_saphyr::from_str(&item).unwrap();
            assert_eq!(read["body"], text, "{item}");
        }
        assert_eq!(body("---\nid: x\n---\n\ntext\n"), "text");
    }

    proptest::proptest! {
        #[test]
        fn every_message_is_valid_and_comes_back(message in "([ \t]{0,3}[-#:'\"|> a-zé\u{1}]{0,8}\n){0,5}") {
            let mut item = Item::parse(ITEM);
            let actor = actor("a", "");
            item.add(&New { kind: "noted", at: "now", actor: &actor, owner: None, references: &[], message: &message }).unwrap();
            let document: serde_json::Value = serde_saphyr::from_str(&item.text()).unwrap();
            let events = read(&item.text());
            proptest::prop_assert_eq!(document["messages"][1]["body"].as_str().unwrap_or_default(), events[1].message.as_str());
        }
    }
}
