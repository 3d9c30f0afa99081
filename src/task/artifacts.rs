//! What is taken out of a finished environment, and where on the host it comes to lie.

use serde::Serialize;

use super::environment::Os;
use super::read::{Findings, Section, Value};
use super::verifier::{MAIN_SERVICE, service};
use super::{Step, codes};
use crate::diag::Problem;
use crate::util::text::escape;

/// The file in the directory of artifacts that lists them; no artifact may lie there.
pub const MANIFEST: &str = "manifest.json";

/// A file or directory of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// A path in the container, without `..`.
    pub source: String,
    /// A path below the directory of artifacts; `None` mirrors the source.
    pub destination: Option<String>,
    /// Patterns for `tar --exclude`.
    pub exclude: Vec<String>,
    /// A service of a Compose file; `None` is the agent's.
    pub service: Option<String>,
}

impl Artifact {
    /// The directory that agents publish to by convention.
    pub fn convention(os: Os) -> Self {
        let source = match os {
            Os::Linux => "/logs/artifacts",
            Os::Windows => "C:/logs/artifacts",
        };
        Artifact { source: source.to_owned(), destination: None, exclude: Vec::new(), service: None }
    }

    pub fn service(&self) -> &str {
        self.service.as_deref().unwrap_or(MAIN_SERVICE)
    }

    /// Returns the names that lead to it below the directory of artifacts; none is that directory itself.
    pub fn place(&self) -> Vec<&str> {
        parts(self.destination.as_deref().unwrap_or(&self.source))
    }

    /// Says whether an earlier one brings all of this one to the same place.
    fn is_covered_by(&self, earlier: &Artifact) -> bool {
        let (source, outer) = (parts(&self.source), parts(&earlier.source));
        let anchored = |path: &str| path.starts_with('/');
        if self.service() != earlier.service() || anchored(&self.source) != anchored(&earlier.source) {
            return false;
        }
        let Some(below) = source.strip_prefix(outer.as_slice()) else { return false };
        if below.is_empty() && self.place() == earlier.place() {
            return self.exclude == earlier.exclude;
        }
        earlier.exclude.is_empty() && self.place() == [earlier.place().as_slice(), below].concat()
    }
}

/// Returns what one collection takes: the directory of the convention first, unless it is among the others.
pub fn with_convention(artifacts: &[Artifact], os: Os) -> Vec<Artifact> {
    let convention = Artifact::convention(os);
    let is_convention = |one: &Artifact| {
        one.source.trim_end_matches('/') == convention.source && one.service() == MAIN_SERVICE
    };
    let mut all = artifacts.to_vec();
    if !all.iter().any(is_convention) {
        all.insert(0, convention);
    }
    all
}

/// Returns each pair of which the second one is not collected: the first has its place, or a part of it.
pub fn collisions(artifacts: &[Artifact]) -> Vec<(&Artifact, &Artifact)> {
    let overlap = |one: &[&str], other: &[&str]| one.starts_with(other) || other.starts_with(one);
    let mut found = Vec::new();
    for (index, second) in artifacts.iter().enumerate() {
        let earlier = artifacts.iter().take(index);
        let collides =
            |first: &&Artifact| !second.is_covered_by(first) && overlap(&first.place(), &second.place());
        found.extend(earlier.filter(collides).map(|first| (first, second)));
    }
    found
}

/// The names in a path. What is no name is left out, so that no path leads out of where it is put.
fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect()
}

/// Reads a list of texts and tables.
pub fn read(section: &Section<'_>) -> Vec<Artifact> {
    let values = section.get("artifacts").map(|value| value.list()).unwrap_or_default();
    values.iter().filter_map(artifact).collect()
}

