//! One role file: Markdown with front matter, as `ROLE_FILE_SCHEMA.md` of the Pi package describes it.
//!
//! The front matter looks like YAML and is less: the format has its own rules for lists and quotes, and files of
//! other authors rely on them. So it is read by hand.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Name, Role, Thinking, Value};

/// What makes a role complete: headings of level 2 or 3.
pub const SECTIONS: [&str; 6] = [
    "Mission",
    "Allowed actions",
    "Forbidden actions",
    "One-cycle workflow",
    "Expected final report",
    "Coordination behavior",
];

/// Whether a role without some section is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sections {
    Required,
    /// Each missing one is a warning.
    Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The file is no role.
    Error,
    Warning,
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub weight: Weight,
    /// In bytes of the text.
    pub at: Range<usize>,
    pub message: String,
    /// The section that is missing, where that is what is wrong.
    pub section: Option<&'static str>,
}

/// What a text came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// `None` beside an error.
    pub role: Option<Role>,
    pub findings: Vec<Finding>,
}

/// A line without its end, and its place in the text.
struct Line<'a> {
    text: &'a str,
    at: Range<usize>,
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut start = 0;
    let line = |whole: &'_ str| {
        let end = whole.trim_end_matches('\n');
        let end = end.strip_suffix('\r').filter(|_| whole.ends_with('\n')).unwrap_or(end).len();
        let at = start..start + end;
        start += whole.len();
        at
    };
    let places: Vec<Range<usize>> = text.split_inclusive('\n').map(line).collect();
    places.into_iter().map(|at| Line { text: &text[at.clone()], at }).collect()
}

/// A key of the front matter, with its value and its line.
struct Field {
    value: Value,
    at: Range<usize>,
}

struct Reader {
    fields: BTreeMap<String, Field>,
    findings: Vec<Finding>,
    /// The first line, for what is missing.
    top: Range<usize>,
}

/// Reads a role file.
pub fn parse(text: &str, sections: Sections) -> Parsed {
    // The mark counts for nothing but its bytes.
    let begin = text.strip_prefix('\u{feff}').map_or(0, |rest| text.len() - rest.len());
    let all = lines(&text[begin..]);
    let all: Vec<Line<'_>> = all
        .into_iter()
        .map(|line| Line { text: line.text, at: line.at.start + begin..line.at.end + begin })
        .collect();
    let top = all.first().map_or(0..0, |line| line.at.clone());
    let refuse = |message: &str| {
        let finding =
            Finding { weight: Weight::Error, at: top.clone(), message: message.to_owned(), section: None };
        Parsed { role: None, findings: vec![finding] }
    };
    let is_fence = |line: &Line<'_>| line.text.trim_end() == "---";
    if !all.first().is_some_and(is_fence) {
        return refuse("the file does not begin with front matter between `---` lines");
    }
    let Some(length) = all[1..].iter().position(is_fence) else {
        return refuse("the front matter has no `---` line at its end");
    };
    let mut reader = Reader { fields: BTreeMap::new(), findings: Vec::new(), top };
    reader.read(&all[1..=length]);
    let rest: Vec<&str> = all[length + 2..].iter().map(|line| line.text).collect();
    let body = rest.join("\n").trim().to_owned();
    reader.role(body, sections)
}

impl Reader {
    fn find(&mut self, weight: Weight, at: Range<usize>, message: String) {
        self.findings.push(Finding { weight, at, message, section: None });
    }

