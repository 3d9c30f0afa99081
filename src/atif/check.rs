//! What is wrong with a document: the verdict of the format's own models, and stricter checks for those who ask.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::{Map, Value};

use super::shape::{self, Kind, Need, Shape};
use super::walk::Reader;
use super::{VERSIONS, time};
use crate::util::text::counted;

/// How a document is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Versions that the models of v1.7 do not know are valid, too.
    pub newest: bool,
    /// Also what the models leave open: references that lead nowhere, numbers that cannot be.
    pub strict: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Such as `steps[3].tool_calls[0].arguments`; nothing for the whole document.
    pub path: String,
    /// A word for programs.
    pub code: &'static str,
    pub text: String,
}

/// The most problems of one document that are kept.
const MOST: usize = 1000;

/// Returns what is wrong with a document.
///
/// # Errors
/// Where it is no JSON.
#[cfg(any(test, fuzzing))]
pub fn check(text: &[u8], rules: Rules) -> serde_json::Result<Vec<Problem>> {
    check_with(rules, |checker| super::walk::walk_slice(text, checker))
}

/// The same for one that is read in another way.
pub fn check_with<E>(
    rules: Rules,
    read: impl FnOnce(&mut dyn Reader) -> Result<(), E>,
) -> Result<Vec<Problem>, E> {
    // The version may come after what it is about.
    let mut checker = Checker { rules, found: Vec::new(), documents: Vec::new() };
    read(&mut checker)?;
    Ok(checker.found)
}

struct Checker {
    rules: Rules,
    found: Vec<Problem>,
    documents: Vec<Document>,
}

#[derive(Default)]
struct Document {
    path: String,
    fields: HashSet<String>,
    steps: usize,
    gap: bool,
    /// Of its sub-agents, and those that its steps name.
    children: HashSet<String>,
    twice: bool,
    anonymous: bool,
    named: Vec<(String, String)>,
    id: Option<String>,
    sums: [i64; 2],
    totals: [Option<i64>; 2],
}

impl Reader for Checker {
    fn begin(&mut self, path: &str) {
        self.documents.push(Document { path: path.to_owned(), ..Document::default() });
    }

    fn step(&mut self, index: usize, step: Value) {
        let Some(document) = self.documents.last_mut() else { return };
        document.fields.insert("steps".to_owned());
        document.steps += 1;
        let path = join(&document.path, &format!("steps[{index}]"));
        let mut found = Vec::new();
        let place = Place { rules: self.rules, found: &mut found };
        place.object(&step, &shape::STEP, &path);
        let valid = found.is_empty();
        // The models check a step as a whole only when its parts are right.
        if valid && let Value::Object(step) = &step {
            whole_step(step, &path, &mut found);
        }
        if found.is_empty()
            && let Value::Object(step) = &step
        {
            if integer(&step["step_id"]) != i64::try_from(index + 1).ok() {
                document.gap = true;
            }
            if let Some((path, id)) = unknown_call(step, &path) {
                let text = format!("there is no call `{id}` in this step");
                found.push(Problem { path, code: "unknown_call", text });
            }
            if self.rules.strict {
                strict_step(step, &path, document, &mut found);
            }
        }
        self.found.extend(found.into_iter().take(MOST.saturating_sub(self.found.len())));
    }

    fn field(&mut self, key: &str, value: Value) {
        let Some(document) = self.documents.last_mut() else { return };
        document.fields.insert(key.to_owned());
        let path = join(&document.path, key);
        let mut found = Vec::new();
        let place = Place { rules: self.rules, found: &mut found };
        match shape::TRAJECTORY.fields.iter().find(|field| field.name == key) {
            None => found.push(extra(path)),
            Some(field) => place.field(&value, field, &path),
        }
        match (key, &value) {
            ("trajectory_id", Value::String(id)) => document.id = Some(id.clone()),
            ("final_metrics", Value::Object(totals)) => {
                document.totals = ["total_prompt_tokens", "total_completion_tokens"]
                    .map(|key| totals.get(key).and_then(integer));
            }
            _ => {}
        }
        self.found.append(&mut found);
    }

