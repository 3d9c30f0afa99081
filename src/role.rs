//! Roles: what an agent is told, and what it may use, for one kind of work.
//!
//! A role is a Markdown file with front matter, or a `role` node of `pier.kdl`. The extension in
//! `extensions/pi-role-manager` reads the same files for Pi, so that both see the same roles.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use serde::{Serialize, Serializer};

pub mod file;
pub mod merge;
pub mod package;
pub mod read;

/// How much a model thinks, as role files and `pier.kdl` say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    Off,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
}

impl Thinking {
    const WORDS: [(&'static str, Thinking); 6] = [
        ("off", Thinking::Off),
        ("minimal", Thinking::Minimal),
        ("low", Thinking::Low),
        ("medium", Thinking::Medium),
        ("high", Thinking::High),
        ("xhigh", Thinking::Xhigh),
    ];

    pub fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, level)| *level)
    }

    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, level)| *level == self).map_or("off", |(word, _)| word)
    }
}

/// A name of a role: a lower-case letter, then lower-case letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    pub fn parse(text: &str) -> Option<Self> {
        let mut letters = text.chars();
        let begins = letters.next().is_some_and(|letter| letter.is_ascii_lowercase());
        let rest =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter);
        (begins && letters.all(rest)).then(|| Name(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A field that pier gives no meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    Text(String),
    List(Vec<String>),
}

/// What one role says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    pub name: Name,
    pub description: String,
    pub icon: Option<String>,
    pub thinking: Option<Thinking>,
    /// The only tools; `None` leaves the agent those that it has.
    pub tools: Option<Vec<String>>,
    /// Whom coordination commands act as.
    pub coord_committer: Option<String>,
    pub provider: Option<String>,
    pub model: Option<String>,
    /// Fields that are kept and not known.
    pub other: BTreeMap<String, Value>,
    /// The instructions.
    pub body: String,
}

impl Role {
    /// Returns the name as people see it.
    pub fn title(&self) -> String {
        match &self.icon {
            Some(icon) => format!("{icon} {}", self.name.as_str()),
            None => self.name.as_str().to_owned(),
        }
    }

    /// Returns whom its coordination commands act as.
    pub fn committer(&self) -> &str {
        self.coord_committer.as_deref().unwrap_or(self.name.as_str())
    }

    /// Says whether it has its tools named, and none of them is there to write files.
    pub fn only_reads(&self) -> bool {
        let writes = |tool: &String| matches!(tool.as_str(), "write" | "edit");
        self.tools.as_ref().is_some_and(|tools| !tools.iter().any(writes))
    }
}

/// Where roles come from, lowest precedence first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Bundled,
    /// Pi's own directory.
    Agent,
    /// A directory that several users share.
    Common,
    /// The clone of the coordination repository.
    Coordination,
    /// `.pi/roles`.
    Project,
    /// `role` nodes of `pier.kdl` and the layers around it.
    Configuration,
}

impl Source {
    pub fn word(self) -> &'static str {
        match self {
            Source::Bundled => "bundled",
            Source::Agent => "agent",
            Source::Common => "common",
            Source::Coordination => "coordination",
            Source::Project => "project",
            Source::Configuration => "configuration",
        }
    }
}

/// A role, with where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    #[serde(flatten)]
    pub role: Role,
    pub source: Source,
    /// The file, or the line of `pier.kdl`.
    pub place: String,
    /// The roles that it takes the place of, the lowest first.
    pub overrides: Vec<Overridden>,
}

/// A role that another one of its name has replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overridden {
    pub source: Source,
    pub place: String,
    #[serde(skip)]
    pub tools: Option<Vec<String>>,
}

/// A file of roles, or what kept it from being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub source: Source,
    pub path: Utf8PathBuf,
    pub text: Result<String, String>,
}
