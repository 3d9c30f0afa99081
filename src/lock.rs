//! `pier.lock`: what a run resolved, committed next to `pier.kdl` so that the next run gets the same.
//!
//! The file is JSON with a schema number. It is sorted and written in one way, so that two people who
//! resolve the same things commit the same bytes. It comes with the repository: everything in it is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

pub mod image;
mod pin;

pub use pin::{Integrity, Version, is_name, is_npm_package};

/// The name of the file, next to `pier.kdl`.
pub const FILE: &str = "pier.lock";

/// Bumped when a field changes its meaning; a reader refuses a number that it does not know.
pub const SCHEMA: u32 = 1;

/// More than any honest lock needs, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// Why a lock could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read `{path}`: {source}")]
    Read { path: Utf8PathBuf, source: std::io::Error },
    #[error("the lock is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("the lock is not valid: {0}")]
    Syntax(#[source] serde_json::Error),
    #[error("the lock has schema {found}, this pier knows {SCHEMA}")]
    Schema { found: u32 },
    #[error("the lock names {what} `{name}` twice")]
    Twice { what: &'static str, name: String },
    #[error("the lock has an invalid {what}: `{value}`")]
    Invalid { what: &'static str, value: String },
}

/// A whole `pier.lock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    schema: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<Agent>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flake: Option<Flake>,
}

/// Read first, so that a newer lock is told from a broken one.
#[derive(Deserialize)]
struct Head {
    schema: u32,
}

/// An agent at the version that was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// As in `pier.kdl`.
    pub name: String,
    pub version: Version,
    pub source: Source,
    /// The name in the source: `@scope/name`.
    pub package: String,
    pub integrity: Integrity,
    /// The Node range that the package asks for, as it says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// Where an agent was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    Npm,
    Pypi,
}

/// An image reference and the digest that it meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    pub reference: String,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
}

/// The development shell of `runtime nix`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flake {
    /// As in `pier.kdl`.
    pub reference: String,
    pub shell: String,
    /// SHA-256 over the files that are evaluated, `flake.lock` among them; 64 hex digits.
    pub digest: String,
    /// For people: revisions, or content hashes, of the flake's inputs. `digest` pins them already.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
}

/// What the configuration asks of the lock for one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub package: String,
    /// `None` where `pier.kdl` leaves the version open: any locked one will do.
    pub version: Option<Version>,
}

/// One way in which a lock does not say what the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The configuration has an agent that the lock has not.
    Missing { name: String },
    /// Both have it, at different versions or from different packages.
    Stale { name: String, locked: String, wanted: String },
    /// The lock has an agent that the configuration has no more.
    Extra { name: String },
    /// The configuration runs on, or builds from, an image that the lock has not.
    MissingImage { reference: String },
    /// The lock has an image that the configuration has no more.
    ExtraImage { reference: String },
    /// The same for the flake; `None` where one of the two has none.
    Flake { locked: Option<String>, wanted: Option<String> },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Difference::Missing { name } => write!(out, "`{name}` is not locked"),
            Difference::Stale { name, locked, wanted } => {
                write!(out, "`{name}` is locked at {locked} and asked for at {wanted}")
            }
            Difference::Extra { name } => write!(out, "`{name}` is locked and not asked for"),
            Difference::MissingImage { reference } => write!(out, "the image `{reference}` is not locked"),
            Difference::ExtraImage { reference } => {
                write!(out, "the image `{reference}` is locked and not asked for")
            }
            Difference::Flake { locked: None, .. } => write!(out, "the flake is not locked"),
            Difference::Flake { wanted: None, .. } => write!(out, "a flake is locked and not asked for"),
            Difference::Flake { locked: Some(locked), wanted: Some(wanted) } => {
                write!(out, "the flake is locked as {locked} and is now {wanted}")
            }
        }
    }
}

impl Default for Lock {
    fn default() -> Self {
        Lock { schema: SCHEMA, agents: Vec::new(), images: Vec::new(), flake: None }
    }
}

