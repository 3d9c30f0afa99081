//! A new item.

use jiff::Timestamp;

use super::history::{Actor, block};
use super::id::time;
use super::kind::{Kind, Shape, category};
use super::scalar;

/// What a new item says.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    pub kind: &'a Kind,
    pub category: Option<&'a str>,
    pub status: Option<&'a str>,
    pub project: &'a str,
    pub title: &'a str,
    pub owner: &'a str,
    pub priority: &'a str,
    pub testable: bool,
    pub note: Option<&'a str>,
    /// Its text; a frame of headings where nobody gives one.
    pub body: Option<&'a str>,
}

/// Returns a title in one line.
pub fn title(words: &str) -> String {
    words
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

impl Draft<'_> {
    /// Returns the text of the item.
    pub fn text(&self, id: &str, actor: &Actor, at: Timestamp) -> String {
        let now = time(at);
        let mut lines: Vec<String> = vec!["schema: coordination-item/v1".into()];
        let mut say = |key: &str, value: &str| lines.push(format!("{key}: {value}"));
        say("id", &scalar::write(id));
        say("type", &scalar::write(&self.kind.name));
        match (self.kind.is_issue(), self.category) {
            (true, Some(name)) => say("category", &scalar::write(&category(name))),
            (true, None) => say("category", "null"),
            (false, _) if self.kind.shape == Shape::History => say("category", "null"),
            (false, _) => {}
        }
        say("status", &scalar::write(self.status.unwrap_or(self.kind.status)));
        say("project", &scalar::write(self.project));
        say("title", &scalar::write(self.title));
        say("owner", &scalar::write(self.owner));
        say("priority", &scalar::write(self.priority));
        say("created", &now);
        say("updated", &now);
        say("done", "null");
        say("closed", "null");
        say("reviewed", "false");
        say("verified", "false");
        if let Shape::Requirement { class, kind } = self.kind.shape {
            say("requirement_key", &scalar::write(id));
            say("requirement_class", class);
            say("requirement_kind", kind);
            say("domain", "requirements");
        }
        // As a word: for older tools it is one.
        say("testable", if self.testable { "yes" } else { "no" });
        say("testability_note", &scalar::write(self.note.unwrap_or_default()));
        say("related", "[]");
        let frame =
            format!("# {}\n\n## Context\n\n## Acceptance criteria\n\n- [ ] To be written", self.title);
        let body = self.body.filter(|body| !body.trim().is_empty()).unwrap_or(&frame);
        if self.kind.shape == Shape::History {
            let actor_lines = [
                "current:".to_owned(),
                "  event: evt-0001".into(),
                "  message: msg-0001".into(),
                "events:".into(),
                "  - id: evt-0001".into(),
                "    type: opened".into(),
                format!("    at: {now}"),
                "    actor:".into(),
                format!("      id: {}", scalar::write(&actor.id)),
                format!("      role: {}", scalar::write(&actor.role)),
                "    message: msg-0001".into(),
                "messages:".into(),
                "  - id: msg-0001".into(),
                "    event: evt-0001".into(),
            ];
            lines.extend(actor_lines);
            lines.extend(block("    ", "body", body));
        } else {
            lines.extend(block("", "body", body));
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::super::{history, item::Head};
    use super::*;

    #[test]
    fn every_kind_is_valid_whatever_it_says() {
        let actor = Actor { id: "a: b".into(), role: "developer".into() };
        for name in [
            "issue",
            "functional-requirement",
            "quality-requirement",
            "constraint-requirement",
            "todo",
            "decision",
            "note",
            "risk",
        ] {
            for title in ["foo: bar", "yes", "🧭 it's", "x"] {
                let kind = Kind::of(name);
                let draft = Draft {
                    kind: &kind,
                    category: Some("bugs"),
                    status: None,
                    project: "1",
                    title,
                    owner: "",
                    priority: "medium",
                    testable: name != "note",
                    note: Some("a: b"),
                    body: None,
                };
                let text = draft.text("P-X-20260102-030405-001", &actor, Timestamp::UNIX_EPOCH);
                let read: std::collections::BTreeMap<String, serde_json::Value> =
                    serde_saphyr::from_str(&text).unwrap();
                assert_eq!(read["title"], title);
                let head = Head::read(&text);
                assert_eq!((head.title.as_str(), head.kind.as_str()), (title, name));
                assert_eq!(history::read(&text).len(), usize::from(kind.shape == Shape::History));
            }
        }
        assert_eq!(title("a\nb\t c\u{1b}d  "), "a b c d");
    }
}
