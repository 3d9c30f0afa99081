//! One item: its lines, of which those that nobody changes stay as they are.

use super::scalar;

/// The most that is read of one item, in bytes.
pub const MOST: u64 = 4 << 20;

/// What every item says at its beginning. What a file lacks is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub id: String,
    pub kind: String,
    pub category: String,
    pub status: String,
    pub project: String,
    pub title: String,
    pub owner: String,
    pub priority: String,
    pub created: String,
    pub updated: String,
    pub reviewed: String,
    pub verified: String,
    /// Until when the claim holds, as pier writes it; nothing for a claim without an end.
    pub lease: String,
}

impl Head {
    /// Reads the first line of each key.
    pub fn read(text: &str) -> Self {
        let mut head = Head::default();
        for (key, value) in fields(text) {
            let slot = match key {
                "id" => &mut head.id,
                "type" => &mut head.kind,
                "category" => &mut head.category,
                "status" => &mut head.status,
                "project" => &mut head.project,
                "title" => &mut head.title,
                "owner" => &mut head.owner,
                "priority" => &mut head.priority,
                "created" => &mut head.created,
                "updated" => &mut head.updated,
                "reviewed" => &mut head.reviewed,
                "verified" => &mut head.verified,
                "lease" => &mut head.lease,
                // Nothing of the head is behind its history.
                "events" => break,
                _ => continue,
            };
            if slot.is_empty() {
                *slot = scalar::read(value);
            }
        }
        head
    }

    /// Says whether a flag is set, as people write it.
    pub fn is_set(value: &str) -> bool {
        value.eq_ignore_ascii_case("true")
    }
}

/// Returns the keys at the beginning of a line, each with what stands behind its colon. Of a document with front matter,
/// only that is read.
pub fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    region(text).lines().filter_map(field)
}

/// Returns the part in which keys are: between the marks of front matter, or everything.
pub(super) fn region(text: &str) -> &str {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Some(rest) = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n")) else { return text };
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return &rest[..at];
        }
        at += line.len();
    }
    rest
}

fn field(line: &str) -> Option<(&str, &str)> {
    let first = *line.as_bytes().first()?;
    if !first.is_ascii_alphanumeric() && first != b'_' {
        return None;
    }
    let (key, value) = line.split_once(':')?;
    let is_key = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let value = value.trim_end_matches('\r');
    (is_key && (value.is_empty() || value.starts_with([' ', '\t']))).then_some((key, value))
}

/// Returns the first value of a key; nothing where the item has none.
pub fn get(text: &str, key: &str) -> String {
    fields(text).find(|(name, _)| *name == key).map(|(_, value)| scalar::read(value)).unwrap_or_default()
}

/// An item that is being changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub(super) lines: Vec<String>,
    /// Its lines end as those of DOS.
    is_dos: bool,
}

impl Item {
    pub fn parse(text: &str) -> Self {
        let lines: Vec<String> = match text.strip_suffix('\n').unwrap_or(text) {
            "" => Vec::new(),
            text => text.split('\n').map(str::to_owned).collect(),
        };
        let is_dos = 2 * lines.iter().filter(|line| line.ends_with('\r')).count() > lines.len();
        Item { lines, is_dos }
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(if self.is_dos { line.trim_end_matches('\r') } else { line });
            text.push_str(if self.is_dos { "\r\n" } else { "\n" });
        }
        text
    }

    pub fn get(&self, key: &str) -> String {
        let line = self.lines.iter().filter_map(|line| field(line)).find(|(name, _)| *name == key);
        line.map(|(_, value)| scalar::read(value)).unwrap_or_default()
    }

    /// Sets a key to a text.
    pub fn set(&mut self, key: &str, text: &str) {
        self.set_raw(key, &scalar::write(text));
    }

    /// Sets a key to what is YAML already: every line of that key, or a new one before the history.
    pub fn set_raw(&mut self, key: &str, value: &str) {
        let mut found = false;
        let end = self.end_of_head();
        for line in &mut self.lines[..end] {
            if let Some((_, before)) = field(line).filter(|(name, _)| *name == key) {
                let comment = scalar::comment(before).unwrap_or_default().to_owned();
                *line = format!("{key}: {value}{comment}");
                found = true;
            }
        }
        if !found {
            let at = self.lines.iter().position(|line| is_history(line)).unwrap_or(end);
            self.lines.insert(at.min(end), format!("{key}: {value}"));
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        let end = self.end_of_head();
        let mut index = 0;
        self.lines.retain(|line| {
            index += 1;
            index > end || field(line).is_none_or(|(name, _)| name != key)
        });
    }

    /// Sets a key to a list of values that are YAML already, in one line.
    pub fn set_list(&mut self, key: &str, values: &[String]) {
        if let Some((from, to)) = self.list(key) {
            self.lines.drain(from..to);
        }
        self.set_raw(key, &format!("[{}]", values.join(", ")));
    }

    /// Says whether a key has a list of lines.
    pub fn has_list(&self, key: &str) -> bool {
        self.list(key).is_some_and(|(from, to)| to > from)
    }

    /// Adds a line to the list of a key, unless it is there.
    pub fn push(&mut self, key: &str, value: &str) {
        let Some((from, to)) = self.list(key) else { return };
        let line = format!("  - {value}");
        if !self.lines[from..to].iter().any(|known| known.trim_end() == line) {
            self.lines.insert(to, line);
        }
    }

    /// The lines of the list of a key.
    fn list(&self, key: &str) -> Option<(usize, usize)> {
        let from = self.lines.iter().position(|line| field(line).is_some_and(|(name, _)| name == key))? + 1;
        let is_item = |line: &&String| line.trim_start().starts_with("- ") || line.trim() == "-";
        Some((from, from + self.lines[from..].iter().take_while(is_item).count()))
    }

    /// Where keys end: at the end of front matter, or of the file.
    pub(super) fn end_of_head(&self) -> usize {
        let is_mark = |line: &String| line.trim_end() == "---";
        if !self.lines.first().is_some_and(is_mark) {
            return self.lines.len();
        }
        self.lines.iter().skip(1).position(is_mark).map_or(self.lines.len(), |at| at + 1)
    }
}

