//! From the text of a `task.toml` to a [`Task`], with everything that is wrong with it.

use std::ops::Range;

use toml::de::DeTable;

use super::environment::{environment, health_check, list, string};
use super::network::PhasePolicy;
use super::read::{Findings, Section, Value};
use super::verifier::verifier;
use super::{Agent, Author, MinReward, Package, RewardStrategy, Solution, Step, Task, User};
use super::{artifacts, codes, names};
use crate::diag::{Problem, SourceId};
use crate::util::text::escape;

/// A task, and what is worth a note: unknown keys, older names, values without effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub task: Task,
    pub notes: Vec<Problem>,
}

/// Reads a `task.toml`.
///
/// # Errors
/// Every problem at once, in the order of the file.
pub fn parse(source: SourceId, text: &str) -> Result<Parsed, Vec<Problem>> {
    let findings = Findings::new(source);
    if text.starts_with('\u{feff}') {
        let message = "the file begins with a byte order mark, which TOML readers of tasks refuse";
        let problem = Problem::new(codes::SYNTAX, findings.span(0..3), "a byte order mark", message);
        return Err(vec![problem.help("save it as UTF-8 without a mark")]);
    }
    let syntax = |error: toml::de::Error| {
        let at = findings.span(error.span().unwrap_or_default());
        let message = format!("the file is not TOML: {}", escape(error.message().trim()));
        vec![Problem::new(codes::SYNTAX, at, "here", message)]
    };
    let table = DeTable::parse(text).map_err(syntax)?;
    let task = root(Section::root(&findings, table.span(), table.get_ref()));
    let metadata = table.get_ref().get("metadata").and_then(|value| value.get_ref().as_table());
    let metadata = metadata.map(|metadata| plain(metadata)).transpose().map_err(syntax)?;
    artifacts::note_collisions(&findings, &task.artifacts, &task.steps, task.environment.os);
    let (mut problems, mut notes) = findings.finish();
    let start = |problem: &Problem| problem.at.as_ref().map(|(span, _)| span.range.start);
    problems.sort_by_key(start);
    notes.sort_by_key(start);
    if problems.is_empty() {
        Ok(Parsed { task: Task { metadata: metadata.unwrap_or_default(), ..task }, notes })
    } else {
        Err(problems)
    }
}

/// Returns where the value of a key in a table of a `task.toml` is.
pub fn place(text: &str, table: &str, key: &str) -> Option<Range<usize>> {
    let parsed = DeTable::parse(text).ok()?;
    let table = parsed.get_ref().get(table)?;
    Some(table.get_ref().as_table()?.get(key)?.span())
}

/// Returns a table without the places of its values.
fn plain(table: &DeTable<'_>) -> Result<toml::Table, toml::de::Error> {
    let table = toml::Spanned::new(0..0, toml::de::DeValue::Table(table.clone()));
    serde::Deserialize::deserialize(toml::de::ValueDeserializer::from(table))
}

fn root(section: Section<'_>) -> Task {
    let fresh = Task::default();
    let version = section.get("schema_version");
    let older = section.get("version");
    let version = version.or(older).and_then(|value| value.string());
    let strategies = [("mean", RewardStrategy::Mean), ("final", RewardStrategy::Final)];
    let strategy = section.get("multi_step_reward_strategy");
    if let Some(value) = section.get("metadata") {
        note_lost_artifacts(&value);
    }
    let task = Task {
        schema_version: version.unwrap_or(fresh.schema_version),
        package: table(&section, "task").map(package),
        metadata: fresh.metadata,
        verifier: table(&section, "verifier").map(verifier).unwrap_or_default(),
        agent: table(&section, "agent").map(agent).unwrap_or_default(),
        environment: table(&section, "environment").map(environment).unwrap_or_default(),
        solution: table(&section, "solution").map(solution).unwrap_or_default(),
        source: string(&section, "source"),
        multi_step_reward_strategy: strategy.and_then(|value| value.one_of(&strategies)),
        steps: steps(&section),
        artifacts: artifacts::read(&section),
    };
    section.finish();
    task
}

fn table<'a>(section: &Section<'a>, key: &'static str) -> Option<Section<'a>> {
    section.get(key)?.section()
}

