//! `pier trajectory search`: steps of many trajectories.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::kept;
use super::read::{Trajectory, call_line, content, is_error, list, results};
use super::unreadable;
use crate::atif::walk::Reader;
use crate::cmd::Outcome;
use crate::diag::{Exit, Failure};
use crate::ui;
use crate::util::text::escape;

/// How much of a place that was found is shown, in characters before it and behind it.
const BEFORE: usize = 30;
const BEHIND: usize = 90;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier trajectory search -t 'permission denied'\n  pier trajectory search jobs/today --tool Bash --error\n  pier trajectory search --min-cost 1 --json | jq '.[].file'"
)]
pub struct Search {
    /// Trajectories, directories with some, or names of sessions; those of this directory otherwise, else all runs that were kept here.
    paths: Vec<Utf8PathBuf>,
    /// Steps with this text; upper and lower case are the same where it has only the latter.
    #[arg(short, long, value_name = "TEXT")]
    text: Option<String>,
    /// Steps with a call of this tool.
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Steps in which a tool or the model's service failed.
    #[arg(short, long)]
    error: bool,
    /// Where the text is to be.
    #[arg(long, value_enum, value_name = "WHERE", requires = "text")]
    place: Option<Place>,
    /// Trajectories that cost at least this, in US dollars.
    #[arg(long, value_name = "USD")]
    min_cost: Option<f64>,
    /// Trajectories that cost at most this.
    #[arg(long, value_name = "USD")]
    max_cost: Option<f64>,
    /// Only the names of the trajectories.
    #[arg(short = 'l', long)]
    files: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Message,
    Reasoning,
    /// Names and arguments of tools.
    Call,
    /// What tools said.
    Result,
}

/// A trajectory in which something was found.
#[derive(Debug, Serialize)]
struct Found {
    file: Utf8PathBuf,
    cost_usd: Option<f64>,
    hits: Vec<Hit>,
}

#[derive(Debug, Serialize)]
struct Hit {
    /// Of which sub-agent, if of one.
    #[serde(skip_serializing_if = "String::is_empty")]
    of: String,
    step: usize,
    place: Option<Place>,
    text: String,
}

pub fn run(args: &Search) -> Outcome {
    let wants_steps = args.text.is_some() || args.tool.is_some() || args.error;
    if !wants_steps && args.min_cost.is_none() && args.max_cost.is_none() {
        return Err(Failure::new(Exit::Usage, "trajectory::search", "nothing is searched for")
            .help("name `--text`, `--tool`, `--error`, `--min-cost` or `--max-cost`"));
    }
    let named = kept::many(&args.paths)?;
    let (found, failures) = each(&named.files, |path| one(path, args));
    let mut found: Vec<Found> = found.into_iter().flatten().collect();
    found.sort_by(|one, other| one.file.cmp(&other.file));
    for found in &mut found {
        found.file = named.name(&found.file).into();
    }
    for failure in &failures {
        ui::fail(failure);
    }
    if args.json {
        ui::json(&found);
    } else {
        for Found { file, cost_usd, hits } in &found {
            let name = escape(file.as_str());
            if args.files || hits.is_empty() {
                let cost = cost_usd.filter(|_| !args.files).map(|cost| format!(": ${cost:.4}"));
                ui::answer(&format!("{name}{}", cost.unwrap_or_default()));
                continue;
            }
            for hit in hits {
                let of = if hit.of.is_empty() { String::new() } else { format!("{} ", escape(&hit.of)) };
                ui::answer(&format!("{name}: {of}#{}: {}", hit.step, escape(&hit.text)));
            }
        }
    }
    Ok(if !failures.is_empty() || found.is_empty() { Exit::Failed } else { Exit::Done })
}

/// Does something for each file, on all processors.
fn each<T: Send>(
    files: &[Utf8PathBuf],
    call: impl Fn(&Utf8Path) -> Result<T, Failure> + Sync,
) -> (Vec<T>, Vec<Failure>) {
    let next = AtomicUsize::new(0);
    let all = Mutex::new((Vec::new(), Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut own = (Vec::new(), Vec::new());
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match call(path) {
                        Ok(found) => own.0.push(found),
                        Err(failure) => own.1.push(failure),
                    }
                }
                // A thread that panicked has taken nothing of the others' with it.
                let mut all = all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                all.0.append(&mut own.0);
                all.1.append(&mut own.1);
            });
        }
    });
    all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn one(path: &Utf8Path, args: &Search) -> Result<Option<Found>, Failure> {
    let trajectory = Trajectory::open(path)?;
    if !may_hold(&trajectory, args).map_err(|error| unreadable(path, error))? {
        return Ok(None);
    }
    let mut seeker = Seeker {
        args,
        sensitive: args.text.as_ref().is_some_and(|text| text.chars().any(char::is_uppercase)),
        path: Vec::new(),
        hits: Vec::new(),
        cost: None,
    };
    trajectory.walk(path, &mut seeker)?;
    let wants_steps = args.text.is_some() || args.tool.is_some() || args.error;
    let costs = |least: Option<f64>, holds: fn(f64, f64) -> bool| {
        least.is_none_or(|least| seeker.cost.is_some_and(|cost| holds(cost, least)))
    };
    let fits = costs(args.min_cost, |cost, least| cost >= least)
        && costs(args.max_cost, |cost, most| cost <= most)
        && !(wants_steps && seeker.hits.is_empty());
    Ok(fits.then(|| Found { file: path.to_owned(), cost_usd: seeker.cost, hits: seeker.hits }))
}