/// Says whether the history begins with this line.
pub(super) fn is_history(line: &str) -> bool {
    matches!(line.trim_end(), "current:" | "events:" | "messages:")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "schema: coordination-item/v1\n# a comment\nid: P-ISS-1\ntitle: 'a: b' # why\nowner: null\n\
                        unknown: [1, 2]\ncurrent:\n  event: evt-0001\nevents:\n  - id: evt-0001\nmessages:\n";

    #[test]
    fn what_nobody_changes_stays() {
        let mut item = Item::parse(TEXT);
        assert_eq!(
            (item.get("title"), item.get("owner"), item.get("absent")),
            ("a: b".into(), String::new(), String::new())
        );
        assert_eq!(item.text(), TEXT);
        item.set("title", "yes");
        item.set("owner", "agent-a");
        item.set_raw("lease", "2026-01-02T03:04:05Z");
        let expected = TEXT
            .replace("'a: b'", "'yes'")
            .replace("owner: null", "owner: agent-a")
            .replace("current:", "lease: 2026-01-02T03:04:05Z\ncurrent:");
        assert_eq!(item.text(), expected);
        item.remove("lease");
        assert!(!item.text().contains("lease"));
    }

    #[test]
    fn lines_end_as_they_did() {
        let text = TEXT.replace('\n', "\r\n");
        let mut item = Item::parse(&text);
        assert_eq!(item.text(), text);
        item.set("owner", "me");
        item.set("lease", "now");
        let expected = TEXT.replace("owner: null", "owner: me").replace("current:", "lease: now\ncurrent:");
        assert_eq!(item.text(), expected.replace('\n', "\r\n"));
        // One line that ends otherwise stays the only one.
        let mixed = TEXT.replace("unknown: [1, 2]\n", "unknown: [1, 2]\r\n");
        assert_eq!(Item::parse(&mixed).text(), mixed);
    }

    #[test]
    fn a_head_is_read_from_the_first_lines_of_its_keys() {
        let head = Head::read(TEXT);
        assert_eq!((head.id.as_str(), head.title.as_str()), ("P-ISS-1", "a: b"));
        let document = "---\r\nid: X\r\n---\r\nid: Y\nstatus: open\n";
        assert_eq!((Head::read(document).id.as_str(), Head::read(document).status.as_str()), ("X", ""));
        // A body at the beginning of a line, a key without a space, a conflict.
        let odd = "<<<<<<< HEAD\nid:x\nid: Z\n=======\n  id: inner\n";
        assert_eq!(Head::read(odd).id, "Z");
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_odd(text in "(---\n)?([a-z]{0,3}:? ?['\"|#]?[ -~é]{0,9}\r?\n){0,12}") {
            let _head = Head::read(&text);
            let mut item = Item::parse(&text);
            item.set("title", "x: y");
            proptest::prop_assert_eq!(item.get("title"), "x: y");
        }
    }
}