    fn read(&mut self, lines: &[Line<'_>]) {
        // The key whose items the next lines may be.
        let mut open: Option<String> = None;
        // The fence is the first line.
        for (number, line) in (2..).zip(lines) {
            let trimmed = line.text.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let item = item(line.text);
            if let (Some(item), Some(key)) = (item, &open)
                && let Some(Field { value: Value::List(items), .. }) = self.fields.get_mut(key)
            {
                items.push(unquoted(item).to_owned());
                continue;
            }
            let Some((key, value)) = field(line.text).filter(|_| item.is_none()) else {
                let message = format!("line {number} is neither `key: value` nor an item of a list");
                self.find(Weight::Error, line.at.clone(), message);
                continue;
            };
            open = value.is_empty().then(|| key.to_owned());
            let value = match value {
                "" => Value::List(Vec::new()),
                _ if value.len() > 1 && value.starts_with('[') && value.ends_with(']') => {
                    Value::List(inline(value))
                }
                _ => Value::Text(unquoted(value).to_owned()),
            };
            self.fields.insert(key.to_owned(), Field { value, at: line.at.clone() });
        }
    }

    /// Takes a field that has to be there.
    fn required(&mut self, key: &str) -> (String, Range<usize>) {
        let field = self.fields.remove(key);
        let at = field.as_ref().map_or_else(|| self.top.clone(), |field| field.at.clone());
        match field.map(|field| field.value) {
            Some(Value::Text(text)) if !text.trim().is_empty() => (text, at),
            _ => {
                self.find(Weight::Error, at.clone(), format!("`{key}` is missing or empty"));
                (String::new(), at)
            }
        }
    }

    /// Takes a field that may be left out, which is what a key without a value says.
    fn optional(&mut self, key: &str) -> Option<(String, Range<usize>)> {
        let Field { value, at } = self.fields.remove(key)?;
        match value {
            Value::Text(text) => Some((text, at)),
            Value::List(items) if items.is_empty() => None,
            Value::List(_) => {
                self.find(Weight::Error, at, format!("`{key}` is one value, not a list"));
                None
            }
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.optional(key).map(|(text, _)| text)
    }

    fn thinking(&mut self) -> Option<Thinking> {
        let (word, at) = self.optional("thinking")?;
        let level = Thinking::parse(&word);
        if level.is_none() {
            let words: Vec<&str> = Thinking::WORDS.iter().map(|(word, _)| *word).collect();
            self.find(Weight::Error, at, format!("`thinking` is one of {}", words.join(", ")));
        }
        level
    }

    fn tools(&mut self) -> Option<Vec<String>> {
        let Field { value, at } = self.fields.remove("tools")?;
        let Value::List(items) = value else {
            self.find(Weight::Error, at, "`tools` is a list".to_owned());
            return None;
        };
        let mut tools: Vec<String> = Vec::new();
        for item in items {
            if !tools.contains(&item) {
                tools.push(item);
            }
        }
        Some(tools)
    }

    fn role(mut self, body: String, sections: Sections) -> Parsed {
        let (name, at) = self.required("name");
        let name = Name::parse(&name).or_else(|| {
            if !name.is_empty() {
                let rule = "`name` has lower-case letters, digits, `-` and `_`, and begins with a letter";
                self.find(Weight::Error, at, rule.to_owned());
            }
            None
        });
        let (description, _) = self.required("description");
        let thinking = self.thinking();
        let tools = self.tools();
        let (icon, coord_committer) = (self.text("icon"), self.text("coordCommitter"));
        let (provider, model) = (self.text("provider"), self.text("model"));
        let top = self.top.clone();
        if body.is_empty() {
            let message = "the file has no instructions below its front matter".to_owned();
            self.find(Weight::Error, top.clone(), message);
        }
        let weight = if sections == Sections::Required { Weight::Error } else { Weight::Warning };
        for section in SECTIONS.into_iter().filter(|section| !has_section(&body, section)) {
            let message = format!("the section `{section}` is missing");
            self.findings.push(Finding { weight, at: top.clone(), message, section: Some(section) });
        }
        let Reader { fields, findings, .. } = self;
        let is_role = findings.iter().all(|finding| finding.weight == Weight::Warning);
        let other = fields.into_iter().map(|(key, field)| (key, field.value)).collect();
        let role = name.filter(|_| is_role).map(|name| Role {
            name,
            description,
            icon,
            thinking,
            tools,
            coord_committer,
            provider,
            model,
            other,
            body,
        });
        Parsed { role, findings }
    }
}

/// Returns what an item of a list says.
fn item(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix('-')?;
    let text = rest.trim();
    (rest.starts_with(char::is_whitespace) && !text.is_empty()).then_some(text)
}

/// Splits `key: value`.
fn field(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let key = key.trim_end();
    let begins = key.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    let is_key = begins && key.chars().all(letter);
    let is_apart = value.is_empty() || value.starts_with(char::is_whitespace);
    (is_key && is_apart).then(|| (key, value.trim()))
}

/// Takes off the quotes that YAML would.
fn unquoted(text: &str) -> &str {
    let inner = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

/// Reads `[…]`: JSON, or else words with commas between them.
fn inline(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| {
        let words = text[1..text.len() - 1].split(',').map(|word| unquoted(word.trim()));
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    })
}

fn has_section(body: &str, name: &str) -> bool {
    let heading = |line: &str| {
        let rest = line.trim_start_matches('#');
        let depth = line.len() - rest.len();
        let is_heading = (2..=3).contains(&depth) && rest.starts_with(char::is_whitespace);
        is_heading && rest.trim().trim_end_matches('#').trim_end().eq_ignore_ascii_case(name)
    };
    body.split('\n').any(heading)
}

/// Returns the file that says what a role says.
pub fn render(role: &Role) -> String {
    let mut out = String::from("---\n");
    let mut line = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            out.push_str(&format!("{key}: \"{value}\"\n"));
        }
    };
    line("name", Some(role.name.as_str()));
    line("description", Some(&role.description));
    line("icon", role.icon.as_deref());
    line("thinking", role.thinking.map(Thinking::word));
    line("coordCommitter", role.coord_committer.as_deref());
    line("provider", role.provider.as_deref());
    line("model", role.model.as_deref());
    if let Some(tools) = &role.tools {
        out.push_str(&format!("tools: {}\n", serde_json::Value::from(tools.clone())));
    }
    out.push_str(&format!("---\n\n{}\n", role.body));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "## Mission\n\n### allowed ACTIONS\n## Forbidden actions ##\n## One-cycle workflow\n\
        ## Expected final report\n## Coordination behavior\n";

