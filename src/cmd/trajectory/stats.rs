//! `pier trajectory stats`: numbers of one trajectory, or of many.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::kept;
use super::read::{Trajectory, is_error, list, results};
use crate::atif::walk::Reader;
use crate::cmd::Outcome;
use crate::diag::{Exit, Failure};
use crate::ui;
use crate::util::text::{counted, escape};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier trajectory stats\n  pier trajectory stats jobs/today --json | jq '.[].cost_usd'"
)]
pub struct Stats {
    /// Trajectories, directories with some, or names of sessions; those of this directory otherwise, else the newest run here.
    paths: Vec<Utf8PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// The numbers of one trajectory, those of its sub-agents included.
#[derive(Debug, Default, Serialize)]
pub struct Numbers {
    pub file: Utf8PathBuf,
    pub agent: Option<String>,
    pub model: Option<String>,
    /// How the run ended, and how the conversion of its logs did; where the document says it.
    pub outcome: Option<String>,
    pub status: Option<String>,
    pub steps: u64,
    pub agent_steps: u64,
    pub subagents: u64,
    pub calls: u64,
    pub unanswered: u64,
    pub errors: u64,
    pub tools: BTreeMap<String, u64>,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub cost_usd: Option<f64>,
    /// From the first to the last step that has a time.
    pub seconds: Option<f64>,
    #[serde(skip)]
    depth: usize,
    #[serde(skip)]
    times: Option<(jiff::Timestamp, jiff::Timestamp)>,
}

impl Numbers {
    pub fn of(path: &Utf8Path) -> Result<Self, Failure> {
        let mut numbers = Numbers { file: path.to_owned(), ..Numbers::default() };
        Trajectory::open(path)?.walk(path, &mut numbers)?;
        numbers.seconds = numbers.times.map(|(first, last)| last.duration_since(first).as_secs_f64());
        Ok(numbers)
    }
}

impl Reader for Numbers {
    fn begin(&mut self, _: &str) {
        self.depth += 1;
        self.subagents += u64::from(self.depth > 1);
    }

    fn step(&mut self, _: usize, step: Value) {
        self.steps += 1;
        self.agent_steps += u64::from(step.get("source").and_then(Value::as_str) == Some("agent"));
        let results = results(&step);
        self.errors += results.iter().filter(|result| is_error(result)).count() as u64;
        for call in list(&step, "tool_calls") {
            self.calls += 1;
            let id = call.get("tool_call_id");
            self.unanswered += u64::from(!results.iter().any(|result| result.get("source_call_id") == id));
            let name = call.get("function_name").and_then(Value::as_str).unwrap_or("?");
            *self.tools.entry(name.to_owned()).or_default() += 1;
        }
        let time = step.get("timestamp").and_then(Value::as_str).and_then(|time| time.parse().ok());
        if let Some(time) = time {
            let (first, last) = self.times.unwrap_or((time, time));
            self.times = Some((first.min(time), last.max(time)));
        }
    }

    fn field(&mut self, key: &str, value: Value) {
        if self.depth != 1 {
            return;
        }
        let text = |path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
        match key {
            "agent" => (self.agent, self.model) = (text("/name"), text("/model_name")),
            "extra" => (self.outcome, self.status) = (text("/run/outcome"), text("/conversion/status")),
            "final_metrics" => {
                let number = |key: &str| value.get(key).and_then(Value::as_u64);
                self.prompt_tokens = number("total_prompt_tokens");
                self.completion_tokens = number("total_completion_tokens");
                self.cached_tokens = number("total_cached_tokens");
                self.cost_usd = value.get("total_cost_usd").and_then(Value::as_f64);
            }
            _ => {}
        }
    }

    fn end(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}

pub fn run(args: &Stats) -> Outcome {
    let mut rows = Vec::new();
    let mut broken = 0;
    let found = kept::all(&args.paths)?;
    for path in &found.files {
        match Numbers::of(path) {
            Ok(mut numbers) => {
                numbers.file = found.name(path).into();
                rows.push(numbers);
            }
            // One of many is no reason to see none.
            Err(failure) if !args.paths.contains(path) => {
                broken += 1;
                ui::fail(&failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    if args.json {
        ui::json(&rows);
    } else {
        print(&rows);
    }
    Ok(if broken > 0 { Exit::Failed } else { Exit::Done })
}

fn print(rows: &[Numbers]) {
    for row in rows {
        ui::answer(&format!("{}: {}", escape(row.file.as_str()), line(row)));
    }
    if let [row] = rows {
        let mut tools: Vec<(&String, &u64)> = row.tools.iter().collect();
        tools.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
        for (name, count) in tools {
            ui::answer(&format!("{count:>6}  {}", escape(name)));
        }
    } else {
        let sum = |number: fn(&Numbers) -> u64| rows.iter().map(number).sum();
        let known =
            |number: fn(&Numbers) -> Option<u64>| rows.iter().filter_map(number).reduce(u64::saturating_add);
        let all = Numbers {
            steps: sum(|row| row.steps),
            agent_steps: sum(|row| row.agent_steps),
            calls: sum(|row| row.calls),
            unanswered: sum(|row| row.unanswered),
            errors: sum(|row| row.errors),
            prompt_tokens: known(|row| row.prompt_tokens),
            completion_tokens: known(|row| row.completion_tokens),
            cost_usd: rows.iter().filter_map(|row| row.cost_usd).reduce(|one, other| one + other),
            ..Numbers::default()
        };
        let unpriced = rows.iter().filter(|row| row.cost_usd.is_none()).count();
        let beside = if unpriced > 0 {
            format!(" ({})", counted(unpriced, "has no cost", "have no cost"))
        } else {
            String::new()
        };
        ui::answer(&format!("all {}: {}{beside}", rows.len(), line(&all)));
    }
}

pub fn line(row: &Numbers) -> String {
    let mut parts: Vec<String> =
        [&row.agent, &row.model].into_iter().flatten().map(|word| escape(word)).collect();
    parts.push(format!("{}, {} of the agent", counted(row.steps, "step", "steps"), row.agent_steps));
    let calls = counted(row.calls, "call", "calls");
    parts.push(format!("{calls} ({} failed, {} unanswered)", row.errors, row.unanswered));
    if let Some((read, written)) = row.prompt_tokens.zip(row.completion_tokens) {
        parts.push(format!("{} read, {written} written", counted(read, "token", "tokens")));
    }
    parts.extend(row.cost_usd.map(|cost| format!("${cost:.4}")));
    parts.extend(row.seconds.map(|seconds| format!("{seconds:.1} s")));
    parts.extend(row.outcome.as_ref().map(|word| escape(word)));
    parts.join(", ")
}