impl Lock {
    /// Reads the lock at `path`; one that is not there is empty.
    pub fn read(path: &Utf8Path) -> Result<Option<Self>, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let file = match fs_err::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut text = String::new();
        file.take(MAX_BYTES as u64 + 1).read_to_string(&mut text).map_err(failed)?;
        Lock::parse(&text).map(Some)
    }

    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_BYTES {
            return Err(Error::TooLarge);
        }
        let head: Head = serde_json::from_str(text).map_err(Error::Syntax)?;
        if head.schema != SCHEMA {
            return Err(Error::Schema { found: head.schema });
        }
        let lock: Lock = serde_json::from_str(text).map_err(Error::Syntax)?;
        lock.check()?;
        Ok(lock.sorted())
    }

    /// Returns the bytes to commit; the same lock gives the same text.
    pub fn to_text(&self) -> String {
        let sorted = self.clone().sorted();
        // Strings, numbers and lists only, so this cannot fail.
        let mut text = serde_json::to_string_pretty(&sorted).unwrap_or_default();
        text.push('\n');
        text
    }

    pub fn agent(&self, name: &str) -> Option<&Agent> {
        self.agents.iter().find(|agent| agent.name == name)
    }

    pub fn image(&self, reference: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.reference == reference)
    }

    /// Returns the lock with `resolved` in place of the entries of the same names, and without those that
    /// nobody wants.
    #[must_use]
    pub fn update(&self, wanted: &[Wanted], resolved: Vec<Agent>) -> Lock {
        let mut lock = self.clone();
        lock.agents.retain(|agent| wanted.iter().any(|wanted| wanted.name == agent.name));
        for agent in resolved {
            lock.agents.retain(|old| old.name != agent.name);
            lock.agents.push(agent);
        }
        lock.sorted()
    }

    /// Returns every difference between the lock and what is wanted, by name.
    pub fn verify(&self, wanted: &[Wanted]) -> Vec<Difference> {
        let mut found = Vec::new();
        for wish in wanted {
            let Some(locked) = self.agent(&wish.name) else {
                found.push(Difference::Missing { name: wish.name.clone() });
                continue;
            };
            let version = wish.version.as_ref().unwrap_or(&locked.version);
            if locked.package != wish.package || locked.version != *version {
                found.push(Difference::Stale {
                    name: wish.name.clone(),
                    locked: format!("{}@{}", locked.package, locked.version),
                    wanted: format!("{}@{version}", wish.package),
                });
            }
        }
        for locked in &self.agents {
            if !wanted.iter().any(|wish| wish.name == locked.name) {
                found.push(Difference::Extra { name: locked.name.clone() });
            }
        }
        found
    }

    /// Compares the images with the references that the configuration means, by name.
    pub fn verify_images(&self, wanted: &[String]) -> Vec<Difference> {
        let missing = wanted.iter().filter(|wanted| self.image(wanted).is_none());
        let extra = self.images.iter().filter(|image| !wanted.contains(&image.reference));
        missing
            .map(|reference| Difference::MissingImage { reference: reference.clone() })
            .chain(extra.map(|image| Difference::ExtraImage { reference: image.reference.clone() }))
            .collect()
    }

    /// Compares the flake with the one that the configuration names.
    pub fn verify_flake(&self, wanted: Option<&Flake>) -> Option<Difference> {
        let same = |one: &Flake, other: &Flake| {
            (&one.reference, &one.shell, &one.digest) == (&other.reference, &other.shell, &other.digest)
        };
        let text =
            |flake: &Flake| format!("`{}` shell `{}` {:.12}", flake.reference, flake.shell, flake.digest);
        match (&self.flake, wanted) {
            (None, None) => None,
            (Some(locked), Some(wanted)) if same(locked, wanted) => None,
            (locked, wanted) => {
                Some(Difference::Flake { locked: locked.as_ref().map(text), wanted: wanted.map(text) })
            }
        }
    }

    fn sorted(mut self) -> Self {
        self.agents.sort_by(|one, other| one.name.cmp(&other.name));
        self.images.sort_by(|one, other| one.reference.cmp(&other.reference));
        self
    }

    fn check(&self) -> Result<(), Error> {
        let mut agents = BTreeSet::new();
        for agent in &self.agents {
            require("agent name", &agent.name, is_name)?;
            require("package name", &agent.package, is_npm_package)?;
            if let Some(node) = &agent.node {
                require("Node range", node, is_line)?;
            }
            if !agents.insert(&agent.name) {
                return Err(Error::Twice { what: "agent", name: agent.name.clone() });
            }
        }
        let mut images = BTreeSet::new();
        for image in &self.images {
            require("image reference", &image.reference, is_line)?;
            require("image digest", &image.digest, |text| {
                image::is_digest(text) && image::own_digest(&image.reference).is_none_or(|own| own == text)
            })?;
            if !images.insert(&image.reference) {
                return Err(Error::Twice { what: "image", name: image.reference.clone() });
            }
        }
        if let Some(flake) = &self.flake {
            require("flake reference", &flake.reference, is_line)?;
            require("shell name", &flake.shell, is_line)?;
            require("flake digest", &flake.digest, |text| is_hex(text, 64))?;
            for text in flake.inputs.iter().flat_map(|(name, revision)| [name, revision]) {
                require("flake input", text, is_line)?;
            }
        }
        Ok(())
    }
}

fn require(what: &'static str, value: &str, holds: impl Fn(&str) -> bool) -> Result<(), Error> {
    if holds(value) { Ok(()) } else { Err(Error::Invalid { what, value: shown(value) }) }
}