    fn parsed(front: &str) -> Parsed {
        parse(&format!("---\n{front}\n---\n{BODY}"), Sections::Wanted)
    }

    fn role(front: &str) -> Role {
        let parsed = parsed(&format!("name: x\ndescription: y\n{front}"));
        assert_eq!(parsed.findings, []);
        parsed.role.unwrap()
    }

    /// The lines, from 1, and the messages of the errors.
    fn errors(text: &str, sections: Sections) -> Vec<(usize, String)> {
        let parsed = parse(text, sections);
        let errors: Vec<_> =
            parsed.findings.into_iter().filter(|finding| finding.weight == Weight::Error).collect();
        assert_eq!(parsed.role.is_none(), !errors.is_empty());
        let line = |finding: Finding| (text[..finding.at.start].matches('\n').count() + 1, finding.message);
        errors.into_iter().map(line).collect()
    }

    #[test]
    fn lists_are_json_or_words_or_items() {
        let tools = |front: &str| role(front).tools.unwrap();
        assert_eq!(tools("tools: [\"read\", \"a,b\"]"), ["read", "a,b"]);
        assert_eq!(tools("tools: [read, 'ls', ,read]"), ["read", "ls"]);
        assert_eq!(tools("tools:\n  - read\n# a comment\n\n- \"ls\""), ["read", "ls"]);
        assert_eq!(tools("tools: []"), [""; 0]);
        assert_eq!(tools("tools:"), [""; 0]);
        assert_eq!(role("").tools, None);
    }

