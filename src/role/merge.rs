//! All roles as one list: of two with the same name, the one of the later source counts.

use std::collections::BTreeMap;

use super::file::{self, Finding, Sections, Weight};
use super::{Document, Known, Name, Overridden, Role, Source, Thinking, package};

/// A `role` node of the configuration, all layers applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    pub name: String,
    pub tools: Option<Vec<String>>,
    pub thinking: Option<String>,
    /// What its `file` holds.
    pub document: Option<Document>,
    /// `pier.kdl:9`.
    pub place: String,
}

/// Findings in one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The file, or the line of `pier.kdl`.
    pub name: String,
    /// Empty where nothing could be read.
    pub text: String,
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Something about a whole file that has no text to point into.
    pub fn of_file(name: impl Into<String>, message: impl Into<String>) -> Self {
        let finding = Finding { weight: Weight::Error, at: 0..0, message: message.into(), section: None };
        Checked { name: name.into(), text: String::new(), findings: vec![finding] }
    }

    /// Returns the findings as the Pi package says them, but for sections, of which all are in one line.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let others = self.findings.iter().filter(|finding| finding.section.is_none());
        let sections: Vec<&str> = self.findings.iter().filter_map(|finding| finding.section).collect();
        let sections = (!sections.is_empty()).then(|| format!("sections missing: {}", sections.join(", ")));
        others
            .map(|finding| finding.message.clone())
            .chain(sections)
            .map(|line| format!("role-manager: {}: {line}", self.name))
    }
}

/// Every role there is, and what is wrong with the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    known: BTreeMap<Name, Known>,
    pub checked: Vec<Checked>,
}

impl Roles {
    /// Merges the bundled roles, files, and what the configuration declares.
    pub fn merge(documents: Vec<Document>, declared: Vec<Declared>) -> Self {
        let mut roles = Roles::default();
        for (name, text) in package::roles() {
            roles.read(Source::Bundled, name, text, Sections::Required);
        }
        for Document { source, path, text } in documents {
            match text {
                Ok(text) => roles.read(source, path.as_str(), &text, Sections::Wanted),
                Err(why) => roles.checked.push(Checked::of_file(path, why)),
            }
        }
        for declared in declared {
            roles.declare(declared);
        }
        roles
    }

    pub fn iter(&self) -> impl Iterator<Item = &Known> {
        self.known.values()
    }

    pub fn find(&self, name: &str) -> Option<&Known> {
        self.known.get(&Name::parse(name)?)
    }

    fn read(&mut self, source: Source, name: &str, text: &str, sections: Sections) {
        let file::Parsed { role, findings } = file::parse(text, sections);
        if !findings.is_empty() {
            self.checked.push(Checked { name: name.to_owned(), text: text.to_owned(), findings });
        }
        if let Some(role) = role {
            self.add(source, name, role);
        }
    }

    fn add(&mut self, source: Source, place: &str, role: Role) {
        let mut overrides = Vec::new();
        if let Some(before) = self.known.remove(&role.name) {
            overrides = before.overrides;
            let tools = before.role.tools;
            overrides.push(Overridden { source: before.source, place: before.place, tools });
        }
        let known = Known { source, place: place.to_owned(), overrides, role };
        self.known.insert(known.role.name.clone(), known);
    }

    /// Adds a `role` node: of its file, or else of the role below that it changes.
    fn declare(&mut self, declared: Declared) {
        let Declared { name, tools, thinking, document, place } = declared;
        let Some(name) = Name::parse(&name) else {
            let rule = "a role has a name of lower-case letters, digits, `-` and `_`";
            return self.checked.push(Checked::of_file(place, rule));
        };
        let below = self.known.get(&name).map(|known| known.role.clone());
        let role = match document {
            None => below.ok_or_else(|| {
                let message = format!("the role `{}` has no instructions: `file` names them", name.as_str());
                Checked::of_file(&place, message)
            }),
            Some(Document { path, text: Err(why), .. }) => Err(Checked::of_file(path, why)),
            Some(Document { path, text: Ok(text), .. }) => self.of_file(&name, path.as_str(), &text, &place),
        };
        let mut role = match role {
            Ok(role) => role,
            Err(checked) => return self.checked.push(checked),
        };
        role.name = name;
        role.tools = tools.or(role.tools);
        role.thinking = thinking.as_deref().and_then(Thinking::parse).or(role.thinking);
        self.add(Source::Configuration, &place, role);
    }