    fn end(&mut self) {
        let Some(document) = self.documents.pop() else { return };
        for field in shape::TRAJECTORY.fields {
            if field.need == Need::Required && !document.fields.contains(field.name) {
                self.found.push(Problem {
                    path: join(&document.path, field.name),
                    code: "missing",
                    text: "this field is missing".to_owned(),
                });
            }
        }
        let mut whole = |code, text: &str| {
            self.found.push(Problem { path: document.path.clone(), code, text: text.to_owned() });
        };
        if document.gap {
            whole("step_ids", "the ids of steps do not count from 1 without a gap");
        }
        if document.anonymous {
            whole("subagent_id", "a sub-agent has no `trajectory_id`");
        }
        if document.twice {
            whole("subagent_id", "two sub-agents have one `trajectory_id`");
        }
        if self.rules.strict {
            for (path, id) in &document.named {
                if !document.children.contains(id) {
                    self.found.push(Problem {
                        path: path.clone(),
                        code: "dangling_reference",
                        text: format!("there is no sub-agent `{id}` in this document"),
                    });
                }
            }
            for (index, key) in ["total_prompt_tokens", "total_completion_tokens"].into_iter().enumerate() {
                if document.totals[index].is_some_and(|total| total < document.sums[index]) {
                    self.found.push(Problem {
                        path: join(&document.path, &format!("final_metrics.{key}")),
                        code: "sum",
                        text: format!("it is less than the {} of the steps", document.sums[index]),
                    });
                }
            }
        }
        if let Some(parent) = self.documents.last_mut() {
            match document.id {
                None => parent.anonymous = true,
                Some(id) => parent.twice |= !parent.children.insert(id),
            }
        }
    }

    fn misplaced(&mut self, key: &str, value: Value) {
        if key == "steps" && value.as_array().is_some_and(Vec::is_empty) {
            let Some(document) = self.documents.last_mut() else { return };
            document.fields.insert(key.to_owned());
            let path = join(&document.path, key);
            self.found.push(Problem { path, code: "too_short", text: "there is no step".to_owned() });
            return;
        }
        self.field(key, value);
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn extra(path: String) -> Problem {
    Problem { path, code: "extra_forbidden", text: "the format has no such field".to_owned() }
}

struct Place<'a> {
    rules: Rules,
    found: &'a mut Vec<Problem>,
}

impl Place<'_> {
    fn say(&mut self, path: &str, code: &'static str, text: impl Into<String>) {
        if self.found.len() < MOST {
            self.found.push(Problem { path: path.to_owned(), code, text: text.into() });
        }
    }

    fn object(mut self, value: &Value, shape: &'static Shape, path: &str) {
        self.fields(value, shape, path);
    }

    fn field(mut self, value: &Value, field: &shape::Field, path: &str) {
        self.one(value, field, path);
    }

    fn one(&mut self, value: &Value, field: &shape::Field, path: &str) {
        if value.is_null() && field.need == Need::Optional {
            return;
        }
        self.kind(value, field.kind, path);
    }

    fn fields(&mut self, value: &Value, shape: &'static Shape, path: &str) {
        let Value::Object(object) = value else {
            return self.say(path, "model_type", format!("it is no object: {}", shape.name));
        };
        let before = self.found.len();
        for field in shape.fields {
            let path = join(path, field.name);
            match object.get(field.name) {
                Some(value) => self.one(value, field, &path),
                None if field.need == Need::Required => {
                    self.say(&path, "missing", "this field is missing");
                }
                None => {}
            }
        }
        for key in object.keys() {
            if !shape.fields.iter().any(|field| field.name == key) {
                self.found.push(extra(join(path, key)));
            }
        }
        // The models look at an object as a whole only when its parts are right.
        if before == self.found.len() {
            self.whole(object, shape, path);
        }
    }

    /// What the fields of an object say of each other.
    fn whole(&mut self, object: &Map<String, Value>, shape: &'static Shape, path: &str) {
        let has = |key: &str| object.get(key).is_some_and(|value| !value.is_null());
        if shape.name == shape::REFERENCE.name && !has("trajectory_id") && !has("trajectory_path") {
            self.say(path, "value_error", "it names neither a trajectory of this document nor a file");
        }
        if shape.name == shape::PART.name {
            let is_text = object.get("type").and_then(Value::as_str) == Some("text");
            let (own, other) = if is_text { ("text", "source") } else { ("source", "text") };
            if !has(own) {
                self.say(path, "value_error", format!("`{own}` is missing"));
            } else if has(other) {
                self.say(path, "value_error", format!("`{other}` is of another type of part"));
            }
        }
    }