    #[test]
    fn a_key_without_a_value_is_as_good_as_none() {
        let role = role("thinking:\ncoordCommitter:\nicon:");
        assert_eq!((role.thinking, role.coord_committer, role.icon), (None, None, None));
    }

    #[test]
    fn a_mark_and_the_line_ends_of_windows_are_accepted() {
        let text =
            format!("\u{feff}---\r\nname: x\r\ndescription: y\r\n---\r\n{}", BODY.replace('\n', "\r\n"));
        let role = parse(&text, Sections::Required).role.unwrap();
        assert_eq!(role.description, "y");
        assert!(!role.body.contains('\r'), "{:?}", role.body);
        let text = "\u{feff}---\r\nname: x\r\nwhat\r\n---\r\n";
        assert_eq!(errors(text, Sections::Wanted)[0].0, 3);
    }

    #[test]
    fn what_is_unknown_is_kept() {
        let role = role("owner: \"me: too\"\nlabels: [a]");
        assert_eq!(role.other["owner"], Value::Text("me: too".into()));
        assert_eq!(role.other["labels"], Value::List(vec!["a".into()]));
    }

    #[test]
    fn each_error_has_its_line() {
        let one = |front: &str| {
            let text = format!("---\nname: x\ndescription: y\n{front}\n---\n{BODY}");
            errors(&text, Sections::Required)
        };
        for (front, word) in [
            ("thinking: much", "`thinking` is one of off"),
            ("tools: read, ls", "`tools` is a list"),
            ("icon: [a, b]", "not a list"),
            ("no key", "neither"),
            (" indented: x", "neither"),
            ("key:value", "neither"),
            ("- item", "neither"),
        ] {
            let found = one(front);
            assert_eq!(found.len(), 1, "{front}: {found:?}");
            assert_eq!(found[0].0, 4, "{front}");
            assert!(found[0].1.contains(word), "{front}: {}", found[0].1);
        }
        let found = errors(&format!("---\nname: X\n---\n{BODY}"), Sections::Wanted);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 1]);
        for text in ["", "# x", "---\nname: x", "--- x\n---\n"] {
            assert_eq!(errors(text, Sections::Wanted).len(), 1, "{text:?}");
        }
        let empty = errors("---\nname: x\ndescription: y\n---\n \n", Sections::Wanted);
        assert!(empty[0].1.contains("no instructions"), "{empty:?}");
    }

    #[test]
    fn sections_are_required_of_bundled_roles_alone() {
        let text = "---\nname: x\ndescription: y\n---\n## Mission\nwork\n#### Allowed actions\n";
        assert_eq!(errors(text, Sections::Required).len(), 5);
        let parsed = parse(text, Sections::Wanted);
        assert_eq!(parsed.findings.len(), 5);
        assert_eq!(parsed.role.unwrap().body, "## Mission\nwork\n#### Allowed actions");
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in "(---\n)?[ -~\u{feff}\r\n#:\\[\\]'\"ä-]{0,80}(\n---\n)?(\\PC|\n){0,40}") {
            let parsed = parse(&text, Sections::Wanted);
            for finding in &parsed.findings {
                proptest::prop_assert!(text.get(finding.at.clone()).is_some());
            }
        }

        #[test]
        fn what_is_written_is_read_again(
            description in "[^\r\n\\s][^\r\n]{0,20}[^\r\n\\s]",
            tools in proptest::option::of(proptest::collection::btree_set("\\PC{1,8}", 0..4)),
            body in "[a-z#]{1,10}\n?[a-z#]{1,10}",
        ) {
            let tools = tools.map(|tools| tools.into_iter().collect());
            let thinking = Some(Thinking::Xhigh);
            let written = Role { description, thinking, tools, body, ..role("icon: \"'q'\"\nmodel: a/b") };
            let again = parse(&render(&written), Sections::Wanted).role;
            proptest::prop_assert_eq!(again, Some(written));
        }
    }
}