/// A list below `[metadata]` is easily meant for the file: in TOML, what follows a table belongs to it.
fn note_lost_artifacts(metadata: &Value<'_>) {
    let Some(section) = metadata.section() else { return };
    if let Some(value) = section.get("artifacts") {
        let message = "`metadata.artifacts` collects nothing";
        let note = Problem::new(codes::NO_EFFECT, value.span(), "belongs to `[metadata]` here", message);
        section.findings.note(note.help("write `artifacts` above the first table"));
    }
}

fn package(section: Section<'_>) -> Package {
    let name = section.required("name").and_then(|value| {
        let name = value.string()?;
        if !names::is_package(&name) {
            value.refuse(
                "it must be `organisation/name`: letters, digits, `-`, `_` and `.`, each beginning with a letter or digit",
            );
        }
        Some(name)
    });
    let version = section.get("version").and_then(|value| {
        let version = value.string()?;
        if version.is_empty() {
            value.refuse("it is empty");
        }
        Some(version)
    });
    let found = Package {
        name: name.unwrap_or_default(),
        version,
        description: string(&section, "description").unwrap_or_default(),
        authors: list(&section, "authors", author),
        keywords: section.get("keywords").map(|value| value.strings()).unwrap_or_default(),
    };
    section.finish();
    found
}

fn author(section: Section<'_>) -> Option<Author> {
    let name = section.required("name").and_then(|value| value.string());
    let email = string(&section, "email");
    section.finish();
    Some(Author { name: name?, email })
}

fn agent(section: Section<'_>) -> Agent {
    let agent = Agent {
        network: PhasePolicy::read(&section),
        timeout_sec: section.get("timeout_sec").and_then(|value| value.float()),
        user: section.get("user").and_then(|value| user(&value)),
    };
    section.finish();
    agent
}

/// Reads a user by name or number.
pub fn user(value: &Value<'_>) -> Option<User> {
    match value.as_text() {
        Some(name) => Some(User::Name(name.to_owned())),
        None => value.integer().map(User::Id),
    }
}

fn solution(section: Section<'_>) -> Solution {
    let env = section.get("env").map(|value| value.variables()).unwrap_or_default();
    section.finish();
    Solution { env }
}

fn steps(section: &Section<'_>) -> Vec<Step> {
    let values = section.get("steps").map(|value| value.list()).unwrap_or_default();
    let mut seen: Vec<(String, Value<'_>)> = Vec::new();
    let mut steps = Vec::new();
    for section in values.iter().filter_map(Value::section) {
        let Some((step, name)) = step(section) else { continue };
        let key = names::step_key(&step.name);
        match seen.iter().find(|(known, _)| *known == key) {
            Some((_, first)) => {
                let message =
                    format!("there are two steps `{}`, or one directory on some hosts", escape(&step.name));
                let problem = Problem::new(codes::CONFLICT, name.span(), "the second", message);
                name.findings.problem(problem.also(first.span(), "the first"));
            }
            None => seen.push((key, name)),
        }
        steps.push(step);
    }
    steps
}

/// Reads a step; returns the value of its name with it.
fn step(section: Section<'_>) -> Option<(Step, Value<'_>)> {
    let name = section.required("name");
    let text = name.as_ref().and_then(|value| {
        let text = value.string()?;
        if let Err(why) = names::check_step(&text) {
            value.refuse(why);
        }
        Some(text)
    });
    let step = Step {
        name: text.clone().unwrap_or_default(),
        agent: table(&section, "agent").map(agent).unwrap_or_default(),
        verifier: table(&section, "verifier").map(verifier).unwrap_or_default(),
        min_reward: section.get("min_reward").and_then(|value| min_reward(&value)),
        healthcheck: table(&section, "healthcheck").and_then(health_check),
        artifacts: artifacts::read(&section),
    };
    section.finish();
    text.is_some().then_some(step).zip(name)
}

fn min_reward(value: &Value<'_>) -> Option<MinReward> {
    if !value.is_table() {
        return value.float().map(MinReward::Reward);
    }
    let entries = value.section()?;
    let keys = entries.entries().filter_map(|(key, value)| Some((key, value.float()?)));
    Some(MinReward::Keys(keys.collect()))
}