fn artifact(value: &Value<'_>) -> Option<Artifact> {
    if !value.is_table() {
        let source = source(value)?;
        return Some(Artifact { source, destination: None, exclude: Vec::new(), service: None });
    }
    let section = value.section()?;
    let given = section.required("source");
    let found = Artifact {
        source: given.as_ref().and_then(source).unwrap_or_default(),
        destination: section.get("destination").and_then(|value| destination(&value)),
        exclude: section.get("exclude").map(|value| value.strings()).unwrap_or_default(),
        service: section.get("service").and_then(|value| service(&value)),
    };
    if let Some(given) = given.filter(|_| found.service() != MAIN_SERVICE)
        && !is_absolute(&found.source)
    {
        given.refuse("what another service than `main` has is named by an absolute path");
    }
    section.finish();
    Some(found)
}

fn is_absolute(path: &str) -> bool {
    let drive =
        |path: &[u8]| matches!(path, [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic());
    path.starts_with('/') || drive(path.as_bytes())
}

fn source(value: &Value<'_>) -> Option<String> {
    let source = value.string()?;
    if source.split('/').any(|part| part == "..") {
        value.refuse("a path with `..` could lead out of the directory of artifacts");
    }
    Some(source)
}

fn destination(value: &Value<'_>) -> Option<String> {
    let destination = value.string().filter(|text| !text.is_empty())?;
    let why = if destination.contains('\\') {
        "names are separated by `/`"
    } else if destination.starts_with('/') {
        "it must lie below the directory of artifacts, so it is no absolute path"
    } else if destination.split('/').any(|part| part == "..") {
        "a path with `..` could lead out of the directory of artifacts"
    } else {
        match parts(&destination).as_slice() {
            [] => "it names no file or directory",
            [MANIFEST] => "that file lists the artifacts",
            _ => return Some(destination),
        }
    };
    value.refuse(why);
    Some(destination)
}

/// Notes what will not be collected, for each collection that a task has.
pub fn note_collisions(findings: &Findings, task: &[Artifact], steps: &[Step], os: Os) {
    let mut sets = vec![with_convention(task, os)];
    sets.extend(steps.iter().map(|step| with_convention(&[task, &step.artifacts].concat(), os)));
    let mut told = Vec::new();
    for (first, second) in sets.iter().flat_map(|set| collisions(set)) {
        if told.contains(&(first, second)) {
            continue;
        }
        told.push((first, second));
        let message = format!(
            "`{}` is not collected: `{}` has its place",
            escape(&second.source),
            escape(&first.source)
        );
        let help = "give one of them another `destination`";
        findings.note(Problem::nowhere(codes::NO_EFFECT, message).help(help));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(source: &str, destination: Option<&str>) -> Artifact {
        let destination = destination.map(str::to_owned);
        Artifact { source: source.to_owned(), destination, exclude: Vec::new(), service: None }
    }

    #[test]
    fn the_directory_of_the_convention_is_collected_unless_it_is_named() {
        let named = artifact("/logs/artifacts/", None);
        assert_eq!(with_convention(std::slice::from_ref(&named), Os::Linux), [named]);
        let other = Artifact { service: Some("db".to_owned()), ..artifact("/logs/artifacts", None) };
        let all = with_convention(std::slice::from_ref(&other), Os::Linux);
        assert_eq!(all, [Artifact::convention(Os::Linux), other]);
    }

    #[test]
    fn the_second_of_two_in_one_place_collides_unless_the_first_brings_it() {
        let app = artifact("/app", None);
        assert_eq!(collisions(&[app.clone(), artifact("/app/x", None)]), []);
        let without = Artifact { exclude: vec!["*.o".to_owned()], ..app.clone() };
        assert_eq!(collisions(&[without, artifact("/app/x", None)]).len(), 1);
        assert_eq!(collisions(&[artifact("/app/x", None), app.clone()]).len(), 1);
        assert_eq!(collisions(&[artifact("/a", Some("out")), artifact("/b", Some("out/b"))]).len(), 1);
        assert_eq!(collisions(&[app, artifact("/application", None)]), []);
    }

    #[test]
    fn no_source_leads_out_of_the_directory_of_artifacts() {
        assert_eq!(artifact("//app/./x", None).place(), ["app", "x"]);
        assert_eq!(artifact("/app", Some("../../x")).place(), ["x"]);
    }
}
