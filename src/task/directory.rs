//! The rules for the directory around a `task.toml`, as Harbor has them, and which files are part of a task.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use camino::{Utf8Path, Utf8PathBuf};

use super::environment::{Environment, Os};
use super::ignore::{Kind, Rules};
use super::listing::{Entry, Listing};
use super::{Step, Task, codes, verifier_environment};
use crate::diag::Problem;
use crate::util::text::escape;

pub mod digest;

/// The file that takes others out of `tests/` and `solution/`.
const IGNORE: &str = ".harborignore";
/// The files that say how an image is made, by their exact names.
const DEFINITIONS: [&str; 2] = ["Dockerfile", "docker-compose.yaml"];
/// Links may lead to a directory many times; more looks than this for each entry, and so many, are an attack.
const VISITS_EACH: usize = 4;
const MOST_VISITS: usize = 1_000;

/// Whether a trial verifies anything: without, no test script is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    Enabled,
    Disabled,
}

/// What the agent's environment is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub image: Option<String>,
    pub dockerfile: bool,
    pub compose: bool,
}

/// What a separate verifier's environment is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifierDefinition<'a> {
    /// Its limits, variables and network.
    pub environment: &'a Environment,
    /// `None` is built from `directory`.
    pub image: Option<&'a str>,
    pub os: Os,
    pub directory: Utf8PathBuf,
    /// Whether the tests are in the image, so that none are copied into it.
    pub bundled_tests: bool,
}

/// A task's directory, with the files that are left out.
pub struct Directory<'a> {
    listing: &'a Listing,
    rules: RefCell<BTreeMap<Utf8PathBuf, Rc<Rules>>>,
}

impl<'a> Directory<'a> {
    pub fn new(listing: &'a Listing) -> Self {
        Directory { listing, rules: RefCell::default() }
    }

    /// Returns everything because of which the directory is not that task; nothing is wrong with an empty list.
    pub fn check(&self, task: &Task, verification: Verification) -> Vec<Problem> {
        let mut problems = Vec::new();
        if task.environment.image().is_none() && !self.listing.is_directory("environment".into()) {
            let problem = file("`environment/` is missing".to_owned());
            problems.push(problem.help("make it, or set `docker_image` in `[environment]`"));
        }
        for step in &task.steps {
            problems.extend(self.inputs(&step_directory(step), Excluded::LeftOut));
        }
        for inputs in ["tests", "solution"] {
            problems.extend(self.inputs(inputs.into(), Excluded::LeftOut));
        }
        if task.steps.is_empty() {
            self.check_one(task, None, verification, &mut problems);
        }
        for step in &task.steps {
            self.check_one(task, Some(step), verification, &mut problems);
        }
        problems.dedup();
        problems
    }

    /// Checks what a task of one step has, or a step.
    fn check_one(
        &self,
        task: &Task,
        step: Option<&Step>,
        verification: Verification,
        out: &mut Vec<Problem>,
    ) {
        let directory = step.map(step_directory).unwrap_or_default();
        if step.is_some() && !self.listing.is_directory(&directory) {
            out.push(file(format!("`{}/` is missing", escape(directory.as_str()))));
            return;
        }
        let instruction = directory.join("instruction.md");
        if self.listing.entry(&instruction).is_none() {
            out.push(file(format!("`{}` is missing", escape(instruction.as_str()))));
        }
        if verification == Verification::Disabled {
            return;
        }
        let definition = match self.verifier(task, step) {
            Ok(definition) => definition,
            Err(problem) => return out.push(problem),
        };
        if definition.as_ref().is_some_and(|definition| definition.bundled_tests) {
            return;
        }
        let os = definition.map_or(task.environment.os, |definition| definition.os);
        let name = format!("test.{}", os.script());
        let places: Vec<Utf8PathBuf> = step
            .map(|step| step_directory(step).join("tests").join(&name))
            .into_iter()
            .chain([Utf8Path::new("tests").join(&name)])
            .collect();
        let Some(script) = places.iter().find(|place| self.listing.entry(place).is_some()) else {
            let names = places.iter().map(|place| format!("`{}`", escape(place.as_str())));
            let names: Vec<String> = names.collect();
            let (names, os) = (names.join(" or "), os.name());
            return out.push(file(format!("{names} is missing: the verifier runs on {os}")));
        };
        match self.is_excluded(script) {
            Ok(false) => {}
            Ok(true) => {
                let script = escape(script.as_str());
                out.push(file(format!("`{script}` is needed, and a `{IGNORE}` leaves it out")));
            }
            Err(problem) => out.push(problem),
        }
    }

    /// Returns what the agent's environment is made of.
    pub fn definition(&self, task: &Task) -> Result<Definition, Problem> {
        let has = |name: &str| self.listing.is_file(&Utf8Path::new("environment").join(name));
        let image = task.environment.image().map(str::to_owned);
        let found = Definition { image, dockerfile: has(DEFINITIONS[0]), compose: has(DEFINITIONS[1]) };
        if found.image.is_some() || found.dockerfile || found.compose {
            return Ok(found);
        }
        let message = "`environment/` has no `Dockerfile` and no `docker-compose.yaml`";
        let help = "add one of the two, by exactly that name, or set `docker_image` in `[environment]`";
        Err(file(message.to_owned()).help(help))
    }