    fn kind(&mut self, value: &Value, kind: Kind, path: &str) {
        match kind {
            Kind::Text => {
                if !value.is_string() {
                    self.say(path, "string_type", "it is no text");
                }
            }
            Kind::Time => match value.as_str() {
                None => self.say(path, "string_type", "it is no text"),
                Some(text) if !time::is_iso(text) => {
                    self.say(path, "value_error", "it is no time of ISO 8601");
                }
                Some(_) => {}
            },
            Kind::Int(least) => {
                self.int(value, path);
                if integer(value).is_some_and(|value| value < least) {
                    self.say(path, "greater_than_equal", format!("it is less than {least}"));
                }
            }
            Kind::AnyInt => self.int(value, path),
            Kind::Float => {
                if !is_float(value) {
                    self.say(path, "float_type", "it is no number");
                }
            }
            Kind::TextOrFloat => {
                if !value.is_string() && !is_float(value) {
                    self.say(path, "string_type", "it is neither a text nor a number");
                }
            }
            Kind::Bool => {
                if !is_bool(value) {
                    self.say(path, "bool_type", "it is neither true nor false");
                }
            }
            Kind::Object => {
                if !value.is_object() {
                    self.say(path, "dict_type", "it is no object");
                }
            }
            Kind::Objects | Kind::Ints | Kind::Floats => {
                let Some(items) = value.as_array() else {
                    return self.say(path, "list_type", "it is no array");
                };
                for (index, item) in items.iter().enumerate() {
                    let kind = match kind {
                        Kind::Objects => Kind::Object,
                        Kind::Ints => Kind::AnyInt,
                        _ => Kind::Float,
                    };
                    self.kind(item, kind, &format!("{path}[{index}]"));
                }
            }
            Kind::Choice(words) => {
                let audio = self.rules.newest && words.contains(&"image") && value.as_str() == Some("audio");
                if !audio && !value.as_str().is_some_and(|word| words.contains(&word)) {
                    self.say(path, "literal_error", format!("it is none of: {}", words.join(", ")));
                }
            }
            Kind::Version => {
                let known = if self.rules.newest { VERSIONS } else { &VERSIONS[..VERSIONS.len() - 1] };
                if !value.as_str().is_some_and(|word| known.contains(&word)) {
                    let last = known.last().copied().unwrap_or_default();
                    self.say(path, "literal_error", format!("it is no version from {} to {last}", known[0]));
                }
            }
            Kind::MediaType => {
                let known = |word: &str| {
                    shape::PICTURES.contains(&word) || (self.rules.newest && word.starts_with("audio/"))
                };
                if !value.as_str().is_some_and(known) {
                    self.say(path, "literal_error", format!("it is none of: {}", shape::PICTURES.join(", ")));
                }
            }
            Kind::Content => match value {
                Value::String(_) => {}
                Value::Array(parts) => {
                    for (index, part) in parts.iter().enumerate() {
                        self.fields(part, &shape::PART, &format!("{path}[{index}]"));
                    }
                }
                _ => self.say(path, "string_type", "it is neither a text nor an array of parts"),
            },
            Kind::One(shape) => self.fields(value, shape, path),
            Kind::Many(shape) | Kind::Some(shape) => {
                let Some(items) = value.as_array() else {
                    return self.say(path, "list_type", "it is no array");
                };
                for (index, item) in items.iter().enumerate() {
                    self.fields(item, shape, &format!("{path}[{index}]"));
                }
            }
        }
    }

    fn int(&mut self, value: &Value, path: &str) {
        if integer(value).is_some() {
            return;
        }
        match value {
            Value::Number(_) => self.say(path, "int_from_float", "it has a fraction, or is too large"),
            Value::String(_) => self.say(path, "int_parsing", "it is no whole number"),
            _ => self.say(path, "int_type", "it is no whole number"),
        }
    }
}

/// Reads a whole number as the models do: from a text, from a number without a fraction, and from a truth.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(truth) => Some(i64::from(*truth)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15)?;
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and small enough")]
            let whole = float as i64;
            Some(whole)
        }),
        _ => None,
    }
}

fn is_float(value: &Value) -> bool {
    match value {
        Value::Number(_) | Value::Bool(_) => true,
        Value::String(text) => text.trim().parse::<f64>().is_ok(),
        _ => false,
    }
}

fn is_bool(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::Number(number) => matches!(number.as_f64(), Some(0.0 | 1.0)),
        Value::String(text) => {
            let words = ["true", "false", "yes", "no", "on", "off", "1", "0", "t", "f", "y", "n"];
            words.contains(&text.to_lowercase().as_str())
        }
        _ => false,
    }
}

