//! The trajectory of a trial: the logs of its agent as one document, and what the records say of it.

use camino::Utf8Path;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Source;
use crate::agent;
use crate::atif::WRITTEN;
use crate::atif::prices::Prices;
use crate::cmd::trajectory::kept;
use crate::record::Ran;
use crate::session::runs::{self, logs::MOST_NAMED};
use crate::trajectory::{self, Converted, NAME, Out, Request, Whose};
use crate::ui;
use crate::util::text::escape;

/// How long the part of the name of a record is that says when it began.
const STAMP: usize = "2026-01-02_03-04-05".len();

/// What the logs of a trial say.
#[derive(Default)]
pub struct Told {
    pub version: Option<String>,
    pub ran: Option<Ran>,
}

/// Which part of logs is a trial's.
#[derive(Default)]
struct Part {
    /// In milliseconds since 1970.
    since: Option<i64>,
    conversations: Option<Vec<String>>,
}

impl Part {
    /// Returns that of a session which a workspace has recorded: what was kept of it says which conversations of a database are its own.
    fn of(source: &Source, state: &Utf8Path) -> Self {
        let Source::Recorded { root, path } = source else { return Part::default() };
        let name = path.file_name().unwrap_or_default();
        let Some(run) = runs::recorded(state, root, name) else {
            // Its name says when it began, to the second.
            let began =
                name.get(..STAMP).and_then(|stamp| DateTime::strptime("%Y-%m-%d_%H-%M-%S", stamp).ok());
            let began = began.and_then(|began| began.to_zoned(TimeZone::UTC).ok());
            return Part {
                since: began.map(|began| began.timestamp().as_millisecond()),
                conversations: None,
            };
        };
        let names = |key: &str| run[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        kept::warn_of(&names("beside").collect::<Vec<_>>());
        let began: Option<Timestamp> = run["started_at"].as_str().and_then(|began| began.parse().ok());
        let conversations: Vec<String> = names("conversations").map(str::to_owned).collect();
        // A list that is full is not the whole one.
        let is_whole = conversations.len() < MOST_NAMED;
        Part { since: began.map(Timestamp::as_millisecond), conversations: is_whole.then_some(conversations) }
    }
}

/// Reads the logs of a trial, and says how they are found where the records of a workspace have none.
pub fn of(whose: Whose<'_>, name: &str, source: &Source, logs: &Utf8Path, state: &Utf8Path) -> Told {
    // A headless run of some agents says all of it.
    let has_alone = |said: &str| super::names(logs) == [said];
    let told = convert(whose, logs, &Part::of(source, state));
    let is_read = agent::find(name).is_ok_and(|known| known.converter().is_some());
    if matches!(source, Source::Recorded { .. }) && is_read && has_alone(&format!("{name}.txt")) {
        ui::say(&format!(
            "the records have what {} said, and none of its own logs: if it keeps them elsewhere, `--session-dir DIR --agent {0}` \
             takes them from there",
            escape(name)
        ));
    }
    told
}

/// Makes `trajectory.json` of the logs in a directory, which is pier's own copy of them. What cannot be read is said, and nothing
/// else is lost by it.
fn convert(whose: Whose<'_>, logs: &Utf8Path, part: &Part) -> Told {
    if let Whose::Known(name) = whose
        && agent::find(name).ok().and_then(agent::Agent::converter).is_none()
    {
        ui::say(&format!("pier does not read logs of {}: there is no trajectory", escape(name)));
        return Told::default();
    }
    let file = logs.join(NAME);
    // One that was copied is the agent's own word.
    if let Err(error) = std::fs::remove_file(&file)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        ui::warn(&format!("`{file}` cannot be replaced: {error}"));
        return Told::default();
    }
    let prices = Prices::embedded();
    let request = Request {
        logs,
        only: None,
        since: part.since,
        conversations: part.conversations.as_deref(),
        whose,
        agent_version: None,
        model: None,
        prices: &prices,
        format: WRITTEN,
        is_running: false,
    };
    let progress = ui::Progress::default();
    let heard = |read, of| progress.bytes("logs read", read, of);
    let converted = trajectory::convert(&request, Out::File(&file), &heard);
    drop(progress);
    match converted {
        Ok(converted) => told(&converted),
        Err(error) => {
            ui::warn(&format!("there is no trajectory: {}", escape(&error.to_string())));
            Told::default()
        }
    }
}

fn told(converted: &Converted) -> Told {
    let report = &converted.report;
    for reason in report.reasons.iter().filter(|_| report.status != crate::atif::report::Status::Complete) {
        ui::warn(&format!("the trajectory: {}", escape(&reason.text)));
    }
    let metadata = json!({
        "trajectory": { "status": report.status, "reasons": report.reasons },
        "run": report.run,
        "cost_source": converted.summary.as_ref().and_then(|summary| summary.cost_source.as_ref()),
    });
    let Some(summary) = &converted.summary else {
        return Told { version: None, ran: Some(Ran { metadata, ..Ran::default() }) };
    };
    let ran = Ran {
        model: summary.model.clone(),
        steps: summary.agent_steps,
        input_tokens: summary.prompt_tokens,
        cache_tokens: summary.cached_tokens,
        output_tokens: summary.completion_tokens,
        cost: summary.cost_usd,
        peak_context_tokens: summary.peak_context_tokens,
        summarization_count: summary.summarization_count,
        metadata,
    };
    Told { version: Some(summary.version.clone()).filter(|version| version != "unknown"), ran: Some(ran) }
}