    /// Returns what a separate verifier runs in; `None` for a shared one. An image of the step comes before one
    /// of the task, and both before the agent's.
    pub fn verifier<'t>(
        &self,
        task: &'t Task,
        step: Option<&'t Step>,
    ) -> Result<Option<VerifierDefinition<'t>>, Problem> {
        let Some(environment) = verifier_environment(task, step) else { return Ok(None) };
        let of_step = step.map(|step| (&step.verifier.environment, step_directory(step).join("tests")));
        let of_task = (&task.verifier.environment, Utf8PathBuf::from("tests"));
        for (own, directory) in of_step.into_iter().chain([of_task]) {
            self.only_inputs(&directory, Excluded::LeftOut)?;
            let image = own.as_ref().and_then(Environment::image);
            let file = |name: &&str| self.listing.is_file(&directory.join(name));
            let built = image.is_none() && DEFINITIONS.iter().any(file);
            if built {
                // An image may copy what tests leave out.
                self.only_inputs(&directory, Excluded::Checked)?;
            }
            if image.is_some() || built {
                let os = environment.os;
                return Ok(Some(VerifierDefinition {
                    environment,
                    image,
                    os,
                    directory,
                    bundled_tests: true,
                }));
            }
        }
        let directory = Utf8PathBuf::from("environment");
        self.only_inputs(&directory, Excluded::Checked)?;
        let os = if environment.os_given { environment.os } else { task.environment.os };
        let image = task.environment.image();
        Ok(Some(VerifierDefinition { environment, image, os, directory, bundled_tests: false }))
    }

    fn only_inputs(&self, path: &Utf8Path, excluded: Excluded) -> Result<(), Problem> {
        self.inputs(path, excluded).map_or(Ok(()), Err)
    }

    /// Returns the first thing below a path that is not in the task, or leads in a circle.
    fn inputs(&self, path: &Utf8Path, excluded: Excluded) -> Option<Problem> {
        // Each with the real directories that it is in.
        let mut pending = vec![(path.to_owned(), Vec::new())];
        let mut visits = 0;
        let most = MOST_VISITS + VISITS_EACH * self.listing.all().count();
        while let Some((path, above)) = pending.pop() {
            visits += 1;
            if visits > most {
                return Some(file(format!("`{}` has too many links to directories", escape(path.as_str()))));
            }
            if excluded == Excluded::LeftOut {
                match self.is_excluded(&path) {
                    Ok(false) => {}
                    Ok(true) => continue,
                    Err(problem) => return Some(problem),
                }
            }
            let real = match self.listing.real(&path) {
                Ok(real) => real,
                Err(astray) => return Some(file(format!("`{}` {astray}", escape(path.as_str())))),
            };
            if above.contains(&real) {
                return Some(file(format!("`{}` leads to a directory that it is in", escape(path.as_str()))));
            }
            let children = self.listing.children(&path);
            let above = [above, vec![real]].concat();
            pending.extend(children.into_iter().rev().map(|child| (child, above.clone())));
        }
        None
    }

    /// Says whether a `.harborignore` leaves a path out, or what it leads to.
    pub fn is_excluded(&self, path: &Utf8Path) -> Result<bool, Problem> {
        if self.matches(path)? {
            return Ok(true);
        }
        match self.listing.real(path) {
            Ok(real) if real != path => self.matches(&real),
            _ => Ok(false),
        }
    }

    fn matches(&self, path: &Utf8Path) -> Result<bool, Problem> {
        if path.file_name() == Some(IGNORE) {
            return Ok(true);
        }
        let names: Vec<&str> = path.iter().collect();
        let Some(scope) = scope(&names) else { return Ok(false) };
        let mut files: Vec<(usize, Rc<Rules>)> = Vec::new();
        for end in scope..=names.len() {
            // The first is the directory that is in scope; no file in it is about itself.
            if end > scope {
                let within: Utf8PathBuf = names[..end - 1].iter().collect();
                files.push((end - 1, self.rules(&within)?));
            }
            let directory = end < names.len() || self.listing.is_directory(path);
            let kind = if directory { Kind::Directory } else { Kind::File };
            let decide =
                |(from, rules): &(usize, Rc<Rules>)| rules.decide(&names[*from..end].join("/"), kind);
            if files.iter().filter_map(decide).next_back() == Some(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn rules(&self, directory: &Utf8Path) -> Result<Rc<Rules>, Problem> {
        if let Some(known) = self.rules.borrow().get(directory) {
            return Ok(Rc::clone(known));
        }
        let path = directory.join(IGNORE);
        let failed = |why: &dyn std::fmt::Display| file(format!("`{}` {why}", escape(path.as_str())));
        self.listing.real(&path).map_err(|astray| failed(&astray))?;
        let rules = match self.listing.entry(&path) {
            None => Rules::default(),
            Some(_) => Rules::parse(&self.listing.read_text(&path).map_err(|error| {
                let error: io::Error = error;
                failed(&format_args!("cannot be read: {error}"))
            })?),
        };
        let rules = Rc::new(rules);
        self.rules.borrow_mut().insert(directory.to_owned(), Rc::clone(&rules));
        Ok(rules)
    }
}

/// Whether files that are left out count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excluded {
    LeftOut,
    Checked,
}

/// Returns how many names lead to the directory in which `.harborignore` counts, if the path is in one.
fn scope(names: &[&str]) -> Option<usize> {
    match names {
        ["tests" | "solution", ..] => Some(1),
        ["steps", _, "tests" | "solution", ..] => Some(3),
        _ => None,
    }
}

fn step_directory(step: &Step) -> Utf8PathBuf {
    Utf8Path::new("steps").join(&step.name)
}

fn file(message: String) -> Problem {
    Problem::nowhere(codes::FILE, message)
}

/// Says whether an entry can hold the bytes of a task.
fn is_file(entry: Option<&Entry>) -> bool {
    matches!(entry, Some(Entry::File))
}