/// What only an agent's step has, and what no call of a model leaves out.
fn whole_step(step: &Map<String, Value>, path: &str, found: &mut Vec<Problem>) {
    let has = |key: &str| step.get(key).is_some_and(|value| !value.is_null());
    let is_agent = step.get("source").and_then(Value::as_str) == Some("agent");
    let mut say = |text: String| {
        found.push(Problem { path: path.to_owned(), code: "value_error", text });
    };
    if !is_agent {
        let own = ["model_name", "reasoning_effort", "reasoning_content", "tool_calls", "metrics"];
        if let Some(key) = own.into_iter().find(|key| has(key)) {
            say(format!("`{key}` is of a step of the agent"));
        }
    } else if step.get("llm_call_count").and_then(integer) == Some(0)
        && let Some(key) = ["metrics", "reasoning_content"].into_iter().find(|key| has(key))
    {
        say(format!("`{key}` is there, and `llm_call_count` says that no model was called"));
    }
}

/// Returns a result whose call is not in its step.
fn unknown_call(step: &Map<String, Value>, path: &str) -> Option<(String, String)> {
    let calls = step.get("tool_calls").and_then(Value::as_array);
    let calls: HashSet<&str> =
        calls.into_iter().flatten().filter_map(|call| call.get("tool_call_id")?.as_str()).collect();
    let results = step.get("observation")?.get("results")?.as_array()?;
    results.iter().enumerate().find_map(|(index, result)| {
        let id = result.get("source_call_id")?.as_str().filter(|id| !calls.contains(id))?;
        Some((format!("{path}.observation.results[{index}].source_call_id"), id.to_owned()))
    })
}

/// What the models leave open.
fn strict_step(step: &Map<String, Value>, path: &str, document: &mut Document, found: &mut Vec<Problem>) {
    if let Some(metrics) = step.get("metrics") {
        let number = |key: &str| metrics.get(key).and_then(integer);
        for key in ["prompt_tokens", "completion_tokens", "cached_tokens"] {
            if number(key).is_some_and(|number| number < 0) {
                let path = format!("{path}.metrics.{key}");
                found.push(Problem { path, code: "negative", text: "it is negative".to_owned() });
            }
        }
        let (prompt, cached) = (number("prompt_tokens"), number("cached_tokens"));
        if cached.is_some_and(|cached| cached > prompt.unwrap_or(i64::MAX)) {
            let path = format!("{path}.metrics.cached_tokens");
            let text = "more tokens were cached than the model read".to_owned();
            found.push(Problem { path, code: "cached", text });
        }
        document.sums[0] = document.sums[0].saturating_add(prompt.unwrap_or(0));
        document.sums[1] = document.sums[1].saturating_add(number("completion_tokens").unwrap_or(0));
        let length = |key: &str| metrics.get(key).and_then(Value::as_array).map(Vec::len);
        if let (Some(ids), Some(logprobs)) = (length("completion_token_ids"), length("logprobs"))
            && ids != logprobs
        {
            let path = format!("{path}.metrics.logprobs");
            let text = format!("there are {logprobs} of them for {}", counted(ids, "token", "tokens"));
            found.push(Problem { path, code: "logprobs", text });
        }
    }
    let calls = step.get("tool_calls").and_then(Value::as_array);
    let mut ids = HashSet::new();
    for (index, call) in calls.into_iter().flatten().enumerate() {
        let id = call.get("tool_call_id").and_then(Value::as_str).unwrap_or_default();
        // A log without ids has none for its calls.
        if !id.is_empty() && !ids.insert(id) {
            let path = format!("{path}.tool_calls[{index}].tool_call_id");
            found.push(Problem { path, code: "call_id", text: "another call has the same id".to_owned() });
        }
    }
    let results = step.get("observation").and_then(|observation| observation.get("results")?.as_array());
    for (index, result) in results.into_iter().flatten().enumerate() {
        let references = result.get("subagent_trajectory_ref").and_then(Value::as_array);
        for (place, reference) in references.into_iter().flatten().enumerate() {
            if let Some(id) = reference.get("trajectory_id").and_then(Value::as_str) {
                let path = format!(
                    "{path}.observation.results[{index}].subagent_trajectory_ref[{place}].trajectory_id"
                );
                document.named.push((path, id.to_owned()));
            }
        }
    }
}