fn is_line(text: &str) -> bool {
    (1..=512).contains(&text.len()) && !text.chars().any(char::is_control) && !text.starts_with('-')
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A hostile text as it may be shown: short, and without control characters.
fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(letter: char) -> Integrity {
        Integrity::parse(&format!("sha512-{}==", letter.to_string().repeat(86))).unwrap()
    }

    fn agent(name: &str, version: &str) -> Agent {
        Agent {
            name: name.to_owned(),
            version: Version::parse(version).unwrap(),
            source: Source::Npm,
            package: format!("@example/{name}"),
            integrity: hash('A'),
            node: Some(">=20".to_owned()),
        }
    }

    fn wanted(name: &str, version: Option<&str>) -> Wanted {
        Wanted {
            name: name.to_owned(),
            package: format!("@example/{name}"),
            version: version.map(|text| Version::parse(text).unwrap()),
        }
    }

    #[test]
    fn a_lock_comes_back_as_it_was_written_and_sorted() {
        let lock =
            Lock { agents: vec![agent("pi", "0.74.2"), agent("claude-code", "2.1.197")], ..Lock::default() };
        let text = lock.to_text();
        let back = Lock::parse(&text).unwrap();
        assert_eq!(
            back.agents.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>(),
            ["claude-code", "pi"]
        );
        assert_eq!(back.to_text(), text);
        assert!(text.starts_with("{\n  \"schema\": 1,\n  \"agents\": [\n"), "{text}");
    }

    #[test]
    fn an_image_is_locked_by_its_reference_and_no_other_digest_than_its_own() {
        let image = |reference: &str, letter: &str| Image {
            reference: reference.to_owned(),
            digest: format!("sha256:{}", letter.repeat(64)),
        };
        let own = format!("b@sha256:{}", "1".repeat(64));
        let lock =
            Lock { images: vec![image("b:1", "0"), image("a:1", "0"), image(&own, "1")], ..Lock::default() };
        let lock = Lock::parse(&lock.to_text()).unwrap();
        assert_eq!(lock.images[0].reference, "a:1", "sorted");
        let wanted = ["b:1".to_owned(), own.clone(), "c".to_owned()];
        assert_eq!(
            lock.verify_images(&wanted),
            [
                Difference::MissingImage { reference: "c".to_owned() },
                Difference::ExtraImage { reference: "a:1".to_owned() }
            ]
        );
        for images in [
            vec![image(&own, "2")],
            vec![image("a", "0"), image("a", "1")],
            vec![image("a", "g")],
            vec![image("-a", "0")],
        ] {
            assert!(Lock::parse(&Lock { images, ..Lock::default() }.to_text()).is_err());
        }
    }

    #[test]
    fn hostile_locks_are_refused() {
        let entry = |change: &str| {
            let mut value = serde_json::to_value(agent("pi", "1.2.3")).unwrap();
            let patch: serde_json::Value = serde_json::from_str(change).unwrap();
            for (key, new) in patch.as_object().unwrap() {
                value[key] = new.clone();
            }
            format!("{{\"schema\":1,\"agents\":[{value}]}}")
        };
        assert!(Lock::parse(&entry("{}")).is_ok());
        for bad in [
            entry(r#"{"version":"latest"}"#),
            entry(r#"{"name":"../../etc"}"#),
            entry(r#"{"name":"-x"}"#),
            entry(r#"{"package":"--global"}"#),
            entry(r#"{"integrity":"sha1-abc"}"#),
            entry(r#"{"source":"git"}"#),
            entry(r#"{"surprise":1}"#),
            entry(r#"{"node":"a\u001b[2J"}"#),
            "{\"schema\":1,\"more\":2}".to_owned(),
            "{}".to_owned(),
            "[]".to_owned(),
            String::new(),
            " ".repeat(MAX_BYTES + 1),
            "[".repeat(100_000),
        ] {
            assert!(Lock::parse(&bad).is_err(), "{}", shown(&bad));
        }
        let twice = Lock { agents: vec![agent("pi", "1.2.3"), agent("pi", "1.2.4")], ..Lock::default() };
        assert!(matches!(Lock::parse(&twice.to_text()), Err(Error::Twice { .. })));
        assert!(matches!(Lock::parse("{\"schema\":9,\"new\":1}"), Err(Error::Schema { found: 9 })));
    }

    #[test]
    fn differences_are_missing_stale_and_extra() {
        let lock = Lock { agents: vec![agent("old", "1.0.0"), agent("pi", "0.74.2")], ..Lock::default() };
        let wishes = [wanted("claude-code", None), wanted("pi", Some("0.87.1"))];
        assert_eq!(
            lock.verify(&wishes),
            [
                Difference::Missing { name: "claude-code".to_owned() },
                Difference::Stale {
                    name: "pi".to_owned(),
                    locked: "@example/pi@0.74.2".to_owned(),
                    wanted: "@example/pi@0.87.1".to_owned()
                },
                Difference::Extra { name: "old".to_owned() },
            ]
        );
        let updated = lock.update(&wishes, vec![agent("pi", "0.87.1"), agent("claude-code", "2.1.197")]);
        assert_eq!(updated.verify(&wishes), []);
        assert_eq!(lock.verify(&[wanted("pi", None), wanted("old", Some("1.0.0"))]), []);
    }

    #[test]
    fn a_lock_that_is_not_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::try_from(dir.path().join(FILE)).unwrap();
        assert!(Lock::read(&path).unwrap().is_none());
        fs_err::write(&path, Lock::default().to_text()).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), Some(Lock::default()));
    }
}