    /// Reads the file of a node: a role file, or nothing but instructions.
    fn of_file(&mut self, name: &Name, path: &str, text: &str, place: &str) -> Result<Role, Checked> {
        if text.trim_start_matches('\u{feff}').starts_with("---") {
            let file::Parsed { role, findings } = file::parse(text, Sections::Wanted);
            let checked = Checked { name: path.to_owned(), text: text.to_owned(), findings };
            let role = role.ok_or_else(|| checked.clone())?;
            if !checked.findings.is_empty() {
                self.checked.push(checked);
            }
            return Ok(role);
        }
        let body = text.trim().replace("\r\n", "\n");
        if body.is_empty() {
            return Err(Checked::of_file(path, "the file has no instructions"));
        }
        Ok(Role {
            name: name.clone(),
            description: format!("Declared in {place}."),
            icon: None,
            thinking: None,
            tools: None,
            coord_committer: None,
            provider: None,
            model: None,
            other: BTreeMap::new(),
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(source: Source, path: &str, text: &str) -> Document {
        Document { source, path: path.into(), text: Ok(text.to_owned()) }
    }

    fn reviewer(description: &str) -> String {
        format!("---\nname: reviewer\ndescription: {description}\ntools: [read, edit]\n---\nwork\n")
    }

    #[test]
    fn the_bundled_roles_are_complete() {
        let roles = Roles::merge(Vec::new(), Vec::new());
        assert_eq!(roles.checked, []);
        let shown: Vec<String> = roles
            .iter()
            .map(|known| {
                let Role { thinking, tools, .. } = &known.role;
                let tools = tools.as_ref().unwrap().join(" ");
                format!("{} {} {tools}", known.role.title(), thinking.unwrap().word())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "🧭 architect high read grep find ls bash edit write",
                "🧱 builder medium read grep find ls bash edit",
                "🛠️ developer medium read grep find ls edit write bash",
                "🔎 reviewer high read grep find ls bash",
                "🧪 tester medium read grep find ls bash edit write",
            ]
        );
        let only_reads = |name: &str| roles.find(name).unwrap().role.only_reads();
        assert!(only_reads("reviewer") && !only_reads("builder") && !only_reads("developer"));
    }

    #[test]
    fn a_later_source_takes_the_place_of_an_earlier_one() {
        let documents = vec![
            document(Source::Agent, "/a/reviewer.md", &reviewer("agent")),
            document(Source::Coordination, "/c/broken.md", "---\nname: reviewer\n---\n"),
            document(Source::Project, "/p/reviewer.md", &reviewer("project")),
        ];
        let roles = Roles::merge(documents, Vec::new());
        let known = roles.find("reviewer").unwrap();
        assert_eq!((known.source, known.role.description.as_str()), (Source::Project, "project"));
        let overridden: Vec<_> = known.overrides.iter().map(|before| before.source).collect();
        assert_eq!(overridden, [Source::Bundled, Source::Agent]);
        let broken = roles.checked.iter().find(|checked| checked.name == "/c/broken.md").unwrap();
        assert!(broken.lines().next().unwrap().starts_with("role-manager: /c/broken.md: "));
    }

    #[test]
    fn a_node_changes_the_role_below_or_has_a_file() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let node =
            |name: &str| Declared { name: name.into(), place: "pier.kdl:3".into(), ..Declared::default() };
        let declared = vec![
            Declared { tools: Some(words(&["read"])), thinking: Some("low".into()), ..node("reviewer") },
            Declared {
                document: Some(document(Source::Configuration, "plain.md", "Be kind.\r\n")),
                ..node("kind")
            },
            Declared {
                document: Some(document(Source::Configuration, "r.md", &reviewer("renamed"))),
                ..node("second")
            },
            node("nothing"),
            node("Loud"),
        ];
        let roles = Roles::merge(Vec::new(), declared);
        let reviewer = roles.find("reviewer").unwrap();
        assert_eq!(reviewer.role.tools, Some(words(&["read"])));
        assert_eq!(reviewer.role.thinking, Some(Thinking::Low));
        assert!(reviewer.role.body.contains("## Mission") && reviewer.place == "pier.kdl:3");
        assert_eq!(roles.find("kind").unwrap().role.body, "Be kind.");
        let second = &roles.find("second").unwrap().role;
        assert_eq!((second.name.as_str(), second.description.as_str()), ("second", "renamed"));
        assert!(roles.find("nothing").is_none() && roles.find("Loud").is_none());
        let errors = |checked: &&Checked| checked.findings.iter().any(|one| one.weight == Weight::Error);
        assert_eq!(roles.checked.iter().filter(errors).count(), 2);
    }
}