/// Says whether it is worth while to read a document: its bytes are looked through in a hundredth of the time.
fn may_hold(trajectory: &Trajectory, args: &Search) -> io::Result<bool> {
    let has = |word: &str| {
        let json = Value::from(word).to_string();
        trajectory.holds(json.trim_matches('"').as_bytes())
    };
    // What is written in another way (`\u0041`) is looked at.
    let plain = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' ');
    let sensitive = |word: &&String| word.chars().any(char::is_uppercase) && plain(word);
    let wanted = args.tool.as_ref().filter(|tool| plain(tool)).into_iter();
    for word in wanted.chain(args.text.as_ref().filter(sensitive)) {
        if !has(word)? {
            return Ok(false);
        }
    }
    // `is_error` and `api_error` end with it.
    Ok(!args.error || has("error")?)
}

struct Seeker<'a> {
    args: &'a Search,
    sensitive: bool,
    path: Vec<String>,
    hits: Vec<Hit>,
    cost: Option<f64>,
}

impl Reader for Seeker<'_> {
    fn begin(&mut self, path: &str) {
        self.path.push(path.to_owned());
    }

    fn step(&mut self, index: usize, step: Value) {
        let (args, number) = (self.args, index + 1);
        let calls = list(&step, "tool_calls");
        if let Some(tool) = &args.tool
            && !calls.iter().any(|call| call.get("function_name").and_then(Value::as_str) == Some(tool))
        {
            return;
        }
        let failed = || {
            results(&step).iter().any(is_error)
                || ["/extra/api_error", "/extra/error"].iter().any(|key| step.pointer(key).is_some())
        };
        if args.error && !failed() {
            return;
        }
        let of = self.path.last().cloned().unwrap_or_default();
        let Some(wanted) = &args.text else {
            let call = calls.iter().find(|call| {
                args.tool.is_none()
                    || call.get("function_name").and_then(Value::as_str) == args.tool.as_deref()
            });
            let said = || content(step.get("message").unwrap_or(&Value::Null));
            let text = call.map_or_else(said, call_line);
            let text = text.lines().next().unwrap_or_default().chars().take(BEFORE + BEHIND).collect();
            self.hits.push(Hit { of, step: number, place: None, text });
            return;
        };
        for (place, text) in places(&step) {
            if args.place.is_some_and(|wanted| wanted != place) {
                continue;
            }
            if let Some(text) = around(&text, wanted, self.sensitive) {
                self.hits.push(Hit { of: of.clone(), step: number, place: Some(place), text });
            }
        }
    }

    fn field(&mut self, key: &str, value: Value) {
        if key == "final_metrics" && self.path.len() == 1 {
            self.cost = value.get("total_cost_usd").and_then(Value::as_f64);
        }
    }

    fn end(&mut self) {
        self.path.pop();
    }
}

/// The texts of a step, and where each is.
fn places(step: &Value) -> Vec<(Place, String)> {
    let mut found = vec![(Place::Message, content(step.get("message").unwrap_or(&Value::Null)))];
    if let Some(reasoning) = step.get("reasoning_content").and_then(Value::as_str) {
        found.push((Place::Reasoning, reasoning.to_owned()));
    }
    for call in list(step, "tool_calls") {
        let mut text = call.get("function_name").and_then(Value::as_str).unwrap_or_default().to_owned();
        texts(call.get("arguments").unwrap_or(&Value::Null), &mut text);
        found.push((Place::Call, text));
    }
    for result in results(step) {
        found.push((Place::Result, content(result.get("content").unwrap_or(&Value::Null))));
    }
    found
}

fn texts(value: &Value, text: &mut String) {
    match value {
        Value::String(word) => {
            text.push('\n');
            text.push_str(word);
        }
        Value::Array(list) => list.iter().for_each(|inner| texts(inner, text)),
        Value::Object(object) => object.values().for_each(|inner| texts(inner, text)),
        Value::Null => {}
        other => {
            text.push('\n');
            text.push_str(&other.to_string());
        }
    }
}

/// Returns the line in which a text is, as much of it as is shown.
fn around(text: &str, wanted: &str, sensitive: bool) -> Option<String> {
    let place = if sensitive {
        text.find(wanted)?
    } else {
        // Letters whose other case has another length move what follows them by little.
        let lower = text.to_lowercase();
        let place = lower.find(wanted)?;
        if lower.len() == text.len() { place } else { floor(text, place) }
    };
    let from = text[..place].char_indices().rev().take(BEFORE).take_while(|(_, c)| *c != '\n').last();
    let from = from.map_or(place, |(from, _)| from);
    let line = text[from..].chars().take(BEFORE + BEHIND);
    let end = place - from + wanted.len();
    let line: String =
        line.enumerate().take_while(|(at, c)| *c != '\n' || *at < end).map(|(_, c)| c).collect();
    Some(line.replace('\n', " ").trim_end().to_owned())
}

fn floor(text: &str, place: usize) -> usize {
    (0..=place.min(text.len())).rev().find(|place| text.is_char_boundary(*place)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_around_a_text_is_shown() {
        let text = "first\nand here is Permission denied (13)\nlast";
        assert_eq!(around(text, "permission", false).unwrap(), "and here is Permission denied (13)");
        assert_eq!(around(text, "permission", true), None);
        assert_eq!(around(text, "Permission", true).unwrap(), "and here is Permission denied (13)");
        assert_eq!(around("İİİ x", "x", false).unwrap(), "İİİ x");
        let long = format!("{}needle{}", "a".repeat(500), "b".repeat(500));
        let shown = around(&long, "needle", false).unwrap();
        assert!(shown.contains("needle") && shown.len() == BEFORE + BEHIND, "{shown}");
    }
}
